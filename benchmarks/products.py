"""The matrix products that a training step and an inference pass of a model need at its own shapes, and those that it really makes.

Derived from equations, options and structure alone; nothing here asks the model. One function per layer yields the products of its forward
and backward pass as (part, kind, pass, batch, m, k, n, times). Shapes are the model's own: recurrent layers and pairs of utterances stand
in its buckets, padding and all (3 % of the operations; of the pairs alone 17 % on IEMOCAP-like batches, and half on MELD-like ones).
Where in doubt a product is left out, and :func:`counted` holds that the model makes at least these:

- no gradient to raw features (torch's LSTM computes it all the same), no recurrent product on the state of zeros;
- U U^T, the similarities, needs one product for its gradient, (G + G^T) U; softmax and arccos need none;
- what is as well done without a product: degrees, scalar products along a row, the mean of an utterance's M memory entries, and the
  edges of masked GCN and RGCN where their backend goes along a list of them;
- S of SGRNet's instance alignment is symmetric, so that half of it will do, and its gradient needs one product, (G + G^T) Z; all
  utterances count as labelled;
- reconstruction of masked nodes (off by default), and attention of a node that hears no other modality.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch
from baseline_products import dialoguegcn, dialoguernn
from product_parts import KINDS, Kind, Pass, Product, Products, attention, emotion_head, linear, product, recurrent
from torch.utils.flop_counter import FlopCounterMode

from dgl_merc.graphs import UTTERANCE, Structure
from dgl_merc.heads import DynamicsOptions
from dgl_merc.kernels import choose_backend
from dgl_merc.layers import Sequences
from dgl_merc.models import ModelInput
from dgl_merc.models.bilstm import BiLSTMOptions
from dgl_merc.models.linear import LogisticOptions, MajorityOptions
from dgl_merc.models.m3net import M3NetOptions
from dgl_merc.models.mglra import MGLRAOptions
from dgl_merc.models.mmgcn import MMGCNOptions
from dgl_merc.models.sgrnet import SGRNetOptions
from dgl_merc.models.transformer import TransformerOptions

__all__ = ["KINDS", "MODELS", "Kind", "Pass", "Product", "counted", "needed"]


def context_encoder(s: Structure, widths: Mapping[str, int], o: M3NetOptions | MGLRAOptions | MMGCNOptions | SGRNetOptions) -> Products:
    """W_in, the networks over dialogues and over speakers' turns, W_m (MGLRA 2; SGRNet's f_theta, f_phi)."""
    c = o.context
    directions = 2 if c.bidirectional and not s.spec.causal else 1
    hidden = max(o.dim // 2, 1) if directions == 2 else o.dim
    for m, width in widths.items():
        if c.input_dim:
            yield from product("encoder", "linear", 1, s.sizes[m], width, c.input_dim, left=False)
    narrow = {m: c.input_dim or width for m, width in widths.items()}
    heard = {UTTERANCE: sum(narrow.values())} if c.hears == "all" else {m: w for m, w in narrow.items() if c.hears == "own" or m == "text"}
    for n, width in heard.items():
        lengths, inner = Sequences.of_dialogues(s, n).lengths, hidden * directions
        yield from recurrent("encoder", lengths, width, hidden, c.layers, directions, left=bool(c.input_dim), cell=c.cell)
        if c.speaker_context:
            turns = Sequences.of_speakers(s, n).lengths
            yield from recurrent("encoder", turns, inner + width, hidden, 1, directions, left=True, cell=c.cell)
    for m in widths if c.projected else ():
        if c.hears == "text" and m not in heard:
            yield from product("encoder", "linear", 1, s.sizes[m], narrow[m], o.dim, left=bool(c.input_dim))
            continue
        yield from linear("encoder", s.sizes[m], hidden * directions * (1 + c.speaker_context) + c.input_dim, o.dim)


# ---- MGLRA


def attention_filter(s: Structure, o: MGLRAOptions) -> Products:
    """V_0 = W [X_t, X_a, X_v]; W^i V_0 and W^j X_m at each leaf (3)."""
    yield from linear("filter", s.num_utterances, len(s.sizes) * o.dim, o.dim)
    for n in s.sizes.values():
        for _ in range(2):
            yield from linear("filter", n, o.dim, o.dim)


def memory(s: Structure, o: MGLRAOptions) -> Products:
    """The logits of a block's entries (8), in every round that reads all of them."""
    for k in range(o.rounds):
        if k == 0 or o.memory == "all":
            yield from linear("memory", s.num_utterances * len(s.sizes), o.dim, len(s.sizes))


def attention_shapes(s: Structure) -> list[tuple[int, int, int]]:
    """Pieces, rows and columns of each block of the cross-modal attention."""
    return s.blocks(s.spec.modalities).shapes


def cross_modal_attention(s: Structure, o: MGLRAOptions) -> Products:
    """W^Q, W^K, W^V (10-12); Q K^T and A V (13); W^O (14)."""
    a, others = o.attention, max(len(s.sizes) - 1, 1)
    for _ in range(o.rounds):
        for n in s.sizes.values():
            yield from linear("attention", n, o.dim, 3 * a.heads * a.head_dim)
            yield from linear("attention", n, others * a.heads * a.head_dim, o.dim)
        if len(s.sizes) > 1 or a.lonely == "self":
            yield from cross_modal_pairs("attention", s, a.heads, a.head_dim)


def cross_modal_pairs(part: str, s: Structure, heads: int, width: int) -> Products:
    """Q K^T and A V for every ordered pair of modalities and head; alone, a modality attends to itself."""
    for b, r, c in attention_shapes(s):
        yield from attention(part, b * heads * len(s.sizes) * max(len(s.sizes) - 1, 1), r, width, c)


def gated_update(s: Structure, o: MGLRAOptions) -> Products:
    """A GRU cell per modality: input and state (15)."""
    for _ in range(o.rounds - (o.speaker_base == "head")):
        for n in s.sizes.values():
            for _ in range(2):
                yield from linear("update", n, o.dim, 3 * o.dim)


def masked_gcn(s: Structure, o: MGLRAOptions, *, training: bool) -> Products:
    """U U^T once (17, 18); A H and H W per layer (21)."""
    rate = o.gcn.rate if training and o.gcn.mask != "nodes" and o.gcn.degree == "masked" else 0.0
    yield from gcn(s, o.dim, o.gcn.layers, rate)


def gcn(s: Structure, dim: int, layers: int, rate: float) -> Products:
    """The same of so many layers, where a mask leaves 1 - rate."""
    if not layers:
        return
    for _ in range(layers):
        yield from linear("gcn", sum(s.sizes.values()), dim, dim, kind="graph")
    if choose_backend("masked_gcn", s, rate=rate) != "dense":
        return
    count, joint = len(s.sizes), s.spec.cross == "dialogue"
    for b, r, c in s.blocks(s.spec.modalities, *s.spec.reach(s.spec.message_types[0])).shapes:
        batch, rows, columns = (b, count * r, count * c) if joint else (b * count, r, c)
        yield from product("gcn", "graph", batch, rows, dim, columns, right=r != c)  # a window's columns are not its rows
        for _ in range(layers):
            yield from product("gcn", "graph", batch, rows, columns, dim)


def mglra(s: Structure, given: ModelInput, o: MGLRAOptions, *, training: bool) -> Products:
    """Algorithm 1."""
    yield from context_encoder(s, given.widths, o)
    if o.filter.output != "none":
        yield from attention_filter(s, o)
    if o.memory != "none":
        yield from memory(s, o)
    if o.attention.heads:
        yield from cross_modal_attention(s, o)
    yield from gated_update(s, o)
    if o.fusion == "gcn":
        yield from masked_gcn(s, o, training=training)
    yield from emotion_head(s, o.dim * len(s.sizes), o.dim, given.outputs)
    yield from emotion_dynamics(s, given, o.dynamics, training=training)


def emotion_dynamics(s: Structure, given: ModelInput, o: DynamicsOptions, *, training: bool) -> Products:
    """The evidence of the second opinion, in inference; the chain's products, of a few numbers each, are not counted."""
    if o.share and not training:
        width = sum(given.widths.values()) + len(given.widths)
        yield from product("dynamics", "linear", 1, s.num_utterances, width, given.outputs, left=False, right=False)


# ---- SGRNet


def distribution(s: Structure, o: SGRNetOptions) -> Products:
    """Q, K, V, attention and feed-forward maps of each modality's PDE (Fig. 2)."""
    d, part = o.distribution, "distribution"
    width = o.dim // d.heads
    for m, n in s.sizes.items():
        if d.paths == "split":
            yield from product(part, "linear", d.heads, n, width // 2, 3 * width)
            yield from product(part, "linear", d.heads, n, width - width // 2, width)
        else:
            yield from linear(part, n, o.dim, 3 * o.dim)
            yield from linear(part, n, o.dim, o.dim)
        yield from product(part, "linear", d.heads, n, width, width)
        for b, r, c in s.blocks((m,)).shapes:
            yield from attention(part, b * d.heads, r, width, c)


def fusion(s: Structure, o: SGRNetOptions) -> Products:
    """Q, K, V, attention, the branches' maps and the modalities' own (18-21)."""
    f, others = o.fusion, len(s.sizes) - 1
    if f.interaction == "sum":
        yield from linear("fusion", s.num_utterances, o.dim, o.width)
        return
    inner = f.heads * f.head_dim
    for n in s.sizes.values():
        yield from linear("fusion", n, o.dim, 3 * inner)
        yield from linear("fusion", n, others * inner, o.width // 2 if others == 1 else o.width)
        if f.residual:
            yield from linear("fusion", n, o.dim, o.width)
    yield from cross_modal_pairs("fusion", s, f.heads, f.head_dim)


def semantic_graph(s: Structure, o: SGRNetOptions) -> Products:
    """M^s, R H and the maps of each RGCN layer (23); M^s, Q K^T and A V of the semantic encoder (24-26)."""
    g, part, spec = o.graph, "graph", s.spec
    semantic = g.semantic_width(o.width)
    outs = [o.width] * (g.layers - 1) + [o.width - semantic] if g.layers else []
    for out in outs:
        yield from linear(part, s.num_utterances, g.relations * o.width, out, kind="graph")
        yield from linear(part, s.num_utterances, o.width, out, kind="graph")
    if outs and choose_backend("rgcn", s) == "dense":
        for b, r, c in s.blocks((UTTERANCE,), spec.past, 0 if spec.causal else spec.future).shapes:
            if g.edge_weight:
                yield from product(part, "graph", b, r, o.width, c, right=r != c)  # pieces' columns are not their rows
            for _ in outs:
                yield from product(part, "graph", b, g.relations * r, c, o.width, left=g.edge_weight)
    if g.heads:
        yield from linear(part, s.num_utterances, o.width, 3 * semantic)
        for b, r, c in s.blocks((UTTERANCE,)).shapes:
            if g.bias:
                yield from product(part, "graph", b, r, o.width, c, right=False)
            yield from attention(part, b * g.heads, r, semantic // g.heads, c)


def alignment(s: Structure, o: SGRNetOptions) -> Products:
    """S of all items with all, once for either order (3); of a modality's items with the prototypes (7, 8)."""
    a, items = o.alignment, sum(s.sizes.values())
    if a.weight * a.instance:
        yield Product("alignment", "alignment", "forward", 1, items, o.dim, items // 2)
        yield Product("alignment", "alignment", "backward", 1, items, items, o.dim)
    if a.weight * a.prototype:
        for n in s.sizes.values():
            yield from product("alignment", "alignment", 1, n, o.dim, a.prototypes)


def sgrnet(s: Structure, given: ModelInput, o: SGRNetOptions, *, training: bool) -> Products:
    """(1)-(31)."""
    yield from context_encoder(s, given.widths, o)
    if len(s.sizes) > 1:
        yield from distribution(s, o)
        yield from fusion(s, o)
        if training:
            yield from alignment(s, o)
    else:
        yield from linear("alone", sum(s.sizes.values()), o.dim, o.width)
    yield from semantic_graph(s, o)
    yield from emotion_head(s, o.width, o.width, given.outputs)
    yield from emotion_dynamics(s, given, o.dynamics, training=training)


# ---- baselines


def mmgcn(s: Structure, given: ModelInput, o: MMGCNOptions, *, training: bool) -> Products:  # noqa: ARG001  (no mask)
    """Modality encoders, deep graph convolution, head."""
    yield from context_encoder(s, given.widths, o)
    yield from gcn(s, o.dim, o.gcn.layers, 0.0)
    yield from emotion_head(s, 2 * o.dim * len(s.sizes), o.dim, given.outputs)


def m3net(s: Structure, given: ModelInput, o: M3NetOptions, *, training: bool) -> Products:  # noqa: ARG001  (no mask)
    """Modality encoders; per layer of the hypergraph gamma of every node, per layer of frequencies both parts of g . [h_i, h_j] and A H."""
    yield from context_encoder(s, given.widths, o)
    joint, count = s.spec.cross == "dialogue", len(s.sizes)
    for b, r, c in s.blocks(s.spec.modalities, *s.spec.reach(s.spec.message_types[0])).shapes:
        for _ in range(o.hypergraph_layers):
            yield from product("hypergraph", "graph", b * count, r, o.dim, 2)
        batch, rows, columns = (b, count * r, count * c) if joint else (b * count, r, c)
        for _ in range(o.frequency_layers):
            yield from product("frequency", "graph", batch, rows, o.dim, 2)
            yield from product("frequency", "graph", batch, rows, columns, o.dim)
    yield from emotion_head(s, 2 * o.dim * count, o.dim, given.outputs)


def bilstm(s: Structure, given: ModelInput, o: BiLSTMOptions, *, training: bool) -> Products:
    """Stacked layers over the concatenated modalities."""
    directions = 1 if s.spec.causal else 2
    yield from recurrent("encoder", s.lengths, sum(given.widths.values()), o.hidden, o.layers, directions)
    yield from emotion_head(s, o.hidden * directions, o.hidden, given.outputs)
    yield from emotion_dynamics(s, given, o.dynamics, training=training)


def transformer(s: Structure, given: ModelInput, o: TransformerOptions, *, training: bool) -> Products:  # noqa: ARG001  (no mask)
    """W_in; W^Q, W^K, W^V, Q K^T, A V, W^O, W_1 and W_2 of each layer."""
    n = s.num_utterances
    yield from product("inward", "linear", 1, n, sum(given.widths.values()), o.dim, left=False)
    for _ in range(o.layers):
        for width, out in ((o.dim, 3 * o.dim), (o.dim, o.dim), (o.dim, o.feed_forward), (o.feed_forward, o.dim)):
            yield from linear("layers", n, width, out)
        for length in s.lengths.tolist():  # in place: long dialogues stand in no block
            yield from attention("layers", o.heads, length, o.dim // o.heads, length)
    yield from emotion_head(s, o.dim, o.dim, given.outputs)


def logistic(s: Structure, given: ModelInput, o: LogisticOptions, *, training: bool) -> Products:  # noqa: ARG001
    """W; nothing is trained by steps, but it could be."""
    yield from product("head", "linear", 1, s.num_utterances, sum(given.widths.values()), given.outputs, left=False)


def majority(s: Structure, given: ModelInput, o: MajorityOptions, *, training: bool) -> Products:  # noqa: ARG001
    """None."""
    yield from ()


MODELS: dict[str, Callable[..., Products]] = {
    "mglra": mglra,
    "sgrnet": sgrnet,
    "bilstm": bilstm,
    "transformer": transformer,
    "logistic": logistic,
    "majority": majority,
    "dialoguegcn": dialoguegcn,
    "dialoguernn": dialoguernn,
    "m3net": m3net,
    "mmgcn": mmgcn,
}


def needed(model: str, given: ModelInput, options: Any, structure: Structure, *, training: bool) -> list[Product]:
    """The products of one batch: of a training step, or of inference.

    Args:
        model: a name of ``MODELS``.
        given: as the model was told.
        options: the model's.
        structure: of the batch.
        training: with the backward pass, and with the mask.
    """
    return [p for p in MODELS[model](structure, given, options, training=training) if training or p.when == "forward"]


# ---- what a model really does


def counted(run: Callable[[], object]) -> int:
    """Multiplications and additions of all matrix products, recurrent ones included, that ``run`` asks torch for."""
    aten = torch.ops.aten
    known = {
        aten.mkldnn_rnn_layer: _lstm,
        aten.mkldnn_rnn_layer_backward: _lstm_backward,
        aten.mv: _vector,
        aten.dot: _vector,
        aten.addmm_: _added,
        aten.baddbmm_: _added,
    }
    with FlopCounterMode(display=False, custom_mapping=known) as counter:
        run()
    return int(counter.get_total_flops())


def _lstm(x: Any, w: Any, u: Any, *_: Any, **__: Any) -> int:
    """[L, b, W] by [4 H, W] and [4 H, H]: every step multiplies its state, also the first."""
    return 2 * int(x[0] * x[1] * (w[0] * w[1] + u[0] * u[1]))


def _lstm_backward(x: Any, w: Any, u: Any, *_: Any, **__: Any) -> int:
    """Gradients of input (also where nobody asks for it), states and both weights."""
    return 2 * _lstm(x, w, u)


def _added(_: Any, a: Any, b: Any, *__: Any, **___: Any) -> int:
    """Into what is there: [..., m, k] by [..., k, n]."""
    return 2 * int(torch.Size(a).numel()) * int(b[-1])


def _vector(a: Any, *_: Any, **__: Any) -> int:
    """[m, k] by [k], or [k] by [k]."""
    return 2 * int(torch.Size(a).numel())
