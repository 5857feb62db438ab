"""Which runs a study consists of: settings that vary, folds and seeds, and where each run stands."""

from __future__ import annotations

import hashlib
import itertools
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from dgl_merc.errors import InputError
from dgl_merc.settings import assign, flat
from dgl_merc.training.settings import Settings, load_settings

__all__ = ["Cell", "Grid", "Variant", "file_name", "variants_over"]


@dataclass(frozen=True)
class Variant:
    """One row of a table: a preset with some changes.

    Attributes:
        labels: what is varied -> the value, as it was typed; empty for the preset itself.
        words: the changes, as ``--set`` takes them.
    """

    labels: Mapping[str, str] = field(default_factory=dict)
    words: tuple[str, ...] = ()

    @property
    def folder(self) -> str:
        """A name that any file system takes; the same for the same labels."""
        return file_name(",".join(f"{k.replace(' ', '-')}={v}" for k, v in self.labels.items()))

    @property
    def keys(self) -> set[str]:
        """The settings it changes."""
        return set().union(*map(_keys, self.words))


def file_name(text: str) -> str:
    """What any file system takes as a name; different for different texts.

    >>> file_name("lr=0.1"), file_name("a/b")
    ('lr=0.1', 'a_b-c14cdd')
    """
    plain = re.sub(r"[^A-Za-z0-9.=,+_-]|^[.]", "_", text)[:120]
    return plain if plain == text else f"{plain}-{hashlib.sha256(text.encode('utf-8', 'surrogatepass')).hexdigest()[:6]}"


@dataclass(frozen=True)
class Cell:
    """One run.

    Attributes:
        place: its folder, relative to the study's.
        variant: number of its row.
        fold: the fold that is test; empty: none.
        settings: resolved, with fold and seed.
    """

    place: str
    variant: int
    fold: str
    settings: Settings


@dataclass(frozen=True)
class Grid:
    """Variants x folds x seeds.

    Attributes:
        preset: that all start from.
        words: changes that all have.
        variants: the rows.
        seeds: of the runs.
        folds: names of the folds; empty: the corpus's own splits.
        title: what the table is called; empty: nothing but its preset.
        note: what its caption adds.
    """

    preset: str
    words: tuple[str, ...] = ()
    variants: tuple[Variant, ...] = (Variant(),)
    seeds: tuple[int, ...] = (0,)
    folds: tuple[str, ...] = ()
    title: str = ""
    note: str = ""

    def settings(self, variant: Variant) -> Settings:
        """Of a row, before folds and seeds.

        Raises:
            InputError: no such preset or setting.
        """
        return load_settings(self.preset, [*self.words, *variant.words])

    def is_preset(self, variant: Variant) -> bool:
        """Whether a row changes nothing."""
        return _bare(self.settings(variant)) == _bare(self.settings(Variant()))

    def check_words(self) -> None:
        """What all rows have, some row must have.

        Raises:
            InputError: every row sets it anew.
        """
        everywhere = set.intersection(*(v.keys for v in self.variants))
        for word in self.words:
            keys = _keys(word)
            if keys and keys <= everywhere:
                raise InputError(
                    f"--set {word}: every row of {self.title or 'the table'} sets {', '.join(sorted(keys))} anew; leave it out"
                )

    def cells(self) -> list[Cell]:
        """All runs, seed by seed, so that a table that is under way is filled evenly.

        Raises:
            InputError: no such setting, or two rows that are the same.
        """
        settings = [self.settings(v) for v in self.variants]
        bare = [_bare(s) for s in settings]
        for a, b in itertools.combinations(range(len(settings)), 2):
            if bare[a] == bare[b]:
                raise InputError(self._alike(self.variants[a], self.variants[b]))
        cells = []
        for seed, (k, variant), fold in itertools.product(self.seeds, enumerate(self.variants), self.folds or ("",)):
            parts = [variant.folder, f"fold-{file_name(fold)}" if fold else "", f"seed{seed}"]
            data = replace(settings[k].data, fold=fold) if fold else settings[k].data
            cells.append(Cell("/".join(p for p in parts if p), k, fold, replace(settings[k], data=data, seed=seed)))
        places = [cell.place for cell in cells]
        if len(set(places)) != len(places):
            twice = next(p for p in places if places.count(p) > 1)
            raise InputError(f"two runs of this study would stand in {twice}; name each seed, fold and value once")
        return cells

    def _alike(self, a: Variant, b: Variant) -> str:
        """What is wrong with two rows that are the same: values that were typed, or else what all rows have."""
        same = f"{a.folder} and {b.folder} are the same settings"
        if not self.title:
            return f"--over: {same}; name each value once"
        guilty = [word for word in self.words if _keys(word) & (a.keys | b.keys)] or self.words
        return f"{self.title}: with --set {' --set '.join(guilty)} its rows {same}; leave out what they differ in"

    def to_json(self) -> dict[str, Any]:
        """As written in ``study.json``."""
        variants = [{"labels": dict(v.labels), "words": list(v.words)} for v in self.variants]
        return {
            "preset": self.preset,
            "words": list(self.words),
            "variants": variants,
            "seeds": list(self.seeds),
            "folds": list(self.folds),
            "title": self.title,
            "note": self.note,
        }

    @classmethod
    def from_json(cls, table: Mapping[str, Any]) -> Grid:
        """The inverse of :meth:`to_json`; an older version wrote neither title nor note."""
        variants = tuple(Variant(dict(v["labels"]), tuple(v["words"])) for v in table["variants"])
        said = {key: str(table.get(key, "")) for key in ("title", "note")}
        return cls(str(table["preset"]), tuple(table["words"]), variants, tuple(table["seeds"]), tuple(table["folds"]), **said)


def _keys(word: str) -> set[str]:
    """The settings that ``key=value`` changes: several, if the value is a table."""
    table: dict[str, Any] = {}
    assign(table, word)
    return {key for key, _ in flat(table)}


def _bare(settings: Settings) -> Settings:
    """Without the order of modalities, which is the corpus's."""
    return replace(settings, data=replace(settings.data, modalities=tuple(sorted(settings.data.modalities))))


def variants_over(over: Sequence[str]) -> tuple[Variant, ...]:
    """Every combination of the values of some settings.

    Args:
        over: ``key=v1,v2,...``; lists of words are joined by ``+`` (``data.modalities=text,text+audio``).

    Raises:
        InputError: not of that form, a key or a value twice.

    >>> [v.folder for v in variants_over(["a.b=1,2", "c=x,y"])]
    ['a.b=1,c=x', 'a.b=1,c=y', 'a.b=2,c=x', 'a.b=2,c=y']
    """
    axes: dict[str, list[str]] = {}
    for word in over:
        key, equals, text = word.partition("=")
        key, values = key.strip(), [v.strip() for v in text.split(",")]
        if not equals or not key or not all(values):
            raise InputError(f"--over {word}: expected key=v1,v2,..., such as --over training.lr=0.001,0.0005")
        if key in axes or len(set(values)) != len(values):
            raise InputError(f"--over {word}: expected every key and every value once")
        axes[key] = values
    rows = [dict(zip(axes, values, strict=True)) for values in itertools.product(*axes.values())]
    return tuple(Variant(row, tuple(f"{k}={v}" for k, v in row.items())) for row in rows)
