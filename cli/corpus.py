"""``dglmerc corpus``: the group of commands that look after corpus folders."""

from __future__ import annotations

import click

from dgl_merc.cli.corpus_check import check
from dgl_merc.cli.corpus_convert import convert
from dgl_merc.cli.corpus_info import info
from dgl_merc.cli.corpus_merge import merge
from dgl_merc.cli.corpus_sample import sample
from dgl_merc.cli.corpus_split import split

__all__ = ["corpus"]


@click.group("corpus")
def corpus() -> None:
    """Look after corpora: what is in one, what spoils it, and corpora made of corpora."""


for command in (info, check, convert, split, merge, sample):
    corpus.add_command(command)
