"""Cross-modal multi-head attention as a module: projections around the kernel (MGLRA eq. 10-14).

    Q_m = X^R_m W^Q,   K_m = X^R_m W^K,   V_m = X^R_m W^V                      n heads of width K side by side      (10-12)
    head_i(m, m') = softmax(Q_m,i K_m',i^T / scale) V_m',i                     over the utterances of the dialogue  (13)
    X^head_m = concat over m' != m, i of head_i(m, m') W^O_m                                                        (14)

One projection; the print projects twice. It concatenates the heads to n K features; W^O brings them, of all other modalities m', back to
the model's width. A node that hears no other modality (in a run with one, or where its dialogue has one) attends to its own
(``"self"``), or keeps what it has: X^head = X^R (``"skip"``).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn

from dgl_merc.graphs import Structure
from dgl_merc.kernels import cross_modal_attention
from dgl_merc.kernels.cross_modal_attention import alone_nodes
from dgl_merc.layers.probe import Probe, complete, probed
from dgl_merc.settings import check_choices, check_range

__all__ = ["CrossModalAttention", "CrossModalAttentionOptions"]


@dataclass(frozen=True)
class CrossModalAttentionOptions:
    """Readings of eq. 10-14. P: the value of the paper's print; D: the default.

    Attributes:
        heads: n (V-B: 10); 0: no attention, X^head = X^R (the ablation MHA).
        head_dim: K (not given), so that any number of heads will do.
        scaled: divide the logits by the root of K; P False, D True.
        lonely: what a node without any other modality does; P, D ``"self"``.
        projections: P ``"shared"``: W^Q, W^K, W^V carry no index of a modality in 10-12; D ``"modality"``: each has its own.
    """

    heads: int = 10
    head_dim: int = 10
    scaled: bool = True
    lonely: Literal["self", "skip"] = "self"
    projections: Literal["modality", "shared"] = "modality"

    def __post_init__(self) -> None:
        check_choices(self)
        check_range(self, 0, "heads")
        check_range(self, 1, "head_dim")


class CrossModalAttention(nn.Module):
    """What each modality takes from the others.

    Args:
        modalities: names, in the spec's order.
        dim: D, in and out.
        options: readings, with at least one head.
    """

    def __init__(self, modalities: Sequence[str], dim: int, options: CrossModalAttentionOptions | None = None) -> None:
        super().__init__()
        self.options = options or CrossModalAttentionOptions()
        width = self.options.heads * self.options.head_dim
        places = max(len(modalities) - 1, 1)
        sharing = modalities if self.options.projections == "modality" else ("shared",)
        self.inward = nn.ModuleDict({m: nn.Linear(dim, 3 * width, bias=False) for m in sharing})
        self.outward = nn.ModuleDict({m: nn.Linear(places * width, dim, bias=False) for m in modalities})

    def forward(
        self, structure: Structure, x: Mapping[str, Tensor], *, probe: Probe | None = None, part: str = "attention"
    ) -> dict[str, Tensor]:
        """Modality -> [N_m, D] to the same: X^R to X^head. ``part`` is what it is called in a probe."""
        o = self.options
        q, k, v = {}, {}, {}
        for m, rows in x.items():
            inward = self.inward[m if o.projections == "modality" else "shared"]
            q[m], k[m], v[m] = inward(rows).view(len(rows), 3, o.heads, o.head_dim).unbind(1)
        scale = o.head_dim**0.5 if o.scaled else 1.0
        alone = "self" if o.lonely == "self" else "zeros"
        edges = complete(structure) if probe else None
        heard = probed(probe, part, cross_modal_attention, structure, q, k, v, edges=edges, scale=scale, alone=alone)
        head: dict[str, Tensor] = {m: self.outward[m](y.flatten(1)) for m, y in heard.items()}
        if o.lonely == "skip":
            lonely = alone_nodes(structure)
            head = {m: torch.where(lonely[m][:, None], x[m], h) for m, h in head.items()}
        return head
