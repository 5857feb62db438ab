"""What a run is told: a preset, changed by ``key=value`` words, resolved into one frozen object that the run folder keeps."""

from __future__ import annotations

import tomllib
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from importlib import resources
from typing import Any, Literal

from dgl_merc.corpus import ScalingKind
from dgl_merc.errors import InputError
from dgl_merc.models import MODELS, options_of
from dgl_merc.settings import assign, from_table, merge

__all__ = ["DataSettings", "GraphSettings", "Settings", "TrainingSettings", "load_settings", "preset_names"]


@dataclass(frozen=True)
class DataSettings:
    """What of a corpus is learnt.

    Attributes:
        target: the column of labels; empty: ``emotion``, or the corpus's only target of classes.
        modalities: which to use; empty: all of the store.
        scaling: ``standard``: by the training split's mean and deviation per column; ``none``.
    """

    target: str = ""
    modalities: tuple[str, ...] = ()
    scaling: ScalingKind = "standard"


@dataclass(frozen=True)
class GraphSettings:
    """Changes to the store's graph (training makes edges by arithmetic, so a store need not be built again); None: as the store says.

    Attributes:
        window: of ``same`` and ``cross`` edges.
        cross: which cross-modality edges there are.
        causal: nothing flows from later to earlier.
    """

    window: int | None = None
    cross: Literal["dialogue", "utterance", "none"] | None = None
    causal: bool | None = None


@dataclass(frozen=True)
class TrainingSettings:
    """How a model is trained.

    Attributes:
        lr: learning rate of Adam.
        weight_decay: Adam's L2 penalty.
        batch_size: dialogues per step.
        max_epochs: at most so many passes over the training split.
        patience: stop after so many epochs without a better dev score.
        clip: the gradient's norm is cut to this; 0: not at all.
    """

    lr: float = 0.001
    weight_decay: float = 0.00005
    batch_size: int = 32
    max_epochs: int = 60
    patience: int = 15
    clip: float = 5.0

    def __post_init__(self) -> None:
        for name in ("lr", "batch_size", "max_epochs", "patience"):
            if not getattr(self, name) > 0:
                raise ValueError(f"{name} must be greater than 0, found {getattr(self, name)}")
        for name in ("weight_decay", "clip"):
            if not getattr(self, name) >= 0:
                raise ValueError(f"{name} must be at least 0, found {getattr(self, name)}")


@dataclass(frozen=True)
class Settings:
    """A run's settings, resolved.

    Attributes:
        preset: the name they started from.
        model: the model's name.
        options: the model's own settings (key ``model.*`` on the command line).
        data: what is learnt.
        graph: changes to the store's graph.
        training: how.
        seed: of weights, order, dropout and masks.
    """

    preset: str
    model: str
    options: Any
    data: DataSettings = field(default_factory=DataSettings)
    graph: GraphSettings = field(default_factory=GraphSettings)
    training: TrainingSettings = field(default_factory=TrainingSettings)
    seed: int = 0

    def to_json(self) -> dict[str, Any]:
        """As written in ``config.json``."""
        return asdict(self)


def preset_names() -> list[str]:
    """The presets that come with the package."""
    folder = resources.files("dgl_merc.models") / "presets"
    return sorted(p.name.removesuffix(".toml") for p in folder.iterdir() if p.name.endswith(".toml"))


def load_settings(preset: str, words: Sequence[str] = (), seed: int = 0) -> Settings:
    """A preset with changes.

    Args:
        preset: a name from :func:`preset_names`.
        words: ``model.dim=64``, ``model.gcn.rate=.5``, ``training.lr=.0005``, ``data.modalities=text,audio``, ``graph.causal=true``.
        seed: of the run.

    Raises:
        InputError: no such preset or setting, or a value of the wrong kind.
    """
    if preset not in preset_names():
        raise InputError(f"no preset {preset!r}; there are {', '.join(preset_names())}")
    text = (resources.files("dgl_merc.models") / "presets" / f"{preset}.toml").read_text(encoding="utf-8")
    table = tomllib.loads(text)
    name = str(table.pop("model"))
    table = {("model" if key == "options" else key): value for key, value in table.items()}
    changes: dict[str, Any] = {}
    for word in words:
        assign(changes, word)
    table = merge(table, changes)
    unknown = [key for key in table if key not in ("model", "data", "graph", "training")]
    if unknown:
        raise InputError(f"--set {unknown[0]}: no such table of settings; there are model, data, graph and training (such as training.lr)")
    if not 0 <= seed < 1 << 32:
        raise InputError(f"--seed must be from 0 to {(1 << 32) - 1}, found {seed}")
    where = f"preset {preset}" if not words else f"preset {preset} with --set"
    return Settings(
        preset=preset,
        model=name,
        options=from_table(options_of(name), _table(table, "model"), where, "model."),
        data=from_table(DataSettings, _table(table, "data"), where, "data."),
        graph=from_table(GraphSettings, _table(table, "graph"), where, "graph."),
        training=from_table(TrainingSettings, _table(table, "training"), where, "training."),
        seed=seed,
    )


def _table(table: dict[str, Any], key: str) -> dict[str, Any]:
    value = table.get(key, {})
    if not isinstance(value, dict):
        raise InputError(
            f"--set {key}={value}: {key} is a table of settings; set {key}.<name> (models are chosen by --preset: {', '.join(MODELS)})"
        )
    return value
