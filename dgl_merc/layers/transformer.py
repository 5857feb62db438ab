"""A layer of a Transformer encoder over the utterances of a dialogue (Vaswani et al. 2017, section 3), and the positions it is given.

    x' = x + Drop(W_O [head_1, ..., head_H])        head_h = softmax(Q_h K_h^T / sqrt(K)) V_h        of n = LN(x)        (1)
    y  = x' + Drop(W_2 relu(W_1 LN(x') + b_1) + b_2)                                                                      (2)
    PE(t, 2i) = sin(t / 10000^(2i / D)),  PE(t, 2i + 1) = cos(t / 10000^(2i / D))                                         (3.5)

x [U, D], H heads of K = D / H features, Q_h = n W^Q_h and so on, F features inside (2). An utterance attends to all of its dialogue,
itself included; in a causal structure to none that is later.

Departures: each sub-layer begins with its normalisation (LN), where the print has LN(x + sub-layer(x)): so the gradient of deep layers
needs no warm-up (Xiong et al. 2020). Who comes after the last layer must normalise it. As in the print, dropout (Drop) is on what
sub-layers say, not on the weights of attention, and projections have no bias.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from dgl_merc.graphs import UTTERANCE, Structure
from dgl_merc.kernels import semantic_attention
from dgl_merc.layers.dropout import Dropout
from dgl_merc.layers.probe import Probe, probed

__all__ = ["TransformerLayer", "sinusoidal_positions"]

_LONGEST = 10000.0  # wavelength of the slowest sine, in 2 pi utterances


class TransformerLayer(nn.Module):
    """[U, D] to [U, D].

    Args:
        dim: D, a multiple of the heads.
        heads: H.
        feed_forward: F.
        dropout: on what each sub-layer says.
        part: what its attention is called in a probe.
    """

    def __init__(self, dim: int, heads: int, feed_forward: int, dropout: float, part: str) -> None:
        super().__init__()
        self.heads, self.part = heads, part
        self.before_attention, self.before_feed_forward = nn.LayerNorm(dim), nn.LayerNorm(dim)
        self.inward, self.outward = nn.Linear(dim, 3 * dim, bias=False), nn.Linear(dim, dim, bias=False)
        self.wide, self.narrow = nn.Linear(dim, feed_forward), nn.Linear(feed_forward, dim)
        self.dropout = Dropout(dropout)

    def forward(self, structure: Structure, x: Tensor, *, probe: Probe | None = None) -> Tensor:
        """[U, D] to [U, D]: (1) and (2)."""
        q, k, v = self.inward(self.before_attention(x)).view(len(x), 3, self.heads, -1).unbind(1)
        heard = probed(probe, self.part, semantic_attention, structure, q, k, v, pairs=UTTERANCE, scale=q.shape[-1] ** 0.5)
        x = x + self.dropout(self.outward(heard.flatten(1)))
        inside = torch.relu(self.wide(self.before_feed_forward(x)))
        y: Tensor = x + self.dropout(self.narrow(inside))
        return y


def sinusoidal_positions(structure: Structure, dim: int, dtype: torch.dtype = torch.float32) -> Tensor:
    """Where utterances stand in their dialogues (3.5): [U, D].

    Args:
        structure: of U utterances; of one with a past, the utterance stands where the past says.
        dim: D; where it is odd, the last sine has no cosine.
        dtype: of the result.

    >>> from dgl_merc.graphs import GraphSpec
    >>> sinusoidal_positions(Structure.of([2, 1], GraphSpec(("text",))), 4)
    tensor([[0.0000, 1.0000, 0.0000, 1.0000],
            [0.8415, 0.5403, 0.0100, 0.9999],
            [0.0000, 1.0000, 0.0000, 1.0000]])
    """
    before = 0 if structure.past is None else structure.past.position
    slowness = _LONGEST ** (torch.arange(0, dim, 2, dtype=torch.float64, device=structure.device) / dim)
    angles = (structure.position + before)[:, None] / slowness
    return torch.stack([angles.sin(), angles.cos()], dim=-1).flatten(1)[:, :dim].to(dtype)
