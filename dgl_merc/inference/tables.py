"""A CSV of new conversations, and how it names its features.

Columns are those of ``import table``: ``dialogue_id, speaker``, perhaps ``position, utterance_id, text``, the target; ``split`` means
nothing here. Without ``--features`` a modality is in the columns ``<modality>_0 ... <modality>_<width - 1>``.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

from dgl_merc.corpus import Corpus
from dgl_merc.corpus.readers.table import read_table
from dgl_merc.corpus.reading.csv_file import CsvFile, read_csv
from dgl_merc.corpus.reading.features import NanPolicy
from dgl_merc.errors import InputError, at
from dgl_merc.inference.making import Making, advice
from dgl_merc.inference.utterance import Expected

__all__ = ["read_conversation_table"]

_NUMBERED = re.compile(r"(?P<stem>.*?)_?(?P<number>\d+)\s*")


def read_conversation_table(
    path: Path, expected: Expected, features: Sequence[str], nan: NanPolicy, making: Making
) -> tuple[Corpus, list[str]]:
    """Read a CSV.

    Args:
        path: of it.
        expected: what the runs take.
        features: as ``import table --features``; empty: by the columns' names.
        nan: whether a NaN in features is an error or makes the modality absent.
        making: what there is to make features with that the file lacks.

    Returns:
        A corpus with the modalities that the file has, and those that it seems to have besides.

    Raises:
        InputError: any fault of the file.
    """
    file = read_csv(path)
    if making.media and "{split}" in making.media.clips:
        raise InputError(
            f"--clips {making.media.clips}: expected a pattern without {{split}}, since conversations to answer are in none; "
            "write the folder's own name"
        )
    cells = {name: column for name, column in file.cells.items() if name != "split"}
    specs, more = (features, []) if features else _by_name(file, expected, making)
    corpus = read_table(
        CsvFile(file.path, cells, file.lines),
        specs,
        targets=(expected.target,) if expected.target in cells else (),
        settled={expected.target: expected.kind} if expected.target in cells else {},
        nan=nan,
        one_split="test",
    )
    return corpus, more


def _by_name(file: CsvFile, expected: Expected, making: Making) -> tuple[list[str], list[str]]:
    """The features of a table that calls its columns by modality and number, and what other groups of such columns there are."""
    where, specs = at(file.path, line=1), []
    for m, width in expected.widths.items():
        there = [name for name in file.cells if name.startswith(f"{m}_") and name[len(m) + 1 :].isdecimal()]
        if there and set(there) != {f"{m}_{k}" for k in range(width)}:
            raise InputError(
                f"{where}{m}: expected the {width} columns {m}_0 to {m}_{width - 1}, as in the training of {expected.runs}, "
                f"found {len(there)} from {there[0]} to {there[-1]}"
            )
        if any(any(cell.strip() for cell in file.cells[name]) for name in there):
            specs.append(f"{m}=columns:{m}_0..{m}_{width - 1}" if width > 1 else f"{m}=columns:{m}_0")
    groups = {match["stem"]: name for name in file.cells if (match := _NUMBERED.fullmatch(name))}
    others = {stem: name for stem, name in groups.items() if stem not in expected.widths}
    if miss := expected.near_miss(others):
        raise InputError(f"{where}{miss[1]}: expected columns {miss[1]}_0, {miss[1]}_1, …, found {others[miss[0]]!r}; rename them")
    glued = [m for m in expected.widths if f"{m}0" in file.cells]
    if glued:
        raise InputError(f"{where}{glued[0]}: expected columns {glued[0]}_0, {glued[0]}_1, …, found {glued[0] + '0'!r}; rename them")
    if not specs and not (making.media or ("text" in file.cells and expected.makes("text"))):
        wanted = " or ".join(f"{m}_0 to {m}_{width - 1}" for m, width in expected.widths.items())
        found = "empty cells alone" if any(f"{m}_0" in file.cells for m in expected.widths) else "none"
        raise InputError(
            f"{where}expected columns of features, {wanted}, found {found}; "
            f"name them, as --features '{next(iter(expected.widths))}=columns:NAME*'{advice(expected, making)}"
        )
    return specs, [stem for stem in others if stem.isidentifier() and f"{stem}_0" in file.cells]
