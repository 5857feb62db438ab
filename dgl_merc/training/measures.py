"""What ``metrics.json`` says of a run beside its scores: the training, the memory, the corpus."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from dgl_merc.graphs.store import utterance_rows
from dgl_merc.models import Model
from dgl_merc.training.data import DialogueData, Numbers
from dgl_merc.training.environment import peak_memory
from dgl_merc.training.loop import Trained

__all__ = ["corpus_facts", "reduction_facts", "training_metrics", "whole"]


def training_metrics(trained: Trained, model: Model, device: str) -> dict[str, Any]:
    """How the weights came about, and what that took.

    Args:
        trained: what the loop says.
        model: trained.
        device: where it was.
    """
    best, history = trained.best, trained.history
    seconds = sum(e.seconds for e in history)
    return {
        "protocol": "the epoch was chosen on dev, by weighted F1; test is evaluated once, afterwards",
        "chosen_look": best.number,
        "chosen_epoch": whole(best.epoch),
        "chosen_step": best.step,
        "epochs": whole(history[-1].epoch),
        "steps": history[-1].step,
        "seconds_per_epoch": seconds / history[-1].epoch,
        "seconds": seconds,
        "parameters": sum(p.numel() for p in model.parameters()),
        "memory": peak_memory(device),
    }


def corpus_facts(data: DialogueData, splits: Mapping[str, Numbers]) -> dict[str, Any]:
    """Who is in the corpus and where it came from, as far as it says so.

    Args:
        data: the corpus.
        splits: split -> numbers of its dialogues.

    Returns:
        ``source`` (what read or drew it; null where it does not say), ``provenance`` of each modality's features, and ``speakers`` of each
        split that has any: how many names; the same name in two dialogues is the same speaker.
    """
    corpus = data.corpus
    source = corpus.source.get("reader") or corpus.source.get("kind")
    speakers = {s: int(corpus.utterances["speaker"].iloc[utterance_rows(corpus, d)].nunique()) for s, d in splits.items() if len(d)}
    provenance = {m: corpus.modalities[m].provenance for m in data.spec.modalities}
    return {"source": str(source) if source else None, "provenance": provenance, "speakers": speakers}


def reduction_facts(data: DialogueData) -> dict[str, Any]:
    """What is left of the modalities that are reduced.

    Args:
        data: with the scaling of the run.

    Returns:
        ``reduced``: modality -> ``from`` and ``to`` how many numbers, ``directions``: along how many of them the training split varies, and
        ``variance``: the share of its (standardised) variance that they keep, from 0 to 1. Nothing where nothing is reduced.
    """
    found = {
        m: {
            "from": len(r.centre),
            "to": len(r.shares),
            "directions": int((r.shares > 0).sum()),
            "variance": min(1.0, float(r.shares.sum())),
        }
        for m, r in data.scaling.reductions.items()
    }
    return {"reduced": found} if found else {}


def whole(epoch: float) -> float | int:
    """A whole number as one."""
    return int(epoch) if epoch == int(epoch) else epoch
