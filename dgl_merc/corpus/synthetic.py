"""The embedded corpus: conversations drawn from a known world, so that the best possible score is known too.

    every dialogue    two or three speakers, who keep or pass on the turn; emotions by the world's transition
    every utterance   a view of its emotion per modality; which views and labels are missing depends on nothing else

Each dialogue draws from a stream of its own, keyed by split, seed and number: it is the same whatever the sizes of the
splits. Text says who speaks and when, and nothing of the emotion.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from dgl_merc.corpus.bayes import ceilings
from dgl_merc.corpus.corpus import Corpus, presence_column
from dgl_merc.corpus.targets import SPLITS, Target
from dgl_merc.corpus.world import WORLD, World, generator
from dgl_merc.errors import InputError

__all__ = ["synthetic_corpus"]

_NAMES = (
    "Ana",
    "Ben",
    "Chen",
    "Dora",
    "Emil",
    "Fatima",
    "Goran",
    "Hana",
    "Ivo",
    "Joyce",
    "Kofi",
    "Lena",
    "Noor",
    "Otto",
)


def synthetic_corpus(
    seed: int = 0,
    dialogues: tuple[int, int, int] = (600, 100, 300),
    *,
    with_ceilings: bool = True,
    world: World = WORLD,
) -> Corpus:
    """Draw a corpus; the same arguments give the same content.

    Args:
        seed: of the draw; another seed draws other dialogues of the same world.
        dialogues: how many for training, development and test.
        with_ceilings: put :func:`dgl_merc.corpus.bayes.ceilings` of the test split into ``source``; takes seconds.
        world: the model to draw from.

    Returns:
        A corpus with one target, ``emotion``, and one modality per view of the world. Its ``source`` holds ``kind``
        (``"synthetic"``), ``seed``, ``world`` (its fingerprint) and ``ceilings`` (empty without a test split).

    Raises:
        InputError: a negative seed or size, or no dialogue at all.
    """
    if seed < 0 or min(dialogues) < 0 or not any(dialogues):
        raise InputError(f"expected a seed from 0 and at least one dialogue to draw, found {seed} and {dialogues}")
    sizes = dict(zip(SPLITS, dialogues, strict=True))
    names = [(split, number) for split in SPLITS for number in range(sizes[split])]
    talks = [_draw(world, seed, *name) for name in names]
    table = _table(talks, names, world)
    modalities = [view.name for view in world.views]
    source: dict[str, Any] = {"kind": "synthetic", "seed": seed, "world": world.fingerprint, "ceilings": {}}
    corpus = Corpus.build(
        "synthetic",
        table,
        {m: np.concatenate([talk.features[m][talk.present[m]] for talk in talks]) for m in modalities},
        {"emotion": Target("classes", world.emotions)},
        provenance=dict.fromkeys(modalities, f"drawn with seed {seed} from world {world.fingerprint[:12]}"),
        source=source,
        notes=_notes(table, modalities),
        where="synthetic corpus",
    )
    return replace(corpus, source={**source, "ceilings": ceilings(corpus, world)}) if with_ceilings else corpus


@dataclass(frozen=True)
class _Talk:
    """One conversation of N turns as drawn: the truth, and of every turn what a modality shows and whether it does.

    Attributes:
        names: of the speakers.
        speakers: [N] who speaks, as an index of ``names``.
        emotions: [N] class indices.
        labelled: [N] whether the corpus tells the emotion.
        times: [N, 2] start and end in seconds.
        present: modality -> [N].
        features: modality -> [N, width], whether present or not.
    """

    names: tuple[str, ...]
    speakers: list[int]
    emotions: list[int]
    labelled: npt.NDArray[np.bool_]
    times: npt.NDArray[np.float64]
    present: dict[str, npt.NDArray[np.bool_]]
    features: dict[str, npt.NDArray[np.float32]]


def _draw(world: World, seed: int, split: str, number: int) -> _Talk:
    rng = generator(f"dialogues of {split}", seed, number)
    count = 2 + int(rng.random() < world.three)
    names = tuple(_NAMES[i] for i in np.argsort(rng.random(len(_NAMES)))[:count])
    n = int(rng.integers(world.turns[0], world.turns[1], endpoint=True))
    speakers = _speakers(rng, n, count, world.keep)
    emotions = _emotions(rng, speakers, world)
    pauses, durations = 0.1 + 0.9 * rng.random(n), 1 + 5 * rng.random(n)
    ends = np.cumsum(pauses + durations)
    labelled = rng.random(n) >= world.unlabelled
    present: dict[str, npt.NDArray[np.bool_]] = {}
    features: dict[str, npt.NDArray[np.float32]] = {}
    for view in world.views:
        means, scale, offset = world.columns[view.name]
        seen = means[emotions] + rng.standard_normal((n, view.width))
        features[view.name] = (offset + scale * seen).astype(np.float32)
        present[view.name] = rng.random(n) >= view.missing
    times = np.stack([ends - durations, ends], axis=1).round(2)
    return _Talk(names, speakers, emotions, labelled, times, present, features)


def _speakers(rng: np.random.Generator, n: int, count: int, keep: float) -> list[int]:
    """[N] who speaks: the speaker keeps the turn with probability ``keep``, else passes it to any of the others."""
    kept, step = rng.random(n) < keep, rng.integers(1, count, size=n)
    speakers = [int(rng.integers(count))]
    for t in range(1, n):
        speakers.append(speakers[-1] if kept[t] else (speakers[-1] + int(step[t])) % count)
    return speakers


def _emotions(rng: np.random.Generator, speakers: list[int], world: World) -> list[int]:
    """[N] class indices, turn by turn from the world's transition."""
    none = len(world.emotions)
    cumulative, luck = world.transition.cumsum(axis=-1), rng.random(len(speakers))
    last: dict[int, int] = {}  # speaker -> emotion, the latest to speak at the end
    emotions: list[int] = []
    for s, u in zip(speakers, luck, strict=True):
        own = last.pop(s, none)
        other = next(reversed(last.values()), none)
        last[s] = min(int(np.searchsorted(cumulative[own, other], u, side="right")), none - 1)
        emotions.append(last[s])
    return emotions


def _table(talks: list[_Talk], names: list[tuple[str, int]], world: World) -> pd.DataFrame:
    """The utterances of all conversations, as :meth:`Corpus.build` takes them; names are split and number of each."""
    turns = [
        (f"{split}/{number}", t, f"{split}/{number}/{talk.names[s]}", split, f"turn {t + 1} of {talk.names[s]}")
        for talk, (split, number) in zip(talks, names, strict=True)
        for t, s in enumerate(talk.speakers)
    ]
    table = pd.DataFrame(turns, columns=["dialogue_id", "position", "speaker", "split", "text"])
    table[["start", "end"]] = np.concatenate([talk.times for talk in talks])
    felt = pd.Series([world.emotions[e] for talk in talks for e in talk.emotions], dtype="str")
    table["emotion"] = felt.where(np.concatenate([talk.labelled for talk in talks]))
    for view in world.views:
        table[presence_column(view.name)] = np.concatenate([talk.present[view.name] for talk in talks])
    return table


def _notes(table: pd.DataFrame, modalities: list[str]) -> tuple[str, ...]:
    """What a reader of the corpus should hear: how much is unlabelled or missing."""
    there = table[[presence_column(m) for m in modalities]].to_numpy(dtype=bool)
    missing = [f"{count} have no {m}" for m, count in zip(modalities, (~there).sum(axis=0), strict=True)]
    return (
        f"{int(table['emotion'].isna().sum())} of {len(table)} utterances are unlabelled (context)",
        f"{', '.join(missing)}, {int((~there).all(axis=1).sum())} have no modality at all",
    )
