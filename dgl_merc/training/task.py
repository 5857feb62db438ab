"""What is learnt of a target: its classes, or the score itself. All that differs between the two is here.

    classes    a logit for each class; cross-entropy over labelled utterances. The classes of a target of kind range are the signs of its
               scores, negative and positive; a score of exactly 0 is unlabelled
    score      one output; the mean absolute error over utterances with a score, those of score 0 too. The predicted class is its sign

Whichever it is, there are classes to choose the epoch by, to compare and to count with.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from dgl_merc.corpus import Corpus, Target
from dgl_merc.errors import InputError, at
from dgl_merc.losses import absolute_error, cross_entropy
from dgl_merc.training.settings import Learn, TrainingSettings

__all__ = ["Task", "choose_target", "make_task", "task_of"]

Array = npt.NDArray[Any]
Numbers = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Task:
    """The classes of a target are learnt.

    Attributes:
        target: its name.
        names: of the C classes.
        bounds: of the scores whose signs the classes are; None: a target of kind classes.
    """

    target: str
    names: tuple[str, ...]
    bounds: tuple[float, float] | None = None

    @property
    def kind(self) -> Target:
        """What may stand in the target's column."""
        return Target("range", bounds=self.bounds) if self.bounds else Target("classes", self.names)

    @property
    def outputs(self) -> int:
        """How many numbers a model says of an utterance."""
        return len(self.names)

    @property
    def answer_columns(self) -> tuple[str, ...]:
        """What a table of predictions calls the answers."""
        return tuple(f"p_{name}" for name in self.names)

    @property
    def columns(self) -> tuple[str, ...]:
        """What a table of predictions says of an utterance: what is true, and what the model answers."""
        return ("label", "predicted", *(("score",) if self.bounds else ()), *self.answer_columns)

    def truth(self, corpus: Corpus) -> Tensor:
        """[U] what the loss compares with, of all utterances of a corpus."""
        return torch.from_numpy(corpus.labels(self.target))

    def known(self, truth: Tensor) -> Tensor:
        """[U] bool: of which utterances the loss is."""
        return truth >= 0

    def loss(self, logits: Tensor, truth: Tensor, settings: TrainingSettings, weights: Tensor | None) -> Tensor:
        """[] the mean over the utterances that are known.

        Args:
            logits: [U, outputs].
            truth: [U].
            settings: of the loss.
            weights: [C] of the classes.
        """
        return cross_entropy(logits, truth, weights=weights, focal=settings.focal, smoothing=settings.label_smoothing)

    def answers(self, logits: Tensor) -> Tensor:
        """[U, outputs] logits -> [U, outputs] float32, as a table of predictions has them: probabilities."""
        return torch.softmax(logits.float(), dim=-1)

    def predicted(self, answers: Array) -> Numbers:
        """[U, outputs] answers -> [U] class indices."""
        return np.asarray(answers.argmax(axis=1), dtype=np.int64)

    def described(self, corpus: Corpus, rows: Numbers, answers: Array) -> dict[str, Array]:
        """The ``columns`` [U'] of a table of predictions.

        Args:
            corpus: of U utterances.
            rows: [U'] of it.
            answers: [U', outputs].
        """
        found: dict[str, Array] = {
            "label": corpus.label_names(self.target)[rows],
            "predicted": np.array(self.names, dtype=object)[self.predicted(answers)],
            **dict(zip(self.answer_columns, answers.T, strict=True)),
        }
        if self.bounds:
            found["score"] = corpus.scores(self.target)[rows]
        return {column: found[column] for column in self.columns}


class ScoreTask(Task):
    """The score of a target of kind range is learnt; see :class:`Task`."""

    @property
    def outputs(self) -> int:
        """One number, the score."""
        return 1

    @property
    def answer_columns(self) -> tuple[str, ...]:
        """No probabilities: a score has none."""
        return ("predicted_score",)

    def truth(self, corpus: Corpus) -> Tensor:
        """[U] float32 scores, NaN where there is none."""
        return torch.tensor(corpus.scores(self.target), dtype=torch.float32)

    def known(self, truth: Tensor) -> Tensor:
        """[U] bool: the utterances with a score."""
        return ~truth.isnan()

    def loss(self, logits: Tensor, truth: Tensor, settings: TrainingSettings, weights: Tensor | None) -> Tensor:  # noqa: ARG002
        """[] the mean absolute error; settings of a loss of classes are refused by :mod:`dgl_merc.training.settings`."""
        return absolute_error(logits[:, 0], truth)

    def answers(self, logits: Tensor) -> Tensor:
        """[U, 1] float32 scores, which may lie beyond the bounds."""
        return logits.float()

    def predicted(self, answers: Array) -> Numbers:
        """[U] the sign: above 0 positive, else negative."""
        return (answers[:, 0] > 0).astype(np.int64)


def make_task(learn: Learn, target: str, names: Sequence[str], bounds: Sequence[float] | None) -> Task:
    """A task from what a run folder keeps.

    Raises:
        ValueError: a score is to be learnt where there is none.
    """
    if learn == "score" and bounds is None:
        raise ValueError(f"{target} has no bounds, so no score can be learnt")
    pair = None if bounds is None else (float(bounds[0]), float(bounds[1]))
    return (ScoreTask if learn == "score" else Task)(target, tuple(names), pair)


def task_of(corpus: Corpus, target: str, learn: Learn = "classes") -> Task:
    """What is learnt of a corpus's target.

    Raises:
        InputError: a target of kind classes has no score, or a range no two signs.
    """
    where, about = at(corpus.path or corpus.name), corpus.targets[target]
    if not about.classes:
        raise InputError(f"{where}{target}: expected bounds with 0 strictly inside, so that scores have two signs, found {about}")
    if learn == "score" and about.kind != "range":
        raise InputError(
            f"{where}data.learn=score: expected a target of kind range, found {target} of kind classes{_ranges(corpus.targets)}"
        )
    return make_task(learn, target, about.classes, about.bounds if about.kind == "range" else None)


def _ranges(targets: Mapping[str, Target]) -> str:
    names = [name for name, target in targets.items() if target.kind == "range"]
    return f"; pass --set data.target={names[0]}" if names else ""


def choose_target(corpus: Corpus, name: str = "") -> str:
    """The target to learn: the one named, else ``emotion``, else the only one of kind classes, else the only one.

    Raises:
        InputError: there is no such target, the choice is not clear, or there is nothing to tell apart by it.
    """
    where = at(corpus.path or corpus.name)
    if name and name not in corpus.targets:
        raise InputError(f"{where}no target {name!r}; there are {', '.join(corpus.targets) or 'none'}")
    classes = [t for t, v in corpus.targets.items() if v.kind == "classes"]
    candidates = [name] if name else ["emotion"] if "emotion" in corpus.targets else classes or list(corpus.targets)
    if len(candidates) != 1:
        raise InputError(f"{where}expected one target to learn, found {', '.join(corpus.targets) or 'none'}; pass --set data.target=NAME")
    task_of(corpus, candidates[0])
    return candidates[0]
