"""Graph attention filter on the star of an utterance: multimodal centre, unimodal leaves (MGLRA eq. 3-5).

    c_ijk      = W_k [V_i || V_j || C_k]                                                   (3)
    alpha_ijk  = exp(s(c_ijk)) / sum over q in Q_i, r in R_iq of exp(s(c_iqr))             (4)
    h_i        = sum over j in Q_i, k in R_ij of alpha_ijk c_ijk                           (5)

U utterances with their centres V_0, M modalities; N_m leaves of modality m, whose relation k to the centre is the modality; P features of a
node, T of a relation, D of c. W_k is one matrix per argument, [W^i_k W^j_k W^k_k], instead of one for the concatenation: the same
numbers without making it.

Readings: ``output="leaf"`` is the print: i is the leaf, j the centre, h_i what the leaf hears; it has one neighbour, so alpha is 1 and
nothing is filtered. ``output="share"``: i is the centre, and a leaf gets its term of the centre's sum, ``alpha c``; their sum is h_0.
``attention="channel"`` is the print: s(c) = c, so that 4 is a softmax of a vector, channel by channel. ``"scalar"``: one logit per
edge, s(c) = a . LeakyReLU(c).

Backends: ``dense`` (utterances times modalities), ``dgl``, ``scatter``. All agree with :func:`attention_filter_loop`, output and
gradients, to 1e-10 in float64.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import NoneType
from typing import Any, Literal, cast

import torch
from torch import Tensor
from torch.nn.functional import leaky_relu

from dgl_merc.graphs import UTTERANCE, EdgeType, Structure
from dgl_merc.kernels.backends import Backend, choose_backend
from dgl_merc.kernels.edge_list import EdgeList, check_kind, check_modalities, check_rows, split_nodes
from dgl_merc.kernels.messages import messages

__all__ = ["Attention", "Output", "attention_filter"]

Attention = Literal["scalar", "channel"]
"""One weight for all channels of a leaf, or one for each."""
Output = Literal["share", "leaf"]
"""The leaf's share of the centre's sum, or the sum at the leaf."""
Keep = Mapping[EdgeType, Tensor] | None


def attention_filter(
    structure: Structure | Any,
    centre: Tensor,
    x: Mapping[str, Tensor],
    relations: Tensor,
    matrices: tuple[Tensor, Tensor, Tensor],
    *,
    attention: Attention = "scalar",
    vector: Tensor | None = None,
    slope: float = 0.2,
    output: Output = "share",
    keep: Keep = None,
    backend: Backend = "auto",
    return_weights: bool = False,
) -> Any:
    """Weigh the modalities of each utterance against each other.

    Args:
        structure: a :class:`~dgl_merc.graphs.Structure`, or any DGL heterograph of the schema (then ``dgl`` or ``scatter``).
        centre: [U, P] the centres V_0.
        x: modality -> [N_m, P] the leaves.
        relations: [M, T] C, in the order of the spec's modalities (a DGL graph: of ``x``).
        matrices: W^i [M, P, D], W^j [M, P, D], W^k [M, T, D]: what is applied to V_i, V_j, C_k.
        attention: a logit per edge, or per edge and channel (print).
        vector: [D], a of ``"scalar"``; None will do for ``"leaf"``, where weights are 1 whatever it is.
        slope: of LeakyReLU below zero.
        output: a leaf's share of the centre's sum, or the sum at the leaf (print).
        keep: edge type (m, "part_of", "utterance") -> [E_m] bool: edges that exist at all (for explanations). A leaf without gets zeros.
        backend: who computes; never changes the numbers beyond rounding. See :func:`dgl_merc.kernels.choose_backend`.
        return_weights: return alpha as well.

    Returns:
        Modality -> [N_m, D]; with ``return_weights`` also edge type -> [E_m, 1] or, ``"channel"``, [E_m, D].

    Raises:
        ValueError: shapes that do not fit; the message names what was received.

    Example, by hand: two utterances, the second without audio. c is the leaf itself; its logit is the sum of c, ln 3 against 0.

    >>> from dgl_merc.graphs import GraphSpec
    >>> s = Structure.of([2], GraphSpec(("text", "audio")), presence=[[1, 1], [1, 0]])
    >>> x = {"text": torch.tensor([[3.0, 1.0], [2.0, 1.0]]).log(), "audio": torch.zeros(1, 2)}
    >>> one, zero = torch.eye(2).expand(2, 2, 2), torch.zeros(2, 2, 2)
    >>> rest = (torch.zeros(2, 2), (zero, one, zero))
    >>> y, alpha = attention_filter(s, torch.zeros(2, 2), x, *rest, vector=torch.ones(2), return_weights=True)
    >>> [[round(v, 4) for v in a.flatten().tolist()] for a in alpha.values()]  # text: against audio, and alone
    [[0.75, 1.0], [0.25]]
    >>> torch.allclose(y["text"], torch.tensor([[0.75], [1.0]]) * x["text"])
    True

    The same as a DGL graph:

    >>> from dgl_merc._dgl import dgl
    >>> star = {("text", "part_of", "utterance"): ([0, 1], [0, 1]), ("audio", "part_of", "utterance"): ([0], [0])}
    >>> graph = dgl.heterograph(star, num_nodes_dict={"text": 2, "audio": 1, "utterance": 2})
    >>> torch.allclose(attention_filter(graph, torch.zeros(2, 2), x, *rest, vector=torch.ones(2))["text"], y["text"])
    True
    """
    chosen = choose_backend("attention_filter", structure, backend)
    check_kind("keep", keep, (Mapping, NoneType))
    modalities = structure.spec.modalities if isinstance(structure, Structure) else tuple(x)
    _check(structure, centre, x, relations, matrices, vector, attention, output)
    edges = EdgeList.of(structure, [(m, "part_of", UTTERANCE) for m in modalities], modalities, (UTTERANCE,))
    exists = None if keep is None else edges.stack(keep, "keep", fill=True)
    c = _pairs(edges, centre, x, relations, matrices, output)
    if attention == "channel":
        logits = c
    elif vector is None:
        logits = c.new_zeros(len(c), 1)
    else:
        logits = (leaky_relu(c, slope) @ vector).unsqueeze(-1)
    if chosen == "dense":
        weights = _softmax_dense(cast(Structure, structure), logits, exists, output)
        shares = weights * c  # the edges of a structure are its leaves, in their order
    else:
        rows = None if exists is None else exists.nonzero()[:, 0]
        some = edges if rows is None else edges.only(rows)
        receiver = messages(chosen, _turned(some) if output == "leaf" else some)
        weights = receiver.softmax(logits if rows is None else logits.index_select(0, rows))
        leaf = messages(chosen, _turned(some))
        shares = leaf.total(weights * (c if rows is None else c.index_select(0, rows)))
        if rows is not None:
            weights = weights.new_zeros(len(edges.src), weights.shape[1]).index_copy(0, rows, weights)
    y = split_nodes(shares, edges.sources)
    return (y, edges.split(weights)) if return_weights else y


def _check(
    graph: Structure | Any,
    centre: Tensor,
    x: Mapping[str, Tensor],
    relations: Tensor,
    matrices: Sequence[Tensor],
    vector: Tensor | None,
    attention: str,
    output: str,
) -> None:
    if attention not in ("scalar", "channel"):
        raise ValueError(f"attention must be 'scalar' or 'channel', got {attention!r}")
    if output not in ("share", "leaf"):
        raise ValueError(f"output must be 'share' or 'leaf', got {output!r}")
    check_modalities(graph, list(x), "x")
    check_rows("centre", centre, int(graph.num_nodes(UTTERANCE)), "P")
    for m, leaves in x.items():
        check_rows(f"x[{m!r}]", leaves, int(graph.num_nodes(m)), "P")
    check_rows("relations", relations, len(x), "T")
    width, depth = matrices[0].shape[-1], relations.shape[1]
    sides = (centre.shape[1], next(iter(x.values())).shape[1])
    if any(leaves.shape[1] != sides[1] for leaves in x.values()):
        raise ValueError(f"x must have one width P for all modalities, got { {m: leaves.shape[1] for m, leaves in x.items()} }")
    rows = (*(sides if output == "share" else sides[::-1]), depth)
    for k, (matrix, size) in enumerate(zip(matrices, rows, strict=True)):
        if tuple(matrix.shape) != (len(x), size, width):
            raise ValueError(f"matrices[{k}] must be [M={len(x)}, {size}, D={width}], got {list(matrix.shape)}")
    needed = attention == "scalar" and output == "share"
    if (needed and vector is None) or (vector is not None and tuple(vector.shape) != (width,)):
        raise ValueError(f"vector must be [D={width}], got {None if vector is None else list(vector.shape)}")


def _turned(edges: EdgeList) -> EdgeList:
    """From the centres to the leaves."""
    return EdgeList(edges.targets, edges.sources, (), (), edges.dst, edges.src)


def _pairs(
    edges: EdgeList, centre: Tensor, x: Mapping[str, Tensor], relations: Tensor, matrices: Sequence[Tensor], output: Output
) -> Tensor:
    """[E, D]: eq. 3."""
    at_centre, at_leaf = (matrices[0], matrices[1]) if output == "share" else (matrices[1], matrices[0])
    first = 0
    parts = []
    counts = dict(zip(edges.types, edges.counts, strict=True))
    begin = 0
    for k, (m, size) in enumerate(edges.sources.items()):
        count = counts.get((m, "part_of", UTTERANCE), 0)
        src, dst = edges.src[begin : begin + count] - first, edges.dst[begin : begin + count]
        of_leaf = torch.addmm(relations[k] @ matrices[2][k], x[m], at_leaf[k])
        parts.append(of_leaf.index_select(0, src) + centre.index_select(0, dst) @ at_centre[k])
        first, begin = first + size, begin + count
    return torch.cat(parts)


def _softmax_dense(structure: Structure, logits: Tensor, exists: Tensor | None, output: Output) -> Tensor:
    """[E, K]: eq. 4 over the modalities of an utterance (or, at a leaf, over its one neighbour)."""
    if output == "leaf":
        ones = torch.ones_like(logits)
        return ones if exists is None else ones * exists.unsqueeze(-1).to(logits.dtype)
    modalities, utterances = structure.spec.modalities, structure.num_utterances
    place = torch.cat([structure.nodes[m] * len(modalities) + k for k, m in enumerate(modalities)])
    some = place if exists is None else place[exists]
    values = logits if exists is None else logits[exists]
    lowest = torch.finfo(logits.dtype).min  # not -inf: an utterance without any would be NaN
    padded = logits.new_full((utterances * len(modalities), logits.shape[1]), lowest).index_copy(0, some, values)
    weights = torch.softmax(padded.view(utterances, len(modalities), -1), dim=1).flatten(0, 1).index_select(0, place)
    return weights if exists is None else weights * exists.unsqueeze(-1).to(weights.dtype)


def attention_filter_loop(
    src: Sequence[int],
    dst: Sequence[int],
    kind: Sequence[int],
    exists: Sequence[bool],
    centre: Tensor,
    leaves: Tensor,
    relations: Tensor,
    whole: Sequence[Tensor],
    vector: Tensor | None,
    slope: float,
    output: str,
) -> tuple[Tensor, Tensor]:
    """The definition, edge by edge: shares [N, D] and h_0 [U, D] ("share"), or h at the leaves and zeros.

    Slow on purpose; shares no line with the backends. ``whole``: per relation W_k [D, 2 P + T], on the concatenation of 3.
    """
    edges = [e for e, there in zip(zip(src, dst, kind, strict=True), exists, strict=True) if there]
    shares, sums = leaves.new_zeros(len(leaves), len(whole[0])), leaves.new_zeros(len(centre), len(whole[0]))

    def c(j: int, i: int, k: int) -> Tensor:
        nodes = [centre[i], leaves[j]] if output == "share" else [leaves[j], centre[i]]
        return whole[k] @ torch.cat([*nodes, relations[k]])

    def grown(value: Tensor) -> Tensor:
        return value.exp() if vector is None else (vector * torch.where(value > 0, value, slope * value)).sum().exp()

    for j, i, k in edges:
        rivals = [e for e in edges if (e[1] == i if output == "share" else e[0] == j)]
        term = grown(c(j, i, k)) / sum(grown(c(*e)) for e in rivals) * c(j, i, k)
        shares = shares.index_add(0, torch.tensor([j]), term[None])
        if output == "share":
            sums = sums.index_add(0, torch.tensor([i]), term[None])
    return shares, sums
