"""The command line on a sentiment score: several runs, tables, comparisons, evaluation, and one line for what does not fit."""

from __future__ import annotations

import json
import re
import shutil
from html import unescape
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from cli_cases import assert_one_line, good, run
from sentiment_cases import scored_corpus

from dgl_merc.corpus import Corpus, save_corpus
from dgl_merc.evaluation.sentiment import ZEROS_COUNTED, ZEROS_LEFT_OUT
from dgl_merc.graphs import GraphSpec
from dgl_merc.graphs.build import BuildOptions, build_store

pytestmark = pytest.mark.xdist_group("sentiment_cli")  # its runs are made once

SET = ("--preset", "bilstm", "--set", "model.hidden=5", "--set", "training.max_epochs=2", "--set", "training.batch_size=5")
SCORE = ("--set", "data.learn=score")


def put(corpus: Corpus, folder: Path) -> None:
    saved = save_corpus(corpus, folder / "corpus")
    build_store(saved, folder / "graphs", GraphSpec(tuple(saved.modalities)), BuildOptions(edges=False))


@pytest.fixture(scope="module")
def ready(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Stores of a score, of a score beside emotions, and of one without a sign; a run by sign and one by score."""
    folder = tmp_path_factory.mktemp("ready")
    put(scored_corpus((8, 3, 4)), folder / "scored")
    put(scored_corpus((8, 3, 4), emotion=True), folder / "both")
    put(scored_corpus((4, 2, 2), bounds=(0.0, 3.0)), folder / "positive")
    good("fit", folder / "scored/graphs", *SET, "--out", folder / "sign")
    good("fit", folder / "scored/graphs", *SET, *SCORE, "--out", folder / "score")
    return folder


@pytest.fixture
def here(ready: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    shutil.copytree(ready, tmp_path / "w")
    monkeypatch.chdir(tmp_path / "w")
    return tmp_path / "w"


def read(path: Path) -> Any:
    return json.loads(path.read_text(encoding="utf-8"))


def lines_of(sentiment: dict[str, Any]) -> list[str]:
    return [
        f"- {name}: weighted F1 {row['weighted_f1']:.2f}, accuracy {row['accuracy']:.2f}" for name, row in sentiment["conventions"].items()
    ]


def test_fit_and_evaluate_print_both_conventions(here):
    for name, distances in (("sign", 0), ("score", 1)):
        want = read(here / name / "metrics.json")["splits"]
        lines = good("evaluate", name, "scored/graphs", "--out", "found")
        assert read(here / "found" / "evaluation.json")["sentiment"] == want["test"]["sentiment"]
        for line in lines_of(want["test"]["sentiment"]):
            assert sum(said.startswith(line) for said in lines) == 1, line
        assert sum(said.startswith("- mean absolute error ") for said in lines) == distances
        assert any("expected calibration error" in said for said in lines) == (not distances)
        shutil.rmtree(here / "found")
    lines = good("fit", "scored/graphs", *SET, *SCORE, "--out", "again")
    assert [said for said in lines if said.startswith("- ")][:2] == [
        f"{line}, {row['utterances']} utterances"
        for line, row in zip(lines_of(want["test"]["sentiment"]), want["test"]["sentiment"]["conventions"].values(), strict=True)
    ]
    assert "audio" in " ".join(good("evaluate", "score", "scored/graphs", "--drop", "audio=0,.5"))


def test_seeds_and_folds_of_scores(here):
    good("fit", "scored/graphs", *SET, *SCORE, "--seeds", 2, "--folds", 2, "--jobs", 1, "--out", "study")
    (row,) = read(here / "study" / "summary.json")["variants"]
    runs = [read(here / "study" / run_["place"] / "metrics.json")["splits"]["test"] for run_ in row["runs"]]
    assert len(runs) == 4
    assert row["ece"] == {"mean": None, "deviation": None}
    for key in ("mean_absolute_error", "seven_class_accuracy"):
        assert row["sentiment"][key]["mean"] == pytest.approx(np.mean([r["sentiment"][key] for r in runs]))
    for name in (ZEROS_LEFT_OUT, ZEROS_COUNTED):
        found = [r["sentiment"]["conventions"][name]["weighted_f1"] for r in runs]
        assert row["sentiment"]["conventions"][name]["weighted_f1"]["mean"] == pytest.approx(np.mean(found))
    page = " ".join(unescape(re.sub(r"<[^>]*>", " ", (here / "study" / "report.html").read_text(encoding="utf-8"))).split())
    for name in (ZEROS_LEFT_OUT, ZEROS_COUNTED):
        assert name in page
    error = row["sentiment"]["mean_absolute_error"]
    assert f"Mean absolute error {error['mean']:.3f} ± {error['deviation']:.3f} points" in page
    assert "calibration error" not in page


def test_a_table_over_what_is_learnt(here):
    lines = good(
        "ablate",
        *SET[1:2],
        "scored/graphs",
        *SET[2:],
        "--over",
        "data.learn=classes,score",
        "--seeds",
        1,
        "--jobs",
        1,
        "--final",
        "--out",
        "t",
    )
    assert any("score" in line for line in lines)
    rows = read(here / "t" / "summary.json")["variants"]
    assert [row["labels"] for row in rows] == [{"data.learn": "classes"}, {"data.learn": "score"}]
    assert [("mean_absolute_error" in row["sentiment"], row["ece"]["mean"] is None) for row in rows] == [(False, False), (True, True)]


def test_a_run_by_sign_and_one_by_score_are_compared(here):
    lines = good("compare", "sign", "score", "--resamples", 200, "--out", "c")
    for name in ("sign", "score"):
        f1 = read(here / name / "metrics.json")["splits"]["test"]["weighted_f1"]
        assert any(f"| {name} " in line and f"{f1:.2f}" in line for line in lines)


def test_help_names_the_setting():
    for command in ("fit", "ablate"):
        assert "data.learn=score" in " ".join(run(command, "--help").stdout.split())


FIT = ("fit", "scored/graphs", *SET)
BOTH = ("fit", "both/graphs", *SET)
WRONG = {
    "a word of its own": ((*FIT, "--set", "data.learn=sign"), ("data.learn must be one of classes, score", "found 'sign'")),
    "class weights": ((*FIT, *SCORE, "--set", "training.class_weights=sqrt"), ("training.class_weights = none, found sqrt",)),
    "focal": ((*FIT, *SCORE, "--set", "training.focal=2"), ("training.focal = 0.0, found 2.0",)),
    "smoothing": ((*FIT, *SCORE, "--set", "training.label_smoothing=.1"), ("training.label_smoothing = 0.0, found 0.1",)),
    "a score of emotions": ((*BOTH, *SCORE), ("expected a target of kind range, found emotion", "--set data.target=sentiment")),
    "no such target": ((*FIT, "--set", "data.target=joy"), ("no target 'joy'; there are sentiment",)),
    "one sign": (("fit", "positive/graphs", *SET), ("sentiment: expected bounds with 0 strictly inside", "found scores from 0 to 3")),
    "one sign, folds": (("fit", "positive/graphs", *SET, "--folds", 2), ("sentiment: expected bounds with 0 strictly inside",)),
    "one sign, its score": (("fit", "positive/graphs", *SET, *SCORE), ("sentiment: expected bounds with 0 strictly inside",)),
    "several runs": ((*FIT, *SCORE, "--set", "training.focal=2", "--seeds", 2), ("training.focal = 0.0, found 2.0",)),
    "a table": (
        ("ablate", "bilstm", "scored/graphs", *SCORE, "--over", "training.focal=0,2"),
        ("data.learn=score: expected training.focal = 0.0, found 2.0",),
    ),
}


@pytest.mark.parametrize(("command", "pieces"), WRONG.values(), ids=WRONG.keys())
def test_what_does_not_fit_is_one_line(here, command, pieces):
    assert_one_line(run(*command, "--out", "wrong"), *pieces)
    assert not (here / "wrong").exists()


def test_another_corpus_for_a_run_of_scores_is_one_line(here):
    assert_one_line(run("evaluate", "score", "positive/graphs"), "sentiment: expected scores from -3 to 3", "found scores from 0 to 3")
