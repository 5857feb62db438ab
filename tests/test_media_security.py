"""For a recording's sake nothing else is opened, and nothing is waited for: no pipe, no device, no other file, no address."""

from __future__ import annotations

import os
import socket
from pathlib import Path
from typing import Any

import pytest
from media_cases import need_media, to_wav, wave, write_wav

from dgl_merc.extraction.media import MediaError, file, read_frames, read_sound

RATE = 8_000
WAV = to_wav(wave(0.5, RATE), RATE)
NONE, SPECIAL, FOLDER, ABSENT = "not a recording", "a pipe or a device, not a file", "a folder, not a file", "no such file"
CLOSED = "the file can't be opened"


@pytest.fixture(scope="module", autouse=True)
def _packages() -> None:
    need_media()


def place(folder: Path, what: str) -> Path:
    """Something that is no file, or a way to it."""
    (folder / "good.wav").write_bytes(WAV)
    os.mkfifo(folder / "pipe")
    made = folder / "a.wav"
    link = {
        "pipe linked": "pipe",
        "zeros": "/dev/zero",
        "terminal": "/dev/tty",
        "gone": "nowhere",
        "loop": "a.wav",
        "folder linked": ".",
        "good linked": "good.wav",
    }
    if what in link:
        made.symlink_to(link[what])
    return {
        "pipe": folder / "pipe",
        "folder": folder,
        "under a file": folder / "good.wav" / "a.wav",
        "long": folder / ("a" * 300),
        "zero byte": Path("a\0.wav"),
    }.get(what, made)


@pytest.mark.parametrize(
    ("what", "said"),
    [
        ("pipe", SPECIAL),
        ("pipe linked", SPECIAL),
        ("zeros", SPECIAL),
        ("terminal", SPECIAL),
        ("folder", FOLDER),
        ("folder linked", FOLDER),
        ("absent", ABSENT),
        ("gone", ABSENT),
        ("under a file", ABSENT),
        ("zero byte", ABSENT),
        ("loop", CLOSED),
        ("long", CLOSED),
    ],
)
def test_what_is_no_file_is_not_waited_for(tmp_path: Path, what: str, said: str) -> None:
    path = place(tmp_path, what)
    for read in (read_sound, lambda path: list(read_frames(path))):
        with pytest.raises(MediaError, match=f"^{said}$"):
            read(path)


def test_a_link_to_a_file_is_followed(tmp_path: Path) -> None:
    assert len(read_sound(place(tmp_path, "good linked")).samples) == 8_000


def test_a_pipe_put_in_a_files_place_is_not_waited_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Between the look at it and its opening."""
    place(tmp_path, "pipe")
    look, looks = file._hold_regular, []

    def late(found: os.stat_result) -> None:
        looks.append(found)
        if len(looks) > 1:
            look(found)

    monkeypatch.setattr(file, "_hold_regular", late)
    with pytest.raises(MediaError, match=SPECIAL):
        read_sound(tmp_path / "pipe")


PLAYLISTS = {
    "a.m3u8": "#EXTM3U\n#EXT-X-VERSION:3\n#EXT-X-TARGETDURATION:1\n#EXT-X-MEDIA-SEQUENCE:0\n#EXTINF:1.0,\n{target}\n#EXT-X-ENDLIST\n",
    "concat.wav": "ffconcat version 1.0\nfile '{target}'\n",
    "a.mpd": '<?xml version="1.0"?><MPD xmlns="urn:mpeg:dash:schema:mpd:2011" type="static" mediaPresentationDuration="PT1S"><Period><AdaptationSet '
    'mimeType="audio/mp4"><Representation id="0" bandwidth="1"><BaseURL>{target}</BaseURL></Representation></AdaptationSet></Period></MPD>',
    "a.sdp": "v=0\no=- 0 0 IN IP4 127.0.0.1\ns=x\nc=IN IP4 127.0.0.1\nt=0 0\nm=audio {port} RTP/AVP 0\n",
    "a.pls": "[playlist]\nFile1={target}\nNumberOfEntries=1\n",
    "a.asx": '<asx version="3.0"><entry><ref href="{target}"/></entry></asx>',
    "a.ism": "<SmoothStreamingMedia><StreamIndex Url='{target}'/></SmoothStreamingMedia>",
}


@pytest.fixture
def canary(tmp_path: Path) -> Any:
    """A pipe that has something in it, which whoever reads it takes out, and a port on which nobody must knock."""
    os.mkfifo(tmp_path / "canary.ts")
    pipe = os.open(tmp_path / "canary.ts", os.O_RDWR | os.O_NONBLOCK)
    os.write(pipe, b"canary")
    with socket.create_server(("127.0.0.1", 0)) as port:
        port.setblocking(False)
        yield port.getsockname()[1]
        assert os.read(pipe, 100) == b"canary"
        with pytest.raises(BlockingIOError):
            port.accept()
    os.close(pipe)


@pytest.mark.parametrize("name", PLAYLISTS)
@pytest.mark.parametrize("target", ["canary.ts", "{folder}/canary.ts", "file:{folder}/canary.ts", "http://127.0.0.1:{port}/a.ts"])
def test_a_recording_opens_no_other_file(tmp_path: Path, canary: int, name: str, target: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    path = tmp_path / name
    path.write_text(PLAYLISTS[name].format(target=target.format(folder=tmp_path, port=canary), port=canary))
    for read in (read_sound, lambda path: list(read_frames(path))):
        with pytest.raises(MediaError, match=NONE):
            read(path)


@pytest.mark.parametrize("guard", ["neither", "formats", "protocols"])
def test_either_guard_alone_suffices(tmp_path: Path, guard: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without both FFmpeg does what this file is about: it reads another one for the sake of this one."""
    import av

    monkeypatch.chdir(tmp_path)
    write_wav(tmp_path / "secret.wav", wave(0.5, RATE), RATE)
    (tmp_path / "concat.wav").write_text(PLAYLISTS["concat.wav"].format(target="secret.wav"))
    if guard == "neither":
        with (tmp_path / "concat.wav").open("rb") as unguarded, av.open(file._Bytes(unguarded), "r") as container:
            assert container.streams.audio[0].rate == RATE
        return
    if guard == "protocols":
        monkeypatch.setattr(file, "_FORMATS", ("concat", "wav"))
    with pytest.raises(MediaError, match=NONE):
        read_sound(tmp_path / "concat.wav")


def test_places_outside_a_file_lead_nowhere(tmp_path: Path) -> None:
    (tmp_path / "a.wav").write_bytes(WAV)
    with (tmp_path / "a.wav").open("rb") as it:
        assert file._Bytes(it).seek(-5, 0) == file._Bytes(it).seek(-(10**6), 2) == -1
        assert file._Bytes(it).seek(10, 0) == 10


def test_a_name_is_no_pattern_of_names(tmp_path: Path) -> None:
    (tmp_path / "1.wav").write_bytes(WAV)
    for name in ("%01d.wav", "*.wav", "concat:1.wav|1.wav", "http:", "data:audio%2Fwav;base64,AAAA", "-"):
        with pytest.raises(MediaError, match=ABSENT):
            read_sound(tmp_path / name)
        (tmp_path / name).write_bytes(WAV)
        assert len(read_sound(tmp_path / name).samples) == 8_000
        (tmp_path / name).unlink()
