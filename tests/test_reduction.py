"""Reduced features: the directions are scikit-learn's PCA of the training split alone, and every way to a model goes through them."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from cli_cases import assert_one_line, good
from cli_cases import run as command
from predict_cases import SMALL, small_corpus, spoken, write_lines
from safetensors.numpy import load_file, save_file
from sklearn.decomposition import PCA

from dgl_merc.corpus import SPLITS, Corpus, Scaling, save_corpus
from dgl_merc.corpus import reduction as module
from dgl_merc.corpus.pieces import Pieces
from dgl_merc.corpus.reduction import parse_reduction, principal_directions, reduced_widths
from dgl_merc.errors import DivergedError, InputError
from dgl_merc.explanations import Explainer
from dgl_merc.graphs import GraphSpec
from dgl_merc.graphs.build import BuildOptions, build_store
from dgl_merc.inference import Predictor
from dgl_merc.inference.stream import Stream
from dgl_merc.inference.utterance import Utterance
from dgl_merc.training import fit, load_settings
from dgl_merc.training import run as run_module
from dgl_merc.training.evaluate import robustness
from dgl_merc.training.processes import Processes
from dgl_merc.training.run_folder import open_run
from dgl_merc.training.settings import DataSettings
from dgl_merc.training.space import spaces

pytestmark = [pytest.mark.xdist_group("reduction"), pytest.mark.usefixtures("unpainted")]  # its run is made once

WIDTHS = {"text": 12, "audio": 5}
KINDS = ("standard", "none")


@pytest.fixture(scope="module")
def corpus() -> Corpus:
    """300 utterances; text follows from 7 hidden numbers and a little noise, one column is constant; audio is absent at some."""
    rng, n = np.random.default_rng(5), 300
    table = pd.DataFrame({"dialogue_id": [f"d{k // 10}" for k in range(n)], "position": [k % 10 for k in range(n)], "speaker": "s"})
    table["split"] = [SPLITS[(k // 10) % 3] for k in range(n)]
    table["has_audio"] = rng.random(n) < 0.6
    text = rng.normal(size=(n, 7)) @ rng.normal(size=(7, 12)) + 0.1 * rng.normal(size=(n, 12))
    text = text * np.geomspace(0.05, 20, 12) + np.arange(12)
    text[:, 4] = 3.0
    return Corpus.build("low", table, {"text": text, "audio": rng.normal(size=(int(table["has_audio"].sum()), 5)) + 2}, {})


def rows_of(corpus: Corpus, modality: str, split: str = "train") -> Any:
    """Row numbers in the modality's array."""
    there = corpus.utterances[f"has_{modality}"].to_numpy()
    return np.flatnonzero((corpus.utterances["split"] == split).to_numpy()[there])


def by_hand(corpus: Corpus, modality: str, kind: str, k: int) -> Any:
    """[N, k] float64, up to the sign of a column, and the shares."""
    x, train = np.asarray(corpus.features[modality], dtype=np.float64), rows_of(corpus, modality)
    if kind == "standard":
        std = x[train].std(axis=0)
        x = (x - x[train].mean(axis=0)) / np.where(std < 1e-6, 1.0, std)
    pca = PCA(k, svd_solver="full").fit(x[train])
    size = np.sqrt(np.mean(pca.explained_variance_ * (len(train) - 1) / len(train))) if kind == "standard" else 1.0
    return pca.transform(x) / size, pca.explained_variance_ratio_


@pytest.mark.parametrize("kind", KINDS)
def test_it_is_pca_of_the_training_rows(corpus, kind):
    scaling = Scaling.fit(corpus, kind, heard={"text": 6, "audio": 2})
    for m, k in (("text", 6), ("audio", 2)):
        got, (want, shares) = scaling.apply(m, corpus.features[m]), by_hand(corpus, m, kind, k)
        assert (got.dtype, got.shape) == (np.float32, (len(want), k))
        signs = np.sign((got * want).sum(axis=0))
        np.testing.assert_allclose(got, want * signs, rtol=1e-6, atol=1e-5 * np.abs(want).max())
        np.testing.assert_allclose(scaling.reductions[m].shares, shares, rtol=1e-5)
        train = got[rows_of(corpus, m)].astype(np.float64)
        np.testing.assert_allclose(train.mean(axis=0), 0, atol=1e-5)
        if kind == "standard":
            assert np.square(train).mean() == pytest.approx(1, rel=1e-5), "of the size of standardised columns"


def test_directions_are_scikit_learn_s_to_six_digits(corpus):
    x, rows = corpus.features["text"], rows_of(corpus, "text")
    got = principal_directions(x, rows, lambda z: z, 7, unit=False)
    pca = PCA(7, svd_solver="full").fit(np.asarray(x, dtype=np.float64)[rows])
    largest = np.abs(pca.components_).argmax(axis=1)
    want = pca.components_ * np.sign(pca.components_[np.arange(7), largest])[:, None]
    np.testing.assert_allclose(got.basis.T, want, rtol=0, atol=1e-6)
    np.testing.assert_allclose(got.centre, pca.mean_, rtol=1e-12)
    assert (got.basis[largest, np.arange(7)] > 0).all()


def test_all_directions_are_a_rotation(corpus):
    """Model-free: distances stay, up to the one number that all are divided by."""
    plain = Scaling.fit(corpus)
    z = plain.apply("text", corpus.features["text"]).astype(np.float64)
    whole = principal_directions(corpus.features["text"], rows_of(corpus, "text"), lambda x: plain.apply("text", x), 12, unit=True)
    y = whole.apply(z).astype(np.float64)
    apart = [np.linalg.norm(a[:50, None] - a[None, 50:90], axis=-1) for a in (z, y)]
    ratio = apart[0] / apart[1]
    np.testing.assert_allclose(ratio, ratio.mean(), rtol=1e-5)
    assert whole.shares.sum() == pytest.approx(1)
    assert (whole.shares > 0).sum() == 11, "nothing varies along the constant column"


def test_dev_and_test_change_nothing(corpus):
    heard = {"text": 4, "audio": 3}
    rng, changed = np.random.default_rng(0), {}
    for m, x in corpus.features.items():
        changed[m] = (1e4 * rng.standard_normal(x.shape)).astype(np.float32)
        changed[m][rows_of(corpus, m)] = x[rows_of(corpus, m)]
    other = replace(corpus, features=changed)
    a, b = (Scaling.fit(c, heard=heard).arrays() for c in (corpus, other))
    assert {name: v.tobytes() for name, v in a.items()} == {name: v.tobytes() for name, v in b.items()}
    other.features["text"][rows_of(corpus, "text")[7]] += 1
    assert Scaling.fit(other, heard=heard).arrays()["basis/text"].tobytes() != a["basis/text"].tobytes(), "vacuous"


def test_pieces_and_rows_elsewhere_change_nothing_but_rounding(corpus, monkeypatch):
    whole = Scaling.fit(corpus, heard={"text": 4})
    monkeypatch.setattr(module, "rows_at_once", lambda _: 7)
    x = corpus.features["text"]
    lie = replace(corpus, features={**corpus.features, "text": Pieces.of((x[:90], np.arange(90)), (x, np.arange(90, 300)))})
    apart = Scaling.fit(lie, heard={"text": 4})
    np.testing.assert_allclose(apart.reductions["text"].basis, whole.reductions["text"].basis, rtol=0, atol=1e-12)
    rows = [whole.apply("text", x[k : k + 1])[0] for k in range(40)]
    np.testing.assert_array_equal(np.array(rows), whole.apply("text", x)[:40]), "alone as among others"


def test_what_is_no_wider_stays_as_it_is(corpus):
    plain = Scaling.fit(corpus)
    for heard in (None, {}, WIDTHS, {"text": 100, "audio": 5}):
        scaling = Scaling.fit(corpus, heard=heard)
        assert dict(scaling.reductions) == {}
        np.testing.assert_array_equal(scaling.apply("text", corpus.features["text"]), plain.apply("text", corpus.features["text"]))
    assert set(Scaling.fit(corpus, "standard", ("text",), {"text": 2, "audio": 2}).reductions) == {"text"}


@pytest.mark.parametrize("kind", KINDS)
def test_directions_without_variance_are_zeros(corpus, kind):
    """Ten training rows vary along nine directions: what dev has along others, nobody has learnt."""
    few = replace(corpus, utterances=corpus.utterances.assign(split=["train"] * 10 + ["dev"] * 290))
    scaling = Scaling.fit(few, kind, ("text",), {"text": 11})
    assert (scaling.reductions["text"].shares > 0).tolist() == [True] * 9 + [False] * 2
    y = scaling.apply("text", few.features["text"])
    assert not y[:, 9:].any()
    assert np.isfinite(y).all()
    assert scaling.reductions["text"].shares.sum() == pytest.approx(1)
    if kind == "standard":
        assert np.square(y[:10, :9].astype(np.float64)).mean() == pytest.approx(1, rel=1e-5)
    flat = replace(corpus, features={**corpus.features, "text": np.full((300, 12), 3.0, dtype=np.float32)})
    assert not Scaling.fit(flat, kind, ("text",), {"text": 6}).apply("text", corpus.features["text"]).any()


def test_what_cannot_be_reduced(corpus, monkeypatch):
    absent = replace(corpus, utterances=corpus.utterances.assign(split="dev"))
    for kind, done in zip(KINDS, ("standardised", "reduced"), strict=True):
        with pytest.raises(InputError, match=f"low: text: no training utterance has it, so it can't be {done}"):
            Scaling.fit(absent, kind, heard={"text": 3})
    assert dict(Scaling.fit(absent, "none").mean) == {}
    wild = replace(corpus, features={**corpus.features, "text": np.where(np.arange(300)[:, None], -3e38, 3e38) * np.ones((1, 12))})
    with pytest.raises(InputError, match="low: text: expected numbers whose squares are finite, found others; it can't be reduced"):
        Scaling.fit(wild, heard={"text": 3})
    monkeypatch.setattr(module, "WIDEST", 11)
    with pytest.raises(InputError, match=r"data\.reduce: text: expected at most 11 columns, found 12: leave it out"):
        reduced_widths("3", WIDTHS)
    assert reduced_widths("audio:3", WIDTHS) == {"text": 12, "audio": 3}


def test_words():
    assert parse_reduction(" text:3 + audio:02 ,") == {"text": 3, "audio": 2}
    for words, left in {
        "": WIDTHS,
        "7": {"text": 7, "audio": 5},
        "3,text:9": {"text": 9, "audio": 3},
        "audio:1": {"text": 12, "audio": 1},
    }.items():
        assert reduced_widths(words, WIDTHS) == left
        assert DataSettings(reduce=words).reduce == words
    assert load_settings("bilstm", ["data.reduce=100"]).data.reduce == "100"
    assert load_settings("bilstm", ["data.reduce=text:100,audio:100"]).data.reduce == "text:100,audio:100"
    for preset in ("mglra-paper", "sgrnet-paper"):
        assert load_settings(preset).data.reduce == "", "scores on record stay"


@pytest.mark.parametrize(
    "word",
    [
        "0",
        "-1",
        "text",
        "text:",
        ":3",
        "text:0",
        "text:x",
        "text=3",
        "text:1.5",
        "3,4",
        "text:1,text:2",
        "text:" + "9" * 5000,
        "٣",
        "true",
        "1.5",
    ],
)
def test_a_wrong_word_is_one_sentence(word):
    with pytest.raises(InputError) as error:
        load_settings("bilstm", [f"data.reduce={word}"])
    assert "data.reduce must " in str(error.value)
    assert "\n" not in str(error.value)


# ---- a run

WORDS = [*SMALL["bilstm"], "data.reduce=text:4,audio:300,visual:3", "graph.causal=true"]
HEARD = {"text": 4, "audio": 24, "visual": 3}


@pytest.fixture(scope="module")
def made(tmp_path_factory) -> tuple[Corpus, Path, dict[str, Any]]:
    """A corpus, its store ``graphs``, and a run ``out`` that hears less."""
    folder = tmp_path_factory.mktemp("reduced")
    corpus = save_corpus(small_corpus(), folder / "corpus")
    store = build_store(corpus, folder / "graphs", GraphSpec(tuple(corpus.modalities)), BuildOptions(edges=False))
    return corpus, folder, fit(store.corpus, store.spec, load_settings("bilstm", WORDS), folder / "out", store=store)


def test_a_run_says_what_it_hears(made):
    corpus, folder, metrics = made
    data = json.loads((folder / "out" / "data.json").read_text())
    assert data["widths"] == {"text": 32, "audio": 24, "visual": 16}
    assert data["heard"] == HEARD
    shares = Scaling.fit(corpus, heard=HEARD).reductions["text"].shares
    assert metrics["reduced"] == {
        "text": {"from": 32, "to": 4, "directions": 4, "variance": pytest.approx(shares.sum())},
        "visual": {"from": 16, "to": 3, "directions": 3, "variance": metrics["reduced"]["visual"]["variance"]},
    }
    assert 0.05 < metrics["reduced"]["text"]["variance"] < 0.95
    said = f"text (32 numbers an utterance, reduced to 4 that keep {100 * shares.sum():.1f} % of the training variance)"
    for name in ("report.html", "MODEL_CARD.md"):
        page = (folder / "out" / name).read_text()
        assert said in page
        assert "audio (24 numbers an utterance)" in page
    first = load_file(folder / "out" / "weights.safetensors")
    assert {v.shape[1] for k, v in first.items() if "weight_ih_l0" in k or k.endswith("weight_ih")} >= {sum(HEARD.values())}


def test_every_way_to_the_model_gives_the_same_answers(made, tmp_path):
    corpus, folder, _ = made
    run = open_run(folder / "out")
    columns = [f"p_{name}" for name in run.names]
    want = run.predictions[run.predictions["split"] == "test"].set_index(["dialogue_id", "position"])[columns]
    given = spoken(corpus)

    table = Predictor([run]).predict(write_lines(tmp_path / "new.jsonl", given)).set_index(["dialogue_id", "position"])
    pd.testing.assert_frame_equal(table[columns], want, check_dtype=False, rtol=0, atol=1e-6)

    stream = Stream([run])
    for said in given:
        x = {m: np.array(v, dtype=np.float32) for m, v in said["features"].items()}
        answer = stream.answer(Utterance(said["dialogue_id"], said["speaker"], x))
        assert list(answer["probabilities"].values()) == pytest.approx(
            want.loc[(said["dialogue_id"], answer["position"])].tolist(), abs=1e-6
        )

    n = int(corpus.in_split("test")[0])
    explainer = Explainer(run, corpus, n)
    np.testing.assert_allclose(explainer.answers, want.loc[corpus.dialogue_ids[n]].to_numpy(), rtol=0, atol=1e-6)
    assert np.isfinite(explainer.without_modalities()["after"]).all()
    drops = robustness([run], corpus, "test", {"text": [0.0, 1.0]})
    assert drops["weighted F1"][0] == run.metrics["splits"]["test"]["weighted_f1"]

    data, numbers = run.dialogue_data(corpus), corpus.in_split("test")
    assert spaces(run.model(), data, numbers).before.shape[1] >= sum(HEARD.values()), "what the model hears"


def test_a_vector_beyond_float32_is_not_answered(made):
    run = open_run(made[1] / "out")
    stream = Stream([run])
    with pytest.raises(DivergedError, match="expected a finite answer"):
        stream.answer(Utterance("d", "Ana", {"text": np.full(32, 3e38, dtype=np.float32)}))


def test_the_command_line(made, tmp_path):
    folder = made[1]
    assert_one_line(
        command("fit", folder / "graphs", "--out", tmp_path / "x", "--set", "data.reduce=smell:3"),
        "data.reduce names smell; the graphs have text, audio, visual",
    )
    for reduce in ("5", ""):
        sets = [part for word in (*WORDS, f"data.reduce={reduce}") for part in ("--set", word)]
        again = command("fit", folder / "graphs", "--out", folder / "out", "--preset", "bilstm", "--resume", *sets)
        assert_one_line(again, f"holds a run of data.reduce = text:4,audio:300,visual:3, not {reduce};")
    lines = good("evaluate", folder / "out", folder / "graphs", "--split", "dev")
    score = json.loads((folder / "out" / "metrics.json").read_text())["splits"]["dev"]["weighted_f1"]
    assert any(f"{score:.2f}" in line for line in lines), lines


@pytest.mark.parametrize("fault", ["shares/text", "basis/visual", "centre/text", "nan", "shape"])
def test_a_damaged_basis_is_named(made, tmp_path, fault):
    folder = tmp_path / "out"
    folder.mkdir()
    for file in (made[1] / "out").iterdir():
        if file.is_file():
            (folder / file.name).write_bytes(file.read_bytes())
    whole = load_file(folder / "scaling.safetensors")
    assert sorted(k for k in whole if k.endswith("/text")) == ["basis/text", "centre/text", "mean/text", "shares/text", "std/text"]
    change = {"nan": {"basis/text": whole["basis/text"] * np.nan}, "shape": {"basis/text": whole["basis/text"].T.copy()}}.get(fault)
    save_file({**whole, **change} if change else {k: v for k, v in whole.items() if k != fault}, folder / "scaling.safetensors")
    m, said = ("visual", "3 directions of 16") if "visual" in fault else ("text", "4 directions of 32")
    with pytest.raises(InputError, match=rf"scaling\.safetensors: {m}: expected {said} numbers, found something else; fit again"):
        open_run(folder).scaling()


@pytest.mark.parametrize("heard", [{"text": 4}, {**HEARD, "text": 33}, {**HEARD, "text": 0}, {**HEARD, "text": "4"}, []])
def test_widths_that_cannot_be_are_a_damaged_folder(made, tmp_path, heard):
    for name in ("config", "data", "metrics"):
        table = json.loads((made[1] / "out" / f"{name}.json").read_text())
        (tmp_path / f"{name}.json").write_text(json.dumps({**table, "heard": heard} if name == "data" else table))
    with pytest.raises(InputError, match=r"expected what fit writes into data\.json and metrics\.json"):
        open_run(tmp_path)


def test_of_several_processes_the_first_one_takes_the_directions(made, tmp_path):
    """Another machine's rounding could turn them: the others get a copy."""
    corpus, folder, _ = made
    told = open_run(folder / "out").scaling()

    class Second(Processes):
        def first(self, make: Any) -> Any:
            return told

    job = run_module._job(corpus, GraphSpec(tuple(corpus.modalities)), load_settings("bilstm", WORDS), None)
    parts, _ = run_module._make(job, "cpu", tmp_path, Second(1, 2))
    assert parts.data.scaling is told


def test_a_fold_has_directions_of_its_own(made, tmp_path):
    corpus, _, _ = made
    bases = []
    for fold in ("1", "2"):
        words = [*WORDS[:-1], "training.max_epochs=1", "data.folds=2", f"data.fold={fold}"]
        fit(corpus, GraphSpec(tuple(corpus.modalities)), load_settings("bilstm", words), tmp_path / fold, test=False)
        run = open_run(tmp_path / fold)
        bases.append(run.scaling().arrays()["basis/text"])
        own = Scaling.fit(run.division(corpus).corpus, heard=HEARD).arrays()["basis/text"]
        assert own.tobytes() == bases[-1].tobytes()
    assert not np.allclose(bases[0], bases[1])
