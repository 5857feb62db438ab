"""One page, no network: templates with escaping, pictures inside."""

from __future__ import annotations

import base64
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from jinja2 import Environment, PackageLoader, StrictUndefined

from dgl_merc.files import write_bytes
from dgl_merc.graphs.pictures import as_bytes

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["number", "render", "save_figure", "save_figures"]


def render(template: str, path: Path, **values: Any) -> Path:
    """Write a page.

    Args:
        template: of this folder.
        path: of the page.
        values: that the template names; text is escaped.
    """
    page = Environment(
        loader=PackageLoader("dgl_merc.reports", "."), autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    page.filters["percent"] = number
    page.filters["spread"] = _spread
    write_bytes(path, page.get_template(template).render(**values).encode("utf-8", "replace"))
    return path


def number(value: float | None, digits: int = 1) -> str:
    """With so many digits; ``–`` where there is none.

    >>> number(56.78), number(None)
    ('56.8', '–')
    """
    return "–" if value is None else f"{value:.{digits}f}"


def _spread(part: Mapping[str, float | None], digits: int = 1) -> str:
    """Mean and deviation."""
    return number(part["mean"], digits) + ("" if part["deviation"] is None else f" ± {number(part['deviation'], digits)}")


def save_figure(figure: Figure, path: Path) -> str:
    """Save a figure as PNG; also returned as a data URL for a page."""
    content = as_bytes(figure, "png")
    path.parent.mkdir(exist_ok=True)
    write_bytes(path, content)
    return "data:image/png;base64," + base64.b64encode(content).decode("ascii")


def save_figures(figures: Mapping[str, Figure], folder: Path) -> dict[str, str]:
    """Each as ``folder/<name>.png``; name -> data URL."""
    return {name: save_figure(figure, folder / f"{name}.png") for name, figure in figures.items()}
