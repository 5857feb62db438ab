"""A store: the graphs of a corpus on disk, and a hashed reference to the corpus they were made of.

    manifest.json           spec, corpus (path, hash), counts, correlations of the common space, hash of every file
    dialogues.parquet       number, dialogue_id, split, utterances, nodes and edges, and the shard that holds the graph
    common_space.safetensors  the projections behind ``cross`` weights
    graphs/00000.dgl ...    real DGL files, one heterograph per dialogue, that anyone can open with ``dgl.load_graphs``

DGL's reader is C++ and trusts its input, so a shard is held to its recorded hash before DGL sees it. Training never reads these
files: a batch is features and a Structure, whose edges are arithmetic.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, get_args

import numpy as np
import numpy.typing as npt
import pandas as pd
import torch
from safetensors import SafetensorError
from torch import Tensor

from dgl_merc.corpus import Corpus, Scaling, ScalingKind, find_dialogue, open_corpus
from dgl_merc.corpus.storage import read_parquet
from dgl_merc.errors import InputError, at
from dgl_merc.files import read_json, verify_files
from dgl_merc.graphs.common_space import CommonSpace
from dgl_merc.graphs.schema import EdgeType, GraphSpec
from dgl_merc.graphs.structure import Structure
from dgl_merc.graphs.weights import feature_weights

__all__ = ["COMMON_SPACE", "SCHEMA_VERSION", "Store", "node_features", "open_store", "scaling_of", "structure_of", "utterance_rows"]

SCHEMA_VERSION = 1
"""Of ``manifest.json``."""
_COLUMNS = ("number", "dialogue_id", "split", "utterances", "shard", "index")
COMMON_SPACE = "common_space.safetensors"
"""The file of projections behind ``cross`` weights."""


def structure_of(corpus: Corpus, spec: GraphSpec, dialogues: np.ndarray[Any, np.dtype[np.int64]] | None = None) -> Structure:
    """The structure of some dialogues of a corpus (default: all), with their numbers in the corpus as keys.

    Raises:
        InputError: the spec names a modality the corpus does not have.
    """
    missing = [m for m in spec.modalities if m not in corpus.modalities]
    if missing:
        raise InputError(
            f"{at(corpus.path or corpus.name)}expected the modalities {', '.join(spec.modalities)}, "
            f"found {', '.join(corpus.modalities)}; missing: {', '.join(missing)}"
        )
    chosen = np.arange(len(corpus)) if dialogues is None else np.asarray(dialogues)
    rows = utterance_rows(corpus, chosen)
    columns = [list(corpus.modalities).index(m) for m in spec.modalities]
    return Structure(
        torch.from_numpy(corpus.lengths[chosen]),
        torch.from_numpy(np.ascontiguousarray(corpus.presence[rows][:, columns])),
        torch.from_numpy(corpus.local_speakers[rows]),
        spec,
        torch.from_numpy(chosen.astype(np.int64)),
    )


def utterance_rows(corpus: Corpus, dialogues: np.ndarray[Any, np.dtype[np.int64]]) -> np.ndarray[Any, np.dtype[np.int64]]:
    """The utterances of dialogues, in the order given."""
    lengths = corpus.lengths[dialogues]
    begin = np.cumsum(lengths) - lengths
    rows: np.ndarray[Any, np.dtype[np.int64]] = np.arange(lengths.sum()) + np.repeat(corpus.offsets[:-1][dialogues] - begin, lengths)
    return rows


def node_features(corpus: Corpus, modality: str, rows: np.ndarray[Any, np.dtype[np.int64]]) -> np.ndarray[Any, np.dtype[np.float32]]:
    """[N, width] unscaled features of a modality's nodes among the utterances ``rows``, in their order."""
    k = list(corpus.modalities).index(modality)
    there = rows[corpus.presence[rows, k]]
    return np.asarray(corpus.features[modality][corpus.feature_rows[there, k]])


def scaling_of(corpus: Corpus, spec: GraphSpec, kind: ScalingKind) -> Scaling:
    """How features are scaled before a store's weights are made of them: not at all without a training split."""
    return Scaling.fit(corpus, kind if (corpus.splits == "train").any() else "none", spec.modalities)


@dataclass(frozen=True)
class Store:
    """An opened store.

    Attributes:
        path: its folder.
        manifest: what it says of itself.
        spec: who is connected.
        dialogues: one row per dialogue.
    """

    path: Path
    manifest: dict[str, Any]
    spec: GraphSpec
    dialogues: pd.DataFrame
    _verified: set[str] = field(default_factory=set, repr=False, compare=False)

    def __repr__(self) -> str:
        graphs = "with graphs" if (self.dialogues["shard"] != "").any() else "without graphs"
        return f"Store({str(self.path)!r}: {len(self.dialogues)} dialogues, {graphs}; {self.spec})"

    @cached_property
    def corpus(self) -> Corpus:
        """The corpus the store was made of.

        Raises:
            InputError: it is not where it was, or is not the same any more.
        """
        reference = self.manifest["corpus"]
        places = dict.fromkeys([(self.path / reference["relative"]).resolve(), Path(reference["path"])])
        found = {place: open_corpus(place) for place in places if (place / "corpus.json").is_file()}
        for corpus in found.values():
            if corpus.content_sha256 == reference["content_sha256"]:
                return corpus
        if not found:
            tried = " nor at ".join(map(str, places))
            raise InputError(f"{at(self.path)}its corpus {reference['name']!r} is not at {tried}; move it back or build the graphs again")
        place, other = next(iter(found.items()))
        raise InputError(
            f"{at(self.path)}was made of another state of the corpus at {place} (content {reference['content_sha256'][:12]}…, "
            f"found {other.content_sha256[:12]}…); build the graphs again"
        )

    def checked_corpus(self) -> Corpus:
        """The same, every byte checked; from then on it is :attr:`corpus`, so that its table is in memory once.

        Raises:
            InputError: as :attr:`corpus`, or the corpus is damaged.
        """
        path = self.corpus.path
        assert path is not None
        del self.__dict__["corpus"]
        self.__dict__["corpus"] = corpus = open_corpus(path, check="full")
        return corpus

    def graph(self, dialogue: int | str) -> Any:
        """The DGL heterograph of a dialogue, by number or name, its shard verified first.

        Raises:
            InputError: no such dialogue, a store made with ``--no-edges``, or a damaged shard.
        """
        from dgl_merc._dgl import dgl

        number = self.number(dialogue)
        row = self.dialogues.iloc[number]
        shard = row["shard"]
        if not shard:
            raise InputError(f"{at(self.path)}was built with --no-edges and holds no graphs; use structure_of(store.corpus, store.spec)")
        if shard not in self._verified:
            verify_files(self.path, {shard: self.manifest["files"][shard]}, hashes=True)
            self._verified.add(shard)
        return dgl.load_graphs(str(self.path / shard), [int(row["index"])])[0][0]

    def structure(self, dialogues: npt.NDArray[np.int64] | None = None) -> Structure:
        """The structure of some of its dialogues (default: all), by their numbers.

        Raises:
            InputError: as :attr:`corpus`.
        """
        return structure_of(self.corpus, self.spec, dialogues)

    def weights(self, structure: Structure) -> dict[EdgeType, Tensor]:
        """The arccos weights of dialogues, as the graphs have them; made anew of the corpus, so that a store without graphs has them too.

        Args:
            structure: of some of the store's dialogues; its keys are their numbers.

        Returns:
            Edge type -> [E] float32 in edge-id order, of ``same`` and, where there is a common space, ``cross``.

        Raises:
            InputError: as :attr:`corpus`, or a damaged common space.
        """
        rows = utterance_rows(self.corpus, structure.keys.numpy())
        scaling, space = self._recipe
        features = {m: torch.from_numpy(scaling.apply(m, node_features(self.corpus, m, rows))) for m in self.spec.modalities}
        return feature_weights(structure, features, space)

    @cached_property
    def _recipe(self) -> tuple[Scaling, CommonSpace | None]:
        scaling = scaling_of(self.corpus, self.spec, self.manifest["options"]["scaling"])
        if COMMON_SPACE not in self.manifest["files"]:
            return scaling, None
        verify_files(self.path, {COMMON_SPACE: self.manifest["files"][COMMON_SPACE]}, hashes=True)
        try:
            return scaling, CommonSpace.load(self.path / COMMON_SPACE, self.spec.modalities, self.manifest["correlations"])
        except (SafetensorError, KeyError, ValueError) as error:
            raise InputError(
                f"{at(self.path / COMMON_SPACE)}expected projections and means, found {error}; build the graphs again"
            ) from None

    def number(self, dialogue: int | str) -> int:
        """The number of a dialogue: see :func:`dgl_merc.corpus.find_dialogue`."""
        return find_dialogue(dialogue, self.dialogues["dialogue_id"].tolist(), self.path)

    def verify(self) -> int:
        """Hold every file to its hash.

        Returns:
            How many files were checked.

        Raises:
            InputError: names the first that is missing or changed.
        """
        verify_files(self.path, self.manifest["files"], hashes=True)
        return len(self.manifest["files"])


def open_store(path: Path) -> Store:
    """Open a store: the manifest and the table of dialogues are read, sizes of files are checked, no graph is loaded.

    Raises:
        InputError: not a store, damaged, unfinished, or of a newer schema.
    """
    if not (path / "manifest.json").is_file():
        raise InputError(f"{at(path)}expected a store with manifest.json in it, found none; `dglmerc build-graphs CORPUS {path}` makes one")
    manifest = read_json(path / "manifest.json")
    version = manifest.get("schema_version")
    if not isinstance(version, int) or not 1 <= version <= SCHEMA_VERSION:
        raise InputError(
            f"{at(path / 'manifest.json')}expected schema {SCHEMA_VERSION}, found {version!r}; update dglmerc or build the graphs again"
        )
    try:
        spec = GraphSpec.from_json(manifest["spec"])
        manifest["corpus"] = {key: str(manifest["corpus"][key]) for key in ("name", "path", "relative", "content_sha256")}
        if manifest["options"]["scaling"] not in get_args(ScalingKind):
            raise InputError(f"{at(path / 'manifest.json')}expected a scaling, found {manifest['options']['scaling']!r}")
        verify_files(path, manifest["files"], hashes=False)
        table = read_parquet(path / "dialogues.parquet")
        if missing := [column for column in _COLUMNS if column not in table]:
            raise InputError(f"{at(path / 'dialogues.parquet')}expected the columns {', '.join(_COLUMNS)}; missing: {', '.join(missing)}")
        unlisted = sorted(set(table["shard"]) - {"", *manifest["files"]})
        if unlisted:
            raise InputError(
                f"{at(path)}dialogues.parquet names a shard that the manifest does not list: {unlisted[0]!r}; do not use this store"
            )
        return Store(path, manifest, spec, table)
    except (KeyError, TypeError, AttributeError) as error:
        raise InputError(f"{at(path / 'manifest.json')}expected the entries of schema {SCHEMA_VERSION}, found a fault at {error}") from None
