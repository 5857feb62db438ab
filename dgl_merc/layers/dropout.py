"""Dropout at a fraction of the price: on a CPU torch's own draws a number for each feature, which costs more than most layers do.

    y = x kept / (1 - p)            kept: 1 with probability 1 - p, else 0; independent

Here each word of 64 bits from torch's generator decides about four features: p is the rate to the nearest 1/65536, and so it is in the
scale.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

__all__ = ["Dropout"]

_STEPS, _PER_WORD = 1 << 16, 4


class Dropout(nn.Dropout):
    """As ``nn.Dropout``, never in place; off the CPU it is torch's own.

    >>> x, _ = torch.ones(6), torch.manual_seed(0)
    >>> Dropout(0.5)(x)
    tensor([0., 0., 2., 0., 0., 0.])
    """

    def forward(self, x: Tensor) -> Tensor:
        """[...] to the same."""
        dropped = round(self.p * _STEPS)  # of all values that 16 bits have
        if not self.training or dropped in (0, _STEPS) or x.device.type != "cpu":
            return super().forward(x)
        words = torch.empty(-(-x.numel() // _PER_WORD), dtype=torch.int64).random_(-(1 << 63), None)
        kept = words.view(torch.int16)[: x.numel()] >= dropped - _STEPS // 2
        return x * kept.view(x.shape).to(x.dtype).mul_(_STEPS / (_STEPS - dropped))
