"""What a model looked at: its weights are the kernels' own, and a deletion is what rebuilding the dialogue without the element gives."""

from __future__ import annotations

import importlib
import itertools
import math
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from explain_cases import CASES, SmallRuns
from predict_cases import spoken

from dgl_merc.corpus import Corpus
from dgl_merc.errors import InputError
from dgl_merc.explanations import Explainer
from dgl_merc.explanations.explainer import EFFECT_COLUMNS, strongest
from dgl_merc.explanations.masks import masked_edges, masked_nodes
from dgl_merc.explanations.weights import weight_table
from dgl_merc.graphs import Structure
from dgl_merc.inference import Predictor, Utterance
from dgl_merc.kernels import ArccosWeight, HashMask, masked_gcn
from dgl_merc.kernels.semantic_attention import semantic_attention_loop
from dgl_merc.layers import Probe
from dgl_merc.layers.probe import complete
from dgl_merc.models import MODELS
from dgl_merc.training.run_folder import SavedRun

PARTS = {
    "bilstm": set(),
    "logistic": set(),
    "majority": set(),
    "dialoguegcn": {"relational", "neighbours", "readout"},
    "dialoguernn": {"readout"},
    "m3net": {"frequency"},
    "mglra": {"filter", "attention, round 1", "attention, round 2", "attention, round 3", "graph", "likeness"},
    "mmgcn": {"graph", "likeness"},
    "print": {"filter", "attention, round 1", "attention, round 2", "graph", "likeness"},
    "sgrnet": {"distribution text", "distribution audio", "distribution visual", "fusion", "likeness", "syntactic", "semantic"},
    "transformer": {"attention, layer 1", "attention, layer 2"},
}
EDGE = ["part", "source", "relation", "target"]
pytestmark = pytest.mark.xdist_group("explanations")  # the runs are made once


@pytest.fixture(scope="module")
def corpus(small_runs: SmallRuns) -> Corpus:
    return small_runs.corpus


@pytest.fixture(scope="module")
def runs(small_runs: SmallRuns) -> dict[str, SavedRun]:
    return small_runs.runs


@pytest.fixture(scope="module")
def shortest(small_runs: SmallRuns) -> int:
    return small_runs.shortest


@pytest.fixture(scope="module")
def explained(small_runs: SmallRuns) -> dict[str, Explainer]:
    return {name: Explainer(run, small_runs.corpus, small_runs.shortest) for name, run in small_runs.runs.items()}


def told(corpus: Corpus, number: int) -> list[dict[str, Any]]:
    name = corpus.dialogue_ids[number]
    return [o for o in spoken(corpus) if o["dialogue_id"] == name]


def predicted(run: SavedRun, objects: list[dict[str, Any]]) -> np.ndarray:
    """[U, C] through the door that new conversations take."""
    said = [Utterance(o["dialogue_id"], o["speaker"], {m: np.array(x) for m, x in o["features"].items()}) for o in objects]
    table = Predictor([run]).predict(said)
    return table[[c for c in table if c.startswith("p_")]].to_numpy()


def after(effects: pd.DataFrame, explainer: Explainer) -> np.ndarray:
    """[U] ``after`` of one removal, NaN where the utterance is gone."""
    found = np.full(len(explainer.utterances), np.nan)
    found[effects["utterance"]] = effects["after"]
    return found


def test_every_model_is_asked():
    assert {preset for preset, _ in CASES.values()} == set(MODELS)


@pytest.mark.parametrize("name", CASES)
def test_the_answers_are_those_of_predict(name, explained, runs, corpus, shortest):
    table, explainer = explained[name].utterances, explained[name]
    expected = predicted(runs[name], told(corpus, shortest))
    columns = [c for c in table if c.startswith("p_")]
    assert np.abs(table[columns].to_numpy() - expected).max() < 1e-6
    assert table["predicted"].tolist() == [columns[k].removeprefix("p_") for k in expected.argmax(axis=1)]
    assert explainer.dialogue_id == corpus.dialogue_ids[shortest]


@pytest.mark.parametrize("name", CASES)
def test_weights_are_shares_and_there_are_those_of_every_part(name, explained):
    table = explained[name].weights(heads=True)
    assert set(table["part"]) == PARTS[name]
    heads = [c for c in table if c.startswith("head ")]
    for part, rows in table.groupby("part"):
        if part.startswith(("attention", "distribution", "fusion", "readout", "semantic")):
            sums = rows.groupby(["source", "target", "dst"])[heads].sum(min_count=1)
            known = sums.notna().to_numpy()
            assert np.abs(sums.to_numpy()[known] - 1).max() < 1e-6
            assert known.any(axis=1).all()
        if part == "filter":
            sums = rows.groupby("dst")[heads].sum(min_count=1).dropna(axis=1, how="all")
            assert np.abs(sums.to_numpy() - 1).max() < 1e-6
    if len(table):
        assert np.abs(table[heads].mean(axis=1) - table["weight"]).max() < 1e-12


@pytest.mark.parametrize("name", ["mglra", "mmgcn", "print"])
def test_entries_of_the_graph_follow_from_its_likeness(name, explained):
    table = explained[name].weights()
    keys = ["source", "relation", "target", "src", "dst"]
    entries, likeness = (table[table["part"] == part].set_index(keys)["weight"] for part in ("graph", "likeness"))
    degree = likeness.groupby(["target", "dst"]).sum()
    for (source, relation, target, src, dst), p in entries.items():
        i, j = degree.get((target, dst), 0.0), degree.get((source, src), 0.0)
        a = 1.0 if relation == "itself" else likeness[source, relation, target, src, dst]
        assert p == pytest.approx(a / math.sqrt((i + 1) * (j + 1)), abs=1e-6)


def test_a_relation_shares_its_likeness_among_its_neighbours(explained):
    table = explained["sgrnet"].weights()
    likeness, entries = (table[table["part"] == part].reset_index(drop=True) for part in ("likeness", "syntactic"))
    neighbours = likeness.groupby(["relation", "dst"])["weight"].transform("size")
    assert np.abs(likeness["weight"] / neighbours - entries["weight"]).max() < 1e-6


# What a kernel gives where the graph itself lacks the edge: a DGL heterograph from which it was removed.


def _through_dgl(kernel: Callable[..., Any], edge_type: Any, edge: int, call: int, *, every: bool) -> Callable[..., Any]:
    """The kernel, which in its ``call``-th call works on the rebuilt graph."""
    from dgl_merc._dgl import dgl

    calls = iter(range(100))

    def rebuilt(structure: Structure, *given: Any, **options: Any) -> Any:
        if next(calls) != call:
            return kernel(structure, *given, **options)
        graph = (complete(structure) if every else structure).graph()
        return kernel(dgl.remove_edges(graph, edge, etype=edge_type), *given, **{**options, "backend": "dgl"})

    return rebuilt


def _pair_by_pair(kernel: Callable[..., Any], node_type: str, edge: int, call: int) -> Callable[..., Any]:
    """The same for attention within a type: its definition, over lists that lack the pair."""
    calls = iter(range(100))

    def rebuilt(
        structure: Structure, q: Any, k: Any, v: Any, *, scale: float, weight: Any = None, distances: Any = None, **more: Any
    ) -> Any:
        if next(calls) != call:
            return kernel(structure, q, k, v, scale=scale, weight=weight, distances=distances, **more)
        src, dst = (e.tolist() for e in structure.pairs(node_type))
        heard: list[list[int]] = [[] for _ in q]
        for p, (j, i) in enumerate(zip(src, dst, strict=True)):
            if p != edge:
                heard[i].append(j)
        last = 0 if distances is None else distances.shape[1] - 1
        spec = structure.spec
        hops = [
            [min(math.ceil((j - i) / spec.future if j > i else (i - j) / spec.past), last - 1) for j in range(len(q))]
            for i in range(len(q))
        ]
        g = None if weight is None else weight.x[node_type]
        normalise = weight is None or weight.normalise
        return semantic_attention_loop(heard, hops, q, k, v, g, distances, scale, normalise, more.get("interaction", "softmax"))

    return rebuilt


KERNELS = {
    "filter": ("attention_filter", "attention_filter"),
    "frequency": ("frequency_gcn", "frequency_gcn"),
    "attention": ("cross_modal_attention", "cross_modal_attention"),
    "graph": ("masked_gcn", "masked_gcn"),
    "fusion": ("uncertainty_fusion", "cross_modal_attention"),
    "syntactic": ("semantic_graph", "rgcn"),
    "semantic": ("semantic_graph", "semantic_attention"),
    "relational": ("dialogue_graph", "rgcn"),
    "neighbours": ("dialogue_graph", "rgcn"),
    "readout": ("dialogue_attention", "semantic_attention"),
    "distribution": ("distribution_encoder", "semantic_attention"),
}


@pytest.mark.dgl
@pytest.mark.parametrize("name", ["dialoguegcn", "dialoguernn", "m3net", "mglra", "mmgcn", "print", "sgrnet"])
def test_without_an_edge_is_a_graph_that_lacks_it(name, runs, corpus, shortest, monkeypatch):
    explainer = Explainer(runs[name], corpus, shortest)
    for key, weight in explainer.model.named_parameters():
        if key.startswith("attention"):
            weight.data *= 4  # two epochs taught it little: what an edge does would be lost in rounding
    edges = strongest(explainer.weights(), None)
    heard = edges.groupby([*EDGE[:1], "target", "dst"])["edge"].transform("size")
    edges = edges[(heard > 1) | ~edges["part"].str.startswith(("attention", "fusion"))]  # whom one more deletion would leave alone
    chosen = edges.groupby(EDGE, sort=False).sample(2, random_state=0)
    effects = explainer.without_edges(chosen)
    assert set(chosen["part"]) == PARTS[name] - {"likeness"}
    moved = set()
    for k, edge in enumerate(chosen.itertuples()):
        word, _, number = edge.part.partition(" ")
        word, call = word.rstrip(","), int(word == "neighbours")
        if word == "attention":
            call = int(number.removeprefix("round ")) - 1
        if word == "distribution":
            call = list(explainer.modalities).index(number)
        module, kernel = KERNELS[word]
        module = "deep_gcn" if name == "mmgcn" else module
        home = importlib.import_module(f"dgl_merc.layers.{module}")
        real, edge_type = getattr(home, kernel), (edge.source, edge.relation, edge.target)
        with monkeypatch.context() as patch:
            if edge.relation == "pair":
                patch.setattr(home, kernel, _pair_by_pair(real, edge.source, edge.edge, call))
            else:
                patch.setattr(home, kernel, _through_dgl(real, edge_type, edge.edge, call, every=word in ("attention", "fusion")))
            batch = explainer.data.batch(np.array([explainer.dialogue]))
            with torch.inference_mode():
                rebuilt = explainer.data.task.answers(explainer.model(batch.structure, batch.features).logits).numpy()
        part = effects.iloc[k * len(batch.rows) : (k + 1) * len(batch.rows)]
        assert (part["src"] == edge.src).all()
        columns = explainer.answers.argmax(axis=1)
        assert np.abs(rebuilt[np.arange(len(columns)), columns] - part["after"]).max() < 2e-6, edge
        moved |= {edge.part} if part["effect"].abs().max() > 3e-6 else set()
    assert len(moved) >= len(PARTS[name]) - 2, f"vacuous: only {moved} moved an answer"


@pytest.mark.parametrize("name", CASES)
def test_without_an_utterance_is_a_conversation_in_which_nobody_said_it(name, explained, runs, corpus, shortest):
    explainer, objects = explained[name], told(corpus, shortest)
    effects, columns = explainer.without_utterances(), explained[name].answers.argmax(axis=1)
    for gone in (0, len(objects) // 2, len(objects) - 1):
        rest = [k for k in range(len(objects)) if k != gone]
        expected = predicted(runs[name], [objects[k] for k in rest])
        found = after(effects[effects["position"] == gone], explainer)
        assert np.isnan(found[gone])
        assert np.abs(found[rest] - expected[np.arange(len(rest)), columns[rest]]).max() < 2e-6
    assert (effects["effect"].abs().max() > 1e-4) == (name not in ("logistic", "majority")), "these hear nobody else"
    if name == "print":  # causal: nobody hears what comes later
        assert effects.loc[effects["position"] > effects["utterance"], "effect"].abs().max() < 1e-6


@pytest.mark.parametrize("name", CASES)
def test_without_a_modality_is_a_conversation_that_never_had_it(name, explained, runs, corpus, shortest):
    explainer, objects = explained[name], told(corpus, shortest)
    columns = explainer.answers.argmax(axis=1)
    every, nodes = explainer.without_modalities(), explainer.without_nodes()
    assert every["modality"].unique().tolist() == list(explainer.modalities)
    for m in explainer.modalities:
        lacking = [{**o, "features": {n: x for n, x in o["features"].items() if n != m}} for o in objects]
        said = predicted(runs[name], lacking)
        assert np.abs(after(every[every["modality"] == m], explainer) - said[np.arange(len(columns)), columns]).max() < 2e-6
        sure = np.diff(np.sort(said), axis=1)[:, -1] > 1e-4
        then = every.loc[every["modality"] == m, "then"].to_numpy()
        assert then[sure].tolist() == np.array(explainer.run.names)[said.argmax(axis=1)][sure].tolist()
        there = [k for k, o in enumerate(objects) if m in o["features"]]
        found = nodes[nodes["modality"] == m]
        assert found["position"].unique().tolist() == there
        one = [*objects[: there[0]], lacking[there[0]], *objects[there[0] + 1 :]]
        expected = predicted(runs[name], one)[np.arange(len(columns)), columns]
        assert np.abs(after(found[found["position"] == there[0]], explainer) - expected).max() < 2e-6
    assert (every["effect"].abs().max() > 1e-3) == (name != "majority")


@pytest.mark.parametrize("name", ["mglra", "sgrnet"])
def test_what_is_left_out_weighs_nothing_and_the_rest_shares_its_part(name, explained):
    explainer = explained[name]
    edge = strongest(explainer.weights(), 1).query("relation in ('cross', 'pair')").iloc[0]
    edge_type = (edge["source"], edge["relation"], edge["target"])
    same = strongest(explainer.weights(), None).groupby(EDGE).size()
    keep = torch.ones(int(same[edge["part"], *edge_type]), dtype=torch.bool)
    keep[edge["edge"]] = False
    probe, batch = Probe({edge["part"]: {edge_type: keep}}), explainer.data.batch(np.array([explainer.dialogue]))
    with torch.inference_mode():
        explainer.model(batch.structure, batch.features, probe=probe)
    found = weight_table({edge["part"]: probe.seen[edge["part"]]})
    rows = found[(found["source"] == edge["source"]) & (found["target"] == edge["target"]) & (found["dst"] == edge["dst"])]
    assert rows.loc[rows["edge"] == edge["edge"], "weight"].tolist() == [0.0]
    assert rows["weight"].sum() == pytest.approx(1, abs=1e-6)


def test_some_answers_change(explained):
    found = pd.concat([explainer.without_modalities() for explainer in explained.values()])
    assert (found["then"] != found["predicted"]).any(), "vacuous: what is said of changes was not tested"


def test_effects_stand_in_one_table(explained):
    explainer = explained["mglra"]
    edges = strongest(explainer.weights(), 1)
    table = explainer.effects(edges)
    length = len(explainer.utterances)
    assert tuple(table) == EFFECT_COLUMNS
    assert table["removed"].value_counts()["edge"] == len(edges) * length
    assert table["removed"].value_counts()["utterance"] == length * (length - 1)
    assert np.abs(table["after"] - table["before"] - table["effect"]).max() < 1e-9
    same = table[table["effect"].abs() < 1e-3 * table["before"]]
    assert set(table["then"]) <= set(explainer.run.names)
    assert (same["then"] == same["predicted"]).mean() > 0.9


def test_in_portions_it_is_the_same(explained, monkeypatch):
    from dgl_merc.explanations import deletion

    explainer = explained["mglra"]
    edges = strongest(explainer.weights(), 5)
    whole = explainer.effects(edges)
    monkeypatch.setattr(deletion, "_UTTERANCES", 3 * len(explainer.utterances))
    told: list[tuple[int, int]] = []
    pd.testing.assert_frame_equal(explainer.effects(edges, lambda *said: told.append(said)), whole, atol=2e-6, rtol=0)
    removals = whole.drop_duplicates(list(EFFECT_COLUMNS[:9]))
    assert told[-1] == (len(removals), len(removals))
    assert max(b - a for (a, _), (b, _) in itertools.pairwise(told)) <= 3, "more at once than there is room for"


def test_the_strongest_of_each_kind():
    rows = [("graph", "text", "same", "text", 0, k, k / 10, k) for k in range(5)]
    rows += [("likeness", "text", "same", "text", 0, 1, 0.9, 0), ("graph", "text", "itself", "text", 1, 1, 0.8, 0)]
    table = pd.DataFrame(rows, columns=[*EDGE, "src", "dst", "weight", "edge"])
    assert strongest(table, 2)["dst"].tolist() == [3, 4]
    assert strongest(table, 2, 1)["dst"].tolist() == [1]
    assert len(strongest(table, None)) == 5


def test_what_cannot_be_taken_away_is_refused(explained):
    table = explained["mglra"].weights()
    for rows in (table[table["part"] == "likeness"], table[table["relation"] == "itself"]):
        with pytest.raises(ValueError, match="can be taken away"):
            explained["mglra"].without_edges(rows[:1])


def test_raw_weights_are_of_the_same_edges_as_the_likeness(explained):
    raw, table = explained["mglra"].raw_weights(), explained["mglra"].weights()
    learned = table[(table["part"] == "likeness") & (table["relation"] == "same")]
    assert raw[["source", "src", "dst"]].values.tolist() == learned[["source", "src", "dst"]].values.tolist()
    assert raw["weight"].between(0, 1).all()


def test_what_the_mask_leaves_is_what_training_works_on(explained, monkeypatch):
    explainer = explained["print"]
    layer, s = explainer.model.gcn, explainer.structure
    x = {m: torch.randn(n, 8, generator=torch.Generator().manual_seed(k)) for k, (m, n) in enumerate(s.sizes.items())}
    edges, nodes = masked_edges(explainer, 5), masked_nodes(explainer, 5)
    kept = {
        t: torch.tensor(edges.query("source == @t[0] and relation == @t[1] and target == @t[2]")["kept"].to_numpy())
        for t in s.spec.message_types
    }
    rule, given = HashMask(layer.seed, layer.options.rate, 5), {"weight": ArccosWeight(x), "degree": "masked"}
    by_rule, by_table = (masked_gcn(s, x, [torch.eye(8)], mask=mask, **given) for mask in (rule, kept))
    for m in x:
        torch.testing.assert_close(by_rule[m], by_table[m])
    assert 0.2 < edges["kept"].mean() < 0.4  # the rate is .7
    masked = layer.train()(s, x, step=5).masked
    layer.eval()
    for m, rows in nodes.groupby("modality"):
        assert rows["shown"].tolist() == (~masked[m]).tolist()
    monkeypatch.setattr(layer, "options", replace(layer.options, mask="nodes"))
    assert masked_edges(explainer, 5)["kept"].all()
    monkeypatch.setattr(layer, "options", replace(layer.options, mask="edges"))
    assert masked_nodes(explainer, 5)["shown"].all()
    with pytest.raises(InputError, match="masks edges or nodes"):
        masked_edges(explained["sgrnet"])


def test_a_dialogue_that_is_not_there_or_may_not_be_seen(runs, corpus, shortest):
    with pytest.raises(InputError, match="no dialogue 'nobody'"):
        Explainer(runs["bilstm"], corpus, "nobody")
    hidden = SavedRun(
        runs["bilstm"].path, runs["bilstm"].settings, runs["bilstm"].data, {**runs["bilstm"].metrics, "test_evaluated": False}
    )
    with pytest.raises(InputError, match="was not evaluated yet"):
        Explainer(hidden, corpus, shortest)
    assert len(Explainer(hidden, corpus, int(corpus.in_split("dev")[0])).utterances)


def test_one_utterance_and_nothing_beside_it(runs, corpus, shortest):
    lo = corpus.offsets[shortest] + int(corpus.presence[corpus.offsets[shortest] : corpus.offsets[shortest + 1]].any(axis=1).argmax())
    one = corpus.utterances.iloc[[lo]].assign(position=0)
    features = {m: corpus.features[m][corpus.feature_rows[lo, k] : corpus.feature_rows[lo + 1, k]] for k, m in enumerate(corpus.modalities)}
    alone = Corpus.build("alone", one, features, dict(corpus.targets))
    for run in runs.values():
        explainer = Explainer(run, alone, 0)
        assert not len(explainer.without_utterances())
        effects = explainer.effects(strongest(explainer.weights(), 5))
        assert set(effects["removed"]) >= {"modality", "node"}
