"""Two modalities of an utterance side by side: what losses that compare modalities share."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import torch
from torch import Tensor

from dgl_merc.graphs import Structure

__all__ = ["at", "check_nodes", "mean_over_pairs"]


def at(x: Tensor, rows: Tensor) -> Tensor:
    """Some rows of [N, ...], ascending and each at most once; as they are where that is all of them."""
    return x if len(rows) == len(x) else x.index_select(0, rows)


def mean_over_pairs(structure: Structure, inputs: Mapping[str, Tensor], term: Callable[[str, Tensor, str, Tensor], Tensor]) -> Tensor:
    """The mean, over the unordered pairs of modalities that some utterance has both of, of the mean of a term over those utterances.

    Args:
        structure: who has what.
        inputs: of which the loss is to be a function whatever pairs there are: where there is none, it is 0 with a gradient of 0.
        term: of ``m, rows of m, n, rows of n``, the nodes of the utterances that have both, in their order: [rows].

    Returns:
        [].
    """
    names = structure.spec.modalities
    nothing = torch.stack([x[:0].sum() for x in inputs.values()]).sum()
    means = []
    for k, m in enumerate(names):
        for n in names[k + 1 :]:
            both = (structure.has(m) & structure.has(n)).nonzero()[:, 0]
            if len(both):
                means.append(term(m, structure.counts[m][both], n, structure.counts[n][both]).mean())
    return nothing + torch.stack(means).mean() if means else nothing


def check_nodes(structure: Structure, name: str, x: Mapping[str, Tensor], width: int | None = None) -> None:
    """That x has [N_m, D] of every modality, the same D, which is ``width`` where that is given.

    Raises:
        ValueError: it has not.
    """
    if missing := [m for m in structure.spec.modalities if m not in x]:
        raise ValueError(f"{name} must have every modality of the structure, found none of {missing}")
    for m, size in structure.sizes.items():
        width = x[m].shape[1] if width is None and x[m].ndim == 2 else width
        if tuple(x[m].shape) != (size, width):
            raise ValueError(f"{name} of {m} must be [{size}, {'D' if width is None else width}], found {list(x[m].shape)}")
