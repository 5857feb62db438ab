"""The pictures of the book, one function each, of a conversation made up by hand. ``pictures.py OUT`` writes them into a folder."""

from __future__ import annotations

import io
import math
import random
import sys
from collections.abc import Callable
from pathlib import Path

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import FancyArrowPatch, FancyBboxPatch

__all__ = ["PICTURES", "as_svg"]

SPEAKERS = ["Ana", "Ben", "Ana", "Eva", "Ben"]
MODALITIES = ("text", "audio", "visual")
ABSENT = {(1, "audio"), (3, "visual"), (3, "audio")}
COLOURS = {"text": "#0072B2", "audio": "#E69F00", "visual": "#009E73", "utterance": "#666666"}  # Okabe and Ito: told apart by everyone
DARK = "#333333"


def as_svg(figure: Figure) -> str:
    """The same bytes for the same figure."""
    out = io.StringIO()
    with mpl.rc_context({"svg.hashsalt": "dglmerc", "font.size": 9}):
        figure.savefig(out, format="svg", metadata={"Date": None}, bbox_inches="tight", facecolor="white")
    return out.getvalue()


def _bare(width: float, height: float) -> tuple[Figure, Axes]:
    figure = Figure(figsize=(width, height))
    axes = figure.add_axes((0.0, 0.0, 1.0, 1.0))
    axes.set_axis_off()
    return figure, axes


def _arrow(axes: Axes, start: tuple[float, float], end: tuple[float, float], colour: str, bend: float = 0.0, both: bool = False) -> None:
    axes.add_patch(
        FancyArrowPatch(
            start,
            end,
            arrowstyle="<|-|>" if both else "-|>",
            connectionstyle=f"arc3,rad={bend}",
            mutation_scale=8,
            shrinkA=9,
            shrinkB=9,
            color=colour,
            linewidth=1.1,
        )
    )


def heterograph() -> Figure:
    """Five utterances: a node for each and for each of their modalities, and one of each kind of edge."""
    figure, axes = _bare(7.2, 3.7)
    rows = {"utterance": 3.0, "text": 2.0, "audio": 1.0, "visual": 0.0}
    for u, speaker in enumerate(SPEAKERS):
        axes.text(u, 3.75, f"{u}  {speaker}", ha="center", color=DARK)
        for kind, y in rows.items():
            there = (u, kind) not in ABSENT
            style = {"facecolor": COLOURS[kind], "edgecolor": COLOURS[kind]} if there else {"facecolor": "none", "edgecolor": "#bbbbbb"}
            axes.scatter(u, y, s=170, zorder=3, linestyle="-" if there else ":", **style)
    for kind, y in rows.items():
        axes.text(-0.45, y, kind, ha="right", va="center", color=COLOURS[kind])
    _arrow(axes, (0, 2.0), (1, 2.0), COLOURS["text"], both=True)
    _arrow(axes, (0, 2.0), (2, 2.0), COLOURS["text"], bend=0.25, both=True)
    _arrow(axes, (0, 1.0), (2, 1.0), COLOURS["audio"], bend=0.2, both=True)
    _arrow(axes, (2, 2.0), (2, 1.0), DARK, both=True)
    _arrow(axes, (2, 2.0), (2, 0.0), DARK, bend=0.35, both=True)
    for y in (2.0, 0.0):
        _arrow(axes, (4, y), (4, 3.0), COLOURS["utterance"], bend=0.0 if y == 2.0 else 0.3)
    _arrow(axes, (2, 3.0), (4, 3.0), "#CC79A7", bend=-0.22)
    _arrow(axes, (3, 3.0), (2, 3.0), "#CC79A7")
    for x, y, said in [
        (0.5, 2.12, "same"),
        (2.08, 1.5, "cross"),
        (4.38, 1.4, "part_of"),
        (3.2, 3.36, "inter_past"),
        (2.5, 2.82, "inter_future"),
        (3.0, 0.28, "absent: no node"),
    ]:
        axes.text(x, y, said, fontsize=8, ha="left" if said == "cross" else "center", va="center", color=DARK)
    axes.set(xlim=(-1.2, 4.8), ylim=(-0.4, 4.0))
    return figure


def reach() -> Figure:
    """Who hears whom, utterance by utterance: the whole dialogue, a window, a causal graph."""
    figure = Figure(figsize=(7.2, 2.5))
    n = 8
    shown: list[tuple[str, Callable[[int], bool]]] = [
        ("same, whole dialogue", lambda d: d != 0),
        ("same, --window 2", lambda d: 0 < abs(d) <= 2),
        ("same, --causal", lambda d: d < 0),
        ("relations, past 3, future 1", lambda d: -3 <= d <= 1 and d != 0),
    ]
    for k, (title, heard) in enumerate(shown):
        axes = figure.add_subplot(1, 4, k + 1)
        cells = [[heard(j - i) * (1 if j < i else 2) for j in range(n)] for i in range(n)]
        axes.imshow(cells, cmap=mpl.colors.ListedColormap(["#f2f2f2", COLOURS["text"], COLOURS["audio"]]), vmin=0, vmax=2)
        axes.set_title(title, fontsize=8.5)
        axes.set_xticks(range(n), labels=[])
        axes.set_yticks(range(n), labels=[])
        axes.tick_params(length=2)
        axes.set_xlabel("hears this one", fontsize=8)
        if k == 0:
            axes.set_ylabel("an utterance", fontsize=8)
    figure.tight_layout()
    return figure


def weights() -> Figure:
    """The weight of an edge as its angle grows, beside the cosine."""
    figure = Figure(figsize=(4.6, 2.7))
    axes = figure.add_subplot()
    angles = list(range(181))
    axes.plot(angles, [1 - a / 180 for a in angles], color=COLOURS["text"], label="weight: 1 - arccos(cos) / π")
    axes.plot(angles, [math.cos(math.radians(a)) for a in angles], color="#999999", linestyle="--", label="cosine")
    axes.axhline(0, color=DARK, linewidth=0.6)
    axes.set(xlabel="angle between two nodes, degrees", xticks=[0, 45, 90, 135, 180], yticks=[-1, -0.5, 0, 0.5, 1], xlim=(0, 180))
    axes.legend(frameon=False, fontsize=8)
    axes.spines[["top", "right"]].set_visible(False)
    return figure


def mask() -> Figure:
    """The edges of a dialogue by modality, and what a mask of rate .7 leaves of them in one step."""
    draw, n = random.Random(0), 8  # noqa: S311  (a picture)
    nodes = [(m, u) for m in MODALITIES for u in range(n) if (u, m) not in ABSENT]
    joined = {(a, b): (a[0] == b[0]) != (a[1] == b[1]) for a in nodes for b in nodes}
    kept = {(a, b): draw.random() >= 0.7 for a in nodes for b in nodes if a < b}
    left = {(a, b): joined[a, b] and kept.get((a, b), kept.get((b, a), False)) for a in nodes for b in nodes}
    figure = Figure(figsize=(6.4, 3.2))
    for k, (title, edges) in enumerate((("edges same and cross", joined), ("what a mask of rate .7 leaves", left))):
        axes = figure.add_subplot(1, 2, k + 1)
        cells = [[edges[a, b] * (1 if a[0] == b[0] else 2) for b in nodes] for a in nodes]
        axes.imshow(cells, cmap=mpl.colors.ListedColormap(["#f2f2f2", COLOURS["text"], COLOURS["audio"]]), vmin=0, vmax=2)
        middles = [sum(i for i, node in enumerate(nodes) if node[0] == m) / sum(node[0] == m for node in nodes) for m in MODALITIES]
        axes.set_xticks(middles, labels=MODALITIES)
        axes.set_yticks(middles, labels=MODALITIES, rotation=90, va="center")
        axes.tick_params(length=0)
        for i in range(1, len(nodes)):
            if nodes[i][0] != nodes[i - 1][0]:
                axes.axhline(i - 0.5, color="white", linewidth=2)
                axes.axvline(i - 0.5, color="white", linewidth=2)
        axes.set_title(title, fontsize=9)
    figure.tight_layout()
    return figure


def protocol() -> Figure:
    """Which split is seen by what, and when."""
    figure, axes = _bare(7.2, 2.6)
    boxes = {
        "train": (0.0, 1.5, "train\nweights, scaling"),
        "dev": (0.0, 0.4, "dev\nchooses the epoch"),
        "loop": (2.4, 0.95, "training loop\nnever given test"),
        "model": (4.7, 0.95, "the chosen epoch"),
        "test": (4.7, 0.05, "test"),
        "report": (6.9, 0.5, "evaluated once:\nscores, report"),
    }
    for key, (x, y, said) in boxes.items():
        colour = {"train": COLOURS["text"], "dev": COLOURS["visual"], "test": COLOURS["audio"]}.get(key, "#888888")
        box = FancyBboxPatch((x - 0.75, y - 0.26), 1.5, 0.52, boxstyle="round,pad=0.05", facecolor="white", edgecolor=colour, linewidth=1.8)
        axes.add_patch(box)
        axes.text(x, y, said, ha="center", va="center", fontsize=9, color=DARK)
    for start, end in [
        ((0.6, 1.5), (1.8, 1.1)),
        ((0.6, 0.4), (1.8, 0.8)),
        ((3.0, 0.95), (4.1, 0.95)),
        ((5.3, 0.95), (6.3, 0.6)),
        ((5.3, 0.05), (6.3, 0.4)),
    ]:
        _arrow(axes, start, end, DARK)
    axes.set(xlim=(-0.95, 7.85), ylim=(-0.4, 1.95))
    return figure


PICTURES = {draw.__name__: draw for draw in (heterograph, reach, weights, mask, protocol)}
"""Name -> what draws it."""


if __name__ == "__main__":
    out = Path(sys.argv[1])
    out.mkdir(parents=True, exist_ok=True)
    for name, draw in PICTURES.items():
        (out / f"{name}.svg").write_text(as_svg(draw()), encoding="utf-8")
        draw().savefig(out / f"{name}.png", dpi=110, bbox_inches="tight", facecolor="white")
