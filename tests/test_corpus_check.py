"""What spoils an experiment: every rule finds what was planted, with its number and place, and nothing in what is clean."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pandas as pd
import pytest
from care_cases import LABELS, TURNS, clean, clean_features, clean_table

from dgl_merc.corpus import Corpus, Target
from dgl_merc.corpus.care import SEVERITIES, Finding, check
from dgl_merc.corpus.readers.meld import read_meld
from dgl_merc.corpus.synthetic import synthetic_corpus

TRAIN = 30 * TURNS


def found(corpus: Corpus) -> dict[str, Finding]:
    """Rule -> its only finding."""
    findings = check(corpus)
    assert [f.severity for f in findings] == sorted((f.severity for f in findings), key=SEVERITIES.index)
    assert len({f.rule for f in findings}) == len(findings), findings
    return {f.rule: f for f in findings}


def only(corpus: Corpus, rule: str) -> Finding:
    """What was planted, and nothing else."""
    told = found(corpus)
    assert set(told) == {rule}, told
    assert told[rule].said
    assert told[rule].advice
    return told[rule]


def with_cells(**cells: dict[int, object]) -> pd.DataFrame:
    table = clean_table()
    for column, values in cells.items():
        for row, value in values.items():
            table.loc[row, column] = value
    return table


def with_features(change: Callable[[np.ndarray], None], modality: str = "audio") -> dict[str, np.ndarray]:
    features = clean_features(len(clean_table()))
    change(features[modality])
    return features


@pytest.mark.parametrize("seed", range(3))
def test_nothing_is_found_in_what_is_clean(seed):
    table = clean_table(seed=seed)
    assert check(clean(table, clean_features(len(table), seed))) == []


@pytest.mark.parametrize("sizes", [(8, 3, 4), (200, 30, 60)])
def test_nothing_is_found_in_the_embedded_corpus(sizes):
    assert check(synthetic_corpus(0, sizes, with_ceilings=False)) == []


# ---- what stands in two places


def test_a_dialogue_in_two_splits():
    table = clean_table()
    table.loc[TRAIN : TRAIN + TURNS - 1, "text"] = (table["text"][:TURNS].str.upper() + " !").to_numpy()  # train/0 is dev/0, too
    one = only(clean(table), "duplicate-dialogues")
    assert (one.severity, one.count, one.places) == ("leak", 2, (("train/0", 0), ("dev/0", 0)))


def test_a_dialogue_twice_in_a_split():
    table = clean_table()
    table.loc[TURNS : 2 * TURNS - 1, "text"] = table["text"][:TURNS].to_numpy()
    one = only(clean(table), "duplicate-dialogues")
    assert (one.severity, one.count, one.places) == ("warning", 2, (("train/0", 0), ("train/1", 0)))


def test_short_dialogues_are_alike_by_nature():
    table = clean_table()
    for begin in (0, TRAIN):
        table.loc[begin : begin + TURNS - 1, "text"] = ["hi", "hi", "you", "yes", "I see", "bye"]  # 7 words
    assert found(clean(table)) == {}


def test_a_long_text_in_two_splits():
    long = "one two three four five six seven eight nine ten eleven twelve"
    one = only(clean(with_cells(text={3: long, TRAIN + 8: long.title() + "."})), "duplicate-passages")
    assert (one.severity, one.count, one.places) == ("leak", 2, (("train/0", 3), ("dev/1", 2)))
    shorter = long.removesuffix(" twelve")
    assert found(clean(with_cells(text={3: shorter, TRAIN + 8: shorter}))) == {}
    assert found(clean(with_cells(text={3: long, 20: long}))) == {}  # within a split


def test_neighbours_in_two_splits():
    first, second = "you go where I go", "and I go where you"
    rows = {2: first, 3: second, TRAIN: first, TRAIN + 1: second}
    one = only(clean(with_cells(text=rows)), "duplicate-passages")
    assert (one.count, one.places) == (4, (("train/0", 2), ("train/0", 3), ("dev/0", 0), ("dev/0", 1)))
    apart = {2: first, 3: second, TRAIN + TURNS - 1: first, TRAIN + TURNS: second}  # the end of a dialogue and the beginning of the next
    assert found(clean(with_cells(text=apart))) == {}


def test_texts_made_by_a_template_repeat_by_nature():
    table = clean_table()
    said = [f"turn {k} of the speaker whose name is not told to anybody who asks for it" for k in range(40)]
    assert found(clean(table.assign(text=np.random.default_rng(0).choice(said, len(table))))) == {}


def test_a_vector_in_two_splits():
    def copy(x):
        x[TRAIN + 7] = x[4]

    one = only(clean(features=with_features(copy)), "duplicate-vectors")
    assert (one.severity, one.count, one.places) == ("leak", 2, (("train/0", 4), ("dev/1", 1)))
    assert one.said.startswith("audio: 2 of 300 vectors stand in two splits, 1 different ones")


def test_vectors_of_equal_texts_are_equal_where_they_are_made_of_texts():
    """Short texts that stand in two splits have one vector of text: no leak. The same recording in two splits is one, whatever it says."""
    rows = np.arange(0, 300, 8)
    table = with_cells(text={int(r): f"yes {r % 40}" for r in rows})
    features = clean_features(len(table))
    features["text"][rows] = features["text"][rows % 40]
    assert found(clean(table, features)) == {}
    features["audio"][240] = features["audio"][0]
    one = only(clean(table, features), "duplicate-vectors")
    assert (one.said.split(":")[0], one.places) == ("audio", (("train/0", 0), ("test/0", 0)))
    features["text"][rows[::2]] += rows[::2, None] / 100  # now a text has several vectors: a vector in two splits is no matter of its text
    told = [f.said.split(":")[0] for f in check(clean(table, features)) if f.rule == "duplicate-vectors"]
    assert told == ["text", "audio"]


def test_vectors_of_few_kinds_say_nothing_by_being_equal():
    features = clean_features(len(clean_table()))
    features["audio"] = np.eye(4, dtype=np.float32)[np.random.default_rng(0).integers(4, size=len(clean_table()))] + 1
    assert "duplicate-vectors" not in found(clean(features=features))


def test_speakers_in_two_splits():
    one = only(clean(with_cells(speaker={0: "Ana", TRAIN: "Ana", TRAIN + 1: "Ben", TRAIN + 2: "Ben"})), "speakers-in-splits")
    assert (one.severity, one.count) == ("warning", 1)


# ---- vectors


def test_vectors_of_zeros():
    def clear(x):
        x[[5, 40, 41]] = 0
        x[41, 0] = -0.0

    one = only(clean(features=with_features(clear)), "zero-vectors")
    assert (one.severity, one.count, one.places) == ("warning", 3, (("train/0", 5), ("train/6", 4), ("train/6", 5)))
    assert "--zeros-absent audio" in one.advice


def test_many_zeros_are_no_padding_beside():
    def clear(x):
        x[1:241:12] = 0

    assert only(clean(features=with_features(clear)), "zero-vectors").count == 20


def test_padding():
    def pad(x):
        x[2:242:20] = 7

    one = only(clean(features=with_features(pad)), "repeated-vectors")
    assert (one.severity, one.count, one.places[0]) == ("warning", 12, ("train/0", 2))


def test_columns_of_one_value():
    def flatten(x):
        x[:, 1] = 3
        x[:TRAIN, 2] = 3

    one = only(clean(features=with_features(flatten)), "constant-columns")
    assert one.said == "audio: 2 of 4 columns have one value on train (the first is column 1; 1 of them vary elsewhere)"


def test_a_wild_column():
    def stretch(x):
        x[:, 3] *= 1e4

    one = only(clean(features=with_features(stretch)), "wild-columns")
    assert (one.count, "column 3" in one.said) == (1, True)

    def less(x):
        x[:, 3] *= 200

    assert found(clean(features=with_features(less))) == {}


def test_values_far_away():
    table = clean_table((170, 5, 5))  # of n values, none is further than sqrt(n) deviations
    features = clean_features(len(table))
    features["audio"][[7, -1], 0] = 200, 400  # the second is not of train
    one = only(clean(table, features), "far-values")
    assert (one.count, one.places) == (1, (("train/1", 1),))


def test_huge_values():
    assert "huge-values" in found(clean(features=with_features(lambda x: x.__imul__(1e19))))
    assert found(clean(features=with_features(lambda x: x.__imul__(1e17)))) == {}


def test_a_modality_that_hardly_varies():
    def one_value(x):
        x[: 2 * TRAIN // 3 + 60] = 1

    assert {"near-constant", "repeated-vectors"} <= set(found(clean(features=with_features(one_value))))
    assert "near-constant" in found(clean(features=with_features(lambda x: x.__imul__(1e-9).__iadd__(1))))


def test_a_modality_without_a_vector():
    table = clean_table().assign(has_audio=False)
    assert found(clean(table)) == {}


def test_a_modality_that_a_split_lacks():
    table = clean_table()
    one = only(clean(table.assign(has_audio=table["split"] != "test")), "absent-in-split")
    assert one.said == "audio: no utterance of test has it (train 100.0 %, dev 100.0 %, test 0.0 %)"


# ---- labels


def test_presence_that_tells_the_label():
    table = clean_table()
    one = only(clean(table.assign(has_audio=table["emotion"] != "fear")), "presence-tells-label")
    assert (one.severity, one.count) == ("leak", TRAIN)
    assert "Cramér's V 1.00" in one.said
    assert one.said.endswith("(dev V 1.00, test V 1.00); absent in 100.0 % of fear, 0.0 % of joy")


def test_presence_that_hints_at_the_label_is_a_warning():
    table = clean_table((150, 5, 5))
    rng = np.random.default_rng(3)
    lost = rng.random(len(table)) < np.where(table["emotion"] == "fear", 0.2, 0.1)
    assert only(clean(table.assign(has_audio=~lost)), "presence-tells-label").severity == "warning"
    assert found(clean(table.assign(has_audio=rng.random(len(table)) < 0.7))) == {}


def test_presence_without_train_is_asked_of_all():
    table = clean_table((0, 20, 20))
    told = found(clean(table.assign(has_audio=table["emotion"] != "fear")))
    assert "tells emotion on all splits" in told["presence-tells-label"].said


def test_scores_are_asked_by_their_sign():
    table = clean_table().drop(columns="emotion")
    table["score"] = np.random.default_rng(0).normal(size=len(table)).clip(-3, 3)
    made = clean(table.assign(has_audio=table["score"] > 0), targets={"score": Target("range", bounds=(-3.0, 3.0))})
    assert only(made, "presence-tells-label").said.endswith("absent in 100.0 % of negative, 0.0 % of positive")


def test_a_split_without_labels():
    table = clean_table()
    one = only(clean(table.assign(emotion=table["emotion"].where(table["split"] != "dev"))), "unlabelled-split")
    assert (one.severity, one.said) == ("warning", "emotion: no utterance of dev is labelled")


def test_a_class_that_train_lacks_and_one_that_nobody_has():
    table = clean_table()
    table.loc[(table["split"] == "train") & (table["emotion"] == "fear"), "emotion"] = "joy"
    fear = int((table["emotion"] == "fear")[table["split"] == "test"].sum())
    target = Target("classes", (*LABELS, "awe"))
    told = check(clean(table, targets={"emotion": target}))
    said = {(f.rule, f.severity): f.said for f in told if f.rule != "class-shares"}
    assert said["unused-class", "note"] == "emotion: no utterance is labelled awe"
    assert f"emotion: test has classes that train has not: fear ({fear})" in [f.said for f in told if f.rule == "unseen-class"]


def test_labels_distributed_otherwise():
    table = clean_table()
    table.loc[table.index[table["split"] == "test"][:45], "emotion"] = "joy"
    one = only(clean(table), "class-shares")
    assert "labels of test and train are " in one.said
    assert " most of all joy: " in one.said


def test_labels_that_run_in_dialogues_may_differ():
    """With one label for a whole dialogue, ten dialogues of dev are often this far apart: dialogues are dealt out, not utterances."""
    table = clean_table()
    of = dict(zip(table["dialogue_id"].unique(), np.random.default_rng(4).choice(LABELS, 50), strict=True))
    table["emotion"] = table["dialogue_id"].map(of)
    shares = pd.crosstab(table["split"], table["emotion"], normalize="index")
    assert 0.5 * (shares.loc["test"] - shares.loc["train"]).abs().sum() > 0.1
    assert "class-shares" not in found(clean(table))


# ---- columns that tell


@pytest.mark.parametrize(
    ("column", "severity", "make"),
    [
        ("media", "warning", lambda t: [f"Ses01_{k}_{e}.wav" for k, e in enumerate(t["emotion"])]),
        ("code", "warning", lambda t: t["emotion"].map({"joy": 3, "anger": 1, "fear": 2})),
        ("valence", "warning", lambda t: t["emotion"].map({"joy": 0.9, "anger": 0.1, "fear": 0.5}) + np.linspace(0, 0.01, len(t))),
        ("text", "leak", lambda t: t["text"] + " [" + t["emotion"] + "]"),
        ("speaker", "leak", lambda t: t["emotion"].str.upper()),
    ],
)
def test_columns_that_tell_the_label(column, severity, make):
    table = clean_table()
    told = found(clean(table.assign(**{column: make(table)})))
    one = told.pop("telling-column")
    assert (one.severity, one.count) == (severity, 20 * TURNS)
    assert one.said.startswith(f"{column}: ")
    assert set(told) <= {"speakers-in-splits"}


def test_columns_that_tell_little_are_no_finding():
    table = clean_table()
    wrong = np.random.default_rng(0).random(len(table)) < 0.1
    assert found(clean(table.assign(guess=np.where(wrong, "joy", table["emotion"])))) == {}
    few = np.arange(len(table)) % 3 == 0  # what it says is right, of a third
    assert found(clean(table.assign(code=table["emotion"].where(few)))) == {}


# ---- order


def test_times_and_texts_out_of_place():
    table = clean_table()
    table.loc[3, ["start", "end"]] = 1.0, 1.2  # before the one it follows, 4.0
    table.loc[10, "start"] = 7.0  # before the one before ends, 7.5
    table.loc[20, "end"] = 0.0
    table.loc[[30, 31], "text"] = "", "...!"
    told = found(clean(table))
    assert {rule: (f.severity, f.count, f.places) for rule, f in told.items()} == {
        "order": ("warning", 1, (("train/0", 3),)),
        "end-before-start": ("warning", 1, (("train/3", 2),)),
        "overlaps": ("note", 1, (("train/1", 4),)),
        "empty-texts": ("note", 2, (("train/5", 0), ("train/5", 1))),
    }


def test_dialogues_of_one_utterance():
    table = pd.concat(
        [clean_table(), clean_table()[:1].assign(dialogue_id="alone", split="test", speaker="C", text="hm")], ignore_index=True
    )
    one = only(clean(table), "single-utterances")
    assert (one.severity, one.count, one.places) == ("note", 1, (("alone", 0),))


def test_no_texts_and_no_times_are_no_finding():
    assert found(clean(clean_table().drop(columns=["text", "start", "end"]))) == {}


@pytest.mark.data
def test_meld(meld_dir):
    """The face and audio features tell which of the seven emotions it is not; with five, faces still do, a little. One scene is in two splits."""
    specs = ["text={split}_sent_emo.minilm.npy", "audio=av_main_cast.npz:mfcc13", "visual=av_main_cast.npz:face(landmarks60)"]
    seven = check(read_meld(meld_dir, specs, nan="absent"))
    leaks = [f for f in seven if f.severity == "leak"]
    (scene,) = (f for f in leaks if f.rule == "duplicate-passages")
    assert (scene.count, scene.places[0], scene.places[4]) == (8, ("train/12", 5), ("test/84", 1))
    told = [f.said.split(":")[0] for f in leaks if f.rule == "presence-tells-label" and "tells emotion" in f.said]
    assert told == ["audio", "visual"]
    assert "duplicate-vectors" not in {f.rule for f in seven}  # equal embeddings of equal texts
    five = check(
        read_meld(meld_dir, specs[1:], nan="absent", classes=("anger", "disgust", "fear", "joy", "sadness"), label_only_where=("audio",))
    )
    tells = [f for f in five if f.rule == "presence-tells-label"]
    assert {f.severity for f in tells} == {"warning"}
    assert "Cramér's V 0.06" in tells[0].said
    assert "dev V 0.15" in tells[0].said
