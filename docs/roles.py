"""Docstrings of the package as Markdown: the roles of Sphinx become links, ``::`` a colon.

A role names what it means from where it stands: :func:`fit`, :class:`~dgl_merc.graphs.Structure`. One that means something of this package
which is not there is a warning, and the strict build fails; names of other packages stay code.
"""

from __future__ import annotations

import re
from typing import Any

from griffe import Alias, Class, Extension, Module, Object, get_logger

__all__ = ["Roles"]

_LOG = get_logger("roles")
_SECTION = re.compile(r"(Args|Attributes|Returns|Yields|Raises):$")
_CODE = re.compile(r"(\[`[^`]+`\]\[[\w.]+\]|``[^`]+``|`[^`]+`)")  # a link, or code
_LITERAL = re.compile(r"(?<!^)[*](?=\S)|(?<=\])\[")  # a * that is a product, a shape after a shape
_ROLE = re.compile(r":(?:func|class|meth|mod|attr|data):`(~?)([\w.]+)`")


class Roles(Extension):
    """Rewrites every docstring once the whole package is read."""

    def on_package(self, *, pkg: Module, **_: Any) -> None:
        """See griffe."""
        self._walk(pkg)

    def _walk(self, it: Module | Class) -> None:
        for member in it.members.values():
            if not member.is_alias and member.docstring is None and not member.members:
                continue
            if isinstance(member, (Module, Class)):
                self._walk(member)
            elif isinstance(member, Object) and member.docstring:
                member.docstring.value = markdown_of(member.docstring.value, member)
        if it.docstring:
            it.docstring.value = markdown_of(it.docstring.value, it)


def markdown_of(text: str, where: Object) -> str:
    """A docstring as Markdown: roles are links, examples fenced, and what else looks like HTML or emphasis stands as it is written.

    Args:
        text: with roles.
        where: what it is the docstring of.
    """
    lines: list[str] = []
    kind, before = "", ""  # of the paragraph: "" prose, "section", "code", "example"; the line above
    for line in text.split("\n"):
        if kind == "example" and not line.strip():
            lines.append("```")
        if line.lstrip().startswith(">>>") and kind != "example":
            kind = "example"
            lines += ["```pycon"] if not before.strip() else ["", "```pycon"]
        elif _SECTION.match(line):
            kind = "section"
        elif line.strip() and not line.startswith(" ") and kind != "example":
            kind = ""
        elif kind == "" and line.startswith("    ") and not before.strip():
            kind = "code"
        elif kind == "example" and not line.strip():
            kind = ""
        lines.append(_plain(line) if kind == "code" else line if kind == "example" else _prose(line, where))
        before = line
    return "\n".join([*lines, *(["```"] if kind == "example" else [])])


def _plain(line: str) -> str:
    """A line of a formula or a list of files: nothing in it can be a link, or stand in backquotes."""
    return _ROLE.sub(lambda role: role[2], line).replace("``", "")


def _prose(line: str, where: Object) -> str:
    """A line that is no code: what stands in backquotes is left alone, but for roles."""

    def link(role: re.Match[str]) -> str:
        short, name = role.groups()
        shown = name.rpartition(".")[2] if short else name.removeprefix("dgl_merc.")
        found = target(name, where)
        if found is None and name.partition(".")[0] not in ("numpy", "torch"):
            _LOG.warning(f"{where.path}: the docstring refers to {name}, which is not there")
        return f"[`{shown}`][{found}]" if found else f"`{name}`"

    parts = _CODE.split(_ROLE.sub(link, re.sub(r"(?<=\w)::$", ":", line)))
    return "".join(part if k % 2 else _LITERAL.sub(r"\\\g<0>", part).replace("<", "&lt;") for k, part in enumerate(parts))


def target(name: str, where: Object) -> str | None:
    """The path of what a name means: whole, of the object or its class, or in its module; None where it means nothing."""
    scopes = [where, *_parents(where)]
    for whole in (name, *(f"{scope.path}.{name}" for scope in scopes)):
        head, _, rest = whole.partition(".")
        package = where.package
        if head != package.name:
            continue
        try:
            found = package[rest] if rest else package
        except KeyError:
            continue
        if isinstance(found, Alias):
            return found.target_path
        return found.path if found.docstring or found.parent is None else found.parent.path  # what its class says of it
    return None


def _parents(where: Object) -> list[Object]:
    """The class and the module that it stands in."""
    found = []
    while where.parent is not None and not where.is_module:
        where = where.parent
        found.append(where)
    return found
