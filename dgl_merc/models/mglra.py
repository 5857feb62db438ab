"""MGLRA: masked graph learning with recurrent alignment (Meng et al., IEEE/ACM TASLP 2024), its core.

What is here of Algorithm 1: the context encoder (eq. 2), the masked GCN on the dialogue's heterograph (17-21) and the emotion head (22-24).
The attention filter (3-5), the recurrent alignment with memory (6-9), cross-modal attention (10-15) and the speaker embedding (16) stand
between the first two: each takes and gives modality -> [N_m, dim].
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from torch import Tensor

from dgl_merc.graphs import Structure
from dgl_merc.heads import EmotionHead
from dgl_merc.layers import ContextEncoder, MaskedGCN, MaskedGCNOptions, beside
from dgl_merc.models.base import Model, ModelInput

__all__ = ["MGLRA", "MGLRAOptions"]


@dataclass(frozen=True)
class MGLRAOptions:
    """Readings of the paper and sizes it leaves open.

    Attributes:
        dim: the model's width.
        bidirectional: of the context encoder (2): the print says LSTM, direction unsaid; off where the spec is causal.
        encoder_layers: of the context encoder.
        dropout: on the encoder's input and output and in the head.
        residual: add the graph's input to its output before the head (22); the print does not.
        gcn: readings of 17-21.
    """

    dim: int = 100
    bidirectional: bool = True
    encoder_layers: int = 1
    dropout: float = 0.5
    residual: bool = True
    gcn: MaskedGCNOptions = field(default_factory=MaskedGCNOptions)

    def __post_init__(self) -> None:
        for name in ("dim", "encoder_layers"):
            if not getattr(self, name) >= 1:
                raise ValueError(f"{name} must be at least 1, found {getattr(self, name)}")
        if not 0.0 <= self.dropout <= 1.0:
            raise ValueError(f"dropout must be from 0 to 1, found {self.dropout}")


class MGLRA(Model):
    """Dialogues to logits."""

    def __init__(self, given: ModelInput, options: MGLRAOptions) -> None:
        super().__init__()
        self.options = options
        both = options.bidirectional and not given.spec.causal
        self.encoder = ContextEncoder(given.widths, options.dim, bidirectional=both, layers=options.encoder_layers, dropout=options.dropout)
        self.gcn = MaskedGCN(options.dim, options.gcn, seed=given.seed)
        self.head = EmotionHead(options.dim * len(given.widths), options.dim, given.classes, options.dropout)

    def forward(self, structure: Structure, features: Mapping[str, Tensor], *, step: int = 0) -> Tensor:
        """See :class:`dgl_merc.models.base.Model`."""
        context = self.encoder(structure, features)  # (2)
        fused, shown = self.gcn(structure, context, step=step)  # (17)-(21)
        h = beside(structure, fused)
        if self.options.residual:
            h = h + beside(structure, shown)
        logits: Tensor = self.head(h)  # (22)
        return logits
