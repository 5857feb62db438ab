"""Counts, scores, bootstrap, permutation and Holm against scikit-learn, scipy and plain loops; and what the numbers promise, by simulation."""

from __future__ import annotations

from dataclasses import FrozenInstanceError, astuple
from itertools import product

import numpy as np
import pytest
from count_cases import METRICS, by_scikit_learn, counted, draw
from scipy import stats
from sklearn import metrics as sk

from dgl_merc.evaluation.metrics import evaluate
from dgl_merc.evaluation.statistics import Estimate, dialogue_counts, difference, estimate, score

# ---- counts


@pytest.mark.parametrize("seed", range(3))
def test_counts_are_scikit_learn_s_confusion_of_each_run_and_dialogue(seed):
    talks, labels, predicted = draw(seed, 7, 3, classes=4)
    got = dialogue_counts(talks, labels, predicted, 4)
    assert got.shape == (3, 7, 4, 4)
    assert got.dtype == np.int64
    for s, d in product(range(3), range(7)):
        mine = (talks == d) & (labels >= 0)
        want = sk.confusion_matrix(labels[mine], predicted[s][mine], labels=range(4)) if mine.any() else np.zeros((4, 4))
        assert (got[s, d] == want).all()
    assert (got.sum(axis=(1, 2, 3)) == (labels >= 0).sum()).all()


def test_counts_leave_out_what_has_no_label():
    talks, labels = np.array([0, 2, 2, 3]), np.array([1, 0, -1, -1])
    got = dialogue_counts(talks, labels, np.array([[1, 1, -7, 99]], dtype=np.int32), 2)
    assert got.tolist() == [[[[0, 0], [0, 1]], [[0, 0], [0, 0]], [[0, 1], [0, 0]], [[0, 0], [0, 0]]]]
    assert not dialogue_counts(talks, np.full(4, -1), np.zeros((2, 4), dtype=int), 2).any()


@pytest.mark.parametrize(
    ("talks", "labels", "predicted", "message"),
    [
        (np.zeros(3, int), np.zeros(4, int), np.zeros((1, 3), int), r"\[3\], \[4\], \[1, 3\]"),
        (np.zeros(3, int), np.zeros(3, int), np.zeros(3, int), r"\[3\], \[3\], \[3\]"),
        (np.zeros(3, int), np.zeros(3, int), np.zeros((3, 1), int), r"\[3\], \[3\], \[3, 1\]"),
        (np.zeros((1, 3), int), np.zeros((1, 3), int), np.zeros((1, 1, 3), int), r"\[1, 3\], \[1, 3\], \[1, 1, 3\]"),
        (np.zeros(0, int), np.zeros(0, int), np.zeros((2, 0), int), r"\[0\], \[0\], \[2, 0\]"),
        (np.zeros(3, int), np.zeros(3, int), np.zeros((0, 3), int), r"\[3\], \[3\], \[0, 3\]"),
        (np.zeros(3), np.zeros(3, int), np.zeros((1, 3), int), "whole numbers, got float64, int64, int64"),
        (np.zeros(3, int), np.zeros(3, int), np.zeros((1, 3), bool), "whole numbers, got int64, int64, bool"),
        (np.array([0, -1]), np.zeros(2, int), np.zeros((1, 2), int), r"\[\(-1, 0\), \(0, 0\), \(0, 0\)\]"),
        (np.zeros(2, int), np.array([0, -2]), np.zeros((1, 2), int), r"\(-2, 0\)"),
        (np.zeros(2, int), np.array([0, 5]), np.zeros((1, 2), int), r"C - 1 = 4, got from and to \[\(0, 0\), \(0, 5\)"),
        (np.zeros(2, int), np.zeros(2, int), np.array([[0, 5]]), r"\(0, 5\)"),
        (np.zeros(2, int), np.zeros(2, int), np.array([[0, -1]]), r"\(-1, 0\)"),
    ],
)
def test_counts_of_what_does_not_fit(talks, labels, predicted, message):
    with pytest.raises(ValueError, match=message):
        dialogue_counts(talks, labels, predicted, 5)


# ---- scores


@pytest.mark.parametrize("metric", METRICS)
@pytest.mark.parametrize("seed", range(4))
def test_score_is_scikit_learn_s_and_evaluate_s(seed, metric):
    """Of six classes, 4 is never true and 5 neither true nor predicted."""
    rng = np.random.default_rng(seed)
    labels, predicted = rng.integers(-1, 4, 60), rng.integers(0, 5, (2, 3, 60))
    counts = np.stack([dialogue_counts(np.zeros(60, int), labels, z, 6)[:, 0] for z in predicted])
    got = score(counts, metric)
    assert got.shape == (2, 3)
    for s in product(range(2), range(3)):
        assert got[s] == pytest.approx(by_scikit_learn(labels, predicted[s], metric), rel=1e-12)
        assert got[s] == pytest.approx(evaluate(labels, predicted[s], tuple("abcdef"))[metric], rel=1e-12)


@pytest.mark.parametrize("metric", METRICS)
def test_score_of_nothing_and_of_nothing_right(metric):
    assert np.isnan(score(np.zeros((2, 3, 3), int), metric)).all()
    assert score(np.array([[0, 2], [1, 0]]), metric) == 0
    assert score(np.array([[2, 0], [0, 1]]), metric) == 100


@pytest.mark.parametrize("shape", [(3,), (2, 3), (2, 3, 2)])
def test_score_of_what_is_not_square(shape):
    with pytest.raises(ValueError, match=str(list(shape)).replace("[", r"\[")):
        score(np.zeros(shape, int), "accuracy")


# ---- a score's interval


def test_estimate_is_of_the_sums_over_dialogues_and_the_mean_over_runs():
    talks, labels, predicted = draw(1, 9, 4)
    got = estimate(dialogue_counts(talks, labels, predicted, 3), "macro_f1", resamples=50)
    scores = [by_scikit_learn(labels, z, "macro_f1") for z in predicted]
    assert got.mean == pytest.approx(np.mean(scores))
    assert got.deviation == pytest.approx(np.std(scores, ddof=1))
    assert (got.seeds, got.dialogues) == (4, 9)
    assert estimate(dialogue_counts(talks, labels, predicted[:1], 3), resamples=5).deviation is None
    with pytest.raises(FrozenInstanceError):
        got.mean = 1.0  # type: ignore[misc]


@pytest.mark.parametrize("metric", METRICS)
def test_interval_is_of_the_exact_bootstrap_distribution(metric):
    """D = 4 and S = 2 have 4^4 2^2 resamples, all equally likely: scored one by one from their utterances, without counts."""
    talks, labels, predicted = draw(3, 4, 2, longest=5, right=0.6)
    exact = []
    for drawn in product(range(4), repeat=4):
        rows = np.concatenate([np.flatnonzero(talks == d) for d in drawn])
        if (labels[rows] >= 0).any():
            scores = [by_scikit_learn(labels[rows], z[rows], metric) for z in predicted]
            exact += [np.mean([scores[s] for s in seeds]) for seeds in product(range(2), repeat=2)]
    got = estimate(dialogue_counts(talks, labels, predicted, 3), metric, resamples=40_000, level=0.8)
    # The shares below and up to an end: within five Monte Carlo errors (0.0015) of .1 and .9, ties on either side of it.
    assert len(set(np.round(exact, 9))) > 20, "vacuous otherwise"
    for end, share in ((got.low, 0.1), (got.high, 0.9)):
        assert np.mean(np.array(exact) < end - 1e-9) <= share + 0.0075
        assert np.mean(np.array(exact) <= end + 1e-9) >= share - 0.0075


def test_interval_of_one_run_is_scipy_s():
    rng = np.random.default_rng(5)
    size = rng.integers(3, 20, 40)
    right = rng.binomial(size, rng.beta(4, 2, 40))
    got = estimate(counted(right[None], (size - right)[None]), "accuracy", resamples=20_000, level=0.9)
    want = stats.bootstrap(
        (right, size),
        lambda r, n, axis: 100 * r.sum(axis=axis) / n.sum(axis=axis),
        paired=True,
        vectorized=True,
        n_resamples=20_000,
        confidence_level=0.9,
        method="percentile",
        rng=np.random.default_rng(6),
    )
    # An end's Monte Carlo error is sqrt(.05 .95 / R) / density(z = 1.64) = .015 deviations; of two, five times: .1 deviations.
    noise = 0.1 * want.standard_error
    assert (got.low, got.high) == pytest.approx(tuple(want.confidence_interval), abs=noise)
    assert got.high - got.low > 20 * noise, "the tolerance must be small beside the interval"


def test_crossed_interval_is_a_plain_loop_s():
    talks, labels, predicted = draw(7, 12, 5, right=0.7)
    predicted[0] = 0  # a seed that failed: the draw of seeds matters
    got = estimate(dialogue_counts(talks, labels, predicted, 3), "weighted_f1", resamples=20_000, level=0.8)
    rng = np.random.default_rng(8)
    rows = [np.flatnonzero((talks == d) & (labels >= 0)) for d in range(12)]
    means = []
    for _ in range(2000):
        drawn = np.concatenate([rows[d] for d in rng.integers(0, 12, 12)])
        y, scores = labels[drawn], []
        for s in rng.integers(0, 5, 5):
            z = predicted[s][drawn]
            f1 = {c: 2 * np.sum((y == c) & (z == c)) / (np.sum(y == c) + np.sum(z == c)) for c in np.unique(y)}
            scores.append(100 * np.mean([f1[c] for c in y]))
        means.append(np.mean(scores))
    # An end's error is sqrt(.1 .9 / 2000) / density(z = 1.28) = .04 deviations: four times.
    assert (got.low, got.high) == pytest.approx(tuple(np.quantile(means, [0.1, 0.9])), abs=0.16 * np.std(means))


def test_seeds_are_resampled_where_dialogues_do_not_vary():
    """Every dialogue alike: only the draw of two seeds moves the mean, to 40, 50 or 60 percent with chances 1/4, 1/2, 1/4."""
    counts = counted(np.repeat([[4], [6]], 5, axis=1), np.repeat([[6], [4]], 5, axis=1))
    assert estimate(counts, "accuracy", level=0.6) == Estimate(50.0, pytest.approx(200**0.5), 40.0, 60.0, 2, 5)
    assert astuple(estimate(counts, "accuracy", level=0.4))[2:4] == (50.0, 50.0)


def test_dialogues_are_resampled_whole_and_the_same_for_all_runs():
    """Utterance by utterance, ten dialogues of 50 would give some 50 +- 4 percent; of whole dialogues, all right or all wrong, +- 30."""
    right = np.array([50, 0] * 5)
    one = estimate(counted(right[None], 50 - right[None]), "accuracy")
    assert (one.low, one.high) == (20.0, 80.0)
    opposed = np.stack([right, 50 - right])
    got = estimate(counted(opposed, 50 - opposed), "accuracy", level=0.4)
    assert (got.low, got.high) == (50.0, 50.0), "runs that differ on every dialogue make up for each other in half of the resamples"


def test_resamples_without_labels_are_left_out():
    counts = counted([[3, 0, 0], [1, 0, 0]], [[1, 0, 0], [3, 0, 0]])  # 8 of 27 resamples draw no label
    got = estimate(counts, "accuracy", level=0.9)
    assert got == Estimate(50.0, pytest.approx(1250**0.5), 25.0, 75.0, 2, 3)
    pair = difference(counts, counts[::-1], "accuracy", level=0.9)
    assert np.isfinite(astuple(pair)).all()


def test_nothing_labelled_is_no_number():
    nothing = counted(np.zeros((2, 3)), np.zeros((2, 3)))
    got, pair = estimate(nothing), difference(nothing, nothing)
    assert np.isnan([got.mean, got.deviation, got.low, got.high, pair.effect, pair.low, pair.high]).all()
    assert pair.p is None
    assert not pair.exact
