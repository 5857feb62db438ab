"""Where a model is right and where not: against a loop over utterances, by hand."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd
import pytest

from dgl_merc.errors import InputError
from dgl_merc.evaluation.breakdown import evaluate_predictions
from dgl_merc.evaluation.metrics import evaluate
from dgl_merc.evaluation.statistics import dialogue_counts, estimate

NAMES = ("joy", "fear", "calm", "(others: 4)")
KINDS = ("shift", "speakers", "positions")


def conversations(seed: int, speakers: int = 14, dialogues: int = 25, unlabelled: float = 0.3) -> pd.DataFrame:
    """Predictions of random conversations: frequent and rare speakers, who meet again in other dialogues."""
    rng = np.random.default_rng(seed)
    weight = 1.0 / np.arange(1, speakers + 1)
    rows = []
    for d in range(dialogues):
        for position in range(int(rng.integers(1, 45))):
            speaker = f"S{rng.choice(speakers, p=weight / weight.sum())}"
            label = None if rng.random() < unlabelled else NAMES[rng.choice(4, p=[0.5, 0.3, 0.15, 0.05])]
            scores = rng.normal(0, 1.5, 4) + 2 * np.array([n == label for n in NAMES])
            p = (np.exp(scores) / np.exp(scores).sum()).astype(np.float32)
            rows.append((f"d{d}", position, speaker, label, NAMES[p.argmax()], *p))
    table = pd.DataFrame(rows, columns=["dialogue_id", "position", "speaker", "label", "predicted", *(f"p_{n}" for n in NAMES)])
    return table.astype({f"p_{n}": np.float32 for n in NAMES})


def spoken(*turns: tuple[str, int, str, str | None, str]) -> pd.DataFrame:
    """Dialogue, position, speaker, label and prediction, which has all probability."""
    table = pd.DataFrame(turns, columns=["dialogue_id", "position", "speaker", "label", "predicted"])
    return table.assign(**{f"p_{n}": (table["predicted"] == n).astype(np.float32) for n in NAMES})


def sure(confidence: Any, right: Any, dtype: type = np.float32) -> pd.DataFrame:
    """One dialogue, in which all is predicted joy with these probabilities."""
    table = spoken(*(("d", k, "A", "joy" if r else "fear", "joy") for k, r in enumerate(right)))
    return table.assign(**{f"p_{n}": np.zeros(len(table), dtype) for n in NAMES[1:]}, p_joy=np.asarray(confidence, dtype))


# ---- against the definition


def measured(pairs: list[tuple[str, str]]) -> dict[str, Any]:
    """Accuracy and weighted F1 of (label, prediction) pairs, counted."""
    if not pairs:
        return {"utterances": 0, "accuracy": None, "weighted_f1": None}
    total = 0.0
    for name in NAMES:
        hits = sum(y == z == name for y, z in pairs)
        support, chosen = sum(y == name for y, _ in pairs), sum(z == name for _, z in pairs)
        total += support * (2 * hits / (support + chosen) if support + chosen else 0.0)
    right = sum(y == z for y, z in pairs)
    return {"utterances": len(pairs), "accuracy": 100 * right / len(pairs), "weighted_f1": 100 * total / len(pairs)}


def turn_of(number: int) -> str:
    for low, high in ((1, 1), (2, 2), (3, 4), (5, 8), (9, 16), (17, 32)):
        if low <= number <= high:
            return str(low) if low == high else f"{low}-{high}"
    return "33+"


def by_loop(table: pd.DataFrame) -> dict[str, Any]:
    """The definition, utterance by utterance, for rows in the order of the dialogues."""
    last: dict[tuple[str, str], str] = {}
    groups: dict[str, dict[str, list[tuple[str, str]]]] = {k: {} for k in KINDS}
    groups["shift"] = {"no shift": [], "shift": [], "first turn": []}
    for row in table.to_dict("records"):
        if pd.isna(row["label"]):
            continue
        pair, who = (row["label"], row["predicted"]), (row["dialogue_id"], row["speaker"])
        kind = "first turn" if who not in last else "no shift" if last[who] == row["label"] else "shift"
        last[who] = row["label"]
        groups["shift"][kind].append(pair)
        groups["speakers"].setdefault(row["speaker"], []).append(pair)
        groups["positions"].setdefault(turn_of(row["position"] + 1), []).append(pair)
    ranked = sorted(groups["speakers"], key=lambda s: (-len(groups["speakers"][s]), s))
    speakers = {s: groups["speakers"][s] for s in ranked[:10]}
    if ranked[10:]:
        speakers[f"(others: {len(ranked) - 10})"] = [pair for s in ranked[10:] for pair in groups["speakers"][s]]
    groups["speakers"] = speakers
    return {kind: {name: measured(pairs) for name, pairs in group.items()} for kind, group in groups.items()}


def calibration_by_loop(table: pd.DataFrame) -> dict[str, Any]:
    inside: list[list[tuple[float, bool]]] = [[] for _ in range(15)]
    for row in table.to_dict("records"):
        if not pd.isna(row["label"]):
            p = max(row[f"p_{n}"] for n in NAMES)
            k = next(k for k in range(15) if p <= (k + 1) / 15)  # random numbers: none within a rounding of an edge
            inside[k].append((float(p), row["label"] == row["predicted"]))
    n, ece, bins = sum(map(len, inside)), 0.0, []
    for k, found in enumerate(inside):
        low, high = 100 * k / 15, 100 * (k + 1) / 15
        if not found:
            bins.append((low, high, 0, None, None))
            continue
        confidence, accuracy = (100 * sum(pair[i] for pair in found) / len(found) for i in (0, 1))
        ece += len(found) / n * abs(accuracy - confidence)
        bins.append((low, high, len(found), confidence, accuracy))
    return {"ece": ece, "bins": bins}


@pytest.mark.parametrize(("seed", "speakers"), [(0, 14), (1, 14), (2, 11), (3, 10), (4, 1)])
def test_all_groups_are_those_of_the_definition(seed, speakers):
    table = conversations(seed, speakers)
    got, want = evaluate_predictions(table, NAMES), by_loop(table)
    for kind in KINDS:
        assert set(got[kind]) == set(want[kind]), kind
        for name, group in want[kind].items():
            assert got[kind][name] == pytest.approx(group, rel=1e-12), (kind, name)
    assert list(got["speakers"]) == list(want["speakers"]), "most utterances first"
    assert list(got["positions"]) == ["1", "2", "3-4", "5-8", "9-16", "17-32", "33+"]
    want_calibration = calibration_by_loop(table)
    assert got["calibration"]["ece"] == pytest.approx(want_calibration["ece"], rel=1e-9)
    for found, wanted in zip(got["calibration"]["bins"], want_calibration["bins"], strict=True):
        assert list(found) == ["low", "high", "utterances", "confidence", "accuracy"]
        assert [v is None for v in found.values()] == [v is None for v in wanted]
        assert [v or 0 for v in found.values()] == pytest.approx([v or 0 for v in wanted], rel=1e-9)
    labelled = int(table["label"].notna().sum())
    assert min(row["utterances"] for row in got["shift"].values()) > 0, "vacuous: a kind of utterance is missing"
    for kind in KINDS:
        assert sum(row["utterances"] for row in got[kind].values()) == labelled == got["utterances"]
    assert sum(row["utterances"] for row in got["calibration"]["bins"]) == labelled


def test_the_whole_is_what_evaluate_says():
    table = conversations(5)
    codes = [table[c].map({n: k for k, n in enumerate(NAMES)}).fillna(-1).to_numpy(dtype=np.int64) for c in ("label", "predicted")]
    got, whole = evaluate_predictions(table, list(NAMES)), evaluate(*codes, NAMES)
    assert {key: got[key] for key in whole} == whole
    assert set(got) == {*whole, *KINDS, "calibration", "weighted_f1_interval"}


def test_the_interval_is_over_the_labelled_dialogues():
    table = conversations(5)
    table.loc[table["dialogue_id"].isin(["d3", "d7"]), "label"] = None
    known = table[table["label"].notna()]
    dialogues = pd.factorize(known["dialogue_id"], sort=True)[0]
    labels, predicted = (known[c].map({n: k for k, n in enumerate(NAMES)}).to_numpy() for c in ("label", "predicted"))
    want = estimate(dialogue_counts(dialogues, labels, predicted[None], 4))
    assert want.dialogues == 23
    assert evaluate_predictions(table, NAMES)["weighted_f1_interval"] == [want.low, want.high]


def test_it_is_plain_json():
    got = evaluate_predictions(conversations(6), NAMES)
    assert json.loads(json.dumps(got, allow_nan=False)) == got


@pytest.mark.parametrize(
    "change",
    [
        lambda t: t.sample(frac=1.0, random_state=1),
        lambda t: t.set_index(np.arange(len(t)) % 3 + 70),
        lambda t: t.astype(dict.fromkeys(["dialogue_id", "speaker", "label", "predicted"], "category")),
        lambda t: t.assign(label=t["label"].astype("string")),
        lambda t: t[t.columns[::-1]].assign(split="test"),
    ],
    ids=["order of rows", "index", "categories", "strings", "columns"],
)
def test_the_shape_of_the_table_does_not_matter(change: Callable[[pd.DataFrame], pd.DataFrame]):
    table = conversations(7)
    changed = change(table)
    before = changed.copy(deep=True)
    got, want = evaluate_predictions(changed, NAMES), evaluate_predictions(table, NAMES)
    pd.testing.assert_frame_equal(changed, before)
    assert got.pop("calibration")["ece"] == pytest.approx(want.pop("calibration")["ece"], rel=1e-9), "sums in another order"
    assert got == want
    assert list(got["speakers"]) == list(want["speakers"])


# ---- by hand


def test_shifts_by_hand():
    got = evaluate_predictions(
        spoken(
            ("d1", 0, "A", "joy", "joy"),  # first
            ("d1", 1, "B", "fear", "joy"),  # first: A's joy is another's
            ("d1", 2, "A", None, "fear"),
            ("d1", 3, "A", "joy", "fear"),  # none: the turn between is unlabelled
            ("d1", 4, "A", "fear", "fear"),  # shift
            ("d1", 5, "B", "fear", "fear"),  # none, whatever A said
            ("d1", 6, "C", None, "joy"),
            ("d1", 7, "C", "calm", "calm"),  # first: C's earlier turn is unlabelled
            ("d1", 8, "A", "joy", "joy"),  # shift, back to what was before
            ("d2", 0, "A", "joy", "calm"),  # first: another dialogue, in which the name is the same
        ),
        NAMES,
    )
    assert {kind: (row["utterances"], row["accuracy"]) for kind, row in got["shift"].items()} == {
        "no shift": (2, 50.0),
        "shift": (2, 100.0),
        "first turn": (4, 50.0),
    }
    assert got["shift"]["no shift"]["weighted_f1"] == pytest.approx(100 * (0 + 2 * 1 * 0.5 / 1.5) / 2)
    assert {name: row["utterances"] for name, row in got["speakers"].items()} == {"A": 5, "B": 2, "C": 1}


def test_a_kind_of_utterance_without_any_has_no_measures():
    got = evaluate_predictions(spoken(("d", 0, "A", "joy", "joy"), ("e", 0, "A", "fear", "joy")), NAMES)
    nothing = {"utterances": 0, "accuracy": None, "weighted_f1": None}
    assert got["shift"]["shift"] == got["shift"]["no shift"] == nothing
    assert got["shift"]["first turn"]["utterances"] == 2


def test_positions_by_hand():
    long = [("d", k, "A", "joy", "joy" if k < 8 else "fear") for k in range(40)]
    got = evaluate_predictions(spoken(*long), NAMES)["positions"]
    assert {name: row["utterances"] for name, row in got.items()} == {
        "1": 1, "2": 1, "3-4": 2, "5-8": 4, "9-16": 8, "17-32": 16, "33+": 8,
    }  # fmt: skip
    assert [row["accuracy"] for row in got.values()] == [100.0] * 4 + [0.0] * 3
    short = spoken(("d", 0, "A", "joy", "joy"), ("d", 1, "A", None, "joy"), ("d", 2, "A", "joy", "joy"))
    assert list(evaluate_predictions(short, NAMES)["positions"]) == ["1", "3-4"], "the unlabelled turn is counted, not measured"


def test_speakers_by_hand():
    count = {"M": 3, "K": 2, "L": 2, **dict.fromkeys("ABCDEFG", 1)}
    turns = [("d", s, "joy" if s in "MZ" else "fear") for s, n in count.items() for _ in range(n)]

    def measured_with(*more: tuple[str, str, str]) -> dict[str, Any]:
        both = [(d, k, s, y, "joy") for k, (d, s, y) in enumerate([*more, *turns])]
        return evaluate_predictions(spoken(*both), NAMES)["speakers"]

    assert list(measured_with()) == list("MKLABCDEFG"), "ties by name, and nobody left"
    got = measured_with(("e", "Z", "joy"), ("e", "Y", "fear"))
    assert list(got) == [*"MKLABCDEFG", "(others: 2)"]
    assert got["(others: 2)"]["accuracy"] == 50.0
    got = measured_with(("e", "H", "fear"), ("e", "H", "fear"), ("e", "M", "joy"))
    assert list(got) == [*"MHKLABCDEF", "(others: 1)"]
    assert got["M"]["utterances"] == 4, "the same name in two dialogues is one speaker"
    got = measured_with(*[("e", "(others: 1)", "joy")] * 4)
    assert list(got) == ["(others: 1)", *"MKLABCDEF", "((others: 1))"], "somebody of this name is not the rest"
    assert [got[name]["utterances"] for name in ("(others: 1)", "((others: 1))")] == [4, 1]


def test_speakers_are_ranked_by_labelled_utterances():
    talks = [("d", k, "A", None, "joy") for k in range(5)]
    got = evaluate_predictions(spoken(*talks, ("d", 5, "A", "joy", "joy"), ("d", 6, "B", "joy", "joy"), ("d", 7, "B", "joy", "joy")), NAMES)
    assert list(got["speakers"]) == ["B", "A"]
    assert [row["utterances"] for row in got["speakers"].values()] == [2, 1]


# ---- calibration


def test_calibration_by_hand():
    got = evaluate_predictions(sure([0.9, 0.5, 0.92, 0.88], [True, True, False, True], np.float64), NAMES)["calibration"]
    assert got["ece"] == pytest.approx(100 * (3 / 4 * (0.9 - 2 / 3) + 1 / 4 * (1 - 0.5))), "bins weigh what they hold"
    assert {k: row["utterances"] for k, row in enumerate(got["bins"]) if row["utterances"]} == {7: 1, 13: 3}
    assert got["bins"][13] == pytest.approx(
        {"low": 100 * 13 / 15, "high": 100 * 14 / 15, "utterances": 3, "confidence": 90.0, "accuracy": 100 * 2 / 3}
    )
    assert got["bins"][0] == {"low": 0.0, "high": pytest.approx(100 / 15), "utterances": 0, "confidence": None, "accuracy": None}


def test_calibration_is_of_the_greatest_probability_of_labelled_utterances():
    table = sure([0.4, 0.4, 0.9], [True, True, True]).assign(p_fear=np.float32([0.1, 0.6, 0.1]))
    table.loc[2, "label"] = None
    bins = evaluate_predictions(table, NAMES)["calibration"]["bins"]
    assert {k: row["utterances"] for k, row in enumerate(bins) if row["utterances"]} == {5: 1, 8: 1}


def test_sure_and_right_is_perfectly_calibrated_and_sure_and_wrong_is_not():
    right = evaluate_predictions(sure(np.ones(7), [True] * 7), NAMES)["calibration"]
    assert (right["ece"], right["bins"][14]["utterances"]) == (0.0, 7)
    assert evaluate_predictions(sure(np.ones(7), [False] * 7), NAMES)["calibration"]["ece"] == 100.0
    assert evaluate_predictions(sure([0.75] * 4, [True, True, True, False]), NAMES)["calibration"]["ece"] == 0.0


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_an_edge_belongs_to_the_bin_below_it(dtype):
    edges = np.array([k / 15 for k in range(16)], dtype)

    def counts(confidence: Any) -> list[int]:
        bins = evaluate_predictions(sure(confidence, [True] * len(confidence), dtype), NAMES)["calibration"]["bins"]
        return [row["utterances"] for row in bins]

    assert counts(edges) == [2, *[1] * 14], "nothing at all is in the first bin"
    assert counts(np.nextafter(edges[:-1], dtype(1))) == [1] * 15
    assert counts(np.nextafter(edges[1:], dtype(0))) == [1] * 15
    assert counts([dtype(1 + 1e-6)]) == [*[0] * 14, 1], "one, as softmax may round it"


# ---- little or nothing to measure


def test_nothing_labelled():
    table = conversations(8, dialogues=3).assign(label=None)
    nothing = {"weighted_f1_interval": None, "shift": {}, "speakers": {}, "positions": {}, "calibration": {"ece": None, "bins": []}}
    assert evaluate_predictions(table, NAMES) == {**evaluate(np.array([-1]), np.array([0]), NAMES), **nothing}
    assert evaluate_predictions(table[:0], NAMES) == evaluate_predictions(table, NAMES)


def test_one_class():
    got = evaluate_predictions(spoken(*(("d", k, "A", "joy", "joy") for k in range(3))), NAMES)
    assert got["shift"]["no shift"] == {"utterances": 2, "accuracy": 100.0, "weighted_f1": 100.0}
    assert (got["shift"]["shift"]["utterances"], got["shift"]["first turn"]["utterances"]) == (0, 1)


@pytest.mark.parametrize(
    ("column", "value", "message"),
    [
        ("label", "rage", r"dialogue d1, utterance 0: expected in label one of joy, fear, calm, .*, found rage"),
        ("predicted", "rage", r"dialogue d1, utterance 0: expected in predicted one of joy, fear"),
        ("predicted", None, r"dialogue d1, utterance 0: expected in predicted one of joy, fear"),
        ("p_calm", np.nan, r"dialogue d1, utterance 0: expected probabilities, found \[1.0, 0.0, nan, 0.0\]"),
        ("p_calm", -0.25, r"expected probabilities, found .*-0.25"),
        ("p_calm", 1.25, r"expected probabilities, found .*1.25"),
    ],
)
def test_what_cannot_be_measured_is_named(column, value, message):
    table = spoken(("d0", 1, "A", "joy", "joy"), ("d1", 0, "A", "joy", "joy"))
    table.loc[1, column] = value
    with pytest.raises(InputError, match=message):
        evaluate_predictions(table, NAMES)
