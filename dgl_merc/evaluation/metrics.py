"""What is measured of predictions, by scikit-learn, in percent.

    accuracy     share of labelled utterances whose class is right; SGRNet's WAA (32) and MGLRA's WA are the same number, since a class's
                 accuracy is its recall and the average is weighted by support
    weighted F1  per-class F1 averaged with the classes' support (SGRNet 33): what models are selected by

The confusion matrix has true classes in rows, as scikit-learn; MGLRA's Fig. 6 is its transpose.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
from sklearn.metrics import accuracy_score, confusion_matrix, f1_score, precision_recall_fscore_support

__all__ = ["evaluate", "weighted_f1"]

Array = npt.NDArray[Any]


def weighted_f1(labels: Array, predicted: Array) -> float:
    """Weighted F1 of labelled utterances, in percent.

    Args:
        labels: [U] class indices, -1 = unlabelled (left out).
        predicted: [U] class indices.

    Returns:
        0 to 100; NaN where nothing is labelled.
    """
    known = labels >= 0
    if not known.any():
        return float("nan")
    return 100.0 * float(f1_score(labels[known], predicted[known], average="weighted", zero_division=0))


def evaluate(labels: Array, predicted: Array, names: tuple[str, ...]) -> dict[str, Any]:
    """All measures of one split.

    Args:
        labels: [U] class indices, -1 = unlabelled (left out).
        predicted: [U] class indices.
        names: of the classes.

    Returns:
        ``utterances``, ``accuracy``, ``weighted_f1``, ``macro_f1``, ``per_class`` (name -> support, accuracy, precision, f1)
        and ``confusion``
        ([C][C] counts, true classes in rows). Percent, but for counts. A class without support has accuracy null.
    """
    known = labels >= 0
    y, z = labels[known], predicted[known]
    if not len(y):
        return {"utterances": 0, "accuracy": None, "weighted_f1": None, "macro_f1": None, "per_class": {}, "confusion": []}
    index = np.arange(len(names))
    precision, recall, f1, support = precision_recall_fscore_support(y, z, labels=index, zero_division=0)
    per_class = {
        name: {
            "support": int(support[k]),
            "accuracy": 100.0 * float(recall[k]) if support[k] else None,
            "precision": 100.0 * float(precision[k]),
            "f1": 100.0 * float(f1[k]),
        }
        for k, name in enumerate(names)
    }
    return {
        "utterances": len(y),
        "accuracy": 100.0 * float(accuracy_score(y, z)),
        "weighted_f1": weighted_f1(y, z),
        "macro_f1": 100.0 * float(np.mean([f1[k] for k in index if support[k]])),
        "per_class": per_class,
        "confusion": confusion_matrix(y, z, labels=index).tolist(),
    }
