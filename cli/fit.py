"""``dglmerc fit [STORE]``."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from dgl_merc.training.loop import Epoch

__all__ = ["fit"]


@click.command("fit")
@click.argument("store", type=click.Path(path_type=Path), required=False)
@click.option("--preset", default="mglra", show_default=True, help="Model and settings to start from: mglra, or bilstm, the reference.")
@click.option(
    "--set",
    "words",
    metavar="KEY=VALUE",
    multiple=True,
    help="Change a setting, such as training.lr=0.0005 or model.gcn.rate=0.5. Repeatable.",
)
@click.option("--seed", type=click.IntRange(0, (1 << 32) - 1), default=0, show_default=True, help="Of weights, order, dropout and masks.")
@click.option("--out", type=click.Path(path_type=Path), help="The run folder.  [default: runs/PRESET-STORE-seedN]")
@click.option("--device", default="auto", show_default=True, help="Where to compute: auto, cpu, cuda, cuda:1, ...")
@click.option(
    "--threads", type=click.IntRange(1), default=1, show_default=True, help="CPU threads; several runs beside each other gain more."
)
@click.option("--force", is_flag=True, help="Replace the run folder.")
def fit(
    store: Path | None, preset: str, words: tuple[str, ...], seed: int, out: Path | None, device: str, threads: int, force: bool
) -> None:
    """Fit a model to the graphs in STORE, or, without one, to the embedded corpus.

    The epoch is chosen on dev; test is evaluated once, afterwards. The run folder holds settings, hashes, predictions, weights, metrics and
    report.html.
    """
    from dgl_merc.training.settings import load_settings

    settings = load_settings(preset, words, seed)
    corpus, spec, opened = _input(store)
    place = out or Path("runs") / f"{preset}-{store.resolve().name if store else 'embedded'}-seed{seed}"
    from dgl_merc.cli.console import print_line
    from dgl_merc.training.run import fit as run_fit

    device = _device(device, threads)
    command = ["dglmerc", *sys.argv[1:]]
    size = f"{len(corpus)} dialogues, {len(corpus.utterances)} utterances, {', '.join(spec.modalities)}"
    print_line(f"Fitting {preset} to {corpus.name}: {size}; seed {seed}")
    metrics = run_fit(corpus, spec, settings, place, store=opened, command=command, force=force, device=device, on_epoch=_print_epoch)
    _print_result(metrics, place)


def _input(store: Path | None) -> tuple[Any, Any, Any]:
    """Corpus, spec and store; the embedded corpus is made in memory."""
    if store is None:
        from dgl_merc.corpus.synthetic import synthetic_corpus
        from dgl_merc.graphs.schema import GraphSpec

        corpus = synthetic_corpus()
        return corpus, GraphSpec(tuple(corpus.modalities)), None
    from dgl_merc.corpus import open_corpus
    from dgl_merc.graphs.store import open_store

    opened = open_store(store)
    path = opened.corpus.path
    assert path is not None
    return open_corpus(path, check="full"), opened.spec, opened  # every byte: the run vouches for the corpus's hash


def _device(name: str, threads: int) -> str:
    import torch

    from dgl_merc.errors import InputError

    torch.set_num_threads(threads)
    if name == "auto":
        return "cuda" if torch.cuda.is_available() else "cpu"
    try:
        torch.empty(1, device=name).cpu()
    except (RuntimeError, AssertionError, ImportError) as error:
        raise InputError(f"--device {name}: expected a device of this machine, such as cpu ({str(error).splitlines()[0]})") from None
    return name


def _print_epoch(epoch: Epoch, best: Epoch) -> None:
    from dgl_merc.cli.console import print_line

    mark = "  best so far" if epoch is best else ""
    print_line(f"epoch {epoch.epoch:3d}  loss {epoch.loss:.4f}  dev weighted F1 {epoch.dev_weighted_f1:5.2f}  {epoch.seconds:5.2f} s{mark}")


def _print_result(metrics: dict[str, Any], place: Path) -> None:
    from dgl_merc.cli.console import print_line

    dev, test = metrics["splits"]["dev"], metrics["splits"].get("test")
    print_line(f"Chosen on dev: epoch {metrics['chosen_epoch']} of {metrics['epochs']}, weighted F1 {dev['weighted_f1']:.2f}")
    if test and test["utterances"]:
        print_line(f"Test, evaluated once: weighted F1 {test['weighted_f1']:.2f}, accuracy {test['accuracy']:.2f}")
    if "ceiling" in metrics:
        ceiling = metrics["ceiling"]
        below = f"this model is {ceiling['distance_weighted_f1']:.2f} below it"
        print_line(f"Bayes rate of this corpus: weighted F1 {ceiling['weighted_f1']:.2f}; {below}")
    print_line(f"Report: {place / 'report.html'}")
