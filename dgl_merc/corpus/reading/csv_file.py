"""CSV files as text, cell by cell, with the line each row began on: nothing is guessed, converted or skipped.

A speaker called "None" or "NA" stays one; a quoted cell may hold a line break; a byte
order mark is no part of the header. A file is read in pieces, and its cells are kept column by column as text, not as
Python strings, each of which takes 50 bytes beside its letters.
"""

from __future__ import annotations

import codecs
import csv
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any, overload

import numpy as np
import numpy.typing as npt
import pandas as pd
import pyarrow as pa

from dgl_merc.errors import InputError, at

__all__ = ["Cells", "CsvFile", "in_short", "read_csv"]

LONGEST_CELL = 1 << 24
"""Characters; the csv module's own limit (131072) is less than a long monologue."""
_BYTES = 1 << 24  # of a file, at a time
_CELLS, _ROWS = 1 << 18, 64  # as Python strings, at a time; fewer rows would not repay a column's own bytes
_COLUMNS = 1 << 16
_NAMED = 40  # in a message


class Cells(Sequence[str]):
    """[R] cells of a column, as they stand in the file.

    Args:
        text: the column, of Arrow's large strings, none of them null.
    """

    def __init__(self, text: pa.ChunkedArray) -> None:
        self._text = text

    def __len__(self) -> int:
        return len(self._text)

    @overload
    def __getitem__(self, row: int) -> str: ...
    @overload
    def __getitem__(self, row: slice) -> list[str]: ...
    def __getitem__(self, row: int | slice) -> str | list[str]:
        if isinstance(row, slice):
            return [self[k] for k in range(*row.indices(len(self)))]
        return str(self._text[row].as_py())

    def __iter__(self) -> Iterator[str]:
        for lo in range(0, len(self), _CELLS):
            yield from self._text.slice(lo, _CELLS).to_pylist()

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Sequence) and not isinstance(other, str) and list(self) == list(other)

    __hash__ = None  # type: ignore[assignment]

    def series(self) -> pd.Series[str]:
        """[R] the same as a column of a table; the text is shared."""
        return pd.Series(self._text.to_pandas(), dtype="str")


@dataclass(frozen=True)
class CsvFile:
    """A CSV file of R rows.

    Attributes:
        path: where it was read.
        cells: column -> [R] cells as they stand in the file.
        lines: [R] the physical line on which a row begins, from 1.
    """

    path: Path
    cells: Mapping[str, Cells]
    lines: npt.NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.lines)

    def require(self, columns: dict[str, str]) -> None:
        """Hold the header to ``columns``: name -> advice for whoever lacks it.

        Raises:
            InputError: names the first missing column and those that are there.
        """
        for column, advice in columns.items():
            if column not in self.cells:
                found = in_short(self.cells)
                raise InputError(f"{at(self.path, line=1)}expected a column {column!r}{advice}, found the columns: {found}")


def in_short(columns: Collection[str]) -> str:
    """The names of columns as a message may have them: not thousands."""
    more = len(columns) - _NAMED
    return ", ".join([*islice(columns, _NAMED), *([f"and {more} more"] if more > 0 else [])])


def read_csv(path: Path) -> CsvFile:
    """Read a CSV file: UTF-8, perhaps with a byte order mark, commas, unique column names, rows of equal length.

    Raises:
        InputError: no such file, not UTF-8, no header, no rows, or a row of another length; the message names the line.
    """
    if not path.is_file():
        raise InputError(f"{at(path)}expected a CSV file, found {'a folder' if path.is_dir() else 'none'}")
    _check_text(path)
    table = _Table()
    for line, row in _rows(path):
        if len(row) > _COLUMNS:
            raise InputError(f"{at(path, line=line)}expected at most {_COLUMNS} cells, found {len(row)}; put vectors into a .npy file")
        table.add(line, row)
    if table.header is None:
        raise InputError(f"{at(path)}expected a header and rows, found an empty file")
    _check_header(path, table.header)
    if table.uneven:
        line, count = table.uneven
        raise InputError(f"{at(path, line=line)}expected {len(table.header)} cells as in the header, found {count}")
    cells, lines = table.finish()
    if not len(lines):
        raise InputError(f"{at(path)}expected at least one utterance, found a header only")
    return CsvFile(path, cells, lines)


def _check_text(path: Path) -> None:
    """That all of it is UTF-8 and without a NUL; a fault of this kind is said before any other."""
    decoder, line, nul = codecs.getincrementaldecoder("utf-8")(), 1, 0
    with path.open("rb") as file:
        while piece := file.read(_BYTES):
            try:
                decoder.decode(piece)
            except UnicodeDecodeError as error:
                _refuse_bytes(path, line + error.object.count(b"\n", 0, error.start), error.object[error.start])
            if not nul and b"\0" in piece:
                nul = line + piece.count(b"\n", 0, piece.index(b"\0"))
            line += piece.count(b"\n")
    if held := decoder.getstate()[0]:
        _refuse_bytes(path, line, held[0])
    if nul:
        raise InputError(f"{at(path, line=nul)}expected text, found a NUL character; save the file as UTF-8")


def _refuse_bytes(path: Path, line: int, byte: int) -> None:
    raise InputError(f"{at(path, line=line)}expected UTF-8 text, found byte 0x{byte:02x}; save the file as UTF-8")


def _rows(path: Path) -> Iterator[tuple[int, list[str]]]:
    """The line each row begins on, and its cells; the header is one of them, blank lines are none."""
    limit, before = csv.field_size_limit(LONGEST_CELL), 0
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            reader = csv.reader(file, strict=True)
            for row in reader:
                if row:
                    yield before + 1, row
                before = reader.line_num
    except csv.Error as error:
        raise InputError(f"{at(path, line=before + 1)}expected comma-separated cells, found a fault ({error})") from None
    finally:
        csv.field_size_limit(limit)


class _Table:
    """Rows as they come, made columns some at a time.

    Attributes:
        header: the first row, once it came.
        uneven: the first row of another length: its line, and its length. What comes after it is not kept.
    """

    def __init__(self) -> None:
        self.header: list[str] | None = None
        self.uneven: tuple[int, int] | None = None
        self._lines: list[npt.NDArray[np.int64]] = []
        self._pieces: list[list[Any]] = []
        self._waiting: list[list[str]] = []
        self._waiting_lines: list[int] = []

    def add(self, line: int, row: list[str]) -> None:
        """The next row."""
        if self.header is None:
            self.header = row
            self._pieces = [[] for _ in row]
        elif self.uneven is None and len(row) != len(self.header):
            self.uneven = line, len(row)
        elif self.uneven is None:
            self._waiting.append(row)
            self._waiting_lines.append(line)
            if len(self._waiting) * len(row) >= _CELLS and len(self._waiting) >= _ROWS:
                self._pack()

    def _pack(self) -> None:
        for pieces, cells in zip(self._pieces, zip(*self._waiting, strict=True), strict=True):
            pieces.append(pa.array(cells, pa.large_string()))
        self._lines.append(np.array(self._waiting_lines, dtype=np.int64))
        self._waiting, self._waiting_lines = [], []

    def finish(self) -> tuple[dict[str, Cells], npt.NDArray[np.int64]]:
        """The columns, and the rows' lines."""
        if self._waiting:
            self._pack()
        columns = [Cells(pa.chunked_array(pieces, pa.large_string())) for pieces in self._pieces]
        return dict(zip(self.header or [], columns, strict=True)), np.concatenate([np.zeros(0, dtype=np.int64), *self._lines])


def _check_header(path: Path, header: list[str]) -> None:
    for mark, name in ((";", "semicolons"), ("\t", "tabs")):
        if len(header) == 1 and mark in header[0]:
            raise InputError(f"{at(path, line=1)}expected cells with commas between them, found {name}; save the file with commas")
    seen: set[str] = set()
    for number, column in enumerate(header, start=1):
        if not column.strip():
            raise InputError(f"{at(path, line=1)}expected a name for every column, found none for column {number}")
        if column in seen:
            raise InputError(f"{at(path, line=1)}expected different column names, found {column!r} twice")
        seen.add(column)
