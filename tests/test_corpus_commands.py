"""``dglmerc corpus``: what each command prints and writes, its exit codes, and one line for everything that can't be."""

from __future__ import annotations

import json
import shlex
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from care_cases import LABELS, clean, clean_features, clean_table, corpora
from cli_cases import assert_one_line, good, run
from hypothesis import given, settings

from dgl_merc.cli.main import main
from dgl_merc.corpus import Corpus, Target, open_corpus, save_corpus
from dgl_merc.corpus.care import check, merge, save_table
from dgl_merc.corpus.readers.table import read_table
from dgl_merc.corpus.summary import column_table, length_table, modality_table, score_table
from dgl_merc.errors import InputError

SCORE = Target("range", bounds=(-1.0, 1.0))


@pytest.fixture(scope="module")
def corpus() -> Corpus:
    """Fifty dialogues with sessions, scores, a hole in audio, a zero vector, and text that a CSV has to quote."""
    table = clean_table()
    table["session"] = [f"Ses{int(name.split('/')[1]) % 3}" for name in table["dialogue_id"]]
    table["score"] = np.random.default_rng(2).uniform(-1, 1, len(table)).round(3)
    table.loc[5, ["score", "emotion"]] = None
    table.loc[7, "text"] = 'He said: "no,\nnever" — 日本語\r\n '
    table.loc[8, ["start", "end"]] = None
    features = clean_features(len(table))
    features["audio"][9] = 0
    table["has_audio"] = np.arange(len(table)) % 5 > 0
    return clean(table, features, {"score": SCORE, "emotion": Target("classes", LABELS)})


@pytest.fixture(scope="module")
def folder(corpus: Corpus, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("care") / "c"
    save_corpus(replace(corpus, notes=("a note of the reader",), source={"reader": "table", "path": "x.csv"}), path)
    return path


# ---- info


def test_info(folder):
    lines = good("corpus", "info", folder)
    out = "\n".join(lines)
    for said in ("clean: what is in it", "Utterances of a dialogue", "emotion: utterances per label", "score: scores from -1 to 1"):
        assert said in lines
    assert "Further columns" in out
    assert lines[-3:] == ["Source: table (x.csv)", "- a note of the reader", "- speakers: 0 occur in more than one split"]


def test_info_in_json(folder, corpus):
    said = json.loads(run("corpus", "info", folder, "--json").stdout)
    assert (said["dialogues"], said["utterances"], said["content_sha256"]) == (50, 300, corpus.content_sha256)
    assert said["tables"]["modalities"]["audio"]["present"] == 0.8
    assert list(said["tables"]) == ["splits", "lengths", "modalities", "target score", "target emotion", "columns"]


def test_tables_of_a_corpus(corpus):
    x = np.asarray(corpus.features["audio"], dtype=np.float64)
    told = modality_table(corpus).loc["audio"]
    assert (told["width"], told["present"]) == (4, 0.8)
    np.testing.assert_allclose(told[["mean", "sd", "least", "greatest"]].astype(float), [x.mean(), x.std(), x.min(), x.max()], rtol=1e-9)
    assert length_table(corpus).to_numpy().tolist() == [[6, 6.0, 6]] * 3
    train = corpus.scores("score")[:180]
    np.testing.assert_allclose(
        score_table(corpus, "score").loc["train"],
        [179, np.nanmean(train), np.nanstd(train), np.nanmin(train), np.nanmax(train)],
    )
    assert column_table(corpus).loc["session"].tolist() == ["str", 300, 3, "Ses0"]
    nobody = clean(clean_table((1, 0, 0)).assign(has_audio=False, emotion=None))
    assert modality_table(nobody).loc["audio", ["mean", "sd"]].isna().all()
    assert column_table(nobody).shape == (0, 4)


# ---- check


def test_check_of_what_is_clean(tmp_path):
    save_corpus(clean(), tmp_path / "c")
    assert good("corpus", "check", tmp_path / "c", "--strict") == [f"{tmp_path / 'c'}: intact; 0 leaks, 0 warnings, 0 notes"]


def test_check_exits_with_what_it_found(tmp_path, folder):
    assert run("corpus", "check", folder).exit_code == 0  # a zero vector is a warning
    result = run("corpus", "check", folder, "--strict")
    assert (result.exit_code, result.stderr) == (1, "")
    lines = result.stdout.splitlines()
    assert lines[0] == "warning: audio: 1 of 240 vectors are all zero (0.4 %) [zero-vectors]"
    assert lines[1] == "    at train/1 3 (dialogue, utterance)"
    assert lines[-1] == f"{folder}: intact; 0 leaks, 1 warning, 0 notes"
    table = clean_table()
    save_corpus(clean(table.assign(has_audio=table["emotion"] != "fear")), tmp_path / "leaky")
    result = run("corpus", "check", tmp_path / "leaky", "--json")
    said = json.loads(result.stdout)
    assert (result.exit_code, said["counts"]) == (1, {"leak": 1, "warning": 0, "note": 0})
    assert [f["rule"] for f in said["findings"]] == ["presence-tells-label"]


def test_check_reads_every_byte(folder, tmp_path):
    saved = save_corpus(clean(), tmp_path / "c")
    path = tmp_path / "c" / "features" / "audio.npy"
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes(bytes(data))
    assert_one_line(run("corpus", "check", tmp_path / "c"), "audio.npy: expected SHA-256")
    assert saved.path == tmp_path / "c"


def test_columns_may_hold_anything(tmp_path):
    """Lists, mappings, times, categories: parquet has them, and nothing stumbles."""
    table = clean_table((3, 2, 2))
    odd = {
        "tags": [["a", "b"]] * len(table),
        "facts": [{"k": 1}] * len(table),
        "day": pd.Timestamp("2020-01-01"),
        "kind": pd.Categorical(["x"] * len(table)),
    }
    made = save_corpus(clean(table.assign(**odd)), tmp_path / "c")
    assert check(made) == []
    assert column_table(made).loc["tags", "first"] == "['a' 'b']"
    assert merge([made, made]).content_sha256 == made.content_sha256
    assert save_table(made, tmp_path / "t").startswith("dglmerc import table t/utterances.csv")


# ---- convert


def test_convert(folder, tmp_path):
    lines = good(
        *("corpus", "convert", folder, tmp_path / "o", "--zeros-absent", "audio", "--map", "emotion:joy+anger=strong,fear=weak"),
        *("--target", "emotion=mood", "--modalities", "audio,text"),
    )
    made = open_corpus(tmp_path / "o", check="full")
    assert (list(made.modalities), list(made.targets), made.targets["mood"].labels) == (["audio", "text"], ["mood"], ("strong", "weak"))
    assert made.features["audio"].shape == (239, 4)
    assert lines[-1] == f"Written to {tmp_path / 'o'}"
    assert "- audio: absent in 1 of 300 utterances, whose vectors were all zero (--zeros-absent)" in lines
    assert made.notes[0] == "a note of the reader"
    assert [step["command"] for step in made.source["steps"]] == ["convert"] * 4
    good("corpus", "convert", folder, tmp_path / "o", "--force", "--drop", "text")
    assert list(open_corpus(tmp_path / "o").modalities) == ["audio"]


def test_convert_without_options_is_the_same_content(folder, tmp_path, corpus):
    good("corpus", "convert", folder, tmp_path / "o")
    assert open_corpus(tmp_path / "o", check="full").content_sha256 == corpus.content_sha256


def again(command: str, above: Path) -> Corpus:
    """What ``import.txt`` says, run in the folder above the table."""
    words = shlex.split(command)
    assert words[:3] == ["dglmerc", "import", "table"]
    placed = [str(above / word) if "/" in word and k in (3,) else word for k, word in enumerate(words)]
    placed[4] = str(above / words[4])
    good(*placed[1:])
    return open_corpus(above / words[4], check="full")


def test_a_table_reads_back_to_the_same_content(folder, tmp_path, corpus):
    lines = good("corpus", "convert", folder, tmp_path / "my table", "--to", "table")
    command = (tmp_path / "my table" / "import.txt").read_text().strip()
    assert lines[-1] == f"Written to {tmp_path / 'my table'}; from the folder above it, {command}"
    read = again(command, tmp_path)
    assert read.content_sha256 == corpus.content_sha256
    assert read.utterances["session"].tolist() == corpus.utterances["session"].tolist()
    assert_one_line(run("corpus", "convert", folder, tmp_path / "my table", "--to", "table"), "exists and is not empty")
    good("corpus", "convert", folder, tmp_path / "my table", "--to", "table", "--force", "--drop", "audio")
    assert not (tmp_path / "my table" / "audio.npy").exists()
    assert_one_line(run("corpus", "convert", folder, tmp_path / "my table", "--force"), "found no corpus.json in it")


@settings(max_examples=15, deadline=None)
@given(made=corpora())
def test_any_small_corpus_reads_back_as_it_was(made, tmp_path_factory):
    out = tmp_path_factory.mktemp("table") / "t"
    try:
        save_table(made, out)
    except InputError as error:
        assert "expected utterances that have it, found none" in str(error)  # noqa: PT017
        return
    read = read_table(
        out / "utterances.csv",
        [f"{m}={m}.npy" for m in made.modalities],
        nan="absent",
        targets=["emotion:joy|anger|fear"],
    )
    assert read.content_sha256 == made.content_sha256


def test_columns_a_table_keeps_for_itself(tmp_path):
    """An utterance id that names two utterances of a dialogue keeps its cells under another name; one that does not is kept."""
    table = clean_table((2, 1, 1)).assign(utterance_id=lambda t: t["position"] // 2, code=3).drop(columns="text")
    made = clean(table)
    read = again(save_table(made, tmp_path / "t"), tmp_path)
    assert read.content_sha256 == made.content_sha256
    assert read.utterances["original_utterance_id"].tolist()[:4] == ["0", "0", "1", "1"]
    named = clean(table.assign(utterance_id=lambda t: 10 * t["position"]))
    assert again(save_table(named, tmp_path / "n"), tmp_path).utterances["utterance_id"].tolist()[:2] == ["0", "10"]


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"text": [None, *["x"] * 23]}, "text: expected texts everywhere or nowhere"),
        ({"text": "a\0b"}, "found a NUL character"),
        ({"start": -1.0}, "start: expected times from 0"),
        ({"end": np.inf}, "end: expected times from 0"),
        ({"speaker": " "}, "speaker: expected names that are not blank"),
        ({"has_audio": False}, "audio: expected utterances that have it, found none"),
        ({"utterance_id": 1, "original_utterance_id": 2}, "expected columns with different names"),
    ],
)
def test_what_a_table_can_not_say(change, said, tmp_path):
    made = clean(clean_table((2, 1, 1)).assign(**change))
    with pytest.raises(InputError, match=said):
        save_table(made, tmp_path / "t")
    assert not (tmp_path / "t").exists()


@pytest.mark.parametrize(("labels", "name"), [(("a|b", "c"), "emotion"), (("", "c"), "emotion"), (("a", "c"), "em:o")])
def test_labels_a_command_can_not_name(labels, name, tmp_path):
    made = clean(clean_table((2, 1, 1)).drop(columns="emotion").assign(**{name: labels[1]}), targets={name: Target("classes", labels)})
    with pytest.raises(InputError, match="rename them"):
        save_table(made, tmp_path / "t")


# ---- split, merge, sample


def test_split_merge_and_sample(folder, tmp_path, corpus):
    lines = good("corpus", "split", folder, tmp_path / "s", "--dev", ".2", "--test", ".2", "--seed", "3")
    assert lines[-2].startswith("- split drawn with seed 3: train 60.0 % (30 dialogues), dev 20.0 % (10 dialogues)")
    good("corpus", "split", folder, tmp_path / "by", "--by", "session", "--dev", "Ses1", "--test", "Ses2")
    made = open_corpus(tmp_path / "by", check="full")
    assert (made.utterances["split"] == "dev").tolist() == (corpus.utterances["session"] == "Ses1").tolist()
    good("corpus", "split", folder, tmp_path / "kept", "--by", "session", "--dev", "Ses1", "--test", "keep")
    kept = open_corpus(tmp_path / "kept", check="full").utterances["split"]
    assert ((kept == "test") == (corpus.utterances["split"] == "test")).all()
    for part, splits in (("a", ["train"]), ("b", ["dev", "test"])):
        good("corpus", "sample", folder, tmp_path / part, "--fraction", 1, *(w for s in splits for w in ("--split", s)))
    lines = good("corpus", "merge", tmp_path / "a", tmp_path / "b", tmp_path / "ab")
    assert lines[-1] == f"Written to {tmp_path / 'ab'}"
    assert open_corpus(tmp_path / "ab", check="full").content_sha256 == corpus.content_sha256
    lines = good("corpus", "sample", folder, tmp_path / "few", "--dialogues", 2)
    assert lines[-2] == "- sample: 2 of 30 train, 2 of 10 dev, 2 of 10 test dialogues, drawn with seed 0"
    for m in ("text", "audio"):
        good("corpus", "convert", folder, tmp_path / m, "--modalities", m)
    good("corpus", "merge", tmp_path / "text", tmp_path / "audio", tmp_path / "both", "--side-by-side")
    assert open_corpus(tmp_path / "both", check="full").content_sha256 == corpus.content_sha256


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("info", "{x}"), "expected a corpus folder with corpus.json in it, found none"),
        (("check", "{x}"), "expected a corpus folder"),
        (("convert", "{c}", "{c}"), "expected a folder apart from"),
        (("convert", "{c}", "{c}/in", "--force"), "expected a folder apart from"),
        (("convert", "{c}", "{x}", "--drop", "text,audio"), "different modalities among text, audio, found none"),
        (("convert", "{c}", "{x}", "--drop", "smell"), "--drop: expected modalities among text, audio, found 'smell'"),
        (("convert", "{c}", "{x}", "--drop", "text", "--modalities", "text"), "leave one out"),
        (("convert", "{c}", "{x}", "--modalities", "text,,"), "--modalities: expected different names"),
        (("convert", "{c}", "{x}", "--target", "emotion="), "expected NAME or NAME=NEW"),
        (("convert", "{c}", "{x}", "--target", "emotion", "--target", "emotion=a"), "each target once"),
        (("convert", "{c}", "{x}", "--map", "emotion"), "expected TARGET:A+B=C"),
        (("convert", "{c}", "{x}", "--map", "gone.json"), "gone.json: expected a file, found none"),
        (("convert", "{c}", "{x}", "--to", "csv"), "'csv' is not one of"),
        (("split", "{c}", "{x}", "--dev", "some"), "--dev: expected a share from 0 to below 1, found 'some'"),
        (("split", "{c}", "{x}", "--test", "nan"), "--test: expected a share"),
        (("split", "{c}", "{x}", "--by", "session", "--group", "speaker"), "--group: expected none beside --by"),
        (("split", "{c}", "{x}", "--by", "session"), "expected values for dev or test"),
        (("split", "{c}", "{x}", "--by", ""), "expected a column to split by, found '', none among dialogue_id, speaker, text"),
        (("split", "{c}", "{x}", "--target", ""), "expected a target among score, emotion, found ''"),
        (("split", "{c}", "{x}", "--by", "session", "--dev", "Ses1", "--seed", "-1"), "-1 is not in the range"),
        (("merge", "{c}", "{x}"), "expected two or more corpora and OUT"),
        (("merge", "{c}", "{x}", "{y}"), "expected a corpus folder"),
        (("merge", "{c}", "{c}", "{c}"), "expected a folder apart from"),
        (("merge", "{c}", "{c}", "{x}", "--side-by-side"), "expected modalities beside text, audio, found 'text'"),
        (("sample", "{c}", "{x}"), "expected a number of dialogues or a fraction"),
        (("sample", "{c}", "{x}", "--fraction", "0"), "0.0 is not in the range"),
        (("sample", "{c}", "{x}", "--fraction", "nan"), "is not a number"),
        (("sample", "{c}", "{x}", "--dialogues", "0"), "0 is not in the range"),
        (("sample", "{c}", "{c}/..", "--dialogues", "1"), "expected a folder apart from"),
        (("smell",), "No such command 'smell'"),
    ],
)
def test_one_line_for_what_can_not_be(words, said, folder, tmp_path):
    result = run("corpus", *(w.format(c=folder, x=tmp_path / "x", y=tmp_path / "y") for w in words))
    assert_one_line(result, said)
    assert list(tmp_path.iterdir()) == []


def test_help_loads_nothing_heavy():
    commands = sorted(main.commands["corpus"].commands)
    assert commands == ["check", "convert", "info", "merge", "sample", "split"]
    code = (
        "import sys\nfrom click.testing import CliRunner\nfrom dgl_merc.cli.main import main\n"
        f"for name in {commands!r}:\n    assert CliRunner().invoke(main, ['corpus', name, '--help']).exit_code == 0\n"
        "print({'torch', 'dgl', 'pandas', 'numpy', 'scipy', 'rich'} & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert (done.stdout, done.stderr) == ("set()\n", "")


def test_what_was_written_is_a_corpus_as_any_other(folder, tmp_path):
    """Its features lie on the disk in one piece."""
    good("corpus", "sample", folder, tmp_path / "few", "--dialogues", 2)
    opened = open_corpus(tmp_path / "few", check="full")
    assert isinstance(opened.features["text"], np.memmap)
    pd.testing.assert_frame_equal(opened.utterances, open_corpus(tmp_path / "few").utterances)
