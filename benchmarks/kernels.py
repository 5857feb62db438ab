"""How fast the kernels are, every backend beside the bare matrix products that none can avoid, on one core.

    python benchmarks/kernels.py [--only masked_gcn] [--rounds 21]

Batches: IEMOCAP-like (32 dialogues of 8-110 utterances), MELD-like (32 of 1-24), long (one dialogue). Three modalities, D = 100, two
layers, random features; masks of rate .7 unless said. All backends run in one process, mixed, each call on a fresh structure (edges and
blocks are made anew, as in training). ``bare``: the products of the same shapes as the dense blocks' (similarities, aggregation, weights;
for the backward pass the two products that each needs), nothing else. ``one block``: our dense form, every dialogue padded to the longest.
``padded``: the same, and ``block diagonal``: the whole batch as one matrix (the way of the field's public code), in plain torch, as one
writes it down. ``auto`` names what the rule chooses.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from statistics import median, quantiles
from unittest.mock import patch

import click
import numpy as np
import torch
from torch import Tensor

from dgl_merc.graphs import UTTERANCE, GraphSpec, Structure
from dgl_merc.graphs.blocks import PRICE
from dgl_merc.kernels import (
    ArccosWeight,
    HashMask,
    attention_filter,
    choose_backend,
    cross_modal_attention,
    frequency_gcn,
    masked_gcn,
    rgcn,
    semantic_attention,
)

M3 = ("text", "audio", "visual")
D = 100
BACKENDS = ("dense", "dgl", "scatter")
Call = Callable[[], Tensor]
_DRAW = np.random.default_rng(0)
BATCHES = {
    "IEMOCAP-like": _DRAW.integers(8, 111, 32).tolist(),
    "MELD-like": np.clip(np.round(_DRAW.gamma(2.0, 4.8, 32)), 1, 24).astype(int).tolist(),
    "1 x 2000": [2000],
    "1 x 20000": [20000],
}


@dataclass
class Case:
    """A line of the table: a kernel on a batch.

    Attributes:
        kernel: its name.
        what: options, in words.
        batch: a name of ``BATCHES``.
        spec: who is connected.
        call: structure and backend to the output.
        leaves: what a backward pass is to.
        products: of a structure, [..., a, b] and [..., b, c] of each product that cannot be avoided.
        rate: of the mask.
        others: further forms by name.
    """

    kernel: str
    what: str
    batch: str
    spec: GraphSpec
    call: Callable[[Structure, str], Tensor]
    leaves: list[Tensor]
    products: Callable[[Structure], list[tuple[tuple[int, ...], tuple[int, ...]]]]
    rate: float = 0.0
    others: tuple[str, ...] = ()

    def structure(self) -> Structure:
        """A fresh one."""
        return Structure.of(BATCHES[self.batch], self.spec)


def leaf(*shape: int, scale: float = 1.0) -> Tensor:
    """A random tensor that wants a gradient."""
    return (torch.randn(*shape) * scale).requires_grad_()


def rectangles(s: Structure, types: tuple[str, ...], before: int | None = None, after: int | None = None) -> Iterator[tuple[int, int, int]]:
    """Pieces, rows and columns of each block."""
    yield from s.blocks(types, before, after).shapes


def masked_case(batch: str, spec: GraphSpec, rate: float, what: str, others: tuple[str, ...] = ()) -> Case:
    """Two masked layers."""
    n = sum(BATCHES[batch])
    x, w = {m: leaf(n, D) for m in M3}, [leaf(D, D, scale=0.1) for _ in range(2)]
    mask = HashMask(0, rate) if rate else None
    joint = spec.cross == "dialogue"

    def call(s: Structure, backend: str) -> Tensor:
        if backend in PLAIN:
            return PLAIN[backend](s, x, w, mask)
        with patch("dgl_merc.graphs.blocks.PRICE", 1e18 if backend == "one block" else PRICE):
            y = masked_gcn(s, x, w, weight=ArccosWeight(x), mask=mask, backend="dense" if backend == "one block" else backend)
        return torch.cat(list(y.values()))

    def products(s: Structure) -> list[tuple[tuple[int, ...], tuple[int, ...]]]:
        found: list[tuple[tuple[int, ...], tuple[int, ...]]] = []
        for b, r, c in rectangles(s, M3, *s.spec.reach(("text", "same", "text"))):
            b, r, c = (b, 3 * r, 3 * c) if joint else (3 * b, r, c)
            found += [((b, r, D), (b, D, c)), *[((b, r, c), (b, c, D))] * 2]
        return [*found, *[((1, 3 * n, D), (1, D, D))] * 2]

    return Case("masked_gcn", what, batch, spec, call, [*x.values(), *w], products, rate, others)


def padded(s: Structure, x: dict[str, Tensor], w: list[Tensor], mask: HashMask | None) -> Tensor:
    """Eq. 17-21 on [B, M, L, L], every dialogue as long as the longest, cross edges as ``s`` says, degrees of what is left."""
    valid = torch.arange(int(s.lengths.max())) < s.lengths[:, None]
    h = torch.stack([torch.nn.utils.rnn.pad_sequence(v.split(s.lengths.tolist()), batch_first=True) for v in x.values()], dim=1)
    b, m, length, _ = h.shape
    joint = s.spec.cross == "dialogue"
    there = valid[:, None].expand(b, m, length)
    if joint:
        h, there = h.flatten(1, 2)[:, None], there.flatten(1, 2)[:, None]

    def drawn(*shape: int) -> Tensor:
        return torch.ones(shape, dtype=torch.bool) if mask is None else torch.rand(shape) >= mask.rate

    def weigh(cosine: Tensor) -> Tensor:
        return 1 - torch.arccos(cosine.clamp(-0.99999, 0.99999)) / torch.pi

    size = h.shape[2]
    unit = torch.nn.functional.normalize(h, dim=-1)
    near = there[..., :, None] & there[..., None, :] & ~torch.eye(size, dtype=torch.bool) & drawn(b, h.shape[1], size, size)
    a = weigh(unit @ unit.transpose(-1, -2)) * near
    beside = None
    if not joint:
        apart = ~torch.eye(m, dtype=torch.bool)[:, :, None] & drawn(b, m, m, length) & valid[:, None, None]
        beside = weigh(torch.einsum("bmld,bnld->bmnl", unit, unit)) * apart
    degree = a.sum(-1) if beside is None else a.sum(-1) + beside.sum(2)
    root = (degree + 1).rsqrt()[..., None]
    for matrix in w:
        scaled = root * h
        heard = a @ scaled + scaled
        if beside is not None:
            heard = heard + torch.einsum("bmnl,bnld->bmld", beside, scaled)
        h = torch.relu((root * heard) @ matrix)
    return h[there]


def block_diagonal(s: Structure, x: dict[str, Tensor], w: list[Tensor], mask: HashMask | None) -> Tensor:
    """Eq. 17-21 on one dense matrix over all nodes of the batch, cross edges within utterances, degrees of what is left."""
    h = torch.cat(list(x.values()))
    dialogue, position = s.dialogue.repeat(3), torch.arange(s.num_utterances).repeat(3)
    kind = torch.arange(3).repeat_interleave(s.num_utterances)
    near = (dialogue[:, None] == dialogue) & ((kind[:, None] == kind) | (position[:, None] == position))
    if mask is not None:
        near &= torch.rand(near.shape) >= mask.rate
    near.fill_diagonal_(False)
    unit = torch.nn.functional.normalize(h)
    a = (1 - torch.arccos((unit @ unit.T).clamp(-0.99999, 0.99999)) / torch.pi) * near + torch.eye(len(h))
    root = a.sum(1).rsqrt()
    p = root[:, None] * a * root
    for matrix in w:
        h = torch.relu(p @ h @ matrix)
    return h


PLAIN = {"padded": padded, "block diagonal": block_diagonal}


def frequency_case(batch: str) -> Case:
    """Four layers."""
    n = sum(BATCHES[batch])
    x, vectors = {m: leaf(n, D) for m in M3}, [leaf(2, D, scale=0.1) for _ in range(4)]

    def call(s: Structure, backend: str) -> Tensor:
        return torch.cat(list(frequency_gcn(s, x, vectors, backend=backend).values()))  # type: ignore[arg-type]

    def products(s: Structure) -> list[tuple[tuple[int, ...], tuple[int, ...]]]:
        return [((3 * b, r, c), (3 * b, c, D)) for b, r, c in rectangles(s, M3)] * 4

    return Case("frequency_gcn", "4 layers", batch, GraphSpec(M3), call, [*x.values(), *vectors], products)


def rgcn_case(batch: str, window: int) -> Case:
    """Two layers, four relations, weighted."""
    n = sum(BATCHES[batch])
    g, layers = leaf(n, D), [(leaf(4, D, 50, scale=0.1), leaf(D, 50, scale=0.1)), (leaf(4, 50, 50, scale=0.1), leaf(50, 50, scale=0.1))]

    def call(s: Structure, backend: str) -> Tensor:
        y: Tensor = rgcn(s, g, layers, weight=ArccosWeight({UTTERANCE: g}), backend=backend)  # type: ignore[arg-type]
        return y

    def products(s: Structure) -> list[tuple[tuple[int, ...], tuple[int, ...]]]:
        found: list[tuple[tuple[int, ...], tuple[int, ...]]] = []
        for b, r, c in rectangles(s, (UTTERANCE,), window, window):
            found += [((b, r, D), (b, D, c)), ((b, 4 * r, c), (b, c, D)), ((b, 4 * r, c), (b, c, 50))]
        return [*found, ((1, n, 5 * D), (1, 5 * D, 50)), ((1, n, 250), (1, 250, 50))]

    spec = GraphSpec(("text",), past=window, future=window)
    return Case("rgcn", f"window {window}", batch, spec, call, [g, *(w for layer in layers for w in layer)], products)


def semantic_case(batch: str) -> Case:
    """Two heads of 25, likeness and distance."""
    n = sum(BATCHES[batch])
    g, table, (q, k, v) = leaf(n, D), leaf(2, 33), (leaf(n, 2, 25) for _ in range(3))

    def call(s: Structure, backend: str) -> Tensor:
        rule = ArccosWeight({UTTERANCE: g})
        y: Tensor = semantic_attention(s, q, k, v, scale=10.0, weight=rule, distances=table, backend=backend)  # type: ignore[arg-type]
        return y

    def products(s: Structure) -> list[tuple[tuple[int, ...], tuple[int, ...]]]:
        found: list[tuple[tuple[int, ...], tuple[int, ...]]] = []
        for b, r, c in rectangles(s, (UTTERANCE,)):
            found += [((b, r, D), (b, D, c)), ((2 * b, r, 25), (2 * b, 25, c)), ((2 * b, r, c), (2 * b, c, 25))]
        return found

    return Case("semantic_attention", "2 heads", batch, GraphSpec(("text",)), call, [g, table, q, k, v], products)


def plain_case(batch: str) -> Case:
    """Two modalities to themselves, five heads of 30, without a bias."""
    n, types = sum(BATCHES[batch]), M3[:2]
    x = {m: [leaf(n, 5, 30) for _ in range(3)] for m in types}

    def call(s: Structure, backend: str) -> Tensor:
        return torch.cat([semantic_attention(s, *x[m], scale=30.0**0.5, node_type=m, backend=backend) for m in types])  # type: ignore[arg-type]

    def products(s: Structure) -> list[tuple[tuple[int, ...], tuple[int, ...]]]:
        found: list[tuple[tuple[int, ...], tuple[int, ...]]] = []
        for b, r, c in rectangles(s, (UTTERANCE,)):
            found += [((10 * b, r, 30), (10 * b, 30, c)), ((10 * b, r, c), (10 * b, c, 30))]
        return found

    return Case(
        "semantic_attention", "2 modalities, 5 heads", batch, GraphSpec(types), call, [t for each in x.values() for t in each], products
    )


def cross_case(batch: str) -> Case:
    """Ten heads of ten."""
    n = sum(BATCHES[batch])
    q, k, v = ({m: leaf(n, 10, 10) for m in M3} for _ in range(3))

    def call(s: Structure, backend: str) -> Tensor:
        y: dict[str, Tensor] = cross_modal_attention(s, q, k, v, scale=10.0**0.5, backend=backend)  # type: ignore[arg-type]
        return torch.cat(list(y.values()))

    def products(s: Structure) -> list[tuple[tuple[int, ...], tuple[int, ...]]]:
        found: list[tuple[tuple[int, ...], tuple[int, ...]]] = []
        for b, r, c in rectangles(s, M3):
            found += [((60 * b, r, 10), (60 * b, 10, c)), ((60 * b, r, c), (60 * b, c, 10))]
        return found

    leaves = [x for each in (q, k, v) for x in each.values()]
    return Case("cross_modal_attention", "10 heads", batch, GraphSpec(M3), call, leaves, products)


def filter_case(batch: str) -> Case:
    """Scalar attention, shares."""
    n = sum(BATCHES[batch])
    centre, x, kinds, vector = leaf(n, D), {m: leaf(n, D) for m in M3}, leaf(3, 16), leaf(D)
    w = (leaf(3, D, D, scale=0.1), leaf(3, D, D, scale=0.1), leaf(3, 16, D, scale=0.1))

    def call(s: Structure, backend: str) -> Tensor:
        return torch.cat(list(attention_filter(s, centre, x, kinds, w, vector=vector, backend=backend).values()))  # type: ignore[arg-type]

    def products(_: Structure) -> list[tuple[tuple[int, ...], tuple[int, ...]]]:
        return [((1, n, D), (1, D, D))] * 6

    return Case("attention_filter", "scalar, share", batch, GraphSpec(M3), call, [centre, *x.values(), kinds, *w, vector], products)


def cases() -> Iterator[Case]:
    """All lines."""
    peers = ("one block", "padded", "block diagonal")
    for batch in ("IEMOCAP-like", "MELD-like"):
        yield masked_case(batch, GraphSpec(M3), 0.7, "cross utterance", peers)
        yield masked_case(batch, GraphSpec(M3), 0.0, "cross utterance, no mask")
        yield masked_case(batch, GraphSpec(M3), 0.9, "cross utterance, rate .9")
        yield masked_case(batch, GraphSpec(M3, cross="dialogue"), 0.7, "cross dialogue", peers[:2])
        yield masked_case(batch, GraphSpec(M3, window=10), 0.7, "window 10")
    yield masked_case("1 x 2000", GraphSpec(M3), 0.7, "cross utterance")
    yield masked_case("1 x 20000", GraphSpec(M3, window=10), 0.7, "window 10")
    for batch in ("IEMOCAP-like", "MELD-like"):
        yield frequency_case(batch)
    for batch in ("IEMOCAP-like", "MELD-like", "1 x 20000"):
        yield rgcn_case(batch, 10)
    for batch in ("IEMOCAP-like", "MELD-like", "1 x 2000"):
        yield semantic_case(batch)
    for batch in ("IEMOCAP-like", "MELD-like"):
        yield plain_case(batch)
    for batch in ("IEMOCAP-like", "MELD-like"):
        yield cross_case(batch)
    for batch in ("IEMOCAP-like", "MELD-like", "1 x 20000"):
        yield filter_case(batch)


def bare(case: Case, backward: bool) -> Callable[[], object]:
    """The products alone."""
    pairs = [(torch.randn(a), torch.randn(b)) for a, b in case.products(case.structure())]

    def run() -> None:
        for a, b in pairs:
            c = torch.bmm(a, b)
            if backward:
                torch.bmm(c, b.transpose(1, 2))
                torch.bmm(a.transpose(1, 2), c)

    return run


def jobs_of(case: Case, backward: bool) -> dict[str, Callable[[], object]]:
    """What a line times, by column."""

    def job(backend: str) -> Callable[[], object]:
        def run() -> None:
            if not backward:
                with torch.no_grad():
                    case.call(case.structure(), backend)
                return
            y = case.call(case.structure(), backend)
            torch.autograd.grad(y, case.leaves, torch.ones_like(y), allow_unused=True)

        return run

    return {"bare": bare(case, backward), **{name: job(name) for name in (*BACKENDS, "auto", *case.others)}}


def timed(jobs: dict[str, Callable[[], object]], rounds: int) -> dict[str, list[float]]:
    """Milliseconds of each job, after one round that does not count; every round in another order: a job leaves the next its cache."""
    spent: dict[str, list[float]] = {name: [] for name in jobs}
    for k in range(rounds + 1):
        for name in _DRAW.permutation(list(jobs)):
            begin = time.perf_counter()
            jobs[name]()
            if k:
                spent[name].append(1e3 * (time.perf_counter() - begin))
    return spent


def number(values: list[float] | None) -> str:
    """Median and quartiles."""
    if not values:
        return ""
    low, _, high = quantiles(values, n=4) if len(values) > 1 else values * 3
    return f"{median(values):.3g} ({low:.3g}-{high:.3g})"


@click.command()
@click.option("--only", multiple=True, help="A kernel; several times for several.")
@click.option("--batch", "batches", multiple=True, type=click.Choice(list(BATCHES)), help="A batch; several times for several.")
@click.option("--rounds", default=21, show_default=True)
def main(only: tuple[str, ...], batches: tuple[str, ...], rounds: int) -> None:
    """Print the table: milliseconds, median and quartiles."""
    torch.set_num_threads(1)
    torch.manual_seed(0)
    columns = ["bare", *BACKENDS, "one block", "padded", "block diagonal"]
    print(f"| kernel | batch | what | pass | {' | '.join(columns)} | auto | auto / best | auto / bare |")
    print("|" + "---|" * (7 + len(columns)))
    for case in cases():
        if (only and case.kernel not in only) or (batches and case.batch not in batches):
            continue
        chosen = choose_backend(case.kernel, case.structure(), rate=case.rate)  # type: ignore[arg-type]
        for backward in (False, True):
            spent = timed(jobs_of(case, backward), rounds)
            best, auto = min(median(spent[b]) for b in BACKENDS), median(spent["auto"])
            cells = [number(spent.get(name)) for name in columns]
            print(
                f"| {case.kernel} | {case.batch} | {case.what} | {'forward + backward' if backward else 'forward'} | {' | '.join(cells)} | "
                f"{chosen} {number(spent['auto'])} | {auto / best:.2f} | {auto / median(spent['bare']):.1f} |",
                flush=True,
            )


if __name__ == "__main__":
    main()
