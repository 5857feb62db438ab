"""Emotion dynamics as a second opinion: what each turn shows by itself, heard in the conversation, beside what a graph model says.

    b_u   = W [x_u, p_u] + a - log f                    its own evidence; p_u which modalities it has; 0 where it has none
    T     = softmax over e of s (A[own, e] + B[other, e])                            inertia A and contagion B
    c_u   = emotion_dynamics(b, T)                                                   what the conversation says of u
    q_u   = softmax(b_u + c_u)                                                       the second opinion
    log p_u = (1 - share) logits_u + share log q_u + constant                         a product of experts (Hinton 2002)

b hears one utterance and T a few hundred numbers, so that this learns from little what a recurrent network needs many dialogues for. And
it is solved, not trained: W, a by logistic regression of each labelled utterance's emotion, whose answer without the frequencies f of the
classes is what an utterance shows; A, B by logistic regression of the emotion by the own and the others' last one, over turns of which all
three are known. How much large weights cost (C) and how sharp T is (s) are chosen among a few by weighted F1 of q, on training dialogues
that were left out (:func:`solve_dynamics`). The model's own network is trained as it is without.
Ours, in neither of the two papers; chains over emotions have been tried on conversations by others (CESTa, SIGDIAL 2020;
EmotionIC, 2023), over the logits of a context network. Here there is none before the chain.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from dgl_merc.graphs import Structure
from dgl_merc.heads.dynamics_solution import solve_dynamics
from dgl_merc.kernels.emotion_dynamics import emotion_dynamics
from dgl_merc.layers.fusion import beside
from dgl_merc.settings import check_range

__all__ = ["DynamicsOptions", "EmotionDynamics"]


@dataclass(frozen=True)
class DynamicsOptions:
    """How much a second opinion by emotion dynamics counts.

    Attributes:
        share: of the second opinion; 0: there is none.
        speakers: how many of the last speakers' emotions are remembered; (K + 1) to this power is the number of states, K the classes.
    """

    share: float = 0.0
    speakers: int = 3

    def __post_init__(self) -> None:
        check_range(self, 0, "share", most=1)
        check_range(self, 2, "speakers", most=4)


class EmotionDynamics(nn.Module):
    """W, a - log f, s A and s B, which no gradient moves.

    Args:
        widths: modality -> width.
        outputs: K, at least 2.
        options: how.
    """

    def __init__(self, widths: Mapping[str, int], outputs: int, options: DynamicsOptions) -> None:
        super().__init__()
        self.options, self.outputs = options, outputs
        self.evidence = nn.Linear(sum(widths.values()) + len(widths), outputs)
        self.inertia = nn.Parameter(torch.zeros(outputs + 1, outputs))
        self.contagion = nn.Parameter(torch.zeros(outputs + 1, outputs))
        for parameter in self.parameters():
            nn.init.zeros_(parameter).requires_grad_(False)

    @classmethod
    def of(cls, widths: Mapping[str, int], outputs: int, options: DynamicsOptions) -> EmotionDynamics | None:
        """None where there is no second opinion: no share, or a score, which has no emotions to move between."""
        return cls(widths, outputs, options) if options.share and outputs > 1 else None

    @property
    def transition(self) -> Tensor:
        """[K + 1, K + 1, K] log T: own, other, new; index K: no such turn."""
        return (self.inertia[:, None] + self.contagion).log_softmax(-1)

    @torch.no_grad()
    def solve(self, structure: Structure, features: Mapping[str, Tensor], labels: Tensor) -> None:
        """Find the numbers. See :meth:`dgl_merc.models.base.Model.solve`."""
        shown = self._shown(structure, features).double().numpy()
        solution = solve_dynamics(structure, shown, labels, self.outputs, speakers=self.options.speakers)
        self.evidence.weight.copy_(torch.from_numpy(solution.weight))
        self.evidence.bias.copy_(torch.from_numpy(solution.bias))
        self.inertia.copy_(torch.from_numpy(solution.inertia))
        self.contagion.copy_(torch.from_numpy(solution.contagion))

    @staticmethod
    def _shown(structure: Structure, features: Mapping[str, Tensor]) -> Tensor:
        """[U, F + M] all features, zeros where a modality is absent, and which are there."""
        x = beside(structure, features)
        return torch.cat([x, structure.presence.to(x)], dim=-1)

    def forward(self, structure: Structure, features: Mapping[str, Tensor], logits: Tensor) -> Tensor:
        """Hear both.

        Args:
            structure: S of U utterances.
            features: modality -> [N_m, width], scaled.
            logits: [U, K] the model's own.

        Returns:
            [U, K] log p_u, up to a constant a row; in training the model's own logits as they are.
        """
        if self.training:
            return logits
        with torch.autocast(logits.device.type, enabled=False):
            b: Tensor = self.evidence(self._shown(structure, features)) * structure.presence.any(-1, keepdim=True)
        q = b + emotion_dynamics(structure, b, self.transition, speakers=self.options.speakers)
        share = self.options.share
        return (1 - share) * logits + share * q
