"""Instructions of pickles, by hand: what no ``pickle.dumps`` writes."""

from __future__ import annotations

import struct


def text(s: str) -> bytes:
    raw = s.encode("utf-8", "surrogatepass")
    return b"X" + struct.pack("<I", len(raw)) + raw


def name(module: str, name: str) -> bytes:
    return f"c{module}\n{name}\n".encode()


def call(module: str, what: str, *args: bytes) -> bytes:
    return name(module, what) + b"(" + b"".join(args) + b"tR"


def dtype(spec: str, *, state: bytes = b"") -> bytes:
    return call("numpy", "dtype", text(spec), b"K\x00", b"K\x01") + state


def array(shape: bytes, kind: bytes, data: bytes, order: bytes = b"\x89") -> bytes:
    """Instructions of an array. ``shape`` is those of a tuple."""
    made = call("numpy.core.multiarray", "_reconstruct", name("numpy", "ndarray"), b"(K\x00t", text("b"))
    return made + b"(K\x01" + shape + kind + order + data + b"tb"


def raw(data: bytes) -> bytes:
    return b"B" + struct.pack("<I", len(data)) + data


def fields(count: int, inner: bytes) -> bytes:
    """A dtype of eight bytes with many fields, all of them in the same place."""
    names = [text(f"a{k}") for k in range(count)]
    made = b"".join(given + b"(" + inner + b"K\x00t" for given in names)
    return dtype("V8", state=b"(K\x03" + text("|") + b"N(" + b"".join(names) + b"t}(" + made + b"uK\x08K\x01K\x00tb")


def rows(count: int) -> bytes:
    """An index."""
    bounds = text("start") + b"K\x00" + text("stop") + b"J" + struct.pack("<i", count) + text("step") + b"K\x01"
    return call("pandas.core.indexes.base", "_new_Index", name("pandas", "RangeIndex"), b"}(" + bounds + b"u")


def frame(columns: int, index: int, values: bytes) -> bytes:
    """A table of one block."""
    block = call("pandas._libs.internals", "_unpickle_block", values, call("builtins", "slice", b"K\x00", b"N", b"K\x01"), b"K\x02")
    manager = call("pandas.core.internals.managers", "BlockManager", b"(" + block + b"t", b"](" + rows(columns) + rows(index) + b"e")
    return name("pandas", "DataFrame") + b")\x81}(" + text("_mgr") + manager + b"ub"
