"""A study: many ordinary runs of one corpus, several at once, never one twice, and the table they make.

    study.json                  what was asked: preset, variants, seeds, folds, hash of the corpus; when test was evaluated
    [VARIANT/][fold-F/]seedN/   run folders
    table.csv .tex .txt .png, report.html, summary.json

Runs are handed out by joblib, through whatever backend is active (processes of this machine by default, or a Dask or Ray cluster), and each
takes up what an earlier, interrupted study left. A run that fails (its loss is not finite) leaves a gap with its reason; the others go on.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from joblib import Parallel, delayed

from dgl_merc.errors import InputError, at
from dgl_merc.files import locked, read_json, write_json
from dgl_merc.training.grid import Cell, Grid
from dgl_merc.training.run import fit
from dgl_merc.training.run_folder import add_test, now, open_run
from dgl_merc.training.source import Source, opened_once

__all__ = ["Outcome", "Plan", "evaluate_test", "run_study"]


@dataclass(frozen=True)
class Plan:
    """How the runs of a study are made.

    Attributes:
        store: the graphs; None: the embedded corpus.
        test: every run evaluates test at its end; else :func:`evaluate_test` does, once the table is finished.
        oracle: runs score test at every look as well, into files that nothing reads.
        device: where to compute.
        threads: per run.
        command: as typed.
    """

    store: Path | None
    test: bool = True
    oracle: bool = False
    device: str = "cpu"
    threads: int = 1
    command: tuple[str, ...] = ()


@dataclass(frozen=True)
class Outcome:
    """How a run ended.

    Attributes:
        cell: which.
        metrics: what its ``metrics.json`` holds; None if it failed.
        fault: why it failed; empty if it did not.
        seconds: this call; little where the run was there already.
    """

    cell: Cell
    metrics: dict[str, Any] | None
    fault: str
    seconds: float


def run_study(
    grid: Grid, plan: Plan, out: Path, source: Source, *, jobs: int | None = 1, on_outcome: Callable[[Outcome], None] | None = None
) -> list[Outcome]:
    """Make the runs that are not there yet.

    Args:
        grid: which runs.
        plan: how.
        out: the study's folder: new, empty, or an earlier study of the same corpus and preset, whose runs are kept.
        source: opened from ``plan.store``.
        jobs: runs at once; None: as many as joblib's active backend says.
        on_outcome: called as each run ends.

    Returns:
        One per run, in the order of ``grid.cells()``.

    Raises:
        InputError: something else is in ``out``, it is in use, or its test scores were seen and the grid is another.
    """
    cells = grid.cells()
    with locked(out, "running a study"):
        _begin(out, grid, source, test=plan.test)
        found: dict[str, Outcome] = {}
        calls = (delayed(_run)(cell, plan, out.resolve()) for cell in cells)
        for outcome in Parallel(n_jobs=jobs, return_as="generator_unordered")(calls):
            found[outcome.cell.place] = outcome
            if on_outcome:
                on_outcome(outcome)
        if plan.test and all(o.metrics for o in found.values()):
            _mark_tested(out)
    return [found[cell.place] for cell in cells]


def _begin(out: Path, grid: Grid, source: Source, *, test: bool) -> None:
    about = {**grid.to_json(), "corpus": source.corpus.content_sha256, "spec": source.spec.to_json(), "test_evaluated": None}
    path = out / "study.json"
    if path.is_file():
        old = read_json(path)
        for key in ("preset", "words", "corpus", "spec", "folds"):
            if old.get(key) != about[key]:
                raise InputError(f"{at(out)}holds a study with {key} {old.get(key)}, not {about[key]}; name another folder")
        about["test_evaluated"] = old.get("test_evaluated")
        if about["test_evaluated"] and not test and any(old.get(key) != about[key] for key in ("variants", "seeds")):
            raise InputError(
                f"{at(out)}its test scores were seen ({about['test_evaluated']}), so its table stays as it is; "
                "name another folder for another grid"
            )
    elif out.is_dir() and any(out.iterdir()):
        raise InputError(f"{at(out)}expected a new folder or a study with study.json in it, found something else; name another folder")
    elif out.exists() and not out.is_dir():
        raise InputError(f"{at(out)}expected a folder or nothing, found a file; name another place")
    out.mkdir(parents=True, exist_ok=True)
    write_json(path, about)


def _run(cell: Cell, plan: Plan, out: Path) -> Outcome:
    """One run, in whatever process joblib chose."""
    import torch

    begun = time.perf_counter()
    torch.set_num_threads(plan.threads)
    try:
        source = opened_once(plan.store)
        metrics = fit(
            source.corpus,
            source.spec,
            cell.settings,
            out / cell.place,
            store=source.store,
            command=plan.command,
            resume=True,
            device=plan.device,
            test=plan.test,
            oracle=plan.oracle,
        )
    except InputError as error:
        return Outcome(cell, None, str(error), time.perf_counter() - begun)
    return Outcome(cell, metrics, "", time.perf_counter() - begun)


def _mark_tested(out: Path) -> None:
    study = read_json(out / "study.json")
    if not study["test_evaluated"]:
        write_json(out / "study.json", {**study, "test_evaluated": now()})


def evaluate_test(out: Path, source: Source, outcomes: Sequence[Outcome], *, device: str = "cpu") -> Iterator[Outcome]:
    """Add test to every run of a finished table, once.

    Args:
        out: the study's folder.
        source: the corpus its runs were trained on.
        outcomes: of :func:`run_study`.
        device: where to compute.

    Yields:
        The outcomes with test scores.

    Raises:
        InputError: a run is missing: then test is not looked at.
    """
    failed = [o for o in outcomes if o.metrics is None]
    if failed:
        raise InputError(
            f"{at(out)}{len(failed)} of {len(outcomes)} runs failed ({failed[0].cell.place}: {failed[0].fault}); test stays unseen"
        )
    with locked(out, "evaluating test"):
        _mark_tested(out)  # before it is: from here on the grid is what it is
        for outcome in outcomes:
            metrics = add_test(open_run(out / outcome.cell.place), source.corpus, device=device)
            yield Outcome(outcome.cell, metrics, "", outcome.seconds)
