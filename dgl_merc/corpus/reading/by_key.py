"""Features by key: an ``.npz`` says itself which utterance each row is of; utterances it does not speak of lack the modality."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
import pyarrow as pa

from dgl_merc.corpus.reading.arrays import as_features, load_npz
from dgl_merc.corpus.reading.expressions import Part
from dgl_merc.corpus.reading.feature_spec import FeatureSpec
from dgl_merc.corpus.reading.loaded import Ints, Loaded, require_width
from dgl_merc.corpus.reading.rows import Rows
from dgl_merc.errors import InputError, at

__all__ = ["load_by_key"]

Array = npt.NDArray[Any]
Keys = dict[str, "pd.Series[str]"]


def load_by_key(spec: FeatureSpec, rows: Rows, folder: Path) -> Loaded:
    """Every row of the archive finds its utterance by ``split`` (where it is there), ``dialogue_id``, and ``utterance_id`` or ``position``.

    Raises:
        InputError: a row that is no utterance, or one twice; arrays that do not fit.
    """
    splits = rows.table["split"].to_numpy(dtype=object)
    files = {split: spec.resolve(folder, split) for split in (dict.fromkeys(splits) if spec.per_split else [""])}
    first = next(iter(files.values()))
    parts: list[list[Part]] = []
    utterances: list[Ints] = []
    for split, path in files.items():
        arrays = _read(spec, path)
        among = np.flatnonzero(splits == split) if split else np.arange(len(rows))
        utterances.append(_join(path, arrays, rows, among))
        parts.append(_evaluate(spec, path, arrays))
        require_width(path, spec.modality, _width(parts[-1]), first, _width(parts[0]))
    joined = [Part.concatenate(same) for same in zip(*parts, strict=True)]
    names = ", ".join(path.name for path in files.values())
    return Loaded(joined, np.concatenate(utterances), files, f"no row in {names}")


def _width(parts: list[Part]) -> int:
    return sum(part.made.shape[1] for part in parts)


def _read(spec: FeatureSpec, path: Path) -> dict[str, Array]:
    wanted = [name for expression in spec.expressions for name in expression.needs]
    arrays = load_npz(path, ["dialogue_id", *wanted], ["utterance_id", "position", "split"])
    if "utterance_id" not in arrays and "position" not in arrays:
        raise InputError(f"{at(path)}expected an array 'utterance_id' or 'position' to join by, found neither")
    return arrays


def _evaluate(spec: FeatureSpec, path: Path, arrays: dict[str, Array]) -> list[Part]:
    parts, count = [], len(arrays["dialogue_id"])
    for expression in spec.expressions:
        x = arrays[expression.array] = as_features(arrays[expression.array], path, expression.array)
        if len(x) != count:
            raise InputError(f"{at(path)}{expression.array}: expected {count} rows, one for each dialogue_id, found {len(x)}")
        try:
            parts.append(expression.evaluate(arrays))
        except ValueError as error:
            raise InputError(f"{at(path)}{expression.text}: {error}") from None
    return parts


def _join(path: Path, arrays: dict[str, Array], rows: Rows, among: Ints) -> Ints:
    """[R] the utterance each row of an archive belongs to; ``among``: those it may speak of."""
    theirs = _their_keys(path, arrays)
    ours = {
        "split": rows.table["split"],
        "dialogue_id": rows.places["dialogue"],
        "utterance_id": rows.places["utterance"],
        "position": rows.places["position"],
    }
    numbers, mine = _numbered(theirs, {name: ours[name].iloc[among].astype("str") for name in theirs})
    key, wanted = pd.Index(numbers), pd.Index(mine)
    if key.has_duplicates:
        row = int(np.argmax(key.duplicated()))
        raise InputError(f"{at(path)}expected every utterance once, found {_in_words(theirs, row)} twice (row {row})")
    if wanted.has_duplicates:
        advice = "dialogue ids start again in each split"
        raise InputError(f"{at(path)}expected an array 'split' (or one file per split, named with {{split}}), found none: {advice}")
    found = wanted.get_indexer(key)
    if (found < 0).any():
        row, total = int(np.argmax(found < 0)), int((found < 0).sum())
        what = f"found {_in_words(theirs, row)} (row {row})"
        raise InputError(f"{at(path)}expected utterances of the CSV only, {what}; {total} rows are no utterance of it")
    matched: Ints = among[found]
    return matched


def _their_keys(path: Path, arrays: dict[str, Array]) -> Keys:
    """The arrays to join by, as words."""
    keys: Keys = {}
    names = ("split", "dialogue_id", "utterance_id" if "utterance_id" in arrays else "position")
    count = arrays["dialogue_id"].shape[0] if arrays["dialogue_id"].ndim else 0
    for name in names:
        if name not in arrays:
            continue
        x = arrays[name]
        if x.shape != (count,) or x.dtype.kind not in "iuU":
            raise InputError(f"{at(path)}{name}: expected [{count}] whole numbers or words, found {x.dtype} {list(x.shape)}")
        try:
            keys[name] = pd.Series(pa.array(x, pa.large_string()).to_pandas() if x.dtype.kind == "U" else x).astype("str")
        except UnicodeEncodeError as error:
            raise InputError(f"{at(path)}{name}: expected words that UTF-8 can hold, found {error.object!r}") from None
    return keys


def _numbered(theirs: Keys, ours: Keys) -> tuple[Ints, Ints]:
    """Keys as numbers, equal where all words are: [R] theirs, [U] ours."""
    count = len(next(iter(theirs.values())))
    together = np.zeros(count + len(next(iter(ours.values()))), dtype=np.int64)
    for name, words in theirs.items():
        codes = pd.factorize(pd.concat([words, ours[name]], ignore_index=True))[0].astype(np.int64)
        together = pd.factorize(together * (codes.max(initial=0) + 1) + codes)[0].astype(np.int64)
    return together[:count], together[count:]


def _in_words(keys: Keys, row: int) -> str:
    return ", ".join(f"{name.removesuffix('_id')} {values.iloc[row]}" for name, values in keys.items())
