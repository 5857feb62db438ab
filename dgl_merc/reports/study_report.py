"""The report of a study: its table as files, a picture, and one page that links to the runs."""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd

from dgl_merc.files import read_json, write_json
from dgl_merc.reports.page import render, save_figures
from dgl_merc.reports.tables import mean_and_deviation, write_tables

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from dgl_merc.reports.study_figures import Bar

__all__ = ["StudyResult", "write_study_report"]


@dataclass(frozen=True)
class StudyResult:
    """What a study leaves to be printed.

    Attributes:
        summary: all numbers.
        shown: the table for people.
        caption: of it.
    """

    summary: Mapping[str, Any]
    shown: pd.DataFrame
    caption: str


def write_study_report(folder: Path, summary: Mapping[str, Any], numbers: pd.DataFrame) -> StudyResult:
    """Write ``summary.json``, ``table.txt .csv .tex``, ``figures/table.png`` and ``report.html`` into a study's folder.

    Args:
        folder: of the study.
        summary: of :func:`dgl_merc.studies.summary.summarise`.
        numbers: of :func:`dgl_merc.studies.summary.score_rows`.
    """
    study, variants = read_json(folder / "study.json"), summary["variants"]
    tested = any(v.get("test") for v in variants)
    shown = _shown(summary, tested=tested)
    grid = summary["grid"]
    folds = f" x {len(grid['folds'])} folds" if grid["folds"] else ""
    runs = (
        f"{len(variants)} row{'s' if len(variants) > 1 else ''} x {len(grid['seeds'])} seed{'s' if len(grid['seeds']) > 1 else ''}{folds}"
    )
    done = [run for v in variants for run in v["runs"] if not run["fault"]]
    about = read_json(folder / done[0]["place"] / "data.json") if done else None
    caption = _caption(summary, about["corpus"]["name"] if about else "", tested=tested)
    write_json(folder / "summary.json", summary)
    write_tables(folder, "table", shown, numbers, caption)
    figures = _figures(summary, "test" if tested else "dev")
    command = read_json(folder / done[0]["place"] / "environment.json").get("command", []) if done else []
    render(
        "study.html",
        folder / "report.html",
        name=folder.resolve().name,
        grid=grid,
        about=about,
        one=variants[0] if len(variants) == 1 and "shown" in variants[0] else None,
        tested=tested,
        closed=bool(study["test_evaluated"]),
        seeds=len(grid["seeds"]),
        caption=caption,
        caption_runs=runs,
        columns=list(shown.columns),
        rows=shown.to_numpy().tolist(),
        runs=[run for v in variants for run in v["runs"]],
        pictures=save_figures(figures, folder / "figures"),
        picture_caption=_picture_caption(summary),
        command=shlex.join(command),
        fold_by=(read_json(folder / done[0]["place"] / "config.json")["data"]["fold_by"] or "dialogue") if done else "",
        test_evaluated=study["test_evaluated"],
    )
    return StudyResult(summary, shown, caption)


def _caption(summary: Mapping[str, Any], corpus: str, *, tested: bool) -> str:
    grid = summary["grid"]
    here = f"{grid['preset']} on {corpus}, {'test' if tested else 'dev'}" if corpus else grid["preset"]
    said = f"{grid['title']} (here {here})" if grid["title"] else grid["preset"]
    said += f": weighted F1{', mean and deviation over seeds' if len(grid['seeds']) > 1 else ', one seed'}"
    said += "; test: the folds of a seed put together, dev: their mean" if grid["folds"] else ""
    if any(_star(v) for v in summary["variants"]):
        said += f"; *: {grid['preset']} itself{', with --set' if grid['words'] else ''}"
    return f"{said}. {grid['note']}" if grid["note"] else said


def _star(variant: Mapping[str, Any]) -> str:
    """Marks the row, among those that vary something, that varies nothing."""
    return " *" if variant["labels"] and variant["is_preset"] else ""


def _shown(summary: Mapping[str, Any], *, tested: bool) -> pd.DataFrame:
    rows = []
    for variant in summary["variants"]:
        row: dict[str, Any] = dict(variant["labels"]) or {"preset": summary["grid"]["preset"]}
        row[next(iter(row))] += _star(variant)
        failed = sum(bool(run["fault"]) for run in variant["runs"])
        row["runs"] = f"{len(variant['runs']) - failed}" + (f" ({failed} failed)" if failed else "")
        for split in ("dev", "test") if tested else ("dev",):
            part = variant.get(split) or {}
            row[split] = mean_and_deviation(part.get("mean"), part.get("deviation"))
            row[f"{split} 95 %"] = "–" if part.get("low") is None else f"{part['low']:.1f} to {part['high']:.1f}"
        row["parameters"] = f"{variant['parameters']:,}" if "parameters" in variant else "–"
        row["s/epoch"] = f"{variant['seconds_per_epoch']:.2f}" if "seconds_per_epoch" in variant else "–"
        rows.append(row)
    return pd.DataFrame(rows)


def _number(text: str) -> float | None:
    try:
        return float(text)
    except ValueError:
        return None


def _axis(summary: Mapping[str, Any]) -> str | None:
    """The first setting whose values are three or more numbers: what a curve can be drawn along."""
    labels = [v["labels"] for v in summary["variants"]]
    for key in labels[0]:
        values = {row[key] for row in labels}
        if len(values) >= 3 and all(_number(v) is not None for v in values):
            return str(key)
    return None


def _figures(summary: Mapping[str, Any], split: str) -> dict[str, Figure]:
    from dgl_merc.reports.study_figures import along_figure, scores_figure

    variants = summary["variants"]
    if len(variants) == 1:  # one row: its splits, one below the other
        rows = [_bar(variants[0], s, s) for s in ("dev", "test") if variants[0].get(s)]
        return {"table": scores_figure(rows, "weighted F1 (%)")}
    bars: list[tuple[Mapping[str, str], Bar]] = []
    for variant in variants:
        if variant.get(split):
            name = ", ".join(f"{k.rpartition('.')[2]} = {v}" for k, v in variant["labels"].items()) or summary["grid"]["preset"]
            bars.append((variant["labels"], _bar(variant, split, name + _star(variant))))
    axis, label = _axis(summary), f"weighted F1 on {split} (%)"
    if axis is None or not bars:
        return {"table": scores_figure([bar for _, bar in bars], label)}
    values = sorted({float(labels[axis]) for labels, _ in bars})
    lines: dict[str, list[Bar | None]] = {}
    for labels, bar in bars:
        name = ", ".join(f"{k.rpartition('.')[2]} = {v}" for k, v in labels.items() if k != axis)
        lines.setdefault(name, [None] * len(values))[values.index(float(labels[axis]))] = bar
    return {"table": along_figure(values, lines, axis, label)}


def _bar(variant: Mapping[str, Any], split: str, name: str) -> Bar:
    from dgl_merc.reports.study_figures import Bar

    part = variant[split]
    return Bar(name, part["mean"], part["low"], part["high"], tuple(run[split] for run in variant["runs"] if run[split] is not None))


def _picture_caption(summary: Mapping[str, Any]) -> str:
    if _axis(summary) is None:
        return "Dot: mean over seeds. Line: its 95 % interval over dialogues and seeds. Circles: single runs."
    return "Line: mean over seeds. Band: its 95 % interval over dialogues and seeds."
