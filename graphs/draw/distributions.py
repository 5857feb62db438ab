"""How weights fall, edge type by edge type, and what learning made of them."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
from matplotlib.figure import Figure
from scipy.stats import spearmanr

from dgl_merc.graphs.draw.columns import name_axes, name_of, nothing_drawn, of_type, panels, require, types_of
from dgl_merc.graphs.palette import BLUE, GREY, INK, ORANGE
from dgl_merc.graphs.pictures import short, styled

__all__ = ["equal_labels", "paired_weights", "raw_against_learned", "weight_histograms"]

_BINS = 30
_DOTS = 2000  # more dots than this are counted in hexagons
_FILL: dict[str, dict[str, Any]] = {
    "all": {"fill": True, "alpha": 0.9},
    "unknown": {"linewidth": 1.2, "linestyle": ":"},
    "equal": {"fill": True, "alpha": 0.55},
    "different": {"linewidth": 1.2},
}
_KEY = ["dialogue", "source", "relation", "target", "src", "dst"]


def equal_labels(edges: pd.DataFrame, utterances: pd.DataFrame) -> pd.Series:
    """Whether the two utterances of an edge have the same label.

    Args:
        edges: of one dialogue: ``src, dst``.
        utterances: of that dialogue: ``label``, in the order of positions.

    Returns:
        Nullable boolean, by the index of ``edges``; missing where one of the two is unlabelled, or both are the same utterance.
    """
    label = utterances["label"].to_numpy(dtype=object)
    src, dst = edges["src"].to_numpy(dtype=int), edges["dst"].to_numpy(dtype=int)
    same = pd.Series(label[src] == label[dst], index=edges.index, dtype="boolean")
    return same.mask(pd.isna(label[src]) | pd.isna(label[dst]) | (src == dst))


@styled
def weight_histograms(
    edges: pd.DataFrame, *, weight: str = "weight", bins: int = _BINS, limits: tuple[float, float] | None = None, title: str = ""
) -> Figure:
    """Draw how the weights of each edge type fall: one panel a type, all with the same axes, in percent of the type's weighted edges.

    Args:
        edges: ``source, relation, target, weight``, of any number of dialogues; those without a weight are counted in the panel's title.
            With a column ``equal`` (nullable boolean) the edges between equal and between different labels are drawn apart, and those
            that join no two labelled utterances, each in percent of its own number; upright lines are means. Or, instead of ``weight``,
            counts: ``low, high, edges``, a row per type and bin.
        weight: what the weight is called.
        bins: of the whole range; of counts they are as they are.
        limits: of the axis of weights; default: the least and the greatest weight.
        title: above.

    Raises:
        ValueError: columns are missing, or a bin is there twice, as of two splits.
    """
    counted = "weight" not in edges.columns and {"low", "high", "edges"} <= set(edges.columns)
    require(edges, ["source", "relation", "target", *(["low", "high", "edges"] if counted else ["weight"])], "edges")
    if counted and edges.duplicated(["source", "relation", "target", "low"]).any():
        raise ValueError("edges has a bin of a type more than once; choose one split")
    types = [t for t in types_of(edges) if counted or of_type(edges, t)["weight"].notna().any()]
    if not types:
        return nothing_drawn(Figure(figsize=(5, 2), layout="constrained"), "no edge has a weight")
    figure, grid = panels(len(types), title)
    for axes, edge_type in zip(grid, types, strict=False):
        part = of_type(edges, edge_type)
        if counted:
            count = part["edges"].to_numpy(dtype=float)
            axes.bar(part["low"], 100 * count / max(count.sum(), 1), part["high"] - part["low"], align="edge", color=BLUE, gid="all")
            said = f"{int(count.sum())} edges"
        else:
            low, high = limits or (float(edges["weight"].min()), float(edges["weight"].max()))
            said = _histogram(axes, part, np.linspace(low, high if high > low else low + 1, bins + 1))
        axes.set_title(f"{name_of(edge_type, 30)}  ({said})", fontsize=9, loc="left")
    name_axes(figure, grid, short(weight, 50), "% of the edges")
    groups = {name: handle for axes in grid for handle, name in zip(*axes.get_legend_handles_labels(), strict=True)}
    if groups:
        figure.legend(list(groups.values()), list(groups), loc="outside lower center", ncols=3, fontsize=8, frameon=False)
    return figure


def _histogram(axes: Any, part: pd.DataFrame, ends: npt.NDArray[np.float64]) -> str:
    """One panel; what its title says in brackets."""
    there = part[part["weight"].notna()]
    without = len(part) - len(there)
    if "equal" not in part:
        groups = [(there["weight"], BLUE, "", "all")]
    else:
        equal = there["equal"].astype("boolean")
        groups = [
            (there["weight"][equal.isna()], GREY, "not compared", "unknown"),
            (there["weight"][equal.fillna(False)], BLUE, "equal labels", "equal"),
            (there["weight"][~equal.fillna(True)], ORANGE, "different labels", "different"),
        ]
    for values, colour, name, gid in groups:
        if len(values):
            share = 100 * np.histogram(values, ends)[0] / len(values)
            axes.stairs(share, ends, color=colour, label=name or None, gid=gid, **_FILL[gid])
            if gid != "unknown":
                axes.axvline(values.mean(), color=colour if name else INK, linewidth=1.2, linestyle="--" if gid == "different" else "-")
    return f"{len(there)} edges" + (f", {without} without weight" if without else "")


def paired_weights(raw: pd.DataFrame, learned: pd.DataFrame) -> pd.DataFrame:
    """The edges that two tables share, with both weights.

    Args:
        raw: of :data:`~dgl_merc.graphs.tables.EDGE_COLUMNS`.
        learned: the same.

    Returns:
        Columns ``dialogue, source, relation, target, src, dst, raw, learned``, in the order of ``raw``.

    Raises:
        ValueError: columns are missing, or a table has an edge twice (of two parts of a model, say).
    """
    for table, what in ((raw, "raw"), (learned, "learned")):
        require(table, [*_KEY, "weight"], what)
        if twice := int(table.duplicated(_KEY).sum()):
            raise ValueError(f"{what} has {twice} edges more than once; choose one part")
    sides = [table[[*_KEY, "weight"]].rename(columns={"weight": name}) for table, name in ((raw, "raw"), (learned, "learned"))]
    return sides[0].merge(sides[1], on=_KEY, how="inner")


@styled
def raw_against_learned(
    edges: pd.DataFrame, *, raw: str = "raw weight", learned: str = "learned weight", same_scale: bool = False, title: str = ""
) -> Figure:
    """Draw what learning made of weights: a dot per edge, a panel per edge type, with Spearman's rank correlation.

    Args:
        edges: ``source, relation, target, raw, learned``, as :func:`paired_weights` gives them; rows where one is missing are left out.
            More than 2,000 edges of a type are counted in hexagons, darker where there are more.
        raw: what the one is called.
        learned: what the other is called.
        same_scale: both are measured alike: the diagonal is drawn, where learning changed nothing.
        title: above.

    Raises:
        ValueError: columns are missing.
    """
    require(edges, ["source", "relation", "target", "raw", "learned"], "edges")
    edges = edges[edges["raw"].notna() & edges["learned"].notna()]
    types = types_of(edges)
    if not types:
        return nothing_drawn(Figure(figsize=(5, 2), layout="constrained"), "no edge has both weights")
    figure, grid = panels(len(types), title, height=2.5)
    for axes, edge_type in zip(grid, types, strict=False):
        part = of_type(edges, edge_type)
        x, y = part["raw"].to_numpy(dtype=float), part["learned"].to_numpy(dtype=float)
        if len(part) > _DOTS:
            axes.hexbin(x, y, gridsize=34, cmap="cividis_r", bins="log", mincnt=1, linewidths=0.1, gid="edges")
        else:
            axes.plot(x, y, "o", color=BLUE, markersize=3.5, markeredgewidth=0, alpha=min(0.8, max(0.15, 150 / len(x))), gid="edges")
        axes.set_title(f"{name_of(edge_type, 30)}\n{len(part)} edges, {_rank_correlation(x, y)}", fontsize=9, loc="left")
    if same_scale:
        low, high = float(edges[["raw", "learned"]].min().min()), float(edges[["raw", "learned"]].max().max())
        for axes in grid[: len(types)]:
            axes.plot([low, high], [low, high], color=GREY, linewidth=1.0, linestyle="--", gid="diagonal")
    name_axes(figure, grid, short(raw, 50), short(learned, 50))
    return figure


def _rank_correlation(x: npt.NDArray[np.float64], y: npt.NDArray[np.float64]) -> str:
    """Spearman's, in words; none of fewer than three edges or where one side is constant."""
    if len(x) < 3 or np.ptp(x) == 0 or np.ptp(y) == 0:
        return "rank correlation –"
    return f"rank correlation {spearmanr(x, y).statistic:.2f}"
