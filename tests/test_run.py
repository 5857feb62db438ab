"""The run folder: every file is there, they agree with each other and with scikit-learn, and the report is one safe page."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from html import unescape
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from safetensors.numpy import load_file as load_arrays
from safetensors.torch import load_file
from sklearn import metrics as sk

from dgl_merc.corpus import Corpus, Scaling, Target, save_corpus
from dgl_merc.corpus.synthetic import synthetic_corpus
from dgl_merc.errors import InputError
from dgl_merc.files import sha256
from dgl_merc.graphs import GraphSpec
from dgl_merc.graphs.build import BuildOptions, build_store
from dgl_merc.models import ModelInput, build_model, options_of
from dgl_merc.reports.run_report import write_report
from dgl_merc.settings import from_table
from dgl_merc.training import fit, load_settings
from dgl_merc.training.data import DialogueData
from dgl_merc.training.prediction import predict
from dgl_merc.training.run import resolved_spec

pytestmark = pytest.mark.xdist_group("run")  # its runs are made once

FILES = {
    "config.json",
    "environment.json",
    "data.json",
    "metrics.json",
    "history.json",
    "predictions.parquet",
    "weights.safetensors",
    "scaling.safetensors",
    "report.html",
    "MODEL_CARD.md",
    "figures/curves.png",
    "figures/confusion.png",
    "figures/per_class.png",
    "figures/calibration.png",
}
WORDS = ["model.dim=8", "training.max_epochs=3", "training.batch_size=4", "training.lr=.01"]


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> tuple[Corpus, Path, dict[str, Any]]:
    """A corpus with ceilings, its store, and a run over both."""
    folder = tmp_path_factory.mktemp("run")
    corpus = save_corpus(synthetic_corpus(1, (12, 4, 4)), folder / "corpus")
    store = build_store(corpus, folder / "graphs", GraphSpec(tuple(corpus.modalities)), BuildOptions(edges=False))
    settings = load_settings("mglra", [*WORDS, "data.modalities=visual,text", "graph.causal=true"], 5)
    metrics = fit(store.corpus, store.spec, settings, folder / "out", store=store, command=["dglmerc", "fit", "a b"])
    return corpus, folder / "out", metrics


def read(folder: Path, name: str) -> Any:
    return json.loads((folder / f"{name}.json").read_text(encoding="utf-8"))


def test_the_graph_s_settings_change_the_store_s_spec(made):
    corpus, _, _ = made
    spec = GraphSpec(tuple(corpus.modalities), window=5, past=7)
    assert resolved_spec(corpus, spec, load_settings("sgrnet")) == spec
    changed = resolved_spec(corpus, spec, load_settings("sgrnet", ["graph.past=3", "graph.future=0", "graph.cross=none"]))
    assert changed == GraphSpec(spec.modalities, window=5, cross="none", past=3, future=0)


def test_every_file_is_there(made):
    _, out, metrics = made
    assert {str(p.relative_to(out)) for p in out.rglob("*") if p.is_file()} == FILES
    assert [p.name for p in out.parent.iterdir() if p.name.startswith(".out")] == [], "a partial folder was left"
    assert read(out, "metrics") == json.loads(json.dumps(metrics))


def test_predictions_are_all_utterances_with_probabilities(made):
    corpus, out, _ = made
    table = pd.read_parquet(out / "predictions.parquet")
    names = corpus.targets["emotion"].labels
    assert list(table.columns) == ["split", "dialogue_id", "position", "speaker", "label", "predicted", *(f"p_{n}" for n in names)]
    keys = ["split", "dialogue_id", "position", "speaker"]
    pd.testing.assert_frame_equal(table[keys], corpus.utterances[keys], check_dtype=False)
    assert table["label"].isna().equals(corpus.utterances["emotion"].isna())
    assert (table["label"].dropna() == corpus.utterances["emotion"].dropna()).all()
    scores = table[[f"p_{n}" for n in names]].to_numpy()
    np.testing.assert_allclose(scores.sum(1), 1, atol=1e-5)
    assert (table["predicted"].to_numpy() == np.array(names)[scores.argmax(1)]).all()


def test_metrics_are_those_of_the_predictions(made):
    corpus, out, metrics = made
    table = pd.read_parquet(out / "predictions.parquet").dropna(subset="label")
    names = list(corpus.targets["emotion"].labels)
    assert list(metrics["splits"]) == ["train", "dev", "test"]
    for split, found in metrics["splits"].items():
        y, z = (table.loc[table["split"] == split, c] for c in ("label", "predicted"))
        assert found["utterances"] == len(y)
        assert found["accuracy"] == pytest.approx(100 * sk.accuracy_score(y, z))
        assert found["weighted_f1"] == pytest.approx(100 * sk.f1_score(y, z, average="weighted", zero_division=0))
        assert found["confusion"] == sk.confusion_matrix(y, z, labels=names).tolist()
        assert [row["support"] for row in found["per_class"].values()] == [int((y == n).sum()) for n in names]
    history = read(out, "history")["looks"]
    best = max(e["dev_weighted_f1"] for e in history)
    assert metrics["chosen_epoch"] == next(e["epoch"] for e in history if e["dev_weighted_f1"] == best)
    assert metrics["splits"]["dev"]["weighted_f1"] == pytest.approx(best)
    assert metrics["epochs"] == len(history) == 3


def test_the_ceiling_is_that_of_what_the_model_sees(made):
    corpus, _, metrics = made
    ceiling = corpus.source["ceilings"]["text+visual"]["causal"]
    assert metrics["ceiling"]["mode"] == "causal"
    assert metrics["ceiling"]["weighted_f1"] == ceiling["weighted_f1"]
    for key in ("weighted_f1", "accuracy"):
        assert metrics["ceiling"][f"distance_{key}"] == pytest.approx(ceiling[key] - metrics["splits"]["test"][key])


def test_the_folder_alone_gives_the_predictions_again(made):
    corpus, out, metrics = made
    config, data = read(out, "config"), read(out, "data")
    spec = GraphSpec.from_json(data["spec"])
    assert (spec.modalities, spec.causal) == (("text", "visual"), True), "modalities stand in the corpus's order"
    options = from_table(options_of(config["model"]), config["options"], "config.json")
    model = build_model(config["model"], ModelInput(data["widths"], len(data["labels"]), spec, config["seed"]), options)
    model.load_state_dict(load_file(out / "weights.safetensors"))
    stored = load_arrays(out / "scaling.safetensors")
    scaling = Scaling(*({k.partition("/")[2]: v for k, v in stored.items() if k.startswith(part)} for part in ("mean", "std")))
    scores, rows, _ = predict(model, DialogueData(corpus, spec, scaling, data["target"]), np.arange(len(corpus)))
    table = pd.read_parquet(out / "predictions.parquet")
    assert rows.tolist() == list(range(len(table)))
    np.testing.assert_allclose(table[[f"p_{n}" for n in data["labels"]]].to_numpy(), scores, rtol=0, atol=1e-6)
    assert metrics["parameters"] == sum(p.numel() for p in model.parameters())


def test_the_scaling_is_that_of_the_training_split(made):
    corpus, out, _ = made
    stored, fitted = load_arrays(out / "scaling.safetensors"), Scaling.fit(corpus)
    train = (corpus.utterances["split"] == "train").to_numpy()
    used = json.loads((out / "data.json").read_text())["spec"]["modalities"]
    assert set(stored) == {f"{part}/{m}" for part in ("mean", "std") for m in used}
    for k, (m, x) in enumerate(corpus.features.items()):
        if m not in used:
            continue
        rows = np.asarray(x, dtype=np.float64)[train[corpus.presence[:, k]]]
        np.testing.assert_allclose(stored[f"mean/{m}"], rows.mean(0), rtol=1e-5, atol=1e-5)
        np.testing.assert_allclose(stored[f"std/{m}"], rows.std(0), rtol=1e-5)
        assert np.array_equal(stored[f"mean/{m}"], fitted.mean[m])
        assert np.array_equal(stored[f"std/{m}"], fitted.std[m])


def test_what_the_run_was_is_written_down(made):
    corpus, out, _ = made
    settings = load_settings("mglra", [*WORDS, "data.modalities=visual,text", "graph.causal=true"], 5)
    assert read(out, "config") == json.loads(json.dumps(settings.to_json()))
    data, environment = read(out, "data"), read(out, "environment")
    assert data["corpus"] == {"name": "synthetic", "path": str(corpus.path), "content_sha256": corpus.content_sha256}
    assert data["store_manifest_sha256"] == sha256(out.parent / "graphs" / "manifest.json")
    assert data["labels"] == list(corpus.targets["emotion"].labels)
    assert data["widths"] == {m: corpus.modalities[m].width for m in ("text", "visual")}
    assert (data["target"], data["scaling"]) == ("emotion", "standard")
    assert environment["command"] == ["dglmerc", "fit", "a b"]
    assert environment["versions"]["torch"].split("+", 1)[0] == torch.__version__.split("+", 1)[0]


def test_an_existing_folder_is_refused_and_force_replaces_it_at_the_end(made, tmp_path):
    corpus, _, _ = made
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "note").write_text("mine")
    old = {"out", "note"}
    spec = GraphSpec(tuple(corpus.modalities))
    settings = load_settings("mglra", WORDS)
    with pytest.raises(InputError, match="not empty"):
        fit(corpus, spec, settings, tmp_path / "out")
    with pytest.raises(InputError, match=r"found no metrics\.json in it; --force replaces only"):
        fit(corpus, spec, settings, tmp_path / "out", force=True)
    (tmp_path / "out" / "metrics.json").touch()
    old.add("metrics.json")
    with pytest.raises(InputError, match="loss is nan"):
        fit(corpus, spec, load_settings("mglra", [*WORDS, "training.lr=1e30", "training.clip=0"]), tmp_path / "out", force=True)
    assert {p.name for p in tmp_path.rglob("*")} == old, "a failed run replaced what was there"
    fit(corpus, spec, settings, tmp_path / "out", force=True)
    assert not (tmp_path / "out" / "note").exists()
    assert (tmp_path / "out" / "report.html").is_file()
    (tmp_path / "file").touch()
    with pytest.raises(InputError, match="found a file"):
        fit(corpus, spec, settings, tmp_path / "file", force=True)


def test_an_interrupted_run_leaves_nothing(made, tmp_path):
    def stop(*_: object) -> None:
        raise KeyboardInterrupt

    corpus, _, _ = made
    with pytest.raises(KeyboardInterrupt):
        fit(corpus, GraphSpec(tuple(corpus.modalities)), load_settings("mglra", WORDS), tmp_path / "out", on_look=stop)
    assert list(tmp_path.iterdir()) == []


# ---- the report


def text_of(page: str) -> str:
    return " ".join(unescape(re.sub(r"<[^>]*>", " ", page)).split())


def test_the_report_says_what_metrics_say(made):
    _, out, metrics = made
    page = text_of((out / "report.html").read_text(encoding="utf-8"))
    test, dev = metrics["splits"]["test"], metrics["splits"]["dev"]
    for said in (
        f"{test['weighted_f1']:.1f} test weighted F1",
        f"{test['accuracy']:.1f} test accuracy (WAA)",
        f"{test['macro_f1']:.1f} test macro F1",
        f"{dev['weighted_f1']:.1f} dev weighted F1, epoch {metrics['chosen_epoch']} of 3",
        f"{metrics['ceiling']['distance_weighted_f1']:.1f} points of weighted F1 below the Bayes rate",
        f"(causal) the exact posterior reaches weighted F1 {metrics['ceiling']['weighted_f1']:.1f}",
        "dglmerc fit 'a b'",
        read(out, "data")["corpus"]["content_sha256"],
        read(out, "data")["store_manifest_sha256"],
        "model.gcn.rate",
        "modalities text, visual, causal",
    ):
        assert said in page, said
    for split, row in metrics["splits"].items():
        assert f"{split} {row['utterances']} {row['accuracy']:.1f} {row['macro_f1']:.1f} {row['weighted_f1']:.1f}" in page
    for name, row in test["per_class"].items():
        accuracy = "–" if row["accuracy"] is None else f"{row['accuracy']:.1f}"
        assert f"{name} {row['support']} {accuracy} {row['precision']:.1f} {row['f1']:.1f}" in page


class Tags(HTMLParser):
    """Every tag of a page with its attributes."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.found: list[tuple[str, dict[str, str | None]]] = []
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.append((tag, dict(attrs)))


def assert_self_contained(page: str) -> None:
    tags = Tags(page).found
    assert not {tag for tag, _ in tags} & {"script", "link", "iframe", "object", "embed", "base", "form"}
    for tag, attributes in tags:
        assert not [name for name in attributes if name.startswith("on")], tag
        if tag == "a":  # the one file beside the page
            assert attributes == {"href": "MODEL_CARD.md"}
            continue
        for name in ("src", "href", "srcset", "data", "action", "background"):
            assert (attributes.get(name) or "data:image/png;base64,").startswith("data:image/png;base64,"), (tag, name)
    assert sum(tag == "img" for tag, _ in tags) <= 4
    assert not re.search(r"https?:|@import|url\(", page)


def test_the_report_needs_nothing_else(made):
    _, out, _ = made
    page = (out / "report.html").read_text(encoding="utf-8")
    assert_self_contained(page)
    assert page.count("data:image/png;base64,") == 4


HOSTILE = '<script>alert("1")</script>'


def test_a_hostile_corpus_stays_text(tmp_path):
    """Names come from data: a class, a dialogue, a speaker, a corpus and a folder that try to be markup or mathematics."""
    corpus = synthetic_corpus(1, (8, 3, 3), with_ceilings=False)
    names = dict(
        zip(corpus.targets["emotion"].labels, [HOSTILE, "$x_{$", "{{ 7 * 7 }}", "&amp;", "'\"><img src=x onerror=y>", "a\\b"], strict=True)
    )
    table = corpus.utterances.assign(
        emotion=corpus.utterances["emotion"].map(names), dialogue_id=HOSTILE + corpus.utterances["dialogue_id"], speaker=HOSTILE
    )
    hostile = Corpus.build(HOSTILE, table, corpus.features, {"emotion": Target("classes", tuple(names.values()))})
    out = tmp_path / "<b>&run"
    fit(hostile, GraphSpec(tuple(corpus.modalities)), load_settings("mglra", WORDS), out, command=["dglmerc", HOSTILE])
    page = (out / "report.html").read_text(encoding="utf-8")
    assert_self_contained(page)
    assert "<img src=x" not in page
    assert "<b>&run" not in page
    for name in names.values():
        assert " ".join(name.split()) in unescape(page)
    assert set(pd.read_parquet(out / "predictions.parquet")["label"].dropna()) <= set(names.values())


@pytest.mark.parametrize("splits", ["no test", "unlabelled test"])
def test_a_run_without_test_scores_is_reported_on_dev(tmp_path, splits):
    corpus = synthetic_corpus(1, (8, 3, 3))
    test = (corpus.utterances["split"] == "test").to_numpy()
    if splits == "no test":
        features = {m: x[~test[corpus.presence[:, k]]] for k, (m, x) in enumerate(corpus.features.items())}
        corpus = Corpus.build("x", corpus.utterances[~test], features, corpus.targets, source=corpus.source)
    else:
        corpus = replace(corpus, utterances=corpus.utterances.assign(emotion=corpus.utterances["emotion"].where(~test)))
    metrics = fit(corpus, GraphSpec(tuple(corpus.modalities)), load_settings("mglra", WORDS), tmp_path / "out")
    assert "ceiling" not in metrics
    page = text_of((tmp_path / "out" / "report.html").read_text(encoding="utf-8"))
    assert f"{metrics['splits']['dev']['weighted_f1']:.1f} dev weighted F1" in page
    assert "Bayes" not in page


def test_a_damaged_folder_has_no_report(made, tmp_path):
    import shutil

    _, out, _ = made
    shutil.copytree(out, tmp_path / "copy")
    (tmp_path / "copy" / "report.html").unlink()
    write_report(tmp_path / "copy", out)
    assert (tmp_path / "copy" / "report.html").read_bytes() == (out / "report.html").read_bytes()
    (tmp_path / "copy" / "metrics.json").write_text("{")
    with pytest.raises(InputError, match=r"metrics.json: expected JSON"):
        write_report(tmp_path / "copy")
