"""New conversations: what ``predict`` says of a file equals what ``evaluate`` says of the same utterances; several runs are averaged."""

from __future__ import annotations

import io
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from cli_cases import assert_one_line, good, run
from click.testing import CliRunner
from predict_cases import fitted, small_corpus, spoken, write_csv, write_lines
from sentiment_cases import run as fit_scores
from sentiment_cases import scored_corpus

from dgl_merc.cli.main import main
from dgl_merc.corpus import Corpus, save_corpus
from dgl_merc.inference import Predictor, Utterance
from dgl_merc.inference.answers import answer_line
from dgl_merc.training import prediction
from dgl_merc.training.data import DialogueData, fixed_drops
from dgl_merc.training.evaluate import evaluate_runs
from dgl_merc.training.prediction import Predictions, averaged
from dgl_merc.training.run_folder import open_run

pytestmark = pytest.mark.xdist_group("predict")  # its runs are made once


@pytest.fixture(scope="module")
def corpus() -> Corpus:
    return small_corpus()


@pytest.fixture(scope="module")
def runs(corpus: Corpus, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of each model, and two seeds of one."""
    folder = tmp_path_factory.mktemp("runs")
    for preset in ("bilstm", "mglra", "sgrnet"):
        fitted(corpus, folder / preset, preset)
    fitted(corpus, folder / "bilstm1", "bilstm", seed=1)
    fitted(corpus, folder / "text", "bilstm", "data.modalities=text")
    return folder


def widths(corpus: Corpus) -> dict[str, int]:
    return {m: about.width for m, about in corpus.modalities.items()}


def told(*args: object) -> list[str]:
    """What a command prints; on stderr there are notes at most."""
    result = run(*args)
    assert result.exit_code == 0, result.output
    assert all(line.startswith("- ") for line in result.stderr.splitlines())
    return result.stdout.splitlines()


def answers(table: pd.DataFrame) -> np.ndarray:
    return table[[c for c in table if c.startswith(("p_", "predicted_score"))]].to_numpy()


def assert_same(table: pd.DataFrame, wanted: pd.DataFrame, atol: float = 1e-6) -> None:
    keys = ["dialogue_id", "position", "speaker", "predicted"]
    pd.testing.assert_frame_equal(table[keys], wanted[keys], check_dtype=False)
    assert answers(table).shape[1] >= 1
    np.testing.assert_allclose(answers(table), answers(wanted), rtol=0, atol=atol)


# ---- predict equals evaluate


@pytest.mark.parametrize("preset", ["bilstm", "mglra", "sgrnet"])
def test_a_csv_written_by_hand(corpus, runs, tmp_path, preset):
    _, wanted = evaluate_runs([open_run(runs / preset)], corpus, "test")
    file = write_csv(tmp_path / "talk.csv", spoken(corpus), widths(corpus))
    result = run("predict", runs / preset, file)
    assert result.exit_code == 0, result.output
    table = pd.read_csv(io.StringIO(result.stdout))
    assert_same(table, wanted)
    assert table["label"].fillna("-").tolist() == wanted["label"].fillna("-").tolist()
    details = [c for c in wanted if c.startswith(("sigma_", "weight_"))]
    assert bool(details) == (preset == "sgrnet")
    np.testing.assert_allclose(table[details], wanted[details], atol=1e-6)
    assert not {"split", "text", "utterance_id"} & set(table), "what was not given is not there"
    present = corpus.presence[wanted.index[0] :].sum()
    assert present  # and the notes count what is absent
    assert "- visual: " in result.stderr
    assert "of the others it is absent" in result.stderr


def test_json_lines_from_a_file_and_from_standard_input(corpus, runs, tmp_path):
    _, wanted = evaluate_runs([open_run(runs / "mglra")], corpus, "test")
    objects = spoken(corpus)
    for k, o in enumerate(objects):
        o |= {"text": f"said {k}", "at": "12:30", "sure": True}  # what more there is, is passed over
        o["features"] = {m: o["features"].get(m) for m in widths(corpus)}  # null: absent
    assert any(x is None for o in objects for x in o["features"].values())
    file = write_lines(tmp_path / "talk.jsonl", objects)
    result = run("predict", runs / "mglra", file, "--format", "jsonl")
    said = [json.loads(line) for line in result.stdout.splitlines()]
    assert [list(o) for o in said[:1]] == [["dialogue_id", "position", "text", "speaker", "label", "predicted", "probabilities"]]
    assert [o["text"] for o in said] == [f"said {k}" for k in range(len(said))]
    found = np.array([list(o["probabilities"].values()) for o in said])
    np.testing.assert_allclose(found, answers(wanted), rtol=0, atol=1e-6)
    assert list(said[0]["probabilities"]) == list(corpus.targets["emotion"].labels)

    typed = b"\xef\xbb\xbf\n" + file.read_bytes() + b"\n \n"
    result = CliRunner().invoke(main, ["predict", str(runs / "mglra"), "-"], input=typed)
    assert_same(pd.read_csv(io.StringIO(result.stdout)), wanted)


def test_dialogues_may_be_scattered_and_out_of_order(corpus, runs, tmp_path):
    _, wanted = evaluate_runs([open_run(runs / "mglra")], corpus, "test")
    objects = [{**o, "position": 3 + 2 * k} for k, o in enumerate(spoken(corpus))]
    first = {o["dialogue_id"]: k for k, o in reversed(list(enumerate(objects)))}
    mixed = [objects[k] for k in np.random.default_rng(0).permutation(len(objects))]
    mixed = [objects[k] for k in first.values()][::-1] + [o for o in mixed if o not in [objects[k] for k in first.values()]]
    for file in (
        write_lines(tmp_path / "talk.jsonl", mixed),
        write_csv(tmp_path / "talk.csv", mixed, widths(corpus), ("emotion", "position", "split")),
    ):
        table = Predictor.open(runs / "mglra").predict(file)
        assert table["dialogue_id"].drop_duplicates().tolist() == [o["dialogue_id"] for o in mixed[: len(first)]]
        table = table.set_index(["dialogue_id", "position"]).loc[list(zip(wanted["dialogue_id"], wanted["position"], strict=True))]
        np.testing.assert_allclose(answers(table), answers(wanted), rtol=0, atol=1e-6)


def test_a_modality_missing_from_the_file_is_one_taken_away(corpus, runs, tmp_path):
    saved = open_run(runs / "sgrnet")
    drop = fixed_drops(corpus, saved.spec.modalities, {"visual": 1.0}, 0)
    _, wanted = evaluate_runs([saved], corpus, "test", drop=drop)
    objects = [{**o, "features": {m: x for m, x in o["features"].items() if m != "visual"}} for o in spoken(corpus)]
    less = {m: w for m, w in widths(corpus).items() if m != "visual"}
    for file in (write_lines(tmp_path / "talk.jsonl", objects), write_csv(tmp_path / "talk.csv", objects, less)):
        out = tmp_path / f"{file.name}.parquet"
        result = run("predict", runs / "sgrnet", file, "--out", out)
        assert f"visual: 0 of {len(objects)} utterances have it" in result.stderr
        assert_same(pd.read_parquet(out), wanted)
    empty = write_csv(tmp_path / "empty.csv", objects, widths(corpus))  # the columns are there, and nothing in them
    assert_same(Predictor.open(runs / "sgrnet").predict(empty), wanted)
    gone = save_corpus(Corpus.build("less", corpus.utterances, {m: corpus.features[m] for m in less}, dict(corpus.targets)), tmp_path / "c")
    table = Predictor.open(runs / "sgrnet").predict(gone)
    in_test = np.repeat(corpus.splits == "test", corpus.lengths)
    assert_same(table[in_test].reset_index(drop=True), wanted)


def test_what_the_run_does_not_take_is_passed_over(corpus, runs, tmp_path):
    _, wanted = evaluate_runs([open_run(runs / "text")], corpus, "test")
    file = write_lines(tmp_path / "talk.jsonl", spoken(corpus))
    result = run("predict", runs / "text", file)
    assert "- audio: no part of the training of" in result.stderr
    assert "passed over" in result.stderr
    assert_same(pd.read_csv(io.StringIO(result.stdout)), wanted)


def test_features_of_a_csv_wherever_they_are(corpus, runs, tmp_path):
    _, wanted = evaluate_runs([open_run(runs / "text")], corpus, "test")
    objects = spoken(corpus)
    width = widths(corpus)["text"]
    file = write_csv(tmp_path / "talk.csv", objects, {"text": width})
    file.write_text(file.read_text().replace("text_", "f"))
    assert_one_line(
        run("predict", runs / "text", file), "line 1: expected columns of features, text_0 to", "--features 'text=columns:NAME*'"
    )
    table = pd.read_csv(io.StringIO(run("predict", runs / "text", file, "--features", "text=columns:f0..f31").stdout))
    assert_same(table, wanted)
    x = np.array([o["features"].get("text", [np.nan] * width) for o in objects], dtype=np.float32)
    np.save(tmp_path / "x.npy", x)
    assert np.isnan(x).any()
    by_row = ("predict", runs / "text", file, "--features", "text=x.npy")
    assert_one_line(run(*by_row), "expected finite numbers, found nan", "--nan absent")
    assert_same(pd.read_csv(io.StringIO(run(*by_row, "--nan", "absent").stdout)), wanted)


def test_a_corpus_and_a_store(corpus, runs, tmp_path, store):
    saved = save_corpus(corpus, tmp_path / "corpus")
    table = Predictor.open(runs / "bilstm").predict(tmp_path / "corpus")
    assert len(table) == len(corpus.utterances)
    at_hand = Predictor.open(runs / "bilstm").predict(saved)
    pd.testing.assert_frame_equal(table, at_hand)
    bare = Corpus.build("bare", corpus.utterances.drop(columns="emotion"), corpus.features, {})
    unlabelled = Predictor.open(runs / "bilstm").predict(bare)
    np.testing.assert_array_equal(answers(unlabelled), answers(table))
    assert "label" in table
    assert "label" not in unlabelled
    assert len(told("predict", runs / "bilstm", store, "--format", "jsonl", "--out", tmp_path / "a.x")) == 1
    assert len((tmp_path / "a.x").read_text().splitlines()) == len(corpus.utterances)


def test_utterances_in_python(corpus, runs):
    wanted = Predictor.open(runs / "mglra").predict(corpus)
    given = [
        Utterance(o["dialogue_id"], o["speaker"], {m: np.array(x, dtype=np.float32) for m, x in o["features"].items()})
        for o in spoken(corpus, "train")
    ]
    table = Predictor.open(runs / "mglra").predict(iter(given))
    np.testing.assert_allclose(answers(table), answers(wanted)[: len(table)], rtol=0, atol=1e-6)
    alone = Predictor.open(runs / "mglra").predict(given[:1])
    assert len(alone) == 1
    assert np.isclose(answers(alone).sum(), 1.0)
    bare = Predictor.open(runs / "mglra").predict([replace(given[0], features={}), given[1]])
    assert np.isfinite(answers(bare)).all(), "somebody spoke, and nothing is known of it"
    half = Predictor.open(runs / "mglra").predict([replace(given[0], text="\ud800!")])
    assert half["text"].tolist() == ["?!"], "half a character, as JSON can spell it"


def test_speakers_are_known_by_name(corpus, runs, tmp_path):
    objects = spoken(corpus)
    known = open_run(runs / "mglra").characters
    assert {o["speaker"] for o in objects} & set(known)
    named = Predictor.open(runs / "mglra").predict(write_lines(tmp_path / "a.jsonl", objects))
    strangers = [{**o, "speaker": f"{o['speaker']} the stranger"} for o in objects]
    other = Predictor.open(runs / "mglra").predict(write_lines(tmp_path / "b.jsonl", strangers))
    assert not np.allclose(answers(named), answers(other))


def test_a_table_by_its_own_ids_says_so(corpus, runs, tmp_path):
    objects = [{**o, "utterance_id": str(900 - k)} for k, o in enumerate(spoken(corpus)[:9])]
    file = write_csv(tmp_path / "talk.csv", objects, widths(corpus), ("utterance_id",))
    result = run("predict", runs / "mglra", file)
    assert "- order: utterances stand by their utterance ids, which is not the order of the file" in result.stderr
    table = pd.read_csv(io.StringIO(result.stdout))
    assert table["utterance_id"].tolist() == sorted(table["utterance_id"])
    lines = write_lines(tmp_path / "talk.jsonl", objects)
    assert told("predict", runs / "mglra", lines)[1].split(",")[2] == "900", "lines stand in their order, and keep their names"
    given = [{**o, "position": 30 - k} for k, o in enumerate(spoken(corpus)[:9])]
    table = Predictor.open(runs / "mglra").predict(write_lines(tmp_path / "talk.jsonl", given))
    assert table["utterance_id"].tolist() == [str(22 + k) for k in range(9)], "answers can be joined to what was asked"


def test_a_pattern_takes_columns_by_their_numbers(corpus, runs, tmp_path):
    wanted = Predictor.open(runs / "text").predict(write_lines(tmp_path / "talk.jsonl", spoken(corpus)))
    file = write_csv(tmp_path / "talk.csv", spoken(corpus), {"text": widths(corpus)["text"]}, ())
    frame = pd.read_csv(file)
    frame[sorted(frame)].rename(columns=lambda c: c.replace("text_", "f")).to_csv(file, index=False)
    assert file.read_text().splitlines()[0].split(",")[2:4] == ["f0", "f1"]
    assert "f1,f10" in file.read_text().splitlines()[0]
    table = pd.read_csv(io.StringIO(run("predict", runs / "text", file, "--features", "text=columns:f*").stdout))
    assert_same(table, wanted)


def test_columns_that_no_run_takes(corpus, runs, tmp_path):
    file = write_csv(tmp_path / "talk.csv", spoken(corpus), widths(corpus))
    result = run("predict", runs / "text", file)
    assert "- audio: no part of the training of" in result.stderr
    assert "- visual: no part of the training of" in result.stderr


def test_every_run_has_to_hear_something(corpus, runs, tmp_path):
    fitted(corpus, tmp_path / "audio", "bilstm", "data.modalities=audio")
    objects = [{**o, "features": {"text": o["features"]["text"]}} for o in spoken(corpus) if "text" in o["features"]]
    file = write_lines(tmp_path / "talk.jsonl", objects)
    assert_one_line(
        run("predict", runs / "text", tmp_path / "audio", file), "expected features of audio, which", "found none in any utterance"
    )


def test_features_beyond_what_a_model_can_take(corpus, runs, tmp_path):
    objects = spoken(corpus)[:2]
    objects[1]["features"]["text"] = [3e38] * widths(corpus)["text"]
    file = write_lines(tmp_path / "talk.jsonl", objects)
    result = run("predict", runs / "bilstm", file)
    assert result.exit_code == 2
    assert result.stderr.splitlines()[-1].startswith("dglmerc: error: dialogue test/0, utterance ")
    assert "the dialogue has features beyond what the model can take" in result.stderr.splitlines()[-1]


def test_long_dialogues_are_answered_a_few_at_a_time(corpus, runs, monkeypatch):
    wanted = Predictor.open(runs / "mglra").predict(corpus)
    monkeypatch.setattr(prediction, "_MOST_UTTERANCES", 60)
    sizes = []
    take = DialogueData.batch
    monkeypatch.setattr(
        DialogueData, "batch", lambda self, dialogues: (sizes.append(corpus.lengths[dialogues].sum()), take(self, dialogues))[1]
    )
    assert_same(Predictor.open(runs / "mglra").predict(corpus), wanted)
    assert len(sizes) > 3
    assert all(size <= max(60, corpus.lengths.max()) for size in sizes)
    assert sum(sizes) == len(corpus.utterances)


# ---- scores


@pytest.mark.parametrize("learn", ["classes", "score"])
def test_runs_of_scores(tmp_path, learn):
    corpus = scored_corpus()
    fit_scores(corpus, tmp_path / "run", learn)
    _, wanted = evaluate_runs([open_run(tmp_path / "run")], corpus, "test")
    objects = spoken(Corpus.build("x", corpus.utterances.assign(emotion=""), corpus.features, dict(corpus.targets)))
    scores = wanted["score"].tolist()
    for o, score in zip(objects, scores, strict=True):
        o["sentiment"] = None if np.isnan(score) else score
    for file in (
        write_lines(tmp_path / "talk.jsonl", objects),
        write_csv(tmp_path / "talk.csv", objects, widths(corpus), ("sentiment",)),
    ):
        table = Predictor.open(tmp_path / "run").predict(file)
        assert_same(table, wanted)
        np.testing.assert_allclose(table["score"], scores)
        assert ("predicted_score" in table) == (learn == "score")
        assert any(c.startswith("p_") for c in table) == (learn == "classes")
    felt = write_csv(tmp_path / "felt.csv", [{**o, "emotion": "joy"} for o in objects], widths(corpus), ("emotion", "sentiment"))
    assert_same(Predictor.open(tmp_path / "run").predict(felt), wanted)  # another target is a column like any other
    assert_one_line(
        run("predict", tmp_path / "run", write_lines(tmp_path / "bad.jsonl", [{**objects[0], "sentiment": 4}])),
        "sentiment: expected a number from -3.0 to 3.0",
    )


# ---- several runs


def test_several_runs_are_averaged(corpus, runs, tmp_path):
    names = ("bilstm", "bilstm1", "sgrnet", "text")
    alone = [evaluate_runs([open_run(runs / name)], corpus, "test")[1] for name in names]
    wanted = np.mean([answers(table).astype(np.float64) for table in alone], axis=0)
    file = write_csv(tmp_path / "talk.csv", spoken(corpus), widths(corpus))
    table = Predictor.open(*(runs / name for name in names)).predict(file)
    np.testing.assert_allclose(answers(table), wanted, rtol=0, atol=1e-6)
    labels = np.array(corpus.targets["emotion"].labels)
    assert table["predicted"].tolist() == labels[wanted.argmax(axis=1)].tolist()
    pd.testing.assert_series_equal(table["sigma_text"], alone[2]["sigma_text"], atol=1e-6)  # of those who say something
    lines = good("evaluate", *(runs / name for name in names), save_store(corpus, tmp_path), "--out", tmp_path / "e")
    assert lines[0].startswith("the average of 4 runs: test of small")
    again = pd.read_parquet(tmp_path / "e" / "predictions.parquet")
    np.testing.assert_allclose(answers(again), wanted, rtol=0, atol=1e-6)
    found = json.loads((tmp_path / "e" / "evaluation.json").read_text())
    known = again["label"].notna()
    assert found["accuracy"] == pytest.approx(100 * (again["label"] == again["predicted"])[known].mean())
    assert found["runs"] == [str(runs / name) for name in names]


def save_store(corpus: Corpus, folder: Path) -> Path:
    from dgl_merc.graphs import GraphSpec
    from dgl_merc.graphs.build import BuildOptions, build_store

    saved = save_corpus(corpus, folder / "for-store")
    return build_store(saved, folder / "graphs", GraphSpec(tuple(corpus.modalities)), BuildOptions(edges=False)).path


def test_an_average_of_details_and_one_alone():
    rows = np.arange(2)
    a = Predictions(np.array([[0.5], [1.0]], dtype=np.float32), rows, {"sigma": np.array([1, np.nan], dtype=np.float32), "x": rows})
    b = Predictions(np.array([[0.0], [0.5]], dtype=np.float32), rows, {"sigma": np.array([np.nan, np.nan], dtype=np.float32)})
    assert averaged([a]) is a
    mean = averaged([a, b])
    assert mean.answers.tolist() == [[0.25], [0.75]]
    np.testing.assert_array_equal(mean.details["sigma"], [1, np.nan])
    np.testing.assert_array_equal(averaged([a, a._replace(details={"sigma": a.details["sigma"] + 2})]).details["sigma"], [2, np.nan])
    np.testing.assert_array_equal(mean.details["x"], [0, 1])
    with pytest.raises(ValueError, match="same utterances"):
        averaged([a, b._replace(rows=rows + 1)])


def test_runs_that_do_not_belong_together(corpus, runs, tmp_path, store):
    scores = scored_corpus()
    fit_scores(scores, tmp_path / "scores")
    file = write_lines(tmp_path / "talk.jsonl", spoken(corpus))
    pieces = ("expected a run of emotion (happy, sad", "to average the two; found one of sentiment (negative, positive; data.learn=score)")
    assert_one_line(run("predict", runs / "bilstm", tmp_path / "scores", file), *pieces)
    assert_one_line(run("evaluate", runs / "bilstm", tmp_path / "scores", store), *pieces)
    narrow = {m: x[:, :5] if m == "audio" else x for m, x in corpus.features.items()}
    fitted(Corpus.build("narrow", corpus.utterances, narrow, dict(corpus.targets)), tmp_path / "narrow")
    assert_one_line(
        run("predict", runs / "bilstm", tmp_path / "narrow", file), "narrow: audio: expected vectors of width 24, as in", "found 5"
    )
    folds = [fitted(corpus, tmp_path / f"fold{k}", "bilstm", "data.folds=2", f"data.fold={k}") for k in (1, 2)]
    place = save_store(corpus, tmp_path)
    assert_one_line(run("evaluate", *folds, place), "fold2: expected a run that has not seen the test dialogues of", "8 of 8, such as")
    assert_one_line(
        run("evaluate", runs / "bilstm", runs / "text", place, "--drop", "text=.5"), "text: expected the modalities text, audio"
    )
    assert_one_line(
        run("evaluate", runs / "bilstm", tmp_path / "nowhere"), "nowhere: expected the folder of a run (metrics.json) or, at the end"
    )


# ---- files of answers


def test_formats_and_where_they_go(corpus, runs, tmp_path):
    file = write_lines(tmp_path / "talk.jsonl", spoken(corpus))
    said = [told("predict", runs / "text", file, "--out", tmp_path / "new" / name) for name in ("a.csv", "a.parquet", "a.ndjson")]
    table = pd.read_csv(tmp_path / "new" / "a.csv")
    assert said[0][-1] == f"{len(table)} utterances of 4 dialogues answered: {tmp_path / 'new' / 'a.csv'}"
    assert_same(pd.read_parquet(tmp_path / "new" / "a.parquet"), table, 1e-7)
    lines = [json.loads(line) for line in (tmp_path / "new" / "a.ndjson").read_text().splitlines()]
    np.testing.assert_allclose([list(o["probabilities"].values()) for o in lines], answers(table), atol=1e-7)
    assert sorted(p.name for p in (tmp_path / "new").iterdir()) == ["a.csv", "a.ndjson", "a.parquet"]
    again = ("predict", runs / "text", file, "--out", tmp_path / "new" / "a.csv")
    assert_one_line(run(*again), "a.csv: is there already; name another file, or pass --force")
    told(*again, "--force")
    assert_one_line(run("predict", runs / "text", file, "--out", file, "--force"), "is what is read")
    assert_one_line(run("predict", runs / "text", file, "--out", tmp_path / "a.xls"), "a.xls: expected a name that ends in .csv")
    assert_one_line(run("predict", runs / "text", file, "--out", tmp_path / "new", "--force", "--format", "csv"), "name another file")


def test_any_float32_comes_back_from_a_line():
    values = np.frombuffer(np.random.default_rng(0).bytes(4000), dtype=np.float32)
    values = values[np.isfinite(values)]
    back = [np.float32(json.loads(answer_line({"x": float(v)}))["x"]) for v in values]
    assert np.array_equal(back, values)
