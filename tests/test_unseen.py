"""What keeps scores honest when finished runs meet corpora: nobody is judged on what it was trained on, and unseen tests stay unseen."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from cli_cases import assert_one_line, good, run
from predict_cases import SMALL, fitted, small_corpus

from dgl_merc.corpus import Corpus, save_corpus
from dgl_merc.corpus.synthetic import synthetic_corpus
from dgl_merc.errors import InputError
from dgl_merc.graphs import GraphSpec
from dgl_merc.graphs.build import BuildOptions, build_store
from dgl_merc.inference import Predictor
from dgl_merc.training import fit, load_settings
from dgl_merc.training.evaluate import check_unseen, evaluate_runs
from dgl_merc.training.run_folder import open_run


@pytest.fixture(scope="module")
def corpus() -> Corpus:
    return small_corpus()


def only(corpus: Corpus, *modalities: str) -> Corpus:
    return Corpus.build("part", corpus.utterances, {m: corpus.features[m] for m in modalities}, dict(corpus.targets))


def stored(corpus: Corpus, folder: Path) -> Path:
    saved = save_corpus(corpus, folder / "corpus")
    return build_store(saved, folder / "graphs", GraphSpec(tuple(corpus.modalities)), BuildOptions(edges=False)).path


def test_dialogues_are_known_again_in_another_corpus(corpus, tmp_path):
    """Runs of one modality each, trained on folds of corpora of their own: to average them takes a third corpus."""
    text = fitted(only(corpus, "text"), tmp_path / "text", "bilstm", "data.folds=3", "data.fold=1")
    audio = fitted(only(corpus, "audio"), tmp_path / "audio", "bilstm", "data.folds=3", "data.fold=3")
    place = stored(corpus, tmp_path)
    assert_one_line(
        run("evaluate", text, audio, place), "text: expected a run that has not seen the test dialogues of", "of 4, such as test/"
    )
    assert_one_line(run("evaluate", audio, place), "audio: expected a run that has not seen", "evaluate each run on its own splits")
    assert_one_line(run("evaluate", text, audio), "trained on different corpora; name the store")
    good("evaluate", text, audio, place, "--split", "train")  # nobody takes that for a score


def test_one_label_mended_is_the_same_dialogue(corpus, tmp_path):
    saved = open_run(fitted(corpus, tmp_path / "run", "bilstm", "data.folds=3", "data.fold=1"))
    table = corpus.utterances.copy()
    row = int(np.flatnonzero(table["emotion"].notna())[-1])
    table.loc[row, "emotion"] = next(c for c in corpus.targets["emotion"].labels if c != table["emotion"][row])
    with pytest.raises(InputError, match="has not seen the test dialogues of mended"):
        evaluate_runs([saved], Corpus.build("mended", table, corpus.features, dict(corpus.targets)))


def test_what_is_seen(corpus, tmp_path):
    saved = open_run(fitted(corpus, tmp_path / "run"))
    splits = corpus.utterances["split"]
    for split, others in {"train": (), "dev": ("train",), "test": ("train", "dev")}.items():
        check_unseen(saved, corpus, split)
        for other in others:
            moved = replace(corpus, utterances=corpus.utterances.assign(split=splits.where(splits != other, split)))
            with pytest.raises(InputError, match=f"has not seen the {split} dialogues"):
                check_unseen(saved, moved, split)
    other = synthetic_corpus(1, (8, 3, 4), with_ceilings=False)  # the same names and other people
    assert set(other.dialogue_ids) == set(corpus.dialogue_ids)
    check_unseen(saved, replace(other, utterances=other.utterances.assign(split="test")), "test")
    evaluate_runs([saved], other)
    turned = dict(zip(corpus.targets["emotion"].labels, np.roll(corpus.targets["emotion"].labels, 1), strict=True))
    for column, changed in (("emotion", corpus.utterances["emotion"].map(turned)), ("speaker", corpus.utterances["speaker"] + " II")):
        check_unseen(saved, replace(corpus, utterances=corpus.utterances.assign(split="test", **{column: changed})), "test")


def test_an_unseen_test_split_is_not_predicted_either(corpus, tmp_path):
    words = SMALL["bilstm"]
    fit(corpus, GraphSpec(tuple(corpus.modalities)), load_settings("bilstm", words), tmp_path / "run", test=False)
    save_corpus(corpus, tmp_path / "corpus")
    assert_one_line(run("predict", tmp_path / "run", tmp_path / "corpus"), "its test split was not evaluated yet")
    table = Predictor.open(fitted(corpus, tmp_path / "seen")).predict(tmp_path / "corpus")
    assert table["split"].tolist() == corpus.utterances["split"].tolist(), "who was trained on can be told from who was not"


def test_a_run_of_a_corpus_in_memory_is_not_taken_for_one_of_the_embedded(corpus, tmp_path):
    fitted(corpus, tmp_path / "run")
    for command in ("evaluate", "report"):
        assert_one_line(run(command, tmp_path / "run"), "its corpus was in memory, and is not the embedded one: name the store")
    good("evaluate", tmp_path / "run", stored(corpus, tmp_path))


def test_a_corpus_that_is_another_now(corpus, tmp_path):
    saved = save_corpus(corpus, tmp_path / "corpus")
    fitted(saved, tmp_path / "run")
    good("evaluate", tmp_path / "run")
    save_corpus(only(corpus, "text", "audio", "visual"), tmp_path / "other")
    (tmp_path / "corpus").rename(tmp_path / "old")
    longer = Corpus.build("more", corpus.utterances.assign(text="said"), corpus.features, dict(corpus.targets))
    save_corpus(longer, tmp_path / "corpus")
    assert_one_line(run("evaluate", tmp_path / "run"), f"the corpus at {tmp_path / 'corpus'} is another now")
