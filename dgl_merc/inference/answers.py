"""What runs answer, as files: CSV, parquet, JSON lines. A stream's answers are lines of the same shape.

An utterance, as a line of JSON:

    {"dialogue_id": "d1", "position": 0, "speaker": "Ana", "predicted": "joy", "probabilities": {"joy": 0.9, "anger": 0.1}}
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal, get_args

import pandas as pd

from dgl_merc.errors import InputError, at

__all__ = ["Format", "answer_line", "as_bytes", "format_of"]

Format = Literal["csv", "jsonl", "parquet"]
"""Of a file of answers."""
_SUFFIXES: Mapping[str, Format] = {".csv": "csv", ".jsonl": "jsonl", ".ndjson": "jsonl", ".parquet": "parquet"}


def format_of(out: Path | None, named: str | None) -> Format:
    """The format of a file to write: the one that is named, else by its suffix; of standard output, CSV.

    Raises:
        InputError: neither says.
    """
    found = next((f for f in get_args(Format) if f == named), None) or (_SUFFIXES.get(out.suffix.lower()) if out else "csv")
    if found is None:
        raise InputError(f"{at(out)}expected a name that ends in {', '.join(_SUFFIXES)}, or --format")
    return found


def as_bytes(table: pd.DataFrame, kind: Format) -> bytes:
    """A table of answers as the bytes of a file."""
    if kind == "parquet":
        return table.to_parquet(None, index=False)
    if kind == "csv":
        return table.to_csv(None, index=False).encode()
    rows = zip(*(table[name].tolist() for name in table), strict=True)
    return "".join(f"{answer_line(_answer(dict(zip(table.columns, row, strict=True))))}\n" for row in rows).encode()


def _answer(row: Mapping[str, Any]) -> dict[str, Any]:
    """A row with its probabilities together, where the first stood."""
    answer: dict[str, Any] = {}
    for key, value in row.items():
        if key.startswith("p_"):
            answer.setdefault("probabilities", {})[key.removeprefix("p_")] = value
        else:
            answer[key] = value
    return answer


def answer_line(answer: Mapping[str, Any]) -> str:
    """An answer as a line of JSON; NaN is null, and a number has the nine digits that tell any float32 from any other.

    >>> answer_line({"dialogue_id": "d1", "position": 0, "sigma_text": float("nan"), "probabilities": {"joy": 0.75, "fear": 0.25}})
    '{"dialogue_id": "d1", "position": 0, "sigma_text": null, "probabilities": {"joy": 0.75, "fear": 0.25}}'
    """
    return json.dumps(_plain(answer), ensure_ascii=False, allow_nan=False)


def _plain(value: Any) -> Any:
    if value is None or value is pd.NA:
        return None
    if isinstance(value, Mapping):
        return {key: _plain(entry) for key, entry in value.items()}
    if isinstance(value, float):
        return float(f"{value:.9g}") if math.isfinite(value) else None
    return value
