"""What every model is told, and what it promises."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import ClassVar, NamedTuple

from torch import Tensor, nn

from dgl_merc.graphs import GraphSpec, Structure
from dgl_merc.heads.dynamics import EmotionDynamics
from dgl_merc.layers import Probe

__all__ = ["Model", "ModelInput", "Output"]


@dataclass(frozen=True)
class ModelInput:
    """What a model has to fit.

    Attributes:
        widths: modality -> width of its features, in the spec's order.
        outputs: C, numbers per utterance: a logit for each class, or one number, the score.
        spec: who is connected; a causal one makes every part of the model causal.
        seed: of masks.
        speakers: how many a model may know by name: ``Structure.characters`` run below it.
    """

    widths: Mapping[str, int]
    outputs: int
    spec: GraphSpec
    seed: int = 0
    speakers: int = 0


class Output(NamedTuple):
    """What a model says of a batch.

    Attributes:
        logits: [U, C], or [U, 1] scores; finite also for an utterance without any modality.
        losses: name -> [] what the model adds to the loss of its logits, already weighted; empty in evaluation mode.
        details: name -> [U] what else it says of each utterance, for tables of predictions; NaN where it says nothing. Empty in training.
    """

    logits: Tensor
    losses: Mapping[str, Tensor] = MappingProxyType({})
    details: Mapping[str, Tensor] = MappingProxyType({})


class Model(nn.Module):
    """A batch of dialogues to logits per utterance.

    A dialogue gives the same logits alone and in any batch (in evaluation mode), and with a causal spec no utterance's logits depend on a
    later one.

    Attributes:
        solved: whether :meth:`solve` finds all weights in one go, and there is no gradient step.
    """

    solved: ClassVar[bool] = False

    @property
    def to_solve(self) -> bool:
        """Whether :meth:`solve` has anything to do, before the first step."""
        return self.solved or bool(self._opinions())

    def _opinions(self) -> list[EmotionDynamics]:
        return [child for child in self.children() if isinstance(child, EmotionDynamics)]

    def forward(
        self,
        structure: Structure,
        features: Mapping[str, Tensor],
        *,
        step: int = 0,
        labels: Tensor | None = None,
        probe: Probe | None = None,
    ) -> Output:
        """Classify.

        Args:
            structure: S, of U utterances.
            features: modality -> [N_m, width], scaled, of the modality's nodes.
            step: of training: what masks are a function of.
            labels: [U] int64, -1 = unlabelled: for losses of the model's own, in training; nothing else may depend on them.
            probe: in evaluation mode, of somebody who wants to see weights, or to leave edges out.

        Returns:
            Logits, in training the model's own losses, else details.
        """
        raise NotImplementedError

    def solve(self, structure: Structure, features: Mapping[str, Tensor], truth: Tensor, weights: Tensor | None = None) -> None:  # noqa: ARG002
        """Find the weights that need no gradient steps: all, or those of a second opinion. A function of the arguments: nothing is drawn.

        Args:
            structure: S, of the U utterances of all training dialogues.
            features: modality -> [N_m, width], scaled, of the modality's nodes; on the CPU.
            truth: [U] int64 classes, -1 = unlabelled; or float32 scores, NaN = unlabelled.
            weights: [C] what a class weighs; None: all alike.

        Raises:
            DivergedError: features that are not finite.
            InputError: there is no solution, or it can't be found.
        """
        for opinion in self._opinions():
            opinion.solve(structure, features, truth)
