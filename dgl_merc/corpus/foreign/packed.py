"""The bytes of a file, out of gzip, bzip2, xz or a zip of one file, in bounded memory.

A plain file is mapped, not read: a size that it claims costs nothing. A packed one is read through in pieces, and no further than a
multiple of its size that the field's data doesn't reach: features are floats, which pack to a half, and to a tenth where many are zero.
"""

from __future__ import annotations

import bz2
import gzip
import lzma
import mmap
import stat
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

from dgl_merc.errors import InputError, at

__all__ = ["MOST_TIMES", "SLACK", "contents", "regular"]

MOST_TIMES = 200
"""Of the packed size. gzip packs zeros a thousand times."""
SLACK = 64 << 20
"""Bytes that any file may unpack to."""
_PIECE = 1 << 20
_XZ_MEMORY = 128 << 20
"""Bytes for a dictionary: xz -9 takes 65 MiB, and a file can claim 4 GiB."""
_FAULTS = (OSError, EOFError, ValueError, RuntimeError, NotImplementedError, zlib.error, lzma.LZMAError, zipfile.BadZipFile)
"""What the unpackers raise on damaged files (RuntimeError: encrypted; NotImplementedError: of an unknown method)."""


def regular(path: Path) -> int:
    """The size of a file, which is one: reading a pipe would wait forever.

    Raises:
        InputError: none there, a folder, a pipe or a device, not readable, or empty.
    """
    try:
        about = path.stat()
    except (OSError, ValueError) as error:
        raise InputError(f"{at(path)}expected a file, found none ({_line(error)})") from None
    if not stat.S_ISREG(about.st_mode):
        kind = "a folder" if stat.S_ISDIR(about.st_mode) else "a pipe or device"
        raise InputError(f"{at(path)}expected a file, found {kind}; name a file")
    if not about.st_size:
        raise InputError(f"{at(path)}expected data, found an empty file; fetch it again")
    return about.st_size


@contextmanager
def contents(path: Path) -> Iterator[mmap.mmap | bytes]:
    """The unpacked bytes of a file: mapped if it is plain.

    Raises:
        InputError: no file, damaged, or packed so that it would unpack to more than ``MOST_TIMES`` its size and ``SLACK``.
    """
    size = regular(path)
    try:
        file = path.open("rb")
    except OSError as error:
        raise InputError(f"{at(path)}expected a file that can be read, found none ({_line(error)})") from None
    with file:
        magic = file.read(6)
        file.seek(0)
        if magic.startswith(b"PK\x03\x04"):
            yield _from_zip(path, file, size)
        elif opener := _OPENERS.get(magic[:2]):
            try:
                data = _drained(path, opener(file), size)
            except _FAULTS as error:
                raise InputError(f"{at(path)}expected a whole packed file, found a fault ({_line(error)}); fetch it again") from None
            yield data
        else:
            with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as mapped:
                yield mapped


class _Xz:
    """An xz file as a stream, whose decoder may not take any memory it asks for. ``lzma.open`` has no such bound."""

    def __init__(self, file: IO[bytes]) -> None:
        self._file, self._decoder = file, lzma.LZMADecompressor(lzma.FORMAT_XZ, memlimit=_XZ_MEMORY)

    def read(self, count: int) -> bytes:
        while not self._decoder.eof:
            more = self._file.read(_PIECE) if self._decoder.needs_input else b""
            if self._decoder.needs_input and not more:
                raise EOFError("the file ends before its end")
            if out := self._decoder.decompress(more, count):
                return out
        if self._decoder.unused_data or self._file.read(1):
            raise ValueError("more bytes after the end")
        return b""


_OPENERS: dict[bytes, Any] = {b"\x1f\x8b": lambda f: gzip.GzipFile(fileobj=f, mode="rb"), b"BZ": bz2.BZ2File, b"\xfd7": _Xz}


def _drained(path: Path, stream: Any, size: int) -> bytes:
    """All of a stream, up to what is allowed."""
    out = bytearray()
    limit = max(SLACK, MOST_TIMES * size)
    while piece := stream.read(_PIECE):
        out += piece
        if len(out) > limit:
            raise InputError(
                f"{at(path)}expected at most {MOST_TIMES} times its {size} bytes unpacked (or {SLACK}), found more; "
                "unpack it yourself if you trust it"
            )
    return bytes(out)


def _from_zip(path: Path, file: IO[bytes], size: int) -> bytes:
    try:
        with zipfile.ZipFile(file) as archive:
            members = [info for info in archive.infolist() if not info.is_dir()]
            if len(members) != 1:
                names = ", ".join(info.filename for info in members[:3])
                torch = any(info.filename.endswith("/data.pkl") for info in members)
                advice = "it is a torch file: save its tensors as NumPy arrays" if torch else "unpack it and name one of its files"
                raise InputError(f"{at(path)}expected one file in the archive, found {len(members)} ({names[:120]!a}); {advice}")
            with archive.open(members[0]) as stream:
                return _drained(path, stream, size)
    except _FAULTS as error:
        raise InputError(f"{at(path)}expected a whole zip archive, found a fault ({_line(error)}); fetch it again") from None


def _line(error: BaseException) -> str:
    return (str(error) or type(error).__name__).splitlines()[0][:120]
