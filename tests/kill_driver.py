"""Run by test_resume.py in a process of its own: forks runs, kills them (SIGKILL) at a point, resumes them, and says what is left.

A point is a number n: the run dies at its n-th operation on files below the folder (every open, rename, removal and new folder counts, so it may
die in the middle of writing anything); or a fraction of a second. Standard output: one JSON line per point.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import signal
import sys
import time
from pathlib import Path

import matplotlib.backends.backend_agg  # noqa: F401  (so that no child has to)
import torch
import torch._dynamo  # a second in every child that makes its first optimiser, were it not here
from operations import count_operations

from dgl_merc.corpus.synthetic import synthetic_corpus
from dgl_merc.graphs import GraphSpec
from dgl_merc.reports import contributions, figures, model_card, space, uncertainty  # noqa: F401
from dgl_merc.training import fit, load_settings


def child(folder: Path, words: list[str], at: int | None, count: Path | None, **options: object) -> int:
    """Fork a run; with ``at`` it kills itself there; with ``count`` it writes down how many operations there were."""
    pid = os.fork()
    if pid:
        return pid
    done = count_operations(folder, at)
    corpus = synthetic_corpus(0, (8, 3, 3), with_ceilings=False)
    fit(corpus, GraphSpec(tuple(corpus.modalities)), load_settings("mglra", words, 3), folder / "run", **options)  # type: ignore[arg-type]
    if count:
        count.write_text(str(done()))
    os._exit(0)


def left(folder: Path) -> dict[str, object]:
    """What a run left, times aside."""
    run = folder / "run"
    history = [{k: v for k, v in e.items() if k != "seconds"} for e in json.loads((run / "history.json").read_text())["looks"]]
    names = ("weights.safetensors", "scaling.safetensors", "predictions.parquet")
    hashes = {name: hashlib.sha256((run / name).read_bytes()).hexdigest() for name in names}
    return {**hashes, "history": history, "files": sorted(str(p.relative_to(folder)) for p in folder.rglob("*"))}


def main() -> None:
    """Arguments: folder, words (JSON), points (JSON; null: only count), whether an earlier result stands in the way (JSON)."""
    torch.set_num_threads(1)
    base, words, points, earlier = Path(sys.argv[1]), *map(json.loads, sys.argv[2:5])
    if earlier:
        (base / "earlier").mkdir()
        os.waitpid(child(base / "earlier", [*words, "training.max_epochs=1"], None, None), 0)
    for k, point in enumerate(points):
        folder = base / str(k)
        folder.mkdir()
        force = {}
        if earlier:
            shutil.copytree(base / "earlier" / "run", folder / "run")
            force = {"force": True}
        pid = child(folder, words, point if isinstance(point, int) else None, base / f"count{k}" if point is None else None, **force)
        if isinstance(point, float):
            time.sleep(point)
            os.kill(pid, signal.SIGKILL)
        _, status = os.waitpid(pid, 0)
        there = (folder / "run" / "metrics.json").is_file() or bool(list(folder.glob(".run.*.old/metrics.json")))
        state = (folder / ".run.unfinished" / "state.json").is_file()
        if point is not None:
            _, second = os.waitpid(child(folder, words, None, None, resume=True, **force), 0)
            status = [status, second]
        count = int((base / f"count{k}").read_text()) if point is None else None
        print(json.dumps({"point": point, "status": status, "count": count, "kept": there, "state": state, **left(folder)}), flush=True)


if __name__ == "__main__":
    main()
