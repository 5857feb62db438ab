"""rgcn against its loop, its properties, and its named edge cases."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise

import pytest
import torch
from helpers import BACKENDS, assert_agrees, normal, rows_of, structure_for
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from dgl_merc.graphs import RELATIONS, UTTERANCE, GraphSpec, Structure
from dgl_merc.kernels import ArccosWeight, SoftmaxWeight, pairs, rgcn
from dgl_merc.kernels.rgcn import rgcn_loop

pytestmark = pytest.mark.dgl
TYPES = [(UTTERANCE, r, UTTERANCE) for r in RELATIONS]


def edges_of(s: Structure, relations: int) -> tuple[list[int], list[int], list[int]]:
    """By a double loop over the words of schema.py, not by the structure's own arithmetic."""
    src, dst, kind = [], [], []
    for d in range(s.num_dialogues):
        first, last = int(s.offsets[d]), int(s.offsets[d + 1])
        for i in range(first, last):
            for j in range(first, last):
                reach = s.spec.past if j < i else 0 if s.spec.causal else s.spec.future
                if i == j or abs(i - j) > reach:
                    continue
                src, dst = [*src, j], [*dst, i]
                inter, later = int(s.speakers[i] != s.speakers[j]), int(j > i)
                kind.append({4: 2 * inter + later, 2: inter, 1: 0}[relations])
    return src, dst, kind


def layers_for(width: int, relations: int, count: int = 2) -> list[tuple[Tensor, Tensor]]:
    sizes = [width, 3, 6][: count + 1]
    return [(normal(relations, a, b, seed=5 + a), normal(a, b, seed=9 + a)) for a, b in pairwise(sizes)]


def agree(s: Structure, backend: str, relations: int = 4, weigh: bool = True, normalise: bool = True, keep: Tensor | None = None) -> None:
    src, dst, kind = edges_of(s, relations)
    g, x = normal(s.num_utterances, 5, seed=1), normal(s.num_utterances, 4, seed=2)
    flat = [w for layer in layers_for(4, relations) for w in layer]
    types = edges_of(s, 4)[2]
    exists = [True] * len(src) if keep is None else keep.tolist()
    by_type = None if keep is None else {t: keep[torch.tensor(types) == k] for k, t in enumerate(TYPES)}

    def fast(g: Tensor, x: Tensor, *w: Tensor) -> Tensor:
        rule = ArccosWeight({UTTERANCE: g}, normalise=normalise) if weigh else None
        return rgcn(s, x, [w[:2], w[2:]], weight=rule, keep=by_type, backend=backend)

    def loop(g: Tensor, x: Tensor, *w: Tensor) -> Tensor:
        return rgcn_loop(src, dst, kind, exists, g if weigh else None, x, [w[:2], w[2:]], normalise)

    several = weigh and any(exists)
    assert_agrees(fast, loop, g, x, *flat, moved=(0, 1) if several else (1,))


def agree_in_shares(s: Structure, backend: str, relations: int = 4, mean: bool = True, keep: Tensor | None = None) -> None:
    """With weights by attention, of queries and keys that are not the features."""
    src, dst, kind = edges_of(s, relations)
    u, types = s.num_utterances, torch.tensor(edges_of(s, 4)[2])
    exists = [True] * len(src) if keep is None else keep.tolist()
    by_type = None if keep is None else {t: keep[types == k] for k, t in enumerate(TYPES)}
    flat = [w for layer in layers_for(4, relations) for w in layer]

    def fast(q: Tensor, k: Tensor, x: Tensor, *w: Tensor) -> Tensor:
        return rgcn(s, x, [w[:2], w[2:]], weight=SoftmaxWeight(q, k), mean=mean, keep=by_type, backend=backend)

    def loop(q: Tensor, k: Tensor, x: Tensor, *w: Tensor) -> Tensor:
        return rgcn_loop(src, dst, kind, exists, None, x, [w[:2], w[2:]], True, q, k, mean)

    assert_agrees(
        fast, loop, normal(u, 3, seed=4), normal(u, 3, seed=5), normal(u, 4, seed=2), *flat, moved=(0, 1, 2) if any(exists) else (2,)
    )


SPECS = {
    "window 2/3": GraphSpec(("text",), past=2, future=3),
    "all": GraphSpec(("text",), past=50, future=50),
    "past only": GraphSpec(("text",), past=3, future=0),
    "future only": GraphSpec(("text",), past=0, future=1),
    "causal": GraphSpec(("text",), past=3, future=3, causal=True),
}


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("spec", SPECS.values(), ids=SPECS.keys())
@pytest.mark.parametrize(("relations", "weigh", "normalise"), [(4, True, True), (2, True, False), (4, False, True)])
def test_agrees_with_the_loop(backend, spec, relations, weigh, normalise):
    agree(structure_for(spec, [1, 5, 2, 9]), backend, relations, weigh, normalise)


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("spec", ["window 2/3", "all", "causal"])
@pytest.mark.parametrize(("relations", "mean"), [(4, True), (2, False), (1, True)])
def test_shares_of_attention_agree_with_the_loop(backend, spec, relations, mean):
    agree_in_shares(structure_for(SPECS[spec], [1, 5, 2, 6]), backend, relations, mean)


@pytest.mark.parametrize("backend", BACKENDS)
def test_any_neighbour_is_one_relation(backend):
    agree(structure_for(SPECS["window 2/3"], [1, 5, 2, 6]), backend, 1)


@pytest.mark.parametrize("backend", BACKENDS)
def test_sums_in_place_of_means(backend):
    s, typed, own = structure_for(SPECS["window 2/3"], [6, 1]), normal(1, 4, 3, seed=5), normal(4, 3, seed=6)
    x, (src, dst, kind) = normal(7, 4, seed=2), edges_of(s, 1)
    assert_agrees(
        lambda x, *w: rgcn(s, x, [w], mean=False, backend=backend),
        lambda x, *w: rgcn_loop(src, dst, kind, [True] * len(src), None, x, [w], True, mean=False),
        *(x, typed, own),
    )


@pytest.mark.parametrize("backend", BACKENDS)
def test_shares_of_what_is_kept_and_of_itself_add_up_to_one(backend):
    s = structure_for(SPECS["window 2/3"], [6, 4])
    keep = torch.rand(len(edges_of(s, 4)[0]), generator=torch.Generator().manual_seed(0)) < 0.5
    agree_in_shares(s, backend, keep=keep)
    agree_in_shares(s, backend, keep=torch.zeros_like(keep))
    q, k, x = normal(10, 3, seed=4), normal(10, 3, seed=5), normal(10, 4, seed=2)
    by_type = {t: keep[torch.tensor(edges_of(s, 4)[2]) == n] for n, t in enumerate(TYPES)}
    options = {"weight": SoftmaxWeight(q, k), "mean": False, "keep": by_type, "backend": backend}
    y, weights, itself = rgcn(s, x, [(torch.eye(4).double().expand(4, 4, 4), torch.eye(4).double())], return_weights=True, **options)
    total, said = itself[UTTERANCE].clone(), itself[UTTERANCE][:, None] * x
    for t in TYPES:
        src, dst = s.edges(t)
        assert not weights[t][~by_type[t]].any()
        total, said = total.index_add(0, dst, weights[t]), said.index_add(0, dst, weights[t][:, None] * x[src])
    torch.testing.assert_close(total, torch.ones(10, dtype=torch.float64), rtol=0, atol=1e-12)
    torch.testing.assert_close(torch.relu(said), y, rtol=0, atol=1e-12)


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize(
    "spec",
    [GraphSpec(("text",), past=1, future=2), GraphSpec(("text",), past=0, future=1), GraphSpec(("text",), past=2, future=2, causal=True)],
)
def test_long_dialogues_in_pieces(backend, spec, monkeypatch):
    monkeypatch.setattr("dgl_merc.graphs.blocks.PIECE", 4)
    monkeypatch.setattr("dgl_merc.graphs.blocks.PRICE", 0.0)
    s = structure_for(spec, [23, 3, 17, 1])
    blocks = s.blocks((UTTERANCE,), spec.past, 0 if spec.causal else spec.future).blocks
    assert len(blocks) == 1
    assert blocks[0].halo is not None, "nothing was cut"
    agree(s, backend)
    if backend == "dense":
        agree_in_shares(s, backend)


@pytest.mark.parametrize("tile", [1, 30, 200])
@pytest.mark.parametrize("causal", [False, True])
@pytest.mark.parametrize("piece", [4, 1000], ids=["pieces", "whole"])
def test_tiles_give_the_same(tile, causal, piece, monkeypatch):
    monkeypatch.setattr(pairs, "HELD", 0)
    monkeypatch.setattr(pairs, "TILE", tile)
    monkeypatch.setattr("dgl_merc.graphs.blocks.PIECE", piece)
    monkeypatch.setattr("dgl_merc.graphs.blocks.PRICE", 0.0)
    s = structure_for(GraphSpec(("text",), past=2, future=3, causal=causal), [11, 3, 1])
    agree(s, "dense")
    agree(s, "dense", relations=2, weigh=False)
    agree_in_shares(s, "dense", relations=2)


def test_edges_in_chunks_give_the_same(monkeypatch):
    monkeypatch.setattr("dgl_merc.kernels.messages._CHUNK", 9)
    agree(structure_for(SPECS["window 2/3"], [6, 4]), "scatter")


@settings(max_examples=25, deadline=None)
@given(st.data(), st.lists(st.integers(1, 7), min_size=1, max_size=4), st.integers(0, 4), st.integers(0, 4), st.booleans())
def test_any_shape(data, lengths, past, future, causal):
    s = structure_for(GraphSpec(("text",), past=past, future=future, causal=causal), lengths, seed=data.draw(st.integers(0, 9)))
    backend = data.draw(st.sampled_from(BACKENDS))
    keep = torch.tensor(data.draw(st.lists(st.booleans(), min_size=(n := len(edges_of(s, 4)[0])), max_size=n)), dtype=torch.bool)
    agree(s, backend, data.draw(st.sampled_from([2, 4])), keep=keep if data.draw(st.booleans()) else None)


@pytest.mark.parametrize("backend", BACKENDS)
def test_keep_removes_from_sums_and_counts_alike(backend):
    s = structure_for(SPECS["window 2/3"], [6, 4])
    count = len(edges_of(s, 4)[0])
    keep = torch.rand(count, generator=torch.Generator().manual_seed(0)) < 0.5
    agree(s, backend, keep=keep)
    agree(s, backend, keep=torch.zeros(count, dtype=torch.bool))


@pytest.mark.parametrize("backend", BACKENDS)
def test_rules_and_tensors_are_the_same_and_weights_are_returned(backend):
    s = structure_for(SPECS["window 2/3"], [6, 1, 5])
    x, layers = normal(12, 4, seed=3), layers_for(4, 4, 1)
    cosine = torch.nn.functional.normalize(x)
    values = {t: 1 - torch.arccos((cosine[s.edges(t)[0]] * cosine[s.edges(t)[1]]).sum(1)) / torch.pi for t in TYPES}
    by_rule, weights = rgcn(s, x, layers, weight=ArccosWeight({UTTERANCE: x}), backend=backend, return_weights=True)
    by_tensor = rgcn(s, x, layers, weight=values, backend=backend)
    torch.testing.assert_close(by_tensor, by_rule, rtol=0, atol=1e-10)
    typed, own = layers[0]
    y = x @ own
    for k, t in enumerate(TYPES):
        src, dst = s.edges(t)
        count = torch.bincount(dst, minlength=12)[dst]
        torch.testing.assert_close(weights[t], values[t] / count, rtol=0, atol=1e-10)
        y = y.index_add(0, dst, weights[t][:, None] * x[src] @ typed[k])
    torch.testing.assert_close(torch.relu(y), by_rule, rtol=0, atol=1e-10)


@pytest.mark.parametrize("backend", BACKENDS)
def test_a_batch_gives_what_its_dialogues_give_alone(backend):
    s, layers = structure_for(SPECS["window 2/3"], [4, 9, 1, 6]), layers_for(4, 4)
    x = normal(20, 4, seed=1)
    together = rgcn(s, x, layers, weight=ArccosWeight({UTTERANCE: x}), backend=backend)
    for d in range(4):
        part = x[rows_of(s, d, UTTERANCE)]
        alone = rgcn(s.select([d]), part, layers, weight=ArccosWeight({UTTERANCE: part}), backend=backend)
        torch.testing.assert_close(alone, together[rows_of(s, d, UTTERANCE)], rtol=0, atol=1e-12)


@pytest.mark.parametrize("backend", BACKENDS)
def test_causal_hears_nothing_later(backend):
    s, layers = structure_for(SPECS["causal"], [8]), layers_for(4, 4)
    x = normal(8, 4, seed=1)
    later = torch.cat([x[:5], x[5:] * -3 + 1])
    before, after = (rgcn(s, v, layers, weight=ArccosWeight({UTTERANCE: v}), backend=backend) for v in (x, later))
    torch.testing.assert_close(after[:5], before[:5], rtol=0, atol=0)
    assert not torch.allclose(after[5:], before[5:])


@pytest.mark.parametrize("backend", BACKENDS)
def test_identical_zero_and_opposite_features_have_finite_gradients(backend):
    s = Structure.of([4], GraphSpec(("text",)), speakers=[0, 0, 1, 1])
    x = torch.tensor([[1.0, 2.0], [1.0, 2.0], [0.0, 0.0], [-1.0, -2.0]], requires_grad=True)
    y = rgcn(s, x, [(torch.ones(4, 2, 2), torch.eye(2))], weight=ArccosWeight({UTTERANCE: x}), backend=backend)
    y.square().sum().backward()
    assert torch.isfinite(y).all()
    assert torch.isfinite(x.grad).all()


@pytest.mark.parametrize("backend", ["dgl", "scatter"])
def test_takes_any_heterograph_of_the_schema(backend):
    s, layers = structure_for(SPECS["window 2/3"], [3, 5]), layers_for(4, 4)
    x, graph = normal(8, 4, seed=1), s.graph()
    before = {n: set(graph.nodes[n].data) for n in graph.ntypes}
    got = rgcn(graph, x, layers, weight=ArccosWeight({UTTERANCE: x}), backend=backend)
    assert {n: set(graph.nodes[n].data) for n in graph.ntypes} == before, "the graph passed in was written to"
    torch.testing.assert_close(got, rgcn(s, x, layers, weight=ArccosWeight({UTTERANCE: x})), rtol=0, atol=1e-12)


def test_parallel_edges_self_loops_and_isolated_nodes_of_a_graph_count_as_they_stand():
    from dgl_merc._dgl import dgl

    ends = (torch.tensor([0, 0, 1, 2]), torch.tensor([1, 1, 1, 0]))
    graph = dgl.heterograph({TYPES[0]: ends, TYPES[3]: (torch.tensor([0]), torch.tensor([1]))}, num_nodes_dict={UTTERANCE: 4})
    flat = [w for layer in layers_for(4, 4) for w in layer]
    for backend in ("dgl", "scatter"):
        assert_agrees(
            lambda x, *w, backend=backend: rgcn(graph, x, [w[:2], w[2:]], backend=backend),
            lambda x, *w: rgcn_loop([0, 0, 1, 2, 0], [1, 1, 1, 0, 1], [0, 0, 0, 0, 3], [True] * 5, None, x, [w[:2], w[2:]], True),
            normal(4, 4, seed=1),
            *flat,
        )
        assert_agrees(
            lambda x, *w, backend=backend: rgcn(graph, x, [w[:2], w[2:]], weight=SoftmaxWeight(x, x), backend=backend),
            lambda x, *w: rgcn_loop([0, 0, 1, 2, 0], [1, 1, 1, 0, 1], [0, 0, 0, 0, 3], [True] * 5, None, x, [w[:2], w[2:]], True, x, x),
            normal(4, 4, seed=1),
            *flat,
        )


def test_gradcheck():
    s = structure_for(SPECS["window 2/3"], [4, 2])
    layers = [(normal(4, 3, 2, seed=1), normal(3, 2, seed=2))]
    for backend in BACKENDS:
        x = normal(6, 3, seed=3).requires_grad_()
        assert torch.autograd.gradcheck(lambda v, b=backend: rgcn(s, v, layers, weight=ArccosWeight({UTTERANCE: v}), backend=b), x)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"x": torch.zeros(4, 4)}, r"x must be \[3, D\], got \[4, 4\]"),
        ({"layers": [(torch.zeros(3, 4, 4), torch.zeros(4, 4))]}, r"layers\[0\]\[0\] must be \[R=4, 2 or 1, 4, D'\], got \[3, 4, 4\]"),
        ({"layers": [(torch.zeros(4, 4, 5), torch.zeros(4, 4))]}, r"layers\[0\]\[1\] must be \[4, 5\], got \[4, 4\]"),
        ({"layers": [(torch.zeros(4, 4, 5), torch.zeros(4, 5)), (torch.zeros(2, 5, 5), torch.zeros(5, 5))]}, r"layers\[1\]\[0\]"),
        ({"weight": ArccosWeight({})}, r"weight.x\['utterance'\] must be \[3, D\], got None"),
        ({"weight": {TYPES[0]: torch.zeros(7)}}, r"weight\[.*\] must be \[E=1\], got \[7\]"),
        ({"keep": {TYPES[0]: torch.zeros(1)}}, "must be bool"),
        ({"keep": {(UTTERANCE, "later", UTTERANCE): torch.zeros(1)}}, "edge types that are not there"),
        ({"weight": ArccosWeight({"utterance": torch.zeros(3, 2)}, 0.5)}, r"weight.scale .* must be 1.0, got 0.5"),
        ({"weight": SoftmaxWeight(torch.zeros(2, 2), torch.zeros(3, 2))}, r"weight.q must be \[3, K\], got \[2, 2\]"),
        ({"weight": SoftmaxWeight(torch.zeros(3, 2), torch.zeros(3, 1))}, r"weight.k must be \[3, 2\], got \[3, 1\]"),
        ({"x": {"utterance": torch.zeros(3, 4)}}, "x must be Tensor, got a dict"),
        ({"keep": torch.zeros(3, dtype=torch.bool)}, "keep must be a mapping from edge types or None, got a Tensor"),
        ({"backend": "cuda"}, "backend must be"),
    ],
)
def test_says_what_does_not_fit(change, said):
    s = Structure.of([3], GraphSpec(("text",)))
    arguments = {"x": torch.zeros(3, 4), "layers": layers_for(4, 4)} | change
    with pytest.raises(ValueError, match=said):
        rgcn(s, arguments.pop("x"), arguments.pop("layers"), **arguments)


def test_speakers_are_told_apart():
    s = structure_for(SPECS["all"], [6])
    x, layers = normal(6, 4, seed=1), layers_for(4, 2, 1)
    one = replace(s, speakers=torch.zeros(6, dtype=torch.int64))
    assert not torch.allclose(rgcn(s, x, layers), rgcn(one, x, layers))
