"""Dev trials on equal terms: each model's preset, then settings drawn from a small space of its own, by one sampler for all.

    space       of a preset: its ``[search]`` table, key -> values; without one, what every model has: the learning rate times 1/3, 1 and 3,
                the weight decay, and the model's dropout if it has one; a model that is solved has none of these
    trial 0     the preset itself
    trial k     one value per key, uniformly and independently; what was there before is drawn again

Random search: Bergstra and Bengio, "Random search for hyper-parameter optimization", JMLR 13 (2012). The sampler has one seed: the first
trials of many are the trials of few, and two rows of one preset have the same.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import fields
from typing import Any

import numpy as np

from dgl_merc.errors import InputError
from dgl_merc.models import MODELS
from dgl_merc.settings import flat
from dgl_merc.studies.grid import Variant
from dgl_merc.training.settings import Settings, load_settings, preset_table

__all__ = ["draw_trials", "search_space"]

Space = dict[str, tuple[Any, ...]]

_SEED = 0
_TABLES = ("model.", "training.")
_DECAYS = (0.0, 0.00005, 0.001)
_DROPOUTS = (0.1, 0.3, 0.5)


def draw_trials(preset: str, words: Sequence[str], count: int) -> list[tuple[str, ...]]:
    """Changes of a preset, a trial each, as ``--set`` takes them.

    Args:
        preset: that is changed.
        words: changes that all trials have; what they set is not searched.
        count: of trials.

    Returns:
        The empty change, which is trial 0, then drawn ones; no two have the same settings. Fewer than ``count`` where there are no more.

    Raises:
        InputError: no such preset or setting, or a ``[search]`` table that can't be used.
    """
    space = search_space(preset, words)
    size, start, rng = math.prod(map(len, space.values())), load_settings(preset, words), np.random.default_rng(_SEED)
    trials: list[tuple[str, ...]] = [()]
    drawn: set[int] = set()
    while len(trials) < count and len(drawn) < size:
        number = int(rng.integers(size))
        if number in drawn:
            continue
        drawn.add(number)
        trial = _combination(space, number)
        if _loaded(preset, words, trial, ", ".join(trial)) != start:
            trials.append(trial)
    return trials


def _combination(space: Space, number: int) -> tuple[str, ...]:
    """One of all combinations of values, by its number."""
    words = []
    for key, values in space.items():
        number, place = divmod(number, len(values))
        words.append(_word(key, values[place]))
    return tuple(words)


def search_space(preset: str, words: Sequence[str] = ()) -> Space:
    """Key -> values that are tried.

    Args:
        preset: whose ``[search]`` table is read; one without has the common space.
        words: changes that all trials have; what they set is left out.

    Raises:
        InputError: a ``[search]`` table that can't be used; names preset and key.
    """
    table = preset_table(preset).get("search")
    space = _common(load_settings(preset, words)) if table is None else _checked(preset, table)
    fixed = Variant({}, tuple(words)).keys
    return {key: values for key, values in space.items() if key not in fixed}


def _common(settings: Settings) -> Space:
    """What every model can be tried with, its preset's own values among it."""
    if MODELS[settings.model][0].solved:
        return {}
    training = settings.training
    rates = [float(f"{training.lr * factor:.3g}") for factor in (1 / 3, 3)]
    space: dict[str, Sequence[float]] = {
        "training.lr": (training.lr, *(rate for rate in rates if rate >= training.lr_min)),
        "training.weight_decay": (training.weight_decay, *_DECAYS),
    }
    if "dropout" in {f.name for f in fields(settings.options)}:
        space["model.dropout"] = (settings.options.dropout, *_DROPOUTS)
    return {key: tuple(sorted(set(values))) for key, values in space.items()}


def _checked(preset: str, table: Any) -> Space:
    """A ``[search]`` table as a space, each value of which is a setting of the preset."""
    if not isinstance(table, Mapping):
        raise InputError(f"preset {preset}: expected search to be a table of settings and their values, found {table!r}")
    space: Space = {}
    for key, values in flat(table):
        where = f"preset {preset}, [search], {key}"
        if not key.startswith(_TABLES):
            raise InputError(f"{where}: expected a setting of the model or of training (model.*, training.*), which trials may change")
        if not isinstance(values, list) or not values or not all(isinstance(v, bool | int | float | str) for v in values):
            raise InputError(f"{where}: expected a list of values, found {values!r}")
        found = [_loaded(preset, (), (_word(key, v),), f"{key} = {v!r}") for v in values]
        if any(a == b for k, a in enumerate(found) for b in found[:k]):
            raise InputError(f"{where}: expected every value once, found {values!r}")
        space[key] = tuple(values)
    return space


def _loaded(preset: str, words: Sequence[str], trial: Sequence[str], said: str) -> Settings:
    try:
        return load_settings(preset, [*words, *trial])
    except InputError as error:
        raise InputError(f"preset {preset}, [search], {said}: {error}") from None


def _word(key: str, value: Any) -> str:
    """As ``--set`` takes it; JSON's words and truth values are TOML's."""
    return f"{key}={json.dumps(value)}"
