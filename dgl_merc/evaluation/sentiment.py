"""Sentiment as it is evaluated on CMU-MOSEI: the sign of a score, in both conventions of the field, and how far predicted scores are.

    negative / positive, zeros left out        utterances with y != 0;   y > 0 against z > 0
    negative / non-negative, zeros counted     every utterance;          y >= 0 against z >= 0

y is the true score of an utterance, z what the model says of it; a model of classes says negative or positive, and positive counts as
non-negative. Published numbers are of the one or of the other, often without a word. The first is what SGRNet describes ("for positive and
negative scores", IV-B) and what the code of MulT (Tsai et al. 2019) does with ``exclude_zero``; the code of MMSA (Yu et al. 2021) has
both, as ``Non0`` and ``Has0``. A third, zeros counted as negative (y > 0), is what MulT's code does otherwise; it is not reported.

    mean absolute error    sum_u |z_u - y_u| / U, in points of the score
    Pearson                correlation of z and y, -1 to 1
    seven classes          share of utterances where round(clip(z)) = round(clip(y)), clip to -3 to 3; halves go to the even number,
                           as in both codes
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from dgl_merc.corpus.targets import SIGNS
from dgl_merc.evaluation.metrics import weighted_f1

__all__ = ["ZEROS_COUNTED", "ZEROS_LEFT_OUT", "evaluate_sentiment", "in_words"]

ZEROS_LEFT_OUT = "negative / positive, zeros left out"
"""What epochs are chosen by: its weighted F1 on dev."""
ZEROS_COUNTED = "negative / non-negative, zeros counted"
"""The second of the field's two conventions, by name."""

Array = npt.NDArray[Any]

_SEVEN = (-3.0, 3.0)


def evaluate_sentiment(table: pd.DataFrame, bounds: tuple[float, float]) -> dict[str, Any]:
    """What is measured of scores, of one split.

    Args:
        table: [U] rows of ``predictions.parquet``: ``score`` (null = unlabelled, left out), ``predicted`` (negative or positive) and, of a
            model of scores, ``predicted_score``.
        bounds: of the scores.

    Returns:
        ``utterances`` with a score, ``zeros`` among them, and ``conventions``: name -> ``utterances``, ``accuracy``, ``weighted_f1``
        in percent. Of a model of scores also ``mean_absolute_error``, ``pearson`` (null where either does not vary) and
        ``seven_class_accuracy`` in percent (null where the bounds are not -3 and 3). Null where there is no utterance.
    """
    table = table[table["score"].notna()]
    true, positive = table["score"].to_numpy(dtype=np.float64), (table["predicted"] == SIGNS[1]).to_numpy(dtype=bool)
    said = table["predicted_score"].to_numpy(dtype=np.float64) if "predicted_score" in table else None
    away = true != 0
    found: dict[str, Any] = {
        "utterances": len(true),
        "zeros": int((~away).sum()),
        "conventions": {
            ZEROS_LEFT_OUT: _convention(true[away] > 0, positive[away]),
            ZEROS_COUNTED: _convention(true >= 0, positive if said is None else said >= 0),
        },
    }
    return found if said is None else {**found, **_distances(true, said, seven=bounds == _SEVEN)}


def _convention(true: Array, said: Array) -> dict[str, Any]:
    """Of two classes, told by True and False."""
    if not len(true):
        return {"utterances": 0, "accuracy": None, "weighted_f1": None}
    return {
        "utterances": len(true),
        "accuracy": 100.0 * float((true == said).mean()),
        "weighted_f1": weighted_f1(true.astype(np.int64), said.astype(np.int64)),
    }


def _distances(true: Array, said: Array, *, seven: bool) -> dict[str, Any]:
    if not len(true):
        return {"mean_absolute_error": None, "pearson": None, "seven_class_accuracy": None}
    varies = np.ptp(true) > 0 and np.ptp(said) > 0
    same = np.rint(np.clip(true, *_SEVEN)) == np.rint(np.clip(said, *_SEVEN))
    return {
        "mean_absolute_error": float(np.abs(said - true).mean()),
        "pearson": float(np.corrcoef(true, said)[0, 1]) if varies else None,
        "seven_class_accuracy": 100.0 * float(same.mean()) if seven else None,
    }


def in_words(sentiment: Mapping[str, Any]) -> list[str]:
    """A line for each convention and one for the distances.

    Args:
        sentiment: of :func:`evaluate_sentiment`; empty: no lines.
    """
    lines = [
        f"{name}: weighted F1 {_said(part['weighted_f1'], 2)}, accuracy {_said(part['accuracy'], 2)}, {part['utterances']} utterances"
        for name, part in sentiment.get("conventions", {}).items()
    ]
    if "mean_absolute_error" in sentiment:
        error, pearson, seven = (sentiment[key] for key in ("mean_absolute_error", "pearson", "seven_class_accuracy"))
        lines.append(
            f"mean absolute error {_said(error, 3)}, Pearson correlation {_said(pearson, 3)}, seven-class accuracy {_said(seven, 2)}"
        )
    return lines


def _said(value: float | None, digits: int) -> str:
    return "–" if value is None else f"{value:.{digits}f}"
