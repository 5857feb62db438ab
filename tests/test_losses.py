"""The loss against torch's and against plain Python over one utterance at a time; class weights against scikit-learn."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
import torch
from sklearn.utils.class_weight import compute_class_weight
from torch import Tensor, nn

from dgl_merc.losses import class_weights, cross_entropy

LABELS = torch.tensor([2, -1, 0, 0, 1, -1, 3])
WEIGHTS = torch.tensor([0.5, 2.0, 1.25, 0.0], dtype=torch.float64)  # the last is of a label that occurs
OPTIONS = {
    f"weights {'yes' if w is not None else 'no'}, focal {f}, smoothing {s}": {"weights": w, "focal": f, "smoothing": s}
    for w, f, s in itertools.product((None, WEIGHTS), (0.0, 0.3, 1.0, 2.5), (0.0, 0.2))
}
every_option = pytest.mark.parametrize("options", OPTIONS.values(), ids=OPTIONS.keys())


def random(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def loss_loop(logits: Tensor, labels: Tensor, weights: Tensor | None, focal: float, smoothing: float) -> Tensor:
    """The definition, one utterance and one class at a time."""
    classes = logits.shape[1]
    w = [1.0] * classes if weights is None else weights.tolist()
    total, mass = logits.new_zeros(()), 0.0
    for z, y in zip(logits, labels.tolist(), strict=True):
        if y < 0:
            continue
        q = [z[c].exp() / sum(z[k].exp() for k in range(classes)) for c in range(classes)]
        term = -(1 - smoothing) * w[y] * q[y].log()
        for c in range(classes):
            term = term - smoothing / classes * w[c] * q[c].log()
        total, mass = total + (1 - q[y]) ** focal * term, mass + w[y]
    return total / mass


@every_option
def test_the_loss_is_its_definition(options):
    cotangent = random(seed=3)
    runs = []
    for f in (cross_entropy, loss_loop):
        logits = random(7, 4).requires_grad_()
        loss = f(logits, LABELS, **options)
        runs.append((loss, *torch.autograd.grad(loss, logits, cotangent)))
    for got, want in zip(*runs, strict=True):
        torch.testing.assert_close(got, want, rtol=0, atol=1e-12)
    assert runs[1][1].abs().max() > 1e-3, "vacuous: the definition's gradient is zero"
    assert torch.autograd.gradcheck(lambda z: cross_entropy(z, LABELS, **options), random(7, 4).requires_grad_())


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_with_defaults_it_is_the_plain_sum_over_the_count_to_the_bit(dtype):
    ours, plain = random(7, 4).to(dtype).requires_grad_(), random(7, 4).to(dtype).requires_grad_()
    got, want = cross_entropy(ours, LABELS), nn.functional.cross_entropy(plain, LABELS, ignore_index=-1, reduction="sum") / 5
    got.backward()
    want.backward()
    assert torch.equal(got, want)
    assert torch.equal(ours.grad, plain.grad)
    assert ours.grad.abs().max() > 1e-3


@pytest.mark.parametrize("weights", [None, WEIGHTS, WEIGHTS.float()], ids=["no weights", "weights", "weights of another type"])
@pytest.mark.parametrize("smoothing", [0.0, 0.2])
def test_without_focal_it_is_torch_s_mean(weights, smoothing):
    ours, theirs = random(7, 4).requires_grad_(), random(7, 4).requires_grad_()
    got = cross_entropy(ours, LABELS, weights=weights, smoothing=smoothing)
    its = None if weights is None else WEIGHTS
    want = nn.functional.cross_entropy(theirs, LABELS, weight=its, ignore_index=-1, label_smoothing=smoothing)
    torch.testing.assert_close(got, want, rtol=0, atol=1e-14)
    got.backward()
    want.backward()
    torch.testing.assert_close(ours.grad, theirs.grad, rtol=0, atol=1e-14)
    assert ours.grad.abs().max() > 1e-3


def test_every_option_changes_the_loss():
    losses = [float(cross_entropy(random(7, 4), LABELS, **options)) for options in OPTIONS.values()]
    assert len({round(loss, 6) for loss in losses}) == len(OPTIONS)


@every_option
def test_unlabelled_utterances_have_no_part(options):
    logits, known = random(7, 4), LABELS >= 0
    logits[~known] = torch.tensor([[1.7e308, -1.7e308, -1.7e308, -1.7e308], [-1e308, 1e308, 1e308, 0]], dtype=torch.float64)
    logits.requires_grad_()
    loss = cross_entropy(logits, LABELS, **options)
    torch.testing.assert_close(loss, cross_entropy(random(7, 4)[known], LABELS[known], **options), rtol=0, atol=1e-14)
    loss.backward()
    assert (logits.grad[~known] == 0).all()
    assert (logits.grad[:5][known[:5]] != 0).all()


NOTHING = {
    "nothing labelled": (random(4, 4), torch.full((4,), -1), OPTIONS),
    "no utterance": (random(0, 4), torch.zeros(0, dtype=torch.int64), OPTIONS),
    "weight 0": (random(4, 4), torch.tensor([3, -1, 3, 3]), {name: o for name, o in OPTIONS.items() if o["weights"] is not None}),
}


@pytest.mark.parametrize(("logits", "labels", "options"), [(z, y, o) for z, y, os in NOTHING.values() for o in os.values()],
                         ids=[f"{what}: {name}" for what, (_, _, os) in NOTHING.items() for name in os])  # fmt: skip
def test_of_nothing_the_loss_is_zero_with_a_gradient_of_zero(logits, labels, options):
    logits = logits.clone().requires_grad_()
    loss = cross_entropy(logits, labels, **options)
    assert loss.item() == 0
    loss.backward()
    assert torch.equal(logits.grad, torch.zeros_like(logits))


@every_option
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
def test_extreme_logits_give_finite_losses_and_gradients(dtype, options):
    rows = [
        [1e4, -1e4, -1e4, 0],
        [-1e4, 1e4, 0, 0],
        [1e4, 1e4, 1e4, 1e4],
        [-1e4, -1e4, -1e4, -1e4],
        [30, 0, 0, 0],
        [-30, 0, 0, 0],
        [90, 0, 0, 0],
    ]
    logits = torch.tensor(rows, dtype=dtype, requires_grad=True)
    for labels in (torch.zeros(7, dtype=torch.int64), torch.tensor([0, 1, 2, 3, -1, 0, 0])):
        loss = cross_entropy(logits, labels, **options)
        assert loss.isfinite()
        assert loss > 0
        (gradient,) = torch.autograd.grad(loss, logits)
        assert gradient.isfinite().all()
        assert gradient.abs().max() > 1e-3


@pytest.mark.parametrize("focal", [0.1, 0.5, 1.0, 2.0])
def test_focal_far_from_the_middle(focal):
    """Where 1 - q is less than float32 can tell from 0 in 1 - q itself: the loss by hand is (1 - q)^focal (1 - q), nearly."""
    logits = torch.tensor([[30.0, 0.0]], requires_grad=True)
    loss = cross_entropy(logits, torch.tensor([0]), focal=focal, smoothing=0.5)
    rest = math.exp(-30)
    want = rest**focal * 0.25 * 30  # smoothed, a quarter is of the other class, 30 away
    assert loss.item() == pytest.approx(want, rel=1e-5)
    loss.backward()
    slope = rest**focal * (0.25 - focal * 0.25 * 30)
    assert logits.grad.flatten().tolist() == pytest.approx([slope, -slope], rel=1e-4)


def test_focal_at_certainty_is_zero_with_a_gradient_of_zero():
    logits = torch.tensor([[1e4, 0.0, -5.0]], requires_grad=True)
    loss = cross_entropy(logits, torch.tensor([0]), focal=0.5)
    loss.backward()
    assert loss.item() == 0
    assert torch.equal(logits.grad, torch.zeros(1, 3))


@pytest.mark.parametrize("focal", [0.0, 0.5, 2.0])
def test_of_one_class_the_loss_is_zero(focal):
    logits = torch.tensor([[3.0], [-1e4]], requires_grad=True)
    loss = cross_entropy(logits, torch.tensor([0, 0]), focal=focal)
    loss.backward()
    assert loss.item() == 0
    assert torch.equal(logits.grad, torch.zeros(2, 1))


@every_option
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_is_computed_in_float32(dtype, options):
    half, full = (100 * random(7, 4)).to(dtype).requires_grad_(), (100 * random(7, 4)).to(dtype).float().requires_grad_()
    got, want = cross_entropy(half, LABELS, **options), cross_entropy(full, LABELS, **options)
    assert got.dtype == torch.float32
    assert torch.equal(got, want)
    got.backward()
    want.backward()
    assert torch.equal(half.grad, full.grad.to(dtype))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"logits": random(7)}, r"logits must be \[U, C\] and labels \[U\], found \[7\] and \[7\]"),
        ({"labels": LABELS[:6]}, r"found \[7, 4\] and \[6\]"),
        ({"labels": LABELS[:, None]}, r"found \[7, 4\] and \[7, 1\]"),
        ({"weights": WEIGHTS[:3]}, r"weights must be \[C=4\], found \[3\]"),
        ({"focal": -0.1}, "focal must be at least 0, found -0.1"),
        ({"focal": float("nan")}, "focal must be at least 0, found nan"),
        ({"smoothing": 1.0}, "smoothing must be from 0 to less than 1, found 1.0"),
    ],
)
def test_what_is_no_argument_of_the_loss(change, message):
    with pytest.raises(ValueError, match=message):
        cross_entropy(**({"logits": random(7, 4), "labels": LABELS} | change))


# ---- class weights


@pytest.mark.parametrize("kind", ["balanced", "sqrt"])
@pytest.mark.parametrize("absent", [(), (0,), (3,), (1, 4)], ids=str)
def test_class_weights_are_scikit_learn_s(absent, kind):
    labels = np.random.default_rng(0).choice(5, size=200, p=[0.5, 0.05, 0.2, 0.05, 0.2])
    labels = np.where(np.isin(labels, absent), -1, labels)
    labels[::7] = -1
    present = np.unique(labels[labels >= 0])
    assert len(present) == 5 - len(absent)
    want = np.zeros(5)
    want[present] = compute_class_weight("balanced", classes=present, y=labels[labels >= 0])
    weights = class_weights(labels, 5, kind)
    assert weights.dtype == torch.float32
    np.testing.assert_array_equal(weights.numpy(), (np.sqrt(want) if kind == "sqrt" else want).astype(np.float32))


def test_class_weights_by_hand():
    labels = np.array([0, 0, -1, 0, 0, 2, -1])
    assert class_weights(labels, 3, "balanced").tolist() == [0.625, 0.0, 2.5]
    assert class_weights(labels, 3, "none") is None


@pytest.mark.parametrize("labels", [[], [-1, -1]])
def test_class_weights_of_nothing_labelled_are_zero(labels):
    assert class_weights(np.array(labels, dtype=np.int64), 3, "balanced").tolist() == [0.0, 0.0, 0.0]


@pytest.mark.parametrize("labels", [[0, 3], [-2, 0]])
def test_class_weights_of_what_is_no_class(labels):
    with pytest.raises(ValueError, match=r"labels must be from -1 to 2, found"):
        class_weights(np.array(labels), 3, "balanced")


def test_with_balanced_weights_every_class_that_occurs_has_the_same_share():
    """Of logits that say nothing, the gradient summed over utterances is 1 / C - 1 / 2 for either of two classes, though one is rare."""
    labels = np.array([0, 0, 0, 0, 2, -1])
    logits = torch.zeros(6, 3, requires_grad=True)
    cross_entropy(logits, torch.from_numpy(labels), weights=class_weights(labels, 3, "balanced")).backward()
    torch.testing.assert_close(logits.grad.sum(dim=0), torch.tensor([-1 / 6, 1 / 3, -1 / 6]))
