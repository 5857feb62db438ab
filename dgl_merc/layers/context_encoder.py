"""Context encoder: a recurrent network per modality over the utterances of a dialogue that have it (MGLRA eq. 2).

    X^c_m = LSTM_m(X^r_m) W_m

Each modality has its own network, since the raw widths differ; the output is projected to the model's width. An utterance without the
modality is skipped: it has no row, and the network goes on to the next that has one.
"""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor, nn

from dgl_merc.graphs import Structure
from dgl_merc.layers.sequences import Recurrent, Sequences

__all__ = ["ContextEncoder"]


class ContextEncoder(nn.Module):
    """Raw features to contextual ones.

    Args:
        widths: modality -> raw width.
        dim: of the output; a bidirectional network has dim / 2 units per direction.
        bidirectional: the paper prints LSTM and leaves the direction open; a causal structure needs False.
        layers: of each network.
        dropout: on the input and the output.
    """

    def __init__(self, widths: Mapping[str, int], dim: int, *, bidirectional: bool = True, layers: int = 1, dropout: float = 0.0) -> None:
        super().__init__()
        hidden = max(dim // 2, 1) if bidirectional else dim
        encoders = {m: Recurrent("lstm", w, hidden, layers=layers, bidirectional=bidirectional) for m, w in widths.items()}
        self.encoders = nn.ModuleDict(encoders)
        self.projections = nn.ModuleDict({m: nn.Linear(encoder.width, dim) for m, encoder in encoders.items()})
        self.dropout = nn.Dropout(dropout)

    def forward(self, structure: Structure, x: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Modality -> [N_m, width_m] to modality -> [N_m, dim]."""
        encoded = {}
        for m, encoder in self.encoders.items():
            counts = structure.counts[m][structure.offsets]
            hidden = encoder(self.dropout(x[m]), Sequences(counts[1:] - counts[:-1]))
            encoded[m] = self.dropout(self.projections[m](hidden))
        return encoded
