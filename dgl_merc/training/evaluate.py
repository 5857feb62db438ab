"""Finished runs on a corpus, one or the average of several: their scores, and how they fall as modalities are taken away."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd

from dgl_merc.corpus import Corpus
from dgl_merc.errors import InputError, at
from dgl_merc.models import Model
from dgl_merc.training.data import Flags, fixed_drops
from dgl_merc.training.prediction import averaged, predict, table_of
from dgl_merc.training.run_folder import SavedRun, score_table

__all__ = ["check_average", "check_unseen", "evaluate_runs", "robustness"]


def check_average(runs: Sequence[SavedRun]) -> None:
    """That the answers of some runs can be averaged: they are of the same target and classes, and each is named once.

    Raises:
        InputError: names the first that is of another, or again.
    """
    first = runs[0]
    places = [run.path.resolve() for run in runs]
    for run, place in zip(runs, places, strict=True):
        if places.count(place) > 1:
            raise InputError(f"{at(run.path)}expected every run once, found it twice")
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
            ``ablate --final`` has evaluated it, or a run that was trained on dialogues of the split: see :func:`check_unseen`.
    """
    corpus, _ = _judged(runs, corpus, split)
    return _score(runs, corpus, split, [run.model(device) for run in runs], drop, device)


def _judged(runs: Sequence[SavedRun], corpus: Corpus, split: str) -> tuple[Corpus, Flags]:
    """The corpus with the splits that count for the runs, and which of its utterances [U] are in the one that is asked for."""
    check_average(runs)
    divided = [_of_run(run, corpus, split) for run in runs]
    for run in runs:
        check_unseen(run, divided[0], split)
    return divided[0], divided[0].in_dialogues(divided[0].in_split(split))


def check_unseen(run: SavedRun, corpus: Corpus, split: str) -> None:
    """That a run was not trained on what it is to be judged on, nor, for test, had its epoch chosen on it.

    A dialogue is known again by its name, its speakers and its labels, whatever corpus it stands in: one that was imported again, with
    other features or a label mended, is another corpus with the same dialogues. (The dialogue whose label it was is not known again.)

    Args:
        run: finished.
        corpus: with splits.
        split: that is to be judged; training utterances may always be looked at.

    Raises:
        InputError: says how many dialogues of the split it knows.
    """
    seen = {"train": (), "dev": ("train",), "test": ("train", "dev")}[split]
    table = run.predictions[run.predictions["split"].isin(seen)]
    rows = corpus.in_dialogues(corpus.in_split(split))
    mine = corpus.utterances[rows].assign(label=corpus.label_names(run.task.target)[rows])
    known = _labelled(table) & _labelled(mine)
    if known:
        where, few = corpus.path or corpus.name, f"{len(known)} of {len(_labelled(mine))}"
        raise InputError(
            f"{at(run.path)}expected a run that has not seen the {split} dialogues of {where}: {few}, such as "
            f"{min(name for name, _ in known)}, are among those it was trained on or chosen by; evaluate each run on its own splits"
        )


def _labelled(table: pd.DataFrame) -> set[tuple[str, tuple[tuple[object, ...], ...]]]:
    """Dialogues with their labelled utterances: positions, speakers, labels."""
    kept = table.loc[table["label"].notna(), ["dialogue_id", "position", "speaker", "label"]]
    return {(str(name), tuple(part.itertuples(index=False, name=None))) for name, part in kept.groupby("dialogue_id")}


def _of_run(run: SavedRun, corpus: Corpus, split: str) -> Corpus:
    """The corpus with one run's splits, if it is the run's own."""
    own = corpus.content_sha256 == run.data["corpus"]["content_sha256"]
    divided = run.division(corpus).corpus if own else corpus
    if not (run.dialogue_data(divided).labels[divided.in_dialogues(divided.in_split(split))] >= 0).any():
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
