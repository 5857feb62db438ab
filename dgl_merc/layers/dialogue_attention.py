"""What a classifier reads besides an utterance's own state: those of the dialogue that are like it.

    beta_ij = softmax over j (h_i^T W h_j)                 j any utterance of i's dialogue, i itself among them
    h~_i    = sum over j of beta_ij h_j

BiDialogueRNN+Att (Majumder et al., AAAI 2019, section 3.4) and DialogueGCN (Ghosal et al., EMNLP 2019, section 3.2.3) have the same. It is
:func:`dgl_merc.kernels.semantic_attention` with one head, unscaled. In a causal structure j is not later than i.
"""

from __future__ import annotations

from torch import Tensor, nn

from dgl_merc.graphs import UTTERANCE, Structure
from dgl_merc.kernels import semantic_attention
from dgl_merc.layers.probe import Probe, probed

__all__ = ["DialogueAttention"]


class DialogueAttention(nn.Module):
    """W.

    Args:
        width: of h.
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        self.inward = nn.Linear(width, width, bias=False)

    def forward(self, structure: Structure, h: Tensor, *, probe: Probe | None = None) -> Tensor:
        """[U, width] to the same. Its part in a probe is ``readout``."""
        q, k = self.inward(h)[:, None], h[:, None]
        read: Tensor = probed(probe, "readout", semantic_attention, structure, q.to(k.dtype), k, k, pairs=UTTERANCE, scale=1.0)
        return read.squeeze(1)
