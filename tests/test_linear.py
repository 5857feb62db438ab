"""What is solved and not trained: majority and logistic regression, held to scikit-learn and to formulas, and a run of them like any other."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from cli_cases import assert_one_line, good
from cli_cases import run as command
from predict_cases import spoken
from sentiment_cases import scored_corpus
from sklearn.linear_model import LogisticRegression
from test_training_settings import CHANGES

from dgl_merc.corpus import Corpus, save_corpus
from dgl_merc.corpus.synthetic import synthetic_corpus
from dgl_merc.errors import DivergedError, InputError
from dgl_merc.graphs import GraphSpec, Structure
from dgl_merc.inference import Predictor, Utterance
from dgl_merc.models import Model, ModelInput, build_model
from dgl_merc.models.linear import LogisticOptions, MajorityOptions
from dgl_merc.training import fit, load_settings
from dgl_merc.training.run_folder import open_run

pytestmark = pytest.mark.usefixtures("unpainted")

LIMITS = {"batch_size", "batch_utterances", "max_epochs", "max_steps", "eval_every", "patience"}
LOGISTIC, MAJORITY = LogisticOptions(), MajorityOptions()


@pytest.fixture(scope="module")
def corpus() -> Corpus:
    return synthetic_corpus(0, (12, 4, 4), with_ceilings=False)


def run(corpus: Corpus, out: Path, preset: str = "logistic", words: tuple[str, ...] = (), **options: Any) -> dict[str, Any]:
    return fit(corpus, GraphSpec(tuple(corpus.modalities)), load_settings(preset, words, 7), out, **options)


def said(out: Path, column: str = "p_") -> Any:
    table = pd.read_parquet(out / "predictions.parquet")
    return table[[c for c in table if c.startswith(column)]].to_numpy()


def side_by_side(corpus: Corpus, modalities: tuple[str, ...]) -> Any:
    """[U, F] standardised by the training split's present rows, zeros where a modality is absent; as a person would who knows no graph."""
    train, columns = (corpus.utterances["split"] == "train").to_numpy(), []
    for k, m in enumerate(corpus.modalities):
        if m in modalities:
            there = corpus.presence[:, k]
            x = np.full((len(there), corpus.modalities[m].width), np.nan)
            x[there] = corpus.features[m]
            columns.append(np.nan_to_num((x - np.nanmean(x[train], axis=0)) / np.nanstd(x[train], axis=0)))
    return np.concatenate(columns, axis=1)


def of_training(corpus: Corpus, target: str = "emotion") -> Any:
    """[U] bool: labelled utterances of the training split."""
    return (corpus.utterances["split"] == "train").to_numpy() & (corpus.labels(target) >= 0)


def solve(preset: str, options: Any, x: Any, truth: Any, outputs: int, weights: Any = None) -> Model:
    """On utterances that have text alone."""
    spec = GraphSpec(("text",))
    model = build_model(preset, ModelInput({"text": x.shape[1]}, outputs, spec), options)
    model.solve(Structure.of([len(x)], spec), {"text": torch.tensor(x, dtype=torch.float32)}, torch.tensor(truth), weights)
    return model.eval()


def answers(model: Model, x: Any) -> Any:
    s = Structure.of([len(x)], GraphSpec(("text",)))
    return model(s, {"text": torch.tensor(x, dtype=torch.float32)}).logits.detach().numpy().astype(np.float64)


# ---- what they say


@pytest.mark.parametrize(
    ("words", "modalities", "direct"),
    [
        ((), ("text", "audio", "visual"), {"C": 0.1}),
        (("data.modalities=audio", "model.C=3"), ("audio",), {"C": 3.0}),
        (("training.class_weights=balanced", "model.C=.02"), ("text", "audio", "visual"), {"C": 0.02, "class_weight": "balanced"}),
    ],
    ids=["all", "audio", "balanced"],
)
def test_the_probabilities_are_those_of_scikit_learn(corpus, tmp_path, words, modalities, direct):
    assert not corpus.presence.all(), "vacuous: nothing is absent"
    metrics = run(corpus, tmp_path / "run", words=words)
    x, y, known = side_by_side(corpus, modalities), corpus.labels("emotion"), of_training(corpus)
    want = LogisticRegression(max_iter=1000, **direct).fit(x[known], y[known]).predict_proba(x)
    np.testing.assert_allclose(said(tmp_path / "run"), want, rtol=0, atol=1e-4)
    assert np.ptp(want, axis=0).min() > 0.1, "vacuous"
    if not words:
        loss = -np.log(want[known, y[known]]).mean()
        (look,) = json.loads((tmp_path / "run" / "history.json").read_text())["looks"]
        assert look["loss"] == pytest.approx(loss, rel=1e-3)
        assert (look["epoch"], look["learning_rate"], metrics["chosen_epoch"], metrics["epochs"]) == (1, 0.0, 1, 1)


def test_two_classes_are_the_signs_of_a_score(tmp_path):
    corpus = scored_corpus()
    run(corpus, tmp_path / "run")
    x, y, known = side_by_side(corpus, ("text", "audio", "visual")), corpus.labels("sentiment"), of_training(corpus, "sentiment")
    want = LogisticRegression(C=0.1, max_iter=1000).fit(x[known], y[known]).predict_proba(x)
    np.testing.assert_allclose(said(tmp_path / "run"), want, rtol=0, atol=1e-4)


def test_a_score_is_ridge_regression(tmp_path):
    corpus = scored_corpus()
    run(corpus, tmp_path / "run", words=("data.learn=score", "model.C=.01"))
    x, y = side_by_side(corpus, ("text", "audio", "visual")), corpus.scores("sentiment")
    known = (corpus.utterances["split"] == "train").to_numpy() & ~np.isnan(y)
    centred = x[known] - x[known].mean(axis=0)
    w = np.linalg.solve(centred.T @ centred + 100 * np.eye(x.shape[1]), centred.T @ (y[known] - y[known].mean()))
    want = (x - x[known].mean(axis=0)) @ w + y[known].mean()
    np.testing.assert_allclose(said(tmp_path / "run", "predicted_score")[:, 0], want, rtol=0, atol=1e-4)


def test_the_majority_is_how_frequent_the_classes_of_training_are(corpus, tmp_path):
    y = corpus.labels("emotion")[of_training(corpus)]
    share = np.bincount(y, minlength=6) / len(y)
    run(corpus, tmp_path / "run", "majority")
    np.testing.assert_allclose(said(tmp_path / "run"), np.tile(share, (len(corpus.utterances), 1)), rtol=0, atol=1e-6)
    run(corpus, tmp_path / "root", "majority", ("training.class_weights=sqrt",))
    np.testing.assert_allclose(said(tmp_path / "root")[0], np.sqrt(share) / np.sqrt(share).sum(), rtol=0, atol=1e-6)


def test_the_majority_of_scores_is_their_median(tmp_path):
    corpus = scored_corpus()
    y = corpus.scores("sentiment")[(corpus.utterances["split"] == "train").to_numpy()]
    y = y[~np.isnan(y)]
    run(corpus, tmp_path / "run", "majority", ("data.learn=score",))
    assert np.unique(said(tmp_path / "run", "predicted_score")) == pytest.approx([np.median(y)])
    assert np.median(y) != pytest.approx(y.mean()), "vacuous"


@pytest.mark.parametrize(("preset", "options"), [("logistic", LogisticOptions(C=100.0)), ("majority", MAJORITY)])
def test_a_class_that_training_lacks_is_next_to_impossible(preset, options):
    rng = np.random.default_rng(0)
    x = rng.standard_normal((60, 4))
    for present in ([0, 2, 3], [1, 3], [2]):
        y = rng.choice(present, 60)
        y[:5] = -1
        logits = answers(solve(preset, options, x, y, 5), 10 * x)
        p = torch.tensor(logits).softmax(1).numpy()
        others = np.setdiff1d(np.arange(5), present)
        assert np.isfinite(logits).all()
        assert (logits[:, others] == -30).all()
        assert 0 < p[:, others].max() < 1e-11
        assert np.isin(p.argmax(1), present).all()
        if present == [1, 3] and preset == "logistic":
            known = y >= 0
            direct = LogisticRegression(C=100.0).fit(x[known], y[known]).predict_proba(10 * x)
            np.testing.assert_allclose(p[:, present], direct, atol=1e-4)


def test_a_dialogue_gives_the_same_in_any_batch_and_bare_utterances_the_bias():
    model = solve("logistic", LOGISTIC, np.random.default_rng(0).standard_normal((40, 4)), np.arange(40) % 3, 3)
    spec = GraphSpec(("text",))
    s = Structure.of([3, 1, 2], spec, presence=[[1], [0], [1], [1], [0], [0]])
    x = torch.randn(3, 4)
    together = model(s, {"text": x}).logits
    torch.testing.assert_close(model(s.select([1]), {"text": x[2:]}).logits, together[3:4])
    for u in (1, 4, 5):
        torch.testing.assert_close(together[u], model.head.bias)


# ---- a run like any other


@pytest.mark.parametrize("preset", ["logistic", "majority"])
def test_a_run_goes_on_where_it_was_and_solves_but_once(corpus, tmp_path, preset, monkeypatch):
    calls, kind = [], type(build_model(preset, ModelInput({"text": 2}, 2, GraphSpec(("text",))), load_settings(preset).options))
    inner = kind.solve
    monkeypatch.setattr(kind, "solve", lambda self, *given: calls.append(0) or inner(self, *given))
    run(corpus, tmp_path / "whole", preset)

    class Stop(BaseException):
        pass

    def stop(*_: object, **__: object) -> None:
        raise Stop

    with pytest.raises(Stop):
        run(corpus, tmp_path / "cut", preset, on_look=stop)
    assert len(calls) == 2
    assert not (tmp_path / ".cut.unfinished").exists(), "nothing is left of a run that had nothing to show"
    with monkeypatch.context() as patched:
        patched.setattr("dgl_merc.training.run.write_run", stop)
        with pytest.raises(Stop):
            run(corpus, tmp_path / "cut", preset)
    assert len(calls) == 3
    run(corpus, tmp_path / "cut", preset, resume=True)
    assert len(calls) == 3, "solved again"
    for name in ("weights.safetensors", "predictions.parquet"):
        assert (tmp_path / "cut" / name).read_bytes() == (tmp_path / "whole" / name).read_bytes()


@pytest.mark.parametrize("preset", ["logistic", "majority"])
def test_the_commands_take_it(corpus, tmp_path, preset, monkeypatch):
    monkeypatch.chdir(tmp_path)
    saved = save_corpus(corpus, tmp_path / "corpus")
    run(saved, tmp_path / "run", preset, ("graph.causal=true",))
    for words in (("evaluate", "run", "--split", "dev"), ("explain", "run", saved.dialogue_ids[0])):
        good(*words)
    objects = spoken(saved)
    utterances = [Utterance(o["dialogue_id"], o["speaker"], {m: np.array(x) for m, x in o["features"].items()}) for o in objects]
    table = Predictor([open_run(tmp_path / "run")]).predict(utterances)
    np.testing.assert_allclose(
        table[[c for c in table if c.startswith("p_")]].to_numpy(), said(tmp_path / "run")[-len(objects) :], atol=1e-6
    )


def test_test_and_dev_do_not_reach_the_weights(corpus, tmp_path):
    table = corpus.utterances.copy()
    table.loc[table["split"] != "train", "emotion"] = "sad"
    features = {m: np.array(x) for m, x in corpus.features.items()}
    later = {m: (table["split"] != "train").to_numpy()[corpus.presence[:, k]] for k, m in enumerate(features)}
    for m, x in features.items():
        x[later[m]] *= -3
    run(corpus, tmp_path / "a")
    run(replace(corpus, utterances=table, features=features), tmp_path / "b")
    assert (tmp_path / "a" / "weights.safetensors").read_bytes() == (tmp_path / "b" / "weights.safetensors").read_bytes()
    assert said(tmp_path / "a").tolist() != said(tmp_path / "b").tolist()


# ---- refusals


@pytest.mark.parametrize("name", sorted(set(CHANGES) - LIMITS - {"class_weights"}))
def test_what_only_steps_would_heed_is_refused(name):
    word = {"lr_min": "lr_min=.0005"}.get(name, CHANGES[name][-1])
    for preset in ("logistic", "majority"):
        with pytest.raises(InputError, match=rf"^{preset}: expected training\.{name} = .*: this model is solved at once, without steps$"):
            load_settings(preset, [f"training.{word}"])


def test_limits_are_kept_anyway(corpus, tmp_path):
    words = tuple(f"training.{name}=2" for name in LIMITS)
    for name, some in (("plain", ()), ("limited", words)):
        run(corpus, tmp_path / name, words=some)
    assert said(tmp_path / "plain").tolist() == said(tmp_path / "limited").tolist()


def test_a_regression_that_does_not_end_and_one_that_can_not_begin(corpus, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    x, y = np.random.default_rng(0).standard_normal((40, 4)), np.arange(40) % 3
    with pytest.raises(DivergedError, match="features beyond what float32 can hold"):
        solve("logistic", LOGISTIC, np.where(x > 2, np.inf, x), y, 3)
    with pytest.raises(InputError, match=r"more than 1 steps: expected a greater model\.max_iter, or a smaller model\.C \(now 0\.1\)$"):
        run(corpus, tmp_path / "run", words=("model.max_iter=1",))
    assert list(tmp_path.iterdir()) == []
    assert_one_line(command("fit", "--preset", "logistic", "--set", "training.lr=.1"), "expected training.lr = 0.001, found 0.1")
