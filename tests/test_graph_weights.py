"""Blocks, arccos similarity, the weights along edges, and the common space they need."""

from __future__ import annotations

import math
from dataclasses import replace
from itertools import combinations
from unittest.mock import patch

import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.cross_decomposition import CCA
from torch import Tensor

from dgl_merc.corpus import Corpus, Scaling
from dgl_merc.graphs import GraphSpec, Structure, arccos_similarity, edge_similarity
from dgl_merc.graphs.blocks import Blocks, cut_lengths
from dgl_merc.graphs.common_space import CommonSpace, canonical_correlation
from dgl_merc.graphs.similarity import arccos_weights, unit_rows
from dgl_merc.graphs.weights import feature_weights, similarity_along

M2, M3 = ("text", "audio"), ("text", "audio", "visual")


def random_structure(spec: GraphSpec, lengths: list[int], drop: float = 0.4, seed: int = 0) -> Structure:
    generator = torch.Generator().manual_seed(seed)
    presence = torch.rand(sum(lengths), len(spec.modalities), generator=generator) >= drop
    return Structure.of(lengths, spec, presence=presence.tolist())


def draw_rows(rows: int, width: int, seed: int) -> Tensor:
    return torch.randn(rows, width, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


# --- blocks


def area(lengths: list[int], cuts: list[int]) -> int:
    return sum(next(c for c in cuts if c >= n) ** 2 for n in lengths)


@settings(max_examples=100, deadline=None)
@given(st.lists(st.integers(1, 30), min_size=1, max_size=14), st.integers(1, 5))
def test_cuts_are_the_best_there_are(lengths, most):
    cuts = cut_lengths(lengths, most)
    assert cuts == sorted(set(cuts))
    assert len(cuts) <= most
    assert cuts[-1] == max(lengths)
    others = sorted(set(lengths) - {max(lengths)})
    best = min(area(lengths, [*chosen, max(lengths)]) for k in range(min(most, len(others) + 1)) for chosen in combinations(others, k))
    assert area(lengths, cuts) == best


def test_cuts_of_a_corpus_of_many_lengths():
    lengths = np.random.default_rng(0).integers(1, 1000, 5000).tolist()
    cuts = cut_lengths(lengths)
    assert cuts[-1] == max(lengths)
    assert area(lengths, cuts) < 1.02 * min(area(lengths, [*c, max(lengths)]) for c in combinations(range(150, 1000, 100), 3))


def test_a_block_has_its_price():
    lengths = [3, 3, 4, 20, 21]
    assert cut_lengths(lengths, price=50) == [4, 21]
    saved = area(lengths, [21]) - area(lengths, [4, 21])
    assert cut_lengths(lengths, price=saved - 1) == [4, 21]
    assert cut_lengths(lengths, price=saved + 1) == [21]


def reached(s: Structure, before: int | None, after: int | None, u: int, v: int) -> bool:
    """Whether utterance v may be a column of utterance u."""
    apart = v - u
    return bool(s.dialogue[u] == s.dialogue[v]) and (before is None or apart >= -before) and (after is None or apart <= after)


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.integers(1, 9), min_size=1, max_size=8),
    st.integers(0, 5),
    st.sampled_from([(None, None), (None, 0), (0, 0), (1, 2), (2, 0), (0, 3), (9, 9)]),
    st.sampled_from([1, 2, 5, 100]),
)
def test_padding_and_back(lengths, seed, reach, piece):
    s = random_structure(GraphSpec(M2), lengths, seed=seed)
    with patch("dgl_merc.graphs.blocks.PIECE", piece), patch("dgl_merc.graphs.blocks.PRICE", 0.0):
        blocks = Blocks(s, M2, *reach)
    stacked = [(k, int(u)) for k, m in enumerate(M2) for u in s.nodes[m]]
    x = torch.arange(1.0, len(stacked) + 1)[:, None].repeat(1, 2).requires_grad_()
    padded, seen = blocks.pad(x), []
    for block, rows in zip(blocks.blocks, padded, strict=True):
        columns = block.spread(rows)
        assert columns.shape[2] == block.columns
        for p, d in enumerate(block.dialogues.tolist()):
            for r in range(block.rows):
                position = int(block.first[p]) + r
                u = int(s.offsets[d]) + position
                inside = position < int(s.lengths[d])
                assert bool(block.valid[p, r]) == inside
                if not inside:
                    assert (rows[p, :, r] == 0).all()
                    continue
                seen.append(u)
                for k in range(2):
                    there = bool(s.presence[u, k])
                    assert bool(block.filled[p, k, r]) == there
                    assert rows[p, k, r].tolist() == [stacked.index((k, u)) + 1.0 if there else 0.0] * 2
                mine = {int(s.offsets[d]) + position - block.before - r + c: c for c in range(block.columns)}
                for v in range(s.num_utterances):
                    if reached(s, *reach, u, v):
                        assert torch.equal(columns[p, :, mine[v]], rows_of_utterance(s, stacked, x, v)), (
                            "what it may hear is not where it should be"
                        )
                        assert block.within is None or bool(block.within[p, mine[v]])
    assert sorted(seen) == list(range(s.num_utterances)), "every utterance is a row once"
    assert torch.equal(blocks.unpad(padded), x)
    (back,) = torch.autograd.grad(sum((part * (k + 2)).sum() for k, part in enumerate(padded)), x)
    own = torch.cat([torch.full_like(part, k + 2.0) for k, part in enumerate(v.flatten(0, 2) for v in padded)])[blocks.place]
    assert torch.equal(back, own)


def rows_of_utterance(s: Structure, stacked: list[tuple[int, int]], x: Tensor, u: int) -> Tensor:
    """[M, 2] what stands at an utterance: its nodes' rows, zero where a modality is absent."""
    return torch.stack([x[stacked.index((k, u))].detach() if s.presence[u, k] else torch.zeros(2) for k in range(2)])


def test_the_gradient_of_unpadding_leaves_empty_slots_alone():
    s = random_structure(GraphSpec(M2), [2, 5], seed=1)
    blocks = Blocks(s, M2)
    parts = [torch.randn(*b.slots.shape, 3).requires_grad_() for b in blocks.blocks]
    gradients = torch.autograd.grad(blocks.unpad(parts).sum(), parts)
    for block, gradient in zip(blocks.blocks, gradients, strict=True):
        assert torch.equal(gradient, block.filled.unsqueeze(-1).expand_as(gradient).float())


@settings(max_examples=40, deadline=None)
@given(st.lists(st.integers(1, 7), min_size=1, max_size=6), st.integers(0, 5), st.booleans(), st.sampled_from([None, 1, 3]))
def test_padded_pairs_stand_where_their_nodes_do(lengths, seed, joint, window):
    spec = GraphSpec(M2, cross="dialogue", window=window)
    s = random_structure(spec, lengths, drop=0.2, seed=seed)
    with patch("dgl_merc.graphs.blocks.PIECE", 2), patch("dgl_merc.graphs.blocks.PRICE", 0.0):
        blocks = Blocks(s, M2, window, window)
    start = {"text": 0, "audio": s.sizes["text"]}
    types = [t for t in spec.message_types if joint or t[1] == "same"]
    pairs = [(j + start[t[0]], i + start[t[2]]) for t in types for j, i in zip(*(v.tolist() for v in s.edges(t)), strict=True)]
    if not pairs:
        return
    src, dst = (torch.tensor(v) for v in zip(*pairs, strict=True))
    values = torch.arange(1.0, len(pairs) + 1)
    nodes, got = blocks.pad(torch.arange(len(blocks.place))), {}
    for block, numbers, part in zip(blocks.blocks, nodes, blocks.pad_pairs(values, src, dst, joint=joint), strict=True):
        columns = block.spread(numbers)
        for index in part.nonzero().tolist():
            b, t, r, *column = index
            other, c = column if joint else (t, column[0])
            assert block.filled[b, t, r]
            got[int(columns[b, other, c]), int(numbers[b, t, r])] = float(part[tuple(index)])
    assert got == dict(zip(pairs, values.tolist(), strict=True))


# --- similarity


@pytest.mark.parametrize("normalise", [True, False])
def test_arccos_weights_with_factor_and_loops(normalise):
    c = (torch.rand(2, 4, 4, dtype=torch.float64, generator=torch.Generator().manual_seed(0)) * 1.8 - 0.9).requires_grad_()
    factor = torch.tensor([0.0, 1.0, 2.5, 1.0], dtype=torch.float64).expand(4, 4)

    def diagonal(m: Tensor) -> Tensor:
        return m.diagonal(1, -2, -1)

    def weights(c: Tensor) -> Tensor:
        return arccos_weights(c, normalise=normalise, factor=factor, loops=diagonal)

    got, want = weights(c), (1 - torch.arccos(c) / (math.pi if normalise else 1.0)) * factor
    off = torch.ones(4, 4, dtype=torch.bool)
    diagonal(off).fill_(False)
    torch.testing.assert_close(got[:, off], want[:, off], rtol=0, atol=1e-12)
    assert (diagonal(got) == 1).all()
    assert torch.autograd.gradcheck(weights, c)
    (gradient,) = torch.autograd.grad(got.sum(), c)
    assert (diagonal(gradient) == 0).all()
    assert (gradient[:, :, 2].abs() > 0).any()


def test_a_zero_row_stays_zero_and_so_does_its_gradient():
    x = torch.tensor([[0.0, 0.0], [3.0, 4.0], [1e-9, 0.0]], dtype=torch.float64, requires_grad=True)
    unit = unit_rows(x)
    torch.testing.assert_close(unit, torch.tensor([[0.0, 0.0], [0.6, 0.8], [0.0, 0.0]], dtype=torch.float64))
    (gradient,) = torch.autograd.grad(unit[:, 0].sum(), x)
    torch.testing.assert_close(gradient, torch.tensor([[0.0, 0.0], [0.128, -0.096], [0.0, 0.0]], dtype=torch.float64))
    assert torch.autograd.gradcheck(unit_rows, torch.tensor([[1.0, 2.0, -0.5], [0.1, 0.0, 3.0]], dtype=torch.float64, requires_grad=True))


def test_similarity_is_exact():
    cosines = [-1.0, -1 + 1e-12, -0.999999, -0.5, -1e-9, 0.0, 0.3, 0.5, 0.9999999, 1 - 1e-15, 1.0]
    got = arccos_similarity(torch.tensor(cosines, dtype=torch.float64))
    for value, c in zip(got.tolist(), cosines, strict=True):
        assert value == pytest.approx(1 - math.acos(c) / math.pi, abs=1e-15)
    assert arccos_similarity(torch.tensor([1 + 1e-7, -1 - 1e-7], dtype=torch.float64)).tolist() == [1.0, 0.0]
    assert arccos_similarity(torch.tensor([1.0, 0.0, -1.0])).tolist() == [1.0, 0.5, 0.0]


def test_gradient_is_the_analytic_one_and_bounded_at_the_ends():
    c = torch.linspace(-0.999, 0.999, 41, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(arccos_similarity, c)
    near = torch.tensor([1 - 1e-6, 1 - 1e-3, -1 + 1e-6], dtype=torch.float64, requires_grad=True)
    arccos_similarity(near).sum().backward()
    torch.testing.assert_close(near.grad, 1 / (math.pi * (1 - near.detach() ** 2).sqrt()), rtol=1e-9, atol=0)
    ends = torch.tensor([1.0, -1.0, 1.5], requires_grad=True)
    arccos_similarity(ends).sum().backward()
    torch.testing.assert_close(ends.grad, torch.full((3,), 1e3 / math.pi), rtol=1e-5, atol=0)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_short_floats_are_computed_as_float32(dtype):
    c = torch.tensor([0.1, -0.7, 1.0], dtype=dtype)
    assert torch.equal(arccos_similarity(c), arccos_similarity(c.float()))
    x = torch.randn(6, 40, generator=torch.Generator().manual_seed(0)).to(dtype)
    src, dst = torch.tensor([0, 1, 2, 5]), torch.tensor([3, 3, 4, 0])
    got = edge_similarity(x, x, src, dst)
    assert got.dtype == torch.float32
    assert torch.equal(got, edge_similarity(x.float(), x.float(), src, dst))
    s, t = Structure.of([6], GraphSpec(("text",))), ("text", "same", "text")
    assert torch.equal(similarity_along(s, t, x, x), similarity_along(s, t, x.float(), x.float()))


def cosine_by_hand(a: list[float], b: list[float]) -> float:
    norm = math.hypot(*a) * math.hypot(*b)
    return sum(p * q for p, q in zip(a, b, strict=True)) / norm if norm else 0.0


def test_edge_similarity_by_hand(monkeypatch):
    x, y = draw_rows(5, 3, 0), draw_rows(4, 3, 1)
    x[2], y[3] = 0.0, x[0] * -3
    src, dst = torch.tensor([0, 0, 1, 2, 4, 3]), torch.tensor([3, 1, 0, 2, 2, 3])
    want = [
        1 - math.acos(max(-1.0, cosine_by_hand(x[j].tolist(), y[i].tolist()))) / math.pi
        for j, i in zip(src.tolist(), dst.tolist(), strict=True)
    ]
    assert want[0] == pytest.approx(0, abs=1e-7)
    assert want[3] == 0.5
    for chunk in (1 << 22, 6, 1):  # in pieces: the same
        monkeypatch.setattr("dgl_merc.graphs.similarity._CHUNK", chunk)
        torch.testing.assert_close(edge_similarity(x, y, src, dst), torch.tensor(want, dtype=torch.float64), rtol=0, atol=1e-7)
    assert edge_similarity(x, y, src[:0], dst[:0]).shape == (0,)


def test_gradients_are_finite_at_equal_opposite_and_zero_rows():
    x = torch.tensor([[1.0, 2.0], [1.0, 2.0], [-2.0, -4.0], [0.0, 0.0]], requires_grad=True)
    src, dst = torch.tensor([0, 1, 2, 3, 3]), torch.tensor([1, 2, 3, 0, 3])
    out = edge_similarity(x, x, src, dst)
    torch.testing.assert_close(out, torch.tensor([1.0, 0.0, 0.5, 0.5, 0.5]), rtol=0, atol=4e-4)
    out.sum().backward()
    assert torch.isfinite(x.grad).all()
    assert torch.equal(unit_rows(torch.zeros(1, 3)), torch.zeros(1, 3))


SPECS = [
    GraphSpec(M3),
    GraphSpec(M3, cross="dialogue"),
    GraphSpec(M2, cross="dialogue", window=1),
    GraphSpec(M2, cross="dialogue", window=8, causal=True),
    GraphSpec(M2, cross="none", window=0),
]


@pytest.mark.parametrize("waste", [0.0, 1e9], ids=["along edges", "in blocks"])
@pytest.mark.parametrize("drop", [0.0, 0.5, 1.0])
@pytest.mark.parametrize("spec", SPECS, ids=str)
def test_weights_are_the_edges_similarities(spec, drop, waste, monkeypatch):
    monkeypatch.setattr("dgl_merc.graphs.weights._WASTE", waste)
    s = random_structure(spec, [4, 11, 1, 7, 2, 3], drop=drop)
    x = {m: draw_rows(s.sizes[m], 5, k) for k, m in enumerate(spec.modalities)}
    for rows in x.values():
        rows[1:2] = 0
    for t in spec.message_types:
        src, dst = s.edges(t)
        want = edge_similarity(x[t[0]], x[t[2]], src, dst)
        torch.testing.assert_close(similarity_along(s, t, x[t[0]], x[t[2]]), want, rtol=0, atol=1e-7)
        other = draw_rows(s.sizes[t[2]], 5, 9)
        torch.testing.assert_close(similarity_along(s, t, x[t[0]], other), edge_similarity(x[t[0]], other, src, dst), rtol=0, atol=1e-7)


def test_one_tensor_for_two_modalities_that_are_present_elsewhere():
    s = Structure.of([3], GraphSpec(M2, cross="dialogue"), presence=[[1, 0], [1, 1], [0, 1]])
    x = draw_rows(2, 4, 0)
    t = ("text", "cross", "audio")
    torch.testing.assert_close(similarity_along(s, t, x, x), edge_similarity(x, x, *s.edges(t)), rtol=0, atol=1e-7)


# --- the common space


def planted(signal: float, widths: tuple[int, int] = (12, 6), seed: int = 0, absent: float = 0.0, n: int = 1200) -> Corpus:
    """Two modalities that share a two-dimensional signal, in the midst of noise; half of the dialogues are train, half dev."""
    generator = np.random.default_rng(seed)
    shared = generator.normal(size=(n, 2)) * signal
    t = pd.DataFrame({"dialogue_id": [f"d{k // 6}" for k in range(n)], "position": [k % 6 for k in range(n)], "speaker": "s"})
    t["split"] = [("train", "dev")[(k // 6) % 2] for k in range(n)]
    features = {}
    for m, width in zip(M2, widths, strict=True):
        t[f"has_{m}"] = generator.random(n) >= absent
        x = shared @ generator.normal(size=(2, width)) + generator.normal(size=(n, width)) + 3
        features[m] = x[t[f"has_{m}"].to_numpy()]
    return Corpus.build("planted", t, features, {})


def test_canonical_correlation_against_scikit_learn():
    generator = np.random.default_rng(1)
    shared = generator.normal(size=(4000, 3)) * [1.5, 1.0, 0.6]
    a = shared @ generator.normal(size=(3, 6)) + generator.normal(size=(4000, 6))
    b = shared @ generator.normal(size=(3, 4)) + generator.normal(size=(4000, 4))
    a, b = a - a.mean(axis=0), b - b.mean(axis=0)
    p, q = canonical_correlation(a, b, 3, 0.0)
    assert (p.shape, q.shape) == ((6, 3), (4, 3))
    ours = [np.corrcoef(a @ p[:, k], b @ q[:, k])[0, 1] for k in range(3)]
    x, y = CCA(3, scale=False, max_iter=5000, tol=1e-12).fit_transform(a, b)
    theirs = [abs(np.corrcoef(x[:, k], y[:, k])[0, 1]) for k in range(3)]
    np.testing.assert_allclose(ours, theirs, atol=1e-5)
    for k in range(3):  # the variates, too, but for sign and length
        assert abs(np.corrcoef(a @ p[:, k], x[:, k])[0, 1]) > 1 - 1e-4
    np.testing.assert_allclose(p.T @ (a.T @ a / len(a)) @ p, np.eye(3), atol=1e-9)
    np.testing.assert_allclose(p.T @ (a.T @ b / len(a)) @ q, np.diag(ours), atol=1e-9)
    shrunk = canonical_correlation(a, b, 9, 10.0)
    assert shrunk[0].shape == (6, 4), "no more components than the narrower side has"
    assert np.linalg.norm(shrunk[0][:, 0]) < np.linalg.norm(p[:, 0]), "a ridge makes projections smaller"


@pytest.mark.parametrize("absent", [0.0, 0.3])
def test_a_planted_signal_is_found_and_noise_is_not(absent):
    corpus = planted(2.0, absent=absent)
    found = CommonSpace.fit(corpus, Scaling.fit(corpus)).correlations
    assert list(found) == ["text-audio"]
    both = (corpus.presence[:, 0] & corpus.presence[:, 1]) & (np.repeat(corpus.splits, corpus.lengths) == "train")
    assert found["text-audio"]["train_utterances"] == both.sum()
    assert len(found["text-audio"]["train"]) == 6
    assert min(found["text-audio"]["dev"][:2]) > 0.8
    assert np.abs(found["text-audio"]["dev"][2:]).max() < 0.2
    noise = planted(0.0, absent=absent)
    measured = CommonSpace.fit(noise, Scaling.fit(noise)).correlations["text-audio"]
    assert np.abs(measured["dev"]).max() < 0.2
    assert measured["train"][0] > 0.1, "on train even noise correlates: that is why dev is kept"


def test_only_training_rows_shape_the_space():
    corpus = planted(1.0)
    table = corpus.utterances
    dev = (table["split"] == "dev").to_numpy()
    changed = {m: np.where(dev[:, None], x * 50 + 7, x) for m, x in corpus.features.items()}
    other = Corpus.build("other", table, changed, {})
    for m, n in (M2, M2[::-1]):
        one, two = (CommonSpace.fit(c, Scaling.fit(c)).projections[m, n] for c in (corpus, other))
        np.testing.assert_allclose(one, two, rtol=0, atol=1e-9)


def test_projection_by_hand_and_spaces_that_are_not_there():
    corpus = planted(2.0)
    scaling = Scaling.fit(corpus)
    space = CommonSpace.fit(corpus, scaling)
    x = scaling.apply("text", corpus.features["text"][:9])
    np.testing.assert_allclose(space.project("text", "audio", x), (x - space.means["text"]) @ space.projections["text", "audio"], rtol=1e-5)
    train = (corpus.utterances["split"] == "train").to_numpy()
    y = space.project("text", "audio", scaling.apply("text", corpus.features["text"]))[train]
    strength = space.correlations["text-audio"]["train"]
    assert y.std(axis=0)[0] == pytest.approx(strength[0], rel=0.15), "variates count as much as they correlate"
    assert y.std(axis=0)[-1] < 0.3
    assert space.project("text", "visual", x) is None
    few = planted(2.0, n=36)  # 18 training utterances
    assert dict(CommonSpace.fit(few, Scaling.fit(few)).projections) == {}


def test_feature_weights_go_through_the_space():
    corpus = planted(2.0, absent=0.3, n=300)
    scaling = Scaling.fit(corpus)
    space = CommonSpace.fit(corpus, scaling)
    s = Structure.of(corpus.lengths.tolist(), GraphSpec(M2, cross="dialogue"), presence=corpus.presence.tolist())
    x = {m: torch.from_numpy(scaling.apply(m, v)) for m, v in corpus.features.items()}
    got = feature_weights(s, x, space)
    assert set(got) == set(s.spec.message_types)
    for t, w in got.items():
        assert w.dtype == torch.float32
        a, b = x[t[0]], x[t[2]]
        if t[1] == "cross":
            a, b = (torch.from_numpy(space.project(m, n, x[m].numpy())) for m, n in ((t[0], t[2]), (t[2], t[0])))
        torch.testing.assert_close(w, edge_similarity(a.double(), b.double(), *s.edges(t)).float(), rtol=0, atol=1e-3)
    without = feature_weights(s, x, None)
    assert set(without) == {("text", "same", "text"), ("audio", "same", "audio")}
    assert set(feature_weights(s.with_spec(replace(s.spec, cross="none")), x, space)) == set(without)
