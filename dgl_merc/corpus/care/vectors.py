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
    code, exact = _Codes(), _Codes()
    words = np.zeros(len(corpus.utterances), dtype=np.int64)
    for u, text in enumerate(corpus.utterances["text"].fillna("")):
        folded = text.casefold()
        found = re.findall(r"\w+", folded)
        words[u] = len(found)
        code.add(" ".join(found))
        exact.add(" ".join(folded.split()))
    return Texts(code.array(), exact.array(), words)


class _Codes:
    """Numbers for texts, equal for equal ones: a text is known by 64 bits and not kept."""

    def __init__(self) -> None:
        self.keys = bytearray()
        self.empty: list[int] = []

    def add(self, text: str) -> None:
        if not text:
            self.empty.append(len(self.keys) // 8)
        self.keys += _key(text.encode("utf-8", "surrogatepass"))

    def array(self) -> npt.NDArray[np.int64]:
        codes: npt.NDArray[np.int64] = pd.factorize(np.frombuffer(bytes(self.keys), dtype=np.uint64))[0].astype(np.int64)
        codes[self.empty] = -1
        return codes


def _key(content: bytes) -> bytes:
    return hashlib.blake2b(content, digest_size=8).digest()


def vectors_of(corpus: Corpus, modality: str, texts: Texts) -> Vectors:
    """The vectors of a modality, read once, in pieces."""
    rows = np.flatnonzero(corpus.presence[:, list(corpus.modalities).index(modality)])
    x = corpus.features[modality]
    key, zero = np.zeros(len(x), dtype=np.uint64), np.zeros(len(x), dtype=bool)
    for lo, piece in pieces_of(x):
        numbers = piece + np.float32(0)  # -0 is 0
        zero[lo : lo + len(piece)] = ~numbers.any(axis=1)
        hashes = b"".join(_key(row.tobytes()) for row in numbers)
        key[lo : lo + len(piece)] = np.frombuffer(hashes, dtype=np.uint64)
    return Vectors(rows, key, zero, texts.exact[rows], moments(x))
