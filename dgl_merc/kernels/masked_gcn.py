"""Masked GCN on the modality nodes of a dialogue (MGLRA eq. 17-21).

    A_ij  = 1 - arccos(sim(n_i, n_j)) / pi            same modality                              (17)
    A_ij  = aleph (1 - arccos(sim(n_i, n_j)) / pi)    across modalities                          (18)
    A[M]  = A with the masked edges removed                                                       (20)
    P     = (D + I)^-1/2 (A[M] + I) (D + I)^-1/2                                                  (21)
    H'    = ReLU(P H W)                               once per matrix W, with one P for all

N nodes of all modalities, E edges ``same`` and ``cross`` (messages go src -> dst: row i of P is what node i hears), D features.
D is diagonal: D_ii = sum of A_ij over the edges that node i hears, so that in a causal graph nothing of it comes from later. The
diagonal of A is empty: I is added once.

Readings (the paper leaves them open): ``degree="full"`` is the print, where only A carries [M]; the aggregate then has about 1 - rate of
inference's scale, which ``rescale`` divides out. ``degree="masked"`` uses the degrees of what is left. Masking of nodes (19) is not
here but in :class:`dgl_merc.layers.MaskedGCN`: it changes H, not P.

Backends: ``dense`` (padded blocks of similar length, torch), ``dgl`` (built-in message functions over the edges that the mask leaves).
Both agree with :func:`masked_gcn_loop`, output and gradients, to 1e-10 in float64.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor

from dgl_merc.graphs import Block, EdgeType, Structure
from dgl_merc.graphs.similarity import arccos_similarity, unit_rows
from dgl_merc.kernels.rules import ArccosWeight, HashMask
from dgl_merc.kernels.stacked import StackedEdges, split_nodes, stack_nodes

__all__ = ["Backend", "Degree", "choose_backend", "masked_gcn"]

Backend = Literal["auto", "dense", "dgl"]
Degree = Literal["masked", "full"]
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
    backend: Backend = "auto",
    return_weights: bool = False,
) -> Any:
    """Propagate node features along the edges that a mask leaves in.

    Args:
        structure: a :class:`~dgl_merc.graphs.Structure`, or any DGL heterograph of the schema (then the ``dgl`` backend).
        x: modality -> [N_m, D] features of its nodes.
        matrices: [D, D'], [D', D''], ...: one per layer.
        weight: a rule, or edge type -> [E_t] weights in edge-id order.
        mask: a rule, or edge type -> [E_t] bool in edge-id order, True = left in (a type that is not named: all); None: nothing is masked.
        keep: edge type -> [E_t] bool: edges that exist at all; the others are removed from A and D alike (for explanations).
        degree: of the masked or of the full adjacency.
        rescale: divide the kept edges by 1 - rate (needs a HashMask).
        backend: who computes; never changes the numbers beyond rounding. See :func:`choose_backend`.
        return_weights: return the entries of P as well.

    Returns:
        Modality -> [N_m, D_last]; with ``return_weights`` also (edge type -> [E_t] entries of P, modality -> [N_m] its diagonal).

    Raises:
        ValueError: shapes that do not fit; the message names what was received.

    Example, by hand: one utterance, two modalities, orthogonal features, so the one pair of edges weighs one half.

    >>> from dgl_merc.graphs import GraphSpec
    >>> s = Structure.of([1], GraphSpec(("text", "audio")))
    >>> x = {"text": torch.tensor([[1.0, 0.0]]), "audio": torch.tensor([[0.0, 1.0]])}
    >>> y = masked_gcn(s, x, [torch.eye(2)], weight=ArccosWeight(x))
    >>> y["text"]  # (1 of itself + 1/2 of audio) / (1 + 1/2)
    tensor([[0.6667, 0.3333]])
    """
    if degree not in ("masked", "full"):
        raise ValueError(f"degree must be 'masked' or 'full', got {degree!r}")
    if rescale and not isinstance(mask, HashMask):
        raise ValueError(f"rescale divides by 1 - rate and needs a HashMask, got {type(mask).__name__}")
    chosen = choose_backend(structure, backend)
    _check(x, matrices)
    how = _How(weight, mask, keep, degree, _gain(mask) if rescale else 1.0, return_weights)
    return _BACKENDS[chosen](structure, x, matrices, how)


def choose_backend(structure: Structure | Any, backend: Backend = "auto") -> Literal["dense", "dgl"]:
    """The rule behind ``backend="auto"``.

    A DGL graph: ``dgl``. A structure off the CPU, or with complete dialogues: ``dense``. Windowed, on the CPU: ``dgl`` once the padded
    blocks would hold more than 16 times the edges, else ``dense``.

    Raises:
        ValueError: no such backend, or not for a DGL graph.
    """
    if backend not in ("auto", *_BACKENDS):
        raise ValueError(f"backend must be 'auto', {', '.join(map(repr, _BACKENDS))}, got {backend!r}")
    if not isinstance(structure, Structure):
        if backend == "dense":
            raise ValueError("backend 'dense' needs a Structure, got a DGL graph; its edges may be any, so only 'dgl' can compute on them")
        return "dgl"
    if backend != "auto":
        return backend
    window = structure.spec.window
    if window is None or structure.device.type != "cpu":
        return "dense"
    longest = float(structure.lengths.max())
    return "dgl" if longest > 16 * (2 * window + 1) else "dense"


def _check(x: Mapping[str, Tensor], matrices: Sequence[Tensor]) -> None:
    widths = {m: v.shape[-1] for m, v in x.items()}
    width = next(iter(widths.values()), 0)
    if any(w != width for w in widths.values()):
        raise ValueError(f"x must have one width D for all modalities, got {widths}")
    for k, matrix in enumerate(matrices):
        if matrix.ndim != 2 or matrix.shape[0] != width:
            raise ValueError(f"matrices[{k}] must be [{width}, D'], got {list(matrix.shape)}")
        width = matrix.shape[1]


def _gain(mask: Mask) -> float:
    """1 / (1 - rate); with a rate of 1 nothing is left to be scaled."""
    rate = mask.rate if isinstance(mask, HashMask) else 0.0
    return 1.0 / (1.0 - rate) if rate < 1.0 else 0.0


def _plan(structure: Structure, weight: Weight, mask: Mask, keep: Keep, wanted: bool) -> _Explicit:
    """What is given per edge, laid into blocks; nothing is made where only rules are given."""
    given = [v for v in (weight, mask, keep) if isinstance(v, Mapping)]
    if not given and not wanted:
        return _Explicit()
    edges, blocks = StackedEdges.of_structure(structure), structure.blocks
    index = blocks.row.index_select(0, edges.dst) + blocks.slot.index_select(0, edges.src)
    return _Explicit(
        edges,
        index,
        blocks.pad_edges(edges.stack_edges(weight, "weight"), index) if isinstance(weight, Mapping) else None,
        blocks.pad_edges(edges.stack_edges(mask, "mask", fill=True), index) if isinstance(mask, Mapping) else None,
        blocks.pad_edges(edges.stack_edges(keep, "keep", fill=True), index) if keep is not None else None,
    )


@dataclass(frozen=True)
class _Explicit:
    """Per-edge tensors as [b, S, S] blocks; None where a rule says it."""

    edges: StackedEdges | None = None
    index: Tensor | None = None
    weight: list[Tensor] | None = None
    mask: list[Tensor] | None = None
    keep: list[Tensor] | None = None


def _dense(structure: Structure, x: Mapping[str, Tensor], matrices: Sequence[Tensor], how: _How) -> Any:
    blocks = structure.blocks
    stacked = stack_nodes(x, structure.sizes, "x")
    given = _plan(structure, how.weight, how.mask, how.keep, how.return_weights)
    unit = unit_rows(stack_nodes(how.weight.x, structure.sizes, "weight.x")) if isinstance(how.weight, ArccosWeight) else None
    outputs, entries, diagonals = [], [], []
    for k, block in enumerate(blocks.blocks):
        exists = _pattern(structure, block) if given.keep is None else _pattern(structure, block) & given.keep[k]
        if unit is not None:
            side = blocks.pad(block, unit)
            similarity = arccos_similarity(side @ side.transpose(1, 2))
            full = similarity * _scale(how.weight, block, similarity.dtype) * exists
        else:
            full = given.weight[k] * exists if given.weight is not None else exists
        full = full.to(stacked.dtype)
        kept = full
        if isinstance(how.mask, HashMask):
            words = _words(structure, block, how.mask)
            kept = full * how.mask.kept_pairs(words[:, :, None], words[:, None, :])
        elif given.mask is not None:
            kept = full * given.mask[k]
        if how.gain != 1.0:
            kept = kept * how.gain
        root = torch.rsqrt((kept if how.degree == "masked" else full).sum(-1, keepdim=True) + 1.0)
        h = blocks.pad(block, stacked)
        for matrix in matrices:
            scaled = root * h
            h = torch.relu((root * (kept @ scaled + scaled)) @ matrix)
        outputs.append(h)
        if how.return_weights:
            entries.append((root * kept * root.transpose(1, 2)).flatten())
            diagonals.append(root.squeeze(-1) ** 2)
    y = split_nodes(blocks.unpad(outputs), structure.sizes)
    if not how.return_weights:
        return y
    assert given.edges is not None
    assert given.index is not None
    return y, given.edges.split_edges(torch.cat(entries)[given.index]), split_nodes(blocks.unpad(diagonals), structure.sizes)


def _pattern(structure: Structure, block: Block) -> Tensor:
    """[b, S, S] bool: whether slot j is one of the sources of slot i."""
    spec, place = structure.spec, torch.arange(block.length, device=structure.device)
    apart = place[None, :] - place[:, None]  # position(src) - position(dst)
    near = {kind: torch.ones_like(apart, dtype=torch.bool) for kind in ("same", "cross")}
    for kind, allowed in near.items():
        before, after = spec.reach((spec.modalities[0], kind, spec.modalities[-1]))
        if before is not None:
            allowed &= apart >= -before
        if after is not None:
            allowed &= apart <= after
    near["same"] &= apart != 0
    near["cross"] &= torch.tensor(spec.cross != "none", device=structure.device)
    count = range(len(spec.modalities))
    pattern = torch.cat([torch.cat([near["same" if i == j else "cross"] for j in count], dim=1) for i in count])
    return pattern & block.filled[:, :, None] & block.filled[:, None, :]


def _scale(weight: Weight, block: Block, dtype: torch.dtype) -> Tensor | float:
    """[S, S]: aleph across modalities, 1 within."""
    assert isinstance(weight, ArccosWeight)
    if isinstance(weight.scale, float) and weight.scale == 1.0:
        return 1.0
    modality = torch.arange(block.slots.shape[1], device=block.slots.device) // block.length
    across = modality[:, None] != modality[None, :]
    return torch.where(across, weight.scale, torch.ones((), device=across.device, dtype=dtype))


def _words(structure: Structure, block: Block, mask: HashMask) -> Tensor:
    """[b, S] the mask's words of the nodes in a block's slots."""
    slot = torch.arange(block.slots.shape[1], device=structure.device)
    dialogue = structure.keys[block.dialogues, None]
    return mask.node_words(dialogue, (slot % block.length)[None], (slot // block.length)[None], len(structure.spec.modalities))


def _dgl(structure: Structure | Any, x: Mapping[str, Tensor], matrices: Sequence[Tensor], how: _How) -> Any:
    edges = StackedEdges.of_structure(structure) if isinstance(structure, Structure) else StackedEdges.of_graph(structure, list(x))
    h = stack_nodes(x, edges.sizes, "x")
    left = _left(edges, how.mask)
    if how.keep is not None:
        exists = edges.stack_edges(how.keep, "keep", fill=True)
        left = exists if left is None else left & exists
    every = how.degree == "full" or how.return_weights or left is None  # else the masked edges need not even be made
    rows = None if every else left.nonzero()[:, 0]  # type: ignore[union-attr]
    src, dst = (edges.src, edges.dst) if rows is None else (edges.src[rows], edges.dst[rows])
    graph = _homogeneous(src, dst, len(h))
    full = _edge_weights(edges, graph, how.weight, rows)
    if how.keep is not None and rows is None:
        full = full * exists
    full = full.to(h.dtype)
    kept = (full if rows is not None or left is None else full * left) * how.gain
    root = torch.rsqrt(_incoming(graph, kept if how.degree == "masked" else full) + 1.0)[:, None]
    for matrix in matrices:
        scaled = root * h
        h = torch.relu((root * (_aggregate(graph, scaled, kept) + scaled)) @ matrix)
    y = split_nodes(h, edges.sizes)
    if not how.return_weights:
        return y
    entries = root.squeeze(1)[dst] * kept * root.squeeze(1)[src]
    return y, edges.split_edges(entries), split_nodes(root.squeeze(1) ** 2, edges.sizes)


def _left(edges: StackedEdges, mask: Mask) -> Tensor | None:
    """[E] bool: what the mask leaves in; None: everything."""
    if mask is None:
        return None
    if not isinstance(mask, HashMask):
        return edges.stack_edges(mask, "mask", fill=True)
    if edges.nodes is None:
        raise ValueError("a HashMask needs node data 'dialogue' and 'position' in the graph; Structure.graph() puts them there")
    words = mask.node_words(*edges.nodes, len(edges.sizes))
    return mask.kept_pairs(words[edges.src], words[edges.dst])


def _homogeneous(src: Tensor, dst: Tensor, nodes: int) -> Any:
    from dgl_merc._dgl import dgl

    return dgl.graph((src, dst), num_nodes=nodes)


def _edge_weights(edges: StackedEdges, graph: Any, weight: Weight, rows: Tensor | None) -> Tensor:
    """[E] (or those of ``rows``): eq. 17, 18, or what was given."""
    from dgl_merc._dgl import fn

    if not isinstance(weight, ArccosWeight):
        values = edges.stack_edges(weight, "weight")
        return values if rows is None else values.index_select(0, rows)
    with graph.local_scope():
        graph.ndata["n"] = unit_rows(stack_nodes(weight.x, edges.sizes, "weight.x"))
        graph.apply_edges(fn.u_dot_v("n", "n", "c"))
        similarity = arccos_similarity(graph.edata["c"].squeeze(-1))
    if isinstance(weight.scale, float) and weight.scale == 1.0:
        return similarity
    across = edges.cross if rows is None else edges.cross[rows]
    return torch.where(across, similarity * weight.scale, similarity)


def _incoming(graph: Any, values: Tensor) -> Tensor:
    """[E] -> [N]: the sum over the edges that a node hears."""
    from dgl_merc._dgl import fn

    with graph.local_scope():
        graph.edata["w"] = values
        graph.update_all(fn.copy_e("w", "m"), fn.sum("m", "d"))
        total: Tensor = graph.ndata["d"]
        return total


def _aggregate(graph: Any, h: Tensor, values: Tensor) -> Tensor:
    """[N, D], [E] -> [N, D]: the weighted sum of what a node hears."""
    from dgl_merc._dgl import fn

    with graph.local_scope():
        graph.ndata["h"], graph.edata["w"] = h, values[:, None]
        graph.update_all(fn.u_mul_e("h", "w", "m"), fn.sum("m", "y"))
        heard: Tensor = graph.ndata["y"]
        return heard


_BACKENDS: dict[str, Callable[[Any, Mapping[str, Tensor], Sequence[Tensor], _How], Any]] = {"dense": _dense, "dgl": _dgl}


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
        rows = [(row @ w).clamp(min=0) for row in heard]
    return torch.stack(rows)
