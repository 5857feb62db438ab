"""A finished run on a corpus: its scores, and how they fall as modalities are taken away."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from dgl_merc.corpus import Corpus
from dgl_merc.errors import InputError, at
from dgl_merc.models import Model
from dgl_merc.training.data import Flags, fixed_drops
from dgl_merc.training.prediction import prediction_table
from dgl_merc.training.run_folder import SavedRun, score_table

__all__ = ["evaluate_run", "robustness"]


def evaluate_run(
    run: SavedRun, corpus: Corpus, split: str = "test", *, drop: Flags | None = None, device: str = "cpu"
) -> tuple[dict[str, Any], pd.DataFrame]:
    """Score a run.

    Args:
        run: finished.
        corpus: with the run's modalities and target; on the corpus it was trained on, the splits are the run's own.
        split: of it.
        drop: [U, M] modalities to take away, in the order of the run's spec.
        device: where to compute.

    Returns:
        The measures of :func:`dgl_merc.training.run_folder.score_table`, and the predictions.

    Raises:
        InputError: run and corpus do not fit, no labelled utterance in the split, or the test split of its own corpus before
            ``ablate --final`` has evaluated it.
    """
    corpus, _ = _judged(run, corpus, split)
    return _score(run, corpus, split, run.model(device), drop, device)


def _judged(run: SavedRun, corpus: Corpus, split: str) -> tuple[Corpus, Flags]:
    """The corpus with the splits that count for the run, and which of its utterances [U] are in the one that is asked for."""
    own = corpus.content_sha256 == run.data["corpus"]["content_sha256"]
    if own:
        corpus = run.division(corpus).corpus
    data = run.dialogue_data(corpus)
    rows = np.repeat(np.isin(np.arange(len(corpus)), corpus.in_split(split)), corpus.lengths)
    if not (data.labels[rows] >= 0).any():
        raise InputError(f"{at(corpus.path or corpus.name)}expected labelled utterances in {split}, found none")
    if own and split == "test" and not run.metrics["test_evaluated"]:
        raise InputError(
            f"{at(run.path)}its test split was not evaluated yet; finish the table it belongs to (ablate --final), or pass --split dev"
        )
    return corpus, rows


def _score(run: SavedRun, corpus: Corpus, split: str, model: Model, drop: Flags | None, device: str) -> tuple[dict[str, Any], pd.DataFrame]:
    data = run.dialogue_data(corpus, drop)
    table = prediction_table(model, data, {split: corpus.in_split(split)}, device=device)
    scores: dict[str, Any] = score_table(table, data.task)[split]
    return scores, table


def robustness(
    run: SavedRun, corpus: Corpus, split: str, rates: Mapping[str, Sequence[float]], *, seed: int = 0, device: str = "cpu"
) -> pd.DataFrame:
    """Scores as modalities are taken away from growing shares of the utterances: missing nodes, nothing imputed.

    Args:
        run: finished.
        corpus: as for :func:`evaluate_run`.
        split: of it.
        rates: modality -> shares, from 0 to 1; one modality at a time.
        seed: of the masks, which are the same for every model.
        device: where to compute.

    Returns:
        A row per modality and share: ``modality, rate, absent`` (percent of the split's utterances that lack it then), ``weighted F1``,
        ``accuracy``.

    Raises:
        InputError: a modality the run does not use, or as :func:`evaluate_run`.
    """
    modalities = run.spec.modalities
    unknown = [m for m in rates if m not in modalities]
    if unknown:
        raise InputError(f"--drop {unknown[0]}: expected a modality of {run.path}, which uses {', '.join(modalities)}")
    corpus, judged = _judged(run, corpus, split)
    model = run.model(device)
    rows = []
    for m, values in rates.items():
        for rate in values:
            drop = fixed_drops(corpus, modalities, {m: rate}, seed)
            scores, _ = _score(run, corpus, split, model, drop, device)
            k = list(corpus.modalities).index(m)
            absent = ~corpus.presence[:, k] | drop[:, modalities.index(m)]
            rows.append(
                {
                    "modality": m,
                    "rate": rate,
                    "absent": 100.0 * float(absent[judged].mean()),
                    "weighted F1": scores["weighted_f1"],
                    "accuracy": scores["accuracy"],
                }
            )
    return pd.DataFrame(rows)
