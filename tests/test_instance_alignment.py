"""Instance-level alignment against its definition, item by item: with either reading of hard pairs, in both arithmetics, in small tiles."""

from __future__ import annotations

import sys
from functools import partial
from itertools import product

import pytest
import torch
from helpers import assert_agrees, normal
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from dgl_merc.losses import instance_alignment
from dgl_merc.losses.instance_alignment import instance_alignment_loop

MODULE = sys.modules["dgl_merc.losses.instance_alignment"]  # the package's attribute of that name is the function
HARD = ("ignore", "negative")
WIDE = float("inf")
TEMPERATURE = torch.tensor([[0.5, 0.2, 0.3], [0.2, 0.8, 0.4], [0.3, 0.4, 0.6]], dtype=torch.float64)
OFFSET = torch.tensor([[0.1, -0.2, 0.0], [-0.2, 0.3, 0.25], [0.0, 0.25, -0.4]], dtype=torch.float64)
PAPER = torch.tensor([[0.1, 0.05], [0.05, 0.3]])
either_reading = pytest.mark.parametrize("hard_same", HARD)


@pytest.fixture(params=[(a, r) for a, r in product(("plain", "logs"), (128, 3))], ids=lambda p: f"{p[0]}, tiles of {p[1]}")
def arithmetic(request, monkeypatch):
    """Whatever the scores are."""
    kind, rows = request.param
    monkeypatch.setattr(MODULE, "_PLAIN", WIDE if kind == "plain" else -1.0)
    monkeypatch.setattr(MODULE, "_ROWS", rows)


def batch(n: int, width: int = 4, classes: int = 3, modalities: int = 3, seed: int = 0) -> tuple[Tensor, Tensor, Tensor]:
    """Some unlabelled."""
    g = torch.Generator().manual_seed(seed)
    labels = torch.randint(-1, classes, (n,), generator=g)
    return normal(n, width, seed=seed + 1), labels, torch.randint(0, modalities, (n,), generator=g)


def both(z: Tensor, labels: Tensor, modality: Tensor, temperature=TEMPERATURE, offset=OFFSET, hard_same="ignore") -> tuple[Tensor, Tensor]:
    """The loss and its gradient."""
    z = z.detach().clone().requires_grad_()
    loss = instance_alignment(z, labels, modality, temperature, offset, hard_same=hard_same)
    loss.backward()
    return loss.detach(), z.grad


@pytest.mark.usefixtures("arithmetic")
@either_reading
@pytest.mark.parametrize("offset", [OFFSET, torch.zeros_like(OFFSET)], ids=["offset", "no offset"])
def test_it_is_its_definition(hard_same, offset):
    z, labels, modality = batch(23)
    rest = {"labels": labels, "modality": modality, "temperature": TEMPERATURE, "offset": offset, "hard_same": hard_same}
    assert_agrees(partial(instance_alignment, **rest), partial(instance_alignment_loop, **rest), z)


@pytest.mark.usefixtures("arithmetic")
@either_reading
def test_the_gradient_is_that_of_the_loss(hard_same):
    z, labels, modality = batch(12, seed=3)
    assert torch.autograd.gradcheck(
        lambda x: instance_alignment(x, labels, modality, TEMPERATURE, OFFSET, hard_same=hard_same), z.requires_grad_()
    )


@settings(deadline=None, max_examples=60)
@given(
    n=st.integers(0, 14),
    width=st.integers(1, 4),
    classes=st.integers(1, 4),
    modalities=st.integers(1, 3),
    seed=st.integers(0, 10_000),
    hard_same=st.sampled_from(HARD),
    plain=st.booleans(),
    rows=st.sampled_from([1, 2, 128]),
)
def test_any_shape(n, width, classes, modalities, seed, hard_same, plain, rows):
    z, labels, modality = batch(n, width, classes, modalities, seed)
    t, x = TEMPERATURE[:modalities, :modalities], OFFSET[:modalities, :modalities]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(MODULE, "_PLAIN", WIDE if plain else -1.0)
        patch.setattr(MODULE, "_ROWS", rows)
        rest = {"labels": labels, "modality": modality, "temperature": t, "offset": x, "hard_same": hard_same}
        assert_agrees(partial(instance_alignment, **rest), partial(instance_alignment_loop, **rest), z, moved=())


def test_the_two_readings_the_temperatures_and_the_offsets_each_change_it():
    z, labels, modality = batch(23)
    base = both(z, labels, modality)[0]
    others = [both(z, labels, modality, hard_same="negative")[0]]
    for a, b in ((0, 0), (0, 1), (1, 2), (2, 2)):
        for matrix in (TEMPERATURE, OFFSET):
            changed = matrix.clone()
            changed[a, b] += 0.05
            changed[b, a] = changed[a, b]
            others.append(both(z, labels, modality, **{"temperature" if matrix is TEMPERATURE else "offset": changed})[0])
    assert len({round(float(x), 8) for x in (base, *others)}) == 1 + len(others)


def test_by_hand():
    """Two of a label at an angle whose cosine is .6, one of another at a right angle to the first, whose cosine with the second is .8."""
    z = torch.tensor([[1.0, 0.0], [0.6, 0.8], [0.0, 1.0]], dtype=torch.float64)
    one, zero = torch.full((2, 2), 0.5, dtype=torch.float64), torch.zeros(2, 2, dtype=torch.float64)
    want = (torch.tensor(-1.2).exp().log1p() + torch.tensor(0.4).exp().log1p()) / 2  # s: 1.2 within; 0 and 1.6 without
    assert instance_alignment(z, torch.tensor([4, 4, 0]), torch.tensor([0, 1, 1]), one, zero).item() == pytest.approx(want.item())


@pytest.mark.usefixtures("arithmetic")
@either_reading
def test_the_gate_is_above_zero_and_not_at_it(hard_same):
    """Items of one label at right angles: their score is exactly minus the offset."""
    z, labels = torch.eye(3, dtype=torch.float64), torch.tensor([0, 0, 1])
    modality, t = torch.zeros(3, dtype=torch.int64), torch.ones(1, 1, dtype=torch.float64)
    for offset, positive in ((0.0, False), (1e-12, False), (-1e-12, True)):
        loss, gradient = both(z, labels, modality, t, torch.full((1, 1), offset, dtype=torch.float64), hard_same)
        assert (loss > 0) == (gradient.abs().max() > 0) == positive


# ---- nothing to align


NOTHING = {
    "no item": (torch.zeros(0, 3), []),
    "one item": (torch.ones(1, 3), [0]),
    "none labelled": (torch.ones(4, 3), [-1, -1, -1, -1]),
    "each its own label": (torch.ones(4, 3), [0, 1, 2, 3]),
    "all gates closed": (torch.tensor([[1.0, 0], [-1, 0], [0, 1], [0, -1]]), [0, 0, 1, 1]),
    "zero rows": (torch.zeros(4, 3), [0, 0, 1, 1]),
}


@pytest.mark.usefixtures("arithmetic")
@either_reading
@pytest.mark.parametrize(("z", "labels"), NOTHING.values(), ids=NOTHING.keys())
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_without_positives_it_is_zero_with_a_gradient_of_zero(z, labels, hard_same, dtype):
    modality = torch.arange(len(z)) % 2
    loss, gradient = both(z.to(dtype), torch.tensor(labels, dtype=torch.int64), modality, PAPER, torch.zeros(2, 2), hard_same)
    assert loss.dtype == torch.float32
    assert loss == 0
    assert torch.equal(gradient, torch.zeros_like(z, dtype=dtype))


@pytest.mark.usefixtures("arithmetic")
def test_all_labels_equal():
    """No negative: 0 where hard pairs are ignored, and a pull where they push."""
    z, _, modality = batch(9)
    loss, gradient = both(z, torch.zeros(9, dtype=torch.int64), modality)
    assert loss == 0
    assert torch.equal(gradient, torch.zeros_like(z))
    loss, gradient = both(z, torch.zeros(9, dtype=torch.int64), modality, hard_same="negative")
    assert loss > 0
    assert gradient.abs().max() > 1e-3


@pytest.mark.usefixtures("arithmetic")
@either_reading
def test_zero_rows_are_at_right_angles_to_all_and_get_no_gradient(hard_same):
    z, labels, modality = batch(15)
    labels[:3] = 0
    z[[1, 4]] = 0
    rest = {"labels": labels, "modality": modality, "temperature": TEMPERATURE, "offset": OFFSET, "hard_same": hard_same}
    assert_agrees(partial(instance_alignment, **rest), partial(instance_alignment_loop, **rest), z)
    assert torch.equal(both(z, labels, modality, hard_same=hard_same)[1][[1, 4]], torch.zeros(2, 4, dtype=torch.float64))


@pytest.mark.usefixtures("arithmetic")
@either_reading
def test_identical_rows(hard_same):
    z, labels, modality = batch(12)
    z = z[torch.arange(12) // 4]
    rest = {"labels": labels, "modality": modality, "temperature": TEMPERATURE, "offset": OFFSET, "hard_same": hard_same}
    assert_agrees(partial(instance_alignment, **rest), partial(instance_alignment_loop, **rest), z)


# ---- properties


@either_reading
@pytest.mark.parametrize("value", [1.0, float("nan"), float("inf")])
def test_unlabelled_items_change_nothing_at_all(hard_same, value):
    z, labels, modality = batch(40)
    known = labels >= 0
    assert 0 < known.sum() < 40
    z[~known] *= value
    loss, gradient = both(z, labels, modality, hard_same=hard_same)
    want, its = both(z[known], labels[known], modality[known], hard_same=hard_same)
    assert torch.equal(loss, want)
    assert torch.equal(gradient[known], its)
    assert torch.equal(gradient[~known], torch.zeros_like(gradient[~known]))


@either_reading
def test_order_length_and_the_labels_numbers_do_not_matter(hard_same):
    z, labels, modality = batch(60)
    order = torch.randperm(60, generator=torch.Generator().manual_seed(1))
    long = torch.linspace(0.1, 9, 60, dtype=torch.float64)[:, None]
    loss, gradient = both(z, labels, modality, hard_same=hard_same)
    other, its = both((z * long)[order], torch.tensor([50, 7, 11, -1])[labels[order]], modality[order], hard_same=hard_same)
    torch.testing.assert_close(other, loss, rtol=0, atol=1e-12)
    torch.testing.assert_close(its * long[order], gradient[order], rtol=0, atol=1e-12)


def test_the_incoming_gradient_multiplies():
    z, labels, modality = batch(20)
    _, gradient = both(z, labels, modality)
    z.requires_grad_()
    (3 * instance_alignment(z, labels, modality, TEMPERATURE, OFFSET)).backward()
    torch.testing.assert_close(z.grad, 3 * gradient, rtol=0, atol=1e-15)


@either_reading
def test_without_a_gradient_the_value_is_the_same_and_none_is_made(hard_same, monkeypatch):
    z, labels, modality = batch(30)
    args = (labels, modality, TEMPERATURE, OFFSET)
    loss, _ = both(z, labels, modality, hard_same=hard_same)
    monkeypatch.delattr(MODULE, "_InstanceAlignment")
    without = instance_alignment(z, *args, hard_same=hard_same)
    with torch.no_grad():
        within = instance_alignment(z.requires_grad_(), *args, hard_same=hard_same)
    assert torch.equal(loss, without)
    assert torch.equal(loss, within)
    assert not without.requires_grad
    assert not within.requires_grad


@either_reading
@pytest.mark.parametrize(("plain", "rare"), [(WIDE, 1), (-1.0, 1), (-1.0, 300)], ids=["plain", "logs", "logs, few negatives"])
def test_the_same_bits_again_and_with_two_threads(hard_same, plain, rare, monkeypatch):
    """With few negatives no sigmoid is near 1, where all bits are the same."""
    monkeypatch.setattr(MODULE, "_PLAIN", plain)
    z, labels, modality = (t.float() if t.is_floating_point() else t for t in batch(1500, width=150, modalities=2))
    labels = labels * (torch.arange(1500) % rare == 0)
    runs, threads = [], torch.get_num_threads()
    try:
        for count in (1, 1, 2, 2):
            torch.set_num_threads(count)
            runs.append(both(z, labels, modality, PAPER, torch.zeros(2, 2), hard_same))
    finally:
        torch.set_num_threads(threads)
    for loss, gradient in runs[1:]:
        assert torch.equal(loss, runs[0][0])
        assert torch.equal(gradient, runs[0][1])


# ---- numbers


@either_reading
@pytest.mark.parametrize("greatest", [0.3, 0.05, 0.034, 0.033, 0.01, 1e-3, 1e-6])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_tiny_temperatures(hard_same, greatest, dtype):
    """Cosines of exactly 1 and -1 among them, in float32 as in float64 by the definition's own formula in logarithms."""
    z, labels, modality = batch(60, classes=4, modalities=2)
    z[10:20] = z[30:40]
    z[20:25] = -z[30:35]
    temperature = torch.tensor([[1.0, 2.0], [2.0, 1.5]], dtype=torch.float64) * greatest
    zero, z = torch.zeros(2, 2, dtype=torch.float64), z.float().double()
    loss, gradient = both(z.to(dtype), labels, modality, temperature, zero, hard_same)
    leaf = z.clone().requires_grad_()
    unit = torch.nn.functional.normalize(leaf)
    s = unit @ unit.T / temperature[modality][:, modality]
    known = (labels[:, None] >= 0) & (labels >= 0) & ~torch.eye(60, dtype=torch.bool)
    positive = known & (labels[:, None] == labels) & (s > 0)
    negative = known & ((labels[:, None] != labels) if hard_same == "ignore" else ~positive)
    against = s.masked_fill(~negative, -1e300).logsumexp(1, keepdim=True)
    terms = torch.nn.functional.softplus(against - s, threshold=700) * positive
    want = (terms.sum(1) / positive.sum(1).clamp_min(1)).sum() / (positive.sum(1) > 0).sum()
    want.backward()
    exact = dtype == torch.float64
    torch.testing.assert_close(loss.double(), want.detach(), rtol=1e-11 if exact else 1e-5, atol=0)
    tolerance = (1e-11 if exact else 1e-5) * max(1.0, 0.1 / greatest)
    torch.testing.assert_close(gradient.double(), leaf.grad, rtol=0, atol=tolerance * float(leaf.grad.abs().max()))


GREAT = {
    "within": (torch.tensor([[0.002, 1.0], [1.0, 2.0]]), torch.zeros(2, 2)),
    "across": (torch.tensor([[2.0, 0.002], [0.002, 1.0]]), torch.zeros(2, 2)),
    "upwards": (torch.ones(2, 2), torch.tensor([[0.0, -200.0], [-200.0, 0.0]])),
    "downwards": (torch.ones(2, 2), torch.tensor([[0.0, 0.0], [0.0, 200.0]])),
}


@either_reading
@pytest.mark.parametrize(("temperature", "offset"), GREAT.values(), ids=GREAT.keys())
def test_whatever_makes_a_score_great_has_it_computed_in_logarithms(hard_same, temperature, offset, monkeypatch):
    z, labels, modality = (t.float() if t.is_floating_point() else t for t in batch(40, modalities=2))
    runs = []
    for most in (MODULE._PLAIN, -1.0):
        monkeypatch.setattr(MODULE, "_PLAIN", most)
        runs.append(both(z, labels, modality, temperature, offset, hard_same))
    assert runs[0][1].isfinite().all()
    assert torch.equal(runs[0][0], runs[1][0])
    assert torch.equal(runs[0][1], runs[1][1])


@either_reading
def test_in_float32_the_arithmetics_agree(hard_same, monkeypatch):
    z, labels, modality = (t.float() if t.is_floating_point() else t for t in batch(300, width=20, modalities=2))
    runs = []
    for most in (MODULE._PLAIN, -1.0):
        monkeypatch.setattr(MODULE, "_PLAIN", most)
        runs.append(both(z, labels, modality, PAPER, torch.zeros(2, 2), hard_same))
    assert not torch.equal(runs[0][1], runs[1][1]), "one arithmetic only"
    torch.testing.assert_close(runs[0][0], runs[1][0], rtol=1e-6, atol=0)
    torch.testing.assert_close(runs[0][1], runs[1][1], rtol=0, atol=1e-5 * float(runs[0][1].abs().max()))


@either_reading
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_is_computed_in_float32(dtype, hard_same):
    z, labels, modality = batch(50, width=20, modalities=2)
    half = z.to(dtype)
    loss, gradient = both(half, labels, modality, PAPER, torch.zeros(2, 2), hard_same)
    want, its = both(half.float(), labels, modality, PAPER, torch.zeros(2, 2), hard_same)
    assert loss.dtype == torch.float32
    assert torch.equal(loss, want)
    assert torch.equal(gradient, its.to(dtype))


@either_reading
def test_autocast_changes_nothing(hard_same):
    z, labels, modality = (t.float() if t.is_floating_point() else t for t in batch(50, width=20, modalities=2))
    want, its = both(z, labels, modality, PAPER, torch.zeros(2, 2), hard_same)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        loss, gradient = both(z, labels, modality, PAPER, torch.zeros(2, 2), hard_same)
        without = instance_alignment(z, labels, modality, PAPER, torch.zeros(2, 2), hard_same=hard_same)
    assert torch.equal(loss, want)
    assert torch.equal(without, want)
    assert torch.equal(gradient, its)


def test_a_training_moves_items_of_one_label_together():
    z, labels, modality = batch(30, modalities=2)
    z.requires_grad_()
    optimiser = torch.optim.Adam([z], lr=0.05)
    zero = torch.zeros(2, 2)
    for _ in range(60):
        optimiser.zero_grad()
        loss = instance_alignment(z, labels, modality, PAPER, zero)
        loss.backward()
        optimiser.step()
    unit = torch.nn.functional.normalize(z.detach()[labels >= 0])
    same = labels[labels >= 0][:, None] == labels[labels >= 0]
    cosine = unit @ unit.T
    assert cosine[same].mean() > cosine[~same].mean() + 0.5


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"z": normal(5, seed=0)}, r"z must be \[N, D\], labels and modality \[N\], found \[5\], \[5\] and \[5\]"),
        ({"labels": torch.zeros(4, dtype=torch.int64)}, r"found \[5, 3\], \[4\] and \[5\]"),
        ({"modality": torch.zeros(5, 1, dtype=torch.int64)}, r"found \[5, 3\], \[5\] and \[5, 1\]"),
        ({"labels": torch.zeros(5)}, "labels and modality must be int64, found torch.float32 and torch.int64"),
        ({"modality": torch.zeros(5, dtype=torch.int32)}, "found torch.int64 and torch.int32"),
        ({"temperature": torch.ones(2)}, r"temperature and offset must be \[M, M\], found \[2\] and \[2, 2\]"),
        ({"temperature": torch.ones(2, 3)}, r"found \[2, 3\] and \[2, 2\]"),
        ({"offset": torch.ones(3, 3)}, r"found \[2, 2\] and \[3, 3\]"),
        ({"temperature": torch.tensor([[1.0, 0.0], [0.0, 1.0]])}, r"temperature must be above 0, .* found \[\[1.0, 0.0\], \[0.0, 1.0\]\]"),
        ({"temperature": torch.tensor([[1.0, 2.0], [3.0, 1.0]])}, "symmetric"),
        ({"offset": torch.tensor([[0.0, 2.0], [3.0, 0.0]])}, "symmetric"),
        ({"modality": torch.tensor([0, 1, 2, 0, 0])}, "modality must be from 0 to 1, found 0 to 2"),
        ({"modality": torch.tensor([0, 1, -1, 0, 0])}, "modality must be from 0 to 1, found -1 to 1"),
        ({"hard_same": "positive"}, "hard_same must be 'ignore' or 'negative', found 'positive'"),
    ],
)
def test_what_is_no_argument(change, message):
    right = {
        "z": normal(5, 3, seed=0),
        "labels": torch.zeros(5, dtype=torch.int64),
        "modality": torch.zeros(5, dtype=torch.int64),
        "temperature": torch.ones(2, 2),
        "offset": torch.zeros(2, 2),
    }
    with pytest.raises(ValueError, match=message):
        instance_alignment(**(right | change))
