"""Features from another published file of the same conversations: ``--features text=OTHER.pkl:roberta_mean``.

M3Net takes its text from COSMIC's pickle and all else from MMGCN's; COSMIC's own commonsense features are a file without labels. The k-th
utterance of a dialogue in one file is the k-th of the dialogue of the same name in the other, as in those projects' loaders.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pandas as pd

from dgl_merc.corpus.readers.layout import Published, Vectors
from dgl_merc.corpus.reading.rows import Rows
from dgl_merc.errors import InputError, at

__all__ = ["moved"]


def moved(other: Published, rows: Rows, path: Path) -> Mapping[str, Callable[[], Vectors]]:
    """The arrays of another file, each vector with the row of the imported file's table that it belongs to.

    Args:
        other: the file's content.
        rows: [U] the utterances of the imported file.
        path: of the other file.

    Raises:
        InputError: no dialogue in common, or one with another number of utterances.
    """
    theirs = other.table.reset_index(drop=True)
    if "order" in theirs:
        theirs = theirs.sort_values("order", kind="stable")
    position = theirs.groupby("dialogue_id", sort=False).cumcount()
    mine = pd.Series(
        rows.places["read"].to_numpy(),
        index=pd.MultiIndex.from_arrays([rows.table["dialogue_id"].astype("str"), rows.table["position"].astype("int64")]),
    )
    sizes = pd.DataFrame({"here": rows.table.groupby("dialogue_id").size(), "there": theirs.groupby("dialogue_id").size()}).dropna()
    if sizes.empty:
        first = f"{theirs['dialogue_id'].iloc[0]} there and {rows.table['dialogue_id'].iloc[0]} here"
        raise InputError(f"{at(path)}expected dialogues of the imported file, found none of the same name (the first are {first})")
    if (wrong := sizes[sizes["here"] != sizes["there"]]).size:
        here, there = (int(wrong[column].iloc[0]) for column in ("here", "there"))
        raise InputError(f"{at(path, dialogue=wrong.index[0])}expected {here} utterances as in the imported file, found {there}")
    keys = pd.MultiIndex.from_arrays([theirs["dialogue_id"].astype("str"), position.astype("int64")])
    row = mine.reindex(keys, fill_value=-1).to_numpy(dtype=np.int64)[np.argsort(theirs.index.to_numpy())]
    return {name: partial(_moved, read, row, path.name) for name, read in other.arrays.items()}


def _moved(read: Callable[[], Vectors], row: npt.NDArray[np.int64], file: str) -> Vectors:
    vectors = read()
    to = row if vectors.utterance is None else row[vectors.utterance]
    there = to >= 0
    whys = [vectors.why_absent] if vectors.utterance is not None else []
    notes = tuple(f"{file}: {note}" for note in vectors.notes)
    return Vectors(np.compress(there, vectors.values, axis=0), to[there], " or ".join([*whys, f"its dialogue is not in {file}"]), notes)
