"""``dglmerc inspect STORE``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from dgl_merc.errors import InputError

if TYPE_CHECKING:
    import pandas as pd

    from dgl_merc.graphs.stats import Survey
    from dgl_merc.graphs.store import Store

__all__ = ["inspect"]

_MARK = "edge_statistics.csv"


@click.command("inspect")
@click.argument("store", type=click.Path(path_type=Path))
@click.option("--dialogue", metavar="ID", help="One dialogue, by name or number, and its utterances.  [default: all]")
@click.option("--split", type=click.Choice(["train", "dev", "test"]), help="The dialogues of one split.  [default: all]")
@click.option(
    "--target", metavar="NAME", help="Whose labels count, where the corpus has several; of scores, the sign.  [default: the first]"
)
@click.option("--csv", type=click.Path(path_type=Path), metavar="FOLDER", help="Write every table there, whole, and print none.")
@click.option("--json", "as_json", is_flag=True, help="Print every table as one JSON document, and nothing else.")
@click.option("--force", is_flag=True, help="Replace FOLDER.")
def inspect(store: Path, dialogue: str | None, split: str | None, target: str | None, csv: Path | None, as_json: bool, force: bool) -> None:
    """Look at the graphs of STORE in numbers.

    Edges, degrees, components and weights per edge type and split; how often an edge joins equal labels, against chance; whether heavier
    edges do so more often; which emotion follows which; which modalities are missing, and whether that tells the label.

    `--csv` and `--json` have all tables in full, with the names of the functions in dgl_merc.graphs.stats that make and explain them.
    """
    from dgl_merc.cli.console import progress_bar
    from dgl_merc.graphs.stats import Survey
    from dgl_merc.graphs.store import open_store

    if csv and as_json:
        raise InputError("--json: expected one of --csv and --json; leave one out")
    if force and not csv:
        raise InputError("--force: expected a folder to replace (--csv); leave it out")
    opened = open_store(store)
    if csv:
        _check_folder(csv, force)
    named = None if dialogue is None else opened.number(dialogue)
    with progress_bar("edges", "dialogues") as report:
        survey = Survey.of_store(opened, dialogue=named, split=split, target=target, progress=report)
        survey.edge_counts  # noqa: B018 - counted here, under the bar, for all tables
    if csv:
        _write(csv, _tables(opened, survey, named, target), force)
    elif as_json:
        _print_json(opened, _tables(opened, survey, named, target), target)
    else:
        from dgl_merc.cli.inspect_print import print_survey

        print_survey(opened, survey, named, target)


def _check_folder(out: Path, force: bool) -> None:
    from dgl_merc.files import check_file, check_free

    check_free(out, force=force, replaces=_MARK)
    check_file(out / _MARK, [], force=force)


def _tables(store: Store, survey: Survey, dialogue: int | None, target: str | None) -> dict[str, pd.DataFrame]:
    """Every table in full, by the name of the function that makes it."""
    from dgl_merc.graphs import stats

    of_survey = (
        stats.edge_statistics,
        stats.weight_histogram,
        stats.homophily,
        stats.weight_agreement,
        stats.agreement_by_weight,
        stats.emotion_transitions,
        stats.emotion_shifts,
        stats.presence_patterns,
        stats.missing_modalities,
        stats.missing_by_label,
    )
    tables = {f.__name__: f(survey) for f in of_survey} | {"common_space_correlations": stats.common_space_correlations(store)}
    if dialogue is not None:
        tables["dialogue_utterances"] = stats.dialogue_utterances(store, dialogue, target)
    return tables


def _write(out: Path, tables: dict[str, pd.DataFrame], force: bool) -> None:
    from dgl_merc.cli.console import print_line
    from dgl_merc.files import locked, new_folder, write_bytes

    with locked(out, "writing tables"), new_folder(out, force=force, replaces=_MARK) as folder:
        for name, table in tables.items():
            write_bytes(folder / f"{name}.csv", table.to_csv(None, index=False).encode("utf-8", "backslashreplace"))
    print_line(f"Written to {out}: {', '.join(f'{name}.csv' for name in tables)}")


def _print_json(store: Store, tables: dict[str, pd.DataFrame], target: str | None) -> None:
    from dgl_merc.files import json_bytes

    about: dict[str, Any] = {
        "store": str(store.path),
        "corpus": store.corpus.name,
        "target": target or next(iter(store.corpus.targets), None),
        "spec": store.spec.to_json(),
    }
    rows = {name: table.to_dict("records") for name, table in tables.items()}
    click.echo(json_bytes({**about, "tables": rows}), nl=False)
