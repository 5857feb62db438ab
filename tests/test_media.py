"""Sound of a stretch: the samples that are there, wherever a decoder begins, from containers of many kinds."""

from __future__ import annotations

import os
import struct
from collections.abc import Iterable, Iterator
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from media_cases import PCM, Samples, need_media, pictures, to_wav, wave, write_flac, write_sound, write_wav

from dgl_merc.extraction.media import MediaError, read_sound, recording, sound

RATE = 48_000
LOSSLESS = {"flac": "flac", "wv": "wavpack", "tta": "tta", "aiff": "pcm_s16be", "caf": "pcm_s16le", "w64": "pcm_s16le", "au": "pcm_s16be"}
OTHERS = {
    "m4a": "aac",
    "aac": "aac",
    "ts": "aac",
    "flv": "aac",
    "mka": "libopus",
    "webm": "libopus",
    "ogg": "libopus",
    "mp3": "libmp3lame",
    "mkv": "libmp3lame",
    "avi": "libmp3lame",
}
PNS = {"aac_pns": "0"}
"""AAC's noise is made by the decoder, anew from wherever it begins."""


@pytest.fixture(scope="module", autouse=True)
def _packages() -> None:
    need_media()


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """``a.<suffix>``: four seconds, of every container."""
    folder = tmp_path_factory.mktemp("files")
    x = wave(4.0, RATE)
    for suffix, codec in (LOSSLESS | OTHERS).items():
        sample = {"wavpack": "s16p", "tta": "s16", "flac": "s16"}.get(codec)
        write_sound(folder / f"a.{suffix}", x, RATE, codec, sample=sample, encoder=PNS if codec == "aac" else None)
    write_sound(folder / "flac.mka", x, RATE, "flac")
    write_sound(folder / "aac.mka", x, RATE, "aac", encoder=PNS)
    write_wav(folder / "a.wav", x, RATE)
    return folder


def write_parts(path: Path, parts: Iterable[tuple[float, Samples]], codec: str = "flac") -> Path:
    """One track of sound, parts of which begin at times in seconds."""
    import av

    with av.open(str(path), "w") as out:
        track = out.add_stream(codec, rate=RATE, layout="mono")
        for time, x in parts:
            frame = av.AudioFrame.from_ndarray(np.int16(np.round(x * 32767))[None], format="s16", layout="mono")
            frame.sample_rate, frame.pts, frame.time_base = RATE, round(time * RATE), Fraction(1, RATE)
            for packet in track.encode(frame):
                out.mux(packet)
        out.mux(track.encode(None))
    return path


ALL = (*(f"a.{suffix}" for suffix in (LOSSLESS | OTHERS)), "flac.mka", "aac.mka", "a.wav")


@pytest.mark.parametrize("name", ALL)
def test_a_stretch_is_that_of_the_file_decoded_from_its_beginning(files: Path, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = read_sound(files / name, rate=RATE).samples
    assert abs(len(whole) / RATE - 4) < 0.05
    jumps = []
    jump = recording._Reader.seek
    monkeypatch.setattr(recording._Reader, "seek", lambda self, time: jumps.append(time) or jump(self, time))
    for start, end in ((1.3, 1.9), (2.0001, 2.6), (3.001, 3.91234)):
        part = read_sound(files / name, start, end, rate=RATE).samples
        assert len(part) == round(end * RATE) - round(start * RATE)
        np.testing.assert_allclose(part, whole[round(start * RATE) : round(end * RATE)], rtol=0, atol=1e-6)
        assert np.abs(part).max() > 0.05
    assert len(jumps) == 3


@pytest.mark.parametrize("name", [f"a.{suffix}" for suffix in (*LOSSLESS, "wav")])
def test_lossless_files_give_what_was_written(files: Path, name: str) -> None:
    np.testing.assert_allclose(read_sound(files / name, rate=RATE).samples, wave(4.0, RATE), rtol=0, atol=1.01 / 32767)


@pytest.mark.parametrize("name", ["a.m4a", "a.ogg", "a.mp3", "a.mka", "aac.mka"])
def test_what_a_codec_puts_before_a_recording_is_not_in_it(files: Path, name: str) -> None:
    got, x = read_sound(files / name, rate=RATE).samples, wave(4.0, RATE)
    fits = {shift: float(got[4800 + shift : 96_000 + shift] @ x[4800:96_000]) for shift in range(-1200, 1201)}
    assert max(fits, key=fits.__getitem__) in range(-1, 2)


@pytest.mark.parametrize("suffix", ["wav", "flac", "ogg"])
def test_a_cut_sounds_as_from_a_file_of_its_own(files: Path, tmp_path: Path, suffix: str) -> None:
    """Resampled too: nothing of what is around it gets into the resampler."""
    start, end = 1.2345, 2.5
    whole = read_sound(files / f"a.{suffix}", rate=RATE).samples
    own = write_wav(tmp_path / "own.wav", whole[round(start * RATE) : round(end * RATE)], RATE, "f32")
    np.testing.assert_allclose(read_sound(files / f"a.{suffix}", start, end).samples, read_sound(own).samples, rtol=0, atol=1e-6)


@pytest.mark.parametrize("sample", PCM)
@pytest.mark.parametrize("extensible", [False, True])
def test_sorts_of_samples(tmp_path: Path, sample: str, extensible: bool) -> None:
    x = wave(0.2)
    path = tmp_path / "a.wav"
    path.write_bytes(to_wav(x, sample=sample, extensible=extensible))
    most = {1: 2**7, 2: 2**15}.get(PCM[sample][1], 2**31)
    want = x if most == 2**31 else np.round(x * (most - 1)) / most
    np.testing.assert_allclose(read_sound(path).samples, want, rtol=0, atol=1e-6)


@pytest.mark.parametrize("channels", [2, 6])
@pytest.mark.parametrize("codec", ["flac", "pcm_s16le"])
def test_channels_are_averaged(tmp_path: Path, channels: int, codec: str) -> None:
    """None of them weighs more, as when a player mixes them."""
    x = np.stack([wave(0.3, seed=k, pitch=100 + 20 * k) for k in range(channels)], axis=1)
    got = read_sound(write_sound(tmp_path / "a.mka", x, codec=codec)).samples
    np.testing.assert_allclose(got, x.mean(axis=1), rtol=0, atol=1.01 / 32767)


@pytest.mark.parametrize(("layout", "channels"), [("7.1", 8), ("hexadecagonal", 16)])
@pytest.mark.parametrize("codec", ["aac", "pcm_s16le"])
def test_eight_channels_and_more(tmp_path: Path, layout: str, channels: int, codec: str) -> None:
    """Of which PyAV reads one too many, behind the frame: a segmentation fault."""
    import av

    x = np.stack([wave(0.3, RATE, 90 + 10 * k) for k in range(channels)], axis=1)
    with av.open(str(tmp_path / "a.mka"), "w") as out:
        track = out.add_stream(codec, rate=RATE, layout=layout)
        frame = av.AudioFrame.from_ndarray(x.reshape(1, -1), format="flt", layout=layout)
        frame.sample_rate, frame.pts = RATE, 0
        out.mux([*track.encode(frame), *track.encode(None)])
    got = read_sound(tmp_path / "a.mka", rate=RATE).samples[: len(x)]
    np.testing.assert_allclose(got, x.mean(axis=1), rtol=0, atol=0.1 if codec == "aac" else 1e-4)
    assert np.corrcoef(got, x.mean(axis=1))[0, 1] > 0.98


@pytest.mark.parametrize("rate", [8_000, 11_025, 22_050, 44_100, 96_000, 192_000])
def test_rates(tmp_path: Path, rate: int) -> None:
    def tone(rate: int) -> Samples:
        return np.asarray(0.5 * np.sin(2 * np.pi * 440 * np.arange(rate // 2) / rate), dtype=np.float32)

    got = read_sound(write_wav(tmp_path / "a.wav", tone(rate), rate))
    assert got.rate == 16_000
    assert abs(len(got.samples) - 8_000) <= 1
    np.testing.assert_allclose(got.samples[100:7900], tone(16_000)[100:7900], rtol=0, atol=2e-3)


def test_the_default_track_is_heard_else_the_first(tmp_path: Path) -> None:
    import av
    from av.stream import Disposition

    x = wave(0.5)
    for default in (None, 0, 1):
        with av.open(str(tmp_path / "a.mka"), "w") as out:
            tracks = [out.add_stream("pcm_s16le", rate=16_000, layout="mono") for _ in range(2)]
            for k, track in enumerate(tracks):
                track.disposition = Disposition.default if k == default else Disposition.comment
            for k, track in enumerate(tracks):
                frame = av.AudioFrame.from_ndarray(np.int16(x / (k + 1) * 32767)[None], format="s16", layout="mono")
                frame.sample_rate = 16_000
                out.mux([*track.encode(frame), *track.encode(None)])
        got = read_sound(tmp_path / "a.mka").samples
        np.testing.assert_allclose(got, x / ((default or 0) + 1), rtol=0, atol=1e-4)


@pytest.mark.parametrize("suffix", ["mka", "ts", "mp4"])
def test_seconds_count_from_where_a_recording_begins(tmp_path: Path, suffix: str) -> None:
    """Whatever time its container gives that."""
    x = wave(2.5, RATE)
    codec = "mp2" if suffix == "ts" else "flac"
    chunks = [(7.0 + k / RATE, x[k : k + 4800]) for k in range(0, len(x), 4800)]
    late = write_parts(tmp_path / f"late.{suffix}", chunks, codec)
    prompt = write_parts(tmp_path / f"prompt.{suffix}", [(t - 7, part) for t, part in chunks], codec)
    for start, end in ((None, 0.2), (1.7, 2.1)):
        got, want = (read_sound(path, start, end, rate=RATE).samples for path in (late, prompt))
        np.testing.assert_allclose(got, want, rtol=0, atol=1e-4)  # MP2's dither


def test_a_hole_is_silence_and_what_comes_after_is_where_it_was(tmp_path: Path) -> None:
    x = wave(2.0, RATE)
    holed = write_parts(tmp_path / "a.mka", [(0.0, x[:RATE]), (1.5, x[RATE:])], "pcm_s16le")
    want = np.concatenate([x[:RATE], np.zeros(RATE // 2, np.float32), x[RATE:]])
    for start, end in ((0.0, 2.5), (0.5, 2.0), (1.25, 2.3), (1.6, 2.4)):
        got = read_sound(holed, start, end, rate=RATE).samples
        assert len(got) == round(end * RATE) - round(start * RATE)
        first = round(start * RATE)
        assert np.abs(got - want[first : first + len(got)]).max() < 1e-4
    with pytest.raises(MediaError, match="no sound in the stretch"):
        read_sound(holed, 1.1, 1.4)


def test_sound_that_begins_later_than_pictures(tmp_path: Path) -> None:
    import av

    x = wave(0.5, RATE)
    with av.open(str(tmp_path / "a.mkv"), "w") as out:
        video, track = out.add_stream("ffv1", rate=25), out.add_stream("flac", rate=RATE, layout="mono")
        video.height, video.width, video.pix_fmt = 48, 64, "yuv420p"
        for k, pixels in enumerate(pictures(25)):
            frame = av.VideoFrame.from_ndarray(pixels)
            frame.pts, frame.time_base = k, Fraction(1, 25)
            out.mux(video.encode(frame))
        voice = av.AudioFrame.from_ndarray(np.int16(x * 32767)[None], format="s16", layout="mono")
        voice.sample_rate, voice.pts, voice.time_base = RATE, RATE // 2, Fraction(1, RATE)
        out.mux([*track.encode(voice), *track.encode(None), *video.encode(None)])
    got = read_sound(tmp_path / "a.mkv", rate=RATE).samples
    np.testing.assert_allclose(got, np.concatenate([np.zeros(RATE // 2, np.float32), x]), rtol=0, atol=1e-4)


def test_frames_without_times_follow_each_other(tmp_path: Path) -> None:
    import av

    cut = sound._Cut(tmp_path, recording.Stretch.of(0.0, 0.5), 16_000)
    x = wave(0.5)
    for k in range(0, 8000, 1000):
        frame = av.AudioFrame.from_ndarray(x[None, k : k + 1000].copy(), format="fltp", layout="mono")
        frame.sample_rate = 16_000
        assert cut.add(recording.Decoded(frame, None, 1.0, counted=False)) == (k == 7000)
    np.testing.assert_array_equal(cut.sound().samples, x)


@pytest.mark.parametrize("fault", ["no jump", "too far", "nothing"])
def test_an_index_that_leads_astray_costs_time_only(files: Path, fault: str, monkeypatch: pytest.MonkeyPatch) -> None:
    want = read_sound(files / "a.flac", 2.0, 2.5).samples
    jump = recording._Reader.seek
    astray = {
        "no jump": lambda self, _: False,
        "too far": lambda self, time: jump(self, time + 1.8),
        "nothing": lambda self, _: jump(self, 99),
    }
    monkeypatch.setattr(recording._Reader, "seek", astray[fault])
    np.testing.assert_array_equal(read_sound(files / "a.flac", 2.0, 2.5).samples, want)


@pytest.mark.parametrize(
    ("start", "end", "said"),
    [
        (float("nan"), 1.0, "start or end is not a finite number"),
        (0.0, float("inf"), "start or end is not a finite number"),
        (-0.1, 1.0, "the stretch begins before the recording"),
        (1.0, 1.0, "the stretch does not end after it begins"),
        (2.0, 1.0, "the stretch does not end after it begins"),
        (None, 0.0, "the stretch does not end after it begins"),
        (0.0, 600.1, "longer than 600 s, which is no utterance"),
        (4.1, None, "the stretch begins after the recording's end"),
        (4.1, 5.0, "the stretch begins after the recording's end"),
        (1e12, 1e12 + 1, "the stretch begins after the recording's end"),
        (1e300, None, "the stretch begins after the recording's end"),
        (3.0, 4.3, "the stretch ends after the recording's end"),
        (1.0, 1.00001, "no sound in the stretch"),
    ],
)
@pytest.mark.parametrize("name", ["a.wav", "a.mp3"])
def test_stretches_that_are_none(files: Path, name: str, start: float | None, end: float | None, said: str) -> None:
    with pytest.raises(MediaError, match=f"^{said}$"):
        read_sound(files / name, start, end)


def test_an_end_that_was_rounded_up_is_the_end(files: Path) -> None:
    assert len(read_sound(files / "a.wav", 3.0, 4.2).samples) == 16_000


@pytest.fixture(scope="module")
def long_ones(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Three hours of WAV, most of it a hole in the disk; twenty minutes of FLAC, and of it in Matroska."""
    folder = tmp_path_factory.mktemp("long")
    head, size = bytearray(to_wav(wave(1.0, 8000), 8000)), 3 * 3600 * 8000 * 2
    head[4:8], head[40:44] = struct.pack("<I", 36 + size), struct.pack("<I", size)
    (folder / "a.wav").write_bytes(head)
    os.truncate(folder / "a.wav", 44 + size)
    x = np.tile(wave(1.0, 8000), 1200)
    return {"wav": folder / "a.wav", "flac": write_flac(folder / "a.flac", x, 8000), "mka": write_sound(folder / "a.mka", x, 8000, "flac")}


@pytest.mark.parametrize("suffix", ["wav", "flac", "mka"])
def test_a_stretch_of_a_long_recording_costs_what_a_stretch_costs(
    long_ones: dict[str, Path], suffix: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    seconds = []

    def counted(*args: Any) -> Iterator[Any]:
        for one in recording.decoded(*args):
            seconds.append(one.frame.samples / one.frame.sample_rate)
            yield one

    monkeypatch.setattr(sound, "decoded", counted)
    assert len(read_sound(long_ones[suffix], 600.0, 602.0).samples) == 32_000
    assert sum(seconds) < 2 + recording.LEAD + 4  # a few frames, and where Matroska's index points to
    seconds.clear()
    with pytest.raises(MediaError, match="longer than 600 s"):
        read_sound(long_ones[suffix])
    with pytest.raises(MediaError, match="begins after"):
        read_sound(long_ones[suffix], 20_000.0, 20_001.0)
    assert not seconds, "decoded before it was refused"


def test_a_long_recording_whose_header_says_nothing_is_refused_after_the_longest(
    long_ones: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sound, "LONGEST", 3.0)
    path = write_sound(tmp_path / "a.mp3", np.tile(wave(1.0), 8), codec="libmp3lame")
    read = []
    monkeypatch.setattr(sound, "decoded", lambda *args: (read.append(one) or one for one in recording.decoded(*args)))
    with pytest.raises(MediaError, match="longer than"):
        read_sound(path)
    assert sum(one.frame.samples for one in read) < 3.2 * 16_000
