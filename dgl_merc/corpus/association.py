"""Whether two things go together: counts of label and presence, how much one tells of the other, and whether chance does as much.

    V   = sqrt(chi^2 / (n (min(R, 2) - 1)))                  of counts [R, 2]; Cramer 1946
    V~  = sqrt(max(0, chi^2 / n - (R - 1) (2 - 1) / (n - 1)) / (min(R~, 2~) - 1)),  K~ = K - (K - 1)^2 / (n - 1)
                                                             the same without V's bias; Bergsma, J. Korean Stat. Soc. 42 (2013), eq. 8, 10

n utterances, R labels that occur, K a number of rows or columns. Utterances of a dialogue are not independent: a chi-squared test that
takes them for it finds too much. :func:`presence_and_label` therefore moves and draws whole dialogues.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

__all__ = ["Association", "association", "label_counts", "presence_and_label", "unbiased_v"]

Array = npt.NDArray[Any]
_DRAWS = 999
_WORK = 20_000_000  # utterances over all permutations
_FEWEST = 99


@dataclass(frozen=True)
class Association:
    """What the presence of a modality says of a label.

    Attributes:
        v: V; NaN where there is nothing to compare.
        unbiased: V~.
        low: lower end of a 95 % interval of V~, bootstrapped over dialogues.
        high: its upper end.
        p: of the permutation test.
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

    The test: labels stay where they are; the runs of presence of all dialogues are laid end to end in a random order, turned by a random
    number of utterances, and dealt out again. What is alike within dialogues stays alike. Assumed: without an association every order of
    the dialogues would be as likely. p = (1 + times chance came as far) / (1 + draws), with 999 draws, of large corpora fewer, at least 99.

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
    begins = np.flatnonzero(np.append(True, dialogue[1:] != dialogue[:-1]))
    lengths = np.diff(np.append(begins, len(labels)))
    rng = np.random.default_rng(seed)
    draws = min(_DRAWS, max(_FEWEST, _WORK // len(labels)))
    found = [association_v(label_counts(labels, present[_shuffled(rng, begins, lengths)], classes)) for _ in range(draws)]
    p = (1 + sum(f >= v - 1e-9 for f in found)) / (1 + draws)
    low, high = _interval(rng, labels, present, np.repeat(np.arange(len(begins)), lengths), classes)
    return Association(v, float(unbiased_v(counts)), low, high, p)


def association_v(counts: Array) -> float:
    """V of counts [R, 2] without its test, which takes longer; 0 where there is nothing to compare."""
    n, row, column = counts.sum(), counts.sum(axis=1, keepdims=True), counts.sum(axis=0, keepdims=True)
    expected = row * column / n
    return float(np.sqrt((np.square(counts - expected) / np.where(expected > 0, expected, 1)).sum() / n))


def _shuffled(rng: np.random.Generator, begins: Array, lengths: Array) -> Array:
    """[U] the utterance whose presence each gets."""
    order = rng.permutation(len(begins))
    moved = lengths[order]
    within = np.arange(moved.sum()) - np.repeat(np.cumsum(moved) - moved, moved)
    return np.roll(np.repeat(begins[order], moved) + within, rng.integers(moved.sum()))


def _interval(rng: np.random.Generator, labels: Array, present: Array, dialogue: Array, classes: int) -> tuple[float, float]:
    """Of V~, over dialogues drawn with replacement."""
    total = int(dialogue[-1]) + 1
    place = (dialogue * classes + labels) * 2 + present
    each = np.bincount(place, minlength=total * classes * 2).reshape(total, classes * 2)
    drawn = [np.bincount(rng.integers(total, size=total), minlength=total) @ each for _ in range(_FEWEST + 100)]
    low, high = np.quantile(unbiased_v(np.array(drawn).reshape(-1, classes, 2)), [0.025, 0.975])
    return float(low), float(high)
