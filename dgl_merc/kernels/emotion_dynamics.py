"""Emotion dynamics: what a conversation says of each turn's emotion, by exact inference in a model of how emotions move.

    p(e_t | o, c) = T[o, c, e_t]            o: the speaker's own last emotion (inertia); c: the others' last one (contagion)
    b_t[e]        ~ p(x_t | e)              the evidence of turn t

    forward    f_t[e, ..] = b_t[e] sum_own T[own, other, e] f_{t-1}[own, other, ..]       ~ p(state_t, x_1 .. x_t)
    backward   g_{t-1}[own, other, ..] = sum_e T[own, other, e] b_t[e] g_t[e, ..]         ~ p(x_{t+1} .. x_N | state_t), likewise
    heard      c_t[e] = sum (f_t / b_t)[e, ..] g_t[e, ..]            so that p(e_t | x_1 .. x_N) ~ b_t[e] c_t[e]

The state is the last emotion of each of the S speakers who spoke last, the latest first: [K + 1] ^ S numbers, index K: nobody yet. Who
comes back after S others has spoken is heard as if for the first time, so that with at most S speakers this is exact, and with more it
is exact for a model that forgets. In a causal structure only what came before is heard: g = 1. Work is linear in the turns.

It is the chain of a conditional random field (Lafferty et al. 2001), of second order and by speaker; Majumder et al. (DialogueRNN,
AAAI 2019) name inertia and influence of others as what moves emotions in a conversation. It is ours, and in neither of the two papers.

All dialogues of a batch go step by step together; a step that is beyond a dialogue's end changes nothing of what is read. There is one
form of it, in plain torch operations: no edges are in it, so there is nothing for DGL to do.
"""

from __future__ import annotations

from functools import cache

import torch
from torch import Tensor

from dgl_merc.graphs import Past, Structure

__all__ = ["emotion_dynamics"]


def emotion_dynamics(structure: Structure, evidence: Tensor, transition: Tensor, *, speakers: int = 3) -> Tensor:
    """Hear the conversation around each turn.

    Args:
        structure: S of U utterances; only lengths, speakers and causality matter.
        evidence: [U, K] log b_t, up to a constant a row; finite. Zeros where nothing was seen.
        transition: [K + 1, K + 1, K] log T: own, other, new; index K: there was no such turn. Rows need not be normalised.
        speakers: S >= 2, of whom the last emotion is remembered.

    Returns:
        [U, K] log c_t, of which the exponentials sum to 1: added to the evidence it is the log posterior, up to a constant a row.

    Raises:
        ValueError: shapes that do not fit, or fewer than two speakers.

    Example, by hand: two turns of one speaker, who keeps an emotion with probability 3/4. The first turn was seen to be the first
    emotion (odds 3 to 1), the second not at all.

    >>> from dgl_merc.graphs import GraphSpec
    >>> s = Structure.of([2], GraphSpec(("text",)), speakers=[0, 0])
    >>> T = torch.full((3, 3, 2), 0.5)
    >>> T[0, :], T[1, :] = torch.tensor([0.75, 0.25]), torch.tensor([0.25, 0.75])
    >>> emotion_dynamics(s, torch.tensor([[3.0, 1.0], [1.0, 1.0]]).log(), T.log()).exp()  # the second: 3/4 3/4 + 1/4 1/4
    tensor([[0.5000, 0.5000],
            [0.6250, 0.3750]])
    """
    k = evidence.shape[-1]
    if evidence.dim() != 2 or len(evidence) != structure.num_utterances or transition.shape != (k + 1, k + 1, k) or speakers < 2:
        found = f"{list(evidence.shape)}, {list(transition.shape)} and {speakers}"
        raise ValueError(
            f"expected evidence [U={structure.num_utterances}, K], transition [K + 1, K + 1, K] and speakers >= 2, got {found}"
        )
    with torch.autocast(evidence.device.type, enabled=False):
        if evidence.dtype in (torch.float16, torch.bfloat16):
            evidence = evidence.float()
        chain = _Chain(transition.to(evidence.dtype).exp(), speakers)
        b = torch.nn.functional.pad((evidence - evidence.detach().amax(-1, keepdim=True)).exp(), (0, 1))  # [U, K + 1], 0 for nobody
        heard = _of_dialogues(chain, structure, b) if structure.past is None else _of_newest(chain, structure.past, structure, b)
        heard = heard[:, :k].clamp_min(torch.finfo(heard.dtype).tiny)
        return (heard / heard.sum(-1, keepdim=True)).log()


class _Chain:
    """One step forward and one back, for states [B, n ^ S], n = K + 1, whose axes are the speakers, the latest first.

    A turn is told by its rank r: the axis of its speaker, S if that has none. For the step the axes are put as own, other, the rest.
    """

    def __init__(self, transition: Tensor, speakers: int) -> None:
        self.n, self.speakers = transition.shape[0], speakers
        self.rest = self.n ** (speakers - 2)
        self.table = torch.nn.functional.pad(transition, (0, 1)).transpose(0, 1)  # [other, own, new]; nobody is never new
        self.order, self.back = (x.to(transition.device) for x in _orders(self.n, speakers))

    def begin(self, like: Tensor, count: int) -> Tensor:
        """[B, n ^ S]: nobody has spoken."""
        state = like.new_zeros(count, self.n**self.speakers)
        state[:, -1] = 1
        return state

    def ahead(self, state: Tensor, rank: Tensor) -> Tensor:
        """[B, n ^ S] states before turns of rank [B], to [B, new, other, rest]: p of the turns' emotions, before anything is seen."""
        n, new = self.n, rank == self.speakers
        own = state.gather(1, self.order[rank.clamp_max(self.speakers - 1)]).view(len(state), n, -1)
        alone = torch.nn.functional.pad(own.sum(1, keepdim=True), (0, 0, n - 1, 0))
        own = torch.where(new[:, None, None], alone, own).view(-1, n, n, self.rest)
        return self._mixed(own, self.table)

    def behind(self, g: Tensor, rank: Tensor) -> Tensor:
        """[B, new, other, rest] to [B, n ^ S]: the transposed step."""
        own = self._mixed(g, self.table.transpose(1, 2)).reshape(len(g), self.n, -1)
        own = torch.where((rank == self.speakers)[:, None, None], own[:, -1:], own)
        return own.reshape(len(g), -1).gather(1, self.back[rank.clamp_max(self.speakers - 1)])

    def _mixed(self, x: Tensor, table: Tensor) -> Tensor:
        """[B, a, other, rest] by [other, a, b] to [B, b, other, rest]."""
        rows = x.permute(2, 0, 3, 1).reshape(self.n, -1, self.n)
        return torch.bmm(rows, table).view(self.n, len(x), self.rest, self.n).permute(1, 3, 0, 2)


@cache
def _orders(n: int, speakers: int) -> tuple[Tensor, Tensor]:
    """[S, n ^ S] which entry of a state comes where when a speaker's axis goes first and the other's second; and the way back."""
    with torch.inference_mode(False):
        entries = torch.arange(n**speakers).view([n] * speakers)
        orders = []
        for own in range(speakers):
            other = 0 if own else 1
            orders.append(entries.permute(own, other, *(a for a in range(speakers) if a not in (own, other))).flatten())
        order = torch.stack(orders)
        return order, order.argsort(1)


def _of_dialogues(chain: _Chain, structure: Structure, b: Tensor) -> Tensor:
    """[U, n] evidence to [U, n] what is heard, up to a factor a row."""
    count, longest = structure.num_dialogues, int(structure.lengths.max())
    place = structure.dialogue * longest + structure.position
    ranks = torch.zeros(count * longest, dtype=torch.int64, device=b.device).index_copy(0, place, _ranks(structure, chain.speakers))
    seen = b.new_ones(count * longest, chain.n).index_copy(0, place, b).view(count, longest, chain.n, 1, 1).unbind(1)
    rank = ranks.view(count, longest).unbind(1)
    state, expected = chain.begin(b, count), list[Tensor]()
    for t in range(longest):
        expected.append(chain.ahead(state, rank[t]))
        state = _scaled((expected[t] * seen[t]).flatten(1))
    heard = torch.stack(expected, 1)  # [B, L, new, other, rest]
    if not structure.spec.causal:
        heard = heard * torch.stack(_backward(chain, structure.lengths, seen, rank), 1)
    return heard.sum((3, 4)).flatten(0, 1).index_select(0, place)


def _backward(chain: _Chain, lengths: Tensor, seen: tuple[Tensor, ...], rank: tuple[Tensor, ...]) -> list[Tensor]:
    """Of each place g; 1 at a dialogue's last turn and beyond it."""
    shape = (len(lengths), chain.n, chain.n, chain.rest)
    g = [seen[0].new_ones(shape)] * len(seen)
    for t in range(len(seen) - 1, 0, -1):
        before = _scaled(chain.behind(g[t] * seen[t], rank[t]))
        g[t - 1] = torch.where((t < lengths)[:, None], before, 1.0).view(shape)
    return g


def _scaled(x: Tensor) -> Tensor:
    """Rows that sum to 1: only ratios are read, so the factor needs no gradient."""
    return x / x.detach().sum(-1, keepdim=True).clamp_min(torch.finfo(x.dtype).tiny)


def _ranks(structure: Structure, speakers: int) -> Tensor:
    """[U] how many others have spoken since each turn's speaker did last: 0 for who goes on; S for S and more, and for who is new."""
    found, recent, position = [], list[int](), structure.position.tolist()
    for speaker, at in zip(structure.speakers.tolist(), position, strict=True):
        recent = recent if at else []
        rank = recent.index(speaker) if speaker in recent else speakers
        found.append(rank)
        recent = [speaker, *(other for other in recent if other != speaker)][:speakers]
    return torch.tensor(found, dtype=torch.int64, device=structure.device)


def _of_newest(chain: _Chain, past: Past, structure: Structure, b: Tensor) -> Tensor:
    """[1, n] to [1, n]: one step on from the state that the past keeps, with whose last emotions it holds."""
    turn, speaker = past.turn(), int(structure.speakers[0])
    state, who = past.state(turn, None) or (chain.begin(b, 1), structure.speakers.new_empty(0))
    recent = who.tolist()
    rank = structure.speakers.new_tensor([recent.index(speaker) if speaker in recent else chain.speakers])
    expected = chain.ahead(state, rank)
    recent = [speaker, *(other for other in recent if other != speaker)][: chain.speakers]
    past.leave(turn, None, (_scaled((expected * b[:, :, None, None]).flatten(1)), structure.speakers.new_tensor(recent)))
    return expected.sum((2, 3))
