"""Attention over a dialogue on blocks of pairs, biased or not: what ``semantic_attention`` does where it is not done in place."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from dgl_merc.graphs import UTTERANCE, Block, Structure
from dgl_merc.graphs.similarity import unit_rows
from dgl_merc.kernels import pairs
from dgl_merc.kernels.dialogue_pairs import hops
from dgl_merc.kernels.edge_list import check_rows
from dgl_merc.kernels.rules import ArccosWeight

__all__ = ["How", "Interaction", "likeness_of_itself", "on_blocks", "or_none", "softmax"]

Interaction = Literal["softmax", "relu"]
"""What makes weights of logits: the softmax, or ReLU and then division by the sum."""
_FAR = 1e30  # taken from the logits of pairs that are not to be: exp is exactly 0, and a row without any has no NaN


@dataclass(frozen=True)
class How:
    """The options of a call, checked."""

    node_type: str
    scale: float
    interaction: Interaction
    weight: ArccosWeight | Tensor | None
    distances: Tensor | None
    keep: Tensor | None


def or_none(total: Tensor) -> Tensor:
    """What a row of rectified logits that add up to ``total`` is divided by: infinity where there is nothing, so that it stays zeros.

    >>> 3.0 / or_none(torch.tensor([4.0, 0.0, 1e-40]))
    tensor([0.7500, 0.0000, 0.0000])
    """
    return total.masked_fill(total < torch.finfo(total.dtype).tiny, torch.inf)


def on_blocks(structure: Structure, q: Tensor, k: Tensor, v: Tensor, how: How) -> Tensor:
    """[N, H, K], [N, H, K], [N, H, K'] to [N, H, K'], as :func:`dgl_merc.kernels.semantic_attention` has checked them."""
    everywhere = structure.num_nodes(how.node_type) == structure.num_utterances  # then its blocks are those of utterances, made but once
    blocks = structure.blocks((UTTERANCE if everywhere else how.node_type,))
    parts = [[_by_head(part) for part in blocks.pad(x)] for x in (q, k, v)]
    there = blocks.pad(q.new_ones(len(q), dtype=torch.float64 if q.dtype == torch.float64 else torch.float32))
    unit = blocks.pad(how.weight.x[how.node_type]) if isinstance(how.weight, ArccosWeight) else None
    given: dict[str, list[Tensor]] = {}
    for name, value in (("weight", how.weight), ("keep", how.keep)):
        if isinstance(value, Tensor):
            src, dst = structure.pairs(how.node_type)
            check_rows(name, value, len(src))
            given[name] = blocks.pad_pairs(value, src, dst, joint=False)
    outputs = []
    for n, block in enumerate(blocks.blocks):
        attention = _Attention(structure, block, how, {name: values[n] for name, values in given.items()}, unit=unit is not None)
        likeness = [unit_rows(unit[n])] if unit is not None else []
        rows, columns = [parts[0][n], *likeness], [parts[1][n], parts[2][n], there[n], *likeness]
        shared = [] if how.distances is None else [how.distances]
        if given or blocks.pairs * q.shape[1] <= pairs.HELD:
            y = attention(pairs.whole(block), *rows, *columns, *shared)
        else:
            y = pairs.by_tiles(
                attention, pairs.tiles_of(block, q.shape[1], causal=structure.spec.causal, whole_rows=True), rows, columns, shared
            )
        outputs.append(y.transpose(1, 2).unsqueeze(1))
    return blocks.unpad(outputs)


def _by_head(x: Tensor) -> Tensor:
    """[b, 1, L, H, K] -> [b, H, L, K]."""
    return x.squeeze(1).transpose(1, 2)


@dataclass(frozen=True)
class _Attention:
    """Eq. 24-26 on a tile of a block: [b, H, r, K] queries against [b, H, c, K] keys and values, to [b, H, r, K']."""

    structure: Structure
    block: Block
    how: How
    given: dict[str, Tensor]
    unit: bool

    def __call__(self, tile: pairs.Tile, *tensors: Tensor) -> Tensor:
        parts = list(tensors)
        q, unit_rows_ = parts.pop(0), parts.pop(0) if self.unit else None
        k, v, there = parts.pop(0), parts.pop(0), parts.pop(0)
        unit_columns = parts.pop(0) if self.unit else None
        bias = self._bias(tile, there.dtype, unit_rows_, unit_columns, parts)
        with torch.autocast(q.device.type, enabled=False):
            logits = (q @ k.transpose(-1, -2)).to(there.dtype) / self.how.scale
            logits = logits if bias is None else logits + bias
            absent = self._absent(tile, there)
            if self.how.interaction == "relu":
                weights = torch.relu(logits if absent is None else logits - _FAR * absent)
                weights = weights / or_none(weights.sum(-1, keepdim=True))
            else:
                weights = softmax(logits if absent is None else logits - _FAR * absent)
                if "keep" in self.given:
                    weights = weights * (1.0 - absent)  # type: ignore[operator]  # a row that hears none
            y = weights.to(v.dtype) @ v
            return y if bias is None else y + (weights * bias).sum(-1, keepdim=True).to(v.dtype)

    def _bias(
        self, tile: pairs.Tile, dtype: torch.dtype, rows: Tensor | None, columns: Tensor | None, distances: Sequence[Tensor]
    ) -> Tensor | None:
        """[b or 1, H or 1, r, c]: eq. 24; None: 0."""
        bias = None
        if isinstance(self.how.weight, ArccosWeight):
            assert rows is not None
            assert columns is not None
            bias = self.how.weight.of_cosine(pairs.cosines(rows, columns))
            own = bias.diagonal(tile.diagonal(self.block), -2, -1)
            own.copy_(likeness_of_itself(self.how.weight, rows))
        elif self.how.weight is not None:
            bias = self.given["weight"]
        if not distances:
            return bias
        r, c = tile.shape
        apart = (
            torch.arange(1 - r, c, device=distances[0].device) + tile.columns.start - tile.rows.start
        )  # row r - 1 first, column c - 1 last
        along = distances[0].index_select(1, hops(self.structure.spec, apart, distances[0].shape[1] - 1))
        table = along.unfold(1, c, 1).flip(1)[None].to(dtype)  # one scalar per diagonal
        return table if bias is None else bias + table

    def _absent(self, tile: pairs.Tile, there: Tensor) -> Tensor | None:
        """1 where a pair does not exist: [b or 1, 1, r or 1, c]; None: all do."""
        present = None if self.block.full else there.unsqueeze(2)
        if self.structure.spec.causal:
            near = pairs.within_reach(self.block, tile, (None, 0), there.dtype)
            present = near if present is None else present * near  # type: ignore[operator]
        if "keep" in self.given:
            keep = self.given["keep"].to(there.dtype)
            present = keep if present is None else present * keep
        return None if present is None else 1.0 - present


class _Softmax(torch.autograd.Function):
    """Over the last dimension. On the CPU the gradient of torch's own is not the same bits for one and two threads."""

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        y = torch.softmax(x, dim=-1)
        ctx.save_for_backward(y)
        return y

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *grads: Tensor) -> Tensor:
        (y,) = ctx.saved_tensors
        result: Tensor = grads[0] * y
        return result.addcmul_(y, result.sum(-1, keepdim=True), value=-1.0)


def softmax(x: Tensor) -> Tensor:
    """[..., n] to the same, over the last dimension: the same bits for any number of threads, gradients too."""
    return _Softmax.apply(x)  # type: ignore[no-any-return,no-untyped-call]


def likeness_of_itself(weight: ArccosWeight, unit: Tensor) -> Tensor:
    """[..., D] unit rows to [...]: the weight of a row with itself, free of rounding: 1, or that of a cosine of 0 where the row is zero."""
    return weight.of_cosine((unit.detach().square().sum(-1) > 0.5).to(unit.dtype))
