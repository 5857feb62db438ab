"""Systems: runs that differ in nothing but seed and fold, judged together and against each other on the same dialogues.

A run of a fold has seen only part of the test dialogues; the folds of a seed are put together, so that every seed has judged all of them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from dgl_merc.errors import InputError, at
from dgl_merc.evaluation.statistics import counts_of
from dgl_merc.files import resolved
from dgl_merc.settings import differences, flat_settings
from dgl_merc.training.run_folder import SavedRun, open_run

__all__ = ["System", "check_comparable", "open_system"]

Counts = npt.NDArray[np.int64]


@dataclass(frozen=True)
class System:
    """Runs of one setting.

    Attributes:
        name: for tables.
        runs: by seed, then fold.
    """

    name: str
    runs: tuple[SavedRun, ...]

    @property
    def seeds(self) -> tuple[int, ...]:
        """Each once, ascending."""
        return tuple(sorted({run.settings.seed for run in self.runs}))

    @property
    def folds(self) -> tuple[str, ...]:
        """Each once; ``("",)`` where there are none."""
        return tuple(sorted({run.settings.data.fold for run in self.runs}))

    def hashes(self, split: str) -> dict[str, str]:
        """Fold -> hash of which utterances of a split are judged, and by which labels."""
        return {run.settings.data.fold: run.data["division"]["splits"][split]["sha256"] for run in self.runs}

    @cached_property
    def features(self) -> dict[str, str]:
        """Modality -> hash of its features."""
        return dict(self.runs[0].data["features"])

    def scores(self, split: str) -> dict[int, list[float]]:
        """Seed -> weighted F1 of its runs, one a fold; without those that have no labelled utterance there.

        Raises:
            InputError: a run has not evaluated the split.
        """
        found: dict[int, list[float]] = {}
        for run in self.runs:
            if split not in run.metrics["splits"]:
                raise InputError(f"{at(run.path)}expected scores of {split}, found none{_hint(run, split)}")
            value = run.metrics["splits"][split]["weighted_f1"]
            if value is not None:
                found.setdefault(run.settings.seed, []).append(value)
        return found

    def judged(self, split: str) -> pd.DataFrame:
        """Labelled utterances of a split: ``dialogue_id, position, label`` and a column of predictions per seed.

        Raises:
            InputError: a run has not evaluated the split.
        """
        columns = {}
        for seed in self.seeds:
            frames = []
            for run in self.runs:
                if run.settings.seed != seed:
                    continue
                table = run.predictions
                part = table[(table["split"] == split) & table["label"].notna()]
                if split not in set(table["split"]):
                    raise InputError(f"{at(run.path)}expected predictions of {split}, found none{_hint(run, split)}")
                frames.append(part.set_index(["dialogue_id", "position", "label"])["predicted"])
            columns[seed] = pd.concat(frames)
        index = columns[self.seeds[0]].index
        if not len(index):
            raise InputError(f"{self.name}: expected labelled utterances in {split}, found none")
        if index.has_duplicates or any(not index.sort_values().equals(c.index.sort_values()) for c in columns.values()):
            raise InputError(f"{self.name}: expected every seed to judge each utterance of {split} once; fit all folds with all seeds")
        return pd.DataFrame(columns).sort_index().reset_index()

    def counts(self, split: str) -> Counts:
        """[S, D, C, C] confusion counts per seed and dialogue, dialogues sorted by name."""
        table = self.judged(split)
        return counts_of(table["dialogue_id"], table["label"], [table[seed] for seed in self.seeds], self.runs[0].names)


def _hint(run: SavedRun, split: str) -> str:
    return " (a grid: `dglmerc ablate ... --final` evaluates test)" if split == "test" and not run.metrics["test_evaluated"] else ""


def open_system(path: Path, name: str = "") -> System:
    """A run folder, or every run below a folder.

    Args:
        path: a run, or a folder of runs that differ in seed and fold only.
        name: for tables; default: the folder's.

    Raises:
        InputError: no run there, runs of different settings, or one that is there twice.
    """
    if not path.is_dir():
        raise InputError(f"{at(path)}expected the folder of a run or of several, found none")
    alone = (path / "metrics.json").is_file()
    inside = [p.parent for p in path.rglob("metrics.json") if not any(part.startswith(".") for part in p.relative_to(path).parts)]
    runs = [open_run(p) for p in ([path] if alone else sorted(inside))]
    if not runs:
        raise InputError(f"{at(path)}expected the folder of a run or of several, found no metrics.json in or below it")
    return system_of(name or resolved(path).name, runs, str(path))


def system_of(name: str, runs: Sequence[SavedRun], where: str) -> System:
    """Runs as one system.

    Raises:
        InputError: they differ in more than seed and fold, or one is there twice.
    """
    first = runs[0]
    for run in runs[1:]:
        for said, old, new in _differences(first, run):
            raise InputError(
                f"{at(where)}holds runs of different settings ({said}: {old} in {first.path}, {new} in {run.path}); name one folder each"
            )
    keys = [(run.settings.seed, run.settings.data.fold) for run in runs]
    if len(set(keys)) != len(keys):
        seed, fold = next(k for k in keys if keys.count(k) > 1)
        raise InputError(f"{at(where)}holds seed {seed}{f' of fold {fold}' if fold else ''} twice; name one folder each")
    order = sorted(range(len(runs)), key=lambda k: keys[k])
    return System(name, tuple(runs[k] for k in order))


def _differences(a: SavedRun, b: SavedRun) -> list[tuple[str, Any, Any]]:
    """What is different beside seed, fold and preset's name."""
    tables = []
    for run in (a, b):
        s = run.settings
        s = replace(s, seed=0, preset="", data=replace(s.data, fold=""))
        about = {key: run.data[key] for key in ("spec", "target", "labels", "features")}
        tables.append(dict(flat_settings({**s.to_json(), "data.json": about, "corpus": run.data["corpus"]["content_sha256"]})))
    return differences(*tables)


def check_comparable(systems: Sequence[System], split: str) -> list[str]:
    """Hold systems to the same utterances, labels and features.

    Args:
        systems: two or more.
        split: that is judged.

    Returns:
        Notes on what may differ and does: the modalities.

    Raises:
        InputError: they are not comparable; names the two and what differs.
    """
    first, notes = systems[0], []
    for other in systems[1:]:
        a, b = first.runs[0].data, other.runs[0].data
        pair = f"{first.name} and {other.name} can't be compared: "
        for key in ("target", "labels"):
            if a[key] != b[key]:
                raise InputError(f"{pair}their {key} differ ({a[key]} and {b[key]})")
        if first.hashes(split) != other.hashes(split):
            raise InputError(f"{pair}they were judged on different {split} sets (other utterances, labels or folds)")
        for m in first.features.keys() & other.features.keys():
            if first.features[m] != other.features[m]:
                raise InputError(
                    f"{pair}they were given different features of {m} ({first.features[m][:12]}… and {other.features[m][:12]}…)"
                )
        if first.features.keys() != other.features.keys():
            notes.append(f"{first.name} uses {', '.join(first.features)}; {other.name} uses {', '.join(other.features)}")
    return notes
