"""How scores fall as modalities are taken away: a table and a picture."""

from __future__ import annotations

from pathlib import Path

import pandas as pd

from dgl_merc.files import replaced_folder
from dgl_merc.reports.page import save_figure
from dgl_merc.reports.study_figures import Bar, along_figure
from dgl_merc.reports.tables import write_tables

__all__ = ["shown_robustness", "write_robustness"]


def shown_robustness(table: pd.DataFrame) -> pd.DataFrame:
    """The same with two decimals."""
    return table.assign(**{c: table[c].map("{:.2f}".format) for c in ("absent", "weighted F1", "accuracy")}).rename(
        columns={"absent": "absent (%)"}
    )


def write_robustness(out: Path, table: pd.DataFrame, run: str, split: str) -> None:
    """Write ``robustness.csv .tex .txt .png``, in the place of an earlier one.

    Args:
        out: the folder.
        table: of :func:`dgl_merc.training.evaluate.robustness`.
        run: its name.
        split: that was judged.

    Raises:
        InputError: something else is in ``out``.
    """
    values = sorted(set(table["rate"]))
    lines = {}
    for m, part in table.groupby("modality", sort=False):
        by_rate = dict(zip(part["rate"], part["weighted F1"], strict=True))
        lines[f"without {m}"] = [Bar("", by_rate[v]) if v in by_rate else None for v in values]
    with replaced_folder(out, "robustness.csv") as folder:
        write_tables(folder, "robustness", shown_robustness(table), table, f"{run}: weighted F1 on {split} as modalities are taken away")
        figure = along_figure(values, lines, "share of the utterances it is taken from", f"weighted F1 on {split} (%)")
        save_figure(figure, folder / "robustness.png")
