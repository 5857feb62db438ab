"""Training over several processes: the same steps as one process's, a run folder like any other, and nobody waits for ever."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from cli_cases import assert_one_line, run

from dgl_merc.cli import main as main_module
from dgl_merc.cli.main import Failure
from dgl_merc.cli.options import choose_device, started
from dgl_merc.corpus import Scaling
from dgl_merc.corpus.synthetic import synthetic_corpus
from dgl_merc.errors import DivergedError, InputError
from dgl_merc.graphs import GraphSpec
from dgl_merc.models import MODELS
from dgl_merc.training import fit, load_settings
from dgl_merc.training import processes as module
from dgl_merc.training import run as run_module
from dgl_merc.training.data import DialogueData
from dgl_merc.training.processes import ALONE, Processes, own_seed

DRIVER = str(Path(__file__).with_name("processes_driver.py"))
SMALL = ("model.dim=8", "training.batch_size=4", "training.lr=.01")
STILL = ("model.dropout=0", "model.context.input_dropout=0")


def torchrun(*words: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    """Two processes; they find this package, and end within minutes or not at all."""
    root = str(Path(__file__).resolve().parents[1])
    environment = {**os.environ, "PYTHONPATH": root, "OMP_NUM_THREADS": "1", "TORCH_CPP_LOG_LEVEL": "ERROR"}
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2", *words]
    launched = subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=cwd, env=environment, start_new_session=True
    )
    try:
        out, err = launched.communicate(timeout=200)
    except subprocess.TimeoutExpired:
        os.killpg(launched.pid, signal.SIGKILL)
        pytest.fail(f"processes wait for each other: {words}\n{launched.communicate()[1]}")
    return subprocess.CompletedProcess(command, launched.returncode, out, err)


def make_run(folder: Path, **given: Any) -> subprocess.CompletedProcess[str]:
    return torchrun(DRIVER, json.dumps({"out": str(folder), **given}), cwd=folder.parent)


def left(out: Path) -> dict[str, Any]:
    history = [{k: v for k, v in e.items() if k != "seconds"} for e in json.loads((out / "history.json").read_text())["looks"]]
    return {name: (out / name).read_bytes() for name in ("weights.safetensors", "predictions.parquet")} | {"history": history}


# ---- steps


@pytest.mark.slow
def test_two_processes_make_the_steps_of_one(tmp_path):
    done = torchrun(DRIVER, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    cases = [json.loads(line) for line in done.stdout.splitlines()]
    assert len(cases) >= 20
    assert {case["case"].split()[0].rstrip(",") for case in cases} == {name for name, (kind, _) in MODELS.items() if not kind.solved}
    for case in cases:
        for said in case["processes"]:
            assert said["worst"] < (0.01 if "roughly" in case["case"] else 1e-11), (case["case"], said)
            assert said["greatest"] > 1e-3, f"vacuous: {case['case']}"
            assert said["unused here alone"] == said["used here alone"] == [], case["case"]
    assert any(said["unused"] for case in cases for said in case["processes"]), "vacuous: every parameter always has a part"


# ---- runs


@pytest.mark.slow
def test_a_run_of_two_processes(store, source, tmp_path):
    words = [*SMALL, *STILL, "training.max_epochs=4", "training.modality_dropout=.3", "training.averaging=ema", "data.reduce=20"]
    sets = [part for word in words for part in ("--set", word)]
    done = torchrun("-m", "--", "dgl_merc.cli", "fit", str(store), "--out", "two", "--oracle", "--log", "tensorboard", *sets, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    lines = done.stdout.splitlines()
    assert lines[0].endswith("; seed 0; 2 processes")
    assert [line.split()[0] for line in lines].count("epoch") == 4, "the first process alone prints"
    fit(
        source.corpus,
        source.spec,
        load_settings("mglra", words),
        tmp_path / "one",
        store=source.store,
        oracle=True,
        in_depth=True,
        tensorboard=True,
    )
    assert sorted(p.name for p in tmp_path.iterdir()) == ["one", "two"]
    assert sorted(p.name for p in (tmp_path / "one").iterdir()) == sorted(p.name for p in (tmp_path / "two").iterdir())
    for key in ("loss", "dev_weighted_f1"):
        one, two = ([look[key] for look in left(tmp_path / name)["history"]] for name in ("one", "two"))
        assert two == pytest.approx(one, rel=1e-4)
    environment = [json.loads((tmp_path / name / "environment.json").read_text())["processes"] for name in ("one", "two")]
    assert environment == [1, 2]
    again = fit(source.corpus, source.spec, load_settings("mglra", words), tmp_path / "two", resume=True)
    assert again["test_evaluated"], "a finished run is as any other"


@pytest.mark.slow
def test_killed_and_resumed_it_ends_with_the_same_bits(tmp_path):
    words = [*SMALL, "training.max_epochs=4", "training.modality_dropout=.2", "training.precision=bf16-mixed", "training.batch_size=2"]
    whole = make_run(tmp_path / "whole", words=words, die=0)
    assert whole.returncode == 0, whole.stderr
    for rank in (0, 1):
        killed = make_run(tmp_path / "cut", words=words, die=2 * (8 + 5 * rank) + rank, resume=True)  # five steps an epoch
        assert killed.returncode != 0
        assert not (tmp_path / "cut").exists()
        assert json.loads((tmp_path / ".cut.unfinished" / "state.json").read_text())["progress"]["step"] == [5, 15][rank]
    corpus = synthetic_corpus(0, (9, 3, 3), with_ceilings=False)
    with pytest.raises(InputError, match=r"was begun with machine\.processes = 2, not 1; pass the same settings"):
        fit(corpus, GraphSpec(tuple(corpus.modalities)), load_settings("mglra", words, 3), tmp_path / "cut", resume=True)
    resumed = make_run(tmp_path / "cut", words=words, die=0, resume=True)
    assert resumed.returncode == 0, resumed.stderr
    assert left(tmp_path / "cut") == left(tmp_path / "whole")
    assert sorted(p.name for p in tmp_path.iterdir()) == ["cut", "whole"]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("fit", "nowhere"), "nowhere: expected a store"),
        (("fit", "STORE", "--set", "training.lr=1e30"), "lower training.lr"),
        (("fit", "STORE", "--set", "data.target=age"), "no target 'age'"),
    ],
    ids=["store", "diverged", "target"],
)
def test_a_fault_ends_all_processes_with_one_line(store, tmp_path, words, said):
    done = torchrun("-m", "dgl_merc.cli", *(str(store) if w == "STORE" else w for w in words), cwd=tmp_path)
    assert done.returncode != 0
    lines = [line for line in done.stderr.splitlines() if line.startswith("dglmerc: error:")]
    assert len(lines) == 1, done.stderr
    assert said in lines[0]
    assert "exitcode: 2" in done.stderr.replace("exitcode  : ", "exitcode: ")
    runs = tmp_path / "runs"
    assert not runs.exists() or not any(runs.iterdir())


@pytest.mark.parametrize(("count", "code", "left"), [(2, 2, [2]), (2, 0, []), (1, 2, [])])
def test_one_of_several_that_failed_leaves_at_once(monkeypatch, capsys, count, code, left):
    """An interpreter that ends in order can be aborted by threads of torch, whose exit code would then hide ours."""
    gone: list[int] = []

    def command(**_: Any) -> None:
        print("a last word", end="")
        raise SystemExit(code)

    monkeypatch.setattr(main_module, "main", command)
    monkeypatch.setattr(main_module, "started", lambda: (0, count))
    monkeypatch.setattr(main_module.os, "_exit", gone.append)
    if left:
        main_module.run_process()
    else:
        with pytest.raises(SystemExit) as ended:
            main_module.run_process()
        assert ended.value.code == code
    assert gone == left
    assert capsys.readouterr().out == "a last word"


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("fit", "STORE", "--seeds", 2), "seeds and folds run beside each other"),
        (("fit", "STORE", "--folds", 2), "seeds and folds run beside each other"),
        (("ablate", "mglra", "STORE", "--table", "VI"), "dglmerc ablate runs in one process: call it without torchrun; its runs are made"),
        (("predict", "run", "STORE"), "dglmerc predict runs in one process: call it without torchrun"),
    ],
)
def test_what_several_processes_do_not_do(store, tmp_path, monkeypatch, words, said):
    for key, value in {"TORCHELASTIC_RUN_ID": "x", "RANK": "0", "WORLD_SIZE": "2", "LOCAL_RANK": "0", "LOCAL_WORLD_SIZE": "2"}.items():
        monkeypatch.setenv(key, value)
    monkeypatch.setenv("TORCH_CPP_LOG_LEVEL", "ERROR")
    monkeypatch.chdir(tmp_path)
    assert_one_line(run(*(store if w == "STORE" else w for w in words)), said)
    assert not any(tmp_path.iterdir())


# ---- what they agree on


class Exchange:
    """torch.distributed of two processes, of which one is real and the other has said its part already."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, other: Any) -> None:
        self.other = other
        monkeypatch.setattr(module.distributed, "all_gather_object", self.gather)
        monkeypatch.setattr(module.distributed, "broadcast_object_list", self.broadcast)

    def gather(self, values: list[Any], value: Any) -> None:
        values[:] = [value, self.other]

    def broadcast(self, told: list[Any], src: int) -> None:
        if self.other is not None:
            told[:] = self.other


def fail(error: Exception) -> Any:
    raise error


def test_a_fault_of_one_is_a_fault_of_all(monkeypatch):
    Exchange(monkeypatch, "no such file")
    first = Processes(0, 2)
    with pytest.raises(InputError, match="no such file"):
        first.together(lambda: 1)
    with pytest.raises(DivergedError, match="mine"):
        first.together(lambda: fail(DivergedError("mine")))
    with pytest.raises(RuntimeError):  # a bug, not a fault: it ends this process, and torchrun the others
        first.together(lambda: fail(RuntimeError()))
    Exchange(monkeypatch, None)
    assert first.together(lambda: 1) == 1
    with pytest.raises(InputError, match="my disk"):  # not the fault itself, which every process would print
        Processes(1, 2).together(lambda: fail(OSError("my disk")))


def test_the_first_one_does_it_and_the_others_are_told(monkeypatch):
    Exchange(monkeypatch, None)
    assert Processes(0, 2).first(lambda: 3) == 3
    with pytest.raises(PermissionError):
        Processes(0, 2).first(lambda: fail(PermissionError("its disk")))
    Exchange(monkeypatch, [3, None])
    assert Processes(1, 2).first(lambda: fail(AssertionError("the first one's business"))) == 3
    Exchange(monkeypatch, [None, "its disk"])
    with pytest.raises(InputError, match="its disk"):
        Processes(1, 2).first(lambda: 3)


def test_one_process_agrees_with_itself():
    assert (ALONE.first(lambda: 1), ALONE.together(lambda: 2), ALONE.each(3)) == (1, 2, [3])
    model = torch.nn.Linear(1, 1)
    assert ALONE.forward(model, "32", "cpu") is model  # type: ignore[arg-type,comparison-overlap]


def test_processes_draw_dropouts_of_their_own():
    seeds = {own_seed(seed, rank) for seed in range(20) for rank in range(1, 20)}
    assert len(seeds) == 20 * 19
    assert not seeds & set(range(20)), "0 has the run's own seed"
    for seed in seeds:
        torch.Generator().manual_seed(seed)


def test_processes_draw_the_same_model_and_then_dropouts_of_their_own(source, tmp_path, monkeypatch):
    monkeypatch.setattr(Processes, "first", lambda _self, make: make())  # nobody is there to be told
    words = [*SMALL, "training.max_epochs=1"]
    job = run_module._job(source.corpus, source.spec, load_settings("mglra", words, 5), None)
    made = []
    with torch.random.fork_rng():
        for rank in (0, 1, 2):
            parts, _ = run_module._make(job, "cpu", tmp_path, Processes(rank, 3))
            made.append((parts.model.state_dict(), torch.initial_seed()))
    assert [seed for _, seed in made] == [5, own_seed(5, 1), own_seed(5, 2)]
    assert all(torch.equal(weights[k], made[0][0][k]) for weights, _ in made for k in weights)


# ---- shares


@pytest.fixture(scope="module")
def data() -> DialogueData:
    corpus = synthetic_corpus(0, (12, 4, 4), with_ceilings=False)
    return DialogueData(corpus, GraphSpec(tuple(corpus.modalities)), Scaling.fit(corpus), "emotion")


@pytest.mark.parametrize("parts", [1, 2, 3, 5, 8])
@pytest.mark.parametrize("size", [1, 3, 7])
def test_shares_are_the_batch(data, parts, size):
    dialogues = np.array([4, 9, 0, 7, 2, 3, 11])[:size]
    whole = data.batch(dialogues)
    shares = [data.share(dialogues, part, parts) for part in range(parts)]
    blank = [s for s in shares if not s.structure.presence.any()]
    some = [s for s in shares if s.structure.presence.any()]
    assert len(some) == min(parts, size)
    sizes = [s.structure.num_dialogues for s in some]
    assert max(sizes) - min(sizes) <= 1
    assert np.array_equal(np.concatenate([s.rows for s in some]), whole.rows)
    assert [s.before for s in some] == np.cumsum([0, *(len(s.rows) for s in some)])[:-1].tolist()
    assert torch.equal(torch.cat([s.structure.keys for s in some]), whole.structure.keys), "or masks would differ"
    for m in whole.features:
        assert torch.equal(torch.cat([s.features[m] for s in shares]), whole.features[m])
    for s in blank:
        assert (s.labels == -1).all()
        assert not data.task.known(s.truth).any()


def test_a_blank_dialogue_has_no_score_either(data):
    batch = replace(data.batch(np.array([3])), truth=torch.zeros(int(data.corpus.lengths[3])))
    assert batch.blank().truth.isnan().all()


# ---- devices and words


@pytest.fixture
def second(monkeypatch):
    """As torchrun tells the second of two processes."""
    for key, value in {"TORCHELASTIC_RUN_ID": "x", "RANK": "1", "WORLD_SIZE": "2", "LOCAL_RANK": "1", "LOCAL_WORLD_SIZE": "2"}.items():
        monkeypatch.setenv(key, value)


def test_each_process_has_a_gpu_of_its_own(second, monkeypatch):
    assert started() == (1, 2)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    assert [choose_device(name, 1) for name in ("auto", "cuda", "cpu")] == ["cuda:1", "cuda:1", "cpu"]
    with pytest.raises(InputError, match="--device cuda:0: expected auto, cpu or cuda under torchrun"):
        choose_device("cuda:0", 1)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    with pytest.raises(InputError, match="expected a GPU for each of 2 processes, found 1; start fewer, or pass --device cpu"):
        choose_device("auto", 1)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 0)
    assert choose_device("auto", 1) == "cpu"
    with pytest.raises(InputError, match="found 0"):
        choose_device("cuda", 1)


def test_the_variables_of_another_launcher_mean_nothing(monkeypatch):
    monkeypatch.delenv("TORCHELASTIC_RUN_ID", raising=False)
    monkeypatch.setenv("RANK", "1")
    monkeypatch.setenv("WORLD_SIZE", "2")
    assert started() == (0, 1)


def test_the_second_process_says_only_what_is_its_own(second, monkeypatch, capsys):
    waited: list[float] = []
    monkeypatch.setattr(main_module.time, "sleep", waited.append)
    Failure("the same everywhere").show()
    assert capsys.readouterr().err == ""
    assert len(waited) == 1
    Failure("memory does not suffice", own=True).show()
    assert capsys.readouterr().err == "dglmerc: error: memory does not suffice\n"
    assert len(waited) == 1
