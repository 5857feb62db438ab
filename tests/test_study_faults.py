"""Studies when something goes wrong: runs that diverge, workers that are killed, stand elsewhere or lack memory, runs in use."""

from __future__ import annotations

import json
import os
import signal
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from study_cases import go, grid

from dgl_merc.corpus import save_corpus
from dgl_merc.corpus.synthetic import synthetic_corpus
from dgl_merc.errors import InputError, InUseError
from dgl_merc.graphs import GraphSpec
from dgl_merc.graphs.build import BuildOptions, build_store
from dgl_merc.reports.study_report import write_study_report
from dgl_merc.studies import study as study_module
from dgl_merc.studies.study import Outcome, evaluate_test
from dgl_merc.studies.summary import summarise
from dgl_merc.training import fit
from dgl_merc.training.run_folder import open_run
from dgl_merc.training.source import open_source

pytestmark = pytest.mark.usefixtures("unpainted")


def test_a_failed_run_leaves_a_gap_and_the_others_go_on(source, store, tmp_path, painted):
    g = grid("training.lr=.01,1e30", seeds=1)
    g = replace(g, words=(*g.words, "training.clip=0", "training.max_epochs=4"))
    outcomes = go(g, tmp_path / "s", source, store)
    assert [o.metrics is None for o in outcomes] == [False, True]
    assert "the loss is nan" in outcomes[1].fault or "expected a finite answer" in outcomes[1].fault
    summary, numbers = summarise(g, outcomes, tmp_path / "s")
    result = write_study_report(tmp_path / "s", summary, numbers)
    assert result.shown["runs"].tolist() == ["1", "0 (1 failed)"]
    assert result.shown["dev"].tolist()[1] == "–"
    assert numbers["failed"].tolist() == [0, 1]
    assert "failed: " in (tmp_path / "s" / "report.html").read_text()
    with pytest.raises(InputError, match=r"1 of 2 runs failed .* test stays unseen"):
        list(evaluate_test(tmp_path / "s", source, outcomes))
    assert not json.loads((tmp_path / "s" / "study.json").read_text())["test_evaluated"]


@pytest.mark.slow
def test_workers_are_told_where_the_graphs_are(store, tmp_path, monkeypatch):
    """Workers outlive a study; they may stand in another folder than the one a relative path was meant from."""
    hashes = []
    for k in range(2):
        corpus = save_corpus(synthetic_corpus(10 + k, (4, 2, 2), with_ceilings=False), tmp_path / f"w{k}" / "corpus")
        build_store(corpus, tmp_path / f"w{k}" / "graphs", GraphSpec(tuple(corpus.modalities)), BuildOptions(edges=False))
        monkeypatch.chdir(tmp_path / f"w{k}")
        outcomes = go(grid(), Path("study"), open_source(Path("graphs")), Path("graphs"), jobs=2)
        assert not [o.fault for o in outcomes if o.fault]
        hashes.append({open_run(Path("study") / o.cell.place).data["corpus"]["content_sha256"] for o in outcomes})
        assert hashes[-1] == {corpus.content_sha256}
    assert hashes[0] != hashes[1]


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="/proc")
def test_a_worker_that_is_killed_is_one_line(source, store, tmp_path):
    killed: list[int] = []

    def kill(_outcome: Outcome) -> None:
        children = Path(f"/proc/{os.getpid()}/task").glob("*/children")
        for pid in {int(p) for file in children for p in file.read_text().split()}:
            if "popen_loky" in Path(f"/proc/{pid}/cmdline").read_text() and not killed:
                killed.append(pid)
                os.kill(pid, signal.SIGKILL)

    with pytest.raises(InputError, match=r"a process that made runs was killed .*; the same command goes on with the rest"):
        go(grid(seeds=6), tmp_path / "s", source, store, jobs=2, on_outcome=kill)
    outcomes = go(grid(seeds=6), tmp_path / "s", source, store)
    assert [bool(o.metrics) for o in outcomes] == [True] * 6


def test_memory_that_does_not_suffice_is_the_fault_of_a_run(source, store, tmp_path, monkeypatch):
    errors = iter(
        [
            MemoryError(),
            RuntimeError("[enforce fail at alloc_cpu.cpp:121] DefaultCPUAllocator: can't allocate memory"),
            RuntimeError("a bug"),
        ]
    )

    def fail(*_: object, **__: object) -> None:
        raise next(errors)

    monkeypatch.setattr(study_module, "fit", fail)
    outcomes = go(grid(seeds=2), tmp_path / "s", source, store)
    assert all(o.fault.startswith("memory does not suffice") for o in outcomes)
    with pytest.raises(RuntimeError, match="a bug"):
        go(grid(seeds=2), tmp_path / "s", source, store)


def test_a_run_in_use_is_waited_for(source, store, tmp_path, monkeypatch):
    made, tries = fit, []

    def busy(*args: Any, **options: Any) -> Any:
        tries.append(1)
        if len(tries) < 3:
            raise InUseError("in use by another process")
        return made(*args, **options)

    monkeypatch.setattr(study_module, "fit", busy)
    monkeypatch.setattr(study_module.time, "sleep", lambda _: None)
    (outcome,) = go(grid(seeds=1), tmp_path / "s", source, store)
    assert (outcome.fault, len(tries)) == ("", 3)
    monkeypatch.setattr(study_module, "_PATIENCE", -1.0)
    tries.clear()
    (outcome,) = go(grid(seeds=1), tmp_path / "s", source, store)
    assert "in use" in outcome.fault
