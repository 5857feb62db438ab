"""``dglmerc build-graphs CORPUS OUT``."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

import click

__all__ = ["build_graphs"]


@click.command("build-graphs")
@click.argument("corpus", type=click.Path(path_type=Path))
@click.argument("out", type=click.Path(path_type=Path))
@click.option(
    "--window",
    type=click.IntRange(0),
    help="Join utterances at most so many positions apart, within and across modalities.  [default: the whole dialogue]",
)
@click.option(
    "--cross",
    type=click.Choice(["utterance", "dialogue", "none"]),
    default="utterance",
    show_default=True,
    help="Which nodes of other modalities a node is joined to.",
)
@click.option("--past", type=click.IntRange(0), default=10, show_default=True, help="Utterances an utterance hears before itself.")
@click.option("--future", type=click.IntRange(0), default=10, show_default=True, help="Utterances an utterance hears after itself.")
@click.option("--causal", is_flag=True, help="Nothing flows from later to earlier.")
@click.option("--modalities", help="Comma-separated; default: all of the corpus.")
@click.option(
    "--scaling",
    type=click.Choice(["standard", "none"]),
    default="standard",
    show_default=True,
    help="Of features, before weights are computed.",
)
@click.option("--with-features", is_flag=True, help="Put the features into the graphs as node data x.")
@click.option(
    "--no-edges", is_flag=True, help="Write no graphs: training makes edges by arithmetic, and complete graphs of long dialogues are large."
)
@click.option("--workers", type=click.IntRange(1), default=1, show_default=True, help="Processes.")
@click.option("--force", is_flag=True, help="Replace OUT.")
def build_graphs(
    corpus: Path,
    out: Path,
    window: int | None,
    cross: Literal["utterance", "dialogue", "none"],
    past: int,
    future: int,
    causal: bool,
    modalities: str | None,
    scaling: Literal["standard", "none"],
    with_features: bool,
    no_edges: bool,
    workers: int,
    force: bool,
) -> None:
    """Turn the dialogues of CORPUS into weighted DGL heterographs under OUT.

    A build that was interrupted goes on where it stopped when the same command is given again.
    """
    from dgl_merc.cli.console import print_line, progress_bar
    from dgl_merc.corpus import open_corpus
    from dgl_merc.graphs.build import BuildOptions, build_store
    from dgl_merc.graphs.schema import GraphSpec

    opened = open_corpus(corpus, check="full")
    chosen = tuple(m.strip() for m in modalities.split(",")) if modalities else tuple(opened.modalities)
    spec = GraphSpec(chosen, window, cross, past, future, causal)
    options = BuildOptions(edges=not no_edges, features=with_features, scaling=scaling)
    with progress_bar("graphs", "dialogues") as report:
        store = build_store(opened, out, spec, options, workers=workers, force=force, progress=report)
    _print_store(store.manifest)
    print_line(f"Graphs of {len(opened)} dialogues in {out}")


def _print_store(manifest: dict[str, Any]) -> None:
    """Nodes and edges per split, and how well the common spaces hold on dev."""
    import pandas as pd

    from dgl_merc.cli.console import print_line, print_table
    from dgl_merc.corpus import SPLITS
    from dgl_merc.graphs.stats import correlations_in_words

    counts = pd.DataFrame(manifest["counts"])
    order = [s for s in SPLITS if s in counts.columns]
    print_table(counts[order].rename(index=lambda name: name.replace("nodes ", "nodes: ").replace("edges ", "edges: ")), "Nodes and edges")
    for line in correlations_in_words(manifest["correlations"]):
        print_line(line)
