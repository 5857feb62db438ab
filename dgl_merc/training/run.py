"""A run: settings and a store in, a folder with everything that explains its numbers out, whatever happens on the way.

While it is under way its state stands beside OUT, in ``.OUT.unfinished``; the results appear as OUT, whole, at the end. So a run that is
killed leaves earlier results as they were and can be taken up; one that diverges (a loss that is not finite) leaves nothing.
"""

from __future__ import annotations

import json
import shutil
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import torch

from dgl_merc.corpus import Corpus, Scaling
from dgl_merc.corpus.reduction import parse_reduction, reduced_widths
from dgl_merc.errors import DivergedError, InputError, at
from dgl_merc.files import check_free, file_record, locked, new_folder, read_json, recover, resolved, unfinished, write_json
from dgl_merc.graphs import GraphSpec, Store
from dgl_merc.models import Model, ModelInput, build_model
from dgl_merc.settings import differences, flat, flat_settings
from dgl_merc.training.checkpoint import Checkpoint
from dgl_merc.training.data import DialogueData, known_speakers
from dgl_merc.training.environment import describe_environment
from dgl_merc.training.loop import Look, OnLook, Trained, Trainer
from dgl_merc.training.oracle import Oracle
from dgl_merc.training.processes import ALONE, Processes, own_seed
from dgl_merc.training.run_folder import Papers, RunParts, add_test_locked, now, open_run, write_run
from dgl_merc.training.settings import Settings
from dgl_merc.training.splits import Division, divide
from dgl_merc.training.task import Task, choose_target, task_of
from dgl_merc.training.tracking import TRACK, check_tracking, tracking
from dgl_merc.version import __version__

__all__ = ["fit", "resolved_spec"]

_ONE_AT_A_TIME = threading.Lock()  # dropout draws from torch's global generator: two runs in one process would draw from each other's


def fit(
    corpus: Corpus,
    spec: GraphSpec,
    settings: Settings,
    out: Path,
    *,
    store: Store | None = None,
    command: Sequence[str] = (),
    force: bool = False,
    resume: bool = False,
    device: str = "cpu",
    test: bool = True,
    oracle: bool = False,
    on_look: OnLook | None = None,
    processes: Processes = ALONE,
    in_depth: bool = False,
    tensorboard: bool = False,
) -> dict[str, Any]:
    """Train a model, choose its epoch on dev, evaluate test once, and write the run folder. torch's generator is left as it was found.

    Args:
        corpus: with a training split.
        spec: of the store; ``settings.graph`` and ``settings.data.modalities`` may change it.
        settings: resolved.
        out: the run folder; must not exist or be empty.
        store: the graphs were built into, for its hash.
        command: as typed.
        force: replace what is at ``out``; an unfinished run is begun anew.
        resume: go on with an unfinished run of the same settings and data (on the CPU it ends with the same bits); a finished one is
            returned as it is, and where there is none, one is begun.
        device: where to compute.
        test: evaluate test at the end; else :func:`dgl_merc.training.run_folder.add_test` can do it later.
        oracle: score test at every look as well, into a file that nothing reads: how much choosing by test would flatter.
        on_look: called after every look at dev; with several processes, as all that has to do with ``out``, by the first.
        processes: that train the model together; each calls this with the same arguments, but for the device.
        in_depth: the report also shows what each modality contributes and how the labels lie in space, which takes seconds
            (:mod:`dgl_merc.training.in_depth`; ``dglmerc report`` can do it later).
        tensorboard: write a point a look, to be watched (:mod:`dgl_merc.training.tracking`).

    Returns:
        What ``metrics.json`` holds.

    Raises:
        InputError: settings and corpus do not fit, ``out`` is not free or in use by another process, an unfinished run of other settings,
            the loss is not finite, or TensorBoard is asked for and not there.
    """
    check_tracking(asked=tensorboard)
    out = resolved(out)
    for source in (corpus.path, store.path if store else None):
        if source is not None and source.resolve().is_relative_to(out):
            raise InputError(f"{at(out)}holds {source}, which the run is made of; name another folder")
    job = processes.together(lambda: _job(corpus, spec, settings, store))
    _check_same(job, processes)
    ask = _Asked(out, device, force=force, resume=resume, test=test, oracle=oracle, tensorboard=tensorboard)
    with _ONE_AT_A_TIME, ExitStack() as held:
        work, metrics = processes.first(lambda: _open(job, corpus, ask, processes.count, held))
        if metrics is not None:
            return metrics
        tracker = held.enter_context(tracking(work, job.config, on=tensorboard and processes.rank == 0))
        parts, trained, watcher = _train(job, device, work, processes, oracle=oracle, on_look=_each(tracker, on_look))

        def write() -> dict[str, Any]:
            environment = {**describe_environment(), "processes": processes.count, "command": list(command), "finished": now()}
            with new_folder(out, force=force, replaces="metrics.json") as folder:
                if watcher:
                    shutil.copy(watcher.path, folder / watcher.path.name)
                metrics = write_run(folder, out, Papers(job.config, job.about, environment), parts, trained, test=test, in_depth=in_depth)
                if tracker:
                    tracker.finish(metrics, folder)
                return metrics

        return processes.first(write)


@dataclass(frozen=True)
class _Asked:
    """Arguments of :func:`fit`, by the same names."""

    out: Path
    device: str
    force: bool
    resume: bool
    test: bool
    oracle: bool
    tensorboard: bool


def _open(job: _Job, corpus: Corpus, ask: _Asked, count: int, held: ExitStack) -> tuple[Path, dict[str, Any] | None]:
    """The folder of the state, and the results if the run is finished. ``held`` gets the run's lock, and that folder to put away."""
    out = ask.out
    held.enter_context(locked(out, "fitting"))
    recover(out)
    if ask.resume and (out / "metrics.json").is_file() and not (ask.force and _differences(*_plans(out, job))):
        return out, _finished(job, corpus, ask)
    check_free(out, force=ask.force, replaces="metrics.json")
    inside = [p.parent for p in out.glob("*/**/metrics.json")]
    if inside:
        raise InputError(f"{at(out)}holds other runs ({inside[0]}); --force replaces a run alone: name another folder")
    machine = {"device": ask.device, "threads": torch.get_num_threads(), "processes": count, "oracle": ask.oracle, **_versions()}
    plan = {"settings": job.config, "data": job.about, "machine": machine}
    return held.enter_context(_state_folder(out, plan, force=ask.force, resume=ask.resume)), None


@contextmanager
def _state_folder(out: Path, plan: dict[str, Any], *, force: bool, resume: bool) -> Iterator[Path]:
    """Where the state stands while the block runs; gone afterwards, unless the block was cut off and there is a state to go on with."""
    work = _begin(out, plan, force=force, resume=resume)
    try:
        yield work
    except DivergedError:
        shutil.rmtree(work)  # going on would end the same
        raise
    except BaseException:
        if not (work / "state.json").is_file():
            shutil.rmtree(work, ignore_errors=True)
        raise
    shutil.rmtree(work)


def _train(
    job: _Job, device: str, work: Path, processes: Processes, *, oracle: bool, on_look: OnLook | None
) -> tuple[RunParts, Trained, Oracle | None]:
    """From the beginning or from the state in ``work``; torch's generator is given back."""
    if device.startswith("cuda"):
        torch.cuda.reset_peak_memory_stats(device)
    with torch.random.fork_rng(devices=[device] if device.startswith("cuda") else []):  # of all GPUs, torch would rather not
        parts, trainer = _make(job, device, work, processes)
        test = job.division.dialogues()["test"]
        watcher = processes.together(lambda: Oracle(work, parts.data, test, device) if oracle and processes.rank == 0 else None)
        trainer.on_look = _each(watcher, on_look)
        trained = trainer.run()
    processes.first(lambda: watcher.finish(trained.best) if watcher else None)
    return parts, trained, watcher


@dataclass(frozen=True)
class _Job:
    """What is to be done, checked, before anything is computed.

    Attributes:
        settings: resolved.
        spec: with the settings' changes.
        division: the corpus with the splits that are used.
        task: what is learnt.
        config: the settings, as ``config.json`` has them.
        about: what ``data.json`` says.
    """

    settings: Settings
    spec: GraphSpec
    division: Division
    task: Task
    config: dict[str, Any]
    about: dict[str, Any]


def _job(corpus: Corpus, spec: GraphSpec, settings: Settings, store: Store | None) -> _Job:
    spec = resolved_spec(corpus, spec, settings)
    task = task_of(corpus, choose_target(corpus, settings.data.target), settings.data.learn)
    division = divide(corpus, task.target, settings.data)
    widths = {m: corpus.modalities[m].width for m in spec.modalities}
    heard = reduced_widths(settings.data.reduce, widths)
    about = {
        "corpus": {"name": corpus.name, "path": str(corpus.path) if corpus.path else None, "content_sha256": corpus.content_sha256},
        "store_manifest_sha256": file_record(store.path / "manifest.json")["sha256"] if store else None,
        "spec": spec.to_json(),
        "target": task.target,
        "labels": task.names,
        **({"bounds": task.bounds} if task.bounds else {}),
        "widths": widths,
        **({"heard": heard} if heard != widths else {}),
        "features": {m: corpus.modality_sha256(m) for m in spec.modalities},
        **({"recipes": recipes} if (recipes := _recipes(corpus, spec)) else {}),
        "scaling": settings.data.scaling,
        "characters": known_speakers(division.corpus),
        "division": division.to_json(task.target),
    }
    config, about = (json.loads(json.dumps(table)) for table in (settings.to_json(), about))
    return _Job(settings, spec, division, task, config, about)


def _recipes(corpus: Corpus, spec: GraphSpec) -> dict[str, Any]:
    """Modality -> what made its vectors, of those where that is known."""
    return {m: dict(corpus.modalities[m].recipe) for m in spec.modalities if corpus.modalities[m].recipe}


def resolved_spec(corpus: Corpus, spec: GraphSpec, settings: Settings) -> GraphSpec:
    """The spec of a store, changed as settings say.

    Raises:
        InputError: a modality that the store has not.
    """
    wanted = settings.data.modalities or spec.modalities
    for key, names in (("modalities", wanted), ("reduce", filter(None, parse_reduction(settings.data.reduce)))):
        if unknown := [m for m in names if m not in spec.modalities]:
            raise InputError(
                f"{at(corpus.path or corpus.name)}data.{key} names {', '.join(unknown)}; the graphs have {', '.join(spec.modalities)}"
            )
    changes: dict[str, Any] = {k: v for k, v in asdict(settings.graph).items() if v is not None}
    return replace(spec, modalities=tuple(m for m in spec.modalities if m in wanted), **changes)


def _make(job: _Job, device: str, work: Path, processes: Processes) -> tuple[RunParts, Trainer]:
    """A fresh model, drawn from the seed, and what trains it. Processes draw the same model, and then each a dropout of its own."""
    settings, corpus = job.settings, job.division.corpus
    torch.manual_seed(settings.seed)
    heard = job.about.get("heard", job.about["widths"])
    given = ModelInput(heard, job.task.outputs, job.spec, settings.seed, len(job.about["characters"]))
    # by the first: where two directions keep almost as much, another machine's rounding takes others
    scaling = processes.first(lambda: Scaling.fit(corpus, settings.data.scaling, job.spec.modalities, heard))
    data = DialogueData(corpus, job.spec, scaling, job.task.target, characters=job.about["characters"], learn=settings.data.learn)
    model = build_model(settings.model, given, settings.options).to(device)
    if processes.rank:
        torch.manual_seed(own_seed(settings.seed, processes.rank))
    splits = job.division.dialogues()
    trainer = Trainer(
        model,
        data,
        splits["train"],
        splits["dev"],
        settings.training,
        seed=settings.seed,
        device=device,
        checkpoint=Checkpoint(work),
        processes=processes,
    )
    return RunParts(model, data, job.division, device), trainer


def _check_same(job: _Job, processes: Processes) -> None:
    """That all processes have the same run before them.

    Raises:
        InputError: another corpus on another machine, or other settings.
    """
    here = {"settings": job.config, "data": job.about}
    found = processes.each(_differences(processes.first(lambda: here), here))
    for rank, different in enumerate(found):
        if different:
            raise InputError(f"process {rank} has another run before it than process 0: {different[0]} here")


def _each(*watchers: OnLook | None) -> OnLook:
    """All of them, one after the other."""

    def call(look: Look, best: Look, model: Model) -> None:
        for watcher in watchers:
            if watcher:
                watcher(look, best, model)

    return call


# ---- going on with what is there


def _finished(job: _Job, corpus: Corpus, ask: _Asked) -> dict[str, Any]:
    """The results of a run that needs nothing more, or test alone."""
    out, work = ask.out, unfinished(ask.out)
    there, here = _plans(out, job)
    for difference in _differences(there, here):
        hint = " (with --resume: what was begun to replace it goes on)" if work.exists() else ""
        raise InputError(f"{at(out)}holds a run of {difference}; name another folder, or pass --force{hint}")
    for asked, left, option in ((ask.oracle, "oracle.json", "--oracle"), (ask.tensorboard, TRACK, "--log tensorboard")):
        if asked and not (out / left).exists():
            raise InputError(f"{at(out)}was finished without {option}; name another folder, or pass --force to run it again")
    if work.exists() and not _differences(
        read_json(work / "plan.json") if (work / "plan.json").is_file() else here, here, without="machine."
    ):
        shutil.rmtree(work)  # left by a kill between the results and this
    run = open_run(out)
    return add_test_locked(run, corpus, device=ask.device) if ask.test else dict(run.metrics)


def _begin(out: Path, plan: dict[str, Any], *, force: bool, resume: bool) -> Path:
    """A folder for the state: that of an earlier run of the same plan, or a new one."""
    work = unfinished(out)
    if work.exists() and not all((work / name).is_file() for name in ("plan.json", "state.json")):
        shutil.rmtree(work)  # killed before there was anything to go on with
    if work.exists():
        found = _differences(read_json(work / "plan.json"), plan) if resume else []
        if resume and not found:
            return work
        if not force:
            said = f"was begun with {found[0]}; pass the same settings" if resume else "is unfinished; pass --resume to go on with it"
            raise InputError(f"{at(out)}a run of it (in {work.name}) {said}, name another folder, or begin anew with --force")
        shutil.rmtree(work)
    work.mkdir(parents=True)
    write_json(work / "plan.json", plan)
    return work


# A corpus may move, a store be built again; who talks in the training split is settled by its hash, what made vectors by theirs, what is
# heard by data.reduce.
_ELSEWHERE = {"data.corpus.path", "data.corpus.name", "data.store_manifest_sha256", "data.characters"}
_SETTLED = ("data.recipes.", "data.heard.")


def _plans(out: Path, job: _Job) -> tuple[dict[str, Any], dict[str, Any]]:
    """What the finished run in a folder was made of, and what is asked for now."""
    there = {"settings": read_json(out / "config.json"), "data": read_json(out / "data.json")}
    return there, {"settings": job.config, "data": job.about}


def _differences(there: Mapping[str, Any], here: Mapping[str, Any], without: str = "-") -> list[str]:
    """What differs between two plans, under the keys that a person knows; keys that begin with ``without`` are passed over."""
    old, new = (
        {**dict(flat({k: v for k, v in plan.items() if k != "settings"})), **dict(flat_settings(_resolved(plan.get("settings"))))}
        for plan in (there, here)
    )
    found = differences(old, new)
    return [f"{key} = {was}, not {now_}" for key, was, now_ in found if key not in _ELSEWHERE and not key.startswith((without, *_SETTLED))]


def _resolved(config: object) -> Mapping[str, Any]:
    """Settings as a plan has them, with the defaults of those that an older version did not know."""
    if not isinstance(config, Mapping):
        return {}
    try:
        resolved_: Mapping[str, Any] = json.loads(json.dumps(Settings.from_json(config, "the plan").to_json()))
    except InputError:
        return config  # damaged: it will differ
    return resolved_


def _versions() -> dict[str, str]:
    return {"torch": torch.__version__, "dglmerc": __version__}
