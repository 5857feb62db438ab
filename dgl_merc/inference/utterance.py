"""One utterance as it comes in: from a file, a stream, or Python."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

__all__ = ["Utterance"]


@dataclass(frozen=True)
class Utterance:
    """What somebody said, as features.

    Attributes:
        dialogue_id: the conversation it belongs to.
        speaker: who spoke.
        features: modality -> [width] float32, not scaled; a modality that is not in it is absent.
        text: as spoken, for people; no model reads it.
    """

    dialogue_id: str
    speaker: str
    features: Mapping[str, npt.NDArray[np.float32]] = field(default_factory=dict)
    text: str | None = None
