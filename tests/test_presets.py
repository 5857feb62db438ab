"""Presets: the one named after a paper is its print, value by value, and every preset can be fitted as it stands."""

from __future__ import annotations

import pytest

from dgl_merc.settings import flat_settings
from dgl_merc.training.settings import load_settings, preset_names

PRINTED = {
    "model.context.hears": "own",
    "model.context.bidirectional": False,  # (2) LSTM, direction unsaid
    "model.context.input_dim": 0,
    "model.context.speaker_context": False,
    "model.filter.attention": "channel",  # (4) softmax of a vector
    "model.filter.output": "leaf",  # (5)
    "model.memory": "own",  # Algorithm 1, line 12
    "model.rounds": 3,
    "model.attention.heads": 10,  # V-B
    "model.attention.scaled": False,  # (13)
    "model.attention.projections": "shared",  # (10)-(12)
    "model.attention.lonely": "self",
    "model.speakers": "corpus",  # (16)
    "model.speaker_base": "head",  # (16)
    "model.gcn.mask": "both",  # (19), (20)
    "model.gcn.rate": 0.7,  # V-B
    "model.gcn.degree": "full",  # (21)
    "model.gcn.rescale": False,
    "model.gcn.aleph": 1.0,
    "model.gcn.learn_aleph": False,
    "model.residual": False,  # (22)
    "model.reconstruction": 0.0,
    "model.dropout": 0.0,
    "model.context.input_dropout": 0.0,
    "graph.cross": "dialogue",  # IV-B
    "training.lr": 0.0001,  # V-B
    "training.weight_decay": 0.00005,
    "training.decay": "l2",
    "training.batch_size": 32,
    "training.max_steps": 3000,
    "training.eval_every": 20,
    "training.schedule": "constant",
    "training.focal": 0.0,
    "training.class_weights": "none",
}


def test_mglra_paper_is_the_print():
    found = dict(flat_settings(load_settings("mglra-paper").to_json()))
    assert {key: found[key] for key in PRINTED} == PRINTED
    assert found["training.patience"] * found["training.eval_every"] >= found["training.max_steps"], (
        "it would stop before its steps are done"
    )


@pytest.mark.parametrize("preset", preset_names())
def test_a_schedule_has_the_epochs_it_was_made_for(preset):
    training = load_settings(preset).training
    assert training.schedule == "constant" or training.max_steps or training.patience >= training.max_epochs
