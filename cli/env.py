"""``dglmerc env``."""

from __future__ import annotations

from typing import Any

import click

__all__ = ["env"]

_GIB = 2**30


@click.command("env")
def env() -> None:
    """Print what a bug report needs: versions, machine, device, whether DGL works here, and who computes which kernel."""
    from dgl_merc.cli.console import print_line
    from dgl_merc.kernels.backends import describe_choices, dgl_computes_on
    from dgl_merc.training.environment import describe_environment

    about = describe_environment()
    versions = about.pop("versions")
    for name, value in {**about, **versions}.items():
        print_line(f"{name:18} {_in_words(name, value)}")
    try:
        from dgl_merc import _dgl
    except Exception as error:  # a broken DGL is just what this command is for
        print_line(f"{'dgl works':18} no: {type(error).__name__}: {error}")
    else:
        print_line(f"{'dgl works':18} yes{', its graphbolt replaced by an empty module' if _dgl.graphbolt_is_stubbed else ''}")
        if about["gpu"]:
            print_line(f"{'dgl on the gpu':18} {'yes' if dgl_computes_on('cuda') else 'no: kernels compute there without it'}")
    print_line("backends that auto chooses on the CPU (elsewhere: dense; for a DGL graph: dgl where it computes, else scatter)")
    for kernel, batch, chosen in describe_choices():
        print_line(f"  {kernel:24}{batch:26}{chosen}")


def _in_words(name: str, value: Any) -> str:
    """One line of what :func:`dgl_merc.training.environment.describe_environment` says."""
    if name == "memory":
        return "unknown" if value is None else f"{value / _GIB:.1f} GiB"
    if name == "gpus":
        return "; ".join(f"{g['name']}, {g['memory'] / _GIB:.1f} GiB, capability {g['capability']}" for g in value) or "none"
    if isinstance(value, dict):
        return ", ".join(f"{key} {' '.join(said) or 'none' if isinstance(said, list) else said}" for key, said in value.items()) or "none"
    return str(value)
