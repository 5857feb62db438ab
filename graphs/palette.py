"""What an emotion looks like, in every picture: a colour, a marker and a letter, so that grey paper and colour-blind eyes can tell it.

The colours are Okabe and Ito's ("Color Universal Design", 2008), but for grey and brown. Emotions of the field's corpora have theirs for
good, so that anger is vermilion in a picture of MELD and in one of IEMOCAP; classes of other names take what is left, in their order.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import cycle
from typing import Any

__all__ = ["BLUE", "GREY", "GRID", "INK", "NO_LABEL", "ORANGE", "PALE", "Look", "bare", "ink_on", "looks"]

BLUE = "#0072B2"
"""Of what is no emotion: the first."""
ORANGE = "#D55E00"
"""The second."""
GREY = "#6b7280"
"""What stands back."""
INK = "#1f2937"
"""Of text."""
GRID = "#e5e7eb"
"""Of lines behind."""
PALE = "#f3f4f6"
"""Of areas behind."""

_GREEN, _PINK, _SKY, _YELLOW, _AMBER, _BROWN, _STONE = "#009E73", "#CC79A7", "#56B4E9", "#F0E442", "#E69F00", "#8b5e3c", "#9ca3af"


@dataclass(frozen=True)
class Look:
    """How a class is drawn.

    Attributes:
        colour: ``#rrggbb``.
        marker: of matplotlib.
        letters: one to three, which no other class of the same list has.
    """

    colour: str
    marker: str
    letters: str


NO_LABEL = Look("#ffffff", "o", "")
"""Of an utterance nobody labelled."""

_KNOWN = {
    "neutral": (_STONE, "o"),
    "anger": (ORANGE, "^"),
    "disgust": (_GREEN, "v"),
    "fear": (_PINK, "D"),
    "joy": (_AMBER, "s"),
    "sadness": (BLUE, "p"),
    "surprise": (_SKY, "h"),
    "excitement": (_YELLOW, ">"),
    "frustration": (_BROWN, "<"),
    "negative": (ORANGE, "v"),
    "positive": (BLUE, "^"),
}
_SAME_AS = {
    "ang": "anger",
    "angry": "anger",
    "disgusted": "disgust",
    "dis": "disgust",
    "fearful": "fear",
    "fea": "fear",
    "scared": "fear",
    "happy": "joy",
    "happiness": "joy",
    "hap": "joy",
    "joyful": "joy",
    "sad": "sadness",
    "surprised": "surprise",
    "sur": "surprise",
    "excited": "excitement",
    "exc": "excitement",
    "frustrated": "frustration",
    "fru": "frustration",
    "neu": "neutral",
}
_COLOURS = (BLUE, ORANGE, _GREEN, _PINK, _SKY, _AMBER, INK, _BROWN, _YELLOW, _STONE)
_MARKERS = "osD^vph><PX*"


def looks(names: Sequence[str]) -> dict[str, Look]:
    """What the classes of a target look like.

    Args:
        names: all classes, in their order, whether they occur in the picture or not: then it is the same in the next one.

    Returns:
        name -> its look. No two have the same letters; up to ten have colours and markers of their own, beyond that their pairs differ.

    >>> {name: (look.colour, look.letters) for name, look in looks(["neutral", "sadness", "surprise"]).items()}
    {'neutral': ('#9ca3af', 'N'), 'sadness': ('#0072B2', 'Sa'), 'surprise': ('#56B4E9', 'Su')}
    """
    names = list(dict.fromkeys(names))
    chosen: dict[str, tuple[str, str]] = {}
    for name in names:
        usual = name.strip().lower()
        style = _KNOWN.get(_SAME_AS.get(usual, usual))
        if style and style not in chosen.values():
            chosen[name] = style
    left = [name for name in names if name not in chosen]
    chosen |= dict(zip(left, _free(list(chosen.values())), strict=False))
    letters = _letters(names)
    return {name: Look(*chosen[name], letters[name]) for name in names}


def _free(taken: Sequence[tuple[str, str]]) -> Iterator[tuple[str, str]]:
    """Pairs of colour and marker: first those of which neither is taken, then those that are not, then all again and again."""
    colours = [c for c in _COLOURS if c not in {c for c, _ in taken}]
    markers = [m for m in _MARKERS if m not in {m for _, m in taken}]
    yield from zip(colours, markers, strict=False)
    seen = {*taken, *zip(colours, markers, strict=False)}
    pairs = [(c, _MARKERS[(k + turn) % len(_MARKERS)]) for turn in range(len(_MARKERS)) for k, c in enumerate(_COLOURS)]
    yield from (pair for pair in pairs if pair not in seen)
    yield from cycle(pairs)


def _letters(names: Sequence[str]) -> dict[str, str]:
    """The shortest beginnings, of up to three letters, that tell names apart; a number where none does."""
    words = {name: "".join(c for c in name if c.isalnum())[:3].capitalize() for name in names}
    found: dict[str, str] = {}
    for k, name in enumerate(names):
        others = [words[n] for n in names if n != name]
        starts = (words[name][:size] for size in (1, 2, 3))
        found[name] = next((s for s in starts if s and not any(w.startswith(s) for w in others)), f"#{k + 1}")
    return found


def ink_on(colour: str) -> str:
    """Black or white: what is read on a colour (the greater contrast of WCAG 2.1)."""
    parts = [int(colour[k : k + 2], 16) / 255 for k in (1, 3, 5)]
    linear = [p / 12.92 if p <= 0.04045 else ((p + 0.055) / 1.055) ** 2.4 for p in parts]
    luminance = sum(share * part for share, part in zip((0.2126, 0.7152, 0.0722), linear, strict=True))
    return "#000000" if (luminance + 0.05) ** 2 > 1.05 * 0.05 else "#ffffff"


def bare(axes: Any) -> None:
    """Take from axes what says nothing."""
    axes.spines[["top", "right"]].set_visible(False)
    axes.tick_params(labelsize=9, color=GREY)
