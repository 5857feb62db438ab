"""Losses between the modalities of an utterance against their definitions, utterance by utterance; Sinkhorn's codes by their marginals."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import pytest
import torch
from helpers import M2, M3, assert_agrees, features_for, normal, structure_for
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from dgl_merc.graphs import GraphSpec, Structure
from dgl_merc.losses import latent_alignment, prototype_alignment, sinkhorn_codes
from dgl_merc.losses.latent_alignment import latent_alignment_loop
from dgl_merc.losses.prototype_alignment import prototype_alignment_loop, sinkhorn_codes_loop

K = 7


@dataclass(frozen=True)
class Case:
    """A loss of a structure and of one tensor of each modality, or two, and perhaps one more, in this order."""

    fast: Callable[..., Tensor]
    loop: Callable[..., Tensor]
    many: int
    shared: bool

    def leaves(self, s: Structure, width: int = 5, seed: int = 1) -> list[Tensor]:
        found = [t for k in range(self.many) for t in features_for(s, width, seed=seed + 1000 * k).values()]
        if self.shared:
            found = [torch.nn.functional.normalize(t) for t in found]
        return [*found, normal(K, width, seed=seed + 7)] if self.shared else found

    def on(self, s: Structure, f: Callable[..., Tensor] | None = None, **options: object) -> Callable[..., Tensor]:
        def run(*leaves: Tensor) -> Tensor:
            names = s.spec.modalities
            parts = [dict(zip(names, leaves[k * len(names) :], strict=False)) for k in range(self.many)]
            return (f or self.fast)(s, *parts, *leaves[self.many * len(names) :], **options)

        return run

    def both(self, s: Structure, leaves: list[Tensor]) -> tuple[Tensor, ...]:
        """The loss and its gradients; the grad of one that has none is an error."""
        leaves = [t.detach().clone().requires_grad_() for t in leaves]
        loss = self.on(s)(*leaves)
        return (loss.detach(), *torch.autograd.grad(loss, leaves))


CASES = {
    "prototypes": Case(prototype_alignment, prototype_alignment_loop, 1, shared=True),
    "latent": Case(latent_alignment, latent_alignment_loop, 2, shared=False),
}
every_case = pytest.mark.parametrize("case", CASES.values(), ids=CASES.keys())
SPEC2, SPEC3 = GraphSpec(M2), GraphSpec(M3)


def bits(runs: list[tuple[Tensor, ...]]) -> None:
    for other in runs[1:]:
        for got, want in zip(other, runs[0], strict=True):
            assert torch.equal(got, want)


@every_case
@pytest.mark.parametrize(
    ("spec", "drop"), [(SPEC2, 0.3), (SPEC3, 0.3), (SPEC3, 0.0)], ids=["two modalities", "three modalities", "all present"]
)
def test_it_is_its_definition(case, spec, drop):
    s = structure_for(spec, [4, 1, 6], drop=drop)
    leaves = case.leaves(s)
    assert_agrees(case.on(s), case.on(s, case.loop), *leaves, moved=range(len(leaves)))


@pytest.mark.parametrize("options", [{"temperature": 0.3}, {"epsilon": 0.5}, {"iterations": 1}, {"iterations": 10}], ids=str)
def test_options_of_prototypes(options):
    case, s = CASES["prototypes"], structure_for(SPEC3, [4, 6])
    leaves = case.leaves(s)
    assert_agrees(case.on(s, **options), case.on(s, case.loop, **options), *leaves)
    assert abs(case.on(s, **options)(*leaves) - case.on(s)(*leaves)) > 1e-3


@every_case
@settings(deadline=None, max_examples=25)
@given(
    lengths=st.lists(st.integers(1, 4), min_size=1, max_size=3),
    modalities=st.sampled_from([("text",), M2, M3]),
    drop=st.sampled_from([0.0, 0.3, 0.7, 1.0]),
    width=st.integers(1, 3),
    seed=st.integers(0, 10_000),
)
def test_any_structure(case, lengths, modalities, drop, width, seed):
    s = structure_for(GraphSpec(modalities), lengths, drop=drop, seed=seed)
    assert_agrees(case.on(s), case.on(s, case.loop), *case.leaves(s, width, seed), moved=())


def test_the_gradient_of_the_latent_loss_is_that_of_the_loss():
    s = structure_for(SPEC3, [2, 3])
    assert torch.autograd.gradcheck(CASES["latent"].on(s), [t.requires_grad_() for t in CASES["latent"].leaves(s, 2)])


def test_the_gradient_of_the_prototype_loss_is_that_of_the_loss_with_its_codes_held(monkeypatch):
    case, s = CASES["prototypes"], structure_for(SPEC2, [2, 3])
    codes = torch.softmax(normal(5, K, seed=9), 1)
    monkeypatch.setitem(prototype_alignment.__globals__, "sinkhorn_codes", lambda scores, **_: codes[: len(scores)])
    assert torch.autograd.gradcheck(case.on(s, temperature=0.5), [t.requires_grad_() for t in case.leaves(s, 2)])


NONE = {
    "one modality": (GraphSpec(("text",)), [[1], [1]]),
    "never together": (SPEC2, [[1, 0], [0, 1], [0, 0]]),
    "one absent": (SPEC2, [[1, 0], [1, 0], [1, 0]]),
    "nothing present": (SPEC3, [[0, 0, 0], [0, 0, 0]]),
}


@every_case
@pytest.mark.parametrize(("spec", "presence"), NONE.values(), ids=NONE.keys())
def test_without_a_pair_it_is_zero_with_a_gradient_of_zero(case, spec, presence):
    s = Structure.of([len(presence)], spec, presence=presence)
    for leaves in (case.leaves(s), [t.to(torch.bfloat16) for t in case.leaves(s)]):
        loss, *gradients = case.both(s, leaves)
        assert loss == 0
        assert loss.dtype == torch.promote_types(leaves[0].dtype, torch.float32)
        for gradient, leaf in zip(gradients, leaves, strict=True):
            assert torch.equal(gradient, torch.zeros_like(leaf))


@every_case
def test_a_modality_without_a_partner_is_no_pair(case):
    """Three modalities of which one is absent throughout: two."""
    presence = [[1, 0, 1], [1, 0, 0], [1, 0, 1], [0, 0, 1]]
    three = Structure.of([4], SPEC3, presence=presence)
    two = Structure.of([4], GraphSpec(("text", "visual")), presence=[[a, c] for a, _, c in presence])
    leaves = case.leaves(two)
    filled = [t for k in range(case.many) for t in (leaves[2 * k], normal(0, 5, seed=0), leaves[2 * k + 1])] + leaves[2 * case.many :]
    loss, *gradients = case.both(three, filled)
    want, *others = case.both(two, leaves)
    assert torch.equal(loss, want)
    assert all(torch.equal(a, b) for a, b in zip([g for g in gradients if len(g)], others, strict=True))


@every_case
def test_swapping_modalities_or_dialogues_changes_only_the_rounding(case):
    s = structure_for(SPEC2, [4, 6])
    leaves = case.leaves(s)
    swapped = Structure.of([4, 6], GraphSpec(M2), presence=s.presence.flip(1).tolist())
    order = [t for k in range(case.many) for t in (leaves[2 * k + 1], leaves[2 * k])] + leaves[2 * case.many :]
    want = case.on(s)(*leaves)
    torch.testing.assert_close(case.on(swapped)(*order), want, rtol=0, atol=1e-12)
    moved = s.select([1, 0])
    rows = [torch.cat([torch.arange(c[4], c[10]), torch.arange(c[4])]) for c in (s.counts[m].tolist() for m in M2)] * case.many
    turned = [t[r] for t, r in zip(leaves, rows, strict=False)] + leaves[2 * case.many :]
    torch.testing.assert_close(case.on(moved)(*turned), want, rtol=0, atol=1e-12)


@every_case
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_is_computed_in_float32(case, dtype):
    s = structure_for(SPEC3, [4, 6])
    half = [t.to(dtype) for t in case.leaves(s)]
    got, want = case.both(s, half), case.both(s, [t.float() for t in half])
    assert got[0].dtype == torch.float32
    assert torch.equal(got[0], want[0])
    for a, b in zip(got[1:], want[1:], strict=True):
        torch.testing.assert_close(a.float(), b, rtol=0.01, atol=1e-3)


@every_case
def test_autocast_changes_nothing(case):
    s = structure_for(SPEC3, [4, 6])
    leaves = [t.float().requires_grad_() for t in case.leaves(s)]
    runs = []
    for enabled in (False, True):
        with torch.autocast("cpu", dtype=torch.bfloat16, enabled=enabled):
            loss = case.on(s)(*leaves)
        runs.append((loss, *torch.autograd.grad(loss, leaves)))
    bits(runs)


@every_case
def test_the_same_bits_again_and_with_two_threads(case):
    s = structure_for(SPEC2, [1700], drop=0.2)
    leaves, threads, runs = [t.float() for t in case.leaves(s, 150)], torch.get_num_threads(), []
    try:
        for count in (1, 1, 2, 2):
            torch.set_num_threads(count)
            runs.append(case.both(s, leaves))
    finally:
        torch.set_num_threads(threads)
    bits(runs[:2])
    bits(runs[2:])
    for got, want in zip(runs[2], runs[0], strict=True):  # with two threads some machines multiply in another order
        torch.testing.assert_close(got, want, rtol=1e-3, atol=1e-5)


# ---- latent


def test_where_both_distributions_coincide_the_gradient_is_exactly_zero():
    s = Structure.of([2], SPEC2)
    mean, sigma = normal(2, 3, seed=0).float(), normal(2, 3, seed=1).float()
    other = torch.stack([mean[0], mean[1] + torch.tensor([3e-12, 0, 4e-12])])
    other[1, 1] = mean[1, 1]
    leaves = [t.clone().requires_grad_() for t in (mean, mean, sigma, sigma)]
    loss = CASES["latent"].on(s)(*leaves)
    loss.backward()
    assert loss == 0
    assert all(torch.equal(t.grad, torch.zeros(2, 3)) for t in leaves)


def test_close_distributions_keep_their_distance():
    """No epsilon under the root."""
    s, zero = Structure.of([1], SPEC2), torch.zeros(1, 2)
    leaves = [zero.clone().requires_grad_(), torch.tensor([[3e-12, 0.0]], requires_grad=True), zero, torch.tensor([[0.0, 4e-12]])]
    loss = CASES["latent"].on(s)(*leaves)
    loss.backward()
    assert loss.item() == pytest.approx(2.5e-12, rel=1e-6)
    torch.testing.assert_close(leaves[1].grad, torch.tensor([[0.3, 0.0]]))
    torch.testing.assert_close(leaves[0].grad, torch.tensor([[-0.3, 0.0]]))


# ---- Sinkhorn


@pytest.mark.parametrize(("n", "k"), [(40, 7), (3, 7), (1, 7), (7, 1), (1, 1), (12, 12)])
@pytest.mark.parametrize("iterations", [1, 3])
def test_codes_are_their_definition(n, k, iterations):
    scores = torch.tanh(normal(n, k, seed=n))
    codes = sinkhorn_codes(scores.requires_grad_(), epsilon=0.2, iterations=iterations)
    assert not codes.requires_grad
    want = sinkhorn_codes_loop(scores, epsilon=0.2, iterations=iterations)
    torch.testing.assert_close(codes, want, rtol=0, atol=1e-12)
    torch.testing.assert_close(codes.sum(1), torch.ones(n, dtype=torch.float64), rtol=0, atol=1e-12)


@pytest.mark.parametrize(("n", "k"), [(40, 7), (3, 7), (12, 12)])
def test_columns_come_to_share_alike(n, k):
    scores = torch.tanh(normal(n, k, seed=n))
    off = [(sinkhorn_codes(scores, epsilon=0.3, iterations=i).sum(0) - n / k).abs().max().item() for i in (1, 3, 10, 1000)]
    assert off == sorted(off, reverse=True)
    assert off[0] > 1e-3
    assert off[-1] < 1e-9


def test_equal_scores_give_equal_codes_and_no_item_none():
    assert torch.equal(sinkhorn_codes(torch.full((6, 4), 0.3)), torch.full((6, 4), 0.25))
    assert sinkhorn_codes(torch.zeros(0, 4)).shape == (0, 4)


def test_scores_stay_as_they_were():
    scores = normal(6, 4, seed=0)
    before = scores.clone()
    sinkhorn_codes(scores, epsilon=1.0)
    assert torch.equal(scores, before)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_a_tiny_epsilon_is_no_trouble(dtype):
    codes = sinkhorn_codes(torch.eye(5).mul(2).sub(1).to(dtype), epsilon=1e-4)
    assert codes.dtype == torch.float32
    torch.testing.assert_close(codes, torch.eye(5), rtol=0, atol=1e-6)


# ---- what is no argument


WRONG = [
    ({"z": {"text": normal(3, 5, seed=0), "audio": normal(2, 5, seed=0)}}, r"z of text must be \[2, 5\], found \[3, 5\]"),
    ({"z": {"text": normal(2, 4, seed=0), "audio": normal(2, 5, seed=0)}}, r"z of text must be \[2, 5\], found \[2, 4\]"),
    ({"z": {"text": normal(2, seed=0), "audio": normal(2, 5, seed=0)}}, r"z of text must be \[2, 5\], found \[2\]"),
    ({"z": {"text": normal(2, 5, seed=0)}}, r"z must have every modality of the structure, found none of \['audio'\]"),
    ({"prototypes": normal(5, seed=0)}, r"prototypes must be \[K, D\], K at least 1, found \[5\]"),
    ({"prototypes": normal(0, 5, seed=0)}, r"found \[0, 5\]"),
    ({"temperature": 0.0}, "temperature must be above 0, found 0.0"),
    ({"epsilon": -1.0}, "epsilon must be above 0 and iterations at least 1, found -1.0 and 3"),
    ({"iterations": 0}, "found 0.05 and 0"),
]


@pytest.mark.parametrize(("change", "message"), WRONG)
def test_what_is_no_argument_of_prototypes(change, message):
    s = Structure.of([2], SPEC2)
    with pytest.raises(ValueError, match=message):
        prototype_alignment(**({"structure": s, "z": features_for(s, 5, seed=0), "prototypes": normal(K, 5, seed=0)} | change))


@pytest.mark.parametrize("shape", [(4,), (4, 0), (2, 3, 4)])
def test_what_is_no_scores(shape):
    with pytest.raises(ValueError, match=rf"scores must be \[N, K\], K at least 1, found \[{', '.join(map(str, shape))}\]"):
        sinkhorn_codes(torch.zeros(shape))


def test_what_is_no_argument_of_the_latent_loss():
    s = Structure.of([2], SPEC2)
    x = features_for(s, 5, seed=0)
    for mean, sigma, message in (
        (x | {"audio": normal(2, 4, seed=0)}, x, r"mean of audio must be \[2, 5\], found \[2, 4\]"),
        (x, features_for(s, 4, seed=0), r"sigma of text must be \[2, 5\], found \[2, 4\]"),
        (x, x | {"audio": normal(1, 5, seed=0)}, r"sigma of audio must be \[2, 5\], found \[1, 5\]"),
        ({"text": x["text"]}, x, r"mean must have every modality"),
        (x | {"text": normal(2, seed=0)}, x, r"mean of text must be \[2, D\], found \[2\]"),
    ):
        with pytest.raises(ValueError, match=message):
            latent_alignment(s, mean, sigma)
