"""Features of any size, never in memory as a whole: rows that are made when they are asked for, and rows that are written as they come."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import IO, Any, Protocol

import numpy as np
import numpy.typing as npt

from dgl_merc.errors import InputError

__all__ = ["IN_MEMORY", "MadeRows", "Matrix", "Spool", "nameless_file", "pieces", "stacked"]

Array = npt.NDArray[Any]
Ints = npt.NDArray[np.int64]
IN_MEMORY = 1 << 26
"""Bytes of an array that stay in memory; a larger one is in a file."""
_PIECE = 1 << 20  # numbers at a time


class Matrix(Protocol):
    """[R, W] numbers: an array, memory-mapped or not, or :class:`MadeRows`."""

    @property
    def shape(self) -> tuple[int, ...]:
        """R, W."""

    def __getitem__(self, rows: Any) -> Any:
        """[W] of a row, or [n, W] of several."""


@dataclass(frozen=True)
class MadeRows:
    """[R, W] numbers that are made when they are asked for.

    Attributes:
        shape: R, W.
        make: [n] row numbers -> [n, W] numbers.
    """

    shape: tuple[int, int]
    make: Callable[[Ints], Array]

    def __getitem__(self, rows: int | Ints) -> Array:
        if isinstance(rows, (int, np.integer)):
            return self.make(np.array([rows]))[0]  # type: ignore[no-any-return]
        return self.make(rows)


def stacked(parts: Sequence[Matrix]) -> Matrix:
    """Matrices of one width, one below the other; [R_1 + R_2 + ..., W]."""
    if len(parts) == 1:
        return parts[0]
    ends = np.cumsum([part.shape[0] for part in parts])

    def make(rows: Ints) -> Array:
        part = np.searchsorted(ends, rows, side="right")
        kind = np.result_type(*(parts[k][rows[:0]] for k in range(len(parts))))
        made = np.empty((len(rows), parts[0].shape[1]), dtype=kind)
        for k in np.unique(part):
            mine = part == k
            made[mine] = parts[k][rows[mine] - (ends[k] - parts[k].shape[0])]
        return made

    return MadeRows((int(ends[-1]), parts[0].shape[1]), make)


def pieces(rows: Ints, width: int) -> Iterator[Ints]:
    """Row numbers [R], so many at a time that their vectors of some width are a small part of any memory."""
    step = max(1, _PIECE // max(width, 1))
    return (rows[lo : lo + step] for lo in range(0, len(rows), step))


class Spool:
    """[P, W] float32, written row by row: in memory, or, beyond :data:`IN_MEMORY`, in a file without a name.

    A context: at its end the file is closed, and gone unless :meth:`finish` was called.

    Args:
        width: W.
    """

    def __init__(self, width: int) -> None:
        self.width, self._rows = width, 0
        self._held: list[Array] = []
        self._file: IO[bytes] | None = None

    def __enter__(self) -> Spool:
        return self

    def __exit__(self, *_: object) -> None:
        if self._file is not None:
            with suppress(OSError):  # what is left to be written is not wanted
                self._file.close()

    def add(self, x: npt.NDArray[np.float32]) -> None:
        """The next rows [n, W].

        Raises:
            InputError: the disk is full.
        """
        self._rows += len(x)
        self._held.append(x)
        if self._file is None and self._rows * self.width * x.itemsize > IN_MEMORY:
            with _room():
                self._file = nameless_file()
        if self._file is not None:
            with _room():
                for rows in self._held:
                    self._file.write(np.ascontiguousarray(rows).data)
            self._held = []

    def finish(self) -> npt.NDArray[np.float32]:
        """[P, W], memory-mapped where it is in a file, which is gone when nothing refers to the array any more.

        Raises:
            InputError: the disk is full.
        """
        if self._file is None:
            return np.concatenate([np.zeros((0, self.width), dtype=np.float32), *self._held])
        with _room():
            self._file.flush()
        return np.memmap(self._file, dtype=np.float32, mode="r", shape=(self._rows, self.width))


def nameless_file() -> IO[bytes]:
    """A file that the operating system takes away with the process, however that ends: in ``TMPDIR``, else in ``/var/tmp``.

    ``/tmp`` is a part of the memory on many machines.
    """
    kept = "/var/tmp"  # noqa: S108
    named = os.environ.get("TMPDIR") or not os.access(kept, os.W_OK)
    return tempfile.TemporaryFile(dir=None if named else kept)


@contextmanager
def _room() -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise InputError(
            f"expected room for features in a temporary file, found none ({error.strerror}); set TMPDIR to a folder on a larger disk"
        ) from None
