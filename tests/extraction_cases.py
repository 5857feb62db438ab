"""An extractor for tests of the engine, whose recordings are JSON files that say what happens to whoever looks at them.

    {"seed": 3, "at": {"1.5": "abort"}}     the stretch that begins at 1.5 s kills the process; of a whole file the key is ""

What may happen: abort, hang, raise, absent, nan, exit (the process ends in order). Anything else is a vector [content, start, end, 1].
The recipe's model is a folder in which every process writes down what it looks at, or "".
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from dgl_merc.corpus import Corpus, Target
from dgl_merc.errors import InputError
from dgl_merc.extraction import Absence, Item, Recipe

WIDTH = 4


class Planted:
    """Of kind text or audio."""

    width = WIDTH

    def __init__(self, recipe: Recipe, pause: float = 0.0) -> None:
        if recipe.options.get("fault"):
            raise InputError("audio: no such set")
        if recipe.options.get("dies"):
            os._exit(3)
        self.recipe = replace(recipe, versions={"planted": "1"}, licence="planted: for tests alone")
        self.notes = ["planted: a note"]
        self.pause = pause

    def vectors(self, items: Sequence[Item]) -> Iterator[Any]:
        for item in items:
            if self.recipe.model:
                seen = item.text if item.media is None else f"{item.media.name} {item.start}"
                with (Path(self.recipe.model) / str(os.getpid())).open("a") as file:
                    file.write(f"{seen}\n")
            yield vector_of(item)
            time.sleep(self.pause if item.media else 0)


def vector_of(item: Item) -> Any:
    """What the extractor answers; what kills a process included."""
    if item.media is None:
        text = item.text or ""
        return np.array([len(text), sum(text.encode()), 0, 1], dtype=np.float32) if text else Absence("no text")
    told = json.loads(item.media.read_text())
    what = told.get("at", {}).get("" if item.start is None else str(item.start))
    if what == "abort":
        os.abort()
    if what == "exit":
        os._exit(0)
    if what == "hang":
        time.sleep(1000)
    if what == "raise":
        raise ValueError("odd\nfile")
    if what == "absent":
        return Absence("nothing in it")
    times = [-1.0 if t is None else t for t in (item.start, item.end)]
    return np.array([told["seed"], *times, np.nan if what == "nan" else 1], dtype=np.float32)


def open_planted(recipe: Recipe) -> Planted:
    return Planted(recipe)


def open_on_device(recipe: Recipe, device: str) -> Planted:
    """As the command line opens one."""
    return Planted(recipe)


def open_telling(recipe: Recipe) -> Planted:
    """One that says how many threads it may use."""
    planted = Planted(recipe)
    planted.notes = [f"threads: {os.environ.get('OMP_NUM_THREADS')}"]
    return planted


def open_slowly(recipe: Recipe, device: str) -> Planted:
    return Planted(recipe, pause=0.2)


def open_stuck(recipe: Recipe, device: str) -> Planted:
    """One that never gets beyond its first recording."""
    return Planted(recipe, pause=1000)


def recipe(kind: Any = "audio", log: Path | str = "", **options: Any) -> Recipe:
    return Recipe(kind, "planted", str(log), options)


def record(path: Path, seed: int, at: dict[str, str] | None = None) -> None:
    """A recording."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps({"seed": seed, "at": at or {}}))


def conversations(lengths: Sequence[int] = (3, 2), **columns: Any) -> Corpus:
    """Dialogues d0, d1, ... whose utterances last half a second each, all in the training split; further columns as given."""
    rows = [
        {"dialogue_id": f"d{d}", "position": k, "speaker": "ab"[k % 2], "split": "train", "text": f"{d} says {k}", "start": k / 2, "end": k / 2 + 0.5, "mood": 0.5}
        for d, n in enumerate(lengths)
        for k in range(n)
    ]  # fmt: skip
    table = pd.DataFrame(rows).assign(**columns)
    return Corpus.build("talk", table, {}, {"mood": Target("range", bounds=(-1.0, 1.0))})


def looked_at(log: Path) -> list[list[str]]:
    """What each process looked at."""
    return [path.read_text().splitlines() for path in sorted(log.iterdir())]
