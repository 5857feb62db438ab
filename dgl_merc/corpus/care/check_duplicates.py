"""What stands in two places: dialogues, passages and vectors.

In dialogues "Yes." repeats by nature: short texts alone count for nothing. Texts are compared by their words, without case and punctuation.

duplicate-dialogues   two dialogues of equal texts, with 8 words or more in all: a leak across splits, a warning within one
duplicate-passages    across splits, outside of such dialogues: an utterance of 12 words or more, or an utterance and the next one, with
                      words in both and 10 or more together, that stands in two splits: a leak. It counts only where 9 of 10 texts of 5
                      words or more differ from all others of their split: texts made by a template repeat by nature, too
duplicate-vectors     across splits, outside of both: a vector (not zero, not padding) of a dialogue of each of two splits: a leak. It
                      counts only where equality says something: at least half of the vectors of a split differ from each other. Where
                      texts are equal, it does not count if the modality says of equal texts (but for case and white space) the same in 9
                      of 10 cases, as sentence embeddings do
speakers-in-splits    names of speakers that stand in two splits
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from dgl_merc.corpus.care.findings import Finding, places
from dgl_merc.corpus.care.vectors import Texts, Vectors
from dgl_merc.corpus.corpus import Corpus
from dgl_merc.corpus.summary import shared_speakers

__all__ = ["check_duplicates"]

Array = npt.NDArray[Any]
_DIALOGUE_WORDS, _LONG, _PAIR = 8, 12, 10
_DISTINCT_VECTORS, _DISTINCT_TEXTS, _FOLLOWS = 0.5, 0.9, 0.9
_PADDING = 10
_APART = "take the copies out of train, or out of the table that was imported"


def check_duplicates(corpus: Corpus, texts: Texts, vectors: dict[str, Vectors]) -> Iterator[Finding]:
    """The rules of this module.

    Args:
        corpus: opened.
        texts: of its utterances.
        vectors: modality -> what is known of its vectors.
    """
    split = corpus.utterances["split"].factorize()[0]
    twins = _dialogues(corpus, texts)
    across, within = _spanning(twins, split[corpus.offsets[:-1]])
    copied = np.zeros(len(split), dtype=bool)
    for severity, found, where in (("leak", across, "in two splits"), ("warning", within, "within a split")):
        rows = corpus.offsets[found]
        copied |= np.repeat(np.isin(np.arange(len(corpus)), found), corpus.lengths)
        if len(found):
            said = f"{len(found)} dialogues have the same texts as another {where}"
            yield Finding("duplicate-dialogues", severity, said, len(found), places(corpus, rows), _APART)  # type: ignore[arg-type]
    passages = _passages(corpus, texts, split, copied)
    if len(passages):
        said = f"{len(passages)} utterances belong to passages that stand word for word in two splits"
        yield Finding("duplicate-passages", "leak", said, len(passages), places(corpus, passages), _APART)
    copied[passages] = True
    for modality, known in vectors.items():
        yield from _vectors(corpus, modality, known, split, copied)
    if shared := shared_speakers(corpus):
        said = f"{shared} of {corpus.utterances['speaker'].nunique()} speakers occur in more than one split"
        advice = "say so beside scores, or: dglmerc corpus split CORPUS OUT --group speaker (speakers known by one name everywhere)"
        yield Finding("speakers-in-splits", "warning", said, shared, (), advice)


def _dialogues(corpus: Corpus, texts: Texts) -> Array:
    """[B] equal for dialogues of equal texts; -1 for those with too few words."""
    bounds = list(zip(corpus.offsets[:-1].tolist(), corpus.offsets[1:].tolist(), strict=True))
    code = pd.factorize(np.array([texts.code[lo:hi].tobytes() for lo, hi in bounds], dtype=object))[0]
    return np.where(np.add.reduceat(texts.words, corpus.offsets[:-1]) >= _DIALOGUE_WORDS, code, -1)


def _spanning(code: Array, split: Array) -> tuple[Array, Array]:
    """Places whose code (-1: none) stands in several splits; and those that share theirs, all in one split."""
    known = np.flatnonzero(code >= 0)
    _, of, count = np.unique(code[known], return_inverse=True, return_counts=True)
    low, high = np.full(len(count), np.iinfo(np.int64).max), np.full(len(count), -1)
    np.minimum.at(low, of, split[known])
    np.maximum.at(high, of, split[known])
    spans = low != high
    return known[spans[of]], known[(~spans & (count > 1))[of]]


def _passages(corpus: Corpus, texts: Texts, split: Array, copied: Array) -> Array:
    """Rows of long texts, and of pairs of neighbours, that stand in two splits."""
    telling = (texts.words >= _PAIR // 2) & ~copied
    if _distinct(texts.code[telling], split[telling]) < _DISTINCT_TEXTS:
        return np.zeros(0, dtype=np.int64)
    single = np.where((texts.words >= _LONG) & ~copied, texts.code, -1)
    first = np.flatnonzero(corpus.utterances["position"].to_numpy()[1:] > 0)  # rows with another after them
    enough = (texts.words[first] > 0) & (texts.words[first + 1] > 0) & (texts.words[first] + texts.words[first + 1] >= _PAIR)
    first = first[enough & ~copied[first]]
    pair = texts.code[first] * (texts.code.max(initial=0) + 1) + texts.code[first + 1]
    begins = first[_spanning(pair, split[first])[0]]
    return np.unique(np.concatenate([_spanning(single, split)[0], begins, begins + 1]))


def _distinct(code: Array, split: Array) -> float:
    """How much of what is in a split differs from all else in it."""
    pairs = np.unique(np.stack([code, split]), axis=1).shape[1]
    return float(pairs / len(code)) if len(code) else 1.0


def _vectors(corpus: Corpus, modality: str, known: Vectors, split: Array, copied: Array) -> Iterator[Finding]:
    if not len(known.key):
        return
    _, of, count = np.unique(known.key, return_inverse=True, return_counts=True)
    if _distinct(of, split[known.rows]) < _DISTINCT_VECTORS:
        return
    usable = ~known.zero & (count[of] < _PADDING) & ~copied[known.rows]
    spans = _spanning(np.where(usable, of, -1), split[known.rows])[0]
    if _follows_text(known):
        alike = pd.Series(known.text[spans]).groupby(of[spans]).transform("nunique").to_numpy() == 1
        spans = spans[~(alike & (known.text[spans] >= 0))]
    if len(spans):
        rows = known.rows[spans]
        said = f"{modality}: {len(rows)} of {len(of)} vectors stand in two splits, {len(set(of[spans].tolist()))} different ones"
        yield Finding("duplicate-vectors", "leak", said, len(rows), places(corpus, rows), _APART)


def _follows_text(known: Vectors) -> bool:
    """Whether utterances of one text have one vector, nearly always: neighbours in a list by text are asked."""
    order = np.lexsort((known.key, known.text))
    order = order[known.text[order] >= 0]
    same = known.text[order][1:] == known.text[order][:-1]
    equal = known.key[order][1:] == known.key[order][:-1]
    return bool(same.any() and equal[same].mean() >= _FOLLOWS)
