"""How the features of a run were made, and under which licences, for its page and its card."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from dgl_merc.extraction import Recipe

__all__ = ["Made", "made_features"]


@dataclass(frozen=True)
class Made:
    """The vectors of a modality.

    Attributes:
        modality: its name.
        by: extractor, model, options and versions, in words.
        licence: what users must know before they use the vectors; "" where nothing is to be said.
    """

    modality: str
    by: str
    licence: str


def made_features(data: Mapping[str, Any]) -> list[Made]:
    """Of the modalities whose recipe is known.

    Args:
        data: what ``data.json`` of a run folder holds.

    Raises:
        InputError: a recipe that is none.
    """
    recipes = {m: Recipe.from_json(table, f"data.json: recipes.{m}") for m, table in data.get("recipes", {}).items()}
    return [Made(m, str(recipe), recipe.licence) for m, recipe in recipes.items()]
