"""Everything that changes in a training, as one flat table of tensors, and back."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel

__all__ = ["generators", "pack", "unpack"]


def generators(device: torch.device | str) -> dict[str, Tensor]:
    """The state of each generator of torch's that training draws from: ``cpu``, and on a GPU ``cuda``."""
    states = {"cpu": torch.get_rng_state()}
    if torch.device(device).type == "cuda":
        states["cuda"] = torch.cuda.get_rng_state(device)
    return states


def pack(
    model: nn.Module,
    optimiser: torch.optim.Optimizer,
    averaged: AveragedModel | None,
    best: Mapping[str, Tensor],
    random: Sequence[Mapping[str, Tensor]],
) -> dict[str, Tensor]:
    """``model/*, averaged/*, best/*, moments/<parameter>/*, random/<generator>, random/<generator>/<process>`` -> tensors.

    Args:
        model: being trained.
        optimiser: of its parameters.
        averaged: its averaged weights, if any.
        best: the weights chosen so far.
        random: the :func:`generators` of each process.
    """
    tensors = {f"model/{k}": v for k, v in model.state_dict().items()}
    tensors |= {f"best/{k}": v for k, v in best.items()}
    if averaged is not None:
        tensors |= {f"averaged/{k}": v for k, v in averaged.state_dict().items()}
    for number, moments in optimiser.state_dict()["state"].items():
        tensors |= {f"moments/{number}/{k}": v for k, v in moments.items()}
    for process, states in enumerate(random):
        tensors |= {f"random/{_name(k, process)}": v for k, v in states.items()}
    # a tensor may stand in several places (an averaged model that still is the model); safetensors wants each its own memory
    return {k: v.detach().clone() for k, v in tensors.items()}


def unpack(
    tensors: Mapping[str, Tensor],
    model: nn.Module,
    optimiser: torch.optim.Optimizer,
    averaged: AveragedModel | None,
    device: torch.device | str,
    process: int = 0,
) -> dict[str, Tensor]:
    """The inverse of :func:`pack`, into a fresh model, optimiser and average of the same settings, and a process's generators.

    Returns:
        The weights chosen so far, on ``device``.
    """
    parts: dict[str, dict[str, Tensor]] = {}
    for key, value in tensors.items():
        part, _, name = key.partition("/")
        parts.setdefault(part, {})[name] = value
    model.load_state_dict(parts["model"])
    if averaged is not None:
        averaged.load_state_dict(parts["averaged"])
    state: dict[int, dict[str, Tensor]] = {}
    for key, value in parts.get("moments", {}).items():
        number, _, name = key.partition("/")
        state.setdefault(int(number), {})[name] = value
    optimiser.load_state_dict({**optimiser.state_dict(), "state": state})
    torch.set_rng_state(parts["random"][_name("cpu", process)])
    if torch.device(device).type == "cuda":
        torch.cuda.set_rng_state(parts["random"][_name("cuda", process)], device)
    return {k: v.to(device) for k, v in parts["best"].items()}


def _name(generator: str, process: int) -> str:
    return f"{generator}/{process}" if process else generator
