"""Recipe: what makes the vectors of a modality, completely enough to make them again."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from importlib.metadata import version
from typing import Any, Literal, get_args

from dgl_merc.errors import InputError

__all__ = [
    "Kind",
    "Option",
    "Reading",
    "Recipe",
    "anything",
    "hold_to_weights",
    "one_of",
    "split_recipe",
    "whole",
    "with_versions",
    "yes_or_no",
]

Kind = Literal["text", "audio", "visual"]
"""What is looked at: what was said, how it sounds, what is seen."""
Option = str | int | float | bool
"""An option's value."""
Reading = Callable[[str], Option]
"""An option's value from what a person writes; ValueError says what was expected."""


@dataclass(frozen=True)
class Recipe:
    """How a modality's vectors are made.

    Attributes:
        kind: of what.
        extractor: by which of the extractors of that kind.
        model: the model's name or folder, or the name of a feature set.
        options: the extractor's own parameters, resolved: defaults are written out.
        versions: package -> version.
        weights: SHA-256 of what was learnt, where it was; "" of what has no weights.
        licence: what users must know before they use the vectors; "" where nothing is to be said.
    """

    kind: Kind
    extractor: str
    model: str
    options: Mapping[str, Option] = field(default_factory=dict)
    versions: Mapping[str, str] = field(default_factory=dict)
    weights: str = ""
    licence: str = ""

    def to_json(self) -> dict[str, Any]:
        """As it stands in ``corpus.json``."""
        return asdict(self)

    @classmethod
    def from_json(cls, table: Mapping[str, Any], where: str) -> Recipe:
        """The inverse of :meth:`to_json`.

        Raises:
            InputError: not a recipe.
        """
        words, maps = ("extractor", "model", "weights", "licence"), ("options", "versions")
        fits = (
            set(table) == set(cls.__dataclass_fields__)
            and table["kind"] in get_args(Kind)
            and all(isinstance(table[name], str) for name in words)
            and all(isinstance(table[name], dict) for name in maps)
            and all(isinstance(v, get_args(Option)) for name in maps for v in table[name].values())
        )
        if not fits:
            raise InputError(f"{where}: expected a recipe with {', '.join(cls.__dataclass_fields__)}, found something else")
        return cls(**table)

    def __str__(self) -> str:
        """For people: options that are empty say nothing.

        >>> str(Recipe("visual", "scikit-image", "hog", {"faces": False, "note": ""}, {"numpy": "2.0"}))
        'scikit-image hog, faces no, numpy 2.0'
        """
        said = {name: ("no", "yes")[value] if isinstance(value, bool) else value for name, value in self.options.items()}
        options = "".join(f", {name} {value}" for name, value in said.items() if value != "")
        versions = "".join(f", {name} {value}" for name, value in self.versions.items())
        return f"{self.extractor} {self.model}{options}{versions}"


def split_recipe(kind: Kind, text: str, known: Mapping[str, Reading]) -> tuple[str, dict[str, Option]]:
    """A model or feature set and its options: ``NAME,key=value,...``.

    An option begins at a comma before a word and "=": names and values may hold any other comma.

    Args:
        kind: for messages.
        text: as a person writes it.
        known: option -> how its value is read.

    Returns:
        The name, and what was said of options, in the order of ``known``.

    Raises:
        InputError: no name, an option that is not there or said twice, or a value that does not fit.

    >>> split_recipe("visual", "hog,faces=no,note=one, two", {"faces": yes_or_no, "note": anything})
    ('hog', {'faces': False, 'note': 'one, two'})
    """
    name, *said = re.split(r",(?=\w+=)", text)
    if not name.strip():
        raise InputError(f"--{kind} {text!r}: expected a name, then options, found no name")
    found: dict[str, Option] = {}
    for key, value in (part.split("=", 1) for part in said):
        if key not in known:
            raise InputError(f"--{kind} {name}: expected options among {', '.join(known) or 'none'}, found {key!r}")
        if key in found:
            raise InputError(f"--{kind} {name}: expected {key} once, found it twice")
        try:
            found[key] = known[key](value)
        except ValueError as error:
            raise InputError(f"--{kind} {name}: {key}: expected {error}, found {value!r}") from None
    return name.strip(), {key: found[key] for key in known if key in found}


def anything(text: str) -> str:
    """Words as they stand, blanks at their ends too."""
    return text


def yes_or_no(text: str) -> bool:
    """``yes`` or ``no``.

    Raises:
        ValueError: another word.
    """
    if text not in ("yes", "no"):
        raise ValueError("yes or no")
    return text == "yes"


def whole(low: int, high: int) -> Reading:
    """Whole numbers between two, both among them."""

    def read(text: str) -> int:
        if not re.fullmatch(r"[0-9]{1,9}", text) or not low <= int(text) <= high:
            raise ValueError(f"a whole number from {low} to {high}")
        return int(text)

    return read


def one_of(*words: str) -> Reading:
    """One of some words."""

    def read(text: str) -> str:
        if text not in words:
            raise ValueError(" or ".join(words))
        return text

    return read


def hold_to_weights(recipe: Recipe, weights: str) -> None:
    """Whether a model is the one that a recipe was made with; a new recipe, which has no weights, takes any.

    Raises:
        InputError: it has other weights.
    """
    if recipe.weights and recipe.weights != weights:
        raise InputError(
            f"{recipe.kind}: {recipe.model}: expected the model that the run's vectors were made with (weights {recipe.weights[:12]}…), "
            f"found another ({weights[:12]}…); put that model there, or make the corpus's features anew and train on them"
        )


def with_versions(recipe: Recipe, *packages: str) -> tuple[dict[str, str], list[str]]:
    """The installed versions of what makes vectors, and what is to be said where a recipe was made with others.

    Args:
        recipe: one without versions is new.
        packages: as they are installed.

    Returns:
        Package -> version; a sentence, or nothing.
    """
    here = {name: version(name) for name in packages}
    others = [f"{name} {was}, here is {here[name]}" for name, was in recipe.versions.items() if here.get(name, was) != was]
    said = [f"{recipe.kind}: the run's vectors were made with {'; '.join(others)}: others may differ from them a little"] if others else []
    return here, said
