"""New splits and samples: partitions, nested, the same whatever the order, and what can't be is named."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from care_cases import LABELS, TURNS, assert_whole, clean, clean_table, corpora, fifty, in_rows
from hypothesis import given, settings
from hypothesis import strategies as st

from dgl_merc.corpus import SPLITS, Corpus, Target
from dgl_merc.corpus.care import (
    sample,
    split_by_column,
    split_by_draw,
    take_dialogues,
)
from dgl_merc.corpus.care.select import drawn_order
from dgl_merc.errors import InputError


@pytest.fixture(scope="module")
def corpus() -> Corpus:
    return fifty()


# ---- some dialogues


@settings(max_examples=25, deadline=None)
@given(corpora(), st.data())
def test_dialogues_taken_keep_what_is_theirs(made, data):
    chosen = data.draw(st.lists(st.integers(0, len(made) - 1), min_size=1, unique=True))
    part = assert_whole(take_dialogues(made, np.array(chosen), {}))
    assert part.dialogue_ids == tuple(made.dialogue_ids[d] for d in chosen)
    whole = in_rows(made)
    assert in_rows(part) == {key: whole[key] for key in in_rows(part)}


def test_samples_are_nested_whatever_the_order(corpus):
    small, large = sample(corpus, dialogues=3, seed=5), sample(corpus, dialogues=7, seed=5)
    assert set(small.dialogue_ids) < set(large.dialogue_ids)
    assert {s: int((small.splits == s).sum()) for s in SPLITS} == dict.fromkeys(SPLITS, 3)
    turned = take_dialogues(corpus, np.arange(len(corpus))[::-1], {})
    assert set(sample(turned, dialogues=3, seed=5).dialogue_ids) == set(small.dialogue_ids)
    assert set(sample(corpus, dialogues=3, seed=6).dialogue_ids) != set(small.dialogue_ids)
    assert list(small.dialogue_ids) == [d for d in corpus.dialogue_ids if d in small.dialogue_ids]
    assert assert_whole(small).notes[-1] == "sample: 3 of 30 train, 3 of 10 dev, 3 of 10 test dialogues, drawn with seed 5"
    assert small.source["steps"][-1]["of"] == corpus.content_sha256


def test_the_order_of_names_does_not_hang_on_the_others():
    names = [f"d{k}" for k in range(30)]
    order = [names[k] for k in drawn_order(names, 7)]
    assert sorted(order) == sorted(names) != order
    some = names[3:17:2]
    assert [some[k] for k in drawn_order(some, 7)] == [name for name in order if name in some]


def test_fractions_are_rounded_up_and_splits_chosen(corpus):
    part = sample(corpus, fraction=0.11, splits=("dev", "train"))
    assert {s: int((part.splits == s).sum()) for s in SPLITS} == {"train": 4, "dev": 2, "test": 0}
    assert sample(corpus, fraction=1).content_sha256 == corpus.content_sha256
    assert len(sample(corpus, fraction=0.1)) == 5  # .1 of 30 is 3, though 30 x .1 is a little more
    assert len(sample(corpus, dialogues=99)) == len(corpus)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({}, "expected a number of dialogues or a fraction"),
        ({"dialogues": 1, "fraction": 0.5}, "and not both"),
        ({"dialogues": 0}, "at least one dialogue"),
        ({"fraction": 1.5}, "a fraction above 0 and up to 1"),
    ],
)
def test_samples_that_can_not_be(corpus, options, said):
    with pytest.raises(InputError, match=said):
        sample(corpus, **options)


def test_a_split_that_is_not_there(corpus):
    train = sample(corpus, fraction=1, splits=("train",))
    with pytest.raises(InputError, match="expected dialogues in dev, found dialogues only in train"):
        sample(train, dialogues=1, splits=("dev",))


@pytest.mark.parametrize("told", [5, "sample", {"command": "x"}, [3, {"command": "sample"}]])
def test_steps_that_another_tool_wrote(corpus, told):
    made = sample(replace(corpus, source={"steps": told}), dialogues=1)
    assert [step["command"] for step in made.source["steps"]] == ["sample"] * (2 if isinstance(told, list) else 1)


def test_ceilings_do_not_survive(corpus):
    embedded = replace(corpus, source={"kind": "synthetic", "ceilings": {"text": 1}})
    assert "ceilings" not in sample(embedded, dialogues=1).source


# ---- splits


@settings(max_examples=25, deadline=None)
@given(corpora(), st.integers(0, 5), st.sampled_from([0.2, 0.4]), st.sampled_from([0.2, "keep"]))
def test_a_split_is_a_partition(made, seed, dev, test):
    try:
        found = split_by_draw(made, dev=dev, test=test, seed=seed)
    except InputError as error:
        assert "expected at least" in str(error) or "too few for these shares" in str(error)  # noqa: PT017
        return
    pd.testing.assert_frame_equal(found.utterances.drop(columns="split"), made.utterances.drop(columns="split"))
    assert assert_whole(found).features is made.features
    if test == "keep":
        assert ((found.splits == "test") == (made.splits == "test")).all()


def test_a_draw_hangs_on_names_and_seed_alone(corpus):
    found = split_by_draw(corpus, dev=0.2, test=0.3, seed=1)
    of = dict(zip(found.dialogue_ids, found.splits, strict=True))
    order = np.random.default_rng(0).permutation(len(corpus))
    turned = split_by_draw(take_dialogues(corpus, order, {}), dev=0.2, test=0.3, seed=1)
    assert dict(zip(turned.dialogue_ids, turned.splits, strict=True)) == of
    assert list(split_by_draw(corpus, dev=0.2, test=0.3, seed=2).splits) != list(found.splits)


def test_labels_are_spread(corpus):
    """Labels that run in dialogues and long dialogues among short ones: the shares are those of all within two dialogues' worth."""
    rng = np.random.default_rng(0)
    lengths = rng.integers(1, 20, 200)
    number = np.repeat(np.arange(200), lengths)
    felt = rng.choice(LABELS, 200, p=[0.7, 0.2, 0.1])
    table = pd.DataFrame(
        {
            "dialogue_id": number.astype(str),
            "position": np.concatenate([np.arange(n) for n in lengths]),
            "speaker": "x",
            "split": "train",
            "emotion": felt[number],
        }
    )
    made = Corpus.build("runs", table, {"text": np.zeros((len(table), 1))}, {"emotion": Target("classes", LABELS)})
    for seed in range(3):
        found = split_by_draw(made, dev=0.1, test=0.2, seed=seed)
        counts = pd.crosstab(found.utterances["split"], found.utterances["emotion"])
        for split, share in (("train", 0.7), ("dev", 0.1), ("test", 0.2)):
            np.testing.assert_allclose(counts.loc[split], share * counts.sum(), atol=2 * lengths.mean())
            assert abs((found.splits == split).mean() - share) < 0.02
            assert abs(found.lengths[found.splits == split].mean() - lengths.mean()) < 1.2
    assert found.notes[-1].startswith("split drawn with seed 2: train 70.")


SHARES = (0.65, 0.05, 0.3)


def cost(counts: np.ndarray, splits: np.ndarray) -> float:
    """As the module defines it, for SHARES. counts: [G, C]; splits: [G]."""
    total = 0.0
    for s, share in enumerate(SHARES):
        have, want = counts[splits == s].sum(axis=0), share * counts.sum(axis=0)
        total += float(np.square(have - want)[want > 0] @ (1 / want[want > 0]))
    return total


def test_no_dialogue_would_be_better_elsewhere():
    """The end of the draw, held to the cost that the module states: every single move makes it dearer."""
    rng = np.random.default_rng(5)
    lengths = rng.integers(1, 9, 50)
    table = clean_table((50, 0, 0))[: lengths.sum()].reset_index(drop=True)
    number = np.repeat(np.arange(50), lengths)
    table = table.assign(dialogue_id=number.astype(str), position=np.concatenate([np.arange(n) for n in lengths]))
    table.loc[3, "emotion"] = None
    felt = table["emotion"].fillna("-")
    quarter = np.digitize(lengths, np.quantile(lengths, [0.25, 0.5, 0.75]), right=True)
    columns = [np.bincount(number[felt == label], minlength=50) for label in ("-", *LABELS)]
    columns += [(quarter == q) * lengths.mean() for q in range(4)]
    counts = np.stack(columns, axis=1).astype(float)
    for seed in range(8):
        found = split_by_draw(clean(table), dev=0.05, test=0.3, seed=seed)
        of = np.array([SPLITS.index(s) for s in found.splits])
        least = cost(counts, of)
        for g in range(50):
            for s in range(3):
                assert cost(counts, np.where(np.arange(50) == g, s, of)) >= least - 1e-6


def test_test_is_kept_and_dev_drawn_from_the_rest(corpus):
    found = split_by_draw(corpus, dev=0.25)
    assert [d for d, s in zip(found.dialogue_ids, found.splits, strict=True) if s == "test"] == [f"test/{k}" for k in range(10)]
    assert int((found.splits == "dev").sum()) == 10
    without = split_by_draw(corpus, dev=0, test=0.2)
    assert set(without.splits) == {"train", "test"}


def test_no_speaker_in_two_splits():
    table = clean_table()
    number = np.repeat(np.arange(50), TURNS)
    table["speaker"] = np.where(table["position"] == 0, "g" + pd.Series(number // 5).astype(str), "h" + pd.Series(number // 10).astype(str))
    found = split_by_draw(clean(table), dev=0.2, test=0.2, group="speaker")  # joined through h, ten dialogues at a time
    splits = [set(found.splits[k : k + 10]) for k in range(0, 50, 10)]
    assert [len(s) for s in splits] == [1] * 5
    assert sorted(next(iter(s)) for s in splits) == ["dev", "test", "train", "train", "train"]
    with pytest.raises(InputError, match="expected at least 3 groups of dialogues that share no text for train, dev, test, found 1"):
        split_by_draw(clean(table.assign(text="yes")), dev=0.2, test=0.2, group="text")


def test_empty_cells_join_nobody():
    table = clean_table().assign(show=None)
    assert set(split_by_draw(clean(table), dev=0.2, test=0.2, group="show").splits) == set(SPLITS)


def test_splits_by_a_column(corpus):
    found = assert_whole(split_by_column(corpus, "session", dev=["Ses1"], test=["Ses2"]))
    session = found.utterances["session"]
    assert (found.utterances["split"] == session.map({"Ses0": "train", "Ses1": "dev", "Ses2": "test"})).all()
    assert found.source["steps"][-1] == {
        "command": "split",
        "by": "session",
        "dev": ["Ses1"],
        "test": ["Ses2"],
        "of": corpus.content_sha256,
    }


def test_splits_by_a_column_leave_test_alone(corpus):
    split = corpus.utterances["split"]
    found = split_by_column(corpus, "session", dev=["Ses1"])
    ours = found.utterances["session"] == "Ses1"
    was = split == "test"
    assert (was & ours).any(), "vacuous: nothing of the dev asked for is in test"
    assert (found.utterances["split"] == np.select([was, ours], ["test", "dev"], "train")).all()
    assert found.source["steps"][-1]["test"] == "keep"
    assert "by session, test as it was: " in found.notes[-1]
    all_test = split_by_column(corpus, "session", test=["Ses2"])
    with pytest.raises(InputError, match="session: expected each value once and among Ses0, Ses1, outside of test, found 'Ses2'"):
        split_by_column(all_test, "session", dev=["Ses2"], test="keep")


@pytest.mark.parametrize(
    ("call", "said"),
    [
        (lambda c: split_by_column(c, "season", dev=["1"]), "found 'season', none among dialogue_id, speaker"),
        (lambda c: split_by_column(c, "text", dev=["1"]), "dialogue train/0, utterance 1: expected one text for the whole dialogue"),
        (lambda c: split_by_column(c, "session", dev=["Ses9"]), "among Ses0, Ses1, Ses2, found 'Ses9'"),
        (lambda c: split_by_column(c, "session", dev=["Ses1"], test=["Ses1"]), "expected each value once"),
        (lambda c: split_by_column(c, "session"), "expected values for dev or test"),
        (lambda c: split_by_column(c, "session", dev=["Ses0", "Ses1"], test=["Ses2"]), "and others for train"),
        (lambda c: split_by_draw(c, dev=0.5, test=0.5), "leave some for train, found dev 0.5 and test 0.5"),
        (lambda c: split_by_draw(c, dev=0), "found dev 0 and test keep"),
        (lambda c: split_by_draw(c, dev=0.001), "found too few for these shares"),
        (lambda c: split_by_draw(c, group="season"), "found 'season', none among dialogue_id, position"),
        (lambda c: split_by_draw(c, target="mood"), "expected a target among emotion, found 'mood'"),
    ],
)
def test_splits_that_can_not_be(corpus, call, said):
    with pytest.raises(InputError, match=said):
        call(corpus)


def test_a_cell_without_a_value_is_no_value(corpus):
    holes = replace(corpus, utterances=corpus.utterances.assign(session=corpus.utterances["session"].where(np.arange(300) > 0)))
    with pytest.raises(InputError, match="dialogue train/0, utterance 0: expected one session for the whole dialogue, found nan"):
        split_by_column(holes, "session", dev=["Ses1"])
