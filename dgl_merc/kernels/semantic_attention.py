"""Attention over the nodes of a type in a dialogue, biased by likeness and distance or not (MA-CMU-SGRNet eq. 22, 24-26, Fig. 2).

    SP_ij  = M^s_ij + M^p_ij                                                               (24)
    a_ij   = q_i . k_j / scale + SP_ij            q = W_q g, k = W_k g, per head            (25)
    p_ij   = exp(a_ij) / sum over j' of exp(a_ij')            ``softmax``                   (26, Fig. 2)
           = relu(a_ij) / sum over j' of relu(a_ij')          ``relu``                      (Fig. 2)
    h_i    = sum over j of p_ij (v_j + SP_ij)     v = W_v g                                 (26)

N nodes of one type, H heads, K features per head; j runs over the nodes of that type in i's dialogue, i among them, in a causal structure
over those up to i's position. SGRNet's semantic encoder is 26 on utterances; its probability distribution encoder has the nodes of a
modality, no SP, and for p an "Int": an activation function and a normalisation function (:data:`Interaction`). M^s is eq. 22
(:class:`dgl_merc.kernels.ArccosWeight`). M^p_ij is a learnable scalar per head and distance: the number of hops from j's utterance to i's
along the relation edges, clipped to B - 1, with a scalar of its own where no path leads. In a window graph that is
``ceil((j - i) / future)`` or ``ceil((i - j) / past)`` of positions, exactly.

Readings: the print has ``W_v g_i`` in 26, which would make the sum trivial; SP_ij there is added to every channel; scale is sqrt(d_f), d_f
the width of g. Without ``weight`` and ``distances`` SP is 0 (the ablation) and this is plain attention. With ``relu`` a row in which no
a_ij is positive has no weights: zeros, and no gradient. So has one whose positive a_ij add up to less than the least normal number.

Backends: ``dense`` (blocks, by tiles in long dialogues; without SP on the CPU dialogue by dialogue, in memory that grows with the nodes),
``dgl`` and ``scatter`` (along the list of all pairs, which grows with the square of a dialogue's length). All agree with
:func:`semantic_attention_loop`, output and gradients, to 1e-10 in float64. Weights are float32 at least.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from types import NoneType
from typing import Any, get_args

import torch
from torch import Tensor

from dgl_merc.graphs import UTTERANCE, Structure
from dgl_merc.graphs.similarity import unit_rows
from dgl_merc.kernels.backends import Backend, EdgeBackend, choose_backend
from dgl_merc.kernels.dialogue_pairs import DialoguePairs
from dgl_merc.kernels.edge_list import EdgeList, check_kind, check_likeness, check_rows
from dgl_merc.kernels.messages import messages
from dgl_merc.kernels.newest import attend_within, has_past, refuse
from dgl_merc.kernels.rules import ArccosWeight
from dgl_merc.kernels.semantic_blocks import How, Interaction, likeness_of_itself, on_blocks, or_none
from dgl_merc.kernels.semantic_dialogues import in_place, on_dialogues

__all__ = ["Interaction", "semantic_attention"]


def semantic_attention(
    structure: Structure | Any,
    q: Tensor,
    k: Tensor,
    v: Tensor,
    *,
    scale: float,
    node_type: str = UTTERANCE,
    interaction: Interaction = "softmax",
    weight: ArccosWeight | Tensor | None = None,
    distances: Tensor | None = None,
    keep: Tensor | None = None,
    backend: Backend = "auto",
    return_weights: bool = False,
) -> Any:
    """Attend within each dialogue.

    Pairs, where a tensor speaks of them, are those of :meth:`dgl_merc.graphs.Structure.pairs`: P of them, by (dialogue, dst, src), itself
    included. In a DGL graph they are all pairs of a dialogue (``batch_num_nodes(node_type)``), also in one made of a causal structure,
    for a graph does not say that it is causal; distances are shortest paths along whatever relation edges it has, between the utterances
    that ``part_of`` edges name.

    Args:
        structure: a :class:`~dgl_merc.graphs.Structure`, or any DGL heterograph of the schema (then ``dgl`` or ``scatter``).
        q: [N, H, K] queries of the nodes of ``node_type``.
        k: [N, H, K] keys.
        v: [N, H, K'] values.
        scale: what q . k is divided by; the paper's is the root of the width of g.
        node_type: ``"utterance"``, or a modality: then only the utterances that have it attend, and are attended to.
        interaction: what makes weights of logits: ``"softmax"``, or ``"relu"``: rectified, and divided by their sum.
        weight: M^s: a rule (its ``x`` names ``node_type``), or [P]; None: 0.
        distances: M^p: [H, B + 1], one scalar per head and distance 0 ... B - 1 (the last also for what is further), then one for what
            cannot be reached; None: 0.
        keep: [P] bool: pairs that exist at all (for explanations). A node that hears none gets zeros.
        backend: who computes; never changes the numbers beyond rounding. See :func:`dgl_merc.kernels.choose_backend`.
        return_weights: return p_ij as well.

    Returns:
        [N, H, K']; with ``return_weights`` also [P, H].

    Raises:
        ValueError: shapes that do not fit; the message names what was received.

    Example, by hand: two utterances, queries of zero, so that only the distance decides. Itself weighs 3 times the other.

    >>> from dgl_merc.graphs import GraphSpec
    >>> s = Structure.of([2], GraphSpec(("text",)))
    >>> zero, v = torch.zeros(2, 1, 1), torch.tensor([1.0, 5.0]).view(2, 1, 1)
    >>> M_p = torch.tensor([[3.0, 1.0, 2.0]]).log()
    >>> y, a = semantic_attention(s, zero, zero, v, scale=1.0, distances=M_p, return_weights=True)
    >>> a.flatten()
    tensor([0.7500, 0.2500, 0.2500, 0.7500])
    >>> y.flatten() - 0.75 * M_p[0, 0]  # 3/4 1 + 1/4 5, and 1/4 1 + 3/4 5
    tensor([2., 4.])

    Rectified logits in place of their exponentials: 3 and 1 for the first, and -3 and -1 for the second, which hears nobody.

    >>> q, k = torch.tensor([1.0, -1.0]).view(2, 1, 1), torch.tensor([3.0, 1.0]).view(2, 1, 1)
    >>> semantic_attention(s, q, k, v, scale=1.0, interaction="relu").flatten()
    tensor([2., 0.])

    The nodes of a modality that the first utterance of two lacks: one, which hears itself.

    >>> s = Structure.of([2], GraphSpec(("text", "audio")), presence=[[1, 0], [1, 1]])
    >>> semantic_attention(s, zero[:1], zero[:1], v[1:], scale=1.0, node_type="audio").flatten()
    tensor([5.])

    As a DGL graph in which no edge leads from the second to the first: what cannot be reached has its own scalar.

    >>> from dgl_merc._dgl import dgl
    >>> graph = dgl.heterograph({("utterance", "inter_past", "utterance"): ([0], [1])}, num_nodes_dict={"utterance": 2})
    >>> semantic_attention(graph, zero, zero, v, scale=1.0, distances=M_p, return_weights=True)[1].flatten()  # the first: 3 to 2
    tensor([0.6000, 0.4000, 0.2500, 0.7500])
    """
    chosen = choose_backend("semantic_attention", structure, backend)
    check_kind("weight", weight, (ArccosWeight, Tensor, NoneType))
    check_kind("keep", keep, (Tensor, NoneType))
    if interaction not in get_args(Interaction):
        raise ValueError(f"interaction must be one of {', '.join(map(repr, get_args(Interaction)))}, got {interaction!r}")
    if not scale > 0:
        raise ValueError(f"scale must be greater than 0, got {scale}")
    _check_rows(structure, q, k, v, node_type)
    if distances is not None and (distances.ndim != 2 or len(distances) != q.shape[1] or distances.shape[1] < 2):
        raise ValueError(f"distances must be [H={q.shape[1]}, B + 1], B at least 1, got {list(distances.shape)}")
    if keep is not None and keep.dtype != torch.bool:
        raise ValueError(f"keep must be bool, True = left in, got {keep.dtype}")
    if isinstance(weight, ArccosWeight):
        check_likeness(weight, len(q), node_type)
    how = How(node_type, scale, interaction, weight, distances, keep)
    if has_past(structure):
        refuse(weight=weight, keep=keep, return_weights=return_weights)
        return attend_within(structure, q, k, v, how)
    if chosen == "dense":
        y = (on_dialogues if in_place(structure, how) else on_blocks)(structure, q, k, v, how)
        return (y, _on_pairs("scatter", structure, q, k, None, how)[1]) if return_weights else y
    y, weights = _on_pairs(chosen, structure, q, k, v, how)
    return (y, weights) if return_weights else y


def _check_rows(graph: Structure | Any, q: Tensor, k: Tensor, v: Tensor, node_type: str) -> None:
    types = graph.spec.node_types if isinstance(graph, Structure) else graph.ntypes
    if node_type not in types:
        raise ValueError(f"node_type must be one of {list(types)}, got {node_type!r}")
    for name, value in (("q", q), ("k", k), ("v", v)):
        check_rows(name, value, graph.num_nodes(node_type), "H", "K")
    if q.shape != k.shape or v.shape[1] != q.shape[1]:
        raise ValueError(f"q and k must be [N, H, K] and v [N, H, K'], got {list(q.shape)}, {list(k.shape)}, {list(v.shape)}")


def _on_pairs(backend: EdgeBackend, graph: Structure | Any, q: Tensor, k: Tensor, v: Tensor | None, how: How) -> tuple[Tensor, Tensor]:
    """Along the list of pairs; without values only the weights are made."""
    every = DialoguePairs.of(graph, how.node_type)
    for name, value in (("weight", how.weight), ("keep", how.keep)):
        if isinstance(value, Tensor):
            check_rows(name, value, len(every.src))
    rows = None if how.keep is None else how.keep.nonzero()[:, 0]
    src, dst = every.src if rows is None else every.src[rows], every.dst if rows is None else every.dst[rows]
    sizes = {how.node_type: len(q)}
    edges = EdgeList(sizes, sizes, (), (), src, dst)
    along, heads = messages(backend, edges), range(q.shape[1])
    logits = torch.stack([along.dot(k[:, h], q[:, h]) for h in heads], dim=1) / how.scale
    bias = None
    if isinstance(how.weight, ArccosWeight):
        unit = unit_rows(how.weight.x[how.node_type])
        likeness = torch.where(
            src == dst, likeness_of_itself(how.weight, unit).index_select(0, dst), how.weight.of_cosine(along.dot(unit, unit))
        )
        bias = likeness[:, None]
    elif how.weight is not None:
        bias = (how.weight if rows is None else how.weight[rows])[:, None]
    if how.distances is not None:
        far = every.hops(how.distances.shape[1] - 1)
        table = how.distances.index_select(1, far if rows is None else far[rows]).T
        bias = table if bias is None else bias + table
    logits = logits.to(torch.promote_types(logits.dtype, torch.float32))
    logits = (logits if bias is None else logits + bias).contiguous()
    if how.interaction == "relu":
        weights = torch.relu(logits)
        weights = weights / or_none(along.total(weights)).index_select(0, dst)
    else:
        weights = along.softmax(logits)
    y = q
    if v is not None:
        y = torch.stack([along.weigh(v[:, h], weights[:, h].to(v.dtype)) for h in heads], dim=1)
        if bias is not None:
            y = y + along.total(weights * bias)[:, :, None].to(v.dtype)
    if rows is not None:
        weights = weights.new_zeros(len(every.src), weights.shape[1]).index_copy(0, rows, weights)
    return y, weights


def semantic_attention_loop(
    heard: Sequence[Sequence[int]],
    hops_between: Sequence[Sequence[int]],
    q: Tensor,
    k: Tensor,
    v: Tensor,
    g: Tensor | None,
    table: Tensor | None,
    scale: float,
    normalise: bool,
    interaction: str = "softmax",
) -> Tensor:
    """The definition, pair by pair. Slow on purpose; shares no line with the backends.

    ``heard[i]``: the nodes that i attends to; ``hops_between[i][j]``: the column of ``table`` for j at i.
    """
    rows = []
    for i in range(len(q)):
        heads = []
        for h in range(q.shape[1]):
            top, below = v.new_zeros(v.shape[2]), v.new_zeros(())
            for j in heard[i]:
                bias = v.new_zeros(())
                if g is not None:
                    lengths = (g[i] * g[i]).sum().sqrt() * (g[j] * g[j]).sum().sqrt()
                    angle = torch.arccos((g[i] * g[j]).sum() / lengths) if lengths > 0 else g.new_tensor(math.pi / 2)
                    angle = g.new_zeros(()) if i == j and lengths > 0 else angle
                    bias = bias + 1 - angle / (math.pi if normalise else 1.0)
                if table is not None:
                    bias = bias + table[h, hops_between[i][j]]
                logit = (q[i, h] * k[j, h]).sum() / scale + bias
                grown = logit.exp() if interaction == "softmax" else logit * (logit > 0)
                top, below = top + grown * (v[j, h] + bias), below + grown
            heads.append(top / below if below > 0 else top)
        rows.append(torch.stack(heads))
    return torch.stack(rows) if rows else v
