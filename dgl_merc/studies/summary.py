"""What a study found, per variant: mean over seeds, deviation, interval over dialogues and seeds, on dev and, once seen, on test."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from dgl_merc.evaluation.statistics import estimate
from dgl_merc.studies.grid import Grid
from dgl_merc.studies.study import Outcome
from dgl_merc.studies.systems import System, system_of
from dgl_merc.training.run_folder import open_run

__all__ = ["score_rows", "summarise"]

_GROUPS = ("shift", "no shift", "first turn")


def summarise(grid: Grid, outcomes: Sequence[Outcome], out: Path) -> tuple[dict[str, Any], pd.DataFrame]:
    """The numbers of a study, as ``summary.json`` has them.

    Args:
        grid: what was asked.
        outcomes: of its runs, which stand below ``out``.
        out: the study's folder.

    Returns:
        ``variants``: a row each: labels, whether it is the preset itself, runs, failures, ``dev`` and ``test`` (mean, deviation, interval,
        null where there is none), per class, per kind of turn, calibration error, of scores both conventions of sentiment, parameters and
        seconds an epoch. And :func:`score_rows` of it.
    """
    rows = []
    for k, variant in enumerate(grid.variants):
        mine = [o for o in outcomes if o.cell.variant == k]
        lacking = {o.cell.settings.seed for o in mine if o.metrics is None}  # a seed counts with all its folds, or not at all
        done = [open_run(out / o.cell.place) for o in mine if o.cell.settings.seed not in lacking]
        row: dict[str, Any] = {
            "labels": dict(variant.labels),
            "folder": variant.folder,
            "is_preset": grid.is_preset(variant),
            "runs": [
                {
                    "place": o.cell.place,
                    "seed": o.cell.settings.seed,
                    "fold": o.cell.fold,
                    "fault": o.fault,
                    **{s: (o.metrics or {}).get("splits", {}).get(s, {}).get("weighted_f1") for s in ("dev", "test")},
                    "chosen_epoch": (o.metrics or {}).get("chosen_epoch"),
                    "epochs": (o.metrics or {}).get("epochs"),
                    "seconds": (o.metrics or {}).get("seconds"),
                }
                for o in mine
            ],
        }
        if done:
            system = system_of(variant.folder or grid.preset, done, str(out))
            row |= {split: _scores(system, split) for split in ("dev", "test")}
            shown = "test" if row["test"] else "dev"
            row |= {"shown": shown, **_details([run.metrics for run in done], shown)}
        rows.append(row)
    summary = {"grid": grid.to_json(), "variants": rows}
    return summary, score_rows(summary)


def _scores(system: System, split: str) -> dict[str, Any] | None:
    """Of a split; with folds, those of a seed are put together on test, where each utterance stands once, and averaged on dev."""
    if any(split not in run.metrics["splits"] for run in system.runs):
        return None
    found = system.scores(split)
    if not found:
        return None
    if split == "dev" and system.folds != ("",):
        means = [float(np.mean(v)) for v in found.values()]
        deviation = float(np.std(means, ddof=1)) if len(means) > 1 else None
        return {"mean": float(np.mean(means)), "deviation": deviation, "low": None, "high": None, "seeds": len(means)}
    return asdict(estimate(system.counts(split)))


def _details(metrics: Sequence[Mapping[str, Any]], split: str) -> dict[str, Any]:
    """Means over runs of what single runs report."""
    parts = [m["splits"][split] for m in metrics if split in m["splits"] and m["splits"][split]["utterances"]]
    if not parts:
        return {}
    names = list(parts[0]["per_class"])
    per_class = {
        n: {
            "support": sum(p["per_class"][n]["support"] for p in parts) / len(parts),
            **{key: _mean([p["per_class"][n][key] for p in parts]) for key in ("accuracy", "precision", "f1")},
        }
        for n in names
    }
    groups = {g: _mean([p["shift"][g]["weighted_f1"] for p in parts if g in p["shift"]]) for g in _GROUPS}
    seconds, parameters = (float(np.median([m[key] for m in metrics])) for key in ("seconds_per_epoch", "parameters"))
    return {
        "per_class": per_class,
        "turns": groups,
        "macro_f1": _mean([p["macro_f1"] for p in parts]),
        "accuracy": _mean([p["accuracy"] for p in parts]),
        "ece": _mean([p["calibration"]["ece"] for p in parts]),
        **({"sentiment": _sentiment([p["sentiment"] for p in parts])} if "sentiment" in parts[0] else {}),
        "seconds_per_epoch": seconds,
        "parameters": int(parameters),
    }


def _sentiment(parts: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Means of what :func:`dgl_merc.evaluation.sentiment.evaluate_sentiment` says of runs."""
    conventions = {
        name: {key: _mean([p["conventions"][name][key] for p in parts]) for key in ("accuracy", "weighted_f1")}
        for name in parts[0]["conventions"]
    }
    of_scores = ("mean_absolute_error", "pearson", "seven_class_accuracy")
    return {"conventions": conventions, **{key: _mean([p[key] for p in parts]) for key in of_scores if key in parts[0]}}


def _mean(values: Sequence[float | None]) -> dict[str, float | None]:
    """Mean and deviation of what is there."""
    there = [v for v in values if v is not None]
    if not there:
        return {"mean": None, "deviation": None}
    return {"mean": float(np.mean(there)), "deviation": float(np.std(there, ddof=1)) if len(there) > 1 else None}


def score_rows(summary: Mapping[str, Any]) -> pd.DataFrame:
    """A row per variant, numbers as numbers: what is varied, runs, then mean, deviation and interval of dev and, if seen, test."""
    rows = []
    tested = any(v.get("test") for v in summary["variants"])
    for variant in summary["variants"]:
        row: dict[str, Any] = dict(variant["labels"])
        row["runs"] = sum(not run["fault"] for run in variant["runs"])
        row["failed"] = sum(bool(run["fault"]) for run in variant["runs"])
        for split in ("dev", "test") if tested else ("dev",):
            for key in ("mean", "deviation", "low", "high"):
                row[f"{split} {key}"] = (variant.get(split) or {}).get(key)
        row["parameters"] = variant.get("parameters")
        row["seconds per epoch"] = variant.get("seconds_per_epoch")
        rows.append(row)
    return pd.DataFrame(rows)
