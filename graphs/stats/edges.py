"""Tables of edges: how many, how heavy, and whether they join what is alike.

    h = share of edges that join equal labels        of the edges between two different, labelled utterances: the edge homophily
    chance = sum_k p_k^2                             p_k: share of the edges' ends at utterances of label k
    adjusted = (h - chance) / (1 - chance)           Platonov et al. 2023 (arXiv:2209.06177), eq. 2: 0 = no better than chance whatever the
                                                     balance of the classes, 1 = all edges join equal labels
    within = sum_d E_d c_d / sum_d E_d               c_d = sum_k n_k (n_k - 1) / (n (n - 1)) of the n labelled utterances of dialogue d that
                                                     have a node of the type, n_k of label k: the labels of each dialogue dealt out anew

The labels of a dialogue are alike, so that any edges within dialogues are above ``chance``; only what is above ``within`` comes from who in
the dialogue is joined to whom. In a complete graph in which every node is labelled, nothing is: there h = within by construction.

    AUROC = P(w of an equal edge > w of a different edge) + P(they are equal) / 2,  weights rounded to 1 / 4096
    within dialogues: the same of pairs of edges of one dialogue, summed over dialogues, weights rounded to 1 / 128
    variance of the first = D / (D - 1) sum_d phi_d^2,  phi_d = sum_e (F(w_e) - AUROC) / count  over dialogue d's equal and different edges,
                            F(w_e) the share of edges of the other kind that e is on the right side of, count those of its own kind

Its interval is AUROC +- 1.96 standard errors, whose unit is the dialogue (Obuchowski 1997, clustered ROC data), weights rounded to 1 / 128:
edges share utterances, utterances share a dialogue, and an interval over edges would be far too narrow.

Edges of an utterance to itself (``part_of``, and ``cross`` where modalities meet in their own utterance only) join equal labels always and
are left out; how many shows in the difference of ``edges`` from those of :func:`edge_statistics`. Every direction is an edge.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from dgl_merc.graphs.schema import EdgeType
from dgl_merc.graphs.stats.counts import COARSE, LEVELS, Joined, Shape, Weights, coarse
from dgl_merc.graphs.stats.survey import Survey, surveyed
from dgl_merc.graphs.store import Store

__all__ = ["TOGETHER", "agreement_by_weight", "edge_statistics", "homophily", "weight_agreement", "weight_histogram"]

Array = npt.NDArray[Any]

TOGETHER: EdgeType = ("modalities", "all", "modalities")
"""What tables call the graph of all modality nodes and the edges among them."""


def edge_statistics(graphs: Store | Survey) -> pd.DataFrame:
    """How many edges there are, between how many nodes, and what they weigh.

    Args:
        graphs: a store, or a survey of a part of it or of tables.

    Returns:
        A row per edge type (the last, :data:`TOGETHER`: all modality nodes and the edges among them) and split: ``source, relation,
        target, split``; ``dialogues`` that have a node of the type; ``sources, targets``, nodes; ``edges``; ``density``, share of the pairs
        of a source and a target of the same dialogue, other than itself; ``degree``, mean edges into a target, ``degree_max``,
        ``isolated``, share of targets without any; ``weighted``, share of edges with a weight, ``weight_mean, weight_sd, weight_min,
        weight_q1, weight_median, weight_q3, weight_max`` (deviation of all edges, not of a sample; a quartile is the least weight, rounded
        to 1 / 4096, that so many do not exceed); ``components``, (weakly) connected components of a dialogue, mean, ``largest``, nodes of
        its largest, mean. Shares from 0 to 1; NaN where there is nothing to count.

    Raises:
        InputError: the store's corpus is gone or changed.
        ValueError: a weight of a table is not from 0 to 1.

    Example: an utterance heard by one of two others.

    >>> from dgl_merc.graphs.tables import EDGE_COLUMNS
    >>> said = pd.DataFrame({"position": [0, 1, 2], "speaker": "Ana", "label": "joy", "has_text": True})
    >>> edge = pd.DataFrame([[0, "text", "same", "text", 0, 1, 0.5]], columns=EDGE_COLUMNS)
    >>> edge_statistics(Survey.of_tables(edge, said)).loc[0, ["edges", "degree", "weight_q1", "components", "largest"]].tolist()
    [1.0, 0.3333333333333333, 0.5, 2.0, 2.0]
    """
    survey = surveyed(graphs)
    rows = []
    for edge_type, counts in survey.edge_counts.items():
        for s, split in enumerate(survey.splits):
            rows.append(_named(edge_type or TOGETHER, split) | _shape(counts.shape, s) | _weights(counts.weights, counts.shape, s))
    names = [*_named(TOGETHER, ""), *_SHAPE[:8], *_WEIGHT, *_SHAPE[8:]]
    return pd.DataFrame(rows, columns=names)


_SHAPE = ("dialogues", "sources", "targets", "edges", "density", "degree", "degree_max", "isolated", "components", "largest")
_WEIGHT = ("weighted", "weight_mean", "weight_sd", "weight_min", "weight_q1", "weight_median", "weight_q3", "weight_max")


def _named(edge_type: EdgeType, split: str) -> dict[str, Any]:
    return {**dict(zip(("source", "relation", "target"), edge_type, strict=True)), "split": split}


def _share(part: float, whole: float) -> float:
    return float(part) / float(whole) if whole else float("nan")


def _shape(x: Shape, s: int) -> dict[str, Any]:
    return {
        **{name: int(getattr(x, name)[s]) for name in ("dialogues", "sources", "targets", "edges")},
        "density": _share(x.edges[s], x.possible[s]),
        "degree": _share(x.edges[s], x.targets[s]),
        "degree_max": int(x.most[s]),
        "isolated": _share(x.isolated[s], x.targets[s]),
        "components": _share(x.components[s], x.dialogues[s]),
        "largest": _share(x.largest[s], x.dialogues[s]),
    }


def _weights(x: Weights, shape: Shape, s: int) -> dict[str, Any]:
    total = int(x.total[s])
    if not total:
        return {name: float("nan") for name in _WEIGHT} | {"weighted": _share(0, shape.edges[s])}
    first, second = x.moments[s] / total
    seen = np.cumsum(x.levels[s])
    q1, median, q3 = (float(np.searchsorted(seen, np.ceil(q * total))) / LEVELS for q in (0.25, 0.5, 0.75))
    spread = float(np.sqrt(max(second - first**2, 0.0)))
    values = (_share(total, shape.edges[s]), 0.5 + first, spread, float(x.low[s]), q1, median, q3, float(x.high[s]))
    return dict(zip(_WEIGHT, values, strict=True))


def homophily(graphs: Store | Survey) -> pd.DataFrame:
    """How often an edge joins equal labels, against chance; formulas above.

    Args:
        graphs: a store, or a survey of a part of it or of tables.

    Returns:
        A row per edge type, split and part (``all``, ``own speaker``, ``other speaker``; the last two only where there are such edges):
        ``source, relation, target, split, part``; ``edges``, those that join two different, labelled utterances; ``equal``, h; ``chance``;
        ``ratio``, h / chance; ``adjusted``; ``within``, h by chance within dialogues (of all the dialogue's utterances, whoever speaks);
        ``above_within``, h - within. NaN where there is no such edge, ``adjusted`` also where all labels are the same.

    Raises:
        InputError: the store's corpus is gone or changed.

    Example: joy hears joy, and fear hears joy.

    >>> from dgl_merc.graphs.tables import EDGE_COLUMNS
    >>> said = pd.DataFrame({"position": [0, 1, 2], "speaker": "Ana", "label": ["joy", "joy", "fear"], "has_text": True})
    >>> rows = [[0, "text", "same", "text", 0, 1, 0.5], [0, "text", "same", "text", 0, 2, 0.5]]
    >>> edges = pd.DataFrame(rows, columns=EDGE_COLUMNS)
    >>> found = homophily(Survey.of_tables(edges, said)).loc[0]
    >>> float(found["equal"]), float(found["chance"]), float(found["within"])  # 3 of 4 ends are joy; of 3 pairs of utterances 1 is equal
    (0.5, 0.625, 0.3333333333333333)
    """
    rows = []
    for edge_type, split, s, joined in _each(surveyed(graphs)):
        parts = {"all": (0, 1), "own speaker": (1,), "other speaker": (0,)}
        for part, kinds in parts.items():
            n = sum(joined.labels[s, k] for k in kinds)
            if part == "all" or n.sum():
                within = sum(float(joined.within[s, k]) for k in kinds)
                rows.append({**_named(edge_type, split), "part": part, **_homophily(n, within)})
    return pd.DataFrame(rows, columns=[*_named(TOGETHER, ""), "part", *_HOMOPHILY])


_HOMOPHILY = ("edges", "equal", "chance", "ratio", "adjusted", "within", "above_within")


def _each(survey: Survey) -> Iterator[tuple[EdgeType, str, int, Joined]]:
    for edge_type, counts in survey.edge_counts.items():
        if edge_type is not None and counts.joined is not None:
            for s, split in enumerate(survey.splits):
                yield edge_type, split, s, counts.joined


def _homophily(n: Array, within: float) -> dict[str, Any]:
    """Of counts [K, K] by label of source and target."""
    total = int(n.sum())
    equal = _share(np.trace(n), total)
    ends = (n.sum(axis=0) + n.sum(axis=1)) / max(2 * total, 1)
    chance = float((ends**2).sum()) if total else float("nan")
    values = (total, equal, chance, _share(equal, chance), _share(equal - chance, 1 - chance), _share(within, total))
    return dict(zip(_HOMOPHILY, (*values, equal - values[-1]), strict=True))


def weight_agreement(graphs: Store | Survey) -> pd.DataFrame:
    """Whether a heavier edge joins equal labels more often; formulas above.

    Args:
        graphs: a store, or a survey of a part of it or of tables.

    Returns:
        A row per edge type that has weights, and split: ``source, relation, target, split``; ``edges``, those with a weight that join two
        different, labelled utterances; ``equal``, share of equal labels; ``mean_equal, mean_different``, mean weights, rounded to 1 / 4096;
        ``auroc``, .5 = weights say nothing; ``low, high``, its 95 % interval; ``auroc_within``, of pairs of edges of the same dialogue;
        ``dialogues`` that have such edges. NaN where one of the two kinds is absent, the interval also with fewer than two dialogues.

    Raises:
        InputError: the store's corpus is gone or changed.
        ValueError: a weight of a table is not from 0 to 1.

    Example: of 2 pairs of an equal and a different edge one is in order, one tied.

    >>> from dgl_merc.graphs.tables import EDGE_COLUMNS
    >>> said = pd.DataFrame({"position": [0, 1, 2], "speaker": "Ana", "label": ["joy", "joy", "fear"], "has_text": True})
    >>> rows = [[0, "text", "same", "text", *e] for e in ((0, 1, 0.75), (0, 2, 0.75), (1, 2, 0.25))]
    >>> edges = pd.DataFrame(rows, columns=EDGE_COLUMNS)
    >>> weight_agreement(Survey.of_tables(edges, said))[["auroc", "mean_equal", "mean_different"]].values.tolist()
    [[0.75, 0.75, 0.5]]
    """
    survey, rows = surveyed(graphs), []
    for edge_type, split, s, joined in _each(survey):
        if not survey.edge_counts[edge_type].weights.total.any():
            continue
        rows.append({**_named(edge_type, split), **_agreement(joined, s)})
    return pd.DataFrame(rows, columns=[*_named(TOGETHER, ""), *_AGREEMENT])


_AGREEMENT = ("edges", "equal", "mean_equal", "mean_different", "auroc", "low", "high", "auroc_within", "dialogues")


def _agreement(joined: Joined, s: int) -> dict[str, Any]:
    different, equal = joined.levels[s]
    n, m = int(different.sum()), int(equal.sum())
    means = [_share(float(h @ np.arange(LEVELS + 1)), float(h.sum()) * LEVELS) for h in (equal, different)]
    auroc, dialogues = _auroc(different, equal), int(joined.dialogues[s])
    interval = [float("nan")] * 2
    if dialogues > 1 and n and m:
        reach = 1.96 * _error(joined.squares[s], different, equal, dialogues)
        interval = [max(auroc - reach, 0.0), min(auroc + reach, 1.0)]
    values = (n + m, _share(m, n + m), *means, auroc, *interval, _share(*joined.ranks[s]), dialogues)
    return dict(zip(_AGREEMENT, values, strict=True))


def _auroc(different: Array, equal: Array) -> float:
    """From how many edges there are at each level."""
    return _share(float(equal @ _on_the_right_side(different)), float(equal.sum()) * float(different.sum()))


def _on_the_right_side(different: Array) -> Array:
    """[levels] how many of these edges weigh less; those of the same level count half."""
    return np.asarray(np.cumsum(different) - different / 2)


def _error(squares: Array, different: Array, equal: Array, dialogues: int) -> float:
    """The standard error of AUROC. With phi_d = h_d g, h_d the histograms of dialogue d, the sum of squares is g' (sum_d h_d' h_d) g."""
    at = coarse(np.arange(LEVELS + 1))
    different, equal = (np.bincount(at, h, minlength=COARSE + 1) for h in (different, equal))
    n, m = different.sum(), equal.sum()
    below, above = _on_the_right_side(different) / n, _on_the_right_side(equal[::-1])[::-1] / m
    auroc = float(equal @ below) / m
    g = np.concatenate([(above - auroc) / n, (below - auroc) / m])
    return float(np.sqrt(max(g @ squares @ g, 0.0) * dialogues / (dialogues - 1)))


def agreement_by_weight(graphs: Store | Survey, bins: int = 10) -> pd.DataFrame:
    """How often edges of about the same weight join equal labels: the calibration curve of the weights.

    Args:
        graphs: a store, or a survey of a part of it or of tables.
        bins: parts of about equally many edges each; edges of the same weight (rounded to 1 / 4096) stay together, so there may be fewer.

    Returns:
        A row per edge type, split and bin that has edges, by ascending weight: ``source, relation, target, split``; ``bin``, from 0;
        ``low, high``, least and greatest weight in it, rounded; ``edges``, of those that join two different, labelled utterances;
        ``equal``, the share of them that join equal labels.

    Raises:
        InputError: the store's corpus is gone or changed.
        ValueError: a weight of a table is not from 0 to 1, or bins is not positive.
    """
    if bins < 1:
        raise ValueError(f"bins must be 1 or more, got {bins}")
    rows = []
    for edge_type, split, s, joined in _each(surveyed(graphs)):
        different, equal = joined.levels[s]
        both = different + equal
        (there,) = np.nonzero(both)
        rank = (np.cumsum(both) - both / 2)[there]  # a level's edges are together, where their middle is
        of = np.minimum(rank * bins / max(both.sum(), 1), bins - 1).astype(np.int64)
        for k in np.unique(of):
            at = there[of == k]
            edges = int(both[at].sum())
            span = {"low": at[0] / LEVELS, "high": at[-1] / LEVELS, "edges": edges, "equal": _share(equal[at].sum(), edges)}
            rows.append({**_named(edge_type, split), "bin": int(k), **span})
    return pd.DataFrame(rows, columns=[*_named(TOGETHER, ""), "bin", "low", "high", "edges", "equal"])


def weight_histogram(graphs: Store | Survey, bins: int = 64) -> pd.DataFrame:
    """How many edges have about which weight.

    Args:
        graphs: a store, or a survey of a part of it or of tables.
        bins: equal parts of 0 to 1; their number divides 4096.

    Returns:
        A row per edge type that has weights (the last, :data:`TOGETHER`, of all of them), split and bin: ``source, relation, target,
        split``; ``low, high``, the bin, which holds its lower end, the last both; ``edges``. Weights are rounded to 1 / 4096 before.

    Raises:
        InputError: the store's corpus is gone or changed.
        ValueError: a weight of a table is not from 0 to 1, or bins does not divide 4096.
    """
    if bins < 1 or LEVELS % bins:
        raise ValueError(f"bins must divide {LEVELS}, got {bins}")
    survey, parts = surveyed(graphs), []
    of = np.minimum(np.arange(LEVELS + 1) * bins // LEVELS, bins - 1)
    span = {"low": np.arange(bins) / bins, "high": np.arange(1, bins + 1) / bins}
    for edge_type, counts in survey.edge_counts.items():
        for s, split in enumerate(survey.splits if counts.weights.total.any() else ()):
            edges = np.bincount(of, counts.weights.levels[s], minlength=bins).astype(np.int64)
            parts.append(pd.DataFrame({**_named(edge_type or TOGETHER, split), **span, "edges": edges}))
    return pd.concat(parts, ignore_index=True) if parts else pd.DataFrame(columns=[*_named(TOGETHER, ""), *span, "edges"])
