"""The loop: training steps, looks at dev that choose the weights, and a state from which it goes on bit for bit.

Most published numbers of this field choose the epoch on the test set, which flatters by points. Here the loop is never given the test
split: a :class:`Trainer` sees training and dev dialogues only, and whoever has the trained model evaluates test, afterwards.

    for every batch of the epoch's order      step s = 0, 1, 2, ... over all epochs; lr(s), masks(seed, s), dropped modalities(seed, s)
        gradient step, averaged weights
        every ``eval_every`` steps, or at the end of the epoch: a look at dev; the first best one is kept; the state is saved

The order of epoch e is the e-th permutation of a generator of the seed, so that a state needs no more than counters, weights, moments and
torch's generator (dropout).

What needs no steps (:meth:`dgl_merc.models.Model.solve`) is found before the first one, on all training dialogues at once (a part of a
model on some of them, where there are many), by the first process. A model that is solved has nothing else: one look at dev, and no step.

With several processes each knows this order and takes its share of every batch; losses and gradients are those of the whole batch
(:mod:`dgl_merc.losses.processes`), so all make the same step. The first one looks at dev and tells the others.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, cast

import numpy as np
import torch
from torch import Tensor

from dgl_merc.errors import DivergedError, InputError
from dgl_merc.evaluation.metrics import weighted_f1
from dgl_merc.losses import class_weights
from dgl_merc.losses.processes import total
from dgl_merc.models import Model
from dgl_merc.training.checkpoint import Checkpoint
from dgl_merc.training.data import Batch, DialogueData, Flags, Numbers, draw_drops
from dgl_merc.training.optimisation import all_steps, average_model, batch_size, learning_rate, make_optimiser, set_learning_rate
from dgl_merc.training.prediction import predict
from dgl_merc.training.processes import ALONE, Processes
from dgl_merc.training.settings import TrainingSettings
from dgl_merc.training.state import generators, pack, unpack

__all__ = ["Look", "OnLook", "Trained", "Trainer"]


@dataclass(frozen=True)
class Look:
    """What is known after a look at dev.

    Attributes:
        number: of the look, from 1.
        epoch: passes over the training split so far; a whole number unless ``eval_every`` is set.
        step: batches so far.
        loss: mean over the training utterances since the last look.
        learning_rate: of the last step; 0 of a model that is solved.
        dev_weighted_f1: in percent.
        seconds: since the last look, evaluation included.
    """

    number: int
    epoch: float
    step: int
    loss: float
    learning_rate: float
    dev_weighted_f1: float
    seconds: float


_ENOUGH = 50_000
"""Training utterances: as many at most are in memory at once to find a second opinion, which has some thousand numbers."""
OnLook = Callable[[Look, Look, Model], None]
"""Called with a look, the best so far, and the model as dev saw it (in evaluation mode)."""


@dataclass(frozen=True)
class Trained:
    """The result of training.

    Attributes:
        best: the look chosen: the first with the greatest dev weighted F1. The model holds its weights.
        history: all looks.
    """

    best: Look
    history: tuple[Look, ...]


@dataclass
class _Progress:
    """Counters of a training under way.

    Attributes:
        step: batches so far, over all epochs.
        total: sum of the loss over ``labelled`` utterances (those that the loss is of) since the last look.
    """

    step: int = 0
    total: float = 0.0
    labelled: int = 0


class Trainer:
    """Trains a model, and leaves the weights that dev chose in it.

    Args:
        model: fresh.
        data: the corpus.
        training: numbers of the training dialogues.
        dev: numbers of the dev dialogues.
        settings: how.
        seed: of the order of dialogues and of dropped modalities. (Dropout draws from torch's generator.)
        device: where.
        checkpoint: where states are saved, and taken up from (by the first process).
        on_look: called after each look (by the first process).
        processes: that train the model together.

    Raises:
        InputError: nothing to learn or to choose by.
    """

    def __init__(
        self,
        model: Model,
        data: DialogueData,
        training: Numbers,
        dev: Numbers,
        settings: TrainingSettings,
        *,
        seed: int,
        device: torch.device | str = "cpu",
        checkpoint: Checkpoint | None = None,
        on_look: OnLook | None = None,
        processes: Processes = ALONE,
    ) -> None:
        trained = _rows_of(data, training, "training", data.task.known(data.truth).numpy())
        _rows_of(data, dev, "dev", data.labels >= 0)
        self.model, self.data, self.training, self.dev, self.settings = model, data, training, dev, settings
        self.seed, self.device, self.checkpoint, self.on_look, self.processes = seed, device, checkpoint, on_look, processes
        self.batch_size = batch_size(settings, int(trained.sum()) / len(training))
        self.steps_per_epoch = 1 if model.solved else -(-len(training) // self.batch_size)
        self.optimiser = make_optimiser(model.parameters(), settings)
        self.averaged = average_model(model, settings)
        self.forward = processes.forward(model, settings.precision, device)
        weights = class_weights(data.labels[trained], len(data.task.names), settings.class_weights)
        self.class_weights = None if weights is None else weights.to(device)
        self.progress = _Progress()
        self.history: list[Look] = []
        self.best_weights: dict[str, Tensor] = {}

    def run(self) -> Trained:
        """Train to the end, from the beginning or from the checkpoint's state.

        Raises:
            DivergedError: a loss or a probability that is not finite.
            InputError: a state that can't be read, or a model that can't be solved.
        """
        self._take_up()
        if self.model.solved:
            self._solve()
        else:
            self._solve_in_part()
            self._descend()
        self.model.load_state_dict(self.best_weights)
        return Trained(self._best(), tuple(self.history))

    def _solve(self) -> None:
        """All at once and one look, unless the state had it already."""
        if self.history:
            return
        begun, batch = time.perf_counter(), self.data.batch(self.training)
        self.model.load_state_dict(self.processes.first(lambda: self._solution(batch)))
        batch = batch.to(self.device)
        with torch.inference_mode():
            logits = self.model.eval()(batch.structure, batch.features).logits
            loss = self.data.task.loss(logits, batch.truth, self.settings, self.class_weights)  # of all, whom every process has
        count = int(self.data.task.known(batch.truth).sum())
        self.progress = _Progress(1, float(loss) * count, count)
        self._look(time.perf_counter() - begun)

    def _solve_in_part(self) -> None:
        """What needs no steps, before the first, unless the state had it already; by every k-th dialogue, where the rest would not fit."""
        if self.history or not self.model.to_solve:
            return
        total = int(self.data.corpus.lengths[self.training].sum())
        some = self.training[:: max(1, -(-total // _ENOUGH))]
        self.model.load_state_dict(self.processes.first(lambda: self._solution(self.data.batch(some))))

    def _solution(self, batch: Batch) -> dict[str, Tensor]:
        """The weights, on the CPU."""
        weights = None if self.class_weights is None else self.class_weights.cpu()
        self.model.solve(batch.structure, batch.features, batch.truth, weights)
        return {name: value.cpu() for name, value in self.model.state_dict().items()}

    def _descend(self) -> None:
        """Gradient steps to the end."""
        order = np.random.default_rng(np.random.SeedSequence([self.seed, 1]))
        done, begun, size = 0, time.perf_counter(), self.batch_size
        while not self._finished():
            dialogues = order.permutation(self.training)
            done += self.steps_per_epoch
            if done <= self.progress.step:  # an epoch of before the state was saved: its order is drawn and passed over
                continue
            first = self.steps_per_epoch - (done - self.progress.step)
            for batch in self.data.batches(dialogues[first * size :], size, self.processes.rank, self.processes.count):
                self._step(batch)
                if self._due():
                    self._look(time.perf_counter() - begun)
                    begun = time.perf_counter()
                    if self._finished():
                        break

    def _best(self) -> Look:
        return max(self.history, key=lambda look: (look.dev_weighted_f1, -look.number))

    def _finished(self) -> bool:
        step, s = self.progress.step, self.settings
        if self.history and self.history[-1].step == step and len(self.history) - self._best().number >= s.patience:
            return True
        return step >= all_steps(s, self.steps_per_epoch)

    def _due(self) -> bool:
        """Whether dev is looked at now."""
        step, s = self.progress.step, self.settings
        return step % (s.eval_every or self.steps_per_epoch) == 0 or step == all_steps(s, self.steps_per_epoch)

    def _step(self, batch: Batch) -> None:
        """One gradient step. A batch with nothing to learn takes none, but counts: masks and rates are functions of the step."""
        s, step, task = self.settings, self.progress.step, self.data.task
        if s.modality_dropout:
            batch = batch.without(self._drops(batch, step))
        batch = batch.to(self.device)
        count = int(total(task.known(batch.truth).sum()))
        self.model.train()
        output = self.forward(batch.structure, batch.features, step=step, labels=batch.labels)
        loss = task.loss(output.logits, batch.truth, s, self.class_weights) + sum(output.losses.values())
        self.progress.step += 1
        if not count:
            return
        set_learning_rate(self.optimiser, learning_rate(s, step, self.steps_per_epoch))
        self.optimiser.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        if s.clip:
            torch.nn.utils.clip_grad_norm_(self.model.parameters(), s.clip)
        self.optimiser.step()
        if self.averaged is not None and step >= s.averaging_from * self.steps_per_epoch:
            self.averaged.update_parameters(self.model)
        self.progress.total += float(total(loss)) / self.processes.count * count
        self.progress.labelled += count

    def _drops(self, batch: Batch, step: int) -> Flags:
        """[U, M] what modality dropout takes: one draw for the whole batch, of which this is the part of the batch's utterances."""
        presence = batch.structure.presence.numpy()
        numbers = np.random.PCG64(np.random.SeedSequence([self.seed, 2, step]))
        return draw_drops(presence, self.settings.modality_dropout, np.random.Generator(numbers.advance(batch.before * presence.shape[1])))

    def _judged(self) -> Model:
        """The model as dev and test see it."""
        if self.averaged is None or not int(self.averaged.n_averaged):
            return self.model
        return cast(Model, self.averaged.module)

    def _look(self, seconds: float) -> None:
        look = self.processes.first(lambda: self._judge(seconds))
        self.history.append(look)
        self.progress = _Progress(look.step)
        best = self._best()
        if best is look:
            self.best_weights = {name: value.detach().clone() for name, value in self._judged().state_dict().items()}
        random = self.processes.each(generators(self.device))
        self.processes.first(lambda: self._save(best, random))

    def _judge(self, seconds: float) -> Look:
        """What dev says of the model as it is."""
        p, s = self.progress, self.settings
        epoch = p.step / self.steps_per_epoch
        loss = p.total / max(p.labelled, 1)
        if not np.isfinite(loss):
            raise DivergedError(
                f"epoch {epoch:.4g}: the loss is {loss}; lower training.lr (now {s.lr}), or clip gradients (training.clip, now {s.clip})"
            )
        begun = time.perf_counter()
        answers, rows, _ = predict(self._judged(), self.data, self.dev, device=self.device)
        f1 = weighted_f1(self.data.labels[rows], self.data.task.predicted(answers))
        rate = 0.0 if self.model.solved else learning_rate(s, p.step - 1, self.steps_per_epoch)
        return Look(len(self.history) + 1, epoch, p.step, loss, rate, f1, seconds + time.perf_counter() - begun)

    def _save(self, best: Look, random: Sequence[Mapping[str, Tensor]]) -> None:
        """Tell of the last look, and save the state."""
        if self.on_look:
            self.on_look(self.history[-1], best, self._judged())
        if self.checkpoint:
            state = {"progress": asdict(self.progress), "history": [asdict(look) for look in self.history]}
            tensors = pack(self.model, self.optimiser, self.averaged, self.best_weights, random)
            self.checkpoint.save(self.progress.step, tensors, state)

    def _take_up(self) -> None:
        """Put everything back where the checkpoint left it."""
        found = self.processes.first(self.checkpoint.load) if self.checkpoint else None
        if found is not None:
            self.processes.together(lambda: self._restore(*found))

    def _restore(self, tensors: Mapping[str, Tensor], state: Mapping[str, Any]) -> None:
        try:
            self.progress = _Progress(**{key: state["progress"][key] for key in ("step", "total", "labelled")})
            self.history = [Look(**look) for look in state["history"]]
            if self.history[-1].step != self.progress.step:
                raise ValueError("its last look")  # noqa: TRY301
            rank = self.processes.rank
            self.best_weights = unpack(tensors, self.model, self.optimiser, self.averaged, self.device, rank)
        except (TypeError, KeyError, IndexError, ValueError, AttributeError, RuntimeError) as error:
            said = str(error).splitlines()[0] if str(error) else type(error).__name__
            raise InputError(f"the state of the unfinished run is damaged ({said}); begin anew with --force") from None


def _rows_of(data: DialogueData, dialogues: Numbers, name: str, known: Flags) -> Flags:
    """[U] the utterances of a split's dialogues, some of which must be known [U]."""
    where = data.corpus.path or data.corpus.name
    if not len(dialogues):
        raise InputError(f"{where}: expected a {name} split, found none; without it no epoch can be chosen")
    rows = data.corpus.in_dialogues(dialogues)
    if not known[rows].any():
        zeros = " (a score of 0 is no class)" if data.task.bounds else ""
        raise InputError(f"{where}: no utterance of the {name} split is labelled{zeros}")
    return rows
