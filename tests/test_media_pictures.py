"""Pictures of a stretch: those that a player would show, upright, in the shape in which they were taken."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from media_cases import need_media, pictures, wave, write_video

from dgl_merc.extraction.media import MediaError, read_frames, recording
from dgl_merc.extraction.media import pictures as module

RATE = 48_000


@pytest.fixture(scope="module", autouse=True)
def _packages() -> None:
    need_media()


def shades(path: Path, *args: Any, **options: Any) -> list[tuple[float, int]]:
    """Times, and which of :func:`pictures` it was."""
    return [(round(frame.time, 6), round(float(frame.pixels[..., 2].mean()) / 8)) for frame in read_frames(path, *args, **options)]


@pytest.fixture(scope="module")
def videos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """``a.<suffix>``: thirty pictures, ten a second, sound for as long."""
    folder = tmp_path_factory.mktemp("videos")
    for suffix, codec in {
        "mkv": "ffv1",
        "mp4": "libx264",
        "mov": "mjpeg",
        "avi": "mpeg4",
        "ts": "mpeg2video",
        "webm": "libvpx-vp9",
    }.items():
        sound = None if suffix in ("webm", "ts") else wave(3.0, RATE)
        rate = 25 if suffix == "ts" else 10  # MPEG-2 knows few
        write_video(folder / f"a.{suffix}", pictures(30), rate, sound, RATE, codec=codec)
    return folder


@pytest.mark.parametrize("suffix", ["mkv", "mp4", "mov", "webm"])
def test_pictures_are_those_shown_at_even_times(videos: Path, suffix: str) -> None:
    path, slack = videos / f"a.{suffix}", 0 if suffix in ("mkv", "mov") else 1
    for got, want in (
        (shades(path), [(0.2 * k, 2 * k) for k in range(15)]),
        (shades(path, 1.0, 2.0), [(0.2 * k, 10 + 2 * k) for k in range(5)]),
        (shades(path, 1.45, 2.0), [(0.0, 14), (0.2, 16), (0.4, 18)]),
        (shades(path, 2.05, 2.06), [(0.0, 20)]),
        (shades(path, 2.5, None, per_second=2.5), [(0.0, 25), (0.4, 29)]),
        (shades(path, 2.5, 3.2, per_second=2.5), [(0.0, 25), (0.4, 29)]),
    ):
        assert [time for time, _ in got] == pytest.approx([time for time, _ in want])
        assert max(abs(a[1] - b[1]) for a, b in zip(got, want, strict=True)) <= slack


@pytest.mark.parametrize("suffix", ["mkv", "mp4", "ts"])
def test_a_picture_is_given_once(videos: Path, suffix: str) -> None:
    assert len(shades(videos / f"a.{suffix}", per_second=1000)) == 30


def test_pictures_at_uneven_times(tmp_path: Path) -> None:
    import av

    with av.open(str(tmp_path / "a.mkv"), "w") as out:
        track = out.add_stream("ffv1", rate=50)
        track.height, track.width, track.pix_fmt = 48, 64, "yuv420p"
        for at, pixels in zip((0, 2, 4, 60, 62, 100), pictures(6), strict=True):
            frame = av.VideoFrame.from_ndarray(pixels)
            frame.pts, frame.time_base = at, Fraction(1, 50)
            out.mux(track.encode(frame))
        out.mux(track.encode(None))
    assert shades(tmp_path / "a.mkv", 0.0, 2.0) == [(0.0, 0), (0.2, 2), (1.2, 3), (1.4, 4)]
    assert shades(tmp_path / "a.mkv", 0.5, 1.0) == [(0.0, 2)], "what is shown all the while"


@pytest.mark.parametrize(
    ("turn", "red"), [((0, 65536, -65536, 0), "top"), ((0, -65536, 65536, 0), "bottom"), ((-65536, 0, 0, -65536), "right")]
)
def test_pictures_of_phones_are_turned(tmp_path: Path, turn: tuple[int, ...], red: str) -> None:
    """The first is what a phone that is held upright writes."""
    import av

    a, b, c, d = turn
    with av.open(str(tmp_path / "a.mp4"), "w") as out:
        track = out.add_stream("libx264", rate=10)
        track.height, track.width, track.pix_fmt = 48, 64, "yuv420p"
        track.set_display_matrix([a, b, 0, c, d, 0, 0, 0, 1 << 30])
        out.mux([*track.encode(av.VideoFrame.from_ndarray(pictures(1)[0])), *track.encode(None)])
    (frame,) = read_frames(tmp_path / "a.mp4")
    height, width, _ = frame.pixels.shape
    sides = {"top": frame.pixels[0], "bottom": frame.pixels[-1], "left": frame.pixels[:, 0], "right": frame.pixels[:, -1]}
    assert (height > width) == (red != "right")
    assert max(sides, key=lambda side: sides[side][..., 0].mean()) == red
    assert sides[red][..., 0].min() > 200


def test_oblong_pixels_are_made_square_and_large_pictures_small(tmp_path: Path) -> None:
    import av

    with av.open(str(tmp_path / "a.mp4"), "w") as out:
        track = out.add_stream("libx264", rate=10)
        track.height, track.width, track.pix_fmt = 48, 64, "yuv420p"
        track.codec_context.sample_aspect_ratio = Fraction(3, 2)
        out.mux([*track.encode(av.VideoFrame.from_ndarray(pictures(1)[0])), *track.encode(None)])
    for edge, shape in ((None, (48, 96, 3)), (48, (24, 48, 3)), (500, (48, 96, 3))):
        (frame,) = read_frames(tmp_path / "a.mp4", longest_edge=edge)
        assert frame.pixels.shape == shape
        assert frame.pixels[:, : shape[1] // 2 - 2, 0].min() > 200 > 50 > frame.pixels[:, shape[1] // 2 + 2 :, 0].max()


@pytest.mark.parametrize("pixels", ["gray", "yuv444p", "yuva420p", "bgra", "yuv420p10le"])
def test_sorts_of_pictures(tmp_path: Path, pixels: str) -> None:
    import av

    with av.open(str(tmp_path / "a.mkv"), "w") as out:
        track = out.add_stream("ffv1", rate=10)
        track.height, track.width, track.pix_fmt = 48, 64, pixels
        for picture in pictures(3):
            out.mux(track.encode(av.VideoFrame.from_ndarray(picture)))
        out.mux(track.encode(None))
    for frame, want in zip(read_frames(tmp_path / "a.mkv", per_second=10), pictures(3), strict=True):
        assert frame.pixels.dtype == np.uint8
        if pixels == "gray":
            assert (frame.pixels[..., 0] == frame.pixels[..., 1]).all()
        else:
            assert np.abs(frame.pixels.astype(int) - want)[:, :28].max() <= 4


def test_pictures_of_a_long_video_are_read_one_by_one(videos: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    read = []
    monkeypatch.setattr(module, "decoded", lambda *args: (read.append(one) or one for one in recording.decoded(*args)))
    frames = read_frames(videos / "a.mkv", per_second=10)
    next(frames)
    assert len(read) == 2
    read.clear()
    list(read_frames(videos / "a.mkv", 2.5, 2.7))
    assert len(read) <= 18, "from the last key before the lead, to the end of the stretch"


@pytest.mark.parametrize(
    ("start", "end", "said"),
    [
        (3.1, None, "the stretch begins after the recording's end"),
        (2.5, 3.5, "the stretch ends after the recording's end"),
        (2.0, 1.0, "the stretch does not end after it begins"),
    ],
)
def test_stretches_without_pictures(videos: Path, start: float, end: float | None, said: str) -> None:
    with pytest.raises(MediaError, match=f"^{said}$"):
        list(read_frames(videos / "a.mkv", start, end))
