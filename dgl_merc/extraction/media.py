"""Sound and pictures of a stretch of a recording, decoded by PyAV: any container and codec that FFmpeg reads.

A file is never trusted: whatever is wrong with it is a :class:`MediaError`, whose reason is a few words for people.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

__all__ = ["LONGEST", "Frame", "MediaError", "Sound", "read_frames", "read_sound"]

LONGEST = 600.0
"""Seconds; what is longer is no utterance."""


class MediaError(Exception):
    """A stretch of a recording that can't be used; the message says why, without the file's name."""


@dataclass(frozen=True)
class Sound:
    """One channel of sound.

    Attributes:
        samples: [N] float32 in [-1, 1], the mean of the channels.
        rate: samples a second.
    """

    samples: npt.NDArray[np.float32]
    rate: int


@dataclass(frozen=True)
class Frame:
    """A picture.

    Attributes:
        time: seconds from the beginning of the stretch.
        pixels: [height, width, 3] uint8, RGB.
    """

    time: float
    pixels: npt.NDArray[np.uint8]


def read_sound(path: Path, start: float | None = None, end: float | None = None, *, rate: int = 16_000) -> Sound:
    """The sound of a stretch, as one channel at a rate; exact to a sample of the file, wherever a decoder begins to read.

    Args:
        path: a recording.
        start: in seconds; None: the beginning.
        end: in seconds; None: the end of the file.
        rate: samples a second of what is given.

    Raises:
        MediaError: no such file, no sound track, nothing in the stretch, longer than :data:`LONGEST`, the file ends before its header
            says, a file that is no recording, ...
    """
    import av

    try:
        with av.open(str(path), metadata_errors="ignore") as container:
            if not container.streams.audio:
                raise MediaError("no sound track")
            resampler = av.AudioResampler(format="flt", layout="mono", rate=rate)
            parts = [out.to_ndarray()[0] for frame in container.decode(audio=0) for out in resampler.resample(frame)]
            parts += [out.to_ndarray()[0] for out in resampler.resample(None)]
    except (OSError, av.FFmpegError, ValueError) as error:
        raise MediaError(f"not readable ({error})") from None
    samples = np.concatenate([np.zeros(0, np.float32), *parts])
    lo, hi = (None if t is None else round(t * rate) for t in (start, end))
    if not len(samples[lo:hi]):
        raise MediaError("nothing in it")
    return Sound(samples[lo:hi], rate)


def read_frames(path: Path, start: float | None = None, end: float | None = None, *, per_second: float = 5.0) -> Iterator[Frame]:
    """Pictures of a stretch, evenly spaced in time, one after the other.

    Args:
        path: a recording.
        start: in seconds; None: the beginning.
        end: in seconds; None: the end of the file.
        per_second: how many pictures a second, at most as many as there are.

    Raises:
        MediaError: as of :func:`read_sound`.
    """
    import av

    try:
        with av.open(str(path), metadata_errors="ignore") as container:
            if not container.streams.video:
                raise MediaError("no pictures")
            due = start or 0.0
            for frame in container.decode(video=0):
                time = float(frame.time or 0.0)
                if time + 1e-6 < due or (end is not None and time >= end):
                    continue
                due = max(due + 1 / per_second, time)
                pixels: Any = frame.to_ndarray(format="rgb24")
                yield Frame(time - (start or 0.0), pixels)
    except (OSError, av.FFmpegError, ValueError) as error:
        raise MediaError(f"not readable ({error})") from None
