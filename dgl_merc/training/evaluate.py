"""Finished runs on a corpus, one or the average of several: their scores, and how they fall as modalities are taken away."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from dgl_merc.corpus import Corpus
from dgl_merc.errors import InputError, at
from dgl_merc.models import Model
from dgl_merc.training.data import Flags, fixed_drops
from dgl_merc.training.prediction import averaged, predict, table_of
from dgl_merc.training.run_folder import SavedRun, score_table

__all__ = ["check_average", "evaluate_runs", "robustness"]


def check_average(runs: Sequence[SavedRun]) -> None:
    """That the answers of some runs can be averaged: they are of the same target and classes.

    Raises:
        InputError: names the first that is of another.
    """
    first = runs[0]
    for run in runs:
        if run.task != first.task:
            found, wanted = (f"{r.task.target} ({', '.join(r.names)}; data.learn={r.settings.data.learn})" for r in (run, first))
            raise InputError(f"{at(run.path)}expected a run of {wanted}, as {first.path} is, to average the two; found one of {found}")


def evaluate_runs(
    runs: Sequence[SavedRun], corpus: Corpus, split: str = "test", *, drop: Flags | None = None, device: str = "cpu"
) -> tuple[dict[str, Any], pd.DataFrame]:
    """Score a run, or the average of several runs' answers.

    Args:
        runs: finished, one or more.
        corpus: with the runs' modalities and target; on the corpus a run was trained on, the splits are the run's own.
        split: of it.
        drop: [U, M] modalities to take away, in the order of the runs' spec; then they must all hear the same modalities.
        device: where to compute.

    Returns:
        The measures of :func:`dgl_merc.training.run_folder.score_table`, and the predictions.

    Raises:
        InputError: runs and corpus do not fit, no labelled utterance in the split, the test split of a run's own corpus before
            ``ablate --final`` has evaluated it, or runs that divided the corpus otherwise: of an average, no utterance may be training.
    """
    corpus, _ = _judged(runs, corpus, split)
    return _score(runs, corpus, split, [run.model(device) for run in runs], drop, device)


def _judged(runs: Sequence[SavedRun], corpus: Corpus, split: str) -> tuple[Corpus, Flags]:
    """The corpus with the splits that count for the runs, and which of its utterances [U] are in the one that is asked for."""
    check_average(runs)
    divided = {run.path: _of_run(run, corpus, split) for run in runs}
    first, own = runs[0], divided[runs[0].path]
    for run in runs:
        if not np.array_equal(divided[run.path].in_split(split), own.in_split(split)):
            raise InputError(
                f"{at(run.path)}expected the same {split} dialogues as {first.path} has, found others: of an average, what one run is "
                "tested on another was trained on; evaluate them one by one"
            )
    return own, _rows(own, split)


def _rows(corpus: Corpus, split: str) -> Flags:
    """[U] the utterances of a split."""
    rows: Flags = np.repeat(np.isin(np.arange(len(corpus)), corpus.in_split(split)), corpus.lengths)
    return rows


def _of_run(run: SavedRun, corpus: Corpus, split: str) -> Corpus:
    """The corpus with one run's splits, if it is the run's own."""
    own = corpus.content_sha256 == run.data["corpus"]["content_sha256"]
    divided = run.division(corpus).corpus if own else corpus
    if not (run.dialogue_data(divided).labels[_rows(divided, split)] >= 0).any():
        raise InputError(f"{at(corpus.path or corpus.name)}expected labelled utterances in {split}, found none")
    if own and split == "test" and not run.metrics["test_evaluated"]:
        raise InputError(
            f"{at(run.path)}its test split was not evaluated yet; finish the table it belongs to (ablate --final), or pass --split dev"
        )
    return divided


def _score(
    runs: Sequence[SavedRun], corpus: Corpus, split: str, models: Sequence[Model], drop: Flags | None, device: str
) -> tuple[dict[str, Any], pd.DataFrame]:
    datas = [run.dialogue_data(corpus, drop) for run in runs]
    parts = [predict(model, data, corpus.in_split(split), device=device) for model, data in zip(models, datas, strict=True)]
    table = table_of(datas[0], {split: averaged(parts)})
    scores: dict[str, Any] = score_table(table, datas[0].task)[split]
    return scores, table


def robustness(
    runs: Sequence[SavedRun], corpus: Corpus, split: str, rates: Mapping[str, Sequence[float]], *, seed: int = 0, device: str = "cpu"
) -> pd.DataFrame:
    """Scores as modalities are taken away from growing shares of the utterances: missing nodes, nothing imputed.

    Args:
        runs: finished, one or more, which hear the same modalities.
        corpus: as for :func:`evaluate_runs`.
        split: of it.
        rates: modality -> shares, from 0 to 1; one modality at a time.
        seed: of the masks, which are the same for every model.
        device: where to compute.

    Returns:
        A row per modality and share: ``modality, rate, absent`` (percent of the split's utterances that lack it then), ``weighted F1``,
        ``accuracy``.

    Raises:
        InputError: a modality a run does not use, or as :func:`evaluate_runs`.
    """
    modalities = runs[0].spec.modalities
    for run in runs:
        if run.spec.modalities != modalities:
            found = ", ".join(run.spec.modalities)
            raise InputError(f"{at(run.path)}expected the modalities {', '.join(modalities)}, as {runs[0].path} has, found {found}")
    unknown = [m for m in rates if m not in modalities]
    if unknown:
        raise InputError(f"--drop {unknown[0]}: expected a modality of {runs[0].path}, which uses {', '.join(modalities)}")
    corpus, judged = _judged(runs, corpus, split)
    models = [run.model(device) for run in runs]
    rows = []
    for m, values in rates.items():
        for rate in values:
            drop = fixed_drops(corpus, modalities, {m: rate}, seed)
            scores, _ = _score(runs, corpus, split, models, drop, device)
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
