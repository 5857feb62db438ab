"""The weights that a model used, as one table of edges: those of every part of it, with what each message was multiplied by.

filter                (m, part_of, utterance)    alpha of MGLRA eq. 4
attention, round r    (m', cross, m)             softmax of eq. 13, in the r-th round of alignment
attention, layer l    (utterance, pair, utterance)  softmax of Vaswani et al. 2017, eq. 1, in the Transformer's l-th layer
graph                 (m, same | cross, n)       entries of P in eq. 21 (in MMGCN, too); ``itself``: its diagonal
frequency             the same                   M3NET's tanh(g . [h_i, h_j]) / sqrt(|N_i| |N_j|), a head a layer; below 0 where it sharpens
likeness              the same                   eq. 17, 18 of the hidden state; in SGRNet M^s of eq. 22, along the relations
distribution m        (m, pair, m)               Int of Fig. 2
fusion                (m', cross, m)             softmax of MA-CMU-SGRNet eq. 18-21
syntactic             (utterance, r, utterance)  M^s_ij / |G^r_i| of eq. 23
semantic              (utterance, pair, utterance)  eq. 26
relational            (utterance, r, utterance)  a_ij / c_ir of DialogueGCN's first convolution; ``itself``: a_ii
neighbours            (utterance, r, utterance)  1 over the neighbours, or 1, in its second
readout               (utterance, pair, utterance)  beta of DialogueGCN and DialogueRNN before the head
"""

from __future__ import annotations

from collections.abc import Mapping

import pandas as pd

from dgl_merc.graphs import EDGE_COLUMNS, edge_table
from dgl_merc.layers.probe import Seen, ends_of

__all__ = ["LIKENESS", "WEIGHT_COLUMNS", "weight_table"]

WEIGHT_COLUMNS = ("part", *EDGE_COLUMNS, "edge")
"""The columns of a table of weights, in order."""
LIKENESS = "likeness"
"""The part that only shows: nothing flows along its edges, so none of them can be taken away."""


def weight_table(seen: Mapping[str, Seen], *, heads: bool = False) -> pd.DataFrame:
    """What the parts of a model did, a row an edge of a part.

    Args:
        seen: of a forward pass: part -> its weights.
        heads: with a column ``head 1``, ``head 2``, ... for each head (of a filter: for each channel), NaN where a part has fewer.

    Returns:
        Columns :data:`WEIGHT_COLUMNS`: ``weight`` is the mean over heads, ``edge`` the edge's number within its type and dialogue.
    """
    frames = []
    if not seen:
        numbers = dict.fromkeys(("dialogue", "src", "dst", "edge"), "int64")
        return pd.DataFrame(columns=list(WEIGHT_COLUMNS)).astype({**numbers, "weight": "float64"})
    for part, (structure, weights) in seen.items():
        for edge_type, values in weights.items():
            several = values[:, None] if values.ndim == 1 else values
            frame = edge_table(structure, {edge_type: several.double().mean(1)}, ends={edge_type: ends_of(structure, edge_type)})
            frame.insert(0, "part", part)
            frame["edge"] = frame.groupby("dialogue", sort=False).cumcount()
            if heads:
                columns = several.detach().cpu().double().numpy().T
                frame = frame.assign(**{f"head {k + 1}": column for k, column in enumerate(columns)})
            frames.append(frame)
    return pd.concat(frames, ignore_index=True)
