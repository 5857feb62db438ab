"""The GRU that carries features from one round of alignment to the next (MGLRA eq. 15).

    X_m = GRU_m(input X^head_m, state X_m)          in the first round the state is X^R_m

One cell per modality, the same in all rounds. For an input x and a state h of width D:

    r = sigmoid(W_r x + U_r h + b_r)
    z = sigmoid(W_z x + U_z h + b_z)
    a = U_n h + c_n
    n = tanh(W_n x + b_n + r a)
    y = (1 - z) n + z h
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

aten = torch.ops.aten

__all__ = ["GatedUpdate"]


class GatedUpdate(nn.Module):
    """One step of a GRU cell per modality.

    Args:
        modalities: names.
        dim: D of input and state.
    """

    def __init__(self, modalities: Sequence[str], dim: int) -> None:
        super().__init__()
        self.cells = nn.ModuleDict({m: nn.GRUCell(dim, dim) for m in modalities})

    def forward(self, head: Mapping[str, Tensor], state: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Modality -> [N_m, D] each, to modality -> [N_m, D]."""
        updated = {}
        for m, x in head.items():
            weights: list[Tensor] = [getattr(self.cells[m], name) for name in ("weight_ih", "weight_hh", "bias_ih", "bias_hh")]
            given = [v.to(weights[0].dtype) for v in (x, state[m])]
            with torch.autocast(x.device.type, enabled=False):
                updated[m] = _Cell.apply(*given, *weights)  # type: ignore[no-untyped-call]
        return updated


class _Cell(torch.autograd.Function):
    """x, h [N, D], W and U [3 D, D] and their biases [3 D], gates in the order r, z, n, to y [N, D].

    Beside torch's own cell: the products add up what x and h say of r and z, and the slopes of a node stand in one row, n | r | z | a: its
    first three parts go back to x, its last three to h.
    """

    @staticmethod
    def forward(ctx: Any, x: Tensor, h: Tensor, w: Tensor, u: Tensor, b: Tensor, c: Tensor) -> Tensor:
        d = x.shape[1]
        gates = torch.addmm(b[: 2 * d] + c[: 2 * d], x, w[: 2 * d].T).addmm_(h, u[: 2 * d].T).sigmoid_()  # r | z
        a = torch.addmm(c[2 * d :], h, u[2 * d :].T)
        n = torch.addmm(b[2 * d :], x, w[2 * d :].T).addcmul_(gates[:, :d], a).tanh_()
        ctx.save_for_backward(x, h, w, u, gates, a, n)
        return torch.lerp(n, h, gates[:, d:])

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *grads: Tensor) -> Any:
        with torch.autocast(grads[0].device.type, enabled=False):
            return _Cell._slopes(ctx, grads[0])

    @staticmethod
    def _slopes(ctx: Any, g: Tensor) -> Any:
        x, h, w, u, gates, a, n = ctx.saved_tensors
        d = x.shape[1]
        r, z = gates[:, :d], gates[:, d:]
        slopes = g.new_empty(len(g), 4 * d)
        of_n, of_r, of_z, of_a = (slopes[:, k * d : (k + 1) * d] for k in range(4))
        to_h = g * z
        aten.tanh_backward.grad_input(g - to_h, n, grad_input=of_n)
        torch.mul(of_n, a, out=of_r)
        torch.mul(of_n, r, out=of_a)
        torch.mul(g, h - n, out=of_z)
        aten.sigmoid_backward.grad_input(slopes[:, d : 3 * d], gates, grad_input=slopes[:, d : 3 * d])
        from_x, from_h, sums = slopes[:, : 3 * d], slopes[:, d:], slopes.sum(0)
        return (
            from_x @ w.roll(d, 0),
            to_h.addmm_(from_h, u),
            (from_x.T @ x).roll(-d, 0),
            from_h.T @ h,
            sums[: 3 * d].roll(-d),
            sums[d:],
        )
