"""The protocol and its loop: the epoch is chosen on dev, test is evaluated once, afterwards.

Most published numbers of this field choose the epoch on the test set, which flatters by points. Here the loop is never given the test
split: :func:`train` sees training and dev dialogues only, and :func:`predict` is called on test by whoever has the trained model.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from dgl_merc.errors import InputError
from dgl_merc.evaluation.metrics import weighted_f1
from dgl_merc.losses import cross_entropy
from dgl_merc.models import Model
from dgl_merc.training.data import DialogueData, Numbers
from dgl_merc.training.settings import TrainingSettings

__all__ = ["Epoch", "Trained", "predict", "train"]

_EVALUATION_BATCH = 64


@dataclass(frozen=True)
class Epoch:
    """What is known after an epoch.

    Attributes:
        epoch: its number, from 1.
        loss: mean over training utterances.
        dev_weighted_f1: in percent.
        seconds: it took, evaluation included.
    """

    epoch: int
    loss: float
    dev_weighted_f1: float
    seconds: float


@dataclass(frozen=True)
class Trained:
    """The result of training.

    Attributes:
        best: the epoch chosen: the first with the greatest dev weighted F1. The model holds its weights.
        history: all epochs.
    """

    best: Epoch
    history: tuple[Epoch, ...]


def train(
    model: Model,
    data: DialogueData,
    training: Numbers,
    dev: Numbers,
    settings: TrainingSettings,
    *,
    seed: int,
    device: torch.device | str = "cpu",
    on_epoch: Callable[[Epoch, Epoch], None] | None = None,
) -> Trained:
    """Train, and leave the weights of the epoch that dev chose in the model.

    Args:
        model: fresh.
        data: the corpus.
        training: numbers of the training dialogues.
        dev: numbers of the dev dialogues.
        settings: how.
        seed: of the order of dialogues.
        device: where.
        on_epoch: called after each epoch with it and with the best so far.

    Raises:
        InputError: nothing to learn or to choose by, or a loss that is not finite.
    """
    _check_split(data, training, "training")
    _check_split(data, dev, "dev")
    order = np.random.default_rng(np.random.SeedSequence([seed, 1]))
    optimiser = torch.optim.Adam(model.parameters(), lr=settings.lr, weight_decay=settings.weight_decay)
    history: list[Epoch] = []
    best: Epoch | None = None
    weights: dict[str, Tensor] = {}
    step = 0
    for number in range(1, settings.max_epochs + 1):
        begin = time.perf_counter()
        loss, step = _one_epoch(model, data, order.permutation(training), settings, optimiser, step, device)
        if not np.isfinite(loss):
            raise InputError(
                f"epoch {number}: the loss is {loss}; lower training.lr (now {settings.lr}), "
                f"or clip gradients (training.clip, now {settings.clip})"
            )
        scores, rows = predict(model, data, dev, device=device)
        f1 = weighted_f1(data.labels[rows], scores.argmax(axis=1))
        epoch = Epoch(number, loss, f1, time.perf_counter() - begin)
        history.append(epoch)
        if best is None or f1 > best.dev_weighted_f1:
            best = epoch
            weights = {name: value.detach().clone() for name, value in model.state_dict().items()}
        if on_epoch:
            on_epoch(epoch, best)
        if number - best.epoch >= settings.patience:
            break
    assert best is not None
    model.load_state_dict(weights)
    return Trained(best, tuple(history))


def _one_epoch(
    model: Model,
    data: DialogueData,
    dialogues: Numbers,
    settings: TrainingSettings,
    optimiser: torch.optim.Optimizer,
    step: int,
    device: torch.device | str,
) -> tuple[float, int]:
    model.train()
    total, labelled = 0.0, 0
    for host_batch in data.batches(dialogues, settings.batch_size):
        batch = host_batch.to(device)
        count = int((batch.labels >= 0).sum())
        loss = cross_entropy(model(batch.structure, batch.features, step=step), batch.labels)
        step += 1
        if not count:
            continue
        optimiser.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        if settings.clip:
            torch.nn.utils.clip_grad_norm_(model.parameters(), settings.clip)
        optimiser.step()
        total, labelled = total + float(loss.detach()) * count, labelled + count
    return total / max(labelled, 1), step


def predict(
    model: Model, data: DialogueData, dialogues: Numbers, *, device: torch.device | str = "cpu"
) -> tuple[npt.NDArray[np.float32], Numbers]:
    """Probabilities of every utterance of some dialogues.

    Args:
        model: trained; put into evaluation mode.
        data: the corpus.
        dialogues: numbers.
        device: where.

    Returns:
        [U, C] probabilities and [U] the utterances' rows in the corpus, in the order of the corpus.
    """
    model.eval()
    if not len(dialogues):
        return np.zeros((0, 0), dtype=np.float32), np.zeros(0, dtype=np.int64)
    by_length = dialogues[np.argsort(data.corpus.lengths[dialogues], kind="stable")]  # similar lengths together: little padding
    scores, rows = [], []
    with torch.inference_mode():
        for batch in data.batches(by_length, _EVALUATION_BATCH):
            moved = batch.to(device)
            scores.append(torch.softmax(model(moved.structure, moved.features).float(), dim=-1).cpu().numpy())
            rows.append(batch.rows)
    order = np.argsort(np.concatenate(rows), kind="stable")
    return np.concatenate(scores)[order], np.concatenate(rows)[order]


def _check_split(data: DialogueData, dialogues: Numbers, name: str) -> None:
    if not len(dialogues):
        raise InputError(f"{data.corpus.path or data.corpus.name}: expected a {name} split, found none; without it no epoch can be chosen")
    labelled = np.repeat(np.isin(np.arange(len(data.corpus)), dialogues), data.corpus.lengths) & (data.labels >= 0)
    if not labelled.any():
        raise InputError(f"{data.corpus.path or data.corpus.name}: no utterance of the {name} split is labelled")
