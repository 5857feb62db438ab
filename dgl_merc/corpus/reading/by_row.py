"""Features by row: row i of an array belongs to row i of the CSV, or of that split's rows where the name holds ``{split}``.

The array is a ``.npy``, or has a name in a MAT or an HDF5 file.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from dgl_merc.corpus.foreign.hdf5 import read_hdf5
from dgl_merc.corpus.foreign.mat import read_mat
from dgl_merc.corpus.reading.arrays import as_features, load_npy
from dgl_merc.corpus.reading.content import describe
from dgl_merc.corpus.reading.expressions import Part
from dgl_merc.corpus.reading.feature_spec import FeatureSpec
from dgl_merc.corpus.reading.loaded import Ints, Loaded, require_width
from dgl_merc.corpus.reading.on_demand import MadeRows, Matrix, stacked
from dgl_merc.corpus.reading.rows import Rows
from dgl_merc.errors import InputError, at

__all__ = ["load_by_row"]


def load_by_row(spec: FeatureSpec, rows: Rows, folder: Path) -> Loaded:
    """Every utterance gets the row it was read in.

    Raises:
        InputError: another number of rows than the CSV has, or splits of different widths.
    """
    groups = _groups(spec, rows)
    files = {split: spec.resolve(folder, split) for split in groups}
    first = next(iter(files.values()))
    parts: list[Matrix] = []
    for split, (mine, number) in groups.items():
        x = _read(spec, files[split])
        if len(x) != len(mine):
            of = f" of {split}" if split else ""
            advice = "" if split or len(set(rows.places["file"])) == 1 else "; {split} in the name stands for one file per split"
            raise InputError(f"{at(files[split])}expected {len(mine)} rows, one for each row{of} in the CSV, found {len(x)}{advice}")
        require_width(files[split], spec.modality, x.shape[1], first, parts[0].shape[1] if parts else x.shape[1])
        parts.append(_reordered(x, number))
    made = stacked(parts)
    return Loaded([Part("", made, made)], np.concatenate([mine for mine, _ in groups.values()]), files)


def _read(spec: FeatureSpec, path: Path) -> np.ndarray[Any, Any]:
    """The array, [R, W]."""
    if spec.kind == "npy":
        return as_features(load_npy(path), path)
    name = spec.expressions[0].array
    held: Any = read_mat(path) if spec.kind == "mat" else read_hdf5(path)
    for piece in name.split("/"):
        if not isinstance(held, dict) or piece not in held:
            there = ", ".join(held) if isinstance(held, dict) else "an array"
            raise InputError(f"{at(path)}expected an array {name!r}, found {there or 'nothing'}")
        held = held[piece]
    if not isinstance(held, np.ndarray):
        raise InputError(f"{at(path)}{name}: expected an array, found {describe(held)}")
    return as_features(held, path, name)


def _reordered(x: np.ndarray[Any, Any], number: Ints) -> MadeRows:
    """Row i is ``x[number[i]]``."""
    return MadeRows((len(number), x.shape[1]), lambda rows: x[number[rows]])


def _groups(spec: FeatureSpec, rows: Rows) -> dict[str, tuple[Ints, Ints]]:
    """Split (or "") -> its utterances, and the row of the file that belongs to each."""
    if not spec.per_split:
        return {"": (np.arange(len(rows)), rows.places["read"].to_numpy(dtype=np.int64))}
    splits, rank = rows.table["split"].to_numpy(dtype=object), rows.rank_in_split()
    return {split: (mine := np.flatnonzero(splits == split), rank[mine]) for split in dict.fromkeys(splits)}
