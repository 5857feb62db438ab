"""``dglmerc corpus sample CORPUS OUT``."""

from __future__ import annotations

from pathlib import Path

import click

from dgl_merc.cli.corpus_shared import CORPUS, FORCE, OUT, SEED, check_out, write
from dgl_merc.cli.options import Number

__all__ = ["sample"]


@click.command("sample")
@CORPUS
@OUT
@click.option("--dialogues", type=click.IntRange(1), metavar="N", help="So many of each split, or all.")
@click.option("--fraction", type=Number(0, 1, min_open=True), metavar="F", help="This share of each split's dialogues, rounded up.")
@click.option(
    "--split", "splits", multiple=True, type=click.Choice(["train", "dev", "test"]), help="Only this split. Repeatable.  [default: all]"
)
@SEED
@FORCE
def sample(corpus: Path, out: Path, dialogues: int | None, fraction: float | None, splits: tuple[str, ...], seed: int, force: bool) -> None:
    """Write some dialogues of CORPUS to OUT, for a quick experiment.

    Samples of one seed are nested: a smaller one is a part of a larger one.
    """
    from dgl_merc.corpus import SPLITS, open_corpus
    from dgl_merc.corpus.care import sample as draw

    check_out(out, [corpus], force=force)
    opened = open_corpus(corpus)
    made = draw(opened, dialogues=dialogues, fraction=fraction, splits=splits or SPLITS, seed=seed)
    write(made, out, made.notes[len(opened.notes) :], force=force)
