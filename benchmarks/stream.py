"""How long an utterance of a stream waits for its answer: features in, probabilities out, one thread.

    python benchmarks/stream.py [--preset mglra] [--dialogues 20]

Causal models with fresh weights, IEMOCAP-like widths (text 100, audio 100, visual 512), and dialogues of two speakers that come by turns,
an utterance each. Timed are positions 100-127, and 256-283, where the window of 128 has long been full. ``wall`` is what one waits, with
whatever else the machine does; ``CPU`` is the thread's own time. ``again``: the CPU time, in the median, of the same model when it is
given the whole dialogue (its last 128 utterances), as it would be without a past. ``KiB``: what is kept of a dialogue at the end.
"""

from __future__ import annotations

from itertools import product
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from time import perf_counter, thread_time
from typing import Any

import click
import numpy as np
import torch
from safetensors.numpy import save_file as save_arrays
from safetensors.torch import save_file

from dgl_merc.graphs import GraphSpec, Structure
from dgl_merc.inference.stream import WINDOW, Stream
from dgl_merc.inference.utterance import Utterance
from dgl_merc.models import ModelInput, build_model
from dgl_merc.training.run_folder import SavedRun
from dgl_merc.training.settings import load_settings

WIDTHS = {"text": 100, "audio": 100, "visual": 512}
LABELS = [f"class {k}" for k in range(6)]
PLACES = (range(100, 128), range(256, 284))
HEAD = "| preset | modalities | graph.window | positions | p50 wall ms | p99 wall ms | p50 CPU ms | p99 CPU ms | again ms | KiB |"


def fresh_run(folder: Path, preset: str, modalities: tuple[str, ...], window: int | None) -> SavedRun:
    """What a stream takes, of a model that has learnt nothing."""
    settings = load_settings(preset)
    given: dict[str, Any] = {k: v for k, v in vars(settings.graph).items() if v is not None} | {"window": window, "causal": True}
    spec, widths = GraphSpec(modalities, **given), {m: WIDTHS[m] for m in modalities}
    torch.manual_seed(0)
    model = build_model(settings.model, ModelInput(widths, len(LABELS), spec, settings.seed, 0), settings.options)
    save_file({k: v.contiguous() for k, v in model.state_dict().items()}, folder / "weights.safetensors")
    ones = {f"{part}/{m}": np.ones(w, dtype=np.float32) for part in ("mean", "std") for m, w in widths.items()}
    save_arrays(ones, folder / "scaling.safetensors")
    return SavedRun(folder, settings, {"spec": spec.to_json(), "widths": widths, "labels": LABELS, "target": "emotion"}, {})


def waits(stream: Stream, widths: dict[str, int], dialogues: int) -> tuple[list[list[float]], list[list[float]]]:
    """Milliseconds at each of ``PLACES``: by the clock, and of the thread."""
    rng = np.random.default_rng(0)
    wall: list[list[float]] = [[] for _ in PLACES]
    own: list[list[float]] = [[] for _ in PLACES]
    for position, d in product(range(PLACES[-1].stop), range(dialogues)):
        x = {m: rng.standard_normal(w, dtype=np.float32) for m, w in widths.items()}
        utterance = Utterance(str(d), "AB"[position % 2], x)
        begin, begin_own = perf_counter(), thread_time()
        stream.answer(utterance)
        end, end_own = perf_counter(), thread_time()
        for k, place in enumerate(PLACES):
            if position in place:
                wall[k].append(1e3 * (end - begin))
                own[k].append(1e3 * (end_own - begin_own))
    return wall, own


def again(run: SavedRun, length: int, rounds: int) -> float:
    """Milliseconds of the thread for the same model on a whole dialogue."""
    model, taken = run.model().eval(), []
    x = {m: torch.randn(length, w) for m, w in run.data["widths"].items()}
    for _ in range(rounds):
        begin = thread_time()
        with torch.inference_mode():
            model(Structure.of([length], run.spec), x).logits.softmax(-1).tolist()
        taken.append(1e3 * (thread_time() - begin))
    return median(taken)


@click.command()
@click.option(
    "--preset",
    "presets",
    multiple=True,
    default=("mglra", "sgrnet", "bilstm", "dialoguegcn", "dialoguernn", "m3net", "mmgcn", "transformer"),
    show_default=True,
)
@click.option("--dialogues", default=20, show_default=True, type=click.IntRange(1), help="At the same time.")
def main(presets: tuple[str, ...], dialogues: int) -> None:
    """Print the table."""
    torch.set_num_threads(1)
    print(f"{HEAD}\n{'|---' * HEAD.count(' | ')}|---|", flush=True)
    for preset, modalities, window in product(presets, (("text", "audio", "visual"), ("text", "audio")), (None, 10)):
        with TemporaryDirectory() as folder:
            run = fresh_run(Path(folder), preset, modalities, window)
            stream = Stream([run])
            wall, own = waits(stream, run.data["widths"], dialogues)
            kept = next(iter(stream._heard.values())).pasts[0].bytes / 1024
            for k, place in enumerate(PLACES):
                whole = again(run, min(place.start, WINDOW), 20)
                cells = [preset, len(modalities), "complete" if window is None else window, f"{place.start}-{place.stop - 1}"]
                times = [f"{np.percentile(taken[k], q):.2f}" for taken in (wall, own) for q in (50, 99)]
                print(f"| {' | '.join(map(str, [*cells, *times, f'{whole:.1f}', f'{kept:.0f}']))} |", flush=True)


if __name__ == "__main__":
    main()
