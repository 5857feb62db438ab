"""pandas' tables from their pickled parts: through pandas' public constructors only, each part checked before.

A DataFrame or Series is an instance with the state {"_mgr" (before 1.1: "_data"): manager, ...}. A manager is blocks (columns of one dtype
stacked, [columns, rows], with their places) and axes (of a frame: columns, index), as ``BlockManager(blocks, axes)`` since pandas 1.3 and
as (axes, values, items, {"0.14.1": {"axes": axes, "blocks": [{"values", "mgr_locs"}, ...]}}) before, and for Series to this day. Columns
are NumPy's, dates without a time zone, or strings (pandas' own and Arrow's). Categories, nullable numbers, periods, time zones and
MultiIndex are refused by name.

Sources: pandas/core/generic.py (NDFrame.__getstate__), core/internals/managers.py (SingleBlockManager.__getstate__), _libs/internals.pyx
(BlockManager.__reduce__, _unpickle_block), core/indexes/base.py (_new_Index), _libs/arrays.pyx (NDArrayBacked.__setstate__),
core/arrays/string_arrow.py; pyarrow/array.pxi (_restore_array).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from dgl_merc.corpus.foreign.pickle_arrow import ARROW_MAKERS
from dgl_merc.corpus.foreign.pickle_numpy import Purse
from dgl_merc.corpus.foreign.pickle_terms import Global, NotDataError, Part

__all__ = ["MAKERS", "NA"]

NA: Any = pd.NA
"""A missing text, as pandas has it."""

Array = npt.NDArray[Any]
_COLUMNS = 1 << 20
_TABLE_WEIGHT, _COLUMN_WEIGHT = 8192, 1024
"""Bytes that a table, and each of its columns, count for: what pandas takes to make them, even of nothing."""
_FAULTS = (ValueError, TypeError, KeyError, IndexError, AttributeError, OverflowError, NotImplementedError, AssertionError)
"""What pandas' constructors raise on columns that don't go together."""


def _fault(what: str) -> NotDataError:
    return NotDataError(f"expected {what} of a pandas table, found something else; save the table as CSV or parquet instead")


def _part(value: Any, kind: str, what: str) -> Any:
    if type(value) is not Part or value.kind != kind:
        raise _fault(what)
    return value.content


def make_slice(_: Global, args: tuple[Any, ...], state: Any, __: Purse) -> Part:
    if state is not None or len(args) != 3 or not all(n is None or type(n) is int for n in args):
        raise _fault("a slice")
    return Part("slice", slice(*args))


def make_string_dtype(_: Global, args: tuple[Any, ...], state: Any, __: Purse) -> Part:
    """StringDtype(storage, missing value). A dtype of pandas 1 has no arguments."""
    if (state is not None and type(state) is not dict) or len(args) > 2 or (args and type(args[0]) is not str):
        raise _fault("a dtype of strings")
    missing = args[1] if len(args) == 2 else pd.NA
    if missing is not pd.NA and not (type(missing) is float and missing != missing):
        raise _fault("NaN or NA for missing strings")
    return Part("string_dtype", _by_pandas(lambda: pd.StringDtype(args[0] if args else "python", na_value=missing)))


def make_backed(_: Global, args: tuple[Any, ...], state: Any, __: Purse) -> Part:
    """A date or string array: ``__pyx_unpickle_NDArrayBacked(class, checksum, None)`` with the state (dtype, array[, attributes])."""
    if len(args) != 3 or type(args[0]) is not Global or args[0].kind != "backed_type" or args[2] is not None:
        raise _fault("an array of dates or strings")
    if type(state) is not tuple or len(state) not in (2, 3) or not isinstance(state[1], np.ndarray):
        raise _fault("an array of dates or strings")
    dtype, x = state[:2]
    if isinstance(dtype, np.dtype) and x.dtype == dtype and dtype.kind in "Mm":
        return Part("column", x)
    whole = _part(dtype, "string_dtype", "dates without a time zone, or strings")
    if x.dtype.kind != "O" or x.ndim > 2:
        raise _fault("an array of strings")
    return Part("column", _strings(x.reshape(-1).tolist(), whole))


def _strings(values: list[Any], dtype: Any) -> Any:
    if not all(type(v) is str or v is None or v is pd.NA or (type(v) is float and v != v) for v in values):
        raise _fault("an array of strings")
    return _by_pandas(lambda: pd.array(values, dtype=dtype))


def make_arrow_strings(_: Global, args: tuple[Any, ...], state: Any, __: Purse) -> Part:
    """ArrowStringArray: an instance with {"_pa_array" (pandas 1: "_data"): array, "_dtype": dtype, ...}."""
    if args or type(state) is not dict:
        raise _fault("an array of strings")
    values = _part(state.get("_pa_array", state.get("_data")), "arrow_array", "Arrow's strings")
    dtype = _part(state.get("_dtype"), "string_dtype", "a dtype of strings")
    return Part("column", _strings(values, dtype))


def make_index(_: Global, args: tuple[Any, ...], state: Any, purse: Purse) -> Any:
    """``_new_Index(class, {"data" or "start", "stop", "step"; "name"})``."""
    if state is not None or len(args) != 2 or type(args[0]) is not Global or args[0].kind != "index_type" or type(args[1]) is not dict:
        raise _fault("an index")
    given = args[1]
    name = _name(given.get("name"))
    if args[0].name.endswith("RangeIndex"):
        bounds = [n for key in ("start", "stop", "step") if type(n := given.get(key)) is int and abs(n) < 1 << 62]
        if len(bounds) != 3 or bounds[2] == 0:
            raise _fault("the bounds of an index")
        steps = range(*bounds)
        purse.spend(8 * max(0, -((steps.start - steps.stop) // steps.step)))
        return pd.RangeIndex(steps, name=name)
    if given.get("tz") is not None or given.get("freq") is not None:
        raise _fault("dates without time zone and frequency as an index")
    data = _column(given.get("data"))
    if data.ndim != 1:
        raise _fault("an index of one dimension")
    return _by_pandas(lambda: pd.Index(data, dtype=data.dtype, name=name))


def _name(name: Any) -> Any:
    if name is None or isinstance(name, (str, int, float)) or (type(name) is tuple and all(isinstance(n, (str, int, float)) for n in name)):
        return name
    raise _fault("text or a number as a name")


def _by_pandas(make: Callable[[], Any]) -> Any:
    try:
        return make()
    except _FAULTS as error:
        line = (str(error) or type(error).__name__).splitlines()[0][:80]
        raise NotDataError(f"expected columns that make a table, found a fault in them ({line}); the file is damaged") from None


def _column(value: Any) -> Any:
    """A NumPy array, or pandas' array of strings."""
    if type(value) is Part:
        return _part(value, "column", "a column")
    if isinstance(value, np.ndarray) and value.ndim and value.dtype.names is None and value.dtype.kind in "biufcOMm":
        return value
    raise _fault("a column of numbers, text or dates")


def make_block(_: Global, args: tuple[Any, ...], state: Any, __: Purse) -> Part:
    """``_unpickle_block(values, places, dimensions)``."""
    if state is not None or len(args) != 3:
        raise _fault("a block")
    return Part("block", (_column(args[0]), args[1]))


def make_manager(_: Global, args: tuple[Any, ...], state: Any, __: Purse) -> Part:
    """Axes and blocks, of either form."""
    if args:
        if len(args) != 2 or state is not None or type(args[0]) is not tuple or type(args[1]) is not list:
            raise _fault("blocks and axes")
        return Part("manager", (args[1], [_part(block, "block", "a block") for block in args[0]]))
    further = state[3] if type(state) is tuple and len(state) == 4 else None
    inner = further.get("0.14.1") if type(further) is dict else None
    if type(inner) is not dict or type(inner.get("axes")) is not list or type(inner.get("blocks")) is not list:
        raise _fault("blocks and axes")
    blocks = inner["blocks"]
    if not all(type(block) is dict and {"values", "mgr_locs"} <= set(block) for block in blocks):
        raise _fault("blocks")
    return Part("manager", (inner["axes"], [(_column(block["values"]), block["mgr_locs"]) for block in blocks]))


def _managed(args: tuple[Any, ...], state: Any, axes: int) -> tuple[list[Any], list[tuple[Any, Any]]]:
    if args or type(state) is not dict:
        raise _fault("the state")
    given, blocks = _part(state.get("_mgr", state.get("_data")), "manager", "the columns")
    if len(given) != axes or not all(isinstance(axis, pd.Index) for axis in given):
        raise _fault(f"{axes} axes")
    return given, blocks


def make_series(_: Global, args: tuple[Any, ...], state: Any, purse: Purse) -> Any:
    purse.spend(_COLUMN_WEIGHT)
    (index,), blocks = _managed(args, state, 1)
    if len(blocks) != 1 or blocks[0][0].shape != (len(index),):
        raise _fault(f"one column of {len(index)} rows")
    values = blocks[0][0]
    name = _name(state.get("_name", state.get("name")))
    return _by_pandas(lambda: pd.Series(values, index=index, name=name, dtype=values.dtype))


def make_frame(_: Global, args: tuple[Any, ...], state: Any, purse: Purse) -> Any:
    (columns, index), blocks = _managed(args, state, 2)
    if len(columns) > _COLUMNS:
        raise _fault(f"at most {_COLUMNS} columns")
    purse.spend(_TABLE_WEIGHT + _COLUMN_WEIGHT * len(columns))
    by_place: dict[int, Any] = {}
    for values, places in blocks:
        where = _places(places, len(columns))
        rows = values if values.ndim == 2 else values[None] if isinstance(values, np.ndarray) else [values]
        if len(rows) != len(where) or not all(row.shape == (len(index),) for row in rows):
            raise _fault(f"columns of {len(index)} rows, each with its place")
        by_place.update(zip(where, rows, strict=True))
    if sorted(by_place) != list(range(len(columns))):
        raise _fault("every column once")

    def make() -> Any:
        series = {k: pd.Series(by_place[k], index=index, dtype=by_place[k].dtype) for k in range(len(columns))}
        frame = pd.DataFrame(series, index=index)
        frame.columns = columns
        return frame

    return _by_pandas(make)


def _places(places: Any, columns: int) -> list[int]:
    if type(places) is Part and places.kind == "slice":
        where = range(columns)[places.content]
        return list(where)
    if isinstance(places, np.ndarray) and places.ndim == 1 and places.dtype.kind in "iu":
        out: list[int] = places.tolist()
        return out
    raise _fault("the places of columns")


MAKERS: dict[str, Callable[[Global, tuple[Any, ...], Any, Any], Any]] = {
    "slice": make_slice,
    "string_dtype": make_string_dtype,
    "backed": make_backed,
    "arrow_strings": make_arrow_strings,
    "index": make_index,
    "block": make_block,
    "manager": make_manager,
    "series": make_series,
    "frame": make_frame,
    **ARROW_MAKERS,
}
"""What makes pandas' data, by the kind of a global."""
