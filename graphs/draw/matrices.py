"""Who hears whom as a matrix, a block per pair of modalities: its weights, and what a mask leaves of it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
from matplotlib.colors import LinearSegmentedColormap, ListedColormap
from matplotlib.figure import Figure
from matplotlib.patches import Patch, Rectangle

from dgl_merc.graphs.draw.columns import (
    class_names,
    has,
    in_legend,
    labels_of,
    name_of,
    nothing_drawn,
    of_one_dialogue,
    of_type,
    require,
    types_of,
)
from dgl_merc.graphs.palette import BLUE, GREY, INK, NO_LABEL, ORANGE, bare, ink_on, looks
from dgl_merc.graphs.pictures import short, styled
from dgl_merc.graphs.schema import UTTERANCE

__all__ = ["adjacency", "adjacency_matrix", "mask"]

_MISSING, _HATCH, _UNWEIGHTED, _DROPPED = "#e5e7eb", "#b6bcc6", "#7f8ea3", "#f2b38a"
_SPEAKERS = ("#374151", "#9ca3af", "#e5e7eb", "#6b7280", "#d1d5db", "#111827")
_SIGNED = LinearSegmentedColormap.from_list("signed", [BLUE, "#d4d4d4", ORANGE])


@dataclass(frozen=True)
class _Margins:
    """What stands beside the matrix."""

    count: int
    blocks: list[str]
    missing: npt.NDArray[np.bool_]
    speakers: list[str]
    labels: list[str | None]
    classes: list[str]

    @property
    def side(self) -> int:
        """Rows and columns."""
        return self.count * len(self.blocks)

    @property
    def strip(self) -> float:
        """The width of a strip, in cells."""
        return max(1.0, 0.035 * self.side)


def adjacency_matrix(edges: pd.DataFrame, count: int, blocks: Sequence[str], value: str = "weight") -> npt.NDArray[np.float64]:
    """Edges as a matrix.

    Args:
        edges: ``source, target, src, dst`` and ``value``.
        count: U, of the dialogue's utterances.
        blocks: node types, in order; edges of others are left out.
        value: the column that is put in.

    Returns:
        [B U, B U], rows destinations, columns sources, block by block; NaN where there is no edge. An edge without a value: infinity.

    Raises:
        ValueError: two edges join the same nodes in the same direction, so that one would hide the other.

    >>> edges = pd.DataFrame({"source": ["text"], "target": ["text"], "src": [0], "dst": [1], "weight": [0.5]})
    >>> adjacency_matrix(edges, 2, ["text"]).tolist()
    [[nan, nan], [0.5, nan]]
    """
    place = {name: k for k, name in enumerate(blocks)}
    inside = edges[edges["source"].isin(place) & edges["target"].isin(place)]
    row = inside["target"].map(place).to_numpy(dtype=np.int64) * count + inside["dst"].to_numpy(dtype=np.int64)
    column = inside["source"].map(place).to_numpy(dtype=np.int64) * count + inside["src"].to_numpy(dtype=np.int64)
    twice = pd.Series(row * (count * len(place)) + column).duplicated().to_numpy()
    if twice.any():
        one = inside.iloc[int(np.flatnonzero(twice)[0])]
        raise ValueError(
            f"several edges go from {one['source']} {one['src']} to {one['target']} {one['dst']}, and a cell shows one; choose edge types"
        )
    matrix = np.full((count * len(place),) * 2, np.nan)
    found = inside[value].to_numpy(dtype=np.float64)
    matrix[row, column] = np.where(np.isnan(found), np.inf, found)
    return matrix


@styled
def adjacency(
    utterances: pd.DataFrame,
    edges: pd.DataFrame,
    *,
    names: Sequence[str] | None = None,
    blocks: Sequence[str] | None = None,
    modalities: Sequence[str] = (),
    weight: str = "weight",
    limits: tuple[float, float] | None = None,
    title: str = "",
    width: float = 6.6,
) -> Figure:
    """Draw a dialogue's edges as a heat map: rows hear, columns are heard; a block per pair of node types, utterances in order.

    White where there is no edge, which is not the colour of weight 0; hatched where a modality is missing, so that there is no node;
    slate where an edge has no weight. Where a weight is negative the colours go both ways from 0. Strips along the margins say who
    speaks (shades of grey) and with which emotion.

    Args:
        utterances: of one dialogue: ``position, speaker, label``, and ``has_text`` and the like for ``modalities``.
        edges: of the dialogue: ``source, relation, target, src, dst, weight``.
        names: of all classes, in their order; default: those that occur.
        blocks: node types, in order; default: those that edges join, ``utterance`` last.
        modalities: whose missing nodes are shown, where they are blocks.
        weight: what the weight is called.
        limits: of the colours; default: the least and the greatest weight.
        title: above.
        width: in inches.

    Raises:
        ValueError: columns are missing, the tables are not of one dialogue, or two edges claim a cell.
    """
    require(edges, ["source", "relation", "target", "src", "dst", "weight"], "edges")
    margins = _margins(utterances, edges, names, blocks, modalities)
    figure = Figure(figsize=(width, 0.9 * width + 0.5), layout="constrained")
    if not margins.blocks:
        return nothing_drawn(figure, "no edges")
    matrix = adjacency_matrix(edges, margins.count, margins.blocks)
    weights = matrix[np.isfinite(matrix)]
    low, high = limits or ((float(weights.min()), float(weights.max())) if len(weights) else (0.0, 1.0))
    signed = low < 0
    if signed:
        high = max(-low, high)
        low = -high
    axes = figure.subplots()
    _ground(axes, margins)
    _cells(axes, np.where(np.isposinf(matrix), 0.0, np.nan), ListedColormap([_UNWEIGHTED]), 0, 1)
    shown = np.where(np.isfinite(matrix), matrix, np.nan)
    image = _cells(axes, shown, _SIGNED if signed else "cividis_r", low, high if high > low else low + 1, gid="weights")
    _strips(axes, margins)
    if len(weights):
        bar = figure.colorbar(image, ax=axes, fraction=0.04, pad=0.02)
        bar.set_label(short(weight, 50), fontsize=9)
        bar.ax.tick_params(labelsize=8)
        bar.outline.set_visible(False)
    _finish(figure, axes, margins, title, "slate: an edge without a weight" if np.isposinf(matrix).any() else "")
    return figure


@styled
def mask(
    utterances: pd.DataFrame,
    edges: pd.DataFrame,
    *,
    names: Sequence[str] | None = None,
    blocks: Sequence[str] | None = None,
    modalities: Sequence[str] = (),
    title: str = "",
    width: float = 10.0,
) -> Figure:
    """Draw what a mask leaves: the edges that are kept and dropped, with shares, and how many each node hears before and after.

    Args:
        utterances: as for :func:`adjacency`.
        edges: of the dialogue: ``source, relation, target, src, dst`` and ``kept`` (boolean).
        names: the same.
        blocks: the same.
        modalities: the same.
        title: above.
        width: in inches.

    Raises:
        ValueError: as :func:`adjacency`.
    """
    require(edges, ["source", "relation", "target", "src", "dst", "kept"], "edges")
    margins = _margins(utterances, edges, names, blocks, modalities)
    figure = Figure(figsize=(width, 0.56 * width + 0.5), layout="constrained")
    if not margins.blocks:
        return nothing_drawn(figure, "no edges")
    matrix = adjacency_matrix(edges.assign(kept=edges["kept"].astype(float)), margins.count, margins.blocks, "kept")
    grid = figure.add_gridspec(2, 2, width_ratios=(1.3, 1), height_ratios=(0.4 + 0.22 * len(types_of(edges)), 4))
    left, shares, degrees = (figure.add_subplot(place) for place in (grid[:, 0], grid[0, 1], grid[1, 1]))
    _ground(left, margins)
    _cells(left, matrix, ListedColormap([_DROPPED, BLUE]), 0, 1, gid="kept")
    left.legend(
        handles=[Patch(color=BLUE, label="kept"), Patch(color=_DROPPED, label="dropped")], fontsize=8, frameon=False,
        loc="lower right", bbox_to_anchor=(1.0, 1.0), ncols=2, borderaxespad=0.1,
    )  # fmt: skip
    _strips(left, margins)
    _finish(figure, left, margins, title, f"{edges['kept'].mean():.1%} of {len(edges)} edges kept")
    _shares(shares, edges)
    _degrees(degrees, edges, margins)
    return figure


def _shares(axes: Any, edges: pd.DataFrame) -> None:
    """How much of each edge type is kept."""
    types = types_of(edges)
    kept = [100 * of_type(edges, t)["kept"].mean() for t in types]
    axes.barh(range(len(types)), [100] * len(types), height=0.7, color=_DROPPED)
    axes.barh(range(len(types)), kept, height=0.7, color=BLUE, gid="shares")
    for k, share in enumerate(kept):
        axes.text(101.5, k, f"{share:.0f}", fontsize=8, va="center", color=INK)
    axes.set_yticks(range(len(types)), [name_of(t, 26) for t in types], fontsize=8)
    axes.set_ylim(len(types) - 0.5, -0.5)
    axes.set_xlim(0, 110)
    axes.set_xticks([])
    axes.spines[:].set_visible(False)
    axes.tick_params(length=0)
    axes.set_title("% of the edges kept", fontsize=9, loc="left")


def _degrees(axes: Any, edges: pd.DataFrame, margins: _Margins) -> None:
    """In-degrees before (grey bars) and after (blue), node by node, a panel of rows per block."""
    before = np.zeros(margins.side)
    after = np.zeros(margins.side)
    place = {name: k for k, name in enumerate(margins.blocks)}
    inside = edges[edges["source"].isin(place) & edges["target"].isin(place)]
    row = inside["target"].map(place).to_numpy(dtype=int) * margins.count + inside["dst"].to_numpy(dtype=int)
    np.add.at(before, row, 1)
    np.add.at(after, row, inside["kept"].to_numpy(dtype=float))
    node, wide = np.arange(margins.side), margins.side > 60
    axes.barh(node, before, height=1.0 if wide else 0.9, color="#d1d5db", label="before", gid="before")
    axes.barh(node, after, height=1.0 if wide else 0.5, color=BLUE, label="after", gid="after")
    alone = (before > 0) & (after == 0)
    if alone.any():
        axes.plot(
            np.zeros(alone.sum()), node[alone], ">", color=ORANGE, markersize=5, clip_on=False, label=f"nothing is left ({alone.sum()})"
        )
    axes.set_ylim(margins.side - 0.5, -0.5)
    middles = [(k + 0.5) * margins.count - 0.5 for k in range(len(margins.blocks))]
    axes.set_yticks(middles, [short(b, 14) for b in margins.blocks], fontsize=9)
    for k in range(1, len(margins.blocks)):
        axes.axhline(k * margins.count - 0.5, color=INK, linewidth=0.8)
    axes.set_title("in-degree, node by node", fontsize=9, loc="left")
    axes.xaxis.get_major_locator().set_params(integer=True)
    bare(axes)
    axes.spines["left"].set_visible(False)
    axes.tick_params(axis="y", length=0, colors=INK)
    axes.legend(fontsize=8, frameon=False, loc="lower right", bbox_to_anchor=(1.0, 1.0), ncols=3, borderaxespad=0.1)


def _margins(
    utterances: pd.DataFrame, edges: pd.DataFrame, names: Sequence[str] | None, blocks: Sequence[str] | None, modalities: Sequence[str]
) -> _Margins:
    """Checked, and what is drawn beside."""
    require(utterances, ["position", "speaker", "label", *map(has, modalities)], "utterances")
    of_one_dialogue(utterances, edges)
    joined = dict.fromkeys(str(n) for s, _, t in types_of(edges) for n in (s, t))
    chosen = list(blocks) if blocks is not None else sorted(joined, key=lambda n: n == UTTERANCE)
    missing = [~utterances[has(b)].to_numpy(dtype=bool) if b in modalities else np.zeros(len(utterances), bool) for b in chosen]
    who = [str(s) for s in utterances["speaker"]]
    flat = np.concatenate(missing) if missing else np.zeros(0, bool)
    return _Margins(len(utterances), chosen, flat, who, labels_of(utterances["label"]), class_names(names, utterances["label"]))


def _cells(axes: Any, matrix: npt.NDArray[np.float64], cmap: Any, low: float, high: float, gid: str = "cells") -> Any:
    """A layer of cells; NaN is seen through."""
    cells = np.ma.masked_invalid(matrix)
    return axes.imshow(cells, cmap=cmap, vmin=low, vmax=high, interpolation="nearest", zorder=1, gid=gid)


def _ground(axes: Any, margins: _Margins) -> None:
    """Rows and columns of nodes that are not there, run by run."""
    edge = np.diff(np.concatenate([[0], margins.missing.astype(int), [0]]))
    for begin, end in zip(np.flatnonzero(edge == 1).tolist(), np.flatnonzero(edge == -1).tolist(), strict=True):
        style: dict[str, Any] = {"facecolor": _MISSING, "edgecolor": _HATCH, "hatch": "////", "linewidth": 0, "zorder": 0, "gid": "missing"}
        axes.add_patch(Rectangle((-0.5, begin - 0.5), margins.side, end - begin, **style))
        axes.add_patch(Rectangle((begin - 0.5, -0.5), end - begin, margins.side, **style))


def _strips(axes: Any, margins: _Margins) -> None:
    """Speakers and emotions along the left and the top."""
    look = looks(margins.classes)
    first = list(dict.fromkeys(margins.speakers))
    shades = [_SPEAKERS[first.index(s) % len(_SPEAKERS)] for s in margins.speakers]
    colours = [look[label].colour if label is not None else NO_LABEL.colour for label in margins.labels]
    strip, blocks = margins.strip, len(margins.blocks)
    for depth, row, gid in ((1.25, colours, "emotions"), (2.35, shades, "speakers")):
        rgb = np.array([[int(c[k : k + 2], 16) / 255 for k in (1, 3, 5)] for c in row * blocks])
        near, far = -0.5 - strip * (depth - 1), -0.5 - strip * depth
        axes.imshow(rgb[:, None], extent=(far, near, margins.side - 0.5, -0.5), interpolation="nearest", gid=f"{gid} of rows")
        axes.imshow(rgb[None], extent=(-0.5, margins.side - 0.5, near, far), interpolation="nearest", gid=f"{gid} of columns")
        for x, y, w, h in ((far, -0.5, strip, margins.side), (-0.5, far, margins.side, strip)):
            axes.add_patch(Rectangle((x, y), w, h, facecolor="none", edgecolor=GREY, linewidth=0.5))
    if margins.side <= 48:
        for k, label in enumerate(margins.labels * blocks):
            said, ink = (look[label].letters, ink_on(look[label].colour)) if label is not None else ("", INK)
            for x, y in ((-0.5 - 0.75 * strip, k), (k, -0.5 - 0.75 * strip)):
                axes.text(x, y, said, size=5.5, color=ink, ha="center", va="center_baseline")


def _finish(figure: Figure, axes: Any, margins: _Margins, title: str, said: str) -> None:
    """Blocks, their names, positions, and a legend of what the margins show."""
    end, outer = margins.side - 0.5, -0.5 - 2.6 * margins.strip
    axes.set_xlim(outer, end)
    axes.set_ylim(end, outer)
    axes.set_aspect("equal")
    for k in range(len(margins.blocks) + 1):
        for draw in (axes.vlines, axes.hlines):
            draw(k * margins.count - 0.5, -0.5, end, color=INK, linewidth=0.9 if 0 < k < len(margins.blocks) else 0.5, zorder=2)
    middles = [(k + 0.5) * margins.count - 0.5 for k in range(len(margins.blocks))]
    named = [short(b, 14) for b in margins.blocks]
    axes.set_xticks(middles, named, fontsize=9)
    axes.set_yticks(middles, named, rotation=90, va="center", fontsize=9)
    step = next(s for s in (1, 2, 5, 10, 20, 50, 100, 200, 500, 1 << 40) if margins.side / s <= 36)
    small = [k * margins.count + p for k in range(len(margins.blocks)) for p in range(0, margins.count, step)]
    axes.set_xticks(small, minor=True)
    axes.set_yticks(small, minor=True)
    axes.tick_params(which="major", length=0, pad=5)
    axes.tick_params(which="minor", length=2, color=GREY)
    axes.set_xlabel(f"source: what is heard (a tick each {step} utterances)" if step > 1 else "source: what is heard", fontsize=9)
    axes.set_ylabel("destination: what hears", fontsize=9)
    axes.spines[:].set_visible(False)
    axes.set_title(short(title, 70), loc="left", fontsize=11, fontweight="bold", pad=16 if said else 6)
    axes.annotate(said, (0, 1), xytext=(0, 4), xycoords="axes fraction", textcoords="offset points", fontsize=8, color=GREY)
    _legend(figure, margins)


def _legend(figure: Figure, margins: _Margins) -> None:
    """Who the margins' colours are."""
    look, first = looks(margins.classes), list(dict.fromkeys(margins.speakers))
    edge: dict[str, Any] = {"edgecolor": GREY, "linewidth": 0.5}
    handles = [
        Patch(facecolor=look[n].colour, label=f"{in_legend(n, 18)} ({look[n].letters})", **edge)
        for n in margins.classes
        if n in margins.labels
    ]
    if None in margins.labels:
        handles.append(Patch(facecolor=NO_LABEL.colour, label="no label", **edge))
    if len(first) <= len(_SPEAKERS):
        handles += [Patch(facecolor=_SPEAKERS[k], label=in_legend(s, 18), **edge) for k, s in enumerate(first)]
    if margins.missing.any():
        handles.append(Patch(facecolor=_MISSING, hatch="////", label="missing", edgecolor=_HATCH, linewidth=0))
    columns = max(1, int(figure.get_figwidth() / 1.25))
    figure.legend(
        handles=handles, loc="outside lower center", ncols=columns, fontsize=8, frameon=False, handletextpad=0.4, columnspacing=1.1
    )
