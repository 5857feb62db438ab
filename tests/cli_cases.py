"""The command line in process, and what every one of its errors is: one line on stderr, exit code 2."""

from __future__ import annotations

from pathlib import Path

from click.testing import CliRunner, Result

from dgl_merc.cli.main import main


def run(*args: object) -> Result:
    """``dglmerc`` with these arguments."""
    return CliRunner().invoke(main, [str(arg) for arg in args])


def good(*args: object) -> list[str]:
    """What it prints, line by line, when all is well."""
    result = run(*args)
    assert (result.exit_code, result.stderr) == (0, ""), (result.output, result.exception)
    return result.stdout.splitlines()


def trained(folder: Path) -> dict[Path, int]:
    """When the weights of each run below a folder were written: others, if it was trained again."""
    return {path: path.stat().st_mtime_ns for path in folder.rglob("weights.safetensors")}


def assert_one_line(result: Result, *pieces: str) -> None:
    """An error for people that says these things."""
    assert result.exit_code == 2, (result.output, result.exception)
    assert isinstance(result.exception, SystemExit)
    assert len(result.stderr.splitlines()) == 1, result.stderr
    assert result.stderr.startswith("dglmerc: error: ")
    for piece in pieces:
        assert piece in result.stderr, (piece, result.stderr)
