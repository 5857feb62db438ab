"""Latent-space alignment: the distance between the distributions that modalities give of an utterance (SGRNet eq. 12).

    L = mean over pairs {m, n}, of the mean over utterances with both, of 1/2 sqrt(|mu_m - mu_n|^2 + |sigma_m - sigma_n|^2)

N_m nodes of modality m, D features, mu and sigma [N_m, D]. For Gaussians with diagonal covariance, sigma being standard deviations, the
root is the 2-Wasserstein distance.

Source: eq. 12, whose 1 / (2 N_p) is the half. More than two modalities: the mean over unordered pairs of those that occur together.
There are no labels in it: unlabelled utterances take part.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from dgl_merc.graphs import Structure
from dgl_merc.losses.modality_pairs import at, check_nodes, mean_over_pairs

__all__ = ["latent_alignment"]


def latent_alignment(structure: Structure, mean: Mapping[str, Tensor], sigma: Mapping[str, Tensor]) -> Tensor:
    """Half the mean distance.

    Args:
        structure: U utterances and who has what.
        mean: modality -> [N_m, D].
        sigma: modality -> [N_m, D].

    Returns:
        [] in float32 at least; 0, with a gradient of 0, where no utterance has two modalities. The gradient of a distance of 0 is 0.

    Raises:
        ValueError: other shapes, or a modality missing.

    >>> from dgl_merc.graphs import GraphSpec
    >>> one = Structure.of([1], GraphSpec(("text", "audio")))
    >>> mean = {"text": torch.tensor([[3.0, 0.0]]), "audio": torch.tensor([[0.0, 0.0]])}
    >>> latent_alignment(one, mean, {"text": torch.tensor([[1.0, 1.0]]), "audio": torch.tensor([[1.0, 5.0]])})
    tensor(2.5000)
    """
    check_nodes(structure, "mean", mean)
    check_nodes(structure, "sigma", sigma, mean[structure.spec.modalities[0]].shape[1])
    both = {}
    for m in structure.spec.modalities:
        dtype = torch.promote_types(torch.promote_types(mean[m].dtype, sigma[m].dtype), torch.float32)
        both[m] = torch.cat([mean[m].to(dtype), sigma[m].to(dtype)], 1)
    # The norm's own gradient at 0 is 0.
    return mean_over_pairs(
        structure,
        both,
        lambda m, rows_m, n, rows_n: 0.5 * torch.linalg.vector_norm(at(both[m], rows_m) - at(both[n], rows_n), dim=1),
    )


def latent_alignment_loop(structure: Structure, mean: Mapping[str, Tensor], sigma: Mapping[str, Tensor]) -> Tensor:
    """The definition, utterance by utterance. Slow on purpose; shares no line with the above."""
    names, has = structure.spec.modalities, structure.presence.tolist()
    zero = mean[names[0]].new_zeros(())
    means = []
    for a in range(len(names)):
        for b in range(a):
            terms, i, j = [], 0, 0
            for there in has:
                if there[a] and there[b]:
                    pairs = [(x[names[a]][i], x[names[b]][j]) for x in (mean, sigma)]
                    square = sum(((u - v) ** 2 for us, vs in pairs for u, v in zip(us, vs, strict=True)), zero)
                    terms.append(square.sqrt() / 2 if square > 0 else square * 0)
                i, j = i + there[a], j + there[b]
            if terms:
                means.append(sum(terms, zero) / len(terms))
    return sum(means, zero) / max(len(means), 1)
