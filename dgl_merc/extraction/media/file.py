"""A file of a stranger, opened so that it can neither make us wait nor make FFmpeg open another one."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO

__all__ = ["MOST_PIXELS", "OPTIONS", "MediaError", "foreign", "is_cut", "opened"]

_FORMATS = (
    *("aac", "ac3", "aiff", "amr", "asf", "au", "avi", "caf", "eac3", "flac", "flv", "matroska", "mov", "mp3", "mpeg", "mpegts"),
    *("mpegvideo", "nistsphere", "ogg", "tta", "w64", "wav", "webm", "wv"),
)
"""Containers that are read, as FFmpeg calls them. None of them names other files or addresses (as playlists do: HLS, DASH, concat,
SDP), none is a still image, or a text that FFmpeg would draw."""
MOST_PIXELS = 8192 * 4320
"""Of a picture: of the largest that cameras make. What is larger would need gigabytes."""
OPTIONS = {"threads": "1", "max_pixels": str(MOST_PIXELS)}
"""Of FFmpeg's decoders; one thread, since others look at other files."""
UNKNOWN_LENGTHS = range(0x7FFF0000, 2**32)
"""Lengths that writers put into the header of a WAV which they can't go back to; as is 0."""


class MediaError(Exception):
    """A stretch of a recording that can't be used; the message says why, without the file's name: alike for alike faults."""


@contextmanager
def foreign(reason: str) -> Iterator[None]:
    """What a library raises at a stranger's bytes becomes a :class:`MediaError`: PyAV has no one exception for them."""
    try:
        yield
    except MediaError:
        raise
    except Exception:
        raise MediaError(reason) from None


class _Bytes:
    """A file as FFmpeg gets it: no name, from which it would guess a format, or a pattern of names; no way to write."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self.read, self.tell = file.read, file.tell

    def seek(self, offset: int, whence: int) -> int:
        """To a place that a file of a stranger names; less than 0: there is none."""
        try:
            return self._file.seek(offset, whence)
        except (OSError, ValueError):
            return -1


@contextmanager
def opened(path: Path) -> Iterator[tuple[Any, bool]]:
    """PyAV's container of a recording, and whether it says that it is longer than it is (:func:`is_cut`).

    Args:
        path: symbolic links are followed.

    Raises:
        MediaError: no such file, a folder, a pipe or a device (neither is waited for), an empty file, no recording.
    """
    import av

    with _regular(path) as file:
        with foreign("the file can't be read"):
            start = file.read(12)
            cut = is_cut(file, start)
            file.seek(0)
        unfinished = start[4:8] == b"ftyp"  # an MP4's index is written last
        with foreign("the file is cut off" if unfinished else "not a recording"):
            container = av.open(
                _Bytes(file),
                "r",
                options=OPTIONS,
                container_options={"format_whitelist": ",".join(_FORMATS), "protocol_whitelist": "none"},
                metadata_errors="ignore",
            )
        try:
            yield container, cut
        finally:
            container.close()


def _regular(path: Path) -> BinaryIO:
    """A regular file, unbuffered."""
    try:
        _hold_regular(os.stat(path))  # before it is opened: to open some devices is to do something
        file = open(path, "rb", buffering=0, opener=lambda name, flags: os.open(name, flags | os.O_NONBLOCK))  # noqa: SIM115
    except (FileNotFoundError, NotADirectoryError, ValueError):  # ValueError: a name with a zero byte
        raise MediaError("no such file") from None
    except OSError:
        raise MediaError("the file can't be opened") from None
    try:
        _hold_regular(os.fstat(file.fileno()))  # another may have taken its place
    except MediaError:
        file.close()
        raise
    return file


def _hold_regular(found: os.stat_result) -> None:
    if stat.S_ISDIR(found.st_mode):
        raise MediaError("a folder, not a file")
    if not stat.S_ISREG(found.st_mode):
        raise MediaError("a pipe or a device, not a file")
    if not found.st_size:
        raise MediaError("the file is empty")


def is_cut(file: BinaryIO, start: bytes) -> bool:
    """Whether a WAV's header counts more bytes of sound than follow; FFmpeg, which looks at the file's size, does not say so.

    Args:
        file: its position is moved.
        start: its first 12 bytes.
    """
    if start[:4] != b"RIFF" or start[8:12] != b"WAVE":
        return False
    size, at = file.seek(0, os.SEEK_END), 12
    while at + 8 <= size:
        file.seek(at)
        head = file.read(8)
        length = int.from_bytes(head[4:], "little")
        if head[:4] == b"data":
            return length not in UNKNOWN_LENGTHS and at + 8 + length > size
        at += 8 + length + length % 2  # chunks begin at even bytes
    return True
