"""``dglmerc report`` and the model card: everything again, of old runs too, no score changed, no test seen, no number made up."""

from __future__ import annotations

import json
import re
import shutil
from html import unescape
from pathlib import Path
from typing import Any

import pytest
from cli_cases import assert_one_line, good, run
from sentiment_cases import read, scored_corpus
from sentiment_cases import run as fit_scored
from study_cases import SMALL

from dgl_merc.corpus import Corpus, Target, open_corpus, save_corpus
from dgl_merc.corpus.synthetic import synthetic_corpus
from dgl_merc.errors import InputError
from dgl_merc.graphs import GraphSpec
from dgl_merc.models import MODELS
from dgl_merc.reports.model_card import _PAPERS, LAW, NOT_FOR, write_card
from dgl_merc.reports.run_report import write_report
from dgl_merc.training import fit, load_settings
from dgl_merc.training.run_folder import add_test, open_run

pytestmark = pytest.mark.xdist_group("report")  # its runs are made once

ROOT = Path(__file__).resolve().parents[1]
WORDS = [part for word in SMALL for part in ("--set", word)]
SCORES = ("accuracy", "weighted_f1", "macro_f1", "per_class", "confusion")
IN_DEPTH = ("contributions.json", "space.json", "space.parquet", "figures/contributions.png", "figures/space.png")


@pytest.fixture(scope="module")
def fitted(store: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of the command line, and one of a table whose test was not seen."""
    folder = tmp_path_factory.mktemp("fitted")
    good("fit", store, "--preset", "bilstm", *WORDS, "--out", folder / "run", "--device", "cpu")
    good("ablate", "bilstm", store, "--over", "model.hidden=4,5", *WORDS[2:], "--seeds", 1, "--jobs", 1, "--out", folder / "table")
    return folder


@pytest.fixture
def mine(fitted: Path, tmp_path: Path) -> Path:
    shutil.copytree(fitted / "run", tmp_path / "run")
    return tmp_path / "run"


def aged(folder: Path) -> None:
    """As an older version left it."""
    metrics = read(folder, "metrics")
    for key in ("memory", "corpus"):
        del metrics[key]
    for part in metrics["splits"].values():
        del part["weighted_f1_interval"]
    (folder / "metrics.json").write_text(json.dumps(metrics))
    for name in (*IN_DEPTH, "MODEL_CARD.md"):
        (folder / name).unlink(missing_ok=True)


def text_of(page: str) -> str:
    return " ".join(unescape(re.sub(r"<[^>]*>", " ", page)).split())


# ---- the command


def test_a_single_fit_makes_everything_and_a_table_does_not(fitted):
    for name in IN_DEPTH:
        assert (fitted / "run" / name).is_file(), name
    cells = sorted(p.parent for p in (fitted / "table").rglob("metrics.json"))
    assert len(cells) == 2
    for cell in cells:
        assert (cell / "MODEL_CARD.md").is_file()
        assert not [name for name in IN_DEPTH if (cell / name).exists()]
    page = (fitted / "run" / "report.html").read_text(encoding="utf-8")
    for heading in ("What each modality contributes, on test", "How the labels lie in space, on test", "Model card"):
        assert f"<h2>{heading}</h2>" in page
    metrics = read(fitted / "run", "metrics")
    assert f"peak memory {metrics['memory']['process'] / 2**20:.0f} MiB of the process." in text_of(page)
    low, high = metrics["splits"]["test"]["weighted_f1_interval"]
    assert f"Weighted F1 on test is between {low:.1f} and {high:.1f} (95 %, over dialogues)" in text_of(page)


def test_fit_says_what_text_alone_gives(store, tmp_path):
    lines = good("fit", store, "--preset", "bilstm", *WORDS, "--out", tmp_path / "a", "--device", "cpu")
    text = read(tmp_path / "a", "contributions")["alone"]["text"]
    said = f"- This model hearing text alone: weighted F1 {text['weighted_f1']:.2f} on test, {text['difference']['effect']:+.2f} ("
    assert [line.startswith(said) for line in lines].count(True) == 1


def test_a_report_again_is_the_same(mine):
    files = {p: p.read_bytes() for p in mine.rglob("*") if p.is_file()}
    lines = good("report", mine, "--device", "cpu")
    assert lines[-1] == f"Report: {mine / 'report.html'}, model card: {mine / 'MODEL_CARD.md'}"
    assert {p: p.read_bytes() for p in mine.rglob("*") if p.is_file()} == files


def test_an_old_run_gets_everything_and_keeps_its_numbers(mine):
    whole = {name: (mine / name).read_bytes() for name in IN_DEPTH}
    new = read(mine, "metrics")
    aged(mine)
    metrics = read(mine, "metrics")
    metrics["splits"]["test"]["weighted_f1"] += 1  # no number that is there changes, even one that this version would not write
    (mine / "metrics.json").write_text(json.dumps(metrics))
    write_report(mine)
    assert "What each modality contributes" not in (mine / "report.html").read_text(encoding="utf-8")
    assert "Peak memory" not in (mine / "MODEL_CARD.md").read_text(encoding="utf-8")
    good("report", mine, "--device", "cpu")
    assert {name: (mine / name).read_bytes() for name in IN_DEPTH} == whole
    after = read(mine, "metrics")
    assert after.pop("corpus") == new["corpus"]
    for split, part in after["splits"].items():
        assert part.pop("weighted_f1_interval") == new["splits"][split]["weighted_f1_interval"]
    assert after == metrics


def test_test_stays_unseen(fitted, store, tmp_path):
    source = next((fitted / "table").rglob("metrics.json")).parent
    shutil.copytree(source, tmp_path / "run")
    assert read(tmp_path / "run", "metrics")["test_evaluated"] is None
    good("report", tmp_path / "run", store, "--device", "cpu")
    metrics = read(tmp_path / "run", "metrics")
    assert metrics["test_evaluated"] is None
    assert set(metrics["splits"]) == {"train", "dev"}
    for name in ("contributions", "space"):
        assert read(tmp_path / "run", name)["split"] == "dev"
    card = (tmp_path / "run" / "MODEL_CARD.md").read_text(encoding="utf-8")
    assert "test was not looked at" in card
    assert "On dev, by class:" in card


def test_what_can_t_be_reported_is_one_line(mine, store, tmp_path):
    path = Path(read(mine, "data")["corpus"]["path"])
    before = {p: p.read_bytes() for p in mine.rglob("*") if p.is_file()}
    assert_one_line(run("report", tmp_path), "expected the folder of a run with metrics.json in it")
    assert_one_line(run("report", mine, tmp_path / "nowhere"), "nowhere")
    other = save_corpus(synthetic_corpus(9, (8, 3, 4), with_ceilings=False), tmp_path / "corpus")
    assert other.content_sha256 != open_corpus(path).content_sha256
    good("build-graphs", tmp_path / "corpus", tmp_path / "graphs", "--no-edges")
    assert_one_line(run("report", mine, tmp_path / "graphs"), "not the corpus that")
    assert_one_line(run("report", mine, "--device", "nonsense"), "--device nonsense")
    data = read(mine, "data")
    data["corpus"]["path"] = str(tmp_path / "gone")
    (mine / "data.json").write_text(json.dumps(data))
    assert_one_line(run("report", mine), "gone")
    (mine / "data.json").write_bytes(before[mine / "data.json"])
    assert {p: p.read_bytes() for p in mine.rglob("*") if p.is_file()} == before


@pytest.mark.parametrize("name", ["weights.safetensors", "predictions.parquet", "scaling.safetensors", "history.json"])
def test_a_damaged_run_is_one_line(mine, name):
    (mine / name).write_bytes((mine / name).read_bytes()[:-9])
    assert_one_line(run("report", mine), name)


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("contributions.json", "{"),
        ("contributions.json", '{"split": "test"}'),
        ("contributions.json", '{"split": "test", "modalities": ["text"], "all": 1, "without": {}, "alone": {}}'),
        ("space.json", "[]"),
        ("space.json", '{"split": "test"}'),
        ("space.parquet", "x"),
    ],
)
def test_what_was_damaged_is_named(mine, name, content):
    (mine / name).write_text(content)
    with pytest.raises(InputError, match=r"contributions\.json|space\.(json|parquet)"):
        write_report(mine)


def test_what_was_damaged_is_made_again(mine):
    names = ("contributions.json", "space.json", "space.parquet")
    whole = {name: (mine / name).read_bytes() for name in names}
    for name in names:
        (mine / name).write_text("x")
    good("report", mine, "--device", "cpu")
    assert {name: (mine / name).read_bytes() for name in names} == whole


def test_in_depth_files_may_be_missing(mine):
    for name in IN_DEPTH:
        (mine / name).unlink()
    write_report(mine)
    page = (mine / "report.html").read_text(encoding="utf-8")
    assert "How the labels lie" not in page
    assert "Text alone" not in page


def test_a_run_of_scores_is_of_its_own_task(tmp_path):
    corpus = scored_corpus((10, 4, 5))
    fit_scored(corpus, tmp_path / "run", in_depth=True)
    card = (tmp_path / "run" / "MODEL_CARD.md").read_text(encoding="utf-8")
    metrics = read(tmp_path / "run", "metrics")
    assert "a score of sentiment, whose sign is counted as negative or positive" in card
    assert f"Mean absolute error of the score on test: {metrics['splits']['test']['sentiment']['mean_absolute_error']:.3f} points" in card
    assert "calibration" not in card
    assert read(tmp_path / "run", "space")["labelled"] == metrics["splits"]["test"]["utterances"]
    assert "What each modality contributes, on test" in (tmp_path / "run" / "report.html").read_text(encoding="utf-8")


@pytest.mark.parametrize("splits", ["no test", "unlabelled test", "one labelled"])
def test_a_test_split_with_nothing_to_see(tmp_path, splits):
    corpus = synthetic_corpus(1, (8, 3, 3), with_ceilings=False)
    table, test = corpus.utterances, (corpus.utterances["split"] == "test").to_numpy()
    if splits == "no test":
        features = {m: x[~test[corpus.presence[:, k]]] for k, (m, x) in enumerate(corpus.features.items())}
        corpus = Corpus.build("x", table[~test], features, corpus.targets)
    else:
        known = test & table["emotion"].notna().to_numpy()
        keep = ~test | (known & (known.cumsum() == 1)) if splits == "one labelled" else ~test
        corpus = Corpus.build("x", table.assign(emotion=table["emotion"].where(keep)), corpus.features, corpus.targets)
    words = ["model.hidden=8", "training.max_epochs=1"]
    fit(corpus, GraphSpec(tuple(corpus.modalities)), load_settings("bilstm", words), tmp_path / "out", in_depth=True)
    about, page = read(tmp_path / "out", "space"), (tmp_path / "out" / "report.html").read_text(encoding="utf-8")
    assert about["split"] == ("dev" if splits == "no test" else "test")
    assert ("reason" in about) == (splits != "no test")
    assert ("Not drawn: of test, " in page) == (splits != "no test")
    assert (tmp_path / "out" / "contributions.json").exists() == (splits != "unlabelled test")
    card = (tmp_path / "out" / "MODEL_CARD.md").read_text(encoding="utf-8")
    assert ("by class" in card) == (splits != "unlabelled test")
    assert "None" not in card
    assert "nan" not in card


def test_add_test_keeps_what_was_made(store, source, tmp_path):
    settings = load_settings("bilstm", SMALL)
    fit(source.corpus, source.spec, settings, tmp_path / "a", store=source.store, test=False, in_depth=True)
    add_test(open_run(tmp_path / "a"), source.corpus)
    page = (tmp_path / "a" / "report.html").read_text(encoding="utf-8")
    assert "Classes, on test" in page
    assert "What each modality contributes, on dev" in page, "it does not say what it is of"
    good("report", tmp_path / "a", "--device", "cpu")
    page = (tmp_path / "a" / "report.html").read_text(encoding="utf-8")
    assert "What each modality contributes, on test" in page


# ---- the model card

HOSTILE = ("<script>alert(1)</script>", "$x_{$ | *y*", "[a](http://b)", "`c`\n# d", "&amp;", "a\\b")


def numbers(value: Any) -> set[str]:
    """Every number in a file's JSON, keys too, as a card may print it."""
    if isinstance(value, dict):
        return set().union(*(numbers(key) | numbers(inner) for key, inner in value.items()))
    if isinstance(value, list):
        return set().union(*map(numbers, value))
    if isinstance(value, float):
        return {f"{abs(value):.{digits}f}" for digits in (0, 1, 2)}
    return set(re.findall(r"\d+(?:\.\d+)*", str(value)))


def test_no_number_of_the_card_is_made_up(fitted):
    folder = fitted / "run"
    card = (folder / "MODEL_CARD.md").read_text(encoding="utf-8")
    metrics, data = read(folder, "metrics"), read(folder, "data")
    there = set().union(*(numbers(read(folder, name)) for name in ("metrics", "data", "config", "environment", "contributions")))
    there |= {f"{metrics['memory']['process'] / 2**20:.0f}", f"{metrics['parameters']:,}", str(len(data["characters"])), "95"}
    there |= numbers([*LAW, *_PAPERS.values(), "Article 3(39) SHA-256 Apache-2.0 F1"])
    found = re.findall(r"(?<![\w.])\d+(?:[.,]\d+)*(?!\w)", card)
    assert len(found) > 60
    assert [number for number in found if number not in there] == []
    test = metrics["splits"]["test"]
    low, high = test["weighted_f1_interval"]
    row = f"| test | {test['utterances']} | {test['weighted_f1']:.1f} | {low:.1f} to {high:.1f} | {test['accuracy']:.1f} | {test['macro_f1']:.1f} |"
    assert row in card.splitlines()
    for name, part in test["per_class"].items():
        accuracy = "–" if part["accuracy"] is None else f"{part['accuracy']:.1f}"
        assert f"| {name} | {part['support']} | {accuracy} | {part['precision']:.1f} | {part['f1']:.1f} |" in card.splitlines()
    for split, part in data["division"]["splits"].items():
        speakers = metrics["corpus"]["speakers"][split]
        assert f"| {split} | {part['dialogues']} | {part['utterances']} | {part['labelled']} | {speakers} |" in card.splitlines()


def test_speakers_are_counted_by_split(fitted, source):
    table = source.corpus.utterances
    facts = read(fitted / "run", "metrics")["corpus"]
    assert facts["speakers"] == {s: len(set(part["speaker"])) for s, part in table.groupby("split")}
    assert facts["source"] == "synthetic"
    assert "no person spoke" in (fitted / "run" / "MODEL_CARD.md").read_text(encoding="utf-8")
    assert set(facts["provenance"]) == set(source.corpus.modalities)


def test_card_and_page_say_what_it_must_not_be_used_for(fitted):
    card = (fitted / "run" / "MODEL_CARD.md").read_text(encoding="utf-8")
    page = text_of((fitted / "run" / "report.html").read_text(encoding="utf-8"))
    for said in (*LAW, *NOT_FOR, "This is no legal advice: check the law"):
        assert said in card
        assert said in page
    headings = [
        "Model",
        "Intended use",
        "Uses it must not be put to",
        "Training data",
        "Evaluation",
        "What it was measured on, and what not",
    ]
    headings += ["Limits and risks", "Time, memory and energy", "How to get this again", "How to cite", "Licence"]
    assert re.findall(r"^## (.*)$", card, flags=re.MULTILINE) == headings
    assert (fitted / "run" / "report.html").read_text(encoding="utf-8").count('<a href="MODEL_CARD.md">') == 1


def test_the_papers_are_those_of_the_citation_file():
    cited = (ROOT / "CITATION.cff").read_text(encoding="utf-8").replace('"', "")
    assert set(_PAPERS) == set(MODELS) - {"bilstm", "logistic", "majority", "transformer"}
    for paper in _PAPERS.values():
        assert f"doi: {paper.rpartition('doi:')[2]}" in cited
        title = paper.partition(": ")[2].partition(". ")[0]
        assert f"title: {title}" in cited


@pytest.mark.parametrize(
    ("preset", "learn", "said"), [("mglra", "classes", "0.75"), ("sgrnet-paper", "classes", ""), ("mglra", "score", "")]
)
def test_the_card_says_what_of_a_model_is_in_no_paper(fitted, tmp_path, preset, learn, said):
    parts = {n: read(fitted / "run", n) for n in ("data", "environment", "metrics", "contributions")}
    config = load_settings(preset, [f"data.learn={learn}"]).to_json()
    card = write_card(tmp_path, preset, "dev", {**parts, "config": json.loads(json.dumps(config))}).read_text(encoding="utf-8")
    assert f"doi:{_PAPERS[config['model']].rpartition('doi:')[2]}".replace("_", "\\_") in card
    assert ("two opinions" in card) == bool(said)
    assert f"with a share of {said}," in card or not said


def test_hostile_names_stay_text(tmp_path):
    corpus = synthetic_corpus(1, (8, 3, 3), with_ceilings=False)
    names = dict(zip(corpus.targets["emotion"].labels, HOSTILE, strict=True))
    table = corpus.utterances.assign(emotion=corpus.utterances["emotion"].map(names), speaker=HOSTILE[0])
    hostile = Corpus.build(HOSTILE[3], table, corpus.features, {"emotion": Target("classes", tuple(names.values()))})
    words = ["model.hidden=8", "training.max_epochs=1"]
    out = tmp_path / "<b>&run"
    fit(hostile, GraphSpec(tuple(corpus.modalities)), load_settings("bilstm", words), out, command=["dglmerc", HOSTILE[0]], in_depth=True)
    card = (out / "MODEL_CARD.md").read_text(encoding="utf-8")
    prose = [line for line in card.splitlines() if not line.startswith("    ")]  # a block of code is left alone by Markdown
    assert not [line for line in prose if re.search(r"<|(?<!\\)[`$]|(?<!\\)\[", line)]
    assert "\\$x\\_{\\$ \\| \\*y\\*" in card
    assert len([line for line in prose if line.startswith("# ")]) == 1
    rows = [line for line in prose if line.startswith("|") and "amp" in line]
    assert [len(re.findall(r"(?<!\\)\|", row)) for row in rows] == [6]
    assert "&amp;amp;" in rows[0]
    page = (out / "report.html").read_text(encoding="utf-8")
    assert "<script" not in page
    assert "<b>&run" not in page
