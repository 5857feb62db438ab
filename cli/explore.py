"""``dglmerc explore RUN_OR_STORE --out FILE.html``."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import click

from dgl_merc.cli.options import STORE
from dgl_merc.errors import InputError, at

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    from dgl_merc.corpus import Corpus
    from dgl_merc.reports.explorer import Explored

__all__ = ["explore"]


@click.command("explore")
@click.argument("place", metavar="RUN_OR_STORE", type=click.Path(path_type=Path))
@STORE
@click.option("--out", type=click.Path(path_type=Path), default=Path("explorer.html"), show_default=True, help="The page to write.")
@click.option("--dialogue", "names", metavar="ID", multiple=True, help="Show this dialogue, by name or number. Repeatable.  [default: all]")
@click.option("--split", type=click.Choice(["train", "dev", "test"]), help="Show this split alone.")
@click.option("--force", is_flag=True, help="Replace the page.")
def explore(place: Path, store: Path | None, out: Path, names: tuple[str, ...], split: str | None, force: bool) -> None:
    """Write one page to look at dialogues, their edges and weights, and, of a run, what it predicted.

    The page needs no server and no network, and works by keyboard. The corpus of a run is that of STORE, or, without one, the corpus it
    was trained on, where it stood then. As many dialogues as fit into 20 MiB are shown; of a run, those with the most errors first.
    """
    from dgl_merc.cli.console import print_line, print_notes, progress_bar
    from dgl_merc.explanations import explore_run, explore_store
    from dgl_merc.files import check_file
    from dgl_merc.graphs import open_store
    from dgl_merc.reports.explorer import write_explorer
    from dgl_merc.training.run_folder import open_run
    from dgl_merc.training.source import corpus_of

    check_file(out, [], force=force)
    if (place / "manifest.json").is_file():
        if store:
            raise InputError(f"{at(store)}expected one store, found another beside {place}; leave it out")
        opened = open_store(place)
        subject, dialogues = explore_store(opened, _numbers(opened.corpus, names, split))
    elif (place / "corpus.json").is_file():
        raise InputError(f"{at(place)}expected a run or a store, found a corpus; `dglmerc build-graphs` makes a store of it")
    else:
        saved = open_run(place)
        corpus = corpus_of(saved, store)
        subject, dialogues = explore_run(saved, corpus, _numbers(saved.division(corpus).corpus, names, split))
    out.parent.mkdir(parents=True, exist_ok=True)
    with progress_bar("explorer", "dialogues") as report:
        shown, left = write_explorer(out, subject, _reported(dialogues, lambda done: report(done, subject.dialogues)))
    print_notes([*subject.notes, *([left] if left else [])])
    print_line(f"Explorer of {shown} dialogues, {out.stat().st_size / (1 << 20):.1f} MiB: {out}")


def _reported(dialogues: Iterator[Explored], report: Callable[[int], None]) -> Iterator[Explored]:
    """The same, counted as they come."""
    for done, one in enumerate(dialogues, 1):
        report(done)
        yield one


def _numbers(corpus: Corpus, names: tuple[str, ...], split: str | None) -> npt.NDArray[np.int64]:
    """The dialogues that are asked for, in the order of the corpus.

    Raises:
        InputError: no such dialogue, or none in the split.
    """
    import numpy as np

    found = np.array(sorted({corpus.number(name) for name in names}) if names else range(len(corpus)), dtype=np.int64)
    if split:
        found = found[corpus.splits[found] == split]
        if not len(found):
            raise InputError(f"{at(corpus.path or corpus.name)}expected a dialogue of {split}, found none; leave --split out")
    return found
