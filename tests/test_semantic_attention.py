"""semantic_attention against its loop, distances against a search, and the named edge cases."""

from __future__ import annotations

import pytest
import torch
from helpers import BACKENDS, normal, rows_of, structure_for
from hypothesis import given, settings
from hypothesis import strategies as st
from semantic_cases import SPECS, B, H, agree, hops_by_search

from dgl_merc.graphs import UTTERANCE, GraphSpec, Structure
from dgl_merc.kernels import ArccosWeight, pairs, semantic_attention
from dgl_merc.kernels.dialogue_pairs import DialoguePairs

pytestmark = pytest.mark.dgl


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("spec", SPECS.values(), ids=SPECS.keys())
@pytest.mark.parametrize(("bias", "normalise"), [("both", False), ("likeness", True), ("distance", True), ("none", True)])
def test_agrees_with_the_loop(backend, spec, bias, normalise):
    agree(structure_for(spec, [1, 5, 2, 8]), backend, bias, normalise)


@pytest.mark.parametrize("tile", [1, 20, 200])
@pytest.mark.parametrize("spec", [SPECS["windows"], SPECS["causal"]], ids=["complete", "causal"])
def test_tiles_give_the_same(tile, spec, monkeypatch):
    monkeypatch.setattr(pairs, "HELD", 0)
    monkeypatch.setattr(pairs, "TILE", tile)
    agree(structure_for(spec, [11, 3, 1]), "dense")


@settings(max_examples=25, deadline=None)
@given(st.data(), st.lists(st.integers(1, 6), min_size=1, max_size=4), st.integers(0, 3), st.integers(0, 3), st.booleans())
def test_any_shape(data, lengths, past, future, causal):
    s = structure_for(GraphSpec(("text",), past=past, future=future, causal=causal), lengths)
    count = len(s.pairs()[0])
    keep = torch.tensor(data.draw(st.lists(st.booleans(), min_size=count, max_size=count)))
    agree(s, data.draw(st.sampled_from(BACKENDS)), keep=keep if data.draw(st.booleans()) else None)


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("spec", [SPECS["windows"], SPECS["causal"]], ids=["complete", "causal"])
def test_keep_removes_pairs_and_an_utterance_without_any_gets_zeros(backend, spec):
    s = structure_for(spec, [5, 3])
    src, dst = s.pairs()
    keep = (torch.rand(len(src), generator=torch.Generator().manual_seed(1)) < 0.5) & (dst != 3)
    agree(s, backend, keep=keep)
    y, weights = semantic_attention(
        s, *(normal(8, H, 2, seed=k) for k in range(3)), scale=1.0, keep=keep, backend=backend, return_weights=True
    )
    assert (y[3] == 0).all()
    assert (weights[~keep] == 0).all()
    torch.testing.assert_close(
        torch.zeros(8, H, dtype=torch.float64).index_add(0, dst, weights).round(decimals=9).unique(),
        torch.tensor([0.0, 1.0], dtype=torch.float64),
    )


@pytest.mark.parametrize("backend", BACKENDS)
def test_rules_and_tensors_are_the_same_and_weights_are_returned(backend):
    s = structure_for(SPECS["windows"], [4, 1, 6])
    q, k, v = (normal(11, H, 3, seed=n) for n in range(3))
    g, (src, dst) = normal(11, 4, seed=4), s.pairs()
    unit = torch.nn.functional.normalize(g)
    values = torch.where(src == dst, 1.0, 1 - torch.arccos((unit[src] * unit[dst]).sum(1).clamp(-1, 1)) / torch.pi)
    by_rule, weights = semantic_attention(s, q, k, v, scale=2.0, weight=ArccosWeight({UTTERANCE: g}), backend=backend, return_weights=True)
    by_tensor = semantic_attention(s, q, k, v, scale=2.0, weight=values, backend=backend)
    torch.testing.assert_close(by_tensor, by_rule, rtol=0, atol=1e-10)
    y = torch.zeros_like(v).index_add(0, dst, weights[:, :, None] * (v[src] + values[:, None, None]))
    torch.testing.assert_close(y, by_rule, rtol=0, atol=1e-10)


@pytest.mark.parametrize("backend", BACKENDS)
def test_a_batch_gives_what_its_dialogues_give_alone(backend):
    s = structure_for(SPECS["windows"], [4, 9, 1, 6])
    tensors = [normal(20, H, 3, seed=n) for n in range(3)]
    g, table = normal(20, 4, seed=5), normal(H, B + 1, seed=6)
    together = semantic_attention(s, *tensors, scale=2.0, weight=ArccosWeight({UTTERANCE: g}), distances=table, backend=backend)
    for d in range(4):
        rows = rows_of(s, d, UTTERANCE)
        rule = ArccosWeight({UTTERANCE: g[rows]})
        alone = semantic_attention(s.select([d]), *(t[rows] for t in tensors), scale=2.0, weight=rule, distances=table, backend=backend)
        torch.testing.assert_close(alone, together[rows], rtol=0, atol=1e-12)


@pytest.mark.parametrize("backend", BACKENDS)
def test_causal_hears_nothing_later(backend):
    s = structure_for(SPECS["causal"], [8])
    inputs = [*(normal(8, H, 3, seed=n) for n in range(3)), normal(8, 4, seed=4)]
    runs = []
    for later in (False, True):
        q, k, v, g = (torch.cat([t[:5], t[5:] * -3 + 1]) if later else t for t in inputs)
        rule = ArccosWeight({UTTERANCE: g})
        runs.append(semantic_attention(s, q, k, v, scale=2.0, weight=rule, distances=normal(H, B + 1, seed=6), backend=backend))
    torch.testing.assert_close(runs[1][:5], runs[0][:5], rtol=0, atol=1e-15)
    assert not torch.allclose(runs[1][5:], runs[0][5:])


@pytest.mark.parametrize("backend", BACKENDS)
def test_identical_and_zero_features_and_great_logits_stay_finite(backend):
    s = Structure.of([4], GraphSpec(("text",)))
    g = torch.tensor([[1.0, 2.0], [1.0, 2.0], [0.0, 0.0], [-1.0, -2.0]], requires_grad=True)
    q = (torch.ones(4, 1, 1) * 3000).requires_grad_()
    y = semantic_attention(s, q, q * -1, g[:, None], scale=1.0, weight=ArccosWeight({UTTERANCE: g}), backend=backend)
    y.square().sum().backward()
    assert torch.isfinite(y).all()
    assert torch.isfinite(g.grad).all()
    assert torch.isfinite(q.grad).all()


def test_an_utterance_is_exactly_like_itself():
    s = Structure.of([1, 1], GraphSpec(("text",)))
    g = torch.stack([torch.rand(100, generator=torch.Generator().manual_seed(0)), torch.zeros(100)])
    for backend in BACKENDS:
        y = semantic_attention(
            s, *(torch.zeros(2, 1, 1) for _ in range(3)), scale=1.0, weight=ArccosWeight({UTTERANCE: g}), backend=backend
        )
        assert y.flatten().tolist() == [1.0, 0.5], "a zero row has the cosine 0 with everything"


@settings(max_examples=30, deadline=None)
@given(st.lists(st.integers(1, 9), min_size=1, max_size=3), st.integers(0, 4), st.integers(0, 4), st.booleans())
def test_distances_are_the_shortest_paths(lengths, past, future, causal):
    s = structure_for(GraphSpec(("text",), past=past, future=future, causal=causal), lengths)
    want, every = hops_by_search(s), DialoguePairs.of(s)
    assert every.hops(B).tolist() == [want[i][j] for j, i in zip(every.src.tolist(), every.dst.tolist(), strict=True)]
    searched = DialoguePairs.of(s.graph())
    assert searched.hops(B).tolist() == [want[i][j] for j, i in zip(searched.src.tolist(), searched.dst.tolist(), strict=True)]


@pytest.mark.parametrize("backend", ["dgl", "scatter"])
def test_takes_any_heterograph_of_the_schema(backend):
    s = structure_for(SPECS["windows"], [3, 5])
    tensors, table, graph = [normal(8, H, 3, seed=n) for n in range(3)], normal(H, B + 1, seed=6), s.graph()
    got = semantic_attention(graph, *tensors, scale=2.0, distances=table, backend=backend)
    torch.testing.assert_close(got, semantic_attention(s, *tensors, scale=2.0, distances=table), rtol=0, atol=1e-12)


def test_gradcheck():
    s = structure_for(SPECS["windows"], [3, 2])
    for backend in BACKENDS:
        inputs = [normal(5, H, 2, seed=n).requires_grad_() for n in range(3)]
        inputs += [normal(5, 3, seed=4).requires_grad_(), normal(H, B + 1, seed=5).requires_grad_()]

        def f(q, k, v, g, table, backend=backend):
            return semantic_attention(s, q, k, v, scale=1.5, weight=ArccosWeight({UTTERANCE: g}), distances=table, backend=backend)

        assert torch.autograd.gradcheck(f, inputs)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"q": torch.zeros(3, 4)}, r"q must be \[3, H, K\], got \[3, 4\]"),
        ({"k": torch.zeros(2, 2, 4)}, r"k must be \[3, H, K\], got \[2, 2, 4\]"),
        ({"v": torch.zeros(3, 1, 4)}, r"v \[N, H, K'\], got"),
        ({"distances": torch.zeros(1, 5)}, r"distances must be \[H=2, B \+ 1\], B at least 1, got \[1, 5\]"),
        ({"distances": torch.zeros(2, 1)}, r"B at least 1"),
        ({"weight": torch.zeros(8)}, r"weight must be \[9\], got \[8\]"),
        ({"weight": ArccosWeight({"text": torch.zeros(3, 2)})}, r"weight.x\['utterance'\] must be"),
        ({"keep": torch.zeros(8, dtype=torch.bool)}, r"keep must be \[9\], got \[8\]"),
        ({"keep": torch.zeros(9)}, "keep must be bool"),
        ({"weight": ArccosWeight({"utterance": torch.zeros(3, 2)}, 0.5)}, r"weight.scale .* must be 1.0, got 0.5"),
        ({"keep": {}}, "keep must be Tensor or None, got a dict"),
        ({"weight": {}}, "weight must be ArccosWeight or Tensor or None, got a dict"),
        ({"backend": "cuda"}, "backend must be"),
    ],
)
@pytest.mark.parametrize("backend", ["dense", "scatter"])
def test_says_what_does_not_fit(change, said, backend):
    s = Structure.of([3], GraphSpec(("text",)))
    arguments = {name: torch.zeros(3, 2, 4) for name in "qkv"} | {"scale": 1.0, "backend": backend} | change
    with pytest.raises(ValueError, match=said):
        semantic_attention(s, arguments.pop("q"), arguments.pop("k"), arguments.pop("v"), **arguments)
