"""Blocks: a ragged batch as a few padded rectangles, dialogues of similar length together.

Padding a batch to its longest dialogue wastes most of the arithmetic (lengths of 8-110: two thirds). Sorted by length and cut into
a few blocks, little is wasted, and every block is one large matrix product. The cuts minimise the padded area, exactly.

Within a block of b dialogues of at most L utterances, modality k of M has the slots k L ... (k + 1) L - 1; a slot is empty where the
dialogue is shorter or the modality absent. Nothing reads an empty slot, and what stands in one is zero.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from dgl_merc.graphs.structure import Structure

__all__ = ["Block", "Blocks", "cut_lengths"]

MAX_BLOCKS = 4


def cut_lengths(lengths: Sequence[int], most: int = MAX_BLOCKS) -> list[int]:
    """The lengths at which to cut a batch so that the padded area (sum of b L^2) is least.

    Args:
        lengths: utterances per dialogue.
        most: the greatest number of blocks.

    Returns:
        Ascending block lengths; a dialogue belongs to the first that is at least its own.

    >>> cut_lengths([3, 3, 4, 20, 21], most=2)
    [4, 21]
    """
    size, count = np.unique(np.asarray(lengths), return_counts=True)
    if len(size) > 128:  # corpora, not batches: cuts at 128 quantiles are as good
        chosen = np.unique(np.quantile(size, np.linspace(0, 1, 128), method="higher"))
        count = np.diff(np.append(0, np.cumsum(count)[np.searchsorted(size, chosen)]))
        size = chosen
    total = np.append(0, np.cumsum(count)).astype(float)
    area = (total[None, 1:] - total[:-1, None]) * size[None, :].astype(float) ** 2  # [i, j]: lengths i..j in one block
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
    """A rectangle of b dialogues of at most L utterances; S = M L slots.

    Attributes:
        dialogues: [b] numbers in the batch.
        length: L.
        utterances: [b, L] the utterance of each place; 0 where there is none.
        valid: [b, L] whether there is one.
        slots: [b, S] the node of each slot in stacked numbering (all nodes of the first modality, then of the second, ...); 0 where
            empty.
        filled: [b, S] whether there is one.
    """

    dialogues: Tensor
    length: int
    utterances: Tensor
    valid: Tensor
    slots: Tensor
    filled: Tensor


class Blocks:
    """The blocks of a structure, and the way from nodes to slots and back.

    Attributes:
        blocks: from the shortest dialogues to the longest.
        place: [N] the slot of each stacked node in the blocks' slots laid end to end.
        row: [N] where the row of a stacked node begins in the blocks' [b, S, S] pairs laid end to end.
        slot: [N] the slot of a stacked node within its dialogue: pair (i, j) stands at ``row[i] + slot[j]``.
        pairs: the number of all pairs.
    """

    def __init__(self, structure: Structure, most: int = MAX_BLOCKS) -> None:
        self.structure = structure
        self._first = [0, *np.cumsum(list(structure.sizes.values())).tolist()]
        self.place, self.row, self.slot = (torch.zeros(self._first[-1], dtype=torch.int64, device=structure.device) for _ in range(3))
        lengths = structure.lengths.tolist()
        group = np.searchsorted(cut_lengths(lengths, most), lengths)
        self.blocks: list[Block] = []
        begin, self.pairs = 0, 0
        for number in np.unique(group):
            block = self._block(np.flatnonzero(group == number))
            size, (count, slots) = block.slots.numel(), block.slots.shape
            flat = torch.arange(size, device=structure.device).view_as(block.slots)[block.filled]
            nodes = block.slots[block.filled]
            self.place[nodes] = begin + flat
            self.row[nodes] = self.pairs + flat * slots
            self.slot[nodes] = flat % slots
            begin += size
            self.pairs += count * slots**2
            self.blocks.append(block)

    def _block(self, dialogues: np.ndarray[tuple[int], np.dtype[np.int64]]) -> Block:
        s = self.structure
        chosen = torch.as_tensor(dialogues, device=s.device)
        length = int(s.lengths[chosen].max())
        place = torch.arange(length, device=s.device)
        valid = place < s.lengths[chosen, None]
        utterances = torch.where(valid, s.offsets[chosen, None] + place, 0)
        filled = torch.cat([s.presence[utterances, k] & valid for k in range(len(s.spec.modalities))], dim=1)
        nodes = torch.cat([s.counts[m][utterances] + self._first[k] for k, m in enumerate(s.spec.modalities)], dim=1)
        return Block(chosen, length, utterances, valid, torch.where(filled, nodes, 0), filled)

    def pad(self, block: Block, x: Tensor) -> Tensor:
        """[N, ...] stacked nodes -> [b, S, ...]; zeros in empty slots."""
        if not len(x):  # a batch of utterances without any modality
            return x.new_zeros(*block.slots.shape, *x.shape[1:])
        padded = x.index_select(0, block.slots.flatten()).view(*block.slots.shape, *x.shape[1:])
        return padded * block.filled.view(*block.filled.shape, *(1,) * (x.ndim - 1)).to(x.dtype)

    def pad_edges(self, values: Tensor, index: Tensor) -> list[Tensor]:
        """[E] values of pairs, to one [b, S, S] per block; zero (false) where there is none.

        Args:
            values: [E].
            index: [E] ``row[dst] + slot[src]`` of each.
        """
        flat = torch.zeros(self.pairs, dtype=values.dtype, device=values.device).scatter(0, index, values)
        shapes = [(block.slots.shape[0], block.slots.shape[1]) for block in self.blocks]
        return [part.view(b, s, s) for (b, s), part in zip(shapes, torch.split(flat, [b * s * s for b, s in shapes]), strict=True)]

    def unpad(self, parts: Sequence[Tensor]) -> Tensor:
        """One [b, S, ...] per block -> [N, ...] stacked nodes."""
        flat = torch.cat([part.flatten(0, 1) for part in parts])
        return flat.index_select(0, self.place)
