"""Frequency-adaptive graph convolution as a module: learnable vectors g around the kernel (M3NET's multi-frequency propagation)."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from dgl_merc.graphs import Structure
from dgl_merc.kernels import frequency_gcn
from dgl_merc.layers.probe import Probe, probed

__all__ = ["FrequencyGCN"]


class FrequencyGCN(nn.Module):
    """``h'_i = h_i + sum_j tanh(g . [h_i, h_j]) / sqrt(|N_i| |N_j|) h_j`` on the modality nodes, a vector g per layer.

    Args:
        dim: D, in and out.
        layers: K; 0: none, nodes leave as they came.
    """

    def __init__(self, dim: int, layers: int) -> None:
        super().__init__()
        self.vectors = nn.ParameterList(torch.randn(2, dim) * (2 * dim) ** -0.5 for _ in range(layers))

    def forward(self, structure: Structure, x: Mapping[str, Tensor], *, probe: Probe | None = None) -> dict[str, Tensor]:
        """Modality -> [N_m, D] to the same. Its part in a probe is ``frequency``: what messages are multiplied by, a head a layer."""
        y: dict[str, Tensor] = probed(probe, "frequency", frequency_gcn, structure, x, list(self.vectors))
        return y
