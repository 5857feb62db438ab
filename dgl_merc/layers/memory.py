"""Memory-based recursive feature alignment: attention over the entries of a memory block (MGLRA eq. 6-9).

    mu(m, tau)    = w_m . X^phi(m, tau)                                     a convolution of width 1           (7)
    omega(m, tau) = softmax over tau of mu(m, tau)                                                           (8)
    X^R_m         = sum over tau of omega(m, tau) X^phi(m, tau)                                              (9)

Every utterance has a block for each of its modalities m. In the first round its entries tau are the filtered features X^h of all modalities
that the utterance has (Algorithm 1, line 9). What they are in later rounds the paper says in three ways: ``"own"`` (line 12): X_m alone, so
that nothing is left to attend to and X^R_m = X_m; ``"all"`` (eq. 6: "aligns with the other two"): the refined X of all present; ``"own+h"``
("refines using X^h_m"): X_m and X^h_m.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

import torch
from torch import Tensor, nn

from dgl_merc.graphs import Structure
from dgl_merc.layers.fusion import at_nodes, beside

__all__ = ["Memory", "Recall"]

Recall = Literal["all", "own", "own+h"]
"""The entries of a memory block after the first round."""


class Memory(nn.Module):
    """What each modality takes from its memory block.

    Args:
        modalities: M.
        dim: D.
        recall: what the entries are in rounds after the first.
    """

    def __init__(self, modalities: int, dim: int, recall: Recall = "all") -> None:
        super().__init__()
        self.recall = recall
        self.weight = nn.Parameter(torch.randn(modalities, dim) * dim**-0.5)

    def forward(self, structure: Structure, first: Mapping[str, Tensor], refined: Mapping[str, Tensor] | None = None) -> dict[str, Tensor]:
        """Read every block.

        Args:
            structure: S, of U utterances.
            first: modality -> [N_m, D]: X^h.
            refined: modality -> [N_m, D]: X of the round before; None in the first round.

        Returns:
            Modality -> [N_m, D]: X^R.
        """
        if refined is None:
            return self._of_all(structure, first)
        if self.recall == "all":
            return self._of_all(structure, refined)
        if self.recall == "own":
            return dict(refined)
        return {m: self._of_two(self.weight[k], x, first[m]) for k, (m, x) in enumerate(refined.items())}

    def _of_all(self, structure: Structure, x: Mapping[str, Tensor]) -> dict[str, Tensor]:
        names = structure.spec.modalities
        entries = beside(structure, x).view(structure.num_utterances, len(names), -1)  # [U, M, D]
        mu = entries @ self.weight.T  # [U, M of the entry, M of the block]
        if not structure.presence.all():
            mu = mu.masked_fill(~structure.presence[:, :, None], torch.finfo(mu.dtype).min)  # not -inf: an utterance without any is NaN
        omega = torch.softmax(mu, dim=1).transpose(1, 2)
        return {m: at_nodes(structure, m, block) for m, block in zip(names, (omega @ entries).unbind(1), strict=True)}

    @staticmethod
    def _of_two(weight: Tensor, own: Tensor, first: Tensor) -> Tensor:
        first = first.to(own.dtype)  # autocast may have changed it
        share = torch.sigmoid((own - first) @ weight)[:, None].to(own.dtype)  # the softmax of two
        return torch.lerp(first, own, share)
