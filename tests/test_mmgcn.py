"""MMGCN against its equations, node by node."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import pytest
import torch
from helpers import M2, M3, assert_agrees, features_for, normal, structure_for
from torch import Tensor

from dgl_merc.graphs import GraphSpec, Structure
from dgl_merc.layers import ContextEncoder, ContextEncoderOptions, DeepGCN, DeepGCNOptions, Sequences
from dgl_merc.models import ModelInput, build_model
from dgl_merc.models.mmgcn import MMGCNOptions

D, CLASSES = 5, 4
SPECS = {
    "utterance": GraphSpec(M3),
    "dialogue, window": GraphSpec(M2, cross="dialogue", window=2),
    "causal": GraphSpec(M2, causal=True),
    "one modality": GraphSpec(("audio",)),
}
every_spec = pytest.mark.parametrize("spec", SPECS.values(), ids=SPECS.keys())


def nodes_of(s: Structure) -> list[tuple[str, int]]:
    """Modality and utterance of each node, in the order in which they are stacked."""
    return [(m, u) for k, m in enumerate(s.spec.modalities) for u in range(s.num_utterances) if s.presence[u, k]]


def joined(s: Structure, i: tuple[str, int], j: tuple[str, int]) -> bool:
    """Whether node i hears node j, another one: of its modality, or across."""
    (m, u), (n, v), spec = i, j, s.spec
    if s.dialogue[u] != s.dialogue[v] or i == j or (spec.causal and v > u):
        return False
    near = spec.window is None or abs(u - v) <= spec.window
    return near if m == n or spec.cross == "dialogue" else spec.cross == "utterance" and u == v


def deep_loop(s: Structure, h: Tensor, matrices: tuple[Tensor, ...], alpha: float, eta: float, gamma: float) -> Tensor:
    nodes = nodes_of(s)

    def weight(i: int, j: int) -> Tensor | float:
        if i == j:
            return 1.0
        if not joined(s, nodes[i], nodes[j]):
            return 0.0
        cosine = h[i] @ h[j] / (h[i].norm() * h[j].norm())
        return (1 - torch.arccos(cosine) / math.pi) * (1.0 if nodes[i][0] == nodes[j][0] else gamma)

    a = [[weight(i, j) for j in range(len(h))] for i in range(len(h))]
    degree = [sum(row) for row in a]
    rows = list(h)
    for layer, w in enumerate(matrices, 1):
        b, out = math.log(eta / layer + 1), []
        for i in range(len(rows)):
            heard = sum(a[i][j] / (degree[i] * degree[j]) ** 0.5 * rows[j] for j in range(len(rows)))
            mixed = (1 - alpha) * heard + alpha * h[i]
            out.append(((1 - b) * mixed + b * (mixed @ w)).clamp(min=0))
        rows = out
    return torch.stack(rows)


@every_spec
def test_the_graph_agrees_with_a_loop_over_nodes(spec):
    s, options = structure_for(spec, [1, 4, 5]), DeepGCNOptions(3, 0.2, 0.6, 0.7)
    layer, sizes = DeepGCN(D, options).double(), list(s.sizes.values())

    def fast(h: Tensor, *matrices: Tensor) -> Tensor:
        given = {f"matrices.{k}": w for k, w in enumerate(matrices)}
        x = dict(zip(s.sizes, h.split(sizes), strict=True))
        return torch.cat(list(torch.func.functional_call(layer, given, (s, x)).values()))

    inputs = [normal(sum(sizes), D, seed=1), *(normal(D, D, seed=2 + k) for k in range(3))]
    assert_agrees(fast, lambda h, *w: deep_loop(s, h, w, 0.2, 0.6, 0.7), *inputs, moved=(0, 1, 2, 3))


def model_for(spec: GraphSpec, **options: Any) -> Any:
    torch.manual_seed(0)
    return build_model("mmgcn", ModelInput(dict.fromkeys(spec.modalities, 3), CLASSES, spec), MMGCNOptions(D, **options)).double().eval()


@every_spec
def test_the_model_agrees_with_a_loop_over_utterances(spec):
    s = structure_for(spec, [1, 3, 6])
    model, x = model_for(spec, speaker_rows=2), features_for(s, 3, 1)
    encoded, nodes = model.encoder(s, x), nodes_of(s)
    place = {node: k for k, node in enumerate(nodes)}
    rows = torch.cat([encoded[m] for m in spec.modalities])
    h = torch.stack([rows[k] + model.speakers.table.weight[min(int(s.speakers[u]), 1)] for k, (_, u) in enumerate(nodes)])
    o = model.gcn.options
    deep = deep_loop(s, h, tuple(model.gcn.matrices), o.alpha, o.eta, o.gamma)
    first, last = model.head.layers[1], model.head.layers[4]
    want = []
    for u in range(s.num_utterances):
        parts = [part[place[m, u]] if (m, u) in place else torch.zeros(D).double() for part in (h, deep) for m in spec.modalities]
        want.append(last.weight @ (first.weight @ torch.cat(parts) + first.bias).clamp(min=0) + last.bias)
    torch.testing.assert_close(model(s, x).logits, torch.stack(want), rtol=0, atol=1e-10)


def test_a_network_hears_text_and_the_others_are_mapped():
    s = structure_for(GraphSpec(M2), [4, 2])
    x = features_for(s, 3, 1)
    encoder = ContextEncoder({"text": 3, "audio": 3}, 4, ContextEncoderOptions("text", input_dropout=0.0)).double().eval()
    assert set(encoder.networks) == {"text"}
    y = encoder(s, x)
    torch.testing.assert_close(y["audio"], encoder.projections["audio"](x["audio"]))
    hidden = encoder.networks["text"](x["text"], Sequences.of_dialogues(s, "text"))
    torch.testing.assert_close(y["text"], encoder.projections["text"](hidden))
    alone = ContextEncoder({"audio": 3}, 4, ContextEncoderOptions("text", input_dim=2))
    assert not alone.networks
    with pytest.raises(ValueError, match="projected must be True with hears = text"):
        ContextEncoderOptions("text", projected=False)


def test_without_a_weight_across_modalities_do_not_meet():
    s = structure_for(GraphSpec(M2), [5], drop=0.0)
    x = features_for(s, D, 1)
    layer = DeepGCN(D, DeepGCNOptions(gamma=0.0)).double()
    other = layer(s, x | {"audio": -2 * x["audio"]})["text"]
    torch.testing.assert_close(layer(s, x)["text"], other, rtol=0, atol=1e-12)
    assert not torch.allclose(DeepGCN(D, replace(layer.options, gamma=1.0)).double()(s, x)["text"], other)


def test_the_initial_residual_keeps_deep_layers_from_making_nodes_alike():
    s = structure_for(GraphSpec(("text",)), [12], drop=0.0)
    x = {m: v.abs() for m, v in features_for(s, 8, 1).items()}
    spread = []
    for alpha in (0.0, 0.5):
        torch.manual_seed(0)
        with torch.no_grad():
            y = DeepGCN(8, DeepGCNOptions(30, alpha)).double()(s, x)["text"]
        spread.append(float(y.std(0).mean() / y.abs().mean()))
    assert spread[0] < 0.02 < 0.1 < spread[1]


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"layers": -1}, "layers must be at least 0"),
        ({"alpha": 1.1}, "alpha must be from 0 to 1"),
        ({"eta": 0.0}, "eta must be above 0 and at most 1.718"),
        ({"eta": 1.8}, "eta must be above 0"),
        ({"gamma": -0.5}, "gamma must be from 0 to 100"),
    ],
)
def test_sizes_out_of_bounds(change, said):
    with pytest.raises(ValueError, match=f"^{said}"):
        DeepGCNOptions(**change)
