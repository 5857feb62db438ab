"""Who trains, who chooses, who is tested: a corpus's own splits, or a dev split and folds drawn by dialogue from a stored seed.

A dialogue is never divided (that a corpus does not do it itself is checked when it is made). Of many draws by dialogue, or by group of
dialogues, the one is taken whose parts' labels are most alike. A hash of which utterances ended where is in every run folder, so that a run
can be told from one on other splits.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from dgl_merc.corpus import SPLITS, Corpus
from dgl_merc.corpus.summary import shared_speakers
from dgl_merc.errors import InputError, at
from dgl_merc.training.settings import DataSettings

__all__ = ["Division", "divide", "fold_names", "judged_sha256"]

Numbers = npt.NDArray[np.int64]

Part = tuple[float, Numbers]

_ROWS = 1 << 16  # that are hashed at a time
_DRAWS = 50  # scikit-learn's StratifiedGroupKFold makes more even parts, but always the same ones: its seed only breaks ties


@dataclass(frozen=True)
class Division:
    """A corpus with the splits that a run uses.

    Attributes:
        corpus: the same dialogues; only the column ``split`` may differ from what was given.
        dev: ``given`` by the corpus or ``drawn`` from its training dialogues.
        fold: the fold that is test; empty: the corpus's own test split.
    """

    corpus: Corpus
    dev: str
    fold: str

    def dialogues(self) -> Mapping[str, Numbers]:
        """Split -> the numbers of its dialogues."""
        return {split: self.corpus.in_split(split) for split in SPLITS}

    def to_json(self, target: str) -> dict[str, Any]:
        """What a run folder says of it: sizes, a hash per split, and how many speakers are in more than one."""
        table = self.corpus.utterances[["dialogue_id", "position", "split"]].assign(label=self.corpus.label_names(target))
        shared = shared_speakers(self.corpus)
        splits = {}
        for split in SPLITS:
            part = table[table["split"] == split]
            labelled = part[part["label"].notna()]
            splits[split] = {
                "dialogues": int(part["dialogue_id"].nunique()),
                "utterances": len(part),
                "labelled": len(labelled),
                "sha256": judged_sha256(labelled[["dialogue_id", "position", "label"]]),
            }
        return {"dev": self.dev, "fold": self.fold, "speakers_in_several_splits": shared, "splits": splits}


def judged_sha256(rows: pd.DataFrame) -> str:
    """Of which utterances are judged, and by which labels, in whatever order they stand."""
    columns = [pa.chunked_array([pa.array(rows[column].astype("str"), pa.large_string())]) for column in rows]
    words = pc.binary_join_element_wise(*columns, pa.scalar("\0", pa.large_string()))
    order = pc.sort_indices(words)  # by their bytes in UTF-8, which is the order of their characters
    digest = hashlib.sha256()
    for lo in range(0, len(order), _ROWS):
        piece = words.take(order[lo : lo + _ROWS]).to_pylist()
        digest.update(("\1" if lo else "").encode() + "\1".join(piece).encode())
    return digest.hexdigest()


def divide(corpus: Corpus, target: str, settings: DataSettings) -> Division:
    """The corpus with the splits that the settings ask for.

    Args:
        corpus: checked.
        target: draws keep its labels (the signs of scores) as evenly spread as whole dialogues allow.
        settings: of a run.

    Raises:
        InputError: no such fold or column, or too few dialogues to draw from.
    """
    splits = corpus.splits.astype(object)
    if settings.folds or settings.fold_by:
        folds = _folds(corpus, target, settings)
        if settings.fold not in folds:
            raise InputError(f"{at(corpus.path or corpus.name)}no fold {settings.fold!r}; there are {', '.join(folds)} (data.fold)")
        splits = np.full(len(corpus), "train", dtype=object)
        splits[folds[settings.fold]] = "test"
    dev = "given"
    train = np.flatnonzero(splits == "train")
    if len(train) and not (splits == "dev").any():
        dev = "drawn"
        splits[_draw_dev(corpus, target, train, settings)] = "dev"
    if np.array_equal(splits, corpus.splits):
        return Division(corpus, dev, settings.fold)
    used = pd.Series(np.repeat(splits, corpus.lengths)).astype(corpus.utterances["split"].dtype)
    table = corpus.utterances.assign(split=used.array)
    return Division(replace(corpus, utterances=table), dev, settings.fold)


def fold_names(corpus: Corpus, target: str, settings: DataSettings) -> tuple[str, ...]:
    """The folds that ``settings.folds`` and ``settings.fold_by`` make; none where neither is set.

    Raises:
        InputError: no such column, a dialogue that is in two groups, or more folds than groups.
    """
    if not (settings.folds or settings.fold_by):
        return ()
    return tuple(_folds(corpus, target, settings))


def _folds(corpus: Corpus, target: str, settings: DataSettings) -> dict[str, Numbers]:
    """Fold -> its dialogues."""
    everyone = np.arange(len(corpus))
    groups = _groups(corpus, settings.fold_by) if settings.fold_by else everyone.astype(str).astype(object)
    names = sorted(set(groups))
    if not settings.folds:
        if len(names) < 2:
            raise InputError(f"{at(corpus.path or corpus.name)}expected two or more values of {settings.fold_by}, found {names[0]!r} alone")
        return {name: everyone[groups == name] for name in names}
    if settings.folds > len(names):
        of = f"values of {settings.fold_by}" if settings.fold_by else "dialogues"
        raise InputError(
            f"{at(corpus.path or corpus.name)}expected at least {settings.folds} {of} for {settings.folds} folds, found {len(names)}"
        )
    draws = _draw(corpus, target, everyone, groups, settings.folds, settings.split_seed)
    best = min(draws, key=lambda draw: max(distance for distance, _ in draw))
    return {str(k + 1): part for k, (_, part) in enumerate(best)}


def _groups(corpus: Corpus, column: str) -> npt.NDArray[np.object_]:
    """[B] the value of a column, the same in all utterances of a dialogue."""
    table, where = corpus.utterances, corpus.path or corpus.name
    if column not in table:
        raise InputError(f"{at(where)}no column {column!r} to fold by; there are {', '.join(map(str, table.columns))}")
    empty = table[column].isna() | (table[column].astype(str) == "")
    if empty.any():
        row = int(np.argmax(empty.to_numpy()))
        raise InputError(
            f"{at(where, dialogue=table['dialogue_id'].iloc[row], utterance=table['position'].iloc[row])}"
            f"expected a {column} to fold by, found an empty cell"
        )
    values = table[column].astype(str).to_numpy(dtype=object)
    first = np.repeat(values[corpus.offsets[:-1]], corpus.lengths)
    if (values != first).any():
        row = int(np.argmax(values != first))
        raise InputError(
            f"{at(where, dialogue=table['dialogue_id'].iloc[row])}expected one {column} in a dialogue, "
            f"found {first[row]} and {values[row]}: folds are made of whole dialogues"
        )
    return values[corpus.offsets[:-1]]


def _draw_dev(corpus: Corpus, target: str, train: Numbers, settings: DataSettings) -> Numbers:
    if len(train) < 2:
        raise InputError(
            f"{at(corpus.path or corpus.name)}expected two or more training dialogues, one of which becomes dev, found {len(train)}"
        )
    parts = min(round(1 / settings.dev_fraction), len(train))
    known = corpus.labels(target) >= 0
    labelled = np.add.reduceat(known, corpus.offsets[:-1]) > 0  # [B]
    candidates = [part for draw in _draw(corpus, target, train, train.astype(str), parts, settings.split_seed) for part in draw]

    def distance(part: Part) -> tuple[bool, float]:
        both = labelled[part[1]].any() and labelled[np.setdiff1d(train, part[1])].any()
        return not both, part[0]  # a dev split with a label, above all; where there is none, the loop says so

    return min(candidates, key=distance)[1]


def _draw(corpus: Corpus, target: str, dialogues: Numbers, groups: npt.NDArray[Any], parts: int, seed: int) -> list[list[Part]]:
    """Many draws of dialogues in so many parts, groups whole, as many groups in each as can be.

    Args:
        corpus: they belong to.
        target: whose labels are spread.
        dialogues: [D] numbers.
        groups: [D] what stays together.
        parts: how many.
        seed: of the draws.

    Returns:
        Draw by draw its parts, each with how far its labels (and what is unlabelled) are from an even share, in utterances.
    """
    names, group = np.unique(groups.astype(str), return_inverse=True)
    labels = corpus.labels(target) + 1
    counts = np.zeros((len(names), labels.max() + 1))
    for g, d in zip(group, dialogues, strict=True):
        counts[g] += np.bincount(labels[corpus.offsets[d] : corpus.offsets[d + 1]], minlength=counts.shape[1])
    even = counts.sum(axis=0) / parts
    draws = []
    for rng in np.random.default_rng([seed, parts]).spawn(_DRAWS):
        drawn = np.array_split(rng.permutation(len(names)), parts)
        draws.append([(float(np.abs(counts[p].sum(axis=0) - even).sum()), np.sort(dialogues[np.isin(group, p)])) for p in drawn])
    return draws
