"""Stores: what is in them equals what is computed directly; damaged ones are refused before DGL reads a byte; a killed build goes on."""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch

import dgl_merc.graphs.build as building
from dgl_merc.corpus import SPLITS, Corpus, Scaling, Target, open_corpus, save_corpus
from dgl_merc.errors import InputError
from dgl_merc.graphs import UTTERANCE, GraphSpec, Store, edge_similarity, open_store, structure_of
from dgl_merc.graphs.build import BuildOptions, build_store
from dgl_merc.graphs.common_space import CommonSpace

pytestmark = pytest.mark.dgl
SPEC = GraphSpec(("text", "audio"), cross="dialogue", window=3, past=2, future=1)


def make(dialogues: int = 30, seed: int = 0) -> Corpus:
    generator = np.random.default_rng(seed)
    lengths = generator.integers(1, 8, dialogues)
    total = int(lengths.sum())
    t = pd.DataFrame(
        {
            "dialogue_id": np.repeat([f"talk {d}" for d in range(dialogues)], lengths),
            "position": np.concatenate([np.arange(n) for n in lengths]),
            "speaker": generator.choice(["ann", "bob", "cy"], total),
            "split": np.repeat([SPLITS[d % 3] for d in range(dialogues)], lengths),
            "emotion": generator.choice(["joy", "anger", None], total),
            "score": generator.choice([0.25, 2.5, np.nan], total),
            "has_audio": generator.random(total) < 0.7,
        }
    )
    x = {"text": generator.normal(size=(total, 6)), "audio": generator.normal(size=(int(t["has_audio"].sum()), 3)) * 4 + 1}
    return Corpus.build("talks", t, x, {"emotion": Target("classes", ("joy", "anger")), "score": Target("range", bounds=(0.0, 3.0))})


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Corpus:
    return save_corpus(make(), tmp_path_factory.mktemp("store") / "corpus")


@pytest.fixture(scope="module")
def built(corpus: Corpus) -> Store:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(building, "_SHARD_DIALOGUES", 8)
        return build_store(corpus, corpus.path.parent / "built", SPEC, BuildOptions(features=True))


@pytest.fixture
def copy(built: Store, corpus: Corpus, tmp_path: Path) -> Path:
    """A store and its corpus, side by side as they were, free to be damaged."""
    shutil.copytree(corpus.path, tmp_path / "corpus")
    shutil.copytree(built.path, tmp_path / "built")
    return tmp_path / "built"


def files_of(folder: Path) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}


def assert_same(one: Store, two: Store) -> None:
    """All but the bytes of ``.dgl`` files, into which DGL writes addresses of its memory, and the place of the corpus."""
    a, b = files_of(one.path), files_of(two.path)
    assert {n: len(v) for n, v in a.items() if n != "manifest.json"} == {n: len(v) for n, v in b.items() if n != "manifest.json"}
    assert [n for n in a if not n.endswith(".dgl") and n != "manifest.json" and a[n] != b[n]] == []
    assert one.manifest | {"corpus": 0, "files": 0} == two.manifest | {"corpus": 0, "files": 0}
    for d in range(len(one.dialogues)):
        g, h = one.graph(d), two.graph(d)
        for n in one.spec.node_types:
            assert g.num_nodes(n) == h.num_nodes(n)
            assert set(g.nodes[n].data) == set(h.nodes[n].data)
            assert all(torch.equal(v.nan_to_num(), h.nodes[n].data[k].nan_to_num()) for k, v in g.nodes[n].data.items())
        for t in one.spec.edge_types:
            assert set(g.edges[t].data) == set(h.edges[t].data)
            for v, w in [
                *zip(g.edges(etype=t), h.edges(etype=t), strict=True),
                *((v, h.edges[t].data[k]) for k, v in g.edges[t].data.items()),
            ]:
                assert torch.equal(v, w)


# --- what is in it


def test_edges_and_weights_are_those_computed_directly(built, corpus):
    scaling = Scaling.fit(corpus)
    space = CommonSpace.fit(corpus, scaling)
    for d in range(len(corpus)):
        s = structure_of(corpus, SPEC, np.array([d]))
        g = built.graph(d)
        x = {m: scaling.apply(m, v) for m, v in corpus.dialogue(d).features.items()}
        assert g.idtype == torch.int32
        assert set(g.canonical_etypes) == set(SPEC.edge_types)
        for t in SPEC.edge_types:
            src, dst = s.edges(t)
            for got, want in zip(g.edges(etype=t, order="eid"), (src, dst), strict=True):
                assert got.tolist() == want.tolist()
            if t not in SPEC.message_types:
                assert "weight" not in g.edges[t].data
                continue
            a, b = (x[t[0]], x[t[2]]) if t[1] == "same" else (space.project(t[0], t[2], x[t[0]]), space.project(t[2], t[0], x[t[2]]))
            want = edge_similarity(torch.from_numpy(a), torch.from_numpy(b), src, dst)
            torch.testing.assert_close(g.edges[t].data["weight"], want, rtol=0, atol=2e-3)


def test_node_data_are_the_corpus(built, corpus):
    for d, dialogue in enumerate(corpus):
        data = built.graph(dialogue.dialogue_id).nodes[UTTERANCE].data
        rows = slice(*corpus.offsets[[d, d + 1]])
        assert data["position"].tolist() == list(range(len(dialogue)))
        assert data["speaker"].tolist() == corpus.local_speakers[rows].tolist()
        assert data["emotion"].tolist() == [{"joy": 0, "anger": 1}.get(v, -1) for v in dialogue.utterances["emotion"]]
        assert data["score"].dtype == torch.float32
        np.testing.assert_array_equal(data["score"].numpy(), dialogue.utterances["score"].to_numpy(np.float32))
        for m, x in dialogue.features.items():
            nodes = built.graph(d).nodes[m].data
            assert nodes["utterance"].tolist() == np.flatnonzero(dialogue.utterances[f"has_{m}"]).tolist()
            np.testing.assert_array_equal(nodes["x"].numpy(), x)


def test_counts_are_sums(built, corpus):
    table = built.dialogues
    assert table["dialogue_id"].tolist() == list(corpus.dialogue_ids)
    assert table["number"].tolist() == list(range(30))
    assert table["shard"].nunique() == 4
    assert table["utterances"].tolist() == corpus.lengths.tolist()
    sums: dict[str, dict[str, int]] = {}
    for d in range(len(corpus)):
        g, row = built.graph(d), sums.setdefault(str(corpus.splits[d]), {})
        counts = {"utterances": g.num_nodes(UTTERANCE)} | {f"nodes {n}": g.num_nodes(n) for n in SPEC.node_types}
        counts |= {f"edges {' '.join(t)}": g.num_edges(t) for t in SPEC.edge_types}
        for key, value in counts.items():
            assert table[key][d] == value
            row[key] = row.get(key, 0) + value
    assert built.manifest["counts"] == sums
    assert built.manifest["correlations"]["text-audio"]["train_utterances"] > 20
    assert GraphSpec.from_json(built.manifest["spec"]) == SPEC == built.spec


def test_the_folder_holds_what_the_manifest_lists_and_no_more(built):
    listed = {*built.manifest["files"], "manifest.json"}
    assert {str(p.relative_to(built.path)) for p in built.path.rglob("*") if p.is_file()} == listed
    assert built.verify() == len(listed) - 1 == 6
    assert [p.name for p in built.path.parent.iterdir() if p.name.startswith(".")] == []
    assert built.corpus.content_sha256 == built.manifest["corpus"]["content_sha256"]


def test_without_features_edges_or_a_training_split(corpus, tmp_path):
    plain = build_store(corpus, tmp_path / "plain", SPEC)
    assert "x" not in plain.graph(0).nodes["text"].data
    bare = build_store(corpus, tmp_path / "bare", SPEC, BuildOptions(edges=False))
    assert not list((tmp_path / "bare").rglob("*.dgl"))
    assert bare.manifest["counts"] == plain.manifest["counts"]
    with pytest.raises(InputError, match="built with --no-edges and holds no graphs"):
        bare.graph(0)
    t = corpus.utterances.assign(split="test")
    untrained = save_corpus(Corpus.build("test only", t, corpus.features, corpus.targets), tmp_path / "c")
    store = build_store(untrained, tmp_path / "untrained", SPEC)
    assert store.manifest["correlations"] == {}
    g = store.graph(2)
    assert "weight" in g.edges[("text", "same", "text")].data
    assert "weight" not in g.edges[("text", "cross", "audio")].data


def test_one_modality_and_progress(corpus, tmp_path):
    calls: list[tuple[int, int]] = []
    store = build_store(corpus, tmp_path / "o", GraphSpec(("audio",)), progress=lambda done, total: calls.append((done, total)))
    assert calls == [(0, 30), (30, 30)]
    assert store.graph(3).ntypes == ["audio", UTTERANCE]
    with pytest.raises(InputError, match="expected the modalities visual, found text, audio; missing: visual"):
        build_store(corpus, tmp_path / "p", GraphSpec(("visual",)))


def test_two_workers_write_the_same(corpus, built, tmp_path, monkeypatch):
    monkeypatch.setattr(building, "_SHARD_DIALOGUES", 8)
    two = build_store(corpus, tmp_path / "two", SPEC, BuildOptions(features=True), workers=2)
    assert_same(built, two)


# --- where it may be written


def test_a_place_in_use(copy, corpus, tmp_path):
    with pytest.raises(InputError, match="exists and is not empty; name another folder or pass --force"):
        build_store(corpus, copy)
    (tmp_path / "file").touch()
    with pytest.raises(InputError, match="expected a folder or nothing, found a file"):
        build_store(corpus, tmp_path / "file", force=True)
    again = build_store(corpus, copy, GraphSpec(("text",)), force=True)
    assert again.spec.modalities == ("text",)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["built", "corpus", "file"]


def test_force_does_not_eat_the_corpus(copy):
    moved = open_store(copy).corpus
    for place in (moved.path, moved.path.parent):
        with pytest.raises(InputError, match="holds the corpus itself"):
            build_store(moved, place, force=True)
    assert open_store(copy).corpus.content_sha256 == moved.content_sha256


def test_force_keeps_the_old_when_the_new_fails(copy, corpus, monkeypatch):
    before = files_of(copy)
    monkeypatch.setattr(building, "_make_shard", lambda *_: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        build_store(corpus, copy, GraphSpec(("text",)), force=True)
    assert files_of(copy) == before


def test_a_corpus_in_memory_has_no_place_to_refer_to(tmp_path):
    with pytest.raises(InputError, match="talks: a store refers to its corpus: save it to a folder first"):
        build_store(make(), tmp_path / "o")


# --- going on after a kill

SLOW = """
import sys, time
from pathlib import Path
import dgl_merc.graphs.build as b
from dgl_merc.corpus import open_corpus
from dgl_merc.graphs import GraphSpec
b._SHARD_DIALOGUES = 8
make = b.dialogue_graphs
def slow(corpus, structure, *rest, **named):
    if structure.keys[0] >= 16:
        time.sleep(60)
    return make(corpus, structure, *rest, **named)
b.dialogue_graphs = slow
spec = GraphSpec(("text", "audio"), cross="dialogue", window=3, past=2, future=1)
b.build_store(open_corpus(Path(sys.argv[1])), Path(sys.argv[2]), spec, b.BuildOptions(features=True))
"""


def test_a_killed_build_goes_on_where_it_stopped(corpus, built, tmp_path, monkeypatch):
    out = tmp_path / "built"
    shutil.copytree(corpus.path, tmp_path / "corpus")
    process = subprocess.Popen([sys.executable, "-c", SLOW, str(tmp_path / "corpus"), str(out)], start_new_session=True)
    try:
        until = time.monotonic() + 90
        while not list(tmp_path.glob(".built.building-*/graphs/00001.json")):
            assert process.poll() is None, "the build ended before it could be killed"
            assert time.monotonic() < until
            time.sleep(0.05)
        process.send_signal(signal.SIGKILL)
    finally:
        process.kill()
        process.wait()
    assert not out.exists()
    (folder,) = tmp_path.glob(".built.building-*")
    with pytest.raises(InputError, match=re.escape("expected a store with manifest.json")):
        open_store(folder)
    shards = [folder / f"graphs/0000{k}.dgl" for k in (0, 1)]
    assert not (folder / "graphs/00002.dgl").exists()
    before = [os.stat(p).st_ino for p in shards]
    shards[1].write_bytes(shards[1].read_bytes()[:-1] + b"?")  # one of them spoilt meanwhile
    before[1] = 0
    (folder / "graphs/.00002.partial").write_bytes(b"half a shard")
    stale = tmp_path / ".built.building-0123"
    stale.mkdir()
    (tmp_path / ".other.building-0123").mkdir()
    monkeypatch.setattr(building, "_SHARD_DIALOGUES", 8)
    calls: list[int] = []
    store = build_store(
        open_corpus(tmp_path / "corpus"), out, SPEC, BuildOptions(features=True), progress=lambda done, _: calls.append(done)
    )
    assert calls == [0, 8, 16, 24, 30]
    assert os.stat(out / "graphs/00000.dgl").st_ino == before[0], "a finished shard was made again"
    assert not stale.exists()
    assert sorted(p.name for p in tmp_path.iterdir()) == [".other.building-0123", "built", "corpus"]
    assert_same(built, store)
    assert store.verify() == 6


def test_another_plan_or_another_corpus_shares_no_shards(corpus, tmp_path, monkeypatch):
    """The folder of the work in progress is named by everything that decides what is in it."""
    seen = set()

    def stop(_: Corpus, folder: Path, *rest: object) -> None:
        seen.add(folder.name)
        assert len(list(tmp_path.glob(".o.building-*"))) == 1
        raise KeyboardInterrupt

    other = save_corpus(make(seed=1), tmp_path / "other")
    monkeypatch.setattr(building, "_make_shard", stop)
    plans = [
        (corpus, SPEC, BuildOptions()),
        (other, SPEC, BuildOptions()),
        (corpus, GraphSpec(("text", "audio")), BuildOptions()),
        (corpus, SPEC, BuildOptions(features=True)),
        (corpus, SPEC, BuildOptions(scaling="none")),
        (corpus, SPEC, BuildOptions(edges=False)),
    ]
    for which, spec, options in plans:
        with pytest.raises(KeyboardInterrupt):
            build_store(which, tmp_path / "o", spec, options)
    assert len(seen) == len(plans)
    (tmp_path / ".xy.building-0").mkdir()
    with pytest.raises(KeyboardInterrupt):
        build_store(corpus, tmp_path / "*", SPEC)
    assert (tmp_path / ".xy.building-0").exists(), "a name is no pattern"
