"""How emotion dynamics are found: see :mod:`dgl_merc.heads.dynamics`."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from itertools import product
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from dgl_merc.errors import DivergedError
from dgl_merc.graphs import Structure
from dgl_merc.heads.regression import logistic_regression
from dgl_merc.kernels.emotion_dynamics import emotion_dynamics

__all__ = ["DynamicsSolution", "last_emotions", "solve_dynamics"]

Array = npt.NDArray[Any]

COSTS = (0.001, 0.003, 0.01, 0.03, 0.1)
"""C of the evidence: of those that cross-validation finds alike the least is taken."""
SHARPNESS = (1.0, 0.7, 0.5)
"""s of the transition."""
FOLDS = 3
ALONE = (0.01, 1.0)
"""C and s where nothing can be left out."""


class DynamicsSolution(NamedTuple):
    """What is found.

    Attributes:
        weight: [K, F] W.
        bias: [K] a - log f.
        inertia: [K + 1, K] s A.
        contagion: [K + 1, K] s B.
        cost: C.
        sharpness: s.
    """

    weight: Array
    bias: Array
    inertia: Array
    contagion: Array
    cost: float
    sharpness: float


def solve_dynamics(structure: Structure, x: Array, labels: Tensor, classes: int, *, speakers: int) -> DynamicsSolution:
    """Find W, a, A and B, and by cross-validation C and s. Nothing is drawn.

    Folds are of whole dialogues, in the order they are in, so that where a corpus goes on by session, other speakers are left out.

    Args:
        structure: S of U utterances, on the CPU.
        x: [U, F] what each shows.
        labels: [U], -1 = unlabelled; where none is known, all is 0: every emotion is as likely.
        classes: K.
        speakers: how many are remembered.

    Raises:
        DivergedError: features that are not finite.
    """
    if not np.isfinite(x).all():
        raise DivergedError("a training utterance has features beyond what float32 can hold: no evidence can be made of them")
    y = labels.numpy()
    if not (y >= 0).any():
        nothing = np.zeros((classes + 1, classes))
        return DynamicsSolution(np.zeros((classes, x.shape[1])), np.zeros(classes), nothing, nothing, *ALONE)
    cost, sharpness = _choose(structure, x, y, classes, speakers)
    inertia, contagion = _transition(structure, y, classes, speakers)
    return DynamicsSolution(*_evidence(x, y, classes, cost), sharpness * inertia, sharpness * contagion, cost, sharpness)


def _choose(structure: Structure, x: Array, y: Array, classes: int, speakers: int) -> tuple[float, float]:
    """C and s with the greatest weighted F1 over the labelled utterances of all folds."""
    from sklearn.metrics import f1_score

    said: dict[tuple[float, float], list[Array]] = {pair: [] for pair in product(COSTS, SHARPNESS)}
    truth = [np.empty(0, dtype=y.dtype)]
    for fold in _folds(structure):
        held, others = structure.select(np.flatnonzero(fold).tolist()), structure.select(np.flatnonzero(~fold).tolist())
        rows = np.repeat(fold, structure.lengths.numpy())
        if not (y[~rows] >= 0).any():
            continue
        truth.append(y[rows])
        inertia, contagion = _transition(others, y[~rows], classes, speakers)
        for cost in COSTS:
            weight, bias = _evidence(x[~rows], y[~rows], classes, cost)
            b = torch.from_numpy(x[rows] @ weight.T + bias) * held.presence.any(-1, keepdim=True)
            for s in SHARPNESS:
                t = torch.from_numpy(s * (inertia[:, None] + contagion)).log_softmax(-1)
                said[cost, s].append((b + emotion_dynamics(held, b, t, speakers=speakers)).argmax(-1).numpy())
    known = np.concatenate(truth) >= 0
    if not known.any():
        return ALONE
    of = np.concatenate(truth)[known]
    return max(said, key=lambda pair: f1_score(of, np.concatenate(said[pair])[known], average="weighted", zero_division=0.0))


def _folds(structure: Structure) -> Iterator[Array]:
    """Of each fold: [B] bool which dialogues are in it."""
    count = structure.num_dialogues
    for k in range(min(FOLDS, count) if count > 1 else 0):
        yield np.arange(count) * FOLDS // count == k


def _evidence(x: Array, y: Array, classes: int, cost: float) -> tuple[Array, Array]:
    """W [K, F] and a - log f [K]."""
    known = y >= 0
    weight, bias = _regression(x[known], y[known], classes, cost)
    count = np.bincount(y[known], minlength=classes)
    return weight, bias - np.log(np.maximum(count, 1) / count.sum()) * (count > 0)


def _transition(structure: Structure, y: Array, classes: int, speakers: int) -> tuple[Array, Array]:
    """A and B, each [K + 1, K]."""
    own, other = (last.numpy() for last in last_emotions(structure, torch.from_numpy(y), classes, speakers=speakers))
    known = (y >= 0) & (own >= 0) & (other >= 0)
    if not known.any():
        return np.zeros((classes + 1, classes)), np.zeros((classes + 1, classes))
    at = np.eye(classes + 1)
    weight, bias = _regression(np.concatenate([at[own[known]], at[other[known]]], axis=1), y[known], classes, 1.0)
    return weight.T[: classes + 1], weight.T[classes + 1 :] + bias


def _regression(x: Array, y: Array, classes: int, cost: float) -> tuple[Array, Array]:
    """As far as it comes: what a few steps more would change is beyond what can be known of it."""
    from sklearn.exceptions import ConvergenceWarning

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        return logistic_regression(x, y, classes, C=cost)


def last_emotions(structure: Structure, labels: Tensor, none: int, *, speakers: int) -> tuple[Tensor, Tensor]:
    """[U] the label of the last turn of each turn's speaker, and [U] of whoever else spoke last.

    Args:
        structure: S of U utterances.
        labels: [U]; a label that is not known is one like others here.
        none: stands for: there was no such turn.
        speakers: how many are remembered: who comes back after as many others is new, as in :func:`emotion_dynamics`.

    >>> from dgl_merc.graphs import GraphSpec
    >>> s = Structure.of([4], GraphSpec(("text",)), speakers=[0, 1, 0, 0])
    >>> last_emotions(s, torch.tensor([5, 6, -1, 7]), 9, speakers=2)
    (tensor([ 9,  9,  5, -1]), tensor([9, 5, 6, 6]))
    """
    own, other, last = [], [], dict[int, int]()  # the latest at the end
    for at, speaker, label in zip(structure.position.tolist(), structure.speakers.tolist(), labels.tolist(), strict=True):
        last = last if at else {}
        own.append(last.pop(speaker, none))
        other.append(next(reversed(last.values()), none))
        last[speaker] = label
        if len(last) > speakers:
            del last[next(iter(last))]
    return labels.new_tensor(own), labels.new_tensor(other)
