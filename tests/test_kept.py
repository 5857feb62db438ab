"""What extractors have answered, in files that may be torn or damaged."""

from __future__ import annotations

import json
import resource
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from dgl_merc.errors import InputError
from dgl_merc.extraction import Absence
from dgl_merc.extraction import kept as module
from dgl_merc.extraction.kept import Kept


@pytest.fixture
def files(tmp_path: Path) -> tuple[Path, dict[str, Any]]:
    """Three batches, with an absence in the second."""
    answers: dict[str, Any] = {f"{k:064x}": np.full(3, k, dtype=np.float32) for k in range(6)}
    answers[f"{3:064x}"] = Absence("dull")
    path = tmp_path / "x"
    for lo in (0, 2, 4):
        with Kept(3, path) as kept:
            assert kept.taken_over == lo
            kept.add(list(answers.items())[lo : lo + 2])
    return path, answers


def read_back(path: Path, answers: dict[str, Any]) -> int:
    """How many answers are there; that they are a beginning, and right."""
    with Kept(3, path) as kept:
        there = [key for key in answers if key in kept]
        assert there == list(answers)[: len(there)]
        assert kept.taken_over == len(there)
        x, why = kept.answers(there)
        np.testing.assert_array_equal(np.asarray(x), np.stack([answers[k] for k in there if f"{3:064x}" != k] or [np.zeros(3)])[: len(x)])
        assert why == [answers[key].reason if isinstance(answers[key], Absence) else None for key in there]
        kept.add([(key, answer) for key, answer in answers.items() if key not in there])
    return len(there)


def test_torn_files_lose_their_last_batch_and_no_more(files, tmp_path):
    path, answers = files
    assert read_back(path, answers) == 6
    whole = {ending: path.with_suffix(ending).read_bytes() for ending in (".jsonl", ".f32")}
    ends = {".jsonl": np.cumsum([len(line) for line in whole[".jsonl"].splitlines(True)]).tolist(), ".f32": [24, 36, 60]}
    for ending, content in whole.items():
        for n in range(0, len(content), 23 if ending == ".jsonl" else 5):
            for other, all_of_it in whole.items():
                path.with_suffix(other).write_bytes(all_of_it)
            path.with_suffix(ending).write_bytes(content[:n])
            assert read_back(path, answers) == 2 * sum(end <= n for end in ends[ending]), (ending, n)
            assert read_back(path, answers) == 6, "what was lost was made again"


def test_what_is_thrown_away_is_gone(files):
    path, answers = files
    sizes = [path.with_suffix(ending).stat().st_size for ending in (".jsonl", ".f32")]
    for ending in (".jsonl", ".f32"):
        with path.with_suffix(ending).open("ab") as file:
            file.write(b"x" * 1000)
    assert read_back(path, answers) == 6
    assert [path.with_suffix(ending).stat().st_size for ending in (".jsonl", ".f32")] == sizes


def test_damaged_files_are_not_believed(files):
    path, answers = files
    whole = {ending: path.with_suffix(ending).read_bytes() for ending in (".jsonl", ".f32")}
    lines = whole[".jsonl"].splitlines(True)
    second = json.loads(lines[1])
    hostile = [
        b"{}\n",
        b"[]\n",
        b"\xff\n",
        b"[" * 100_000 + b"\n",
        *(
            json.dumps({**second, key: value}).encode() + b"\n"
            for key, value in (("keys", ["zz"]), ("keys", 3), ("sha256", None), ("absent", []))
        ),
        lines[1].replace(b"dull", b"loud"),
    ]
    for line in hostile:
        path.with_suffix(".f32").write_bytes(whole[".f32"])
        path.with_suffix(".jsonl").write_bytes(lines[0] + line + lines[2])
        assert read_back(path, answers) == 2, line[:40]
    path.with_suffix(".jsonl").write_bytes(whole[".jsonl"])
    path.with_suffix(".f32").write_bytes(whole[".f32"][:30] + b"\1" + whole[".f32"][31:])
    assert read_back(path, answers) == 2


@pytest.mark.parametrize("many", [1, 100, 2000])  # fits into the writer's buffer or not
def test_a_full_disk_is_one_line_with_a_place_and_what_was_written_stays(files, many):
    path, answers = files
    new = [(f"{100 + k:064x}", np.full(3, k, dtype=np.float32)) for k in range(many)]
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    kept = Kept(3, path)
    kept.add(new)
    resource.setrlimit(resource.RLIMIT_FSIZE, (path.with_suffix(".f32").stat().st_size + 5, limits[1]))
    try:
        with pytest.raises(InputError, match=rf"^{path}: can't be written \(File too large\)"):
            kept.__exit__()
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert read_back(path, answers) == 6


@pytest.mark.parametrize("step", ["fsync", "_know", "_append"])
@pytest.mark.parametrize("when", ["before", "after"])
@pytest.mark.parametrize("n", [1, 2, 3])
def test_interrupted_while_it_writes_no_key_gets_another_s_vector(tmp_path, monkeypatch, step, when, n):
    """What is new is written when the context ends, too: a batch that was cut off by Ctrl-C comes twice."""
    answers: dict[str, Any] = {f"{k:064x}": np.full(3, k, dtype=np.float32) for k in range(6)}
    answers[f"{3:064x}"] = Absence("dull")
    calls = 0

    def interrupted(real: Any) -> Any:
        def call(*args: Any) -> Any:
            nonlocal calls
            calls += 1
            if calls == n and when == "before":
                raise KeyboardInterrupt
            result = real(*args)
            if calls == n:
                raise KeyboardInterrupt
            return result

        return call

    def work() -> None:
        with Kept(3, tmp_path / "x") as kept:
            monkeypatch.setattr(holder, step, interrupted(getattr(holder, step)))
            for key, answer in answers.items():
                kept.add([(key, answer)])

    holder = module.os if step == "fsync" else Kept
    monkeypatch.setattr(module, "_SECONDS", 0.0)
    with pytest.raises(KeyboardInterrupt):
        work()
    monkeypatch.undo()
    assert read_back(tmp_path / "x", answers) >= 1, "vacuous: nothing was written"
    assert read_back(tmp_path / "x", answers) == 6
