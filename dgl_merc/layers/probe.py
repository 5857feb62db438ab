"""Looking into a forward pass: which edges a kernel is to leave out, and which weights it used.

A model that is asked to explain itself hands a :class:`Probe` to its layers, and each layer calls its kernel through :func:`probed`.
Nothing else changes: without a probe the kernel is called as it is, and with one that leaves nothing out its output is the same.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, NamedTuple

import torch
from torch import Tensor

from dgl_merc.graphs import EdgeType, Structure

__all__ = ["ITSELF", "PAIR", "Probe", "Seen", "complete", "ends_of", "probed"]

PAIR = "pair"
"""The relation of an edge type whose edges are :meth:`dgl_merc.graphs.Structure.pairs`: all of a dialogue, itself included."""
ITSELF = "itself"
"""The relation of an edge type whose edges lead from each node to itself."""

ByEdge = Mapping[EdgeType, Tensor]


class Seen(NamedTuple):
    """What a part of a model did.

    Attributes:
        structure: whose edges the weights are of; its spec may differ from the batch's, see :func:`complete`.
        weights: edge type -> [E], [E, heads] or [E, channels], in edge-id order; relations besides those of the schema: :data:`PAIR`,
            :data:`ITSELF`.
    """

    structure: Structure
    weights: dict[EdgeType, Tensor]


@dataclass
class Probe:
    """What somebody who looks into a forward pass asks of it.

    Attributes:
        keep: part -> edge type -> [E] bool: the edges that exist at all in that part; what is not named exists.
        seen: part -> what it did; filled by the forward pass. None: nobody wants to know.
    """

    keep: Mapping[str, ByEdge] = field(default_factory=dict)
    seen: dict[str, Seen] | None = field(default_factory=dict)


def complete(structure: Structure) -> Structure:
    """The same dialogues, every modality's utterances joined to every other's: the edges of cross-modal attention."""
    return structure.with_spec(replace(structure.spec, cross="dialogue", window=None))


def ends_of(structure: Structure, edge_type: EdgeType) -> tuple[Tensor, Tensor]:
    """The edges of a type, :data:`PAIR` and :data:`ITSELF` too: src [E], dst [E], node ids within their types."""
    source, relation, _ = edge_type
    if relation == PAIR:
        return structure.pairs(source)
    if relation == ITSELF:
        every = torch.arange(structure.num_nodes(source), device=structure.device)
        return every, every
    return structure.edges(edge_type)


def probed(
    probe: Probe | None,
    part: str,
    kernel: Callable[..., Any],
    structure: Structure,
    *given: Any,
    edges: Structure | None = None,
    pairs: str | None = None,
    **options: Any,
) -> Any:
    """Call a kernel; where somebody looks, without the edges that are to be left out, and note its weights.

    Args:
        probe: None: nobody asks.
        part: what the layer is called in a probe.
        kernel: takes ``keep`` and ``return_weights``.
        structure: its first argument.
        given: its other arguments.
        edges: whose edges the kernel's weights are of; default: ``structure``.
        pairs: the node type whose pairs they are of, where the kernel speaks of pairs.
        options: its options.

    Returns:
        What the kernel returns without ``return_weights``.
    """
    if probe is None:
        return kernel(structure, *given, **options)
    keep: Any = probe.keep.get(part)
    if pairs is not None and keep is not None:
        keep = keep.get((pairs, PAIR, pairs))
    if probe.seen is None:
        return kernel(structure, *given, keep=keep, **options)
    y, weights, *itself = kernel(structure, *given, keep=keep, return_weights=True, **options)
    found = dict(weights) if pairs is None else {(pairs, PAIR, pairs): weights}
    found |= {(n, ITSELF, n): own for nodes in itself for n, own in nodes.items()}
    probe.seen[part] = Seen(structure if edges is None else edges, found)
    return y
