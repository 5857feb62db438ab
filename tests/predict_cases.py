"""Runs and conversations for the tests of inference: written by hand as a person would, from a corpus or from nothing."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

from helpers import SMALL_RNN, SMALL_SGRNET

from dgl_merc.corpus import Corpus, presence_column
from dgl_merc.corpus.synthetic import synthetic_corpus
from dgl_merc.graphs import GraphSpec
from dgl_merc.training import fit, load_settings

QUICK = ["training.max_epochs=2", "training.batch_size=5"]
SMALL = {
    "bilstm": ["model.hidden=5", *QUICK],
    "logistic": [],
    "majority": [],
    "dialoguegcn": ["model.hidden=4", "model.dim=5", *QUICK],
    "dialoguernn": [*SMALL_RNN, *QUICK],
    "m3net": ["model.dim=6", *QUICK],
    "mglra": ["model.dim=8", "model.speakers=corpus", *QUICK],
    "mmgcn": ["model.dim=6", *QUICK],
    "sgrnet": [*SMALL_SGRNET, *QUICK],
    "transformer": ["model.dim=6", "model.heads=2", "model.feed_forward=8", *QUICK],
}


def small_corpus() -> Corpus:
    """Ana, Ben and others talk in all splits; some utterances lack modalities."""
    made = synthetic_corpus(0, (8, 3, 4), with_ceilings=False)
    table = made.utterances.assign(speaker=made.utterances["speaker"].map(lambda name: name.rpartition("/")[2]))
    return Corpus.build("small", table, made.features, dict(made.targets))


def fitted(corpus: Corpus, out: Path, preset: str = "bilstm", *words: str, seed: int = 0) -> Path:
    """A run folder."""
    fit(corpus, GraphSpec(tuple(corpus.modalities)), load_settings(preset, [*SMALL[preset], *words], seed), out)
    return out


def spoken(corpus: Corpus, split: str = "test") -> list[dict[str, Any]]:
    """The utterances of a split as JSON lines have them, with what they are labelled as."""
    objects = []
    for number in corpus.in_split(split):
        dialogue = corpus.dialogue(int(number))
        left = {m: iter(x) for m, x in dialogue.features.items()}
        for row in dialogue.utterances.to_dict("records"):
            features = {m: [float(v) for v in next(left[m])] for m in left if row[presence_column(m)]}
            objects.append({"dialogue_id": row["dialogue_id"], "speaker": row["speaker"], "features": features, "emotion": _label(row)})
    return objects


def _label(row: dict[str, Any]) -> str | None:
    return row["emotion"] if isinstance(row["emotion"], str) else None


def write_lines(path: Path, objects: list[dict[str, Any]]) -> Path:
    path.write_text("".join(f"{json.dumps(o)}\n" for o in objects), encoding="utf-8")
    return path


def write_csv(path: Path, objects: list[dict[str, Any]], widths: dict[str, int], more: tuple[str, ...] = ("emotion",)) -> Path:
    """With a column for each number: ``text_0, text_1, ...``; empty cells where a modality is absent."""
    with path.open("w", newline="", encoding="utf-8") as file:
        out = csv.writer(file)
        out.writerow(["dialogue_id", "speaker", *more, *(f"{m}_{k}" for m, w in widths.items() for k in range(w))])
        for o in objects:
            cells = [v for m, w in widths.items() for v in o["features"].get(m, [""] * w)]
            out.writerow([o["dialogue_id"], o["speaker"], *("" if o.get(key) is None else o[key] for key in more), *cells])
    return path
