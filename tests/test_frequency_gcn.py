"""frequency_gcn against its loop, its properties, and its named edge cases."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from helpers import BACKENDS, M2, M3, assert_agrees, features_for, normal, rows_of, structure_for
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from torch import Tensor

from dgl_merc.graphs import GraphSpec, Structure
from dgl_merc.kernels import frequency_gcn, pairs
from dgl_merc.kernels.edge_list import EdgeList
from dgl_merc.kernels.frequency_gcn import frequency_gcn_loop

pytestmark = pytest.mark.dgl
SPECS = {
    "one modality": GraphSpec(("text",)),
    "utterance": GraphSpec(M3),
    "dialogue": GraphSpec(M3, cross="dialogue"),
    "none": GraphSpec(M2, cross="none"),
    "window": GraphSpec(M2, cross="dialogue", window=2),
    "causal": GraphSpec(M2, cross="dialogue", causal=True),
    "causal window": GraphSpec(M3, window=1, causal=True),
}


def edges_of(s: Structure) -> tuple[list[int], list[int]]:
    """Source and destination, by a double loop, in the words of schema.py."""
    spec = s.spec
    nodes = [(k, u) for k in range(len(spec.modalities)) for u in range(s.num_utterances) if s.presence[u, k]]
    edges = []
    for i, (m, u) in enumerate(nodes):
        for j, (n, v) in enumerate(nodes):
            near = (spec.window is None or abs(u - v) <= spec.window) and not (spec.causal and v > u)
            across = {"utterance": u == v, "dialogue": near, "none": False}[spec.cross]
            if s.dialogue[u] == s.dialogue[v] and ((m == n and u != v and near) or (m != n and across)):
                edges.append((j, i))
    return [j for j, _ in edges], [i for _, i in edges]


def agree(s: Structure, backend: str, *, moved: bool = True) -> None:
    sizes, edges = list(s.sizes.values()), edges_of(s)

    def fast(h: Tensor, *vectors: Tensor) -> Tensor:
        x = dict(zip(s.sizes, h.split(sizes), strict=True))
        return torch.cat(list(frequency_gcn(s, x, vectors, backend=backend).values()))

    inputs = [normal(sum(sizes), 4, seed=1), *(normal(2, 4, seed=2 + k) / 2 for k in range(2))]
    assert_agrees(fast, lambda h, *vectors: frequency_gcn_loop(*edges, h, vectors), *inputs, moved=(0, 1, 2) if moved else ())


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("spec", SPECS.values(), ids=SPECS.keys())
def test_agrees_with_the_loop(backend, spec):
    agree(structure_for(spec, [1, 4, 2, 7]), backend)


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("lengths", [[1], [1, 1], [9, 1, 5, 2]])
def test_ragged_batches(backend, lengths):
    agree(structure_for(GraphSpec(M2), lengths, drop=0.0), backend)


@pytest.mark.parametrize("backend", BACKENDS)
def test_a_vector_of_nothing_leaves_everything(backend):
    s = structure_for(GraphSpec(M2), [3, 5])
    x = features_for(s, 4, 1)
    for vectors in ([], [torch.zeros(2, 4, dtype=torch.float64)]):
        y = frequency_gcn(s, x, vectors, backend=backend)
        assert all(torch.equal(y[m], x[m]) for m in M2)


@pytest.mark.parametrize("backend", BACKENDS)
def test_absent_modality_and_bare_utterances(backend):
    s = Structure.of([2, 2, 1], GraphSpec(M2), presence=[[1, 0], [1, 0], [0, 0], [1, 0], [0, 0]])
    x = features_for(s, 3, 0)
    y = frequency_gcn(s, x, [normal(2, 3, seed=1)], backend=backend)
    assert {m: v.shape for m, v in y.items()} == {"text": (3, 3), "audio": (0, 3)}
    torch.testing.assert_close(y["text"][2], x["text"][2], rtol=0, atol=0)  # it is alone


@pytest.mark.parametrize("backend", BACKENDS)
def test_a_batch_gives_what_its_dialogues_give_alone(backend):
    s = structure_for(GraphSpec(M2, cross="dialogue"), [4, 9, 1, 6])
    x, g = features_for(s, 4, 1), [normal(2, 4, seed=k) for k in range(2)]
    together = frequency_gcn(s, x, g, backend=backend)
    for d in range(4):
        rows = {m: rows_of(s, d, m) for m in M2}
        y = frequency_gcn(s.select([d]), {m: x[m][rows[m]] for m in M2}, g, backend=backend)
        for m in M2:
            torch.testing.assert_close(y[m], together[m][rows[m]], rtol=0, atol=1e-12)


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("cross", ["utterance", "dialogue"])
def test_causal_hears_nothing_later(backend, cross):
    s = structure_for(GraphSpec(M2, cross=cross, causal=True), [8], drop=0.2)
    x, g = features_for(s, 4, 1), [normal(2, 4, seed=k) for k in range(3)]
    changed = {m: torch.where((s.nodes[m] >= 5)[:, None], x[m] * -3 + 1, x[m]) for m in M2}
    before, after = (frequency_gcn(s, v, g, backend=backend) for v in (x, changed))
    for m in M2:
        early = s.nodes[m] < 5
        assert torch.equal(after[m][early], before[m][early])
        assert not torch.allclose(after[m][~early], before[m][~early])


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("cross", ["utterance", "dialogue"])
def test_keep_removes_edges_and_counts_alike_and_weights_are_what_is_heard(backend, cross):
    s = structure_for(GraphSpec(M3, cross=cross), [5, 3])
    x, g = features_for(s, 4, 1), normal(2, 4, seed=3)
    edges = EdgeList.of_messages(s, M3)
    left = torch.rand(len(edges.src), generator=torch.Generator().manual_seed(2)) < 0.6
    y, weights = frequency_gcn(s, x, [g, g / 2], keep=edges.split(left), backend=backend, return_weights=True)
    few = [e[left].tolist() for e in (edges.src, edges.dst)]
    torch.testing.assert_close(torch.cat(list(y.values())), frequency_gcn_loop(*few, torch.cat(list(x.values())), [g, g / 2]))
    first = edges.stack({t: w[:, 0] for t, w in weights.items()}, "weights")
    p = torch.eye(int(sum(s.sizes.values())), dtype=torch.float64)
    p[edges.dst, edges.src] = first
    one = frequency_gcn(s, x, [g], keep=edges.split(left), backend=backend)
    torch.testing.assert_close(p @ torch.cat(list(x.values())), torch.cat(list(one.values())))
    assert (first[~left] == 0).all()


@pytest.mark.parametrize("tile", [1, 40])
@pytest.mark.parametrize("cross", ["utterance", "dialogue"])
@pytest.mark.parametrize(("causal", "window"), [(False, None), (True, None), (False, 2), (True, 2)])
def test_tiles_and_pieces_give_the_same(tile, cross, causal, window, monkeypatch):
    if window:
        monkeypatch.setattr("dgl_merc.graphs.blocks.PIECE", 2)
        monkeypatch.setattr("dgl_merc.graphs.blocks.PRICE", 0.0)
    s = structure_for(GraphSpec(M2, cross=cross, causal=causal, window=window), [23, 2, 1])
    assert (s.blocks(M2, *s.spec.reach(("text", "same", "text"))).blocks[-1].halo is not None) == (window is not None)
    agree(s, "dense")
    monkeypatch.setattr(pairs, "HELD", 0)
    monkeypatch.setattr(pairs, "TILE", tile)
    agree(s, "dense")


def test_gradcheck():
    s = structure_for(GraphSpec(M2, cross="dialogue"), [3, 2], drop=0.0)
    inputs = [normal(10, 3, seed=1).requires_grad_(), normal(2, 3, seed=2).requires_grad_()]

    def run(h: Tensor, g: Tensor) -> Tensor:
        return torch.cat(list(frequency_gcn(s, {"text": h[:5], "audio": h[5:]}, [g, g]).values()))

    assert torch.autograd.gradcheck(run, inputs)


def test_takes_any_heterograph_of_the_schema():
    s = structure_for(GraphSpec(M2, cross="dialogue"), [3, 5])
    x, g = features_for(s, 4, 1), [normal(2, 4, seed=2)]
    want, got = frequency_gcn(s, x, g), frequency_gcn(s.graph(), x, g)
    for m in M2:
        torch.testing.assert_close(got[m], want[m], rtol=0, atol=1e-12)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"x": {"text": torch.zeros(3, 4)}}, r"x must hold the modalities \['text', 'audio'\], got \['text'\]"),
        ({"x": {"text": torch.zeros(3, 4), "audio": torch.zeros(2, 4)}}, r"x\['audio'\] must be \[N=3, D=4\], got \[2, 4\]"),
        ({"vectors": [torch.zeros(2, 4), torch.zeros(8)]}, r"vectors\[1\] must be \[2, 4\], got \[8\]"),
        ({"keep": {("text", "same", "text"): torch.zeros(6)}}, "must be bool"),
        ({"keep": torch.ones(6)}, "keep must be a mapping from edge types or None, got a Tensor"),
        ({"backend": "cuda"}, "backend must be"),
    ],
)
def test_says_what_does_not_fit(change, said):
    s = Structure.of([3], GraphSpec(M2))
    arguments = {"x": {m: torch.zeros(3, 4) for m in M2}, "vectors": [torch.zeros(2, 4)]} | change
    with pytest.raises(ValueError, match=said):
        frequency_gcn(s, arguments.pop("x"), arguments.pop("vectors"), **arguments)


@settings(max_examples=10, deadline=None)
@given(st.data(), st.lists(st.integers(1, 5), min_size=1, max_size=3), st.sampled_from([None, 0, 2]), st.booleans(), st.integers(0, 9))
def test_any_shape(data, lengths, window, causal, seed):
    spec = GraphSpec(M3[: data.draw(st.integers(1, 3))], window=window, causal=causal)
    s = structure_for(
        replace(spec, cross=data.draw(st.sampled_from(["utterance", "dialogue", "none"]))),
        lengths,
        drop=data.draw(st.sampled_from([0.0, 0.5])),
        seed=seed,
    )
    assume(sum(s.sizes.values()))
    agree(s, data.draw(st.sampled_from(BACKENDS)), moved=False)
