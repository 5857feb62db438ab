"""A comparison of systems as files: table, numbers and picture."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from dgl_merc.files import replaced_folder, write_json
from dgl_merc.reports.page import save_figure
from dgl_merc.reports.study_figures import Bar, differences_figure
from dgl_merc.reports.tables import write_tables

__all__ = ["write_comparison"]


def write_comparison(out: Path, numbers: Mapping[str, Any], table: pd.DataFrame) -> None:
    """Write ``comparison.json .txt .csv .tex .png``, in the place of an earlier one.

    Args:
        out: the folder.
        numbers: of ``Comparison.to_json``.
        table: of ``Comparison.table``.

    Raises:
        InputError: something else is in ``out``.
    """
    systems, split, baseline = numbers["systems"], numbers["split"], numbers["baseline"]
    bars = [_bar(s["name"], s["weighted_f1"], "mean", s["scores"]) for s in systems]
    differences = [_bar(s["name"], s["difference"], "effect") for s in systems[1:]]
    rows = []
    for s in systems:
        row = {"system": s["name"], **s["weighted_f1"]}
        rows.append(row | {f"difference {k}": v for k, v in (s["difference"] or {}).items()} | {"p_holm": s["p_holm"]})
    with replaced_folder(out, "comparison.json") as folder:
        caption = f"Weighted F1 on {split}; differences from {baseline}, paired by dialogue"
        write_tables(folder, "comparison", table.rename_axis("system").reset_index(), pd.DataFrame(rows), caption)
        save_figure(differences_figure(bars, differences, baseline, f"weighted F1 on {split} (%)"), folder / "comparison.png")
        write_json(folder / "comparison.json", numbers)


def _bar(name: str, numbers: Mapping[str, Any], key: str, points: Sequence[float] = ()) -> Bar:
    return Bar(name, numbers[key], numbers["low"], numbers["high"], tuple(points))
