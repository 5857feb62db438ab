"""A run of one modality beside a run of several: what the others are worth, paired by dialogue.

    difference   weighted F1 of the run of one modality less that of the run of several, on the same utterances

Its interval is bootstrapped over dialogues. One run of each: what other seeds would give is not in it (``dglmerc compare`` takes several).
"""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from dgl_merc.errors import InputError, at
from dgl_merc.evaluation.statistics import difference, estimate
from dgl_merc.files import resolved
from dgl_merc.reports.run_report import shown_split
from dgl_merc.studies.systems import check_comparable, system_of
from dgl_merc.training.run_folder import SavedRun

__all__ = ["trained_alone"]


def trained_alone(run: SavedRun, other: SavedRun) -> dict[str, Any]:
    """What stands under ``beside`` in ``contributions.json``.

    Args:
        run: of several modalities.
        other: of one of them.

    Returns:
        ``run, path, preset, seed, modality`` of the other; its ``weighted_f1, low, high``; and ``difference`` from the run (``effect, low,
        high``, percent points): on test where the run has evaluated it, else on dev.

    Raises:
        InputError: they have other modalities than that, or were not judged on the same utterances of the same corpus.
    """
    split, mine, theirs = shown_split(run.metrics), run.spec.modalities, other.spec.modalities
    if len(mine) < 2:
        raise InputError(f"{at(run.path)}--beside: expected a run of several modalities, found one of {mine[0]} alone; report it without")
    if len(theirs) != 1 or theirs[0] not in mine:
        raise InputError(
            f"{at(other.path)}--beside: expected a run of one of {', '.join(mine)}, found one of {', '.join(theirs)}; "
            f"fit one with --set data.modalities={'text' if 'text' in mine else mine[0]}"
        )
    corpora = [r.data["corpus"]["content_sha256"] for r in (run, other)]
    if corpora[0] != corpora[1]:
        raise InputError(
            f"{at(other.path)}--beside: expected a run on the corpus of {run.path} ({corpora[0][:12]}…), "
            f"found one on another ({corpora[1][:12]}…); fit one on that with --set data.modalities={theirs[0]}"
        )
    systems = [system_of(str(r.path), [r], str(r.path)) for r in (run, other)]
    check_comparable(systems, split)
    all_of_them, alone = (system.counts(split) for system in systems)
    score, apart = estimate(alone), asdict(difference(all_of_them, alone))
    return {
        "run": resolved(other.path).name,
        "path": str(resolved(other.path)),
        "preset": other.settings.preset,
        "seed": other.settings.seed,
        "modality": theirs[0],
        "weighted_f1": score.mean,
        "low": score.low,
        "high": score.high,
        "difference": {key: apart[key] for key in ("effect", "low", "high")},
    }
