"""One dialogue, utterance by utterance: who is heard by whom, in numbers."""

from __future__ import annotations

import numpy as np
import pandas as pd
import torch

from dgl_merc.graphs.store import Store
from dgl_merc.graphs.tables import utterance_table

__all__ = ["dialogue_utterances"]


def dialogue_utterances(store: Store, dialogue: int | str, target: str | None = None) -> pd.DataFrame:
    """A dialogue's utterances with their labels, modalities and degrees.

    Args:
        store: opened.
        dialogue: number or name.
        target: whose labels stand beside; default: the corpus's first.

    Returns:
        :func:`~dgl_merc.graphs.tables.utterance_table`, and a column per edge type, called as its three parts are: how many edges of it
        come in; 0 also where there is no node of the type.

    Raises:
        InputError: no such dialogue, or no corpus.
    """
    number = store.number(dialogue)
    table = utterance_table(store.corpus, number, target)
    structure = store.structure(np.array([number]))
    for edge_type in structure.spec.edge_types:
        at = structure.nodes[edge_type[2]].index_select(0, structure.edges(edge_type)[1])
        table[" ".join(edge_type)] = torch.bincount(at, minlength=len(table)).numpy()
    return table
