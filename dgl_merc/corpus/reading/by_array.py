"""Features from the file of the utterances itself, or from another published one: named arrays that its reader has found."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from dgl_merc.corpus.reading.arrays import as_features
from dgl_merc.corpus.reading.feature_spec import FeatureSpec
from dgl_merc.corpus.reading.loaded import Ints, Loaded
from dgl_merc.corpus.reading.rows import Rows
from dgl_merc.errors import InputError

if TYPE_CHECKING:
    from dgl_merc.corpus.readers.layout import Vectors

__all__ = ["load_by_array"]


def load_by_array(spec: FeatureSpec, rows: Rows, folder: Path, arrays: Mapping[str, Callable[[], Vectors]] | None) -> Loaded:
    """Utterances that have a vector in every array of the expression.

    Args:
        spec: of kind ``file`` or ``pickle``.
        rows: [U] the utterances; ``places["read"]`` is the row that vectors speak of.
        folder: what the path of another file starts from.
        arrays: name -> what reads it; None: features of this kind have no place here.

    Raises:
        InputError: there is no such array.
    """
    if arrays is None:
        raise InputError(f"{spec.where}expected a file that is imported as published (dglmerc import FILE OUT), found another import")
    unknown = [e.array for e in spec.expressions if e.array not in arrays or set(e.needs) - set(arrays)]
    if unknown:
        names = ", ".join(arrays) or "none"
        raise InputError(f"{spec.where}expected arrays of the file, found {unknown[0]!r}; it has {names}")
    place = spec.resolve(folder) if spec.path else rows.places["file"].iloc[0]
    found = {name: arrays[name]() for name in dict.fromkeys(need for e in spec.expressions for need in e.needs)}
    owners = {name: vectors.owners(len(rows)) for name, vectors in found.items()}
    common = np.arange(len(rows))
    for owner in owners.values():
        common = np.intersect1d(common, owner)
    picked = {name: as_features(found[name].values, place, name)[_rows_of(owners[name], common)] for name in found}
    try:
        parts = [expression.evaluate(picked) for expression in spec.expressions]
    except ValueError as error:
        raise InputError(f"{spec.where}{error}") from None
    whys = dict.fromkeys(vectors.why_absent for vectors in found.values() if vectors.why_absent)
    number = np.empty(len(rows), dtype=np.int64)
    number[rows.places["read"].to_numpy(dtype=np.int64)] = np.arange(len(rows))
    files = {"": place}
    notes = tuple(dict.fromkeys(note for vectors in found.values() for note in vectors.notes))
    return Loaded(parts, number[common], files, "; ".join(whys) or "no vector in the file", notes)


def _rows_of(owners: Ints, wanted: Ints) -> Ints:
    """Where the vectors of some utterances stand."""
    order = np.argsort(owners, kind="stable")
    rows: Ints = order[np.searchsorted(owners[order], wanted)]
    return rows
