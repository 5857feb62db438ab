"""Extractor: what turns items into vectors, and where each kind of it is found."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Protocol, TypeVar

from dgl_merc.errors import InputError
from dgl_merc.extraction.items import Absence, Item, Vector
from dgl_merc.extraction.media import MediaError
from dgl_merc.extraction.recipe import Kind, Recipe

__all__ = ["Extractor", "each_recording", "open_extractor", "parse_recipe"]

_T = TypeVar("_T")


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


def each_recording(
    items: Sequence[Item], read: Callable[[Path, Item], _T], describe: Callable[[_T], Vector | Absence]
) -> Iterator[Vector | Absence]:
    """One answer an item, read one after the other; what can't be read is absent.

    Args:
        items: utterances.
        read: from an item's file, what is looked at; may raise :class:`~dgl_merc.extraction.media.MediaError`.
        describe: that as a vector.
    """
    for item in items:
        if item.media is None:
            yield Absence("no recording")
            continue
        try:
            seen = read(item.media, item)
        except MediaError as error:
            yield Absence(str(error))
        else:
            yield describe(seen)


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
