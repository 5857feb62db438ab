"""``dglmerc features CORPUS_or_TABLE OUT``: from texts and recordings to vectors."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import click

from dgl_merc.cli.corpus_shared import FORCE, OUT, check_out, write
from dgl_merc.cli.import_corpus import ONE_SPLIT
from dgl_merc.cli.options import DEVICE, choose_device, choose_jobs
from dgl_merc.errors import InputError, at
from dgl_merc.files import resolved

if TYPE_CHECKING:
    from dgl_merc.corpus import Corpus
    from dgl_merc.extraction import Recipe

__all__ = ["CLIPS", "CUT", "LOOKERS", "MEDIA", "features"]

MEDIA = click.option("--media", metavar="DIR", type=click.Path(path_type=Path), help="Where the recordings are.")
"""The folder of recordings."""
CLIPS = click.option(
    "--clips",
    metavar="PATTERN",
    default="",
    help="Which file an utterance is, by columns of the table, such as 'dia{dialogue_id}_utt{utterance_id}.mp4'; of MELD as published "
    "'{split}_splits/dia{dialogue_id}_utt{utterance_id}.mp4'.",
)
"""Names of clips."""
CUT = click.option(
    "--cut",
    type=click.Choice(["shared", "always", "never"]),
    default="shared",
    show_default=True,
    help="Whether start and end are times in the files: in those that several utterances share, in all, or in none.",
)
"""Whether stretches are cut out."""
LOOKERS = click.option("--jobs", type=click.IntRange(1, 1024), help="Processes that look at recordings.  [default: one per free CPU]")
"""How many processes."""


@click.command("features")
@click.argument("source", metavar="CORPUS_or_TABLE", type=click.Path(path_type=Path))
@OUT
@MEDIA
@click.option(
    "--text",
    metavar="MODEL",
    help="What was said, by a model of sentence-transformers: its folder, or its name on the hub, such as "
    "sentence-transformers/all-MiniLM-L6-v2.",
)
@click.option("--audio", metavar="SET", help="Sound, by a feature set of openSMILE, such as egemaps (88 numbers) or compare (6373).")
@click.option(
    "--visual",
    metavar="WHAT",
    help="Pictures of videos: hog (of faces, without a model), or model:NAME (by an image model of transformers); with ,faces=no whole "
    "pictures.",
)
@CLIPS
@CUT
@LOOKERS
@DEVICE
@ONE_SPLIT
@click.option("--resume", is_flag=True, help="Go on with what an earlier call left unfinished; what has changed since is made anew.")
@FORCE
def features(
    source: Path,
    out: Path,
    *,
    media: Path | None,
    clips: str,
    cut: Literal["shared", "always", "never"],
    jobs: int | None,
    device: str,
    one_split: str | None,
    resume: bool,
    force: bool,
    **asked: str | None,
) -> None:
    """Make the vectors of a corpus's utterances, or of a table's (CSV), from what was said and recorded.

    The file of an utterance is what its column media says (a path below DIR); else what --clips says; else the file called by its
    dialogue, <dialogue_id>.wav, or by itself, <dialogue_id>_<utterance_id>.wav, or .mp4, .flac and so on. Utterances are cut out of files
    that they share, such as a dialogue's, by the columns start and end; other files are whole utterances.

    What can't be read, heard or seen is absent, and listed. A table has the column names that `dglmerc import table` takes by itself; where
    yours are others, import it first.
    """
    from dgl_merc.cli.console import progress_bar
    from dgl_merc.extraction.extract import extract, list_absent
    from dgl_merc.extraction.extractor import open_extractor
    from dgl_merc.extraction.recordings import Media
    from dgl_merc.extraction.unfinished import about_to_appear, work_folder
    from dgl_merc.extraction.workers import Extractors

    recipes = _recipes(asked, media, clips=clips, cut=cut)
    if media and resolved(media).is_relative_to(resolved(out)):
        raise InputError(f"{at(out)}expected a folder apart from the recordings, found {media} in it; name another folder")
    check_out(out, [source], force=force or resume)
    corpus = _opened(source, one_split)
    if {"text", "visual"} & set(recipes):
        import torch

        device = choose_device(device, torch.get_num_threads())
    jobs = choose_jobs(jobs, "cpu", 1, max(1, len(corpus.utterances)))
    opener = partial(open_extractor, device=device)
    say = partial(click.echo, err=True)
    where = Media(media, clips, cut) if media else None
    with work_folder(out, force=force, resume=resume) as work, Extractors(jobs, opener) as extractors:
        if work is None:
            say(f"{out} was finished already")
            return
        made = extract(corpus, recipes, where, work=work, extractors=extractors, say=say, progress=progress_bar)
        absent = {name: list(list_absent(made, name)) for name in recipes}
        nothing = next((name for name in recipes if not len(made.features[name])), None)
        if nothing is None:
            new = [note for note in made.notes if note not in corpus.notes or not source.is_dir()]
            about_to_appear(work, made.content_sha256)
            write(made, out, [*new, *(line for lines in absent.values() for line in lines)], force=force)
    if nothing:
        first = absent[nothing][0].removeprefix(f"{nothing}: ")
        raise InputError(f"{nothing}: expected at least one utterance that has it, found none; the first: {first}")


def _recipes(asked: dict[str, str | None], media: Path | None, **how: Any) -> dict[str, Recipe]:
    """What is asked for, by modality.

    Raises:
        InputError: nothing, or recordings without a folder, or a folder that nobody looks at.
    """
    from dgl_merc.extraction.extractor import parse_recipe

    recipes = {kind: parse_recipe(kind, text) for kind, text in asked.items() if text is not None}  # type: ignore[arg-type]
    looking = [f"--{kind}" for kind in recipes if kind != "text"]
    if not recipes:
        raise InputError("expected --text, --audio or --visual, found none; say what vectors are to be made of")
    if looking and not media:
        raise InputError(f"{looking[0]}: expected the folder of the recordings, found none; pass --media DIR")
    given = [name for name, there in (("--media", media), ("--clips", how["clips"]), ("--cut", how["cut"] != "shared")) if there]
    if given and not looking:
        raise InputError(f"{given[0]}: expected --audio or --visual beside it, found neither; leave it out")
    return recipes


def _opened(source: Path, one_split: str | None) -> Corpus:
    """A corpus, or a table of the corpus's own column names."""
    from dgl_merc.corpus import open_corpus
    from dgl_merc.corpus.readers.table import read_table

    if source.is_dir():
        if one_split:
            raise InputError("--one-split: expected a table, found a corpus, which has splits; leave it out")
        return open_corpus(source)
    if source.suffix.lower() != ".csv":
        raise InputError(f"{at(source)}expected the folder of a corpus or a table (.csv), found {'a file' if source.exists() else 'none'}")
    return read_table(source, [], one_split=one_split)
