"""The recurrence of DialogueRNN: a global state of the dialogue, and a state for every party (Majumder et al., AAAI 2019, section 3.3).

    g_t     = GRU_G(g_{t-1}, [u_t, q_{s,t-1}])                       s: who speaks at t
    alpha   = softmax(u_t^T W_alpha [g_1, ..., g_{t-1}])
    c_t     = sum over j < t of alpha_j g_j                          c_1 = 0
    q_{s,t} = GRU_P(q_{s,t-1}, [u_t, c_t])                           the other parties stay as they are, or listen:
    q_{l,t} = GRU_L(q_{l,t-1}, [u_t, c_t])                           only with ``listeners``, l any other

U utterances, D features u, G of g, P of q. All states begin as zeros. What comes out is q_{s,t} of every utterance, of its speaker.

Readings: in GRU_L the print has, in place of u_t, the listener's face; no corpus has it apart from the speaker's. With ``listeners`` who
has not spoken yet has listened from the beginning, and all of those alike: a conversation need not say beforehand who will come.

A loop over positions, once for all dialogues of a batch that are that long. What W_alpha and the cells make of u_t is made beforehand.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from dgl_merc.graphs import Past, Structure
from dgl_merc.kernels.semantic_blocks import softmax
from dgl_merc.layers.sequences import Sequences

__all__ = ["PartyRecurrence"]


class PartyRecurrence(nn.Module):
    """Utterances to the states of who says them.

    Args:
        width: D.
        global_dim: G.
        party_dim: P.
        listeners: whether the others' states change, too.
    """

    def __init__(self, width: int, global_dim: int, party_dim: int, *, listeners: bool = False) -> None:
        super().__init__()
        self.attention = nn.Linear(width, global_dim, bias=False)  # W_alpha
        self.world = _Cell(width, party_dim, global_dim)
        self.party = _Cell(width, global_dim, party_dim)
        self.listener = _Cell(width, global_dim, party_dim) if listeners else None

    def forward(self, structure: Structure, x: Tensor, sequences: Sequences) -> Tensor:
        """[U, D] to [U, P].

        Args:
            structure: S: who speaks.
            x: u.
            sequences: its dialogues, in their order or reversed.
        """
        if structure.past is not None:
            return self._go_on(structure, structure.past, x)
        steps = sequences.steps
        counts, parties = steps.counts, int(structure.speakers.max()) + 1
        places = torch.split(steps.ranks * parties + structure.speakers.index_select(0, steps.rows), counts)  # of the speaker in q
        known = zip(*(torch.split(part.index_select(0, steps.rows), counts) for part in self._known(x)), strict=True)
        g, q = x.new_zeros(counts[0], self.world.size), x.new_zeros(counts[0] * parties, self.party.size)
        heard, said = g[:, None][:, :0], list[Tensor]()
        for place, of_u in zip(places, known, strict=True):
            n = len(place)
            if n < len(g):  # the shortest dialogues are over
                g, q, heard = g[:n], q[: n * parties], heard[:n]
            before = q.index_select(0, place)
            g = self._world(of_u, g, before)
            c = self._context(of_u, heard)
            if self.listener is not None:
                q = self.listener(self.listener.inputs(of_u[3], c).repeat_interleave(parties, 0), q)
            said.append(self.party(self.party.inputs(of_u[2], c), before))
            q = q.index_copy(0, place, said[-1])
            heard = torch.cat([heard, g[:, None]], dim=1)
        return torch.cat(said).index_select(0, steps.where)

    def _known(self, x: Tensor) -> list[Tensor]:
        """[U, D] to what is known of all positions beforehand: u_t^T W_alpha [U, G], and W u_t + b of every cell."""
        cells = [self.world, self.party, *([] if self.listener is None else [self.listener])]
        return [self.attention(x), *(cell.known(x) for cell in cells)]

    def _world(self, of_u: Sequence[Tensor], g: Tensor, q: Tensor) -> Tensor:
        """[n, G] and [n, P] of the speakers to g_t [n, G]."""
        return self.world(self.world.inputs(of_u[1], q), g)  # type: ignore[no-any-return]

    def _context(self, of_u: Sequence[Tensor], heard: Tensor) -> Tensor:
        """g_1 ... g_{t-1} [n, t - 1, G] to c_t [n, G]."""
        if not heard.shape[1]:
            return heard.new_zeros(len(heard), heard.shape[2])
        alpha = softmax(torch.bmm(of_u[0][:, None], heard.transpose(1, 2)))
        c: Tensor = torch.bmm(alpha, heard).squeeze(1)
        return c

    def _go_on(self, structure: Structure, past: Past, x: Tensor) -> Tensor:
        """[1, D] to [1, P]: one step of one dialogue."""
        of_u, turn, speaker = self._known(x), past.turn(), int(structure.speakers[0])
        nothing = (x.new_zeros(1, self.world.size), x.new_zeros(1, self.party.size))
        g, stranger = past.state(turn, None) or nothing
        (before,) = past.state(turn, speaker) or (stranger,)
        g = self._world(of_u, g, before)
        (heard,), _ = past.recall(None, g)
        c = self._context(of_u, heard[None, :-1])
        if self.listener is not None:
            inputs = self.listener.inputs(of_u[3], c)
            stranger = self.listener(inputs, stranger)
            for other in past.owners(turn):
                (q,) = past.state(turn, other) or (stranger,)
                past.leave(turn, other, [self.listener(inputs, q)])
        said: Tensor = self.party(self.party.inputs(of_u[2], c), before)
        past.leave(turn, None, [g, stranger])
        past.leave(turn, speaker, [said])
        return said


class _Cell(nn.Module):
    """A GRU cell whose input has two parts: u, known beforehand, and v, which only the step knows.

        r, z = sigmoid(W u + V v + b + H h + b')           one each
        n    = tanh(W u + V v + b + r (H h + b'))
        h'   = (1 - z) n + z h

    Args:
        width: of u.
        beside: of v.
        size: of h.
    """

    def __init__(self, width: int, beside: int, size: int) -> None:
        super().__init__()
        self.size = size
        self.known = nn.Linear(width, 3 * size)
        self.found = nn.Linear(beside, 3 * size, bias=False)
        self.state = nn.Linear(size, 3 * size)
        for p in self.parameters():  # as nn.GRUCell
            nn.init.uniform_(p, -(size**-0.5), size**-0.5)

    def inputs(self, known: Tensor, v: Tensor) -> Tensor:
        """[n, 3 size] of u, and v, to [n, 3 size]."""
        total: Tensor = known + self.found(v)
        return total

    def forward(self, inputs: Tensor, h: Tensor) -> Tensor:
        """[n, 3 size], [n, size] to [n, size]."""
        own = self.state(h)
        both = 2 * self.size
        r, z = torch.sigmoid(inputs[:, :both] + own[:, :both]).chunk(2, dim=1)
        n = torch.tanh(inputs[:, both:] + r * own[:, both:])
        return n + z * (h - n)
