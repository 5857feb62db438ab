"""Emotion dynamics: what a conversation says of each turn's emotion, by exact inference in a model of how emotions move.

    p(e_t | o, c) = T[o, c, e_t]            o: the speaker's own last emotion (inertia); c: the others' last one (contagion)
    b_t[e]        ~ p(x_t | e)              the evidence of turn t

    forward    f_t[e, ..] = sum_own T[own, other, e] s_{t-1}[own, other, ..]     ~ p(state_t | x_1 .. x_{t-1});  s_t ~ b_t f_t
    backward   g_{t-1}[own, other, ..] = sum_e T[own, other, e] h_t[e, other, ..]     ~ p(x_t .. x_N | state_{t-1});  h_t ~ b_t g_t
    heard      c_t[e] = sum (f_t g_t)[e, ..]            so that p(e_t | x_1 .. x_N) ~ b_t[e] c_t[e]

The state is the last emotion of each of the S speakers who spoke last, the latest first: [K + 1] ^ S numbers, index K: nobody yet. Who
comes back after S others has spoken is heard as if for the first time, so that with at most S speakers this is exact, and with more it
is exact for a model that forgets. In a causal structure only what came before is heard: g = 1. Work is linear in the turns.

It is the chain of a conditional random field (Lafferty et al. 2001), of second order and by speaker; Majumder et al. (DialogueRNN,
AAAI 2019) name inertia and influence of others as what moves emotions in a conversation. It is ours, and in neither of the two papers.

Gradients are the same two passes the other way, for derivatives by logarithms, which are no greater than the cotangents' sum, however
unlikely a state is. With d of the loss, and m_t = f_t g_t dc_t, what a turn's states have of it:

    d log s_{t-1} = s_{t-1} (the transposed step of (d log s_t + m_t) / f_t)          d log b_t = d log s_t + d log h_t, summed
    d log h_t     = h_t (the step of (d log h_{t-1} + m_{t-1}) / g_{t-1})             d log T: their products at each step, times T

All dialogues of a batch go step by step together; a step that is beyond a dialogue's end changes nothing of what is read. States are
scaled to sum to 1, and what is less likely than the root of the least number counts as that, in T beside its greatest entry and in b_t
beside its own: so contradictions are outweighed, not divided by. There is one form of it, in plain torch operations: no edges are in it,
so there is nothing for DGL to do.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from functools import cache
from itertools import product
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from dgl_merc.graphs import Past, Structure

__all__ = ["emotion_dynamics"]

Steps = Sequence[Tensor]  # L times numbers of states [n, .., n, B]


def emotion_dynamics(structure: Structure, evidence: Tensor, transition: Tensor, *, speakers: int = 3) -> Tensor:
    """Hear the conversation around each turn. Agrees with :func:`emotion_dynamics_loop`.

    Args:
        structure: S of U utterances; only lengths, speakers and causality matter.
        evidence: [U, K] log b_t, up to a constant a row; finite. Zeros where nothing was seen.
        transition: [K + 1, K + 1, K] log T: own, other, new; index K: there was no such turn. Rows need not be normalised; finite.
        speakers: S >= 2, of whom the last emotion is remembered.

    Returns:
        [U, K] log c_t, in float32 at least, of which the exponentials sum to 1: added to the evidence it is the log posterior, up to a
        constant a row.

    Raises:
        ValueError: shapes that do not fit, or fewer than two speakers.

    Example, by hand: two utterances of one speaker, who keeps an emotion with probability 3/4. The first was seen to be the first
    emotion (odds 3 to 1), the second not at all.

    >>> from dgl_merc.graphs import GraphSpec
    >>> s = Structure.of([2], GraphSpec(("text",)), speakers=[0, 0])
    >>> T = torch.full((3, 3, 2), 0.5)
    >>> T[0, :], T[1, :] = torch.tensor([0.75, 0.25]), torch.tensor([0.25, 0.75])
    >>> emotion_dynamics(s, torch.tensor([[3.0, 1.0], [1.0, 1.0]]).log(), T.log()).exp()  # the second: 3/4 3/4 + 1/4 1/4
    tensor([[0.5000, 0.5000],
            [0.6250, 0.3750]])
    """
    k = evidence.shape[-1] if evidence.dim() else 0
    if evidence.dim() != 2 or len(evidence) != structure.num_utterances or transition.shape != (k + 1, k + 1, k) or speakers < 2:
        found = f"{list(evidence.shape)}, {list(transition.shape)} and {speakers}"
        raise ValueError(
            f"expected evidence [U={structure.num_utterances}, K], transition [K + 1, K + 1, K] and speakers >= 2, got {found}"
        )
    with torch.autocast(evidence.device.type, enabled=False):
        evidence = evidence.to(torch.promote_types(evidence.dtype, torch.float32))
        transition = transition.to(evidence.dtype)
        if structure.past is not None:
            return _of_newest(structure, structure.past, evidence, transition, speakers)
        if not len(evidence):
            return evidence
        turns = _Turns.of(structure, speakers, evidence.dtype)
        heard: Tensor = _Hear.apply(evidence, transition, turns, structure.spec.causal)  # type: ignore[no-untyped-call]
        return heard


class _Turns(NamedTuple):
    """The turns of a batch: step t is turn t of each of B dialogues, L the longest.

    The rank of a turn is how many others have spoken since its speaker did last: 0 for who goes on; S for S and more, and for who is new.

    Attributes:
        speakers: S.
        dialogues: B.
        place: [U] of an utterance, among L B.
        who: L times, rank -> [B] 1 where it is the turn's, else 0; of the ranks from 1 that there are. Beyond a dialogue's end it is 0.
        over: L times [B] 1 where a dialogue has ended before; None: none has.
    """

    speakers: int
    dialogues: int
    place: Tensor
    who: list[dict[int, Tensor]]
    over: list[Tensor | None]

    @classmethod
    def of(cls, structure: Structure, speakers: int, dtype: torch.dtype) -> _Turns:
        """With what is the same in every pass."""
        count, lengths = structure.num_dialogues, structure.lengths.cpu()
        place, longest = structure.position * count + structure.dialogue, int(lengths.max())
        ranks = torch.zeros(longest * count, dtype=torch.int64)
        ranks[place.cpu()] = torch.tensor(_ranks(structure, speakers))
        ranks[(torch.arange(longest)[:, None] >= lengths).flatten()] = speakers + 1  # over
        masks = torch.stack([ranks == r for r in range(1, speakers + 2)]).view(-1, longest, count).transpose(0, 1)
        rows = [row.unbind() for row in masks.to(structure.device, dtype).unbind()]
        who = [{r: x for r, x in enumerate(row, 1) if some[r - 1]} for row, some in zip(rows, masks.any(2).tolist(), strict=True)]
        return cls(speakers, count, place, who, [step.pop(speakers + 1, None) for step in who])

    def lay(self, rows: Tensor, empty: float) -> tuple[Tensor, ...]:
        """[U, K] to L times [1, n, 1, .., B], to weigh states by the latest emotion; ``empty`` beyond the ends, 0 for nobody's."""
        steps, n = len(self.who), rows.shape[1] + 1
        laid = rows.new_full((steps * self.dialogues, n), empty).index_copy(0, self.place, torch.nn.functional.pad(rows, (0, 1)))
        laid = laid.view(steps, self.dialogues, n).transpose(1, 2)
        return laid.reshape(steps, 1, n, *[1] * (self.speakers - 2), self.dialogues).unbind()

    def pick(self, states: Steps) -> Tensor:
        """L times [n, .., B] to [U, K]: sums by the latest emotion."""
        laid = torch.stack([x.sum(0).view(x.shape[1], -1, self.dialogues).sum(1) for x in states])
        return laid.transpose(1, 2).flatten(0, 1).index_select(0, self.place)[:, :-1]


class _Chain:
    """One step ahead and one back, for numbers of states [n, .., n, B]: S times n = K + 1, B dialogues.

    The axes are the speakers: the second latest, the latest, then the others, the latest first. For a step they are turned to other, own,
    the rest; with a new emotion in the place of own these are the next state's axes.
    """

    def __init__(self, log_t: Tensor, speakers: int) -> None:
        """log_t: [own, other, new]."""
        table = _floored(log_t).exp()
        self.n, self.speakers = len(table), speakers
        self.mix = torch.nn.functional.pad(table, (0, 1)).permute(1, 2, 0).contiguous()  # [other, new, own]; nobody is never new

    def begin(self, count: int) -> Tensor:
        """Nobody has spoken."""
        state = self.mix.new_zeros(self.n**self.speakers, count)
        state[-1] = 1
        return self._shaped(state)

    def _shaped(self, x: Tensor) -> Tensor:
        return x.view(*[self.n] * self.speakers, -1)

    def flat(self, x: Tensor) -> Tensor:
        """To [other, own or new, the rest and B]."""
        return x.reshape(self.n, self.n, -1)

    def turn(self, state: Tensor, who: Mapping[int, Tensor]) -> Tensor:
        """Before a step."""
        x = state
        for rank, those in who.items():
            x = torch.lerp(x, state.permute(_axes(self.speakers, rank)), those)
        if (new := who.get(self.speakers)) is not None:
            alone = x.sum(1) * new
            x.mul_(1 - new)[:, -1] += alone
        return x

    def ahead(self, turned: Tensor) -> Tensor:
        """The step: sum over own of T."""
        return self._shaped(torch.bmm(self.mix, self.flat(turned)))

    def behind(self, x: Tensor, who: Mapping[int, Tensor]) -> Tensor:
        """The transpose of the two."""
        turned = self._shaped(torch.bmm(self.mix.transpose(1, 2), self.flat(x)))
        if (new := who.get(self.speakers)) is not None:
            turned = torch.lerp(turned, turned[:, -1:], new)
        x = turned
        for rank, those in who.items():
            x = torch.lerp(x, turned.permute(_axes(self.speakers, rank, back=True)), those)
        return x


@cache
def _axes(speakers: int, rank: int, *, back: bool = False) -> list[int]:
    """How a state's axes are turned. Who has none yet gets that of who spoke longest ago."""
    latest_first = [1, 0, *range(2, speakers)]
    own = min(rank, speakers - 1)
    axes = [latest_first.pop(own), *latest_first]
    axes[:2] = axes[1::-1]
    return [*(axes.index(a) for a in range(speakers)), speakers] if back else [*axes, speakers]


class _Hear(torch.autograd.Function):
    """[U, K] evidence and T to [U, K] log c_t; backwards as the head of this file has it."""

    @staticmethod
    def forward(ctx: Any, evidence: Tensor, transition: Tensor, turns: _Turns, causal: bool) -> Tensor:
        """Forward and backward."""
        log_b, log_t = evidence - evidence.amax(-1, keepdim=True), transition - transition.amax()
        chain, b = _Chain(log_t, turns.speakers), turns.lay(_floored(log_b).exp(), 1.0)
        turned, f, s = _forward(chain, turns, b)
        g, h = ([], []) if causal else _backward(chain, turns, b, f)
        joint = [_scaled(x) for x in f] if causal else [_scaled(x * y) for x, y in zip(f, g, strict=True)]
        share = turns.pick(joint)
        ctx.save_for_backward(log_b, log_t, share, *turned, *f, *s, *g, *h, *joint)
        ctx.turns = turns
        return _log(share)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *gradients: Tensor) -> Any:
        """The same two passes the other way."""
        with torch.autocast(gradients[0].device.type, enabled=False):  # it may be on here, too
            return *_told(ctx.turns, gradients[0], *ctx.saved_tensors), None, None


def _told(turns: _Turns, gradient: Tensor, log_b: Tensor, log_t: Tensor, share: Tensor, *kept: Tensor) -> tuple[Tensor, Tensor]:
    """Gradients of the evidence and T, of that of log c."""
    steps = len(turns.who)
    turned, f, s, *both, joint = (kept[k : k + steps] for k in range(0, len(kept), steps))
    chain, least = _Chain(log_t, turns.speakers), _least(share)
    by_share = torch.where(share > least, gradient / share.clamp_min(least) - gradient.sum(-1, keepdim=True), 0)
    m = [x * y for x, y in zip(joint, turns.lay(by_share, 0.0), strict=True)]
    by_t = torch.zeros_like(chain.mix)
    by_b = turns.pick(_of_forward(chain, turns, m, turned, f, s, by_t))
    if both:
        g, h = both
        by_b = by_b + turns.pick(_of_backward(chain, turns, m, g, h, by_t))
    by_t = (by_t * chain.mix).permute(2, 0, 1)[:, :, :-1]
    return by_b * (log_b >= _floor(log_b)), by_t * (log_t >= _floor(log_t))


def _forward(chain: _Chain, turns: _Turns, b: Steps) -> tuple[list[Tensor], list[Tensor], list[Tensor]]:
    """Of every step the turned states before it, f and s."""
    turned, f, s = list[Tensor](), list[Tensor](), [chain.begin(turns.dialogues)]
    for who, b_t in zip(turns.who, b, strict=True):
        turned.append(chain.turn(s[-1], who))
        f.append(chain.ahead(turned[-1]))
        s.append(_scaled(f[-1] * b_t))
    return turned, f, s[1:]


def _backward(chain: _Chain, turns: _Turns, b: Steps, f: Steps) -> tuple[list[Tensor], list[Tensor]]:
    """Of every step g, which is 1 at a dialogue's last turn and beyond it, and h, which is 0 where no state can be."""
    g, h = [torch.ones_like(f[0])], list[Tensor]()
    for t in range(len(b) - 1, -1, -1):
        h.append(_scaled((g[-1] * b[t]).mul_(f[t].sign())))
        if t:
            before, over = chain.behind(h[-1], turns.who[t]), turns.over[t]
            g.append(before if over is None else torch.lerp(before, g[0], over))
    return g[::-1], h[::-1]


def _of_forward(chain: _Chain, turns: _Turns, m: Steps, turned: Steps, f: Steps, s: Steps, by_t: Tensor) -> list[Tensor]:
    """Of every step d log s; adds to d T [other, new, own]."""
    told = [torch.zeros_like(m[0])]
    for t in range(len(m) - 1, -1, -1):
        x = (told[-1] + m[t]).div_(f[t].clamp_min(_least(f[t])))
        by_t.baddbmm_(chain.flat(x), chain.flat(turned[t]).transpose(1, 2))
        if t:
            told.append(chain.behind(x, turns.who[t]) * s[t - 1])
    return told[::-1]


def _of_backward(chain: _Chain, turns: _Turns, m: Steps, g: Steps, h: Steps, by_t: Tensor) -> list[Tensor]:
    """Of every step d log h; adds to d T [other, new, own]."""
    told = [torch.zeros_like(m[0])]
    for t in range(1, len(m)):
        x, over = (told[-1] + m[t - 1]).div_(g[t - 1].clamp_min(_least(g[t - 1]))), turns.over[t]
        turned = chain.turn(x if over is None else x.mul_(1 - over), turns.who[t])
        by_t.baddbmm_(chain.flat(h[t]), chain.flat(turned).transpose(1, 2))
        told.append(chain.ahead(turned).mul_(h[t]))
    return told


def _scaled(x: Tensor) -> Tensor:
    """[n, .., B], of each dialogue to sum to 1. Only ratios are read, so the factor needs no gradient."""
    return x / x.flatten(0, -2).sum(0).clamp_min(_tiny(x))


def _log(share: Tensor) -> Tensor:
    """Of rows that sum to 1, or are 0."""
    share = share.clamp_min(_least(share))
    return (share / share.sum(-1, keepdim=True)).log()


def _tiny(x: Tensor) -> float:
    return torch.finfo(x.dtype).tiny


def _least(x: Tensor) -> float:
    """What a share or a divisor is at least: one that can be divided by."""
    return torch.finfo(x.dtype).tiny / torch.finfo(x.dtype).eps


def _floored(x: Tensor) -> Tensor:
    return x.clamp_min(_floor(x))


def _floor(x: Tensor) -> float:
    """A logarithm: products of two are not 0."""
    return math.log(_tiny(x)) / 2


def _ranks(structure: Structure, speakers: int) -> list[int]:
    """[U] :class:`_Turns`' rank of every utterance's turn."""
    found, recent = list[int](), list[int]()
    for speaker, at in zip(structure.speakers.tolist(), structure.position.tolist(), strict=True):
        if not at:
            recent.clear()
        found.append(_speak(recent, speaker, speakers))
    return found


def _speak(recent: list[int], speaker: int, speakers: int) -> int:
    """The rank of a speaker's turn, who then is the first of those who spoke last."""
    rank = speakers
    if speaker in recent:
        rank = recent.index(speaker)
        del recent[rank]
    recent.insert(0, speaker)
    del recent[speakers:]
    return rank


def _of_newest(structure: Structure, past: Past, evidence: Tensor, transition: Tensor, speakers: int) -> Tensor:
    """[1, K] to [1, K]: one step on from the state that the past keeps, with whose last emotions it holds. Without gradients."""
    with torch.no_grad():
        turn, chain = past.turn(), _Chain(transition - transition.amax(), speakers)
        state, spoke = past.state(turn, None) or (chain.begin(1), structure.speakers.new_empty(0))
        recent = spoke.tolist()
        rank = _speak(recent, int(structure.speakers[0]), speakers)
        turns = _Turns(speakers, 1, structure.position, [{rank: evidence.new_ones(1)} if rank else {}], [None])
        f = chain.ahead(chain.turn(state, turns.who[0]))
        (b,) = turns.lay(_floored(evidence - evidence.amax()).exp(), 1.0)
        past.leave(turn, None, (_scaled(f * b), structure.speakers.new_tensor(recent)))
        return _log(turns.pick([_scaled(f)]))


def emotion_dynamics_loop(speakers: Sequence[int], evidence: Tensor, transition: Tensor, *, causal: bool, remembered: int) -> Tensor:
    """The definition, for one dialogue: every sequence of N emotions, one by one. Slow on purpose, K ^ N; shares no line with the above.

    Args:
        speakers: N, by turn.
        evidence: [N, K] log b_t.
        transition: [K + 1, K + 1, K] log T.
        causal: a turn is told of by earlier ones alone.
        remembered: S.

    Returns:
        [N, K] log c_t.
    """
    n, k = evidence.shape
    before = []  # each turn's own last turn and that of whoever else spoke last
    for t, speaker in enumerate(speakers):
        own = max((u for u in range(t) if speakers[u] == speaker), default=None)
        other = max((u for u in range(t) if speakers[u] != speaker), default=None)
        forgotten = own is not None and len(set(speakers[own + 1 : t])) >= remembered
        before.append((None if forgotten else own, other))
    heard = [[list[Tensor]() for _ in range(k)] for _ in range(n)]  # logarithms of what is summed
    for emotions in product(range(k), repeat=n):
        moves = [transition[*(k if u is None else emotions[u] for u in at), e] for at, e in zip(before, emotions, strict=True)]
        seen = [evidence[t, emotions[t]] for t in range(n)]
        for t in range(n):
            end = t + 1 if causal else n
            heard[t][emotions[t]].append(torch.stack(moves[:end] + seen[:t] + seen[t + 1 : end]).sum())
    return torch.stack([torch.stack([torch.stack(x).logsumexp(0) for x in row]) for row in heard]).log_softmax(-1)
