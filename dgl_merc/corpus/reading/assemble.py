"""The last steps that every reader shares: features, then which utterances keep their labels, then a checked corpus."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import pandas as pd

from dgl_merc.corpus.corpus import Corpus, presence_column
from dgl_merc.corpus.reading.feature_spec import FeatureSpec
from dgl_merc.corpus.reading.features import NanPolicy, attach
from dgl_merc.corpus.reading.labels import label_only_where
from dgl_merc.corpus.reading.rows import Rows
from dgl_merc.corpus.targets import Target
from dgl_merc.errors import InputError
from dgl_merc.files import file_record

if TYPE_CHECKING:
    from dgl_merc.corpus.readers.layout import Vectors

__all__ = ["NO_FEATURES", "Origin", "assemble"]

NO_FEATURES = "features: none yet; `dglmerc features` makes them of texts and recordings, --features names files that have them"
"""The note on a corpus that has none."""


@dataclass(frozen=True)
class Origin:
    """Where a corpus comes from.

    Attributes:
        reader: its name.
        path: the file or folder that was imported.
        folder: what relative paths of features start from.
        files: those read before the features.
        options: as they were given, to be written down.
    """

    reader: str
    path: Path
    folder: Path
    files: tuple[Path, ...]
    options: Mapping[str, object]


def assemble(
    name: str,
    rows: Rows,
    targets: Mapping[str, Target],
    specs: Sequence[FeatureSpec],
    origin: Origin,
    *,
    only_where: Sequence[str],
    nan: NanPolicy,
    notes: Sequence[str],
    columns: Mapping[str, pd.Series[str]] | None = None,
    arrays: Mapping[str, Mapping[str, Callable[[], Vectors]]] | None = None,
) -> Corpus:
    """Make a corpus of utterances and the files that hold their features.

    Args:
        name: of the corpus.
        rows: [U] utterances, target columns filled.
        targets: what may stand in those.
        specs: where the features are.
        origin: where all came from.
        only_where: modalities without which an utterance loses its labels.
        nan: what a NaN means.
        notes: what the reader counted so far.
        columns: column -> [U] cells that features may be taken from.
        arrays: path as a spec gives it ("" = the imported file) -> name -> what reads an array.

    Raises:
        InputError: any fault of the data.
    """
    _check_modalities(specs, only_where)
    table, counted, files = rows.table.copy(), [*notes, *([] if specs else [NO_FEATURES])], list(origin.files)
    features, provenance = {}, {}
    for spec in specs:
        found = attach(spec, rows, origin.folder, nan=nan, columns=columns, arrays=arrays)
        features[spec.modality], provenance[spec.modality] = found.vectors, found.provenance
        column = presence_column(spec.modality)
        if column in table:
            raise InputError(f"{spec.where}expected the column name {column!r} to be free, found it in the data; rename that column")
        table[column] = found.present
        counted += found.notes
        files += found.files
    for modality in only_where:
        counted += label_only_where(table, targets, modality)
    source = {
        "reader": origin.reader,
        "path": str(origin.path),
        "files": {file.name: file_record(file) for file in dict.fromkeys(files)},
        "options": dict(origin.options),
    }
    return Corpus.build(
        name,
        table,
        features,
        targets,
        provenance=provenance,
        source=source,
        notes=tuple(counted),
        where=str(origin.path),
    )


def _check_modalities(specs: Sequence[FeatureSpec], only_where: Sequence[str]) -> None:
    modalities = [spec.modality for spec in specs]
    for modality in only_where:
        if modality not in modalities:
            raise InputError(f"--label-only-where {modality}: expected a modality among {', '.join(modalities)}; pass its --features")
