"""HDF5 files (``.h5``, ``.csd`` of the CMU-MultimodalSDK) as nested dicts of arrays and text, bounded before anything is read.

An HDF5 file can name other files: external links, datasets whose bytes lie outside, datasets put together from elsewhere ("virtual"). It
can claim 10 TB that no byte was written of, and pack zeros a thousand times. Each object is looked at by what the library tells without
reading it, and only then read: groups and datasets that stand where they are named, of numbers or text, deflated or plain.

What stays: the HDF5 library itself parses the file's structure, in C, in this process. Read files of people whom you trust with that.

Source of the layout in circulation: CMU-MultimodalSDK, mmsdk/mmdatasdk/computational_sequence (computational_sequence.py, file_ops.py):
``<name>/data/<video>/{features [rows, width], intervals [rows, 2] in seconds}`` and ``<name>/metadata/<key>``, text [1].
"""

from __future__ import annotations

import math
import zlib
from pathlib import Path
from typing import Any

import numpy as np

from dgl_merc.corpus.foreign.packed import MOST_TIMES, SLACK, regular
from dgl_merc.errors import InputError, at

__all__ = ["read_hdf5"]

_DEPTH = 32
_TEXTS = 10_000
"""Texts of any length in one dataset."""
_DEFLATE, _SHUFFLE, _FLETCHER = 1, 2, 3
_FILTERS = {_DEFLATE, _SHUFFLE, _FLETCHER, 32000}  # 32000: LZF, which packs 90 times at most


def read_hdf5(path: Path) -> dict[str, Any]:
    """Everything in a file, by name.

    Returns:
        Groups as dicts; datasets as arrays of their shape, of numbers, booleans or fixed byte strings, or of str (dtype object); a dataset
        without dimensions as a number or str. Attributes are not read.

    Raises:
        InputError: h5py is not installed; no HDF5 file, or damaged; links, references, compound types, other files or unknown compression
            in it; more than 200 times the file's size and 64 MiB unpacked.
    """
    try:
        import h5py
    except ImportError:
        raise InputError(f"{at(path)}expected the package h5py to read HDF5, found none; pip install 'dglmerc[hdf5]'") from None
    size = regular(path)
    if not h5py.is_hdf5(path):
        raise InputError(f"{at(path)}expected an HDF5 file, found something else or a damaged one; fetch it again")
    try:
        with h5py.File(path, "r") as file:
            made = file.id.get_create_plist()
            if made.get_userblock() or made.get_sizes() != (8, 8):
                raise InputError(f"{at(path)}expected an HDF5 file of its own with 8-byte places, found another; save it anew with h5py")
            return _Reader(h5py, path, size).group(file.id, "", 0)
    except (OSError, RuntimeError, ValueError, KeyError, TypeError, OverflowError, MemoryError, zlib.error) as error:  # of the library
        line = (str(error) or type(error).__name__).splitlines()[0][:120]
        raise InputError(f"{at(path)}expected a whole HDF5 file, found a fault ({line}); fetch it again") from None


class _Reader:
    def __init__(self, h5py: Any, path: Path, size: int) -> None:
        self._h5, self._path, self._size = h5py, path, size
        self._limit = self._left = max(SLACK, MOST_TIMES * size)
        self._seen: set[Any] = set()
        self._heaps: dict[int, dict[int, bytes]] = {}

    def fault(self, where: str, expected: str, found: str) -> InputError:
        return InputError(
            f"{at(self._path)}{ascii(where)[:120]}: expected {expected}, found {found}; do not trust this file, or save it anew"
        )

    def spend(self, where: str, count: int) -> None:
        """Hold what is about to be read to the limit."""
        self._left -= count
        if self._left < 0:
            raise self.fault(where, f"at most {self._limit} bytes from a file of this size", "more claimed")

    def group(self, group: Any, where: str, depth: int) -> dict[str, Any]:
        """The members of a group, each reached by the one name that it has."""
        if depth > _DEPTH:
            raise self.fault(where, f"groups at most {_DEPTH} deep", "deeper")
        out = {}
        for raw in group:
            name = raw.decode("utf-8", "replace")
            place = f"{where}/{name}"
            kind = group.links.get_info(raw).type
            if kind != self._h5.h5l.TYPE_HARD:
                what = "a link to another file" if kind == self._h5.h5l.TYPE_EXTERNAL else "a link"
                raise self.fault(place, "data in its place", what)
            self.spend(place, 64)
            member = self._h5.h5o.open(group, raw)
            info = self._h5.h5o.get_info(member)
            if (info.fileno, info.addr) in self._seen:
                raise self.fault(place, "data of its own", "another name of what was read already")
            self._seen.add((info.fileno, info.addr))
            if isinstance(member, self._h5.h5g.GroupID):
                out[name] = self.group(member, place, depth + 1)
            elif isinstance(member, self._h5.h5d.DatasetID):
                out[name] = self.dataset(member, place)
            else:
                raise self.fault(place, "a group or dataset", "a named type")
        return out

    def dataset(self, data: Any, where: str) -> Any:
        """A dataset, once it is known to be here, of numbers or text, and of a size that the file can hold."""
        made = data.get_create_plist()
        layout = made.get_layout()
        if layout not in (self._h5.h5d.COMPACT, self._h5.h5d.CONTIGUOUS, self._h5.h5d.CHUNKED) or made.get_external_count():
            raise self.fault(where, "a dataset in this file", "one in another")
        text = data.get_type()
        is_text = isinstance(text, self._h5.h5t.TypeStringID)
        plain = (self._h5.h5t.TypeIntegerID, self._h5.h5t.TypeFloatID, self._h5.h5t.TypeBitfieldID, self._h5.h5t.TypeEnumID)
        if not is_text and not isinstance(text, plain):
            raise self.fault(where, "numbers or text", "another type (references, compounds, sequences are none)")
        if data.get_space().get_simple_extent_type() == self._h5.h5s.NULL:
            return np.zeros(0, np.float32)
        varying = is_text and text.is_variable_str()
        item = 16 if varying else text.get_size()
        self.spend(where, item * math.prod(data.shape))
        if layout == self._h5.h5d.CHUNKED:
            self.chunks(data, made, where, item)
        return self.texts(data, where) if varying else self._h5.Dataset(data)[()]

    def chunks(self, data: Any, made: Any, where: str, item: int) -> None:
        """Hold every chunk to the size of its array: the library unpacks whatever comes out."""
        filters = [made.get_filter(k)[0] for k in range(made.get_nfilters())]
        if set(filters) - _FILTERS or len(set(filters)) != len(filters):
            raise self.fault(where, "no compression, deflate or LZF", f"the filters {filters[:8]}")
        most = item * math.prod(made.get_chunk())
        if most > self._limit:
            raise self.fault(where, f"pieces of at most {self._limit} bytes", f"one of {most}")
        if _DEFLATE not in filters:
            return
        for k in range(data.get_num_chunks()):
            about = data.get_chunk_info(k)
            if about.filter_mask:
                continue  # stored as it is
            _, packed = data.read_direct_chunk(about.chunk_offset)
            if len(zlib.decompressobj().decompress(packed, most + 1)) > most:
                raise self.fault(where, f"pieces of {most} bytes", "one that unpacks to more")

    def texts(self, data: Any, where: str) -> Any:
        """Text of any length, read by ourselves: on a damaged heap of such text the library searches forever (HDF5 2.0.0)."""
        count = math.prod(data.shape)
        if count > _TEXTS:
            raise self.fault(where, f"at most {_TEXTS} texts", str(count))
        made, start = data.get_create_plist(), data.get_offset()
        if made.get_layout() != self._h5.h5d.CONTIGUOUS:
            raise self.fault(where, "text in one piece", "another layout")
        out = np.full(data.shape, "", dtype=object)
        if start is None:  # never written
            return out[()]
        refs = np.frombuffer(self.piece(start, 16 * count, where), [("length", "<u4"), ("heap", "<u8"), ("place", "<u4")])
        for place, (length, heap, index) in zip(np.ndindex(data.shape), refs.tolist(), strict=True):
            if length:
                raw = self.heap(heap, where).get(index, b"")
                if length > len(raw):
                    raise self.fault(where, f"a text of {length} bytes", f"{len(raw)}")
                self.spend(where, length)
                out[place] = raw[:length].decode("utf-8")
        return out[()]

    def heap(self, start: int, where: str) -> dict[int, bytes]:
        """The objects of a global heap collection: "GCOL", version, size, then (number, uses, size, bytes padded to 8), up to number 0."""
        if start in self._heaps:
            return self._heaps[start]
        head = self.piece(start, 16, where)
        size = int.from_bytes(head[8:], "little")
        if head[:5] != b"GCOL\x01":
            raise self.fault(where, "a heap of texts", "something else")
        self.spend(where, size)
        raw, pos, out = self.piece(start, size, where), 16, {}
        while pos + 16 <= size:
            index, count = int.from_bytes(raw[pos : pos + 2], "little"), int.from_bytes(raw[pos + 8 : pos + 16], "little")
            if not index or count > size - pos - 16:
                break
            out[index] = raw[pos + 16 : pos + 16 + count]
            pos += 16 + -(-count // 8) * 8
        self._heaps[start] = out
        return out

    def piece(self, start: int, count: int, where: str) -> bytes:
        """Of the file as it lies there."""
        if start + count > self._size:
            raise self.fault(where, "text within the file", "a place beyond its end")
        with self._path.open("rb") as file:
            file.seek(start)
            return file.read(count)
