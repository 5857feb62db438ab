"""Pictures of an explanation: what the model's parts looked at, what its answers hang on, and what learning and the mask made of edges."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from dgl_merc.explanations.explainer import Explainer
from dgl_merc.explanations.masks import masked_edges, masks
from dgl_merc.explanations.weights import LIKENESS
from dgl_merc.graphs import draw
from dgl_merc.graphs.palette import BLUE, GREY, GRID, INK, bare
from dgl_merc.graphs.pictures import PictureKind, as_bytes, short, styled
from dgl_merc.layers.probe import ITSELF

__all__ = ["effects_figure", "figures_of", "pictures_of", "shares", "shares_figure"]

_MODALITIES = (BLUE, "#E69F00", "#009E73", "#CC79A7", "#56B4E9", INK)
_HATCHES = ("", "///", "...", "xx", "++", "oo")
_STAR = "part_of"
_WHOLE = {"graph": "entries of P (eq. 21)", "syntactic": "weight of a message (eq. 23)", LIKENESS: "arccos weight of the hidden state"}


def shares(explainer: Explainer) -> pd.DataFrame:
    """What each modality of an utterance weighs: of the attention filter (MGLRA eq. 4) or the fusion (MA-CMU-SGRNet eq. 14, 15).

    Returns:
        A row an utterance, a column per modality, NaN where it is absent; no columns of a model that weighs no modalities.
    """
    table, weights = explainer.utterances, explainer.weights()
    star = weights[weights["relation"] == _STAR]
    if len(star):
        found = star.pivot_table(index="dst", columns="source", values="weight")
        return found.reindex(index=table.index, columns=list(explainer.modalities))
    names = {m: f"weight_{m}" for m in explainer.modalities}
    return table[[c for c in names.values() if c in table]].set_axis([m for m, c in names.items() if c in table], axis=1)


@styled
def shares_figure(utterances: pd.DataFrame, weights: pd.DataFrame, *, title: str = "") -> Figure:
    """Draw what each modality of an utterance weighs: a bar an utterance, cut into its modalities.

    Args:
        utterances: ``speaker``, U rows.
        weights: of :func:`shares`, U rows.
        title: above.
    """
    figure = Figure(figsize=(float(np.clip(1.6 + 0.3 * len(utterances), 5, 14)), 2.6), layout="constrained")
    axes = figure.subplots()
    base = np.zeros(len(utterances))
    for k, m in enumerate(weights):
        values = np.nan_to_num(weights[m].to_numpy(dtype=float))
        look: dict[str, Any] = {"color": _MODALITIES[k % len(_MODALITIES)], "hatch": _HATCHES[k % len(_HATCHES)]}
        axes.bar(weights.index, values, 0.84, base, edgecolor="white", linewidth=0.5, label=m, **look)
        base += values
    _positions(axes, utterances)
    axes.set_ylim(0, 1)
    axes.set_ylabel("share", fontsize=9)
    figure.legend(fontsize=9, frameon=False, loc="outside lower center", ncols=len(weights.columns))
    axes.set_title(title, fontsize=10, loc="left")
    bare(axes)
    return figure


@styled
def effects_figure(explainer: Explainer, effects: pd.DataFrame, *, title: str = "") -> Figure:
    """Draw what each answer becomes without a modality and without another utterance: a column an answer, a row a removal.

    Orange: without it the probability falls, the answer leans on it; blue: it speaks for something else. Of a score, orange is less of it,
    blue more. A dot: another class would be predicted. Crossed out: the utterance
    itself, which has no answer where it was never said.

    Args:
        explainer: of the dialogue.
        effects: of :meth:`Explainer.effects`; only modalities and utterances are drawn.
        title: above.

    Raises:
        ValueError: effects on one answer only.
    """
    table, scored = explainer.utterances, explainer.data.task.outputs == 1
    count = len(table)
    if effects["utterance"].nunique() < count:
        raise ValueError(f"effects must be on all {count} answers, got {effects['utterance'].nunique()}")
    modalities = list(effects.loc[effects["removed"] == "modality", "modality"].unique())
    grid = np.full((len(modalities) + count, count), np.nan)
    drawn = effects[effects["removed"].isin(["modality", "utterance"])]
    by_modality = drawn["modality"].map({m: k for k, m in enumerate(modalities)})
    place = by_modality.fillna(drawn["position"].astype(float) + len(modalities)).to_numpy(dtype=np.int64)
    column = drawn["utterance"].to_numpy(dtype=np.int64)
    grid[place, column] = drawn["effect"] * (1 if scored else 100)
    flipped = (drawn["then"] != drawn["predicted"]).to_numpy(dtype=bool)
    side = float(np.clip(0.24 * count, 3.2, 12))
    figure = Figure(figsize=(side + 2.6, side * len(grid) / count + 1.3), layout="constrained")
    axes = figure.subplots()
    far = float(np.nanmax(np.abs(grid), initial=1e-9))
    axes.set_facecolor(GRID)
    image = axes.imshow(grid, cmap="PuOr", vmin=-far, vmax=far, aspect="auto")
    own, size = np.arange(count), float(np.clip(60 / count, 1.2, 4))
    axes.plot(column[flipped], place[flipped], "o", color=INK, markersize=size, gid="flips")
    axes.plot(own, own + len(modalities), "x", color=GREY, markersize=size, gid="itself")
    axes.axhline(len(modalities) - 0.5, color=INK, linewidth=0.8)
    every = max(1, count // 24)
    names = [short(text, 14) for text in (table["speaker"].astype(str))]
    rows = [*range(len(modalities)), *range(len(modalities), len(grid), every)]
    axes.set_yticks(rows, [*(f"without {m}" for m in modalities), *(f"{k} {names[k]}" for k in range(0, count, every))], fontsize=8)
    _positions(axes, table)
    axes.set_xlabel("the answer of utterance (· another class would be predicted)", fontsize=9)
    bar = figure.colorbar(image, ax=axes, fraction=0.046, pad=0.02)
    bar.set_label("change of the score" if scored else "change of the predicted class's probability (points)", fontsize=9)
    bar.ax.tick_params(labelsize=8)
    bar.outline.set_visible(False)
    axes.set_title(title, fontsize=10, loc="left")
    return figure


def figures_of(explainer: Explainer, weights: pd.DataFrame, effects: pd.DataFrame) -> dict[str, Figure]:
    """All that can be drawn of an explanation: name -> picture.

    Args:
        explainer: of the dialogue.
        weights: of :meth:`Explainer.weights`.
        effects: of :meth:`Explainer.effects`, or of one utterance alone: then without the picture of effects.
    """
    table, name = explainer.utterances, short(explainer.dialogue_id, 40)
    about: dict[str, Any] = {"names": explainer.data.task.names, "modalities": explainer.modalities}
    found = {"timeline": draw.timeline(table, _arcs(weights), **about, title=f"{name}: what is predicted, and what the graph weighs most")}
    for part, kinds in _heat_maps(weights).items():
        blocks = [m for m in explainer.modalities if m in set(kinds["source"])] or None
        weight = _WHOLE.get(part, "attention, mean of heads")
        file = f"weights-{part.replace(', ', '-').replace(' ', '-')}"
        found[file] = draw.adjacency(table, kinds, **about, blocks=blocks, title=f"{name}: {part}", weight=weight)
    weighed = shares(explainer)
    if len(weighed.columns):
        found["modalities"] = shares_figure(table, weighed, title=f"{name}: what each modality weighs")
    if effects["utterance"].nunique() == len(table):
        found["effects"] = effects_figure(explainer, effects, title=f"{name}: what an answer becomes without ...")
    learned = weights[(weights["part"] == LIKENESS) & (weights["relation"] == "same")]
    if len(learned):
        both = draw.paired_weights(explainer.raw_weights(), learned)
        words: dict[str, Any] = {"raw": "of the features", "learned": "of the hidden state"}
        found["raw-against-learned"] = draw.raw_against_learned(both, **words, same_scale=True, title=f"{name}: arccos weights")
        title = f"{name}: arccos weights of the hidden state"
        found["weights-histogram"] = draw.weight_histograms(weights[weights["part"] == LIKENESS], title=title)
    if masks(explainer) is not None:
        title = f"{name}: what the mask leaves in the first step of training"
        found["mask"] = draw.mask(table, masked_edges(explainer), **about, title=title)
    return found


def pictures_of(explainer: Explainer, weights: pd.DataFrame, effects: pd.DataFrame, kind: PictureKind) -> dict[str, bytes]:
    """The same as files: name -> bytes."""
    return {f"{name}.{kind}": as_bytes(figure, kind) for name, figure in figures_of(explainer, weights, effects).items()}


def _arcs(weights: pd.DataFrame) -> pd.DataFrame:
    """Edges for a timeline: of the part that is a graph over utterances, or of what comes nearest."""
    for part in ("graph", "semantic"):
        rows = weights[(weights["part"] == part) & (weights["relation"] != ITSELF)]
        if len(rows):
            return rows
    return weights[:0]


def _heat_maps(weights: pd.DataFrame) -> Mapping[str, pd.DataFrame]:
    """Part -> its edges, those that join two utterances; the three encoders of distributions are one."""
    drawn = weights[(weights["relation"] != _STAR) & (weights["part"] != LIKENESS)]
    parts = drawn["part"].where(~drawn["part"].str.startswith("distribution"), "distribution")
    return {str(part): rows for part, rows in drawn.groupby(parts, sort=False)}


def _positions(axes: Any, utterances: pd.DataFrame) -> None:
    every = max(1, len(utterances) // 24)
    axes.set_xticks(range(0, len(utterances), every), range(0, len(utterances), every), fontsize=8)
    axes.set_xlim(-0.6, len(utterances) - 0.4)
    axes.set_xlabel("utterance", fontsize=9)
