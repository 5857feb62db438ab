"""EmoryNLP as its authors publish it (emorynlp/emotion-detection): ``emotion-detection-{trn,dev,tst}.json``, one or all three in a folder.

Layout (README.md, "Annotation", and the loaders of others, ``for episode in season['episodes']``, ``for scene in episode['scenes']``):
``episodes`` -> ``scenes`` -> ``utterances``, of which each has

    utterance_id    str, s01_e02_c01_u002: season, episode, scene, utterance
    speakers        list of str, perhaps empty
    transcript      str
    tokens          not read
    emotion         str, ``Neutral`` and so on

Everything else is as in :mod:`dgl_merc.corpus.readers.emorynlp`: labels, maps, speakers, dialogues. There are no times. Not checked against
the published files, of which the README shows three utterances.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pandas as pd

from dgl_merc.corpus.readers.emorynlp import MAPS, emotion_of, files_of_folder, named_files, published, split_of_file, together
from dgl_merc.corpus.readers.layout import Choices, Content, Layout, Published
from dgl_merc.corpus.reading.content import describe, read_json, shown
from dgl_merc.corpus.reading.plain import as_strings, string
from dgl_merc.errors import InputError, at

__all__ = ["LAYOUTS"]

_ID = re.compile(r"(?P<scene>s(\d{1,9})_e(\d{1,9})_c(\d{1,9}))_u(\d{1,9})", re.ASCII)
_NEEDED = ("utterance_id", "speakers", "transcript", "emotion")


def _is_file(content: Content) -> bool:
    return isinstance(content.value, Mapping) and isinstance(content.value.get("episodes"), list)


def _files(names: tuple[str, ...]) -> dict[str, str]:
    return named_files(names, "emotion-detection", ".json")


def _is_folder(content: Content) -> bool:
    return bool(_files(content.value))


def _read_file(content: Content, choices: Choices) -> Published:
    rows = _rows(content.path, content.value)
    split, note = split_of_file(content, choices, len(rows))
    return published({content.path: rows.assign(split=split)}, (note,))


def _read_folder(content: Content, choices: Choices) -> Published:
    files = files_of_folder(content, choices, _files(content.value), "JSON files")
    return published({file: _rows(file, read_json(file)).assign(split=split) for split, file in files.items()}, ())


def _rows(path: Path, value: Any) -> pd.DataFrame:
    """The utterances of a file, in its order."""
    rows = [
        _row(path, utterance)
        for episode in _items(path, value, "episodes")
        for scene in _items(path, episode, "scenes")
        for utterance in _items(path, scene, "utterances")
    ]
    if not rows:
        raise InputError(f"{at(path)}expected at least one utterance, found none")
    return pd.DataFrame(rows)


def _items(path: Path, value: Any, name: str) -> list[Any]:
    found = value.get(name) if isinstance(value, Mapping) else None
    if not isinstance(found, list):
        place = next((str(item)[:40] for key, item in value.items() if str(key).endswith("_id")), "") if isinstance(value, Mapping) else ""
        raise InputError(f"{at(path)}{place}{': ' if place else ''}expected a list of {name}, found {describe(value)}")
    return found


def _row(path: Path, value: Any) -> dict[str, object]:
    if not isinstance(value, Mapping) or not set(_NEEDED) <= set(value):
        raise InputError(f"{at(path)}expected an utterance with {', '.join(_NEEDED)}, found {describe(value)}")
    said = value["utterance_id"]
    found = _ID.fullmatch(said) if isinstance(said, str) else None
    if not found:
        raise InputError(f"{at(path)}expected an utterance_id as s01_e02_c01_u002, found {shown(said)}")
    place = at(path, dialogue=found["scene"], utterance=found[5])
    try:
        emotion = emotion_of(value["emotion"] or "") if isinstance(value["emotion"], str | None) else emotion_of(describe(value["emotion"]))
    except ValueError:
        raise InputError(f"{place}expected one of EmoryNLP's emotions, found {shown(value['emotion'])}") from None
    try:
        transcript = string(value["transcript"])
    except ValueError:  # half a surrogate pair, too, which JSON can write
        found_instead = "half a character (a surrogate)" if isinstance(value["transcript"], str) else describe(value["transcript"])
        raise InputError(f"{place}transcript: expected a string, found {found_instead}") from None
    season, episode, scene, number = (int(piece) for piece in found.groups()[1:])
    return {
        "dialogue_id": found["scene"],
        "utterance_id": number,
        "order": number,
        "speaker": together([name.strip() for name in as_strings(value["speakers"], f"{place}speakers: ") if name.strip()]),
        "text": transcript,
        "emotion": emotion,
        "season": season,
        "episode": episode,
        "scene": scene,
    }


_SAYS = "EmoryNLP's JSON with episodes, scenes, utterances (text and emotions, no features)"
LAYOUTS = (
    Layout("emorynlp-json", f"{_SAYS}, one file", "json", _is_file, _read_file, MAPS),
    Layout("emorynlp-json-folder", f"{_SAYS}, a folder of three", "folder", _is_folder, _read_folder, MAPS),
)
"""See :mod:`dgl_merc.corpus.readers.layout`."""
