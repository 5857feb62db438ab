"""Settings of training: each does what it says, for every model, and the loop's own arithmetic by hand."""

from __future__ import annotations

import copy
import functools
import sys
from dataclasses import fields, replace
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
import torch
from helpers import REPRESENTATIVE, SMALL_SGRNET

from dgl_merc.corpus import Corpus, Scaling
from dgl_merc.corpus.synthetic import synthetic_corpus
from dgl_merc.errors import InputError
from dgl_merc.graphs import GraphSpec, structure_of
from dgl_merc.losses import class_weights, cross_entropy
from dgl_merc.models import MODELS, ModelInput, build_model
from dgl_merc.training import load_settings
from dgl_merc.training import loop as loop_module
from dgl_merc.training.data import DialogueData, draw_drops, fixed_drops
from dgl_merc.training.loop import Trainer
from dgl_merc.training.optimisation import learning_rate
from dgl_merc.training.settings import TrainingSettings

SIZE = {
    "bilstm": ("model.hidden=6",),
    "mglra": ("model.dim=8", "model.dynamics.share=0"),
    "sgrnet": SMALL_SGRNET,
}
TRAINED = [name for name in REPRESENTATIVE if not MODELS[name][0].solved]  # of the others, see test_linear.py
BASE = ("training.schedule=constant", "training.max_epochs=3", "training.batch_size=4", "training.lr=.01")

CHANGES: dict[str, tuple[str, ...]] = {
    "lr": ("lr=.02",),
    "weight_decay": ("weight_decay=.1",),
    "decay": ("weight_decay=.1", "decay=decoupled"),
    "schedule": ("schedule=cosine",),
    "lr_min": ("schedule=cosine", "lr_min=.009"),
    "restart_epochs": ("schedule=restarts", "restart_epochs=1"),
    "restart_growth": ("schedule=restarts", "restart_epochs=1", "restart_growth=2"),
    "warmup_steps": ("warmup_steps=5",),
    "batch_size": ("batch_size=5",),
    "batch_utterances": ("batch_utterances=10",),
    "max_epochs": ("max_epochs=4",),
    "max_steps": ("max_steps=4",),
    "eval_every": ("eval_every=2",),
    "clip": ("clip=.01",),
    "class_weights": ("class_weights=balanced",),
    "focal": ("focal=2",),
    "label_smoothing": ("label_smoothing=.2",),
    "averaging": ("averaging=ema",),
    "averaging_decay": ("averaging=ema", "averaging_decay=.5"),
    "averaging_from": ("averaging=ema", "averaging_from=2"),
    "modality_dropout": ("modality_dropout=.5",),
    "precision": ("precision=bf16-mixed",),
}


@pytest.fixture(scope="module")
def corpus() -> Corpus:
    return synthetic_corpus(0, (12, 4, 4), with_ceilings=False)


def trainer(corpus: Corpus, preset: str = "mglra", words: tuple[str, ...] = (), **options: Any) -> Trainer:
    settings = load_settings(preset, [*SIZE[preset], *BASE, *(f"training.{w}" for w in words)])
    spec = GraphSpec(tuple(corpus.modalities))
    torch.manual_seed(0)
    model = build_model(preset, ModelInput({m: v.width for m, v in corpus.modalities.items()}, 6, spec), settings.options)
    data = DialogueData(corpus, spec, Scaling.fit(corpus), "emotion")
    return Trainer(model, data, corpus.in_split("train"), corpus.in_split("dev"), settings.training, seed=0, **options)


def result(t: Trainer) -> tuple[list[tuple[float, ...]], dict[str, Any]]:
    trained = t.run()
    looks = [(e.epoch, e.step, e.loss, e.learning_rate, e.dev_weighted_f1) for e in trained.history]
    return looks, {k: v.clone() for k, v in t.model.state_dict().items()}


def same(a: Any, b: Any) -> bool:
    return a[0] == b[0] and all(torch.equal(a[1][k], b[1][k]) for k in a[1])


def test_every_setting_has_its_case():
    assert set(CHANGES) == {f.name for f in fields(TrainingSettings)} - {"patience"}


@pytest.fixture(scope="module")
def without(corpus: Corpus) -> Any:
    """What a training gives, made once: most settings are compared with the same."""
    return functools.cache(lambda preset, words: result(trainer(corpus, preset, words)))


@pytest.mark.parametrize("name", CHANGES)
@pytest.mark.parametrize("preset", TRAINED)
def test_every_setting_changes_training_of_every_model(corpus, without, preset, name):
    words = CHANGES[name]
    assert words[-1].startswith(name + "=")
    before = without(preset, words[:-1])
    after = result(trainer(corpus, preset, words))
    assert not same(before, after), "it does nothing"
    assert all(torch.isfinite(v).all() for v in after[1].values())
    assert same(result(trainer(corpus, preset, words)), after), "not the same again"


# ---- steps and looks


def test_looks_every_so_many_steps_and_at_the_end(corpus):
    t = trainer(corpus, words=("eval_every=2", "max_steps=7", "patience=99"))  # 3 steps an epoch
    looks = t.run().history
    assert [e.step for e in looks] == [2, 4, 6, 7]
    assert [e.epoch for e in looks] == pytest.approx([2 / 3, 4 / 3, 2, 7 / 3])
    assert [e.number for e in looks] == [1, 2, 3, 4]


def test_the_weights_do_not_depend_on_how_often_dev_is_looked_at(corpus):
    last: list[Any] = []
    for every in (1, 3, 7):
        t = trainer(corpus, words=(f"eval_every={every}", "max_steps=7", "patience=99"))
        t.on_look = lambda look, _best, model: (
            last.append({k: v.clone() for k, v in model.state_dict().items()}) if look.step == 7 else None
        )
        t.run()
    assert all(torch.equal(last[0][k], other[k]) for other in last[1:] for k in last[0])


def test_the_loss_of_a_look_is_the_mean_since_the_last_one(corpus):
    fine = trainer(corpus, words=("eval_every=1", "max_steps=6", "patience=99"))
    counts: list[int] = []
    step = fine._step

    def counted(batch: Any) -> None:
        counts.append(int((batch.labels >= 0).sum()))
        step(batch)

    fine._step = counted  # type: ignore[method-assign]
    looks = fine.run().history
    coarse = trainer(corpus, words=("eval_every=3", "max_steps=6", "patience=99")).run().history
    for k in range(2):
        part = slice(3 * k, 3 * k + 3)
        assert coarse[k].loss == pytest.approx(np.average([e.loss for e in looks[part]], weights=counts[part]))


def test_patience_counts_looks(corpus, monkeypatch):
    scripted = iter([10.0, 30.0, 20.0, 30.0, 99.0])
    monkeypatch.setattr(loop_module, "weighted_f1", lambda *_: next(scripted))
    trained = trainer(corpus, words=("eval_every=1", "patience=2", "max_epochs=9")).run()
    assert (trained.best.number, len(trained.history)) == (2, 4)


def test_the_rate_of_a_step_is_the_schedule_s(corpus):
    words = ("schedule=restarts", "restart_epochs=1", "warmup_steps=2", "eval_every=1", "patience=99", "lr_min=.001")
    t = trainer(corpus, words=words)
    rates: list[float] = []
    inner = t.optimiser.step

    def step(*args: Any, **options: Any) -> Any:
        rates.append(t.optimiser.param_groups[0]["lr"])
        return inner(*args, **options)

    t.optimiser.step = step  # type: ignore[method-assign]
    looks = t.run().history
    want = [learning_rate(t.settings, k, 3) for k in range(9)]
    assert rates == want == [e.learning_rate for e in looks]
    assert want[3] == 0.01 != want[4]


# ---- loss


def test_the_loss_is_weighted_by_training_labels_alone(corpus):
    t = trainer(corpus, words=("class_weights=balanced", "focal=1.5", "label_smoothing=.1", "max_steps=1", "modality_dropout=0"))
    train = corpus.labels("emotion")[np.repeat(corpus.splits == "train", corpus.lengths)]
    weights = class_weights(train, 6, "balanced")
    assert weights is not None
    assert torch.equal(t.class_weights, weights)
    twin, state = copy.deepcopy(t.model), torch.get_rng_state()
    order = np.random.default_rng(np.random.SeedSequence([0, 1])).permutation(corpus.in_split("train"))
    look = t.run().history[0]
    torch.set_rng_state(state)
    batch = t.data.batch(order[:4])
    twin.train()
    want = cross_entropy(twin(batch.structure, batch.features, step=0).logits, batch.labels, weights=weights, focal=1.5, smoothing=0.1)
    assert look.loss == pytest.approx(float(want.detach()))


def test_other_labels_of_dev_and_test_do_not_change_the_weights(corpus):
    table = corpus.utterances.copy()
    table.loc[table["split"] != "train", "emotion"] = "sad"
    other = replace(corpus, utterances=table)
    pair = [trainer(c, words=("class_weights=sqrt",)).class_weights for c in (corpus, other)]
    assert torch.equal(pair[0], pair[1])


# ---- precision


@pytest.mark.parametrize("preset", TRAINED)
def test_mixed_precision_is_of_training_alone(corpus, preset, monkeypatch):
    seen: dict[bool, set[bool]] = {True: set(), False: set()}
    losses: list[Any] = []
    t = trainer(corpus, preset, ("precision=bf16-mixed", "max_epochs=2"))
    inner = t.model.forward

    def forward(*args: Any, **given: Any) -> Any:
        seen[t.model.training].add(torch.is_autocast_enabled("cpu"))
        out = inner(*args, **given)
        losses.extend(out.losses.values())
        return out

    monkeypatch.setattr(t.model, "forward", forward)
    looks = t.run().history
    assert seen == {True: {True}, False: {False}}, "dev is predicted in float32"
    assert {loss.dtype for loss in losses} <= {torch.float32}
    assert {p.dtype for p in t.model.parameters()} == {p.grad.dtype for p in t.model.parameters() if p.grad is not None} == {torch.float32}
    plain = trainer(corpus, preset, ("max_epochs=2",)).run().history
    assert [e.loss for e in looks] == pytest.approx([e.loss for e in plain], rel=0.05)
    assert looks[0].loss != plain[0].loss


def test_fabric_is_imported_only_where_it_is_asked_for(corpus, monkeypatch):
    for name in [name for name in sys.modules if name.startswith("lightning_fabric")] or ["lightning_fabric"]:
        monkeypatch.setitem(sys.modules, name, None)  # an import of it fails
    trainer(corpus, words=("max_epochs=1",)).run()
    with pytest.raises(ImportError):
        trainer(corpus, words=("max_epochs=1", "precision=bf16-mixed"))


def test_what_a_precision_is_called():
    named = [load_settings("bilstm", [f"training.precision={text}"]).training.precision for text in ("32", '"32"', "bf16-mixed")]
    assert named == ["32", "32", "bf16-mixed"]
    with pytest.raises(InputError, match=r"training\.precision must be one of 32, bf16-mixed, found 16"):
        load_settings("bilstm", ["training.precision=16"])
    with pytest.raises(ValueError, match="precision must be one of 32, bf16-mixed, found 'bf16'"):
        TrainingSettings(precision="bf16")  # type: ignore[arg-type]


# ---- averages


@pytest.mark.parametrize("kind", ["ema", "mean"])
def test_dev_sees_the_average_of_the_weights(corpus, kind):
    words = (f"averaging={kind}", "averaging_decay=.6", "averaging_from=1", "eval_every=1", "max_epochs=3", "patience=99")
    plain: list[Any] = []
    t = trainer(corpus, words=words)
    inner = t.optimiser.step

    def step(*args: Any, **options: Any) -> Any:
        out = inner(*args, **options)
        plain.append({k: v.detach().clone() for k, v in t.model.state_dict().items()})
        return out

    t.optimiser.step = step  # type: ignore[method-assign]
    seen: list[Any] = []
    t.on_look = lambda _look, _best, model: seen.append({k: v.detach().clone() for k, v in model.state_dict().items()})
    trained = t.run()
    average: dict[str, Any] = {}
    for k, (weights, judged) in enumerate(zip(plain, seen, strict=True)):
        if k <= 3:  # the first epoch has three steps, then the first copy
            average = weights
        elif kind == "ema":
            average = {n: 0.6 * average[n] + 0.4 * weights[n] for n in weights}
        else:
            average = {n: average[n] + (weights[n] - average[n]) / (k - 2) for n in weights}
        for n in weights:
            torch.testing.assert_close(judged[n], average[n], rtol=1e-5, atol=1e-6)
    final, chosen = t.model.state_dict(), seen[trained.best.number - 1]
    assert all(torch.equal(final[n], chosen[n]) for n in final), "test must see what dev chose"


# ---- modalities taken away


def test_dropped_modalities_are_as_if_never_recorded(corpus):
    data = trainer(corpus).data
    rng = np.random.default_rng(0)
    drop = rng.random((len(corpus.utterances), 3)) < 0.4
    gone = replace(
        corpus,
        utterances=corpus.utterances.assign(**{f"has_{m}": corpus.presence[:, k] & ~drop[:, k] for k, m in enumerate(corpus.modalities)}),
        features={m: x[~drop[corpus.presence[:, k], k]] for k, (m, x) in enumerate(corpus.features.items())},
    )
    numbers = np.array([3, 0, 7])
    a = DialogueData(corpus, data.spec, data.scaling, "emotion", drop).batch(numbers)
    b = DialogueData(gone, data.spec, data.scaling, "emotion").batch(numbers)
    assert torch.equal(a.structure.presence, structure_of(gone, data.spec, numbers).presence)
    for m in corpus.modalities:
        assert torch.equal(a.features[m], b.features[m])
    whole = data.batch(numbers)
    assert a.structure.presence.sum() < whole.structure.presence.sum()
    for name in ("labels", "rows"):
        assert np.array_equal(getattr(a, name), getattr(whole, name))


@pytest.mark.parametrize("rate", [0.1, 0.5, 0.95])
def test_modality_dropout_leaves_one(rate):
    rng = np.random.default_rng(1)
    presence = rng.random((4000, 3)) < 0.7
    drop = draw_drops(presence, rate, rng)
    assert not (drop & ~presence).any(), "what is absent can't be dropped"
    left = presence & ~drop
    assert (left.any(axis=1) == presence.any(axis=1)).all()
    several = presence.sum(axis=1) == 3
    share = drop[several].mean()
    assert share == pytest.approx(rate - rate**3 / 3, abs=0.02), "but for the one that stays, each goes with the rate"
    kept = left[several & (left.sum(axis=1) == 1)].mean(axis=0)
    assert kept == pytest.approx([1 / 3] * 3, abs=0.07), "which one stays is drawn too"
    assert not draw_drops(presence, 0.0, rng).any()


def test_modality_dropout_is_a_function_of_seed_and_step_and_only_of_training(corpus, monkeypatch):
    seen: dict[int, list[Any]] = {}
    states: list[int] = []

    def drawn(presence: Any, rate: float, rng: Any) -> Any:
        states.append(rng.bit_generator.state["state"]["state"])
        return draw_drops(presence, rate, rng)

    monkeypatch.setattr(loop_module, "draw_drops", drawn)
    t = trainer(corpus, words=("modality_dropout=.4", "max_epochs=2"))
    inner = t.model.forward

    def forward(structure: Any, features: Any, *, step: int = -1, **given: Any) -> Any:
        if t.model.training:
            seen.setdefault(step, []).append(structure.presence.clone())
        else:
            keys = structure.keys.numpy()
            whole = structure_of(corpus, structure.spec, keys).presence
            assert torch.equal(structure.presence, whole), "dev must be seen as it is"
        return inner(structure, features, step=step, **given)

    monkeypatch.setattr(t.model, "forward", forward)
    t.run()
    assert sorted(seen) == [0, 1, 2, 3, 4, 5]
    assert len(set(states)) == len(states) == 6, "each step takes others away"
    shares = [float(p[0].float().mean()) for p in seen.values()]
    assert max(shares) < corpus.presence.mean()
    first = {k: v[0] for k, v in seen.items()}
    seen.clear()
    again = trainer(corpus, words=("modality_dropout=.4", "max_epochs=2"))
    inner = again.model.forward
    t = again
    monkeypatch.setattr(again.model, "forward", forward)
    again.run()
    assert all(torch.equal(first[k], seen[k][0]) for k in first)


def test_fixed_masks_are_nested_and_the_same_whoever_asks(corpus):
    names = ("text", "audio", "visual")
    masks = [fixed_drops(corpus, names, {"audio": r}, 3)[:, 1] for r in (0.0, 0.1, 0.4, 0.7, 1.0)]
    assert [bool(m.any()) for m in masks[:1]] == [False]
    assert masks[-1].all()
    for a, b in pairwise(masks):
        assert not (a & ~b).any()
        assert a.sum() < b.sum()
    assert masks[2].mean() == pytest.approx(0.4, abs=0.08)
    assert np.array_equal(fixed_drops(corpus, ("audio",), {"audio": 0.4}, 3)[:, 0], masks[2]), "other modalities do not matter"
    both = fixed_drops(corpus, names, {"audio": 0.4, "text": 0.4}, 3)
    assert np.array_equal(both[:, 1], masks[2])
    assert not np.array_equal(both[:, 0], both[:, 1]), "modalities go independently"
    assert not np.array_equal(fixed_drops(corpus, names, {"audio": 0.4}, 4)[:, 1], masks[2])
