"""BiLSTM: the reference every model is held to. Two recurrent layers over the concatenated modalities, no graph, no speakers.

An absent modality's place in the concatenation is zero, which adds nothing to the first layer's sums. A graph model that does not beat
this has not shown that its graph helps.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from torch import Tensor

from dgl_merc.graphs import Structure
from dgl_merc.heads import EmotionHead
from dgl_merc.layers import Dropout, Probe, Recurrent, Sequences, beside
from dgl_merc.models.base import Model, ModelInput, Output

__all__ = ["BiLSTM", "BiLSTMOptions"]


@dataclass(frozen=True)
class BiLSTMOptions:
    """Settings of the reference.

    Attributes:
        hidden: H per direction.
        layers: stacked.
        dropout: on the input, between layers and in the head.
    """

    hidden: int = 100
    layers: int = 2
    dropout: float = 0.5

    def __post_init__(self) -> None:
        for name in ("hidden", "layers"):
            if not getattr(self, name) >= 1:
                raise ValueError(f"{name} must be at least 1, found {getattr(self, name)}")
        if not 0.0 <= self.dropout <= 1.0:
            raise ValueError(f"dropout must be from 0 to 1, found {self.dropout}")


class BiLSTM(Model):
    """Dialogues to logits through a bidirectional LSTM (forward only where the spec is causal)."""

    def __init__(self, given: ModelInput, options: BiLSTMOptions) -> None:
        super().__init__()
        self.dropout = Dropout(options.dropout)
        self.encoder = Recurrent(
            "lstm",
            sum(given.widths.values()),
            options.hidden,
            layers=options.layers,
            bidirectional=not given.spec.causal,
            dropout=options.dropout,
        )
        self.head = EmotionHead(self.encoder.width, options.hidden, given.outputs, options.dropout)

    def forward(
        self,
        structure: Structure,
        features: Mapping[str, Tensor],
        *,
        step: int = 0,  # noqa: ARG002  (no mask)
        labels: Tensor | None = None,  # noqa: ARG002  (no loss of its own)
        probe: Probe | None = None,  # noqa: ARG002  (no edges)
    ) -> Output:
        """See :class:`dgl_merc.models.base.Model`."""
        hidden = self.encoder(self.dropout(beside(structure, features)), Sequences.of_dialogues(structure))
        return Output(self.head(hidden))
