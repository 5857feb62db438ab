"""DialogueRNN: an attentive recurrent network over the states of a dialogue's parties (Majumder et al., AAAI 2019).

    q     = the parties' states, see :mod:`dgl_merc.layers.party_recurrence`
    e_t   = GRU_E(e_{t-1}, q_{s,t})                        the emotion state; s: who speaks at t
    e~_t  = sum over j of softmax_j(e_t^T W_beta e_j) e_j       with ``attention`` (BiDialogueRNN+Att)
    l_t   = ReLU(W_l e~_t + b_l), P_t = softmax(W l_t + b)

BiDialogueRNN has the whole network a second time, over the reversed dialogue, and the two e_t side by side. Modalities are concatenated,
zeros where one is absent, as the paper does.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from dgl_merc.graphs import Structure
from dgl_merc.heads import EmotionHead
from dgl_merc.layers import DialogueAttention, Dropout, PartyRecurrence, Probe, Recurrent, Sequences, beside
from dgl_merc.models.base import Model, ModelInput, Output
from dgl_merc.settings import check_range

__all__ = ["DialogueRNN", "DialogueRNNOptions"]


@dataclass(frozen=True)
class DialogueRNNOptions:
    """Settings. P: the paper's; D: the default.

    Attributes:
        global_dim: G, of the dialogue's state: P 150, D 100.
        party_dim: P, of a party's: P 150, D 100.
        hidden: E, of the emotion state, and the head's width: P, D 100.
        input_dim: raw features are first projected to so many, as the paper's extractors do beforehand; 0: not at all.
        listeners: the states of those who do not speak change, too; P, D False: the paper found no gain.
        bidirectional: BiDialogueRNN: P, D True; off where the spec is causal.
        attention: over the emotion states of the dialogue: P, D True.
        dropout: on the input, on the emotion states and in the head.
    """

    global_dim: int = 100
    party_dim: int = 100
    hidden: int = 100
    input_dim: int = 100
    listeners: bool = False
    bidirectional: bool = True
    attention: bool = True
    dropout: float = 0.5

    def __post_init__(self) -> None:
        check_range(self, 1, "global_dim", "party_dim", "hidden")
        check_range(self, 0, "input_dim")
        check_range(self, 0, "dropout", most=1)


class DialogueRNN(Model):
    """Dialogues to logits."""

    def __init__(self, given: ModelInput, options: DialogueRNNOptions) -> None:
        super().__init__()
        o, raw = options, sum(given.widths.values())
        directions = range(2 if o.bidirectional and not given.spec.causal else 1)
        width = o.hidden * len(directions)
        self.inputs = nn.Linear(raw, o.input_dim) if o.input_dim else None
        self.parties = nn.ModuleList(
            PartyRecurrence(o.input_dim or raw, o.global_dim, o.party_dim, listeners=o.listeners) for _ in directions
        )
        self.emotions = nn.ModuleList(Recurrent("gru", o.party_dim, o.hidden, bidirectional=False) for _ in directions)
        self.attention = DialogueAttention(width) if o.attention else None
        self.dropout = Dropout(o.dropout)
        self.head = EmotionHead(width, o.hidden, given.outputs, o.dropout)

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
        u = u if self.inputs is None else self.inputs(u)
        ahead, states = Sequences.of_dialogues(structure), []
        for k, (parties, emotions) in enumerate(zip(self.parties, self.emotions, strict=True)):
            sequences = ahead.reversed if k else ahead
            states.append(emotions(parties(structure, u, sequences), sequences))
        e = self.dropout(torch.cat(states, dim=-1))
        return Output(self.head(e if self.attention is None else self.attention(structure, e, probe=probe)))
