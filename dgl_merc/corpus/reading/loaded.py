"""Rows of numbers that have found their utterances, before anyone has asked whether they are finite."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import numpy.typing as npt

from dgl_merc.corpus.reading.expressions import Part
from dgl_merc.errors import InputError, at

__all__ = ["Ints", "Loaded", "require_width"]

Ints = npt.NDArray[np.int64]
"""An array of int64."""


@dataclass(frozen=True)
class Loaded:
    """R rows of numbers of one modality.

    Attributes:
        parts: side by side, they are the vectors; read some rows at a time.
        utterance: [R] the utterance each row belongs to.
        files: split (or "" for every split) -> the file that errors name; empty: the CSV itself.
        why_absent: why an utterance may have no row, in words.
        notes: how the rows were made, where that is not plain.
    """

    parts: list[Part]
    utterance: Ints
    files: Mapping[str, Path] = field(default_factory=dict)
    why_absent: str = ""
    notes: tuple[str, ...] = ()


def require_width(path: Path, modality: str, found: int, first: Path, expected: int) -> None:
    """The files of all splits are equally wide.

    Raises:
        InputError: they are not.
    """
    if found != expected:
        raise InputError(f"{at(path)}{modality}: expected width {expected} as in {first.name}, found {found}")
