"""The report of a run: pictures and one page that needs no network, made from the run folder's own files and nothing else."""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from dgl_merc.corpus.storage import read_parquet
from dgl_merc.evaluation.sentiment import ZEROS_COUNTED, ZEROS_LEFT_OUT
from dgl_merc.files import read_json
from dgl_merc.reports.page import render, save_figures
from dgl_merc.reports.uncertainty import uncertainty_page
from dgl_merc.settings import flat_settings

__all__ = ["write_report"]


def write_report(folder: Path, name: Path | None = None, metrics: Mapping[str, Any] | None = None) -> Path:
    """Draw ``figures/*.png`` and write ``report.html`` into a run folder.

    Args:
        folder: holds ``config.json``, ``data.json``, ``environment.json``, ``history.json`` and ``metrics.json``; where scores were
            learnt, also ``predictions.parquet``.
        name: what the page calls the run; default: the folder.
        metrics: those that ``metrics.json`` is about to hold; default: those it holds.

    Returns:
        The page's path.

    Raises:
        InputError: one of the files is missing or damaged.
    """
    parts: dict[str, Any] = {key: read_json(folder / f"{key}.json") for key in ("config", "data", "environment", "history", "metrics")}
    parts["metrics"] = metrics or parts["metrics"]
    return render(
        "run.html",
        folder / "report.html",
        run=_title((name or folder).resolve()),
        pictures=_draw(folder, parts),
        uncertainty=uncertainty_page(parts["metrics"]["splits"][_split(parts["metrics"])].get("uncertainty", {})),
        command=shlex.join(parts["environment"]["command"]),
        zeros_left_out=ZEROS_LEFT_OUT,
        zeros_counted=ZEROS_COUNTED,
        settings=sorted((k, str(v)) for k, v in flat_settings(parts["config"]) if k not in ("preset", "seed")),
        **parts,
    )


def _title(place: Path) -> str:
    """The run's folder; within a study, from the study's folder on."""
    for root in list(place.parents)[:4]:
        if (root / "study.json").is_file():
            return " / ".join([root.name, *place.relative_to(root).parts])
    return place.name


def _split(metrics: Mapping[str, Any]) -> str:
    """The split that pictures are of."""
    return "test" if metrics["splits"].get("test") else "dev"


def _draw(folder: Path, parts: dict[str, Any]) -> dict[str, str]:
    """The figures, saved, and as data URLs for the page."""
    from dgl_merc.reports.figures import calibration_figure, confusion_figure, curves_figure, per_class_figure, scores_figure
    from dgl_merc.reports.uncertainty import uncertainty_figure

    metrics = parts["metrics"]
    figures = {"curves": curves_figure(parts["history"]["looks"], metrics["chosen_epoch"])}
    split = _split(metrics)
    shown = metrics["splits"][split]
    if shown["utterances"]:
        figures["confusion"] = confusion_figure(shown["confusion"], list(shown["per_class"]))
        figures["per_class"] = per_class_figure(shown["per_class"])
    if shown["calibration"]["bins"]:
        figures["calibration"] = calibration_figure(shown["calibration"])
    if any(row["sigma"] and row["sigma"]["bins"] for row in shown.get("uncertainty", {}).values()):
        figures["uncertainty"] = uncertainty_figure(shown["uncertainty"])
    if shown.get("sentiment", {}).get("mean_absolute_error") is not None:
        table = read_parquet(folder / "predictions.parquet")
        table = table[(table["split"] == split) & table["score"].notna()]
        figures["scores"] = scores_figure(table["score"], table["predicted_score"], parts["data"]["bounds"])
    return save_figures(figures, folder / "figures")
