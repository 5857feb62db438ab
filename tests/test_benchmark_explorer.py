"""benchmarks/explorer.py times a page that works."""

from __future__ import annotations

import importlib
from pathlib import Path

import pytest
from browser import CHROMIUM
from click.testing import CliRunner
from conftest import need

BENCHMARKS = Path(__file__).resolve().parents[1] / "benchmarks"


@pytest.mark.browser
def test_its_table(monkeypatch: pytest.MonkeyPatch) -> None:
    need("chromium", CHROMIUM is not None, "no chromium")
    monkeypatch.syspath_prepend(BENCHMARKS)
    module = importlib.import_module("explorer")
    result = CliRunner().invoke(module.main, ["--utterances", "30", "--times", "4"])
    assert result.exit_code == 0, (result.output, result.exception)
    rows = [[cell.strip() for cell in line.split("|")[1:-1]] for line in result.output.splitlines() if line.startswith("| ")][1:]
    assert [row[0] for row in rows] == ["open", *["hover", "threshold, an utterance hovered"] * 2, "edges"]
    assert all(0 < int(row[3]) <= int(row[4]) <= int(row[5]) for row in rows[1:])
    few, every = ([int(n) for n in rows[k][1].split(" of ")] for k in (1, 3))
    assert 3 * few[0] < every[0] == every[1] == few[1] <= 30 * 29
