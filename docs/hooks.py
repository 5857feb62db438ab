"""What the book does beside Markdown: parts of other files stand where a page asks for them, rooms are listed, and pictures are drawn.

A page says ``<!-- include: README.md -->`` or ``<!-- include: README.md, The protocol -->``: the file, or its part under a heading, without
that heading. So each text stands in one place. Links in it lead to the pages of the book; one that can't is an error.
``<!-- modules: dgl_merc.graphs -->`` is a package's docstring, then every module in it with all that is public. Notebooks are pages, too.
"""

from __future__ import annotations

import ast
import os
import posixpath
import re
from pathlib import Path
from typing import Any

from mkdocs.exceptions import PluginError
from mkdocs.structure.files import File, Files
from notebook_pages import pages_of
from pictures import PICTURES, as_svg

__all__ = ["on_files", "on_page_markdown"]

ROOT = Path(__file__).resolve().parents[1]
INCLUDE = re.compile(r"^<!-- include: ([\w./-]+)(?:, (.+?))? -->$", re.MULTILINE)
MODULES = re.compile(r"^<!-- modules: ([\w.]+) -->$", re.MULTILINE)
FENCED = re.compile(r"(^```.*?^```$)", re.MULTILINE | re.DOTALL)
LINK = re.compile(r"(?<!!)\[([^\]]+)\]\((?!https?:)([^)\s]*)\)")
PAGES = {
    "README.md": "index.md",
    "README.md#the-protocol": "protocol.md",
    "README.md#looking-after-a-corpus": "data.md#looking-after-a-corpus",
    "README.md#new-conversations": "data.md#new-conversations",
    "README.md#from-a-recording": "recordings.md",
    "README.md#looking-at-the-graph": "looking.md",
    "notebooks/README.md": "notebooks.md",
    "CONTRIBUTING.md": "extending.md",
    "CHANGELOG.md": "changes.md",
    "benchmarks/README.md": "benchmarks.md",
}
"""Files outside the book, and parts of them -> where they stand in it."""


def on_files(files: Files, *, config: Any) -> Files:
    """Draw the pictures, and make pages of the notebooks."""
    for name, draw in PICTURES.items():
        files.append(File.generated(config, f"pictures/{name}.svg", content=as_svg(draw())))
    for name, content in pages_of(ROOT / "notebooks").items():
        page = linked(content.decode(), name, "../") if name.endswith(".md") else content
        files.append(File.generated(config, name, content=page))
    return files


def on_page_markdown(markdown: str, *, page: Any, **_: Any) -> str:
    """Put the included parts in."""
    if markdown.count("<!-- include:") != len(INCLUDE.findall(markdown)):
        raise PluginError(f"{page.file.src_uri}: an include that is not alone on its line, or names no file")
    markdown = INCLUDE.sub(lambda found: included(found[1], found[2]), markdown)
    return MODULES.sub(lambda found: modules(found[1]), markdown)


def modules(package: str) -> str:
    """Directives for a package and the modules in it, by name, packages within it first."""
    folder = ROOT / package.replace(".", "/")
    tree = ast.parse((folder / "__init__.py").read_text(encoding="utf-8"))
    named = [ast.unparse(getattr(it, "target", None) or it.targets[0]) for it in tree.body if isinstance(it, (ast.Assign, ast.AnnAssign))]
    own = [name for name in named if name != "__all__"] + [it.name for it in tree.body if isinstance(it, (ast.FunctionDef, ast.ClassDef))]
    shown = [f"::: {package}\n    options:\n      members: [{', '.join(own)}]\n      show_root_heading: false"]
    for path in sorted(folder.iterdir()):
        if (path / "__init__.py").is_file():
            shown.append(f"::: {package}.{path.name}\n    options:\n      members: false")
            shown += [f"::: {package}.{path.name}.{inner.stem}" for inner in _sources(path)]
    shown += [f"::: {package}.{path.stem}" for path in _sources(folder)]
    return "\n\n".join(shown)


def _sources(folder: Path) -> list[Path]:
    return sorted(path for path in folder.glob("*.py") if not path.name.startswith("__"))


def included(name: str, heading: str | None) -> str:
    """A file of the repository, or a part of it, with links as the book has them.

    Raises:
        PluginError: no such file or heading, or a link that leads nowhere in the book.
    """
    path = ROOT / name
    if not path.is_file():
        raise PluginError(f"include: no file {name}")
    lines = path.read_text(encoding="utf-8").splitlines()
    text = "\n".join(lines[1:] if heading is None else part(lines, heading, name))
    return linked(text, name).strip()


def linked(text: str, name: str, up: str = "") -> str:
    """A text of a file, with its links as the book has them.

    Args:
        text: Markdown.
        name: of the file.
        up: the way from its page to the top of the book.

    Raises:
        PluginError: a link that leads nowhere in the book.
    """
    pieces = FENCED.split(text)  # prose, code, prose, ...
    pieces[::2] = [LINK.sub(lambda found: f"[{found[1]}]({up}{page_of(found[2], name)})", prose) for prose in pieces[::2]]
    return "".join(pieces)


def part(lines: list[str], heading: str, name: str) -> list[str]:
    """The lines under a heading, up to the next of its level or above.

    Raises:
        PluginError: no such heading.
    """
    fenced, level, found = False, 0, []
    for line in lines:
        fenced ^= line.startswith("```")
        marks, _, title = line.partition(" ")
        if not fenced and marks and not marks.strip("#"):
            if level and len(marks) <= level:
                break
            if not level and title == heading:
                level = len(marks)
                continue
        if level:
            found.append(line)
    if not level:
        raise PluginError(f"include: no heading {heading!r} in {name}")
    return found


def page_of(target: str, name: str) -> str:
    """Where a link of a file leads in the book, from a page at its top.

    Raises:
        PluginError: nowhere.
    """
    path, mark, anchor = target.partition("#")
    whole = posixpath.normpath(posixpath.join(posixpath.dirname(name), path)) if path else name
    if f"{whole}{mark}{anchor}" in PAGES:
        return PAGES[f"{whole}{mark}{anchor}"]
    if not anchor and whole in PAGES:
        return PAGES[whole]
    if whole.startswith("notebooks" + os.sep) and whole.endswith(".ipynb") and (ROOT / whole).is_file():
        return whole.removesuffix(".ipynb") + ".md"
    if whole.startswith("docs" + os.sep) and (ROOT / whole).is_file():
        return whole.removeprefix("docs" + os.sep) + mark + anchor
    raise PluginError(f"include: {name} links to {target}, which stands nowhere in the book")
