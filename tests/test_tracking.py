"""Training watched in TensorBoard: the points are those of the history, once each, and test only where it was evaluated."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import Any

import pytest
from cli_cases import assert_one_line, good
from cli_cases import run as dglmerc
from sentiment_cases import left, read, run, scored_corpus
from study_cases import SMALL
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from dgl_merc.corpus import Corpus
from dgl_merc.errors import InputError
from dgl_merc.training.loop import Look
from dgl_merc.training.tracking import TRACK, Tracker, tracking

TAGS = {"train/loss": "loss", "train/learning rate": "learning_rate", "dev/weighted F1": "dev_weighted_f1", "seconds per look": "seconds"}
TEST = {"test/weighted F1": "weighted_f1", "test/accuracy": "accuracy", "test/macro F1": "macro_f1"}
WORDS = [part for word in SMALL for part in ("--set", word)]


@pytest.fixture(scope="module")
def corpus() -> Corpus:
    return scored_corpus((8, 3, 3))


def points(folder: Path) -> tuple[dict[str, list[tuple[int, float]]], str]:
    """Tag -> (step, value), as TensorBoard shows them, and the settings."""
    found = EventAccumulator(str(folder))
    found.Reload()
    text = found.Tensors("settings/text_summary")[0].tensor_proto.string_val[0].decode()
    assert len(found.Tensors("settings/text_summary")) == 1
    return {tag: [(e.step, e.value) for e in found.Scalars(tag)] for tag in found.Tags()["scalars"]}, text


def assert_whole(out: Path, *, tested: bool = True) -> None:
    """The points are the history."""
    shown, text = points(out / TRACK)
    looks, metrics = read(out, "history")["looks"], read(out, "metrics")
    assert set(shown) == {*TAGS, *(TEST if tested else ())}
    for tag, key in TAGS.items():
        assert [step for step, _ in shown[tag]] == [look["step"] for look in looks]
        assert [value for _, value in shown[tag]] == pytest.approx([look[key] for look in looks], rel=1e-5)
    for tag, key in TEST.items() if tested else ():
        ((step, value),) = shown[tag]
        assert (step, value) == (metrics["chosen_step"], pytest.approx(metrics["splits"]["test"][key], rel=1e-5))
    assert f"    training.lr = {read(out, 'config')['training']['lr']}" in text.splitlines()
    assert "    model.hidden = 6" in text.splitlines()


@pytest.mark.parametrize("test", [True, False])
def test_a_point_for_every_look_and_the_same_run(corpus, tmp_path, test):
    run(corpus, tmp_path / "a", tensorboard=True, test=test)
    assert_whole(tmp_path / "a", tested=test)
    run(corpus, tmp_path / "b", test=test)
    assert left(tmp_path / "a") == left(tmp_path / "b")
    assert not (tmp_path / "b" / TRACK).exists()
    assert sorted(p.name for p in tmp_path.iterdir()) == ["a", "b"]


class Stop(BaseException):
    """As KeyboardInterrupt, but nobody else's."""


def test_points_are_there_while_it_runs_and_once_after_it_was_cut_off(corpus, tmp_path):
    work = tmp_path / ".a.unfinished" / TRACK

    def stopping(at: int) -> Any:
        def on_look(look: Any, *_: object) -> None:
            shown, _ = points(work)
            assert shown["train/loss"][-1][0] == look.step, "not yet written"
            if look.number == at:
                raise Stop  # after the point, before the state: the look comes again

        return on_look

    for at in (3, 3, 5):
        with pytest.raises(Stop):
            run(corpus, tmp_path / "a", tensorboard=True, resume=True, on_look=stopping(at))
    assert len(list(work.iterdir())) == 3
    run(corpus, tmp_path / "a", tensorboard=True, resume=True)
    assert len(read(tmp_path / "a", "history")["looks"]) == 5
    assert_whole(tmp_path / "a")
    assert [p.name for p in tmp_path.iterdir()] == ["a"]


def test_a_finished_run_is_not_watched_afterwards(corpus, tmp_path):
    run(corpus, tmp_path / "a")
    with pytest.raises(InputError, match=r"a: was finished without --log tensorboard; name another folder"):
        run(corpus, tmp_path / "a", tensorboard=True, resume=True)
    run(corpus, tmp_path / "b", tensorboard=True)
    run(corpus, tmp_path / "b", tensorboard=True, resume=True)
    assert_whole(tmp_path / "b")


def test_nothing_is_computed_without_the_package(corpus, tmp_path, store, monkeypatch):
    find = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name, *rest: None if name == "tensorboard" else find(name, *rest))
    said = "--log tensorboard: expected the package tensorboard, found none; pip install 'dglmerc[track]'"
    with pytest.raises(InputError) as error:
        run(corpus, tmp_path / "a", tensorboard=True, on_look=lambda *_: pytest.fail("it was trained"))
    assert str(error.value) == said
    for several in ((), ("--seeds", 2)):
        result = dglmerc("fit", store, "--preset", "bilstm", *WORDS, *several, "--log", "tensorboard", "--out", tmp_path / "a")
        assert_one_line(result, said)
        assert result.stdout == ""
    assert list(tmp_path.iterdir()) == []
    run(corpus, tmp_path / "b")


def test_each_seed_has_its_own(tmp_path, store):
    good("fit", store, "--preset", "bilstm", *WORDS, "--seeds", 2, "--jobs", 1, "--log", "tensorboard", "--out", tmp_path / "a")
    for seed in ("seed0", "seed1"):
        shown, text = points(tmp_path / "a" / seed / TRACK)
        assert [v for _, v in shown["train/loss"]] == pytest.approx([e["loss"] for e in read(tmp_path / "a" / seed, "history")["looks"]])
        assert f"    seed = {seed[-1]}" in text.splitlines()
        assert not (tmp_path / "a" / seed / "contributions.json").exists()


def test_the_file_is_complete_however_it_ends(tmp_path):
    with tracking(tmp_path, {}, on=False) as none:
        assert none is None
    assert list(tmp_path.iterdir()) == []
    seen: list[Tracker] = []

    def cut_off() -> None:
        with tracking(tmp_path, {"seed": 1}, on=True) as tracker:
            assert tracker is not None
            seen.append(tracker)
            look = Look(1, 1.0, 7, 0.5, 0.01, 50.0, 0.1)
            tracker(look, look, None)
            raise Stop

    with pytest.raises(Stop):
        cut_off()
    assert seen[0]._writer is None, "its thread goes on"
    assert points(tmp_path / TRACK)[0]["train/loss"] == [(7, 0.5)]
