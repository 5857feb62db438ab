"""``dglmerc bench [STORE]``."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

from dgl_merc.cli.options import DEVICE, JOBS, STORE, THREADS, choose_device, choose_jobs, seeds_from
from dgl_merc.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from dgl_merc.studies.bench import Benchmark, Entry, Finished
    from dgl_merc.studies.grid import Grid
    from dgl_merc.studies.study import Outcome
    from dgl_merc.training.source import Source

__all__ = ["bench"]


@click.command("bench")
@STORE
@click.option(
    "--models",
    metavar="A,B,...",
    help="Presets, or PRESET:MODALITY+MODALITY for one on some of the modalities.  [default: every preset that is a model of its own]",
)
@click.option(
    "--trials", type=click.IntRange(1, 10_000), default=1, show_default=True, help="Settings of each model that dev chooses from."
)
@click.option("--trial-seeds", type=click.IntRange(1, 1000), default=1, show_default=True, help="Runs per trial.")
@click.option("--seeds", type=click.IntRange(1, 1000), default=5, show_default=True, help="Runs of what was chosen, of which test is seen.")
@click.option("--against", metavar="A,B,...", help="Models that the others are held to.  [default: mglra,sgrnet, as far as they are there]")
@click.option("--ensembles", is_flag=True, help="Also a line for the average of each model's seeds, which is one system.")
@click.option(
    "--set",
    "words",
    metavar="KEY=VALUE",
    multiple=True,
    help="Change a setting that all models have, such as training.max_epochs=20, data.modalities=text or graph.causal=true. Repeatable.",
)
@click.option(
    "--folds", type=click.IntRange(2), help="Cross-validate: so many folds of whole dialogues, instead of the corpus's own splits."
)
@click.option("--fold-by", metavar="COLUMN", help="Leave one group out: a fold for each value of a column, such as session.")
@click.option("--out", type=click.Path(path_type=Path), help="The benchmark's folder.  [default: runs/bench-STORE]")
@DEVICE
@THREADS
@JOBS
def bench(
    store: Path | None,
    models: str | None,
    trials: int,
    trial_seeds: int,
    seeds: int,
    against: str | None,
    ensembles: bool,
    words: tuple[str, ...],
    folds: int | None,
    fold_by: str | None,
    out: Path | None,
    device: str,
    threads: int,
    jobs: int | None,
) -> None:
    """Hold models to each other on equal terms: as many trials on dev, the same seeds, test evaluated once, one table.

    STORE holds the graphs; without it, the embedded corpus is used. A trial is the preset itself or settings drawn from its [search] table;
    the best on dev is run with other seeds, and test is evaluated when all models are trained. --set takes data.*, graph.* and training.*,
    the same for all; what it sets is not searched.

    The same command goes on where it was interrupted, and with more --models (the earlier ones named too) it fills up the table.
    """
    from dgl_merc.cli.console import print_line
    from dgl_merc.cli.studies import folds_of
    from dgl_merc.studies.bench import TARGETS, Benchmark, check_common, default_names, make_entries, run_bench
    from dgl_merc.studies.grid import file_name
    from dgl_merc.studies.study import Plan
    from dgl_merc.training.run import resolved_spec
    from dgl_merc.training.settings import load_settings
    from dgl_merc.training.source import opened_once

    words = (*words, *_folding(folds, fold_by))
    check_common(words)
    names = _listed("--models", models) if models is not None else None
    held = _listed("--against", against) if against is not None else None
    if ensembles and seeds == 1:
        raise InputError("--ensembles: expected two or more --seeds, whose answers are averaged, found one")
    source = opened_once(store)
    settings = load_settings(TARGETS[0], words)
    used = resolved_spec(source.corpus, source.spec, settings).modalities
    names = names or default_names(used)
    entries = make_entries(names, words, trials, source.spec.modalities)
    if unknown := [name for name in held or () if name not in names]:
        raise InputError(f"--against {unknown[0]}: expected a model of the table; there are {', '.join(names)}")
    by = folds_of(source, settings.data)
    asked = Benchmark(entries, trials, seeds_from(0, seeds), trial_seeds, by, words)
    _check(asked)
    place = out or Path("runs") / file_name(f"bench-{source.name}")
    device = choose_device(device, threads)
    jobs = choose_jobs(jobs, device, threads, max(seeds, trials * trial_seeds) * max(1, len(by)))
    said = ", ".join(f"{n} {what}{'' if n == 1 else 's'}" for n, what in ((trials, "trial"), (seeds, "seed")))
    print_line(f"{', '.join(names)} on {source.corpus.name}: {said}, {jobs} at once")
    how = Plan(store, test=False, device=device, threads=threads, command=("dglmerc", *sys.argv[1:]))
    finished = run_bench(asked, how, place, source, jobs=jobs, on_stage=_print_stage)
    _conclude(place, finished, held if held is not None else [t for t in TARGETS if t in names], source, ensembles=ensembles)


def _listed(option: str, text: str) -> list[str]:
    names = [name.strip() for name in text.split(",")]
    if not all(names) or len(set(names)) != len(names):
        raise InputError(f"{option} {text}: expected names, each once, joined by commas, such as bilstm,mglra")
    return names


def _folding(folds: int | None, fold_by: str | None) -> tuple[str, ...]:
    if fold_by == "":
        raise InputError("--fold-by: expected the name of a column, found nothing")
    given = {"data.folds": folds, "data.fold_by": fold_by}
    return tuple(f"{key}={json.dumps(value)}" for key, value in given.items() if value)  # TOML's quotes, as fit has it


def _check(asked: Benchmark) -> None:
    """That every run's settings can be made, before the first is."""
    for entry in asked.entries:
        asked.trials(entry).cells()
        asked.runs(entry, 0).cells()


def _print_stage(entry: Entry, stage: str, grid: Grid) -> Callable[[Outcome], None]:
    from dgl_merc.cli.console import print_line
    from dgl_merc.cli.studies import print_outcome

    total = len(grid.cells())
    print_line(f"{entry.name}: {len(grid.variants)} trials on dev" if stage == "trials" else f"{entry.name}: runs")
    return print_outcome(total)


def _conclude(place: Path, finished: Sequence[Finished], against: Sequence[str], source: Source, *, ensembles: bool) -> None:
    """Write and print the table; what failed becomes the error of the command.

    Raises:
        InputError: some models failed; the others' table is there.
    """
    from dgl_merc.cli.console import print_line, print_notes, print_table
    from dgl_merc.reports.bench_report import write_bench_report
    from dgl_merc.reports.study_report import write_study_report
    from dgl_merc.studies.bench_table import bench_numbers
    from dgl_merc.studies.summary import summarise

    for model in finished:
        if model.runs and not model.fault:
            folder = place / "runs" / model.entry.folder
            write_study_report(folder, *summarise(model.runs, model.outcomes, folder))
    numbers = bench_numbers(place, finished, against, source.corpus if ensembles else None)
    shown, caption = write_bench_report(place, numbers, ["dglmerc", *sys.argv[1:]])
    print_table(shown.set_index("model"), caption)
    print_notes(numbers["notes"])
    print_line(f"Report: {place / 'report.html'} (the table: table.txt, table.csv, table.tex, table.png)")
    failed = [model for model in finished if model.fault]
    if failed:
        raise InputError(f"{len(failed)} of {len(finished)} models failed: {failed[0].entry.name}: {failed[0].fault}")
