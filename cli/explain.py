"""``dglmerc explain RUN DIALOGUE [SOURCE]``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from dgl_merc.cli.making import asked_for, making_options, opened, say_notes
from dgl_merc.cli.options import DEVICE, THREADS, choose_device

if TYPE_CHECKING:
    from dgl_merc.graphs.pictures import PictureKind

__all__ = ["explain"]


@click.command("explain")
@click.argument("run", type=click.Path(path_type=Path))
@click.argument("dialogue")
@click.argument("source", type=click.Path(path_type=Path, allow_dash=True), required=False)
@click.option("--utterance", type=click.IntRange(0), metavar="POSITION", help="Ask about one answer: only edges into it are removed.")
@click.option(
    "--edges",
    default="8",
    show_default=True,
    metavar="N|all",
    help="How many edges of each kind are removed, one at a time: those of the greatest weight. Each costs a pass of the model.",
)
@click.option("--heads", is_flag=True, help="In weights.csv a column for each head besides their mean.")
@click.option(
    "--features",
    multiple=True,
    metavar="MODALITY=SOURCE",
    help="Where features of a CSV are, as for `predict`. Repeatable.",
)
@click.option("--nan", type=click.Choice(["error", "absent"]), help="What a NaN in a CSV is.  [default: error]")
@making_options
@click.option("--out", type=click.Path(path_type=Path), help="Folder for the tables and pictures; default: only printed.")
@click.option("--format", "kind", type=click.Choice(["svg", "png", "pdf"]), default="svg", show_default=True, help="Of the pictures.")
@DEVICE
@THREADS
def explain(
    run: Path,
    dialogue: str,
    source: Path | None,
    utterance: int | None,
    edges: str,
    heads: bool,
    features: tuple[str, ...],
    nan: str | None,
    out: Path | None,
    kind: PictureKind,
    device: str,
    threads: int,
    **recorded: Any,
) -> None:
    """Show what the model of RUN looked at in DIALOGUE, and what its answers hang on.

    Printed is what each answer becomes without a modality, without an utterance (as if nobody had said it), and without an edge of the
    model's graphs and attentions: exactly, by asking the model again. DIALOGUE is the name of a dialogue, or its number: of SOURCE (a
    store, the folder of a corpus, a CSV or JSON lines), or, without one, of the corpus that RUN was trained on. Features that SOURCE lacks
    are made as `predict` makes them, of its texts and, with --media DIR, of recordings.
    """
    from dgl_merc.cli.console import print_line, print_notes, print_table, progress_bar
    from dgl_merc.explanations import Explainer
    from dgl_merc.explanations.explainer import strongest
    from dgl_merc.explanations.pictures import pictures_of
    from dgl_merc.explanations.source import corpus_for
    from dgl_merc.explanations.summary import (
        at_position,
        check_explainable,
        check_place,
        in_words,
        overview,
        strongest_effects,
        write_explanation,
    )
    from dgl_merc.training.run_folder import open_run

    count, asked = how_many(edges), asked_for(**recorded)
    if out:
        check_place(out)
    saved = open_run(run)
    device = choose_device(device, threads)
    with opened(asked, device) as making:
        corpus = corpus_for(saved, source, features, "absent" if nan == "absent" else "error", making)
    if source:
        say_notes(corpus)
    explainer = Explainer(saved, corpus, dialogue, device=device)
    if utterance is not None:
        at_position(explainer, utterance)
    check_explainable(explainer)
    weights = explainer.weights(heads=heads)
    with progress_bar("explain", "removals") as report:
        effects = explainer.effects(strongest(weights, count, utterance), report)
    if utterance is not None:
        effects = effects[effects["utterance"] == utterance].reset_index(drop=True)
    title = f"{explainer.dialogue_id}, {len(explainer.utterances)} utterances, as {run} sees it"
    shown = overview(explainer, effects)
    print_table(shown if utterance is None else shown.loc[[utterance]], title)
    print_table(strongest_effects(explainer, effects), "What moves answers most")
    print_notes(in_words(explainer, effects))
    if out:
        write_explanation(out, explainer, weights, effects, pictures_of(explainer, weights, effects, kind))
        print_line(f"Written to {out}: utterances.csv, weights.csv, effects.csv and pictures")


def how_many(edges: str) -> int | None:
    """Of ``--edges``; None: all.

    Raises:
        InputError: neither a number nor ``all``.
    """
    from dgl_merc.errors import InputError

    if edges == "all":
        return None
    if not (edges.isdecimal() and len(edges) < 10):
        raise InputError(f"--edges {edges}: expected a number from 0 on, or all")
    return int(edges)
