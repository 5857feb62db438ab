"""Settings: frozen dataclasses, one field a setting, made from TOML tables and ``key=value`` words, with errors that name the key.

>>> from dataclasses import dataclass
>>> @dataclass(frozen=True)
... class Example:
...     rate: float = 0.5
>>> from_table(Example, {"rate": 1}, "preset")
Example(rate=1.0)
"""

from __future__ import annotations

import difflib
import math
import re
import tomllib
import types
from collections.abc import Mapping
from dataclasses import fields, is_dataclass
from typing import Any, Literal, TypeVar, Union, get_args, get_origin, get_type_hints

from dgl_merc.errors import InputError

__all__ = ["assign", "check_choices", "check_range", "differences", "flat", "flat_settings", "from_table", "merge"]

T = TypeVar("T")


def from_table(cls: type[T], table: Mapping[str, Any], where: str, prefix: str = "") -> T:
    """A dataclass from a nested table.

    Args:
        cls: a dataclass whose fields are numbers, strings, booleans, literals, tuples of strings, or dataclasses.
        table: field -> value; what is not named keeps its default.
        where: the file or option that errors name.
        prefix: of the keys in messages.

    Raises:
        InputError: an unknown key (with the nearest known one), a value of the wrong kind, or one that the dataclass refuses with a
            ValueError whose text begins with the field.
    """
    hints = get_type_hints(cls)
    known = [f.name for f in fields(cls)]  # type: ignore[arg-type]
    values = {}
    for key, value in table.items():
        if key not in known:
            near = difflib.get_close_matches(key, known, 1)
            hint = f"; did you mean {prefix}{near[0]}?" if near else f"; there are {', '.join(prefix + k for k in known) or 'none'}"
            raise InputError(f"{where}: no setting {prefix}{key}{hint}")
        values[key] = _convert(hints[key], value, where, prefix + key)
    try:
        return cls(**values)
    except ValueError as error:
        raise InputError(f"{where}: {prefix}{error}") from None


def check_range(settings: Any, least: float, *names: str, most: float | None = None) -> None:
    """Whether fields are numbers of a range: for dataclasses that Python code makes. A number that is not one (NaN) never is.

    Args:
        settings: the dataclass.
        least: is allowed.
        names: of the fields.
        most: is allowed, too; infinity is not; None: no limit.

    Raises:
        ValueError: naming the first field that is not.
    """
    bounded = "" if most is None else " and finite"
    words = f"from {least:g} to {most:g}" if most is not None and most < math.inf else f"at least {least:g}{bounded}"
    for name in names:
        value = getattr(settings, name)
        if not (least <= value and (most is None or (value <= most and value < math.inf))):
            raise ValueError(f"{name} must be {words}, found {value}")


def check_choices(settings: Any) -> None:
    """Whether every field that is one of some words is one of them: for dataclasses that Python code makes.

    Raises:
        ValueError: naming the field.
    """
    for name, hint in get_type_hints(type(settings)).items():
        if get_origin(hint) is Literal and getattr(settings, name) not in get_args(hint):
            raise ValueError(f"{name} must be one of {', '.join(map(str, get_args(hint)))}, found {getattr(settings, name)!r}")


def _convert(hint: Any, value: Any, where: str, key: str) -> Any:
    if is_dataclass(hint):
        if not isinstance(value, Mapping):
            raise InputError(f"{where}: {key} is a table of settings, found {value!r}; set {key}.<name>")
        return from_table(hint, value, where, f"{key}.")  # type: ignore[arg-type]
    if get_origin(hint) in (Union, types.UnionType):
        inner = [a for a in get_args(hint) if a is not type(None)]
        return None if value is None else _convert(inner[0], value, where, key)
    if get_origin(hint) is Literal:
        value = str(value) if isinstance(value, int) and str(value) in get_args(hint) else value  # as in _plain, a number serves as a name
        if value not in get_args(hint):
            raise InputError(f"{where}: {key} must be one of {', '.join(map(str, get_args(hint)))}, found {value!r}")
        return value
    if get_origin(hint) is tuple:
        items = re.split("[,+]", value) if isinstance(value, str) else value
        if not isinstance(items, (list, tuple)) or not all(isinstance(v, str) for v in items):
            raise InputError(f"{where}: {key} must be a list of words, found {value!r}")
        return tuple(v.strip() for v in items if v.strip())
    return _plain(hint, value, where, key)


def _plain(hint: Any, value: Any, where: str, key: str) -> Any:
    """A number, a word or a truth value; a whole number serves as a number of the other kind, and as a name."""
    if isinstance(value, int) and abs(value) >= 1 << 63:
        raise InputError(f"{where}: {key} must be a number that fits 64 bits, found one of {len(str(value))} digits")
    if hint in (float, str) and isinstance(value, int) and not isinstance(value, bool):
        return hint(value)
    if hint is str and isinstance(value, (bool, float)):
        raise InputError(f"{where}: {key} must be a word, found {value!r}; put it into quotes: {key}='\"...\"'")
    if not isinstance(value, hint) or (isinstance(value, bool) and hint is not bool):
        raise InputError(f"{where}: {key} must be of kind {hint.__name__}, found {value!r}")
    return value


def assign(table: dict[str, Any], word: str) -> None:
    """Set ``a.b.c=value`` in a nested table. The value is read as TOML (``0.5``, ``true``, ``"text"``), else as a plain word.

    Raises:
        InputError: no ``=``, or a key through something that is not a table.

    >>> table = {}
    >>> assign(table, "model.gcn.rate=.5"); table
    {'model': {'gcn': {'rate': 0.5}}}
    """
    key, equals, text = word.partition("=")
    if not equals or not key.strip():
        raise InputError(f"--set {word}: expected key=value, such as --set training.lr=0.001")
    *path, last = key.strip().split(".")
    for part in path:
        table = table.setdefault(part, {})
        if not isinstance(table, dict):
            raise InputError(f"--set {word}: {part} is a value, not a table of settings")
    table[last] = _value(text.strip())


def _value(text: str) -> Any:
    padded = f"0{text}" if text.startswith(".") else text
    try:
        value = tomllib.loads(f"v = {padded}")["v"]
        return text if "\n" in text or ("#" in text and not isinstance(value, str)) else value  # one value, and no comment after it
    except (ValueError, RecursionError):  # TOML's own errors, and integers or nesting beyond what Python reads
        return text


def merge(base: Mapping[str, Any], over: Mapping[str, Any]) -> dict[str, Any]:
    """``base`` with the entries of ``over``, tables merged."""
    merged = dict(base)
    for key, value in over.items():
        old = merged.get(key)
        merged[key] = merge(old, value) if isinstance(old, Mapping) and isinstance(value, Mapping) else value
    return merged


def flat(table: Mapping[str, Any], prefix: str = "") -> list[tuple[str, Any]]:
    """A nested table as ``a.b`` -> value.

    >>> flat({"a": {"b": 1}, "c": []})
    [('a.b', 1), ('c', [])]
    """
    rows: list[tuple[str, Any]] = []
    for key, value in table.items():
        rows += flat(value, f"{prefix}{key}.") if isinstance(value, Mapping) else [(prefix + key, value)]
    return rows


def flat_settings(config: Mapping[str, Any]) -> list[tuple[str, Any]]:
    """Settings as a run folder keeps them, under the keys that ``--set`` takes.

    >>> flat_settings({"model": "mglra", "options": {"dim": 64}, "training": {"lr": 0.001}})
    [('model', 'mglra'), ('model.dim', 64), ('training.lr', 0.001)]
    """
    return [(f"model.{key.removeprefix('options.')}" if key.startswith("options.") else key, value) for key, value in flat(config)]


def differences(old: Mapping[str, Any], new: Mapping[str, Any]) -> list[tuple[str, Any, Any]]:
    """Key, value before and value now, of every entry of two flat tables that is not the same; None where there is none.

    >>> differences({"a": 1, "b": 2}, {"b": 3, "a": 1})
    [('b', 2, 3)]
    """
    return [(key, old.get(key), new.get(key)) for key in {**new, **old} if old.get(key) != new.get(key)]
