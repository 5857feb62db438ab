"""Dialogues -> a store on disk, in shards, so that a build that was killed goes on where it stopped.

Everything is written into a folder beside OUT and renamed at the end: there is never half a store. Each shard is written under another
name, hashed and renamed; its record is what tells a later run that it is complete. Two builds of the same hold the same graphs, but not the
same bytes: DGL writes addresses of its memory into its files.
"""

from __future__ import annotations

import glob
import hashlib
import json
import multiprocessing
import os
import shutil
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from dgl_merc.corpus import Corpus, Scaling, ScalingKind, open_corpus
from dgl_merc.errors import InputError, at
from dgl_merc.files import check_free, file_record, publish, read_json, verify_files, write_json
from dgl_merc.graphs.common_space import CommonSpace
from dgl_merc.graphs.schema import UTTERANCE, GraphSpec
from dgl_merc.graphs.store import (
    COMMON_SPACE,
    SCHEMA_VERSION,
    Store,
    node_features,
    open_store,
    scaling_of,
    structure_of,
    utterance_rows,
)
from dgl_merc.graphs.structure import Structure
from dgl_merc.graphs.weights import feature_weights
from dgl_merc.version import __version__

__all__ = ["BuildOptions", "build_store", "dialogue_graphs"]

_SHARD_DIALOGUES = 128


@dataclass(frozen=True)
class BuildOptions:
    """What goes into a store beside the structure.

    Attributes:
        edges: write the DGL graphs; off where complete ones would not fit the disk.
        features: put the (unscaled) features into the graphs as node data ``x``.
        scaling: how features are scaled before weights are computed.
    """

    edges: bool = True
    features: bool = False
    scaling: ScalingKind = "standard"


def build_store(
    corpus: Corpus,
    out: Path,
    spec: GraphSpec | None = None,
    options: BuildOptions = BuildOptions(),
    *,
    workers: int = 1,
    force: bool = False,
    progress: Callable[[int, int], None] | None = None,
) -> Store:
    """Build the graphs of a corpus.

    Args:
        corpus: opened from a folder (the store keeps a reference to it).
        out: the store's folder; must not exist, be empty, or (with ``force``) be replaced.
        spec: who is connected; default: all modalities, complete dialogues.
        options: what else goes in.
        workers: processes that make shards.
        force: replace what is at ``out``.
        progress: called with (dialogues done, dialogues in all).

    Raises:
        InputError: ``out`` is not free, or the corpus was never saved.
    """
    if corpus.path is None:
        raise InputError(f"{at(corpus.name)}a store refers to its corpus: save it to a folder first")
    spec = spec or GraphSpec(tuple(corpus.modalities))
    if corpus.path.resolve().is_relative_to(out.resolve()):
        raise InputError(f"{at(out)}holds the corpus itself, which the store refers to; name another folder")
    check_free(out, force=force, replaces="manifest.json")
    structure_of(corpus, spec, np.arange(1))  # the spec's modalities are the corpus's
    folder = _working_folder(out, {"corpus": corpus.content_sha256, "spec": spec.to_json(), "options": asdict(options)})
    space, scaling = _common_space(corpus, spec, options, folder)
    jobs = [np.arange(lo, min(lo + _SHARD_DIALOGUES, len(corpus))) for lo in range(0, len(corpus), _SHARD_DIALOGUES)]
    if progress:
        progress(0, len(corpus))
    done = 0
    for count in _run_shards(corpus, folder, jobs, (spec, options, scaling, space), workers):
        done += count
        if progress:
            progress(done, len(corpus))
    _write_manifest(corpus, folder, spec, options, space, out)
    publish(folder, out.resolve())
    return open_store(out)


def _working_folder(out: Path, plan: dict[str, Any]) -> Path:
    """Where the shards of this plan are collected; an earlier run's are kept if it had the same plan."""
    out = out.resolve()  # a link keeps pointing at the folder; "." has a name
    plan = {**plan, "version": __version__, "schema": SCHEMA_VERSION, "shard": _SHARD_DIALOGUES}
    name = hashlib.sha256(json.dumps(plan, sort_keys=True).encode()).hexdigest()[:16]
    out.parent.mkdir(parents=True, exist_ok=True)
    folder = out.with_name(f".{out.name}.building-{name}")
    for stale in out.parent.glob(f".{glob.escape(out.name)}.building-*"):
        if stale != folder:
            shutil.rmtree(stale, ignore_errors=True)
    (folder / "graphs").mkdir(parents=True, exist_ok=True)
    return folder


def _common_space(corpus: Corpus, spec: GraphSpec, options: BuildOptions, folder: Path) -> tuple[CommonSpace | None, Scaling]:
    scaling = scaling_of(corpus, spec, options.scaling)
    if spec.cross == "none" or len(spec.modalities) < 2 or not (corpus.splits == "train").any():
        return None, scaling
    space = CommonSpace.fit(corpus, scaling, spec.modalities)
    space.save(folder / COMMON_SPACE)
    return space, scaling


Recipe = tuple[GraphSpec, BuildOptions, Scaling, CommonSpace | None]


def _run_shards(corpus: Corpus, folder: Path, jobs: list[np.ndarray[Any, Any]], recipe: Recipe, workers: int) -> Iterator[int]:
    """Make every shard that is not there yet; yields the number of dialogues of each as it is done."""
    todo = [(k, job) for k, job in enumerate(jobs) if not _is_complete(folder, k)]
    missing = {k for k, _ in todo}
    yield from (len(job) for k, job in enumerate(jobs) if k not in missing)
    if workers <= 1 or len(todo) <= 1:
        for k, job in todo:
            yield _make_shard(corpus, folder, k, job, recipe)
        return
    # spawn, not fork: torch's threads do not survive a fork
    with ProcessPoolExecutor(workers, mp_context=multiprocessing.get_context("spawn")) as pool:
        assert corpus.path is not None
        futures = [pool.submit(_make_shard, corpus.path, folder, k, job, recipe) for k, job in todo]
        try:
            yield from (future.result() for future in as_completed(futures))
        except BaseException:
            pool.shutdown(cancel_futures=True)
            raise


def _shard_name(number: int) -> str:
    return f"graphs/{number:05d}.dgl"


def _record_path(folder: Path, number: int) -> Path:
    return folder / f"graphs/{number:05d}.json"


def _is_complete(folder: Path, number: int) -> bool:
    """Whether an earlier run finished this shard, and it is still what it was."""
    if not _record_path(folder, number).is_file():
        return False
    try:
        record = read_json(_record_path(folder, number))
        verify_files(folder, record["files"], hashes=True)
    except (InputError, KeyError, TypeError):
        return False
    return True


def _make_shard(corpus: Corpus | Path, folder: Path, number: int, dialogues: np.ndarray[Any, Any], recipe: Recipe) -> int:
    if isinstance(corpus, Path):
        torch.set_num_threads(1)  # one of several workers
        corpus = open_corpus(corpus)
    spec, options, scaling, space = recipe
    structure = structure_of(corpus, spec, dialogues)
    owner = {n: structure.dialogue[structure.nodes[n]] for n in spec.node_types}
    counts: dict[str, list[int]] = {f"nodes {n}": torch.bincount(owner[n], minlength=len(dialogues)).tolist() for n in spec.node_types}
    counts |= {f"edges {' '.join(t)}": structure.edges_per_dialogue(t).tolist() for t in spec.edge_types}
    files = {}
    if options.edges:
        from dgl_merc._dgl import dgl

        graphs = dialogue_graphs(corpus, structure, scaling, space, features=options.features)
        partial = folder / f"graphs/.{number:05d}.partial"
        dgl.save_graphs(str(partial), graphs)
        with partial.open("rb+") as file:
            os.fsync(file.fileno())
        partial.replace(folder / _shard_name(number))
        files[_shard_name(number)] = file_record(folder / _shard_name(number))
    write_json(_record_path(folder, number), {"dialogues": dialogues.tolist(), "files": files, "counts": counts})
    return len(dialogues)


def dialogue_graphs(
    corpus: Corpus, structure: Structure, scaling: Scaling, space: CommonSpace | None, *, features: bool = False
) -> list[Any]:
    """One weighted DGL heterograph per dialogue, int32, as they are stored.

    Args:
        corpus: for features and targets.
        structure: of some of its dialogues, whose keys are their numbers in the corpus.
        scaling: applied before weights are computed.
        space: the common space of ``cross`` weights.
        features: put the unscaled features in as node data ``x``.

    Returns:
        A list of ``dgl.DGLGraph``: edge data ``weight`` on ``same`` and ``cross``; utterance nodes carry ``position``, ``speaker`` and
        every target (classes as indices, -1 = unlabelled; numbers as float32, NaN = unlabelled); modality nodes carry ``utterance``.
    """
    from dgl_merc._dgl import dgl

    rows = utterance_rows(corpus, structure.keys.numpy())
    raw = {m: torch.from_numpy(node_features(corpus, m, rows)) for m in structure.spec.modalities}
    weights = feature_weights(structure, {m: torch.from_numpy(scaling.apply(m, x.numpy())) for m, x in raw.items()}, space)
    edges = {t: structure.edges(t) for t in structure.spec.edge_types}
    node_data = _node_data(corpus, structure, rows, raw if features else {})
    first = {n: structure.counts[n][structure.offsets].tolist() for n in structure.spec.node_types}
    cut = {t: structure.edge_offsets(t).tolist() for t in edges}
    graphs = []
    for d in range(structure.num_dialogues):
        parts = {
            t: (src[cut[t][d] : cut[t][d + 1]] - first[t[0]][d], dst[cut[t][d] : cut[t][d + 1]] - first[t[2]][d])
            for t, (src, dst) in edges.items()
        }
        sizes = {n: first[n][d + 1] - first[n][d] for n in structure.spec.node_types}
        graph = dgl.heterograph({t: (s.int(), e.int()) for t, (s, e) in parts.items()}, num_nodes_dict=sizes, idtype=torch.int32)
        for t, w in weights.items():
            graph.edges[t].data["weight"] = w[cut[t][d] : cut[t][d + 1]].clone()
        for n, data in node_data.items():
            for key, value in data.items():
                graph.nodes[n].data[key] = value[first[n][d] : first[n][d + 1]].clone()
        graphs.append(graph)
    return graphs


def _node_data(
    corpus: Corpus, structure: Structure, rows: np.ndarray[Any, Any], features: dict[str, Tensor]
) -> dict[str, dict[str, Tensor]]:
    utterance = {"position": structure.position.int(), "speaker": structure.speakers.int()}
    for name, target in corpus.targets.items():
        if target.kind == "classes":
            utterance[name] = torch.from_numpy(corpus.labels(name)[rows])
        else:
            utterance[name] = torch.from_numpy(corpus.scores(name)[rows]).float()
    data = {UTTERANCE: utterance}
    for m in structure.spec.modalities:
        data[m] = {"utterance": structure.position[structure.nodes[m]].int()}
        if m in features:
            data[m]["x"] = features[m]
    return data


def _write_manifest(corpus: Corpus, folder: Path, spec: GraphSpec, options: BuildOptions, space: CommonSpace | None, out: Path) -> None:
    """Collect the shards' records; they have served, and go."""
    assert corpus.path is not None
    files: dict[str, Any] = {}
    tables = []
    for path in sorted((folder / "graphs").glob("*.json")):
        record = read_json(path)
        files |= record["files"]
        numbers = record["dialogues"]
        tables.append(
            pd.DataFrame(
                {
                    "number": numbers,
                    "dialogue_id": [corpus.dialogue_ids[i] for i in numbers],
                    "split": [str(corpus.splits[i]) for i in numbers],
                    "utterances": corpus.lengths[numbers],
                    "shard": next(iter(record["files"]), ""),
                    "index": range(len(numbers)),
                    **record["counts"],
                }
            )
        )
        path.unlink()
    table = pd.concat(tables, ignore_index=True)
    table.to_parquet(folder / "dialogues.parquet", index=False)
    for name in ("dialogues.parquet", COMMON_SPACE):
        if (folder / name).is_file():
            files[name] = file_record(folder / name)
    totals = table.drop(columns=["number", "dialogue_id", "shard", "index"]).groupby("split").sum()
    write_json(
        folder / "manifest.json",
        {
            "schema_version": SCHEMA_VERSION,
            "dglmerc": __version__,
            "corpus": {
                "name": corpus.name,
                "path": str(corpus.path.resolve()),
                "relative": os.path.relpath(corpus.path.resolve(), out.resolve()),
                "content_sha256": corpus.content_sha256,
            },
            "spec": spec.to_json(),
            "options": asdict(options),
            "index_type": "int32",
            "counts": {str(split): {k: int(v) for k, v in row.items()} for split, row in totals.to_dict("index").items()},
            "correlations": dict(space.correlations) if space else {},
            "files": files,
        },
    )
