"""What ``data.json`` and ``metrics.json`` of a run folder must hold before anything relies on them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from dgl_merc.corpus.targets import SIGNS, SPLITS
from dgl_merc.errors import InputError, at
from dgl_merc.extraction import Recipe
from dgl_merc.graphs import GraphSpec
from dgl_merc.training.settings import Learn

__all__ = ["check_entries"]

_DATA = (
    *("corpus.content_sha256", "spec", "target", "labels", "widths", "features", "division.fold", "division.speakers_in_several_splits"),
    *(f"division.splits.{split}.sha256" for split in SPLITS),
)
_METRICS = ("splits.dev", "test_evaluated", "chosen_epoch", "seconds_per_epoch", "parameters")


def _keys(table: Mapping[str, Any], prefix: str = "") -> Iterator[str]:
    """The name of every entry of a nested table, tables included."""
    for key, value in table.items():
        yield prefix + key
        if isinstance(value, Mapping):
            yield from _keys(value, f"{prefix}{key}.")


def check_entries(path: Path, learn: Learn, data: Mapping[str, Any], metrics: Mapping[str, Any]) -> None:
    """Hold a run folder's files to what the package writes.

    Args:
        path: the folder.
        learn: what its settings say was learnt.
        data: what ``data.json`` holds.
        metrics: what ``metrics.json`` holds.

    Raises:
        InputError: an entry that is missing, or of another kind.
    """
    for name, table, needed in (("data", data, _DATA), ("metrics", metrics, _METRICS)):
        there = set(_keys(table))
        missing = [key for key in needed if key not in there]
        if missing:
            raise InputError(f"{at(path / f'{name}.json')}expected the entry {missing[0]}, found none; fit again with this version")
    _check_kinds(path, learn, data, metrics)


def _check_kinds(path: Path, learn: Learn, data: Mapping[str, Any], metrics: Mapping[str, Any]) -> None:
    """Every entry has the kind of thing that the package writes."""
    try:
        GraphSpec.from_json(data["spec"])
        kinds = [
            (data["target"], str),
            *((label, str) for label in data["labels"]),
            (data.get("characters", []), list),
            *((name, str) for name in data.get("characters", ())),
            *((width, int) for key in ("widths", "heard") for width in data.get(key, {}).values()),
            *((hashed, str) for hashed in data["features"].values()),
            (data.get("recipes", {}), dict),
            *((recipe, dict) for recipe in data.get("recipes", {}).values()),
            *((part, dict) for part in metrics["splits"].values()),
        ]
        wrong = [value for value, kind in kinds if not isinstance(value, kind)]
        if wrong or not data["labels"] or not set(data["widths"]) == set(data["spec"]["modalities"]) == set(data["features"]):
            raise TypeError(f"{wrong[0]!r}" if wrong else "modalities and classes")  # noqa: TRY301
        if set(data.get("recipes", {})) - set(data["widths"]):
            raise KeyError("recipes")  # noqa: TRY301
        heard = data.get("heard", data["widths"])
        if not heard.keys() == data["widths"].keys() or not all(1 <= heard[m] <= width for m, width in data["widths"].items()):
            raise ValueError("heard")  # noqa: TRY301
        if "bounds" in data or learn == "score":
            low, high = data["bounds"]
            if not low < 0 < high or tuple(data["labels"]) != SIGNS:
                raise ValueError("bounds")  # noqa: TRY301
    except (TypeError, KeyError, ValueError, AttributeError) as error:
        raise InputError(
            f"{at(path)}expected what fit writes into data.json and metrics.json, found a fault at {error}; fit again"
        ) from None
    for m, recipe in data.get("recipes", {}).items():
        Recipe.from_json(recipe, f"{path / 'data.json'}: recipes.{m}")
