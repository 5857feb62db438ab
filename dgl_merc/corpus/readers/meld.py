"""MELD, the official files: ``{train,dev,test}_sent_emo.csv`` in one folder.

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

import numpy as np
import pandas as pd

from dgl_merc.corpus.corpus import Corpus
from dgl_merc.corpus.reading.assemble import Origin, assemble
from dgl_merc.corpus.reading.cells import check_column, filled, parsed, seconds, whole
from dgl_merc.corpus.reading.csv_file import CsvFile, read_csv
from dgl_merc.corpus.reading.feature_spec import parse_specs
from dgl_merc.corpus.reading.features import NanPolicy
from dgl_merc.corpus.reading.labels import class_column, keep_classes
from dgl_merc.corpus.reading.rows import Rows, arrange
from dgl_merc.corpus.targets import SPLITS, Target
from dgl_merc.errors import InputError, at

__all__ = ["EMOTIONS", "SENTIMENTS", "read_meld"]

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


def read_meld(
    folder: Path,
    features: Sequence[str],
    *,
    classes: Sequence[str] = (),
    label_only_where: Sequence[str] = (),
    nan: NanPolicy = "error",
) -> Corpus:
    """Read MELD.

    Args:
        folder: with the three official CSVs.
        features: as ``--features``; ``{split}`` in a name stands for train, dev, test.
        classes: emotions to learn, in this order; utterances with others become context. Empty: all seven.
        label_only_where: modalities without which an utterance becomes context.
        nan: whether a NaN in features is an error or makes the modality absent.

    Raises:
        InputError: any fault of the files; the message names file, line, dialogue and utterance.
    """
    specs = parse_specs(list(features))
    if unknown := [label for label in classes if label not in EMOTIONS]:
        raise InputError(f"--classes: expected emotions among {', '.join(EMOTIONS)}, found {unknown[0]!r}")
    targets = {"emotion": Target("classes", tuple(classes or EMOTIONS)), "sentiment": Target("classes", SENTIMENTS)}
    paths = [folder / f"{split}_sent_emo.csv" for split in SPLITS]
    _need_all(folder, paths)
    rows = _rows([read_csv(path) for path in paths])
    rows.table["emotion"] = class_column(rows, "emotion", EMOTIONS, "one of MELD's emotions")
    rows.table["sentiment"] = class_column(rows, "sentiment", SENTIMENTS, "one of MELD's sentiments")
    notes: list[str] = []
    if classes:
        rows.table["emotion"], notes = keep_classes(rows.table["emotion"], "emotion", classes)
    options = {
        "features": list(features),
        "classes": list(classes),
        "label_only_where": list(label_only_where),
        "nan": nan,
    }
    origin = Origin("meld", folder, folder, tuple(paths), options)
    return assemble("MELD", rows, targets, specs, origin, only_where=label_only_where, nan=nan, notes=notes)


def _need_all(folder: Path, paths: list[Path]) -> None:
    missing = [path.name for path in paths if not path.is_file()]
    if missing:
        names = ", ".join(path.name for path in paths)
        raise InputError(f"{at(folder)}expected MELD's three files {names}; missing: {', '.join(missing)}")


def _rows(files: list[CsvFile]) -> Rows:
    parts = [_part(file, split) for file, split in zip(files, SPLITS, strict=True)]
    table = pd.concat([table for table, _ in parts], ignore_index=True)
    places = pd.concat([places for _, places in parts], ignore_index=True)
    places["read"] = np.arange(len(places))
    return arrange(table, places, table["utterance_id"].to_numpy(dtype=np.int64))


def _part(file: CsvFile, split: str) -> tuple[pd.DataFrame, pd.DataFrame]:
    file.require(dict.fromkeys(_COLUMNS, " as in MELD's official files"))
    names = {column: _COLUMNS.get(column) or _KEPT.get(column, column) for column in file.cells}
    for column, name in names.items():
        if column in ("position", "split") or (name != column and name in file.cells):
            raise InputError(f"{at(file.path, line=1)}expected no column {name!r}: the corpus makes its own; rename it")
    cells = {names[column]: values for column, values in file.cells.items()}
    dialogue, utterance = cells["dialogue_id"], cells["utterance_id"]

    def place(row: int) -> str:
        return at(file.path, line=file.lines[row], dialogue=dialogue[row], utterance=utterance[row])

    table = pd.DataFrame({name: values.series() for name, values in cells.items()})
    for name in ("dialogue_id", "utterance_id", "season", "episode"):
        table[name] = np.fromiter(parsed(place, cells[name], whole, f"a whole number as {name}"), dtype=np.int64)
    for name in ("start", "end"):
        table[name] = np.fromiter(parsed(place, cells[name], seconds, f"a time H:MM:SS,mmm as {name}"), dtype=np.float64)
    check_column(place, cells["speaker"], filled, "a speaker")
    places = pd.DataFrame({"file": [file.path] * len(file), "line": file.lines})
    places["dialogue"], places["utterance"] = table["dialogue_id"].astype("str"), table["utterance_id"].astype("str")
    table["dialogue_id"] = f"{split}/" + table["dialogue_id"].astype("str")
    table["split"] = split
    return table, places
