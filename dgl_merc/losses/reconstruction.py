"""Reconstruction loss: the cosine error between features and what was guessed of them (MGLRA's masked nodes; the paper has no equation).

    L = mean over n of (1 - cos(guess_n, x_n))

A cosine, for only the direction of a node's features decides its edges (eq. 17), and no scale has to be learnt.
"""

from __future__ import annotations

import torch
from torch import Tensor

from dgl_merc.losses.processes import mean

__all__ = ["cosine_error"]


def cosine_error(guess: Tensor, x: Tensor) -> Tensor:
    """From 0 (same directions) to 2.

    Args:
        guess: [N, D].
        x: [N, D]; the cosine with a zero row is 0.

    Returns:
        [] in float32 at least; 0, with a gradient of 0, where N is 0. With several processes, N is that of all of them:
        :mod:`dgl_merc.losses.processes`.

    Raises:
        ValueError: shapes that differ.

    >>> cosine_error(torch.tensor([[2.0, 0.0], [1.0, 0.0]]), torch.tensor([[1.0, 0.0], [0.0, 3.0]]))
    tensor(0.5000)
    """
    if guess.ndim != 2 or guess.shape != x.shape:
        raise ValueError(f"guess and x must both be [N, D], found {list(guess.shape)} and {list(x.shape)}")
    dtype = torch.promote_types(guess.dtype, torch.float32)
    error = 1.0 - torch.nn.functional.cosine_similarity(guess.to(dtype), x.to(dtype), dim=-1)
    return mean(error.sum(), torch.tensor(len(error), device=error.device))
