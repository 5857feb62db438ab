"""MGLRA: masked graph learning with recurrent alignment (Meng et al., IEEE/ACM TASLP 2024). Algorithm 1 as a whole.

The paper's public code holds none of the alignment: what is here follows the equations. Where they can be read in more than one way, the
reading is an option.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

import torch
from torch import Tensor

from dgl_merc.graphs import Structure
from dgl_merc.heads import DynamicsOptions, EmotionDynamics, EmotionHead, ReconstructionHead
from dgl_merc.layers import (
    AttentionFilter,
    AttentionFilterOptions,
    ContextEncoder,
    ContextEncoderOptions,
    CrossModalAttention,
    CrossModalAttentionOptions,
    GatedUpdate,
    MaskedGCN,
    MaskedGCNOptions,
    Memory,
    Probe,
    SpeakerEmbedding,
    beside,
)
from dgl_merc.losses import cosine_error
from dgl_merc.models.base import Model, ModelInput, Output
from dgl_merc.settings import check_choices, check_range

__all__ = ["MGLRA", "MGLRAOptions"]

Nodes = Mapping[str, Tensor]  # modality -> [N_m, D]


@dataclass(frozen=True)
class MGLRAOptions:
    """Readings of the paper and sizes it leaves open. P: the value of its print; D: the default.

    Attributes:
        dim: the model's width.
        context: readings of 2.
        dropout: within and after the context encoder and in the head.
        filter: readings of 3-5.
        memory: the entries of a memory block after the first round (6-9): P ``"own"`` (Algorithm 1, line 12), D ``"all"`` (eq. 6),
            ``"own+h"``. ``"none"``: no memory, X^R is X^h and later X (with ``rounds`` 1, the ablation MRFA).
        rounds: T^F, of alignment (not given).
        attention: readings of 10-14.
        speakers: whom a speaker's row stands for (16): P ``"corpus"``, D ``"dialogue"``; ``"none"``.
        speaker_rows: of the table, for ``"dialogue"``.
        speaker_base: what it is added to: P ``"head"``, X^head of the last round, which leaves the last GRU without effect; D ``"gru"``.
        gcn: readings of 17-21.
        fusion: ``"gcn"``; ``"none"``: no graph, X^S goes to the head (an ablation).
        residual: add the graph's input to its output before the head (22): P False, D True.
        reconstruction: weight of the loss that guesses masked nodes (abstract); 0: none. Needs a mask of nodes.
        dynamics: a second opinion, ours and not the paper's; P, D none.
    """

    dim: int = 100
    context: ContextEncoderOptions = field(default_factory=ContextEncoderOptions)
    dropout: float = 0.5
    filter: AttentionFilterOptions = field(default_factory=AttentionFilterOptions)
    memory: Literal["all", "own", "own+h", "none"] = "all"
    rounds: int = 3
    attention: CrossModalAttentionOptions = field(default_factory=CrossModalAttentionOptions)
    speakers: Literal["dialogue", "corpus", "none"] = "dialogue"
    speaker_rows: int = 10
    speaker_base: Literal["gru", "head"] = "gru"
    gcn: MaskedGCNOptions = field(default_factory=MaskedGCNOptions)
    fusion: Literal["gcn", "none"] = "gcn"
    residual: bool = True
    reconstruction: float = 0.0
    dynamics: DynamicsOptions = field(default_factory=DynamicsOptions)

    def __post_init__(self) -> None:
        check_choices(self)
        check_range(self, 1, "dim", "rounds", "speaker_rows")
        check_range(self, 0, "dropout", most=1)
        check_range(self, 0, "reconstruction", most=math.inf)
        if self.reconstruction and (self.fusion == "none" or self.gcn.mask == "edges"):
            raise ValueError("reconstruction guesses masked nodes, and none are masked: set gcn.mask to both or nodes (and fusion to gcn)")


class MGLRA(Model):
    """Dialogues to logits."""

    def __init__(self, given: ModelInput, options: MGLRAOptions) -> None:
        super().__init__()
        self.options, o = options, options
        names = tuple(given.widths)
        updated = o.rounds > 1 or o.speaker_base == "gru"  # else nothing would read it
        self.encoder = ContextEncoder(given.widths, o.dim, o.context, bidirectional=not given.spec.causal, dropout=o.dropout)
        self.filter = AttentionFilter(len(names), o.dim, o.filter) if o.filter.output != "none" else None
        self.memory = Memory(len(names), o.dim, o.memory) if o.memory != "none" else None
        self.attention = CrossModalAttention(names, o.dim, o.attention) if o.attention.heads else None
        self.update = GatedUpdate(names, o.dim) if updated else None
        rows = given.speakers if o.speakers == "corpus" else o.speaker_rows
        self.speakers = SpeakerEmbedding(o.speakers, rows, o.dim) if o.speakers != "none" else None
        self.gcn = MaskedGCN(o.dim, o.gcn, seed=given.seed) if o.fusion == "gcn" else None
        self.head = EmotionHead(o.dim * len(names), o.dim, given.outputs, o.dropout)
        self.reconstruction = ReconstructionHead(o.dim) if o.reconstruction else None
        self.dynamics = EmotionDynamics.of(given.widths, given.outputs, o.dynamics)

    def forward(
        self,
        structure: Structure,
        features: Mapping[str, Tensor],
        *,
        step: int = 0,
        labels: Tensor | None = None,  # noqa: ARG002  (no loss that needs them)
        probe: Probe | None = None,
    ) -> Output:
        """See :class:`dgl_merc.models.base.Model`."""
        context = self.encoder(structure, features)  # X^c (2)
        filtered: Nodes = self.filter(structure, context, probe=probe) if self.filter else context  # X^h (3)-(5)
        aligned = self._align(structure, filtered, probe)
        nodes = self.speakers(structure, aligned) if self.speakers else aligned  # X^S (16)
        h, losses = self._fuse(structure, nodes, step, probe)
        logits = self.head(h)  # (22)-(24)
        return Output(logits if self.dynamics is None else self.dynamics(structure, features, logits), losses)

    def _fuse(self, structure: Structure, nodes: Nodes, step: int, probe: Probe | None) -> tuple[Tensor, dict[str, Tensor]]:
        """X^S to what the head reads, and the loss of reconstruction: (17)-(21)."""
        if self.gcn is None:
            return beside(structure, nodes), {}
        fused = self.gcn(structure, nodes, step=step, probe=probe)
        h = beside(structure, fused.nodes)
        if self.options.residual:
            h = h + beside(structure, fused.shown)
        if self.reconstruction and fused.masked:
            return h, {"reconstruction": self._guess(self.reconstruction, nodes, fused.nodes, fused.masked)}
        return h, {}

    def _align(self, structure: Structure, filtered: Nodes, probe: Probe | None) -> Nodes:
        """Algorithm 1, lines 6-25: X^h to X of the last round, or to its X^head."""
        refined: Nodes | None = None
        for number in range(1, self.options.rounds + 1):
            recalled: Nodes = self.memory(structure, filtered, refined) if self.memory else refined or filtered  # X^R (6)-(9)
            head: Nodes = recalled  # X^head (10)-(14)
            if self.attention:
                head = self.attention(structure, recalled, probe=probe, part=f"attention, round {number}")
            if self.update is None or (number == self.options.rounds and self.options.speaker_base == "head"):
                return head
            refined = self.update(head, refined or recalled)  # X (15)
        assert refined is not None
        return refined

    def _guess(self, head: ReconstructionHead, nodes: Nodes, fused: Nodes, masked: Nodes) -> Tensor:
        """The loss of the masked nodes of all modalities together."""
        rows = [masked[m].nonzero()[:, 0] for m in nodes]
        guesses, truths = (torch.cat([x[m].index_select(0, r) for m, r in zip(nodes, rows, strict=True)]) for x in (fused, nodes))
        return self.options.reconstruction * cosine_error(head(guesses), truths.detach())
