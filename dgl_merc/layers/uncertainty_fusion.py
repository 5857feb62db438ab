"""Uncertainty-aware fusion: one vector per utterance from its modalities' distributions (MA-CMU-SGRNet eq. 14-21, Fig. 3).

    omega_m  = |sigma_m| / sum over n of |sigma_n|            m, n: the modalities that the utterance has        (14, 15)
    X_m      = mu_m + sigma_m eps                             eps normal; 0 outside training ("MCMC" means no more)
    X~_m     = omega_m X_m                                                                                      (16, 17)
    O_mn     = softmax(Q_m K_n^T / sqrt(K)) V_n               n != m, over the dialogue's utterances that have n (18)-(21)
    g        = [O_st W_st, O_ts W_ts]                         each to half the width; three modalities and more: all O_mn W, summed

"More variance, more weight" is what text and print of 14, 15 agree on; the usual statistical sense is the inverse. The print's 21 has no
scale, and lets an utterance say of its own modality only what its query picks out of others': with ``residual``, ours,
g also has X~_m W_m. The linear maps to g have no bias: (22) takes angles between g, and one vector in all of them would make them alike.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple

import torch
from torch import Tensor, nn

from dgl_merc.graphs import Structure
from dgl_merc.kernels import cross_modal_attention
from dgl_merc.layers.distribution_encoder import Gaussian
from dgl_merc.layers.fusion import at_nodes, beside
from dgl_merc.layers.probe import Probe, complete, probed
from dgl_merc.settings import check_choices, check_range

__all__ = ["UncertaintyFusion", "UncertaintyFusionOptions", "Unified"]


@dataclass(frozen=True)
class UncertaintyFusionOptions:
    """Readings of eq. 14-21. P: the value of the paper's print; D: the default.

    Attributes:
        uncertainty: what a modality weighs: P, D ``"printed"`` (14, 15); ``"inverse"``: 1 / |sigma|; ``"equal"`` (the ablation UW).
        interaction: P, D ``"attention"`` (18-21); ``"sum"``: g = (sum of X~_m) W (the ablation CMI).
        heads: of the attention (IV-C: 4).
        head_dim: K (100 / 4).
        residual: add X~_m W_m: P False, D True.
    """

    uncertainty: Literal["printed", "inverse", "equal"] = "printed"
    interaction: Literal["attention", "sum"] = "attention"
    heads: int = 4
    head_dim: int = 25
    residual: bool = True

    def __post_init__(self) -> None:
        check_choices(self)
        check_range(self, 1, "heads", "head_dim")


class Unified(NamedTuple):
    """What the fusion gives.

    Attributes:
        g: [U, width] the nodes of the semantic graph; zeros for an utterance without any modality.
        norms: [U, M] |sigma_m|, 0 where absent.
        weights: [U, M] omega_m, 0 where absent.
    """

    g: Tensor
    norms: Tensor
    weights: Tensor


class UncertaintyFusion(nn.Module):
    """From distributions to g.

    Args:
        modalities: names, two or more, in the spec's order.
        dim: D of the distributions.
        width: of g.
        options: readings.
    """

    def __init__(self, modalities: Sequence[str], dim: int, width: int, options: UncertaintyFusionOptions | None = None) -> None:
        super().__init__()
        self.options = o = options or UncertaintyFusionOptions()
        inner, others = o.heads * o.head_dim, len(modalities) - 1
        branches = o.interaction == "attention"
        halves = [width - width // 2, width // 2] if others == 1 else [width] * len(modalities)
        self.inward = nn.ModuleDict({m: nn.Linear(dim, 3 * inner, bias=False) for m in modalities if branches})
        self.outward = nn.ModuleDict(
            {m: nn.Linear(others * inner, w, bias=False) for m, w in zip(modalities, halves, strict=True) if branches}
        )
        self.sum = None if branches else nn.Linear(dim, width, bias=False)
        own = o.residual and branches
        self.own = nn.ModuleDict({m: nn.Linear(dim, width, bias=False) for m in modalities if own})

    def forward(self, structure: Structure, given: Mapping[str, Gaussian], *, probe: Probe | None = None) -> Unified:
        """Fuse.

        Args:
            structure: S, of U utterances.
            given: modality -> the distributions of its nodes.
            probe: its part here is ``fusion``.
        """
        norms = beside(structure, {m: torch.linalg.vector_norm(d.sigma, dim=-1, keepdim=True) for m, d in given.items()})
        weights = self._weights(structure, norms)
        weighted = {}
        for k, (m, d) in enumerate(given.items()):
            x = d.mean + d.sigma * torch.randn_like(d.sigma) if self.training else d.mean
            weighted[m] = at_nodes(structure, m, weights[:, k : k + 1]).to(x.dtype) * x
        g = _exactly(self.sum, self._total(structure, weighted)) if self.sum is not None else self._attend(structure, weighted, probe)
        return Unified(g, norms, weights)

    def _weights(self, structure: Structure, norms: Tensor) -> Tensor:
        """[U, M] to [U, M]: (14), (15)."""
        kind = self.options.uncertainty
        if kind == "printed":
            shares = norms
        else:
            there = structure.presence.to(norms.dtype)
            shares = there if kind == "equal" else there / norms.where(structure.presence, 1.0)
        total = shares.sum(-1, keepdim=True)
        return shares / total.where(total > 0, 1.0)

    def _attend(self, structure: Structure, x: Mapping[str, Tensor], probe: Probe | None) -> Tensor:
        """(18)-(21)."""
        o = self.options
        q, k, v = {}, {}, {}
        for m, rows in x.items():
            q[m], k[m], values = self.inward[m](rows).view(len(rows), 3, o.heads, o.head_dim).unbind(1)
            v[m] = values.to(next(self.parameters()).dtype)
        edges = complete(structure) if probe else None
        heard = probed(probe, "fusion", cross_modal_attention, structure, q, k, v, edges=edges, scale=o.head_dim**0.5, alone="self")
        branches = {m: _exactly(self.outward[m], y.flatten(1)) for m, y in heard.items()}
        g = beside(structure, branches) if len(x) == 2 else self._total(structure, branches)
        if self.own:
            g = g + self._total(structure, {m: _exactly(self.own[m], rows) for m, rows in x.items()})
        return g

    @staticmethod
    def _total(structure: Structure, x: Mapping[str, Tensor]) -> Tensor:
        """Modality -> [N_m, W] to [U, W]: the sum over an utterance's modalities."""
        return beside(structure, x).view(structure.num_utterances, len(x), -1).sum(1)


def _exactly(linear: nn.Module, x: Tensor) -> Tensor:
    """Without autocast: (22) takes angles between the g of a dialogue, which may be near each other."""
    with torch.autocast(x.device.type, enabled=False):
        y: Tensor = linear(x.to(next(linear.parameters()).dtype))
        return y
