"""Tuples of named items, as published pickles of conversations are: a table of items per layout, read by one machine.

Most pickles of the field are one tuple (or list) whose items have no names but those of the statement that loads them,
``videoIDs, videoSpeakers, videoLabels, ... = pickle.load(...)``. Each item is a dict from dialogue to a list with one entry an utterance,
but those that say the splits: these are collections of dialogues. :class:`Tuple` names the items of one layout in order:

    ids         the utterances' names: text or whole numbers
    speakers    one of :data:`SPEAKERS`
    emotion     a whole number, the index of a label; this item (without one, the first) says which dialogues there are, in which order,
                and how long they are
    sentences   text
    train, dev, test   the dialogues of a split: a list, tuple, set or array of dict keys
    rest        anything, or a dict such as the others; nothing of it is read by itself
    another name       vectors: see :mod:`dgl_merc.corpus.reading.stacked`

Where ``roberta1`` to ``roberta4`` are among them, ``roberta_mean`` is the mean of the four, as M3Net's and most other models begin.
Dialogues in no split are left out and counted: no published loader ever reads them.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import pandas as pd

from dgl_merc.corpus.readers.layout import Content, Published, Vectors
from dgl_merc.corpus.reading.content import is_whole, shown
from dgl_merc.corpus.reading.plain import is_list
from dgl_merc.corpus.reading.stacked import Held, mean, refuse_repeats, sequence, stack
from dgl_merc.corpus.targets import SPLITS, Target
from dgl_merc.errors import InputError, at

__all__ = ["ROBERTA", "SPEAKERS", "Opened", "Tuple", "fits"]

ROBERTA = ("roberta1", "roberta2", "roberta3", "roberta4")
"""RoBERTa's last four layers, the last first."""
_NOT_VECTORS = ("ids", "speakers", "emotion", "sentiment", "sentences", "rest", *SPLITS)
_LONGEST = 200
_HALF = re.compile("[\ud800-\udfff]")
_NUMBER = (int, float, np.integer, np.floating)


@dataclass(frozen=True)
class Tuple:
    """One layout's items.

    Attributes:
        data: the data set, for people.
        items: their names in order.
        labels: of ``emotion``, in the order of their indices.
        speakers: how an utterance says who speaks: one of :data:`SPEAKERS`.
        dialogue: what a dialogue's name looks like.
        modalities: modality -> the array it is made of.
        person: dialogue, speaker as the dialogue calls him -> who that is; None: speakers are known within a dialogue only.
    """

    data: str
    items: tuple[str, ...]
    labels: tuple[str, ...]
    speakers: str
    dialogue: re.Pattern[str]
    modalities: Mapping[str, str]
    person: Callable[[str, str], str] | None = None

    @property
    def arrays(self) -> tuple[str, ...]:
        """The items that hold vectors."""
        return tuple(item for item in self.items if item not in _NOT_VECTORS)


def _letter(value: Any) -> str | None:
    return str(value) if isinstance(value, str) and value in ("M", "F") else None


def _digit(value: Any) -> str | None:
    return str(value) if isinstance(value, str) and value in ("0", "1") else None


def _one_hot(value: Any) -> str | None:
    if not is_list(value) or not 2 <= len(value) <= 64 or not all(isinstance(n, _NUMBER) and n in (0, 1) for n in value):
        return None
    hot = [k for k, number in enumerate(value) if number == 1]
    return str(hot[0]) if len(hot) == 1 else None


SPEAKERS: Mapping[str, tuple[str, Callable[[Any], str | None]]] = {
    "letter": ("'M' or 'F'", _letter),
    "digit": ("'0' or '1'", _digit),
    "one-hot": ("a vector of zeros with one 1", _one_hot),
}
"""How speakers are written -> in words, and what reads one (None: it is none such)."""


def fits(content: Content, made: Tuple) -> bool:
    """Whether some content has the items of a layout: their number, their types, and the first entry of each."""
    value = content.value
    if not isinstance(value, list | tuple) or len(value) != len(made.items):
        return False
    return all(_looks_like(item, part, made) for item, part in zip(made.items, value, strict=True))


def _looks_like(item: str, part: Any, made: Tuple) -> bool:
    if item == "rest":
        return True
    if item in SPLITS:
        return isinstance(part, list | tuple | set | frozenset) or (isinstance(part, np.ndarray) and part.ndim == 1)
    if not isinstance(part, dict) or not part:
        return False
    key, entries = next(iter(part.items()))
    if not made.dialogue.fullmatch(_name(key) or ""):
        return False
    if not is_list(entries) or not len(entries):
        return False
    first = entries[0]
    if item == "speakers":
        return SPEAKERS[made.speakers][1](first) is not None
    if item in ("emotion", "sentiment"):
        return is_whole(first)
    if item == "sentences":
        return isinstance(first, str)
    if item == "ids":
        return _name(first) is not None
    return first is None or isinstance(first, list | tuple | np.ndarray)


def _name(value: Any) -> str | None:
    """The name of a dialogue or an utterance: text that can be stored, or a whole number."""
    if isinstance(value, str):
        return str(value) if 0 < len(value) <= _LONGEST and value.strip() and value.isprintable() else None
    return str(int(value)) if is_whole(value) and abs(int(value)) < 2**63 else None


@dataclass(frozen=True)
class _Dialogue:
    key: Any
    name: str
    split: str
    utterances: tuple[str, ...]


class Opened:
    """A file of such a layout, its dialogues known and its splits checked.

    Raises:
        InputError: a split names a dialogue that is not there, or two splits name one; a dialogue is empty or its name is none.
    """

    def __init__(self, content: Content, made: Tuple) -> None:
        self.path, self.made = content.path, made
        self.items: dict[str, Any] = dict(zip(made.items, content.value, strict=True))
        self.notes: list[str] = []
        self.anchor = "emotion" if "emotion" in self.items else made.items[0]
        self.dialogues = self._dialogues(self._splits())

    def published(self) -> Published:
        """The table, with the emotion for a target, and the arrays.

        Raises:
            InputError: lengths that disagree, or entries that are not what the layout says.
        """
        rows = [(dialogue, utterance) for dialogue in self.dialogues for utterance in dialogue.utterances]
        table = pd.DataFrame({"dialogue_id": [dialogue.name for dialogue, _ in rows], "split": [dialogue.split for dialogue, _ in rows]})
        if "speakers" in self.items:
            table["speaker"] = self._speakers()
        if "ids" in self.items:
            table["utterance_id"] = [utterance for _, utterance in rows]
        if "sentences" in self.items:
            table["text"] = self._sentences()
        labels, targets = self.made.labels, {}
        if "emotion" in self.items:
            table["emotion"] = [labels[number] for number in self.numbers("emotion", len(labels))]
            targets["emotion"] = Target("classes", labels)
        for column in table:
            table[column] = table[column].astype("str")
        arrays: dict[str, Callable[[], Vectors]] = {name: partial(self.vectors, name) for name in self.made.arrays}
        if set(ROBERTA) <= set(arrays):
            arrays["roberta_mean"] = partial(mean, self.path, "roberta_mean", [arrays[name] for name in ROBERTA], len(rows))
            if "roberta_mean" in self.made.modalities.values():
                self.notes.append(
                    "text is roberta_mean, the mean of roberta1 to roberta4; --features text=file:roberta1 takes the last layer"
                )
        if "speakers" in self.items and self.made.person is None:
            self.notes.append("speakers are numbered within each dialogue: who speaks in two of them is not known")
        return Published(self.made.data, table, targets, arrays, self.made.modalities, tuple(self.notes))

    def numbers(self, item: str, count: int) -> list[int]:
        """Of every utterance, a whole number from 0 to ``count`` - 1."""
        found: list[int] = []
        for dialogue, k, value in self._each(item):
            if not is_whole(value) or not 0 <= value < count:
                raise self._fault(item, dialogue, k, f"a whole number from 0 to {count - 1}", shown(value))
            found.append(int(value))
        return found

    def vectors(self, item: str) -> Vectors:
        """Of every utterance that has one."""
        return stack(self.path, item, [self._held(item, dialogue) for dialogue in self.dialogues])

    def _held(self, item: str, dialogue: _Dialogue) -> Held:
        where, part = at(self.path, dialogue=dialogue.name), self.items[item]
        if not isinstance(part, dict) or dialogue.key not in part:
            found = f"none among {len(part)} dialogues" if isinstance(part, dict) else shown(part)
            raise InputError(f"{where}{item}: expected a list with one entry an utterance, found {found}")
        return Held(dialogue.name, dialogue.utterances, part[dialogue.key])

    def _each(self, item: str) -> Iterator[tuple[_Dialogue, int, Any]]:
        """Dialogue, place and entry of every utterance."""
        for dialogue in self.dialogues:
            for k, value in enumerate(sequence(self.path, item, self._held(item, dialogue))):
                yield dialogue, k, value

    def _fault(self, item: str, dialogue: _Dialogue, k: int, expected: str, found: str) -> InputError:
        where = at(self.path, dialogue=dialogue.name, utterance=dialogue.utterances[k])
        return InputError(f"{where}{item}: expected {expected}, found {found}")

    def _splits(self) -> dict[Any, str]:
        """Dialogue -> split."""
        found: dict[Any, str] = {}
        for split in [split for split in SPLITS if split in self.items]:
            part = self.items[split]
            for key in part.tolist() if isinstance(part, np.ndarray) else list(part):
                name = _name(key)
                if name is None:
                    raise InputError(f"{at(self.path)}{split}: expected names of dialogues, found {shown(key)}")
                if key in found:
                    raise InputError(f"{at(self.path, dialogue=name)}expected in one split, found in {found[key]} and in {split}")
                if key not in self.items[self.anchor]:
                    raise InputError(f"{at(self.path, dialogue=name)}expected utterances of this dialogue of {split}, found none")
                found[key] = split
        return found

    def _dialogues(self, splits: Mapping[Any, str]) -> list[_Dialogue]:
        """Those in a split, in the order of the labels; without splits all."""
        found, outside, whole = [], [], not set(SPLITS) & set(self.items)
        labels = [(id(entries), len(entries)) for entries in self.items[self.anchor].values() if is_list(entries)]
        refuse_repeats(self.path, "utterances", labels, 2**22)
        for key, entries in self.items[self.anchor].items():
            name = _name(key)
            if name is None or not self.made.dialogue.fullmatch(name):
                raise InputError(
                    f"{at(self.path)}{self.anchor}: expected names of dialogues as {self.made.data} has them, found {shown(key)}"
                )
            if key not in splits and not whole:
                outside.append(name)
                continue
            if not is_list(entries) or not len(entries):
                raise InputError(f"{at(self.path, dialogue=name)}{self.anchor}: expected at least one utterance, found {shown(entries)}")
            found.append(_Dialogue(key, name, splits.get(key, "train"), self._utterances(key, name, len(entries))))
        if not found:
            raise InputError(f"{at(self.path)}expected at least one dialogue in a split, found none")
        if twice := [name for name, count in Counter(dialogue.name for dialogue in found).items() if count > 1]:
            raise InputError(f"{at(self.path, dialogue=twice[0])}expected every dialogue once, found it as text and as a number")
        if outside:
            self.notes.append(f"{len(outside)} dialogues are in no split and were left out, the first {outside[0]}")
        return found

    def _utterances(self, key: Any, dialogue: str, count: int) -> tuple[str, ...]:
        """Their names: the file's, or their places."""
        places = _Dialogue(key, dialogue, "", tuple(map(str, range(count))))
        if "ids" not in self.items:
            return places.utterances
        names = []
        for k, value in enumerate(sequence(self.path, "ids", self._held("ids", places))):
            name = _name(value)
            if name is None:
                raise self._fault("ids", places, k, "an utterance's name", shown(value))
            names.append(name)
        return tuple(names)

    def _speakers(self) -> list[str]:
        expected, read = SPEAKERS[self.made.speakers]
        person = self.made.person or "{}:{}".format
        found = []
        for dialogue, k, value in self._each("speakers"):
            speaker = read(value)
            if speaker is None:
                raise self._fault("speakers", dialogue, k, expected, shown(value))
            found.append(person(dialogue.name, speaker))
        return found

    def _sentences(self) -> list[str]:
        found = []
        for dialogue, k, value in self._each("sentences"):
            if not isinstance(value, str):
                raise self._fault("sentences", dialogue, k, "text", shown(value))
            if not value.isascii() and _HALF.search(value):
                raise self._fault("sentences", dialogue, k, "text that a file can hold", "half a character (a surrogate)")
            found.append(str(value))
        return found
