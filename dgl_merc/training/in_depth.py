"""What a report shows beside scores, and what takes seconds to make: the model asked again, on the split that the report is of.

It stands in files of the run folder:

    contributions.json          the score without each modality and with each alone; not of a model of one modality
    space.json, space.parquet   the utterances before the model and before its emotion head: how their labels lie, and t-SNE planes
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pandas as pd
import torch

from dgl_merc.files import write_bytes, write_json
from dgl_merc.models import Model
from dgl_merc.reports.run_report import shown_split
from dgl_merc.training.contributions import contributions
from dgl_merc.training.data import DialogueData, Numbers
from dgl_merc.training.space import describe_spaces

__all__ = ["write_in_depth"]


def write_in_depth(
    folder: Path,
    model: Model,
    data: DialogueData,
    splits: Mapping[str, Numbers],
    predictions: pd.DataFrame,
    metrics: Mapping[str, Any],
    *,
    device: torch.device | str = "cpu",
    beside: Mapping[str, Any] | None = None,
) -> None:
    """Write the files, in the place of earlier ones.

    Args:
        folder: of the run.
        model: trained.
        data: the run's corpus, with its splits.
        splits: split -> numbers of its dialogues.
        predictions: the run's table.
        metrics: what ``metrics.json`` holds: test is looked at where it was evaluated.
        device: where the model is.
        beside: of :func:`dgl_merc.studies.beside.trained_alone`: a run of one modality, to stand in ``contributions.json`` too.
    """
    split = shown_split(metrics)
    about, points = describe_spaces(model, data, split, splits[split], device=device)
    write_bytes(folder / "space.parquet", points.to_parquet(None, index=False))
    write_json(folder / "space.json", about)
    found = contributions(model, data, split, splits[split], predictions, device=device)
    if found:
        write_json(folder / "contributions.json", found | ({"beside": dict(beside)} if beside else {}))
    else:
        (folder / "contributions.json").unlink(missing_ok=True)
