"""benchmarks/stream.py times what it says: real streams of every preset it names, at the places it names."""

from __future__ import annotations

import importlib
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
import torch
from click.testing import CliRunner

from dgl_merc.graphs import Structure
from dgl_merc.inference.stream import Stream
from dgl_merc.inference.utterance import Utterance
from dgl_merc.models import MODELS

BENCHMARKS = Path(__file__).resolve().parents[1] / "benchmarks"
WIDTHS = {"text": 6, "audio": 5, "visual": 7}


@pytest.fixture
def stream(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """The benchmark, with narrow features and few places."""
    monkeypatch.syspath_prepend(BENCHMARKS)
    module = importlib.import_module("stream")
    monkeypatch.setattr(module, "WIDTHS", WIDTHS)
    monkeypatch.setattr(module, "PLACES", (range(1, 3), range(4, 5)))
    return module


def test_the_table(stream):
    done = CliRunner().invoke(stream.main, ["--dialogues", "2"], catch_exceptions=False)
    head, rule, *rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in done.output.splitlines()]
    assert len(rule) == len(head)
    assert [row[:4] for row in rows] == [
        [preset, count, window, places]
        for preset in ("mglra", "sgrnet", "bilstm", "dialoguegcn", "dialoguernn", "m3net", "mmgcn", "transformer")
        for count in ("3", "2")
        for window in ("complete", "10")
        for places in ("1-2", "4-4")
    ]
    assert {row[0] for row in rows} == {name for name, (kind, _) in MODELS.items() if not kind.solved}, (
        "what is solved keeps nothing of a dialogue"
    )
    for row in rows:
        p50, p99, own50, own99, again, kept = map(float, row[4:])
        assert 0 < p50 <= p99
        assert 0 < own50 <= own99
        assert again > 0
        assert kept > 0


@pytest.mark.parametrize("preset", MODELS)
def test_what_is_timed_is_an_answer_of_the_model(stream, preset, tmp_path):
    run = stream.fresh_run(tmp_path, preset, ("text", "audio"), None)
    heard, model = Stream([run]), run.model().eval()
    x = {m: np.random.default_rng(k).standard_normal((5, WIDTHS[m]), dtype=np.float32) for k, m in enumerate(("text", "audio"))}
    with torch.inference_mode():
        whole = model(Structure.of([5], run.spec), {m: torch.from_numpy(v - 1) for m, v in x.items()}).logits.softmax(-1)
    for t in range(5):
        said = heard.answer(Utterance("d", "AB"[t % 2], {m: v[t] for m, v in x.items()}))
        assert list(said["probabilities"].values()) == pytest.approx(whole[t].tolist(), abs=1e-5)


def test_every_utterance_at_a_place_is_timed_once(stream, tmp_path):
    run = stream.fresh_run(tmp_path, "bilstm", ("text",), None)
    listening = Stream([run])
    wall, own = stream.waits(listening, run.data["widths"], 3)
    assert [len(taken) for taken in wall] == [len(taken) for taken in own] == [2 * 3, 1 * 3]
    assert [x.position for x in listening._heard.values()] == [5] * 3
