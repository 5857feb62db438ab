"""What the tests share: where real data is, and the rule that a skip must not count as a pass in CI."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

# Before torch is imported: with more threads than free cores its tiny operations mostly wait for each other, and take ten times as long.
os.environ.setdefault("OMP_NUM_THREADS", "1")

DATA = Path(__file__).resolve().parents[1].parent / "shared" / "data"
GRAPHS = ("heterograph", "says_what_does_not_fit", "keep_removes_from_messages")
"""Parts of the names of kernels' tests that take graphs of DGL, whoever computes."""
REQUIRED = {name for name in os.environ.get("DGLMERC_REQUIRE", "").split(",") if name}


def need(name: str, there: bool, reason: str) -> None:
    """Skip with a reason where something is absent; fail instead when DGLMERC_REQUIRE names it."""
    if there:
        return
    if name in REQUIRED:
        pytest.fail(f"DGLMERC_REQUIRE names {name}, but {reason}")
    pytest.skip(reason)


@pytest.fixture(scope="session")
def meld_dir() -> Path:
    """The folder of MELD's official files, or a skip."""
    need("data", (DATA / "meld").is_dir(), f"no MELD files at {DATA / 'meld'}")
    return DATA / "meld"


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny store: eight training, three dev and four test dialogues, in two sessions."""
    from dgl_merc.corpus import save_corpus
    from dgl_merc.corpus.synthetic import synthetic_corpus
    from dgl_merc.graphs import GraphSpec
    from dgl_merc.graphs.build import BuildOptions, build_store

    folder = tmp_path_factory.mktemp("study")
    made = synthetic_corpus(0, (8, 3, 4), with_ceilings=False)
    sessions = np.repeat([f"Ses{k % 2}" for k in range(len(made))], made.lengths)
    corpus = save_corpus(replace(made, utterances=made.utterances.assign(session=sessions)), folder / "corpus")
    return build_store(corpus, folder / "graphs", GraphSpec(tuple(corpus.modalities)), BuildOptions(edges=False)).path


@pytest.fixture(scope="module")
def source(store: Path) -> Any:
    """The same, opened."""
    from dgl_merc.training.source import open_source

    return open_source(store)


@pytest.fixture(scope="module")
def unpainted() -> Iterator[None]:
    """Reports' figures are made but not painted, which is half of what a tiny run takes: for modules whose tests are not about reports.

    That figures can be painted is seen by the tests of reports, runs, sentiment, the README and all that run in processes of their own.
    """
    with _figures_unpainted():
        yield


@contextmanager
def _figures_unpainted() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("dgl_merc.reports.page.as_bytes", lambda *_: b"unpainted")
        yield


@pytest.fixture
def painted(unpainted: None, monkeypatch: pytest.MonkeyPatch) -> None:
    """In such a module, a test of figures."""
    from dgl_merc.graphs.pictures import as_bytes

    monkeypatch.setattr("dgl_merc.reports.page.as_bytes", as_bytes)


@pytest.fixture(scope="session")
def small_runs(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """A small corpus and a run of every model. Tests that take it belong to the group ``explanations``: one worker makes it."""
    from explain_cases import make_runs

    with _figures_unpainted():
        return make_runs(tmp_path_factory.mktemp("small"))


@pytest.fixture(scope="session")
def scored() -> Any:
    """A corpus of scores."""
    from sentiment_cases import scored_corpus

    return scored_corpus()


@pytest.fixture(scope="session")
def scored_runs(scored: Any, tmp_path_factory: pytest.TempPathFactory) -> dict[tuple[str, str], Path]:
    """A run of a model of every kind with both heads on it. Tests that take it belong to the group ``sentiment``."""
    from sentiment_cases import every_run

    return every_run(scored, tmp_path_factory.mktemp("sentiment"))


@pytest.fixture(autouse=True)
def _shut_door(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """A case that is said to need no DGL has none."""
    if request.node.get_closest_marker("without_dgl"):
        monkeypatch.setitem(sys.modules, "dgl_merc._dgl", None)


@pytest.hookimpl(tryfirst=True)  # before -m chooses
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Long tests first, so that no worker is left alone with one at the end; kernels' cases in which no DGL computes are marked."""
    for item in items:
        backend = getattr(item, "callspec", None) and item.callspec.params.get("backend")
        name = getattr(item, "originalname", "")
        if (backend in ("dense", "scatter") and not any(part in name for part in GRAPHS)) or name == "test_tiles_give_the_same":
            item.add_marker("without_dgl")
    items.sort(key=lambda item: item.get_closest_marker("slow") is None)
