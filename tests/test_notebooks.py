"""The notebooks run, and show what is stored in them."""

from __future__ import annotations

import base64
from io import BytesIO
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import nbformat
import pytest
from PIL import Image

from notebooks import FOLDER, NOTEBOOKS, difference, differences, executed, shown

NAMES = ["01_from_dialogue_to_heterograph", "02_what_the_edges_say", "03_inside_mglra", "04_uncertainty_in_sgrnet", "05_your_own_data"]


@pytest.mark.slow
@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_it_shows_what_is_stored(path: Path, tmp_path: Path) -> None:
    stored: Any = nbformat.read(path, as_version=4)
    assert sum(len(shown(cell)) for cell in stored.cells) > 5, "vacuous: nothing is stored"
    assert differences(stored, executed(path, tmp_path)) == []


def test_each_is_there_and_says_what_to_change_for_meld() -> None:
    assert [path.stem for path in NOTEBOOKS] == NAMES
    readme = (FOLDER / "README.md").read_text(encoding="utf-8")
    for path in NOTEBOOKS:
        stored: Any = nbformat.read(path, as_version=4)
        nbformat.validate(stored)
        assert any("MELD" in cell.source for cell in stored.cells), path
        assert f"({path.name})" in readme
        assert path.stat().st_size < 1 << 20


def png(shade: int) -> str:
    buffer = BytesIO()
    Image.new("L", (50, 40), shade).save(buffer, "PNG")
    return base64.b64encode(buffer.getvalue()).decode()


@pytest.mark.parametrize(
    ("kind", "stored", "fresh", "alike"),
    [
        ("text", "edges 12  .413", "edges 12 .413", True),
        ("text", "share 0.413", "share 0.418", True),
        ("text", "share 0.413", "share 0.513", False),
        ("text", "12 edges", "13 edges", False),
        ("text", "12 edges", "12 nodes", False),
        ("text", "-----\n1.0", "---------\n1.0", True),
        ("picture", png(200), png(203), True),
        ("picture", png(200), png(90), False),
    ],
)
def test_what_counts_as_the_same(kind: str, stored: str, fresh: str, alike: bool) -> None:
    assert (difference(kind, stored, fresh) is None) == alike


def test_a_cell_that_shows_more_or_fails_is_told() -> None:
    def cell(*outputs: Any) -> Any:
        return SimpleNamespace(get=lambda _key, _default: list(outputs))

    text = SimpleNamespace(output_type="stream", name="stdout", text="a\n")
    error = SimpleNamespace(output_type="error", ename="ValueError", evalue="no")
    for before, after in (([text], []), ([text], [error])):
        stored, fresh = (SimpleNamespace(cells=[cell(*part)]) for part in (before, after))
        assert len(differences(stored, fresh)) == 1
    assert shown(cell(text, text)) == [("stdout", "a\na\n")]
