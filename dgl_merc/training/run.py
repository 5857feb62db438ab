"""A run: settings and a store in, a folder with everything that explains its numbers out, whatever happens on the way.

While it is under way its state stands beside OUT, in ``.OUT.unfinished``; the results appear as OUT, whole, at the end. So a run that is
killed leaves earlier results as they were and can be taken up; one that diverges (a loss that is not finite) leaves nothing.
"""

from __future__ import annotations

import json
import shutil
import threading
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import torch

from dgl_merc.corpus import Corpus, Scaling
from dgl_merc.errors import DivergedError, InputError, at
from dgl_merc.files import check_free, file_record, locked, new_folder, read_json, recover, resolved, write_json
from dgl_merc.graphs import GraphSpec, Store
from dgl_merc.models import Model, ModelInput, build_model
from dgl_merc.settings import differences, flat, flat_settings
from dgl_merc.training.checkpoint import Checkpoint
from dgl_merc.training.data import DialogueData, known_speakers
from dgl_merc.training.environment import describe_environment
from dgl_merc.training.loop import Look, OnLook, Trained, Trainer
from dgl_merc.training.oracle import Oracle
from dgl_merc.training.run_folder import Papers, RunParts, add_test_locked, now, open_run, write_run
from dgl_merc.training.settings import Settings
from dgl_merc.training.splits import Division, divide
from dgl_merc.training.task import Task, choose_target, task_of
from dgl_merc.version import __version__

__all__ = ["fit", "resolved_spec", "unfinished"]

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
        on_look: called after every look at dev.

    Returns:
        What ``metrics.json`` holds.

    Raises:
        InputError: settings and corpus do not fit, ``out`` is not free or in use by another process, an unfinished run of other settings,
            or the loss is not finite.
    """
    out = resolved(out)
    for source in (corpus.path, store.path if store else None):
        if source is not None and source.resolve().is_relative_to(out):
            raise InputError(f"{at(out)}holds {source}, which the run is made of; name another folder")
    job = _job(corpus, spec, settings, store)
    with _ONE_AT_A_TIME, locked(out, "fitting"):
        recover(out)
        if resume and (out / "metrics.json").is_file() and not (force and _differences(*_plans(out, job))):
            return _finished(job, corpus, out, device=device, test=test, oracle=oracle)
        check_free(out, force=force, replaces="metrics.json")
        inside = [p.parent for p in out.glob("*/**/metrics.json")]
        if inside:
            raise InputError(f"{at(out)}holds other runs ({inside[0]}); --force replaces a run alone: name another folder")
        machine = {"device": device, "threads": torch.get_num_threads(), "oracle": oracle, **_versions()}
        work = _begin(out, {"settings": job.config, "data": job.about, "machine": machine}, force=force, resume=resume)
        try:
            parts, trained, watcher = _train(job, device, work, oracle=oracle, on_look=on_look)
            papers = Papers(job.config, job.about, {**describe_environment(), "command": list(command), "finished": now()})
            with new_folder(out, force=force, replaces="metrics.json") as folder:
                if watcher:
                    shutil.copy(watcher.path, folder / watcher.path.name)
                metrics = write_run(folder, out, papers, parts, trained, test=test)
        except DivergedError:
            shutil.rmtree(work)  # going on would end the same
            raise
        except BaseException:
            if not (work / "state.json").is_file():
                shutil.rmtree(work, ignore_errors=True)
            raise
        shutil.rmtree(work)
    return metrics


def _train(job: _Job, device: str, work: Path, *, oracle: bool, on_look: OnLook | None) -> tuple[RunParts, Trained, Oracle | None]:
    """From the beginning or from the state in ``work``; torch's generator is given back."""
    with torch.random.fork_rng():
        parts, trainer = _make(job, device, work)
        watcher = Oracle(work, parts.data, job.division.dialogues()["test"], device) if oracle else None
        trainer.on_look = _each(watcher, on_look)
        trained = trainer.run()
    if watcher:
        watcher.finish(trained.best)
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
    about = {
        "corpus": {"name": corpus.name, "path": str(corpus.path) if corpus.path else None, "content_sha256": corpus.content_sha256},
        "store_manifest_sha256": file_record(store.path / "manifest.json")["sha256"] if store else None,
        "spec": spec.to_json(),
        "target": task.target,
        "labels": task.names,
        **({"bounds": task.bounds} if task.bounds else {}),
        "widths": {m: corpus.modalities[m].width for m in spec.modalities},
        "features": {m: corpus.modality_sha256(m) for m in spec.modalities},
        "scaling": settings.data.scaling,
        "characters": known_speakers(division.corpus),
        "division": division.to_json(task.target),
    }
    config, about = (json.loads(json.dumps(table)) for table in (settings.to_json(), about))
    return _Job(settings, spec, division, task, config, about)


def resolved_spec(corpus: Corpus, spec: GraphSpec, settings: Settings) -> GraphSpec:
    """The spec of a store, changed as settings say.

    Raises:
        InputError: a modality that the store has not.
    """
    wanted = settings.data.modalities or spec.modalities
    unknown = [m for m in wanted if m not in spec.modalities]
    if unknown:
        raise InputError(
            f"{at(corpus.path or corpus.name)}data.modalities names {', '.join(unknown)}; the graphs have {', '.join(spec.modalities)}"
        )
    changes: dict[str, Any] = {k: v for k, v in asdict(settings.graph).items() if v is not None}
    return replace(spec, modalities=tuple(m for m in spec.modalities if m in wanted), **changes)


def _make(job: _Job, device: str, work: Path) -> tuple[RunParts, Trainer]:
    """A fresh model, drawn from the seed, and what trains it."""
    settings, corpus = job.settings, job.division.corpus
    torch.manual_seed(settings.seed)
    given = ModelInput(job.about["widths"], job.task.outputs, job.spec, settings.seed, len(job.about["characters"]))
    scaling = Scaling.fit(corpus, settings.data.scaling, job.spec.modalities)
    data = DialogueData(corpus, job.spec, scaling, job.task.target, characters=job.about["characters"], learn=settings.data.learn)
    model = build_model(settings.model, given, settings.options).to(device)
    splits = job.division.dialogues()
    trainer = Trainer(
        model, data, splits["train"], splits["dev"], settings.training, seed=settings.seed, device=device, checkpoint=Checkpoint(work)
    )
    return RunParts(model, data, job.division, device), trainer


def _each(*watchers: OnLook | None) -> OnLook:
    """All of them, one after the other."""

    def call(look: Look, best: Look, model: Model) -> None:
        for watcher in watchers:
            if watcher:
                watcher(look, best, model)

    return call


# ---- going on with what is there


def unfinished(out: Path) -> Path:
    """Where the state of a run stands until its results appear as ``out``."""
    out = out.resolve()
    return out.with_name(f".{out.name}.unfinished")


def _finished(job: _Job, corpus: Corpus, out: Path, *, device: str, test: bool, oracle: bool) -> dict[str, Any]:
    """The results of a run that needs nothing more, or test alone."""
    work = unfinished(out)
    there, here = _plans(out, job)
    for difference in _differences(there, here):
        hint = " (with --resume: what was begun to replace it goes on)" if work.exists() else ""
        raise InputError(f"{at(out)}holds a run of {difference}; name another folder, or pass --force{hint}")
    if oracle and not (out / "oracle.json").is_file():
        raise InputError(f"{at(out)}was finished without --oracle; name another folder, or pass --force to run it again")
    if work.exists() and not _differences(
        read_json(work / "plan.json") if (work / "plan.json").is_file() else here, here, without="machine."
    ):
        shutil.rmtree(work)  # left by a kill between the results and this
    run = open_run(out)
    return add_test_locked(run, corpus, device=device) if test else dict(run.metrics)


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


# A corpus may move, a store be built again; and who talks in the training split is settled by its hash.
_ELSEWHERE = {"data.corpus.path", "data.corpus.name", "data.store_manifest_sha256", "data.characters"}


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
    return [f"{key} = {was}, not {now_}" for key, was, now_ in found if key not in _ELSEWHERE and not key.startswith(without)]


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
