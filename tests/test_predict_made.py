"""Features that new conversations lack are made by the runs' recipes; what is given wins, and what is not known is not guessed."""

from __future__ import annotations

import io
import json
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from cli_cases import assert_one_line, run
from click.testing import CliRunner, Result
from making_cases import RECIPE, WIDTH, Letters, letters_corpus, letters_run, vector
from predict_cases import fitted, write_lines

from dgl_merc.cli.main import main
from dgl_merc.corpus import Corpus, save_corpus
from dgl_merc.errors import InputError
from dgl_merc.explanations.source import corpus_for
from dgl_merc.extraction import Absence, Extractors, Media, Recipe
from dgl_merc.graphs import GraphSpec
from dgl_merc.inference import Predictor, Utterance
from dgl_merc.inference.making import _findable
from dgl_merc.reports.run_report import write_report
from dgl_merc.training import fit
from dgl_merc.training.run_folder import open_run

pytestmark = [pytest.mark.xdist_group("made"), pytest.mark.usefixtures("unpainted")]  # its runs are made once


SOUND = Recipe("audio", "opensmile", "eGeMAPSv02", {"rate": 16_000})


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory, unpainted: None) -> Path:
    """Of text by a recipe, causal; of the same with another recipe; of imported text; and of text and imported audio.

    Of text by a recipe without weights; and of text and audio, both made.
    """
    folder = tmp_path_factory.mktemp("made")
    letters_run(folder / "text", RECIPE, "graph.causal=true")
    letters_run(folder / "other", replace(RECIPE, weights="cd" * 32), seed=1)
    letters_run(folder / "imported", None, seed=2)
    letters_run(folder / "both", RECIPE, "data.modalities=text,audio")
    letters_run(folder / "unweighed", replace(RECIPE, weights=""))
    fitted(letters_corpus(audio=SOUND), folder / "heard", "bilstm")
    return folder


@pytest.fixture(autouse=True)
def opened(monkeypatch: pytest.MonkeyPatch) -> list[Recipe]:
    """The recipes that were opened."""
    monkeypatch.setattr("dgl_merc.extraction.text.SentenceEmbedder", Letters)
    monkeypatch.setattr(Letters, "opened", [])
    return Letters.opened


@pytest.fixture(scope="module")
def wanted(runs: Path) -> pd.DataFrame:
    """What the run says of its corpus, whose vectors are there."""
    return Predictor.open(runs / "text").predict(letters_corpus())


def table_of(corpus: Corpus, *more: str) -> pd.DataFrame:
    return corpus.utterances[["dialogue_id", "speaker", "text", *more]]


def written(path: Path, *more: str) -> Path:
    table_of(letters_corpus(), *more).to_csv(path, index=False)
    return path


def probabilities(table: pd.DataFrame) -> np.ndarray:
    return table[["p_joy", "p_fear", "p_anger"]].to_numpy()


def answered(result: Result) -> np.ndarray:
    assert result.exit_code == 0, result.output
    return probabilities(pd.read_csv(io.StringIO(result.stdout)))


# ---- runs remember


def test_a_run_remembers_its_recipes_and_opens_without_them(runs):
    saved = open_run(runs / "text")
    assert saved.recipes == {"text": RECIPE}
    assert json.loads((runs / "text/data.json").read_text())["recipes"] == {"text": RECIPE.to_json()}
    assert open_run(runs / "both").recipes == {"text": RECIPE}, "audio was imported"
    assert "recipes" not in json.loads((runs / "imported/data.json").read_text())
    assert open_run(runs / "imported").recipes == {}


@pytest.mark.parametrize("damage", [{"text": {"kind": "text"}}, {"text": 3}, [], {"smell": RECIPE.to_json()}])
def test_a_damaged_recipe_is_one_line(runs, tmp_path, damage):
    (tmp_path / "run").mkdir()
    for path in (runs / "text").glob("*.json"):
        (tmp_path / "run" / path.name).write_bytes(path.read_bytes())
    data = json.loads((runs / "text/data.json").read_text())
    (tmp_path / "run/data.json").write_text(json.dumps(data | {"recipes": damage}))
    with pytest.raises(InputError, match=r"recipes|found a fault at"):
        open_run(tmp_path / "run")


def test_the_same_vectors_by_another_recipe_are_the_same_run(runs, tmp_path):
    """Vectors are known by their hash; a version that changed no bit of them makes no other run."""
    corpus, saved = letters_corpus(replace(RECIPE, versions={"letters": "2.0"})), open_run(runs / "imported")
    letters_run(tmp_path / "run", None, seed=2)
    metrics = fit(corpus, GraphSpec(tuple(corpus.modalities)), saved.settings, tmp_path / "run", resume=True)
    assert metrics["chosen_epoch"] == saved.metrics["chosen_epoch"]


def test_card_and_page_say_how_features_were_made(runs, tmp_path):
    for name, there in (("text", True), ("imported", False)):
        card, page = ((runs / name / file).read_text() for file in ("MODEL_CARD.md", "report.html"))
        assert (RECIPE.licence in card) == there
        assert (
            "- text, by sentence-transformers letters, revision c0ffee, letters 1.0: Letters may be counted by anyone." in card
        ) == there
        assert (f"<b>Licence:</b> {RECIPE.licence}" in page) == there
        assert ("<h2>Features</h2>" in page) == there
    assert write_report(runs / "text").read_text() == (runs / "text/report.html").read_text()


# ---- what is made


def test_a_csv_with_a_column_of_text(runs, tmp_path, wanted, opened):
    result = run("predict", runs / "text", written(tmp_path / "new.csv", "start", "end"))
    np.testing.assert_allclose(answered(result), probabilities(wanted), rtol=0, atol=1e-6)
    assert opened == [RECIPE], "with versions and weights, to be held to"
    assert "- text: made by sentence-transformers letters, revision c0ffee, letters 1.0" in result.stderr.splitlines()
    assert result.stderr.startswith(f"text: {RECIPE.licence}\n")
    table = pd.read_csv(io.StringIO(result.stdout))
    assert table.columns[:6].tolist() == ["dialogue_id", "position", "start", "end", "text", "speaker"]
    assert table["start"].tolist() == letters_corpus().utterances["start"].tolist()


def test_json_lines_utterances_and_a_corpus_with_text_alone(runs, tmp_path, wanted):
    corpus, predictor = letters_corpus(), Predictor.open(runs / "text")
    lines = write_lines(tmp_path / "new.jsonl", table_of(corpus).to_dict("records"))
    np.testing.assert_allclose(answered(run("predict", runs / "text", lines)), probabilities(wanted), rtol=0, atol=1e-6)
    typed = CliRunner().invoke(main, ["predict", str(runs / "text"), "-"], input=lines.read_bytes())
    np.testing.assert_allclose(answered(typed), probabilities(wanted), rtol=0, atol=1e-6)
    spoken = [Utterance(d, s, text=t) for d, s, t in table_of(corpus).itertuples(index=False)]
    np.testing.assert_allclose(probabilities(predictor.predict(spoken)), probabilities(wanted), rtol=0, atol=1e-6)
    bare = save_corpus(Corpus.build("bare", table_of(corpus, "position", "split"), {}, {}), tmp_path / "bare")
    np.testing.assert_allclose(probabilities(predictor.predict(bare)), probabilities(wanted), rtol=0, atol=1e-6)
    np.testing.assert_allclose(probabilities(predictor.predict(tmp_path / "bare")), probabilities(wanted), rtol=0, atol=1e-6)


def test_what_is_given_wins(runs, tmp_path, wanted, opened):
    table = table_of(letters_corpus())
    vectors = np.stack([vector(text) for text in table["text"]])
    for k in range(WIDTH):
        table = table.assign(**{f"text_{k}": vectors[:, k]})
    table.assign(text="something else").to_csv(tmp_path / "new.csv", index=False)
    result = run("predict", runs / "text", tmp_path / "new.csv")
    np.testing.assert_allclose(answered(result), probabilities(wanted), rtol=0, atol=1e-6)
    assert not opened
    assert "made by" not in result.stderr
    table.iloc[1:, -WIDTH:] = np.nan  # of one utterance alone: the others are absent, not made
    table.to_csv(tmp_path / "one.csv", index=False)
    assert "- text: 1 of 28 utterances have it" in run("predict", runs / "text", tmp_path / "one.csv").stderr
    assert not opened


def test_texts_that_say_nothing_are_absent_and_listed(runs, tmp_path):
    table = table_of(letters_corpus())
    table.loc[[1, 3], "text"] = ["", "  "]
    table.to_csv(tmp_path / "new.csv", index=False)
    result = run("predict", runs / "text", tmp_path / "new.csv")
    assert len(answered(result)) == 28
    assert "- text: 26 of 28 utterances have it; of the others it is absent" in result.stderr
    for utterance in (1, 3):
        assert f"- text: dialogue d0, utterance {utterance}: no text" in result.stderr.splitlines()
    table.assign(text=[*[""] * 27, "Hm."]).to_csv(tmp_path / "new.csv", index=False)
    said = run("predict", runs / "text", tmp_path / "new.csv").stderr.splitlines()
    assert len([line for line in said if line.startswith("- text: dialogue ") and line.endswith(": no text")]) == 20
    assert said[-1].startswith("- text: and 7 more")


def test_where_nothing_could_be_made_it_is_said_why(runs, tmp_path, monkeypatch):
    monkeypatch.setattr(Letters, "vectors", lambda _, items: (Absence("too odd") for _ in items))
    with pytest.raises(InputError, match="in any utterance; the first: text: dialogue d0, utterance 0: too odd; give a column text"):
        Predictor.open(runs / "text").predict(written(tmp_path / "new.csv"))


def test_a_modality_of_unknown_making_stays_absent(runs, tmp_path):
    result = run("predict", runs / "both", written(tmp_path / "new.csv"))
    assert len(answered(result)) == 28
    assert "- audio: 0 of 28 utterances have it; of the others it is absent" in result.stderr.splitlines()


def test_without_recordings_sound_is_absent_and_it_is_said_what_would_give_it(runs, tmp_path):
    result = run("predict", runs / "heard", written(tmp_path / "new.csv"))
    assert len(answered(result)) == 28
    said = "- audio: 0 of 28 utterances have it; of the others it is absent; give recordings (--media DIR), of which audio is made"
    assert said in result.stderr.splitlines()
    table_of(letters_corpus()).assign(text="").to_csv(tmp_path / "new.csv", index=False)
    result = run("predict", runs / "heard", tmp_path / "new.csv")
    assert_one_line(result, "found none in any utterance; give a column text, of which text is made, or recordings (--media DIR)")


def test_given_sound_wins_over_recordings(runs, tmp_path):
    corpus = letters_corpus()
    table = table_of(corpus).assign(**{f"audio_{k}": corpus.features["audio"][:, k] for k in range(3)})
    table.to_csv(tmp_path / "new.csv", index=False)
    result = run("predict", runs / "heard", tmp_path / "new.csv", "--media", tmp_path)
    np.testing.assert_allclose(answered(result), probabilities(Predictor.open(runs / "heard").predict(corpus)), rtol=0, atol=1e-6)
    assert "- audio: features are given, so no recording is looked at" in result.stderr.splitlines()


def test_recordings_of_sound_have_no_pictures(tmp_path):
    """Which is no fault, unless there is no sound either."""
    recipes = {"text": RECIPE, "audio": SOUND, "visual": replace(SOUND, kind="visual")}
    (tmp_path / "d0.wav").touch()
    found, notes = _findable(letters_corpus(), recipes, Media(tmp_path))
    assert list(found) == ["text", "audio"]
    assert [note.startswith("absent everywhere: ") and "visual: expected videos" in note for note in notes] == [True]
    (tmp_path / "d0.wav").unlink()
    with pytest.raises(InputError, match="audio: expected recordings"):
        _findable(letters_corpus(), recipes, Media(tmp_path))
    assert _findable(letters_corpus(), {"text": RECIPE}, None) == ({"text": RECIPE}, [])
    (tmp_path / "d0.MP4").touch()
    (tmp_path / "d0.mkv").touch()
    with pytest.raises(InputError, match="expected one recording, found"):  # which is another fault
        _findable(letters_corpus(), recipes, Media(tmp_path))


def test_explain_makes_them_too(runs, tmp_path, opened):
    corpus = corpus_for(open_run(runs / "text"), written(tmp_path / "new.csv"))
    np.testing.assert_array_equal(corpus.features["text"], letters_corpus().features["text"])
    assert len(opened) == 1


def test_the_model_is_where_it_is_said_to_be(runs, tmp_path, wanted, opened):
    file = written(tmp_path / "new.csv")
    result = run("predict", runs / "text", file, "--model", f"text={tmp_path}")
    np.testing.assert_allclose(answered(result), probabilities(wanted), rtol=0, atol=1e-6)
    assert opened == [replace(RECIPE, model=str(tmp_path), options={})], "held to the same weights; a folder has no revision"
    Predictor.open(runs / "text").predict(file, models={"text": "letters-too"})
    assert opened[-1] == replace(RECIPE, model="letters-too"), "another name on the hub"
    letters_run(tmp_path / "moved", replace(RECIPE, model=str(tmp_path / "gone"), options={}))
    result = run("predict", tmp_path / "moved", file)
    assert_one_line(result, f"text: expected the model that made it in training in {tmp_path}/gone, found no such folder", "--model text=")
    answered(run("predict", tmp_path / "moved", file, "--model", f"text={tmp_path}"))


def test_how_far_it_is_is_shown(runs, tmp_path, opened, monkeypatch):
    shown: list[object] = []

    @contextmanager
    def bar(title: str, unit: str):
        yield lambda done, total: shown.append((title, unit, done, total))

    monkeypatch.setattr("dgl_merc.cli.console.progress_bar", bar)
    answered(run("predict", runs / "text", written(tmp_path / "new.csv")))
    assert shown[-1] == ("text", "utterances", 28, 28)


def test_extractors_are_kept_open_from_call_to_call(runs, tmp_path, wanted, opened):
    predictor, file = Predictor.open(runs / "text"), written(tmp_path / "new.csv")
    with Extractors() as extractors:
        for _ in range(2):
            np.testing.assert_allclose(
                probabilities(predictor.predict(file, extractors=extractors)), probabilities(wanted), rtol=0, atol=1e-6
            )
    assert len(opened) == 1
    with pytest.raises(InputError, match="features of text alone were made"):
        predictor.predict(file, media=tmp_path)


def test_other_versions_are_told_of(runs, tmp_path):
    letters_run(tmp_path / "old", replace(RECIPE, versions={"letters": "0.9"}))
    result = run("predict", tmp_path / "old", written(tmp_path / "new.csv"))
    assert "- text: letters was 0.9, here is 1.0" in result.stderr.splitlines()
    assert "letters was" not in run("predict", runs / "text", tmp_path / "new.csv").stderr


# ---- several runs


def test_runs_that_had_their_features_alike(runs, tmp_path, opened):
    alike = replace(RECIPE, model="/another/place", options={}, versions={"letters": "0.9"})
    letters_run(tmp_path / "alike", alike, seed=3)
    answered(run("predict", runs / "text", tmp_path / "alike", written(tmp_path / "new.csv")))
    assert len(opened) == 1


def test_runs_that_had_them_otherwise(runs, tmp_path, opened):
    file = written(tmp_path / "new.csv")
    for other, said in (("other", "sentence-transformers letters,"), ("imported", "with imported ones")):
        result = run("predict", runs / "text", runs / other, file)
        assert_one_line(result, "text: expected features, or runs that had theirs made alike", f"{runs / other} with", said.split()[-1])
    letters_run(tmp_path / "options", replace(RECIPE, options={"pooling": "max"}))
    assert_one_line(run("predict", runs / "text", tmp_path / "options", file), "runs that had theirs made alike", "pooling max")
    assert_one_line(run("predict", runs / "text", runs / "unweighed", file), "runs that had theirs made alike")
    assert not opened


# ---- what can't be made


def test_one_line_each(runs, tmp_path):
    file = written(tmp_path / "new.csv")
    lines = write_lines(tmp_path / "new.jsonl", table_of(letters_corpus()).to_dict("records"))
    silent = tmp_path / "silent.csv"
    table_of(letters_corpus()).drop(columns="text").to_csv(silent, index=False)
    assert_one_line(
        run("predict", runs / "text", silent), "expected columns of features, text_0 to text_4", "give a column text, of which text"
    )
    empty = tmp_path / "empty.csv"
    table_of(letters_corpus()).assign(text="").to_csv(empty, index=False)
    assert_one_line(run("predict", runs / "text", empty), "expected features of text, which", "give a column text, of which text is made")
    assert_one_line(run("predict", runs / "imported", file), "expected columns of features, text_0 to text_4", "=columns:NAME*'\n")
    media = ("--media", tmp_path)
    assert_one_line(run("predict", runs / "imported", file, *media), "--media: expected runs that say", "their features were imported")
    assert_one_line(run("predict", runs / "text", file, *media), "--media: expected runs that say", "features of text alone")
    assert_one_line(run("predict", runs / "text", lines, *media), "expected a CSV or the folder of a corpus beside recordings (--media)")
    typed = CliRunner().invoke(main, ["predict", str(runs / "heard"), "-", *map(str, media)], input=lines.read_bytes())
    assert_one_line(typed, "standard input: expected a CSV or the folder of a corpus beside recordings (--media)")
    (tmp_path / "d0.wav").write_bytes(b"x")
    over = (*media, "--out", tmp_path / "d0.wav", "--format", "csv", "--force")
    assert_one_line(run("predict", runs / "heard", file, *over), "d0.wav: is what is read; name another file")
    assert_one_line(run("predict", runs / "text", file, "--jobs", 2), "--jobs: expected recordings to look at (--media DIR)")
    assert_one_line(run("predict", runs / "text", file, "--model", "text"), "--model text: expected MODALITY=MODEL")
    assert_one_line(
        run("predict", runs / "both", file, "--model", "audio=x"), "--model audio: expected a modality with a recipe among text"
    )
    assert_one_line(run("predict", runs / "unweighed", file, "--model", "text=x"), "expected a recipe with weights")
    assert_one_line(run("predict", runs / "text", "--stream", *media), "--media: expected a file of conversations, not --stream")
    assert_one_line(run("predict", runs / "text", file, "--clips", "{text}.wav"), "--clips: expected recordings to look at (--media DIR)")
    clips = (*media, "--clips", "{split}_splits/{dialogue_id}.wav")
    assert_one_line(run("predict", runs / "heard", file, *clips), "expected a pattern without {split}", "write the folder's own name")
    assert_one_line(run("predict", runs / "text", file, "--cut", "never"), "--cut: expected recordings to look at (--media DIR)")
    typed = json.dumps({"dialogue_id": "d", "speaker": "Ana", "text": "Hello"})
    result = CliRunner().invoke(main, ["predict", str(runs / "text"), "--stream"], input=typed)
    assert_one_line(result, "a stream makes none of text", "`dglmerc predict RUN FILE` does")


def test_vectors_of_another_width(runs, tmp_path, monkeypatch):
    monkeypatch.setattr(Letters, "vectors", lambda _self, items: (np.zeros(WIDTH + 1, dtype=np.float32) for _ in items))
    monkeypatch.setattr(Letters, "width", WIDTH + 1)
    result = run("predict", runs / "text", written(tmp_path / "new.csv"))
    assert result.exit_code == 2
    last = result.stderr.splitlines()[-1]
    assert last.startswith("dglmerc: error: ")
    assert "text: expected vectors of width 5" in last
