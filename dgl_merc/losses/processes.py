"""The loss of a batch whose dialogues are spread over P processes, each of which has some utterances, or none.

DDP averages the gradients of the P processes. So that the average is the gradient of the whole batch's loss:

    mean       P (own sum) / (count of all)        the average of these over processes is the mean over all
    gathered   rows of all processes, of which every process computes the same loss; the gradient of a process's own rows is P times what
               comes back for them, and what comes back for the others' rows is dropped: they have it themselves

so nothing is sent in a backward pass, where two processes need not go through their graphs in the same order. In a forward pass every
process must call what is here equally often, whatever its share holds: else they wait for each other for ever. Without a process group
P is 1 and rows and sums are what they were.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, distributed

__all__ = ["count", "gathered", "mean", "total"]


def count() -> int:
    """P."""
    return distributed.get_world_size() if distributed.is_available() and distributed.is_initialized() else 1


def total(x: Tensor) -> Tensor:
    """The sum over processes, without gradient.

    Args:
        x: [...], of the same shape and type everywhere.
    """
    x = x.detach()
    if count() == 1:
        return x
    summed = x.clone()
    distributed.all_reduce(summed)
    return summed


def mean(own: Tensor, size: Tensor) -> Tensor:
    """What this process adds to a mean over the whole batch: averaged over processes, value and gradient are the mean's.

    Args:
        own: [] sum over what this process has.
        size: [] how much that is, or what it weighs; no gradient.

    Returns:
        []; 0, with a gradient of 0, where the whole batch has nothing.

    >>> mean(torch.tensor(6.0), torch.tensor(4))
    tensor(1.5000)
    """
    every = total(size)
    return torch.where(every > 0, own * count() / torch.where(every > 0, every, 1), 0.0)


def gathered(x: Tensor) -> Tensor:
    """The rows of all processes, in their order; numbers of less than 32 bits become float32. For the gradient see above.

    Args:
        x: [N, ...], N the process's own; all else is the same everywhere. With 0 rows it need not require a gradient.

    Returns:
        [sum of N, ...].
    """
    if count() == 1:
        return x
    if x.is_floating_point():
        x = x.to(torch.promote_types(x.dtype, torch.float32))  # rows of a layer that had none to compute may be of another type
    sizes = x.new_zeros(count(), dtype=torch.int64)
    sizes[distributed.get_rank()] = len(x)
    lengths = total(sizes).tolist()
    every: Tensor = _Gathered.apply(x, lengths) if max(lengths) else x  # type: ignore[no-untyped-call]
    return every


class _Gathered(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, lengths: list[int]) -> Tensor:
        padded = x.new_zeros(max(lengths), *x.shape[1:])
        padded[: len(x)] = x
        parts = [torch.empty_like(padded) for _ in lengths]
        distributed.all_gather(parts, padded)
        start = sum(lengths[: distributed.get_rank()])
        ctx.own = slice(start, start + len(x))
        return torch.cat([part[:length] for part, length in zip(parts, lengths, strict=True)])

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> Any:
        return grads[0][ctx.own] * count(), None
