"""What the tests share: where real data is, and the rule that a skip must not count as a pass in CI."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

# Before torch is imported: with more threads than free cores its tiny operations mostly wait for each other, and take ten times as long.
os.environ.setdefault("OMP_NUM_THREADS", "1")

DATA = Path(__file__).resolve().parents[1].parent / "shared" / "data"
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
