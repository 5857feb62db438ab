"""What a run is made of, opened from a store on disk or drawn in memory."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from dgl_merc.corpus import Corpus, open_corpus
from dgl_merc.errors import InputError, at
from dgl_merc.files import sha256
from dgl_merc.graphs import GraphSpec, Store, open_store
from dgl_merc.training.run_folder import SavedRun

__all__ = ["Source", "corpus_of", "open_source", "opened_once"]


@dataclass(frozen=True)
class Source:
    """A corpus and who is connected in it.

    Attributes:
        corpus: every byte checked against its hashes: a run vouches for it.
        spec: of the store.
        store: None for the embedded corpus.
    """

    corpus: Corpus
    spec: GraphSpec
    store: Store | None

    @property
    def name(self) -> str:
        """What folders of its runs are called by."""
        return self.store.path.resolve().name if self.store else "embedded"


def open_source(store: Path | None) -> Source:
    """Open a store and its corpus, or, without one, make the embedded corpus.

    Raises:
        InputError: not a store, or the store or its corpus is damaged.
    """
    if store is None:
        from dgl_merc.corpus import synthetic

        corpus = synthetic.synthetic_corpus()
        return Source(corpus, GraphSpec(tuple(corpus.modalities)), None)
    opened = open_store(store)
    return Source(opened.checked_corpus(), opened.spec, opened)


def opened_once(store: Path | None) -> Source:
    """The same for a process that makes many runs of one source: opened again only when the store was built anew."""
    stamp = sha256(store / "manifest.json") if store and (store / "manifest.json").is_file() else ""
    return _opened(store, stamp)


@lru_cache(maxsize=1)
def _opened(store: Path | None, _stamp: str) -> Source:
    return open_source(store)


def corpus_of(run: SavedRun, store: Path | None) -> Corpus:
    """The corpus for a finished run: of a store where one is named, else the one it was trained on.

    Args:
        run: that says where its corpus stood; a run of the embedded corpus needs no place.
        store: the graphs.

    Raises:
        InputError: no store or no corpus there, a damaged one, or, without a store, another one than the run was trained on.
    """
    if store:
        return opened_once(store).corpus
    path = run.data["corpus"].get("path")
    corpus = open_corpus(Path(path)) if path else opened_once(None).corpus
    if corpus.content_sha256 != run.data["corpus"]["content_sha256"]:
        said = f"the corpus at {path} is another now" if path else "its corpus was in memory, and is not the embedded one"
        raise InputError(f"{at(run.path)}{said}: name the store of the corpus to look at")
    return corpus
