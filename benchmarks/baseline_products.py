"""The products of baselines: see :mod:`products`."""

from __future__ import annotations

from product_parts import Products, attention, emotion_head, linear, product, recurrent

from dgl_merc.graphs import UTTERANCE, Structure
from dgl_merc.kernels import choose_backend
from dgl_merc.layers import Sequences
from dgl_merc.models import ModelInput
from dgl_merc.models.dialoguegcn import DialogueGCNOptions
from dgl_merc.models.dialoguernn import DialogueRNNOptions

__all__ = ["dialoguegcn", "dialoguernn"]


def readout(s: Structure, width: int) -> Products:
    """Of W with the rows, and the two products of attention in every dialogue."""
    yield from linear("attention", s.num_utterances, width, width)
    for length in s.lengths.tolist():
        yield from attention("attention", 1, length, width, length)


def dialoguegcn(s: Structure, given: ModelInput, o: DialogueGCNOptions, *, training: bool) -> Products:  # noqa: ARG001  (no mask)
    """The context network; W_e, the pairs and the maps of both convolutions; attention."""
    directions, spec, n = 1 if s.spec.causal else 2, s.spec, s.num_utterances
    width, slots = o.hidden * directions, o.graph.relations + 1  # i itself is the last
    yield from recurrent("context", s.lengths, sum(given.widths.values()), o.hidden, 1, directions, cell=o.cell)
    yield from linear("graph", n, width, width, kind="graph")
    yield from linear("graph", n, slots * width, o.dim, kind="graph")
    for _ in ("any", "itself"):
        yield from linear("graph", n, o.dim, o.dim, kind="graph")
    if choose_backend("rgcn", s) == "dense":
        for b, r, c in s.blocks((UTTERANCE,), spec.past, 0 if spec.causal else spec.future).shapes:
            yield from product("graph", "graph", b, r, width, c)
            yield from product("graph", "graph", b, slots * r, c, width)
            yield from product("graph", "graph", b, r, c, o.dim, left=False)
    if o.attention:
        yield from readout(s, width + o.dim)
    yield from emotion_head(s, width + o.dim, o.dim, given.outputs)


def dialoguernn(s: Structure, given: ModelInput, o: DialogueRNNOptions, *, training: bool) -> Products:  # noqa: ARG001  (no mask)
    """What is made of u beforehand; per position the cells' products and attention; the emotion networks; attention."""
    directions, raw, n = 2 if o.bidirectional and not s.spec.causal else 1, sum(given.widths.values()), s.num_utterances
    width, of_party = o.input_dim or raw, 2 if o.listeners else 1
    if o.input_dim:
        yield from product("inputs", "linear", 1, n, raw, o.input_dim, left=False)
    for _ in range(directions):
        out = o.global_dim + 3 * o.global_dim + 3 * o.party_dim * of_party
        yield from product("parties", "recurrent", 1, n, width, out, left=bool(o.input_dim))
        for t, b in enumerate(Sequences(s.lengths).steps.counts[1:], 1):
            for inner, size in ((o.party_dim, o.global_dim), (o.global_dim, o.global_dim), *[(o.global_dim, o.party_dim)] * of_party):
                yield from product("parties", "recurrent", 1, b, inner, 3 * size)
            yield from product("parties", "recurrent", 1, b * of_party, o.party_dim, 3 * o.party_dim)
            yield from product("parties", "recurrent", b, 1, o.global_dim, t)
            yield from product("parties", "recurrent", b, 1, t, o.global_dim)
    yield from recurrent("emotions", s.lengths, o.party_dim, o.hidden, 1, directions, left=True, cell="gru")
    if o.attention:
        yield from readout(s, o.hidden * directions)
    yield from emotion_head(s, o.hidden * directions, o.hidden, given.outputs)
