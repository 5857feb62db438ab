"""Systems and comparisons: paired by dialogue, refused on other test sets or features, and the same numbers as straight from predictions."""

from __future__ import annotations

import json
import re
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import f1_score

from dgl_merc.corpus import Corpus
from dgl_merc.corpus.synthetic import synthetic_corpus
from dgl_merc.errors import InputError
from dgl_merc.graphs import GraphSpec
from dgl_merc.reports.comparison import write_comparison
from dgl_merc.studies.compare import compare
from dgl_merc.studies.systems import open_system
from dgl_merc.training import fit, load_settings

pytestmark = pytest.mark.xdist_group("compare")  # its runs are made once

WORDS = ("model.hidden=5", "training.max_epochs=2", "training.batch_size=5")


def make(corpus: Corpus, out: Path, *words: str, seed: int = 0, **options: Any) -> Path:
    fit(corpus, GraphSpec(tuple(corpus.modalities)), load_settings("bilstm", [*WORDS, *words], seed), out, **options)
    return out


@pytest.fixture(scope="module")
def corpus() -> Corpus:
    return synthetic_corpus(0, (8, 3, 9), with_ceilings=False)


@pytest.fixture(scope="module")
def runs(corpus, tmp_path_factory) -> Path:
    """Systems a (3 seeds), b (3 seeds, another rate), one (1 seed)."""
    folder = tmp_path_factory.mktemp("runs")
    for seed in range(3):
        make(corpus, folder / "a" / f"seed{seed}", seed=seed)
        make(corpus, folder / "b" / f"seed{seed}", "training.lr=.05", seed=seed)
    make(corpus, folder / "one", "model.layers=1", seed=4)
    return folder


def changed(runs: Path, tmp_path: Path, change: Any, name: str = "b") -> Path:
    """A copy of a system whose data.json are changed."""
    shutil.copytree(runs / name, tmp_path / "changed")
    for path in (tmp_path / "changed").rglob("data.json"):
        table = json.loads(path.read_text())
        change(table)
        path.write_text(json.dumps(table))
    return tmp_path / "changed"


def test_a_system_is_its_runs(runs, corpus):
    system = open_system(runs / "a")
    assert (system.name, system.seeds, system.folds) == ("a", (0, 1, 2), ("",))
    counts = system.counts("test")
    labels = list(corpus.targets["emotion"].labels)
    dialogues = sorted(corpus.dialogue_ids[d] for d in corpus.in_split("test"))
    assert counts.shape == (3, len(dialogues), 6, 6)
    for s, run in enumerate(system.runs):
        assert run.settings.seed == s
        table = pd.read_parquet(run.path / "predictions.parquet").query("split == 'test'").dropna(subset="label")
        for d, name in enumerate(dialogues):
            part = table[table["dialogue_id"] == name]
            want = pd.crosstab(part["label"], part["predicted"]).reindex(index=labels, columns=labels, fill_value=0).to_numpy()
            assert np.array_equal(counts[s, d], want)
    assert open_system(runs / "one").seeds == (4,)


def test_a_comparison_is_that_of_the_predictions(runs):
    found = compare([open_system(runs / "a"), open_system(runs / "b")], resamples=2000)
    scores = []
    for name in "ab":
        mine = []
        for seed in range(3):
            table = pd.read_parquet(runs / name / f"seed{seed}" / "predictions.parquet").query("split == 'test'").dropna(subset="label")
            mine.append(100 * f1_score(table["label"], table["predicted"], average="weighted", zero_division=0))
        scores.append(mine)
    for k in range(2):
        assert found.scores[k] == pytest.approx(scores[k])
        assert found.estimates[k].mean == pytest.approx(np.mean(scores[k]))
        assert found.estimates[k].deviation == pytest.approx(np.std(scores[k], ddof=1))
    difference = found.differences[1]
    assert difference.effect == pytest.approx(np.mean(scores[1]) - np.mean(scores[0]))
    assert difference.low <= difference.effect <= difference.high
    assert difference.exact, "nine dialogues: every swap is tried"
    assert found.differences[0] is None
    again = compare([open_system(runs / "b"), open_system(runs / "a")], resamples=2000)
    assert again.differences[1].effect == pytest.approx(-difference.effect)
    assert again.differences[1].p == pytest.approx(difference.p)


def test_the_order_of_rows_and_of_dialogues_does_not_matter(runs, tmp_path):
    shutil.copytree(runs / "b", tmp_path / "b")
    rng = np.random.default_rng(0)
    for path in (tmp_path / "b").rglob("predictions.parquet"):
        table = pd.read_parquet(path)
        table.iloc[rng.permutation(len(table))].to_parquet(path, index=False)
    pair = [compare([open_system(runs / "a"), open_system(p)], resamples=500) for p in (runs / "b", tmp_path / "b")]
    assert pair[0] == pair[1]


def test_a_system_against_itself_does_not_differ(runs):
    found = compare([open_system(runs / "a"), open_system(runs / "a", "again")], resamples=500)
    assert (found.differences[1].effect, found.differences[1].p) == (0.0, 1.0)


def test_several_are_held_to_the_first_and_holm_corrected(runs):
    systems = [open_system(runs / "a"), open_system(runs / "b"), open_system(runs / "a", "c"), open_system(runs / "one")]
    found = compare(systems, resamples=500)
    p = [d.p for d in found.differences[1:]]
    assert p[2] is None, "a run alone is not paired with three"
    assert found.adjusted[3] is None
    assert found.adjusted[1] == pytest.approx(min(1.0, 2 * min(p[0], p[1])) if p[0] <= p[1] else max(2 * p[1], p[0]))
    assert any("a has 3 seeds, one 1" in note for note in found.notes)
    assert any("one seed" in note for note in found.notes)
    table = found.table()
    assert table.index.tolist() == ["a", "b", "c", "one"]
    assert table["difference"].tolist()[0] == ""
    assert table["p"].tolist()[3] == "–"


def test_dev_is_no_result(runs):
    found = compare([open_system(runs / "a"), open_system(runs / "b")], "dev", resamples=200)
    assert any("not a result" in note for note in found.notes)
    assert found.estimates[0].dialogues == 3


# ---- what it refuses


def flip(table: dict[str, Any], *path: str) -> None:
    for key in path[:-1]:
        table = table[key]
    table[path[-1]] = "0" * 64


def test_other_test_sets_are_refused(runs, tmp_path, corpus):
    other = changed(runs, tmp_path, lambda t: flip(t, "division", "splits", "test", "sha256"))
    with pytest.raises(InputError, match="a and changed can't be compared: they were judged on different test sets"):
        compare([open_system(runs / "a"), open_system(other)])
    table = corpus.utterances.copy()
    row = int(np.flatnonzero((table["split"] == "test") & table["emotion"].notna())[3])
    table.loc[row, "emotion"] = None
    make(replace(corpus, utterances=table), tmp_path / "unlabelled")
    with pytest.raises(InputError, match="different test sets"):
        compare([open_system(runs / "a"), open_system(tmp_path / "unlabelled")])


def test_other_features_are_refused_and_other_modalities_said(runs, tmp_path, corpus):
    other = changed(runs, tmp_path, lambda t: flip(t, "features", "audio"))
    with pytest.raises(InputError, match=r"can't be compared: they were given different features of audio \([0-9a-f]{12}… and 0{12}…\)"):
        compare([open_system(runs / "a"), open_system(other)])
    one = {m: x.copy() for m, x in corpus.features.items()}
    one["text"][0, 0] += 1e-3
    make(replace(corpus, features=one), tmp_path / "nudged")
    with pytest.raises(InputError, match="different features of text"):
        compare([open_system(runs / "a"), open_system(tmp_path / "nudged")])
    make(corpus, tmp_path / "text", "data.modalities=text")
    found = compare([open_system(runs / "a"), open_system(tmp_path / "text")], resamples=200)
    assert "a uses text, audio, visual; text uses text" in found.notes


def test_other_classes_are_refused(runs, tmp_path):
    other = changed(runs, tmp_path, lambda t: t.update(labels=t["labels"][::-1]))
    with pytest.raises(InputError, match="their labels differ"):
        compare([open_system(runs / "a"), open_system(other)])


@pytest.mark.parametrize(
    ("make_it", "said"),
    [
        (lambda r, t: open_system(t / "nowhere"), "nowhere: expected the folder of a run or of several, found none"),
        (lambda r, t: open_system(t), "found no metrics.json in or below it"),
        (lambda r, t: open_system(r), "holds runs of different settings (training.lr: 0.001 in"),
        (lambda r, t: open_system(shutil.copytree(r / "a", t / "x" / "a", dirs_exist_ok=True) and shutil.copytree(r / "a", t / "x" / "b") and t / "x"), "holds seed 0 twice"),
        (lambda r, t: compare([open_system(r / "a")]), "expected two or more runs to compare, found 1"),
        (lambda r, t: compare([open_system(r / "a"), open_system(r / "a")]), "expected different names"),
    ],
    ids=["nothing", "empty", "mixed", "twice", "alone", "names"],
)  # fmt: skip
def test_what_is_no_system(runs, tmp_path, make_it, said):
    with pytest.raises(InputError, match=re.escape(said)):
        make_it(runs, tmp_path)


def test_runs_whose_test_was_not_seen_are_named(runs, corpus, tmp_path):
    make(corpus, tmp_path / "blind", test=False)
    with pytest.raises(InputError, match=r"blind: expected predictions of test, found none .*--final"):
        compare([open_system(runs / "one"), open_system(tmp_path / "blind")])
    compare([open_system(runs / "one"), open_system(tmp_path / "blind")], "dev", resamples=200)


def test_a_seed_that_lacks_a_fold_is_named(corpus, tmp_path):
    for seed, folds in ((0, "12"), (1, "1")):
        for fold in folds:
            make(corpus, tmp_path / "s" / f"{seed}{fold}", "data.folds=2", f"data.fold={fold}", seed=seed)
    with pytest.raises(InputError, match="s: expected every seed to judge each utterance of test once; fit all folds with all seeds"):
        open_system(tmp_path / "s").counts("test")


# ---- files


def test_a_comparison_is_written_as_table_and_picture(runs, tmp_path):
    systems = [open_system(runs / "a"), open_system(runs / "b", "b & <c>_$x$")]
    found = compare(systems, resamples=200)
    for _ in range(2):  # again in its own place
        write_comparison(tmp_path / "out", found.to_json(), found.table())
    assert {p.name for p in (tmp_path / "out").iterdir()} == {f"comparison.{e}" for e in ("json", "txt", "csv", "tex", "png")}
    table = pd.read_csv(tmp_path / "out" / "comparison.csv")
    assert table["difference effect"].tolist()[1] == pytest.approx(found.differences[1].effect)
    tex = (tmp_path / "out" / "comparison.tex").read_text()
    assert r"b \& $<$c$>$\_\$x\$" in tex
    assert r"$\pm$" in tex
    numbers = json.loads((tmp_path / "out" / "comparison.json").read_text())
    assert numbers["systems"][1]["difference"]["p"] == found.differences[1].p
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis").touch()
    with pytest.raises(InputError, match=r"expected a new folder or one with comparison\.json in it"):
        write_comparison(tmp_path / "mine", found.to_json(), found.table())
