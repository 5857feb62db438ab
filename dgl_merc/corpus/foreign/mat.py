"""MATLAB's MAT files of version 5 to 7 (``save -v6``, ``-v7``), read by ourselves: numbers, text, cells and structs, nothing else.

A file is a header of 128 bytes and elements: a tag (type, bytes), then so many bytes, padded to 8; short ones stand in the tag. A
variable is a matrix element (14), often inside a deflated one (15): flags (class), dimensions, name, then its content by class: numbers
column by column, cells as matrices, structs as field names and matrices. Function handles, objects, tables and strings of class
``string`` (opaque) and sparse matrices are refused. Every size is held to the bytes that are there before anything is made. Version 7.3
is HDF5 of MATLAB's own, full of references: save as -v7.

Source: MathWorks, "MAT-File Format" (R2023b), "Level 5 MAT-File Format", tables 1-1 to 1-3. The tests hold it to scipy.io.loadmat and
savemat.
"""

from __future__ import annotations

import math
import struct
import zlib
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from dgl_merc.corpus.foreign.packed import MOST_TIMES, SLACK, regular
from dgl_merc.errors import InputError, at

__all__ = ["read_mat"]

Array = npt.NDArray[Any]

_NUMBERS = {1: "i1", 2: "u1", 3: "i2", 4: "u2", 5: "i4", 6: "u4", 7: "f4", 9: "f8", 12: "i8", 13: "u8"}
"""Type of an element -> its numbers."""
_TEXTS = {1: "latin-1", 2: "latin-1", 4: "utf-16", 16: "utf-8", 17: "utf-16", 18: "utf-32"}
_MATRIX, _DEFLATED = 14, 15
_CELL, _STRUCT, _CHAR = 1, 2, 4
_CLASSES = {6: "f8", 7: "f4", 8: "i1", 9: "u1", 10: "i2", 11: "u2", 12: "i4", 13: "u4", 14: "i8", 15: "u8"}
_REFUSED = {3: "an object", 5: "a sparse matrix", 16: "a function handle", 17: "an opaque object"}
_COMPLEX, _LOGICAL = 0x0800, 0x0200
_DEPTH = 32
_AXES = 32


class _DamageError(ValueError):
    """What is wrong, without the file."""


class _Element(NamedTuple):
    kind: int
    data: memoryview


def read_mat(path: Path) -> dict[str, Any]:
    """The variables of a file.

    Returns:
        name -> array [rows, columns, ...] of the class's dtype (logical: bool); text of one row as str, of more as a list; a cell array
        as a list, in MATLAB's order (column by column); a struct as a dict, a struct array as a list of dicts.

    Raises:
        InputError: no MAT file of version 5 to 7, damaged, or holding anything else than this.
    """
    size = regular(path)
    try:
        raw = path.read_bytes()
    except OSError as error:
        raise InputError(f"{at(path)}expected a file that can be read, found none ({error.strerror})") from None
    if raw.startswith(b"MATLAB 7.3") or raw[:8] == b"\x89HDF\r\n\x1a\n":
        raise InputError(f"{at(path)}expected a MAT file of version 5 to 7, found 7.3; save it with -v7 in MATLAB")
    if raw[:6] != b"MATLAB" or raw[126:128] not in (b"IM", b"MI"):
        raise InputError(f"{at(path)}expected a MAT file of version 5 to 7, found something else; save it with -v7 in MATLAB")
    reader = _Reader("<" if raw[126:128] == b"IM" else ">", max(SLACK, MOST_TIMES * size))
    try:
        return reader.variables(memoryview(raw)[128:])
    except (_DamageError, struct.error, zlib.error, UnicodeError) as error:
        raise InputError(
            f"{at(path)}expected the variables of a MAT file, found {error}; it is damaged, or save it with -v7 anew"
        ) from None


class _Reader:
    def __init__(self, order: str, limit: int) -> None:
        self._order, self._left = order, limit
        self._word = struct.Struct(order + "I").unpack_from

    def spend(self, count: int) -> None:
        """Hold what is about to be made to the limit."""
        self._left -= count
        if self._left < 0:
            raise _DamageError(f"more than {MOST_TIMES} times the file's size in it")

    def element(self, data: memoryview, pos: int) -> tuple[_Element, int]:
        """The element at ``pos``, and where the next one starts."""
        kind = self._word(data, pos)[0]
        if kind >> 16:  # short: count and type in one word, up to 4 bytes in the next
            count, kind, start, after = kind >> 16, kind & 0xFFFF, pos + 4, pos + 8
            if count > 4:
                raise _DamageError(f"{count} bytes where 4 fit")
        else:
            count, start = self._word(data, pos + 4)[0], pos + 8
            after = start + (count if kind == _DEFLATED else -(-count // 8) * 8)
        if start + count > len(data):
            raise _DamageError(f"{count} bytes claimed where {len(data) - start} are left")
        return _Element(kind, data[start : start + count]), after

    def variables(self, data: memoryview) -> dict[str, Any]:
        """All of a file, after its header."""
        out, pos = {}, 0
        while pos < len(data):
            element, pos = self.element(data, pos)
            if element.kind == _DEFLATED:
                element = self.inflated(element.data)
            if element.kind != _MATRIX:
                raise _DamageError(f"an element of type {element.kind} where a variable is due")
            name, value = self.matrix(element.data, 0)
            if name:  # what has none is MATLAB's own
                out[name] = value
        return out

    def inflated(self, packed: memoryview) -> _Element:
        """What is in a deflated element, no further than what is allowed."""
        inflater = zlib.decompressobj()
        out = inflater.decompress(packed, self._left + 1)
        self.spend(len(out))
        if not inflater.eof:
            raise _DamageError("a deflated variable that is cut off")
        return self.element(memoryview(out), 0)[0]

    def matrix(self, data: memoryview, depth: int) -> tuple[str, Any]:
        """A variable, cell or field: its name, often empty, and its value."""
        if depth > _DEPTH:
            raise _DamageError(f"cells nested more than {_DEPTH} deep")
        if not len(data):
            return "", np.zeros((0, 0))
        flags, pos = self.element(data, 0)
        if flags.kind != 6 or len(flags.data) != 8:
            raise _DamageError("a variable without its class")
        word = self._word(flags.data, 0)[0]
        kind = word & 0xFF
        if kind in _REFUSED:
            raise _DamageError(f"{_REFUSED[kind]}, which is no plain data")
        dims, pos = self.element(data, pos)
        shape = tuple(self.integers(dims))
        if not 2 <= len(shape) <= _AXES or min(shape) < 0:
            raise _DamageError("dimensions that are none")
        name, pos = self.element(data, pos)
        title = bytes(name.data).decode("ascii")
        if kind == _CELL:
            return title, self.cells(data, pos, math.prod(shape), depth)[0]
        if kind == _STRUCT:
            return title, self.structs(data, pos, math.prod(shape), depth)
        if kind == _CHAR:
            return title, self.text(self.element(data, pos)[0], shape)
        if kind not in _CLASSES:
            raise _DamageError(f"a variable of class {kind}, which is none")
        return title, self.array(data, pos, shape, word)

    def numbers(self, element: _Element) -> Array:
        """What an element holds, [n]."""
        if element.kind not in _NUMBERS:
            raise _DamageError(f"an element of type {element.kind} where numbers are due")
        dtype = np.dtype(self._order + _NUMBERS[element.kind])
        if len(element.data) % dtype.itemsize:
            raise _DamageError(f"{len(element.data)} bytes of {dtype}")
        out: Array = np.frombuffer(element.data, dtype)
        return out

    def integers(self, element: _Element) -> list[int]:
        """The same, of whole numbers."""
        found = self.numbers(element)
        if found.dtype.kind == "f":
            raise _DamageError(f"{found.dtype} where sizes are due")
        out: list[int] = found.tolist()
        return out

    def array(self, data: memoryview, pos: int, shape: tuple[int, ...], word: int) -> Array:
        """Numbers of any class; MATLAB writes them in the narrowest type that holds them."""
        real, pos = self.element(data, pos)
        x = self.numbers(real)
        if len(x) != math.prod(shape):
            raise _DamageError(f"{len(x)} numbers of an array {list(shape)}")
        self.spend(16 * math.prod(n or 1 for n in shape))
        kind = np.dtype(_CLASSES[word & 0xFF])
        if x.dtype.kind == "f" and kind.kind != "f":
            raise _DamageError(f"{x.dtype} of an array of {kind}")
        with np.errstate(over="ignore"):  # beyond float32 is infinite, as in MATLAB
            x = x.astype(kind)
        if word & _COMPLEX:
            imaginary = self.numbers(self.element(data, pos)[0])
            if len(imaginary) != len(x):
                raise _DamageError("complex numbers of unequal parts")
            x = x + 1j * imaginary
        out = x.reshape(shape, order="F")
        return out.astype(bool) if word & _LOGICAL else out

    def text(self, element: _Element, shape: tuple[int, ...]) -> str | list[str]:
        """Text [rows, characters], column by column."""
        if element.kind not in _TEXTS:
            raise _DamageError(f"an element of type {element.kind} where text is due")
        code = _TEXTS[element.kind]
        if code in ("utf-16", "utf-32"):
            code += "-le" if self._order == "<" else "-be"
        letters = bytes(element.data).decode(code)
        if len(shape) != 2 or shape[0] > max(1, len(letters)) or (len(letters) != math.prod(shape) and shape[0] > 1):
            raise _DamageError(f"{len(letters)} characters of text {list(shape)}")
        self.spend(8 * len(letters))
        rows = shape[0]
        return letters if rows <= 1 else [letters[k::rows] for k in range(rows)]

    def cells(self, data: memoryview, pos: int, count: int, depth: int) -> tuple[list[Any], int]:
        """So many matrices, one after another."""
        if count > (len(data) - pos) // 8:
            raise _DamageError(f"{count} cells claimed where {len(data) - pos} bytes are left")
        out = []
        for _ in range(count):
            element, pos = self.element(data, pos)
            if element.kind != _MATRIX:
                raise _DamageError(f"an element of type {element.kind} where a cell is due")
            self.spend(64)
            out.append(self.matrix(element.data, depth + 1)[1])
        return out, pos

    def structs(self, data: memoryview, pos: int, count: int, depth: int) -> Any:
        """A dict, or a list of them."""
        width, pos = self.element(data, pos)
        names, pos = self.element(data, pos)
        length = self.integers(width)[0] if len(width.data) == 4 else 0
        if length < 1 or len(names.data) % length:
            raise _DamageError("field names of no length")
        raw = bytes(names.data)
        fields = [raw[k : k + length].split(b"\0")[0].decode("ascii") for k in range(0, len(raw), length)]
        if not fields and count > 1:
            raise _DamageError(f"{count} structs without fields")
        values, _ = self.cells(data, pos, count * len(fields), depth)
        rows = [dict(zip(fields, values[k * len(fields) : (k + 1) * len(fields)], strict=True)) for k in range(count)]
        return rows[0] if count == 1 else rows
