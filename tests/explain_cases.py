"""Runs for the tests of explanations, made once: of every model, and of the papers' print."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

from predict_cases import fitted, small_corpus

from dgl_merc.corpus import Corpus, save_corpus
from dgl_merc.training.run_folder import SavedRun, open_run

CASES = {
    "bilstm": ("bilstm", ()),
    "logistic": ("logistic", ()),
    "majority": ("majority", ()),
    "dialoguegcn": ("dialoguegcn", ("training.lr=.02", "model.attention=true")),
    "dialoguernn": ("dialoguernn", ("model.attention=true", "training.lr=.05", "training.max_epochs=4", "model.dropout=0")),
    "m3net": ("m3net", ("training.lr=.02", "training.schedule=constant")),
    "mglra": ("mglra", ("model.filter.output=share", "model.gcn.layers=2", "graph.window=5", "training.lr=.02", "training.max_epochs=5")),
    "mmgcn": ("mmgcn", ("model.gcn.gamma=.7", "training.lr=.02", "training.schedule=constant")),
    "print": (
        "mglra",
        ("model.filter.attention=channel", "model.gcn.mask=both", "model.gcn.aleph=.6", "model.rounds=2", "graph.causal=true"),
    ),
    "sgrnet": ("sgrnet", ()),
    "transformer": ("transformer", ()),
}


class SmallRuns(NamedTuple):
    """A corpus on disk, runs of it, and the number of its shortest test dialogue in which every modality is there and missing somewhere."""

    corpus: Corpus
    runs: dict[str, SavedRun]
    shortest: int


def make_runs(folder: Path) -> SmallRuns:
    corpus = save_corpus(small_corpus(), folder / "corpus")
    runs = {name: open_run(fitted(corpus, folder / name, preset, *words)) for name, (preset, words) in CASES.items()}
    mixed = [
        int(n)
        for n in corpus.in_split("test")
        if (p := corpus.presence[corpus.offsets[n] : corpus.offsets[n + 1]]).any(axis=0).all() and not p.all(axis=0).any()
    ]
    return SmallRuns(corpus, runs, min(mixed, key=lambda n: int(corpus.lengths[n])))
