"""What a model says of its uncertainty, from its forward to the table, the measures and the page of its run."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from test_breakdown_report import Sections
from torch import Tensor, nn

from dgl_merc.corpus import Corpus, Scaling
from dgl_merc.corpus.synthetic import synthetic_corpus
from dgl_merc.evaluation.breakdown import evaluate_predictions
from dgl_merc.evaluation.uncertainty import evaluate_uncertainty
from dgl_merc.graphs import GraphSpec, Structure
from dgl_merc.models import Model, Output
from dgl_merc.models.bilstm import BiLSTM
from dgl_merc.reports.run_report import write_report
from dgl_merc.reports.uncertainty import uncertainty_figure, uncertainty_page
from dgl_merc.studies.compare import compare
from dgl_merc.studies.systems import open_system
from dgl_merc.training import fit, load_settings
from dgl_merc.training import prediction as prediction_module
from dgl_merc.training.data import DialogueData
from dgl_merc.training.evaluate import evaluate_runs
from dgl_merc.training.prediction import predict, prediction_table
from dgl_merc.training.run_folder import add_test, open_run, score_table
from dgl_merc.training.task import make_task

pytestmark = pytest.mark.xdist_group("uncertainty_report")  # its runs are made once

SPEC = GraphSpec(("text", "audio", "visual"))
WORDS = ["model.hidden=4", "training.max_epochs=1", "training.batch_size=8"]
SIGMAS, WEIGHTS = ([f"{kind}_{m}" for m in SPEC.modalities] for kind in ("sigma", "weight"))


@pytest.fixture(scope="module")
def corpus() -> Corpus:
    return synthetic_corpus(2, (4, 3, 24), with_ceilings=False)


def rows_of(corpus: Corpus, s: Structure) -> Any:
    o = corpus.offsets
    return np.concatenate([np.arange(o[d], o[d + 1]) for d in s.keys.tolist()])


class Stub(Model):
    """Gives each utterance of a corpus, by its row, its class and its details."""

    def __init__(self, corpus: Corpus, says: Callable[[Any], Mapping[str, Tensor]], right: Any = None) -> None:
        super().__init__()
        self.corpus, self.says, self.scale = corpus, says, nn.Parameter(torch.ones(()))
        names = list(corpus.targets["emotion"].labels)
        felt = np.array([names.index(y) if isinstance(y, str) else 0 for y in corpus.utterances["emotion"].to_numpy(dtype=object)])
        self.answers = np.where(np.ones(len(felt), dtype=bool) if right is None else right, felt, (felt + 1) % len(names))

    def forward(self, structure: Structure, features: Any, *, step: int = 0, labels: Any = None) -> Output:
        rows = rows_of(self.corpus, structure)
        logits = self.scale * nn.functional.one_hot(torch.as_tensor(self.answers[rows]), 6)
        return Output(logits, {}, {} if self.training else self.says(rows))


def table_by(corpus: Corpus, model: Model, splits: tuple[str, ...] = ("dev", "test")) -> pd.DataFrame:
    data = DialogueData(corpus, SPEC, Scaling.fit(corpus), "emotion")
    return prediction_table(model, data, {s: corpus.in_split(s) for s in splits})


# ---- the table


def test_details_are_further_columns_of_their_utterances(corpus, monkeypatch):
    monkeypatch.setattr(prediction_module, "_EVALUATION_BATCH", 5)
    said = torch.arange(len(corpus.utterances), dtype=torch.float64) / 7
    said[::3] = torch.nan
    found = table_by(corpus, Stub(corpus, lambda rows: {"sigma_text": said[rows], "row": torch.as_tensor(rows)}))
    plain = table_by(corpus, Stub(corpus, lambda rows: {}))
    assert list(found.columns) == [*plain.columns, "sigma_text", "row"]
    pd.testing.assert_frame_equal(found[plain.columns], plain)
    rows = np.flatnonzero(np.isin(corpus.utterances["split"].to_numpy(dtype=object), ["dev", "test"]))
    assert len(rows) > 5
    np.testing.assert_array_equal(found["row"], rows)
    np.testing.assert_array_equal(found["sigma_text"], said.numpy()[rows].astype(np.float32))
    assert found.dtypes[["sigma_text", "row"]].tolist() == [np.float32, np.float32]


def test_splits_without_dialogues_have_no_rows(corpus):
    model = Stub(corpus, lambda rows: {"sigma_text": torch.as_tensor(rows)})
    data = DialogueData(corpus, SPEC, Scaling.fit(corpus), "emotion")
    none = np.zeros(0, dtype=np.int64)
    found = prediction_table(model, data, {"train": none, "dev": corpus.in_split("dev"), "test": none})
    pd.testing.assert_frame_equal(found, table_by(corpus, model, ("dev",)))
    assert predict(model, data, none).details == {}


@pytest.mark.parametrize(
    ("says", "message"),
    [
        (lambda rows: {"x": torch.zeros(len(rows) + 1)}, r"details\['x'\] must be \[U=\d+\], got \[\d+\]"),
        (lambda rows: {"x": torch.zeros(len(rows), 1)}, r"details\['x'\] must be \[U=\d+\], got \[\d+, 1\]"),
        (lambda rows: {"p_happy": torch.zeros(len(rows)), "y": torch.zeros(len(rows))}, r"details \['p_happy'\]: .* call them otherwise"),
        (lambda rows: {"speaker": torch.zeros(len(rows))}, r"details \['speaker'\]: the table"),
        (lambda rows: {"split": torch.zeros(len(rows))}, r"details \['split'\]: the table"),
        (lambda rows: {f"x{rows[0]}": torch.zeros(len(rows))}, r"same names in every batch, got \['x\d+'\] and \['x\d+'\]"),
    ],
)
def test_details_that_do_not_fit_are_named(corpus, monkeypatch, says, message):
    monkeypatch.setattr(prediction_module, "_EVALUATION_BATCH", 2)
    with pytest.raises(ValueError, match=message):
        table_by(corpus, Stub(corpus, says), ("dev",))


# ---- a run of a model that tells


def telling(monkeypatch: pytest.MonkeyPatch) -> None:
    """The reference model says as much as SGRNet: norms and weights, NaN where the modality is absent."""
    silent = BiLSTM.forward

    def forward(self: BiLSTM, structure: Structure, features: Any, **given: Any) -> Output:
        output = silent(self, structure, features, **given)
        if self.training:
            return output
        details, presence = {}, structure.presence
        for k, m in enumerate(SPEC.modalities):
            details[f"sigma_{m}"] = torch.where(presence[:, k], output.logits[:, k].exp(), torch.nan)
        for k, m in enumerate(SPEC.modalities):
            details[f"weight_{m}"] = torch.where(presence[:, k], 1 / presence.sum(1), torch.nan)
        return Output(output.logits, output.losses, details)

    monkeypatch.setattr(BiLSTM, "forward", forward)


def test_a_run_keeps_them_and_everything_reads_it(corpus, tmp_path, monkeypatch):
    telling(monkeypatch)
    out = tmp_path / "a"
    fit(corpus, SPEC, load_settings("bilstm", WORDS), out, test=False)
    assert "uncertainty" in open_run(out).metrics["splits"]["dev"]
    metrics = add_test(open_run(out), corpus)
    run = open_run(out)
    table = run.predictions
    assert list(table.columns[-6:]) == [*SIGMAS, *WEIGHTS]
    assert set(table["split"]) == {"train", "dev", "test"}
    places = [list(corpus.modalities).index(m) for m in SPEC.modalities]
    for columns in (SIGMAS, WEIGHTS):
        np.testing.assert_array_equal(table[columns].notna().to_numpy(), corpus.presence[:, places])
    np.testing.assert_allclose(table[WEIGHTS].sum(axis=1)[corpus.presence.any(axis=1)], 1, atol=1e-6)
    for split, part in table.groupby("split"):
        assert metrics["splits"][split] == {**evaluate_predictions(part, run.names), **evaluate_uncertainty(part, run.names)}
    assert json.loads((out / "metrics.json").read_text(encoding="utf-8"))["splits"] == metrics["splits"]
    scores, again = evaluate_runs([run], corpus, "test")
    assert scores["uncertainty"]["text"]["sigma"]["auroc"] == pytest.approx(
        metrics["splits"]["test"]["uncertainty"]["text"]["sigma"]["auroc"]
    )
    assert list(again.columns) == list(table.columns)
    fit(corpus, SPEC, load_settings("bilstm", [*WORDS, "training.lr=.05"]), tmp_path / "b")
    held = compare([open_system(tmp_path / "a"), open_system(tmp_path / "b")], resamples=50)
    assert held.scores[0] == pytest.approx((metrics["splits"]["test"]["weighted_f1"],))
    assert (out / "figures/uncertainty.png").is_file()
    shown, page = metrics["splits"]["test"]["uncertainty"], (out / "report.html").read_text(encoding="utf-8")
    head, *rows = [r for r in Sections(page).rows["Uncertainty, on test"] if r[0] in SPEC.modalities or "error" in r]
    assert head[0] == "modality"
    assert rows[:3] == uncertainty_page(shown)["errors"]
    assert rows[3:] == uncertainty_page(shown)["weights"]


# ---- the page


@pytest.fixture(scope="module")
def silent(corpus, tmp_path_factory) -> Path:
    """The run of a model that says nothing of its uncertainty."""
    out = tmp_path_factory.mktemp("silent") / "run"
    fit(corpus, SPEC, load_settings("bilstm", WORDS), out)
    return out


def test_a_model_without_details_has_no_such_section(silent):
    page = (silent / "report.html").read_text(encoding="utf-8")
    assert "ncertainty" not in page
    assert not (silent / "figures/uncertainty.png").exists()
    assert all("uncertainty" not in row for row in json.loads((silent / "metrics.json").read_text(encoding="utf-8"))["splits"].values())
    between = page[page.index("Bins of few utterances are noisy.") : page.index("<h2>Splits</h2>")]
    assert between == "Bins of few utterances are noisy.</figcaption></figure>\n\n", "not even an empty line more"


def page_of(silent: Path, folder: Path, table: pd.DataFrame, names: tuple[str, ...]) -> tuple[dict[str, Any], Sections]:
    """The page of a run with other predictions."""
    shutil.copytree(silent, folder)
    metrics = json.loads((folder / "metrics.json").read_text(encoding="utf-8"))
    metrics["splits"] |= score_table(table, make_task("classes", "emotion", names, None))
    write_report(folder, metrics=metrics)
    return metrics["splits"]["test"]["uncertainty"], Sections((folder / "report.html").read_text(encoding="utf-8"))


def test_the_page_says_whether_it_says_anything(corpus, silent, tmp_path):
    rng = np.random.default_rng(3)
    n = len(corpus.utterances)
    right = rng.random(n) < 0.6
    noise = rng.normal(5, 1, (3, n))
    sigmas = {m: torch.as_tensor(noise[k] + sign * ~right) for k, (m, sign) in enumerate(zip(SPEC.modalities, (0, 1, -1), strict=True))}
    weights = {m: torch.as_tensor(np.where(right, r, w)) for m, r, w in (("text", 0.5, 0.25), ("audio", 0.25, 0.5), ("visual", 0.25, 0.25))}

    def says(rows: Any) -> dict[str, Tensor]:
        return {f"{kind}_{m}": v[rows] for kind, of in (("sigma", sigmas), ("weight", weights)) for m, v in of.items()}

    table = table_by(corpus, Stub(corpus, says, right))
    shown, page = page_of(silent, tmp_path / "run", table, corpus.targets["emotion"].labels)
    text = " ".join(page.text["Uncertainty, on test"].split())
    for m, verdict in (
        ("text", "says nothing of errors here"),
        ("audio", "the larger, the more errors"),
        ("visual", "the larger, the fewer errors"),
    ):
        row = shown[m]["sigma"]
        auroc, low, high = (f"{v:.2f}".removeprefix("0") for v in (row["auroc"], *row["interval"]))
        assert f"{m}: {verdict} (AUROC {auroc}, 95 % {low} to {high})" in text
        (cells,) = [r for r in page.rows["Uncertainty, on test"] if r[0] == m and len(r) == 7]
        free = [f"{v:.2f}".removeprefix("0") for v in (row["confidence"]["auroc"], *row["confidence"]["interval"])]
        assert cells[1:4] == [str(row["utterances"]), f"{auroc} ({low} to {high})", "{} ({} to {})".format(*free)]
        assert cells[4:] == [f"{v:.1f}" for v in (row["error"], row["aurc"], row["confidence"]["aurc"])]
    assert [r for r in page.rows["Uncertainty, on test"] if len(r) == 4][1:] == [
        ["text", f"{shown['text']['weight']['all']:.2f}".removeprefix("0"), ".50", ".25"],
        ["audio", f"{shown['audio']['weight']['all']:.2f}".removeprefix("0"), ".25", ".50"],
        ["visual", ".25", ".25", ".25"],
    ]
    assert len(page.images["Uncertainty, on test"]) == 1


def test_too_little_to_tell_is_said(corpus, silent, tmp_path):
    right = np.arange(len(corpus.utterances)) % 97 > 0

    def says(rows: Any) -> dict[str, Tensor]:
        return {"sigma_text": torch.as_tensor(rows), "sigma_audio": torch.full((len(rows),), torch.nan)}

    table = table_by(corpus, Stub(corpus, says, right))
    shown, page = page_of(silent, tmp_path / "run", table, corpus.targets["emotion"].labels)
    wrong, n = shown["text"]["sigma"]["wrong"], shown["text"]["sigma"]["utterances"]
    assert 0 < wrong < 10
    text = " ".join(page.text["Uncertainty, on test"].split())
    assert f"text: too few answers to tell ({wrong} wrong, {n - wrong} right)" in text
    assert "audio: too few answers to tell (0 wrong, 0 right)" in text
    assert ["audio", "0", "–", "–", "–", "–", "–"] in page.rows["Uncertainty, on test"]
    assert "mean weight" not in text


def test_nothing_to_show_is_no_section():
    nothing = {"text": {"sigma": None, "weight": {"utterances": 0, "all": None, "right": None, "wrong": None}}}
    assert uncertainty_page({}) == uncertainty_page(nothing) == {"sentences": [], "errors": [], "weights": []}


def test_what_is_not_a_half_does_not_look_like_one():
    row = {"utterances": 90, "wrong": 40, "error": 44.4, "says": "more errors", "auroc": 0.5, "interval": [0.5012, 1.0], "aurc": 1.0}
    (found,) = uncertainty_page({"text": {"sigma": {**row, "confidence": None, "bins": []}, "weight": None}})["errors"]
    assert found == ["text", "90", ".50 (.501 to 1.00)", "–", "44.4", "1.0", "–"]


# ---- the figure


def bins_of(counts: tuple[int, ...]) -> dict[str, Any]:
    bins = [{"low": k, "high": k + 1, "mean": k + 0.4, "utterances": n, "error": 10.0 * k + 5} for k, n in enumerate(counts)]
    return {"sigma": {"error": 21.0, "bins": bins}, "weight": None}


def test_the_figure_shows_the_bins_of_each_modality():
    nothing: dict[str, Any] = {"sigma": {"error": None, "bins": []}, "weight": None}
    shown = {
        "text": bins_of((12, 11, 11)),
        "face": nothing,
        "$x_{$": bins_of((30, 3)),
        "one": bins_of((8,)),
        "w": {"sigma": None, "weight": {}},
    }
    panels = uncertainty_figure(shown).axes
    assert [axes.get_title(loc="left") for axes in panels] == [
        "text: 3 bins of 11 to 12 utterances", "$x_{$: 2 bins of 3 to 30 utterances", "one: 1 bin of 8 utterances",
    ]  # fmt: skip
    for axes, m in zip(panels, ("text", "$x_{$", "one"), strict=True):
        points, overall = axes.lines
        assert points.get_xydata().tolist() == [[b["mean"], b["error"]] for b in shown[m]["sigma"]["bins"]]
        assert list(overall.get_ydata()) == [21.0, 21.0]
        assert overall.get_linestyle() == "--"
        assert axes.get_ylim()[0] == 0
    assert [[t.get_text() for t in axes.texts] for axes in panels] == [[], ["30", "3"], []], "counts that differ are said one by one"
