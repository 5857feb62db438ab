"""Vectors and texts by their hashes: which are equal, in one pass and eight bytes a vector."""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from dgl_merc.corpus.corpus import Corpus
from dgl_merc.corpus.moments import Moments, moments
from dgl_merc.corpus.pieces import pieces_of

__all__ = ["Texts", "Vectors", "texts_of", "vectors_of"]

Array = npt.NDArray[Any]


@dataclass(frozen=True)
class Texts:
    """What was said.

    Attributes:
        code: [U] equal for texts of equal words, without case and punctuation; -1: no word in it.
        exact: [U] equal for texts that are equal but for case and white space; -1: empty.
        words: [U] how many.
    """

    code: npt.NDArray[np.int64]
    exact: npt.NDArray[np.int64]
    words: npt.NDArray[np.int64]


@dataclass(frozen=True)
class Vectors:
    """Of P utterances that have a modality.

    Attributes:
        rows: [P] which they are.
        key: [P] equal for equal vectors (64 bits of BLAKE2b: of two million different vectors, two are taken for equal once in ten million
            corpora).
        zero: [P] whether all numbers are zero.
        text: [P] :attr:`Texts.exact`.
        spread: of all columns.
    """

    rows: npt.NDArray[np.int64]
    key: npt.NDArray[np.uint64]
    zero: npt.NDArray[np.bool_]
    text: npt.NDArray[np.int64]
    spread: Moments


def texts_of(corpus: Corpus) -> Texts:
    """The texts of a corpus."""
    said = corpus.utterances["text"].fillna("").str.casefold()
    words = [re.findall(r"\w+", text) for text in said]
    joined = pd.Series([" ".join(found) for found in words], dtype="str")
    counts = np.array([len(found) for found in words], dtype=np.int64)
    return Texts(_codes(joined), _codes(said.str.split().str.join(" ")), counts)


def _codes(texts: pd.Series[Any]) -> npt.NDArray[np.int64]:
    codes: npt.NDArray[np.int64] = np.where(texts == "", -1, texts.factorize()[0]).astype(np.int64)
    return codes


def vectors_of(corpus: Corpus, modality: str, texts: Texts) -> Vectors:
    """The vectors of a modality, read once, in pieces."""
    rows = np.flatnonzero(corpus.presence[:, list(corpus.modalities).index(modality)])
    x = corpus.features[modality]
    key, zero = np.zeros(len(x), dtype=np.uint64), np.zeros(len(x), dtype=bool)
    for lo, piece in pieces_of(x):
        numbers = piece + np.float32(0)  # -0 is 0
        zero[lo : lo + len(piece)] = ~numbers.any(axis=1)
        hashes = b"".join(hashlib.blake2b(row.tobytes(), digest_size=8).digest() for row in numbers)
        key[lo : lo + len(piece)] = np.frombuffer(hashes, dtype=np.uint64)
    return Vectors(rows, key, zero, texts.exact[rows], moments(x))
