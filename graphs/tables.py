"""Utterances and edges of dialogues as pandas tables: what statistics, pictures and pages are made of."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
from torch import Tensor

from dgl_merc.corpus import Corpus, presence_column
from dgl_merc.graphs.schema import EdgeType
from dgl_merc.graphs.structure import Structure

__all__ = ["EDGE_COLUMNS", "edge_table", "utterance_table"]

EDGE_COLUMNS = ("dialogue", "source", "relation", "target", "src", "dst", "weight")
"""The columns of every table of edges, in order."""


Ends = tuple[Tensor, Tensor]


def edge_table(
    structure: Structure,
    weights: Mapping[EdgeType, Tensor] | None = None,
    types: Sequence[EdgeType] | None = None,
    *,
    ends: Mapping[EdgeType, Ends] | None = None,
) -> pd.DataFrame:
    """Edges with their weights, a row an edge.

    Args:
        structure: of some dialogues.
        weights: edge type -> [E_t] in edge-id order; a type that is not named has none.
        types: which edge types, in order; default: all of the spec.
        ends: edge type -> (src [E], dst [E]), node ids within their types, instead of the spec's edges: then these types alone.

    Returns:
        Columns :data:`EDGE_COLUMNS`: ``dialogue``, its key; ``source, relation, target``, the edge type; ``src, dst``, positions in the
        dialogue; ``weight`` float64, NaN where there is none. By type, then in edge-id order.

    Raises:
        ValueError: weights that are not [E_t], or of a type that is not in the spec.

    Example: two utterances, the second without audio.

    >>> from dgl_merc.graphs import GraphSpec, Structure
    >>> s = Structure.of([2], GraphSpec(("text", "audio")), presence=[[1, 1], [1, 0]])
    >>> edge_table(s, types=[("text", "same", "text"), ("text", "cross", "audio")])[["source", "target", "src", "dst"]].values.tolist()
    [['text', 'text', 1, 0], ['text', 'text', 0, 1], ['text', 'audio', 0, 0]]
    """
    given = weights or {}
    known = structure.spec.edge_types if ends is None else tuple(ends)
    if unknown := [t for t in given if t not in known]:
        raise ValueError(f"weights names edge types that are not in the spec: {unknown}; there are {list(known)}")
    parts = []
    for edge_type in known if types is None else types:
        source, relation, target = edge_type
        along = structure.edges(edge_type) if ends is None else ends[edge_type]
        src, dst = (structure.nodes[n].index_select(0, e) for n, e in zip((source, target), along, strict=True))
        weight = given.get(edge_type)
        if weight is not None and tuple(weight.shape) != (len(src),):
            raise ValueError(f"weights[{edge_type}] must be [E={len(src)}], got {list(weight.shape)}")
        parts.append(
            pd.DataFrame(
                {
                    "dialogue": structure.keys[structure.dialogue[dst]].cpu().numpy(),
                    "source": source,
                    "relation": relation,
                    "target": target,
                    "src": structure.position[src].cpu().numpy(),
                    "dst": structure.position[dst].cpu().numpy(),
                    "weight": np.nan if weight is None else weight.detach().cpu().double().numpy(),
                }
            )
        )
    return pd.concat(parts, ignore_index=True) if parts else pd.DataFrame(columns=list(EDGE_COLUMNS))


def utterance_table(corpus: Corpus, dialogue: int | str, target: str | None = None) -> pd.DataFrame:
    """A dialogue's utterances, a row each, in the order they were spoken.

    Args:
        corpus: that has the dialogue.
        dialogue: its number or its name.
        target: whose labels stand beside; default: the corpus's first, if it has one.

    Returns:
        ``position, speaker, text`` (empty where there is none), ``label`` (a class's name; of a score, negative or positive; None =
        unlabelled), and a boolean column per modality, ``has_text`` and the like: a modality may be called as a column is.

    Raises:
        InputError: no such dialogue.
    """
    number = corpus.number(dialogue)
    rows = slice(int(corpus.offsets[number]), int(corpus.offsets[number + 1]))
    found = corpus.utterances.iloc[rows]
    target = target or next(iter(corpus.targets), None)
    table = pd.DataFrame(
        {
            "position": found["position"].to_numpy(dtype=np.int64),
            "speaker": found["speaker"].astype(object).to_numpy(),
            "text": found["text"].astype(object).where(found["text"].notna(), "").to_numpy(),
            "label": pd.Series(corpus.label_names(target, rows) if target else [None] * len(found), dtype=object),
        }
    )
    for k, modality in enumerate(corpus.modalities):
        table[presence_column(modality)] = corpus.presence[rows, k]
    return table
