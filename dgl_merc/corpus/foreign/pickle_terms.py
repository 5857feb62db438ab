"""What a pickle may name, and the inert terms that stand for it until everything is read.

A pickle is a program for a stack machine: it names functions of any module and calls them. Ours
(:mod:`dgl_merc.corpus.foreign.pickle_machine`) looks a name up in ``ADMITTED`` and nowhere else; it imports nothing and calls nothing. A
call becomes a :class:`Made`, which only remembers its arguments; :mod:`dgl_merc.corpus.foreign.pickle_building` makes our own plain data of
it, after the whole file was read and weighed.

The names are those that Python 2.7 and 3, NumPy 1 and 2 and pandas 0.25 to 3 write; each was taken from what ``object.__reduce_ex__``
returns there.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any

__all__ = [
    "ADMITTED",
    "NUMBERS",
    "TEXTS",
    "Global",
    "Made",
    "NotDataError",
    "Part",
    "Record",
    "admitted",
    "called",
    "find",
    "named",
    "printable",
]

NUMBERS = frozenset({int, float, bool, type(None), complex})
"""Types of numbers, truth values and None."""
TEXTS = frozenset({str, bytes, bytearray})
"""Types of text and bytes."""


class NotDataError(ValueError):
    """A pickle that is damaged, or holds anything but data. The message is a person's, without the file: ``expected ..., found ...``."""


@dataclass(frozen=True)
class Record:
    """An instance of a class that a layout names: its fields, and nothing of the class.

    Attributes:
        name: ``"module.Class"``, as the file has it.
        fields: the instance's attributes.
    """

    name: str
    fields: dict[str, Any]


@dataclass(frozen=True, slots=True)
class Global:
    """A name that the file gave and that is admitted: ``kind`` says which of our builders it stands for."""

    name: str
    kind: str


@dataclass(frozen=True, slots=True)
class Part:
    """Something built that is no data by itself, as a block of a table or a slice: it may only stand inside of another."""

    kind: str
    content: Any


class Made:
    """A call, remembered: what of, with which arguments, and the state that was given to its result (once)."""

    __slots__ = ("args", "maker", "state")

    def __init__(self, maker: Global, args: tuple[Any, ...]) -> None:
        self.maker, self.args = maker, args
        self.state: Any = None


_KINDS = {
    "bytes": "builtins.bytes",
    "bytearray": "builtins.bytearray",
    "complex": "builtins.complex",
    "set": "builtins.set",
    "frozenset": "builtins.frozenset",
    "slice": "builtins.slice",
    # only as the factory of a defaultdict, or as the base of _reconstructor
    "type": "builtins.int builtins.long builtins.float builtins.str builtins.unicode builtins.bool builtins.list builtins.dict "
    "builtins.tuple builtins.object",
    "encode": "_codecs.encode",
    "reconstructor": "copyreg._reconstructor",
    "newobj": "copyreg.__newobj__",
    "dict": "collections.OrderedDict",
    "defaultdict": "collections.defaultdict",
    "counter": "collections.Counter",
    "deque": "collections.deque",
    "ndarray": "numpy.ndarray",
    "dtype": "numpy.dtype",
    "array": "numpy.core.multiarray._reconstruct",
    "scalar": "numpy.core.multiarray.scalar",
    "frombuffer": "numpy.core.numeric._frombuffer",
    "frame": "pandas.DataFrame pandas.core.frame.DataFrame",
    "series": "pandas.Series pandas.core.series.Series",
    "index_type": "pandas.Index pandas.core.indexes.base.Index pandas.RangeIndex pandas.core.indexes.range.RangeIndex "
    "pandas.DatetimeIndex pandas.core.indexes.datetimes.DatetimeIndex pandas.TimedeltaIndex pandas.core.indexes.timedeltas.TimedeltaIndex "
    "pandas.core.indexes.numeric.Int64Index pandas.core.indexes.numeric.UInt64Index pandas.core.indexes.numeric.Float64Index",
    "index": "pandas.core.indexes.base._new_Index pandas.core.indexes.datetimes._new_DatetimeIndex",
    "manager": "pandas.core.internals.managers.BlockManager pandas.core.internals.managers.SingleBlockManager",
    "block": "pandas._libs.internals._unpickle_block",
    "backed": "pandas._libs.arrays.__pyx_unpickle_NDArrayBacked",
    "backed_type": "pandas.arrays.DatetimeArray pandas.arrays.TimedeltaArray pandas.arrays.StringArray "
    "pandas.core.arrays.datetimes.DatetimeArray pandas.core.arrays.timedeltas.TimedeltaArray pandas.core.arrays.string_.StringArray",
    "arrow_strings": "pandas.arrays.ArrowStringArray pandas.core.arrays.string_arrow.ArrowStringArray",
    "string_dtype": "pandas.StringDtype pandas.core.arrays.string_.StringDtype",
    "NA": "pandas.NA pandas._libs.missing.NA",
    "arrow_array": "pyarrow.lib._restore_array",
    "arrow_chunks": "pyarrow.lib.chunked_array",
    "arrow_type": "pyarrow.lib.type_for_alias",
    "arrow_buffer": "pyarrow.lib.py_buffer",
}
_ALSO = {"builtins": "__builtin__", "copyreg": "copy_reg", "numpy.core": "numpy._core"}
"""The same modules under their other names: Python 2's, and NumPy 2's."""


def _table() -> dict[tuple[str, str], Global]:
    table = {}
    for kind, names in _KINDS.items():
        for whole in names.split():
            module, _, name = whole.rpartition(".")
            others = [module.replace(here, there, 1) for here, there in _ALSO.items() if (module + ".").startswith(here + ".")]
            for where in [module, *others]:
                table[where, name] = Global(f"{where}.{name}", kind)
    return table


ADMITTED = _table()
"""(module, name), exactly as a file writes them -> what it stands for."""


def admitted(records: Collection[str]) -> dict[tuple[str, str], Global]:
    """The table, with the classes of a layout, ``"module.Class"``.

    Raises:
        ValueError: a name without its module.
    """
    table = dict(ADMITTED)
    for whole in records:
        module, _, name = whole.rpartition(".")
        if not module:
            raise ValueError(f"expected module.Class, got {whole!r}")
        table[module, name] = Global(whole, "record")
    return table


def printable(name: str) -> str:
    """A name from a file as a message may have it: printable, on one line, not long."""
    text = name[:80].encode("unicode_escape").decode("ascii")
    return text + ("…" if len(name) > 80 else "")


def find(table: Mapping[tuple[str, str], Global], module: Any, name: Any) -> Global:
    """The door: a name that is not in the table ends the reading."""
    if type(module) is not str or type(name) is not str:
        raise NotDataError("expected data only, found a global whose name is no text; nothing was run; do not trust this file")
    found = table.get((module, name))
    if found is None:
        whole = printable(f"{module}.{name}")
        raise NotDataError(f"expected data only, found {whole}: a pickle may run any code; nothing was run; {_advice(module)}")
    return found


def _advice(module: str) -> str:
    if module.split(".")[0] in ("torch", "tensorflow", "jax"):
        return "whoever made the file can save its tensors as NumPy arrays, tensor.numpy(), in an .npz"
    return "whoever made the file can save its numbers and strings as .npz or CSV"


def called(maker: Any, args: Any) -> Any:
    """A call, remembered. What only makes an empty container is one at once, since items are added to it."""
    if type(maker) is not Global or type(args) is not tuple:
        raise NotDataError(f"expected data only, found a call of {named(maker)}; nothing was run; do not trust this file")
    kind = maker.kind
    if kind == "newobj" and args and type(args[0]) is Global and args[0].kind != "newobj":
        return called(args[0], args[1:])
    if kind == "reconstructor":  # (class, object, None), as protocols 0 and 1 write an instance
        if len(args) != 3 or args[2] is not None or type(args[1]) is not Global or args[1].kind != "type":
            raise NotDataError("expected an instance of a plain class, found a derived one; save its fields instead")
        return called(args[0], ())
    if kind == "defaultdict" or (kind == "dict" and not args):
        return {}
    if kind == "deque" and (not args or args[0] == ()):
        return []
    return Made(maker, args)


def named(maker: Any) -> str:
    """What something on the stack is, for a message."""
    return maker.maker.name if type(maker) is Made else f"a {type(maker).__name__}"
