"""Attention over a dialogue without a bias, dialogue by dialogue, in place: what ``semantic_attention`` does with long ones on the CPU.

The nodes of a dialogue stand together, so that H heads of its n nodes are [H, n, K] as they lie: nothing is padded, gathered or turned.
Weights are made by tiles of rows, and made again in the backward pass: a tile stays in the cache.

What else happens to weights rides along in the products: values have one more feature, which adds them up; in the backward pass
cotangents have one more, which takes their mean away, and are divided by their sum. A softmax less its greatest logit is the same softmax,
so that the greatest is looked for only where logits may be too great for exp.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import reduce
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from dgl_merc.graphs import Structure
from dgl_merc.kernels.cross_modal_blocks import LOWEST, are_small
from dgl_merc.kernels.semantic_blocks import How, Interaction, or_none

__all__ = ["in_place", "on_dialogues"]

MEAN = 16  # nodes per dialogue on average: where there are fewer, blocks of many dialogues are faster
TILE = 1 << 17  # weights made at a time: they stay in a core's cache
ROWS = 64  # a tile of a long dialogue has at least this many rows: thinner products are slower


def in_place(structure: Structure, how: How) -> bool:
    """Whether a call is for :func:`on_dialogues`."""
    plain = how.weight is None and how.distances is None and how.keep is None
    return plain and structure.device.type == "cpu" and structure.num_nodes(how.node_type) >= MEAN * structure.num_dialogues


def on_dialogues(structure: Structure, q: Tensor, k: Tensor, v: Tensor, how: How) -> Tensor:
    """[N, H, K], [N, H, K], [N, H, K'] to [N, H, K']; weights are float32 at least."""
    ends = structure.counts[how.node_type][structure.offsets].tolist()
    tiles = _Tiles([(a, b) for a, b in pairwise(ends) if b > a], q.shape[1], structure.spec.causal, how.interaction)
    work = reduce(torch.promote_types, (x.dtype for x in (q, k, v)), torch.float32)
    with torch.autocast(q.device.type, enabled=False):
        y: Tensor = _Attend.apply(tiles, how.scale, *(x.to(work) for x in (q, k, v)))  # type: ignore[no-untyped-call]
    return y.to(v.dtype)


@dataclass(frozen=True)
class _Tiles:
    """The weights of a call, before they are divided by their sums.

    Attributes:
        dialogues: first node and the one past the last of each.
        heads: H.
        causal: whether later nodes are hidden.
        interaction: what makes weights of logits.
    """

    dialogues: Sequence[tuple[int, int]]
    heads: int
    causal: bool
    interaction: Interaction

    def __iter__(self) -> Iterator[tuple[slice, slice]]:
        """Rows, and the columns they hear."""
        for begin, end in self.dialogues:
            size = self.heads * (end - begin)
            few = max(ROWS, TILE // size)
            for row in range(begin, end, few):
                stop = min(row + few, end)
                yield slice(row, stop), slice(begin, stop if self.causal else end)

    def grown(self, q: Tensor, k: Tensor, rows: slice, columns: slice, top: Tensor | None, *, first: bool = False) -> Tensor:
        """[H, r, c] of [N, H, K]; ``top`` [N, H, 1] is what logits are less of, written where it is the ``first`` time."""
        made, ahead = torch.bmm(_cut(q, rows), _cut(k, columns).mT), rows.start - columns.start
        if self.interaction == "relu":
            made.relu_()
        else:
            if top is not None:
                if self.causal:
                    made.masked_fill_(torch.ones_like(made[0], dtype=torch.bool).triu_(ahead + 1), -torch.inf)
                if first:
                    _cut(top, rows).copy_(made.amax(-1, keepdim=True))
                made.sub_(_cut(top, rows)).clamp_(min=LOWEST[made.dtype])
            made.exp_()
        return made.tril_(ahead) if self.causal else made


def _cut(x: Tensor, nodes: slice) -> Tensor:
    """[N, H, K] to [H, n, K], as it lies."""
    return x[nodes].transpose(0, 1)


class _Attend(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, tiles: _Tiles, scale: float, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        q = q * (1.0 / scale)
        wide = torch.cat([v, v.new_ones(*v.shape[:2], 1)], dim=2)
        sums = torch.empty_like(wide)
        top = None
        if tiles.interaction == "softmax" and not are_small(q.flatten(0, 1), k.flatten(0, 1)):
            top = q.new_empty(*q.shape[:2], 1)
        for rows, columns in tiles:
            _cut(sums, rows).copy_(torch.bmm(tiles.grown(q, k, rows, columns, top, first=True), _cut(wide, columns)))
        total = or_none(sums[..., -1:]) if tiles.interaction == "relu" else sums[..., -1:]
        y = sums[..., :-1] / total
        ctx.save_for_backward(q, k, wide, y, total.reciprocal(), top)
        ctx.tiles, ctx.scale = tiles, scale
        return y

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *grads: Tensor) -> Any:
        with torch.autocast(grads[0].device.type, enabled=False):
            return _Attend._slopes(ctx, grads[0])

    @staticmethod
    def _slopes(ctx: Any, grad: Tensor) -> Any:
        q, k, wide, y, share, top = ctx.saved_tensors
        tiles = ctx.tiles
        cotangents = torch.cat([grad, (grad * y).sum(-1, keepdim=True).neg_()], dim=2).mul_(share)
        to_q, to_k, to_wide = torch.empty_like(q), torch.zeros_like(k), torch.zeros_like(wide)
        for rows, columns in tiles:
            made, of_rows, heard = tiles.grown(q, k, rows, columns, top), _cut(cotangents, rows), _cut(wide, columns)
            _cut(to_wide, columns).add_(torch.bmm(made.mT, of_rows))
            slopes = torch.bmm(of_rows, heard.mT).mul_(made.gt_(0.0) if tiles.interaction == "relu" else made)
            _cut(to_k, columns).add_(torch.bmm(slopes.mT, _cut(q, rows)))
            _cut(to_q, rows).copy_(torch.bmm(slopes, _cut(k, columns)))
        return None, None, to_q.mul_(1.0 / ctx.scale), to_k, to_wide[..., :-1]
