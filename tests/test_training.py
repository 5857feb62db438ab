"""Metrics against scikit-learn and by hand, and the protocol: what may influence training and the choice of the epoch, and what may not."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from helpers import SMALL_SGRNET
from sklearn import metrics as sk

from dgl_merc.corpus import Corpus, Scaling
from dgl_merc.corpus.synthetic import synthetic_corpus
from dgl_merc.errors import InputError
from dgl_merc.evaluation.metrics import evaluate, weighted_f1
from dgl_merc.graphs import GraphSpec
from dgl_merc.models import ModelInput, build_model
from dgl_merc.training import fit, load_settings
from dgl_merc.training import loop as loop_module
from dgl_merc.training import prediction as prediction_module
from dgl_merc.training.data import DialogueData
from dgl_merc.training.loop import Trainer
from dgl_merc.training.prediction import predict
from dgl_merc.training.task import choose_target

pytestmark = pytest.mark.usefixtures("unpainted")

SMALL = {
    "mglra": ["model.dim=8", "training.max_epochs=4", "training.batch_size=4", "training.lr=.01"],
    "sgrnet": [
        *SMALL_SGRNET,
        *("training.max_epochs=3", "training.batch_size=4", "training.lr=.01"),
    ],
    "bilstm": ["model.hidden=6", "training.max_epochs=3", "training.batch_size=5", "training.lr=.02"],
}


# ---- metrics


def test_metrics_by_hand():
    labels = np.array([0, 0, 0, 1, 1, -1, -1, 0])
    predicted = np.array([0, 1, 0, 1, 1, 3, 0, 3])
    got = evaluate(labels, predicted, ("joy", "fear", "calm", "rage"))
    assert got["utterances"] == 6
    assert got["confusion"] == [[2, 1, 0, 1], [0, 2, 0, 0], [0, 0, 0, 0], [0, 0, 0, 0]], "true classes stand in rows"
    assert got["accuracy"] == pytest.approx(100 * 4 / 6)
    f1 = {"joy": 2 * 1 * 0.5 / 1.5, "fear": 2 * (2 / 3) / (5 / 3)}
    assert got["weighted_f1"] == pytest.approx(100 * (4 * f1["joy"] + 2 * f1["fear"]) / 6)
    assert got["macro_f1"] == pytest.approx(100 * (f1["joy"] + f1["fear"]) / 2), "over the classes with support"
    assert got["per_class"]["joy"] == pytest.approx({"support": 4, "accuracy": 50.0, "precision": 100.0, "f1": 100 * f1["joy"]})
    assert got["per_class"]["rage"] == {"support": 0, "accuracy": None, "precision": 0.0, "f1": 0.0}


@pytest.mark.parametrize("seed", range(4))
def test_metrics_are_scikit_learn_s(seed):
    rng = np.random.default_rng(seed)
    labels, predicted = rng.integers(-1, 5, 80), rng.integers(0, 5, 80)
    known = labels >= 0
    y, z = labels[known], predicted[known]
    got = evaluate(labels, predicted, tuple("abcde"))
    assert got["weighted_f1"] == pytest.approx(100 * sk.f1_score(y, z, average="weighted"))
    assert got["weighted_f1"] == weighted_f1(labels, predicted)
    assert got["macro_f1"] == pytest.approx(100 * sk.f1_score(y, z, average="macro"))
    assert got["confusion"] == sk.confusion_matrix(y, z).tolist()
    waa = sum(row["accuracy"] * row["support"] for row in got["per_class"].values()) / got["utterances"]
    assert waa == pytest.approx(got["accuracy"]), "SGRNet's WAA is accuracy"


def test_metrics_of_nothing_labelled():
    assert np.isnan(weighted_f1(np.array([-1, -1]), np.array([0, 1])))
    assert evaluate(np.array([-1]), np.array([0]), ("a", "b")) == {
        "utterances": 0,
        "accuracy": None,
        "weighted_f1": None,
        "macro_f1": None,
        "per_class": {},
        "confusion": [],
    }


# ---- the protocol


@pytest.fixture(scope="module")
def corpus() -> Corpus:
    return synthetic_corpus(0, (12, 4, 4), with_ceilings=False)


def run(corpus: Corpus, out: Path, preset: str = "mglra", seed: int = 0, words: tuple[str, ...] = (), **options: Any) -> dict[str, Any]:
    spec = GraphSpec(tuple(corpus.modalities))
    return fit(corpus, spec, load_settings(preset, [*SMALL[preset], *words], seed), out, **options)


def history(out: Path) -> list[dict[str, Any]]:
    return [{k: v for k, v in e.items() if k != "seconds"} for e in json.loads((out / "history.json").read_text())["looks"]]


def weights(out: Path) -> bytes:
    return (out / "weights.safetensors").read_bytes()


def in_split(corpus: Corpus, split: str) -> Any:
    return (corpus.utterances["split"] == split).to_numpy()


def with_features(corpus: Corpus, split: str, change: Any) -> Corpus:
    """change(modality, rows of the split, their utterances' rows) -> new rows."""
    features = {}
    for k, (m, x) in enumerate(corpus.features.items()):
        rows = np.flatnonzero(corpus.presence[:, k])
        mine = in_split(corpus, split)[rows]
        features[m] = x.copy()
        features[m][mine] = change(m, x[mine], rows[mine])
    return replace(corpus, features=features)


def with_labels(corpus: Corpus, split: str, labels: Any) -> Corpus:
    table = corpus.utterances.copy()
    table.loc[in_split(corpus, split), "emotion"] = labels
    return replace(corpus, utterances=table)


@pytest.mark.parametrize("preset", SMALL)
def test_nothing_of_test_reaches_training_or_selection(corpus, tmp_path, preset):
    rng = np.random.default_rng(0)
    names = corpus.targets["emotion"].labels
    garbage = with_features(corpus, "test", lambda _m, x, _rows: (1e4 * rng.standard_normal(x.shape)).astype(np.float32))
    garbage = with_labels(garbage, "test", rng.choice(names, int(in_split(corpus, "test").sum())))
    onehot = np.eye(len(names) + 1, dtype=np.float32)[corpus.labels("emotion")] * 50

    def leak(_m: str, x: Any, rows: Any) -> Any:
        return np.concatenate([onehot[rows], x[:, onehot.shape[1] :]], axis=1)

    unlabelled = with_labels(corpus, "test", None)
    variants = {"as it is": corpus, "garbage": garbage, "planted": with_features(corpus, "test", leak), "unlabelled": unlabelled}
    words = ("data.reduce=20,visual:9",)
    found = {name: run(c, tmp_path / name, preset, words=words, oracle=name in ("garbage", "planted")) for name, c in variants.items()}
    before = found.pop("as it is")
    oracles = [
        [e["test_weighted_f1"] for e in json.loads((tmp_path / n / "oracle.json").read_text())["looks"]] for n in ("garbage", "planted")
    ]
    assert oracles[0] != oracles[1], "vacuous: the oracle saw nothing"
    for name, metrics in found.items():
        assert history(tmp_path / name) == history(tmp_path / "as it is"), name
        assert weights(tmp_path / name) == weights(tmp_path / "as it is"), name
        assert metrics["chosen_epoch"] == before["chosen_epoch"]
        for split in ("train", "dev"):
            assert metrics["splits"][split] == before["splits"][split], f"{name}: {split}"
        scaling = [(tmp_path / n / "scaling.safetensors").read_bytes() for n in (name, "as it is")]
        assert scaling[0] == scaling[1], name
    assert found["garbage"]["splits"]["test"] != before["splits"]["test"], "vacuous: test was not changed"


def test_dev_chooses_and_does_not_train(corpus, tmp_path):
    """Other dev labels: the same weights after every epoch, but another choice and other scores."""
    rng = np.random.default_rng(1)
    other = with_labels(corpus, "dev", rng.choice(corpus.targets["emotion"].labels, int(in_split(corpus, "dev").sum())))
    for name, c in (("a", corpus), ("b", other)):
        run(c, tmp_path / name)
    losses, scores = ([[e[key] for e in history(tmp_path / n)] for n in "ab"] for key in ("loss", "dev_weighted_f1"))
    assert losses[0] == losses[1]
    assert scores[0] != scores[1]


@pytest.mark.parametrize("preset", SMALL)
def test_the_same_seed_gives_the_same_weights_and_another_others(corpus, tmp_path, preset):
    for name, seed in (("a", 3), ("b", 3), ("c", 4)):
        torch.rand(17)  # the state of the generator outside does not matter
        run(corpus, tmp_path / name, preset, seed)
    assert weights(tmp_path / "a") == weights(tmp_path / "b")
    assert history(tmp_path / "a") == history(tmp_path / "b")
    assert weights(tmp_path / "a") != weights(tmp_path / "c")


def parts(corpus: Corpus, words: tuple[str, ...] = ()) -> tuple[Any, DialogueData, Any]:
    spec, settings = GraphSpec(tuple(corpus.modalities)), load_settings("mglra", [*SMALL["mglra"], *words])
    torch.manual_seed(0)
    model = build_model("mglra", ModelInput({m: v.width for m, v in corpus.modalities.items()}, 6, spec), settings.options)
    return model, DialogueData(corpus, spec, Scaling.fit(corpus), "emotion"), settings.training


def test_the_first_best_epoch_is_chosen_its_weights_stay_and_patience_ends_it(corpus, monkeypatch):
    scripted = iter([10.0, 30.0, 20.0, 30.0, 30.0, 99.0])
    monkeypatch.setattr(loop_module, "weighted_f1", lambda *_: next(scripted))
    model, data, settings = parts(corpus, ("training.max_epochs=9", "training.patience=3"))
    states = []

    def keep(epoch: Any, best: Any, seen: Any) -> None:
        assert seen is model
        assert not model.training
        assert epoch.epoch == epoch.number == len(states) + 1
        assert best.epoch == (1 if epoch.epoch == 1 else 2)
        states.append({k: v.clone() for k, v in model.state_dict().items()})

    trained = Trainer(model, data, corpus.in_split("train"), corpus.in_split("dev"), settings, seed=0, on_look=keep).run()
    assert [e.dev_weighted_f1 for e in trained.history] == [10, 30, 20, 30, 30]
    assert (trained.best.epoch, trained.best) == (2, trained.history[1])
    now = model.state_dict()
    assert all(torch.equal(v, states[1][k]) for k, v in now.items())
    assert any(not torch.equal(v, states[-1][k]) for k, v in now.items())


def test_the_chosen_weights_give_the_chosen_score(corpus):
    model, data, settings = parts(corpus, ("training.max_epochs=6",))
    dev = corpus.in_split("dev")
    trained = Trainer(model, data, corpus.in_split("train"), dev, settings, seed=0).run()
    scores, rows, _ = predict(model, data, dev)
    assert weighted_f1(data.labels[rows], scores.argmax(1)) == trained.best.dev_weighted_f1
    best = max(e.dev_weighted_f1 for e in trained.history)
    assert trained.best == next(e for e in trained.history if e.dev_weighted_f1 == best)
    assert len({e.loss for e in trained.history}) == len(trained.history)
    assert trained.history[-1].loss < trained.history[0].loss


def test_prediction_is_in_the_order_of_the_corpus_whatever_was_asked(corpus, monkeypatch):
    model, data, _ = parts(corpus)
    model.train()
    scores, rows, _ = predict(model, data, np.array([7, 2, 9, 0]))
    assert not model.training
    assert rows.tolist() == sorted(rows.tolist())
    assert set(rows) == {r for d in (7, 2, 9, 0) for r in range(corpus.offsets[d], corpus.offsets[d + 1])}
    np.testing.assert_allclose(scores.sum(1), 1, atol=1e-6)
    monkeypatch.setattr(prediction_module, "_EVALUATION_BATCH", 1)
    alone, same, _ = predict(model, data, np.array([0, 2, 7, 9]))
    assert np.array_equal(same, rows)
    np.testing.assert_allclose(alone, scores, atol=1e-5)
    assert [len(part) for part in predict(model, data, np.array([], dtype=np.int64))] == [0, 0, 0]


def test_the_loss_is_the_mean_over_labelled_utterances(corpus):
    model, data, settings = parts(
        corpus, ("training.max_epochs=1", "training.lr=1e-30", "model.dropout=0", "model.gcn.rate=0", "model.dynamics.share=0")
    )
    train_ = corpus.in_split("train")
    trained = Trainer(model, data, train_, corpus.in_split("dev"), settings, seed=0).run()
    scores, rows, _ = predict(model, data, train_)
    labels = data.labels[rows]
    known = labels >= 0
    assert 0 < known.sum() < len(known)
    assert trained.best.loss == pytest.approx(-np.log(scores[known, labels[known]]).mean(), abs=1e-4)


def test_training_goes_over_batches_without_labels(corpus, tmp_path):
    table = corpus.utterances.copy()
    table.loc[table["dialogue_id"].isin(corpus.dialogue_ids[1:11]), "emotion"] = None
    assert run(replace(corpus, utterances=table), tmp_path / "a", words=("training.batch_size=1",))["epochs"] == 4


def test_steps_are_counted_over_epochs(corpus, monkeypatch):
    model, data, settings = parts(corpus, ("training.max_epochs=2", "training.batch_size=5"))
    seen: list[int] = []
    monkeypatch.setattr(model, "forward", _counted(model, model.forward, seen))
    Trainer(model, data, corpus.in_split("train"), corpus.in_split("dev"), settings, seed=0).run()
    assert seen == [0, 1, 2, 3, 4, 5], "the mask of a step must not come again in the next epoch"


def _counted(model: Any, forward: Any, seen: list[int]) -> Any:
    def counting(*args: Any, step: int = 0, **given: Any) -> Any:
        if model.training:
            seen.append(step)
        return forward(*args, step=step, **given)

    return counting


@pytest.mark.parametrize("kind", ["standard", "none"])
def test_a_batch_is_the_scaled_rows_of_its_dialogues(corpus, kind):
    spec = GraphSpec(("visual", "text"))
    data = DialogueData(corpus, spec, Scaling.fit(corpus, kind), "emotion")
    batch = data.batch(np.array([5, 2]))
    train_ = np.repeat(corpus.splits == "train", corpus.lengths)
    names = list(corpus.targets["emotion"].labels)
    felt = [e for d in (5, 2) for e in corpus.dialogue(d).utterances["emotion"]]
    assert batch.labels.tolist() == [-1 if pd.isna(e) else names.index(e) for e in felt]
    assert batch.rows.tolist() == [r for d in (5, 2) for r in range(corpus.offsets[d], corpus.offsets[d + 1])]
    assert batch.structure.keys.tolist() == [5, 2]
    for k, m in enumerate(corpus.modalities):
        if m in spec.modalities:
            x = np.concatenate([corpus.dialogue(d).features[m] for d in (5, 2)])
            if kind == "standard":
                seen = np.asarray(corpus.features[m], dtype=np.float64)[train_[corpus.presence[:, k]]]
                x = (x - seen.mean(0)) / seen.std(0)
            np.testing.assert_allclose(batch.features[m].numpy(), x, rtol=0, atol=1e-4 if kind == "standard" else 0)
            assert batch.structure.sizes[m] == len(x)
    assert list(batch.features) == ["visual", "text"]


# ---- what can't be trained on


def test_a_loss_that_is_not_finite_is_said(corpus, tmp_path):
    with pytest.raises(InputError, match=r"epoch \d: the loss is nan; lower training.lr \(now 1e\+30\)"):
        run(corpus, tmp_path / "out", words=("training.lr=1e30", "training.clip=0"))
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda c: part(c, ("dev", "test")), "no training utterance"),
        (lambda c: with_labels(c, "train", None), "no utterance of the training split is labelled"),
        (lambda c: with_labels(c, "dev", None), "no utterance of the dev split is labelled"),
    ],
    ids=["no training", "unlabelled training", "unlabelled dev"],
)
def test_corpora_that_cannot_be_learnt(corpus, tmp_path, change, said):
    with pytest.raises(InputError, match=said):
        run(change(corpus), tmp_path / "out")
    assert list(tmp_path.iterdir()) == [], "a run that fails leaves nothing"


def part(corpus: Corpus, splits: tuple[str, ...]) -> Corpus:
    keep = corpus.utterances["split"].isin(splits).to_numpy()
    features = {m: x[keep[corpus.presence[:, k]]] for k, (m, x) in enumerate(corpus.features.items())}
    return Corpus.build(corpus.name, corpus.utterances[keep], features, corpus.targets)


def test_a_corpus_without_test_is_fitted(corpus, tmp_path, painted):
    metrics = run(part(corpus, ("train", "dev")), tmp_path / "out")
    assert list(metrics["splits"]) == ["train", "dev"]


def test_targets(corpus):
    assert choose_target(corpus) == "emotion"
    renamed = Corpus.build("x", corpus.utterances.rename(columns={"emotion": "mood"}), corpus.features, {"mood": corpus.targets["emotion"]})
    assert choose_target(renamed) == "mood"
    both = pd.DataFrame(renamed.utterances.assign(tone=renamed.utterances["mood"]))
    two = Corpus.build("x", both, corpus.features, {"mood": corpus.targets["emotion"], "tone": corpus.targets["emotion"]})
    assert choose_target(two, "tone") == "tone"
    with pytest.raises(InputError, match=r"found mood, tone; pass --set data\.target=NAME"):
        choose_target(two)
    with pytest.raises(InputError, match="no target 'joy'; there are emotion"):
        choose_target(corpus, "joy")


@pytest.mark.parametrize("words", [("data.modalities=smell",), ("data.target=joy",), ("graph.window=-1",)])
def test_settings_that_do_not_fit_the_corpus(corpus, tmp_path, words):
    with pytest.raises(InputError):
        run(corpus, tmp_path / "out", words=words)
    assert list(tmp_path.iterdir()) == []


def test_scaling_looks_only_at_the_modalities_used():
    corpus = synthetic_corpus(3, dialogues=(4, 2, 2), with_ceilings=False)
    assert set(Scaling.fit(corpus, "standard", ("audio",)).mean) == {"audio"}
