"""One vector an utterance, dialogue by dialogue: how published pickles hold features.

A dialogue of n utterances has an array [n, W], or n vectors: arrays [W] or [1, W], or lists of W numbers. An utterance whose vector is
``None`` or empty has none. The content comes from strangers: it is measured before it is put together, so that a small file that names
one vector a million times is refused instead of filling memory.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from dgl_merc.corpus.readers.layout import Vectors
from dgl_merc.corpus.reading.content import shown
from dgl_merc.corpus.reading.plain import is_list
from dgl_merc.errors import InputError, at

__all__ = ["Held", "mean", "refuse_repeats", "sequence", "stack"]

Array = npt.NDArray[Any]
_MOST, _TIMES = 2**26, 8
_ABSENT = "None or empty in the file"


@dataclass(frozen=True)
class Held:
    """What a file holds for one dialogue.

    Attributes:
        dialogue: its name.
        utterances: [n] their names.
        value: of the file, unchecked.
    """

    dialogue: str
    utterances: Sequence[str]
    value: Any


def sequence(path: Path, what: str, held: Held) -> Any:
    """The n values of a dialogue, one an utterance: a list, tuple or array.

    Raises:
        InputError: no list, tuple or array, or of another length.
    """
    value, where = held.value, at(path, dialogue=held.dialogue)
    if not is_list(value):
        raise InputError(f"{where}{what}: expected a list with one entry an utterance, found {shown(value)}")
    if len(value) != len(held.utterances):
        raise InputError(f"{where}{what}: expected {len(held.utterances)} entries, one an utterance, found {len(value)}")
    return value


def refuse_repeats(path: Path, what: str, sizes: Sequence[tuple[int, int]], most: int = _MOST) -> None:
    """A file may say one thing several times over, but not blow up by it.

    Args:
        path: of the file.
        what: is counted.
        sizes: (identity, size) of every piece in turn.
        most: that is always allowed.

    Raises:
        InputError: more than ``most`` in all, and more than eight times what the file really holds.
    """
    total, distinct = sum(size for _, size in sizes), sum(dict(sizes).values())
    if total > max(most, _TIMES * distinct):
        raise InputError(
            f"{at(path)}{what}: expected each piece of data about once, found {distinct} repeated to {total}; it would not fit"
        )


def stack(path: Path, name: str, dialogues: Sequence[Held]) -> Vectors:
    """The vectors of all utterances.

    Args:
        path: of the file.
        name: of the array.
        dialogues: U utterances in all.

    Returns:
        R <= U vectors, how many are all zero, and whose they are.

    Raises:
        InputError: a dialogue has another number of vectors than utterances, a vector is not one of real numbers, or of another width.
    """
    pieces: list[Array] = []
    sizes: list[tuple[int, int]] = []
    owners: list[Array] = []
    known: dict[int, Array | None] = {}
    begin, width = 0, None
    for held in dialogues:
        value, count = sequence(path, name, held), len(held.utterances)
        if isinstance(value, np.ndarray) and value.dtype != object:
            found: list[tuple[int, Array | None, int]] = [(0, _matrix(path, name, held, value), id(value))]
        else:
            found = [(k, _row(path, name, held, k, known), id(entry)) for k, entry in enumerate(value)]
        for k, piece, identity in found:
            if piece is None:
                continue
            width = width or piece.shape[1]
            if piece.shape[1] != width:
                where = at(path, dialogue=held.dialogue, utterance=held.utterances[k])
                raise InputError(f"{where}{name}: expected vectors of width {width} as before, found {piece.shape[1]}")
            pieces.append(piece)
            sizes.append((identity, piece.size))
            owners.append(np.arange(begin + k, begin + k + len(piece)))
        begin += count
    if not pieces:
        raise InputError(f"{at(path)}{name}: expected at least one vector, found none")
    refuse_repeats(path, name, sizes)
    values, owner = np.concatenate(pieces), np.concatenate(owners)
    zero = int((~values.any(axis=1)).sum())
    notes = (f"{zero} of {len(values)} vectors are all zero in the file; they are kept as they are",) if zero else ()
    return Vectors(values, None if len(owner) == begin else owner, _ABSENT, notes)


def mean(path: Path, name: str, layers: Sequence[Callable[[], Vectors]], count: int) -> Vectors:
    """The mean of several arrays, of the utterances that are in all of them. One is read at a time, for large files.

    Args:
        path: of the file.
        name: of what is made.
        layers: what reads each.
        count: of utterances.

    Raises:
        InputError: they are not of one width.
    """
    first = layers[0]()
    total, owner, notes = first.values, first.owners(count), first.notes
    for k, read in enumerate(layers[1:], start=2):
        layer = read()
        theirs = layer.owners(count)
        if layer.values.shape[1] != total.shape[1]:
            found = f"{total.shape[1]} in the first and {layer.values.shape[1]} in the {k}th"
            raise InputError(f"{at(path)}{name}: expected {len(layers)} layers of one width, found {found}")
        total = total[np.isin(owner, theirs)] + layer.values[np.isin(theirs, owner)]
        owner, notes = np.intersect1d(owner, theirs), notes + layer.notes
    return Vectors(total / len(layers), None if len(owner) == count else owner, first.why_absent, notes)


def _matrix(path: Path, name: str, held: Held, value: Array) -> Array:
    """The vectors of a dialogue, [n, W]."""
    if value.ndim != 2 or value.shape[1] == 0 or value.dtype.kind not in "fiu":
        where = at(path, dialogue=held.dialogue)
        raise InputError(f"{where}{name}: expected real numbers [{len(value)}, width], found {shown(value)}")
    return value


def _row(path: Path, name: str, held: Held, k: int, known: dict[int, Array | None]) -> Array | None:
    """One utterance's vector as [1, W]; None: it has none. Each is looked at once, however often the file names it."""
    entry = held.value[k]
    if id(entry) not in known:
        known[id(entry)] = _vector(path, name, held, k, entry)
    return known[id(entry)]


def _vector(path: Path, name: str, held: Held, k: int, entry: Any) -> Array | None:
    if entry is None or (isinstance(entry, list | tuple) and not entry):
        return None
    if isinstance(entry, list | tuple) and all(issubclass(kind, _REAL) and kind not in _NOT_REAL for kind in set(map(type, entry))):
        try:
            return np.array(entry, dtype=np.float64)[None]
        except OverflowError:  # a whole number beyond float64
            pass
    if isinstance(entry, np.ndarray) and entry.dtype.kind in "fiu":
        if entry.ndim == 2 and len(entry) == 1:
            entry = entry[0]
        if entry.ndim == 1:
            return entry[None] if entry.size else None
    where = at(path, dialogue=held.dialogue, utterance=held.utterances[k])
    raise InputError(f"{where}{name}: expected a vector of real numbers, found {shown(entry)}")


_REAL, _NOT_REAL = (int, float, np.integer, np.floating), (bool, np.timedelta64)
