"""The explorer's page: what stands in it is what the store and the run say, to 8 bits; hostile text can't leave its block."""

from __future__ import annotations

import base64
import hashlib
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner
from explorer_cases import HOSTILE, built, data_of, page_of, run_page, shared_run, unpacked
from predict_cases import small_corpus
from sentiment_cases import run as fit_scores
from sentiment_cases import scored_corpus

from dgl_merc.cli.main import main
from dgl_merc.corpus import Corpus
from dgl_merc.errors import InputError
from dgl_merc.explanations import Explainer, explore_run, explore_store, exploring
from dgl_merc.graphs import edge_table
from dgl_merc.graphs.palette import ink_on, looks
from dgl_merc.reports.explorer import Explored, Subject, as_json, pack_edges, write_explorer
from dgl_merc.training.run_folder import SavedRun, open_run

pytestmark = pytest.mark.xdist_group("explorer")  # stores, runs and pages are made once


@pytest.fixture(scope="module")
def corpus() -> Corpus:
    return small_corpus()


@pytest.fixture(scope="module")
def built_store(corpus, tmp_path_factory):
    return built(corpus, tmp_path_factory.mktemp("store"), cross="dialogue", past=2, future=1)


@pytest.fixture(scope="module")
def run(corpus: Corpus, tmp_path_factory) -> SavedRun:
    return shared_run(corpus, tmp_path_factory)


@pytest.mark.parametrize("share", [0.0, 0.05, 0.19, 0.21, 1.0])
def test_edges_come_back_to_eight_bits(share):
    n, rng = 9, np.random.default_rng(0)
    dst, src = np.nonzero(rng.random((n, n)) < share)
    weight = rng.normal(size=len(src))
    packed = pack_edges(n, src, dst, weight)
    found = unpacked(packed, n)
    assert set(found) == set(zip(src.tolist(), dst.tolist(), strict=True))
    assert packed[0] == ("matrix" if 5 * len(src) >= n * n else "list")
    if len(src):
        worst = max(abs(found[s, d] - w) for s, d, w in zip(src.tolist(), dst.tolist(), weight, strict=True))
        assert worst <= (weight.max() - weight.min()) / 508 * (1 + 1e-9)


def test_equal_weights_and_none():
    src, dst = np.array([0, 1]), np.array([1, 1])
    assert unpacked(pack_edges(2, src, dst, np.array([0.3, 0.3])), 2) == {(0, 1): 0.3, (1, 1): 0.3}
    assert unpacked(pack_edges(2, src, dst, np.full(2, np.nan)), 2) == {(0, 1): None, (1, 1): None}
    for bad in (np.nan, np.inf):
        with pytest.raises(ValueError, match="finite, or NaN throughout"):
            pack_edges(2, src, dst, np.array([0.3, bad]))


def test_a_store_page_has_the_edges_of_the_store(built_store, corpus, tmp_path):
    said = data_of(page_of(built_store, tmp_path / "page.html"))
    kinds = [tuple(kind["key"].split("/")) for kind in said["about"]["kinds"]]
    assert [d["id"] for d in said["dialogues"]] == list(corpus.dialogue_ids)
    types = [t for t in built_store.spec.edge_types if t[1] != "part_of"]
    for number in (0, 9, 14):
        structure = built_store.structure(np.array([number]))
        table = edge_table(structure, built_store.weights(structure), types)
        shown = said["dialogues"][number]
        count = 0
        for k, packed in shown["edges"].items():
            part, *edge_type = kinds[int(k)]
            rows = table[(table[["source", "relation", "target"]] == edge_type).all(axis=1)]
            found = unpacked(packed, len(shown["text"]))
            assert set(found) == set(zip(rows["src"], rows["dst"], strict=True))
            assert (part == "turns") == (edge_type[1] not in ("same", "cross"))
            for src, dst, weight in rows[["src", "dst", "weight"]].itertuples(index=False):
                assert found[src, dst] == (None if part == "turns" else pytest.approx(weight, abs=1 / 508))
            count += len(rows)
        assert count == len(table)


def test_utterances_are_those_of_the_corpus(built_store, corpus, tmp_path):
    said = data_of(page_of(built_store, tmp_path / "page.html"))
    classes = [c["name"] for c in said["about"]["classes"]]
    rows = corpus.utterances
    shown = [(d["speakers"][s], d["text"][u], d["split"]) for d in said["dialogues"] for u, s in enumerate(d["speaker"])]
    assert shown == list(zip(rows["speaker"], rows["text"], rows["split"], strict=True))
    labels = [classes[label] if label >= 0 else None for d in said["dialogues"] for label in d["label"]]
    assert labels == corpus.label_names("emotion").tolist()
    assert None in labels
    has = np.concatenate([np.array([[c == "1" for c in row] for row in d["has"]]).T for d in said["dialogues"]])
    assert (has == corpus.presence).all()
    ranges = {kind["key"]: kind["range"] for kind in said["about"]["kinds"]}
    structure = built_store.structure()
    for edge_type, weight in built_store.weights(structure).items():
        assert ranges["/".join(("features", *edge_type))] == pytest.approx([float(weight.min()), float(weight.max())], abs=1e-6)
    assert ranges["turns/utterance/intra_past/utterance"] is None


def test_a_run_page_has_what_the_run_said(run, corpus, tmp_path):
    said = data_of(run_page(run, corpus, tmp_path / "page.html"))
    classes = [c["name"] for c in said["about"]["classes"]]
    assert classes == list(run.names)
    table = run.predictions.set_index(["dialogue_id", "position"])
    for d in said["dialogues"]:
        mine = table.loc[d["id"]].sort_index()
        assert [classes[k] for k in d["predicted"]] == mine["predicted"].tolist()
        chances = np.frombuffer(base64.b64decode(d["chances"]), dtype=np.uint8).reshape(-1, len(classes)) / 255
        assert np.abs(chances - mine[[f"p_{c}" for c in classes]].to_numpy()).max() <= 0.5 / 255 + 1e-7
    parts = {kind["part"] for kind in said["about"]["kinds"]}
    assert parts == {"filter", "attention, round 1", "graph", "likeness", "features", "turns"}


def test_a_run_page_has_the_weights_of_explain(run, corpus, tmp_path):
    said = data_of(run_page(run, corpus, tmp_path / "page.html"))
    kinds = [kind["key"] for kind in said["about"]["kinds"]]
    explainer = Explainer(run, corpus, 2)
    tables = {"": explainer.weights(), "features/": explainer.raw_weights()}
    shown = {kinds[int(k)]: packed for k, packed in said["dialogues"][2]["edges"].items()}
    for prefix, table in tables.items():
        keys = prefix + (table["part"] + "/" if not prefix else "") + table["source"] + "/" + table["relation"] + "/" + table["target"]
        for key, rows in table.groupby(keys):
            found = unpacked(shown[key], len(said["dialogues"][2]["text"]))
            assert len(found) == len(rows)
            spread = rows["weight"].max() - rows["weight"].min()
            for src, dst, weight in rows[["src", "dst", "weight"]].itertuples(index=False):
                assert found[src, dst] == pytest.approx(weight, abs=spread / 508 + 1e-5), key  # alone or in a batch: other sums


def test_a_test_split_that_was_not_evaluated_stays_unseen(run, corpus, tmp_path):
    unseen = replace(run, metrics={**run.metrics, "test_evaluated": None})
    path = run_page(unseen, corpus, tmp_path / "page.html")
    said = data_of(path)
    assert {d["split"] for d in said["dialogues"]} == {"train", "dev"}
    assert said["about"]["notes"] == ["4 dialogues of test are left out: this run's test split was not evaluated yet"]
    with pytest.raises(InputError, match="expected a dialogue to show, found none; 4 dialogues of test"):
        explore_run(unseen, corpus, corpus.in_split("test"))


def test_what_does_not_fit_is_left_out_and_said(run, corpus, built_store, tmp_path):
    whole = tmp_path / "page.html"
    assert write_explorer(whole, *explore_run(run, corpus)) == (15, "")
    shown, left = write_explorer(whole, *explore_run(run, corpus), most=200_000)
    assert 1 < shown < 15
    assert left == f"{15 - shown} of 15 dialogues are left out, those with the fewest errors: they do not fit into 0.191 MiB"
    said = data_of(whole)
    assert said["about"]["notes"] == [left]
    judged = run.predictions[run.predictions["label"].notna()]
    errors = (judged["label"] != judged["predicted"]).groupby(judged["dialogue_id"]).sum()
    kept = [d["id"] for d in said["dialogues"]]
    assert errors[kept].min() >= errors.drop(kept).max()
    assert kept == [d for d in corpus.dialogue_ids if d in kept]
    assert page_of(built_store, whole, most=1)
    assert [d["id"] for d in data_of(whole)["dialogues"]] == ["train/0"]


def test_long_dialogues_are_left_out(built_store, corpus, tmp_path, monkeypatch):
    monkeypatch.setattr(exploring, "_LONGEST", 30)
    subject, dialogues = explore_store(built_store)
    assert subject.notes == (f"{int((corpus.lengths > 30).sum())} dialogues of more than 30 utterances are left out",)
    assert [d.number for d in dialogues] == np.flatnonzero(corpus.lengths <= 30).tolist()
    with pytest.raises(InputError, match="expected a dialogue to show, found none; 1 dialogues of more than 30"):
        explore_store(built_store, np.array([int(corpus.lengths.argmax())]))


def test_chunks_change_nothing(built_store, tmp_path, monkeypatch):
    whole = data_of(page_of(built_store, tmp_path / "a.html"))
    monkeypatch.setattr(exploring, "_PAIRS", 1)
    assert_alike(data_of(page_of(built_store, tmp_path / "b.html")), whole)


def assert_alike(a: Any, b: Any) -> None:
    """Equal but for the last printed digit and a step of a packed weight: some machines multiply larger matrices in another order."""
    if isinstance(a, dict):
        assert a.keys() == b.keys()
        a, b = list(a.values()), list(b.values())
    if isinstance(a, list):
        assert len(a) == len(b)
        for x, y in zip(a, b, strict=True):
            assert_alike(x, y)
    elif isinstance(a, float):
        assert a == pytest.approx(b, rel=1e-3, abs=1e-6)
    elif isinstance(a, str) and a != b:
        one, other = (np.frombuffer(base64.b64decode(x, validate=True), np.uint8).astype(int) for x in (a, b))
        assert len(one) == len(other)
        assert np.abs(one - other).max() <= 1
    else:
        assert a == b


def test_scores(tmp_path):
    corpus = scored_corpus((3, 2, 2))
    fit_scores(corpus, tmp_path / "run", preset="bilstm")
    run = open_run(tmp_path / "run")
    said = data_of(run_page(run, corpus, tmp_path / "page.html"))
    assert [c["name"] for c in said["about"]["classes"]] == ["negative", "positive"]
    assert "chances" not in said["dialogues"][0]
    assert set(said["dialogues"][0]["more"]) == {"score", "predicted_score"}
    assert any(None in d["more"]["score"] for d in said["dialogues"])
    assert {kind["part"] for kind in said["about"]["kinds"]} == {"features", "turns"}


def test_hostile_text_stays_in_its_block(corpus, tmp_path):
    count = int(corpus.lengths[:2].sum())
    rows = corpus.utterances.iloc[:count]
    text = [HOSTILE[k % len(HOSTILE)] for k in range(count)]
    speaker = [HOSTILE[k % 6] for k in range(count)]
    ends = corpus.feature_rows[count]
    features = {m: corpus.features[m][: ends[k]] for k, m in enumerate(corpus.modalities)}
    hostile = Corpus.build(HOSTILE[0], rows.assign(text=text, speaker=speaker), features, dict(corpus.targets))
    path = page_of(built(hostile, tmp_path), tmp_path / "page.html")
    page = path.read_text(encoding="utf-8")
    assert [t for d in data_of(path)["dialogues"] for t in d["text"]] == text
    assert len(re.findall(r"<script", page)) == len(re.findall(r"</script", page)) == 2
    assert not re.search("<img|<svg|<!--|\u2028|\u2029|\ufeff", page)


def test_the_policy_names_script_and_style_and_nothing_else(built_store, tmp_path):
    page = page_of(built_store, tmp_path / "page.html").read_text(encoding="utf-8")
    policy = re.search(r'http-equiv="Content-Security-Policy" content="([^"]*)"', page)[1]
    script = re.search(r"<script>(.*?)</script>", page, re.DOTALL)[1]
    style = re.search(r"<style>(.*?)</style>", page, re.DOTALL)[1]
    hashes = [base64.b64encode(hashlib.sha256(part.encode()).digest()).decode() for part in (script, style)]
    assert policy == (
        f"default-src 'none'; script-src 'sha256-{hashes[0]}'; style-src 'sha256-{hashes[1]}'; base-uri 'none'; form-action 'none'"
    )
    assert set(re.findall(r"\w+://[^\"'` ]*", page)) == {"http://www.w3.org/2000/svg"}
    for way in ("innerHTML", "outerHTML", "insertAdjacentHTML", "document.write", "eval(", "Function("):
        assert way not in page


def test_classes_look_as_in_every_picture(built_store, tmp_path):
    said = data_of(page_of(built_store, tmp_path / "page.html"))["about"]["classes"]
    there = looks([c["name"] for c in said])
    assert [(c["colour"], c["letters"]) for c in said] == [(look.colour, look.letters) for look in there.values()]
    assert {c["ink"] for c in said} == {ink_on(c["colour"]) for c in said}


def test_numbers_that_json_has_not_are_refused():
    with pytest.raises(ValueError, match="JSON"):
        as_json({"x": float("nan")})


def test_a_dialogue_without_edges_or_classes(corpus, built_store, tmp_path):
    _, dialogues = explore_store(built_store, np.array([3]))
    one = next(iter(dialogues))
    bare = Explored(0, "bare", "train", one.utterances.assign(label=None), None)
    write_explorer(tmp_path / "page.html", Subject("bare", "store", {}, (), (), 1), [bare])
    assert data_of(tmp_path / "page.html")["dialogues"][0]["edges"] == {}


def call(*words: object) -> tuple[int, str]:
    done = CliRunner().invoke(main, [str(w) for w in ("explore", *words)])
    return done.exit_code, done.output


def test_the_command(built_store, run, corpus, tmp_path):
    out = tmp_path / "new" / "page.html"
    store = built_store.path
    code, said = call(store, "--out", out, "--dialogue", "dev/1", "--dialogue", "2")
    assert (code, [d["id"] for d in data_of(out)["dialogues"]]) == (0, ["train/2", "dev/1"])
    assert said.startswith("Explorer of 2 dialogues, 0.1 MiB: ")
    assert call(store, "--out", out)[1].endswith("is there already; name another file, or pass --force to replace it\n")
    code, said = call(run.path, store, "--out", out, "--force", "--split", "test")
    assert (code, {d["split"] for d in data_of(out)["dialogues"]}) == (0, {"test"})
    for words, expected in {
        (store, "--out", store / "page.html"): "which holds manifest.json and is of one piece",
        (store, "--out", run.path / "figures" / "page.html"): "which holds metrics.json and is of one piece",
        (store, "--dialogue", "nobody"): "no dialogue 'nobody' among its 15",
        (store, "--dialogue", "dev/1", "--split", "test"): "expected a dialogue of test, found none",
        (store, store): "expected one store, found another beside",
        (tmp_path / "new",): "expected the folder of a run",
        (built_store.corpus.path,): "expected a run or a store, found a corpus",
        (run.path,): "its corpus was in memory",
    }.items():
        words = words if "--out" in words else (*words, "--out", tmp_path / "other.html")
        code, said = call(*words)
        assert code == 2
        assert expected in said
        assert len(said.splitlines()) == 1
    assert sorted(p.name for p in tmp_path.iterdir()) == ["new"]
    assert not Path("explorer.html").exists()
