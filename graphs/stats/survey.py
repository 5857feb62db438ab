"""Survey: what is looked at. A store, some of its dialogues, or tables; counted once, chunk by chunk, for all tables of edges."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from dgl_merc.corpus import SPLITS, Corpus, presence_column
from dgl_merc.errors import InputError, at
from dgl_merc.graphs.schema import UTTERANCE, EdgeType
from dgl_merc.graphs.stats.counts import EdgeCounts, count_edges
from dgl_merc.graphs.stats.pieces import Piece, cuts_of, piece_of_store, table_edges
from dgl_merc.graphs.store import Store, utterance_rows

__all__ = ["Survey", "surveyed"]

Array = npt.NDArray[Any]

_HAS = presence_column("")


@dataclass(frozen=True, eq=False)
class Survey:
    """B dialogues with U utterances, and their edges in pieces.

    Make one with :meth:`of_store` or :meth:`of_tables`. Every function of :mod:`dgl_merc.graphs.stats` takes one; what is counted along
    edges is counted once for all of them.

    Attributes:
        modalities: M names.
        classes: K names of labels; none where nothing can be labelled.
        splits: S names, in the order of every table.
        split: [B] int64, indices into ``splits``.
        lengths: [B] utterances per dialogue.
        labels: [U] int64, indices into ``classes``; -1 = unlabelled.
        speakers: [U] int64, dialogue-local.
        presence: [U, M] bool.
        pieces: makes the dialogues anew, some at a time.
    """

    modalities: tuple[str, ...]
    classes: tuple[str, ...]
    splits: tuple[str, ...]
    split: Array
    lengths: Array
    labels: Array
    speakers: Array
    presence: Array
    pieces: Callable[[], Iterator[Piece]]

    @classmethod
    def of_store(
        cls,
        store: Store,
        *,
        dialogue: int | str | None = None,
        split: str | None = None,
        target: str | None = None,
        progress: Callable[[int, int], None] | None = None,
    ) -> Survey:
        """Of a store. Edges and weights are made anew of the corpus, so a store without graphs will do.

        Args:
            store: opened.
            dialogue: this one only, by number or name.
            split: the dialogues of this split only.
            target: whose labels count; default: the corpus's first. Scores count by sign, a score of 0 is unlabelled.
            progress: called with (dialogues done, dialogues in all) while edges are counted.

        Raises:
            InputError: no such dialogue, split or target, a dialogue of another split, or no corpus.
        """
        corpus = store.corpus
        classes, labels = _labels(corpus, target)
        numbers = np.arange(len(corpus)) if dialogue is None else np.array([store.number(dialogue)])
        if split is not None:
            numbers = numbers[corpus.splits[numbers] == split]
        if not len(numbers):
            there = [s for s in SPLITS if (corpus.splits == s).any()]
            raise InputError(
                f"{at(store.path)}no dialogue in split {split!r}; it has {', '.join(there)}"
                if dialogue is None
                else f"{at(store.path)}dialogue {dialogue!r} is not in split {split!r}; leave --split out"
            )
        names = tuple(s for s in SPLITS if (corpus.splits[numbers] == s).any())
        codes = np.array([names.index(s) for s in corpus.splits[numbers]], dtype=np.int64)
        rows = utterance_rows(corpus, numbers)
        columns = [list(corpus.modalities).index(m) for m in store.spec.modalities]

        def pieces() -> Iterator[Piece]:
            done = 0
            for part in cuts_of(store, numbers):
                inside = utterance_rows(corpus, part)
                owner = np.repeat(np.arange(len(part)), corpus.lengths[part])
                about = codes[done : done + len(part)], owner, labels[inside], corpus.local_speakers[inside]
                yield Piece(*about, *piece_of_store(store, part))
                done += len(part)
                if progress:
                    progress(done, len(numbers))

        return cls(
            store.spec.modalities,
            classes,
            names,
            codes,
            corpus.lengths[numbers],
            labels[rows],
            corpus.local_speakers[rows],
            corpus.presence[rows][:, columns],
            pieces,
        )

    @classmethod
    def of_tables(cls, edges: pd.DataFrame, utterances: pd.DataFrame, classes: Sequence[str] | None = None) -> Survey:
        """Of a table of edges and one of utterances, as :mod:`dgl_merc.graphs.tables` makes them.

        Args:
            edges: columns :data:`~dgl_merc.graphs.tables.EDGE_COLUMNS`.
            utterances: ``position``, from 0 on in each dialogue, ``speaker``, ``label`` (None = unlabelled), a column ``has_<modality>``
                each; perhaps ``dialogue`` (default: that of the edges, or 0) and ``split`` (default: all in one called ``all``).
            classes: in the order of tables; default: the labels that occur, sorted.

        Raises:
            ValueError: positions that do not run from 0, a label that is no class, edges of what is not there; when edges are counted, a
                weight that is not from 0 to 1.

        Example: the second utterance hears the first, and both agree.

        >>> from dgl_merc.graphs.stats import homophily
        >>> from dgl_merc.graphs.tables import EDGE_COLUMNS
        >>> said = pd.DataFrame({"position": [0, 1], "speaker": ["Ana", "Ben"], "label": ["joy", "joy"], "has_text": [True, True]})
        >>> edge = pd.DataFrame([[0, "text", "same", "text", 0, 1, 0.5]], columns=EDGE_COLUMNS)
        >>> homophily(Survey.of_tables(edge, said))[["part", "edges", "equal"]].values.tolist()
        [['all', 1, 1.0], ['other speaker', 1, 1.0]]
        """
        default = {"dialogue": edges["dialogue"].iloc[0] if len(edges) else 0, "split": "all"}
        table = utterances.assign(**{name: value for name, value in default.items() if name not in utterances})
        owner, keys = pd.factorize(table["dialogue"])
        lengths = np.bincount(owner, minlength=len(keys))
        offsets = np.cumsum(lengths) - lengths
        if (table["position"].to_numpy() + offsets[owner] != np.arange(len(table))).any():
            raise ValueError("position must run from 0 on in each dialogue, whose rows stand together")
        names = tuple(classes) if classes is not None else tuple(sorted(set(table["label"].dropna())))
        labels = pd.Index(list(names), dtype=object).get_indexer(pd.Index(table["label"].to_numpy(dtype=object))).astype(np.int64)
        if (foreign := (labels < 0) & table["label"].notna().to_numpy()).any():
            raise ValueError(f"label must be one of {list(names)}, got {table['label'][foreign].iloc[0]!r}")
        where = tuple(sorted(set(table["split"]), key=lambda s: (SPLITS.index(s) if s in SPLITS else len(SPLITS), s)))
        codes = np.array([where.index(s) for s in table["split"].to_numpy()[offsets]], dtype=np.int64)
        there = {str(c).removeprefix(_HAS): table[c].to_numpy(dtype=bool) for c in table if str(c).startswith(_HAS)}
        speakers = pd.factorize(table["speaker"])[0].astype(np.int64)
        found = table_edges(edges, dict(zip(keys, offsets, strict=True)), dict(zip(keys, lengths, strict=True)), list(there))
        nodes = {**there, UTTERANCE: np.ones(len(table), dtype=bool)}
        piece = Piece(codes, owner, labels, speakers, nodes, found)
        presence = np.stack([*there.values()], axis=1) if there else np.zeros((len(table), 0), dtype=bool)
        return cls(tuple(there), names, where, codes, lengths, labels, speakers, presence, lambda: iter([piece]))

    @cached_property
    def edge_counts(self) -> dict[EdgeType | None, EdgeCounts]:
        """Edge type -> what was counted along its edges; None -> of the graph of all modality nodes together."""
        total: dict[EdgeType | None, EdgeCounts] = {}
        for piece in self.pieces():
            for key, counts in count_edges(piece, len(self.splits), len(self.classes)).items():
                if key in total:
                    total[key].add(counts)
                else:
                    total[key] = counts
        return total

    @cached_property
    def dialogue(self) -> Array:
        """[U] the dialogue of each utterance, 0 to B - 1."""
        return np.repeat(np.arange(len(self.lengths)), self.lengths)


def surveyed(graphs: Store | Survey) -> Survey:
    """A survey as it is, a store as the survey of all of it."""
    return graphs if isinstance(graphs, Survey) else Survey.of_store(graphs)


def _labels(corpus: Corpus, target: str | None) -> tuple[tuple[str, ...], Array]:
    if target is not None and target not in corpus.targets:
        have = f"there are {', '.join(corpus.targets)}" if corpus.targets else "it has none"
        raise InputError(f"{at(corpus.path or corpus.name)}no target {target!r}; {have}")
    chosen = target or next(iter(corpus.targets), None)
    classes = corpus.targets[chosen].classes if chosen else ()
    return classes, corpus.labels(chosen) if chosen and classes else np.full(len(corpus.utterances), -1, dtype=np.int64)
