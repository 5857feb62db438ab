"""Hypergraph convolutions on the modality nodes of a dialogue (M3NET's multivariate propagation).

    e    = sum over v in e of gamma_e(v) h_v  /  sum over v in e of gamma_e(v)                        node -> hyperedge
    h'_v = ReLU(sum over e with v of omega(e) e  /  sum over e with v of omega(e))                    hyperedge -> node, L times

which is the paper's V' = sigma(D_H^-1 H W_e B^-1 H~^T V): H [nodes, hyperedges] says who is in which, H~ holds gamma in its place, W_e
omega, and D_H and B are the sums that make means. Every node is in two hyperedges: the multimodal one of its utterance, with the
utterance's other modalities, and the contextual one of its modality, with all of the dialogue's nodes of that modality.

Source: Chen et al., "Multivariate, Multi-Frequency and Multimodal: Rethinking Graph Neural Networks for Emotion Recognition in
Conversation" (CVPR 2023), multivariate propagation. Readings: omega and gamma are learnt, and what they are functions of is left open; a
number for every place in the batch would make a dialogue's answer depend on its neighbours there. Here, in each layer,

    omega(e)   = exp(a number for each modality's contextual hyperedges, and one for multimodal ones)
    gamma_e(v) = sigmoid(w . h_v),    a vector w for each kind of hyperedge and modality of the node

so that with zeros all means are plain. Where the spec has a window or is causal, a dialogue's contextual hyperedge becomes one for each
node: the nodes of its modality within the window, in a causal graph up to itself. The multimodal one never looks at another utterance.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from dgl_merc.graphs import Block, Structure
from dgl_merc.kernels import pairs
from dgl_merc.kernels.edge_list import split_nodes, stack_nodes

__all__ = ["HypergraphConvolutions"]


class HypergraphConvolutions(nn.Module):
    """L layers, D in and out.

    Args:
        modalities: M.
        dim: D.
        layers: L; 0: none, nodes leave as they came.

    Attributes:
        node: per layer [M, D, 2], the vectors of gamma: for multimodal, then for contextual hyperedges.
        edge: per layer [M + 1], log omega: of each modality's contextual hyperedges, then of multimodal ones.
    """

    def __init__(self, modalities: int, dim: int, layers: int) -> None:
        super().__init__()
        self.node = nn.ParameterList(torch.zeros(modalities, dim, 2) for _ in range(layers))
        self.edge = nn.ParameterList(torch.zeros(modalities + 1) for _ in range(layers))

    def forward(self, structure: Structure, x: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Modality -> [N_m, D] to the same."""
        spec, stacked = structure.spec, stack_nodes(x, structure.sizes, "x")
        reach = spec.reach((spec.modalities[0], "same", spec.modalities[0]))
        if structure.past is not None:
            return split_nodes(self._of_newest(structure, stacked, reach[0]), structure.sizes)
        blocks, outputs = structure.blocks(spec.modalities, *reach), []
        for block, h in zip(blocks.blocks, blocks.pad(stacked), strict=True):
            for node, edge in zip(self.node, self.edge, strict=True):
                gamma = torch.sigmoid(h @ node.to(h.dtype)) * block.filled.unsqueeze(-1).to(h.dtype)  # [b, M, R, 2]
                multimodal = _mean((gamma[..., :1] * h).sum(1), gamma[..., :1].sum(1)).unsqueeze(1)
                h = _at_nodes(multimodal, _contextual(block, h, gamma[..., 1:], reach), edge[:-1, None, None], edge[-1])
            outputs.append(h)
        return split_nodes(blocks.unpad(outputs), structure.sizes)

    def _of_newest(self, structure: Structure, h: Tensor, before: int | None) -> Tensor:
        """[m, D] of the newest utterance's nodes, to the same."""
        assert structure.past is not None
        kind = structure.presence[0].nonzero()[:, 0]
        (kinds,), _ = structure.past.recall(before, kind)
        same = (kind[:, None] == kinds).to(h.dtype)
        for node, edge in zip(self.node, self.edge, strict=True):
            gamma = torch.sigmoid((h.unsqueeze(1) @ node.to(h.dtype)[kind]).squeeze(1))  # [m, 2]
            multimodal = _mean((gamma[:, :1] * h).sum(0, keepdim=True), gamma[:, :1].sum(0, keepdim=True))
            (rows, weights), _ = structure.past.recall(before, gamma[:, 1:] * h, gamma[:, 1:])
            h = _at_nodes(multimodal, _mean(same @ rows, same @ weights), edge[kind, None], edge[-1])
        return h


def _at_nodes(multimodal: Tensor, contextual: Tensor, omega_contextual: Tensor, omega_multimodal: Tensor) -> Tensor:
    """The mean of a node's two hyperedges, and ReLU; omegas are given as their logarithms."""
    share = torch.sigmoid(omega_contextual - omega_multimodal).to(contextual.dtype)
    return torch.relu(share * contextual + (1 - share) * multimodal)


def _mean(total: Tensor, weight: Tensor) -> Tensor:
    """[..., D] sums of gamma h and [..., 1] of gamma; zeros of nothing."""
    return total / weight.clamp_min(torch.finfo(weight.dtype).tiny)


def _contextual(block: Block, h: Tensor, gamma: Tensor, reach: pairs.Reach) -> Tensor:
    """[b, M, R, D] and [b, M, R, 1], to the means over what each node may hear of its modality; [b, M, 1, D] where that is one for all."""
    with torch.autocast(h.device.type, enabled=False):
        gamma = gamma.to(h.dtype)
        if reach == (None, None):
            return _mean(gamma.transpose(-1, -2) @ h, gamma.sum(2, keepdim=True))
        if reach == (None, 0):
            return _mean((gamma * h).cumsum(2), gamma.cumsum(2))
        near = pairs.band(block, pairs.whole(block), reach, h.dtype)
        return _mean(near @ block.spread(gamma * h), near @ block.spread(gamma))
