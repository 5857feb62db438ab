"""Sentiment's measures by hand and against scikit-learn and scipy, its loss against its definition, and what can be learnt of a target."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from helpers import assert_agrees, normal
from scipy.stats import pearsonr
from sentiment_cases import MOSEI, of_split, scored_corpus, with_scores
from sklearn import metrics as sk
from torch import Tensor

from dgl_merc.corpus import Corpus, Target
from dgl_merc.errors import InputError
from dgl_merc.evaluation.sentiment import ZEROS_COUNTED, ZEROS_LEFT_OUT, evaluate_sentiment, in_words
from dgl_merc.losses import absolute_error
from dgl_merc.training.settings import DataSettings, load_settings
from dgl_merc.training.splits import divide
from dgl_merc.training.task import choose_target, make_task, task_of

NOTHING = {"utterances": 0, "accuracy": None, "weighted_f1": None}


def predictions(true: Any, *, said: Any = None, positive: Any = None) -> pd.DataFrame:
    """A table as a run writes it: of a model of scores, or of one of classes."""
    positive = np.asarray(said) > 0 if positive is None else np.asarray(positive)
    table = pd.DataFrame({"score": np.asarray(true, dtype=np.float64), "predicted": np.where(positive, "positive", "negative")})
    return table if said is None else table.assign(predicted_score=np.asarray(said, dtype=np.float32))


# ---- measures


def test_both_conventions_by_hand():
    true = [2.0, -1.0, 0.0, 0.0, np.nan, -3.0, 1 / 3]
    got = evaluate_sentiment(predictions(true, positive=[1, 1, 1, 0, 1, 0, 0]), MOSEI)
    assert (got["utterances"], got["zeros"]) == (6, 2)
    assert set(got) == {"utterances", "zeros", "conventions"}, "a model of classes says no score"
    out, counted = got["conventions"][ZEROS_LEFT_OUT], got["conventions"][ZEROS_COUNTED]
    assert out == {"utterances": 4, "accuracy": 50.0, "weighted_f1": pytest.approx(50.0)}
    # true: 1 0 1 1 0 1, said: 1 1 1 0 0 0: of the 4 non-negative 2 are found, by 3 guesses; of the 2 negative 1, by 3
    assert counted["utterances"] == 6
    assert counted["accuracy"] == pytest.approx(50.0)
    assert counted["weighted_f1"] == pytest.approx(100 * (4 * 4 / 7 + 2 * 2 / 5) / 6)
    assert list(got["conventions"]) == ["negative / positive, zeros left out", "negative / non-negative, zeros counted"]


def test_distances_by_hand():
    got = evaluate_sentiment(predictions([2.0, -1.0, 0.0, np.nan, 3.0], said=[1.5, -2.5, 0.25, 9.0, 4.25]), MOSEI)
    assert got["mean_absolute_error"] == pytest.approx((0.5 + 1.5 + 0.25 + 1.25) / 4)
    assert got["seven_class_accuracy"] == pytest.approx(100 * 3 / 4), "1.5 is 2, -2.5 is -2, 0.25 is 0, 4.25 is 3"
    assert got["conventions"][ZEROS_LEFT_OUT]["accuracy"] == got["conventions"][ZEROS_COUNTED]["accuracy"] == 100


@pytest.mark.parametrize("seed", range(4))
def test_measures_are_those_of_scikit_learn_and_scipy(seed):
    rng = np.random.default_rng(seed)
    true = rng.integers(-9, 10, 90) / 3
    true[rng.random(90) < 0.2], true[rng.random(90) < 0.2] = 0, np.nan
    said = (0.5 * np.nan_to_num(true) + rng.standard_normal(90)).astype(np.float32)
    got = evaluate_sentiment(predictions(true, said=said), MOSEI)
    y, z = true[~np.isnan(true)], said[~np.isnan(true)].astype(np.float64)
    away = y != 0
    for name, a, b in ((ZEROS_LEFT_OUT, y[away] > 0, z[away] > 0), (ZEROS_COUNTED, y >= 0, z >= 0)):
        assert got["conventions"][name] == {
            "utterances": len(a),
            "accuracy": pytest.approx(100 * sk.accuracy_score(a, b)),
            "weighted_f1": pytest.approx(100 * sk.f1_score(a, b, average="weighted")),
        }
    assert got["conventions"][ZEROS_LEFT_OUT] != got["conventions"][ZEROS_COUNTED], "vacuous"
    assert got["mean_absolute_error"] == pytest.approx(sk.mean_absolute_error(y, z))
    assert got["pearson"] == pytest.approx(pearsonr(y, z).statistic)
    assert got["seven_class_accuracy"] == pytest.approx(100 * sk.accuracy_score(*(np.round(np.clip(x, -3, 3)).astype(int) for x in (y, z))))


def test_a_prediction_of_exactly_0_is_no_positive_and_no_negative_one():
    got = evaluate_sentiment(predictions([1.0, -1.0, 0.0], said=[0.0, 0.0, 0.0]), MOSEI)["conventions"]
    assert got[ZEROS_LEFT_OUT]["accuracy"] == 50.0, "y > 0 against z > 0: the negative one is right"
    assert got[ZEROS_COUNTED]["accuracy"] == pytest.approx(100 * 2 / 3), "y >= 0 against z >= 0: the other two are"


def test_zeros_alone():
    got = evaluate_sentiment(predictions([0.0, 0.0, np.nan], said=[0.5, -0.5, 1.0]), MOSEI)
    assert got["conventions"] == {
        ZEROS_LEFT_OUT: NOTHING,
        ZEROS_COUNTED: {"utterances": 2, "accuracy": 50.0, "weighted_f1": pytest.approx(200 / 3)},
    }
    assert (got["zeros"], got["mean_absolute_error"], got["pearson"]) == (2, 0.5, None)


@pytest.mark.parametrize("said", [None, [1.0, 2.0]])
def test_nothing_labelled(said):
    table = predictions([np.nan, np.nan], said=said, positive=[1, 0])
    for part in (table, table[:0]):
        got = evaluate_sentiment(part, MOSEI)
        assert got["conventions"] == {ZEROS_LEFT_OUT: NOTHING, ZEROS_COUNTED: NOTHING}
        assert {value for key, value in got.items() if key != "conventions"} <= {0, None}
        assert all("–" in line for line in in_words(got))


def test_one_class_alone_has_no_correlation():
    got = evaluate_sentiment(predictions([1.0, 1.0, 1.0], said=[1.0, 2.0, -0.75]), MOSEI)
    assert got["conventions"][ZEROS_LEFT_OUT] == got["conventions"][ZEROS_COUNTED]
    assert got["conventions"][ZEROS_COUNTED]["accuracy"] == pytest.approx(200 / 3)
    assert got["pearson"] is None, "one number does not vary"
    assert evaluate_sentiment(predictions([1.0, 2.0], said=[3.0, 3.0]), MOSEI)["pearson"] is None


def test_seven_classes_are_of_mosei_s_bounds_alone():
    table = predictions([0.5, -0.5], said=[0.5, -0.25])
    assert evaluate_sentiment(table, (-1.0, 1.0))["seven_class_accuracy"] is None
    assert evaluate_sentiment(table, MOSEI)["seven_class_accuracy"] == 100.0


def test_in_words():
    table = predictions([2.0, -1.0, 0.0], said=[1.0, -1.0, -1.0])
    assert in_words(evaluate_sentiment(table, MOSEI)) == [
        "negative / positive, zeros left out: weighted F1 100.00, accuracy 100.00, 2 utterances",
        "negative / non-negative, zeros counted: weighted F1 66.67, accuracy 66.67, 3 utterances",
        "mean absolute error 0.667, Pearson correlation 0.945, seven-class accuracy 33.33",
    ]
    assert len(in_words(evaluate_sentiment(table.drop(columns="predicted_score"), MOSEI))) == 2
    assert in_words({}) == []


# ---- the loss

SCORES = torch.tensor([2.0, float("nan"), 0.0, -1.25, float("nan"), 0.5], dtype=torch.float64)


def error_loop(guess: Tensor) -> Tensor:
    """The definition, one utterance at a time."""
    total, count = guess.new_zeros(()), 0
    for z, y in zip(guess, SCORES.tolist(), strict=True):
        if not math.isnan(y):
            total, count = total + (z - y if z > y else y - z), count + 1
    return total / count


def test_the_loss_is_its_definition():
    assert_agrees(lambda z: absolute_error(z, SCORES), error_loop, 2 * normal(6, seed=1))
    assert torch.autograd.gradcheck(lambda z: absolute_error(z, SCORES), (normal(6, seed=1).requires_grad_(),))
    assert float(absolute_error(torch.tensor([1.0, 0.0, 3.0]), torch.tensor([2.0, 0.0, 0.0]))) == pytest.approx(4 / 3), "zeros count"


@pytest.mark.parametrize("hostile", [float("nan"), float("inf"), -1e308])
def test_utterances_without_a_score_have_no_part_in_the_loss(hostile):
    known = ~SCORES.isnan()
    guess = normal(6, seed=2)
    want = absolute_error(guess[known], SCORES[known])
    guess[~known] = hostile
    guess.requires_grad_()
    loss = absolute_error(guess, SCORES)
    loss.backward()
    assert torch.equal(loss, want)
    assert (guess.grad[~known] == 0).all()
    assert (guess.grad[known] != 0).all()


@pytest.mark.parametrize("count", [0, 3])
def test_without_a_score_the_loss_is_zero_with_a_gradient_of_zero(count):
    guess = torch.ones(count, requires_grad=True)
    loss = absolute_error(guess, torch.full((count,), float("nan")))
    loss.backward()
    assert loss.item() == 0
    assert torch.equal(guess.grad, torch.zeros(count))


def test_the_loss_is_at_least_float32_and_names_shapes():
    assert absolute_error(torch.ones(2, dtype=torch.bfloat16), torch.zeros(2)).dtype == torch.float32
    assert absolute_error(torch.ones(2, dtype=torch.float64), torch.zeros(2)).dtype == torch.float64
    for guess, scores in ((torch.ones(2, 1), torch.ones(2)), (torch.ones(2), torch.ones(3)), (torch.ones(1, 2), torch.ones(1, 2))):
        with pytest.raises(ValueError, match=r"must both be \[U\], found \["):
            absolute_error(guess, scores)


# ---- what can be learnt of a target


@pytest.fixture(scope="module")
def corpus() -> Corpus:
    return scored_corpus()


def test_labels_are_the_signs_of_scores(corpus):
    scores = corpus.utterances["sentiment"].to_numpy(dtype=float)
    assert (scores == 0).any()
    assert np.isnan(scores).any()
    want = ["negative" if s < 0 else "positive" if s > 0 else None for s in scores]
    assert corpus.label_names("sentiment").tolist() == want
    assert corpus.labels("sentiment").tolist() == [{"negative": 0, "positive": 1, None: -1}[w] for w in want]
    both = scored_corpus(emotion=True)
    felt = both.utterances["emotion"]
    assert both.label_names("emotion").tolist() == felt.astype(object).where(felt.notna(), None).tolist()


def test_the_task_of_a_range(corpus):
    task, score = task_of(corpus, "sentiment"), task_of(corpus, "sentiment", "score")
    assert task.names == score.names == ("negative", "positive")
    assert (task.outputs, score.outputs) == (2, 1)
    assert task.columns == ("label", "predicted", "score", "p_negative", "p_positive")
    assert score.columns == ("label", "predicted", "score", "predicted_score")
    assert task != score
    assert score == make_task("score", "sentiment", ["negative", "positive"], [-3, 3])
    truth = corpus.utterances["sentiment"].to_numpy(dtype=np.float32)
    np.testing.assert_array_equal(score.truth(corpus).numpy(), truth)
    assert score.known(score.truth(corpus)).tolist() == (~np.isnan(truth)).tolist(), "zeros are learnt from"
    assert task.known(task.truth(corpus)).tolist() == (np.nan_to_num(truth) != 0).tolist(), "zeros are no class"
    assert score.predicted(np.array([[0.1], [0.0], [-0.1]])).tolist() == [1, 0, 0]
    with pytest.raises(ValueError, match="sentiment has no bounds"):
        make_task("score", "sentiment", ["a", "b"], None)


def test_which_target_is_learnt(corpus):
    assert choose_target(corpus) == "sentiment", "the only one"
    both = scored_corpus(emotion=True)
    assert (choose_target(both), choose_target(both, "sentiment")) == ("emotion", "sentiment")
    tone = replace(
        both, utterances=both.utterances.assign(tone="joy"), targets={"tone": Target("classes", ("joy", "fear")), **both.targets}
    )
    assert choose_target(tone) == "emotion", "where it exists"
    classes = both.targets["emotion"]
    mood = Corpus.build(
        "x", both.utterances.rename(columns={"emotion": "mood"}), both.features, {"mood": classes, "sentiment": both.targets["sentiment"]}
    )
    assert choose_target(mood) == "mood", "as before there were scores: the only one of classes"
    two = replace(
        corpus, utterances=corpus.utterances.assign(arousal=1.0), targets={**corpus.targets, "arousal": Target("range", bounds=(0, 5))}
    )
    with pytest.raises(InputError, match=r"found sentiment, arousal; pass --set data\.target=NAME"):
        choose_target(two)
    assert choose_target(two, "sentiment") == "sentiment"
    with pytest.raises(InputError, match=r"arousal: expected bounds with 0 strictly inside, .*found scores from 0 to 5"):
        choose_target(two, "arousal")
    with pytest.raises(
        InputError, match=r"data\.learn=score: .*kind range, found emotion of kind classes; pass --set data\.target=sentiment"
    ):
        task_of(both, "emotion", "score")


@pytest.mark.parametrize("word", ["class_weights=balanced", "class_weights=sqrt", "focal=.5", "label_smoothing=.1"])
def test_settings_of_classes_are_refused_for_a_score(word):
    assert load_settings("bilstm", [f"training.{word}"]).data.learn == "classes"
    with pytest.raises(
        InputError, match=rf"data\.learn=score: expected training\.{word.partition('=')[0]} = (none|0\.0), found .*: a score has no"
    ):
        load_settings("bilstm", ["data.learn=score", f"training.{word}"])


def test_splits_are_hashed_by_which_are_labelled_and_how(corpus):
    def hashes(c: Corpus) -> Any:
        return {s: (v["labelled"], v["sha256"]) for s, v in divide(c, "sentiment", DataSettings()).to_json("sentiment")["splits"].items()}

    scores, test = corpus.utterances["sentiment"].to_numpy(dtype=float).copy(), of_split(corpus, "test")
    assert hashes(with_scores(corpus, 0.5 * scores)) == hashes(corpus), "the same signs"
    flipped = hashes(with_scores(corpus, np.where(test, -scores, scores)))
    assert flipped["train"] == hashes(corpus)["train"]
    assert flipped["test"] != hashes(corpus)["test"]
    assert hashes(corpus)["test"][0] == int((np.nan_to_num(scores[test]) != 0).sum())
