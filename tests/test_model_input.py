"""What training hands to a model and takes from it: speakers by name, and the losses a model adds of its own."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from dgl_merc.corpus import Corpus, Scaling
from dgl_merc.corpus.synthetic import synthetic_corpus
from dgl_merc.graphs import GraphSpec, Structure
from dgl_merc.models import Model, Output
from dgl_merc.training import fit, load_settings
from dgl_merc.training.data import DialogueData, known_speakers
from dgl_merc.training.evaluate import evaluate_runs
from dgl_merc.training.loop import Trainer
from dgl_merc.training.run_folder import open_run
from dgl_merc.training.settings import TrainingSettings

SPEC = GraphSpec(("text", "audio", "visual"))
SMALL = ["model.dim=6", "model.speakers=corpus", "training.max_epochs=2", "training.batch_size=4", "training.patience=2"]


def renamed(corpus: Corpus, names: Mapping[str, str]) -> Corpus:
    """The same corpus with some speakers called otherwise."""
    table = corpus.utterances.assign(speaker=corpus.utterances["speaker"].map(lambda name: names.get(name, name)))
    return Corpus.build(corpus.name, table, corpus.features, dict(corpus.targets))


@pytest.fixture(scope="module")
def corpus() -> Corpus:
    """Ana, Ben and others talk in all splits, as characters of one series do."""
    made = synthetic_corpus(0, (4, 3, 4), with_ceilings=False)
    return renamed(made, {name: name.rpartition("/")[2] for name in made.utterances["speaker"].unique()})


# ---- speakers by name


def test_known_are_the_speakers_of_the_training_split(corpus):
    training = corpus.utterances[corpus.utterances["split"] == "train"]["speaker"]
    found = known_speakers(corpus)
    assert found == list(dict.fromkeys(training)), "by first appearance"
    elsewhere = set(corpus.utterances["speaker"]) - set(training)
    assert elsewhere, "nobody is unknown"
    assert not elsewhere & set(found)


def test_batches_name_the_speakers_that_are_known(corpus):
    names = known_speakers(corpus)[:3]
    data = DialogueData(corpus, SPEC, Scaling.fit(corpus), "emotion", characters=names)
    batch = data.batch(np.array([3, 2]))
    speakers = corpus.utterances["speaker"].to_numpy()[batch.rows]
    assert batch.structure.characters.tolist() == [names.index(s) if s in names else -1 for s in speakers]
    assert (batch.structure.characters >= 0).any()
    drop = np.zeros((len(batch.rows), 3), dtype=bool)
    drop[::2, 0] = True
    assert torch.equal(batch.without(drop).structure.characters, batch.structure.characters)
    assert (DialogueData(corpus, SPEC, Scaling.fit(corpus), "emotion").batch(np.array([5])).structure.characters == -1).all()


def test_characters_go_along_with_a_structure():
    s = Structure.of([2, 3], GraphSpec(("text",)))
    assert s.characters.tolist() == [-1] * 5
    s = replace(s, characters=torch.tensor([4, 0, 1, -1, 2]))
    assert s.select([1, 0]).characters.tolist() == [1, -1, 2, 4, 0]
    assert s.with_spec(GraphSpec(("text",), causal=True)).characters.tolist() == [4, 0, 1, -1, 2]
    with pytest.raises(ValueError, match=r"characters must be \[5\] torch.int64, got \[4\] torch.int64"):
        replace(s, characters=torch.zeros(4, dtype=torch.int64))


def test_a_run_keeps_its_speakers_and_meets_others(corpus, tmp_path):
    fit(corpus, SPEC, load_settings("mglra", SMALL), tmp_path / "run")
    run = open_run(tmp_path / "run")
    assert run.characters == known_speakers(corpus)
    assert run.model().speakers.table.num_embeddings == len(run.characters) + 1
    again, table = evaluate_runs([run], corpus, "test")
    assert again["weighted_f1"] == run.metrics["splits"]["test"]["weighted_f1"]
    strangers = renamed(corpus, {name: f"{name} the stranger" for name in run.characters})
    _, other = evaluate_runs([run], strangers, "test")
    assert not np.allclose(table["p_happy"], other["p_happy"]), "names are not read"
    with torch.no_grad():  # of a speaker who is not known nothing is added
        model = run.model()
        assert torch.equal(model.speakers.table.weight[-1], torch.zeros(6))


def test_training_does_not_know_who_speaks_in_dev_and_test(corpus, tmp_path):
    fit(corpus, SPEC, load_settings("mglra", SMALL), tmp_path / "a", test=False)
    outside = set(corpus.utterances["speaker"]) - set(known_speakers(corpus))
    fit(renamed(corpus, {name: f"{name}!" for name in outside}), SPEC, load_settings("mglra", SMALL), tmp_path / "b", test=False)
    assert (tmp_path / "a/weights.safetensors").read_bytes() == (tmp_path / "b/weights.safetensors").read_bytes()


# ---- a model's own losses


class Constant(Model):
    """Logits of its own, and a loss that pulls one weight to 3."""

    def __init__(self, weight: float) -> None:
        super().__init__()
        self.logits, self.pulled, self.weight = nn.Parameter(torch.zeros(6)), nn.Parameter(torch.zeros(())), weight

    def forward(self, structure: Structure, features: Mapping[str, Tensor], *, step: int = 0, labels: Any = None) -> Output:
        losses = {"pull": self.weight * (self.pulled - 3) ** 2} if self.training else {}
        return Output(self.logits.expand(structure.num_utterances, -1), losses)


def trained(corpus: Corpus, weight: float) -> tuple[Constant, Any]:
    model = Constant(weight)
    settings = TrainingSettings(lr=0.1, max_epochs=30, patience=30, clip=0.0, weight_decay=0.0)
    data = DialogueData(corpus, SPEC, Scaling.fit(corpus), "emotion")
    trainer = Trainer(model, data, corpus.in_split("train"), corpus.in_split("dev"), settings, seed=0)
    return model, (trainer.run(), trainer.history)


def test_a_model_s_own_losses_are_trained_and_shown(corpus):
    model, (_, history) = trained(corpus, 1.0)
    assert history[0].loss == pytest.approx(np.log(6) + 9, rel=1e-5), "the first step: log K, and 9 that the model adds"
    assert history[-1].loss < history[0].loss - 7
    model, _ = trained(corpus, 0.0)
    assert model.pulled == 0
