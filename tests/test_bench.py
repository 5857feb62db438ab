"""``dglmerc bench``: equal terms for every model, test seen at the end and never chosen by, and a table that says what its runs say."""

from __future__ import annotations

import json
import shutil
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from cli_cases import assert_one_line, good, run, trained

from dgl_merc.corpus import open_corpus, save_corpus
from dgl_merc.evaluation.metrics import weighted_f1
from dgl_merc.evaluation.statistics import estimate
from dgl_merc.graphs import GraphSpec
from dgl_merc.graphs.build import BuildOptions, build_store
from dgl_merc.graphs.pictures import as_bytes
from dgl_merc.reports.study_figures import Bar, scores_figure
from dgl_merc.studies import bench as bench_module
from dgl_merc.studies import study as study_module
from dgl_merc.studies.bench import choose, default_names
from dgl_merc.studies.bench_table import _of_choice
from dgl_merc.studies.compare import compare
from dgl_merc.studies.grid import Grid, variants_over
from dgl_merc.studies.study import Outcome
from dgl_merc.studies.systems import open_system
from dgl_merc.training import fit
from dgl_merc.training import settings as settings_module
from dgl_merc.training.run_folder import open_run
from dgl_merc.training.settings import preset_names
from dgl_merc.training.source import open_source

pytestmark = [pytest.mark.xdist_group("bench"), pytest.mark.usefixtures("unpainted", "presets")]

PRESETS = {
    "mglra": ("hidden = 5", '"training.lr" = [0.01, 0.05]\n"model.hidden" = [4, 5]\n'),
    "plain": ("hidden = 3\nlayers = 1", ""),
    "wild": ("hidden = 3", '"training.weight_decay" = [0.0, 0.001]\n'),
    "other-paper": ("hidden = 7", ""),
}
"""Name -> options of a tiny BiLSTM, and its search space."""

COMMAND = ("--trials", 3, "--seeds", 2, "--set", "training.max_epochs=2", "--set", "training.batch_size=5", "--jobs", 1)
WHOLE = ("--models", "plain,plain:text,mglra", *COMMAND, "--ensembles", "--against", "mglra,plain")


@pytest.fixture(scope="module")
def presets(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """The presets there are; one is called as the model that the others are held to."""
    folder = tmp_path_factory.mktemp("presets")
    for name, (options, search) in PRESETS.items():
        training = "[training]\nlr = 1e30\nclip = 0.0" if name == "wild" else ""
        (folder / f"{name}.toml").write_text(f'model = "bilstm"\n[options]\n{options}\n{training}\n[search]\n{search}')
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(settings_module, "_folder", lambda: folder)
        yield folder


@pytest.fixture(scope="module")
def made(store: Path, unpainted: None, presets: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[str]]:
    """A benchmark of three rows, and what was printed."""
    out = tmp_path_factory.mktemp("bench") / "out"
    return out, good("bench", store, *WHOLE, "--out", out)


@pytest.fixture
def mine(made: tuple[Path, list[str]], tmp_path: Path) -> Path:
    """A copy of it."""
    shutil.copytree(made[0], tmp_path / "out")
    return tmp_path / "out"


def results(out: Path) -> dict[str, Any]:
    """Model -> its numbers."""
    return {row["name"]: row for row in json.loads((out / "bench.json").read_text())["results"]["models"]}


def scores(out: Path) -> dict[str, Any]:
    """Of a table, what does not depend on the clock."""
    return {n: {k: v for k, v in row.items() if not k.startswith("seconds")} for n, row in results(out).items()}


# ---- which models


def test_the_default_is_every_preset_of_its_own(monkeypatch):
    assert default_names(["text"]) == ["plain", "wild", "mglra"]
    monkeypatch.setattr(bench_module, "PER_MODALITY", "plain")
    assert default_names(["text", "audio"]) == ["plain", "plain:text", "plain:audio", "wild", "mglra"]
    monkeypatch.undo()
    with monkeypatch.context() as patch:
        patch.setattr(settings_module, "_folder", lambda: Path(settings_module.__file__).parents[1] / "models" / "presets")
        names = default_names(["text", "audio"])
        assert {n.partition(":")[0] for n in names} == {n for n in preset_names() if not n.endswith("-paper")}
    assert names[:4] == ["logistic", "logistic:text", "logistic:audio", "majority"]
    assert names[-2:] == ["mglra", "sgrnet"]


# ---- equal terms


def test_trials_are_equal_and_never_see_test(made):
    out, lines = made
    assert lines[0] == "plain, plain:text, mglra on synthetic: 3 trials, 2 seeds, 1 at once"
    found = [open_run(path.parent) for path in sorted((out / "trials").rglob("metrics.json"))]
    assert [run.path.relative_to(out / "trials").as_posix() for run in found] == [f"mglra/trial={k}/seed2" for k in range(3)]
    for trial in found:
        assert trial.metrics["test_evaluated"] is None
        assert list(trial.metrics["splits"]) == ["train", "dev"]
        assert set(trial.predictions["split"]) == {"train", "dev"}
    for name in ("mglra", "plain", "plain=text"):
        assert json.loads((out / "runs" / name / "study.json").read_text())["test_evaluated"]
        assert sorted(p.name for p in (out / "runs" / name).glob("seed*")) == ["seed0", "seed1"], "the seeds of trials are others"
    assert {n: len(row["search"]) for n, row in results(out).items()} == {"mglra": 3, "plain": 1, "plain:text": 1}
    assert "- plain has 1 setting, not 3: all were tried" in lines


def test_dev_chooses_and_what_it_chose_is_run(made):
    out, _ = made
    row, presets = results(out)["mglra"], [open_run(out / "trials" / "mglra" / f"trial={k}" / "seed2") for k in range(3)]
    dev = [run.metrics["splits"]["dev"]["weighted_f1"] for run in presets]
    assert [trial["dev"] for trial in row["search"]] == dev
    assert row["trial"] == int(np.argmax(dev))
    chosen, ran = presets[row["trial"]].settings, open_run(out / "runs" / "mglra" / "seed0").settings
    assert (chosen.options, chosen.training) == (ran.options, ran.training)
    assert row["seconds"]["search"] == pytest.approx(sum(run.metrics["seconds"] for run in presets))
    runs = [open_run(out / "runs" / "mglra" / f"seed{s}").metrics["seconds"] for s in (0, 1)]
    assert row["seconds"]["runs"] == pytest.approx(sum(runs))


def outcomes(*trials: Sequence[tuple[float, float] | str]) -> list[Outcome]:
    """Trials of runs: (dev, test), or why one failed."""
    variants = variants_over(["model.hidden=" + ",".join(map(str, range(4, 4 + len(trials))))])
    cells = Grid("plain", variants=variants, seeds=tuple(range(len(trials[0])))).cells()
    found = []
    for cell in cells:
        run_of = trials[cell.variant][cell.settings.seed]
        if isinstance(run_of, str):
            found.append(Outcome(cell, None, run_of, 2.0))
        else:
            splits = dict(zip(("dev", "test"), ({"weighted_f1": score} for score in run_of), strict=True))
            found.append(Outcome(cell, {"splits": splits, "seconds": 1.0}, "", 9.0))
    return found


def test_test_does_not_choose():
    assert choose(outcomes([(50.0, 90.0)], [(60.0, 10.0)], [(55.0, 99.0)]))["chosen"] == 1
    assert choose(outcomes([(50.0, 0.0), (60.0, 0.0)], [(70.0, 0.0), (38.0, 0.0)]))["chosen"] == 0, "the mean, not the best"
    assert choose(outcomes([(50.0, 0.0)], [(60.0, 1.0)], [(60.0, 9.0)]))["chosen"] == 1, "of equal ones the first"
    found = choose(outcomes([(50.0, 0.0), (50.0, 0.0)], [(99.0, 0.0), "the loss is nan"]))
    assert (found["chosen"], found["trials"][1]["fault"], found["seconds"]["search"]) == (0, "the loss is nan", 5.0)
    found = choose(outcomes(["x"], ["y"]))
    assert (found["chosen"], found["fault"]) == (None, "all 2 trials failed: x")


# ---- never one twice


def test_more_models_keep_what_is_there(mine, store):
    before, was = trained(mine), scores(mine)
    good("bench", store, "--models", "plain,plain:audio+text,plain:text,mglra", *WHOLE[2:], "--out", mine)
    after = trained(mine)
    assert before.items() < after.items()
    assert len(after) == len(before) + 2
    more = scores(mine)
    for name, row in was.items():
        assert {k: more[name][k] for k in ("trial", "dev", "test", "ensemble")} == {k: row[k] for k in ("trial", "dev", "test", "ensemble")}


def test_what_was_chosen_stays_once_test_was_seen(mine, store):
    """Whatever becomes of its trials: here they are gone, and on record another has the best dev score."""
    before, was = trained(mine / "runs"), scores(mine)
    shutil.rmtree(mine / "trials")
    table = json.loads((mine / "bench.json").read_text())
    for k, trial in enumerate(table["models"]["mglra"]["trials"]):
        trial["dev"] = 0.0 if k == table["models"]["mglra"]["chosen"] else 100.0
    (mine / "bench.json").write_text(json.dumps(table))
    good("bench", store, *WHOLE, "--out", mine)
    assert not (mine / "trials").exists()
    assert trained(mine / "runs") == before
    assert scores(mine)["mglra"]["test"] == was["mglra"]["test"]


def test_interrupted_and_continued_gives_the_same_table(made, store, tmp_path, monkeypatch):
    calls: list[str] = []

    def cut(*args: Any, **options: Any) -> Any:
        calls.append(str(args[3]))
        if len(calls) == 5:  # the second run, after three trials
            raise KeyboardInterrupt
        return fit(*args, **options)

    short = ("bench", store, "--models", "mglra", *COMMAND, "--out", tmp_path / "out")
    with monkeypatch.context() as patch:
        patch.setattr(study_module, "fit", cut)
        assert run(*short).exit_code == 130
    done = trained(tmp_path / "out")
    assert len(done) == 4
    assert not any(open_run(path.parent).metrics["test_evaluated"] for path in done), "test is seen when all models are trained"
    good(*short)
    assert done.items() < trained(tmp_path / "out").items()
    for key in ("trial", "search", "dev", "test"):
        assert scores(tmp_path / "out")["mglra"][key] == scores(made[0])["mglra"][key]


# ---- its numbers


def test_the_table_is_that_of_compare(made):
    out, lines = made
    rows = results(out)
    systems = {name: open_system(out / "runs" / row["folder"], name) for name, row in rows.items()}
    for name, row in rows.items():
        told = estimate(systems[name].counts("test"))
        assert row["test"] == {k: pytest.approx(getattr(told, k)) for k in row["test"]}
        assert row["dev"]["mean"] == pytest.approx(estimate(systems[name].counts("dev")).mean)
        assert row["parameters"] == systems[name].runs[0].metrics["parameters"]
        (line,) = [line for line in lines if line.startswith(f"| {name} ")]
        assert f"| {told.mean:.2f} ± {told.deviation:.2f} |" in line
    for target in ("mglra", "plain"):
        others = [name for name in rows if name != target]
        found = compare([systems[target], *(systems[name] for name in others)])
        assert target not in rows[target]["against"]
        for name, d, p in zip(others, found.differences[1:], found.adjusted[1:], strict=True):
            got = rows[name]["against"][target]
            assert got["effect"] == pytest.approx(rows[target]["test"]["mean"] - rows[name]["test"]["mean"])
            assert (got["low"], got["high"], got["p"], got["p_holm"]) == (-d.high, -d.low, d.p, p)
    table = pd.read_csv(out / "table.csv")
    assert table["test mean"].tolist()[:3] == pytest.approx([row["test"]["mean"] for row in rows.values()])
    page = (out / "report.html").read_text()
    for row in rows.values():
        assert f'<a href="runs/{row["folder"].replace("=", "%3D")}/report.html">' in page
        assert (out / "runs" / row["folder"] / "report.html").is_file()
    for name in ("table.txt", "table.tex", "table.png"):
        assert (out / name).is_file()


def test_an_ensemble_is_the_mean_of_probabilities(made):
    out, lines = made
    for name, row in results(out).items():
        tables = [pd.read_parquet(out / "runs" / row["folder"] / f"seed{s}" / "predictions.parquet") for s in (0, 1)]
        parts = [t.query("split == 'test'").dropna(subset="label").set_index(["dialogue_id", "position"]).sort_index() for t in tables]
        columns = [c for c in parts[0] if c.startswith("p_")]
        mean = np.mean([part[columns].to_numpy(dtype=np.float64) for part in parts], axis=0)
        labels = pd.Categorical(parts[0]["label"], categories=[c.removeprefix("p_") for c in columns]).codes
        assert row["ensemble"]["mean"] == pytest.approx(weighted_f1(labels, mean.argmax(axis=1)))
        assert row["ensemble"]["members"] == 2
        (line,) = [line for line in lines if line.startswith(f"| ensemble: {name} ")]
        assert f"{row['ensemble']['mean']:.2f}" in line
        assert "±" not in line
    assert any(row["ensemble"]["mean"] != pytest.approx(row["test"]["mean"]) for row in results(out).values()), "vacuous"
    kinds = pd.read_csv(out / "table.csv")["kind"].tolist()
    assert kinds == ["mean over seeds"] * 3 + ["ensemble of 2 seeds"] * 3


def test_folds_are_put_together(store, tmp_path):
    command = ("--models", "plain", "--seeds", 2, *COMMAND[4:], "--fold-by", "session", "--ensembles", "--out", tmp_path / "out")
    good("bench", store, *command)
    row = results(tmp_path / "out")["plain"]
    places = sorted(p.parent.relative_to(tmp_path / "out").as_posix() for p in (tmp_path / "out").rglob("metrics.json"))
    assert places == [f"runs/plain/fold-Ses{f}/seed{s}" for f in (0, 1) for s in (0, 1)], "one trial is no search"
    assert row["test"]["dialogues"] == row["ensemble"]["dialogues"] == 15
    assert row["dev"]["low"] is None
    tables = [pd.read_parquet(tmp_path / "out" / place / "predictions.parquet").query("split == 'test'") for place in places]
    both = pd.concat([pd.concat(tables[k::2]).set_index(["dialogue_id", "position"]).sort_index() for k in (0, 1)], keys=(0, 1))
    columns = [c for c in both if c.startswith("p_")]
    mean = both[columns].astype("float64").groupby(level=(1, 2)).mean()
    labels = both.loc[0, "label"].reindex(mean.index)
    codes = pd.Categorical(labels, categories=[c.removeprefix("p_") for c in columns]).codes
    known = labels.notna().to_numpy()
    assert row["ensemble"]["mean"] == pytest.approx(weighted_f1(codes[known], mean.to_numpy().argmax(axis=1)[known]))


@pytest.mark.parametrize(("folds", "trials", "said"), [(("1", "2"), 3, True), (("1", "2"), 1, False), ((), 3, False)])
def test_a_choice_by_all_folds_is_said(folds, trials, said):
    found = _of_choice({"folds": folds}, [{"name": "a", "asked": trials, "search": [{}] * trials}])
    assert ("too good" in " ".join(found)) == said
    assert len(found) == said, "all settings that were asked for were tried"


def test_the_picture_is_the_same_every_time():
    bars = [Bar("a$b", 50.0, 40.0, 60.0, (49.0, 51.0)), Bar("ensemble: a", 52.0, 41.0, 61.0)]
    pictures = [as_bytes(scores_figure(bars, "weighted F1", {"a$b": 50.0, "c": 51.0}), "png") for _ in range(2)]
    assert pictures[0] == pictures[1] != as_bytes(scores_figure(bars, "weighted F1"), "png")


def test_what_is_solved_is_no_ensemble_and_is_searched_in_its_own_space(store, presets, tmp_path):
    (presets / "solved.toml").write_text('model = "logistic"\n[search]\n"model.C" = [0.1, 1.0]\n')
    try:
        lines = good("bench", store, "--models", "plain,solved", *COMMAND, "--ensembles", "--out", tmp_path / "out")
    finally:
        (presets / "solved.toml").unlink()
    rows = results(tmp_path / "out")
    assert [trial["changes"] for trial in rows["solved"]["search"]] == [[], ["model.C=1.0"]]
    assert len(set(rows["solved"]["scores"])) == 1
    assert rows["solved"]["ensemble"] is None
    assert [line.split("|")[1].strip() for line in lines if line.startswith("| ensemble:")] == ["ensemble: plain"]


# ---- what goes wrong


@pytest.mark.parametrize(("trials", "reason"), [(1, "1 of 1 runs failed: seed0: "), (2, "all 2 trials failed: ")])
def test_a_model_that_fails_leaves_its_row_and_the_others_go_on(store, tmp_path, trials, reason):
    out, small = tmp_path / "out", ("--seeds", 1, *COMMAND[4:6], "--set", "training.max_epochs=4", "--jobs", 1)
    result = run("bench", store, "--models", "wild,plain", "--trials", trials, *small, "--against", "wild", "--out", out)
    assert_one_line(result, f"1 of 2 models failed: wild: {reason}")
    rows = results(out)
    assert rows["wild"]["fault"].startswith(reason)
    assert rows["wild"]["test"] is None
    assert rows["plain"]["test"]["seeds"] == 1
    assert "- wild failed: nothing is held to it" in result.stdout.splitlines()
    assert any(line.startswith("| wild ") and "| failed |" in line for line in result.stdout.splitlines())
    assert not list(out.rglob("wild/**/metrics.json"))
    assert f"failed: {reason}" in (out / "report.html").read_text()


REFUSED = {
    "an unknown preset": (("--models", "bilstn"), "no preset 'bilstn'; there are mglra, other-paper, plain, wild"),
    "an unknown modality": (("--models", "plain:smell"), "--models plain:smell: expected modalities of text, audio, visual, joined by +"),
    "no modality": (("--models", "plain:"), "--models plain:: expected modalities of text, audio, visual"),
    "a model twice": (("--models", "plain,plain"), "--models plain,plain: expected names, each once"),
    "a model by two names": (("--models", "plain,plain:visual+text+audio"), "plain and plain:visual+text+audio are the same"),
    "no models": (("--models", ""), "--models : expected names"),
    "a model's setting": (("--set", "model.hidden=4"), "--set model.hidden=4: expected a setting that all models have"),
    "a model's table": (
        ("--set", "model={hidden=4}"),
        "expected a setting that all models have (data.*, graph.* or training.*), found model.hidden",
    ),
    "an unknown setting": (("--set", "training.lrr=4"), "did you mean training.lr?"),
    "a target that is not there": (
        ("--models", "plain", "--against", "mglra"),
        "--against mglra: expected a model of the table; there are plain",
    ),
    "a column that is not there": (("--models", "plain", "--fold-by", "month"), "no column 'month' to fold by"),
    "no column": (("--fold-by", ""), "--fold-by: expected the name of a column"),
    "an ensemble of one": (("--seeds", 1, "--ensembles"), "--ensembles: expected two or more --seeds"),
    "no trial": (("--trials", "0"), "--trials"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_is_refused_before_anything_is_made(store, tmp_path, case):
    words, said = REFUSED[case]
    assert_one_line(run("bench", store, *words, "--out", tmp_path / "out"), said)
    assert not (tmp_path / "out").exists()


def test_a_broken_table_is_one_line_that_names_it(store, tmp_path, presets):
    (presets / "broken.toml").write_text('model = "bilstm"\n[search]\n"model.hiden" = [4]\n')
    try:
        assert_one_line(
            run("bench", store, "--models", "plain,broken", "--out", tmp_path / "out"), "preset broken, [search], model.hiden = 4: "
        )
    finally:
        (presets / "broken.toml").unlink()
    assert not (tmp_path / "out").exists()


OTHER = {
    "trials": (("--trials", 2), "holds a benchmark with trials = 3, not 2"),
    "seeds": (("--seeds", 3), "holds a benchmark with seeds = [0, 1], not [0, 1, 2]"),
    "settings": (("--set", "training.lr=0.5"), "holds a benchmark with words = "),
    "models": (("--models", "plain,plain:text", "--against", "plain"), "holds models that are not asked for now (mglra); name them too"),
}


@pytest.mark.parametrize("case", OTHER)
def test_another_plan_in_the_same_folder_is_refused(mine, store, case):
    words, said = OTHER[case]
    before = (mine / "bench.json").read_bytes(), trained(mine)
    assert_one_line(run("bench", store, *WHOLE, *words, "--out", mine), said)
    assert ((mine / "bench.json").read_bytes(), trained(mine)) == before


def test_other_trials_of_a_preset_that_changed_are_refused(mine, store, monkeypatch):
    monkeypatch.setattr(bench_module, "draw_trials", lambda *_: [(), ("training.lr=0.7",)])
    assert_one_line(run("bench", store, *WHOLE, "--out", mine), "holds a benchmark in which the changes of plain are [[]], not")


def test_something_else_is_left_alone(store, tmp_path):
    (tmp_path / "thesis").write_text("mine")
    assert_one_line(run("bench", store, "--models", "plain", "--out", tmp_path), "expected a new folder or a benchmark")
    assert_one_line(run("bench", store, "--models", "plain", "--out", tmp_path / "thesis"), "found a file")
    assert [p.name for p in tmp_path.iterdir()] == ["thesis"]


def test_a_corpus_without_test_labels_is_refused_before_anything_is_made(store, tmp_path):
    made = open_source(store).corpus
    tested = made.utterances["split"] == "test"
    corpus = replace(made, utterances=made.utterances.assign(emotion=made.utterances["emotion"].mask(tested)), path=None)
    save_corpus(corpus, tmp_path / "corpus")
    spec = GraphSpec(tuple(corpus.modalities))
    build_store(open_corpus(tmp_path / "corpus"), tmp_path / "graphs", spec, BuildOptions(edges=False))
    assert_one_line(
        run("bench", tmp_path / "graphs", "--models", "plain", "--out", tmp_path / "out"), "expected a labelled test utterance to judge"
    )
    assert not (tmp_path / "out").exists()
