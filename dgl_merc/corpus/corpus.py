"""Corpus: dialogues with features, speakers and targets, checked once and then trusted by every other room.

Rows are utterances, grouped by dialogue and in the order they were spoken. ``features[m]`` holds only the rows where
modality ``m`` is present, in utterance order: nothing is imputed, an absent modality has no vector.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from dgl_merc.corpus.checks import check_corpus, column_types
from dgl_merc.corpus.pieces import pieces_of
from dgl_merc.corpus.targets import Modality, Target, places_of, sign_labels
from dgl_merc.errors import InputError, at

__all__ = ["CORE_COLUMNS", "Corpus", "Dialogue", "find_dialogue", "presence_column"]

CORE_COLUMNS = ("dialogue_id", "position", "speaker", "split", "text", "start", "end")
"""Of every table of utterances; targets and modalities have further ones."""
Array = npt.NDArray[Any]
_ROWS = 1 << 16  # that are hashed at a time


def presence_column(modality: str) -> str:
    """The boolean column that says whether an utterance has a modality.

    >>> presence_column("audio")
    'has_audio'
    """
    return f"has_{modality}"


def find_dialogue(dialogue: int | str, names: Sequence[str], where: str | Path) -> int:
    """The number of a dialogue.

    Args:
        dialogue: its number, its name, or, where none is called so, its number in words.
        names: of all dialogues.
        where: they are, for people.

    Raises:
        InputError: there is none.

    >>> find_dialogue("d2", ["d1", "d2"], "talk"), find_dialogue("1", ["d1", "d2"], "talk"), find_dialogue("1", ["1", "0"], "talk")
    (1, 1, 0)
    """
    if isinstance(dialogue, str):
        if dialogue in names:
            return list(names).index(dialogue)
        if not (dialogue.isascii() and dialogue.isdecimal()):
            some = ", ".join(map(repr, names[:3])) + (", ..." if len(names) > 3 else "")
            raise InputError(f"{at(where)}no dialogue {dialogue!r} among its {len(names)}; they are called {some}")
        dialogue = int(dialogue[:18])
    if not 0 <= dialogue < len(names):
        raise InputError(f"{at(where)}dialogues are numbered 0 to {len(names) - 1}, found {dialogue}")
    return dialogue


@dataclass(frozen=True)
class Dialogue:
    """One conversation.

    Attributes:
        dialogue_id: its name in the corpus.
        split: ``train``, ``dev`` or ``test``.
        utterances: one row per utterance, columns as in the corpus.
        features: modality -> [present rows, width]; the rows of ``utterances`` whose ``has_<modality>`` is true.
    """

    dialogue_id: str
    split: str
    utterances: pd.DataFrame
    features: dict[str, Array]

    def __len__(self) -> int:
        return len(self.utterances)


@dataclass(frozen=True)
class Corpus:
    """Dialogues, ready to become graphs. Make one with :meth:`build`, or open one with :func:`dgl_merc.corpus.open_corpus`.

    Attributes:
        name: for people.
        utterances: U rows: ``dialogue_id, position, speaker, split, text, start, end`` (text and times may be empty), one column per
            target (empty = unlabelled: context only), one boolean ``has_<modality>``, and any other column, which is kept.
        features: modality -> [present rows, width] float32, possibly memory-mapped.
        modalities: modality -> :class:`Modality`, in the order every other room uses.
        targets: target -> :class:`Target`.
        source: where the corpus came from (a free JSON object).
        notes: counts that a reader wants printed: what was dropped, what is missing, and why.
        path: the folder it was opened from, if any.
    """

    name: str
    utterances: pd.DataFrame
    features: Mapping[str, Array]
    modalities: Mapping[str, Modality]
    targets: Mapping[str, Target]
    source: Mapping[str, Any] = field(default_factory=dict)
    notes: tuple[str, ...] = ()
    path: Path | None = None

    @classmethod
    def build(
        cls,
        name: str,
        utterances: pd.DataFrame,
        features: Mapping[str, Array],
        targets: Mapping[str, Target],
        *,
        provenance: Mapping[str, str] | None = None,
        source: Mapping[str, Any] | None = None,
        notes: tuple[str, ...] = (),
        where: str = "corpus",
    ) -> Corpus:
        """Check the parts and make a corpus of them.

        Args:
            name: for people.
            utterances: at least ``dialogue_id, position, speaker, split``; a missing ``text``, ``start`` or ``end`` is made empty, a
                missing ``has_<modality>`` means present everywhere. Rows of a dialogue stand together, positions count from 0.
            features: modality -> [present rows, width].
            targets: target -> what may stand in its column.
            provenance: modality -> where its features came from.
            source: where the corpus came from.
            notes: counts to be printed with the corpus.
            where: how errors call it: a file or a folder.

        Raises:
            InputError: any fault of the data; the message names dialogue and utterance.
        """
        table = utterances.reset_index(drop=True).copy()
        for column in ("text", "start", "end"):
            if column not in table:
                table[column] = pd.Series([None] * len(table), dtype="str" if column == "text" else "float64")
        for modality in features:
            if presence_column(modality) not in table:
                table[presence_column(modality)] = True
        order = [*CORE_COLUMNS, *targets, *(presence_column(m) for m in features)]
        twice = [t for t in targets if order.count(t) > 1]
        if twice:
            raise InputError(f"{at(where)}a target can't be called like a column of the format: {', '.join(twice)}; rename it")
        missing = [column for column in order if column not in table]
        if missing:
            raise InputError(f"{at(where)}expected the columns {', '.join(order)}; missing: {', '.join(missing)}")
        table = table[[*order, *(c for c in table.columns if c not in order)]]
        types = column_types(targets, tuple(features))
        try:
            table = table.astype({column: kind for column, kind in types.items() if kind == "str"})
        except UnicodeEncodeError as error:
            raise InputError(f"{at(where)}expected text that UTF-8 can hold, found {error.object!r}") from None
        arrays = {m: np.ascontiguousarray(x, dtype=np.float32) for m, x in features.items()}
        check_corpus(table, arrays, targets, where=where)
        table = table.astype(types)  # what comes back from disk: the same values, the same hash
        about = {m: Modality(int(x.shape[1]), (provenance or {}).get(m, "")) for m, x in arrays.items()}
        return cls(name, table, arrays, about, dict(targets), dict(source or {}), notes)

    def __len__(self) -> int:
        """The number of dialogues."""
        return len(self.lengths)

    def __repr__(self) -> str:
        said = ", ".join(f"{m} [{about.width}]" for m, about in self.modalities.items()) or "no modality"
        targets = ", ".join(self.targets) or "none"
        return f"Corpus({self.name}: {len(self)} dialogues, {len(self.utterances)} utterances; {said}; targets: {targets})"

    @cached_property
    def lengths(self) -> npt.NDArray[np.int64]:
        """[B] utterances per dialogue."""
        starts = np.flatnonzero(self.utterances["position"].to_numpy() == 0)
        return np.diff(np.append(starts, len(self.utterances))).astype(np.int64)

    @cached_property
    def offsets(self) -> npt.NDArray[np.int64]:
        """[B + 1] the row where each dialogue begins."""
        return np.concatenate([[0], np.cumsum(self.lengths)]).astype(np.int64)

    @cached_property
    def dialogue_ids(self) -> tuple[str, ...]:
        """[B] names of the dialogues, in order."""
        return tuple(self.utterances["dialogue_id"].iloc[self.offsets[:-1]].tolist())

    @cached_property
    def splits(self) -> npt.NDArray[np.object_]:
        """[B] split of each dialogue."""
        return self.utterances["split"].iloc[self.offsets[:-1]].to_numpy(dtype=object)

    @cached_property
    def presence(self) -> npt.NDArray[np.bool_]:
        """[U, M] whether an utterance has a modality; columns in the order of ``modalities``."""
        columns = [presence_column(m) for m in self.modalities]
        return self.utterances[columns].to_numpy(dtype=bool).reshape(len(self.utterances), len(columns))

    @cached_property
    def feature_rows(self) -> npt.NDArray[np.int64]:
        """[U + 1, M] how many present rows of a modality stand before utterance u: where its vector lies in ``features``."""
        zero = np.zeros((1, len(self.modalities)), dtype=np.int64)
        return np.concatenate([zero, np.cumsum(self.presence, axis=0, dtype=np.int64)])

    @cached_property
    def local_speakers(self) -> npt.NDArray[np.int64]:
        """[U] dialogue-local speaker numbers, by first appearance in the dialogue."""
        dialogue = np.repeat(np.arange(len(self)), self.lengths)
        speaker = pd.factorize(self.utterances["speaker"])[0]
        # numbered by first appearance in the corpus, hence ascending within a dialogue
        codes = pd.factorize(dialogue * (speaker.max() + 1) + speaker)[0]
        first = np.unique(codes, return_index=True)[1]
        before = np.searchsorted(dialogue[first], dialogue)  # speakers that earlier dialogues have introduced
        local: npt.NDArray[np.int64] = (codes - before).astype(np.int64)
        return local

    def labels(self, target: str, rows: slice = slice(None)) -> npt.NDArray[np.int64]:
        """[U] indices into a target's ``classes``; -1 = unlabelled. Of a score, its sign; exactly 0 has none and is unlabelled.

        Args:
            target: its name.
            rows: of some utterances that stand together; default: of all.
        """
        if self.targets[target].kind == "range":
            return sign_labels(self.scores(target, rows))
        said = self.utterances[target].iloc[rows]
        return places_of(said, self.targets[target].labels)

    def label_names(self, target: str, rows: slice = slice(None)) -> npt.NDArray[np.object_]:
        """[U] the same as names; None = unlabelled, as are all whose scores have one sign only, and no class."""
        classes = self.targets[target].classes
        places = self.labels(target, rows) if classes else np.full(len(self.utterances.iloc[rows]), -1)
        names: npt.NDArray[np.object_] = np.array([*classes, None], dtype=object)[places]
        return names

    def scores(self, target: str, rows: slice = slice(None)) -> npt.NDArray[np.float64]:
        """[U] numbers of a target of kind range; NaN = unlabelled. ``rows`` as for :meth:`labels`."""
        return self.utterances[target].iloc[rows].to_numpy(dtype=np.float64, na_value=np.nan)

    def in_split(self, split: str) -> npt.NDArray[np.int64]:
        """The numbers of the dialogues in a split."""
        return np.flatnonzero(self.splits == split).astype(np.int64)

    def in_dialogues(self, dialogues: npt.NDArray[np.int64]) -> npt.NDArray[np.bool_]:
        """[U] whether an utterance is in one of the dialogues with these numbers."""
        return np.repeat(np.isin(np.arange(len(self)), dialogues), self.lengths)

    def number(self, dialogue: int | str) -> int:
        """The number of a dialogue: see :func:`find_dialogue`."""
        return find_dialogue(dialogue, self.dialogue_ids, self.path or self.name)

    def dialogue(self, number: int | str) -> Dialogue:
        """A dialogue by its number or its name.

        Raises:
            InputError: there is no such dialogue.
        """
        number = self.number(number)
        lo, hi = self.offsets[number], self.offsets[number + 1]
        rows = self.feature_rows[[lo, hi]]
        parts = {m: np.asarray(self.features[m][rows[0, k] : rows[1, k]]) for k, m in enumerate(self.modalities)}
        return Dialogue(self.dialogue_ids[number], str(self.splits[number]), self.utterances.iloc[lo:hi], parts)

    def __iter__(self) -> Iterator[Dialogue]:
        return (self.dialogue(i) for i in range(len(self)))

    def modality_sha256(self, modality: str) -> str:
        """SHA-256 of one modality: which utterances have it, and their vectors. Equal whatever else a corpus holds."""
        digest = hashlib.sha256(self.presence[:, list(self.modalities).index(modality)].tobytes())
        _feed(digest, self.features[modality])
        return digest.hexdigest()

    @cached_property
    def content_sha256(self) -> str:
        """SHA-256 of what a model could ever see (not of names, notes or places): the same data, the same hash, on disk or not."""
        digest = hashlib.sha256()
        about = {"targets": {t: v.to_json() for t, v in self.targets.items()}, "modalities": list(self.modalities)}
        digest.update(json.dumps(about).encode())
        for column in [*CORE_COLUMNS, *self.targets, *(presence_column(m) for m in self.modalities)]:
            values = self.utterances[column]
            digest.update(b"\1" + column.encode() + b"\1")
            digest.update(values.isna().to_numpy().tobytes())
            for words in _joined(values):
                digest.update(words.encode("utf-8", "surrogatepass"))
        for modality, x in self.features.items():
            digest.update(f"\1{modality} {x.shape}\1".encode())
            _feed(digest, x)
        return digest.hexdigest()


def _joined(values: pd.Series[Any]) -> Iterator[str]:
    """The cells that are not empty, as words with NULs between them; in pieces."""
    between = ""
    for lo in range(0, len(values), _ROWS):
        words = values.iloc[lo : lo + _ROWS].dropna().astype("str")
        if len(words):
            yield between + "\0".join(words)
            between = "\0"


def _feed(digest: hashlib._Hash, x: Array) -> None:
    """Features in pieces, as little-endian float32 on every machine."""
    for _, piece in pieces_of(x):
        digest.update(np.ascontiguousarray(piece, dtype="<f4").data)
