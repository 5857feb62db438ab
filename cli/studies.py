"""What ``fit`` with several runs and ``ablate`` say: a line as each run ends, then the table.

Import this inside a command: it loads what makes studies.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from dgl_merc.cli.console import print_line, print_table
from dgl_merc.errors import InputError
from dgl_merc.files import read_json
from dgl_merc.reports.study_report import write_study_report
from dgl_merc.studies.grid import Grid
from dgl_merc.studies.study import Outcome
from dgl_merc.studies.summary import summarise
from dgl_merc.training.oracle import NOT_A_RESULT
from dgl_merc.training.settings import DataSettings
from dgl_merc.training.source import Source
from dgl_merc.training.splits import fold_names
from dgl_merc.training.task import choose_target

__all__ = ["conclude", "folds_of", "print_outcome", "print_splits"]


def folds_of(source: Source, data: DataSettings) -> tuple[str, ...]:
    """The folds that settings ask for, all of them unless one is named."""
    return () if data.fold else fold_names(source.corpus, choose_target(source.corpus, data.target), data)


def print_outcome(total: int) -> Callable[[Outcome], None]:
    """A line as each run of a study ends."""
    done = 0

    def say(outcome: Outcome) -> None:
        nonlocal done
        done += 1
        start = f"[{done}/{total}] {outcome.cell.place}: "
        if outcome.metrics is None:
            print_line(f"{start}failed: {outcome.fault}")
            return
        m = outcome.metrics
        scores = [f"{s} {m['splits'][s]['weighted_f1']:.2f}" for s in ("dev", "test") if (m["splits"].get(s) or {}).get("utterances")]
        print_line(f"{start}epoch {m['chosen_epoch']:.4g} of {m['epochs']:.4g}, weighted F1 {', '.join(scores)}  ({outcome.seconds:.0f} s)")

    return say


def print_splits(run: Path) -> None:
    """What a reader must know of the splits of a run."""
    division = read_json(run / "data.json")["division"]
    if division["dev"] == "drawn":
        count = division["splits"]["dev"]["dialogues"]
        print_line(f"Dev was drawn from the training split: {count} dialogues (data.dev_fraction, data.split_seed)")
    if division["speakers_in_several_splits"]:
        print_line(f"Speakers: {division['speakers_in_several_splits']} occur in more than one split")


def conclude(grid: Grid, outcomes: Sequence[Outcome], place: Path) -> None:
    """Write and print the table of a study; its failures become the error of the command.

    Raises:
        InputError: some runs failed; the others' table is there.
    """
    failed = [o for o in outcomes if o.metrics is None]
    if len(failed) < len(outcomes):
        result = write_study_report(place, *summarise(grid, outcomes, place))
        print_splits(place / next(o.cell.place for o in outcomes if o.metrics is not None))
        print_table(result.shown.set_index(result.shown.columns[0]), result.caption)
        _print_oracle([place / o.cell.place for o in outcomes])
        print_line(f"Report: {place / 'report.html'} (the table: table.txt, table.csv, table.tex, figures/table.png)")
    if failed:
        raise InputError(f"{len(failed)} of {len(outcomes)} runs failed: {failed[0].cell.place}: {failed[0].fault}")


def _print_oracle(runs: Sequence[Path]) -> None:
    flattery = [read_json(run / "oracle.json").get("flattery", 0.0) for run in runs if (run / "oracle.json").is_file()]
    if flattery:
        mean = sum(flattery) / len(flattery)
        print_line(f"Oracle ({NOT_A_RESULT}): choosing epochs by test would show {mean:+.2f} points more, mean of {len(flattery)} runs")
