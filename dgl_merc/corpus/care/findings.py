"""What a check found: how bad it is, in numbers, where first, and what to do."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from dgl_merc.corpus.corpus import Corpus

__all__ = ["SEVERITIES", "Finding", "Severity", "places"]

Severity = Literal["leak", "warning", "note"]
"""How bad a finding is."""

SEVERITIES: tuple[Severity, ...] = ("leak", "warning", "note")
"""A leak makes scores say something else than they seem to; a warning may spoil an experiment; a note is worth knowing."""

_SHOWN = 5


@dataclass(frozen=True)
class Finding:
    """One thing that a check found.

    Attributes:
        rule: its name, for programs.
        severity: one of ``SEVERITIES``.
        said: one sentence, with numbers.
        count: how many of what the sentence speaks of.
        places: the first (dialogue, position) it concerns; empty where it concerns all.
        advice: what to do.
    """

    rule: str
    severity: Severity
    said: str
    count: int
    places: tuple[tuple[str, int], ...] = ()
    advice: str = ""

    def to_json(self) -> dict[str, Any]:
        """As printed with ``--json``."""
        where = [{"dialogue": dialogue, "utterance": position} for dialogue, position in self.places]
        said = {"rule": self.rule, "severity": self.severity, "said": self.said, "count": self.count}
        return {**said, "places": where, "advice": self.advice}


def places(corpus: Corpus, rows: Iterable[int] | npt.NDArray[Any]) -> tuple[tuple[str, int], ...]:
    """Dialogue and position of the first few rows, in the corpus's order."""
    first = np.sort(np.asarray(list(rows), dtype=np.int64))[:_SHOWN]
    part = corpus.utterances.iloc[first]
    return tuple(zip(part["dialogue_id"].tolist(), (int(p) for p in part["position"]), strict=True))
