"""Differences of two models: permutation and bootstrap paired by dialogue, Holm's adjustment, and what the numbers promise."""

from __future__ import annotations

from dataclasses import FrozenInstanceError, astuple
from typing import Any

import numpy as np
import pytest
from count_cases import METRICS, by_scikit_learn, counted, draw, two
from scipy import stats

from dgl_merc.corpus.association import holm
from dgl_merc.evaluation import statistics
from dgl_merc.evaluation.statistics import Difference, dialogue_counts, difference, estimate, score

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
