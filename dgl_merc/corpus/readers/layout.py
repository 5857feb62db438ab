"""A layout in circulation: how a published file is recognised by its structure, and what a reader makes of it.

A reader is a module with ``LAYOUTS``, named in :mod:`dgl_merc.corpus.readers.known`. It turns the file's content into a table of
utterances and named arrays; what follows (which arrays make a modality, label maps, checks) is the same for every layout and is
done by :func:`dgl_merc.corpus.readers.published.read_published`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import pandas as pd

from dgl_merc.corpus.targets import Target
from dgl_merc.errors import InputError, at

__all__ = ["Choices", "Content", "Layout", "Published", "Vectors"]


@dataclass(frozen=True)
class Content:
    """What a file holds, read without running anything.

    Attributes:
        path: the file or folder.
        kind: what it is.
        value: of a pickle or a JSON file its data; of a CSV a :class:`~dgl_merc.corpus.reading.csv_file.CsvFile`; of a folder the sorted
            names of its files.
    """

    path: Path
    kind: Literal["pickle", "csv", "json", "folder"]
    value: Any


@dataclass(frozen=True)
class Choices:
    """What a user may say about any file.

    Attributes:
        one_split: the split of all utterances, where the file has none.
    """

    one_split: str | None = None

    def refuse_split(self, folder: Path) -> None:
        """Of a folder whose files are named by their splits.

        Raises:
            InputError: the user names one.
        """
        if self.one_split:
            raise InputError(f"{at(folder)}--one-split: expected a single file, found a folder whose files are named by their splits")


@dataclass(frozen=True)
class Vectors:
    """One array of a file: R vectors and the utterances they belong to.

    Attributes:
        values: [R, W] numbers, perhaps not finite.
        utterance: [R] the row of :attr:`Published.table` each belongs to; None: row i belongs to utterance i.
        why_absent: why an utterance may have none, in words.
        notes: how the vectors were made of what is in the file, and what was left out, counted.
    """

    values: npt.NDArray[Any]
    utterance: npt.NDArray[np.int64] | None = None
    why_absent: str = ""
    notes: tuple[str, ...] = ()

    def owners(self, count: int) -> npt.NDArray[np.int64]:
        """[R] the row of the file's table, of ``count``, that each vector belongs to."""
        if self.utterance is not None:
            return self.utterance
        if len(self.values) != count:
            raise AssertionError(f"a reader gave {len(self.values)} vectors for {count} utterances")
        return np.arange(count)


@dataclass(frozen=True)
class Published:
    """What a reader makes of a file.

    Attributes:
        name: of the corpus, for people.
        table: [U] utterances in the file's order: ``dialogue_id, speaker, split``, one column per target (None = unlabelled) and, where
            the file says them, ``utterance_id, text, start, end`` and further columns. Rows of a dialogue may be scattered: they are
            gathered, and sorted by the column ``order``, where there is one (whole numbers; not kept).
        targets: target -> what may stand in its column; label maps are of the first.
        arrays: name, as ``--features MODALITY=file:NAME`` says it -> what reads it. Called for the arrays that are wanted, once each.
        modalities: modality -> the arrays it is made of unless told otherwise, as behind ``file:``. Empty: the file has no features.
        notes: what to know about the file: what was dropped, repaired or is known to be odd, counted.
        lines: [U] the line each utterance was read in, of a text file.
        files: those that were read, where the layout is a folder.
        read_in: [U] which of ``files`` each utterance was read in.
        keys: [U] what the file, and others to be joined with it, call the dialogue; None: ``dialogue_id``.
    """

    name: str
    table: pd.DataFrame
    targets: Mapping[str, Target]
    arrays: Mapping[str, Callable[[], Vectors]] = field(default_factory=dict)
    modalities: Mapping[str, str] = field(default_factory=dict)
    notes: tuple[str, ...] = ()
    lines: npt.NDArray[np.int64] | None = None
    files: tuple[Path, ...] = ()
    read_in: npt.NDArray[np.int64] | None = None
    keys: pd.Series[str] | None = None


@dataclass(frozen=True)
class Layout:
    """One published layout.

    Attributes:
        name: as ``--layout`` says it.
        says: what it is, in words: data set, who publishes it so, structure.
        kind: of its files.
        recognise: whether some content is of this layout, by its structure alone; never raises.
        read: makes utterances and arrays of it; raises :class:`~dgl_merc.errors.InputError` with the place of any fault.
        label_maps: name, as ``--label-map`` says it -> the file's label -> the label to learn; labels left out become context. The
            first is taken unless told otherwise; none: the labels stay.
        records: classes whose instances such pickles hold, ``module.Class``: they are read as plain fields, never imported.
    """

    name: str
    says: str
    kind: Literal["pickle", "csv", "json", "folder"]
    recognise: Callable[[Content], bool]
    read: Callable[[Content, Choices], Published]
    label_maps: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    records: tuple[str, ...] = ()
