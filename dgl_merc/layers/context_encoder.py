"""Context encoder: recurrent networks over the utterances of a dialogue (MGLRA eq. 2; SGRNet III-A, f_theta and f_phi).

    X^c_t, X^c_a, X^c_v = LSTM(X^r_t, X^r_a, X^r_v)

The print leaves open how many networks there are. ``hears="own"``: one per modality, over the utterances that have it; one without is
skipped: it has no row, and the network goes on to the next that has one. ``hears="all"``: one that hears the modalities of every utterance
side by side, zeros where one is absent (an utterance without any is a step with zeros: that somebody spoke); a modality's context is what
it says at the utterances that have it. ``hears="text"`` is the encoder of MMGCN and M3NET: one network over text, and of the other
modalities a linear map, X^c_m = X^r_m W_m, whose context is the graph's alone.

    H = LSTM(Z),   Z = X^r W_in            W_in only with an input width
    S = LSTM'([H, Z] along each speaker's own turns)            only with ``speaker_context``, which is ours and not the paper's
    X^c_m = [H, S, Z_m] W_m            Z_m only with an input width, or where no network hears m

SGRNet has a GRU per modality whose state is the encoding as it is (``cell="gru"``, ``projected=False``: X^c_m = H).

A narrow W_in is what keeps the networks from learning single utterances by heart: raw features are many, and most of them noise.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn

from dgl_merc.graphs import UTTERANCE, Structure
from dgl_merc.layers.dropout import Dropout
from dgl_merc.layers.fusion import at_nodes, beside
from dgl_merc.layers.sequences import Recurrent, Sequences
from dgl_merc.settings import check_choices, check_range

__all__ = ["ContextEncoder", "ContextEncoderOptions"]


@dataclass(frozen=True)
class ContextEncoderOptions:
    """Readings of eq. 2. P: the value of the papers' print; D: the default.

    Attributes:
        hears: P, D ``"own"``: a network per modality; ``"all"``: one for all modalities of an utterance; ``"text"``: one for text, while
            the others are only mapped.
        bidirectional: P False: the print says LSTM, direction unsaid; D True. Off where the spec is causal.
        layers: stacked in each network.
        input_dim: raw features are first projected to so many; 0: not at all.
        speaker_context: hear each speaker's own turns as a sequence of their own, too.
        input_dropout: on raw features.
        cell: ``"lstm"`` (MGLRA) or ``"gru"`` (SGRNet).
        projected: through W_m; SGRNet's P False.
    """

    hears: Literal["own", "all", "text"] = "own"
    bidirectional: bool = True
    layers: int = 1
    input_dim: int = 0
    speaker_context: bool = False
    input_dropout: float = 0.1
    cell: Literal["lstm", "gru"] = "lstm"
    projected: bool = True

    def __post_init__(self) -> None:
        check_choices(self)
        check_range(self, 1, "layers")
        check_range(self, 0, "input_dim")
        check_range(self, 0, "input_dropout", most=1)
        if not self.projected and (self.input_dim or self.speaker_context):
            raise ValueError("projected must be True with input_dim or speaker_context, whose parts W_m puts together")
        if not self.projected and self.hears == "text":
            raise ValueError("projected must be True with hears = text: W_m is all that other modalities have")


class ContextEncoder(nn.Module):
    """Raw features to contextual ones.

    Args:
        widths: modality -> raw width, in the spec's order.
        dim: D of the output; a bidirectional network has D / 2 units per direction.
        options: readings.
        bidirectional: whether the future may be heard at all.
        dropout: between the networks and on the output.
    """

    def __init__(
        self,
        widths: Mapping[str, int],
        dim: int,
        options: ContextEncoderOptions | None = None,
        *,
        bidirectional: bool = True,
        dropout: float = 0.0,
    ) -> None:
        super().__init__()
        self.options = o = options or ContextEncoderOptions()
        both = o.bidirectional and bidirectional
        hidden = max(dim // 2, 1) if both else dim
        self.inputs = nn.ModuleDict({m: nn.Linear(w, o.input_dim) for m, w in widths.items() if o.input_dim})
        raw = {m: o.input_dim or w for m, w in widths.items()}
        heard = {UTTERANCE: sum(raw.values())} if o.hears == "all" else {m: w for m, w in raw.items() if o.hears == "own" or m == "text"}
        self.networks = nn.ModuleDict({n: Recurrent(o.cell, w, hidden, layers=o.layers, bidirectional=both) for n, w in heard.items()})
        width = hidden * (1 + both)
        self.turns = nn.ModuleDict(
            {n: Recurrent(o.cell, width + w, hidden, bidirectional=both) for n, w in heard.items() if o.speaker_context}
        )
        total = width * (1 + o.speaker_context) + o.input_dim
        totals = {m: total if o.hears == "all" or m in heard else raw[m] for m in widths}
        if not o.projected and width != dim:
            raise ValueError(f"context.projected must be True for an odd width in two directions, found {dim}")
        self.projections = nn.ModuleDict({m: nn.Linear(w, dim) for m, w in totals.items() if o.projected})
        self.input_dropout, self.dropout = Dropout(o.input_dropout), Dropout(dropout)

    def forward(self, structure: Structure, x: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Modality -> [N_m, width_m] to modality -> [N_m, dim]."""
        inputs = {m: self.input_dropout(rows) for m, rows in x.items()}
        if self.inputs:
            inputs = {m: self.inputs[m](rows) for m, rows in inputs.items()}
        heard = {UTTERANCE: beside(structure, inputs)} if UTTERANCE in self.networks else inputs
        hidden = {n: self._context(structure, n, heard[n]) for n in self.networks}
        encoded = {}
        for m, rows in inputs.items():
            network = UTTERANCE if UTTERANCE in hidden else m
            context = [at_nodes(structure, m, hidden[network])] if network in hidden else []
            parts = torch.cat([*context, rows], dim=-1) if self.inputs or not context else context[0]
            encoded[m] = self.dropout(self.projections[m](parts) if self.projections else parts)
        return encoded

    def _context(self, structure: Structure, node_type: str, x: Tensor) -> Tensor:
        """[N, width] of a node type to [N, H] or, with each speaker's turns, [N, 2 H]."""
        hidden: Tensor = self.networks[node_type](x, Sequences.of_dialogues(structure, node_type))
        if not self.turns:
            return hidden
        hidden = self.dropout(hidden)
        own = self.turns[node_type](torch.cat([hidden, x], dim=-1), Sequences.of_speakers(structure, node_type))
        return torch.cat([hidden, own], dim=-1)
