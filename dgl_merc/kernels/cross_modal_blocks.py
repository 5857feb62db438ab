"""Cross-modal attention on blocks: all ordered pairs of modalities as one batch of products, and never all logits at once.

In a block of b dialogues of R places, T types and H heads, the queries of the J types that hear a type stand side by side: G = b T H
products of [C, K] keys by [K, J R] queries (C = R). Their logits are made tile by tile, and made again in the backward pass: beside
products as narrow as a head, memory is what costs, and a tile stays in the cache.

What else happens to weights rides along in the products: values have one more feature, which adds the softmax up; in the backward pass
cotangents have one more, which takes its mean away, and are divided by its sum. A softmax less its greatest logit is the same softmax, so
that the greatest is looked for only where logits may be too great for exp (:func:`are_small`).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from dgl_merc.graphs import Block, Structure
from dgl_merc.graphs.blocks import Blocks

__all__ = ["LOWEST", "are_small", "on_blocks"]

TILE = 1 << 17  # logits made at a time: they stay in a core's cache
TILE_ELSEWHERE = 1 << 24  # off the CPU, where few great products are better
ROWS = 64  # a tile of a long dialogue has at least this many queries: thinner products are slower
_SMALL = {torch.float32: 30.0, torch.float64: 300.0}  # no sum of such numbers' exponentials is infinite, and none denormal
_FAR = 1e30  # taken from the logits of pairs that are not to be
LOWEST = {torch.float32: -60.0, torch.float64: -300.0}  # e^-60 is nothing beside 1; what is less is denormal soon, and very slow
"""Precision -> what logits are cut to, counted from the greatest of their row."""


def on_blocks(
    structure: Structure,
    q: Mapping[str, Tensor],
    k: Mapping[str, Tensor],
    v: Mapping[str, Tensor],
    scale: float,
    *,
    own: bool,
    kept: tuple[Tensor, Tensor, Tensor] | None = None,
) -> dict[str, Tensor]:
    """Each modality to all others, or to its own.

    Args:
        structure: whose dialogues meet.
        q: modality -> [N_m, H, K].
        k: the same.
        v: modality -> [N_m, H, K'].
        scale: what logits are divided by.
        own: each hears its own modality only.
        kept: [E] bool, and the stacked source and destination of each edge that it speaks of; all others are left out.

    Returns:
        Modality -> [N_m, J, H, K'], J the modalities that each hears.
    """
    modalities = structure.spec.modalities
    blocks = structure.blocks(modalities)
    plan = _plan(blocks, q[modalities[0]].shape[1], own)
    masks = None
    if kept is not None:
        masks = [plan.mask(part) for part in blocks.pad_pairs(*kept, joint=True)]
    tensors = (x[m] for x in (q, k, v) for m in modalities)
    y = _Attend.apply(plan, blocks.blocks, structure.spec.causal, masks, scale, *tensors)  # type: ignore[no-untyped-call]
    return dict(zip(modalities, y, strict=True))


@dataclass(frozen=True, eq=False)
class _Plan:
    """Where the rows of nodes stand in blocks, and back. N nodes; a row beyond theirs stands for an empty slot.

    Attributes:
        pairs: (s, j, t, i): type t hears type s as its i-th, and is the j-th that hears s.
        each: J.
        heads: H.
        sizes: nodes per type.
        shapes: G, C, J R of each block.
        queries: [sum of G J R] which row of [(N + 1) H] nodes and heads.
        answers: [sum of G J R] which row of [(N + 1) J H].
        keys: [sum of G C] which row of [(N + 1) H].
        from_answers: [N J H] which of the sum of G J R.
        from_keys: [N H] which of the sum of G C.
    """

    pairs: tuple[tuple[int, int, int, int], ...]
    each: int
    heads: int
    sizes: tuple[int, ...]
    shapes: tuple[tuple[int, int, int], ...]
    queries: Tensor
    answers: Tensor
    keys: Tensor
    from_answers: Tensor
    from_keys: Tensor

    @classmethod
    def of(cls, blocks: Blocks, heads: int, own: bool) -> _Plan:
        types = len(blocks.node_types)
        heard = [[s for s in range(types) if (s == t) == own] for t in range(types)]  # symmetric: t hears s, s hears t
        each = len(heard[0])
        pairs = tuple((s, heard[s].index(t), t, i) for t in range(types) for i, s in enumerate(heard[t]))
        sizes = tuple(blocks.structure.num_nodes(n) for n in blocks.node_types)
        device, none = blocks.structure.device, sum(sizes)
        head = torch.arange(heads, device=device)[:, None]
        hearers = torch.tensor(heard, device=device)  # [S, J] of each type, those that hear it
        as_the = torch.tensor([[heard[t].index(s) for t in heard[s]] for s in range(types)], device=device)[:, None, :, None]  # their i
        shapes, queries, answers, keys = [], [], [], []
        for block in blocks.blocks:
            node = torch.where(block.filled, block.slots, none)
            b, r = len(node), block.rows
            asking = node[:, hearers][:, :, None]  # [b, S, 1, J, R]
            shapes.append((b * types * heads, r, each * r))
            keys.append((node[:, :, None] * heads + head).flatten())
            queries.append((asking * heads + head[:, None]).flatten())
            answers.append(((asking * each + as_the) * heads + head[:, None]).flatten())
        ways = [torch.cat(x) for x in (queries, answers, keys)]
        back = []
        for way, count in zip(ways[1:], (each * heads, heads), strict=True):
            places = way.new_empty((none + 1) * count).scatter_(0, way, torch.arange(len(way), device=device))
            back.append(places[: none * count])
        return cls(pairs, each, heads, sizes, tuple(shapes), *ways, *back)

    def mask(self, kept: Tensor) -> Tensor:
        """[b, T, R, S, C] bool of what is kept, to [b S, C, J R] of what is not."""
        b, types, r, _, c = kept.shape
        moved = kept.new_empty(b, types, c, self.each, r)
        for s, j, t, _ in self.pairs:
            moved[:, s, :, j] = ~kept[:, t, :, s].transpose(1, 2)
        return moved.view(b * types, c, self.each * r)

    def stacked(self, parts: Sequence[Tensor]) -> Tensor:
        """A tensor per type, [N_m, H, K], to [(N + 1) H, K]; the last H rows, of an empty slot, are zeros."""
        width = parts[0].shape[-1]
        return torch.cat([*(part.flatten(1) for part in parts), parts[0].new_zeros(1, self.heads * width)]).view(-1, width)

    def widened(self, parts: Sequence[Tensor]) -> Tensor:
        """The same to [(N + 1) H, K + 1]: one more feature is 1, in an empty slot 0."""
        width = parts[0].shape[-1]
        x = parts[0].new_empty((sum(self.sizes) + 1) * self.heads, width + 1)
        torch.cat([part.reshape(-1, width) for part in parts], out=x[: -self.heads, :width])
        x[: -self.heads, width] = 1.0
        x[-self.heads :] = 0.0
        return x

    def split(self, rows: Tensor, *, keys: bool = False) -> Iterator[Tensor]:
        """Rows of all blocks, to one [G, J R or C, ...] per block."""
        sizes = [g * (c if keys else r) for g, c, r in self.shapes]
        for part, (g, c, r) in zip(torch.split(rows, sizes), self.shapes, strict=True):
            yield part.view(g, c if keys else r, rows.shape[1])

    def by_type(self, rows: Tensor) -> tuple[Tensor, ...]:
        """[N ..., K], some rows per node, to a tensor per type, as views."""
        per_node = len(rows) // max(1, sum(self.sizes))
        return torch.split(rows, [n * per_node for n in self.sizes])


def _plan(blocks: Blocks, heads: int, own: bool) -> _Plan:
    """A batch asks for the same in every round."""
    key = ("cross_modal_attention", heads, own)
    if key not in blocks.kept:
        with torch.inference_mode(False):  # it may serve training afterwards
            blocks.kept[key] = _Plan.of(blocks, heads, own)
    plan: _Plan = blocks.kept[key]
    return plan


class _Weights:
    """exp(logits) of a block, tile by tile: of some queries less the greatest of their logits where these may be great.

    Args:
        block: of dialogues.
        causal: whether columns after a row are hidden.
        mask: [b S, C, J R] what is hidden instead (later columns among it), or None.
        heads: H.
        shape: G, C, J R.
        top: [G, 1, J R], where the greatest logits are written; None: all are small.
    """

    def __init__(
        self, block: Block, causal: bool, mask: Tensor | None, heads: int, shape: tuple[int, int, int], top: Tensor | None
    ) -> None:
        self.block, self.causal, self.mask, self.heads, self.shape, self.top = block, causal, mask, heads, shape, top

    def tiles(self) -> Iterator[tuple[slice, slice, Tensor | None]]:
        """Groups, rows, and what is open in them: [1 or G', C, 1 or r], 0 where a column is hidden, else 1; None: all."""
        groups, columns, rows = self.shape
        device, dtype = self.block.slots.device, torch.float32 if self.top is None else self.top.dtype
        size = TILE if device.type == "cpu" else TILE_ELSEWHERE
        many, few = max(1, size // (rows * columns)), rows if rows * columns <= size else max(ROWS, size // columns)
        filled = None  # an empty slot's key and value are zeros, which only the greatest logit would notice
        if self.top is not None and not self.block.full:
            filled = self.block.filled.flatten(0, 1).to(dtype).repeat_interleave(self.heads, 0).unsqueeze(-1)
        for r in range(0, rows, few):
            some, early = slice(r, min(r + few, rows)), None
            if self.causal:
                place = torch.arange(rows, device=device)[some] % self.block.rows
                early = (torch.arange(columns, device=device)[:, None] <= place)[None].to(dtype)
            for begin in range(0, groups, many):
                these, open_ = slice(begin, min(begin + many, groups)), early
                if self.mask is not None:
                    hidden = self.mask[:, :, some].index_select(0, torch.arange(groups, device=device)[these] // self.heads)
                    open_ = (~hidden).to(dtype)
                if filled is not None:
                    open_ = filled[these] if open_ is None else open_ * filled[these]
                yield these, some, open_

    def exp(self, logits: Tensor, groups: slice, rows: slice, open_: Tensor | None, *, first: bool = False) -> Tensor:
        """[G', C, r] in place; ``first``: their greatest are not known yet."""
        if self.top is not None:
            if open_ is not None:
                logits.add_(open_ - 1.0, alpha=_FAR)
            if first:  # a row that hears none: its sum will be 0
                self.top[groups, :, rows] = torch.amax(logits, 1, keepdim=True).clamp_(min=-_FAR / 2)
            logits.sub_(self.top[groups, :, rows]).clamp_(LOWEST[logits.dtype], 0.0)
        logits.exp_()
        return logits if open_ is None else logits.mul_(open_)


def are_small(queries: Tensor, keys: Tensor) -> bool:
    """Whether no logit of [., K] queries and keys is great, by the lengths of the longest."""
    ones = queries.new_ones(queries.shape[1])
    lengths = [torch.mv(x * x, ones).max().sqrt() if len(x) else ones[0] for x in (queries, keys)]
    return bool(lengths[0] * lengths[1] <= _SMALL[queries.dtype])


class _Attend(torch.autograd.Function):
    """Queries, keys and values, a tensor per type each, to [N_m, J, H, K'] per type."""

    @staticmethod
    def forward(
        ctx: Any, plan: _Plan, blocks: Sequence[Block], causal: bool, masks: Sequence[Tensor] | None, scale: float, *tensors: Tensor
    ) -> tuple[Tensor, ...]:
        types, out = len(plan.sizes), tensors[-1].shape[-1]
        q, k = plan.stacked(tensors[:types]).mul_(1.0 / scale), plan.stacked(tensors[types : 2 * types])
        small = are_small(q, k)
        queries, keys = q.index_select(0, plan.queries), k.index_select(0, plan.keys)
        values = plan.widened(tensors[2 * types :]).index_select(0, plan.keys)
        answers = queries.new_empty(len(queries), out + 1)
        weights = []
        for n, (block, shape) in enumerate(zip(blocks, plan.shapes, strict=True)):
            top = None if small else queries.new_empty(shape[0], 1, shape[2])
            weights.append(_Weights(block, causal, None if masks is None else masks[n], plan.heads, shape, top))
        parts = zip(weights, *(plan.split(x) for x in (queries, answers)), *(plan.split(x, keys=True) for x in (keys, values)), strict=True)
        for made, q, y, k, v in parts:
            for g, rows, open_ in made.tiles():
                grown = made.exp(torch.bmm(k[g], q[g, rows].mT), g, rows, open_, first=True)
                torch.bmm(grown.mT, v[g], out=y[g, rows])
        found = answers.index_select(0, plan.from_answers)
        totals = found[:, out:]
        totals.masked_fill_(totals == 0, 1.0)
        y = torch.div(found[:, :out], totals)
        ctx.save_for_backward(queries, keys, values, totals.reciprocal(), y)
        ctx.plan, ctx.weights, ctx.scale = plan, weights, scale
        return tuple(part.view(-1, plan.each, plan.heads, out) for part in plan.by_type(y))

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *grads: Tensor) -> Any:
        with torch.autocast(grads[0].device.type, enabled=False):
            return _Attend._slopes(ctx, grads)

    @staticmethod
    def _slopes(ctx: Any, grads: Sequence[Tensor]) -> Any:
        queries, keys, values, shares, y = ctx.saved_tensors
        plan, width, out = ctx.plan, queries.shape[1], values.shape[1] - 1
        slopes_of, along = y.new_empty(len(y) + plan.each * plan.heads, out + 1), torch.empty_like(y)
        node = slopes_of[: len(y)]
        for g, part, *of_type in zip(grads, plan.by_type(along), *(plan.by_type(x) for x in (y, shares, node)), strict=True):
            torch.mul(g.reshape(part.shape), of_type[0], out=part)
            torch.mul(g.reshape(part.shape), of_type[1], out=of_type[2][:, :out])
        torch.mul(torch.mv(along, along.new_full((out,), -1.0)), shares[:, 0], out=node[:, out])
        slopes_of[len(y) :] = 0.0
        cotangents = slopes_of.index_select(0, plan.answers)
        del slopes_of, along, node
        dq, dk, dv = (torch.empty_like(x) for x in (queries, keys, values))
        of_rows, of_keys = (queries, cotangents, dq), (keys, values, dk, dv)
        parts = zip(ctx.weights, *(plan.split(x) for x in of_rows), *(plan.split(x, keys=True) for x in of_keys), strict=True)
        for made, q, c, to_q, k, v, to_k, to_v in parts:
            for g, rows, open_ in made.tiles():
                qs, cs, ks, for_k, for_v, more = q[g, rows], c[g, rows], k[g], to_k[g], to_v[g], float(rows.start > 0)
                grown = made.exp(torch.bmm(ks, qs.mT), g, rows, open_)
                torch.baddbmm(for_v, grown, cs, beta=more, out=for_v)
                slopes = torch.bmm(v[g], cs.mT).mul_(grown)
                torch.baddbmm(for_k, slopes, qs, beta=more, out=for_k)
                torch.bmm(slopes.mT, ks, out=to_q[g, rows])
        to_q = dq.index_select(0, plan.from_answers).view(-1, plan.each, plan.heads * width).sum(1).mul_(1.0 / ctx.scale)
        back = [part.view(-1, plan.heads, width) for part in plan.by_type(to_q)]
        for x, wide in ((dk, width), (dv, out)):
            back += [part.view(-1, plan.heads, x.shape[1])[..., :wide] for part in plan.by_type(x.index_select(0, plan.from_keys))]
        return None, None, None, None, None, *back
