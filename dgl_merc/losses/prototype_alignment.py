"""Prototype-level alignment: each modality of an utterance foretells the prototypes that the other is assigned to (SGRNet eq. 7-11).

    p_m = softmax(z_m c^T / temperature)                                                         [N_m, K]
    q_m = Q of z_m c^T: exp(z_m c^T / epsilon), scaled so that rows sum to 1 and columns to N_m / K
    L   = mean over pairs {m, n}, of the mean over utterances with both, of 1/2 (CE(q_n, p_m) + CE(q_m, p_n))
    CE(q, p) = -sum_k q_k log p_k

N_m nodes of modality m in the batch, D features, K prototypes c.

Source: eq. 7, 8 for p, the text above them for q, 9-11 for the loss. Our reading:

- Eq. 9 and 10 lack the minus sign of a cross-entropy; as printed, minimising would drive the predictions away from the codes.
- Nothing is said of the Sinkhorn-Knopp iteration: SwAV's (Caron et al. 2020, section 3.1, appendix A), 3 iterations with epsilon .05, in
  the log domain, codes without gradient, each modality's from all of its nodes in the batch.
- More than two modalities: the mean over unordered pairs of those that occur together.
- There are no labels in it: unlabelled utterances take part.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from dgl_merc.graphs import Structure
from dgl_merc.graphs.similarity import unit_rows
from dgl_merc.losses.modality_pairs import at, check_nodes, mean_over_pairs

__all__ = ["prototype_alignment", "sinkhorn_codes"]

_SUMMED = 512  # rows by one product, in the backward pass too: of more, MKL gives some to each thread, and their number would show


def prototype_alignment(
    structure: Structure,
    z: Mapping[str, Tensor],
    prototypes: Tensor,
    *,
    temperature: float = 0.07,
    epsilon: float = 0.05,
    iterations: int = 3,
) -> Tensor:
    """The mean cross-entropy between modalities.

    Args:
        structure: U utterances and who has what.
        z: modality -> [N_m, D], rows of length 1; they are taken as they are.
        prototypes: [K, D]; brought to length 1 here, with gradient. A zero row has cosine 0 with everything.
        temperature: above 0.
        epsilon: above 0; see :func:`sinkhorn_codes`.
        iterations: at least 1.

    Returns:
        [] in float32 at least; 0, with a gradient of 0, where no utterance has two modalities.

    Raises:
        ValueError: other shapes or values, or a modality missing.

    >>> from dgl_merc.graphs import GraphSpec
    >>> two = Structure.of([2], GraphSpec(("text", "audio")))
    >>> prototype_alignment(two, {"text": torch.eye(2), "audio": torch.eye(2)}, torch.eye(2), temperature=1.0)
    tensor(0.3133)
    """
    if prototypes.ndim != 2 or not len(prototypes):
        raise ValueError(f"prototypes must be [K, D], K at least 1, found {list(prototypes.shape)}")
    check_nodes(structure, "z", z, prototypes.shape[1])
    if not temperature > 0:
        raise ValueError(f"temperature must be above 0, found {temperature}")
    with torch.autocast(prototypes.device.type, enabled=False):
        centres = unit_rows(prototypes)
        dtypes = {m: torch.promote_types(z[m].dtype, centres.dtype) for m in structure.spec.modalities}
        scores = {m: _cosines(z[m].to(dtype), centres.to(dtype)) for m, dtype in dtypes.items()}
        codes = {m: sinkhorn_codes(s, epsilon=epsilon, iterations=iterations) for m, s in scores.items()}
        norms = {m: (s / temperature).logsumexp(1) for m, s in scores.items()}

        def cross_entropy(m: str, rows_m: Tensor, n: str, rows_n: Tensor) -> Tensor:
            """Of n's codes, which sum to 1, and m's predictions."""
            product: Tensor = torch.linalg.vecdot(at(codes[n], rows_n), at(scores[m], rows_m))
            return at(norms[m], rows_m) - product / temperature

        return mean_over_pairs(
            structure,
            scores,
            lambda m, rows_m, n, rows_n: 0.5 * (cross_entropy(m, rows_m, n, rows_n) + cross_entropy(n, rows_n, m, rows_m)),
        )


def _cosines(rows: Tensor, centres: Tensor) -> Tensor:
    return torch.cat([part @ centres.T for part in torch.split(rows, _SUMMED)])


@torch.no_grad()  # type: ignore[untyped-decorator,unused-ignore]
def sinkhorn_codes(scores: Tensor, *, epsilon: float = 0.05, iterations: int = 3) -> Tensor:
    """How much of each item goes to each prototype, all prototypes getting alike: exp(scores / epsilon), columns and rows scaled in turn.

    A column is scaled to N / K, then a row to 1, so that rows sum to 1 whatever the iterations; columns only get closer to N / K. In the
    code a column is scaled to 1: the next step, that of rows, undoes whatever all columns have in common.

    Args:
        scores: [N, K] cosines; K at least 1. N may be less than K, or 0.
        epsilon: above 0; the less, the nearer to one prototype an item.
        iterations: at least 1.

    Returns:
        [N, K] in float32 at least, without gradient.

    Raises:
        ValueError: another shape or value.

    >>> sinkhorn_codes(torch.tensor([[1.0, 0.9], [1.0, 0.0]]), epsilon=0.2)
    tensor([[0.1581, 0.8419],
            [0.9441, 0.0559]])
    """
    if scores.ndim != 2 or not scores.shape[1]:
        raise ValueError(f"scores must be [N, K], K at least 1, found {list(scores.shape)}")
    if not epsilon > 0 or iterations < 1:
        raise ValueError(f"epsilon must be above 0 and iterations at least 1, found {epsilon} and {iterations}")
    logs = scores.to(torch.promote_types(scores.dtype, torch.float32)) / epsilon
    if not len(logs):
        return logs
    for _ in range(iterations):
        logs -= logs.logsumexp(0)
        logs -= logs.logsumexp(1, keepdim=True)
    return logs.exp_()


def sinkhorn_codes_loop(scores: Tensor, *, epsilon: float = 0.05, iterations: int = 3) -> Tensor:
    """The definition, number by number. Slow on purpose; shares no line with the above."""
    rows, columns = range(scores.shape[0]), range(scores.shape[1])
    q = [[float(torch.exp(scores[i, k].detach() / epsilon)) for k in columns] for i in rows]
    for _ in range(iterations):
        for k in columns:
            mass = sum(q[i][k] for i in rows)
            for i in rows:
                q[i][k] *= len(rows) / len(columns) / mass
        for i in rows:
            mass = sum(q[i])
            q[i] = [x / mass for x in q[i]]
    return torch.tensor(q, dtype=scores.dtype).reshape(scores.shape)


def prototype_alignment_loop(
    structure: Structure,
    z: Mapping[str, Tensor],
    prototypes: Tensor,
    *,
    temperature: float = 0.07,
    epsilon: float = 0.05,
    iterations: int = 3,
) -> Tensor:
    """The definition, utterance by utterance. Slow on purpose; shares no line with the above."""
    names, has = structure.spec.modalities, structure.presence.tolist()
    cosine = {m: torch.stack([torch.stack([x @ c / c.norm() for c in prototypes]) for x in z[m]]) for m in names if len(z[m])}
    q = {m: sinkhorn_codes_loop(cosine[m], epsilon=epsilon, iterations=iterations) for m in cosine}
    means = []
    for a in range(len(names)):
        for b in range(a):
            terms, i, j = [], 0, 0
            for there in has:
                if there[a] and there[b]:
                    p_a, p_b = (torch.softmax(cosine[m][r] / temperature, 0) for m, r in ((names[a], i), (names[b], j)))
                    terms.append(-(q[names[b]][j] * p_a.log()).sum() / 2 - (q[names[a]][i] * p_b.log()).sum() / 2)
                i, j = i + there[a], j + there[b]
            if terms:
                means.append(sum(terms, prototypes.new_zeros(())) / len(terms))
    return sum(means, prototypes.new_zeros(())) / max(len(means), 1)
