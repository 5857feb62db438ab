"""The report of a run: pictures and one page that needs no network, made from the run folder's own files and nothing else."""

from __future__ import annotations

import shlex
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from dgl_merc.corpus.storage import read_parquet
from dgl_merc.errors import InputError, at
from dgl_merc.evaluation.sentiment import ZEROS_COUNTED, ZEROS_LEFT_OUT
from dgl_merc.files import read_json
from dgl_merc.reports.contributions import contributions_page
from dgl_merc.reports.features import made_features
from dgl_merc.reports.model_card import CARD, INTENDED, LAW, LAW_ADVICE, NOT_FOR, read_in_words, write_card
from dgl_merc.reports.page import render, save_figures
from dgl_merc.reports.space import space_page
from dgl_merc.reports.uncertainty import uncertainty_page
from dgl_merc.settings import flat_settings

__all__ = ["shown_split", "write_report"]

_CLOSER = ("contributions", "space")  # what only some runs have: a single `dglmerc fit`, or after `dglmerc report`


def write_report(folder: Path, name: Path | None = None, metrics: Mapping[str, Any] | None = None) -> Path:
    """Draw ``figures/*.png`` and write ``report.html`` and ``MODEL_CARD.md`` into a run folder.

    Args:
        folder: holds ``config.json``, ``data.json``, ``environment.json``, ``history.json`` and ``metrics.json``; where scores were
            learnt, also ``predictions.parquet``; ``contributions.json`` and ``space.json`` are shown where they are.
        name: what the page calls the run; default: the folder.
        metrics: those that ``metrics.json`` is about to hold; default: those it holds.

    Returns:
        The page's path.

    Raises:
        InputError: one of the files is missing or damaged.
    """
    parts: dict[str, Any] = {key: read_json(folder / f"{key}.json") for key in ("config", "data", "environment", "history", "metrics")}
    parts["metrics"] = metrics or parts["metrics"]
    parts |= {key: read_json(folder / f"{key}.json") if (folder / f"{key}.json").is_file() else None for key in _CLOSER}
    run, split = _title((name or folder).resolve()), shown_split(parts["metrics"])
    with _as_written(folder):
        pages = {"contributions": contributions_page(parts["contributions"]), "space": space_page(parts["space"])}
        pictures = _draw(folder, parts)
    write_card(folder, run, split, parts)
    return render(
        "run.html",
        folder / "report.html",
        run=run,
        pictures=pictures,
        uncertainty=uncertainty_page(parts["metrics"]["splits"][split].get("uncertainty", {})),
        made=made_features(parts["data"]),
        command=shlex.join(parts["environment"]["command"]),
        reads=read_in_words(parts["data"]["widths"], parts["metrics"].get("reduced", {})),
        zeros_left_out=ZEROS_LEFT_OUT,
        zeros_counted=ZEROS_COUNTED,
        settings=sorted((k, str(v)) for k, v in flat_settings(parts["config"]) if k not in ("preset", "seed")),
        card={"file": CARD, "intended": INTENDED, "not_for": NOT_FOR, "law": LAW, "advice": LAW_ADVICE},
        **{**parts, **pages},
    )


@contextmanager
def _as_written(folder: Path) -> Iterator[None]:
    """A fault in what only some runs have is a damaged file."""
    try:
        yield
    except (KeyError, TypeError, AttributeError, ValueError) as error:
        raise InputError(
            f"{at(folder)}expected in {' and '.join(f'{key}.json' for key in _CLOSER)} what dglmerc report writes, "
            f"found a fault at {error}; pass the run to dglmerc report"
        ) from None


def _title(place: Path) -> str:
    """The run's folder; within a study, from the study's folder on."""
    for root in list(place.parents)[:4]:
        if (root / "study.json").is_file():
            return " / ".join([root.name, *place.relative_to(root).parts])
    return place.name


def shown_split(metrics: Mapping[str, Any]) -> str:
    """The split that pictures are of: test where it was evaluated, else dev."""
    return "test" if metrics["splits"].get("test") else "dev"


def _draw(folder: Path, parts: dict[str, Any]) -> dict[str, str]:
    """The figures, saved, and as data URLs for the page."""
    from dgl_merc.reports.contributions import contributions_figure
    from dgl_merc.reports.figures import calibration_figure, confusion_figure, curves_figure, per_class_figure, scores_figure
    from dgl_merc.reports.space import space_figure
    from dgl_merc.reports.uncertainty import uncertainty_figure

    metrics = parts["metrics"]
    figures = {"curves": curves_figure(parts["history"]["looks"], metrics["chosen_epoch"])}
    split = shown_split(metrics)
    shown = metrics["splits"][split]
    if shown["utterances"]:
        figures["confusion"] = confusion_figure(shown["confusion"], list(shown["per_class"]))
        figures["per_class"] = per_class_figure(shown["per_class"])
    if shown["calibration"]["bins"]:
        figures["calibration"] = calibration_figure(shown["calibration"])
    if any(row["sigma"] and row["sigma"]["bins"] for row in shown.get("uncertainty", {}).values()):
        figures["uncertainty"] = uncertainty_figure(shown["uncertainty"])
    if shown.get("sentiment", {}).get("mean_absolute_error") is not None:
        table = read_parquet(folder / "predictions.parquet")
        table = table[(table["split"] == split) & table["score"].notna()]
        figures["scores"] = scores_figure(table["score"], table["predicted_score"], parts["data"]["bounds"])
    if parts["contributions"]:
        figures["contributions"] = contributions_figure(parts["contributions"])
    if parts["space"] and "reason" not in parts["space"]:
        figures["space"] = space_figure(read_parquet(folder / "space.parquet"), parts["data"]["labels"])
    return save_figures(figures, folder / "figures")
