"""The folder of a run: everything that explains its numbers, written once, and opened again to predict.

In it are:

    config.json          settings, resolved
    data.json            hashes, spec, target, splits, widths, heard, recipes of features: what predictions and comparisons must fit
    environment.json     versions, machine, command, time
    metrics.json         per split: accuracy, weighted F1, per class, confusion, where it is right and where not; the look that dev chose
    history.json         loss and dev weighted F1 at every look
    predictions.parquet  every utterance: label, prediction, probabilities or scores, and what else the model says, such as its uncertainty
    weights.safetensors, scaling.safetensors    parameters; means, deviations, principal directions
    figures/*.png, report.html, MODEL_CARD.md
    contributions.json, space.json, space.parquet   of a single ``dglmerc fit``, or ``dglmerc report``: see training.in_depth
    tensorboard/         only with --log tensorboard
    oracle.json          only with --oracle: test scores at every look, which are no result
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from safetensors import SafetensorError
from safetensors.numpy import load as load_arrays
from safetensors.numpy import save as save_arrays
from safetensors.torch import load, save

from dgl_merc.corpus import Corpus, Scaling
from dgl_merc.corpus.bayes import ceiling_of
from dgl_merc.corpus.storage import read_parquet
from dgl_merc.corpus.targets import places_of, sign_labels
from dgl_merc.errors import InputError, at
from dgl_merc.evaluation.breakdown import evaluate_predictions
from dgl_merc.evaluation.sentiment import evaluate_sentiment
from dgl_merc.evaluation.uncertainty import evaluate_uncertainty
from dgl_merc.extraction import Recipe
from dgl_merc.files import locked, read_json, write_bytes, write_json
from dgl_merc.graphs import GraphSpec
from dgl_merc.models import Model, ModelInput, build_model
from dgl_merc.reports.run_report import write_report
from dgl_merc.training.data import DialogueData, Flags
from dgl_merc.training.in_depth import write_in_depth
from dgl_merc.training.loop import Trained
from dgl_merc.training.measures import corpus_facts, reduction_facts, training_metrics, whole
from dgl_merc.training.prediction import prediction_table
from dgl_merc.training.run_entries import check_entries
from dgl_merc.training.settings import Settings
from dgl_merc.training.splits import Division, divide, judged_sha256
from dgl_merc.training.task import Task, make_task

__all__ = ["SavedRun", "add_test", "add_test_locked", "now", "open_run", "score_table", "write_run"]


def now() -> str:
    """The time, as run folders write it."""
    return datetime.now(UTC).isoformat(timespec="seconds")


@dataclass(frozen=True)
class SavedRun:
    """A finished run.

    Attributes:
        path: its folder.
        settings: resolved.
        data: what ``data.json`` holds.
        metrics: what ``metrics.json`` holds.
    """

    path: Path
    settings: Settings
    data: Mapping[str, Any]
    metrics: Mapping[str, Any]

    @property
    def spec(self) -> GraphSpec:
        """Who is connected, as the model was trained with."""
        return GraphSpec.from_json(self.data["spec"])

    @property
    def names(self) -> tuple[str, ...]:
        """The C classes."""
        return self.task.names

    @property
    def task(self) -> Task:
        """What was learnt."""
        return make_task(self.settings.data.learn, self.data["target"], self.data["labels"], self.data.get("bounds"))

    @property
    def characters(self) -> list[str]:
        """The speakers whom the model knows by name; on another corpus, whoever is called the same."""
        return list(self.data.get("characters", ()))

    @property
    def recipes(self) -> dict[str, Recipe]:
        """Modality -> what made its vectors, of those where that is known: new conversations are looked at in the same way."""
        return {m: Recipe.from_json(table, str(self.path / "data.json")) for m, table in self.data.get("recipes", {}).items()}

    @property
    def heard(self) -> dict[str, int]:
        """Modality -> numbers of an utterance that the model hears; ``data["widths"]`` are those that come in."""
        return dict(self.data.get("heard", self.data["widths"]))

    @cached_property
    def predictions(self) -> pd.DataFrame:
        """What ``predictions.parquet`` holds.

        Raises:
            InputError: it is damaged.
        """
        table = read_parquet(self.path / "predictions.parquet")
        needed = ["split", "dialogue_id", "position", *self.task.columns]
        missing = [column for column in needed if column not in table]
        where = at(self.path / "predictions.parquet")
        if missing:
            raise InputError(f"{where}expected the columns {', '.join(needed)}; missing: {', '.join(missing)}")
        if self.task.bounds:
            signs = sign_labels(pd.to_numeric(table["score"], errors="coerce").to_numpy(dtype=np.float64))
            if (places_of(table["label"], self.names) != signs).any():
                raise InputError(f"{where}expected labels that are the signs of scores, found others; fit again")
        splits = self.data["division"]["splits"]
        for split, part in table.groupby("split"):
            judged = part.loc[part["label"].notna(), ["dialogue_id", "position", "label"]]
            if split not in splits or judged_sha256(judged) != splits[split]["sha256"] or not part["predicted"].isin(self.names).all():
                raise InputError(f"{where}expected the utterances and classes of the run, found others; fit again")
        return table

    def model(self, device: str = "cpu") -> Model:
        """The model, with its weights.

        Raises:
            InputError: the weights are missing, damaged, or not this model's.
        """
        given = ModelInput(self.heard, self.task.outputs, self.spec, self.settings.seed, len(self.characters))
        model = build_model(self.settings.model, given, self.settings.options)
        path = self.path / "weights.safetensors"
        try:
            model.load_state_dict(load(path.read_bytes()))
        except (SafetensorError, RuntimeError, FileNotFoundError) as error:
            raise InputError(
                f"{at(path)}expected the weights of {self.settings.model}, found a fault ({str(error).splitlines()[0]})"
            ) from None
        return model.to(device)

    def scaling(self) -> Scaling:
        """How features are scaled and reduced before the model sees them.

        Raises:
            InputError: it is missing, damaged, or not this run's.
        """
        path = self.path / "scaling.safetensors"
        try:
            arrays = load_arrays(path.read_bytes())
        except (SafetensorError, FileNotFoundError) as error:
            raise InputError(f"{at(path)}expected the scaling of the run, found a fault ({error})") from None
        try:
            return Scaling.of_arrays(arrays, self.settings.data.scaling, self.data["widths"], self.heard)
        except InputError as error:
            raise InputError(f"{at(path)}{error}; fit again") from None

    def check_test(self, corpus: Corpus) -> None:
        """Whether test can be evaluated, without looking at it.

        Raises:
            InputError: a damaged file of the run, another corpus, or no labelled test utterance.
        """
        self.model()
        self.dialogue_data(self.division(corpus).corpus)
        _ = self.predictions
        for name in ("environment", "history"):
            read_json(self.path / f"{name}.json")
        if not self.data["division"]["splits"]["test"].get("labelled"):
            raise InputError(f"{at(self.path)}expected a labelled test utterance to evaluate, found none")

    def dialogue_data(self, corpus: Corpus, drop: Flags | None = None) -> DialogueData:
        """A corpus as this run's model takes it.

        Args:
            corpus: with the run's modalities and widths, and its target of the same classes, or of the same bounds.
            drop: [U, M] modalities to take away.

        Raises:
            InputError: names what does not fit.
        """
        where = at(corpus.path or corpus.name)
        for m, width in self.data["widths"].items():
            if m not in corpus.modalities:
                raise InputError(
                    f"{where}expected the modality {m}, which {self.path} was trained with; found {', '.join(corpus.modalities)}"
                )
            if corpus.modalities[m].width != width:
                raise InputError(
                    f"{where}{m}: expected vectors of width {width}, as {self.path} was trained with; found {corpus.modalities[m].width}"
                )
        task = self.task
        found = corpus.targets.get(task.target)
        if found is None or found.to_json() != task.kind.to_json():
            said = found or "no such target"
            raise InputError(f"{where}{task.target}: expected {task.kind}, as {self.path} was trained with; found {said}")
        return DialogueData(corpus, self.spec, self.scaling(), task.target, drop, self.characters, self.settings.data.learn)

    def division(self, corpus: Corpus) -> Division:
        """The run's splits of its own corpus.

        Raises:
            InputError: not the corpus it was trained on, or other splits than it was trained with.
        """
        if corpus.content_sha256 != self.data["corpus"]["content_sha256"]:
            raise InputError(f"{at(corpus.path or corpus.name)}not the corpus that {self.path} was trained on, or another state of it")
        division = divide(corpus, self.task.target, self.settings.data)
        if division.to_json(self.task.target) != self.data["division"]:
            raise InputError(f"{at(self.path)}its splits can't be drawn again (drawn by another version of numpy?)")
        return division

    def unseen(self, corpus: Corpus) -> np.ndarray[Any, np.dtype[np.int64]]:
        """The numbers of the dialogues that nobody may look at yet: its test split, if this is its corpus and test was not evaluated."""
        if self.metrics["test_evaluated"] or self.data["corpus"]["content_sha256"] != corpus.content_sha256:
            return np.zeros(0, dtype=np.int64)
        return self.division(corpus).corpus.in_split("test")


def open_run(path: Path) -> SavedRun:
    """Open the folder of a finished run.

    Raises:
        InputError: not a run, or one that is damaged.
    """
    if not (path / "metrics.json").is_file():
        inside = next((p.parent for p in sorted(path.glob("**/metrics.json"))), None) if path.is_dir() else None
        hint = f"name one of its runs, such as {inside}" if inside else "`dglmerc fit` makes one"
        raise InputError(f"{at(path)}expected the folder of a run with metrics.json in it, found none; {hint}")
    config, data, metrics = (read_json(path / f"{name}.json") for name in ("config", "data", "metrics"))
    settings = Settings.from_json(config, str(path / "config.json"))
    check_entries(path, settings.data.learn, data, metrics)
    return SavedRun(path, settings, data, metrics)


@dataclass(frozen=True)
class Papers:
    """What a run folder says of the run, as JSON.

    Attributes:
        config: settings.
        data: hashes, spec, classes, splits.
        environment: versions, machine, command, time.
    """

    config: Mapping[str, Any]
    data: Mapping[str, Any]
    environment: Mapping[str, Any]


@dataclass(frozen=True)
class RunParts:
    """What a run is made of.

    Attributes:
        model: once trained, with the weights that dev chose.
        data: features, labels, scaling.
        division: who trains, who chooses, who is tested.
        device: where the model is.
    """

    model: Model
    data: DialogueData
    division: Division
    device: str


def write_run(
    folder: Path, name: Path, papers: Papers, parts: RunParts, trained: Trained, *, test: bool, in_depth: bool = False
) -> dict[str, Any]:
    """Predict, measure, and write everything, figures and report last.

    Args:
        folder: to fill.
        name: where it will stand.
        papers: what is said of the run.
        parts: with the trained model.
        trained: what the loop says.
        test: whether test is evaluated. This is where test is seen.
        in_depth: also what :mod:`dgl_merc.training.in_depth` makes.

    Returns:
        What ``metrics.json`` holds.
    """
    model, data = parts.model, parts.data
    shown = {s: d for s, d in parts.division.dialogues().items() if test or s != "test"}
    predictions = prediction_table(model, data, shown, device=parts.device)
    metrics = training_metrics(trained, model, parts.device)
    metrics["test_evaluated"] = now() if "test" in set(predictions["split"]) else None
    metrics["splits"] = score_table(predictions, data.task)
    metrics |= _ceiling(data.corpus, data.spec, papers.data, metrics["splits"])
    metrics |= reduction_facts(data)
    metrics["corpus"] = corpus_facts(data, parts.division.dialogues())
    for key in ("config", "data", "environment"):
        write_json(folder / f"{key}.json", getattr(papers, key))
    write_json(folder / "history.json", {"looks": [{**asdict(e), "epoch": whole(e.epoch)} for e in trained.history]})
    write_bytes(folder / "predictions.parquet", predictions.to_parquet(None, index=False))
    # bytes, then a file: safetensors' own writer has an error of its own for a full disk
    write_bytes(folder / "weights.safetensors", save({k: v.detach().cpu().contiguous() for k, v in model.state_dict().items()}))
    write_bytes(folder / "scaling.safetensors", save_arrays(data.scaling.arrays()))
    write_json(folder / "metrics.json", metrics)
    if in_depth:
        write_in_depth(folder, model, data, shown, predictions, metrics, device=parts.device)
    write_report(folder, name)
    return metrics


def score_table(predictions: pd.DataFrame, task: Task) -> dict[str, Any]:
    """Split -> everything that is measured of it; ``sentiment`` of a target of scores."""
    found: dict[str, Any] = {}
    for split, part in predictions.groupby("split", sort=False):
        found[str(split)] = {**evaluate_predictions(part, task.names), **evaluate_uncertainty(part, task.names)}
        if task.bounds:
            found[str(split)]["sentiment"] = evaluate_sentiment(part, task.bounds)
    return found


def add_test(run: SavedRun, corpus: Corpus, *, device: str = "cpu") -> dict[str, Any]:
    """Evaluate test, for a run that was made without; where it was evaluated before, nothing happens.

    Args:
        run: finished.
        corpus: the one it was trained on.
        device: where to compute.

    Returns:
        What ``metrics.json`` holds then.

    Raises:
        InputError: another corpus, or another process is at the run.
    """
    with locked(run.path, "evaluating test"):
        return add_test_locked(open_run(run.path), corpus, device=device)


def add_test_locked(run: SavedRun, corpus: Corpus, *, device: str = "cpu") -> dict[str, Any]:
    """:func:`add_test` for who holds the run's lock."""
    for left in run.path.rglob(".*.partial"):  # of an attempt that was cut off
        left.unlink()
    metrics = dict(run.metrics)
    if metrics["test_evaluated"]:
        return metrics
    division = run.division(corpus)
    test = {"test": division.dialogues()["test"]}
    if not len(test["test"]):
        return metrics
    data = run.dialogue_data(division.corpus)
    table = prediction_table(run.model(device), data, test, device=device)
    kept = run.predictions[run.predictions["split"] != "test"]
    metrics["splits"] = {**metrics["splits"], **score_table(table, data.task)}
    metrics |= _ceiling(data.corpus, data.spec, run.data, metrics["splits"])
    metrics["test_evaluated"] = now()
    write_bytes(run.path / "predictions.parquet", pd.concat([kept, table], ignore_index=True).to_parquet(None, index=False))
    write_report(run.path, metrics=metrics)
    write_json(run.path / "metrics.json", metrics)  # last: until it says so, test counts as unseen and all of this is done again
    return metrics


def _ceiling(corpus: Corpus, spec: GraphSpec, about: Mapping[str, Any], splits: Mapping[str, Any]) -> dict[str, Any]:
    """How far the run is from the best possible score, where that is known of the corpus's own test split."""
    test = splits.get("test")
    if about["target"] != "emotion" or about["division"]["fold"] or not test or not test["utterances"]:
        return {}
    ceiling = ceiling_of(corpus, spec.modalities, causal=spec.causal)
    if not ceiling:
        return {}
    distances = {f"distance_{key}": ceiling[key] - test[key] for key in ("weighted_f1", "accuracy")}
    return {"ceiling": {"mode": "causal" if spec.causal else "offline", **ceiling, **distances}}
