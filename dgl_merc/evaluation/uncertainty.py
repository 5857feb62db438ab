"""What a model says of its own uncertainty, beside its errors: whether the one tells anything of the other.

    u_i         sigma_<modality> of utterance i: the norm of its deviation there. Not finite: the modality is absent, i is left out
    wrong_i     the predicted class is not the label
    AUROC       P(u_i > u_j) + P(u_i = u_j) / 2     i any wrong, j any right answer (Hanley and McNeil 1982)
                from 0 to 1: .5 says nothing of errors, above it the larger go with more of them, below it with fewer
    resample    sum_ij w_d(i) w_d(j) ([u_i > u_j] + [u_i = u_j] / 2) / (sum_i w_d(i) sum_j w_d(j)),    w ~ Multinomial(D, 1 / D)
    interval    the .025 and .975 quantiles of the resamples: D dialogues are resampled, not utterances, for the reasons that
                :mod:`dgl_merc.evaluation.statistics` gives. Dialogues without labels do not count here
    bins        utterance i is in bin floor(B r_i / n): r_i of the n utterances have a smaller u. Equal u, one bin; B is up to 10
    AURC        mean_k (errors among the k smallest u) / k,  k = 1 .. n (area under the risk-coverage curve; Geifman and El-Yaniv 2017):
                how much goes wrong if the most uncertain are set aside; the mean over all orders of equal u. A random order has the error

Both ways of reading are asked for, since SGRNet's (14, 15) give the modality with more variance more weight: there a large sigma is meant
to be informative, not doubtful. 1 - confidence, the greatest probability's complement, is measured on the same utterances and dialogues:
a yardstick that every model has for free.

With few wrong or right answers the resamples hardly differ, whatever the truth, and an interval would claim what nobody knows: there is
none below 10 of each, or where either come from fewer than 10 dialogues. Where u says nothing, the interval is beside .5 in 5 to 7 of 100
simulations with 20 dialogues or more, and in up to 14 with some ten. Three modalities are three questions: even at 5 of 100 each, one in
seven models whose sigmas say nothing seems to say something with one of them.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import pandas as pd

from dgl_merc.evaluation.statistics import drawn, interval

__all__ = ["evaluate_uncertainty", "uncertain_modalities"]

Array = npt.NDArray[Any]
Floats = npt.NDArray[np.float64]
Flags = npt.NDArray[np.bool_]

_BINS = 10
_LEAST = 10  # utterances in a bin; wrong and right answers, and dialogues of either, for an interval
_CELLS = 2**22  # numbers in one intermediate array: 32 MiB of float64


def uncertain_modalities(table: pd.DataFrame) -> list[str]:
    """The modalities with a column ``sigma_<modality>`` or ``weight_<modality>``, as they come."""
    parts = [str(column).partition("_") for column in table.columns]
    return list(dict.fromkeys(name for kind, _, name in parts if kind in ("sigma", "weight") and name))


def evaluate_uncertainty(
    table: pd.DataFrame, names: Sequence[str], *, resamples: int = 2000, level: float = 0.95, seed: int = 0
) -> dict[str, Any]:
    """What the uncertainty says of errors, per modality.

    Args:
        table: [U] rows of ``predictions.parquet``, of one split: ``dialogue_id``, ``label`` (null = unlabelled, left out), ``predicted``,
            ``p_<name>`` for each class, and ``sigma_<modality>``, ``weight_<modality>``. In any order.
        names: of the C classes; without columns for them there is no yardstick.
        resamples: how many.
        level: of the intervals, between 0 and 1.
        seed: of the resampling; the same seed gives the same intervals.

    Returns:
        ``uncertainty``, modality -> ``sigma`` and ``weight``, null where there is no such column; nothing at all without such columns.

        ``sigma``: ``utterances``, ``wrong``, ``error``, ``auroc``, ``interval`` ([low, high]), ``says`` ("nothing", "more errors" or "fewer
        errors": where .5 is, in the interval, below or above it), ``aurc``, ``confidence`` (these four of 1 - confidence; null without
        probabilities) and ``bins`` of ``low``, ``high``, ``mean``, ``utterances``, ``error``, u ascending.
        ``weight``: ``utterances``, and the mean weight of ``all`` answers, of ``right`` and of ``wrong`` ones.

        Errors and AURC in percent, AUROC and weights from 0 to 1; null where there is nothing to measure.
    """
    modalities = uncertain_modalities(table)
    if not modalities:
        return {}
    table = table[table["label"].notna().to_numpy()]
    said = pd.factorize(pd.concat([table["label"].astype("str"), table["predicted"].astype("str")], ignore_index=True))[0]
    wrong = said[: len(table)] != said[len(table) :]
    spoken, dialogues = np.unique(table["dialogue_id"].to_numpy(dtype=str), return_inverse=True)
    draws = _Draws(len(spoken), resamples, level, seed)
    scores = [f"p_{name}" for name in names]
    doubt = 1 - table[scores].to_numpy(dtype=np.float64).max(axis=1) if scores and set(scores) <= set(table.columns) else None

    def sigma(u: Floats) -> dict[str, Any]:
        k = np.isfinite(u)
        yardstick = [] if doubt is None else [doubt[k]]
        return _errors([u[k], *yardstick], wrong[k], dialogues[k], draws)

    def weight(w: Floats) -> dict[str, Any]:
        return _weights(w, wrong)

    def measured(m: str) -> dict[str, Any]:
        kinds = {f"sigma_{m}": sigma, f"weight_{m}": weight}
        return {c.partition("_")[0]: of(table[c].to_numpy(dtype=np.float64)) if c in table else None for c, of in kinds.items()}

    return {"uncertainty": {m: measured(m) for m in modalities}}


class _Draws(NamedTuple):
    dialogues: int
    resamples: int
    level: float
    seed: int


def _errors(columns: Sequence[Floats], wrong: Flags, dialogues: Array, draws: _Draws) -> dict[str, Any]:
    """Of the first column [L], beside that of 1 - confidence, if there is a second."""
    ranked = [_ranked(u, wrong, dialogues) for u in columns]
    measures: list[dict[str, Any]] = [
        {"auroc": _number(_aurocs(pairs, np.ones((1, draws.dialogues)))), "interval": None, "says": None, "aurc": _aurc(u, wrong)}
        for u, pairs in zip(columns, ranked, strict=True)
    ]
    if all(min(k.sum(), len(np.unique(dialogues[k]))) >= _LEAST for k in (wrong, ~wrong)):
        for row, values in zip(measures, _bootstrap(ranked, draws), strict=True):
            low, high = interval(values, draws.level)
            row |= {"interval": [low, high], "says": "more errors" if low > 0.5 else "fewer errors" if high < 0.5 else "nothing"}
    return {
        "utterances": len(wrong),
        "wrong": int(wrong.sum()),
        "error": _percent(wrong),
        **measures[0],
        "confidence": measures[1] if len(measures) > 1 else None,
        "bins": _bins(columns[0], wrong),
    }


def _number(value: Floats) -> float | None:
    return None if np.isnan(value.item()) else float(value.item())


def _percent(wrong: Array) -> float | None:
    return 100.0 * float(wrong.mean()) if len(wrong) else None


class _Ranked(NamedTuple):
    """Of n1 wrong and n0 right answers, the right ones by ascending u."""

    low: Array
    """[n1] how many right answers have a smaller u than this wrong one."""
    high: Array
    """[n1] and how many no greater one."""
    wrong: Array
    """[n1] dialogues."""
    right: Array
    """[n0] dialogues."""


def _ranked(u: Floats, wrong: Flags, dialogues: Array) -> _Ranked:
    order = np.argsort(u[~wrong], kind="stable")
    right = u[~wrong][order]
    low, high = (np.searchsorted(right, u[wrong], side) for side in ("left", "right"))
    return _Ranked(low, high, dialogues[wrong], dialogues[~wrong][order])


def _aurocs(ranked: _Ranked, weights: Floats) -> Floats:
    """Weights [R, D] of dialogues -> [R]; NaN where no pair of a wrong and a right answer has any."""
    of_right, of_wrong = weights[:, ranked.right], weights[:, ranked.wrong]
    below = np.zeros((len(weights), len(ranked.right) + 1))
    np.cumsum(of_right, axis=1, out=below[:, 1:])
    hits = (of_wrong * (below[:, ranked.low] + below[:, ranked.high])).sum(axis=1) / 2
    pairs = of_wrong.sum(axis=1) * below[:, -1]
    return np.asarray(np.divide(hits, pairs, out=np.full(len(weights), np.nan), where=pairs > 0))


def _bootstrap(columns: Sequence[_Ranked], draws: _Draws) -> Floats:
    """[columns, R], the same draws for all; nothing depends on the pieces they are made in."""
    rng = np.random.default_rng(draws.seed)
    values = np.empty((len(columns), draws.resamples))
    step = max(1, _CELLS // max(draws.dialogues, len(columns[0].wrong) + len(columns[0].right)))
    for start in range(0, draws.resamples, step):
        weights = drawn(rng, min(step, draws.resamples - start), draws.dialogues).astype(np.float64)
        for k, ranked in enumerate(columns):
            values[k, start : start + len(weights)] = _aurocs(ranked, weights)
    return values


def _aurc(u: Floats, wrong: Flags) -> float | None:
    if not len(u):
        return None
    _, place, count = np.unique(u, return_inverse=True, return_counts=True)
    expected = np.repeat(np.bincount(place, weights=wrong) / count, count)  # error of the k-th, over all orders of equal u
    return 100.0 * float((np.cumsum(expected) / np.arange(1, len(u) + 1)).mean())


def _bins(u: Floats, wrong: Flags) -> list[dict[str, Any]]:
    order = np.argsort(u, kind="stable")
    u, wrong = u[order], wrong[order]
    bins = min(_BINS, max(1, len(u) // _LEAST))
    inside = np.searchsorted(u, u) * bins // max(len(u), 1)
    return [
        {
            "low": float(u[k].min()),
            "high": float(u[k].max()),
            "mean": float(u[k].mean()),
            "utterances": int(k.sum()),
            "error": _percent(wrong[k]),
        }
        for k in (inside == b for b in np.unique(inside))
    ]


def _weights(weight: Floats, wrong: Flags) -> dict[str, Any]:
    known = np.isfinite(weight)
    kinds = {"all": known, "right": known & ~wrong, "wrong": known & wrong}
    return {"utterances": int(known.sum()), **{name: float(weight[k].mean()) if k.any() else None for name, k in kinds.items()}}
