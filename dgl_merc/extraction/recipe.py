"""Recipe: what makes the vectors of a modality, completely enough to make them again."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, Literal, get_args

from dgl_merc.errors import InputError

__all__ = ["Kind", "Recipe"]

Kind = Literal["text", "audio", "visual"]
"""What is looked at: what was said, how it sounds, what is seen."""
Option = str | int | float | bool


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
        options = "".join(f", {name} {value}" for name, value in self.options.items())
        versions = "".join(f", {name} {value}" for name, value in self.versions.items())
        return f"{self.extractor} {self.model}{options}{versions}"
