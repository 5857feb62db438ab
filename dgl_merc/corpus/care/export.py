"""A corpus as files for other tools: one CSV, one ``.npy`` per modality, and the line that imports them again.

    utterances.csv     a row an utterance: the core columns, targets, further columns; an empty cell: none
    <modality>.npy     float32 [U, width], row i belongs to row i of the CSV; NaN where the modality is absent
    import.txt         the `dglmerc import table` that reads it back to the same content (``Corpus.content_sha256``)

What a CSV can't say is refused: see :func:`save_table`.
"""

from __future__ import annotations

import csv
import shlex
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from dgl_merc.corpus.care.select import where
from dgl_merc.corpus.corpus import Corpus, presence_column
from dgl_merc.corpus.pieces import rows_at_once
from dgl_merc.corpus.targets import Target
from dgl_merc.errors import InputError, at
from dgl_merc.files import new_folder, write_bytes

__all__ = ["save_table"]

_CSV = "utterances.csv"


def save_table(corpus: Corpus, out: Path, *, force: bool = False) -> str:
    """Write a corpus as a table.

    Args:
        corpus: to write.
        out: a folder that does not exist or is empty.
        force: replace an earlier table there.

    Returns:
        The command that imports it again, with paths as seen from the folder above ``out``.

    Raises:
        InputError: ``out`` is not free, or the CSV could not be read back to the same content: a text here and none there, a NUL
            character, a blank name, a negative time, a label that is empty or holds ``|``, a modality that no utterance has.
    """
    _check(corpus)
    with new_folder(out, force=force, replaces="import.txt") as folder:
        with (folder / _CSV).open("w", encoding="utf-8", newline="") as file:
            _write_rows(corpus, csv.writer(file, lineterminator="\n"))
        for k, modality in enumerate(corpus.modalities):
            _write_features(folder / f"{modality}.npy", corpus, k, modality)
        command = _command(corpus, out.name)
        write_bytes(folder / "import.txt", f"{command}\n".encode())
    return command


def _check(corpus: Corpus) -> None:
    table, place = corpus.utterances, at(where(corpus))
    if table["text"].isna().any() and not table["text"].isna().all():
        raise InputError(f"{place}text: expected texts everywhere or nowhere, as a CSV can't tell no text from an empty one")
    for column in ("start", "end"):
        if (table[column] < 0).any() or np.isinf(table[column]).any():
            raise InputError(f"{place}{column}: expected times from 0, which a table may have, found others")
    for column in ("dialogue_id", "speaker"):
        if (table[column].str.strip() == "").any():
            raise InputError(f"{place}{column}: expected names that are not blank, found one")
    for name, target in corpus.targets.items():
        if ":" in name or any("|" in label or not label for label in target.labels):
            raise InputError(
                f"{place}{name}: expected a target without ':' in its name or '|' in its labels; rename them (--target, --map)"
            )
    for k, modality in enumerate(corpus.modalities):
        if not corpus.presence[:, k].any():
            raise InputError(f"{place}{modality}: expected utterances that have it, found none; leave it out (--drop {modality})")


def _columns(corpus: Corpus) -> dict[str, str]:
    """Column of the corpus -> its name in the CSV."""
    flags = {presence_column(m) for m in corpus.modalities}
    columns = {c: str(c) for c in corpus.utterances.columns if c not in flags}
    if corpus.utterances["text"].isna().all():
        del columns["text"]
    if "utterance_id" in columns and not _names_utterances(corpus):
        columns["utterance_id"] = "original_utterance_id"
    if not all(name.strip() for name in columns.values()) or len(set(columns.values())) < len(columns):
        raise InputError(f"{at(where(corpus))}expected columns with different names, found {', '.join(columns.values())}; rename them")
    return columns


def _names_utterances(corpus: Corpus) -> bool:
    """Whether the column ``utterance_id`` names every utterance of a dialogue, as that of a table must."""
    ids = corpus.utterances["utterance_id"]
    blank = ids.isna() | (ids.astype("str").str.strip() == "")
    pairs = pd.DataFrame({"d": corpus.utterances["dialogue_id"], "u": ids.astype("str")})
    return not blank.any() and not pairs.duplicated().any()


def _write_rows(corpus: Corpus, writer: Any) -> None:
    columns = _columns(corpus)
    writer.writerow(columns.values())
    size = rows_at_once(len(columns))
    for lo in range(0, len(corpus.utterances), size):
        part = corpus.utterances.iloc[lo : lo + size]
        cells = [["" if empty else str(v) for v, empty in zip(part[c].tolist(), part[c].isna(), strict=True)] for c in columns]
        if "\0" in "".join(map("".join, cells)):
            raise InputError(f"{at(where(corpus))}expected text that a CSV can hold, found a NUL character")
        writer.writerows(zip(*cells, strict=True))


def _write_features(path: Path, corpus: Corpus, k: int, modality: str) -> None:
    total, width = len(corpus.utterances), corpus.modalities[modality].width
    size = rows_at_once(width)
    with path.open("wb") as file:
        np.lib.format.write_array_header_1_0(file, {"descr": "<f4", "fortran_order": False, "shape": (total, width)})
        for lo in range(0, total, size):
            present = corpus.presence[lo : lo + size, k]
            rows = corpus.feature_rows[[lo, lo + len(present)], k]
            piece = np.full((len(present), width), np.nan, dtype="<f4")
            piece[present] = corpus.features[modality][rows[0] : rows[1]]
            file.write(piece.data)


def _command(corpus: Corpus, folder: str) -> str:
    words = ["dglmerc", "import", "table", f"{folder}/{_CSV}", f"{folder}-corpus"]
    for modality in corpus.modalities:
        words += ["--features", f"{modality}={modality}.npy"]
    if not corpus.presence.all():
        words += ["--nan", "absent"]
    for name, target in corpus.targets.items():
        words += ["--target", f"{name}:{_said(target)}"]
    return shlex.join(words)


def _said(target: Target) -> str:
    """As ``--target`` takes it."""
    if target.bounds is not None:
        return f"{target.bounds[0]!r}..{target.bounds[1]!r}"
    return "|".join(target.labels)
