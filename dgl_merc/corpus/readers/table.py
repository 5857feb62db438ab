"""Anyone's own conversations: one CSV, one row an utterance.

Needed: who speaks in which dialogue, and the split (a column, or ``--one-split``). Taken where they are there: an utterance
id, a position, text, start, end, targets. Any other column is kept as text. Utterances of a dialogue may be scattered over
the file: they are gathered, and sorted by ``position``, else by the utterance ids where those are whole numbers, else left
in the file's order.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pandas as pd

from dgl_merc.corpus.corpus import Corpus
from dgl_merc.corpus.reading.assemble import Origin, assemble
from dgl_merc.corpus.reading.by_column import matching_columns
from dgl_merc.corpus.reading.cells import check_column, filled, parsed, seconds, whole
from dgl_merc.corpus.reading.csv_file import Cells, CsvFile, read_csv
from dgl_merc.corpus.reading.feature_spec import parse_specs
from dgl_merc.corpus.reading.features import NanPolicy
from dgl_merc.corpus.reading.labels import class_column, keep_classes, parse_target, range_column
from dgl_merc.corpus.reading.rows import Rows, arrange
from dgl_merc.corpus.targets import SPLITS, Target
from dgl_merc.errors import InputError, at

__all__ = ["Columns", "read_table"]


@dataclass(frozen=True)
class Columns:
    """What the table calls the columns of a corpus; None: the corpus's own name, where there is such a column.

    Attributes:
        dialogue: ``dialogue_id``, needed.
        speaker: ``speaker``, needed.
        split: ``split``, needed unless all rows go into one split.
        utterance: ``utterance_id``.
        position: ``position``.
        text: ``text``.
        start: ``start``.
        end: ``end``.
    """

    dialogue: str | None = None
    speaker: str | None = None
    split: str | None = None
    utterance: str | None = None
    position: str | None = None
    text: str | None = None
    start: str | None = None
    end: str | None = None


_OWN_NAMES = {"dialogue": "dialogue_id", "utterance": "utterance_id"}
"""Fields of :class:`Columns` whose column has another name in the corpus."""
_IMPORT = "`dglmerc import table`"  # other commands take the corpus's own names alone


def read_table(
    path: Path | CsvFile,
    features: Sequence[str],
    *,
    columns: Columns | None = None,
    targets: Sequence[str] = (),
    classes: Sequence[str] = (),
    label_only_where: Sequence[str] = (),
    nan: NanPolicy = "error",
    one_split: str | None = None,
    settled: Mapping[str, Target] | None = None,
) -> Corpus:
    """Read a table of conversations.

    Args:
        path: of the CSV; or the CSV, already read.
        features: as ``--features``; may be empty.
        columns: what the table calls its columns.
        targets: as ``--target``; empty: ``emotion``, if there is such a column.
        classes: the labels to learn, in this order; others become context. Empty: the training split's, sorted.
        label_only_where: modalities without which an utterance becomes context.
        nan: whether a NaN in features is an error or makes the modality absent.
        one_split: the split of all rows, for a table that has no such column.
        settled: the targets, all of them, where their labels are known beforehand, as a run's are: any other label is an error.

    Raises:
        InputError: any fault of the file; the message names line, dialogue and utterance.
    """
    specs = parse_specs(list(features))
    file = path if isinstance(path, CsvFile) else read_csv(path)
    own = ["emotion"] if "emotion" in file.cells and settled is None else []
    wanted = dict(parse_target(text) for text in targets or own)
    if len(wanted) != len(targets or wanted):
        raise InputError(f"--target: expected each target once, found {', '.join(targets)}")
    wanted |= settled or {}
    cells = _renamed(file, columns or Columns(), one_split, advise=settled is None)
    CsvFile(file.path, cells, file.lines).require(dict.fromkeys(wanted, " for --target"))
    rows, notes = _rows(file, cells, one_split)
    known: dict[str, Target] = {}
    classed = _class_target(wanted, classes)
    for name, target in wanted.items():
        known[name], counted = _fill_target(rows, name, target, classes if name == classed else ())
        notes += counted
    if not known:
        notes.append("no target: every utterance is context; `dglmerc import table --target` names a column of labels")
    taken = [name for spec in specs if spec.kind == "columns" for name in matching_columns(spec, list(cells))]
    if needed := [name for name in taken if name in (*_own_names().values(), *known)]:
        raise InputError(f"--features: expected columns beside the corpus's own, found {needed[0]!r}")
    available = {name: rows.table[name] for name in taken}
    rows = Rows(rows.table.drop(columns=taken), rows.places)
    options = {
        "features": list(features),
        "target": list(targets),
        "classes": list(classes),
        "nan": nan,
        "one_split": one_split,
    }
    place = file.path
    origin = Origin("table", place, place.parent, (place,), options | {"label_only_where": list(label_only_where)})
    return assemble(place.stem, rows, known, specs, origin, only_where=label_only_where, nan=nan, notes=notes, columns=available)


def _own_names() -> dict[str, str]:
    """Field of :class:`Columns` -> name in the corpus."""
    return {name: _OWN_NAMES.get(name, name) for name in Columns.__dataclass_fields__}


def _renamed(file: CsvFile, columns: Columns, one_split: str | None, *, advise: bool) -> dict[str, Cells]:
    """The cells under the corpus's names; a column is never replaced by another."""
    cells = dict(file.cells)
    for field, own in _own_names().items():
        given = getattr(columns, field)
        if field == "split" and one_split:
            if given or own in file.cells:
                raise InputError(f"{at(file.path, line=1)}expected no column of splits beside --one-split, found {given or own!r}")
            continue
        if given or field in ("dialogue", "speaker", "split"):
            advice = f" ({_IMPORT} --{field} names another)" if advise else ""
            if field == "split":
                advice = f" (values {', '.join(SPLITS)}; {_IMPORT} --split names another; --one-split train puts all rows in one)"
            file.require({given or own: advice})
        if given and given != own:
            if own in cells:
                raise InputError(f"{at(file.path, line=1)}expected {given!r} (--{field}) or {own!r}, found both; rename one")
            cells[own] = cells.pop(given)
    return cells


def _rows(file: CsvFile, cells: Mapping[str, Cells], one_split: str | None) -> tuple[Rows, list[str]]:
    count = len(file)

    def place(row: int) -> str:
        utterance = cells["utterance_id"][row] if "utterance_id" in cells else None
        return at(file.path, line=file.lines[row], dialogue=cells["dialogue_id"][row] or None, utterance=utterance)

    for name in ("dialogue_id", "speaker", *(["utterance_id"] if "utterance_id" in cells else [])):
        check_column(place, cells[name], filled, f"a {name}")
    if not one_split:
        check_column(place, cells["split"], _split, f"a split among {', '.join(SPLITS)}")
    table = pd.DataFrame({name: values.series() for name, values in cells.items() if name != "position"})
    table["split"] = one_split or table["split"]
    for name in ("start", "end"):
        if name in cells:
            table[name] = np.fromiter(parsed(place, cells[name], seconds, f"seconds or H:MM:SS,mmm as {name}"), dtype=np.float64)
    order, notes = _order(place, cells, count)
    named = cells.get("utterance_id", cells.get("position"))
    utterance = named.series() if named is not None else table.groupby("dialogue_id").cumcount().astype("str")
    files = {
        "file": [file.path] * count,
        "line": file.lines,
        "dialogue": table["dialogue_id"],
        "utterance": utterance,
        "read": np.arange(count),
    }
    if "position" in cells:
        files["position"] = pd.Series(order)
    rows = arrange(table, pd.DataFrame(files), order)
    read = rows.places["read"].groupby(rows.table["dialogue_id"])
    if "position" not in cells and not read.is_monotonic_increasing.all():
        notes.append("order: utterances stand by their utterance ids, which is not the order of the file")
    return rows, notes + _renumbered(rows) + _missing(rows, cells)


def _order(place: Callable[[int], str], cells: Mapping[str, Cells], count: int) -> tuple[npt.NDArray[np.int64], list[str]]:
    """What sorts the utterances of a dialogue, and a note that says so."""
    if "position" in cells:
        return np.fromiter(parsed(place, cells["position"], whole, "a whole number as position"), dtype=np.int64), []
    ids = cells.get("utterance_id", ())
    if any(cell.isdecimal() for cell in ids):
        return np.fromiter(parsed(place, ids, whole, "a whole number as utterance_id, as in other rows"), dtype=np.int64), []
    return np.arange(count), ["order: utterances stand in the order of the file (no position, no numbers as utterance ids)"]


def _renumbered(rows: Rows) -> list[str]:
    """Positions of the file that do not run 0, 1, 2, ...: counted; without an utterance id they are kept as one."""
    changed = int((rows.places["position"] != rows.table["position"]).sum())
    if not changed:
        return []
    if "utterance_id" not in rows.table:
        rows.table["utterance_id"] = rows.places["position"].astype("str")
    return [f"position: renumbered 0, 1, 2, … in {changed} of {len(rows)} utterances"]


def _missing(rows: Rows, cells: Mapping[str, Cells]) -> list[str]:
    """What optional columns leave out, counted."""
    notes = []
    for name in ("text", "start", "end"):
        if name not in cells:
            notes.append(f"{name}: the table has no such column")
            continue
        empty = int((rows.table[name].isna() | (rows.table[name] == "")).sum())
        if empty:
            notes.append(f"{name}: empty in {empty} of {len(rows)} utterances")
    return notes


def _class_target(wanted: Mapping[str, Target | None], classes: Sequence[str]) -> str | None:
    """The target that ``--classes`` speaks of."""
    of_classes = [name for name, target in wanted.items() if target is None]
    if not classes:
        return None
    if "emotion" in of_classes or len(of_classes) == 1:
        return "emotion" if "emotion" in of_classes else of_classes[0]
    raise InputError(f"--classes: expected a target 'emotion' or a single target of classes, found {', '.join(of_classes) or 'none'}")


def _fill_target(rows: Rows, name: str, target: Target | None, classes: Sequence[str]) -> tuple[Target, list[str]]:
    """Replace the cells of a target by its labels or numbers, in place."""
    if target is not None:
        settled = target.kind == "classes"
        rows.table[name] = class_column(rows, name, target.labels, "a label") if settled else range_column(rows, name, target)
        return target, []
    cells = rows.table[name]
    if classes:
        rows.table[name], notes = keep_classes(cells.where(cells != ""), name, classes)
        return Target("classes", tuple(classes)), notes
    labels = sorted(set(cells[rows.table["split"] == "train"].unique()) - {""})
    if len(labels) < 2:
        path = rows.places["file"].iloc[0]
        raise InputError(f"{at(path)}{name}: expected two or more labels in the training split, found {labels}; pass --classes")
    rows.table[name] = class_column(rows, name, labels, "a label of the training split")
    return Target("classes", tuple(labels)), []


def _split(cell: str) -> str:
    if cell not in SPLITS:
        raise ValueError(cell)
    return cell
