"""The open format, its checks, the arithmetic on rows, scaling and summary tables, each against plain loops or by hand."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from dgl_merc.corpus import Corpus, Target, open_corpus, save_corpus
from dgl_merc.corpus.summary import label_table
from dgl_merc.errors import InputError
from dgl_merc.files import read_json

EMOTION = Target("classes", ("joy", "anger"))
TARGETS = {"emotion": EMOTION, "sentiment": Target("range", bounds=(-3.0, 3.0))}


def table(**change: object) -> pd.DataFrame:
    """Three dialogues of 3, 2 and 1 utterances, one per split; text everywhere but in row 1, audio in rows 0, 2, 3."""
    columns: dict[str, object] = {
        "dialogue_id": ["d0"] * 3 + ["d1"] * 2 + ["d2"],
        "position": [0, 1, 2, 0, 1, 0],
        "speaker": ["ann", "bob", "ann", "bob", "cy", "ann"],
        "split": ["train"] * 3 + ["dev"] * 2 + ["test"],
        "text": ["hello", "", None, "日本語 😀 ü\0", " two\nlines ", "x"],
        "start": [0.0, 1.5, None, 0.0, 2.0, None],
        "end": [1.0, 2.5, None, 1.0, 3.0, None],
        "emotion": ["joy", None, "anger", "joy", "anger", None],
        "sentiment": [-3.0, 3.0, None, 0.5, None, 1.0],
        "has_text": [True, False, True, True, True, True],
        "has_audio": [True, False, True, True, False, False],
    }
    return pd.DataFrame(columns | change)


def features() -> dict[str, np.ndarray]:
    generator = np.random.default_rng(0)
    return {"text": generator.normal(size=(5, 4)).astype(np.float32), "audio": generator.normal(size=(3, 2)).astype(np.float32)}


def build(**change: object) -> Corpus:
    return Corpus.build(
        "small", table(**change), features(), TARGETS, provenance={"audio": "eGeMAPS"}, source={"a": 1}, notes=("n",), where="w.csv"
    )


def altered(modality: str, value: object) -> dict[str, object]:
    return {**features(), modality: value}


def with_value(modality: str, row: int, column: int, value: float) -> dict[str, object]:
    x = features()[modality]
    x[row, column] = value
    return altered(modality, x)


# --- the open format


def test_round_trip(tmp_path):
    made = build(session=[1, 1, 1, 2, 2, 3], media=["a.mp4", None, "b", "c", "d", "e"])
    saved = save_corpus(made, tmp_path / "c")
    opened = open_corpus(tmp_path / "c", check="full")
    pd.testing.assert_frame_equal(opened.utterances, made.utterances)
    assert list(opened.utterances["session"]) == [1, 1, 1, 2, 2, 3]
    assert (opened.name, opened.source, opened.notes) == ("small", {"a": 1}, ("n",))
    assert (opened.modalities, opened.targets) == (made.modalities, made.targets)
    assert opened.modalities["audio"].provenance == "eGeMAPS"
    for m, x in made.features.items():
        assert isinstance(opened.features[m], np.memmap)
        np.testing.assert_array_equal(opened.features[m], x)
    del opened.__dict__["content_sha256"]  # what it says, and what it is
    assert opened.content_sha256 == made.content_sha256 == saved.content_sha256 == read_json(tmp_path / "c/corpus.json")["content_sha256"]


@pytest.mark.parametrize(
    "change",
    [
        {"start": pd.Series([1, None, 2, 3, 4, 5], dtype=object), "sentiment": pd.Series([1, None, 0, 0, 1, 2], dtype=object)},
        {"dialogue_id": [7, 7, 7, 8, 8, 9], "speaker": [0, 1, 0, 0, 1, 0]},
        {"text": pd.Series([1, "a", None, 2.5, True, ""], dtype=object)},
        {"emotion": pd.Categorical(["joy", None, "anger", None, None, "joy"])},
        {"position": pd.array([0, 1, 2, 0, 1, 0], dtype="Int16"), "has_text": [1, 0, 1, 1, 1, 1]},
        {"text": [None] * 6, "emotion": [None] * 6},
    ],
    ids=["numbers as objects", "numbers as names", "mixed text", "categories", "integers", "nothing"],
)
def test_types_in_memory_are_those_on_disk(tmp_path, change):
    made = build(**change)
    save_corpus(made, tmp_path / "c")
    opened = open_corpus(tmp_path / "c", check="full")  # compares the content's hash
    pd.testing.assert_frame_equal(opened.utterances, made.utterances)
    assert all(isinstance(d, str) for d in opened.dialogue_ids)
    assert len(opened.dialogue(opened.dialogue_ids[1])) == 2
    label_table(opened, "emotion")


def test_the_hash_sees_what_a_model_could_and_nothing_else():
    base = build().content_sha256
    assert build(session=[1] * 6).content_sha256 == base
    other = Corpus.build("other name", table(), features(), TARGETS, notes=("x",))
    assert other.content_sha256 == base
    same = Target("classes", ("anger", "joy"))
    changed = [
        build(text=["hello", None, None, "日本語 😀 ü\0", " two\nlines ", "x"]),  # an empty text is not a missing one
        build(speaker=["ann", "ann", "bob", "bob", "cy", "ann"]),
        build(split=["train"] * 3 + ["test"] * 2 + ["test"]),
        build(emotion=["anger", None, "anger", "joy", "anger", None]),
        build(emotion=[None, "joy", "anger", "joy", "anger", None]),  # the same labels, elsewhere
        build(has_text=[False, True, True, True, True, True]),
        Corpus.build("small", table(), with_value("text", 4, 3, 0.0), TARGETS),
        Corpus.build("small", table(), features(), {**TARGETS, "emotion": same}),
    ]
    assert len({base, *(c.content_sha256 for c in changed)}) == len(changed) + 1


def test_what_is_missing_is_filled_in():
    t = table().drop(columns=["text", "start", "end", "has_text", "has_audio", "emotion", "sentiment"])
    corpus = Corpus.build("bare", t, {"text": np.zeros((6, 1))}, {})
    assert corpus.utterances["has_text"].all()
    assert corpus.utterances[["text", "start", "end"]].isna().all(axis=None)
    assert corpus.features["text"].dtype == np.float32
    assert t.columns.tolist() == ["dialogue_id", "position", "speaker", "split"], "the caller's table was written to"


# --- every fault


FAULTS = {
    "rows": ({}, altered("text", np.zeros((6, 4))), ["w.csv: text: expected 5 rows", "found 6"]),
    "nan": ({}, with_value("text", 1, 2, np.nan), ["dialogue d0, utterance 2: text: expected finite", "found nan in column 2", "1 utterances"]),
    "inf": ({}, with_value("audio", 2, 0, -np.inf), ["dialogue d1, utterance 0: audio", "found -inf in column 0"]),
    "label": ({"emotion": ["joy", "glee", None, "joy", "joy", "joy"]}, None, ["d0, utterance 1: emotion: expected a label among joy, anger", "found 'glee'"]),
    "above": ({"sentiment": [0, 0, 0, 0, 3.25, 0]}, None, ["d1, utterance 1: sentiment: expected a number from -3.0 to 3.0", "found 3.25"]),
    "no number": ({"sentiment": ["0", "0", "x", "0", "0", "0"]}, None, ["d0, utterance 2: sentiment", "found 'x'"]),
    "flat": ({}, altered("text", np.zeros(5)), ["w.csv: text: expected an array [rows, width], found shape [5]"]),
    "no width": ({}, altered("audio", np.zeros((3, 0))), ["audio: expected an array [rows, width], found shape [3, 0]"]),
    "two splits together": ({"split": ["train", "train", "test", "dev", "dev", "test"]}, None, ["d0, utterance 2: expected split train", "found test", "leaks"]),
    "two splits apart": (
        {"dialogue_id": ["d0"] * 3 + ["d1"] * 2 + ["d0"], "position": [0, 1, 2, 0, 1, 3]},
        None,
        ["w.csv: dialogue d0: expected one split, found train and test", "leaks"],
    ),
    "scattered": (
        {"dialogue_id": ["a", "b", "a", "c", "c", "d"], "split": ["train"] * 6, "position": [0, 0, 1, 0, 1, 0]},
        None,
        ["dialogue a: expected its utterances together, found others between"],
    ),
    "hole": ({"position": [0, 1, 3, 0, 1, 0]}, None, ["dialogue d0: expected positions 0, 1, 2", "found 3 as number 2"]),
    "from one": ({"position": [0, 1, 2, 1, 2, 0]}, None, ["dialogue d1: expected positions", "found 1 as number 0"]),
    "no position": ({"position": pd.array([0, 1, None, 0, 1, 0], dtype="Int64")}, None, ["dialogue d0: expected positions", "as number 2"]),
    "no speaker": ({"speaker": ["ann", "", "ann", "bob", "cy", "ann"]}, None, ["d0, utterance 1: expected a speaker, found an empty cell"]),
    "missing speaker": ({"speaker": ["ann", "b", "ann", "bob", None, "ann"]}, None, ["d1, utterance 1: expected a speaker, found an empty cell"]),
    "no dialogue": ({"dialogue_id": ["d0"] * 3 + ["d1"] * 2 + [""]}, None, ["utterance 0: expected a dialogue_id, found an empty cell"]),
    "split": ({"split": ["train"] * 3 + ["dev"] * 2 + ["val"]}, None, ["d2, utterance 0: expected a split among train, dev, test", "found 'val'"]),
    "presence": ({"has_audio": [True, False, 2, True, False, False]}, None, ["d0, utterance 2: has_audio: expected true or false, found 2"]),
    "no presence": ({"has_audio": [True, None, True, True, False, False]}, None, ["d0, utterance 1: has_audio: expected true or false, found None"]),
    "start": ({"start": ["0", "soon", None, 1, 2, 3]}, None, ["d0, utterance 1: start: expected a number of seconds", "found 'soon'"]),
    "surrogate": ({"text": pd.Series(["a", "half \ud83d", "b", "c", "d", "e"], dtype=object)}, None, ["w.csv: expected text that UTF-8 can hold", r"'half \ud83d'"]),
    "foreign name": ({}, {"au-dio": np.zeros((6, 1))}, ["w.csv: a modality is named by a plain word", "found 'au-dio'"]),
    "reserved name": ({}, {"utterance": np.zeros((6, 1))}, ["other than 'utterance', found 'utterance'"]),
}  # fmt: skip


@pytest.mark.parametrize(("change", "x", "said"), FAULTS.values(), ids=FAULTS.keys())
def test_every_fault_has_one_error(change, x, said):
    with pytest.raises(InputError) as caught:
        Corpus.build("small", table(**change), features() if x is None else x, TARGETS, where="w.csv")
    message = str(caught.value)
    assert message.startswith("w.csv: ")
    assert "np." not in message
    for part in said:
        assert part in message


def test_no_rows_no_columns_and_targets_called_like_columns():
    with pytest.raises(InputError, match="expected at least one utterance, found none"):
        Corpus.build("small", table().iloc[:0], features(), TARGETS)
    with pytest.raises(InputError, match="missing: speaker, emotion"):
        Corpus.build("small", table().drop(columns=["speaker", "emotion"]), features(), TARGETS)
    for name in ("text", "position", "has_audio"):
        with pytest.raises(InputError, match=f"target can't be called like a column of the format: {name}"):
            Corpus.build("small", table(), features(), {name: EMOTION})


def test_the_end_of_a_long_array_is_checked_too():
    n = (1 << 16) + 10
    t = pd.DataFrame({"dialogue_id": "d", "position": range(n), "speaker": "s", "split": "train"})
    x = np.zeros((n, 1), dtype=np.float32)
    x[[n - 5, n - 2]] = np.nan
    with pytest.raises(InputError, match=rf"dialogue d, utterance {n - 5}: text: .*\(2 utterances"):
        Corpus.build("long", t, {"text": x}, {})


@pytest.mark.parametrize(
    "make",
    [
        lambda: Target("other"),
        lambda: Target("classes", ("a",)),
        lambda: Target("classes", ("a", "a")),
        lambda: Target("range"),
        lambda: Target("range", bounds=(1.0, 1.0)),
        lambda: Target("range", bounds=(0.0, float("nan"))),
    ],
)
def test_targets_that_make_no_sense(make):
    with pytest.raises(InputError, match="target"):
        make()


def test_bounds_in_whole_numbers_are_the_same_bounds(tmp_path):
    assert Target("range", bounds=(-3, 3)) == Target("range", bounds=(-3.0, 3.0))
    table = pd.DataFrame({"dialogue_id": "d", "position": [0], "speaker": "s", "split": "train", "sentiment": [1.5]})
    corpus = Corpus.build("whole", table, {"text": np.zeros((1, 2))}, {"sentiment": Target("range", bounds=(-3, 3))})
    assert open_corpus(save_corpus(corpus, tmp_path / "c").path, check="full").content_sha256 == corpus.content_sha256
