"""``dglmerc report RUN [STORE]``."""

from __future__ import annotations

from pathlib import Path

import click

from dgl_merc.cli.options import DEVICE, STORE, THREADS, choose_device

__all__ = ["report"]


@click.command("report")
@click.argument("run", type=click.Path(path_type=Path))
@STORE
@click.option(
    "--beside",
    metavar="TEXT_RUN",
    type=click.Path(path_type=Path),
    help="A run that was trained on text alone (or on another one of RUN's modalities), same corpus, same test: its score stands beside.",
)
@DEVICE
@THREADS
def report(run: Path, store: Path | None, beside: Path | None, device: str, threads: int) -> None:
    """Make the report of RUN again, with everything: what each modality contributes, t-SNE before and after, the model card.

    RUN is the folder of one run, of this or an earlier version. Its corpus is that of STORE, or, without one, the corpus it was trained
    on, where it stood then. No score that is in RUN changes, and a test split that was not evaluated stays unseen.
    """
    from dgl_merc.cli.console import print_line, print_notes
    from dgl_merc.files import read_json
    from dgl_merc.reports.contributions import alone_in_words, beside_in_words
    from dgl_merc.reports.model_card import CARD
    from dgl_merc.studies.beside import trained_alone
    from dgl_merc.training.report import report_again
    from dgl_merc.training.run_folder import open_run
    from dgl_merc.training.source import corpus_of

    saved = open_run(run)
    other = trained_alone(saved, open_run(beside)) if beside else None
    device = choose_device(device, threads)
    corpus = corpus_of(saved, store)
    page = report_again(saved, corpus, device=device, beside=other)
    if (run / "contributions.json").is_file():
        found = read_json(run / "contributions.json")
        print_notes([*alone_in_words(found, 2), *beside_in_words(found, 2)])
    print_line(f"Report: {page}, model card: {run / CARD}")
