"""The two convolutions of DialogueGCN over the utterances within a window (Ghosal et al., EMNLP 2019, section 3.2.2).

    a_ij  = softmax over j (g_i^T W_e g_j)                                    j: the window's utterances, i itself among them
    h1_i  = ReLU( sum over r, j in N^r_i of a_ij / c_ir W_r g_j + a_ii W_0 g_i )
    h2_i  = ReLU( sum over j in N_i of W h1_j + W_0' h1_i )

U utterances, W features g, D features h. The window is the graph's ``past`` and ``future``, N^r_i those whom i hears through relation r,
N_i all of them. The print has 2 S^2 relations for S speakers by name; here they are the heterograph's, own or another's turn, before or
after, which serve any number of speakers, also unknown ones. Both are :func:`dgl_merc.kernels.rgcn`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn

from dgl_merc.graphs import Structure
from dgl_merc.kernels import SoftmaxWeight, rgcn
from dgl_merc.layers.probe import Probe, probed
from dgl_merc.settings import check_choices

__all__ = ["DialogueGraph", "DialogueGraphOptions"]


@dataclass(frozen=True)
class DialogueGraphOptions:
    """Readings of section 3.2.2. P: what the paper prints; D: the default.

    Attributes:
        relations: 4: own or another's turn, before or after; 2: own or another's.
        normalise: P True: c_ir is the size of N^r_i, "set in advance"; D False: 1, for the shares a_ij add up to one already.
        second: what the second convolution takes of N_i: P ``"sum"``, D ``"mean"``, which does not grow with the window.
    """

    relations: int = 4
    normalise: bool = False
    second: Literal["sum", "mean"] = "mean"

    def __post_init__(self) -> None:
        check_choices(self)
        if self.relations not in (2, 4):
            raise ValueError(f"relations must be 2 or 4, found {self.relations}")


class DialogueGraph(nn.Module):
    """Both convolutions.

    Args:
        width: W of g.
        out: D of h.
        options: readings.
    """

    def __init__(self, width: int, out: int, options: DialogueGraphOptions | None = None) -> None:
        super().__init__()
        self.options = o = options or DialogueGraphOptions()
        self.attention = nn.Linear(width, width, bias=False)  # W_e
        shapes = [(o.relations, width, out), (width, out), (1, out, out), (out, out)]
        self.typed, self.own, self.any, self.itself = (nn.Parameter(nn.init.xavier_uniform_(torch.empty(shape))) for shape in shapes)

    def forward(self, structure: Structure, g: Tensor, *, probe: Probe | None = None) -> Tensor:
        """[U, W] to [U, D]. Its parts in a probe are ``relational``, a_ij / c_ir, and ``neighbours``."""
        o, weight = self.options, SoftmaxWeight(self.attention(g), g)
        h1 = probed(probe, "relational", rgcn, structure, g, [(self.typed, self.own)], weight=weight, mean=o.normalise)
        h2: Tensor = probed(probe, "neighbours", rgcn, structure, h1, [(self.any, self.itself)], mean=o.second == "mean")
        return h2
