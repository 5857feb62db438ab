"""Run by test_features_cli.py in a process of its own: makes features with planted extractors by the command line, and is killed.

Arguments: a folder with talk.csv and m/, and points (JSON). A point is a number n: the process dies (SIGKILL) at its n-th operation on files
below the folder; null: it does not, and the operations are counted; "int": it is interrupted (SIGINT) in the middle, workers and all; "kill": it
is killed in the middle, while a worker hangs. Then the command is given again with --resume. Standard output: one JSON line a point.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import sys
import time
from pathlib import Path

from extraction_cases import open_on_device, open_slowly, open_stuck, recipe
from operations import count_operations

import dgl_merc.extraction.extractor
from dgl_merc.cli.main import main
from dgl_merc.corpus import open_corpus
from dgl_merc.corpus.care import select  # noqa: F401  (so that no child has to)
from dgl_merc.corpus.summary import split_table  # noqa: F401
from dgl_merc.extraction import kept, wanted


def child(folder: Path, at: object, count: Path | None, *more: str) -> int:
    """Fork the command, in a session of its own."""
    pid = os.fork()
    if pid:
        return pid
    os.setsid()
    quiet = os.open(folder.parent / f"{folder.name}.txt", os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    os.dup2(quiet, 1)
    os.dup2(quiet, 2)
    sys.stdout, sys.stderr = os.fdopen(1, "w"), os.fdopen(2, "w")
    done = count_operations(folder, at)
    kept._SECONDS, wanted._TEXTS, wanted._CLIPS = 0.0, 2, 2  # many batches
    dgl_merc.extraction.extractor.open_extractor = {"int": open_slowly, "kill": open_stuck}.get(str(at), open_on_device)  # type: ignore[assignment]
    dgl_merc.extraction.extractor.parse_recipe = lambda kind, _: recipe(kind)  # type: ignore[assignment]
    command = [
        "features",
        str(folder / "talk.csv"),
        str(folder / "out"),
        "--media",
        str(folder / "m"),
        "--one-split",
        "train",
        "--text",
        "x",
    ]
    try:
        main([*command, "--audio", "x", "--jobs", "1", "--device", "cpu", *more])
    except SystemExit as end:
        if count:
            count.write_text(str(done()))
        sys.stderr.flush()
        os._exit(end.code if isinstance(end.code, int) else 1)
    os._exit(9)


def in_session(leader: int) -> list[int]:
    """Processes that are left of a session."""
    found = []
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = stat.read_text().rpartition(")")[2].split()
        except OSError:
            continue
        if int(fields[3]) == leader and fields[0] != "Z" and int(stat.parent.name) != leader:
            found.append(int(stat.parent.name))
    return found


def main_() -> None:
    base, points = Path(sys.argv[1]), json.loads(sys.argv[2])
    for k, point in enumerate(points):
        folder = base / str(k)
        folder.mkdir()
        shutil.copy(base / "talk.csv", folder)
        (folder / "m").symlink_to(base / "m")
        pid = child(folder, point, base / f"count{k}" if point is None else None)
        work = folder / ".out.unfinished"
        if isinstance(point, str):
            until = time.monotonic() + 60
            while time.monotonic() < until and not any(p.stat().st_size for p in work.glob("audio*.jsonl")):
                time.sleep(0.02)
            os.killpg(pid, signal.SIGINT) if point == "int" else os.kill(pid, signal.SIGKILL)
        status = [os.waitpid(pid, 0)[1]]
        until = time.monotonic() + 20
        while (left := in_session(pid)) and time.monotonic() < until:
            time.sleep(0.02)
        said = (base / f"{k}.txt").read_text().splitlines()
        state = any(p.stat().st_size for p in work.glob("*.jsonl"))
        if point is not None:
            status.append(os.waitpid(child(folder, None, None, "--resume"), 0)[1])
        again = (base / f"{k}.txt").read_text().splitlines()[len(said) :]
        count = int((base / f"count{k}").read_text()) if point is None else None
        corpus = json.loads((folder / "out" / "corpus.json").read_text())
        parts = {key: corpus[key] for key in ("content_sha256", "files", "notes", "modalities")}
        open_corpus(folder / "out", check="full")
        files = sorted(p.name for p in folder.iterdir())
        print(json.dumps({"point": point, "status": status, "count": count, "left": left, "said": said, "again": again, "state": state, "files": files, "parts": parts}), flush=True)  # fmt: skip


if __name__ == "__main__":
    main_()
