"""What needs no context, and is solved instead of trained: the most frequent class, and logistic regression. The floor of every table.

    majority    l_c = log(sum of w_y over utterances of class c / sum of w_y over all)        w_y: what class y weighs, 1 as a rule
                z   = median of the training utterances' scores, the number of least mean absolute error
    logistic    l = W x + b        x = [x_text, x_audio, ...], modalities side by side, zeros where one is absent
                W, b = argmin sum_u w_y -log softmax(l_u)_y + |W|^2 / (2 C)        over the U labelled training utterances
                z = w . x + b,  w, b = argmin sum_u (z_u - y_u)^2 + |w|^2 / C      ridge regression, where a score is learnt

A model that hears a dialogue and does not beat logistic regression has not shown that context helps it; a corpus on which logistic
regression does not beat the majority has features that say little.

A class that no training utterance has is given the logit -30: finite, and next to no probability.
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from dgl_merc.errors import DivergedError, InputError
from dgl_merc.graphs import Structure
from dgl_merc.heads.regression import ABSENT, logistic_regression
from dgl_merc.layers import Probe, beside
from dgl_merc.models.base import Model, ModelInput, Output
from dgl_merc.settings import check_range

__all__ = ["Logistic", "LogisticOptions", "Majority", "MajorityOptions"]

Array = npt.NDArray[Any]


@dataclass(frozen=True)
class LogisticOptions:
    """Settings of the regression, as scikit-learn has them.

    Attributes:
        C: the inverse of how much large weights cost: the smaller, the nearer they are to 0.
        max_iter: steps of L-BFGS; a run that would need more is refused.
    """

    C: float = 0.1
    max_iter: int = 1000

    def __post_init__(self) -> None:
        if not 0.0 < self.C < float("inf"):
            raise ValueError(f"C must be greater than 0 and finite, found {self.C}")
        check_range(self, 1, "max_iter")


@dataclass(frozen=True)
class MajorityOptions:
    """There is nothing to set."""


class _Linear(Model):
    """Utterances to logits through ``head``, which is given the modalities side by side [U, sum of widths]."""

    solved = True
    head: nn.Module

    def forward(
        self,
        structure: Structure,
        features: Mapping[str, Tensor],
        *,
        step: int = 0,  # noqa: ARG002  (no mask)
        labels: Tensor | None = None,  # noqa: ARG002  (no loss of its own)
        probe: Probe | None = None,  # noqa: ARG002  (no edges)
    ) -> Output:
        """See :class:`dgl_merc.models.base.Model`."""
        return Output(self.head(beside(structure, features)))


class Logistic(_Linear):
    """Utterances to logits, or a score, through one linear map."""

    def __init__(self, given: ModelInput, options: LogisticOptions) -> None:
        super().__init__()
        self.options = options
        self.head: nn.Linear = nn.Linear(sum(given.widths.values()), given.outputs)

    @torch.no_grad()
    def solve(self, structure: Structure, features: Mapping[str, Tensor], truth: Tensor, weights: Tensor | None = None) -> None:
        """See :class:`dgl_merc.models.base.Model`.

        Raises:
            DivergedError: features that are not finite.
            InputError: ``max_iter`` steps do not suffice.
        """
        known = _known(truth)
        x, y = beside(structure, features)[known].double().numpy(), truth[known].numpy()
        if not np.isfinite(x).all():
            raise DivergedError("a training utterance has features beyond what float32 can hold: no regression can be made of them")
        if truth.is_floating_point():
            weight, bias = _ridge(x, y, self.options)
        else:
            weight, bias = self._logistic(x, y, None if weights is None else weights.numpy())
        self.head.weight.copy_(torch.from_numpy(weight))
        self.head.bias.copy_(torch.from_numpy(bias))

    def _logistic(self, x: Array, y: Array, weights: Array | None) -> tuple[Array, Array]:
        """[C, F] and [C]; ``weights`` [C]."""
        from sklearn.exceptions import ConvergenceWarning

        o = self.options
        with warnings.catch_warnings():
            warnings.simplefilter("error", ConvergenceWarning)
            try:
                return logistic_regression(x, y, self.head.out_features, C=o.C, max_iter=o.max_iter, weights=weights)
            except ConvergenceWarning:
                raise InputError(
                    f"logistic regression needs more than {o.max_iter} steps: expected a greater model.max_iter, or a smaller model.C "
                    f"(now {o.C})"
                ) from None


class Majority(_Linear):
    """The same to every utterance: how frequent the classes are, or the median score."""

    def __init__(self, given: ModelInput, options: MajorityOptions) -> None:  # noqa: ARG002  (nothing to set)
        super().__init__()
        self.head: _Same = _Same(given.outputs)

    @torch.no_grad()
    def solve(self, structure: Structure, features: Mapping[str, Tensor], truth: Tensor, weights: Tensor | None = None) -> None:  # noqa: ARG002
        """See :class:`dgl_merc.models.base.Model`."""
        y = truth[_known(truth)].numpy()
        if truth.is_floating_point():
            self.head.said.fill_(float(np.median(y)))
            return
        count = np.bincount(y, None if weights is None else weights.numpy()[y], len(self.head.said)).astype(np.float64)
        share = count / count.sum()
        self.head.said.copy_(torch.from_numpy(np.log(share, out=np.full_like(share, ABSENT), where=share > 0)))


class _Same(nn.Module):
    """[U, ...] -> [U, outputs], the same row for all."""

    def __init__(self, outputs: int) -> None:
        super().__init__()
        self.said = nn.Parameter(torch.zeros(outputs))

    def forward(self, x: Tensor) -> Tensor:
        return self.said.expand(len(x), -1).clone()  # in inference mode a view of the parameter would still ask for gradients


def _known(truth: Tensor) -> Tensor:
    """[U] bool: which utterances have a class, or a score."""
    return ~truth.isnan() if truth.is_floating_point() else truth >= 0


def _ridge(x: Array, y: Array, options: LogisticOptions) -> tuple[Array, Array]:
    """[1, F] and [1]."""
    from sklearn.linear_model import Ridge

    fitted = Ridge(alpha=1.0 / options.C).fit(x, y.astype(np.float64))
    return fitted.coef_[None], np.array([fitted.intercept_])
