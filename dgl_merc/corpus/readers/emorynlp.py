"""EmoryNLP (Zahiri and Choi 2018), the CSVs in circulation: ``emorynlp_{train,dev,test}_final.csv``, one or all three in a folder.

Layout (declare-lab/MELD, ``emorynlp_train_final.csv`` and its two fellows, line 1): ``Utterance, Speaker, Emotion, Scene_ID,
Utterance_ID, Season, Episode, Start_Time, End_Time``; the times may lack. All cells are text. What they mean is said by the
same repository's ``Utils/read_emorynlp.py`` (``'sea' + str(sea[i]) + '_ep' + ... + '_sc' + ... + '_utt'``): scenes are numbered
within an episode and utterances within a scene, both with gaps. So a dialogue is a scene, called as the JSON of emorynlp/emotion-detection
calls it (README.md, ``"utterance_id": "s01_e02_c01_u002"``): ``s01_e02_c01``; utterances are ordered by their number, which is kept.

Speaker is a list in words, ``['Monica Geller']``; several who speak together are joined with " & " and count as a speaker of their own.
Times are ``HH:MM:SS.mmm``. They come from subtitles: they overlap, and within a scene they need not grow.

Labels (``Neutral``, here in small letters) are those of emorynlp/emotion-detection, README.md, "Statistics", in its order. ``--label-map
three`` is COSMIC's (declare-lab/conv-emotion, COSMIC/erc-training/dataloader.py, ``# 0 negative, 1 neutral, 2 positive``: Mad, Sad,
Scared are negative, Joyful, Peaceful, Powerful positive).

The split is that of the file's name. Episodes are in one split each (README.md, "Statistics"), so no scene is in two; speakers are in all.
There are no features: they are added by row, ``--features 'text=emorynlp_{split}_final.npy'``.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pandas as pd

from dgl_merc.corpus.readers.layout import Choices, Content, Layout, Published
from dgl_merc.corpus.reading.cells import filled, parse_column, seconds, whole
from dgl_merc.corpus.reading.csv_file import CsvFile, read_csv
from dgl_merc.corpus.targets import SPLITS, Target
from dgl_merc.errors import InputError, at

__all__ = [
    "EMOTIONS",
    "LAYOUTS",
    "MAPS",
    "emotion_of",
    "files_of_folder",
    "named_files",
    "parse_speakers",
    "published",
    "split_of_file",
    "together",
]

EMOTIONS = ("neutral", "joyful", "peaceful", "powerful", "scared", "mad", "sad")
"""EmoryNLP's classes, in the order of its README."""
UNKNOWN = "unknown"
"""Who speaks where the list of speakers is empty."""

MAPS: Mapping[str, Mapping[str, str]] = {
    "seven": {label: label for label in EMOTIONS},
    "three": {
        **dict.fromkeys(("mad", "sad", "scared"), "negative"),
        "neutral": "neutral",
        **dict.fromkeys(("joyful", "peaceful", "powerful"), "positive"),
    },
}
"""The field's label maps."""
_NEEDED = ("Utterance", "Speaker", "Emotion", "Scene_ID", "Utterance_ID", "Season", "Episode")
_TIMES = {"Start_Time": "start", "End_Time": "end"}
_NAMES = {"train": ("train", "trn"), "dev": ("dev", "valid", "val"), "test": ("test", "tst")}
_WORD = re.compile(r"[a-z]+")
_ITEM = re.compile(r"""\s*(?:'((?:[^'\\]|\\.)*)'|"((?:[^"\\]|\\.)*)")\s*(,|$)""", re.DOTALL)
_ESCAPE = re.compile(r"\\(.)", re.DOTALL)


def parse_speakers(cell: str) -> str:
    """A list in words as one name.

    >>> parse_speakers("['Monica Geller']"), parse_speakers('''["Ross' Mom", 'Rachel Green']'''), parse_speakers("[]")
    ('Monica Geller', "Ross' Mom & Rachel Green", 'unknown')

    Raises:
        ValueError: neither a flat list of quoted names nor one plain name.
    """
    text = cell.strip()
    if not text.startswith("["):
        return filled(text)
    if not text.endswith("]") or len(text) < 2:
        raise ValueError(cell)
    inside, names, begin = text[1:-1].strip(), [], 0
    while begin < len(inside):
        item = _ITEM.match(inside, begin)
        if not item:
            raise ValueError(cell)
        names.append(filled(_ESCAPE.sub(r"\1", item[1] if item[1] is not None else item[2]).strip()))
        begin = item.end()
    return together(names)


def together(names: list[str]) -> str:
    """Those who speak at once, as one name."""
    return " & ".join(names) or UNKNOWN


def _split_of(name: str) -> str | None:
    """The one split that a file's name has a word for."""
    words = set(_WORD.findall(name.lower()))
    found = [split for split, known in _NAMES.items() if words & set(known)]
    return found[0] if len(found) == 1 else None


def _is_file(content: Content) -> bool:
    return isinstance(content.value, CsvFile) and set(_NEEDED) <= set(content.value.cells)


def named_files(names: tuple[str, ...], word: str, suffix: str) -> dict[str, str]:
    """Split -> file, among the names of a folder that have a word in them."""
    mine = [name for name in names if word in name.lower() and name.lower().endswith(suffix)]
    return {split: name for name in mine if (split := _split_of(name))}


def _files(names: tuple[str, ...]) -> dict[str, str]:
    return named_files(names, "emorynlp", ".csv")


def _is_folder(content: Content) -> bool:
    return bool(_files(content.value))


def split_of_file(content: Content, choices: Choices, count: int) -> tuple[str, str]:
    """The split of a single file's utterances, and the note that says why.

    Raises:
        InputError: neither its name nor ``--one-split`` says it.
    """
    split = choices.one_split or _split_of(content.path.name)
    if split is None:
        raise InputError(
            f"{at(content.path)}expected train, dev or test in the file's name, found {content.path.name!r}; say the split with --one-split"
        )
    return split, f"all {count} utterances are {split}: {'--one-split' if choices.one_split else 'the name of the file says so'}"


def files_of_folder(content: Content, choices: Choices, files: Mapping[str, str], what: str) -> dict[str, Path]:
    """Split -> file, of a folder that has one for each.

    Raises:
        InputError: one is missing, or the user names a split.
    """
    if missing := [split for split in SPLITS if split not in files]:
        raise InputError(
            f"{at(content.path)}expected one of EmoryNLP's {what} for each of {', '.join(SPLITS)}, found none for {', '.join(missing)}; "
            "import a single file by its own name"
        )
    choices.refuse_split(content.path)
    return {split: content.path / files[split] for split in SPLITS}


def _read_file(content: Content, choices: Choices) -> Published:
    file: CsvFile = content.value
    split, note = split_of_file(content, choices, len(file))
    return published({content.path: _table(file, split)}, (note,), np.array(file.lines, dtype=np.int64))


def _read_folder(content: Content, choices: Choices) -> Published:
    files = files_of_folder(content, choices, _files(content.value), "CSVs")
    parts = {split: read_csv(file) for split, file in files.items()}
    for file in parts.values():
        file.require(dict.fromkeys(_NEEDED, " as in EmoryNLP's CSVs"))
    lines = np.concatenate([np.array(file.lines, dtype=np.int64) for file in parts.values()])
    return published({file.path: _table(file, split) for split, file in parts.items()}, (), lines)


def published(tables: Mapping[Path, pd.DataFrame], notes: tuple[str, ...], lines: npt.NDArray[np.int64] | None = None) -> Published:
    """What every form of EmoryNLP becomes.

    Args:
        tables: file -> its utterances.
        notes: what to say before the rest.
        lines: [U] the line each was read in.
    """
    table = pd.concat(list(tables.values()), ignore_index=True)
    together, nobody = (int(n) for n in (table["speaker"].str.contains(" & ", regex=False).sum(), (table["speaker"] == UNKNOWN).sum()))
    counted = (
        f"speaker: {together} utterances are said by several together, whose names are joined with ' & '",
        *([f"speaker: {nobody} utterances name nobody, and are said by {UNKNOWN!r}"] if nobody else ()),
        "dialogues are scenes",
    )
    targets = {"emotion": Target("classes", EMOTIONS)}
    read_in = np.repeat(np.arange(len(tables)), [len(one) for one in tables.values()])
    return Published("EmoryNLP", table, targets, notes=(*notes, *counted), lines=lines, files=tuple(tables), read_in=read_in)


def _table(file: CsvFile, split: str) -> pd.DataFrame:
    cells = file.cells

    def place(row: int) -> str:
        return at(file.path, line=file.lines[row], dialogue=f"scene {cells['Scene_ID'][row]}", utterance=cells["Utterance_ID"][row])

    numbers = {
        name: parse_column(place, cells[name], whole, f"a whole number as {name}")
        for name in ("Season", "Episode", "Scene_ID", "Utterance_ID")
    }
    scenes = zip(numbers["Season"], numbers["Episode"], numbers["Scene_ID"], strict=True)
    made: dict[str, list[object]] = {
        "dialogue_id": [f"s{season:02}_e{episode:02}_c{scene:02}" for season, episode, scene in scenes],
        "utterance_id": list(numbers["Utterance_ID"]),
        "order": list(numbers["Utterance_ID"]),
        "speaker": list(parse_column(place, cells["Speaker"], parse_speakers, "a list of speakers as ['A', 'B']")),
        "split": [split] * len(file),
        "text": list(cells["Utterance"]),
        "emotion": list(parse_column(place, cells["Emotion"], emotion_of, f"one of EmoryNLP's emotions ({', '.join(EMOTIONS)})")),
        "season": list(numbers["Season"]),
        "episode": list(numbers["Episode"]),
        "scene": list(numbers["Scene_ID"]),
    }
    for column, name in _TIMES.items():
        if column in cells:
            made[name] = list(parse_column(place, cells[column], seconds, f"a time HH:MM:SS.mmm as {column}"))
    return pd.DataFrame(made)


def emotion_of(cell: str) -> str | None:
    """A label in small letters; None: there is none.

    Raises:
        ValueError: it is none of EmoryNLP's.
    """
    label = cell.strip().lower()
    if label and label not in EMOTIONS:
        raise ValueError(cell)
    return label or None


_SAYS = "EmoryNLP's CSVs with Season, Episode, Scene_ID (text and emotions, no features)"
LAYOUTS = (
    Layout("emorynlp", f"{_SAYS}, one file", "csv", _is_file, _read_file, MAPS),
    Layout("emorynlp-folder", f"{_SAYS}, a folder of three", "folder", _is_folder, _read_folder, MAPS),
)
"""See :mod:`dgl_merc.corpus.readers.layout`."""
