"""The sound of a stretch of a recording."""

from __future__ import annotations

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

__all__ = ["Sound", "read_sound"]

Samples = npt.NDArray[np.float32]
RATES = range(1_000, 768_001)
GAP = 0.1
"""Seconds by which the time of a frame must differ from the end of the frame before it to be believed: clocks of containers are coarse."""
LITTLE = 0.005
"""The same, of containers that count samples."""
SAFE_PLANES = 8
"""Channels from which on PyAV's ``planes`` and ``to_ndarray`` read behind the last plane of a frame (7.1 of AAC: a segmentation fault):
FFmpeg ends its list of them with a null only while there are fewer."""


@dataclass(frozen=True)
class Sound:
    """One channel of sound.

    Attributes:
        samples: [N] float32, finite; in [-1, 1] but for what a lossy codec or a file of floats puts outside.
        rate: samples a second.
    """

    samples: Samples
    rate: int


def read_sound(path: Path, start: float | None = None, end: float | None = None, *, rate: int = 16_000) -> Sound:
    """The sound of a stretch, as one channel at a rate; exact to a sample of the file, wherever a decoder begins to read.

    The channel is the mean of all channels (of 5.1 too, whose deep one counts like another). Only the stretch is resampled: it sounds as it
    would from a file of its own. A hole in the track within the stretch is silence; in a container that only counts samples (FLAC, Ogg)
    it is damage. In memory are the stretch at ``rate`` and a packet.

    The samples are those of the whole file decoded from its beginning, but for the noise that decoders of AAC and AC-3 draw, from wherever
    they begin. Where frames have no one length, a container that counts milliseconds (Matroska) is cut to a millisecond.

    Args:
        path: a recording.
        start: in seconds; None: the beginning.
        end: in seconds; None: the end of the file.
        rate: samples a second of what is given.

    Raises:
        MediaError: no such file, no recording, no sound track, nothing in the stretch, longer than :data:`LONGEST`, the file is damaged or
            cut off within the stretch, the stretch ends more than :data:`TOLERANCE` after the recording, ...
    """
    cut = _Cut(path, Stretch.of(start, end), rate)
    for one in decoded(path, "audio", cut.stretch):
        if cut.add(one):
            return cut.sound()
    return cut.sound(ended=True)


class _Cut:
    """Gathers what lies in a stretch. Places are samples of the file, from its beginning."""

    def __init__(self, path: Path, stretch: Stretch, rate: int) -> None:
        from av import AudioResampler

        self.stretch = stretch
        self._path, self._rate = path, rate
        self._resampler = AudioResampler(format="flt", layout="mono", rate=rate)
        self._parts: list[Samples] = []
        self._native = self._first = self._last = 0
        self._next: int | None = None  # where the frame to come begins
        self._filled = 0  # up to where there is sound, or silence
        self._heard = 0

    def add(self, one: Decoded) -> bool:
        """Whether it was the last that is needed."""
        with foreign(DAMAGED):
            samples, rate = mono(one.frame), one.frame.sample_rate
        if not self._native:
            self._begin(rate)
        if rate != self._native:
            raise MediaError("its sample rate changes")
        place = self._place(one, len(samples))
        self._next = place + len(samples)
        begin, end = max(place, self._filled), min(self._next, self._last)
        if begin < end:
            self._silence(begin)
            self._put(samples[begin - place : end - place])
            self._heard += end - begin
        if self.stretch.end is None and self._next > self._last:
            raise MediaError(TOO_LONG)
        return self._next >= self._last

    def sound(self, *, ended: bool = False) -> Sound:
        """All of it; ended: the file was over first."""
        if ended:
            over = self._next or 0
            if not over and not self.stretch.start:
                raise MediaError("no sound in the file")
            if over <= self._first:
                raise MediaError(BEGINS_LATE)
            if self.stretch.end is not None and self._last - over > TOLERANCE * self._native:
                raise MediaError(ENDS_LATE)
        else:
            self._silence(self._last)
        with foreign(DAMAGED):
            self._keep(self._resampler.resample(None))
        if not self._heard or not self._parts:
            raise MediaError("no sound in the stretch")
        samples = np.concatenate(self._parts)
        if not np.isfinite(samples).all():
            raise MediaError("sound that is no finite numbers")
        return Sound(samples, self._rate)

    def _begin(self, rate: int) -> None:
        if rate not in RATES:
            raise MediaError("a sample rate of no recording")
        self._native = rate
        self._first = self._filled = round(self.stretch.start * rate)
        self._last = round((self.stretch.start + LONGEST if self.stretch.end is None else self.stretch.end) * rate)

    def _place(self, one: Decoded, length: int) -> int:
        """Where a frame begins: after the one before it, unless its time says something else."""
        if one.time is None:
            return self._next or 0
        place, tick = round(one.time * self._native), float(one.frame.time_base) * self._native
        if self._next is None:
            return self._on_grid(place + length, tick) - length if place > 0 else place
        if abs(place - self._next) <= max((LITTLE if one.counted else GAP) * self._native, tick):
            return self._next
        if one.counted and place > max(self._next, self._first) and self._next < self._last:
            raise MediaError(DAMAGED)
        return place

    def _on_grid(self, place: int, tick: float) -> int:
        """Where a frame ends, to the sample also in a container that counts milliseconds: codecs' frames have one length.

        Not where it begins: of the frame after a jump a decoder may leave out what it leaves out of a file's first one.
        """
        if tick <= 1:
            return place
        lengths = []
        for one in decoded(self._path, "audio", Stretch(0.0, 1.0)):
            lengths.append(one.frame.samples)
            if len(lengths) == 3:
                break
        if len(lengths) < 3 or lengths[1] != lengths[2]:
            return place
        on = lengths[0] + round((place - lengths[0]) / lengths[1]) * lengths[1]
        return on if abs(on - place) <= tick else place

    def _silence(self, until: int) -> None:
        while self._filled < until:
            self._put(np.zeros(min(until - self._filled, self._native), dtype=np.float32))

    def _put(self, samples: Samples) -> None:
        import av

        with foreign(DAMAGED):
            frame = av.AudioFrame.from_ndarray(samples[None], format="flt", layout="mono")
            frame.sample_rate, frame.pts = self._native, None
            self._keep(self._resampler.resample(frame))
        self._filled += len(samples)

    def _keep(self, frames: list[Any]) -> None:
        self._parts += [frame.to_ndarray()[0] for frame in frames if frame is not None]


def mono(frame: Any) -> Samples:
    """[N] float32: the mean of the channels of PyAV's frame."""
    from av import AudioResampler

    channels = frame.layout.nb_channels
    if frame.format.is_planar and channels >= SAFE_PLANES:
        (frame,) = AudioResampler(format=frame.format.packed).resample(frame)
    values = frame.to_ndarray()
    if not frame.format.is_planar:
        values = values.reshape(-1, channels).T
    if values.dtype.kind == "u":
        values = values.astype(np.float64) - 128
        scale = 128.0
    else:
        scale = 1.0 if values.dtype.kind == "f" else 2.0 ** (8 * values.dtype.itemsize - 1)
    with np.errstate(all="ignore"):  # floats of a stranger
        return np.asarray(values.mean(axis=0, dtype=np.float64) / scale, dtype=np.float32)
