"""Relational GCN on the utterances of a dialogue: SGRNet's syntactic encoder (MA-CMU-SGRNet eq. 22, 23).

    M^s_ij = 1 - arccos(cos(g_i, g_j)) [/ pi]                                              (22)
    h_i'   = ReLU( sum over r of  1 / |G^r_i|  sum over j in G^r_i of  M^s_ij W_r h_j   +   W_0 h_i )     (23), h = g at first

U utterances, R relations, D features. G^r_i: the utterances j that i hears through relation r (messages go j -> i), within ``past``
positions before and ``future`` after it; an empty G^r_i adds nothing. i itself comes in through W_0 alone.

Readings: R is 4 (own or another's turn, before or after: "directed relations (past and future)", III-B) or 2 (own, another's: the set R
printed under 23); the shape of W_r says which. M^s stands in the text ("the node representations and edge weights are then fed"), not in
23; without ``weight`` it is 1 (the ablation). It is of g, the same in every layer, and not part of |G^r_i|.

Backends: ``dense`` (blocks, pieces or tiles), ``dgl``, ``scatter`` (one sum into the R slots of every destination). All agree with
:func:`rgcn_loop`, output and gradients, to 1e-10 in float64.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from types import NoneType
from typing import Any

import torch
from torch import Tensor

from dgl_merc.graphs import RELATIONS, UTTERANCE, Block, EdgeType, Structure
from dgl_merc.graphs.similarity import unit_rows
from dgl_merc.kernels import pairs
from dgl_merc.kernels.backends import Backend, EdgeBackend, choose_backend
from dgl_merc.kernels.edge_list import EdgeList, check_kind, check_likeness, check_rows
from dgl_merc.kernels.messages import messages
from dgl_merc.kernels.newest import has_past, hear_relations, refuse
from dgl_merc.kernels.rules import ArccosWeight

__all__ = ["rgcn"]

Weight = ArccosWeight | Mapping[EdgeType, Tensor] | None
Keep = Mapping[EdgeType, Tensor] | None
Layers = Sequence[tuple[Tensor, Tensor]]
_TYPES: tuple[EdgeType, ...] = tuple((UTTERANCE, r, UTTERANCE) for r in RELATIONS)


def rgcn(
    structure: Structure | Any,
    x: Tensor,
    layers: Layers,
    *,
    weight: Weight = None,
    keep: Keep = None,
    backend: Backend = "auto",
    return_weights: bool = False,
) -> Any:
    """Propagate utterance features along the typed edges of a dialogue.

    Args:
        structure: a :class:`~dgl_merc.graphs.Structure`, or any DGL heterograph of the schema (then ``dgl`` or ``scatter``).
        x: [U, D].
        layers: per layer (W_r [R, D, D'], W_0 [D, D']). R = 4 in the order of :data:`dgl_merc.graphs.RELATIONS`; R = 2: intra, inter.
        weight: a rule (its ``x`` names ``utterance``), or edge type -> [E_t] in edge-id order; None: 1.
        keep: edge type -> [E_t] bool: edges that exist at all; the others count in no |G^r_i| (for explanations).
        backend: who computes; never changes the numbers beyond rounding. See :func:`dgl_merc.kernels.choose_backend`.
        return_weights: return what each edge's message is multiplied by as well.

    Returns:
        [U, D_last]; with ``return_weights`` also edge type -> [E_t], M^s_ij / |G^r_i|.

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
    check_kind("weight", weight, (ArccosWeight, Mapping, NoneType))
    check_kind("keep", keep, (Mapping, NoneType))
    check_rows("x", x, structure.num_nodes(UTTERANCE), "D")
    _check(x.shape[1], layers)
    if isinstance(weight, ArccosWeight):
        check_likeness(weight, len(x))
    if has_past(structure):
        refuse(weight=weight, keep=keep, return_weights=return_weights)
        return hear_relations(structure, x, layers, weight if isinstance(weight, ArccosWeight) else None)
    chosen = choose_backend("rgcn", structure, backend)
    if chosen == "dense":
        y = _on_blocks(structure, x, layers, weight, keep)
        return (y, _on_edges("scatter", structure, x, layers, weight, keep, only_weights=True)[1]) if return_weights else y
    y, weights = _on_edges(chosen, structure, x, layers, weight, keep)
    return (y, weights) if return_weights else y


def _check(width: int, layers: Layers) -> None:
    relations = len(layers[0][0]) if layers else 4
    for k, (typed, own) in enumerate(layers):
        if typed.ndim != 3 or typed.shape[:2] != (relations, width) or relations not in (2, 4):
            raise ValueError(f"layers[{k}][0] must be [R=4 or 2, {width}, D'], got {list(typed.shape)}")
        if own.shape != typed.shape[1:]:
            raise ValueError(f"layers[{k}][1] must be {list(typed.shape[1:])}, got {list(own.shape)}")
        width = own.shape[1]


def _through(h: Tensor, layers: Layers, heard: Callable[[Tensor], Tensor]) -> Tensor:
    """[..., D] -> [..., D_last]: eq. 23 layer by layer; ``heard`` gives the weighted means per relation side by side, [..., R D]."""
    for typed, own in layers:
        h = torch.relu(heard(h) @ typed.flatten(0, 1) + h @ own)
    return h


def _on_blocks(structure: Structure, x: Tensor, layers: Layers, weight: Weight, keep: Keep) -> Tensor:
    spec = structure.spec
    blocks = structure.blocks((UTTERANCE,), spec.past, 0 if spec.causal else spec.future)
    relations = len(layers[0][0]) if layers else 4
    h = blocks.pad(x)
    unit = None if not isinstance(weight, ArccosWeight) else h if weight.x[UTTERANCE] is x else blocks.pad(weight.x[UTTERANCE])
    speakers, there = blocks.pad(structure.speakers), blocks.pad(x.new_ones(len(x)))
    given = [{} for _ in blocks.blocks] if unit is not None and keep is None else _given(structure, blocks, weight, keep)
    outputs = []
    for k, block in enumerate(blocks.blocks):
        held = bool(given[k]) or blocks.pairs * relations <= pairs.HELD
        inputs = [*([unit_rows(unit[k])] if unit is not None else []), speakers[k], there[k]]
        outputs.append(_through(h[k], layers, _Means(structure, block, weight, relations, inputs, given[k], held=held)))
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


class _Means:
    """The weighted means over each relation's neighbours, in a block of pieces: [b, 1, R, D] -> [b, 1, R, relations D].

    ``inputs``, each [b, 1, R, ...]: unit rows where a rule weighs, speakers, presence.
    """

    def __init__(
        self,
        structure: Structure,
        block: Block,
        weight: Weight,
        relations: int,
        inputs: Sequence[Tensor],
        given: Mapping[str, Tensor],
        *,
        held: bool,
    ) -> None:
        spec = structure.spec
        self.block, self.weight, self.relations, self.given = block, weight, relations, given
        self.past, self.future = spec.past, 0 if spec.causal else spec.future
        self.tiles = None if held else pairs.tiles_of(block, relations, causal=spec.causal, whole_rows=True)
        self.rows, self.columns = list(inputs), [block.spread(v) for v in inputs]
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
        """[b, r, R, c] [b, 1, c, D] -> [b, 1, r, R D]."""
        with torch.autocast(columns.device.type, enabled=False):
            y = matrix.flatten(1, 2).to(columns.dtype) @ columns.squeeze(1)
        return y.view(len(y), 1, -1, self.relations * y.shape[-1])

    def _matrix(self, tile: pairs.Tile, *tensors: Tensor) -> Tensor:
        """[b, r, R, c]: M^s_ij / |G^r_i| where j is a neighbour of i under relation r."""
        rows, columns = tensors[: len(self.rows)], tensors[len(self.rows) :]
        there = columns[-1]
        own = (rows[-2].unsqueeze(-1) == columns[-2].unsqueeze(-2)).squeeze(1).to(there.dtype)
        sides = [(self.past, -1), (-1, self.future)]
        near = [pairs.band(self.block, tile, side, there.dtype).squeeze(1) * there for side in sides]
        if self.relations == 2:
            near = [near[0] + near[1]]
        intra = [side * own for side in near]
        neighbours = torch.stack([*intra, *(side - part for side, part in zip(near, intra, strict=True))], dim=2)
        if "keep" in self.given:
            neighbours = neighbours * self.given["keep"].unsqueeze(2)
        means = neighbours / neighbours.sum(-1, keepdim=True).clamp_min(1.0)
        if isinstance(self.weight, ArccosWeight):
            weights = self.weight.of_cosine(pairs.cosines(rows[0], columns[0])).squeeze(1)
        elif self.weight is not None:
            weights = self.given["weight"]
        else:
            return means
        return means * weights.unsqueeze(2)


def _on_edges(
    backend: EdgeBackend,
    graph: Structure | Any,
    x: Tensor,
    layers: Layers,
    weight: Weight,
    keep: Keep,
    *,
    only_weights: bool = False,
) -> tuple[Tensor, dict[EdgeType, Tensor]]:
    edges = EdgeList.of(graph, _TYPES, (UTTERANCE,))
    relations = len(layers[0][0]) if layers else 4
    slot = edges.number({t: k * relations // 4 for k, t in enumerate(_TYPES)})
    into = edges.dst * relations + slot  # the R slots of every destination
    along = messages(backend, edges, dst=into, targets=len(x) * relations)
    dtype = x.dtype
    exists = x.new_ones(len(into)) if keep is None else edges.stack(keep, "keep", fill=True).to(dtype)
    count = along.total(exists[:, None]).clamp_min(1.0).squeeze(-1)
    entries = exists / count.index_select(0, into)
    if isinstance(weight, ArccosWeight):
        unit = unit_rows(weight.x[UTTERANCE])
        entries = entries * weight.of_cosine(messages(backend, edges).dot(unit, unit))
    elif weight is not None:
        entries = entries * edges.stack(weight, "weight")
    y = x
    if not only_weights:
        y = _through(x, layers, lambda h: along.weigh(h, entries.to(h.dtype)).view(len(h), -1))
    return y, edges.split(entries)


def rgcn_loop(
    src: Sequence[int],
    dst: Sequence[int],
    relation: Sequence[int],
    exists: Sequence[bool],
    g: Tensor | None,
    x: Tensor,
    layers: Layers,
    normalise: bool,
) -> Tensor:
    """The definition, edge by edge. Slow on purpose; shares no line with the backends."""

    def weight(j: int, i: int) -> Tensor | float:
        if g is None:
            return 1.0
        lengths = (g[i] * g[i]).sum().sqrt() * (g[j] * g[j]).sum().sqrt()
        angle = torch.arccos((g[i] * g[j]).sum() / lengths) if lengths > 0 else g.new_tensor(math.pi / 2)
        return 1 - angle / (math.pi if normalise else 1.0)

    edges = [e for e, there in zip(zip(src, dst, relation, strict=True), exists, strict=True) if there]
    rows = list(x)
    for typed, own in layers:
        heard = [row @ own for row in rows]
        for j, i, r in edges:
            size = sum(1 for _, k, q in edges if (k, q) == (i, r))
            heard[i] = heard[i] + weight(j, i) / size * (rows[j] @ typed[r])
        rows = [row.clamp(min=0) for row in heard]
    return torch.stack(rows)
