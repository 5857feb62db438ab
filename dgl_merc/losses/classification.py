"""Classification loss: cross-entropy over the labelled utterances (MGLRA eq. 1; SGRNet eq. 30), weighted, focal or smoothed at will.

    L = sum_u (1 - q_uy)^focal [(1 - s) w_y (-log q_uy) + s / C sum_c w_c (-log q_uc)] / sum_u w_y        over labelled u, y = y(u)

U utterances, C classes, q = softmax of the logits, w the classes' weights, s the smoothing. Focal loss: Lin et al. 2017, eq. 4 and 5;
smoothing: Szegedy et al. 2016, section 7. With weights and smoothing this is torch's mean; the focal factor leaves the divisor as it is.
"""

from __future__ import annotations

from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from dgl_merc.losses.processes import mean

__all__ = ["class_weights", "cross_entropy"]

_POWERS = {"balanced": 1.0, "sqrt": 0.5}


def cross_entropy(logits: Tensor, labels: Tensor, *, weights: Tensor | None = None, focal: float = 0.0, smoothing: float = 0.0) -> Tensor:
    """The weighted mean over labelled utterances of -log softmax(logits)[label], or of what is said above.

    The gradient goes through the focal factor too. The factor is exp(focal log(1 - q)), and log(1 - q) a logsumexp over the other
    classes, whose derivative by the logits is bounded: at q = 1, where that of (1 - q)^focal by q is infinite for focal < 1, the
    gradient is the limit, 0.

    Args:
        logits: [U, C]; finite.
        labels: [U] int64 from 0 to C - 1; -1 = unlabelled: context only, no part in the loss.
        weights: [C], at least 0; None: all 1.
        focal: at least 0; 0: no factor.
        smoothing: from 0 to less than 1: this share of the target is spread evenly over the classes, the label's included.

    Returns:
        [] in float32 at least; 0, with a gradient of 0, where nothing is labelled, or nothing whose weight is not 0. With several
        processes, see :mod:`dgl_merc.losses.processes`.

    Raises:
        ValueError: other shapes, or a focal or smoothing outside its range.

    >>> cross_entropy(torch.zeros(3, 2), torch.tensor([0, -1, 1]))
    tensor(0.6931)
    >>> cross_entropy(torch.zeros(3, 2), torch.tensor([0, -1, 1]), focal=1)
    tensor(0.3466)
    """
    _check(logits, labels, weights, focal, smoothing)
    if logits.dtype in (torch.float16, torch.bfloat16):
        logits = logits.float()
    if weights is not None:
        weights = weights.to(logits)
    reduction = "none" if focal else "sum"
    total = torch.nn.functional.cross_entropy(
        logits, labels, weight=weights, ignore_index=-1, reduction=reduction, label_smoothing=smoothing
    )
    if focal:
        total = (total * (focal * _log_of_the_rest(logits, labels)).exp()).sum()
    known = labels >= 0
    # Smoothed, the total need not be 0 where the mass is.
    return mean(total, known.sum() if weights is None else (weights[labels.clamp_min(0)] * known).sum())


def _log_of_the_rest(logits: Tensor, labels: Tensor) -> Tensor:
    """log(1 - softmax(logits)[label]) [U]; of an unlabelled utterance, as if its label were 0."""
    logs = torch.log_softmax(logits, dim=1)
    # Not -inf: where the others' overflow to that, nothing would be left, and the gradient of logsumexp NaN.
    return logs.scatter(1, labels.clamp_min(0)[:, None], torch.finfo(logs.dtype).min).logsumexp(dim=1)


def _check(logits: Tensor, labels: Tensor, weights: Tensor | None, focal: float, smoothing: float) -> None:
    if logits.dim() != 2 or labels.shape != logits.shape[:1]:
        raise ValueError(f"logits must be [U, C] and labels [U], found {list(logits.shape)} and {list(labels.shape)}")
    if weights is not None and weights.shape != logits.shape[1:]:
        raise ValueError(f"weights must be [C={logits.shape[1]}], found {list(weights.shape)}")
    if not 0.0 <= focal < float("inf"):
        raise ValueError(f"focal must be at least 0, found {focal}")
    if not 0.0 <= smoothing < 1.0:
        raise ValueError(f"smoothing must be from 0 to less than 1, found {smoothing}")


def class_weights(labels: npt.NDArray[Any], classes: int, kind: Literal["none", "balanced", "sqrt"]) -> Tensor | None:
    """What each class weighs in the loss, the rarer the more.

    ``balanced``: w_c = U / (K U_c), as scikit-learn has it: U labelled utterances, U_c of them of class c, K the number of classes that
    occur (not C: with an absent class, C would only make every weight smaller). ``sqrt``: the root of that. A class that does not occur
    weighs 0: it is no label, and smoothing gives it no share either.

    Args:
        labels: [U] int64 from 0 to C - 1, of the training utterances; -1 = unlabelled (left out).
        classes: C.
        kind: which; ``none``: no weights.

    Returns:
        [C] float32, or None.

    Raises:
        ValueError: a label that is no class.

    >>> class_weights(np.array([0, 0, 0, 2, -1]), 3, "balanced")
    tensor([0.6667, 0.0000, 2.0000])
    """
    if kind == "none":
        return None
    known = labels[labels != -1]
    if len(known) and not 0 <= known.min() <= known.max() < classes:
        raise ValueError(f"labels must be from -1 to {classes - 1}, found {known.min()} to {known.max()}")
    counts = np.bincount(known, minlength=classes)
    balanced = len(known) / (max(np.count_nonzero(counts), 1) * np.maximum(counts, 1))
    return torch.from_numpy(np.where(counts > 0, balanced ** _POWERS[kind], 0.0).astype(np.float32))
