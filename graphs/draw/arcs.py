"""The arcs of a timeline: which edges get one, what its colour says, and how it is drawn."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
from matplotlib.collections import LineCollection

from dgl_merc.graphs.draw.columns import in_legend, name_of, types_of
from dgl_merc.graphs.palette import BLUE, INK, ORANGE
from dgl_merc.graphs.pictures import short

__all__ = ["arc_kinds", "arcs_in_words", "arcs_to_draw", "draw_arcs"]

_KINDS = (BLUE, "#E69F00", "#009E73", "#CC79A7", "#56B4E9", "#8b5e3c", INK, ORANGE)  # dark, light, dark, ...: also told apart in grey


def arcs_to_draw(edges: pd.DataFrame, threshold: float | None = None, strongest: int | None = None) -> pd.DataFrame:
    """The edges that get an arc: those between different utterances, of these the heavy ones.

    Args:
        edges: ``src, dst, weight``; weights may be negative, what counts is how far they are from 0.
        threshold: only weights of at least this size; edges without a weight are left out.
        strongest: only so many, the heaviest; of edges without weights those between the nearest utterances.

    Returns:
        Rows of ``edges``, the lightest first, so that the heaviest are drawn last. Edges without a weight only where none has one.

    >>> edges = pd.DataFrame({"src": [0, 1, 1], "dst": [1, 1, 0], "weight": [0.2, 0.9, -0.5]})
    >>> arcs_to_draw(edges)["weight"].tolist(), arcs_to_draw(edges, threshold=0.3)["weight"].tolist()
    ([0.2, -0.5], [-0.5])
    """
    between = edges[edges["src"] != edges["dst"]]
    size = between["weight"].astype(float).abs()
    if threshold is not None or size.notna().any():
        between = between[size >= (0.0 if threshold is None else threshold)]
        rank = between["weight"].astype(float).abs()
    else:
        rank = -(between["src"] - between["dst"]).abs().astype(float)
    order = np.argsort(-rank.to_numpy(), kind="stable")[:strongest]
    return between.iloc[order[::-1]]


def arc_kinds(edges: pd.DataFrame, utterances: pd.DataFrame, by: str) -> dict[str, Any]:
    """What an arc's colour says -> (colour, which rows of the edges)."""
    if by == "speaker":
        who = np.array([str(s) for s in utterances["speaker"]], dtype=object)
        own = who[edges["src"].to_numpy(dtype=int)] == who[edges["dst"].to_numpy(dtype=int)]
        return {"same speaker": (_KINDS[0], edges.index[own]), "other speaker": (_KINDS[1], edges.index[~own])}
    kinds = {}
    for k, (source, relation, target) in enumerate(types_of(edges)):
        rows = (edges["source"] == source) & (edges["relation"] == relation) & (edges["target"] == target)
        kinds[in_legend(name_of((source, relation, target)), 24)] = (_KINDS[k % len(_KINDS)], edges.index[rows])
    return kinds


def _strength(part: pd.DataFrame, drawn: pd.DataFrame) -> npt.NDArray[np.float64]:
    """[E] from 0, the lightest that is drawn, to 1; in between where all are alike."""
    size, every = (frame["weight"].to_numpy(dtype=float) for frame in (part, drawn))
    size, every = np.abs(size), np.abs(every)
    spread = np.ptp(every) if len(every) and np.isfinite(every).all() else 0.0
    return (size - every.min()) / spread if spread > 0 else np.full(len(part), 0.3)


def draw_arcs(
    axes: Any,
    part: pd.DataFrame,
    x: npt.NDArray[np.float64],
    slot: float,
    kinds: dict[str, Any],
    drawn: pd.DataFrame,
    types: list[tuple[str, str, str]],
    *,
    upwards: bool,
) -> None:
    """Half ellipses over (or under) the line of utterances, higher the farther they reach; parallel ones a little apart."""
    turn, thick = np.linspace(0, np.pi, 25), np.clip(8 * slot, 0.7, 2.3)
    src, dst = x[part["src"].to_numpy(dtype=int)], x[part["dst"].to_numpy(dtype=int)]
    every = np.abs(x[drawn["src"].to_numpy(dtype=int)] - x[drawn["dst"].to_numpy(dtype=int)])
    which = [types.index(t) for t in part[["source", "relation", "target"]].astype(str).itertuples(index=False, name=None)]
    height = np.sqrt(np.abs(src - dst) / max(every.max(), 1e-9)) * (1 - 0.3 * np.array(which) / len(types))
    across = (src + dst)[:, None] / 2 - np.cos(turn) * np.abs(src - dst)[:, None] / 2
    lines = np.stack([across, np.sin(turn) * height[:, None]], axis=2)
    strong = _strength(part, drawn)
    negative = part["weight"].to_numpy(dtype=float) < 0
    for name, (colour, rows) in kinds.items():
        for sign in (False, True):
            mine = part.index.isin(rows) & (negative == sign)
            if mine.any():
                axes.add_collection(
                    LineCollection(
                        lines[mine],
                        colors=colour,
                        linewidths=0.5 + thick * strong[mine],
                        alpha=0.45 + 0.5 * strong[mine],
                        linestyles=(0, (3, 1.2)) if sign else "solid",
                        capstyle="butt" if sign else "round",
                        gid=f"arcs {'above' if upwards else 'below'} {name}",
                    )
                )
    axes.set_ylim(0, 1.06)
    if not upwards:
        axes.invert_yaxis()
    axes.set_yticks([0.5], ["from earlier\nto later" if upwards else "from later\nto earlier"], fontsize=8)


def arcs_in_words(edges: pd.DataFrame, arcs: pd.DataFrame, weight: str, threshold: float | None) -> str:
    """Which edges have an arc, in words."""
    if not len(edges):
        return ""
    size = arcs["weight"].astype(float)
    within = int((edges["src"] == edges["dst"]).sum())
    chosen = f"{len(arcs)} of {len(edges)} edges"
    if len(arcs) and size.notna().all():
        chosen += f", {short(weight, 40)} from {size.min():.3g} to {size.max():.3g}"
    elif len(arcs) and len(arcs) < len(edges) - within:
        chosen += ", between the nearest"
    elif threshold is not None:
        chosen += f", {short(weight, 40)} of at least {threshold:g}"
    return chosen + (f"; {within} within an utterance have no arc" if within else "")
