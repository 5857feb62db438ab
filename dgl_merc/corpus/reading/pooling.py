"""Sequences of frames as one vector: the mean or the maximum over the frames that are real.

    mean_n = 1 / |F_n| sum_{t in F_n} x_nt        max_n = max_{t in F_n} x_nt, column by column

x [N, T, W]; F_n are the frames of sequence n that a mask leaves (without a mask: those that are not all zero) and whose numbers are
all finite. A sequence without any has no vector. Made in pieces of some ten megabytes: no second copy of an array of gigabytes.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

__all__ = ["How", "Pooled", "length_mask", "pool"]

Array = npt.NDArray[Any]
Bools = npt.NDArray[np.bool_]
How = Literal["mean", "max"]
"""How the frames of an utterance become one vector."""

PIECE = 1 << 22
"""Numbers of a piece."""


@dataclass(frozen=True)
class Pooled:
    """One vector a sequence.

    Attributes:
        vectors: [N, W] float32; of a sequence without a real frame they are zero and mean nothing.
        frames: [N] how many frames each was made of.
        left_out: [N] how many frames were real but held NaN or infinite numbers.
    """

    vectors: npt.NDArray[np.float32]
    frames: npt.NDArray[np.int64]
    left_out: npt.NDArray[np.int64]


def pool(x: Array, mask: Bools | None, how: How) -> Pooled:
    """Pool sequences.

    Args:
        x: [N, T, W] real numbers, perhaps not finite.
        mask: [N, T] which frames are real; None: those that are not all zero.
        how: ``mean`` or ``max``.
    """
    n, t, w = x.shape
    if mask is not None and mask.shape != (n, t):
        raise ValueError(f"mask must be [N={n}, T={t}], got {list(mask.shape)}")
    made = np.full((n, w), 0.0 if how == "mean" else -np.inf)
    frames, left_out = np.zeros(n, dtype=np.int64), np.zeros(n, dtype=np.int64)
    tall = max(1, min(t, PIECE // max(w, 1)))
    many = max(1, PIECE // max(tall * w, 1))
    for rows in (slice(lo, lo + many) for lo in range(0, n, many)):
        for some in (slice(lo, lo + tall) for lo in range(0, t, tall)):
            piece = x[rows, some].astype(np.float64)
            real = (piece != 0).any(axis=2) if mask is None else mask[rows, some]
            kept = real & np.isfinite(piece).all(axis=2)
            piece[~kept] = 0.0 if how == "mean" else -np.inf
            with np.errstate(over="ignore"):
                made[rows] = made[rows] + piece.sum(axis=1) if how == "mean" else np.maximum(made[rows], piece.max(axis=1))
            frames[rows] += kept.sum(axis=1)
            left_out[rows] += (real & ~kept).sum(axis=1)
    if how == "mean":
        made /= np.maximum(frames, 1)[:, None]
    made[frames == 0] = 0.0
    with np.errstate(over="ignore"):
        return Pooled(made.astype(np.float32), frames, left_out)


def length_mask(x: Array, lengths: npt.NDArray[np.int64]) -> tuple[Bools, bool]:
    """Frames within the lengths of sequences, whichever end is padded.

    Args:
        x: [N, T, W].
        lengths: [N] frames of each, at most T.

    Returns:
        The mask [N, T], and whether zeros stand before the frames: so it is where more of the first sequences (256 of those that are
        padded) have only zeros in front than have only zeros behind.
    """
    t = x.shape[1]
    padded = np.flatnonzero(lengths < t)[:256]
    front = sum(not x[n, : t - lengths[n]].any() for n in padded)
    behind = sum(not x[n, lengths[n] :].any() for n in padded)
    counted = np.arange(t)[None, :]
    if front > behind:
        return counted >= (t - lengths)[:, None], True
    return counted < lengths[:, None], False
