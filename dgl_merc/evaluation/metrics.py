"""What is measured of predictions, in percent.

    accuracy     share of labelled utterances whose class is right; SGRNet's WAA (32) and MGLRA's WA are the same number, since a class's
                 accuracy is its recall and the average is weighted by support
    precision    right / predicted; recall right / true; F1 2 right / (true + predicted); each 0 where there is nothing to divide by
    weighted F1  per-class F1 averaged with the classes' support (SGRNet 33): what models are selected by

They are scikit-learn's numbers to the last bit (``zero_division=0``), counted here because its checks take milliseconds a call, of which a
report makes hundreds. The confusion matrix has true classes in rows, as there; MGLRA's Fig. 6 is its transpose.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

__all__ = ["evaluate", "weighted_f1"]

Array = npt.NDArray[Any]


def weighted_f1(labels: Array, predicted: Array) -> float:
    """Weighted F1 of labelled utterances, in percent.

    Args:
        labels: [U] class indices, -1 = unlabelled (left out).
        predicted: [U] class indices, from 0; may be anything where unlabelled.

    Returns:
        0 to 100; NaN where nothing is labelled.

    Raises:
        ValueError: a prediction below 0.

    >>> weighted_f1(np.array([0, 0, 1, -1]), np.array([0, 1, 1, 0]))
    66.66666666666666
    """
    known = labels >= 0
    if not known.any():
        return float("nan")
    return _weighted(_confusion(labels[known], predicted[known], 0))


def evaluate(labels: Array, predicted: Array, names: tuple[str, ...]) -> dict[str, Any]:
    """All measures of one split.

    Args:
        labels: [U] class indices, -1 = unlabelled (left out).
        predicted: [U] class indices, from 0; may be anything where unlabelled.
        names: of the C classes.

    Returns:
        ``utterances``, ``accuracy``, ``weighted_f1``, ``macro_f1``, ``per_class`` (name -> support, accuracy, precision, f1)
        and ``confusion``
        ([C][C] counts, true classes in rows). Percent, but for counts. A class without support has accuracy null.

    Raises:
        ValueError: a labelled utterance's class or prediction is not among the C.
    """
    known = labels >= 0
    y, z = labels[known], predicted[known]
    if not len(y):
        return {"utterances": 0, "accuracy": None, "weighted_f1": None, "macro_f1": None, "per_class": {}, "confusion": []}
    confusion = _confusion(y, z, len(names))
    if len(confusion) > len(names):
        raise ValueError(f"classes must be from 0 to C - 1 = {len(names) - 1}, got {len(confusion) - 1}")
    right, true, said = _margins(confusion)
    precision, recall, f1 = _ratio(right, said), _ratio(right, true), _ratio(2 * right, true + said)
    per_class = {
        name: {
            "support": int(true[k]),
            "accuracy": 100.0 * float(recall[k]) if true[k] else None,
            "precision": 100.0 * float(precision[k]),
            "f1": 100.0 * float(f1[k]),
        }
        for k, name in enumerate(names)
    }
    return {
        "utterances": len(y),
        "accuracy": 100.0 * float(right.sum() / len(y)),
        "weighted_f1": _weighted(confusion),
        "macro_f1": 100.0 * float(np.mean(f1[true > 0])),
        "per_class": per_class,
        "confusion": confusion.tolist(),
    }


def _confusion(y: Array, z: Array, classes: int) -> Array:
    """[U] and [U] -> [K, K] counts, true classes in rows; K is the number of classes, or greater where a greater class is met."""
    size = max(classes, int(y.max()) + 1, int(z.max()) + 1)
    if z.min() < 0:
        raise ValueError(f"predictions must be class indices from 0, got {int(z.min())}")
    return np.bincount(y.astype(np.int64) * size + z, minlength=size * size).reshape(size, size)


def _margins(confusion: Array) -> tuple[Array, Array, Array]:
    """[K, K] -> [K] each: right, true and predicted."""
    return confusion.diagonal(), confusion.sum(axis=1), confusion.sum(axis=0)


def _ratio(above: Array, below: Array) -> Array:
    return above / np.maximum(below, 1)  # where there is nothing below there is nothing above


def _weighted(confusion: Array) -> float:
    """In percent. Over the classes that are met at all, as scikit-learn: with others, all zero, a sum may round otherwise."""
    right, true, said = _margins(confusion)
    met = true + said > 0
    return 100.0 * float(np.average(_ratio(2 * right, true + said)[met], weights=true[met]))
