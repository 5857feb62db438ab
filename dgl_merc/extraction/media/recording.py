"""The frames of a stretch of a recording, wherever its decoder has to begin."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, NamedTuple

from dgl_merc.extraction.media.file import MOST_PIXELS, OPTIONS, MediaError, foreign, opened

__all__ = [
    "BEGINS_LATE",
    "DAMAGED",
    "ENDS_LATE",
    "LONGEST",
    "TOLERANCE",
    "TOO_LONG",
    "Decoded",
    "MediaError",
    "Stretch",
    "decoded",
]

LONGEST = 600.0
"""Seconds; what is longer is no utterance."""
TOLERANCE = 0.25
"""Seconds that a stretch may end after the recording does, as rounded times do: it is cut there. More is a fault."""
SHORT = 0.1
"""Seconds by which a file may be shorter than its header says: of a codec's last frame, which is padded."""
LEAD = 1.0
"""Seconds before a stretch from which on is decoded: codecs need what came before (MP3's reservoir, Opus: 80 ms)."""
GUESSED = {"aac", "ac3", "amr", "eac3", "mp3", "mpeg", "mpegts", "mpegvideo"}
"""Containers whose header has no length: FFmpeg guesses it from the bit rate, and nobody can tell that such a file is cut off."""
COUNTED = {"flac", "ogg", "tta", "wv"}
"""Containers whose times count samples, so that a hole is a loss: of what has a wrong check sum, which FFmpeg leaves out without a word."""
STRICT = {"err_detect": "crccheck+explode"}
"""Of the decoders of sound. Those of pictures mend what they can, as players do."""

CUT = "the file is cut off"
DAMAGED = "the file is damaged or cut off"
"""A reason: it can't be told which."""
TOO_LONG = f"longer than {LONGEST:g} s, which is no utterance"
"""A reason."""
BEGINS_LATE = "the stretch begins after the recording's end"
"""A reason."""
ENDS_LATE = "the stretch ends after the recording's end"
"""A reason: by more than the tolerance."""
MOST_SECONDS = 1e9

Kind = Literal["audio", "video"]


@dataclass(frozen=True)
class Stretch:
    """A part of a recording.

    Attributes:
        start: seconds from its beginning.
        end: the same; None: to its end.
    """

    start: float
    end: float | None

    @classmethod
    def of(cls, start: float | None, end: float | None) -> Stretch:
        """None: the beginning, the end.

        Raises:
            MediaError: no numbers, before the beginning, end not after start, or longer than :data:`LONGEST`.
        """
        if any(t is not None and not math.isfinite(t) for t in (start, end)):
            raise MediaError("start or end is not a finite number")
        begin = start or 0.0
        if begin < 0:
            raise MediaError("the stretch begins before the recording")
        if end is not None and end <= begin:
            raise MediaError("the stretch does not end after it begins")
        if end is not None and end - begin > LONGEST:
            raise MediaError(TOO_LONG)
        return cls(begin, end)


class Decoded(NamedTuple):
    """A frame of sound, or a picture.

    Attributes:
        frame: PyAV's.
        time: seconds from the recording's beginning to its own; None where the file does not say.
        aspect: width of a pixel by its height.
        counted: a hole before it would be a loss.
    """

    frame: Any
    time: float | None
    aspect: float
    counted: bool


def decoded(path: Path, kind: Kind, stretch: Stretch) -> Iterator[Decoded]:
    """The frames of one track, in order, from one that begins at or before the stretch does.

    A caller that has enough goes away; one that does not comes to the end of the file. The default track is decoded, else the first;
    a picture of a cover is no track.

    Args:
        path: a recording.
        kind: sound or pictures.
        stretch: times without an end: all of the file, which its header may say is too long.

    Raises:
        MediaError: no recording, no such track, damaged within the stretch, cut off before its end, begins after the recording does, too
            long.
    """
    for begin in dict.fromkeys((max(0.0, min(stretch.start, MOST_SECONDS) - LEAD), 0.0)):
        with opened(path) as (container, cut):
            reader = _Reader(container, kind, stretch, cut=cut)
            if begin and not reader.seek(begin):
                continue
            frames = reader.frames()
            first = next(frames, None)
            if begin and (first is None or first.time is None or first.time > stretch.start):
                continue  # an index that leads astray: from the beginning, then
            if first is not None:
                yield first
                yield from frames
            return


class _Reader:
    def __init__(self, container: Any, kind: Kind, stretch: Stretch, *, cut: bool) -> None:
        self._container, self._stretch, self._cut = container, stretch, cut
        self._track = _track(container, kind)
        self._origin = (container.start_time or 0) / 1e6
        known = container.duration is not None and container.format.name not in GUESSED
        self._length = container.duration / 1e6 if known else None
        if self._length is not None and self._length < stretch.start and not cut:
            raise MediaError(BEGINS_LATE)
        if stretch.end is None and (self._length or 0) - stretch.start > LONGEST:
            raise MediaError(TOO_LONG)
        with foreign(DAMAGED):
            self._track.codec_context.thread_count = 1
            self._track.codec_context.options = OPTIONS | STRICT if kind == "audio" else OPTIONS
            self._aspect = float((kind == "video" and self._track.sample_aspect_ratio) or 1)
            if kind == "video" and not 0 < self._track.codec_context.width * self._track.codec_context.height <= MOST_PIXELS:
                raise MediaError("pictures without a size, or too large")  # FFmpeg forgets a size that it was told not to allow

    def seek(self, time: float) -> bool:
        """Whether the file can be read from there."""
        try:
            with foreign(DAMAGED):
                self._container.seek(math.floor((time + self._origin) / self._track.time_base), stream=self._track)
        except MediaError:
            return False
        return True

    def frames(self) -> Iterator[Decoded]:
        packets = self._container.demux()  # all tracks': where a container has one length for all of them, the last to end shows a cut
        reached = 0.0
        while True:
            with foreign(DAMAGED):
                packet = next(packets, None)
            if packet is None:
                break
            end = self._time(packet.pts, packet.time_base, packet.duration)
            reached = max(reached, end or 0.0)
            if packet.stream_index == self._track.index:
                yield from self._of(packet, needed=end is None or end > self._stretch.start)
        if self._cut or (self._length or 0) - reached > SHORT:
            raise MediaError(CUT)

    def _of(self, packet: Any, *, needed: bool) -> Iterator[Decoded]:
        """What is wrong before the stretch does not matter: a decoder that begins midway may say so."""
        # The last packet of a WAV of unknown length is thought to be corrupt.
        damaged, frames = packet.is_corrupt and self._container.format.name != "wav", []
        try:
            with foreign(DAMAGED):
                frames = packet.decode()
        except MediaError:
            damaged = True
        if needed and (damaged or any(frame.is_corrupt for frame in frames)):
            raise MediaError(DAMAGED)
        for frame in frames:
            yield Decoded(frame, self._time(frame.pts, frame.time_base), self._aspect, self._container.format.name in COUNTED)

    def _time(self, pts: int | None, base: Any, more: int | None = 0) -> float | None:
        return None if pts is None or not base else float((pts + (more or 0)) * base) - self._origin


def _track(container: Any, kind: Kind) -> Any:
    from av.stream import Disposition

    no_pictures = Disposition.attached_pic | Disposition.timed_thumbnails | Disposition.still_image
    with foreign(DAMAGED):
        tracks = [s for s in getattr(container.streams, kind) if not s.disposition & no_pictures]
        if not tracks:
            raise MediaError("no sound track" if kind == "audio" else "no pictures")
        track = next((s for s in tracks if s.disposition & Disposition.default), tracks[0])
        if track.codec_context is None or not track.time_base:
            raise MediaError("a codec that can't be decoded")
        return track
