"""Arccos similarity with a safe gradient (MGLRA eq. 17, 18; SGRNet eq. 22).

    similarity(a, b) = 1 - arccos(cos(a, b)) / pi          in [0, 1]: 1 = same direction, .5 = orthogonal, 0 = opposite

The derivative of arccos is infinite at +-1, where identical utterances are. Values are exact everywhere (no clamping, which would
cost 4.5e-4); only the gradient is bounded, through ``1 / sqrt(max(1 - c^2, eps))``. Cosine and arccos are computed in float32
at least, whatever the input: 1 - 1e-6 is 1.0 in bfloat16. The cosine of a zero vector is 0.
"""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor

__all__ = ["arccos_similarity", "edge_similarity", "unit_rows"]

_EPS = 1e-6
_CHUNK = 1 << 22  # numbers gathered at a time by edge_similarity: bounded memory, and it stays in the cache


class _ArccosSimilarity(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, cosine: Tensor) -> Tensor:
        bounded = cosine.clamp(-1.0, 1.0)
        ctx.save_for_backward(bounded)
        return 1.0 - torch.arccos(bounded) / math.pi

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> Tensor:
        (cosine,) = ctx.saved_tensors
        # (1 - c)(1 + c) rather than 1 - c^2: no cancellation near +-1
        slope: Tensor = torch.rsqrt(((1.0 - cosine) * (1.0 + cosine)).clamp_min(_EPS)) / math.pi
        return grads[0] * slope


def arccos_similarity(cosine: Tensor) -> Tensor:
    """1 - arccos(cosine) / pi, elementwise.

    Args:
        cosine: any shape; rounding beyond [-1, 1] is cut off. float16 and bfloat16 are computed, and returned, as float32.

    Returns:
        The same shape. Its gradient is the analytic one where 1 - cosine^2 >= 1e-6, and bounded beyond.

    >>> arccos_similarity(torch.tensor([1.0, 0.0, -1.0]))
    tensor([1.0000, 0.5000, 0.0000])
    """
    if cosine.dtype in (torch.float16, torch.bfloat16):
        cosine = cosine.float()
    return _ArccosSimilarity.apply(cosine)  # type: ignore[no-any-return,no-untyped-call]


def unit_rows(x: Tensor) -> Tensor:
    """[N, D] -> [N, D]: rows of length 1, a zero row stays zero, with a gradient that is finite there. At least float32."""
    if x.dtype in (torch.float16, torch.bfloat16):
        x = x.float()
    return torch.nn.functional.normalize(x, dim=-1, eps=1e-8)


def edge_similarity(x_src: Tensor, x_dst: Tensor, src: Tensor, dst: Tensor) -> Tensor:
    """The arccos similarity along edges.

    Args:
        x_src: [N, D] features of the source nodes.
        x_dst: [M, D] features of the destination nodes.
        src: [E] source of each edge.
        dst: [E] destination of each edge.

    Returns:
        [E].
    """
    a, b = unit_rows(x_src), unit_rows(x_dst)
    step = max(1, _CHUNK // max(1, a.shape[1]))
    cosines = [
        torch.linalg.vecdot(a.index_select(0, src[lo : lo + step]), b.index_select(0, dst[lo : lo + step]))
        for lo in range(0, len(src), step)
    ]
    return arccos_similarity(torch.cat(cosines) if cosines else a.new_zeros(0))
