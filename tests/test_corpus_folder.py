"""Corpora on disk: damaged folders are refused with one error, and folders appear whole or not at all."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

import dgl_merc.corpus.storage as storage
from dgl_merc.corpus import Corpus, Target, open_corpus, save_corpus
from dgl_merc.errors import InputError
from dgl_merc.files import file_record, new_folder, publish, read_json, verify_files, write_json


def small(seed: int = 0) -> Corpus:
    t = pd.DataFrame({"dialogue_id": ["a", "a", "b"], "position": [0, 1, 0], "speaker": ["x", "y", "x"], "split": ["train"] * 2 + ["dev"]})
    t["emotion"] = ["joy", None, "anger"]
    t["has_audio"] = [True, False, True]
    generator = np.random.default_rng(seed)
    x = {"text": generator.normal(size=(3, 4)), "audio": generator.normal(size=(2, 2))}
    return Corpus.build("small", t, x, {"emotion": Target("classes", ("joy", "anger"))})


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    save_corpus(small(), tmp_path / "c")
    return tmp_path / "c"


def edit(folder: Path, **change: object) -> None:
    about = read_json(folder / "corpus.json")
    write_json(folder / "corpus.json", about | change)


def record_again(folder: Path) -> None:
    """As one who tampers would: the records fit the files."""
    names = read_json(folder / "corpus.json")["files"]
    edit(folder, files={name: file_record(folder / name) for name in names})


def refused(folder: Path, said: str, check: str = "sizes") -> None:
    with pytest.raises(InputError) as caught:
        open_corpus(folder, check=check)
    assert said in str(caught.value), str(caught.value)
    assert str(folder) in str(caught.value)


# --- damaged folders


@pytest.mark.parametrize("name", ["utterances.parquet", "features/text.npy", "features/audio.npy"])
def test_missing_and_truncated_files(folder, name):
    data = (folder / name).read_bytes()
    (folder / name).write_bytes(data[:-1])
    refused(folder, f"{name}: expected {len(data)} bytes, found {len(data) - 1}")
    (folder / name).unlink()
    refused(folder, f"{name}: expected a file, found none")


@pytest.mark.parametrize("name", ["utterances.parquet", "features/audio.npy"])
def test_a_changed_byte_is_found_by_the_full_check(folder, name):
    data = bytearray((folder / name).read_bytes())
    data[-9] ^= 1
    (folder / name).write_bytes(bytes(data))
    refused(folder, f"{name}: expected SHA-256", "full")


def test_truncated_npy_whose_record_fits(folder):
    path = folder / "features/text.npy"
    path.write_bytes(path.read_bytes()[:-4])
    record_again(folder)
    refused(folder, "text.npy: expected a .npy array of float32, found something else")


@pytest.mark.parametrize("x", [np.zeros((3, 5), np.float32), np.zeros((3, 4)), np.zeros(12, np.float32)], ids=["width", "float64", "flat"])
def test_other_arrays(folder, x):
    np.save(folder / "features/text.npy", x)
    record_again(folder)
    refused(folder, f"text.npy: expected float32 [rows, 4], found {x.dtype} {list(x.shape)}")


class _Trap:
    """Unpickling it leaves a file behind."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[object, tuple[object, ...]]:
        return Path.touch, (self.path,)


def test_a_pickle_is_refused_and_not_run(folder, tmp_path):
    trap = np.array([[_Trap(tmp_path / "sprung")]], dtype=object)
    np.save(folder / "features/text.npy", trap, allow_pickle=True)
    record_again(folder)
    refused(folder, "text.npy: expected a .npy array of float32")
    assert not (tmp_path / "sprung").exists()
    np.load(folder / "features/text.npy", allow_pickle=True)
    assert (tmp_path / "sprung").exists(), "vacuous: the trap does not work"


def test_foreign_parquet(folder):
    path = folder / "utterances.parquet"
    path.write_bytes(b"not parquet at all")
    record_again(folder)
    refused(folder, "utterances.parquet: expected a parquet file, found something else")
    pd.DataFrame({"a": [1]}).to_parquet(path)
    record_again(folder)
    refused(
        folder,
        "expected the columns dialogue_id, speaker, split, text, position, start, end, emotion, has_text, has_audio; missing: dialogue_id",
    )


def test_contents_that_break_the_rules_are_found_by_the_full_check(folder):
    table = pd.read_parquet(folder / "utterances.parquet")
    table.assign(speaker=["x", "y", "z"]).to_parquet(folder / "utterances.parquet")
    record_again(folder)
    refused(folder, "the content is not what corpus.json's content_sha256 says", "full")
    table.assign(split=["train", "dev", "dev"]).to_parquet(folder / "utterances.parquet")
    record_again(folder)
    refused(folder, "dialogue a, utterance 1: expected split train", "full")
    table.assign(position=["zero", "one", "two"]).to_parquet(folder / "utterances.parquet")
    record_again(folder)
    refused(folder, "expected columns of the format's types")
    refused(folder, "dialogue a: expected positions", "full")


@pytest.mark.parametrize(
    ("version", "said"),
    [
        (2, "schema 2 is newer than this dglmerc knows (1)"),
        ("1", "expected a schema_version, found '1'"),
        (0, "found 0"),
        (None, "found None"),
    ],
)
def test_schemas(folder, version, said):
    edit(folder, schema_version=version)
    refused(folder, said)


def test_an_older_schema_is_migrated_step_by_step(folder, monkeypatch):
    monkeypatch.setattr(storage, "SCHEMA_VERSION", 3)
    monkeypatch.setattr(storage, "_MIGRATIONS", {1: lambda a: a | {"name": a["name"] + "+1"}, 2: lambda a: a | {"name": a["name"] + "+2"}})
    assert open_corpus(folder).name == "small+1+2"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (b"{", "expected JSON"),
        (b"\xff\xfe", "expected JSON"),
        (b"", "expected JSON"),
        (b"[1]", "expected a JSON object, found list"),
        (b"[" * 200_000, "expected JSON"),
        (b"{}", "expected a schema_version"),
    ],
    ids=["cut", "not UTF-8", "empty", "list", "deep", "nothing in it"],
)
def test_corpus_json_that_is_none(folder, text, said):
    (folder / "corpus.json").write_bytes(text)
    refused(folder, said)


@pytest.mark.parametrize(
    "change",
    [
        {"modalities": {"text": {"width": "wide", "provenance": ""}}},
        {"modalities": ["text"]},
        {"targets": {"emotion": {"labels": ["a", "b"]}}},
        {"files": {"utterances.parquet": {"sha256": ""}, "features/text.npy": {}, "features/audio.npy": {}}},
        {"files": None},
    ],
    ids=["width", "list", "kind", "bytes", "no files"],
)
def test_entries_of_other_kinds(folder, change):
    edit(folder, **change)
    refused(folder, "corpus.json: expected the entries of schema 1, found a fault at")


@pytest.mark.parametrize("key", ["name", "modalities", "targets", "files", "content_sha256"])
def test_entries_that_are_missing(folder, key):
    about = read_json(folder / "corpus.json")
    del about[key]
    write_json(folder / "corpus.json", about)
    refused(folder, f"found a fault at '{key}'")


def test_records_that_lead_outside(folder):
    files = read_json(folder / "corpus.json")["files"]
    shutil.copy(folder / "features/text.npy", folder.parent / "text.npy")
    outside = file_record(folder.parent / "text.npy")
    for name in ("../text.npy", str(folder.parent / "text.npy"), "features/../../text.npy"):
        edit(folder, files=files | {name: outside})
        refused(folder, f"a record names a file outside the folder: '{name}'")
    about = read_json(folder / "corpus.json")["modalities"]
    edit(folder, files=files, modalities=about | {"../../text": about["text"]})
    refused(folder, "expected a record of every file, found none of features/../../text.npy")


def test_no_corpus(tmp_path):
    refused(tmp_path / "nowhere", "expected a corpus folder with corpus.json in it, found none")


def test_verify_files_reads_bytes_only_when_asked(tmp_path):
    (tmp_path / "f").write_bytes(b"abc")
    records = {"f": file_record(tmp_path / "f")}
    assert records["f"] == {"bytes": 3, "sha256": "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"}
    (tmp_path / "f").write_bytes(b"abd")
    verify_files(tmp_path, records, hashes=False)
    with pytest.raises(InputError, match="the file was changed after it was written"):
        verify_files(tmp_path, records, hashes=True)


# --- whole or not at all


def test_an_error_in_the_middle_leaves_nothing(tmp_path, monkeypatch):
    def fail(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(storage, "write_json", fail)
    with pytest.raises(KeyboardInterrupt):
        save_corpus(small(), tmp_path / "c")
    assert list(tmp_path.iterdir()) == []


def test_a_folder_in_use_is_refused_and_an_empty_one_taken(folder, tmp_path):
    before = {p: p.read_bytes() for p in folder.rglob("*") if p.is_file()}
    with pytest.raises(InputError, match="exists and is not empty; name another folder or pass --force"):
        save_corpus(small(1), folder)
    assert {p: p.read_bytes() for p in folder.rglob("*") if p.is_file()} == before
    (tmp_path / "empty").mkdir()
    save_corpus(small(), tmp_path / "empty")
    (tmp_path / "file").write_text("x")
    with pytest.raises(InputError, match="expected a folder or nothing, found a file"):
        save_corpus(small(), tmp_path / "file", force=True)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["c", "empty", "file"]


def test_what_another_process_wrote_meanwhile_stays(tmp_path):
    with pytest.raises(InputError, match="exists and is not empty"), new_folder(tmp_path / "c"):
        save_corpus(small(), tmp_path / "c")
    assert open_corpus(tmp_path / "c").content_sha256 == small().content_sha256
    assert [p.name for p in tmp_path.iterdir()] == ["c"]


def test_force_replaces_and_keeps_the_old_when_the_new_fails(folder, tmp_path, monkeypatch):
    (folder / "stray").write_text("x")
    with monkeypatch.context() as patch:
        patch.setattr(storage, "write_json", lambda *_: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            save_corpus(small(1), folder, force=True)
    assert open_corpus(folder, check="full").content_sha256 == small().content_sha256
    assert (folder / "stray").exists()
    save_corpus(small(1), folder, force=True)
    assert open_corpus(folder, check="full").content_sha256 == small(1).content_sha256 != small().content_sha256
    assert not (folder / "stray").exists()
    assert [p.name for p in tmp_path.iterdir()] == ["c"]


def test_a_corpus_can_replace_the_folder_it_was_opened_from(folder):
    opened = open_corpus(folder)
    again = save_corpus(opened, folder, force=True)
    assert open_corpus(folder, check="full").content_sha256 == again.content_sha256 == small().content_sha256


def test_the_old_folder_comes_back_when_the_last_step_fails(tmp_path, monkeypatch):
    (tmp_path / "out").mkdir()
    (tmp_path / "out/old").touch()
    (tmp_path / "new").mkdir()
    rename = Path.rename

    def fail_once(self: Path, target: Path) -> Path:
        if self.name == "new":
            assert not (tmp_path / "out").exists()
            raise OSError("disk gone")
        return rename(self, target)

    monkeypatch.setattr(Path, "rename", fail_once)
    with pytest.raises(OSError, match="disk gone"):
        publish(tmp_path / "new", tmp_path / "out")
    assert [p.name for p in (tmp_path / "out").iterdir()] == ["old"]


def test_nothing_has_the_name_before_everything_is_written(tmp_path):
    with new_folder(tmp_path / "deep/er/out") as partial:
        (partial / "a").touch()
        assert not (tmp_path / "deep/er/out").exists()
    assert [p.name for p in (tmp_path / "deep/er").iterdir()] == ["out"]


def test_links_and_the_current_folder(tmp_path, monkeypatch):
    (tmp_path / "disk/place").mkdir(parents=True)
    (tmp_path / "disk/place/old").touch()
    (tmp_path / "link").symlink_to(tmp_path / "disk/place")
    with new_folder(tmp_path / "link", force=True) as partial:
        (partial / "new").touch()
    assert (tmp_path / "link").is_symlink()
    assert [p.name for p in (tmp_path / "disk/place").iterdir()] == ["new"]
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    with new_folder(Path()) as partial:
        (partial / "new").touch()
    assert (tmp_path / "here/new").exists()


def test_json_is_written_whole_and_without_nan(tmp_path):
    write_json(tmp_path / "a.json", {"x": [float("nan"), (float("inf"), 1.5)], 3: "ü", "n": None})
    assert json.loads((tmp_path / "a.json").read_text()) == {"x": [None, [None, 1.5]], "3": "ü", "n": None}
    with pytest.raises(TypeError):
        write_json(tmp_path / "a.json", {"x": object()})
    assert read_json(tmp_path / "a.json")["3"] == "ü"


def test_a_column_that_parquet_does_not_know(tmp_path):
    base = small()
    t = base.utterances.assign(extra=pd.Series([1, "a", {}], dtype=object))
    odd = Corpus.build("odd", t, base.features, base.targets)
    with pytest.raises(InputError, match="a column can't be written as parquet"):
        save_corpus(odd, tmp_path / "c")
    assert list(tmp_path.iterdir()) == []
