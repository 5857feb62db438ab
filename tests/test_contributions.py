"""What each modality contributes: against a corpus that never had the others, and text alone beside, against what compare says."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from cli_cases import assert_one_line, good
from cli_cases import run as dglmerc
from sentiment_cases import run, scored_corpus
from sklearn.metrics import f1_score

from dgl_merc.corpus import Corpus, presence_column
from dgl_merc.errors import InputError
from dgl_merc.evaluation.statistics import dialogue_counts, difference, estimate
from dgl_merc.files import read_json
from dgl_merc.reports.contributions import alone_in_words, beside_in_words, contributions_figure, contributions_page
from dgl_merc.studies.beside import trained_alone
from dgl_merc.studies.compare import compare
from dgl_merc.studies.systems import open_system
from dgl_merc.training.contributions import contributions
from dgl_merc.training.evaluate import evaluate_runs
from dgl_merc.training.run_folder import open_run

pytestmark = pytest.mark.xdist_group("contributions")  # its runs are made once

M = ("text", "audio", "visual")


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> tuple[Corpus, Path]:
    """A corpus, and runs on it: of three modalities, of two, of each task, and of text alone."""
    folder = tmp_path_factory.mktemp("contributions")
    corpus = scored_corpus((10, 4, 6), emotion=True)
    for name, preset, words in (
        ("three", "mglra", ("data.target=emotion",)),
        ("two", "bilstm", ("data.target=emotion", "data.modalities=text,audio")),
        ("text", "bilstm", ("data.target=emotion", "data.modalities=text")),
        ("visual", "bilstm", ("data.target=emotion", "data.modalities=visual")),
    ):
        run(corpus, folder / name, "classes", preset, words, in_depth=name != "visual")
    run(corpus, folder / "score", "score", "bilstm", ("data.target=sentiment",), in_depth=True)
    return corpus, folder


def never_had(corpus: Corpus, kept: tuple[str, ...]) -> Corpus:
    """The corpus as if the other modalities had never been recorded."""
    gone = [m for m in corpus.modalities if m not in kept]
    features = {m: x[:0] if m in gone else x for m, x in corpus.features.items()}
    table = corpus.utterances.assign(**{presence_column(m): False for m in gone})
    return replace(corpus, utterances=table, features=features)


@pytest.mark.parametrize("name", ["three", "two", "score"])
def test_against_a_corpus_that_never_had_the_others(made, name):
    corpus, folder = made
    saved, found = open_run(folder / name), read_json(folder / name / "contributions.json")
    used, names = saved.spec.modalities, list(saved.names)
    assert (found["split"], found["modalities"]) == ("test", list(used))
    whole = saved.predictions.query("split == 'test' and label.notna()")
    number, codes = pd.factorize(whole["dialogue_id"], sort=True)[0], {n: k for k, n in enumerate(names)}
    labels = whole["label"].map(codes).to_numpy()
    all_of_them = dialogue_counts(number, labels, whole["predicted"].map(codes).to_numpy()[None], len(names))
    assert found["all"]["weighted_f1"] == pytest.approx(saved.metrics["splits"]["test"]["weighted_f1"])
    assert [found["all"]["low"], found["all"]["high"]] == saved.metrics["splits"]["test"]["weighted_f1_interval"]
    told, effects = set(), []
    for word, kept_of in (("without", lambda m: tuple(o for o in used if o != m)), ("alone", lambda m: (m,))):
        assert list(found[word]) == list(used)
        for m, row in found[word].items():
            kept = kept_of(m)
            _, table = evaluate_runs([saved], never_had(corpus, kept))
            table = table[table["label"].notna()]
            f1 = 100 * f1_score(table["label"], table["predicted"], average="weighted", zero_division=0)
            assert row["weighted_f1"] == pytest.approx(f1)
            counts = dialogue_counts(number, labels, table["predicted"].map(codes).to_numpy()[None], len(names))
            effect, score = difference(all_of_them, counts), estimate(counts)
            assert row["difference"] == pytest.approx({"effect": effect.effect, "low": effect.low, "high": effect.high})
            assert row["difference"]["effect"] == pytest.approx(row["weighted_f1"] - found["all"]["weighted_f1"])
            assert (row["low"], row["high"]) == pytest.approx((score.low, score.high))
            have = corpus.presence[:, [list(corpus.modalities).index(o) for o in kept]].any(axis=1)
            judged = (corpus.utterances["split"] == "test").to_numpy() & (corpus.labels(saved.task.target) >= 0)
            assert row["bare"] == sum(bool(j and not h) for j, h in zip(judged, have, strict=True))
            told.add(kept)
            effects.append(effect.effect)
    assert len(told) == (6 if len(used) == 3 else 2)
    assert max(map(abs, effects)) > 0.3, "vacuous: nothing is lost"
    if len(used) == 2:
        assert found["without"]["text"] == found["alone"]["audio"]


def test_nothing_of_one_modality_or_without_labels(made):
    corpus, folder = made
    assert (folder / "text" / "space.json").is_file()
    assert not (folder / "text" / "contributions.json").exists()
    assert "What each modality contributes" not in (folder / "text" / "report.html").read_text()
    saved = open_run(folder / "three")
    table = saved.predictions.assign(label=None)
    assert contributions(saved.model(), saved.dialogue_data(corpus), "test", corpus.in_split("test"), table) is None


def test_a_run_that_is_one_of_many_makes_neither(made):
    _, folder = made
    for name in ("contributions.json", "space.json", "space.parquet", "figures/space.png", "figures/contributions.png"):
        assert not (folder / "visual" / name).exists()
        assert (folder / "three" / name).exists()


def test_asking_leaves_model_and_data_as_they_were(made):
    corpus, folder = made
    saved = open_run(folder / "three")
    model, data = saved.model(), saved.dialogue_data(saved.division(corpus).corpus)
    before = {k: v.clone() for k, v in model.state_dict().items()}
    first = contributions(model, data, "test", corpus.in_split("test"), saved.predictions)
    assert data.drop is None
    assert all((v == before[k]).all() for k, v in model.state_dict().items())
    assert json.loads(json.dumps(first)) == read_json(folder / "three" / "contributions.json")


def test_the_page_has_every_row(made):
    _, folder = made
    for name, rows in (("three", 7), ("two", 3)):
        found = read_json(folder / name / "contributions.json")
        page = contributions_page(found)
        assert len(page["rows"]) == rows
        html = (folder / name / "report.html").read_text(encoding="utf-8")
        for row in page["rows"]:
            assert all(f"<td>{cell}</td>" in html for cell in row)
        text = found["alone"]["text"]
        (said,) = page["sentences"]
        assert said in html
        assert (
            f"This model hearing text alone: weighted F1 {text['weighted_f1']:.1f} on test, {text['difference']['effect']:+.1f} (" in said
        )
        assert said.endswith("It was not trained for that")
        left, right = contributions_figure(found).axes
        assert [t.get_text() for t in left.get_yticklabels()] == [row[0] for row in page["rows"]]
        drawn = [float(line.get_xdata()[0]) for line in right.lines if line.get_marker() == "o" and len(line.get_xdata())]
        wanted = [row["difference"]["effect"] for row in [*(found["without"].values() if rows == 7 else ()), *found["alone"].values()]]
        assert drawn[1:] == pytest.approx(wanted)
    assert alone_in_words({"alone": {"audio": {}}, "split": "test"}) == []


# ---- text alone beside


def test_a_run_of_text_alone_stands_beside_with_the_interval_of_compare(made, tmp_path, monkeypatch):
    corpus, folder = made
    shutil.copytree(folder / "three", tmp_path / "run")
    import dgl_merc.training.source as module

    monkeypatch.setattr(module, "opened_once", lambda _: module.Source(corpus, None, None))
    lines = good("report", tmp_path / "run", "--beside", folder / "text", "--device", "cpu")
    found = read_json(tmp_path / "run" / "contributions.json")
    want = compare([open_system(folder / "three"), open_system(folder / "text")]).to_json()["systems"][1]
    beside = found["beside"]
    assert {k: beside["difference"][k] for k in ("effect", "low", "high")} == {k: want["difference"][k] for k in ("effect", "low", "high")}
    assert (beside["weighted_f1"], beside["low"], beside["high"]) == tuple(want["weighted_f1"][k] for k in ("mean", "low", "high"))
    assert beside["weighted_f1"] == pytest.approx(read_json(folder / "text" / "metrics.json")["splits"]["test"]["weighted_f1"])
    assert (beside["run"], beside["modality"], beside["preset"], beside["seed"]) == ("text", "text", "bilstm", 3)
    assert f"- Trained on text alone (text, bilstm, seed 3): weighted F1 {beside['weighted_f1']:.2f} on test, " in "\n".join(lines)
    (said,) = beside_in_words(found)
    for page in ("report.html", "MODEL_CARD.md"):
        assert said in (tmp_path / "run" / page).read_text(encoding="utf-8")
    assert contributions_page(found)["rows"][-1][0] == "trained on text alone"
    del found["beside"]
    assert found == read_json(folder / "three" / "contributions.json"), "the rest is another"
    good("report", tmp_path / "run", "--device", "cpu")
    assert "beside" not in read_json(tmp_path / "run" / "contributions.json")


def test_what_does_not_stand_beside_is_refused(made, tmp_path):
    corpus, folder = made
    three, text = open_run(folder / "three"), open_run(folder / "text")
    for run_, other, said in (
        (text, text, "--beside: expected a run of several modalities, found one of text alone"),
        (three, three, "--beside: expected a run of one of text, audio, visual, found one of text, audio, visual; fit one with --set data"),
        (open_run(folder / "two"), open_run(folder / "visual"), "expected a run of one of text, audio, found one of visual; fit one"),
        (open_run(folder / "score"), text, "can't be compared: their target differ"),
    ):
        with pytest.raises(InputError, match=said):
            trained_alone(run_, other)
    moved = {**text.data, "corpus": {**text.data["corpus"], "content_sha256": "0" * 64}}
    with pytest.raises(InputError, match=r"expected a run on the corpus of .*, found one on another \(000000000000…\)"):
        trained_alone(three, replace(text, data=moved))
    run(corpus, tmp_path / "fold", "classes", "bilstm", ("data.target=emotion", "data.modalities=text", "data.folds=2", "data.fold=1"))
    with pytest.raises(InputError, match="were judged on different test sets"):
        trained_alone(three, open_run(tmp_path / "fold"))
    before = {p: p.stat().st_mtime_ns for p in (folder / "three").rglob("*")}
    assert_one_line(dglmerc("report", folder / "three", "--beside", folder / "three"), "--beside: expected a run of one of")
    assert_one_line(dglmerc("report", folder / "three", "--beside", tmp_path), "expected the folder of a run with metrics.json in it")
    assert {p: p.stat().st_mtime_ns for p in (folder / "three").rglob("*")} == before


def test_before_test_is_evaluated_dev_is_shown(made, tmp_path):
    corpus, _ = made
    run(corpus, tmp_path / "a", "classes", "bilstm", ("data.target=emotion",), test=False, in_depth=True)
    run(corpus, tmp_path / "b", "classes", "bilstm", ("data.target=emotion", "data.modalities=audio"), test=False)
    for name in ("contributions", "space"):
        assert read_json(tmp_path / "a" / f"{name}.json")["split"] == "dev"
    a, b = open_run(tmp_path / "a"), open_run(tmp_path / "b")
    found = trained_alone(a, b)
    assert found["weighted_f1"] == pytest.approx(b.metrics["splits"]["dev"]["weighted_f1"])
    assert found["modality"] == "audio"
    assert np.isfinite(found["difference"]["low"])
