"""Pictures of an explanation show its tables."""

from __future__ import annotations

import xml.etree.ElementTree as ET
from dataclasses import replace

import numpy as np
import pytest
from explain_cases import SmallRuns
from predict_cases import spoken

from dgl_merc.corpus import Corpus
from dgl_merc.explanations import Explainer
from dgl_merc.explanations.explainer import strongest
from dgl_merc.explanations.pictures import effects_figure, figures_of, pictures_of, shares, shares_figure
from dgl_merc.inference import Utterance
from dgl_merc.inference.conversations import as_corpus
from dgl_merc.inference.utterance import Expected

pytestmark = pytest.mark.xdist_group("explanations")

ATTENTION = {f"weights-attention-round-{r}" for r in (1, 2)}
NAMES = {
    "bilstm": {"timeline", "effects"},
    "print": {"timeline", "effects", "modalities", "weights-graph", *ATTENTION, "raw-against-learned", "weights-histogram", "mask"},
    "sgrnet": {"timeline", "effects", "modalities", "weights-distribution", "weights-fusion", "weights-syntactic", "weights-semantic"},
}


def explained(small_runs: SmallRuns, name: str) -> Explainer:
    return Explainer(small_runs.runs[name], small_runs.corpus, small_runs.shortest)


def cells(figure) -> np.ndarray:
    """What a heat map shows, NaN where it is empty."""
    (image,) = figure.axes[0].get_images()[-1:]
    return np.ma.filled(np.ma.masked_invalid(np.asarray(image.get_array(), dtype=float)), np.nan)


@pytest.mark.parametrize("name", NAMES)
def test_there_is_a_picture_of_every_part(small_runs, name):
    explainer = explained(small_runs, name)
    weights = explainer.weights()
    assert set(figures_of(explainer, weights, explainer.effects(weights[:0]))) == NAMES[name]


def test_effects_are_drawn_as_they_are(small_runs):
    explainer = explained(small_runs, "sgrnet")
    effects = explainer.effects(explainer.weights()[:0])
    effects.loc[::7, "then"] = "another"
    figure = effects_figure(explainer, effects)
    count, modalities = len(explainer.utterances), list(explainer.modalities)
    expected = np.full((len(modalities) + count, count), np.nan)
    flips = set()
    for row in effects[effects["removed"].isin(["modality", "utterance"])].to_dict("records"):
        place = modalities.index(row["modality"]) if row["removed"] == "modality" else len(modalities) + row["position"]
        expected[place, row["utterance"]] = 100 * row["effect"]
        flips |= {(row["utterance"], place)} if row["then"] != row["predicted"] else set()
    np.testing.assert_allclose(cells(figure), expected, atol=1e-9)
    lines = {line.get_gid(): line for line in figure.axes[0].get_lines()}
    assert set(zip(lines["flips"].get_xdata(), lines["flips"].get_ydata(), strict=True)) == flips
    assert len(flips) > 10
    with pytest.raises(ValueError, match=f"effects must be on all {count} answers, got 1"):
        effects_figure(explainer, effects[effects["utterance"] == 0])


@pytest.mark.parametrize("name", ["mglra", "print", "sgrnet"])
def test_shares_of_modalities(small_runs, name):
    explainer = explained(small_runs, name)
    found = shares(explainer)
    presence = explainer.structure.presence.numpy()
    assert (found.notna().to_numpy() == presence).all()
    assert np.abs(found.sum(axis=1)[presence.any(axis=1)] - 1).max() < 1e-6
    bars = [patch.get_height() for patch in shares_figure(explainer.utterances, found).axes[0].patches]
    np.testing.assert_allclose(bars, np.nan_to_num(found.to_numpy().T).ravel(), atol=1e-9)
    assert shares(explained(small_runs, "bilstm")).empty


def test_an_utterance_without_any_modality_has_no_shares(small_runs):
    run = small_runs.runs["mglra"]
    said = [Utterance("d", o["speaker"], {m: np.array(x) for m, x in o["features"].items()}) for o in spoken(small_runs.corpus)[:4]]
    said[2] = replace(said[2], features={})
    found = shares(Explainer(run, as_corpus(said, Expected.of([run])), 0))
    assert found.isna().all(axis=1).tolist() == [False, False, True, False]


def test_of_one_answer_there_is_no_picture_of_effects(small_runs):
    explainer = explained(small_runs, "bilstm")
    effects = explainer.effects(explainer.weights())
    found = pictures_of(explainer, explainer.weights(), effects[effects["utterance"] == 1], "png")
    assert set(found) == {"timeline.png"}
    assert found["timeline.png"].startswith(b"\x89PNG")


def test_a_hostile_name_is_a_picture_too(small_runs):
    corpus = small_runs.corpus
    lo, hi = corpus.offsets[small_runs.shortest : small_runs.shortest + 2]
    table = corpus.utterances.iloc[lo:hi].assign(dialogue_id="<b>$\\frac", speaker="<script>$x^$\n\u202e", text="]]>&\u0001")
    features = {m: x[corpus.feature_rows[lo, k] : corpus.feature_rows[hi, k]] for k, (m, x) in enumerate(corpus.features.items())}
    explainer = Explainer(small_runs.runs["sgrnet"], Corpus.build("hostile", table, features, dict(corpus.targets)), 0)
    weights = explainer.weights()
    found = pictures_of(explainer, weights, explainer.effects(strongest(weights, 0)), "svg")
    for content in found.values():
        ET.fromstring(content.decode())


def test_a_run_of_scores_has_its_scale(small_runs, monkeypatch):
    explainer = explained(small_runs, "bilstm")
    effects = explainer.effects(explainer.weights()[:0])
    monkeypatch.setattr(type(explainer.data.task), "outputs", property(lambda _: 1))
    effects = effects.assign(effect=effects["effect"].where(effects["removed"] == "modality", 0.0))
    shown = cells(effects_figure(explainer, effects))
    first = effects[effects["removed"] == "modality"].set_index("utterance").query("modality == @explainer.modalities[0]")
    np.testing.assert_allclose(shown[0], first["effect"], atol=1e-9)
