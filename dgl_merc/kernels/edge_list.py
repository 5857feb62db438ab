"""Edges of several types as one list over stacked nodes: what edge-list backends and explicit per-edge tensors share.

Stacked: all nodes of the first type, then of the second, and so on, in one numbering. The list is made from a structure, or from any DGL
heterograph of the schema, however its edges were chosen.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import accumulate
from types import NoneType
from typing import Any

import torch
from torch import Tensor

from dgl_merc.graphs import UTTERANCE, EdgeType, Structure
from dgl_merc.kernels.rules import ArccosWeight

__all__ = ["EdgeList", "check_kind", "check_likeness", "check_modalities", "check_rows", "split_nodes", "stack_nodes"]


_KINDS = {Mapping: "a mapping from edge types", NoneType: "None"}  # in words


def check_modalities(graph: Structure | Any, modalities: Sequence[str], name: str) -> None:
    """Whether a mapping names the modalities of a structure, or node types of a DGL graph.

    Raises:
        ValueError: naming both.
    """
    if isinstance(graph, Structure):
        if set(modalities) != set(graph.spec.modalities):
            raise ValueError(f"{name} must hold the modalities {list(graph.spec.modalities)}, got {list(modalities)}")
    elif missing := [m for m in modalities if m not in graph.ntypes]:
        raise ValueError(f"{name} names the modalities {missing}, but the graph has the node types {graph.ntypes}")


def check_rows(name: str, x: Tensor | None, rows: int, *rest: str) -> None:
    """Whether a tensor is [rows, *rest], ``rest`` being the letters of its other dimensions.

    Raises:
        ValueError: naming what was received.
    """
    if x is None or x.ndim != 1 + len(rest) or len(x) != rows:
        raise ValueError(f"{name} must be [{', '.join([str(rows), *rest])}], got {None if x is None else list(x.shape)}")


def check_kind(name: str, value: object, kinds: tuple[type, ...]) -> None:
    """Whether an argument is of one of some kinds.

    Raises:
        ValueError: naming them and what was received.
    """
    if not isinstance(value, kinds):
        wanted = " or ".join(_KINDS.get(kind, kind.__name__) for kind in kinds)
        raise ValueError(f"{name} must be {wanted}, got a {type(value).__name__}")  # noqa: TRY004  (what kernels raise)


def check_likeness(weight: ArccosWeight, rows: int, node_type: str = UTTERANCE) -> None:
    """Whether a rule can weigh pairs of nodes of one type.

    Raises:
        ValueError: it names no features of theirs, or has a factor across modalities, of which there is none between them.
    """
    check_rows(f"weight.x[{node_type!r}]", weight.x.get(node_type), rows, "D")
    if isinstance(weight.scale, Tensor) or weight.scale != 1.0:
        raise ValueError(
            f"weight.scale is a factor across modalities; between nodes of one type there is none: it must be 1.0, got {weight.scale}"
        )


def stack_nodes(x: Mapping[str, Tensor], sizes: Mapping[str, int], name: str) -> Tensor:
    """Node type -> [N_m, D], to [N, D] in the order of ``sizes``.

    Raises:
        ValueError: a type is missing, has another number of rows, or another width than the first; names what was given.
    """
    if set(x) != set(sizes):
        raise ValueError(f"{name} must hold the modalities {list(sizes)}, got {list(x)}")
    width = x[next(iter(sizes))].shape[-1:]
    for m, size in sizes.items():
        if x[m].ndim != 2 or len(x[m]) != size or x[m].shape[-1:] != width:
            raise ValueError(f"{name}[{m!r}] must be [N={size}, D{'=' + str(width[0]) if width else ''}], got {list(x[m].shape)}")
    return torch.cat([x[m] for m in sizes])


def split_nodes(x: Tensor, sizes: Mapping[str, int]) -> dict[str, Tensor]:
    """[N, ...] to node type -> [N_m, ...]: the inverse of :func:`stack_nodes`."""
    return dict(zip(sizes, torch.split(x, list(sizes.values())), strict=True))


@dataclass(frozen=True, eq=False)
class EdgeList:
    """E edges.

    Attributes:
        sources: node type -> nodes, in stacking order.
        targets: the same for destinations.
        types: the edge types, in order.
        counts: edges per type.
        src: [E] stacked source.
        dst: [E] stacked destination.
    """

    sources: Mapping[str, int]
    targets: Mapping[str, int]
    types: tuple[EdgeType, ...]
    counts: tuple[int, ...]
    src: Tensor
    dst: Tensor

    @classmethod
    def of(
        cls, graph: Structure | Any, types: Sequence[EdgeType], sources: Sequence[str], targets: Sequence[str] | None = None
    ) -> EdgeList:
        """The edges of some types, in edge-id order.

        Args:
            graph: a structure, or a DGL heterograph; a type that a DGL graph lacks has no edges.
            types: in order.
            sources: node types, in stacking order.
            targets: the same for destinations; default: ``sources``.
        """
        targets = sources if targets is None else targets
        if isinstance(graph, Structure):
            edges = {t: graph.edges(t) for t in types}
        else:
            there = [t for t in types if t in graph.canonical_etypes]
            edges = {t: tuple(e.long() for e in graph.edges(etype=t, order="eid")) for t in there}
        sizes = [{n: int(graph.num_nodes(n)) for n in side} for side in (sources, targets)]
        begin = [dict(zip(side, [0, *accumulate(side.values())], strict=False)) for side in sizes]
        none = torch.zeros(0, dtype=torch.int64, device=graph.device)
        src = torch.cat([none, *(e[0] + begin[0][t[0]] for t, e in edges.items())])
        dst = torch.cat([none, *(e[1] + begin[1][t[2]] for t, e in edges.items())])
        return cls(sizes[0], sizes[1], tuple(edges), tuple(len(e[0]) for e in edges.values()), src, dst)

    @classmethod
    def of_messages(cls, graph: Structure | Any, modalities: Sequence[str]) -> EdgeList:
        """The edges among modality nodes: every ``same``, then every ``cross``.

        Args:
            graph: a structure, whose spec says which modalities and edge types there are, or a DGL heterograph.
            modalities: of a DGL graph, in stacking order.
        """
        if isinstance(graph, Structure):
            return cls.of(graph, graph.spec.message_types, graph.spec.modalities)
        there = [t for t in graph.canonical_etypes if t[1] in ("same", "cross") and t[0] in modalities and t[2] in modalities]
        return cls.of(graph, sorted(there, key=lambda t: t[1] != "same"), modalities)

    def number(self, values: Mapping[EdgeType, int]) -> Tensor:
        """[E] int64: a number per type, at each of its edges."""
        of_types = torch.tensor([values[t] for t in self.types], dtype=torch.int64)
        return torch.repeat_interleave(of_types, torch.tensor(self.counts, dtype=torch.int64)).to(self.src.device)

    def stack(self, values: Mapping[EdgeType, Tensor], name: str, fill: bool | None = None) -> Tensor:
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
            if fill is not None and part.dtype != torch.bool:
                raise ValueError(f"{name}[{t}] must be bool, True = left in, got {part.dtype}")
            parts.append(part)
        return torch.cat(parts) if parts else self.src.new_zeros(0, dtype=torch.bool if fill is not None else torch.float32)

    def split(self, values: Tensor) -> dict[EdgeType, Tensor]:
        """[E, ...] to edge type -> [E_t, ...]."""
        return dict(zip(self.types, torch.split(values, list(self.counts)), strict=True))

    def only(self, rows: Tensor) -> EdgeList:
        """Some of the edges, as one list: types and counts are those of the whole and do not apply."""
        return EdgeList(self.sources, self.targets, (), (), self.src.index_select(0, rows), self.dst.index_select(0, rows))
