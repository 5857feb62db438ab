"""The utterances as a model is given them and as its emotion head is, for pictures like MGLRA's Fig. 7 and MA-CMU-SGRNet's Fig. 7.

There are two spaces:

    before   scaled features of all modalities side by side; zeros, the mean of training, where one is absent
    after    what enters the emotion head, in evaluation mode
"""

from __future__ import annotations

from typing import Any, NamedTuple, cast

import numpy as np
import numpy.typing as npt
import pandas as pd
import torch
from torch import Tensor, nn

from dgl_merc.evaluation.space import neighbour_accuracy, perplexity_of, plane
from dgl_merc.layers import beside
from dgl_merc.models import Model
from dgl_merc.training.data import DialogueData, Numbers

__all__ = ["Spaces", "describe_spaces", "spaces"]

_MOST = 500  # utterances: two planes of them take about 4 s on one core, of 1000 twice and a half as long
_LEAST = 10
_NEIGHBOURS = 10
_SEED = 0
_BATCH = 64


class Spaces(NamedTuple):
    """The same U utterances in two spaces.

    Attributes:
        before: [U, sum of widths] float32.
        after: [U, width of the head's input] float32.
        rows: [U] the utterances' rows in the corpus, ascending.
    """

    before: npt.NDArray[np.float32]
    after: npt.NDArray[np.float32]
    rows: Numbers


def spaces(model: Model, data: DialogueData, dialogues: Numbers, *, device: torch.device | str = "cpu") -> Spaces:
    """Look at every utterance of some dialogues before and after.

    Args:
        model: trained, with its emotion head under the name ``head``; put into evaluation mode.
        data: the corpus.
        dialogues: numbers, one or more.
        device: where the model is.
    """
    model.eval()
    before: list[Tensor] = []
    after: list[Tensor] = []
    rows = []
    hook = cast(nn.Module, model.head).register_forward_pre_hook(lambda _, given: after.append(given[0].float().cpu()))
    try:
        with torch.inference_mode():
            for batch in data.batches(dialogues, _BATCH):
                moved = batch.to(device)
                model(moved.structure, moved.features)
                before.append(beside(batch.structure, batch.features))
                rows.append(batch.rows)
    finally:
        hook.remove()
    where = np.concatenate(rows)
    order = np.argsort(where, kind="stable")
    return Spaces(torch.cat(before).numpy()[order], torch.cat(after).numpy()[order], where[order])


def describe_spaces(
    model: Model, data: DialogueData, split: str, dialogues: Numbers, *, device: torch.device | str = "cpu"
) -> tuple[dict[str, Any], pd.DataFrame]:
    """What ``space.json`` and ``space.parquet`` hold: numbers of both spaces, and the planes to be drawn.

    Args:
        model: trained.
        data: the corpus.
        split: its name.
        dialogues: numbers of its dialogues.
        device: where the model is.

    Returns:
        ``split``, ``labelled`` utterances, ``utterances`` of them that were drawn (evenly, by a fixed seed), and either ``reason``, why
        there is nothing to see, or ``seed``, ``perplexity``, ``widths`` of the spaces, ``neighbours``, their ``accuracy`` in each space
        (percent; null where all utterances are of one dialogue) and the share of the ``most_frequent`` label. And a row per utterance:
        ``dialogue_id, position, label, before_1, before_2, after_1, after_2``; none where there is a reason.
    """
    mine = np.flatnonzero(data.corpus.in_dialogues(dialogues))
    labelled = mine[data.labels[mine] >= 0]
    drawn = np.sort(np.random.default_rng(_SEED).choice(labelled, min(len(labelled), _MOST), replace=False))
    about: dict[str, Any] = {"split": split, "labelled": len(labelled), "utterances": len(drawn)}
    columns = [f"{space}_{axis}" for space in ("before", "after") for axis in (1, 2)]
    table = data.corpus.utterances.iloc[drawn][["dialogue_id", "position"]].reset_index(drop=True)
    table["label"] = pd.Series(data.corpus.label_names(data.task.target)[drawn], dtype="str")
    if len(drawn) < _LEAST:
        reason = f"of {split}, {len(drawn)} utterances are labelled; t-SNE wants {_LEAST} or more"
        return {**about, "reason": reason}, table.iloc[:0].assign(**dict.fromkeys(columns, pd.Series(dtype="float64")))
    of = np.searchsorted(data.corpus.offsets, drawn, side="right") - 1  # [U'] their dialogues
    seen = spaces(model, data, np.unique(of), device=device)
    at, labels = np.searchsorted(seen.rows, drawn), data.labels[drawn]
    both = {"before": seen.before[at], "after": seen.after[at]}
    about |= {
        "seed": _SEED,
        "perplexity": perplexity_of(len(drawn)),
        "widths": {name: x.shape[1] for name, x in both.items()},
        "neighbours": _NEIGHBOURS,
        "accuracy": {name: neighbour_accuracy(x, labels, of, _NEIGHBOURS) for name, x in both.items()},
        "most_frequent": 100.0 * float(np.bincount(labels).max() / len(labels)),
    }
    planes = np.concatenate([plane(x, _SEED) for x in both.values()], axis=1)
    return about, table.assign(**dict(zip(columns, planes.T, strict=True)))
