"""Extractor: what turns items into vectors, and where each kind of it is found."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Protocol

from dgl_merc.errors import InputError
from dgl_merc.extraction.items import Absence, Item, Vector
from dgl_merc.extraction.recipe import Kind, Recipe

__all__ = ["Extractor", "open_extractor", "parse_recipe"]


class Extractor(Protocol):
    """Makes the vectors of one modality."""

    @property
    def recipe(self) -> Recipe:
        """Complete: with versions, weights and every option."""

    @property
    def width(self) -> int:
        """Numbers in a vector."""

    @property
    def notes(self) -> Sequence[str]:
        """What a person should know of the vectors made so far: other versions than a recipe's, texts that were cut."""

    def vectors(self, items: Sequence[Item]) -> Iterator[Vector | Absence]:
        """One answer an item, in their order; whatever is wrong with an item's words or file is an :class:`Absence`.

        An item's vector does not depend on the items beside it, but for the last digits of a float32.
        """


def parse_recipe(kind: Kind, text: str) -> Recipe:
    """What a person asks for: ``all-MiniLM-L6-v2``, ``egemaps``, ``hog,faces=no``: a model or feature set, then options.

    Raises:
        InputError: no such feature set or option.
    """
    if kind == "text":
        from dgl_merc.extraction.text import parse
    elif kind == "audio":
        from dgl_merc.extraction.audio import parse
    else:
        from dgl_merc.extraction.visual import parse
    return parse(text)


def open_extractor(recipe: Recipe, device: str = "cpu") -> Extractor:
    """What makes vectors by a recipe; one without versions and weights gets them, one with them is held to the weights.

    Args:
        recipe: what a person asks for, or a run's.
        device: where a model runs; feature sets know none.

    Raises:
        InputError: a package is missing (the message names the extra to install), the model can't be loaded, or it has other weights
            than the recipe says.
    """
    if recipe.kind == "text":
        from dgl_merc.extraction.text import SentenceEmbedder

        return SentenceEmbedder(recipe, device)
    if recipe.kind == "audio":
        from dgl_merc.extraction.audio import AcousticDescriber

        return AcousticDescriber(recipe)
    if recipe.kind == "visual":
        from dgl_merc.extraction.visual import FaceDescriber

        return FaceDescriber(recipe, device)
    raise InputError(f"expected a recipe of text, audio or visual, found {recipe.kind!r}")
