"""Tables of utterances and edges, against graphs as DGL has them."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from dgl_merc.corpus import save_corpus
from dgl_merc.corpus.synthetic import synthetic_corpus
from dgl_merc.errors import InputError
from dgl_merc.graphs import GraphSpec, edge_table, open_store, utterance_table
from dgl_merc.graphs.build import BuildOptions, build_store

pytestmark = pytest.mark.dgl


@pytest.fixture(scope="module")
def built(tmp_path_factory):
    folder = tmp_path_factory.mktemp("tables")
    corpus = save_corpus(synthetic_corpus(0, (6, 2, 2), with_ceilings=False), folder / "corpus")
    return build_store(corpus, folder / "graphs", GraphSpec(tuple(corpus.modalities), cross="dialogue", window=4))


def test_a_table_of_edges_is_the_graph(built):
    structure = built.structure(np.array([7, 2]))
    table = edge_table(structure, built.weights(structure))
    for number in (7, 2):
        graph, rows = built.graph(number), table[table["dialogue"] == number]
        assert len(rows) == graph.num_edges()
        for (source, relation, target), part in rows.groupby(["source", "relation", "target"], sort=False):
            src, dst = graph.edges(etype=(source, relation, target), order="eid")
            for ends, node_type, found in ((src, source, part["src"]), (dst, target, part["dst"])):
                data = graph.nodes[node_type].data
                assert data["position" if node_type == "utterance" else "utterance"][ends.long()].tolist() == found.tolist()
            if relation in ("same", "cross"):
                stored = graph.edges[source, relation, target].data["weight"]
                torch.testing.assert_close(torch.tensor(part["weight"].to_numpy()).float(), stored, rtol=0, atol=1e-6)
            else:
                assert part["weight"].isna().all()


def test_weights_that_do_not_fit_are_named(built):
    structure = built.structure(np.array([0]))
    with pytest.raises(ValueError, match=r"must be \[E=\d+\], got \[1\]"):
        edge_table(structure, {("text", "same", "text"): torch.ones(1)})
    with pytest.raises(ValueError, match="not in the spec"):
        edge_table(structure, {("text", "same", "audio"): torch.ones(1)})


def test_utterances_are_those_of_the_corpus(built):
    corpus = built.corpus
    name = corpus.dialogue_ids[3]
    table = utterance_table(corpus, name)
    lo, hi = corpus.offsets[3], corpus.offsets[4]
    assert table["label"].tolist() == corpus.label_names("emotion")[lo:hi].tolist()
    assert table["speaker"].tolist() == corpus.utterances["speaker"].tolist()[lo:hi]
    assert (table[[f"has_{m}" for m in corpus.modalities]].to_numpy() == corpus.presence[lo:hi]).all()
    assert table["text"].tolist() == corpus.utterances["text"].tolist()[lo:hi], "the modality text is not the text"
    with pytest.raises(InputError, match="no dialogue 'nobody'"):
        utterance_table(corpus, "nobody")


def test_a_damaged_common_space_is_one_line(built, tmp_path):
    out = build_store(built.corpus, tmp_path / "graphs", built.spec, BuildOptions(edges=False)).path
    path = out / "common_space.safetensors"
    path.write_bytes(path.read_bytes()[:-1] + b"\0")
    store = open_store(out)
    with pytest.raises(InputError, match=r"common_space\.safetensors"):
        store.weights(store.structure(np.array([0])))
