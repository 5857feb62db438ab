"""Random conversations and runs for the tests of statistics, and their scores by scikit-learn."""

from __future__ import annotations

from typing import Any

import numpy as np
from sklearn import metrics as sk

METRICS = ("weighted_f1", "macro_f1", "accuracy")


def by_scikit_learn(labels: Any, predicted: Any, metric: str) -> float:
    """The score of labelled utterances as a person would ask scikit-learn for it."""
    known = labels >= 0
    y, z = labels[known], predicted[known]
    if metric == "accuracy":
        return 100 * sk.accuracy_score(y, z)
    average = {"weighted_f1": "weighted", "macro_f1": "macro"}[metric]
    return 100 * sk.f1_score(y, z, labels=np.unique(y), average=average, zero_division=0)


def draw(seed: int, dialogues: int, runs: int, *, classes: int = 3, longest: int = 6, right: float = 0.5) -> tuple[Any, Any, Any]:
    """Dialogues of 1 to ``longest`` utterances in mixed order, some without label, and ``runs`` runs' predictions."""
    rng = np.random.default_rng(seed)
    talks = rng.permutation(np.repeat(np.arange(dialogues), rng.integers(1, longest + 1, dialogues)))
    labels = rng.integers(0, classes, len(talks))
    predicted = np.where(rng.random((runs, len(talks))) < right, labels, rng.integers(0, classes, (runs, len(talks))))
    return talks, np.where(rng.random(len(talks)) < 0.1, -1, labels), predicted


def two(seed: int, dialogues: int, runs: int, **options: Any) -> tuple[Any, Any, Any, Any]:
    """One corpus with the predictions of two models."""
    talks, labels, predicted = draw(seed, dialogues, 2 * runs, **options)
    return talks, labels, predicted[:runs], predicted[runs:]


def counted(right: Any, wrong: Any) -> Any:
    """[S, D] right and wrong -> [S, D, 2, 2] counts of true class 0, so that accuracy is what matters."""
    counts = np.zeros((*np.shape(right), 2, 2), dtype=np.int64)
    counts[..., 0, 0], counts[..., 0, 1] = right, wrong
    return counts
