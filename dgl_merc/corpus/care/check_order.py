"""Dialogues, times and texts that look out of place.

single-utterances   dialogues of one utterance: no context to hear
order               an utterance that begins before the one it follows
end-before-start    an end before its start
overlaps            an utterance that begins before the one before it ends; people do interrupt each other
empty-texts         utterances without a word, where others have words
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from dgl_merc.corpus.care.findings import Finding, places
from dgl_merc.corpus.care.vectors import Texts
from dgl_merc.corpus.corpus import Corpus

__all__ = ["check_order"]


def check_order(corpus: Corpus, texts: Texts) -> Iterator[Finding]:
    """The rules of this module."""
    total = len(corpus.utterances)
    if len(single := corpus.offsets[:-1][corpus.lengths == 1]):
        said = f"{len(single)} of {len(corpus)} dialogues have one utterance"
        yield Finding("single-utterances", "note", said, len(single), places(corpus, single), "nothing to do; they have no context")
    start, end = (corpus.utterances[c].to_numpy(dtype=np.float64) for c in ("start", "end"))
    later = np.flatnonzero(corpus.utterances["position"].to_numpy()[1:] > 0) + 1
    if len(rows := later[start[later] < start[later - 1]]):
        said = f"{len(rows)} of {total} utterances begin before the one they follow"
        advice = "check what orders the utterances (--position), and whether times begin anew within a dialogue"
        yield Finding("order", "warning", said, len(rows), places(corpus, rows), advice)
    if len(rows := np.flatnonzero(end < start)):
        said = f"{len(rows)} of {total} utterances end before they start"
        yield Finding("end-before-start", "warning", said, len(rows), places(corpus, rows), "check the columns of times")
    if len(rows := later[(start[later] < end[later - 1]) & (start[later] >= start[later - 1])]):
        said = f"{len(rows)} of {total} utterances begin before the one before them ends"
        yield Finding("overlaps", "note", said, len(rows), places(corpus, rows), "nothing to do where speech overlaps")
    silent = texts.words == 0
    if silent.any() and not silent.all():
        rows = np.flatnonzero(silent)
        said = f"{len(rows)} of {total} utterances have no word in their text"
        yield Finding(
            "empty-texts", "note", said, len(rows), places(corpus, rows), "text features of them say nothing; absent would be honest"
        )
