"""Hypergraph convolution on the modality nodes of a dialogue (M3NET's multivariate propagation).

    e      = sum over v in e of gamma_e(v) h_v  /  sum over v in e of gamma_e(v)                     node -> hyperedge
    h'_v   = ReLU(sum over e with v of omega(e) e  /  sum over e with v of omega(e))                 hyperedge -> node

which is the paper's V' = sigma(D_H^-1 H W_e B^-1 H~^T V): H [nodes, hyperedges] says who is in which, H~ holds gamma in its place, W_e
omega, and D_H and B are the sums that make means. Every node is in two hyperedges: the multimodal one of its utterance, with the
utterance's other modalities, and the contextual one of its modality, with all of the dialogue's nodes of that modality.

Source: Chen et al., "Multivariate, Multi-Frequency and Multimodal: Rethinking Graph Neural Networks for Emotion Recognition in
Conversation" (CVPR 2023), multivariate propagation. Readings: omega and gamma are learnt, and what they are functions of is left open; a number for every place in the batch
would make a dialogue's answer depend on its neighbours there. Here

    omega(e) = exp(a number per contextual hyperedge's modality, and one for multimodal ones)
    gamma_e(v) = sigmoid(w . h_v),    a vector w per kind of hyperedge and modality of the node

so that with zeros all means are plain. Where the spec has a window or is causal, a dialogue's contextual hyperedge becomes one for each
node: the nodes of its modality within the window, in a causal graph up to itself. The multimodal one never looks at another utterance.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from dgl_merc.graphs import Block, Structure
from dgl_merc.kernels import pairs
from dgl_merc.kernels.edge_list import split_nodes
from dgl_merc.layers.fusion import at_nodes, beside

__all__ = ["HypergraphConvolution"]

_MULTIMODAL, _CONTEXTUAL = 0, 1


class HypergraphConvolution(nn.Module):
    """One layer.

    Args:
        modalities: M.
        dim: D, in and out.

    Attributes:
        node: [2, M, D] the vectors of gamma: for multimodal, then for contextual hyperedges.
        edge: [M + 1] log omega: of each modality's contextual hyperedges, then of multimodal ones.
    """

    def __init__(self, modalities: int, dim: int) -> None:
        super().__init__()
        self.node = nn.Parameter(torch.zeros(2, modalities, dim))
        self.edge = nn.Parameter(torch.zeros(modalities + 1))

    def forward(self, structure: Structure, x: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Modality -> [N_m, D] to the same."""
        multimodal = self._multimodal(structure, self._weighted(x, _MULTIMODAL))
        contextual = _contextual(structure, self._weighted(x, _CONTEXTUAL))
        share = torch.sigmoid(self.edge[:-1] - self.edge[-1])  # omega_m / (omega_m + omega_u)
        return {m: torch.relu(torch.lerp(_mean(multimodal[m]), _mean(contextual[m]), s)) for m, s in zip(x, share, strict=True)}

    def _weighted(self, x: Mapping[str, Tensor], kind: int) -> dict[str, Tensor]:
        """Modality -> [N_m, D] to [N_m, D + 1]: gamma h, then gamma."""
        weighted = {}
        for (m, h), w in zip(x.items(), self.node[kind], strict=True):
            gamma = torch.sigmoid((h * w).sum(-1, keepdim=True))
            weighted[m] = torch.cat([gamma * h, gamma], dim=-1)
        return weighted

    @staticmethod
    def _multimodal(structure: Structure, weighted: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Sums over the nodes of each node's utterance: modality -> [N_m, D + 1] to the same."""
        total = beside(structure, weighted).view(structure.num_utterances, len(weighted), -1).sum(1)
        return {m: at_nodes(structure, m, total) for m in weighted}


def _mean(total: Tensor) -> Tensor:
    """[N, D + 1] sums of gamma h and of gamma, to [N, D]."""
    return total[:, :-1] / total[:, -1:].clamp_min(torch.finfo(total.dtype).tiny)


def _contextual(structure: Structure, weighted: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Sums over the nodes of its modality that each node may hear, itself included: modality -> [N_m, D'] to the same."""
    spec = structure.spec
    reach = spec.reach((spec.modalities[0], "same", spec.modalities[0]))
    if structure.past is not None:
        recalled = {m: structure.past.recall(reach[0], rows).rows[0] for m, rows in weighted.items()}
        return {m: rows.sum(0, keepdim=True)[: len(weighted[m])] for m, rows in recalled.items()}
    blocks = structure.blocks(spec.modalities, *reach)
    padded = blocks.pad(torch.cat(list(weighted.values())))
    sums = [_within(block, rows, reach) for block, rows in zip(blocks.blocks, padded, strict=True)]
    return split_nodes(blocks.unpad(sums), structure.sizes)


def _within(block: Block, rows: Tensor, reach: pairs.Reach) -> Tensor:
    """[b, M, R, D'] of a block's rows, to the sums over what each may hear."""
    if reach == (None, None):
        return rows.sum(2, keepdim=True).expand_as(rows)
    if reach == (None, 0):
        return rows.cumsum(2)
    with torch.autocast(rows.device.type, enabled=False):
        return pairs.band(block, pairs.whole(block), reach, rows.dtype) @ block.spread(rows)
