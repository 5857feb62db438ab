"""Every fault of a corpus gets one error that names file, dialogue and utterance, what was expected and what was found.

The checks run once, over whole columns; everything to the right of this room relies on them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from dgl_merc.corpus.pieces import pieces_of
from dgl_merc.corpus.targets import SPLITS, Target
from dgl_merc.errors import InputError, at

__all__ = ["check_corpus", "check_finite", "column_types"]

Array = npt.NDArray[Any]


def column_types(targets: Mapping[str, Target], modalities: Sequence[str]) -> dict[str, str]:
    """Column -> the pandas type it has in memory and on disk. Other columns have whatever type they came with.

    Args:
        targets: target -> what may stand in its column.
        modalities: their names.
    """
    return {
        **dict.fromkeys(("dialogue_id", "speaker", "split", "text"), "str"),
        "position": "int64",
        **dict.fromkeys(("start", "end"), "float64"),
        **{name: "str" if target.kind == "classes" else "float64" for name, target in targets.items()},
        **{f"has_{m}": "bool" for m in modalities},
    }


def check_corpus(table: pd.DataFrame, features: Mapping[str, Array], targets: Mapping[str, Target], *, where: str) -> None:
    """Hold the parts of a corpus to its format.

    Args:
        table: [U] utterances, all core columns there.
        features: modality -> [present rows, width].
        targets: target -> what may stand in its column.
        where: the file or folder that errors name.

    Raises:
        InputError: the first fault found.
    """
    if not len(table):
        raise InputError(f"{at(where)}expected at least one utterance, found none")
    _check_names(table, features, where)
    _check_dialogues(table, where)
    for column in ("start", "end"):
        wrong = table[column].notna() & pd.to_numeric(table[column], errors="coerce").isna()
        if wrong.any():
            row = int(np.argmax(wrong.to_numpy()))
            raise InputError(
                f"{utterance_at(table, row, where)}{column}: expected a number of seconds (or an empty cell), "
                f"found {_cell(table[column], row)}"
            )
    for name, target in targets.items():
        _check_target(table, name, target, where)
    for modality, x in features.items():
        _check_modality(table, modality, x, where)


def utterance_at(table: pd.DataFrame, row: int, where: str) -> str:
    """The beginning of a message about one utterance."""
    return at(where, dialogue=table["dialogue_id"].iloc[row], utterance=table["position"].iloc[row])


def _cell(column: pd.Series[Any], row: int) -> str:
    """A cell as a person would write it: ``7.0``, not ``np.float64(7.0)``; only the beginning of a long one."""
    said = repr(column.iloc[[row]].tolist()[0])
    return said if len(said) <= 80 else f"{said[:77]}..."


def _check_names(table: pd.DataFrame, features: Mapping[str, Array], where: str) -> None:
    for modality in features:
        if not modality.isidentifier() or modality == "utterance":
            raise InputError(f"{at(where)}a modality is named by a plain word other than 'utterance', found {modality!r}")
    for column in ("dialogue_id", "speaker", "split"):
        empty = table[column].isna() | (table[column].astype("str").str.len() == 0)
        if empty.any():
            row = int(np.argmax(empty.to_numpy()))
            raise InputError(f"{utterance_at(table, row, where)}expected a {column}, found an empty cell")
    foreign = ~table["split"].isin(SPLITS)
    if foreign.any():
        row = int(np.argmax(foreign.to_numpy()))
        raise InputError(f"{utterance_at(table, row, where)}expected a split among {', '.join(SPLITS)}, found {_cell(table['split'], row)}")


def _check_dialogues(table: pd.DataFrame, where: str) -> None:
    """Rows of a dialogue stand together, in one split, with positions 0, 1, 2, ..."""
    ids = table["dialogue_id"].astype("str")
    code = pd.factorize(ids)[0]  # numbers: a Python string for each cell would take 60 bytes
    begins = np.append(True, code[1:] != code[:-1])
    starts = np.flatnonzero(begins)
    again = pd.Index(code[starts]).duplicated()
    if again.any():
        twice = ids.iloc[starts[np.argmax(again)]]
        splits = table.loc[table["dialogue_id"].astype("str") == twice, "split"].unique()
        if len(splits) > 1:
            raise InputError(
                f"{at(where, dialogue=twice)}expected one split, found {' and '.join(splits)}: "
                "a dialogue in two splits leaks test into training"
            )
        raise InputError(f"{at(where, dialogue=twice)}expected its utterances together, found others between; sort the rows")
    number = np.cumsum(begins) - 1
    expected = np.arange(len(table)) - starts[number]
    wrong = table["position"].to_numpy() != expected
    if wrong.any():
        row = int(np.argmax(wrong))
        raise InputError(
            f"{at(where, dialogue=ids.iloc[row])}expected positions 0, 1, 2, … in order, "
            f"found {table['position'].iloc[row]} as number {expected[row]}"
        )
    split = pd.factorize(table["split"])[0]
    mixed = split != split[starts][number]
    if mixed.any():
        row = int(np.argmax(mixed))
        began, found = table["split"].iloc[[starts[number[row]], row]]
        raise InputError(
            f"{utterance_at(table, row, where)}expected split {began} as where it began, found {found}: "
            "a dialogue in two splits leaks test into training"
        )


def _check_target(table: pd.DataFrame, name: str, target: Target, where: str) -> None:
    values = table[name]
    labelled = values.notna()
    if target.kind == "classes":
        wrong = labelled & ~values.isin(target.labels)
        expected = f"a label among {', '.join(target.labels)} (or an empty cell: context)"
    else:
        lo, hi = target.bounds or (0.0, 0.0)
        numbers = pd.to_numeric(values, errors="coerce")
        wrong = labelled & ~numbers.between(lo, hi)
        expected = f"a number from {lo} to {hi} (or an empty cell: context)"
    if wrong.any():
        row = int(np.argmax(wrong.to_numpy()))
        raise InputError(f"{utterance_at(table, row, where)}{name}: expected {expected}, found {_cell(values, row)}")


def _check_modality(table: pd.DataFrame, modality: str, x: Array, where: str) -> None:
    present = table[f"has_{modality}"]
    if present.isna().any() or not present.isin([True, False]).all():
        row = int(np.argmax((present.isna() | ~present.isin([True, False])).to_numpy()))
        raise InputError(f"{utterance_at(table, row, where)}has_{modality}: expected true or false, found {_cell(present, row)}")
    if x.ndim != 2 or x.shape[1] == 0:
        raise InputError(f"{at(where)}{modality}: expected an array [rows, width], found shape {list(x.shape)}")
    rows = np.flatnonzero(present.to_numpy(dtype=bool))
    if len(rows) != len(x):
        raise InputError(
            f"{at(where)}{modality}: expected {len(rows)} rows of features, one for each utterance that has the modality, found {len(x)}"
        )
    check_finite(table, modality, x, rows, where)


def check_finite(table: pd.DataFrame, modality: str, x: Array, rows: npt.NDArray[np.int64], where: str) -> None:
    """No NaN, no infinity; read in pieces, so that a memory-mapped file of any size can be checked.

    Args:
        table: [U] utterances.
        modality: for the message.
        x: [N, width] features.
        rows: [N] the utterance that each row of ``x`` belongs to.
        where: the file or folder that the message names.

    Raises:
        InputError: names the first utterance with such a value.
    """
    for lo, piece in pieces_of(x):
        bad = ~np.isfinite(piece)
        if bad.any():
            row, column = (int(v) for v in np.argwhere(bad)[0])
            total = sum(int((~np.isfinite(piece)).any(axis=1).sum()) for _, piece in pieces_of(x))
            raise InputError(
                f"{utterance_at(table, int(rows[lo + row]), where)}{modality}: expected finite numbers, "
                f"found {x[lo + row, column]} in column {column} "
                f"({total} utterances have such values; --nan absent makes them count as absent)"
            )
