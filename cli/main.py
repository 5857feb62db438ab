"""The command ``dglmerc``: a group of commands, one file each, and the one place where errors become a line for people.

Importing this module loads click and nothing heavy; commands import what they need when they run.
"""

from __future__ import annotations

import io
import os
import sys
import time
from contextlib import suppress
from typing import IO, Any

import click

from dgl_merc.cli.ablate import ablate
from dgl_merc.cli.bench import bench
from dgl_merc.cli.build_graphs import build_graphs
from dgl_merc.cli.compare import compare
from dgl_merc.cli.corpus import corpus
from dgl_merc.cli.draw import draw
from dgl_merc.cli.env import env
from dgl_merc.cli.evaluate import evaluate
from dgl_merc.cli.explain import explain
from dgl_merc.cli.explore import explore
from dgl_merc.cli.features import features
from dgl_merc.cli.fit import fit
from dgl_merc.cli.import_corpus import import_corpus
from dgl_merc.cli.inspect_store import inspect
from dgl_merc.cli.options import started
from dgl_merc.cli.predict import predict
from dgl_merc.cli.report import report
from dgl_merc.cli.verify import verify
from dgl_merc.errors import InputError, harmless, is_out_of_memory
from dgl_merc.version import __version__

__all__ = ["Commands", "main", "run_process"]


_GRACE = 60.0  # seconds


class Failure(click.ClickException):
    """One line on stderr, exit code 2; of several processes, all of which have it, the first prints it.

    Args:
        message: the line.
        own: of several processes, this one alone may have it, and prints it.
    """

    exit_code = 2

    def __init__(self, message: str, *, own: bool = False) -> None:
        super().__init__(message)
        self.own = own

    def show(self, file: IO[Any] | None = None) -> None:
        """Print ``dglmerc: error: ...``."""
        if started()[0] and not self.own:
            time.sleep(_GRACE)  # at the first exit torchrun ends the others, even one that has not come to its line yet
            return
        click.echo(f"dglmerc: error: {harmless(self.message)}", file=file, err=file is None)


class Commands(click.Group):
    """Exit codes: 0 done, 2 bad input or a fault of the file system (one line, no traceback), 130 interrupted."""

    def make_context(self, info_name: str | None, args: list[str], parent: click.Context | None = None, **extra: Any) -> click.Context:
        """Read the group's own options."""
        try:
            return super().make_context(info_name, args, parent, **extra)
        except click.UsageError as error:
            raise _failure(error) from None

    def resolve_command(self, ctx: click.Context, args: list[str]) -> tuple[str | None, click.Command | None, list[str]]:
        """The command that was named, if several processes can do it."""
        found = super().resolve_command(ctx, args)
        if found[0] != "fit" and started()[1] > 1:
            beside = "; its runs are made beside each other with --jobs" if found[0] in ("ablate", "bench") else ""
            raise InputError(f"dglmerc {found[0]} runs in one process: call it without torchrun{beside}")
        return found

    def invoke(self, ctx: click.Context) -> Any:
        """Run the command that was named."""
        for stream in (sys.stdout, sys.stderr):
            if isinstance(stream, io.TextIOWrapper):
                stream.reconfigure(errors="replace")  # a terminal that can't show a character is no reason to fail
        try:
            os.getcwd()  # torch aborts where the working folder is gone
            return super().invoke(ctx)
        except click.UsageError as error:
            raise _failure(error) from None
        except InputError as error:
            raise Failure(str(error)) from None
        except BrokenPipeError:
            raise
        except OSError as error:
            raise Failure(_in_words(error), own=True) from None
        except (RuntimeError, MemoryError) as error:
            if not is_out_of_memory(error):
                raise
            said = str(error).splitlines()[0] if str(error) else "MemoryError"
            raise Failure(f"memory does not suffice ({said})", own=True) from None
        except KeyboardInterrupt:
            click.echo(
                "dglmerc: interrupted; nothing was left half-written, and the same command goes on with it (fit, features: with --resume)",
                err=True,
            )
            raise click.exceptions.Exit(130) from None


def _failure(error: click.UsageError) -> click.ClickException:
    """Click's three lines on a wrong option as one; a group without a command still prints its help."""
    if isinstance(error, click.exceptions.NoArgsIsHelpError):
        return error
    said = " ".join(error.format_message().split()).rstrip(".")
    return Failure(f"{said} (see {error.ctx.command_path if error.ctx else 'dglmerc'} --help)")


def _in_words(error: OSError) -> str:
    """A file system's complaint on one line: the file, then what is wrong."""
    what = " ".join((error.strerror or str(error) or type(error).__name__).split())
    return f"{error.filename}: {what}" if error.filename is not None else what


def run_process() -> None:
    """The command as a process of its own.

    One of several that fails leaves at once: nobody took leave of its peers, and torch's threads can abort an interpreter that ends in
    order, which would hide the exit code.
    """
    try:
        main(prog_name="dglmerc")
    except SystemExit as end:
        if started()[1] == 1 or not isinstance(end.code, int) or not end.code:
            raise
        for stream in (sys.stdout, sys.stderr):
            with suppress(OSError, AttributeError, ValueError):  # nobody reads it any more, or it was closed
                stream.flush()
        os._exit(end.code)


@click.group("dglmerc", cls=Commands, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(__version__, prog_name="dglmerc")
def main() -> None:
    """Multimodal emotion recognition in conversation as learning on DGL heterographs.

    A corpus is imported, becomes graphs, and a model is fitted to them; at every step the graph can be looked at.
    """


main.add_command(import_corpus)
main.add_command(corpus)
main.add_command(features)
main.add_command(build_graphs)
main.add_command(inspect)
main.add_command(draw)
main.add_command(fit)
main.add_command(evaluate)
main.add_command(predict)
main.add_command(explain)
main.add_command(report)
main.add_command(explore)
main.add_command(compare)
main.add_command(ablate)
main.add_command(bench)
main.add_command(verify)
main.add_command(env)
