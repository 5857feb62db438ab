"""Deep graph convolution on the modality nodes (GCNII; MMGCN's graph part): the masked GCN's graph, without a mask, in many layers.

    h^(l+1) = ReLU(((1 - alpha) P h^(l) + alpha h^(0)) ((1 - b_l) I + b_l W^(l))),    b_l = log(eta / l + 1),  l = 1, 2, ...

P is that of :func:`dgl_merc.kernels.masked_gcn`: weights by arccos similarity of h^(0), times gamma across modalities, symmetrically
normalised with a loop at each node. The initial residual (alpha) and the mapping near the identity (b_l falls with depth) keep deep
layers from making all nodes alike.

Sources: Chen et al., "Simple and Deep Graph Convolutional Networks" (ICML 2020), eq. 5; Hu et al.,
"MMGCN: Multimodal Fusion via Deep Graph Convolution Network for Emotion Recognition in Conversation" (ACL 2021).
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from dgl_merc.graphs import Structure
from dgl_merc.kernels import ArccosWeight, masked_gcn
from dgl_merc.layers.masked_gcn import note_likeness
from dgl_merc.layers.probe import Probe, probed
from dgl_merc.settings import check_range

__all__ = ["DeepGCN", "DeepGCNOptions"]


@dataclass(frozen=True)
class DeepGCNOptions:
    """Sizes of the graph part.

    Attributes:
        layers: how many; 0: none, nodes leave as they came.
        alpha: the share of h^(0) in every layer, 0 to 1.
        eta: how far the first layer's mapping is from the identity; at most e - 1, where b_1 is 1.
        gamma: factor of the weights across modalities.
    """

    layers: int = 4
    alpha: float = 0.1
    eta: float = 0.5
    gamma: float = 1.0

    def __post_init__(self) -> None:
        check_range(self, 0, "layers")
        check_range(self, 0, "alpha", most=1)
        if not 0.0 < self.eta <= math.e - 1:
            raise ValueError(f"eta must be above 0 and at most {math.e - 1:.3f}, found {self.eta}")
        check_range(self, 0, "gamma", most=100)


class DeepGCN(nn.Module):
    """Layers of GCNII, whose matrices all modalities share.

    Args:
        dim: D, in and out.
        options: sizes.
    """

    def __init__(self, dim: int, options: DeepGCNOptions | None = None) -> None:
        super().__init__()
        self.options = options or DeepGCNOptions()
        self.matrices = nn.ParameterList(nn.init.xavier_uniform_(torch.empty(dim, dim)) for _ in range(self.options.layers))

    def forward(self, structure: Structure, x: Mapping[str, Tensor], *, probe: Probe | None = None) -> dict[str, Tensor]:
        """Modality -> [N_m, D] to the same. Its parts in a probe are those of :class:`~dgl_merc.layers.MaskedGCN`."""
        o = self.options
        mappings = [_near_identity(w, math.log(o.eta / number + 1)) for number, w in enumerate(self.matrices, 1)]
        weight = ArccosWeight(x, o.gamma)
        y: dict[str, Tensor] = probed(probe, "graph", masked_gcn, structure, x, mappings, weight=weight, initial=o.alpha)
        note_likeness(probe, structure, weight)
        return y


def _near_identity(w: Tensor, share: float) -> Tensor:
    """[D, D] W to (1 - share) I + share W."""
    return torch.lerp(torch.eye(len(w), dtype=w.dtype, device=w.device), w, share)
