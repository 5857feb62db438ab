"""From modality nodes to utterances, side by side (what MGLRA's classifier reads, eq. 22), and from utterances back to nodes.

An absent modality leaves its place zero, and the layer that reads the concatenation has one matrix per place: a zero there adds nothing.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from dgl_merc.graphs import Structure

__all__ = ["at_nodes", "beside"]


def beside(structure: Structure, x: Mapping[str, Tensor]) -> Tensor:
    """Modality -> [N_m, D_m] to [U, sum of D_m], modalities in the spec's order; zeros where one is absent."""
    parts = []
    for k, m in enumerate(structure.spec.modalities):
        if len(x[m]) == structure.num_utterances:
            parts.append(x[m])
            continue
        rows = torch.cat([x[m], x[m].new_zeros(1, x[m].shape[1])])
        index = torch.where(structure.presence[:, k], structure.counts[m][:-1], len(x[m]))
        parts.append(rows.index_select(0, index))
    return torch.cat(parts, dim=-1)


def at_nodes(structure: Structure, modality: str, rows: Tensor) -> Tensor:
    """[U, D] of the utterances to [N_m, D]: of those that have the modality; as they are where all do."""
    at = structure.nodes[modality]
    return rows if len(at) == len(rows) else rows.index_select(0, at)
