"""What each modality contributes: the same trained model, with one taken away, and with one alone. Missing nodes, nothing imputed.

    difference   weighted F1 of the model so deprived less that of the model with all its modalities, on the same utterances; its interval
                 is bootstrapped over dialogues

It is a question to this model, not to the modality. A model that was never without a modality in training (``training.modality_dropout``)
may lose more by its absence than the modality has to say; one trained on that modality alone would do better than "alone" shows.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

import pandas as pd
import torch

from dgl_merc.evaluation.statistics import counts_of, difference, estimate
from dgl_merc.models import Model
from dgl_merc.training.data import DialogueData, Numbers, fixed_drops
from dgl_merc.training.prediction import prediction_table

__all__ = ["contributions"]


def contributions(
    model: Model, data: DialogueData, split: str, dialogues: Numbers, predictions: pd.DataFrame, *, device: torch.device | str = "cpu"
) -> dict[str, Any] | None:
    """What ``contributions.json`` holds.

    Args:
        model: trained.
        data: the corpus, nothing taken away.
        split: its name.
        dialogues: numbers of its dialogues.
        predictions: of the model with all its modalities; rows of other splits are left out.
        device: where the model is.

    Returns:
        ``split``, ``modalities``, ``all`` (``weighted_f1, low, high``, the 95 % interval over dialogues), and ``without`` and ``alone``:
        modality -> the same and ``difference`` from all (``effect, low, high``, percent points), and ``bare``: how many labelled utterances
        have no modality left. None of a model of one modality, and where no utterance is labelled.
    """
    modalities = data.spec.modalities
    whole = predictions[(predictions["split"] == split) & predictions["label"].notna()]
    if len(modalities) < 2 or not len(whole):
        return None
    names = data.task.names
    counts = counts_of(whole["dialogue_id"], whole["label"], [whole["predicted"]], names)
    known: dict[frozenset[str], dict[str, Any]] = {}  # of two modalities, without the one is the other alone

    def left_with(kept: Sequence[str]) -> dict[str, Any]:
        key = frozenset(kept)
        if key not in known:
            drop = fixed_drops(data.corpus, modalities, dict.fromkeys((m for m in modalities if m not in key), 1.0), 0)
            table = prediction_table(model, data.without(drop), {split: dialogues}, device=device)
            table = table[table["label"].notna()]
            found = counts_of(table["dialogue_id"], table["label"], [table["predicted"]], names)
            effect = asdict(difference(counts, found))
            known[key] = {
                **_scored(found),
                "difference": {k: effect[k] for k in ("effect", "low", "high")},
                "bare": _bare(data, dialogues, kept),
            }
        return known[key]

    return {
        "split": split,
        "modalities": list(modalities),
        "all": _scored(counts),
        "without": {m: left_with([other for other in modalities if other != m]) for m in modalities},
        "alone": {m: left_with([m]) for m in modalities},
    }


def _scored(counts: Any) -> dict[str, Any]:
    found = estimate(counts)
    return {"weighted_f1": found.mean, "low": found.low, "high": found.high}


def _bare(data: DialogueData, dialogues: Numbers, kept: Sequence[str]) -> int:
    """How many labelled utterances have none of these modalities."""
    corpus = data.corpus
    rows = corpus.in_dialogues(dialogues) & (data.labels >= 0)
    there = corpus.presence[:, [list(corpus.modalities).index(m) for m in kept]].any(axis=1)
    return int((rows & ~there).sum())
