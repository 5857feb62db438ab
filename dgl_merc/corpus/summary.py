"""What is in a corpus, as tables: nothing is dropped or missing without being counted and printed."""

from __future__ import annotations

import pandas as pd

from dgl_merc.corpus.corpus import Corpus, presence_column
from dgl_merc.corpus.targets import SPLITS

__all__ = ["label_table", "shared_speakers", "split_table"]


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
