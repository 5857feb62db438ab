"""Attention over all utterances of a dialogue, biased by likeness and distance: SGRNet's semantic encoder (MA-CMU-SGRNet eq. 22, 24-26).

    SP_ij  = M^s_ij + M^p_ij                                                               (24)
    a_ij   = q_i . k_j / scale + SP_ij            q = W_q g, k = W_k g, per head            (25)
    h_i    = sum over j of softmax_j(a_ij) (v_j + SP_ij)        v = W_v g                   (26)

U utterances, H heads, K features per head; j runs over the utterances of i's dialogue, i among them, in a causal structure over those up to
i. M^s is eq. 22 (:class:`dgl_merc.kernels.ArccosWeight`). M^p_ij is a learnable scalar per head and distance: the number of hops from j to
i along the relation edges, clipped to B - 1, with a scalar of its own where no path leads. In a window graph that is
``ceil((j - i) / future)`` or ``ceil((i - j) / past)``, exactly.

Readings: the print has ``W_v g_i`` in 26, which would make the sum trivial; SP_ij there is added to every channel; scale is sqrt(d_f), d_f
the width of g. Without ``weight`` and ``distances`` SP is 0 (the ablation) and this is plain attention.

Backends: ``dense`` (blocks, by tiles in long dialogues), ``dgl`` and ``scatter`` (along the list of all pairs, which grows with the square
of a dialogue's length). All agree with :func:`semantic_attention_loop`, output and gradients, to 1e-10 in float64.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from types import NoneType
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from dgl_merc.graphs import UTTERANCE, Block, Structure
from dgl_merc.graphs.similarity import unit_rows
from dgl_merc.kernels import pairs
from dgl_merc.kernels.backends import Backend, EdgeBackend, choose_backend
from dgl_merc.kernels.dialogue_pairs import DialoguePairs, hops
from dgl_merc.kernels.edge_list import EdgeList, check_kind, check_likeness, check_rows
from dgl_merc.kernels.messages import messages
from dgl_merc.kernels.rules import ArccosWeight

__all__ = ["semantic_attention"]

_FAR = 1e30  # taken from the logits of pairs that are not to be: exp is exactly 0, and a row without any has no NaN


@dataclass(frozen=True)
class _How:
    """The options of a call, checked."""

    scale: float
    weight: ArccosWeight | Tensor | None
    distances: Tensor | None
    keep: Tensor | None


def semantic_attention(
    structure: Structure | Any,
    q: Tensor,
    k: Tensor,
    v: Tensor,
    *,
    scale: float,
    weight: ArccosWeight | Tensor | None = None,
    distances: Tensor | None = None,
    keep: Tensor | None = None,
    backend: Backend = "auto",
    return_weights: bool = False,
) -> Any:
    """Attend within each dialogue.

    Pairs, where a tensor speaks of them, are those of :meth:`dgl_merc.graphs.Structure.pairs`: P of them, by (dialogue, dst, src), itself
    included. In a DGL graph they are all pairs of a dialogue (``batch_num_nodes("utterance")``), also in one made of a causal structure,
    for a graph does not say that it is causal; distances are shortest paths along whatever relation edges it has.

    Args:
        structure: a :class:`~dgl_merc.graphs.Structure`, or any DGL heterograph of the schema (then ``dgl`` or ``scatter``).
        q: [U, H, K] queries.
        k: [U, H, K] keys.
        v: [U, H, K'] values.
        scale: what q . k is divided by; the paper's is the root of the width of g.
        weight: M^s: a rule (its ``x`` names ``utterance``), or [P]; None: 0.
        distances: M^p: [H, B + 1], one scalar per head and distance 0 ... B - 1 (the last also for what is further), then one for what
            cannot be reached; None: 0.
        keep: [P] bool: pairs that exist at all (for explanations). An utterance that hears none gets zeros.
        backend: who computes; never changes the numbers beyond rounding. See :func:`dgl_merc.kernels.choose_backend`.
        return_weights: return softmax_j(a_ij) as well.

    Returns:
        [U, H, K']; with ``return_weights`` also [P, H].

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

    As a DGL graph in which no edge leads from the second to the first: what cannot be reached has its own scalar.

    >>> from dgl_merc._dgl import dgl
    >>> graph = dgl.heterograph({("utterance", "inter_past", "utterance"): ([0], [1])}, num_nodes_dict={"utterance": 2})
    >>> semantic_attention(graph, zero, zero, v, scale=1.0, distances=M_p, return_weights=True)[1].flatten()  # the first: 3 to 2
    tensor([0.6000, 0.4000, 0.2500, 0.7500])
    """
    chosen = choose_backend("semantic_attention", structure, backend)
    check_kind("weight", weight, (ArccosWeight, Tensor, NoneType))
    check_kind("keep", keep, (Tensor, NoneType))
    utterances = structure.num_nodes(UTTERANCE)
    for name, value in (("q", q), ("k", k), ("v", v)):
        check_rows(name, value, utterances, "H", "K")
    if q.shape != k.shape or v.shape[1] != q.shape[1]:
        raise ValueError(f"q and k must be [U, H, K] and v [U, H, K'], got {list(q.shape)}, {list(k.shape)}, {list(v.shape)}")
    if distances is not None and (distances.ndim != 2 or len(distances) != q.shape[1] or distances.shape[1] < 2):
        raise ValueError(f"distances must be [H={q.shape[1]}, B + 1], B at least 1, got {list(distances.shape)}")
    if keep is not None and keep.dtype != torch.bool:
        raise ValueError(f"keep must be bool, True = left in, got {keep.dtype}")
    if isinstance(weight, ArccosWeight):
        check_likeness(weight, utterances)
    how = _How(scale, weight, distances, keep)
    if chosen == "dense":
        y = _on_blocks(structure, q, k, v, how)
        return (y, _on_pairs("scatter", structure, q, k, None, how)[1]) if return_weights else y
    y, weights = _on_pairs(chosen, structure, q, k, v, how)
    return (y, weights) if return_weights else y


def _on_blocks(structure: Structure, q: Tensor, k: Tensor, v: Tensor, how: _How) -> Tensor:
    blocks = structure.blocks((UTTERANCE,))
    parts = [[_by_head(part) for part in blocks.pad(x)] for x in (q, k, v)]
    there = blocks.pad(q.new_ones(len(q), dtype=torch.float64 if q.dtype == torch.float64 else torch.float32))
    unit = blocks.pad(how.weight.x[UTTERANCE]) if isinstance(how.weight, ArccosWeight) else None
    given: dict[str, list[Tensor]] = {}
    for name, value in (("weight", how.weight), ("keep", how.keep)):
        if isinstance(value, Tensor):
            src, dst = structure.pairs()
            check_rows(name, value, len(src))
            given[name] = blocks.pad_pairs(value, src, dst, joint=False)
    outputs = []
    for n, block in enumerate(blocks.blocks):
        attention = _Attention(structure, block, how, {name: values[n] for name, values in given.items()}, unit=unit is not None)
        likeness = [unit_rows(unit[n])] if unit is not None else []
        rows, columns = [parts[0][n], *likeness], [parts[1][n], parts[2][n], there[n], *likeness]
        shared = [] if how.distances is None else [how.distances]
        if given or blocks.pairs * q.shape[1] <= pairs.HELD:
            y = attention(pairs.whole(block), *rows, *columns, *shared)
        else:
            y = pairs.by_tiles(
                attention, pairs.tiles_of(block, q.shape[1], causal=structure.spec.causal, whole_rows=True), rows, columns, shared
            )
        outputs.append(y.transpose(1, 2).unsqueeze(1))
    return blocks.unpad(outputs)


def _by_head(x: Tensor) -> Tensor:
    """[b, 1, L, H, K] -> [b, H, L, K]."""
    return x.squeeze(1).transpose(1, 2)


@dataclass(frozen=True)
class _Attention:
    """Eq. 24-26 on a tile of a block: [b, H, r, K] queries against [b, H, c, K] keys and values, to [b, H, r, K']."""

    structure: Structure
    block: Block
    how: _How
    given: dict[str, Tensor]
    unit: bool

    def __call__(self, tile: pairs.Tile, *tensors: Tensor) -> Tensor:
        parts = list(tensors)
        q, unit_rows_ = parts.pop(0), parts.pop(0) if self.unit else None
        k, v, there = parts.pop(0), parts.pop(0), parts.pop(0)
        unit_columns = parts.pop(0) if self.unit else None
        bias = self._bias(tile, there.dtype, unit_rows_, unit_columns, parts)
        with torch.autocast(q.device.type, enabled=False):
            logits = (q @ k.transpose(-1, -2)).to(there.dtype) / self.how.scale
            logits = logits if bias is None else logits + bias
            absent = self._absent(tile, there)
            weights = _softmax(logits if absent is None else logits - _FAR * absent)
            if "keep" in self.given:
                weights = weights * (1.0 - absent)  # type: ignore[operator]  # a row that hears none
            y = weights.to(v.dtype) @ v
            return y if bias is None else y + (weights * bias).sum(-1, keepdim=True).to(v.dtype)

    def _bias(
        self, tile: pairs.Tile, dtype: torch.dtype, rows: Tensor | None, columns: Tensor | None, distances: Sequence[Tensor]
    ) -> Tensor | None:
        """[b or 1, H or 1, r, c]: eq. 24; None: 0."""
        bias = None
        if isinstance(self.how.weight, ArccosWeight):
            assert rows is not None
            assert columns is not None
            bias = self.how.weight.of_cosine(pairs.cosines(rows, columns))
            own = bias.diagonal(tile.diagonal(self.block), -2, -1)
            own.copy_(_own(self.how.weight, rows))
        elif self.how.weight is not None:
            bias = self.given["weight"]
        if not distances:
            return bias
        r, c = tile.shape
        apart = (
            torch.arange(1 - r, c, device=distances[0].device) + tile.columns.start - tile.rows.start
        )  # row r - 1 first, column c - 1 last
        along = distances[0].index_select(1, hops(self.structure.spec, apart, distances[0].shape[1] - 1))
        table = along.unfold(1, c, 1).flip(1)[None].to(dtype)  # one scalar per diagonal
        return table if bias is None else bias + table

    def _absent(self, tile: pairs.Tile, there: Tensor) -> Tensor | None:
        """1 where a pair does not exist: [b or 1, 1, r or 1, c]; None: all do."""
        present = None if self.block.full else there.unsqueeze(2)
        if self.structure.spec.causal:
            near = pairs.within_reach(self.block, tile, (None, 0), there.dtype)
            present = near if present is None else present * near  # type: ignore[operator]
        if "keep" in self.given:
            keep = self.given["keep"].to(there.dtype)
            present = keep if present is None else present * keep
        return None if present is None else 1.0 - present


class _Softmax(torch.autograd.Function):
    """Over the last dimension. On the CPU the gradient of torch's own is not the same bits for one and two threads."""

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        y = torch.softmax(x, dim=-1)
        ctx.save_for_backward(y)
        return y

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *grads: Tensor) -> Tensor:
        (y,) = ctx.saved_tensors
        result: Tensor = grads[0] * y
        return result.addcmul_(y, result.sum(-1, keepdim=True), value=-1.0)


def _softmax(x: Tensor) -> Tensor:
    return _Softmax.apply(x)  # type: ignore[no-any-return,no-untyped-call]


def _own(weight: ArccosWeight, unit: Tensor) -> Tensor:
    """[..., D] unit rows to [...]: the weight of a row with itself, free of rounding: 1, or that of a cosine of 0 where the row is zero."""
    return weight.of_cosine((unit.detach().square().sum(-1) > 0.5).to(unit.dtype))


def _on_pairs(backend: EdgeBackend, graph: Structure | Any, q: Tensor, k: Tensor, v: Tensor | None, how: _How) -> tuple[Tensor, Tensor]:
    """Along the list of pairs; without values only the weights are made."""
    every = DialoguePairs.of(graph)
    for name, value in (("weight", how.weight), ("keep", how.keep)):
        if isinstance(value, Tensor):
            check_rows(name, value, len(every.src))
    rows = None if how.keep is None else how.keep.nonzero()[:, 0]
    src, dst = every.src if rows is None else every.src[rows], every.dst if rows is None else every.dst[rows]
    sizes = {UTTERANCE: len(q)}
    edges = EdgeList(sizes, sizes, (), (), src, dst)
    along, heads = messages(backend, edges), range(q.shape[1])
    logits = torch.stack([along.dot(k[:, h], q[:, h]) for h in heads], dim=1) / how.scale
    bias = None
    if isinstance(how.weight, ArccosWeight):
        unit = unit_rows(how.weight.x[UTTERANCE])
        likeness = torch.where(src == dst, _own(how.weight, unit).index_select(0, dst), how.weight.of_cosine(along.dot(unit, unit)))
        bias = likeness[:, None]
    elif how.weight is not None:
        bias = (how.weight if rows is None else how.weight[rows])[:, None]
    if how.distances is not None:
        far = every.hops(how.distances.shape[1] - 1)
        table = how.distances.index_select(1, far if rows is None else far[rows]).T
        bias = table if bias is None else bias + table
    logits = logits.to(torch.promote_types(logits.dtype, torch.float32))
    weights = along.softmax((logits if bias is None else logits + bias).contiguous())
    y = q
    if v is not None:
        y = torch.stack([along.weigh(v[:, h], weights[:, h].to(v.dtype)) for h in heads], dim=1)
        if bias is not None:
            y = y + along.total(weights * bias)[:, :, None].to(v.dtype)
    if rows is not None:
        weights = weights.new_zeros(len(every.src), weights.shape[1]).index_copy(0, rows, weights)
    return y, weights


def semantic_attention_loop(
    dialogues: Sequence[Sequence[int]],
    heard: Sequence[Sequence[int]],
    hops_between: Sequence[Sequence[int]],
    q: Tensor,
    k: Tensor,
    v: Tensor,
    g: Tensor | None,
    table: Tensor | None,
    scale: float,
    normalise: bool,
) -> Tensor:
    """The definition, pair by pair. Slow on purpose; shares no line with the backends.

    ``heard[i]``: the utterances that i attends to; ``hops_between[i][j]``: the column of ``table`` for j at i.
    """
    rows = []
    for i in (u for dialogue in dialogues for u in dialogue):
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
                grown = ((q[i, h] * k[j, h]).sum() / scale + bias).exp()
                top, below = top + grown * (v[j, h] + bias), below + grown
            heads.append(top / below if heard[i] else top)
        rows.append(torch.stack(heads))
    return torch.stack(rows)
