"""What the book takes from the code: the commands' help and the models' settings. ``python docs/generate.py`` writes both where they stand.

Each stands between ``<!-- generated: NAME -->`` and ``<!-- end -->`` of a page; a test holds the pages to the code.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import fields, is_dataclass
from pathlib import Path
from typing import Any

import click

__all__ = ["GENERATED", "PAGES", "commands", "filled", "settings"]

PAGES = [Path(__file__).parent / name for name in ("commands.md", "equations.md")]
_BLOCK = re.compile(r"(<!-- generated: (\w+) -->\n).*?(<!-- end -->)", re.DOTALL)


def commands() -> str:
    """Every command with its help, as Markdown."""
    from dgl_merc.cli.main import main

    def of(command: click.Command, name: str, parent: click.Context | None) -> Iterator[str]:
        context = click.Context(command, info_name=name, parent=parent, terminal_width=100, **command.context_settings)
        yield f"## {context.command_path}\n\n```text\n{command.get_help(context)}\n```\n"
        if isinstance(command, click.Group):
            for key in command.list_commands(context):
                inner = command.get_command(context, key)
                assert inner is not None
                yield from of(inner, key, context)

    return "\n".join(of(main, "dglmerc", None))


def settings(model: str) -> str:
    """Every option of a model with its values, as a table: D, P, and the preset of the model's name."""
    from dgl_merc.models import options_of
    from dgl_merc.training import load_settings

    told = {preset: load_settings(preset).options for preset in (f"{model}-paper", model)}
    rows = [f"| option | D: default | P: `{model}-paper` | `{model}` |", "|---|---|---|---|"]

    def walk(default: Any, values: list[Any], prefix: str) -> None:
        link = f"{type(default).__module__}.{type(default).__name__}"
        for f in fields(default):
            mine, others = getattr(default, f.name), [getattr(v, f.name) for v in values]
            if is_dataclass(mine):
                walk(mine, others, f"{prefix}{f.name}.")
            else:
                shown = [_value(mine), *("" if v == mine else _value(v) for v in others)]
                rows.append(f"| [`{prefix}{f.name}`][{link}] | {' | '.join(shown)} |")

    walk(options_of(model)(), list(told.values()), "")
    return "\n".join(rows) + "\n"


def _value(value: Any) -> str:
    return f"`{str(value).lower() if isinstance(value, bool) else value}`"


GENERATED = {"commands": commands, "mglra": lambda: settings("mglra"), "sgrnet": lambda: settings("sgrnet")}
"""Name -> what makes it."""


def filled(page: str) -> str:
    """A page with what is generated made anew."""
    return _BLOCK.sub(lambda found: f"{found[1]}\n{GENERATED[found[2]]()}\n{found[3]}", page)


if __name__ == "__main__":
    for path in PAGES:
        path.write_text(filled(path.read_text(encoding="utf-8")), encoding="utf-8")
