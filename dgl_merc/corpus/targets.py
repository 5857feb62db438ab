"""What an utterance can be labelled with: one of several classes, or a number in a range."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

from dgl_merc.errors import InputError

__all__ = ["SPLITS", "Modality", "Target"]

SPLITS = ("train", "dev", "test")
"""The splits a corpus may have, in the order tables print them."""


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
        if self.kind == "range" and (self.bounds is None or not self.bounds[0] < self.bounds[1]):
            raise InputError(f"a target of kind range needs bounds (least, greatest), found {self.bounds}")

    def to_json(self) -> dict[str, Any]:
        """As written in ``corpus.json``."""
        if self.kind == "classes":
            return {"kind": self.kind, "labels": list(self.labels)}
        return {"kind": self.kind, "bounds": list(self.bounds or ())}

    @classmethod
    def from_json(cls, value: dict[str, Any]) -> Target:
        """The inverse of :meth:`to_json`."""
        bounds = value.get("bounds")
        return cls(value["kind"], tuple(value.get("labels", ())), (float(bounds[0]), float(bounds[1])) if bounds else None)


@dataclass(frozen=True)
class Modality:
    """One kind of features: how wide a vector is, and where it came from.

    Attributes:
        width: numbers per utterance.
        provenance: free text for people: file, model, version, transformation.
    """

    width: int
    provenance: str = ""
