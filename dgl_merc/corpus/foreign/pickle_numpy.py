"""NumPy's dtypes, arrays and scalars from their pickled parts, each part checked before NumPy sees it.

An array is (version, shape, dtype, Fortran order, bytes or list of objects), set on ``_reconstruct(ndarray, (0,), b"b")``, and from
protocol 5 ``_frombuffer(bytes, dtype, shape, order[, axes])``; a scalar is ``scalar(dtype, bytes)``; a dtype is ``dtype("f8", align,
copy)`` with a state (version, byte order, subdtype, names, fields, itemsize, alignment, flags[, metadata and unit]). Python 2's bytes
arrive as latin1 text.

Sources: numpy/_core/src/multiarray/methods.c (array_reduce, array_setstate), descriptor.c (arraydescr_reduce, arraydescr_setstate),
scalartypes.c.src (gentype_reduce), numpy/_core/numeric.py (_frombuffer).
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from dgl_merc.corpus.foreign.pickle_terms import Global, NotDataError, printable

__all__ = ["MAKERS", "Purse"]

Array = npt.NDArray[Any]

_SPEC = re.compile(r"([biufcSUVOMm])(\d{0,9})")
_SIZES = {"b": (1,), "i": (1, 2, 4, 8), "u": (1, 2, 4, 8), "f": (2, 4, 8, 12, 16), "c": (8, 16, 24, 32), "M": (8,), "m": (8,), "O": (4, 8)}
_WIDEST = 1 << 24
"""Bytes of one item."""
_FIELDS = 1000
"""Of a dtype, those within its fields included."""
_FIELD_WEIGHT = 128
"""Bytes that a field counts for in every array that has it: NumPy goes through them all each time."""
_UNIT = re.compile(r"Y|M|W|D|h|m|s|ms|us|ns|ps|fs|as|generic")
_AXES = 32


class Purse(Protocol):
    """Holds what is about to be built to a limit."""

    def spend(self, weight: int) -> None:
        """Raises ``NotDataError`` where it goes beyond."""


def _text(value: Any) -> str:
    """Text, as bytes too, as NumPy writes units and Python 2 everything."""
    if type(value) is bytes:
        return value.decode("latin-1")
    return value if type(value) is str else f"a {type(value).__name__}"


def _damaged(what: str, found: object) -> NotDataError:
    return NotDataError(f"expected {what}, found {printable(str(found))}; the file is damaged or made by hand")


def _raw(data: Any) -> bytes | bytearray:
    """Bytes; as text where Python 2 wrote them."""
    if type(data) is str:
        return data.encode("latin-1")
    if type(data) not in (bytes, bytearray):
        raise _damaged("the bytes of an array", f"a {type(data).__name__}")
    out: bytes | bytearray = data
    return out


def make_dtype(_: Global, args: tuple[Any, ...], state: Any, __: Purse) -> np.dtype[Any]:
    """A dtype; of its state only byte order, fields and unit count."""
    given = args[0] if len(args) in (1, 2, 3) else None
    spec = _text(given)
    match = _SPEC.fullmatch(spec)
    if match is None:
        raise NotDataError(f"expected a dtype of numbers, text or dates, found {printable(spec)}; save the array as plain numbers")
    kind, size = match[1], int(match[2] or (8 if match[1] in "OMm" else 0))
    if size not in _SIZES.get(kind, (size,)) or size > _WIDEST // (4 if kind == "U" else 1):
        raise NotDataError(f"expected a dtype of numbers, text or dates of a possible size, found {spec}; do not trust this file")
    if state is None:
        state = (3, "=", None, None, None, -1, -1, 0)
    if type(state) is not tuple or len(state) not in (8, 9) or _text(state[1]) not in ("<", ">", "|", "="):
        raise _damaged("the state of a dtype", "another one")
    if kind == "O":
        return np.dtype(object)
    if kind == "V" and (state[3] is not None or state[4] is not None):
        return _structured(state[3], state[4], size)
    if kind == "V" and state[2] is not None:
        return _subarray(state[2], size)
    unit = _unit(state[8]) if kind in "Mm" and len(state) == 9 else ""
    try:
        plain = np.dtype(f"{kind}{'8' if unit else size}{unit}")
    except TypeError:  # a long double of another machine
        raise NotDataError(f"expected a dtype that this machine has, found {spec}; save the array as float64") from None
    return plain.newbyteorder(">" if _text(state[1]) == ">" else "<")


def _unit(metadata: Any) -> str:
    unit = metadata[1] if type(metadata) is tuple and len(metadata) == 2 else None
    if type(unit) is not tuple or len(unit) < 2 or type(unit[1]) is not int:
        raise _damaged("the unit of dates", "something else")
    name = _text(unit[0])
    if not _UNIT.fullmatch(name) or not 1 <= unit[1] < 1 << 31:
        raise _damaged("the unit of dates", f"{unit[1]} {name[:20]}")
    return "" if name == "generic" else f"[{unit[1]}{name}]"


def _structured(names: Any, fields: Any, size: int) -> np.dtype[Any]:
    if (
        type(names) is not tuple
        or type(fields) is not dict
        or not 0 < len(names) <= _FIELDS
        or not all(type(name) is str for name in names)
    ):
        raise _damaged(f"1 to {_FIELDS} named fields of a dtype", "something else")
    formats, offsets, titles, count = [], [], [], 0
    for name in names:
        entry = fields.get(name)
        if type(entry) is not tuple or len(entry) not in (2, 3) or not isinstance(entry[0], np.dtype) or type(entry[1]) is not int:
            raise _damaged("the fields of a dtype", f"something else for {name[:20]!r}")
        if entry[0].hasobject or not 0 <= entry[1] <= size - entry[0].itemsize:
            raise _damaged(f"fields of numbers or text within {size} bytes", f"another for {name[:20]!r}")
        count += _fields_in(entry[0])
        if count > _FIELDS:  # what is within it, and within that: a few names each time, and soon more than any walk ends with
            raise _damaged(f"at most {_FIELDS} fields of a dtype in all", "more")
        formats.append(entry[0])
        offsets.append(entry[1])
        titles.append(_text(entry[2]) if len(entry) == 3 else None)
    try:
        return np.dtype({"names": list(names), "formats": formats, "offsets": offsets, "titles": titles, "itemsize": size})
    except (ValueError, TypeError) as error:  # the same name twice
        raise _damaged("the fields of a dtype", error) from None


def _fields_in(dtype: np.dtype[Any]) -> int:
    """How many numbers or texts a dtype is made of."""
    if dtype.subdtype is not None:
        dtype = dtype.subdtype[0]
    return 1 if dtype.fields is None else sum(_fields_in(entry[0]) for entry in dtype.fields.values())


def _subarray(sub: Any, size: int) -> np.dtype[Any]:
    if type(sub) is not tuple or len(sub) != 2 or not isinstance(sub[0], np.dtype) or sub[0].hasobject:
        raise _damaged("the dtype of a subarray", "something else")
    shape = _shape((sub[1],) if type(sub[1]) is int else sub[1])
    if math.prod(shape) * sub[0].itemsize != size:
        raise _damaged(f"a subarray of {size} bytes", f"shape {list(shape)} of {sub[0].itemsize}")
    return np.dtype((sub[0], shape))


def _shape(shape: Any) -> tuple[int, ...]:
    if type(shape) is not tuple or len(shape) > _AXES or not all(type(n) is int and n >= 0 for n in shape):
        raise _damaged("the shape of an array", "something else")
    out: tuple[int, ...] = shape
    return out


def _filled(data: bytes | bytearray, dtype: Any, shape: tuple[int, ...], order: Any, purse: Purse) -> Array:
    """An array of its own, of exactly the bytes that are there, in this machine's byte order (as NumPy does below protocol 5)."""
    if not isinstance(dtype, np.dtype) or dtype.hasobject or dtype.subdtype is not None:
        raise _damaged("an array of numbers, text or dates", f"dtype {dtype}")
    count = math.prod(shape)
    if count * dtype.itemsize != len(data):
        raise _damaged(f"{count * dtype.itemsize} bytes of an array {list(shape)} of {dtype}", f"{len(data)} bytes")
    # Of an array without bytes, what counts is how many rows a walk through it would make.
    purse.spend(8 * math.prod(n or 1 for n in shape) if not len(data) else 0)
    purse.spend(_FIELD_WEIGHT * _fields_in(dtype) if dtype.fields is not None else 0)
    if not len(data):
        return np.zeros(shape, dtype.newbyteorder("="), order=order)
    x: Array = np.frombuffer(data, dtype).reshape(shape, order=order).astype(dtype.newbyteorder("="), order="K")
    _check_text(x)
    return x


def _check_text(x: Array) -> None:
    """NumPy's text is 4 bytes a character, of which most are none."""
    if x.dtype.kind == "U":
        codes = np.ascontiguousarray(x).reshape(-1).view(np.uint32)
        if ((codes > 0x10FFFF) | ((codes >= 0xD800) & (codes < 0xE000))).any():
            raise _damaged("an array of text", "characters that are none")
    for name in x.dtype.names or ():
        _check_text(x[name])


def make_array(_: Global, args: tuple[Any, ...], state: Any, purse: Purse) -> Array:
    """``_reconstruct`` with its state."""
    if not args or type(args[0]) is not Global or args[0].kind != "ndarray":
        raise _damaged("an array of numpy.ndarray", "another class")
    if type(state) is not tuple or len(state) != 5 or type(state[3]) not in (bool, int):
        raise _damaged("an array's version, shape, dtype, order and data", "something else")
    shape, dtype, data = _shape(state[1]), state[2], state[4]
    if isinstance(dtype, np.dtype) and dtype.kind == "O":
        return _objects(shape, data, "F" if state[3] else "C", purse)
    return _filled(_raw(data), dtype, shape, "F" if state[3] else "C", purse)


def _objects(shape: tuple[int, ...], values: Any, order: Any, purse: Purse) -> Array:
    """An array of objects, from their list in C order, whatever the array's own."""
    if type(values) is not list or len(values) != math.prod(shape):
        found = f"{len(values)} of them" if type(values) is list else f"a {type(values).__name__}"
        raise _damaged(f"a list of {math.prod(shape)} objects of an array {list(shape)}", found)
    purse.spend(8 * math.prod(n or 1 for n in shape))
    x: Array = np.fromiter(values, dtype=object, count=len(values)).reshape(shape)
    return x.copy(order=order)


def make_from_buffer(_: Global, args: tuple[Any, ...], state: Any, purse: Purse) -> Array:
    """``_frombuffer``, protocol 5."""
    if state is not None or len(args) not in (4, 5) or _text(args[3]) not in ("C", "F", "K"):
        raise _damaged("an array's bytes, dtype, shape and order", "something else")
    shape, order = _shape(args[2]), _text(args[3])
    if order != "K":
        return _filled(_raw(args[0]), args[1], shape, order, purse)
    axes = _shape(args[4]) if len(args) == 5 else tuple(range(len(shape)))
    if sorted(axes) != list(range(len(shape))):
        raise _damaged(f"an order of {len(shape)} axes", list(axes))
    return _filled(_raw(args[0]), args[1], shape, "C", purse).transpose(axes)


def make_scalar(_: Global, args: tuple[Any, ...], state: Any, purse: Purse) -> Any:
    """``scalar(dtype, bytes)``."""
    if state is not None or len(args) != 2:
        raise _damaged("a number's dtype and bytes", "something else")
    return _filled(_raw(args[1]), args[0], (), "C", purse)[()]


MAKERS: dict[str, Callable[[Global, tuple[Any, ...], Any, Any], Any]] = {
    "dtype": make_dtype,
    "array": make_array,
    "frombuffer": make_from_buffer,
    "scalar": make_scalar,
}
"""What makes NumPy's data, by the kind of a global."""
