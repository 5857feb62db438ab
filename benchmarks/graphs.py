"""How fast graphs are made: structure and weights in memory, and the store on disk, on one core.

    python benchmarks/graphs.py [--meld CORPUS]

Lengths: MELD's own (with ``--meld``, a corpus that ``dglmerc import meld`` wrote), else the embedded corpus; and IEMOCAP-like ones (151
dialogues of 8-110 utterances). Features in memory are random. Medians of interleaved rounds, utterances per second.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median

import click
import numpy as np
import torch

from dgl_merc.corpus import Corpus, open_corpus, save_corpus
from dgl_merc.corpus.synthetic import synthetic_corpus
from dgl_merc.graphs import GraphSpec, Structure
from dgl_merc.graphs.build import BuildOptions, build_store
from dgl_merc.graphs.weights import feature_weights

WIDTHS = {"text": 384, "audio": 100, "visual": 100}


def in_memory(lengths: list[int], modalities: tuple[str, ...]) -> dict[str, Callable[[], object]]:
    """What is timed for one set of lengths: edges alone, the heterograph, the weights, and both."""
    spec, total = GraphSpec(modalities), sum(lengths)
    generator = torch.Generator().manual_seed(0)
    features = {m: torch.randn(total, WIDTHS[m], generator=generator) for m in modalities}

    def fresh() -> Structure:
        return Structure.of(lengths, spec)

    def edges() -> object:
        s = fresh()
        return [s.edges(t) for t in spec.edge_types]

    def both() -> object:
        s = fresh()
        return s.graph(), feature_weights(s, features, None)

    return {
        "edges": edges,
        "DGL heterograph": lambda: fresh().graph(),
        "weights": lambda: feature_weights(fresh(), features, None),
        "structure + weights": both,
    }


def timed(jobs: dict[str, Callable[[], object]], rounds: int) -> dict[str, list[float]]:
    """Seconds of each job, in turn, after one round that does not count."""
    seconds: dict[str, list[float]] = {name: [] for name in jobs}
    for k in range(rounds + 1):
        for name, job in jobs.items():
            begin = time.perf_counter()
            job()
            if k:
                seconds[name].append(time.perf_counter() - begin)
    return seconds


def writing(corpus: Corpus, rounds: int, options: BuildOptions) -> list[float]:
    """Seconds of a whole build-graphs, files and hashes included."""
    seconds = []
    for _ in range(rounds):
        with tempfile.TemporaryDirectory() as folder:
            begin = time.perf_counter()
            build_store(corpus, Path(folder) / "store", options=options)
            seconds.append(time.perf_counter() - begin)
    return seconds


@click.command()
@click.option("--meld", type=click.Path(path_type=Path), help="A corpus of MELD, for its lengths.")
@click.option("--rounds", default=11, show_default=True)
def main(meld: Path | None, rounds: int) -> None:
    """Print the table."""
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder:
        corpus = open_corpus(meld) if meld else save_corpus(synthetic_corpus(with_ceilings=False), Path(folder) / "corpus")
        lengths = {corpus.name: corpus.lengths.tolist(), "IEMOCAP-like": np.random.default_rng(0).integers(8, 111, 151).tolist()}
        print("| lengths | modalities | utterances | job | utterances/s (median) | least - greatest |")
        print("|---|---|---|---|---|---|")
        for name, sizes in lengths.items():
            for modalities in (("text",), ("text", "audio", "visual")):
                for job, seconds in timed(in_memory(sizes, modalities), rounds).items():
                    line(name, len(modalities), sum(sizes), job, seconds)
        for job, options in (("build-graphs, written", BuildOptions()), ("build-graphs --no-edges", BuildOptions(edges=False))):
            line(corpus.name, len(corpus.modalities), len(corpus.utterances), job, writing(corpus, 3, options))


def line(name: str, modalities: int, utterances: int, job: str, seconds: list[float]) -> None:
    """A row."""
    rates = sorted(utterances / s for s in seconds)
    print(
        f"| {name} | {modalities} | {utterances} | {job} | {utterances / median(seconds):,.0f} | {rates[0]:,.0f} - {rates[-1]:,.0f} |",
        flush=True,
    )


if __name__ == "__main__":
    main()
