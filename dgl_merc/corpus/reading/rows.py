"""Utterances in the order of the corpus, each with the place it was read from: what every later error names."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pandas as pd

from dgl_merc.errors import InputError, at

__all__ = ["Rows", "arrange"]

Ints = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Rows:
    """U utterances.

    Attributes:
        table: [U] the corpus's columns so far.
        places: [U] ``file, line, dialogue, utterance, position`` as they stand in the file (without a position there: the
            corpus's; no line: not a text file), and ``read``: the how-manieth row it was, from 0, over all files.
    """

    table: pd.DataFrame
    places: pd.DataFrame

    def __len__(self) -> int:
        return len(self.table)

    def at(self, row: int) -> str:
        """The beginning of a message about one utterance."""
        place = self.places.iloc[row]
        return at(place["file"], line=self._line(row), dialogue=place["dialogue"], utterance=place["utterance"])

    def named(self, row: int) -> str:
        """An utterance in words, for messages that name another file."""
        place = self.places.iloc[row]
        line = self._line(row)
        return (
            f"dialogue {place['dialogue']}, utterance {place['utterance']} ({place['file'].name}{'' if line is None else f' line {line}'})"
        )

    def first(self, row: int) -> str:
        """An utterance in words, for messages that have named its file: its line, or else its how-manieth row it was."""
        line = self._line(row)
        return f"in row {int(self.places['read'].iloc[row])}" if line is None else f"in line {line}"

    def _line(self, row: int) -> int | None:
        line = self.places["line"].iloc[row]
        return None if pd.isna(line) else int(line)

    def rank_in_split(self) -> Ints:
        """[U] the how-manieth row of its split an utterance was, in the order of the files."""
        ranks: Ints = self.places["read"].groupby(self.table["split"]).rank(method="first").to_numpy().astype(np.int64) - 1
        return ranks


def arrange(table: pd.DataFrame, places: pd.DataFrame, order: Ints) -> Rows:
    """Gather the rows of each dialogue (by first appearance), sort them by ``order``, and count positions from 0.

    Args:
        table: [U] rows as read, with ``dialogue_id`` and ``split``.
        places: [U] as :attr:`Rows.places`; ``position`` may be missing.
        order: [U] what sorts the utterances of a dialogue; the file's order decides between equals.

    Raises:
        InputError: an utterance stands there twice, or a dialogue in two splits.
    """
    number = pd.factorize(table["dialogue_id"])[0].astype(np.int64)
    _refuse_two_splits(Rows(table, places), number)
    _refuse_duplicates(Rows(table, places), number)
    sorted_rows = np.lexsort((order, number))
    number = number[sorted_rows]
    begins = np.flatnonzero(np.append(True, number[1:] != number[:-1]))
    table = table.iloc[sorted_rows].reset_index(drop=True)
    table.insert(1, "position", np.arange(len(table)) - begins[number])
    places = places.iloc[sorted_rows].reset_index(drop=True)
    if "position" not in places:
        places["position"] = table["position"]
    return Rows(table, places)


def _refuse_two_splits(rows: Rows, number: Ints) -> None:
    split = rows.table["split"].to_numpy(dtype=object)
    first = np.unique(number, return_index=True)[1][number]
    mixed = split != split[first]
    if mixed.any():
        row = int(np.argmax(mixed))
        raise InputError(
            f"{rows.at(row)}expected split {split[first[row]]} as {rows.first(int(first[row]))}, "
            f"found {split[row]}: a dialogue in two splits leaks test into training"
        )


def _refuse_duplicates(rows: Rows, number: Ints) -> None:
    key = pd.DataFrame({"dialogue": number, "utterance": rows.places["utterance"].to_numpy()})
    twice = key.duplicated().to_numpy()
    if twice.any():
        row = int(np.argmax(twice))
        first = int(np.argmax((key == key.iloc[row]).all(axis=1).to_numpy()))
        raise InputError(f"{rows.at(row)}expected every utterance once, found it {rows.first(first)} already")
