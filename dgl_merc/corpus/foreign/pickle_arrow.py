"""Arrow's arrays of strings from their pickled buffers, read by ourselves: pyarrow would take the offsets on trust.

``_restore_array((type, length, nulls, offset, [validity, offsets, characters], children, dictionary))``. Offsets are one more than there
are strings, of 4 bytes (string) or 8 (large_string); validity has a bit a string, the lowest first, and may be absent.

Source: the Arrow columnar format, "Variable-size Binary Layout"; pyarrow/array.pxi (_reduce_array_data, _restore_array).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from dgl_merc.corpus.foreign.pickle_numpy import Purse
from dgl_merc.corpus.foreign.pickle_terms import Global, NotDataError, Part

__all__ = ["ARROW_MAKERS"]

_TYPES = {"string": np.int32, "large_string": np.int64}


def _fault(what: str) -> NotDataError:
    return NotDataError(f"expected {what} of Arrow's strings, found something else; save the table as CSV or parquet instead")


def make_type(_: Global, args: tuple[Any, ...], state: Any, __: Purse) -> Part:
    if state is not None or len(args) != 1 or type(args[0]) is not str or args[0] not in _TYPES:
        raise _fault("the type")
    return Part("arrow_type", args[0])


def make_buffer(_: Global, args: tuple[Any, ...], state: Any, __: Purse) -> Part:
    if state is not None or len(args) != 1 or type(args[0]) not in (bytes, bytearray):
        raise _fault("the bytes")
    return Part("arrow_buffer", args[0])


def make_chunks(_: Global, args: tuple[Any, ...], state: Any, __: Purse) -> Part:
    """``chunked_array([arrays], type)``."""
    chunks = args[0] if state is None and args else None
    if type(chunks) is not list or not all(type(c) is Part and c.kind == "arrow_array" for c in chunks):
        raise _fault("the chunks")
    return Part("arrow_array", [text for c in chunks for text in c.content])


def make_array(_: Global, args: tuple[Any, ...], state: Any, purse: Purse) -> Part:
    """The strings as a list, None where absent."""
    data = args[0] if state is None and len(args) == 1 else None
    if type(data) is not tuple or len(data) != 7 or type(data[0]) is not Part or data[0].kind != "arrow_type":
        raise _fault("an array")
    kind, length, _nulls, offset, buffers, children, dictionary = data
    whole = type(length) is int and type(offset) is int and 0 <= length < 1 << 40 and 0 <= offset < 1 << 40
    if (
        not whole
        or type(buffers) is not list
        or len(buffers) != 3
        or (children is not None and (type(children) is not list or children))
        or dictionary is not None
    ):
        raise _fault("an array without children")
    valid, bounds, text = (_content(b) for b in buffers)
    if not length:
        return Part("arrow_array", [])
    item = np.dtype(_TYPES[kind.content])
    ends = (offset + length + 1) * item.itemsize
    if bounds is None or len(bounds) < ends or (valid is not None and 8 * len(valid) < offset + length):
        raise _fault(f"the offsets of {length} strings")
    places = np.frombuffer(bounds[:ends], item.newbyteorder("<"))[offset:]
    raw = bytes(text or b"")
    if places[0] < 0 or places[-1] > len(raw) or (np.diff(places) < 0).any():
        raise _fault(f"offsets within {len(raw)} bytes")
    there = np.ones(length, bool)
    if valid is not None:
        there = np.unpackbits(np.frombuffer(valid, np.uint8), bitorder="little")[offset : offset + length].astype(bool)
    purse.spend(8 * length + len(raw))
    cut = places.tolist()
    strings = [raw[a:b].decode("utf-8") if is_there else None for a, b, is_there in zip(cut, cut[1:], there, strict=False)]
    return Part("arrow_array", strings)


def _content(buffer: Any) -> Any:
    if buffer is None:
        return None
    if type(buffer) is not Part or buffer.kind != "arrow_buffer":
        raise _fault("the buffers")
    return buffer.content


ARROW_MAKERS: dict[str, Callable[[Global, tuple[Any, ...], Any, Any], Any]] = {
    "arrow_type": make_type,
    "arrow_buffer": make_buffer,
    "arrow_array": make_array,
    "arrow_chunks": make_chunks,
}
"""What makes the parts of an Arrow string column, by the kind of a global."""
