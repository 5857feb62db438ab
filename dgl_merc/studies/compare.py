"""Systems beside each other: scores with intervals over dialogues and seeds, differences paired by dialogue, Holm-corrected."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import pandas as pd

from dgl_merc.corpus.association import holm
from dgl_merc.errors import InputError
from dgl_merc.evaluation.statistics import Difference, Estimate, difference, estimate, score
from dgl_merc.reports.tables import mean_and_deviation, p_value
from dgl_merc.studies.systems import System, check_comparable

__all__ = ["Comparison", "compare"]


@dataclass(frozen=True)
class Comparison:
    """What a comparison found.

    Attributes:
        split: that was judged.
        names: of the systems; the first is the one the others are held to.
        scores: of each system's seeds.
        estimates: of each system's weighted F1.
        differences: of each system from the first; None for the first.
        adjusted: Holm-corrected p per system; None where there is none.
        notes: what a reader must know.
    """

    split: str
    names: tuple[str, ...]
    scores: tuple[tuple[float, ...], ...]
    estimates: tuple[Estimate, ...]
    differences: tuple[Difference | None, ...]
    adjusted: tuple[float | None, ...]
    notes: tuple[str, ...]

    def table(self) -> pd.DataFrame:
        """A row per system, for people."""
        rows = []
        for e, d, p in zip(self.estimates, self.differences, self.adjusted, strict=True):
            row = {
                "seeds": e.seeds,
                "weighted F1": mean_and_deviation(e.mean, e.deviation),
                "95 % interval": f"{e.low:.2f} to {e.high:.2f}",
            }
            row["difference"] = "" if d is None else f"{d.effect:+.2f}"
            row["95 % interval of it"] = "" if d is None else f"{d.low:+.2f} to {d.high:+.2f}"
            row["p"] = "" if d is None else p_value(d.p)
            if len(self.names) > 2:
                row["p (Holm)"] = "" if d is None else p_value(p)
            rows.append(row)
        return pd.DataFrame(rows, index=pd.Index(self.names))

    def to_json(self) -> dict[str, Any]:
        """All numbers."""
        systems = [
            {"name": n, "scores": s, "weighted_f1": asdict(e), "difference": asdict(d) if d else None, "p_holm": p}
            for n, s, e, d, p in zip(self.names, self.scores, self.estimates, self.differences, self.adjusted, strict=True)
        ]
        return {"split": self.split, "baseline": self.names[0], "systems": systems, "notes": list(self.notes)}


def compare(systems: Sequence[System], split: str = "test", *, resamples: int = 10_000) -> Comparison:
    """Hold every system to the first.

    Args:
        systems: two or more, of different names.
        split: ``test``, or ``dev`` while settings are still being chosen.
        resamples: of the bootstrap and the permutation test.

    Raises:
        InputError: one system alone, equal names, or systems that can't be compared.
    """
    if len(systems) < 2:
        raise InputError(f"expected two or more runs to compare, found {len(systems)}")
    names = tuple(system.name for system in systems)
    if len(set(names)) != len(names):
        raise InputError(f"expected different names, found {', '.join(names)}; name runs as NAME=FOLDER")
    notes = check_comparable(systems, split)
    counts = [system.counts(split) for system in systems]
    scores = tuple(tuple(score(c.sum(axis=1), "weighted_f1").tolist()) for c in counts)
    estimates = tuple(estimate(c, resamples=resamples) for c in counts)
    differences = tuple(None if k == 0 else difference(counts[0], c, resamples=resamples) for k, c in enumerate(counts))
    adjusted = tuple(holm([None if d is None else d.p for d in differences]))
    for system, c in zip(systems[1:], counts[1:], strict=True):
        if len(c) != len(counts[0]):
            notes.append(f"{names[0]} has {len(counts[0])} seeds, {system.name} {len(c)}: no permutation test, which pairs runs")
    if any(len(c) == 1 for c in counts):
        notes.append("of a system with one seed, the interval does not hold what another seed would give")
    if split != "test":
        notes.append(f"judged on {split}, which chose the epochs: not a result")
    return Comparison(split, names, scores, estimates, differences, adjusted, tuple(notes))
