"""The report of a finished run, made again with everything, also of a run that an older version made."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from dgl_merc.corpus import Corpus
from dgl_merc.files import locked, write_json
from dgl_merc.reports.run_report import write_report
from dgl_merc.training.in_depth import write_in_depth
from dgl_merc.training.measures import corpus_facts
from dgl_merc.training.run_folder import SavedRun, open_run, score_table

__all__ = ["report_again"]


def report_again(run: SavedRun, corpus: Corpus, *, device: str = "cpu", beside: Mapping[str, Any] | None = None) -> Path:
    """Make pictures, page and model card again, and what :mod:`dgl_merc.training.in_depth` makes.

    Test stays unseen where it is. To ``metrics.json`` is added what this version measures of the predictions and an older one did not; no
    number in it changes. Weights, predictions and settings stay as they are.

    Args:
        run: finished.
        corpus: the one it was trained on.
        device: where to compute.
        beside: of :func:`dgl_merc.studies.beside.trained_alone`.

    Returns:
        The page's path.

    Raises:
        InputError: another corpus, a damaged file, or another process is at the run.
    """
    with locked(run.path, "making its report"):
        run = open_run(run.path)
        division = run.division(corpus)
        data, table = run.dialogue_data(division.corpus), run.predictions
        measured = score_table(table, run.task)
        splits = {split: {**measured[split], **there} if split in measured else there for split, there in run.metrics["splits"].items()}
        metrics = {**run.metrics, "splits": splits, "corpus": corpus_facts(data, division.dialogues())}
        if metrics != run.metrics:
            write_json(run.path / "metrics.json", metrics)
        write_in_depth(run.path, run.model(device), data, division.dialogues(), table, metrics, device=device, beside=beside)
        return write_report(run.path)
