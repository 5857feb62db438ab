"""All utterances of a corpus through extractors, into a corpus that has the new modalities beside what it had."""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy.typing as npt
import pandas as pd

from dgl_merc.corpus import Corpus, Modality, presence_column
from dgl_merc.corpus.care.select import steps_of, with_step
from dgl_merc.corpus.checks import column_types
from dgl_merc.corpus.corpus import CORE_COLUMNS
from dgl_merc.corpus.reading.assemble import NO_FEATURES
from dgl_merc.errors import InputError, at
from dgl_merc.extraction.kept import Kept
from dgl_merc.extraction.recipe import Recipe
from dgl_merc.extraction.recordings import Media, Places, find_recordings
from dgl_merc.extraction.wanted import Wanted, file_records, wanted_media, wanted_text
from dgl_merc.extraction.workers import Extractors, Opened

__all__ = ["Progress", "extract", "list_absent", "media_column", "no_progress", "reason_column"]

Progress = Callable[[str, str], AbstractContextManager[Callable[[int, int], None]]]
"""(title, unit) -> a context that gives a function of (done, in all)."""
_REASONS = 10  # that have a note each


def reason_column(modality: str) -> str:
    """The column of a corpus that says why an utterance has no vector of a modality that was extracted; empty where it has one.

    >>> reason_column("audio")
    'no_audio_because'
    """
    return f"no_{modality}_because"


def media_column(modality: str) -> str:
    """The column that says in which file, below the folder of recordings, an utterance was looked for; empty: in none.

    >>> media_column("audio")
    'audio_media'
    """
    return f"{modality}_media"


@contextmanager
def no_progress(_title: str, _unit: str) -> Iterator[Callable[[int, int], None]]:
    """A :data:`Progress` that shows nothing."""
    yield lambda _done, _total: None


def extract(
    corpus: Corpus,
    recipes: Mapping[str, Recipe],
    media: Media | None = None,
    *,
    jobs: int = 1,
    work: Path | None = None,
    extractors: Extractors | None = None,
    say: Callable[[str], None] = lambda _: None,
    progress: Progress = no_progress,
) -> Corpus:
    """A corpus with further modalities: bit for bit the same whatever ``jobs`` is and however often it was cut off.

    What is wrong with an utterance's words or file makes the modality absent there, and is written down (:func:`reason_column`, notes).

    Args:
        corpus: its utterances have text, or are recorded.
        recipes: modality -> what makes its vectors.
        media: where recordings are; None: there are none.
        jobs: processes that look at recordings, of each modality in turn.
        work: an existing folder for what is done already, so that a call that is cut off can be made again; the corpus's vectors lie in it.
            None: all is kept in memory, or, where that would be too much, in files without names.
        extractors: opened before, or to be opened for later calls as well; they say how many processes there are.
        say: is told what users should know before anything is computed: licences, and how much was done already.
        progress: shows how far it is.

    Returns:
        A corpus without a folder, whose ``source["media"]`` has bytes and SHA-256 of every recording that was looked at.

    Raises:
        InputError: it has such a modality already, no utterance's recording was found, or an extractor can't be opened.
    """
    _check_new(corpus, list(recipes))
    with ExitStack() as held:
        places = {name: find_recordings(corpus, media, recipe.kind) for name, recipe in recipes.items() if recipe.kind != "text"}
        extractors = extractors or held.enter_context(Extractors(jobs))
        opened = {name: extractors.open(recipe) for name, recipe in recipes.items()}
        notes = {name: tuple(extractor.notes) for name, extractor in opened.items()}
        records = file_records(media.folder, list(places.values()), extractors.jobs) if media and places else {}
        made = []
        for name, extractor in opened.items():
            found = places.get(name)
            if found is None or media is None:
                wanted = wanted_text(corpus, extractor.recipe)
            else:
                wanted = wanted_media(found, media.folder, extractor.recipe, records)
            path = work / f"{name}-{_short_hash(extractor.recipe)}" if work else None
            with Kept(extractor.width, path) as kept:
                _look(name, extractor, wanted, kept, say, progress)
                features, why = kept.answers(wanted.keys)
            reasons = [wanted.why.get(row, said) for row, said in enumerate(why)]
            made.append(_Made(name, extractor.recipe, features, reasons, found, notes[name]))
        return _assembled(corpus, made, media, records)


def _check_new(corpus: Corpus, modalities: list[str]) -> None:
    """That nothing is written over, but what an earlier call has left of a modality that is gone."""
    for name in modalities:
        if name in corpus.features:
            raise InputError(
                f"{at(corpus.path or corpus.name)}expected a corpus without {name}, found one with it; "
                f"`dglmerc corpus convert CORPUS OUT --drop {name}` leaves it out"
            )
        for column in (presence_column(name), reason_column(name), media_column(name)):
            if column in corpus.utterances and not any(step.get("command") == "features" for step in steps_of(corpus)):
                raise InputError(f"{at(corpus.path or corpus.name)}expected no column {column!r}, which features have; rename it")


def _short_hash(recipe: Recipe) -> str:
    return hashlib.sha256(json.dumps(recipe.to_json(), sort_keys=True).encode()).hexdigest()[:16]


def _look(name: str, extractor: Opened, wanted: Wanted, kept: Kept, say: Callable[[str], None], progress: Progress) -> None:
    """Ask for all that is not known yet."""
    lacking = [[item for item in piece if wanted.key(item) not in kept] for piece in wanted.pieces]
    total, left = (sum(map(len, pieces)) for pieces in (wanted.pieces, lacking))
    if left < total:
        say(f"{name}: {total - left} of {total} were done already")
    if left and extractor.recipe.licence:
        say(f"{name}: {extractor.recipe.licence}")
    done, known = 0, extractor.notes
    with progress(name, "utterances") as show:
        for answers in extractor.answers([piece for piece in lacking if piece]):
            kept.add([(wanted.key(item), answer) for item, answer in answers])
            done += len(answers)
            show(done, left)
    for note in extractor.notes:
        if note not in known:
            say(note)


@dataclass(frozen=True)
class _Made:
    """A modality.

    Attributes:
        name: of it.
        recipe: complete.
        features: [present rows, width].
        reasons: [U] why an utterance has no vector; None: it has one.
        places: where its utterances are recorded; None: nowhere.
        notes: of the extractor, when it was opened; what it says later depends on what was done already.
    """

    name: str
    recipe: Recipe
    features: npt.NDArray[Any]
    reasons: list[str | None]
    places: Places | None
    notes: tuple[str, ...]


def _assembled(corpus: Corpus, made: list[_Made], media: Media | None, records: Mapping[str, Mapping[str, Any]]) -> Corpus:
    """The corpus, with all of them."""
    table, features, modalities = corpus.utterances.copy(), dict(corpus.features), dict(corpus.modalities)
    notes: list[str] = []
    for one in made:
        features[one.name] = one.features
        modalities[one.name] = Modality(one.features.shape[1], str(one.recipe), one.recipe.to_json())
        table[presence_column(one.name)] = [reason is None for reason in one.reasons]
        table[reason_column(one.name)] = pd.Series(one.reasons, index=table.index, dtype="str")
        if one.places:
            files = [*one.places.files, None]
            table[media_column(one.name)] = pd.Series([files[f] for f in one.places.file], index=table.index, dtype="str")
            notes += one.places.notes
        notes += one.notes
        notes += _absences(table, one)
    order = [*CORE_COLUMNS, *corpus.targets, *(presence_column(m) for m in features)]
    table = table[[*order, *(c for c in table.columns if c not in order)]].astype(column_types(corpus.targets, tuple(features)))
    step: dict[str, Any] = {"command": "features", "modalities": [one.name for one in made]}
    if media and records:
        step |= {"media": str(media.folder), "clips": media.clips, "cut": media.cut}
    new = with_step(corpus, step, notes, utterances=table, features=features, modalities=modalities)
    source = dict(new.source)
    if records:
        before = source.get("media")
        source["media"] = {**(before if isinstance(before, dict) else {}), **records}
    return replace(new, source=source, notes=tuple(note for note in new.notes if note != NO_FEATURES))


def _absences(table: pd.DataFrame, made: _Made) -> list[str]:
    """A note a reason: how often, and the first three places."""
    counts = Counter(reason for reason in made.reasons if reason is not None)
    notes = []
    for reason, count in counts.most_common(_REASONS):
        rows = [row for row, said in enumerate(made.reasons) if said == reason][:3]
        first = "; ".join(at(dialogue=table["dialogue_id"].iloc[row], utterance=table["position"].iloc[row])[:-2] for row in rows)
        notes.append(f"{made.name}: absent from {count} of {len(table)} utterances: {reason} ({first}{'; ...' if count > 3 else ''})")
    if others := counts.most_common()[_REASONS:]:
        left = sum(count for _, count in others)
        notes.append(f"{made.name}: absent from {left} utterances for {len(others)} other reasons: column {reason_column(made.name)}")
    return notes


def list_absent(corpus: Corpus, modality: str, most: int = 20) -> Iterator[str]:
    """A line for each utterance that has no vector of a modality: dialogue, utterance, file and reason.

    Args:
        corpus: that :func:`extract` made.
        modality: one of it.
        most: of these lines; the last one then says how many there are more.
    """
    table = corpus.utterances
    absent = table[table[reason_column(modality)].notna()]
    shown = absent.iloc[:most]
    files = shown[media_column(modality)].tolist() if media_column(modality) in shown else [None] * len(shown)
    lines = zip(*(shown[name].tolist() for name in ("dialogue_id", "position", reason_column(modality))), files, strict=True)
    for dialogue, position, reason, file in lines:
        place = at(dialogue=dialogue, utterance=position)
        yield f"{modality}: {place[:-2]}{f', {file}' if isinstance(file, str) else ''}: {reason}"
    if len(absent) > most:
        yield f"{modality}: and {len(absent) - most} more: column {reason_column(modality)} of utterances.parquet"
