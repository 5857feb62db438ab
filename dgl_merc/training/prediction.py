"""Probabilities of utterances from a trained model, and the table of them that a run folder keeps."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import numpy.typing as npt
import pandas as pd
import torch

from dgl_merc.errors import DivergedError
from dgl_merc.models import Model
from dgl_merc.training.data import DialogueData, Numbers

__all__ = ["predict", "prediction_table"]

_EVALUATION_BATCH = 64


def predict(
    model: Model, data: DialogueData, dialogues: Numbers, *, device: torch.device | str = "cpu"
) -> tuple[npt.NDArray[np.float32], Numbers]:
    """Probabilities of every utterance of some dialogues.

    Args:
        model: trained; put into evaluation mode.
        data: the corpus.
        dialogues: numbers.
        device: where.

    Returns:
        [U, C] probabilities and [U] the utterances' rows in the corpus, in the order of the corpus.

    Raises:
        DivergedError: a probability that is not a number: the weights are not finite, or features beyond what they can take.
    """
    model.eval()
    if not len(dialogues):
        return np.zeros((0, 0), dtype=np.float32), np.zeros(0, dtype=np.int64)
    by_length = dialogues[np.argsort(data.corpus.lengths[dialogues], kind="stable")]  # similar lengths together: little padding
    scores, rows = [], []
    with torch.inference_mode():
        for batch in data.batches(by_length, _EVALUATION_BATCH):
            moved = batch.to(device)
            scores.append(torch.softmax(model(moved.structure, moved.features).logits.float(), dim=-1).cpu().numpy())
            rows.append(batch.rows)
    order = np.argsort(np.concatenate(rows), kind="stable")
    found, where = np.concatenate(scores)[order], np.concatenate(rows)[order]
    if np.isnan(found).any():
        row = int(where[np.isnan(found).any(axis=1)][0])
        said = data.corpus.utterances[["dialogue_id", "position"]].iloc[row].tolist()
        raise DivergedError(
            f"dialogue {said[0]}, utterance {said[1]}: expected probabilities, found NaN: training has gone astray; lower training.lr"
        )
    return found, where


def prediction_table(
    model: Model, data: DialogueData, names: Sequence[str], splits: Mapping[str, Numbers], *, device: torch.device | str = "cpu"
) -> pd.DataFrame:
    """Every utterance of some splits: ``split, dialogue_id, position, speaker, label, predicted, p_<class>, ...``.

    Args:
        model: trained.
        data: the corpus.
        names: of the C classes.
        splits: split -> numbers of its dialogues.
        device: where.

    Raises:
        DivergedError: a probability that is not a number.
    """
    table = data.corpus.utterances
    frames = []
    for split, dialogues in splits.items():
        if not len(dialogues):
            continue
        scores, rows = predict(model, data, dialogues, device=device)
        frame = table.iloc[rows][["dialogue_id", "position", "speaker"]].reset_index(drop=True)
        frame.insert(0, "split", split)
        frame["label"] = table[data.target].to_numpy(dtype=object)[rows]
        frame["predicted"] = np.array(names, dtype=object)[scores.argmax(axis=1)]
        frames.append(frame.assign(**{f"p_{name}": scores[:, k] for k, name in enumerate(names)}))
    return pd.concat(frames, ignore_index=True)
