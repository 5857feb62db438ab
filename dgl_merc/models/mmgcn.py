"""MMGCN: multimodal fusion via deep graph convolution (Hu et al., ACL 2021).

    h_t = BiLSTM(x_t) W,  h_a = x_a W,  h_v = x_v W         modality encoders
    n_m = h_m + s                                           the row of its speaker
    g   = deep graph convolution of n                       :class:`dgl_merc.layers.DeepGCN`
    e   = [n_t, n_a, n_v, g_t, g_a, g_v]                    to the emotion head

The graph's nodes are the modalities of the utterances: those of one modality are joined within the dialogue (or the spec's window), those
of one utterance with each other. Any modalities will do; all but text have a linear map alone unless ``context`` says otherwise.
Readings: the paper puts the speaker's row beside the node and maps both, which adds a map of it to a map of the node, as is done here;
dropout, of which equations say nothing, is in the encoder and in the head, not between the layers of the graph.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import torch
from torch import Tensor

from dgl_merc.graphs import Structure
from dgl_merc.heads import EmotionHead
from dgl_merc.layers import ContextEncoder, ContextEncoderOptions, DeepGCN, DeepGCNOptions, Probe, SpeakerEmbedding, beside
from dgl_merc.models.base import Model, ModelInput, Output
from dgl_merc.settings import check_range

__all__ = ["MMGCN", "MMGCNOptions"]


@dataclass(frozen=True)
class MMGCNOptions:
    """Sizes, and readings of the encoder.

    Attributes:
        dim: D of nodes.
        context: the modality encoders.
        dropout: after the encoders and in the head.
        speaker_rows: of the table, by the order in which speakers first talk in the dialogue; who comes later shares the last. 0: none.
        gcn: the graph part.
    """

    dim: int = 100
    context: ContextEncoderOptions = field(default_factory=lambda: ContextEncoderOptions("text"))
    dropout: float = 0.4
    speaker_rows: int = 10
    gcn: DeepGCNOptions = field(default_factory=DeepGCNOptions)

    def __post_init__(self) -> None:
        check_range(self, 1, "dim")
        check_range(self, 0, "speaker_rows")
        check_range(self, 0, "dropout", most=1)


class MMGCN(Model):
    """Dialogues to logits."""

    def __init__(self, given: ModelInput, options: MMGCNOptions) -> None:
        super().__init__()
        o = options
        self.encoder = ContextEncoder(given.widths, o.dim, o.context, bidirectional=not given.spec.causal, dropout=o.dropout)
        self.speakers = SpeakerEmbedding("dialogue", o.speaker_rows, o.dim) if o.speaker_rows else None
        self.gcn = DeepGCN(o.dim, o.gcn)
        self.head = EmotionHead(2 * o.dim * len(given.widths), o.dim, given.outputs, o.dropout)

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
        deep = self.gcn(structure, nodes, probe=probe)
        return Output(self.head(torch.cat([beside(structure, nodes), beside(structure, deep)], dim=-1)))
