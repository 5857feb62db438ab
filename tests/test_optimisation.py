"""The optimiser by hand, the learning rate against torch's schedulers step by step, averages by hand."""

from __future__ import annotations

import itertools
import math

import pytest
import torch
from torch import Tensor, nn
from torch.optim import lr_scheduler

from dgl_merc.training.optimisation import average_model, learning_rate, make_optimiser, set_learning_rate
from dgl_merc.training.settings import TrainingSettings

EPOCH = 7  # steps


def settings(**changes: object) -> TrainingSettings:
    return TrainingSettings(**({"lr": 0.3, "lr_min": 0.02} | changes))


# ---- the optimiser


@pytest.mark.parametrize("decay", ["l2", "decoupled", "algorithm1"])
def test_the_first_step_by_hand(decay):
    """Adam's first step is lr g / (|g| + eps): its averages are corrected to g and g^2. With l2, g holds the decay; otherwise w shrinks."""
    w = torch.tensor([1.0, -2.0, 0.5], dtype=torch.float64)
    gradient = torch.tensor([0.3, 0.01, -0.1], dtype=torch.float64)
    p = nn.Parameter(w.clone())
    optimiser = make_optimiser([p], settings(weight_decay=0.1, decay=decay))
    p.grad = gradient.clone()
    optimiser.step()
    g = gradient + 0.1 * w if decay == "l2" else gradient
    shrunk = {"l2": 1.0, "decoupled": 1 - 0.3 * 0.1, "algorithm1": 1 - 0.1}[decay] * w
    torch.testing.assert_close(p.detach(), shrunk - 0.3 * g / (g.abs() + 1e-8), rtol=0, atol=1e-12)


def test_the_defaults_are_torch_s_adam_to_the_bit():
    """As runs of earlier versions were trained."""
    g = torch.Generator().manual_seed(0)
    w, gradients = torch.randn(5, generator=g), torch.randn(10, 5, generator=g)
    ours, theirs = nn.Parameter(w.clone()), nn.Parameter(w.clone())
    default = TrainingSettings()
    for p, optimiser in (
        (ours, make_optimiser(iter([ours]), default)),
        (theirs, torch.optim.Adam([theirs], lr=default.lr, weight_decay=default.weight_decay)),
    ):
        for gradient in gradients:
            p.grad = gradient.clone()
            optimiser.step()
    assert torch.equal(ours, theirs)
    assert not torch.equal(ours, w)


def test_the_rate_of_every_group_is_set():
    a, b = nn.Parameter(torch.zeros(2)), nn.Parameter(torch.zeros(2))
    optimiser = make_optimiser([a], settings())
    optimiser.add_param_group({"params": [b], "lr": 5.0})
    set_learning_rate(optimiser, 0.125)
    assert [group["lr"] for group in optimiser.param_groups] == [0.125, 0.125]
    a.grad, b.grad = torch.ones(2), torch.ones(2)
    optimiser.step()
    torch.testing.assert_close(torch.cat([a, b]).detach(), torch.full((4,), -0.125), rtol=0, atol=1e-6)


# ---- the learning rate


def rates_of_torch(make, steps: int) -> list[float]:
    """The rate that each step of a scheduler's optimiser would have."""
    optimiser = torch.optim.SGD([nn.Parameter(torch.zeros(1))], lr=0.3)
    scheduler = make(optimiser)
    rates = []
    for _ in range(steps):
        rates.append(optimiser.param_groups[0]["lr"])
        optimiser.step()
        scheduler.step()
    return rates


def rates(s: TrainingSettings, steps: int, epoch: int = EPOCH) -> list[float]:
    return [learning_rate(s, step, epoch) for step in range(steps)]


def test_constant():
    assert rates(settings(max_epochs=1), 20) == [0.3] * 20


@pytest.mark.parametrize(("length", "changes"), [(35, {"max_epochs": 5}), (11, {"max_epochs": 5, "max_steps": 11})])
def test_cosine_is_torch_s_and_stays_at_the_bottom(length, changes):
    s = settings(schedule="cosine", **changes)
    got = rates(s, length + 20)
    want = rates_of_torch(lambda o: lr_scheduler.CosineAnnealingLR(o, length, eta_min=0.02), length + 1)
    assert got[: length + 1] == pytest.approx(want, abs=1e-12)
    assert got[0] == 0.3
    assert got[length:] == [0.02] * 20
    assert all(a > b for a, b in itertools.pairwise(got[: length + 1]))


@pytest.mark.parametrize("growth", [1, 2, 3])
@pytest.mark.parametrize("epochs", [1, 4])
def test_restarts_are_torch_s(growth, epochs):
    s = settings(schedule="restarts", restart_epochs=epochs, restart_growth=growth, max_epochs=1)
    steps = 300
    want = rates_of_torch(lambda o: lr_scheduler.CosineAnnealingWarmRestarts(o, epochs * EPOCH, T_mult=growth, eta_min=0.02), steps)
    got = rates(s, steps)
    assert got == pytest.approx(want, abs=1e-12)
    cycle, begins = epochs * EPOCH, [0]
    while begins[-1] + cycle < steps:
        begins.append(begins[-1] + cycle)
        cycle *= growth
    assert [step for step, rate in enumerate(got) if rate == 0.3] == begins
    assert len(begins) > 2


@pytest.mark.parametrize("growth", [1, 2, 3])
def test_a_huge_step_is_as_good_as_a_small_one(growth):
    s = settings(schedule="restarts", restart_epochs=1, restart_growth=growth, warmup_steps=3)
    begin = EPOCH * 10**30 if growth == 1 else EPOCH * (growth**200 - 1) // (growth - 1)
    length = EPOCH * growth ** (0 if growth == 1 else 200)
    assert learning_rate(s, begin, EPOCH) == 0.3
    assert learning_rate(s, begin + 2 * length // EPOCH, EPOCH) == pytest.approx(0.02 + 0.14 * (1 + math.cos(math.pi * 2 / 7)))
    assert learning_rate(s, begin + length, EPOCH) == 0.3
    assert learning_rate(settings(schedule="cosine"), 10**400, EPOCH) == 0.02
    assert learning_rate(settings(warmup_steps=3), 10**400, EPOCH) == 0.3


@pytest.mark.parametrize("warmup", [1, 5, 20])
def test_warm_up_is_torch_s_linear_factor(warmup):
    got = rates(settings(warmup_steps=warmup), 30)
    want = rates_of_torch(lambda o: lr_scheduler.LinearLR(o, start_factor=1 / (warmup + 1), total_iters=warmup), 30)
    assert got == pytest.approx(want, abs=1e-12)
    assert got[0] > 0
    assert got[warmup - 1] < 0.3
    assert got[warmup:] == [0.3] * (30 - warmup)


@pytest.mark.parametrize("schedule", ["cosine", "restarts"])
def test_warm_up_multiplies_the_schedule_and_does_not_delay_it(schedule):
    changes = {"schedule": schedule, "max_epochs": 3, "restart_epochs": 1}
    plain, warm = rates(settings(**changes), 30), rates(settings(warmup_steps=9, **changes), 30)
    assert warm == pytest.approx([min(1.0, (step + 1) / 10) * rate for step, rate in enumerate(plain)], rel=1e-12)
    assert warm[9:] == plain[9:]


@pytest.mark.parametrize(("step", "epoch"), [(-1, 7), (0, 0)])
def test_no_such_step(step, epoch):
    with pytest.raises(ValueError, match=f"found {step} and {epoch}"):
        learning_rate(settings(), step, epoch)


# ---- averages


class WithBuffers(nn.Module):
    """One weight, and a buffer of each kind."""

    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(2, dtype=torch.float64))
        self.register_buffer("running", torch.zeros(2, dtype=torch.float64))
        self.register_buffer("count", torch.tensor(0))
        self.register_buffer("mask", torch.tensor([False, False]))

    def becomes(self, k: int) -> None:
        with torch.no_grad():
            self.weight.copy_(WEIGHTS[k])
            self.running.copy_(RUNNING[k])
            self.count.fill_(COUNTS[k])
            self.mask.copy_(torch.tensor([k == 2, k != 2]))

    def forward(self, x: Tensor) -> Tensor:
        return x * self.weight + self.running


WEIGHTS = torch.tensor([[1.0, 2.0], [4.0, -3.0], [-1.0, 8.0]], dtype=torch.float64)
RUNNING = torch.tensor([[0.0, 3.0], [3.0, 3.0], [30.0, -3.0]], dtype=torch.float64)
COUNTS = [10, 21, 35]


def averaged(after: int, **changes: object):
    model = WithBuffers()
    average = average_model(model, settings(**changes))
    for k in range(after):
        model.becomes(k)
        average.update_parameters(model)
    return average


@pytest.mark.parametrize(("averaging", "shares"), [("mean", [1 / 3, 1 / 3, 1 / 3]), ("ema", [0.64, 0.16, 0.2])])
def test_averages_of_three_updates_by_hand(averaging, shares):
    """torch holds the share of an equal average in float32, so no better than that."""
    average = averaged(3, averaging=averaging, averaging_decay=0.8)
    shares = torch.tensor(shares, dtype=torch.float64)
    torch.testing.assert_close(average.module.weight.detach(), shares @ WEIGHTS, rtol=0, atol=1e-6)
    torch.testing.assert_close(average.module.running, shares @ RUNNING, rtol=0, atol=1e-6)
    x = torch.tensor([2.0, 5.0], dtype=torch.float64)
    torch.testing.assert_close(average(x).detach(), x * (shares @ WEIGHTS) + shares @ RUNNING, rtol=0, atol=1e-6)


@pytest.mark.parametrize("averaging", ["ema", "mean"])
@pytest.mark.parametrize("after", [1, 2, 3])
def test_what_is_not_floating_point_is_copied(after, averaging):
    average = averaged(after, averaging=averaging)
    assert average.module.count.item() == COUNTS[after - 1]
    assert average.module.mask.tolist() == [after == 3, after != 3]


@pytest.mark.parametrize("averaging", ["ema", "mean"])
def test_the_first_update_copies_and_so_does_one_after_a_return_to_zero(averaging):
    average = averaged(1, averaging=averaging)
    assert torch.equal(average.module.weight, WEIGHTS[0])
    model = WithBuffers()
    model.becomes(1)
    average.n_averaged.zero_()
    average.update_parameters(model)
    assert torch.equal(average.module.weight, WEIGHTS[1])
    model.becomes(2)
    average.update_parameters(model)
    share = 0.5 if averaging == "mean" else 0.01
    torch.testing.assert_close(average.module.weight.detach(), WEIGHTS[1] + share * (WEIGHTS[2] - WEIGHTS[1]), rtol=0, atol=1e-12)


@pytest.mark.parametrize("averaging", ["ema", "mean"])
def test_the_model_itself_is_left_alone(averaging):
    model = WithBuffers()
    average = average_model(model, settings(averaging=averaging))
    for k in range(3):
        model.becomes(k)
        average.update_parameters(model)
    assert torch.equal(model.weight, WEIGHTS[2])
    assert torch.equal(model.running, RUNNING[2])
    assert not torch.equal(average.module.weight, model.weight)


def test_no_average():
    assert average_model(WithBuffers(), settings()) is None


def test_an_average_goes_on_where_its_state_was_kept():
    whole = averaged(3, averaging="mean")
    again = average_model(WithBuffers(), settings(averaging="mean"))
    again.load_state_dict(averaged(2, averaging="mean").state_dict())
    model = WithBuffers()
    model.becomes(2)
    again.update_parameters(model)
    assert torch.equal(again.module.weight, whole.module.weight)
    assert torch.equal(again.module.running, whole.module.running)
