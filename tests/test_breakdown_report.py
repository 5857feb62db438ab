"""Where a model is right and where not, as the report of its run shows it: the numbers of metrics.json, and text that stays text."""

from __future__ import annotations

import json
from base64 import b64encode
from html.parser import HTMLParser
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from matplotlib.image import imread

from dgl_merc.corpus import Corpus
from dgl_merc.corpus.synthetic import synthetic_corpus
from dgl_merc.evaluation.breakdown import evaluate_predictions
from dgl_merc.graphs import GraphSpec
from dgl_merc.reports.figures import calibration_figure, curves_figure
from dgl_merc.training import fit, load_settings

HOSTILE = (
    "<script>alert(1)</script>", "{{ 7 * 7 }}", "&lt;b&gt;", "</td></tr></table>", "'\"><img src=x onerror=y>", "$x_{$", "(others: 3)",
    "{% raw %}", "a\\b", "</style><style>*{display:none}", "<!--", "Ann", "Bo",
)  # fmt: skip


class Sections(HTMLParser):
    """Of a page: heading -> rows of cells, heading -> all text, and the images."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.rows: dict[str, list[list[str]]] = {}
        self.text: dict[str, str] = {}
        self.images: dict[str, list[str]] = {}
        self.heading, self.path = "", [""]
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.path.append(tag)
        if tag == "h2":
            self.heading = ""
        elif tag == "tr":
            self.rows.setdefault(self.heading, []).append([])
        elif tag in ("td", "th"):
            self.rows[self.heading][-1].append("")
        elif tag == "img":
            self.images.setdefault(self.heading, []).append(dict(attrs)["src"] or "")

    def handle_endtag(self, tag: str) -> None:
        self.path.append("")

    def handle_data(self, data: str) -> None:
        if self.path[-1] == "h2":
            self.heading += data
        elif self.path[-1] in ("td", "th"):
            self.rows[self.heading][-1][-1] += data
        self.text[self.heading] = self.text.get(self.heading, "") + data


def hostile_run(folder: Path, *, with_test: bool) -> tuple[dict[str, Any], str]:
    """A run over a corpus whose speakers try to be markup: its metrics and its page."""
    corpus = synthetic_corpus(1, (8, 4, 4), with_ceilings=False)
    speakers = [HOSTILE[k % len(HOSTILE)] for k in pd.factorize(corpus.utterances["speaker"])[0]]
    table = corpus.utterances.assign(speaker=speakers)
    kept = np.ones(len(table), dtype=bool) if with_test else (table["split"] != "test").to_numpy()
    features = {m: x[kept[corpus.presence[:, k]]] for k, (m, x) in enumerate(corpus.features.items())}
    corpus = Corpus.build("hostile", table[kept], features, corpus.targets)
    words = ["model.hidden=8", "training.max_epochs=2", "training.lr=.01"]
    metrics = fit(corpus, GraphSpec(tuple(corpus.modalities)), load_settings("bilstm", words), folder / "out")
    return metrics, (folder / "out" / "report.html").read_text(encoding="utf-8")


def drawn(calibration: dict[str, Any]) -> bytes:
    calibration_figure(calibration).savefig(file := BytesIO(), format="png", dpi=160)
    return file.getvalue()


def pixels(picture: bytes) -> Any:
    return imread(BytesIO(picture), format="png")


@pytest.mark.parametrize("split", ["test", "dev"])
def test_the_report_shows_where_the_model_is_right(tmp_path, split):
    metrics, page = hostile_run(tmp_path, with_test=split == "test")
    table = pd.read_parquet(tmp_path / "out" / "predictions.parquet")
    names = json.loads((tmp_path / "out" / "data.json").read_text(encoding="utf-8"))["labels"]
    for name, part in table.groupby("split"):
        assert metrics["splits"][name] == evaluate_predictions(part, names), "metrics.json has these measures of every split"
    assert json.loads((tmp_path / "out" / "metrics.json").read_text(encoding="utf-8"))["splits"] == metrics["splits"]
    shown, found = metrics["splits"][split], Sections(page)
    for heading, kind in (("Emotion shift", "shift"), ("Turn position", "positions"), ("Speakers", "speakers")):
        head, *rows = found.rows[f"{heading}, on {split}"]
        assert head[1:] == ["utterances", "accuracy", "weighted F1"]
        assert rows == [
            [name, str(row["utterances"]), *("–" if row[m] is None else f"{row[m]:.1f}" for m in ("accuracy", "weighted_f1"))]
            for name, row in shown[kind].items()
        ]
    said = " ".join(found.text[f"Calibration, on {split}"].split())
    assert f"The expected calibration error is {shown['calibration']['ece']:.1f} points" in said
    (image,) = found.images[f"Calibration, on {split}"]
    picture = (tmp_path / "out" / "figures" / "calibration.png").read_bytes()
    assert image == "data:image/png;base64," + b64encode(picture).decode()
    assert np.array_equal(pixels(picture), pixels(drawn(shown["calibration"]))), "the picture is of the same split"
    if split == "test":  # what tries to be markup was there to be shown, as text
        spoken_names = set(table.loc[table["split"] == split, "speaker"])
        assert len(set(shown["speakers"]) & set(HOSTILE)) == min(10, len(spoken_names)) >= 8
    for raw in HOSTILE[:1] + HOSTILE[3:5] + HOSTILE[9:11]:
        assert raw not in page


def test_an_unlabelled_split_has_no_such_sections(tmp_path):
    corpus = synthetic_corpus(1, (8, 3, 3), with_ceilings=False)
    unlabelled = corpus.utterances["emotion"].where(corpus.utterances["split"] != "test")
    corpus = Corpus.build("x", corpus.utterances.assign(emotion=unlabelled), corpus.features, corpus.targets)
    words = ["model.hidden=8", "training.max_epochs=1"]
    metrics = fit(corpus, GraphSpec(tuple(corpus.modalities)), load_settings("bilstm", words), tmp_path / "out")
    assert metrics["splits"]["test"]["calibration"] == {"ece": None, "bins": []}
    found = Sections((tmp_path / "out" / "report.html").read_text(encoding="utf-8"))
    assert not [h for h in found.text if h.startswith(("Emotion shift", "Speakers", "Turn position", "Calibration"))]
    assert not (tmp_path / "out" / "figures" / "calibration.png").exists()


def test_the_calibration_figure_shows_the_bins():
    rng = np.random.default_rng(0)
    p = rng.uniform(0.3, 1, 60)
    table = pd.DataFrame({"dialogue_id": "d", "position": np.arange(60), "speaker": "A", "predicted": "joy", "p_joy": p, "p_fear": 1 - p})
    calibration = evaluate_predictions(table.assign(label=rng.choice(["joy", "fear"], 60)), ["joy", "fear"])["calibration"]
    bins = [row for row in calibration["bins"] if row["utterances"]]
    above, below = calibration_figure(calibration).axes
    for axes, key in ((above, "accuracy"), (below, "utterances")):
        assert [p.get_height() for p in axes.patches] == pytest.approx([row[key] for row in bins])
        assert [p.get_x() + p.get_width() / 2 for p in axes.patches] == pytest.approx([(row["low"] + row["high"]) / 2 for row in bins])
    assert [t.get_text() for t in below.texts] == [str(row["utterances"]) for row in bins]
    lines = {line.get_label(): line.get_xydata().tolist() for line in above.lines}
    assert lines["perfect calibration"] == [[0, 0], [100, 100]]
    assert [[row["confidence"], row["accuracy"]] for row in bins] in list(lines.values())
    (distances,) = above.collections
    ends = [segment[:, 1].tolist() for segment in distances.get_segments()]
    assert ends == [[row["confidence"], row["accuracy"]] for row in bins]


@pytest.mark.parametrize(("epoch", "said"), [(3, "chosen: epoch 3, 51.2"), (2900 / 19, "chosen: epoch 152.6, 51.2")])
def test_the_chosen_epoch_is_said_in_few_digits(epoch, said):
    history = [{"epoch": e, "loss": 1.0, "dev_weighted_f1": 50 + e / epoch * 1.234} for e in (epoch / 2, epoch)]
    figure = curves_figure(history, epoch)
    assert said in [text.get_text() for axes in figure.axes for text in axes.texts]
