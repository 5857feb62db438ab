"""Kernels on the newest utterance: what they give it, one after the other, is what they give the whole dialogue."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import pytest
import torch
from helpers import M2, M3, at_utterance, newest, normal, structure_for
from torch import Tensor

from dgl_merc.graphs import UTTERANCE, GraphSpec, Past, Structure
from dgl_merc.kernels import (
    ArccosWeight,
    HashMask,
    SoftmaxWeight,
    cross_modal_attention,
    frequency_gcn,
    masked_gcn,
    rgcn,
    semantic_attention,
)
from dgl_merc.kernels.cross_modal_attention import alone_nodes

Rows = dict[str, Tensor]


@dataclass(frozen=True)
class Case:
    """A form of a kernel.

    Attributes:
        spec: causal, with a window of its own or complete.
        rows: of a structure: name -> node type -> [N, ...].
        run: from structure and rows to node type -> [N, ...].
    """

    spec: GraphSpec
    rows: Callable[[Structure], dict[str, Rows]]
    run: Callable[[Structure, dict[str, Rows]], Rows]


def of_modalities(*shape: int, count: int = 1) -> Callable[[Structure], dict[str, Rows]]:
    return lambda s: {f"x{k}": {m: normal(n, *shape, seed=7 * k + j) for j, (m, n) in enumerate(s.sizes.items())} for k in range(count)}


def gcn(layers: int = 2, scale: float | Tensor = 1.0, initial: float = 0.0, **spec: Any) -> Case:
    w = [normal(5, 5, seed=50 + k) / 2 for k in range(layers)]

    def run(s: Structure, x: dict[str, Rows]) -> Rows:
        return masked_gcn(s, x["x0"], w, weight=ArccosWeight(x["x1"] if layers == 1 else x["x0"], scale), initial=initial)

    return Case(GraphSpec(**{"modalities": M3, "causal": True, **spec}), of_modalities(5, count=2), run)


def frequencies(**spec: Any) -> Case:
    vectors = [normal(2, 5, seed=54 + k) / 2 for k in range(3)]
    given = GraphSpec(**{"modalities": M3, "causal": True, **spec})
    return Case(given, of_modalities(5), lambda s, x: frequency_gcn(s, x["x0"], vectors))


def relations(r: int, past: int, *, weighed: bool = True, normalise: bool = True) -> Case:
    layers = [(normal(r, 5, 4, seed=60), normal(5, 4, seed=61)), (normal(r, 4, 3, seed=62), normal(4, 3, seed=63))]

    def run(s: Structure, x: dict[str, Rows]) -> Rows:
        return {UTTERANCE: rgcn(s, x["g"][UTTERANCE], layers, weight=ArccosWeight(x["g"], normalise=normalise) if weighed else None)}

    return Case(GraphSpec(M2, past=past, causal=True), lambda s: {"g": {UTTERANCE: normal(s.num_utterances, 5, seed=3)}}, run)


def shares(r: int, past: int, *, mean: bool = True) -> Case:
    """``rgcn`` weighed by attention."""
    layers = [(normal(r, 5, 4, seed=60), normal(5, 4, seed=61)), (normal(r, 4, 3, seed=62), normal(4, 3, seed=63))]

    def run(s: Structure, x: dict[str, Rows]) -> Rows:
        q, k, g = (x[name][UTTERANCE] for name in "qkg")
        return {UTTERANCE: rgcn(s, g, layers, weight=SoftmaxWeight(q, k), mean=mean)}

    return Case(
        GraphSpec(M2, past=past, causal=True),
        lambda s: {name: {UTTERANCE: normal(s.num_utterances, 5, seed=3 + n)} for n, name in enumerate("qkg")},
        run,
    )


def within(node_type: str, interaction: str = "softmax", *, weighed: bool = False, buckets: int = 0, past: int = 2) -> Case:
    table = normal(2, buckets + 1, seed=70) if buckets else None

    def rows(s: Structure) -> dict[str, Rows]:
        n = s.num_nodes(node_type)
        return {
            name: {node_type: normal(n, *shape, seed=k)}
            for k, (name, shape) in enumerate({"q": (2, 3), "k": (2, 3), "v": (2, 4), "g": (5,)}.items())
        }

    def run(s: Structure, x: dict[str, Rows]) -> Rows:
        q, k, v = (x[name][node_type] for name in "qkv")
        weight = ArccosWeight(x["g"]) if weighed else None
        return {
            node_type: semantic_attention(
                s, q, k, v, scale=1.5, node_type=node_type, interaction=interaction, weight=weight, distances=table
            )
        }

    return Case(GraphSpec(M2, past=past, causal=True), rows, run)


def across(modalities: tuple[str, ...], alone: str) -> Case:
    def run(s: Structure, x: dict[str, Rows]) -> Rows:
        return cross_modal_attention(s, x["x0"], x["x1"], x["x2"], scale=1.5, alone=alone)

    return Case(GraphSpec(modalities, causal=True), of_modalities(2, 3, count=3), run)


CASES = {
    "gcn": gcn(),
    "gcn, one layer, other weights": gcn(1, 0.6),
    "gcn, no layer": gcn(0),
    "gcn, deep": gcn(4, 0.6, 0.2),
    "gcn of frequencies": frequencies(),
    "gcn of frequencies, cross dialogue": frequencies(cross="dialogue"),
    "gcn of frequencies, window 1, cross none": frequencies(window=1, cross="none"),
    "gcn, cross dialogue": gcn(3, torch.tensor(0.6, dtype=torch.float64), cross="dialogue"),
    "gcn, cross none": gcn(cross="none"),
    "gcn, one modality": gcn(modalities=("text",)),
    **{f"gcn, window {w}, cross {c}": gcn(3, 0.8, window=w, cross=c) for w in (0, 1, 2) for c in ("utterance", "dialogue", "none")},
    **{f"rgcn, R {r}, past {p}": relations(r, p) for r in (2, 4) for p in (0, 1, 3, 50)},
    "rgcn, no weight": relations(4, 2, weighed=False),
    **{f"rgcn, shares, R {r}, past {p}": shares(r, p, mean=r > 1) for r, p in ((4, 3), (2, 0), (1, 2))},
    "rgcn, any neighbour": relations(1, 2, weighed=False),
    "rgcn, without pi": relations(2, 2, normalise=False),
    "semantic": within(UTTERANCE),
    "semantic, biased": within(UTTERANCE, weighed=True, buckets=4),
    "semantic, likeness": within(UTTERANCE, weighed=True),
    "semantic, distances of no past": within(UTTERANCE, buckets=4, past=0),
    "semantic, distances": within(UTTERANCE, buckets=3, past=3),
    "semantic of text, rectified": within("text", "relu"),
    "semantic of text, rectified and biased": within("text", "relu", weighed=True, buckets=4),
    **{f"across {len(m)}, {a}": across(m, a) for m in (M3, M2, ("text",)) for a in ("self", "zeros")},
    "alone": Case(GraphSpec(M3, causal=True), lambda s: {}, lambda s, x: alone_nodes(s)),
    "alone, of one": Case(GraphSpec(("text",), causal=True), lambda s: {}, lambda s, x: alone_nodes(s)),
}
every_case = pytest.mark.parametrize("case", CASES.values(), ids=CASES.keys())


def dialogue(spec: GraphSpec, length: int, seed: int = 1) -> Structure:
    """With absences: the first and another utterance have nothing, then comes text alone, then text and audio before anything visual."""
    s = structure_for(spec, [length], drop=0.4, seed=seed)
    presence = s.presence.clone()
    presence[[0, length // 2]] = False
    presence[1:3] = torch.tensor([True] + [False] * (len(spec.modalities) - 1))
    presence[3] = torch.arange(len(spec.modalities)) < 2
    return replace(s, presence=presence)


@torch.no_grad()
def streamed(case: Case, s: Structure, rows: dict[str, Rows], past: Past) -> list[Rows]:
    found = []
    for u in range(s.num_utterances):
        past.begin()
        found.append(case.run(newest(s, u, past), {name: at_utterance(s, u, x) for name, x in rows.items()}))
        past.keep()
    return found


def assert_same(got: list[Rows], want: list[Rows]) -> None:
    for g, w in zip(got, want, strict=True):
        assert g.keys() == w.keys()
        for n, x in w.items():
            torch.testing.assert_close(g[n], x, rtol=0, atol=1e-10)


@every_case
def test_one_by_one_is_the_whole(case):
    s = dialogue(case.spec, 23)
    rows, past = case.rows(s), Past(23)
    whole = case.run(s, rows)
    assert_same(streamed(case, s, rows, past), [at_utterance(s, u, whole) for u in range(23)])


@pytest.mark.parametrize("name", [n for n in CASES if n.startswith(("semantic", "across", "alone"))])
def test_beyond_the_window_the_last_n_are_the_whole(name):
    case, n = CASES[name], 5
    s = dialogue(case.spec, 23)
    rows = case.rows(s)
    found = streamed(case, s, rows, Past(n))
    for u in range(23):
        first, stop = max(0, u - n + 1), u + 1
        part = Structure(torch.tensor([stop - first]), s.presence[first:stop], s.speakers[first:stop], s.spec)
        some = {name: {m: v[int(s.counts[m][first]) : int(s.counts[m][stop])] for m, v in x.items()} for name, x in rows.items()}
        assert_same([found[u]], [at_utterance(part, u - first, case.run(part, some))])


@pytest.mark.parametrize("name", [n for n, c in CASES.items() if n.startswith("gcn") and c.spec.window is None])
def test_a_complete_gcn_becomes_one_with_a_window(name):
    case = CASES[name]
    s = dialogue(case.spec, 23)
    rows = case.rows(s)
    whole = case.run(s.with_spec(replace(case.spec, window=4)), rows)
    assert_same(streamed(case, s, rows, Past(5)), [at_utterance(s, u, whole) for u in range(23)])


@pytest.mark.parametrize("name", [n for n, c in CASES.items() if n.startswith("rgcn") or c.spec.window is not None])
def test_a_reach_of_its_own_is_exact_for_ever(name):
    case = CASES[name]
    s = dialogue(case.spec, 23)
    rows = case.rows(s)
    whole = case.run(s, rows)
    assert_same(streamed(case, s, rows, Past(1)), [at_utterance(s, u, whole) for u in range(23)])


@every_case
def test_rows_stop_growing(case):
    s = structure_for(case.spec, [120], drop=0.0)
    rows, past, counts = case.rows(s), Past(5), []
    for u in range(120):
        past.begin()
        with torch.no_grad():
            case.run(newest(s, u, past), {name: at_utterance(s, u, x) for name, x in rows.items()})
        past.keep()
        counts.append(past.rows)
    assert counts[60] == counts[-1] == max(counts) > 0


def test_nothing_is_made_of_pairs(monkeypatch):
    """What costs the square of a dialogue is not even begun."""

    def never(*_: object) -> None:
        raise AssertionError("blocks or edges were made")

    monkeypatch.setattr(Structure, "blocks", never)
    monkeypatch.setattr(Structure, "edges", never)
    for case in CASES.values():
        s = structure_for(case.spec, [4], drop=0.0)
        streamed(case, s, case.rows(s), Past(9))


def test_what_can_not_be_had_of_the_newest_alone():
    s = structure_for(GraphSpec(M2, causal=True), [1], drop=0.0)
    s = replace(s, past=Past(3))
    x, g = {m: torch.eye(1) for m in M2}, torch.ones(1, 2)
    q = {m: torch.ones(1, 1, 2) for m in M2}
    rule, layers = ArccosWeight(x), [(torch.ones(4, 2, 2), torch.ones(2, 2))]
    asked: list[tuple[str, Callable[[], object]]] = [
        ("weight", lambda: masked_gcn(s, x, [torch.eye(1)], weight={})),
        ("mask", lambda: masked_gcn(s, x, [torch.eye(1)], weight=rule, mask=HashMask(0, 0.5))),
        ("keep", lambda: masked_gcn(s, x, [torch.eye(1)], weight=rule, keep={})),
        ("return_weights", lambda: masked_gcn(s, x, [torch.eye(1)], weight=rule, return_weights=True)),
        ("keep, return_weights", lambda: frequency_gcn(s, x, [torch.ones(2, 1)], keep={}, return_weights=True)),
        ("weight, keep", lambda: rgcn(s, g, layers, weight={}, keep={})),
        ("return_weights", lambda: rgcn(s, g, layers, return_weights=True)),
        ("keep, return_weights", lambda: cross_modal_attention(s, q, q, q, scale=1.0, keep={}, return_weights=True)),
        ("weight", lambda: semantic_attention(s, q["text"], q["text"], q["text"], scale=1.0, weight=torch.ones(1))),
        ("keep", lambda: semantic_attention(s, q["text"], q["text"], q["text"], scale=1.0, keep=torch.ones(1, dtype=torch.bool))),
        ("return_weights", lambda: semantic_attention(s, q["text"], q["text"], q["text"], scale=1.0, return_weights=True)),
    ]
    for name, call in asked:
        with pytest.raises(ValueError, match=f"^{name} can't be had of a structure with a past"):
            call()
