"""Cells as numbers, times and words: a parser says no with a ValueError, and one place makes that an error for people."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterable, Iterator
from typing import TypeVar

from dgl_merc.errors import InputError

__all__ = ["check_column", "filled", "parse_column", "parsed", "seconds", "whole"]

_CLOCK = re.compile(r"(\d+):([0-5]\d):([0-5]\d(?:[.,]\d+)?)", re.ASCII)
Value = TypeVar("Value")


def parsed(place: Callable[[int], str], cells: Iterable[str], parse: Callable[[str], Value], expected: str) -> Iterator[Value]:
    """Apply ``parse`` to every cell, one after the other.

    Args:
        place: row -> the beginning of a message about it.
        cells: [R] cells.
        parse: raises ValueError where a cell is not as expected.
        expected: what should have stood there, in words.

    Raises:
        InputError: names the first cell that is not as expected.
    """
    for row, cell in enumerate(cells):
        try:
            value = parse(cell)
        except ValueError:
            found = repr(cell) if cell.strip() else "an empty cell"
            raise InputError(f"{place(row)}expected {expected}, found {found}") from None
        yield value


def parse_column(place: Callable[[int], str], cells: Iterable[str], parse: Callable[[str], Value], expected: str) -> list[Value]:
    """What :func:`parsed` gives, together."""
    return list(parsed(place, cells, parse, expected))


def check_column(place: Callable[[int], str], cells: Iterable[str], parse: Callable[[str], Value], expected: str) -> None:
    """That every cell is as expected; what :func:`parsed` gives is not kept."""
    for _ in parsed(place, cells, parse, expected):
        pass


def whole(cell: str) -> int:
    """A whole number of 0 or more, in plain digits.

    >>> whole("17")
    17

    Raises:
        ValueError: anything else.
    """
    if not (cell.isascii() and cell.isdigit()) or len(cell) > 18:
        raise ValueError(cell)
    return int(cell)


def filled(cell: str) -> str:
    """The cell as it is.

    Raises:
        ValueError: there is nothing in it.
    """
    if not cell.strip():
        raise ValueError(cell)
    return cell


def seconds(cell: str) -> float:
    """A point in time: ``H:MM:SS`` with a fraction after a comma or a point, or plain seconds; an empty cell is NaN.

    >>> seconds("0:11:36,446"), seconds("12.5"), seconds("00:00:47,28")
    (696.446, 12.5, 47.28)

    Raises:
        ValueError: neither, negative or not finite.
    """
    if not cell.strip():
        return math.nan
    if clock := _CLOCK.fullmatch(cell.strip()):
        return round(int(clock[1]) * 3600 + int(clock[2]) * 60 + float(clock[3].replace(",", ".")), 6)
    value = float(cell)
    if not math.isfinite(value) or value < 0:
        raise ValueError(cell)
    return value
