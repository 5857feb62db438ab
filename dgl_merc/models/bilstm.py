"""BiLSTM: the reference every model is held to. Two recurrent layers over the concatenated modalities, no graph, no speakers.

An absent modality's place in the concatenation is zero, which adds nothing to the first layer's sums. A graph model that does not beat
this has not shown that its graph helps.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from torch import Tensor

from dgl_merc.graphs import Structure
from dgl_merc.heads import DynamicsOptions, EmotionDynamics, EmotionHead
from dgl_merc.layers import Dropout, Probe, Recurrent, Sequences, beside
from dgl_merc.models.base import Model, ModelInput, Output
from dgl_merc.settings import check_range

__all__ = ["BiLSTM", "BiLSTMOptions"]


@dataclass(frozen=True)
class BiLSTMOptions:
    """Settings of the reference.

    Attributes:
        hidden: H per direction.
        layers: stacked.
        dropout: on the input, between layers and in the head.
        dynamics: a second opinion; by default none.
    """

    hidden: int = 100
    layers: int = 2
    dropout: float = 0.5
    dynamics: DynamicsOptions = field(default_factory=DynamicsOptions)

    def __post_init__(self) -> None:
        check_range(self, 1, "hidden", "layers")
        check_range(self, 0, "dropout", most=1)


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
        self.dynamics = EmotionDynamics.of(given.widths, given.outputs, options.dynamics)

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
        logits = self.head(hidden)
        return Output(logits if self.dynamics is None else self.dynamics(structure, features, logits))
