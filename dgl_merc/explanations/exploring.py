"""What ``dglmerc explore`` shows, gathered dialogue by dialogue from a store or from a finished run.

    part            edges                                            weights
    features        ``same`` and ``cross``, among modality nodes     arccos similarity of scaled features; none without a common space
    turns           the four relations among utterances              none
    (a run's parts) those of its model                               :mod:`dgl_merc.explanations.weights`

A run adds what it predicted, from ``predictions.parquet``. While its test split is not evaluated, no dialogue of test is shown.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping

import numpy as np
import numpy.typing as npt
import pandas as pd
import torch
from torch import Tensor

from dgl_merc.corpus import Corpus
from dgl_merc.errors import InputError, at
from dgl_merc.explanations.weights import weight_table
from dgl_merc.graphs import RELATIONS, EdgeType, Store, Structure, edge_table, utterance_table
from dgl_merc.graphs.weights import feature_weights
from dgl_merc.layers import Probe
from dgl_merc.reports.explorer import Explored, Subject
from dgl_merc.training.run_folder import SavedRun

__all__ = ["explore_run", "explore_store"]

Numbers = npt.NDArray[np.int64]

_PAIRS = 1 << 18  # utterances squared, of the dialogues whose edges are made at once
_LONGEST = 1000  # utterances: all pairs of more are too much for a page


def explore_store(store: Store, dialogues: Numbers | None = None) -> tuple[Subject, Iterator[Explored]]:
    """The dialogues of a store, in their order.

    Args:
        store: opened.
        dialogues: their numbers; default: all.

    Returns:
        What the page says of the whole, and the dialogues, each made when it is asked for.

    Raises:
        InputError: the store's corpus is gone or another, or nothing is left to show.
    """
    corpus = store.corpus
    target = next(iter(corpus.targets), None)
    shown, notes = _of_a_length(corpus, np.arange(len(corpus)) if dialogues is None else dialogues)
    if not len(shown):
        raise InputError(f"{at(store.path)}expected a dialogue to show, found none; " + "; ".join(notes or ["name others"]))
    subject = Subject(
        title=store.path.resolve().name,
        kind="store",
        facts={"Corpus": corpus.name, "Modalities": ", ".join(store.spec.modalities), "Target": target or "none"},
        classes=tuple(corpus.targets[target].classes) if target else (),
        modalities=store.spec.modalities,
        dialogues=len(shown),
        notes=tuple(notes),
    )
    return subject, _explored(corpus, target, shown, lambda chunk: _of_store(store, chunk))


def explore_run(run: SavedRun, corpus: Corpus, dialogues: Numbers | None = None) -> tuple[Subject, Iterator[Explored]]:
    """The dialogues that a run was made of, with what it predicted and its weights; those with the most errors first.

    Args:
        run: finished.
        corpus: the one it was trained on.
        dialogues: their numbers; default: all.

    Returns:
        What the page says of the whole, and the dialogues, each made when it is asked for.

    Raises:
        InputError: another corpus, a damaged file of the run, or nothing is left to show.
    """
    corpus = run.division(corpus).corpus
    table = run.predictions
    asked, notes = _of_a_length(corpus, np.arange(len(corpus)) if dialogues is None else dialogues)
    hidden = np.isin(asked, run.unseen(corpus))
    if hidden.any():
        notes.append(f"{int(hidden.sum())} dialogues of test are left out: this run's test split was not evaluated yet")
    shown = asked[~hidden]
    if not len(shown):
        raise InputError(f"{at(run.path)}expected a dialogue to show, found none; " + "; ".join(notes or ["name others"]))
    wrong = (table["label"].notna() & (table["label"] != table["predicted"])).groupby(table["dialogue_id"]).sum()
    errors = np.array([wrong.get(corpus.dialogue_ids[n], 0) for n in shown])
    subject = Subject(
        title=f"{run.path.resolve().parent.name}/{run.path.resolve().name}",
        kind="run",
        facts={
            "Model": run.settings.model,
            "Corpus": corpus.name,
            "Modalities": ", ".join(run.spec.modalities),
            "Target": run.task.target,
        },
        classes=run.names,
        modalities=run.spec.modalities,
        dialogues=len(shown),
        notes=tuple(notes),
    )
    answers = {str(name): part for name, part in table.groupby("dialogue_id", sort=False)}
    return subject, _explored(corpus, run.task.target, shown[np.argsort(-errors, kind="stable")], _edges_of(run, corpus), answers)


def _of_a_length(corpus: Corpus, dialogues: Numbers) -> tuple[Numbers, list[str]]:
    """Those a page can hold, and a note of the others."""
    long = corpus.lengths[dialogues] > _LONGEST
    if not long.any():
        return dialogues, []
    return dialogues[~long], [f"{int(long.sum())} dialogues of more than {_LONGEST} utterances are left out"]


def _of_store(store: Store, dialogues: Numbers) -> pd.DataFrame:
    structure = store.structure(dialogues)
    return _of_graph(structure, store.weights(structure))


def _of_graph(structure: Structure, weights: Mapping[EdgeType, Tensor]) -> pd.DataFrame:
    """The edges of ``features`` and ``turns``; those of ``part_of`` say what the presence of a modality says."""
    types = [t for t in structure.spec.edge_types if t[1] != "part_of"]
    table = edge_table(structure, weights, types)
    table.insert(0, "part", np.where(table["relation"].isin(RELATIONS), "turns", "features"))
    return table


def _edges_of(run: SavedRun, corpus: Corpus) -> Callable[[Numbers], pd.DataFrame]:
    """Dialogues -> the weights of the run's model, then those of its graph."""
    data, model = run.dialogue_data(corpus), run.model().eval()

    def edges(dialogues: Numbers) -> pd.DataFrame:
        batch, probe = data.batch(dialogues), Probe()
        with torch.inference_mode():
            model(batch.structure, batch.features, probe=probe)
        learned = weight_table(probe.seen or {})
        given = _of_graph(batch.structure, feature_weights(batch.structure, batch.features, None))
        return pd.concat([table for table in (learned, given) if len(table)], ignore_index=True)

    return edges


def _explored(
    corpus: Corpus,
    target: str | None,
    dialogues: Numbers,
    edges: Callable[[Numbers], pd.DataFrame],
    answers: Mapping[str, pd.DataFrame] | None = None,
) -> Iterator[Explored]:
    """One by one, their edges some at a time.

    Args:
        corpus: they belong to.
        target: whose labels are shown.
        dialogues: in the order to give them.
        edges: of some of them, with their part.
        answers: dialogue_id -> its rows of a table of predictions.
    """
    for chunk in _chunks(dialogues, corpus.lengths[dialogues]):
        tables = dict(iter(edges(chunk).groupby("dialogue", sort=False)))
        for number in chunk:
            name = corpus.dialogue_ids[number]
            utterances = utterance_table(corpus, int(number), target)
            if answers is not None:
                said = answers[name].sort_values("position").reset_index(drop=True)
                more = said.drop(columns=["split", "dialogue_id", "position", "speaker", "label"])
                utterances = utterances.join(more.rename(columns=lambda c: f"said {c}"))
            yield Explored(int(number), name, str(corpus.splits[number]), utterances, tables.get(number))


def _chunks(dialogues: Numbers, lengths: npt.NDArray[np.int64]) -> Iterator[Numbers]:
    """Dialogues whose pairs of utterances are not too many, at least one."""
    start = 0
    while start < len(dialogues):
        stop = start + max(1, int((np.cumsum(lengths[start:] ** 2) <= _PAIRS).sum()))
        yield dialogues[start:stop]
        start = stop
