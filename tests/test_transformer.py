"""The Transformer against its equations written out, utterance by utterance and head by head."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
import torch
from helpers import newest
from model_cases import batch
from torch import Tensor, nn

from dgl_merc.graphs import GraphSpec, Past, Structure
from dgl_merc.layers import Probe, sinusoidal_positions
from dgl_merc.models import ModelInput, build_model
from dgl_merc.models.transformer import Transformer, TransformerOptions

M2 = ("text", "audio")
WIDTHS = {"text": 5, "audio": 3}
OPTIONS = TransformerOptions(dim=6, layers=2, heads=3, feed_forward=7, dropout=0.0, input_dropout=0.0)


def make(spec: GraphSpec, options: TransformerOptions = OPTIONS, outputs: int = 4) -> Transformer:
    torch.manual_seed(0)
    model = build_model("transformer", ModelInput({m: WIDTHS[m] for m in spec.modalities}, outputs, spec), options)
    assert isinstance(model, Transformer)
    for name, p in model.named_parameters():
        if "norm" in name or "before" in name:
            p.detach().add_(0.3 * torch.randn_like(p))  # begin at 1 and 0, where one might be missing unseen
    return model.double().eval()


def normalised(x: Tensor, norm: nn.LayerNorm) -> Tensor:
    mean = sum(x) / len(x)
    variance = sum((v - mean) ** 2 for v in x) / len(x)
    return torch.stack([(v - mean) / (variance + 1e-5).sqrt() * g + b for v, g, b in zip(x, norm.weight, norm.bias, strict=True)])


def position(t: int, dim: int) -> Tensor:
    angles = [t / 10000 ** (2 * (c // 2) / dim) for c in range(dim)]
    return torch.tensor([math.cos(a) if c % 2 else math.sin(a) for c, a in enumerate(angles)], dtype=torch.float64)


def transformer_loop(model: Transformer, x: list[Tensor], o: TransformerOptions, causal: bool) -> Tensor:
    """The definition, of one dialogue of utterances x_t: what each says is seen by all, or by those not before it."""
    h = [model.inward.weight @ v + model.inward.bias + position(t, o.dim) for t, v in enumerate(x)]
    width = o.dim // o.heads
    for layer in model.layers:
        n = [normalised(v, layer.before_attention) for v in h]
        whole = layer.inward.weight
        queries, keys, values = whole[: o.dim], whole[o.dim : 2 * o.dim], whole[2 * o.dim :]
        heard = []
        for t in range(len(h)):
            heads = []
            for k in range(o.heads):
                own = slice(k * width, (k + 1) * width)
                seen = range(t + 1 if causal else len(h))
                grown = [((queries[own] @ n[t]) @ (keys[own] @ n[j]) / math.sqrt(width)).exp() for j in seen]
                heads.append(sum(g * (values[own] @ n[j]) for g, j in zip(grown, seen, strict=True)) / sum(grown))
            heard.append(layer.outward.weight @ torch.cat(heads))
        h = [v + y for v, y in zip(h, heard, strict=True)]
        inside = [(layer.wide.weight @ normalised(v, layer.before_feed_forward) + layer.wide.bias).clamp_min(0) for v in h]
        h = [v + layer.narrow.weight @ i + layer.narrow.bias for v, i in zip(h, inside, strict=True)]
    last = torch.stack([normalised(v, model.norm) for v in h])
    logits: Tensor = model.head(last)
    return logits


def rows(s: Structure, x: dict[str, Tensor]) -> list[list[Tensor]]:
    """By dialogue and utterance: modalities side by side, zeros where one is absent."""
    left, found, u = {m: iter(x[m]) for m in x}, [], 0
    for length in s.lengths.tolist():
        found.append([])
        for _ in range(length):
            parts = [next(left[m]) if s.presence[u, k] else torch.zeros(WIDTHS[m], dtype=torch.float64) for k, m in enumerate(x)]
            found[-1].append(torch.cat(parts))
            u += 1
    return found


@pytest.mark.parametrize("causal", [False, True], ids=["offline", "causal"])
@pytest.mark.parametrize(("modalities", "outputs"), [(M2, 4), (("audio",), 1)], ids=["two, classes", "one, score"])
def test_it_is_its_equations(modalities, outputs, causal):
    spec = GraphSpec(modalities, causal=causal)
    model, (s, x) = make(spec, outputs=outputs), batch([5, 1, 7], spec, drop=0.4)
    assert not s.presence.any(1).all(), "vacuous: no utterance without any modality"
    want = torch.cat([transformer_loop(model, dialogue, OPTIONS, causal) for dialogue in rows(s, x)])
    got = model(s, x).logits
    assert got.shape == (13, outputs)
    torch.testing.assert_close(got, want, rtol=0, atol=1e-10)
    weights = list(model.parameters())
    cotangent = torch.randn(want.shape, generator=torch.Generator().manual_seed(4), dtype=want.dtype)
    gradients = [torch.autograd.grad(y, weights, cotangent, retain_graph=True) for y in (got, want)]
    for a, b in zip(*gradients, strict=True):
        torch.testing.assert_close(a, b, rtol=0, atol=1e-9)
        assert b.abs().max() > 1e-4, "vacuous"


def test_it_hears_where_an_utterance_stands_and_not_who_speaks():
    spec = GraphSpec(M2)
    model, (s, x) = make(spec), batch([6], spec, drop=0.0)
    before = model(s, x).logits
    assert torch.equal(model(replace(s, speakers=torch.arange(6), characters=torch.arange(6)), x).logits, before)
    back = model(s, {m: v.flip(0) for m, v in x.items()}).logits.flip(0)
    assert not torch.allclose(back, before, atol=1e-3), "positions are not heard"


def test_what_a_window_of_a_stream_has_passed_keeps_its_place():
    spec = GraphSpec(("text",), causal=True)
    s, past = Structure.of([9], spec), Past(3)
    for t in range(9):
        past.begin()
        got = sinusoidal_positions(newest(s, t, past), 5, torch.float64)
        past.recall(None, got)
        past.keep()
        torch.testing.assert_close(got[0], position(t, 5), rtol=0, atol=1e-12)


def test_what_dropout_takes():
    spec = GraphSpec(M2)
    s, x = batch([4, 3], spec, drop=0.0)
    model, given = make(spec, replace(OPTIONS, dropout=1.0)).train(), []
    for layer in model.layers:
        layer.register_forward_pre_hook(lambda _, inputs: given.append(inputs[1]))
    model(s, x)
    assert [not h.any() for h in given] == [True, True], "the sum of projection and positions"
    h = torch.randn(7, 6, dtype=torch.float64)
    assert torch.equal(model.layers[0](s, h), h), "what both halves of a layer say, and not what they add it to"
    assert not torch.equal(make(spec, replace(OPTIONS, input_dropout=0.5)).train()(s, x).logits, make(spec)(s, x).logits)


def test_every_layer_is_seen_and_can_be_cut():
    spec = GraphSpec(M2)
    model, (s, x) = make(spec), batch([4, 1], spec)
    probe = Probe()
    before = model(s, x, probe=probe).logits
    torch.testing.assert_close(before, model(s, x).logits, rtol=0, atol=1e-12)
    pair = ("utterance", "pair", "utterance")
    assert probe.seen is not None
    assert list(probe.seen) == ["attention, layer 1", "attention, layer 2"]
    assert all(seen.weights[pair].shape == (17, 3) for seen in probe.seen.values())
    keep = torch.ones(17, dtype=torch.bool)
    keep[1] = False  # the first utterance does not hear the second
    cut = [model(s, x, probe=Probe({part: {pair: keep}}, None)).logits for part in probe.seen]
    for logits in cut:
        assert not torch.allclose(logits[0], before[0])
        torch.testing.assert_close(logits[4], before[4], rtol=0, atol=1e-12)
    torch.testing.assert_close(cut[1][1:], before[1:], rtol=0, atol=1e-12)
    assert not torch.allclose(cut[0][1], before[1]), "what the first layer says is heard in the second"
