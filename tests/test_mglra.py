"""MGLRA against its equations written out in plain torch, dialogue by dialogue, with no line of the package but the weights."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
import torch
from helpers import word_is_kept, word_of
from torch import Tensor, nn

from dgl_merc.graphs import GraphSpec, Structure
from dgl_merc.layers import MaskedGCNOptions
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


def written_out(  # noqa: C901  (in one piece, as the paper's page)
    w: dict[str, Tensor],
    options: MGLRAOptions,
    cross: str,
    presence: list[list[int]],
    rows: dict[str, list[Tensor]],
    dialogue: int,
    training: bool,
) -> Tensor:
    """One dialogue: presence[t][k], rows[m] the features of the utterances that have m."""
    gcn = options.gcn
    # (2) context
    nodes = []  # (modality, t, X^S)
    for k, m in enumerate(M3):
        ahead = lstm(rows[m], w, f"encoder.encoders.{m}.forwards.0")
        if options.bidirectional:
            back = lstm(rows[m][::-1], w, f"encoder.encoders.{m}.backwards.0")[::-1]
            ahead = [torch.cat(pair) for pair in zip(ahead, back, strict=True)]
        there = [t for t, has in enumerate(presence) if has[k]]
        for t, h in zip(there, ahead, strict=True):
            nodes.append((k, t, w[f"encoder.projections.{m}.weight"] @ h + w[f"encoder.projections.{m}.bias"]))
    # (17), (18) weights; (20) the mask removes edges
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
    for layer in range(gcn.layers):
        h = torch.relu(p @ h @ w[f"gcn.matrices.{layer}"])
    if options.residual:
        h = h + torch.stack(shown)
    # (22)-(24)
    logits = []
    for t in range(len(presence)):
        places = [torch.zeros(options.dim).double() for _ in M3]
        for i, (k, u, _) in enumerate(nodes):
            if u == t:
                places[k] = h[i]
        hidden = torch.relu(w["head.layers.1.weight"] @ torch.cat(places) + w["head.layers.1.bias"])
        logits.append(w["head.layers.4.weight"] @ hidden + w["head.layers.4.bias"])
    return torch.stack(logits)


TALKS = [[[1, 1, 1], [1, 0, 1], [0, 0, 0], [1, 1, 0]], [[0, 1, 1]], [[1, 1, 1], [1, 1, 1], [1, 0, 0]]]
KEYS = [3, 14, 5]
READINGS = {
    "default": MGLRAOptions(dim=6, dropout=0.0),
    "print": MGLRAOptions(5, False, 1, 0.0, False, MaskedGCNOptions(mask="both", degree="full")),
    "nodes, residual": MGLRAOptions(4, True, 1, 0.0, True, MaskedGCNOptions(layers=1, mask="nodes", aleph=0.7)),
    "rescaled, aleph learnt": MGLRAOptions(6, True, 1, 0.0, True, MaskedGCNOptions(3, "edges", 0.0, "full", True, 0.5, True)),
}


@pytest.mark.parametrize("training", [False, True], ids=["eval", "training"])
@pytest.mark.parametrize("cross", ["utterance", "dialogue"])
@pytest.mark.parametrize("reading", READINGS)
def test_mglra_is_its_equations(reading, cross, training):
    options = replace(READINGS[reading], gcn=replace(READINGS[reading].gcn, rate=RATE))
    spec = GraphSpec(M3, cross=cross)
    s = replace(Structure.of([len(t) for t in TALKS], spec, presence=[u for t in TALKS for u in t]), keys=torch.tensor(KEYS))
    generator = torch.Generator().manual_seed(0)
    x = {m: torch.randn(n, WIDTHS[m], generator=generator, dtype=torch.float64) for m, n in s.sizes.items()}
    torch.manual_seed(1)
    model = build_model("mglra", ModelInput(WIDTHS, 4, spec, SEED), options).double().train(training)
    for name, parameter in model.named_parameters():
        if name.startswith(("gcn.token", "gcn.matrices")):
            nn.init.normal_(parameter, std=0.7)
    weights = {k: v.detach() for k, v in model.named_parameters()}
    got = model(s, x, step=STEP)
    wanted, first = [], dict.fromkeys(M3, 0)
    for talk, key in zip(TALKS, KEYS, strict=True):
        rows = {}
        for k, m in enumerate(M3):
            count = sum(u[k] for u in talk)
            rows[m] = list(x[m][first[m] : first[m] + count])
            first[m] += count
        wanted.append(written_out(weights, options, cross, talk, rows, key, training))
    torch.testing.assert_close(got, torch.cat(wanted), rtol=0, atol=1e-9)


def test_its_gradient_is_the_analytic_one():
    spec = GraphSpec(("text", "audio"), cross="dialogue")
    s = Structure.of([3, 2], spec, presence=[[1, 1], [1, 0], [1, 1], [0, 1], [1, 1]])
    torch.manual_seed(3)
    model = build_model("mglra", ModelInput({"text": 2, "audio": 2}, 3, spec, SEED), MGLRAOptions(4, dropout=0.0)).double()
    x = [torch.randn(4, 2, dtype=torch.float64, requires_grad=True) for _ in range(2)]
    labels = torch.tensor([0, 2, -1, 1, 1])
    assert torch.autograd.gradcheck(lambda a, b: cross_entropy(model(s, {"text": a, "audio": b}, step=STEP), labels), x)
