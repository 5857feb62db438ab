"""The recording of notebook 5: ``python tests/make_talk.py`` says a conversation by espeak-ng into ``notebooks/talk.ogg`` and ``talk.csv``.

A synthesiser speaks, in two voices, whatever is said in one tone: no voice in it is glad or angry. The test of what is stored is in
``test_recording_to_emotions.py``; another version of espeak-ng or FFmpeg makes other bytes.
"""

from __future__ import annotations

import csv
import tempfile
import wave
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from media_cases import talk

__all__ = ["FOLDER", "LINES", "NAME"]

FOLDER = Path(__file__).resolve().parents[1] / "notebooks"
NAME = "talk"
LINES = [
    ("Mira", "There you are. How did it go?"),
    ("Tom", "They gave me the job."),
    ("Mira", "No! Really?"),
    ("Tom", "I start on Monday."),
    ("Mira", "On Monday? In Lisbon?"),
    ("Tom", "That is where the job is."),
    ("Mira", "And when did you mean to tell me?"),
    ("Tom", "I am telling you now."),
    ("Mira", "You told them before you told me."),
    ("Tom", "I thought you would be glad."),
]


def write_opus(path: Path, pcm: npt.NDArray[np.int16], rate: int) -> None:
    """At 24 kilobits a second, which is plenty for one voice."""
    import av

    whole = av.AudioFrame.from_ndarray(pcm[None], format="s16", layout="mono")
    whole.sample_rate, whole.pts, whole.time_base = rate, 0, Fraction(1, rate)
    resampler = av.AudioResampler(format="flt", layout="mono", rate=24_000)
    with av.open(str(path), "w", options={"fflags": "+bitexact"}) as out:
        stream: Any = out.add_stream("libopus", rate=24_000, layout="mono")
        stream.bit_rate = 24_000
        for part in (*resampler.resample(whole), *resampler.resample(None), None):
            out.mux(stream.encode(part))


def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        rows = talk(Path(folder), LINES, dialogue=NAME)
        with wave.open(str(Path(folder) / f"{NAME}.wav"), "rb") as file:
            rate, pcm = file.getframerate(), np.frombuffer(file.readframes(file.getnframes()), dtype="<i2")
    write_opus(FOLDER / f"{NAME}.ogg", pcm, rate)
    with (FOLDER / f"{NAME}.csv").open("w", encoding="utf-8", newline="") as file_:
        out = csv.writer(file_, lineterminator="\n")
        out.writerow(["dialogue_id", "speaker", "start", "end", "text"])
        out.writerows([NAME, row["speaker"], f"{row['start']:.2f}", f"{row['end']:.2f}", row["text"]] for row in rows)


if __name__ == "__main__":
    main()
