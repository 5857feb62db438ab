"""Statistics of graphs, on a graph computed by hand: every number beside its derivation."""

from __future__ import annotations

from itertools import permutations

import numpy as np
import pandas as pd
import pytest

from dgl_merc.graphs import EDGE_COLUMNS
from dgl_merc.graphs.stats import (
    TOGETHER,
    Survey,
    agreement_by_weight,
    correlations_in_words,
    edge_statistics,
    emotion_shifts,
    emotion_transitions,
    homophily,
    missing_by_label,
    missing_modalities,
    presence_patterns,
    weight_agreement,
    weight_histogram,
)

TEXT, CROSS, PART, TURN = (
    ("text", "same", "text"),
    ("text", "cross", "audio"),
    ("audio", "part_of", "utterance"),
    ("utterance", "intra_past", "utterance"),
)

# a: Ana 0 joy, Ben 1 fear, Ana 2 joy, Ana 3 unlabelled, Ben 4 joy; audio of 0, 1 and 4; b: Ana 0 fear, Ana 1 fear; d: one turn
SAID = pd.DataFrame(
    {
        "dialogue": ["a"] * 5 + ["b"] * 2 + ["d"],
        "position": [0, 1, 2, 3, 4, 0, 1, 0],
        "speaker": ["Ana", "Ben", "Ana", "Ana", "Ben", "Ana", "Ana", "Ben"],
        "label": ["joy", "fear", "joy", None, "joy", "fear", "fear", "joy"],
        "has_text": [True] * 8,
        "has_audio": [True, True, False, False, True, False, False, True],
        "split": ["train"] * 7 + ["dev"],
    }
)
EDGES = pd.DataFrame(
    [
        ["a", *TEXT, 0, 1, 0.25],
        ["a", *TEXT, 0, 2, 0.75],
        ["a", *TEXT, 1, 2, 0.5],
        ["a", *TEXT, 3, 2, 0.0],
        ["b", *TEXT, 0, 1, 0.5],
        ["a", *CROSS, 0, 0, 1.0],
        ["a", *CROSS, 2, 1, np.nan],
        ["a", *PART, 1, 1, np.nan],
        ["a", *TURN, 0, 2, np.nan],
    ],
    columns=EDGE_COLUMNS,
)


@pytest.fixture(scope="module")
def survey():
    return Survey.of_tables(EDGES, SAID)


def row(table, edge_type, split="train", **more):
    kept = (table[["source", "relation", "target", "split"]] == [*edge_type, split]).all(axis=1)
    for name, value in more.items():
        kept &= table[name] == value
    (found,) = table[kept].to_dict("records")
    return found


def test_edges_degrees_and_components(survey):
    table = edge_statistics(survey)
    found = row(table, TEXT)
    assert (found["dialogues"], found["sources"], found["targets"], found["edges"]) == (2, 7, 7, 5)
    assert found["density"] == pytest.approx(5 / (5 * 4 + 2 * 1))
    assert (found["degree"], found["degree_max"]) == (pytest.approx(5 / 7), 3)  # three edges into 2 of a
    assert found["isolated"] == pytest.approx(4 / 7)  # 0, 3 and 4 of a, 0 of b
    assert (found["components"], found["largest"]) == ((2 + 1) / 2, (4 + 2) / 2)  # a: 0-1-2-3 and 4; b: 0-1
    alone = row(table, TEXT, "dev")
    assert (alone["edges"], alone["degree"], alone["isolated"], alone["components"], alone["largest"]) == (0, 0, 1, 1, 1)
    assert np.isnan(alone["density"])  # nobody else to be joined to
    assert np.isnan(alone["weight_mean"])


def test_nodes_of_two_types(survey):
    table = edge_statistics(survey)
    found = row(table, CROSS)
    assert (found["dialogues"], found["sources"], found["targets"]) == (2, 7, 3)  # b has text to be a source
    assert found["density"] == pytest.approx(2 / (5 * 3 + 2 * 0))
    assert found["isolated"] == pytest.approx(1 / 3)  # audio of 4
    # a: t0-a0, t2-a1, t1, t3, t4, a4; b: its two texts
    assert (found["components"], found["largest"]) == ((6 + 2) / 2, (2 + 1) / 2)
    assert row(table, PART)["components"] == (2 + (5 - 1) + 1 + 2 - 1 - 0) / 2 + 0.5  # a: a1-u1, a0, a4, u0, u2, u3, u4 (7); b: u0, u1 (2)


def test_the_graph_of_all_modality_nodes(survey):
    found = row(edge_statistics(survey), TOGETHER)
    assert (found["sources"], found["targets"], found["edges"]) == (10, 10, 7)
    assert found["density"] == pytest.approx(7 / (8 * 7 + 2 * 1))
    # a: t0-t1-t2-t3 with a0 at t0 and a1 at t2; t4; a4. b: t0-t1
    assert (found["components"], found["largest"]) == ((3 + 1) / 2, (6 + 2) / 2)
    assert found["isolated"] == pytest.approx((1 + 1 + 1 + 1 + 1) / 10)  # t0, t3, t4 and a4 of a, t0 of b
    assert found["weighted"] == pytest.approx(6 / 7)
    assert (found["weight_min"], found["weight_max"]) == (0, 1)


def test_weights(survey):
    found = row(edge_statistics(survey), TEXT)
    w = np.array([0.25, 0.75, 0.5, 0, 0.5])
    assert (found["weighted"], found["weight_mean"], found["weight_sd"]) == (1, pytest.approx(0.4), pytest.approx(w.std()))
    assert [found[f"weight_{n}"] for n in ("min", "q1", "median", "q3", "max")] == [0, 0.25, 0.5, 0.5, 0.75]
    assert row(edge_statistics(survey), CROSS)["weighted"] == 0.5
    assert row(edge_statistics(survey), TURN)["weighted"] == 0
    table = weight_histogram(survey, bins=4)
    text = table[(table["source"] == "text") & (table["target"] == "text") & (table["split"] == "train")]
    assert text["edges"].tolist() == [1, 1, 2, 1]
    assert row(table, CROSS, low=0.75)["edges"] == 1  # exactly 1 is in the last
    assert not ((table["relation"] == "part_of") | (table["relation"] == "intra_past")).any()


def test_homophily(survey):
    table = homophily(survey)
    found = row(table, TEXT, part="all")
    # joy-fear, joy-joy, fear-joy, fear-fear; the one from an unlabelled turn does not count
    assert (found["edges"], found["equal"]) == (4, 0.5)
    assert found["chance"] == (4 / 8) ** 2 + (4 / 8) ** 2  # 4 ends at joy, 4 at fear
    assert (found["ratio"], found["adjusted"]) == (1.0, 0.0)
    # a: 3 joy, 1 fear: 3 2 / (4 3) = 1/2 for each of its 3 edges; b: 1
    assert found["within"] == pytest.approx((3 * 0.5 + 1) / 4)
    assert found["above_within"] == pytest.approx(0.5 - 2.5 / 4)
    own, other = (row(table, TEXT, part=f"{who} speaker") for who in ("own", "other"))
    assert (own["edges"], own["equal"], own["within"]) == (2, 1.0, 0.75)  # a 0-2 and b 0-1
    assert own["chance"] == 0.5
    assert own["adjusted"] == pytest.approx((1 - 0.5) / (1 - 0.5))
    assert (other["edges"], other["equal"], other["within"]) == (2, 0.0, 0.5)
    assert other["adjusted"] == pytest.approx((0 - 0.5) / (1 - 0.5))


def test_edges_to_oneself_say_nothing(survey):
    found = row(homophily(survey), CROSS, part="all")
    assert (found["edges"], found["equal"]) == (1, 0)  # text of 2 and audio of 1; that of 0 and 0 is left out
    assert row(homophily(survey), PART, part="all")["edges"] == 0


def test_chance_within_is_the_mean_over_all_ways_to_deal_the_labels_out(survey):
    rows = np.array([0, 1, 2, 4])  # the labelled ones of a
    labels = SAID["label"].to_numpy()
    shares = []
    for dealt in permutations(labels[rows]):
        new = labels.copy()
        new[rows] = dealt
        again = Survey.of_tables(EDGES[EDGES["dialogue"] == "a"], SAID.assign(label=new)[:5], classes=("fear", "joy"))
        shares.append(row(homophily(again), TEXT, part="all")["equal"])
    only = Survey.of_tables(EDGES[EDGES["dialogue"] == "a"], SAID[:5])
    assert np.mean(shares) == pytest.approx(row(homophily(only), TEXT, part="all")["within"])


def test_whether_weights_agree_with_labels(survey):
    found = row(weight_agreement(survey), TEXT)
    # equal: .75 (a), .5 (b); different: .25, .5 (a): .75 beats both, .5 beats one and ties with one
    assert found["auroc"] == (2 + 1 + 0.5) / 4
    assert (found["mean_equal"], found["mean_different"]) == (0.625, 0.375)
    assert found["auroc_within"] == 1.0  # only a has both kinds
    assert (found["edges"], found["equal"], found["dialogues"]) == (4, 0.5, 2)
    # phi: of .75: 1 - .875, of .5: .75 - .875; of .25: 1 - .875, of .5: .75 - .875; each / 2
    phi_a = (1 - 0.875) / 2 + (1 - 0.875) / 2 + (0.75 - 0.875) / 2
    phi_b = (0.75 - 0.875) / 2
    reach = 1.96 * np.sqrt(2 / 1 * (phi_a**2 + phi_b**2))
    assert found["low"] == pytest.approx(0.875 - reach)
    assert found["high"] == min(1.0, 0.875 + reach)
    nothing = row(weight_agreement(survey), TEXT, "dev")
    assert (nothing["edges"], nothing["dialogues"]) == (0, 0)
    assert np.isnan([nothing["auroc"], nothing["low"], nothing["auroc_within"]]).all()


def test_agreement_by_weight(survey):
    table = agreement_by_weight(survey, bins=2)
    found = table[(table["source"] == "text") & (table["target"] == "text")]
    # 4 edges .25 .5 .5 .75: the middle of the two .5 is at the half, the second bin
    assert found[["bin", "low", "high", "edges", "equal"]].to_numpy().tolist() == [[0, 0.25, 0.25, 1, 0], [1, 0.5, 0.75, 3, 2 / 3]]
    assert not len(agreement_by_weight(survey).query("split == 'dev'"))
    with pytest.raises(ValueError, match="bins must be 1 or more, got 0"):
        agreement_by_weight(survey, bins=0)
    with pytest.raises(ValueError, match="divide 4096, got 3"):
        weight_histogram(survey, bins=3)


def test_transitions(survey):
    table = emotion_transitions(survey).query("split == 'train'")
    count = {(r["kind"], r["from"], r["to"]): r["count"] for r in table.to_dict("records") if r["count"]}
    assert count == {
        ("same speaker", "joy", "joy"): 1,  # Ana 0 to 2 of a, Ben between
        ("same speaker", "fear", "joy"): 1,  # Ben 1 to 4 of a, an unlabelled turn between
        ("same speaker", "fear", "fear"): 1,  # Ana in b; she does not come from a
        ("other speaker", "joy", "fear"): 1,  # 0 to 1
        ("other speaker", "fear", "joy"): 1,  # 1 to 2; 3 is unlabelled: nothing from 2 to 4
    }
    same = {(r["from"], r["to"]): r for r in table[table["kind"] == "same speaker"].to_dict("records")}
    assert same["fear", "joy"]["probability"] == 0.5
    assert same["fear", "joy"]["expected"] == pytest.approx(2 / 3)
    shifts = emotion_shifts(survey).set_index(["kind", "split"])
    assert shifts.loc[("same speaker", "train"), "transitions"] == 3
    assert shifts.loc[("same speaker", "train"), "shift"] == pytest.approx(1 / 3)
    assert shifts.loc[("same speaker", "train"), "expected"] == pytest.approx(
        1 - (1 * 2 + 2 * 1) / 9
    )  # begin: 1 joy, 2 fear; end: 2 joy, 1 fear
    assert shifts.loc[("other speaker", "train"), "shift"] == 1
    assert np.isnan(shifts.loc[("same speaker", "dev"), "shift"])


def test_missing_modalities(survey):
    found = missing_modalities(survey).set_index(["modality", "split"])
    audio = found.loc[("audio", "train")]
    assert audio["missing"] == pytest.approx(4 / 7)
    assert (audio["runs"], audio["run_length"], audio["run_longest"]) == (2, 2, 2)  # 2-3 of a; b's two, though rows 5 and 6 stand near
    # joy: 2 with audio, 1 without; fear: 1 with, 2 without. Expected 1.5 each: chi^2 = 4 (.5^2) / 1.5 = 2/3
    assert audio["cramers_v"] == pytest.approx(np.sqrt(2 / 3 / 6))
    assert audio["p"] == pytest.approx(0.4142, abs=1e-4)  # P(chi^2_1 > 2/3)
    assert found.loc[("text", "train"), "missing"] == 0
    assert np.isnan(found.loc[("text", "train"), ["run_length", "cramers_v", "p"]].astype(float)).all()
    patterns = presence_patterns(survey)
    assert patterns.to_numpy().tolist() == [["train", "text", 4, 4 / 7], ["train", "text+audio", 3, 3 / 7], ["dev", "text+audio", 1, 1.0]]
    labels = missing_by_label(survey).query("modality == 'audio' and split == 'train'")
    assert labels["label"].fillna("nobody knows").tolist() == ["fear", "joy", "nobody knows"]
    assert labels["missing"].tolist() == [2 / 3, 1 / 3, 1.0]


def test_runs_end_with_their_dialogue():
    said = pd.DataFrame({"dialogue": [0, 0, 1], "position": [0, 1, 0], "speaker": "Ana", "label": None, "has_audio": [True, False, False]})
    found = missing_modalities(Survey.of_tables(EDGES[:0], said)).loc[0]
    assert (found["runs"], found["run_longest"]) == (2, 1)


def test_the_names_of_labels_may_be_more_than_occur():
    survey = Survey.of_tables(EDGES, SAID, classes=("anger", "fear", "joy"))
    pd.testing.assert_frame_equal(homophily(survey), homophily(Survey.of_tables(EDGES, SAID)))
    assert len(emotion_transitions(survey)) == 2 * 2 * 9


@pytest.mark.parametrize(
    ("edges", "said", "message"),
    [
        (EDGES.assign(weight=1.5), SAID, "weights must be from 0 to 1, got 1.5"),
        (EDGES.assign(weight=-1.0), SAID, "weights must be from 0 to 1, got -1"),
        (EDGES.assign(weight=np.inf), SAID, "weights must be from 0 to 1, got inf"),
        (EDGES.assign(dialogue="x"), SAID, "must join utterances that are in the table"),
        (EDGES.assign(src=5), SAID, "must join utterances that are in the table"),
        (EDGES.assign(dst=-1), SAID, "must join utterances that are in the table"),
        (EDGES.assign(target="smell"), SAID, "modalities of the table of utterances"),
        (EDGES, SAID.assign(position=1), "position must run from 0"),
        (EDGES, SAID.iloc[::-1], "position must run from 0"),
    ],
)
def test_tables_that_do_not_fit_are_named(edges, said, message):
    with pytest.raises(ValueError, match=message):
        edge_statistics(Survey.of_tables(edges, said))


def test_a_foreign_label_is_named():
    with pytest.raises(ValueError, match=r"label must be one of \['joy'\], got 'fear'"):
        Survey.of_tables(EDGES, SAID, classes=("joy",))


def test_correlations_near_chance_are_said_to_be():
    found = {"train": [0.5, 0.2], "dev": [0.17, 0.3], "train_utterances": 90, "dev_utterances": 100}
    (line,) = correlations_in_words({"text-audio": found})
    assert line == "Common space of text-audio: first canonical correlation 0.50 on train, 0.17 on dev"  # 1.64 / 10 is less
    (line,) = correlations_in_words({"text-audio": {**found, "dev": [0.16, 0.3]}})
    assert line.endswith("0.16 on dev: near chance (0.16), its cross weights say little")
    (line,) = correlations_in_words({"text-audio": {**found, "dev": [], "dev_utterances": 1}})
    assert line.endswith("0.50 on train, unknown on dev")
