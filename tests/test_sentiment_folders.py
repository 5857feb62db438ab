"""Folders of runs on a sentiment score: taken up, finished later, opened on another corpus, damaged."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from sentiment_cases import LEARN, SMALL, left, read, run

from dgl_merc.corpus import Corpus, Target
from dgl_merc.errors import InputError
from dgl_merc.explanations import Explainer
from dgl_merc.explanations.summary import in_words, overview
from dgl_merc.models import MODELS
from dgl_merc.training.run_folder import add_test, open_run

pytestmark = pytest.mark.xdist_group("sentiment")  # its runs are made once


@pytest.fixture
def corpus(scored: Corpus) -> Corpus:
    return scored


@pytest.fixture
def made(scored_runs: dict[tuple[str, str], Path]) -> dict[tuple[str, str], Path]:
    return scored_runs


@pytest.mark.parametrize("preset", [preset for preset in SMALL if not MODELS[preset][0].solved])
def test_a_run_cut_off_ends_with_the_same_bits(corpus, made, tmp_path, preset):
    class Stop(BaseException):
        pass

    def stop(now: Any, *_: object) -> None:
        if now.number == 3:
            raise Stop

    with pytest.raises(Stop):
        run(corpus, tmp_path / "cut", "score", preset, on_look=stop)
    with pytest.raises(InputError, match=r"was begun with data\.learn = score, not classes"):
        run(corpus, tmp_path / "cut", "classes", preset, resume=True)
    run(corpus, tmp_path / "cut", "score", preset, resume=True)
    assert left(tmp_path / "cut") == left(made[preset, "score"])


def test_test_can_be_evaluated_later(corpus, made, tmp_path):
    run(corpus, tmp_path / "out", test=False)
    assert "test" not in read(tmp_path / "out", "metrics")["splits"]
    add_test(open_run(tmp_path / "out"), corpus)
    assert read(tmp_path / "out", "metrics")["splits"] == read(made["bilstm", "score"], "metrics")["splits"]
    pd.testing.assert_frame_equal(open_run(tmp_path / "out").predictions, open_run(made["bilstm", "score"]).predictions)


def test_a_run_of_before_data_learn_is_opened_and_is_finished(corpus, made, tmp_path):
    out = shutil.copytree(made["bilstm", "classes"], tmp_path / "old")
    config = read(out, "config")
    del config["data"]["learn"]
    (out / "config.json").write_text(json.dumps(config))
    assert open_run(out).settings.data.learn == "classes"
    assert run(corpus, out, "classes", resume=True) == read(out, "metrics")
    with pytest.raises(InputError, match=r"holds a run of data\.learn = classes, not score"):
        run(corpus, out, "score", resume=True)


CHANGES = {
    "other bounds": (lambda c: replace(c, targets={"sentiment": Target("range", bounds=(-4, 4))}), "found scores from -4 to 4"),
    "classes": (
        lambda c: replace(c, targets={"sentiment": Target("classes", ("negative", "positive"))}),
        "found the classes negative, positive",
    ),
    "no such target": (lambda c: replace(c, targets={"mood": c.targets["sentiment"]}), "found no such target"),
}


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES.keys())
@pytest.mark.parametrize("learn", LEARN)
def test_another_corpus_must_have_the_same_target(corpus, made, learn, change):
    other, message = change
    with pytest.raises(InputError, match=f"sentiment: expected scores from -3 to 3, as .* was trained with; {message}"):
        open_run(made["bilstm", learn]).dialogue_data(other(corpus))


def broken(out: Path, name: str, **entries: Any) -> None:
    table = read(out, name)
    table.update(entries)
    (out / f"{name}.json").write_text(json.dumps({k: v for k, v in table.items() if v is not None}))


DAMAGE = {
    "no bounds": lambda out: broken(out, "data", bounds=None),
    "bounds of one sign": lambda out: broken(out, "data", bounds=[0, 3]),
    "three bounds": lambda out: broken(out, "data", bounds=[-3, 0, 3]),
    "bounds in words": lambda out: broken(out, "data", bounds=["-3", "3"]),
    "other classes": lambda out: broken(out, "data", labels=["joy", "fear"]),
}


@pytest.mark.parametrize("damage", DAMAGE.values(), ids=DAMAGE.keys())
def test_damaged_entries_are_said(made, tmp_path, damage):
    out = shutil.copytree(made["bilstm", "score"], tmp_path / "out")
    damage(out)
    with pytest.raises(InputError, match=r"expected what fit writes into data\.json"):
        open_run(out)


TABLES = {
    "no score": (lambda t: t.drop(columns="score"), "missing: score"),
    "no predicted score": (lambda t: t.drop(columns="predicted_score"), "missing: predicted_score"),
    "other signs": (lambda t: t.assign(score=-t["score"]), "labels that are the signs of scores, found others"),
    "a zero with a label": (lambda t: t.assign(score=0.0), "labels that are the signs of scores, found others"),
    "words": (lambda t: t.assign(score="much"), "labels that are the signs of scores, found others"),
}


@pytest.mark.parametrize(("change", "message"), TABLES.values(), ids=TABLES.keys())
def test_damaged_predictions_are_said(made, tmp_path, change, message):
    out = shutil.copytree(made["bilstm", "score"], tmp_path / "out")
    change(pd.read_parquet(out / "predictions.parquet")).to_parquet(out / "predictions.parquet", index=False)
    with pytest.raises(InputError, match=message):
        _ = open_run(out).predictions


def test_a_run_of_scores_is_explained_by_scores(corpus, made):
    explainer = Explainer(open_run(made["sgrnet", "score"]), corpus, int(corpus.in_split("test")[0]))
    table, effects = explainer.utterances, explainer.without_modalities()
    assert np.allclose(effects["before"][: len(table)], table["predicted_score"])
    assert (effects["then"] == np.where(effects["after"] > 0, "positive", "negative")).all()
    assert effects["effect"].abs().max() > 1e-4
    assert "score" in overview(explainer, effects)
    assert "of the other sign than the score, the answer leans on it" in in_words(explainer, effects)[0]
