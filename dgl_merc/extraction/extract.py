"""All utterances of a corpus through extractors, into a corpus that has the new modalities beside what it had."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from dgl_merc.corpus import Corpus, presence_column
from dgl_merc.errors import InputError, at
from dgl_merc.extraction.extractor import open_extractor
from dgl_merc.extraction.items import Absence, Item
from dgl_merc.extraction.recipe import Recipe

__all__ = ["Media", "extract", "reason_column"]


def reason_column(modality: str) -> str:
    """The column of a corpus that says why an utterance has no vector of a modality that was extracted; empty where it has one.

    >>> reason_column("audio")
    'no_audio_because'
    """
    return f"no_{modality}_because"


@dataclass(frozen=True)
class Media:
    """Where recordings are.

    Attributes:
        folder: with the files.
    """

    folder: Path


def extract(
    corpus: Corpus,
    recipes: Mapping[str, Recipe],
    media: Media | None = None,
    *,
    jobs: int = 1,  # noqa: ARG001
    work: Path | None = None,  # noqa: ARG001
) -> Corpus:
    """A corpus with further modalities.

    Args:
        corpus: its utterances have text, or are recorded.
        recipes: modality -> what makes its vectors.
        media: where recordings are; None: there are none.
        jobs: processes that look at recordings.
        work: a folder for what is done already, so that a call that is cut off can be made again; None: all is kept in memory.

    Raises:
        InputError: it has such a modality already, nothing was found that a recipe could be made of, or a model can't be loaded.
    """
    table, features = corpus.utterances.copy(), dict(corpus.features)
    modalities, notes = {}, []
    items = _items(corpus, media)
    for name, recipe in recipes.items():
        if name in features:
            raise InputError(f"{at(corpus.path or corpus.name)}expected a corpus without {name}, found one with it")
        extractor = open_extractor(recipe)
        made = list(extractor.vectors(items))
        there = [x for x in made if not isinstance(x, Absence)]
        features[name] = np.stack(there) if there else np.zeros((0, extractor.width), dtype=np.float32)
        table[presence_column(name)] = [not isinstance(x, Absence) for x in made]
        table[reason_column(name)] = [x.reason if isinstance(x, Absence) else None for x in made]
        modalities[name] = extractor.recipe
        notes += [
            f"{name}: absent from {n} utterances: {said}" for said, n in Counter(x.reason for x in made if isinstance(x, Absence)).items()
        ]
    built = Corpus.build(corpus.name, table, features, corpus.targets, source=corpus.source, notes=(*corpus.notes, *notes))
    about = {
        m: replace(v, provenance=str(modalities[m]), recipe=modalities[m].to_json()) if m in modalities else corpus.modalities[m]
        for m, v in built.modalities.items()
    }
    return replace(built, modalities=about)


def _items(corpus: Corpus, media: Media | None) -> list[Item]:
    """Every utterance; its file is the one in the column ``media``."""
    columns = corpus.utterances.to_dict("list")
    items = []
    for row, (text, start, end) in enumerate(zip(columns["text"], columns["start"], columns["end"], strict=True)):
        file = media.folder / columns["media"][row] if media and "media" in columns else None
        times = [None if t != t or t is None else float(t) for t in (start, end)]
        items.append(Item(row, text if isinstance(text, str) else None, file, *times))
    return items
