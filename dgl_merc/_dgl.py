"""The one door through which DGL is imported: ``from dgl_merc._dgl import dgl, fn``.

Two things are settled before the import, because afterwards it is too late:

* ``DGLBACKEND=pytorch``. Without it DGL prints two lines and writes a file into the user's home; a home that can't be
  written crashes the import.
* ``dgl.graphbolt``. DGL 2.1's own library for it fits only torch <= 2.2, and its absence is fatal to ``import dgl``. This
  toolkit uses none of it, so where the real one can't be loaded an empty module of that name is put into ``sys.modules``
  for the import. Where it can be loaded (a CUDA build made for the installed torch), it is left alone.

DGL versions differ in what they have: nothing version-specific is used here, and never ``dgl.sparse``, ``dgl.distributed``.
"""

from __future__ import annotations

import importlib.metadata
import importlib.util
import os
import sys
import types
import warnings
from pathlib import Path
from typing import Any

import torch

__all__ = ["dgl", "fn", "graphbolt_is_stubbed"]


def _graphbolt_fits(package: Path) -> bool:
    """Whether DGL has no graphbolt at all, or one built for the installed torch."""
    folder = package / "graphbolt"
    if not folder.is_dir():
        return True
    version = torch.__version__.split("+", 1)[0]
    return any(folder.glob(f"*graphbolt_pytorch_{version}.*"))


def _import_dgl() -> tuple[Any, Any, bool]:
    os.environ.setdefault("DGLBACKEND", "pytorch")
    spec = importlib.util.find_spec("dgl")
    if spec is None or spec.origin is None:
        raise ModuleNotFoundError("dglmerc needs DGL: pip install 'dgl>=1.1.3' (Python 3.11 or 3.12)", name="dgl")
    stub = "dgl.graphbolt" not in sys.modules and not _graphbolt_fits(Path(spec.origin).parent)
    if stub:
        sys.modules["dgl.graphbolt"] = types.ModuleType("dgl.graphbolt", "An empty stand-in: see dgl_merc._dgl.")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # DGL's own deprecations, which a user of this toolkit can do nothing about
        import dgl
        import dgl.function as fn
    return dgl, fn, stub


dgl, fn, graphbolt_is_stubbed = _import_dgl()
