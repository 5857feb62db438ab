"""The masked GCN as a module: learnable matrices, mask token and aleph around the kernel (MGLRA eq. 17-21).

The mask is drawn in training only, once per step for all layers, by :class:`dgl_merc.kernels.HashMask`: the same edges and nodes in
every batch composition, backend and process.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal, NamedTuple

import torch
from torch import Tensor, nn

from dgl_merc.graphs import Structure
from dgl_merc.graphs.weights import similarity_along
from dgl_merc.kernels import ArccosWeight, HashMask, masked_gcn
from dgl_merc.kernels.edge_list import split_nodes
from dgl_merc.kernels.masked_gcn import Backend, Degree
from dgl_merc.layers.probe import Probe, Seen, probed
from dgl_merc.settings import check_choices, check_range

__all__ = ["Fused", "MaskedGCN", "MaskedGCNOptions", "note_likeness"]


@dataclass(frozen=True)
class MaskedGCNOptions:
    """Readings of eq. 17-21. P: the value of the paper's print; D: the default.

    Attributes:
        layers: how often eq. 21 is applied (not given in the paper; 2).
        mask: what the mask removes in training. P ``"both"``: edges vanish and nodes get a learnable token; D ``"edges"``; ``"nodes"``.
        rate: the share masked (V-B: .7).
        degree: P ``"full"``: only A carries [M] in eq. 21; D ``"masked"``: degrees of what is left.
        rescale: divide the kept edges by 1 - rate (off in P).
        aleph: eq. 18's factor across modalities (not given; 1).
        learn_aleph: learn it, through softplus.
    """

    layers: int = 2
    mask: Literal["edges", "nodes", "both"] = "edges"
    rate: float = 0.7
    degree: Degree = "masked"
    rescale: bool = False
    aleph: float = 1.0
    learn_aleph: bool = False

    def __post_init__(self) -> None:
        check_choices(self)
        check_range(self, 0, "layers")
        check_range(self, 0, "rate", most=1)
        check_range(self, 0, "aleph", most=100)


class Fused(NamedTuple):
    """What the masked GCN gives.

    Attributes:
        nodes: modality -> [N_m, D] after the last layer.
        shown: modality -> [N_m, D] what went in: X^S, in training with the token in masked nodes, so that a residual does not show what the
            mask hides.
        masked: modality -> [N_m] bool: nodes that were masked; None where no node could be.
    """

    nodes: dict[str, Tensor]
    shown: dict[str, Tensor]
    masked: dict[str, Tensor] | None


class MaskedGCN(nn.Module):
    """``H' = ReLU(P H W)`` on the modality nodes, W shared by modalities.

    Args:
        dim: D, in and out.
        options: readings.
        seed: of the mask.
        backend: of the kernel.
    """

    def __init__(self, dim: int, options: MaskedGCNOptions | None = None, *, seed: int = 0, backend: Backend = "auto") -> None:
        super().__init__()
        self.options = options or MaskedGCNOptions()
        self.seed, self.backend = seed, backend
        self.matrices = nn.ParameterList(nn.init.xavier_uniform_(torch.empty(dim, dim)) for _ in range(self.options.layers))
        self.token = nn.Parameter(torch.zeros(dim)) if self.options.mask in ("nodes", "both") else None
        raw = math.log(math.expm1(self.options.aleph)) if self.options.aleph > 0 else -20.0
        self.raw_aleph = nn.Parameter(torch.tensor(raw)) if self.options.learn_aleph else None

    @property
    def aleph(self) -> float | Tensor:
        """The factor of eq. 18."""
        return self.options.aleph if self.raw_aleph is None else nn.functional.softplus(self.raw_aleph)

    def forward(self, structure: Structure, x: Mapping[str, Tensor], *, step: int = 0, probe: Probe | None = None) -> Fused:
        """Propagate.

        Args:
            structure: S.
            x: modality -> [N_m, D]: X^S.
            step: of training; the mask is a function of it.
            probe: its parts here are ``graph``, the entries of P in eq. 21, and ``likeness``, the weights of 17 and 18 alone.
        """
        mask = HashMask(self.seed, self.options.rate, step) if self.training and self.options.rate > 0 else None
        shown, masked = dict(x), None
        if mask is not None and self.token is not None:
            kept = split_nodes(mask.kept_nodes(mask.words(structure, list(structure.sizes))), structure.sizes)
            masked = {m: ~left for m, left in kept.items()}
            shown = {m: torch.where(kept[m][:, None], v, self.token.to(v.dtype)) for m, v in x.items()}
        weight = ArccosWeight(x, self.aleph)
        nodes: dict[str, Tensor] = probed(
            probe,
            "graph",
            masked_gcn,
            structure,
            shown,
            list(self.matrices),
            weight=weight,
            mask=None if self.options.mask == "nodes" else mask,
            degree=self.options.degree,
            rescale=self.options.rescale and mask is not None and self.options.mask != "nodes",
            backend=self.backend,
        )
        note_likeness(probe, structure, weight)
        return Fused(nodes, shown, masked)


def note_likeness(probe: Probe | None, structure: Structure, weight: ArccosWeight) -> None:
    """Tell a probe the weights of 17 and 18 themselves, of which P is made: its part ``likeness``."""
    if probe is None or probe.seen is None:
        return
    likeness = {t: similarity_along(structure, t, weight.x[t[0]], weight.x[t[2]]) for t in structure.spec.message_types}
    probe.seen["likeness"] = Seen(structure, {t: w * (weight.scale if t[1] == "cross" else 1.0) for t, w in likeness.items()})
