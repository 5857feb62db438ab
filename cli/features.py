"""``dglmerc features CORPUS_or_TABLE OUT``: from texts and recordings to vectors."""

from __future__ import annotations

from pathlib import Path

import click

from dgl_merc.cli.corpus_shared import FORCE, OUT, check_out, write

__all__ = ["features"]


@click.command("features")
@click.argument("source", metavar="CORPUS_or_TABLE", type=click.Path(path_type=Path))
@OUT
@click.option("--media", metavar="DIR", type=click.Path(path_type=Path), help="Where the recordings are.")
@click.option("--text", metavar="MODEL", help="Text by a model of sentence-transformers: its name or its folder.")
@click.option("--audio", metavar="SET", help="Sound by openSMILE: egemaps or compare.")
@click.option("--visual", metavar="WHAT", help="Faces in pictures: hog.")
@click.option("--jobs", type=click.IntRange(1), default=1, show_default=True, help="Processes that look at recordings.")
@FORCE
def features(source: Path, out: Path, *, media: Path | None, jobs: int, force: bool, **asked: str | None) -> None:
    """Make the vectors of a corpus's utterances, or of a table's (CSV), from what was said and recorded."""
    from dgl_merc.corpus import open_corpus
    from dgl_merc.corpus.readers.table import read_table
    from dgl_merc.extraction.extract import Media, extract
    from dgl_merc.extraction.extractor import parse_recipe

    check_out(out, [source], force=force)
    corpus = open_corpus(source) if source.is_dir() else read_table(source, [])
    recipes = {kind: parse_recipe(kind, text) for kind, text in asked.items() if text}  # type: ignore[arg-type]
    made = extract(corpus, recipes, Media(media) if media else None, jobs=jobs)
    write(made, out, made.notes, force=force)
