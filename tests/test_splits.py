"""Who trains, who chooses, who is tested: dialogues stay whole, draws depend on their seed alone, and every fault is named."""

from __future__ import annotations

import re
from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd
import pytest

from dgl_merc.corpus import SPLITS, Corpus
from dgl_merc.corpus.synthetic import synthetic_corpus
from dgl_merc.errors import InputError
from dgl_merc.training.settings import DataSettings
from dgl_merc.training.splits import divide, fold_names

FOLDS = ["Ses01", "Ses02", "Ses03"]


@pytest.fixture(scope="module")
def corpus() -> Corpus:
    """With a session per dialogue, and an episode that changes within dialogues."""
    made = synthetic_corpus(0, (12, 4, 5), with_ceilings=False)
    session = np.array([FOLDS[k % 3] for k in range(len(made))], dtype=object)
    table = made.utterances.assign(session=np.repeat(session, made.lengths), part=made.utterances["position"] // 3)
    return replace(made, utterances=table)


def without(corpus: Corpus, *splits: str) -> Corpus:
    keep = ~corpus.utterances["split"].isin(splits).to_numpy()
    features = {m: x[keep[corpus.presence[:, k]]] for k, (m, x) in enumerate(corpus.features.items())}
    return Corpus.build(corpus.name, corpus.utterances[keep], features, corpus.targets)


def assert_partition(found: Any, corpus: Corpus) -> None:
    """Every dialogue in one split, nothing but the split changed."""
    assert sorted(np.concatenate([found.dialogues()[s] for s in SPLITS])) == list(range(len(corpus)))
    pd.testing.assert_frame_equal(found.corpus.utterances.drop(columns="split"), corpus.utterances.drop(columns="split"))
    assert found.corpus.utterances["split"].dtype == corpus.utterances["split"].dtype
    assert found.corpus.utterances.groupby("dialogue_id")["split"].nunique().max() == 1


def test_given_splits_are_left_alone(corpus):
    found = divide(corpus, "emotion", DataSettings(split_seed=7, dev_fraction=0.5))
    assert found.corpus is corpus
    assert (found.dev, found.fold) == ("given", "")


def test_a_missing_dev_is_drawn_from_training_by_dialogue(corpus):
    lacking = without(corpus, "dev")
    found = divide(lacking, "emotion", DataSettings(dev_fraction=0.25))
    assert_partition(found, lacking)
    assert found.dev == "drawn"
    assert np.array_equal(found.dialogues()["test"], lacking.in_split("test"))
    assert set(found.dialogues()["dev"]) < set(lacking.in_split("train"))
    assert len(found.dialogues()["dev"]) == 3
    again = divide(lacking, "emotion", DataSettings(dev_fraction=0.25))
    assert np.array_equal(found.corpus.splits, again.corpus.splits)
    draws = {tuple(divide(lacking, "emotion", DataSettings(dev_fraction=0.25, split_seed=s)).dialogues()["dev"]) for s in range(6)}
    assert len(draws) > 2, "the seed does nothing"


def test_a_drawn_dev_has_the_labels_of_the_whole():
    big = without(synthetic_corpus(0, (200, 20, 20), with_ceilings=False), "dev")
    found = divide(big, "emotion", DataSettings())
    labels, number = big.labels("emotion"), np.repeat(np.arange(len(big)), big.lengths)
    train = big.in_split("train")

    def distance(dev: Any) -> float:
        shares = []
        for part in (dev, np.setdiff1d(train, dev)):
            mine = np.isin(number, part) & (labels >= 0)
            shares.append(np.bincount(labels[mine], minlength=6) / mine.sum())
        return float(np.abs(shares[0] - shares[1]).sum())

    rng = np.random.default_rng(0)
    blind = [distance(rng.choice(train, 20, replace=False)) for _ in range(200)]
    assert distance(found.dialogues()["dev"]) < np.quantile(blind, 0.02)
    assert len(found.dialogues()["dev"]) == pytest.approx(20, abs=3)


def test_a_drawn_dev_has_a_label_if_any_dialogue_has():
    made = without(synthetic_corpus(2, (9, 2, 2), with_ceilings=False), "dev")
    for only in ([4, 7], [0, 8]):
        few = np.isin(np.repeat(np.arange(len(made)), made.lengths), only)
        rare = replace(
            made, utterances=made.utterances.assign(emotion=made.utterances["emotion"].where(few | (made.utterances["split"] == "test")))
        )
        for seed in range(8):
            found = divide(rare, "emotion", DataSettings(split_seed=seed, dev_fraction=0.12)).dialogues()
            assert len(set(only) & set(found["dev"])) == 1
            assert len(set(only) & set(found["train"])) == 1


def test_leave_one_group_out(corpus):
    settings = DataSettings(fold_by="session")
    assert fold_names(corpus, "emotion", settings) == tuple(FOLDS)
    tests = []
    for k, name in enumerate(FOLDS):
        found = divide(corpus, "emotion", replace(settings, fold=name))
        assert_partition(found, corpus)
        assert (found.dev, found.fold) == ("drawn", name)
        test = found.dialogues()["test"]
        assert test.tolist() == [d for d in range(len(corpus)) if d % 3 == k]
        tests += test.tolist()
    assert sorted(tests) == list(range(len(corpus)))


@pytest.mark.parametrize("by", ["", "session"])
def test_cross_validation(corpus, by):
    settings = DataSettings(folds=3 if by else 5, fold_by=by)
    names = fold_names(corpus, "emotion", settings)
    assert names == tuple(str(k + 1) for k in range(settings.folds))
    parts = [divide(corpus, "emotion", replace(settings, fold=f)) for f in names]
    for part in parts:
        assert_partition(part, corpus)
        assert min(len(part.dialogues()[s]) for s in SPLITS) > 0
        if by:
            assert len({int(d) % 3 for d in part.dialogues()["test"]}) == 1, "a session was torn apart"
    tests = np.concatenate([part.dialogues()["test"] for part in parts])
    assert sorted(tests) == list(range(len(corpus))), "every dialogue is tested once"


def test_folds_depend_on_the_split_seed(corpus):
    draws = {tuple(divide(corpus, "emotion", DataSettings(folds=3, fold="1", split_seed=s)).dialogues()["test"]) for s in range(5)}
    assert len(draws) > 2


def test_what_a_run_says_of_its_splits(corpus):
    said = divide(corpus, "emotion", DataSettings()).to_json("emotion")
    table = corpus.utterances
    for split in SPLITS:
        part = table[table["split"] == split]
        counts = {k: v for k, v in said["splits"][split].items() if k != "sha256"}
        assert counts == {
            "dialogues": part["dialogue_id"].nunique(),
            "utterances": len(part),
            "labelled": int(part["emotion"].notna().sum()),
        }
    assert said["speakers_in_several_splits"] == 0
    everywhere = replace(corpus, utterances=table.assign(speaker="Joey"))
    assert divide(everywhere, "emotion", DataSettings()).to_json("emotion")["speakers_in_several_splits"] == 1


def test_the_hash_of_a_split_is_of_what_is_judged(corpus):
    def test_hash(c: Corpus) -> str:
        return divide(c, "emotion", DataSettings()).to_json("emotion")["splits"]["test"]["sha256"]

    table, before = corpus.utterances, test_hash(corpus)
    row = int(np.flatnonzero((table["split"] == "test") & table["emotion"].notna())[0])
    other = next(e for e in corpus.targets["emotion"].labels if e != table["emotion"].iloc[row])
    for value in (other, None):
        changed = table["emotion"].copy()
        changed.iloc[row] = value
        assert test_hash(replace(corpus, utterances=table.assign(emotion=changed))) != before
    train = table.assign(emotion=table["emotion"].where(table["split"] != "train", other), speaker="x", text="y")
    assert test_hash(replace(corpus, utterances=train)) == before
    unlabelled = table["emotion"].isna() & (table["split"] == "test")
    assert unlabelled.any()
    assert test_hash(without(corpus, "train")) == before, "the same utterances in another corpus are the same test"


FAULTS: dict[str, tuple[dict[str, Any], str]] = {
    "no column": ({"fold_by": "sesion"}, "no column 'sesion' to fold by; there are dialogue_id, position"),
    "within dialogues": (
        {"fold_by": "part"},
        "dialogue .*: expected one part in a dialogue, found 0 and 1: folds are made of whole dialogues",
    ),
    "one value": ({"fold_by": "corpus"}, "expected two or more values of corpus, found 'x' alone"),
    "empty cells": ({"fold_by": "half"}, "dialogue .*, utterance 0: expected a half to fold by, found an empty cell"),
    "empty words": ({"fold_by": "blank"}, "dialogue .*, utterance 0: expected a blank to fold by, found an empty cell"),
    "too many folds": ({"folds": 22}, "expected at least 22 dialogues for 22 folds, found 21"),
    "more folds than groups": ({"folds": 4, "fold_by": "session"}, "expected at least 4 values of session for 4 folds, found 3"),
    "no such fold": ({"folds": 3, "fold": "4"}, r"no fold '4'; there are 1, 2, 3 \(data\.fold\)"),
    "no fold said": ({"fold_by": "session"}, "no fold ''; there are Ses01, Ses02, Ses03"),
}


@pytest.mark.parametrize("name", FAULTS)
def test_faults_of_folds(corpus, name):
    given, said = FAULTS[name]
    half = corpus.utterances["session"].where(corpus.utterances["split"] != "dev")
    c = replace(corpus, utterances=corpus.utterances.assign(corpus="x", half=half, blank=half.fillna("")))
    with pytest.raises(InputError, match=said):
        divide(c, "emotion", DataSettings(**given))


def test_one_training_dialogue_cannot_give_a_dev_split():
    small = without(synthetic_corpus(0, (1, 1, 1), with_ceilings=False), "dev")
    with pytest.raises(InputError, match="expected two or more training dialogues, one of which becomes dev, found 1"):
        divide(small, "emotion", DataSettings())


def test_two_training_dialogues_can():
    small = without(synthetic_corpus(0, (2, 1, 1), with_ceilings=False), "dev")
    found = divide(small, "emotion", DataSettings()).dialogues()
    assert [len(found[s]) for s in SPLITS] == [1, 1, 1]


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"dev_fraction": 0.0}, "dev_fraction must be from 0.001 to 0.5"),
        ({"dev_fraction": 0.6}, "dev_fraction must be from 0.001 to 0.5"),
        ({"folds": 1}, "folds must be at least 2"),
        ({"folds": -1}, "folds must be at least 2"),
        ({"fold": "3"}, "neither folds nor fold_by says"),
        ({"split_seed": -1}, "split_seed must be from 0"),
    ],
)
def test_settings_out_of_bounds(given, said):
    with pytest.raises(ValueError, match=re.escape(said)):
        DataSettings(**given)
