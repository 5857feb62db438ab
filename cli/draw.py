"""``dglmerc draw STORE DIALOGUE --out PLACE``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from dgl_merc.cli.options import Number
from dgl_merc.errors import InputError, at

if TYPE_CHECKING:
    import pandas as pd

    from dgl_merc.graphs import EdgeType, Store

__all__ = ["draw"]

PICTURES = ("timeline", "adjacency", "weights", "mask")
_KINDS = ("svg", "png", "pdf")


@click.command("draw")
@click.argument("store", type=click.Path(path_type=Path))
@click.argument("dialogue")
@click.option(
    "--out", type=click.Path(path_type=Path), help="A file of one picture, or a folder.  [default: a folder called as the dialogue]"
)
@click.option(
    "--picture",
    "pictures",
    type=click.Choice(PICTURES),
    multiple=True,
    help="Which. Repeatable.  [default: timeline in a file; all but mask in a folder]",
)
@click.option("--format", "kind", type=click.Choice(_KINDS), help="[default: by the file's name; of a folder, svg]")
@click.option("--edges", "types", multiple=True, metavar="SOURCE-RELATION-TARGET", help="Edge types, such as text-same-text. Repeatable.")
@click.option("--threshold", type=Number(0, 1), help="Of a timeline: arcs for edges of at least this weight.")
@click.option("--strongest", type=click.IntRange(0), help="Of a timeline: so many arcs, the heaviest.  [default: two an utterance]")
@click.option("--by", type=click.Choice(["speaker", "type"]), default="speaker", show_default=True, help="What the colour of an arc says.")
@click.option("--times", is_flag=True, help="Of a timeline: utterances stand where they were said, in seconds.")
@click.option("--target", help="Whose labels are shown.  [default: the corpus's first]")
@click.option("--mask-rate", type=Number(0, 1), default=0.5, show_default=True, help="Of the mask: which share is dropped.")
@click.option("--mask-seed", type=click.IntRange(0), default=0, show_default=True, help="Of the mask.")
@click.option("--width", type=Number(3, 60), help="Of timeline, adjacency and mask, in inches.")
@click.option("--force", is_flag=True, help="Replace files.")
def draw(store: Path, dialogue: str, out: Path | None, pictures: tuple[str, ...], kind: str | None, force: bool, **options: Any) -> None:
    """Draw the graph of a dialogue: a timeline, the adjacency, how weights fall, and what a mask leaves.

    DIALOGUE is its name, or its number. Weights are the arccos weights of the store; relations between utterances have none.
    """
    from dgl_merc.cli.console import print_line
    from dgl_merc.files import check_file
    from dgl_merc.graphs import open_store
    from dgl_merc.graphs.draw import save

    opened = open_store(store)
    number = opened.number(dialogue)
    name = str(opened.dialogues["dialogue_id"].iloc[number])
    files = _files(out if out is not None else Path(_file_name(name)), list(dict.fromkeys(pictures)), kind)
    for file in files.values():
        check_file(file, [], force=force)
    utterances, edges = _tables(opened, number, options["target"], options["types"], times=options["times"])
    for picture, file in files.items():
        figure = _figure(picture, opened, number, utterances, edges, {**options, "title": f"{opened.manifest['corpus']['name']}: {name}"})
        print_line(str(save(figure, file)))


def _file_name(name: str) -> str:
    """A dialogue's name as that of a folder."""
    from dgl_merc.graphs.pictures import short

    kept = "".join(c if c.isalnum() or c in "-_." else "-" for c in short(name, 60)).strip(".-")
    return kept or "dialogue"


def _files(out: Path, pictures: list[str], kind: str | None) -> dict[str, Path]:
    """Picture -> its file. Without a word on pictures, a file is a timeline."""
    if out.suffix.lower().removeprefix(".") not in _KINDS:
        if out.exists() and not out.is_dir():
            raise InputError(f"{at(out)}expected a folder, or a name that ends in .svg, .png or .pdf; name another place")
        return {picture: out / f"{picture}.{kind or 'svg'}" for picture in pictures or PICTURES[:3]}
    if len(pictures) > 1:
        raise InputError(f"{at(out)}expected a folder for {len(pictures)} pictures, found the name of a file; pass one --picture")
    if kind and out.suffix.lower() != f".{kind}":
        raise InputError(f"--format {kind}: expected a file that ends in .{kind}, found {out}; leave it out")
    return {(pictures or PICTURES)[0]: out}


def _tables(store: Store, number: int, target: str | None, types: tuple[str, ...], *, times: bool) -> tuple[pd.DataFrame, pd.DataFrame]:
    """The utterances, with what is asked for, and the edges of the types that are asked for."""
    import numpy as np

    from dgl_merc.graphs import edge_table, utterance_table

    corpus = store.corpus
    if target is not None and target not in corpus.targets:
        raise InputError(f"--target {target}: expected one of {', '.join(corpus.targets) or 'none: the corpus has no labels'}")
    utterances = utterance_table(corpus, number, target)
    if times:
        found = corpus.dialogue(number).utterances
        for column in ("start", "end"):
            values = found[column].to_numpy(dtype=float) if column in found else np.full(len(found), np.nan)
            if not np.isfinite(values).all():
                raise InputError(f"--times: expected a {column} for each utterance, found some without; leave it out")
            utterances[column] = values
    structure = store.structure(np.array([number]))
    return utterances, edge_table(structure, store.weights(structure), _types(store, types))


def _types(store: Store, words: tuple[str, ...]) -> list[EdgeType]:
    """The edge types that words name; all, if there are none."""
    known = {"-".join(edge_type): edge_type for edge_type in store.spec.edge_types}
    if unknown := [word for word in words if word not in known]:
        raise InputError(f"--edges {unknown[0]}: expected one of {', '.join(known)}")
    return [known[word] for word in words] if words else list(known.values())


def _figure(picture: str, store: Store, number: int, utterances: pd.DataFrame, edges: pd.DataFrame, options: dict[str, Any]) -> Any:
    """One picture."""
    import numpy as np

    from dgl_merc.graphs import draw as drawing

    target = options["target"] or next(iter(store.corpus.targets), None)
    about: dict[str, Any] = {
        "names": store.corpus.targets[target].classes if target else (),
        "modalities": store.spec.modalities,
        "title": options["title"],
    }
    width: dict[str, Any] = {} if options["width"] is None else {"width": options["width"]}
    weight: dict[str, Any] = {"weight": "arccos weight"}
    if picture == "timeline":
        asked = {key: options[key] for key in ("threshold", "strongest", "by", "times")}
        return drawing.timeline(utterances, edges, **about, **asked, **weight, **width)
    if picture == "adjacency":
        return drawing.adjacency(utterances, edges, **about, **weight, **width)
    if picture == "weights":
        compared = edges.assign(equal=drawing.equal_labels(edges, utterances))
        return drawing.weight_histograms(compared, **weight, title=options["title"])
    from dgl_merc.explanations.masks import kept_edges
    from dgl_merc.kernels import HashMask

    types = [t for t in _types(store, options["types"]) if t in store.spec.message_types]
    kept = kept_edges(store.structure(np.array([number])), HashMask(options["mask_seed"], options["mask_rate"]), types)
    return drawing.mask(utterances, kept, **about, **width)
