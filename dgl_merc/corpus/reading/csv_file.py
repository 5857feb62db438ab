"""CSV files as text, cell by cell, with the line each row began on: nothing is guessed, converted or skipped.

A speaker called "None" or "NA" stays one; a quoted cell may hold a line break; a byte
order mark is no part of the header.
"""

from __future__ import annotations

import csv
import io
from dataclasses import dataclass
from pathlib import Path

from dgl_merc.errors import InputError, at

__all__ = ["CsvFile", "read_csv"]

LONGEST_CELL = 1 << 24
"""Characters; the csv module's own limit (131072) is less than a long monologue."""


@dataclass(frozen=True)
class CsvFile:
    """A CSV file of R rows.

    Attributes:
        path: where it was read.
        cells: column -> [R] cells as they stand in the file.
        lines: [R] the physical line on which a row begins, from 1.
    """

    path: Path
    cells: dict[str, list[str]]
    lines: list[int]

    def __len__(self) -> int:
        return len(self.lines)

    def require(self, columns: dict[str, str]) -> None:
        """Hold the header to ``columns``: name -> advice for whoever lacks it.

        Raises:
            InputError: names the first missing column and those that are there.
        """
        for column, advice in columns.items():
            if column not in self.cells:
                found = ", ".join(self.cells)
                raise InputError(f"{at(self.path, line=1)}expected a column {column!r}{advice}, found the columns: {found}")


def read_csv(path: Path) -> CsvFile:
    """Read a CSV file: UTF-8, perhaps with a byte order mark, commas, unique column names, rows of equal length.

    Raises:
        InputError: no such file, not UTF-8, no header, no rows, or a row of another length; the message names the line.
    """
    if not path.is_file():
        raise InputError(f"{at(path)}expected a CSV file, found {'a folder' if path.is_dir() else 'none'}")
    header, rows, lines = _parse(path, _decode(path))
    _check_header(path, header)
    for row, line in zip(rows, lines, strict=True):
        if len(row) != len(header):
            raise InputError(f"{at(path, line=line)}expected {len(header)} cells as in the header, found {len(row)}")
    if not rows:
        raise InputError(f"{at(path)}expected at least one utterance, found a header only")
    return CsvFile(path, dict(zip(header, map(list, zip(*rows, strict=True)), strict=True)), lines)


def _decode(path: Path) -> str:
    data = path.read_bytes()
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise InputError(
            f"{at(path, line=line)}expected UTF-8 text, found byte 0x{data[error.start]:02x}; save the file as UTF-8"
        ) from None
    if "\0" in text:
        line = text.count("\n", 0, text.index("\0")) + 1
        raise InputError(f"{at(path, line=line)}expected text, found a NUL character; save the file as UTF-8")
    return text


def _parse(path: Path, text: str) -> tuple[list[str], list[list[str]], list[int]]:
    """Header, rows and the line each row begins on; blank lines are no rows."""
    reader = csv.reader(io.StringIO(text, newline=""), strict=True)
    rows, lines, before = [], [], 0
    limit = csv.field_size_limit(LONGEST_CELL)
    try:
        for row in reader:
            if row:
                rows.append(row)
                lines.append(before + 1)
            before = reader.line_num
    except csv.Error as error:
        raise InputError(f"{at(path, line=before + 1)}expected comma-separated cells, found a fault ({error})") from None
    finally:
        csv.field_size_limit(limit)
    if not rows:
        raise InputError(f"{at(path)}expected a header and rows, found an empty file")
    return rows[0], rows[1:], lines[1:]


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
