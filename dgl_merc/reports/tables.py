"""Tables as files: text for a terminal, CSV for a program, LaTeX for a paper."""

from __future__ import annotations

from pathlib import Path

import pandas as pd

from dgl_merc.files import write_bytes

__all__ = ["mean_and_deviation", "p_value", "plain_text", "write_tables"]


def mean_and_deviation(mean: float | None, deviation: float | None) -> str:
    """``57.17 ± 0.53``; without a deviation, the mean alone; ``–`` where there is none.

    >>> mean_and_deviation(57.168, .531), mean_and_deviation(1.0, None), mean_and_deviation(None, None)
    ('57.17 ± 0.53', '1.00', '–')
    """
    if mean is None or pd.isna(mean):
        return "–"
    return f"{mean:.2f}" if deviation is None or pd.isna(deviation) else f"{mean:.2f} ± {deviation:.2f}"


def p_value(value: float | None) -> str:
    """With three digits and no zero before them; ``–`` where there is none.

    >>> p_value(0.0421), p_value(0.0002), p_value(None)
    ('.042', '<.001', '–')
    """
    return "–" if value is None else "<.001" if value < 0.001 else f"{value:.3f}".removeprefix("0")


def plain_text(frame: pd.DataFrame) -> str:
    """Columns aligned by spaces, numbers to the right."""
    cells = [[str(c) for c in frame.columns], *([str(v) for v in row] for row in frame.itertuples(index=False))]
    widths = [max(len(row[k]) for row in cells) for k in range(len(frame.columns))]
    left = [not pd.api.types.is_numeric_dtype(frame.iloc[:, k]) and k == 0 for k in range(len(widths))]
    lines = ["  ".join(v.ljust(w) if le else v.rjust(w) for v, w, le in zip(row, widths, left, strict=True)).rstrip() for row in cells]
    return "\n".join([lines[0], "-" * max(map(len, lines)), *lines[1:]]) + "\n"


def write_tables(folder: Path, stem: str, shown: pd.DataFrame, numbers: pd.DataFrame, caption: str) -> None:
    """``stem.txt`` and ``stem.tex`` as a reader wants them, ``stem.csv`` with all digits.

    Args:
        folder: exists.
        stem: of the files' names.
        shown: cells as text.
        numbers: the same rows, numbers as numbers.
        caption: of the table; plain text.
    """
    write_bytes(folder / f"{stem}.txt", f"{caption}\n\n{plain_text(shown)}".encode())
    write_bytes(folder / f"{stem}.csv", numbers.to_csv(index=False).encode())
    words = shown.map(_latex).rename(columns=_latex)
    text = words.style.hide(axis="index").to_latex(
        caption=_latex(caption), hrules=True, column_format="l" + "r" * (len(shown.columns) - 1), position="t", position_float="centering"
    )
    write_bytes(folder / f"{stem}.tex", f"% needs \\usepackage{{booktabs}}\n{text}".encode())


_SPECIAL = {c: f"\\{c}" for c in "&%$#_{}"} | {
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "\\": r"\textbackslash{}",
    "±": r"$\pm$",
    "–": "--",
    "<": "$<$",
    ">": "$>$",
    "\n": " ",
}


def _latex(value: object) -> str:
    r"""Text that LaTeX prints as it is.

    >>> print(_latex("a_b ± 50%"))
    a\_b $\pm$ 50\%
    """
    return "".join(_SPECIAL.get(c, c) for c in str(value))
