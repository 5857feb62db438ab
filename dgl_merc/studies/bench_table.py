"""What a benchmark found, model by model: scores on dev and test, how far the targets are from each, and what it all cost.

difference    target - row, in percent points of weighted F1 on test: above 0 where the target is better; interval and p of
              :func:`dgl_merc.studies.compare.compare`, p Holm-corrected over all rows that are held to one target
ensemble      the class of the mean, over a model's seeds, of their probabilities: one system, not a mean over seeds
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pandas as pd

from dgl_merc.corpus import Corpus
from dgl_merc.errors import InputError
from dgl_merc.evaluation.statistics import counts_of, estimate
from dgl_merc.files import read_json
from dgl_merc.models import MODELS
from dgl_merc.studies.bench import Finished
from dgl_merc.studies.compare import compare
from dgl_merc.studies.summary import summarise
from dgl_merc.studies.systems import System, system_of
from dgl_merc.training.evaluate import evaluate_runs
from dgl_merc.training.run_folder import open_run

__all__ = ["bench_numbers", "ensemble"]


def bench_numbers(out: Path, finished: Sequence[Finished], against: Sequence[str], corpus: Corpus | None = None) -> dict[str, Any]:
    """The numbers of a benchmark.

    Args:
        out: its folder.
        finished: what became of its models.
        against: names of the targets; one that failed is left out.
        corpus: given, ensembles of each model's seeds are judged, too.

    Returns:
        ``models``, a dictionary each: ``name``, ``fault``, ``asked`` (trials), ``trial`` and ``changes`` (chosen),
        ``search`` (what each trial found), ``dev`` and ``test`` (mean, deviation, interval), ``scores`` (test, per seed), ``against``
        (target -> ``effect, low, high, p, p_holm``), ``parameters``, ``seconds_per_epoch``, ``seconds`` (search, runs), ``ensemble`` (as
        ``test``; null where none is asked for, there is one seed, or the model is solved); ``targets``; ``notes``.
    """
    told = read_json(out / "bench.json")
    systems = {f.entry.name: _system(f, out) for f in finished if not f.fault}
    rows = {f.entry.name: {**_row(f, out, told["models"][f.entry.name]), "asked": told["plan"]["trials"]} for f in finished}
    targets = [name for name in against if name in systems]
    notes: list[str] = [f"{name} failed: nothing is held to it" for name in against if name not in systems]
    for target in targets if len(systems) > 1 else ():
        others = [name for name in systems if name != target]
        found = compare([systems[target], *(systems[name] for name in others)])
        said = [f"; {name} uses " for name in others if ":" in name]  # the row's name says so already
        notes += [note for note in found.notes if note not in notes and not any(words in note for words in said)]
        for name, d, p in zip(others, found.differences[1:], found.adjusted[1:], strict=True):
            assert d is not None
            rows[name]["against"][target] = {"effect": 0.0 - d.effect, "low": 0.0 - d.high, "high": 0.0 - d.low, "p": d.p, "p_holm": p}
    for name, system in systems.items() if corpus else ():
        assert corpus is not None
        drawn = not MODELS[system.runs[0].settings.model][0].solved  # else all seeds say the same
        rows[name]["ensemble"] = ensemble(system, corpus) if drawn and len(system.seeds) > 1 else None
    notes += _of_choice(told["plan"], list(rows.values()))
    return {"plan": told["plan"], "models": list(rows.values()), "targets": targets, "notes": notes}


def _of_choice(plan: Mapping[str, Any], rows: Sequence[Mapping[str, Any]]) -> list[str]:
    """What there is to say of the trials."""
    notes = [
        f"{row['name']} has {len(row['search'])} setting{'s' if len(row['search']) > 1 else ''}, not {row['asked']}: all were tried"
        for row in rows
        if len(row["search"]) < row["asked"]
    ]
    if plan["folds"] and any(len(row["search"]) > 1 for row in rows):
        notes.append(
            "settings were chosen by the mean over the folds of dev, and a dialogue that is test in one fold is dev or train in others: "
            "test scores are somewhat too good; with --trials 1 they are not"
        )
    return notes


def _system(model: Finished, out: Path) -> System:
    place = out / "runs" / model.entry.folder
    return system_of(model.entry.name, [open_run(place / o.cell.place) for o in model.outcomes], str(place))


def _row(model: Finished, out: Path, told: dict[str, Any]) -> dict[str, Any]:
    """Of one model, alone."""
    entry = model.entry
    row: dict[str, Any] = {
        "name": entry.name,
        "folder": entry.folder,
        "fault": model.fault,
        "trial": model.trial,
        "changes": list(entry.trials[model.trial]) if model.trial is not None else [],
        "search": [{"changes": list(words), **trial} for words, trial in zip(entry.trials, told["trials"], strict=True)],
        "seconds": told["seconds"],
        **dict.fromkeys(("dev", "test", "parameters", "seconds_per_epoch", "ensemble")),
        "scores": [],
        "against": {},
    }
    if model.runs is None or model.fault:
        return row
    summary, _ = summarise(model.runs, model.outcomes, out / "runs" / entry.folder)
    (found,) = summary["variants"]
    scores = [run["test"] for run in found["runs"] if run["test"] is not None]
    return row | {"scores": scores, **{key: found[key] for key in ("dev", "test", "parameters", "seconds_per_epoch")}}


def ensemble(system: System, corpus: Corpus) -> dict[str, Any]:
    """The average of a model's seeds on test, with folds fold by fold, as one system.

    Args:
        system: the runs, of which test was evaluated.
        corpus: they were trained on.

    Returns:
        ``mean, deviation`` (none: it is one system), ``low, high`` (over dialogues), ``seeds`` (1), ``dialogues``; ``members``: how many.

    Raises:
        InputError: no labelled test utterance.
    """
    tables = []
    for fold in system.folds:
        runs = [run for run in system.runs if run.settings.data.fold == fold]
        if runs[0].metrics["splits"]["test"]["utterances"]:
            tables.append(evaluate_runs(runs, corpus, "test")[1])
    if not tables:
        raise InputError(f"{system.name}: expected labelled utterances in test, found none")
    table = pd.concat(tables, ignore_index=True)
    known = table[table["label"].notna()]
    counts = counts_of(known["dialogue_id"], known["label"], [known["predicted"]], system.runs[0].names)
    return {**asdict(estimate(counts)), "members": len(system.seeds)}
