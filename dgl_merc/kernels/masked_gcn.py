"""Masked GCN on the modality nodes of a dialogue (MGLRA eq. 17-21; with an initial residual, MMGCN's deep one).

    A_ij  = 1 - arccos(sim(n_i, n_j)) / pi            same modality                              (17)
    A_ij  = aleph (1 - arccos(sim(n_i, n_j)) / pi)    across modalities                          (18)
    A[M]  = A with the masked edges removed                                                       (20)
    P     = (D + I)^-1/2 (A[M] + I) (D + I)^-1/2                                                  (21)
    H'    = ReLU(P H W)                               once per matrix W, with one P for all
    H'    = ReLU(((1 - a) P H + a H_0) W)             the same with an initial residual a, H_0 what the first layer is given

N nodes of all modalities, E edges ``same`` and ``cross`` (messages go src -> dst: row i of P is what node i hears), D features.
D is diagonal: D_ii = sum of A_ij over the edges that node i hears, so that in a causal graph nothing of it comes from later. The
diagonal of A is empty: I is added once. The initial residual is that of GCNII (Chen et al., ICML 2020, eq. 5), which MMGCN (Hu et al., ACL
2021) applies to this graph; the identity mapping beside it is a choice of W (:class:`dgl_merc.layers.DeepGCN`).

Readings (the paper leaves them open): ``degree="full"`` is the print, where only A carries [M]; the aggregate then has about 1 - rate of
inference's scale, which ``rescale`` divides out. ``degree="masked"`` uses the degrees of what is left. Masking of nodes (19) is not
here but in :class:`dgl_merc.layers.MaskedGCN`: it changes H, not P.

Backends: ``dense`` (blocks of pairs, by tiles in long dialogues), ``dgl`` (built-in message functions over the edges that the mask
leaves), ``scatter`` (the same by torch, on any device). All agree with :func:`masked_gcn_loop`, output and gradients, to 1e-10 in float64.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from types import NoneType
from typing import Any, Literal

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from dgl_merc.graphs import EdgeType, Structure
from dgl_merc.graphs.similarity import unit_rows
from dgl_merc.kernels import pairs
from dgl_merc.kernels.adjacency import Adjacency, numbers_per_pair, pad_given
from dgl_merc.kernels.backends import Backend, EdgeBackend, choose_backend
from dgl_merc.kernels.edge_list import EdgeList, check_kind, check_modalities, split_nodes, stack_nodes
from dgl_merc.kernels.messages import Messages, messages
from dgl_merc.kernels.newest import has_past, propagate, refuse
from dgl_merc.kernels.rules import ArccosWeight, HashMask

__all__ = ["Backend", "Degree", "masked_gcn"]

Degree = Literal["masked", "full"]
"""Degrees of the edges that the mask leaves, or of all."""
Weight = ArccosWeight | Mapping[EdgeType, Tensor]
Mask = HashMask | Mapping[EdgeType, Tensor] | None
Keep = Mapping[EdgeType, Tensor] | None


@dataclass(frozen=True)
class _How:
    """The options of a call, checked."""

    weight: Weight
    mask: Mask
    keep: Keep
    degree: Degree
    gain: float
    initial: float
    return_weights: bool


def masked_gcn(
    structure: Structure | Any,
    x: Mapping[str, Tensor],
    matrices: Sequence[Tensor],
    *,
    weight: Weight,
    mask: Mask = None,
    keep: Keep = None,
    degree: Degree = "masked",
    rescale: bool = False,
    initial: float = 0.0,
    backend: Backend = "auto",
    return_weights: bool = False,
) -> Any:
    """Propagate node features along the edges that a mask leaves in.

    Args:
        structure: a :class:`~dgl_merc.graphs.Structure`, or any DGL heterograph of the schema (then ``dgl`` or ``scatter``).
        x: modality -> [N_m, D] features of its nodes. In a DGL graph their order numbers the modalities, for a HashMask as well.
        matrices: [D, D'], [D', D''], ...: one per layer.
        weight: a rule, or edge type -> [E_t] weights in edge-id order.
        mask: a rule, or edge type -> [E_t] bool in edge-id order, True = left in (a type that is not named: all); None: nothing is masked.
        keep: edge type -> [E_t] bool: edges that exist at all; the others are removed from A and D alike (for explanations).
            Tensors per edge are as large as the edges are many: long conversations want rules.
        degree: of the masked or of the full adjacency.
        rescale: divide the kept edges by 1 - rate (needs a HashMask).
        initial: a, the share of ``x`` in what every matrix is given, 0 to 1; above 0 the matrices are [D, D].
        backend: who computes; never changes the numbers beyond rounding. See :func:`dgl_merc.kernels.choose_backend`.
        return_weights: return the entries of P as well.

    Returns:
        Modality -> [N_m, D_last]; with ``return_weights`` also (edge type -> [E_t] entries of P, modality -> [N_m] its diagonal).

    Raises:
        ValueError: shapes that do not fit; the message names what was received.

    Example, by hand: two utterances, orthogonal features, so the one pair of edges weighs one half.

    >>> from dgl_merc.graphs import GraphSpec
    >>> x = {"text": torch.eye(2)}
    >>> masked_gcn(Structure.of([2], GraphSpec(("text",))), x, [torch.eye(2)], weight=ArccosWeight(x))["text"]
    tensor([[0.6667, 0.3333],
            [0.3333, 0.6667]])

    (1 of itself + 1/2 of the other) / (1 + 1/2). A DGL graph may have any edges; here only the second utterance hears the other:

    >>> from dgl_merc._dgl import dgl
    >>> graph = dgl.heterograph({("text", "same", "text"): ([0], [1])}, num_nodes_dict={"text": 2})
    >>> masked_gcn(graph, x, [torch.eye(2)], weight=ArccosWeight(x))["text"]  # degrees 0 and 1/2
    tensor([[1.0000, 0.0000],
            [0.4082, 0.6667]])
    """
    if degree not in ("masked", "full"):
        raise ValueError(f"degree must be 'masked' or 'full', got {degree!r}")
    if rescale and not isinstance(mask, HashMask):
        raise ValueError(f"rescale divides by 1 - rate and needs a HashMask, got {type(mask).__name__}")
    if isinstance(weight, ArccosWeight) and not weight.normalise:
        raise ValueError("weight must be normalised: without pi weights fall to 1 - pi, and a degree below 0 has no root")
    for name, value, kinds in (("weight", weight, (ArccosWeight, Mapping)), ("mask", mask, (HashMask, Mapping, NoneType))):
        check_kind(name, value, kinds)
    check_kind("keep", keep, (Mapping, NoneType))
    _check(structure, x, matrices, initial)
    if has_past(structure):
        refuse(weight=weight, mask=mask, keep=keep, return_weights=return_weights)
        return propagate(structure, x, matrices, weight, initial)  # type: ignore[arg-type]  # a rule: it was not refused
    rate = mask.rate if isinstance(mask, HashMask) and degree == "masked" else 0.0
    chosen = choose_backend("masked_gcn", structure, backend, rate=rate)
    how = _How(weight, mask, keep, degree, _gain(mask) if rescale else 1.0, initial, return_weights)
    if chosen == "dense":
        return _on_blocks(structure, x, matrices, how)
    return _on_edges(chosen, structure, x, matrices, how)


def _check(structure: Structure | Any, x: Mapping[str, Tensor], matrices: Sequence[Tensor], initial: float) -> None:
    check_modalities(structure, list(x), "x")
    if not 0.0 <= initial <= 1.0:
        raise ValueError(f"initial must be from 0 to 1, got {initial}")
    width = next(iter(x.values())).shape[-1]
    for k, matrix in enumerate(matrices):
        if matrix.ndim != 2 or matrix.shape[0] != width:
            raise ValueError(f"matrices[{k}] must be [{width}, D'], got {list(matrix.shape)}")
        if initial and matrix.shape[1] != width:
            raise ValueError(f"matrices[{k}] must be [{width}, {width}] beside an initial residual, got {list(matrix.shape)}")
        width = matrix.shape[1]


def _gain(mask: Mask) -> float:
    """1 / (1 - rate); with a rate of 1 nothing is left to be scaled."""
    rate = mask.rate if isinstance(mask, HashMask) else 0.0
    return 1.0 / (1.0 - rate) if rate < 1.0 else 0.0


def _layers(h: Tensor, root: Tensor, matrices: Sequence[Tensor], initial: float, heard: Callable[[Tensor], Tensor]) -> Tensor:
    """[..., D] -> [..., D_last]: eq. 21 layer by layer; ``heard`` multiplies by A[M] + I, ``root`` is (D + I)^-1/2.

    ReLU(root y) = root ReLU(y), so that the scaling after one layer and that before the next are one where nothing is added between.
    """
    if not matrices:
        return h
    if initial:
        return _deep_layers(h, root, matrices, initial, heard)
    h = _scaled(root.to(h.dtype), h)
    for k, matrix in enumerate(matrices):
        h = torch.relu(heard(h) @ matrix)
        h = _scaled((root if k + 1 == len(matrices) else root * root).to(h.dtype), h)  # autocast may have changed it
    return h


def _deep_layers(h: Tensor, root: Tensor, matrices: Sequence[Tensor], initial: float, heard: Callable[[Tensor], Tensor]) -> Tensor:
    first = h
    for matrix in matrices:
        propagated = _scaled(root.to(h.dtype), heard(_scaled(root.to(h.dtype), h)))
        h = torch.relu(torch.lerp(propagated, first.to(h.dtype), initial) @ matrix)
    return h


class _Scaled(torch.autograd.Function):
    """[..., 1] times [..., D]; the gradient of the former is one product per row, where autograd's would write [..., D] first."""

    @staticmethod
    def forward(ctx: Any, scale: Tensor, h: Tensor) -> Tensor:
        ctx.save_for_backward(scale, h)
        return scale * h

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *grads: Tensor) -> Any:
        scale, h = ctx.saved_tensors
        return torch.linalg.vecdot(grads[0], h).unsqueeze(-1), scale * grads[0]


def _scaled(scale: Tensor, h: Tensor) -> Tensor:
    return _Scaled.apply(scale, h)  # type: ignore[no-any-return,no-untyped-call]


def _on_blocks(structure: Structure, x: Mapping[str, Tensor], matrices: Sequence[Tensor], how: _How) -> Any:
    spec = structure.spec
    blocks = structure.blocks(spec.modalities, *spec.reach(spec.message_types[0]))
    h = blocks.pad(stack_nodes(x, structure.sizes, "x"))
    given = pad_given(structure, blocks, {"weight": how.weight, "mask": how.mask, "keep": how.keep})
    if isinstance(how.weight, ArccosWeight):
        same = all(how.weight.x.get(m) is v for m, v in x.items())
        given["unit"] = [unit_rows(v) for v in (h if same else blocks.pad(stack_nodes(how.weight.x, structure.sizes, "weight.x")))]
    if isinstance(how.mask, HashMask):
        given["words"] = blocks.pad(how.mask.words(structure, spec.modalities))
    rules = not any(isinstance(v, Mapping) for v in (how.weight, how.mask, how.keep))
    held = not rules or blocks.pairs * numbers_per_pair(spec) <= pairs.HELD
    outputs, roots = [], []
    for k, block in enumerate(blocks.blocks):
        parts = {name: values[k] for name, values in given.items()}
        adjacency = Adjacency(spec, block, how.weight, how.mask, how.gain, parts, held=held)
        filled = block.filled.unsqueeze(-1).to(adjacency.dtype)
        total = adjacency.heard(filled, masked=how.degree == "masked")
        root = total.rsqrt() if block.full else torch.where(block.filled.unsqueeze(-1), total, 1.0).rsqrt() * filled
        outputs.append(_layers(h[k], root, matrices, how.initial, adjacency.heard))
        roots.append(root)
    y = split_nodes(blocks.unpad(outputs), structure.sizes)
    if not how.return_weights:
        return y
    edges = EdgeList.of(structure, spec.message_types, spec.modalities)
    _, kept = _edge_weights(messages("scatter", edges), edges, how, _left(edges, structure, how), None)
    return y, *_propagation(edges, blocks.unpad(roots).squeeze(-1), kept)


def _on_edges(backend: EdgeBackend, graph: Structure | Any, x: Mapping[str, Tensor], matrices: Sequence[Tensor], how: _How) -> Any:
    edges = EdgeList.of_messages(graph, tuple(x))
    h = stack_nodes(x, edges.sources, "x")
    left = _left(edges, graph, how)
    every = how.degree == "full" or how.return_weights or left is None  # else the masked edges need not even be made
    rows = None if every else left.nonzero()[:, 0]  # type: ignore[union-attr]
    along = messages(backend, edges if rows is None else edges.only(rows))
    full, kept = _edge_weights(along, edges, how, left, rows)
    root = torch.rsqrt(along.total((kept if how.degree == "masked" else full)[:, None]) + 1.0)
    y = _layers(h, root, matrices, how.initial, lambda v: along.weigh(v, kept.to(v.dtype)) + v)
    if not how.return_weights:
        return split_nodes(y, edges.sources)
    return split_nodes(y, edges.sources), *_propagation(edges, root.squeeze(-1), kept)


def _left(edges: EdgeList, graph: Structure | Any, how: _How) -> Tensor | None:
    """[E] bool: what mask and keep leave in; None: everything."""
    left = None
    if isinstance(how.mask, HashMask):
        words = how.mask.words(graph, list(edges.sources))
        left = how.mask.kept_pairs(words.index_select(0, edges.src), words.index_select(0, edges.dst))
    elif how.mask is not None:
        left = edges.stack(how.mask, "mask", fill=True)
    if how.keep is None:
        return left
    keep = edges.stack(how.keep, "keep", fill=True)
    return keep if left is None else left & keep


def _edge_weights(along: Messages, edges: EdgeList, how: _How, left: Tensor | None, rows: Tensor | None) -> tuple[Tensor, Tensor]:
    """[E] entries of A and of A[M]; with ``rows`` (then ``along`` has these edges alone) those left, the same but for the gain."""
    if isinstance(how.weight, ArccosWeight):
        unit = unit_rows(stack_nodes(how.weight.x, edges.sources, "weight.x"))
        full = how.weight.of_cosine(along.dot(unit, unit))
        if not (isinstance(how.weight.scale, float) and how.weight.scale == 1.0):
            across = edges.number({t: int(t[0] != t[2]) for t in edges.types}).bool()
            full = torch.where(across if rows is None else across[rows], full * how.weight.scale, full)
    else:
        full = edges.stack(how.weight, "weight")
        full = full if rows is None else full.index_select(0, rows)
    if rows is not None:
        return full, full * how.gain
    kept = full if left is None else full * left.to(full.dtype)
    if how.keep is not None:
        full = full * edges.stack(how.keep, "keep", fill=True).to(full.dtype)
    return full, kept * how.gain


def _propagation(edges: EdgeList, root: Tensor, kept: Tensor) -> tuple[dict[EdgeType, Tensor], dict[str, Tensor]]:
    """The entries of P along edges, and its diagonal."""
    entries = root.index_select(0, edges.dst) * kept * root.index_select(0, edges.src)
    return edges.split(entries), split_nodes(root**2, edges.sources)


def masked_gcn_loop(
    src: Sequence[int],
    dst: Sequence[int],
    cross: Sequence[bool],
    left: Sequence[bool],
    n: Tensor,
    h: Tensor,
    matrices: Sequence[Tensor],
    aleph: Tensor | float,
    degree: str,
    gain: float,
    initial: float = 0.0,
) -> Tensor:
    """The definition, edge by edge. Slow on purpose; shares no line with the backends."""

    def weight(j: int, i: int, across: bool) -> Tensor:
        lengths = (n[i] * n[i]).sum().sqrt() * (n[j] * n[j]).sum().sqrt()
        similarity = (n[i] * n[j]).sum() / lengths if lengths > 0 else n.new_zeros(())
        return (aleph if across else 1.0) * (1 - torch.arccos(similarity) / math.pi)

    edges = [(j, i, weight(j, i, x), m) for j, i, x, m in zip(src, dst, cross, left, strict=True)]
    d = [n.new_zeros(()) for _ in h]
    for _, i, a, m in edges:
        if degree == "full":
            d[i] = d[i] + a
        elif m:
            d[i] = d[i] + gain * a
    rows = list(h)
    for w in matrices:
        heard = [row / (d[i] + 1) for i, row in enumerate(rows)]
        for j, i, a, m in edges:
            if m:
                heard[i] = heard[i] + gain * a / ((d[i] + 1) * (d[j] + 1)).sqrt() * rows[j]
        if initial:
            heard = [(1 - initial) * row + initial * h[i] for i, row in enumerate(heard)]
        rows = [(row @ w).clamp(min=0) for row in heard]
    return torch.stack(rows)
