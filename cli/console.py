"""Printing for people: tables and notes; plain, of a fixed width and without colour where no terminal reads them.

Import this inside a command: it loads rich.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from rich.box import ASCII2, SIMPLE_HEAD, Box
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table
from rich.text import Text

from dgl_merc.errors import harmless

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["console", "print_line", "print_notes", "print_table", "progress_bar"]

PLAIN_WIDTH = 160
"""Columns where output is not a terminal: the same table everywhere."""


def console() -> Console:
    """Standard output as it is now."""
    terminal = sys.stdout.isatty()
    return Console(
        file=sys.stdout,
        width=None if terminal else PLAIN_WIDTH,
        force_terminal=terminal,
        highlight=False,
        markup=False,
        emoji=False,
    )


def print_table(frame: pd.DataFrame, title: str) -> None:
    """A data frame, its index as the first column; all is printed as it is, but for what would command a terminal."""
    out = console()
    out.print(Text(harmless(title), style="bold"), soft_wrap=True)  # not the table's own title, which is padded to the table's width
    table = Table(box=_box(out))
    table.add_column(Text(str(frame.index.name or "")))
    for column in frame.columns:
        table.add_column(_cell(column), justify="right")
    for name, row in zip(frame.index, frame.itertuples(index=False), strict=True):
        table.add_row(_cell(name), *map(_cell, row))
    out.print(table)


def _cell(value: object) -> Text:
    return Text(harmless(str(value)))


def print_line(text: str) -> None:
    """A line as it is, but for what would command a terminal: no markup, no wrapping."""
    console().print(Text(harmless(text)), soft_wrap=True)


def print_notes(notes: Iterable[str]) -> None:
    """One line each, or nothing."""
    for note in notes:
        print_line(f"- {note}")


@contextmanager
def progress_bar(title: str, unit: str) -> Iterator[Callable[[int, int], None]]:
    """A bar on stderr while the block runs, gone afterwards; nothing where stderr is not a terminal.

    Args:
        title: before the bar.
        unit: what is counted.

    Yields:
        A function of (done, in all).
    """
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TextColumn(unit), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True, disable=not sys.stderr.isatty()) as bar:
        task = bar.add_task(title, total=None)
        yield lambda done, total: bar.update(task, completed=done, total=total)


def _box(out: Console) -> Box:
    return SIMPLE_HEAD if out.is_terminal else ASCII2
