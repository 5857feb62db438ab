"""Run and study folders that were damaged, edited or half deleted: one line that names the file, and no number that looks right."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from cli_cases import assert_one_line, good, run, trained
from safetensors.numpy import load_file, save_file
from study_cases import SMALL

from dgl_merc.corpus import Corpus, open_corpus, save_corpus
from dgl_merc.errors import InputError
from dgl_merc.graphs import GraphSpec
from dgl_merc.graphs.build import BuildOptions, build_store
from dgl_merc.training import fit, load_settings
from dgl_merc.training.source import open_source

pytestmark = [pytest.mark.xdist_group("damage"), pytest.mark.usefixtures("unpainted")]  # its runs are made once

WORDS = [part for word in SMALL for part in ("--set", word)]  # the first is of model.hidden
Change = Callable[[Any], None]


@pytest.fixture(scope="module")
def made(unpainted: None, store: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two runs, and a table whose test was not seen."""
    folder = tmp_path_factory.mktemp("made")
    source = open_source(store)
    for name in "ab":
        fit(source.corpus, source.spec, load_settings("bilstm", SMALL, "ab".index(name)), folder / name, store=source.store)
    good("ablate", "bilstm", store, "--over", "model.hidden=4,5", *WORDS[2:], "--seeds", 1, "--jobs", 1, "--out", folder / "table")
    return folder


@pytest.fixture
def mine(made: Path, store: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    shutil.copytree(made, tmp_path / "w")
    (tmp_path / "w" / "graphs").symlink_to(store)
    monkeypatch.chdir(tmp_path / "w")
    return tmp_path / "w"


def edit(path: Path, keys: tuple[str | int, ...], value: object) -> None:
    table = inner = json.loads(path.read_text())
    for key in keys[:-1]:
        inner = inner[key]
    inner[keys[-1]] = value
    path.write_text(json.dumps(table))


KINDS: list[tuple[str, tuple[str | int, ...], object]] = [
    ("config", ("model",), []),
    *(("config", (key,), value) for key in ("options", "data", "training", "graph") for value in (None, 1, "x", [])),
    ("config", ("seed",), None),
    ("config", ("seed",), "x"),
    ("data", ("spec",), None),
    ("data", ("spec", "modalities"), [None]),
    ("data", ("spec", "modalities"), 1),
    ("data", ("target",), None),
    ("data", ("target",), {}),
    ("data", ("labels",), None),
    ("data", ("labels", 0), None),
    ("data", ("widths",), None),
    ("data", ("widths",), {}),
    ("data", ("features",), None),
    ("data", ("features", "text"), None),
    ("data", ("division",), []),
    ("metrics", ("splits",), None),
    ("metrics", ("splits", "test"), 1),
]


@pytest.mark.parametrize(("file", "keys", "value"), KINDS, ids=[f"{f}.{'.'.join(map(str, k))}={v!r}" for f, k, v in KINDS])
def test_json_of_another_kind_is_one_line(mine, file, keys, value):
    edit(mine / "a" / f"{file}.json", keys, value)
    for command in (("compare", "a", "b"), ("evaluate", "a", "graphs")):
        assert_one_line(run(*command), f"{file}.json" if file == "config" else "a")


def test_a_number_of_too_many_digits_is_one_line(mine):
    path = mine / "a" / "metrics.json"
    path.write_text(path.read_text().replace('"steps": ', f'"steps": {"9" * 5000}'))
    assert_one_line(run("evaluate", "a", "graphs"), "metrics.json: expected JSON")


def rows(change: Callable[[pd.DataFrame], pd.DataFrame]) -> Change:
    def apply(folder: Path) -> None:
        path = folder / "predictions.parquet"
        change(pd.read_parquet(path)).to_parquet(path, index=False)

    return apply


PREDICTIONS: dict[str, Change] = {
    "an unknown class": rows(lambda t: t.assign(predicted="bored")),
    "no class": rows(lambda t: t.assign(predicted=None)),
    "numbers": rows(lambda t: t.assign(predicted=1)),
    "half of it": rows(lambda t: t.iloc[::2]),
    "other dialogues": rows(lambda t: t.assign(dialogue_id="q" + t["dialogue_id"])),
    "other labels": rows(lambda t: t.assign(label=t["label"].where(t["label"].isna(), "sad"))),
    "labels lost": rows(lambda t: t.assign(label=t["label"].where(t.index % 2 == 0))),
    "a row twice": rows(lambda t: pd.concat([t, t.dropna(subset="label").iloc[-1:]])),
    "another split": rows(lambda t: t.assign(split=t["split"].replace("test", "exam"))),
}


@pytest.mark.parametrize("name", PREDICTIONS)
def test_predictions_that_are_not_the_run_s_are_named(mine, name):
    PREDICTIONS[name](mine / "b")
    result = run("compare", "a", "b", "--resamples", 100)
    assert_one_line(result, "b/predictions.parquet: expected the utterances and classes of the run")


def test_a_scaling_that_is_not_the_run_s_is_named(mine):
    path = mine / "a" / "scaling.safetensors"
    whole = load_file(path)
    for change in (
        {},
        {k: v[:1] for k, v in whole.items()},
        {k: v * np.float32("nan") for k, v in whole.items()},
        {k: 0 * v for k, v in whole.items()},
    ):
        save_file(change, path)
        assert_one_line(run("evaluate", "a", "graphs"), "scaling.safetensors: text: expected ", "means and positive deviations")


@pytest.mark.parametrize(
    "file", ["weights.safetensors", "scaling.safetensors", "predictions.parquet", "history.json", "environment.json", "data.json"]
)
def test_a_table_with_a_damaged_run_keeps_its_test_unseen(mine, file):
    (mine / "table" / "model.hidden=5" / "seed0" / file).write_text("")
    command = ("ablate", "bilstm", "graphs", "--over", "model.hidden=4,5", *WORDS[2:], "--seeds", 1, "--jobs", 1, "--out", "table")
    assert_one_line(run(*command, "--final"), file)
    assert json.loads((mine / "table" / "study.json").read_text())["test_evaluated"] is None
    metrics = json.loads((mine / "table" / "model.hidden=4" / "seed0" / "metrics.json").read_text())
    assert "test" not in metrics["splits"]


@pytest.mark.parametrize("kind", ["no test", "unlabelled test"])
def test_a_table_without_test_is_not_closed(mine, kind):
    corpus = open_corpus(open_source(mine / "graphs").corpus.path)
    test = (corpus.utterances["split"] == "test").to_numpy()
    if kind == "no test":
        features = {m: x[~test[corpus.presence[:, k]]] for k, (m, x) in enumerate(corpus.features.items())}
        corpus = Corpus.build("x", corpus.utterances[~test], features, corpus.targets)
    else:
        corpus = replace(corpus, path=None, utterances=corpus.utterances.assign(emotion=corpus.utterances["emotion"].where(~test)))
    saved = save_corpus(corpus, mine / "c")
    build_store(saved, mine / "g", GraphSpec(tuple(saved.modalities)), BuildOptions(edges=False))
    command = ("ablate", "bilstm", "g", "--over", "model.hidden=4,5", *WORDS[2:], "--jobs", 1, "--out", "t")
    assert_one_line(run(*command, "--seeds", 1, "--final"), "expected a labelled test utterance to evaluate, found none")
    good(*command, "--seeds", 2)


STATES: dict[str, Change] = {
    "no progress": lambda s: s.pop("progress"),
    "a list": lambda s: s.update(progress=[]),
    "other counters": lambda s: s.update(progress={"n": 1}),
    "words": lambda s: s.update(history=["x"]),
    "no looks": lambda s: s.update(history=[]),
    "a look less": lambda s: s["history"].pop(),
}


@pytest.mark.parametrize("name", STATES)
def test_a_state_of_another_kind_is_one_line(store, tmp_path, name):
    source = open_source(store)
    settings = load_settings("bilstm", [*SMALL, "training.max_epochs=4"])

    def stop(look: Any, *_: object) -> None:
        if look.number == 3:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fit(source.corpus, source.spec, settings, tmp_path / "r", store=source.store, on_look=stop)
    path = tmp_path / ".r.unfinished" / "state.json"
    state = json.loads(path.read_text())
    STATES[name](state)
    path.write_text(json.dumps(state))
    with pytest.raises(InputError, match=r"the state of the unfinished run is damaged \(.*\); begin anew with --force"):
        fit(source.corpus, source.spec, settings, tmp_path / "r", store=source.store, resume=True)
    assert path.exists(), "it was thrown away"


# ---- numbers that would look right


def test_a_failed_fold_leaves_no_pooled_score(mine):
    command = ("fit", "graphs", "--preset", "bilstm", *WORDS, "--jobs", 1, "--fold-by", "session", "--out", "f", "--resume")
    for seeds, scored in ((1, False), (2, True)):
        good(*command, "--seeds", seeds)
        (mine / "f" / "fold-Ses1" / "seed0" / "metrics.json").write_text("")
        result = run(*command, "--seeds", seeds)
        assert result.exit_code == 2
        summary = json.loads((mine / "f" / "summary.json").read_text())["variants"][0]
        assert bool(summary.get("test")) == scored, "only seeds with all their folds count"
        if scored:
            assert summary["test"]["seeds"] == 1
            assert summary["test"]["dialogues"] == 15
        else:
            page = (mine / "f" / "report.html").read_text()
            assert "--final" not in page.partition("How to get this again")[0]
        shutil.rmtree(mine / "f" / "fold-Ses1" / "seed0")


def test_evaluate_writes_what_it_found_where_it_is_told(mine):
    good("evaluate", "a", "graphs", "--out", "e")
    assert {p.name for p in (mine / "e").iterdir()} == {"evaluation.json", "predictions.parquet"}
    metrics = json.loads((mine / "a" / "metrics.json").read_text())["splits"]["test"]
    assert json.loads((mine / "e" / "evaluation.json").read_text())["weighted_f1"] == metrics["weighted_f1"]
    assert good("evaluate", "a") == good("evaluate", "a", "graphs"), "without a store, the run's own corpus"
    assert_one_line(run("evaluate", "a", "graphs", "--out", "b"), "expected a new folder or one with evaluation.json in it")


def test_a_study_is_told_by_its_settings_not_by_words(mine):
    command = ("fit", "graphs", "--preset", "bilstm", "--jobs", 1, "--seeds", 1, "--out", "s", "--resume")
    good(*command, *WORDS)
    before = trained(mine / "s")
    good(*command, *[w for k in (2, 1, 0) for w in ("--set", SMALL[k])])
    assert len(before) == 1
    assert trained(mine / "s") == before, "the run was made again"
    assert_one_line(run(*command, *WORDS, "--set", "model.layers=1"), "holds a study with model.layers = 2, not 1")


def test_a_study_of_which_nothing_came_leaves_its_folder_free(mine):
    words = [*WORDS, "--set", "training.clip=0", "--set", "training.max_epochs=4"]
    command = ("fit", "graphs", "--preset", "bilstm", "--jobs", 1, "--seeds", 1, "--out", "s", *words)
    assert_one_line(run(*command, "--set", "training.lr=1e30"), "1 of 1 runs failed")
    assert not (mine / "s").exists()
    good(*command)


def test_words_that_mean_nothing_are_refused(mine):
    assert_one_line(run("fit", "graphs", "--fold-by", "", *WORDS), "--fold-by: expected the name of a column")
    assert_one_line(
        run("ablate", "bilstm", "graphs", "--over", "data.folds=2,3", *WORDS), "--over data.folds: all rows of a table have the same splits"
    )
    assert_one_line(run("compare", "table/model.hidden=9", "b"), "model.hidden=9: expected the folder of a run")
    assert_one_line(run("evaluate", "table", "graphs"), "name one of its runs, such as table/model.hidden=4/seed0")
