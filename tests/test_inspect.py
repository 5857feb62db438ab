"""``dglmerc inspect``: the same numbers as the functions, for people, as CSV and as JSON; one line for everything else."""

from __future__ import annotations

import io
import json
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from cli_cases import assert_one_line, good, run

from dgl_merc.corpus import Corpus, Target, save_corpus
from dgl_merc.graphs import GraphSpec, open_store, stats
from dgl_merc.graphs.build import BuildOptions, build_store

FILES = {
    "edge_statistics",
    "weight_histogram",
    "homophily",
    "weight_agreement",
    "agreement_by_weight",
    "emotion_transitions",
    "emotion_shifts",
    "presence_patterns",
    "missing_modalities",
    "missing_by_label",
    "common_space_correlations",
}


@pytest.fixture(scope="module")
def tables(store):
    """Every table, from the functions."""
    survey = stats.Survey.of_store(open_store(store))
    found = {name: getattr(stats, name)(survey) for name in FILES - {"common_space_correlations"}}
    return {**found, "common_space_correlations": stats.common_space_correlations(open_store(store))}


def test_people_see_every_table(store, tables):
    lines = good("inspect", store)
    assert max(map(len, lines)) <= 160
    assert lines[0].startswith("synthetic: 15 dialogues (train 8, dev 3, test 4), ")
    assert (
        lines[1]
        == "Modality nodes hear the whole dialogue, across modalities within an utterance; utterance nodes 10 turns back and 10 ahead"
    )
    out = "\n".join(lines)
    titles = ("Edges (", "Weights (", "How often an edge joins", "Do heavier edges", "Emotion shifts", "What follows, same speaker, train")
    for title in (*titles, "What utterances have", "Missing modalities", "Share missing, by label"):
        assert out.count(f"\n{title}") == 1, title
    same = tables["homophily"].query("source == 'text' and relation == 'same' and split == 'train' and part == 'own speaker'")
    row = f"| {float(same['equal'].iloc[0]):.3f} | " + f" {float(same['chance'].iloc[0]):.3f} |"
    assert row in out
    assert "-0.000" not in out
    assert out.count("Common space of ") == 3
    assert [line for line in lines if line.startswith("- ")] == [
        f"- {line}" for line in stats.correlations_in_words(open_store(store).manifest["correlations"])
    ]
    assert "part_of" in out.split("How often")[0]
    assert "part_of" not in out.split("How often")[1], "an utterance agrees with itself"


def test_csv_is_the_functions(store, tables, tmp_path):
    out = tmp_path / "new" / "tables"
    (line,) = good("inspect", store, "--csv", out)
    assert line.startswith(f"Written to {out}: edge_statistics.csv, ")
    assert {p.name for p in out.iterdir()} == {f"{name}.csv" for name in FILES}
    assert [p.name for p in out.parent.iterdir()] == ["tables"], "a lock or a part was left"
    for name, table in tables.items():
        again = pd.read_csv(out / f"{name}.csv")
        same = pd.read_csv(io.StringIO(table.to_csv(index=False)))
        pd.testing.assert_frame_equal(again, same)
    assert_one_line(run("inspect", store, "--csv", out), "exists and is not empty", "--force")
    assert len(good("inspect", store, "--csv", out, "--force", "--split", "dev")) == 1
    assert set(pd.read_csv(out / "edge_statistics.csv")["split"]) == {"dev"}


def test_json_is_one_document_and_nothing_else(store, tables):
    found = json.loads("\n".join(good("inspect", store, "--json")))
    assert (found["corpus"], found["target"], found["store"]) == ("synthetic", "emotion", str(store))
    assert GraphSpec.from_json(found["spec"]) == open_store(store).spec
    assert set(found["tables"]) == FILES
    for name, table in tables.items():
        rows = found["tables"][name]
        assert len(rows) == len(table)
        for column in table:
            for value, want in zip((row[column] for row in rows), table[column], strict=True):
                assert (value is None and pd.isna(want)) or value == want, (name, column)
    assert any(row["auroc"] is None for row in found["tables"]["weight_agreement"])


@pytest.mark.parametrize("called", ["9", None])
def test_one_dialogue(store, called):
    opened = open_store(store)
    name = opened.corpus.dialogue_ids[9]
    lines = good("inspect", store, "--dialogue", called or name)
    assert lines[0].startswith("synthetic: 1 dialogues (dev 1), ")
    start = lines.index(f"Dialogue {name} (dev): modalities, and how many edges come in, by relation")
    table = [[cell.strip() for cell in line.split("|")[1:-1]] for line in lines[start + 2 :]]
    head, rows = table[0], table[2 : 2 + int(opened.corpus.lengths[9])]
    assert head[:4] == ["turn", "speaker", "label", "has"]
    want = stats.dialogue_utterances(opened, 9)
    assert [row[1] for row in rows] == want["speaker"].tolist()
    assert [row[2] for row in rows] == want["label"].fillna("–").tolist()
    assert [int(row[head.index("own past")]) for row in rows] == want["utterance intra_past utterance"].tolist()
    found = json.loads("\n".join(good("inspect", store, "--dialogue", called or name, "--json")))
    assert [row["position"] for row in found["tables"]["dialogue_utterances"]] == list(range(len(want)))


def test_a_dialogue_called_by_a_number_is_that_one(tmp_path):
    store = built(tmp_path, talk(dialogue_id=["1", "1", "0"], emotion=["joy", "joy", "fear"]))
    assert "Dialogue 1 (dev)" in "\n".join(good("inspect", store, "--dialogue", "1"))  # the first, whose number is 0


def talk(**columns):
    said = {"dialogue_id": ["a", "a", "b"], "position": [0, 1, 0], "speaker": ["x", "y", "x"], "split": ["dev", "dev", "test"], **columns}
    return pd.DataFrame(said)


def built(folder: Path, said: pd.DataFrame, spec: GraphSpec | None = None, targets: dict[str, Target] | None = None) -> Path:
    features = {m: np.eye(3, dtype=np.float32)[said.get(f"has_{m}", pd.Series([True] * 3)).to_numpy()] for m in ("text", "audio")}
    corpus = save_corpus(
        Corpus.build("talk", said, features, targets or {"emotion": Target("classes", ("joy", "fear"))}), folder / "corpus"
    )
    return build_store(corpus, folder / "graphs", spec, BuildOptions(edges=False)).path


@pytest.mark.parametrize(
    "spec",
    [
        None,
        GraphSpec(("text", "audio"), causal=True, cross="dialogue"),
        GraphSpec(("text", "audio"), 0, "none", 0, 0),
        GraphSpec(("audio",)),
    ],
)
def test_little_is_enough_to_look_at(tmp_path, spec):
    """No training split, nothing labelled, no audio at all, one turn in a dialogue."""
    store = built(tmp_path, talk(emotion=[None] * 3, has_audio=[False] * 3), spec)
    out = "\n".join(good("inspect", store))
    assert "No utterance is labelled" in out
    assert "nan" not in out
    assert ("No common space" in out) == (spec is None or spec.cross == "dialogue")
    assert json.loads("\n".join(good("inspect", store, "--json")))["tables"]["common_space_correlations"] == []
    alone = good("inspect", store, "--dialogue", "b")
    assert alone[0] == "talk: 1 dialogues (test 1), 1 utterances, 0 labelled (emotion)"


def test_targets(tmp_path):
    both = {"emotion": Target("classes", ("joy", "fear")), "score": Target("range", bounds=(-3.0, 3.0))}
    store = built(tmp_path, talk(emotion=["joy", "fear", None], score=[1.0, 2.0, 0.0]), targets=both)
    for name, equal in (("emotion", 0), ("score", 1)):
        found = json.loads("\n".join(good("inspect", store, "--target", name, "--json")))
        assert found["target"] == name
        (row,) = [
            r for r in found["tables"]["homophily"] if (r["source"], r["relation"], r["split"], r["part"]) == ("text", "same", "dev", "all")
        ]
        assert row["equal"] == equal
    assert "2 labelled (score)" in good("inspect", store, "--target", "score")[0]  # a score of 0 has no sign
    assert_one_line(run("inspect", store, "--target", "mood"), "no target 'mood'; there are emotion, score")


def test_classes_may_be_called_as_what_stands_beside_them(tmp_path):
    names = ("turns", "(by chance)", "from")
    store = built(tmp_path, talk(emotion=["turns", "(by chance)", "from"]), targets={"emotion": Target("classes", names)})
    lines = good("inspect", store, "--split", "dev")
    start = lines.index("What follows, other speaker, dev")
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines[start + 2 :][:6] if line.startswith("|")]
    assert rows == [
        ["from", "turns", *names],
        ["turns", "1", "0.00", "1.00", "0.00"],
        ["(by chance)", "0", "–", "–", "–"],
        ["from", "0", "–", "–", "–"],
        ["(by chance)", "1", "0.00", "1.00", "0.00"],
    ]


def test_a_text_does_not_command_the_terminal(tmp_path):
    named = built(tmp_path / "named", talk(dialogue_id=["\x1b[31m", "\x1b[31m", "b"], emotion=["joy"] * 3))
    out = "\n".join(good("inspect", named, "--dialogue", "0"))
    assert "\nDialogue �[31m (dev): " in out
    store = built(
        tmp_path, talk(emotion=["joy"] * 3, text=["\x1b[31mred\x07", "two\nlines", "x" * 200], speaker=["\x1b]0;t\x07", "y", "x"])
    )
    out = "\n".join(good("inspect", store, "--dialogue", "a"))
    assert "\x1b" not in out
    assert "\x07" not in out
    assert "�[31mred�" in out
    assert "two lines" in out
    assert "x" * 39 + "…" in "\n".join(good("inspect", store, "--dialogue", "b"))


FAULTS = {
    "no store": (("nowhere",), ("nowhere: expected a store", "build-graphs")),
    "a corpus": (("corpus",), ("corpus: expected a store",)),
    "no such dialogue": (("graphs", "--dialogue", "nobody"), ("no dialogue 'nobody' among its 3",)),
    "no such number": (("graphs", "--dialogue", "99"), ("dialogues are numbered 0 to 2, found 99",)),
    "a dialogue of another split": (("graphs", "--dialogue", "d0", "--split", "test"), ("is not in split 'test'",)),
    "an empty split": (("graphs", "--split", "train"), ("no dialogue in split 'train'; it has dev, test",)),
    "another split": (("graphs", "--split", "all"), ("'--split'", "'train', 'dev', 'test'")),
    "two formats": (("graphs", "--csv", "out", "--json"), ("expected one of --csv and --json",)),
    "nothing to replace": (("graphs", "--force"), ("--force: expected a folder to replace",)),
    "tables in the store": (("graphs", "--csv", "graphs/tables"), ("graphs/tables", "expected a place outside")),
    "tables over the store": (("graphs", "--csv", "graphs", "--force"), ("graphs: found no edge_statistics.csv in it",)),
    "tables over a file": (("graphs", "--csv", "graphs/manifest.json"), ("found a file",)),
    "tables over something else": (("graphs", "--csv", "mine", "--force"), ("mine: found no edge_statistics.csv in it",)),
    "tables in mine": (("graphs", "--csv", "mine"), ("mine: exists and is not empty",)),
}


@pytest.fixture(scope="module")
def bare(tmp_path_factory):
    folder = tmp_path_factory.mktemp("bare")
    built(folder, talk(dialogue_id=["d0", "d1", "d2"], position=[0, 0, 0], split=["dev", "test", "test"], emotion=["joy"] * 3))
    (folder / "mine").mkdir()
    (folder / "mine" / "thesis").touch()
    return folder


@pytest.mark.parametrize("fault", FAULTS)
def test_a_fault_is_one_line_and_leaves_nothing(bare, monkeypatch, fault):
    monkeypatch.chdir(bare)
    arguments, pieces = FAULTS[fault]
    before = sorted(bare.rglob("*"))
    assert_one_line(run("inspect", *arguments), *pieces)
    assert sorted(bare.rglob("*")) == before


def test_a_corpus_that_is_gone_is_one_line(bare, tmp_path):
    shutil.copytree(bare, tmp_path / "w")
    manifest = tmp_path / "w" / "graphs" / "manifest.json"
    manifest.write_text(manifest.read_text().replace(str(bare), "/nowhere"))
    shutil.rmtree(tmp_path / "w" / "corpus")
    assert_one_line(run("inspect", tmp_path / "w" / "graphs"), "its corpus 'talk' is not at")
