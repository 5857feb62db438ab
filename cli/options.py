"""Options that several commands take, and what they mean."""

from __future__ import annotations

import math
import os
from importlib import resources
from pathlib import Path
from typing import Any

import click

from dgl_merc.errors import InputError

__all__ = [
    "DEVICE",
    "JOBS",
    "PRESET",
    "SEEDS",
    "SET",
    "STORE",
    "THREADS",
    "Number",
    "choose_device",
    "choose_jobs",
    "seeds_from",
    "started",
]

SEEDS = (1 << 32) - 1
"""The greatest seed."""

STORE = click.argument("store", type=click.Path(path_type=Path), required=False)
"""The graphs to work on."""
SET = click.option(
    "--set",
    "words",
    metavar="KEY=VALUE",
    multiple=True,
    help="Change a setting, such as training.lr=0.0005, model.gcn.rate=0.5 or, for a target of scores, data.learn=score (default: classes, "
    "negative and positive). Repeatable.",
)
"""A setting, by its dotted name."""


def _presets() -> str:
    """The presets in words. By their files: :func:`dgl_merc.training.settings.preset_names` would load torch for a help text."""
    folder = resources.files("dgl_merc") / "models" / "presets"
    names = sorted(p.name.removesuffix(".toml") for p in folder.iterdir() if p.name.endswith(".toml"))
    printed = [name for name in names if name.endswith("-paper")]
    return f"{', '.join(name for name in names if name not in printed)}, or as their papers print them {', '.join(printed)}"


PRESET = click.option("--preset", default="mglra", show_default=True, help=f"Model and settings: {_presets()}.")
"""What to fit."""
DEVICE = click.option("--device", default="auto", show_default=True, help="Where to compute: auto, cpu, cuda, cuda:1, ...")
"""Where to compute."""
THREADS = click.option(
    "--threads", type=click.IntRange(1, 1024), default=1, show_default=True, help="CPU threads per run; runs beside each other gain more."
)
"""Of each run."""
JOBS = click.option("--jobs", type=click.IntRange(1, 1024), help="Runs at once.  [default: one per free CPU; one on a GPU]")
"""Runs beside each other."""


class Number(click.FloatRange):
    """A number in a range; NaN is in none, infinity only in one without an end there."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """Of a word."""
        found = super().convert(value, param, ctx)
        if math.isnan(found):
            self.fail(f"{value!r} is not a number", param, ctx)
        return found


def started() -> tuple[int, int]:
    """Which process this is, from 0, and how many torchrun started; (0, 1) without torchrun."""
    if "TORCHELASTIC_RUN_ID" not in os.environ:
        return 0, 1
    return int(os.environ["RANK"]), int(os.environ["WORLD_SIZE"])


def choose_device(name: str, threads: int) -> str:
    """A device that is there; where torchrun started several processes, each has a GPU of its own, or all the CPU.

    Raises:
        InputError: none of that name, or fewer GPUs than processes.
    """
    import torch

    torch.set_num_threads(threads)
    if started()[1] > 1:
        return _own_device(name, torch.cuda.device_count())
    if name == "auto":
        return "cuda" if torch.cuda.is_available() else "cpu"
    try:
        torch.empty(1, device=name).cpu()
    except (RuntimeError, AssertionError, ImportError) as error:
        raise InputError(f"--device {name}: expected a device of this machine, such as cpu ({str(error).splitlines()[0]})") from None
    return name


def _own_device(name: str, gpus: int) -> str:
    """Of one of several processes on this machine."""
    if name not in ("auto", "cpu", "cuda"):
        raise InputError(f"--device {name}: expected auto, cpu or cuda under torchrun, which gives each process a GPU of its own")
    if name == "cpu" or (name == "auto" and not gpus):
        return "cpu"
    local, here = int(os.environ["LOCAL_RANK"]), int(os.environ["LOCAL_WORLD_SIZE"])
    if here > gpus:
        raise InputError(f"--device {name}: expected a GPU for each of {here} processes, found {gpus}; start fewer, or pass --device cpu")
    return f"cuda:{local}"


def choose_jobs(jobs: int | None, device: str, threads: int, runs: int) -> int:
    """How many runs at once."""
    if jobs is None:
        from dgl_merc.training.environment import usable_cpus

        jobs = 1 if device.startswith("cuda") else max(1, usable_cpus() // threads)
    return min(jobs, runs)


def seeds_from(first: int, count: int) -> tuple[int, ...]:
    """So many seeds in a row.

    Raises:
        InputError: beyond the greatest seed.
    """
    if first + count - 1 > SEEDS:
        raise InputError(f"--seed {first} --seeds {count}: expected seeds up to {SEEDS}")
    return tuple(range(first, first + count))
