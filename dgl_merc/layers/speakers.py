"""Speaker embedding: the row of its speaker is added to every node of an utterance (MGLRA eq. 16).

    X^S_m = W_s S + X_m             S one-hot, W_s [S, D] shared by the modalities

``"corpus"`` is the print: a row for every character of the data set; speakers whom the training split does not know share one of their own,
which stays zero. ``"dialogue"``: rows by the order in which speakers first talk in the dialogue; who comes later than the table is long
shares its last row. What speakers are called does not matter then, and new conversations need no names.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

from torch import Tensor, nn

from dgl_merc.graphs import Structure
from dgl_merc.layers.fusion import at_nodes

__all__ = ["SpeakerEmbedding", "Speakers"]

Speakers = Literal["dialogue", "corpus"]
"""Whom a row stands for: the order in a dialogue, or a character of the corpus."""


class SpeakerEmbedding(nn.Module):
    """W_s.

    Args:
        kind: whom a row stands for.
        rows: S: in ``"corpus"`` the known speakers, to which the unknown one's row is added.
        dim: D.
    """

    def __init__(self, kind: Speakers, rows: int, dim: int) -> None:
        super().__init__()
        self.kind = kind
        size = rows + (kind == "corpus")
        self.table = nn.Embedding(size, dim)
        nn.init.uniform_(self.table.weight, -(size**-0.5), size**-0.5)  # as the nn.Linear of a one-hot vector
        if kind == "corpus":
            nn.init.zeros_(self.table.weight[-1:].detach())

    def numbers(self, structure: Structure) -> Tensor:
        """[U] the row of each utterance's speaker."""
        last = self.table.num_embeddings - 1
        if self.kind == "dialogue":
            return structure.speakers.clamp(max=last)
        return structure.characters.where(structure.characters >= 0, last)

    def forward(self, structure: Structure, x: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Modality -> [N_m, D] to the same."""
        embedded = self.table(self.numbers(structure))  # [U, D]
        return {m: v + at_nodes(structure, m, embedded) for m, v in x.items()}
