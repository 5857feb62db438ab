"""Graph attention filter as a module: centre, relations and matrices around the kernel (MGLRA eq. 3-5).

    V_0 = W [X_t, X_a, X_v]            the multimodal centre of an utterance's star; an absent modality's place is zero
    X^h = filter(V_0, X^c, C)          :func:`dgl_merc.kernels.attention_filter`

P = D = the model's width: the paper leaves both open, and what follows needs D.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn

from dgl_merc.graphs import Structure
from dgl_merc.kernels import attention_filter
from dgl_merc.kernels.attention_filter import Attention
from dgl_merc.layers.fusion import beside
from dgl_merc.layers.probe import Probe, probed
from dgl_merc.settings import check_choices, check_range

__all__ = ["AttentionFilter", "AttentionFilterOptions"]


@dataclass(frozen=True)
class AttentionFilterOptions:
    """Readings of eq. 3-5. P: the value of the paper's print; D: the default.

    Attributes:
        attention: eq. 4. P ``"channel"``: the softmax of the vector c, channel by channel; D ``"scalar"``: of one logit, a . LeakyReLU(c).
        output: eq. 5. P ``"leaf"``: the sum at each leaf, which has one neighbour, so that its weight is 1 and nothing is filtered; D
            ``"share"``: the leaf's term of the centre's sum, alpha c. ``"none"``: no filter, X^h = X^c (the ablation GAF).
        relation_dim: T, the width of a relation (not given).
    """

    attention: Attention = "scalar"
    output: Literal["share", "leaf", "none"] = "share"
    relation_dim: int = 16

    def __post_init__(self) -> None:
        check_choices(self)
        check_range(self, 1, "relation_dim")


class AttentionFilter(nn.Module):
    """Contextual features to filtered ones.

    Args:
        modalities: M names.
        dim: P and D.
        options: readings; ``output`` is not ``"none"``.
    """

    def __init__(self, modalities: int, dim: int, options: AttentionFilterOptions | None = None) -> None:
        super().__init__()
        self.options = options or AttentionFilterOptions()
        self.centre = nn.Linear(modalities * dim, dim, bias=False)
        self.relations = nn.Parameter(torch.randn(modalities, self.options.relation_dim))
        widths = (dim, dim, self.options.relation_dim)
        bound = sum(widths) ** -0.5  # as nn.Linear's, of the concatenation
        self.matrices = nn.ParameterList(nn.init.uniform_(torch.empty(modalities, width, dim), -bound, bound) for width in widths)
        weighed = self.options.attention == "scalar" and self.options.output == "share"  # at a leaf the weight is 1 whatever the logit
        self.vector = nn.Parameter(torch.randn(dim) * dim**-0.5) if weighed else None

    def forward(self, structure: Structure, x: Mapping[str, Tensor], *, probe: Probe | None = None) -> dict[str, Tensor]:
        """Modality -> [N_m, dim] to the same: X^c to X^h. Its part in a probe is ``filter``."""
        filtered: dict[str, Tensor] = probed(
            probe,
            "filter",
            attention_filter,
            structure,
            self.centre(beside(structure, x)),
            x,
            self.relations,
            tuple(self.matrices),
            attention=self.options.attention,
            vector=self.vector,
            output=self.options.output,
        )
        return filtered
