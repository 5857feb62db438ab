"""What each modality contributes, for the report of a run: sentences, a table and a picture."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from dgl_merc.reports.study_figures import Bar

__all__ = ["alone_in_words", "beside_in_words", "contributions_figure", "contributions_page"]

_ALL = "all modalities"


def contributions_page(found: Mapping[str, Any] | None) -> dict[str, Any]:
    """What the page says.

    Args:
        found: what ``contributions.json`` holds; None: nothing.

    Returns:
        ``split``, ``sentences`` on text alone, and ``rows`` of cells; empty where there is nothing.
    """
    if not found:
        return {"split": "", "sentences": [], "rows": []}
    rows = [[_ALL, _score(found["all"]), "", ""]]
    rows += [[name, _score(row), _difference(row["difference"]), str(row.get("bare", ""))] for name, row in _named(found)]
    return {"split": found["split"], "sentences": [*alone_in_words(found), *beside_in_words(found)], "rows": rows}


def alone_in_words(found: Mapping[str, Any], digits: int = 1) -> list[str]:
    """How the model does on text alone; nothing where it has no text."""
    text = found["alone"].get("text")
    if not text:
        return []
    return [
        f"This model hearing text alone: weighted F1 {text['weighted_f1']:.{digits}f} on {found['split']}, "
        f"{_difference(text['difference'], digits)} from all its modalities. It was not trained for that"
    ]


def beside_in_words(found: Mapping[str, Any], digits: int = 1) -> list[str]:
    """How a run of one modality does; nothing where none was set beside this one."""
    other = found.get("beside")
    if not other:
        return []
    which = f"{other['run']}, {other['preset']}, seed {other['seed']}"
    return [
        f"Trained on {other['modality']} alone ({which}): weighted F1 "
        f"{other['weighted_f1']:.{digits}f} on {found['split']}, {_difference(other['difference'], digits)} from this run. "
        "One run of each: no other seed is in the interval"
    ]


def contributions_figure(found: Mapping[str, Any]) -> Figure:
    """Left: the score with each set of modalities. Right: how far it is from that with all."""
    from dgl_merc.reports.study_figures import differences_figure

    rows = _named(found)
    bars = [_bar(name, row, "weighted_f1") for name, row in [(_ALL, found["all"]), *rows]]
    return differences_figure(
        bars, [_bar(name, row["difference"], "effect") for name, row in rows], _ALL, f"weighted F1 on {found['split']} (%)"
    )


def _named(found: Mapping[str, Any]) -> list[tuple[str, Mapping[str, Any]]]:
    """Rows after the first. Of two modalities, without the one is the other alone, and said once."""
    without, alone = ([(f"{word} {m}", row) for m, row in found[key].items()] for key, word in (("without", "without"), ("alone", "only")))
    other = found.get("beside")
    trained = [(f"trained on {other['modality']} alone", other)] if other else []
    return [*(without if len(found["modalities"]) > 2 else []), *alone, *trained]


def _bar(name: str, row: Mapping[str, Any], key: str) -> Bar:
    from dgl_merc.reports.study_figures import Bar

    return Bar(name, row[key], row["low"], row["high"])


def _score(row: Mapping[str, Any]) -> str:
    return f"{row['weighted_f1']:.1f} ({row['low']:.1f} to {row['high']:.1f})"


def _difference(row: Mapping[str, Any], digits: int = 1) -> str:
    return f"{row['effect']:+.{digits}f} ({row['low']:+.{digits}f} to {row['high']:+.{digits}f})"
