"""``dglmerc corpus check CORPUS``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from dgl_merc.cli.corpus_shared import CORPUS, JSON

if TYPE_CHECKING:
    from dgl_merc.corpus.care import Finding

__all__ = ["check"]


@click.command("check")
@CORPUS
@JSON
@click.option("--strict", is_flag=True, help="Warnings count as leaks do: exit code 1.")
@click.pass_context
def check(context: click.Context, corpus: Path, as_json: bool, strict: bool) -> None:
    """Hold CORPUS to its format and hashes, and look for what spoils an experiment.

    Leaks: dialogues, passages or vectors that stand in two splits, a modality whose presence tells the label, a text or a speaker's name
    that does. Warnings and notes: vectors of zeros, padding, constant or wildly scaled columns, speakers in several splits, classes that
    train lacks, labels distributed otherwise, further columns that tell the label, times out of order.

    Exit codes: 0 no leak was found, 1 there is one (with --strict: or a warning), 2 bad input.
    """
    from dgl_merc.corpus import open_corpus
    from dgl_merc.corpus.care import check as look

    opened = open_corpus(corpus, check="full")
    found = look(opened)
    if as_json:
        _print_json(corpus, found)
    else:
        _print(corpus, found)
    bad = ("leak", "warning") if strict else ("leak",)
    if any(finding.severity in bad for finding in found):
        context.exit(1)


def _print_json(corpus: Path, found: list[Finding]) -> None:
    from dgl_merc.corpus.care import SEVERITIES
    from dgl_merc.files import json_bytes

    counts = {severity: sum(f.severity == severity for f in found) for severity in SEVERITIES}
    click.echo(json_bytes({"corpus": str(corpus), "counts": counts, "findings": [f.to_json() for f in found]}), nl=False)


def _print(corpus: Path, found: list[Finding]) -> None:
    from dgl_merc.cli.console import print_line
    from dgl_merc.corpus.care import SEVERITIES

    for finding in found:
        print_line(f"{finding.severity}: {finding.said} [{finding.rule}]")
        if finding.places:
            more = ", ..." if finding.count > len(finding.places) else ""
            print_line(f"    at {', '.join(f'{dialogue} {position}' for dialogue, position in finding.places)}{more} (dialogue, utterance)")
        if finding.advice:
            print_line(f"    {finding.advice}")
    counts = [(sum(f.severity == severity for f in found), severity) for severity in SEVERITIES]
    said = ", ".join(f"{count} {severity}" + ("" if count == 1 else "s") for count, severity in counts)
    print_line(f"{corpus}: intact; {said}")
