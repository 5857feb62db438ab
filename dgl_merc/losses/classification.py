"""Classification loss: cross-entropy over the labelled utterances (MGLRA eq. 1; SGRNet eq. 30)."""

from __future__ import annotations

import torch
from torch import Tensor

__all__ = ["cross_entropy"]


def cross_entropy(logits: Tensor, labels: Tensor) -> Tensor:
    """The mean over labelled utterances of -log softmax(logits)[label].

    Args:
        logits: [U, C].
        labels: [U] int64 from 0 to C - 1; -1 = unlabelled: context only, no part in the loss.

    Returns:
        [] in float32 at least; 0, with a gradient of 0, where nothing is labelled.

    >>> cross_entropy(torch.zeros(3, 2), torch.tensor([0, -1, 1]))
    tensor(0.6931)
    """
    if logits.dtype in (torch.float16, torch.bfloat16):
        logits = logits.float()
    total = torch.nn.functional.cross_entropy(logits, labels, ignore_index=-1, reduction="sum")
    return total / (labels >= 0).sum().clamp_min(1)
