"""MMSA's and MulT's sequences are pooled over their real frames, and all else of them arrives."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pytest
from cli_cases import good
from layout_cases_more import (
    MOSI,
    SIMS,
    by_id,
    mmsa_value,
    mult_value,
    rng,
    vectors,
    written,
)
from pickled import pickled

from dgl_merc.corpus import open_corpus
from dgl_merc.corpus.readers.published import read_published
from dgl_merc.corpus.reading import pooling
from dgl_merc.corpus.reading.pooling import length_mask, pool
from dgl_merc.errors import InputError


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


def test_mmsa_every_vector_arrives(tmp_path):
    """CH-SIMS, unaligned; the sequences are longer than what is real of them."""
    value = mmsa_value(rng(), SIMS, name="video_{:04}", unimodal=True)
    corpus = read_published(written("mmsa:sims", tmp_path))
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
    assert corpus.content_sha256 == read_published(written("mmsa:sims", tmp_path)).content_sha256
    good("import", written("mmsa:sims", tmp_path), tmp_path / "out")
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
def test_mult(case, tmp_path):
    corpus = read_published(written(case, tmp_path))
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
    "text type": ("test", "raw_text", lambda x: [None, *x[1:]], "test: raw_text: expected strings, found None as number 0"),
    "range": ("train", "regression_labels", lambda x: x + 2, "sentiment: expected a number from -1.0 to 1.0"),
    "words": ("train", "regression_labels", lambda x: ["one", *x[1:]], "regression_labels: expected numbers, found 'one' as number 0"),
    "huge": ("train", "regression_labels", lambda x: [10**999, *x[1:]], "regression_labels: expected numbers, found one that is too great"),
    "seven": ("valid", "regression_labels", lambda x: np.ones((2, 7)), "expected one number an utterance, found an array float64 [2, 7]"),
    "annotation of pandas": ("valid", "annotations", lambda x: [pd.NA, x[1]], "annotations: number 0: expected negative, neutral, positive, found NAType"),
    "annotation of rows": ("valid", "annotations", lambda x: [pd.Series([1, 2]), x[1]], "number 0: expected negative, neutral, positive, found Series"),
    "annotation": ("valid", "annotations", lambda x: ["Happy", x[1]], "annotations: number 0: expected negative, neutral, positive, found 'Happy'"),
    "width": ("test", "audio", lambda x: x[..., :1], "audio: expected one width, found 2 in train, 2 in valid, 1 in test"),
    "shape": ("test", "audio", lambda x: x[0], "test: audio: expected an array [4, frames, width] of numbers, found an array float64 [6, 2]"),
    "list": ("test", "vision", lambda x: x.tolist(), "test: vision: expected an array [4, frames, width] of numbers, found a list of 4: a list of 4"),
    "lengths": ("train", "audio_lengths", lambda x: [-1, *x[1:]], "audio_lengths: expected 9 numbers of 0 or more, found 9, the least -1"),
    "endless": ("train", "audio_lengths", lambda x: [1e300, *x[1:]], "audio_lengths: expected whole numbers, found 1e+300 as number 0"),
    "truth": ("train", "regression_labels", lambda x: [True, *x[1:]], "regression_labels: expected numbers, found True as number 0"),
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
