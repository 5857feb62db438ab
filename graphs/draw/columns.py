"""What the pictures ask of tables."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import pandas as pd

from dgl_merc.graphs.palette import GRID, bare
from dgl_merc.graphs.pictures import short

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = [
    "class_names",
    "has",
    "labels_of",
    "name_axes",
    "name_of",
    "nothing_drawn",
    "of_one_dialogue",
    "of_type",
    "panels",
    "require",
    "types_of",
]

_TYPE = ["source", "relation", "target"]


def require(table: pd.DataFrame, columns: Sequence[str], what: str) -> None:
    """Hold a table to its columns.

    Raises:
        ValueError: some are missing; names them.
    """
    if missing := [c for c in columns if c not in table.columns]:
        raise ValueError(f"{what} must have the columns {list(columns)}, found {list(table.columns)}; missing: {missing}")


def has(modality: str) -> str:
    """The column of an utterance table that says who has a modality."""
    return f"has_{modality}"


def of_one_dialogue(utterances: pd.DataFrame, edges: pd.DataFrame) -> None:
    """Hold utterances to positions 0, 1, ..., and edges to ends among them.

    Raises:
        ValueError: no utterances, other positions, or an edge that leads elsewhere.
    """
    count = len(utterances)
    if not count or utterances["position"].tolist() != list(range(count)):
        raise ValueError(f"utterances must be of one dialogue, with positions 0, 1, 2, ..., found {count} of them")
    ends = edges[["src", "dst"]].to_numpy()
    if len(ends) and (ends.min() < 0 or ends.max() >= count):
        raise ValueError(f"edges must lie among {count} utterances, found positions from {ends.min()} to {ends.max()}")
    if "dialogue" in edges and len(dialogues := edges["dialogue"].unique()) > 1:
        raise ValueError(f"edges must be of one dialogue, found {len(dialogues)}")


def types_of(edges: pd.DataFrame) -> list[tuple[str, str, str]]:
    """The edge types that occur, in the order in which they do."""
    return [(str(s), str(r), str(t)) for s, r, t in edges[_TYPE].drop_duplicates().itertuples(index=False)]


def name_of(edge_type: tuple[str, str, str], longest: int = 40) -> str:
    """An edge type in words.

    >>> name_of(("text", "cross", "audio")), name_of(("text", "same", "text")), name_of(("utterance", "intra_past", "utterance"))
    ('text to audio', 'within text', 'intra past')
    """
    source, relation, target = edge_type
    if relation == "same":
        return short(f"within {source}", longest)
    if relation in ("cross", "part_of"):
        return short(f"{source} to {target}", longest)
    return short(relation.replace("_", " "), longest)


def in_legend(text: object, longest: int) -> str:
    """A name as it may stand in a legend, where matplotlib hides what begins with an underscore."""
    said = short(text, longest) or "·"
    return f" {said}" if said.startswith("_") else said


def labels_of(column: pd.Series) -> list[str | None]:
    """Labels; None where there is none."""
    return [None if pd.isna(label) else str(label) for label in column]


def class_names(names: Sequence[str] | None, *columns: pd.Series) -> list[str]:
    """The classes that are given, and after them those that occur besides."""
    found = {label for column in columns for label in labels_of(column) if label is not None}
    given = list(names or ())
    return [*given, *sorted(found - set(given))]


def of_type(table: pd.DataFrame, edge_type: tuple[str, str, str]) -> pd.DataFrame:
    """The rows of an edge type."""
    source, relation, target = edge_type
    return table[(table["source"] == source) & (table["relation"] == relation) & (table["target"] == target)]


def panels(count: int, title: str, height: float = 1.9) -> tuple[Figure, list[Any]]:
    """A figure with so many panels, up to three beside each other, which share their axes."""
    from matplotlib.figure import Figure

    columns = min(count, 2 if count in (2, 4) else 3)
    rows = -(-count // columns)
    figure = Figure(figsize=(max(4.6, 3.3 * columns), 0.9 + height * rows), layout="constrained")
    grid = list(figure.subplots(rows, columns, squeeze=False, sharex=True, sharey=True).flat)
    for k, axes in enumerate(grid):
        axes.tick_params(labelbottom=k + columns >= count)
        if k >= count:
            axes.remove()
    if title:
        figure.suptitle(short(title, 90), x=0.01, ha="left", fontsize=11, fontweight="bold")
    return figure, grid[:count]


def name_axes(figure: Figure, grid: Sequence[Any], x: str, y: str) -> None:
    """Say what panels with the same axes share, below the lowest of each column and beside all."""
    for axes in grid:
        axes.grid(axis="y", color=GRID, linewidth=0.8)
        axes.set_axisbelow(True)
        bare(axes)
        if axes.xaxis.get_tick_params()["labelbottom"]:
            axes.set_xlabel(x, fontsize=9)
    figure.supylabel(y, fontsize=9)


def nothing_drawn(figure: Figure, said: str) -> Figure:
    """A figure that says why it is empty."""
    axes = figure.subplots()
    axes.set_axis_off()
    axes.text(0.5, 0.5, said, ha="center", va="center", fontsize=10)
    return figure
