"""The shortest way to a study of the tiny store with two sessions (see conftest), for the tests of studies."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from dgl_merc.studies.grid import Grid, Variant, variants_over
from dgl_merc.studies.study import Outcome, Plan, run_study
from dgl_merc.training.source import Source

SMALL = ("model.hidden=5", "training.max_epochs=2", "training.batch_size=5")


def grid(*over: str, seeds: int = 2, **more: Any) -> Grid:
    return Grid("bilstm", SMALL, variants_over(over) if over else (Variant(),), tuple(range(seeds)), **more)


def go(g: Grid, out: Path, source: Source, store: Path, *, test: bool = False, **options: Any) -> list[Outcome]:
    return run_study(g, Plan(store, test=test), out, source, **options)
