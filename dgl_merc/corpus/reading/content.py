"""What a file is, by its first bytes, and what it holds: read without running anything."""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np

from dgl_merc.corpus.foreign.pickles import Record, read_pickle
from dgl_merc.corpus.readers.layout import Content
from dgl_merc.corpus.reading.csv_file import CsvFile, read_csv
from dgl_merc.errors import InputError, at

__all__ = ["describe", "is_whole", "read_content", "read_json", "shown"]

_ARRAYS = (b"\x93NUMPY", b"\x89HDF\r\n\x1a\n", b"MATLAB ")
_COMPRESSED = (b"\x1f\x8b", b"BZh", b"\xfd7zXZ", b"PK\x03\x04")
_PICKLES = (".pkl", ".pickle", ".p", ".pk")


def read_content(path: Path, records: Collection[str] = ()) -> Content:
    """Read a published file.

    Args:
        path: a pickle (perhaps compressed), a JSON file, a CSV, or a folder of such.
        records: classes that pickles may hold as plain fields, ``module.Class``.

    Raises:
        InputError: none of these, damaged, or it holds code.
    """
    if path.is_dir():
        return Content(path, "folder", tuple(sorted(file.name for file in path.iterdir() if file.is_file())))
    if not path.is_file():
        raise InputError(f"{at(path)}expected a file or a folder, found none")
    with path.open("rb") as file:
        begins = file.read(32)
    if begins.startswith(_ARRAYS):
        advice = "they go with a table: dglmerc import table --features text=FILE.npy, FILE.mat:ARRAY or FILE.h5:ARRAY"
        raise InputError(f"{at(path)}expected utterances, found arrays alone; {advice}")
    if path.suffix.lower() in _PICKLES or begins.startswith((b"\x80", *_COMPRESSED)):
        return Content(path, "pickle", read_pickle(path, records=records))
    if path.suffix.lower() == ".json":
        return Content(path, "json", read_json(path))
    return Content(path, "csv", read_csv(path))


def read_json(path: Path) -> Any:
    """The content of a JSON file.

    Raises:
        InputError: not UTF-8, not JSON, nested too deeply, or with a number too great.
    """
    try:
        return json.loads(path.read_text(encoding="utf-8-sig"))
    except (ValueError, RecursionError) as error:
        fault = "lists nested too deeply" if isinstance(error, RecursionError) else f"a fault ({str(error)[:120]})"
        raise InputError(f"{at(path)}expected JSON, found {fault}") from None


def describe(value: Any, depth: int = 2) -> str:
    """The structure of some content in a few words, for messages.

    >>> describe([{"a": 1.5}, "b"])
    "a list of 2: a dict of 1 ('a': float), str"
    """
    if isinstance(value, CsvFile):
        return f"a CSV with the columns {', '.join(list(value.cells)[:12])}"
    if isinstance(value, np.ndarray):
        return f"an array {value.dtype} {list(value.shape)}"
    if isinstance(value, Record):
        return f"an instance of {value.name}"
    if isinstance(value, Mapping):
        some = [f"{shown(key)}: {describe(item, depth - 1)}" for key, item in islice(value.items(), 3)] if depth > 0 else []
        return f"a dict of {len(value)}" + (f" ({', '.join(some)})" if some else "")
    if isinstance(value, list | tuple):
        some = [describe(item, depth - 1) for item in value[:12]] if depth > 1 else []
        return f"a {type(value).__name__} of {len(value)}" + (f": {', '.join(some)}" if some else "")
    return type(value).__name__


def is_whole(value: Any) -> bool:
    """Whether something is a whole number: no truth value, and no span of time, which NumPy counts among the integers."""
    return isinstance(value, int | np.integer) and not isinstance(value, bool | np.timedelta64)


def shown(value: Any) -> str:
    """A value in a few words, whatever a stranger put there.

    >>> shown("joy"), shown(-7), shown(10**400), shown([1, 2])
    ("'joy'", '-7', 'a whole number of 1329 bits', 'a list of 2')
    """
    if isinstance(value, str):
        return repr(str(value)) if len(value) <= 38 else f"{value[:35]!r}..."
    if is_whole(value):
        return str(value) if abs(int(value)) < 2**64 else f"a whole number of {int(value).bit_length()} bits"
    if value is None or isinstance(value, bool | float | np.floating):
        return str(value)
    return describe(value, 1)
