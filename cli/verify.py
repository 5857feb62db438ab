"""``dglmerc verify PATH``."""

from __future__ import annotations

from pathlib import Path

import click

__all__ = ["verify"]


@click.command("verify")
@click.argument("path", type=click.Path(path_type=Path))
def verify(path: Path) -> None:
    """Hold every file of a corpus or a store at PATH to its recorded hash.

    For a store, its corpus is checked as well.
    """
    from dgl_merc.cli.console import print_line
    from dgl_merc.corpus import open_corpus
    from dgl_merc.errors import InputError, at
    from dgl_merc.graphs.store import open_store

    if (path / "manifest.json").is_file():
        store = open_store(path)
        count = store.verify()
        if store.corpus.path is not None:
            open_corpus(store.corpus.path, check="full")
        print_line(f"{path}: a store; {count} files as they were written, and its corpus at {store.corpus.path} is intact")
    elif (path / "corpus.json").is_file():
        corpus = open_corpus(path, check="full")
        print_line(f"{path}: a corpus; {len(corpus)} dialogues, {len(corpus.utterances)} utterances, as they were written")
    else:
        raise InputError(f"{at(path)}expected a corpus (corpus.json) or a store (manifest.json), found neither")
