"""Who is connected: edges against a double loop, the DGL heterograph against the edges, and what is refused."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from dgl_merc.errors import InputError
from dgl_merc.graphs import RELATIONS, UTTERANCE, GraphSpec, Structure
from dgl_merc.graphs.edges import intervals

M2, M3 = ("text", "audio"), ("text", "audio", "visual")


@st.composite
def specs(draw: st.DrawFn) -> GraphSpec:
    return GraphSpec(
        M3[: draw(st.integers(1, 3))],
        window=draw(st.sampled_from([None, None, 0, 1, 2, 5])),
        cross=draw(st.sampled_from(["dialogue", "utterance", "none"])),
        past=draw(st.integers(0, 4)),
        future=draw(st.integers(0, 4)),
        causal=draw(st.booleans()),
    )


@st.composite
def structures(draw: st.DrawFn) -> Structure:
    spec = draw(specs())
    lengths = draw(st.lists(st.integers(1, 6), min_size=1, max_size=4))
    total = sum(lengths)
    presence = draw(
        st.lists(st.lists(st.booleans(), min_size=len(spec.modalities), max_size=len(spec.modalities)), min_size=total, max_size=total)
    )
    speakers = draw(st.lists(st.integers(0, 2), min_size=total, max_size=total))
    return Structure.of(lengths, spec, presence=presence, speakers=speakers)


def connected(spec: GraphSpec, relation: str, u: int, v: int, same_speaker: bool) -> bool:
    """Whether position u sends to position v of its dialogue, in the words of schema.py."""
    if spec.causal and u > v:
        return False  # nothing flows from later to earlier
    if relation == "part_of":
        return u == v
    near = spec.window is None or abs(u - v) <= spec.window
    if relation == "same":
        return near and u != v
    if relation == "cross":
        return u == v if spec.cross == "utterance" else near
    whose, when = relation.split("_")
    if (whose == "intra") != same_speaker:
        return False
    return 0 < v - u <= spec.past if when == "past" else 0 < u - v <= spec.future


def edges_by_loop(s: Structure, edge_type: tuple[str, str, str]) -> list[tuple[int, int]]:
    """(src, dst) of every edge, by (dialogue, dst, src)."""
    source, relation, target = edge_type
    lengths, speakers, spec = s.lengths.tolist(), s.speakers.tolist(), s.spec
    places = [(d, p) for d, n in enumerate(lengths) for p in range(n)]

    def nodes(kind: str) -> list[tuple[int, int, int]]:
        there = range(len(places)) if kind == UTTERANCE else [u for u in range(len(places)) if s.presence[u, spec.modalities.index(kind)]]
        return [(*places[u], speakers[u]) for u in there]

    found = []
    for j, (d, p, a) in enumerate(nodes(source)):
        for i, (e, q, b) in enumerate(nodes(target)):
            if d == e and connected(spec, relation, p, q, a == b):
                found.append((d, i, j))
    return [(j, i) for _, i, j in sorted(found)]


@settings(max_examples=70, deadline=None)
@given(structures())
def test_edges_against_the_double_loop(s):
    for t in s.spec.edge_types:
        src, dst = s.edges(t)
        assert src.dtype == dst.dtype == torch.int64
        assert list(zip(src.tolist(), dst.tolist(), strict=True)) == edges_by_loop(s, t), t


def test_intervals_that_reach_nothing():
    counts, u = torch.tensor([0, 1, 1, 2]), torch.arange(3)
    for before, after, want in [
        (-1, -1, [0, 0, 0]),
        (-1, None, [1, 1, 0]),
        (None, -1, [0, 1, 1]),
        (0, 0, [1, 0, 1]),
        (None, None, [2, 2, 2]),
    ]:
        lo, hi = intervals(u, torch.zeros(3).long(), torch.full((3,), 3), counts, before, after)
        assert (hi - lo).tolist() == want


def test_edges_by_hand():
    """Three utterances, the second without audio; speakers 0 1 0."""
    s = Structure.of(
        [3], GraphSpec(M2, window=1, cross="dialogue", past=2, future=1), presence=[[1, 1], [1, 0], [1, 1]], speakers=[0, 1, 0]
    )
    want = {
        ("text", "same", "text"): [[1, 0, 2, 1], [0, 1, 1, 2]],
        ("audio", "same", "audio"): [[], []],  # two positions apart: windows count positions, not nodes
        ("text", "cross", "audio"): [[0, 1, 1, 2], [0, 0, 1, 1]],
        ("audio", "cross", "text"): [[0, 0, 1, 1], [0, 1, 1, 2]],
        ("text", "part_of", UTTERANCE): [[0, 1, 2], [0, 1, 2]],
        ("audio", "part_of", UTTERANCE): [[0, 1], [0, 2]],
        (UTTERANCE, "intra_past", UTTERANCE): [[0], [2]],
        (UTTERANCE, "intra_future", UTTERANCE): [[], []],
        (UTTERANCE, "inter_past", UTTERANCE): [[0, 1], [1, 2]],
        (UTTERANCE, "inter_future", UTTERANCE): [[1, 2], [0, 1]],
    }
    assert tuple(want) == s.spec.edge_types
    assert {t: [part.tolist() for part in s.edges(t)] for t in want} == want


@settings(max_examples=25, deadline=None)
@given(structures())
def test_causal_has_no_edge_from_later_to_earlier_and_loses_no_other(s):
    causal, free = s.with_spec(replace(s.spec, causal=True)), s.with_spec(replace(s.spec, causal=False))
    for t in s.spec.edge_types:
        place = {n: s.nodes[n] for n in (t[0], t[2])}
        src, dst = causal.edges(t)
        assert bool((place[t[0]][src] <= place[t[2]][dst]).all())
        all_src, all_dst = free.edges(t)
        keep = place[t[0]][all_src] <= place[t[2]][all_dst]
        assert torch.equal(all_src[keep], src)
        assert torch.equal(all_dst[keep], dst)


@settings(max_examples=40, deadline=None)
@given(structures(), st.data())
def test_select_is_the_structure_of_those_dialogues(s, data):
    s = replace(s, keys=torch.arange(s.num_dialogues) * 7 + 3)
    chosen = data.draw(st.lists(st.integers(-s.num_dialogues, s.num_dialogues - 1), min_size=1, max_size=6))
    part = s.select(chosen)
    numbers = [d % s.num_dialogues for d in chosen]  # as Python counts: -1 is the last
    rows = [u for d in numbers for u in range(int(s.offsets[d]), int(s.offsets[d + 1]))]
    assert part.lengths.tolist() == s.lengths[numbers].tolist()
    assert part.keys.tolist() == [7 * d + 3 for d in numbers]
    assert torch.equal(part.presence, s.presence[rows])
    assert torch.equal(part.speakers, s.speakers[rows])
    assert part.spec == s.spec


def test_rows_of_a_structure_by_hand():
    s = Structure.of([2, 1, 3], GraphSpec(M2), presence=[[1, 0], [1, 1], [0, 0], [0, 1], [1, 1], [1, 0]])
    assert (s.num_dialogues, s.num_utterances, s.sizes) == (3, 6, {"text": 4, "audio": 3})
    assert s.offsets.tolist() == [0, 2, 3, 6]
    assert s.dialogue.tolist() == [0, 0, 1, 2, 2, 2]
    assert s.position.tolist() == [0, 1, 0, 0, 1, 2]
    assert {n: v.tolist() for n, v in s.nodes.items()} == {"text": [0, 1, 4, 5], "audio": [1, 3, 4], UTTERANCE: [0, 1, 2, 3, 4, 5]}
    assert s.counts["audio"].tolist() == [0, 0, 1, 1, 2, 3, 3]
    assert s.speakers.tolist() == [0, 1, 0, 1, 0, 1]
    assert s.keys.tolist() == [0, 1, 2]


def test_with_spec_keeps_the_rest_and_refuses_other_modalities():
    s = Structure.of([2, 3], GraphSpec(M2))
    other = s.with_spec(GraphSpec(M2, window=0))
    assert other.presence is s.presence
    assert len(s.edges(("text", "same", "text"))[0]) == 8, "edges are remembered per structure"
    assert len(other.edges(("text", "same", "text"))[0]) == 0
    for names in (("audio", "text"), ("text", "visual"), ("text",)):
        with pytest.raises(ValueError, match=r"spec must have the modalities \['text', 'audio'\], got"):
            s.with_spec(GraphSpec(names))


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU")
def test_edges_on_a_gpu():
    s = Structure.of([4, 1, 6], GraphSpec(M2, cross="dialogue", window=2))
    there = s.to("cuda")
    assert s.to("cpu") is s
    for t in s.spec.edge_types:
        for got, want in zip(there.edges(t), s.edges(t), strict=True):
            assert got.is_cuda
            assert torch.equal(got.cpu(), want)


# --- the heterograph


@pytest.mark.dgl
@settings(max_examples=25, deadline=None)
@given(structures(), st.sampled_from([torch.int32, torch.int64]))
def test_the_heterograph_is_the_edges(s, idtype):
    s = replace(s, keys=torch.arange(s.num_dialogues) + 40)
    g = s.graph(idtype=idtype)
    assert g.idtype == idtype
    assert set(g.canonical_etypes) == set(s.spec.edge_types)
    assert set(g.ntypes) == set(s.spec.node_types)
    for t in s.spec.edge_types:
        src, dst = g.edges(etype=t, order="eid")
        assert src.dtype == idtype
        assert list(zip(src.tolist(), dst.tolist(), strict=True)) == edges_by_loop(s, t)
        owner = s.dialogue[s.nodes[t[2]][dst.long()]].tolist()
        assert g.batch_num_edges(t).tolist() == [owner.count(d) for d in range(s.num_dialogues)]
    for n in s.spec.node_types:
        at = s.nodes[n]
        assert g.num_nodes(n) == len(at)
        owner = s.dialogue[at].tolist()
        assert g.batch_num_nodes(n).tolist() == [owner.count(d) for d in range(s.num_dialogues)]
        assert g.nodes[n].data["position"].tolist() == s.position[at].tolist()
        assert g.nodes[n].data["dialogue"].tolist() == [40 + d for d in owner]
    assert g.nodes[UTTERANCE].data["speaker"].tolist() == s.speakers.tolist()
    assert g.batch_size == s.num_dialogues


@pytest.mark.dgl
@pytest.mark.parametrize("idtype", [torch.int32, torch.int64])
def test_a_batch_of_graphs_is_the_graph_of_the_batch(idtype):
    from dgl_merc._dgl import dgl

    s = Structure.of([3, 1, 4], GraphSpec(M2, cross="dialogue"), presence=[[1, 1], [1, 0], [1, 1], [0, 0], [1, 1], [0, 1], [1, 1], [1, 0]])
    whole = s.graph(idtype=idtype)
    joined = dgl.batch([s.select([d]).graph(idtype=idtype) for d in range(3)])
    for t in s.spec.edge_types:
        for a, b in zip(whole.edges(etype=t, order="eid"), joined.edges(etype=t, order="eid"), strict=True):
            assert torch.equal(a, b)
    for d, part in enumerate(dgl.unbatch(whole)):
        assert part.num_nodes(UTTERANCE) == int(s.lengths[d])
        assert set(part.nodes[UTTERANCE].data["dialogue"].tolist()) == {d}


# --- what is refused


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"modalities": ()}, "expected at least one modality, found none"),
        ({"modalities": ("text", "text")}, "modalities must be different names"),
        ({"modalities": ("text", "utterance")}, "other than 'utterance'"),
        ({"cross": "all"}, "cross must be one of dialogue, utterance, none, found 'all'"),
        ({"window": -1}, "window must be a whole number from 0 on, found -1"),
        ({"window": 1.5}, "window must be a whole number from 0 on, found 1.5"),
        ({"past": None}, "past must be a whole number from 0 on, found None"),
        ({"future": -2}, "future must be a whole number from 0 on, found -2"),
    ],
)
def test_specs_that_make_no_sense(change, said):
    with pytest.raises(InputError) as caught:
        GraphSpec(**{"modalities": M2} | change)
    assert said in str(caught.value)


@settings(max_examples=30, deadline=None)
@given(specs())
def test_spec_to_json_and_back(spec):
    assert GraphSpec.from_json(json.loads(json.dumps(spec.to_json()))) == spec


def test_the_types_of_a_spec():
    spec = GraphSpec(M2, cross="none", causal=True)
    assert spec.node_types == (*M2, UTTERANCE)
    assert spec.message_types == (("text", "same", "text"), ("audio", "same", "audio"))
    assert [t[1] for t in spec.edge_types] == ["same", "same", "part_of", "part_of", *RELATIONS], "what causal forbids is kept, empty"
    assert [t for t in GraphSpec(M3).message_types if t[1] == "cross"] == [(m, "cross", n) for m in M3 for n in M3 if m != n]


def test_structures_that_do_not_fit():
    spec, ok = (
        GraphSpec(M2),
        {"lengths": torch.tensor([2]), "presence": torch.ones(2, 2, dtype=torch.bool), "speakers": torch.tensor([0, 1])},
    )
    for change, said in [
        ({"lengths": torch.tensor([2, 0])}, "lengths must be [B] int64, each at least 1"),
        ({"lengths": torch.tensor([2.0])}, "lengths must be [B] int64, each at least 1, got torch.float32 [1]"),
        ({"presence": torch.ones(2, 3, dtype=torch.bool)}, "presence must be [2, 2] torch.bool, got [2, 3] torch.bool"),
        ({"presence": torch.ones(2, 2)}, "presence must be [2, 2] torch.bool, got [2, 2] torch.float32"),
        ({"speakers": torch.tensor([0])}, "speakers must be [2] torch.int64, got [1]"),
        ({"keys": torch.tensor([0, 1])}, "keys must be [1] torch.int64, got [2]"),
    ]:
        with pytest.raises(ValueError) as caught:
            Structure(**ok | change, spec=spec)
        assert said in str(caught.value)
    s = Structure(**ok, spec=spec)
    with pytest.raises(ValueError, match=r"edge_type must be one of .* got \('text', 'cross', 'text'\)"):
        s.edges(("text", "cross", "text"))


@settings(max_examples=30, deadline=None)
@given(structures())
def test_pairs_are_all_of_a_dialogue_that_may_be_heard(s):
    for node_type in s.spec.node_types:
        at = list(enumerate(s.nodes[node_type].tolist()))
        want = [(j, i) for i, v in at for j, u in at if s.dialogue[u] == s.dialogue[v] and not (s.spec.causal and u > v)]
        assert list(zip(*(e.tolist() for e in s.pairs(node_type)), strict=True)) == want
    with pytest.raises(ValueError, match=r"node_type must be one of \['text', .*'utterance'\], got 'touch'"):
        s.pairs("touch")
