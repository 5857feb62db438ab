"""Whole runs on a sentiment score, by its sign and by itself: models of every kind, what training may see, what the folder holds, resuming."""

from __future__ import annotations

import re
import shutil
from dataclasses import replace
from html import unescape
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from helpers import REPRESENTATIVE
from safetensors.torch import load_file
from sentiment_cases import LEARN, MOSEI, SMALL, left, of_split, read, run, scored_corpus, with_scores
from sklearn import metrics as sk

from dgl_merc.corpus import Corpus, Scaling
from dgl_merc.corpus.synthetic import synthetic_corpus
from dgl_merc.errors import InputError
from dgl_merc.evaluation.sentiment import ZEROS_COUNTED, ZEROS_LEFT_OUT, evaluate_sentiment
from dgl_merc.graphs import GraphSpec
from dgl_merc.models import MODELS, ModelInput, build_model
from dgl_merc.reports import figures
from dgl_merc.reports.run_report import write_report
from dgl_merc.training import load_settings
from dgl_merc.training.data import DialogueData
from dgl_merc.training.evaluate import evaluate_runs
from dgl_merc.training.loop import Trainer
from dgl_merc.training.prediction import predict
from dgl_merc.training.run_folder import open_run

pytestmark = pytest.mark.xdist_group("sentiment")  # its runs are made once

SOLVED = [preset for preset in SMALL if MODELS[preset][0].solved]
WAYS = [pytest.param(preset, learn, id=f"{preset}, {learn}") for preset in SMALL for learn in LEARN]


@pytest.fixture
def corpus(scored: Corpus) -> Corpus:
    return scored


@pytest.fixture
def made(scored_runs: dict[tuple[str, str], Path]) -> dict[tuple[str, str], Path]:
    return scored_runs


def said(out: Path) -> str:
    return " ".join(unescape(re.sub(r"<[^>]*>", " ", (out / "report.html").read_text(encoding="utf-8"))).split())


def test_models_of_every_kind_are_run_here():
    assert set(SMALL) == set(REPRESENTATIVE)


# ---- what a run leaves


@pytest.mark.parametrize(("preset", "learn"), WAYS)
def test_the_predictions_hold_what_was_learnt(corpus, made, preset, learn):
    out = made[preset, learn]
    table = pd.read_parquet(out / "predictions.parquet")
    answers = {"classes": ["p_negative", "p_positive"], "score": ["predicted_score"]}[learn]
    columns = ["split", "dialogue_id", "position", "speaker", "label", "predicted", "score", *answers]
    assert [c for c in table.columns if not c.startswith(("sigma_", "weight_"))] == columns
    true = corpus.utterances["sentiment"].to_numpy(dtype=float)
    np.testing.assert_array_equal(table["score"].to_numpy(), true)
    assert table["label"].notna().tolist() == (np.nan_to_num(true) != 0).tolist(), "a score of exactly 0 is no class"
    assert set(table.loc[true > 0, "label"]) == {"positive"}
    assert set(table.loc[true < 0, "label"]) == {"negative"}
    found = table[answers].to_numpy()
    if learn == "classes":
        np.testing.assert_allclose(found.sum(1), 1, atol=1e-5)
        positive = found[:, 1] > found[:, 0]
    else:
        positive = found[:, 0] > 0
    assert (table["predicted"] == np.where(positive, "positive", "negative")).all()
    assert all(0 < positive[table["split"] == split].mean() < 1 for split in ("dev", "test")), "vacuous: one sign is always said"
    last = [
        len(v) for k, v in load_file(out / "weights.safetensors").items() if k.startswith("head." if preset in SOLVED else "head.layers.4.")
    ]
    assert set(last) == {len(answers)}, "one output for each answer"


@pytest.mark.parametrize(("preset", "learn"), WAYS)
def test_the_metrics_are_those_of_the_predictions(made, preset, learn):
    out = made[preset, learn]
    table, metrics = pd.read_parquet(out / "predictions.parquet"), read(out, "metrics")
    assert list(metrics["splits"]) == ["train", "dev", "test"]
    for split, found in metrics["splits"].items():
        part = table[table["split"] == split]
        known = part.dropna(subset="label")
        f1 = 100 * sk.f1_score(known["label"], known["predicted"], average="weighted", zero_division=0)
        assert found["weighted_f1"] == pytest.approx(f1)
        assert list(found["per_class"]) == ["negative", "positive"]
        assert found["sentiment"] == evaluate_sentiment(part, MOSEI)
        assert found["sentiment"]["conventions"][ZEROS_LEFT_OUT] == {key: found[key] for key in ("utterances", "accuracy", "weighted_f1")}
        assert found["sentiment"]["conventions"][ZEROS_COUNTED]["utterances"] == part["score"].notna().sum() > found["utterances"]
        assert ("mean_absolute_error" in found["sentiment"]) == (learn == "score")
        assert (found["calibration"] == {"ece": None, "bins": []}) == (learn == "score")
    best = max(read(out, "history")["looks"], key=lambda e: e["dev_weighted_f1"])
    assert metrics["splits"]["dev"]["weighted_f1"] == pytest.approx(best["dev_weighted_f1"]), "the first convention chose"


@pytest.mark.parametrize(("preset", "learn"), WAYS)
def test_the_folder_alone_gives_the_predictions_again(corpus, made, preset, learn):
    saved = open_run(made[preset, learn])
    assert (saved.names, saved.task.bounds, saved.data["bounds"]) == (("negative", "positive"), MOSEI, [-3, 3])
    scores, table = evaluate_runs([saved], corpus, "test")
    assert scores == saved.metrics["splits"]["test"]
    kept = saved.predictions
    kept = kept[kept["split"] == "test"].reset_index(drop=True)
    pd.testing.assert_frame_equal(table, kept, check_dtype=False)


@pytest.mark.parametrize(("preset", "learn"), WAYS)
def test_the_report_names_both_conventions_and_which_one_chose(made, preset, learn):
    out = made[preset, learn]
    page, found = said(out), read(out, "metrics")["splits"]["test"]["sentiment"]
    for name, row in found["conventions"].items():
        assert f"{name} {row['utterances']} {row['accuracy']:.1f} {row['weighted_f1']:.1f}" in page
    assert f"{ZEROS_LEFT_OUT} , which is what everything else on this page counts and whose weighted F1 on dev chose the epoch" in page
    assert f"{found['zeros']} have a score of exactly 0" in page
    scored = learn == "score"
    assert (f"mean absolute error (points) {found.get('mean_absolute_error', 0):.3f}" in page) == scored
    assert ("prediction of positive counts as non-negative" in page) != scored
    assert ("Calibration" in page) != scored
    assert (out / "figures" / "scores.png").exists() == scored
    assert (out / "figures" / "calibration.png").exists() != scored
    html = (out / "report.html").read_text(encoding="utf-8")
    assert html.count("data:image/png;base64,") == 4 + (out / "figures" / "uncertainty.png").exists()


def test_the_picture_is_of_the_split_that_is_reported(corpus, made, tmp_path, monkeypatch):
    drawn: list[Any] = []
    inner = figures.scores_figure
    monkeypatch.setattr(figures, "scores_figure", lambda *args: drawn.append(args) or inner(*args))
    write_report(shutil.copytree(made["bilstm", "score"], tmp_path / "out"))
    ((true, predicted, bounds),) = drawn
    table = pd.read_parquet(tmp_path / "out" / "predictions.parquet")
    part = table[(table["split"] == "test") & table["score"].notna()]
    assert (list(true), list(predicted), bounds) == (list(part["score"]), list(part["predicted_score"]), [-3, 3])
    axes = inner(true, predicted, bounds).axes[0]
    dots = next(line for line in axes.lines if line.get_marker() == "o")
    assert dots.get_xydata().tolist() == np.stack([part["score"], part["predicted_score"]], axis=1).tolist()


def test_a_run_of_emotions_is_as_it_was(tmp_path):
    corpus = synthetic_corpus(0, (12, 4, 4), with_ceilings=False)
    metrics = run(corpus, tmp_path / "out", "classes")
    assert "bounds" not in read(tmp_path / "out", "data")
    assert "sentiment" not in metrics["splits"]["test"]
    assert "zeros left out" not in said(tmp_path / "out")
    with_both = run(scored_corpus(emotion=True), tmp_path / "both", "classes")
    assert with_both["splits"]["test"]["per_class"] == metrics["splits"]["test"]["per_class"], "emotion stays first"


def test_the_bayes_rate_of_emotions_is_none_of_sentiment(tmp_path):
    made, both = synthetic_corpus(0, (12, 4, 4)), scored_corpus(emotion=True)
    corpus = replace(both, source=made.source)
    assert "ceiling" in run(corpus, tmp_path / "emotion", "classes", words=("training.max_epochs=1",))
    assert "ceiling" not in run(corpus, tmp_path / "sentiment", words=("training.max_epochs=1", "data.target=sentiment"))


# ---- what training sees


@pytest.mark.parametrize("preset", SMALL)
def test_classes_do_not_see_zeros_and_scores_do(corpus, made, tmp_path, preset):
    scores = corpus.utterances["sentiment"].to_numpy(dtype=float)
    missing = with_scores(corpus, np.where(scores == 0, np.nan, scores))
    for learn in LEARN:
        run(missing, tmp_path / learn, learn, preset)
        same = [(out / "weights.safetensors").read_bytes() for out in (made[preset, learn], tmp_path / learn)]
        assert (same[0] == same[1]) == (learn == "classes")


@pytest.mark.parametrize(("preset", "learn"), WAYS)
def test_nothing_of_test_reaches_training_or_selection(corpus, made, tmp_path, preset, learn):
    scores, test = corpus.utterances["sentiment"].to_numpy(dtype=float).copy(), of_split(corpus, "test")
    metrics = run(
        with_scores(corpus, np.where(test, np.where(scores == 0, 3, -scores), scores)), tmp_path / "out", learn, preset, oracle=True
    )
    before = read(made[preset, learn], "metrics")
    chosen = read(tmp_path / "out", "oracle")["chosen_on_dev"]
    assert chosen["test_weighted_f1"] == pytest.approx(metrics["splits"]["test"]["weighted_f1"]), "the oracle scores as the run does"
    assert left(tmp_path / "out")["weights.safetensors"] == left(made[preset, learn])["weights.safetensors"]
    assert left(tmp_path / "out")["history"] == left(made[preset, learn])["history"]
    assert metrics["splits"]["dev"] == before["splits"]["dev"]
    assert metrics["splits"]["test"] != before["splits"]["test"], "vacuous: test was not changed"


def trainer(corpus: Corpus, learn: str, words: tuple[str, ...] = ()) -> Trainer:
    settings = load_settings("bilstm", [*SMALL["bilstm"], *LEARN[learn], "model.dropout=0", *words])
    spec = GraphSpec(tuple(corpus.modalities))
    data = DialogueData(corpus, spec, Scaling.fit(corpus), "sentiment", learn=settings.data.learn)
    torch.manual_seed(0)
    model = build_model("bilstm", ModelInput({m: v.width for m, v in corpus.modalities.items()}, data.task.outputs, spec), settings.options)
    return Trainer(model, data, corpus.in_split("train"), corpus.in_split("dev"), settings.training, seed=0)


def test_the_loss_is_the_mean_absolute_error_of_all_that_have_a_score(corpus):
    t = trainer(corpus, "score", ("training.max_epochs=1", "training.lr=1e-30"))
    look = t.run().best
    answers, rows, _ = predict(t.model, t.data, corpus.in_split("train"))
    true = corpus.utterances["sentiment"].to_numpy(dtype=float)[rows]
    known = ~np.isnan(true)
    assert (true == 0).any()
    assert look.loss == pytest.approx(np.abs(answers[known, 0] - true[known]).mean(), rel=1e-5)


def test_modality_dropout_leaves_scores_as_they_are(corpus):
    batch = trainer(corpus, "score").data.batch(np.array([2, 0]))
    fewer = batch.without(np.ones(batch.structure.presence.shape, dtype=bool) & (np.arange(3) == 1))
    assert fewer.truth.dtype == torch.float32
    torch.testing.assert_close(fewer.truth, batch.truth, rtol=0, atol=0, equal_nan=True)


def test_dev_is_scored_by_the_sign(corpus):
    t = trainer(corpus, "score")
    seen: list[Any] = []

    def on_look(look: Any, _best: Any, model: Any) -> None:
        answers, rows, _ = predict(model, t.data, t.dev)
        true = corpus.utterances["sentiment"].to_numpy(dtype=float)[rows]
        away = np.nan_to_num(true) != 0
        want = 100 * sk.f1_score(true[away] > 0, answers[away, 0] > 0, average="weighted")
        seen.append((look.dev_weighted_f1, pytest.approx(want)))

    t.on_look = on_look
    t.run()
    assert all(got == want for got, want in seen)
    assert len({got for got, _ in seen}) > 2


@pytest.mark.parametrize("learn", LEARN)
def test_a_batch_with_nothing_to_learn_takes_no_step(corpus, learn):
    """One training dialogue has scores; of the others' zeros a score learns, and a class nothing."""
    scores, train = corpus.utterances["sentiment"].to_numpy(dtype=float).copy(), of_split(corpus, "train")
    first = (corpus.utterances["dialogue_id"] == corpus.dialogue_ids[0]).to_numpy()
    t = trainer(with_scores(corpus, np.where(train & ~first, 0.0, scores)), learn, ("training.batch_size=1", "training.max_epochs=2"))
    steps: list[int] = []
    inner = t.optimiser.step

    def step(*args: Any, **options: Any) -> Any:
        steps.append(t.progress.step)
        return inner(*args, **options)

    t.optimiser.step = step  # type: ignore[method-assign]
    assert t.run().history[-1].step == 24, "all are counted"
    assert len(steps) == {"classes": 2, "score": 24}[learn]


@pytest.mark.parametrize("learn", LEARN)
def test_the_labels_that_a_model_is_given_are_signs(corpus, monkeypatch, learn):
    t = trainer(corpus, learn, ("training.max_epochs=1",))
    seen: list[Any] = []
    inner = t.model.forward

    def forward(structure: Any, features: Any, *, labels: Any = None, **given: Any) -> Any:
        if t.model.training:
            seen.append((structure.keys.tolist(), labels))
        return inner(structure, features, labels=labels, **given)

    monkeypatch.setattr(t.model, "forward", forward)
    t.run()
    assert len(seen) == 3
    for dialogues, labels in seen:
        scores = np.concatenate([corpus.dialogue(d).utterances["sentiment"].to_numpy(dtype=float) for d in dialogues])
        assert labels.tolist() == [int(s > 0) if np.nan_to_num(s) else -1 for s in scores]


@pytest.mark.parametrize("preset", [preset for preset in SMALL if preset not in SOLVED])
def test_scores_are_learnt(tmp_path, preset):
    corpus = scored_corpus((40, 8, 10))
    words = ("model.dropout=.1", "training.max_epochs=25", "training.schedule=constant", "training.batch_size=8")
    own = {
        "mglra": ("training.lr=.01", "model.dim=16", "model.context.input_dropout=0"),
        "sgrnet": ("training.lr=.01", "model.dim=20", "model.width=16", "model.context.input_dropout=0", "model.alignment.weight=.1"),
    }
    words = (*words, "training.patience=99", *own.get(preset, ("training.lr=.02",)))
    metrics = run(corpus, tmp_path / "out", "score", preset, words)
    losses = [e["loss"] for e in read(tmp_path / "out", "history")["looks"]]
    assert losses[-1] < 0.8 * losses[0], "the mean absolute error falls"
    for split in ("train", "test"):
        true = corpus.utterances["sentiment"].to_numpy(dtype=float)[of_split(corpus, split)]
        true = true[~np.isnan(true)]
        found = metrics["splits"][split]["sentiment"]
        assert found["mean_absolute_error"] < np.abs(true - np.median(true)).mean(), f"{split}: better than any one number"
        assert found["pearson"] > 0.3


@pytest.mark.parametrize(
    ("learn", "split", "said"),
    [
        ("classes", "train", "no utterance of the training split is labelled (a score of 0 is no class)"),
        ("classes", "dev", "no utterance of the dev split is labelled (a score of 0 is no class)"),
        ("score", "dev", "no utterance of the dev split is labelled (a score of 0 is no class)"),
    ],
)
def test_splits_of_zeros_alone(corpus, tmp_path, learn, split, said):
    scores = corpus.utterances["sentiment"].to_numpy(dtype=float)
    with pytest.raises(InputError) as error:
        run(with_scores(corpus, np.where(of_split(corpus, split), 0.0, scores)), tmp_path / "out", learn)
    assert said in str(error.value)
    assert list(tmp_path.iterdir()) == []


def test_a_test_split_of_zeros_alone_is_reported(corpus, tmp_path):
    zeros = with_scores(corpus, np.where(of_split(corpus, "test"), 0.0, corpus.utterances["sentiment"].to_numpy(dtype=float)))
    metrics = run(zeros, tmp_path / "out")
    test = metrics["splits"]["test"]
    assert (test["utterances"], test["weighted_f1"]) == (0, None)
    assert test["sentiment"]["conventions"][ZEROS_COUNTED]["utterances"] == test["sentiment"]["zeros"] == of_split(corpus, "test").sum()
    page = said(tmp_path / "out")
    assert f"{ZEROS_LEFT_OUT} 0 – –" in page
    assert "No utterance of this split is labelled." in page
