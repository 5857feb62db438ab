"""Stores that were damaged, moved or are none: refused with one error, and before DGL's reader sees a byte."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from dgl_merc._dgl import dgl
from dgl_merc.corpus import Corpus, save_corpus
from dgl_merc.errors import InputError
from dgl_merc.files import file_record, read_json, write_json
from dgl_merc.graphs import open_store
from dgl_merc.graphs.build import build_store

pytestmark = pytest.mark.dgl
SHARD = "graphs/00000.dgl"


def make(value: float = 1.0) -> Corpus:
    t = pd.DataFrame({"dialogue_id": ["a", "a", "b"], "position": [0, 1, 0], "speaker": ["x", "y", "x"], "split": ["train"] * 2 + ["dev"]})
    return Corpus.build("tiny", t, {"text": np.array([[value, 2], [3, 4], [5, 7]])}, {})


@pytest.fixture(scope="module")
def template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("tiny")
    build_store(save_corpus(make(), folder / "data/corpus"), folder / "data/store")
    return folder


@pytest.fixture
def store(template: Path, tmp_path: Path) -> Path:
    """A copy of both; the corpus of the original is not in the way."""
    shutil.copytree(template / "data", tmp_path / "data")
    edit(
        tmp_path / "data/store", corpus=read_json(tmp_path / "data/store/manifest.json")["corpus"] | {"path": str(tmp_path / "data/corpus")}
    )
    return tmp_path / "data/store"


def edit(store: Path, **change: object) -> None:
    write_json(store / "manifest.json", read_json(store / "manifest.json") | change)


@pytest.fixture
def unread(monkeypatch: pytest.MonkeyPatch) -> None:
    """DGL's reader must not be called."""

    def fail(*_: object) -> None:
        pytest.fail("DGL read a shard that was not verified")

    monkeypatch.setattr(dgl, "load_graphs", fail)


def test_the_copy_is_sound(store):
    opened = open_store(store)
    assert opened.verify() == 2
    assert opened.graph("b").num_nodes("text") == 1
    assert opened.corpus.path == (store.parent / "corpus").resolve()


@pytest.mark.usefixtures("unread")
@pytest.mark.parametrize("place", [0, 40, -1])
def test_a_changed_byte_is_refused_before_dgl_reads_it(store, place):
    data = bytearray((store / SHARD).read_bytes())
    data[place] ^= 0x55
    (store / SHARD).write_bytes(bytes(data))
    opened = open_store(store)  # its size is right
    with pytest.raises(InputError, match=f"{SHARD}: expected SHA-256 .* the file was changed after it was written"):
        opened.graph(0)
    with pytest.raises(InputError, match="expected SHA-256"):
        opened.verify()


@pytest.mark.usefixtures("unread")
def test_truncated_foreign_and_missing_shards(store):
    opened = open_store(store)
    data = (store / SHARD).read_bytes()
    for other in (data[:-1], b"not a graph"):
        (store / SHARD).write_bytes(other)
        said = f"{SHARD}: expected {len(data)} bytes, found {len(other)}"
        with pytest.raises(InputError, match=said):
            opened.graph(0)
        with pytest.raises(InputError, match=said):
            open_store(store)
    (store / SHARD).unlink()
    with pytest.raises(InputError, match=f"{SHARD}: expected a file, found none"):
        opened.graph(0)


def test_a_shard_is_verified_once(store, monkeypatch):
    opened = open_store(store)
    opened.graph(0)
    monkeypatch.setattr("dgl_merc.graphs.store.verify_files", lambda *_, **__: pytest.fail("verified again"))
    opened.graph(1)


def test_verify_holds_every_file_to_its_hash(store):
    data = bytearray((store / "dialogues.parquet").read_bytes())
    data[-12] ^= 1
    (store / "dialogues.parquet").write_bytes(bytes(data))
    path = store / "manifest.json"
    manifest = read_json(path)
    opened_before = {"bytes": len(data), "sha256": manifest["files"]["dialogues.parquet"]["sha256"]}
    assert manifest["files"]["dialogues.parquet"] == opened_before
    table = pd.DataFrame({"a": [1]})
    table.to_parquet(store / "dialogues.parquet")
    with pytest.raises(InputError, match=r"dialogues.parquet: expected \d+ bytes, found"):
        open_store(store)


def test_dialogues_that_are_not_there(store):
    opened = open_store(store)
    for number in (-1, 2):
        with pytest.raises(InputError, match=f"dialogues are numbered 0 to 1, found {number}"):
            opened.graph(number)
    with pytest.raises(InputError, match="no dialogue 'c' among its 2"):
        opened.graph("c")


# --- the corpus it refers to


def test_both_moved_together(store, tmp_path):
    (tmp_path / "elsewhere").mkdir()
    moved = shutil.move(store.parent, tmp_path / "elsewhere/data")
    opened = open_store(Path(moved) / "store")
    assert opened.corpus.path == tmp_path / "elsewhere/data/corpus"
    assert opened.graph(0).num_nodes("text") == 2


def test_only_the_store_moved(store, tmp_path):
    shutil.move(store, tmp_path / "store")
    assert open_store(tmp_path / "store").corpus.path == store.parent / "corpus"


def test_the_corpus_is_gone(store):
    shutil.move(store.parent / "corpus", store.parent / "other name")
    opened = open_store(store)
    with pytest.raises(InputError) as caught:
        _ = opened.corpus
    assert f"its corpus 'tiny' is not at {store.parent / 'corpus'}; move it back" in str(caught.value)
    assert opened.graph(0).num_nodes("text") == 2, "graphs need no corpus"


def test_the_corpus_has_changed(store):
    save_corpus(make(9.0), store.parent / "corpus", force=True)
    with pytest.raises(InputError, match=r"was made of another state of the corpus at .*; build the graphs again"):
        _ = open_store(store).corpus


# --- what is no store


def test_folders_that_are_none(store, tmp_path):
    for folder in (tmp_path / "nowhere", store.parent / "corpus", store / "graphs"):
        with pytest.raises(
            InputError, match=re.escape(f"{folder}: expected a store with manifest.json in it, found none; `dglmerc build-graphs")
        ):
            open_store(folder)


@pytest.mark.parametrize("version", [2, 0, -1, "1", None])
def test_schemas(store, version):
    edit(store, schema_version=version)
    with pytest.raises(InputError, match=re.escape(f"manifest.json: expected schema 1, found {version!r}; update dglmerc")):
        open_store(store)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"spec": {"modalities": ["text"], "reach": 3}}, "expected the entries of schema 1, found a fault at"),
        ({"spec": {}}, "found a fault at 'modalities'"),
        ({"spec": {"modalities": ["text"], "window": -1}}, "window must be a whole number"),
        ({"files": {"dialogues.parquet": {}}}, "found a fault at 'bytes'"),
        ({"files": {"dialogues.parquet": {"bytes": 1}}}, "found a fault at 'sha256'"),
        ({"files": [1]}, "expected the entries of schema 1"),
        ({"files": {"../corpus/corpus.json": {"bytes": 1}}}, "a record names a file outside the folder"),
    ],
)
def test_manifests_of_other_kinds(store, change, said):
    edit(store, **change)
    with pytest.raises(InputError) as caught:
        open_store(store)
    assert said in str(caught.value)


def test_foreign_tables_and_manifests(store):
    (store / "dialogues.parquet").write_bytes(b"no table")
    edit(store, files={"dialogues.parquet": file_record(store / "dialogues.parquet")})
    with pytest.raises(InputError, match=r"dialogues.parquet: expected a parquet file, found something else"):
        open_store(store)
    (store / "manifest.json").write_text("[]")
    with pytest.raises(InputError, match="expected a JSON object, found list"):
        open_store(store)


@pytest.mark.parametrize("column", ["number", "dialogue_id", "split", "utterances", "shard", "index"])
def test_a_table_of_dialogues_without_a_column(store, column):
    table = pd.read_parquet(store / "dialogues.parquet").drop(columns=column)
    table.to_parquet(store / "dialogues.parquet")
    edit(store, files=read_json(store / "manifest.json")["files"] | {"dialogues.parquet": file_record(store / "dialogues.parquet")})
    with pytest.raises(InputError, match=rf"dialogues.parquet: expected the columns number, .*; missing: {column}$"):
        open_store(store)


@pytest.mark.usefixtures("unread")
def test_a_table_that_names_files_of_its_own_is_refused(store, tmp_path):
    """The table is a file like any other: what it says of shards counts only where the manifest lists them."""
    shutil.copy(store / SHARD, tmp_path / "planted.dgl")
    table = pd.read_parquet(store / "dialogues.parquet")
    table.assign(shard="../../planted.dgl").to_parquet(store / "dialogues.parquet")
    edit(store, files=read_json(store / "manifest.json")["files"] | {"dialogues.parquet": file_record(store / "dialogues.parquet")})
    with pytest.raises(InputError, match=r"dialogues.parquet names a shard that the manifest does not list: '../../planted.dgl'"):
        open_store(store).graph(0)
