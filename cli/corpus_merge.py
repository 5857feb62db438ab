"""``dglmerc corpus merge A B ... OUT``."""

from __future__ import annotations

from pathlib import Path

import click

from dgl_merc.cli.corpus_shared import FORCE, check_out, write
from dgl_merc.errors import InputError

__all__ = ["merge"]


@click.command("merge")
@click.argument("corpora", metavar="A B ... OUT", nargs=-1, required=True, type=click.Path(path_type=Path))
@click.option("--side-by-side", is_flag=True, help="Join the modalities of B, C, ... to A's utterances, by dialogue and position.")
@FORCE
def merge(corpora: tuple[Path, ...], side_by_side: bool, force: bool) -> None:
    """Write the dialogues of the corpora A, B, ... to one corpus OUT.

    Targets and modalities are the union; a target needs the same labels, a modality the same width. Where two different dialogues have one
    name, names begin with that of their corpus; a dialogue that is in several, equal in everything, is taken once.

    With --side-by-side only modalities are taken from B, C, ...; their dialogues must be as long, and their texts equal.
    """
    from dgl_merc.corpus import care, open_corpus

    *sources, out = corpora
    if len(sources) < 2:
        raise InputError(f"expected two or more corpora and OUT, found {', '.join(map(str, corpora))} (see dglmerc corpus merge --help)")
    check_out(out, sources, force=force)
    opened = [open_corpus(path) for path in sources]
    if not side_by_side:
        made = care.merge(opened)
        write(made, out, [note for note in made.notes if note.startswith("merge: ")], force=force)
        return
    made = opened[0]
    for other in opened[1:]:
        made = care.side_by_side(made, other)
    write(made, out, made.notes[len(opened[0].notes) :], force=force)
