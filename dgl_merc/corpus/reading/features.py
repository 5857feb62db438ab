"""The features of a modality: found, held to be finite, in the order of the utterances; what is missing is counted."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import numpy.typing as npt
import pandas as pd

from dgl_merc.corpus.reading.by_array import load_by_array
from dgl_merc.corpus.reading.by_column import load_by_column
from dgl_merc.corpus.reading.by_key import load_by_key
from dgl_merc.corpus.reading.by_row import load_by_row
from dgl_merc.corpus.reading.feature_spec import FeatureSpec
from dgl_merc.corpus.reading.loaded import Loaded
from dgl_merc.corpus.reading.on_demand import Spool, pieces
from dgl_merc.corpus.reading.rows import Rows
from dgl_merc.errors import InputError, at

if TYPE_CHECKING:
    from dgl_merc.corpus.readers.layout import Vectors

__all__ = ["Attached", "NanPolicy", "attach"]

NanPolicy = Literal["error", "absent"]
"""What a NaN in features is: a fault, or a modality that is absent."""


@dataclass(frozen=True)
class Attached:
    """The features of one modality.

    Attributes:
        vectors: [P, W] float32, one row per utterance that has the modality, in the order of the utterances; memory-mapped where they
            are many.
        present: [U] which those are.
        provenance: the files and what was made of their arrays.
        notes: what is missing, counted.
        files: those that were read.
    """

    vectors: npt.NDArray[Any]
    present: npt.NDArray[np.bool_]
    provenance: str
    notes: tuple[str, ...]
    files: tuple[Path, ...]


def attach(
    spec: FeatureSpec,
    rows: Rows,
    folder: Path,
    *,
    nan: NanPolicy,
    columns: Mapping[str, pd.Series[str]] | None = None,
    arrays: Mapping[str, Mapping[str, Callable[[], Vectors]]] | None = None,
) -> Attached:
    """Read the features of one modality.

    Args:
        spec: where they are.
        rows: [U] the utterances.
        folder: what relative paths start from.
        nan: whether a NaN, an infinity or a value outside a function's domain is an error or makes the modality absent.
        columns: column -> [U] cells of the table, where features may stand in columns.
        arrays: path as a spec gives it ("" = the imported file) -> name -> what reads an array.

    Raises:
        InputError: any fault of the files; the message names file and utterance.
    """
    if spec.kind == "columns":
        loaded = load_by_column(spec, rows, columns)
    elif spec.kind in ("file", "pickle"):
        loaded = load_by_array(spec, rows, folder, None if arrays is None else arrays.get(spec.path, {}))
    elif spec.kind in ("npy", "mat", "hdf5"):
        loaded = load_by_row(spec, rows, folder)
    else:
        loaded = load_by_key(spec, rows, folder)
    with Spool(sum(part.made.shape[1] for part in loaded.parts)) as vectors:
        finite = _write(loaded, vectors)
        if nan == "error" and not finite.all():
            raise InputError(_complaint(spec, rows, loaded, finite))
        if not finite.any():
            raise InputError(f"{spec.where}expected at least one utterance with {spec.modality}, found none")
        present = np.zeros(len(rows), dtype=bool)
        present[loaded.utterance[finite]] = True
        files = tuple(dict.fromkeys(loaded.files.values()))
        notes = _notes(spec, rows, loaded, finite)
        return Attached(vectors.finish(), present, _provenance(spec, files), notes, files)


def _write(loaded: Loaded, vectors: Spool) -> npt.NDArray[np.bool_]:
    """Write those that are finite, in the order of the utterances; [R] which rows they are."""
    finite = np.zeros(len(loaded.utterance), dtype=bool)
    for rows in pieces(np.argsort(loaded.utterance, kind="stable"), vectors.width):
        with np.errstate(over="ignore"):
            x = np.concatenate([np.asarray(part.made[rows], dtype=np.float32) for part in loaded.parts], axis=1)
        finite[rows] = good = np.isfinite(x).all(axis=1)
        vectors.add(x if good.all() else x[good])
    return finite


def _notes(spec: FeatureSpec, rows: Rows, loaded: Loaded, finite: npt.NDArray[np.bool_]) -> tuple[str, ...]:
    notes, total = [f"{spec.modality}: {note}" for note in loaded.notes], len(rows)
    if missing := total - len(loaded.utterance):
        notes.append(f"{spec.modality}: absent in {missing} of {total} utterances: {loaded.why_absent}")
    if count := int((~finite).sum()):
        first = rows.named(int(loaded.utterance[~finite].min()))
        why = "NaN, infinite or outside a function's domain (--nan absent)"
        notes.append(f"{spec.modality}: absent in {count} of {total} utterances: {why}, the first {first}")
    return tuple(notes)


def _complaint(spec: FeatureSpec, rows: Rows, loaded: Loaded, finite: npt.NDArray[np.bool_]) -> str:
    """The first utterance, in the order of the corpus, whose numbers are not finite."""
    bad = np.flatnonzero(~finite)
    row = int(bad[np.argmin(loaded.utterance[bad])])
    utterance = int(loaded.utterance[row])
    place = rows.places.iloc[utterance]
    file = loaded.files.get(str(rows.table["split"].iloc[utterance]), loaded.files.get(""))
    begin = at(file, dialogue=place["dialogue"], utterance=place["utterance"]) if file else rows.at(utterance)
    part = next((part for part in loaded.parts if not np.isfinite(part.made[row]).all()), None)
    what = part.complaint(row) if part else "expected numbers within float32, found a greater one"
    return f"{begin}{spec.modality}: {what} ({len(bad)} utterances have such values; --nan absent makes them count as absent)"


def _provenance(spec: FeatureSpec, files: tuple[Path, ...]) -> str:
    if spec.kind == "columns":
        return f"columns {', '.join(spec.columns)}"
    names = ", ".join(file.name for file in files)
    if spec.kind in ("file", "pickle"):
        return f"{names}: {', '.join(expression.text for expression in spec.expressions)}"
    if spec.kind in ("npy", "mat", "hdf5"):
        return f"{names}{''.join(f': {e.text}' for e in spec.expressions)}, by row"
    return f"{names}: {', '.join(expression.text for expression in spec.expressions)}, by key"
