"""EmoryNLP's CSVs and JSON arrive whole; what is wrong with one is said in a line."""

from __future__ import annotations

import contextlib
import json

import numpy as np
import pytest
from cli_cases import good
from hypothesis import given, settings
from hypothesis import strategies as st
from layout_cases_more import (
    EMOTIONS,
    HEADER,
    by_id,
    emorynlp_rows,
    rng,
    write_emorynlp,
    write_json,
    written,
)

from dgl_merc.corpus import open_corpus
from dgl_merc.corpus.readers.emorynlp import parse_speakers
from dgl_merc.corpus.readers.published import read_published
from dgl_merc.corpus.readers.table import NO_FEATURES
from dgl_merc.errors import InputError


def test_emorynlp_from_its_header_alone(tmp_path):
    said = "\n".join(good("import", written("emorynlp-folder", tmp_path), tmp_path / "out"))
    corpus = open_corpus(tmp_path / "out", check="full")
    assert (len(corpus), corpus.splits.tolist()) == (6, ["train"] * 2 + ["dev"] * 2 + ["test"] * 2)
    assert corpus.dialogue_ids[:3] == ("s01_e01_c01", "s01_e01_c04", "s01_e02_c01")
    assert corpus.targets["emotion"].labels == EMOTIONS
    for row in corpus.utterances.itertuples():
        number = row.utterance_id
        season, episode, scene = (int(piece[1:]) for piece in row.dialogue_id.split("_"))
        assert row.text == f's{season} e{episode} c{scene} u{number}, he said "so"\nand left'
        assert row.speaker == ("Monica Geller", "Ross Geller & Joey Tribbiani", "Ross' Mom")[number % 3]
        assert row.emotion == EMOTIONS[number % 7]
        assert (row.start, row.end) == (60 * number + 4 + number / 1000, 60 * number + 5.5)
        assert (row.season, row.episode, row.scene) == (season, episode, scene)
    assert not corpus.modalities
    together = int((corpus.utterances["utterance_id"] % 3 == 1).sum())
    assert corpus.notes == (
        "layout: emorynlp-folder, EmoryNLP's CSVs with Season, Episode, Scene_ID (text and emotions, no features), a folder of three",
        f"speaker: {together} utterances are said by several together, whose names are joined with ' & '",
        "dialogues are scenes",
        NO_FEATURES,
    )
    assert "EmoryNLP" in said


def test_emorynlp_single_files_maps_and_features(tmp_path):
    corpus = read_published(written("emorynlp", tmp_path), label_map="three")
    assert corpus.targets["emotion"].labels == ("negative", "neutral", "positive")
    three = dict(zip(EMOTIONS, ["neutral", *["positive"] * 3, *["negative"] * 3], strict=True))
    for u, label in zip(corpus.utterances["utterance_id"], corpus.label_names("emotion"), strict=True):
        assert label == three[EMOTIONS[u % 7]]
    assert corpus.splits.tolist() == ["dev"]
    assert "all 4 utterances are dev: the name of the file says so" in corpus.notes
    bare = write_emorynlp(tmp_path / "friends.csv", emorynlp_rows(rng(), {(2, 1, 3): 3}), HEADER[:7])
    corpus = read_published(bare, one_split="test")
    assert corpus.splits.tolist() == ["test"]
    assert corpus.utterances["start"].isna().all(), "the times may lack"
    folder = written("emorynlp-folder", tmp_path)
    for split in ("train", "dev", "test"):
        np.save(folder / f"{split}.npy", np.arange(6.0)[:, None] + 100 * len(split))
    corpus = read_published(folder, ["text=columns:season", "audio={split}.npy"][1:])
    assert corpus.features["audio"][:, 0].tolist() == [*(500 + np.arange(6)), *(300 + np.arange(6)), *(400 + np.arange(6))]


def test_emorynlp_out_of_order_and_at_full_size(tmp_path):
    scenes = {(1 + s // 250, 1 + s % 10, s): 14 for s in range(897)}
    rows = emorynlp_rows(rng(), scenes)
    mixed = [rows[k] for k in rng().permutation(len(rows))]
    corpus = read_published(write_emorynlp(tmp_path / "emorynlp_train_final.csv", mixed))
    assert (len(corpus), len(corpus.utterances)) == (897, 12558)
    table = corpus.utterances
    assert (table.groupby("dialogue_id")["utterance_id"].diff().dropna() > 0).all(), "by number, whatever the file's order"
    straight = read_published(write_emorynlp(tmp_path / "emorynlp_train_final.csv", rows))
    assert by_id(straight, "text") == by_id(corpus, "text")


SPEAKERS = {
    "['A']": "A",
    "[\"O'Neil\", 'B']": "O'Neil & B",
    r"['O\'Neil']": "O'Neil",
    "[ 'A' , 'B', ]": "A & B",
    "[]": "unknown",
    "Monica": "Monica",
}


def test_speakers():
    assert {cell: parse_speakers(cell) for cell in SPEAKERS} == SPEAKERS
    for cell in ("", "['A'", "[A]", "['A' 'B']", "[['A']]", "['']", "[,]", "[" * 9999, "['" + "a" * 99999, "[__import__('os')]", "["):
        with pytest.raises(ValueError):
            parse_speakers(cell)


EMORY_FAULTS = {
    "emotion": (2, "Happy", "line 4: dialogue scene 6, utterance 4: expected one of EmoryNLP's emotions (neutral, joyful,"),
    "speaker": (1, "[oops]", "expected a list of speakers as ['A', 'B'], found '[oops]'"),
    "scene": (3, "6.0", "expected a whole number as Scene_ID, found '6.0'"),
    "utterance": (4, "1", "dialogue s01_e15_c06, utterance 1: expected every utterance once, found it in line 2 already"),
    "time": (7, "noon", "expected a time HH:MM:SS.mmm as Start_Time, found 'noon'"),
}


@pytest.mark.parametrize(("column", "cell", "said"), EMORY_FAULTS.values(), ids=EMORY_FAULTS)
def test_emorynlp_faults(tmp_path, column, cell, said):
    rows = [list(row) for row in emorynlp_rows(rng(), {(1, 15, 6): 3})]
    for k, row in enumerate(rows):
        row[0], row[4] = "one line", (1, 2, 4)[k]
    rows[2][column] = cell
    with pytest.raises(InputError) as error:
        read_published(write_emorynlp(tmp_path / "emorynlp_dev_final.csv", rows))
    assert said in str(error.value)


def test_emorynlp_splits_are_said(tmp_path):
    rows = emorynlp_rows(rng(), {(1, 15, 6): 3})
    with pytest.raises(
        InputError, match=r"expected train, dev or test in the file's name, found 'emory.csv'; say the split with --one-split"
    ):
        read_published(write_emorynlp(tmp_path / "emory.csv", rows))
    write_emorynlp(tmp_path / "emorynlp_train_final.csv", rows)
    with pytest.raises(InputError, match="for each of train, dev, test, found none for dev, test; import a single file"):
        read_published(tmp_path)
    for split in ("dev", "test"):
        write_emorynlp(tmp_path / f"emorynlp_{split}_final.csv", rows)
    leak = r"emorynlp_dev_final.csv: line 2: dialogue s01_e15_c06, utterance \d+: expected split train as in line 2, found dev"
    with pytest.raises(InputError, match=leak):
        read_published(tmp_path)
    with pytest.raises(InputError, match="--one-split: expected a single file"):
        read_published(tmp_path, one_split="dev")


def test_emorynlp_json_is_what_the_csv_is(tmp_path):
    table, other = (read_published(written(name, tmp_path)).utterances for name in ("emorynlp-folder", "emorynlp-json-folder"))
    same = ["dialogue_id", "utterance_id", "position", "speaker", "split", "text", "emotion", "season", "episode", "scene"]
    assert table[same].equals(other[same])
    assert other["start"].isna().all()
    assert read_published(written("emorynlp-json", tmp_path)).splits.tolist() == ["test"]
    path = write_json(tmp_path / "dev.json", [("Hm.", "[]", "Sad", 1, 1, 1, 1)])
    corpus = read_published(path, label_map="three")
    assert (corpus.utterances["speaker"].tolist(), corpus.label_names("emotion").tolist()) == (["unknown"], ["negative"])
    assert "speaker: 1 utterances name nobody, and are said by 'unknown'" in corpus.notes


JSON_FAULTS = {
    "not json": ("{", "dev.json: expected JSON, found a fault (Expecting property name"),
    "deep": ("[" * 100000, "dev.json: expected JSON, found lists nested too deeply"),
    "huge": ("1" * 5000, "dev.json: expected JSON, found a fault (Exceeds the limit"),
    "latin": (b"\xe4", "dev.json: expected JSON, found a fault ('utf-8' codec can't decode"),
    "other": ("[1]", "expected a published layout"),
    "scenes": ('{"episodes": [{"episode_id": "s01_e02"}]}', "dev.json: s01_e02: expected a list of scenes, found a dict of 1 ('episode_id': str)"),
    "utterance": ('{"episodes": [{"scenes": [{"utterances": [7]}]}]}', "expected an utterance with utterance_id, speakers, transcript, emotion, found int"),
    "none": ('{"episodes": []}', "dev.json: expected at least one utterance, found none"),
    "id": (("utterance_id", "u1"), "expected an utterance_id as s01_e02_c01_u002, found 'u1'"),
    "emotion": (("emotion", "Glad"), "dialogue s01_e01_c01, utterance 001: expected one of EmoryNLP's emotions, found 'Glad'"),
    "speakers": (("speakers", "Joey"), "utterance 001: speakers: expected a list, found str"),
    "text": (("transcript", None), "utterance 001: transcript: expected a string, found NoneType"),
    "half a character": (("transcript", "\ud800"), "utterance 001: transcript: expected a string, found half a character"),
}  # fmt: skip


@pytest.mark.parametrize(("change", "said"), JSON_FAULTS.values(), ids=JSON_FAULTS)
def test_emorynlp_json_faults(tmp_path, change, said):
    path = write_json(tmp_path / "dev.json", [("Hm.", "['A']", "Sad", 1, 1, 1, 1)])
    if isinstance(change, tuple):
        value = json.loads(path.read_text())
        value["episodes"][0]["scenes"][0]["utterances"][0][change[0]] = change[1]
        change = json.dumps(value)
    path.write_bytes(change if isinstance(change, bytes) else change.encode())
    with pytest.raises(InputError) as error:
        read_published(path)
    assert said in str(error.value)


@settings(max_examples=60, deadline=None, derandomize=True)
@given(st.data())
def test_no_csv_breaks_emorynlp(tmp_path_factory, data):
    rows = [list(row) for row in emorynlp_rows(rng(), {(1, 15, 6): 3})]
    rows[data.draw(st.integers(0, 2))][data.draw(st.integers(0, 8))] = data.draw(
        st.text(st.characters(codec="utf-8")) | st.from_regex(r"[\[\]'\" \\\\,a]*") | st.integers()
    )
    path = write_emorynlp(tmp_path_factory.mktemp("csv") / "emorynlp_dev_final.csv", rows)
    with contextlib.suppress(InputError):
        assert len(read_published(path)) <= 3
