"""Blocks: a ragged batch as a few rectangles, so that what holds for pairs of utterances is a few large matrix products.

Where every utterance of a dialogue is within reach of every other, a piece is a dialogue. Padding a batch to its longest dialogue wastes
most of the arithmetic (lengths of 8-110: two thirds); sorted by length and cut into a few blocks, little is wasted. The cuts minimise the
padded area plus a price per block, exactly.

Where reach is limited and dialogues are long, a dialogue is cut into pieces of R utterances, each with the columns that its rows
can reach: C = R + before + after of them. Time and memory are then linear in the length, and all dialogues share one block.

Nodes of T types (the modalities, or ``utterance`` alone) stand in a piece at (type, place); a slot is empty where the dialogue is over or
the modality absent. Nothing reads an empty slot, and what stands in one is zero.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from dgl_merc.graphs.structure import Structure

__all__ = ["Block", "Blocks", "cut_lengths"]

MAX_BLOCKS = 16
PRICE = 4000.0  # what one more block costs, in pairs of utterances: measured, see benchmarks/
PIECE = 16  # a piece has at least this many rows: smaller products are slower than what they save


def cut_lengths(lengths: Sequence[int], most: int = MAX_BLOCKS, price: float = 0.0) -> list[int]:
    """The lengths at which to cut a batch so that the padded area (sum of b L^2) plus ``price`` per block is least.

    Args:
        lengths: utterances per dialogue.
        most: the greatest number of blocks.
        price: of a block.

    Returns:
        Ascending block lengths; a dialogue belongs to the first that is at least its own.

    >>> cut_lengths([3, 3, 4, 20, 21], most=2)
    [4, 21]
    >>> cut_lengths([3, 3, 4, 20, 21], price=5000)
    [21]
    """
    size, count = np.unique(np.asarray(lengths), return_counts=True)
    if len(size) > 128:  # corpora, not batches: cuts at 128 quantiles are as good
        chosen = np.unique(np.quantile(size, np.linspace(0, 1, 128), method="higher"))
        count = np.diff(np.append(0, np.cumsum(count)[np.searchsorted(size, chosen)]))
        size = chosen
    total = np.append(0, np.cumsum(count)).astype(float)
    area = (total[None, 1:] - total[:-1, None]) * size[None, :].astype(float) ** 2 + price  # [i, j]: lengths i..j in one block
    area[np.tril_indices(len(size), -1)] = np.inf
    best, back = area[0].copy(), []
    for _ in range(min(most, len(size)) - 1):
        options = np.concatenate([np.full((1, len(size)), np.inf), best[:-1, None] + area[1:]])
        options[0] = best  # no further cut
        back.append(np.argmin(options, axis=0))
        best = options.min(axis=0)
    cuts, end = [], len(size) - 1
    for choice in reversed(back):
        begin = int(choice[end])
        if begin:
            cuts.append(int(size[end]))
            end = begin - 1
    return [*sorted([*cuts, int(size[end])])]


@dataclass(frozen=True, eq=False)
class Block:
    """b pieces of R rows and C columns; column c of a piece stands ``before`` positions before its row c.

    Attributes:
        dialogues: [b] the dialogue of each piece: its number in the batch.
        first: [b] the position of row 0 in its dialogue.
        utterances: [b, R] the utterance of each row; 0 where there is none.
        valid: [b, R] whether there is one.
        slots: [b, T, R] the node of each slot in stacked numbering (all nodes of the first type, then of the second, ...); 0 where
            empty.
        filled: [b, T, R] whether there is one.
        empty: the empty slots, numbered over [b, T, R].
        full: whether there is none.
        before: how many columns stand before row 0.
        columns: C.
        halo: [b, T, C] the slot that each column repeats, in the block's slots laid end to end (0 where there is none); None where
            columns are rows.
        within: [b, C] whether a column is a place of its piece's dialogue; None where columns are rows.
    """

    dialogues: Tensor
    first: Tensor
    utterances: Tensor
    valid: Tensor
    slots: Tensor
    filled: Tensor
    empty: Tensor
    full: bool
    before: int
    columns: int
    halo: Tensor | None
    within: Tensor | None

    @property
    def rows(self) -> int:
        """R."""
        return self.utterances.shape[1]

    def spread(self, x: Tensor) -> Tensor:
        """[b, T, R, ...] values of rows, to [b, T, C, ...] of columns; zeros in columns outside the dialogue."""
        if self.halo is None:
            return x
        columns = x.flatten(0, 2).index_select(0, self.halo.flatten())
        return columns.index_fill_(0, self._outside, 0).view(*self.halo.shape, *x.shape[3:])

    @cached_property
    def _outside(self) -> Tensor:
        """The columns outside their piece's dialogue, numbered over [b, T, C]."""
        assert self.within is not None
        assert self.halo is not None
        with torch.inference_mode(False):
            return (~self.within)[:, None].expand_as(self.halo).flatten().nonzero()[:, 0]


class Blocks:
    """The blocks of a structure, and the way from nodes to slots and back.

    Args:
        structure: S.
        node_types: T of them: their nodes are stacked in this order.
        before: how many positions before itself a row needs columns for; None: all.
        after: how many after itself.
        most: the greatest number of blocks.

    Attributes:
        shapes: pieces, rows and columns of each block: known before any is made.
        kept: what kernels have made of these blocks and will want again.
    """

    def __init__(
        self,
        structure: Structure,
        node_types: Sequence[str],
        before: int | None = None,
        after: int | None = None,
        most: int = MAX_BLOCKS,
    ) -> None:
        self.structure, self.node_types = structure, tuple(node_types)
        self.kept: dict[Any, Any] = {}
        sizes = [structure.num_nodes(n) for n in self.node_types]
        self._begins = np.cumsum([0, *sizes]).tolist()
        lengths = structure.lengths.cpu().numpy()
        cuts = cut_lengths(lengths.tolist(), most, PRICE)
        self._group = np.searchsorted(cuts, lengths)
        self.shapes = [(int(b), cut, cut) for b, cut in zip(np.bincount(self._group), cuts, strict=True)]
        self._reach: tuple[int, int] | None = None
        if before is not None and after is not None:
            rows = max(PIECE, before + after)
            pieces = (int((-(-lengths // rows)).sum()), rows, rows + before + after)
            if 1.5 * float(np.prod(pieces)) < sum(float(b) * r * c for b, r, c in self.shapes):
                self.shapes, self._reach = [pieces], (before, after)

    @cached_property
    def blocks(self) -> list[Block]:
        """From the shortest dialogues to the longest; one where dialogues are cut into pieces."""
        with torch.inference_mode(False):  # they outlast the call that made them, and may serve training afterwards
            if self._reach is not None:
                return [self._pieces(self.shapes[0][1], *self._reach)]
            return [self._whole(np.flatnonzero(self._group == number)) for number in range(len(self.shapes))]

    @cached_property
    def place(self) -> Tensor:
        """[N] the slot of each stacked node in the blocks' slots laid end to end."""
        filled = torch.cat([block.filled.flatten() for block in self.blocks])
        place = torch.zeros(self._begins[-1], dtype=torch.int64, device=self.structure.device)
        place[torch.cat([block.slots.flatten() for block in self.blocks])[filled]] = filled.nonzero()[:, 0]
        return place

    @property
    def pairs(self) -> int:
        """Rows times columns of all pieces."""
        return sum(b * r * c for b, r, c in self.shapes)

    def _whole(self, dialogues: np.ndarray[tuple[int], np.dtype[np.int64]]) -> Block:
        chosen = torch.as_tensor(dialogues, device=self.structure.device)
        length = int(self.structure.lengths[chosen].max())
        return self._block(chosen, torch.zeros_like(chosen), length, 0, length, None, None)

    def _pieces(self, rows: int, before: int, after: int) -> Block:
        device, types = self.structure.device, len(self.node_types)
        counts = torch.div(self.structure.lengths + rows - 1, rows, rounding_mode="floor")
        dialogues = torch.repeat_interleave(torch.arange(len(counts), device=device), counts)
        number = torch.arange(len(dialogues), device=device) - (torch.cumsum(counts, 0) - counts)[dialogues]  # within its dialogue
        first = number * rows
        apart = torch.arange(rows + before + after, device=device) - before  # of each column from row 0
        position = first[:, None] + apart
        within = (position >= 0) & (position < self.structure.lengths[dialogues, None])
        piece = torch.arange(len(dialogues), device=device)[:, None] + torch.div(apart, rows, rounding_mode="floor")
        kind = torch.arange(types, device=device)[None, :, None]
        slot = (piece[:, None] * types + kind) * rows + apart % rows
        halo = torch.where(within[:, None], slot, 0)
        return self._block(dialogues, first, rows, before, len(apart), halo, within)

    def _block(
        self, dialogues: Tensor, first: Tensor, rows: int, before: int, columns: int, halo: Tensor | None, within: Tensor | None
    ) -> Block:
        s = self.structure
        place = first[:, None] + torch.arange(rows, device=s.device)
        valid = place < s.lengths[dialogues, None]
        utterances = torch.where(valid, s.offsets[dialogues, None] + place, 0)
        filled = torch.stack([s.has(n)[utterances] & valid for n in self.node_types], dim=1)
        nodes = torch.stack([s.counts[n][utterances] + self._begins[k] for k, n in enumerate(self.node_types)], dim=1)
        slots = torch.where(filled, nodes, 0)
        empty = (~filled).flatten().nonzero()[:, 0]
        return Block(dialogues, first, utterances, valid, slots, filled, empty, not len(empty), before, columns, halo, within)

    def pad(self, x: Tensor) -> list[Tensor]:
        """[N, ...] stacked nodes -> one [b, T, R, ...] per block; zeros in empty slots."""
        return list(_Pad.apply(self, x))  # type: ignore[no-untyped-call]

    def unpad(self, parts: Sequence[Tensor]) -> Tensor:
        """One [b, T, R, ...] per block -> [N, ...] stacked nodes."""
        return _Unpad.apply(self, *parts)  # type: ignore[no-any-return,no-untyped-call]

    def pad_pairs(self, values: Tensor, src: Tensor, dst: Tensor, *, joint: bool) -> list[Tensor]:
        """[E] values of edges between stacked nodes, to one [b, T, R, C] per block, or [b, T, R, T, C] where ``joint``.

        Args:
            values: [E]; zero (false) stands where there is no edge.
            src: [E] the column: a node within the columns of dst's piece; of dst's own type unless ``joint``.
            dst: [E] the row.
            joint: columns of every type.
        """
        s, types = self.structure, len(self.node_types)
        nodes = torch.cat([s.nodes[n] for n in self.node_types])
        kind = torch.repeat_interleave(torch.arange(types), torch.tensor(self._begins).diff()).to(s.device)
        shapes = [(*b.slots.shape, types, b.columns) if joint else (*b.slots.shape, b.columns) for b in self.blocks]
        sizes = [int(np.prod(shape)) for shape in shapes]
        base, width = torch.zeros_like(self.place), torch.zeros_like(self.place)  # of the row of each node
        begin, pairs = 0, 0
        for block, shape, size in zip(self.blocks, shapes, sizes, strict=True):
            here = block.slots[block.filled]
            row = int(np.prod(shape[3:]))
            begin_of_columns = (block.first - block.before)[:, None, None].expand_as(block.slots)[block.filled]
            base[here] = pairs + (self.place[here] - begin) * row - begin_of_columns
            width[here] = block.columns
            begin, pairs = begin + block.slots.numel(), pairs + size
        index = base[dst] + s.position[nodes][src] + (kind[src] * width[dst] if joint else 0)
        flat = torch.zeros(pairs, dtype=values.dtype, device=values.device).scatter(0, index, values)
        return [part.view(shape) for part, shape in zip(torch.split(flat, sizes), shapes, strict=True)]


class _Pad(torch.autograd.Function):
    """Every node has one slot: both ways are plain selections, where autograd's own gradient would add up."""

    @staticmethod
    def forward(ctx: Any, blocks: Blocks, x: Tensor) -> tuple[Tensor, ...]:
        ctx.blocks = blocks
        return tuple(_padded(block, x) for block in blocks.blocks)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *grads: Tensor) -> Any:
        return None, _unpadded(ctx.blocks, grads)


class _Unpad(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, blocks: Blocks, *parts: Tensor) -> Tensor:
        ctx.blocks = blocks
        return _unpadded(blocks, parts)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *grads: Tensor) -> Any:
        return None, *(_padded(block, grads[0]) for block in ctx.blocks.blocks)


def _padded(block: Block, x: Tensor) -> Tensor:
    if not len(x):  # a batch of utterances without any modality
        return x.new_zeros(*block.slots.shape, *x.shape[1:])
    flat = x.index_select(0, block.slots.flatten())
    if not block.full:
        flat.index_fill_(0, block.empty, 0)
    return flat.view(*block.slots.shape, *x.shape[1:])


def _unpadded(blocks: Blocks, parts: Sequence[Tensor]) -> Tensor:
    flat = torch.cat([part.flatten(0, 2) for part in parts]) if len(parts) > 1 else parts[0].flatten(0, 2)
    return flat.index_select(0, blocks.place)
