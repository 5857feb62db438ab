"""The notebooks run, and show what is stored in them."""

from __future__ import annotations

import base64
from io import BytesIO
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import nbformat
import pytest
from media_cases import need_media
from nbclient.exceptions import CellExecutionError
from PIL import Image, ImageDraw

from notebooks import FOLDER, NOTEBOOKS, ROOT, difference, differences, executed, shown, smaller, trains

NAMES = ["01_from_dialogue_to_heterograph", "02_what_the_edges_say", "03_inside_mglra", "04_uncertainty_in_sgrnet", "05_your_own_data"]


def read(path: Path) -> Any:
    return nbformat.read(path, as_version=4)


@pytest.mark.slow
@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_it_shows_what_is_stored(path: Path, tmp_path: Path) -> None:
    stored = read(path)
    if any("dgl_merc.extraction" in cell.source for cell in stored.cells):
        need_media()
    assert sum(len(shown(cell)) for cell in stored.cells) > 5, "vacuous: nothing is stored"
    assert differences(stored, executed(path, tmp_path)) == []


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_it_was_stored_whole(path: Path) -> None:
    stored = read(path)
    nbformat.validate(stored)
    code = [cell for cell in stored.cells if cell.cell_type == "code"]
    assert [cell.execution_count for cell in code] == list(range(1, len(code) + 1))
    assert {output.output_type for cell in code for output in cell.outputs} <= {"execute_result", "display_data", "stream"}
    assert not [cell for cell in code for kind, _ in shown(cell) if kind == "stderr"], "a warning is stored"
    assert "/tmp/" not in path.read_text(encoding="utf-8"), "a place of somebody's machine is stored"
    assert any("MELD" in cell.source for cell in stored.cells), "says what to change for MELD"
    assert path.stat().st_size < 500 << 10


def test_each_is_there_and_in_the_readme() -> None:
    assert [path.stem for path in NOTEBOOKS] == NAMES
    readme = (FOLDER / "README.md").read_text(encoding="utf-8")
    assert [name for name in NAMES if f"({name}.ipynb)" not in readme] == []
    assert [trains(read(path)) for path in NOTEBOOKS] == [False, False, True, True, True]


def notebook(path: Path, *sources: str) -> Path:
    made = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(source) for source in sources])
    nbformat.write(made, path)
    return path


def test_this_checkout_is_executed_with_one_thread(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", "3")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path / "elsewhere"))
    source = "import os, dgl_merc.graphs\nprint(dgl_merc.graphs.__file__, os.environ['OMP_NUM_THREADS'], os.getcwd(), sep='\\n')"
    (cell,) = executed(notebook(tmp_path / "a.ipynb", source), tmp_path).cells
    file, threads, folder = shown(cell)[0][1].split()
    assert (Path(file).resolve(), threads, Path(folder)) == (ROOT / "graphs/__init__.py", "1", tmp_path.resolve())


def test_a_cell_that_fails_is_told(tmp_path: Path) -> None:
    with pytest.raises(CellExecutionError) as failed:
        executed(notebook(tmp_path / "a.ipynb", "1 + 1", "raise ValueError('no')"), tmp_path)
    assert (failed.value.ename, failed.value.evalue) == ("ValueError", "no")


def png(shade: int, *, mark: bool = False, width: int = 320) -> str:
    picture, buffer = Image.new("RGB", (width, 240), (shade,) * 3), BytesIO()
    if mark:
        ImageDraw.Draw(picture).rectangle((100, 100, 120, 115), fill="black")
    picture.save(buffer, "PNG")
    return base64.b64encode(buffer.getvalue()).decode()


@pytest.mark.parametrize(
    ("kind", "stored", "fresh", "trained", "alike"),
    [
        ("text", "edges 12  .413", "edges 12 .413", False, True),
        ("text", "share 0.413", "share 0.414", False, True),
        ("text", "share 0.413", "share 0.418", False, False),
        ("text", "share 0.413", "share 0.418", True, True),
        ("text", "share 0.413", "share 0.433", True, False),
        ("text", "change +0.3", "change +0.5", True, True),
        ("text", "change +0.3", "change -0.3", True, False),
        ("text", "p 1.2e-10", "p 1.9e-10", True, False),
        ("text", "12 edges", "13 edges", True, False),
        ("text", "12 edges", "12 nodes", True, False),
        ("text", "-----\n1.0", "---------\n1.0", False, True),
        ("picture", png(200), png(202), False, True),
        ("picture", png(200), png(190), True, False),
        ("picture", png(200), png(200, mark=True), True, False),
        ("picture", png(200), png(200, width=340), True, False),
        ("picture", png(200, mark=True), smaller(png(200, mark=True)), False, True),
    ],
)
def test_what_counts_as_the_same(kind: str, stored: str, fresh: str, trained: bool, alike: bool) -> None:
    assert (difference(kind, stored, fresh, trained=trained) is None) == alike


def test_a_cell_that_shows_more_or_fails_is_told_of() -> None:
    def cell(*outputs: Any) -> Any:
        return SimpleNamespace(source="", get=lambda _key, _default: list(outputs))

    text = SimpleNamespace(output_type="stream", name="stdout", text="a\n")
    error = SimpleNamespace(output_type="error", ename="ValueError", evalue="no")
    for before, after in (([text], []), ([text], [error])):
        stored, fresh = (SimpleNamespace(cells=[cell(*part)]) for part in (before, after))
        assert len(differences(stored, fresh)) == 1
    assert shown(cell(text, text)) == [("stdout", "a\na\n")]
    table = SimpleNamespace(output_type="execute_result", data={"text/plain": "a 1", "text/html": "<b>a</b> 1"})
    assert shown(cell(table)) == [("text", "a 1"), ("text", "<b>a</b> 1")]
