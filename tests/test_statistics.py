"""Counts, scores, bootstrap, permutation and Holm against scikit-learn, scipy and plain loops; and what the numbers promise, by simulation."""

from __future__ import annotations

from dataclasses import FrozenInstanceError, astuple
from itertools import product
from typing import Any

import numpy as np
import pytest
from scipy import stats
from sklearn import metrics as sk

from dgl_merc.evaluation import statistics
from dgl_merc.evaluation.metrics import evaluate
from dgl_merc.evaluation.statistics import Difference, Estimate, dialogue_counts, difference, estimate, holm, score

METRICS = ("weighted_f1", "macro_f1", "accuracy")


def by_scikit_learn(labels: Any, predicted: Any, metric: str) -> float:
    """The score of labelled utterances as a person would ask scikit-learn for it."""
    known = labels >= 0
    y, z = labels[known], predicted[known]
    if metric == "accuracy":
        return 100 * sk.accuracy_score(y, z)
    average = {"weighted_f1": "weighted", "macro_f1": "macro"}[metric]
    return 100 * sk.f1_score(y, z, labels=np.unique(y), average=average, zero_division=0)


def draw(seed: int, dialogues: int, runs: int, *, classes: int = 3, longest: int = 6, right: float = 0.5) -> tuple[Any, Any, Any]:
    """Dialogues of 1 to ``longest`` utterances in mixed order, some without label, and ``runs`` runs' predictions."""
    rng = np.random.default_rng(seed)
    talks = rng.permutation(np.repeat(np.arange(dialogues), rng.integers(1, longest + 1, dialogues)))
    labels = rng.integers(0, classes, len(talks))
    predicted = np.where(rng.random((runs, len(talks))) < right, labels, rng.integers(0, classes, (runs, len(talks))))
    return talks, np.where(rng.random(len(talks)) < 0.1, -1, labels), predicted


def two(seed: int, dialogues: int, runs: int, **options: Any) -> tuple[Any, Any, Any, Any]:
    """One corpus with the predictions of two models."""
    talks, labels, predicted = draw(seed, dialogues, 2 * runs, **options)
    return talks, labels, predicted[:runs], predicted[runs:]


def counted(right: Any, wrong: Any) -> Any:
    """[S, D] right and wrong -> [S, D, 2, 2] counts of true class 0, so that accuracy is what matters."""
    counts = np.zeros((*np.shape(right), 2, 2), dtype=np.int64)
    counts[..., 0, 0], counts[..., 0, 1] = right, wrong
    return counts


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


# ---- a difference


@pytest.mark.parametrize("metric", METRICS)
@pytest.mark.parametrize("runs", [1, 2])
def test_exact_p_is_scipy_s(metric, runs):
    """scipy swaps two samples of dialogue numbers, and the statistic scores the utterances they stand for."""
    talks, labels, a, b = two(11 + runs, 7, runs)
    rows = [np.flatnonzero(talks == d) for d in range(7)]
    a[:, rows[2]] = b[:, rows[2]]  # a dialogue on which they agree, and ties that come of it

    def statistic(x: Any, y: Any) -> float:
        means = []
        for chosen in (x, y):  # entries 0 to 6: A's dialogues; 7 to 13: B's
            runs_of = [np.where([chosen[t] >= 7 for t in talks], b[s], a[s]) for s in range(runs)]
            means.append(np.mean([by_scikit_learn(labels, z, metric) for z in runs_of]))
        return means[1] - means[0]

    want = stats.permutation_test(
        (np.arange(7), np.arange(7, 14)), statistic, permutation_type="samples", n_resamples=np.inf, alternative="two-sided"
    )
    got = difference(*(dialogue_counts(talks, labels, z, 3) for z in (a, b)), metric, resamples=128)
    assert got.exact
    assert got.effect == pytest.approx(want.statistic)
    assert got.p == pytest.approx(want.pvalue, abs=1e-12)
    assert 0.02 < got.p < 1, "vacuous otherwise"


def test_exact_p_by_hand():
    """Four dialogues of one right utterance of B's each: only all swapped or none is as far, 2 of 16."""
    a, b = counted([[0, 0, 0, 0]], [[1, 1, 1, 1]]), counted([[1, 1, 1, 1]], [[0, 0, 0, 0]])
    got = difference(a, b, "accuracy", resamples=16)
    assert got == Difference(100.0, 100.0, 100.0, 2 / 16, exact=True, resamples=16)
    assert not difference(a, b, "accuracy", resamples=15).exact


def test_random_p_is_near_the_exact_one():
    talks, labels, a, b = two(17, 12, 3)
    counts = [dialogue_counts(talks, labels, z, 3) for z in (a, b)]
    exact, by_chance = difference(*counts, resamples=4096), difference(*counts, resamples=4095)
    assert (exact.exact, by_chance.exact) == (True, False)
    assert 0.05 < exact.p < 0.95
    assert by_chance.p == pytest.approx(exact.p, abs=5 * np.sqrt(exact.p * (1 - exact.p) / 4095))
    assert by_chance.p * 4096 == pytest.approx(round(by_chance.p * 4096), abs=1e-9), "(1 + hits) / (1 + n)"


def test_random_p_is_never_0():
    right = np.full((1, 60), 5)
    got = difference(counted(0 * right, right), counted(right, 0 * right), "accuracy", resamples=99)
    assert (got.p, got.exact, got.low) == (0.01, False, 100.0)


@pytest.mark.parametrize("metric", METRICS)
@pytest.mark.parametrize("dialogues", [6, 60])
def test_models_that_predict_alike_do_not_differ(metric, dialogues):
    counts = dialogue_counts(*draw(2, dialogues, 1), 3)
    got = difference(counts, counts, metric, resamples=500)
    assert astuple(got)[:4] == (0.0, 0.0, 0.0, 1.0)


def test_ties_count_whatever_the_rounding():
    """Where one dialogue alone differs, every swap gives the same effect but for its sign: p is 1 in whatever order F1 is summed."""
    for seed in range(40):
        talks, labels, a, b = two(seed, 8, 3, classes=7, longest=9)
        b = np.where(talks == talks[0], b, a)
        got = difference(*(dialogue_counts(talks, labels, z, 7) for z in (a, b)), resamples=256)
        assert got.p == 1.0


@pytest.mark.parametrize("dialogues", [8, 40])
def test_antisymmetry(dialogues):
    talks, labels, a, b = two(23, dialogues, 1)
    a, b = (dialogue_counts(talks, labels, z, 3) for z in (a, b))
    there, back = difference(a, b, resamples=2000), difference(b, a, resamples=2000)
    assert there.effect != 0
    assert astuple(back) == pytest.approx((-there.effect, -there.high, -there.low, *astuple(there)[3:]), rel=1e-9)


def test_effect_is_the_difference_of_the_estimates_whatever_the_runs():
    talks, labels, predicted = draw(29, 20, 5)
    a, b = (dialogue_counts(talks, labels, z, 3) for z in (predicted[:2], predicted[2:]))
    got = difference(a, b, resamples=400)
    assert got.effect == pytest.approx(estimate(b, resamples=1).mean - estimate(a, resamples=1).mean)
    assert (got.p, got.exact) == (None, False)
    assert got.low < got.effect < got.high
    assert difference(a, b[:2], resamples=400).p is not None
    with pytest.raises(FrozenInstanceError):
        got.p = 0.01  # type: ignore[misc]


def test_a_planted_difference_is_found():
    talks, labels, good = draw(31, 80, 3, right=0.75)
    poor = np.where(np.random.default_rng(32).random(good.shape) < 0.25, (labels + 1) % 3, good)
    got = difference(*(dialogue_counts(talks, labels, z, 3) for z in (poor, good)), resamples=2000)
    assert got.p == 1 / 2001
    assert 5 < got.low < got.effect < got.high < 40


def test_interval_of_a_difference_pairs_the_dialogues():
    """Dialogues vary by some 30 percent, and B is right once more on each: a draw of its own for each model would give +- 13."""
    right = np.random.default_rng(33).integers(0, 10, (1, 40))
    got = difference(counted(right, 10 - right), counted(right + 1, 9 - right), "accuracy")
    assert (got.effect, got.low, got.high) == pytest.approx((10.0, 10.0, 10.0))


def test_interval_of_a_difference_draws_each_model_s_seeds_alone():
    """Runs of 40 and 60 percent in A, of 30 and 70 in B: drawn apart, the extremes -30 and 30 have chances of 1/16, drawn alike none."""
    a, b = (counted(np.repeat(x, 5, axis=1), 10 - np.repeat(x, 5, axis=1)) for x in ([[4], [6]], [[3], [7]]))
    got = difference(a, b, "accuracy", level=0.9)
    assert (got.effect, got.low, got.high) == pytest.approx((0.0, -30.0, 30.0))
    got = difference(a, b, "accuracy", level=0.8)
    assert (got.low, got.high) == pytest.approx((-20.0, 20.0))


def test_one_swap_moves_all_runs_of_a_dialogue():
    """Run by run, ten coins would make the observed effect rare; dialogue by dialogue there are two, and half of the swaps go as far."""
    a, b = counted(np.zeros((5, 2)), np.full((5, 2), 3)), counted(np.full((5, 2), 3), np.zeros((5, 2)))
    assert difference(a, b, "accuracy").p == 0.5


# ---- of both


@pytest.mark.parametrize("cells", [1, 100, 997, 10_000])
def test_numbers_do_not_depend_on_the_pieces(monkeypatch, cells):
    talks, labels, a, b = two(37, 30, 3)
    a, b = (dialogue_counts(talks, labels, z, 3) for z in (a, b))
    runs = [
        lambda: estimate(a, resamples=301),
        lambda: difference(a, b, resamples=301),
        lambda: difference(a[:, :8], a[::-1, :8], resamples=301),
        lambda: difference(a[:, :8], b[:, :8], resamples=301),
    ]
    whole = [astuple(run()) for run in runs]
    monkeypatch.setattr(statistics, "_CELLS", cells)
    for run, want in zip(runs, whole, strict=True):
        assert astuple(run()) == pytest.approx(want, rel=1e-12)


def test_the_seed_decides():
    talks, labels, a, b = two(41, 30, 2)
    a, b = (dialogue_counts(talks, labels, z, 3) for z in (a, b))
    assert estimate(a, resamples=99) == estimate(a, resamples=99, seed=0)
    assert difference(a, b, resamples=99) == difference(a, b, resamples=99, seed=0)
    assert estimate(a, resamples=99).low != estimate(a, resamples=99, seed=1).low
    assert difference(a, b, resamples=99).low != difference(a, b, resamples=99, seed=1).low


def test_counts_are_not_written_to():
    counts = dialogue_counts(*draw(43, 6, 2), 3)
    before = counts.copy()
    counts.flags.writeable = False
    estimate(counts, resamples=9)
    difference(counts, counts, resamples=9)
    assert (counts == before).all()


def test_what_does_not_fit():
    good = dialogue_counts(*draw(47, 6, 2), 3)
    for bad in (good[0], good[:0], good[:, :0], good[..., :2], good[..., :0, :0]):
        shape = str(list(bad.shape)).replace("[", r"\[")
        with pytest.raises(ValueError, match=shape):
            estimate(bad)
        with pytest.raises(ValueError, match=shape):
            difference(good, bad)
    for bad in (good[:, :5], good[..., :2, :2]):
        with pytest.raises(ValueError, match=r"\[2, 6, 3, 3\] and \[2, "):
            difference(good, bad)
    for bad in (good.astype(float), -good):
        with pytest.raises(ValueError, match="whole numbers"):
            estimate(bad)
        with pytest.raises(ValueError, match="whole numbers"):
            difference(good, bad)
    with pytest.raises(ValueError, match="same dialogues with the same labels"):
        difference(good, good[:, ::-1])
    with pytest.raises(ValueError, match="same dialogues with the same labels"):
        estimate(np.concatenate([good, good[:, ::-1]]))
    for options in ({"resamples": 0}, {"level": 0.0}, {"level": 1.0}, {"level": 95}, {"metric": "f1"}):
        with pytest.raises(ValueError, match=str(next(iter(options.values())))):
            estimate(good, **options)
        with pytest.raises(ValueError, match=str(next(iter(options.values())))):
            difference(good, good, **options)
    with pytest.raises(ValueError, match="'f1'"):
        score(good, "f1")


# ---- what the numbers promise


def worlds(rng: np.random.Generator, runs: int, dialogues: int) -> tuple[Any, Any]:
    """[S, D] right answers of two models of equal worth on dialogues of 8, which vary in difficulty, for runs that vary in luck."""
    difficulty = rng.normal(0.6, 0.8, dialogues)
    luck = rng.normal(0, 0.25 if runs > 1 else 0, (2, runs, 1))
    taste = rng.normal(0, 0.5, (2, 1, dialogues))  # a model's own on a dialogue: utterances are not independent
    right = rng.binomial(8, 1 / (1 + np.exp(-(difficulty + luck + taste))))
    return right[0], right[1]


def test_p_is_small_no_more_often_than_it_says():
    rng = np.random.default_rng(51)
    p = []
    for k in range(600):
        a, b = worlds(rng, 1, 12)
        p.append(difference(counted(a, 8 - a), counted(b, 8 - b), resamples=200, seed=k).p)
    for share in (0.05, 0.2, 0.5):
        got = np.mean(np.array(p) <= share)
        noise = np.sqrt(share * (1 - share) / len(p))
        assert share - 5 * noise < got < share + 3 * noise


def test_intervals_cover():
    """Of one run, where dialogues alone vary; of several, where runs do too. Percentile intervals of 30 dialogues are a little narrow."""
    rng = np.random.default_rng(53)
    truth = 100 * np.mean(1 / (1 + np.exp(-rng.normal(0.6, np.hypot(0.8, 0.5), 400_000))))
    covered, zero = [], []
    for k in range(400):
        a, b = worlds(rng, 1, 30)
        got = estimate(counted(a, 8 - a), "accuracy", resamples=300, level=0.9, seed=k)
        covered.append(got.low <= truth <= got.high)
        a, b = worlds(rng, 8, 30)
        pair = difference(counted(a, 8 - a), counted(b, 8 - b), "accuracy", resamples=300, level=0.9, seed=k)
        zero.append(pair.low <= 0 <= pair.high)
    for hits in (covered, zero):
        assert 0.84 < np.mean(hits) < 0.95


# ---- several tests


def test_holm_by_hand():
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert holm([0.04, None, 0.01, None]) == [0.04, None, 0.02, None]
    assert holm([0.9, 0.8]) == [1.0, 1.0]
    assert holm([]) == []
    assert holm([None]) == [None]


@pytest.mark.parametrize("seed", range(5))
def test_holm_rejects_what_its_steps_reject(seed):
    """The procedure as it is defined: from the smallest on, until one exceeds its level."""
    p = np.random.default_rng(seed).random(8) ** 4
    p[3] = p[5]
    adjusted = holm(p.tolist())
    assert holm(p[::-1].tolist()) == adjusted[::-1]
    for level in (0.01, 0.05, 0.2, *(x for x in adjusted if x < 1)):
        rejected = set()
        for k, i in enumerate(np.argsort(p)):
            if p[i] * (8 - k) > level:
                break
            rejected.add(i)
        assert {i for i in range(8) if adjusted[i] <= level} == rejected
    assert all(x <= y <= min(1, 8 * x) for x, y in zip(p, adjusted, strict=True))


@pytest.mark.parametrize("bad", [-0.1, 1.1, float("nan")])
def test_holm_of_what_is_no_p_value(bad):
    with pytest.raises(ValueError, match=str(bad)):
        holm([0.5, None, bad])
