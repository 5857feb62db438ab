"""The pictures of a report, as matplotlib figures: colour-blind safe, readable in grey, without a display."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from dgl_merc.graphs.palette import BLUE, GREY, GRID, INK, ORANGE, PALE, bare

__all__ = ["calibration_figure", "confusion_figure", "curves_figure", "per_class_figure", "scores_figure"]


def curves_figure(history: Sequence[Mapping[str, Any]], chosen: float) -> Figure:
    """Training loss and dev weighted F1 per epoch, the chosen epoch marked.

    Args:
        history: entries with ``epoch``, ``loss``, ``dev_weighted_f1``.
        chosen: the epoch that dev chose; part of one where looks are counted in steps.
    """
    epochs = [e["epoch"] for e in history]
    figure = Figure(figsize=(7.2, 3.1), layout="constrained")
    left, right = figure.subplots(1, 2)
    for axes, key, label, colour in ((left, "loss", "training loss", GREY), (right, "dev_weighted_f1", "dev weighted F1 (%)", BLUE)):
        values = [e[key] for e in history]
        axes.plot(epochs, values, color=colour, linewidth=1.8, marker="o" if len(epochs) < 3 else None)
        axes.axvline(chosen, color=ORANGE, linewidth=1.2, linestyle="--")
        axes.set_xlabel("epoch", fontsize=9)
        axes.set_title(label, fontsize=10, loc="left")
        axes.xaxis.get_major_locator().set_params(integer=True)
        axes.grid(axis="y", color=GRID, linewidth=0.8)
        bare(axes)
    best = next(e["dev_weighted_f1"] for e in history if e["epoch"] == chosen)
    right.plot([chosen], [best], "o", color=ORANGE, markersize=6)
    low, high = right.get_ylim()
    right.set_ylim(low, high + 0.12 * (high - low))
    beyond = chosen > (epochs[0] + epochs[-1]) / 2
    right.annotate(
        f"chosen: epoch {chosen:.4g}, {best:.1f}",
        (chosen, best),
        xytext=(-6 if beyond else 6, 6),
        textcoords="offset points",
        ha="right" if beyond else "left",
        fontsize=9,
        color=ORANGE,
    )
    return figure


def confusion_figure(confusion: Sequence[Sequence[int]], names: Sequence[str]) -> Figure:
    """True classes in rows (as scikit-learn), each row in percent of its class, counts below.

    Args:
        confusion: [C][C] counts.
        names: of the classes.
    """
    counts = np.asarray(confusion, dtype=float)
    share = 100 * counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    side = 1.9 + 0.62 * len(names)
    room = max(0.6, 1.5 - 0.15 * len(names))  # few classes: the axis's label would be cut off
    figure = Figure(figsize=(side + room, side), layout="constrained")
    axes = figure.subplots()
    image = axes.imshow(share, cmap="cividis", vmin=0, vmax=100)
    for i, j in np.ndindex(*share.shape):
        text = f"{share[i, j]:.0f}\n({counts[i, j]:.0f})" if counts[i, j] else "·"
        axes.text(j, i, text, ha="center", va="center", fontsize=8, color="white" if share[i, j] < 55 else "black")
    axes.set_xticks(range(len(names)), names, rotation=40, ha="right", rotation_mode="anchor", fontsize=9, parse_math=False)
    axes.set_yticks(range(len(names)), names, fontsize=9, parse_math=False)
    axes.set_xlabel("predicted", fontsize=9)
    axes.set_ylabel("true", fontsize=9)
    bar = figure.colorbar(image, ax=axes, fraction=0.046, pad=0.03)
    bar.set_label("% of the true class (count)", fontsize=9)
    bar.ax.tick_params(labelsize=8)
    bar.outline.set_visible(False)
    axes.spines[:].set_visible(False)
    return figure


def per_class_figure(per_class: Mapping[str, Mapping[str, Any]]) -> Figure:
    """Accuracy (recall) and F1 of each class, with its support.

    Args:
        per_class: name -> ``support``, ``accuracy``, ``f1``.
    """
    names = list(per_class)
    figure = Figure(figsize=(7.2, 0.9 + 0.46 * len(names)), layout="constrained")
    axes = figure.subplots()
    place = np.arange(len(names))
    for offset, key, colour, label in ((-0.19, "f1", BLUE, "F1"), (0.19, "accuracy", ORANGE, "accuracy (recall)")):
        values = [per_class[n][key] or 0.0 for n in names]
        bars = axes.barh(place + offset, values, height=0.36, color=colour, label=label)
        axes.bar_label(bars, fmt="%.1f", fontsize=8, padding=2, color=GREY)
    axes.set_yticks(place, [f"{n}  ({per_class[n]['support']})" for n in names], fontsize=9, parse_math=False)
    axes.invert_yaxis()
    axes.set_xlim(0, 108)
    axes.set_xlabel("% (support in brackets)", fontsize=9)
    axes.legend(fontsize=9, frameon=False, loc="lower center", bbox_to_anchor=(0.5, 1.0), ncols=2)
    bare(axes)
    return figure


def calibration_figure(calibration: Mapping[str, Any]) -> Figure:
    """Reliability diagram: accuracy of the bins of confidence against the diagonal, and below how many utterances each holds.

    Args:
        calibration: ``bins``, each ``low``, ``high``, ``utterances``, ``confidence``, ``accuracy``; percent, but for the counts.
    """
    bins = [b for b in calibration["bins"] if b["utterances"]]
    middle = [(b["low"] + b["high"]) / 2 for b in bins]
    width = [0.92 * (b["high"] - b["low"]) for b in bins]
    figure = Figure(figsize=(6.2, 5.4), layout="constrained")
    above, below = figure.subplots(2, 1, sharex=True, height_ratios=(3, 1))
    sure, right = ([b[key] for b in bins] for key in ("confidence", "accuracy"))
    above.bar(middle, right, width=width, color="#bcd7ea", edgecolor=BLUE, label="accuracy")
    above.plot([0, 100], [0, 100], color=INK, linewidth=1.2, linestyle="--", label="perfect calibration")
    above.vlines(sure, sure, right, color=ORANGE, linewidth=2.2)
    above.plot(sure, right, "D", color=ORANGE, markersize=5, label="distance, at the mean confidence")
    above.set_ylim(0, 105)
    above.set_ylabel("accuracy (%)", fontsize=9)
    above.legend(fontsize=9, frameon=False, loc="lower center", bbox_to_anchor=(0.5, 1.0), ncols=3)
    bars = below.bar(middle, [b["utterances"] for b in bins], width=width, color=GREY)
    below.bar_label(bars, fontsize=8, padding=2, color=GREY)
    below.margins(y=0.25)
    below.set_xlim(0, 100)
    below.set_ylabel("utterances", fontsize=9)
    below.set_xlabel("confidence: the greatest probability (%)", fontsize=9)
    below.yaxis.get_major_locator().set_params(integer=True)
    for axes in (above, below):
        axes.grid(axis="y", color=GRID, linewidth=0.8)
        axes.set_axisbelow(True)
        bare(axes)
    return figure


def scores_figure(true: Any, predicted: Any, bounds: Sequence[float]) -> Figure:
    """Predicted against true scores, a dot an utterance: on the diagonal they are the same, and in the shaded quarters their signs differ.

    Args:
        true: [U].
        predicted: [U]; those beyond the bounds widen the picture.
        bounds: of the true scores.
    """
    figure = Figure(figsize=(5.2, 5.0), layout="constrained")
    axes = figure.subplots()
    low, high = (pick([bounds[k], *predicted]) for k, pick in ((0, min), (1, max)))
    room = 0.04 * (high - low)
    ends = (low - room, high + room)
    for x, y in (((ends[0], 0), (0, ends[1])), ((0, ends[1]), (ends[0], 0))):
        axes.fill_between(x, *y, color=PALE, linewidth=0)
    axes.plot(bounds, bounds, color=INK, linewidth=1.2, linestyle="--", label="predicted as it is")
    axes.plot(true, predicted, "o", color=BLUE, alpha=min(0.7, max(0.12, 120 / len(true))), markersize=4.5, markeredgewidth=0)
    axes.axhline(0, color=GREY, linewidth=0.8)
    axes.axvline(0, color=GREY, linewidth=0.8)
    axes.set_xlim(*ends)
    axes.set_ylim(*ends)
    axes.set_aspect("equal")
    axes.set_xlabel("true score", fontsize=9)
    axes.set_ylabel("predicted score", fontsize=9)
    axes.legend(fontsize=9, frameon=False, loc="lower center", bbox_to_anchor=(0.5, 1.0))
    bare(axes)
    return figure
