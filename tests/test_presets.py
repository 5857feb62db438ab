"""Presets: the one named after a paper is its print, value by value, and every preset can be fitted as it stands."""

from __future__ import annotations

import pytest

from dgl_merc.settings import flat_settings
from dgl_merc.training.settings import load_settings, preset_names

MGLRA = {
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


SGRNET = {
    "model.dim": 150,  # IV-C: d_e
    "model.width": 100,  # d_f
    "model.context.cell": "gru",
    "model.context.projected": False,
    "model.context.hears": "own",
    "model.context.bidirectional": False,
    "model.context.layers": 1,
    "model.context.input_dim": 0,
    "model.context.speaker_context": False,
    "model.context.input_dropout": 0.0,
    "model.dropout": 0.5,
    "model.distribution.heads": 5,  # Fig. 2
    "model.distribution.paths": "split",
    "model.distribution.interaction": "softmax",
    "model.fusion.uncertainty": "printed",  # (14), (15)
    "model.fusion.interaction": "attention",  # (18)-(21)
    "model.fusion.heads": 4,
    "model.fusion.head_dim": 25,
    "model.fusion.residual": False,
    "model.graph.relations": 4,  # III-B
    "model.graph.normalise": False,  # (22)
    "model.graph.layers": 2,
    "model.graph.edge_weight": True,
    "model.graph.heads": 2,
    "model.graph.bias": True,  # (24)
    "model.graph.buckets": 32,
    "model.alignment.weight": 0.6,  # (31), V-C
    "model.alignment.instance": 0.4,  # (13), IV-C
    "model.alignment.prototype": 0.4,
    "model.alignment.latent": 0.3,
    "model.alignment.tau_text": 0.3,
    "model.alignment.tau_speech": 0.1,
    "model.alignment.tau_cross": 0.05,
    "model.alignment.hard_same": "negative",
    "model.alignment.prototypes": 500,
    "model.alignment.tau_prototype": 0.07,
    "model.alignment.epsilon": 0.05,
    "model.alignment.iterations": 3,
    "training.lr": 0.0001,  # IV-C, Algorithm 1
    "training.lr_min": 1e-8,
    "training.schedule": "restarts",
    "training.restart_epochs": 50,
    "training.restart_growth": 1,
    "training.weight_decay": 0.001,
    "training.decay": "l2",
    "training.batch_size": 32,
    "training.max_epochs": 150,
    "training.eval_every": 0,
    "training.focal": 0.0,
    "training.class_weights": "none",
} | {f"model.alignment.xi_{pair}": 0.0 for pair in ("text", "speech", "cross")}


@pytest.mark.parametrize(("preset", "printed"), [("mglra-paper", MGLRA), ("sgrnet-paper", SGRNET)])
def test_the_preset_of_a_paper_is_its_print(preset, printed):
    found = dict(flat_settings(load_settings(preset).to_json()))
    assert {key: found[key] for key in printed} == printed
    ends = found["training.max_steps"] or found["training.max_epochs"]
    assert found["training.patience"] * (found["training.eval_every"] or 1) >= ends, "it would stop before its end"


@pytest.mark.parametrize("preset", preset_names())
def test_a_schedule_has_the_epochs_it_was_made_for(preset):
    training = load_settings(preset).training
    assert training.schedule == "constant" or training.max_steps or training.patience >= training.max_epochs
