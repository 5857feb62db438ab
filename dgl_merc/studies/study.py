"""A study: many ordinary runs of one corpus, several at once, never one twice, and the table they make.

    study.json                  what was asked: preset, variants, seeds, folds, hash of the corpus; when test was evaluated
    [VARIANT/][fold-F/]seedN/   run folders
    table.csv .tex .txt .png, report.html, summary.json

Runs are handed out by joblib, through whatever backend is active (processes of this machine by default, or a Dask or Ray cluster), and each
takes up what an earlier, interrupted study left. A run that fails (its loss is not finite) leaves a gap with its reason; the others go on.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import BrokenExecutor
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from joblib import Parallel, delayed

from dgl_merc.errors import InputError, InUseError, at, is_out_of_memory
from dgl_merc.files import locked, read_json, resolved, write_json
from dgl_merc.settings import differences, flat_settings
from dgl_merc.studies.grid import Cell, Grid, Variant
from dgl_merc.training.run import fit
from dgl_merc.training.run_folder import add_test, now, open_run
from dgl_merc.training.source import Source, opened_once

_PATIENCE = 60.0  # seconds to wait for another process to leave a run

__all__ = ["Outcome", "Plan", "evaluate_test", "run_study"]


@dataclass(frozen=True)
class Plan:
    """How the runs of a study are made.

    Attributes:
        store: the graphs; None: the embedded corpus.
        test: every run evaluates test at its end; else :func:`evaluate_test` does, once the table is finished.
        oracle: runs score test at every look as well, into files that nothing reads.
        tensorboard: each run writes a point a look, to be watched.
        device: where to compute.
        threads: per run.
        command: as typed.
    """

    store: Path | None
    test: bool = True
    oracle: bool = False
    tensorboard: bool = False
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
        InputError: something else is in ``out``, it is in use, the grid lacks rows or seeds that are there, its test scores were seen and
            the grid is another, or a process that made runs was killed.
    """
    out, cells = resolved(out), grid.cells()
    plan = replace(plan, store=plan.store.resolve() if plan.store else None)  # a worker may stand elsewhere
    with locked(out, "running a study"):
        _begin(out, grid, source, test=plan.test)
        found: dict[str, Outcome] = {}
        calls = (delayed(_run)(cell, plan, out, source.corpus.content_sha256, os.getpid()) for cell in cells)
        try:
            for outcome in Parallel(n_jobs=jobs, return_as="generator_unordered")(calls):
                found[outcome.cell.place] = outcome
                if on_outcome:
                    on_outcome(outcome)
        except BrokenExecutor:
            raise InputError(
                f"{at(out)}a process that made runs was killed (too little memory for {jobs} at once?); "
                "the same command goes on with the rest"
            ) from None
        if not any(o.metrics for o in found.values()) and not any(out.rglob("metrics.json")):
            (out / "study.json").unlink()  # nothing came of it: the folder is free again
            with suppress(OSError):
                out.rmdir()
    return [found[cell.place] for cell in cells]


def _begin(out: Path, grid: Grid, source: Source, *, test: bool) -> None:
    """A new study, or an earlier one that this grid goes on with."""
    about = {
        **grid.to_json(),
        "settings": json.loads(json.dumps(grid.settings(Variant()).to_json())),
        "corpus": source.corpus.content_sha256,
        "spec": source.spec.to_json(),
        "test_evaluated": None,
    }
    path = out / "study.json"
    if path.is_file():
        old = read_json(path)
        _check_goes_on(out, old, about, test=test)
        about["test_evaluated"] = old.get("test_evaluated")
    elif out.is_dir() and any(out.iterdir()):
        raise InputError(f"{at(out)}expected a new folder or a study with study.json in it, found something else; name another folder")
    elif out.exists() and not out.is_dir():
        raise InputError(f"{at(out)}expected a folder or nothing, found a file; name another place")
    out.mkdir(parents=True, exist_ok=True)
    write_json(path, about)
    if test:
        _mark_tested(out)


def _check_goes_on(out: Path, old: Mapping[str, Any], new: Mapping[str, Any], *, test: bool) -> None:
    """An earlier study has the same settings and corpus, keeps its rows and seeds, and is still open."""
    was, now_ = (dict(flat_settings(study["settings"] if isinstance(study.get("settings"), dict) else {})) for study in (old, new))
    whole = ("corpus", "spec", "folds")
    found = differences(was, now_) + differences({k: old.get(k) for k in whole}, {k: new[k] for k in whole})
    for key, before, after in found:
        raise InputError(f"{at(out)}holds a study with {key} = {before}, not {after}; name another folder")
    seen = old.get("test_evaluated")
    if seen and not test and any(old.get(key) != new[key] for key in ("variants", "seeds")):
        raise InputError(f"{at(out)}its test scores were seen ({seen}), so its table stays as it is; name another folder for another grid")
    for key, said in (("variants", "rows"), ("seeds", "seeds")):
        lacking = [e for e in _listed(old, key) if e not in new[key]]
        if lacking:
            named = lacking[0].get("labels") if isinstance(lacking[0], dict) else lacking[0]
            raise InputError(f"{at(out)}holds {said} that are not asked for now ({named}); name them too, or another folder")


def _listed(study: Mapping[str, Any], key: str) -> list[Any]:
    entries = study.get(key)
    return entries if isinstance(entries, list) else []


def _run(cell: Cell, plan: Plan, out: Path, corpus: str, parent: int) -> Outcome:
    """One run, in whatever process joblib chose: this one, a child of it, or one of a cluster."""
    import torch

    begun = time.perf_counter()
    torch.set_num_threads(plan.threads)
    is_child = os.getppid() == parent

    def alone(*_: object) -> None:
        if is_child and os.getppid() != parent:
            os._exit(1)  # the study is gone, and joblib's worker would stay; the state is kept, for the next one to go on with

    metrics, fault = None, ""
    try:
        source = _source(plan, corpus)
        metrics = _waiting(
            lambda: fit(
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
                tensorboard=plan.tensorboard,
                on_look=alone,
            )
        )
    except InputError as error:
        fault = str(error)
    except (RuntimeError, MemoryError) as error:
        if not is_out_of_memory(error):
            raise
        fault = f"memory does not suffice ({str(error).splitlines()[0] if str(error) else 'MemoryError'})"
    return Outcome(cell, metrics, fault, time.perf_counter() - begun)


def _source(plan: Plan, corpus: str) -> Source:
    source = opened_once(plan.store)
    if source.corpus.content_sha256 != corpus:
        raise InputError(f"{at(source.corpus.path or source.corpus.name)}not the corpus of the study, as this worker sees it")
    return source


def _waiting(make: Callable[[], dict[str, Any]]) -> dict[str, Any]:
    """Try again while another process is at the run: a worker of a study that was killed ends at its next look at dev."""
    end = time.monotonic() + _PATIENCE
    while True:
        try:
            return make()
        except InUseError:
            if time.monotonic() > end:
                raise
            time.sleep(0.5)


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
        InputError: a run is missing or damaged, or no test utterance is labelled: then test is not looked at.
    """
    failed = [o for o in outcomes if o.metrics is None]
    if failed:
        raise InputError(
            f"{at(out)}{len(failed)} of {len(outcomes)} runs failed ({failed[0].cell.place}: {failed[0].fault}); test stays unseen"
        )
    with locked(out, "evaluating test"):
        places = {cell.place for cell in Grid.from_json(read_json(out / "study.json")).cells()}
        if places != {outcome.cell.place for outcome in outcomes}:
            raise InputError(f"{at(out)}its grid was changed meanwhile; run the same command again")
        for outcome in outcomes:
            open_run(out / outcome.cell.place).check_test(source.corpus)
        _mark_tested(out)  # before it is: from here on the grid is what it is
        for outcome in outcomes:
            metrics = add_test(open_run(out / outcome.cell.place), source.corpus, device=device)
            yield Outcome(outcome.cell, metrics, "", outcome.seconds)
