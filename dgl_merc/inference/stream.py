"""Utterances as they come: each is answered at once, from the past of its dialogue alone, by one run or several.

A causal run answers an utterance of a stream as it answers it in the whole dialogue, within the rounding of float32. What it has made of
earlier utterances is kept and not made again (:mod:`dgl_merc.graphs.past`), so that an answer takes a time that does not grow with the
dialogue, and so does the memory: attention and graphs without a window of their own hear the last N utterances.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from dgl_merc.errors import DivergedError, InputError, at
from dgl_merc.graphs import Past, Structure
from dgl_merc.inference.utterance import Expected, Utterance
from dgl_merc.models import Output
from dgl_merc.training.run_folder import SavedRun
from dgl_merc.training.task import ScoreTask

__all__ = ["DIALOGUES", "WINDOW", "Stream"]

WINDOW = 128
"""Utterances of a dialogue that are remembered."""
DIALOGUES = 1000
"""Dialogues that are remembered."""

Vectors = Mapping[str, npt.NDArray[np.float32]]


class Stream:
    """Runs that listen to dialogues.

    Where several runs answer, their probabilities (or scores) are averaged, and so is what else they say of an utterance.

    Args:
        runs: one or more, all of the same target and classes.
        window: N: how many utterances of a dialogue, the newest included, are heard by what would else hear the whole dialogue. Up to N
            utterances an answer is that of the whole dialogue; after that, attention and graphs forget what is older. Graphs with a
            window of their own and recurrent networks are exact for ever. Of the speakers of a dialogue the last N are known: who
            returns later is new.
        dialogues: how many are kept. Beyond, the one that was silent for longest is dropped: should it go on, it begins anew at position 0.
            A long one takes up to 2 MiB a run (mglra with three modalities at 128 utterances; bilstm 2 KiB): see benchmarks/README.md.
        device: where the models are.

    Raises:
        InputError: a run that is not causal, runs that do not learn the same or take vectors of different widths, or a damaged one.
        ValueError: no run, or a bound below 1.
    """

    def __init__(self, runs: Sequence[SavedRun], *, window: int = WINDOW, dialogues: int = DIALOGUES, device: str = "cpu") -> None:
        if not runs or window < 1 or dialogues < 1:
            raise ValueError(f"expected runs, and window and dialogues of at least 1, got {len(runs)} runs, {window} and {dialogues}")
        self.window, self.dialogues = window, dialogues
        self.task = runs[0].task
        for run in runs:
            if not run.spec.causal:
                raise InputError(
                    f"{at(run.path)}expected a causal run, which hears nothing later, found one that hears whole dialogues; "
                    f"fit one with --set graph.causal=true"
                )
        self.expected = Expected.of(runs)
        self._listeners = [_Listener(run, device) for run in runs]
        self._heard: OrderedDict[str, _Dialogue] = OrderedDict()  # the one that was silent for longest first

    def answer(self, utterance: Utterance) -> dict[str, Any]:
        """What the runs say of the next utterance of a dialogue.

        Returns:
            ``dialogue_id``, ``position`` (from 0), ``utterance_id`` if it came with one, ``speaker``, ``predicted``, ``probabilities``
            (class -> p; of runs that learn scores ``predicted_score`` instead), then what else the model says of it, None where it says
            nothing. Nothing but what JSON can hold.

        Raises:
            InputError: features that no run takes, of another width, or that are not finite; a position not after the one before; or an
                answer that is not finite. The utterance leaves no trace then: the next one has its position.
        """
        dialogue = self._heard.get(utterance.dialogue_id) or _Dialogue([Past(self.window) for _ in self._listeners])
        place = at(dialogue=utterance.dialogue_id, utterance=dialogue.position)
        if utterance.position is not None and utterance.position <= dialogue.given:
            raise InputError(
                f"{place}position: expected more than {dialogue.given}, that of the one before, found {utterance.position}: a stream hears "
                "utterances in their order"
            )
        features, number = self._checked(utterance, place), dialogue.number(utterance.speaker)
        with torch.inference_mode():
            outputs = [x.hear(p, features, utterance.speaker, number) for x, p in zip(self._listeners, dialogue.pasts, strict=True)]
            told = [self.task.answers(output.logits).cpu().numpy() for output in outputs]
        answers = np.stack(told).mean(axis=0, dtype=np.float64).astype(np.float32)
        if not np.isfinite(answers).all():
            raise DivergedError(f"{place}expected a finite answer, found none: features beyond what a model can take, or a run gone astray")
        said = {
            "dialogue_id": utterance.dialogue_id,
            "position": dialogue.position,
            **({} if utterance.utterance_id is None else {"utterance_id": utterance.utterance_id}),
            "speaker": utterance.speaker,
            "predicted": self.task.names[int(self.task.predicted(answers)[0])],
            **self._in_words(answers[0]),
            **_details(outputs),
        }
        dialogue.keep(utterance.speaker, number, self.window)
        dialogue.given = dialogue.given if utterance.position is None else utterance.position
        self._heard[utterance.dialogue_id] = dialogue
        self._heard.move_to_end(utterance.dialogue_id)
        if len(self._heard) > self.dialogues:
            self._heard.popitem(last=False)
        return said

    def end(self, dialogue_id: str) -> None:
        """Forget a dialogue: what comes under its name begins a new one. Of one that is not known there is nothing to forget."""
        self._heard.pop(dialogue_id, None)

    def _checked(self, utterance: Utterance, place: str) -> Vectors:
        """The features, of the runs' modalities alone: in a stream nobody reads notes."""
        if strange := [m for m in utterance.features if m not in self.expected.widths]:
            raise InputError(f"{place}expected features of {', '.join(self.expected.widths)}, found {strange[0]}; leave it out")
        if not utterance.features and (utterance.text or "").strip() and self.expected.makes("text"):
            raise InputError(f"{place}expected features: a stream makes none of text, `dglmerc predict RUN FILE` does; found text alone")
        return self.expected.vectors(utterance, place)

    def _in_words(self, answers: npt.NDArray[np.float32]) -> dict[str, Any]:
        if isinstance(self.task, ScoreTask):
            return {"predicted_score": float(answers[0])}
        return {"probabilities": dict(zip(self.task.names, answers.tolist(), strict=True))}


def _details(outputs: Sequence[Output]) -> dict[str, float | None]:
    """The mean over the runs that say something."""
    found: dict[str, float | None] = {}
    for name in dict.fromkeys(name for output in outputs for name in output.details):
        values = [float(output.details[name][0]) for output in outputs if name in output.details]
        known = [value for value in values if np.isfinite(value)]
        found[name] = sum(known) / len(known) if known else None
    return found


class _Listener:
    """A run's model, ready to hear one utterance at a time."""

    def __init__(self, run: SavedRun, device: str) -> None:
        self.model, self.spec, self.scaling, self.device = run.model(device).eval(), run.spec, run.scaling(), device
        self.characters = {name: k for k, name in enumerate(run.characters)}
        self.one, self.zero = (torch.tensor([k], device=device) for k in (1, 0))
        self.nothing = {m: torch.zeros(0, width, device=device) for m, width in run.heard.items()}

    def hear(self, past: Past, features: Vectors, speaker: str, number: int) -> Output:
        """What the model says; the past keeps nothing of it yet."""
        x = {m: self._scaled(m, features[m]) if m in features else self.nothing[m] for m in self.spec.modalities}
        there = [m in features for m in self.spec.modalities]
        who, character = torch.tensor([[number], [self.characters.get(speaker, -1)]], device=self.device)
        past.begin()
        structure = Structure(self.one, torch.tensor([there], device=self.device), who, self.spec, self.zero, character, past)
        output: Output = self.model(structure, x)
        return output

    def _scaled(self, modality: str, x: npt.NDArray[np.float32]) -> Tensor:
        return torch.from_numpy(self.scaling.apply(modality, x[None])).to(self.device)


@dataclass(eq=False)
class _Dialogue:
    """What is kept of a dialogue.

    Attributes:
        pasts: of each run.
        position: of the next utterance.
        speakers: name -> dialogue-local number, the one that was silent for longest first.
        introduced: how many there were.
        given: the position that the last one came with; -1: none.
    """

    pasts: Sequence[Past]
    position: int = 0
    speakers: OrderedDict[str, int] = field(default_factory=OrderedDict)
    introduced: int = 0
    given: int = -1

    def number(self, speaker: str) -> int:
        """Of a speaker, by first appearance."""
        return self.speakers.get(speaker, self.introduced)

    def keep(self, speaker: str, number: int, window: int) -> None:
        """What the last pass has made; of the speakers the last ``window``."""
        for past in self.pasts:
            past.keep()
        self.position += 1
        self.introduced = max(self.introduced, number + 1)
        self.speakers[speaker] = number
        self.speakers.move_to_end(speaker)
        if len(self.speakers) > window:
            _, forgotten = self.speakers.popitem(last=False)
            for past in self.pasts:
                past.forget(forgotten)
