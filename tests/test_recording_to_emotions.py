"""From a recording and its transcript to emotions, whole: a synthesiser speaks, and everything behind it is what it is for people.

This proves plumbing: that vectors of the right sound and words reach the model. It proves nothing about emotion, which no such voice has.
"""

from __future__ import annotations

import csv
import io
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from cli_cases import assert_one_line, run
from click.testing import Result
from make_talk import FOLDER, LINES
from media_cases import minilm, need_media, pictures, talk, write_video

from dgl_merc.corpus import open_corpus
from dgl_merc.extraction import MediaError
from dgl_merc.extraction.media import read_sound
from dgl_merc.inference import Predictor
from dgl_merc.training.run_folder import open_run

pytestmark = pytest.mark.xdist_group("recording")  # its run is made once, and the model of sentences is loaded

SAID = ["You came!", "Of course I did.", "I was afraid, a bit.", "Why is that?", "It is late, and dark.", "But we are here."]
EMOTIONS = ["joy", "neutral", "fear"]
SMALL = ("--set", "model.hidden=5", "--set", "training.max_epochs=2", "--set", "training.batch_size=2", "--device", "cpu")


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory, unpainted: None) -> Path:
    """A folder with ``media``, ``talks.csv``, a corpus of it, and a run on that.

    Two voices; a long recording a dialogue: three of sound, and one of sound and pictures.
    """
    folder = tmp_path_factory.mktemp("recording")
    (folder / "media").mkdir()
    rows: list[dict[str, Any]] = []
    for d, split in enumerate(("train", "train", "dev", "test")):
        lines = [(("Ana", "Ben")[k % 2], SAID[(d + k) % 6]) for k in range(4)]
        for k, row in enumerate(talk(folder / "media", lines, dialogue=f"d{d}")):
            kept = {key: row[key] for key in ("speaker", "text", "start", "end")}
            media = row["media"] if d else "d0.mkv"
            rows.append({"dialogue_id": f"d{d}", "split": split, "media": media, **kept, "emotion": EMOTIONS[(d + k) % 3]})
    sound = read_sound(folder / "media/d0.wav", rate=22_050)
    write_video(folder / "media/d0.mkv", pictures(8 * 5), 5, sound.samples, sound.rate, audio="flac")
    (folder / "media/d0.wav").unlink()
    pd.DataFrame(rows).to_csv(folder / "talks.csv", index=False)
    asked = ("--media", folder / "media", "--text", minilm(), "--audio", "egemaps", "--visual", "hog,faces=no,per_second=2", "--jobs", 1)
    for command in (
        ("features", folder / "talks.csv", folder / "corpus", *asked),
        ("build-graphs", folder / "corpus", folder / "graphs"),
        ("fit", folder / "graphs", "--preset", "bilstm", *SMALL, "--set", "data.reduce=6", "--out", folder / "run"),
    ):
        result = run(*command)
        assert result.exit_code == 0, (result.output, result.exception)
    return folder


def new_table(made: Path) -> pd.DataFrame:
    """As one has it of a conversation that nobody labelled."""
    return pd.read_csv(made / "talks.csv").drop(columns=["split", "emotion"])


@pytest.fixture(scope="module")
def told(made: Path) -> Result:
    """What the one command says."""
    new_table(made).to_csv(made / "new.csv", index=False)
    return run("predict", made / "run", made / "new.csv", "--media", made / "media", "--jobs", 1)


def answers(table: pd.DataFrame) -> np.ndarray:
    return table[[f"p_{e}" for e in sorted(EMOTIONS)]].to_numpy()


def test_a_recording_and_its_transcript_in_one_command(made, told):
    assert told.exit_code == 0, told.output
    table, given = pd.read_csv(io.StringIO(told.stdout)), new_table(made)
    assert table.columns.tolist()[:7] == ["dialogue_id", "position", "start", "end", "text", "speaker", "predicted"]
    for column in ("dialogue_id", "speaker", "text", "start", "end"):
        assert table[column].tolist() == given[column].tolist()
    assert set(table["predicted"]) <= set(EMOTIONS)
    np.testing.assert_allclose(answers(table).sum(axis=1), 1, atol=1e-6)
    lines = told.stderr.splitlines()
    assert [line.split(" made by ")[0] for line in lines if " made by " in line] == ["- text:", "- audio:", "- visual:"]
    assert "audEERING" in lines[0]
    assert "- audio: 16 of 16" not in told.stderr, "nobody is told what is not missing"
    assert "- visual: 4 of 16 utterances have it; of the others it is absent" in lines


def test_it_is_the_prediction_from_the_corpus(made, told):
    """The very vectors that a run was trained on, through its scaling and its principal components."""
    corpus, saved = open_corpus(made / "corpus"), open_run(made / "run")
    assert saved.heard == {"text": 6, "audio": 6, "visual": 6}
    assert {m: corpus.presence[:, k].sum() for k, m in enumerate(corpus.modalities)} == {"text": 16, "audio": 16, "visual": 4}
    wanted = Predictor.open(made / "run").predict(corpus)
    np.testing.assert_allclose(answers(pd.read_csv(io.StringIO(told.stdout))), answers(wanted), rtol=0, atol=1e-6)
    assert np.ptp(answers(wanted), axis=0).max() > 1e-3, "vacuous: all are answered alike"
    for m in corpus.modalities:
        less = replace(corpus, features={n: x for n, x in corpus.features.items() if n != m}, utterances=corpus.utterances.assign(text=""))
        less = replace(less, modalities={n: about for n, about in corpus.modalities.items() if n != m})
        without = Predictor.open(made / "run").predict(less)
        assert np.abs(answers(without) - answers(wanted)).max() > 1e-5, f"vacuous: the model does not hear {m}"


def test_a_recording_is_explained_as_it_is_answered(made, told):
    table = pd.read_csv(io.StringIO(told.stdout))
    best = answers(table[table["dialogue_id"] == "d1"]).max(axis=1)
    ask = ("explain", made / "run", "d1", made / "new.csv", "--edges", 0)
    shown = {}
    for name, more in (("whole", ("--media", made / "media", "--jobs", 1)), ("deaf", ())):
        result = run(*ask, *more)
        assert result.exit_code == 0, result.output
        rows = [line.split("|") for line in result.stdout.splitlines() if line.startswith("| ") and line[2].isdigit()]
        shown[name] = [float(row[6]) for row in rows[:4]], result.stderr
    np.testing.assert_allclose(shown["whole"][0], 100 * best, rtol=0, atol=0.051)
    assert shown["deaf"][0] != shown["whole"][0]
    assert "- audio: 0 of 16 utterances have it; of the others it is absent; give recordings (--media DIR)" in shown["deaf"][1]
    assert "- visual: 4 of 16 utterances have it" in shown["whole"][1]
    assert_one_line(run(*ask[:3], "--media", made / "media"), "--media: expected a CSV after the dialogue, found none")


def test_what_is_not_there_is_listed_and_the_rest_answered(made, tmp_path):
    media, table = tmp_path / "media", new_table(made)
    shutil.copytree(made / "media", media)
    (media / "d1.wav").unlink()
    (media / "d2.wav").write_text("no sound at all")
    table.loc[1, ["start", "end"]] = [500.0, 501.0]
    table.to_csv(tmp_path / "new.csv", index=False)
    ask = ("predict", made / "run", tmp_path / "new.csv", "--media")
    result = run(*ask, media, "--jobs", 1, "--out", tmp_path / "answers.csv")
    assert result.exit_code == 0, result.output
    assert len(pd.read_csv(tmp_path / "answers.csv")) == 16
    listed = [line.rpartition(": ")[0] for line in result.stderr.splitlines() if line.startswith("- audio: dialogue ")]
    faulty = [("d0", 1, "d0.mkv"), *(("d1", k, "d1.wav") for k in range(4)), *(("d2", k, "d2.wav") for k in range(4))]
    assert listed == [f"- audio: dialogue {d}, utterance {u}, {file}" for d, u, file in faulty]
    assert "- audio: 7 of 16 utterances have it" in result.stderr
    assert "- visual: 3 of 16 utterances have it" in result.stderr
    assert_one_line(run(*ask, tmp_path / "nowhere"), "nowhere")


def test_the_recording_of_the_notebook_is_the_script_s():
    need_media()
    with (FOLDER / "talk.csv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    assert [(row["speaker"], row["text"]) for row in rows] == LINES
    assert (FOLDER / "talk.ogg").stat().st_size < 120_000
    loud = [np.abs(read_sound(FOLDER / "talk.ogg", float(r["start"]), float(r["end"])).samples).max() for r in rows]
    assert min(loud) > 0.1, "somebody speaks in every stretch"
    between = read_sound(FOLDER / "talk.ogg", float(rows[0]["end"]) + 0.05, float(rows[1]["start"]) - 0.05)
    assert np.abs(between.samples).max() < 0.02, "and nobody between the first two"
    with pytest.raises(MediaError):
        read_sound(FOLDER / "talk.ogg", 100.0, 101.0)
