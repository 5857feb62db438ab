"""From recordings and transcripts to vectors: text, sound and pictures of utterances, by models and feature sets of others.

What makes a modality's vectors is a :class:`Recipe`, which stands in the corpus and in every run on it, so that new conversations are
extracted in the same way.
"""

from dgl_merc.extraction.extract import extract
from dgl_merc.extraction.items import Absence, Item
from dgl_merc.extraction.media import MediaError
from dgl_merc.extraction.recipe import Recipe
from dgl_merc.extraction.recordings import Media
from dgl_merc.extraction.workers import Extractors

__all__ = ["Absence", "Extractors", "Item", "Media", "MediaError", "Recipe", "extract"]
