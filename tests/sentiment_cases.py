"""A tiny corpus with a sentiment score, made of the embedded one: scores go with the emotion, some are 0 and some are missing."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from helpers import SMALL_SGRNET

from dgl_merc.corpus import Corpus, Target
from dgl_merc.corpus.synthetic import synthetic_corpus
from dgl_merc.graphs import GraphSpec
from dgl_merc.training import fit, load_settings

MOSEI = (-3.0, 3.0)
_LEARNT = ["model.dropout=.1", "training.max_epochs=5", "training.lr=.05", "training.schedule=constant"]  # enough to say either sign
SMALL = {
    "sgrnet": [
        *(*SMALL_SGRNET, "model.dim=20", "model.width=16", "model.context.input_dropout=0", "model.alignment.weight=.1"),
        *("training.batch_size=4", *_LEARNT, "training.lr=.02", "training.max_epochs=20"),
    ],
    "mglra": [
        *("model.dim=8", "model.context.input_dropout=0", "training.batch_size=4", *_LEARNT, "training.lr=.02", "training.max_epochs=8"),
    ],
    "bilstm": ["model.hidden=6", "training.batch_size=5", *_LEARNT],
    "logistic": [],
}
LEARN = {"classes": [], "score": ["data.learn=score"]}


def scored_corpus(sizes: tuple[int, int, int] = (12, 4, 4), bounds: tuple[float, float] = MOSEI, *, emotion: bool = False) -> Corpus:
    """With the target ``sentiment``, and, if asked for, ``emotion`` before it."""
    made = synthetic_corpus(0, sizes, with_ceilings=False)
    rng, felt = np.random.default_rng(0), made.labels("emotion")
    means = np.linspace(-2, 2, len(made.targets["emotion"].labels))
    scores = np.clip(np.round(3 * (means[felt] + 0.5 * rng.standard_normal(len(felt)))) / 3, *MOSEI)
    scores[rng.random(len(felt)) < 0.15] = 0
    scores = np.where(felt < 0, np.nan, scores * bounds[1] / MOSEI[1])
    table = made.utterances.assign(sentiment=np.clip(scores, *bounds))
    targets = {"sentiment": Target("range", bounds=bounds)}
    if emotion:
        return Corpus.build("scored", table, made.features, {"emotion": made.targets["emotion"], **targets})
    return Corpus.build("scored", table.drop(columns="emotion"), made.features, targets)


def with_scores(corpus: Corpus, scores: Any) -> Corpus:
    """Other scores [U] in place of those of ``sentiment``."""
    return replace(corpus, utterances=corpus.utterances.assign(sentiment=np.asarray(scores, dtype=np.float64)))


def of_split(corpus: Corpus, split: str) -> Any:
    """[U] whether an utterance is in a split."""
    return (corpus.utterances["split"] == split).to_numpy()


def run(corpus: Corpus, out: Path, learn: str = "score", preset: str = "bilstm", words: tuple[str, ...] = (), **options: Any) -> Any:
    settings = load_settings(preset, [*SMALL[preset], *LEARN[learn], *words], 3)
    return fit(corpus, GraphSpec(tuple(corpus.modalities)), settings, out, **options)


def every_run(corpus: Corpus, folder: Path) -> dict[tuple[str, str], Path]:
    """A run of each of these models with both heads."""
    outs = {(preset, learn): folder / f"{preset}-{learn}" for preset in SMALL for learn in LEARN}
    for (preset, learn), out in outs.items():
        run(corpus, out, learn, preset)
    return outs


def left(out: Path) -> dict[str, Any]:
    looks = [{k: v for k, v in e.items() if k != "seconds"} for e in read(out, "history")["looks"]]
    return {name: (out / name).read_bytes() for name in ("weights.safetensors", "predictions.parquet")} | {"history": looks}


def read(out: Path, name: str) -> Any:
    return json.loads((out / f"{name}.json").read_text(encoding="utf-8"))
