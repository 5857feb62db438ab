"""What a run is told: a preset, changed by ``key=value`` words, resolved into one frozen object that the run folder keeps."""

from __future__ import annotations

import math
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from importlib import resources
from importlib.resources.abc import Traversable
from typing import Any, Literal

from dgl_merc.corpus import ScalingKind
from dgl_merc.corpus.reduction import parse_reduction
from dgl_merc.errors import InputError
from dgl_merc.models import MODELS, options_of
from dgl_merc.settings import assign, check_choices, check_range, from_table, merge

__all__ = ["DataSettings", "GraphSettings", "Learn", "Settings", "TrainingSettings", "load_settings", "preset_names", "preset_table"]

Learn = Literal["classes", "score"]
"""What of a target is learnt."""


@dataclass(frozen=True)
class DataSettings:
    """What of a corpus is learnt.

    Attributes:
        target: the column of labels; empty: ``emotion``, or the corpus's only target of classes, or its only target.
        learn: ``classes``: of a range such as -3 to 3, the sign: negative or positive; ``score``: of a range, the number itself (mean
            absolute error), zeros too.
        modalities: which to use; empty: all of the store.
        scaling: ``standard``: by the training split's mean and deviation per column; ``none``.
        reduce: to how many principal components of the training split: ``100``, every modality that is wider; ``text:100,audio:100``, these
            alone; ``100,visual:512``, visual to another number. Empty: to none. A modality that is no wider stays as it is. The papers'
            features are so wide (MGLRA: text and audio 100, visual 512; MA-CMU-SGRNet: audio 100); their presets take what they are given.
        dev_fraction: of the training dialogues, which become dev where there is no dev split.
        split_seed: of dev dialogues and folds that are drawn; not the seed of a run, so that seeds share their splits.
        folds: cross-validation over so many folds of dialogues; 0: the corpus's own splits. The corpus's splits are then set aside.
        fold_by: a column of the corpus whose values (a session, a media file) stay together in a fold; without ``folds``, each value is
            a fold: leave one group out.
        fold: the fold that is test; ``fit --folds`` and ``--fold-by`` go over all of them.
    """

    target: str = ""
    learn: Learn = "classes"
    modalities: tuple[str, ...] = ()
    scaling: ScalingKind = "standard"
    reduce: str = ""
    dev_fraction: float = 0.1
    split_seed: int = 0
    folds: int = 0
    fold_by: str = ""
    fold: str = ""

    def __post_init__(self) -> None:
        parse_reduction(self.reduce)
        if not 0.001 <= self.dev_fraction <= 0.5:
            raise ValueError(f"dev_fraction must be from 0.001 to 0.5, found {self.dev_fraction}")
        if not 0 <= self.split_seed < 1 << 32:
            raise ValueError(f"split_seed must be from 0 to {(1 << 32) - 1}, found {self.split_seed}")
        if self.folds < 0 or self.folds == 1:
            raise ValueError(f"folds must be at least 2 (or 0: none), found {self.folds}")
        if self.fold and not (self.folds or self.fold_by):
            raise ValueError(f"fold names fold {self.fold!r}, but neither folds nor fold_by says what folds there are")


@dataclass(frozen=True)
class GraphSettings:
    """Changes to the store's graph (training makes edges by arithmetic, so a store need not be built again); None: as the store says.

    Attributes:
        window: of ``same`` and ``cross`` edges.
        cross: which cross-modality edges there are.
        causal: nothing flows from later to earlier.
        past: how many utterances before itself an utterance hears on the semantic graph.
        future: how many after itself.
    """

    window: int | None = None
    cross: Literal["dialogue", "utterance", "none"] | None = None
    causal: bool | None = None
    past: int | None = None
    future: int | None = None


@dataclass(frozen=True)
class TrainingSettings:
    """How a model is trained: the same for every model.

    A model that is solved (``logistic``, ``majority``) takes no steps. It keeps within every limit (``batch_size``,
    ``batch_utterances``, ``max_epochs``, ``max_steps``, ``eval_every``, ``patience``) by itself, heeds ``class_weights``, and every other
    setting must have its default here.

    Attributes:
        lr: learning rate of Adam, the highest of its schedule.
        weight_decay: strength of the decay.
        decay: ``l2``: added to the gradient (Adam); ``decoupled``: the weights shrink by lr times it (AdamW); ``algorithm1``: by it
            alone (MA-CMU-SGRNet, Algorithm 1, line 11 to the letter).
        schedule: of the learning rate, a function of the step: ``constant``; ``cosine``: down to ``lr_min`` over the whole training;
            ``restarts``: down to ``lr_min`` over ``restart_epochs``, then from ``lr`` again.
        lr_min: where a cosine ends.
        restart_epochs: length of the first cycle of ``restarts``.
        restart_growth: each later cycle is so many times as long.
        warmup_steps: over the first steps the rate grows linearly to its schedule's; 0: none.
        batch_size: dialogues per step, of all processes together; at most, where ``batch_utterances`` says so.
        batch_utterances: if not 0, a step has only so many dialogues as hold about so many utterances, at the training split's mean length:
            few long dialogues then make as many steps as many short ones of as many utterances.
        max_epochs: at most so many passes over the training split.
        max_steps: if not 0, train for at most so many steps instead of epochs.
        eval_every: steps between two looks at dev; 0: after every epoch.
        patience: stop after so many looks at dev without a better score.
        clip: the gradient's norm is cut to this; 0: not at all.
        class_weights: of the loss: ``none``; ``balanced``: a class weighs U / (K U_c), U_c of the U labelled training utterances being its
            own and K the classes that occur, as scikit-learn has it; ``sqrt``: the root of that.
        focal: gamma of the focal loss, which leaves what is easily told (Lin et al. 2017); 0: cross-entropy.
        label_smoothing: this share of the target is spread over all classes.
        averaging: which weights dev and test see: ``none``: the last; ``ema``: a moving average over steps; ``mean``: the mean over steps.
        averaging_decay: of ``ema``, per step.
        averaging_from: epochs before averaging begins; until then it follows the weights.
        modality_dropout: probability that a modality is taken from a training utterance (its node is absent; one always stays).
        precision: ``32``: float32; ``bf16-mixed``: in training, models compute in bfloat16 what torch's autocast does; weights are
            float32, losses at least, and dev and test are predicted in float32.
    """

    lr: float = 0.001
    weight_decay: float = 0.00005
    decay: Literal["l2", "decoupled", "algorithm1"] = "l2"
    schedule: Literal["constant", "cosine", "restarts"] = "constant"
    lr_min: float = 0.0
    restart_epochs: int = 50
    restart_growth: int = 1
    warmup_steps: int = 0
    batch_size: int = 32
    batch_utterances: int = 0
    max_epochs: int = 60
    max_steps: int = 0
    eval_every: int = 0
    patience: int = 15
    clip: float = 5.0
    class_weights: Literal["none", "balanced", "sqrt"] = "none"
    focal: float = 0.0
    label_smoothing: float = 0.0
    averaging: Literal["none", "ema", "mean"] = "none"
    averaging_decay: float = 0.99
    averaging_from: int = 0
    modality_dropout: float = 0.0
    precision: Literal["32", "bf16-mixed"] = "32"

    def __post_init__(self) -> None:
        check_choices(self)
        for name in ("lr", "batch_size", "max_epochs", "patience", "restart_epochs", "restart_growth"):
            if not 0 < getattr(self, name) < float("inf"):
                raise ValueError(f"{name} must be greater than 0 and finite, found {getattr(self, name)}")
        check_range(
            self,
            0,
            "weight_decay",
            "clip",
            "lr_min",
            "warmup_steps",
            "max_steps",
            "eval_every",
            "batch_utterances",
            "focal",
            "averaging_from",
            most=math.inf,
        )
        for name in ("label_smoothing", "averaging_decay", "modality_dropout"):
            if not 0.0 <= getattr(self, name) < 1.0:
                raise ValueError(f"{name} must be from 0 to less than 1, found {getattr(self, name)}")
        if self.lr_min > self.lr:
            raise ValueError(f"lr_min must be at most lr, found {self.lr_min} and {self.lr}")


_OF_CLASSES = {"class_weights": "none", "focal": 0.0, "label_smoothing": 0.0}
"""Settings of a loss of classes, and their values that change nothing."""
_WHERE_SOLVED = {"class_weights", "batch_size", "batch_utterances", "max_epochs", "max_steps", "eval_every", "patience"}
"""Settings that a model which is solved heeds, or keeps within by itself."""


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

    def __post_init__(self) -> None:
        for name, nothing in _OF_CLASSES.items() if self.data.learn == "score" else ():
            found = getattr(self.training, name)
            if found != nothing:
                raise InputError(f"data.learn=score: expected training.{name} = {nothing}, found {found}: a score has no classes")
        if MODELS[self.model][0].solved:
            for name, usual in asdict(TrainingSettings()).items():
                found = getattr(self.training, name)
                if found != usual and name not in _WHERE_SOLVED:
                    raise InputError(
                        f"{self.model}: expected training.{name} = {usual}, found {found}: this model is solved at once, without steps"
                    )

    def to_json(self) -> dict[str, Any]:
        """As written in ``config.json``."""
        return asdict(self)

    @classmethod
    def from_json(cls, table: Mapping[str, Any], where: str) -> Settings:
        """The inverse of :meth:`to_json`; what is not there (written by an older version) has its default.

        Raises:
            InputError: an unknown model or setting.
        """
        model = table.get("model")
        if not isinstance(model, str) or model not in MODELS:
            raise InputError(f"{where}: expected a model among {', '.join(MODELS)}, found {model!r}")
        parts = {"options": options_of(str(model)), "data": DataSettings, "graph": GraphSettings, "training": TrainingSettings}
        wrong = [key for key in parts if not isinstance(table.get(key, {}), dict)]
        seed = table.get("seed", 0)
        if wrong or not isinstance(seed, int):
            raise InputError(f"{where}: expected tables of settings in {', '.join(parts)} and a whole number as seed, found others")
        made: dict[str, Any] = {key: from_table(kind, table.get(key, {}), where, f"{key}.") for key, kind in parts.items()}
        return cls(str(table.get("preset", "")), model, seed=seed, **made)


def preset_names() -> list[str]:
    """The presets that come with the package."""
    return sorted(p.name.removesuffix(".toml") for p in _folder().iterdir() if p.name.endswith(".toml"))


def _folder() -> Traversable:
    return resources.files("dgl_merc.models") / "presets"


def preset_table(preset: str) -> dict[str, Any]:
    """What the file of a preset says: ``model``, tables of settings, and ``search``, which only :mod:`dgl_merc.studies.search` reads.

    Raises:
        InputError: no such preset.
    """
    if preset not in preset_names():
        raise InputError(f"no preset {preset!r}; there are {', '.join(preset_names())}")
    return tomllib.loads((_folder() / f"{preset}.toml").read_text(encoding="utf-8"))


def load_settings(preset: str, words: Sequence[str] = (), seed: int = 0) -> Settings:
    """A preset with changes.

    Args:
        preset: a name from :func:`preset_names`.
        words: ``model.dim=64``, ``model.gcn.rate=.5``, ``training.lr=.0005``, ``data.modalities=text,audio``, ``graph.causal=true``.
        seed: of the run.

    Raises:
        InputError: no such preset or setting, or a value of the wrong kind.
    """
    table = preset_table(preset)
    name = str(table.pop("model"))
    table = {("model" if key == "options" else key): value for key, value in table.items() if key != "search"}
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
