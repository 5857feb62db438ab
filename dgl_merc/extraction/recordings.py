"""Where the utterances of a corpus are recorded: which file, and from when to when in it.

The file of an utterance is the first of these that there is:

1. what its cell in the column ``media`` says: a path below the folder;
2. a pattern over the table's columns, such as ``{split}_splits/dia{dialogue_id}_utt{utterance_id}.mp4``. A dialogue id that begins with
   its split, as readers make it where numbers are the same in every split (``train/0``), stands in a pattern without it (``0``). A pattern
   that names dialogues or utterances names files of one of them: one that leads to the same file from two is refused;
3. a file called by the dialogue, ``<dialogue_id>.*``, or by the utterance, ``<dialogue_id>_<utterance_id>.*`` (its position where the
   table has no ``utterance_id``), with one of :data:`ENDINGS`, in either case. Sound takes a file of sound before a video of the same name;
   pictures take videos only.

Files that several utterances name, and those called by a dialogue, are shared: their utterances are cut out by ``start`` and ``end``. Any
other file is one utterance, and taken whole, since the times of a table are often those of the recording that its clips were cut from.
"""

from __future__ import annotations

import math
import os
import string
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path, PurePath
from typing import Any, Literal, get_args

import numpy as np
import numpy.typing as npt

from dgl_merc.corpus import Corpus
from dgl_merc.errors import InputError, at
from dgl_merc.extraction.recipe import Kind

__all__ = ["ENDINGS", "Cut", "Media", "NothingFoundError", "Places", "find_recordings"]

Cut = Literal["shared", "always", "never"]
"""Whether utterances are cut out of their files by start and end: out of shared ones, or out of all, or files are taken whole."""
_SOUNDS, _VIDEOS = (".wav", ".flac", ".mp3", ".m4a", ".ogg", ".opus"), (".mp4", ".mkv", ".avi", ".mov", ".webm")
ENDINGS = (*_SOUNDS, *_VIDEOS)
"""Of the files that are found by the name of a dialogue or an utterance."""


class NothingFoundError(InputError):
    """No utterance has a file of the kind that is looked for."""


@dataclass(frozen=True)
class Media:
    """Where recordings are.

    Attributes:
        folder: with the files.
        clips: a pattern over columns for the path of an utterance's file; "": none.
        cut: whether start and end are times in the files.
    """

    folder: Path
    clips: str = ""
    cut: Cut = "shared"

    def __post_init__(self) -> None:
        if self.cut not in get_args(Cut):
            raise InputError(f"--cut: expected one of {', '.join(get_args(Cut))}, found {self.cut!r}")


@dataclass(frozen=True)
class Places:
    """The place of each of U utterances in the recordings.

    Attributes:
        files: F paths below the folder; not all need be there.
        file: [U] which of them; -1: none.
        start: [U] in seconds from the beginning of the file; NaN with ``end``: the whole file.
        end: [U].
        why: row -> why there is nothing to look at.
        notes: how many were cut, and how many are whole files.
    """

    files: tuple[str, ...]
    file: npt.NDArray[np.int64]
    start: npt.NDArray[np.float64]
    end: npt.NDArray[np.float64]
    why: Mapping[int, str]
    notes: tuple[str, ...]


def find_recordings(corpus: Corpus, media: Media | None, kind: Kind) -> Places:
    """The rule above, for every utterance.

    Args:
        corpus: whose utterances are looked for.
        media: where.
        kind: what of: audio or visual.

    Raises:
        InputError: no folder; a path that leads out of it; an unknown column in the pattern; or two files of which each could be the one.
        NothingFoundError: no utterance has a file.
    """
    if media is None or not media.folder.is_dir():
        found = f"{media.folder}" if media else "none"
        raise InputError(f"{kind}: expected a folder with recordings (--media DIR), found {found}")
    search = _Search(corpus, media, kind)
    named: dict[str, int] = {}
    file = np.full(len(corpus.utterances), -1, dtype=np.int64)
    for row, path in enumerate(search.paths()):
        if path is not None:
            file[row] = named.setdefault(path, len(named))
    files = tuple(named)
    there = np.array([search.is_there(path) for path in files], dtype=bool)
    if not there.any():
        raise NothingFoundError(search.nothing(files))
    why = {int(row): "no recording" for row in np.flatnonzero(file < 0)}
    why |= {int(row): "no such file" for row in np.flatnonzero((file >= 0) & ~np.append(there, True)[file])}
    return _cut(corpus, media.cut, kind, files, file, {named[path] for path in search.of_dialogues if path in named}, why)


def _cut(
    corpus: Corpus,
    rule: Cut,
    kind: Kind,
    files: tuple[str, ...],
    file: npt.NDArray[np.int64],
    of_dialogues: set[int],
    why: dict[int, str],
) -> Places:
    """Which utterances are stretches of their files."""
    users = np.bincount(file[file >= 0], minlength=len(files))
    shared = users > 1
    shared[list(of_dialogues)] = True
    cut = (file >= 0) & (np.append(shared, False)[file] if rule == "shared" else np.full(len(file), rule == "always"))
    start, end = (corpus.utterances[name].to_numpy(dtype=np.float64, na_value=np.nan).copy() for name in ("start", "end"))
    timed = np.isfinite(start) & np.isfinite(end)
    alone = (np.append(users, 0)[file] == 1) & np.isnan(start) & np.isnan(end)
    cut &= ~alone  # the file has one utterance, and no times
    for wrong, said in (
        (cut & ~timed, "no start and end, in a recording of several"),
        (cut & timed & ~(start < end), "ends before it begins"),
    ):
        why.update({int(row): said for row in np.flatnonzero(wrong) if int(row) not in why})
    start[~(cut & timed)] = end[~(cut & timed)] = np.nan
    looked = (file >= 0) & ~np.isin(np.arange(len(file)), list(why))
    notes = []
    if n := int((looked & cut).sum()):
        notes.append(
            f"{kind}: {n} utterances are cut by start and end; files that they are cut out of: {len(np.unique(file[looked & cut]))}"
        )
    if n := int((looked & ~cut).sum()):
        timed_too = int((looked & ~cut & timed).sum())
        unused = f", their times not used in {timed_too} (--cut always uses them)" if timed_too else ""
        notes.append(f"{kind}: {n} utterances are whole files{unused}")
    return Places(files, file, start, end, why, tuple(notes))


@dataclass
class _Search:
    """One search: paths of utterances, one after the other.

    Attributes:
        corpus: whose utterances.
        media: where.
        kind: what of.
        of_dialogues: paths that were found by the name of a dialogue -> the dialogue.
        looked_for: the first three paths that were tried, for people.
    """

    corpus: Corpus
    media: Media
    kind: Kind
    of_dialogues: dict[str, str] = field(default_factory=dict)
    looked_for: list[str] = field(default_factory=list)
    _listed: dict[str, dict[str, list[str]]] = field(default_factory=dict)
    _checked: dict[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.root = self.media.folder.resolve()
        self._fields = _fields(self.media.clips, list(self.corpus.utterances.columns))
        self._owner: dict[str, tuple[str, str | None]] = {}

    def paths(self) -> Iterator[str | None]:
        """[U] paths below the folder."""
        table = self.corpus.utterances
        cells = table["media"].tolist() if "media" in table else [None] * len(table)
        if self.media.clips and all(map(_filled, cells)):
            raise InputError("--clips: expected utterances without a file in the column media, found none; leave it out")
        ids = table["utterance_id" if "utterance_id" in table else "position"].tolist()
        columns = {name: table[name].tolist() for name in {*self._fields, "dialogue_id", "split"}}
        for row, (cell, utterance) in enumerate(zip(cells, ids, strict=True)):
            dialogue = columns["dialogue_id"][row]
            if _filled(cell):
                yield self._below(str(cell), row, "media")
            elif self.media.clips:
                words = {name: _word(columns[name][row]) for name in self._fields}
                if "dialogue_id" in words:
                    words["dialogue_id"] = _without_split(dialogue, columns["split"][row])
                path = self._below(self.media.clips.format(**words), row, "--clips")
                self._hold_to_pattern(path, dialogue, _word(utterance))
                yield path
            else:
                yield self._by_name(dialogue, _word(utterance), row)

    def is_there(self, path: str) -> bool:
        """Whether it is a file."""
        return os.path.isfile(self.root / path)  # unlike Path.is_file, of a name of any length

    def nothing(self, files: tuple[str, ...]) -> str:
        """What to say where no utterance has a file."""
        tried = [*files[:3], *self.looked_for][:3]
        wanted = "videos" if self.kind == "visual" else "recordings"
        inside = sorted(entry.name for entry in os.scandir(self.root) if not entry.name.startswith("."))
        held = (", ".join(inside[:5]) + (f" and {len(inside) - 5} more" if len(inside) > 5 else "")) or "nothing"
        return (
            f"{at(self.media.folder)}{self.kind}: expected {wanted} of the utterances, such as {', '.join(tried)}; found {held}; "
            "a column media or --clips names files otherwise"
        )

    def _below(self, text: str, row: int, said: str) -> str:
        """A path as it was given, held to the folder."""
        if text not in self._checked:
            path = PurePath(text)
            inside = not path.is_absolute() and ".." not in path.parts and "\0" not in text
            if not inside or not (self.root / path).resolve().is_relative_to(self.root):
                table = self.corpus.utterances
                place = at(dialogue=table["dialogue_id"].iloc[row], utterance=table["position"].iloc[row])
                raise InputError(
                    f"{place}{said}: expected a path to a file below {self.media.folder}, found {text!r}, which leads out of it"
                )
            self._checked[text] = str(path)
        return self._checked[text]

    def _by_name(self, dialogue: str, utterance: str, row: int) -> str | None:
        """The file that is called by the dialogue or by the utterance."""
        own = f"{dialogue}_{utterance}"
        found = [(self._one_of(stem, dialogue), mine) for stem, mine in ((dialogue, None), (own, utterance))]
        there = [(path, (dialogue, mine)) for path, mine in found if path is not None]
        if not there:
            self.looked_for += [f"{stem}.*" for stem in (dialogue, own) if len(self.looked_for) < 3 and f"{stem}.*" not in self.looked_for]
            return None
        path, owner = there[0]
        if len(there) > 1:
            raise self._ambiguous(path, there[1][0], dialogue)
        self._hold_to_owner(path, owner, "name files in a column media")
        if owner[1] is None:
            self.of_dialogues[path] = dialogue
        return self._below(path, row, "by name")

    def _hold_to_pattern(self, path: str, dialogue: str, utterance: str) -> None:
        """A pattern that names dialogues or utterances means one of them by a file: not train's clips, say, by the dialogues of dev."""
        of_utterances = not {"utterance_id", "position"}.isdisjoint(self._fields)
        if of_utterances or "dialogue_id" in self._fields:
            remedy = "put {split} or another column into --clips, or name files in a column media"
            self._hold_to_owner(path, (dialogue, utterance if of_utterances else None), remedy)

    def _hold_to_owner(self, path: str, owner: tuple[str, str | None], remedy: str) -> None:
        """That a file is not taken for two dialogues'."""
        if self._owner.setdefault(path, owner) != owner and self.is_there(path):
            raise InputError(
                f"{at(self.media.folder / path)}expected the recording of one dialogue, found that it may be of {self._owner[path][0]} "
                f"and of {owner[0]}; {remedy}"
            )

    def _one_of(self, stem: str, dialogue: str) -> str | None:
        """The file of a name, whatever its ending."""
        names = self._names(stem)
        for endings in (_SOUNDS, _VIDEOS) if self.kind == "audio" else (_VIDEOS,):
            fitting = [name for name in names if PurePath(name).suffix.lower() in endings]
            if len(fitting) > 1:
                raise self._ambiguous(fitting[0], fitting[1], dialogue)
            if fitting:
                return fitting[0]
        return None

    def _names(self, stem: str) -> list[str]:
        """Files of known endings with this path but for the ending. Each folder is listed once."""
        path = PurePath(stem)
        if path.is_absolute() or ".." in path.parts or "\0" in stem or stem.endswith("/"):
            return []
        below = str(path.parent)
        if below not in self._listed:
            listed: dict[str, list[str]] = {}
            folder = self.root / below
            for name in sorted(entry.name for entry in os.scandir(folder)) if os.path.isdir(folder) else ():
                start, ending = os.path.splitext(name)
                if ending.lower() in ENDINGS:
                    listed.setdefault(start, []).append(str(PurePath(below) / name))
            self._listed[below] = listed
        return self._listed[below].get(path.name, [])

    def _ambiguous(self, one: str, other: str, dialogue: str) -> InputError:
        return InputError(
            f"{at(self.media.folder, dialogue=dialogue)}{self.kind}: expected one recording, found {one} and {other}; take one away, or "
            "name files in a column media"
        )


def _fields(pattern: str, columns: list[str]) -> tuple[str, ...]:
    """The columns that a pattern names.

    Raises:
        InputError: it is no pattern, or there is no such column.
    """
    try:
        parts = list(string.Formatter().parse(pattern))
    except ValueError as error:
        raise InputError(f"--clips: expected a path with columns in braces, found {pattern!r} ({error})") from None
    for _, name, form, conversion in parts:
        if name is not None and (name not in columns or form or conversion):
            found = f"{name}{'!' + conversion if conversion else ''}{':' + form if form else ''}"
            raise InputError(f"--clips: expected columns of the table in braces ({', '.join(columns)}), found {{{found}}}")
    names = tuple(dict.fromkeys(name for _, name, _, _ in parts if name is not None))
    if pattern and not names:
        raise InputError(f"--clips: expected a path with columns in braces, found {pattern!r}, which is the same for every utterance")
    return names


def _filled(cell: Any) -> bool:
    return isinstance(cell, str) and bool(cell.strip())


def _word(cell: Any) -> str:
    """A cell in a file's name: whole numbers without a fraction, nothing where it is empty."""
    if cell is None or (isinstance(cell, float) and math.isnan(cell)):
        return ""
    return str(int(cell)) if isinstance(cell, float) and cell.is_integer() else str(cell)


def _without_split(dialogue: str, split: str) -> str:
    """The id that a reader has put a split before.

    >>> _without_split("train/0", "train"), _without_split("train/0", "dev")
    ('0', 'train/0')
    """
    return dialogue.removeprefix(f"{split}/")
