"""What makes features of new conversations by the recipes of runs, as ``predict`` and ``explain`` are asked for it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import click

from dgl_merc.cli.features import CLIPS, CUT, LOOKERS, MEDIA
from dgl_merc.cli.options import choose_jobs
from dgl_merc.errors import InputError

if TYPE_CHECKING:
    from dgl_merc.corpus import Corpus
    from dgl_merc.extraction import Media
    from dgl_merc.extraction.recordings import Cut
    from dgl_merc.inference.making import Making

__all__ = ["MAKING", "Asked", "asked_for", "making_options", "opened", "say_notes"]

MAKING = ("media", "models", "clips", "cut", "jobs")
"""The parameters that :func:`making_options` gives a command, which go to :func:`asked_for`."""
_MODEL = click.option(
    "--model",
    "models",
    multiple=True,
    metavar="MODALITY=MODEL",
    help="Where the model that makes a modality's features is on this machine, if it is not where it was: a name or a folder. Repeatable.",
)


def making_options(command: Callable[..., None]) -> Callable[..., None]:
    """The options, in the order of help."""
    for option in (LOOKERS, CUT, CLIPS, _MODEL, MEDIA):
        command = option(command)
    return command


class Asked(NamedTuple):
    """:class:`dgl_merc.inference.making.Making`, before anything heavy is imported or opened."""

    media: Media | None
    models: dict[str, str]
    jobs: int | None


def asked_for(media: Path | None, models: tuple[str, ...], clips: str, cut: Cut, jobs: int | None) -> Asked:
    """What there is to make features with, as it was typed.

    Raises:
        InputError: a model of no modality, or what is said of recordings without any.
    """
    from dgl_merc.extraction import Media

    pairs = [text.partition("=") for text in models]
    if wrong := next((text for text, (m, _, model) in zip(models, pairs, strict=True) if not m or not model), None):
        raise InputError(f"--model {wrong}: expected MODALITY=MODEL, such as text=models/minilm")
    given = [name for name, there in (("--jobs", jobs), ("--clips", clips), ("--cut", cut != "shared")) if there]
    if given and not media:
        raise InputError(f"{given[0]}: expected recordings to look at (--media DIR); leave it out")
    return Asked(Media(media, clips, cut) if media else None, {m: model for m, _, model in pairs}, jobs)


@contextmanager
def opened(asked: Asked, device: str) -> Iterator[Making]:
    """With extractors, which end with the context; what users should know, and how far it is, goes to standard error."""
    from dgl_merc.cli.console import progress_bar
    from dgl_merc.extraction import Extractors
    from dgl_merc.extraction.extractor import open_extractor
    from dgl_merc.inference.making import Making

    with Extractors(choose_jobs(asked.jobs, "cpu", 1, 1024), partial(open_extractor, device=device)) as extractors:
        yield Making(asked.media, asked.models, extractors, partial(click.echo, err=True), progress_bar)


def say_notes(corpus: Corpus) -> None:
    """To standard error: how its features were made, and what could not be made and why, utterance by utterance."""
    from dgl_merc.extraction.extract import list_absent, reason_column

    absent = [line for m in corpus.modalities if reason_column(m) in corpus.utterances for line in list_absent(corpus, m)]
    for note in (*corpus.notes, *absent):
        click.echo(f"- {note}", err=True)
