"""MGLRA against Algorithm 1 written out in plain torch, dialogue by dialogue, with no line of the package but the weights."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import pytest
import torch
from helpers import word_is_kept, word_of
from torch import Tensor, nn

from dgl_merc.graphs import GraphSpec, Structure
from dgl_merc.layers import AttentionFilterOptions, ContextEncoderOptions, CrossModalAttentionOptions, MaskedGCNOptions
from dgl_merc.losses import cross_entropy
from dgl_merc.models import ModelInput, build_model
from dgl_merc.models.mglra import MGLRAOptions

M3 = ("text", "audio", "visual")
WIDTHS = {"text": 5, "audio": 3, "visual": 2}
SEED, STEP, RATE = 11, 6, 0.4


def word(dialogue: int, t: int, k: int) -> int:
    return word_of(SEED, STEP, dialogue, t * len(M3) + k)


def kept(a: int, b: int) -> bool:
    return word_is_kept(a + b, RATE)


def lstm(rows: list[Tensor], w: dict[str, Tensor], prefix: str) -> list[Tensor]:
    """torch's LSTM cell, gates in its order: input, forget, cell, output."""
    size = w[f"{prefix}.weight_hh_l0"].shape[1]
    h, c = torch.zeros(size).double(), torch.zeros(size).double()
    out = []
    for x in rows:
        gates = w[f"{prefix}.weight_ih_l0"] @ x + w[f"{prefix}.bias_ih_l0"] + w[f"{prefix}.weight_hh_l0"] @ h + w[f"{prefix}.bias_hh_l0"]
        i, f, g, o = gates.split(size)
        c = f.sigmoid() * c + i.sigmoid() * g.tanh()
        h = o.sigmoid() * c.tanh()
        out.append(h)
    return out


def contexts(w: dict[str, Tensor], raw: list[dict[str, Tensor]], speakers: list[int], options: MGLRAOptions) -> list[dict[str, Tensor]]:
    """(2) of one dialogue, utterance by utterance."""
    o = options.context

    def along(rows: list[Tensor], prefix: str) -> list[Tensor]:
        ahead = lstm(rows, w, f"{prefix}.forwards.0")
        if not o.bidirectional:
            return ahead
        back = lstm(rows[::-1], w, f"{prefix}.backwards.0")[::-1]
        return [torch.cat(pair) for pair in zip(ahead, back, strict=True)]

    def heard(rows: list[Tensor], who: list[int], name: str) -> list[Tensor]:
        hidden = along(rows, f"encoder.networks.{name}")
        if not o.speaker_context:
            return hidden
        both = [torch.cat(pair) for pair in zip(hidden, rows, strict=True)]
        own: dict[int, Tensor] = {}
        for one in set(who):
            mine = [i for i, other in enumerate(who) if other == one]
            own |= dict(zip(mine, along([both[i] for i in mine], f"encoder.turns.{name}"), strict=True))
        return [torch.cat([h, own[i]]) for i, h in enumerate(hidden)]

    z = raw
    if o.input_dim:
        z = [{m: w[f"encoder.inputs.{m}.weight"] @ v + w[f"encoder.inputs.{m}.bias"] for m, v in x.items()} for x in raw]
    said: dict[tuple[int, str], Tensor] = {}
    if o.hears == "all":
        empty = {m: torch.zeros(o.input_dim or WIDTHS[m]).double() for m in M3}
        together = heard([torch.cat([(empty | x)[m] for m in M3]) for x in z], speakers, "utterance")
        said = {(t, m): h for t, h in enumerate(together) for m in M3}
    else:
        for m in M3:
            there = [t for t, x in enumerate(z) if m in x]
            hidden = heard([z[t][m] for t in there], [speakers[t] for t in there], m)
            said |= {(t, m): h for t, h in zip(there, hidden, strict=True)}
    out = []
    for t, x in enumerate(z):
        whole = {m: torch.cat([said[t, m], v]) if o.input_dim else said[t, m] for m, v in x.items()}
        out.append({m: w[f"encoder.projections.{m}.weight"] @ v + w[f"encoder.projections.{m}.bias"] for m, v in whole.items()})
    return out


def filtered(w: dict[str, Tensor], x: dict[str, Tensor], options: MGLRAOptions) -> dict[str, Tensor]:
    """(3)-(5) on the star of one utterance."""
    o = options.filter
    if o.output == "none" or not x:
        return x
    centre = w["filter.centre.weight"] @ torch.cat([x.get(m, torch.zeros(options.dim).double()) for m in M3])
    c = {}
    for m, leaf in x.items():
        k = M3.index(m)
        whole = torch.cat([w[f"filter.matrices.{n}"][k] for n in range(3)])  # W_k of the concatenation
        ends = [leaf, centre] if o.output == "leaf" else [centre, leaf]
        c[m] = torch.cat([*ends, w["filter.relations"][k]]) @ whole
    if o.output == "leaf":
        return c
    grown = {
        m: v.exp() if o.attention == "channel" else (w["filter.vector"] @ torch.nn.functional.leaky_relu(v, 0.2)).exp()
        for m, v in c.items()
    }
    total = sum(grown.values())
    return {m: grown[m] / total * v for m, v in c.items()}


def recalled(w: dict[str, Tensor], h: dict[str, Tensor], x: dict[str, Tensor] | None, options: MGLRAOptions) -> dict[str, Tensor]:
    """(6)-(9) on the memory blocks of one utterance."""
    if options.memory == "none":
        return x or h
    out = {}
    for m in h:
        entries = list(h.values()) if x is None else {"all": list(x.values()), "own": [x[m]], "own+h": [x[m], h[m]]}[options.memory]
        omega = torch.stack([w["memory.weight"][M3.index(m)] @ entry for entry in entries]).softmax(0)
        out[m] = sum(o * e for o, e in zip(omega, entries, strict=True))
    return out


def attended(w: dict[str, Tensor], talk: list[dict[str, Tensor]], options: MGLRAOptions) -> list[dict[str, Tensor]]:
    """(10)-(14) on one dialogue."""
    o = options.attention
    if not o.heads:
        return talk

    def part(m: str, x: Tensor, number: int) -> Tensor:  # Q, K or V: heads x head_dim
        name = m if o.projections == "modality" else "shared"
        return (w[f"attention.inward.{name}.weight"] @ x).view(3, o.heads, o.head_dim)[number]

    there = {m for x in talk for m in x}
    out: list[dict[str, Tensor]] = []
    for x in talk:
        out.append({})
        for m, row in x.items():
            alone = there == {m}
            if alone and o.lonely == "skip":
                out[-1][m] = row
                continue
            heads = []
            for other in [n for n in M3 if n != m]:
                heard = [y[m if alone else other] for y in talk if (m if alone else other) in y]
                for n in range(o.heads):
                    if not heard:
                        heads.append(torch.zeros(o.head_dim).double())
                        continue
                    source = m if alone else other
                    q = part(m, row, 0)[n]
                    keys, values = (torch.stack([part(source, y, number)[n] for y in heard]) for number in (1, 2))
                    a = torch.softmax(keys @ q / (math.sqrt(o.head_dim) if o.scaled else 1), dim=0)
                    heads.append(a @ values)
            out[-1][m] = w[f"attention.outward.{m}.weight"] @ torch.cat(heads)
    return out


def gru(w: dict[str, Tensor], m: str, x: Tensor, h: Tensor) -> Tensor:
    """(15)."""
    cell = f"update.cells.{m}"
    a = (w[f"{cell}.weight_ih"] @ x + w[f"{cell}.bias_ih"]).chunk(3)
    b = (w[f"{cell}.weight_hh"] @ h + w[f"{cell}.bias_hh"]).chunk(3)
    r, z = (a[0] + b[0]).sigmoid(), (a[1] + b[1]).sigmoid()
    return (1 - z) * (a[2] + r * b[2]).tanh() + z * h


def algorithm_1(  # noqa: C901  (in one piece, as the paper's page)
    w: dict[str, Tensor],
    options: MGLRAOptions,
    cross: str,
    people: tuple[list[int], list[int]],
    raw: list[dict[str, Tensor]],
    dialogue: int,
    training: bool,
) -> Tensor:
    """One dialogue: people = speakers by order in the dialogue and by name, raw[t] the features of the modalities that t has."""
    gcn = options.gcn
    x_c = contexts(w, raw, people[0], options)  # line 2
    x_h = [filtered(w, x, options) for x in x_c]  # line 4
    x_m: list[dict[str, Tensor]] | None = None
    for number in range(options.rounds):  # line 6
        x_r = [recalled(w, h, x_m[t] if x_m else None, options) for t, h in enumerate(x_h)]  # lines 8-17
        x_head = attended(w, x_r, options)  # lines 19-21
        if number == options.rounds - 1 and options.speaker_base == "head":
            break
        state = x_m or x_r
        x_m = [{m: gru(w, m, x, state[t][m]) for m, x in head.items()} for t, head in enumerate(x_head)]  # line 23
    base = x_head if options.speaker_base == "head" else x_m
    nodes = []  # (modality, t, X^S), line 26
    for k, m in enumerate(M3):
        for t, x in enumerate(base):
            if m in x:
                table = w["speakers.table.weight"] if options.speakers != "none" else None
                row = min(people[0][t], options.speaker_rows - 1) if options.speakers == "dialogue" else people[1][t]
                nodes.append((k, t, x[m] if table is None else table[row] + x[m]))
    # line 28: (17), (18) weights; (20) the mask removes edges
    aleph = math.log1p(math.exp(float(w["gcn.raw_aleph"]))) if gcn.learn_aleph else gcn.aleph
    n = len(nodes)
    full, left = torch.zeros(n, n).double(), torch.zeros(n, n).double()
    for i, (k, t, a) in enumerate(nodes):
        for j, (q, u, b) in enumerate(nodes):
            if i == j or (k != q and cross == "utterance" and t != u):
                continue
            cosine = (a @ b / (a.norm() * b.norm())).clamp(-1, 1)
            full[i, j] = (1 - torch.arccos(cosine) / math.pi) * (1.0 if k == q else aleph)
            if not training or gcn.mask == "nodes" or kept(word(dialogue, t, k), word(dialogue, u, q)):
                left[i, j] = full[i, j]
    if training and gcn.rescale:
        left = left / (1 - RATE)
    # (19) masked nodes show the token
    shown = [x for _, _, x in nodes]
    if training and gcn.mask != "edges":
        shown = [x if kept(word(dialogue, t, k) ^ 0x5BD1E995, 0) else w["gcn.token"] for k, t, x in nodes]
    # (21)
    d = torch.diag((full if gcn.degree == "full" else left).sum(1) + 1).inverse().sqrt()
    p = d @ (left + torch.eye(n)) @ d
    h = torch.stack(shown)
    if options.fusion == "gcn":
        for layer in range(gcn.layers):
            h = torch.relu(p @ h @ w[f"gcn.matrices.{layer}"])
        if options.residual:
            h = h + torch.stack(shown)
    # line 30: (22)-(24)
    logits = []
    for t in range(len(raw)):
        places = [torch.zeros(options.dim).double() for _ in M3]
        for i, (k, u, _) in enumerate(nodes):
            if u == t:
                places[k] = h[i]
        hidden = torch.relu(w["head.layers.1.weight"] @ torch.cat(places) + w["head.layers.1.bias"])
        logits.append(w["head.layers.4.weight"] @ hidden + w["head.layers.4.bias"])
    return torch.stack(logits)


TALKS = [[[1, 1, 1], [1, 0, 1], [0, 0, 0], [1, 1, 0]], [[0, 1, 1]], [[1, 1, 1], [1, 1, 1], [1, 0, 0]]]
KEYS = [3, 14, 5]
SPEAKERS = [[0, 1, 0, 2], [0], [0, 1, 1]]
CHARACTERS = [[4, 1, 4, -1], [2], [0, -1, -1]]
KNOWN = 5
CLEAN = ContextEncoderOptions(input_dropout=0.0)
TWO = CrossModalAttentionOptions(2, 3)
READINGS = {
    "default": MGLRAOptions(dim=6, context=CLEAN, dropout=0.0, attention=TWO),
    "print": MGLRAOptions(
        5,
        context=replace(CLEAN, bidirectional=False),
        dropout=0.0,
        filter=AttentionFilterOptions("channel", "leaf"),
        memory="own",
        attention=CrossModalAttentionOptions(2, 3, scaled=False, projections="shared"),
        speakers="corpus",
        speaker_base="head",
        gcn=MaskedGCNOptions(mask="both", degree="full"),
        residual=False,
    ),
    "nodes, residual, own+h": MGLRAOptions(
        4,
        context=CLEAN,
        dropout=0.0,
        filter=AttentionFilterOptions("channel", "share", 2),
        memory="own+h",
        rounds=2,
        attention=CrossModalAttentionOptions(3, 2, lonely="skip"),
        speaker_rows=2,
        gcn=MaskedGCNOptions(layers=1, mask="nodes", aleph=0.7),
    ),
    "rescaled, aleph learnt, turns": MGLRAOptions(
        6,
        context=ContextEncoderOptions("own", input_dim=3, speaker_context=True, input_dropout=0.0),
        dropout=0.0,
        attention=TWO,
        rounds=1,
        speakers="none",
        gcn=MaskedGCNOptions(3, "edges", 0.0, "full", True, 0.5, True),
    ),
    "all heard together": MGLRAOptions(
        6, context=ContextEncoderOptions("all", True, 1, 2, True, 0.0), dropout=0.0, attention=TWO, rounds=2, speakers="none"
    ),
    "all heard together, as they are": MGLRAOptions(
        6, context=ContextEncoderOptions("all", False, input_dropout=0.0), dropout=0.0, attention=CrossModalAttentionOptions(0)
    ),
    "no GAF": MGLRAOptions(6, context=CLEAN, dropout=0.0, filter=AttentionFilterOptions(output="none"), attention=TWO),
    "no MRFA": MGLRAOptions(6, context=CLEAN, dropout=0.0, memory="none", rounds=1, attention=TWO),
    "no MHA": MGLRAOptions(6, context=CLEAN, dropout=0.0, attention=CrossModalAttentionOptions(0), speaker_base="head"),
    "no graph": MGLRAOptions(6, context=CLEAN, dropout=0.0, attention=TWO, fusion="none"),
}


@pytest.mark.parametrize("training", [False, True], ids=["eval", "training"])
@pytest.mark.parametrize("cross", ["utterance", "dialogue"])
@pytest.mark.parametrize("reading", READINGS)
def test_mglra_is_algorithm_1(reading, cross, training):
    options = replace(READINGS[reading], gcn=replace(READINGS[reading].gcn, rate=RATE))
    spec = GraphSpec(M3, cross=cross)
    s = replace(
        Structure.of([len(t) for t in TALKS], spec, presence=[u for t in TALKS for u in t], speakers=[n for t in SPEAKERS for n in t]),
        keys=torch.tensor(KEYS),
        characters=torch.tensor([n for t in CHARACTERS for n in t]),
    )
    generator = torch.Generator().manual_seed(0)
    x = {m: torch.randn(n, WIDTHS[m], generator=generator, dtype=torch.float64) for m, n in s.sizes.items()}
    torch.manual_seed(1)
    model = build_model("mglra", ModelInput(WIDTHS, 4, spec, SEED, KNOWN), options).double().train(training)
    for name, parameter in model.named_parameters():
        if name.startswith(("gcn.token", "gcn.matrices", "speakers", "memory", "filter.vector")):
            nn.init.normal_(parameter, std=0.7)
    weights = {k: v.detach() for k, v in model.named_parameters()}
    got = model(s, x, step=STEP).logits
    wanted, rows = [], {m: iter(v) for m, v in x.items()}
    for talk, key, *people in zip(TALKS, KEYS, SPEAKERS, CHARACTERS, strict=True):
        raw = [{m: next(rows[m]) for k, m in enumerate(M3) if u[k]} for u in talk]
        wanted.append(algorithm_1(weights, options, cross, tuple(people), raw, key, training))
    torch.testing.assert_close(got, torch.cat(wanted), rtol=0, atol=1e-9)
    assert got.std(0).min() > 1e-3, "vacuous: the same logits everywhere"


def test_the_loss_of_reconstruction_is_that_of_the_masked_nodes():
    spec = GraphSpec(M3)
    s = replace(Structure.of([4, 2], spec), keys=torch.tensor([3, 14]))
    x = {m: torch.randn(6, WIDTHS[m], generator=torch.Generator().manual_seed(k)).double() for k, m in enumerate(M3)}
    options = MGLRAOptions(4, context=CLEAN, dropout=0.0, attention=TWO, gcn=MaskedGCNOptions(mask="both", rate=RATE), reconstruction=0.3)
    model = build_model("mglra", ModelInput(WIDTHS, 4, spec, SEED), options).double()
    seen: dict[str, Any] = {}
    model.gcn.register_forward_hook(lambda _, given, fused: seen.update(nodes=given[1], fused=fused.nodes))
    losses = model.train()(s, x, step=STEP).losses
    errors = []
    for k, m in enumerate(M3):
        for u, (key, t) in enumerate([(3, 0), (3, 1), (3, 2), (3, 3), (14, 0), (14, 1)]):
            if not kept(word(key, t, k) ^ 0x5BD1E995, 0):
                errors.append(1 - torch.cosine_similarity(model.reconstruction(seen["fused"][m][u]), seen["nodes"][m][u], dim=0))
    torch.testing.assert_close(losses["reconstruction"], 0.3 * torch.stack(errors).mean(), rtol=0, atol=1e-10)
    assert 0 < len(errors) < 18
    model.gcn.register_forward_hook(lambda *made: made[2]._replace(nodes={m: v.detach() for m, v in made[2].nodes.items()}))
    toward = torch.autograd.grad(model(s, x, step=STEP).losses["reconstruction"], list(model.encoder.parameters()), allow_unused=True)
    assert all(g is None for g in toward), "the features that are guessed carry a gradient"
    assert not model.eval()(s, x).losses


def test_its_gradient_is_the_analytic_one():
    spec = GraphSpec(("text", "audio"), cross="dialogue")
    s = Structure.of([3, 2], spec, presence=[[1, 1], [1, 0], [1, 1], [0, 1], [1, 1]])
    torch.manual_seed(3)
    model = build_model(
        "mglra", ModelInput({"text": 2, "audio": 2}, 3, spec, SEED), MGLRAOptions(4, context=CLEAN, dropout=0.0, attention=TWO)
    ).double()
    x = [torch.randn(4, 2, dtype=torch.float64, requires_grad=True) for _ in range(2)]
    labels = torch.tensor([0, 2, -1, 1, 1])
    assert torch.autograd.gradcheck(lambda a, b: cross_entropy(model(s, {"text": a, "audio": b}, step=STEP).logits, labels), x)
