"""How long an epoch takes, beside the bare matrix products that the same model needs at its own shapes, on one core.

    python benchmarks/epoch.py [--model mglra] [--set model.dim=200] [--rounds 7] [--profile]

Corpora: IEMOCAP-like (120 dialogues of 8-110 utterances) and MELD-like (1038 of 1-24), three modalities, random features and labels.
A training epoch is what ``dglmerc fit`` does: batches made from the corpus, forward, loss, backward, clipping, Adam. Inference is what
``dglmerc evaluate`` does, over the same dialogues. The limit: the products of :mod:`products` at the shapes of the same batches, as
bare torch.bmm into memory that is there, with nothing between them. CPU seconds; all in one process, mixed. ``listed / made``: the
operations of the list over those of all products that torch was asked for; a limit above 1 would be none.

``--profile`` instead prints where a training step's time goes, by the model's modules: each node of autograd's graph belongs to the module
that made it, and the clock is read whenever the module changes.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property, partial
from math import prod
from statistics import median, quantiles
from time import process_time
from typing import Any
from unittest.mock import patch

import click
import numpy as np
import pandas as pd
import torch
from products import KINDS, Product, counted, needed
from torch import Tensor, nn

from dgl_merc.corpus import Corpus, Scaling, Target
from dgl_merc.corpus.reduction import reduced_widths
from dgl_merc.graphs import GraphSpec, Structure
from dgl_merc.models import ModelInput, build_model
from dgl_merc.training.data import DialogueData, known_speakers
from dgl_merc.training.loop import Trainer
from dgl_merc.training.prediction import predict
from dgl_merc.training.settings import Settings, load_settings

_DRAW = np.random.default_rng(0)
Label = tuple[str, str, str]  # part, kind, pass
Seconds = dict[Label, float]
WHOLE: Label = ("", "", "")


@dataclass(frozen=True)
class Shape:
    """What a corpus looks like.

    Attributes:
        lengths: utterances of each training dialogue.
        widths: of the modalities' features.
        classes: C.
    """

    lengths: tuple[int, ...]
    widths: Mapping[str, int]
    classes: int


def _lengths(drawn: Any, least: int, most: int) -> tuple[int, ...]:
    return tuple(np.clip(np.round(drawn), least, most).astype(int).tolist())


CORPORA = {
    "IEMOCAP-like": Shape(_lengths(_DRAW.gamma(6.0, 8.0, 120), 8, 110), {"text": 100, "audio": 100, "visual": 512}, 6),
    "MELD-like": Shape(_lengths(_DRAW.gamma(2.0, 4.8, 1038), 1, 24), {"text": 600, "audio": 300, "visual": 342}, 7),
}


def random_corpus(name: str, shape: Shape) -> Corpus:
    """Features and labels of chance; the first two training dialogues stand once more as dev, which no training goes without."""
    lengths = [*shape.lengths, *shape.lengths[:2]]
    rng, total = np.random.default_rng(0), sum(lengths)
    labels = tuple(f"class {k}" for k in range(shape.classes))
    dialogue = np.repeat(np.arange(len(lengths)), lengths)
    table = pd.DataFrame({"dialogue_id": [f"dialogue {d}" for d in dialogue], "position": np.concatenate([np.arange(n) for n in lengths])})
    table["speaker"] = [f"{d} {who}" for d, who in zip(table["dialogue_id"], rng.integers(0, 2, total), strict=True)]
    table["split"] = np.where(dialogue < len(shape.lengths), "train", "dev")
    table["emotion"] = rng.choice(labels, total)
    features = {m: rng.standard_normal((total, width), dtype=np.float32) for m, width in shape.widths.items()}
    return Corpus.build(name, table, features, {"emotion": Target("classes", labels)})


class Subject:
    """A model, and a corpus that it learns.

    Args:
        corpus: of random dialogues.
        settings: of model and training.
    """

    def __init__(self, corpus: Corpus, settings: Settings) -> None:
        self.settings = settings
        names, known = settings.data.modalities or tuple(corpus.modalities), known_speakers(corpus)
        spec = GraphSpec(names, **{k: v for k, v in vars(settings.graph).items() if v is not None})
        heard = reduced_widths(settings.data.reduce, {m: corpus.modalities[m].width for m in names})
        data = DialogueData(corpus, spec, Scaling.fit(corpus, settings.data.scaling, names, heard), "emotion", characters=known)
        self.given = ModelInput(heard, len(corpus.targets["emotion"].labels), spec, settings.seed, len(known))
        self.model = build_model(settings.model, self.given, settings.options)
        self.dialogues = corpus.in_split("train")
        self.trainer = Trainer(self.model, data, self.dialogues, corpus.in_split("dev"), settings.training, seed=0)
        self.order = np.random.default_rng(0).permutation(self.dialogues)  # of every epoch, so that all make the same products

    def train(self, between: Callable[[], object] = lambda: None) -> None:
        """An epoch of training; ``between`` is called when a batch is made."""
        for batch in self.trainer.data.batches(self.order, self.settings.training.batch_size):
            between()
            self.trainer._step(batch)

    def infer(self) -> None:
        """Probabilities of the same dialogues."""
        predict(self.model, self.trainer.data, self.dialogues)

    @property
    def passes(self) -> dict[str, Callable[[], None]]:
        """What is timed."""
        return {"training epoch": self.train, "inference": self.infer}

    @cached_property
    def needed(self) -> dict[str, tuple[list[Product], int]]:
        """Pass -> the products it needs, and the operations of all it makes. The structures are those that the model is given."""
        found = {}
        for name, run in self.passes.items():
            seen: list[Structure] = []
            handle = self.model.register_forward_pre_hook(lambda _, args, seen=seen: seen.append(args[0]))
            made = counted(run)
            handle.remove()
            products = [p for s in seen for p in self._of(s, training=name == "training epoch")]
            found[name] = products, made
        return found

    def _of(self, structure: Structure, *, training: bool) -> list[Product]:
        return needed(self.settings.model, self.given, self.settings.options, structure, training=training)


# ---- time


def whole(run: Callable[[], object]) -> Seconds:
    """CPU seconds of a run."""
    begin = process_time()
    run()
    return {WHOLE: process_time() - begin}


def bare(products: list[Product]) -> Callable[[], Seconds]:
    """The products alone, and what each part, kind and pass takes of them. All read and write the same memory."""
    sizes = [((p.batch, p.m, p.k), (p.batch, p.k, p.n), (p.batch, p.m, p.n)) for p in products]
    pools = [torch.randn(max(prod(size[k]) for size in sizes)) for k in range(3)]
    groups: dict[Label, list[tuple[Callable[..., Tensor], int, list[Tensor]]]] = {}
    for p, size in zip(products, sizes, strict=True):
        parts = [pool[: prod(shape)].view(shape) for pool, shape in zip(pools, size, strict=True)]
        call = (torch.bmm, p.times, parts) if p.batch > 1 else (torch.mm, p.times, [part[0] for part in parts])
        groups.setdefault((p.part, p.kind, p.when), []).append(call)

    def run() -> Seconds:
        spent = {}
        for label, calls in groups.items():
            begin = process_time()
            for multiply, times, (left, right, out) in calls:
                for _ in range(times):
                    multiply(left, right, out=out)
            spent[label] = process_time() - begin
        return spent

    return run


def timed(jobs: Mapping[str, Callable[[], Seconds]], rounds: int) -> dict[str, list[Seconds]]:
    """Each job's seconds, after one round that does not count; every round in another order."""
    spent: dict[str, list[Seconds]] = {name: [] for name in jobs}
    for k in range(rounds + 1):
        for name in _DRAW.permutation(list(jobs)):
            seconds = jobs[name]()
            if k:
                spent[name].append(seconds)
    return spent


def total(rounds: list[Seconds], part: str = "", kind: str = "", when: str = "") -> list[float]:
    """Per round, the seconds of all labels that have what is chosen."""
    chosen = (part, kind, when)
    return [
        sum(s for label, s in seconds.items() if all(c in ("", own) for c, own in zip(chosen, label, strict=True))) for seconds in rounds
    ]


def number(values: list[float]) -> str:
    """Median and quartiles."""
    low, _, high = quantiles(values, n=4) if len(values) > 1 else values * 3
    return f"{median(values):.3g} ({low:.3g}-{high:.3g})"


def lines(name: str, subject: Subject, rounds: int) -> Iterator[str]:
    """The table of a corpus."""
    jobs = {what: partial(whole, run) for what, run in subject.passes.items()}
    limits = {f"{what}, limit": bare(products) for what, (products, _) in subject.needed.items()}
    spent = timed({**jobs, **limits}, rounds)
    for what, (products, made) in subject.needed.items():
        model, limit = total(spent[what]), spent[f"{what}, limit"]
        share = sum(p.operations for p in products) / made
        kinds = [f"{sum(total(limit, kind=kind)) / sum(total(limit)):.0%}" for kind in KINDS]
        yield (
            f"| {name} | {what} | {number(model)} | {number(total(limit))} | {median(model) / median(total(limit)):.2f} | {share:.2f} | "
            f"{' | '.join(kinds)} |"
        )


# ---- where the time goes


BATCH, OPTIMISER, REST, HOOKS = "batch making", "clipping, Adam", "loss and the rest", ""


class Stopwatch:
    """Charges CPU time to the module that computes, forward and backward.

    Args:
        subject: whose training steps are watched.
    """

    def __init__(self, subject: Subject) -> None:
        self.subject = subject
        self.parts = [name for name, _ in subject.model.named_children()]
        self.spent: dict[tuple[str, str], float] = defaultdict(float)
        self.now, self.since = (REST, "forward"), process_time()
        self.claimed: set[Any] = set()  # holds the nodes, whose Python objects would else be made anew

    def epoch(self) -> Seconds:
        """Train, and say who took how long."""
        model, optimiser = self.subject.model, self.subject.trainer.optimiser
        handles = [
            optimiser.register_step_pre_hook(lambda *_: self._turn(OPTIMISER, "forward")),  # where nothing is clipped
            optimiser.register_step_post_hook(lambda *_: self._end_step()),
        ]
        for name, module in model.named_children():
            handles.append(module.register_forward_pre_hook(partial(self._enter, name), with_kwargs=True))
            handles.append(module.register_forward_hook(partial(self._leave, name)))
        self.spent.clear()
        self.now, self.since = (BATCH, "forward"), process_time()
        with patch("torch.nn.utils.clip_grad_norm_", partial(self._clip, nn.utils.clip_grad_norm_)):
            self.subject.train(lambda: self._turn(REST, "forward"))
        self._turn(HOOKS, "forward")
        for handle in handles:
            handle.remove()
        return {(part, "", when): s for (part, when), s in self.spent.items() if part != HOOKS}

    def _turn(self, part: str, when: str) -> None:
        """From now on, time belongs to this part."""
        now = process_time()
        self.spent[self.now] += now - self.since
        self.now, self.since = (part, when), now

    def _enter(self, part: str, _: nn.Module, args: object, kwargs: object) -> None:
        self._turn(HOOKS, "forward")
        self._claim(REST, (args, kwargs))
        self._turn(part, "forward")

    def _leave(self, part: str, _: nn.Module, __: object, output: object) -> None:
        self._turn(HOOKS, "forward")
        self._claim(part, output)
        self._turn(REST, "forward")

    def _clip(self, clip: Callable[..., Tensor], *args: Any) -> Tensor:
        self._turn(OPTIMISER, "forward")
        return clip(*args)

    def _end_step(self) -> None:
        self._turn(HOOKS, "forward")
        self.claimed.clear()
        self._turn(BATCH, "forward")

    def _claim(self, part: str, values: object) -> None:
        """The nodes behind some tensors that no part has claimed yet; a parameter's own node goes with whoever computes its gradient."""
        nodes = [t.grad_fn for t in tensors_in(values)]
        while nodes:
            node = nodes.pop()
            if node is None or node in self.claimed or hasattr(node, "variable"):
                continue
            self.claimed.add(node)
            node.register_prehook(lambda _: self._turn(part, "backward"))
            nodes += [below for below, _ in node.next_functions]


def tensors_in(values: object) -> Iterator[Tensor]:
    """All of a nested value."""
    if isinstance(values, Tensor):
        yield values
    elif isinstance(values, Mapping):
        yield from tensors_in(tuple(values.values()))
    elif isinstance(values, (tuple, list)):
        for value in values:
            yield from tensors_in(value)


def profile(subject: Subject, rounds: int) -> Iterator[str]:
    """The table of a corpus: milliseconds of a step."""
    watch = Stopwatch(subject)
    spent = timed({"model": watch.epoch, "limit": bare(subject.needed["training epoch"][0])}, rounds)
    steps = subject.trainer.steps_per_epoch / 1e3

    def cell(job: str, part: str = "", when: str = "") -> float:
        return median(total(spent[job], part=part, when=when)) / steps

    for part in (*watch.parts, REST, OPTIMISER, BATCH, ""):
        took, limit = cell("model", part), cell("limit", part)
        if took:
            passes = " | ".join(f"{cell('model', part, when):.1f}" for when in ("forward", "backward"))
            products = f"{limit:.1f} | {took / limit:.1f}" if limit else " | "
            yield f"| {part or 'all'} | {passes} | {took / cell('model'):.0%} | {products} |"


@click.command()
@click.option("--model", default="mglra", show_default=True, help="A preset.")
@click.option("--dim", type=click.IntRange(1), help="The model's width; default: the preset's.")
@click.option("--set", "words", multiple=True, metavar="KEY=VALUE", help="As of dglmerc fit; several times for several.")
@click.option("--corpus", "chosen", multiple=True, type=click.Choice(list(CORPORA)), help="Several times for several; default: all.")
@click.option("--rounds", default=7, show_default=True)
@click.option("--profile", "profiled", is_flag=True, help="By module instead.")
def main(model: str, dim: int | None, words: tuple[str, ...], chosen: tuple[str, ...], rounds: int, profiled: bool) -> None:
    """Print a table: CPU seconds, median and quartiles; or milliseconds of a training step."""
    torch.set_num_threads(1)
    settings = load_settings(model, [*([f"model.dim={dim}"] if dim else []), *words])
    if not profiled:
        print(f"| corpus | pass | model s | limit s | model / limit | listed / made | {' | '.join(KINDS)} |")
        print("|" + "---|" * (6 + len(KINDS)))
    for name in chosen or CORPORA:
        torch.manual_seed(0)
        subject = Subject(random_corpus(name, CORPORA[name]), settings)
        if profiled:
            print(f"\n| {name}: ms a step | forward | backward | share | bare products | part / bare |")
            print("|" + "---|" * 6)
        for line in profile(subject, rounds) if profiled else lines(name, subject, rounds):
            print(line, flush=True)


if __name__ == "__main__":
    main()
