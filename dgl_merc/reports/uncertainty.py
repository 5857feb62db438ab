"""Whether a model's uncertainty says anything of its errors, for the report of a run: sentences, tables and a picture."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from dgl_merc.reports.page import number

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["uncertainty_figure", "uncertainty_page"]

_SAYS = {
    "nothing": "says nothing of errors here",
    "more errors": "the larger, the more errors",
    "fewer errors": "the larger, the fewer errors",
}


def uncertainty_page(uncertainty: Mapping[str, Any]) -> dict[str, Any]:
    """What the page says.

    Args:
        uncertainty: of :func:`dgl_merc.evaluation.uncertainty.evaluate_uncertainty`, by modality; empty for a model without.

    Returns:
        ``sentences``, (modality, text) each; ``errors`` and ``weights``, rows of cells; all empty where there is nothing to show.
    """
    sigmas = {m: row["sigma"] for m, row in uncertainty.items() if row["sigma"]}
    weights = {m: row["weight"] for m, row in uncertainty.items() if row["weight"]}
    if not any(row["utterances"] for row in [*sigmas.values(), *weights.values()]):
        sigmas, weights = {}, {}
    return {
        "sentences": [(m, _sentence(row)) for m, row in sigmas.items()],
        "errors": [_cells(m, row) for m, row in sigmas.items()],
        "weights": [[m, *(_share(row[k]) for k in ("all", "right", "wrong"))] for m, row in weights.items()],
    }


def _sentence(sigma: Mapping[str, Any]) -> str:
    if sigma["says"] is None:
        wrong = sigma["wrong"]
        return f"too few answers to tell ({wrong} wrong, {sigma['utterances'] - wrong} right)"
    return f"{_SAYS[sigma['says']]} (AUROC {_share(sigma['auroc'])}, 95 % {_between(sigma['interval'])})"


def _cells(modality: str, sigma: Mapping[str, Any]) -> list[str]:
    free = sigma["confidence"] or {"auroc": None, "interval": None, "aurc": None}
    aurocs = [_share(r["auroc"]) + (f" ({_between(r['interval'])})" if r["interval"] else "") for r in (sigma, free)]
    return [modality, str(sigma["utterances"]), *aurocs, *(number(v) for v in (sigma["error"], sigma["aurc"], free["aurc"]))]


def _share(value: float | None) -> str:
    """``.51``; what is not .5 does not look like it."""
    if value is None:
        return "–"
    text = f"{value:.2f}"
    return (f"{value:.3f}" if text == "0.50" and value != 0.5 else text).removeprefix("0")


def _between(interval: list[float]) -> str:
    return " to ".join(map(_share, interval))


def uncertainty_figure(uncertainty: Mapping[str, Any]) -> Figure:
    """Per modality: error rate of the bins of sigma against their mean sigma, over the error of all its utterances.

    Args:
        uncertainty: as for :func:`uncertainty_page`, with bins of one modality at least.
    """
    from matplotlib.figure import Figure

    from dgl_merc.graphs.palette import BLUE, GREY, GRID, ORANGE, bare

    shown = {m: row["sigma"] for m, row in uncertainty.items() if row["sigma"] and row["sigma"]["bins"]}
    figure = Figure(figsize=(6.2, 0.4 + 2.1 * len(shown)), layout="constrained")
    panels = figure.subplots(len(shown), 1, sharey=True, squeeze=False)[:, 0]
    for axes, (modality, row) in zip(panels, shown.items(), strict=True):
        means, errors, counts = ([b[key] for b in row["bins"]] for key in ("mean", "error", "utterances"))
        axes.plot(means, errors, "o-", color=BLUE, linewidth=0.8, markersize=5)
        few, many = min(counts), max(counts)
        if many > few + 1:  # equal values stay together: the bins are uneven
            for x, y, n in zip(means, errors, counts, strict=True):
                axes.annotate(str(n), (x, y), xytext=(0, 5), textcoords="offset points", ha="center", fontsize=8, color=GREY)
        axes.axhline(row["error"], color=ORANGE, linewidth=1.2, linestyle="--")
        bins = f"{len(counts)} bins" if len(counts) > 1 else "1 bin"
        held = f"{few}" if few == many else f"{few} to {many}"
        axes.set_title(f"{modality}: {bins} of {held} utterances", fontsize=10, loc="left", parse_math=False)
        axes.set_ylabel("error (%)", fontsize=9)
        axes.grid(axis="y", color=GRID, linewidth=0.8)
        axes.set_axisbelow(True)
        bare(axes)
    panels[-1].set_xlabel("σ: norm of the deviation", fontsize=9)
    panels[0].set_ylim(0, min(112.0, 1.2 * max(10.0, *(b["error"] for row in shown.values() for b in row["bins"]))))
    return figure
