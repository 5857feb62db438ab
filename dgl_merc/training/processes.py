"""Several processes that train one model together (lightning-fabric, DDP): who is who, and what they must agree on.

torchrun starts them; each makes the same run of the same settings, trains on its share of every batch, and has the same weights after every
step. The first one alone has to do with folders and people: it locks, looks at dev, saves and writes; the others wait and are told.

What fails for a person to mend (an InputError, a fault of the file system) on one of them fails on all, in the words of the one that has
it, if it happens within :meth:`Processes.together` or :meth:`Processes.first`. A process that dies otherwise is noticed by torchrun, which
ends the others.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np
import torch
from torch import distributed

from dgl_merc.errors import InputError
from dgl_merc.models import Model, Output

__all__ = ["ALONE", "Processes", "joined", "own_seed"]

T = TypeVar("T")
Forward = Callable[..., Output]


@dataclass(frozen=True)
class Processes:
    """The processes of a run, as one of them sees them. All must call the methods in the same order.

    Attributes:
        rank: which one this is, from 0.
        count: how many there are.
        fabric: what joins them; None: there is one.
    """

    rank: int = 0
    count: int = 1
    fabric: Any = None

    def each(self, value: T) -> list[T]:
        """What every process has, in their order."""
        if self.count == 1:
            return [value]
        values: list[Any] = [None] * self.count
        distributed.all_gather_object(values, value)
        return values

    def together(self, make: Callable[[], T]) -> T:
        """What ``make`` gives here; it calls no process itself.

        Raises:
            InputError: it failed on any process; on the first one, its own error if it has one.
        """
        if self.count == 1:
            return make()
        found, error = _tried(make)
        self._agree(error, self.each(_in_words(error)))
        return found  # type: ignore[return-value]

    def first(self, make: Callable[[], T]) -> T:
        """What ``make`` gives on the first process, which alone calls it: the others get a copy.

        Raises:
            InputError: it failed.
        """
        if self.count == 1:
            return make()
        found, error = _tried(make) if self.rank == 0 else (None, None)
        told: list[Any] = [found, _in_words(error)]
        distributed.broadcast_object_list(told, src=0)
        self._agree(error, [told[1]])
        return told[0] if self.rank else found  # type: ignore[return-value]

    def _agree(self, error: Exception | None, said: list[str | None]) -> None:
        words = next((w for w in said if w is not None), None)
        if self.rank == 0 and error is not None:
            raise error
        if words is not None:
            raise InputError(words)

    def forward(self, model: Model, precision: str, device: torch.device | str) -> Forward:
        """How a model is called in training, so that its gradients become the mean over processes, and it computes in a precision.

        Args:
            model: on its device; the first process's weights become everyone's.
            precision: see ``TrainingSettings``.
            device: where it is.
        """
        called: Forward = model if self.fabric is None else self.fabric.strategy.setup_module(model)
        if precision == "32":
            return called
        from lightning_fabric.plugins.precision import MixedPrecision

        plugin = MixedPrecision("bf16-mixed", torch.device(device).type)

        def forward(*args: Any, **options: Any) -> Output:
            with plugin.forward_context():
                return called(*args, **options)

        return forward


ALONE = Processes()
"""One process."""


@contextmanager
def joined(rank: int, count: int, device: str) -> Iterator[Processes]:
    """The processes that torchrun started, joined while the block runs; one without it.

    Args:
        rank: which one this is.
        count: how many there are.
        device: where this one computes: ``cpu`` (gloo), or the GPU of its number on this machine (nccl).
    """
    if count == 1:
        yield ALONE
        return
    from lightning_fabric import Fabric
    from lightning_fabric.strategies.ddp import DDPStrategy

    logging.getLogger("lightning_fabric").setLevel(logging.WARNING)
    here, cuda = int(os.environ["LOCAL_WORLD_SIZE"]), device.startswith("cuda")
    # An absent modality or a mask may leave parameters without a part in a step.
    strategy = DDPStrategy(process_group_backend="nccl" if cuda else "gloo", find_unused_parameters=True)
    fabric = Fabric(accelerator="cuda" if cuda else "cpu", devices=here, num_nodes=count // here, strategy=strategy)
    fabric.launch()
    yield Processes(rank, count, fabric)
    distributed.destroy_process_group()  # after an error, the others may not be there any more to take leave of


def own_seed(seed: int, rank: int) -> int:
    """Of a process's dropout, other than every other process's."""
    return int(np.random.SeedSequence([seed, 3, rank]).generate_state(1, np.uint64)[0])


def _tried(make: Callable[[], T]) -> tuple[T | None, Exception | None]:
    try:
        return make(), None
    except (InputError, OSError) as error:
        return None, error


def _in_words(error: Exception | None) -> str | None:
    return None if error is None else str(error) or type(error).__name__
