"""Placeholder, until a colleague's module replaces it."""

# ruff: noqa
import pickle
from dataclasses import dataclass
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class Record:
    name: str
    fields: dict[str, Any]


def read_pickle(path: Path, *, records: Any = ()) -> Any:
    class Machine(pickle.Unpickler):
        def find_class(self, module: str, name: str) -> Any:
            if f"{module}.{name}" in records:
                return type(name, (_Plain,), {"said": f"{module}.{name}"})
            return super().find_class(module, name)

    with path.open("rb") as file:
        return _records(Machine(file, encoding="latin1").load())


class _Plain:
    said = ""


def _records(value: Any) -> Any:
    if isinstance(value, _Plain):
        return Record(value.said, _records(vars(value)))
    if isinstance(value, dict):
        return {k: _records(v) for k, v in value.items()}
    if isinstance(value, (list, tuple)):
        return type(value)(_records(v) for v in value)
    return value
