"""``dglmerc explain``: what it prints and writes, and what it refuses."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from cli_cases import assert_one_line, good, run
from explain_cases import SmallRuns
from predict_cases import spoken, write_csv, write_lines

from dgl_merc.corpus import Corpus
from dgl_merc.explanations import Explainer, deletion, explainer, summary
from dgl_merc.explanations.summary import overview, strongest_effects
from dgl_merc.training.run_folder import open_run

pytestmark = pytest.mark.xdist_group("explanations")


@pytest.fixture(scope="module")
def corpus(small_runs: SmallRuns) -> Corpus:
    return small_runs.corpus


@pytest.fixture(scope="module")
def mglra(small_runs: SmallRuns) -> Path:
    return small_runs.runs["mglra"].path


def test_it_prints_what_it_writes(mglra, corpus, tmp_path):
    name = corpus.dialogue_ids[int(corpus.in_split("dev")[0])]
    printed = good("explain", mglra, name, "--edges", 2, "--out", tmp_path / "why")
    found_by = Explainer(open_run(mglra), corpus, name)
    length = len(found_by.utterances)
    assert printed[0] == f"{name}, {length} utterances, as {mglra} sees it"
    effects = pd.read_csv(tmp_path / "why/effects.csv")
    weights = pd.read_csv(tmp_path / "why/weights.csv")
    assert set(weights["part"]) == {"filter", *(f"attention, round {r}" for r in (1, 2, 3)), "graph", "likeness"}
    expected = found_by.without_modalities()
    found = effects[effects["removed"] == "modality"]
    assert np.abs(found["effect"].to_numpy() - expected["effect"].to_numpy()).max() < 1e-6
    row = found[(found["utterance"] == 0) & (found["modality"] == "text")].iloc[0]
    assert f"{100 * row['effect']:+.1f}" in next(line for line in printed if line.startswith("| 0 "))
    for k, others in effects[effects["removed"] == "utterance"].groupby("utterance"):
        most = others.loc[others["effect"].abs().idxmax()]
        shown = f"{most['position']:.0f}: {100 * most['effect']:+.1f}"
        assert shown in next(line for line in printed if line.startswith(f"| {k} "))
    edges = effects[effects["removed"] == "edge"]
    kinds = weights[(weights["part"] != "likeness") & (weights["relation"] != "itself")].groupby(["part", "source", "relation", "target"])
    assert len(edges) == length * kinds.size().clip(upper=2).sum()
    about = json.loads((tmp_path / "why/explanation.json").read_text())
    assert (about["dialogue"], about["corpus"]) == (name, corpus.content_sha256)
    assert len(pd.read_csv(tmp_path / "why/utterances.csv")) == length
    good("explain", mglra, name, "--edges", 0, "--out", tmp_path / "why")  # it can be made again
    assert "edge" not in set(pd.read_csv(tmp_path / "why/effects.csv")["removed"])


def test_one_answer_and_the_edges_into_it(mglra, corpus, tmp_path):
    number = int(corpus.in_split("test")[0])
    printed = good("explain", mglra, number, "--utterance", 1, "--edges", "all", "--heads", "--out", tmp_path / "why")
    effects, weights = (pd.read_csv(tmp_path / f"why/{name}.csv") for name in ("effects", "weights"))
    assert set(effects["utterance"]) == {1}
    assert set(effects.loc[effects["removed"] == "edge", "dst"]) == {1}
    free = weights[(weights["part"] != "likeness") & (weights["relation"] != "itself") & (weights["dst"] == 1)]
    assert (effects["removed"] == "edge").sum() == len(free)
    assert any("of 1 answers would be another class" in line for line in printed)
    heads = [c for c in weights if c.startswith("head ")]
    attention = weights[weights["part"] == "attention, round 1"]
    assert np.abs(attention[heads].mean(axis=1) - attention["weight"]).max() < 1e-9


@pytest.mark.parametrize("kind", ["folder", "jsonl", "csv"])
def test_a_conversation_from_elsewhere(kind, mglra, corpus, tmp_path):
    objects = [o for o in spoken(corpus) if o["dialogue_id"] == corpus.dialogue_ids[int(corpus.in_split("test")[0])]]
    place = {
        "folder": lambda: corpus.path,
        "jsonl": lambda: write_lines(tmp_path / "talk.jsonl", objects),
        "csv": lambda: write_csv(tmp_path / "talk.csv", objects, {m: a.width for m, a in corpus.modalities.items()}),
    }[kind]()
    result = run("explain", mglra, objects[0]["dialogue_id"], place, "--edges", 0)
    assert result.exit_code == 0, result.output
    assert any(line.startswith("- visual: ") and "it is absent" in line for line in result.stderr.splitlines()), "nobody is told"
    rows = [line.split("|")[5].strip() for line in result.stdout.splitlines() if line.startswith("| ") and line[2].isdigit()][
        : len(objects)
    ]
    assert rows == Explainer(open_run(mglra), corpus, objects[0]["dialogue_id"]).utterances["predicted"].tolist()


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["nobody"], "no dialogue 'nobody' among its 15; they are called 'train/0', 'train/1', 'train/2', ..."),
        (["99"], "dialogues are numbered 0 to 14, found 99"),
        (["-1"], "No such option '-1'"),
        (["0", "--utterance", "400"], "expected the position of an utterance, 0 to"),
        (["0", "--edges", "few"], "--edges few: expected a number from 0 on, or all"),
        (["0", "--edges", "-3"], "--edges -3: expected a number from 0 on, or all"),
        (["0", "--features", "text=columns:f*"], "--features: expected a CSV after the dialogue, found none"),
        (["0", "--nan", "absent"], "--nan: expected a CSV after the dialogue, found none"),
        (["0", "nowhere.csv"], "nowhere.csv"),
        (["0", "--device", "abacus"], "--device abacus"),
    ],
)
def test_bad_input_is_one_line(words, said, mglra, monkeypatch):
    monkeypatch.setattr(deletion, "answers", None)  # nothing may be computed
    assert_one_line(run("explain", mglra, *words), said)


def test_a_place_that_holds_something_else(mglra, tmp_path, monkeypatch):
    monkeypatch.setattr(deletion, "answers", None)  # nothing may be computed
    (tmp_path / "mine.txt").write_text("a poem")
    assert_one_line(run("explain", mglra, "0", "--edges", "0", "--out", tmp_path), "explanation.json")
    assert_one_line(run("explain", mglra, "0", "--edges", "0", "--out", tmp_path / "mine.txt"), "found a file")
    assert (tmp_path / "mine.txt").read_text() == "a poem"
    assert_one_line(run("explain", mglra, "0", "--out", mglra / "why"), "expected a place outside", "metrics.json")
    assert not (mglra / "why").exists()


def test_what_would_take_too_long_is_not_begun(mglra, monkeypatch):
    monkeypatch.setattr(deletion, "answers", None)
    monkeypatch.setattr(explainer, "MOST_EFFECTS", 1000)
    assert_one_line(
        run("explain", mglra, "0", "--edges", "all"), "expected at most 1,000 effects, found ", " answers each; name fewer edges"
    )
    monkeypatch.setattr(summary, "LONGEST", 2)
    assert_one_line(run("explain", mglra, "0"), "dialogue train/0: expected at most 2 utterances, found ")


def test_cells_say_what_the_effects_say(mglra, corpus):
    explainer = Explainer(open_run(mglra), corpus, int(corpus.in_split("dev")[0]))
    effects = explainer.effects(explainer.weights()[:0])
    every = effects[(effects["removed"] == "modality") & (effects["modality"] == "text")].to_dict("records")
    cells = [f"{100 * e['effect']:+.1f}" + (f" → {e['then']}" if e["then"] != e["predicted"] else "") for e in every]
    assert overview(explainer, effects)["without text"].tolist() == cells
    assert 0 < sum("→" in cell for cell in cells) < len(cells), "vacuous: all or none change"
    shown = strongest_effects(explainer, effects, 3)
    for kind, words in (("utterance", "utterance {position}"), ("node", "{modality} of utterance {position}")):
        rows = sorted(effects[effects["removed"] == kind].to_dict("records"), key=lambda e: -abs(e["effect"]))[:3]
        expected = [(words.format(**e), e["utterance"]) for e in rows]
        assert [pair for pair in zip(shown["without"], shown["at utterance"], strict=True) if pair in expected] == expected
