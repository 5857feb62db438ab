"""Features are never in memory as a whole: import, graphs and an epoch of training that hold a small part of them."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from dgl_merc.corpus import open_corpus

UTTERANCES, WIDTH, LENGTH = 8000, 2000, 4


@pytest.fixture(scope="module")
def given(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A table, 61 MiB of text features by row, and a compressed archive of audio by key; every 50th text is NaN."""
    folder = tmp_path_factory.mktemp("large")
    rng, rows = np.random.default_rng(0), np.arange(UTTERANCES)
    dialogue, position = rows // LENGTH, rows % LENGTH
    lines = [
        f"{d},{p},s{p % 2},{('train', 'dev', 'test')[max(0, d % 10 - 7)]},{'ab'[row % 2]}"
        for row, (d, p) in enumerate(zip(dialogue, position, strict=True))
    ]
    (folder / "table.csv").write_text("\n".join(["dialogue_id,position,speaker,split,emotion", *lines]), encoding="utf-8")
    x = np.lib.format.open_memmap(folder / "text.npy", "w+", np.float32, (UTTERANCES, WIDTH))
    x[:] = rng.standard_normal((1, WIDTH), dtype=np.float32) + rows[:, None].astype(np.float32) % 97
    x[::50, 3] = np.nan
    x.flush()
    order = rng.permutation(UTTERANCES)[: UTTERANCES // 2]
    np.savez_compressed(
        folder / "audio.npz", x=order[:, None] + np.zeros((1, 100)), dialogue_id=dialogue[order], position=position[order].astype(str)
    )
    return folder


def test_features_that_memory_can_not_hold_are_imported_built_and_trained_on(given):
    driver = Path(__file__).with_name("large_driver.py")
    done = subprocess.run([sys.executable, driver, given], capture_output=True, text=True, env={**os.environ, "OMP_NUM_THREADS": "1"})
    assert done.returncode == 0, done.stderr[-3000:]
    peaks = json.loads(done.stdout.splitlines()[-1])
    features = 4 * UTTERANCES * WIDTH
    assert set(peaks) == {"import", "build", "fit"}
    assert all(held < features / 2 for held in peaks.values()), (peaks, features)
    corpus = open_corpus(given / "corpus")
    there = np.arange(UTTERANCES) % 50 != 0
    np.testing.assert_array_equal(corpus.presence[:, 0], there)
    x = np.load(given / "text.npy", mmap_mode="r")
    np.testing.assert_array_equal(corpus.features["text"][::7], x[there][::7])
    np.testing.assert_array_equal(corpus.features["audio"][:, 5], np.flatnonzero(corpus.presence[:, 1]))
    assert (given / "run" / "metrics.json").is_file()
