"""DialogueGCN: a graph convolution network over the utterances near each other (Ghosal et al., EMNLP 2019).

    g   = GRU(u), both directions                                         3.2.1, the sequential context
    h2  = two graph convolutions of g, see :mod:`dgl_merc.layers.dialogue_graph`        3.2.2, the speakers' context
    h   = [g, h2]                                                         3.2.3
    h~  = sum over j of softmax_j(h_i^T W_beta h_j) h_j                   only with ``attention``
    l   = ReLU(W_l h~ + b_l), P = softmax(W l + b)

The paper has text alone; modalities are concatenated here, zeros where one is absent.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

import torch
from torch import Tensor

from dgl_merc.graphs import Structure
from dgl_merc.heads import EmotionHead
from dgl_merc.layers import DialogueAttention, DialogueGraph, DialogueGraphOptions, Dropout, Probe, Recurrent, Sequences, beside
from dgl_merc.models.base import Model, ModelInput, Output
from dgl_merc.settings import check_choices, check_range

__all__ = ["DialogueGCN", "DialogueGCNOptions"]


@dataclass(frozen=True)
class DialogueGCNOptions:
    """Settings. P: the paper's; D: the default.

    Attributes:
        cell: of the sequential context: P, D ``"gru"``; ``"lstm"``.
        hidden: H per direction: 100.
        dim: D of both convolutions, and the head's width: 100.
        graph: readings of 3.2.2.
        attention: over the dialogue before the head (3.2.3): P True.
        dropout: on the input, on g and in the head.
    """

    cell: Literal["gru", "lstm"] = "gru"
    hidden: int = 100
    dim: int = 100
    graph: DialogueGraphOptions = field(default_factory=DialogueGraphOptions)
    attention: bool = True
    dropout: float = 0.5

    def __post_init__(self) -> None:
        check_choices(self)
        check_range(self, 1, "hidden", "dim")
        check_range(self, 0, "dropout", most=1)


class DialogueGCN(Model):
    """Dialogues to logits."""

    def __init__(self, given: ModelInput, options: DialogueGCNOptions) -> None:
        super().__init__()
        o = options
        self.context = Recurrent(o.cell, sum(given.widths.values()), o.hidden, bidirectional=not given.spec.causal)
        self.graph = DialogueGraph(self.context.width, o.dim, o.graph)
        width = self.context.width + o.dim
        self.attention = DialogueAttention(width) if o.attention else None
        self.dropout = Dropout(o.dropout)
        self.head = EmotionHead(width, o.dim, given.outputs, o.dropout)

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
        u = self.dropout(beside(structure, features))
        g = self.dropout(self.context(u, Sequences.of_dialogues(structure)))
        h = torch.cat([g, self.graph(structure, g, probe=probe)], dim=-1)
        return Output(self.head(h if self.attention is None else self.attention(structure, h, probe=probe)))
