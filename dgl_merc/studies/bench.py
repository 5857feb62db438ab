"""Models on equal terms: as many trials on dev for each, the best setting run with the same seeds, test seen once, at the very end.

    bench.json          what was asked, each model's trials, what was chosen, seconds spent, all numbers of the table
    trials/MODEL/       a study: a row per trial, with seeds of its own; test is never evaluated there
    runs/MODEL/seedN/   a study: the chosen setting
    table.txt .csv .tex .png, report.html

    choice      argmax_k mean_s dev(k, s) over the trials k whose runs all ended; of equal ones the first, and with folds
                the mean is over these as well: a dialogue that is test in one fold has a say in the choice as dev of another
    seeds       trials have other seeds s than the runs that are judged: a seed's luck that won a choice is not counted twice

Both are ordinary studies (:mod:`dgl_merc.studies.study`): resumed, several runs at once, never one twice. What was chosen stays chosen.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from dgl_merc.errors import InputError, at
from dgl_merc.files import locked, read_json, resolved, write_json
from dgl_merc.models import MODELS
from dgl_merc.settings import differences, flat
from dgl_merc.studies.grid import Grid, Variant, file_name
from dgl_merc.studies.search import draw_trials
from dgl_merc.studies.study import Outcome, Plan, evaluate_test, run_study
from dgl_merc.training.settings import load_settings, preset_names, preset_table
from dgl_merc.training.source import Source
from dgl_merc.training.splits import divide
from dgl_merc.training.task import choose_target

__all__ = ["Benchmark", "Entry", "Finished", "check_common", "choose", "default_names", "make_entries", "run_bench"]

TARGETS = ("mglra", "sgrnet")
"""This project's own models, which the others are held to."""
PER_MODALITY = "logistic"
"""The preset that is also run on each modality alone: what a linear classifier makes of it."""


@dataclass(frozen=True)
class Entry:
    """A row: a preset, on all modalities or some.

    Attributes:
        name: as asked for: ``mglra``, ``logistic:audio``, ``bilstm:text+audio``.
        preset: its first part.
        words: changes that all its runs have, as ``--set`` takes them.
        trials: further changes, a trial each; the first is none.
    """

    name: str
    preset: str
    words: tuple[str, ...]
    trials: tuple[tuple[str, ...], ...]

    @property
    def folder(self) -> str:
        """A name that any file system takes."""
        return file_name(self.name.replace(":", "="))


@dataclass(frozen=True)
class Benchmark:
    """What is asked for.

    Attributes:
        entries: the rows.
        asked: trials of each, where its space has so many.
        seeds: of the runs that are judged.
        trial_seeds: how many runs a trial has; their seeds follow those of the runs.
        folds: names of the folds; empty: the corpus's own splits.
        words: changes that all models have.
    """

    entries: tuple[Entry, ...]
    asked: int = 1
    seeds: tuple[int, ...] = (0,)
    trial_seeds: int = 1
    folds: tuple[str, ...] = ()
    words: tuple[str, ...] = ()

    def trials(self, entry: Entry) -> Grid:
        """The trials of a model as a study."""
        first = self.seeds[-1] + 1
        variants = tuple(Variant({"trial": str(k)}, words) for k, words in enumerate(entry.trials))
        return Grid(entry.preset, entry.words, variants, tuple(range(first, first + self.trial_seeds)), self.folds)

    def runs(self, entry: Entry, trial: int) -> Grid:
        """The runs of a model with the settings of a trial as a study."""
        return Grid(entry.preset, (*entry.words, *entry.trials[trial]), seeds=self.seeds, folds=self.folds)


@dataclass(frozen=True)
class Finished:
    """What became of a model.

    Attributes:
        entry: which.
        trial: number of the trial that dev chose; None: none of them ended.
        runs: the study of its runs; None without a trial.
        outcomes: of these.
        fault: why it has no scores; empty if it has.
    """

    entry: Entry
    trial: int | None = None
    runs: Grid | None = None
    outcomes: tuple[Outcome, ...] = ()
    fault: str = ""


OnStage = Callable[[Entry, str, Grid], Callable[[Outcome], None]]
"""Called as a study of a model begins (``trials`` or ``runs``); gives what is called as each of its runs ends."""


def default_names(modalities: Sequence[str]) -> list[str]:
    """Every preset that is a model of its own, what is solved first, this project's last; of a linear classifier also each modality alone.

    Args:
        modalities: that would be used.
    """
    names = [name for name in preset_names() if not name.endswith("-paper")]
    names.sort(key=lambda name: not MODELS[preset_table(name)["model"]][0].solved)
    ordered = [n for n in names if n not in TARGETS] + [n for n in TARGETS if n in names]
    alone = [f"{PER_MODALITY}:{m}" for m in modalities] if len(modalities) > 1 else []
    return [row for n in ordered for row in ([n, *alone] if n == PER_MODALITY else [n])]


def check_common(words: Sequence[str]) -> None:
    """That changes are such as all models can have.

    Raises:
        InputError: one is of a model.
    """
    for word in words:
        if own := sorted(key for key in Variant({}, (word,)).keys if not key.startswith(("data.", "graph.", "training."))):
            raise InputError(
                f"--set {word}: expected a setting that all models have (data.*, graph.* or training.*), found {own[0]}; those of one "
                "model stand in its preset"
            )


def make_entries(names: Sequence[str], words: Sequence[str], count: int, modalities: Sequence[str]) -> tuple[Entry, ...]:
    """The rows of a benchmark, each with its trials.

    Args:
        names: ``preset`` or ``preset:modality+modality``.
        words: changes that all models have, as ``--set`` takes them.
        count: of trials.
        modalities: of the store.

    Raises:
        InputError: no such preset, modality or setting, a row twice, or a ``[search]`` table that can't be used.
    """
    entries = []
    for name in names:
        preset, colon, text = name.partition(":")
        wanted = text.split("+")
        if unknown := [m for m in wanted if colon and m not in modalities]:
            raise InputError(f"--models {name}: expected modalities of {', '.join(modalities)}, joined by +, found {unknown[0]!r}")
        own = (f"data.modalities={','.join(wanted)}",) if colon else ()
        entries.append(Entry(name, preset, (*words, *own), tuple(draw_trials(preset, (*words, *own), count))))
    found: dict[Any, str] = {}
    for entry in entries:
        settings = load_settings(entry.preset, entry.words)
        used = tuple(sorted(settings.data.modalities or modalities))
        key = replace(settings, data=replace(settings.data, modalities=used))
        if key in found:
            raise InputError(f"--models: {found[key]} and {entry.name} are the same; name each model once")
        found[key] = entry.name
    return tuple(entries)


def run_bench(
    bench: Benchmark, how: Plan, out: Path, source: Source, *, jobs: int | None = 1, on_stage: OnStage | None = None
) -> list[Finished]:
    """Make what is not there yet: trials and runs of every model, on dev; then test of every run, once.

    Args:
        bench: what is asked for.
        how: the runs are made; ``how.test`` is not looked at.
        out: the folder: new, empty, or an earlier benchmark of the same plan, which may have lacked models.
        source: opened from ``how.store``.
        jobs: runs at once.
        on_stage: called as a study begins.

    Returns:
        One per row. A model whose trials or runs fail has its reason; the others go on.

    Raises:
        InputError: no labelled test utterance, something else is in ``out``, or it is in use, or a process that made runs was killed.
    """
    out, how = resolved(out), replace(how, test=False)
    _check_judged(bench, source)
    with locked(out, "running a benchmark"):
        _begin(bench, out, source)

        def study(entry: Entry, stage: str, grid: Grid) -> list[Outcome]:
            say = on_stage(entry, stage, grid) if on_stage else None
            return run_study(grid, how, out / stage / entry.folder, source, jobs=jobs, on_outcome=say)

        finished = [_fitted(bench, entry, out, study) for entry in bench.entries]
        return [_tested(model, out, source, how.device) for model in finished]


def _fitted(bench: Benchmark, entry: Entry, out: Path, study: Callable[[Entry, str, Grid], list[Outcome]]) -> Finished:
    """A model after its trials and runs, test unseen."""
    known = read_json(out / "bench.json")["models"][entry.name]
    if known["chosen"] is None:
        known = {**known, **choose(study(entry, "trials", bench.trials(entry)) if len(entry.trials) > 1 else ())}
        _note(out, entry, known)
    if known["chosen"] is None:
        return Finished(entry, fault=known["fault"])
    runs = bench.runs(entry, known["chosen"])
    outcomes = tuple(study(entry, "runs", runs))
    failed = [o for o in outcomes if o.metrics is None]
    fault = f"{len(failed)} of {len(outcomes)} runs failed: {failed[0].cell.place}: {failed[0].fault}" if failed else ""
    spent = sum(o.metrics["seconds"] if o.metrics else o.seconds for o in outcomes)
    _note(out, entry, {**known, "fault": fault, "seconds": {**known["seconds"], "runs": spent}})
    return Finished(entry, known["chosen"], runs, outcomes, fault)


def choose(outcomes: Sequence[Outcome]) -> dict[str, Any]:
    """What the trials found and which is the best on dev; without outcomes, where there is one trial, that.

    Returns:
        ``chosen``: its number, or null if none ended; ``fault``; ``trials``: a dictionary each: ``dev`` (mean over its runs), ``scores``,
        ``fault``; ``seconds``: what the search took, as training counts it.
    """
    if not outcomes:
        return {"chosen": 0, "fault": "", "trials": [{"dev": None, "scores": [], "fault": ""}], "seconds": {"search": 0.0, "runs": 0.0}}
    trials = []
    for k in range(1 + max(o.cell.variant for o in outcomes)):
        mine = [o for o in outcomes if o.cell.variant == k]
        scores = [(o.metrics or {}).get("splits", {}).get("dev", {}).get("weighted_f1") for o in mine]
        fault = next(
            (o.fault for o in mine if o.metrics is None), "" if any(s is not None for s in scores) else "no labelled dev utterance"
        )
        known = [s for s in scores if s is not None]
        trials.append({"dev": None if fault else float(np.mean(known)), "scores": scores, "fault": fault})
    ended = [k for k, trial in enumerate(trials) if trial["dev"] is not None]
    spent = sum(o.metrics["seconds"] if o.metrics else o.seconds for o in outcomes)
    return {
        "chosen": max(ended, key=lambda k: (trials[k]["dev"], -k)) if ended else None,
        "fault": "" if ended else f"all {len(trials)} trials failed: {trials[0]['fault']}",
        "trials": trials,
        "seconds": {"search": spent, "runs": 0.0},
    }


def _tested(model: Finished, out: Path, source: Source, device: str) -> Finished:
    """The same with test scores, unless it failed."""
    if model.fault:
        return model
    try:
        outcomes = tuple(evaluate_test(out / "runs" / model.entry.folder, source, model.outcomes, device=device))
    except InputError as error:
        return replace(model, fault=str(error))
    return replace(model, outcomes=outcomes)


def _note(out: Path, entry: Entry, found: Mapping[str, Any]) -> None:
    """Write down what is known of a model."""
    table = read_json(out / "bench.json")
    write_json(out / "bench.json", {**table, "models": {**table["models"], entry.name: dict(found)}})


def _check_judged(bench: Benchmark, source: Source) -> None:
    """That there is something to be judged on, before anything is trained."""
    data, corpus = load_settings(bench.entries[0].preset, bench.words).data, source.corpus
    target = choose_target(corpus, data.target)
    if not bench.folds and not divide(corpus, target, data).to_json(target)["splits"]["test"].get("labelled"):
        raise InputError(f"{at(corpus.path or corpus.name)}expected a labelled test utterance to judge models on, found none; pass --folds")


def _begin(bench: Benchmark, out: Path, source: Source) -> None:
    """A new benchmark, or an earlier one that this goes on with.

    Raises:
        InputError: something else is there, another plan, or models that are not asked for now.
    """
    plan = {
        "corpus": source.corpus.content_sha256,
        "words": list(bench.words),
        "trials": bench.asked,
        "trial seeds": bench.trial_seeds,
        "seeds": list(bench.seeds),
        "folds": list(bench.folds),
    }
    rows = {e.name: {"preset": e.preset, "words": list(e.words), "changes": [list(words) for words in e.trials]} for e in bench.entries}
    unknown: dict[str, Any] = {"chosen": None, "fault": "", "trials": [], "seconds": {"search": 0.0, "runs": 0.0}}
    path, old = out / "bench.json", {}
    if path.is_file():
        there = read_json(path)
        old = there["models"]
        _check_goes_on(out, there, plan, rows)
    elif out.exists() and not out.is_dir():
        raise InputError(f"{at(out)}expected a folder or nothing, found a file; name another place")
    elif out.is_dir() and any(out.iterdir()):
        raise InputError(f"{at(out)}expected a new folder or a benchmark with bench.json in it, found something else; name another folder")
    out.mkdir(parents=True, exist_ok=True)
    write_json(path, {"plan": plan, "models": {name: {**row, **(old.get(name) or unknown)} for name, row in rows.items()}})


def _check_goes_on(out: Path, there: Mapping[str, Any], plan: Mapping[str, Any], rows: Mapping[str, Mapping[str, Any]]) -> None:
    """An earlier benchmark has the same plan, its models are named again and have the same trials."""
    for key, before, after in differences(dict(flat(there["plan"])), plan):
        raise InputError(f"{at(out)}holds a benchmark with {key} = {before}, not {after}; name another folder")
    for name, old in there["models"].items():
        if name not in rows:
            raise InputError(f"{at(out)}holds models that are not asked for now ({name}); name them too, or another folder")
        for key, before, after in differences({k: old.get(k) for k in rows[name]}, rows[name]):
            raise InputError(f"{at(out)}holds a benchmark in which the {key} of {name} are {before}, not {after}; name another folder")
