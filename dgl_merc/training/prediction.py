"""A trained model's answers (probabilities, or a score), what else it says, and the table of both that a run folder keeps."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import pandas as pd
import torch

from dgl_merc.errors import DivergedError
from dgl_merc.models import Model, Output
from dgl_merc.training.data import DialogueData, Numbers

__all__ = ["Predictions", "averaged", "predict", "prediction_table", "table_of"]

_EVALUATION_BATCH = 64
_MOST_UTTERANCES = 8192  # of a batch of several dialogues: they need memory, however few they are


Floats = npt.NDArray[np.float32]


class Predictions(NamedTuple):
    """Of U utterances, in the order of the corpus.

    Attributes:
        answers: [U, outputs] probabilities or scores.
        rows: [U] the utterances' rows in the corpus.
        details: name -> [U] what else the model says of them; NaN where it says nothing.
    """

    answers: Floats
    rows: Numbers
    details: Mapping[str, Floats]


def predict(model: Model, data: DialogueData, dialogues: Numbers, *, device: torch.device | str = "cpu") -> Predictions:
    """What a model answers of every utterance of some dialogues.

    Args:
        model: trained; put into evaluation mode.
        data: the corpus.
        dialogues: numbers.
        device: where.

    Returns:
        Answers, rows and details; of no dialogues, no details either.

    Raises:
        DivergedError: an answer that is not a finite number: the weights are not finite, or features beyond what they can take.
        ValueError: a detail that is not [U], or that the model gives of some batches only.
    """
    model.eval()
    if not len(dialogues):
        return Predictions(np.zeros((0, 0), dtype=np.float32), np.zeros(0, dtype=np.int64), {})
    by_length = dialogues[np.argsort(data.corpus.lengths[dialogues], kind="stable")]  # similar lengths together: little padding
    scores, rows = [], []
    details: list[dict[str, Floats]] = []
    with torch.inference_mode():
        for batch in map(data.batch, _portions(by_length, data.corpus.lengths[by_length])):
            moved = batch.to(device)
            output = model(moved.structure, moved.features)
            scores.append(data.task.answers(output.logits).cpu().numpy())
            details.append(_details(output, details))
            rows.append(batch.rows)
    order = np.argsort(np.concatenate(rows), kind="stable")
    found, where = np.concatenate(scores)[order], np.concatenate(rows)[order]
    if not np.isfinite(found).all():
        row = int(where[~np.isfinite(found).all(axis=1)][0])
        said = data.corpus.utterances[["dialogue_id", "position"]].iloc[row].tolist()
        raise DivergedError(
            f"dialogue {said[0]}, utterance {said[1]}: expected a finite answer, found none: the dialogue has features beyond what the "
            "model can take, or training has gone astray (then lower training.lr)"
        )
    return Predictions(found, where, {name: np.concatenate([part[name] for part in details])[order] for name in details[0]})


def _portions(dialogues: Numbers, lengths: Numbers) -> Iterator[Numbers]:
    """Dialogues of ascending length, some at a time."""
    start = 0
    while start < len(dialogues):
        ahead = lengths[start : start + _EVALUATION_BATCH]
        stop = start + max(1, int((ahead.cumsum() <= _MOST_UTTERANCES).sum()))
        yield dialogues[start:stop]
        start = stop


def _details(output: Output, before: Sequence[Mapping[str, Floats]]) -> dict[str, Floats]:
    """A batch's, checked; ``before`` are those of the batches before it."""
    for name, said in output.details.items():
        if said.shape != output.logits.shape[:1]:
            raise ValueError(f"details[{name!r}] must be [U={len(output.logits)}], got {list(said.shape)}")
    if before and set(before[0]) != set(output.details):
        raise ValueError(f"details must have the same names in every batch, got {sorted(before[0])} and {sorted(output.details)}")
    return {name: said.float().cpu().numpy() for name, said in output.details.items()}


def averaged(parts: Sequence[Predictions]) -> Predictions:
    """The mean of what several models answer of the same utterances, in float64; of a detail, over the models that say something.

    Args:
        parts: one or more, of the same rows; one alone is given back as it is.

    Raises:
        ValueError: other rows.
    """
    first = parts[0]
    if any(not np.array_equal(part.rows, first.rows) for part in parts):
        raise ValueError("parts must be of the same utterances")
    if len(parts) == 1:
        return first
    names = dict.fromkeys(name for part in parts for name in part.details)
    details = {name: _mean([part.details[name] for part in parts if name in part.details]) for name in names}
    return Predictions(_mean([part.answers for part in parts]), first.rows, details)


def _mean(values: Sequence[Floats]) -> Floats:
    """Over the first axis, NaN left out; NaN where all are."""
    stacked = np.array(values, dtype=np.float64)
    known = ~np.isnan(stacked)
    with np.errstate(invalid="ignore"):
        return np.asarray(np.where(known, stacked, 0.0).sum(axis=0) / known.sum(axis=0), dtype=np.float32)


def prediction_table(
    model: Model, data: DialogueData, splits: Mapping[str, Numbers], *, device: torch.device | str = "cpu"
) -> pd.DataFrame:
    """What a model answers of every utterance of some splits; see :func:`table_of`.

    Args:
        model: trained.
        data: the corpus.
        splits: split -> numbers of its dialogues.
        device: where.

    Raises:
        DivergedError: an answer that is not a finite number.
        ValueError: a detail that is not [U], or is called like another column.
    """
    return table_of(data, {name: predict(model, data, dialogues, device=device) for name, dialogues in splits.items() if len(dialogues)})


def table_of(data: DialogueData, found: Mapping[str, Predictions]) -> pd.DataFrame:
    """Answers as a table: ``split, dialogue_id, position, speaker, label, predicted, p_<class>, ...``.

    Of a target of scores, ``score`` stands after ``predicted``; where it is what is learnt, ``predicted_score`` instead of probabilities.
    The models' details of an utterance, if there are any, are further columns of float32 after these, under their own names.

    Args:
        data: the corpus.
        found: split -> the answers.

    Raises:
        ValueError: a detail that is called like another column.
    """
    table = data.corpus.utterances
    frames = []
    for split, (answers, rows, details) in found.items():
        frame = table.iloc[rows][["dialogue_id", "position", "speaker"]].reset_index(drop=True)
        frame.insert(0, "split", split)
        frame = frame.assign(**data.task.described(data.corpus, rows, answers))
        if taken := set(details) & set(frame.columns):
            raise ValueError(f"details {sorted(taken)}: the table of predictions has columns of these names, call them otherwise")
        frames.append(frame.assign(**details))
    return pd.concat(frames, ignore_index=True)
