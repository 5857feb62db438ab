"""Statistics of a store: against a slow loop over its DGL graphs, whatever the pieces, and whoever made the tables."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pandas as pd
import pytest

from dgl_merc.corpus import Corpus, Target, save_corpus
from dgl_merc.corpus.synthetic import synthetic_corpus
from dgl_merc.errors import InputError
from dgl_merc.graphs import GraphSpec, Store, edge_table, stats, utterance_table
from dgl_merc.graphs.build import BuildOptions, build_store
from dgl_merc.graphs.stats import Survey, pieces

TABLES = (
    stats.edge_statistics,
    stats.weight_histogram,
    stats.homophily,
    stats.weight_agreement,
    stats.agreement_by_weight,
    stats.emotion_transitions,
    stats.emotion_shifts,
    stats.presence_patterns,
    stats.missing_modalities,
    stats.missing_by_label,
)


@pytest.fixture(scope="module")
def built(tmp_path_factory):
    folder = tmp_path_factory.mktemp("stats")
    corpus = save_corpus(synthetic_corpus(0, (4, 2, 2), with_ceilings=False), folder / "corpus")
    return build_store(corpus, folder / "graphs", GraphSpec(tuple(corpus.modalities), cross="dialogue", window=3, past=2, future=4))


@pytest.fixture(scope="module")
def survey(built):
    return Survey.of_store(built)


def test_the_totals_are_the_manifests(built, survey):
    for found in stats.edge_statistics(survey).to_dict("records"):
        counts = built.manifest["counts"][found["split"]]
        if found["relation"] == "all":
            names = [" ".join(t) for t in built.spec.message_types]
            assert found["edges"] == sum(counts[f"edges {name}"] for name in names)
            assert found["sources"] == found["targets"] == sum(counts[f"nodes {m}"] for m in built.spec.modalities)
        else:
            assert found["edges"] == counts[f"edges {found['source']} {found['relation']} {found['target']}"]
            assert (found["sources"], found["targets"]) == (counts[f"nodes {found['source']}"], counts[f"nodes {found['target']}"])
    table = stats.presence_patterns(survey).groupby("split")["utterances"].sum()
    assert table.to_dict() == {split: counts["utterances"] for split, counts in built.manifest["counts"].items()}


def parts(edges, nodes):
    """The sizes of connected components, by visiting."""
    near = {n: set() for n in nodes}
    for a, b in edges:
        near[a].add(b)
        near[b].add(a)
    sizes = []
    while near:
        ahead, seen = [next(iter(near))], set()
        while ahead:
            node = ahead.pop()
            if node not in seen:
                seen.add(node)
                ahead += near[node]
        sizes.append(len(seen))
        near = {n: v for n, v in near.items() if n not in seen}
    return sizes


def loop_over_graphs(store, split, edge_type):
    """Every number of a split and an edge type, edge by edge over DGL graphs."""
    source, _, target = edge_type
    said = store.corpus.labels("emotion")
    found = Counter()
    degrees, weights, joined, pieces_of, ends, possible = [], [], [], [], Counter(), 0
    for number in np.flatnonzero(store.corpus.splits == split).tolist():
        graph = store.graph(number)
        src, dst = (e.tolist() for e in graph.edges(etype=edge_type, order="eid"))
        data = graph.edges[edge_type].data
        w = data["weight"].double().tolist() if "weight" in data else [None] * len(src)
        of = {n: graph.nodes[n].data["position" if n == "utterance" else "utterance"].tolist() for n in (source, target)}
        speakers = graph.nodes["utterance"].data["speaker"].tolist()
        labels = said[store.corpus.offsets[number] : store.corpus.offsets[number + 1]].tolist()
        degree = Counter(dst)
        degrees += [degree[v] for v in range(graph.num_nodes(target))]
        nodes = [(n, k) for n in {source, target} for k in range(graph.num_nodes(n))]
        pieces_of.append(parts([((source, a), (target, b)) for a, b in zip(src, dst, strict=True)], nodes))
        possible += graph.num_nodes(source) * graph.num_nodes(target) - (graph.num_nodes(source) if source == target else 0)
        weights += [x for x in w if x is not None]
        with_node = [x for k, x in enumerate(labels) if x >= 0 and (k in of[source] or k in of[target])]
        for a, b, x in zip(src, dst, w, strict=True):
            a, b = of[source][a], of[target][b]
            if a == b or labels[a] < 0 or labels[b] < 0:
                continue
            pairs = [(p, q) for p in range(len(with_node)) for q in range(len(with_node)) if p != q]
            chance = sum(with_node[p] == with_node[q] for p, q in pairs) / len(pairs)
            joined.append((number, labels[a] == labels[b], speakers[a] == speakers[b], chance, x))
            ends.update([labels[a], labels[b]])
    found |= {"edges": sum(degrees), "degree_max": max(degrees), "isolated": np.mean([d == 0 for d in degrees])}
    found |= {"density": sum(degrees) / possible, "components": np.mean([len(p) for p in pieces_of])}
    found["largest"] = np.mean([max(p) for p in pieces_of])
    return dict(found), weights, joined, ends


def auroc(pairs):
    """Of (weight, equal): pair by pair."""
    equal, different = ([x for x, same in pairs if same == kind] for kind in (True, False))
    wins = [(a > b) + (a == b) / 2 for a in equal for b in different]
    return np.mean(wins) if wins else np.nan


def over_dialogues(joined):
    """Interval of AUROC, and AUROC within dialogues, of weights rounded to 1 / 128: by their definitions."""
    edges = [(number, same, np.floor(np.rint(x * 4096) / 32 + 0.5)) for number, same, _, _, x in joined]
    equal, different = ([x for _, same, x in edges if same == kind] for kind in (True, False))
    middle = auroc([(x, same) for _, same, x in edges])
    phi, wins, pairs = Counter(), 0.0, 0
    for number, same, x in edges:
        others = different if same else equal
        right = np.mean([(x == y) / 2 + ((x > y) if same else (x < y)) for y in others])
        phi[number] += (right - middle) / len(equal if same else different)
    for number in phi:
        mine = [(x, same) for k, same, x in edges if k == number]
        count = sum(same for _, same in mine) * sum(not same for _, same in mine)
        wins, pairs = wins + (auroc(mine) * count if count else 0), pairs + count
    reach = 1.96 * np.sqrt(len(phi) / (len(phi) - 1) * sum(v**2 for v in phi.values()))
    exact = auroc([(np.rint(x * 4096), same) for _, same, _, _, x in joined])
    return [max(exact - reach, 0), min(exact + reach, 1), wins / pairs]


@pytest.mark.dgl
@pytest.mark.parametrize(
    "edge_type",
    [("audio", "same", "audio"), ("text", "cross", "visual"), ("audio", "part_of", "utterance"), ("utterance", "inter_past", "utterance")],
)
def test_everything_is_what_a_loop_over_the_graphs_finds(built, survey, edge_type):
    for split in ("train", "dev"):
        key = dict(zip(("source", "relation", "target", "split"), (*edge_type, split), strict=True))

        def row(table, key=key, **more):
            (found,) = table[(table[list(key | more)] == pd.Series(key | more)).all(axis=1)].to_dict("records")
            return found

        counted, weights, joined, ends = loop_over_graphs(built, split, edge_type)
        shape = row(stats.edge_statistics(survey))
        assert {name: shape[name] for name in counted} == pytest.approx(counted)
        like = row(stats.homophily(survey), part="all")
        assert like["edges"] == len(joined)
        if joined:
            share = np.array(list(ends.values())) / sum(ends.values())
            own = np.array([j[2] for j in joined])
            equal, chance = np.array([j[1] for j in joined]), np.array([j[3] for j in joined])
            assert [like["equal"], like["chance"], like["within"]] == pytest.approx([equal.mean(), (share**2).sum(), chance.mean()])
            for part, kept in (("own speaker", own), ("other speaker", ~own)):
                if kept.any():
                    found = row(stats.homophily(survey), part=part)
                    assert [found["equal"], found["within"]] == pytest.approx([equal[kept].mean(), chance[kept].mean()])
        if weights:
            rounded = np.rint(np.array(weights) * 4096) / 4096
            assert [shape["weight_mean"], shape["weight_sd"]] == pytest.approx([np.mean(weights), np.std(weights)], abs=1e-6)
            assert [shape["weight_min"], shape["weight_max"]] == pytest.approx([min(weights), max(weights)], abs=1e-6)
            quartiles = np.quantile(rounded, [0.25, 0.5, 0.75], method="inverted_cdf")
            assert [shape["weight_q1"], shape["weight_median"], shape["weight_q3"]] == pytest.approx(quartiles, abs=1.1 / 4096)
            agreement = row(stats.weight_agreement(survey))
            assert agreement["auroc"] == pytest.approx(auroc([(np.rint(x * 4096), same) for _, same, _, _, x in joined]), abs=1e-3)
            assert agreement["dialogues"] == len({j[0] for j in joined})
            if joined:
                assert [agreement[name] for name in ("low", "high", "auroc_within")] == pytest.approx(over_dialogues(joined), abs=2e-3)


@pytest.fixture
def steady(built, monkeypatch):
    """A survey of weights that do not depend, in their last bits, on the dialogues that are multiplied at once."""
    exact = Store.weights
    monkeypatch.setattr(Store, "weights", lambda self, structure: {t: (w * 1024).round() / 1024 for t, w in exact(self, structure).items()})
    survey = Survey.of_store(built)
    assert survey.edge_counts
    return survey


def test_pieces_change_nothing(built, steady, monkeypatch):
    assert len(pieces.cuts_of(built, np.arange(8))) == 1
    monkeypatch.setattr(pieces, "_COST", 1)
    assert [len(part) for part in pieces.cuts_of(built, np.arange(8))] == [1] * 8
    again = Survey.of_store(built)
    for table in TABLES:
        pd.testing.assert_frame_equal(table(again), table(steady), check_exact=False, rtol=1e-12, atol=1e-12)


def tables_of(store, numbers):
    corpus = store.corpus
    structure = store.structure(np.array(numbers))
    edges = edge_table(structure, store.weights(structure))
    said = [utterance_table(corpus, n).assign(dialogue=n, split=corpus.splits[n]) for n in numbers]
    return edges, pd.concat(said, ignore_index=True), corpus.targets["emotion"].classes


def test_tables_and_the_order_of_dialogues_make_no_difference(built, steady):
    there = Survey.of_tables(*tables_of(built, [5, 0, 7, 3, 2, 6, 1, 4]))
    for table in TABLES:
        pd.testing.assert_frame_equal(table(there), table(steady), check_exact=False, rtol=1e-12, atol=1e-12)


def test_a_part_of_a_store(built, steady):
    dev = Survey.of_store(built, split="dev")
    one = Survey.of_store(built, dialogue=built.corpus.dialogue_ids[5])
    for table in TABLES:
        whole = table(steady)
        kept = whole[whole["split"] == "dev"].reset_index(drop=True)
        found = table(dev)
        pd.testing.assert_frame_equal(found, kept, check_exact=False, rtol=1e-12, atol=1e-12)
    assert one.splits == ("dev",)
    assert stats.edge_statistics(one)["dialogues"].isin([0, 1]).all()
    with pytest.raises(InputError, match="is not in split 'test'; leave --split out"):
        Survey.of_store(built, dialogue=0, split="test")
    with pytest.raises(InputError, match="no target 'mood'; there are emotion"):
        Survey.of_store(built, target="mood")


def test_a_bar_is_told_of_every_dialogue(built, monkeypatch):
    monkeypatch.setattr(pieces, "_COST", 1)
    told = []
    assert Survey.of_store(built, progress=lambda done, total: told.append((done, total))).edge_counts
    assert told == [(k, 8) for k in range(1, 9)]


def test_degrees_of_a_dialogue(built):
    name = built.corpus.dialogue_ids[2]
    table = stats.dialogue_utterances(built, name)
    edges = edge_table(built.structure(np.array([2])))
    for (source, relation, target), part in edges.groupby(["source", "relation", "target"]):
        count = part["dst"].value_counts().reindex(table["position"], fill_value=0)
        assert table[f"{source} {relation} {target}"].tolist() == count.tolist()
    assert table["speaker"].tolist() == utterance_table(built.corpus, name)["speaker"].tolist()


def survey_of(folder, corpus: Corpus, spec: GraphSpec):
    return Survey.of_store(build_store(save_corpus(corpus, folder / "c"), folder / "g", spec, BuildOptions(edges=False)))


def talk(**columns):
    said = {"dialogue_id": ["a", "a", "b"], "position": [0, 1, 0], "speaker": ["x", "y", "x"], "split": ["dev", "dev", "test"], **columns}
    return pd.DataFrame(said)


def test_scores_count_by_sign(tmp_path):
    said = talk(score=[1.5, 0.5, -2.0])
    corpus = Corpus.build("scores", said, {"text": np.eye(3, dtype=np.float32)}, {"score": Target("range", bounds=(-3.0, 3.0))})
    survey = survey_of(tmp_path, corpus, GraphSpec(("text",)))
    assert survey.classes == ("negative", "positive")
    assert survey.labels.tolist() == [1, 1, 0]
    assert stats.homophily(survey).query("relation == 'same' and split == 'dev'")["equal"].tolist() == [1.0, 1.0]
    (tmp_path / "more").mkdir()
    above = Corpus.build(
        "scores", said.assign(score=1.0), {"text": np.eye(3, dtype=np.float32)}, {"score": Target("range", bounds=(0.0, 3.0))}
    )
    bare = survey_of(tmp_path / "more", above, GraphSpec(("text",)))  # scores of one sign have no classes
    assert above.label_names("score").tolist() == [None] * 3
    assert (bare.classes, bare.labels.tolist()) == ((), [-1, -1, -1])


def test_nothing_labelled_no_audio_no_training_split(tmp_path):
    said = talk(emotion=[None] * 3, has_audio=[False] * 3)
    features = {"text": np.eye(3, dtype=np.float32), "audio": np.zeros((0, 2), dtype=np.float32)}
    corpus = Corpus.build("bare", said, features, {"emotion": Target("classes", ("joy", "fear"))})
    survey = survey_of(tmp_path, corpus, GraphSpec(("text", "audio"), causal=True))
    for table in TABLES:
        assert table(survey) is not None
    edges = stats.edge_statistics(survey)
    audio = edges.query("source == 'audio' and relation == 'same'")
    assert audio[["dialogues", "targets", "edges"]].to_numpy().sum() == 0
    assert audio["isolated"].isna().all()
    assert not edges.query("relation == 'intra_future'")["edges"].any()  # causal
    assert edges.query("relation == 'same' and source == 'text' and split == 'dev'")["edges"].tolist() == [1]
    assert stats.missing_modalities(survey)["missing"].tolist() == [0, 0, 1, 1]
    assert not stats.emotion_transitions(survey)["count"].any()
