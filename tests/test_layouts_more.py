"""EmoryNLP's, MMSA's, MulT's and COGMEN's files arrive whole; what is wrong with one is said in a line; no structure breaks a reader."""

from __future__ import annotations

import contextlib
import json
import random
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from cli_cases import good
from hypothesis import given, settings
from hypothesis import strategies as st
from layout_cases_more import (
    CASES,
    EMOTIONS,
    HEADER,
    MOSI,
    SIMS,
    as_dicts,
    emorynlp_rows,
    json_value,
    mmsa_value,
    mult_value,
    samples_value,
    write_emorynlp,
    write_json,
    write_samples,
)
from pickled import pickled

from dgl_merc.corpus import Corpus, open_corpus
from dgl_merc.corpus.readers import published as module
from dgl_merc.corpus.readers.emorynlp import parse_speakers
from dgl_merc.corpus.readers.known import known_layouts
from dgl_merc.corpus.readers.layout import Content
from dgl_merc.corpus.readers.published import read_published
from dgl_merc.corpus.reading import pooling
from dgl_merc.corpus.reading.content import describe, read_content
from dgl_merc.corpus.reading.pickles import Record
from dgl_merc.corpus.reading.pooling import length_mask, pool
from dgl_merc.errors import InputError


def rng(seed: int = 3) -> np.random.Generator:
    return np.random.default_rng(seed)


def by_id(corpus: Corpus, column: str) -> dict[tuple[str, str], Any]:
    """(dialogue, utterance) -> a cell."""
    table = corpus.utterances
    return {(d, u): v for d, u, v in zip(table["dialogue_id"], table["utterance_id"].astype(str), table[column], strict=True)}


def vectors(corpus: Corpus, modality: str) -> dict[tuple[str, int], np.ndarray]:
    """(dialogue, position) -> its vector."""
    there = corpus.utterances[corpus.utterances[f"has_{modality}"]]
    return dict(zip(zip(there["dialogue_id"], there["position"], strict=True), corpus.features[modality], strict=True))


@pytest.fixture(scope="module")
def files(tmp_path_factory) -> dict[str, Path]:
    """A file of every case, written once."""
    made = {}
    for name, write in CASES.items():
        folder = tmp_path_factory.mktemp("case")
        made[name] = write(folder, rng())
    return made


@pytest.mark.parametrize("case", CASES)
def test_one_layout_fits(files, case):
    path = files[case]
    layouts = known_layouts()
    content = read_content(path, records={name for known in layouts for name in known.records})
    assert [known.name for known in layouts if known.kind == content.kind and known.recognise(content)] == [case.split(":")[0]]


# EmoryNLP


def test_emorynlp_from_its_header_alone(files, tmp_path):
    said = "\n".join(good("import", files["emorynlp-folder"], tmp_path / "out"))
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
        "dialogues are scenes; there are no features, add some by row: --features 'text=FILE.npy'",
    )
    assert "EmoryNLP" in said


def test_emorynlp_single_files_maps_and_features(files, tmp_path):
    corpus = read_published(files["emorynlp"], label_map="three")
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
    folder = files["emorynlp-folder"]
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


def test_emorynlp_json_is_what_the_csv_is(files, tmp_path):
    table, other = (read_published(files[name]).utterances for name in ("emorynlp-folder", "emorynlp-json-folder"))
    same = ["dialogue_id", "utterance_id", "position", "speaker", "split", "text", "emotion", "season", "episode", "scene"]
    assert table[same].equals(other[same])
    assert other["start"].isna().all()
    assert read_published(files["emorynlp-json"]).splits.tolist() == ["test"]
    path = write_json(tmp_path / "dev.json", [("Hm.", "[]", "Sad", 1, 1, 1, 1)])
    corpus = read_published(path, label_map="three")
    assert (corpus.utterances["speaker"].tolist(), corpus.label_names("emotion").tolist()) == (["unknown"], ["negative"])
    assert "speaker: 1 utterances name nobody, and are said by 'unknown'" in corpus.notes


JSON_FAULTS = {
    "not json": ("{", "dev.json: expected JSON, found a fault (Expecting property name"),
    "deep": ("[" * 100000, "dev.json: expected JSON, found lists nested too deeply"),
    "huge": ("1" * 5000, "dev.json: expected JSON, found a fault (Exceeds the limit"),
    "latin": (b"\xe4", "dev.json: expected JSON, found a fault ('utf-8' codec can't decode"),
    "other": ("[1]", "expected one of the layouts"),
    "scenes": ('{"episodes": [{"episode_id": "s01_e02"}]}', 'dev.json: s01_e02: expected a list of scenes, found a dict of 1 ("episode_id": str)'),
    "utterance": ('{"episodes": [{"scenes": [{"utterances": [7]}]}]}', "expected an utterance with utterance_id, speakers, transcript, emotion, found int"),
    "none": ('{"episodes": []}', "dev.json: expected at least one utterance, found none"),
    "id": (("utterance_id", "u1"), "expected an utterance_id as s01_e02_c01_u002, found 'u1'"),
    "emotion": (("emotion", "Glad"), "dialogue s01_e01_c01, utterance 001: expected one of EmoryNLP's emotions, found 'Glad'"),
    "speakers": (("speakers", "Joey"), "utterance 001: speakers: expected a list, found str"),
    "text": (("transcript", None), "utterance 001: transcript: expected a string, found NoneType"),
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


# Sequences


def pool_loop(x, mask, how):
    """The definition, frame by frame."""
    vectors, left_out = [], 0
    for n, sequence in enumerate(x):
        real = [frame for t, frame in enumerate(sequence) if (mask[n][t] if mask is not None else any(frame))]
        kept = [frame for frame in real if np.isfinite(frame).all()]
        left_out += len(real) - len(kept)
        columns = zip(*kept, strict=True)
        vectors.append([sum(map(float, c)) / len(kept) if how == "mean" else max(c) for c in columns] if kept else None)
    return vectors, left_out


@pytest.mark.parametrize("how", ["mean", "max"])
@pytest.mark.parametrize("piece", [1 << 22, 7, 1])
def test_pooling_agrees_with_the_loop(monkeypatch, how, piece):
    monkeypatch.setattr(pooling, "PIECE", piece)
    x = rng().normal(size=(5, 6, 3)).astype(np.float32) - 2
    x[0, 2:], x[1], x[2, 0, 1], x[3, :, 2], x[4, 1, 0] = 0, 0, np.nan, -np.inf, np.inf
    x[4, 2, :2] = 0  # a frame that is not all zero
    for mask in (None, rng().random((5, 6)) < 0.6):
        wanted, left_out = pool_loop(x, mask, how)
        got = pool(x, mask, how)
        assert int(got.left_out.sum()) == left_out > 0
        assert [bool(f) for f in got.frames] == [w is not None for w in wanted]
        for row, want in zip(got.vectors, wanted, strict=True):
            np.testing.assert_allclose(row, want if want is not None else np.zeros(3), rtol=1e-6)
    assert pool(np.zeros((0, 4, 2)), None, how).vectors.shape == (0, 2)
    with pytest.raises(ValueError, match=r"mask must be \[N=5, T=6\]"):
        pool(x, np.ones((5, 5), dtype=bool), how)


def test_lengths_count_from_the_end_that_is_not_padded():
    x, lengths = np.zeros((3, 5, 1)), np.array([2, 5, 4])
    for n, length in enumerate(lengths):
        x[n, :length] = 1
    assert (length_mask(x, lengths)[0] == (x[..., 0] == 1)).all()
    mask, front = length_mask(x[:, ::-1], lengths)
    assert front
    assert (mask == (x[:, ::-1, 0] == 1)).all()


def test_mmsa_every_vector_arrives(files, tmp_path):
    """CH-SIMS, unaligned; the sequences are longer than what is real of them."""
    value = mmsa_value(rng(), SIMS, name="video_{:04}", unimodal=True)
    corpus = read_published(files["mmsa:sims"])
    assert corpus.name == "CH-SIMS"
    assert {name: str(target) for name, target in corpus.targets.items()} == {
        "sentiment": "scores from -1 to 1",
        "polarity": "the classes negative, neutral, positive",
        **dict.fromkeys(("sentiment_text", "sentiment_audio", "sentiment_vision"), "scores from -1 to 1"),
    }
    assert {m: about.width for m, about in corpus.modalities.items()} == {"text": 768, "audio": 33, "visual": 709}
    cells = {name: by_id(corpus, name) for name in corpus.utterances}
    found = {m: vectors(corpus, m) for m in corpus.modalities}
    seen = 0
    for split, part in value.items():
        for n, name in enumerate(part["id"]):
            video, clip = name.split("$_$")
            key = (video, clip)
            assert cells["split"][key] == {"valid": "dev"}.get(split, split)
            assert (cells["text"][key], cells["speaker"][key]) == (f"{name} says", video)
            assert cells["sentiment"][key] == part["regression_labels"][n]
            assert cells["polarity"][key] == part["annotations"][n].lower()
            assert cells["sentiment_audio"][key] == part["regression_labels_A"][n]
            position = cells["position"][key]
            assert position == int(clip)
            for modality, array in (("text", "text"), ("audio", "audio"), ("visual", "vision")):
                length = int(part["text_bert"][n, 1].sum()) if array == "text" else part[f"{array}_lengths"][n]
                np.testing.assert_allclose(found[modality][video, position], part[array][n, :length].mean(axis=0), rtol=1e-4, atol=1e-5)
            seen += 1
    assert seen == len(corpus.utterances) == 15
    frames = sum(int(part["text_bert"][:, 1].sum()) for part in value.values())
    assert f"text: text_mean: the mean of {frames} frames, those that the mask of text_bert marks" in corpus.notes
    lengths = sum(sum(part["audio_lengths"]) for part in value.values())
    assert f"audio: audio_mean: the mean of {lengths} frames, those that audio_lengths counts" in corpus.notes
    assert corpus.content_sha256 == read_published(files["mmsa:sims"]).content_sha256
    good("import", files["mmsa:sims"], tmp_path / "out")
    assert open_corpus(tmp_path / "out", check="full").content_sha256 == corpus.content_sha256


def test_mmsa_aligned_frames_and_what_is_not_finite(tmp_path):
    value = mmsa_value(rng(), MOSI)
    train = value["train"]
    train["audio"][0, :2, 3] = -np.inf
    train["audio"][4] = np.nan
    train["vision"][2] = 0
    corpus = read_published(pickled(tmp_path / "aligned_50.pkl", value), ["audio=file:audio_max,audio_mean"])
    assert (corpus.name, str(corpus.targets["sentiment"])) == ("CMU-MOSI", "scores from -3 to 3")
    assert {m: about.width for m, about in corpus.modalities.items()} == {"text": 768, "visual": 20, "audio": 10} or corpus.modalities
    audio = vectors(corpus, "audio")
    assert ("v1x", 1) not in audio, "no finite frame"
    assert ("v0x", 2) not in vectors(corpus, "visual"), "no face"
    kept = train["audio"][0, 2:][train["audio"][0, 2:].any(axis=1)]
    np.testing.assert_allclose(audio["v0x", 0], [*kept.max(axis=0), *kept.mean(axis=0)], rtol=1e-5)
    bad = 2 + 50
    assert f"audio: audio_mean: {bad} frames of 2 utterances hold NaN or infinite numbers and are left out" in corpus.notes
    assert "audio: absent in 1 of 15 utterances: no real frame" in corpus.notes
    assert "visual: absent in 1 of 15 utterances: no real frame" in corpus.notes
    assert "speaker: the file names none, so each video counts as one speaker" in corpus.notes


def test_a_video_in_several_splits_is_several_dialogues(tmp_path):
    value = mmsa_value(rng(), {"text": (4, 3), "audio": (4, 2), "vision": (4, 2)})
    value["test"]["id"][1] = "v0x$_$9"
    corpus = read_published(pickled(tmp_path / "a.pkl", value))
    assert [d for d in corpus.dialogue_ids if "/" in d] == ["train/v0x", "test/v0x"]
    assert set(corpus.utterances.loc[corpus.utterances["dialogue_id"].isin(["train/v0x", "test/v0x"]), "speaker"]) == {"v0x"}
    assert any(note.startswith("1 of 6 videos have clips in several splits (4 utterances): each split's") for note in corpus.notes)
    value["test"]["id"][1] = "v0x$_$0"
    with pytest.raises(InputError, match="dialogue v0x, utterance 0: expected every clip once, found it in train and in test"):
        read_published(pickled(tmp_path / "a.pkl", value))


def test_mmsa_without_annotations_and_with_odd_ids(tmp_path):
    value = mmsa_value(rng(), {"text": (4, 3), "audio": (4, 2), "vision": (4, 2)})
    for part in value.values():
        part["annotations"] = None
        del part["annotations"]
        part["regression_labels"] = part["regression_labels"].tolist()
        part["id"] = [f"{name.replace('$_$', '[')}]" for name in part["id"].tolist()]
    value["train"]["regression_labels"][0] = float("nan")
    corpus = read_published(pickled(tmp_path / "a.pkl", value))
    wanted = {
        split: np.array(["negative", "neutral", "positive"])[part["classification_labels"].astype(int)] for split, part in value.items()
    }
    assert corpus.label_names("polarity").tolist() == [*wanted["train"], *wanted["valid"], *wanted["test"]]
    assert corpus.utterances["sentiment"].isna().tolist() == [True] + [False] * 14
    assert "sentiment: 1 utterances have none (NaN), and are context" in corpus.notes
    value["valid"]["id"][0] = "v3x[b]"
    with pytest.raises(InputError, match=r"valid: id: number 0: expected VIDEO\$_\$CLIP, VIDEO\[CLIP\] or the three"):
        read_published(pickled(tmp_path / "a.pkl", value))
    value["valid"]["id"][0] = "v3x$_$b"
    assert any("the clips are not numbered throughout" in note for note in read_published(pickled(tmp_path / "a.pkl", value)).notes)


@pytest.mark.parametrize("case", ["mult:mosei", "mult:mosi"])
def test_mult(files, case):
    corpus = read_published(files[case])
    value = mult_value(rng(), (300, 74, 35) if case == "mult:mosei" else (300, 5, 20))
    assert corpus.name == {"mult:mosei": "CMU-MOSEI", "mult:mosi": "CMU-MOSI"}[case]
    cells, text = {name: by_id(corpus, name) for name in corpus.utterances}, vectors(corpus, "text")
    for part in value.values():
        for n, (video, start, end) in enumerate(part["id"]):
            key = (video, f"{start}-{end}")
            assert (cells["start"][key], cells["end"][key]) == (float(start), float(end))
            assert cells["position"][key] == round(float(start) / 10.5), "by their start, not as they stand in the file"
            assert cells["sentiment"][key] == pytest.approx(part["labels"][n, 0, 0])
            frames = part["text"][n][part["text"][n].any(axis=1)]
            np.testing.assert_allclose(text[video, cells["position"][key]], frames.mean(axis=0), rtol=1e-4, atol=1e-5)
    assert list(corpus.targets) == ["sentiment"]


def tiny() -> dict[str, Any]:
    return mmsa_value(rng(), {"text": (4, 3), "audio": (6, 2), "vision": (4, 2)}, unimodal=True)


MMSA_FAULTS = {
    "ids": ("train", "id", lambda x: x[:-1], "train: id: expected 9, one for each of regression_labels, found 8"),
    "texts": ("test", "raw_text", lambda x: [*x.tolist(), "a"], "test: raw_text: expected 4, one for each of regression_labels, found 5"),
    "text type": ("test", "raw_text", lambda x: [None, *x[1:]], "test: raw_text: expected strings, found NoneType as number 0"),
    "range": ("train", "regression_labels", lambda x: x + 2, "sentiment: expected a number from -1.0 to 1.0"),
    "words": ("train", "regression_labels", lambda x: ["one", *x[1:]], "regression_labels: expected numbers, found 'one' as number 0"),
    "huge": ("train", "regression_labels", lambda x: [10**999, *x[1:]], "regression_labels: expected numbers, found one that is too great"),
    "seven": ("valid", "regression_labels", lambda x: np.ones((2, 7)), "expected one number an utterance, found an array float64 [2, 7]"),
    "annotation": ("valid", "annotations", lambda x: ["Happy", x[1]], "annotations: number 0: expected negative, neutral, positive, found 'happy'"),
    "width": ("test", "audio", lambda x: x[..., :1], "audio: expected one width, found 2 in train, 2 in valid, 1 in test"),
    "shape": ("test", "audio", lambda x: x[0], "test: audio: expected an array [4, frames, width] of numbers, found an array float64 [6, 2]"),
    "list": ("test", "vision", lambda x: x.tolist(), "test: vision: expected an array [4, frames, width] of numbers, found a list of 4: a list of 4"),
    "lengths": ("train", "audio_lengths", lambda x: [-1, *x[1:]], "audio_lengths: expected 9 numbers of 0 or more, found 9, the least -1"),
    "half": ("train", "audio_lengths", lambda x: [0.5, *x[1:]], "audio_lengths: expected whole numbers, found 0.5 as number 0"),
    "mask": ("train", "text_bert", lambda x: x[:, 0], "train: text_bert: expected an array [9, 3, 4] of numbers, found an array int64 [9, 4]"),
    "twice": ("train", "id", lambda x: [x[1], *x[1:]], "utterance 1: expected every clip once, found it in train and in train"),
    "absent": ("test", "vision", None, "test: vision: expected it in every split, found it in others only"),
}  # fmt: skip


@pytest.mark.parametrize(("split", "key", "change", "said"), MMSA_FAULTS.values(), ids=MMSA_FAULTS)
def test_mmsa_faults(tmp_path, split, key, change, said):
    value = tiny()
    if change is None:
        del value[split][key]
    else:
        value[split][key] = change(value[split][key])
    with pytest.raises(InputError) as error:
        read_published(pickled(tmp_path / "a.pkl", value))
    assert said in str(error.value)


# Samples

SIX = ("happy", "sad", "neutral", "angry", "excited", "frustrated")


@pytest.mark.parametrize("case", ["cogmen-iemocap", "cogmen-iemocap:corect", "cogmen-iemocap:dgcn", "cogmen-iemocap-4"])
def test_samples_arrive(files, case):
    value = samples_value(rng(), top=3 if case.endswith("4") else 5)
    corpus = read_published(files[case])
    assert corpus.targets["emotion"].labels == (SIX[:4] if case.endswith("4") else SIX)
    words = "text" if case.endswith("dgcn") else "sbert_sentence_embeddings"
    assert {m: about.width for m, about in corpus.modalities.items()} == {
        "text": 100 if words == "text" else 768,
        "audio": 100,
        "visual": 512,
    }
    found = {m: vectors(corpus, m) for m in corpus.modalities}
    table = corpus.utterances.set_index(["dialogue_id", "position"])
    labels = dict(zip(table.index, corpus.label_names("emotion"), strict=True))
    for split, part in value.items():
        for one in part:
            for u, label in enumerate(one["label"]):
                key = (one["vid"], u)
                row = table.loc[key]
                assert (row["split"], row["text"], row["session"]) == (split, one["sentence"][u], one["vid"][:5])
                assert row["scripted"] == ("script" in one["vid"])
                assert row["speaker"] == f"{one['vid'][:5]}_{one['speaker'][u]}"
                assert labels[key] == SIX[label]
                for modality, name in (("text", words), ("audio", "audio"), ("visual", "visual")):
                    assert (found[modality][key] == one[name][u]).all()
    assert len(table) == sum(len(one["label"]) for part in value.values() for one in part)
    assert any("annotators did not agree" in note for note in corpus.notes)


def test_samples_label_maps(files):
    four, unmerged, five = (read_published(files["cogmen-iemocap"], label_map=name) for name in ("four", "four-unmerged", "five"))
    assert four.targets["emotion"].labels == unmerged.targets["emotion"].labels == SIX[:4]
    assert five.targets["emotion"].labels == ("happy", "sad", "neutral", "angry", "frustrated")
    six = read_published(files["cogmen-iemocap"])
    for label, merged, kept in zip(*(corpus.label_names("emotion") for corpus in (six, four, unmerged)), strict=True):
        assert merged == {"excited": "happy", "frustrated": None}.get(label, label)
        assert kept == {"excited": None, "frustrated": None}.get(label, label)
    assert {"excited", "frustrated"} & set(six.label_names("emotion")), "vacuous"


def test_one_excited_utterance_makes_six(tmp_path):
    for top, layout in ((3, "cogmen-iemocap-4"), (4, "cogmen-iemocap")):
        path = pickled(tmp_path / "a.pkl", as_dicts(samples_value(rng(), top=top, widths=dict.fromkeys(("audio", "visual", "sbert"), 2))))
        assert read_published(path).source["reader"] == layout


@pytest.mark.parametrize("kind", ["2", "7", "multilabel"])
def test_samples_of_mosei(files, kind):
    corpus = read_published(files[f"cogmen-mosei:{kind}"])
    labels = [label for part in samples_value(rng(), mosei=kind).values() for one in part for label in one["label"]]
    if kind == "multilabel":
        assert list(corpus.targets) == ["happiness", "sadness", "anger", "surprise", "disgust", "fear"]
        for k, name in enumerate(corpus.targets):
            assert corpus.label_names(name).tolist() == [("no", "yes")[label[k]] for label in labels]
    else:
        names = ("negative", "positive") if kind == "2" else module_seven()
        assert corpus.targets["sentiment"].labels == names
        assert corpus.label_names("sentiment").tolist() == [names[label] for label in labels]
    assert {m: about.width for m, about in corpus.modalities.items()} == {"text": 768, "audio": 80, "visual": 35}
    assert set(corpus.utterances["speaker"]) == set(corpus.dialogue_ids)


def module_seven() -> tuple[str, ...]:
    sides = ("strongly ", "", "weakly ")
    return (*(f"{side}negative" for side in sides), "neutral", *(f"{side}positive" for side in reversed(sides)))


SAMPLE_FAULTS = {
    "speakers": ("speakers", lambda x: x[:-1], "dialogue Ses01F_impro01: expected {n} speakers, as many as labels, found"),
    "who": ("speakers", lambda x: ["X", *x[1:]], "expected a name as Ses01F_impro01 and speakers M and F, found a speaker 'X'"),
    "sentences": ("sentence", lambda x: [*x, "a"], "expected {n} sentences, as many as labels, found"),
    "label": ("labels", lambda x: [x[0], 9, *x[2:]], "dialogue Ses01F_impro01, utterance 1: labels: expected a number from 0 to 5, found 9"),
    "huge label": ("labels", lambda x: [x[0], 10**5000, *x[2:]], "utterance 1: labels: expected a number from 0 to 5, found int"),
    "no labels": ("labels", lambda x: [], "dialogue Ses01F_impro01: expected utterances, found none"),
    "name": ("vid", lambda x: 5, "train: number 0: vid: expected a string, found int"),
    "again": ("vid", lambda x: "Ses02M_script01_1", "expected every dialogue once, found 'Ses02M_script01_1' in train already; a file made with"),
    "vectors": ("audio", lambda x: x[:-1], "dialogue Ses01F_impro01: audio: expected {n} vectors, one an utterance, found"),
    "width": ("audio", lambda x: [x[0][:3], *x[1:]], "audio: utterance 1: expected width 3 as before, found 4"),
    "nested": ("audio", lambda x: [[[1.0]], *x[1:]], "audio: utterance 0: expected numbers, found a list of 1"),
    "text": ("text", lambda x: x[:, :2], "expected width 2 as in the first dialogue, found 4"),
    "nan": ("text", lambda x: x * np.nan, "text: sbert: expected finite numbers, found nan in column 0"),
}  # fmt: skip


@pytest.mark.parametrize(("key", "change", "said"), SAMPLE_FAULTS.values(), ids=SAMPLE_FAULTS)
def test_samples_faults(tmp_path, key, change, said):
    value = as_dicts(samples_value(rng(), widths=dict.fromkeys(("audio", "visual", "sbert"), 4)))
    first, n = value["train"][0], len(value["train"][0]["labels"])
    first[key] = change(first[key])
    with pytest.raises(InputError) as error:
        read_published(pickled(tmp_path / "a.pkl", value), layout=None)
    assert said.format(n=n) in str(error.value) or (key == "vid" and "expected one of the layouts" in str(error.value))


def test_absent_vectors_of_samples(tmp_path):
    value = as_dicts(samples_value(rng(), widths=dict.fromkeys(("audio", "visual", "sbert"), 4)))
    value["train"][0]["visual"][1] = None
    value["test"][0]["visual"][0] = np.empty(0)
    corpus = read_published(pickled(tmp_path / "a.pkl", value))
    total = len(corpus.utterances)
    assert f"visual: absent in 2 of {total} utterances: no vector in the file" in corpus.notes
    assert not {("Ses01F_impro01", 1), (value["test"][0]["vid"], 0)} & set(vectors(corpus, "visual"))
    assert (vectors(corpus, "visual")["Ses01F_impro01", 0] == value["train"][0]["visual"][0]).all()


# Anything at all

TINY = dict.fromkeys(("text", "audio", "visual", "sbert"), 2)
VALUES = {
    "mmsa": lambda r: mmsa_value(r, {"text": (3, 2), "audio": (4, 2), "vision": (3, 2)}, unimodal=True),
    "mult": lambda r: mult_value(r, (2, 2, 2)),
    "samples": lambda r: samples_value(r, widths=TINY),
    "dicts": lambda r: as_dicts(samples_value(r, widths=TINY)),
    "multilabel": lambda r: samples_value(r, widths=TINY, mosei="multilabel"),
    "json": lambda r: json_value(emorynlp_rows(r, {(1, 1, 1): 3, (1, 1, 2): 1})),
}
STRANGE = (None, "", "x", b"\xff", "\udc80", 10**5000, -1, float("nan"), True, [], {}, (), [[]], [[[1.0], [2.0, 3.0]]], {1: 2}, 1j)


def damaged(value: Any, dice: random.Random, depth: int = 0) -> Any:
    """The same, with one place changed."""
    if (depth > 1 and dice.random() < 0.35) or not isinstance(value, dict | list | np.ndarray) or not len(value):
        choices = [*STRANGE, [value], np.array([1.0, np.nan]), np.zeros((2, 0)), np.array(["a"]), np.array([None]), Record("os.system", {})]
        return dice.choice(choices)
    if isinstance(value, np.ndarray):
        changes = [value[:-1], value.astype(str), value.tolist(), value[..., None], value.astype(object), value.reshape(-1)]
        return dice.choice([*changes, np.full_like(value, np.inf)] if value.dtype.kind == "f" else changes)
    key = dice.choice(list(value)) if isinstance(value, dict) else dice.randrange(len(value))
    made = value.copy()
    if dice.random() < 0.15:
        del made[key]
    else:
        made[key] = damaged(value[key], dice, depth + 1)
    return made


def of_class(value: Any) -> Any:
    """Dialogues as instances, as far as they are dicts still."""
    if not isinstance(value, dict):
        return value
    made = {}
    for split, part in value.items():
        whole = isinstance(part, list)
        made[split] = [Record("cogmen.Sample.Sample", one) if isinstance(one, dict) else one for one in part] if whole else part
    return made


@pytest.mark.parametrize("kind", VALUES)
def test_no_structure_breaks_a_reader(kind, monkeypatch, tmp_path):
    whole, path = VALUES[kind](rng()), tmp_path / "a.pkl"
    path.write_bytes(b"")
    ends: Counter[str] = Counter()

    @settings(max_examples=60, deadline=None, derandomize=True)
    @given(st.integers(0, 2**32))
    def read(seed):
        value = damaged(whole, random.Random(seed))
        value = of_class(value) if kind in ("samples", "multilabel") else value
        monkeypatch.setattr(module, "read_content", lambda path, records: Content(path, "json" if kind == "json" else "pickle", value))
        try:
            read_published(path, nan="absent", one_split="train")
        except InputError as error:
            ends["another layout" if "one of the layouts" in str(error) else "a fault"] += 1
        else:
            ends["read"] += 1

    read()
    assert min(ends["a fault"], ends["read"]) > 3, f"vacuous: {ends}"


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


def test_a_structure_that_grows_is_said_in_bounded_time():
    bomb: Any = [1.0]
    for _ in range(60):
        bomb = [bomb, bomb, bomb]
    folded: Any = {"a": 1}
    for _ in range(60):
        folded = {10**5000: folded, "b": folded}
    assert len(describe(bomb)) < 200
    assert len(describe(folded)) < 300
    for kind in ("mmsa", "mult", "dicts", "multilabel"):
        for key in {key for part in VALUES[kind](rng()).values() for key in (part if isinstance(part, dict) else part[0])}:
            for strange in (bomb, folded):
                value = VALUES[kind](rng())
                place = value["train"] if isinstance(value["train"], dict) else value["train"][0]
                place[key] = strange
                if kind == "multilabel":
                    value = {split: [Record("cogmen.Sample.Sample", one) for one in part] for split, part in value.items()}
                content = Content(Path("a.pkl"), "pickle", value)
                for layout in known_layouts():
                    if layout.kind == "pickle" and layout.recognise(content):
                        with contextlib.suppress(InputError):  # where nobody looks at the key, it is no fault
                            _ = [load() for load in layout.read(content, module.Choices()).arrays.values()]


def test_samples_of_another_class_are_not_read(tmp_path):
    path = write_samples(tmp_path / "a.pkl", "cogmen", samples_value(rng(), widths=TINY))
    assert read_published(path).source["reader"] == "cogmen-iemocap"
    value = {split: [Record("os.Sample", one) for one in part] for split, part in samples_value(rng(), widths=TINY).items()}
    content = Content(Path("a.pkl"), "pickle", value)
    assert not any(layout.recognise(content) for layout in known_layouts() if layout.kind == "pickle")
