"""A corpus with other modalities, labels or targets. What is lost is counted in ``notes``."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from dgl_merc.corpus.care.select import where, with_step
from dgl_merc.corpus.corpus import Corpus, presence_column
from dgl_merc.corpus.pieces import Pieces, pieces_of
from dgl_merc.corpus.targets import Target
from dgl_merc.errors import InputError, at
from dgl_merc.files import read_json

__all__ = ["OTHERS", "keep_modalities", "keep_targets", "map_labels", "parse_map", "zeros_absent"]

OTHERS = "*"
"""In a map of labels: every label that it does not name."""

LabelMap = Mapping[str, str | None]


def keep_modalities(corpus: Corpus, names: Sequence[str]) -> Corpus:
    """The corpus with some modalities, in this order.

    Raises:
        InputError: none, one twice, or one that the corpus has not.
    """
    if not names or len(set(names)) != len(names) or (set(names) - set(corpus.modalities)):
        said = ", ".join(names) or "none"
        raise InputError(f"{at(where(corpus))}expected different modalities among {', '.join(corpus.modalities)}, found {said}")
    gone = [m for m in corpus.modalities if m not in names]
    columns = [presence_column(m) for m in corpus.modalities]
    first = list(corpus.utterances.columns).index(columns[0])
    left = [c for c in corpus.utterances.columns if c not in columns]
    left[first:first] = [presence_column(m) for m in names]
    return with_step(
        corpus,
        {"command": "convert", "modalities": list(names)},
        [f"convert: left out {', '.join(gone)}"] if gone else [],
        utterances=corpus.utterances[left],
        features={m: corpus.features[m] for m in names},
        modalities={m: corpus.modalities[m] for m in names},
    )


def zeros_absent(corpus: Corpus, modality: str) -> Corpus:
    """Vectors of zeros alone become what they mean in most public files: the modality is absent there.

    Raises:
        InputError: no such modality, or every vector is zero.
    """
    if modality not in corpus.modalities:
        raise InputError(f"{at(where(corpus))}expected a modality among {', '.join(corpus.modalities)}, found {modality!r}")
    x = corpus.features[modality]
    kept = np.concatenate([np.zeros(0, dtype=bool), *(piece.any(axis=1) for _, piece in pieces_of(x))])
    if not kept.any():
        raise InputError(f"{at(where(corpus))}{modality}: expected a vector that is not zero, found none; leave the modality out (--drop)")
    column = presence_column(modality)
    present = corpus.utterances[column].to_numpy(dtype=bool).copy()
    present[present] = kept
    count = int((~kept).sum())
    return with_step(
        corpus,
        {"command": "convert", "zeros_absent": modality},
        [f"{modality}: absent in {count} of {len(present)} utterances, whose vectors were all zero (--zeros-absent)"],
        utterances=corpus.utterances.assign(**{column: present}),
        features={**corpus.features, modality: Pieces.of((x, np.flatnonzero(kept)))},
    )


def keep_targets(corpus: Corpus, names: Mapping[str, str]) -> Corpus:
    """The corpus with some targets, in this order.

    Args:
        corpus: with more.
        names: target -> what it is to be called.

    Raises:
        InputError: no such target, two of one name, or a name that is taken.
    """
    if missing := [t for t in names if t not in corpus.targets]:
        raise InputError(f"{at(where(corpus))}expected a target among {', '.join(corpus.targets) or 'none'}, found {missing[0]!r}")
    others = [c for c in corpus.utterances.columns if c not in corpus.targets]
    taken = [n for n in names.values() if n in others or list(names.values()).count(n) > 1 or not n.strip()]
    if taken:
        raise InputError(f"{at(where(corpus))}expected a free name for a target, found {taken[0]!r}; call it something else")
    first = list(corpus.utterances.columns).index(next(iter(corpus.targets))) if corpus.targets else len(others)
    order = [*others[:first], *names, *others[first:]]
    gone = [t for t in corpus.targets if t not in names]
    renamed = {a: b for a, b in names.items() if a != b}
    notes = [f"convert: left out the target {t}" for t in gone] + [f"convert: the target {a} is now {b}" for a, b in renamed.items()]
    return with_step(
        corpus,
        {"command": "convert", "targets": dict(names)},
        notes,
        utterances=corpus.utterances[order].rename(columns=renamed),
        targets={new: corpus.targets[old] for old, new in names.items()},
    )


def map_labels(corpus: Corpus, target: str, labels: LabelMap) -> Corpus:
    """Labels of a target merged, renamed or dropped. The new ones stand in the order of the first old one of each.

    Args:
        corpus: with the old labels.
        target: of classes.
        labels: old label -> new label, or None: its utterances become context. ``OTHERS`` stands for those that are not named; without it
            they stay as they are.

    Raises:
        InputError: no such target of classes, a label that it has not, or fewer than two labels left.
    """
    if target not in corpus.targets or corpus.targets[target].kind != "classes":
        those = ", ".join(t for t, about in corpus.targets.items() if about.kind == "classes") or "none"
        raise InputError(f"{at(where(corpus))}expected a target of classes ({those}), found {target!r}")
    known = corpus.targets[target].labels
    if foreign := [label for label in labels if label not in (*known, OTHERS)]:
        raise InputError(f"{at(where(corpus))}{target}: expected labels among {', '.join(known)}, found {foreign[0]!r} in the map")
    full = {old: labels[old] if old in labels else labels.get(OTHERS, old) for old in known}
    new = tuple(dict.fromkeys(n for n in full.values() if n is not None))
    if len(new) < 2 or not all(new):
        raise InputError(f"{at(where(corpus))}{target}: expected two or more labels left, found {', '.join(new) or 'none'}; keep more")
    old = corpus.utterances[target]
    counts = old.value_counts()
    notes = []
    for label in known:
        count, to = int(counts.get(label, 0)), full[label]
        if to is None:
            notes.append(f"{target}: {count} utterances labelled {label} became context (--map)")
        elif to != label:
            notes.append(f"{target}: {count} utterances labelled {label} are now {to} (--map)")
    places = pd.Categorical(old, categories=list(known)).codes
    column = pd.Series(np.array([*full.values(), None], dtype=object)[places], dtype="str", index=old.index)
    return with_step(
        corpus,
        {"command": "convert", "map": {target: full}},
        notes,
        utterances=corpus.utterances.assign(**{target: column}),
        targets={**corpus.targets, target: Target("classes", new)},
    )


def parse_map(text: str) -> dict[str, dict[str, str | None]]:
    """Maps of labels, target by target: ``TARGET:A+B=C,D=,*=`` or the name of a JSON file ``{TARGET: {A: C, B: C, D: null}}``.

    >>> parse_map("emotion:happy+excited=happy,disgust=")
    {'emotion': {'happy': 'happy', 'excited': 'happy', 'disgust': None}}

    Raises:
        InputError: neither, or a label twice.
    """
    form = "expected TARGET:A+B=C,D= (nothing behind =: context; *=: all others) or a .json file"
    if text.endswith(".json"):
        found = read_json(Path(text))
        good = all(isinstance(m, dict) and all(isinstance(v, str | None) for v in m.values()) for m in found.values())
        if not good:
            raise InputError(f"{at(text)}expected {{target: {{label: label or null}}}}, found {json.dumps(found)[:80]}")
        return {target: {a: b or None for a, b in m.items()} for target, m in found.items()}
    target, colon, rest = text.partition(":")
    labels: dict[str, str | None] = {}
    for piece in rest.split(","):
        left, equals, right = piece.partition("=")
        for label in (name.strip() for name in left.split("+")):
            if not (colon and equals and label and target.strip()) or label in labels:
                raise InputError(f"--map {text}: {form}, each label once, found {piece.strip()!r}")
            labels[label] = right.strip() or None
    return {target.strip(): labels}
