"""JSON lines: an utterance a line, read strictly, so that a slip of the pen is an error and not a missing modality.

    {"dialogue_id": "d1", "speaker": "Ana", "text": "You came!", "features": {"text": [0.9, 0.1], "audio": null}}

``dialogue_id`` and ``speaker`` are needed. A modality that is null or not there is absent. ``position`` sorts the utterances of a dialogue,
which else stand in order, and answers repeat an ``utterance_id``; what the runs learn (``emotion``, say) may be there too, and is read by
no model. Other keys may hold words, numbers, true or false, which are passed over.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping
from typing import Any, BinaryIO

import numpy as np
import numpy.typing as npt

from dgl_merc.errors import InputError, at
from dgl_merc.inference.utterance import Utterance

__all__ = ["name_of", "parse_utterance", "read_lines", "read_object"]

LONGEST_LINE = 1 << 24
"""Bytes: some million numbers."""

_LONGEST_LABEL = 200  # characters
_LARGEST = float(np.finfo(np.float32).max)


def read_lines(file: BinaryIO, name: str) -> Iterator[tuple[str, bytes]]:
    """The lines of a file that hold something, one by one, each as soon as it is there.

    Args:
        file: open for bytes.
        name: of it, for people.

    Yields:
        How a message about the line begins, and the line.

    Raises:
        InputError: a line of more than 16 MiB.
    """
    number = 0
    while line := file.readline(LONGEST_LINE + 1):
        number += 1
        place = at(name, line=number)
        if len(line) > LONGEST_LINE:
            raise InputError(f"{place}expected an utterance in at most {LONGEST_LINE >> 20} MiB, found a longer line")
        if number == 1:
            line = line.removeprefix(b"\xef\xbb\xbf")  # a byte order mark
        if line.strip():
            yield place, line


def read_object(line: bytes, place: str) -> dict[str, Any]:
    """A line as a JSON object, with every key once and no NaN.

    Args:
        line: of a file.
        place: how a message begins.

    Raises:
        InputError: it is none.
    """
    try:
        value = json.loads(line.decode("utf-8"), object_pairs_hook=_each_once, parse_constant=_no_constant)
    except UnicodeDecodeError as error:
        raise InputError(f"{place}expected UTF-8 text, found byte 0x{line[error.start]:02x}; save the file as UTF-8") from None
    except (ValueError, RecursionError) as error:  # no JSON, a key twice, a number of too many digits, nested too deeply
        raise InputError(f"{place}expected an utterance as a JSON object, found a fault ({error})") from None
    if not isinstance(value, dict):
        raise InputError(f'{place}expected a JSON object such as {{"dialogue_id": ...}}, found {_in_short(value)}')
    return value


def _each_once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        names = [name for name, _ in pairs]
        raise ValueError(f"key {next(name for name in names if names.count(name) > 1)!r} twice")
    return found


def _no_constant(name: str) -> float:
    raise ValueError(f"{name} is no number; a modality that is absent is null")


def parse_utterance(value: Mapping[str, Any], place: str, target: str) -> Utterance:
    """An utterance from a JSON object.

    Args:
        value: the object.
        place: how a message begins.
        target: the key of what it truly is.

    Raises:
        InputError: a key is missing, or holds something else than it should.
    """
    known = {"dialogue_id", "speaker", "features", "text", "position", "utterance_id", target}
    strange = [key for key, found in value.items() if key not in known and (isinstance(found, dict | list) or _is_nearly_features(key))]
    if strange:
        raise InputError(f"{place}{strange[0]}: expected no such key (features stand in 'features', by modality)")
    dialogue = name_of(value, "dialogue_id", place)
    place += at(dialogue=dialogue)
    features = value.get("features")
    if features is not None and not isinstance(features, dict):
        raise InputError(
            f'{place}features: expected modalities and their numbers, such as {{"text": [0.5, ...]}}, found {_in_short(features)}'
        )
    position = value.get("position")
    if position is not None and (type(position) is not int or not 0 <= position < 1 << 62):
        raise InputError(f"{place}position: expected a whole number from 0 on, found {_in_short(position)}")
    text = value.get("text")
    if text is not None and not isinstance(text, str):
        raise InputError(f"{place}text: expected what was said (numbers stand in 'features'), found {_in_short(text)}")
    called = name_of(value, "utterance_id", place) if value.get("utterance_id") is not None else None
    vectors = {m: _vector(x, f"{place}{m}: ") for m, x in (features or {}).items() if x is not None}
    try:
        return Utterance(dialogue, name_of(value, "speaker", place), vectors, text, _label(value, target, place), position, called)
    except InputError as error:
        raise InputError(f"{place}{error}") from None


def _is_nearly_features(key: str) -> bool:
    return key != "features" and key.strip().lower().rstrip("s") == "feature"


def _label(value: Mapping[str, Any], target: str, place: str) -> str | float | None:
    label = value.get(target)
    number = isinstance(label, int | float) and not isinstance(label, bool)
    if label is not None and not (isinstance(label, str) and len(label) <= _LONGEST_LABEL) and not (number and abs(label) <= _LARGEST):
        raise InputError(f"{place}{target}: expected a label or null, found {_in_short(label)}")
    return label


def name_of(value: Mapping[str, Any], key: str, place: str) -> str:
    """A name that an object must have under a key; whole numbers are names too."""
    found = value.get(key)
    if type(found) is int and abs(found) < 1 << 63:
        found = str(found)
    if not isinstance(found, str) or not found.strip():
        said = "nothing" if key not in value else _in_short(found)
        raise InputError(f"{place}{key}: expected a name, found {said}")
    return found


def _vector(values: Any, place: str) -> npt.NDArray[np.float32]:
    if not isinstance(values, list) or not values:
        raise InputError(f"{place}expected a list of numbers (or null: absent), found {_in_short(values)}")
    for k, v in enumerate(values):
        if type(v) not in (int, float) or not (math.isfinite(v) if type(v) is float else True) or not -_LARGEST <= v <= _LARGEST:
            raise InputError(f"{place}expected finite numbers that float32 can hold, found {_in_short(v)} as number {k}")
    return np.array(values, dtype=np.float32)


def _in_short(value: object) -> str:
    """A value of unknown size, for a message."""
    if isinstance(value, dict | list):
        kind = "object" if isinstance(value, dict) else "list"
        return f"{'an' if kind == 'object' else 'a'} {kind} of {len(value)}"
    if isinstance(value, int) and abs(value) >= 1 << 128:
        return "a number beyond all measure"
    said = json.dumps(value)
    return said if len(said) <= 60 else f"{said[:57]}..."
