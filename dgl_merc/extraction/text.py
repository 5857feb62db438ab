"""Text: a vector a sentence, by any model that sentence-transformers loads, from the hub or from a folder."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from importlib.metadata import version

import numpy as np

from dgl_merc.errors import InputError
from dgl_merc.extraction.items import Absence, Item, Vector
from dgl_merc.extraction.recipe import Recipe

__all__ = ["SentenceEmbedder", "parse"]


def parse(text: str) -> Recipe:
    """``NAME`` or ``FOLDER`` of a model."""
    return Recipe("text", "sentence-transformers", text)


class SentenceEmbedder:
    """One vector an utterance's text.

    Args:
        recipe: of kind text.

    Raises:
        InputError: sentence-transformers is not installed, or does not load the model.
    """

    def __init__(self, recipe: Recipe) -> None:
        try:
            from sentence_transformers import SentenceTransformer
        except ImportError:
            raise InputError("text: expected sentence-transformers, found none; pip install 'dglmerc[text]'") from None
        self._model = SentenceTransformer(recipe.model, device="cpu")
        self.recipe = replace(recipe, versions={"sentence-transformers": version("sentence-transformers")})
        self.width = int(self._model.get_sentence_embedding_dimension() or 0)

    def vectors(self, items: Sequence[Item]) -> Iterator[Vector | Absence]:
        """See :class:`~dgl_merc.extraction.extractor.Extractor`."""
        there = [item.row for item in items if item.text and item.text.strip()]
        texts = [item.text for item in items if item.text and item.text.strip()]
        made = dict(zip(there, np.asarray(self._model.encode(texts, show_progress_bar=False), dtype=np.float32), strict=True))
        return (made.get(item.row, Absence("no text")) for item in items)
