"""Rows of features that are read where they lie, when somebody asks: what is made of corpora needs no memory for their vectors.

A corpus that was sampled, merged or changed holds :class:`Pieces` until it is saved. They are written, hashed and checked bit by bit.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, cast

import numpy as np
import numpy.typing as npt

__all__ = ["Pieces", "pieces_of", "rows_at_once", "write_npy"]

Array = npt.NDArray[Any]
Ints = npt.NDArray[np.int64]

_NUMBERS = 1 << 22  # in memory at a time: 16 MiB of float32


class Pieces:
    """[N, width] float32: some rows of each of several arrays, below each other.

    It takes the keys an array takes (a slice, row numbers, a mask; perhaps columns behind them) and gives arrays; ``np.asarray`` of it
    is all of it, in memory.

    >>> x = Pieces([(np.arange(6.0).reshape(3, 2), np.array([2, 0])), (np.zeros((1, 2)), np.array([0]))])
    >>> x.shape, x[1:].tolist(), x[0, 1].item()
    ((3, 2), [[0.0, 1.0], [0.0, 0.0]], 5.0)
    """

    dtype = np.dtype(np.float32)
    ndim = 2

    def __init__(self, parts: Sequence[tuple[Array, Ints]]) -> None:
        """Of at least one array [.., width] (or Pieces), each with the numbers of its rows."""
        self.parts = tuple(parts)
        self.ends = np.cumsum([len(rows) for _, rows in self.parts])
        self.shape = (int(self.ends[-1]), int(self.parts[0][0].shape[1]))
        if wrong := [x.shape for x, _ in self.parts if x.shape[1] != self.shape[1]]:
            raise ValueError(f"parts must be equally wide, got {self.shape[1]} and {wrong[0][1]}")

    @classmethod
    def of(cls, *parts: tuple[Array, Ints]) -> Array:
        """The same, for type checkers: what a corpus takes for an array."""
        return cast("Array", cls(parts))

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, key: Any) -> Array:
        rows, rest = (key[0], key[1:]) if isinstance(key, tuple) else (key, ())
        if isinstance(rows, slice):
            rows = np.arange(*rows.indices(len(self)))
        rows = np.asarray(rows)
        if rows.dtype == bool:
            rows = np.flatnonzero(rows)
        wanted = np.atleast_1d(np.where(rows < 0, rows + len(self), rows))
        if wanted.size and not (wanted.min() >= 0 and wanted.max() < len(self)):
            raise IndexError(f"rows must be from 0 to {len(self) - 1}, got {rows}")
        found = self._take(wanted.astype(np.int64))
        found = found if rows.ndim else found[0]
        return cast("Array", found[(slice(None),) * (1 if rows.ndim else 0) + rest] if rest else found)

    def _take(self, wanted: Ints) -> Array:
        out = np.empty((len(wanted), self.shape[1]), dtype=np.float32)
        part = np.searchsorted(self.ends, wanted, side="right")
        for k in np.unique(part).tolist():
            x, rows = self.parts[k]
            mine = part == k
            out[mine] = x[rows[wanted[mine] - (self.ends[k] - len(rows))]]
        return out

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> Array:
        """All of it."""
        if copy is False:
            raise ValueError("rows that lie in several places must be copied to be one array")
        whole = self[:]
        return whole if dtype is None else whole.astype(dtype, copy=False)


def rows_at_once(width: int) -> int:
    """How many rows a piece has: at most 65536, and so few that all columns make 16 MiB."""
    return max(1, min(1 << 16, _NUMBERS // width))


def pieces_of(x: Array) -> Iterator[tuple[int, Array]]:
    """``x`` [N, width] bit by bit: the number of the first row, and some rows."""
    size = rows_at_once(x.shape[1])
    for lo in range(0, len(x), size):
        yield lo, np.asarray(x[lo : lo + size])


def write_npy(path: Path, x: Array) -> None:
    """``x`` [N, width] as a ``.npy`` file of float32, a piece at a time: the bytes that ``np.save`` writes."""
    with path.open("wb") as file:
        np.lib.format.write_array_header_1_0(file, {"descr": "<f4", "fortran_order": False, "shape": x.shape})
        for _, piece in pieces_of(x):
            file.write(np.ascontiguousarray(piece, dtype="<f4").data)
