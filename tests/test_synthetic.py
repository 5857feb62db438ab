"""The embedded corpus is drawn as its world says, and its ceilings are exact: held to enumeration, and to conditions."""

from __future__ import annotations

from dataclasses import replace
from itertools import product

import numpy as np
import pytest
from scipy.stats import chi2_contingency, norm
from sklearn.metrics import accuracy_score, f1_score

from dgl_merc.corpus import Corpus, Target, open_corpus, save_corpus
from dgl_merc.corpus.bayes import RESAMPLES, ceiling_of, ceilings, log_emissions, posterior, weighted_f1
from dgl_merc.corpus.synthetic import synthetic_corpus
from dgl_merc.corpus.world import WORLD, View, World, generator
from dgl_merc.errors import InputError

pytestmark = pytest.mark.xdist_group("synthetic")

K = len(WORLD.emotions)
EVERY = ("text", "audio", "visual")
ALL = "+".join(EVERY)
FROZEN = "e1e14ce00dc67b619b74c9be2236f2da9b73d31ce6de9625a21658f5ecf33510"
SPEAKERS = [[3], [7, 7, 7], [0, 1, 0, 1], [0, 0, 1, 1, 0], [2, 0, 1, 0, 2], [1, 1, 2, 3, 1], [5, 2, 9, 9, 2]]


@pytest.fixture(scope="module")
def corpus() -> Corpus:
    return synthetic_corpus()


@pytest.fixture(scope="module")
def truth() -> Corpus:
    """Every emotion told: with nothing unlabelled, a column is the state that the model hides."""
    return synthetic_corpus(5, (800, 0, 0), with_ceilings=False, world=replace(WORLD, unlabelled=0.0))


# ---- inference


def probability(own: int | None, other: int | None, e: int, world: World) -> float:
    """The transition, as the model's formula reads."""
    base, rest = world.base[e], 1 - world.inertia - world.contagion
    stay = base if own is None else float(own == e)
    follow = base if other is None else float(world.suggestion[other, e])
    return world.inertia * stay + world.contagion * follow + rest * base


def enumerate_posterior(logs, speakers, world):
    """[N, K] p(e_t | all of logs) by summing over all K^N sequences of emotions."""
    total = np.zeros_like(logs)
    for emotions in product(range(K), repeat=len(speakers)):
        weight = 1.0
        for t, e in enumerate(emotions):
            own = next((emotions[i] for i in range(t - 1, -1, -1) if speakers[i] == speakers[t]), None)
            other = next((emotions[i] for i in range(t - 1, -1, -1) if speakers[i] != speakers[t]), None)
            weight *= probability(own, other, e, world) * np.exp(logs[t, e])
        for t, e in enumerate(emotions):
            total[t, e] += weight
    return total / total.sum(axis=1, keepdims=True)


def observations(speakers, seed=0):
    """[N, K] random log-likelihoods; the second turn shows nothing at all."""
    logs = 1.5 * np.random.default_rng(seed).standard_normal((len(speakers), K))
    logs[1:2] = 0
    return logs


@pytest.mark.parametrize("speakers", SPEAKERS, ids=str)
def test_offline_posterior_is_that_of_enumeration(speakers):
    logs = observations(speakers)
    got = posterior(logs, np.array(speakers), causal=False)
    np.testing.assert_allclose(got, enumerate_posterior(logs, speakers, WORLD), rtol=0, atol=1e-10)


@pytest.mark.parametrize("speakers", SPEAKERS, ids=str)
def test_causal_posterior_is_that_of_enumerating_the_past(speakers):
    logs = observations(speakers, seed=1)
    got = posterior(logs, np.array(speakers), causal=True)
    for t in range(len(speakers)):
        past = enumerate_posterior(logs[: t + 1], speakers[: t + 1], WORLD)
        np.testing.assert_allclose(got[t], past[t], rtol=0, atol=1e-10)


def test_a_world_without_contagion_is_enumerated_as_well():
    world, speakers = replace(WORLD, contagion=0.0, inertia=0.8), [0, 1, 1, 0]
    logs = observations(speakers, seed=2)
    got = posterior(logs, np.array(speakers), world, causal=False)
    np.testing.assert_allclose(got, enumerate_posterior(logs, speakers, world), rtol=0, atol=1e-10)
    assert np.abs(got - posterior(logs, np.array(speakers), causal=False)).max() > 1e-2


def test_observations_of_one_conversation_together_are_those_alone():
    speakers = np.array([0, 1, 2, 0, 1, 1])
    logs = np.stack([observations(speakers, seed) for seed in range(4)]).reshape(2, 2, 6, K)
    for causal in (False, True):
        alone = [[posterior(x, speakers, causal=causal) for x in row] for row in logs]
        np.testing.assert_allclose(posterior(logs, speakers, causal=causal), alone, rtol=0, atol=1e-12)


def test_who_is_who_does_not_matter():
    logs = observations(range(6))
    named = posterior(logs, np.array([0, 1, 2, 0, 1, 1]), causal=False)
    renamed = posterior(logs, np.array([8, 3, 5, 8, 3, 3]), causal=False)
    np.testing.assert_allclose(named, renamed, rtol=0, atol=1e-12)


@pytest.mark.parametrize("causal", [False, True])
def test_certain_observations_and_long_dialogues_stay_finite(causal):
    speakers = np.arange(400) % 3
    logs = np.where(np.arange(K) == (np.arange(400) % K)[:, None], 0.0, -1e4)
    got = posterior(logs, speakers, causal=causal)
    np.testing.assert_array_equal(got.argmax(axis=1), np.arange(400) % K)
    np.testing.assert_allclose(got.sum(axis=1), 1, atol=1e-12)


def test_without_observations_every_turn_is_distributed_as_base():
    for causal in (False, True):
        blind = posterior(np.zeros((12, K)), np.array([0, 1, 1, 0, 2, 2, 1, 0, 2, 1, 0, 0]), causal=causal)
        np.testing.assert_allclose(blind, np.tile(WORLD.base, (12, 1)), rtol=0, atol=1e-10)


def test_nothing_said_nothing_known():
    assert posterior(np.zeros((0, K)), np.zeros(0, dtype=np.int64), causal=False).shape == (0, K)


@pytest.mark.parametrize("shape", [(4, K), (3, K + 1), (K,)])
def test_a_posterior_of_shapes_that_do_not_fit_is_refused(shape):
    with pytest.raises(ValueError, match=r"\[\.\.\., N, K=6\] and \[N\]"):
        posterior(np.zeros(shape), np.zeros(3, dtype=np.int64), causal=True)


# ---- the world


def test_the_world_is_frozen():
    assert WORLD.fingerprint == FROZEN
    assert replace(WORLD, keep=0.21).fingerprint != FROZEN


def test_suggestions_are_reversible_distributions_that_prefer_kin():
    joint = np.array(WORLD.base)[:, None] * WORLD.suggestion
    np.testing.assert_allclose(WORLD.suggestion.sum(axis=1), 1, atol=1e-12)
    np.testing.assert_allclose(joint, joint.T, atol=1e-12)
    named = {e: i for i, e in enumerate(WORLD.emotions)}
    of_anger = WORLD.suggestion[named["angry"]]
    assert of_anger[named["frustrated"]] > 5 * of_anger[named["happy"]]


def test_transitions_are_distributions():
    assert WORLD.transition.shape == (K + 1, K + 1, K)
    np.testing.assert_allclose(WORLD.transition.sum(axis=-1), 1, atol=1e-12)


@pytest.mark.parametrize("view", WORLD.views, ids=lambda view: view.name)
def test_a_gain_is_a_distance_in_deviations(view: View):
    means = WORLD.columns[view.name][0]
    places = np.array(WORLD.affect) * [view.valence, view.arousal]
    np.testing.assert_allclose(means @ means.T, places @ places.T, atol=1e-10)


@pytest.mark.parametrize("view", WORLD.views, ids=lambda view: view.name)
def test_log_likelihood_is_that_of_the_normal_density(view: View):
    means, scale, offset = WORLD.columns[view.name]
    x = offset + scale * np.random.default_rng(0).standard_normal((9, view.width))
    density = np.stack([norm(offset + scale * mean, scale).logpdf(x).sum(axis=1) for mean in means], axis=1)
    got = WORLD.log_likelihood(view, x)
    np.testing.assert_allclose(got - got[:, :1], density - density[:, :1], atol=1e-9)
    with pytest.raises(ValueError, match=rf"\[R, W={view.width}\], got \[9, 3\]"):
        WORLD.log_likelihood(view, x[:, :3])


@pytest.mark.parametrize("fields", [{"base": (1.0,)}, {"base": (0.5, 0.5, 0.5, 0.5, 0.5, -1.5)}, {"inertia": 0.7}, {"contagion": -0.1}])
def test_a_world_without_distributions_is_refused(fields):
    with pytest.raises(ValueError, match="must"):
        replace(WORLD, **fields)


def test_streams_differ_by_purpose_and_key():
    keys = [("a",), ("b",), ("a", 1), ("a", 1, 2), ("a", 2, 1)]
    assert len({generator(*key).random() for key in keys}) == len(keys)
    assert generator("a", 1).random() == generator("a", 1).random()


# ---- the draw


def test_a_corpus_is_made_again_by_its_seed():
    first, again, other = (synthetic_corpus(seed, (6, 2, 4), with_ceilings=False) for seed in (3, 3, 4))
    assert first.content_sha256 == again.content_sha256 != other.content_sha256


def test_a_dialogue_is_the_same_whatever_the_sizes():
    large, small = (synthetic_corpus(1, size, with_ceilings=False) for size in ((9, 2, 5), (1, 0, 3)))
    for name in ("train/0", "test/2"):
        a, b = large.dialogue(name), small.dialogue(name)
        assert a.utterances.reset_index(drop=True).equals(b.utterances.reset_index(drop=True))
        for m in EVERY:
            np.testing.assert_array_equal(a.features[m], b.features[m])
    assert not large.dialogue("train/0").utterances["text"].equals(large.dialogue("train/1").utterances["text"])


@pytest.mark.parametrize("call", [(0, (0, 0, 0)), (0, (2, -1, 3)), (-1, (1, 1, 1))])
def test_a_draw_of_nothing_is_refused(call):
    with pytest.raises(InputError, match="at least one dialogue"):
        synthetic_corpus(*call)


def test_sizes_and_shapes(corpus: Corpus):
    assert [len(corpus.in_split(s)) for s in ("train", "dev", "test")] == [600, 100, 300]
    assert (corpus.lengths.min(), corpus.lengths.max()) == (8, 40)
    assert {m: v.width for m, v in corpus.modalities.items()} == {"text": 32, "audio": 24, "visual": 16}
    speakers = corpus.utterances.groupby("dialogue_id")["speaker"].nunique()
    assert set(speakers) <= {1, 2, 3}
    assert {2, 3} <= set(speakers)
    assert corpus.targets["emotion"].labels == WORLD.emotions
    assert (~corpus.presence.any(axis=1)).any(), "some utterances should have no modality at all"


def test_times_follow_each_other_and_text_tells_nothing(corpus: Corpus):
    table = corpus.utterances
    assert (table["end"] > table["start"]).all()
    assert (table["start"].to_numpy()[1:] > table["end"].to_numpy()[:-1])[table["position"].to_numpy()[1:] > 0].all()
    pattern = "turn " + (table["position"] + 1).astype("str") + " of " + table["speaker"].str.split("/").str[-1]
    assert (table["text"] == pattern).all()


def test_columns_need_scaling(corpus: Corpus):
    for x in corpus.features.values():
        assert x.std(axis=0).max() > 5 * x.std(axis=0).min()
        assert np.abs(x.mean(axis=0)).max() > 1


def deviation(hits, probabilities) -> float:
    """By how many standard deviations a count of independent events misses its expectation."""
    p = np.asarray(probabilities, dtype=np.float64)
    return abs(np.sum(hits) - p.sum()) / np.sqrt((p * (1 - p)).sum())


def heard(c: Corpus):
    """[U] own last emotion and that of the others' last turn (K = none), found by looking back turn by turn."""
    labels, speakers, own, other = c.labels("emotion"), c.local_speakers, [], []
    for lo, hi in zip(c.offsets[:-1], c.offsets[1:], strict=True):
        for t in range(lo, hi):
            back = range(t - 1, lo - 1, -1)
            own.append(next((labels[i] for i in back if speakers[i] == speakers[t]), K))
            other.append(next((labels[i] for i in back if speakers[i] != speakers[t]), K))
    return np.array(own), np.array(other)


def test_emotions_move_as_the_transition_says(truth: Corpus):
    emotion, (own, other) = truth.labels("emotion"), heard(truth)
    expected = WORLD.transition[own, other]
    for heard_of in (own, other):
        for c, e in product(range(K + 1), range(K)):
            rows = heard_of == c
            assert deviation(emotion[rows] == e, expected[rows, e]) < 4.5, (c, e)
    changed = (own < K) & (other < K) & (own != other)
    assert (emotion == own)[changed].mean() == pytest.approx(WORLD.inertia + 0.065, abs=0.02)  # by base, and from kin


def test_speakers_keep_the_turn_as_often_as_the_world_says(truth: Corpus):
    speakers, later = truth.local_speakers, truth.utterances["position"].to_numpy()[1:] > 0
    same = (speakers[1:] == speakers[:-1])[later]
    assert deviation(same, np.full(len(same), WORLD.keep)) < 4
    three = truth.utterances.groupby("dialogue_id")["speaker"].nunique() == 3
    assert three.mean() == pytest.approx(WORLD.three, abs=0.06)


def test_modalities_go_missing_at_their_rate_and_for_no_reason(truth: Corpus):
    labels = truth.labels("emotion")
    for m, view in enumerate(WORLD.views):
        there = truth.presence[:, m]
        assert deviation(~there, np.full(len(there), view.missing)) < 4
        table = [[np.sum(there[labels == e] == value) for e in range(K)] for value in (False, True)]
        assert chi2_contingency(table).pvalue > 1e-4
    for a, b in ((0, 1), (0, 2), (1, 2)):
        pair = truth.presence[:, [a, b]].astype(int)
        assert chi2_contingency([[np.sum((pair == (i, j)).all(axis=1)) for j in (0, 1)] for i in (0, 1)]).pvalue > 1e-4


def test_labels_are_few_less_and_not_even(corpus: Corpus):
    labels = corpus.labels("emotion")
    assert deviation(labels < 0, np.full(len(labels), WORLD.unlabelled)) < 4
    shares = np.bincount(labels[labels >= 0]) / (labels >= 0).sum()
    np.testing.assert_allclose(shares, WORLD.base, atol=0.02)
    assert shares.max() > 2 * shares.min()


# ---- the ceilings


def test_source_says_what_was_drawn(corpus: Corpus):
    assert {k: corpus.source[k] for k in ("kind", "seed", "world")} == {"kind": "synthetic", "seed": 0, "world": FROZEN}
    assert set(corpus.source["ceilings"]) == {ALL, "text+audio", "text+visual", "audio+visual", *EVERY}
    assert all(set(modes) == {"offline", "causal", "no context"} for modes in corpus.source["ceilings"].values())


def test_the_conditions_of_the_frozen_parameters(corpus: Corpus):
    found = {key: {mode: s["accuracy"] for mode, s in modes.items()} for key, modes in corpus.source["ceilings"].items()}
    assert 75 <= found[ALL]["offline"] <= 85
    assert 75 <= found[ALL]["causal"] <= 85
    assert found[ALL]["no context"] <= found[ALL]["causal"] - 8
    assert found[ALL]["no context"] <= found[ALL]["offline"] - 10
    assert max(found[m]["offline"] for m in EVERY) <= found[ALL]["offline"] - 8
    assert found["text"]["offline"] > found["audio"]["offline"] > found["visual"]["offline"]


def test_without_context_an_utterance_is_a_dialogue_of_its_own(corpus: Corpus):
    test = (corpus.utterances["split"] == "test").to_numpy() & (corpus.labels("emotion") >= 0)
    true, logs = corpus.labels("emotion")[test], log_emissions(corpus)[:, test]
    for m, name in enumerate(EVERY):
        alone = posterior(logs[m][:, None], np.zeros(1, dtype=np.int64), causal=True)[:, 0].argmax(axis=1)
        score = corpus.source["ceilings"][name]["no context"]["accuracy"]
        assert score == pytest.approx(100 * accuracy_score(true, alone), abs=1e-9)


def test_less_knowledge_is_a_lower_ceiling(corpus: Corpus):
    found = corpus.source["ceilings"]
    for key, modes in found.items():
        assert modes["offline"]["accuracy"] > modes["causal"]["accuracy"] > modes["no context"]["accuracy"], key
        for more in found:
            if set(key.split("+")) < set(more.split("+")):
                for mode, scores in modes.items():
                    assert scores["accuracy"] < found[more][mode]["accuracy"], (key, more, mode)


def test_intervals_hold_their_value_and_are_as_wide_as_the_draw_varies(corpus: Corpus):
    for modes in corpus.source["ceilings"].values():
        for scores in modes.values():
            for name in ("accuracy", "weighted_f1"):
                lo, hi = scores[f"{name}_interval"]
                assert lo < scores[name] < hi
                assert 1 < hi - lo < 5  # 7,000 utterances alone would give 1.9 at 80 %
    assert RESAMPLES >= 1000


def test_ceilings_are_the_scores_of_the_argmax_over_labelled_utterances(corpus: Corpus):
    """By a way of its own: dialogue by dialogue, scored by scikit-learn. And the posterior knows how often it is right."""
    labels, logs = corpus.labels("emotion"), log_emissions(corpus)
    cases = {(ALL, "offline", False): [0, 1, 2], (ALL, "causal", True): [0, 1, 2], ("audio+visual", "offline", False): [1, 2]}
    for (key, mode, causal), columns in cases.items():
        known, true = [], []
        for d in corpus.in_split("test"):
            lo, hi = corpus.offsets[d], corpus.offsets[d + 1]
            known.append(posterior(logs[columns, lo:hi].sum(axis=0), corpus.local_speakers[lo:hi], causal=causal))
            true.append(labels[lo:hi])
        p, y = np.concatenate(known), np.concatenate(true)
        p, y = p[y >= 0], y[y >= 0]
        scores = corpus.source["ceilings"][key][mode]
        assert scores["accuracy"] == pytest.approx(100 * accuracy_score(y, p.argmax(axis=1)), abs=1e-9)
        assert scores["weighted_f1"] == pytest.approx(100 * f1_score(y, p.argmax(axis=1), average="weighted"), abs=1e-9)
        assert 100 * p.max(axis=1).mean() == pytest.approx(scores["accuracy"], abs=2)
        # A proper posterior is surprised as often as it expects to be.
        assert -np.log(p[np.arange(len(y)), y]).mean() == pytest.approx(-(p * np.log(p)).sum(axis=1).mean(), abs=0.05)


@pytest.mark.parametrize("wrong", [{"contagion": 0.0}, {"inertia": 0.0}, {"kinship": 5.0}], ids=str)
def test_a_wrong_model_stays_below_the_ceiling(corpus: Corpus, wrong):
    found = ceilings(corpus, replace(WORLD, **wrong))
    for key, modes in found.items():
        for mode in ("offline", "causal"):
            assert modes[mode]["accuracy"] < corpus.source["ceilings"][key][mode]["accuracy"], (key, mode)
        assert modes["no context"] == corpus.source["ceilings"][key]["no context"]


def test_weighted_f1_is_that_of_scikit_learn():
    rng = np.random.default_rng(0)
    true, guess = rng.integers(0, K - 1, size=(2, 5, 60))
    guess[0] = 0  # classes that are never guessed
    confusion = np.zeros((5, K, K))
    for i in range(5):
        np.add.at(confusion[i], (true[i], guess[i]), 1)
    expected = [100 * f1_score(t, g, average="weighted", zero_division=0) for t, g in zip(true, guess, strict=True)]
    np.testing.assert_allclose(weighted_f1(confusion), expected, atol=1e-10)


def test_another_corpus_of_modalities_has_no_emissions():
    c = synthetic_corpus(0, (1, 0, 0), with_ceilings=False)
    fewer = replace(c, modalities={"text": c.modalities["text"]})
    with pytest.raises(ValueError, match=r"expected the modalities \['text', 'audio', 'visual'\], got \['text'\]"):
        log_emissions(fewer)


def test_a_ceiling_is_read_from_any_corpus(corpus: Corpus, tmp_path):
    small = synthetic_corpus(2, (1, 1, 3))
    saved = open_corpus(save_corpus(small, tmp_path / "corpus").path)
    for c in (small, saved):
        assert ceiling_of(c, ["visual", "text"], causal=True) == small.source["ceilings"]["text+visual"]["causal"]
        assert ceiling_of(c, EVERY, causal=False) == small.source["ceilings"][ALL]["offline"]
    assert ceiling_of(corpus, EVERY, causal=True) != ceiling_of(corpus, EVERY, causal=False)


def test_a_corpus_without_ceilings_has_none():
    drawn = synthetic_corpus(2, (1, 1, 3), with_ceilings=False)
    foreign = Corpus.build(
        "other", drawn.utterances, drawn.features, {"emotion": Target("classes", WORLD.emotions)}, source={"kind": "csv"}
    )
    assert ceiling_of(drawn, EVERY, causal=False) is None
    assert ceiling_of(foreign, EVERY, causal=False) is None
    assert ceiling_of(synthetic_corpus(2, (1, 0, 1)), ["text", "smell"], causal=False) is None
    assert ceiling_of(synthetic_corpus(2, (1, 0, 1)), [], causal=False) is None
    assert synthetic_corpus(2, (2, 1, 0)).source["ceilings"] == {}
