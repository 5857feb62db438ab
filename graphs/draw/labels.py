"""What labels do along a dialogue and along edges: transitions, and agreement by weight."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from dgl_merc.graphs.draw.columns import name_axes, name_of, nothing_drawn, of_type, panels, require, types_of
from dgl_merc.graphs.palette import BLUE, INK, ORANGE
from dgl_merc.graphs.pictures import short, styled

__all__ = ["agreement", "transitions"]

_OFTEN, _SELDOM = 1.25, 0.8  # times what chance gives: worth an arrow


@styled
def transitions(table: pd.DataFrame, *, names: Sequence[str] | None = None, title: str = "") -> Figure:
    """Draw which emotion follows which: a panel per kind, rows before, columns after, in percent of the row, counts below.

    An arrow up (down) where a transition is at least 1.25 times as frequent (at most 0.8 times) as chance makes it.

    Args:
        table: ``kind, from, to, count, probability`` and, for arrows, ``expected`` (shares from 0 to 1), a row per kind and pair, as
            :func:`~dgl_merc.graphs.stats.emotion_transitions` gives them of one split.
        names: of the classes, in their order; default: in the order of the table.
        title: above.

    Raises:
        ValueError: columns are missing, or a pair occurs twice, as of two splits.
    """
    require(table, ["kind", "from", "to", "count", "probability"], "table")
    if table.duplicated(["kind", "from", "to"]).any():
        raise ValueError("table has a pair of labels more than once; choose one split")
    kinds = list(dict.fromkeys(table["kind"]))
    classes = list(names) if names is not None else list(dict.fromkeys([*table["from"], *table["to"]]))
    if not kinds or not classes:
        return nothing_drawn(Figure(figsize=(5, 2), layout="constrained"), "no transitions")
    side = 1.3 + 0.52 * len(classes)
    figure = Figure(figsize=(max(5.2, side * len(kinds) + 0.9), side + 1.0), layout="constrained")
    grid = figure.subplots(1, len(kinds), squeeze=False, sharey=True)[0]
    for axes, kind in zip(grid, kinds, strict=True):
        image = _matrix(axes, table[table["kind"] == kind], classes)
        axes.set_title(short(kind, 40), fontsize=10, loc="left")
    figure.supylabel("before", fontsize=9)
    figure.supxlabel("after", fontsize=9)
    bar = figure.colorbar(image, ax=list(grid), fraction=0.03, pad=0.02)
    bar.set_label("% of what comes before", fontsize=9)
    bar.ax.tick_params(labelsize=8)
    bar.outline.set_visible(False)
    if title:
        figure.suptitle(short(title, 90), x=0.01, ha="left", fontsize=11, fontweight="bold")
    return figure


def _matrix(axes: Any, part: pd.DataFrame, classes: Sequence[str]) -> Any:
    """One kind."""
    place = {name: k for k, name in enumerate(classes)}
    share = np.full((len(classes),) * 2, np.nan)
    for row in part.to_dict("records"):
        if row["from"] in place and row["to"] in place:
            before, after = place[row["from"]], place[row["to"]]
            share[before, after] = 100 * row["probability"]
            axes.text(
                after, before, _said(row), ha="center", va="center", fontsize=7, color="white" if row["probability"] > 0.6 else "black"
            )
    image = axes.imshow(np.ma.masked_invalid(share), cmap="Blues", vmin=0, vmax=100, gid="shares")
    axes.set_xticks(range(len(classes)), [short(n, 16) for n in classes], rotation=40, ha="right", rotation_mode="anchor", fontsize=9)
    axes.set_yticks(range(len(classes)), [short(n, 16) for n in classes], fontsize=9)
    axes.spines[:].set_visible(False)
    axes.tick_params(length=0)
    return image


def _said(row: Mapping[Any, Any]) -> str:
    """What is written in a cell."""
    if not row["count"]:
        return "·"
    times = row["probability"] / row["expected"] if row.get("expected", 0) > 0 else 1.0
    arrow = "▲" if times >= _OFTEN else "▼" if times <= _SELDOM else ""
    return f"{100 * row['probability']:.0f}{arrow}\n({row['count']:.0f})"


@styled
def agreement(
    table: pd.DataFrame, *, chance: Mapping[tuple[str, str, str], float] | None = None, weight: str = "weight", title: str = ""
) -> Figure:
    """Draw how often an edge joins equal labels, bin by bin of its weight: a panel per edge type, all with the same axes.

    Args:
        table: ``source, relation, target, low, high, edges, equal`` (a share), a row per type and bin; the larger a dot, the more edges
            its bin has.
        chance: edge type -> the share if labels were drawn at random; a dashed line.
        weight: what the weight is called.
        title: above.

    Raises:
        ValueError: columns are missing, or a type's bins overlap, as of two splits.
    """
    require(table, ["source", "relation", "target", "low", "high", "edges", "equal"], "table")
    table = table[table["edges"] > 0]
    types = types_of(table)
    if not types:
        return nothing_drawn(Figure(figsize=(5, 2), layout="constrained"), "no edge joins two labelled utterances")
    figure, grid = panels(len(types), title)
    for axes, edge_type in zip(grid, types, strict=False):
        part = of_type(table, edge_type).sort_values("low")
        if (part["low"].to_numpy()[1:] < part["high"].to_numpy()[:-1] - 1e-9).any():
            raise ValueError(f"the bins of {name_of(edge_type)} overlap; choose one split")
        middle = (part["low"] + part["high"]) / 2
        count = part["edges"].to_numpy(dtype=float)
        axes.hlines(100 * part["equal"], part["low"], part["high"], color=BLUE, linewidth=1.4)
        axes.plot(middle, 100 * part["equal"], color=BLUE, linewidth=0.8, alpha=0.6)
        axes.scatter(middle, 100 * part["equal"], s=8 + 52 * count / count.max(), color=BLUE, zorder=3, gid="bins")
        mean = float(np.average(100 * part["equal"], weights=count))
        axes.axhline(mean, color=INK, linewidth=0.9, linestyle=":", label="all edges")
        if chance is not None and edge_type in chance:
            axes.axhline(100 * chance[edge_type], color=ORANGE, linewidth=1.3, linestyle="--", label="chance")
        axes.set_title(f"{name_of(edge_type, 30)}  ({int(count.sum())} edges)", fontsize=9, loc="left")
    name_axes(figure, grid, short(weight, 50), "% that join equal labels")
    grid[0].set_ylim(0, 108 * table["equal"].max())  # room for the highest dot
    handles, said = grid[0].get_legend_handles_labels()
    figure.legend(handles, said, loc="outside lower center", ncols=2, fontsize=8, frameon=False)
    return figure
