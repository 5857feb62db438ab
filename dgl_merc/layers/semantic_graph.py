"""Dual-encoding refinement on the semantic graph: a syntactic and a semantic encoder, side by side (MA-CMU-SGRNet eq. 22-26).

    h^sy = RGCN layers on the relation edges, weighted by M^s of g       (23)          near neighbours, kernel ``rgcn``
    h^se = attention over the dialogue, biased by M^s + M^p              (24)-(26)     all utterances, kernel ``semantic_attention``
    h    = [h^sy, h^se]

g [U, W] in, h [U, W] out, half of it from each encoder. The graph is the spec's: relations within its windows.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from dgl_merc.graphs import RELATIONS, UTTERANCE, Structure
from dgl_merc.graphs.similarity import unit_rows
from dgl_merc.kernels import ArccosWeight, rgcn, semantic_attention
from dgl_merc.layers.probe import Probe, Seen, probed
from dgl_merc.settings import check_range

__all__ = ["SemanticEncoder", "SemanticGraph", "SemanticGraphOptions", "SyntacticEncoder"]


@dataclass(frozen=True)
class SemanticGraphOptions:
    """Readings of eq. 22-26. P: the value of the paper's print; D: the default.

    Attributes:
        relations: R of 23: P, D 4: own or another's turn, before or after ("directed relations (past and future)", III-B); 2: own or
            another's (the set R printed there).
        normalise: divide the angle of 22 by pi: P False, D True.
        layers: of the syntactic encoder; 0: none (its half of h is the semantic encoder's too).
        edge_weight: M^s in 23; without is the ablation SyE.
        heads: of the semantic encoder (IV-C: 2); 0: no such encoder.
        bias: M^s + M^p in 25, 26; without is the ablation SeE.
        buckets: of distance in M^p (not given); further ones share the last, and what cannot be reached has its own.
    """

    relations: int = 4
    normalise: bool = True
    layers: int = 2
    edge_weight: bool = True
    heads: int = 2
    bias: bool = True
    buckets: int = 32

    def __post_init__(self) -> None:
        if self.relations not in (2, 4):
            raise ValueError(f"relations must be 2 or 4, found {self.relations}")
        check_range(self, 0, "layers", "heads")
        check_range(self, 1, "buckets")
        if not self.layers and not self.heads:
            raise ValueError("layers must be at least 1 where heads is 0: one of the two encoders has to be there")

    def semantic_width(self, width: int) -> int:
        """How much of h [U, W] is the semantic encoder's: half, or all where it is alone; a multiple of its heads.

        Raises:
            ValueError: more heads than that.
        """
        half = width // 2 if self.layers else width
        if self.heads > half:
            raise ValueError(f"graph.heads must be at most {half} with a width of {width}, found {self.heads}")
        return half // self.heads * self.heads if self.heads else 0


class SyntacticEncoder(nn.Module):
    """Eq. 23: [U, W] to [U, out]; the layers before the last keep the width."""

    def __init__(self, width: int, out: int, options: SemanticGraphOptions) -> None:
        super().__init__()
        self.options = options
        outs = [width] * (options.layers - 1) + [out]
        self.typed = nn.ParameterList(nn.init.xavier_uniform_(torch.empty(options.relations, width, w)) for w in outs)
        self.own = nn.ParameterList(nn.init.xavier_uniform_(torch.empty(width, w)) for w in outs)

    def forward(self, structure: Structure, g: Tensor, *, probe: Probe | None = None) -> Tensor:
        """[U, W] to [U, out]. Its parts in a probe are ``syntactic``, what each message is multiplied by, and ``likeness``, M^s alone."""
        weight = ArccosWeight({UTTERANCE: g}, normalise=self.options.normalise) if self.options.edge_weight else None
        if probe is not None and probe.seen is not None and weight is not None:
            unit = unit_rows(g)
            ends = {(UTTERANCE, r, UTTERANCE): structure.edges((UTTERANCE, r, UTTERANCE)) for r in RELATIONS}
            likeness = {t: weight.of_cosine((unit[src] * unit[dst]).sum(-1)) for t, (src, dst) in ends.items()}
            probe.seen["likeness"] = Seen(structure, likeness)
        h: Tensor = probed(probe, "syntactic", rgcn, structure, g, list(zip(self.typed, self.own, strict=True)), weight=weight)
        return h


class SemanticEncoder(nn.Module):
    """Eq. 24-26: [U, W] to [U, out], out a multiple of the heads."""

    def __init__(self, width: int, out: int, options: SemanticGraphOptions) -> None:
        super().__init__()
        self.options, self.scale = options, width**0.5  # sqrt(d_f)
        self.inward = nn.Linear(width, 3 * out, bias=False)
        self.distances = nn.Parameter(torch.zeros(options.heads, options.buckets + 1)) if options.bias else None

    def forward(self, structure: Structure, g: Tensor, *, probe: Probe | None = None) -> Tensor:
        """[U, W] to [U, out]. Its part in a probe is ``semantic``."""
        o = self.options
        q, k, v = self.inward(g).view(len(g), 3, o.heads, -1).unbind(1)
        weight = ArccosWeight({UTTERANCE: g}, normalise=o.normalise) if o.bias else None
        options = {"scale": self.scale, "weight": weight, "distances": self.distances}
        h: Tensor = probed(probe, "semantic", semantic_attention, structure, q, k, v, pairs=UTTERANCE, **options)
        return h.flatten(1)


class SemanticGraph(nn.Module):
    """Both encoders.

    Args:
        width: W of g.
        options: readings.

    Attributes:
        width: of h: W, or a little less where the semantic encoder is alone and its heads do not divide W.

    Raises:
        ValueError: more heads than the semantic encoder has features.
    """

    def __init__(self, width: int, options: SemanticGraphOptions | None = None) -> None:
        super().__init__()
        o = options or SemanticGraphOptions()
        semantic = o.semantic_width(width)
        self.syntactic = SyntacticEncoder(width, width - semantic, o) if o.layers else None
        self.semantic = SemanticEncoder(width, semantic, o) if o.heads else None
        self.width = width if o.layers else semantic

    def forward(self, structure: Structure, g: Tensor, *, probe: Probe | None = None) -> Tensor:
        """[U, W] to [U, width]: h."""
        encoders = [encoder for encoder in (self.syntactic, self.semantic) if encoder is not None]
        return torch.cat([encoder(structure, g, probe=probe) for encoder in encoders], dim=-1)
