"""``dglmerc compare RUN RUN...``."""

from __future__ import annotations

from pathlib import Path

import click

from dgl_merc.errors import InputError
from dgl_merc.files import resolved

__all__ = ["compare"]


@click.command("compare")
@click.argument("runs", metavar="RUN...", nargs=-1, required=True)
@click.option("--split", type=click.Choice(["test", "dev"]), default="test", show_default=True, help="What they are judged on.")
@click.option(
    "--resamples", type=click.IntRange(100, 1_000_000), default=10_000, show_default=True, help="Of bootstrap and permutation test."
)
@click.option("--out", type=click.Path(path_type=Path), help="Folder of the table and the picture.  [default: runs/compare-RUN-RUN...]")
def compare(runs: tuple[str, ...], split: str, resamples: int, out: Path | None) -> None:
    """Hold runs to the first, dialogue by dialogue: by how much they differ, with a 95 % interval and a permutation test.

    A RUN is a run folder or a folder of runs that differ in seed and fold only (as fit --seeds makes it), or NAME=FOLDER. Runs on
    different test sets or features are refused.
    """
    from dgl_merc.cli.console import print_line, print_notes, print_table
    from dgl_merc.reports.comparison import write_comparison
    from dgl_merc.studies.compare import compare as compare_systems
    from dgl_merc.studies.grid import file_name
    from dgl_merc.studies.systems import open_system

    systems = [open_system(path, name) for name, path in _named(runs)]
    found = compare_systems(systems, split, resamples=resamples)
    place = out or Path("runs") / file_name(
        f"compare-{'-'.join(n.replace('/', '_') for n in found.names)}{'-on-dev' if split == 'dev' else ''}"
    )
    table = found.table()
    write_comparison(place, found.to_json(), table)
    print_table(table, f"Weighted F1 on {split}; differences from {found.names[0]}, paired by dialogue")
    print_notes(found.notes)
    print_line(f"Written to {place}: comparison.txt, .csv, .tex, .json and .png")


def _named(runs: tuple[str, ...]) -> list[tuple[str, Path]]:
    """NAME=FOLDER, or a folder, called by as much of the end of its path as tells it from the others."""
    if len(runs) < 2:
        raise InputError(f"expected two or more runs to compare, found {len(runs)}")
    pairs = []
    for run in runs:
        name, equals, folder = run.partition("=")
        named = bool(equals) and not Path(run).exists() and Path(folder).exists()
        pairs.append((name, Path(folder)) if named else ("", Path(run)))
    parts = [resolved(path).parts for _, path in pairs]
    depth = next((n for n in range(1, max(map(len, parts)) + 1) if len({p[-n:] for p in parts}) == len(parts)), 0)
    if not depth:
        raise InputError(f"expected different runs, found {', '.join(runs)}")
    return [(name or "/".join(p[-depth:]), path) for (name, path), p in zip(pairs, parts, strict=True)]
