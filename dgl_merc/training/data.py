"""From a corpus to batches: scaled features, structure and labels of some dialogues, cheaper to make than to read from a store."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from dgl_merc.corpus import Corpus, Scaling
from dgl_merc.errors import InputError, at
from dgl_merc.graphs import GraphSpec, Structure, structure_of
from dgl_merc.graphs.store import node_features, utterance_rows

__all__ = ["Batch", "DialogueData", "choose_target"]

Numbers = npt.NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class Batch:
    """Some dialogues, ready for a model.

    Attributes:
        structure: S, of U utterances.
        features: modality -> [N_m, width] float32, scaled.
        labels: [U] int64, -1 = unlabelled.
        rows: [U] the utterances' rows in the corpus.
    """

    structure: Structure
    features: dict[str, Tensor]
    labels: Tensor
    rows: Numbers

    def to(self, device: torch.device | str) -> Batch:
        """The same batch on another device."""
        features = {m: x.to(device, non_blocking=True) for m, x in self.features.items()}
        return Batch(self.structure.to(device), features, self.labels.to(device), self.rows)


def choose_target(corpus: Corpus, name: str = "") -> str:
    """The target to learn: the one named, else ``emotion``, else the only one of kind classes.

    Raises:
        InputError: there is no such target, or the choice is not clear.
    """
    where = at(corpus.path or corpus.name)
    classes = [t for t, v in corpus.targets.items() if v.kind == "classes"]
    if name:
        if name not in classes:
            raise InputError(f"{where}no target {name!r} of kind classes; there are {', '.join(classes) or 'none'}")
        return name
    if "emotion" in classes:
        return "emotion"
    if len(classes) == 1:
        return classes[0]
    raise InputError(f"{where}expected one target to learn, found {', '.join(classes) or 'none'}; pass --set data.target=NAME")


class DialogueData:
    """A corpus as batches.

    Args:
        corpus: checked.
        spec: who is connected, and which modalities are used.
        scaling: applied to features.
        target: of kind classes.
    """

    def __init__(self, corpus: Corpus, spec: GraphSpec, scaling: Scaling, target: str) -> None:
        self.corpus, self.spec, self.scaling = corpus, spec, scaling
        self.labels = corpus.labels(target)

    def batch(self, dialogues: Numbers) -> Batch:
        """The dialogues with these numbers, in this order."""
        structure = structure_of(self.corpus, self.spec, dialogues)
        rows = utterance_rows(self.corpus, dialogues)
        features = {}
        for m in self.spec.modalities:
            x = self.scaling.apply(m, node_features(self.corpus, m, rows))
            features[m] = torch.from_numpy(np.ascontiguousarray(x))
        return Batch(structure, features, torch.from_numpy(self.labels[rows]), rows)

    def batches(self, dialogues: Numbers, size: int) -> Iterator[Batch]:
        """Batches of ``size`` dialogues, in this order."""
        return (self.batch(dialogues[lo : lo + size]) for lo in range(0, len(dialogues), size))
