"""A corpus larger than memory: what import, building and an epoch of training hold in memory, and how long they take.

    python benchmarks/large.py --folder work/large                        # the table: 2,000,000 utterances, 21 GiB of disk, two hours
    python benchmarks/large.py --folder work/large --utterances 100000    # another size; of two, the slope

Three modalities (text 384, audio 100, visual 342 wide, float32: 3,304 bytes an utterance), one row an utterance in a CSV, features in
``.npy`` by row, 3 and 10 % of audio and visual absent. Dialogues have 1 to 200 utterances, 18 on average, splits of 80, 10 and 10 %. Each
phase is ``dglmerc`` in a process of its own, one thread:

    import   ``import table``, into the open format
    build    ``build-graphs --no-edges``: all that training needs
    graphs   ``build-graphs``, a weighted DGL graph of every dialogue written, window 5
    fit      one epoch of a BiLSTM 32 wide, its test, figures and report; with ``--steps``, so many batches instead of the epoch

``held`` is the greatest RssAnon + RssShmem of the process, from /proc, looked at 50 times a second: what it has taken for itself. Pages of
memory-mapped files (RssFile) are the operating system's to take back at any time, and are not in it; ``mapped`` is their greatest extent.
``base`` is what ``held`` is after the same phase of 2,000 utterances: libraries, mostly.
"""

from __future__ import annotations

import csv
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import click
import numpy as np

WIDTHS = {"text": 384, "audio": 100, "visual": 342}
ABSENT = {"text": 0.0, "audio": 0.03, "visual": 0.1}
EMOTIONS = ("anger", "disgust", "fear", "joy", "neutral", "sadness", "surprise")
PHASES = ("import", "build", "graphs", "fit")
_ROWS = 1 << 14
_SMALL = 2000


@dataclass(frozen=True)
class Took:
    """What a process took.

    Attributes:
        held: MiB of its own, at most.
        mapped: MiB of files, at most.
        seconds: by the clock.
    """

    held: float
    mapped: float
    seconds: float


def lengths_of(utterances: int, rng: np.random.Generator) -> np.ndarray:
    """[B] utterances of dialogues, ``utterances`` together."""
    drawn = np.clip(rng.lognormal(2.6, 0.8, utterances // 4 + 10).astype(int), 1, 200)
    ends = np.cumsum(drawn)
    count = int(np.searchsorted(ends, utterances)) + 1
    lengths = drawn[:count].copy()
    lengths[-1] -= ends[count - 1] - utterances
    return lengths


def rows_of(lengths: np.ndarray, labels: np.ndarray, rng: np.random.Generator) -> Iterator[tuple[str, ...]]:
    """The CSV's rows, in order."""
    words = rng.integers(97, 123, (4096, 60), dtype=np.uint8)
    texts = ["".join(map(chr, row[: 20 + k % 40])) for k, row in enumerate(words)]
    row = 0
    for number, length in enumerate(lengths.tolist()):
        split = "train" if number % 10 < 8 else "dev" if number % 10 == 8 else "test"
        for place in range(length):
            speaker = f"speaker {(number * 7 + place % 3) % 5000}"
            yield (
                f"dialogue {number}",
                str(place),
                speaker,
                split,
                f"{texts[row % 4096]} {row}",
                EMOTIONS[labels[row]],
                f"{3.5 * place:.2f}",
            )
            row += 1


def make(folder: Path, utterances: int) -> None:
    """Write ``table.csv`` and ``<modality>.npy``, features in pieces; a label moves one column of each modality."""
    rng = np.random.default_rng(0)
    labels = rng.integers(0, len(EMOTIONS), utterances)
    folder.mkdir(parents=True)
    with (folder / "table.csv").open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["dialogue_id", "position", "speaker", "split", "text", "emotion", "start"])
        writer.writerows(rows_of(lengths_of(utterances, rng), labels, rng))
    for m, width in WIDTHS.items():
        with (folder / f"{m}.npy").open("wb") as file:
            np.lib.format.write_array_header_1_0(file, {"descr": "<f4", "fortran_order": False, "shape": (utterances, width)})
            for lo in range(0, utterances, _ROWS):
                here = labels[lo : lo + _ROWS]
                x = rng.standard_normal((len(here), width), dtype=np.float32)
                x[np.arange(len(here)), here] += 1
                x[rng.random(len(here)) < ABSENT[m]] = np.nan
                x.tofile(file)


def command_of(phase: str, folder: Path, steps: int | None) -> list[str]:
    """What ``dglmerc`` is given."""
    corpus, graphs = str(folder / "corpus"), str(folder / "graphs")
    if phase == "import":
        features = [word for m in WIDTHS for word in ("--features", f"{m}={m}.npy")]
        return ["import", "table", str(folder / "table.csv"), corpus, *features, "--nan", "absent"]
    if phase in ("build", "graphs"):
        out = [graphs, "--no-edges"] if phase == "build" else [f"{graphs}-dgl"]
        return ["build-graphs", corpus, *out, "--window", "5", "--past", "5", "--future", "5"]
    settings = ["model.hidden=32", "training.batch_size=64", "training.max_epochs=1", *([f"training.max_steps={steps}"] if steps else [])]
    return ["fit", graphs, "--preset", "bilstm", "--out", str(folder / "run"), *(w for s in settings for w in ("--set", s))]


def watched(words: Sequence[str]) -> Took:
    """Run ``dglmerc`` and look at its memory.

    Raises:
        RuntimeError: it failed.
    """
    begin = time.perf_counter()
    process = subprocess.Popen(
        [sys.executable, "-c", "from dgl_merc.cli.main import main; main()", *words],
        stdout=subprocess.DEVNULL,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )
    status, held, mapped = Path(f"/proc/{process.pid}/status"), 0, 0
    while process.poll() is None:
        try:
            fields = dict(line.split(":", 1) for line in status.read_text(encoding="utf-8").splitlines() if line.startswith("Rss"))
        except (FileNotFoundError, ProcessLookupError):  # it has just ended
            break
        kib = {name: int(value.split()[0]) for name, value in fields.items()}
        held = max(held, kib.get("RssAnon", 0) + kib.get("RssShmem", 0))
        mapped = max(mapped, kib.get("RssFile", 0))
        time.sleep(0.02)
    if process.wait():
        raise RuntimeError(f"{' '.join(words)} failed")
    return Took(held / 1024, mapped / 1024, time.perf_counter() - begin)


def phases(folder: Path, utterances: int, steps: int | None, wanted: Sequence[str]) -> Iterator[tuple[str, Took]]:
    """Phase by phase; ``folder`` is deleted when the last one is done."""
    if wanted[0] == PHASES[0]:
        shutil.rmtree(folder, ignore_errors=True)
        make(folder, utterances)
    for phase in wanted:
        yield phase, watched(command_of(phase, folder, steps))
    if wanted[-1] == PHASES[-1]:
        shutil.rmtree(folder)


@click.command()
@click.option(
    "--folder", type=click.Path(path_type=Path), required=True, help="On a disk with room; what is made in it is deleted at the end."
)
@click.option("--utterances", default="2000000", show_default=True, help="Sizes, with commas between them.")
@click.option("--steps", type=int, help="Batches to train instead of an epoch.")
@click.option("--phases", "wanted", default=",".join(PHASES), show_default=True, help="Those to run; earlier ones must have been.")
def main(folder: Path, utterances: str, steps: int | None, wanted: str) -> None:
    """Print the table."""
    chosen = wanted.split(",")
    base = dict(phases(folder / str(_SMALL), _SMALL, steps, PHASES[: PHASES.index(chosen[-1]) + 1]))
    print("| phase | utterances | features MiB | held MiB | base MiB | bytes an utterance | mapped MiB | seconds |", flush=True)
    print("|---|---|---|---|---|---|---|---|", flush=True)
    for size in map(int, utterances.split(",")):
        features = 4 * size * sum(WIDTHS.values()) / 2**20
        for phase, took in phases(folder / str(size), size, steps, chosen):
            above = (took.held - base[phase].held) * 2**20 / size
            cells = [f"{v:,.0f}" for v in (size, features, took.held, base[phase].held, above, took.mapped, took.seconds)]
            print(f"| {' | '.join([phase, *cells])} |", flush=True)


if __name__ == "__main__":
    main()
