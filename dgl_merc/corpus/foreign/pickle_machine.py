"""The stack machine of pickles, protocols 0 to 5, for data only: it runs a file's instructions and calls nothing.

Decoding of our own, not ``pickletools.genops``: that one refuses the text strings of Python 2's protocol 0 once they hold a byte above 127,
which every array of such a file does, and in a file of numbers takes longer by itself than ours does with all that follows.

Every instruction takes time in proportion to the bytes and stack items that it uses up (a hostile key is refused before it is hashed), and
a size that the file claims is held to what is there before anything is allocated: time and memory are linear in the file. The worst is
some 250 bytes of memory for one of the file (empty sets).

Source of the instructions: Python's Lib/pickletools.py, which documents each; Lib/pickle.py for what Python 2's strings become.
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from mmap import mmap
from typing import Any

from dgl_merc.corpus.foreign.pickle_keys import Keys
from dgl_merc.corpus.foreign.pickle_terms import NUMBERS, TEXTS, Global, Made, NotDataError, called, find, named, printable
from dgl_merc.corpus.foreign.pickle_text import latin1, long, number_text, unescaped, unquoted, utf8

__all__ = ["Machine"]

_ATOMS = NUMBERS | TEXTS

_U2, _U4, _U8 = struct.Struct("<H").unpack_from, struct.Struct("<I").unpack_from, struct.Struct("<Q").unpack_from
_I4, _F8 = struct.Struct("<i").unpack_from, struct.Struct(">d").unpack_from


class Machine:
    """One run over one file.

    Attributes:
        data: the file.
        pos: of the next byte.
        stack: above the last mark.
        marks: the stacks below it.
        memo: number -> value.
        shared: ``id`` of every container that the file uses a second time.
        keys: what admits keys.
    """

    def __init__(self, data: mmap | bytes, table: dict[tuple[str, str], Global]) -> None:
        self.data, self.pos, self.table = data, 0, table
        self.stack: list[Any] = []
        self.marks: list[list[Any]] = []
        self.memo: dict[int, Any] = {}
        self.shared: set[int] = set()
        self.keys = Keys()

    def run(self) -> Any:
        """The value that the file leaves, with :class:`Made` for whatever it calls.

        Raises:
            NotDataError: damaged, or anything but data.
        """
        data, handlers = self.data, _HANDLERS
        start = 0
        try:
            while True:
                start = self.pos
                code = data[start]
                self.pos = start + 1
                if code == 46:  # STOP
                    return self._result()
                handlers[code](self)
        except NotDataError:
            raise
        except (IndexError, struct.error, KeyError, ValueError, OverflowError) as error:
            if self.pos >= len(data):
                raise NotDataError(f"expected a whole pickle, found it cut off at byte {len(data)}; fetch the file again") from None
            why = f" ({printable(str(error))})" if isinstance(error, ValueError) else ""
            raise NotDataError(f"expected a pickle, found no sense in it at byte {start}{why}; it is damaged or something else") from None

    def _result(self) -> Any:
        if self.marks or len(self.stack) != 1:
            raise NotDataError("expected a pickle of one value, found values left over; it is damaged or made by hand")
        if self.pos != len(self.data):
            left = len(self.data) - self.pos
            raise NotDataError(
                f"expected one pickle, found {left} more bytes after it; keep only the first {self.pos} bytes, or fetch it again"
            )
        return self.stack[0]

    def take(self, count: int) -> bytes:
        """The next bytes; a size is held to what is there."""
        start, there = self.pos, len(self.data)
        if count > there - start:
            raise NotDataError(f"expected a whole pickle, found {count} bytes claimed where {there - start} are left; fetch the file again")
        self.pos = start + count
        return self.data[start : start + count]

    def line(self) -> bytes:
        """Up to the next newline, without it."""
        end = self.data.find(b"\n", self.pos)
        if end < 0:
            self.pos = len(self.data)
            raise IndexError
        start, self.pos = self.pos, end + 1
        return self.data[start:end]

    def number_line(self) -> str:
        """The same, of a number."""
        return number_text(self.line())

    def above_mark(self) -> list[Any]:
        """What was pushed since the last mark, taken off."""
        items, self.stack = self.stack, self.marks.pop()
        return items


Handler = Callable[[Machine], None]


def _push(value: Any) -> Handler:
    return lambda m: m.stack.append(value)


def _sized(size: int, unpack: Callable[..., tuple[Any, ...]], decode: Callable[[bytes], Any]) -> Handler:
    """Of an instruction whose argument is a length in ``size`` bytes, then so many bytes."""

    def handle(m: Machine) -> None:
        count = unpack(m.data, m.pos)[0]
        m.pos += size
        m.stack.append(decode(m.take(count)))

    return handle


def _byte(data: mmap | bytes, pos: int) -> tuple[int]:
    return (data[pos],)


def _signed(data: mmap | bytes, pos: int) -> tuple[int]:
    (count,) = _I4(data, pos)
    if count < 0:
        raise NotDataError(f"expected a size, found {count}; the file is damaged")
    return (count,)


def _fixed(size: int, unpack: Callable[..., tuple[Any, ...]]) -> Handler:
    def handle(m: Machine) -> None:
        m.stack.append(unpack(m.data, m.pos)[0])
        m.pos += size

    return handle


def _int(m: Machine) -> None:
    text = m.number_line()
    m.stack.append({"00": False, "01": True}[text] if text in ("00", "01") else int(text))


def _long_text(m: Machine) -> None:
    m.stack.append(int(m.number_line().removesuffix("L")))


def _float_text(m: Machine) -> None:
    m.stack.append(float(m.number_line()))


def _string(m: Machine) -> None:
    m.stack.append(unquoted(m.line()))


def _unicode(m: Machine) -> None:
    m.stack.append(unescaped(m.line()))


def _proto(m: Machine) -> None:
    version = m.data[m.pos]
    m.pos += 1
    if version > 5:
        raise NotDataError(f"expected a pickle of protocol 0 to 5, found {version}; it is damaged, or newer than this dglmerc")


def _frame(m: Machine) -> None:
    """Only says how many bytes to read ahead; nothing is read ahead here, and a claim beyond the end is refused."""
    (count,) = _U8(m.data, m.pos)
    m.pos += 8
    if count > (left := len(m.data) - m.pos):
        raise NotDataError(f"expected a whole pickle, found {count} bytes claimed where {left} are left; fetch the file again")


def _mark(m: Machine) -> None:
    m.marks.append(m.stack)
    m.stack = []


def _pop(m: Machine) -> None:
    if m.stack:
        m.stack.pop()
    else:
        m.above_mark()


def _pop_mark(m: Machine) -> None:
    m.above_mark()


def _dup(m: Machine) -> None:
    _again(m, m.stack[-1])


def _again(m: Machine, value: Any) -> None:
    if type(value) not in _ATOMS:
        m.shared.add(id(value))
    m.stack.append(value)


def _get_1(m: Machine) -> None:
    _again(m, m.memo[m.data[m.pos]])
    m.pos += 1


def _put_1(m: Machine) -> None:
    m.memo[m.data[m.pos]] = m.stack[-1]
    m.pos += 1


def _get_4(m: Machine) -> None:
    _again(m, m.memo[_U4(m.data, m.pos)[0]])
    m.pos += 4


def _put_4(m: Machine) -> None:
    m.memo[_U4(m.data, m.pos)[0]] = m.stack[-1]
    m.pos += 4


def _place(m: Machine) -> int:
    """Of the memo, as text. Numbers without bound could all have one hash: then every look-up takes as long as the memo is."""
    place = int(m.number_line())
    if not 0 <= place < 1 << 32:
        raise ValueError("a place in the memo that is none")
    return place


def _get_text(m: Machine) -> None:
    _again(m, m.memo[_place(m)])


def _put_text(m: Machine) -> None:
    m.memo[_place(m)] = m.stack[-1]


def _memoize(m: Machine) -> None:
    m.memo[len(m.memo)] = m.stack[-1]


def _tuple(m: Machine) -> None:
    items = tuple(m.above_mark())
    m.stack.append(items)


def _tuple_of(count: int) -> Handler:
    def handle(m: Machine) -> None:
        stack = m.stack
        if len(stack) < count:
            raise IndexError
        stack[-count:] = [tuple(stack[-count:])]

    return handle


def _list(m: Machine) -> None:
    items = m.above_mark()
    m.stack.append(items)


def _target(m: Machine, kind: type) -> Any:
    """What items are added to. Exactly a container of our own making."""
    value = m.stack[-1]
    if type(value) is not kind:
        found = value.maker.name if type(value) is Made else type(value).__name__
        raise NotDataError(f"expected a {kind.__name__} to add items to, found {printable(found)}; the file is damaged or made by hand")
    return value


def _append(m: Machine) -> None:
    value = m.stack.pop()
    _target(m, list).append(value)


def _appends(m: Machine) -> None:
    items = m.above_mark()
    _target(m, list).extend(items)


def _fill(m: Machine, into: dict[Any, Any], items: list[Any]) -> dict[Any, Any]:
    if len(items) % 2:
        raise ValueError("a key without its value")
    admit = m.keys.admit
    for key, value in zip(items[::2], items[1::2], strict=True):
        into[admit(key)] = value
    return into


def _dict(m: Machine) -> None:
    items = m.above_mark()
    m.stack.append(_fill(m, {}, items))


def _setitem(m: Machine) -> None:
    value, key = m.stack.pop(), m.stack.pop()
    _target(m, dict)[m.keys.admit(key)] = value


def _setitems(m: Machine) -> None:
    items = m.above_mark()
    _fill(m, _target(m, dict), items)


def _additems(m: Machine) -> None:
    items = m.above_mark()
    _target(m, set).update(map(m.keys.admit, items))


def _frozenset(m: Machine) -> None:
    items = m.above_mark()
    m.stack.append(frozenset(map(m.keys.admit, items)))


def _global(m: Machine) -> None:
    module, name = utf8(m.line()), utf8(m.line())
    m.stack.append(find(m.table, module, name))


def _stack_global(m: Machine) -> None:
    name, module = m.stack.pop(), m.stack.pop()
    m.stack.append(find(m.table, module, name))


def _reduce(m: Machine) -> None:
    args, maker = m.stack.pop(), m.stack.pop()
    m.stack.append(called(maker, args))


def _newobj_ex(m: Machine) -> None:
    keywords, args, maker = m.stack.pop(), m.stack.pop(), m.stack.pop()
    if keywords != {}:
        raise NotDataError("expected data only, found a call with named arguments; nothing was run; do not trust this file")
    m.stack.append(called(maker, args))


def _inst(m: Machine) -> None:
    module, name = utf8(m.line()), utf8(m.line())
    maker = find(m.table, module, name)
    args = tuple(m.above_mark())
    m.stack.append(called(maker, args))


def _obj(m: Machine) -> None:
    maker, *args = m.above_mark()
    m.stack.append(called(maker, tuple(args)))


def _build(m: Machine) -> None:
    state = m.stack.pop()
    made = m.stack[-1]
    if type(made) is not Made or made.state is not None:
        raise NotDataError(f"expected data only, found a state set on {named(made)}; nothing was run; do not trust this file")
    made.state = state


def _refuse(what: str) -> Handler:
    def handle(_: Machine) -> None:
        raise NotDataError(f"expected data only, found {what}, which only the program that wrote it can resolve; save the data itself")

    return handle


def _unknown(m: Machine) -> None:
    raise NotDataError(f"expected a pickle, found byte {m.data[m.pos - 1]} at {m.pos - 1}, no instruction; it is damaged or something else")


_OPCODES: dict[bytes, Handler] = {
    b"I": _int, b"J": _fixed(4, _I4), b"K": _fixed(1, _byte), b"M": _fixed(2, _U2), b"L": _long_text, b"\x8a": _sized(1, _byte, long),
    b"\x8b": _sized(4, _signed, long), b"S": _string, b"T": _sized(4, _signed, latin1), b"U": _sized(1, _byte, latin1),
    b"B": _sized(4, _U4, bytes), b"C": _sized(1, _byte, bytes), b"\x8e": _sized(8, _U8, bytes), b"\x96": _sized(8, _U8, bytearray),
    b"\x97": _refuse("a buffer outside of the file"), b"\x98": _refuse("a buffer outside of the file"),
    b"N": _push(None), b"\x88": _push(True), b"\x89": _push(False), b"V": _unicode, b"\x8c": _sized(1, _byte, utf8),
    b"X": _sized(4, _U4, utf8), b"\x8d": _sized(8, _U8, utf8), b"F": _float_text, b"G": _fixed(8, _F8),
    b"]": lambda m: m.stack.append([]), b"a": _append, b"e": _appends, b"l": _list,
    b")": _push(()), b"t": _tuple, b"\x85": _tuple_of(1), b"\x86": _tuple_of(2), b"\x87": _tuple_of(3),
    b"}": lambda m: m.stack.append({}), b"d": _dict, b"s": _setitem, b"u": _setitems,
    b"\x8f": lambda m: m.stack.append(set()), b"\x90": _additems, b"\x91": _frozenset,
    b"0": _pop, b"2": _dup, b"(": _mark, b"1": _pop_mark,
    b"g": _get_text, b"h": _get_1, b"j": _get_4, b"p": _put_text, b"q": _put_1, b"r": _put_4, b"\x94": _memoize,
    b"\x82": _refuse("an extension code"), b"\x83": _refuse("an extension code"), b"\x84": _refuse("an extension code"),
    b"c": _global, b"\x93": _stack_global, b"R": _reduce, b"b": _build, b"i": _inst, b"o": _obj, b"\x81": _reduce, b"\x92": _newobj_ex,
    b"\x80": _proto, b"\x95": _frame, b"P": _refuse("a persistent id"), b"Q": _refuse("a persistent id"),
}  # fmt: skip
_HANDLERS: list[Handler] = [_OPCODES.get(bytes([code]), _unknown) for code in range(256)]
