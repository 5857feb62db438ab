"""Recurrent networks over dialogues of different lengths, never run over padding.

A forward network on padded sequences is right as it stands: what follows a sequence cannot reach back into it. A backward network is a
forward one on the sequence flipped by its own length. Both run over a few blocks of similar length (three times as fast as packed
sequences, see ``benchmarks/``). The same dialogue gives the same numbers alone and in any batch.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from torch import Tensor, nn

from dgl_merc.graphs import UTTERANCE, Past, Structure
from dgl_merc.graphs.blocks import cut_lengths
from dgl_merc.layers.dropout import Dropout

__all__ = ["Recurrent", "Sequences", "Steps"]


@dataclass(frozen=True, eq=False)
class Steps:
    """Sequences side by side, the longest first, for networks that go step by step: none goes on when it is over.

    Attributes:
        counts: sequences that have a row at each step; never more than at the step before.
        rows: [N] the rows of the first step, then those of the second, ...
        ranks: [N] the place of each one's sequence, from the longest: at step t it is below counts[t].
        where: [N] where each row stands in ``rows``.
    """

    counts: list[int]
    rows: Tensor
    ranks: Tensor
    where: Tensor


@dataclass(frozen=True, eq=False)
class Sequences:
    """N rows that form sequences.

    Attributes:
        lengths: [B] rows of each; 0 is allowed (a modality absent from a whole dialogue) and takes no part.
        rows: [N] the rows sequence by sequence; None: they stand one after the other.
        past: where a network finds its state and leaves it: there is one row, or none, which goes on where the sequence was left.
        owner: whose sequence that is: the number of a speaker; None: the dialogue's.
    """

    lengths: Tensor
    rows: Tensor | None = None
    past: Past | None = None
    owner: int | None = None

    @classmethod
    def of_dialogues(cls, structure: Structure, node_type: str = UTTERANCE) -> Sequences:
        """The nodes of a type, dialogue by dialogue."""
        if structure.past is not None:
            return cls(structure.lengths, past=structure.past)
        counts = structure.counts[node_type][structure.offsets]
        return cls(counts[1:] - counts[:-1])

    @classmethod
    def of_speakers(cls, structure: Structure, node_type: str = UTTERANCE) -> Sequences:
        """The nodes of a type, in every dialogue speaker by speaker: each speaker's own turns."""
        if structure.past is not None:
            return cls(structure.lengths, past=structure.past, owner=int(structure.speakers[0]))
        at = structure.nodes[node_type]
        number = structure.dialogue[at] * (structure.speakers.max() + 1) + structure.speakers[at]
        rows = torch.argsort(number, stable=True)
        return cls(torch.unique_consecutive(number[rows], return_counts=True)[1], rows)

    @cached_property
    def blocks(self) -> list[tuple[Tensor, Tensor]]:
        """Per block: forward and flipped row numbers, each [b, L]; places beyond a sequence's end hold its last row again."""
        lengths = self.lengths.cpu().numpy()
        begin = np.cumsum(lengths) - lengths
        some = np.flatnonzero(lengths)
        group = np.searchsorted(cut_lengths(lengths[some].tolist(), most=4), lengths[some]) if len(some) else np.zeros(0)
        blocks = []
        for number in np.unique(group):
            chosen = some[group == number]
            size = lengths[chosen, None]
            place = np.minimum(np.arange(int(size.max())), size - 1)
            first = begin[chosen, None]
            ahead, back = (torch.from_numpy(p).to(self.lengths.device) for p in (first + place, first + size - 1 - place))
            blocks.append((ahead, back) if self.rows is None else (self.rows[ahead], self.rows[back]))
        return blocks

    @cached_property
    def reversed(self) -> Sequences:
        """The same rows, the last of each sequence first."""
        end = torch.cumsum(self.lengths, 0)
        number = torch.arange(int(self.lengths.sum()), device=self.lengths.device)
        rows = torch.repeat_interleave(2 * end - self.lengths - 1, self.lengths) - number
        return Sequences(self.lengths, rows if self.rows is None else self.rows[rows])

    @cached_property
    def steps(self) -> Steps:
        """The sequences step by step."""
        lengths, device = self.lengths.cpu(), self.lengths.device
        order = torch.argsort(lengths, descending=True, stable=True)
        number = torch.arange(int(lengths.max()) if len(lengths) else 0)[:, None]  # of the step
        there = number < lengths[order]
        rows = (number + (torch.cumsum(lengths, 0) - lengths)[order])[there].to(device)
        rows = rows if self.rows is None else self.rows[rows]
        return Steps(there.sum(1).tolist(), rows, there.nonzero()[:, 1].to(device), torch.argsort(rows))

    @cached_property
    def where(self) -> Tensor:
        """[N] where each row stands in the blocks' places laid end to end (read in forward order)."""
        return self._inverse(0)

    @cached_property
    def where_flipped(self) -> Tensor:
        """[N] the same for the flipped order."""
        return self._inverse(1)

    def _inverse(self, order: int) -> Tensor:
        where = torch.zeros(int(self.lengths.sum()), dtype=torch.int64, device=self.lengths.device)
        begin = 0
        for block in self.blocks:
            rows = block[order]
            flat = torch.arange(begin, begin + rows.numel(), device=rows.device).view_as(rows)
            first = torch.ones_like(rows, dtype=torch.bool)
            first[:, 1:] = rows[:, 1:] != rows[:, :-1]  # a repeated row is padding
            where[rows[first]] = flat[first]
            begin += rows.numel()
        return where


class Recurrent(nn.Module):
    """An LSTM or GRU over the sequences of a batch.

    Args:
        kind: ``"lstm"`` or ``"gru"``.
        width: D of the input.
        hidden: H per direction.
        layers: stacked; each bidirectional layer hears both directions of the one below.
        bidirectional: off in causal models.
        dropout: between stacked layers, in training.
    """

    def __init__(self, kind: str, width: int, hidden: int, *, layers: int = 1, bidirectional: bool = True, dropout: float = 0.0) -> None:
        super().__init__()
        make = {"lstm": nn.LSTM, "gru": nn.GRU}[kind]
        directions = 2 if bidirectional else 1
        widths = [width] + [hidden * directions] * (layers - 1)
        self.forwards = nn.ModuleList(make(w, hidden, batch_first=True) for w in widths)
        self.backwards = nn.ModuleList(make(w, hidden, batch_first=True) for w in (widths if bidirectional else []))
        self.dropout = Dropout(dropout)
        self.width = hidden * directions

    def forward(self, x: Tensor, sequences: Sequences) -> Tensor:
        """[N, D] -> [N, H] or, bidirectional, [N, 2 H]; N = the sequences' rows.

        Raises:
            ValueError: a bidirectional network is to go on from a past.
        """
        if sequences.past is not None:
            return self._go_on(x, sequences.past, sequences.owner)
        if not len(x):
            return x.new_zeros(0, self.width)
        for k, ahead in enumerate(self.forwards):
            x = self.dropout(x) if k else x
            parts = [_run(ahead, x, sequences, 0)]
            if self.backwards:
                parts.append(_run(self.backwards[k], x, sequences, 1))
            x = torch.cat(parts, dim=-1)
        return x

    def _go_on(self, x: Tensor, past: Past, owner: int | None) -> Tensor:
        """[1 or 0, D] -> [1 or 0, H]: one step; a state stays where there is none to take."""
        if self.backwards:
            raise ValueError("a network in two directions hears what is to come, and can't go on from a past")
        turn = past.turn()
        if not len(x):
            return x.new_zeros(0, self.width)
        before, after = past.state(turn, owner), list[Tensor]()
        for k, network in enumerate(self.forwards):
            x = self.dropout(x) if k else x
            if isinstance(network, nn.LSTM):
                hidden, states = network(x[None], None if before is None else before[2 * k : 2 * k + 2])
            else:
                hidden, state = network(x[None], None if before is None else before[k])
                states = (state,)
            x, after = hidden[0], [*after, *states]
        past.leave(turn, owner, after)
        return x


def _run(network: nn.Module, x: Tensor, sequences: Sequences, order: int) -> Tensor:
    outputs = []
    for block in sequences.blocks:
        rows = block[order]
        hidden, _ = network(x.index_select(0, rows.flatten()).view(*rows.shape, -1))
        outputs.append(hidden.flatten(0, 1))
    where = sequences.where_flipped if order else sequences.where
    return torch.cat(outputs).index_select(0, where)
