"""Regression loss: the mean absolute error of a score, as the field trains on CMU-MOSEI (Tsai et al. 2019, MulT).

    L = sum_u |z_u - y_u| / U        over the U utterances that have a score y_u, those of score 0 too

z_u is what the model says. The error is in points of the score.
"""

from __future__ import annotations

import torch
from torch import Tensor

from dgl_merc.losses.processes import mean

__all__ = ["absolute_error"]


def absolute_error(guess: Tensor, scores: Tensor) -> Tensor:
    """How far guesses are from scores, in the mean over utterances that have one.

    Args:
        guess: [U]; finite where there is a score.
        scores: [U]; NaN = unlabelled: context only, no part in the loss.

    Returns:
        [] in float32 at least; 0, with a gradient of 0, where there is no score. With several processes, see
        :mod:`dgl_merc.losses.processes`.

    Raises:
        ValueError: other shapes.

    >>> absolute_error(torch.tensor([1.0, 5.0, -1.0]), torch.tensor([2.0, float("nan"), 0.0]))
    tensor(1.)
    """
    if guess.dim() != 1 or scores.shape != guess.shape:
        raise ValueError(f"guess and scores must both be [U], found {list(guess.shape)} and {list(scores.shape)}")
    known = ~scores.isnan()
    dtype = torch.promote_types(guess.dtype, torch.float32)
    error = (guess[known].to(dtype) - scores[known].to(dtype)).abs()
    return mean(error.sum(), known.sum())
