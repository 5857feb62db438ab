"""What stands behind the colon of ``audio=FILE.npz:mfcc13,log(mel128)``: arrays of the file, transformed, side by side."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from dgl_merc.corpus.reading.landmarks import check_landmarks, normalise_face
from dgl_merc.corpus.reading.on_demand import MadeRows, Matrix, stacked
from dgl_merc.errors import InputError

__all__ = ["Expression", "Part", "parse_expressions"]

LANDMARK_NAMES = "landmark_names"
Array = npt.NDArray[Any]

_CALL = re.compile(r"(\w+)\(([^()]+)\)")
_NUMERIC: dict[str, tuple[Callable[[Array], Array], str]] = {
    "log": (np.log, "values above 0"),
    "log1p": (np.log1p, "values above -1"),
    "sqrt": (np.sqrt, "values of 0 or more"),
}
FUNCTIONS = (*_NUMERIC, "face")


@dataclass(frozen=True)
class Part:
    """The columns that one expression adds to a modality.

    Attributes:
        label: the expression.
        made: [R, W] what it gives, NaN where it gives nothing; made when it is asked for.
        raw: [R, W'] what it was given.
        domain: what it accepts, in words, beyond finite numbers.
        elementwise: whether column i of ``made`` is made from column i of ``raw``.
    """

    label: str
    made: Matrix
    raw: Matrix
    domain: str = ""
    elementwise: bool = True

    def complaint(self, row: int) -> str:
        """What was expected and found in a row whose ``made`` is not finite throughout."""
        outside = bool(self.domain) and bool(np.isfinite(self.raw[row]).all())
        label = f"{self.label}: " if self.label else ""
        if outside and not self.elementwise:
            return f"{label}expected {self.domain}, found none"
        column = int(np.argmin(np.isfinite((self.made if outside else self.raw)[row])))
        return f"{label}expected {self.domain if outside else 'finite numbers'}, found {self.raw[row][column]} in column {column}"

    @classmethod
    def concatenate(cls, parts: Sequence[Part]) -> Part:
        """The same expression over several files, one below the other."""
        made, raw = (stacked([getattr(part, name) for part in parts]) for name in ("made", "raw"))
        return cls(parts[0].label, made, raw, parts[0].domain, parts[0].elementwise)


@dataclass(frozen=True)
class Expression:
    """``name`` or ``function(name)``."""

    text: str
    function: str
    array: str

    @property
    def needs(self) -> tuple[str, ...]:
        """The arrays of the file it reads."""
        return (self.array, LANDMARK_NAMES) if self.function == "face" else (self.array,)

    def evaluate(self, arrays: Mapping[str, Array]) -> Part:
        """Transform; where the function has no value the part holds NaN.

        Raises:
            ValueError: an array does not fit the function.
        """
        raw = arrays[self.array]
        if not self.function:
            return Part(self.text, raw, raw)
        if self.function == "face":
            names = [str(name) for name in arrays[LANDMARK_NAMES].ravel()]
            check_landmarks(raw.shape, names)
            face = MadeRows(raw.shape, lambda rows: normalise_face(raw[rows], names))
            return Part(self.text, face, raw, "two eyes in different places", elementwise=False)
        function, domain = _NUMERIC[self.function]

        def transform(rows: npt.NDArray[np.int64]) -> Array:
            with np.errstate(all="ignore"):
                return function(raw[rows].astype(np.float64))

        return Part(self.text, MadeRows(raw.shape, transform), raw, domain)


def parse_expressions(text: str, where: str) -> tuple[Expression, ...]:
    """``a,log(b)`` as expressions.

    Args:
        text: what stood behind the colon.
        where: the beginning of messages.

    Raises:
        InputError: an unknown function, or not of this form.
    """
    found = []
    for piece in (piece.strip() for piece in text.split(",")):
        call = _CALL.fullmatch(piece)
        if call and call[1] not in FUNCTIONS:
            raise InputError(f"{where}expected a function among {', '.join(FUNCTIONS)}, found {call[1]!r}")
        if not piece or (not call and any(sign in piece for sign in "()")):
            raise InputError(f"{where}expected ARRAY or FUNCTION(ARRAY), with commas between several, found {piece!r} in {text!r}")
        found.append(Expression(piece, call[1], call[2].strip()) if call else Expression(piece, "", piece))
    return tuple(found)
