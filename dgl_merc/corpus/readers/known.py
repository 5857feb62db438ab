"""The layouts in circulation that are known."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from dgl_merc.corpus.readers.layout import Layout

__all__ = ["READERS", "known_layouts"]

READERS: tuple[str, ...] = ("iemocap", "meld", "meld_tuples", "cosmic", "emorynlp", "emorynlp_json", "mmsa", "samples")
"""The modules in :mod:`dgl_merc.corpus.readers` that have ``LAYOUTS``, in the order they are listed."""


def known_layouts() -> tuple[Layout, ...]:
    """All layouts of all readers."""
    modules = (importlib.import_module(f"dgl_merc.corpus.readers.{name}") for name in READERS)
    return tuple(layout for module in modules for layout in module.LAYOUTS)
