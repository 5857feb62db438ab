"""What is installed, what imports what, and that the wheel runs somewhere else."""

from __future__ import annotations

import ast
import configparser
import os
import re
import shutil
import subprocess
import sys
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
FOLDERS = {"dgl_merc": ROOT / "dgl_merc", "dgl_merc.graphs": ROOT / "graphs", "dgl_merc.cli": ROOT / "cli"}
ROOMS = [
    ["corpus"],
    ["extraction"],
    ["graphs"],
    ["kernels"],
    ["layers"],
    ["models", "heads", "losses"],
    ["evaluation"],
    ["reports"],
    ["training"],
    ["inference"],
    ["explanations"],
    ["studies"],
    ["cli"],
]
COMMON = {"errors", "files", "settings", "version", "_dgl"}

SETUP = configparser.ConfigParser()
SETUP.read(ROOT / "setup.cfg", encoding="utf-8")


def lines(section: str, key: str) -> list[str]:
    return SETUP[section][key].split("\n")[1:]


def sources() -> Iterator[tuple[str, Path]]:
    """Every file of the package: its dotted name, and where it stands."""
    for package, folder in FOLDERS.items():
        for path in sorted(folder.rglob("*")):
            inside = path.relative_to(folder)
            if (
                path.is_file()
                and "__pycache__" not in inside.parts
                and not (package == "dgl_merc" and inside.parts[0] in ("graphs", "cli"))
            ):
                yield ".".join([package, *inside.with_suffix("").parts]).removesuffix(".__init__"), path


MODULES = {name: path for name, path in sources() if path.suffix == ".py"}
TREES = {name: ast.parse(path.read_text(encoding="utf-8")) for name, path in MODULES.items()}
PACKAGES = {name for name, path in MODULES.items() if path.name == "__init__.py"}


def test_the_package_list_is_the_folders():
    assert lines("options", "packages") == sorted(PACKAGES)
    holding = {name.rpartition(".")[0] for name, path in MODULES.items() if path.name != "__init__.py"}
    assert holding <= PACKAGES, "a folder without __init__.py"
    wanted = [f"{name} = {folder.relative_to(ROOT)}" for name, folder in FOLDERS.items()]
    assert lines("options", "package_dir") == wanted
    for name in ("graphs", "cli"):
        assert (ROOT / "dgl_merc" / name).is_symlink()
        assert os.readlink(ROOT / "dgl_merc" / name) == f"../{name}"


def test_package_data_covers_every_other_file():
    covered: set[Path] = set()
    for package, patterns in SETUP["options.package_data"].items():
        assert package in PACKAGES
        for pattern in re.split(r"[,\s]+", patterns.strip()):
            found = [p for p in (ROOT / package.replace(".", "/")).glob(pattern) if p.is_file()]
            assert found, f"{package}: {pattern} matches nothing"
            covered |= {p.resolve() for p in found}
    others = {path.resolve() for _, path in sources() if path.suffix != ".py"}
    assert others == covered


def imported(name: str) -> Iterator[str]:
    """Every module that a module names in an import, also inside functions and under TYPE_CHECKING."""
    for node in ast.walk(TREES[name]):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{name}: a relative import"
            assert node.module is not None
            for alias in node.names:
                whole = f"{node.module}.{alias.name}"
                yield whole if whole in MODULES else node.module


def room(name: str) -> int | None:
    part = name.split(".")[1] if "." in name else ""
    return next((k for k, rooms in enumerate(ROOMS) if part in rooms), None)


@pytest.mark.parametrize("name", MODULES)
def test_each_room_knows_only_the_rooms_to_its_left(name):
    for other in imported(name):
        assert other.split(".")[0] not in ("graphs", "cli"), f"{name} imports {other}: it is installed as dgl_merc.{other}"
        if other.split(".")[0] != "dgl_merc":
            continue
        assert other in MODULES or other == "dgl_merc", f"{name} imports {other}, which is not there"
        mine, its = room(name), room(other)
        if its is None:
            assert other == "dgl_merc" or other.split(".")[1] in COMMON, f"{name} imports {other}"
        elif mine is None:
            raise AssertionError(f"{name} is for all rooms and imports {other}")
        else:
            assert its <= mine, f"{name} imports {other}, a room to its right"


def test_what_reads_files_of_strangers_stands_alone():
    for name in (name for name in MODULES if name.startswith("dgl_merc.corpus.foreign.")):
        ours = [other for other in imported(name) if other.split(".")[0] == "dgl_merc"]
        assert all(other == "dgl_merc.errors" or other.startswith("dgl_merc.corpus.foreign") for other in ours), name


def test_every_folder_is_a_room():
    assert {name.split(".")[1] for name in PACKAGES if "." in name} == {r for rooms in ROOMS for r in rooms}
    assert {name.split(".")[1] for name in MODULES if name.count(".") == 1 and name not in PACKAGES} == COMMON


def test_the_test_of_rooms_can_fail():
    TREES["dgl_merc.corpus._probe"] = ast.parse("def f():\n    from dgl_merc.training import fit\n")
    try:
        with pytest.raises(AssertionError, match="a room to its right"):
            test_each_room_knows_only_the_rooms_to_its_left("dgl_merc.corpus._probe")
    finally:
        del TREES["dgl_merc.corpus._probe"]


@pytest.mark.parametrize("name", MODULES)
def test_nothing_is_read_through_pickle(name):
    banned = {"pickle", "cPickle", "_pickle", "dill", "cloudpickle", "joblib", "shelve", "marshal"}
    foreign = {other.split(".")[0] for other in imported(name)}
    if name == "dgl_merc.studies.study":  # hands runs to processes; reads no file
        (taken,) = (n for n in ast.walk(TREES[name]) if isinstance(n, ast.ImportFrom) and n.module == "joblib")
        assert {alias.name for alias in taken.names} == {"Parallel", "delayed"}
        foreign.remove("joblib")
    assert not foreign & banned
    for node in ast.walk(TREES[name]):
        if isinstance(node, ast.Attribute):
            assert ast.unparse(node) not in ("torch.load", "torch.save"), f"line {node.lineno}"
            assert node.attr not in ("read_pickle", "to_pickle", "load_learner"), f"line {node.lineno}"
        if isinstance(node, ast.Call):
            given = {k.arg: ast.unparse(k.value) for k in node.keywords}
            if ast.unparse(node.func) in ("np.load", "numpy.load", "np.save", "numpy.save", "np.lib.format.read_array"):
                assert given.get("allow_pickle") == "False", f"line {node.lineno}"
            assert given.get("allow_pickle", "False") == "False", f"line {node.lineno}"


def test_files_are_short():
    here = [*MODULES.values(), *(ROOT / "tests").glob("*.py")]
    long = {str(p.relative_to(ROOT)): n for p in here if (n := len(p.read_text(encoding="utf-8").splitlines())) >= 410}
    assert not long


def python(code: str, **options: object) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False, **options)


def test_importing_the_package_is_light():
    done = python("import sys, dgl_merc; print({'torch', 'dgl', 'pandas', 'numpy'} & set(sys.modules), dgl_merc.__version__)")
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("set() ")


@pytest.mark.parametrize("name", MODULES)
def test_scikit_learn_is_loaded_by_whoever_needs_it(name):
    """It takes a second, at every start of every command and of every process that trains."""
    at_once = [node for node in TREES[name].body if isinstance(node, ast.Import | ast.ImportFrom)]
    assert not [node.lineno for node in at_once if "sklearn" in ast.unparse(node)]


@pytest.mark.dgl
def test_no_module_is_loaded_under_two_names():
    code = f"""
import collections, importlib, os, sys
for name in {sorted(set(MODULES) - {"dgl_merc.cli.__main__"})!r}:
    importlib.import_module(name)
files = collections.defaultdict(set)
for name, module in list(sys.modules.items()):
    path = getattr(module, "__file__", None)
    if path and os.path.realpath(path).startswith({str(ROOT)!r} + os.sep) and "site-packages" not in path:
        files[os.path.realpath(path)].add(name)
twice = {{p: n for p, n in files.items() if len(n) > 1}}
assert not twice, twice
assert not {{"graphs", "cli"}} & set(sys.modules)
assert len(files) >= {len(MODULES) - 1}, len(files)
"""
    done = python(code, cwd=ROOT)
    assert done.returncode == 0, done.stderr


@pytest.mark.slow
def test_the_wheel_holds_everything_and_runs_elsewhere(tmp_path):
    tree = tmp_path / "tree"
    tree.mkdir()
    for name in ("setup.cfg", "pyproject.toml", "LICENSE", "README.md"):
        if (ROOT / name).exists():
            shutil.copy(ROOT / name, tree / name)
    for name in ("dgl_merc", "graphs", "cli"):
        shutil.copytree(ROOT / name, tree / name, symlinks=True, ignore=shutil.ignore_patterns("__pycache__"))
    build = [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", str(tmp_path), str(tree)]
    done = subprocess.run(build, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]
    (wheel,) = tmp_path.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        names = set(archive.namelist())
        archive.extractall(tmp_path / "unpacked")
    expected = {
        f"{package.replace('.', '/')}/{path.relative_to(folder)}"
        for package, folder in FOLDERS.items()
        for _, path in sources()
        if path.is_relative_to(folder)
    }
    assert {n for n in names if ".dist-info/" not in n} == expected
    assert {n.split("/")[0] for n in names if ".dist-info/" not in n} == {"dgl_merc"}
    code = (
        "import dgl_merc, dgl_merc.graphs, dgl_merc.cli.main\n"
        "from dgl_merc.training import preset_names\n"
        "assert preset_names()\n"
        "print(dgl_merc.__file__, dgl_merc.graphs.__file__)"
    )
    where = {"cwd": tmp_path, "env": {**os.environ, "PYTHONPATH": str(tmp_path / "unpacked")}}
    done = python(code, **where)
    assert done.returncode == 0, done.stderr
    assert all(path.startswith(str(tmp_path / "unpacked")) for path in done.stdout.split())
    version = subprocess.run([sys.executable, "-m", "dgl_merc.cli", "--version"], capture_output=True, text=True, check=False, **where)
    assert version.stdout.startswith("dglmerc, version "), version.stderr
