"""What is read, hashed and summed in pieces is what it would be at once, wherever the pieces end."""

from __future__ import annotations

import csv
import hashlib
import io
import json
import zipfile
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from dgl_merc.corpus import corpus as corpus_module
from dgl_merc.corpus import open_corpus, save_corpus, scaling
from dgl_merc.corpus.corpus import CORE_COLUMNS
from dgl_merc.corpus.readers.table import read_table
from dgl_merc.corpus.reading import arrays, csv_file, on_demand
from dgl_merc.corpus.reading.arrays import load_npz
from dgl_merc.corpus.reading.csv_file import read_csv
from dgl_merc.corpus.reading.on_demand import MadeRows, Spool, nameless_file, stacked
from dgl_merc.errors import InputError
from dgl_merc.graphs import common_space
from dgl_merc.graphs.common_space import CommonSpace
from dgl_merc.training.splits import judged_sha256

TEXT = 'a,b,c\n1,"é, ü",x\n\n2,"two\nlines",😀\r\n3,,"a ""word"""\n4,ﬀ,\n5,6,7\n'


@pytest.mark.parametrize("cells", [1, 4, 7, 1000])
@pytest.mark.parametrize("size", [1, 2, 3, 5, 1000])
def test_a_csv_read_in_pieces_is_the_csv(tmp_path, monkeypatch, cells, size):
    monkeypatch.setattr(csv_file, "_CELLS", cells)
    monkeypatch.setattr(csv_file, "_BYTES", size)
    path = tmp_path / "t.csv"
    path.write_bytes(b"\xef\xbb\xbf" + TEXT.encode())
    file = read_csv(path)
    header, *rows = [row for row in csv.reader(io.StringIO(TEXT, newline="")) if row]
    assert {name: list(column) for name, column in file.cells.items()} == {h: [r[k] for r in rows] for k, h in enumerate(header)}
    assert file.lines.tolist() == [2, 4, 6, 7, 8]
    column = file.cells["b"]
    assert (column[0], column[-1], column[1:3], len(column)) == ("é, ü", "6", ["two\nlines", ""], 5)
    assert column == ["é, ü", "two\nlines", "", "ﬀ", "6"] == column.series().tolist()
    assert column != ["é, ü"]
    assert str(column.series().dtype) == "str"


@pytest.mark.parametrize("size", [1, 2, 3, 4, 1000])
@pytest.mark.parametrize(
    ("data", "said"),
    [
        (b"a,b\n1,\xc3\xa9\n\xe2\x82,2\n", "line 3: expected UTF-8 text, found byte 0xe2"),
        (b"a,b\n1,\xe2\x82\xac\xff\n2,3\n", "line 2: expected UTF-8 text, found byte 0xff"),
        (b"a,b\n1,2\n3,\xe2\x82", "line 3: expected UTF-8 text, found byte 0xe2"),
        (b"a,b\n1,2\n3,\xff\n\x00", "line 3: expected UTF-8 text, found byte 0xff"),
        (b"a,b\n\x00,2\n3,\x00\n", "line 2: expected text, found a NUL character"),
        (b"a,b\n1,2\n3\n4,5,6\n", "line 3: expected 2 cells as in the header, found 1"),
        (b'a,b\n1\n"3"x,4\n', "line 3: expected comma-separated cells, found a fault"),
        (b"a,a\n1\n", "line 1: expected different column names"),
    ],
)
def test_a_fault_is_found_in_its_line_wherever_the_pieces_end(tmp_path, monkeypatch, size, data, said):
    monkeypatch.setattr(csv_file, "_BYTES", size)
    monkeypatch.setattr(csv_file, "_CELLS", 1)
    path = tmp_path / "t.csv"
    path.write_bytes(data)
    with pytest.raises(InputError, match=said):
        read_csv(path)


def test_stacked_rows_come_from_their_part():
    parts = [np.arange(6.0).reshape(3, 2), np.zeros((0, 2)), MadeRows((2, 2), lambda rows: 10.0 * rows[:, None] + [0, 1])]
    whole = stacked(parts)
    assert whole.shape == (5, 2)
    rows = np.array([4, 0, 3, 2])
    assert whole[rows].tolist() == [[10, 11], [0, 1], [0, 1], [4, 5]]
    assert whole[4].tolist() == [10, 11]
    assert stacked(parts[:1]) is parts[0]
    assert stacked([np.zeros((1, 2), np.float32), np.zeros((1, 2), np.int8)])[np.arange(2)].dtype == np.float32


@pytest.mark.parametrize("held", [0, 20, 10_000])
def test_a_spool_gives_its_rows_in_memory_or_in_a_file(monkeypatch, held):
    monkeypatch.setattr(on_demand, "IN_MEMORY", held)
    x = np.arange(30, dtype=np.float32).reshape(10, 3)
    with Spool(3) as spool:
        for lo, hi in ((0, 1), (1, 1), (1, 6), (6, 10)):
            spool.add(x[lo:hi])
        whole = spool.finish()
    assert isinstance(whole, np.memmap) == (held < x.nbytes)
    np.testing.assert_array_equal(whole, x)


def test_a_full_disk_is_one_line_that_says_what_to_do(monkeypatch):
    monkeypatch.setattr(on_demand, "IN_MEMORY", 0)
    monkeypatch.setattr(on_demand, "nameless_file", lambda: Path("/dev/full").open("wb", buffering=0))  # noqa: SIM115
    with pytest.raises(InputError, match=r"found none \(No space left on device\); set TMPDIR"), Spool(2) as spool:
        spool.add(np.zeros((4, 2), dtype=np.float32))


def test_a_temporary_file_has_no_name_and_stands_where_it_is_told(tmp_path, monkeypatch):
    monkeypatch.setattr("tempfile.tempdir", None)
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    with nameless_file() as file:
        file.write(b"abc")
        assert list(tmp_path.iterdir()) == []
        assert str(tmp_path) in str(Path(f"/proc/self/fd/{file.fileno()}").readlink())


@pytest.mark.parametrize("order", ["C", "F"])
@pytest.mark.parametrize("save", [np.savez, np.savez_compressed])
def test_a_large_array_of_an_archive_is_mapped_and_is_the_same(tmp_path, monkeypatch, save, order):
    x = np.asarray(np.random.default_rng(0).standard_normal((40, 7)), order=order)
    save(tmp_path / "a.npz", first=np.arange(5), x=x, y=x[:, 0])
    monkeypatch.setattr(arrays, "IN_MEMORY", 1000)
    found = load_npz(tmp_path / "a.npz", ["x", "first", "y"])
    assert isinstance(found["x"], np.memmap)
    assert not isinstance(found["first"], np.memmap)
    for name, expected in (("x", x), ("first", np.arange(5)), ("y", x[:, 0])):
        np.testing.assert_array_equal(found[name], expected)


def _archive(path: Path, member: bytes, kind: int = zipfile.ZIP_STORED) -> None:
    with zipfile.ZipFile(path, "w", kind) as archive:
        archive.writestr("x.npy", member)


def _npy(x: np.ndarray, *, objects: bool = False) -> bytes:
    held = io.BytesIO()
    np.save(held, x, allow_pickle=objects)
    return held.getvalue()


@pytest.mark.parametrize("kind", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])
@pytest.mark.parametrize(
    ("member", "said"),
    [
        (_npy(np.zeros((9, 9)))[:-8], "640 bytes for float64"),
        (_npy(np.zeros((9, 9))) + b"more", "652 bytes for float64"),
        (_npy(np.array([{}, "a" * 500], dtype=object), objects=True), "Object arrays cannot be loaded"),
        (b"no array at all" * 20, "magic string is not correct"),
        (_npy(np.zeros((9, 9))).replace(b"(9, 9)", b"(9,-9)"), "x: expected an array without Python objects, found a fault"),
    ],
    ids=["short", "long", "objects", "foreign", "negative"],
)
def test_a_large_array_that_is_damaged_is_refused(tmp_path, monkeypatch, member, said, kind):
    monkeypatch.setattr(arrays, "IN_MEMORY", 100)
    _archive(tmp_path / "a.npz", member, kind)
    with pytest.raises(InputError, match=f"a.npz: .*{said}"):
        load_npz(tmp_path / "a.npz", ["x"])


def test_a_changed_bit_of_a_large_array_is_found(tmp_path, monkeypatch):
    monkeypatch.setattr(arrays, "IN_MEMORY", 100)
    _archive(tmp_path / "a.npz", _npy(np.zeros((90, 90))))  # more than zipfile reads at once
    data = bytearray((tmp_path / "a.npz").read_bytes())
    data[40_000] ^= 1
    (tmp_path / "a.npz").write_bytes(bytes(data))
    with pytest.raises(InputError, match="Bad CRC"):
        load_npz(tmp_path / "a.npz", ["x"])


@pytest.fixture(scope="module")
def table(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """20 utterances, scattered: two dialogues a split, features by row, by key and in columns, one of each NaN or missing."""
    folder, rng = tmp_path_factory.mktemp("table"), np.random.default_rng(0)
    rows = [(f"d{d}", p, ("train", "dev")[d % 2], "ab"[(d + p) % 2]) for d in range(4) for p in range(5)]
    rows = [rows[k] for k in rng.permutation(len(rows))]
    x, y = rng.standard_normal((20, 3)), rng.random((20, 2)) + 1
    x[4, 1] = np.nan
    lines = [f"{d},{p},s,{s},{e},{'' if k == 3 else k},{'' if k in (3, 5) else -k}" for k, (d, p, s, e) in enumerate(rows)]
    (folder / "t.csv").write_text("\n".join(["dialogue_id,position,speaker,split,emotion,f0,f1", *lines]))
    np.save(folder / "x.npy", x)
    y[7, 0] = -1
    keys = {"dialogue_id": np.array([r[0] for r in rows]), "position": np.array([r[1] for r in rows], dtype=np.uint8)}
    np.savez(folder / "y.npz", y=y[:18], split=np.array([r[2] for r in rows])[:18], **{k: v[:18] for k, v in keys.items()})
    return folder


SOURCES = ("text=x.npy", "audio=y.npz:log(y),y", "visual=columns:f*")


def test_pieces_of_one_row_in_files_make_the_same_corpus(table, monkeypatch):
    whole = read_table(table / "t.csv", SOURCES, nan="absent")
    monkeypatch.setattr(on_demand, "IN_MEMORY", 0)
    monkeypatch.setattr(arrays, "IN_MEMORY", 0)
    monkeypatch.setattr(on_demand, "_PIECE", 1)
    pieces = read_table(table / "t.csv", SOURCES, nan="absent")
    assert pieces.content_sha256 == whole.content_sha256
    assert pieces.notes == whole.notes
    assert sum(": absent in " in note for note in whole.notes) == 5, whole.notes
    assert [len(x) for x in whole.features.values()] == [19, 17, 18]
    with (table / "t.csv").open() as file:
        place = {(row["dialogue_id"], int(row["position"])): k for k, row in enumerate(csv.DictReader(file))}
    line = np.array([place[key] for key in zip(whole.utterances["dialogue_id"], whole.utterances["position"], strict=True)])
    x, y = np.load(table / "x.npy"), np.load(table / "y.npz")["y"]
    there = [line[whole.presence[:, k]] for k in range(3)]
    np.testing.assert_array_equal(whole.features["text"], x[there[0]].astype(np.float32))
    np.testing.assert_array_equal(whole.features["audio"], np.c_[np.log(y[there[1]]), y[there[1]]].astype(np.float32))
    np.testing.assert_array_equal(whole.features["visual"], np.c_[there[2], -there[2]])
    for faulty in SOURCES[:2]:
        with pytest.raises(InputError, match=r"expected .*, found "):  # nothing is left open
            read_table(table / "t.csv", [faulty])


def test_a_hash_in_pieces_is_the_hash_of_all_strings_joined(table, tmp_path, monkeypatch):
    corpus = read_table(table / "t.csv", SOURCES, nan="absent")
    table_ = corpus.utterances.assign(text=pd.Series([None, "", "é", "", None] * 4, dtype="str"), start=[np.nan, 0.5] * 10)
    made = corpus_module.Corpus("c", table_, corpus.features, corpus.modalities, corpus.targets)
    digest = hashlib.sha256(
        json.dumps({"targets": {"emotion": {"kind": "classes", "labels": ["a", "b"]}}, "modalities": list(corpus.features)}).encode()
    )
    for column in [*CORE_COLUMNS, "emotion", *(f"has_{m}" for m in corpus.features)]:
        values = table_[column]
        digest.update(b"\1" + column.encode() + b"\1" + values.isna().to_numpy().tobytes())
        digest.update("\0".join(values.dropna().astype("str")).encode())
    for modality, x in corpus.features.items():
        digest.update(f"\1{modality} {x.shape}\1".encode() + np.asarray(x).tobytes())
    for rows in (1, 2, 3, 1 << 16):
        monkeypatch.setattr(corpus_module, "_ROWS", rows)
        made.__dict__.pop("content_sha256", None)
        assert made.content_sha256 == digest.hexdigest()
    saved = save_corpus(made, tmp_path / "c")
    assert open_corpus(tmp_path / "c", check="full").content_sha256 == saved.content_sha256 == digest.hexdigest()


def test_judged_utterances_are_hashed_in_the_order_of_their_words(monkeypatch):
    words = ["d10", "d9", "d1", "D", "é", "\uffff", "😀", "e", ""]  # UTF-16 would sort the last but two otherwise
    rows = pd.DataFrame({"dialogue_id": pd.Series(words, dtype="str"), "position": range(9, 0, -1), "label": list("abababaca")})
    by_hand = "\1".join(sorted("\0".join(map(str, row)) for row in rows.itertuples(index=False)))
    for size in (1, 2, 1 << 16):
        monkeypatch.setattr("dgl_merc.training.splits._ROWS", size)
        assert judged_sha256(rows) == hashlib.sha256(by_hand.encode()).hexdigest()
        assert judged_sha256(rows.iloc[::-1]) == judged_sha256(rows)
    assert judged_sha256(rows.iloc[:0]) == hashlib.sha256(b"").hexdigest()


@pytest.mark.parametrize("width", [1, 5, 40])
def test_moments_do_not_depend_on_the_pieces(monkeypatch, width):
    rng = np.random.default_rng(0)
    x, rows = rng.standard_normal((900, width), dtype=np.float32) * 3 + 5, np.flatnonzero(rng.random(900) < 0.7)
    at_once = scaling._moments(x, rows)
    np.testing.assert_allclose(at_once[0], x[rows].mean(axis=0, dtype=np.float64), rtol=1e-6)
    np.testing.assert_allclose(at_once[1], x[rows].std(axis=0, dtype=np.float64), rtol=1e-6)
    monkeypatch.setattr(scaling, "_PIECE", 70)
    for whole, piece in zip(at_once, scaling._moments(x, rows), strict=True):
        np.testing.assert_array_equal(whole, piece) if width > 1 else np.testing.assert_allclose(whole, piece, rtol=1e-6)


def test_a_common_space_looks_at_some_utterances_all_over_the_splits(source, monkeypatch):
    corpus = source.corpus
    none = scaling.Scaling.fit(corpus, "none")
    whole = CommonSpace.fit(corpus, none)
    some = next(iter(whole.correlations.values()))
    monkeypatch.setattr(common_space, "MOST", some["train_utterances"] + some["dev_utterances"] + 1000)
    assert CommonSpace.fit(corpus, none).correlations == whole.correlations
    monkeypatch.setattr(common_space, "MOST", 60)
    fewer = CommonSpace.fit(corpus, none)
    assert all(20 <= c["train_utterances"] <= 60 and 0 < c["dev_utterances"] <= 60 for c in fewer.correlations.values())
    assert fewer.correlations != whole.correlations
    rows = np.arange(1000, 1500)
    seen = common_space._spread(rows)
    assert len(seen) == len(set(seen.tolist())) == 60
    assert seen[0] == 1000
    assert seen[-1] >= 1490
    assert np.ptp(np.diff(seen)) <= 1
