"""The report of a benchmark: its table as files, a picture, and one page that links to every model's runs."""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from dgl_merc.files import read_json, write_json
from dgl_merc.reports.page import render, save_figure
from dgl_merc.reports.tables import mean_and_deviation, p_value, write_tables

__all__ = ["write_bench_report"]

_ENSEMBLE = "ensemble: {}"


def write_bench_report(folder: Path, numbers: Mapping[str, Any], command: Sequence[str] = ()) -> tuple[pd.DataFrame, str]:
    """Write ``table.txt .csv .tex .png`` and ``report.html``, and the numbers into ``bench.json``.

    Args:
        folder: of the benchmark, with ``bench.json`` in it.
        numbers: of :func:`dgl_merc.studies.bench_table.bench_numbers`.
        command: as typed.

    Returns:
        The table for people, and its caption.
    """
    models, targets = numbers["models"], numbers["targets"]
    ensembles = [m for m in models if m["ensemble"]]
    about = _about(folder, models)
    caption = _caption(numbers, about["corpus"]["name"] if about else "", ensembles=bool(ensembles))
    shown = pd.DataFrame([_shown(m, targets) for m in models] + [_shown_ensemble(m, targets) for m in ensembles])
    rows = pd.DataFrame([_row(m, targets) for m in models] + [_ensemble_row(m) for m in ensembles])
    write_tables(folder, "table", shown, rows, caption)
    picture = save_figure(_figure(models, ensembles, targets), folder / "table.png")
    write_json(folder / "bench.json", {**read_json(folder / "bench.json"), "results": numbers})
    render(
        "bench.html",
        folder / "report.html",
        name=folder.resolve().name,
        plan=numbers["plan"],
        models=models,
        notes=numbers["notes"],
        about=about,
        caption=caption,
        columns=list(shown.columns),
        rows=shown.to_numpy().tolist(),
        first_ensemble=len(models),
        picture=picture,
        command=shlex.join(command),
    )
    return shown, caption


def _about(folder: Path, models: Sequence[Mapping[str, Any]]) -> dict[str, Any] | None:
    """What one of the runs says of the corpus."""
    for model in models:
        for path in sorted((folder / "runs" / model["folder"]).rglob("data.json")):
            return read_json(path)
    return None


def _caption(numbers: Mapping[str, Any], corpus: str, *, ensembles: bool) -> str:
    plan = numbers["plan"]
    seeds, trials = len(plan["seeds"]), plan["trials"]
    chosen = f"the best of {trials} settings on dev" if trials > 1 else "its preset as it is"
    said = f"Models on {corpus}: weighted F1, each with {chosen}" if corpus else f"Models: weighted F1, each with {chosen}"
    said += ", mean and deviation over seeds" if seeds > 1 else ", one seed"
    if numbers["targets"]:
        said += "; differences on test, paired by dialogue, are above 0 where the model in the heading is better; p after Holm"
    if plan["folds"]:
        said += "; test: the folds of a seed put together, dev: their mean"
    if ensembles:
        said += ". Ensemble: one answer from the mean of all seeds' probabilities, which is another thing than a mean over seeds"
    return said


def _interval(part: Mapping[str, Any] | None) -> str:
    return "–" if not part or part["low"] is None else f"{part['low']:.1f} to {part['high']:.1f}"


def _shown(model: Mapping[str, Any], targets: Sequence[str]) -> dict[str, str]:
    """A model's row for people."""
    row = {"model": model["name"], "trials": str(len(model["search"]))}
    for split in ("dev", "test"):
        part = model[split] or {}
        row[split] = mean_and_deviation(part.get("mean"), part.get("deviation"))
    if model["fault"]:
        row["test"] = "failed"
    row["95 %"] = _interval(model["test"])
    for target in targets:
        found = model["against"].get(target)
        row[f"{target} - it [95 %] p"] = (
            f"{found['effect']:+.2f} [{found['low']:.1f}, {found['high']:.1f}] {p_value(found['p_holm'])}" if found else ""
        )
    row["params"] = "–" if model["parameters"] is None else f"{model['parameters']:,}"
    row["s/epoch"] = "–" if model["seconds_per_epoch"] is None else f"{model['seconds_per_epoch']:.2f}"
    row["minutes"] = f"{sum(model['seconds'].values()) / 60:.1f}"
    return row


def _shown_ensemble(model: Mapping[str, Any], targets: Sequence[str]) -> dict[str, str]:
    """Of the ensemble of its seeds: one score and its interval."""
    row = dict.fromkeys(_shown(model, targets), "")
    part = model["ensemble"]
    return row | {
        "model": _ENSEMBLE.format(model["name"]),
        "test": mean_and_deviation(part["mean"], None),
        "95 %": _interval(part),
    }


def _row(model: Mapping[str, Any], targets: Sequence[str]) -> dict[str, Any]:
    """A model's row, numbers as numbers."""
    row = {key: model[key] for key in ("name", "fault", "trial")}
    row |= {"kind": "mean over seeds", "trials": len(model["search"]), "changes": " ".join(model["changes"])}
    for split in ("dev", "test"):
        row |= {f"{split} {key}": (model[split] or {}).get(key) for key in ("mean", "deviation", "low", "high")}
    for target in targets:
        found = model["against"].get(target) or {}
        row |= {f"{target} minus it: {key}": found.get(key) for key in ("effect", "low", "high", "p", "p_holm")}
    seconds = {f"seconds {key}": value for key, value in model["seconds"].items()}
    return row | {"parameters": model["parameters"], "seconds per epoch": model["seconds_per_epoch"], **seconds}


def _ensemble_row(model: Mapping[str, Any]) -> dict[str, Any]:
    part = model["ensemble"]
    row = {"name": model["name"], "fault": "", "trial": model["trial"], "kind": f"ensemble of {part['members']} seeds"}
    return row | {f"test {key}": part[key] for key in ("mean", "low", "high")}


def _figure(models: Sequence[Mapping[str, Any]], ensembles: Sequence[Mapping[str, Any]], targets: Sequence[str]) -> Any:
    from dgl_merc.reports.study_figures import Bar, scores_figure

    bars = [Bar(m["name"], m["test"]["mean"], m["test"]["low"], m["test"]["high"], tuple(m["scores"])) for m in models if m["test"]]
    for m in ensembles:
        part = m["ensemble"]
        bars.append(Bar(_ENSEMBLE.format(m["name"]), part["mean"], part["low"], part["high"]))
    references = {m["name"]: m["test"]["mean"] for m in models if m["name"] in targets and m["test"]}
    return scores_figure(bars, "weighted F1 on test (%)", references)
