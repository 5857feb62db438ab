"""Some dialogues of a corpus: chosen by number, or drawn for a quick experiment."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from dgl_merc.corpus.corpus import Corpus
from dgl_merc.corpus.pieces import Pieces
from dgl_merc.corpus.targets import SPLITS
from dgl_merc.errors import InputError, at

__all__ = ["drawn_order", "sample", "steps_of", "take_dialogues", "where", "with_step"]

Ints = npt.NDArray[np.int64]


def where(corpus: Corpus) -> str | Path:
    """What messages call a corpus."""
    return corpus.path or corpus.name


def steps_of(corpus: Corpus) -> list[dict[str, Any]]:
    """What was done to a corpus since it was imported, as far as ``source`` says so: any tool may have written that."""
    told = corpus.source.get("steps")
    return [step for step in told if isinstance(step, dict)] if isinstance(told, list) else []


def with_step(corpus: Corpus, step: Mapping[str, Any], notes: Sequence[str] = (), **changes: Any) -> Corpus:
    """A corpus changed, and how written down.

    What was known of its content as a whole is forgotten: its folder, and the ceilings of an embedded corpus.

    Args:
        corpus: before.
        step: what was done, for ``source["steps"]``; the content hash of ``corpus`` is added.
        notes: added to the earlier ones, which speak of the corpus before.
        changes: fields of :class:`Corpus`.
    """
    source = {key: value for key, value in corpus.source.items() if key != "ceilings"}
    source["steps"] = [*steps_of(corpus), {**step, "of": corpus.content_sha256}]
    return replace(corpus, path=None, source=source, notes=(*corpus.notes, *notes), **changes)


def take_dialogues(corpus: Corpus, dialogues: Ints, step: Mapping[str, Any], notes: Sequence[str] = ()) -> Corpus:
    """The corpus of some dialogues, in the order given.

    Args:
        corpus: to take from.
        dialogues: [B'] different numbers, at least one.
        step: as for :func:`with_step`.
        notes: likewise.
    """
    begins, lengths = corpus.offsets[dialogues], corpus.lengths[dialogues]
    rows = np.repeat(begins - (np.cumsum(lengths) - lengths), lengths) + np.arange(lengths.sum())
    features = {}
    for k, (modality, x) in enumerate(corpus.features.items()):
        features[modality] = Pieces.of((x, corpus.feature_rows[rows, k][corpus.presence[rows, k]]))
    table = corpus.utterances.iloc[rows].reset_index(drop=True)
    return with_step(corpus, step, notes, utterances=table, features=features)


def drawn_order(names: Sequence[str], seed: int) -> Ints:
    """A random order of names that hangs on the seed and on each name alone: of fewer names, the same order without the others.

    >>> drawn_order(["a", "b", "c"], 0).tolist(), drawn_order(["c", "a"], 0).tolist()  # c, a, b and c, a
    ([2, 0, 1], [0, 1])
    """
    keys = [hashlib.sha256(f"{seed}\0{name}".encode("utf-8", "surrogatepass")).digest() for name in names]
    return np.array(sorted(range(len(keys)), key=keys.__getitem__), dtype=np.int64)


def sample(
    corpus: Corpus, *, dialogues: int | None = None, fraction: float | None = None, splits: Sequence[str] = SPLITS, seed: int = 0
) -> Corpus:
    """Some dialogues of every split, in the corpus's order.

    Samples are nested: a smaller one of the same seed is a part of a larger one, whatever the order of the corpus.

    Args:
        corpus: to draw from.
        dialogues: how many of each split; all, where a split has fewer.
        fraction: or which share of each split's dialogues, from above 0 to 1, rounded up.
        splits: others are left out.
        seed: of the draw.

    Raises:
        InputError: not exactly one of ``dialogues`` and ``fraction``, one out of its range, or no dialogue in these splits.
    """
    if (dialogues is None) == (fraction is None):
        raise InputError("expected a number of dialogues or a fraction of them (--dialogues N or --fraction F), and not both")
    if (dialogues is not None and dialogues < 1) or (fraction is not None and not 0 < fraction <= 1):
        raise InputError(f"expected at least one dialogue, or a fraction above 0 and up to 1, found {dialogues or fraction or 0}")
    taken, said = [], []
    for split in (s for s in SPLITS if s in splits):
        there = corpus.in_split(split)
        count = min(dialogues, len(there)) if dialogues is not None else int(np.ceil(len(there) * (fraction or 0) - 1e-9))
        taken.append(there[drawn_order([corpus.dialogue_ids[d] for d in there], seed)[:count]])
        if len(there):
            said.append(f"{count} of {len(there)} {split}")
    chosen = np.sort(np.concatenate(taken)).astype(np.int64) if taken else np.zeros(0, dtype=np.int64)
    if not len(chosen):
        have = ", ".join(dict.fromkeys(corpus.splits.tolist()))
        raise InputError(f"{at(where(corpus))}expected dialogues in {', '.join(splits) or 'a split'}, found dialogues only in {have}")
    step = {"command": "sample", "dialogues": dialogues, "fraction": fraction, "splits": list(splits), "seed": seed}
    return take_dialogues(corpus, chosen, step, [f"sample: {', '.join(said)} dialogues, drawn with seed {seed}"])
