"""MA-CMU-SGRNet against its equations as :mod:`sgrnet_equations` writes them out, with no line of the package but the weights.

Outputs, losses and the gradients of every weight and feature, for readings of the paper, two and three modalities, and one.
"""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from sgrnet_equations import Talk, alignment, written_out
from torch import Tensor

from dgl_merc.graphs import GraphSpec, Structure
from dgl_merc.layers import ContextEncoderOptions, DistributionEncoderOptions, SemanticGraphOptions, UncertaintyFusionOptions
from dgl_merc.losses import AlignmentOptions, cross_entropy
from dgl_merc.models import Model, ModelInput, build_model
from dgl_merc.models.sgrnet import SGRNetOptions

WIDTHS = {"text": 5, "audio": 3, "visual": 2}
CLASSES = 3
M2, M3 = ("text", "audio"), ("text", "audio", "visual")
TALKS = [[[1, 1, 1], [1, 0, 1], [0, 0, 0], [1, 1, 0], [1, 1, 1]], [[0, 1, 1]], [[1, 1, 1], [1, 1, 1], [1, 0, 0]], [[1, 0, 0], [1, 0, 0]]]
SPEAKERS = [[0, 1, 0, 2, 0], [0], [0, 1, 1], [0, 0]]
LABELS = [0, 1, -1, 0, 2, 1, 2, 0, 1, -1, 0]
GRU = ContextEncoderOptions(cell="gru", input_dropout=0.0)
PLAIN = replace(GRU, bidirectional=False, projected=False)
FEW = AlignmentOptions(prototypes=7)
READINGS = {
    "default": SGRNetOptions(8, 6, GRU, 0.0, DistributionEncoderOptions(2), UncertaintyFusionOptions(heads=2, head_dim=3), alignment=FEW),
    "print": SGRNetOptions(
        10,
        8,
        PLAIN,
        0.0,
        DistributionEncoderOptions(2, "split"),
        UncertaintyFusionOptions(heads=2, head_dim=3, residual=False),
        SemanticGraphOptions(normalise=False),
        replace(FEW, hard_same="negative"),
    ),
    "relu, inverse, two relations, offsets": SGRNetOptions(
        6,
        4,
        replace(PLAIN, bidirectional=True),
        0.0,
        DistributionEncoderOptions(3, "split", "relu", 0.5),
        UncertaintyFusionOptions("inverse", heads=1, head_dim=4),
        SemanticGraphOptions(2, layers=1, heads=1, buckets=2),
        AlignmentOptions(0.9, 0.3, 0.2, 0.5, 0.4, 0.2, 0.15, 0.1, -0.2, 0.3, "negative", 4, 0.2, 0.3, 5),
    ),
    "no UW, no SyE, no SeE": SGRNetOptions(
        8,
        6,
        GRU,
        0.0,
        DistributionEncoderOptions(2, interaction="relu"),
        UncertaintyFusionOptions("equal", heads=2, head_dim=3),
        SemanticGraphOptions(edge_weight=False, bias=False),
        FEW,
    ),
    "no CMI, no semantic encoder": SGRNetOptions(
        8,
        7,
        GRU,
        0.0,
        DistributionEncoderOptions(2),
        UncertaintyFusionOptions(interaction="sum"),
        SemanticGraphOptions(layers=3, heads=0),
        FEW,
    ),
    "no syntactic encoder": SGRNetOptions(
        8,
        8,
        GRU,
        0.0,
        DistributionEncoderOptions(1),
        UncertaintyFusionOptions(heads=2, head_dim=3),
        SemanticGraphOptions(layers=0),
        FEW,
    ),
}
SPECS = {
    "two": GraphSpec(M2),
    "three, windows": GraphSpec(M3, past=2, future=1),
    "three, causal": GraphSpec(M3, past=1, causal=True),
    "past alone": GraphSpec(M2, future=0),
    "one": GraphSpec(("text",), past=2, future=2),
    "one, causal": GraphSpec(("audio",), causal=True),
}


def structure_of(spec: GraphSpec) -> Structure:
    columns = [M3.index(m) for m in spec.modalities]
    presence = [[u[k] for k in columns] for t in TALKS for u in t]
    return Structure.of([len(t) for t in TALKS], spec, presence=presence, speakers=[n for t in SPEAKERS for n in t])


def make(options: SGRNetOptions, spec: GraphSpec) -> Model:
    torch.manual_seed(1)
    model = build_model("sgrnet", ModelInput({m: WIDTHS[m] for m in spec.modalities}, CLASSES, spec), options).double()
    for name, parameter in model.named_parameters():
        if name.startswith(("graph", "fusion", "distribution.inward", "prototypes")):
            torch.nn.init.normal_(parameter, std=1.5 if "fusion.inward" in name else 0.6)
    return model


def talks_of(s: Structure, rows: dict[str, Tensor]) -> list[Talk]:
    """Modality -> [N_m, D] to what each utterance of each dialogue has."""
    flat: Talk = [{} for _ in range(s.num_utterances)]
    for m, x in rows.items():
        for u, row in zip(s.nodes[m].tolist(), x, strict=True):
            flat[u][m] = row
    return [flat[int(lo) : int(hi)] for lo, hi in zip(s.offsets[:-1], s.offsets[1:], strict=True)]


@pytest.mark.parametrize("training", [False, True], ids=["eval", "training"])
@pytest.mark.parametrize("spec", SPECS.values(), ids=SPECS.keys())
@pytest.mark.parametrize("reading", READINGS)
def test_sgrnet_is_its_equations(reading, spec, training):
    options, s = READINGS[reading], structure_of(spec)
    generator = torch.Generator().manual_seed(0)
    x = {m: torch.randn(n, WIDTHS[m], generator=generator, dtype=torch.float64) for m, n in s.sizes.items()}
    model, labels = make(options, spec).train(training), torch.tensor(LABELS)
    names = [n for n, _ in model.named_parameters()]
    runs = []
    for fast in (True, False):
        leaves = [t.detach().clone().requires_grad_() for t in (*x.values(), *model.parameters())]
        rows, weights = dict(zip(x, leaves, strict=False)), dict(zip(names, leaves[len(x) :], strict=True))
        torch.manual_seed(4)
        if fast:
            got = torch.func.functional_call(model, weights, (s, rows), {"labels": labels})
            logits, losses = got.logits, dict(got.losses)
        else:
            noise = [None] * len(TALKS)
            if training and len(x) > 1:
                noise = talks_of(s, {m: torch.randn(n, options.dim, dtype=torch.float64) for m, n in s.sizes.items()})
            laid = [
                written_out(weights, options, spec, raw, who, eps) for raw, who, eps in zip(talks_of(s, rows), SPEAKERS, noise, strict=True)
            ]
            logits = torch.cat([talk.logits for talk in laid])
            losses = alignment(weights, options.alignment, laid, LABELS, spec.modalities) if training and len(x) > 1 else {}
        cotangent = torch.randn(logits.shape, generator=torch.Generator().manual_seed(2), dtype=torch.float64)
        total = (logits * cotangent).sum() + sum(losses.values())
        runs.append((logits, losses, torch.autograd.grad(total, leaves, materialize_grads=True)))
    (logits, losses, gradients), (want, want_losses, want_gradients) = runs
    torch.testing.assert_close(logits, want, rtol=0, atol=1e-9)
    assert logits.std(0).min() > 1e-3, "vacuous: the same logits everywhere"
    torch.testing.assert_close(losses, want_losses, rtol=0, atol=1e-9)
    for name, mine, theirs in zip([*x, *names], gradients, want_gradients, strict=True):
        torch.testing.assert_close(mine, theirs, rtol=1e-8, atol=1e-9, msg=lambda m, name=name: f"{name}: {m}")
        assert theirs.abs().max() > 0 or "prototypes" in name or not training, f"vacuous: {name} has no gradient"


def test_what_it_says_of_each_utterance_is_what_it_weighs():
    options, spec = READINGS["print"], SPECS["three, windows"]
    s = structure_of(spec)
    x = {m: torch.randn(n, WIDTHS[m], generator=torch.Generator().manual_seed(0)).double() for m, n in s.sizes.items()}
    model = make(options, spec).eval()
    details = model(s, x).details
    weights = {k: v.detach() for k, v in model.named_parameters()}
    assert list(details) == [f"{kind}_{m}" for kind in ("sigma", "weight") for m in M3]
    laid = [written_out(weights, options, spec, raw, who, None) for raw, who in zip(talks_of(s, x), SPEAKERS, strict=True)]
    for kind, rows in (("sigma", [t.sigma for t in laid]), ("weight", [t.omega for t in laid])):
        for u, row in enumerate(x for talk in rows for x in talk):
            for m in M3:
                found = details[f"{kind}_{m}"][u]
                assert (found.isnan() and m not in row) or abs(found - row[m].norm()) < 1e-10
    total = torch.stack([details[f"weight_{m}"] for m in M3]).nansum(0)
    torch.testing.assert_close(total, s.presence.any(1).double())
    assert not model.train()(s, x, labels=torch.tensor(LABELS)).details


def test_labels_reach_nothing_but_the_alignment():
    s, options = structure_of(SPECS["two"]), READINGS["default"]
    x = {m: torch.randn(n, WIDTHS[m], generator=torch.Generator().manual_seed(0)).double() for m, n in s.sizes.items()}
    model = make(options, SPECS["two"]).train()
    seen = []
    for labels in (torch.tensor(LABELS), torch.tensor(LABELS).flip(0), torch.full((11,), -1), None):
        torch.manual_seed(0)
        seen.append(model(s, x, labels=labels))
    assert all(torch.equal(seen[0].logits, other.logits) for other in seen)
    instance = [out.losses["instance alignment"] for out in seen]
    assert instance[0] != instance[1]
    assert instance[2] == instance[3] == 0
    assert len({out.losses["prototype alignment"].item() for out in seen}) == 1, "it needs no labels"
    model.eval()
    assert torch.equal(model(s, x, labels=torch.tensor(LABELS)).logits, model(s, x).logits)
    assert not model(s, x, labels=torch.tensor(LABELS)).losses


@pytest.mark.parametrize("part", ["weight", "instance", "prototype", "latent"])
def test_a_loss_whose_factor_is_0_is_not_made(part):
    options = replace(READINGS["default"], alignment=replace(FEW, **{part: 0.0}))
    s = structure_of(SPECS["two"])
    x = {m: torch.randn(n, WIDTHS[m]).double() for m, n in s.sizes.items()}
    model = make(options, SPECS["two"]).train()
    left = {"instance", "prototype", "latent"} - ({part} if part != "weight" else {"instance", "prototype", "latent"})
    assert set(model(s, x, labels=torch.tensor(LABELS)).losses) == {f"{name} alignment" for name in left}
    assert any("prototypes" in name for name, _ in model.named_parameters()) == ("prototype" in left), "a parameter that never learns"


def test_its_gradient_is_the_analytic_one():
    spec = GraphSpec(M2)
    s = Structure.of([3, 2], spec, presence=[[1, 1], [1, 0], [1, 1], [0, 1], [1, 1]])
    options = replace(READINGS["default"], alignment=replace(FEW, prototype=0.0))  # codes change with the input, and have no gradient
    model, labels = make(options, spec).train(), torch.tensor([0, 2, -1, 1, 0])
    x = [torch.randn(4, WIDTHS[m], dtype=torch.float64, requires_grad=True) for m in M2]

    def loss(text: Tensor, audio: Tensor) -> Tensor:
        torch.manual_seed(0)
        out = model(s, {"text": text, "audio": audio}, labels=labels)
        return cross_entropy(out.logits, labels) + sum(out.losses.values())

    assert torch.autograd.gradcheck(loss, x)
