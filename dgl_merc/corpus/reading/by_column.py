"""Features in columns of the table itself; a row whose cells are all empty lacks the modality."""

from __future__ import annotations

import fnmatch
import re
from collections import Counter
from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd

from dgl_merc.corpus.reading.csv_file import in_short
from dgl_merc.corpus.reading.expressions import Part
from dgl_merc.corpus.reading.feature_spec import FeatureSpec
from dgl_merc.corpus.reading.loaded import Ints, Loaded
from dgl_merc.corpus.reading.on_demand import MadeRows
from dgl_merc.corpus.reading.rows import Rows
from dgl_merc.errors import InputError

__all__ = ["load_by_column", "matching_columns"]

_SPAN = re.compile(r"(?P<stem>.*?)(?P<low>\d{1,9})\.\.(?P=stem)(?P<high>\d{1,9})")


def load_by_column(spec: FeatureSpec, rows: Rows, columns: Mapping[str, pd.Series[str]] | None) -> Loaded:
    """Numbers from cells; a single empty one among others is a NaN.

    Args:
        spec: which columns.
        rows: [U] the utterances.
        columns: column -> [U] cells; None: the reader's files have no such columns.

    Raises:
        InputError: no such column, or a cell that is no number.
    """
    if columns is None:
        raise InputError(f"{spec.where}expected a .npy or .npz file: only `import table` takes features from columns")
    names = matching_columns(spec, list(columns))
    filled = np.zeros(len(rows), dtype=bool)
    for name in names:
        filled |= np.fromiter((cell.strip() != "" for cell in columns[name]), dtype=bool, count=len(rows))
    utterance = np.flatnonzero(filled)

    def make(of: Ints) -> np.ndarray[Any, Any]:
        cells = list(zip(*(columns[name].iloc[utterance[of]].tolist() for name in names), strict=True))
        return np.array(
            [
                [_number(rows, row, name, cell.strip()) for name, cell in zip(names, words, strict=True)]
                for row, words in zip(utterance[of].tolist(), cells, strict=True)
            ]
        ).reshape(len(of), len(names))

    made = MadeRows((len(utterance), len(names)), make)
    return Loaded([Part("", made, made)], utterance, why_absent="their cells are empty")


def _number(rows: Rows, row: int, name: str, cell: str) -> float:
    try:
        return float(cell or "nan")
    except ValueError:
        raise InputError(f"{rows.at(row)}{name}: expected a number, found {cell!r}") from None


def matching_columns(spec: FeatureSpec, there: list[str]) -> list[str]:
    """The columns that a spec's names, patterns and ranges stand for, in order.

    Args:
        spec: with ``columns``.
        there: the table's columns.

    Raises:
        InputError: one stands for no column, or a column is named twice.
    """
    names: list[str] = []
    known = set(there)
    for piece in spec.columns:
        found = _expand(piece, there)
        if missing := [name for name in found or [piece] if name not in known]:
            raise InputError(f"{spec.where}expected a column {missing[0]!r}, found the columns: {in_short(there)}")
        names += found
    if twice := [name for name, count in Counter(names).items() if count > 1]:
        raise InputError(f"{spec.where}expected each column once, found {twice[0]!r} twice")
    return names


def _expand(piece: str, there: list[str]) -> list[str]:
    if piece in there:
        return [piece]
    if span := _SPAN.fullmatch(piece):
        low, high = int(span["low"]), int(span["high"])
        return [f"{span['stem']}{number}" for number in range(low, min(high, low + len(there)) + 1)]  # of more, one is missing
    found = [name for name in there if fnmatch.fnmatchcase(name, piece)]
    numbered = [re.fullmatch(r"(.*?)([0-9]+)", name) for name in found]
    if all(numbered) and len({m[1] for m in numbered if m}) == 1:
        return [name for _, name in sorted((int(m[2]), m[0]) for m in numbered if m)]  # not in the file's order, which tools change
    return found
