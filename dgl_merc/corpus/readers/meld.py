"""MELD (Poria et al. 2019), the official files: ``{train,dev,test}_sent_emo.csv`` in one folder, without features.

Dialogue ids start again at 0 in each file, so they become ``train/0``. Utterance ids have gaps: the position is the rank,
the id is kept as the column ``utterance_id``. Times (``H:MM:SS,mmm``; a few have two digits behind the comma, read as a
decimal fraction) become seconds. Emotion is the first target, sentiment the second.

Features of some utterances can tell the label by being there: audio and faces extracted for five of the seven emotions do.
Then ``--classes`` (the five) and ``--label-only-where audio`` make everything else context. Nothing here checks whether
presence still differs between the labels that are left.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from dgl_merc.corpus.corpus import Corpus
from dgl_merc.corpus.readers.layout import Choices, Content, Layout, Published
from dgl_merc.corpus.readers.published import read_published
from dgl_merc.corpus.reading.cells import check_column, filled, parsed, seconds, whole
from dgl_merc.corpus.reading.csv_file import CsvFile, read_csv
from dgl_merc.corpus.reading.features import NanPolicy
from dgl_merc.corpus.targets import SPLITS, Target
from dgl_merc.errors import InputError, at

__all__ = ["EMOTIONS", "LAYOUTS", "SENTIMENTS", "read_meld"]

EMOTIONS = ("neutral", "surprise", "fear", "sadness", "joy", "disgust", "anger")
"""MELD's classes, in the order of their indices."""
SENTIMENTS = ("negative", "neutral", "positive")
"""MELD's other labels."""

_COLUMNS = {
    "Utterance": "text",
    "Speaker": "speaker",
    "Emotion": "emotion",
    "Sentiment": "sentiment",
    "Dialogue_ID": "dialogue_id",
    "Utterance_ID": "utterance_id",
    "Season": "season",
    "Episode": "episode",
    "StartTime": "start",
    "EndTime": "end",
}
_KEPT = {"Sr No.": "sr_no"}
_FILES = tuple(f"{split}_sent_emo.csv" for split in SPLITS)


def read_meld(
    folder: Path,
    features: Sequence[str] = (),
    *,
    classes: Sequence[str] = (),
    label_only_where: Sequence[str] = (),
    nan: NanPolicy = "error",
) -> Corpus:
    """Read MELD: :func:`~dgl_merc.corpus.readers.published.read_published` of this layout.

    Args:
        folder: with the three official CSVs.
        features: as ``--features``; ``{split}`` in a name stands for train, dev, test.
        classes: emotions to learn, in this order; utterances with others become context. Empty: all seven.
        label_only_where: modalities without which an utterance becomes context.
        nan: whether a NaN in features is an error or makes the modality absent.

    Raises:
        InputError: any fault of the files; the message names file, line, dialogue and utterance.
    """
    missing = [name for name in _FILES if not (folder / name).is_file()]
    if missing:
        raise InputError(f"{at(folder)}expected MELD's three files {', '.join(_FILES)}; missing: {', '.join(missing)}")
    return read_published(folder, features, layout="meld", classes=classes, label_only_where=label_only_where, nan=nan)


def _is_folder(content: Content) -> bool:
    return set(_FILES) <= set(content.value)


def _read(content: Content, choices: Choices) -> Published:
    choices.refuse_split(content.path)
    files = [read_csv(content.path / name) for name in _FILES]
    parts = [_part(file, split) for file, split in zip(files, SPLITS, strict=True)]
    table = pd.concat(parts, ignore_index=True)
    lines: npt.NDArray[np.int64] = np.concatenate([np.asarray(file.lines, dtype=np.int64) for file in files])
    targets = {"emotion": Target("classes", EMOTIONS), "sentiment": Target("classes", SENTIMENTS)}
    return Published(
        "MELD",
        table.drop(columns="key"),
        targets,
        lines=lines,
        files=tuple(file.path for file in files),
        read_in=np.repeat(np.arange(len(files)), [len(part) for part in parts]),
        keys=table["key"],
    )


def _part(file: CsvFile, split: str) -> pd.DataFrame:
    file.require(dict.fromkeys(_COLUMNS, " as in MELD's official files"))
    names = {column: _COLUMNS.get(column) or _KEPT.get(column, column) for column in file.cells}
    for column, name in names.items():
        if column in ("position", "split", "order", "key") or (name != column and name in file.cells):
            raise InputError(f"{at(file.path, line=1)}expected no column {name!r}: the corpus makes its own; rename it")
    cells = {names[column]: values for column, values in file.cells.items()}
    dialogue, utterance = cells["dialogue_id"], cells["utterance_id"]

    def place(row: int) -> str:
        return at(file.path, line=int(file.lines[row]), dialogue=dialogue[row], utterance=utterance[row])

    table = pd.DataFrame({name: values.series() for name, values in cells.items()})
    made: dict[str, npt.NDArray[Any]] = {}
    for name in ("dialogue_id", "utterance_id", "season", "episode"):
        made[name] = np.fromiter(parsed(place, cells[name], whole, f"a whole number as {name}"), dtype=np.int64)
    for name in ("start", "end"):
        made[name] = np.fromiter(parsed(place, cells[name], seconds, f"a time H:MM:SS,mmm as {name}"), dtype=np.float64)
    check_column(place, cells["speaker"], filled, "a speaker")
    table = table.assign(**made, split=split, order=made["utterance_id"], key=made["dialogue_id"].astype(str))
    return table.assign(dialogue_id=f"{split}/" + table["key"])


LAYOUTS = (
    Layout("meld", f"MELD's official CSVs, a folder with {', '.join(_FILES)} (text and labels, no features)", "folder", _is_folder, _read),
)
"""See :mod:`dgl_merc.corpus.readers.layout`."""
