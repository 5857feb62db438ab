"""On a GPU, with the DGL that computes on the CPU alone: fit, evaluate, predict, stream and explain give what they give on the CPU."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from cli_cases import good
from conftest import need
from helpers import SMALL_RNN, SMALL_SGRNET
from predict_cases import small_corpus, spoken

from dgl_merc.corpus import Corpus
from dgl_merc.explanations import Explainer
from dgl_merc.explanations.explainer import strongest
from dgl_merc.graphs import GraphSpec
from dgl_merc.inference import Predictor, Utterance
from dgl_merc.inference.stream import Stream
from dgl_merc.training import fit, load_settings
from dgl_merc.training.evaluate import evaluate_runs
from dgl_merc.training.run_folder import open_run

pytestmark = pytest.mark.gpu

EXACT = [
    "training.max_epochs=2",
    "training.max_steps=0",
    "training.eval_every=0",
    "training.batch_size=5",
    "training.lr=.01",
    "model.dropout=0",
    "graph.causal=true",
]  # the two draw dropout otherwise
MODELS = {
    "bilstm": ["model.hidden=5", "model.dynamics.share=.5"],
    "dialoguegcn": ["model.hidden=4", "model.dim=5"],
    "dialoguernn": [*SMALL_RNN],
    "m3net": ["model.dim=6", "model.context.input_dropout=0"],
    "mglra": ["model.dim=8", "model.context.input_dropout=0", "model.gcn.mask=both", "model.reconstruction=.5"],
    "mglra-paper": ["model.dim=8", "model.context.input_dropout=0"],
    "mmgcn": ["model.dim=6", "model.context.input_dropout=0"],
    "sgrnet": [*SMALL_SGRNET, "model.context.input_dropout=0"],
    "sgrnet-paper": [*SMALL_SGRNET, "model.distribution.heads=2", "model.context.input_dropout=0"],
}


@pytest.fixture(scope="module")
def corpus() -> Corpus:
    return small_corpus()


@pytest.fixture(autouse=True)
def _on_a_gpu() -> None:
    need("gpu", torch.cuda.is_available(), "no GPU")


def fitted(corpus: Corpus, out: Path, preset: str, device: str, *words: str) -> Path:
    settings = load_settings(preset, [*MODELS[preset], *EXACT, *words])
    fit(corpus, GraphSpec(tuple(corpus.modalities)), settings, out, device=device)
    return out


@pytest.mark.parametrize("preset", MODELS)
def test_a_run_made_there_is_one_made_here(preset, corpus, tmp_path):
    """What a GPU learns is finite and learnt; what it answers with one set of weights is what the CPU answers."""
    saved = open_run(fitted(corpus, tmp_path / "there", preset, "cuda"))
    losses = [look["loss"] for look in json.loads((saved.path / "history.json").read_text())["looks"]]
    assert losses[1] < losses[0]
    _, here = evaluate_runs([saved], corpus, "test")
    _, there = evaluate_runs([saved], corpus, "test", device="cuda")
    columns = [c for c in here if c.startswith(("p_", "sigma_", "weight_"))]
    np.testing.assert_allclose(here[columns], there[columns], rtol=0, atol=1e-4)
    predicted = Predictor.open(saved.path, device="cuda").predict(corpus)
    in_test = np.repeat(corpus.splits == "test", corpus.lengths)
    np.testing.assert_allclose(predicted[in_test][columns], here[columns], rtol=0, atol=1e-4)
    stream = Stream([saved], device="cuda")
    for o, (_, row) in zip(spoken(corpus)[:20], here.iterrows(), strict=False):
        vectors = {m: np.array(x, dtype=np.float32) for m, x in o["features"].items()}
        answer = stream.answer(Utterance(o["dialogue_id"], o["speaker"], vectors))
        found = list(answer["probabilities"].values())
        np.testing.assert_allclose(found, row[[f"p_{c}" for c in answer["probabilities"]]].to_numpy(dtype=float), rtol=0, atol=1e-4)


@pytest.mark.parametrize("preset", MODELS)
def test_an_explanation_made_there_is_one_made_here(preset, corpus, tmp_path):
    saved = open_run(fitted(corpus, tmp_path / "there", preset, "cuda"))
    here, there = (Explainer(saved, corpus, int(corpus.in_split("test")[0]), device=device) for device in ("cpu", "cuda"))
    weights = here.weights()
    np.testing.assert_allclose(there.weights()["weight"], weights["weight"], rtol=0, atol=1e-4)
    edges = strongest(weights, 1)
    np.testing.assert_allclose(there.effects(edges)["effect"], here.effects(edges)["effect"], rtol=0, atol=1e-4)


@pytest.mark.parametrize("preset", ["mglra", "sgrnet"])
def test_mixed_precision(preset, corpus, tmp_path):
    saved = open_run(fitted(corpus, tmp_path / "there", preset, "cuda", "training.precision=bf16-mixed"))
    scores, _ = evaluate_runs([saved], corpus, "test", device="cuda")
    assert np.isfinite(scores["weighted_f1"])
    assert all(v.dtype == torch.float32 for v in saved.model().state_dict().values() if v.is_floating_point())


def test_the_command_line_chooses_it(tmp_path, store):
    good("fit", store, "--preset", "bilstm", "--set", "training.max_epochs=1", "--set", "model.hidden=5", "--out", tmp_path / "run")
    about = json.loads((tmp_path / "run" / "environment.json").read_text())
    assert about["gpu"]
    assert any("gpu" in line for line in good("env"))
