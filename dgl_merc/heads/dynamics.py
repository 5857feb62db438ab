"""Emotion dynamics as a second opinion: what each turn shows by itself, heard in the conversation, beside what a graph model says.

    b_u   = sum over the modalities m that u has of W_m dropout(x_um) 384 / D + a_m   its own evidence; D >= 64 features in all
    T     = softmax over e of 4 (A[own, e] + B[other, e])                            inertia A and contagion B
    c_u   = emotion_dynamics(b, T)                                                   what the conversation says of u
    q_u   = softmax(b_u + c_u)                                                       the second opinion
    log p_u = (1 - share) log softmax(logits_u) + share log q_u + constant            a product of experts (Hinton 2002)

b hears one utterance and T a few hundred numbers, so that this learns from little what a recurrent network needs many dialogues for, and
cannot learn a training dialogue by heart. A modality that is absent shows nothing, a_m included. The model's own logits are trained as
they are without it, and both are trained apart:

    L = CE(q) + CE(softmax(b + r)) + transitions (-log T[y_own, y_other, y_u])        over labelled utterances, r learnt

the second term so that evidence speaks for itself, up to the classes' frequencies r; the third the mean over turns of which own and
other last emotion are known, remembered as the kernel remembers them. Weights of classes and the like are the own logits' loss's alone.
Ours, in neither of the two papers; chains over emotions have been tried on conversations by others (CESTa, SIGDIAL 2020;
EmotionIC, 2023), over the logits of a context network. Here there is none before the chain.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor, nn

from dgl_merc.graphs import Structure
from dgl_merc.kernels.emotion_dynamics import emotion_dynamics
from dgl_merc.layers.dropout import Dropout
from dgl_merc.layers.fusion import beside
from dgl_merc.losses import cross_entropy
from dgl_merc.losses.processes import mean
from dgl_merc.settings import check_range

__all__ = ["DynamicsOptions", "EmotionDynamics", "Opinion"]

_GAIN = 4.0  # of A and B: a learning rate that suits a network would hardly move them
_WIDTH, _LEAST = 384, 64  # features at which W's learning rate is the network's; of fewer, down to these, each must say more


@dataclass(frozen=True)
class DynamicsOptions:
    """How much a second opinion by emotion dynamics counts, and how it is had.

    Attributes:
        share: of the second opinion; 0: there is none.
        dropout: on the features.
        speakers: how many of the last speakers' emotions are remembered; (C + 1) to this power is the number of states, C the classes.
        transitions: weight of the loss of T.
    """

    share: float = 0.0
    dropout: float = 0.1
    speakers: int = 3
    transitions: float = 0.3

    def __post_init__(self) -> None:
        check_range(self, 0, "share", most=1)
        check_range(self, 0, "dropout", most=1)
        check_range(self, 2, "speakers", most=4)
        check_range(self, 0, "transitions", most=math.inf)


class Opinion(NamedTuple):
    """What comes of two opinions.

    Attributes:
        logits: [U, C] in training the model's own, which are trained by themselves; else of both.
        losses: name -> []; in training.
    """

    logits: Tensor
    losses: dict[str, Tensor]


class EmotionDynamics(nn.Module):
    """W, a, A, B and r.

    Args:
        widths: modality -> width.
        outputs: C, at least 2.
        options: how.
    """

    def __init__(self, widths: Mapping[str, int], outputs: int, options: DynamicsOptions) -> None:
        super().__init__()
        self.options, self.outputs = options, outputs
        self.evidence = nn.Linear(sum(widths.values()), outputs, bias=False)
        self.scale = _WIDTH / max(sum(widths.values()), _LEAST)
        self.presence = nn.Parameter(torch.zeros(len(widths), outputs))
        self.inertia = nn.Parameter(torch.zeros(outputs + 1, outputs))
        self.contagion = nn.Parameter(torch.zeros(outputs + 1, outputs))
        self.frequency = nn.Parameter(torch.zeros(outputs))
        self.dropout = Dropout(options.dropout)
        nn.init.zeros_(self.evidence.weight)
        nn.init.eye_(self.inertia.data).div_(_GAIN)  # an emotion is more likely to stay

    @classmethod
    def of(cls, widths: Mapping[str, int], outputs: int, options: DynamicsOptions) -> EmotionDynamics | None:
        """None where there is no second opinion: no share, or a score, which has no emotions to move between."""
        return cls(widths, outputs, options) if options.share and outputs > 1 else None

    @property
    def transition(self) -> Tensor:
        """[C + 1, C + 1, C] log T: own, other, new; index C: no such turn."""
        return (_GAIN * (self.inertia[:, None] + self.contagion)).log_softmax(-1)

    def forward(self, structure: Structure, features: Mapping[str, Tensor], logits: Tensor, labels: Tensor | None = None) -> Opinion:
        """Hear both.

        Args:
            structure: S of U utterances.
            features: modality -> [N_m, width], scaled.
            logits: [U, C] the model's own.
            labels: [U], -1 = unlabelled; for the losses, in training; nothing else depends on them.

        Returns:
            In training the model's own logits and, of labels, the loss ``dynamics``; else log p_u.
        """
        x = beside(structure, features)
        b = self.scale * self.evidence(self.dropout(x)) + structure.presence.to(x) @ self.presence
        transition = self.transition
        q = b + emotion_dynamics(structure, b, transition, speakers=self.options.speakers)
        if not self.training:
            share = self.options.share
            return Opinion((1 - share) * logits.log_softmax(-1) + share * q.log_softmax(-1), {})
        if labels is None:
            return Opinion(logits, {})
        loss = cross_entropy(q, labels) + cross_entropy(b + self.frequency, labels)
        if self.options.transitions:
            loss = loss + self.options.transitions * self._surprise(structure, labels, transition)
        return Opinion(logits, {"dynamics": loss})

    def _surprise(self, structure: Structure, labels: Tensor, transition: Tensor) -> Tensor:
        own, other = last_emotions(structure, labels, self.outputs, speakers=self.options.speakers)
        known = (labels >= 0) & (own >= 0) & (other >= 0)
        at = ((own * (self.outputs + 1) + other) * self.outputs + labels)[known]
        return mean(-transition.flatten().index_select(0, at).sum(), known.sum())


def last_emotions(structure: Structure, labels: Tensor, none: int, *, speakers: int) -> tuple[Tensor, Tensor]:
    """[U] the label of the last turn of each turn's speaker, and [U] of whoever else spoke last.

    Args:
        structure: S of U utterances.
        labels: [U]; a label that is not known is one like others here.
        none: stands for: there was no such turn.
        speakers: how many are remembered: who comes back after as many others is new, as in :func:`emotion_dynamics`.

    >>> from dgl_merc.graphs import GraphSpec
    >>> s = Structure.of([4], GraphSpec(("text",)), speakers=[0, 1, 0, 0])
    >>> last_emotions(s, torch.tensor([5, 6, -1, 7]), 9, speakers=2)
    (tensor([ 9,  9,  5, -1]), tensor([9, 5, 6, 6]))
    """
    own, other, last = [], [], dict[int, int]()  # the latest at the end
    for at, speaker, label in zip(structure.position.tolist(), structure.speakers.tolist(), labels.tolist(), strict=True):
        last = last if at else {}
        own.append(last.pop(speaker, none))
        other.append(next(reversed(last.values()), none))
        last[speaker] = label
        if len(last) > speakers:
            del last[next(iter(last))]
    return labels.new_tensor(own), labels.new_tensor(other)
