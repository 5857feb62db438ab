"""The utterances before and after a model, for the report of a run: what to say of them, and two t-SNE planes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from dgl_merc.graphs.palette import GRID, looks
from dgl_merc.reports.page import number

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure

__all__ = ["space_figure", "space_page"]

_TITLES = {"before": "before: scaled features, side by side", "after": "after: what enters the emotion head"}
_LONGEST = 24  # characters of a class's name in the legend


def space_page(about: Mapping[str, Any] | None) -> dict[str, Any]:
    """What the page says.

    Args:
        about: what ``space.json`` holds; None: nothing.

    Returns:
        ``split``; ``reason``, why there is no picture; ``drawn``, of how many utterances it is; ``rows`` of cells; empty where there is
        nothing.
    """
    if not about:
        return {"split": "", "reason": "", "drawn": "", "rows": []}
    if "reason" in about:
        return {"split": about["split"], "reason": about["reason"], "drawn": "", "rows": []}
    every = about["utterances"] == about["labelled"]
    drawn = f"the {about['labelled']} labelled utterances" if every else f"{about['utterances']} of {about['labelled']} labelled utterances"
    rows = [[name, str(about["widths"][name]), number(about["accuracy"][name])] for name in _TITLES]
    return {
        "split": about["split"],
        "reason": "",
        "drawn": drawn,
        "rows": [*rows, ["always the most frequent label", "", number(about["most_frequent"])]],
        "neighbours": about["neighbours"],
    }


def space_figure(points: pd.DataFrame, names: Sequence[str]) -> Figure:
    """Two planes side by side, a dot an utterance, coloured (and shaped) by its label.

    Args:
        points: ``label``, ``before_1``, ``before_2``, ``after_1``, ``after_2``.
        names: of the classes, in their order; those that do not occur are left out.
    """
    from matplotlib.figure import Figure

    look = looks(names)
    there = [name for name in names if (points["label"] == name).any()]
    columns = max(1, min(len(there), 8, int(110 / (6 + max(min(len(n), _LONGEST) for n in there)))))
    lines = -(-len(there) // columns)
    figure = Figure(figsize=(9.2, 4.5 + 0.24 * lines), layout="constrained")
    for axes, (space, title) in zip(figure.subplots(1, 2), _TITLES.items(), strict=True):
        for name in there:
            part = points[points["label"] == name]
            style = {"color": look[name].colour, "marker": look[name].marker, "s": 22, "alpha": 0.75, "linewidths": 0}
            axes.scatter(part[f"{space}_1"], part[f"{space}_2"], **style)
        axes.set_title(title, fontsize=10, loc="left")
        axes.set_xticks([])
        axes.set_yticks([])
        axes.spines[:].set_color(GRID)
        axes.margins(0.06)
    titles = [" " + (n if len(n) <= _LONGEST else n[: _LONGEST - 1] + "…") for n in there]  # matplotlib hides names that begin with _
    legend = figure.legend(
        figure.axes[0].collections, titles, loc="outside lower center", ncols=columns, fontsize=9, frameon=False, handletextpad=0.1
    )
    for text in legend.get_texts():
        text.set_parse_math(False)
    return figure
