"""Messages along a list of edges, by DGL's built-in functions or by torch's gather and index_add.

Four operations are all that the kernels need; what a kernel does on edges is written once, over either of the two. E edges from S
sources to N destinations:

    dot(a, b)_e      = a[src_e] . b[dst_e]                              [S, D], [N, D] -> [E]
    weigh(h, w)_i    = sum over e into i of w_e h[src_e]                [S, D], [E]    -> [N, D]
    total(v)_i       = sum over e into i of v_e                         [E, K]         -> [N, K]
    softmax(v)_e     = exp(v_e) / sum over e' into dst_e of exp(v_e')   [E, K]         -> [E, K]

``dgl`` needs a device on which the installed DGL computes. ``scatter`` runs wherever torch does; it goes through the edges in chunks, so
that its memory does not grow with E D, and on a GPU its sums are not bitwise reproducible (atomic additions).
"""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import Any, Protocol

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from dgl_merc.kernels.backends import EdgeBackend
from dgl_merc.kernels.edge_list import EdgeList

__all__ = ["Messages", "messages"]

_CHUNK = 1 << 20  # numbers gathered at a time: they stay in the cache


class Messages(Protocol):
    """See the module."""

    def dot(self, a: Tensor, b: Tensor) -> Tensor: ...  # noqa: D102
    def weigh(self, h: Tensor, w: Tensor) -> Tensor: ...  # noqa: D102
    def total(self, values: Tensor) -> Tensor: ...  # noqa: D102
    def softmax(self, values: Tensor) -> Tensor: ...  # noqa: D102


def messages(backend: EdgeBackend, edges: EdgeList, *, dst: Tensor | None = None, targets: int | None = None) -> Messages:
    """The four operations on a list of edges.

    Args:
        backend: who computes.
        edges: the list.
        dst: [E] in place of its destinations.
        targets: with ``dst``, how many there are.
    """
    into = sum(edges.targets.values()) if targets is None else targets
    return (_DGL if backend == "dgl" else _Scatter)(edges.src, edges.dst if dst is None else dst, sum(edges.sources.values()), into)


def _as_given(method: Callable[..., Tensor]) -> Callable[..., Tensor]:
    """Computes in the types it is given, also under autocast."""

    @wraps(method)
    def run(self: Any, *tensors: Tensor) -> Tensor:
        with torch.autocast(tensors[0].device.type, enabled=False):
            return method(self, *tensors)

    return run


class _DGL:
    def __init__(self, src: Tensor, dst: Tensor, sources: int, targets: int) -> None:
        from dgl_merc._dgl import dgl

        self.ops = dgl.ops
        self.graph: Any = dgl.heterograph({("s", "to", "d"): (src, dst)}, {"s": sources, "d": targets})

    @_as_given
    def dot(self, a: Tensor, b: Tensor) -> Tensor:
        return self.ops.u_dot_v(self.graph, a, b).squeeze(-1)  # type: ignore[no-any-return]

    @_as_given
    def weigh(self, h: Tensor, w: Tensor) -> Tensor:
        return self.ops.u_mul_e_sum(self.graph, h, w[:, None])  # type: ignore[no-any-return]

    @_as_given
    def total(self, values: Tensor) -> Tensor:
        return self.ops.copy_e_sum(self.graph, values)  # type: ignore[no-any-return]

    @_as_given
    def softmax(self, values: Tensor) -> Tensor:
        return self.ops.edge_softmax(self.graph, values)  # type: ignore[no-any-return]


class _Scatter:
    def __init__(self, src: Tensor, dst: Tensor, sources: int, targets: int) -> None:
        self.src, self.dst, self.sources, self.targets = src, dst, sources, targets

    @_as_given
    def dot(self, a: Tensor, b: Tensor) -> Tensor:
        return _Dot.apply(a, b, self.src, self.dst)  # type: ignore[no-any-return,no-untyped-call]

    @_as_given
    def weigh(self, h: Tensor, w: Tensor) -> Tensor:
        return _Weigh.apply(h, w, self.src, self.dst, self.targets)  # type: ignore[no-any-return,no-untyped-call]

    @_as_given
    def total(self, values: Tensor) -> Tensor:
        return values.new_zeros(self.targets, values.shape[1]).index_add(0, self.dst, values)

    @_as_given
    def softmax(self, values: Tensor) -> Tensor:
        with torch.no_grad():
            index = self.dst[:, None].expand_as(values)
            top = values.new_full((self.targets, values.shape[1]), -torch.inf).scatter_reduce(0, index, values, "amax")
        grown = torch.exp(values - top.index_select(0, self.dst))
        return grown / self.total(grown).index_select(0, self.dst)


def _dot(a: Tensor, b: Tensor, src: Tensor, dst: Tensor) -> Tensor:
    step = max(1, _CHUNK // max(1, a.shape[1]))
    out = a.new_empty(len(src))
    for lo in range(0, len(src), step):
        part = slice(lo, lo + step)
        out[part] = torch.linalg.vecdot(a.index_select(0, src[part]), b.index_select(0, dst[part]))
    return out


def _weigh(h: Tensor, w: Tensor, src: Tensor, dst: Tensor, targets: int) -> Tensor:
    step = max(1, _CHUNK // max(1, h.shape[1]))
    out = h.new_zeros(targets, h.shape[1])
    for lo in range(0, len(src), step):
        part = slice(lo, lo + step)
        out.index_add_(0, dst[part], h.index_select(0, src[part]).mul_(w[part, None]))
    return out


class _Dot(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, a: Tensor, b: Tensor, src: Tensor, dst: Tensor) -> Tensor:
        ctx.save_for_backward(a, b, src, dst)
        return _dot(a, b, src, dst)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *grads: Tensor) -> Any:
        a, b, src, dst = ctx.saved_tensors
        left = _weigh(b, grads[0], dst, src, len(a)) if ctx.needs_input_grad[0] else None
        right = _weigh(a, grads[0], src, dst, len(b)) if ctx.needs_input_grad[1] else None
        return left, right, None, None


class _Weigh(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, h: Tensor, w: Tensor, src: Tensor, dst: Tensor, targets: int) -> Tensor:
        ctx.save_for_backward(h, w, src, dst)
        return _weigh(h, w, src, dst, targets)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *grads: Tensor) -> Any:
        h, w, src, dst = ctx.saved_tensors
        left = _weigh(grads[0], w, dst, src, len(h)) if ctx.needs_input_grad[0] else None
        right = _dot(h, grads[0], src, dst) if ctx.needs_input_grad[1] else None
        return left, right, None, None, None
