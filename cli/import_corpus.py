"""``dglmerc import``: public layouts, anyone's own tables and the embedded corpus, into the open format."""

from __future__ import annotations

import shutil
import textwrap
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import click

from dgl_merc.cli.corpus_shared import FORCE, OUT, names, print_contents
from dgl_merc.errors import InputError, at
from dgl_merc.files import check_free, resolved

if TYPE_CHECKING:
    from dgl_merc.corpus import Corpus
    from dgl_merc.corpus.readers.layout import Layout

__all__ = ["import_corpus"]

Command = Callable[..., None]


class Imports(click.Group):
    """A published file needs no command of its own: ``dglmerc import FILE OUT``."""

    def resolve_command(self, ctx: click.Context, args: list[str]) -> tuple[str | None, click.Command | None, list[str]]:
        """The command that was named; anything else is a file."""
        if args and args[0] not in self.commands:
            args = ["file", *args]
        return super().resolve_command(ctx, args)


@click.group("import", cls=Imports, subcommand_metavar="FILE OUT | COMMAND [ARGS]...")
def import_corpus() -> None:
    """Import conversations into a corpus folder.

    A file as others publish it is recognised by its structure: `dglmerc import FILE OUT` (`dglmerc import layouts` lists what is known,
    `dglmerc import file --help` the options).
    """


ONE_SPLIT = click.option("--one-split", type=click.Choice(["train", "dev", "test"]), help="Put all utterances into one split.")
_SHARED = (
    click.option(
        "--features",
        multiple=True,
        metavar="MODALITY=SOURCE",
        help="Where a modality's features are; once per modality. FILE.npy: row i belongs to row i of the CSV, {split} in "
        "the name stands for one file per split; FILE.mat:ARRAY and FILE.h5:ARRAY likewise. "
        "FILE.npz:ARRAY,log(ARRAY): joined by the archive's dialogue_id, "
        "utterance_id (or position) and split; functions: log, log1p, sqrt, face (landmarks around the eyes). "
        "columns:NAME,text_*,f0..f9: columns of the table. file:ARRAY: an array of the imported file. OTHER.pkl:ARRAY: of another "
        "published file with the same dialogues.",
    ),
    click.option(
        "--nan",
        type=click.Choice(["error", "absent"]),
        default="error",
        show_default=True,
        help="Whether a NaN, an infinity or a value outside a function's domain is an error or makes the modality absent there (counted).",
    ),
    click.option(
        "--classes",
        metavar="A,B,C",
        callback=names("--classes", least=2),
        help="The emotions to learn, in this order; other labels become context.",
    ),
    click.option(
        "--label-only-where",
        multiple=True,
        metavar="MODALITY",
        help="Utterances without this modality lose every label and become context. May be repeated.",
    ),
    FORCE,
)


def shared_options(command: Command) -> Command:
    """What every reader of files takes."""
    for option in reversed(_SHARED):
        command = option(command)
    return command


@import_corpus.command("layouts")
@click.argument("name", required=False)
def layouts(name: str | None) -> None:
    """List the published layouts that `dglmerc import FILE OUT` knows; of one, NAME, what its label maps do."""
    from dgl_merc.corpus.readers.known import known_layouts

    known = {layout.name: layout for layout in known_layouts()}
    if name is None:
        _print_list("Layouts (label maps of one: dglmerc import layouts NAME)", [(n, x.says) for n, x in known.items()])
    elif name in known:
        _print_list(f"{name}: {known[name].says}", _maps(known[name]) or [("no label maps", "the labels stay as they are")])
    else:
        raise InputError(f"NAME: expected one of `dglmerc import layouts`, found {name!r}")


def _maps(layout: Layout) -> list[tuple[str, str]]:
    """Label map -> the classes it leaves, and what becomes of every other label."""
    labels = dict.fromkeys(label for mapping in layout.label_maps.values() for label in mapping)
    rows = []
    for number, (name, mapping) in enumerate(layout.label_maps.items()):
        moved: dict[str, list[str]] = {}
        for label in labels:
            if (new := mapping.get(label, "context")) != label:
                moved.setdefault(new, []).append(label)
        said = "; ".join(f"{', '.join(old)} -> {new}" for new, old in moved.items())
        rows.append((name, ", ".join(dict.fromkeys(mapping.values())) + (f" ({said})" if said else "") + ("" if number else " [default]")))
    return rows


def _print_list(title: str, rows: list[tuple[str, str]]) -> None:
    """Names and what they mean beside them, as wide as the terminal."""
    width, column = min(shutil.get_terminal_size().columns, 120), max(len(name) for name, _ in rows) + 4
    click.echo(textwrap.fill(title, width))
    for name, said in rows:
        first = f"  {name}".ljust(column)
        click.echo(textwrap.fill(said, width, initial_indent=first, subsequent_indent=" " * column, break_on_hyphens=False))


@import_corpus.command("file")
@click.argument("file", metavar="FILE", type=click.Path(path_type=Path))
@OUT
@click.option("--layout", metavar="NAME", help="What FILE is, where its structure alone does not say: one of `dglmerc import layouts`.")
@click.option(
    "--label-map",
    metavar="NAME",
    help="Which labels are merged or dropped: one of the layout's maps; `dglmerc import layouts NAME` says what each does.",
)
@shared_options
@ONE_SPLIT
def file(file: Path, out: Path, *, force: bool, **options: Any) -> None:
    """Import FILE as published: a pickle, CSV or JSON of a known layout, or a folder of them.

    It is recognised by its structure. Pickles are read as data: whatever would run code is refused. `--features
    MODALITY=file:ARRAY` takes other arrays of the file than the layout does by itself.
    """
    from dgl_merc.corpus.readers.published import read_published

    _check_out(out, file, force=force)
    _write(read_published(file, **options), out, force=force)


@import_corpus.command("meld")
@click.argument("folder", metavar="DIR", type=click.Path(path_type=Path))
@OUT
@shared_options
def meld(folder: Path, out: Path, *, force: bool, **options: Any) -> None:
    """Import MELD's official CSVs from DIR ({train,dev,test}_sent_emo.csv) into OUT.

    Where features exist for some emotions only, their presence tells the emotion: name those emotions with --classes
    and the modality with --label-only-where.
    """
    from dgl_merc.corpus.readers.meld import read_meld

    _check_out(out, folder, force=force)
    _write(read_meld(folder, **options), out, force=force)


@import_corpus.command("table")
@click.argument("file", metavar="FILE", type=click.Path(path_type=Path))
@OUT
@shared_options
@click.option(
    "--target",
    "targets",
    multiple=True,
    metavar="NAME[:LOW..HIGH]",
    help="A column of labels (NAME:A|B|C: these, in this order), or with LOW..HIGH of numbers. May be repeated. "
    "Default: emotion, if there.",
)
@click.option("--dialogue", metavar="COLUMN", help="Column of the dialogue's name. Default: dialogue_id.")
@click.option("--utterance", metavar="COLUMN", help="Column of the utterance's name. Default: utterance_id, if there.")
@click.option("--position", metavar="COLUMN", help="Column that orders a dialogue's utterances. Default: position, if there.")
@click.option("--speaker", metavar="COLUMN", help="Column of the speaker. Default: speaker.")
@click.option("--split", metavar="COLUMN", help="Column that says train, dev or test. Default: split.")
@click.option("--text", metavar="COLUMN", help="Column of what was said. Default: text, if there.")
@click.option("--start", metavar="COLUMN", help="Column of the time an utterance begins. Default: start, if there.")
@click.option("--end", metavar="COLUMN", help="Column of the time an utterance ends. Default: end, if there.")
@ONE_SPLIT
def table(
    file: Path,
    out: Path,
    features: tuple[str, ...],
    nan: Literal["error", "absent"],
    classes: tuple[str, ...],
    label_only_where: tuple[str, ...],
    force: bool,
    targets: tuple[str, ...],
    one_split: str | None,
    **columns: str | None,
) -> None:
    """Import your own conversations: FILE is a CSV with one row per utterance.

    It needs columns for dialogue, speaker and split. An utterance with an empty label is context. Other columns
    are kept.
    """
    from dgl_merc.corpus.readers.table import Columns, read_table

    _check_out(out, file, force=force)
    corpus = read_table(
        file,
        features,
        columns=Columns(**columns),
        targets=targets,
        classes=classes,
        label_only_where=label_only_where,
        nan=nan,
        one_split=one_split,
    )
    _write(corpus, out, force=force)


@import_corpus.command("synthetic")
@OUT
@click.option("--seed", type=click.IntRange(0), default=0, show_default=True, help="Of the random numbers.")
@FORCE
def synthetic(out: Path, seed: int, force: bool) -> None:
    """Write the embedded corpus, whose best possible scores are known, into OUT."""
    from dgl_merc.corpus.synthetic import synthetic_corpus

    _check_out(out, None, force=force)
    _write(synthetic_corpus(seed), out, force=force)


def _check_out(out: Path, source: Path | None, *, force: bool) -> None:
    """Before anything is read: OUT is free, or a corpus that may be replaced, and not around the data."""
    if source is not None and resolved(source).is_relative_to(resolved(out)):
        raise InputError(f"{at(out)}expected a folder apart from the data, found {source} in it; name another folder")
    check_free(out, force=force, replaces="corpus.json")


def _write(corpus: Corpus, out: Path, *, force: bool) -> None:
    """Save, then print what is in it."""
    from dgl_merc.cli.console import print_line
    from dgl_merc.corpus import save_corpus
    from dgl_merc.corpus.summary import shared_speakers

    saved = save_corpus(corpus, out, force=force)
    widths = ", ".join(f"{name} {modality.width}" for name, modality in saved.modalities.items())
    features = [f"features: {widths} numbers an utterance"] if widths else []
    print_contents(saved, [*saved.notes, *features, f"speakers: {shared_speakers(saved)} occur in more than one split"])
    _print_ceilings(saved.source.get("ceilings") or {})
    print_line(f"Written to {out}")


def _print_ceilings(ceilings: Mapping[str, Mapping[str, Mapping[str, Any]]]) -> None:
    """What the model that drew the corpus scores itself, for each set of modalities and each view of the context."""
    import pandas as pd

    from dgl_merc.cli.console import print_table

    if ceilings:
        scores = {
            m: {view: f"{score['weighted_f1']:.1f} ({score['accuracy']:.1f})" for view, score in row.items()} for m, row in ceilings.items()
        }
        print_table(
            pd.DataFrame.from_dict(scores, orient="index"), "ceilings on test: weighted F1 (accuracy, more than which no model expects)"
        )
