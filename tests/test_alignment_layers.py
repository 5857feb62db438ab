"""The layers of MGLRA's alignment against plain Python, utterance by utterance, from the equations (float64, outputs and gradients)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest
import torch
from helpers import M2, M3, assert_agrees, features_for, normal, structure_for
from torch import Tensor, nn

from dgl_merc.graphs import GraphSpec, Structure
from dgl_merc.heads import ReconstructionHead
from dgl_merc.layers import (
    AttentionFilter,
    AttentionFilterOptions,
    ContextEncoder,
    ContextEncoderOptions,
    CrossModalAttention,
    CrossModalAttentionOptions,
    GatedUpdate,
    MaskedGCNOptions,
    Memory,
    Sequences,
    SpeakerEmbedding,
    beside,
)
from dgl_merc.losses import cosine_error

D = 4
LENGTHS = [3, 1, 5, 2]
SPECS = {
    "three": GraphSpec(M3),
    "causal": GraphSpec(M3, causal=True),
    "two": GraphSpec(M2),
    "one": GraphSpec(("text",)),
    "one, causal": GraphSpec(("text",), causal=True),
}
every_spec = pytest.mark.parametrize("spec", SPECS.values(), ids=SPECS.keys())
Nodes = dict[tuple[int, str], Tensor]  # (utterance, modality) -> its features


def nodes_of(s: Structure, x: dict[str, Tensor]) -> Nodes:
    return {(u, m): row for m, rows in x.items() for u, row in zip(s.nodes[m].tolist(), rows, strict=True)}


def stacked(s: Structure, nodes: Nodes) -> Tensor:
    rows = [nodes[u, m] for m in s.spec.modalities for u in s.nodes[m].tolist()]
    return torch.stack(rows)


def hears(s: Structure, u: int, v: int) -> bool:
    """Whether u may know of v: they are of one dialogue, and v is no later in a causal one."""
    return bool(s.dialogue[u] == s.dialogue[v]) and (not s.spec.causal or v <= u)


def assert_layer_agrees(
    s: Structure, layer: nn.Module, fast: Callable[..., dict[str, Tensor]], loop: Callable[..., Nodes], count: int
) -> None:
    """Of ``count`` sets of node features and all the layer's parameters."""
    names, sizes = [n for n, _ in layer.named_parameters()], list(s.sizes.values())
    inputs = [normal(sum(sizes), D, seed=50 + k) for k in range(count)]

    def dicts(tensors: tuple[Tensor, ...]) -> list[dict[str, Tensor]]:
        return [dict(zip(s.sizes, t.split(sizes), strict=True)) for t in tensors[:count]]

    def run_fast(*tensors: Tensor) -> Tensor:
        weights = dict(zip(names, tensors[count:], strict=True))
        out = torch.func.functional_call(_Calls(layer, fast), {f"layer.{n}": w for n, w in weights.items()}, tuple(dicts(tensors)))
        return torch.cat([out[m] for m in s.sizes])

    def run_loop(*tensors: Tensor) -> Tensor:
        weights = dict(zip(names, tensors[count:], strict=True))
        return stacked(s, loop(weights, *[nodes_of(s, x) for x in dicts(tensors)]))

    parameters = [normal(*p.shape, seed=90 + k) for k, p in enumerate(layer.parameters())]
    assert_agrees(run_fast, run_loop, *inputs, *parameters, moved=range(count + len(parameters)))


class _Calls(nn.Module):
    """A layer, called as the test says."""

    def __init__(self, layer: nn.Module, call: Callable[..., dict[str, Tensor]]) -> None:
        super().__init__()
        self.layer, self.call = layer, call

    def forward(self, *args: dict[str, Tensor]) -> dict[str, Tensor]:
        return self.call(self.layer, *args)


# ---- attention filter (3-5)


@every_spec
@pytest.mark.parametrize("output", ["share", "leaf"])
@pytest.mark.parametrize("attention", ["scalar", "channel"])
def test_attention_filter_is_the_loop(attention, output, spec):
    s = structure_for(spec, LENGTHS, seed=2)
    names = spec.modalities
    layer = AttentionFilter(len(names), D, AttentionFilterOptions(attention, output, 3)).double()

    def loop(w: dict[str, Tensor], x: Nodes) -> Nodes:
        out = {}
        for u in range(s.num_utterances):
            there = [m for m in names if (u, m) in x]
            centre = w["centre.weight"] @ torch.cat([x.get((u, m), torch.zeros(D).double()) for m in names])
            c, grown = {}, {}
            for m in there:
                k = names.index(m)
                i, j = (centre, x[u, m]) if output == "share" else (x[u, m], centre)
                c[m] = i @ w["matrices.0"][k] + j @ w["matrices.1"][k] + w["relations"][k] @ w["matrices.2"][k]
                leaky = torch.where(c[m] > 0, c[m], 0.2 * c[m])
                grown[m] = c[m].exp() if attention == "channel" else (w["vector"] @ leaky).exp() if output == "share" else torch.ones(1)
            for m in there:
                out[u, m] = (grown[m] / sum(grown.values()) if output == "share" else 1.0) * c[m]
        return out

    if len(names) == 1 and output == "share":  # likewise
        x = features_for(s, D, 1)
        want = loop(dict(layer.named_parameters()), nodes_of(s, x))
        torch.testing.assert_close(torch.cat(list(layer(s, x).values())), stacked(s, want), rtol=0, atol=1e-10)
        return
    assert_layer_agrees(s, layer, lambda f, x: f(s, x), loop, 1)


# ---- memory (6-9)


def attended(weight: Tensor, entries: list[Tensor]) -> Tensor:
    """Eq. 7-9."""
    grown = [(weight @ e).exp() for e in entries]
    return sum(g / sum(grown) * e for g, e in zip(grown, entries, strict=True))  # type: ignore[return-value]


@every_spec
@pytest.mark.parametrize("recall", ["first", "all", "own", "own+h"])
def test_memory_is_the_loop(recall, spec):
    s = structure_for(spec, LENGTHS, seed=3)
    names = spec.modalities
    layer = Memory(len(names), D, "all" if recall == "first" else recall).double()

    def loop(w: dict[str, Tensor], h: Nodes, x: Nodes) -> Nodes:
        out = {}
        for u, m in x:
            blocks = {
                "first": [h[u, n] for n in names if (u, n) in h],
                "all": [x[u, n] for n in names if (u, n) in x],
                "own": [x[u, m]],
                "own+h": [x[u, m], h[u, m]],
            }
            out[u, m] = attended(w["weight"][names.index(m)], blocks[recall])
        return out

    h, x = features_for(s, D, 5), features_for(s, D, 6)
    if recall == "own" or (len(names) == 1 and recall != "own+h"):  # one entry: its weight is 1, and the layer has nothing to learn
        got = layer(s, h) if recall == "first" else layer(s, h, x)
        want = stacked(s, loop(dict(layer.named_parameters()), nodes_of(s, h), nodes_of(s, x)))
        torch.testing.assert_close(torch.cat([got[m] for m in names]), want, rtol=0, atol=1e-10)
        return
    if recall == "first":
        assert_layer_agrees(s, layer, lambda f, a: f(s, a), lambda w, a: loop(w, a, a), 1)
    elif recall == "all":
        assert_layer_agrees(s, layer, lambda f, a: f(s, h, a), lambda w, a: loop(w, nodes_of(s, h), a), 1)
    else:
        assert_layer_agrees(s, layer, lambda f, a, b: f(s, a, b), loop, 2)


def test_memory_of_an_utterance_without_anything_is_finite():
    s = Structure.of([2], GraphSpec(M2), presence=[[0, 0], [1, 0]])
    layer = Memory(2, D).double()
    x = {"text": normal(1, D, seed=0).requires_grad_(), "audio": normal(0, D, seed=1)}
    y = layer(s, x)
    assert torch.equal(y["text"], x["text"])
    assert y["audio"].shape == (0, D)
    y["text"].sum().backward()
    assert torch.isfinite(layer.weight.grad).all()


# ---- cross-modal attention (10-14)


@every_spec
@pytest.mark.parametrize("lonely", ["self", "skip"])
@pytest.mark.parametrize(("scaled", "projections"), [(True, "modality"), (False, "shared")])
def test_cross_modal_attention_is_the_loop(scaled, projections, lonely, spec):
    s = structure_for(spec, LENGTHS, drop=0.5, seed=4)
    names, heads, width = spec.modalities, 2, 3
    layer = CrossModalAttention(names, D, CrossModalAttentionOptions(heads, width, scaled, lonely, projections)).double()

    def loop(w: dict[str, Tensor], x: Nodes) -> Nodes:
        def projected(node: tuple[int, str], part: int, head: int) -> Tensor:
            whole = w[f"inward.{node[1] if projections == 'modality' else 'shared'}.weight"] @ x[node]
            return whole.view(3, heads, width)[part, head]

        def head_of(node: tuple[int, str], other: str, head: int) -> Tensor:
            keys = [(v, other) for v in range(s.num_utterances) if (v, other) in x and hears(s, node[0], v)]
            logits = [projected(node, 0, head) @ projected(key, 1, head) / (width**0.5 if scaled else 1.0) for key in keys]
            total = sum(a.exp() for a in logits)
            return sum((a.exp() / total * projected(k, 2, head) for a, k in zip(logits, keys, strict=True)), torch.zeros(width).double())

        out = {}
        for u, m in x:
            alone = not any(n != m and hears(s, u, v) for v, n in x)
            others = [m if alone else n for n in names if n != m] or [m]
            parts = [head_of((u, m), n, h) for n in others for h in range(heads)]
            out[u, m] = x[u, m] if alone and lonely == "skip" else w[f"outward.{m}.weight"] @ torch.cat(parts)
        return out

    if lonely == "skip" and len(names) == 1:
        x = features_for(s, D, 1)
        assert torch.equal(layer(s, x)["text"], x["text"])
        return
    assert_layer_agrees(s, layer, lambda f, x: f(s, x), loop, 1)


@pytest.mark.parametrize("heads", [2, 4, 6, 8, 10, 12, 14, 16, 20])
def test_any_number_of_heads_will_do(heads):
    s = structure_for(GraphSpec(M3), LENGTHS)
    layer = CrossModalAttention(M3, 100, CrossModalAttentionOptions(heads))
    y = layer(s, {m: x.float() for m, x in features_for(s, 100, 1).items()})
    assert {m: tuple(v.shape) for m, v in y.items()} == {m: (n, 100) for m, n in s.sizes.items()}


# ---- GRU (15)


def test_the_update_is_the_gru_equations():
    s = structure_for(GraphSpec(M3), LENGTHS)
    layer = GatedUpdate(M3, D).double()

    def loop(w: dict[str, Tensor], head: Nodes, state: Nodes) -> Nodes:
        out = {}
        for (u, m), x in head.items():
            h, cell = state[u, m], {k.rpartition(".")[2]: v for k, v in w.items() if k.startswith(f"cells.{m}.")}
            a = (cell["weight_ih"] @ x + cell["bias_ih"]).split(D)
            b = (cell["weight_hh"] @ h + cell["bias_hh"]).split(D)
            r, z = 1 / (1 + (-a[0] - b[0]).exp()), 1 / (1 + (-a[1] - b[1]).exp())
            out[u, m] = (1 - z) * torch.tanh(a[2] + r * b[2]) + z * h
        return out

    assert_layer_agrees(s, layer, lambda f, x, h: f(x, h), loop, 2)


# ---- speakers (16)


@pytest.mark.parametrize("kind", ["dialogue", "corpus"])
def test_speaker_embedding_is_the_loop(kind):
    s = structure_for(GraphSpec(M3), LENGTHS)
    s = replace(s, characters=torch.tensor([1, 0, -1, 2, 2, 0, 1, -1, 0, 1, 2]))
    layer = SpeakerEmbedding(kind, 2 if kind == "dialogue" else 3, D).double()

    def loop(w: dict[str, Tensor], x: Nodes) -> Nodes:
        def row(u: int) -> int:
            if kind == "dialogue":
                return min(int(s.speakers[u]), 1)  # the table has two rows; a third speaker shares the last
            return int(s.characters[u]) if s.characters[u] >= 0 else 3

        return {(u, m): w["table.weight"][row(u)] + v for (u, m), v in x.items()}

    assert (s.speakers > 1).any(), "no dialogue with more speakers than the table"
    assert_layer_agrees(s, layer, lambda f, x: f(s, x), loop, 1)


def test_an_unknown_speaker_has_a_row_of_zeros():
    layer = SpeakerEmbedding("corpus", 3, D)
    assert torch.equal(layer.table.weight[3], torch.zeros(D))
    assert layer.table.weight[:3].abs().min() > 0


# ---- context with speakers


def test_sequences_of_speakers_are_each_ones_turns_in_order():
    s = Structure.of(
        [4, 3], GraphSpec(M2), presence=[[1, 1], [1, 0], [1, 1], [1, 1], [1, 1], [0, 1], [1, 1]], speakers=[0, 1, 0, 1, 0, 0, 1]
    )
    assert Sequences.of_speakers(s, "text").rows.tolist() == [0, 2, 1, 3, 4, 5]
    assert Sequences.of_speakers(s, "text").lengths.tolist() == [2, 2, 1, 1]
    assert Sequences.of_speakers(s, "audio").rows.tolist() == [0, 1, 2, 3, 4, 5]  # utterances 0 2 | 3 | 4 5 | 6
    assert Sequences.of_speakers(s, "audio").lengths.tolist() == [2, 1, 2, 1]
    assert Sequences.of_dialogues(s, "audio").lengths.tolist() == [3, 3]


@pytest.mark.parametrize("input_dim", [0, 3])
@pytest.mark.parametrize("hears", ["own", "all"])
@pytest.mark.parametrize("both", [False, True])
def test_speaker_context_runs_over_each_speakers_own_turns(both, hears, input_dim):
    torch.manual_seed(0)
    s = structure_for(GraphSpec(M2), [6, 1, 9], drop=0.2)
    widths = {"text": 4, "audio": 5}
    options = ContextEncoderOptions(hears, both, input_dim=input_dim, speaker_context=True, input_dropout=0.0)
    encoder = ContextEncoder(widths, D, options).double()
    x = {m: normal(n, widths[m], seed=k) for k, (m, n) in enumerate(s.sizes.items())}
    z = {m: encoder.inputs[m](v) if input_dim else v for m, v in x.items()}
    heard = z if hears == "own" else {"utterance": beside(s, z)}
    hidden = {}
    for n, rows in heard.items():
        first = encoder.networks[n](rows, Sequences.of_dialogues(s, n))
        own = torch.zeros(len(rows), encoder.turns[n].width).double()
        for d in range(3):
            for who in range(3):
                mine = [i for i, u in enumerate(s.nodes[n].tolist()) if s.dialogue[u] == d and s.speakers[u] == who]
                if mine:
                    own[mine] = encoder.turns[n](torch.cat([first, rows], dim=1)[mine], Sequences(torch.tensor([len(mine)])))
        hidden[n] = torch.cat([first, own], dim=1)
    got = encoder(s, x)
    for m in M2:
        said = hidden[m] if hears == "own" else hidden["utterance"][s.nodes[m]]
        want = encoder.projections[m](torch.cat([said, z[m]], dim=1) if input_dim else said)
        torch.testing.assert_close(got[m], want, rtol=0, atol=1e-10)


@pytest.mark.parametrize("name", ["filter", "attention", "context", "gcn"])
def test_words_that_are_no_option(name):
    made: dict[str, Callable[[], object]] = {
        "filter": lambda: AttentionFilterOptions(output="leave"),
        "attention": lambda: CrossModalAttentionOptions(lonely="skp"),
        "context": lambda: ContextEncoderOptions(hears="al"),
        "gcn": lambda: MaskedGCNOptions(mask="node"),
    }
    with pytest.raises(ValueError, match=r"must be one of .*, found"):
        made[name]()


def test_context_drops_raw_features_and_what_turns_hear_in_training_only():
    torch.manual_seed(0)
    s = structure_for(GraphSpec(M2), [6, 9], drop=0.0)
    x = {m: normal(15, 4, seed=k) for k, m in enumerate(M2)}
    for options, dropout in ((ContextEncoderOptions(input_dropout=0.5), 0.0), (ContextEncoderOptions("own", input_dropout=0.0), 0.5)):
        encoder = ContextEncoder({"text": 4, "audio": 4}, D, options, dropout=dropout).double()
        assert not torch.equal(encoder(s, x)["text"], encoder(s, x)["text"])
        assert torch.equal(encoder.eval()(s, x)["text"], encoder(s, x)["text"])
    encoder = ContextEncoder({"text": 4, "audio": 4}, D, ContextEncoderOptions(input_dropout=0.0, speaker_context=True), dropout=0.5)
    heard: list[Tensor] = []
    encoder.double().turns["text"].register_forward_pre_hook(lambda _, given: heard.append(given[0]))
    encoder(s, x)
    assert (heard[0][:, : encoder.networks["text"].width] == 0).double().mean() > 0.2
    assert torch.equal(heard[0][:, encoder.networks["text"].width :], x["text"])


# ---- reconstruction


def test_cosine_error_is_the_loop_and_has_a_gradient_of_zero_where_nothing_is():
    def loop(guess: Tensor, x: Tensor) -> Tensor:
        return sum(1 - (a * b).sum() / (a.norm() * b.norm()) for a, b in zip(guess, x, strict=True)) / len(guess)  # type: ignore[return-value]

    assert_agrees(cosine_error, loop, normal(5, 3, seed=0), normal(5, 3, seed=1), moved=(0, 1))
    none = normal(0, 3, seed=0).requires_grad_()
    loss = cosine_error(none, none.detach())
    loss.backward()
    assert loss == 0
    with pytest.raises(ValueError, match=r"both be \[N, D\], found \[2, 3\] and \[2, 4\]"):
        cosine_error(torch.zeros(2, 3), torch.zeros(2, 4))


def test_cosine_error_of_a_zero_row_is_finite():
    guess = torch.zeros(2, 3, requires_grad=True)
    loss = cosine_error(guess, torch.ones(2, 3))
    loss.backward()
    assert loss == 1
    assert torch.isfinite(guess.grad).all()


def test_reconstruction_head_is_its_two_layers():
    head = ReconstructionHead(D).double()
    h, w = normal(3, D, seed=0), head.state_dict()
    want = [w["layers.2.weight"] @ (w["layers.0.weight"] @ row + w["layers.0.bias"]).clamp(min=0) + w["layers.2.bias"] for row in h]
    torch.testing.assert_close(head(h), torch.stack(want), rtol=0, atol=1e-12)
