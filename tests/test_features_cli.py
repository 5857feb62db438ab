"""``dglmerc features``: recordings of all sorts through the command line, killed, interrupted and refused."""

from __future__ import annotations

import itertools
import json
import random
import shutil
import struct
import subprocess
import sys
import wave as riff
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from cli_cases import assert_one_line, good, run
from extraction_cases import record
from media_cases import need_media, pictures, wave, write_video, write_wav

from dgl_merc.corpus import open_corpus, save_corpus
from dgl_merc.corpus.synthetic import synthetic_corpus

HEAD = "dialogue_id,utterance_id,speaker,text,media,start,end\n"
pytestmark = pytest.mark.xdist_group("features")


def table(path: Path, *rows: str) -> Path:
    path.write_text(HEAD + "".join(f"{row}\n" for row in rows))
    return path


# ---- recordings of all sorts


@pytest.fixture(scope="module")
def odd(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A conversation in which everything is wrong that may be, but for its first and its last utterance."""
    need_media()
    folder = tmp_path_factory.mktemp("odd")
    media = folder / "m"
    media.mkdir()
    whole = write_wav(media / "good.wav", wave(1)).read_bytes()
    (media / "truncated.wav").write_bytes(whole[: len(whole) // 2])
    write_video(media / "silent.mp4", pictures(10))
    with riff.open(str(media / "nothing.wav"), "wb") as nothing:
        nothing.setparams((1, 2, 16_000, 0, "NONE", ""))
    with (media / "hours.wav").open("wb") as file:  # three, of 1000 samples a second; the file has no content
        n = 3 * 3600 * 1000
        file.write(
            b"RIFF"
            + struct.pack("<I", 36 + n)
            + b"WAVEfmt "
            + struct.pack("<IHHIIHH", 16, 1, 1, 1000, 1000, 1, 8)
            + b"data"
            + struct.pack("<I", n)
        )
        file.truncate(44 + n)
    (media / "words.wav").write_text("This is no sound.\n" * 100)
    (media / "empty.wav").write_bytes(b"")
    write_wav(media / "long.wav", np.concatenate([wave(1, pitch=p) for p in (100, 200)]))
    names = ["good", "truncated", "silent", "nothing", "hours", "words", "empty", "missing"]
    rows = [f"d,{k},{'ab'[k % 2]},hello {k},{name}.{'mp4' if name == 'silent' else 'wav'},," for k, name in enumerate(names)]
    rows += [
        "d,8,a,bye,long.wav,0,1",
        "d,9,a,bye,long.wav,1,1",
        "d,10,a,bye,long.wav,1,2",
        "d,11,a,bye,long.wav,,",
        "d,12,a,bye,,,",
    ]
    table(folder / "talk.csv", *rows)
    return folder


def test_what_is_wrong_with_recordings_is_listed_and_the_rest_is_there(odd, tmp_path):
    result = run(
        "features", odd / "talk.csv", tmp_path / "out", "--media", odd / "m", "--audio", "egemaps", "--one-split", "train", "--jobs", 2
    )
    assert result.exit_code == 0, (result.output, result.exception)
    corpus = open_corpus(tmp_path / "out", check="full")
    there = corpus.utterances["has_audio"]
    assert np.flatnonzero(there).tolist() == [0, 8, 10]
    reasons = corpus.utterances["no_audio_because"]
    assert (reasons.isna() == there).all()
    said = reasons[~there].tolist()
    assert len(set(said[:6])) >= 5, said
    assert said[6:] == ["no such file", "ends before it begins", "no start and end, in a recording of several", "no recording"]
    files = corpus.utterances["audio_media"]
    for row in np.flatnonzero(~there).tolist():
        file = f", {files[row]}" if isinstance(files[row], str) else ""
        assert f"- audio: dialogue d, utterance {row}{file}: {reasons[row]}" in result.stdout.splitlines()
    assert corpus.features["audio"].shape == (3, 88)
    assert np.ptp(np.asarray(corpus.features["audio"]), axis=0).max() > 1
    looked = {"good.wav", "truncated.wav", "silent.mp4", "nothing.wav", "hours.wav", "words.wav", "empty.wav", "long.wav"}
    assert set(corpus.source["media"]) == looked
    assert corpus.source["path"] == str(odd / "talk.csv")
    (licence,) = result.stderr.splitlines()
    assert licence.startswith("audio: openSMILE")
    assert corpus.modalities["audio"].recipe["licence"] in licence
    assert [p.name for p in tmp_path.iterdir()] == ["out"]
    assert not any("features: none yet" in note for note in corpus.notes)
    info = good("corpus", "info", tmp_path / "out")
    assert any("opensmile eGeMAPSv02" in line for line in info)
    assert f"- audio: licence: {corpus.modalities['audio'].recipe['licence']}" in info
    recipes = json.loads("\n".join(good("corpus", "info", tmp_path / "out", "--json")))["recipes"]
    assert recipes == {"audio": corpus.modalities["audio"].recipe}


def test_a_corpus_gets_the_modality_beside_its_own(tmp_path, odd):
    corpus = synthetic_corpus(0, (2, 1, 1), with_ceilings=False)
    save_corpus(corpus, tmp_path / "corpus")
    (tmp_path / "m/train").mkdir(parents=True)
    shutil.copy(odd / "m/good.wav", tmp_path / f"m/{corpus.dialogue_ids[0]}_0.wav")
    options = ("--media", tmp_path / "m", "--audio", "gemaps")
    assert_one_line(
        run("features", tmp_path / "corpus", tmp_path / "out", *options),
        "expected a corpus without audio, found one with it",
        "convert CORPUS OUT --drop audio",
    )
    good("corpus", "convert", tmp_path / "corpus", tmp_path / "without", "--drop", "audio")
    assert run("features", tmp_path / "without", tmp_path / "out", *options).exit_code == 0
    made = open_corpus(tmp_path / "out", check="full")
    assert made.utterances["has_audio"].tolist() == [True, *[False] * (len(corpus.utterances) - 1)]
    np.testing.assert_array_equal(made.features["text"], corpus.features["text"])
    assert sorted(p.name for p in tmp_path.iterdir()) == ["corpus", "m", "out", "without"]


def test_nothing_that_can_be_heard_is_one_line(tmp_path, odd):
    result = run("features", table(tmp_path / "t.csv", "d,0,a,x,words.wav,,", "d,1,b,y,empty.wav,,"), tmp_path / "out", "--media", odd / "m", "--audio", "gemaps", "--one-split", "train")  # fmt: skip
    assert result.exit_code == 2
    error = result.stderr.splitlines()[-1]
    assert error.startswith(
        "dglmerc: error: audio: expected at least one utterance that has it, found none; the first: dialogue d, utterance 0, words.wav: "
    )
    assert [p.name for p in tmp_path.iterdir()] == ["t.csv"]


# ---- what is refused


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ((), "expected --text, --audio or --visual, found none"),
        (("--audio", "egemaps"), "--audio: expected the folder of the recordings, found none; pass --media DIR"),
        (("--media", "m", "--text", "x"), "--media: expected --audio or --visual beside it, found neither; leave it out"),
        (("--clips", "{text}", "--text", "x"), "--clips: expected --audio or --visual beside it, found neither; leave it out"),
        (("--cut", "never", "--text", "x"), "--cut: expected --audio or --visual beside it, found neither; leave it out"),
        (("--media", "m", "--audio", "loud"), "--audio: expected one of egemaps, "),
        (("--media", "no", "--audio", "egemaps"), "audio: expected a folder with recordings (--media DIR), found no"),
        (("--media", "m", "--audio", "egemaps", "--clips", "{x}.wav"), "--clips: expected columns of the table in braces"),
        (("--media", "m", "--audio", "egemaps", "--jobs", "0"), "Invalid value for '--jobs'"),
        (
            ("--media", ".", "--audio", "egemaps", "--clips", "{text}.wav"),
            "expected recordings of the utterances, such as x.wav; found m, t.csv",
        ),
        (("--media", "m", "--visual", "hog", "--device", "cuda:99"), "--device cuda:99: expected a device of this machine"),
    ],
)
def test_wrong_options_are_one_line_and_leave_nothing(tmp_path, monkeypatch, words, said):
    monkeypatch.chdir(tmp_path)
    record(tmp_path / "m/d.wav", 1)
    table(tmp_path / "t.csv", "d,0,a,x,,0,1")
    assert_one_line(run("features", "t.csv", "out", "--one-split", "train", *words), said)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["m", "t.csv"]


def test_places_that_can_t_be(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    record(tmp_path / "m/d.wav", 1)
    table(tmp_path / "t.csv", "d,0,a,x,,0,1")
    save_corpus(synthetic_corpus(0, (2, 1, 1), with_ceilings=False), tmp_path / "corpus")
    options = ("--media", "m", "--audio", "egemaps")
    for words, said in [
        (("t.tsv", "out"), "t.tsv: expected the folder of a corpus or a table (.csv), found none"),
        (("m", "out"), "m: expected a corpus folder with corpus.json in it"),
        (("t.csv", "t.csv"), "t.csv: expected a folder apart from t.csv"),
        (("t.csv", "m"), "m: expected a folder apart from the recordings, found m in it"),
        (("t.csv", "corpus"), "corpus: exists and is not empty"),
        (("corpus", "corpus", "--force"), "corpus: expected a folder apart from corpus"),
        (("corpus", "out", "--one-split", "train"), "--one-split: expected a table, found a corpus"),
        (("t.csv", "out"), "expected a column 'split'"),
    ]:
        result = run("features", *words, *options)
        if "column 'split'" in said:
            assert result.exit_code == 2
            continue
        assert_one_line(result, said)
    (tmp_path / ".out.unfinished").mkdir()
    (tmp_path / ".out.unfinished/state.json").write_text("a run's")
    assert_one_line(
        run("features", "t.csv", "out", "--one-split", "train", *options, "--force"),
        "expected unfinished features or nothing, found something else",
    )
    assert (tmp_path / ".out.unfinished/state.json").is_file()


def test_what_is_unfinished_is_gone_on_with_only_if_asked(tmp_path, monkeypatch):
    need_media()
    monkeypatch.chdir(tmp_path)
    (tmp_path / "m").mkdir()
    write_wav(tmp_path / "m/d.wav", wave(2))
    command = (
        "features",
        table(tmp_path / "t.csv", "d,0,a,x,,0,1", "d,1,a,y,,1,2"),
        "out",
        "--one-split",
        "train",
        "--media",
        "m",
        "--audio",
        "gemaps",
    )
    with monkeypatch.context() as patch:
        patch.setattr("dgl_merc.cli.features.write", lambda *_, **__: (_ for _ in ()).throw(KeyboardInterrupt))
        result = run(*command)
    assert (result.exit_code, result.stderr.splitlines()[-1]) == (
        130,
        "dglmerc: interrupted; nothing was left half-written, and the same command goes on with it (fit, features: with --resume)",
    )
    assert_one_line(
        run(*command),
        "out: features of it (in .out.unfinished) are unfinished; pass --resume to go on with them, name another folder, or begin anew with --force",
    )
    result = run(*command, "--resume")
    assert (result.exit_code, result.stderr) == (0, "audio: 2 of 2 were done already\n"), result.output
    assert sorted(p.name for p in tmp_path.iterdir()) == ["m", "out", "t.csv"]
    assert_one_line(run(*command, "--resume"), "out: exists and is not empty")
    result = run(*command, "--force")
    assert (result.exit_code, "licence" in result.stderr) == (0, True)


# ---- kill -9


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="forks, and looks at /proc")
def test_killed_or_interrupted_it_ends_with_the_same_bits(tmp_path):
    for d in range(3):
        record(tmp_path / f"m/d{d}.wav", d, {"1.0": "absent"})
    table(tmp_path / "talk.csv", *(f"d{d},{k},a,says {d} {k},,{k},{k + 0.5}" for d in range(3) for k in range(4)))
    driver = Path(__file__).with_name("features_driver.py")

    def drive(points: list[Any]) -> list[dict[str, Any]]:
        folder = tmp_path / f"run{len(points)}"
        folder.mkdir()
        shutil.copy(tmp_path / "talk.csv", folder)
        shutil.copytree(tmp_path / "m", folder / "m")
        done = subprocess.run([sys.executable, str(driver), str(folder), json.dumps(points)], capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        return [json.loads(line) for line in done.stdout.splitlines()]

    (whole,) = drive([None])
    assert whole["status"] == [0], whole["said"]
    draw = random.Random(5)
    parts = [whole["count"] * k // 3 for k in range(4)]
    killed = drive([*(draw.randrange(lo + 1, hi + 1) for lo, hi in itertools.pairwise(parts)), "kill", "int"])
    for found in killed:
        assert found["status"][1] == 0, found["again"]
        assert found["parts"] == whole["parts"], found["point"]
        assert found["files"] == ["m", "out", "talk.csv"]
        assert found["left"] == [], "processes that outlive the command"
        if found["point"] != "int":
            assert found["status"][0] == 9
    *_, by_kill, by_int = killed
    for found in (by_kill, by_int):
        assert found["state"]
        taken = [line for line in found["again"] if "were done already" in line]
        assert taken[0] == "text: 12 of 12 were done already"
        assert 1 <= int(taken[1].split()[1]) < 12, "vacuous: all of it was done before"
    assert by_int["status"][0] == 130 << 8
    assert [line[:20] for line in by_int["said"]] == ["text: planted: for t", "audio: planted: for ", "dglmerc: interrupted"], by_int[
        "said"
    ]
    assert {found["state"] for found in killed} == {False, True}, "vacuous: died only before there was anything, or only after"
