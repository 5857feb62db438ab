"""Edges as arithmetic: the sources of a destination are an interval, so a whole batch is made at once, without a loop.

Node ids run by dialogue, then position. Hence the sources of type s that a destination hears are a range [lo, hi) of node ids,
and the edges of a type, ordered by (dialogue, destination, source), are those ranges laid end to end.
"""

from __future__ import annotations

import torch
from torch import Tensor

__all__ = ["expand", "intervals"]


def intervals(
    utterance: Tensor,
    dialogue_start: Tensor,
    dialogue_end: Tensor,
    counts: Tensor,
    before: int | None,
    after: int | None,
) -> tuple[Tensor, Tensor]:
    """For each destination node the range of source nodes within reach.

    Args:
        utterance: [N] the utterance (number in the batch) of each destination node.
        dialogue_start: [N] the first utterance of its dialogue.
        dialogue_end: [N] one past the last utterance of its dialogue.
        counts: [U + 1] how many source nodes stand before each utterance.
        before: how many positions before itself a destination hears; None: any; -1: none, not even its own.
        after: how many positions after itself.

    Returns:
        lo, hi, each [N]: sources lo <= s < hi. Empty where nothing is in reach.
    """
    first = dialogue_start if before is None else torch.maximum(dialogue_start, utterance - before)
    last = dialogue_end if after is None else torch.minimum(dialogue_end, utterance + after + 1)
    last = torch.maximum(first, last)
    return counts[first], counts[last]


def expand(lo: Tensor, hi: Tensor, *, without_self: bool = False) -> tuple[Tensor, Tensor]:
    """Lay ranges end to end.

    Args:
        lo: [N] first source of each destination.
        hi: [N] one past its last source.
        without_self: sources and destinations are the same nodes, every range holds its own destination, and leaves it out.

    Returns:
        src, dst, each [E], ordered by (dst, src).

    >>> src, dst = expand(torch.tensor([0, 1]), torch.tensor([2, 3]))
    >>> src.tolist(), dst.tolist()
    ([0, 1, 1, 2], [0, 0, 1, 1])
    >>> expand(torch.tensor([0, 0]), torch.tensor([2, 2]), without_self=True)[0].tolist()
    [1, 0]
    """
    count = hi - lo - 1 if without_self else hi - lo
    dst = torch.repeat_interleave(torch.arange(len(lo), device=lo.device), count)
    begin = torch.cumsum(count, 0) - count
    src = torch.arange(len(dst), device=lo.device) + (lo - begin).index_select(0, dst)
    if without_self:
        src += src >= dst  # steps over the destination: cheaper than making the loop and filtering it out
    return src, dst
