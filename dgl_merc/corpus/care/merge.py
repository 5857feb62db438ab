"""Corpora below each other, and modalities of one corpus beside those of another."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from dgl_merc.corpus.care.select import take_dialogues, where, with_step
from dgl_merc.corpus.checks import column_types
from dgl_merc.corpus.corpus import CORE_COLUMNS, Corpus, presence_column
from dgl_merc.corpus.pieces import Pieces
from dgl_merc.corpus.targets import Modality, Target
from dgl_merc.errors import InputError, at

__all__ = ["merge", "side_by_side"]

Array = npt.NDArray[Any]
_NAMES = ("dialogue_id", "speaker")


def merge(corpora: Sequence[Corpus]) -> Corpus:
    """Corpora below each other: their dialogues, one corpus after the other.

    Targets and modalities are the union: an utterance is unlabelled where its corpus has no such target, and lacks a modality that its
    corpus has not. A target must have the same labels everywhere (the first corpus says their order), a modality the same width.

    Names. A dialogue that stands in several corpora, equal in everything, is taken once. Where two different dialogues are
    called the same, all names and speakers of their corpora begin with ``<corpus>/``. A further column that not all have, or not of one
    type, becomes text.

    Args:
        corpora: two or more.

    Raises:
        InputError: labels or widths that differ; or a dialogue of one name, the same speakers and texts, but another split, label or
            vector, or with other targets or modalities.
    """
    if len(corpora) < 2:
        raise InputError(f"expected two or more corpora to merge, found {len(corpora)}")
    targets, modalities = _targets(corpora), _modalities(corpora)
    _check_columns(corpora, targets, modalities)
    drop, clash = _named_twice(corpora)
    names = _prefixes(corpora, used=bool(clash))
    parts, notes = [], []
    for k, corpus in enumerate(corpora):
        part = corpus
        if drop[k]:
            left = np.array([d for d in range(len(corpus)) if d not in drop[k]], dtype=np.int64)
            notes.append(f"merge: {len(drop[k])} dialogues of {names[k]} stand in an earlier corpus already, equal in everything")
            if not len(left):
                continue
            part = take_dialogues(corpus, left, {})
        if k in clash:
            notes.append(f"merge: dialogues and speakers of {names[k]} are now called {names[k]}/..., as others have the same names")
            part = replace(part, utterances=_prefixed(part.utterances, names[k]))
        parts.append(part)
        notes += [f"{names[k]}: {note}" for note in corpus.notes]
    source = {
        "kind": "merge",
        "parts": [
            {"name": c.name, "source": {k: v for k, v in c.source.items() if k != "ceilings"}, "of": c.content_sha256} for c in corpora
        ],
    }
    features = {m: Pieces.of(*((p.features[m], np.arange(len(p.features[m]))) for p in parts if m in p.features)) for m in modalities}
    return Corpus(
        "+".join(c.name for c in corpora), _tables(parts, targets, modalities), features, modalities, targets, source, tuple(notes)
    )


def side_by_side(corpus: Corpus, other: Corpus) -> Corpus:
    """Modalities of another corpus, joined to the utterances by dialogue and position. Nothing else is taken from it.

    Where the other has no such dialogue, its modalities are absent (counted).

    Args:
        corpus: whose utterances, labels and splits stay.
        other: with other modalities, of the same dialogues.

    Raises:
        InputError: a modality that both have, a dialogue of another length, another text (case and white space aside), or no dialogue in
            common.
    """
    if both := [m for m in other.modalities if m in corpus.modalities]:
        raise InputError(f"{at(where(other))}expected modalities beside {', '.join(corpus.modalities)}, found {both[0]!r}; drop one")
    _check_columns([corpus], (), other.modalities)
    number = {name: d for d, name in enumerate(other.dialogue_ids)}
    its = np.array([number.get(name, -1) for name in corpus.dialogue_ids], dtype=np.int64)
    found = np.flatnonzero(its >= 0)
    if not len(found):
        raise InputError(f"{at(where(other))}expected dialogues of {where(corpus)}, such as {corpus.dialogue_ids[0]!r}, found none")
    wrong = found[corpus.lengths[found] != other.lengths[its[found]]]
    if len(wrong):
        d = int(wrong[0])
        place = at(where(other), dialogue=corpus.dialogue_ids[d])
        raise InputError(f"{place}expected {corpus.lengths[d]} utterances as in {where(corpus)}, found {other.lengths[its[d]]}")
    begins = np.where(its >= 0, other.offsets[np.maximum(its, 0)], -1)
    partner = np.repeat(begins, corpus.lengths) + corpus.utterances["position"].to_numpy()
    partner = np.where(np.repeat(its >= 0, corpus.lengths), partner, -1)
    mine = np.flatnonzero(partner >= 0)
    _compare_texts(corpus, other, mine, partner[mine])
    present, features, notes = {}, {}, []
    for k, modality in enumerate(other.modalities):
        has = np.zeros(len(partner), dtype=bool)
        has[mine] = other.presence[partner[mine], k]
        present[presence_column(modality)] = has
        features[modality] = Pieces.of((other.features[modality], other.feature_rows[partner[has], k]))
        if missing := int((partner < 0).sum()):
            notes.append(f"{modality}: absent in {missing} of {len(partner)} utterances, whose dialogues {other.name} has not")
    if unused := len(other) - len(found):
        notes.append(f"merge: {unused} dialogues of {other.name} are not in {corpus.name}; nothing was taken from them")
    columns = corpus.utterances.columns
    first = [*CORE_COLUMNS, *corpus.targets, *(presence_column(m) for m in corpus.modalities)]
    table = corpus.utterances.assign(**present)[[*first, *present, *(c for c in columns if c not in (*first, *present))]]
    step = {"command": "merge", "side_by_side": {"name": other.name, "source": dict(other.source), "of": other.content_sha256}}
    return with_step(
        corpus,
        step,
        notes,
        utterances=table,
        features={**corpus.features, **features},
        modalities={**corpus.modalities, **other.modalities},
    )


def _compare_texts(corpus: Corpus, other: Corpus, mine: Array, its: Array) -> None:
    a = _plain(corpus.utterances["text"].iloc[mine])
    b = _plain(other.utterances["text"].iloc[its])
    differ = np.flatnonzero((a != b) & (a != "") & (b != ""))
    if len(differ):
        row = corpus.utterances.iloc[mine[differ[0]]]
        place = at(where(other), dialogue=row["dialogue_id"], utterance=row["position"])
        raise InputError(f"{place}expected the text {a[differ[0]][:60]!r}, found {b[differ[0]][:60]!r} ({len(differ)} texts differ)")


def _plain(texts: pd.Series[Any]) -> Array:
    """Without case and with single spaces; none is empty."""
    return np.array([" ".join(str(t).casefold().split()) for t in texts.fillna("")], dtype=object)


def _targets(corpora: Sequence[Corpus]) -> dict[str, Target]:
    found: dict[str, Target] = {}
    for corpus in corpora:
        for name, target in corpus.targets.items():
            first = found.setdefault(name, target)
            if (first.kind, first.bounds, sorted(first.labels)) != (target.kind, target.bounds, sorted(target.labels)):
                advice = "; give both the same labels with `dglmerc corpus convert --map`, or other names with --target"
                raise InputError(f"{at(where(corpus))}{name}: expected {first} as in {where(corpora[0])}, found {target}{advice}")
    return found


def _modalities(corpora: Sequence[Corpus]) -> dict[str, Modality]:
    found: dict[str, Modality] = {}
    for corpus in corpora:
        for name, about in corpus.modalities.items():
            first = found.setdefault(name, about)
            if first.width != about.width:
                raise InputError(
                    f"{at(where(corpus))}{name}: expected width {first.width} as in {where(corpora[0])}, found {about.width}; "
                    f"leave {name} out of one (`dglmerc corpus convert --drop {name}`)"
                )
            if about.provenance not in first.provenance:
                first = Modality(first.width, f"{first.provenance}; {about.provenance}", first.recipe)
            found[name] = first if first.recipe == about.recipe else replace(first, recipe={})
    return found


def _check_columns(corpora: Sequence[Corpus], targets: Collection[str], modalities: Collection[str]) -> None:
    """That a column which one corpus has for a target, or for the presence of a modality, is the same in all that have it."""
    flags = {presence_column(m) for m in modalities}
    for corpus in corpora:
        mine = {presence_column(m) for m in corpus.modalities}
        for column in corpus.utterances.columns:
            if (column in flags and column not in mine) or (column in targets and column not in corpus.targets):
                raise InputError(
                    f"{at(where(corpus))}expected {column!r} to be in all what it is in one, a target or a presence, found "
                    "another column of this name; call one of them something else"
                )


def _named_twice(corpora: Sequence[Corpus]) -> tuple[list[set[int]], set[int]]:
    """Of each corpus the dialogues that an earlier one has; and the corpora whose names are not theirs alone."""
    known = [{name: d for d, name in enumerate(c.dialogue_ids)} for c in corpora]
    drop: list[set[int]] = [set() for _ in corpora]
    clash: set[int] = set()
    for b in range(1, len(corpora)):
        for a in range(b):
            for name in known[a].keys() & known[b].keys():
                if _same(corpora[a], known[a][name], corpora[b], known[b][name]):
                    drop[b].add(known[b][name])
                else:
                    clash |= {a, b}
    return drop, clash


def _prefixes(corpora: Sequence[Corpus], *, used: bool) -> list[str]:
    """What names may begin with: different for every corpus and, where it is ``used``, nothing that names of others begin with."""
    names: list[str] = []
    for corpus in corpora:
        others = (c.utterances[column].unique() for c in corpora if c is not corpus and used for column in _NAMES)
        taken = {name.split("/")[0] for other in others for name in other if "/" in name}.union(names)
        plain = name = corpus.name.replace("/", "_")
        number = 2
        while name in taken:
            name, number = f"{plain}-{number}", number + 1
        names.append(name)
    return names


def _prefixed(table: pd.DataFrame, prefix: str) -> pd.DataFrame:
    return table.assign(**{c: (f"{prefix}/" + table[c]).astype("str") for c in _NAMES})


def _same(a: Corpus, i: int, b: Corpus, j: int) -> bool:
    """Whether two dialogues of one name are one: equal in everything.

    Raises:
        InputError: the same speakers and texts, but something else is not equal, or is in one corpus only.
    """
    mine, its = a.dialogue(i), b.dialogue(j)
    if len(mine) != len(its):
        return False
    shared = [c for c in mine.utterances.columns if c in its.utterances.columns]
    differ = [c for c in shared if not mine.utterances[c].reset_index(drop=True).equals(its.utterances[c].reset_index(drop=True))]
    differ += [m for m in mine.features if m in its.features and not np.array_equal(mine.features[m], its.features[m])]
    differ += [name for kind in ("targets", "modalities") for name in {**getattr(a, kind)}.keys() ^ {**getattr(b, kind)}.keys()]
    if not differ:
        return True
    said = mine.utterances["text"].fillna("").str.strip() != ""
    if {"speaker", "text"} & set(differ) or not said.any():
        return False
    raise InputError(
        f"{at(where(b), dialogue=mine.dialogue_id)}expected what {where(a)} says of the same dialogue, found another {differ[0]}; "
        "leave it out of one, or join modalities with --side-by-side"
    )


def _tables(parts: Sequence[Corpus], targets: Mapping[str, Target], modalities: Mapping[str, Modality]) -> pd.DataFrame:
    """The utterances of all parts, with the columns of all."""
    types = column_types(targets, tuple(modalities))
    further = dict.fromkeys(c for p in parts for c in p.utterances.columns if c not in types)
    for column in further:
        kinds = {str(p.utterances[column].dtype) if column in p.utterances else "" for p in parts}
        if len(kinds) > 1:
            types[column] = "str"
    order = [*CORE_COLUMNS, *targets, *(presence_column(m) for m in modalities), *further]
    tables = []
    for part in parts:
        table = part.utterances.copy()
        for column in order:
            if column not in table:
                empty = False if types[column] == "bool" else None
                table[column] = pd.Series([empty] * len(table), dtype=types[column])
        tables.append(table[order].astype({c: kind for c, kind in types.items() if kind == "str"}))
    return pd.concat(tables, ignore_index=True).astype(types)
