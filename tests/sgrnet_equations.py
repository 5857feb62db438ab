"""MA-CMU-SGRNet written out from its equations in plain torch, utterance by utterance, with no line of the package."""

from __future__ import annotations

import math
from itertools import combinations
from typing import NamedTuple

import torch
from torch import Tensor

from dgl_merc.graphs import GraphSpec
from dgl_merc.losses import AlignmentOptions
from dgl_merc.models.sgrnet import SGRNetOptions

Weights = dict[str, Tensor]
Talk = list[dict[str, Tensor]]  # of a dialogue: per utterance, modality -> features


class Laid(NamedTuple):
    """What the equations say of one dialogue."""

    logits: Tensor  # [N, C]
    z: Talk
    mean: Talk
    sigma: Talk
    omega: Talk  # modality -> []


def gru(rows: list[Tensor], w: Weights, prefix: str) -> list[Tensor]:
    """torch's GRU cell, gates in its order: reset, update, new."""
    h, out = torch.zeros(w[f"{prefix}.weight_hh_l0"].shape[1]).double(), []
    for x in rows:
        a = (w[f"{prefix}.weight_ih_l0"] @ x + w[f"{prefix}.bias_ih_l0"]).chunk(3)
        b = (w[f"{prefix}.weight_hh_l0"] @ h + w[f"{prefix}.bias_hh_l0"]).chunk(3)
        r, u = (a[0] + b[0]).sigmoid(), (a[1] + b[1]).sigmoid()
        h = (1 - u) * (a[2] + r * b[2]).tanh() + u * h
        out.append(h)
    return out


def encode(w: Weights, o: SGRNetOptions, raw: Talk, modalities: tuple[str, ...], causal: bool) -> Talk:
    """u~ = f(u)."""
    out: Talk = [{} for _ in raw]
    for m in modalities:
        there = [t for t, x in enumerate(raw) if m in x]
        rows = [raw[t][m] for t in there]
        hidden = gru(rows, w, f"encoder.networks.{m}.forwards.0")
        if o.context.bidirectional and not causal:
            back = gru(rows[::-1], w, f"encoder.networks.{m}.backwards.0")[::-1]
            hidden = [torch.cat(pair) for pair in zip(hidden, back, strict=True)]
        if o.context.projected:
            hidden = [w[f"encoder.projections.{m}.weight"] @ h + w[f"encoder.projections.{m}.bias"] for h in hidden]
        for t, h in zip(there, hidden, strict=True):
            out[t][m] = h
    return out


def heard(n: int, i: int, causal: bool) -> list[int]:
    return [j for j in range(n) if j <= i or not causal]


def distributions(w: Weights, o: SGRNetOptions, z: Talk, causal: bool) -> tuple[Talk, Talk]:
    """Fig. 2."""
    d, size = o.distribution, o.dim // o.distribution.heads
    mean: Talk = [{} for _ in z]
    sigma: Talk = [{} for _ in z]

    def seen(m: str, t: int, h: int, path: int) -> Tensor:
        if d.paths == "full":
            return z[t][m]
        mine = z[t][m][h * size : (h + 1) * size]
        return mine[size // 2 :] if path else mine[: size // 2]

    def mapped(name: str, m: str, h: int, x: Tensor) -> Tensor:
        return w[f"distribution.{name}.{m}.weight"][h].T @ x + w[f"distribution.{name}.{m}.bias"][h]

    for t, row in enumerate(z):
        for m in row:
            heads, spreads = [], []
            for h in range(d.heads):
                q, _, _ = mapped("inward", m, h, seen(m, t, h, 0)).chunk(3)
                grown, values = [], []
                for j in heard(len(z), t, causal):
                    if m in z[j]:
                        _, k, v = mapped("inward", m, h, seen(m, j, h, 0)).chunk(3)
                        a = q @ k / math.sqrt(o.dim)
                        grown.append(a.exp() if d.interaction == "softmax" else a.clamp(min=0))
                        values.append(v)
                total = sum(grown)
                heads.append(sum(g / total * v for g, v in zip(grown, values, strict=True)) if total > 0 else torch.zeros(size).double())
                inner = torch.relu(mapped("hidden", m, h, seen(m, t, h, 1)))
                spreads.append(torch.log1p(mapped("deviation", m, h, inner).exp()) + 1e-6)
            mean[t][m] = row[m] + torch.cat(heads)
            sigma[t][m] = torch.cat(spreads)
    return mean, sigma


def fuse(  # noqa: C901  (in one piece, as the paper's page)
    w: Weights, o: SGRNetOptions, mean: Talk, sigma: Talk, noise: Talk | None, names: tuple[str, ...], causal: bool
) -> tuple[list[Tensor], Talk]:
    """(14)-(21) of one dialogue: g of each utterance, and the weights."""
    f = o.fusion
    omega: Talk = []
    for row in sigma:
        norms = {m: s.norm() for m, s in row.items()}
        shares = {"printed": norms, "inverse": {m: 1 / v for m, v in norms.items()}, "equal": {m: torch.ones(()).double() for m in norms}}
        mine = shares[f.uncertainty]
        omega.append({m: v / sum(mine.values()) for m, v in mine.items()})
    x: Talk = []
    for t, row in enumerate(mean):
        drawn = {m: v if noise is None else v + sigma[t][m] * noise[t][m] for m, v in row.items()}
        x.append({m: omega[t][m] * v for m, v in drawn.items()})
    g = []
    for t, row in enumerate(x):
        if f.interaction == "sum":
            g.append(w["fusion.sum.weight"] @ sum(row.values(), torch.zeros(o.dim).double()))
            continue
        near = heard(len(x), t, causal)
        parts = {}
        for m, own in row.items():
            alone = not any(n in x[j] for j in near for n in names if n != m)
            answers = []
            for n in [n for n in names if n != m]:
                source = m if alone else n
                rows = [x[j][source] for j in near if source in x[j]]
                for h in range(f.heads):
                    if not rows:
                        answers.append(torch.zeros(f.head_dim).double())
                        continue
                    q = (w[f"fusion.inward.{m}.weight"] @ own).view(3, f.heads, -1)[0, h]
                    k, v = (
                        torch.stack([(w[f"fusion.inward.{source}.weight"] @ r).view(3, f.heads, -1)[p, h] for r in rows]) for p in (1, 2)
                    )
                    answers.append(torch.softmax(k @ q / math.sqrt(f.head_dim), 0) @ v)
            parts[m] = w[f"fusion.outward.{m}.weight"] @ torch.cat(answers)
        if len(names) == 2:
            halves = [o.width - o.width // 2, o.width // 2]
            whole = torch.cat([parts.get(m, torch.zeros(n).double()) for m, n in zip(names, halves, strict=True)])
        else:
            whole = sum(parts.values(), torch.zeros(o.width).double())
        if f.residual:
            whole = sum((w[f"fusion.own.{m}.weight"] @ v for m, v in row.items()), whole)
        g.append(whole)
    return g, omega


def refine(w: Weights, o: SGRNetOptions, g: list[Tensor], speakers: list[int], spec: GraphSpec) -> list[Tensor]:  # noqa: C901
    """(22)-(26) of one dialogue."""
    c, n = o.graph, len(g)

    def likeness(i: int, j: int) -> Tensor:
        if i == j:
            cosine = torch.ones(()).double() if g[i].norm() > 0 else torch.zeros(()).double()
        else:
            lengths = g[i].norm() * g[j].norm()
            cosine = g[i] @ g[j] / lengths if lengths > 0 else torch.zeros(()).double()
        angle = torch.arccos(cosine)
        return 1 - angle / (math.pi if c.normalise else 1)

    def relation(i: int, j: int) -> int | None:  # of j's message to i
        if not (0 < i - j <= spec.past or (0 < j - i <= spec.future and not spec.causal)):
            return None
        other = speakers[i] != speakers[j]
        return int(other) if c.relations == 2 else 2 * int(other) + int(j > i)

    def steps(i: int, j: int) -> int:
        apart = abs(i - j)
        reach = spec.past if j < i else spec.future
        return c.buckets if apart and not reach else min(math.ceil(apart / reach) if apart else 0, c.buckets - 1)

    parts: list[list[Tensor]] = [[] for _ in g]
    if c.layers:
        h = g
        for layer in range(c.layers):
            typed, own, new = w[f"graph.syntactic.typed.{layer}"], w[f"graph.syntactic.own.{layer}"], []
            for i in range(n):
                total = h[i] @ own
                for r in range(c.relations):
                    group = [j for j in range(n) if relation(i, j) == r]
                    for j in group:
                        total = total + (likeness(i, j) if c.edge_weight else 1) / len(group) * (h[j] @ typed[r])
                new.append(total.clamp(min=0))
            h = new
        for part, row in zip(parts, h, strict=True):
            part.append(row)
    for i in range(n if c.heads else 0):
        for head in range(c.heads):
            near = heard(n, i, spec.causal)
            q, k, v = ([(w["graph.semantic.inward.weight"] @ row).view(3, c.heads, -1)[p, head] for row in g] for p in range(3))
            sp = [likeness(i, j) + w["graph.semantic.distances"][head, steps(i, j)] if c.bias else torch.zeros(()).double() for j in near]
            a = torch.softmax(torch.stack([q[i] @ k[j] / math.sqrt(o.width) + s for j, s in zip(near, sp, strict=True)]), 0)
            parts[i].append(sum(a[p] * (v[j] + sp[p]) for p, j in enumerate(near)))
    return [torch.cat(part) for part in parts]


def classify(w: Weights, h: Tensor) -> Tensor:
    """(27), (28) before the softmax."""
    return w["head.layers.4.weight"] @ torch.relu(w["head.layers.1.weight"] @ h + w["head.layers.1.bias"]) + w["head.layers.4.bias"]


def written_out(w: Weights, o: SGRNetOptions, spec: GraphSpec, raw: Talk, speakers: list[int], noise: Talk | None) -> Laid:
    names = spec.modalities
    u = encode(w, o, raw, names, spec.causal)
    if len(names) == 1:
        g = [w["alone.weight"] @ x[names[0]] if x else torch.zeros(o.width).double() for x in u]
        return Laid(torch.stack([classify(w, h) for h in refine(w, o, g, speakers, spec)]), u, [], [], [])
    z = [{m: v / v.norm() for m, v in x.items()} for x in u]
    mean, sigma = distributions(w, o, z, spec.causal)
    g, omega = fuse(w, o, mean, sigma, noise, names, spec.causal)
    return Laid(torch.stack([classify(w, h) for h in refine(w, o, g, speakers, spec)]), z, mean, sigma, omega)


def alignment(w: Weights, o: AlignmentOptions, laid: list[Laid], labels: list[int], names: tuple[str, ...]) -> dict[str, Tensor]:
    """(1)-(13) of the batch, times lambda."""
    z, mean, sigma = ([x for talk in laid for x in getattr(talk, part)] for part in ("z", "mean", "sigma"))
    zero = torch.zeros(()).double()
    items = [(m, labels[u], x[m]) for u, x in enumerate(z) for m in x if labels[u] >= 0]

    def s(a: tuple[str, int, Tensor], b: tuple[str, int, Tensor]) -> Tensor:
        if a[0] != b[0]:
            return a[2] @ b[2] / o.tau_cross - o.xi_cross
        tau, xi = (o.tau_text, o.xi_text) if a[0] == "text" else (o.tau_speech, o.xi_speech)
        return a[2] @ b[2] / tau - xi

    each = []
    for i, a in enumerate(items):
        scores = [(b[1] == a[1], s(a, b)) for j, b in enumerate(items) if j != i]
        positive = [v for same, v in scores if same and v.exp() > 1]
        negative = [v.exp() for same, v in scores if not same or (o.hard_same == "negative" and not v.exp() > 1)]
        if positive:
            each.append(-sum((v.exp() / (v.exp() + sum(negative, zero))).log() for v in positive) / len(positive))
    instance = sum(each) / len(each) if each else zero

    c = w["alignment.prototypes"]
    c = c / c.norm(dim=1, keepdim=True)
    p, q = {}, {}
    for m in names:
        rows = [(u, c @ x[m]) for u, x in enumerate(z) if m in x]
        p[m] = {u: torch.softmax(v / o.tau_prototype, 0) for u, v in rows}
        code = torch.stack([(v.detach() / o.epsilon).exp() for _, v in rows])
        for _ in range(o.iterations):
            code = code / code.sum(0, keepdim=True) * len(rows) / o.prototypes
            code = code / code.sum(1, keepdim=True)
        q[m] = dict(zip([u for u, _ in rows], code, strict=True))
    cross, apart = [], []
    for m, n in combinations(names, 2):
        both = [u for u, x in enumerate(z) if m in x and n in x]
        if both:
            cross.append(-sum(q[n][u] @ p[m][u].log() + q[m][u] @ p[n][u].log() for u in both) / (2 * len(both)))
            apart.append(
                sum(((mean[u][m] - mean[u][n]) ** 2 + (sigma[u][m] - sigma[u][n]) ** 2).sum().sqrt() for u in both) / (2 * len(both))
            )
    return {
        "instance alignment": o.weight * o.instance * instance,
        "prototype alignment": o.weight * o.prototype * sum(cross) / len(cross),
        "latent alignment": o.weight * o.latent * sum(apart) / len(apart),
    }
