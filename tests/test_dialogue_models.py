"""DialogueRNN and DialogueGCN against their papers' equations, dialogue by dialogue and utterance by utterance, and how they are laid out."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import pytest
import torch
from helpers import M2, assert_agrees, features_for, structure_for
from torch import Tensor
from torch.func import functional_call

from dgl_merc.graphs import GraphSpec, Past, Structure
from dgl_merc.layers import DialogueGraphOptions, PartyRecurrence, Sequences
from dgl_merc.models import Model, ModelInput, build_model
from dgl_merc.models.dialoguegcn import DialogueGCNOptions
from dgl_merc.models.dialoguernn import DialogueRNNOptions

Weights = Mapping[str, Tensor]
D = 4
SPEC = GraphSpec(M2, past=2, future=3)
CAUSAL = replace(SPEC, causal=True)
LENGTHS = [5, 1, 7, 4]


# ---- the equations


def cell(p: Weights, name: str, u: Tensor, v: Tensor, h: Tensor) -> Tensor:
    """A GRU of [u, v], in whose matrix those of u and of v stand side by side."""
    weight = torch.cat([p[f"{name}.known.weight"], p[f"{name}.found.weight"]], dim=1)
    return gru(weight, p[f"{name}.known.bias"], p[f"{name}.state.weight"], p[f"{name}.state.bias"], torch.cat([u, v]), h)


def gru(weight_ih: Tensor, bias_ih: Tensor, weight_hh: Tensor, bias_hh: Tensor, x: Tensor, h: Tensor) -> Tensor:
    of_x, of_h = (weight_ih @ x + bias_ih).chunk(3), (weight_hh @ h + bias_hh).chunk(3)
    r, z = (torch.sigmoid(a + b) for a, b in zip(of_x[:2], of_h[:2], strict=True))
    return (1 - z) * torch.tanh(of_x[2] + r * of_h[2]) + z * h


def recurrent(p: Weights, name: str, xs: Sequence[Tensor]) -> list[Tensor]:
    matrices = [p[f"{name}.{part}_l0"] for part in ("weight_ih", "bias_ih", "weight_hh", "bias_hh")]
    h, said = xs[0].new_zeros(matrices[2].shape[1]), []
    for x in xs:
        h = gru(*matrices, x, h)
        said.append(h)
    return said


def party_states(p: Weights, name: str, u: Sequence[Tensor], speakers: Sequence[int], listeners: bool) -> list[Tensor]:
    """q of the speaker of every utterance of a dialogue (section 3.3)."""
    none = u[0].new_zeros(p[f"{name}.world.state.weight"].shape[1])
    g, heard, said = none, [], []
    q = {s: u[0].new_zeros(p[f"{name}.party.state.weight"].shape[1]) for s in speakers}
    for u_t, speaker in zip(u, speakers, strict=True):
        g = cell(p, f"{name}.world", u_t, q[speaker], g)
        c = attend(p[f"{name}.attention.weight"] @ u_t, heard) if heard else none
        for s in q:
            if s == speaker:
                q[s] = cell(p, f"{name}.party", u_t, c, q[s])
            elif listeners:
                q[s] = cell(p, f"{name}.listener", u_t, c, q[s])
        said.append(q[speaker])
        heard.append(g)
    return said


def attend(query: Tensor, heard: Sequence[Tensor]) -> Tensor:
    grown = [(query * h).sum().exp() for h in heard]
    return sum(a * h for a, h in zip(grown, heard, strict=True)) / sum(grown)


def by_neighbours(p: Weights, g: Sequence[Tensor], speakers: Sequence[int], spec: GraphSpec, o: DialogueGraphOptions) -> list[Tensor]:
    """Both convolutions of a dialogue (section 3.2.2)."""

    def relation(i: int, j: int) -> int:
        other, later = int(speakers[i] != speakers[j]), int(j > i)
        return 2 * other + later if o.relations == 4 else other

    near = [[j for j in range(max(0, i - spec.past), min(len(g), i + spec.future + 1)) if j != i] for i in range(len(g))]
    if spec.causal:
        near = [[j for j in js if j < i] for i, js in enumerate(near)]
    first, second = [], []
    for i, js in enumerate(near):
        grown = {j: (g[i] @ p["graph.attention.weight"].T @ g[j]).exp() for j in [*js, i]}
        a = {j: e / sum(grown.values()) for j, e in grown.items()}
        total = a[i] * (g[i] @ p["graph.own"])
        for j in js:
            c = sum(relation(i, k) == relation(i, j) for k in js) if o.normalise else 1
            total = total + a[j] / c * (g[j] @ p["graph.typed"][relation(i, j)])
        first.append(total.clamp(min=0))
    for i, js in enumerate(near):
        total = first[i] @ p["graph.itself"]
        for j in js:
            total = total + first[j] @ p["graph.any"][0] / (len(js) if o.second == "mean" else 1)
        second.append(total.clamp(min=0))
    return second


def classify(p: Weights, h: Sequence[Tensor], causal: bool) -> Tensor:
    if "attention.inward.weight" in p:
        h = [attend(p["attention.inward.weight"] @ row, h[: i + 1] if causal else h) for i, row in enumerate(h)]
    hidden = [(p["head.layers.1.weight"] @ row + p["head.layers.1.bias"]).clamp(min=0) for row in h]
    return torch.stack([p["head.layers.4.weight"] @ row + p["head.layers.4.bias"] for row in hidden])


def dialogue_rnn(p: Weights, u: Tensor, speakers: Sequence[int], spec: GraphSpec, o: DialogueRNNOptions) -> Tensor:
    rows = [p["inputs.weight"] @ row + p["inputs.bias"] for row in u] if o.input_dim else list(u)
    e = recurrent(p, "emotions.0.forwards.0", party_states(p, "parties.0", rows, speakers, o.listeners))
    if o.bidirectional and not spec.causal:
        back = recurrent(p, "emotions.1.forwards.0", party_states(p, "parties.1", rows[::-1], speakers[::-1], o.listeners))
        e = [torch.cat(both) for both in zip(e, back[::-1], strict=True)]
    return classify(p, e, spec.causal)


def dialogue_gcn(p: Weights, u: Tensor, speakers: Sequence[int], spec: GraphSpec, o: DialogueGCNOptions) -> Tensor:
    g = recurrent(p, "context.forwards.0", list(u))
    if not spec.causal:
        back = recurrent(p, "context.backwards.0", list(u)[::-1])
        g = [torch.cat(both) for both in zip(g, back[::-1], strict=True)]
    h = [torch.cat(both) for both in zip(g, by_neighbours(p, g, speakers, spec, o.graph), strict=True)]
    return classify(p, h, spec.causal)


# ---- agreement

RNN = DialogueRNNOptions(3, 4, 2, 5)
GCN = DialogueGCNOptions(hidden=3, dim=6)
CASES: dict[str, tuple[str, Any, GraphSpec]] = {
    "rnn": ("dialoguernn", RNN, SPEC),
    "rnn, causal": ("dialoguernn", RNN, CAUSAL),
    "rnn, listeners, raw": ("dialoguernn", replace(RNN, listeners=True, input_dim=0, attention=False), SPEC),
    "rnn, one direction": ("dialoguernn", replace(RNN, bidirectional=False), SPEC),
    "gcn": ("dialoguegcn", GCN, SPEC),
    "gcn, causal": ("dialoguegcn", GCN, CAUSAL),
    "gcn, print": ("dialoguegcn", replace(GCN, graph=DialogueGraphOptions(4, True, "sum")), SPEC),
    "gcn, two relations, no readout": ("dialoguegcn", replace(GCN, graph=DialogueGraphOptions(2, True), attention=False), SPEC),
}
DEFINITIONS: dict[str, Callable[..., Tensor]] = {"dialoguernn": dialogue_rnn, "dialoguegcn": dialogue_gcn}


def build(case: str) -> Model:
    name, options, spec = CASES[case]
    torch.manual_seed(1)
    return build_model(name, ModelInput(dict.fromkeys(M2, D), 3, spec), options).double().eval()


@pytest.mark.parametrize("case", CASES)
def test_a_model_is_what_its_paper_says_of_one_dialogue_after_the_other(case):
    name, options, spec = CASES[case]
    model, s = build(case), structure_for(spec, LENGTHS)
    names, weights = zip(*model.named_parameters(), strict=True)
    assert s.presence.any(1).logical_not().any(), "vacuous: every utterance has a modality"

    def fast(text: Tensor, audio: Tensor, *weights: Tensor) -> Tensor:
        x = {"text": text, "audio": audio}
        logits: Tensor = functional_call(model, dict(zip(names, weights, strict=True)), (s, x)).logits
        return logits

    def loop(text: Tensor, audio: Tensor, *weights: Tensor) -> Tensor:
        rows, left = [], [iter(text), iter(audio)]
        for there in s.presence.tolist():
            rows.append(torch.cat([next(part) if t else text.new_zeros(D) for t, part in zip(there, left, strict=True)]))
        p, speakers, begin, said = dict(zip(names, weights, strict=True)), s.speakers.tolist(), 0, []
        for length in LENGTHS:
            end = begin + length
            said.append(DEFINITIONS[name](p, torch.stack(rows[begin:end]), speakers[begin:end], spec, options))
            begin = end
        return torch.cat(said)

    x = features_for(s, D, seed=3)
    assert_agrees(fast, loop, x["text"], x["audio"], *weights, moved=range(2 + len(names)))


# ---- properties


@pytest.mark.parametrize("case", CASES)
def test_speakers_are_told_apart_by_who_they_are_and_not_by_their_number(case):
    model, spec = build(case), CASES[case][2]
    s = Structure.of([12, 3], spec, speakers=[0, 1, 2, 3, 4, 5, 6, 7, 8, 0, 4, 0, 1, 0, 1])
    x = features_for(s, D, seed=3)
    renamed, one = replace(s, speakers=(20 - 2 * s.speakers)), replace(s, speakers=torch.zeros_like(s.speakers))
    before = model(s, x).logits
    torch.testing.assert_close(model(renamed, x).logits, before, rtol=0, atol=1e-12)
    assert not torch.allclose(model(one, x).logits, before)


def test_whoever_does_not_speak_is_heard_through_the_dialogue_alone():
    """Without listeners a party's state is that of its last turn; with listeners it goes on."""
    s = Structure.of([4], CAUSAL, speakers=[0, 1, 1, 0])
    x = torch.randn(4, D, dtype=torch.float64, generator=torch.Generator().manual_seed(0), requires_grad=True)
    for listeners in (False, True):
        torch.manual_seed(0)
        layer = PartyRecurrence(D, 3, 3, listeners=listeners).double()
        with torch.no_grad():  # nothing of the dialogue's state
            for part in (layer.party, layer.listener):
                if part is not None:
                    part.found.weight.zero_()
        (heard,) = torch.autograd.grad(layer(s, x, Sequences.of_dialogues(s))[3].sum(), x)
        assert (heard[[0, 3]].abs().sum(1) > 1e-6).all()
        assert bool((heard[[1, 2]].abs().sum(1) > 1e-6).all()) is listeners


def test_who_comes_late_to_a_stream_has_listened():
    s = Structure.of([5], CAUSAL, speakers=[0, 1, 0, 2, 1])
    x = torch.randn(5, D, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    torch.manual_seed(0)
    layer, past, said = PartyRecurrence(D, 3, 2, listeners=True).double(), Past(9), []
    with torch.no_grad():
        for u in range(5):
            past.begin()
            one = replace(Structure.of([1], CAUSAL, speakers=[int(s.speakers[u])]), past=past)
            said.append(layer(one, x[u : u + 1], Sequences.of_dialogues(one)))
            past.keep()
        torch.testing.assert_close(torch.cat(said), layer(s, x, Sequences.of_dialogues(s)), rtol=0, atol=1e-12)
    assert past.owners(0) == [0, 1, 2]
    past.forget(1)
    assert past.owners(0) == [0, 2]


# ---- sequences step by step


def test_steps_are_those_of_each_sequence_and_none_goes_on_when_it_is_over():
    steps = Sequences(torch.tensor([2, 0, 3, 1])).steps
    assert steps.counts == [3, 2, 1]
    assert steps.rows.tolist() == [2, 0, 5, 3, 1, 4]  # first rows of the longest, the next and the last; second rows; third
    assert steps.ranks.tolist() == [0, 1, 2, 0, 1, 0]
    assert steps.rows[steps.where].tolist() == [0, 1, 2, 3, 4, 5]


def test_reversed_sequences_have_the_same_rows_from_their_ends():
    sequences = Sequences(torch.tensor([2, 0, 3, 1]))
    assert sequences.reversed.rows.tolist() == [1, 0, 4, 3, 2, 5]
    assert sequences.reversed.steps.rows.tolist() == [4, 1, 5, 3, 0, 2]
    assert sequences.reversed.reversed.rows.tolist() == [0, 1, 2, 3, 4, 5]
    assert Sequences(torch.tensor([2, 1]), torch.tensor([2, 0, 1])).reversed.rows.tolist() == [0, 2, 1]
