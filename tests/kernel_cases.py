"""Every kernel as one call from a structure and a list of leaves, for the tests that hold for all of them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from helpers import M3, normal
from torch import Tensor

from dgl_merc.graphs import UTTERANCE, GraphSpec, Structure
from dgl_merc.kernels import (
    ArccosWeight,
    HashMask,
    SoftmaxWeight,
    attention_filter,
    cross_modal_attention,
    frequency_gcn,
    masked_gcn,
    rgcn,
    semantic_attention,
)

D = 6
SPEC = GraphSpec(M3, past=2, future=3)
Run = Callable[[object, list[Tensor], str], Tensor]


@dataclass(frozen=True)
class KernelCase:
    """A form of a kernel.

    Attributes:
        leaves: for a structure of three modalities.
        run: how it is called.
        spec: whose graphs hold what it goes along.
        kernel: the kernel's name; empty: that of the case.
    """

    leaves: Callable[[Structure], list[Tensor]]
    run: Run
    spec: GraphSpec = SPEC
    kernel: str = ""


def _by_modality(s: Structure, seed: int) -> list[Tensor]:
    return [normal(n, D, seed=seed + k) for k, n in enumerate(s.sizes.values())]


def _masked(graph: object, leaves: list[Tensor], backend: str) -> Tensor:
    x = dict(zip(M3, leaves, strict=False))
    y = masked_gcn(graph, x, leaves[3:], weight=ArccosWeight(x, 0.8), mask=HashMask(3, 0.4, 2), backend=backend)
    return torch.cat([y[m] for m in M3])


def _frequency(graph: object, leaves: list[Tensor], backend: str) -> Tensor:
    y = frequency_gcn(graph, dict(zip(M3, leaves, strict=False)), leaves[3:], backend=backend)
    return torch.cat([y[m] for m in M3])


def _rgcn(graph: object, leaves: list[Tensor], backend: str) -> Tensor:
    g, *w = leaves
    return rgcn(graph, g, [(w[0], w[1]), (w[2], w[3])], weight=ArccosWeight({UTTERANCE: g}), backend=backend)


def _shared(graph: object, leaves: list[Tensor], backend: str) -> Tensor:
    g, *w = leaves
    return rgcn(graph, g, [(w[0], w[1])], weight=SoftmaxWeight(g @ w[2], g), mean=False, backend=backend)


def _semantic(graph: object, leaves: list[Tensor], backend: str) -> Tensor:
    q, k, v, g, table = leaves
    return semantic_attention(
        graph, q, k, v, scale=2.0, weight=ArccosWeight({UTTERANCE: g}, normalise=False), distances=table, backend=backend
    )


def _of_text(graph: object, leaves: list[Tensor], backend: str) -> Tensor:
    return semantic_attention(graph, *leaves, scale=2.0, node_type="text", backend=backend)


def _rectified(graph: object, leaves: list[Tensor], backend: str) -> Tensor:
    q, k, v, g, table = leaves
    weight = ArccosWeight({"audio": g})
    return semantic_attention(
        graph, q, k, v, scale=2.0, node_type="audio", interaction="relu", weight=weight, distances=table, backend=backend
    )


def _rectified_plain(graph: object, leaves: list[Tensor], backend: str) -> Tensor:
    q, k, v = leaves
    return semantic_attention(graph, q.square(), k.square(), v, scale=2.0, interaction="relu", backend=backend)


def _cross(graph: object, leaves: list[Tensor], backend: str) -> Tensor:
    q, k, v = (dict(zip(M3, leaves[n : n + 3], strict=True)) for n in (0, 3, 6))
    y = cross_modal_attention(graph, q, k, v, scale=1.5, backend=backend)
    return torch.cat([y[m] for m in M3]).flatten(1)


def _filter(graph: object, leaves: list[Tensor], backend: str) -> Tensor:
    centre, text, audio, visual, relations, a, b, c, vector = leaves
    x = {"text": text, "audio": audio, "visual": visual}
    y = attention_filter(graph, centre, x, relations, (a, b, c), vector=vector, backend=backend)
    return torch.cat([y[m] for m in M3])


def _weights(*shapes: tuple[int, ...]) -> list[Tensor]:
    return [normal(*shape, seed=20 + k) / 2 for k, shape in enumerate(shapes)]


KERNELS: dict[str, KernelCase] = {
    "masked_gcn": KernelCase(lambda s: [*_by_modality(s, 1), *_weights((D, D), (D, 4))], _masked),
    "frequency_gcn": KernelCase(lambda s: [*_by_modality(s, 1), *_weights((2, D), (2, D))], _frequency),
    "rgcn": KernelCase(lambda s: [normal(s.num_utterances, D, seed=1), *_weights((4, D, 5), (D, 5), (4, 5, 3), (5, 3))], _rgcn),
    "semantic_attention": KernelCase(
        lambda s: [*(normal(s.num_utterances, 2, 3, seed=k) for k in range(3)), normal(s.num_utterances, D, seed=5), *_weights((2, 6))],
        _semantic,
    ),
    "cross_modal_attention": KernelCase(
        lambda s: [normal(n, 2, width, seed=30 + 3 * x + y) for x, width in enumerate((3, 3, 4)) for y, n in enumerate(s.sizes.values())],
        _cross,
        GraphSpec(M3, cross="dialogue"),
    ),
    "attention_filter": KernelCase(
        lambda s: [normal(s.num_utterances, D, seed=9), *_by_modality(s, 1), *_weights((3, 2), (3, D, 4), (3, D, 4), (3, 2, 4), (4,))],
        _filter,
    ),
}

CASES: dict[str, KernelCase] = KERNELS | {
    "rgcn, weighed by attention": KernelCase(
        lambda s: [normal(s.num_utterances, D, seed=1), *_weights((4, D, 5), (D, 5), (D, D))], _shared, kernel="rgcn"
    ),
    "semantic_attention of a modality": KernelCase(
        lambda s: [normal(s.sizes["text"], 2, 3, seed=40 + k) for k in range(3)], _of_text, kernel="semantic_attention"
    ),
    "semantic_attention of a modality, rectified": KernelCase(
        lambda s: [
            *(normal(s.sizes["audio"], 2, width, seed=50 + k) for k, width in enumerate((3, 3, 4))),
            normal(s.sizes["audio"], D, seed=55),
            normal(2, 6, seed=56).square() + 1,
        ],
        _rectified,
        kernel="semantic_attention",
    ),
    "semantic_attention, rectified, without a bias": KernelCase(
        lambda s: [normal(s.num_utterances, 2, 3, seed=60 + k) for k in range(3)], _rectified_plain, kernel="semantic_attention"
    ),
}
