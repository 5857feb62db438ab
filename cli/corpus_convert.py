"""``dglmerc corpus convert CORPUS OUT``."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import click

from dgl_merc.cli.corpus_shared import CORPUS, OUT, check_out, names, write
from dgl_merc.errors import InputError

__all__ = ["convert"]


@click.command("convert")
@CORPUS
@OUT
@click.option("--modalities", metavar="A,B", callback=names("--modalities"), help="Keep these, in this order.")
@click.option("--drop", metavar="A,B", callback=names("--drop"), help="Leave these modalities out.")
@click.option(
    "--zeros-absent", multiple=True, metavar="MODALITY", help="Vectors of zeros alone mean that the modality is absent there. Repeatable."
)
@click.option(
    "--map",
    "maps",
    multiple=True,
    metavar="TARGET:A+B=C,D=",
    help="Call labels A and B C, make those labelled D context (nothing behind =); *= for all others. "
    "Or a JSON file {TARGET: {A: C, B: C, D: null}}. Repeatable.",
)
@click.option(
    "--target", "targets", multiple=True, metavar="NAME[=NEW]", help="Keep this target, under a new name; others are left out. Repeatable."
)
@click.option(
    "--to",
    type=click.Choice(["corpus", "table"]),
    default="corpus",
    show_default=True,
    help="Write a corpus, or a CSV and a .npy per modality, with the command that imports them to the same content.",
)
@click.option("--force", is_flag=True, help="Replace the corpus or the table in OUT.")
def convert(
    corpus: Path,
    out: Path,
    modalities: tuple[str, ...],
    drop: tuple[str, ...],
    zeros_absent: tuple[str, ...],
    maps: tuple[str, ...],
    targets: tuple[str, ...],
    to: Literal["corpus", "table"],
    force: bool,
) -> None:
    """Write CORPUS to OUT with other modalities, labels or targets, or as a table.

    What is lost is counted. Nothing changed, it is written in the newest schema. Modalities come first, then zeros, labels, and names of
    targets, whatever the order of the options.
    """
    from dgl_merc.cli.console import print_line, print_notes
    from dgl_merc.corpus import care, open_corpus

    if modalities and drop:
        raise InputError("--drop: expected one of --modalities and --drop; leave one out")
    check_out(out, [corpus], force=force, replaces="corpus.json" if to == "corpus" else "import.txt")
    opened = made = open_corpus(corpus)
    if drop:
        if foreign := [m for m in drop if m not in opened.modalities]:
            raise InputError(f"--drop: expected modalities among {', '.join(opened.modalities)}, found {foreign[0]!r}")
        modalities = tuple(m for m in opened.modalities if m not in drop)
    if modalities or drop:
        made = care.keep_modalities(made, modalities)
    for modality in zeros_absent:
        made = care.zeros_absent(made, modality)
    for text in maps:
        for target, labels in care.parse_map(text).items():
            made = care.map_labels(made, target, labels)
    if targets:
        made = care.keep_targets(made, _renamed(targets))
    new = made.notes[len(opened.notes) :]
    if to == "corpus":
        write(made, out, new, force=force)
    else:
        command = care.save_table(made, out, force=force)
        print_notes(new)
        print_line(f"Written to {out}; from the folder above it, {command}")


def _renamed(targets: tuple[str, ...]) -> dict[str, str]:
    found = {}
    for text in targets:
        name, equals, new = text.partition("=")
        if name in found or (equals and not new.strip()):
            raise InputError(f"--target {text}: expected NAME or NAME=NEW, each target once")
        found[name] = new.strip() if equals else name
    return found
