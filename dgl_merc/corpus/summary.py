"""What is in a corpus, as tables: nothing is dropped or missing without being counted and printed."""

from __future__ import annotations

import numpy as np
import pandas as pd

from dgl_merc.corpus.corpus import CORE_COLUMNS, Corpus, presence_column
from dgl_merc.corpus.moments import moments
from dgl_merc.corpus.targets import SPLITS

__all__ = ["column_table", "label_table", "length_table", "modality_table", "score_table", "shared_speakers", "split_table"]


def split_table(corpus: Corpus) -> pd.DataFrame:
    """Per split: dialogues, utterances, speakers, labelled utterances per target, and how often each modality is present."""
    rows = {}
    for split, part in corpus.utterances.groupby("split", sort=False):
        row: dict[str, object] = {
            "dialogues": part["dialogue_id"].nunique(),
            "utterances": len(part),
            "speakers": part["speaker"].nunique(),
        }
        row |= {f"{target} labelled": int(part[target].notna().sum()) for target in corpus.targets}
        row |= {f"{m} present": int(part[presence_column(m)].sum()) for m in corpus.modalities}
        rows[str(split)] = row
    table = pd.DataFrame(rows).T
    return table.reindex([s for s in SPLITS if s in rows])


def label_table(corpus: Corpus, target: str) -> pd.DataFrame:
    """Per class: utterances in each split; the last row counts the unlabelled ones."""
    counts = pd.crosstab(corpus.utterances[target].fillna("(unlabelled)"), corpus.utterances["split"])
    order = [*corpus.targets[target].labels, "(unlabelled)"]
    return counts.reindex(order, fill_value=0)[[s for s in SPLITS if s in counts.columns]]


def shared_speakers(corpus: Corpus) -> int:
    """How many speakers occur in more than one split (reported, not refused: MELD's splits share its main cast)."""
    pairs = corpus.utterances[["speaker", "split"]].drop_duplicates()
    return int((pairs["speaker"].value_counts() > 1).sum())


def length_table(corpus: Corpus) -> pd.DataFrame:
    """Per split: the shortest, the median and the longest dialogue, in utterances."""
    rows = {}
    for split in (s for s in SPLITS if (corpus.splits == s).any()):
        lengths = corpus.lengths[corpus.splits == split]
        rows[split] = {"shortest": int(lengths.min()), "median": float(np.median(lengths)), "longest": int(lengths.max())}
    return pd.DataFrame.from_dict(rows, orient="index").astype({"shortest": "int64", "longest": "int64"})


def modality_table(corpus: Corpus) -> pd.DataFrame:
    """Per modality: its width and provenance, the share of utterances that have it, and all its numbers: mean, deviation, range.

    NaN where no utterance has it. Features are read once, in pieces.
    """
    rows = {}
    for k, (modality, about) in enumerate(corpus.modalities.items()):
        found = moments(corpus.features[modality])
        mean = float(found.mean.mean())
        sd = float(np.sqrt(np.mean(np.square(found.std) + np.square(found.mean - mean))))
        told = [mean, sd, float(found.least.min()), float(found.greatest.max())] if found.count else [np.nan] * 4
        numbers = dict(zip(("mean", "sd", "least", "greatest"), told, strict=True))
        present = float(corpus.presence[:, k].mean())
        rows[modality] = {"width": about.width, "present": present, **numbers, "provenance": about.provenance}
    return pd.DataFrame.from_dict(rows, orient="index")


def score_table(corpus: Corpus, target: str) -> pd.DataFrame:
    """Per split, of a target of scores: how many there are, their mean, deviation (of the population) and range."""
    rows = {}
    for split in (s for s in SPLITS if (corpus.splits == s).any()):
        part = corpus.scores(target)[(corpus.utterances["split"] == split).to_numpy()]
        part = part[~np.isnan(part)]
        told = [float(f(part)) for f in (np.mean, np.std, np.min, np.max)] if len(part) else [np.nan] * 4
        rows[split] = {"labelled": len(part), **dict(zip(("mean", "sd", "least", "greatest"), told, strict=True))}
    return pd.DataFrame.from_dict(rows, orient="index")


def column_table(corpus: Corpus) -> pd.DataFrame:
    """Per further column, which the format does not know: its type, how many cells are filled, how many values differ, the first one."""
    own = {*CORE_COLUMNS, *corpus.targets, *(presence_column(m) for m in corpus.modalities)}
    rows = {}
    for column in (c for c in corpus.utterances if c not in own):
        cells = corpus.utterances[column].dropna()
        kind, first = str(corpus.utterances[column].dtype), str(cells.iloc[0])[:40] if len(cells) else ""
        rows[str(column)] = {"type": kind, "filled": len(cells), "different": int(cells.astype("str").nunique()), "first": first}
    return pd.DataFrame.from_dict(rows, orient="index", columns=["type", "filled", "different", "first"])
