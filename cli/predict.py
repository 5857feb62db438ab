"""``dglmerc predict RUN... FILE``, and ``dglmerc predict RUN... --stream``."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from dgl_merc.cli.making import MAKING, Asked, asked_for, making_options, opened, say_notes
from dgl_merc.cli.options import DEVICE, THREADS, choose_device
from dgl_merc.errors import InputError, at

if TYPE_CHECKING:
    from dgl_merc.corpus.reading.features import NanPolicy

__all__ = ["predict"]

_OF_STREAMS = ("window", "dialogues")
_BY_DEFAULT = {"cut": "shared"}
_OPTIONS = {"kind": "--format", "models": "--model"}


@click.command("predict")
@click.argument("places", metavar="RUN... FILE", type=click.Path(path_type=Path, allow_dash=True), nargs=-1, required=True)
@click.option(
    "--features",
    multiple=True,
    metavar="MODALITY=SOURCE",
    help="Where features of a CSV are, as for `import table`: 'text=columns:f*', 'audio=talk.npy'. Repeatable.  "
    "[default: the columns MODALITY_0, MODALITY_1, ...]",
)
@click.option("--nan", type=click.Choice(["error", "absent"]), help="What a NaN in a CSV is.  [default: error]")
@making_options
@click.option("--out", type=click.Path(path_type=Path), help="The file to write: .csv, .jsonl or .parquet.  [default: standard output]")
@click.option("--format", "kind", type=click.Choice(["csv", "jsonl", "parquet"]), help="[default: by the file's name; csv]")
@click.option("--force", is_flag=True, help="Replace the file of answers.")
@click.option(
    "--stream",
    is_flag=True,
    help="No FILE: utterances come on standard input as JSON lines, and each is answered at once, from what came before it. "
    '{"dialogue_id": "d1", "end": true} ends a dialogue. For runs of causal graphs.',
)
@click.option("--window", type=click.IntRange(1), help="Of a stream: how many utterances of a dialogue are remembered.  [default: 128]")
@click.option("--dialogues", type=click.IntRange(1), help="Of a stream: how many dialogues are remembered.  [default: 1000]")
@DEVICE
@THREADS
def predict(places: tuple[Path, ...], stream: bool, device: str, threads: int, **given: Any) -> None:
    """Predict the emotions of new conversations with the model of RUN; of several runs, what they answer is averaged.

    FILE is a CSV (columns dialogue_id, speaker and features), JSON lines (.jsonl, or - for standard input), or the folder of a corpus or
    a store. A modality may be missing, from some utterances or from all. Answers have a probability for each class.

    A run on features that `dglmerc features` made knows how: then a column of text, and with --media DIR the recordings that the columns
    start, end and media speak of, do instead of features. What can't be made is absent, and listed.
    """
    for name, value in given.items():
        if value and value != _BY_DEFAULT.get(name) and (name in _OF_STREAMS) != stream:
            option = _OPTIONS.get(name, f"--{name}")
            raise InputError(f"{option}: expected {'a file of conversations, not --stream' if stream else '--stream'}; leave it out")
    if stream:
        _listen(places, {name: given[name] for name in _OF_STREAMS if given[name]}, choose_device(device, threads))
    else:
        making = asked_for(**{key: given.pop(key) for key in MAKING})
        given = {key: value for key, value in given.items() if key not in _OF_STREAMS}
        _answer(*places, making=making, device=choose_device(device, threads), **given)


def _answer(
    *places: Path,
    making: Asked,
    device: str,
    features: tuple[str, ...],
    nan: str | None,
    out: Path | None,
    kind: str | None,
    force: bool,
) -> None:
    """A file of conversations to a file of answers."""
    from dgl_merc.cli.console import print_line
    from dgl_merc.extraction.recordings import ENDINGS
    from dgl_merc.files import check_file, resolved, write_bytes
    from dgl_merc.inference import Predictor
    from dgl_merc.inference.answers import as_bytes, format_of
    from dgl_merc.inference.conversations import read_conversations

    *runs, file = places
    if not runs:
        raise InputError(f"{at(file)}expected a run and a file of conversations, found one place only")
    if force and not out:
        raise InputError("--force: expected a file to replace (--out); leave it out")
    if not out and sys.stdout is None:
        raise InputError("standard output: expected somebody to answer, found it closed; pass --out")
    shape = format_of(out, kind)
    if out:
        sources = [Path(text.partition("=")[2].partition(":")[0]) for text in features]
        if making.media and out.suffix.lower() in ENDINGS and resolved(out).is_relative_to(resolved(making.media.folder)):
            sources.append(out)  # a recording
        check_file(out, [file, *sources, *(file.parent / source for source in sources)], force=force)
    predictor = Predictor.open(*runs, device=device)
    policy: NanPolicy = "absent" if nan == "absent" else "error"
    with opened(making, device) as made_with:
        corpus = read_conversations(file, predictor.expected, features=features, nan=policy, making=made_with)
    table = predictor.predict(corpus)
    say_notes(corpus)
    if out is None:
        click.echo(as_bytes(table, shape), nl=False)
        return
    out.parent.mkdir(parents=True, exist_ok=True)
    write_bytes(out, as_bytes(table, shape))
    print_line(f"{len(table)} utterances of {len(corpus)} dialogues answered: {out}")


def _listen(places: tuple[Path, ...], bounds: dict[str, int], device: str) -> None:
    """Standard input to standard output, line by line."""
    from dgl_merc.inference.listening import listen
    from dgl_merc.inference.stream import Stream
    from dgl_merc.training.run_folder import open_run

    if files := [place for place in places if place.is_file() or str(place) == "-"]:
        raise InputError(f"{at(files[0])}expected runs alone with --stream, whose utterances come on standard input; leave it out")
    if sys.stdin is None or sys.stdout is None:
        raise InputError("--stream: expected utterances on standard input and somebody to answer, found one of the two closed")
    stream = Stream([open_run(place) for place in places], device=device, **bounds)
    try:
        for answer in listen(stream, sys.stdin.buffer):
            click.echo(f"{answer}\n".encode(), nl=False)  # UTF-8, whatever the terminal speaks
            sys.stdout.flush()
    except KeyboardInterrupt:
        raise click.exceptions.Exit(130) from None  # that is how one ends it
