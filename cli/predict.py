"""``dglmerc predict RUN... FILE``."""

from __future__ import annotations

from pathlib import Path

import click

from dgl_merc.cli.options import DEVICE, THREADS, choose_device
from dgl_merc.errors import InputError, at

__all__ = ["predict"]


@click.command("predict")
@click.argument("places", metavar="RUN... FILE", type=click.Path(path_type=Path, allow_dash=True), nargs=-1, required=True)
@click.option(
    "--features",
    multiple=True,
    metavar="MODALITY=SOURCE",
    help="Where features of a CSV are, as for `import table`: 'text=columns:f*', 'audio=talk.npy'. Repeatable.  "
    "[default: the columns MODALITY_0, MODALITY_1, ...]",
)
@click.option("--nan", type=click.Choice(["error", "absent"]), default="error", show_default=True, help="What a NaN in a CSV is.")
@click.option("--out", type=click.Path(path_type=Path), help="The file to write: .csv, .jsonl or .parquet.  [default: standard output]")
@click.option("--format", "kind", type=click.Choice(["csv", "jsonl", "parquet"]), help="[default: by the file's name; csv]")
@click.option("--force", is_flag=True, help="Replace the file of answers.")
@DEVICE
@THREADS
def predict(
    places: tuple[Path, ...],
    features: tuple[str, ...],
    nan: str,
    out: Path | None,
    kind: str | None,
    force: bool,
    device: str,
    threads: int,
) -> None:
    """Predict the emotions of new conversations with the model of RUN; of several runs, what they answer is averaged.

    FILE is a CSV (columns dialogue_id, speaker and features), JSON lines (.jsonl, or - for standard input), or the folder of a corpus or
    a store. A modality may be missing, from some utterances or from all. Answers have a probability for each class.
    """
    from dgl_merc.cli.console import print_line
    from dgl_merc.files import write_bytes
    from dgl_merc.inference import Predictor
    from dgl_merc.inference.answers import as_bytes, check_file, format_of
    from dgl_merc.inference.conversations import read_conversations

    *runs, file = places
    if not runs:
        raise InputError(f"{at(file)}expected a run and a file of conversations, found one place only")
    shape = format_of(out, kind)
    if out and out.exists() and file.exists() and out.samefile(file):
        raise InputError(f"{at(out)}is what is read; name another file for the answers")
    if out:
        check_file(out, force=force)
    predictor = Predictor.open(*runs, device=choose_device(device, threads))
    corpus = read_conversations(file, predictor.expected, features=features, nan="absent" if nan == "absent" else "error")
    for note in corpus.notes:
        click.echo(f"- {note}", err=True)
    table = predictor.predict(corpus)
    if out is None:
        click.echo(as_bytes(table, shape), nl=False)
        return
    out.parent.mkdir(parents=True, exist_ok=True)
    write_bytes(out, as_bytes(table, shape))
    print_line(f"{len(table)} utterances of {len(corpus)} dialogues answered: {out}")
