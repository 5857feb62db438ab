"""``dglmerc corpus info CORPUS``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from dgl_merc.cli.corpus_shared import CORPUS, JSON

if TYPE_CHECKING:
    import pandas as pd

    from dgl_merc.corpus import Corpus

__all__ = ["info"]


@click.command("info")
@CORPUS
@JSON
def info(corpus: Path, as_json: bool) -> None:
    """Say what is in CORPUS.

    Dialogues, utterances, speakers and labels of each split; how long dialogues are; the modalities with their width, how often they are
    present, and their numbers; further columns; where it came from, and the notes that were made on the way.
    """
    from dgl_merc.corpus import open_corpus

    opened = open_corpus(corpus)
    tables = _tables(opened)
    if as_json:
        _print_json(opened, tables)
    else:
        _print(opened, tables)


def _tables(corpus: Corpus) -> dict[str, pd.DataFrame]:
    """Title -> table, in the order they are printed."""
    from dgl_merc.corpus import summary

    tables = {"splits": summary.split_table(corpus), "lengths": summary.length_table(corpus), "modalities": summary.modality_table(corpus)}
    for name, target in corpus.targets.items():
        tables[f"target {name}"] = summary.label_table(corpus, name) if target.kind == "classes" else summary.score_table(corpus, name)
    return {**tables, "columns": summary.column_table(corpus)}


def _print_json(corpus: Corpus, tables: dict[str, pd.DataFrame]) -> None:
    from dgl_merc.files import json_bytes

    about: dict[str, Any] = {
        "corpus": str(corpus.path),
        "name": corpus.name,
        "dialogues": len(corpus),
        "utterances": len(corpus.utterances),
        "content_sha256": corpus.content_sha256,
        "targets": {name: target.to_json() for name, target in corpus.targets.items()},
        "recipes": {name: dict(about.recipe) for name, about in corpus.modalities.items() if about.recipe},
        "source": dict(corpus.source),
        "notes": list(corpus.notes),
    }
    click.echo(json_bytes({**about, "tables": {title: table.to_dict("index") for title, table in tables.items()}}), nl=False)


def _print(corpus: Corpus, tables: dict[str, pd.DataFrame]) -> None:
    from dgl_merc.cli.console import print_line, print_notes, print_table
    from dgl_merc.corpus.care.select import steps_of
    from dgl_merc.corpus.summary import shared_speakers

    titles = {
        "splits": f"{corpus.name}: what is in it",
        "lengths": "Utterances of a dialogue",
        "modalities": "Modalities (mean, sd and range of all numbers)",
        "columns": "Further columns",
    }
    for name, target in corpus.targets.items():
        titles[f"target {name}"] = f"{name}: utterances per label" if target.kind == "classes" else f"{name}: {target}"
    for title, table in tables.items():
        if len(table):
            print_table(_rounded(table), titles[title])
    steps = [str(step.get("command")) for step in steps_of(corpus)]
    source = str(corpus.source.get("reader") or corpus.source.get("kind") or "unknown")
    print_line(f"Source: {', then '.join([source, *steps])}{_path(corpus)}")
    print_notes([*corpus.notes, *_licences(corpus), f"speakers: {shared_speakers(corpus)} occur in more than one split"])


def _licences(corpus: Corpus) -> list[str]:
    """Of what made its modalities, where there is something that users must know."""
    made = {name: about.recipe.get("licence") for name, about in corpus.modalities.items() if about.recipe}
    return [f"{name}: licence: {licence}" for name, licence in made.items() if licence]


def _path(corpus: Corpus) -> str:
    return f" ({corpus.source['path']})" if "path" in corpus.source else ""


def _rounded(table: pd.DataFrame) -> pd.DataFrame:
    shown = table.astype(object)
    for column in table:
        if column == "present":
            shown[column] = [f"{100 * v:.1f} %" for v in table[column]]
        elif table[column].dtype.kind == "f":
            shown[column] = ["–" if v != v else f"{v:.4g}" for v in table[column]]
    return shown
