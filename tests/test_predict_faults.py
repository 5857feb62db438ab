"""Hostile files: each gives one clear line and exit code 2, before anything is computed."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from cli_cases import assert_one_line, run
from click.testing import CliRunner
from predict_cases import fitted, small_corpus, spoken, write_csv

from dgl_merc.cli.main import main
from dgl_merc.corpus import Corpus
from dgl_merc.inference import json_lines

pytestmark = pytest.mark.xdist_group("predict_faults")  # its runs are made once

WIDTHS = {"text": 32, "audio": 24, "visual": 16}
GOOD: dict[str, Any] = {"dialogue_id": "d1", "speaker": "Ana", "features": {"text": [0.5] * 32}}


def without(key: str) -> dict[str, Any]:
    return {name: value for name, value in GOOD.items() if name != key}


def text(numbers: Any, **more: Any) -> dict[str, Any]:
    return {**GOOD, "features": {"text": numbers, **more}}


TWICE = json.dumps(GOOD).replace('"speaker"', '"dialogue_id": "d2", "speaker"')

LINES: dict[str, tuple[list[Any], tuple[str, ...]]] = {
    # what stands in the lines of a file (objects, or bytes), and what is said of it
    "no JSON": ([GOOD, b"dialogue d1, Ana: hello"], ("line 2: expected an utterance as a JSON object, found a fault",)),
    "cut off in the middle": ([json.dumps(GOOD)[:40].encode()], ("line 1: ", "found a fault")),
    "two objects on a line": ([json.dumps(GOOD).encode() * 2], ("line 1: ", "Extra data")),
    "one JSON list of all": ([json.dumps([GOOD, GOOD]).encode()], ("line 1: expected a JSON object", "found a list of 2")),
    "a bare number": ([b"17"], ("line 1: expected a JSON object", "found 17")),
    "a bare string of any length": ([json.dumps("x" * 500).encode()], ("line 1: ", "xxx...")),
    "a single quote": ([b"{'dialogue_id': 'd1'}"], ("line 1: ", "double quotes")),
    "nested too deeply": ([b"[" * 100_000], ("line 1: ", "found a fault")),
    "a number of too many digits": ([json.dumps(GOOD).replace("0.5", "9" * 5000).encode()], ("line 1: ", "found a fault")),
    "not UTF-8": ([json.dumps(GOOD).encode().replace(b"Ana", b"Ren\xe9")], ("line 1: expected UTF-8 text, found byte 0xe9",)),
    "UTF-16": ([json.dumps(GOOD).encode("utf-16")], ("line 1: expected UTF-8 text, found byte 0xff",)),
    "NUL characters": ([b"\0" * 10], ("line 1: ", "found a fault")),
    "a key twice": ([TWICE.encode()], ("line 1: ", "key 'dialogue_id' twice")),
    "no dialogue": ([without("dialogue_id")], ("line 1: dialogue_id: expected a name, found nothing",)),
    "an empty dialogue": ([{**GOOD, "dialogue_id": ""}], ('line 1: dialogue_id: expected a name, found ""',)),
    "a dialogue of blanks": ([{**GOOD, "dialogue_id": " \t"}], ("line 1: dialogue_id: expected a name",)),
    "a list as dialogue": ([{**GOOD, "dialogue_id": ["d1"]}], ("line 1: dialogue_id: expected a name, found a list of 1",)),
    "a truth as dialogue": ([{**GOOD, "dialogue_id": True}], ("line 1: dialogue_id: expected a name, found true",)),
    "half a character as dialogue": ([{**GOOD, "dialogue_id": "\ud800"}], ("line 1: ", "dialogue_id: expected text that UTF-8 can hold")),
    "no speaker": ([GOOD, without("speaker")], ("line 2: dialogue d1: speaker: expected a name, found nothing",)),
    "null as speaker": ([{**GOOD, "speaker": None}], ("line 1: dialogue d1: speaker: expected a name, found null",)),
    "features with a capital": ([{**GOOD, "Features": None}], ("line 1: Features: expected no such key",)),
    "a modality with a capital": (
        [text([0.5] * 32, Audio=[0.5] * 24)],
        ("talk.jsonl: audio: expected the modality by this name", "'Audio'"),
    ),
    "a name beyond all measure": ([{**GOOD, "speaker": "A" * 1001}], ("line 1: dialogue d1: speaker: expected a name of at most 1000",)),
    "a number beyond all measure as label": ([{**GOOD, "emotion": 10**400}], ("emotion: expected a label or null, found a number beyond",)),
    "a novel as label": ([{**GOOD, "emotion": "x" * 5000}], ("line 1: dialogue d1: emotion: expected a label or null", "xxx...")),
    "a list as utterance": ([{**GOOD, "utterance_id": [1]}], ("line 1: dialogue d1: utterance_id: expected a name, found a list of 1",)),
    "features that are a list": (
        [{**GOOD, "features": [0.5]}],
        ("line 1: dialogue d1: features: expected modalities", "found a list of 1"),
    ),
    "features beside features": ([{**GOOD, "audio": [0.5] * 24}], ("line 1: audio: expected no such key (features stand in 'features'",)),
    "a key misspelt": ([{**without("features"), "feature": {"text": [0.5] * 32}}], ("line 1: feature: expected no such key",)),
    "numbers as the text said": ([{**GOOD, "text": 0.5}], ("line 1: dialogue d1: text: expected what was said",)),
    "a scalar as vector": ([text(0.5)], ("line 1: dialogue d1: text: expected a list of numbers (or null: absent), found 0.5",)),
    "an empty vector": ([text([])], ("text: expected a list of numbers", "found a list of 0")),
    "words in a vector": (
        [text([0.5, "much", *[0.5] * 30])],
        ("text: expected finite numbers that float32 can hold, found", "as number 1"),
    ),
    "truths in a vector": ([text([True] * 32)], ("text: expected finite numbers", "found true as number 0")),
    "null in a vector": ([text([None] * 32)], ("text: expected finite numbers", "found null as number 0")),
    "a list in a vector": ([text([[0.5] * 32])], ("text: expected finite numbers", "found a list of 32 as number 0")),
    "NaN in a vector": ([text([float("nan")] * 32)], ("line 1: ", "NaN is no number; a modality that is absent is null")),
    "infinity in a vector": ([text([float("-inf")] * 32)], ("line 1: ", "-Infinity is no number")),
    "infinity by another way": ([json.dumps(GOOD).replace("0.5", "1e999").encode()], ("text: expected finite numbers",)),
    "beyond float32": ([text([1e39] * 32)], ("text: expected finite numbers that float32 can hold, found 1e+39",)),
    "an integer beyond float": ([text([10**400] * 32)], ("text: expected finite numbers", "beyond all measure")),
    "a vector too short": (
        [GOOD, text([0.5] * 31)],
        ("line 2: dialogue d1", "text: expected 32 numbers, as in the training of", "found 31"),
    ),
    "a vector too long": ([text([0.5] * 32, audio=[0.5] * 25)], ("line 1: dialogue d1", "audio: expected 24 numbers", "found 25")),
    "modalities nobody knows": (
        [{**GOOD, "features": {"vision": [1, 2]}}],
        ("expected features of text or audio or visual, which ", " hears, found none in any utterance, but of vision"),
    ),
    "no features at all": (
        [without("features")] * 3,
        ("expected features of text or audio or visual, which ", " hears, found none in any utterance"),
    ),
    "an unknown label": ([{**GOOD, "emotion": "hapy"}], ("dialogue d1, utterance 0: emotion: expected a label among happy, sad", "'hapy'")),
    "a number as label": ([{**GOOD, "emotion": 3}], ("emotion: expected a label among happy",)),
    "a truth as label": ([{**GOOD, "emotion": False}], ("line 1: dialogue d1: emotion: expected a label or null, found false",)),
    "labels as a list": ([{**GOOD, "emotion": ["happy"]}], ("line 1: dialogue d1: emotion: expected a label or null, found a list of 1",)),
    "a negative position": ([{**GOOD, "position": -1}], ("line 1: dialogue d1: position: expected a whole number from 0 on, found -1",)),
    "half a position": ([{**GOOD, "position": 1.5}], ("position: expected a whole number from 0 on, found 1.5",)),
    "a position twice": ([{**GOOD, "position": 1}] * 2, ("dialogue d1, utterance 1: expected every position once, found it twice",)),
    "positions of some": ([{**GOOD, "position": 1}, GOOD], ("dialogue d1: expected a position of every utterance or of none",)),
    "nothing": ([], ("talk.jsonl: expected at least one utterance, found none",)),
    "blank lines alone": ([b"", b"  ", b"\t"], ("talk.jsonl: expected at least one utterance, found none",)),
}


def as_bytes(lines: list[Any]) -> bytes:
    return b"".join((line if isinstance(line, bytes) else json.dumps(line).encode()) + b"\n" for line in lines)


@pytest.fixture(scope="module")
def corpus() -> Corpus:
    return small_corpus()


@pytest.fixture(scope="module")
def saved(corpus: Corpus, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return fitted(corpus, tmp_path_factory.mktemp("runs") / "run")


@pytest.fixture(autouse=True)
def _nothing_is_computed(monkeypatch: pytest.MonkeyPatch) -> None:
    def computed(*_args: object, **_more: object) -> None:
        raise AssertionError("something was computed")

    if "well_formed" not in os.environ.get("PYTEST_CURRENT_TEST", ""):
        monkeypatch.setattr("dgl_merc.inference.predictor.predict", computed)


def test_the_well_formed_line(saved, tmp_path):
    (tmp_path / "talk.jsonl").write_bytes(as_bytes([GOOD]))
    result = run("predict", saved, tmp_path / "talk.jsonl")
    assert result.exit_code == 0, result.output
    assert len(LINES) + len(TABLES) + len(PLACES) >= 50


@pytest.mark.parametrize("case", LINES)
def test_json_lines(case, saved, tmp_path):
    lines, pieces = LINES[case]
    (tmp_path / "talk.jsonl").write_bytes(as_bytes(lines))
    assert_one_line(run("predict", saved, tmp_path / "talk.jsonl"), "talk.jsonl", *pieces)


def test_a_line_without_end(saved, tmp_path, monkeypatch):
    monkeypatch.setattr(json_lines, "LONGEST_LINE", 1 << 20)
    (tmp_path / "talk.jsonl").write_bytes(as_bytes([GOOD]) + b" " * (1 << 21))
    assert_one_line(run("predict", saved, tmp_path / "talk.jsonl"), "line 2: expected an utterance in at most 1 MiB, found a longer line")


def test_closed_standard_streams(saved, tmp_path):
    """As a shell closes them: ``<&-`` and ``>&-``."""
    (tmp_path / "talk.jsonl").write_bytes(as_bytes([GOOD]))
    for command, said in (
        (f"predict {saved} --stream <&-", "found one of the two closed"),
        (f"predict {saved} - <&-", "standard input: expected JSON lines, found it closed"),
        (f"predict {saved} talk.jsonl >&-", "found it closed; pass --out"),
    ):
        done = subprocess.run(
            ["bash", "-c", f"{sys.executable} -m dgl_merc.cli {command}"], cwd=tmp_path, stderr=subprocess.PIPE, text=True
        )
        assert done.returncode == 2
        assert len(done.stderr.splitlines()) == 1
        assert said in done.stderr


def test_standard_input_is_named(saved):
    result = CliRunner().invoke(main, ["predict", str(saved), "-"], input=as_bytes([GOOD, without("speaker")]))
    assert_one_line(result, "standard input: line 2: dialogue d1: speaker: expected a name")


Change = Callable[[str], str]
TABLES: dict[str, tuple[Change | bytes, tuple[str, ...]]] = {
    # what is done to a good CSV, and what is said of it
    "empty": (b"", ("expected a header and rows, found an empty file",)),
    "a header only": (lambda s: s.splitlines()[0], ("expected at least one utterance, found a header only",)),
    "not UTF-8": (b"dialogue_id,speaker\nd1,Ren\xe9\n", ("line 2: expected UTF-8 text, found byte 0xe9",)),
    "NUL": (lambda s: s.replace("test/1", "te\0st/1"), ("found a NUL character",)),
    "no dialogue column": (lambda s: s.replace("dialogue_id", "conversation"), ("line 1: expected a column 'dialogue_id'",)),
    "no speaker column": (lambda s: s.replace("speaker", "who"), ("line 1: expected a column 'speaker'",)),
    "an empty dialogue": (lambda s: s.replace("test/1,", ",", 1), ("expected a dialogue_id, found an empty cell",)),
    "a column twice": (lambda s: s.replace("speaker", "dialogue_id", 1), ("expected different column names",)),
    "a row too short": (lambda s: s + "test/1,Ana\n", ("cells as in the header, found 2",)),
    "a quote that never ends": (lambda s: s.replace("test/1", '"test/1', 1), ("expected comma-separated cells, found a fault",)),
    "words as numbers": (lambda s: s.replace("0.", "O.", 1), ("text_", ": expected a number, found ")),
    "infinity": (lambda s: s.replace("0.", "1e99", 1), ("expected finite numbers, found ", "inf in column ")),
    "a column missing": (lambda s: s.replace("text_31", "texts"), ("text: expected the 32 columns text_0 to text_31", "found 31")),
    "a column more": (lambda s: s.replace("emotion", "text_32"), ("text: expected the 32 columns", "found 33 from text_32 to text_31")),
    "no features": (lambda s: s.replace("text_", "t").replace("audio_", "a").replace("visual_", "v"), ("expected columns of features",)),
    "empty cells alone": (
        lambda s: f"{s.splitlines()[0]}\nd1,Ana,{',' * 72}\n",
        ("expected columns of features", "found empty cells alone"),
    ),
    "columns with capitals": (lambda s: s.replace("audio_", "Audio_"), ("line 1: audio: expected columns audio_0, audio_1", "'Audio_23'")),
    "columns without underscores": (lambda s: s.replace("audio_", "audio"), ("line 1: audio: expected columns audio_0", "found 'audio0'")),
    "semicolons": (lambda s: s.replace(",", ";").replace(".", ","), ("line 1: expected cells with commas between them, found semicolons",)),
    "tabs": (lambda s: s.replace(",", "\t"), ("line 1: expected cells with commas between them, found tabs",)),
    "an unknown label of any length": (lambda s: s.replace("neutral", "calm" * 99, 1), ("emotion: expected a label (happy, ",)),
    "an unknown label": (lambda s: s.replace("neutral", "calm", 1), ("emotion: expected a label (happy, ", "found 'calm'")),
}


@pytest.mark.parametrize("case", TABLES)
def test_tables(case, corpus, saved, tmp_path):
    change, pieces = TABLES[case]
    file = write_csv(tmp_path / "talk.csv", spoken(corpus), WIDTHS)
    file.write_bytes(change if isinstance(change, bytes) else change(file.read_text()).encode())
    assert_one_line(run("predict", saved, file), "talk.csv", *pieces)


PLACES: dict[str, tuple[tuple[str, ...], tuple[str, ...]]] = {
    # arguments, and what is said of them
    "one place": (("run",), ("run: expected a run and a file of conversations, found one place only",)),
    "no such file": (("run", "nothing.jsonl"), ("nothing.jsonl: expected a file of JSON lines, found none",)),
    "no such CSV": (("run", "nothing.csv"), ("nothing.csv: expected a CSV file, found none",)),
    "no such folder": (("run", "nothing"), ("nothing: expected a .csv, JSON lines", "found no such file")),
    "a picture": (("run", "talk.png"), ("talk.png: expected a .csv, JSON lines", "found something else")),
    "a folder of another kind": (("run", "folder"), ("folder: expected a corpus folder with corpus.json in it, found none",)),
    "no run": (("folder", "talk.png"), ("folder: expected the folder of a run",)),
    "two files": (("run", "talk.png", "talk.png"), ("talk.png: expected the folder of a run",)),
    "a device that is not here": (("run", "talk.jsonl", "--device", "cuda:99"), ("--device cuda:99: expected a device",)),
    "features of JSON lines": (("run", "talk.jsonl", "--features", "text=columns:f*"), ("--features and --nan are for a CSV",)),
    "the same run twice": (("run", "./run", "talk.jsonl"), ("run: expected every run once, found it twice",)),
    "force without a file": (("run", "talk.jsonl", "--force"), ("--force: expected a file to replace (--out)",)),
    "answers in the file that is read": (("run", "talk.jsonl", "--out", "talk.jsonl", "--force"), ("talk.jsonl: is what is read",)),
    "answers in its features": (
        ("run", "talk.csv", "--features", "text=x.npy:y", "--out", "x.npy", "--format", "csv", "--force"),
        ("x.npy: is what is read",),
    ),
    "answers in features beside the table": (
        ("run", "sub/talk.csv", "--features", "text=y.npy", "--out", "sub/y.npy", "--format", "csv", "--force"),
        ("sub/y.npy: is what is read",),
    ),
    "answers in a run": (("run", "talk.jsonl", "--out", "run/predictions.parquet", "--force"), ("run, which holds metrics.json and is",)),
    "answers in a run's folder": (("run", "talk.jsonl", "--out", "run/figures/a.csv"), ("which holds metrics.json and is of one piece",)),
    "answers in no file": (
        ("run", "talk.jsonl", "--out", "/dev/null", "--format", "csv", "--force"),
        ("/dev/null: expected a file or nothing",),
    ),
    "answers through a link": (("run", "talk.jsonl", "--out", "link.csv", "--force"), ("link.csv: expected a file or nothing",)),
    "answers below a file": (("run", "talk.jsonl", "--out", "talk.png/a.csv"), ("talk.png; name another file",)),
    "a stream with a file": (("run", "talk.jsonl", "--stream"), ("talk.jsonl: expected runs alone with --stream",)),
    "a format nobody knows": (("run", "talk.jsonl", "--format", "xml"), ("'xml' is not one of",)),
    "features of another width": (("run", "talk.csv", "--features", "text=columns:f*"), ("text: expected vectors of width 32", "found 2")),
}


@pytest.mark.parametrize("case", PLACES)
def test_places(case, saved, tmp_path, monkeypatch):
    arguments, pieces = PLACES[case]
    monkeypatch.chdir(tmp_path)
    (tmp_path / "run").symlink_to(saved)
    (tmp_path / "folder").mkdir()
    (tmp_path / "talk.png").write_bytes(b"\x89PNG")
    (tmp_path / "talk.jsonl").write_bytes(as_bytes([GOOD]))
    (tmp_path / "sub").mkdir()
    for name in ("x.npy", "sub/y.npy", "sub/talk.csv"):
        (tmp_path / name).write_bytes(b"")
    (tmp_path / "link.csv").symlink_to(tmp_path / "nowhere.csv")
    (tmp_path / "talk.csv").write_text("dialogue_id,speaker,f0,f1\nd1,Ana,1,2\n")
    assert_one_line(run("predict", *arguments), *pieces)


def test_a_corpus_whose_target_means_something_else(corpus, saved, tmp_path):
    from dgl_merc.corpus import Target, save_corpus

    less = {**corpus.targets, "emotion": Target("classes", corpus.targets["emotion"].labels[::-1])}
    save_corpus(Corpus.build("other", corpus.utterances, corpus.features, less), tmp_path / "corpus")
    assert_one_line(run("predict", saved, tmp_path / "corpus"), "emotion: expected the classes happy, sad", "found the classes frustrated")
    free = corpus.utterances.assign(emotion="of any kind")
    save_corpus(Corpus.build("other", free, corpus.features, {}), tmp_path / "free")
    assert_one_line(run("predict", saved, tmp_path / "free"), "emotion: expected the labels to predict or no such column, found another")


@pytest.mark.parametrize("name", ["weights.safetensors", "scaling.safetensors", "config.json", "data.json"])
def test_a_damaged_run(name, saved, tmp_path):
    import shutil

    shutil.copytree(saved, tmp_path / "run")
    (tmp_path / "run" / name).write_bytes(b"{")
    (tmp_path / "talk.jsonl").write_bytes(as_bytes([GOOD]))
    assert_one_line(run("predict", tmp_path / "run", tmp_path / "talk.jsonl"), name)
