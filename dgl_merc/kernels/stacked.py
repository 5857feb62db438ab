"""The message edges of a structure, or of any DGL heterograph of the schema, over stacked nodes.

Stacked: all nodes of the first modality, then of the second, and so on, in one numbering; one list of edges, ``same`` types first.
What edge-list backends and explicit per-edge tensors share.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import accumulate
from typing import Any

import torch
from torch import Tensor

from dgl_merc.graphs import EdgeType, Structure

__all__ = ["StackedEdges", "split_nodes", "stack_nodes"]


def stack_nodes(x: Mapping[str, Tensor], sizes: Mapping[str, int], name: str) -> Tensor:
    """Modality -> [N_m, D], to [N, D] in the order of ``sizes``.

    Raises:
        ValueError: a modality is missing or has another number of rows; names what was given.
    """
    if set(x) != set(sizes):
        raise ValueError(f"{name} must hold the modalities {list(sizes)}, got {list(x)}")
    for m, size in sizes.items():
        if x[m].ndim != 2 or len(x[m]) != size:
            raise ValueError(f"{name}[{m!r}] must be [N={size}, D], got {list(x[m].shape)}")
    return torch.cat([x[m] for m in sizes])


def split_nodes(x: Tensor, sizes: Mapping[str, int]) -> dict[str, Tensor]:
    """[N, ...] to modality -> [N_m, ...]: the inverse of :func:`stack_nodes`."""
    return dict(zip(sizes, torch.split(x, list(sizes.values())), strict=True))


@dataclass(frozen=True, eq=False)
class StackedEdges:
    """E edges over N stacked nodes.

    Attributes:
        sizes: modality -> nodes, in stacking order.
        types: the edge types, in order.
        counts: edges per type.
        src: [E] stacked source.
        dst: [E] stacked destination.
        nodes: (dialogue number in the corpus, position, modality number), each [N]: what masks are made of; None where the graph does
            not carry ``dialogue`` and ``position``.
    """

    sizes: Mapping[str, int]
    types: tuple[EdgeType, ...]
    counts: tuple[int, ...]
    src: Tensor
    dst: Tensor
    nodes: tuple[Tensor, Tensor, Tensor] | None

    @classmethod
    def of_structure(cls, structure: Structure) -> StackedEdges:
        """The ``same`` and ``cross`` edges of a structure, in edge-id order."""
        spec = structure.spec
        at = torch.cat([structure.nodes[m] for m in spec.modalities])
        nodes = (structure.keys[structure.dialogue[at]], structure.position[at], _modality(structure.sizes, structure.device))
        return cls._stack(structure.sizes, {t: structure.edges(t) for t in spec.message_types}, nodes)

    @classmethod
    def of_graph(cls, graph: Any, modalities: Sequence[str]) -> StackedEdges:
        """The ``same`` and ``cross`` edges of a DGL heterograph, however they were chosen.

        Raises:
            ValueError: the graph lacks one of the modalities.
        """
        missing = [m for m in modalities if m not in graph.ntypes]
        if missing:
            raise ValueError(f"x names the modalities {list(modalities)}, but the graph has the node types {graph.ntypes}")
        found = [t for t in graph.canonical_etypes if t[1] in ("same", "cross") and t[0] in modalities and t[2] in modalities]
        order = sorted(found, key=lambda t: (t[1] != "same", modalities.index(t[0]), modalities.index(t[2])))
        edges = {t: tuple(e.long() for e in graph.edges(etype=t, order="eid")) for t in order}
        sizes = {m: int(graph.num_nodes(m)) for m in modalities}
        nodes = None
        if all({"dialogue", "position"} <= set(graph.nodes[m].data) for m in modalities):
            parts = [torch.cat([graph.nodes[m].data[key].long() for m in modalities]) for key in ("dialogue", "position")]
            nodes = (parts[0], parts[1], _modality(sizes, graph.device))
        return cls._stack(sizes, edges, nodes)

    @classmethod
    def _stack(cls, sizes: Mapping[str, int], edges: Mapping[EdgeType, Any], nodes: tuple[Tensor, Tensor, Tensor] | None) -> StackedEdges:
        first = dict(zip(sizes, [0, *accumulate(sizes.values())], strict=False))
        src = [e[0] + first[t[0]] for t, e in edges.items()] or [torch.zeros(0, dtype=torch.int64)]
        dst = [e[1] + first[t[2]] for t, e in edges.items()] or [torch.zeros(0, dtype=torch.int64)]
        counts = tuple(len(e[0]) for e in edges.values())
        return cls(sizes, tuple(edges), counts, torch.cat(src), torch.cat(dst), nodes)

    @cached_property
    def cross(self) -> Tensor:
        """[E] bool: whether an edge joins two modalities."""
        kinds = torch.tensor([t[1] == "cross" for t in self.types], dtype=torch.bool)
        return torch.repeat_interleave(kinds, torch.tensor(self.counts, dtype=torch.int64)).to(self.src.device)

    def stack_edges(self, values: Mapping[EdgeType, Tensor], name: str, fill: bool | None = None) -> Tensor:
        """Edge type -> [E_t], to [E]; a type that is not there gets ``fill`` everywhere.

        Raises:
            ValueError: a type is unknown, missing without a fill, or has another number of edges.
        """
        unknown = [t for t in values if t not in self.types]
        if unknown:
            raise ValueError(f"{name} names edge types that are not there: {unknown}; there are {list(self.types)}")
        parts = []
        for t, count in zip(self.types, self.counts, strict=True):
            part = values.get(t)
            if part is None and fill is not None:
                part = torch.full((count,), fill, device=self.src.device)
            if part is None or tuple(part.shape) != (count,):
                raise ValueError(f"{name}[{t}] must be [E={count}], got {None if part is None else list(part.shape)}")
            parts.append(part)
        return torch.cat(parts) if parts else self.src.new_zeros(0)

    def split_edges(self, values: Tensor) -> dict[EdgeType, Tensor]:
        """[E] to edge type -> [E_t]."""
        return dict(zip(self.types, torch.split(values, list(self.counts)), strict=True))


def _modality(sizes: Mapping[str, int], device: torch.device) -> Tensor:
    """[N] the modality number of each stacked node."""
    return torch.repeat_interleave(torch.arange(len(sizes)), torch.tensor(list(sizes.values()))).to(device)
