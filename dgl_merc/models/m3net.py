"""M3NET: multivariate and multi-frequency propagation side by side (Chen et al., CVPR 2023).

    c_t = BiGRU(x_t) W,  c_a = x_a W,  c_v = x_v W          modality encoders
    v_m = c_m + s                                           the row of its speaker
    y   = L hypergraph convolutions of v                    :class:`dgl_merc.layers.HypergraphConvolutions`
    z   = K frequency-adaptive graph convolutions of v      :class:`dgl_merc.layers.FrequencyGCN`
    e   = [y_t, y_a, y_v, z_t, z_a, z_v]                    to the emotion head

The ordinary graph of z is the spec's: each node meets the other modalities of its utterance, and its own within the dialogue (or window).
The published design hears whole dialogues; in a causal spec the contextual hyperedges become those of what has been said so far, the
neighbours of a node are the earlier ones, and the recurrent network runs forward. Any modalities will do; with one the multimodal
hyperedge holds one node, which it gives back.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import torch
from torch import Tensor

from dgl_merc.graphs import Structure
from dgl_merc.heads import EmotionHead
from dgl_merc.layers import ContextEncoder, ContextEncoderOptions, FrequencyGCN, HypergraphConvolutions, Probe, SpeakerEmbedding, beside
from dgl_merc.models.base import Model, ModelInput, Output
from dgl_merc.settings import check_range

__all__ = ["M3Net", "M3NetOptions"]


@dataclass(frozen=True)
class M3NetOptions:
    """Sizes, and readings of the encoder.

    Attributes:
        dim: D of nodes.
        context: the modality encoders.
        dropout: after the encoders and in the head.
        speaker_rows: of the table, by the order in which speakers first talk in the dialogue; who comes later shares the last. 0: none.
        hypergraph_layers: L; 0: v leaves the multivariate part as it came.
        frequency_layers: K; 0: v leaves the multi-frequency part as it came.
    """

    dim: int = 100
    context: ContextEncoderOptions = field(default_factory=lambda: ContextEncoderOptions("text", cell="gru"))
    dropout: float = 0.5
    speaker_rows: int = 10
    hypergraph_layers: int = 3
    frequency_layers: int = 4

    def __post_init__(self) -> None:
        check_range(self, 1, "dim")
        check_range(self, 0, "speaker_rows", "hypergraph_layers", "frequency_layers")
        check_range(self, 0, "dropout", most=1)


class M3Net(Model):
    """Dialogues to logits."""

    def __init__(self, given: ModelInput, options: M3NetOptions) -> None:
        super().__init__()
        o, modalities = options, len(given.widths)
        self.encoder = ContextEncoder(given.widths, o.dim, o.context, bidirectional=not given.spec.causal, dropout=o.dropout)
        self.speakers = SpeakerEmbedding("dialogue", o.speaker_rows, o.dim) if o.speaker_rows else None
        self.hypergraph = HypergraphConvolutions(modalities, o.dim, o.hypergraph_layers)
        self.frequency = FrequencyGCN(o.dim, o.frequency_layers)
        self.head = EmotionHead(2 * o.dim * modalities, o.dim, given.outputs, o.dropout)

    def forward(
        self,
        structure: Structure,
        features: Mapping[str, Tensor],
        *,
        step: int = 0,  # noqa: ARG002  (no mask)
        labels: Tensor | None = None,  # noqa: ARG002  (no loss of its own)
        probe: Probe | None = None,
    ) -> Output:
        """See :class:`dgl_merc.models.base.Model`."""
        nodes = self.encoder(structure, features)
        nodes = self.speakers(structure, nodes) if self.speakers else nodes
        multivariate = self.hypergraph(structure, nodes)
        frequencies = self.frequency(structure, nodes, probe=probe)
        return Output(self.head(torch.cat([beside(structure, multivariate), beside(structure, frequencies)], dim=-1)))
