"""Whether two things go together: counts of label and presence, how much one tells of the other, and whether chance does as much.

    V   = sqrt(chi^2 / (n (min(R, 2) - 1)))                  of counts [R, 2]; Cramer 1946
    V~  = sqrt(max(0, chi^2 / n - (R - 1) (2 - 1) / (n - 1)) / (min(R~, 2~) - 1)),  K~ = K - (K - 1)^2 / (n - 1)
                                                             the same without V's bias; Bergsma, J. Korean Stat. Soc. 42 (2013), eq. 8, 10

n utterances, R labels that occur, K a number of rows or columns. Utterances of a dialogue are not independent: a chi-squared test that
takes them for it finds too much. :func:`presence_and_label` therefore asks whole dialogues.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

__all__ = ["Association", "association", "holm", "label_counts", "presence_and_label", "unbiased_v"]

Array = npt.NDArray[Any]
_DRAWS, _RESAMPLES = 999, 499


@dataclass(frozen=True)
class Association:
    """What the presence of a modality says of a label.

    Attributes:
        v: V; NaN where there is nothing to compare.
        unbiased: V~.
        low: lower end of a 95 % interval of V~, bootstrapped over dialogues.
        high: its upper end.
        p: of the test.
    """

    v: float
    unbiased: float
    low: float
    high: float
    p: float


def label_counts(labels: Array, flag: Array, classes: int) -> Array:
    """[classes, 2] how often each label [U] (0 to classes - 1) stands beside a flag [U] that is false, and true."""
    return np.bincount(labels * 2 + flag, minlength=2 * classes).reshape(-1, 2)


def association(counts: Array) -> tuple[float, float]:
    """Cramer's V of counts [R, 2], and p of the chi-squared test of independence, without continuity correction.

    The test takes what is counted for independent. NaN where a side is empty or there are fewer than two labels.

    >>> association(np.array([[5, 0], [0, 5]]))[0]
    1.0
    """
    from scipy.stats import chi2_contingency

    counts = counts[counts.sum(axis=1) > 0]
    if len(counts) < 2 or (counts.sum(axis=0) == 0).any():
        return float("nan"), float("nan")
    found = chi2_contingency(counts, correction=False)
    return float(np.sqrt(found.statistic / counts.sum())), float(found.pvalue)


def unbiased_v(counts: Array) -> Array:
    """V~ of many tables of counts [..., R, 2] -> [...]; 0 where there is nothing to compare."""
    n = counts.sum(axis=(-2, -1))
    row, column = counts.sum(axis=-1, keepdims=True), counts.sum(axis=-2, keepdims=True)
    expected = row * column / np.maximum(n, 1)[..., None, None]
    chi = (np.square(counts - expected) / np.where(expected > 0, expected, 1)).sum(axis=(-2, -1))
    r, c, rest = (row[..., 0] > 0).sum(axis=-1), (column[..., 0, :] > 0).sum(axis=-1), np.maximum(n - 1, 1)
    phi = np.maximum(0, chi / np.maximum(n, 1) - (r - 1) * (c - 1) / rest)
    narrow = np.minimum(r - np.square(r - 1) / rest, c - np.square(c - 1) / rest) - 1
    return np.asarray(np.where((r > 1) & (c > 1) & (narrow > 0), np.sqrt(np.minimum(phi / np.where(narrow > 0, narrow, 1), 1)), 0.0))


def presence_and_label(labels: Array, present: Array, dialogue: Array, classes: int, seed: int = 0) -> Association:
    """How much presence tells of the label.

    The test, T against T with random signs, 999 draws:

        T = sum_c (sum_d s_dc)^2 / q_c,   s_dc = sum over utterances u of d of (x_u - x) (y_uc - q_c)

    x_u presence and x its mean, y_uc whether u has label c and q_c its share; T is chi^2 but for a factor. Without an association each
    s_d is as likely as -s_d, whatever is alike within a dialogue d. p = (1 + times chance came as far) / 1000. It is the wild bootstrap
    of scores by clusters (Kline and Santos, J. Econometric Methods 1 (2012)); dialogues are taken to be independent, and more than a few.

    Args:
        labels: [U] of labelled utterances, 0 to classes - 1.
        present: [U] whether they have the modality.
        dialogue: [U] which dialogue each belongs to; those of one stand together.
        classes: how many labels there are.
        seed: of the draws.
    """
    counts = label_counts(labels, present, classes)
    v, _ = association(counts)
    if np.isnan(v):
        return Association(v, v, v, v, v)
    number = np.cumsum(np.append(False, dialogue[1:] != dialogue[:-1]))
    each = np.bincount((number * classes + labels) * 2 + present, minlength=(int(number[-1]) + 1) * classes * 2).reshape(-1, classes, 2)
    rng = np.random.default_rng(seed)
    low, high = _interval(rng, each)
    return Association(v, float(unbiased_v(counts)), low, high, _chance(rng, each))


def _chance(rng: np.random.Generator, each: Array) -> float:
    """The p of counts [B, R, 2] by dialogue."""
    total = each.sum(axis=0)
    share, present = total.sum(axis=1) / total.sum(), total[:, 1].sum() / total.sum()
    apart = each[:, :, 1] - present * each.sum(axis=2)
    scores = apart - apart.sum(axis=1, keepdims=True) * share
    weight = np.divide(1.0, share, out=np.zeros_like(share), where=share > 0)
    found = (np.square(scores.sum(axis=0)) * weight).sum()
    signs = (rng.integers(2, size=len(each)) * 2.0 - 1 for _ in range(_DRAWS))
    hits = sum(bool((np.square(sign @ scores) * weight).sum() >= found * (1 - 1e-9)) for sign in signs)
    return (1 + hits) / (1 + _DRAWS)


def _interval(rng: np.random.Generator, each: Array) -> tuple[float, float]:
    """Of V~, over dialogues drawn with replacement. each: [B, R, 2] counts by dialogue."""
    flat, total = each.reshape(len(each), -1), len(each)
    drawn = [np.bincount(rng.integers(total, size=total), minlength=total) @ flat for _ in range(_RESAMPLES)]
    low, high = np.quantile(unbiased_v(np.array(drawn).reshape(-1, *each.shape[1:])), [0.025, 0.975])
    return float(low), float(high)


def holm(p_values: Sequence[float | None]) -> list[float | None]:
    """Holm's step-down adjustment for several tests: the k-th smallest of K p-values, times K - k + 1, never below the one before it.

    In the order received and at most 1. None = not tested: it stays None and does not count. A p-value outside 0 to 1 is a ValueError.

    >>> holm([0.5, None, 0.125])
    [0.5, None, 0.25]
    """
    tested = [(p, i) for i, p in enumerate(p_values) if p is not None]
    if not all(0 <= p <= 1 for p, _ in tested):
        raise ValueError(f"p-values must be from 0 to 1 or None, got {list(p_values)}")
    adjusted: list[float | None] = [None] * len(p_values)
    least = 0.0
    for rank, (p, i) in enumerate(sorted(tested)):
        least = max(least, min(1.0, (len(tested) - rank) * p))
        adjusted[i] = least
    return adjusted
