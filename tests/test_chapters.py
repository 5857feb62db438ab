"""What the book says of the code, held to the code: commands, settings, equations, files."""

from __future__ import annotations

import fnmatch
import importlib
import importlib.util
import re
from dataclasses import fields, is_dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from dgl_merc.corpus import save_corpus
from dgl_merc.corpus.corpus import CORE_COLUMNS
from dgl_merc.corpus.synthetic import synthetic_corpus
from dgl_merc.graphs.build import build_store
from dgl_merc.models import options_of
from dgl_merc.training import fit, load_settings
from dgl_merc.training.settings import GraphSettings, TrainingSettings

ROOT = Path(__file__).resolve().parents[1]
EQUATIONS = (ROOT / "docs" / "equations.md").read_text(encoding="utf-8")
FORMATS = (ROOT / "docs" / "formats.md").read_text(encoding="utf-8")
MODELS = {"mglra": ("MGLRA", 24), "sgrnet": ("MA-CMU-SGRNet", 31)}
SOMETIMES = {"tensorboard/", "oracle.json"}


@pytest.fixture(scope="module")
def generate() -> ModuleType:
    spec = importlib.util.spec_from_file_location("generate", ROOT / "docs" / "generate.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize("name", ["commands.md", "equations.md"])
def test_what_is_generated_is_what_the_code_says(name, generate):
    page = (ROOT / "docs" / name).read_text(encoding="utf-8")
    assert page == generate.filled(page), "out of date: python docs/generate.py"
    assert [p.name for p in generate.PAGES] == ["commands.md", "equations.md"]


def test_every_command_has_its_help():
    from dgl_merc.cli.main import main

    page = (ROOT / "docs" / "commands.md").read_text(encoding="utf-8")
    for name in main.commands:
        assert f"\n## dglmerc {name}\n" in page


def options(value: Any, prefix: str = "") -> list[str]:
    """The dotted names of an options dataclass and those within it."""
    found: list[str] = []
    for f in fields(value):
        inner = getattr(value, f.name)
        found += options(inner, f"{prefix}{f.name}.") if is_dataclass(inner) else [f"{prefix}{f.name}"]
    return found


def rows(model: str) -> list[list[str]]:
    """The cells of a model's table of equations."""
    title = MODELS[model][0]
    chapter = EQUATIONS.split(f"\n## {title}\n")[1].split(f"\n### Options of {title}\n")[0]
    return [line.strip("|").split("|") for line in chapter.splitlines() if line.startswith("|")][2:]


@pytest.mark.parametrize("model", MODELS)
def test_every_equation_has_its_row(model):
    numbers = [row[0].strip() for row in rows(model)]
    assert [n for n in numbers if n != "-"] == [str(n + 1) for n in range(MODELS[model][1])]
    for row in rows(model):
        assert len(row) == 4
        assert row[1].strip()
        assert "][dgl_merc." in row[2], f"equation {row[0]} stands nowhere"


@pytest.mark.parametrize("model", MODELS)
def test_every_option_is_read_by_an_equation(model):
    known = options(options_of(model)())
    assert len(known) > 25
    said = {name for row in rows(model) for name in re.findall(r"`([^`]+)`", row[3])}
    patterns = {name for name in said if not name.startswith("--set ")}
    for name in known:
        assert any(fnmatch.fnmatchcase(name, pattern) for pattern in patterns), f"no equation names {name}"
    for pattern in patterns:
        assert fnmatch.filter(known, pattern), f"{pattern} is no option of {model}"
    settings = {"training": TrainingSettings(), "graph": GraphSettings()}
    for name in said - patterns:
        table, _, field = name.removeprefix("--set ").partition(".")
        assert hasattr(settings[table], field), f"{name} is no setting"


def test_every_dotted_name_can_be_resolved():
    names = re.findall(r"\]\[(dgl_merc[\w.]+)\]", EQUATIONS)
    assert len(names) > 100
    for name in set(names):
        module, _, attribute = name.rpartition(".")
        assert hasattr(importlib.import_module(module), attribute) or importlib.import_module(name), name


def test_settings_are_those_of_the_presets(generate):
    table = generate.settings("mglra")
    assert "| [`filter.output`][dgl_merc.layers.attention_filter.AttentionFilterOptions] | `share` | `leaf` |  |\n" in table
    assert "| [`context.input_dim`][dgl_merc.layers.context_encoder.ContextEncoderOptions] | `0` |  | `32` |\n" in table
    assert table.count("\n") == 2 + len(options(options_of("mglra")()))


# ---- formats


def listed(module: str) -> set[str]:
    """The files that the block of a module's docstring names, at the beginnings of its lines."""
    assert f"\n::: {module}\n" in FORMATS, f"formats.md does not show {module}"
    text = importlib.import_module(module).__doc__ or ""
    starts = [re.split(r"\s{2,}", line.strip())[0] for line in text.splitlines() if line.startswith("    ")]
    return {name for start in starts for name in start.removesuffix(" ...").split(", ")}


def present(folder: Path) -> set[str]:
    return {str(p.relative_to(folder)) for p in folder.rglob("*") if p.is_file()}


def held(folder: Path, names: set[str]) -> None:
    """Every file of a folder is named, and every name has a file."""
    patterns = {name: name.replace("<m>", "*").replace("00000", "*") + ("*" if name.endswith("/") else "") for name in names}
    there = present(folder)
    for path in there:
        assert any(fnmatch.fnmatchcase(path, pattern) for pattern in patterns.values()), f"{path} is named nowhere"
    for name, pattern in patterns.items():
        assert fnmatch.filter(there, pattern), f"{name} is not there"


@pytest.fixture(scope="module")
def demo(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny demo: corpus, graphs and a run with everything that a run can have."""
    folder = tmp_path_factory.mktemp("book") / "demo"
    corpus = save_corpus(synthetic_corpus(0, (6, 3, 3), with_ceilings=False), folder / "corpus")
    store = build_store(corpus, folder / "graphs")
    settings = load_settings("bilstm", ["model.hidden=4", "training.max_epochs=1"])
    fit(corpus, store.spec, settings, folder / "run", store=store, oracle=True, in_depth=True, tensorboard=True)
    return folder


def test_files_of_a_corpus(demo):
    held(demo / "corpus", listed("dgl_merc.corpus.storage"))


def test_files_of_a_store(demo):
    held(demo / "graphs", listed("dgl_merc.graphs.store"))


def test_files_of_a_run(demo):
    named = listed("dgl_merc.training.run_folder")
    assert named > SOMETIMES
    held(demo / "run", named)


def test_columns_of_utterances():
    table = FORMATS.split("| column | what |")[1].split("\n\n")[0]
    named = re.findall(r"`(\w+)`", " ".join(line.split("|")[1] for line in table.splitlines()[2:]))
    assert set(named) == {*CORE_COLUMNS, "emotion", "sentiment", "has_text", "has_audio", "no_audio_because", "audio_media"}


def test_looking_at_a_store(demo, monkeypatch):
    blocks = re.findall(r"```python\n(.*?)```", (ROOT / "docs" / "looking.md").read_text(encoding="utf-8"), flags=re.DOTALL)
    monkeypatch.chdir(demo.parent)
    scope: dict[str, Any] = {}
    for block in blocks:
        exec(compile(block, "looking.md", "exec"), scope)
    assert scope["store"].manifest["correlations"]
    assert scope["graph"].num_edges(("text", "same", "text")) > 0
    assert len(scope["explainer"].without_utterances()) > 2
