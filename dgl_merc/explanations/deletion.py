"""What a model answers without an edge, an utterance or a modality: exactly, by asking it again, many deletions in one batch.

An edge is left out by the kernels' keep-mask: it exists in no sum and no degree of its part of the model. A modality is a missing node,
as if it had never been recorded. An utterance is taken out of the dialogue, which is then built anew: positions, windows, speakers'
numbers and recurrent states are those of a dialogue in which nobody said it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

import numpy as np
import numpy.typing as npt
import torch

from dgl_merc.corpus import Corpus
from dgl_merc.graphs import EdgeType
from dgl_merc.layers import Probe
from dgl_merc.layers.probe import ends_of
from dgl_merc.models import Model
from dgl_merc.training.data import Batch, DialogueData

__all__ = ["Deletion", "answers", "lacking_each", "without_edges", "without_modalities", "without_utterances"]

Answers = npt.NDArray[np.float32]
Deletion = tuple[str, EdgeType, int]
"""An edge of a part of a model: part, edge type, and its number within the dialogue."""
Advance = Callable[[int], None]

_UTTERANCES, _EDGES = 4096, 1 << 21  # of all the copies of a dialogue that are asked at once


def answers(model: Model, data: DialogueData, batch: Batch, probe: Probe | None = None, *, device: str = "cpu") -> Answers:
    """[U, outputs] what a model in evaluation mode answers of a batch: probabilities, or scores."""
    with torch.inference_mode():
        moved = batch.to(device)
        return data.task.answers(model(moved.structure, moved.features, probe=probe).logits).cpu().numpy()


def without_edges(
    model: Model,
    data: DialogueData,
    dialogue: int,
    edges: Sequence[Deletion],
    sees: Probe,
    *,
    device: str = "cpu",
    advance: Advance = lambda _: None,
) -> Answers:
    """What a model answers without each of some edges, one at a time.

    Args:
        model: in evaluation mode.
        data: the corpus as the model takes it.
        dialogue: its number, of U utterances.
        edges: K of them.
        sees: a probe of this dialogue alone, for the number of its edges.
        device: where the model is.
        advance: called with how many are done, portion by portion.

    Returns:
        [K, U, outputs].
    """
    length = int(data.corpus.lengths[dialogue])
    found = np.zeros((len(edges), length, data.task.outputs), dtype=np.float32)
    assert sees.seen is not None
    for part, edge_type in dict.fromkeys((part, edge_type) for part, edge_type, _ in edges):
        here = [k for k, edge in enumerate(edges) if edge[:2] == (part, edge_type)]
        count = len(ends_of(sees.seen[part].structure, edge_type)[0])
        every = max(1, sum(len(w) for w in sees.seen[part].weights.values()))
        for some in _portions(here, min(_UTTERANCES // length, _EDGES // every)):
            keep = torch.ones(len(some), count, dtype=torch.bool)
            keep[torch.arange(len(some)), torch.tensor([edges[k][2] for k in some])] = False
            probe = Probe({part: {edge_type: keep.flatten().to(device)}}, None)
            batch = data.batch(np.full(len(some), dialogue))
            found[some] = answers(model, data, batch, probe, device=device).reshape(len(some), length, -1)
            advance(len(some))
    return found


def without_modalities(
    model: Model,
    data: DialogueData,
    dialogue: int,
    drops: npt.NDArray[np.bool_],
    *,
    device: str = "cpu",
    advance: Advance = lambda _: None,
) -> Answers:
    """What a model answers of a dialogue with some modalities absent.

    Args:
        model: in evaluation mode.
        data: the corpus as the model takes it.
        dialogue: its number, of U utterances.
        drops: [K, U, M]: K ways to take modalities away, in the order of the spec.
        device: where the model is.
        advance: called with how many are done, portion by portion.

    Returns:
        [K, U, outputs].
    """
    length = drops.shape[1]
    found = np.zeros((len(drops), length, data.task.outputs), dtype=np.float32)
    for some in _portions(range(len(drops)), _UTTERANCES // length):
        batch = data.batch(np.full(len(some), dialogue)).without(drops[some].reshape(-1, drops.shape[2]))
        found[some] = answers(model, data, batch, device=device).reshape(len(some), length, -1)
        advance(len(some))
    return found


def lacking_each(corpus: Corpus, dialogue: int) -> Corpus:
    """A dialogue of U utterances as U dialogues, the k-th of which lacks utterance k; made as any other corpus is.

    Raises:
        ValueError: it has one utterance, without which there is none.
    """
    lo, hi = (int(v) for v in corpus.offsets[dialogue : dialogue + 2])
    length = hi - lo
    if length < 2:
        raise ValueError("a dialogue of one utterance has nothing left without it")
    rows = np.concatenate([np.delete(np.arange(lo, hi), k) for k in range(length)])
    table = corpus.utterances.iloc[rows].reset_index(drop=True)
    table = table.assign(dialogue_id=np.repeat([f"without {k}" for k in range(length)], length - 1))
    table["position"] = np.tile(np.arange(length - 1), length)
    features = {}
    for k, m in enumerate(corpus.modalities):
        there = rows[corpus.presence[rows, k]]
        features[m] = np.asarray(corpus.features[m][corpus.feature_rows[there, k]])
    return Corpus.build(corpus.name, table, features, corpus.targets, where=corpus.name)


def without_utterances(
    model: Model, data: DialogueData, dialogue: int, *, device: str = "cpu", advance: Advance = lambda _: None
) -> Answers:
    """What a model answers of each utterance in a dialogue in which another was never said.

    Args:
        model: in evaluation mode.
        data: the corpus as the model takes it.
        dialogue: its number, of U utterances.
        device: where the model is.
        advance: called with how many are done, portion by portion.

    Returns:
        [U, U, outputs]: the first axis is the utterance that is gone; its own answer is NaN.
    """
    length = int(data.corpus.lengths[dialogue])
    found = np.full((length, length, data.task.outputs), np.nan, dtype=np.float32)
    if length < 2:
        return found
    lacking = data.of(lacking_each(data.corpus, dialogue))
    for some in _portions(range(length), _UTTERANCES // length):
        said = answers(model, lacking, lacking.batch(np.array(some)), device=device).reshape(len(some), length - 1, -1)
        for k, rows in zip(some, said, strict=True):
            found[k, np.delete(np.arange(length), k)] = rows
        advance(len(some))
    return found


def _portions(numbers: Sequence[int], size: int) -> Iterator[list[int]]:
    """At most ``size`` at a time, one at least."""
    size = max(1, size)
    return (list(numbers[lo : lo + size]) for lo in range(0, len(numbers), size))
