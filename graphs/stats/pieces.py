"""Some whole dialogues of a store or of tables, as arrays: what is counted at a time."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import pandas as pd

from dgl_merc.graphs.schema import UTTERANCE, EdgeType
from dgl_merc.graphs.store import Store

__all__ = ["Edges", "Piece", "cuts_of", "piece_of_store", "table_edges"]

Array = npt.NDArray[Any]

_COST = 2**23  # numbers in memory: of features, and some eight an edge
_PER_EDGE, _PER_UTTERANCE = 8, 256  # the second is the size of a dialogue's histograms


class Edges(NamedTuple):
    """The edges of a type."""

    src: Array
    """[E] int64, utterances of the piece."""
    dst: Array
    """[E]"""
    weight: Array
    """[E] float64, NaN where there is none."""


class Piece(NamedTuple):
    """B dialogues with U utterances."""

    split: Array
    """[B] int64, which of the survey's splits."""
    dialogue: Array
    """[U] int64, 0 to B - 1."""
    labels: Array
    """[U] int64, -1 = unlabelled."""
    speakers: Array
    """[U] int64, dialogue-local."""
    presence: Mapping[str, Array]
    """Node type -> [U] bool."""
    edges: Mapping[EdgeType, Edges]

    def per_dialogue(self, utterances: Array, weights: Array | None = None) -> Array:
        """How many of these utterances (repeats count) each dialogue has: [B], or the sum of their weights."""
        return np.bincount(self.dialogue[utterances], weights, minlength=len(self.split))

    def by_split(self, values: Array, splits: int) -> Array:
        """[B] -> [S], summed."""
        return np.bincount(self.split, values, minlength=splits)


def cuts_of(store: Store, numbers: Array) -> list[Array]:
    """Dialogues in pieces that fit into memory, in order. A piece is one dialogue at least, however long it is."""
    counted = [name for name in store.dialogues if str(name).startswith("edges ")]
    rows = store.dialogues.iloc[numbers]
    width = sum(store.corpus.modalities[m].width for m in store.spec.modalities)
    cost = _PER_EDGE * rows[counted].sum(axis=1).to_numpy(dtype=np.int64) + (width + _PER_UTTERANCE) * store.corpus.lengths[numbers]
    group = np.cumsum(cost) // _COST
    return np.split(numbers, np.flatnonzero(np.diff(group)) + 1)


def piece_of_store(store: Store, numbers: Array) -> tuple[Mapping[str, Array], dict[EdgeType, Edges]]:
    """Presence and edges of some dialogues of a store, with the weights its graphs have."""
    structure = store.structure(numbers)
    weights = store.weights(structure)
    edges = {}
    for edge_type in structure.spec.edge_types:
        src, dst = structure.edges(edge_type)
        known = weights.pop(edge_type, None)
        weight = np.full(len(src), np.nan) if known is None else known.double().numpy()
        source, target = structure.nodes[edge_type[0]], structure.nodes[edge_type[2]]
        edges[edge_type] = Edges(source.index_select(0, src).numpy(), target.index_select(0, dst).numpy(), weight)
    return {n: structure.has(n).numpy() for n in structure.spec.node_types}, edges


def table_edges(edges: pd.DataFrame, offsets: Mapping[Any, int], lengths: Mapping[Any, int], nodes: Sequence[str]) -> dict[EdgeType, Edges]:
    """The edges of a table, by type in the order in which the types appear.

    Args:
        edges: columns :data:`~dgl_merc.graphs.tables.EDGE_COLUMNS`.
        offsets: dialogue -> its first utterance.
        lengths: dialogue -> how many utterances.
        nodes: the node types there are.

    Raises:
        ValueError: an edge of a dialogue, a position or a node type that is not there.
    """
    named = edges["dialogue"].map(offsets).astype("float64")
    size = edges["dialogue"].map(lengths).astype("float64")
    inside = named.notna() & edges["src"].between(0, size - 1) & edges["dst"].between(0, size - 1)
    if not inside.all():
        raise ValueError(f"edges must join utterances that are in the table of utterances, got {edges[~inside].iloc[0].to_dict()}")
    first, weight = named.to_numpy(dtype=np.int64), edges["weight"].to_numpy(dtype=np.float64)
    src, dst = (edges[column].to_numpy(dtype=np.int64) + first for column in ("src", "dst"))
    of, keys = pd.factorize(pd.MultiIndex.from_frame(edges[["source", "relation", "target"]]))
    found = {}
    for k, (source, relation, target) in enumerate(keys):
        if not {source, target} <= {*nodes, UTTERANCE}:
            raise ValueError(
                f"edges must join {UTTERANCE} or modalities of the table of utterances, {list(nodes)}, got {source} and {target}"
            )
        found[str(source), str(relation), str(target)] = Edges(src[of == k], dst[of == k], weight[of == k])
    return found
