"""Relational GCN on the utterances of a dialogue: SGRNet's syntactic encoder (MA-CMU-SGRNet eq. 22, 23), DialogueGCN's convolutions.

    M^s_ij = 1 - arccos(cos(g_i, g_j)) [/ pi]                                              (22)
    h_i'   = ReLU( sum over r of  1 / |G^r_i|  sum over j in G^r_i of  M^s_ij W_r h_j   +   W_0 h_i )     (23), h = g at first

    a_ij   = exp(q_i . k_j) / sum over j', i itself among them, of exp(q_i . k_j')         (DialogueGCN, 3.2.2)
    h_i'   = ReLU( sum over r of  1 / c_ir  sum over j in G^r_i of  a_ij W_r h_j   +   a_ii W_0 h_i )            (its first step)

U utterances, R relations, D features. G^r_i: the utterances j that i hears through relation r (messages go j -> i), within ``past``
positions before and ``future`` after it; an empty G^r_i adds nothing. i itself comes in through W_0 alone.

Readings: R is 4 (own or another's turn, before or after: "directed relations (past and future)", III-B), 2 (own, another's: the set R
printed under 23) or 1 (any neighbour: DialogueGCN's second step); the shape of W_r says which. M^s stands in the text ("the node
representations and edge weights are then fed"), not in 23; without ``weight`` it is 1 (the ablation). It is of g, the same in every
layer, and not part of |G^r_i|. c_ir is |G^r_i| or, without ``mean``, 1. DialogueGCN's a_ij (:class:`dgl_merc.kernels.SoftmaxWeight`) are
of all relations together, and i's own share weighs W_0. Its 2 S^2 relations of S speakers by name are these 4, which serve any number.

Backends: ``dense`` (blocks, pieces or tiles), ``dgl``, ``scatter`` (one sum into the R slots of every destination). All agree with
:func:`rgcn_loop`, output and gradients, to 1e-10 in float64.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from types import NoneType
from typing import Any

import torch
from torch import Tensor

from dgl_merc.graphs import RELATIONS, UTTERANCE, Block, EdgeType, Structure
from dgl_merc.graphs.similarity import unit_rows
from dgl_merc.kernels import pairs
from dgl_merc.kernels.backends import Backend, EdgeBackend, choose_backend
from dgl_merc.kernels.edge_list import EdgeList, check_kind, check_likeness, check_rows
from dgl_merc.kernels.messages import Messages, messages
from dgl_merc.kernels.newest import has_past, hear_relations, refuse
from dgl_merc.kernels.rules import ArccosWeight, SoftmaxWeight
from dgl_merc.kernels.semantic_blocks import softmax

__all__ = ["rgcn"]

Weight = ArccosWeight | SoftmaxWeight | Mapping[EdgeType, Tensor] | None
Keep = Mapping[EdgeType, Tensor] | None
Layers = Sequence[tuple[Tensor, Tensor]]
_TYPES: tuple[EdgeType, ...] = tuple((UTTERANCE, r, UTTERANCE) for r in RELATIONS)
_FAR = 1e30  # taken from the logits of pairs that are not to be: exp is exactly 0


def rgcn(
    structure: Structure | Any,
    x: Tensor,
    layers: Layers,
    *,
    weight: Weight = None,
    mean: bool = True,
    keep: Keep = None,
    backend: Backend = "auto",
    return_weights: bool = False,
) -> Any:
    """Propagate utterance features along the typed edges of a dialogue.

    Args:
        structure: a :class:`~dgl_merc.graphs.Structure`, or any DGL heterograph of the schema (then ``dgl`` or ``scatter``).
        x: [U, D].
        layers: per layer (W_r [R, D, D'], W_0 [D, D']). R = 4 in the order of :data:`dgl_merc.graphs.RELATIONS`; R = 2: intra, inter;
            R = 1: any neighbour.
        weight: a rule (``x`` of an :class:`ArccosWeight` names ``utterance``), or edge type -> [E_t] in edge-id order; None: 1.
        mean: divide what comes through a relation by |G^r_i|; False: add it up.
        keep: edge type -> [E_t] bool: edges that exist at all; the others count in no |G^r_i| (for explanations).
        backend: who computes; never changes the numbers beyond rounding. See :func:`dgl_merc.kernels.choose_backend`.
        return_weights: return what each edge's message is multiplied by as well.

    Returns:
        [U, D_last]; with ``return_weights`` also edge type -> [E_t], M^s_ij / |G^r_i|, and with a :class:`SoftmaxWeight` also
        ``utterance`` -> [U], a_ii.

    Raises:
        ValueError: shapes that do not fit; the message names what was received.

    Example, by hand: two utterances of one speaker; each hears the other once, and itself through W_0 = 0.

    >>> from dgl_merc.graphs import GraphSpec
    >>> s = Structure.of([2], GraphSpec(("text",)), speakers=[0, 0])
    >>> x = torch.tensor([[1.0, 0.0], [0.0, 2.0]])
    >>> rgcn(s, x, [(torch.eye(2).expand(4, 2, 2), torch.zeros(2, 2))], weight=ArccosWeight({"utterance": x}))
    tensor([[0.0000, 1.0000],
            [0.5000, 0.0000]])

    The same as a DGL graph:

    >>> from dgl_merc._dgl import dgl
    >>> u = "utterance"
    >>> graph = dgl.heterograph({(u, "intra_past", u): ([0], [1]), (u, "intra_future", u): ([1], [0])}, num_nodes_dict={u: 2})
    >>> rgcn(graph, x, [(torch.eye(2).expand(4, 2, 2), torch.zeros(2, 2))])  # without a weight each message counts 1
    tensor([[0., 2.],
            [1., 0.]])
    """
    check_kind("x", x, (Tensor,))
    check_kind("weight", weight, (ArccosWeight, SoftmaxWeight, Mapping, NoneType))
    check_kind("keep", keep, (Mapping, NoneType))
    check_rows("x", x, structure.num_nodes(UTTERANCE), "D")
    _check(x.shape[1], layers)
    if isinstance(weight, ArccosWeight):
        check_likeness(weight, len(x))
    if isinstance(weight, SoftmaxWeight):
        check_rows("weight.q", weight.q, len(x), "K")
        if weight.k.shape != weight.q.shape:
            raise ValueError(f"weight.k must be {list(weight.q.shape)}, got {list(weight.k.shape)}")
        weight = weight.promoted()
    if has_past(structure):
        refuse(weight=None if isinstance(weight, SoftmaxWeight) else weight, keep=keep, return_weights=return_weights)
        return hear_relations(structure, x, layers, None if isinstance(weight, Mapping) else weight, mean=mean)
    chosen = choose_backend("rgcn", structure, backend)
    if chosen == "dense":
        y = _on_blocks(structure, x, layers, weight, mean, keep)
        return (y, *_on_edges("scatter", structure, x, layers, weight, mean, keep, only_weights=True)[1:]) if return_weights else y
    y, *weights = _on_edges(chosen, structure, x, layers, weight, mean, keep)
    return (y, *weights) if return_weights else y


def _check(width: int, layers: Layers) -> None:
    relations = _relations(layers)
    for k, (typed, own) in enumerate(layers):
        if typed.ndim != 3 or typed.shape[:2] != (relations, width) or relations not in (1, 2, 4):
            raise ValueError(f"layers[{k}][0] must be [R=4, 2 or 1, {width}, D'], got {list(typed.shape)}")
        if own.shape != typed.shape[1:]:
            raise ValueError(f"layers[{k}][1] must be {list(typed.shape[1:])}, got {list(own.shape)}")
        width = own.shape[1]


def _relations(layers: Layers) -> int:
    return len(layers[0][0]) if layers else 4


def _through(h: Tensor, layers: Layers, heard: Callable[[Tensor], Tensor], *, itself: bool) -> Tensor:
    """[..., D] -> [..., D_last], layer by layer; ``heard`` gives the weighted means per relation side by side, [..., R D].

    Where an utterance has a share in its own weights, ``itself``, it is the last of the relations: [..., (R + 1) D].
    """
    for typed, own in layers:
        through = torch.cat([typed.flatten(0, 1), own]) if itself else typed.flatten(0, 1)
        said = heard(h) @ through
        h = torch.relu(said if itself else said + h @ own)
    return h


def _on_blocks(structure: Structure, x: Tensor, layers: Layers, weight: Weight, mean: bool, keep: Keep) -> Tensor:
    spec = structure.spec
    blocks = structure.blocks((UTTERANCE,), spec.past, 0 if spec.causal else spec.future)
    how = _How(_relations(layers), weight, mean)
    h, sides = blocks.pad(x), list[list[Tensor]]()  # of rows and of columns, what a rule weighs by: per block
    if isinstance(weight, ArccosWeight):
        unit = [unit_rows(part) for part in (h if weight.x[UTTERANCE] is x else blocks.pad(weight.x[UTTERANCE]))]
        sides = [unit, unit]
    elif isinstance(weight, SoftmaxWeight):
        sides = [blocks.pad(weight.q), blocks.pad(weight.k)]
    speakers, there = blocks.pad(structure.speakers), blocks.pad(x.new_ones(len(x)))
    given = [{} for _ in blocks.blocks] if sides and keep is None else _given(structure, blocks, weight, keep)
    outputs = []
    for n, block in enumerate(blocks.blocks):
        held = bool(given[n]) or blocks.pairs * how.slots <= pairs.HELD
        rows, columns = ([*(side[n] for side in part), speakers[n], there[n]] for part in (sides[:1], sides[1:]))
        means = _Means(structure, block, how, rows, columns, given[n], held=held)
        outputs.append(_through(h[n], layers, means, itself=how.itself))
    return blocks.unpad(outputs)


def _given(structure: Structure, blocks: Any, weight: Weight, keep: Keep) -> list[dict[str, Tensor]]:
    """Per block what is given per edge: name -> [b, R, C]; a pair of utterances has one edge at most, whatever its type."""
    edges = EdgeList.of(structure, _TYPES, (UTTERANCE,))
    result: list[dict[str, Tensor]] = [{} for _ in blocks.blocks]
    for name, values in (("weight", weight), ("keep", keep)):
        if isinstance(values, Mapping):
            flat = edges.stack(values, name, fill=True if name == "keep" else None)
            for found, part in zip(result, blocks.pad_pairs(flat, edges.src, edges.dst, joint=False), strict=True):
                found[name] = part.squeeze(1)
    return result


@dataclass(frozen=True)
class _How:
    """The options of a call, checked."""

    relations: int
    weight: Weight
    mean: bool

    @property
    def itself(self) -> bool:
        """Whether an utterance has a share in its own weights."""
        return isinstance(self.weight, SoftmaxWeight)

    @property
    def slots(self) -> int:
        """The relations, and itself where it has a share."""
        return self.relations + self.itself


class _Means:
    """The weighted means over each relation's neighbours, in a block of pieces: [b, 1, R, D] -> [b, 1, R, slots D].

    ``rows`` and ``columns``, each [b, 1, R, ...]: what a rule weighs by, speakers, presence.
    """

    def __init__(
        self,
        structure: Structure,
        block: Block,
        how: _How,
        rows: Sequence[Tensor],
        columns: Sequence[Tensor],
        given: Mapping[str, Tensor],
        *,
        held: bool,
    ) -> None:
        spec = structure.spec
        self.block, self.how, self.given = block, how, given
        self.past, self.future = spec.past, 0 if spec.causal else spec.future
        self.tiles = None if held else pairs.tiles_of(block, how.slots, causal=spec.causal, whole_rows=True)
        self.rows, self.columns = list(rows), [block.spread(v) for v in columns]
        self.matrix = self._matrix(pairs.whole(block), *self.rows, *self.columns) if self.tiles is None else None

    def __call__(self, h: Tensor) -> Tensor:
        columns = self.block.spread(h)
        if self.matrix is not None:
            return self._multiply(self.matrix, columns)
        assert self.tiles is not None
        return pairs.by_tiles(self._tile, self.tiles, self.rows, [*self.columns, columns])

    def _tile(self, tile: pairs.Tile, *tensors: Tensor) -> Tensor:
        return self._multiply(self._matrix(tile, *tensors[:-1]), tensors[-1])

    def _multiply(self, matrix: Tensor, columns: Tensor) -> Tensor:
        """[b, r, slots, c] [b, 1, c, D] -> [b, 1, r, slots D]."""
        with torch.autocast(columns.device.type, enabled=False):
            y = matrix.flatten(1, 2).to(columns.dtype) @ columns.squeeze(1)
        return y.view(len(y), 1, -1, self.how.slots * y.shape[-1])

    def _matrix(self, tile: pairs.Tile, *tensors: Tensor) -> Tensor:
        """[b, r, slots, c]: M^s_ij / |G^r_i| where j is a neighbour of i under relation r."""
        rows, columns = tensors[: len(self.rows)], tensors[len(self.rows) :]
        neighbours = self._neighbours(tile, rows[-2], columns[-2], columns[-1])
        means = neighbours / neighbours.sum(-1, keepdim=True).clamp_min(1.0) if self.how.mean else neighbours
        weight = self.how.weight
        if isinstance(weight, ArccosWeight):
            weights = weight.of_cosine(pairs.cosines(rows[0], columns[0])).squeeze(1)
        elif isinstance(weight, SoftmaxWeight):
            itself = pairs.band(self.block, tile, (0, 0), neighbours.dtype).squeeze(1) * columns[-1]
            near = neighbours.sum(2) + itself
            weights = softmax(pairs.cosines(rows[0], columns[0]).squeeze(1) - _FAR * (1.0 - near))
            means = torch.cat([means, itself.unsqueeze(2)], dim=2)
        elif weight is not None:
            weights = self.given["weight"]
        else:
            return means
        return means * weights.unsqueeze(2)

    def _neighbours(self, tile: pairs.Tile, who: Tensor, whom: Tensor, there: Tensor) -> Tensor:
        """[b, r, R, c]: 1 where j is a neighbour of i under relation r."""
        sides = [(self.past, -1), (-1, self.future)]
        near = [pairs.band(self.block, tile, side, there.dtype).squeeze(1) * there for side in sides]
        if self.how.relations < 4:
            near = [near[0] + near[1]]
        if self.how.relations > 1:
            own = (who.unsqueeze(-1) == whom.unsqueeze(-2)).squeeze(1).to(there.dtype)
            intra = [side * own for side in near]
            near = [*intra, *(side - part for side, part in zip(near, intra, strict=True))]
        neighbours = torch.stack(near, dim=2)
        return neighbours * self.given["keep"].unsqueeze(2) if "keep" in self.given else neighbours


def _on_edges(
    backend: EdgeBackend,
    graph: Structure | Any,
    x: Tensor,
    layers: Layers,
    weight: Weight,
    mean: bool,
    keep: Keep,
    *,
    only_weights: bool = False,
) -> tuple[Any, ...]:
    """What comes out (x where only weights are asked for), edge type -> weights and, with a share of its own, that of each utterance."""
    edges, how = EdgeList.of(graph, _TYPES, (UTTERANCE,)), _How(_relations(layers), weight, mean)
    slot = edges.number({t: k * how.relations // 4 for k, t in enumerate(_TYPES)})
    into, targets = edges.dst * how.slots + slot, len(x) * how.slots  # the slots of every destination
    exists = x.new_ones(len(into)) if keep is None else edges.stack(keep, "keep", fill=True).to(x.dtype)
    entries = exists
    if mean:
        count = messages(backend, edges, dst=into, targets=targets).total(exists[:, None]).clamp_min(1.0).squeeze(-1)
        entries = exists / count.index_select(0, into)
    own: list[Tensor] = []
    if isinstance(weight, ArccosWeight):
        unit = unit_rows(weight.x[UTTERANCE])
        entries = entries * weight.of_cosine(messages(backend, edges).dot(unit, unit))
    elif isinstance(weight, SoftmaxWeight):
        every = torch.arange(len(x), device=x.device)
        edges_and_own = EdgeList(edges.sources, edges.targets, (), (), torch.cat([edges.src, every]), torch.cat([edges.dst, every]))
        shares = _shares(messages(backend, edges_and_own), weight, exists)
        entries, own = entries * shares[: len(into)], [shares[len(into) :]]
        through, into = edges_and_own, torch.cat([into, every * how.slots + how.relations])
    elif weight is not None:
        entries = entries * edges.stack(weight, "weight")
    y = x
    if not only_weights:
        along = messages(backend, through if own else edges, dst=into, targets=targets)
        every_entry = torch.cat([entries, *own])
        y = _through(x, layers, lambda h: along.weigh(h, every_entry.to(h.dtype)).view(len(h), -1), itself=how.itself)
    return y, edges.split(entries), *({UTTERANCE: share} for share in own)


def _shares(along: Messages, weight: SoftmaxWeight, exists: Tensor) -> Tensor:
    """[E + U] a_ij of the edges, zero for those that do not exist, then of every utterance for itself."""
    logits = along.dot(weight.k, weight.q)
    absent = torch.nn.functional.pad(1.0 - exists.to(logits.dtype), (0, len(logits) - len(exists)))
    return along.softmax((logits - _FAR * absent)[:, None]).squeeze(-1)


def rgcn_loop(
    src: Sequence[int],
    dst: Sequence[int],
    relation: Sequence[int],
    exists: Sequence[bool],
    g: Tensor | None,
    x: Tensor,
    layers: Layers,
    normalise: bool,
    q: Tensor | None = None,
    k: Tensor | None = None,
    mean: bool = True,
) -> Tensor:
    """The definition, edge by edge. Slow on purpose; shares no line with the backends."""

    def weight(j: int, i: int) -> Tensor | float:
        if q is not None and k is not None:
            heard = [a for a, b, _ in edges if b == i] + [i]
            return (q[i] * k[j]).sum().exp() / sum((q[i] * k[a]).sum().exp() for a in heard)
        if g is None:
            return 1.0
        lengths = (g[i] * g[i]).sum().sqrt() * (g[j] * g[j]).sum().sqrt()
        angle = torch.arccos((g[i] * g[j]).sum() / lengths) if lengths > 0 else g.new_tensor(math.pi / 2)
        return 1 - angle / (math.pi if normalise else 1.0)

    edges = [e for e, there in zip(zip(src, dst, relation, strict=True), exists, strict=True) if there]
    rows = list(x)
    for typed, own in layers:
        heard = [row @ own * (1 if q is None else weight(i, i)) for i, row in enumerate(rows)]
        for j, i, r in edges:
            size = sum(1 for _, b, s in edges if (b, s) == (i, r)) if mean else 1
            heard[i] = heard[i] + weight(j, i) / size * (rows[j] @ typed[r])
        rows = [row.clamp(min=0) for row in heard]
    return torch.stack(rows)
