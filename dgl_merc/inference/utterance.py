"""One utterance as it comes in, from a file, a stream or Python, and what the runs that are to answer it expect."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from dgl_merc.corpus import Target
from dgl_merc.errors import InputError, at
from dgl_merc.extraction import Recipe
from dgl_merc.extraction.recipe import Kind
from dgl_merc.training.evaluate import check_average
from dgl_merc.training.run_folder import SavedRun

__all__ = ["Expected", "Utterance"]

_LONGEST_NAME = 1000


@dataclass(frozen=True)
class Utterance:
    """What somebody said, as features.

    Attributes:
        dialogue_id: the conversation it belongs to.
        speaker: who spoke.
        features: modality -> [width] float32, not scaled; a modality that is not in it is absent.
        text: as spoken, for people; no model reads it.
        label: what it truly is, where that is known; no model reads it.
        position: what sorts the utterances of a dialogue; None: they come in order.
        utterance_id: what it is called where it came from; answers repeat it.

    Raises:
        InputError: a name that is none: empty, of more than 1000 characters, or not to be written in UTF-8.
    """

    dialogue_id: str
    speaker: str
    features: Mapping[str, npt.NDArray[np.float32]] = field(default_factory=dict)
    text: str | None = None
    label: str | float | None = None
    position: int | None = None
    utterance_id: str | None = None

    def __post_init__(self) -> None:
        for name in ("dialogue_id", "speaker", *(["utterance_id"] if self.utterance_id is not None else [])):
            value = getattr(self, name)
            if not isinstance(value, str) or not value.strip():
                raise InputError(f"{name}: expected a name, found {value!r}")
            if len(value) > _LONGEST_NAME:
                raise InputError(f"{name}: expected a name of at most {_LONGEST_NAME} characters, found {len(value)}")
            try:
                value.encode()
            except UnicodeEncodeError:
                raise InputError(f"{name}: expected text that UTF-8 can hold, found {value!a}") from None
        if self.text is not None and not isinstance(self.text, str):
            raise InputError(f"text: expected what was said, found {self.text!r}")


@dataclass(frozen=True)
class Expected:
    """What some runs take and learn, all of them together.

    Attributes:
        widths: modality -> width of a vector.
        target: the name of what is learnt.
        kind: what may stand in it.
        runs: their folders, for people.
        hears: what each run takes: its folder and its modalities.
        recipes: modality -> the runs that hear it, each with what made its vectors; None: features of unknown making.
    """

    widths: Mapping[str, int]
    target: str
    kind: Target
    runs: str
    hears: tuple[tuple[str, tuple[str, ...]], ...] = ()
    recipes: Mapping[str, Mapping[str, Recipe | None]] = field(default_factory=dict)

    @classmethod
    def of(cls, runs: Sequence[SavedRun]) -> Expected:
        """Of runs that can be averaged: of the same target and classes, and of the same width where they share a modality.

        Raises:
            InputError: they can't.
        """
        check_average(runs)
        widths: dict[str, int] = {}
        of_width: dict[str, SavedRun] = {}
        for run in runs:
            for m, width in run.data["widths"].items():
                if widths.setdefault(m, width) != width:
                    raise InputError(f"{at(run.path)}{m}: expected vectors of width {widths[m]}, as in {of_width[m].path}, found {width}")
                of_width.setdefault(m, run)
        hears = tuple((str(run.path), run.spec.modalities) for run in runs)
        recipes = {m: {str(run.path): run.recipes.get(m) for run in runs if m in run.spec.modalities} for m in widths}
        return cls(widths, runs[0].task.target, runs[0].task.kind, ", ".join(str(run.path) for run in runs), hears, recipes)

    def vectors(self, utterance: Utterance, place: str) -> dict[str, npt.NDArray[np.float32]]:
        """The features of an utterance that the runs take, [width] float32 each.

        Args:
            utterance: as it came.
            place: how a message begins.

        Raises:
            InputError: a vector of another width, or of something else than finite numbers.
        """
        found: dict[str, npt.NDArray[np.float32]] = {}
        for m, width in self.widths.items():
            if m not in utterance.features:
                continue
            x = np.asarray(utterance.features[m])
            if x.shape != (width,) or x.dtype.kind not in "fiu":
                said = len(x) if x.ndim == 1 and x.dtype.kind in "fiu" else f"{x.dtype} {list(x.shape)}"
                raise InputError(f"{place}{m}: expected {width} numbers, as in the training of {self.runs}, found {said}")
            with np.errstate(over="ignore"):
                found[m] = x.astype(np.float32, copy=False)
            if not np.isfinite(found[m]).all():
                raise InputError(f"{place}{m}: expected finite numbers of float32, found others; a modality that is absent is left out")
        return found

    def makes(self, kind: Kind) -> bool:
        """Whether a run knows how features of a kind are made."""
        return any(recipe and recipe.kind == kind for by_run in self.recipes.values() for recipe in by_run.values())

    def near_miss(self, names: Iterable[str]) -> tuple[str, str] | None:
        """A name that is nearly a modality's, and the modality: case, blanks, an underscore."""
        plain = {m.lower().replace("_", ""): m for m in self.widths}
        for name in names:
            m = plain.get(name.strip().lower().replace("_", "").replace("-", ""))
            if m is not None and m != name:
                return name, m
        return None
