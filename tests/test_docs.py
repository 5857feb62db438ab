"""The book: it builds without a warning and without a network, holds every public name, and takes its parts from where they stand."""

from __future__ import annotations

import ast
import importlib.util
import os
import subprocess
import sys
import zlib
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from conftest import need

ROOT = Path(__file__).resolve().parents[1]
FOLDERS = {"dgl_merc": ROOT / "dgl_merc", "dgl_merc.graphs": ROOT / "graphs", "dgl_merc.cli": ROOT / "cli"}
CODE = ("pre", "code")
pytestmark = pytest.mark.xdist_group("book")


def needs_mkdocs() -> None:
    there = all(importlib.util.find_spec(name) for name in ("mkdocs", "material", "mkdocstrings"))
    need("docs", there, "mkdocs is not installed: pip install -e '.[docs]'")


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, subprocess.CompletedProcess[str]]:
    """The book as ``make docs`` builds it, in another folder, with no way to a network that honours a proxy."""
    needs_mkdocs()
    site = tmp_path_factory.mktemp("site")
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(site)]
    nowhere = dict.fromkeys(("http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY"), "http://127.0.0.1:9")
    environment = {**os.environ, **nowhere, "NO_MKDOCS_2_WARNING": "1", "NO_COLOR": "1"}
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=300, check=False)
    return site, done


@pytest.fixture(scope="module")
def site(built: tuple[Path, subprocess.CompletedProcess[str]]) -> Path:
    folder, done = built
    assert done.returncode == 0, done.stdout + done.stderr
    return folder


def script(name: str) -> ModuleType:
    """A script of the book."""
    needs_mkdocs()
    sys.path.insert(0, str(ROOT / "docs"))  # as mkdocs does for its hooks
    try:
        return importlib.import_module(name)
    finally:
        sys.path.remove(str(ROOT / "docs"))


class Page(HTMLParser):
    """What a page loads, and its text outside of code."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.loaded: list[str] = []
        self.text: list[str] = []
        self.inside: list[str] = []
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag in (*CODE, "script", "style"):
            self.inside.append(tag)
        if tag != "a":
            self.loaded += [value or "" for name, value in attrs if name in ("src", "href", "srcset", "data", "poster", "action")]

    def handle_endtag(self, tag: str) -> None:
        if self.inside and self.inside[-1] == tag:
            self.inside.pop()

    def handle_data(self, data: str) -> None:
        if not self.inside:
            self.text.append(data)


def elsewhere(addresses: list[str]) -> list[str]:
    return [a for a in addresses if a.strip().startswith(("http:", "https:", "//"))]


def test_the_book_builds_without_a_warning(built):
    _, done = built
    said = done.stdout + done.stderr
    assert done.returncode == 0, said
    assert "WARNING" not in said
    assert "Documentation built" in said


def test_nothing_is_loaded_from_elsewhere(site):
    pages = sorted(site.rglob("*.html"))
    assert len(pages) > 25
    for page in pages:
        loaded = Page(page.read_text(encoding="utf-8")).loaded
        assert len(loaded) > 3, page
        assert not elsewhere(loaded), page
    for sheet in site.rglob("*.css"):
        text = sheet.read_text(encoding="utf-8").replace('"', "").replace("'", "")
        for begin in ("url(http", "url(//", "@import http", "@import url(http"):
            assert begin not in text, sheet
    for picture in site.rglob("pictures/*.svg"):
        assert "<image" not in picture.read_text(encoding="utf-8") or "data:image" in picture.read_text(encoding="utf-8")


def test_what_is_loaded_is_seen():
    page = Page('<script src="https://a/b.js"></script><img src=x.svg><a href="https://c">d</a><link href="//e">')
    assert elsewhere(page.loaded) == ["https://a/b.js", "//e"]


def public() -> Iterator[tuple[str, str]]:
    """Module and name of all that is public: what ``__all__`` lists."""
    for package, folder in FOLDERS.items():
        for path in sorted(folder.rglob("*.py")):
            inside = path.relative_to(folder)
            if (package == "dgl_merc" and inside.parts[0] in ("graphs", "cli")) or (len(inside.parts) == 1 and inside.name in SKIPPED):
                continue
            module = ".".join([package, *inside.with_suffix("").parts]).removesuffix(".__init__")
            for node in ast.parse(path.read_text(encoding="utf-8")).body:
                if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "__all__":
                    yield from ((module, name) for name in ast.literal_eval(node.value))


SKIPPED = ("_dgl.py", "version.py")  # the door to another package, and the version
PUBLIC = [(module, name) for module, name in public() if module != "dgl_merc"]


def test_every_public_name_is_in_the_book(site):
    stored = (site / "objects.inv").read_bytes().split(b"\n", 4)[4]
    entries = [line.split(" ") for line in zlib.decompress(stored).decode().splitlines()]
    pages = {entry[0]: entry[3].partition("#")[0] for entry in entries}
    assert len(PUBLIC) > 400
    missing = [f"{module}.{name}" for module, name in PUBLIC if f"{module}.{name}" not in pages]
    assert not missing, f"without a docstring, or in a room without a page in docs/api: {missing}"
    assert pages["dgl_merc.graphs.Structure"] == pages["dgl_merc.graphs.structure.Structure"] == "api/graphs.html"


def test_docstrings_look_as_they_should(site):
    pages = {page: Page(page.read_text(encoding="utf-8")) for page in (site / "api").glob("*.html")}
    rooms = {path.parent.name for path in (ROOT / "dgl_merc").glob("*/__init__.py")}
    assert {path.stem for path in pages} == {*rooms, "common"}
    for path, page in pages.items():
        text = " ".join(page.text)
        for raw in (":func:", ":class:", ":meth:", ":mod:", ":data:", ":attr:", "``", ">>>"):
            assert raw not in text, f"{path.name}: {raw} outside of code"
        assert "<blockquote>" not in path.read_text(encoding="utf-8"), f"{path.name}: an example that became a quotation"


def test_parts_stand_in_one_place(site):
    readme, data = (ROOT / "README.md").read_text(encoding="utf-8"), Page((site / "data.html").read_text(encoding="utf-8"))
    text = " ".join(data.text)
    assert "A run answers conversations that nobody has labelled" in text
    assert "A run answers conversations that nobody has labelled" in readme
    assert "include:" not in text
    assert "A run answers conversations that nobody has labelled" not in (ROOT / "docs" / "data.md").read_text(encoding="utf-8")


def test_links_of_parts_lead_to_pages_of_the_book():
    hooks: Any = script("hooks")
    from mkdocs.exceptions import PluginError

    assert hooks.page_of("benchmarks/README.md", "README.md") == "benchmarks.md"
    assert hooks.page_of("../docs/profile.md", "benchmarks/README.md") == "profile.md"
    assert hooks.page_of("docs/mglra.md#scores", "README.md") == "mglra.md#scores"
    assert hooks.page_of("#the-protocol", "README.md") == "protocol.md"
    for target in ("setup.cfg", "#no-such-part", "docs/none.md"):
        with pytest.raises(PluginError, match="stands nowhere in the book"):
            hooks.page_of(target, "README.md")


def test_a_part_ends_where_the_next_begins():
    hooks: Any = script("hooks")
    from mkdocs.exceptions import PluginError

    lines = ["# A", "a", "## B", "b", "```", "# no heading", "```", "### C", "c", "## D", "d"]
    assert hooks.part(lines, "B", "x.md") == ["b", "```", "# no heading", "```", "### C", "c"]
    assert hooks.part(lines, "C", "x.md") == ["c"]
    with pytest.raises(PluginError, match=r"no heading 'E' in x\.md"):
        hooks.part(lines, "E", "x.md")
    with pytest.raises(PluginError, match=r"no file none\.md"):
        hooks.included("none.md", None)


def test_an_include_that_is_none_is_an_error():
    hooks: Any = script("hooks")
    from mkdocs.exceptions import PluginError

    class Where:
        class file:
            src_uri = "x.md"

    with pytest.raises(PluginError, match=r"x\.md: an include"):
        hooks.on_page_markdown("See <!-- include: README.md --> here", page=Where)


@pytest.fixture(scope="module")
def roles() -> Any:
    return script("roles")


@pytest.fixture
def module(tmp_path: Path) -> Any:
    needs_mkdocs()
    import griffe

    (tmp_path / "made.py").write_text(
        'def f():\n    """F."""\nclass C:\n    """C."""\n    x: int = 1\n    def m(self):\n        """M."""\n'
    )
    return griffe.load("made", search_paths=[tmp_path])


def test_roles_are_links(roles, module):
    assert roles.markdown_of("See :func:`f`, :func:`~made.f` and :meth:`C.m`.", module) == (
        "See [`f`][made.f], [`f`][made.f] and [`C.m`][made.C.m]."
    )
    assert roles.markdown_of("As :meth:`m` and :attr:`x`.", module["C.m"]) == "As [`m`][made.C.m] and [`x`][made.C]."
    assert roles.markdown_of("By :func:`numpy.einsum`.", module) == "By `numpy.einsum`."


def test_a_role_that_means_nothing_is_a_warning(roles, module, caplog):
    assert roles.markdown_of("See :func:`gone`.", module) == "See `gone`."
    assert "made: the docstring refers to gone, which is not there" in caplog.text


def test_formulas_and_examples_are_code(roles, module):
    written = "Sum.\n\n    y = a * b < :func:`f` ``c``\n\nArgs:\n    x: a <b> of ``<c>``.\n\n>>> 1 * 2\n2\n"
    shown = "Sum.\n\n    y = a * b < f c\n\nArgs:\n    x: a &lt;b> of ``<c>``.\n\n```pycon\n>>> 1 * 2\n2\n```\n"
    assert roles.markdown_of(written, module) == shown
    assert roles.markdown_of(">>> f()", module) == "```pycon\n>>> f()\n```"


def test_pictures_are_the_same_every_time():
    pictures: Any = script("pictures")
    for name, draw in pictures.PICTURES.items():
        first = pictures.as_svg(draw())
        assert first == pictures.as_svg(draw()), name
        assert first.startswith("<?xml"), name


def test_every_page_shows_its_pictures(site):
    named = {p for page in site.glob("*.html") for p in Page(page.read_text(encoding="utf-8")).loaded if p.startswith("pictures/")}
    assert named == {f"pictures/{p.name}" for p in (site / "pictures").iterdir()}
