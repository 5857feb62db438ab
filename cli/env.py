"""``dglmerc env``."""

from __future__ import annotations

import click

__all__ = ["env"]


@click.command("env")
def env() -> None:
    """Print what a bug report needs: versions, machine, device, and whether DGL works here."""
    from dgl_merc.cli.console import print_line
    from dgl_merc.training.environment import describe_environment

    about = describe_environment()
    versions = about.pop("versions")
    for name, value in {**about, **versions}.items():
        print_line(f"{name:18} {value}")
    try:
        from dgl_merc import _dgl
    except Exception as error:  # a broken DGL is just what this command is for
        print_line(f"{'dgl works':18} no: {type(error).__name__}: {error}")
    else:
        print_line(f"{'dgl works':18} yes{', its graphbolt replaced by an empty module' if _dgl.graphbolt_is_stubbed else ''}")
