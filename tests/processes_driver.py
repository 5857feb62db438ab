"""Run by test_processes.py under torchrun: steps of several processes beside those of one, in float64; a JSON line per case."""

from __future__ import annotations

import json
import os
import signal
import sys
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from helpers import SMALL_RNN, SMALL_SGRNET

from dgl_merc.corpus import Corpus, Scaling, Target
from dgl_merc.corpus.synthetic import synthetic_corpus
from dgl_merc.graphs import GraphSpec
from dgl_merc.losses.processes import gathered
from dgl_merc.models import ModelInput, build_model
from dgl_merc.training import fit, load_settings
from dgl_merc.training.data import Batch, DialogueData
from dgl_merc.training.loop import Trainer
from dgl_merc.training.processes import ALONE, Processes, joined

RANK, COUNT = (int(os.environ.get(name, value)) for name, value in (("RANK", "0"), ("WORLD_SIZE", "1")))  # pytest imports this, too
QUIET = ("training.clip=0", "training.lr=.01", "training.weight_decay=.01")
MGLRA = ("model.dim=8", "model.dropout=0", "model.context.input_dropout=0", *QUIET)
BILSTM = ("model.hidden=6", "model.dropout=0", *QUIET)
GUESSING = (*MGLRA, "model.gcn.mask=both", "model.gcn.rate=.3", "model.reconstruction=.7")
SGRNET = (*SMALL_SGRNET, "model.dropout=0", "model.context.input_dropout=0", *QUIET)
FOUR = ((0, 1, 2, 3),)
FULL = range(12)


@dataclass(frozen=True)
class Case:
    """Some steps.

    Attributes:
        preset: of the model.
        words: settings.
        batches: the dialogues of each step.
        silent: dialogues without a label.
        deaf: dialogues without audio.
        bare: dialogues without anything.
        learn: of the target.
        modalities: of the corpus.
        rough: in mixed precision, where sums of other parts have other bits; weights, which Adam moves by signs, are not compared.
    """

    preset: str
    words: tuple[str, ...]
    batches: tuple[tuple[int, ...], ...] = FOUR
    silent: tuple[int, ...] = ()
    deaf: tuple[int, ...] = ()
    bare: tuple[int, ...] = ()
    learn: str = "classes"
    modalities: tuple[str, ...] = ("text", "audio", "visual")
    rough: bool = False


CASES = {
    "m3net": Case("m3net", ("model.dim=6", "model.dropout=0", "model.context.input_dropout=0", *QUIET), ((0, 1, 2, 3), (4, 5, 6))),
    "mglra": Case("mglra", MGLRA, ((0, 1, 2, 3), (4, 5, 6))),
    "mglra, clipped": Case("mglra", (*MGLRA, "training.clip=.05"), ((0, 1, 2, 3), (4, 5, 6))),
    "mglra that guesses": Case("mglra", GUESSING, ((0, 1, 2, 3), (4, 5, 6))),
    "mglra that guesses, one deaf": Case("mglra", GUESSING, deaf=(2, 3)),
    "mglra that guesses, one bare": Case("mglra", GUESSING, bare=(2, 3)),
    "mglra that guesses, one dialogue": Case("mglra", GUESSING, ((5,), (3, 4), (7,))),
    "mglra as printed": Case("mglra-paper", ("model.dim=8", "model.dropout=0", *QUIET), ((0, 1, 2, 3), (4, 5, 6))),
    "mglra without a mask": Case("mglra", (*MGLRA, "model.gcn.mask=both", "model.gcn.rate=0")),
    "mglra, modalities dropped": Case("mglra", (*MGLRA, "training.modality_dropout=.4"), ((0, 1, 2, 3), (4, 5, 6))),
    "mmgcn": Case("mmgcn", ("model.dim=6", "model.dropout=0", "model.context.input_dropout=0", *QUIET), ((0, 1, 2, 3), (4, 5, 6))),
    "sgrnet": Case("sgrnet", SGRNET, ((0, 1, 2, 3), (4, 5, 6))),
    "sgrnet, hard pairs": Case("sgrnet", (*SGRNET, "model.alignment.hard_same=negative")),
    "sgrnet as printed": Case("sgrnet-paper", SGRNET),
    "sgrnet of two": Case("sgrnet", SGRNET, modalities=("text", "audio")),
    "sgrnet, one silent": Case("sgrnet", SGRNET, silent=(0, 1)),
    "sgrnet, one deaf": Case("sgrnet", SGRNET, deaf=(0, 1)),
    "sgrnet, all deaf": Case("sgrnet", SGRNET, deaf=tuple(FULL)),
    "sgrnet, one bare": Case("sgrnet", SGRNET, bare=(0, 1)),
    "sgrnet, one dialogue": Case("sgrnet", SGRNET, ((5,), (3, 4))),
    "sgrnet, one deaf, roughly": Case("sgrnet", (*SGRNET, "training.precision=bf16-mixed"), deaf=(0, 1), rough=True),
    "mglra that guesses, one dialogue, roughly": Case("mglra", (*GUESSING, "training.precision=bf16-mixed"), ((5,),), rough=True),
    "dialoguegcn": Case("dialoguegcn", ("model.hidden=4", "model.dim=5", "model.dropout=0", *QUIET), ((0, 1, 2, 3), (4, 5, 6))),
    "dialoguernn": Case("dialoguernn", (*SMALL_RNN, "model.dropout=0", *QUIET), ((0, 1, 2, 3), (4, 5, 6))),
    "bilstm": Case("bilstm", BILSTM, ((0, 1, 2, 3), (4, 5, 6))),
    "bilstm, dynamics": Case("bilstm", (*BILSTM, "model.dynamics.share=.5"), ((0, 1, 2, 3), (4, 5)), (0, 1)),
    "bilstm, nothing to learn": Case("bilstm", BILSTM, ((0, 1), (2, 3), (0, 1), (3, 4)), (0, 1)),
    "bilstm, rare classes": Case(
        "bilstm",
        (
            *("model.hidden=6", "model.dropout=0", "training.class_weights=balanced", "training.focal=1.5"),
            *("training.label_smoothing=.1", "training.averaging=ema", "training.decay=algorithm1", *QUIET),
        ),
        ((0, 1, 2, 3), (4, 5, 6)),
        silent=(2,),
    ),
    "transformer": Case(
        "transformer",
        (
            "model.dim=6",
            "model.heads=2",
            "model.feed_forward=8",
            "model.dropout=0",
            "model.input_dropout=0",
            "training.warmup_steps=0",
            *QUIET,
        ),
    ),
    "mglra of scores": Case("mglra", GUESSING, ((0, 1, 2, 3), (4, 5, 6)), silent=(3,), learn="score"),
}


class Doubles(DialogueData):
    """In float64."""

    def batch(self, dialogues: Any) -> Batch:
        made = super().batch(dialogues)
        return replace(made, features={m: x.double() for m, x in made.features.items()})


def corpus_for(case: Case, made: Corpus) -> tuple[Corpus, GraphSpec, str]:
    """With a score beside its classes."""
    scores = np.random.default_rng(3).integers(-3, 4, len(made.utterances)).astype(float)
    corpus = replace(
        made,
        utterances=made.utterances.assign(sentiment=scores),
        targets={**made.targets, "sentiment": Target("range", bounds=(-3.0, 3.0))},
    )
    return corpus, GraphSpec(case.modalities), "sentiment" if case.learn == "score" else "emotion"


def steps(case: Case, made: Corpus, processes: Processes) -> dict[str, Any]:
    """Losses, gradients and weights after every step."""
    corpus, spec, target = corpus_for(case, made)
    rows = [np.arange(*corpus.offsets[[d, d + 1]]) for d in range(len(corpus))]
    drop = np.zeros((len(corpus.utterances), len(spec.modalities)), dtype=bool)
    for d in case.deaf:
        drop[rows[d], 1] = True
    for d in case.bare:
        drop[rows[d]] = True
    data = (DialogueData if case.rough else Doubles)(corpus, spec, Scaling.fit(corpus), target, drop, learn=case.learn)
    for d in case.silent:
        data.labels[rows[d]] = -1
        data.truth[rows[d]] = torch.nan if case.learn == "score" else -1
    settings = load_settings(case.preset, [*case.words, f"data.learn={case.learn}"], 3)
    torch.manual_seed(3)
    widths = {m: corpus.modalities[m].width for m in spec.modalities}
    model = build_model(settings.model, ModelInput(widths, data.task.outputs, spec, 3, 9), settings.options)
    model = model if case.rough else model.double()
    t = Trainer(model, data, corpus.in_split("train"), corpus.in_split("dev"), settings.training, seed=3, processes=processes)
    found: dict[str, Any] = {}
    for k, dialogues in enumerate(case.batches):
        before = t.progress.total
        t._step(data.share(np.array(dialogues), processes.rank, processes.count))
        found[f"{k} loss"] = torch.tensor(t.progress.total - before)
        found |= {f"{k} gradient of {n}": None if p.grad is None else p.grad.clone() for n, p in model.named_parameters()}
        if not case.rough:
            found |= {f"{k} weight {n}": p.detach().clone() for n, p in t._judged().named_parameters()}
    return found


def compare(one: dict[str, Any], several: dict[str, Any]) -> dict[str, Any]:
    """How far apart they are."""
    none = {name for name, value in one.items() if value is None}
    assert one.keys() == several.keys()
    worst = {
        name: float((several[name] - value).abs().max()) for name, value in one.items() if value is not None and several[name] is not None
    }
    name = max(worst, key=lambda n: worst[n])
    return {
        "worst": worst[name],
        "where": name,
        "greatest": max(float(v.abs().max()) for n, v in one.items() if v is not None and "gradient" in n),
        "unused here alone": sorted({n for n, v in several.items() if v is None} - none),
        "used here alone": sorted(none - {n for n, v in several.items() if v is None}),
        "unused": len(none),
    }


def check_gathered() -> None:
    """The first process has two rows of bfloat16; a layer without rows gave the others none, of float32."""
    own = torch.ones(2, 3, dtype=torch.bfloat16) if RANK == 0 else torch.zeros(0, 3)
    assert torch.equal(gathered(own), torch.ones(2, 3))
    assert gathered(torch.zeros(0, 3)).shape == (0, 3)


def check_solved(made: Corpus, processes: Processes) -> None:
    """What is solved is solved once, on all dialogues, and every process has it."""
    for learn in ("classes", "score"):
        alone, together = (solved(made, learn, some) for some in (ALONE, processes))
        assert all(torch.equal(alone[name], value) for name, value in together.items())


def solved(made: Corpus, learn: str, processes: Processes) -> dict[str, Any]:
    """Weights and loss of logistic regression, and of ridge regression."""
    corpus, spec, target = corpus_for(Case("logistic", (), learn=learn), made)
    data = DialogueData(corpus, spec, Scaling.fit(corpus), target, learn=learn)
    torch.manual_seed(processes.rank)
    given = ModelInput({m: corpus.modalities[m].width for m in spec.modalities}, data.task.outputs, spec)
    settings = load_settings("logistic", ["data.learn=" + learn])
    model = build_model("logistic", given, settings.options)
    t = Trainer(model, data, corpus.in_split("train"), corpus.in_split("dev"), settings.training, seed=3, processes=processes)
    found = t.run()
    return {**model.state_dict(), "loss": torch.tensor(found.best.loss), "dev": torch.tensor(found.best.dev_weighted_f1)}


def compare_all() -> None:
    """Every case, alone and together."""
    torch.randn_like = torch.zeros_like  # the noise of sgrnet's fusion: processes draw their own
    made = synthetic_corpus(0, (12, 4, 4), with_ceilings=False)
    alone = {name: steps(case, made, ALONE) for name, case in CASES.items()}
    with joined(RANK, COUNT, "cpu") as processes:
        check_gathered()
        check_solved(made, processes)
        for name, case in CASES.items():
            said = processes.each(compare(alone[name], steps(case, made, processes)))
            if processes.rank == 0:
                print(json.dumps({"case": name, "processes": said}), flush=True)


def make_run(out: Path, words: list[str], die: int, **options: Any) -> None:
    """A run; the process ``die % 2`` kills itself at its ``die // 2``-th call of the model in training, if that is not 0."""
    corpus = synthetic_corpus(0, (9, 3, 3), with_ceilings=False)
    with joined(RANK, COUNT, "cpu") as processes:
        fit(
            corpus,
            GraphSpec(tuple(corpus.modalities)),
            load_settings("mglra", words, 3),
            out,
            processes=_dying(processes, die // 2) if die and die % 2 == RANK else processes,
            **options,
        )


def _dying(processes: Processes, at: int) -> Processes:
    class Dying(Processes):
        def forward(self, *given: Any) -> Any:
            called, calls = super().forward(*given), 0

            def forward(*args: Any, **options: Any) -> Any:
                nonlocal calls
                calls += 1
                if calls == at:
                    os.kill(os.getpid(), signal.SIGKILL)
                return called(*args, **options)

            return forward

    return Dying(processes.rank, processes.count, processes.fabric)


def main() -> None:
    """Arguments: none, to compare steps; or of :func:`make_run`, as JSON."""
    torch.set_num_threads(1)
    if len(sys.argv) == 1:
        compare_all()
    else:
        given = json.loads(sys.argv[1])
        make_run(Path(given.pop("out")), **given)


if __name__ == "__main__":
    main()
