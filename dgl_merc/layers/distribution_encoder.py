"""Probability distribution encoder: each utterance of a modality as a Gaussian in latent space (MA-CMU-SGRNet Fig. 2, III-A).

    [a_h, b_h] = z_h                        the h-th of H slices of z, halved (``paths="split"``), or a_h = b_h = z (``"full"``)
    mu_h       = Int(Q_h K_h^T / sqrt(D)) V_h        Q_h, K_h, V_h = a_h W_h        over the dialogue's utterances that have the modality
    mu         = z + [mu_1, ..., mu_H]
    sigma      = softplus(FF_h(b_h)) + 1e-6, h = 1 ... H side by side               FF: Linear, ReLU, Linear

z [N_m, D], H heads of D / H. Int is the softmax, or ReLU and then division by the sum ("an activation function and a normalization
function"). Each modality has its own PDE. sigma is what 12 and 14-17 use, where the print calls it variance.

The biases of the last linear map begin where sigma is ``spread`` (not given): a unit vector z has components of about 1 / sqrt(D), and
noise of softplus(0) = .69 on top would leave nothing of them in the first epochs.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple

import torch
from torch import Tensor, nn

from dgl_merc.graphs import Structure
from dgl_merc.kernels import semantic_attention
from dgl_merc.layers.probe import Probe, probed
from dgl_merc.settings import check_choices, check_range

__all__ = ["DistributionEncoder", "DistributionEncoderOptions", "Gaussian"]

_LEAST = 1e-6  # of sigma


@dataclass(frozen=True)
class DistributionEncoderOptions:
    """Readings of Fig. 2. P: the value of the paper's print; D: the default.

    Attributes:
        heads: H; divides D.
        paths: what each head's two paths see: P ``"split"``: half of its slice each; D ``"full"``: all of z.
        interaction: Int: P, D ``"softmax"``; ``"relu"``.
        spread: sigma before training.
    """

    heads: int = 5
    paths: Literal["split", "full"] = "full"
    interaction: Literal["softmax", "relu"] = "softmax"
    spread: float = 0.1

    def __post_init__(self) -> None:
        check_choices(self)
        check_range(self, 1, "heads")
        if not 1e-4 <= self.spread <= 10.0:
            raise ValueError(f"spread must be from 0.0001 to 10, found {self.spread}")

    def check(self, dim: int) -> None:
        """Whether a width of ``dim`` can be cut into the heads' slices.

        Raises:
            ValueError: it can't.
        """
        if dim % self.heads or (self.paths == "split" and dim // self.heads < 2):
            halves = " and leave halves" if self.paths == "split" else ""
            raise ValueError(f"distribution.heads must divide dim{halves} ({dim}), found {self.heads}")


class Gaussian(NamedTuple):
    """Utterances of a modality as distributions with a diagonal covariance.

    Attributes:
        mean: [N_m, D] mu.
        sigma: [N_m, D] deviations, greater than 0.
    """

    mean: Tensor
    sigma: Tensor


class DistributionEncoder(nn.Module):
    """A PDE for each modality.

    Args:
        modalities: names, in the spec's order.
        dim: D.
        options: readings.

    Raises:
        ValueError: D is no multiple of the heads, or their slices can't be halved.
    """

    def __init__(self, modalities: Sequence[str], dim: int, options: DistributionEncoderOptions | None = None) -> None:
        super().__init__()
        self.options = o = options or DistributionEncoderOptions()
        o.check(dim)
        self.dim, self.width = dim, dim // o.heads
        half = self.width // 2
        seen = (half, self.width - half) if o.paths == "split" else (dim, dim)
        self.inward = nn.ModuleDict({m: _PerHead(o.heads, seen[0], 3 * self.width) for m in modalities})
        self.hidden = nn.ModuleDict({m: _PerHead(o.heads, seen[1], self.width) for m in modalities})
        self.deviation = nn.ModuleDict({m: _PerHead(o.heads, self.width, self.width) for m in modalities})
        for name, bias in self.deviation.named_parameters():
            if name.endswith("bias"):
                bias.detach().add_(math.log(math.expm1(o.spread)))

    def forward(self, structure: Structure, z: Mapping[str, Tensor], *, probe: Probe | None = None) -> dict[str, Gaussian]:
        """Modality -> [N_m, D] to modality -> its distributions. Its parts in a probe are ``distribution <modality>``."""
        return {m: self._encode(structure, m, rows, probe) for m, rows in z.items()}

    def _encode(self, structure: Structure, m: str, z: Tensor, probe: Probe | None) -> Gaussian:
        o, first, second = self.options, z, z
        if o.paths == "split":
            first, second = z.view(len(z), o.heads, self.width).tensor_split([self.width // 2], dim=-1)
        q, k, v = self.inward[m](first).chunk(3, dim=-1)
        options = {"scale": self.dim**0.5, "node_type": m, "interaction": o.interaction}
        heard = probed(probe, f"distribution {m}", semantic_attention, structure, q, k, v, pairs=m, **options)
        deviation = self.deviation[m](torch.relu(self.hidden[m](second)))
        return Gaussian(z + heard.flatten(1), nn.functional.softplus(deviation).flatten(1) + _LEAST)


class _PerHead(nn.Module):
    """Linear maps, one a head: [N, heads, width] to [N, heads, out]; [N, width] is the same for every head. Begins as ``nn.Linear``."""

    def __init__(self, heads: int, width: int, out: int) -> None:
        super().__init__()
        bound = width**-0.5
        self.weight = nn.Parameter(torch.empty(heads, width, out).uniform_(-bound, bound))
        self.bias = nn.Parameter(torch.empty(heads, out).uniform_(-bound, bound))

    def forward(self, x: Tensor) -> Tensor:
        heads, width, out = self.weight.shape
        if x.ndim == 2:
            return torch.addmm(self.bias.flatten(), x, self.weight.transpose(0, 1).reshape(width, heads * out)).view(len(x), heads, out)
        return torch.baddbmm(self.bias[:, None], x.transpose(0, 1), self.weight).transpose(0, 1)
