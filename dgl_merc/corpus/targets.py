"""What an utterance can be labelled with: one of several classes, or a number in a range."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import pandas as pd

from dgl_merc.errors import InputError

__all__ = ["SIGNS", "SPLITS", "Modality", "Target", "places_of", "sign_labels"]

SPLITS = ("train", "dev", "test")
"""The splits a corpus may have, in the order tables print them."""

SIGNS = ("negative", "positive")
"""The classes of a score: its sign. A score of exactly 0 has none."""


def sign_labels(scores: npt.NDArray[np.float64]) -> npt.NDArray[np.int64]:
    """Indices into ``SIGNS`` [U] of scores [U]; -1 where a score is exactly 0 or NaN.

    >>> sign_labels(np.array([-3.0, 0.2, 0.0, np.nan])).tolist()
    [0, 1, -1, -1]
    """
    return np.select([scores < 0, scores > 0], [0, 1], -1).astype(np.int64)


def places_of(values: pd.Series[Any], names: Sequence[str]) -> npt.NDArray[np.int64]:
    """Indices into ``names`` [U] of words [U]; -1 where a word is none of them, or there is none. No cell becomes a Python string.

    >>> places_of(pd.Series(["joy", None, "fear"]), ["fear", "joy"]).tolist()
    [1, -1, 0]
    """
    codes, found = pd.factorize(values)
    places = pd.Index(list(names), dtype=object).get_indexer(pd.Index(found, dtype=object))
    return np.append(places, -1).astype(np.int64)[codes]  # a code of -1 is the last place


@dataclass(frozen=True)
class Target:
    """A column of labels. Exactly one of ``labels`` and ``bounds`` says what may stand in it; an empty cell is unlabelled.

    Attributes:
        kind: ``"classes"`` (an emotion) or ``"range"`` (a sentiment score).
        labels: the class names, in the order of their indices.
        bounds: the least and the greatest value, both allowed.
    """

    kind: Literal["classes", "range"]
    labels: tuple[str, ...] = ()
    bounds: tuple[float, float] | None = None

    def __post_init__(self) -> None:
        if self.kind not in ("classes", "range"):
            raise InputError(f"a target's kind is 'classes' or 'range', found {self.kind!r}")
        if self.kind == "classes" and (len(self.labels) < 2 or len(set(self.labels)) != len(self.labels)):
            raise InputError(f"a target of classes needs at least two different labels, found {list(self.labels)}")
        if self.bounds is not None:
            object.__setattr__(self, "bounds", tuple(map(float, self.bounds)))  # -3 and -3.0 are one, and have one hash
        if self.kind == "range" and (self.bounds is None or not self.bounds[0] < self.bounds[1]):
            raise InputError(f"a target of kind range needs bounds (least, greatest), found {self.bounds}")

    @property
    def classes(self) -> tuple[str, ...]:
        """What utterances can be told apart by: the labels, or the sign of a score. None where scores have only one sign.

        >>> Target("range", bounds=(-3.0, 3.0)).classes, Target("range", bounds=(0.0, 5.0)).classes
        (('negative', 'positive'), ())
        """
        if self.kind == "classes" or self.bounds is None:
            return self.labels
        return SIGNS if self.bounds[0] < 0 < self.bounds[1] else ()

    def __str__(self) -> str:
        """For people.

        >>> print(Target("classes", ("joy", "fear")), "|", Target("range", bounds=(-3.0, 3.0)))
        the classes joy, fear | scores from -3 to 3
        """
        if self.kind == "classes" or self.bounds is None:
            return f"the classes {', '.join(self.labels)}"
        return f"scores from {self.bounds[0]:g} to {self.bounds[1]:g}"

    def to_json(self) -> dict[str, Any]:
        """As written in ``corpus.json``."""
        if self.kind == "classes":
            return {"kind": self.kind, "labels": list(self.labels)}
        return {"kind": self.kind, "bounds": list(self.bounds or ())}

    @classmethod
    def from_json(cls, value: dict[str, Any]) -> Target:
        """The inverse of :meth:`to_json`."""
        bounds, labels = value.get("bounds"), tuple(value.get("labels", ()))
        if not all(isinstance(label, str) for label in labels):
            raise InputError(f"a target's labels are text, found {list(labels)}")
        return cls(value["kind"], labels, (float(bounds[0]), float(bounds[1])) if bounds else None)


@dataclass(frozen=True)
class Modality:
    """One kind of features: how wide a vector is, and where it came from.

    Attributes:
        width: numbers per utterance.
        provenance: free text for people: file, model, version, transformation.
        recipe: how to make such vectors of recordings and texts, as :class:`dgl_merc.extraction.Recipe` writes it; empty: not known.
    """

    width: int
    provenance: str = ""
    recipe: Mapping[str, Any] = field(default_factory=dict)
