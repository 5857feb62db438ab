"""masked_gcn against its loop, its properties, and its named edge cases."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from helpers import BACKENDS, M2, M3, assert_agrees, features_for, normal, structure_for, word_is_kept, word_of
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from torch import Tensor

from dgl_merc.graphs import GraphSpec, Structure
from dgl_merc.kernels import ArccosWeight, HashMask, masked_gcn, pairs
from dgl_merc.kernels.edge_list import EdgeList
from dgl_merc.kernels.masked_gcn import masked_gcn_loop

pytestmark = pytest.mark.dgl


def matrix(rows: int, columns: int, seed: int = 5) -> Tensor:
    return normal(rows, columns, seed=seed)


def edges_of(s: Structure, mask: HashMask | None) -> tuple[list[int], list[int], list[bool], list[bool]]:
    """Source, destination, whether across modalities, whether the mask leaves it in: by a double loop, in the words of schema.py."""
    spec, count = s.spec, len(s.spec.modalities)
    nodes = [(k, u) for k in range(count) for u in range(s.num_utterances) if s.presence[u, k]]
    words = [0] * len(nodes)
    if mask is not None:
        at = [(int(s.keys[s.dialogue[u]]), int(s.position[u]) * count + k) for k, u in nodes]
        words = [word_of(mask.seed, mask.step, dialogue, place) for dialogue, place in at]
    result: tuple[list[int], list[int], list[bool], list[bool]] = ([], [], [], [])
    for i, (m, u) in enumerate(nodes):
        for j, (n, v) in enumerate(nodes):
            near = (spec.window is None or abs(u - v) <= spec.window) and not (spec.causal and v > u)
            across = {"utterance": u == v, "dialogue": near, "none": False}[spec.cross]
            if s.dialogue[u] == s.dialogue[v] and ((m == n and u != v and near) or (m != n and across)):
                kept = mask is None or word_is_kept(words[i] + words[j], mask.rate)
                for values, value in zip(result, (j, i, m != n, kept), strict=True):
                    values.append(value)
    return result


def agree(
    s: Structure,
    backend: str,
    mask: HashMask | None,
    degree: str,
    rescale: bool,
    aleph: float,
    *,
    initial: float = 0.0,
    moved: bool = True,
) -> None:
    edges, sizes = edges_of(s, mask), list(s.sizes.values())
    gain = 1 / (1 - mask.rate) if rescale else 1.0

    def fast(n: Tensor, h: Tensor, a: Tensor, b: Tensor, scale: Tensor) -> Tensor:
        weigh, x = (dict(zip(s.sizes, v.split(sizes), strict=True)) for v in (n, h))
        rule = ArccosWeight(weigh, scale)
        y = masked_gcn(s, x, [a, b], weight=rule, mask=mask, degree=degree, rescale=rescale, initial=initial, backend=backend)
        return torch.cat(list(y.values()))

    def loop(n: Tensor, h: Tensor, a: Tensor, b: Tensor, scale: Tensor) -> Tensor:
        return masked_gcn_loop(*edges, n, h, [a, b], scale, degree, gain, initial)

    total, widths = sum(sizes), (4, 4) if initial else (3, 6)
    inputs = [normal(total, 5, seed=1), normal(total, 4, seed=2), normal(4, widths[0], seed=3), normal(*widths, seed=4)]
    assert_agrees(fast, loop, *inputs, torch.tensor(aleph, dtype=torch.float64), moved=(0, 1, 2, 3) if moved else ())


SPECS = {
    "one modality": GraphSpec(("text",)),
    "utterance": GraphSpec(M3),
    "dialogue": GraphSpec(M3, cross="dialogue"),
    "none": GraphSpec(M2, cross="none"),
    "window": GraphSpec(M2, cross="dialogue", window=2),
    "causal": GraphSpec(M2, cross="dialogue", causal=True),
    "causal window": GraphSpec(M3, window=1, causal=True),
}


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("spec", SPECS.values(), ids=SPECS.keys())
@pytest.mark.parametrize(
    ("mask", "degree", "rescale"),
    [
        (None, "masked", False),
        (HashMask(5, 0.4, 2), "masked", False),
        (HashMask(5, 0.4), "full", False),
        (HashMask(9, 0.6), "full", True),
        (HashMask(9, 0.6), "masked", True),
    ],
)
def test_agrees_with_the_loop(backend, spec, mask, degree, rescale):
    agree(structure_for(spec, [1, 4, 2, 7]), backend, mask, degree, rescale, aleph=0.7)


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize(
    "spec", [SPECS["utterance"], SPECS["causal"], SPECS["causal window"]], ids=["utterance", "causal", "causal window"]
)
@pytest.mark.parametrize("mask", [None, HashMask(5, 0.4, 2)])
def test_an_initial_residual_agrees_with_the_loop(backend, spec, mask):
    agree(structure_for(spec, [1, 4, 7]), backend, mask, "masked", False, aleph=0.7, initial=0.3)


def test_all_residual_is_a_perceptron_on_each_node():
    s = structure_for(GraphSpec(M2), [3, 5])
    x, w = features_for(s, 4, 2), [matrix(4, 4, k) for k in range(2)]
    y = masked_gcn(s, x, w, weight=ArccosWeight(x), initial=1.0)
    for m in M2:
        torch.testing.assert_close(y[m], torch.relu(x[m] @ w[1]), rtol=0, atol=1e-12)


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("lengths", [[1], [2], [1, 1, 1], [9, 1, 5, 5, 2, 8, 3]])
def test_ragged_batches(backend, lengths):
    agree(structure_for(GraphSpec(M2), lengths, drop=0.0), backend, HashMask(2, 0.5) if sum(lengths) > 1 else None, "masked", False, 1.0)


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("rate", [0.0, 1.0])
def test_mask_of_nothing_and_of_everything(backend, rate):
    s, w = structure_for(GraphSpec(M2), [3, 5]), [torch.eye(4, dtype=torch.float64)]
    h = {m: x.abs() for m, x in features_for(s, 4, 2).items()}
    y = masked_gcn(s, h, w, weight=ArccosWeight(h), mask=HashMask(0, rate), backend=backend)
    want = h if rate == 1.0 else masked_gcn(s, h, w, weight=ArccosWeight(h), backend=backend)
    for m in M2:
        torch.testing.assert_close(y[m], want[m], rtol=0, atol=1e-12)


@pytest.mark.parametrize("backend", BACKENDS)
def test_rules_and_tensors_are_the_same(backend):
    s = structure_for(GraphSpec(M3, cross="dialogue"), [4, 6, 1])
    n, h, w = features_for(s, 5, 1), features_for(s, 4, 2), [matrix(4, 4)]
    edges, mask = EdgeList.of(s, s.spec.message_types, s.spec.modalities), HashMask(3, 0.5)
    stacked = torch.nn.functional.normalize(torch.cat(list(n.values())))
    values = 1 - torch.arccos((stacked[edges.src] * stacked[edges.dst]).sum(1)) / torch.pi
    words = mask.words(s, s.spec.modalities)
    by_rule = masked_gcn(s, h, w, weight=ArccosWeight(n), mask=mask, backend=backend)
    left = edges.split(mask.kept_pairs(words[edges.src], words[edges.dst]))
    by_tensor = masked_gcn(s, h, w, weight=edges.split(values), mask=left, backend=backend)
    by_keep = masked_gcn(s, h, w, weight=edges.split(values), keep=left, backend=backend)
    for m in M3:
        torch.testing.assert_close(by_tensor[m], by_rule[m], rtol=0, atol=1e-10)
        torch.testing.assert_close(by_keep[m], by_rule[m], rtol=0, atol=1e-10)


@pytest.mark.parametrize("backend", BACKENDS)
def test_keep_removes_from_messages_and_degrees_alike(backend):
    s = structure_for(GraphSpec(M2), [5, 3])
    n, w, t = features_for(s, 4, 1), [torch.eye(4, dtype=torch.float64)], ("text", "same", "text")
    none = torch.zeros(len(s.edges(t)[0]), dtype=torch.bool)
    audio = ("audio", "same", "audio")
    keep = {t: none, audio: torch.zeros(len(s.edges(audio)[0]), dtype=torch.bool)}
    got = masked_gcn(s, n, w, weight=ArccosWeight(n), keep=keep, degree="full", backend=backend)
    without = s.with_spec(replace(s.spec, window=0))  # a window of 0 leaves exactly the same-utterance cross edges
    want = masked_gcn(without, n, w, weight=ArccosWeight(n), backend="dgl")
    for m in M2:
        torch.testing.assert_close(got[m], want[m], rtol=0, atol=1e-12)


@pytest.mark.parametrize("degree", ["masked", "full"])
def test_returned_weights_are_the_propagation(degree):
    s, mask = structure_for(GraphSpec(M3, cross="dialogue"), [3, 6, 2]), HashMask(2, 0.5)
    x = features_for(s, 4, 1)
    got = {}
    for backend in BACKENDS:
        y, entries, diagonal = masked_gcn(
            s,
            x,
            [torch.eye(4, dtype=torch.float64)],
            weight=ArccosWeight(x),
            mask=mask,
            degree=degree,
            backend=backend,
            return_weights=True,
        )
        edges = EdgeList.of(s, s.spec.message_types, s.spec.modalities)
        h = torch.cat(list(x.values()))
        p = torch.zeros(len(h), len(h), dtype=torch.float64)
        p[edges.dst, edges.src] = edges.stack(entries, "entries")
        p += torch.diag(torch.cat(list(diagonal.values())))
        torch.testing.assert_close(torch.cat(list(y.values())), torch.relu(p @ h), rtol=0, atol=1e-12)
        got[backend] = p
    for other in ("dgl", "scatter"):
        torch.testing.assert_close(got["dense"], got[other], rtol=0, atol=1e-12)


@pytest.mark.parametrize("backend", BACKENDS)
def test_a_batch_gives_what_its_dialogues_give_alone(backend):
    s, w = structure_for(GraphSpec(M2, cross="dialogue"), [4, 9, 1, 6]), [matrix(4, 4)]
    x, mask = features_for(s, 4, 1), HashMask(4, 0.5, 11)
    together = masked_gcn(s, x, w, weight=ArccosWeight(x), mask=mask, backend=backend)
    for d in range(4):
        alone = s.select([d])
        rows = {m: slice(int(s.counts[m][s.offsets[d]]), int(s.counts[m][s.offsets[d + 1]])) for m in M2}
        part = {m: x[m][rows[m]] for m in M2}
        y = masked_gcn(alone, part, w, weight=ArccosWeight(part), mask=mask, backend=backend)
        for m in M2:
            torch.testing.assert_close(y[m], together[m][rows[m]], rtol=0, atol=1e-12)


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("cross", ["utterance", "dialogue"])
def test_causal_hears_nothing_later(backend, cross):
    s = structure_for(GraphSpec(M2, cross=cross, causal=True), [8], drop=0.2)
    x, w = features_for(s, 4, 1), [matrix(4, 4, k) for k in range(3)]
    changed = {m: torch.where((s.nodes[m] >= 5)[:, None], x[m] * -3 + 1, x[m]) for m in M2}
    before, after = (masked_gcn(s, v, w, weight=ArccosWeight(v), mask=HashMask(1, 0.3), backend=backend) for v in (x, changed))
    for m in M2:
        early = s.nodes[m] < 5
        torch.testing.assert_close(after[m][early], before[m][early], rtol=0, atol=0)
        assert not torch.allclose(after[m][~early], before[m][~early])


@pytest.mark.parametrize("backend", BACKENDS)
def test_identical_zero_and_opposite_features_have_finite_gradients(backend):
    s = Structure.of([4], GraphSpec(("text",)))
    x = {"text": torch.tensor([[1.0, 2.0], [1.0, 2.0], [0.0, 0.0], [-1.0, -2.0]], requires_grad=True)}
    y = masked_gcn(s, x, [torch.eye(2)], weight=ArccosWeight(x), backend=backend)
    y["text"].square().sum().backward()
    assert torch.isfinite(y["text"]).all()
    assert torch.isfinite(x["text"].grad).all()


@pytest.mark.parametrize("backend", BACKENDS)
def test_absent_modality_and_bare_utterances(backend):
    s = Structure.of([2, 2], GraphSpec(M2), presence=[[1, 0], [1, 0], [0, 0], [1, 0]])
    x = features_for(s, 3, 0)
    y = masked_gcn(s, x, [matrix(3, 5)], weight=ArccosWeight(x), mask=HashMask(0, 0.5), backend=backend)
    assert y["text"].shape == (3, 5)
    assert y["audio"].shape == (0, 5)


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("cross", ["utterance", "dialogue"])
def test_no_node_at_all(backend, cross):
    s = Structure.of([2, 1], GraphSpec(M2, cross=cross), presence=[[0, 0]] * 3)
    x = {m: torch.zeros(0, 3, requires_grad=True) for m in M2}
    y = masked_gcn(s, x, [torch.ones(3, 5)], weight=ArccosWeight(x), mask=HashMask(0, 0.5), backend=backend)
    assert {m: v.shape for m, v in y.items()} == dict.fromkeys(M2, (0, 5))
    sum(v.sum() for v in y.values()).backward()


def test_takes_any_heterograph_of_the_schema():
    s = structure_for(GraphSpec(M2, cross="dialogue"), [3, 5])
    x, w, mask = features_for(s, 4, 1), [matrix(4, 2)], HashMask(8, 0.4)
    graph = s.graph()
    want = masked_gcn(s, x, w, weight=ArccosWeight(x), mask=mask)
    before = {n: set(graph.nodes[n].data) for n in graph.ntypes}
    got = masked_gcn(graph, x, w, weight=ArccosWeight(x), mask=mask)
    assert {n: set(graph.nodes[n].data) for n in graph.ntypes} == before, "the graph passed in was written to"
    for m in M2:
        torch.testing.assert_close(got[m], want[m], rtol=0, atol=1e-12)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"x": {"text": torch.zeros(3, 4)}}, r"x must hold the modalities \['text', 'audio'\], got \['text'\]"),
        ({"x": {"text": torch.zeros(3, 4), "audio": torch.zeros(2, 4)}}, r"x\['audio'\] must be \[N=3, D=4\], got \[2, 4\]"),
        ({"matrices": [torch.zeros(5, 4)]}, r"matrices\[0\] must be \[4, D'\], got \[5, 4\]"),
        ({"weight": {("text", "same", "text"): torch.zeros(7)}}, r"must be \[E=6\], got \[7\]"),
        ({"mask": {("text", "other", "text"): torch.zeros(7)}}, "edge types that are not there"),
        ({"degree": "half"}, "degree must be"),
        ({"weight": None}, "weight must be ArccosWeight or a mapping from edge types, got a NoneType"),
        ({"mask": torch.ones(6)}, "mask must be HashMask or a mapping from edge types or None, got a Tensor"),
        ({"keep": HashMask(0, 0.5)}, "keep must be a mapping from edge types or None, got a HashMask"),
        ({"weight": ArccosWeight({}, normalise=False)}, "weight must be normalised"),
        ({"mask": {("text", "same", "text"): torch.zeros(6)}}, "must be bool"),
        ({"rescale": True}, "needs a HashMask"),
        ({"initial": 1.5}, "initial must be from 0 to 1, got 1.5"),
        ({"initial": 0.1, "matrices": [torch.zeros(4, 5)]}, r"matrices\[0\] must be \[4, 4\] beside an initial residual, got \[4, 5\]"),
        ({"backend": "cuda"}, "backend must be"),
    ],
)
def test_says_what_does_not_fit(change, said):
    s = Structure.of([3], GraphSpec(M2))
    x = {m: torch.zeros(3, 4) for m in M2}
    arguments = {"x": x, "matrices": [torch.eye(4)], "weight": ArccosWeight(x)} | change
    with pytest.raises(ValueError, match=said):
        masked_gcn(s, arguments.pop("x"), arguments.pop("matrices"), **arguments)


def in_pieces(monkeypatch: pytest.MonkeyPatch, piece: int) -> None:
    monkeypatch.setattr("dgl_merc.graphs.blocks.PIECE", piece)
    monkeypatch.setattr("dgl_merc.graphs.blocks.PRICE", 0.0)


@pytest.mark.without_dgl
@pytest.mark.parametrize("causal", [False, True])
@pytest.mark.parametrize(
    ("cross", "window"), [("utterance", 0), ("utterance", 3), ("dialogue", 0), ("dialogue", 1), ("dialogue", 3), ("none", 1), ("none", 3)]
)
def test_long_windowed_dialogues_in_pieces(cross, causal, window, monkeypatch):
    in_pieces(monkeypatch, 2)
    s = structure_for(GraphSpec(M3, cross=cross, window=window, causal=causal), [43, 1, 22])
    (block,) = s.blocks(M3, *s.spec.reach(("text", "same", "text"))).blocks
    assert block.halo is not None, "nothing was cut"
    for mask, degree in ((None, "masked"), (HashMask(5, 0.4), "full"), (HashMask(5, 0.4), "masked")):
        agree(s, "dense", mask, degree, False, aleph=0.7)


@pytest.mark.parametrize("tile", [1, 40, 300])
@pytest.mark.parametrize("cross", ["utterance", "dialogue"])
@pytest.mark.parametrize(("causal", "window"), [(False, None), (True, None), (False, 2), (True, 2)])
def test_tiles_give_the_same(tile, cross, causal, window, monkeypatch):
    monkeypatch.setattr(pairs, "HELD", 0)
    monkeypatch.setattr(pairs, "TILE", tile)
    if window and tile > 1:
        in_pieces(monkeypatch, 4)
    s = structure_for(GraphSpec(M2, cross=cross, causal=causal, window=window), [13, 2, 1])
    for mask, degree, rescale in ((None, "masked", False), (HashMask(5, 0.4), "full", True), (HashMask(5, 0.4), "masked", False)):
        agree(s, "dense", mask, degree, rescale, aleph=0.7)


def test_tensors_per_edge_in_pieces(monkeypatch):
    in_pieces(monkeypatch, 2)
    for cross in ("utterance", "dialogue"):
        s = structure_for(GraphSpec(M3, cross=cross, window=1), [9, 14])
        x, w = features_for(s, 4, 1), [matrix(4, 4)]
        edges = EdgeList.of(s, s.spec.message_types, M3)
        drawn = torch.rand(len(edges.src), dtype=torch.float64, generator=torch.Generator().manual_seed(1)).requires_grad_()
        values = edges.split(drawn)
        some = edges.split(torch.rand(len(edges.src), generator=torch.Generator().manual_seed(2)) < 0.6)
        for tensors in ({"mask": some}, {"keep": some}, {"mask": some, "keep": {t: ~v for t, v in some.items()}}):
            got = masked_gcn(s, x, w, weight=values, degree="full", backend="dense", **tensors)
            want = masked_gcn(s, x, w, weight=values, degree="full", backend="scatter", **tensors)
            for m in M3:
                torch.testing.assert_close(got[m], want[m], rtol=0, atol=1e-12)
            slopes = [torch.autograd.grad(sum((v**2).sum() for v in y.values()), drawn)[0] for y in (got, want)]
            torch.testing.assert_close(*slopes, rtol=0, atol=1e-10)
            assert slopes[0].abs().max() > 1e-3


@settings(max_examples=30, deadline=None)
@given(st.data(), st.lists(st.integers(1, 6), min_size=1, max_size=4), st.sampled_from([None, 0, 2]), st.booleans(), st.integers(0, 9))
def test_any_shape(data, lengths, window, causal, seed):
    cross = data.draw(st.sampled_from(["utterance", "dialogue", "none"]))
    spec = GraphSpec(M3[: data.draw(st.integers(1, 3))], window=window, cross=cross, causal=causal)
    s = structure_for(spec, lengths, drop=data.draw(st.sampled_from([0.0, 0.5])), seed=seed)
    assume(sum(s.sizes.values()))
    mask, degree = data.draw(st.sampled_from([None, HashMask(seed, 0.3)])), data.draw(st.sampled_from(["masked", "full"]))
    agree(s, data.draw(st.sampled_from(BACKENDS)), mask, degree, False, 0.7, moved=False)


@pytest.mark.parametrize("cross", ["utterance", "dialogue"])
def test_gradcheck(cross):
    s = structure_for(GraphSpec(M2, cross=cross), [3, 2], drop=0.2)
    sizes = list(s.sizes.values())
    for backend in BACKENDS:

        def f(x, w, aleph, backend=backend):
            parts = dict(zip(M2, x.split(sizes), strict=True))
            y = masked_gcn(s, parts, [w], weight=ArccosWeight(parts, aleph), mask=HashMask(1, 0.3), backend=backend)
            return torch.cat(list(y.values()))

        inputs = [torch.cat(list(features_for(s, 3, 1).values())), matrix(3, 2), torch.tensor(0.7, dtype=torch.float64)]
        assert torch.autograd.gradcheck(f, [t.requires_grad_() for t in inputs])


def test_takes_any_heterograph_whose_types_are_some_of_the_schema():
    """Only some edge types, parallel edges, an isolated node: what the graph holds is what counts."""
    from dgl_merc._dgl import dgl

    ends = {("text", "same", "text"): ([0, 0, 1], [1, 1, 0]), ("audio", "cross", "text"): ([0, 1], [2, 2])}
    graph = dgl.heterograph({t: tuple(map(torch.tensor, e)) for t, e in ends.items()}, num_nodes_dict={"text": 4, "audio": 2})
    w = [matrix(4, 3), matrix(3, 3, 6)]
    for backend in ("dgl", "scatter"):

        def fast(n: Tensor, h: Tensor, scale: Tensor, backend: str = backend) -> Tensor:
            rule = ArccosWeight({"text": n[:4], "audio": n[4:]}, scale)
            return torch.cat(list(masked_gcn(graph, {"text": h[:4], "audio": h[4:]}, w, weight=rule, backend=backend).values()))

        def loop(n: Tensor, h: Tensor, scale: Tensor) -> Tensor:
            cross = [False, False, False, True, True]
            return masked_gcn_loop([0, 0, 1, 4, 5], [1, 1, 0, 2, 2], cross, [True] * 5, n, h, w, scale, "masked", 1.0)

        assert_agrees(fast, loop, normal(6, 5, seed=1), normal(6, 4, seed=2), torch.tensor(0.7, dtype=torch.float64), moved=(0, 1, 2))


def test_aleph_learns_in_tiles_where_nothing_else_does(monkeypatch):
    s, slopes = structure_for(GraphSpec(M2), [9, 4]), []
    x = features_for(s, 4, 1)
    for held in (pairs.HELD, 0):
        monkeypatch.setattr(pairs, "HELD", held)
        aleph = torch.tensor(0.7, dtype=torch.float64, requires_grad=True)
        y = masked_gcn(s, x, [matrix(4, 3)], weight=ArccosWeight(x, aleph), backend="dense")
        slopes += torch.autograd.grad(sum(v.sum() for v in y.values()), aleph)
    torch.testing.assert_close(*slopes, rtol=0, atol=1e-12)
    assert slopes[0].abs() > 1e-3
