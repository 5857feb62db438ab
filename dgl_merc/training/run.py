"""A run: settings and a store in, a folder with everything that explains its numbers out.

    config.json          settings, resolved
    environment.json     versions, machine, command, time
    data.json            hashes of corpus and store, spec, classes, scaling and widths: what a prediction must fit
    metrics.json         per split: accuracy, weighted F1, per class, confusion; the chosen epoch; distance to a known ceiling
    history.json         loss and dev weighted F1 per epoch
    predictions.parquet  every utterance: label, prediction, probabilities
    weights.safetensors, scaling.safetensors
    figures/*.png, report.html

The folder appears whole at the end; a run that fails leaves nothing behind.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
import torch
from safetensors.numpy import save as save_arrays
from safetensors.torch import save

from dgl_merc.corpus import SPLITS, Corpus, Scaling
from dgl_merc.corpus.bayes import ceiling_of
from dgl_merc.errors import InputError, at
from dgl_merc.evaluation.breakdown import evaluate_predictions
from dgl_merc.files import file_record, new_folder, write_json
from dgl_merc.graphs import GraphSpec, Store
from dgl_merc.models import Model, ModelInput, build_model
from dgl_merc.reports.run_report import write_report
from dgl_merc.training.data import DialogueData, choose_target
from dgl_merc.training.environment import describe_environment
from dgl_merc.training.loop import Epoch, Trained, predict, train
from dgl_merc.training.settings import Settings

__all__ = ["Progress", "fit"]

Progress = Callable[[Epoch, Epoch], None]


@dataclass(frozen=True)
class _Parts:
    """What a run is made of, between training and writing."""

    settings: Settings
    data: DialogueData
    target: str
    model: Model
    trained: Trained
    source: Mapping[str, Any]

    @property
    def names(self) -> tuple[str, ...]:
        return self.data.corpus.targets[self.target].labels


def fit(
    corpus: Corpus,
    spec: GraphSpec,
    settings: Settings,
    out: Path,
    *,
    store: Store | None = None,
    command: Sequence[str] = (),
    force: bool = False,
    device: str = "cpu",
    on_epoch: Progress | None = None,
) -> dict[str, Any]:
    """Train a model, choose its epoch on dev, evaluate test once, and write the run folder.

    Args:
        corpus: with training and dev splits.
        spec: of the store; ``settings.graph`` and ``settings.data.modalities`` may change it.
        settings: resolved.
        out: the run folder; must not exist or be empty.
        store: the graphs were built into, for its hash.
        command: as typed.
        force: replace what is at ``out``.
        device: where to compute.
        on_epoch: called after every epoch.

    Returns:
        What ``metrics.json`` holds.

    Raises:
        InputError: settings and corpus do not fit, ``out`` is not free, or the loss is not finite.
    """
    for source in (corpus.path, store.path if store else None):
        if source is not None and source.resolve().is_relative_to(out.resolve()):
            raise InputError(f"{at(out)}holds {source}, which the run is made of; name another folder")
    with new_folder(out, force=force, replaces="metrics.json") as folder:
        begin = time.perf_counter()
        spec = _resolved_spec(corpus, spec, settings)
        target = choose_target(corpus, settings.data.target)
        torch.manual_seed(settings.seed)
        given = ModelInput(
            {m: corpus.modalities[m].width for m in spec.modalities}, len(corpus.targets[target].labels), spec, settings.seed
        )
        data = DialogueData(corpus, spec, Scaling.fit(corpus, settings.data.scaling, spec.modalities), target)
        model = build_model(settings.model, given, settings.options).to(device)
        splits = {s: corpus.in_split(s) for s in SPLITS}
        trained = train(
            model, data, splits["train"], splits["dev"], settings.training, seed=settings.seed, device=device, on_epoch=on_epoch
        )
        made_of = {"store": file_record(store.path / "manifest.json")["sha256"] if store else None}
        parts = _Parts(settings, data, target, model, trained, made_of)
        predictions = _predictions(parts, splits, device)
        metrics = _metrics(parts, predictions)
        metrics["seconds"] = time.perf_counter() - begin
        _write(folder, parts, predictions, metrics, list(command))
        write_report(folder, out)
    return metrics


def _resolved_spec(corpus: Corpus, spec: GraphSpec, settings: Settings) -> GraphSpec:
    wanted = settings.data.modalities or spec.modalities
    unknown = [m for m in wanted if m not in spec.modalities]
    if unknown:
        raise InputError(
            f"{at(corpus.path or corpus.name)}data.modalities names {', '.join(unknown)}; the graphs have {', '.join(spec.modalities)}"
        )
    changes: dict[str, Any] = {k: v for k, v in asdict(settings.graph).items() if v is not None}
    return replace(spec, modalities=tuple(m for m in spec.modalities if m in wanted), **changes)


def _predictions(parts: _Parts, splits: Mapping[str, npt.NDArray[np.int64]], device: str) -> pd.DataFrame:
    """Every utterance's label, prediction and probabilities. Called once, after the epoch was chosen: this is where test is seen."""
    table = parts.data.corpus.utterances
    frames = []
    for split, dialogues in splits.items():
        if not len(dialogues):
            continue
        scores, rows = predict(parts.model, parts.data, dialogues, device=device)
        names = np.array(parts.names, dtype=object)
        frame = table.iloc[rows][["dialogue_id", "position", "speaker"]].reset_index(drop=True)
        frame.insert(0, "split", split)
        frame["label"] = table[parts.target].to_numpy(dtype=object)[rows]
        frame["predicted"] = names[scores.argmax(axis=1)]
        for k, name in enumerate(parts.names):
            frame[f"p_{name}"] = scores[:, k]
        frames.append(frame)
    return pd.concat(frames, ignore_index=True)


def _metrics(parts: _Parts, predictions: pd.DataFrame) -> dict[str, Any]:
    best, history = parts.trained.best, parts.trained.history
    metrics: dict[str, Any] = {
        "protocol": "epoch chosen on dev weighted F1; test evaluated once, afterwards",
        "chosen_epoch": best.epoch,
        "epochs": len(history),
        "seconds_per_epoch": float(np.median([e.seconds for e in history])),
        "parameters": sum(p.numel() for p in parts.model.parameters() if p.requires_grad),
        "splits": {},
    }
    for split, part in predictions.groupby("split", sort=False):
        metrics["splits"][str(split)] = evaluate_predictions(part, parts.names)
    spec = parts.data.spec
    ceiling = ceiling_of(parts.data.corpus, spec.modalities, causal=spec.causal)
    test = metrics["splits"].get("test")
    if ceiling and test and test["utterances"]:
        metrics["ceiling"] = {
            "mode": "causal" if spec.causal else "offline",
            **ceiling,
            "distance_weighted_f1": ceiling["weighted_f1"] - test["weighted_f1"],
            "distance_accuracy": ceiling["accuracy"] - test["accuracy"],
        }
    return metrics


def _write(folder: Path, parts: _Parts, predictions: pd.DataFrame, metrics: dict[str, Any], command: list[str]) -> None:
    corpus, spec = parts.data.corpus, parts.data.spec
    write_json(folder / "config.json", parts.settings.to_json())
    write_json(
        folder / "environment.json",
        {**describe_environment(), "command": command, "finished": datetime.now(UTC).isoformat(timespec="seconds")},
    )
    write_json(
        folder / "data.json",
        {
            "corpus": {"name": corpus.name, "path": str(corpus.path) if corpus.path else None, "content_sha256": corpus.content_sha256},
            "store_manifest_sha256": parts.source["store"],
            "spec": spec.to_json(),
            "target": parts.target,
            "labels": list(parts.names),
            "widths": {m: corpus.modalities[m].width for m in spec.modalities},
            "scaling": parts.settings.data.scaling,
        },
    )
    write_json(folder / "history.json", {"epochs": [asdict(e) for e in parts.trained.history]})
    predictions.to_parquet(folder / "predictions.parquet", index=False)
    # bytes, then a file: safetensors' own writer has an error of its own for a full disk
    (folder / "weights.safetensors").write_bytes(save({k: v.detach().cpu().contiguous() for k, v in parts.model.state_dict().items()}))
    scaling = parts.data.scaling
    arrays = {f"{n}/{m}": v for n, t in (("mean", scaling.mean), ("std", scaling.std)) for m, v in t.items()}
    (folder / "scaling.safetensors").write_bytes(save_arrays(arrays))
    write_json(folder / "metrics.json", metrics)
