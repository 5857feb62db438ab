"""New conversations as a corpus: a CSV, JSON lines, a folder with a corpus or a store, or utterances in Python.

What the runs take and the file lacks is made of texts and recordings where the runs know how (:mod:`dgl_merc.inference.making`), and absent
otherwise; what the file has and the runs don't take is passed over. Notes of the corpus say so.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from itertools import islice
from pathlib import Path
from typing import BinaryIO

import numpy as np
import pandas as pd

from dgl_merc.corpus import Corpus, open_corpus, presence_column
from dgl_merc.corpus.reading.features import NanPolicy
from dgl_merc.errors import InputError, at
from dgl_merc.extraction.extract import list_absent, reason_column
from dgl_merc.graphs import open_store
from dgl_merc.inference.json_lines import parse_utterance, read_lines, read_object
from dgl_merc.inference.making import Making, advice, made
from dgl_merc.inference.tables import read_conversation_table
from dgl_merc.inference.utterance import Expected, Utterance

__all__ = ["as_corpus", "completed", "read_conversations"]

_JSON = (".jsonl", ".ndjson")
_TEXT_ALONE = Making()


def read_conversations(
    path: Path, expected: Expected, *, features: Sequence[str] = (), nan: NanPolicy = "error", making: Making = _TEXT_ALONE
) -> Corpus:
    """Read what is to be answered.

    Args:
        path: a ``.csv``, a ``.jsonl`` or ``.ndjson``, the folder of a corpus or a store, or ``-``: JSON lines on standard input.
        expected: what the runs take.
        features: for a CSV, as ``import table --features``.
        nan: for a CSV: whether a NaN in features is an error or makes the modality absent.
        making: what there is to make features with that the file lacks; default: its texts.

    Returns:
        A corpus with every modality that is expected, in one split.

    Raises:
        InputError: any fault of the file.
    """
    if path.suffix.lower() != ".csv" and (features or nan != "error"):
        raise InputError(f"{at(path)}--features and --nan are for a CSV: elsewhere features stand beside their utterances; leave them out")
    if str(path) == "-":
        if sys.stdin is None:
            raise InputError("standard input: expected JSON lines, found it closed")
        return as_corpus(_from_lines(sys.stdin.buffer, "standard input", expected), expected, "standard input", making)
    if path.is_dir():
        return completed(_from_folder(path), expected, str(path), making=making)
    if path.suffix.lower() in _JSON:
        if not path.is_file():
            raise InputError(f"{at(path)}expected a file of JSON lines, found {'something else' if path.exists() else 'none'}")
        with path.open("rb") as file:
            return as_corpus(_from_lines(file, str(path), expected), expected, str(path), making)
    if path.suffix.lower() == ".csv":
        corpus, more = read_conversation_table(path, expected, features, nan, making)
        return completed(corpus, expected, str(path), more, making)
    raise InputError(
        f"{at(path)}expected a .csv, JSON lines (.jsonl), the folder of a corpus, or - for JSON lines on standard input, "
        f"found {'something else' if path.exists() else 'no such file'}"
    )


def _from_folder(path: Path) -> Corpus:
    if (path / "manifest.json").is_file():
        corpus = open_store(path).corpus
        return open_corpus(corpus.path) if corpus.path else corpus
    return open_corpus(path)


def _from_lines(file: BinaryIO, name: str, expected: Expected) -> Iterator[Utterance]:
    for place, line in read_lines(file, name):
        utterance = parse_utterance(read_object(line, place), place, expected.target)
        expected.vectors(utterance, place + at(dialogue=utterance.dialogue_id))  # here a line can be named
        yield utterance


def as_corpus(utterances: Iterable[Utterance], expected: Expected, name: str = "utterances", making: Making = _TEXT_ALONE) -> Corpus:
    """Utterances as a corpus: those of a dialogue together, in order.

    Args:
        utterances: U of them.
        expected: what the runs take.
        name: of the whole, for people.
        making: what there is to make features with that no utterance has; of such utterances nothing but text.

    Raises:
        InputError: none at all, a vector of another width, a position twice or missing, recordings, or as :meth:`Corpus.build`.
    """
    if making.media:
        raise InputError(f"{at(name)}expected a CSV or the folder of a corpus beside recordings (--media), which say when somebody speaks")
    given = list(utterances)
    if not given:
        raise InputError(f"{at(name)}expected at least one utterance, found none")
    number: dict[str, int] = {}
    for u in given:
        number.setdefault(u.dialogue_id, len(number))
    given = [given[k] for k in _order(given, number, name)]
    counts = pd.Series([u.dialogue_id for u in given], dtype="str")
    table = pd.DataFrame(
        {
            "dialogue_id": counts,
            "position": counts.groupby(counts).cumcount(),
            "speaker": pd.Series([u.speaker for u in given], dtype="str"),
            "split": "test",
            "text": pd.Series([_storable(u.text) for u in given], dtype="str"),
            expected.target: pd.Series([u.label if u.label != "" else None for u in given], dtype=object),
        }
    )
    vectors = [expected.vectors(u, at(name, dialogue=u.dialogue_id)) for u in given]
    called = [u.utterance_id if u.utterance_id is not None or u.position is None else str(u.position) for u in given]
    if any(name is not None for name in called):
        table["utterance_id"] = pd.Series(called, dtype="str")
    arrays = {}
    for m, width in expected.widths.items():
        rows = [x[m] for x in vectors if m in x]
        arrays[m] = np.stack(rows) if rows else np.zeros((0, width), dtype=np.float32)
        table[presence_column(m)] = [m in u.features for u in given]
    corpus = made(Corpus.build(name, table, arrays, {expected.target: expected.kind}, where=name), expected, making, name)
    more = sorted({m for u in given for m in u.features} - set(expected.widths))
    if miss := expected.near_miss(more):
        raise InputError(f"{at(name)}{miss[1]}: expected the modality by this name, found {miss[0]!r}")
    return _noted(corpus, expected, name, more, making)


def _storable(text: str | None) -> str | None:
    """Half a character, as JSON can spell it, is replaced: no model reads it."""
    return None if text is None else text.encode("utf-8", "replace").decode()


def _order(given: Sequence[Utterance], number: dict[str, int], name: str) -> Sequence[int]:
    """What sorts utterances by dialogue, then position."""
    some = [k for k, u in enumerate(given) if u.position is not None]
    if some and len(some) < len(given):
        lacking = next(u for u in given if u.position is None)
        raise InputError(f"{at(name, dialogue=lacking.dialogue_id)}expected a position of every utterance or of none, found some without")
    places = [(number[u.dialogue_id], k if u.position is None else u.position) for k, u in enumerate(given)]
    if len(set(places)) < len(places):
        first = dict(zip(reversed(places), reversed(range(len(given))), strict=True))
        again = next(k for k, p in enumerate(places) if first[p] != k)
        where = at(name, dialogue=given[again].dialogue_id, utterance=given[again].position)
        raise InputError(f"{where}expected every position once, found it twice")
    return sorted(range(len(given)), key=places.__getitem__)


def completed(corpus: Corpus, expected: Expected, name: str, more: Sequence[str] = (), making: Making = _TEXT_ALONE) -> Corpus:
    """A corpus with the modalities and the target that it lacks: made where they can be, absent from every utterance else; unlabelled.

    Args:
        corpus: as it came.
        expected: what the runs take.
        name: of it, for people.
        more: what else it seems to have, for a note.
        making: what there is to make features with.

    Raises:
        InputError: vectors of another width, another kind of target of the same name, or nothing at all that the runs take.
    """
    kept = tuple(note for note in corpus.notes if note.startswith(("order: ", "position: ")))
    corpus = made(replace(corpus, notes=kept), expected, making, name)
    table, features = corpus.utterances, dict(corpus.features)
    for m, width in expected.widths.items():
        if m not in features:
            features[m] = np.zeros((0, width), dtype=np.float32)
            table = table.assign(**{presence_column(m): False})
        elif features[m].shape[1] != width:
            raise InputError(
                f"{at(name)}{m}: expected vectors of width {width}, as in the training of {expected.runs}, found {features[m].shape[1]}"
            )
    targets = dict(corpus.targets)
    if expected.target not in targets:
        if expected.target in table:
            raise InputError(f"{at(name)}{expected.target}: expected the labels to predict or no such column, found another; rename it")
        targets[expected.target] = expected.kind
        table = table.assign(**{expected.target: None})
    elif targets[expected.target].to_json() != expected.kind.to_json():
        found = targets[expected.target]
        raise InputError(f"{at(name)}{expected.target}: expected {expected.kind}, as in the training of {expected.runs}; found {found}")
    as_it_is = features.keys() == corpus.features.keys() and expected.target in corpus.targets
    whole = corpus if as_it_is else Corpus.build(corpus.name, table, features, targets, where=name)
    others = [*more, *(m for m in corpus.modalities if m not in expected.widths)]
    return _noted(replace(whole, notes=corpus.notes), expected, name, others, making)


def _first_absence(corpus: Corpus, modalities: Sequence[str]) -> str:
    """Why what was to be made could not be, of one utterance; "" where nothing was."""
    lines = (line for m in modalities if reason_column(m) in corpus.utterances for line in list_absent(corpus, m, 1))
    return "".join(f"; the first: {line}" for line in islice(lines, 1))


def _noted(corpus: Corpus, expected: Expected, name: str, more: Sequence[str], making: Making) -> Corpus:
    """With notes on what is absent and what is passed over.

    Raises:
        InputError: no utterance has anything that some run takes.
    """
    has = dict(zip(corpus.modalities, corpus.presence.sum(axis=0).tolist(), strict=True))
    for run, modalities in expected.hears:
        if not any(has[m] for m in modalities):
            others = f", but of {', '.join(more)}" if more else ""
            raise InputError(
                f"{at(name)}expected features of {' or '.join(modalities)}, which {run} hears, found none in any utterance{others}"
                f"{_first_absence(corpus, modalities)}{advice(expected, making)}"
            )
    total = len(corpus.utterances)
    notes = [
        f"{m}: {has[m]} of {total} utterances have it; of the others it is absent{'' if has[m] else advice(expected, making, m)}"
        for m in expected.widths
        if has[m] < total
    ]
    notes += [f"{m}: no part of the training of {expected.runs}, so it is passed over" for m in more]
    return replace(corpus, notes=(*corpus.notes, *notes))
