"""The pictures of a stretch of a recording."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from dgl_merc.extraction.media.file import foreign
from dgl_merc.extraction.media.recording import (
    BEGINS_LATE,
    DAMAGED,
    ENDS_LATE,
    LONGEST,
    TOLERANCE,
    TOO_LONG,
    Decoded,
    MediaError,
    Stretch,
    decoded,
)

__all__ = ["Frame", "read_frames"]

NARROWEST, WIDEST = 0.25, 4.0
"""Of pixels that are believed not to be square."""
USUAL = 0.04
"""Seconds that a picture is shown whose file does not say."""
SLACK = 1e-6
"""Of a picture: the error of times in seconds."""


@dataclass(frozen=True)
class Frame:
    """A picture.

    Attributes:
        time: seconds from the beginning of the stretch.
        pixels: [height, width, 3] uint8, RGB, upright, of square pixels.
    """

    time: float
    pixels: npt.NDArray[np.uint8]


def read_frames(
    path: Path, start: float | None = None, end: float | None = None, *, per_second: float = 5.0, longest_edge: int | None = None
) -> Iterator[Frame]:
    """Pictures of a stretch, evenly spaced in time, one after the other: what a player shows at 0, 1 / per_second, 2 / per_second, ...

    A picture is given once, however long it is shown. Pictures of phones are turned as the file says, those with oblong pixels are
    stretched in width. In memory is a picture or two.

    Args:
        path: a recording; a still image is none.
        start: in seconds; None: the beginning.
        end: in seconds; None: the end of the file.
        per_second: how many pictures a second, at most as many as there are.
        longest_edge: larger pictures are shrunk to it; None: they are not.

    Raises:
        MediaError: as of :func:`~dgl_merc.extraction.media.sound.read_sound`, or larger than
            :data:`~dgl_merc.extraction.media.file.MOST_PIXELS`; when it is come upon, which may be after some pictures.
    """
    stretch = Stretch.of(start, end)
    length = math.inf if stretch.end is None else stretch.end - stretch.start
    due, given, over = 0, 0, 0.0
    for one, since, until in _shown(path, stretch):
        over = until
        if stretch.end is None and until > LONGEST:
            raise MediaError(TOO_LONG)
        due = max(due, math.ceil(since * per_second - SLACK))
        if due < min(until, length) * per_second - SLACK:
            given += 1
            yield Frame(due / per_second, _pixels(one.frame, one.aspect, longest_edge))
        due = max(due, math.ceil(until * per_second - SLACK))
        if until >= length:
            break
    else:
        if over <= 0:
            raise MediaError(BEGINS_LATE if stretch.start else "no pictures in the file")
        if length - over > TOLERANCE and stretch.end is not None:
            raise MediaError(ENDS_LATE)
    if not given:
        raise MediaError("no pictures in the stretch")


def _shown(path: Path, stretch: Stretch) -> Iterator[tuple[Decoded, float, float]]:
    """Frames, with the times from the beginning of the stretch from and until which each is shown."""
    held: Decoded | None = None
    since, step = -stretch.start, 0.0
    for one in decoded(path, "video", stretch):
        frame, at = one.frame, one.time
        with foreign(DAMAGED):
            lasts = float((frame.duration or 0) * (frame.time_base or 0)) or USUAL
        now = since + step if at is None else max(since, at - stretch.start)
        if held is not None:
            yield held, since, now
        held, since, step = one, now, lasts
    if held is not None:
        yield held, since, since + step


def _pixels(frame: Any, aspect: float, longest_edge: int | None) -> npt.NDArray[np.uint8]:
    """[height, width, 3] RGB."""
    with foreign(DAMAGED):
        height, width = frame.height, frame.width * (aspect if NARROWEST <= aspect <= WIDEST else 1.0)
        shrink = min(1.0, (longest_edge or math.inf) / max(height, width))
        size = {"width": max(1, round(width * shrink)), "height": max(1, round(height * shrink))}
        pixels = frame.reformat(format="rgb24", interpolation="AREA" if shrink < 1 else "BILINEAR", **size).to_ndarray()
        return np.ascontiguousarray(np.rot90(pixels, round(frame.rotation / 90)))  # both count against the clock
