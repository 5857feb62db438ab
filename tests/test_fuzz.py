"""Corpora, stores, arrays and CSV files with anything in them: opened, or refused with one error for people; nothing else happens."""

from __future__ import annotations

import copy
import json
import zipfile
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from test_corpus_folder import small

from dgl_merc.corpus import open_corpus, save_corpus
from dgl_merc.corpus.reading.arrays import load_npy, load_npz
from dgl_merc.corpus.reading.csv_file import read_csv
from dgl_merc.errors import InputError
from dgl_merc.files import file_record
from dgl_merc.graphs import open_store
from dgl_merc.graphs.build import build_store

pytestmark = [pytest.mark.dgl, pytest.mark.xdist_group("fuzz")]
few = settings(max_examples=40, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.too_slow])


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A corpus, its store, and files of other kinds."""
    made = tmp_path_factory.mktemp("fuzz")
    build_store(save_corpus(small(), made / "corpus"), made / "store")
    np.save(made / "x.npy", np.arange(12.0).reshape(3, 4))
    np.savez_compressed(made / "x.npz", a=np.arange(12.0), b=np.array(["x"]))
    (made / "x.csv").write_text('id,text,when\n1,"a\nb",3\n4,é,6\n')
    return made


def look_at_corpus(path: Path) -> None:
    open_corpus(path)
    open_corpus(path, check="full")


def look_at_store(path: Path) -> None:
    store = open_store(path)
    with suppress(InputError):
        store.graph(0)
    with suppress(InputError):
        store.verify()
    store.weights(store.structure())


WAYS: dict[str, Callable[[Path], Any]] = {
    "x.npy": lambda path: np.asarray(load_npy(path)).sum(),
    "x.npz": lambda path: load_npz(path, ["a"], ["b"]),
    "x.csv": read_csv,
    "corpus/corpus.json": lambda path: look_at_corpus(path.parent),
    "corpus/utterances.parquet": lambda path: look_at_corpus(path.parent),
    "corpus/features/audio.npy": lambda path: look_at_corpus(path.parent.parent),
    "store/manifest.json": lambda path: look_at_store(path.parent),
    "store/dialogues.parquet": lambda path: look_at_store(path.parent),
    "store/common_space.safetensors": lambda path: look_at_store(path.parent),
}


@pytest.mark.parametrize("name", WAYS)
def test_changed_bytes(folder, name):
    path = folder / name
    whole = path.read_bytes()

    @few
    @given(
        changes=st.lists(
            st.tuples(st.integers(0, len(whole) - 1), st.sampled_from([0, 1, 32, 127, 255]) | st.integers(0, 255)), min_size=1, max_size=4
        ),
        end=st.just(len(whole)) | st.integers(0, len(whole)),
    )
    def run(changes: list[tuple[int, int]], end: int) -> None:
        data = bytearray(whole)
        for place, byte in changes:
            data[place] = byte
        path.write_bytes(data[:end])
        with suppress(InputError):
            WAYS[name](path)

    try:
        WAYS[name](path)  # as it is, it is read
        run()
    finally:
        path.write_bytes(whole)


@pytest.mark.parametrize("name", ["corpus/utterances.parquet", "corpus/features/audio.npy", "store/dialogues.parquet"])
def test_changed_bytes_that_are_on_record(folder, name):
    """As one who tampers would: sizes and hashes fit what was changed."""
    path, about = folder / name, folder / name.split("/")[0] / ("corpus.json" if name.startswith("corpus") else "manifest.json")
    whole, said = path.read_bytes(), about.read_bytes()
    recorded = json.loads(said)
    key = name.split("/", 1)[1]

    @few
    @given(changes=st.lists(st.tuples(st.integers(0, len(whole) - 1), st.integers(0, 255)), min_size=1, max_size=3))
    def run(changes: list[tuple[int, int]]) -> None:
        data = bytearray(whole)
        for place, byte in changes:
            data[place] = byte
        path.write_bytes(data)
        about.write_text(json.dumps(recorded | {"files": recorded["files"] | {key: file_record(path)}}))
        with suppress(InputError):
            (look_at_corpus if name.startswith("corpus") else look_at_store)(about.parent)

    try:
        run()
    finally:
        path.write_bytes(whole)
        about.write_bytes(said)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=5,
)


def places(value: Any, here: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """Every place in a JSON document."""
    inside = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return [here, *(place for key, member in inside for place in places(member, (*here, key)))]


@pytest.mark.parametrize("name", ["corpus/corpus.json", "store/manifest.json"])
def test_other_values(folder, name):
    """Well-formed JSON that says something else in one place."""
    path = folder / name
    whole = path.read_bytes()
    document = json.loads(whole)

    @settings(max_examples=80, deadline=None)
    @given(place=st.sampled_from(places(document)), value=JSON)
    def run(place: tuple[Any, ...], value: Any) -> None:
        changed = copy.deepcopy({"": document})
        *way, last = "", *place
        inside: Any = changed
        for key in way:
            inside = inside[key]
        inside[last] = value
        path.write_text(json.dumps(changed[""]))
        with suppress(InputError):
            WAYS[name](path)

    try:
        run()
    finally:
        path.write_bytes(whole)


@few
@given(text=st.text(st.sampled_from('ab,"\n\r\t\0é;'), max_size=40))
def test_csv_of_anything(folder, text):
    (folder / "any.csv").write_text(text, newline="")
    with suppress(InputError):
        read_csv(folder / "any.csv")


def test_a_header_of_many_columns_is_read_in_one_go(tmp_path):
    """Each name was looked for among all before it."""
    names = [f"c{k}" for k in range(50_000)]
    (tmp_path / "x.csv").write_text(",".join(names) + "\n" + "," * (len(names) - 1) + "\n")
    assert list(read_csv(tmp_path / "x.csv").cells) == names


def test_an_archive_that_unpacks_without_end_is_refused(tmp_path):
    with zipfile.ZipFile(tmp_path / "x.npz", "w", zipfile.ZIP_DEFLATED) as archive, archive.open("a.npy", "w") as member:
        for _ in range(80):
            member.write(bytes(1 << 20))
    with pytest.raises(InputError, match=r"expected at most .* bytes in an archive of this size, found 83886080"):
        load_npz(tmp_path / "x.npz", ["a"])
