"""What the tests of semantic_attention share: its forms, and agreement with the loop."""

from __future__ import annotations

from collections import deque

import pytest
from helpers import BACKENDS, assert_agrees, normal
from torch import Tensor

from dgl_merc.graphs import RELATIONS, UTTERANCE, GraphSpec, Structure
from dgl_merc.kernels import ArccosWeight, semantic_attention, semantic_dialogues
from dgl_merc.kernels.semantic_attention import semantic_attention_loop

H, B = 2, 4
SPECS = {
    "windows": GraphSpec(("text",), past=1, future=2),
    "past only": GraphSpec(("text",), past=2, future=0),
    "no edges": GraphSpec(("text",), past=0, future=0),
    "causal": GraphSpec(("text",), past=2, future=2, causal=True),
}
FORMS = ("in place", *BACKENDS)  # without a bias, dense is computed in either of two ways


def backend_of(form: str, monkeypatch: pytest.MonkeyPatch) -> str:
    """The backend of a form; what dense does does not depend on lengths any more."""
    monkeypatch.setattr(semantic_dialogues, "MEAN", 0 if form == "in place" else 1e9)
    return "dense" if form == "in place" else form


def hops_by_search(s: Structure) -> list[list[int]]:
    """[dst][src] by breadth-first search along the edges, clipped as the kernel clips."""
    arrives: dict[int, list[int]] = {u: [] for u in range(s.num_utterances)}
    for r in RELATIONS:
        for j, i in zip(*(e.tolist() for e in s.edges((UTTERANCE, r, UTTERANCE))), strict=True):
            arrives[i].append(j)
    result = []
    for i in range(s.num_utterances):
        far, queue = {i: 0}, deque([i])
        while queue:
            here = queue.popleft()
            for j in arrives[here]:
                if j not in far:
                    far[j] = far[here] + 1
                    queue.append(j)
        result.append([min(far[j], B - 1) if j in far else B for j in range(s.num_utterances)])
    return result


def agree(
    s: Structure,
    backend: str,
    bias: str = "both",
    normalise: bool = True,
    keep: Tensor | None = None,
    scale: float = 1.7,
    node_type: str = UTTERANCE,
    interaction: str = "softmax",
    moves: bool = True,
) -> None:
    """The kernel against its loop on random tensors; ``moves``: no gradient may be zero, or nothing is shown."""
    at = s.nodes[node_type].tolist()
    heard: list[list[int]] = [[] for _ in at]
    pairs = [(j, i) for i, u in enumerate(at) for j, w in enumerate(at) if s.dialogue[u] == s.dialogue[w] and not (s.spec.causal and w > u)]
    kept = [True] * len(pairs) if keep is None else keep.tolist()
    for (j, i), there in zip(pairs, kept, strict=True):
        if there:
            heard[i].append(j)
    every, likeness, distance = hops_by_search(s), bias in ("both", "likeness"), bias in ("both", "distance")
    steps, n = [[every[u][w] for w in at] for u in at], len(at)
    inputs = [
        normal(n, H, 3, seed=1),
        normal(n, H, 3, seed=2),
        normal(n, H, 2, seed=3),
        normal(n, 5, seed=4),
        normal(H, B + 1, seed=5),
    ]

    def fast(q: Tensor, k: Tensor, v: Tensor, g: Tensor, table: Tensor) -> Tensor:
        y: Tensor = semantic_attention(
            s,
            q,
            k,
            v,
            scale=scale,
            node_type=node_type,
            interaction=interaction,
            weight=ArccosWeight({"of others": g + 1, node_type: g}, normalise=normalise) if likeness else None,
            distances=table if distance else None,
            keep=keep,
            backend=backend,
        )
        assert y.shape == v.shape
        return y

    def loop(q: Tensor, k: Tensor, v: Tensor, g: Tensor, table: Tensor) -> Tensor:
        return semantic_attention_loop(
            heard, steps, q, k, v, g if likeness else None, table if distance else None, scale, normalise, interaction
        )

    several = max(map(len, heard), default=0) > 1
    moved = [2, *([0, 1] if several else []), *([3] if several and likeness else []), *([4] if distance else [])]
    assert_agrees(fast, loop, *inputs, moved=moved if any(kept) and moves else ())
