"""What the commands of ``dglmerc corpus`` share: their arguments, and how a corpus is written and said."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from dgl_merc.errors import InputError, at
from dgl_merc.files import check_free, resolved

if TYPE_CHECKING:
    from dgl_merc.corpus import Corpus

__all__ = ["CORPUS", "FORCE", "JSON", "OUT", "SEED", "check_out", "names", "print_contents", "write"]

CORPUS = click.argument("corpus", type=click.Path(path_type=Path))
"""The folder to read."""
OUT = click.argument("out", type=click.Path(path_type=Path))
"""The folder to write."""
FORCE = click.option("--force", is_flag=True, help="Replace the corpus in OUT.")
"""Whether OUT may be there."""
JSON = click.option("--json", "as_json", is_flag=True, help="Print one JSON document, and nothing else.")
"""For programs."""
SEED = click.option("--seed", type=click.IntRange(0), default=0, show_default=True, help="Of the draw.")
"""Of random numbers."""


def names(option: str, least: int = 1) -> Callable[[click.Context, click.Parameter, str | None], tuple[str, ...]]:
    """Reads ``a,b,c`` as names, each once, ``least`` or more; () where the option was not given."""

    def read(_context: click.Context, _parameter: click.Parameter, value: str | None) -> tuple[str, ...]:
        found = () if value is None else tuple(name.strip() for name in value.split(","))
        if value is not None and (not all(found) or len(set(found)) != len(found) or len(found) < least):
            many = "two or more " if least > 1 else ""
            raise InputError(f"{option}: expected {many}different names with commas between them, found {value!r}")
        return found

    return read


def check_out(out: Path, sources: Sequence[Path], *, force: bool, replaces: str = "corpus.json") -> None:
    """Before anything is read: OUT is free, or what may be replaced, and apart from what is read.

    Raises:
        InputError: it is not.
    """
    for source in sources:
        if resolved(source).is_relative_to(resolved(out)) or resolved(out).is_relative_to(resolved(source)):
            raise InputError(f"{at(out)}expected a folder apart from {source}; name another folder")
    check_free(out, force=force, replaces=replaces)


def write(corpus: Corpus, out: Path, notes: Sequence[str], *, force: bool) -> None:
    """Save, then say what is in it and what is new."""
    from dgl_merc.cli.console import print_line
    from dgl_merc.corpus import save_corpus

    print_contents(save_corpus(corpus, out, force=force), notes)
    print_line(f"Written to {out}")


def print_contents(corpus: Corpus, notes: Sequence[str]) -> None:
    """Splits and labels as tables, then notes."""
    from dgl_merc.cli.console import print_notes, print_table
    from dgl_merc.corpus.summary import label_table, split_table

    print_table(split_table(corpus), f"{corpus.name}: what is in it")
    for name, target in corpus.targets.items():
        if target.kind == "classes":
            print_table(label_table(corpus, name), f"{name}: utterances per label")
    print_notes(notes)
