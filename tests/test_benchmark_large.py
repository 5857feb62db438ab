"""benchmarks/large.py makes the corpus it speaks of, and looks at real processes."""

from __future__ import annotations

import importlib
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

from dgl_merc.cli.main import main as commands
from dgl_merc.corpus.readers.table import read_table

BENCHMARKS = Path(__file__).resolve().parents[1] / "benchmarks"


@pytest.fixture
def large(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """The benchmark."""
    monkeypatch.syspath_prepend(BENCHMARKS)
    return importlib.import_module("large")


def test_the_corpus_is_as_its_docstring_says(large, tmp_path, monkeypatch):
    monkeypatch.setattr(large, "_ROWS", 700)
    large.make(tmp_path / "c", 3000)
    corpus = read_table(tmp_path / "c" / "table.csv", [f"{m}={m}.npy" for m in large.WIDTHS], nan="absent")
    assert len(corpus.utterances) == 3000
    assert {m: v.width for m, v in corpus.modalities.items()} == large.WIDTHS
    np.testing.assert_allclose(1 - corpus.presence.mean(axis=0), list(large.ABSENT.values()), atol=0.02)
    assert 1 <= corpus.lengths.min() <= corpus.lengths.max() <= 200
    shares = [(corpus.splits == split).mean() for split in ("train", "dev", "test")]
    np.testing.assert_allclose(shares, [0.8, 0.1, 0.1], atol=0.02)
    labels, x = corpus.labels("emotion"), corpus.features["text"]
    assert [x[labels == k, k].mean() > 0.5 for k in range(7)] == [True] * 7, "a label can be learnt"
    lengths = large.lengths_of(200_000, np.random.default_rng(1))
    assert lengths.sum() == 200_000
    assert 17 < lengths.mean() < 19


def test_every_phase_is_a_command(large, tmp_path):
    for phase in large.PHASES:
        name, *words = large.command_of(phase, tmp_path, 3)
        command = commands.commands[name]
        if phase == "import":
            command, words = command.commands[words[0]], words[1:]
        assert command.make_context(name, words, **commands.context_settings).params  # a command keeps the first help option it made


def test_memory_of_a_process_is_seen_and_a_failure_is_one(large):
    took = large.watched(["--help"])
    assert took.held > 1
    assert took.mapped > 1
    assert took.seconds > 0
    with pytest.raises(RuntimeError, match="nonsense failed"):
        large.watched(["nonsense"])
