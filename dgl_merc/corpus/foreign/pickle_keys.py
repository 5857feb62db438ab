"""Keys of dictionaries and members of sets, admitted before they are hashed.

Python looks a key up among those of the same hash, one after another. The hashes of strings and bytes are keyed by a secret of the
process; those of numbers and tuples are not, and a file can hold a million that are all the same: (-1, -2, -1, ...) and (-2, -2, -1,
...), say, as hash(-1) is hash(-2). Numbers below 2**60 have hashes of their own. Of everything else, few may share one.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from dgl_merc.corpus.foreign.pickle_terms import Made, NotDataError, printable

__all__ = ["Keys"]

_LENGTH = 4096
"""Of a key, in characters: two that are equal are compared to the end, every time."""
_ITEMS = 16
_DEPTH = 3
_ALIKE = 16


class Keys:
    """Which keys a file has used, of those whose hashes a file can choose."""

    def __init__(self) -> None:
        self._seen: dict[int, list[Any]] = {}

    def admit(self, key: Any) -> Any:
        """The key, if it can be one; a :class:`Made` is one by its identity, until it is built.

        Raises:
            NotDataError: too long or too deep, of another type, or many of the same hash.
        """
        kind = type(key)
        if kind is str or kind is bytes:
            if len(key) > _LENGTH:
                raise NotDataError(
                    f"expected keys of at most {_LENGTH} characters, found one of {len(key)}; save the data as lists instead"
                )
            return key
        if key is None or kind is Made or (kind is int and -(1 << 60) < key < 1 << 60):
            return key
        _check(key, _DEPTH)
        alike = self._seen.setdefault(hash(key), [])
        if key not in alike:
            alike.append(key)
            if len(alike) > _ALIKE:
                raise NotDataError("expected keys with hashes of their own, found many with the same; do not trust this file")
        return key


def _check(key: Any, depth: int) -> None:
    """A number, a string, or a short tuple or frozenset of such."""
    if isinstance(key, (tuple, frozenset)) and type(key) in (tuple, frozenset):
        if len(key) > _ITEMS or not depth:
            raise NotDataError(f"expected keys of at most {_ITEMS} parts, {_DEPTH} deep, found more; save the data as lists instead")
        for part in key:
            _check(part, depth - 1)
    elif isinstance(key, (str, bytes)):
        if len(key) > _LENGTH:
            raise NotDataError(f"expected keys of at most {_LENGTH} characters, found one of {len(key)}; save the data as lists instead")
    elif not (key is None or isinstance(key, (int, float, complex, Made)) or (isinstance(key, np.generic) and key.dtype.kind != "V")):
        raise NotDataError(
            f"expected a number, a string or a tuple of them as key, found a {printable(type(key).__name__)}; the file is damaged"
        )
