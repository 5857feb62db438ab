"""How labels lie in a space of many dimensions: a number of the space itself, and a plane to look at.

    neighbours   of utterance u: the k nearest by Euclidean distance among the utterances of other dialogues (all of them, if fewer)
    vote         the label that most of them have; of those tied, that of the nearest
    accuracy     share of utterances whose label is their neighbours' vote
    plane        t-SNE (van der Maaten and Hinton 2008) by scikit-learn, begun at the first two principal components

Utterances of u's own dialogue have no vote: a model that hears the context puts them beside each other whatever they feel, and emotions
come in runs. The number is of the space and not of the plane: t-SNE keeps who is near whom, and distances between clusters, their sizes and
their density mean little.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

__all__ = ["neighbour_accuracy", "perplexity_of", "plane"]

Array = npt.NDArray[Any]
Floats = npt.NDArray[np.float64]

_PERPLEXITY = 30.0  # scikit-learn's, and the middle of what the authors of t-SNE name


def neighbour_accuracy(x: Array, labels: Array, dialogues: Array, k: int = 10) -> float | None:
    """In how far the nearest utterances of other dialogues have the same label.

    Args:
        x: [N, D] finite.
        labels: [N] class indices, none missing.
        dialogues: [N] whole numbers that tell dialogues apart.
        k: neighbours, at least 1.

    Returns:
        Percent; None where there is no other dialogue.

    Raises:
        ValueError: other shapes, or k below 1.

    >>> neighbour_accuracy(np.array([[0.0], [1.0], [0.2], [0.9]]), np.array([0, 1, 0, 1]), np.array([0, 0, 1, 1]), k=1)
    100.0
    """
    if x.ndim != 2 or labels.shape != (len(x),) or dialogues.shape != (len(x),) or not len(x) or k < 1:
        shapes = f"{list(x.shape)}, {list(labels.shape)}, {list(dialogues.shape)}"
        raise ValueError(f"x must be [N, D], labels and dialogues [N], N and k at least 1, got {shapes} and {k}")
    if (dialogues == dialogues[0]).all():
        return None
    from sklearn.metrics import pairwise_distances  # a second that the many runs without a picture do not need

    distances = pairwise_distances(_centred(x))
    distances[dialogues[:, None] == dialogues] = np.inf
    nearest = np.argsort(distances, axis=1, kind="stable")[:, :k]  # [N, k]
    theirs = labels[nearest]
    counted = np.isfinite(np.take_along_axis(distances, nearest, axis=1))
    votes = ((theirs[:, :, None] == theirs[:, None, :]) & counted[:, None, :]).sum(axis=2) * counted  # [N, k] of each neighbour's label
    said = theirs[np.arange(len(x)), votes.argmax(axis=1)]  # the first of the greatest: the nearest
    return 100.0 * float((said == labels).mean())


def perplexity_of(count: int) -> float:
    """As usual, or less where there are few utterances: a third of the others, since t-SNE looks at three times as many neighbours."""
    return min(_PERPLEXITY, (count - 1) / 3)


def plane(x: Array, seed: int = 0) -> Floats:
    """t-SNE of a space.

    Args:
        x: [N, D] finite, N at least 4.
        seed: of scikit-learn's random numbers.

    Returns:
        [N, 2] without a unit; all zero where all of ``x`` is one point.

    Raises:
        ValueError: another shape.
    """
    if x.ndim != 2 or len(x) < 4:
        raise ValueError(f"x must be [N, D], N at least 4, got {list(x.shape)}")
    from sklearn.manifold import TSNE

    if (x == x[0]).all():
        return np.zeros((len(x), 2))
    centred = _centred(x)
    if centred.shape[1] == 1:  # a plane needs two principal components
        centred = np.concatenate([centred, np.zeros_like(centred)], axis=1)
    embed = TSNE(perplexity=perplexity_of(len(x)), init="pca", random_state=seed)
    return np.asarray(embed.fit_transform(centred), dtype=np.float64)


def _centred(x: Array) -> Floats:
    """[N, D] about its mean, the greatest number 1: neither neighbours nor t-SNE know a unit, and float32 knows no square of 1e20."""
    wide = x.astype(np.float64)
    wide = wide - wide.mean(axis=0)
    return np.asarray(wide / (np.abs(wide).max() or 1.0))
