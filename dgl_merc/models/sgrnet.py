"""MA-CMU-SGRNet: multi-level alignment, uncertainty-aware fusion, semantic graph (Zhang et al., IEEE TAFFC 2024). Algorithm 1 as a whole.

The paper has speech and text; here any modalities will do. With one there is nothing to align or to fuse: its encoding, through a linear
map, is what the semantic graph's nodes have (V-B). Where the equations can be read in more than one way, the reading is an option.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

from dgl_merc.graphs import Structure
from dgl_merc.heads import DynamicsOptions, EmotionDynamics, EmotionHead
from dgl_merc.layers import (
    ContextEncoder,
    ContextEncoderOptions,
    DistributionEncoder,
    DistributionEncoderOptions,
    Dropout,
    Probe,
    SemanticGraph,
    SemanticGraphOptions,
    UncertaintyFusion,
    UncertaintyFusionOptions,
    Unified,
    beside,
)
from dgl_merc.losses import Alignment, AlignmentOptions
from dgl_merc.models.base import Model, ModelInput, Output
from dgl_merc.settings import check_range

__all__ = ["SGRNet", "SGRNetOptions"]


@dataclass(frozen=True)
class SGRNetOptions:
    """Readings of the paper and sizes it leaves open.

    Attributes:
        dim: d_e, of encodings and distributions (IV-C).
        width: d_f, of the semantic graph's nodes (IV-C).
        context: of the encoders f_theta, f_phi: a GRU each.
        dropout: after the encoders and the fusion, and in the head (IV-C).
        distribution: readings of Fig. 2.
        fusion: readings of 14-21.
        graph: readings of 22-26.
        alignment: sizes and readings of 1-13 and 31.
        dynamics: a second opinion, ours and not the paper's; by default none.
    """

    dim: int = 150
    width: int = 100
    context: ContextEncoderOptions = field(default_factory=lambda: ContextEncoderOptions(cell="gru"))
    dropout: float = 0.5
    distribution: DistributionEncoderOptions = field(default_factory=DistributionEncoderOptions)
    fusion: UncertaintyFusionOptions = field(default_factory=UncertaintyFusionOptions)
    graph: SemanticGraphOptions = field(default_factory=SemanticGraphOptions)
    alignment: AlignmentOptions = field(default_factory=AlignmentOptions)
    dynamics: DynamicsOptions = field(default_factory=DynamicsOptions)

    def __post_init__(self) -> None:
        check_range(self, 2, "dim", "width")
        check_range(self, 0, "dropout", most=1)
        if not self.context.projected and self.context.bidirectional and self.dim % 2:
            raise ValueError(f"dim must be even where context.projected is False and there are two directions, found {self.dim}")
        self.distribution.check(self.dim)
        self.graph.semantic_width(self.width)


class SGRNet(Model):
    """Dialogues to logits."""

    def __init__(self, given: ModelInput, options: SGRNetOptions) -> None:
        super().__init__()
        self.options, o = options, options
        names, several = tuple(given.widths), len(given.widths) > 1
        self.encoder = ContextEncoder(given.widths, o.dim, o.context, bidirectional=not given.spec.causal, dropout=o.dropout)
        self.distribution = DistributionEncoder(names, o.dim, o.distribution) if several else None
        self.fusion = UncertaintyFusion(names, o.dim, o.width, o.fusion) if several else None
        self.alone = None if several else nn.Linear(o.dim, o.width, bias=False)
        self.alignment = Alignment(names, o.dim, o.alignment) if several and o.alignment.weight else None
        self.dropout = Dropout(o.dropout)
        self.graph = SemanticGraph(o.width, o.graph)
        self.head = EmotionHead(self.graph.width, o.width, given.outputs, o.dropout)
        self.dynamics = EmotionDynamics.of(given.widths, given.outputs, o.dynamics)

    def forward(
        self,
        structure: Structure,
        features: Mapping[str, Tensor],
        *,
        step: int = 0,  # noqa: ARG002  (no mask)
        labels: Tensor | None = None,
        probe: Probe | None = None,
    ) -> Output:
        """See :class:`dgl_merc.models.base.Model`."""
        output = self._by_graph(structure, features, labels, probe)
        if self.dynamics is None:
            return output
        return output._replace(logits=self.dynamics(structure, features, output.logits))

    def _by_graph(self, structure: Structure, features: Mapping[str, Tensor], labels: Tensor | None, probe: Probe | None) -> Output:
        """The paper's network: (1)-(31)."""
        encoded = self.encoder(structure, features)  # u~
        if self.alone is not None:
            (m,) = encoded
            return Output(self._refine(structure, beside(structure, {m: self.alone(encoded[m])}), probe))
        assert self.distribution is not None
        assert self.fusion is not None
        z = {m: nn.functional.normalize(rows, dim=-1) for m, rows in encoded.items()}  # s~, t~
        given = self.distribution(structure, z, probe=probe)  # mu, sigma (Fig. 2)
        unified = self.fusion(structure, given, probe=probe)  # g (14)-(21)
        logits = self._refine(structure, unified.g, probe)
        if not self.training:
            return Output(logits, details=_details(structure, unified))
        if self.alignment is None:
            return Output(logits)
        mean, sigma = {m: d.mean for m, d in given.items()}, {m: d.sigma for m, d in given.items()}
        return Output(logits, self.alignment(structure, z, mean, sigma, labels))  # (1)-(13), (31)

    def _refine(self, structure: Structure, g: Tensor, probe: Probe | None) -> Tensor:
        """[U, W] to [U, C]: (22)-(28)."""
        logits: Tensor = self.head(self.graph(structure, self.dropout(g), probe=probe))
        return logits


def _details(structure: Structure, unified: Unified) -> dict[str, Tensor]:
    """How uncertain each modality of an utterance is and what it weighs; NaN where it is absent."""
    found: dict[str, Tensor] = {}
    for kind, values in (("sigma", unified.norms), ("weight", unified.weights)):
        known = torch.where(structure.presence, values, torch.nan)
        found |= {f"{kind}_{m}": known[:, k] for k, m in enumerate(structure.spec.modalities)}
    return found
