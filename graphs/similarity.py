"""Arccos similarity with a safe gradient (MGLRA eq. 17, 18; SGRNet eq. 22).

    similarity(a, b) = 1 - arccos(cos(a, b)) / pi          in [0, 1]: 1 = same direction, .5 = orthogonal, 0 = opposite

The derivative of arccos is infinite at +-1, where identical utterances are. Values are exact everywhere (no clamping, which would
cost 4.5e-4); only the gradient is bounded, through ``1 / sqrt(max(1 - c^2, eps))``. Cosine and arccos are computed in float32
at least, whatever the input: 1 - 1e-6 is 1.0 in bfloat16. The cosine of a zero vector is 0.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

__all__ = ["arccos_similarity", "arccos_weights", "edge_similarity", "unit_rows"]

_EPS = 1e-6
_ZERO = 1e-8  # a row no longer than this counts as zero
_CHUNK = 1 << 22  # numbers gathered at a time by edge_similarity: bounded memory, and it stays in the cache


class _Arccos(torch.autograd.Function):
    """(1 - slope arccos(c)) factor, 1 at loops: in one, because on pairs each pass and each copy costs."""

    @staticmethod
    def forward(ctx: Any, cosine: Tensor, slope: float, factor: Tensor | None, loops: Callable[[Tensor], Tensor] | None) -> Tensor:
        ctx.save_for_backward(cosine, factor)
        ctx.slope, ctx.loops = slope, loops
        weights = cosine.clamp(-1.0, 1.0).arccos_().mul_(-slope).add_(1.0)
        if factor is not None:
            weights *= factor
        if loops is not None:
            loops(weights).fill_(1.0)
        return weights

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *grads: Tensor) -> Any:
        cosine, factor = ctx.saved_tensors
        one = torch.ones((), dtype=cosine.dtype, device=cosine.device)
        result = torch.addcmul(one, cosine, cosine, value=-1.0).clamp_(min=_EPS).rsqrt_().mul_(grads[0]).mul_(ctx.slope)
        if factor is not None:
            result *= factor
        if ctx.loops is not None:
            ctx.loops(result).zero_()
        return result, None, None, None


def arccos_weights(
    cosine: Tensor, *, normalise: bool = True, factor: Tensor | None = None, loops: Callable[[Tensor], Tensor] | None = None
) -> Tensor:
    """(1 - arccos(cosine) / pi) factor, elementwise.

    Args:
        cosine: any shape; rounding beyond [-1, 1] is cut off. float16 and bfloat16 are computed, and returned, as float32.
        normalise: divide by pi (MGLRA eq. 17); without it is SGRNet's eq. 22.
        factor: broadcasts to ``cosine``; gets no gradient.
        loops: gives a view of the entries that are to be 1 whatever they would be.

    Returns:
        The same shape. Its gradient is the analytic one where 1 - cosine^2 >= 1e-6, and bounded beyond.
    """
    if cosine.dtype in (torch.float16, torch.bfloat16):
        cosine = cosine.float()
    return _Arccos.apply(cosine, 1.0 / math.pi if normalise else 1.0, factor, loops)  # type: ignore[no-any-return,no-untyped-call]


def arccos_similarity(cosine: Tensor) -> Tensor:
    """1 - arccos(cosine) / pi: :func:`arccos_weights` without more.

    >>> arccos_similarity(torch.tensor([1.0, 0.0, -1.0]))
    tensor([1.0000, 0.5000, 0.0000])
    """
    return arccos_weights(cosine)


class _UnitRows(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        norm = torch.linalg.vector_norm(x, dim=-1, keepdim=True)
        inverse = torch.where(norm > _ZERO, norm.clamp_min(_ZERO).reciprocal(), 0.0)
        unit = x * inverse
        ctx.save_for_backward(unit, inverse)
        return unit

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *grads: Tensor) -> Tensor:
        unit, inverse = ctx.saved_tensors
        along = torch.linalg.vecdot(grads[0], unit).unsqueeze(-1)
        return torch.addcmul(grads[0], along, unit, value=-1.0).mul_(inverse)


def unit_rows(x: Tensor) -> Tensor:
    """[..., D] -> [..., D]: rows of length 1; a zero row stays zero, and its gradient is zero. At least float32."""
    if x.dtype in (torch.float16, torch.bfloat16):
        x = x.float()
    return _UnitRows.apply(x)  # type: ignore[no-any-return,no-untyped-call]


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
