"""Transformer: an encoder over the utterances of a dialogue (Vaswani et al. 2017). No graph, no speakers.

    x_0 = Drop(W_in Drop([x_text, x_audio, ...]) + b + PE)        modalities side by side, zeros where one is absent; PE: sinusoidal
    x_l = TransformerLayer_l(x_{l-1}),  l = 1 ... L               pre-norm, :mod:`dgl_merc.layers.transformer`
    logits = EmotionHead(LN(x_L))

Beside the BiLSTM it shows what attention over all of a dialogue gives that needs no edges to be chosen.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from torch import Tensor, nn

from dgl_merc.graphs import Structure
from dgl_merc.heads import EmotionHead
from dgl_merc.layers import Dropout, Probe, TransformerLayer, beside, sinusoidal_positions
from dgl_merc.models.base import Model, ModelInput, Output
from dgl_merc.settings import check_range

__all__ = ["Transformer", "TransformerOptions"]


@dataclass(frozen=True)
class TransformerOptions:
    """Sizes.

    Attributes:
        dim: D, the width of an utterance within; a multiple of ``heads``.
        layers: L.
        heads: of attention, in each layer.
        feed_forward: the width inside a layer's second half (the paper's is 4 D).
        dropout: on the sum of projection and positions, on what each half of a layer says, and in the head.
        input_dropout: on the features.
    """

    dim: int = 96
    layers: int = 2
    heads: int = 4
    feed_forward: int = 192
    dropout: float = 0.3
    input_dropout: float = 0.3

    def __post_init__(self) -> None:
        check_range(self, 1, "dim", "layers", "heads", "feed_forward")
        if self.dim % self.heads:
            raise ValueError(f"dim must be a multiple of heads ({self.heads}), found {self.dim}")
        check_range(self, 0, "dropout", "input_dropout", most=1)


class Transformer(Model):
    """Dialogues to logits."""

    def __init__(self, given: ModelInput, options: TransformerOptions) -> None:
        super().__init__()
        o = options
        self.input_dropout, self.dropout = Dropout(o.input_dropout), Dropout(o.dropout)
        self.inward = nn.Linear(sum(given.widths.values()), o.dim)
        self.layers = nn.ModuleList(
            TransformerLayer(o.dim, o.heads, o.feed_forward, o.dropout, f"attention, layer {number + 1}") for number in range(o.layers)
        )
        self.norm = nn.LayerNorm(o.dim)
        self.head = EmotionHead(o.dim, o.dim, given.outputs, o.dropout)

    def forward(
        self,
        structure: Structure,
        features: Mapping[str, Tensor],
        *,
        step: int = 0,  # noqa: ARG002  (no mask)
        labels: Tensor | None = None,  # noqa: ARG002  (no loss of its own)
        probe: Probe | None = None,
    ) -> Output:
        """See :class:`dgl_merc.models.base.Model`. Parts in a probe: ``attention, layer 1``, ``attention, layer 2``, ..."""
        x = self.inward(self.input_dropout(beside(structure, features)))
        x = self.dropout(x + sinusoidal_positions(structure, x.shape[1], x.dtype))
        for layer in self.layers:
            x = layer(structure, x, probe=probe)
        return Output(self.head(self.norm(x)))
