"""Vectors that say nothing, or too loudly.

zero-vectors      a vector of zeros alone: most public files write an absent modality so
repeated-vectors  one vector, not zero, for at least 10 utterances and 1 % of those that have the modality, with three or more different
                  texts (or none): padding, or an extractor that failed
near-constant     the same vector for more than half of the utterances, or no column that varies by a 10^-6th of its size
constant-columns  columns with one value on train (on everything, without train); those that vary elsewhere are counted
wild-columns      columns whose greatest absolute value on train is more than 1000 times the median column's
far-values        a value on train further than 30 standard deviations from its column's mean
huge-values       an absolute value above 10^18: squares of it overflow float32
absent-in-split   a modality that train has, and no utterance of another split, or the other way round

Standardising (the default of ``build-graphs`` and ``fit``) mends wild columns. NaN and infinity can't be in a corpus.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import numpy.typing as npt

from dgl_merc.corpus.care.findings import Finding, places
from dgl_merc.corpus.care.vectors import Vectors
from dgl_merc.corpus.corpus import Corpus
from dgl_merc.corpus.moments import Moments, moments
from dgl_merc.corpus.pieces import pieces_of

__all__ = ["check_features"]

Array = npt.NDArray[Any]
_PADDING, _PADDING_SHARE, _PADDING_TEXTS = 10, 0.01, 3
_WILD, _FAR, _HUGE, _FLAT = 1e3, 30.0, 1e18, 1e-6


def check_features(corpus: Corpus, vectors: dict[str, Vectors]) -> Iterator[Finding]:
    """The rules of this module.

    Args:
        corpus: opened.
        vectors: modality -> what is known of its vectors.
    """
    split = corpus.utterances["split"].to_numpy(dtype=object)
    for modality, known in vectors.items():
        train = split[known.rows] == "train"
        kept = train if train.any() else np.ones(len(train), dtype=bool)
        where = "train" if train.any() else "all splits"
        x = corpus.features[modality]
        here, all_over = moments(x, kept), moments(x)
        yield from _zeros(corpus, modality, known)
        if here.count < 2:
            continue
        yield from _repeated(corpus, modality, known)
        flat = here.greatest == here.least
        if flat.any() and not flat.all():
            yield _constant(modality, flat, all_over, where)
        yield from _wild(modality, here, where)
        yield from _far(corpus, modality, known, here, kept, where)
        if all_over.scale.max() > _HUGE:
            columns = np.flatnonzero(all_over.scale > _HUGE)
            said = f"{modality}: {len(columns)} columns hold values up to {all_over.scale.max():.3g} (the first is column {columns[0]})"
            yield Finding(
                "huge-values", "warning", said, len(columns), (), "scale these columns, or take their logarithm, before importing"
            )
    yield from _splits(corpus, split)


def _zeros(corpus: Corpus, modality: str, known: Vectors) -> Iterator[Finding]:
    if len(zeros := known.rows[known.zero]):
        said = f"{modality}: {len(zeros)} of {len(known.rows)} vectors are all zero ({100 * len(zeros) / len(known.rows):.1f} %)"
        advice = f"if zero means absent: dglmerc corpus convert CORPUS OUT --zeros-absent {modality}"
        yield Finding("zero-vectors", "warning", said, len(zeros), places(corpus, zeros), advice)


def _repeated(corpus: Corpus, modality: str, known: Vectors) -> Iterator[Finding]:
    value, first, of, count = np.unique(known.key, return_index=True, return_inverse=True, return_counts=True)
    top = int(count.argmax())
    scale = np.maximum(np.abs(known.spread.mean), np.abs(known.spread.greatest))
    if count[top] > len(known.key) / 2 or (known.spread.std <= _FLAT * np.where(scale > 0, scale, 1)).all():
        said = f"{modality}: {count[top]} of {len(known.key)} vectors are one and the same, {len(value)} differ at all"
        advice = f"look at how {modality} was extracted; a model can learn next to nothing from it"
        yield Finding("near-constant", "warning", said, int(count[top]), places(corpus, known.rows[of == top]), advice)
    often = (count >= max(_PADDING, _PADDING_SHARE * len(known.key))) & ~known.zero[first]
    padding = [k for k in np.flatnonzero(often).tolist() if _texts(known.text[of == k]) >= _PADDING_TEXTS]
    if padding:
        rows = known.rows[np.isin(of, padding)]
        said = f"{modality}: {len(padding)} vectors stand for {len(rows)} of {len(known.key)} utterances of different texts"
        advice = f"look at how {modality} was extracted: padding should be absent (an empty cell, or a NaN with --nan absent)"
        yield Finding("repeated-vectors", "warning", said, len(rows), places(corpus, rows), advice)


def _texts(text: Array) -> int:
    """How many different texts; where there is none, as many as utterances."""
    return len(set(text.tolist()) - {-1}) + int((text == -1).sum())


def _constant(modality: str, flat: Array, all_over: Moments, where: str) -> Finding:
    columns = np.flatnonzero(flat)
    elsewhere = int((all_over.greatest > all_over.least)[flat].sum())
    said = f"{modality}: {len(columns)} of {len(flat)} columns have one value on {where} (the first is column {columns[0]}"
    said += f"; {elsewhere} of them vary elsewhere)" if elsewhere else ")"
    return Finding("constant-columns", "warning", said, len(columns), (), "harmless to a model that scales them away, and of no use to any")


def _wild(modality: str, here: Moments, where: str) -> Iterator[Finding]:
    usual = float(np.median(here.scale[here.scale > 0])) if (here.scale > 0).any() else 0.0
    columns = np.flatnonzero(here.scale > _WILD * usual) if usual else np.zeros(0, dtype=np.int64)
    if len(columns):
        top = int(here.scale.argmax())
        said = (
            f"{modality}: {len(columns)} of {len(here.scale)} columns reach more than {_WILD:g} times as far as the median one on {where} "
            f"(column {top}: {here.scale[top]:.3g}, median {usual:.3g})"
        )
        advice = "keep --scaling standard, or scale these columns, or take their logarithm, before importing"
        yield Finding("wild-columns", "warning", said, len(columns), (), advice)


def _far(corpus: Corpus, modality: str, known: Vectors, here: Moments, kept: Array, where: str) -> Iterator[Finding]:
    limit = np.where(here.std > 0, _FAR * here.std, np.inf)
    if not ((np.maximum(here.greatest - here.mean, here.mean - here.least)) > limit).any():
        return
    rows: list[int] = []
    for lo, piece in pieces_of(corpus.features[modality]):
        far = (np.abs(piece - here.mean) > limit).any(axis=1) & kept[lo : lo + len(piece)]
        rows += known.rows[lo + np.flatnonzero(far)].tolist()
    said = f"{modality}: {len(rows)} vectors of {where} hold a value more than {_FAR:g} standard deviations from its column's mean"
    advice = "look at these utterances: a failed extraction, or a column that wants a logarithm"
    yield Finding("far-values", "warning", said, len(rows), places(corpus, rows), advice)


def _splits(corpus: Corpus, split: Array) -> Iterator[Finding]:
    names = list(dict.fromkeys(split.tolist()))
    for k, modality in enumerate(corpus.modalities):
        share = {s: float(corpus.presence[split == s, k].mean()) for s in names}
        without = [s for s in names if not share[s]]
        if without and any(share.values()):
            have = ", ".join(f"{s} {100 * v:.1f} %" for s, v in share.items())
            said = f"{modality}: no utterance of {' and '.join(without)} has it ({have})"
            advice = f"find the missing file, or leave it out: dglmerc corpus convert CORPUS OUT --drop {modality}"
            yield Finding("absent-in-split", "warning", said, len(without), (), advice)
