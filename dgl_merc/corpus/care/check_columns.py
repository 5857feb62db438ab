"""Columns that give the label away: an id that spells it, a text that begins with it, a score it was made from.

telling-column    from the column alone, a rule learnt on train is right for at least 95 % of the labelled utterances of the other splits
                  that it knows, it knows half of them or more and at least 20, and it beats the most frequent label by half of the way to
                  100 %. Without other splits, the odd dialogues are asked by the even ones. A leak for the text and the speaker, which
                  models hear of; a warning for ids, times and further columns, which no model here reads

The rules that are tried, each for a target: the value itself; the first four and the last four words of it, each by its place (words are
runs of letters or of digits; brackets count for nothing); of numbers, which of 64 equally filled bins of train they are in.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from dgl_merc.corpus.care.findings import Finding
from dgl_merc.corpus.corpus import Corpus, presence_column

__all__ = ["check_columns"]

Array = npt.NDArray[Any]
_RIGHT, _KNOWN, _LEAST, _GAIN = 0.95, 0.5, 20, 0.5
_WORDS, _BINS = 4, 64
_HEARD = ("text", "speaker")


def check_columns(corpus: Corpus) -> Iterator[Finding]:
    """The rule of this module, for every target with classes or signs and every column that is neither target nor presence."""
    flags = {presence_column(m) for m in corpus.modalities}
    columns = [c for c in corpus.utterances.columns if c not in (*corpus.targets, *flags, "split")]
    learn, ask = _halves(corpus)
    for target, about in corpus.targets.items():
        if not about.classes:
            continue
        labels = corpus.labels(target)
        learnt, asked = learn & (labels >= 0), ask & (labels >= 0)
        if not learnt.any() or asked.sum() < _LEAST:
            continue
        for column in columns:
            found = [(*_judged(key, labels, learnt, asked), how) for how, key in _keys(corpus.utterances[column], learnt)]
            found = [
                f for f in found if f[0] >= _RIGHT and f[1] >= _KNOWN * asked.sum() and f[1] >= _LEAST and f[0] - f[2] >= _GAIN * (1 - f[2])
            ]
            if found:
                right, count, usual, how = max(found)
                said = (
                    f"{column}: {how} tells {target}: right for {100 * right:.1f} % of {count} utterances it was not learnt on "
                    f"(the most frequent label: {100 * usual:.1f} %)"
                )
                advice = "take the label out of it before features are made from it" if column in _HEARD else "give no model this column"
                yield Finding("telling-column", "leak" if column in _HEARD else "warning", said, count, (), advice)


def _halves(corpus: Corpus) -> tuple[Array, Array]:
    """[U] what a rule is learnt on, and what it is asked about."""
    train = (corpus.utterances["split"] == "train").to_numpy()
    if train.any() and not train.all():
        return train, ~train
    even = np.repeat(np.arange(len(corpus)) % 2 == 0, corpus.lengths)
    return even, ~even


def _keys(column: pd.Series[Any], learnt: Array) -> Iterator[tuple[str, Array]]:
    """How a column is read, and [U] numbers equal where it reads equal; -1: nothing to read."""
    text = column.astype("str")  # a cell may hold anything, even a list
    yield "its value", text.factorize()[0]
    if pd.api.types.is_numeric_dtype(column) and not pd.api.types.is_bool_dtype(column):
        numbers = column.to_numpy(dtype=np.float64, na_value=np.nan)
        known = numbers[learnt & np.isfinite(numbers)]
        if len(known):
            edges = np.unique(np.quantile(known, np.linspace(0, 1, _BINS + 1)[1:-1]))
            yield "which numbers are greater", np.where(np.isfinite(numbers), np.searchsorted(edges, numbers), -1)
        return
    places = [*range(_WORDS), *range(-1, -1 - _WORDS, -1)]
    codes = np.full((len(places), len(text)), -1, dtype=np.int32)
    numbers_of: dict[str, int] = {}
    for u, cell in enumerate(text.fillna("")):
        words = re.findall(r"[^\W\d_]+|\d+", cell.casefold())
        for k, place in enumerate(places):
            if -len(words) <= place < len(words):
                codes[k, u] = numbers_of.setdefault(words[place], len(numbers_of))
    for place, code in zip(places, codes, strict=True):
        yield (
            f"its word {place + 1}" if place >= 0 else f"its word {-place} from the end",
            pd.factorize(np.where(code < 0, np.nan, code))[0],
        )


def _judged(key: Array, labels: Array, learnt: Array, asked: Array) -> tuple[float, int, float]:
    """Share of right answers among utterances whose key is known, how many those are, and what the most frequent label gets of them."""
    classes = int(labels.max()) + 1
    kept = learnt & (key >= 0)
    counts = np.bincount(key[kept] * classes + labels[kept], minlength=(int(key.max(initial=0)) + 1) * classes).reshape(-1, classes)
    known = asked & (key >= 0)
    known[known] = counts.sum(axis=1)[key[known]] > 0
    if not known.any():
        return 0.0, 0, 1.0
    usual = int(np.bincount(labels[learnt]).argmax())
    right = counts.argmax(axis=1)[key[known]] == labels[known]
    return float(right.mean()), int(known.sum()), float((labels[known] == usual).mean())
