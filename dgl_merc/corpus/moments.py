"""Columns of features in numbers, in one pass over pieces: bounded memory whatever the size.

    mean, M2 of both = of a and b:   d = mean_b - mean_a,  mean = mean_a + d n_b / n,  M2 = M2_a + M2_b + d^2 n_a n_b / n

n rows. Chan, Golub and LeVeque, The American Statistician 37 (1983), eq. 2.1.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from dgl_merc.corpus.pieces import pieces_of

__all__ = ["Moments", "moments"]

Array = npt.NDArray[Any]


@dataclass(frozen=True)
class Moments:
    """Of the columns of some rows.

    Attributes:
        count: rows.
        mean: [width] float64; zeros without a row, as all others.
        std: [width] of the population.
        least: [width].
        greatest: [width].
    """

    count: int
    mean: Array
    std: Array
    least: Array
    greatest: Array

    @property
    def scale(self) -> Array:
        """[width] the greatest absolute value."""
        return np.maximum(np.abs(self.least), np.abs(self.greatest))


def moments(x: Array, kept: npt.NDArray[np.bool_] | None = None) -> Moments:
    """Of the rows of ``x`` [N, width] that ``kept`` [N] has; default: all."""
    width, n = x.shape[1], 0
    mean, squares = np.zeros(width), np.zeros(width)
    least, greatest = np.full(width, np.inf), np.full(width, -np.inf)
    for lo, whole in pieces_of(x):
        piece = (whole if kept is None else whole[kept[lo : lo + len(whole)]]).astype(np.float64)
        if not len(piece):
            continue
        own, m, total = piece.mean(axis=0), len(piece), n + len(piece)
        apart = own - mean
        squares += np.square(piece - own).sum(axis=0) + np.square(apart) * (n * m / total)
        mean, n = mean + apart * (m / total), total
        least, greatest = np.minimum(least, piece.min(axis=0)), np.maximum(greatest, piece.max(axis=0))
    if not n:
        return Moments(0, *(np.zeros(width) for _ in range(4)))
    return Moments(n, mean, np.sqrt(squares / n), least, greatest)
