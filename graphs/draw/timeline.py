"""A dialogue as a timeline: a lane per speaker, marks by emotion, arcs above and below for edges, and which modality is missing where."""

from __future__ import annotations

import textwrap
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import pandas as pd
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine
from matplotlib.lines import Line2D

from dgl_merc.graphs.draw.arcs import arc_kinds, arcs_in_words, arcs_to_draw, draw_arcs
from dgl_merc.graphs.draw.columns import class_names, has, in_legend, labels_of, of_one_dialogue, require, types_of
from dgl_merc.graphs.palette import GREY, GRID, INK, NO_LABEL, ORANGE, Look, ink_on, looks
from dgl_merc.graphs.pictures import short, styled

__all__ = ["timeline"]

_NO_EDGES = pd.DataFrame({name: [] for name in ("source", "relation", "target", "src", "dst", "weight")}).astype({"src": int, "dst": int})
_LANES = 20  # speakers with a lane of their own
_SPOKEN = 8  # of more speakers the words are left out: the picture would be higher than a page
_LETTER = 7.0  # points: of the words
_CHARACTER = 0.55 * _LETTER / 72  # inches
_SCALE = {
    "D": 0.75,
    "s": 0.88,
    "p": 1.12,
    "h": 1.08,
    "^": 1.1,
    "v": 1.1,
    "<": 1.1,
    ">": 1.1,
}  # so that all shapes take about as much of the page
_MARGIN = 0.7  # turns left and right of the first and the last


@dataclass(frozen=True)
class _Plan:
    """Where things stand: x [U], lane [U], the lanes' names, what a turn takes of the page (inches), and the words under each mark."""

    x: npt.NDArray[np.float64]
    lane: npt.NDArray[np.int64]
    speakers: list[str]
    slot: float
    words: list[str]

    @property
    def mark(self) -> float:
        """The width of a mark in inches."""
        return float(np.clip(0.6 * self.slot, 0.055, 0.25))


@styled
def timeline(
    utterances: pd.DataFrame,
    edges: pd.DataFrame | None = None,
    *,
    names: Sequence[str] | None = None,
    modalities: Sequence[str] = (),
    threshold: float | None = None,
    strongest: int | None = None,
    by: Literal["speaker", "type"] = "speaker",
    weight: str = "weight",
    title: str = "",
    times: bool = False,
    width: float | None = None,
) -> Figure:
    """Draw a dialogue as it went, and what hears what.

    A mark per utterance, in the lane of its speaker (in the order in which they first speak; of very many the rarest share a lane), with
    the colour, shape and letters of its emotion; white where nobody labelled it. Its text below, as far as there is room. An arc above
    goes from an earlier to a later utterance, an arc below from a later to an earlier one; the heavier the edge, the thicker; dashed
    where its weight is negative. Below, modality by modality, a bar where an utterance has it and a cross where it is missing.

    Args:
        utterances: of one dialogue, as :func:`~dgl_merc.graphs.utterance_table` gives them: ``position, speaker, text, label``,
            ``has_text`` and the like; perhaps ``predicted``, drawn as a ring, with its letters where it differs.
        edges: of the dialogue: ``source, relation, target, src, dst, weight``; None: no arcs. Edges within an utterance have no arc.
        names: of all classes, in their order; default: those that occur.
        modalities: whose presence is shown.
        threshold: see :func:`arcs_to_draw`.
        strongest: the same; default, without a threshold: two per utterance, from 12 to 150.
        by: whether an arc's colour says that it joins utterances of one speaker, or its edge type.
        weight: what the weight is called.
        title: above.
        times: utterances stand where they were said, by ``start`` and ``end`` (seconds), and not turn by turn.
        width: of the picture, in inches; default: as the dialogue needs, up to 16.

    Raises:
        ValueError: columns are missing, or the utterances are not one dialogue's.
    """
    edges = _NO_EDGES if edges is None else edges.reset_index(drop=True)
    require(utterances, ["position", "speaker", "text", "label", *map(has, modalities), *(["start", "end"] if times else [])], "utterances")
    require(edges, ["source", "relation", "target", "src", "dst", "weight"], "edges")
    of_one_dialogue(utterances, edges)
    count = len(utterances)
    if threshold is None and strongest is None:
        strongest = int(np.clip(2 * count, 12, 150))
    arcs = arcs_to_draw(edges, threshold, strongest)
    width = float(np.clip(1.9 + 0.62 * count, 6.5, 16)) if width is None else width
    plan = _plan(utterances, width, times)
    above, below = arcs[arcs["src"] < arcs["dst"]], arcs[arcs["src"] > arcs["dst"]]
    lane = 0.3 + 0.47 * any(plan.words) + 0.08 * ("predicted" in utterances)
    heights = {"above": 1.5 * bool(len(above)), "lanes": max(0.5, lane * len(plan.speakers)), "below": 1.5 * bool(len(below))}
    heights["presence"] = 0.17 * len(modalities)
    heights = {name: height for name, height in heights.items() if height}
    figure = Figure(figsize=(width, sum(heights.values()) + 1.3), layout=ConstrainedLayoutEngine(h_pad=0.03, hspace=0.0))
    grid = figure.subplots(len(heights), 1, sharex=True, squeeze=False, height_ratios=list(heights.values()))[:, 0]
    axes = dict(zip(heights, grid, strict=True))
    kinds = arc_kinds(edges, utterances, by)
    for name, part in (("above", above), ("below", below)):
        if name in axes:
            draw_arcs(axes[name], part, plan.x, plan.slot, kinds, arcs, types_of(edges), upwards=name == "above")
    classes = class_names(names, *(utterances[c] for c in ("label", "predicted") if c in utterances))
    _lanes(axes["lanes"], utterances, plan, looks(classes), through=(bool(len(above)), bool(len(below))))
    if modalities:
        _presence(axes["presence"], utterances, plan, modalities)
    _frame(grid, plan, times)
    _words(grid[0], title, arcs_in_words(edges, arcs, weight, threshold))
    _legend(figure, utterances, arcs, looks(classes), kinds, width)
    return figure


def _plan(utterances: pd.DataFrame, width: float, times: bool) -> _Plan:
    """Lanes, places and the room for words."""
    count = len(utterances)
    who = [str(s) for s in utterances["speaker"]]
    first = list(dict.fromkeys(who))
    if len(first) > _LANES:
        often = {s for s, _ in Counter(who).most_common(_LANES - 1)}
        own = [s for s in first if s in often]
        lanes = {s: own.index(s) if s in often else len(own) for s in first}
        speakers = [*own, f"{len(first) - len(own)} others"]
    else:
        lanes, speakers = {s: k for k, s in enumerate(first)}, first
    lane = np.array([lanes[s] for s in who], dtype=np.int64)
    x = (utterances["start"] + utterances["end"]).to_numpy(dtype=np.float64) / 2 if times else np.arange(count, dtype=np.float64)
    if not np.isfinite(x).all():
        raise ValueError("start and end must be finite where times are asked for")
    speakers = [short(s, 18) or "·" for s in speakers]
    gap = float(np.median(np.diff(np.sort(x)))) if count > 1 else 1.0
    inches = (width - 0.75 - 0.075 * max(map(len, speakers))) / (np.ptp(x) + 2 * _MARGIN * (gap or 1.0))  # of a unit of x
    words = [""] * count
    for k in range(len(speakers) if len(speakers) <= _SPOKEN and gap * inches >= 0.2 else 0):
        mine = np.flatnonzero(lane == k)
        mine = mine[np.argsort(x[mine], kind="stable")]
        apart = np.diff(x[mine], prepend=-np.inf, append=np.inf)
        for u, room in zip(mine, np.minimum(apart[:-1], apart[1:]), strict=True):
            ends = 2 * min(x[u] - x.min(), x.max() - x[u]) + 2 * _MARGIN * gap
            letters = int(min(room, ends, 2.6 * gap) * inches / _CHARACTER) - 1
            text = short(utterances["text"].iloc[u], 300)
            if letters >= 9 and text:
                words[u] = "\n".join(textwrap.wrap(text, letters, max_lines=3, placeholder="…"))
    return _Plan(x, lane, speakers, max(gap, 1e-9) * inches, words)


def _lanes(axes: Any, utterances: pd.DataFrame, plan: _Plan, look: dict[str, Look], *, through: tuple[bool, bool]) -> None:
    """A lane per speaker, marks, their letters and words."""
    axes.hlines(range(len(plan.speakers)), *_limits(plan), color=GRID, linewidth=1.0, zorder=0)
    top, bottom = -0.5, len(plan.speakers) - 0.4 + (0.35 if any(plan.words) else 0.0)
    for there, end in zip(through, (top, bottom), strict=True):
        if there and plan.slot > 0.12:
            axes.vlines(plan.x, plan.lane, end, color=GRID, linewidth=0.8, zorder=0)
    labels = labels_of(utterances["label"])
    edge = 0.9 if plan.mark > 0.12 else 0.4
    for name, style in [*look.items(), (None, NO_LABEL)]:
        mine = np.array([label == name for label in labels])
        if mine.any():
            at = (plan.x[mine], plan.lane[mine])
            axes.scatter(
                *at,
                s=(72 * plan.mark * _SCALE.get(style.marker, 1.0)) ** 2,
                c=style.colour,
                marker=style.marker,
                edgecolors=INK,
                linewidths=edge,
                zorder=3,
            )
    if plan.mark >= 0.15:
        for u, label in enumerate(labels):
            style = look[label] if label is not None else NO_LABEL
            size = 72 * plan.mark * (0.48 if len(style.letters) < 2 else 0.38)
            axes.text(
                plan.x[u], plan.lane[u], style.letters, size=size, color=ink_on(style.colour), ha="center", va="center_baseline", zorder=4
            )
    if "predicted" in utterances:
        _rings(axes, labels, labels_of(utterances["predicted"]), plan, look)
    for u, words in enumerate(plan.words):
        axes.annotate(
            words,
            (plan.x[u], plan.lane[u]),
            xytext=(0, -72 * plan.mark * 0.75 - 2),
            textcoords="offset points",
            ha="center",
            va="top",
            fontsize=_LETTER,
            color=INK,
            linespacing=1.05,
            zorder=1,
        ).set_bbox({"facecolor": "white", "edgecolor": "none", "pad": 0.6, "alpha": 0.85})
    axes.set_ylim(bottom, top)
    axes.set_yticks(range(len(plan.speakers)), plan.speakers, fontsize=9)


def _rings(axes: Any, true: list[str | None], predicted: list[str | None], plan: _Plan, look: dict[str, Look]) -> None:
    """A ring in the colour of what was predicted; its letters, and a heavier ring, where that is not the label."""
    for u, (label, said) in enumerate(zip(true, predicted, strict=True)):
        if said is None:
            continue
        wrong = label is not None and said != label
        axes.scatter(
            plan.x[u], plan.lane[u], s=(72 * plan.mark * 1.5) ** 2, facecolors="none", edgecolors=look[said].colour,
            linewidths=(2.6 if wrong else 1.1) * min(1.0, plan.mark / 0.16), zorder=2, gid=f"ring {u}",
        )  # fmt: skip
        if wrong and plan.mark >= 0.15:
            axes.annotate(
                f"→{look[said].letters}", (plan.x[u], plan.lane[u]), xytext=(72 * plan.mark * 0.8, 72 * plan.mark * 0.45),
                textcoords="offset points", fontsize=7, fontweight="bold", color=INK, ha="left", va="bottom",
            )  # fmt: skip


def _presence(axes: Any, utterances: pd.DataFrame, plan: _Plan, modalities: Sequence[str]) -> None:
    """A bar where an utterance has a modality, a cross where it has not."""
    for k, modality in enumerate(modalities):
        there = utterances[has(modality)].to_numpy(dtype=bool)
        axes.vlines(plan.x[there], k - 0.32, k + 0.32, color=GREY, linewidth=np.clip(72 * plan.mark * 0.5, 0.8, 6), gid=f"has {k}")
        size = np.clip(72 * plan.mark * 0.35, 2, 5) ** 2
        axes.scatter(plan.x[~there], np.full((~there).sum(), k), marker="x", s=size, c=ORANGE, linewidths=1.2, gid=f"lacks {k}")
    axes.set_ylim(len(modalities) - 0.4, -0.6)
    axes.set_yticks(range(len(modalities)), [short(m, 14) for m in modalities], fontsize=8)


def _limits(plan: _Plan) -> tuple[float, float]:
    """Of x."""
    apart = np.diff(np.sort(plan.x))
    room = _MARGIN * (float(np.median(apart)) if len(apart) and np.median(apart) > 0 else 1.0)
    return float(plan.x.min() - room), float(plan.x.max() + room)


def _frame(grid: Any, plan: _Plan, times: bool) -> None:
    """Only the lowest axes have numbers, and none a box."""
    for axes in grid:
        axes.spines[:].set_visible(False)
        axes.tick_params(length=0, labelbottom=axes is grid[-1])
        axes.set_xlim(*_limits(plan))
    grid[-1].tick_params(axis="x", labelsize=8, colors=GREY)
    if not times:
        grid[-1].xaxis.get_major_locator().set_params(integer=True, min_n_ticks=1)
    grid[-1].set_xlabel("seconds" if times else "position in the dialogue", fontsize=8, color=GREY)


def _words(axes: Any, title: str, said: str) -> None:
    """Title and subtitle."""
    axes.set_title(short(title, 90), loc="left", fontsize=11, fontweight="bold", pad=17 if said else 6)
    axes.annotate(said, (0, 1), xytext=(0, 4), xycoords="axes fraction", textcoords="offset points", fontsize=8, color=GREY)


def _legend(
    figure: Figure, utterances: pd.DataFrame, arcs: pd.DataFrame, look: dict[str, Look], kinds: dict[str, Any], width: float
) -> None:
    """The classes that occur, and what an arc's colour says."""
    occur = {label for c in ("label", "predicted") if c in utterances for label in labels_of(utterances[c])}
    handles = []
    for name, style in [*look.items(), (None, NO_LABEL)]:
        if name in occur:
            said = "no label" if name is None else f"{in_legend(name, 20)} ({style.letters})"
            dot = {"marker": style.marker, "markerfacecolor": style.colour, "markeredgecolor": INK, "markersize": 7, "linestyle": "none"}
            handles.append(Line2D([], [], label=said, **dot))  # type: ignore[arg-type]
    if "predicted" in utterances:
        ring = {
            "marker": "o",
            "markerfacecolor": "none",
            "markeredgecolor": GREY,
            "markersize": 9,
            "markeredgewidth": 2,
            "linestyle": "none",
        }
        handles.append(Line2D([], [], label="ring: predicted", **ring))  # type: ignore[arg-type]
    handles += [Line2D([], [], color=c, linewidth=2, label=n) for n, (c, rows) in kinds.items() if arcs.index.isin(rows).any()]
    longest = max((len(str(h.get_label())) for h in handles), default=1)
    columns = max(1, min(len(handles), int(width / (0.45 + 0.065 * longest))))
    figure.legend(
        handles=handles, loc="outside lower center", ncols=columns, fontsize=8, frameon=False, handletextpad=0.4, columnspacing=1.2
    )
