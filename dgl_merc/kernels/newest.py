"""The newest utterance of a dialogue: what a kernel gives its last rows in a causal structure, from what the past keeps of the others.

Formulas are those of the kernels' own files, here for the rows of one utterance: where the whole dialogue costs L^2, this costs L. What
is kept is not the input but what is made of it and will not change: keys and values, unit rows, the rows of each layer. So a kernel of
several layers with a narrow reach is exact for ever, although what it says depends on all of the dialogue. A kernel comes here by itself
where its structure has a past (:class:`dgl_merc.graphs.Past`); which backend was asked for does not matter then. Without gradients.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, TypeGuard

import torch
from torch import Tensor

from dgl_merc.graphs import UTTERANCE, GraphSpec, Past, Structure
from dgl_merc.graphs.similarity import unit_rows
from dgl_merc.kernels.dialogue_pairs import hops
from dgl_merc.kernels.edge_list import split_nodes, stack_nodes
from dgl_merc.kernels.rules import ArccosWeight, SoftmaxWeight
from dgl_merc.kernels.semantic_blocks import How, likeness_of_itself, or_none

__all__ = [
    "alone_newest",
    "attend_across",
    "attend_within",
    "has_past",
    "hear_frequencies",
    "hear_relations",
    "propagate",
    "refuse",
    "scores_of",
]

ByModality = Mapping[str, Tensor]


def has_past(graph: Structure | Any) -> TypeGuard[Structure]:
    """Whether a kernel is given the newest utterance alone."""
    return isinstance(graph, Structure) and graph.past is not None


def refuse(**given: object) -> None:
    """What can't be had of the newest utterance alone: tensors per edge, masks, and weights to look at.

    Raises:
        ValueError: it is asked for.
    """
    asked = [name for name, value in given.items() if not (value is None or value is False or isinstance(value, ArccosWeight))]
    if asked:
        raise ValueError(f"{', '.join(asked)} can't be had of a structure with a past: give the whole dialogue")


def _past(structure: Structure) -> Past:
    assert structure.past is not None
    return structure.past


def attend_across(structure: Structure, q: ByModality, k: ByModality, v: ByModality, scale: float, *, own: bool) -> dict[str, Tensor]:
    """``cross_modal_attention``: modality -> [m, H, K] each, m = 1 or 0, to [m, J, H, K'].

    Args:
        structure: S, with a past.
        q: queries.
        k: keys.
        v: values.
        scale: what q . k is divided by.
        own: whether a node that hears no other modality attends to its own.
    """
    queries = torch.cat(list(q.values())).transpose(0, 1)  # [H, M', K] of the M' modalities that are there
    heard: dict[str, Tensor] = {}  # by who is heard: [M', H, K']
    for n in q:
        (keys, values), _ = _past(structure).recall(None, k[n], v[n])
        if len(keys):
            weights = torch.softmax(queries @ keys.permute(1, 2, 0) / scale, dim=-1)
            heard[n] = (weights @ values.transpose(0, 1)).transpose(0, 1)
    y, row = {}, 0
    for m in q:
        others = [n for n in q if n != m]
        nothing = v[m].new_zeros(v[m].shape[1:])
        if not len(q[m]):
            y[m] = v[m].new_zeros(0, max(len(others), 1), *v[m].shape[1:])
            continue
        if any(n in heard for n in others):
            places = [heard[n][row] if n in heard else nothing for n in others]
        else:
            places = [heard[m][row] if own else nothing] * max(len(others), 1)
        y[m], row = torch.stack(places)[None], row + 1
    return y


def alone_newest(structure: Structure) -> dict[str, Tensor]:
    """``alone_nodes``: modality -> [m] bool."""
    (presence,), _ = _past(structure).recall(None, structure.presence)
    heard, alone = presence.any(0).tolist(), {}
    for k, m in enumerate(structure.spec.modalities):
        others = heard[:k] + heard[k + 1 :]
        alone[m] = torch.tensor([not any(others)] * structure.num_nodes(m), dtype=torch.bool, device=structure.device)
    return alone


def attend_within(structure: Structure, q: Tensor, k: Tensor, v: Tensor, how: How) -> Tensor:
    """``semantic_attention``: [m, H, K], [m, H, K], [m, H, K'], m = 1 or 0, to [m, H, K']."""
    unit = unit_rows(how.weight.x[how.node_type]) if isinstance(how.weight, ArccosWeight) else None
    (keys, values, *units), positions = _past(structure).recall(None, k, v, *([] if unit is None else [unit]))
    if not len(q):
        return v
    logits = (q.transpose(0, 1) @ keys.permute(1, 2, 0)).squeeze(1)  # [H, n]
    logits = logits.to(torch.promote_types(logits.dtype, torch.float32)) / how.scale
    bias = None
    if unit is not None:
        assert isinstance(how.weight, ArccosWeight)
        bias = how.weight.of_cosine(unit @ units[0].T)  # [1, n]
        bias[:, -1] = likeness_of_itself(how.weight, unit)
    if how.distances is not None:
        apart = torch.tensor(positions, device=q.device) - positions[-1]
        table = how.distances.index_select(1, hops(structure.spec, apart, how.distances.shape[1] - 1))
        bias = table if bias is None else bias + table
    logits = logits if bias is None else logits + bias
    if how.interaction == "relu":
        weights = torch.relu(logits)
        weights = weights / or_none(weights.sum(-1, keepdim=True))
    else:
        weights = torch.softmax(logits, dim=-1)
    y = (weights.to(v.dtype).unsqueeze(1) @ values.transpose(0, 1)).transpose(0, 1)  # [1, H, K']
    return y if bias is None else y + (weights * bias).sum(-1, keepdim=True).to(v.dtype)


def propagate(
    structure: Structure, x: ByModality, matrices: Sequence[Tensor], weight: ArccosWeight, initial: float = 0.0
) -> dict[str, Tensor]:
    """``masked_gcn`` without a mask: modality -> [m, D], m = 1 or 0, to [m, D_last]."""
    spec, past, sizes = structure.spec, _past(structure), structure.sizes
    before, _ = spec.reach(spec.message_types[0])
    h, unit = stack_nodes(x, sizes, "x"), unit_rows(stack_nodes(weight.x, sizes, "weight.x"))
    kind = _kinds(structure)
    (units, kinds), _ = past.recall(before, unit, kind)
    a, same = weight.of_cosine(unit @ units.T), kind[:, None] == kinds  # [M', n] of the M' modalities that are there
    if isinstance(weight.scale, Tensor) or weight.scale != 1.0:
        a = torch.where(same, a, a * weight.scale)
    a = a * _heard(spec, same)
    a.diagonal(len(units) - len(unit)).fill_(1.0)  # + I, in place of what a node would hear of itself
    root = a.sum(1, keepdim=True).rsqrt().to(h.dtype)
    first = h
    for matrix in matrices:
        (rows,), _ = past.recall(before, root.to(h.dtype) * h)
        propagated = root.to(h.dtype) * (a.to(h.dtype) @ rows)
        h = torch.relu((torch.lerp(propagated, first.to(h.dtype), initial) if initial else propagated) @ matrix)
    return split_nodes(h, sizes)


def _kinds(structure: Structure) -> Tensor:
    """[M'] which modality each node of the newest utterance is of."""
    return structure.presence[0].nonzero()[:, 0]


def _heard(spec: GraphSpec, same: Tensor) -> Tensor:
    """[M', n] whether each node of the newest utterance hears each recalled one, itself included.

    Args:
        spec: who is connected.
        same: [M', n] whether the two are of one modality; the last M' recalled are the newest utterance's own.
    """
    if spec.cross == "dialogue":
        return torch.ones_like(same)
    if spec.cross == "none":
        return same
    own = torch.arange(same.shape[1], device=same.device) >= same.shape[1] - same.shape[0]
    return same | own


def scores_of(h: Tensor, vector: Tensor) -> tuple[Tensor, Tensor]:
    """``frequency_gcn``'s g . [h_i, h_j] in two parts, of float32 at least: [..., D] and [2, D] to [...] of i and [...] of j."""
    wide = torch.promote_types(h.dtype, torch.float32)
    with torch.autocast(h.device.type, enabled=False):
        both = h.to(wide) @ vector.to(wide).T
    return both[..., 0], both[..., 1]


def hear_frequencies(structure: Structure, x: ByModality, vectors: Sequence[Tensor]) -> dict[str, Tensor]:
    """``frequency_gcn``: modality -> [m, D], m = 1 or 0, to the same."""
    spec, past = structure.spec, _past(structure)
    before, _ = spec.reach(spec.message_types[0])
    h, kind = stack_nodes(x, structure.sizes, "x"), _kinds(structure)
    (kinds,), _ = past.recall(before, kind)
    heard = _heard(spec, kind[:, None] == kinds).to(torch.promote_types(h.dtype, torch.float32))
    heard.diagonal(len(kinds) - len(kind)).fill_(0.0)  # nobody hears itself
    root = heard.sum(1).clamp_min(1.0).rsqrt()
    (roots,), _ = past.recall(before, root)
    scale = heard * root[:, None] * roots
    for vector in vectors:
        (rows,), _ = past.recall(before, h)
        own, of_rows = scores_of(h, vector)[0], scores_of(rows, vector)[1]
        h = h + (torch.tanh(own[:, None] + of_rows) * scale).to(h.dtype) @ rows
    return split_nodes(h, structure.sizes)


def hear_relations(
    structure: Structure,
    x: Tensor,
    layers: Sequence[tuple[Tensor, Tensor]],
    weight: ArccosWeight | SoftmaxWeight | None,
    *,
    mean: bool = True,
) -> Tensor:
    """``rgcn``: [1, D] to [1, D_last]."""
    past, before = _past(structure), structure.spec.past
    weighed_by = [] if weight is None else [unit_rows(weight.x[UTTERANCE]) if isinstance(weight, ArccosWeight) else weight.k]
    (speakers, *features), _ = past.recall(before, structure.speakers, *weighed_by)
    own, itself = speakers[:-1] == structure.speakers, x.new_ones(1, 1)  # [n] of those before it
    alike = torch.ones_like(own)[None] if layers and len(layers[0][0]) == 1 else torch.stack([own, ~own])
    means = alike.to(x.dtype)
    if mean:
        means = means / means.sum(1, keepdim=True).clamp_min(1.0)
    if isinstance(weight, ArccosWeight):
        means = means * weight.of_cosine(weighed_by[0] @ features[0][:-1].T).to(x.dtype)
    elif weight is not None:
        shares = torch.softmax(weight.q @ features[0].T, dim=-1).to(x.dtype)
        means, itself = means * shares[:, :-1], shares[:, -1:]
    h = x
    for typed, itself_through in layers:
        (rows,), _ = past.recall(before, h)
        from_past = typed[:: max(len(typed) // 2, 1)]  # intra_past and inter_past of 4, intra and inter of 2, any of 1
        h = torch.relu(torch.bmm((means @ rows[:-1]).unsqueeze(1), from_past).sum(0) + itself * (h @ itself_through))
    return h
