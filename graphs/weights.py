"""The arccos weights of a structure's edges, computed from features as they come (standardised): for looking.

``same`` edges compare standardised features directly, ``cross`` edges compare them in a common space. Complete structures are
computed as blocks (one matrix product per block), windowed ones along their edges.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from dgl_merc.graphs.blocks import Block
from dgl_merc.graphs.common_space import CommonSpace
from dgl_merc.graphs.schema import UTTERANCE, EdgeType
from dgl_merc.graphs.similarity import arccos_similarity, edge_similarity
from dgl_merc.graphs.structure import Structure

__all__ = ["feature_weights", "similarity_along"]

_WASTE = 4.0  # blocks may hold this many times the edges' number before the edges themselves are cheaper


def similarity_along(structure: Structure, edge_type: EdgeType, x_src: Tensor, x_dst: Tensor) -> Tensor:
    """The arccos similarity of every edge of a type.

    Args:
        structure: S.
        edge_type: a ``same`` or ``cross`` type of its spec.
        x_src: [N, D] features of the source type's nodes.
        x_dst: [M, D] features of the destination type's nodes.

    Returns:
        [E] in edge-id order.
    """
    if x_src.dtype in (torch.float16, torch.bfloat16):
        x_src, x_dst = x_src.float(), x_dst.float()
    src, dst = structure.edges(edge_type)
    area = float((structure.lengths.double() ** 2).sum())
    if area > _WASTE * max(len(src), 1):
        return edge_similarity(x_src, x_dst, src, dst)
    source, _, target = edge_type
    dots, base, width, begin = [], torch.zeros_like(structure.lengths), torch.zeros_like(structure.lengths), 0
    for block in structure.blocks((UTTERANCE,)).blocks:
        b = _by_position(structure, block, target, x_dst)
        a = b if x_src is x_dst and source == target else _by_position(structure, block, source, x_src)
        dots.append((b @ a.transpose(1, 2)).flatten())
        base[block.dialogues] = begin + torch.arange(len(block.dialogues), device=src.device) * block.rows**2
        width[block.dialogues] = block.rows
        begin += dots[-1].numel()
    # base + position(v) * width + position(u), with position = utterance - offset; the part that depends on v alone is made per node
    u, v = structure.nodes[source].index_select(0, src), structure.nodes[target]
    owner = structure.dialogue.index_select(0, v)
    row = (base - structure.offsets[:-1] * (width + 1)).index_select(0, owner) + v * width.index_select(0, owner)
    dot = torch.cat(dots).index_select(0, row.index_select(0, dst) + u)
    norms = _inverse_norms(x_dst)
    source_norms = norms if x_src is x_dst else _inverse_norms(x_src)
    return arccos_similarity(dot * source_norms.index_select(0, src) * norms.index_select(0, dst))


def _by_position(structure: Structure, block: Block, node_type: str, x: Tensor) -> Tensor:
    """[N, D] -> [b, L, D]. The place of an absent node holds some other node's row: no edge reads it."""
    if not len(x):
        return x.new_zeros(*block.utterances.shape, x.shape[1])
    rows = structure.counts[node_type][block.utterances].clamp_max(len(x) - 1)
    return x.index_select(0, rows.flatten()).view(*block.utterances.shape, -1)


def _inverse_norms(x: Tensor) -> Tensor:
    """[N, D] -> [N]; 0 for a zero row, whose cosine with anything is 0."""
    norms = torch.linalg.vector_norm(x, dim=1)
    return torch.where(norms > 1e-8, norms.clamp_min(1e-8).reciprocal(), 0.0)


def feature_weights(structure: Structure, features: Mapping[str, Tensor], space: CommonSpace | None) -> dict[EdgeType, Tensor]:
    """The weights that ``build-graphs`` stores.

    Args:
        structure: S.
        features: modality -> [N, width] standardised features of its nodes.
        space: for ``cross`` edges; a type whose modalities share no space has no weights.

    Returns:
        Edge type -> [E] float32 in edge-id order.
    """
    weights = {}
    for edge_type in structure.spec.message_types:
        source, relation, target = edge_type
        x, y = features[source], features[target]
        if relation == "cross":
            pair = space and (space.project(source, target, x.numpy()), space.project(target, source, y.numpy()))
            if not pair or pair[0] is None or pair[1] is None:
                continue
            x, y = torch.from_numpy(pair[0]), torch.from_numpy(pair[1])
        weights[edge_type] = similarity_along(structure, edge_type, x, y)
    return weights
