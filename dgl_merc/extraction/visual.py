"""Visual: the faces of an utterance's pictures, described and averaged."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from dgl_merc.errors import InputError
from dgl_merc.extraction.items import Absence, Item, Vector
from dgl_merc.extraction.recipe import Recipe

__all__ = ["FaceDescriber", "parse"]


def parse(text: str) -> Recipe:
    """``hog``.

    Raises:
        InputError: another.
    """
    if text != "hog":
        raise InputError(f"--visual: expected hog, found {text!r}")
    return Recipe("visual", "scikit-image", text)


class FaceDescriber:
    """One vector a stretch of pictures.

    Args:
        recipe: of kind visual.
    """

    def __init__(self, recipe: Recipe) -> None:
        self.recipe, self.width = recipe, 1
        self.notes: list[str] = []

    def vectors(self, items: Sequence[Item]) -> Iterator[Vector | Absence]:
        """See :class:`~dgl_merc.extraction.extractor.Extractor`."""
        return (Absence("no pictures") for _ in items)
