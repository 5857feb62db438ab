"""What every model is told, and what it promises."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from torch import Tensor, nn

from dgl_merc.graphs import GraphSpec, Structure

__all__ = ["Model", "ModelInput"]


@dataclass(frozen=True)
class ModelInput:
    """What a model has to fit.

    Attributes:
        widths: modality -> width of its features, in the spec's order.
        classes: C.
        spec: who is connected; a causal one makes every part of the model causal.
        seed: of masks.
    """

    widths: Mapping[str, int]
    classes: int
    spec: GraphSpec
    seed: int = 0


class Model(nn.Module):
    """A batch of dialogues to logits per utterance.

    A dialogue gives the same logits alone and in any batch (in evaluation mode), and with a causal spec no utterance's logits depend on a
    later one.
    """

    def forward(self, structure: Structure, features: Mapping[str, Tensor], *, step: int = 0) -> Tensor:
        """Classify.

        Args:
            structure: S, of U utterances.
            features: modality -> [N_m, width], scaled, of the modality's nodes.
            step: of training: what masks are a function of.

        Returns:
            [U, C] logits; finite also for an utterance without any modality.
        """
        raise NotImplementedError
