"""Trials: the preset, then settings from a space of its own, by one sampler for all; every fault of a ``[search]`` table is one line."""

from __future__ import annotations

import itertools
import math
from pathlib import Path

import pytest

from dgl_merc.errors import InputError
from dgl_merc.settings import flat_settings
from dgl_merc.studies.search import draw_trials, search_space
from dgl_merc.training import settings as settings_module
from dgl_merc.training.settings import load_settings, preset_names

SPACE = '"training.lr" = [0.001, 0.003, 0.01]\n"model.dropout" = [0.3, 0.5]\n"training.decay" = ["l2", "decoupled"]\n'


@pytest.fixture
def presets(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder of presets, in which a test writes its own."""
    monkeypatch.setattr(settings_module, "_folder", lambda: tmp_path)
    return tmp_path


def written(folder: Path, search: str, name: str = "mine") -> str:
    (folder / f"{name}.toml").write_text(f'model = "bilstm"\n[training]\nlr = 0.001\n{search}')
    return name


@pytest.mark.parametrize("preset", preset_names())
def test_every_preset_can_be_searched(preset):
    space, trials = search_space(preset), draw_trials(preset, (), 6)
    assert trials[0] == ()
    settings = [load_settings(preset, words) for words in trials]
    assert all(a != b for a, b in itertools.combinations(settings, 2)), "a trial is there twice"
    for words in trials[1:]:
        assert [word.partition("=")[0] for word in words] == list(space)
    own = dict(flat_settings(load_settings(preset).to_json()))
    assert all(own[key] in values for key, values in space.items()), "the preset lies outside of its own space"


def test_trials_are_all_combinations_once_and_the_first_of_many_are_those_of_few(presets):
    name = written(presets, f"[search]\n{SPACE}")
    every = draw_trials(name, (), 100)
    found = {(s.training.lr, s.options.dropout, s.training.decay) for s in (load_settings(name, words) for words in every)}
    assert len(every) == len(found) == 3 * 2 * 2
    assert found == set(itertools.product((0.001, 0.003, 0.01), (0.3, 0.5), ("l2", "decoupled")))
    for few in (1, 2, 7):
        assert draw_trials(name, (), few) == every[:few]
    assert every[1:] != sorted(every[1:]), "not drawn, but counted"


def test_the_sampler_is_the_same_for_all(presets):
    a, b = written(presets, f"[search]\n{SPACE}", "a"), written(presets, f"[search]\n{SPACE}", "b")
    assert draw_trials(a, (), 9) == draw_trials(b, (), 9) == draw_trials(b, ("data.modalities=text",), 9)


def test_what_is_set_for_all_is_not_searched(presets):
    name = written(presets, f"[search]\n{SPACE}")
    for word in ("training.lr=0.02", "training={lr=0.02}"):
        assert set(search_space(name, (word,))) == {"model.dropout", "training.decay"}
        trials = draw_trials(name, (word,), 100)
        assert {load_settings(name, [word, *words]).training.lr for words in trials} == {0.02}
        assert len(trials) == 2 * 2


def test_a_preset_without_a_table_has_the_common_space_and_an_empty_table_none(presets):
    space = search_space(written(presets, ""))
    assert space["training.lr"] == (0.000333, 0.001, 0.003)
    assert set(space) == {"training.lr", "training.weight_decay", "model.dropout"}
    assert load_settings("mine").training.weight_decay in space["training.weight_decay"]
    assert load_settings("mine").options.dropout in space["model.dropout"]
    assert search_space(written(presets, "lr_min = 0.0005\n"))["training.lr"] == (0.001, 0.003)
    assert draw_trials(written(presets, "[search]\n"), (), 5) == [()]
    (presets / "solved.toml").write_text('model = "logistic"\n')
    assert search_space("solved") == {}, "what is solved has no steps to set"


def test_the_spaces_of_what_is_trained_are_about_as_large():
    sizes = {name: math.prod(map(len, search_space(name).values())) for name in preset_names() if not name.endswith("-paper")}
    assert {name for name, size in sizes.items() if size == 1} == {"majority"}
    assert sizes.pop("logistic") == 7
    assert all(30 <= size <= 100 for name, size in sizes.items() if name != "majority"), sizes


FAULTS = {
    "[search]\n'training.lrr' = [1.0]": "preset mine, [search], training.lrr = 1.0: preset mine with --set: no setting training.lrr; did you mean",
    "[search]\n'training.lr' = ['fast']": "preset mine, [search], training.lr = 'fast': preset mine with --set: training.lr must be of kind float",
    "[search]\n'training.lr' = [-1.0]": "training.lr = -1.0: preset mine with --set: training.lr must be greater than 0",
    "[search]\n'training.lr' = 0.1": "preset mine, [search], training.lr: expected a list of values, found 0.1",
    "[search]\n'training.lr' = []": "preset mine, [search], training.lr: expected a list of values, found []",
    "[search]\n'training.lr' = [[0.1]]": "preset mine, [search], training.lr: expected a list of values, found [[0.1]]",
    "[search]\n'training.lr' = [1, 1.0]": "preset mine, [search], training.lr: expected every value once, found [1, 1.0]",
    "[search]\n'data.scaling' = ['none']": "preset mine, [search], data.scaling: expected a setting of the model or of training",
    "[search]\n'graph.causal' = [true]": "preset mine, [search], graph.causal: expected a setting of the model or of training",
}


@pytest.mark.parametrize("table", FAULTS)
def test_faults_of_a_table(presets, table):
    name = written(presets, table)
    with pytest.raises(InputError) as error:
        draw_trials(name, (), 2)
    assert FAULTS[table] in str(error.value)
    assert "\n" not in str(error.value)
    assert load_settings(name).training.lr == 0.001, "other commands have no use for the table"


def test_a_table_that_is_none_and_values_that_exclude_each_other(presets):
    (presets / "mine.toml").write_text('search = 3\nmodel = "bilstm"\n')
    with pytest.raises(InputError, match="preset mine: expected search to be a table"):
        draw_trials("mine", (), 2)
    name = written(presets, "[search]\n'training.lr' = [0.0001, 0.001]\n'training.lr_min' = [0.0, 0.0005]\n")
    with pytest.raises(
        InputError, match=r"preset mine, \[search\], training.lr=0.0001, training.lr_min=0.0005: .*lr_min must be at most lr"
    ):
        draw_trials(name, (), 10)
    with pytest.raises(InputError, match="no such table of settings"):
        load_settings(name, ["search.x=1"])
