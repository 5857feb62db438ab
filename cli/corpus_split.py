"""``dglmerc corpus split CORPUS OUT``."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import click

from dgl_merc.cli.corpus_shared import CORPUS, FORCE, OUT, SEED, check_out, write
from dgl_merc.errors import InputError

__all__ = ["split"]


@click.command("split")
@CORPUS
@OUT
@click.option(
    "--by", metavar="COLUMN", help="Split by a column that has one value for a whole dialogue; --dev and --test name values: A,B."
)
@click.option(
    "--dev", metavar="F|A,B", help="Share of the utterances that become dev, 0 for none; with --by, values.  [default: 0.1; none]"
)
@click.option("--test", metavar="F|A,B|keep", help="Likewise test; keep: test stays, and dev is taken from the others.  [default: keep]")
@click.option("--group", metavar="COLUMN", help="Draw so that no value of it, such as speaker, is in two of the splits drawn.")
@click.option("--target", metavar="NAME", help="Whose labels are spread evenly.  [default: the first]")
@SEED
@FORCE
def split(
    corpus: Path,
    out: Path,
    by: str | None,
    dev: str | None,
    test: str | None,
    group: str | None,
    target: str | None,
    seed: int,
    force: bool,
) -> None:
    """Give the dialogues of CORPUS other splits, and write it to OUT.

    Dialogues stay whole. A draw hangs on the seed and the names of dialogues, not on their order, and spreads the labels as evenly as whole
    dialogues allow; the shares reached are printed and stand in OUT.
    """
    from dgl_merc.corpus import open_corpus
    from dgl_merc.corpus.care import split_by_column, split_by_draw

    if by is not None and (group is not None or target is not None):
        raise InputError(f"--{'target' if group is None else 'group'}: expected none beside --by, which draws nothing")
    check_out(out, [corpus], force=force)
    opened = open_corpus(corpus)
    if by is not None:
        made = split_by_column(opened, by, dev=_values(dev), test="keep" if test in (None, "keep") else _values(test))
    else:
        shares: dict[str, float | Literal["keep"]] = {"test": "keep" if test in (None, "keep") else _share("--test", test)}
        first = 0.1 if dev is None else _share("--dev", dev)
        made = split_by_draw(opened, dev=first, test=shares["test"], group=group, target=target, seed=seed)
    write(made, out, made.notes[len(opened.notes) :], force=force)


def _values(text: str | None) -> tuple[str, ...]:
    return () if text is None else tuple(value.strip() for value in text.split(","))


def _share(option: str, text: str | None) -> float:
    try:
        share = float(text or "")
    except ValueError:
        share = -1.0
    if not 0 <= share < 1:
        raise InputError(f"{option}: expected a share from 0 to below 1, found {text!r} (with --by COLUMN: values of it)")
    return share
