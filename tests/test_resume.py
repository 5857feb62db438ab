"""Never lost: a run that is killed, interrupted or runs out of disk goes on and ends with the same bits; earlier results stay."""

from __future__ import annotations

import itertools
import json
import random
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from helpers import REPRESENTATIVE, SMALL_SGRNET

from dgl_merc.corpus.synthetic import synthetic_corpus
from dgl_merc.errors import InputError
from dgl_merc.graphs import GraphSpec
from dgl_merc.models import MODELS
from dgl_merc.training import fit, load_settings
from dgl_merc.training.checkpoint import Checkpoint

pytestmark = pytest.mark.usefixtures("unpainted")

SMALL = {
    "mglra": ("model.dim=8", "training.max_epochs=5", "training.batch_size=4", "training.lr=.01"),
    "sgrnet": (
        *SMALL_SGRNET,
        *("training.max_epochs=5", "training.batch_size=4", "training.lr=.01"),
    ),
    "bilstm": ("model.hidden=6", "training.max_epochs=5", "training.batch_size=5", "training.lr=.02"),
}
WAYS = {
    "plain": (),
    "everything": (
        "training.averaging=ema",
        "training.averaging_from=1",
        "training.modality_dropout=.3",
        "training.schedule=restarts",
        "training.restart_epochs=2",
        "training.warmup_steps=2",
        "training.class_weights=balanced",
        "training.focal=1.5",
        "training.label_smoothing=.1",
        "training.decay=decoupled",
        "data.reduce=20",
    ),
    "by steps": ("training.eval_every=2", "training.max_steps=11", "training.averaging=mean", "training.patience=99"),
}


@pytest.fixture(scope="module")
def corpus():
    return synthetic_corpus(0, (12, 4, 4), with_ceilings=False)


def run(corpus: Any, out: Path, preset: str = "mglra", words: tuple[str, ...] = (), **options: Any) -> dict[str, Any]:
    return fit(corpus, GraphSpec(tuple(corpus.modalities)), load_settings(preset, [*SMALL[preset], *words], 7), out, **options)


def left(out: Path) -> dict[str, Any]:
    history = [{k: v for k, v in e.items() if k != "seconds"} for e in json.loads((out / "history.json").read_text())["looks"]]
    return {name: (out / name).read_bytes() for name in ("weights.safetensors", "predictions.parquet")} | {"history": history}


class Stop(BaseException):
    """As KeyboardInterrupt, but nobody else's."""


def stopping(look: int) -> Any:
    def on_look(now: Any, *_: object) -> None:
        if now.number == look:
            raise Stop

    return on_look


def test_models_of_every_kind_are_resumed_here():
    assert set(SMALL) == {name for name in REPRESENTATIVE if not MODELS[name][0].solved}, "the others: test_linear.py"


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("preset", SMALL)
def test_a_run_cut_off_again_and_again_ends_with_the_same_bits(corpus, tmp_path, preset, way):
    run(corpus, tmp_path / "whole", preset, WAYS[way])
    looks = len(left(tmp_path / "whole")["history"])
    assert looks >= 5
    for look in range(1, looks + 1):  # dies before look 1 is saved, then before look 2, ...
        torch.rand(look)
        with pytest.raises(Stop):
            run(corpus, tmp_path / "cut", preset, WAYS[way], resume=True, on_look=stopping(look))
        assert not (tmp_path / "cut").exists()
        assert (tmp_path / ".cut.unfinished").exists() == (look > 1)
    seen: list[int] = []
    run(corpus, tmp_path / "cut", preset, WAYS[way], resume=True, on_look=lambda now, *_: seen.append(now.number))
    assert seen == [looks], "it did not go on where it was"
    assert left(tmp_path / "cut") == left(tmp_path / "whole")
    assert [p.name for p in tmp_path.iterdir() if p.name.startswith(".")] == []


def test_fitting_leaves_the_generator_as_it_found_it(corpus, tmp_path):
    torch.manual_seed(5)
    before = torch.get_rng_state()
    run(corpus, tmp_path / "a")
    assert torch.equal(torch.get_rng_state(), before)


def test_a_finished_run_is_not_run_again(corpus, tmp_path):
    first = run(corpus, tmp_path / "a")
    stamp = (tmp_path / "a" / "weights.safetensors").stat().st_mtime_ns
    again = run(corpus, tmp_path / "a", resume=True, on_look=stopping(1))
    assert again == json.loads(json.dumps(first))
    assert (tmp_path / "a" / "weights.safetensors").stat().st_mtime_ns == stamp
    with pytest.raises(InputError, match=r"holds a run of training\.lr = 0\.01, not 0\.5; name another folder, or pass --force$"):
        run(corpus, tmp_path / "a", words=("training.lr=.5",), resume=True)
    run(corpus, tmp_path / "a", words=("training.lr=.5",), resume=True, force=True)
    assert json.loads((tmp_path / "a" / "config.json").read_text())["training"]["lr"] == 0.5


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"words": ("training.lr=.5",)}, r"training\.lr = 0\.01, not 0\.5"),
        (
            {"words": ("data.modalities=text",)},
            r"data\.spec\.modalities = \['text', 'audio', 'visual'\], not \['text'\]|data\.modalities",
        ),
        ({"oracle": True}, r"machine\.oracle = False, not True"),
        ({"corpus": synthetic_corpus(1, (12, 4, 4), with_ceilings=False)}, r"data\.corpus\.content_sha256"),
    ],
    ids=["settings", "modalities", "oracle", "corpus"],
)
def test_an_unfinished_run_of_something_else_is_kept_and_named(corpus, tmp_path, change, said):
    with pytest.raises(Stop):
        run(corpus, tmp_path / "a", on_look=stopping(3))
    with pytest.raises(InputError, match=said):
        run(**{"corpus": corpus, "out": tmp_path / "a", "resume": True, **change})
    with pytest.raises(InputError, match="is unfinished; pass --resume to go on with it"):
        run(corpus, tmp_path / "a")
    seen: list[int] = []
    run(corpus, tmp_path / "a", resume=True, on_look=lambda now, *_: seen.append(now.number))
    assert seen == [3, 4, 5]


def test_threads_are_part_of_the_promise(corpus, tmp_path):
    with pytest.raises(Stop):
        run(corpus, tmp_path / "a", on_look=stopping(2))
    threads = torch.get_num_threads()
    torch.set_num_threads(threads + 1)
    try:
        with pytest.raises(InputError, match=r"machine\.threads"):
            run(corpus, tmp_path / "a", resume=True)
    finally:
        torch.set_num_threads(threads)


def test_force_begins_anew(corpus, tmp_path):
    run(corpus, tmp_path / "whole")
    with pytest.raises(Stop):
        run(corpus, tmp_path / "a", words=("training.lr=.5",), on_look=stopping(3))
    run(corpus, tmp_path / "a", force=True)
    assert left(tmp_path / "a") == left(tmp_path / "whole")


def test_a_diverging_run_leaves_earlier_results_and_nothing_else(corpus, tmp_path):
    run(corpus, tmp_path / "a")
    before = left(tmp_path / "a")
    for words in (("training.lr=1e30", "training.clip=0"), ("training.lr=1e30", "training.max_steps=1", "training.clip=0")):
        with pytest.raises(InputError, match=r"the loss is nan|expected a finite answer, found none"):
            run(corpus, tmp_path / "a", words=words, force=True)
        assert left(tmp_path / "a") == before
        assert [p.name for p in tmp_path.iterdir()] == ["a"]


def test_a_run_that_could_not_be_written_can_still_be(corpus, tmp_path):
    """Somebody else's folder appears where the results belong, after the training."""
    run(corpus, tmp_path / "whole")

    def intrude(look: Any, *_: object) -> None:
        if look.number == 5:
            (tmp_path / "a").mkdir()
            (tmp_path / "a" / "thesis").touch()

    with pytest.raises(InputError, match="exists and is not empty"):
        run(corpus, tmp_path / "a", on_look=intrude)
    (tmp_path / "a" / "thesis").rename(tmp_path / "thesis")
    seen: list[int] = []
    run(corpus, tmp_path / "a", resume=True, on_look=lambda now, *_: seen.append(now.number))
    assert seen == [], "it was trained again"
    assert left(tmp_path / "a") == left(tmp_path / "whole")


def test_a_replacement_that_was_cut_off_goes_on_with_both_flags(corpus, tmp_path):
    other = ("training.lr=.5",)
    run(corpus, tmp_path / "a")
    run(corpus, tmp_path / "b", words=other)
    first = left(tmp_path / "a")
    with pytest.raises(Stop):
        run(corpus, tmp_path / "a", words=other, force=True, on_look=stopping(3))
    assert left(tmp_path / "a") == first
    run(corpus, tmp_path / "a", resume=True)  # the finished one: it needs nothing, and the other's state is not its own
    assert (tmp_path / ".a.unfinished" / "state.json").is_file()
    with pytest.raises(InputError, match=r"holds a run of training\.lr = 0\.01, not 0\.5; .* --force \(with --resume: what was begun"):
        run(corpus, tmp_path / "a", words=other, resume=True)
    seen: list[int] = []
    run(corpus, tmp_path / "a", words=other, resume=True, force=True, on_look=lambda now, *_: seen.append(now.number))
    assert seen == [3, 4, 5]
    assert left(tmp_path / "a") == left(tmp_path / "b")
    with pytest.raises(Stop):
        run(corpus, tmp_path / "a", force=True, on_look=stopping(2))
    run(corpus, tmp_path / "a", words=("training.lr=.1",), resume=True, force=True)  # of something else: begun anew
    assert json.loads((tmp_path / "a" / "config.json").read_text())["training"]["lr"] == 0.1
    assert [p.name for p in tmp_path.iterdir() if p.name.startswith(".")] == []


def test_what_a_killed_replacement_left_is_put_right_by_the_next_run(corpus, tmp_path):
    run(corpus, tmp_path / "a")
    (tmp_path / "a").rename(tmp_path / ".a.99.old")  # killed between the two renames
    (tmp_path / ".a.98.partial").mkdir()
    assert run(corpus, tmp_path / "a", resume=True, on_look=stopping(1))["epochs"] == 5
    assert [p.name for p in tmp_path.iterdir()] == ["a"]


def test_force_replaces_one_run_and_not_those_inside(corpus, tmp_path):
    run(corpus, tmp_path / "a")
    run(corpus, tmp_path / "a" / "x" / "inside")
    with pytest.raises(InputError, match=r"holds other runs \(.*inside\); --force replaces a run alone"):
        run(corpus, tmp_path / "a", force=True)
    assert (tmp_path / "a" / "x" / "inside" / "metrics.json").is_file()


def test_the_oracle_s_file_of_a_cut_run_is_that_of_a_whole_one(corpus, tmp_path):
    run(corpus, tmp_path / "whole", oracle=True)
    saved = Checkpoint.save
    for look in (2, 4):

        def cut(*args: Any, look: int = look) -> None:
            if len(args[3]["history"]) == look:
                raise Stop  # the oracle has written this look, the state has not
            saved(*args)

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(Checkpoint, "save", cut)
            with pytest.raises(Stop):
                run(corpus, tmp_path / "cut", oracle=True, resume=True)
    run(corpus, tmp_path / "cut", oracle=True, resume=True)
    pair = [json.loads((tmp_path / name / "oracle.json").read_text()) for name in ("whole", "cut")]
    assert pair[0] == pair[1]
    assert [e["number"] for e in pair[0]["looks"]] == [1, 2, 3, 4, 5]
    run(corpus, tmp_path / "plain")
    with pytest.raises(InputError, match="was finished without --oracle"):
        run(corpus, tmp_path / "plain", oracle=True, resume=True)


def test_a_folder_that_is_where_one_stands(corpus, tmp_path, monkeypatch):
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    run(corpus, Path())
    assert "<h1>here</h1>" in (tmp_path / "here" / "report.html").read_text()


# ---- the state on disk


@pytest.fixture
def cut(corpus, tmp_path):
    with pytest.raises(Stop):
        run(corpus, tmp_path / "a", on_look=stopping(3))
    return tmp_path / ".a.unfinished"


def flip(path: Path) -> None:
    raw = bytearray(path.read_bytes())
    raw[len(raw) // 2] ^= 1
    path.write_bytes(raw)


@pytest.mark.parametrize(
    ("damage", "said"),
    [
        (lambda f: flip(next(f.glob("state-*"))), "expected SHA-256"),
        (lambda f: next(f.glob("state-*")).unlink(), "expected a file, found none"),
        (lambda f: (f / "state.json").write_text("{"), r"state\.json: expected JSON"),
        (lambda f: (f / "state.json").write_text("{}"), r"state\.json: expected the state of a run, found a fault.*--force"),
        (lambda f: (f / "plan.json").write_text("[]"), r"plan\.json: expected a JSON object"),
    ],
    ids=["a bit", "a file", "half a state", "no state", "no plan"],
)
def test_a_damaged_state_is_named(corpus, tmp_path, cut, damage, said):
    damage(cut)
    with pytest.raises(InputError, match=said):
        run(corpus, tmp_path / "a", resume=True)
    run(corpus, tmp_path / "a", force=True)


def test_only_the_latest_state_is_kept_and_a_failed_save_keeps_the_last(tmp_path, monkeypatch):
    states = Checkpoint(tmp_path)
    assert states.load() is None
    states.save(1, {"a": torch.arange(3)}, {"n": 1})
    states.save(2, {"a": torch.arange(4)}, {"n": 2})
    import dgl_merc.training.checkpoint as module

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    for name in ("write_bytes", "write_json"):
        with monkeypatch.context() as patch:
            patch.setattr(module, name, full)
            with pytest.raises(OSError, match="No space"):
                states.save(3, {"a": torch.arange(5)}, {"n": 3})
        tensors, state = states.load()
        assert (tensors["a"].tolist(), state) == ([0, 1, 2, 3], {"n": 2})
    states.save(4, {"a": torch.arange(2)}, {"n": 4})
    assert sorted(p.name for p in tmp_path.iterdir()) == ["state-000004.safetensors", "state.json"]


# ---- one process at a time


def test_a_folder_in_use_is_refused(corpus, tmp_path):
    run(corpus, tmp_path / "a")
    before = left(tmp_path / "a")
    code = "import sys, time, pathlib; from dgl_merc.files import locked\nwith locked(pathlib.Path(sys.argv[1]), 'fitting'): print('in', flush=True); time.sleep(60)"
    other = subprocess.Popen([sys.executable, "-c", code, str(tmp_path / "a")], stdout=subprocess.PIPE, text=True)
    try:
        assert other.stdout.readline() == "in\n"
        with pytest.raises(InputError, match=rf"in use by another process \(process {other.pid}\), which is fitting; wait for it"):
            run(corpus, tmp_path / "a", force=True)
        assert left(tmp_path / "a") == before
    finally:
        other.kill()
        other.wait()
        other.stdout.close()
    assert (tmp_path / ".a.lock").exists(), "vacuous: the other process left no lock behind"
    run(corpus, tmp_path / "a", force=True)
    assert [p.name for p in tmp_path.iterdir()] == ["a"]


# ---- kill -9


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="forks")
@pytest.mark.parametrize("earlier", [False, True], ids=["new", "replacing"])
def test_killed_at_random_points_it_ends_with_the_same_bits(tmp_path, earlier):
    words = [*SMALL["mglra"], "training.averaging=ema", "training.modality_dropout=.2"]

    def drive(name: str, points: list[Any]) -> list[dict[str, Any]]:
        (tmp_path / name).mkdir()
        driver = Path(__file__).with_name("kill_driver.py")
        command = [sys.executable, str(driver), str(tmp_path / name), *map(json.dumps, (words, points, earlier))]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        return [json.loads(line) for line in done.stdout.splitlines()]

    (whole,) = drive("whole", [None])
    draw = random.Random(2 + earlier)
    parts = [whole["count"] * k // 5 for k in range(6)]  # one in each fifth of its operations
    points: list[Any] = [draw.randrange(lo + 1, hi + 1) for lo, hi in itertools.pairwise(parts)]
    killed = drive("killed", [*points, draw.uniform(0.05, 1.0)])
    assert len(killed) == 6
    same = ("weights.safetensors", "scaling.safetensors", "predictions.parquet", "history", "files")
    for found in killed:
        assert found["status"][1] == 0, found["point"]
        assert found["status"][0] == 9 or isinstance(found["point"], float)
        assert found["kept"] or not earlier, f"the earlier result was lost at {found['point']}"
        for key in same:
            assert found[key] == whole[key], (found["point"], key)
    assert {found["state"] for found in killed} == {False, True}, "vacuous: died only before there was a state, or only after"


def test_the_state_is_not_trusted_with_more_than_tensors(corpus, tmp_path, cut):
    files = sorted(p.suffix for p in cut.iterdir())
    assert files == [".json", ".json", ".safetensors"]
    state = json.loads((cut / "state.json").read_text())
    assert state["progress"]["step"] == 6
    assert [look["number"] for look in state["history"]] == [1, 2]
    assert np.isfinite(state["history"][0]["loss"])
