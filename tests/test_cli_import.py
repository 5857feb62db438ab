"""``dglmerc import``: what it writes and prints, and one line for every fault of the data."""

from __future__ import annotations

import io
import os
import subprocess
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cli_cases
import click
import numpy as np
import pytest
from cli_cases import run
from click.testing import CliRunner, Result

from dgl_merc.cli.import_corpus import import_corpus
from dgl_merc.cli.main import Commands
from dgl_merc.corpus import SPLITS, open_corpus
from dgl_merc.errors import InputError

HEADER = "Sr No.,Utterance,Speaker,Emotion,Sentiment,Dialogue_ID,Utterance_ID,Season,Episode,StartTime,EndTime"
TEXT = ("--features", "text={split}.npy")


def meld(folder: Path) -> Path:
    """Two dialogues of two utterances in each split."""
    for number, split in enumerate(SPLITS):
        rows = [HEADER]
        for k in range(4):
            rows.append(f'{k},Hi {k},Ann,{"joy" if k else "fear"},positive,{k // 2},{k % 2},1,2,"00:00:0{k},5","00:00:0{k},9"')
        (folder / f"{split}_sent_emo.csv").write_text("\n".join(rows) + "\n", encoding="utf-8")
        np.save(folder / f"{split}.npy", np.arange(8, dtype=np.float32).reshape(4, 2) + 10 * number)
    archive(folder)
    return folder


def archive(folder: Path, **changes: Any) -> None:
    arrays: dict[str, Any] = {
        "split": np.array(["test", "train", "dev"]),
        "dialogue_id": np.array([1, 1, 0]),
        "utterance_id": np.array([1, 0, 1]),
        "power": np.array([[1.0, 2.0], [3.0, 4.0], [5.0, 6.0]]),
    }
    arrays |= changes
    np.savez(folder / "av.npz", **{name: x for name, x in arrays.items() if x is not None})


def edit(name: str, old: str, new: str) -> Callable[[Path], None]:
    """Replace a piece of a file, which must be there."""

    def change(folder: Path) -> None:
        text = (folder / name).read_bytes().decode()
        assert old in text
        (folder / name).write_bytes(text.replace(old, new, 1).encode())

    return change


def put(name: str, x: Any, **options: Any) -> Callable[[Path], None]:
    return lambda folder: np.save(folder / name, x, **options)


def raw(name: str, change: Callable[[bytes], bytes]) -> Callable[[Path], Any]:
    return lambda folder: (folder / name).write_bytes(change((folder / name).read_bytes()))


def pack(**changes: Any) -> Callable[[Path], None]:
    return lambda folder: archive(folder, **changes)


def corrupt_member(folder: Path) -> None:
    """A zip whose directory is whole and whose bytes are not."""
    data = bytearray((folder / "av.npz").read_bytes())
    with zipfile.ZipFile(io.BytesIO(bytes(data))) as file:
        offset = file.getinfo("power.npy").header_offset
    data[offset + 200] ^= 0xFF
    (folder / "av.npz").write_bytes(bytes(data))


def nothing(_folder: Path) -> None:
    return None


TRAIN = "train_sent_emo.csv"
AUDIO = ("--features", "audio=av.npz:log(power)")
LINE = '2,Hi 2,Ann,joy,positive,1,0,1,2,"00:00:02,5","00:00:02,9"'

MELD_FAULTS: dict[str, tuple[Callable[[Path], Any], tuple[str, ...], tuple[str, ...]]] = {
    # name: (what is done to good data, options, what the one line must say)
    "a file missing": (lambda f: (f / "dev_sent_emo.csv").unlink(), TEXT, ("missing: dev_sent_emo.csv",)),
    "no utterance": (raw(TRAIN, lambda b: b.split(b"\n")[0] + b"\n"), TEXT, (TRAIN, "expected at least one utterance", "header only")),
    "an empty file": (raw(TRAIN, lambda _: b""), TEXT, (TRAIN, "found an empty file")),
    "a column missing": (edit(TRAIN, "Speaker", "Who"), TEXT, (TRAIN, "line 1", "expected a column 'Speaker'", "Who")),
    "a column twice": (edit(TRAIN, "Season", "Episode"), TEXT, (TRAIN, "found 'Episode' twice")),
    "an unnamed column": (edit(TRAIN, "Season", ""), TEXT, (TRAIN, "found none for column 8")),
    "a short row": (edit(TRAIN, "Hi 2,Ann,", "Hi 2,"), TEXT, (TRAIN, "line 4", "expected 11 cells", "found 10")),
    "an open quote": (edit(TRAIN, "Hi 2", '"Hi 2'), TEXT, (TRAIN, "line 4", "expected comma-separated cells")),
    "bytes that are no UTF-8": (raw(TRAIN, lambda b: b.replace(b"Hi 2", b"Hi \x92")), TEXT, (TRAIN, "line 4", "UTF-8", "0x92")),
    "a NUL": (edit(TRAIN, "Hi 2", "Hi \0"), TEXT, (TRAIN, "line 4", "NUL")),
    "an unknown label": (edit(TRAIN, LINE, LINE.replace("joy", "jooy")), TEXT, (TRAIN, "line 4: dialogue 1, utterance 0", "emotion", "'jooy'")),
    "an unknown label after a quoted line break": (
        edit(TRAIN, LINE, LINE.replace("Hi 2", '"Hi\n2"').replace("joy", "jooy")),
        TEXT,
        (TRAIN, "line 4: dialogue 1, utterance 0", "'jooy'"),
    ),
    "an unknown label below a quoted line break": (
        lambda f: (edit(TRAIN, "Hi 1", '"Hi\n1"')(f), edit(TRAIN, LINE, LINE.replace("joy", "jooy"))(f)),
        TEXT,
        (TRAIN, "line 5: dialogue 1, utterance 0", "'jooy'"),
    ),
    "a column of the corpus": (edit(TRAIN, "Sr No.", "position"), TEXT, (TRAIN, "line 1", "'position'")),
    "a column of that name already": (edit(TRAIN, "Sr No.", "speaker"), TEXT, (TRAIN, "line 1", "'speaker'")),
    "an unknown sentiment": (edit(TRAIN, LINE, LINE.replace("positive", "good")), TEXT, ("line 4: dialogue 1, utterance 0", "sentiment", "'good'")),
    "no speaker": (edit(TRAIN, "Hi 2,Ann,", "Hi 2, ,"), TEXT, (TRAIN, "line 4: dialogue 1, utterance 0", "expected a speaker", "empty cell")),
    "a dialogue id that is no number": (edit(TRAIN, LINE, LINE.replace(",1,0,", ",x1,0,")), TEXT, ("dialogue x1, utterance 0", "whole number", "'x1'")),
    "a time that is none": (edit(TRAIN, "00:00:02,9", "00:61:02,9"), TEXT, ("line 4: dialogue 1, utterance 0", "H:MM:SS", "'00:61:02,9'")),
    "an utterance twice": (edit(TRAIN, LINE, LINE.replace(",1,0,", ",0,1,")), TEXT, (TRAIN, "line 4: dialogue 0, utterance 1", "in line 3 already")),
    "rows that do not match": (put("train.npy", np.zeros((5, 2))), TEXT, ("train.npy", "expected 4 rows", "of train", "found 5")),
    "no split in the name": (nothing, ("--features", "text=train.npy"), ("train.npy", "expected 12 rows", "found 4", "{split}")),
    "a wrong width": (put("dev.npy", np.zeros((4, 3))), TEXT, ("dev.npy", "text", "expected width 2 as in train.npy", "found 3")),
    "three dimensions": (put("dev.npy", np.zeros((4, 1, 2))), TEXT, ("dev.npy", "expected an array [rows, width]", "[4, 1, 2]")),
    "no columns": (put("train.npy", np.zeros((4, 0))), TEXT, ("train.npy", "[4, 0]")),
    "complex numbers": (put("dev.npy", np.zeros((4, 2), complex)), TEXT, ("dev.npy", "real numbers", "complex128")),
    "objects": (put("dev.npy", np.array([{}] * 4), allow_pickle=True), TEXT, ("dev.npy", "expected a NumPy .npy array")),
    "a foreign file": (raw("dev.npy", lambda _: b"hello"), TEXT, ("dev.npy", "expected a NumPy .npy array")),
    "an empty array file": (raw("dev.npy", lambda _: b""), TEXT, ("dev.npy", "expected a NumPy .npy array")),
    "a truncated array": (raw("dev.npy", lambda b: b[:-4]), TEXT, ("dev.npy", "expected a NumPy .npy array")),
    "an archive named .npy": (lambda f: (f / "av.npz").rename(f / "dev.npy"), TEXT, ("dev.npy", "expected a NumPy .npy array")),
    "NaN": (put("dev.npy", np.array([[1, 2], [3, np.nan], [1, 2], [1, np.nan]])), TEXT, ("dev.npy: dialogue 0, utterance 1", "text", "found nan in column 1", "2 utterances")),
    "infinity": (put("dev.npy", np.array([[1, 2], [3, 4], [-np.inf, 2], [1, 2]])), TEXT, ("dev.npy: dialogue 1, utterance 0", "-inf in column 0")),
    "too great for float32": (put("dev.npy", np.full((4, 2), 1e300)), TEXT, ("dev.npy: dialogue 0, utterance 0", "float32")),
    "a file of features missing": (lambda f: (f / "dev.npy").unlink(), TEXT, ("dev.npy", "tried", "found none")),
    "no logarithm": (pack(power=np.array([[1.0, 2], [3, 0], [5, 6]])), AUDIO, ("av.npz: dialogue 1, utterance 0", "log(power)", "values above 0, found 0.0 in column 1")),
    "NaN by key": (pack(power=np.array([[np.nan, 2], [3, 1], [5, 6]])), AUDIO, ("av.npz: dialogue 1, utterance 1", "finite numbers, found nan")),
    "a key that matches nothing": (pack(utterance_id=np.array([1, 9, 1])), AUDIO, ("av.npz", "split train, dialogue 1, utterance 9", "row 1")),
    "a foreign split": (pack(split=np.array(["test", "train", "val"])), AUDIO, ("av.npz", "split val, dialogue 0, utterance 1", "row 2")),
    "a key twice": (pack(split=np.array(["dev"] * 3), dialogue_id=np.array([1, 0, 0]), utterance_id=np.array([0, 1, 1])), AUDIO, ("av.npz", "split dev, dialogue 0, utterance 1 twice",)),
    "no split to join by": (pack(split=None), AUDIO, ("av.npz", "expected an array 'split'")),
    "no utterance to join by": (pack(utterance_id=None), AUDIO, ("av.npz", "'utterance_id' or 'position'")),
    "no dialogue to join by": (pack(dialogue_id=None), AUDIO, ("av.npz", "expected an array 'dialogue_id'", "power")),
    "keys that are no ids": (pack(utterance_id=np.array([1.0, 0.0, 1.0])), AUDIO, ("av.npz", "utterance_id", "float64")),
    "keys of another length": (pack(utterance_id=np.array([1, 0])), AUDIO, ("av.npz", "utterance_id", "[3]", "[2]")),
    "rows of another number than keys": (pack(power=np.ones((4, 2))), AUDIO, ("av.npz", "power", "expected 3 rows", "found 4")),
    "an array missing": (pack(power=None), AUDIO, ("av.npz", "'power'", "found the arrays: split, dialogue_id, utterance_id")),
    "objects in an archive": (pack(power=np.array([None] * 3)), AUDIO, ("av.npz", "power", "without Python objects")),
    "words as numbers": (pack(power=np.array(["a"] * 3)), AUDIO, ("av.npz", "power", "real numbers", "<U1")),
    "a truncated archive": (raw("av.npz", lambda b: b[: len(b) // 2]), AUDIO, ("av.npz", "truncated")),
    "a corrupt archive": (corrupt_member, AUDIO, ("av.npz", "power", "found a fault")),
    "a face without eyes": (pack(landmark_names=np.array(["chin"])), ("--features", "v=av.npz:face(power)"), ("av.npz", "face(power)", "eyeLeft and eyeRight")),
    "landmarks of another number": (pack(landmark_names=np.array(["eyeLeft", "eyeRight"])), ("--features", "v=av.npz:face(power)"), ("av.npz", "expected [rows, 4]", "[3, 2]")),
    "a face whose eyes coincide": (pack(landmark_names=np.array(["eyeLeft", "eyeRight"]), power=np.ones((3, 4))), ("--features", "v=av.npz:face(power)"), ("av.npz: dialogue 1, utterance 0", "two eyes in different places")),
    "a modality that is nowhere": (pack(power=np.full((3, 2), np.nan)), (*AUDIO, "--nan", "absent"), ("expected at least one utterance with audio",)),
    "a modality twice": (nothing, (*TEXT, "--features", "text=x.npy"), ("'text' twice",)),
    "features without a file": (nothing, ("--features", "text"), ("expected MODALITY=FILE.npy", "no equals sign")),
    "features of another kind": (nothing, ("--features", "text=x.txt"), ("expected MODALITY=FILE.npy", "'x.txt'")),
    "features of no plain word": (nothing, ("--features", "my-text=x.npy"), ("plain word", "'my-text'")),
    "an expression behind .npy": (nothing, ("--features", "text=x.npy:log(a)"), (":log(a)",)),
    "an archive without expression": (nothing, ("--features", "audio=av.npz"), ("names of arrays",)),
    "an unknown function": (nothing, ("--features", "audio=av.npz:exp(power)"), ("log, log1p, sqrt, face", "'exp'")),
    "an open bracket": (nothing, ("--features", "audio=av.npz:log(power"), ("FUNCTION(ARRAY)", "'log(power'")),
    "columns of MELD": (nothing, ("--features", "audio=columns:Season"), ("import table",)),
    "an unknown class": (nothing, (*TEXT, "--classes", "joy,bliss"), ("--classes", "'bliss'")),
    "one class": (nothing, (*TEXT, "--classes", "joy"), ("--classes", "two or more")),
    "a class twice": (nothing, (*TEXT, "--classes", "joy,joy"), ("--classes", "different")),
    "labels where an unknown modality": (nothing, (*TEXT, "--label-only-where", "audio"), ("--label-only-where audio", "text")),
}  # fmt: skip

TABLE = """dialogue_id,utterance_id,speaker,split,emotion,mood,f0,f1
a,0,Ann,train,joy,1,1,2
a,1,Bob,train,fear,2,3,4
b,0,Ann,test,joy,3,5,6
"""
COLUMNS = ("--features", "text=columns:f0..f1")

TABLE_FAULTS: dict[str, tuple[tuple[str, str], tuple[str, ...], tuple[str, ...]]] = {
    # name: (what is replaced by what, options, what the one line must say)
    "a dialogue in two splits": (("a,1,Bob,train", "a,1,Bob,dev"), COLUMNS, ("line 3: dialogue a, utterance 1", "expected split train as in line 2, found dev")),
    "an unknown split": (("b,0,Ann,test", "b,0,Ann,valid"), COLUMNS, ("line 4: dialogue b, utterance 0", "train, dev, test", "'valid'")),
    "no split": (("split", "fold"), COLUMNS, ("line 1", "'split'", "--one-split")),
    "two splits": (("", ""), (*COLUMNS, "--one-split", "train"), ("line 1", "--one-split", "'split'")),
    "no speaker column": (("speaker", "who"), COLUMNS, ("'speaker' (`dglmerc import table` --speaker names another)", "who")),
    "no such column": (("", ""), (*COLUMNS, "--text", "said"), ("'said' (`dglmerc import table` --text names another)",)),
    "two columns for one": (("", ""), (*COLUMNS, "--speaker", "mood"), ("'mood' (--speaker) or 'speaker', found both",)),
    "no dialogue": (("b,0,Ann", ",0,Ann"), COLUMNS, ("line 4", "utterance 0", "expected a dialogue_id", "empty cell")),
    "an utterance twice": (("a,1,Bob", "a,0,Bob"), COLUMNS, ("line 3: dialogue a, utterance 0", "in line 2 already")),
    "ids half numbers": (("a,1,Bob", "a,x,Bob"), COLUMNS, ("line 3: dialogue a, utterance x", "whole number", "'x'")),
    "a label not seen in training": (("b,0,Ann,test,joy", "b,0,Ann,test,rage"), COLUMNS, ("line 4: dialogue b, utterance 0", "emotion", "fear, joy", "'rage'")),
    "one label": (("fear", "joy"), COLUMNS, ("emotion", "two or more labels", "--classes")),
    "no such target": (("", ""), (*COLUMNS, "--target", "anger"), ("'anger' for --target",)),
    "a target twice": (("", ""), (*COLUMNS, "--target", "mood", "--target", "mood:0..3"), ("each target once",)),
    "a target of the corpus": (("", ""), (*COLUMNS, "--target", "speaker"), ("--target speaker",)),
    "a target renamed away": (("", ""), (*COLUMNS, "--target", "mood", "--text", "mood"), ("'mood' for --target",)),
    "a range of words": (("", ""), (*COLUMNS, "--target", "mood:a..b"), ("expected two numbers",)),
    "a range upside down": (("", ""), (*COLUMNS, "--target", "mood:3..-3"), ("LOW < HIGH",)),
    "outside the range": (("", ""), (*COLUMNS, "--target", "mood:0..2.5"), ("line 4: dialogue b, utterance 0", "mood", "from 0 to 2.5", "'3'")),
    "not a number in a range": (("joy,3", "joy,high"), (*COLUMNS, "--target", "mood:0..3"), ("line 4: dialogue b, utterance 0", "mood", "'high'")),
    "a NaN in a range": (("joy,3", "joy,nan"), (*COLUMNS, "--target", "mood:0..3"), ("line 4: dialogue b, utterance 0", "'nan'")),
    "no such feature column": (("", ""), ("--features", "text=columns:f0..f2"), ("'f2'",)),
    "a pattern of nothing": (("", ""), ("--features", "text=columns:g*"), ("'g*'",)),
    "a feature column twice": (("", ""), ("--features", "text=columns:f*,f1"), ("'f1' twice",)),
    "a label as feature": (("", ""), ("--features", "text=columns:emotion"), ("'emotion'",)),
    "a feature that is no number": (("1,2\n", "1,loud\n"), COLUMNS, ("line 2: dialogue a, utterance 0", "f1", "'loud'")),
    "a feature cell left out": (("1,2\n", "1,\n"), COLUMNS, ("line 2: dialogue a, utterance 0", "found nan in column 1", "1 utterances")),
    "classes of no target": (("", ""), (*COLUMNS, "--target", "mood:0..3", "--classes", "joy,fear"), ("--classes", "found none")),
    "a presence column": (("mood", "has_text"), COLUMNS, ("'has_text'",)),
    "a position that is no number": (("mood,f0,f1\na,0,Ann,train,joy,1", "position,f0,f1\na,0,Ann,train,joy,1x"), COLUMNS, ("line 2: dialogue a, utterance 0", "position", "'1x'")),
}  # fmt: skip


def assert_one_line(result: Result, *pieces: str) -> None:
    """As everywhere, and nothing was printed before."""
    cli_cases.assert_one_line(result, *pieces)
    assert not result.stdout


@pytest.mark.parametrize("fault", MELD_FAULTS)
def test_a_fault_of_meld_is_one_line(tmp_path: Path, fault: str) -> None:
    change, options, pieces = MELD_FAULTS[fault]
    change(meld(tmp_path))
    assert_one_line(run("import", "meld", tmp_path, tmp_path / "out", *options), *pieces)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("fault", TABLE_FAULTS)
def test_a_fault_of_a_table_is_one_line(tmp_path: Path, fault: str) -> None:
    (old, new), options, pieces = TABLE_FAULTS[fault]
    assert old in TABLE
    (tmp_path / "talk.csv").write_text(TABLE.replace(old, new, 1))
    result = run("import", "table", tmp_path / "talk.csv", tmp_path / "out", *options)
    assert_one_line(result, *pieces)
    assert not (tmp_path / "out").exists()


def test_the_good_data_behind_the_faults_is_good(tmp_path: Path) -> None:
    meld(tmp_path)
    result = run("import", "meld", tmp_path, tmp_path / "out", *TEXT, *AUDIO, "--classes", "joy,fear", "--label-only-where", "audio")
    assert result.exit_code == 0, result.output
    assert result.stderr == ""
    corpus = open_corpus(tmp_path / "out", check="full")
    assert list(corpus.modalities) == ["text", "audio"]
    assert corpus.utterances["emotion"].notna().sum() == 3
    for said in (
        "| train |         2 |          4 |        1 |                1 |                  1 |            4 |             1 |",
        "| (unlabelled) |     3 |   3 |    3 |",
        "- audio: absent in 9 of 12 utterances: no row in av.npz",
        "- emotion: 9 utterances without audio became context (--label-only-where audio)",
        "- speakers: 1 occur in more than one split",
        f"Written to {tmp_path / 'out'}",
    ):
        assert said in result.stdout


def test_a_table_prints_what_is_in_it(tmp_path: Path) -> None:
    (tmp_path / "talk.csv").write_text(TABLE.replace("joy", "[bold]joy"))
    result = run("import", "table", tmp_path / "talk.csv", tmp_path / "out", *COLUMNS, "--target", "emotion", "--target", "mood:0..3")
    assert result.exit_code == 0, result.output
    assert "| [bold]joy    |     1 |    1 |" in result.stdout
    assert "mood labelled" in result.stdout
    assert open_corpus(tmp_path / "out").targets["mood"].bounds == (0, 3)


def test_a_link_to_itself_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "loop").symlink_to("loop")
    assert_one_line(run("import", tmp_path / "loop", tmp_path / "out"), "expected a path, found Symlink loop")


def test_force_replaces_a_corpus_and_nothing_else(tmp_path: Path) -> None:
    meld(tmp_path)
    out = tmp_path / "out"
    assert run("import", "meld", tmp_path, out, *TEXT).exit_code == 0
    assert_one_line(run("import", "meld", tmp_path, out, *TEXT), str(out), "--force")
    assert run("import", "meld", tmp_path, out, *AUDIO, "--force").exit_code == 0
    assert list(open_corpus(out).modalities) == ["audio"]
    assert_one_line(run("import", "meld", tmp_path, tmp_path, *TEXT, "--force"), "apart from the data")
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos" / "a.jpg").touch()
    assert_one_line(run("import", "meld", tmp_path, tmp_path / "photos", *TEXT, "--force"), "corpus.json")
    (tmp_path / "note").touch()
    assert_one_line(run("import", "meld", tmp_path, tmp_path / "note", *TEXT, "--force"), "found a file")


def test_a_failed_import_leaves_the_old_corpus(tmp_path: Path) -> None:
    meld(tmp_path)
    out = tmp_path / "out"
    run("import", "meld", tmp_path, out, *TEXT)
    before = open_corpus(out).content_sha256
    edit(TRAIN, "joy", "jooy")(tmp_path)
    assert_one_line(run("import", "meld", tmp_path, out, *TEXT, "--force"))
    assert open_corpus(out, check="full").content_sha256 == before


def test_the_embedded_corpus(tmp_path: Path) -> None:
    pytest.importorskip("dgl_merc.corpus.synthetic")
    result = run("import", "synthetic", tmp_path / "out", "--seed", 3)
    assert result.exit_code == 0, result.output
    assert "ceilings on test" in result.stdout
    assert open_corpus(tmp_path / "out").source["seed"] == 3


@pytest.mark.parametrize(
    ("error", "code", "said"),
    [
        (InputError("a\nb"), 2, "dglmerc: error: a b\n"),
        (InputError("found \x1b[2J\u202e"), 2, "dglmerc: error: found \ufffd[2J\ufffd\n"),
        (PermissionError(13, "Permission denied", "/x/y"), 2, "dglmerc: error: /x/y: Permission denied\n"),
        (OSError(28, "No space left on device"), 2, "dglmerc: error: No space left on device\n"),
        (KeyboardInterrupt(), 130, "dglmerc: interrupted"),
    ],
)
def test_errors_become_one_line_and_an_exit_code(error: BaseException, code: int, said: str) -> None:
    @click.group(cls=Commands)
    def group() -> None: ...

    @group.command()
    def fail() -> None:
        raise error

    result = CliRunner().invoke(group, ["fail"])
    assert result.exit_code == code
    assert result.stderr.startswith(said)
    assert len(result.stderr.splitlines()) == 1


def test_help_is_light() -> None:
    """No page of help loads torch, DGL, numpy or pandas."""
    code = (
        "import sys, contextlib, io\n"
        "from dgl_merc.cli.main import main\n"
        "def pages(c, path):\n"
        "    for name, sub in getattr(c, 'commands', {}).items(): yield from pages(sub, [*path, name])\n"
        "    yield path\n"
        "for path in pages(main, []):\n"
        "    with contextlib.redirect_stdout(io.StringIO()) as out:\n"
        "        main([*path, '--help'], standalone_mode=False)\n"
        "    assert 'Usage:' in out.getvalue()\n"
        "    print(*path)\n"
        "heavy = {'torch', 'dgl', 'pandas', 'numpy', 'pyarrow', 'sklearn', 'matplotlib'} & set(sys.modules)\n"
        "assert not heavy, heavy\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert {"import meld", "import table", "import synthetic"} <= set(done.stdout.splitlines())


def test_the_command_runs_as_a_module_and_leaves_no_traceback(tmp_path: Path) -> None:
    arguments = [sys.executable, "-m", "dgl_merc.cli", "import", "table", str(tmp_path / "none.csv"), str(tmp_path / "o"), *COLUMNS]
    done = subprocess.run(arguments, capture_output=True, text=True, check=False, env={**os.environ, "COLUMNS": "40"})
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == f"dglmerc: error: {tmp_path / 'none.csv'}: expected a CSV file, found none\n"


def test_the_splits_of_the_options_are_the_corpus_s() -> None:
    table = import_corpus.commands["table"]
    choice = next(option.type for option in table.params if option.name == "one_split")
    assert isinstance(choice, click.Choice)
    assert tuple(choice.choices) == SPLITS
