"""Emotion head: a multilayer perceptron on each utterance (MGLRA eq. 22, 23; SGRNet eq. 27, 28).

    l_i = ReLU(W_l h_i + b_l),   P_i = softmax(W_smax l_i + b_smax)

The softmax is in the loss and in prediction, not here: this returns logits. With one output it is the regression head: the number is the
score, and nothing follows it.
"""

from __future__ import annotations

from torch import Tensor, nn

from dgl_merc.layers.dropout import Dropout

__all__ = ["EmotionHead"]


class EmotionHead(nn.Module):
    """[U, width] -> [U, outputs] logits, or one score.

    Args:
        width: of an utterance.
        hidden: of l_i.
        outputs: C; 1 for a score.
        dropout: before each linear map.
    """

    def __init__(self, width: int, hidden: int, outputs: int, dropout: float = 0.0) -> None:
        super().__init__()
        self.layers = nn.Sequential(Dropout(dropout), nn.Linear(width, hidden), nn.ReLU(), Dropout(dropout), nn.Linear(hidden, outputs))

    def forward(self, h: Tensor) -> Tensor:
        """[U, width] -> [U, outputs]."""
        logits: Tensor = self.layers(h)
        return logits
