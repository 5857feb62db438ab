"""Where a model is right and where not: by emotion shift, speaker and turn position, and whether its probabilities mean what they say.

    shift        another label than the same speaker's previous labelled utterance of the same dialogue has; unlabelled turns and those
                 of others between the two do not matter. A speaker's first labelled utterance of a dialogue is neither shift nor none
    position     of the turn in its dialogue, from 1, unlabelled turns counted
    confidence   greatest probability of an utterance
    ECE          sum_b n_b / N |acc_b - conf_b|  over 15 equal bins b of confidence (Guo et al. 2017, eq. 3)

Only labelled utterances count. Measures are of :mod:`dgl_merc.evaluation.metrics`, in percent.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from dgl_merc.corpus.targets import places_of
from dgl_merc.errors import InputError, at
from dgl_merc.evaluation.metrics import evaluate
from dgl_merc.evaluation.statistics import counts_of, estimate

__all__ = ["evaluate_predictions"]

Array = npt.NDArray[Any]

_SHIFT = ("no shift", "shift", "first turn")  # of a shift, False and True are the first two places
_SPEAKERS = 10
_TURNS = {"1": 1, "2": 2, "3-4": 4, "5-8": 8, "9-16": 16, "17-32": 32, "33+": np.inf}  # name -> its last turn
_BINS = 15
_NO_CALIBRATION: dict[str, Any] = {"ece": None, "bins": []}


def evaluate_predictions(table: pd.DataFrame, names: Sequence[str]) -> dict[str, Any]:
    """All measures of one split, and the same by kinds of utterance.

    Args:
        table: [U] rows of ``predictions.parquet``, of one split: ``dialogue_id``, ``position``, ``speaker``, ``label`` (null =
            unlabelled), ``predicted`` and ``p_<name>`` for each class, or ``predicted_score`` instead of these. In any order.
        names: of the C classes.

    Returns:
        What :func:`~dgl_merc.evaluation.metrics.evaluate` returns, ``weighted_f1_interval`` (95 %, over dialogues), and ``shift``,
        ``speakers`` (the 10 with most labelled utterances; the rest together, last) and ``positions``, each name -> ``utterances``,
        ``accuracy``, ``weighted_f1``; and ``calibration``: ``ece`` and ``bins`` of ``low``, ``high``, ``utterances``, ``confidence``,
        ``accuracy``. Percent, but for counts and names; null where there is no utterance. All of it empty where nothing is labelled,
        calibration also where scores were predicted.

    Raises:
        InputError: a label or prediction is not among ``names``, or a probability is not within 0 and 1.
    """
    table = table.sort_values("position", kind="stable")
    labels, predicted = (_codes(table, column, names) for column in ("label", "predicted"))
    whole = evaluate(labels, predicted, tuple(names))
    known = labels >= 0
    table, labels, predicted = table[known].reset_index(drop=True), labels[known], predicted[known]
    if not len(table):
        return {**whole, "weighted_f1_interval": None, "shift": {}, "speakers": {}, "positions": {}, "calibration": _NO_CALIBRATION}

    def groups(of: Array, titles: Sequence[str]) -> dict[str, Any]:
        return {title: _group(labels[of == k], predicted[of == k], names) for k, title in enumerate(titles)}

    turns = np.searchsorted(list(_TURNS.values()), table["position"].to_numpy() + 1)
    taken, turns = np.unique(turns, return_inverse=True)
    sure = estimate(counts_of(table["dialogue_id"], table["label"], [table["predicted"]], names))
    return {
        **whole,
        "weighted_f1_interval": [sure.low, sure.high],
        "shift": groups(_shifts(table, labels), _SHIFT),
        "speakers": groups(*_speakers(table)),
        "positions": groups(turns, [list(_TURNS)[k] for k in taken]),
        "calibration": _NO_CALIBRATION if "predicted_score" in table else _calibration(_confidence(table, names), labels == predicted),
    }


def _codes(table: pd.DataFrame, column: str, names: Sequence[str]) -> npt.NDArray[np.int64]:
    """[U] class indices, -1 where there is none."""
    codes = places_of(table[column], names)
    foreign: Array = codes < 0
    if column == "label":
        foreign = foreign & table[column].notna().to_numpy()
    if foreign.any():
        row = int(np.argmax(foreign))
        raise InputError(f"{_place(table, row)}expected in {column} one of {', '.join(names)}, found {table[column].iloc[row]}")
    return codes


def _place(table: pd.DataFrame, row: int) -> str:
    return at(dialogue=table["dialogue_id"].iloc[row], utterance=table["position"].iloc[row])


def _group(labels: Array, predicted: Array, names: Sequence[str]) -> dict[str, Any]:
    whole = evaluate(labels, predicted, tuple(names))
    return {key: whole[key] for key in ("utterances", "accuracy", "weighted_f1")}


def _shifts(table: pd.DataFrame, labels: Array) -> Array:
    """[L] places in ``_SHIFT``, for labelled utterances in the order of their positions."""
    keys = [table["dialogue_id"], table["speaker"]]
    before = pd.Series(labels).groupby(keys, sort=False, observed=True).shift(fill_value=-1).to_numpy()
    return np.where(before < 0, _SHIFT.index("first turn"), (before != labels).astype(np.int64))


def _speakers(table: pd.DataFrame) -> tuple[Array, list[str]]:
    """[L] groups and their titles. The same name in two dialogues is the same speaker."""
    speaker, names = pd.factorize(table["speaker"].astype("str"), sort=True)
    order = np.argsort(-np.bincount(speaker), kind="stable")
    titles = [str(names[k]) for k in order[:_SPEAKERS]]
    if len(order) > _SPEAKERS:
        rest = f"(others: {len(order) - _SPEAKERS})"
        while rest in titles:  # somebody's name
            rest = f"({rest})"
        titles.append(rest)
    return np.minimum(np.argsort(order)[speaker], _SPEAKERS), titles


def _confidence(table: pd.DataFrame, names: Sequence[str]) -> Array:
    """[L] the greatest probability, in the type the probabilities have."""
    scores = table[[f"p_{name}" for name in names]].to_numpy()
    wrong = ~((scores >= 0) & (scores <= 1 + 1e-5)).all(axis=1)  # NaN is wrong, a rounding error is not
    if wrong.any():
        row = int(np.argmax(wrong))
        raise InputError(f"{_place(table, row)}expected probabilities, found {scores[row].tolist()}")
    return np.asarray(scores.max(axis=1))


def _calibration(confidence: Array, right: Array) -> dict[str, Any]:
    """Bins (low, high] of confidence, 0 in the first, and the mean distance of accuracy from confidence."""
    edges = np.arange(_BINS + 1) / _BINS
    # edges rounded as the probabilities are: a float32 0.2 is on the edge 3/15, not above it
    inside = np.minimum(np.searchsorted(edges[1:].astype(confidence.dtype), confidence), _BINS - 1)
    count = np.bincount(inside, minlength=_BINS)
    sure = np.bincount(inside, weights=confidence, minlength=_BINS)
    hits = np.bincount(inside, weights=right, minlength=_BINS)
    bins = [
        {
            "low": 100.0 * float(edges[k]),
            "high": 100.0 * float(edges[k + 1]),
            "utterances": int(count[k]),
            "confidence": 100.0 * float(sure[k] / count[k]) if count[k] else None,
            "accuracy": 100.0 * float(hits[k] / count[k]) if count[k] else None,
        }
        for k in range(_BINS)
    ]
    return {"ece": 100.0 * float(np.abs(hits - sure).sum() / len(confidence)), "bins": bins}
