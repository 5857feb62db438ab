"""``dglmerc ablate PRESET [STORE]``."""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import click

from dgl_merc.cli.options import DEVICE, JOBS, SEEDS, SET, STORE, THREADS, choose_device, choose_jobs, seeds_from
from dgl_merc.errors import InputError

if TYPE_CHECKING:
    from dgl_merc.studies.grid import Variant
    from dgl_merc.studies.named import NamedStudy

__all__ = ["ablate"]


@click.command("ablate")
@click.argument("preset")
@STORE
@click.option(
    "--over",
    metavar="KEY=V1,V2,...",
    multiple=True,
    help="A setting and its values; lists of words are joined by + (data.modalities=text,text+audio). Repeatable: every "
    "combination is a row.",
)
@click.option(
    "--table",
    metavar="NUMBER",
    help="A table of the model's paper. mglra: IV (mask), V (modalities), VI (components). sgrnet: IV (components), V (modalities).",
)
@click.option(
    "--figure",
    metavar="NUMBER",
    help="A figure of the model's paper. mglra: 8 (heads), 9 (mask rates). sgrnet: 5 (alignment losses), 8 (lambda).",
)
@SET
@click.option("--seeds", type=click.IntRange(1, 1000), default=3, show_default=True, help="Runs per row.")
@click.option("--seed", type=click.IntRange(0, SEEDS), default=0, show_default=True, help="The first seed.")
@click.option(
    "--out", type=click.Path(path_type=Path), help="The table's folder.  [default: runs/ablate-PRESET-STORE-SETTINGS, or -table-VI]"
)
@click.option("--final", is_flag=True, help="Evaluate test, once, when all runs are there. From then on the table stays as it is.")
@DEVICE
@THREADS
@JOBS
def ablate(
    preset: str,
    store: Path | None,
    over: tuple[str, ...],
    table: str | None,
    figure: str | None,
    words: tuple[str, ...],
    seeds: int,
    seed: int,
    out: Path | None,
    final: bool,
    device: str,
    threads: int,
    jobs: int | None,
) -> None:
    """Fit PRESET with every combination of some settings, over seeds, and print the table: dev scores, to choose by.

    What the rows are is said by one of --over, --table and --figure; the latter two name what the model's paper has, rows and all, and
    are of the network alone, without a preset's second opinion.

    STORE holds the graphs; without it, the embedded corpus is used. Runs that are there already are not made again, so the same command
    goes on where it was interrupted, and with more values or seeds (the earlier ones named too) it fills up the table. Test is not looked
    at before --final.
    """
    from dgl_merc.cli.console import print_line
    from dgl_merc.cli.studies import conclude, folds_of, print_outcome
    from dgl_merc.studies.grid import Grid, file_name
    from dgl_merc.studies.named import NETWORK_ALONE
    from dgl_merc.studies.study import Plan, evaluate_test, run_study
    from dgl_merc.training.run import resolved_spec
    from dgl_merc.training.settings import load_settings
    from dgl_merc.training.source import opened_once

    named = _named(load_settings(preset, words).model, over, table, figure)
    words = (*NETWORK_ALONE, *words) if named else words
    settings = load_settings(preset, words)
    source = opened_once(store)
    variants = named.variants(resolved_spec(source.corpus, source.spec, settings).modalities) if named else _over(over)
    grid = Grid(preset, words, variants, seeds_from(seed, seeds), folds_of(source, settings.data))
    if named:
        grid = replace(grid, title=named.title, note=named.note)
    grid.check_words()
    total = len(grid.cells())
    device = choose_device(device, threads)
    slug = named.slug if named else "-".join(key.rpartition(".")[2] for key in variants[0].labels)
    place = out or Path("runs") / file_name(f"ablate-{preset}-{source.name}-{slug}")
    jobs = choose_jobs(jobs, device, threads, total)
    what = f", {grid.title}" if grid.title else ""
    print_line(f"{preset} on {source.corpus.name}{what}: {len(variants)} rows x {seeds} seed{'s' if seeds > 1 else ''}, {jobs} at once")
    plan = Plan(store, test=False, device=device, threads=threads, command=("dglmerc", *sys.argv[1:]))
    outcomes = run_study(grid, plan, place, source, jobs=jobs, on_outcome=print_outcome(total))
    if final:
        outcomes = list(evaluate_test(place, source, outcomes, device=device))
    conclude(grid, outcomes, place)


def _named(model: str, over: tuple[str, ...], table: str | None, figure: str | None) -> NamedStudy | None:
    """What --table or --figure names; None: --over says the rows."""
    from dgl_merc.studies.named import named_study

    given = {"--over": over or None, "--table": table, "--figure": figure}
    found = [option for option, value in given.items() if value is not None]
    if len(found) != 1:
        raise InputError(f"pass one of --over, --table and --figure, which say what the rows are; found {' and '.join(found) or 'none'}")
    if table is not None:
        return named_study(model, "table", table)
    return named_study(model, "figure", figure) if figure is not None else None


def _over(over: tuple[str, ...]) -> tuple[Variant, ...]:
    from dgl_merc.studies.grid import variants_over

    variants = variants_over(over)
    splitting = [key for key in variants[0].labels if key in ("data.folds", "data.fold_by", "data.fold")]
    if splitting:
        raise InputError(f"--over {splitting[0]}: all rows of a table have the same splits; pass --set {splitting[0]}=...")
    return variants
