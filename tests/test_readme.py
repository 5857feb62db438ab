"""The README's commands, run as they stand (fits with one epoch), and its promises about files."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")
BLOCKS = dict(re.findall(r"<!-- test: (\w+) -->\n```sh\n(.*?)```", README, flags=re.DOTALL))


def run(block: str, folder: Path, meld: Path | None = None) -> str:
    script = re.sub(r"(dglmerc fit \S+)", r"\1 --set training.max_epochs=1", block)
    if meld is not None:
        script = script.replace("../shared/data/meld", str(meld))
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    done = subprocess.run(
        ["bash", "-euo", "pipefail", "-c", script],
        cwd=folder,
        env={**os.environ, "PATH": path},
        capture_output=True,
        text=True,
        timeout=600,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_every_command_block_is_run():
    assert set(BLOCKS) == {"meld", "meld5", "table"}
    for block in re.findall(r"```sh\n(.*?)```", README, flags=re.DOTALL):
        assert "dglmerc" not in block or block in BLOCKS.values(), f"a block of commands that no test runs:\n{block}"


@pytest.mark.dgl
def test_your_own_conversations(tmp_path):
    out = run(BLOCKS["table"], tmp_path)
    assert "Graphs of 3 dialogues in data/talk-graphs" in out
    assert (tmp_path / "data/talk-graphs/manifest.json").is_file()


@pytest.mark.slow
@pytest.mark.data
@pytest.mark.parametrize("name", ["meld", "meld5"])
def test_meld(name, tmp_path, meld_dir):
    out = run(BLOCKS[name], tmp_path, meld_dir)
    expected = {"meld": ["9989", "1109", "2610"], "meld5": ["3452", "428", "924"]}[name]
    assert all(count in out for count in expected)
    runs = sorted((tmp_path / "runs").iterdir())
    assert [r.name for r in runs] == [f"{p}-{name}-graphs-seed0" for p in (["bilstm", "mglra"] if name == "meld" else ["mglra"])]
    assert all((r / "report.html").is_file() for r in runs)


def test_files_the_readme_names_are_there():
    for name in re.findall(r"\]\((?!http)([^)#]+)\)", README):
        assert (ROOT / name).exists(), f"README links to {name}, which is not there"
