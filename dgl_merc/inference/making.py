"""Features of new conversations, made of their texts and recordings by the recipes that runs remember.

What is given wins: a modality is made where no utterance has a vector of it. Nothing is guessed: a run whose features were imported has no
recipe, and several runs that hear a modality must have had it from the same model.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace

from dgl_merc.corpus import Corpus, presence_column
from dgl_merc.errors import InputError, at
from dgl_merc.extraction import Extractors, Media, Recipe, extract
from dgl_merc.extraction.extract import Progress, no_progress
from dgl_merc.extraction.recordings import NothingFoundError, find_recordings
from dgl_merc.inference.utterance import Expected

__all__ = ["Making", "advice", "made"]


@dataclass(frozen=True)
class Making:
    """What there is to make features with.

    Attributes:
        media: where recordings are; None: there are none, and text alone can be made.
        models: modality -> the name or folder of the recipe's model on this machine, where that is another.
        extractors: opened before, or to be opened for later calls as well; None: one process, for this call.
        say: is told what users should know before anything is made, such as licences.
        progress: shows how far it is.
    """

    media: Media | None = None
    models: Mapping[str, str] = field(default_factory=dict)
    extractors: Extractors | None = None
    say: Callable[[str], None] = lambda _: None
    progress: Progress = no_progress


def _check(expected: Expected, making: Making) -> None:
    """That what is given to make features with is of use to the runs.

    Raises:
        InputError: recordings, and no recipe of sound or pictures; a model for what has no recipe, or whose recipe has no weights.
    """
    known = {m: recipe for m, by_run in expected.recipes.items() for recipe in by_run.values() if recipe}
    if making.media and not any(recipe.kind != "text" for recipe in known.values()):
        said = "their features of text alone were made by `dglmerc features`" if known else "their features were imported"
        raise InputError(
            f"--media: expected runs that say how features of recordings are made, found {expected.runs}: {said}, "
            "and how others were made is not known; pass features instead"
        )
    for m in making.models:
        if m not in known:
            raise InputError(
                f"--model {m}: expected a modality with a recipe among {', '.join(known) or 'none'}, as {expected.runs} know; leave it out"
            )
        if not known[m].weights:
            raise InputError(f"--model {m}: expected a recipe with weights, found {known[m].model}, which has none; leave it out")


def made(corpus: Corpus, expected: Expected, making: Making, name: str) -> Corpus:
    """A corpus with the features that runs take, that no utterance has, and that its texts and recordings give.

    Args:
        corpus: as it came.
        expected: what the runs take.
        making: what there is to make them with.
        name: of the corpus, for people.

    Returns:
        The same corpus where nothing is to be made. Notes say by what something was, and from how many utterances it is absent and why;
        :func:`dgl_merc.extraction.extract.list_absent` lists them.

    Raises:
        InputError: runs that disagree on how a modality is made, or as :func:`dgl_merc.extraction.extract`.
    """
    _check(expected, making)
    recipes = {m: _local(m, _agreed(m, expected, name), making.models.get(m)) for m in _makeable(corpus, expected, making)}
    recipes, notes = _findable(corpus, recipes, making.media)
    if making.media:
        given = [m for m in expected.recipes if m not in recipes and len(corpus.features.get(m, ()))]
        notes += [f"{m}: features are given, so no recording is looked at" for m in given]
    if not recipes:
        return replace(corpus, notes=(*corpus.notes, *notes))
    kept = {m: x for m, x in corpus.features.items() if m not in recipes}
    table = corpus.utterances.drop(columns=[presence_column(m) for m in recipes if m in corpus.features])
    bare = replace(corpus, utterances=table, features=kept, modalities={m: corpus.modalities[m] for m in kept})
    full = extract(bare, recipes, making.media, extractors=making.extractors, say=making.say, progress=making.progress)
    said = [f"{m}: made by {Recipe.from_json(full.modalities[m].recipe, m)}" for m in recipes]
    return replace(full, notes=(*said, *notes, *full.notes))


def advice(expected: Expected, making: Making, modality: str | None = None) -> str:
    """What would give the runs something to hear, where nothing did; "" where features alone would.

    Args:
        expected: what the runs take.
        making: what was given to make it with.
        modality: that is lacking; None: all are.
    """
    kinds = {m: recipe.kind for m, by_run in expected.recipes.items() for recipe in by_run.values() if recipe}
    asked = {m: kind for m, kind in kinds.items() if modality in (None, m)}
    ways = [f"a column text, of which {m} is made" for m, kind in asked.items() if kind == "text"]
    ways += [f"recordings (--media DIR), of which {m} is made" for m, kind in asked.items() if kind != "text" and not making.media]
    return f"; give {', or '.join(ways)}" if ways else ""


def _makeable(corpus: Corpus, expected: Expected, making: Making) -> Iterator[str]:
    """The modalities that are lacking and could be made."""
    spoken = bool((corpus.utterances["text"].fillna("").str.strip() != "").any())
    for m, by_run in expected.recipes.items():
        kinds = {recipe.kind for recipe in by_run.values() if recipe}
        there = m in corpus.features and len(corpus.features[m])
        if kinds and not there and (spoken if kinds == {"text"} else making.media is not None):
            yield m


def _findable(corpus: Corpus, recipes: Mapping[str, Recipe], media: Media | None) -> tuple[dict[str, Recipe], list[str]]:
    """The recipes of which there is something to look at, and notes on the others: of recordings of sound alone there are no pictures.

    Raises:
        InputError: as of :func:`~dgl_merc.extraction.recordings.find_recordings`; nothing is found of any kind.
    """
    nothing: dict[str, NothingFoundError] = {}
    looking = [m for m, recipe in recipes.items() if recipe.kind != "text"]
    for m in looking:
        try:
            find_recordings(corpus, media, recipes[m].kind)
        except NothingFoundError as error:
            nothing[m] = error
    if nothing and len(nothing) == len(looking):
        raise next(iter(nothing.values()))
    return {m: recipe for m, recipe in recipes.items() if m not in nothing}, [f"absent everywhere: {error}" for error in nothing.values()]


def _agreed(modality: str, expected: Expected, name: str) -> Recipe:
    """The one recipe of all runs that hear a modality.

    A model with weights is known by them, wherever it was; other versions of packages make a note, no fault.
    """
    (first, wanted), *others = expected.recipes[modality].items()
    for run, recipe in others:
        if recipe is None or wanted is None or _what(recipe) != _what(wanted):
            raise InputError(
                f"{at(name)}{modality}: expected features, or runs that had theirs made alike; found {first} with "
                f"{wanted or 'imported ones'} and {run} with {recipe or 'imported ones'}"
            )
    assert wanted is not None, "one run at least has a recipe"
    return wanted


def _what(recipe: Recipe) -> tuple[object, ...]:
    """What decides vectors: where there are weights, they do, whatever the model is called and wherever it came from."""
    known = recipe.weights or recipe.model
    return recipe.kind, recipe.extractor, known, {k: v for k, v in recipe.options.items() if k != "revision" or not recipe.weights}


def _local(modality: str, recipe: Recipe, model: str | None) -> Recipe:
    """With the model where it is on this machine; what makes vectors is held to the recipe's weights.

    Raises:
        InputError: a folder that is not there. (A model of the hub has a revision.)
    """
    if model:
        here = {k: v for k, v in recipe.options.items() if k != "revision"} if os.path.isdir(model) else recipe.options
        return replace(recipe, model=model, options=here)
    if recipe.weights and "revision" not in recipe.options and not os.path.isdir(recipe.model):
        raise InputError(
            f"{modality}: expected the model that made it in training in {recipe.model}, found no such folder; "
            f"--model {modality}=FOLDER says where it is on this machine"
        )
    return recipe
