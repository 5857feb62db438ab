"""Logistic regression by scikit-learn's solver, for whatever is solved instead of trained.

    l_c  = W_c x + b_c
    W, b = argmin sum_u w_y -log softmax(l_u)_y + |W|^2 / (2 C)

A class that nothing was seen of is given the logit -30: finite, and next to no probability.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

__all__ = ["ABSENT", "logistic_regression"]

ABSENT = -30.0
"""The logit of a class without an example. The greatest of the others is never below log(1 / C), and 0 in logistic regression: the penalty
keeps their sum at 0."""

Array = npt.NDArray[Any]


def logistic_regression(
    x: Array,
    y: Array,
    classes: int,
    *,
    C: float,
    max_iter: int = 1000,
    weights: Array | None = None,
) -> tuple[Array, Array]:
    """Solve it. Nothing is drawn.

    Args:
        x: [U, F] features, finite.
        y: [U] classes, of at least one utterance.
        classes: how many there are, found in y or not.
        C: the inverse of how much large weights cost.
        max_iter: steps of L-BFGS.
        weights: [classes] what a class weighs; None: all alike.

    Returns:
        W [classes, F] and b [classes].

    Warns:
        sklearn.exceptions.ConvergenceWarning: ``max_iter`` steps do not suffice.

    >>> w, b = logistic_regression(np.array([[-1.0], [1.0], [1.0]]), np.array([0, 2, 2]), 3, C=1.0)
    >>> (w @ [-1.0] + b).argmax(), (w @ [1.0] + b).argmax(), b[1]
    (np.int64(0), np.int64(2), np.float64(-30.0))
    """
    from sklearn.linear_model import LogisticRegression
    from threadpoolctl import threadpool_limits

    weight, bias = np.zeros((classes, x.shape[1])), np.full(classes, ABSENT)
    found = np.unique(y)
    bias[found] = 0.0
    if len(found) == 1:
        return weight, bias
    model = LogisticRegression(C=C, max_iter=max_iter)
    with threadpool_limits(1, user_api="blas"):  # the solver's own steps are a few numbers each: threads only wait for each other
        model.fit(x, y, None if weights is None else weights[y])
    of = found if len(found) > 2 else found[1:]  # of two classes there is the second's logit, the first's is 0
    weight[of], bias[of] = model.coef_, model.intercept_
    return weight, bias
