"""Everything that changes in a training, as one flat table of tensors, and back."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel

__all__ = ["pack", "unpack"]


def pack(
    model: nn.Module,
    optimiser: torch.optim.Optimizer,
    averaged: AveragedModel | None,
    best: Mapping[str, Tensor],
    device: torch.device | str,
) -> dict[str, Tensor]:
    """``model/*, averaged/*, best/*, moments/<parameter>/*, random/*`` -> tensors.

    Args:
        model: being trained.
        optimiser: of its parameters.
        averaged: its averaged weights, if any.
        best: the weights chosen so far.
        device: where it trains: the generator of a GPU belongs to the state too.
    """
    tensors = {f"model/{k}": v for k, v in model.state_dict().items()}
    tensors |= {f"best/{k}": v for k, v in best.items()}
    if averaged is not None:
        tensors |= {f"averaged/{k}": v for k, v in averaged.state_dict().items()}
    for number, moments in optimiser.state_dict()["state"].items():
        tensors |= {f"moments/{number}/{k}": v for k, v in moments.items()}
    tensors["random/cpu"] = torch.get_rng_state()
    if torch.device(device).type == "cuda":
        tensors["random/cuda"] = torch.cuda.get_rng_state(device)
    # a tensor may stand in several places (an averaged model that still is the model); safetensors wants each its own memory
    return {k: v.detach().clone() for k, v in tensors.items()}


def unpack(
    tensors: Mapping[str, Tensor],
    model: nn.Module,
    optimiser: torch.optim.Optimizer,
    averaged: AveragedModel | None,
    device: torch.device | str,
) -> dict[str, Tensor]:
    """The inverse of :func:`pack`, into a fresh model, optimiser and average of the same settings.

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
    torch.set_rng_state(parts["random"]["cpu"])
    if "cuda" in parts["random"]:
        torch.cuda.set_rng_state(parts["random"]["cuda"], device)
    return {k: v.to(device) for k, v in parts["best"].items()}
