"""Settings: presets, ``--set`` words, and one sentence for everything that is not a setting."""

from __future__ import annotations

import math
from dataclasses import dataclass, fields
from typing import Any

import pytest

from dgl_merc.errors import InputError
from dgl_merc.models import MODELS, options_of
from dgl_merc.settings import assign, check_range, from_table, merge
from dgl_merc.training import Settings, load_settings, preset_names
from dgl_merc.training.settings import DataSettings, GraphSettings, TrainingSettings


@pytest.mark.parametrize("name", preset_names())
def test_every_preset_loads(name):
    settings = load_settings(name)
    assert settings.preset == name
    assert isinstance(settings.options, options_of(settings.model))
    assert settings == load_settings(name), "settings are values"


def test_every_model_has_a_preset():
    assert {load_settings(name).model for name in preset_names()} == set(MODELS)


@pytest.mark.parametrize("model", MODELS)
def test_every_setting_is_said_and_has_a_default(model):
    for cls in (options_of(model), DataSettings, GraphSettings, TrainingSettings):
        cls()
        for field in fields(cls):
            assert f"\n        {field.name}: " in cls.__doc__, f"{cls.__name__}.{field.name} is not in the docstring"


WORDS: list[tuple[str, Any]] = [
    ("model.dim=64", lambda s: s.options.dim == 64),
    ("model.gcn.rate=.5", lambda s: s.options.gcn.rate == 0.5),
    ("model.gcn.rate=1", lambda s: s.options.gcn.rate == 1.0 and isinstance(s.options.gcn.rate, float)),
    ("model.gcn.mask=both", lambda s: s.options.gcn.mask == "both"),
    ('model.gcn.mask="both"', lambda s: s.options.gcn.mask == "both"),
    ("model.residual=false", lambda s: s.options.residual is False),
    ("training.lr=5e-4", lambda s: s.training.lr == 0.0005),
    (" training.lr = 2 ", lambda s: s.training.lr == 2.0),
    ("data.modalities=text, audio", lambda s: s.data.modalities == ("text", "audio")),
    ('data.modalities=["text"]', lambda s: s.data.modalities == ("text",)),
    ("graph.causal=true", lambda s: s.graph.causal is True),
    ("graph.window=3", lambda s: s.graph.window == 3),
    ("graph.past=3", lambda s: s.graph.past == 3),
    ("graph.future=0", lambda s: s.graph.future == 0),
    ("data.target=mood", lambda s: s.data.target == "mood"),
    ("data.target=a=b", lambda s: s.data.target == "a=b"),
]


@pytest.mark.parametrize(("word", "holds"), WORDS, ids=[w for w, _ in WORDS])
def test_a_word_changes_one_setting(word, holds):
    plain, changed = load_settings("mglra"), load_settings("mglra", [word])
    assert holds(changed)
    parts = [f.name for f in fields(Settings) if getattr(plain, f.name) != getattr(changed, f.name)]
    assert len(parts) == 1, parts


def test_later_words_win_and_the_preset_stands_elsewhere():
    settings = load_settings("mglra", ["training.lr=.1", "model.gcn.layers=1", "training.lr=.2"], seed=9)
    assert (settings.training.lr, settings.options.gcn.layers, settings.seed) == (0.2, 1, 9)
    assert settings.training.max_epochs == load_settings("mglra").training.max_epochs
    assert settings.to_json()["options"]["gcn"]["layers"] == 1


FAULTS = {
    "training.lrr=1": "no setting training.lrr; did you mean training.lr?",
    "model.gcn.ratio=.5": "no setting model.gcn.ratio; did you mean model.gcn.rate?",
    "training.xyzzy=1": "no setting training.xyzzy; there are training.lr, training.weight_decay",
    "trainig.lr=1": "--set trainig: no such table of settings; there are model, data, graph and training",
    "preset=x": "no such table of settings",
    "lr": "--set lr: expected key=value",
    "=1": "expected key=value",
    "training.lr=fast": "training.lr must be of kind float, found 'fast'",
    "training.lr=true": "training.lr must be of kind float, found True",
    "training.lr=": "training.lr must be of kind float, found ''",
    "training.lr=[1]": "training.lr must be of kind float",
    "training.batch_size=1.5": "training.batch_size must be of kind int, found 1.5",
    "training.batch_size=true": "training.batch_size must be of kind int, found True",
    "model.residual=1": "model.residual must be of kind bool, found 1",
    "model.gcn.mask=some": "model.gcn.mask must be one of edges, nodes, both, found 'some'",
    "model.gcn=1": "model.gcn is a table of settings, found 1; set model.gcn.<name>",
    "model=bilstm": "model is a table of settings; set model.<name> (models are chosen by --preset",
    "graph.cross=all": "graph.cross must be one of dialogue, utterance, none",
    "graph.window=wide": "graph.window must be of kind int",
    "data.modalities=3": "data.modalities must be a list of words, found 3",
    "data.scaling=robust": "data.scaling must be one of",
    "training.lr=0": "training.lr must be greater than 0 and finite, found 0",
    "training.lr=nan": "training.lr must be greater than 0 and finite, found nan",
    "training.lr=inf": "training.lr must be greater than 0 and finite, found inf",
    "training.lr=.1\ntraining.clip=1": "training.lr must be of kind float",
    "training.lr=.1#2": "training.lr must be of kind float, found '.1#2'",
    "training.batch_size=0": "training.batch_size must be greater than 0",
    "training.max_epochs=-1": "training.max_epochs must be greater than 0",
    "training.patience=0": "training.patience must be greater than 0",
    "training.clip=-1": "training.clip must be at least 0",
    "training.weight_decay=-1": "training.weight_decay must be at least 0",
    "model.dropout=1.5": "model.dropout must be from 0 to 1",
    "model.dim=0": "model.dim must be at least 1",
    "model.gcn.rate=2": "model.gcn.rate must be from 0 to 1",
    "model.gcn.layers=-1": "model.gcn.layers must be at least 0",
    "model.gcn.aleph=-1": "model.gcn.aleph must be from 0",
    f"training.batch_size={'9' * 5000}": "training.batch_size must be of kind int",
}


@pytest.mark.parametrize("word", FAULTS, ids=[w[:30] for w in FAULTS])
def test_a_wrong_word_is_one_sentence(word):
    with pytest.raises(InputError) as error:
        load_settings("mglra", [word])
    assert FAULTS[word] in str(error.value)
    assert "\n" not in str(error.value)


def test_a_key_below_a_value():
    with pytest.raises(InputError, match="lr is a value, not a table"):
        load_settings("mglra", ["training.lr=1", "training.lr.fast=2"])


@pytest.mark.parametrize("name", ["mglr", "", "../presets/mglra", "mglra.toml"])
def test_an_unknown_preset_names_those_there_are(name):
    with pytest.raises(InputError, match=r"no preset .*bilstm, .*mglra"):
        load_settings(name)


@pytest.mark.parametrize("seed", [-1, 1 << 32])
def test_a_seed_out_of_bounds(seed):
    with pytest.raises(InputError, match="--seed must be from 0"):
        load_settings("mglra", seed=seed)


@dataclass(frozen=True)
class Inner:
    words: tuple[str, ...] = ()
    maybe: int | None = 3


@dataclass(frozen=True)
class Outer:
    inner: Inner = Inner()
    size: int = 1

    def __post_init__(self) -> None:
        if self.size > 5:
            raise ValueError("size must be at most 5")


def test_tables_become_dataclasses():
    assert from_table(Outer, {"inner": {"words": "a, b,", "maybe": None}, "size": 2}, "x") == Outer(Inner(("a", "b"), None), 2)
    assert from_table(Outer, {}, "x") == Outer()
    with pytest.raises(InputError, match=r"^here: top\.size must be at most 5$"):
        from_table(Outer, {"size": 6}, "here", "top.")
    with pytest.raises(InputError, match=r"inner\.maybe must be of kind int"):
        from_table(Outer, {"inner": {"maybe": "x"}}, "here")


def test_merging_and_assigning_leave_the_base_alone():
    base = {"a": {"b": 1, "c": 2}, "d": 3}
    assert merge(base, {"a": {"b": 9}, "e": 4}) == {"a": {"b": 9, "c": 2}, "d": 3, "e": 4}
    assert base == {"a": {"b": 1, "c": 2}, "d": 3}
    table: dict[str, Any] = {}
    for word in ("a.b=1", "a.c=two words", "d=-.5"):
        assign(table, word)
    assert table == {"a": {"b": 1, "c": "two words"}, "d": "-.5"}


@dataclass(frozen=True)
class Number:
    x: float


@pytest.mark.parametrize(
    ("least", "most", "fits", "others", "said"),
    [
        (1, None, (1, 2, math.inf), (0, math.nan), "at least 1"),
        (0.001, math.inf, (0.001, 5), (0, math.inf, math.nan), "at least 0.001 and finite"),
        (0, 1, (0, 0.5, 1), (-0.1, 1.1, math.inf, math.nan), "from 0 to 1"),
    ],
)
def test_numbers_of_a_range(least, most, fits, others, said):
    for value in fits:
        check_range(Number(value), least, "x", most=most)
    for value in others:
        with pytest.raises(ValueError, match=f"^x must be {said}, found {value}$"):
            check_range(Number(value), least, "x", most=most)
