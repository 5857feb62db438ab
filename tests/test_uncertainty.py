"""What a model says of its own uncertainty: measured against scikit-learn, loops and numbers by hand."""

from __future__ import annotations

import json
import warnings
from typing import Any

import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import roc_auc_score

from dgl_merc.evaluation import uncertainty as module
from dgl_merc.evaluation.statistics import drawn
from dgl_merc.evaluation.uncertainty import evaluate_uncertainty, uncertain_modalities

NAMES = ("joy", "fear")


def table_of(wrong: Any, dialogues: Any = None, confidence: Any = None, **columns: Any) -> pd.DataFrame:
    """Utterances labelled joy, predicted fear where wrong. Without dialogues, each is one of its own."""
    wrong = np.asarray(wrong, dtype=bool)
    dialogues = np.arange(len(wrong)) if dialogues is None else np.asarray(dialogues)
    table = pd.DataFrame({"dialogue_id": [f"d{k}" for k in dialogues], "label": "joy", "predicted": np.where(wrong, "fear", "joy")})
    sure = np.full(len(wrong), 0.75) if confidence is None else np.asarray(confidence, dtype=float)
    table["p_joy"], table["p_fear"] = np.where(wrong, 1 - sure, sure), np.where(wrong, sure, 1 - sure)
    return table.assign(**{name: np.asarray(values, dtype=np.float32) for name, values in columns.items()})


def random_table(seed: int, dialogues: int = 24, ties: bool = False, effect: float = 0.5) -> pd.DataFrame:
    """Dialogues of 1 to 24 utterances, whose sigmas and errors come in runs."""
    rng = np.random.default_rng(seed)
    d = np.repeat(np.arange(dialogues), rng.integers(1, 25, dialogues))
    wrong = rng.random(len(d)) < rng.beta(2, 3, dialogues)[d]
    u = rng.gamma(3, 1, dialogues)[d] + rng.gamma(2, 1, len(d)) + effect * wrong
    u = np.round(u) if ties else u
    return table_of(wrong, d, rng.uniform(0.5, 1, len(d)), sigma_text=u)


def of(table: pd.DataFrame, kind: str = "sigma", modality: str = "text", **options: Any) -> dict[str, Any]:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        found: dict[str, Any] = evaluate_uncertainty(table, NAMES, **options)["uncertainty"][modality][kind]
    return found


def wrong_in(table: pd.DataFrame) -> Any:
    return (table["label"] != table["predicted"]).to_numpy()


# ---- AUROC


@pytest.mark.parametrize("ties", [False, True])
@pytest.mark.parametrize("seed", [0, 1, 2])
def test_auroc_is_scikit_learn_s(seed, ties):
    table = random_table(seed, ties=ties)
    wrong, u = wrong_in(table), table["sigma_text"].to_numpy()
    assert (len(set(u)) < 30) == ties
    got = of(table, resamples=3)
    assert got["auroc"] == pytest.approx(roc_auc_score(wrong, u), abs=1e-12)
    confidence = table[["p_joy", "p_fear"]].max(axis=1)
    assert got["confidence"]["auroc"] == pytest.approx(roc_auc_score(wrong, -confidence), abs=1e-12)
    assert abs(got["auroc"] - got["confidence"]["auroc"]) > 1e-3, "vacuous: one is the other"
    assert (got["utterances"], got["wrong"]) == (len(table), wrong.sum())
    assert got["error"] == pytest.approx(100 * wrong.mean())


def test_auroc_by_hand():
    got = of(table_of([1, 0, 0, 1, 0], sigma_text=[2, 1, 2, 3, 4]))
    assert got["auroc"] == pytest.approx((1 + 0.5 + 0 + 1 + 1 + 0) / 6), "a tie is half"


def test_where_the_modality_is_absent_or_nothing_is_labelled_nothing_counts():
    table = random_table(3)
    whole = of(table)
    absent = random_table(4).assign(sigma_text=np.nan)
    absent.loc[::2, "sigma_text"] = np.inf
    unlabelled = random_table(5).assign(label=None)
    assert of(pd.concat([table, absent.assign(dialogue_id="d0")], ignore_index=True)) == whole, "also the yardstick's"
    assert of(pd.concat([table, unlabelled], ignore_index=True)) == whole
    assert of(pd.concat([unlabelled, table], ignore_index=True).astype({"label": "category"})) == whole


@pytest.mark.parametrize(
    "change",
    [
        lambda t: t.sample(frac=1.0, random_state=1),
        lambda t: t.set_index(np.arange(len(t)) % 3),
        lambda t: t.astype(dict.fromkeys(["dialogue_id", "label", "predicted"], "category")),
        lambda t: t.astype({"label": "string", "predicted": "string", "sigma_text": "float64"}),
        lambda t: t[t.columns[::-1]].assign(split="dev"),
    ],
    ids=["order of rows", "index", "categories", "strings", "columns"],
)
def test_the_shape_of_the_table_does_not_matter(change):
    table = random_table(6)
    got, want = of(change(table)), of(table)
    assert got == want
    assert got["interval"] != of(table, seed=1)["interval"], "the seed is read"


# ---- the interval


def interval_by_loop(u: Any, wrong: Any, dialogues: Any, weights: Any, level: float) -> list[float]:
    """A resample at a time: its utterances are written out, and scored by scikit-learn."""
    found = []
    for w in weights:
        rows = np.repeat(np.arange(len(u)), w[dialogues])
        if 0 < wrong[rows].sum() < len(rows):
            found.append(roc_auc_score(wrong[rows], u[rows]))
    return [float(q) for q in np.quantile(found, [(1 - level) / 2, (1 + level) / 2])]


@pytest.mark.parametrize(("ties", "level", "cells"), [(False, 0.95, 2**22), (True, 0.8, 2**22), (False, 0.95, 2**12)])
def test_the_interval_is_a_plain_loop_s(ties, level, cells, monkeypatch):
    monkeypatch.setattr(module, "_CELLS", cells)
    table = random_table(7, ties=ties)
    names, d = np.unique(table["dialogue_id"], return_inverse=True)
    weights = drawn(np.random.default_rng(5), 200, len(names))
    got = of(table, resamples=200, level=level, seed=5)
    for found, u in ((got, table["sigma_text"]), (got["confidence"], 1 - table[["p_joy", "p_fear"]].max(axis=1))):
        want = interval_by_loop(u.to_numpy(), wrong_in(table), d, weights, level)
        assert found["interval"] == pytest.approx(want, abs=1e-12)
        assert want[0] < found["auroc"] < want[1]


def test_a_resample_without_wrong_answers_is_left_out(monkeypatch):
    monkeypatch.setattr(module, "_LEAST", 1)
    wrong = [1, *[0] * 7]
    got = of(table_of(wrong, sigma_text=[5, *range(1, 8)]), resamples=400)
    assert 0 < got["interval"][0] < got["interval"][1] < 1


@pytest.mark.parametrize("runs", [0.0, 0.6])
def test_where_sigma_says_nothing_the_interval_mostly_holds_a_half(runs):
    rng, claims = np.random.default_rng(1), 0
    for k in range(150):
        d = np.repeat(np.arange(40), rng.integers(5, 16, 40))
        u, z = (runs * rng.normal(size=40)[d] + np.sqrt(1 - runs**2) * rng.normal(size=len(d)) for _ in range(2))
        claims += of(table_of(z < -0.5, d, sigma_text=u), resamples=200, seed=k)["says"] != "nothing"
    assert claims <= 18, "of 150; 7.5 are due at 95 %"
    assert claims > 0, "the interval is too wide"


def test_utterances_are_not_resampled():
    """The same dialogues ten times over: ten times the utterances, and nothing more is known."""
    once = random_table(8, dialogues=40)
    often = pd.concat([once] * 10, ignore_index=True)
    a, b = (np.diff(of(t, resamples=500)["interval"]) for t in (once, often))
    assert a == pytest.approx(b, abs=1e-9)


# ---- what is said


def test_the_three_verdicts():
    rng = np.random.default_rng(2)
    wrong = rng.random(300) < 0.4
    noise = rng.normal(size=300)
    said = {k: of(table_of(wrong, sigma_text=noise + k * wrong)) for k in (-1, 0, 1)}
    assert {k: row["says"] for k, row in said.items()} == {-1: "fewer errors", 0: "nothing", 1: "more errors"}
    assert said[-1]["interval"][1] < 0.5 < said[1]["interval"][0]
    assert said[0]["interval"][0] < 0.5 < said[0]["interval"][1]


@pytest.mark.parametrize(("wrong", "right", "dialogues", "tells"), [
    (10, 10, 20, True), (9, 30, 39, False), (30, 9, 39, False), (30, 30, 9, False), (30, 30, 10, True), (0, 0, 1, False),
])  # fmt: skip
def test_an_interval_needs_ten_of_each_in_ten_dialogues(wrong, right, dialogues, tells):
    flags = np.tile([True, False], 30)[: wrong + right] if wrong == right else np.arange(wrong + right) < wrong
    n = len(flags)
    got = of(table_of(flags, np.arange(n) // 2 % dialogues if dialogues < n else None, sigma_text=np.arange(n)))
    assert [got[k] is not None for k in ("interval", "says")] == [tells, tells]
    assert (got["auroc"] is None) == (n == 0)


def test_wrong_answers_from_few_dialogues_tell_nothing():
    table = table_of([1] * 30 + [0] * 30, [*[0] * 15, *[1] * 15, *range(2, 32)], sigma_text=np.arange(60))
    assert of(table)["says"] is None


# ---- bins and risk


def test_bins_by_hand():
    u = [*range(40, 0, -1), *[100] * 5]
    wrong = [k % 4 == 0 for k in range(40)] + [True] * 5
    got = of(table_of(wrong, sigma_text=u))["bins"]
    assert [b["utterances"] for b in got] == [12, 11, 11, 11], "four of ten at least; floor(4 r / 45)"
    assert got[0] == {"low": 1.0, "high": 12.0, "mean": 6.5, "utterances": 12, "error": 25.0}
    last = [w for w, x in zip(wrong, u, strict=True) if x >= 35]
    assert got[-1] == pytest.approx({"low": 35.0, "high": 100.0, "mean": (sum(range(35, 41)) + 500) / 11, "utterances": 11, "error": 100 * np.mean(last)})  # fmt: skip


def test_there_are_ten_bins_of_equal_count():
    rng = np.random.default_rng(3)
    for n in (100, 107, 1000):
        counts = [b["utterances"] for b in of(table_of(rng.random(n) < 0.5, sigma_text=rng.normal(size=n)), resamples=1)["bins"]]
        assert len(counts) == 10
        assert sum(counts) == n
        assert max(counts) - min(counts) <= 1


def test_equal_sigmas_share_a_bin():
    got = of(table_of([1, 0] * 50, sigma_text=[*[1] * 55, *[2] * 10, *[3] * 35]))["bins"]
    assert [(b["low"], b["high"], b["utterances"]) for b in got] == [(1, 1, 55), (2, 2, 10), (3, 3, 35)]


def aurc_by_draws(u: Any, wrong: Any, draws: int = 4000) -> float:
    rng, total = np.random.default_rng(0), 0.0
    for _ in range(draws):
        order = np.lexsort((rng.random(len(u)), u))
        total += np.mean([wrong[order[:k]].mean() for k in range(1, len(u) + 1)])
    return 100 * total / draws


def test_aurc_by_hand_and_of_ties_over_their_orders():
    got = of(table_of([1, 0, 0, 1], confidence=[0.9, 0.6, 0.7, 0.8], sigma_text=[4, 1, 2, 3]))
    assert got["aurc"] == pytest.approx(100 * (0 + 0 + 1 / 3 + 2 / 4) / 4)
    assert got["confidence"]["aurc"] == pytest.approx(100 * (1 + 1 + 2 / 3 + 2 / 4) / 4), "the surest first"
    wrong, u = np.array([1, 0, 0, 1, 1, 0, 1]), np.array([1, 1, 1, 2, 2, 3, 3])
    assert of(table_of(wrong, sigma_text=u))["aurc"] == pytest.approx(aurc_by_draws(u, wrong), abs=0.5)
    constant = of(table_of(wrong, sigma_text=np.ones(7)))
    assert constant["aurc"] == pytest.approx(constant["error"]), "a random order has the error"


# ---- weights


def test_weights_by_hand():
    table = table_of([1, 0, 0, 1, 0], weight_text=[0.2, 0.4, 0.6, np.nan, 0.8], weight_audio=[np.nan] * 5, sigma_text=range(5))
    table.loc[4, "label"] = None
    assert of(table, "weight") == pytest.approx({"utterances": 3, "all": 0.4, "right": 0.5, "wrong": 0.2})
    assert of(table, "weight", "audio") == {"utterances": 0, "all": None, "right": None, "wrong": None}
    assert of(table, "sigma", "audio") is None, "no such column"


def test_columns_that_are_looked_at():
    table = table_of([1, 0], sigma_text=[1, 2], sigma_=[1, 2], sigmatext=[1, 2], weight_face=[1, 2], entropy=[0, 1], sigma_my_own=[1, 2])
    assert uncertain_modalities(table) == ["text", "face", "my_own"]
    assert of(table, "weight", "text") is None
    assert evaluate_uncertainty(table_of([1, 0], entropy=[0, 1]), NAMES) == {}


# ---- little or nothing to measure


def cases() -> dict[str, pd.DataFrame]:
    n, d = 60, np.arange(60) // 3
    half = np.tile([True, False, False], 20)
    return {
        "all right": table_of(np.zeros(n), d, sigma_text=np.arange(n), weight_text=np.ones(n)),
        "all wrong": table_of(np.ones(n), d, sigma_text=np.arange(n), weight_text=np.ones(n)),
        "constant": table_of(half, d, sigma_text=np.ones(n), weight_text=np.ones(n)),
        "one": table_of([1], sigma_text=[1], weight_text=[1]),
        "absent": table_of(half, d, sigma_text=np.full(n, np.nan), weight_text=np.full(n, np.nan)),
        "unlabelled": table_of(half, d, sigma_text=np.ones(n), weight_text=np.ones(n)).assign(label=None),
        "empty": table_of(half, d, sigma_text=np.ones(n), weight_text=np.ones(n))[:0],
    }


@pytest.mark.parametrize(("case", "auroc", "error"), [
    ("all right", None, 0.0), ("all wrong", None, 100.0), ("constant", 0.5, 100 / 3), ("one", None, 100.0), ("absent", None, None),
    ("unlabelled", None, None), ("empty", None, None),
])  # fmt: skip
def test_degenerate_cases_are_null(case, auroc, error):
    table = cases()[case]
    got = of(table)
    assert (got["auroc"], got["confidence"]["auroc"]) == (auroc, auroc)
    assert got["error"] == (None if error is None else pytest.approx(error))
    assert (got["says"], got["interval"]) == (("nothing", [0.5, 0.5]) if case == "constant" else (None, None))
    assert got["aurc"] == got["error"] if case != "constant" else got["aurc"] == pytest.approx(got["error"])
    assert sum(b["utterances"] for b in got["bins"]) == got["utterances"] == (0 if error is None else len(table))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        whole = evaluate_uncertainty(table, NAMES)
    assert json.loads(json.dumps(whole, allow_nan=False)) == whole


# ---- without probabilities


def test_a_table_without_probabilities_has_no_yardstick():
    table = random_table(9)
    bare = table.drop(columns=["p_joy", "p_fear"])
    assert of(bare) == {**of(table), "confidence": None}
