"""Placeholder, until a colleague's module replaces it."""

from pathlib import Path
from typing import Any


def read_hdf5(path: Path) -> Any:
    raise NotImplementedError


def read_mat(path: Path) -> Any:
    raise NotImplementedError
