"""From a corpus to batches: scaled features, structure and labels of some dialogues, cheaper to make than to read from a store."""

from __future__ import annotations

import copy
import zlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt
import pandas as pd
import torch
from torch import Tensor

from dgl_merc.corpus import Corpus, Scaling
from dgl_merc.graphs import GraphSpec, Structure, structure_of
from dgl_merc.graphs.store import node_features, utterance_rows
from dgl_merc.training.settings import Learn
from dgl_merc.training.task import task_of

__all__ = ["Batch", "DialogueData", "draw_drops", "fixed_drops", "known_speakers"]

Numbers = npt.NDArray[np.int64]
Flags = npt.NDArray[np.bool_]


@dataclass(frozen=True, eq=False)
class Batch:
    """Some dialogues, ready for a model.

    Attributes:
        structure: S, of U utterances.
        features: modality -> [N_m, width] float32, scaled.
        labels: [U] int64, -1 = unlabelled.
        truth: [U] what the loss compares with: the labels, or float32 scores, NaN = unlabelled.
        rows: [U] the utterances' rows in the corpus.
        before: utterances that stand before these in the batch that they are a process's share of.
    """

    structure: Structure
    features: dict[str, Tensor]
    labels: Tensor
    truth: Tensor
    rows: Numbers
    before: int = 0

    def to(self, device: torch.device | str) -> Batch:
        """The same batch on another device."""
        features = {m: x.to(device, non_blocking=True) for m, x in self.features.items()}
        return replace(
            self, structure=self.structure.to(device), features=features, labels=self.labels.to(device), truth=self.truth.to(device)
        )

    def without(self, drop: Flags) -> Batch:
        """The same utterances with some modalities absent: their nodes are gone, as if they had never been recorded.

        Args:
            drop: [U, M] in the order of the spec's modalities; what is absent already stays so.
        """
        s = self.structure
        keep = s.presence & ~torch.from_numpy(drop).to(s.presence.device)
        features = {m: x[keep[:, k][s.presence[:, k]]] for k, (m, x) in enumerate(self.features.items())}
        return replace(self, structure=replace(s, presence=keep), features=features)

    def blank(self) -> Batch:
        """The same utterances without any modality and unlabelled: nothing of them has a part in a loss."""
        unknown = torch.nan if self.truth.is_floating_point() else -1
        labels, truth = torch.full_like(self.labels, -1), torch.full_like(self.truth, unknown)
        return replace(self.without(np.ones(self.structure.presence.shape, dtype=np.bool_)), labels=labels, truth=truth)


def draw_drops(presence: Flags, rate: float, rng: np.random.Generator) -> Flags:
    """Modality dropout: each present modality of an utterance is dropped with probability ``rate``, but one always stays.

    Args:
        presence: [U, M].
        rate: 0 to less than 1.
        rng: draws U x M numbers.

    Returns:
        [U, M]; where all would go, the one that was furthest from going stays.
    """
    draws = np.where(presence, rng.random(presence.shape), -1.0)
    drop = presence & (draws < rate)
    bare = ~(presence & ~drop).any(axis=1)
    drop[bare, draws[bare].argmax(axis=1)] = False
    return drop


def fixed_drops(corpus: Corpus, modalities: Sequence[str], rates: Mapping[str, float], seed: int) -> Flags:
    """Which modalities of which utterances are taken away to see how a model stands it: the same for every model.

    A modality's draws depend on the seed and its name alone, and what goes at a rate also goes at every higher one.

    Args:
        corpus: of U utterances.
        modalities: M, in the order of a spec.
        rates: modality -> share to take away, from 0 to 1; others stay.
        seed: of the draws.

    Returns:
        [U, M] over the rows of the corpus.
    """
    drop = np.zeros((len(corpus.utterances), len(modalities)), dtype=bool)
    for k, m in enumerate(modalities):
        if m in rates:
            drop[:, k] = np.random.default_rng([seed, zlib.crc32(m.encode())]).random(len(drop)) < rates[m]
    return drop


def known_speakers(corpus: Corpus) -> list[str]:
    """The speakers of the training split, by first appearance: whom a model may know by name."""
    speakers = corpus.utterances["speaker"].iloc[utterance_rows(corpus, corpus.in_split("train"))]
    return [str(name) for name in speakers.unique()]


class DialogueData:
    """A corpus as batches.

    Args:
        corpus: checked.
        spec: who is connected, and which modalities are used.
        scaling: applied to features.
        target: to learn.
        drop: [U, M] modalities to take away from the corpus's utterances, in the order of the spec; default: none.
        characters: names of the speakers whom a model knows; see ``Structure.characters``.
        learn: what of the target.

    Raises:
        InputError: nothing of the kind can be learnt of the target.
    """

    def __init__(
        self,
        corpus: Corpus,
        spec: GraphSpec,
        scaling: Scaling,
        target: str,
        drop: Flags | None = None,
        characters: Sequence[str] = (),
        learn: Learn = "classes",
    ) -> None:
        self.corpus, self.spec, self.scaling, self.drop = corpus, spec, scaling, drop
        self.names, self.learn = tuple(characters), learn
        self.task = task_of(corpus, target, learn)
        self.labels, self.truth = corpus.labels(target), self.task.truth(corpus)
        speaker, names = pd.factorize(corpus.utterances["speaker"])
        number = {name: k for k, name in enumerate(characters)}
        self.characters = torch.from_numpy(np.array([number.get(str(name), -1) for name in names], dtype=np.int64)[speaker])

    def of(self, corpus: Corpus) -> DialogueData:
        """Another corpus, of the same modalities and targets, taken in the same way."""
        return DialogueData(corpus, self.spec, self.scaling, self.task.target, None, self.names, self.learn)

    def without(self, drop: Flags) -> DialogueData:
        """The same with these modalities [U, M] taken away, and no others."""
        other = copy.copy(self)
        other.drop = drop
        return other

    def batch(self, dialogues: Numbers) -> Batch:
        """The dialogues with these numbers, in this order."""
        rows = utterance_rows(self.corpus, dialogues)
        at = torch.from_numpy(rows)
        structure = replace(structure_of(self.corpus, self.spec, dialogues), characters=self.characters[at])
        features = {}
        for m in self.spec.modalities:
            x = self.scaling.apply(m, node_features(self.corpus, m, rows))
            features[m] = torch.from_numpy(np.ascontiguousarray(x))
        batch = Batch(structure, features, torch.from_numpy(self.labels[rows]), self.truth[at], rows)
        return batch if self.drop is None else batch.without(self.drop[rows])

    def share(self, dialogues: Numbers, part: int, parts: int) -> Batch:
        """One of several parts of the batch of these dialogues, alike in number; where there are too few, a blank dialogue.

        Args:
            dialogues: of the whole batch, at least one.
            part: from 0.
            parts: at least 1.
        """
        lo, hi = (len(dialogues) * k // parts for k in (part, part + 1))
        if lo == hi:
            return self.batch(dialogues[:1]).blank()
        return replace(self.batch(dialogues[lo:hi]), before=int(self.corpus.lengths[dialogues[:lo]].sum()))

    def batches(self, dialogues: Numbers, size: int, part: int = 0, parts: int = 1) -> Iterator[Batch]:
        """Batches of ``size`` dialogues, in this order; with several parts, one's share of each."""
        return (self.share(dialogues[lo : lo + size], part, parts) for lo in range(0, len(dialogues), size))
