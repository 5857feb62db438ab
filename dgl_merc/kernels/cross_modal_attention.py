"""Attention of a modality's utterances to each other modality's utterances of the same dialogue: MGLRA's cross-modal heads (eq. 13, 14).

    a_ij   = q_i . k_j / scale        i of modality m, j of m' != m: every utterance of i's dialogue that has m', per head      (13)
    y_i^m' = sum over j of softmax_j(a_ij) v_j                                                                                    (13)
    y_i    = [y_i^m' for every m' != m]                                                                                           (14)

N_m nodes of modality m, M modalities, H heads, K features per head. In a causal structure j is at most at i's position. Whatever the
spec says of ``cross`` and ``window``, all of a dialogue meets.

Readings: projections and the linear map of 14 are the layer's. A node that hears none in a pair has zeros in that pair's place. One that
hears no node of any other modality is *alone* (:func:`alone_nodes`); the print has nothing for it, so it attends to its own modality, or
gets zeros.

Backends: ``dense`` (blocks, by tiles: memory grows with the nodes, not with the pairs), ``dgl`` and ``scatter`` (along lists of edges).
All agree with :func:`cross_modal_attention_loop`, output and gradients, to 1e-10 in float64. The softmax is float32 at least.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import reduce
from types import NoneType
from typing import Any, Literal, get_args

import torch
from torch import Tensor

from dgl_merc.graphs import EdgeType, Structure
from dgl_merc.graphs.edges import intervals
from dgl_merc.kernels.backends import Backend, EdgeBackend, choose_backend
from dgl_merc.kernels.cross_modal_blocks import on_blocks
from dgl_merc.kernels.edge_list import EdgeList, check_kind, check_modalities, check_rows, split_nodes
from dgl_merc.kernels.messages import messages
from dgl_merc.kernels.newest import alone_newest, attend_across, has_past, refuse

__all__ = ["Alone", "alone_nodes", "cross_modal_attention"]

Alone = Literal["self", "zeros"]
"""What a node hears whose dialogue has no other modality: itself, or nothing."""
ByModality = Mapping[str, Tensor]


def cross_modal_attention(
    structure: Structure | Any,
    q: ByModality,
    k: ByModality,
    v: ByModality,
    *,
    scale: float,
    alone: Alone = "self",
    keep: Mapping[EdgeType, Tensor] | None = None,
    backend: Backend = "auto",
    return_weights: bool = False,
) -> Any:
    """Attend to each other modality.

    Edges, where a tensor speaks of them, are the ``(m', "cross", m)`` ones of ``structure.with_spec(replace(spec, cross="dialogue",
    window=None))``, by edge id. In a DGL graph they are its ``(m', "cross", m)`` edges as they are, and a node alone attends along its
    ``(m, "same", m)`` edges and to itself.

    Args:
        structure: a :class:`~dgl_merc.graphs.Structure`, or any DGL heterograph of the schema (then ``dgl`` or ``scatter``).
        q: modality -> [N_m, H, K] queries.
        k: modality -> [N_m, H, K] keys.
        v: modality -> [N_m, H, K'] values.
        scale: what q . k is divided by.
        alone: what a node without a node of any other modality in its reach gets: ``"self"``, the same attention to its own modality,
            itself included, in each place; or ``"zeros"``.
        keep: edge type -> [E] bool: edges that exist at all (for explanations); types it lacks exist. Who is alone does not depend on it.
        backend: who computes; never changes the numbers beyond rounding. See :func:`dgl_merc.kernels.choose_backend`.
        return_weights: return softmax_j(a_ij) as well; those of nodes alone, to their own modality, are not among them.

    Returns:
        Modality -> [N_m, J, H, K'], J = max(M - 1, 1): a place for each other modality, in the order of the spec (of a DGL graph: of
        ``q``). With ``return_weights`` also edge type -> [E, H].

    Raises:
        ValueError: shapes that do not fit; the message names what was received.

    Example, by hand: two utterances, the second without audio. Both texts hear the one audio; the audio hears the texts, 3 to 1.

    >>> from dgl_merc.graphs import GraphSpec
    >>> s = Structure.of([2], GraphSpec(("text", "audio")), presence=[[1, 1], [1, 0]])
    >>> q = {"text": torch.zeros(2, 1, 1), "audio": torch.ones(1, 1, 1)}
    >>> k = {"text": torch.tensor([3.0, 1.0]).log().view(2, 1, 1), "audio": torch.zeros(1, 1, 1)}
    >>> v = {"text": torch.tensor([1.0, 5.0]).view(2, 1, 1), "audio": torch.full((1, 1, 1), 7.0)}
    >>> y = cross_modal_attention(s, q, k, v, scale=1.0)
    >>> y["text"].flatten(), y["audio"].flatten()  # 3/4 1 + 1/4 5
    (tensor([7., 7.]), tensor([2.]))

    As a DGL graph in which only the first text hears the audio: the second is alone, and has no text to hear but itself.

    >>> from dgl_merc._dgl import dgl
    >>> graph = dgl.heterograph({("audio", "cross", "text"): ([0], [0])}, num_nodes_dict={"text": 2, "audio": 1})
    >>> cross_modal_attention(graph, q, k, v, scale=1.0)["text"].flatten()
    tensor([7., 5.])
    """
    chosen = choose_backend("cross_modal_attention", structure, backend)
    check_kind("keep", keep, (Mapping, NoneType))
    if alone not in get_args(Alone):
        raise ValueError(f"alone must be one of {', '.join(map(repr, get_args(Alone)))}, got {alone!r}")
    if not scale > 0:
        raise ValueError(f"scale must be greater than 0, got {scale}")
    modalities = _check(structure, q, k, v)
    given = v[modalities[0]].dtype
    work = reduce(torch.promote_types, (x.dtype for each in (q, k, v) for x in each.values()), torch.float32)
    q, k, v = ({m: x[m].to(work) for m in modalities} for x in (q, k, v))
    if has_past(structure):
        refuse(keep=keep, return_weights=return_weights)
        return {m: y.to(given) for m, y in attend_across(structure, q, k, v, scale, own=alone == "self").items()}
    edges = None
    if chosen != "dense" or keep is not None or return_weights:
        edges = _Edges.of(structure, modalities, keep)
    weights: dict[EdgeType, Tensor] = {}
    with torch.autocast(structure.device.type, enabled=False):
        if chosen == "dense":
            y = _dense(structure, q, k, v, scale, alone, edges)
            if return_weights and edges is not None:
                weights = edges.attend("scatter", q, k, None, scale)[1]
        else:
            assert edges is not None
            y, weights = edges.attend(chosen, q, k, v, scale)
            if alone == "self":
                y = edges.attend_alone(chosen, y, q, k, v, scale)
    y = {m: x.to(given) for m, x in y.items()}
    return (y, weights) if return_weights else y


def alone_nodes(structure: Structure | Any) -> dict[str, Tensor]:
    """Which nodes hear no node of any other modality: modality -> [N_m] bool.

    In a causal structure: up to their position. In a DGL graph: those that no ``cross`` edge leads to.

    >>> from dgl_merc.graphs import GraphSpec
    >>> alone_nodes(Structure.of([2, 1], GraphSpec(("text", "audio")), presence=[[1, 0], [1, 1], [1, 0]]))
    {'text': tensor([False, False,  True]), 'audio': tensor([False])}
    >>> alone_nodes(Structure.of([2], GraphSpec(("text", "audio"), causal=True), presence=[[1, 0], [1, 1]]))
    {'text': tensor([ True, False]), 'audio': tensor([False])}
    """
    if not isinstance(structure, Structure):
        into: dict[str, Tensor] = {}
        for t in structure.canonical_etypes:
            if t[1] == "cross":
                into[t[2]] = into.get(t[2], 0) + structure.in_degrees(etype=t)
        names = {n for t in structure.canonical_etypes if t[1] in ("same", "cross", "part_of") for n in (t[0], *t[2:3])}
        missing = {n: torch.zeros(structure.num_nodes(n), device=structure.device) for n in names}
        return {n: into.get(n, missing[n]) == 0 for n in names}
    if has_past(structure):
        return alone_newest(structure)
    modalities, start = structure.spec.modalities, structure.offsets[structure.dialogue]
    every = reduce(torch.add, (structure.counts[m] for m in modalities))
    result = {}
    for m in modalities:
        at = structure.nodes[m]
        end = structure.offsets[structure.dialogue[at] + 1]
        lo, hi = intervals(at, start[at], end, every - structure.counts[m], None, 0 if structure.spec.causal else None)
        result[m] = lo == hi
    return result


def _check(structure: Structure | Any, q: ByModality, k: ByModality, v: ByModality) -> tuple[str, ...]:
    """The modalities, in order."""
    for name, x in (("q", q), ("k", k), ("v", v)):
        if not isinstance(x, Mapping):
            raise ValueError(f"{name} must be a mapping from modalities, got a {type(x).__name__}")  # noqa: TRY004  (what kernels raise)
        check_modalities(structure, list(x), name)
    modalities = structure.spec.modalities if isinstance(structure, Structure) else tuple(q)
    if not modalities or set(k) != set(q) or set(v) != set(q):
        raise ValueError(f"q, k and v must hold the same modalities, at least one, got {list(q)}, {list(k)}, {list(v)}")
    first = modalities[0]
    for m in modalities:
        for name, x in (("q", q), ("k", k), ("v", v)):
            check_rows(f"{name}[{m!r}]", x[m], structure.num_nodes(m), "H", "K")
        shapes = [x[n].shape[1:] for x in (q, k, v) for n in (m, first)]
        if shapes[0] != shapes[2] or shapes[0][0] != shapes[4][0] or shapes[::2] != shapes[1::2]:
            raise ValueError(
                f"q and k must be [N, H, K] and v [N, H, K'], H, K and K' the same for all modalities, "
                f"got {[list(x[n].shape) for n in dict.fromkeys((first, m)) for x in (q, k, v)]}"
            )
    return tuple(modalities)


# ---- on blocks


def _dense(
    structure: Structure, q: ByModality, k: ByModality, v: ByModality, scale: float, alone: Alone, edges: _Edges | None
) -> dict[str, Tensor]:
    places = max(len(q) - 1, 1)
    if len(q) > 1:
        kept = None if edges is None or edges.keep is None else (edges.keep, edges.all.src, edges.all.dst)
        y = on_blocks(structure, q, k, v, scale, own=False, kept=kept)
    else:
        y = {m: x.new_zeros(len(x), places, *x.shape[1:]) for m, x in v.items()}
    if alone == "zeros" or (len(q) > 1 and bool(structure.presence.all())):
        return y
    lonely = alone_nodes(structure)
    concerned = torch.zeros(structure.num_dialogues, dtype=torch.bool, device=structure.device)
    for m, each in lonely.items():
        concerned[structure.dialogue[structure.nodes[m][each]]] = True
    if not concerned.any():
        return y
    part = structure.select(concerned.nonzero()[:, 0].tolist())
    rows = {m: concerned[structure.dialogue[structure.nodes[m]]].nonzero()[:, 0] for m in q}
    parts = [{m: x[m].index_select(0, rows[m]) for m in q} for x in (q, k, v)]
    own = on_blocks(part, parts[0], parts[1], parts[2], scale, own=True)
    for m, at in rows.items():
        picked = lonely[m][at].nonzero()[:, 0]
        y[m] = y[m].index_add(0, at[picked], own[m].index_select(0, picked).expand(-1, places, -1, -1))  # to zeros
    return y


# ---- along edges


@dataclass(frozen=True, eq=False)
class _Edges:
    """The edges across modalities, and which of them are kept.

    Attributes:
        graph: a structure in which all of a dialogue meets, or a DGL graph.
        modalities: in order.
        all: the edges.
        keep: [E] bool, or None.
    """

    graph: Structure | Any
    modalities: tuple[str, ...]
    all: EdgeList
    keep: Tensor | None

    @classmethod
    def of(cls, graph: Structure | Any, modalities: tuple[str, ...], keep: Mapping[EdgeType, Tensor] | None) -> _Edges:
        if isinstance(graph, Structure):
            graph = graph.with_spec(replace(graph.spec, cross="dialogue", window=None))
        types: Sequence[EdgeType] = [(n, "cross", m) for n in modalities for m in modalities if m != n]
        edges = EdgeList.of(graph, types, modalities)
        return cls(graph, modalities, edges, None if keep is None else edges.stack(keep, "keep", fill=True))

    def attend(
        self, backend: EdgeBackend, q: ByModality, k: ByModality, v: ByModality | None, scale: float
    ) -> tuple[dict[str, Tensor], dict[EdgeType, Tensor]]:
        """Each pair of modalities; without values only the weights are made."""
        ends = {t: _ends(self.graph, t) for t in self.all.types}
        kept = {} if self.keep is None else self.all.split(self.keep)
        y: dict[str, list[Tensor]] = {m: [] for m in self.modalities}
        weights: dict[EdgeType, Tensor] = {}
        for m in self.modalities:
            for n in self.modalities:
                t = (n, "cross", m)
                if m == n:
                    continue
                src, dst = ends.get(t, (self.all.src[:0], self.all.src[:0]))
                rows = kept[t].nonzero()[:, 0] if t in kept else None
                if rows is not None:
                    src, dst = src[rows], dst[rows]
                got, found = _along(backend, src, dst, q[m], k[n], None if v is None else v[n], scale)
                y[m].append(got)
                if t in ends:
                    weights[t] = found if rows is None else found.new_zeros(len(kept[t]), found.shape[1]).index_copy(0, rows, found)
        return {m: torch.stack(x or [q[m].new_zeros(len(q[m]), *_tail(q, v))], dim=1) for m, x in y.items()}, weights

    def attend_alone(
        self, backend: EdgeBackend, y: dict[str, Tensor], q: ByModality, k: ByModality, v: ByModality, scale: float
    ) -> dict[str, Tensor]:
        """Nodes alone to their own modality."""
        result = {}
        every = torch.zeros(sum(self.all.targets.values()), dtype=torch.bool, device=self.all.src.device).index_fill(0, self.all.dst, True)
        for m, heard in split_nodes(every, self.all.targets).items():
            itself = (~heard).nonzero()[:, 0]
            if not len(itself):
                result[m] = y[m]
                continue
            src, dst = _ends(self.graph, (m, "same", m))
            there = (~heard)[dst]
            src, dst = torch.cat([src[there], itself]), torch.cat([dst[there], itself])
            own = _along(backend, src, dst, q[m], k[m], v[m], scale)[0]
            result[m] = y[m] + own[:, None]  # zeros where the other is not
        return result


def _tail(q: ByModality, v: ByModality | None) -> torch.Size:
    return next(iter((q if v is None else v).values())).shape[1:]


def _ends(graph: Structure | Any, t: EdgeType) -> tuple[Tensor, Tensor]:
    edges = EdgeList.of(graph, [t], (t[0],), (t[2],))
    return edges.src, edges.dst


def _along(backend: EdgeBackend, src: Tensor, dst: Tensor, q: Tensor, k: Tensor, v: Tensor | None, scale: float) -> tuple[Tensor, Tensor]:
    """[N, H, K'] and [E, H] of one list of edges."""
    heads = range(q.shape[1])
    if not len(src):
        return (q if v is None else v).new_zeros(len(q), *(q if v is None else v).shape[1:]), q.new_zeros(0, q.shape[1])
    along = messages(backend, EdgeList({"": len(k)}, {"": len(q)}, (), (), src, dst))
    logits = torch.stack([along.dot(k[:, h].contiguous(), q[:, h].contiguous()) for h in heads], dim=1) / scale
    weights = along.softmax(logits.contiguous())
    if v is None:
        return q, weights
    return torch.stack([along.weigh(v[:, h].contiguous(), weights[:, h].contiguous()) for h in heads], dim=1), weights


def cross_modal_attention_loop(
    places: Mapping[str, Sequence[tuple[int, int]]],
    q: ByModality,
    k: ByModality,
    v: ByModality,
    scale: float,
    alone: str = "self",
    causal: bool = False,
    dropped: frozenset[tuple[str, int, str, int]] = frozenset(),
) -> dict[str, Tensor]:
    """The definition, pair by pair. Slow on purpose; shares no line with the backends.

    ``places[m]``: dialogue and position of each node; ``dropped``: (m', j, m, i) that do not exist.
    """
    result = {}
    for m in places:
        others = [n for n in places if n != m]
        rows = []
        for i, (dialogue, position) in enumerate(places[m]):
            near = {n: [j for j, (d, p) in enumerate(places[n]) if d == dialogue and (p <= position or not causal)] for n in places}
            heard = [(n, [j for j in near[n] if (n, j, m, i) not in dropped]) for n in others]
            if not any(near[n] for n in others):
                heard = [(m, near[m] if alone == "self" else [])] * max(1, len(others))
            pairs = []
            for n, whom in heard:
                heads = []
                for h in range(q[m].shape[1]):
                    top, below = v[n].new_zeros(v[n].shape[2]), v[n].new_zeros(())
                    for j in whom:
                        grown = ((q[m][i, h] * k[n][j, h]).sum() / scale).exp()
                        top, below = top + grown * v[n][j, h], below + grown
                    heads.append(top / below if whom else top)
                pairs.append(torch.stack(heads))
            rows.append(torch.stack(pairs))
        result[m] = torch.stack(rows) if rows else v[m].new_zeros(0, max(1, len(others)), *v[m].shape[1:])
    return result
