"""Studies: ordinary runs, several at once, never one twice; an interrupted table ends as an uninterrupted one; test is seen once, at the end."""

from __future__ import annotations

import json
import sys
import warnings
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from study_cases import SMALL, go, grid

from dgl_merc.corpus import save_corpus
from dgl_merc.corpus.synthetic import synthetic_corpus
from dgl_merc.errors import InputError, InUseError
from dgl_merc.evaluation.metrics import weighted_f1
from dgl_merc.files import locked
from dgl_merc.graphs import GraphSpec
from dgl_merc.graphs.build import BuildOptions, build_store
from dgl_merc.studies import study as study_module
from dgl_merc.studies.grid import Grid, Variant, variants_over
from dgl_merc.studies.study import Outcome, evaluate_test
from dgl_merc.studies.summary import summarise
from dgl_merc.training import fit
from dgl_merc.training.run_folder import add_test, open_run
from dgl_merc.training.source import open_source

pytestmark = pytest.mark.usefixtures("unpainted")


def table(g: Grid, outcomes: list[Outcome], out: Path) -> dict[str, Any]:
    """All that a table says, times aside."""
    summary, _ = summarise(g, outcomes, out)
    text = json.loads(json.dumps(summary))
    for variant in text["variants"]:
        variant.pop("seconds_per_epoch", None)
        for run in variant["runs"]:
            run.pop("seconds")
    return text


# ---- which runs


def test_cells_are_every_combination_each_once():
    g = replace(grid("training.lr=.1,.2", "model.hidden=3,4", folds=("a", "b")), words=("data.fold_by=session",))
    cells = g.cells()
    assert len(cells) == 2 * 2 * 2 * 2 == len({c.place for c in cells})
    assert cells[0].place == "training.lr=.1,model.hidden=3/fold-a/seed0"
    assert {(c.settings.training.lr, c.settings.options.hidden, c.settings.data.fold, c.settings.seed) for c in cells} == {
        (lr, h, f, s) for lr in (0.1, 0.2) for h in (3, 4) for f in "ab" for s in (0, 1)
    }
    assert Grid.from_json(json.loads(json.dumps(g.to_json()))) == g
    assert [c.place for c in grid().cells()] == ["seed0", "seed1"]


def test_folders_are_safe_and_different():
    names = [Variant({"k": v}).folder for v in ("a/b", "a_b", "../x", "ä", "x" * 300, "x" * 301, "")]
    assert len(set(names)) == len(names)
    for name in names:
        assert "/" not in name
        assert len(name.encode()) < 200
        assert not name.startswith(".")


FAULTS = {
    "training.lr": "expected key=v1,v2",
    "training.lr=": "expected key=v1,v2",
    "training.lr=.1,": "expected key=v1,v2",
    "=1": "expected key=v1,v2",
    "training.lr=.1,.1": "every key and every value once",
}


@pytest.mark.parametrize("word", FAULTS)
def test_faults_of_over(word):
    with pytest.raises(InputError, match=FAULTS[word]):
        variants_over([word])


def test_the_same_settings_twice_are_refused():
    with pytest.raises(InputError, match=r"training\.lr=\.1 and training\.lr=0\.10 are the same settings"):
        grid("training.lr=.1,0.10").cells()
    with pytest.raises(InputError, match="every key and every value once"):
        variants_over(["a=1,2", "a=3"])
    with pytest.raises(InputError, match=r"no setting training.lrr"):
        grid("training.lrr=1,2").cells()


# ---- making them


def test_cells_are_ordinary_runs(source, store, tmp_path):
    g = grid("model.hidden=4,5", seeds=1)
    outcomes = go(g, tmp_path / "study", source, store, test=True)
    for outcome in outcomes:
        fit(source.corpus, source.spec, outcome.cell.settings, tmp_path / outcome.cell.place.replace("/", "-"), store=source.store)
        for name in ("weights.safetensors", "predictions.parquet", "config.json", "data.json"):
            pair = [
                (p / name).read_bytes() for p in (tmp_path / "study" / outcome.cell.place, tmp_path / outcome.cell.place.replace("/", "-"))
            ]
            assert pair[0] == pair[1], name
    assert json.loads((tmp_path / "study" / "study.json").read_text())["test_evaluated"]


def test_a_grid_interrupted_and_continued_gives_the_same_table(source, store, tmp_path, monkeypatch):
    g = grid("training.lr=.01,.05", "model.hidden=3,4")
    whole = table(g, go(g, tmp_path / "whole", source, store), tmp_path / "whole")
    made = fit
    calls: list[str] = []

    def failing(*args: Any, **options: Any) -> Any:
        calls.append(args[3].name)
        if len(calls) == 4:
            options["on_look"] = lambda *_: (
                (_ for _ in ()).throw(KeyboardInterrupt) if (args[3].parent / ".seed0.unfinished").exists() else None
            )
            raise KeyboardInterrupt
        return made(*args, **options)

    monkeypatch.setattr(study_module, "fit", failing)
    with pytest.raises(KeyboardInterrupt):
        go(g, tmp_path / "cut", source, store)
    done = sorted(p.parent for p in (tmp_path / "cut").rglob("metrics.json"))
    assert len(done) == 3
    stamps = {p: (p / "weights.safetensors").stat().st_mtime_ns for p in done}
    monkeypatch.undo()
    outcomes = go(g, tmp_path / "cut", source, store)
    assert table(g, outcomes, tmp_path / "cut") == whole
    assert {p: (p / "weights.safetensors").stat().st_mtime_ns for p in done} == stamps, "a run was made twice"
    before = {p: p.stat().st_mtime_ns for p in (tmp_path / "cut").rglob("weights.safetensors")}
    go(g, tmp_path / "cut", source, store)
    assert {p: p.stat().st_mtime_ns for p in (tmp_path / "cut").rglob("weights.safetensors")} == before


@pytest.mark.slow
def test_several_at_once_give_the_same_table(source, store, tmp_path):
    g = grid("training.lr=.01,.05")
    one = table(g, go(g, tmp_path / "one", source, store, jobs=1), tmp_path / "one")
    two = table(g, go(g, tmp_path / "two", source, store, jobs=2), tmp_path / "two")
    assert one == two
    for path in (tmp_path / "one").rglob("weights.safetensors"):
        assert path.read_bytes() == (tmp_path / "two" / path.relative_to(tmp_path / "one")).read_bytes()


@pytest.mark.slow
def test_a_dask_cluster_carries_a_study(source, store, tmp_path):
    from joblib import parallel_config

    distributed = pytest.importorskip("distributed")
    g = grid("training.lr=.01,.05", seeds=1)
    one = table(g, go(g, tmp_path / "one", source, store), tmp_path / "one")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of dask's, about ports and event loops
        with (
            distributed.LocalCluster(n_workers=2, threads_per_worker=1, processes=True, dashboard_address=None) as cluster,
            distributed.Client(cluster) as client,
            parallel_config(backend="dask"),
        ):
            outcomes = go(g, tmp_path / "dask", source, store, jobs=None)
            there = client.run(lambda: "dgl_merc.studies.study" in sys.modules)
    assert any(there.values()), "vacuous: no worker ever imported what makes runs"
    assert table(g, outcomes, tmp_path / "dask") == one


# ---- test, once


def test_final_sees_test_once_and_closes_the_table(source, store, tmp_path, monkeypatch):
    g, out = grid("training.lr=.01,.05", seeds=1), tmp_path / "s"
    outcomes = go(g, out, source, store)
    for o in outcomes:
        run = open_run(out / o.cell.place)
        assert run.metrics["test_evaluated"] is None
        assert list(run.metrics["splits"]) == ["train", "dev"]
        assert set(run.predictions["split"]) == {"train", "dev"}
    assert (
        "test" not in summarise(g, outcomes, out)[0]["variants"][0]["runs"][0] or not summarise(g, outcomes, out)[0]["variants"][0]["test"]
    )
    more = replace(g, seeds=(0, 1))
    go(more, out, source, store)  # before test was seen, the table may grow
    outcomes = go(more, out, source, store)
    final = list(evaluate_test(out, source, outcomes))
    straight = go(more, tmp_path / "straight", source, store, test=True)
    for a, b in zip(final, straight, strict=True):
        assert a.metrics["splits"] == json.loads(json.dumps(b.metrics["splits"]))
        pair = [(p / a.cell.place / "predictions.parquet").read_bytes() for p in (out, tmp_path / "straight")]
        assert pair[0] == pair[1]
    monkeypatch.setattr("dgl_merc.training.run_folder.prediction_table", None)  # whoever predicted again would fail
    assert [o.metrics for o in evaluate_test(out, source, outcomes)] == [o.metrics for o in final]
    for other in (replace(more, seeds=(0, 1, 2)), replace(more, variants=variants_over(["training.lr=.01"]))):
        with pytest.raises(InputError, match=r"its test scores were seen .* another grid"):
            go(other, out, source, store)


@pytest.mark.parametrize("where", ["write_bytes", "write_report", "write_json"])
def test_a_test_that_was_cut_off_is_seen_again_and_nothing_is_stale(source, store, tmp_path, monkeypatch, where):
    g, out = grid(seeds=1), tmp_path / "s"
    outcomes = go(g, out, source, store)
    import dgl_merc.training.run_folder as module

    def fail(*_: object, **__: object) -> None:
        (out / "seed0" / ".report.html.partial").touch()
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(module, where, fail)
        with pytest.raises(KeyboardInterrupt):
            list(evaluate_test(out, source, outcomes))
    assert open_run(out / "seed0").metrics["test_evaluated"] is None
    (again,) = evaluate_test(out, source, outcomes)
    run = open_run(out / "seed0")
    assert run.predictions["split"].value_counts()["test"] == (source.corpus.utterances["split"] == "test").sum()
    page = (out / "seed0" / "report.html").read_text()
    assert "evaluated once, afterwards" in page
    assert f"{again.metrics['splits']['test']['weighted_f1']:.1f}</b><span>test weighted F1" in page
    assert not list((out / "seed0").rglob("*.partial"))


def test_test_of_another_corpus_is_refused(source, store, tmp_path):
    go(grid(seeds=1), tmp_path / "s", source, store)
    other = synthetic_corpus(3, (8, 3, 4), with_ceilings=False)
    with pytest.raises(InputError, match=r"not the corpus that .* was trained on"):
        add_test(open_run(tmp_path / "s" / "seed0"), other)


# ---- what it refuses


def test_a_study_is_not_mixed_with_something_else(source, store, tmp_path):
    go(grid(seeds=1), tmp_path / "s", source, store)
    with pytest.raises(InputError, match=r"holds a study with model\.hidden = 5, not 100; name another folder"):
        go(replace(grid(seeds=1), words=()), tmp_path / "s", source, store)
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis").touch()
    with pytest.raises(InputError, match="expected a new folder or a study"):
        go(grid(seeds=1), tmp_path / "mine", source, store)
    (tmp_path / "file").touch()
    with pytest.raises(InputError, match="found a file"):
        go(grid(seeds=1), tmp_path / "file", source, store)
    with locked(tmp_path / "s", "running a study"), pytest.raises(InUseError):
        go(grid(seeds=1), tmp_path / "s", source, store)


def test_a_table_is_not_cut_by_asking_for_less(source, store, tmp_path):
    go(grid("training.lr=.01,.05", seeds=2), tmp_path / "s", source, store)
    for less, said in (
        (grid("training.lr=.02", seeds=2), r"holds rows that are not asked for now .*0*\.01"),
        (grid("training.lr=.01,.05", seeds=1), r"holds seeds .*1"),
    ):
        with pytest.raises(InputError, match=said):
            go(less, tmp_path / "s", source, store)


def test_a_grid_that_changed_meanwhile_is_not_tested(source, store, tmp_path):
    outcomes = go(grid("training.lr=.01", seeds=1), tmp_path / "s", source, store)
    go(grid("training.lr=.01,.05", seeds=1), tmp_path / "s", source, store)
    with pytest.raises(InputError, match="its grid was changed meanwhile"):
        list(evaluate_test(tmp_path / "s", source, outcomes))


# ---- its numbers


def test_the_summary_is_that_of_the_runs(source, store, tmp_path):
    g = grid(seeds=3)
    outcomes = go(g, tmp_path / "s", source, store, test=True)
    (row,) = summarise(g, outcomes, tmp_path / "s")[0]["variants"]
    for split in ("dev", "test"):
        scores = []
        for o in outcomes:
            part = pd.read_parquet(tmp_path / "s" / o.cell.place / "predictions.parquet").query("split == @split").dropna(subset="label")
            names = list(source.corpus.targets["emotion"].labels)
            codes = [pd.Categorical(part[c], categories=names).codes for c in ("label", "predicted")]
            scores.append(weighted_f1(*codes))
        assert row[split]["mean"] == pytest.approx(np.mean(scores))
        assert row[split]["deviation"] == pytest.approx(np.std(scores, ddof=1))
        assert row[split]["low"] <= row[split]["mean"] <= row[split]["high"]
        assert [run[split] for run in row["runs"]] == pytest.approx(scores)
    f1 = [o.metrics["splits"]["test"]["per_class"]["neutral"]["f1"] for o in outcomes]
    assert row["per_class"]["neutral"]["f1"] == pytest.approx({"mean": np.mean(f1), "deviation": np.std(f1, ddof=1)})


def test_folds_are_put_together(source, store, tmp_path):
    g = Grid("bilstm", (*SMALL, "data.fold_by=session"), seeds=(0, 1), folds=("Ses0", "Ses1"))
    outcomes = go(g, tmp_path / "s", source, store, test=True)
    (row,) = summarise(g, outcomes, tmp_path / "s")[0]["variants"]
    names, scores = list(source.corpus.targets["emotion"].labels), []
    for seed in (0, 1):
        tables = [pd.read_parquet(tmp_path / "s" / f"fold-Ses{k}/seed{seed}/predictions.parquet").query("split == 'test'") for k in (0, 1)]
        both = pd.concat(tables)
        assert sorted(both["dialogue_id"].unique()) == sorted(source.corpus.dialogue_ids), "every dialogue is tested once"
        assert not both.duplicated(["dialogue_id", "position"]).any()
        both = both.dropna(subset="label")
        scores.append(weighted_f1(*(pd.Categorical(both[c], categories=names).codes for c in ("label", "predicted"))))
    assert row["test"]["mean"] == pytest.approx(np.mean(scores))
    assert row["test"]["dialogues"] == len(source.corpus)
    dev = [np.mean([o.metrics["splits"]["dev"]["weighted_f1"] for o in outcomes if o.cell.settings.seed == s]) for s in (0, 1)]
    assert row["dev"]["mean"] == pytest.approx(np.mean(dev))
    assert row["dev"]["low"] is None


def test_a_fold_without_labels_is_left_out_of_the_pooled_score(store, tmp_path):
    made = open_source(store).corpus
    thirds = np.repeat([f"S{k % 3}" for k in range(len(made))], made.lengths)
    table = made.utterances.assign(third=thirds, emotion=made.utterances["emotion"].where(thirds != "S1"))
    corpus = save_corpus(replace(made, utterances=table, path=None), tmp_path / "corpus")
    path = build_store(corpus, tmp_path / "graphs", GraphSpec(tuple(corpus.modalities)), BuildOptions(edges=False)).path
    g = Grid("bilstm", (*SMALL, "data.fold_by=third"), seeds=(0,), folds=("S0", "S1", "S2"))
    outcomes = go(g, tmp_path / "s", open_source(path), path, test=True)
    assert [o.metrics["splits"]["test"]["utterances"] > 0 for o in outcomes] == [True, False, True]
    (row,) = summarise(g, outcomes, tmp_path / "s")[0]["variants"]
    parts = [pd.read_parquet(tmp_path / "s" / f"fold-S{k}/seed0/predictions.parquet").query("split == 'test'") for k in (0, 2)]
    both = pd.concat(parts).dropna(subset="label")
    names = list(corpus.targets["emotion"].labels)
    want = weighted_f1(*(pd.Categorical(both[c], categories=names).codes for c in ("label", "predicted")))
    assert row["test"]["mean"] == pytest.approx(want)
