"""Which file an utterance is recorded in, and whether it is a stretch of it."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from extraction_cases import conversations

from dgl_merc.corpus.readers.meld import read_meld
from dgl_merc.errors import InputError
from dgl_merc.extraction import Media
from dgl_merc.extraction.recordings import ENDINGS, find_recordings


def touch(folder: Path, *names: str) -> Path:
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(b"x")
    return folder


def found(corpus: Any, folder: Path, kind: Any = "audio", **how: Any) -> list[Any]:
    """Of each utterance its file, start and end, or why not."""
    places = find_recordings(corpus, Media(folder, **how), kind)
    return [
        places.why.get(row)
        or (places.files[f], *(None if np.isnan(t[row]) else float(t[row]) for t in (places.start, places.end)))
        for row, f in enumerate(places.file.tolist())
    ]  # fmt: skip


# ---- which file


def test_the_column_media_comes_first_then_the_pattern_then_names(tmp_path):
    touch(tmp_path, "a/one.wav", "p-1.wav", "d0_2.wav", "d0.txt")
    corpus = conversations((3,), media=["a/./one.wav", None, ""])
    assert found(corpus, tmp_path) == [("a/one.wav", None, None), "no recording", ("d0_2.wav", None, None)]
    assert found(corpus, tmp_path, clips="p-{position}.wav") == [("a/one.wav", None, None), ("p-1.wav", None, None), "no such file"]


def test_a_dialogue_s_file_and_an_utterance_s(tmp_path):
    touch(tmp_path, "d0.wav", "d1_x.FLAC", "d1_1.flac")
    corpus = conversations((2, 2), utterance_id=["a", "b", "x", "y"])
    assert found(corpus, tmp_path) == [("d0.wav", 0.0, 0.5), ("d0.wav", 0.5, 1.0), ("d1_x.FLAC", None, None), "no recording"]
    assert found(conversations((2, 2)), tmp_path)[3] == ("d1_1.flac", None, None), "without utterance ids it is the position"


def test_dialogues_of_readers_stand_in_folders(tmp_path):
    touch(tmp_path, "train/0.mp4")
    corpus = conversations((2,), dialogue_id="train/0")
    assert found(corpus, tmp_path) == [("train/0.mp4", 0.0, 0.5), ("train/0.mp4", 0.5, 1.0)]


@pytest.mark.parametrize("ending", ENDINGS)
def test_every_ending(tmp_path, ending):
    touch(tmp_path, f"d0{ending.upper()}")
    assert found(conversations((1,)), tmp_path) == [(f"d0{ending.upper()}", 0.0, 0.5)]


def test_sound_prefers_files_of_sound_and_pictures_take_videos(tmp_path):
    touch(tmp_path, "d0.wav", "d0.mp4", "d1.mov")
    corpus = conversations((1, 1))
    assert [place[0] for place in found(corpus, tmp_path)] == ["d0.wav", "d1.mov"]
    assert [place[0] for place in found(corpus, tmp_path, "visual")] == ["d0.mp4", "d1.mov"]
    (tmp_path / "d0.mp4").unlink()
    assert found(corpus, tmp_path, "visual")[0] == "no recording"


@pytest.mark.parametrize("names", [("d0.wav", "d0.flac"), ("d0.mp4", "d0.mkv"), ("d0.wav", "d0.WAV"), ("d0.wav", "d0_0.wav")])
def test_two_that_may_be_it(tmp_path, names):
    touch(tmp_path, *names)
    with pytest.raises(InputError, match=r"dialogue d0: audio: expected one recording, found .* and .*; take one away") as error:
        found(conversations((1,)), tmp_path)
    assert all(name in str(error.value) for name in names)


def test_one_that_two_dialogues_may_mean(tmp_path):
    touch(tmp_path, "a_1.wav")
    with pytest.raises(InputError, match=r"a_1\.wav: expected the recording of one dialogue, found that it may be of a and of a_1"):
        found(conversations((2, 1), dialogue_id=["a", "a", "a_1"]), tmp_path)


def test_meld_s_clips(tmp_path, meld_dir):
    corpus = read_meld(meld_dir)
    rows = {split: int(np.argmax(corpus.utterances["split"] == split)) for split in ("train", "dev", "test")}
    ids = {split: corpus.utterances["utterance_id"].iloc[row] for split, row in rows.items()}
    names = {split: f"{split}_splits/dia0_utt{ids[split]}.mp4" for split in rows}
    touch(tmp_path, *names.values())
    places = found(corpus, tmp_path, clips="{split}_splits/dia{dialogue_id}_utt{utterance_id}.mp4")
    assert {split: places[row] for split, row in rows.items()} == {split: (name, None, None) for split, name in names.items()}
    assert set(places) == {*[(name, None, None) for name in names.values()], "no such file"}


def test_a_dialogue_that_was_moved_to_another_split_is_not_taken_for_its_namesake(tmp_path):
    touch(tmp_path, "train_splits/dia0.mp4", "dev_splits/dia0.mp4")
    corpus = conversations((1, 1), dialogue_id=["train/0", "train/1"], split=["dev", "train"])
    with pytest.raises(InputError, match=r"such as dev_splits/diatrain/0\.mp4, train_splits/dia1\.mp4; found"):
        found(corpus, tmp_path, clips="{split}_splits/dia{dialogue_id}.mp4")


@pytest.mark.parametrize("clips", ["dia{dialogue_id}_utt{position}.wav", "dia{dialogue_id}_utt0.wav", "dia0_utt{position}.wav"])
def test_a_pattern_that_takes_a_file_for_two_dialogues_is_refused(tmp_path, clips):
    """The clips of train's dialogue 0 are not those of dev's."""
    corpus = conversations((2, 1), dialogue_id=["train/0", "train/0", "dev/0"], split=["train", "train", "dev"])
    touch(tmp_path, "dia0_utt0.wav")
    with pytest.raises(InputError, match=r"dia0_utt0\.wav: .*may be of train/0 and of dev/0; put \{split\} or another column into --clips"):
        found(corpus, tmp_path, clips=clips)


def test_a_pattern_of_neither_names_files_that_dialogues_share(tmp_path):
    corpus = conversations((2, 1), day=["mon", "mon", "mon"])
    assert [place[0] for place in found(corpus, touch(tmp_path, "mon.wav"), clips="{day}.wav")] == ["mon.wav"] * 3


def test_numbers_in_patterns(tmp_path):
    touch(tmp_path, "7_x{y}.wav")
    assert found(conversations((1,), n=[7.0], w="x{y}"), tmp_path, clips="{n}_{w}.wav") == [("7_x{y}.wav", None, None)]


# ---- what leads elsewhere


@pytest.mark.parametrize("path", ["../x.wav", "/etc/hostname", "a/../../x.wav", "link.wav", "out/x.wav", "a\0b"])
def test_paths_that_lead_out_of_the_folder_are_refused(tmp_path, path):
    folder = touch(tmp_path / "m", "d0.wav")
    touch(tmp_path, "x.wav")
    (folder / "link.wav").symlink_to(tmp_path / "x.wav")
    (folder / "out").symlink_to(tmp_path)
    with pytest.raises(InputError, match=r"dialogue d0, utterance 1: media: expected a path to a file below .*, which leads out of it"):
        found(conversations((2,), media=["d0.wav", path]), folder)
    if path == "../x.wav":
        with pytest.raises(InputError, match=r"utterance 1: --clips: .*leads out of it"):
            found(conversations((2,), word=["d0", "../x"]), folder, clips="{word}.wav")


def test_a_file_called_by_the_dialogue_is_held_to_the_folder_too(tmp_path):
    folder = touch(tmp_path / "m", "d1.wav")
    touch(tmp_path, "d0.wav", "e.wav")
    (folder / "d0.wav").symlink_to(tmp_path / "d0.wav")
    with pytest.raises(InputError, match="leads out of it"):
        found(conversations((1, 1)), folder)
    assert found(conversations((1, 1, 1), dialogue_id=["../e", "d1", "/e"]), folder) == [
        "no recording",
        ("d1.wav", 0.0, 0.5),
        "no recording",
    ]


def test_links_within_the_folder_are_followed(tmp_path):
    touch(tmp_path, "a.wav")
    (tmp_path / "d0.wav").symlink_to("a.wav")
    assert found(conversations((1,)), tmp_path) == [("d0.wav", 0.0, 0.5)]


def test_names_of_any_length(tmp_path):
    """There is no file of such a name; the system says so by another error."""
    long = "x" * 300
    corpus = conversations((1, 1, 1, 1), dialogue_id=["d0", long, f"{long}/y", "d3"], media=[None, None, None, long])
    touch(tmp_path, "d0.wav")
    assert found(corpus, tmp_path) == [("d0.wav", 0.0, 0.5), "no recording", "no recording", "no such file"]


def test_what_is_no_file_is_no_recording(tmp_path):
    touch(tmp_path, "a.wav")
    (tmp_path / "d.wav").mkdir()
    os.mkfifo(tmp_path / "f.wav")
    (tmp_path / "l.wav").symlink_to("gone.wav")
    names = ["a.wav", "d.wav", "f.wav", "l.wav", "no.wav"]
    assert found(conversations((5,), media=names), tmp_path) == [("a.wav", None, None), *["no such file"] * 4]


@pytest.mark.parametrize(
    ("clips", "said"),
    [
        ("{nam}.wav", r"expected columns of the table in braces \(dialogue_id, .*\), found \{nam\}"),
        ("{}.wav", r"found \{\}"),
        ("{position:03d}.wav", r"found \{position:03d\}"),
        ("{text!r}.wav", r"found \{text!r\}"),
        ("{text.__class__}.wav", r"found \{text\.__class__\}"),
        ("{text", "expected a path with columns in braces"),
        ("a.wav", "which is the same for every utterance"),
    ],
)
def test_patterns_that_are_none(tmp_path, clips, said):
    with pytest.raises(InputError, match=f"^--clips: .*{said}"):
        found(conversations((1,)), touch(tmp_path, "a.wav"), clips=clips)


def test_a_pattern_that_no_utterance_needs(tmp_path):
    with pytest.raises(InputError, match="--clips: expected utterances without a file in the column media, found none; leave it out"):
        found(conversations((1,), media="a.wav"), touch(tmp_path, "a.wav"), clips="{text}.wav")


def test_no_recording_at_all(tmp_path):
    touch(tmp_path, "x1.wav", "x2.wav", "x3", "x4", "x5", "x6")
    with pytest.raises(InputError) as error:
        found(conversations((2, 1)), tmp_path)
    said = "audio: expected recordings of the utterances, such as d0.*, d0_0.*, d0_1.*; found x1.wav, x2.wav, x3, x4, x5 and 1 more; "
    assert str(error.value) == f"{tmp_path}: {said}a column media or --clips names files otherwise"
    with pytest.raises(InputError, match=r"visual: expected videos of the utterances, such as d0\.\*, "):
        found(conversations((2, 1)), tmp_path, kind="visual")
    (tmp_path / "e").mkdir()
    with pytest.raises(InputError, match=r"such as 0\.wav, 1\.wav; found nothing;"):
        found(conversations((2, 1)), tmp_path / "e", clips="{position}.wav")
    with pytest.raises(InputError, match=r"audio: expected a folder with recordings \(--media DIR\), found .*none"):
        found(conversations((2, 1)), tmp_path / "none")


# ---- from when to when


def test_shared_files_are_cut_and_others_whole(tmp_path):
    touch(tmp_path, "long.wav", "clip.wav")
    corpus = conversations((3,), media=["long.wav", "long.wav", "clip.wav"])
    cut = [("long.wav", 0.0, 0.5), ("long.wav", 0.5, 1.0)]
    assert found(corpus, tmp_path) == [*cut, ("clip.wav", None, None)]
    assert found(corpus, tmp_path, cut="always") == [*cut, ("clip.wav", 1.0, 1.5)]
    assert found(corpus, tmp_path, cut="never") == [("long.wav", None, None)] * 2 + [("clip.wav", None, None)]
    notes = find_recordings(corpus, Media(tmp_path), "audio").notes
    assert notes == (
        "audio: 2 utterances are cut by start and end; files that they are cut out of: 1",
        "audio: 1 utterances are whole files, their times not used in 1 (--cut always uses them)",
    )
    with pytest.raises(InputError, match="--cut: expected one of shared, always, never, found 'no'"):
        Media(tmp_path, cut="no")  # type: ignore[arg-type]


def test_times_that_can_t_be(tmp_path):
    touch(tmp_path, "d0.wav", "d1.wav", "d2.wav")
    nan = np.nan
    corpus = conversations((5, 1, 1), start=[1, nan, 2, 3, 4, nan, 5], end=[0.5, 2, nan, 3, np.inf, nan, 6])
    lacking = "no start and end, in a recording of several"
    assert found(corpus, tmp_path) == [
        "ends before it begins",
        lacking,
        lacking,
        "ends before it begins",
        lacking,
        ("d1.wav", None, None),  # the only one of its dialogue, and no times
        ("d2.wav", 5.0, 6.0),
    ]
    assert found(corpus, tmp_path, cut="never") == [(f"d{d}.wav", None, None) for d in (0, 0, 0, 0, 0, 1, 2)]
