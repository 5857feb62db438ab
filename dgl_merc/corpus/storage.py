"""The open format of a corpus: three kinds of plain files that any tool can read.

    corpus.json            schema_version, name, source, modalities (width, provenance), targets, notes, hashes
    utterances.parquet     one row per utterance, see :class:`dgl_merc.corpus.Corpus`
    features/<m>.npy       float32 [present rows, width], only the utterances that have modality m, in utterance order

Nothing is pickled. Features are memory-mapped: any size opens in milliseconds. Newer schemas are refused, older ones migrated.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from dgl_merc.corpus.checks import check_corpus, column_types
from dgl_merc.corpus.corpus import Corpus
from dgl_merc.corpus.pieces import write_npy
from dgl_merc.corpus.reading.arrays import NPY_FAULTS
from dgl_merc.corpus.targets import Modality, Target
from dgl_merc.errors import InputError, at
from dgl_merc.files import file_record, new_folder, read_json, verify_files, write_json

__all__ = ["SCHEMA_VERSION", "open_corpus", "save_corpus"]

SCHEMA_VERSION = 1
"""Of ``corpus.json``. An older version is migrated by ``_MIGRATIONS[version]``, one step at a time."""

_MIGRATIONS: dict[int, Any] = {}


def save_corpus(corpus: Corpus, out: Path, *, force: bool = False) -> Corpus:
    """Write a corpus to a new folder, whole or not at all.

    Args:
        corpus: what to write.
        out: the folder; must not exist or be empty.
        force: replace what is there.

    Returns:
        The same corpus, opened from ``out``.

    Raises:
        InputError: ``out`` is not free.
    """
    with new_folder(out, force=force, replaces="corpus.json") as folder:
        try:
            corpus.utterances.to_parquet(folder / "utterances.parquet", index=False)
        except (pa.ArrowException, UnicodeEncodeError) as error:  # a further column of mixed types, half a surrogate pair
            raise InputError(f"{at(out)}a column can't be written as parquet ({error})") from None
        (folder / "features").mkdir()
        for modality, x in corpus.features.items():
            write_npy(folder / "features" / f"{modality}.npy", x)
        names = ["utterances.parquet", *(f"features/{m}.npy" for m in corpus.features)]
        write_json(
            folder / "corpus.json",
            {
                "schema_version": SCHEMA_VERSION,
                "name": corpus.name,
                "source": dict(corpus.source),
                "modalities": {m: _about(v) for m, v in corpus.modalities.items()},
                "targets": {t: v.to_json() for t, v in corpus.targets.items()},
                "notes": list(corpus.notes),
                "content_sha256": corpus.content_sha256,
                "files": {name: file_record(folder / name) for name in names},
            },
        )
    return open_corpus(out)


def open_corpus(path: Path, *, check: Literal["sizes", "full"] = "sizes") -> Corpus:
    """Open a corpus folder, features memory-mapped.

    Args:
        path: a folder that :func:`save_corpus` wrote (or anyone, to the same format).
        check: ``"sizes"``: the files are there and of the recorded sizes; ``"full"``: every hash and every rule of the format.

    Raises:
        InputError: not a corpus, damaged, or of a newer schema.
    """
    if not (path / "corpus.json").is_file():
        raise InputError(f"{at(path)}expected a corpus folder with corpus.json in it, found none; `dglmerc import` makes one")
    about = _migrated(read_json(path / "corpus.json"), path / "corpus.json")
    try:
        modalities = {m: Modality(int(v["width"]), str(v["provenance"]), dict(v.get("recipe", {}))) for m, v in about["modalities"].items()}
        targets = {t: Target.from_json(v) for t, v in about["targets"].items()}
        files, name, content = about["files"], str(about["name"]), str(about["content_sha256"])
        source, notes = dict(about.get("source", {})), tuple(map(str, about.get("notes", ())))
        unrecorded = {"utterances.parquet", *(f"features/{m}.npy" for m in modalities)} - set(files)
        if unrecorded:
            raise InputError(f"{at(path / 'corpus.json')}expected a record of every file, found none of {', '.join(sorted(unrecorded))}")
        verify_files(path, files, hashes=check == "full")
    except (KeyError, TypeError, ValueError, AttributeError, OverflowError) as error:
        raise InputError(f"{at(path / 'corpus.json')}expected the entries of schema {SCHEMA_VERSION}, found a fault at {error}") from None
    table = read_parquet(path / "utterances.parquet")
    types = column_types(targets, tuple(modalities))
    missing = [column for column in types if column not in table]
    if missing:
        raise InputError(f"{at(path / 'utterances.parquet')}expected the columns {', '.join(types)}; missing: {', '.join(missing)}")
    features = {m: _open_features(path / "features" / f"{m}.npy", v.width) for m, v in modalities.items()}
    if check == "full":
        check_corpus(table, features, targets, where=str(path))
    try:
        table = table.astype(types)
    except (TypeError, ValueError) as error:
        raise InputError(f"{at(path / 'utterances.parquet')}expected columns of the format's types, found a fault ({error})") from None
    corpus = Corpus(name, table, features, modalities, targets, source, notes, path)
    if check == "full" and corpus.content_sha256 != content:
        raise InputError(f"{at(path)}the content is not what corpus.json's content_sha256 says; import the corpus again")
    corpus.__dict__["content_sha256"] = content  # the cached property: not computed again for every run
    return corpus


def _about(modality: Modality) -> dict[str, Any]:
    about: dict[str, Any] = {"width": modality.width, "provenance": modality.provenance}
    return about | ({"recipe": dict(modality.recipe)} if modality.recipe else {})


def read_parquet(path: Path) -> pd.DataFrame:
    """A parquet file as a table.

    Raises:
        InputError: not a parquet file.
    """
    try:
        read = pq.read_table(path)
        read.validate(full=True)  # text that is no UTF-8 would be found where it is first looked at
        table: pd.DataFrame = read.to_pandas()
    except (pa.ArrowException, OSError, ValueError, TypeError, KeyError, AttributeError) as error:  # the last four: pandas' notes in it
        raise InputError(f"{at(path)}expected a parquet file, found something else ({error})") from None
    return table


def _open_features(path: Path, width: int) -> Any:
    try:
        x = np.load(path, mmap_mode="r", allow_pickle=False)
    except NPY_FAULTS as error:
        raise InputError(f"{at(path)}expected a .npy array of float32, found something else ({error})") from None
    if x.dtype != np.float32 or x.ndim != 2 or x.shape[1] != width:
        raise InputError(f"{at(path)}expected float32 [rows, {width}], found {x.dtype} {list(x.shape)}")
    return x


def _migrated(about: dict[str, Any], path: Path) -> dict[str, Any]:
    version = about.get("schema_version")
    if not isinstance(version, int) or version < 1:
        raise InputError(f"{at(path)}expected a schema_version, found {version!r}: not a corpus of this toolkit")
    if version > SCHEMA_VERSION:
        raise InputError(f"{at(path)}schema {version} is newer than this dglmerc knows ({SCHEMA_VERSION}); update dglmerc")
    while version < SCHEMA_VERSION:
        about = _MIGRATIONS[version](about)
        version += 1
    return about
