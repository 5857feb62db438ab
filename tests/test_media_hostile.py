"""Files of strangers: whatever they are, a fault in a few words, or sound within bounds."""

from __future__ import annotations

import os
import struct
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from media_cases import need_media, pictures, to_wav, wave, write_flac, write_sound, write_video, write_wav

from dgl_merc.extraction.media import LONGEST, MediaError, file, read_frames, read_sound, recording

RATE = 8_000
CUT, DAMAGED, NONE = "the file is cut off", "the file is damaged or cut off", "not a recording"
SOUND = ""
"""No fault."""


@pytest.fixture(scope="module", autouse=True)
def _packages() -> None:
    need_media()


@pytest.fixture(scope="module")
def bases(tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    """Small good files, to be spoilt: half a second, or three."""
    folder = tmp_path_factory.mktemp("bases")
    x, y = wave(0.5, RATE), wave(3.0, 48_000)
    made = [
        write_wav(folder / "a.wav", x, RATE),
        write_flac(folder / "a.flac", wave(3.0, RATE), RATE),
        write_sound(folder / "a.ogg", y, 48_000, "libopus"),
        write_sound(folder / "a.mp3", y, 48_000, "libmp3lame"),
        write_sound(folder / "a.m4a", y, 48_000, "aac"),
        write_sound(folder / "a.mka", wave(3.0, RATE), RATE, "flac"),
        write_sound(folder / "a.aiff", x, RATE, "pcm_s16be"),
        write_sound(folder / "a.caf", x, RATE, "pcm_s16le"),
        write_video(folder / "a.mp4", pictures(30), 10, y, 48_000, codec="libx264", movflags="faststart"),
        write_video(folder / "a.mkv", pictures(30), 10, y, 48_000, codec="ffv1", audio="flac"),
        write_video(folder / "mute.mp4", pictures(10), 10, codec="libx264"),
        write_video(folder / "a.gif", pictures(10), 10, codec="gif"),
    ]
    return {path.name: path.read_bytes() for path in made}


WAV = to_wav(wave(0.5, RATE), RATE)


def header(**changes: int) -> bytes:
    """A WAV of half a second whose header says something else."""
    places = {
        "riff": (4, "I"),
        "tag": (20, "H"),
        "channels": (22, "H"),
        "rate": (24, "I"),
        "align": (32, "H"),
        "bits": (34, "H"),
        "data": (40, "I"),
    }
    made = bytearray(to_wav(wave(0.5, RATE), RATE))
    for name, value in changes.items():
        at, code = places[name]
        struct.pack_into("<" + code, made, at, value)
    return bytes(made)


def chunk(name: bytes, length: int) -> bytes:
    return name + struct.pack("<I", length) + b"x" * (length + length % 2)


def floats(value: float) -> bytes:
    made = bytearray(to_wav(wave(0.5, RATE), RATE, "f32"))
    struct.pack_into("<f", made, 44 + 4 * 2000, value)
    return bytes(made)


def rf64() -> bytes:
    data = WAV[44:]
    return b"RF64\xff\xff\xff\xffWAVEds64" + struct.pack("<IQQQI", 28, len(data) + 72, len(data), 0, 0) + WAV[12:40] + b"\xff" * 4 + data


def spoilt(data: bytes, at: float, length: int = 200) -> bytes:
    """Zeros instead of some bytes, which begin at a part of the file."""
    begin = int(at * len(data))
    return data[:begin] + bytes(length) + data[begin + length :]


Bases = dict[str, bytes]
BYTES: dict[str, tuple[bytes | Callable[[Bases], bytes], str]] = {
    # no recordings
    "empty.wav": (b"", "the file is empty"),
    "text.wav": (b"Hello, how are you?\n" * 50, NONE),
    "one byte.wav": (b"R", NONE),
    "zeros.wav": (bytes(65_536), NONE),
    "noise.mp4": (np.random.default_rng(0).bytes(65_536), NONE),
    "page.mp4": (b"<!DOCTYPE html><html><body><h1>404 Not Found</h1></body></html>" * 20, NONE),
    "subtitles.mkv": (b"1\n00:00:00,000 --> 00:00:01,000\nHello\n\n" * 10, NONE),
    "pixels.wav": (b"P6 64 48 255\n" + bytes(64 * 48 * 3), NONE),
    "moving.gif": (lambda b: b["a.gif"], NONE),
    "tracker.mod": (b"\0" * 1080 + b"M.K." + bytes(5000), NONE),
    "elf.wav": (b"\x7fELF\x02\x01\x01" + bytes(5000), NONE),
    "listing.txt": (b"file a.wav\nfile b.wav\n", NONE),
    # WAV
    "header only.wav": (WAV[:44], CUT),
    "half a header.wav": (WAV[:30], NONE),
    "no samples.wav": (to_wav(np.zeros(0, np.float32)), "no sound in the file"),
    "no data.wav": (WAV[:36], NONE),
    "cut.wav": (WAV[:6000], CUT),
    "cut by a byte.wav": (WAV[:-1], CUT),
    "three hours.wav": (header(data=3 * 3600 * RATE * 2), CUT),
    "unknown length.wav": (header(riff=0xFFFFFFFF, data=0xFFFFFFFF), SOUND),
    "unknown length of sox.wav": (header(riff=0x7FFFF024, data=0x7FFFF000), SOUND),
    "length 0.wav": (header(riff=0, data=0), SOUND),
    "of 64 bits.wav": (rf64(), SOUND),
    "odd chunk first.wav": (WAV[:12] + chunk(b"LIST", 7) + WAV[12:], SOUND),
    "chunk after.wav": (WAV + chunk(b"LIST", 20), SOUND),
    "chunk without end.wav": (WAV[:12] + b"LIST" + struct.pack("<I", 10**9) + WAV[12:], NONE),
    "no channels.wav": (header(channels=0), DAMAGED),
    "65535 channels.wav": (header(channels=65_535), DAMAGED),
    "rate 0.wav": (header(rate=0), NONE),
    "rate 1.wav": (header(rate=1), "longer than 600 s, which is no utterance"),
    "rate 600.wav": (header(rate=600), "a sample rate of no recording"),
    "rate 4e9.wav": (header(rate=4_000_000_000), NONE),
    "align 0.wav": (header(align=0), SOUND),
    "bits 0.wav": (header(bits=0), "a codec that can't be decoded"),
    "unknown codec.wav": (header(tag=0x1234), "a codec that can't be decoded"),
    "nan.wav": (floats(float("nan")), "sound that is no finite numbers"),
    "infinite.wav": (floats(float("inf")), "sound that is no finite numbers"),
    "huge.wav": (floats(3e38), SOUND),
    "wav of another.mp4": (WAV, SOUND),
    # other containers
    "cut.flac": (lambda b: b["a.flac"][: len(b["a.flac"]) * 3 // 4], DAMAGED),
    "header only.flac": (lambda b: b["a.flac"][:42], NONE),
    "spoilt.flac": (lambda b: spoilt(b["a.flac"], 0.5), DAMAGED),
    "spoilt.mka": (lambda b: spoilt(b["a.mka"], 0.5, 1), DAMAGED),
    "cut.aiff": (lambda b: b["a.aiff"][:4000], CUT),
    "cut.caf": (lambda b: b["a.caf"][:4500], DAMAGED),
    "index last, cut.m4a": (lambda b: b["a.m4a"][:5000], CUT),
    "cut.mp4": (lambda b: b["a.mp4"][: len(b["a.mp4"]) * 3 // 4], DAMAGED),
    "cut.mkv": (lambda b: b["a.mkv"][: len(b["a.mkv"]) // 2], CUT),
    "header only.mkv": (lambda b: b["a.mkv"][:60], NONE),
    "cut.ogg": (lambda b: b["a.ogg"][: len(b["a.ogg"]) * 3 // 4], SOUND),  # nothing says how long it was
    "cut.mp3": (lambda b: b["a.mp3"][: len(b["a.mp3"]) * 3 // 4], SOUND),
    "junk first.mp3": (lambda b: b"ID3\x04\0\0\0\0\x02\0" + bytes(256) + b["a.mp3"], SOUND),
    "junk after.mp3": (lambda b: b["a.mp3"] + b"TAG" + bytes(125), SOUND),
    "two in one.ogg": (lambda b: b["a.ogg"] + b["a.ogg"], DAMAGED),  # the times of the second begin anew
    "mute.mp4": (lambda b: b["mute.mp4"], "no sound track"),
}


@pytest.mark.parametrize("name", BYTES)
def test_files_that_are_none_or_odd(tmp_path: Path, bases: Bases, name: str, capfd: pytest.CaptureFixture[str]) -> None:
    made, said = BYTES[name]
    path = tmp_path / name
    path.write_bytes(made if isinstance(made, bytes) else made(bases))
    before = set(os.listdir("/proc/self/fd"))
    if said:
        with pytest.raises(MediaError) as caught:
            read_sound(path)
        assert str(caught.value) == said
    else:
        got = read_sound(path)
        assert 0.3 < len(got.samples) / got.rate < 3.1
        assert np.isfinite(got.samples).all()
    if not name.startswith(("cut.mp4", "cut.mkv", "mute")):
        with pytest.raises(MediaError):
            list(read_frames(path))
    assert set(os.listdir("/proc/self/fd")) == before
    assert capfd.readouterr() == ("", "")


def test_no_fault_names_a_file_or_a_place_in_memory() -> None:
    words = {said for _, said in BYTES.values()}
    assert len(BYTES) > 50
    assert not any("/" in said or "0x" in said or ".wav" in said for said in words)
    assert len(words) < 15, "alike for alike faults"


@pytest.mark.parametrize("name", ["png", "jpg"])
def test_a_still_image_is_no_recording(tmp_path: Path, name: str) -> None:
    import av

    av.VideoFrame.from_ndarray(pictures(1)[0]).save(tmp_path / f"a.{name}")
    for read in (read_sound, lambda path: list(read_frames(path))):
        with pytest.raises(MediaError, match=NONE):
            read(tmp_path / f"a.{name}")


def test_an_archive_is_no_recording(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "a.wav", "w") as archive:
        archive.writestr("a.wav", WAV)
    with pytest.raises(MediaError, match=NONE):
        read_sound(tmp_path / "a.wav")


@pytest.mark.parametrize("suffix", ["flac", "mp3"])
def test_a_cover_is_no_pictures(tmp_path: Path, suffix: str) -> None:
    import av
    from av.stream import Disposition

    codec = {"flac": "flac", "mp3": "libmp3lame"}[suffix]
    with av.open(str(tmp_path / f"a.{suffix}"), "w") as out:
        track, cover = out.add_stream(codec, rate=48_000, layout="mono"), out.add_stream("mjpeg", rate=1)
        cover.height, cover.width, cover.pix_fmt, cover.disposition = 48, 64, "yuvj420p", Disposition.attached_pic
        out.start_encoding()
        picture = av.VideoFrame.from_ndarray(pictures(1)[0])
        picture.pts = 0
        sound = av.AudioFrame.from_ndarray(wave(0.5, 48_000)[None], format="flt", layout="mono")
        sound.sample_rate, sound.pts = 48_000, 0
        out.mux([*cover.encode(picture), *cover.encode(None)])
        out.mux([*track.encode(sound), *track.encode(None)])
    with av.open(str(tmp_path / f"a.{suffix}")) as container:
        assert container.streams.video, "FFmpeg thinks otherwise"
    with pytest.raises(MediaError, match="no pictures"):
        list(read_frames(tmp_path / f"a.{suffix}"))
    assert len(read_sound(tmp_path / f"a.{suffix}").samples) > 7_900


def test_sound_alone_has_no_pictures(tmp_path: Path, bases: Bases) -> None:
    for name in ("a.wav", "a.m4a"):
        (tmp_path / name).write_bytes(bases[name])
        with pytest.raises(MediaError, match="no pictures"):
            list(read_frames(tmp_path / name))


def test_a_track_without_pictures(tmp_path: Path) -> None:
    import av

    with av.open(str(tmp_path / "a.mkv"), "w") as out:
        track, video = out.add_stream("pcm_s16le", rate=48_000, layout="mono"), out.add_stream("ffv1", rate=10)
        video.height, video.width, video.pix_fmt = 48, 64, "yuv420p"
        sound = av.AudioFrame.from_ndarray(wave(0.5, 48_000)[None], format="flt", layout="mono")
        sound.sample_rate, sound.pts = 48_000, 0
        out.mux([*track.encode(sound), *track.encode(None)])
    with pytest.raises(MediaError, match="no pictures in the file"):
        list(read_frames(tmp_path / "a.mkv"))


@pytest.mark.parametrize(("name", "said"), [("cut.mp4", CUT), ("cut.mkv", CUT)])
def test_pictures_before_a_cut_are_given_and_the_cut_is_told(tmp_path: Path, bases: Bases, name: str, said: str) -> None:
    data = bases["a" + name[3:]]
    (tmp_path / name).write_bytes(data[: len(data) * 3 // 4])
    given = []
    with pytest.raises(MediaError, match=f"^{said}$"):
        given.extend(frame.time for frame in read_frames(tmp_path / name))
    assert list(read_frames(tmp_path / name, 0.0, 0.3))
    assert len(read_sound(tmp_path / name, 0.0, 0.3).samples) == 4_800


def test_what_is_wrong_elsewhere_is_not_this_stretchs_fault(tmp_path: Path) -> None:
    path = write_wav(tmp_path / "a.wav", wave(2.0, RATE), RATE)
    path.write_bytes(path.read_bytes()[: 44 + RATE * 2])
    assert len(read_sound(path, 0.2, 0.9).samples) == 11_200
    for start, end in ((0.2, 1.2), (0.2, None), (1.5, 1.8)):
        with pytest.raises(MediaError, match=f"^{CUT}$"):
            read_sound(path, start, end)
    flac = write_flac(tmp_path / "a.flac", wave(6.0, RATE), RATE)
    flac.write_bytes(spoilt(flac.read_bytes(), 0.2))
    with pytest.raises(MediaError, match=DAMAGED):
        read_sound(flac, 0.5, 2.0)
    assert len(read_sound(flac, 4.5, 5.0).samples) == 8_000
    aac = write_sound(tmp_path / "a.aac", wave(6.0, 48_000), 48_000, "aac")
    aac.write_bytes(spoilt(aac.read_bytes(), 0.5))
    with pytest.raises(MediaError, match=DAMAGED):
        read_sound(aac, 2.5, 3.5)
    assert len(read_sound(aac, 3.4, 3.9).samples) == 8_000, "decoding begins before the damage, or in it"


def test_huge_pictures_are_refused(tmp_path: Path) -> None:
    """Whether the file says so, or only a picture; and the sound beside them is heard."""
    path = write_video(tmp_path / "a.avi", pictures(3), 10, codec="ffv1")
    data, size = path.read_bytes(), struct.pack("<II", 64, 48)
    assert data.count(size) == 2
    path.write_bytes(data.replace(size, struct.pack("<II", 30_000, 30_000)))
    with pytest.raises(MediaError, match="pictures without a size, or too large"):
        list(read_frames(path))
    path = write_video(tmp_path / "a.mov", pictures(10), 10, wave(1.0, 48_000), 48_000, codec="mjpeg")
    data, size = path.read_bytes(), b"\xff\xc0\x00\x11\x08\x00\x30\x00\x40"
    assert data.count(size) == 10
    at, huge = data.rindex(size), size[:5] + struct.pack(">HH", 30_000, 30_000)
    path.write_bytes(data[:at] + huge + data[at + len(size) :])
    with pytest.raises(MediaError, match=f"^{DAMAGED}$"):
        list(read_frames(path))
    assert len(list(read_frames(path, 0.0, 0.8))) == 4
    assert len(read_sound(path).samples) > 15_900


def test_decoders_know_how_large_a_picture_may_be(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write_video(tmp_path / "a.mkv", pictures(3), 10, codec="ffv1")
    for module, said in ((recording, DAMAGED), (file, "pictures without a size, or too large")):
        with monkeypatch.context() as patch:
            patch.setattr(module, "OPTIONS", {"max_pixels": str(64 * 48 - 1)})
            with pytest.raises(MediaError, match=f"^{said}$"):
                list(read_frames(path))
    assert file.OPTIONS is recording.OPTIONS


def bounds(path: Path, start: float | None, end: float | None) -> None:
    """A fault, or what was asked for."""
    try:
        got = read_sound(path, start, end)
    except MediaError:
        pass
    else:
        assert np.isfinite(got.samples).all()
        assert 0 < len(got.samples) <= round((LONGEST if end is None else end - (start or 0)) * got.rate) + 2
    try:
        for frame in read_frames(path, start, end):
            assert frame.pixels.ndim == 3
            assert 0 <= frame.time < (end or LONGEST)
    except MediaError:
        pass


@pytest.mark.parametrize("name", ["a.wav", "a.flac", "a.ogg", "a.mp3", "a.m4a", "a.mp4", "a.mkv"])
def test_spoilt_files(tmp_path: Path, bases: Bases, name: str, capfd: pytest.CaptureFixture[str]) -> None:
    """Cut anywhere, bytes changed anywhere, most of them in the head: never anything but a fault or sound."""
    data, path = bases[name], tmp_path / name
    place = st.one_of(st.integers(0, 300), st.integers(0, len(data) - 1))

    @settings(derandomize=True, deadline=None, max_examples=60, database=None, suppress_health_check=list(HealthCheck))
    @given(
        st.one_of(st.just(len(data)), st.integers(1, len(data))), st.lists(st.tuples(place, st.integers(0, 255)), max_size=8), st.booleans()
    )
    def spoil(length: int, changes: list[tuple[int, int]], whole: bool) -> None:
        made = bytearray(data)
        for at, value in changes:
            made[at] = value
        path.write_bytes(made[:length])
        bounds(path, *((None, None) if whole else (0.1, 0.4)))

    spoil()
    assert capfd.readouterr() == ("", "")
