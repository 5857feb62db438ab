"""How weights move: the optimiser, its learning rate at a step, and the average of the weights over steps.

Nothing here has a state of its own but the optimiser and the average: the learning rate is a function of the number of the step, so
that a run which goes on from a checkpoint needs that number only.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn, get_swa_multi_avg_fn

from dgl_merc.training.settings import TrainingSettings

__all__ = ["all_steps", "average_model", "batch_size", "learning_rate", "make_optimiser", "set_learning_rate"]

_Tensors = tuple[Tensor, ...] | list[Tensor]
_Update = Callable[[_Tensors, _Tensors, Tensor | int], None]


def make_optimiser(parameters: Iterable[nn.Parameter], settings: TrainingSettings) -> torch.optim.Optimizer:
    """Adam, with torch's other defaults. Decay ``l2``: added to the gradient; ``decoupled``: AdamW (Loshchilov and Hutter 2019).

    ``algorithm1``: theta <- (1 - weight_decay) theta - Adam's step (MA-CMU-SGRNet, Algorithm 1, line 11).

    Args:
        parameters: of the model; all decay alike.
        settings: ``lr``, ``weight_decay``, ``decay``.
    """
    kinds: dict[str, Callable[..., torch.optim.Optimizer]] = {
        "l2": torch.optim.Adam,
        "decoupled": torch.optim.AdamW,
        "algorithm1": _Shrinking,
    }
    return kinds[settings.decay](parameters, lr=settings.lr, weight_decay=settings.weight_decay)


class _Shrinking(torch.optim.Adam):
    """Adam after every weight shrank by a share that the learning rate does not scale."""

    def __init__(self, parameters: Iterable[nn.Parameter], lr: float, weight_decay: float) -> None:
        super().__init__(parameters, lr=lr)
        self.share = weight_decay

    def step(self, closure: Any = None) -> Any:
        with torch.no_grad():
            for group in self.param_groups:
                for parameter in group["params"]:
                    if parameter.grad is not None:
                        parameter.mul_(1.0 - self.share)
        return super().step(closure)


def set_learning_rate(optimiser: torch.optim.Optimizer, rate: float) -> None:
    """The rate of every group of parameters, from the next step on."""
    for group in optimiser.param_groups:
        group["lr"] = rate


def batch_size(settings: TrainingSettings, length: float) -> int:
    """Dialogues per step.

    Args:
        settings: ``batch_size``, ``batch_utterances``.
        length: mean utterances of a training dialogue.

    >>> batch_size(TrainingSettings(batch_utterances=400), 9.6), batch_size(TrainingSettings(batch_utterances=400), 48)
    (32, 8)
    """
    if not settings.batch_utterances:
        return settings.batch_size
    return max(1, min(settings.batch_size, round(settings.batch_utterances / length)))


def all_steps(settings: TrainingSettings, steps_per_epoch: int) -> int:
    """Steps of a training that patience does not end: ``max_steps``, or if that is 0 those of ``max_epochs``."""
    return settings.max_steps or settings.max_epochs * steps_per_epoch


def learning_rate(settings: TrainingSettings, step: int, steps_per_epoch: int) -> float:
    """The learning rate of a step: the schedule's, times a factor below 1 in the first ``warmup_steps`` steps.

    ``cosine``: lr_min + (lr - lr_min) (1 + cos(pi t / T)) / 2 with t the step and T :func:`all_steps`;
    lr_min from T on. ``restarts``: the same with t the step of the cycle and T the cycle's
    length (Loshchilov and Hutter 2017, eq. 5): the first has ``restart_epochs`` epochs, each later one ``restart_growth`` times as many.

    The factor is (step + 1) / (warmup_steps + 1): never 0, and 1 from step ``warmup_steps`` on. It does not delay the schedule, and takes
    the rate below lr_min if need be.

    Args:
        settings: of the schedule.
        step: its number, from 0.
        steps_per_epoch: at least 1.

    Raises:
        ValueError: a step below 0, or an epoch without steps.

    >>> [round(learning_rate(TrainingSettings(lr=1.0, schedule="cosine", max_epochs=2), step, 2), 3) for step in range(5)]
    [1.0, 0.854, 0.5, 0.146, 0.0]
    >>> [learning_rate(TrainingSettings(lr=1.0, warmup_steps=3), step, 2) for step in range(5)]
    [0.25, 0.5, 0.75, 1.0, 1.0]
    """
    if step < 0 or steps_per_epoch < 1:
        raise ValueError(f"step must be at least 0 and steps_per_epoch at least 1, found {step} and {steps_per_epoch}")
    rate = _scheduled(settings, step, steps_per_epoch)
    return rate * (step + 1) / (settings.warmup_steps + 1) if step < settings.warmup_steps else rate


def _scheduled(settings: TrainingSettings, step: int, steps_per_epoch: int) -> float:
    if settings.schedule == "constant":
        return settings.lr
    if settings.schedule == "cosine":
        length = all_steps(settings, steps_per_epoch)
        step = min(step, length)
    else:
        length = settings.restart_epochs * steps_per_epoch
        if settings.restart_growth == 1:
            step %= length
        while step >= length:
            step, length = step - length, length * settings.restart_growth
    high = (1 + math.cos(math.pi * (step / length))) / 2
    return high * settings.lr + (1 - high) * settings.lr_min  # so, both ends are exact


def average_model(model: nn.Module, settings: TrainingSettings) -> AveragedModel | None:
    """A copy of a model to hold the average of its weights (``averaging``); None for ``none``.

    ``update_parameters(model)`` after a step takes the weights in. The first update copies them; each later one moves the average by
    1 - ``averaging_decay`` (``ema``), or by one over the number of updates (``mean``; Izmailov et al. 2018), of its distance to them.
    Where ``n_averaged`` is set to 0, the next update copies again.

    Buffers of floating point (running statistics) are averaged as the weights are, all others (counters, masks) copied.

    Args:
        model: on its device; not changed.
        settings: ``averaging``, ``averaging_decay``.
    """
    if settings.averaging == "none":
        return None
    average: _Update = get_swa_multi_avg_fn()  # type: ignore[no-untyped-call]
    if settings.averaging == "ema":
        average = get_ema_multi_avg_fn(settings.averaging_decay)  # type: ignore[no-untyped-call]
    return AveragedModel(model, multi_avg_fn=_of_floats(average), use_buffers=True)


def _of_floats(average: _Update) -> _Update:
    """Average tensors of floating point, copy others: torch would cut an average of integers down to an integer, or refuse."""

    def update(averaged: _Tensors, current: _Tensors, count: Tensor | int) -> None:
        if averaged[0].is_floating_point():  # torch calls this once per type and device
            average(averaged, current, count)
        else:
            for mine, its in zip(averaged, current, strict=True):
                mine.copy_(its)

    return update
