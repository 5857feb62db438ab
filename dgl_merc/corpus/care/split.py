"""New splits, by whole dialogues: by a column, or drawn so that the labels of each split are alike.

The draw. What must stay together is a group: a dialogue, or all dialogues that share a speaker. Groups are taken in an order that hangs on
the seed and their names alone. Each goes to the split where it brings

    sum_s sum_c (have_sc - want_sc)^2 / want_sc

down most: have, the utterances with label c (or unlabelled) in split s; want, the split's share of all of them. So that short dialogues
do not all go to the smallest split, c also runs over the quarters of dialogues by length, whose dialogues count as many utterances as the
mean dialogue has. Then groups move, one by
one in the same order, while a move brings it down further, at most ten times through all. It is the aim of iterative stratification
(Sechidis, Tsoumakas and Vlahavas, ECML PKDD 2011, section 3) with a stated cost in place of their rarest label first. The order of the
dialogues in the corpus changes nothing.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from dgl_merc.corpus.care.select import drawn_order, where, with_step
from dgl_merc.corpus.corpus import Corpus
from dgl_merc.corpus.targets import SPLITS
from dgl_merc.errors import InputError, at

__all__ = ["groups_of", "split_by_column", "split_by_draw"]

Array = npt.NDArray[Any]
_SWEEPS = 10


def split_by_column(corpus: Corpus, column: str, *, dev: Sequence[str] = (), test: Sequence[str] | Literal["keep"] = "keep") -> Corpus:
    """Dev and test are the dialogues with these values of a column; all others are train.

    Args:
        corpus: to split anew.
        column: one value for a whole dialogue, such as ``session``.
        dev: values; compared as text.
        test: values; or ``"keep"``: test stays as it is, and dev is taken from the others.

    Raises:
        InputError: no such column, a dialogue with several values or none, a value that is not there or named twice, or no dialogue left.
    """
    if column not in corpus.utterances or column in ("split", "position"):
        raise InputError(f"{at(where(corpus))}expected a column to split by, {_none_of(corpus, column, ('split', 'position'))}")
    cells = np.asarray(corpus.utterances[column].astype("str").to_numpy(dtype=object))  # NaN, which is empty, is not equal to itself
    value = cells[corpus.offsets[:-1]]
    wrong = np.flatnonzero(cells != np.repeat(value, corpus.lengths))
    if len(wrong):
        row = corpus.utterances.iloc[wrong[0]]
        place = at(where(corpus), dialogue=row["dialogue_id"], utterance=row["position"])
        raise InputError(f"{place}expected one {column} for the whole dialogue, found {cells[wrong[0]]}; split by another column")
    kept = test == "keep"
    stays = (corpus.splits == "test") & kept
    named = [*dev, *(() if kept else test)]
    known = sorted(set(value[~stays].tolist()))
    some = ", ".join(known[:12]) + (", ..." if len(known) > 12 else "")
    for asked in named:
        if asked not in known or named.count(asked) > 1:
            beside = ", outside of test" if asked in value[stays] else ""
            raise InputError(f"{at(where(corpus))}{column}: expected each value once and among {some}{beside}, found {asked!r}")
    splits = np.select([stays, np.isin(value, list(dev)), np.isin(value, named)], ["test", "dev", "test"], "train").astype(object)
    if not (splits == "train").any() or not named:
        raise InputError(f"{at(where(corpus))}{column}: expected values for dev or test, and others for train, found {some}")
    step = {"command": "split", "by": column, "dev": list(dev), "test": test if kept else list(test)}
    return _with_splits(corpus, splits, step, f"by {column}" + (", test as it was" if kept else ""))


def split_by_draw(
    corpus: Corpus,
    *,
    dev: float = 0.1,
    test: float | Literal["keep"] = "keep",
    group: str | None = None,
    target: str | None = None,
    seed: int = 0,
) -> Corpus:
    """Dev (and test) are drawn, groups whole, with labels in them as in all; the module says how.

    Args:
        corpus: to split anew.
        dev: share of the utterances that are dealt out, from 0 (no dev) to below 1.
        test: likewise; or ``"keep"``: test stays as it is, and dev is drawn from the others.
        group: a column whose values may not be in two splits that are drawn, such as ``speaker``; None: dialogues alone.
        target: whose labels are spread; None: the first.
        seed: of the draw.

    Raises:
        InputError: shares that leave nothing for train, no such column or target, or fewer groups than splits.
    """
    kept = test == "keep"
    shares = {"train": 1 - dev - (0.0 if test == "keep" else test), "dev": dev, "test": 0.0 if test == "keep" else test}
    if min(shares.values()) < 0 or shares["train"] <= 1e-9 or not any((dev, shares["test"])):
        raise InputError(f"expected shares of dev and test from 0 that leave some for train, found dev {dev:g} and test {test}")
    splits = corpus.splits.copy()
    pool = np.flatnonzero(splits != "test") if kept else np.arange(len(corpus))
    names = [s for s in SPLITS if shares[s] > 0]
    group_of = groups_of(corpus, group)[pool]
    _, group_of = np.unique(group_of, return_inverse=True)
    count = int(group_of.max(initial=-1)) + 1
    if count < len(names):
        what = "dialogues" if group is None else f"groups of dialogues that share no {group}"
        raise InputError(f"{at(where(corpus))}expected at least {len(names)} {what} for {', '.join(names)}, found {count}")
    counts = np.concatenate(
        [_label_counts(corpus, target, pool, group_of, count), _length_counts(corpus.lengths[pool], group_of, count)], axis=1
    )
    first = [""] * count
    for g, d in zip(group_of.tolist(), pool.tolist(), strict=True):
        name = corpus.dialogue_ids[d]
        first[g] = min(first[g], name) if first[g] else name
    want = np.array([shares[s] for s in names])[:, None] * counts.sum(axis=0)
    order = drawn_order(first, seed)
    of = np.empty(count, dtype=np.int64)
    of[order] = _deal(counts[order], want)
    if len(set(of.tolist())) < len(names):
        raise InputError(
            f"{at(where(corpus))}expected dialogues in each of {', '.join(names)}, found too few for these shares; ask for more"
        )
    splits[pool] = np.array(names, dtype=object)[of[group_of]]
    step = {"command": "split", "dev": dev, "test": test, "group": group, "target": target, "seed": seed}
    how = f"drawn with seed {seed}" + (f", no {group} in two of them" if group else "") + (", test as it was" if kept else "")
    return _with_splits(corpus, splits, step, how)


def groups_of(corpus: Corpus, column: str | None) -> Array:
    """[B] the number of the group of each dialogue: those joined by a value of ``column``, directly or through others; None: each its own.

    Raises:
        InputError: no such column.
    """
    if column is None:
        return np.arange(len(corpus))
    if column not in corpus.utterances:
        raise InputError(f"{at(where(corpus))}expected a column to group by, {_none_of(corpus, column)}")
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    value = corpus.utterances[column].astype("str").factorize()[0]
    dialogue = np.repeat(np.arange(len(corpus)), corpus.lengths)
    known = value >= 0
    size = len(corpus) + int(value.max(initial=-1)) + 1
    joined = coo_array((np.ones(int(known.sum())), (dialogue[known], len(corpus) + value[known])), shape=(size, size))
    return np.asarray(connected_components(joined, directed=False)[1][: len(corpus)])


def _none_of(corpus: Corpus, column: str, beside: tuple[str, ...] = ()) -> str:
    return f"found {column!r}, none among {', '.join(str(c) for c in corpus.utterances if c not in beside)}"


def _label_counts(corpus: Corpus, target: str | None, pool: Array, group_of: Array, count: int) -> Array:
    """[G, C + 1] utterances of each group by label; first the unlabelled."""
    target = next(iter(corpus.targets), None) if target is None else target
    if target is not None and target not in corpus.targets:
        raise InputError(f"{at(where(corpus))}expected a target among {', '.join(corpus.targets)}, found {target!r}")
    labels = corpus.labels(target) + 1 if target is not None else np.zeros(len(corpus.utterances), dtype=np.int64)
    width = int(labels.max()) + 1
    group = np.full(len(corpus), -1)
    group[pool] = group_of
    row = np.repeat(group, corpus.lengths)
    place = row[row >= 0] * width + labels[row >= 0]
    return np.bincount(place, minlength=count * width).reshape(count, width).astype(np.float64)


def _length_counts(lengths: Array, group_of: Array, count: int) -> Array:
    """[G, 4] dialogues of each group by the quarter of all lengths [D] that theirs is in, each weighing the mean length."""
    quarter = np.searchsorted(np.quantile(lengths, [0.25, 0.5, 0.75]), lengths, side="left")
    return np.bincount(group_of * 4 + quarter, minlength=count * 4).reshape(count, 4) * float(lengths.mean())


def _deal(counts: Array, want: Array) -> Array:
    """[G] the number of the split of each group, in the order drawn. counts [G, C]; want [S, C]."""
    scale = np.divide(1.0, want, out=np.zeros_like(want), where=want > 0)
    have, of = np.zeros_like(want), np.full(len(counts), -1)
    for _ in range(1 + _SWEEPS):
        moved = False
        for g in range(len(counts)):
            c, before = counts[g], int(of[g])
            if before >= 0:
                have[before] -= c
            cost = ((2 * (have - want) + c) * c * scale).sum(axis=1)
            best = int(cost.argmin())
            if before >= 0 and cost[best] >= cost[before] - 1e-9:
                best = before
            moved |= best != before
            of[g] = best
            have[best] += c
        if not moved:
            break
    return of


def _with_splits(corpus: Corpus, splits: Array, step: Mapping[str, Any], how: str) -> Corpus:
    """The corpus with [B] other splits, and the shares they have."""
    rows = np.repeat(splits, corpus.lengths)
    table = corpus.utterances.assign(split=rows)
    table["split"] = table["split"].astype(corpus.utterances["split"].dtype)
    reached = [f"{s} {100 * (rows == s).mean():.1f} % ({(splits == s).sum()} dialogues)" for s in SPLITS if (splits == s).any()]
    return with_step(corpus, step, [f"split {how}: {', '.join(reached)} of the utterances"], utterances=table)
