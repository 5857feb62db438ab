"""Tables of utterances: who feels what after whom, and which modalities are missing, where and for whom.

same speaker     from a labelled utterance to the same speaker's next labelled one of the dialogue; unlabelled turns and those of others
                 between the two do not matter: the emotion shift of ``dgl_merc.evaluation``
other speaker    from an utterance to the next one of the dialogue, if it is another speaker's and both are labelled; an unlabelled turn
                 between two labelled ones breaks the chain

expected = share of transitions to that label, from whichever: what ``probability`` would be if labels did not depend on what came before
Cramer's V is that of :mod:`dgl_merc.corpus.association`, of the table of label x presence
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from dgl_merc.corpus.association import association, label_counts
from dgl_merc.graphs.stats.survey import Survey, surveyed
from dgl_merc.graphs.store import Store

__all__ = ["KINDS", "emotion_shifts", "emotion_transitions", "missing_by_label", "missing_modalities", "presence_patterns"]

Array = npt.NDArray[Any]

KINDS = ("same speaker", "other speaker")
"""Of transitions, in the order of tables."""


def emotion_transitions(graphs: Store | Survey) -> pd.DataFrame:
    """How often which label follows which; kinds defined above.

    Args:
        graphs: a store, or a survey of a part of it or of tables.

    Returns:
        A row per kind, split and pair of labels: ``kind, split, from, to``; ``count``; ``probability`` of ``to`` after ``from``;
        ``expected``. Shares from 0 to 1, NaN where nothing is counted.

    Raises:
        InputError: the store's corpus is gone or changed.

    Example: Ana is glad, Ben afraid, Ana glad again.

    >>> from dgl_merc.graphs.tables import EDGE_COLUMNS
    >>> said = pd.DataFrame({"position": [0, 1, 2], "speaker": ["Ana", "Ben", "Ana"], "label": ["joy", "fear", "joy"]})
    >>> none = pd.DataFrame(columns=EDGE_COLUMNS)
    >>> table = emotion_transitions(Survey.of_tables(none, said))
    >>> table[table["count"] > 0][["kind", "from", "to", "probability", "expected"]].values.tolist()
    [['same speaker', 'joy', 'joy', 1.0, 1.0], ['other speaker', 'fear', 'joy', 1.0, 0.5], ['other speaker', 'joy', 'fear', 1.0, 0.5]]
    """
    survey = surveyed(graphs)
    k = len(survey.classes)
    parts = []
    for kind in KINDS:
        for split, n in zip(survey.splits, _transitions(survey, kind), strict=True):
            row, column, total = n.sum(axis=1, keepdims=True), n.sum(axis=0, keepdims=True), n.sum()
            expected = np.broadcast_to(_ratio(column, np.full((1, k), total)), (k, k))
            parts.append(
                pd.DataFrame(
                    {
                        "kind": kind,
                        "split": split,
                        "from": np.repeat(np.array(survey.classes, dtype=object), k),
                        "to": np.tile(np.array(survey.classes, dtype=object), k),
                        "count": n.ravel(),
                        "probability": _ratio(n, np.broadcast_to(row, (k, k))).ravel(),
                        "expected": expected.ravel(),
                    }
                )
            )
    return pd.concat(parts, ignore_index=True)


def emotion_shifts(graphs: Store | Survey) -> pd.DataFrame:
    """How often the label is another one than before; kinds defined above.

    Args:
        graphs: a store, or a survey of a part of it or of tables.

    Returns:
        A row per kind and split: ``kind, split``; ``transitions``; ``shift``, share that ends at another label than it began;
        ``expected``, 1 - sum_k (share that begins at k) (share that ends at k): the same if labels did not depend on what came before.

    Raises:
        InputError: the store's corpus is gone or changed.
    """
    survey, rows = surveyed(graphs), []
    for kind in KINDS:
        for split, n in zip(survey.splits, _transitions(survey, kind), strict=True):
            total = int(n.sum())
            stays = float(np.trace(n) / total) if total else float("nan")
            alike = float(n.sum(axis=0) @ n.sum(axis=1) / total**2) if total else float("nan")
            rows.append({"kind": kind, "split": split, "transitions": total, "shift": 1 - stays, "expected": 1 - alike})
    return pd.DataFrame(rows, columns=["kind", "split", "transitions", "shift", "expected"])


def _transitions(survey: Survey, kind: str) -> Array:
    """[S, K, K] counts, from x to."""
    rows = np.flatnonzero(survey.labels >= 0) if kind == "same speaker" else np.arange(len(survey.labels))
    if kind == "same speaker":
        rows = rows[np.lexsort((rows, survey.speakers[rows], survey.dialogue[rows]))]
    before, after = rows[:-1], rows[1:]
    same = survey.speakers[before] == survey.speakers[after]
    kept = (survey.dialogue[before] == survey.dialogue[after]) & (same if kind == "same speaker" else ~same)
    kept &= (survey.labels[before] >= 0) & (survey.labels[after] >= 0)
    before, after = before[kept], after[kept]
    s, k = len(survey.splits), len(survey.classes)
    place = (survey.split[survey.dialogue[after]] * k + survey.labels[before]) * k + survey.labels[after]
    return np.bincount(place, minlength=s * k * k).reshape(s, k, k)


def _ratio(part: Array, whole: Array) -> Array:
    return np.asarray(np.divide(part, whole, out=np.full(part.shape, np.nan), where=whole > 0))


def presence_patterns(graphs: Store | Survey) -> pd.DataFrame:
    """Which modalities utterances have together.

    Args:
        graphs: a store, or a survey of a part of it or of tables.

    Returns:
        A row per split and pattern that occurs, the most frequent first: ``split``; ``pattern``, such as ``text+audio``, ``none``;
        ``utterances``; ``share`` of the split's utterances.

    Raises:
        InputError: the store's corpus is gone or changed.
    """
    survey, rows = surveyed(graphs), []
    known, of = np.unique(survey.presence, axis=0, return_inverse=True)
    of, split = of.reshape(-1), survey.split[survey.dialogue]
    names = ["+".join(m for m, has in zip(survey.modalities, row, strict=True) if has) or "none" for row in known.tolist()]
    for s, name in enumerate(survey.splits):
        count = np.bincount(of[split == s], minlength=len(known))
        order = [k for k in np.argsort(-count, kind="stable").tolist() if count[k]]
        rows += [{"split": name, "pattern": names[k], "utterances": int(count[k]), "share": float(count[k] / count.sum())} for k in order]
    return pd.DataFrame(rows, columns=["split", "pattern", "utterances", "share"])


def missing_modalities(graphs: Store | Survey) -> pd.DataFrame:
    """How much of each modality is missing, in which runs, and whether that tells the label.

    Args:
        graphs: a store, or a survey of a part of it or of tables.

    Returns:
        A row per modality and split: ``modality, split``; ``utterances``; ``missing``, share of them without the modality; ``runs`` of
        consecutive utterances of a dialogue without it, ``run_length``, their mean, ``run_longest``; ``cramers_v`` of presence and label
        among labelled utterances, from 0 (tells nothing) to 1 (every label is always or never with it); ``p``, of the chi-squared test of
        their independence (without continuity correction). The test takes utterances for independent, which those of a dialogue are not:
        p is too small. NaN where there is nothing to compare.

    Raises:
        InputError: the store's corpus is gone or changed.
    """
    survey, rows = surveyed(graphs), []
    for k, modality in enumerate(survey.modalities):
        absent = ~survey.presence[:, k]
        for s, name in enumerate(survey.splits):
            inside = survey.split[survey.dialogue] == s
            runs = _runs(absent & inside, survey.dialogue)
            told = dict(zip(("cramers_v", "p"), association(_by_label(survey, absent, inside)), strict=True))
            rows.append(
                {
                    "modality": modality,
                    "split": name,
                    "utterances": int(inside.sum()),
                    "missing": float(absent[inside].mean()),
                    "runs": len(runs),
                    "run_length": float(runs.mean()) if len(runs) else float("nan"),
                    "run_longest": int(runs.max(initial=0)),
                    **told,
                }
            )
    return pd.DataFrame(rows)


def missing_by_label(graphs: Store | Survey) -> pd.DataFrame:
    """How often each modality is missing, by label.

    Args:
        graphs: a store, or a survey of a part of it or of tables.

    Returns:
        A row per modality, split and label that occurs (NaN: unlabelled utterances): ``modality, split, label, utterances``;
        ``missing``, share of them without the modality.

    Raises:
        InputError: the store's corpus is gone or changed.
    """
    survey, rows = surveyed(graphs), []
    for k, modality in enumerate(survey.modalities):
        absent = ~survey.presence[:, k]
        for s, name in enumerate(survey.splits):
            n = _by_label(survey, absent, survey.split[survey.dialogue] == s, unlabelled=True)
            for label, (there, missing) in zip((*survey.classes, None), n.tolist(), strict=True):
                if there + missing:
                    about = {"modality": modality, "split": name, "label": label}
                    rows.append({**about, "utterances": there + missing, "missing": missing / (there + missing)})
    return pd.DataFrame(rows, columns=["modality", "split", "label", "utterances", "missing"])


def _by_label(survey: Survey, absent: Array, inside: Array, *, unlabelled: bool = False) -> Array:
    """[K, 2] utterances by label and absence, perhaps with a last row for those without a label."""
    k = len(survey.classes)
    kept = inside & (unlabelled | (survey.labels >= 0))
    label = np.where(survey.labels < 0, k, survey.labels)[kept]
    return label_counts(label, absent[kept], k + unlabelled)


def _runs(absent: Array, dialogue: Array) -> Array:
    """Lengths of the stretches of absence; none goes beyond its dialogue."""
    rows = np.flatnonzero(absent)
    breaks = (np.diff(rows) != 1) | (np.diff(dialogue[rows]) != 0)
    return np.diff(np.concatenate([[0], np.flatnonzero(breaks) + 1, [len(rows)]])) if len(rows) else np.zeros(0, dtype=np.int64)
