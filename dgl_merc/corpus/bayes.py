"""What can be known of the emotions in the embedded corpus: exact posteriors under the true model, and their scores.

The state after turn t is every speaker's last emotion. With b_t[e] = p(x_t | e), s the speaker of turn t, o the one who
spoke last among the others, and T the transition of :class:`World`:

    forward    f_t[.. e_s ..] = b_t[e_s] sum_own T[own, e_o, e_s] f_{t-1}[.. own ..]      ~ p(state_t, x_1 .. x_t)
    backward   g_{t-1}[.. own ..] = sum_e T[own, e_o, e] b_t[e] g_t[.. e ..]              ~ p(x_t .. x_N | state_{t-1})
    causal     p(e_t | x_1 .. x_t) ~ sum f_t          over the others' axes
    offline    p(e_t | x_1 .. x_N) ~ sum f_t g_t      likewise

N turns, S speakers, K emotions; f_t is [K, ..., K], one axis a speaker, of length 1 before that speaker's first turn.
Who speaks and what is missing are given and independent of emotions, so they need no factor.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from itertools import combinations
from string import ascii_uppercase
from typing import Any

import numpy as np
import numpy.typing as npt

from dgl_merc.corpus.corpus import Corpus
from dgl_merc.corpus.world import WORLD, World, generator

__all__ = ["RESAMPLES", "ceiling_of", "ceilings", "log_emissions", "posterior", "weighted_f1"]

Array = npt.NDArray[np.float64]
Integers = npt.NDArray[np.int64]

Ceilings = dict[str, dict[str, dict[str, Any]]]

RESAMPLES = 1000
"""Bootstrap resamples of the test dialogues behind an interval."""


def posterior(log_emissions: Array, speakers: Integers, world: World = WORLD, *, causal: bool) -> Array:
    """The exact distribution of every turn's emotion, given its dialogue up to that turn (causal) or all of it.

    Args:
        log_emissions: [..., N, K] log p(x_t | e) up to a constant a turn; zeros where nothing was observed. Leading
            axes are observations of the same conversation, e.g. through different modalities.
        speakers: [N] who speaks; any numbers.
        world: the model.
        causal: leave out the future.

    Returns:
        [..., N, K], rows sum to 1.

    Raises:
        ValueError: the shapes do not fit each other or the world.
    """
    n, k = len(speakers), len(world.emotions)
    if speakers.ndim != 1 or log_emissions.shape[-2:] != (n, k):
        shapes = f"{list(log_emissions.shape)} and {list(speakers.shape)}"
        raise ValueError(f"log_emissions and speakers must be [..., N, K={k}] and [N], got {shapes}")
    if not n:
        return log_emissions.copy()
    emissions = log_emissions.reshape(-1, n, k)
    emissions = np.exp(emissions - emissions.max(axis=-1, keepdims=True))
    turns = _turns(speakers, world)
    known = _forward(emissions, turns)
    if not causal:
        known = [f * g for f, g in zip(known, _backward(emissions, turns), strict=True)]
    marginals = [_normalised(turn.speaker_only(state)) for turn, state in zip(turns, known, strict=True)]
    return np.stack(marginals, axis=1).reshape(log_emissions.shape)


@dataclass(frozen=True)
class _Turn:
    """A turn, ready for :func:`numpy.einsum`: axis n of a state counts observations, A, B, ... belong to the speakers.

    Attributes:
        axis: the number of the speaker's axis in a state, from 1.
        table: T cut to what may happen: [own, other, K], or [own, K] as long as no one else has spoken.
        before: the axes of a state before the turn.
        after: the same with e, the new emotion, in the speaker's place.
        along: the axes of ``table``.
    """

    axis: int
    table: Array
    before: str
    after: str
    along: str

    def weigh(self, state: Array, emission: Array) -> Array:
        """A state [B, K or 1, ...] times b [B, K] along the speaker's axis."""
        shape = [len(emission), *[1] * (state.ndim - 1)]
        shape[self.axis] = emission.shape[1]
        return state * emission.reshape(shape)

    def speaker_only(self, state: Array) -> Array:
        """A state [B, K or 1, ...] summed over the others' axes -> [B, K]."""
        return np.asarray(state.sum(axis=tuple(axis for axis in range(1, state.ndim) if axis != self.axis)))


def _turns(speakers: Integers, world: World) -> list[_Turn]:
    none, axes = len(world.emotions), (1 + np.unique(speakers, return_inverse=True)[1]).tolist()
    before = "n" + ascii_uppercase[: max(axes)]
    turns: list[_Turn] = []
    spoken: list[int] = []  # axes of the speakers so far, the latest last
    for s in axes:
        others = [axis for axis in spoken if axis != s]
        table = world.transition[:none] if s in spoken else world.transition[none:]
        table, other = (table[:, :none], before[others[-1]]) if others else (table[:, none], "")
        turns.append(_Turn(s, table, before, before.replace(before[s], "e"), f"{before[s]}{other}e"))
        spoken = [*others, s]
    return turns


def _forward(emissions: Array, turns: list[_Turn]) -> list[Array]:
    """f_t for every t, each scaled to sum 1: [B, K or 1, ...]."""
    state = np.ones((len(emissions), *[1] * (len(turns[0].before) - 1)))
    states = []
    for t, turn in enumerate(turns):
        state = np.einsum(f"{turn.before},{turn.along}->{turn.after}", state, turn.table)
        state = _normalised(turn.weigh(state, emissions[:, t]))
        states.append(state)
    return states


def _backward(emissions: Array, turns: list[_Turn]) -> list[Array]:
    """g_t for every t, each scaled to sum 1, in the shapes of f_t."""
    message = np.ones((len(emissions), *[emissions.shape[-1]] * (len(turns[0].before) - 1)))
    messages = [message]
    for t in range(len(turns) - 1, 0, -1):
        turn, weighed = turns[t], turns[t].weigh(message, emissions[:, t])
        message = _normalised(np.einsum(f"{turn.after},{turn.along}->{turn.before}", weighed, turn.table))
        messages.append(message)
    return messages[::-1]


def _normalised(x: Array) -> Array:
    """[B, ...] with every x[i] summing to 1."""
    return np.asarray(x / x.sum(axis=tuple(range(1, x.ndim)), keepdims=True))


def log_emissions(corpus: Corpus, world: World = WORLD) -> Array:
    """[M, U, K] log p(x | e) of utterances through each modality, up to a constant each; zeros where it is missing.

    Raises:
        ValueError: the corpus does not have the modalities of the world.
    """
    names = [view.name for view in world.views]
    if list(corpus.modalities) != names:
        raise ValueError(f"expected the modalities {names}, got {list(corpus.modalities)}")
    logs = np.zeros((len(names), len(corpus.utterances), len(world.emotions)))
    for m, view in enumerate(world.views):
        logs[m, corpus.presence[:, m]] = world.log_likelihood(view, np.asarray(corpus.features[view.name]))
    return logs


def ceilings(corpus: Corpus, world: World = WORLD, *, split: str = "test", seed: int = 0) -> Ceilings:
    """How well the posterior's argmax classifies the labelled utterances of a split, per subset of modalities and mode.

    Modes: ``offline`` knows the dialogue, ``causal`` its past, ``no context`` the utterance alone, with ``base`` as
    prior (exact: it is the distribution of every turn's emotion, see :mod:`dgl_merc.corpus.world`).

    No classifier expects more accuracy than the argmax; a lucky one may find more on one draw, which is what the
    interval is for. The weighted F1 is that of the same argmax: close to the best there is, but no bound.

    Args:
        corpus: drawn from ``world``.
        world: the model.
        split: which dialogues.
        seed: of the bootstrap.

    Returns:
        Subset (``"text+audio"``) -> mode -> ``accuracy`` and ``weighted_f1``, and ``<either>_interval``: ``[lo, hi]``,
        all in percent. An interval holds 95 % of :data:`RESAMPLES` resamples of dialogues, the same for every entry.
        Empty if the split has no labelled utterance.

    Raises:
        ValueError: the corpus does not have the modalities of the world.
    """
    names, dialogues = list(corpus.modalities), corpus.in_split(split)
    rows = [np.arange(corpus.offsets[d], corpus.offsets[d + 1]) for d in dialogues]
    every = np.concatenate([np.zeros(0, dtype=np.int64), *rows])
    number = np.repeat(np.arange(len(rows)), [len(r) for r in rows])
    true = corpus.labels("emotion")[every]
    if not (true >= 0).any():
        return {}
    subsets = [list(c) for size in range(len(names), 0, -1) for c in combinations(range(len(names)), size)]
    logs = log_emissions(corpus, world)
    guesses = _guesses(np.stack([logs[s].sum(axis=0) for s in subsets]), corpus.local_speakers, rows, world)
    resamples = _resamples(len(rows), seed)
    found: Ceilings = {}
    for i, subset in enumerate(subsets):
        modes = found["+".join(names[m] for m in subset)] = {}
        for mode, guess in guesses.items():
            confusion = np.zeros((len(rows), len(world.emotions), len(world.emotions)))
            np.add.at(confusion, (number[true >= 0], true[true >= 0], guess[i, true >= 0]), 1)
            modes[mode] = _scores(confusion, resamples)
    return found


def _guesses(observed: Array, speakers: Integers, rows: list[Integers], world: World) -> dict[str, Integers]:
    """Mode -> [subsets, rows' utterances] likeliest emotions; observed [subsets, U, K], rows of each dialogue."""
    parts: dict[str, list[Integers]] = {"offline": [], "causal": [], "no context": []}
    for r in rows:
        own = observed[:, r]
        parts["offline"].append(posterior(own, speakers[r], world, causal=False).argmax(axis=-1))
        parts["causal"].append(posterior(own, speakers[r], world, causal=True).argmax(axis=-1))
        parts["no context"].append((own + np.log(world.base)).argmax(axis=-1))
    return {mode: np.concatenate(guesses, axis=1) for mode, guesses in parts.items()}


def _resamples(count: int, seed: int) -> Array:
    """[RESAMPLES, D] how often each of D dialogues is drawn, with replacement."""
    draws = generator("bootstrap", seed).integers(count, size=(RESAMPLES, count))
    return np.stack([np.bincount(draw, minlength=count) for draw in draws]).astype(np.float64)


def _scores(confusion: Array, resamples: Array) -> dict[str, Any]:
    """Accuracy and weighted F1 with their intervals, of the counts [D, K, K] of dialogues; resamples [R, D]."""
    drawn, total = np.tensordot(resamples, confusion, axes=1), confusion.sum(axis=0)
    about: dict[str, Any] = {}
    for name, score in (("accuracy", _accuracy), ("weighted_f1", weighted_f1)):
        lo, hi = np.percentile(score(drawn), [2.5, 97.5])
        about |= {name: float(score(total)), f"{name}_interval": [float(lo), float(hi)]}
    return about


def _accuracy(confusion: Array) -> Array:
    """Percent of counts [..., K, K] that are on the diagonal -> [...]."""
    return np.asarray(100 * np.trace(confusion, axis1=-2, axis2=-1) / confusion.sum(axis=(-2, -1)))


def weighted_f1(confusion: Array) -> Array:
    """Mean over classes of F1, weighted by how often a class is true, in percent; F1 is 0 if there is nothing to count.

    The same as ``sklearn.metrics.f1_score(average="weighted", zero_division=0)``, for many tables at once.

    Args:
        confusion: [..., K, K] counts, rows are true classes.

    Returns:
        [...].
    """
    hits = np.diagonal(confusion, axis1=-2, axis2=-1)
    true, guessed = confusion.sum(axis=-1), confusion.sum(axis=-2)
    f1 = 2 * hits / np.maximum(true + guessed, 1)
    return np.asarray(100 * (f1 * true).sum(axis=-1) / true.sum(axis=-1))


def ceiling_of(corpus: Corpus, modalities: Iterable[str], *, causal: bool) -> dict[str, Any] | None:
    """The ceiling that an embedded corpus carries for a model that sees these modalities: an entry of :func:`ceilings`.

    Args:
        corpus: any corpus.
        modalities: in any order.
        causal: the model sees no later turns.

    Returns:
        ``accuracy``, ``weighted_f1`` and their intervals, in percent; None if the corpus carries none.
    """
    if corpus.source.get("kind") != "synthetic":
        return None
    seen = set(modalities)
    key = "+".join(m for m in corpus.modalities if m in seen)
    if seen - set(corpus.modalities):
        return None
    entry: dict[str, Any] | None = corpus.source.get("ceilings", {}).get(key, {}).get("causal" if causal else "offline")
    return entry
