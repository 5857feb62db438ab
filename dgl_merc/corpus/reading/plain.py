"""What a published file holds, held to be what was published: strings, numbers and lists of them, or one line that says no."""

from __future__ import annotations

import numbers
from typing import Any, TypeGuard

import numpy as np
import numpy.typing as npt

from dgl_merc.corpus.reading.content import describe, shown
from dgl_merc.errors import InputError

__all__ = ["as_integers", "as_list", "as_numbers", "as_strings", "is_list", "is_number", "string"]

Floats = npt.NDArray[np.float64]


def string(value: object) -> str:
    """A string, also where the file holds bytes.

    Raises:
        ValueError: something else, or what UTF-8 can't hold.
    """
    if isinstance(value, bytes):
        return value.decode()
    if not isinstance(value, str):
        raise ValueError(describe(value))  # noqa: TRY004 - what the caller catches
    value.encode()
    return str(value)


def is_number(value: object) -> bool:
    """Whether something is a real number (a truth value is none, nor a span of time, which NumPy counts among the integers)."""
    return isinstance(value, numbers.Real) and not isinstance(value, bool | np.bool_ | np.timedelta64)


def is_list(value: object) -> TypeGuard[list[Any] | tuple[Any, ...] | npt.NDArray[Any]]:
    """Whether something is a list, a tuple, or an array of at least one dimension."""
    return isinstance(value, list | tuple) or (isinstance(value, np.ndarray) and value.ndim > 0)


def as_list(value: object, where: str) -> list[Any]:
    """The items of a list, a tuple or an array.

    Raises:
        InputError: something else; ``where`` begins the message.
    """
    if not is_list(value):
        raise InputError(f"{where}expected a list, found {describe(value)}")
    return list(value)


def as_strings(value: object, where: str) -> list[str]:
    """A list of strings.

    Raises:
        InputError: something else stands there; the message names the first.
    """
    made = []
    for number, item in enumerate(as_list(value, where)):
        try:
            made.append(string(item))
        except ValueError:
            raise InputError(f"{where}expected strings, found {shown(item)} as number {number}") from None
    return made


def as_numbers(value: object, where: str) -> Floats:
    """[N] from a list of numbers or from an array [N], [N, 1] or [N, 1, 1].

    Raises:
        InputError: anything else, or a number that float64 can't hold.
    """
    if isinstance(value, np.ndarray) and value.dtype.kind in "fiu":
        if value.ndim == 0 or value.size != len(value):
            raise InputError(f"{where}expected one number an utterance, found {describe(value)}")
        return value.reshape(-1).astype(np.float64)
    items = as_list(value, where)
    for number, item in enumerate(items):
        if not is_number(item):
            raise InputError(f"{where}expected numbers, found {shown(item)} as number {number}")
    try:
        return np.array([float(item) for item in items], dtype=np.float64)
    except OverflowError:
        raise InputError(f"{where}expected numbers, found one that is too great") from None


def as_integers(value: object, where: str) -> npt.NDArray[np.int64]:
    """[N] whole numbers, as :func:`as_numbers` finds them.

    Raises:
        InputError: one is not whole, or beyond 2**53.
    """
    found = as_numbers(value, where)
    with np.errstate(invalid="ignore"):
        wrong = ~((np.abs(found) <= 2.0**53) & (found == np.round(found)))
    if wrong.any():
        raise InputError(f"{where}expected whole numbers, found {found[np.argmax(wrong)]:g} as number {int(np.argmax(wrong))}")
    return found.astype(np.int64)
