"""``dglmerc fit [STORE]``."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from dgl_merc.cli.options import DEVICE, JOBS, PRESET, SEEDS, SET, STORE, THREADS, choose_device, choose_jobs, seeds_from, started
from dgl_merc.errors import InputError

if TYPE_CHECKING:
    from dgl_merc.models import Model
    from dgl_merc.training.loop import Look
    from dgl_merc.training.processes import Processes
    from dgl_merc.training.settings import Settings
    from dgl_merc.training.source import Source

__all__ = ["fit"]


@click.command("fit")
@STORE
@PRESET
@SET
@click.option("--seed", type=click.IntRange(0, SEEDS), default=0, show_default=True, help="Of weights, order, dropout and masks.")
@click.option("--seeds", type=click.IntRange(1, 1000), help="So many runs, with seeds from --seed on; their mean, deviation and interval.")
@click.option(
    "--folds",
    type=click.IntRange(2),
    help="Cross-validate: so many folds of whole dialogues, a run for each, instead of the corpus's own splits.",
)
@click.option(
    "--fold-by",
    metavar="COLUMN",
    help="Leave one group out: a run for each value of a column, such as session.",
)
@click.option("--out", type=click.Path(path_type=Path), help="The run folder.  [default: runs/PRESET-STORE-seedN]")
@DEVICE
@THREADS
@JOBS
@click.option("--resume", is_flag=True, help="Go on with what an earlier call left unfinished; on the CPU it ends with the same bits.")
@click.option("--oracle", is_flag=True, help="Also score test at every look, into oracle.json, which nothing reads. Not a result.")
@click.option(
    "--log",
    type=click.Choice(["tensorboard"]),
    help="Write what training does to the run folder's tensorboard/, to be watched while it runs.",
)
@click.option("--force", is_flag=True, help="Replace the run folder (of a single run).")
def fit(
    store: Path | None, preset: str, words: tuple[str, ...], seed: int, out: Path | None, device: str, threads: int, **given: Any
) -> None:
    """Fit a model to the graphs in STORE, or, without one, to the embedded corpus.

    The epoch is chosen on dev (drawn by dialogue where the corpus has none); test is evaluated once, afterwards. The run folder holds
    settings, hashes, predictions, weights, metrics and report.html. With --seeds, --folds or --fold-by it holds a run folder for each, and
    the report of them together.

    Under torchrun --nproc-per-node N -m dgl_merc.cli fit ..., N processes train one model: each takes its share of every batch.
    """
    rank, count = started()
    # oneDNN keeps something for each of the last 1024 shapes of a batch: half a gigabyte where no two are alike
    os.environ.setdefault("ONEDNN_PRIMITIVE_CACHE_CAPACITY", "64")
    if count > 1:
        os.environ.setdefault("TORCH_CPP_LOG_LEVEL", "ERROR")  # before torch: DDP has a warning where every parameter had a part in a step
    from dgl_merc.cli.console import print_line
    from dgl_merc.training.processes import joined
    from dgl_merc.training.settings import load_settings
    from dgl_merc.training.source import opened_once
    from dgl_merc.training.tracking import check_tracking

    check_tracking(asked=bool(given["log"]))
    for key in ("folds", "fold_by"):
        if given[key] == "":
            raise InputError("--fold-by: expected the name of a column, found nothing")
        if given[key]:
            words = (*words, f"data.{key}={json.dumps(given[key])}")  # TOML's quotes: a column may be called true, or 1.5
    settings = load_settings(preset, words, seed)
    several = given["seeds"] or ((settings.data.folds or settings.data.fold_by) and not settings.data.fold)
    if several and count > 1:
        raise InputError("torchrun's processes share one run; seeds and folds run beside each other without it: dglmerc fit ... --jobs N")
    device = choose_device(device, threads)
    with joined(rank, count, device) as processes:
        source = processes.together(lambda: opened_once(store))
        if rank == 0:
            size = f"{len(source.corpus)} dialogues, {len(source.corpus.utterances)} utterances, {', '.join(source.spec.modalities)}"
            at_once = f"; {count} processes" if count > 1 else ""
            print_line(f"Fitting {preset} to {source.corpus.name}: {size}" + ("" if several else f"; seed {seed}{at_once}"))
        if several:
            _fit_several(source, store, preset, words, settings, out, device, threads, given)
        else:
            _fit_one(source, preset, settings, out, device, processes, given)


def _fit_one(
    source: Source, preset: str, settings: Settings, out: Path | None, device: str, processes: Processes, given: dict[str, Any]
) -> None:
    from dgl_merc.files import resolved
    from dgl_merc.training.run import fit as run_fit

    shown = out or Path("runs") / f"{preset}-{source.name}-seed{settings.seed}"
    place = resolved(shown)
    metrics = run_fit(
        source.corpus,
        source.spec,
        settings,
        place,
        store=source.store,
        command=["dglmerc", *sys.argv[1:]],
        device=device,
        on_look=_print_look,
        processes=processes,
        in_depth=True,
        tensorboard=bool(given["log"]),
        **{key: given[key] for key in ("force", "resume", "oracle")},
    )
    if processes.rank == 0:
        _print_result(metrics, place, shown)


def _fit_several(
    source: Source,
    store: Path | None,
    preset: str,
    words: tuple[str, ...],
    settings: Any,
    out: Path | None,
    device: str,
    threads: int,
    given: dict[str, Any],
) -> None:
    """Seeds and folds: a study with one row."""
    from dgl_merc.cli.studies import conclude, folds_of, print_outcome
    from dgl_merc.errors import at
    from dgl_merc.studies.grid import Grid, file_name
    from dgl_merc.studies.study import Plan, run_study

    data = settings.data
    seeds, folds = seeds_from(settings.seed, given["seeds"] or 1), folds_of(source, data)
    by = f"-{data.folds or ''}{file_name('by-' + data.fold_by) if data.fold_by else 'folds'}" if folds else ""
    place = out or Path("runs") / f"{preset}-{source.name}{by}-seed{seeds[0]}{f'to{seeds[-1]}' if len(seeds) > 1 else ''}"
    if given["force"]:
        raise InputError(
            "--force replaces a single run; a study of several is kept: name another folder, or pass --resume to go on with it"
        )
    if (place / "study.json").is_file() and not given["resume"]:
        raise InputError(f"{at(place)}there is a study; pass --resume to make what is missing of it, or name another folder")
    grid = Grid(preset, words, seeds=seeds, folds=folds)
    plan = Plan(
        store, device=device, threads=threads, oracle=given["oracle"], tensorboard=bool(given["log"]), command=("dglmerc", *sys.argv[1:])
    )
    total = len(grid.cells())
    jobs = choose_jobs(given["jobs"], device, threads, total)
    outcomes = run_study(grid, plan, place, source, jobs=jobs, on_outcome=print_outcome(total))
    conclude(grid, outcomes, place)


def _print_look(look: Look, best: Look, _model: Model) -> None:
    from dgl_merc.cli.console import print_line

    mark = "  best so far" if look is best else ""
    print_line(f"epoch {look.epoch:3.4g}  loss {look.loss:.4f}  dev weighted F1 {look.dev_weighted_f1:5.2f}  {look.seconds:5.2f} s{mark}")


def _print_result(metrics: dict[str, Any], place: Path, shown: Path) -> None:
    from dgl_merc.cli.console import print_line, print_notes
    from dgl_merc.cli.studies import print_splits
    from dgl_merc.evaluation.sentiment import in_words
    from dgl_merc.files import read_json
    from dgl_merc.reports.contributions import alone_in_words
    from dgl_merc.training.oracle import NOT_A_RESULT

    dev, test = metrics["splits"]["dev"], metrics["splits"].get("test")
    print_splits(place)
    print_line(f"Chosen on dev: epoch {metrics['chosen_epoch']:.4g} of {metrics['epochs']:.4g}, weighted F1 {dev['weighted_f1']:.2f}")
    if test and test["utterances"]:
        print_line(f"Test, evaluated once: weighted F1 {test['weighted_f1']:.2f}, accuracy {test['accuracy']:.2f}")
        print_notes(in_words(test.get("sentiment", {})))
    if (place / "contributions.json").is_file():
        print_notes(alone_in_words(read_json(place / "contributions.json"), 2))
    if "ceiling" in metrics:
        ceiling = metrics["ceiling"]
        below = f"this model is {ceiling['distance_weighted_f1']:.2f} below it"
        print_line(f"Bayes rate of this corpus: weighted F1 {ceiling['weighted_f1']:.2f}; {below}")
    if (place / "oracle.json").is_file():
        oracle = read_json(place / "oracle.json")
        best = oracle["best"]
        print_line(
            f"Oracle ({NOT_A_RESULT}): epoch {best['epoch']:.4g} has test weighted F1 {best['test_weighted_f1']:.2f}, "
            f"{oracle['flattery']:+.2f} on what dev chose"
        )
    print_line(f"Report: {shown / 'report.html'}")
