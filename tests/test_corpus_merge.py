"""Corpora made of corpora: parts merge to the whole, other labels, targets and modalities, and what is lost is counted."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from care_cases import LABELS, assert_whole, clean, clean_features, clean_table, corpora, fifty, in_rows
from hypothesis import given, settings
from hypothesis import strategies as st

from dgl_merc.corpus import Corpus, Target, save_corpus
from dgl_merc.corpus.care import (
    keep_modalities,
    keep_targets,
    map_labels,
    merge,
    parse_map,
    side_by_side,
    take_dialogues,
    zeros_absent,
)
from dgl_merc.errors import InputError


@pytest.fixture(scope="module")
def corpus() -> Corpus:
    return fifty()


# ---- merging


@settings(max_examples=25, deadline=None)
@given(corpora(), st.data())
def test_parts_merge_to_the_whole(made, data):
    if len(made) < 2:
        return
    side = np.array(data.draw(st.lists(st.booleans(), min_size=len(made), max_size=len(made))))
    if side.all() or not side.any():
        side[0] = not side[0]
    parts = [take_dialogues(made, np.flatnonzero(side == s), {}) for s in (False, True)]
    whole = take_dialogues(made, np.concatenate([np.flatnonzero(~side), np.flatnonzero(side)]), {})
    assert assert_whole(merge(parts)).content_sha256 == whole.content_sha256
    assert merge([made, parts[0]]).content_sha256 == made.content_sha256  # equal dialogues are taken once


@pytest.mark.parametrize(("third", "name"), [("A/x", "C"), ("x", "A/A"), ("A", "C")])
def test_a_name_that_others_begin_with_is_no_prefix(third, name):
    """Or two dialogues, or two people, would be one."""
    table = clean_table((1, 0, 0))
    parts = []
    for corpus, dialogue, said in (("A", "x", "one"), ("B", "x", "two"), (name, third, "three")):
        made = clean(table.assign(dialogue_id=dialogue, speaker=dialogue, text=[f"{said} {k}" for k in range(len(table))]))
        parts.append(replace(made, name=corpus))
    found = assert_whole(merge(parts))
    assert len(set(found.dialogue_ids)) == found.utterances["speaker"].nunique() == 3


def test_a_column_is_one_thing(corpus):
    """A target of one that is a further column of another, or that is called as the presence of another's modality."""
    text, audio = (keep_modalities(corpus, [m]) for m in ("text", "audio"))
    target = next(iter(corpus.targets))
    renamed = keep_targets(text, {target: "has_audio"})
    further = replace(text, utterances=text.utterances.assign(mood="grim"))
    for first, second in ((renamed, audio), (audio, renamed), (keep_targets(text, {target: "mood"}), further)):
        with pytest.raises(InputError, match="found another column of this name"):
            merge([first, second])
    with pytest.raises(InputError, match="expected 'has_audio' to be in all what it is in one"):
        side_by_side(renamed, audio)


@settings(max_examples=15, deadline=None)
@given(corpora("a"), corpora("b"))
def test_dialogues_of_both_stand_in_a_merger(first, second):
    found = assert_whole(merge([first, second]))
    assert in_rows(found) == in_rows(first) | in_rows(second)
    assert found.name == "drawna+drawnb"


def test_targets_modalities_and_columns_are_the_union(tmp_path):
    a = clean(
        clean_table((2, 0, 0)).assign(session=1, score=2.5),
        targets={"emotion": Target("classes", LABELS), "score": Target("range", bounds=(0, 5))},
    )
    other = clean_table((0, 2, 0), seed=1).drop(columns="emotion").assign(mood="calm", film="x")
    other.loc[0, "mood"] = None
    visual = {"visual": np.ones((12, 7), dtype=np.float32), "text": clean_features(12)["text"]}
    b = clean(other, visual, targets={"mood": Target("classes", ("calm", "wild"))})
    found = assert_whole(merge([a, b]))
    table = found.utterances
    assert (list(found.targets), list(found.modalities)) == (["emotion", "score", "mood"], ["text", "audio", "visual"])
    assert table["has_visual"].tolist() == [False] * 12 + [True] * 12
    assert table["emotion"].notna().tolist() == table["has_audio"].tolist() == [True] * 12 + [False] * 12
    assert table["mood"].isna().sum() == 13
    assert (table["session"].fillna("-").tolist(), table["film"].fillna("-").tolist()) == (["1"] * 12 + ["-"] * 12, ["-"] * 12 + ["x"] * 12)
    saved = save_corpus(found, tmp_path / "c")
    assert saved.content_sha256 == found.content_sha256
    np.testing.assert_array_equal(saved.features["text"], np.concatenate([a.features["text"], b.features["text"]]))
    assert [part["name"] for part in found.source["parts"]] == ["clean", "clean"]


def test_names_that_clash_begin_with_their_corpus():
    a, b = (clean(clean_table((2, 0, 0), seed=s), clean_features(12, s)) for s in range(2))
    found = assert_whole(merge([a, b]))
    assert found.dialogue_ids == ("clean/train/0", "clean/train/1", "clean-2/train/0", "clean-2/train/1")
    assert found.utterances["speaker"].iloc[[0, 13]].tolist() == ["clean/train/0/A", "clean-2/train/0/B"]
    third = clean(clean_table((0, 2, 0), seed=2), clean_features(12, 2))
    assert merge([a, b, third]).dialogue_ids[-1] == "dev/1"  # clashes with nobody
    silent = [clean(clean_table((1, 0, 0), seed=s).drop(columns="text"), clean_features(6, s)) for s in range(2)]
    assert len(merge(silent)) == 2  # without texts, only what is equal is one


def change(corpus: Corpus, **columns: object) -> Corpus:
    return replace(corpus, utterances=corpus.utterances.assign(**columns).astype(corpus.utterances.dtypes.to_dict()))


@pytest.mark.parametrize(
    ("other", "said"),
    [
        (lambda c: change(c, split="dev"), "expected what clean says of the same dialogue, found another split"),
        (lambda c: change(c, emotion="joy"), "found another emotion"),
        (lambda c: replace(c, features={**c.features, "audio": c.features["audio"] + 1}), "found another audio"),
        (lambda c: keep_modalities(c, ["text"]), "found another audio"),
        (lambda c: keep_targets(c, {"emotion": "mood"}), "found another "),
        (lambda c: map_labels(c, "emotion", {"joy": "fear"}), "emotion: expected the classes joy, anger, fear as in clean, found the classes fear, anger"),
        (lambda c: replace(c, features={**c.features, "audio": np.ones((12, 9))}, modalities={**c.modalities, "audio": replace(c.modalities["audio"], width=9)}), "audio: expected width 4 as in clean, found 9"),
    ],
)  # fmt: skip
def test_mergers_that_can_not_be(other, said):
    made = clean(clean_table((2, 0, 0)))
    with pytest.raises(InputError, match=said):
        merge([made, other(made)])


def test_an_equal_dialogue_is_taken_once(corpus):
    found = merge([corpus, take_dialogues(corpus, np.array([3, 7]), {})])
    assert found.content_sha256 == corpus.content_sha256
    assert "merge: 2 dialogues of clean-2 stand in an earlier corpus already, equal in everything" in found.notes


def test_one_corpus_is_no_merger(corpus):
    with pytest.raises(InputError, match="two or more corpora to merge, found 1"):
        merge([corpus])


@settings(max_examples=25, deadline=None)
@given(corpora())
def test_modalities_side_by_side_are_the_whole(made):
    text, audio = keep_modalities(made, ["text"]), keep_modalities(made, ["audio"])
    order = np.arange(len(made))[::-1]
    assert assert_whole(side_by_side(text, take_dialogues(audio, order, {}))).content_sha256 == made.content_sha256


def test_side_by_side_counts_what_is_not_there(corpus):
    text, audio = keep_modalities(corpus, ["text"]), keep_modalities(corpus, ["audio"])
    part = take_dialogues(audio, np.array([4, 1]), {})
    found = assert_whole(side_by_side(text, part))
    assert found.utterances["has_audio"].sum() == part.utterances["has_audio"].sum()
    np.testing.assert_array_equal(found.dialogue("train/4").features["audio"], corpus.dialogue("train/4").features["audio"])
    assert found.notes[-1] == "audio: absent in 288 of 300 utterances, whose dialogues clean has not"
    extra = side_by_side(take_dialogues(text, np.array([1, 4]), {}), audio)
    assert extra.notes[-1] == "merge: 48 dialogues of clean are not in clean; nothing was taken from them"
    shouted = change(part, text=part.utterances["text"].str.upper() + "  ")
    assert side_by_side(text, shouted).content_sha256 == found.content_sha256


@pytest.mark.parametrize(
    ("other", "said"),
    [
        (lambda c: c, "expected modalities beside text, found 'text'"),
        (lambda c: change(keep_modalities(c, ["audio"]), dialogue_id="other/" + c.utterances["dialogue_id"]), "such as 'train/0', found none"),
        (lambda c: change(keep_modalities(c, ["audio"]), text=[*c.utterances["text"][:-1], "no"]), "dialogue test/9, utterance 5: expected the text"),
        (lambda c: clean(clean_table((1, 0, 0))[:4], {"audio": np.ones((4, 2))}), "dialogue train/0: expected 6 utterances as in clean, found 4"),
    ],
)  # fmt: skip
def test_neighbours_that_do_not_fit(corpus, other, said):
    with pytest.raises(InputError, match=said):
        side_by_side(keep_modalities(corpus, ["text"]), other(corpus))


# ---- other labels, targets, modalities


def test_labels_are_merged_and_dropped(corpus):
    before = corpus.utterances["emotion"].value_counts()
    found = assert_whole(map_labels(corpus, "emotion", {"joy": "good", "anger": None}))
    assert found.targets["emotion"].labels == ("good", "fear")
    felt = found.utterances["emotion"]
    assert (felt.isna() == (corpus.utterances["emotion"] == "anger")).all()
    assert (felt.value_counts()[["good", "fear"]].to_numpy() == before[["joy", "fear"]].to_numpy()).all()
    assert found.notes == (
        f"emotion: {before['joy']} utterances labelled joy are now good (--map)",
        f"emotion: {before['anger']} utterances labelled anger became context (--map)",
    )
    both = map_labels(corpus, "emotion", {"fear": "joy", "joy": "joy", "*": "rest"})
    assert both.targets["emotion"].labels == ("joy", "rest")
    assert (both.utterances["emotion"] == "joy").sum() == before["joy"] + before["fear"]
    assert map_labels(corpus, "emotion", {}).content_sha256 == corpus.content_sha256


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("emotion:happy+excited=happy,fear=", {"emotion": {"happy": "happy", "excited": "happy", "fear": None}}),
        ("e: a b + c = d e ,*=", {"e": {"a b": "d e", "c": "d e", "*": None}}),
        ("e:a=b=c", {"e": {"a": "b=c"}}),
    ],
)
def test_maps_in_words(text, found):
    assert parse_map(text) == found


@pytest.mark.parametrize("text", ["emotion", "emotion:", ":a=b", "emotion:a", "emotion:a=b,", "emotion:a+=b", "emotion:a=b,a=c"])
def test_maps_that_are_none(text):
    with pytest.raises(InputError, match=r"expected TARGET:A\+B=C"):
        parse_map(text)


def test_a_file_of_maps(tmp_path):
    path = tmp_path / "maps.json"
    path.write_text('{"emotion": {"joy": "good", "fear": null, "anger": ""}}')
    assert parse_map(str(path)) == {"emotion": {"joy": "good", "fear": None, "anger": None}}
    for wrong in ('{"emotion": 1}', '{"emotion": {"joy": 2}}', "[]", "{"):
        path.write_text(wrong)
        with pytest.raises(InputError, match=r"maps\.json: expected "):
            parse_map(str(path))


def test_zeros_become_absent():
    features = clean_features(300)
    features["audio"][[3, 5]] = 0
    features["audio"][4] = [0, 0, 0, 1]
    there = np.arange(300) != 1
    found = assert_whole(zeros_absent(clean(clean_table().assign(has_audio=there), features), "audio"))
    expected = there & ~np.isin(np.arange(300), [3, 5])
    assert (found.utterances["has_audio"] == expected).all()
    np.testing.assert_array_equal(np.asarray(found.features["audio"]), features["audio"][expected])
    assert found.notes[-1] == "audio: absent in 2 of 300 utterances, whose vectors were all zero (--zeros-absent)"


def test_targets_are_kept_and_renamed():
    table = clean_table().assign(mood="calm", show="x")
    made = clean(table, targets={"emotion": Target("classes", LABELS), "mood": Target("classes", ("calm", "wild"))})
    found = assert_whole(keep_targets(made, {"mood": "emotion"}))
    assert (list(found.targets), found.targets["emotion"].labels) == (["emotion"], ("calm", "wild"))
    assert set(found.utterances["emotion"]) == {"calm"}
    assert "mood" not in found.utterances
    assert found.notes == ("convert: left out the target emotion", "convert: the target mood is now emotion")
    turned = keep_targets(made, {"mood": "mood", "emotion": "emotion"})
    assert list(turned.targets) == ["mood", "emotion"]
    assert keep_targets(turned, {"emotion": "emotion", "mood": "mood"}).content_sha256 == made.content_sha256


def test_modalities_are_kept_in_order(corpus):
    turned = assert_whole(keep_modalities(corpus, ["audio", "text"]))
    assert list(turned.modalities) == ["audio", "text"]
    assert keep_modalities(turned, ["text", "audio"]).content_sha256 == corpus.content_sha256
    assert keep_modalities(corpus, ["text"]).notes == ("convert: left out audio",)


@pytest.mark.parametrize(
    ("call", "said"),
    [
        (lambda c: keep_modalities(c, []), "different modalities among text, audio, found none"),
        (lambda c: keep_modalities(c, ["smell"]), "found smell"),
        (lambda c: keep_modalities(c, ["text", "text"]), "found text, text"),
        (lambda c: zeros_absent(c, "smell"), "among text, audio, found 'smell'"),
        (lambda c: zeros_absent(replace(c, features={**c.features, "audio": 0 * c.features["audio"]}), "audio"), "expected a vector that is not zero"),
        (lambda c: keep_targets(c, {"mood": "mood"}), "expected a target among emotion, found 'mood'"),
        (lambda c: keep_targets(c, {"emotion": "text"}), "expected a free name for a target, found 'text'"),
        (lambda c: map_labels(c, "mood", {}), r"expected a target of classes \(emotion\), found 'mood'"),
        (lambda c: map_labels(c, "emotion", {"awe": "joy"}), "found 'awe' in the map"),
        (lambda c: map_labels(c, "emotion", {"*": "joy"}), "expected two or more labels left, found joy"),
        (lambda c: map_labels(c, "emotion", {"*": None}), "expected two or more labels left, found none"),
    ],
)  # fmt: skip
def test_changes_that_can_not_be(corpus, call, said):
    with pytest.raises(InputError, match=said):
        call(corpus)


def test_a_recipe_is_kept_where_all_have_it(corpus, tmp_path):
    """Of vectors that were made in two ways nobody can say how to make more."""
    name = next(iter(corpus.modalities))

    def made_by(part: Corpus, recipe: dict[str, str]) -> Corpus:
        return replace(part, modalities={**part.modalities, name: replace(part.modalities[name], recipe=recipe)})

    half = len(corpus) // 2
    parts = [take_dialogues(corpus, np.arange(half), {}), take_dialogues(corpus, np.arange(half, len(corpus)), {})]
    for second, left in (({"model": "a"}, {"model": "a"}), ({"model": "b"}, {}), ({}, {})):
        merged = merge([made_by(parts[0], {"model": "a"}), made_by(parts[1], second)])
        assert save_corpus(merged, tmp_path / "both", force=True).modalities[name].recipe == left
