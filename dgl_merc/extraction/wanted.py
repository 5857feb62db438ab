"""What is to be looked at: a key for every utterance, and pieces of work."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from dgl_merc.corpus import Corpus
from dgl_merc.extraction.items import Item
from dgl_merc.extraction.recipe import Recipe
from dgl_merc.extraction.recordings import Places
from dgl_merc.files import file_record

__all__ = ["Wanted", "file_records", "wanted_media", "wanted_text"]

_TEXTS, _CLIPS = 256, 8  # in a piece


@dataclass(frozen=True)
class Wanted:
    """The vectors of one modality that are wanted.

    Attributes:
        keys: [U] SHA-256 of all that a vector depends on: the recipe, and the text, or the file's content, start and end; None: there is
            nothing to look at. Utterances of one key have one vector.
        why: row -> why there is nothing to look at.
        pieces: items, each key once; those of a piece are looked at one after the other, by one extractor. The row of an item is the first
            with its key.
    """

    keys: Sequence[str | None]
    why: Mapping[int, str]
    pieces: Sequence[Sequence[Item]]

    def key(self, item: Item) -> str:
        """Of an item of the pieces."""
        return str(self.keys[item.row])


def wanted_text(corpus: Corpus, recipe: Recipe) -> Wanted:
    """Every utterance's text; pieces in the order of the corpus, the same whatever is known already."""
    texts = [text if isinstance(text, str) else "" for text in corpus.utterances["text"].tolist()]
    keys = [_key(recipe, text) for text in texts]
    items = [Item(row, texts[row]) for row in _first_of(keys)]
    return Wanted(keys, {}, list(_in_pieces(items, _TEXTS)))


def wanted_media(places: Places, folder: Path, recipe: Recipe, records: Mapping[str, Mapping[str, Any]]) -> Wanted:
    """Every stretch of a recording; a recording of several utterances is a piece, from its beginning to its end, long ones first.

    Args:
        places: where utterances are recorded.
        folder: with the files.
        recipe: complete.
        records: path -> its record, of files that can be read.
    """
    keys: list[str | None] = []
    why = dict(places.why)
    times = [[None if np.isnan(t) else float(t) for t in column] for column in (places.start, places.end)]
    for row, (file, start, end) in enumerate(zip(places.file.tolist(), *times, strict=True)):
        record = None if row in why else records.get(places.files[file])
        keys.append(_key(recipe, record["sha256"], start, end) if record else None)
        if record is None:
            why.setdefault(row, "not readable")
    items = [Item(row, None, folder / places.files[places.file[row]], times[0][row], times[1][row]) for row in _first_of(keys)]
    of_file: dict[int, list[Item]] = {}
    for item in sorted(items, key=lambda item: (places.file[item.row], item.start or 0.0, item.row)):
        of_file.setdefault(int(places.file[item.row]), []).append(item)
    long = sorted((piece for piece in of_file.values() if len(piece) > 1), key=len, reverse=True)
    clips = [piece[0] for piece in of_file.values() if len(piece) == 1]
    return Wanted(keys, why, [*long, *_in_pieces(clips, _CLIPS)])


def file_records(folder: Path, places: Sequence[Places], jobs: int) -> dict[str, dict[str, Any]]:
    """Path -> bytes and SHA-256 of every file that is looked at and can be read; each is read once.

    Args:
        folder: with the files.
        places: of one or more modalities.
        jobs: files at a time.
    """
    used = [{found.files[f] for row, f in enumerate(found.file.tolist()) if row not in found.why} for found in places]
    files = sorted(set().union(*used))

    def record(file: str) -> dict[str, Any] | None:
        try:
            return file_record(folder / file)
        except OSError:
            return None

    with ThreadPoolExecutor(jobs) as pool:
        return {file: found for file, found in zip(files, pool.map(record, files), strict=True) if found}


def _key(recipe: Recipe, *what: str | float | None) -> str:
    return hashlib.sha256(json.dumps([recipe.to_json(), *what], sort_keys=True).encode()).hexdigest()


def _first_of(keys: Sequence[str | None]) -> list[int]:
    """The rows where a key stands first."""
    first: dict[str, int] = {}
    for row, key in enumerate(keys):
        if key is not None:
            first.setdefault(key, row)
    return list(first.values())


def _in_pieces(items: Sequence[Item], size: int) -> Iterator[Sequence[Item]]:
    return (items[lo : lo + size] for lo in range(0, len(items), size))
