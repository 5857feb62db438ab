"""What a published file holds, held to be what was published: strings, numbers and sequences of vectors, or one line that says no."""

from __future__ import annotations

import numbers
from typing import Any

import numpy as np
import numpy.typing as npt

from dgl_merc.corpus.reading.content import describe
from dgl_merc.errors import InputError

__all__ = ["as_integers", "as_list", "as_numbers", "as_strings", "as_vectors", "is_number", "string"]

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


def as_list(value: object, where: str) -> list[Any]:
    """The items of a list, a tuple or an array.

    Raises:
        InputError: something else; ``where`` begins the message.
    """
    if isinstance(value, list | tuple):
        return list(value)
    if isinstance(value, np.ndarray) and value.ndim > 0:
        return list(value)
    raise InputError(f"{where}expected a list, found {describe(value)}")


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
            raise InputError(f"{where}expected strings, found {_found(item)} as number {number}") from None
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
            raise InputError(f"{where}expected numbers, found {_found(item)} as number {number}")
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


def as_vectors(value: object, count: int, where: str) -> tuple[npt.NDArray[Any], npt.NDArray[np.int64]]:
    """Vectors [R, W] and the utterances [R] they belong to, from an array [count, W] or a list of ``count`` vectors of one width.

    An item that is None or empty is an absent vector.

    Raises:
        InputError: anything else; the message names the utterance by its number.
    """
    if isinstance(value, np.ndarray) and value.dtype.kind in "fiu":
        if value.ndim != 2 or len(value) != count or value.shape[1] == 0:
            raise InputError(f"{where}expected {count} vectors, one an utterance, found {describe(value)}")
        return value, np.arange(count)
    items = as_list(value, where)
    if len(items) != count:
        raise InputError(f"{where}expected {count} vectors, one an utterance, found {len(items)}")
    there = [number for number, item in enumerate(items) if not _is_absent(item)]
    rows = [_vector(items[number], f"{where}utterance {number}: ") for number in there]
    for number, row in zip(there, rows, strict=True):
        if len(row) != len(rows[0]):
            raise InputError(f"{where}utterance {number}: expected width {len(rows[0])} as before, found {len(row)}")
    return np.stack(rows) if rows else np.empty((0, 0)), np.array(there, dtype=np.int64)


def _is_absent(item: object) -> bool:
    return item is None or (isinstance(item, np.ndarray) and item.shape == (0,)) or (isinstance(item, list | tuple) and not item)


def _vector(item: object, where: str) -> npt.NDArray[Any]:
    if isinstance(item, np.ndarray) and item.dtype.kind in "fiu" and item.ndim == 1:
        return item
    if isinstance(item, list | tuple):
        return as_numbers(item, where)
    raise InputError(f"{where}expected a vector, found {describe(item)}")


def _found(item: object) -> str:
    """An item in words: a short string as it is."""
    if isinstance(item, str):
        return repr(item) if len(item) <= 40 else f"{item[:37]!r}..."
    return describe(item)
