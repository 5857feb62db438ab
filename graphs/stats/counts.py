"""What is counted along edges: sums that chunks of dialogues add to, from which every table of edges is made; no edge is kept.

S splits, K classes, B dialogues of a piece, E edges of a type. Weights are counted by level, rounded to 1 / 4096; what is needed dialogue
by dialogue, to 1 / 128.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from dgl_merc.graphs.schema import UTTERANCE, EdgeType
from dgl_merc.graphs.stats.pieces import Edges, Piece

__all__ = ["COARSE", "LEVELS", "EdgeCounts", "Joined", "Shape", "Weights", "coarse", "count_edges"]

Array = npt.NDArray[Any]

LEVELS = 4096
"""A weight from 0 to 1 is counted at its nearest multiple of 1 / LEVELS."""
COARSE = 128
"""The same, for what is counted per dialogue."""


@dataclass
class Shape:
    """How a graph of some edge types looks; [S] each, summed over dialogues."""

    dialogues: Array
    """That have a node of the types."""
    sources: Array
    targets: Array
    possible: Array
    """Pairs of a source and a target of the same dialogue, other than itself."""
    edges: Array
    isolated: Array
    """Targets without an incoming edge."""
    most: Array
    """The greatest in-degree; not a sum."""
    components: Array
    largest: Array
    """Nodes of each dialogue's largest component."""

    @classmethod
    def of(cls, piece: Piece, types: Sequence[EdgeType], sources: set[str], targets: set[str], splits: int) -> Shape:
        """Of the edges of some types together, between the nodes of these types."""
        size, names = len(piece.dialogue), list(piece.presence)
        ends = [(piece.edges[t].src + names.index(t[0]) * size, piece.edges[t].dst + names.index(t[2]) * size) for t in types]
        src, dst = (np.concatenate(part) for part in zip(*ends, strict=True))
        there = {n: piece.presence[n] for n in names if n in sources | targets}
        n_src, n_dst = (np.sum([piece.per_dialogue(np.flatnonzero(there[n])) for n in part], axis=0) for part in (sources, targets))
        degree = np.bincount(dst, minlength=size * len(names))
        at = np.concatenate([names.index(n) * size + np.flatnonzero(there[n]) for n in sorted(targets)])
        most = np.zeros(splits, dtype=np.int64)
        np.maximum.at(most, piece.split[piece.dialogue[at % size]], degree[at])
        nodes = np.concatenate([names.index(n) * size + np.flatnonzero(there[n]) for n in there])
        number, largest = _components(src, dst, size * len(names), nodes, piece.dialogue[nodes % size], len(piece.split))
        per_dialogue: dict[str, Array] = {
            "dialogues": number > 0,
            "sources": n_src,
            "targets": n_dst,
            "possible": n_src * (n_dst - 1) if sources == targets else n_src * n_dst,
            "edges": piece.per_dialogue(src % size),
            "isolated": piece.per_dialogue(at[degree[at] == 0] % size),
            "components": number,
            "largest": largest,
        }
        return cls(most=most, **{name: piece.by_split(values, splits) for name, values in per_dialogue.items()})


def _components(src: Array, dst: Array, size: int, nodes: Array, dialogue: Array, dialogues: int) -> tuple[Array, Array]:
    """How many (weakly) connected components each dialogue has, and the nodes of its largest: [B] and [B]."""
    graph = coo_array((np.ones(len(src), dtype=np.int8), (src, dst)), shape=(size, size))
    label = connected_components(graph, directed=False)[1][nodes]
    sizes = np.bincount(label, minlength=size)
    owner = np.zeros(size, dtype=np.int64)
    owner[label] = dialogue
    number, largest = np.bincount(owner[sizes > 0], minlength=dialogues), np.zeros(dialogues, dtype=np.int64)
    np.maximum.at(largest, owner, sizes)
    return number, largest


@dataclass
class Weights:
    """How the weights of a type are spread; [S, ...] each."""

    total: Array
    """[S] edges that have one."""
    moments: Array
    """[S, 2] sums of w - 1/2 and of its square."""
    low: Array
    """[S] least; inf where there is none. Not a sum."""
    high: Array
    """[S] greatest; -inf where there is none. Not a sum."""
    levels: Array
    """[S, LEVELS + 1] edges at each level."""

    @classmethod
    def of(cls, piece: Piece, edges: Edges, splits: int) -> Weights:
        """Of the edges of a type.

        Raises:
            ValueError: a weight is not from 0 to 1.
        """
        has = ~np.isnan(edges.weight)
        w, split = edges.weight[has], piece.split[piece.dialogue[edges.dst[has]]]
        if len(w) and not (w.min() >= -1e-6 and w.max() <= 1 + 1e-6):
            raise ValueError(f"weights must be from 0 to 1, got {w.min():g} to {w.max():g}")
        low, high = np.full(splits, np.inf), np.full(splits, -np.inf)
        np.minimum.at(low, split, w)
        np.maximum.at(high, split, w)
        moments = np.stack([np.bincount(split, (w - 0.5) ** k, minlength=splits) for k in (1, 2)], axis=1)
        levels = _histogram(split, _level(w), (splits, LEVELS + 1))
        return cls(levels.sum(axis=1), moments, low, high, levels)


@dataclass
class Joined:
    """Labels at the ends of the edges of a type that join two different, labelled utterances; [S, ...] each."""

    labels: Array
    """[S, 2, K, K] edges: of other speakers, of the same one; label of the source; of the target."""
    within: Array
    """[S, 2] how many would join equal labels if the labels of each dialogue were dealt out anew."""
    levels: Array
    """[S, 2, LEVELS + 1] edges with a weight: of different, of equal labels; at each level."""
    dialogues: Array
    """[S] that have such edges."""
    squares: Array
    """[S, 2 (COARSE + 1), 2 (COARSE + 1)] h' h, summed over dialogues, of their histograms h as in ``levels``, but coarse."""
    ranks: Array
    """[S, 2] pairs of an equal and a different edge of one dialogue in which the first weighs more; all such pairs."""

    @classmethod
    def of(cls, piece: Piece, edge_type: EdgeType, splits: int, classes: int) -> Joined:
        """Of the edges of a type."""
        src, dst, weight = piece.edges[edge_type]
        a, b = piece.labels[src], piece.labels[dst]
        kept = (src != dst) & (a >= 0) & (b >= 0)
        src, dst, weight, a, b = src[kept], dst[kept], weight[kept], a[kept], b[kept]
        owner, own = piece.dialogue[dst], (piece.speakers[src] == piece.speakers[dst]).astype(np.int64)
        split = piece.split[owner]
        chance = _dealt_anew(piece, piece.presence[edge_type[0]] | piece.presence[edge_type[2]], classes)
        within = np.bincount(split * 2 + own, chance[owner], minlength=splits * 2).reshape(splits, 2)
        labels = _histogram(split * 2 + own, a * classes + b, (splits * 2, classes * classes)).reshape(splits, 2, classes, classes)
        has = ~np.isnan(weight)
        equal, level, owner, split = (a == b)[has].astype(np.int64), _level(weight[has]), owner[has], split[has]
        levels = _histogram(split * 2 + equal, level, (splits * 2, LEVELS + 1)).reshape(splits, 2, LEVELS + 1)
        return cls(labels, within, levels, *_per_dialogue(piece.split, owner, equal, level, splits))


def _dealt_anew(piece: Piece, there: Array, classes: int) -> Array:
    """[B] the chance that two of a dialogue's labelled utterances that are there are alike: sum_c n_c (n_c - 1) / (n (n - 1))."""
    rows = np.flatnonzero(there & (piece.labels >= 0))
    count = _histogram(piece.dialogue[rows], piece.labels[rows], (len(piece.split), classes)).astype(np.float64)
    n = count.sum(axis=1)
    return np.asarray(np.divide((count * (count - 1)).sum(axis=1), n * (n - 1), out=np.zeros_like(n), where=n > 1))


def _per_dialogue(split: Array, owner: Array, equal: Array, level: Array, splits: int) -> tuple[Array, Array, Array]:
    """``dialogues, squares, ranks`` of :class:`Joined`."""
    wide = COARSE + 1
    known, row = np.unique(owner, return_inverse=True)
    h = _histogram(row, equal * wide + coarse(level), (len(known), 2 * wide)).astype(np.float64)
    different, same = h[:, :wide], h[:, wide:]
    below = np.cumsum(different, axis=1) - different / 2
    pairs = np.stack([(same * below).sum(axis=1), same.sum(axis=1) * different.sum(axis=1)], axis=1)
    mine = split[known]
    squares = np.stack([h[mine == s].T @ h[mine == s] for s in range(splits)])
    ranks = np.stack([pairs[mine == s].sum(axis=0) for s in range(splits)])
    return np.bincount(mine, minlength=splits), squares, ranks


def _level(w: Array) -> Array:
    return np.asarray(np.rint(np.clip(w, 0, 1) * LEVELS), dtype=np.int64)


def coarse(level: Array) -> Array:
    """The coarse level of a level: 0 to COARSE."""
    return np.asarray((level * COARSE + LEVELS // 2) // LEVELS)


def _histogram(row: Array, column: Array, shape: tuple[int, int]) -> Array:
    """How often each pair (row, column) occurs: [shape] int64."""
    return np.bincount(row * shape[1] + column, minlength=shape[0] * shape[1]).reshape(shape)


@dataclass
class EdgeCounts:
    """Everything that was counted along the edges of one type, or (``joined`` None) of a whole graph."""

    shape: Shape
    weights: Weights
    joined: Joined | None

    def add(self, other: EdgeCounts) -> None:
        """Take what was counted in other dialogues into this."""
        _add(self.shape, other.shape)
        _add(self.weights, other.weights)
        if self.joined is not None and other.joined is not None:
            _add(self.joined, other.joined)


def _add(into: Shape | Weights | Joined, more: Shape | Weights | Joined) -> None:
    merge = {"most": np.maximum, "high": np.maximum, "low": np.minimum}
    for field in fields(into):
        setattr(into, field.name, merge.get(field.name, np.add)(getattr(into, field.name), getattr(more, field.name)))


def count_edges(piece: Piece, splits: int, classes: int) -> dict[EdgeType | None, EdgeCounts]:
    """All counts of some dialogues: edge type -> its own; None -> of the graph of all modality nodes together."""
    found: dict[EdgeType | None, EdgeCounts] = {}
    for t in piece.edges:
        weights = Weights.of(piece, piece.edges[t], splits)
        found[t] = EdgeCounts(Shape.of(piece, [t], {t[0]}, {t[2]}, splits), weights, Joined.of(piece, t, splits, classes))
    among = [t for t in piece.edges if UTTERANCE not in t]
    if among:
        together = Weights(**{f.name: getattr(found[among[0]].weights, f.name).copy() for f in fields(Weights)})
        for t in among[1:]:
            _add(together, found[t].weights)
        nodes = {n for t in among for n in (t[0], t[2])}
        found[None] = EdgeCounts(Shape.of(piece, among, nodes, nodes, splits), together, None)
    return found
