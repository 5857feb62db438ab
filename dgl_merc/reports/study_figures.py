"""Pictures of several runs: scores with intervals, scores along a setting, differences."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from dgl_merc.graphs.palette import BLUE, GREY, GRID, ORANGE, bare

__all__ = ["Bar", "along_figure", "differences_figure", "scores_figure"]


@dataclass(frozen=True)
class Bar:
    """A mean with what surrounds it.

    Attributes:
        name: of the row.
        mean: in percent.
        low: of the interval; None: unknown.
        high: of the interval.
        points: the runs behind the mean.
    """

    name: str
    mean: float
    low: float | None = None
    high: float | None = None
    points: tuple[float, ...] = ()


def _rows(axes: Any, bars: Sequence[Bar], colours: Sequence[str]) -> None:
    """A row per bar: its interval, its runs as small circles, its mean."""
    for y, (bar, colour) in enumerate(zip(bars, colours, strict=True)):
        if bar.low is not None and bar.high is not None:
            axes.plot([bar.low, bar.high], [y, y], color=colour, linewidth=2.2, solid_capstyle="butt")
        axes.plot(bar.points, np.full(len(bar.points), y + 0.22), "o", color=GREY, markersize=3.5, markerfacecolor="none")
        axes.plot([bar.mean], [y], "o", color=colour, markersize=7)
    axes.set_yticks(range(len(bars)), [b.name for b in bars], fontsize=9, parse_math=False)
    axes.set_ylim(max(len(bars), 1) - 0.5, -0.5)
    axes.grid(axis="x", color=GRID, linewidth=0.8)
    bare(axes)


def _height(rows: int) -> float:
    return 1.3 + 0.42 * rows


def scores_figure(bars: Sequence[Bar], label: str, references: Mapping[str, float] | None = None) -> Figure:
    """Each row's mean, its interval (a line) and its runs (small circles).

    Args:
        bars: one or more.
        label: of the horizontal axis.
        references: name -> a score that the rows are held to (a dashed line).
    """
    figure = Figure(figsize=(7.2, _height(len(bars))), layout="constrained")
    axes = figure.subplots()
    for (name, value), dash in zip((references or {}).items(), itertools.cycle(("--", ":", "-."))):
        axes.axvline(value, color=ORANGE, linewidth=1.2, linestyle=dash, label=name)
    if references:
        for text in axes.legend(fontsize=8, frameon=False, loc="lower left", bbox_to_anchor=(0, 1), ncols=len(references)).get_texts():
            text.set_parse_math(False)
    _rows(axes, bars, [BLUE] * len(bars))
    for y, bar in enumerate(bars):
        axes.annotate(f"{bar.mean:.1f}", (bar.mean, y), xytext=(0, 7), textcoords="offset points", ha="center", fontsize=8, color=BLUE)
    axes.set_xlabel(label, fontsize=9)
    return figure


def along_figure(values: Sequence[float], lines: Mapping[str, Sequence[Bar | None]], setting: str, label: str) -> Figure:
    """Scores along a numeric setting, a line each for the values of the other settings.

    Args:
        values: of the setting, ascending.
        lines: name -> a bar per value; None: no run.
        setting: its name.
        label: of the vertical axis.
    """
    figure = Figure(figsize=(7.2, 3.6), layout="constrained")
    axes = figure.subplots()
    styles = [
        (BLUE, "o", "-"),
        (ORANGE, "s", "--"),
        ("#009E73", "^", "-."),
        ("#CC79A7", "D", ":"),
        (GREY, "v", "-"),
        ("#E69F00", "P", "--"),
    ]
    for k, (name, bars) in enumerate(lines.items()):
        colour, marker, dash = styles[k % len(styles)]
        there = [(v, b) for v, b in zip(values, bars, strict=True) if b is not None]
        x, y = [v for v, _ in there], [b.mean for _, b in there]
        axes.plot(x, y, color=colour, marker=marker, linestyle=dash, linewidth=1.6, markersize=5, label=name)
        known = [(v, b.low, b.high) for v, b in there if b.low is not None and b.high is not None]
        if known:
            axes.fill_between(
                [v for v, _, _ in known], [lo for _, lo, _ in known], [hi for _, _, hi in known], color=colour, alpha=0.13, linewidth=0
            )
    if min(values) > 0 and max(values) / min(values) >= 50:
        axes.set_xscale("log")
    axes.set_xlabel(setting, fontsize=9, parse_math=False)
    axes.set_ylabel(label, fontsize=9)
    axes.grid(color=GRID, linewidth=0.8)
    if len(lines) > 1:
        legend = axes.legend(fontsize=8, frameon=False)
        for text in legend.get_texts():
            text.set_parse_math(False)
    bare(axes)
    return figure


def differences_figure(bars: Sequence[Bar], differences: Sequence[Bar], baseline: str, label: str) -> Figure:
    """Left: each system's score. Right: how far it is from the first, with the interval of the difference.

    Args:
        bars: the systems' scores.
        differences: of all but the first, whose row stays empty.
        baseline: the first's name.
        label: of the scores.
    """
    figure = Figure(figsize=(9.2, _height(len(bars))), layout="constrained")
    left, right = figure.subplots(1, 2, sharey=True)
    _rows(left, bars, [GREY, *[BLUE] * (len(bars) - 1)])
    left.set_xlabel(label, fontsize=9)
    _rows(right, [Bar("", float("nan")), *differences], [GREY, *[BLUE] * len(differences)])
    right.axvline(0, color=ORANGE, linewidth=1.2, linestyle="--")
    left.set_yticks(range(len(bars)), [b.name for b in bars], fontsize=9, parse_math=False)
    right.set_xlabel(f"difference from {baseline}", fontsize=9, parse_math=False)
    return figure
