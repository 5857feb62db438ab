"""The measures are scikit-learn's, to the last bit."""

from __future__ import annotations

import math

import numpy as np
import pytest
from sklearn import metrics as sk

from dgl_merc.evaluation.metrics import evaluate, weighted_f1


def drawn(seed: int, classes: int, count: int) -> tuple[np.ndarray, np.ndarray]:
    """Labels and predictions; some classes are never true, some never predicted, some utterances are unlabelled."""
    rng = np.random.default_rng(seed)
    true, said = (rng.permutation(classes)[: rng.integers(1, classes + 1)] for _ in range(2))
    labels = rng.choice(true, count)
    predicted = np.where(rng.random(count) < 0.4, labels, rng.choice(said, count))
    return np.where(rng.random(count) < 0.2, -1, labels), predicted


@pytest.mark.filterwarnings("ignore:A single label was found")
@pytest.mark.parametrize("count", [1, 3, 40, 900])
@pytest.mark.parametrize("classes", [1, 2, 6, 30])
def test_they_are_scikit_learn_s_to_the_last_bit(classes, count):
    names = tuple(f"c{k}" for k in range(classes))
    labelled = 0
    for seed in range(6):
        labels, predicted = drawn(1000 * seed + 10 * classes + count, classes, count)
        got = evaluate(labels, predicted, names)
        known = labels >= 0
        y, z = labels[known], predicted[known]
        assert got["utterances"] == len(y)
        if not len(y):
            assert got == {"utterances": 0, "accuracy": None, "weighted_f1": None, "macro_f1": None, "per_class": {}, "confusion": []}
            assert math.isnan(weighted_f1(labels, predicted))
            continue
        labelled += 1
        assert got["accuracy"] == 100 * sk.accuracy_score(y, z)
        assert got["weighted_f1"] == weighted_f1(labels, predicted) == 100 * sk.f1_score(y, z, average="weighted", zero_division=0)
        assert got["macro_f1"] == 100 * sk.f1_score(y, z, labels=np.unique(y), average="macro", zero_division=0)
        assert got["confusion"] == sk.confusion_matrix(y, z, labels=range(classes)).tolist()
        rows = zip(*sk.precision_recall_fscore_support(y, z, labels=range(classes), zero_division=0), strict=True)
        for found, (precision, recall, f1, support) in zip(got["per_class"].values(), rows, strict=True):
            accuracy = 100 * recall if support else None
            assert found == {"support": support, "accuracy": accuracy, "precision": 100 * precision, "f1": 100 * f1}
    assert labelled >= 3


def test_what_is_predicted_of_an_unlabelled_utterance_does_not_matter():
    labels, names = np.array([0, -1, 1, -1]), ("a", "b")
    one, two = (evaluate(labels, np.array([0, k, 0, k]), names) for k in (1, -7))
    assert one == two
    assert weighted_f1(labels, np.array([0, 99, 0, -7])) == one["weighted_f1"]


def test_a_class_that_is_none_is_refused():
    for labels, predicted, said in (
        ([0, 1], [0, 2], "C - 1 = 1, got 2"),
        ([0, 2], [0, 1], "C - 1 = 1, got 2"),
        ([0, 1], [0, -1], "from 0, got -1"),
    ):
        with pytest.raises(ValueError, match=said):
            evaluate(np.array(labels), np.array(predicted), ("a", "b"))
    with pytest.raises(ValueError, match="from 0, got -1"):
        weighted_f1(np.array([0]), np.array([-1]))
