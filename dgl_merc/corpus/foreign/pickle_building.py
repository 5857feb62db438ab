"""From what a pickle left on the stack to plain data: calls become what they stand for, and everything is weighed.

A file may name one list a thousand times, and in that list another a thousand times: a few hundred bytes that a program which walks through
them takes for 10^30 values ("billion laughs"). So what is counted is the data unfolded, each use of a container or an array once more: 8
bytes a value, 48 a container, and the bytes of strings and arrays. It must stay within ``FACTOR`` times the file plus ``SLACK``. A value is
a byte at least, and weighs 8; an empty container weighs 56: nothing that shares no containers can exceed it; a file that shares one
vector of zeros among thousands of utterances has the slack. Data that contains itself, and data nested more than ``DEPTH`` deep, are
refused: no walk through them ends well.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from typing import Any

import numpy as np

from dgl_merc.corpus.foreign import pickle_numpy, pickle_pandas
from dgl_merc.corpus.foreign.pickle_keys import Keys
from dgl_merc.corpus.foreign.pickle_terms import NUMBERS, TEXTS, Global, Made, NotDataError, Part, Record, printable

__all__ = ["DEPTH", "FACTOR", "SLACK", "build"]

FACTOR = 64
"""Unfolded, the data may weigh this many times the file, and :data:`SLACK` besides."""
SLACK = 64 << 20
"""Bytes that are always allowed."""
DEPTH = 100
"""Levels of containers in each other, at most."""

_CONTAINER = 48

_ATOMS = NUMBERS | TEXTS


_Built = tuple[Any, int, int, str | None]
"""A value, what it weighs unfolded, how deep it is, and what in it is no data (or None). Tuples: there are millions."""


def build(value: Any, *, shared: set[int], keys: Keys, size: int) -> Any:
    """Plain data.

    Args:
        value: what the machine left.
        shared: ``id`` of every container that is used more than once.
        keys: what admits keys.
        size: bytes of the file.

    Raises:
        NotDataError: anything but data, or too much of it.
    """
    built, _, _, odd = _Builder(shared, keys, FACTOR * size + SLACK).of(value, 0)
    if odd is not None:
        raise NotDataError(f"expected data only, found {printable(odd)} among it; nothing was run; save what it stands for instead")
    return built


class _Builder:
    def __init__(self, shared: set[int], keys: Keys, limit: int) -> None:
        self._shared, self._keys, self._limit = shared, keys, limit
        self._spent = 0  # on what was built, whether it is used or not
        self._done: dict[int, _Built | None] = {}

    def of(self, value: Any, depth: int) -> _Built:
        """A value, built where needed. Containers are changed in place, so that what is shared stays so."""
        kind = type(value)
        if kind in NUMBERS:
            return value, 8, 0, None
        if kind in TEXTS:
            return value, 8 + len(value), 0, None
        if kind is Global:
            return (pickle_pandas.NA, 8, 0, None) if value.kind == "NA" else (value, 8, 0, value.name)
        if depth >= DEPTH:
            raise NotDataError(f"expected data nested at most {DEPTH} deep, found deeper; do not trust this file")
        if id(value) in self._shared:
            return self._once(value, depth)
        built = _WAYS[kind](self, value, depth)
        if built[1] > self._limit:
            raise self._too_much(built[1])
        return built

    def _once(self, value: Any, depth: int) -> _Built:
        """What is shared is built the first time. ``_done`` has None while that lasts."""
        key = id(value)
        if key in self._done:
            built = self._done[key]
            if built is None:
                raise NotDataError("expected data, found a list, dict or array that contains itself; save it without the circle")
            if depth + built[2] > DEPTH:
                raise NotDataError(f"expected data nested at most {DEPTH} deep, found deeper; do not trust this file")
            return built
        self._done[key] = None
        self._done[key] = built = _WAYS[type(value)](self, value, depth)
        if built[1] > self._limit:
            raise self._too_much(built[1])
        return built

    def _too_much(self, weight: int) -> NotDataError:
        return NotDataError(
            f"expected data of at most {self._limit} bytes from a file of this size ({FACTOR} times it and {SLACK}), found more "
            f"({min(weight, 10**18)} or more): the same lists or arrays used over and over; do not trust this file"
        )

    def all_of(self, values: Collection[Any], depth: int) -> tuple[list[Any] | None, int, int, str | None]:
        """(the built values, or None if they are what they were; weight, depth, what is odd)."""
        weight = 8 * len(values)
        kinds = set(map(type, values))
        if kinds <= _ATOMS:
            if not kinds <= NUMBERS:
                weight += sum([len(v) for v in values if type(v) in TEXTS])
            return None, weight, 0, None
        made: list[Any] = []
        deepest, odd, changed = 0, None, False
        for value in values:
            if type(value) in NUMBERS:
                made.append(value)
                continue
            built, own, below, its_odd = self.of(value, depth + 1)
            made.append(built)
            weight += own
            if below >= deepest:
                deepest = below + 1
            if its_odd is not None:
                odd = its_odd
            if built is not value:
                changed = True
        return (made if changed else None), weight, deepest, odd

    def list_of(self, value: list[Any], depth: int) -> _Built:
        made, weight, deepest, odd = self.all_of(value, depth)
        if made is not None:
            value[:] = made
        return value, _CONTAINER + weight, deepest + 1, odd

    def tuple_of(self, value: tuple[Any, ...], depth: int) -> _Built:
        made, weight, deepest, odd = self.all_of(value, depth)
        return (value if made is None else tuple(made)), _CONTAINER + weight, deepest + 1, odd

    def dict_of(self, value: dict[Any, Any], depth: int) -> _Built:
        keys, key_weight, key_depth, key_odd = self.all_of(value.keys(), depth)
        values, weight, deepest, odd = self.all_of(value.values(), depth)
        if keys is not None:
            rebuilt = dict(zip(map(self._keys.admit, keys), values or value.values(), strict=True))
            value.clear()
            value.update(rebuilt)
        elif values is not None:
            value.update(zip(value, values, strict=True))
        return value, _CONTAINER + key_weight + weight, max(key_depth, deepest) + 1, odd or key_odd

    def set_of(self, value: set[Any], depth: int) -> _Built:
        made, weight, deepest, odd = self.all_of(value, depth)
        if made is not None:
            value.clear()
            value.update(map(self._keys.admit, made))
        return value, _CONTAINER + weight, deepest + 1, odd

    def frozenset_of(self, value: frozenset[Any], depth: int) -> _Built:
        made, weight, deepest, odd = self.all_of(value, depth)
        return (value if made is None else frozenset(map(self._keys.admit, made))), _CONTAINER + weight, deepest + 1, odd

    def made_of(self, value: Made, depth: int) -> _Built:
        """A call. What it was given is built first, then let go: an array's bytes are not kept beside the array."""
        maker = _MAKERS.get(value.maker.kind)
        if maker is None:
            raise NotDataError(f"expected data only, found a call of {value.maker.name}; nothing was run; do not trust this file")
        args, weight, deepest, odd = self.of(value.args, depth + 1)
        state = None
        if value.state is not None:
            state, more, below, state_odd = self.of(value.state, depth + 1)
            weight, deepest, odd = weight + more, max(deepest, below), odd or state_odd
        value.args, value.state = (), None
        self.spend(weight)
        built: Any
        try:
            built = maker(value.maker, args, state, self)
        except NotDataError:
            raise
        except (ValueError, OverflowError) as error:  # what NumPy thinks of parts that don't go together
            raise NotDataError(
                f"expected the parts of {value.maker.name}, found others ({printable(str(error))}); the file is damaged"
            ) from None
        if type(built) is Part:
            return built, weight, deepest + 1, f"a {built.kind} of {value.maker.name}"
        if isinstance(built, np.dtype):  # every array of the file names the same
            weight = 8
        return built, weight, deepest + 1, odd if value.maker.kind in _HOLDING else None

    def spend(self, weight: int) -> None:
        """Hold what is about to be built to the limit.

        Raises:
            NotDataError: too much.
        """
        self._spent += weight
        if self._spent > self._limit:
            raise self._too_much(self._spent)

    def members(self, values: Any) -> list[Any]:
        """Of a set that is to be made of a list."""
        if type(values) is not list:
            raise NotDataError(f"expected the members of a set as a list, found a {type(values).__name__}; the file is damaged")
        return [self._keys.admit(member) for member in values]


_Way = Callable[[_Builder, Any, int], _Built]
_WAYS: dict[type, _Way] = {
    list: _Builder.list_of,
    tuple: _Builder.tuple_of,
    dict: _Builder.dict_of,
    set: _Builder.set_of,
    frozenset: _Builder.frozenset_of,
    Made: _Builder.made_of,
}


def _one(args: tuple[Any, ...], kind: type | tuple[type, ...], what: str) -> Any:
    if len(args) != 1 or not isinstance(args[0], kind):
        raise NotDataError(f"expected {what} from one value of its kind, found another call; the file is damaged or made by hand")
    return args[0]


def _stateless(state: Any, what: str) -> None:
    if state is not None:
        raise NotDataError(f"expected {what}, found one with attributes of its own; save it as plain data")


def _record(maker: Global, args: tuple[Any, ...], state: Any, _: _Builder) -> Record:
    if type(state) is tuple and len(state) == 2 and state[0] is None:  # a class with __slots__
        state = state[1]
    fields = {} if state is None else state
    if args or type(fields) is not dict or not all(type(name) is str for name in fields):
        raise NotDataError(f"expected the fields of {maker.name} by name, found something else; the file is damaged or of another program")
    return Record(maker.name, fields)


def _set(maker: Global, args: tuple[Any, ...], state: Any, b: _Builder) -> Any:
    _stateless(state, "a set")
    return (frozenset if maker.kind == "frozenset" else set)(b.members(_one(args, list, "a set")) if args else [])


def _mapping(_: Global, args: tuple[Any, ...], state: Any, b: _Builder) -> dict[Any, Any]:
    """Counter(dict), or OrderedDict([[key, value], ...]) as Python 2 wrote it."""
    _stateless(state, "a dict")
    given = _one(args, (dict, list), "a dict") if args else {}
    if type(given) is dict:
        return dict(given)
    if not all(type(pair) in (list, tuple) and len(pair) == 2 for pair in given):
        raise NotDataError("expected pairs of key and value, found something else; the file is damaged")
    return {b._keys.admit(key): value for key, value in given}


def _bytes(_: Global, args: tuple[Any, ...], state: Any, __: _Builder) -> bytes:
    _stateless(state, "bytes")
    return bytes(_one(args, bytes, "bytes")) if args else b""


def _bytearray(maker: Global, args: tuple[Any, ...], state: Any, b: _Builder) -> bytearray:
    _stateless(state, "a bytearray")
    if len(args) == 2:
        return bytearray(_encode(maker, args, state, b))
    return bytearray(_one(args, (bytes, bytearray), "a bytearray")) if args else bytearray()


def _encode(_: Global, args: tuple[Any, ...], state: Any, __: _Builder) -> bytes:
    """Bytes, as protocols 0 to 2 of Python 3 write them: every byte a character."""
    _stateless(state, "bytes")
    if len(args) != 2 or type(args[0]) is not str or type(args[1]) is not str or args[1] not in ("latin1", "latin-1"):
        raise NotDataError("expected bytes as latin1 text, found another encoding; the file is damaged or made by hand")
    raw: bytes = args[0].encode("latin-1")
    return raw


def _complex(_: Global, args: tuple[Any, ...], state: Any, __: _Builder) -> complex:
    _stateless(state, "a complex number")
    if len(args) != 2 or not all(type(part) is float for part in args):
        raise NotDataError("expected a complex number of two floats, found something else; the file is damaged")
    return complex(*args)


_Maker = Callable[[Global, tuple[Any, ...], Any, _Builder], Any]
_MAKERS: dict[str, _Maker] = {
    "record": _record,
    "set": _set,
    "frozenset": _set,
    "dict": _mapping,
    "counter": _mapping,
    "bytes": _bytes,
    "bytearray": _bytearray,
    "encode": _encode,
    "complex": _complex,
    **pickle_numpy.MAKERS,
    **pickle_pandas.MAKERS,
}
_HOLDING = frozenset({"record", "set", "frozenset", "dict", "counter"})
"""What may still hold, once made, what it was made from."""
