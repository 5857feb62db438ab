"""Pickles for the tests: written here, read by nothing but the project's own machine."""

from __future__ import annotations

import pickle  # noqa: TID251 - to write
from pathlib import Path

__all__ = ["pickled"]


def pickled(path: Path, value: object, protocol: int = 4) -> Path:
    """A file that holds the value."""
    path.write_bytes(pickle.dumps(value, protocol))
    return path
