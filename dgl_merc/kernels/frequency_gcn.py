"""Frequency-adaptive graph convolution on the modality nodes of a dialogue (M3NET's multi-frequency propagation, after FAGCN).

    c_ij = tanh(g . [h_i, h_j])                                                 r^l_ij - r^h_ij, where r^l_ij + r^h_ij = 1
    h'_i = h_i + sum over j in N_i of  c_ij / sqrt(|N_i| |N_j|) h_j             once per vector g

N nodes of all modalities, E edges ``same`` and ``cross`` (messages go j -> i), D features. The low-pass filter I + D^-1/2 A D^-1/2, in
a share r^l, smooths; the high-pass filter I - D^-1/2 A D^-1/2, in a share r^h, sharpens: together they are I + c D^-1/2 A D^-1/2, with c
from -1 to 1.

Sources: Chen et al., "Multivariate, Multi-Frequency and Multimodal: Rethinking Graph Neural Networks for Emotion Recognition in
Conversation" (CVPR 2023), multi-frequency propagation; Bo et al., "Beyond Low-frequency Information in Graph Convolutional Networks" (AAAI
2021). Readings: |N_i| counts the edges that i hears, so that in a causal graph nothing of it comes from later, and is at least 1: a first
utterance hears nobody, but is heard.

Backends: ``dense`` (blocks of pairs, by tiles in long dialogues), ``dgl`` (built-in message functions over the edges), ``scatter`` (the
same by torch, on any device). All agree with :func:`frequency_gcn_loop`, output and gradients, to 1e-10 in float64.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import reduce
from types import NoneType
from typing import Any

import torch
from torch import Tensor

from dgl_merc.graphs import Block, EdgeType, GraphSpec, Structure
from dgl_merc.kernels import pairs
from dgl_merc.kernels.adjacency import add_beside, numbers_per_pair, pad_given
from dgl_merc.kernels.backends import Backend, EdgeBackend, choose_backend
from dgl_merc.kernels.edge_list import EdgeList, check_kind, check_modalities, split_nodes, stack_nodes
from dgl_merc.kernels.messages import messages
from dgl_merc.kernels.newest import has_past, hear_frequencies, refuse, scores_of

__all__ = ["frequency_gcn"]

Keep = Mapping[EdgeType, Tensor] | None


def frequency_gcn(
    structure: Structure | Any,
    x: Mapping[str, Tensor],
    vectors: Sequence[Tensor],
    *,
    keep: Keep = None,
    backend: Backend = "auto",
    return_weights: bool = False,
) -> Any:
    """Propagate node features through learnt shares of a low-pass and a high-pass filter.

    Args:
        structure: a :class:`~dgl_merc.graphs.Structure`, or any DGL heterograph of the schema (then ``dgl`` or ``scatter``).
        x: modality -> [N_m, D] features of its nodes.
        vectors: [2, D] per layer: g, its part for the node that hears, then its part for the node that is heard.
        keep: edge type -> [E_t] bool: edges that exist at all; the others are removed from A and D alike (for explanations).
        backend: who computes; never changes the numbers beyond rounding. See :func:`dgl_merc.kernels.choose_backend`.
        return_weights: return what each edge's message is multiplied by as well.

    Returns:
        Modality -> [N_m, D]; with ``return_weights`` also edge type -> [E_t, K], of each of the K layers.

    Raises:
        ValueError: shapes that do not fit; the message names what was received.

    Example, by hand: two utterances, each with the other as its only neighbour; tanh(.5493) = .5, of the node that is heard.

    >>> from dgl_merc.graphs import GraphSpec
    >>> x, g = {"text": torch.eye(2)}, torch.tensor([[0.0, 0.0], [0.5493, -0.5493]])
    >>> frequency_gcn(Structure.of([2], GraphSpec(("text",))), x, [g])["text"]  # the second adds the first's half, the first takes away
    tensor([[ 1.0000, -0.5000],
            [ 0.5000,  1.0000]])

    A DGL graph may have any edges; here only the second utterance hears the other:

    >>> from dgl_merc._dgl import dgl
    >>> graph = dgl.heterograph({("text", "same", "text"): ([0], [1])}, num_nodes_dict={"text": 2})
    >>> frequency_gcn(graph, x, [g])["text"]
    tensor([[1.0000, 0.0000],
            [0.5000, 1.0000]])
    """
    check_kind("x", x, (Mapping,))
    check_kind("keep", keep, (Mapping, NoneType))
    check_modalities(structure, list(x), "x")
    width = next(iter(x.values())).shape[-1]
    for k, vector in enumerate(vectors):
        if tuple(vector.shape) != (2, width):
            raise ValueError(f"vectors[{k}] must be [2, {width}], got {list(vector.shape)}")
    if has_past(structure):
        refuse(keep=keep, return_weights=return_weights)
        return hear_frequencies(structure, x, vectors)
    chosen = choose_backend("frequency_gcn", structure, backend)
    if chosen == "dense":
        y = _on_blocks(structure, x, vectors, keep)
        return (y, _on_edges("scatter", structure, x, vectors, keep)[1]) if return_weights else y
    y, weights = _on_edges(chosen, structure, x, vectors, keep)
    return (y, weights) if return_weights else y


def _on_blocks(structure: Structure, x: Mapping[str, Tensor], vectors: Sequence[Tensor], keep: Keep) -> dict[str, Tensor]:
    spec = structure.spec
    blocks = structure.blocks(spec.modalities, *spec.reach(spec.message_types[0]))
    h = blocks.pad(stack_nodes(x, structure.sizes, "x"))
    given = pad_given(structure, blocks, {"keep": keep})
    held = keep is not None or blocks.pairs * numbers_per_pair(spec) <= pairs.HELD
    outputs = []
    for k, block in enumerate(blocks.blocks):
        wide = torch.promote_types(h[k].dtype, torch.float32)
        graph = _Graph(spec, block, {name: parts[k] for name, parts in given.items()}, wide, held=held)
        outputs.append(reduce(graph.heard, vectors, h[k]))
    return split_nodes(blocks.unpad(outputs), structure.sizes)


class _Graph:
    """The edges of a block of pieces, [b, M, R, ...] modality nodes, and of each node to itself.

    ``same`` (with ``cross="dialogue"`` all) are matrices; beside them are the M - 1 diagonals of ``cross="utterance"``: the k-th is what
    modality m hears of modality m + k (modulo M).
    """

    def __init__(self, spec: GraphSpec, block: Block, parts: Mapping[str, Any], dtype: torch.dtype, *, held: bool) -> None:
        self.block, self.parts, self.dtype, modalities = block, parts, dtype, len(spec.modalities)
        self.joint = spec.cross == "dialogue" and modalities > 1
        self.reach = spec.reach(spec.message_types[0])
        self.tiles = None if held else pairs.tiles_of(block, numbers_per_pair(spec), causal=spec.causal)
        self.edges = self._edges(pairs.whole(block)) if held else None
        filled, beside = block.filled.to(dtype), range(1, modalities) if spec.cross == "utterance" else range(0)
        kept = [parts["keep beside"][k].to(dtype) if "keep beside" in parts else torch.ones_like(filled) for k in beside]
        count = self._sum(self._counted, [filled], [filled.unsqueeze(-1)]).squeeze(-1)
        count = count + sum(there * filled.roll(-k, 1) for k, there in zip(beside, kept, strict=True))
        self.root = count.clamp_min(1.0).rsqrt() * filled  # [b, M, R]
        self.beside = [there * self.root * self.root.roll(-k, 1) for k, there in zip(beside, kept, strict=True)]
        self.matrices = self._normalised(pairs.whole(block), self.root, block.spread(self.root)) if held else None

    def heard(self, h: Tensor, vector: Tensor) -> Tensor:
        """One layer: [b, M, R, D], [2, D] to [b, M, R, D]."""
        rows, columns = scores_of(h, vector)
        y = self._sum(self._convolved, [rows, self.root], [columns, self.root, h])
        if not self.beside:
            return y
        shares = torch.stack([torch.tanh(rows + columns.roll(-k, 1)) * scale for k, scale in enumerate(self.beside, 1)])
        return add_beside(y, h, shares)

    def _sum(self, make: Callable[..., Tensor], rows: Sequence[Tensor], columns: Sequence[Tensor]) -> Tensor:
        """What ``make`` says of all pairs, at once or by tiles; ``columns`` are given as they stand at rows."""
        columns = [self.block.spread(x) for x in columns]
        if self.tiles is None:
            return make(pairs.whole(self.block), *rows, *columns)
        return pairs.by_tiles(make, self.tiles, rows, columns)

    def _counted(self, tile: pairs.Tile, _: Tensor, filled: Tensor) -> Tensor:
        """[b, M, c, 1] to [b, M, r, 1]: how many each row hears."""
        return self._multiply(self._edges(tile) if self.edges is None else self.edges, filled)

    def _convolved(self, tile: pairs.Tile, rows: Tensor, root: Tensor, columns: Tensor, roots: Tensor, h: Tensor) -> Tensor:
        """[b, M, r] and [b, M, c] scores and roots, [b, M, c, D], to [b, M, r, D]."""
        scale, loops = self._normalised(tile, root, roots) if self.matrices is None else self.matrices
        return self._multiply(torch.tanh(self._pairwise(rows).unsqueeze(-1) + self._pairwise(columns).unsqueeze(-2)) * scale + loops, h)

    def _normalised(self, tile: pairs.Tile, root: Tensor, roots: Tensor) -> tuple[Tensor, Tensor]:
        """1 / sqrt(|N_i| |N_j|) at edges, and 1 where a row and a column are one node."""
        edges = self._edges(tile) if self.edges is None else self.edges
        return edges * self._pairwise(root).unsqueeze(-1) * self._pairwise(roots).unsqueeze(-2), self._loops(tile)

    def _pairwise(self, x: Tensor) -> Tensor:
        """[b, M, r] as a matrix has its rows: joint, [b, 1, M r]."""
        return x.flatten(1, 2).unsqueeze(1) if self.joint else x

    def _multiply(self, matrix: Tensor, x: Tensor) -> Tensor:
        """[b, M, r, c] [b, M, c, D] -> [b, M, r, D]; joint: [b, 1, M r, M c] [b, M, c, D]."""
        with torch.autocast(x.device.type, enabled=False):
            if not self.joint:
                return matrix.to(x.dtype) @ x
            y = matrix.to(x.dtype) @ x.flatten(1, 2).unsqueeze(1)
            return y.view(len(y), x.shape[1], -1, y.shape[-1])

    def _edges(self, tile: pairs.Tile) -> Tensor:
        """1 where a row hears a column, else 0: [1 or b, 1 or M, r, c]; joint: [1 or b, 1, M r, M c]."""
        if "keep" in self.parts:
            keep: Tensor = self.parts["keep"].to(self.dtype)
            return keep.unsqueeze(1) if self.joint else keep
        near, modalities = pairs.band(self.block, tile, self.reach, self.dtype), self.block.slots.shape[1]
        return (near.tile(1, 1, modalities, modalities) if self.joint else near) - self._loops(tile)

    def _loops(self, tile: pairs.Tile) -> Tensor:
        own = pairs.band(self.block, tile, (0, 0), self.dtype)
        if not self.joint:
            return own
        same = torch.eye(self.block.slots.shape[1], dtype=self.dtype, device=own.device)
        return (same[:, None, :, None] * own[..., None, :, None, :]).flatten(4, 5).flatten(2, 3)


def _on_edges(
    backend: EdgeBackend, graph: Structure | Any, x: Mapping[str, Tensor], vectors: Sequence[Tensor], keep: Keep
) -> tuple[dict[str, Tensor], dict[EdgeType, Tensor]]:
    edges = EdgeList.of_messages(graph, tuple(x))
    h, along = stack_nodes(x, edges.sources, "x"), messages(backend, edges)
    exists = torch.ones_like(edges.src, dtype=torch.bool) if keep is None else edges.stack(keep, "keep", fill=True)
    exists = exists.to(torch.promote_types(h.dtype, torch.float32))
    root = along.total(exists[:, None]).clamp_min(1.0).rsqrt().squeeze(-1)
    scale, entries = exists * root.index_select(0, edges.dst) * root.index_select(0, edges.src), []

    for vector in vectors:
        of_dst, of_src = scores_of(h, vector)
        entries.append(torch.tanh(of_dst.index_select(0, edges.dst) + of_src.index_select(0, edges.src)) * scale)
        h = h + along.weigh(h, entries[-1].to(h.dtype))
    return split_nodes(h, edges.sources), edges.split(torch.stack(entries, dim=1) if entries else scale.new_zeros(len(scale), 0))


def frequency_gcn_loop(src: Sequence[int], dst: Sequence[int], h: Tensor, vectors: Sequence[Tensor]) -> Tensor:
    """The definition, edge by edge. Slow on purpose; shares no line with the backends."""
    neighbours = [max(1, sum(1 for i in dst if i == k)) for k in range(len(h))]
    rows = list(h)
    for g in vectors:
        heard = list(rows)
        for j, i in zip(src, dst, strict=True):
            c = torch.tanh(torch.cat([rows[i], rows[j]]) @ g.flatten())
            heard[i] = heard[i] + c / (neighbours[i] * neighbours[j]) ** 0.5 * rows[j]
        rows = heard
    return torch.stack(rows)
