"""Reconstruction head: what a masked node hid, told from what its neighbours let it know (MGLRA, abstract: "random mask reconstruction").

The paper gives no equation. Here a multilayer perceptron on the graph's output guesses the node's features, and the loss is the scaled
cosine error of :func:`dgl_merc.losses.cosine_error`. The features it is held to carry no gradient: else the cheapest way to be right
would be to make all nodes alike.
"""

from __future__ import annotations

from torch import Tensor, nn

__all__ = ["ReconstructionHead"]


class ReconstructionHead(nn.Module):
    """[N, dim] -> [N, dim].

    Args:
        dim: of a node.
    """

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.layers = nn.Sequential(nn.Linear(dim, dim), nn.ReLU(), nn.Linear(dim, dim))

    def forward(self, h: Tensor) -> Tensor:
        """[N, dim] -> [N, dim]."""
        guess: Tensor = self.layers(h)
        return guess
