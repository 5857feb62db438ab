"""A finished run, asked about one dialogue: what it answers, which weights it used, and what its answers hang on."""

from __future__ import annotations

from collections.abc import Callable
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
import torch

from dgl_merc.corpus import Corpus, presence_column
from dgl_merc.errors import InputError, at
from dgl_merc.explanations.deletion import Advance, Answers, Deletion, without_edges, without_modalities, without_utterances
from dgl_merc.explanations.weights import LIKENESS, weight_table
from dgl_merc.graphs import Structure, edge_table, utterance_table
from dgl_merc.graphs.weights import feature_weights
from dgl_merc.layers import Probe
from dgl_merc.layers.probe import ITSELF
from dgl_merc.models import Model
from dgl_merc.training.run_folder import SavedRun

__all__ = ["EFFECT_COLUMNS", "MOST_EFFECTS", "Explainer", "strongest"]

_EDGE = ("part", "source", "relation", "target", "src", "dst", "weight")
EFFECT_COLUMNS = ("removed", "position", "modality", *_EDGE, "utterance", "predicted", "before", "after", "effect", "then")
"""The columns of every table of effects, in order."""
MOST_EFFECTS = 1 << 22
"""Rows of a table of effects: half a gigabyte."""


class Explainer:
    """What a run makes of a dialogue.

    Args:
        run: finished.
        corpus: that has the dialogue, and fits the run.
        dialogue: its number or its name.
        device: where to compute.
        model: the run's, if it is loaded already.

    Attributes:
        dialogue: its number.
        dialogue_id: its name.

    Raises:
        InputError: no such dialogue, a corpus that does not fit, or a dialogue of a test split that was not evaluated yet.
    """

    def __init__(self, run: SavedRun, corpus: Corpus, dialogue: int | str, *, device: str = "cpu", model: Model | None = None) -> None:
        self.run, self.device = run, device
        self.dialogue = corpus.number(dialogue)
        self.dialogue_id = corpus.dialogue_ids[self.dialogue]
        if self.dialogue in run.unseen(corpus):
            raise InputError(
                f"{at(run.path, dialogue=self.dialogue_id)}is in the test split, which was not evaluated yet: name a dialogue of another "
                "split, or finish the table the run belongs to (ablate --final)"
            )
        self.data = run.dialogue_data(corpus)
        self.model = (model or run.model(device)).eval()
        self._batch = self.data.batch(np.array([self.dialogue]))

    @property
    def structure(self) -> Structure:
        """Of the dialogue; its key is its number in the corpus."""
        return self._batch.structure

    @property
    def modalities(self) -> tuple[str, ...]:
        """Of the run."""
        return self.data.spec.modalities

    @cached_property
    def _found(self) -> tuple[Answers, dict[str, npt.NDArray[np.float32]], Probe]:
        probe = Probe()
        with torch.inference_mode():
            batch = self._batch.to(self.device)
            output = self.model(batch.structure, batch.features, probe=probe)
        details = {name: values.float().cpu().numpy() for name, values in output.details.items()}
        return self.data.task.answers(output.logits).cpu().numpy(), details, probe

    @property
    def answers(self) -> Answers:
        """[U, outputs] probabilities, or scores."""
        return self._found[0]

    @cached_property
    def utterances(self) -> pd.DataFrame:
        """The dialogue, a row an utterance: as :func:`dgl_merc.graphs.utterance_table`, then what the run answers.

        That is ``predicted``, ``p_<class>`` (``score`` and ``predicted_score`` of a run that learns scores), and what else the model says,
        such as ``sigma_text``. The modalities are the run's.
        """
        corpus, task = self.data.corpus, self.data.task
        table = utterance_table(corpus, self.dialogue, task.target)
        table = table.drop(columns=[presence_column(m) for m in corpus.modalities if m not in self.modalities])
        said = task.described(corpus, self._batch.rows, self.answers)
        return table.assign(**{name: values for name, values in said.items() if name != "label"}, **self._found[1])

    def weights(self, *, heads: bool = False) -> pd.DataFrame:
        """The weights of every part of the model: :func:`dgl_merc.explanations.weights.weight_table`; none without edges (``bilstm``)."""
        table = weight_table(self._found[2].seen or {}, heads=heads)
        return table.assign(dialogue=self.dialogue)

    def raw_weights(self) -> pd.DataFrame:
        """Arccos weights of the scaled features, before any learning, of ``same`` edges: what ``likeness`` of MGLRA can be set beside."""
        structure = self._batch.structure
        types = [t for t in structure.spec.message_types if t[1] == "same"]
        return edge_table(structure, feature_weights(structure, self._batch.features, None), types)

    def without_modalities(self, advance: Advance = lambda _: None) -> pd.DataFrame:
        """What each answer becomes without a modality in the whole dialogue: :data:`EFFECT_COLUMNS`, ``removed`` is ``modality``."""
        columns = np.flatnonzero(self._presence.any(axis=0))
        drops = np.zeros((len(columns), *self._presence.shape), dtype=bool)
        drops[np.arange(len(columns)), :, columns] = True
        names = [self.modalities[k] for k in columns]
        found = without_modalities(self.model, self.data, self.dialogue, drops, device=self.device, advance=advance)
        return self._effects(pd.DataFrame({"removed": "modality", "modality": names}), found)

    def without_nodes(self, advance: Advance = lambda _: None) -> pd.DataFrame:
        """What each answer becomes without one modality of one utterance: ``removed`` is ``node``, at ``position``."""
        u, k = self._presence.nonzero()
        drops = np.zeros((len(u), *self._presence.shape), dtype=bool)
        drops[np.arange(len(u)), u, k] = True
        found = without_modalities(self.model, self.data, self.dialogue, drops, device=self.device, advance=advance)
        return self._effects(pd.DataFrame({"removed": "node", "position": u, "modality": [self.modalities[i] for i in k]}), found)

    def without_utterances(self, advance: Advance = lambda _: None) -> pd.DataFrame:
        """What each answer becomes where another utterance was never said: ``removed`` is ``utterance``, at ``position``."""
        found = without_utterances(self.model, self.data, self.dialogue, device=self.device, advance=advance)
        return self._effects(pd.DataFrame({"removed": "utterance", "position": np.arange(len(found))}), found)

    def without_edges(self, edges: pd.DataFrame, advance: Advance = lambda _: None) -> pd.DataFrame:
        """What each answer becomes without an edge in its part of the model: ``removed`` is ``edge``.

        Args:
            edges: some rows of :meth:`weights`, K of them; one direction each.
            advance: called with how many are done, portion by portion.

        Raises:
            ValueError: rows of a part along whose edges nothing flows (``likeness``), or of a node to itself in the graph.
        """
        fixed = edges[(edges["part"] == LIKENESS) | (edges["relation"] == ITSELF)]
        if len(fixed):
            raise ValueError(f"edges must be such as can be taken away, got {fixed.iloc[0]['part']}, {fixed.iloc[0]['relation']}")
        rows = edges[["part", "source", "relation", "target", "edge"]].itertuples(index=False, name=None)
        deletions: list[Deletion] = [(part, (source, relation, target), int(edge)) for part, source, relation, target, edge in rows]
        found = without_edges(self.model, self.data, self.dialogue, deletions, self._found[2], device=self.device, advance=advance)
        return self._effects(edges[list(_EDGE)].assign(removed="edge"), found)

    def effects(self, edges: pd.DataFrame, progress: Callable[[int, int], None] | None = None) -> pd.DataFrame:
        """All of these, of some edges: :data:`EFFECT_COLUMNS`.

        Args:
            edges: as :meth:`without_edges` takes them.
            progress: called with (removals done, removals in all).

        Raises:
            InputError: more than :data:`MOST_EFFECTS`.
        """
        removals = int(self._presence.any(axis=0).sum() + self._presence.sum()) + len(self._presence) + len(edges)
        if (count := removals * len(self._presence)) > MOST_EFFECTS:
            raise InputError(
                f"{at(dialogue=self.dialogue_id)}expected at most {MOST_EFFECTS:,} effects, found {count:,}: {removals:,} removals "
                f"({len(edges):,} of edges), {len(self._presence)} answers each; name fewer edges, or one utterance whose edges are removed"
            )
        done = 0

        def advance(count: int) -> None:
            nonlocal done
            done += count
            if progress:
                progress(done, removals)

        parts = [kind(advance) for kind in (self.without_modalities, self.without_nodes, self.without_utterances)]
        parts.append(self.without_edges(edges, advance))
        return pd.concat([part for part in parts if len(part)] or parts[:1], ignore_index=True)

    @property
    def _presence(self) -> npt.NDArray[np.bool_]:
        return self._batch.structure.presence.numpy()

    def _effects(self, removed: pd.DataFrame, found: Answers) -> pd.DataFrame:
        """What was removed [K] and the answers without it [K, U, outputs], a row an answer.

        Of a run of classes ``before`` and ``after`` are the probability of the class that is predicted with everything there; ``then`` is
        what is predicted instead. Of one of scores they are the scores.
        """
        task = self.data.task
        count, length, outputs = found.shape
        chosen = task.predicted(self.answers) if outputs > 1 else np.zeros(length, dtype=np.int64)
        before = self.answers[np.arange(length), chosen]
        after = found[:, np.arange(length), chosen]
        names = np.array(task.names, dtype=object)
        table: dict[str, Any] = {c: np.repeat(removed[c].to_numpy(), length) if c in removed else None for c in EFFECT_COLUMNS[:-6]}
        table |= {
            "utterance": np.tile(np.arange(length), count),
            "predicted": np.tile(names[task.predicted(self.answers)], count),
            "before": np.tile(before.astype(np.float64), count),
            "after": after.ravel().astype(np.float64),
            "effect": (after.astype(np.float64) - before).ravel(),
            "then": names[task.predicted(np.nan_to_num(found.reshape(-1, outputs)))],
        }
        frame = pd.DataFrame(table, columns=list(EFFECT_COLUMNS), index=range(count * length))
        return frame[frame["after"].notna()].reset_index(drop=True)


def strongest(weights: pd.DataFrame, count: int | None, utterance: int | None = None) -> pd.DataFrame:
    """The edges to be taken away: of each part and edge type those of the greatest weight.

    Args:
        weights: of :meth:`Explainer.weights`.
        count: how many of each; None: all.
        utterance: into this position alone; None: anywhere.

    Returns:
        Rows of ``weights``, in their order; not those along which nothing flows.
    """
    free = weights[(weights["part"] != LIKENESS) & (weights["relation"] != ITSELF)]
    if utterance is not None:
        free = free[free["dst"] == utterance]
    if count is None:
        return free
    place = free.groupby(["part", "source", "relation", "target"], sort=False)["weight"].rank(method="first", ascending=False)
    return free[place <= count]
