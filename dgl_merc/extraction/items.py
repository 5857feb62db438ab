"""What is looked at: the utterances of a corpus, each with its words and its place in a recording."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

__all__ = ["Absence", "Item", "Vector"]

Vector = npt.NDArray[np.float32]
"""[width] finite numbers."""


@dataclass(frozen=True)
class Item:
    """An utterance, as extractors see it.

    Attributes:
        row: its row in the corpus.
        text: what was said; "" or None: nothing.
        media: the file it is recorded in; None: none was found.
        start: seconds from the beginning of the file to where it begins; None: at the beginning.
        end: to where it ends; None: at the end of the file.
    """

    row: int
    text: str | None = None
    media: Path | None = None
    start: float | None = None
    end: float | None = None


@dataclass(frozen=True)
class Absence:
    """Why an utterance has no vector.

    Attributes:
        reason: in words, after "dialogue d, utterance u: ": "no sound track in clip.mp4". Alike for alike faults, so that they can be
            counted.
        passing: another try may say something else: a process died, or had too little time.
    """

    reason: str
    passing: bool = False
