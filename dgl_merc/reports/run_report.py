"""The report of a run: pictures and one page that needs no network, made from the run folder's own files and nothing else."""

from __future__ import annotations

import base64
import shlex
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING, Any

from jinja2 import Environment, PackageLoader, StrictUndefined

from dgl_merc.files import read_json

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["write_report"]

_DPI = 160


def write_report(folder: Path, name: Path | None = None) -> Path:
    """Draw ``figures/*.png`` and write ``report.html`` into a run folder.

    Args:
        folder: holds ``config.json``, ``data.json``, ``environment.json``, ``history.json`` and ``metrics.json``.
        name: what the page calls the run; default: the folder.

    Returns:
        The page's path.

    Raises:
        InputError: one of the files is missing or damaged.
    """
    parts = {key: read_json(folder / f"{key}.json") for key in ("config", "data", "environment", "history", "metrics")}
    pictures = _draw(folder, parts)
    page = Environment(
        loader=PackageLoader("dgl_merc.reports", "."), autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    page.filters["percent"] = lambda value: "–" if value is None else f"{value:.1f}"
    text = page.get_template("run.html").render(
        run=(name or folder).name,
        pictures=pictures,
        command=shlex.join(parts["environment"]["command"]),
        settings=sorted(_flat({k: v for k, v in parts["config"].items() if k not in ("preset", "seed")})),
        **parts,
    )
    path = folder / "report.html"
    path.write_text(text, encoding="utf-8")
    return path


def _draw(folder: Path, parts: dict[str, Any]) -> dict[str, str]:
    """The figures, saved, and as data URLs for the page."""
    from dgl_merc.reports.figures import calibration_figure, confusion_figure, curves_figure, per_class_figure

    metrics = parts["metrics"]
    figures = {"curves": curves_figure(parts["history"]["epochs"], metrics["chosen_epoch"])}
    shown = metrics["splits"].get("test") or metrics["splits"]["dev"]
    if shown["utterances"]:
        figures["confusion"] = confusion_figure(shown["confusion"], list(shown["per_class"]))
        figures["per_class"] = per_class_figure(shown["per_class"])
        figures["calibration"] = calibration_figure(shown["calibration"])
    (folder / "figures").mkdir(exist_ok=True)
    return {name: _save(figure, folder / "figures" / f"{name}.png") for name, figure in figures.items()}


def _save(figure: Figure, path: Path) -> str:
    buffer = BytesIO()
    figure.savefig(buffer, format="png", dpi=_DPI)
    path.write_bytes(buffer.getvalue())
    return "data:image/png;base64," + base64.b64encode(buffer.getvalue()).decode("ascii")


def _flat(table: dict[str, Any], prefix: str = "") -> list[tuple[str, str]]:
    """Nested settings as ``a.b`` -> value, under the keys that ``--set`` takes."""
    rows = []
    for key, value in table.items():
        name = prefix + ("model" if key == "options" and not prefix else key)
        rows += _flat(value, f"{name}.") if isinstance(value, dict) else [(name, str(value))]
    return rows
