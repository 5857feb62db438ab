"""``fit`` with seeds, folds, --resume and --oracle, ``ablate``, ``compare``, ``evaluate``: what they print and leave, and one line for all else."""

from __future__ import annotations

import json
import re
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from cli_cases import assert_one_line, good, run, trained

from dgl_merc.corpus import Corpus, open_corpus, save_corpus
from dgl_merc.corpus.synthetic import synthetic_corpus
from dgl_merc.graphs import GraphSpec
from dgl_merc.graphs.build import BuildOptions, build_store
from dgl_merc.models import MODELS
from dgl_merc.training.run_folder import open_run

pytestmark = [pytest.mark.xdist_group("cli_protocol"), pytest.mark.usefixtures("unpainted")]  # its runs are made once

SMALL = ("--set", "model.hidden=5", "--set", "training.max_epochs=2", "--set", "training.batch_size=5", "--jobs", "1")
SET = SMALL[:-2]
LEARNT = ("--set", "training.lr=.05", "--set", "training.max_epochs=30")


@pytest.fixture(scope="module")
def ready(unpainted: None, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store with sessions, one without dev, and a study of two seeds."""
    folder = tmp_path_factory.mktemp("ready")
    made = synthetic_corpus(0, (8, 3, 4), with_ceilings=False)
    table = made.utterances.assign(session=np.repeat([f"Ses{k % 2}" for k in range(len(made))], made.lengths))
    corpus = save_corpus(replace(made, utterances=table), folder / "corpus")
    build_store(corpus, folder / "graphs", GraphSpec(tuple(corpus.modalities)), BuildOptions(edges=False))
    lacking = table.assign(split=table["split"].replace("dev", "train"), speaker="Joey")
    corpus = save_corpus(replace(made, utterances=lacking), folder / "nodev")
    build_store(corpus, folder / "nodev-graphs", GraphSpec(tuple(corpus.modalities)), BuildOptions(edges=False))
    good("fit", folder / "graphs", "--preset", "bilstm", *SMALL, *LEARNT, "--seeds", 2, "--out", folder / "study")
    return folder


@pytest.fixture
def mine(ready: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    shutil.copytree(ready, tmp_path / "w", dirs_exist_ok=True)
    monkeypatch.chdir(tmp_path / "w")
    return tmp_path / "w"


# ---- fit


def test_seeds(mine):
    lines = good("fit", "graphs", "--preset", "bilstm", *SMALL, "--seeds", 3, "--seed", 5, "--out", "out")
    metrics = [json.loads((mine / "out" / f"seed{s}" / "metrics.json").read_text()) for s in (5, 6, 7)]
    for k, m in enumerate(metrics):
        dev, test = (m["splits"][s]["weighted_f1"] for s in ("dev", "test"))
        (line,) = [line for line in lines if f"seed{5 + k}: epoch" in line]
        assert f"[{k + 1}/3] seed{5 + k}: epoch {m['chosen_epoch']} of 2, weighted F1 dev {dev:.2f}, test {test:.2f}" in line
    scores = [m["splits"]["test"]["weighted_f1"] for m in metrics]
    assert any(f"{np.mean(scores):.2f} ± {np.std(scores, ddof=1):.2f}" in line for line in lines)
    assert lines[-1].startswith("Report: out/report.html")
    for name in ("study.json", "summary.json", "table.txt", "table.csv", "table.tex", "figures/table.png", "report.html"):
        assert (mine / "out" / name).is_file(), name
    assert_one_line(
        run("fit", "graphs", "--preset", "bilstm", *SMALL, "--seeds", 3, "--seed", 5, "--out", "out"), "there is a study; pass --resume"
    )
    before = trained(mine / "out")
    good("fit", "graphs", "--preset", "bilstm", *SMALL, "--seeds", 4, "--seed", 5, "--out", "out", "--resume")
    after = trained(mine / "out")
    assert (len(before), len(after)) == (3, 4)
    assert before.items() < after.items(), "a run was made again"


def test_folds_by_group_and_by_number(mine):
    good("fit", "graphs", "--preset", "bilstm", *SMALL, "--fold-by", "session")
    place = mine / "runs" / "bilstm-graphs-by-session-seed0"
    assert sorted(p.name for p in place.iterdir() if p.is_dir()) == ["figures", "fold-Ses0", "fold-Ses1"]
    table = pd.read_parquet(place / "fold-Ses1" / "seed0" / "predictions.parquet")
    corpus = pd.read_parquet(mine / "corpus" / "utterances.parquet")
    tested = set(table.loc[table["split"] == "test", "dialogue_id"])
    assert tested == set(corpus.loc[corpus["session"] == "Ses1", "dialogue_id"])
    good("fit", "graphs", "--preset", "bilstm", *SMALL, "--folds", 2, "--seeds", 2)
    assert len(list((mine / "runs" / "bilstm-graphs-2folds-seed0to1").rglob("metrics.json"))) == 4
    lines = good("fit", "graphs", "--preset", "bilstm", *SET, "--set", "data.folds=2", "--set", "data.fold=2", "--out", "one")
    assert any(line.startswith("Dev was drawn from the training split: ") for line in lines)
    assert (mine / "one" / "metrics.json").is_file()


def test_a_corpus_without_dev_gets_one_and_shared_speakers_are_said(mine):
    lines = good("fit", "nodev-graphs", "--preset", "bilstm", *SET, "--out", "out", "--set", "data.dev_fraction=.25")
    assert "Dev was drawn from the training split: 2 dialogues (data.dev_fraction, data.split_seed)" in lines
    assert "Speakers: 1 occur in more than one split" in lines
    table = pd.read_parquet(mine / "out" / "predictions.parquet")
    assert table.groupby("dialogue_id")["split"].nunique().max() == 1
    assert set(table["split"]) == {"train", "dev", "test"}


def test_the_oracle_is_no_result_and_changes_nothing(mine):
    plain = good("fit", "graphs", "--preset", "bilstm", *SET, "--out", "plain")
    lines = good("fit", "graphs", "--preset", "bilstm", *SET, "--out", "seen", "--oracle")
    assert not any("not a result" in line for line in plain)
    (said,) = [line for line in lines if "not a result" in line]
    oracle = json.loads((mine / "seen" / "oracle.json").read_text())
    assert oracle["this_is"].startswith("not a result")
    scores = [e["test_weighted_f1"] for e in oracle["looks"]]
    metrics = json.loads((mine / "seen" / "metrics.json").read_text())
    assert oracle["flattery"] == pytest.approx(max(scores) - scores[metrics["chosen_look"] - 1])
    assert scores[metrics["chosen_look"] - 1] == pytest.approx(metrics["splits"]["test"]["weighted_f1"])
    assert f"{oracle['flattery']:+.2f} on what dev chose" in said
    assert not (mine / "plain" / "oracle.json").exists()
    for name in ("weights.safetensors", "predictions.parquet"):
        assert (mine / "plain" / name).read_bytes() == (mine / "seen" / name).read_bytes()
    pages = [(mine / name / "report.html").read_text() for name in ("seen", "plain")]
    cards = [re.findall(r"<b>([^<]*)</b><span>([^<]*)", page) for page in pages]
    assert cards[0] == cards[1], "the report shows what the oracle saw"
    assert len(cards[0]) >= 4
    lines = good("fit", "graphs", "--preset", "bilstm", *SMALL, "--out", "several", "--oracle", "--seeds", 2)
    assert any("Oracle (not a result" in line and "mean of 2 runs" in line for line in lines)


# ---- ablate


def test_ablate_shows_dev_and_only_final_shows_test(mine):
    command = (
        "ablate",
        "bilstm",
        "graphs",
        "--over",
        "training.lr=.01,.05",
        "--over",
        "data.modalities=text,text+audio",
        *SMALL,
        "--seeds",
        2,
    )
    lines = good(*command)
    assert lines[0] == "bilstm on synthetic: 4 rows x 2 seeds, 1 at once"
    assert not any(" test" in line for line in lines)
    place = mine / "runs" / "ablate-bilstm-graphs-lr-modalities"
    table = pd.read_csv(place / "table.csv")
    assert table["data.modalities"].tolist() == ["text", "text+audio"] * 2
    assert "test mean" not in table
    runs = [open_run(p.parent) for p in place.rglob("metrics.json")]
    assert len(runs) == 8
    assert {run.spec.modalities for run in runs} == {("text",), ("text", "audio")}
    for row in table.itertuples():
        mine_ = [
            r.metrics["splits"]["dev"]["weighted_f1"]
            for r in runs
            if r.settings.training.lr == row[1] and "+".join(r.spec.modalities) == row[2]
        ]
        assert table.loc[row.Index, "dev mean"] == pytest.approx(np.mean(mine_))
        assert table.loc[row.Index, "dev deviation"] == pytest.approx(np.std(mine_, ddof=1))
    before = trained(place)
    good(*command, "--final")
    assert len(before) == 8
    assert trained(place) == before, "a run was made again"
    assert "test mean" in pd.read_csv(place / "table.csv")
    assert_one_line(run(*command[:-1], 3), "its test scores were seen")
    page = (place / "report.html").read_text()
    assert "Test was evaluated once per run" in page


def test_a_failed_cell_is_the_end_of_the_line_but_not_of_the_table(mine):
    words = (*SMALL, "--set", "training.clip=0", "--set", "training.max_epochs=4", "--seeds", 1)
    result = run("ablate", "bilstm", "graphs", "--over", "training.lr=.01,1e30", *words)
    assert_one_line(result, "1 of 2 runs failed: training.lr=1e30/seed0: ")
    assert "0 (1 failed)" in result.stdout
    result = run("ablate", "bilstm", "graphs", "--over", "training.lr=1e30", *words, "--out", "all")
    assert_one_line(result, "1 of 1 runs failed")


# ---- compare, evaluate


def test_compare(mine):
    good("fit", "graphs", "--preset", "bilstm", *SMALL, "--seeds", 2, "--out", "other/study")
    lines = good("compare", "study", "quick=other/study", "--resamples", 500)
    assert any(line.startswith("| w/study") for line in lines)
    assert any(line.startswith("| quick") for line in lines)
    assert (mine / "runs" / "compare-w_study-quick" / "comparison.png").is_file()
    good("compare", "study/seed0", "study/seed1", "--out", "c")
    assert json.loads((mine / "c" / "comparison.json").read_text())["baseline"] == "seed0"


def test_evaluate_gives_the_run_s_own_scores(mine):
    metrics = json.loads((mine / "study" / "seed1" / "metrics.json").read_text())["splits"]
    for split in ("test", "dev", "train"):
        lines = good("evaluate", "study/seed1", "graphs", "--split", split)
        assert lines[-1].startswith(f"Weighted F1 {metrics[split]['weighted_f1']:.2f}, macro F1 {metrics[split]['macro_f1']:.2f}")


def test_robustness_has_fixed_nested_masks(mine):
    command = ("evaluate", "study/seed1", "graphs", "--drop", "audio=0,.3,.7,1", "--drop", "text=1")
    lines = good(*command, "--out", "rob")
    metrics = json.loads((mine / "study" / "seed1" / "metrics.json").read_text())["splits"]["test"]
    table = pd.read_csv(mine / "rob" / "robustness.csv")
    assert table["rate"].tolist() == [0, 0.3, 0.7, 1, 1]
    assert table["weighted F1"].tolist()[0] == pytest.approx(metrics["weighted_f1"])
    assert table["absent"].is_monotonic_increasing
    assert table["absent"].tolist()[3] == 100
    assert len(set(table["weighted F1"])) > 2
    good(*command, "--out", "rob")
    pd.testing.assert_frame_equal(pd.read_csv(mine / "rob" / "robustness.csv"), table)
    good(*command, "--out", "rob", "--drop-seed", 1)
    assert not pd.read_csv(mine / "rob" / "robustness.csv").equals(table)
    assert (mine / "rob" / "robustness.png").is_file()
    assert any("| audio" in line for line in lines)


def test_the_test_split_of_an_open_table_is_not_shown(mine):
    good("ablate", "bilstm", "graphs", "--over", "training.lr=.01,.05", *SMALL, "--seeds", 1, "--out", "t")
    assert_one_line(run("evaluate", "t/training.lr=.01/seed0", "graphs"), "its test split was not evaluated yet", "--final", "--split dev")
    good("evaluate", "t/training.lr=.01/seed0", "graphs", "--split", "dev")


FIT = ("fit", "graphs", "--preset", "bilstm", *SMALL, "--out", "out")
FAULTS: dict[str, tuple[tuple[str, ...], tuple[str, ...]]] = {
    "no seeds": ((*FIT, "--seeds", "0"), ("'--seeds'",)),
    "seeds beyond": ((*FIT, "--seeds", "2", "--seed", "4294967295"), ("expected seeds up to 4294967295",)),
    "force of a study": ((*FIT, "--seeds", "2", "--force"), ("--force replaces a single run",)),
    "one fold": ((*FIT, "--folds", "1"), ("'--folds'",)),
    "too many folds": ((*FIT, "--folds", "99"), ("expected at least 99 dialogues for 99 folds, found 15",)),
    "no such column": ((*FIT, "--fold-by", "sesion"), ("no column 'sesion' to fold by", "session")),
    "a column within dialogues": ((*FIT, "--fold-by", "position"), ("expected one position in a dialogue",)),
    "no such fold": ((*FIT, "--set", "data.folds=2", "--set", "data.fold=3"), ("no fold '3'; there are 1, 2",)),
    "a fold of nothing": ((*FIT, "--set", "data.fold=3"), ("data.fold names fold '3'",)),
    "seeds over a run": (("fit", "graphs", "--preset", "bilstm", *SMALL, "--out", "study/seed0", "--seeds", "2"), ("expected a new folder or a study",)),
    "no folder": (("fit", "graphs", "--preset", "bilstm", *SET, "--out", "/"), ("expected a folder with a name",)),
    "a grid in no folder": (("ablate", "bilstm", "graphs", "--over", "training.lr=.1", "--out", "/"), ("expected a folder with a name",)),
    "more than memory": ((*FIT, "--set", "model.hidden=1000000000"), ("memory does not suffice",)),
    "more than a number": ((*FIT, "--set", f"model.hidden={'9' * 30}"), ("model.hidden must be a number that fits 64 bits, found one of 30 digits",)),
    "a rate of many digits": ((*FIT, "--set", f"training.lr={'9' * 400}"), ("fits 64 bits",)),
    "a fold that is a number": ((*FIT, "--set", "data.fold_by=1.5"), ("data.fold_by must be a word, found 1.5; put it into quotes",)),
    "many threads": ((*FIT, "--threads", "99999999999"), ("'--threads'",)),
    "many resamples": (("compare", "study/seed0", "study/seed1", "--resamples", "10000000000000"), ("'--resamples'",)),
    "the same modalities twice": (("ablate", "bilstm", "graphs", "--over", "data.modalities=text+audio,audio+text"), ("are the same settings",)),
    "an impossible folder": (("fit", "graphs", "--preset", "bilstm", *SET, "--out", "/proc/run"), ("/proc",)),
    "no grid": (("ablate", "bilstm", "graphs"), ("pass one of --over, --table and --figure", "found none")),
    "a setting of every row": (("ablate", "bilstm", "graphs", "--over", "training.lr=.1,.2", "--set", "training={lr=0.3}"), ("--set training={lr=0.3}: every row of the table sets training.lr anew",)),
    "an unknown preset": (("ablate", "bilstn", "graphs", "--over", "training.lr=1,2"), ("no preset 'bilstn'",)),
    "an unknown setting": (("ablate", "bilstm", "graphs", "--over", "training.lrr=1,2"), ("did you mean training.lr?",)),
    "a wrong value": (("ablate", "bilstm", "graphs", "--over", "training.lr=.1,fast"), ("must be of kind float, found 'fast'",)),
    "no values": (("ablate", "bilstm", "graphs", "--over", "training.lr"), ("expected key=v1,v2",)),
    "values twice": (("ablate", "bilstm", "graphs", "--over", "training.lr=.1,0.1"), ("are the same settings",)),
    "a grid of no store": (("ablate", "bilstm", "nowhere", "--over", "training.lr=.1"), ("nowhere: expected a store",)),
    "a grid over something": (("ablate", "bilstm", "graphs", "--over", "training.lr=.1", "--out", "corpus"), ("expected a new folder or a study",)),
    "one run to compare": (("compare", "study"), ("expected two or more runs to compare, found 1",)),
    "a run with itself": (("compare", "study", "study"), ("expected different runs",)),
    "no run to compare": (("compare", "study", "nowhere"), ("nowhere: expected the folder of a run",)),
    "a corpus to compare": (("compare", "study", "corpus"), ("found no metrics.json in or below it",)),
    "names twice": (("compare", "a=study/seed0", "a=study/seed1"), ("expected different names",)),
    "another split": (("compare", "study/seed0", "study/seed1", "--split", "train"), ("'--split'",)),
    "no run to evaluate": (("evaluate", "graphs", "graphs"), ("expected the folder of a run with metrics.json",)),
    "a study to evaluate": (("evaluate", "study", "graphs"), ("expected the folder of a run with metrics.json",)),
    "a modality it has not": (("evaluate", "study/seed0", "graphs", "--drop", "smell=.1"), ("--drop smell: expected a modality", "text, audio, visual")),
    "a share too great": (("evaluate", "study/seed0", "graphs", "--drop", "audio=.1,2"), ("--drop audio=.1,2: expected a modality, once, and shares from 0 to 1",)),
    "no share": (("evaluate", "study/seed0", "graphs", "--drop", "audio"), ("shares from 0 to 1",)),
    "a share of words": (("evaluate", "study/seed0", "graphs", "--drop", "audio=much"), ("shares from 0 to 1",)),
    "a NaN share": (("evaluate", "study/seed0", "graphs", "--drop", "audio=nan"), ("shares from 0 to 1",)),
    "a modality twice": (("evaluate", "study/seed0", "graphs", "--drop", "audio=.1", "--drop", "audio=.2"), ("once",)),
}  # fmt: skip


@pytest.mark.parametrize("fault", FAULTS)
def test_a_fault_is_one_line_and_leaves_nothing(mine, fault):
    command, pieces = FAULTS[fault]
    before = {str(p) for p in mine.rglob("*")}
    assert_one_line(run(*command), *pieces)
    assert {str(p) for p in mine.rglob("*")} == before


def test_odd_names_are_only_names(mine, painted):
    """A column called true or 1.5, a value with a slash, a class called shift: words, not what they look like."""
    corpus = open_corpus(mine / "corpus")
    dialogue = np.repeat(np.arange(len(corpus)), corpus.lengths)
    table = corpus.utterances.assign(**{"true": dialogue % 2, "1.5": dialogue % 2 == 1, "a/b": np.where(dialogue % 2, "x/y", "z")})
    target = corpus.targets["emotion"]
    renamed = replace(target, labels=tuple({"sad": "shift", "happy": "nan"}.get(n, n) for n in target.labels))
    table["emotion"] = table["emotion"].replace({"sad": "shift", "happy": "nan"})
    saved = save_corpus(replace(corpus, utterances=table, targets={"emotion": renamed}, path=None), mine / "odd")
    build_store(saved, mine / "odd-graphs", GraphSpec(tuple(saved.modalities)), BuildOptions(edges=False))
    for column, folder in (("true", "by-true"), ("1.5", "by-1.5"), ("a/b", "by-a_b-*")):
        good("fit", "odd-graphs", "--preset", "bilstm", *SMALL, "--fold-by", column)
        (place,) = (mine / "runs").glob(f"bilstm-odd-graphs-{folder}-seed0")
        assert len(list(place.glob("fold-*/seed0/metrics.json"))) == 2
    lines = good("evaluate", place / "fold-z" / "seed0", "odd-graphs")
    assert sum(line.startswith("| shift ") for line in lines) == 1
    assert sum(line.startswith("| turns: shift ") for line in lines) == 1


def test_a_grid_goes_over_folds(mine):
    good(
        "ablate",
        "bilstm",
        "graphs",
        "--over",
        "training.lr=.01,.05",
        "--set",
        "data.folds=2",
        *SMALL,
        "--seeds",
        1,
        "--out",
        "t",
        "--final",
    )
    assert len(list((mine / "t").glob("training.lr=*/fold-*/seed0/metrics.json"))) == 4
    table = pd.read_csv(mine / "t" / "table.csv")
    assert table["test mean"].notna().all()


def test_a_comparison_on_dev_does_not_replace_the_one_on_test(mine):
    good("compare", "study/seed0", "study/seed1", "--resamples", 100)
    good("compare", "study/seed0", "study/seed1", "--resamples", 100, "--split", "dev")
    splits = {p.name: json.loads((p / "comparison.json").read_text())["split"] for p in (mine / "runs").iterdir()}
    assert splits == {"compare-seed0-seed1": "test", "compare-seed0-seed1-on-dev": "dev"}


def test_a_corpus_without_test_is_said_to_have_none(mine):
    corpus = open_corpus(mine / "corpus")
    keep = (corpus.utterances["split"] != "test").to_numpy()
    parts = {m: x[keep[corpus.presence[:, k]]] for k, (m, x) in enumerate(corpus.features.items())}
    saved = save_corpus(Corpus.build("x", corpus.utterances[keep], parts, corpus.targets), mine / "notest")
    build_store(saved, mine / "notest-graphs", GraphSpec(tuple(saved.modalities)), BuildOptions(edges=False))
    lines = good("fit", "notest-graphs", "--preset", "bilstm", *SMALL, "--seeds", 2, "--out", "n")
    assert not any("test" in line for line in lines if "notest" not in line and not line.startswith("Report"))
    assert_one_line(run("evaluate", "n/seed0", "notest-graphs"), "expected labelled utterances in test, found none")
    assert_one_line(run("compare", "n/seed0", "n/seed1"), "expected predictions of test, found none")
    assert_one_line(
        run("fit", "notest-graphs", "--preset", "bilstm", *SET, "--oracle", "--out", "o"), "--oracle: expected a labelled test utterance"
    )
    assert not (mine / "o").exists()


DAMAGE = {
    "config": ("config.json", "{", "config.json: expected JSON"),
    "model": ("config.json", '{"model": "gpt"}', f"expected a model among {', '.join(MODELS)}, found 'gpt'"),
    "setting": ("config.json", '{"model": "bilstm", "training": {"lrr": 1}}', "no setting training.lrr"),
    "data": ("data.json", "{}", "data.json: expected the entry corpus.content_sha256"),
    "metrics": ("metrics.json", "{}", "metrics.json: expected the entry splits.dev"),
    "division": ("data.json", '{"corpus": {"content_sha256": ""}, "spec": {}, "target": "", "labels": [], "widths": {}, "features": {}, "division": {}}', "expected the entry division.fold"),
    "weights": ("weights.safetensors", "no tensors", "weights.safetensors: expected the weights of bilstm"),
    "scaling": ("scaling.safetensors", "", "scaling.safetensors: expected the scaling of the run"),
}  # fmt: skip


@pytest.mark.parametrize("name", DAMAGE)
def test_a_damaged_run_is_named(mine, name):
    file, text, said = DAMAGE[name]
    (mine / "study" / "seed0" / file).write_text(text)
    assert_one_line(run("evaluate", "study/seed0", "graphs"), said)


def test_damaged_predictions_are_named(mine):
    (mine / "study" / "seed0" / "predictions.parquet").write_text("x")
    assert_one_line(run("compare", "study/seed0", "study/seed1"), "predictions.parquet: expected a parquet file")
    pd.read_parquet(mine / "study/seed1/predictions.parquet").drop(columns="label").to_parquet(mine / "study/seed0/predictions.parquet")
    assert_one_line(run("compare", "study/seed0", "study/seed1"), "predictions.parquet: expected the columns split, ", "missing: label")


def test_another_corpus_is_held_to_the_run(mine):
    made = synthetic_corpus(7, (3, 2, 2), with_ceilings=False)
    for name, corpus in {
        "narrow": replace(made, features={**made.features, "text": made.features["text"][:, :3]}, modalities={**made.modalities, "text": replace(made.modalities["text"], width=3)}),
        "same": made,
    }.items():  # fmt: skip
        saved = save_corpus(corpus, mine / name)
        build_store(saved, mine / f"{name}-graphs", GraphSpec(tuple(saved.modalities)), BuildOptions(edges=False))
    width = made.modalities["text"].width
    assert_one_line(run("evaluate", "study/seed0", "narrow-graphs"), f"text: expected vectors of width {width}", "found 3")
    assert good("evaluate", "study/seed0", "same-graphs")[-1].startswith("Weighted F1 ")
