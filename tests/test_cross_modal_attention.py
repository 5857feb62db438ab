"""cross_modal_attention against its loop, who is alone, and the named edge cases."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import replace

import pytest
import torch
from helpers import BACKENDS, M2, M3, assert_agrees, normal, rows_of, structure_for
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from dgl_merc.graphs import GraphSpec, Structure
from dgl_merc.kernels import cross_modal_attention, cross_modal_blocks
from dgl_merc.kernels.cross_modal_attention import alone_nodes, cross_modal_attention_loop

pytestmark = pytest.mark.dgl
H = 2
M4 = (*M3, "pulse")
SPECS = {
    "three": GraphSpec(M3),
    "two, other edges": GraphSpec(M2, cross="none", window=1),
    "four": GraphSpec(M4, window=0),
    "causal": GraphSpec(M3, causal=True),
    "one": GraphSpec(("text",)),
    "one, causal": GraphSpec(("text",), causal=True),
}
every_backend = pytest.mark.parametrize("backend", BACKENDS)
every_spec = pytest.mark.parametrize("spec", SPECS.values(), ids=SPECS.keys())


def complete(s: Structure) -> Structure:
    return s.with_spec(replace(s.spec, cross="dialogue", window=None))


def places_of(s: Structure) -> dict[str, list[tuple[int, int]]]:
    return {m: list(zip(s.dialogue[s.nodes[m]].tolist(), s.position[s.nodes[m]].tolist(), strict=True)) for m in s.spec.modalities}


def tensors_for(s: Structure, seed: int = 0, k: int = 3, out: int = 2) -> list[Tensor]:
    """All queries, then keys, then values."""
    return [normal(n, H, width, seed=seed + 10 * x + y) for x, width in enumerate((k, k, out)) for y, n in enumerate(s.sizes.values())]


def by_modality(s: Structure, tensors: Sequence[Tensor]) -> list[dict[str, Tensor]]:
    n = len(s.spec.modalities)
    return [dict(zip(s.spec.modalities, tensors[begin : begin + n], strict=True)) for begin in (0, n, 2 * n)]


def agree(s: Structure, backend: str, alone: str = "self", keep: dict | None = None, *, moved: bool = False) -> None:
    dropped = set()
    for (n, _, m), kept in (keep or {}).items():
        src, dst = (e[~kept].tolist() for e in complete(s).edges((n, "cross", m)))
        dropped |= {(n, j, m, i) for j, i in zip(src, dst, strict=True)}

    def fast(*tensors: Tensor) -> Tensor:
        y = cross_modal_attention(s, *by_modality(s, tensors), scale=1.7, alone=alone, keep=keep, backend=backend)
        assert list(y) == list(s.spec.modalities)
        assert all(x.shape == (s.sizes[m], max(1, len(y) - 1), H, 2) for m, x in y.items())
        return torch.cat(list(y.values()))

    def loop(*tensors: Tensor) -> Tensor:
        y = cross_modal_attention_loop(places_of(s), *by_modality(s, tensors), 1.7, alone, s.spec.causal, frozenset(dropped))
        return torch.cat(list(y.values()))

    tensors, count = tensors_for(s), len(s.spec.modalities)
    assert_agrees(fast, loop, *tensors, moved=range(3 * count) if moved else ())


def kept_for(s: Structure, seed: int = 1, rate: float = 0.5) -> dict[tuple[str, str, str], Tensor]:
    whole, generator = complete(s), torch.Generator().manual_seed(seed)
    return {t: torch.rand(len(whole.edges(t)[0]), generator=generator) < rate for t in whole.spec.edge_types if t[1] == "cross"}


@every_backend
@every_spec
@pytest.mark.parametrize("alone", ["self", "zeros"])
def test_agrees_with_the_loop(backend, spec, alone):
    agree(structure_for(spec, [1, 5, 2, 8]), backend, alone, moved=alone == "self" or len(spec.modalities) > 1)


ABSENT = {
    "a modality in a dialogue": [[1, 1, 0]] * 3 + [[1, 1, 1]] * 4,
    "a modality everywhere": [[1, 0, 1]] * 7,
    "two modalities in a dialogue": [[0, 1, 0]] * 3 + [[1, 1, 1]] * 4,
    "two modalities everywhere": [[0, 1, 0]] * 7,
    "a dialogue without any": [[0, 0, 0]] * 3 + [[1, 1, 1]] * 4,
    "the first utterances": [[1, 0, 0], [0, 0, 0], [1, 1, 1], [0, 1, 0], [0, 1, 0], [1, 1, 0], [0, 0, 1]],
    "each its own": [[1, 0, 0], [0, 1, 0], [0, 0, 1], [0, 1, 0], [0, 1, 0], [0, 1, 0], [0, 0, 1]],
}


@pytest.mark.parametrize("presence", ABSENT.values(), ids=ABSENT.keys())
@pytest.mark.parametrize("causal", [False, True])
def test_absent_modalities_beside_great_logits(presence, causal, monkeypatch):
    monkeypatch.setattr(cross_modal_blocks, "are_small", lambda *_: False)
    agree(Structure.of([3, 4], GraphSpec(M3, causal=causal), presence=presence), "dense")


def test_logits_are_small_as_long_as_none_can_be_great():
    q, k = torch.tensor([[3.0, 4.0], [0.0, 0.0]]), torch.tensor([[0.0, 1.0], [3.6, 4.8]])  # lengths 5 and 6: a logit of 30 at most
    assert cross_modal_blocks.are_small(q, k)
    assert not cross_modal_blocks.are_small(q * 1.01, k)
    assert not cross_modal_blocks.are_small(q, -k * 1.01)
    assert not cross_modal_blocks.are_small(q * float("nan"), k)
    assert cross_modal_blocks.are_small(q.double() * 9, k.double())


@every_backend
@pytest.mark.parametrize("presence", ABSENT.values(), ids=ABSENT.keys())
@pytest.mark.parametrize("causal", [False, True])
@pytest.mark.parametrize("alone", ["self", "zeros"])
def test_absent_modalities(backend, presence, causal, alone):
    agree(Structure.of([3, 4], GraphSpec(M3, causal=causal), presence=presence), backend, alone)


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
@every_backend
def test_a_batch_without_a_node_is_empty(backend, dtype):
    s = Structure.of([2, 1], GraphSpec(M3), presence=[[0, 0, 0]] * 3)
    leaves = [t.to(dtype).requires_grad_() for t in tensors_for(s)]
    y = cross_modal_attention(s, *by_modality(s, leaves), scale=1.0, backend=backend)
    assert all(x.shape == (0, 2, H, 2) for x in y.values())
    assert not any(x.any() for x in alone_nodes(s).values())


@pytest.mark.parametrize("tile", [1, 20, 150, 1000])
@pytest.mark.parametrize("spec", [SPECS["three"], SPECS["causal"], SPECS["one, causal"]], ids=["complete", "causal", "one"])
@pytest.mark.parametrize("kept", [False, True])
@pytest.mark.parametrize("small", [False, True])
def test_tiles_give_the_same(tile, spec, kept, small, monkeypatch):
    monkeypatch.setattr(cross_modal_blocks, "are_small", lambda *_: small)
    monkeypatch.setattr(cross_modal_blocks, "TILE", tile)
    monkeypatch.setattr(cross_modal_blocks, "ROWS", 3)
    s = structure_for(spec, [11, 3, 1, 9])
    agree(s, "dense", keep=kept_for(s) if kept else None, moved=True)


@settings(max_examples=40, deadline=None)
@given(
    st.data(),
    st.lists(st.integers(1, 6), min_size=1, max_size=4),
    st.sampled_from([("text",), M2, M3, M4]),
    st.booleans(),
    st.sampled_from(["self", "zeros"]),
    st.sampled_from([0.0, 0.3, 0.8]),
)
def test_any_shape(data, lengths, modalities, causal, alone, drop):
    s = structure_for(GraphSpec(modalities, causal=causal), lengths, drop=drop, seed=data.draw(st.integers(0, 99)))
    keep = kept_for(s, data.draw(st.integers(0, 9))) if data.draw(st.booleans()) else None
    agree(s, data.draw(st.sampled_from(BACKENDS)), alone, keep)


@settings(max_examples=60, deadline=None)
@given(st.lists(st.integers(1, 6), min_size=1, max_size=4), st.sampled_from([("text",), M2, M3]), st.booleans(), st.integers(0, 99))
def test_alone_is_who_hears_no_other_modality(lengths, modalities, causal, seed):
    s = structure_for(GraphSpec(modalities, causal=causal), lengths, drop=0.7, seed=seed)
    places, got = places_of(s), alone_nodes(s)
    for m in modalities:
        others = [place for n in modalities if n != m for place in places[n]]
        assert got[m].tolist() == [not any(e == d and (r <= p or not causal) for e, r in others) for d, p in places[m]]
    on_graph = alone_nodes(complete(s).graph())
    assert all(torch.equal(on_graph[m], got[m]) for m in modalities)


@every_backend
@pytest.mark.parametrize("spec", [SPECS["three"], SPECS["causal"]], ids=["complete", "causal"])
def test_keep_removes_pairs_and_a_row_without_any_gets_zeros(backend, spec):
    s = structure_for(spec, [5, 3])
    keep = kept_for(s)
    del keep["audio", "cross", "text"]  # all of them exist
    dst = complete(s).edges(("text", "cross", "visual"))[1]
    keep["text", "cross", "visual"][dst == 2] = False
    agree(s, backend, keep=keep)
    y, weights = cross_modal_attention(s, *by_modality(s, tensors_for(s)), scale=1.0, keep=keep, backend=backend, return_weights=True)
    assert (y["visual"][2, 0] == 0).all()
    assert (y["visual"][2, 1] != 0).all(), "a place of its own for each modality"
    for t, kept in keep.items():
        assert (weights[t][~kept] == 0).all()


@every_backend
def test_who_is_alone_does_not_depend_on_what_is_kept(backend):
    s = Structure.of([2], GraphSpec(M2), presence=[[1, 1], [1, 0]])
    keep = {t: torch.zeros(2, dtype=torch.bool) for t in (("text", "cross", "audio"), ("audio", "cross", "text"))}
    y = cross_modal_attention(s, *by_modality(s, tensors_for(s)), scale=1.0, keep=keep, backend=backend)
    assert all((x == 0).all() for x in y.values())


@every_backend
@every_spec
def test_weights_sum_to_one_and_make_the_output(backend, spec):
    s = structure_for(spec, [4, 1, 6])
    q, k, v = by_modality(s, tensors_for(s))
    y, weights = cross_modal_attention(s, q, k, v, scale=2.0, alone="zeros", backend=backend, return_weights=True)
    types = [t for t in complete(s).spec.edge_types if t[1] == "cross"]
    assert set(weights) == set(types)
    for t in types:
        (n, _, m), (src, dst) = t, complete(s).edges(t)
        assert weights[t].shape == (len(src), H)
        total = torch.zeros(s.sizes[m], H, dtype=torch.float64).index_add(0, dst, weights[t])
        torch.testing.assert_close(total[dst], torch.ones(len(dst), H, dtype=torch.float64), rtol=0, atol=1e-12)
        made = torch.zeros(s.sizes[m], H, 2, dtype=torch.float64).index_add(0, dst, weights[t][:, :, None] * v[n][src])
        place = [other for other in spec.modalities if other != m].index(n)
        torch.testing.assert_close(made, y[m][:, place], rtol=0, atol=1e-12)


@every_backend
@pytest.mark.parametrize("spec", [SPECS["three"], SPECS["causal"], SPECS["one"]], ids=["complete", "causal", "one"])
def test_a_batch_gives_what_its_dialogues_give_alone(backend, spec):
    s = structure_for(spec, [4, 9, 1, 6], drop=0.5)
    tensors = by_modality(s, tensors_for(s))
    together = cross_modal_attention(s, *tensors, scale=2.0, backend=backend)
    for d in range(4):
        rows = {m: rows_of(s, d, m) for m in spec.modalities}
        alone = cross_modal_attention(s.select([d]), *({m: x[m][rows[m]] for m in x} for x in tensors), scale=2.0, backend=backend)
        for m in spec.modalities:
            torch.testing.assert_close(alone[m], together[m][rows[m]], rtol=0, atol=1e-12)


@every_backend
@pytest.mark.parametrize("presence", [ABSENT["the first utterances"], [[1, 0, 0]] * 4 + [[1, 1, 1]] * 3])
def test_causal_hears_nothing_later(backend, presence):
    s = Structure.of([7], GraphSpec(M3, causal=True), presence=presence)
    for cut in (2, 4):
        early = Structure.of([cut], s.spec, presence=presence[:cut])
        tensors = by_modality(s, tensors_for(s))
        before = cross_modal_attention(early, *({m: x[m][: early.sizes[m]] for m in x} for x in tensors), scale=1.0, backend=backend)
        after = cross_modal_attention(s, *tensors, scale=1.0, backend=backend)
        for m in M3:
            torch.testing.assert_close(after[m][: early.sizes[m]], before[m], rtol=0, atol=1e-12)


@every_backend
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("spec", [SPECS["three"], SPECS["causal"]], ids=["complete", "causal"])
def test_great_logits_of_either_sign_stay_finite(backend, dtype, spec):
    s = Structure.of([4, 2], spec)
    for sign in (1.0, -1.0):
        q = {m: (3000 * (1 + torch.arange(6.0, dtype=dtype))).view(6, 1, 1).repeat(1, H, 1) for m in M3}
        q = {m: x.requires_grad_() for m, x in q.items()}
        v = {m: normal(6, H, 2, seed=n).to(dtype).requires_grad_() for n, m in enumerate(M3)}
        y = cross_modal_attention(s, q, {m: sign * x for m, x in q.items()}, v, scale=1.0, backend=backend)
        torch.cat(list(y.values())).square().sum().backward()
        assert all(torch.isfinite(x).all() for x in y.values())
        assert all(torch.isfinite(x.grad).all() for x in [*q.values(), *v.values()])
        if not spec.causal:  # the greatest key alone is heard, or the least
            best = torch.tensor([3, 3, 3, 3, 5, 5]) if sign > 0 else torch.tensor([0, 0, 0, 0, 4, 4])
            torch.testing.assert_close(y["text"][:, 0], v["audio"][best], rtol=0, atol=1e-6)


def test_a_narrow_dialogue_beside_a_long_one_is_not_put_out_by_padding():
    """All logits far below 0, the logit of an empty slot."""
    s = Structure.of([1, 40], GraphSpec(M2))
    q, v = {m: torch.full((41, 1, 1), 30.0) for m in M2}, {m: torch.arange(41.0).view(41, 1, 1) + 1 for m in M2}
    y = cross_modal_attention(s, q, {m: -x for m, x in q.items()}, v, scale=1.0)
    torch.testing.assert_close(y["text"][0], v["audio"][:1], rtol=0, atol=1e-6)


@every_backend
def test_what_overflows_stays_in_its_dialogue(backend):
    s = structure_for(SPECS["three"], [4, 5, 3], drop=0.0)
    for spoilt in range(3):
        tensors = by_modality(s, tensors_for(s))
        tensors[spoilt]["audio"][0] = torch.inf
        leaves = [{m: x.requires_grad_() for m, x in each.items()} for each in tensors]
        y = cross_modal_attention(s, *leaves, scale=1.0, backend=backend)
        sum(x[4:].sum() for x in y.values()).backward()
        assert all(torch.isfinite(x[4:]).all() for x in y.values())
        if backend == "dense":
            assert all(torch.isfinite(x.grad[4:]).all() for each in leaves for x in each.values())


@pytest.mark.parametrize("backend", ["dgl", "scatter"])
def test_takes_any_heterograph_of_the_schema(backend):
    """Its edges as they are: here those within utterances, and nobody of its own modality to hear when alone."""
    s = structure_for(GraphSpec(M3, window=1), [3, 5])
    q, k, v = by_modality(s, tensors_for(s))
    graph = s.graph()
    y, weights = cross_modal_attention(graph, q, k, v, scale=2.0, backend=backend, return_weights=True)
    lonely, same = alone_nodes(graph), {m: s.edges((m, "same", m)) for m in M3}
    assert any(x.any() for x in lonely.values())
    for m in M3:
        for place, n in enumerate(other for other in M3 if other != m):
            src, dst = s.edges((n, "cross", m))
            want = torch.zeros(s.sizes[m], H, 2, dtype=torch.float64).index_copy(0, dst, v[n][src])  # one neighbour at most
            assert (weights[n, "cross", m] == 1).all()
            for i in lonely[m].nonzero()[:, 0].tolist():
                near = [i, *same[m][0][same[m][1] == i].tolist()]
                share = torch.softmax(torch.einsum("hk,jhk->hj", q[m][i], k[m][near]) / 2.0, dim=1)
                want[i] = torch.einsum("hj,jhk->hk", share, v[m][near])
            torch.testing.assert_close(y[m][:, place], want, rtol=0, atol=1e-12)


def test_gradcheck():
    for spec in (SPECS["three"], SPECS["causal"]):
        s = structure_for(spec, [3, 2])
        for backend in BACKENDS:

            def f(*tensors, s=s, backend=backend):
                return tuple(cross_modal_attention(s, *by_modality(s, tensors), scale=1.5, backend=backend).values())

            assert torch.autograd.gradcheck(f, [t.requires_grad_() for t in tensors_for(s)])


def test_a_long_dialogue_does_not_hold_its_pairs(monkeypatch):
    """Numbers made at a time: a tile, not M (M - 1) H L^2."""
    made, bmm, s = [], torch.bmm, Structure.of([3000], GraphSpec(M2))
    q = {m: torch.randn(3000, 1, 2, requires_grad=True) for m in M2}

    def noted(a: Tensor, b: Tensor, **out: Tensor) -> Tensor:
        made.append(len(a) * a.shape[1] * b.shape[2])
        return bmm(a, b, **out)

    monkeypatch.setattr(torch, "bmm", noted)
    y = cross_modal_attention(s, q, q, q, scale=1.0)
    sum(x.sum() for x in y.values()).backward()
    assert 0 < max(made) <= max(cross_modal_blocks.TILE, cross_modal_blocks.ROWS * 3000)


@every_backend
def test_gradients_beside_great_logits_are_as_exact_as_float32(backend):
    """Logits near 10^4, whose spacing is 10^-3: what is made again in the backward pass must be what was made before."""
    s = Structure.of([3], GraphSpec(M2))
    runs = []
    for dtype in (torch.float32, torch.float64):
        q = {m: torch.full((3, 1, 1), 64.0, dtype=dtype, requires_grad=True) for m in M2}
        k = {m: torch.tensor([128.0, 128.0, 128.0 - 2**-7], dtype=dtype).view(3, 1, 1).requires_grad_() for m in M2}
        v = {m: torch.tensor([1.0, 2.0, 4.0], dtype=dtype).view(3, 1, 1).requires_grad_() for m in M2}
        y = cross_modal_attention(s, q, k, v, scale=1.0, backend=backend)
        leaves = [*q.values(), *k.values(), *v.values()]
        runs.append([*y.values(), *torch.autograd.grad(sum(x.sum() for x in y.values()), leaves)])
    for got, want in zip(*runs, strict=True):
        torch.testing.assert_close(got.double(), want, rtol=1e-5, atol=1e-4)


def test_rows_of_nobody_alone_cost_nothing(monkeypatch):
    def refuse(_: object) -> None:
        raise AssertionError("looked for")

    monkeypatch.setattr(sys.modules["dgl_merc.kernels.cross_modal_attention"], "alone_nodes", refuse)
    s = Structure.of([3, 2], GraphSpec(M3))
    cross_modal_attention(s, *by_modality(s, tensors_for(s)), scale=1.0)


KEY = ("text", "cross", "audio")


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"q": {"text": torch.zeros(3, 4), "audio": torch.zeros(3, 2, 4)}}, r"q\['text'\] must be \[3, H, K\], got \[3, 4\]"),
        ({"k": {"text": torch.zeros(3, 2, 4), "audio": torch.zeros(2, 2, 4)}}, r"k\['audio'\] must be \[3, H, K\], got \[2, 2, 4\]"),
        ({"k": {m: torch.zeros(3, 2, 5) for m in M2}}, r"q and k must be \[N, H, K\] .* got \[\[3, 2, 4\], \[3, 2, 5\], \[3, 2, 4\]\]"),
        ({"v": {m: torch.zeros(3, 1, 4) for m in M2}}, r"v \[N, H, K'\]"),
        ({"v": {m: torch.zeros(3, 2, 4 + n) for n, m in enumerate(M2)}}, "the same for all modalities"),
        ({x: {m: torch.zeros(3, 2, 4 + n) for n, m in enumerate(M2)} for x in "qk"}, "the same for all modalities"),
        ({"q": {"text": torch.zeros(3, 2, 4)}}, r"q must hold the modalities \['text', 'audio'\], got \['text'\]"),
        ({"v": torch.zeros(3, 2, 4)}, "v must be a mapping from modalities, got a Tensor"),
        ({"keep": torch.zeros(9, dtype=torch.bool)}, "keep must be a mapping from edge types or None, got a Tensor"),
        ({"keep": {KEY: torch.zeros(8, dtype=torch.bool)}}, r"keep\[\('text', 'cross', 'audio'\)\] must be \[E=9\], got \[8\]"),
        ({"keep": {KEY: torch.zeros(9)}}, "must be bool"),
        ({"keep": {("text", "same", "text"): torch.zeros(9, dtype=torch.bool)}}, "keep names edge types that are not there"),
        ({"alone": "skip"}, "alone must be one of 'self', 'zeros', got 'skip'"),
        ({"scale": 0.0}, "scale must be greater than 0, got 0.0"),
        ({"scale": float("nan")}, "scale must be greater than 0, got nan"),
        ({"backend": "cuda"}, "backend must be"),
    ],
)
@pytest.mark.parametrize("backend", ["dense", "scatter"])
def test_says_what_does_not_fit(change, said, backend):
    s = Structure.of([3], GraphSpec(M2))
    arguments = {name: {m: torch.zeros(3, 2, 4) for m in M2} for name in "qkv"} | {"scale": 1.0, "backend": backend} | change
    with pytest.raises(ValueError, match=said) as raised:
        cross_modal_attention(s, arguments.pop("q"), arguments.pop("k"), arguments.pop("v"), **arguments)
    assert "\n" not in str(raised.value)
