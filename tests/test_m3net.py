"""M3NET against its equations, node by node and hyperedge by hyperedge."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch
from helpers import M2, M3, assert_agrees, at_utterance, features_for, newest, normal, structure_for
from test_mmgcn import joined, nodes_of
from torch import Tensor

from dgl_merc.graphs import GraphSpec, Past, Structure
from dgl_merc.layers import HypergraphConvolutions
from dgl_merc.models import ModelInput, build_model
from dgl_merc.models.m3net import M3NetOptions

D, CLASSES = 5, 4
SPECS = {
    "complete": GraphSpec(M3),
    "window": GraphSpec(M2, window=2),
    "causal": GraphSpec(M2, causal=True),
    "causal window": GraphSpec(M3, window=1, cross="dialogue", causal=True),
    "one modality": GraphSpec(("audio",)),
}
every_spec = pytest.mark.parametrize("spec", SPECS.values(), ids=SPECS.keys())


def hypergraph_loop(s: Structure, h: Tensor, layers: list[tuple[Tensor, Tensor]]) -> Tensor:
    """Node -> hyperedge -> node; ``layers`` hold [M, D, 2] vectors of gamma and [M + 1] log omega."""
    nodes, names, rows = nodes_of(s), list(s.spec.modalities), list(h)

    def mean(members: list[int], kind: int, node: Tensor) -> Tensor:
        gamma = [1 / (1 + torch.exp(-(rows[v] @ node[names.index(nodes[v][0]), :, kind]))) for v in members]
        return sum(g * rows[v] for g, v in zip(gamma, members, strict=True)) / sum(gamma)

    for node, edge in layers:
        out = []
        for i, (m, u) in enumerate(nodes):
            multimodal = [j for j, (_, v) in enumerate(nodes) if v == u]
            contextual = [j for j, (n, _) in enumerate(nodes) if j == i or (n == m and joined(s, nodes[i], nodes[j]))]
            omega = edge[names.index(m)].exp(), edge[-1].exp()
            total = omega[0] * mean(contextual, 1, node) + omega[1] * mean(multimodal, 0, node)
            out.append((total / (omega[0] + omega[1])).clamp(min=0))
        rows = out
    return torch.stack(rows)


def frequency_loop(s: Structure, h: Tensor, vectors: list[Tensor]) -> Tensor:
    nodes, rows = nodes_of(s), list(h)
    near = [[j for j in range(len(nodes)) if joined(s, nodes[i], nodes[j])] for i in range(len(nodes))]
    size = [max(len(n), 1) for n in near]
    for g in vectors:
        out = []
        for i, row in enumerate(rows):
            low = [torch.sigmoid(2 * (row @ g[0] + rows[j] @ g[1])) for j in near[i]]  # r^l, as tanh(x) = 2 sigmoid(2 x) - 1
            messages = [(r - (1 - r)) / (size[i] * size[j]) ** 0.5 * rows[j] for r, j in zip(low, near[i], strict=True)]
            out.append(row + sum(messages))
        rows = out
    return torch.stack(rows)


@every_spec
def test_the_hypergraph_agrees_with_a_loop_over_hyperedges(spec):
    s, count = structure_for(spec, [1, 4, 5]), len(spec.modalities)
    layer, sizes = HypergraphConvolutions(count, D, 2).double(), list(s.sizes.values())

    def fast(h: Tensor, *weights: Tensor) -> Tensor:
        given = {f"{name}.{k}": w for (name, k), w in zip([("node", 0), ("edge", 0), ("node", 1), ("edge", 1)], weights, strict=True)}
        x = dict(zip(s.sizes, h.split(sizes), strict=True))
        return torch.cat(list(torch.func.functional_call(layer, given, (s, x)).values()))

    shapes = [(count, D, 2), (count + 1,)] * 2
    inputs = [normal(sum(sizes), D, seed=1), *(normal(*shape, seed=2 + k) for k, shape in enumerate(shapes))]
    assert_agrees(fast, lambda h, *w: hypergraph_loop(s, h, [w[:2], w[2:]]), *inputs, moved=(0, 1, 2, 3))


def model_for(spec: GraphSpec, **options: Any) -> Any:
    torch.manual_seed(0)
    given = ModelInput(dict.fromkeys(spec.modalities, 3), CLASSES, spec)
    model = build_model("m3net", given, M3NetOptions(D, **options)).double().eval()
    for k, p in enumerate([*model.hypergraph.parameters()]):
        p.data = normal(*p.shape, seed=50 + k)  # zeros make plain means
    return model


@every_spec
def test_the_model_agrees_with_a_loop_over_utterances(spec):
    s = structure_for(spec, [1, 3, 6])
    model, x = model_for(spec, speaker_rows=2), features_for(s, 3, 1)
    encoded, nodes = model.encoder(s, x), nodes_of(s)
    place = {node: k for k, node in enumerate(nodes)}
    rows = torch.cat([encoded[m] for m in spec.modalities])
    v = torch.stack([rows[k] + model.speakers.table.weight[min(int(s.speakers[u]), 1)] for k, (_, u) in enumerate(nodes)])
    y = hypergraph_loop(s, v, list(zip(model.hypergraph.node, model.hypergraph.edge, strict=True)))
    z = frequency_loop(s, v, list(model.frequency.vectors))
    first, last = model.head.layers[1], model.head.layers[4]
    want = []
    for u in range(s.num_utterances):
        parts = [part[place[m, u]] if (m, u) in place else torch.zeros(D).double() for part in (y, z) for m in spec.modalities]
        want.append(last.weight @ (first.weight @ torch.cat(parts) + first.bias).clamp(min=0) + last.bias)
    torch.testing.assert_close(model(s, x).logits, torch.stack(want), rtol=0, atol=1e-10)


def test_fresh_hyperedges_are_plain_means():
    s = structure_for(GraphSpec(M2), [4], drop=0.0)
    x = {m: v.abs() for m, v in features_for(s, D, 1).items()}
    y = HypergraphConvolutions(2, D, 1).double()(s, x)
    both = (x["text"] + x["audio"]) / 2
    for m in M2:
        torch.testing.assert_close(y[m], (x[m].mean(0) + both) / 2, rtol=0, atol=1e-12)


@pytest.mark.parametrize("spec", [SPECS["one modality"], replace(SPECS["one modality"], causal=True)], ids=["complete", "causal"])
def test_of_one_modality_the_multimodal_hyperedge_gives_back_its_node(spec):
    s = structure_for(spec, [4, 1], drop=0.0)
    x, layer = features_for(s, D, 1), HypergraphConvolutions(1, D, 1).double()
    layer.edge[0].data = torch.tensor([-90.0, 90.0]).double()
    torch.testing.assert_close(layer(s, x)["audio"], x["audio"].clamp(min=0), rtol=0, atol=1e-12)


@pytest.mark.parametrize("spec", [SPECS["causal"], SPECS["causal window"]], ids=["causal", "causal window"])
def test_a_causal_hyperedge_ends_at_its_node(spec):
    s = structure_for(spec, [7, 3], drop=0.0)
    x, layer = features_for(s, D, 1), HypergraphConvolutions(len(spec.modalities), D, 3).double()
    for k, p in enumerate(layer.parameters()):
        p.data = normal(*p.shape, seed=k)
    changed = {m: torch.where((s.nodes[m] == 4)[:, None], 3 - v, v) for m, v in x.items()}
    before, after = layer(s, x), layer(s, changed)
    for m in spec.modalities:
        assert torch.equal(before[m][:4], after[m][:4])
        assert not torch.allclose(before[m][4:7], after[m][4:7])


@pytest.mark.parametrize("spec", [SPECS["causal"], SPECS["causal window"]], ids=["causal", "causal window"])
def test_one_by_one_is_the_whole_with_learnt_hyperedges(spec):
    s = structure_for(spec, [7])
    x, past, model = features_for(s, 3, 1), Past(7), model_for(spec)
    with torch.inference_mode():
        whole = model(s, x).logits
        for u in range(7):
            past.begin()
            said = model(newest(s, u, past), at_utterance(s, u, x)).logits
            past.keep()
            torch.testing.assert_close(said, whole[u : u + 1], rtol=0, atol=1e-10)


def test_long_windowed_dialogues_in_pieces(monkeypatch):
    spec = GraphSpec(M2, window=2)
    s = structure_for(spec, [23, 2])
    x, layer = features_for(s, D, 1), HypergraphConvolutions(2, D, 2).double()
    for k, p in enumerate(layer.parameters()):
        p.data = normal(*p.shape, seed=k)
    whole = layer(s, x)
    monkeypatch.setattr("dgl_merc.graphs.blocks.PIECE", 2)
    monkeypatch.setattr("dgl_merc.graphs.blocks.PRICE", 0.0)
    pieces = structure_for(spec, [23, 2])
    assert pieces.blocks(M2, 2, 2).blocks[0].halo is not None
    for m, y in layer(pieces, x).items():
        torch.testing.assert_close(y, whole[m], rtol=0, atol=1e-12)


def test_hostile_values_have_finite_gradients():
    s = structure_for(GraphSpec(M2, causal=True), [5], drop=0.0)
    layer = HypergraphConvolutions(2, D, 2)
    for p in layer.node:
        p.data = torch.full_like(p, -100.0)  # gamma underflows
    x = {m: v.abs().float().requires_grad_() for m, v in features_for(s, D, 1).items()}
    y = layer(s, x)
    sum(v.square().sum() for v in y.values()).backward()
    assert all(torch.isfinite(v).all() for v in y.values())
    assert all(torch.isfinite(v.grad).all() for v in x.values())
