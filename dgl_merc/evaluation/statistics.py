"""How sure a score is, and a difference of two models: over dialogues and over seeds.

    n_sd [C, C]     confusion counts of run (seed) s on dialogue d, true classes in rows; S runs, D dialogues, C classes
    f(n)            the score of summed counts: accuracy, weighted F1 or macro F1, in percent
    estimate        m = mean_s f(sum_d n_sd)
    resample        m* = sum_s v_s / S f(sum_d w_d n_sd)       w ~ Multinomial(D, 1 / D), v ~ Multinomial(S, 1 / S)
    interval        the (1 - level) / 2 and (1 + level) / 2 quantiles of m* (percentile bootstrap)
    difference      e = m_B - m_A; in e* the draw w is A's and B's alike, v_A and v_B are drawn apart
    permutation     e' = mean_s f(sum_d n_sd^(B or A)) - mean_s f(sum_d n_sd^(A or B)), a fair coin per dialogue swaps A and B;
                    p = share of |e'| >= |e|: of all 2^D swaps, or (1 + hits) / (1 + n) of n random ones

Dialogues are resampled and swapped, not utterances: utterances of one dialogue share speakers, topic and context, and a model's errors
come in runs, so that intervals over utterances would be too narrow and their p-values too small. No score is a mean over dialogues: the
counts are summed first. The bootstrap is crossed, since every run sees the same dialogues.

What the interval covers: other dialogues of the same kind and, with several runs, other seeds of the same training. What it does not:

    one run         the seeds' variation is not in it: it speaks of this trained model alone
    few runs        the bootstrap over S seeds has about (S - 1) / S of the variance it should have: half of it with two
    several runs    the variance of what is particular to one run on one dialogue counts about three times in a crossed bootstrap:
                    the interval is too wide, up to 1.7 times where nothing else varies
    few dialogues   percentile intervals of some ten dialogues are somewhat narrow
    the rest        other corpora, splits and training data are not resampled at all

The permutation test is about these trained models on the population of dialogues (is it the dialogue's luck which of the two does better?),
not about the seeds: a small p does not say that models trained anew would differ again. The interval of the difference, with several runs,
is about both.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Literal, get_args

import numpy as np
import numpy.typing as npt
import pandas as pd

from dgl_merc.corpus.targets import places_of

__all__ = [
    "Difference",
    "Estimate",
    "Metric",
    "counts_of",
    "dialogue_counts",
    "difference",
    "drawn",
    "estimate",
    "interval",
    "score",
]

Array = npt.NDArray[Any]
Floats = npt.NDArray[np.float64]
Metric = Literal["weighted_f1", "macro_f1", "accuracy"]
"""What intervals and comparisons are of."""

_CELLS = 2**22  # numbers in one intermediate array: 32 MiB of float64
_TIE = 1e-10  # percent points: well above the rounding of scores of 0 to 100, and nothing as a difference


@dataclass(frozen=True)
class Estimate:
    """A model's score, in percent; NaN where nothing is labelled."""

    mean: float
    """Over the runs, each scored on all dialogues."""
    deviation: float | None
    """Sample standard deviation over the runs (divisor S - 1); None with one run."""
    low: float
    high: float
    """Ends of the bootstrap interval of the mean."""
    seeds: int
    dialogues: int
    """How many, S and D; dialogues without labels count."""


@dataclass(frozen=True)
class Difference:
    """Model B against model A, in percent points; NaN where nothing is labelled."""

    effect: float
    """Mean over B's runs less mean over A's: above 0 where B is better."""
    low: float
    high: float
    """Ends of the bootstrap interval of the effect."""
    p: float | None
    """Two-sided, of the permutation by dialogue; None when A and B have different numbers of runs or nothing is labelled."""
    exact: bool
    """Whether p is of all 2^D swaps and not of random ones; False without p."""
    resamples: int
    """As asked for: bootstrap resamples, and the most swaps."""


def dialogue_counts(dialogues: Array, labels: Array, predicted: Array, classes: int) -> npt.NDArray[np.int64]:
    """Confusion counts per run and dialogue.

    Args:
        dialogues: [U] the utterances' dialogues, 0 to D - 1; a number without utterances is a dialogue without labels.
        labels: [U] class indices, -1 = unlabelled (left out).
        predicted: [S, U] class indices per run; may be anything where unlabelled.
        classes: C.

    Returns:
        [S, D, C, C], true classes in rows.

    Raises:
        ValueError: shapes that do not fit, no run, no utterance, numbers out of range or not whole.

    >>> dialogue_counts(np.array([0, 0, 1]), np.array([0, 1, -1]), np.array([[1, 1, 0]]), 2).tolist()
    [[[[0, 1], [0, 1]], [[0, 0], [0, 0]]]]
    """
    if dialogues.ndim != 1 or labels.shape != dialogues.shape or predicted.shape[1:] != dialogues.shape or 0 in predicted.shape:
        shapes = f"{list(dialogues.shape)}, {list(labels.shape)}, {list(predicted.shape)}"
        raise ValueError(f"dialogues and labels must be [U] and predicted [S, U], S and U at least 1, got {shapes}")
    if not all(np.issubdtype(x.dtype, np.integer) for x in (dialogues, labels, predicted)):
        raise ValueError(f"expected whole numbers, got {dialogues.dtype}, {labels.dtype}, {predicted.dtype}")
    known = labels >= 0
    y, z = labels[known].astype(np.int64), predicted[:, known].astype(np.int64)
    if dialogues.min() < 0 or labels.min() < -1 or labels.max() >= classes or (z.size and (z.min() < 0 or z.max() >= classes)):
        found = [(int(x.min()), int(x.max())) for x in (dialogues, labels, predicted)]
        raise ValueError(f"dialogues must be from 0, labels from -1 and predicted from 0 to C - 1 = {classes - 1}, got from and to {found}")
    shape = (len(predicted), int(dialogues.max()) + 1, classes, classes)
    cells = ((np.arange(len(z))[:, None] * shape[1] + dialogues[known]) * classes + y) * classes + z
    return np.bincount(cells.ravel(), minlength=int(np.prod(shape))).reshape(shape).astype(np.int64, copy=False)


def counts_of(dialogues: Any, labels: Any, predicted: Sequence[Any], names: Sequence[str]) -> npt.NDArray[np.int64]:
    """The same from columns of tables of predictions, dialogues sorted by name.

    Args:
        dialogues: [U] names of the utterances' dialogues.
        labels: [U] names of classes; what is none is unlabelled.
        predicted: S columns [U] of names of classes.
        names: of the C classes.

    Returns:
        [S, D, C, C].
    """
    codes = [places_of(pd.Series(column), names) for column in (labels, *predicted)]
    numbers = pd.factorize(pd.Series(dialogues).astype("str"), sort=True)[0].astype(np.int64)
    return dialogue_counts(numbers, codes[0], np.stack(codes[1:]), len(names))


def score(counts: Array, metric: Metric) -> Floats:
    """The numbers of :mod:`dgl_merc.evaluation.metrics`, from confusion counts.

    Args:
        counts: [..., C, C], true classes in rows.
        metric: ``macro_f1`` is over the classes with support, as there.

    Returns:
        [...] percent; NaN where nothing is counted.

    Raises:
        ValueError: counts of another shape, another metric.

    >>> score(np.array([[3, 1], [0, 0]]), "accuracy").item()
    75.0
    """
    if counts.ndim < 2 or counts.shape[-1] != counts.shape[-2]:
        raise ValueError(f"counts must be [..., C, C], got {list(counts.shape)}")
    return _score(_margins(counts), metric)


def estimate(counts: Array, metric: Metric = "weighted_f1", *, resamples: int = 10_000, level: float = 0.95, seed: int = 0) -> Estimate:
    """A model's score with its interval over dialogues and seeds (crossed percentile bootstrap).

    Resamples that draw no labelled utterance have no score and are left out of the quantiles.

    Args:
        counts: [S, D, C, C] as :func:`dialogue_counts` gives them.
        metric: what is scored.
        resamples: how many.
        level: of the interval, between 0 and 1.
        seed: of the resampling; the same seed gives the same interval.

    Raises:
        ValueError: counts of another shape, of runs that differ in their labels; resamples or level out of range.

    >>> estimate(np.array([[[[1, 0], [0, 1]]] * 4]), "accuracy", resamples=9)
    Estimate(mean=100.0, deviation=None, low=100.0, high=100.0, seeds=1, dialogues=4)
    """
    _check(resamples, level, counts)
    margins = _margins(counts.swapaxes(0, 1))
    scores = _score(margins.sum(axis=0), metric)
    (means,) = _bootstrap([margins], metric, resamples, np.random.default_rng(seed))
    deviation = float(scores.std(ddof=1)) if len(scores) > 1 else None
    return Estimate(float(scores.mean()), deviation, *interval(means, level), *counts.shape[:2])


def difference(
    a: Array, b: Array, metric: Metric = "weighted_f1", *, resamples: int = 10_000, level: float = 0.95, seed: int = 0
) -> Difference:
    """Two models on the same dialogues: how much better B is than A, with interval and p-value.

    The i-th run of A is swapped with the i-th of B, all runs of a dialogue together. All 2^D swaps are tried where they are no more than
    ``resamples``. Resamples that draw no labelled utterance are left out of the quantiles.

    Args:
        a: [S, D, C, C] as :func:`dialogue_counts` gives them.
        b: [T, D, C, C], of the same dialogues with the same labels.
        metric: what is scored.
        resamples: how many, and the most swaps.
        level: of the interval, between 0 and 1.
        seed: of resampling and swaps; the same seed gives the same numbers.

    Raises:
        ValueError: counts of other shapes, of models or runs that differ in their labels; resamples or level out of range.
    """
    _check(resamples, level, a, b)
    rng = np.random.default_rng(seed)
    models = [_margins(counts.swapaxes(0, 1)) for counts in (a, b)]
    mean_a, mean_b = (float(_score(margins.sum(axis=0), metric).mean()) for margins in models)
    means_a, means_b = _bootstrap(models, metric, resamples, rng)
    effect, (low, high) = mean_b - mean_a, interval(means_b - means_a, level)
    if len(a) != len(b) or np.isnan(effect):
        return Difference(effect, low, high, None, exact=False, resamples=resamples)
    p, exact = _permutation(models, metric, abs(effect), resamples, rng)
    return Difference(effect, low, high, p, exact, resamples)


def _check(resamples: int, level: float, *models: Array) -> None:
    shapes = " and ".join(str(list(n.shape)) for n in models)
    if any(n.ndim != 4 or 0 in n.shape or n.shape[2] != n.shape[3] or n.shape[1:] != models[0].shape[1:] for n in models):
        raise ValueError(f"counts must be [S, D, C, C] with the same D and C, all at least 1, got {shapes}")
    if not all(np.issubdtype(n.dtype, np.integer) and n.min() >= 0 for n in models):
        raise ValueError(f"counts must be whole numbers from 0, got {[str(n.dtype) for n in models]} of {shapes}")
    if any((n.sum(axis=3) != models[0][:1].sum(axis=3)).any() for n in models):
        raise ValueError(f"all runs must be of the same dialogues with the same labels: the true classes' counts differ in {shapes}")
    if resamples < 1 or not 0 < level < 1:
        raise ValueError(f"expected at least 1 resample and a level between 0 and 1, got {resamples} and {level}")


def _margins(counts: Array) -> Floats:
    """[..., C, C] -> [..., 3, C] right, true and predicted counts: all that a score needs, and as additive as the counts."""
    parts = (np.diagonal(counts, axis1=-2, axis2=-1), counts.sum(axis=-1), counts.sum(axis=-2))
    return np.stack(parts, axis=-2).astype(np.float64)


def _score(margins: Floats, metric: Metric) -> Floats:
    """[..., 3, C] -> [...]."""
    if metric not in get_args(Metric):
        raise ValueError(f"metric must be one of {get_args(Metric)}, got {metric!r}")
    right, true, predicted = (margins[..., k, :] for k in range(3))
    if metric == "accuracy":
        return 100 * _ratio(right.sum(axis=-1), true.sum(axis=-1), np.nan)
    f1 = _ratio(2 * right, true + predicted, 0.0)
    weight = true if metric == "weighted_f1" else (true > 0).astype(np.float64)
    return 100 * _ratio((weight * f1).sum(axis=-1), weight.sum(axis=-1), np.nan)


def _ratio(above: Floats, below: Floats, otherwise: float) -> Floats:
    return np.asarray(np.divide(above, below, out=np.full(np.shape(above), otherwise), where=below > 0))


def drawn(rng: np.random.Generator, rows: int, n: int) -> npt.NDArray[np.int64]:
    """[rows, n] how often each of n things is drawn in n draws."""
    cells = rng.integers(0, n, (rows, n)) + n * np.arange(rows)[:, None]
    return np.bincount(cells.ravel(), minlength=rows * n).reshape(rows, n)


def _chunks(total: int, margins: Floats) -> Iterator[tuple[int, int]]:
    """Start and length of pieces of resamples, so that no intermediate of margins [D, S, 3, C] need exceed _CELLS numbers.

    Nothing but rounding depends on the pieces: every kind of draw has a stream of its own that goes on from piece to piece, and sums of
    whole numbers are exact in float64 in any order.
    """
    step = max(1, _CELLS // max(len(margins), margins[0].size))
    for start in range(0, total, step):
        yield start, min(step, total - start)


def _weighted(weights: npt.NDArray[np.int64], margins: Floats) -> Floats:
    """Weights [R, D] of dialogues and margins [D, S, 3, C] -> [R, S, 3, C]."""
    return (weights.astype(np.float64) @ margins.reshape(len(margins), -1)).reshape(len(weights), *margins.shape[1:])


def _bootstrap(models: Sequence[Floats], metric: Metric, resamples: int, rng: np.random.Generator) -> Floats:
    """Mean scores [M, R] of M models' margins [D, S, 3, C]: the same dialogues for all models, each with its own draw of its runs."""
    of_dialogues, *of_runs = rng.spawn(1 + len(models))
    means = np.empty((len(models), resamples))
    for start, rows in _chunks(resamples, max(models, key=np.size)):
        dialogues = drawn(of_dialogues, rows, len(models[0]))
        for k, margins in enumerate(models):
            scores = _score(_weighted(dialogues, margins), metric)
            means[k, start : start + rows] = np.mean(scores * drawn(of_runs[k], *scores.shape), axis=1)
    return means


def interval(values: Floats, level: float) -> tuple[float, float]:
    """Percentile interval of resampled values [R], those that are NaN left out; NaN where none is left."""
    scored = values[~np.isnan(values)]
    low, high = np.quantile(scored, [(1 - level) / 2, (1 + level) / 2]) if len(scored) else (np.nan, np.nan)
    return float(low), float(high)


def _permutation(models: Sequence[Floats], metric: Metric, observed: float, most: int, rng: np.random.Generator) -> tuple[float, bool]:
    """Two-sided p of two models' margins [D, S, 3, C], and whether it is exact. A swap changes no true count: every effect is a number."""
    (a, b), d = models, len(models[0])
    exact = 2**d <= most
    swaps, hits = 2**d if exact else most, 0
    gap, total_a, total_b = b - a, a.sum(axis=0), b.sum(axis=0)
    for start, rows in _chunks(swaps, a):
        swapped = np.arange(start, start + rows)[:, None] >> np.arange(d) & 1 if exact else rng.integers(0, 2, (rows, d))
        moved = _weighted(swapped, gap)
        effects = np.mean(_score(total_b - moved, metric) - _score(total_a + moved, metric), axis=1)
        # A swap that ties with the observed effect counts, whatever the rounding of either.
        hits += int(np.count_nonzero(np.abs(effects) >= observed - _TIE))
    return (hits / swaps if exact else (1 + hits) / (1 + swaps)), exact
