"""Fewer numbers a vector: the leading principal directions of the training split's present rows, modality by modality.

    C = 1/n sum_r (z_r - c)(z_r - c)',   C v_i = lambda_i v_i,   lambda_1 >= lambda_2 >= ...
    y = V' (z - c) / s,   V = [v_1 ... v_k],   s = sqrt(mean of lambda_1 ... lambda_k)  if z is standardised, else 1

n training rows z [width], as :class:`~dgl_merc.corpus.scaling.Scaling` leaves them; c their mean; k < width. The largest loading of a
direction is positive. A direction along which the training rows do not vary (lambda_i at most 1e-10 of lambda_1: there are fewer rows, or
columns that follow from others) is a column of zeros in V, and in no mean: what dev has along it, nobody has learnt.

One divisor for all, so that lengths and angles stay as PCA leaves them, and y is of the size that standardised columns have: models need no
other learning rate. Dividing each direction by its own deviation (whitening) would blow up the weakest to the size of the first.

Exact: the covariance is accumulated in float64 over pieces of rows, and LAPACK takes its k leading directions. It has width^2 numbers:
ComParE's 6373 columns make 325 MB. Incremental and randomised PCA need less, and are not PCA's directions where the spectrum is flat.

Source: the papers name widths (MGLRA, section III-A: text and audio 100; MA-CMU-SGRNet, IV-C: audio 100) and not how their features came to
have them; principal components are our reading.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from dgl_merc.corpus.pieces import rows_at_once
from dgl_merc.errors import InputError

__all__ = ["WIDEST", "Reduction", "parse_reduction", "principal_directions", "reduced_widths"]

Array = npt.NDArray[Any]

WIDEST = 16384
"""Columns that can be reduced: their covariance takes 2 GiB."""
_FLAT = 1e-10
_OTHERS = ""  # the name under which a number stands that is for all modalities


@dataclass(frozen=True)
class Reduction:
    """From a vector to k numbers.

    Attributes:
        centre: c [width] float64.
        basis: V / s [width, k] float64.
        shares: [k] float64, lambda_i over the sum of all: the share of the training rows' variance that a direction keeps; 0: none.
    """

    centre: Array
    basis: Array
    shares: Array

    def apply(self, z: Array) -> Array:
        """[N, width] -> [N, k] float32; summed in float64, so that a row hardly depends on how many stand beside it.

        What is not finite, or beyond float32, is not finite.
        """
        with np.errstate(over="ignore", invalid="ignore"):
            reduced: Array = ((z - self.centre) @ self.basis).astype(np.float32)
        return reduced


def parse_reduction(words: str) -> dict[str, int]:
    """Modality -> number of components, as ``data.reduce`` says; under the empty name that of all others.

    Raises:
        ValueError: not a number above 0 or ``modality:number``, or a modality named twice.

    >>> parse_reduction("100,visual:512"), parse_reduction("text:100+audio:100"), parse_reduction("")
    ({'': 100, 'visual': 512}, {'text': 100, 'audio': 100}, {})
    """
    asked: dict[str, int] = {}
    for word in filter(None, map(str.strip, re.split("[,+]", words))):
        name, colon, number = (part.strip() for part in word.rpartition(":"))
        if bool(name) != bool(colon) or not re.fullmatch("0*[1-9][0-9]{0,8}", number):
            raise ValueError(f"reduce must be a number, such as 100, or modality:number, such as text:100,audio:100; found {word!r}")
        if name in asked:
            raise ValueError(f"reduce must name {name or 'a number for all modalities'} once, found {words!r}")
        asked[name] = int(number)
    return asked


def reduced_widths(words: str, widths: Mapping[str, int]) -> dict[str, int]:
    """What is left of each modality: the number asked for, or its width where that is no more.

    Args:
        words: as :func:`parse_reduction` takes them.
        widths: modality -> width.

    Raises:
        InputError: more than :data:`WIDEST` columns are to be reduced.
    """
    asked = parse_reduction(words)
    left = {m: min(width, asked.get(m, asked.get(_OTHERS, width))) for m, width in widths.items()}
    for m, width in widths.items():
        if left[m] < width > WIDEST:
            raise InputError(
                f"data.reduce: {m}: expected at most {WIDEST} columns, found {width}: leave it out (data.reduce=modality:number)"
            )
    return left


def principal_directions(x: Array, rows: npt.NDArray[np.int64], prepare: Callable[[Array], Array], k: int, *, unit: bool) -> Reduction:
    """The k leading directions of some rows.

    Args:
        x: [N, width]; read in pieces, twice.
        rows: n >= 1 numbers of rows.
        prepare: [n', width] rows of x -> [n', width] z.
        k: from 1 to width.
        unit: whether s is the root of the mean variance; else 1.

    Raises:
        InputError: a number that is not finite, or whose square is not.
    """
    from scipy.linalg import eigh  # what whoever reduces nothing need not wait for
    from scipy.linalg.blas import dsyrk

    width = x.shape[1]
    step = rows_at_once(width)

    def pieces() -> Iterator[Array]:
        for lo in range(0, len(rows), step):
            yield prepare(x[rows[lo : lo + step]]).astype(np.float64)

    centre: Array = np.zeros(width)
    covariance = np.zeros((width, width), order="F")
    with np.errstate(over="ignore", invalid="ignore"):
        for piece in pieces():
            centre += piece.sum(axis=0) / len(rows)
        for piece in pieces():
            covariance = dsyrk(1.0 / len(rows), (piece - centre).T, 1.0, covariance, overwrite_c=1)  # its upper triangle, in place
    total = float(np.trace(covariance))
    if not np.isfinite(total):
        raise InputError("expected numbers whose squares are finite, found others")
    values, vectors = eigh(covariance, lower=False, overwrite_a=True, check_finite=False, subset_by_index=[width - k, width - 1])
    values, vectors = values[::-1], vectors[:, ::-1]
    varies = values > _FLAT * max(float(values[0]), 0.0)
    signs = np.where(vectors[np.abs(vectors).argmax(axis=0), np.arange(k)] < 0, -1.0, 1.0)
    size = np.sqrt(values[varies].mean()) if unit and varies.any() else 1.0
    basis = np.where(varies, vectors * (signs / size), 0.0)
    return Reduction(centre, basis, np.where(varies, values / (total or 1.0), 0.0))
