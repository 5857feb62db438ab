"""Pairs of utterances in blocks: what dense backends share.

A dense backend works on a block's pieces, [b, T, R] rows against [b, T, C] columns (see :mod:`dgl_merc.graphs.blocks`). While the pairs
of a call are few they are held; beyond that they are made tile by tile, and made again in the backward pass, so that memory grows with
the utterances and not with their square. What is made twice is the same both times: weights are functions of features, masks of a hash.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import product
from typing import Any, Literal

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from dgl_merc.graphs import Block

__all__ = ["Reach", "Tile", "band", "by_tiles", "cosines", "tiles_of", "whole", "within_reach"]

HELD = 1 << 24  # pairs of one call that are held
TILE = 1 << 19  # pairs made at a time beyond that: they stay in the cache

Reach = tuple[int | None, int | None]
"""How many positions before and after the destination a source may stand; None: any."""
Kind = Literal["row", "column", "shared"]
Made = Tensor | tuple[Tensor, ...]


@dataclass(frozen=True)
class Tile:
    """Some rows of some pieces of a block, and the columns they reach."""

    pieces: slice
    rows: slice
    columns: slice

    @property
    def shape(self) -> tuple[int, int]:
        """Rows and columns."""
        return self.rows.stop - self.rows.start, self.columns.stop - self.columns.start

    def diagonal(self, block: Block) -> int:
        """The offset of the diagonal on which row and column are the same utterance; it need not lie within the tile."""
        return self.rows.start + block.before - self.columns.start  # type: ignore[no-any-return]

    def cut(self, x: Tensor, kind: Kind) -> Tensor:
        """The part of [b, T, R, ...] or [b, T, C, ...] that the tile needs."""
        if kind == "shared":
            return x
        return x[self.pieces, :, self.rows if kind == "row" else self.columns]


def whole(block: Block) -> Tile:
    """All of a block as one tile."""
    return Tile(slice(None), slice(0, block.rows), slice(0, block.columns))


def tiles_of(block: Block, per_pair: int, *, causal: bool, whole_rows: bool = False, mirrored: bool = False) -> list[Tile]:
    """A block as tiles of about ``TILE`` numbers: several pieces, or squares of one.

    Args:
        block: of pieces.
        per_pair: numbers that are made for one row and one column.
        causal: no column after the last row is needed.
        whole_rows: a row needs all its columns at once.
        mirrored: leave out the tiles below the diagonal: what is made for rows and columns also serves columns and rows.
    """
    rows, columns = block.rows, block.columns
    many = max(1, TILE // (per_pair * rows * columns))
    side = max(1, math.isqrt(TILE // per_pair))
    few, wide = (rows, columns) if many > 1 else (max(1, 8 * TILE // (per_pair * columns)), columns) if whole_rows else (side, side)
    tiles = []
    for p, r in product(range(0, len(block.dialogues), many), range(0, rows, few)):
        end = min(r + few, rows)
        reached = min(end + block.before, columns) if causal else columns
        tiles += [
            Tile(slice(p, p + many), slice(r, end), slice(c, min(c + wide, reached))) for c in range(r if mirrored else 0, reached, wide)
        ]
    return tiles


def within_reach(block: Block, tile: Tile, reach: Reach, dtype: torch.dtype) -> Tensor | None:
    """:func:`band`, or None where it is 1 everywhere."""
    return None if reach == (None, None) else band(block, tile, reach, dtype)


def band(block: Block, tile: Tile, reach: Reach, dtype: torch.dtype) -> Tensor:
    """1 where a column is within reach of a row, 0 elsewhere: [1 or b, 1, r, c].

    Columns of a shorter dialogue's padding count as within reach: what stands in them is zero.
    """
    before, after = reach
    rows = torch.arange(tile.rows.start, tile.rows.stop, device=block.slots.device)
    columns = torch.arange(tile.columns.start, tile.columns.stop, device=block.slots.device) - block.before
    apart = columns[None, :] - rows[:, None]
    near = torch.ones_like(apart, dtype=torch.bool)
    if before is not None:
        near &= apart >= -before
    if after is not None:
        near &= apart <= after
    if block.within is not None:
        return (near & block.within[tile.pieces, None, tile.columns])[:, None].to(dtype)
    return near[None, None].to(dtype)


def cosines(rows: Tensor, columns: Tensor) -> Tensor:
    """[..., R, D], [..., C, D] unit rows to [..., R, C] cosines, in float32 at least, also under autocast."""
    with torch.autocast(rows.device.type, enabled=False):
        return rows @ columns.transpose(-1, -2)


def by_tiles(
    make: Callable[..., Made], tiles: Sequence[Tile], rows: Sequence[Tensor], columns: Sequence[Tensor], shared: Sequence[Tensor] = ()
) -> Tensor:
    """The sum over tiles of ``make(tile, *rows, *columns, *shared)``, each of its part of the tensors, at the tile's rows.

    What is made on the way is not kept.

    Args:
        make: a function of tensors alone (the backward pass calls it again), to [b', T, r, D']; of a tile above the diagonal of a mirrored
            block to that and, for its mirror image, [b', T, c, D'].
        tiles: of the rows.
        rows: [b, T, R, ...] each.
        columns: [b, T, C, ...] each.
        shared: handed over whole.

    Returns:
        [b, T, R, D'].
    """
    of_each: tuple[tuple[Kind, int], ...] = (("row", len(rows)), ("column", len(columns)), ("shared", len(shared)))
    kinds = [kind for kind, count in of_each for _ in range(count)]
    return _ByTiles.apply(make, tiles, kinds, *rows, *columns, *shared)  # type: ignore[no-any-return,no-untyped-call]


_MADE: tuple[Kind, Kind] = ("row", "column")  # where what is made goes


def _several(made: Made) -> tuple[Tensor, ...]:
    return made if isinstance(made, tuple) else (made,)


class _ByTiles(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, make: Callable[..., Made], tiles: Sequence[Tile], kinds: Sequence[Kind], *tensors: Tensor) -> Tensor:
        ctx.make, ctx.tiles, ctx.kinds = make, tiles, kinds
        ctx.save_for_backward(*tensors)
        out: Tensor | None = None
        for tile in tiles:
            made = _several(make(tile, *(tile.cut(x, kind) for x, kind in zip(tensors, kinds, strict=True))))
            if out is None:
                b, _, r = tensors[0].shape[:3]
                out = made[0].new_zeros(b, made[0].shape[1], r, *made[0].shape[3:])
            for part, kind in zip(made, _MADE, strict=False):
                tile.cut(out, kind).add_(part)
        assert out is not None
        return out

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *grads: Tensor) -> Any:
        needed = list(ctx.needs_input_grad[3:])
        sums = [torch.zeros_like(x) if need else None for x, need in zip(ctx.saved_tensors, needed, strict=True)]
        for tile in ctx.tiles:
            parts = [tile.cut(x, kind).detach() for x, kind in zip(ctx.saved_tensors, ctx.kinds, strict=True)]
            leaves = [part.requires_grad_() for part, need in zip(parts, needed, strict=True) if need]
            with torch.enable_grad():
                made = _several(ctx.make(tile, *parts))
            if not any(part.requires_grad for part in made):
                continue
            cotangents = [tile.cut(grads[0], kind) for _, kind in zip(made, _MADE, strict=False)]
            found = iter(torch.autograd.grad(made, leaves, cotangents, allow_unused=True))
            for total, kind in zip(sums, ctx.kinds, strict=True):
                part = next(found) if total is not None else None
                if total is not None and part is not None:
                    tile.cut(total, kind).add_(part)
        return None, None, None, *sums
