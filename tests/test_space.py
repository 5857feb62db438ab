"""How labels lie in space: neighbours against a loop, planes of odd spaces, and what enters a model and its head."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from predict_cases import SMALL
from sentiment_cases import run, scored_corpus

from dgl_merc.corpus import Corpus
from dgl_merc.evaluation.space import neighbour_accuracy, perplexity_of, plane
from dgl_merc.models import MODELS, ModelInput, build_model
from dgl_merc.reports.space import space_figure, space_page
from dgl_merc.training import load_settings, space
from dgl_merc.training.data import DialogueData
from dgl_merc.training.prediction import predict
from dgl_merc.training.run_folder import open_run
from dgl_merc.training.space import describe_spaces, spaces

pytestmark = pytest.mark.xdist_group("space")  # its runs are made once


def accuracy_by_loop(x: Any, labels: Any, dialogues: Any, k: int) -> float:
    right = 0
    for u in range(len(x)):
        others = [v for v in range(len(x)) if dialogues[v] != dialogues[u]]
        near = sorted(others, key=lambda v: sum((a - b) ** 2 for a, b in zip(x[u], x[v], strict=True)))[:k]
        votes = {label: sum(labels[v] == label for v in near) for label in labels}
        tied = [label for label in votes if votes[label] == max(votes.values())]
        right += next(labels[v] for v in near if labels[v] in tied) == labels[u]
    return 100 * right / len(x)


def points(seed: int, n: int = 40, width: int = 3, dialogues: int = 5) -> tuple[Any, Any, Any]:
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, 4, n)
    return rng.normal(0, 1, (n, width)) + 0.8 * np.eye(4, width)[labels], labels, rng.integers(0, dialogues, n)


@pytest.mark.parametrize("k", [1, 2, 3, 10, 35, 99])
@pytest.mark.parametrize("seed", [0, 1])
def test_neighbours_against_the_loop(seed, k):
    x, labels, dialogues = points(seed)
    want = accuracy_by_loop(x.tolist(), labels.tolist(), dialogues.tolist(), k)
    assert neighbour_accuracy(x, labels, dialogues, k) == pytest.approx(want)
    assert neighbour_accuracy((1e20 * x).astype(np.float32), labels, dialogues, k) == pytest.approx(want), "it has a unit"


def test_the_utterances_of_the_own_dialogue_have_no_vote():
    x = np.array([[0.0], [0.1], [5.0], [5.1]])  # dialogue by dialogue together, labels within a dialogue the same
    labels, dialogues = np.array([0, 0, 1, 1]), np.array([0, 0, 1, 1])
    assert neighbour_accuracy(x, labels, dialogues, 1) == 0
    assert neighbour_accuracy(x, labels, np.array([0, 1, 2, 3]), 1) == 100
    assert neighbour_accuracy(x, labels, np.zeros(4, dtype=int)) is None


def test_other_shapes_are_refused():
    x, labels, dialogues = points(0)
    for given in ((x[0], labels, dialogues), (x, labels[1:], dialogues), (x, labels, dialogues[1:]), (x[:0], labels[:0], dialogues[:0])):
        with pytest.raises(ValueError, match=r"x must be \[N, D\]"):
            neighbour_accuracy(*given)
    with pytest.raises(ValueError, match="k at least 1"):
        neighbour_accuracy(x, labels, dialogues, 0)
    with pytest.raises(ValueError, match="N at least 4"):
        plane(x[:3])


@pytest.mark.parametrize("shape", [(4, 3), (10, 1), (11, 2), (12, 70)])
def test_a_plane_of_few_points_and_of_one_dimension(shape):
    x = np.random.default_rng(0).normal(0, 1, shape)
    found = plane(x)
    assert found.shape == (shape[0], 2)
    assert np.isfinite(found).all()
    assert np.ptp(found, axis=0)[0] > 0
    assert np.array_equal(found, plane(x)), "the seed does not settle it"


def test_a_plane_of_one_point_and_of_great_numbers():
    assert not plane(np.full((12, 3), 0.1)).any()
    x = np.random.default_rng(0).normal(0, 1, (20, 3)).astype(np.float32)
    assert np.isfinite(plane(np.float32(1e30) * x)).all()
    assert [perplexity_of(n) for n in (4, 31, 91, 500)] == [1, 10, 30, 30]


# ---- what a model is given, and its head


@pytest.fixture(scope="module")
def made(unpainted: None, tmp_path_factory: pytest.TempPathFactory) -> tuple[Corpus, dict[str, Path]]:
    """A corpus in which utterances lack modalities, and runs on it, one of them of scores."""
    folder, corpus = tmp_path_factory.mktemp("space"), scored_corpus(emotion=True)
    words = ("training.max_epochs=1",)
    for preset in ("bilstm", "mglra"):
        run(corpus, folder / preset, "classes", preset, (*words, "data.target=emotion"))
    run(corpus, folder / "score", "score", "bilstm", (*words, "data.target=sentiment"))
    return corpus, {name: folder / name for name in ("bilstm", "mglra", "score")}


def opened(corpus: Corpus, place: Path) -> tuple[Any, DialogueData, Any]:
    saved = open_run(place)
    return saved.model(), saved.dialogue_data(saved.division(corpus).corpus), corpus.in_split("test")


@pytest.mark.parametrize("preset", MODELS)
def test_what_enters_the_head_makes_the_answers(made, preset):
    corpus, places = made
    _, data, test = opened(corpus, places["bilstm"])
    torch.manual_seed(0)
    given = ModelInput({m: about.width for m, about in corpus.modalities.items()}, data.task.outputs, data.spec)
    own = ["model.dynamics.share=0"] if preset in ("mglra", "sgrnet") else []  # a second opinion does not come from this space
    model = build_model(preset, given, load_settings(preset, [*SMALL[preset], *own]).options)
    seen = spaces(model, data, test[::-1])
    answers, rows, _ = predict(model, data, test)
    assert np.array_equal(seen.rows, rows)
    with torch.inference_mode():
        again = data.task.answers(model.head(torch.from_numpy(seen.after))).numpy()
    np.testing.assert_allclose(again, answers, rtol=0, atol=1e-6)
    assert not model.head._forward_pre_hooks, "the hook was left"
    assert (np.ptp(answers, axis=0).max() > 1e-4) == (preset != "majority"), "vacuous: all answers are the same"


def test_what_a_model_is_given_is_its_scaled_features_or_zeros(made):
    corpus, places = made
    model, data, test = opened(corpus, places["mglra"])
    seen = spaces(model, data, test)
    absent = 0
    for row, x in zip(seen.rows, seen.before, strict=True):
        start = 0
        for k, (m, about) in enumerate(corpus.modalities.items()):
            part, start = x[start : start + about.width], start + about.width
            if not corpus.presence[row, k]:
                assert not part.any()
                absent += 1
                continue
            raw = np.asarray(corpus.features[m][int(corpus.presence[:row, k].sum())], dtype=np.float64)
            np.testing.assert_allclose(part, (raw - data.scaling.mean[m]) / data.scaling.std[m], rtol=1e-4, atol=1e-4)
        assert start == len(x)
    assert absent, "vacuous: nothing is absent"


@pytest.mark.parametrize("name", ["bilstm", "score"])
def test_the_utterances_are_drawn_from_the_labelled_ones(made, name, monkeypatch):
    corpus, places = made
    model, data, test = opened(corpus, places[name])
    mine = (corpus.utterances["split"] == "test").to_numpy()
    known = corpus.utterances[mine & (data.labels >= 0)]
    about, table = describe_spaces(model, data, "test", test)
    assert (about["split"], about["labelled"], about["utterances"]) == ("test", len(known), len(known))
    pd.testing.assert_frame_equal(
        table[["dialogue_id", "position"]], known[["dialogue_id", "position"]].reset_index(drop=True), check_dtype=False
    )
    assert table["label"].tolist() == corpus.label_names(data.task.target)[known.index].tolist()
    seen = spaces(model, data, test)
    at = np.flatnonzero(np.isin(seen.rows, known.index))
    labels, dialogues = data.labels[seen.rows[at]], pd.factorize(known["dialogue_id"])[0]
    for key, x in (("before", seen.before[at]), ("after", seen.after[at])):
        assert about["accuracy"][key] == pytest.approx(
            accuracy_by_loop(x.astype(np.float64).tolist(), labels.tolist(), dialogues.tolist(), 10)
        )
        assert about["widths"][key] == x.shape[1]
        assert np.isfinite(table[[f"{key}_1", f"{key}_2"]].to_numpy()).all()
    assert about["most_frequent"] == pytest.approx(
        100 * known[data.task.target].map(np.sign if name == "score" else str).value_counts().max() / len(known)
    )
    monkeypatch.setattr(space, "_MOST", 15)
    fewer, drawn = describe_spaces(model, data, "test", test)
    assert (fewer["labelled"], fewer["utterances"], len(drawn)) == (len(known), 15, 15)
    keys = list(map(tuple, drawn[["dialogue_id", "position"]].to_numpy()))
    assert len(set(keys)) == 15
    assert drawn.equals(describe_spaces(model, data, "test", test)[1])
    assert keys != list(map(tuple, known[["dialogue_id", "position"]].to_numpy()[:15])), "the first ones, not drawn"


def test_too_few_utterances_are_a_reason(made):
    corpus, places = made
    model, data, test = opened(corpus, places["bilstm"])
    labels = np.where(np.arange(len(data.labels)) < corpus.offsets[test[0]] + 12, data.labels, -1)
    data.labels = labels
    left = int((labels[corpus.offsets[test[0]] :] >= 0).sum())
    assert 10 <= left <= 12
    assert "reason" not in describe_spaces(model, data, "test", test)[0]
    data.labels = np.where(np.cumsum(labels >= 0) <= (labels >= 0).sum() - (left - 9), labels, -1)
    about, table = describe_spaces(model, data, "test", test)
    assert about["reason"] == "of test, 9 utterances are labelled; t-SNE wants 10 or more"
    assert len(table) == 0
    assert space_page(about)["reason"] == about["reason"]


def test_a_model_that_knows_one_point_has_a_plane(made):
    corpus, places = made
    model, data, test = opened(corpus, places["bilstm"])
    with torch.no_grad():
        for parameter in model.encoder.parameters():
            parameter.zero_()
    about, table = describe_spaces(model, data, "test", test)
    assert not table[["after_1", "after_2"]].to_numpy().any()
    assert table["before_1"].to_numpy().any()
    space_figure(table, data.task.names)
    assert about["accuracy"]["after"] is not None


def test_every_class_has_its_own_dots_and_name():
    names = ["_hidden", "$x_{$", "a" * 60, *(f"class {k}" for k in range(17)), "never"]
    rng = np.random.default_rng(0)
    table = pd.DataFrame({"label": [n for n in names[:-1] for _ in range(3)]})
    table = table.assign(**{c: rng.normal(0, 1, len(table)) for c in ("before_1", "before_2", "after_1", "after_2")})
    figure = space_figure(table, names)
    figure.canvas.draw()
    (legend,) = figure.legends
    said = [text.get_text().strip() for text in legend.get_texts()]
    assert said == ["_hidden", "$x_{$", "a" * 23 + "…", *names[3:-1]]
    styles = set()
    for axes in figure.axes:
        assert len(axes.collections) == len(names) - 1
        for name, dots in zip(names, axes.collections, strict=False):
            part = table[table["label"] == name]
            prefix = "before" if axes is figure.axes[0] else "after"
            np.testing.assert_allclose(np.asarray(dots.get_offsets()), part[[f"{prefix}_1", f"{prefix}_2"]].to_numpy())
            styles.add((name, tuple(dots.get_facecolor()[0][:3]), dots.get_paths()[0].vertices.tobytes()))
    assert len(styles) == len({s[1:] for s in styles}) == len(names) - 1, "two classes look the same"


def test_the_page_says_of_how_many_it_is():
    about = {"split": "dev", "labelled": 900, "utterances": 500, "widths": {"before": 72, "after": 30}, "neighbours": 10}
    about |= {"accuracy": {"before": 36.04, "after": None}, "most_frequent": 32.25}
    page = space_page(about)
    assert page["drawn"] == "500 of 900 labelled utterances"
    assert page["rows"] == [["before", "72", "36.0"], ["after", "30", "–"], ["always the most frequent label", "", "32.2"]]
    assert space_page({**about, "utterances": 900})["drawn"] == "the 900 labelled utterances"
    assert space_page(None)["split"] == ""
