"""Emotion dynamics: the kernel against every sequence of emotions and against the embedded corpus's own posterior."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
import torch
from helpers import assert_agrees, newest, normal
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from dgl_merc.corpus.bayes import posterior
from dgl_merc.corpus.world import WORLD
from dgl_merc.graphs import GraphSpec, Past, Structure
from dgl_merc.kernels import emotion_dynamics
from dgl_merc.kernels.emotion_dynamics import emotion_dynamics_loop

SPEC = GraphSpec(("text",))
both_ways = pytest.mark.parametrize("causal", [False, True], ids=["offline", "causal"])
BATCHES = {  # S -> who speaks
    2: [[0, 1, 0, 0, 2, 1, 0, 1], [3], [1, 1, 0, 2, 1]],
    3: [[0, 1, 2, 3, 0, 2, 1, 3], [0, 1, 0, 2], [5, 4, 4, 6, 5]],
    4: [[0, 1, 2, 3, 4, 0, 4, 1], [0, 1, 0], [2, 0, 1, 1, 3, 2, 0]],
}


def talk(speakers: Sequence[Sequence[int]], *, causal: bool = False) -> Structure:
    spec = replace(SPEC, causal=causal)
    return Structure.of([len(x) for x in speakers], spec, speakers=[speaker for x in speakers for speaker in x])


def loop(s: Structure, evidence: Tensor, transition: Tensor, speakers: int) -> Tensor:
    """The definition, dialogue by dialogue."""
    bounds = s.offsets.tolist()
    parts = [(s.speakers[i:j].tolist(), evidence[i:j]) for i, j in pairwise(bounds)]
    return torch.cat([emotion_dynamics_loop(who, x, transition, causal=s.spec.causal, remembered=speakers) for who, x in parts])


# ---- the kernel against its definitions


@both_ways
@pytest.mark.parametrize("speakers", BATCHES)
def test_agrees_with_the_loop(speakers, causal):
    s = talk(BATCHES[speakers], causal=causal)
    evidence, transition = 2 * normal(s.num_utterances, 2, seed=1), normal(3, 3, 2, seed=2)
    assert_agrees(
        lambda x, t: emotion_dynamics(s, x, t, speakers=speakers), lambda x, t: loop(s, x, t, speakers), evidence, transition, moved=(0, 1)
    )


@settings(max_examples=25, deadline=None)
@given(
    st.lists(st.lists(st.integers(0, 4), min_size=1, max_size=5), min_size=1, max_size=3),
    st.integers(1, 3),
    st.integers(2, 4),
    st.booleans(),
)
def test_agrees_with_the_loop_at_any_shape(who, k, speakers, causal):
    s = talk(who, causal=causal)
    evidence, transition = normal(s.num_utterances, k, seed=3), normal(k + 1, k + 1, k, seed=4)
    got, want = emotion_dynamics(s, evidence, transition, speakers=speakers), loop(s, evidence, transition, speakers)
    torch.testing.assert_close(got, want, rtol=0, atol=1e-10)


@both_ways
def test_gradcheck(causal):
    s = talk([[0, 1, 2, 0, 2, 1], [1, 0, 1]], causal=causal)
    leaves = [normal(9, 3, seed=5).requires_grad_(), normal(4, 4, 3, seed=6).requires_grad_()]
    assert torch.autograd.gradcheck(lambda x, t: emotion_dynamics(s, x, t, speakers=2), leaves)
    for leaf, other in (leaves, leaves[::-1]):  # either alone
        (alone,) = torch.autograd.grad(emotion_dynamics(s, leaves[0], leaves[1], speakers=2).square().sum(), leaf)
        together = torch.autograd.grad(emotion_dynamics(s, leaves[0], leaves[1], speakers=2).square().sum(), [leaf, other])
        assert torch.equal(alone, together[0])


@both_ways
@pytest.mark.parametrize("count", [1, 2, 3])
def test_with_the_worlds_transition_it_is_the_worlds_posterior(count, causal):
    k = len(WORLD.emotions)
    who = [torch.randint(0, count, (n,), generator=torch.Generator().manual_seed(n)).tolist() for n in (1, 9, 25)]
    s, evidence = talk(who, causal=causal), 3 * normal(35, k, seed=7)
    heard = emotion_dynamics(s, evidence, torch.from_numpy(WORLD.transition).log(), speakers=max(count, 2))
    got = (evidence + heard).softmax(-1)
    bounds = s.offsets.tolist()
    for (i, j), speakers in zip(pairwise(bounds), who, strict=True):
        want = posterior(evidence[i:j].numpy(), np.array(speakers), causal=causal)
        torch.testing.assert_close(got[i:j], torch.from_numpy(want), rtol=0, atol=1e-12)


# ---- properties


@both_ways
def test_one_turn_is_told_of_by_nothing_but_what_is_usual(causal):
    transition = normal(4, 4, 3, seed=8)
    got = emotion_dynamics(talk([[2]], causal=causal), normal(1, 3, seed=9), transition)
    torch.testing.assert_close(got, transition[3:, 3].log_softmax(-1), rtol=0, atol=1e-12)


def test_no_turn():
    assert emotion_dynamics(talk([]), torch.zeros(0, 3), torch.zeros(4, 4, 3)).shape == (0, 3)


@both_ways
def test_a_dialogue_is_heard_alone_as_in_a_batch(causal):
    s = talk([torch.randint(0, 5, (n,), generator=torch.Generator().manual_seed(n)).tolist() for n in (4, 1, 19, 2, 7, 19)], causal=causal)
    evidence, transition, bounds = 3 * normal(52, 4, seed=10), normal(5, 5, 4, seed=11), s.offsets.tolist()
    together = emotion_dynamics(s, evidence, transition)
    for d in range(6):
        rows = slice(bounds[d], bounds[d + 1])
        torch.testing.assert_close(emotion_dynamics(s.select([d]), evidence[rows], transition), together[rows], rtol=0, atol=1e-12)


@both_ways
def test_what_emotions_and_speakers_are_called_does_not_matter(causal):
    who = [[0, 1, 2, 0, 3, 1, 2, 0], [1, 0, 0]]
    s, order = talk(who, causal=causal), torch.tensor([2, 0, 1])
    evidence, transition = 2 * normal(11, 3, seed=12), normal(4, 4, 3, seed=13)
    want = emotion_dynamics(s, evidence, transition)
    rows = torch.cat([order, torch.tensor([3])])
    got = emotion_dynamics(s, evidence[:, order], transition[rows][:, rows][:, :, order])
    torch.testing.assert_close(got, want[:, order], rtol=0, atol=1e-12)
    renamed = talk([[7 - 2 * x for x in some] for some in who], causal=causal)
    assert torch.equal(emotion_dynamics(renamed, evidence, transition), want)


def test_constants_do_not_matter_and_exponentials_sum_to_one():
    s, evidence, transition = talk([[0, 1, 0, 2, 2, 1]]), normal(6, 3, seed=14), normal(4, 4, 3, seed=15)
    want = emotion_dynamics(s, evidence, transition)
    torch.testing.assert_close(want.exp().sum(-1), torch.ones(6, dtype=torch.float64), rtol=0, atol=1e-12)
    for add in (-800.0, 800.0):
        moved = emotion_dynamics(s, evidence + add * normal(6, 1, seed=16), transition + add)
        torch.testing.assert_close(moved, want, rtol=0, atol=1e-9)


def test_a_turn_is_not_told_of_by_itself():
    s, evidence, transition = talk([[0, 1, 0, 2, 2, 1]]), normal(6, 3, seed=17).requires_grad_(), normal(4, 4, 3, seed=18)
    heard = emotion_dynamics(s, evidence, transition)
    for t in range(6):
        (moved,) = torch.autograd.grad(heard[t, 0], evidence, retain_graph=True)
        assert moved[t].abs().max() < 1e-12
        assert moved.abs().sum(1).gt(1e-6).sum() == 5, "vacuous: others are not heard"


# ---- precision, extremes, length


def test_float32_is_near_float64():
    s = talk([torch.randint(0, 4, (n,), generator=torch.Generator().manual_seed(n)).tolist() for n in (40, 3, 110)])
    leaves = [3 * normal(153, 5, seed=19), 2 * normal(6, 6, 5, seed=20)]
    found = []
    for dtype in (torch.float64, torch.float32):
        x, t = (leaf.to(dtype).requires_grad_() for leaf in leaves)
        y = emotion_dynamics(s, x, t)
        assert y.dtype == dtype
        found.append([y, *torch.autograd.grad(y.exp().square().sum(), (x, t))])
    for want, got in zip(*found, strict=True):
        torch.testing.assert_close(got.double(), want, rtol=1e-3, atol=2e-5)


def test_in_bfloat16_and_under_autocast_it_computes_in_float32():
    s, evidence, transition = talk([[0, 1, 0, 2]]), normal(4, 3, seed=21).bfloat16(), normal(4, 4, 3, seed=22).float()
    want = emotion_dynamics(s, evidence.float(), transition)
    x, t = evidence.clone().requires_grad_(), transition.clone().requires_grad_()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        got = emotion_dynamics(s, x, t)
        assert got.dtype == torch.float32
        assert torch.equal(got, want)
        got.square().sum().backward()
    assert (x.grad.dtype, t.grad.dtype) == (torch.bfloat16, torch.float32)
    assert t.grad.abs().max() > 1e-3


@both_ways
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_what_is_certain_or_contradicts_itself_is_finite(dtype, causal):
    """Every turn is certain, and every move that they would be is all but impossible."""
    s = talk([[0, 1, 2, 3] * 10, [0] * 30, [0, 1] * 5], causal=causal)
    sure = 1e4 * torch.nn.functional.one_hot(torch.arange(80) % 3, 3).to(dtype)
    never = torch.full((4, 4, 3), -1e4, dtype=dtype)
    never[range(3), :, range(3)] = 0.0
    for x, t in ((sure, never), (-sure, never), (sure, normal(4, 4, 3, seed=23).to(dtype)), (normal(80, 3, seed=24).to(dtype), never)):
        x, t = x.clone().requires_grad_(), t.clone().requires_grad_()
        y = emotion_dynamics(s, x, t)
        torch.testing.assert_close(y.exp().sum(-1), torch.ones(80, dtype=dtype))
        for gradient in torch.autograd.grad(y.sum() - 9 * y[:, 0].sum(), (x, t)):
            assert torch.isfinite(gradient).all()


def test_contradictions_are_outweighed():
    """One who never changes was seen to be once this and four times that."""
    stays = torch.full((3, 3, 2), -1e4)
    stays[range(2), :, range(2)] = stays[2] = 0.0
    sure = torch.tensor([[0.0, 60.0], [60.0, 0.0], [60.0, 0.0], [60.0, 0.0], [60.0, 0.0]])
    heard = emotion_dynamics(talk([[0] * 5]), sure, stays)
    assert (sure + heard).argmax(1).tolist() == [1, 0, 0, 0, 0], "one sure turn is an exception, for all that stays"
    weak = torch.tensor([[0.0, 5.0], [3.0, 0.0], [3.0, 0.0]])
    assert (weak + emotion_dynamics(talk([[0] * 3]), weak, stays)).argmax(1).tolist() == [0, 0, 0]


@pytest.mark.parametrize("speakers", [1, 3])
def test_two_thousand_turns(speakers):
    """Of one speaker, states in which somebody else has spoken, which explain the turns better, can't be: they must not crowd out the rest."""
    who = torch.randint(0, speakers, (2000,), generator=torch.Generator().manual_seed(0)).tolist()
    s, evidence, transition = talk([who]), 2 * normal(2000, 3, seed=25), normal(4, 4, 3, seed=26).log_softmax(-1)
    transition[:3, :3] += 2.0  # rows need not be normalised
    want = emotion_dynamics(s, evidence, transition)
    x, t = evidence.float().requires_grad_(), transition.float().requires_grad_()
    got = emotion_dynamics(s, x, t)
    torch.testing.assert_close(got.double(), want, rtol=0, atol=1e-4)
    assert want.std(0).min() > 0.1, "vacuous: nothing is heard"
    assert all(torch.isfinite(g).all() for g in torch.autograd.grad(got.square().mean(), (x, t)))


def test_says_what_does_not_fit():
    s = talk([[0, 1], [0]])
    for evidence, transition, speakers in (
        ((2, 3), (4, 4, 3), 3),
        ((3, 3), (3, 3, 3), 3),
        ((3, 3), (4, 4, 4), 3),
        ((3,), (4, 4, 3), 3),
        ((3, 3), (4, 4, 3), 1),
    ):
        found = rf"{list(evidence)}, {list(transition)} and {speakers}".replace("[", r"\[").replace("]", r"\]")
        with pytest.raises(ValueError, match=rf"evidence \[U=3, K\], transition .* speakers >= 2, got {found}"):
            emotion_dynamics(s, torch.zeros(evidence), torch.zeros(transition), speakers=speakers)


# ---- streams


@pytest.mark.parametrize("speakers", [2, 3, 4])
def test_a_stream_is_told_what_the_dialogue_is_told(speakers):
    who = [0, 1, 0, 2, 3, 3, 0, 4, 1, 5, 2, 0, 1, 0, 6, 6, 5]
    s = talk([who], causal=True)
    evidence, transition, past, states = 3 * normal(len(who), 3, seed=27), normal(4, 4, 3, seed=28), Past(2), []
    want = emotion_dynamics(s, evidence, transition, speakers=speakers)
    for u in range(len(who)):
        for row in ((u + 1) % len(who), u):  # another first, which is not kept
            past.begin()
            got = emotion_dynamics(newest(s, row, past), evidence[row : row + 1], transition, speakers=speakers)
        past.keep()
        past.forget(who[u])  # states of speakers' own: here are none
        torch.testing.assert_close(got, want[u : u + 1], rtol=0, atol=1e-12)
        states.append((past.states, past.rows, past.bytes))
    assert states[speakers:] == [states[-1]] * (len(who) - speakers), "memory grows"
    assert past.states == 1
