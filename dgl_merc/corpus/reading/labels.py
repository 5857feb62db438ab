"""Which utterances keep a label. One without is context: heard, but neither learnt from nor scored."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence

import numpy as np
import pandas as pd

from dgl_merc.corpus.corpus import CORE_COLUMNS, presence_column
from dgl_merc.corpus.reading.rows import Rows
from dgl_merc.corpus.targets import Target
from dgl_merc.errors import InputError

__all__ = ["class_column", "keep_classes", "label_only_where", "map_classes", "parse_target", "range_column"]

_RANGE = re.compile(r"(?P<name>.+):(?P<low>[^:]+)\.\.(?P<high>[^:]+)")


def parse_target(text: str) -> tuple[str, Target | None]:
    """``emotion`` (classes: None until the labels are known), ``emotion:joy|fear`` (these classes) or ``sentiment:-3..3`` (a range).

    >>> parse_target("sentiment:-3..3")
    ('sentiment', Target(kind='range', labels=(), bounds=(-3.0, 3.0)))

    >>> parse_target("emotion:joy|fear")
    ('emotion', Target(kind='classes', labels=('joy', 'fear'), bounds=None))

    Raises:
        InputError: not of the form, or named like a column the corpus needs itself.
    """
    named, colon, labels = text.partition(":")
    if colon and "|" in labels and named.strip() and named not in CORE_COLUMNS:
        return named, Target("classes", tuple(labels.split("|")))
    spec = _RANGE.fullmatch(text)
    name = spec["name"] if spec else text
    if name in CORE_COLUMNS or ":" in name or not name.strip():
        raise InputError(f"--target {text}: expected NAME, NAME:A|B|C or NAME:LOW..HIGH, NAME none of {', '.join(CORE_COLUMNS)}")
    if not spec:
        return name, None
    try:
        low, high = float(spec["low"]), float(spec["high"])
    except ValueError:
        raise InputError(f"--target {text}: expected two numbers as LOW..HIGH, found {spec['low']}..{spec['high']}") from None
    if not (np.isfinite([low, high]).all() and low < high):
        raise InputError(f"--target {text}: expected finite LOW < HIGH")
    return name, Target("range", bounds=(low, high))


def class_column(rows: Rows, name: str, known: Sequence[str], expected: str) -> pd.Series[str]:
    """[U] labels of a target of classes; an empty cell is unlabelled.

    Args:
        rows: with the cells in ``rows.table[name]``.
        name: of the target.
        known: every label that may stand there.
        expected: what those are, in words.

    Raises:
        InputError: names the first utterance with another label, and how many there are.
    """
    cells = rows.table[name]
    foreign = (cells.notna() & (cells != "") & ~cells.isin(list(known))).to_numpy(dtype=bool)
    if foreign.any():
        row = int(np.argmax(foreign))
        raise InputError(
            f"{rows.at(row)}{name}: expected {expected} ({', '.join(known)}) or an empty cell, "
            f"found {cells.iloc[row]!r} ({int(foreign.sum())} utterances have such labels)"
        )
    return cells.where(cells != "")


def range_column(rows: Rows, name: str, target: Target) -> pd.Series[float]:
    """[U] numbers of a target with a range; an empty cell is unlabelled.

    Raises:
        InputError: names the first utterance with something else.
    """
    low, high = target.bounds or (0.0, 0.0)

    def numbers() -> Iterator[float]:
        for row, cell in enumerate(rows.table[name]):
            try:
                value = float(cell) if cell.strip() else None
            except ValueError:
                value = np.nan
            if value is not None and not low <= value <= high:
                raise InputError(f"{rows.at(row)}{name}: expected a number from {low:g} to {high:g} or an empty cell, found {cell!r}")
            yield np.nan if value is None else value

    return pd.Series(np.fromiter(numbers(), dtype=np.float64))


def keep_classes(column: pd.Series[str], name: str, classes: Sequence[str]) -> tuple[pd.Series[str], list[str]]:
    """Labels outside ``classes`` become context.

    Returns:
        The column, and one note per label with how many utterances lost it.
    """
    outside = column.notna() & ~column.isin(list(classes))
    counts = column[outside].value_counts(sort=False).sort_index()
    notes = [f"{name}: {count} utterances labelled {label} became context (--classes)" for label, count in counts.items()]
    empty = [label for label in classes if not (column == label).any()]
    return column.where(~outside), notes + [f"{name}: no utterance is labelled {label}" for label in empty]


def map_classes(column: pd.Series[str], name: str, mapping: Mapping[str, str], why: str) -> tuple[pd.Series[str], Target, list[str]]:
    """Labels renamed and merged; those that the map does not name become context.

    Args:
        column: [U] labels, None = unlabelled.
        name: of the target.
        mapping: old label -> new label; the new ones are the classes, in the order they are first named.
        why: the option that asked for it, for the notes.

    Returns:
        The column, what may stand in it, and notes: what was merged and what became context, counted.
    """
    made = column.map(dict(mapping)).astype("str").where(column.isin(list(mapping)))
    notes = []
    for old, count in column[column.notna()].value_counts(sort=False).sort_index().items():
        if str(old) not in mapping:
            notes.append(f"{name}: {count} utterances labelled {old} became context ({why})")
        elif mapping[str(old)] != old and list(mapping.values()).count(mapping[str(old)]) > 1:
            notes.append(f"{name}: {count} utterances labelled {old} count as {mapping[str(old)]} ({why})")
    return made, Target("classes", tuple(dict.fromkeys(mapping.values()))), notes


def label_only_where(table: pd.DataFrame, targets: Mapping[str, Target], modality: str) -> list[str]:
    """Utterances without a modality lose the labels of every target, in place.

    Then the presence of this modality says whether an utterance is labelled, and nothing about which label it has. Another
    modality may still be present more often under one label than under another; nothing here checks that.

    Returns:
        Notes: how many labels went, per target.
    """
    absent = ~table[presence_column(modality)].to_numpy(dtype=bool)
    notes = []
    for name in targets:
        lost = absent & table[name].notna().to_numpy()
        table[name] = table[name].where(~lost)
        notes.append(f"{name}: {int(lost.sum())} utterances without {modality} became context (--label-only-where {modality})")
    return notes
