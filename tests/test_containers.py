"""HDF5 and MAT files: what is plain data is read, whatever else a file may be is refused before it is opened or unpacked."""

from __future__ import annotations

import random
import struct
import sys
import tracemalloc
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
import scipy.io
import scipy.sparse

from dgl_merc.corpus.foreign.hdf5 import read_hdf5
from dgl_merc.corpus.foreign.mat import read_mat
from dgl_merc.errors import InputError

TEXT = h5py.string_dtype()


def refused(read: Callable[[Path], Any], path: Path, said: str) -> None:
    with pytest.raises(InputError) as caught:
        read(path)
    message = str(caught.value)
    assert said in message, message
    assert message.startswith(f"{path}: ")
    assert "\n" not in message


# --- HDF5


def test_a_computational_sequence_of_the_multimodal_sdk(tmp_path):
    """As CMU-MultimodalSDK writes its .csd files."""
    made: dict[str, Any] = {"COVAREP": {"data": {}, "metadata": {}}}
    with h5py.File(tmp_path / "x.csd", "w") as file:
        for video in ("-3g5yACwYnA", "03bSnISJMiM"):
            x, when = np.random.default_rng(0).normal(size=(3, 74)).astype(np.float32), np.arange(6.0).reshape(3, 2)
            group = file.create_group(f"COVAREP/data/{video}")
            group.create_dataset("features", data=x)
            group.create_dataset("intervals", data=when, compression="gzip", shuffle=True, fletcher32=True)
            made["COVAREP"]["data"][video] = {"features": x, "intervals": when}
        file.create_dataset("COVAREP/metadata/root name", (1,), dtype=TEXT)[0] = '"COVAREP"'
    got = read_hdf5(tmp_path / "x.csd")
    assert got["COVAREP"]["metadata"]["root name"].tolist() == ['"COVAREP"']
    assert list(got["COVAREP"]["data"]) == list(made["COVAREP"]["data"])
    for video, parts in made["COVAREP"]["data"].items():
        for part, x in parts.items():
            found = got["COVAREP"]["data"][video][part]
            assert found.dtype == x.dtype
            assert (found == x).all()


def test_types_and_shapes_of_hdf5(tmp_path):
    made = {
        "big": np.arange(4, dtype=">i2"), "bool": np.array([True, False]), "fixed": np.array([b"ab", b"c"]), "half": np.zeros((2, 0, 3), np.float16),
        "packed": np.arange(1000).reshape(10, 100), "lzf": np.zeros((50, 50)),
    }  # fmt: skip
    with h5py.File(tmp_path / "x.h5", "w") as file:
        for name, x in made.items():
            file.create_dataset(name, data=x, compression={"packed": "gzip", "lzf": "lzf"}.get(name))
        file["text"], file["number"] = "größe", 2.5
        file.create_dataset("texts", data=["a", "é"], dtype=TEXT)
        file["nothing"] = h5py.Empty("f4")
        file.create_group("empty")
    got = read_hdf5(tmp_path / "x.h5")
    for name, x in made.items():
        assert got[name].dtype == x.dtype
        assert got[name].tolist() == x.tolist()
    assert (got["text"], got["number"], got["texts"].tolist(), got["empty"]) == ("größe", 2.5, ["a", "é"], {})
    assert got["nothing"].shape == (0,)


def _soft(file: Any) -> None:
    file["x"] = h5py.SoftLink("/y")


def _external(file: Any) -> None:
    file["x"] = h5py.ExternalLink("other.h5", "/secret")


def _cycle(file: Any) -> None:
    file.create_group("a")["b"] = file["/"]


def _twice(file: Any) -> None:
    file["a"] = np.zeros(3)
    file["b"] = file["a"]


def _outside(file: Any) -> None:
    file.create_dataset("x", (8,), "u1", external=[("other.h5", 0, 8)])


def _virtual(file: Any) -> None:
    layout = h5py.VirtualLayout((8,), "u1")
    layout[:] = h5py.VirtualSource("other.h5", "secret", (8,))
    file.create_virtual_dataset("x", layout)


def _unwritten(file: Any) -> None:
    file.create_dataset("x", (10**13,), "u1", chunks=(1 << 20,))


def _unwritten_whole(file: Any) -> None:
    file.create_dataset("x", (10**7, 10**6), "f8")


def _many_unwritten(file: Any) -> None:
    for k in range(10):
        file.create_dataset(f"x{k}", (10**7,), "u1")


def _huge_piece(file: Any) -> None:
    file.create_dataset("x", (1,), "f8", maxshape=(None,), chunks=(1 << 28,))


def _bomb(file: Any) -> None:
    file.create_dataset("x", (80 << 20,), "u1", chunks=(1 << 20,), compression="gzip")[:] = 0


def _bomb_in_a_piece(file: Any) -> None:
    import zlib

    x = file.create_dataset("x", (4,), "u1", chunks=(4,), compression="gzip")
    x.id.write_direct_chunk((0,), zlib.compress(bytes(10 << 20)))


def _compound(file: Any) -> None:
    file["x"] = np.zeros(2, [("a", "f4")])


def _reference(file: Any) -> None:
    file.create_dataset("x", (1,), h5py.ref_dtype)[0] = file.ref


def _sequences(file: Any) -> None:
    file.create_dataset("x", (1,), h5py.vlen_dtype("f4"))[0] = np.zeros(3)


def _opaque(file: Any) -> None:
    file["x"] = np.zeros(2, "V8")


def _named_type(file: Any) -> None:
    file["x"] = np.dtype("f4")


def _many_texts(file: Any) -> None:
    file.create_dataset("x", (10_001,), TEXT)


def _foreign_filter(file: Any) -> None:
    made = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
    made.set_chunk((4,))
    made.set_filter(300, h5py.h5z.FLAG_OPTIONAL, ())
    h5py.h5d.create(file.id, b"x", h5py.h5t.NATIVE_INT8, h5py.h5s.create_simple((4,)), made)


def _deep(file: Any) -> None:
    file.create_group("/".join("g" * 40))


HDF5 = {
    "a link": (_soft, "found a link"),
    "a link to another file": (_external, "found a link to another file"),
    "a group in itself": (_cycle, "another name of what was read already"),
    "two names": (_twice, "another name of what was read already"),
    "bytes outside": (_outside, "expected a dataset in this file"),
    "put together from elsewhere": (_virtual, "expected a dataset in this file"),
    "10 TB never written": (_unwritten, "more claimed"),
    "80 TB never written": (_unwritten_whole, "more claimed"),
    "ten times 10 MB never written": (_many_unwritten, "more claimed"),
    "a piece of 2 GB": (_huge_piece, "pieces of at most"),
    "zeros, packed": (_bomb, "more claimed"),
    "a piece that unpacks to 10 MB": (_bomb_in_a_piece, "one that unpacks to more"),
    "compound": (_compound, "expected numbers or text"),
    "reference": (_reference, "expected numbers or text"),
    "sequences": (_sequences, "expected numbers or text"),
    "opaque": (_opaque, "expected numbers or text"),
    "a named type": (_named_type, "found a named type"),
    "10,001 texts": (_many_texts, "at most 10000 texts"),
    "a filter of others": (_foreign_filter, "the filters [300]"),
    "40 groups deep": (_deep, "groups at most 32 deep"),
}  # fmt: skip


@pytest.mark.parametrize("case", HDF5)
def test_hdf5_that_is_more_than_data_is_refused(tmp_path, case, monkeypatch):
    make, said = HDF5[case]
    with h5py.File(tmp_path / "other.h5", "w") as file:
        file["secret"] = np.arange(8, dtype="u1")
    monkeypatch.chdir(tmp_path)
    with h5py.File(tmp_path / "x.h5", "w") as file:
        make(file)
    assert (tmp_path / "x.h5").stat().st_size < 1 << 20
    (tmp_path / "other.h5").rename(tmp_path / "elsewhere")
    refused(read_hdf5, tmp_path / "x.h5", said)  # not: no such file


def test_hdf5_without_h5py(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "h5py", None)
    refused(read_hdf5, tmp_path / "x.h5", "pip install 'dglmerc[hdf5]'")


@pytest.mark.parametrize("read", [read_hdf5, read_mat])
def test_what_is_neither(tmp_path, read):
    (tmp_path / "x").write_bytes(b"Utterance,Speaker\n" * 20)
    refused(read, tmp_path / "x", "found something else")
    refused(read, tmp_path, "found a folder")
    (tmp_path / "empty").touch()
    refused(read, tmp_path / "empty", "an empty file")


# --- MAT


MADE = {
    "x": np.arange(6.0).reshape(2, 3),
    "narrow": np.array([[1.0, 2, 300]]),
    "single": np.array([[0.5]], np.float32),
    **{f"i{k}": np.array([[0, 1], [2, 3]], f"i{k}") for k in (1, 2, 4, 8)},
    **{f"u{k}": np.array([[0, 1]], f"u{k}") for k in (1, 2, 4, 8)},
    "cube": np.arange(24.0).reshape(2, 3, 4),
    "complex": np.array([[1 + 2j, 3]]),
    "yes": np.array([[True, False]]),
    "text": "größe",
    "rows": np.array(["ab", "cd"]),
    "empty": np.zeros((0, 3)),
    "cell": np.array([["a", np.zeros((1, 2))]], dtype=object),
    "struct": {"vid": "Ses01", "label": np.array([[1.0]]), "inner": {"a": "b"}},
}
WANT = MADE | {"rows": ["ab", "cd"], "cell": ["a", np.zeros((1, 2))]}


def same(got: Any, want: Any) -> None:
    assert type(got) is type(want), (got, want)
    if isinstance(want, dict):
        assert list(got) == list(want)
        for key in want:
            same(got[key], want[key])
    elif isinstance(want, list):
        for a, b in zip(got, want, strict=True):
            same(a, b)
    elif isinstance(want, np.ndarray):
        assert (got.dtype, got.shape) == (want.dtype, want.shape)
        assert (got == want).all()
    else:
        assert got == want


@pytest.mark.parametrize("packed", [False, True])
def test_mat_files_that_scipy_writes(tmp_path, packed):
    scipy.io.savemat(tmp_path / "x.mat", MADE, do_compression=packed)
    got = read_mat(tmp_path / "x.mat")
    same(got, WANT)
    scipys = scipy.io.loadmat(tmp_path / "x.mat")
    for name in ("x", "i1", "u8", "cube", "complex", "empty"):
        assert (got[name] == scipys[name]).all()


def test_mat_struct_arrays(tmp_path):
    rows = np.zeros((1, 2), [("a", object), ("b", object)])
    rows["a"], rows["b"] = [["x", "y"]], [[np.eye(2), 3.0]]
    scipy.io.savemat(tmp_path / "x.mat", {"s": rows})
    same(read_mat(tmp_path / "x.mat")["s"], [{"a": "x", "b": np.eye(2)}, {"a": "y", "b": np.array([[3.0]])}])


HEADER = b"MATLAB 5.0 MAT-file".ljust(124) + b"\x00\x01IM"


def tag(kind: int, data: bytes, *, claimed: int | None = None) -> bytes:
    size = len(data) if claimed is None else claimed
    return kind.to_bytes(4, "little") + size.to_bytes(4, "little") + data + bytes(-len(data) % 8 if kind != 15 else 0)


def variable(kind: int, dims: tuple[int, ...], *content: bytes, flags: int = 0) -> bytes:
    shape = np.array(dims, "<i4").tobytes()
    return tag(14, tag(6, (kind | flags).to_bytes(8, "little")) + tag(5, shape) + tag(1, b"x") + b"".join(content))


def zipped(data: bytes) -> bytes:
    import zlib

    return tag(15, zlib.compress(data, 9))


def nested(levels: int) -> bytes:
    inside = variable(6, (0, 0), tag(9, b""))
    for _ in range(levels):
        inside = variable(1, (1, 1), inside)
    return inside


MAT = {
    "function handle": (variable(16, (1, 1)), "a function handle"),
    "opaque object": (variable(17, (1, 1)), "an opaque object"),
    "object": (variable(3, (1, 1)), "an object"),
    "sparse": (variable(5, (1, 1)), "a sparse matrix"),
    "dimensions of NaN": (tag(14, tag(6, (6).to_bytes(8, "little")) + tag(9, struct.pack("<2d", float("nan"), 1)) + tag(1, b"x")), "float64 where sizes"),
    "dimensions without end": (tag(14, tag(6, (6).to_bytes(8, "little")) + tag(7, struct.pack("<2f", float("inf"), 1)) + tag(1, b"x")), "float32 where"),
    "field names of NaN": (variable(2, (1, 1), tag(7, struct.pack("<f", float("nan"))) + tag(1, b"")), "float32 where sizes"),
    "NaN as a whole number": (variable(12, (1, 1), tag(9, struct.pack("<d", float("nan")))), "float64 of an array of int32"),
    "a class that is none": (variable(99, (1, 1)), "of class 99"),
    "more numbers than there are": (variable(6, (1 << 30, 1 << 30), tag(9, bytes(8))), "1 numbers of an array"),
    "no numbers by 2^31": (variable(6, (0, 2**31 - 1), tag(9, b"")), "more than 200 times"),
    "negative dimensions": (variable(6, (-1, -1), tag(9, bytes(8))), "dimensions that are none"),
    "100 dimensions": (variable(6, (1,) * 100, tag(9, bytes(8))), "dimensions that are none"),
    "10^18 cells": (variable(1, (10**9, 10**9)), "cells claimed"),
    "10^9 structs without fields": (variable(2, (10**9, 1), tag(5, b"\1\0\0\0"), tag(1, b"")), "without fields"),
    "fields of no length": (variable(2, (1, 1), tag(5, bytes(4)), tag(1, b"a")), "of no length"),
    "10^9 rows of text": (variable(4, (10**9, 0), tag(16, b"")), "characters of text"),
    "text of another length": (variable(4, (2, 5), tag(16, b"abc")), "characters of text"),
    "text that is no UTF-8": (variable(4, (1, 1), tag(16, b"\xff")), "codec"),
    "4 GB claimed": (tag(14, b"", claimed=2**32 - 8), "bytes claimed"),
    "a short element that is long": (b"\x01\x00\xff\x00" + bytes(4), "255 bytes where 4 fit"),
    "deflated 80 MB": (zipped(bytes(80 << 20)), "more than 200 times"),
    "deflated, cut off": (tag(15, b"\x78\x9c\x01"), "cut off"),
    "40 cells deep": (nested(40), "nested more than 32 deep"),
    "deflated in deflated": (zipped(zipped(nested(0))), "where a variable is due"),
    "complex of unequal parts": (variable(6, (1, 1), tag(9, bytes(8)), tag(9, bytes(16)), flags=0x800), "unequal parts"),
}  # fmt: skip


@pytest.mark.parametrize("case", MAT)
def test_mat_that_is_more_than_data_is_refused(tmp_path, case):
    data, said = MAT[case]
    (tmp_path / "x.mat").write_bytes(HEADER + data)
    refused(read_mat, tmp_path / "x.mat", said)


def test_mat_that_unpacks_without_end_is_not_unpacked(tmp_path):
    (tmp_path / "x.mat").write_bytes(HEADER + zipped(bytes(200 << 20)))
    tracemalloc.start()
    try:
        refused(read_mat, tmp_path / "x.mat", "more than 200 times")
        assert tracemalloc.get_traced_memory()[1] < 150 << 20
    finally:
        tracemalloc.stop()


def test_mat_of_other_versions(tmp_path):
    (tmp_path / "x.mat").write_bytes(b"MATLAB 7.3 MAT-file".ljust(512) + b"\x89HDF\r\n\x1a\n")
    refused(read_mat, tmp_path / "x.mat", "found 7.3; save it with -v7")
    scipy.io.savemat(tmp_path / "x.mat", {"x": np.eye(2)}, format="4")
    refused(read_mat, tmp_path / "x.mat", "version 5 to 7, found something else")
    scipy.io.savemat(tmp_path / "x.mat", {"x": scipy.sparse.eye(3).tocsc()})
    refused(read_mat, tmp_path / "x.mat", "a sparse matrix")


@pytest.mark.parametrize("packed", [False, True])
def test_mat_files_that_were_changed(tmp_path, packed):
    """Bytes changed, and the file cut off: only errors for people."""
    scipy.io.savemat(tmp_path / "x.mat", MADE, do_compression=packed)
    whole, chance = (tmp_path / "x.mat").read_bytes(), random.Random(3)
    for k in range(600):
        data = bytearray(whole)
        for _ in range(chance.randint(1, 3)):
            data[chance.randrange(128, len(data))] = chance.randrange(256)
        (tmp_path / "x.mat").write_bytes(bytes(data) if k % 3 else whole[: chance.randrange(len(whole))])
        with suppress(InputError):
            read_mat(tmp_path / "x.mat")


def test_hdf5_files_that_were_changed(tmp_path):
    """Bytes changed where there are any, and the file cut off. (A text's heap that is changed keeps HDF5 2.0.0 busy forever: ours reads it.)"""
    with h5py.File(tmp_path / "x.h5", "w") as file:
        file.create_dataset("a/v/features", data=np.arange(30.0).reshape(10, 3), compression="gzip", shuffle=True)
        file.create_dataset("a/v/intervals", data=np.arange(4.0))
        file.create_dataset("a/n", (1,), dtype=TEXT)[0] = "text"
    whole, chance = (tmp_path / "x.h5").read_bytes(), random.Random(3)
    written = [k for k, byte in enumerate(whole) if byte]
    for k in range(400):
        data = bytearray(whole)
        for _ in range(chance.randint(1, 3)):
            data[chance.choice(written)] = chance.choice([0, 1, 127, 255])
        (tmp_path / "x.h5").write_bytes(bytes(data) if k % 5 else whole[: chance.randrange(len(whole))])
        with suppress(InputError):
            read_hdf5(tmp_path / "x.h5")
