"""Pictures as files: the same bytes each time, whatever stands in a text.

SVG has its letters as outlines, so that it looks the same on every machine; PDF embeds its fonts as TrueType, as journals ask. Neither
says when it was made.
"""

from __future__ import annotations

import functools
import re
import unicodedata
import warnings
from collections.abc import Callable
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, ParamSpec, TypeVar, get_args

from dgl_merc.errors import InputError, at
from dgl_merc.files import write_bytes

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["PictureKind", "as_bytes", "kind_of", "save", "short", "styled"]

PictureKind = Literal["svg", "png", "pdf"]
"""Of a file."""
_RULES: Any = {
    "text.parse_math": False,  # a speaker may be called $\frac
    "svg.fonttype": "path",
    "svg.hashsalt": "dglmerc",
    "pdf.fonttype": 42,
    "hatch.linewidth": 0.6,
}
_METADATA: dict[str, dict[str, None]] = {"svg": {"Date": None}, "png": {}, "pdf": {"CreationDate": None}}
_HIDDEN = {"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"}  # control characters (XML has none), reversals of the writing's direction, halves

P = ParamSpec("P")
R = TypeVar("R")


def styled(draw: Callable[P, R]) -> Callable[P, R]:
    """A function that draws under this project's rules: no text is read as mathematics."""

    @functools.wraps(draw)
    def under_rules(*args: P.args, **kwargs: P.kwargs) -> R:
        import matplotlib as mpl

        with mpl.rc_context(_RULES):
            return draw(*args, **kwargs)

    return under_rules


def short(text: object, longest: int) -> str:
    r"""A text as it may stand in a picture: on one line, without characters that are not seen, and not longer than this.

    >>> short("Oh no!\n\n  Not again.", 12), short("so\u202erry", 12)
    ('Oh no! Not…', 'sorry')
    """
    begin = str(text)[: 8 * longest + 64]  # of ten thousand characters not all are looked at
    words = " ".join("".join(c for c in begin if c.isspace() or unicodedata.category(c) not in _HIDDEN).split())
    return words if len(words) <= longest else words[: longest - 1].rstrip() + "…"


def kind_of(name: str) -> PictureKind | None:
    """The kind of a picture, by the end of its file's name.

    >>> kind_of("a.SVG"), kind_of("a.jpg")
    ('svg', None)
    """
    end = Path(name).suffix.lower().removeprefix(".")
    return next((kind for kind in get_args(PictureKind) if kind == end), None)


@styled
def as_bytes(figure: Figure, kind: PictureKind, *, dpi: float = 160) -> bytes:
    """A figure as the bytes of a file: the same of the same figure, on this machine and with this matplotlib.

    Args:
        figure: of matplotlib.
        kind: of picture.
        dpi: dots per inch of a PNG, and of images within the others.
    """
    buffer = BytesIO()
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Glyph", category=UserWarning)  # a name in a script the fonts lack: a box in the picture
        figure.savefig(buffer, format=kind, dpi=dpi, metadata=_METADATA[kind])
    return _with_plain_ids(buffer.getvalue()) if kind == "svg" else buffer.getvalue()


def _with_plain_ids(svg: bytes) -> bytes:
    """Clip paths numbered: matplotlib names them by a hash of their corners, whose last bit is another from one layout to the next."""
    numbers: dict[bytes, int] = {}
    return re.sub(rb'(?<=["#])p[0-9a-f]{10}(?=[")])', lambda found: b"clip%d" % numbers.setdefault(found[0], len(numbers)), svg)


def save(figure: Figure, path: Path, *, dpi: float = 300) -> Path:
    """Write a figure as SVG, PNG or PDF, as the file's name says; whole or not at all.

    Args:
        figure: of matplotlib.
        path: ends in .svg, .png or .pdf; the folder is made.
        dpi: dots per inch of a PNG, and of images within the others.

    Raises:
        InputError: another ending.
    """
    kind = kind_of(path.name)
    if kind is None:
        raise InputError(f"{at(path)}expected a name that ends in .svg, .png or .pdf")
    path.parent.mkdir(parents=True, exist_ok=True)
    write_bytes(path, as_bytes(figure, kind, dpi=dpi))
    return path
