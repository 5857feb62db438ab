"""The one door to DGL: what is settled before the import, seen from fresh processes."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from dgl_merc._dgl import _graphbolt_fits

pytestmark = pytest.mark.dgl
VERSION = torch.__version__.split("+", 1)[0]


def run(code: str, cwd: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    kept = {k: v for k, v in os.environ.items() if k not in ("DGLBACKEND", "DGLDEFAULTDIR")}
    return subprocess.run(
        [sys.executable, "-c", code], env=kept | environment, cwd=cwd, capture_output=True, text=True, check=False, timeout=120
    )


def test_a_home_that_is_not_there_or_cannot_be_written(tmp_path):
    code = "from dgl_merc._dgl import dgl, fn; import os; assert os.environ['DGLBACKEND'] == 'pytorch'; assert fn.copy_u"
    home = Path("/proc/none")  # neither there nor to be made, not even by root
    done = run(code, tmp_path, HOME=str(home))
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    assert not home.exists()
    (tmp_path / "home").mkdir()
    done = run(code, tmp_path, HOME=str(tmp_path / "home"))
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    assert list((tmp_path / "home").iterdir()) == []


def test_graphs_and_corpora_need_no_dgl(tmp_path):
    code = (
        "import sys, dgl_merc, dgl_merc.corpus, dgl_merc.graphs, dgl_merc.graphs.build as b\n"
        "from dgl_merc.graphs import GraphSpec, Structure\n"
        "s = Structure.of([3], GraphSpec(('text',))); s.edges(('text', 'same', 'text')); s.blocks(('text',))\n"
        "assert 'dgl' not in sys.modules"
    )
    done = run(code, tmp_path)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize(
    ("files", "fits"),
    [
        ([], True),
        (["graphbolt/__init__.py"], False),
        ([f"graphbolt/libgraphbolt_pytorch_{VERSION}.so"], True),
        ([f"graphbolt/graphbolt_pytorch_{VERSION}.dll"], True),
        (["graphbolt/libgraphbolt_pytorch_2.2.1.so"], False),
        ([f"graphbolt/libgraphbolt_pytorch_{VERSION}1.so"], False),
        ([f"libgraphbolt_pytorch_{VERSION}.so", "graphbolt/x"], False),
    ],
    ids=["none", "no library", "fits", "fits on Windows", "an older torch", "a longer version", "elsewhere"],
)
def test_whether_graphbolt_fits(tmp_path, files, fits):
    for name in files:
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    assert _graphbolt_fits(tmp_path) is fits


FAKE = """
import os, warnings
warnings.warn("old", DeprecationWarning)
import dgl.graphbolt
backend = os.environ["DGLBACKEND"]
"""
REPORT = (
    "import json, warnings; warnings.simplefilter('error')\n"
    "from dgl_merc._dgl import dgl, fn, graphbolt_is_stubbed as stub\n"
    "import dgl.graphbolt as g\n"
    "print(json.dumps([dgl.backend, stub, getattr(g, 'real', False)]))"
)


def fake_dgl(folder: Path, graphbolt: str, library: str | None) -> None:
    (folder / "dgl/graphbolt").mkdir(parents=True)
    (folder / "dgl/__init__.py").write_text(FAKE)
    (folder / "dgl/function.py").write_text("")
    (folder / "dgl/graphbolt/__init__.py").write_text(graphbolt)
    if library:
        (folder / "dgl/graphbolt" / library).touch()


def test_a_graphbolt_that_does_not_fit_is_stood_in_for(tmp_path):
    fake_dgl(tmp_path, "raise FileNotFoundError('its library fits torch 2.2')", "libgraphbolt_pytorch_2.2.1.so")
    done = run(REPORT, tmp_path, PYTHONPATH=str(tmp_path))
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout) == ["pytorch", True, False]


def test_a_graphbolt_that_fits_is_left_alone(tmp_path):
    fake_dgl(tmp_path, "real = True", f"libgraphbolt_pytorch_{VERSION}.so")
    done = run(REPORT, tmp_path, PYTHONPATH=str(tmp_path), DGLBACKEND="chosen")
    assert json.loads(done.stdout) == ["chosen", False, True], done.stderr


def test_without_dgl_the_error_says_what_to_install(tmp_path):
    code = "import importlib.util as u; real = u.find_spec; u.find_spec = lambda n, *a: None if n == 'dgl' else real(n, *a)\nimport dgl_merc._dgl"
    done = run(code, tmp_path)
    assert done.returncode == 1
    assert done.stderr.strip().splitlines()[-1] == "ModuleNotFoundError: dglmerc needs DGL: pip install 'dgl>=1.1.3' (Python 3.11 or 3.12)"
