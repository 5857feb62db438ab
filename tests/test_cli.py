"""``dglmerc build-graphs``, ``fit``, ``verify`` and ``env``: what they leave behind and print, and one line for everything else."""

from __future__ import annotations

import configparser
import errno
import importlib.metadata
import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from cli_cases import assert_one_line, run

from dgl_merc.corpus import save_corpus
from dgl_merc.corpus.synthetic import synthetic_corpus
from dgl_merc.graphs.store import open_store
from dgl_merc.training import preset_names

pytestmark = [pytest.mark.xdist_group("cli"), pytest.mark.usefixtures("unpainted")]  # its runs are made once

SMALL = ("--set", "model.dim=6", "--set", "training.max_epochs=2", "--set", "training.batch_size=4")


@pytest.fixture(scope="module")
def ready(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a tiny corpus and its graphs, to be copied."""
    folder = tmp_path_factory.mktemp("ready")
    save_corpus(synthetic_corpus(0, (8, 3, 3)), folder / "corpus")
    result = run("build-graphs", folder / "corpus", folder / "graphs", "--cross", "dialogue", "--window", 3)
    assert result.exit_code == 0, result.output
    return folder


@pytest.fixture
def mine(ready: Path, tmp_path: Path) -> Path:
    shutil.copytree(ready, tmp_path / "w")
    return tmp_path / "w"


# ---- what works


@pytest.mark.dgl
def test_build_graphs(ready, tmp_path):
    result = run(
        "build-graphs",
        ready / "corpus",
        tmp_path / "g",
        "--modalities",
        "audio,text",
        "--causal",
        "--past",
        2,
        "--cross",
        "none",
        "--with-features",
    )
    assert result.exit_code == 0, result.output
    assert result.stderr == ""
    assert "Nodes and edges" in result.stdout
    assert f"Graphs of 14 dialogues in {tmp_path / 'g'}" in result.stdout
    store = open_store(tmp_path / "g")
    assert (store.spec.modalities, store.spec.causal, store.spec.past, store.spec.cross) == (("audio", "text"), True, 2, "none")
    assert store.graph(0).nodes["audio"].data["x"].shape[1] == store.corpus.modalities["audio"].width
    assert_one_line(run("build-graphs", ready / "corpus", tmp_path / "g"), "--force")
    assert run("build-graphs", ready / "corpus", tmp_path / "g", "--force", "--no-edges").exit_code == 0
    assert not list((tmp_path / "g" / "graphs").glob("*.dgl"))


def test_build_graphs_says_how_the_common_spaces_hold(ready):
    store = open_store(ready / "graphs")
    assert (store.spec.window, store.spec.cross) == (3, "dialogue")
    result = run("build-graphs", ready / "corpus", ready.parent / "again")
    for pair in store.manifest["correlations"]:
        assert f"Common space of {pair}: first canonical correlation" in result.stdout


def test_fit(mine, painted):
    result = run("fit", mine / "graphs", "--out", mine / "run", *SMALL, "--seed", 3, "--device", "cpu")
    assert result.exit_code == 0, result.output
    assert result.stderr == ""
    metrics = json.loads((mine / "run" / "metrics.json").read_text())
    lines = result.stdout.splitlines()
    assert lines[0].startswith("Fitting mglra to synthetic: 14 dialogues, ")
    assert lines[0].endswith("; seed 3")
    assert [line.split()[1] for line in lines if line.startswith("epoch ")] == ["1", "2"]
    assert "best so far" in lines[1]
    test = metrics["splits"]["test"]
    assert f"Test, evaluated once: weighted F1 {test['weighted_f1']:.2f}, accuracy {test['accuracy']:.2f}" in lines
    assert f"Chosen on dev: epoch {metrics['chosen_epoch']} of 2" in result.stdout
    assert f"Bayes rate of this corpus: weighted F1 {metrics['ceiling']['weighted_f1']:.2f}" in result.stdout
    assert lines[-1] == f"Report: {mine / 'run' / 'report.html'}"
    assert json.loads((mine / "run" / "data.json").read_text())["spec"]["window"] == 3


def test_fit_names_its_folder_and_takes_the_embedded_corpus(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    import dgl_merc.corpus.synthetic as module

    monkeypatch.setattr(module, "synthetic_corpus", lambda: synthetic_corpus(0, (8, 3, 3), with_ceilings=False))
    threads = torch.get_num_threads()
    result = run("fit", "--preset", "bilstm", "--set", "training.max_epochs=1", "--set", "model.hidden=4", "--threads", 2)
    assert torch.get_num_threads() == 2
    torch.set_num_threads(threads)
    assert result.exit_code == 0, result.output
    assert (tmp_path / "runs" / "bilstm-embedded-seed0" / "report.html").is_file()
    assert_one_line(run("fit", "--preset", "bilstm"), "runs/bilstm-embedded-seed0: exists and is not empty")


def test_fit_help_names_every_preset():
    said = re.sub(r"(?<=-)\s+", "", run("fit", "--help").stdout)  # lines may end at a hyphen
    words = re.findall(r"[\w-]+", said)
    for name in preset_names():
        assert name in words


@pytest.mark.parametrize("what", ["graphs", "corpus"])
def test_verify(ready, what):
    result = run("verify", ready / what)
    assert result.exit_code == 0, result.output
    assert result.stdout.startswith(f"{ready / what}: a ")


def test_env_knows_every_package_we_ask_for():
    from dgl_merc.training.environment import _PACKAGES

    setup = configparser.ConfigParser()
    setup.read(Path(__file__).resolve().parents[1] / "setup.cfg", encoding="utf-8")
    wanted = setup["options"]["install_requires"] + setup["options.extras_require"]["track"]
    assert {re.split(r"[>=\[]", line)[0] for line in wanted.split()} <= set(_PACKAGES)


def test_env_prints_some_variables_and_no_secret(monkeypatch):
    from dgl_merc.training.environment import _VARIABLES

    for name in _VARIABLES:
        monkeypatch.delenv(name, raising=False)
    assert "\nvariables          none\n" in run("env").stdout
    for name, value in {"OMP_NUM_THREADS": "3", "RANK": "1", "WORLD_SIZE": "2", "API_TOKEN": "hush", "MASTER_KEY": "hush"}.items():
        monkeypatch.setenv(name, value)
    said = run("env").stdout
    assert "\nvariables          OMP_NUM_THREADS 3, RANK 1, WORLD_SIZE 2\n" in said
    assert "hush" not in said


def test_env_names_the_gpus(monkeypatch):
    from dgl_merc.cli.env import _in_words
    from dgl_merc.training import environment

    about = SimpleNamespace(name="A card", total_memory=80 * 2**30, major=9, minor=0)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.setattr(torch.cuda, "get_device_properties", lambda _: about)
    found = environment._gpus()
    assert found == [{"name": "A card", "memory": 80 * 2**30, "capability": "9.0"}] * 2
    assert _in_words("gpus", found) == "A card, 80.0 GiB, capability 9.0; A card, 80.0 GiB, capability 9.0"


@pytest.mark.parametrize(("system", "bytes_"), [("linux", 5 * 1024), ("darwin", 5)])
def test_peak_memory_is_in_bytes(monkeypatch, system, bytes_):
    from dgl_merc.training import environment

    monkeypatch.setattr(environment.resource, "getrusage", lambda _: SimpleNamespace(ru_maxrss=5))
    monkeypatch.setattr(environment.sys, "platform", system)
    assert environment.peak_memory("cpu") == {"process": bytes_, "gpu": None}
    monkeypatch.setattr(torch.cuda, "max_memory_allocated", lambda device: {"cuda:1": 7}[device])
    assert environment.peak_memory("cuda:1")["gpu"] == 7


@pytest.mark.dgl
def test_env():
    result = run("env")
    assert result.exit_code == 0, result.output
    words = dict(line.split(maxsplit=1) for line in result.stdout.splitlines())
    assert words["torch"].startswith(torch.__version__.split("+", 1)[0])
    assert "dgl works          yes" in result.stdout
    for name in ("lightning-fabric", "lightning-utilities", "tensorboard", "pyarrow"):
        assert words[name] == importlib.metadata.version(name)
    assert int(words["cpus_usable"]) == len(os.sched_getaffinity(0))
    assert re.fullmatch(r"\d+\.\d GiB", words["memory"])
    assert "distributed gloo" in words["torch_build"]
    assert "UTF-8" in words["encoding"].upper()
    said = {tuple(line.split()[:2]) for line in result.stdout.splitlines() if line.startswith("  ")}
    assert {("masked_gcn", "IEMOCAP-like"), ("rgcn", "MELD-like"), ("attention_filter", "MELD-like")} <= said


def test_a_group_without_a_command_prints_its_help():
    for group in ((), ("import",)):
        result = run(*group)
        assert result.exit_code == 2
        assert "Usage: dglmerc" in result.stderr
    assert run("--version").stdout.startswith("dglmerc, version ")


# ---- what does not

Change = Callable[[Path], Any]


def cut(name: str) -> Change:
    return lambda w: (w / name).write_bytes((w / name).read_bytes()[:-9])


def flip(name: str) -> Change:
    def change(w: Path) -> None:
        data = bytearray((w / name).read_bytes())
        data[len(data) // 2] ^= 0xFF
        (w / name).write_bytes(bytes(data))

    return change


def text(name: str, content: str) -> Change:
    return lambda w: (w / name).write_text(content)


def entry(name: str, *path: str, value: Any = None) -> Change:
    """Set (or, without a value, remove) an entry of a JSON file."""

    def change(w: Path) -> None:
        table = inner = json.loads((w / name).read_text())
        for key in path[:-1]:
            inner = inner[key]
        inner.pop(path[-1])
        if value is not None:
            inner[path[-1]] = value
        (w / name).write_text(json.dumps(table))

    return change


def fine(_w: Path) -> None:
    return None


FIT = ("fit", "graphs", "--out", "run")
BUILD = ("build-graphs", "corpus", "out")
MANIFEST, CORPUS = "graphs/manifest.json", "corpus/corpus.json"

FAULTS: dict[str, tuple[Change, tuple[str, ...], tuple[str, ...]]] = {
    # name: (what is done to good data, the command, what the one line must say)
    "no store": (fine, ("fit", "nowhere", "--out", "run"), ("nowhere: expected a store", "build-graphs")),
    "a file as store": (fine, ("fit", MANIFEST, "--out", "run"), ("expected a store",)),
    "a corpus as store": (fine, ("fit", "corpus", "--out", "run"), ("expected a store",)),
    "a store as corpus": (fine, ("build-graphs", "graphs", "out"), ("expected a corpus folder",)),
    "no corpus": (fine, ("build-graphs", "nowhere", "out"), ("nowhere: expected a corpus folder",)),
    "a manifest that is no JSON": (text(MANIFEST, "{"), FIT, ("manifest.json: expected JSON",)),
    "a manifest that is a list": (text(MANIFEST, "[]"), FIT, ("expected a JSON object, found list",)),
    "an empty manifest": (text(MANIFEST, "{}"), FIT, ("expected schema 1, found None",)),
    "a newer manifest": (entry(MANIFEST, "schema_version", value=99), FIT, ("found 99", "update dglmerc")),
    "a manifest without spec": (entry(MANIFEST, "spec"), FIT, ("manifest.json", "spec")),
    "a manifest without files": (entry(MANIFEST, "files"), FIT, ("manifest.json", "files")),
    "a manifest without corpus": (entry(MANIFEST, "corpus"), FIT, ("manifest.json", "corpus")),
    "a manifest of another corpus": (entry(MANIFEST, "corpus", "content_sha256", value="0" * 64), FIT, ("another state of the corpus",)),
    "a manifest that reaches out": (entry(MANIFEST, "files", value={"../x": {"bytes": 1, "sha256": ""}}), ("verify", "graphs"), ("outside the folder",)),
    "a corpus that moved": (lambda w: (shutil.rmtree(w / "corpus"), entry(MANIFEST, "corpus", "path", value="/nowhere")(w)), FIT, ("its corpus 'synthetic' is not at",)),
    "a table cut short": (cut("graphs/dialogues.parquet"), FIT, ("dialogues.parquet", "bytes")),
    "a table lost": (lambda w: (w / "graphs/dialogues.parquet").unlink(), FIT, ("dialogues.parquet", "expected a file")),
    "a shard cut short": (cut("graphs/graphs/00000.dgl"), ("verify", "graphs"), ("00000.dgl", "bytes")),
    "a shard with another byte": (flip("graphs/graphs/00000.dgl"), ("verify", "graphs"), ("00000.dgl", "SHA-256")),
    "utterances cut short": (cut("corpus/utterances.parquet"), FIT, ("utterances.parquet", "bytes")),
    "utterances with another byte": (flip("corpus/utterances.parquet"), ("verify", "graphs"), ("utterances.parquet",)),
    "features cut short": (cut("corpus/features/audio.npy"), FIT, ("audio.npy", "bytes")),
    "features with another byte": (flip("corpus/features/audio.npy"), ("verify", "corpus"), ("audio.npy", "SHA-256")),
    "features lost": (lambda w: (w / "corpus/features/audio.npy").unlink(), BUILD, ("audio.npy", "expected a file")),
    "a corpus.json that is none": (text(CORPUS, "hello"), BUILD, ("corpus.json: expected JSON",)),
    "a corpus.json without hash": (entry(CORPUS, "content_sha256"), BUILD, ("corpus.json", "content_sha256")),
    "a newer corpus": (entry(CORPUS, "schema_version", value=99), BUILD, ("newer",)),
    "no store to inspect": (fine, ("inspect", "nowhere"), ("nowhere: expected a store", "build-graphs")),
    "nothing to verify": (fine, ("verify", "."), ("expected a corpus (corpus.json) or a store (manifest.json), found neither",)),
    "an unknown preset": (fine, (*FIT, "--preset", "mglr"), ("no preset 'mglr'; there are",)),
    "an unknown setting": (fine, (*FIT, "--set", "training.lrr=1"), ("did you mean training.lr?",)),
    "a value of another kind": (fine, (*FIT, "--set", "training.lr=fast"), ("must be of kind float, found 'fast'",)),
    "a value out of bounds": (fine, (*FIT, "--set", "model.gcn.rate=2"), ("model.gcn.rate must be from 0 to 1",)),
    "no value": (fine, (*FIT, "--set", "training.lr"), ("expected key=value",)),
    "an unknown target": (fine, (*FIT, "--set", "data.target=mood"), ("no target 'mood'",)),
    "an unknown modality to fit": (fine, (*FIT, "--set", "data.modalities=smell"), ("data.modalities names smell",)),
    "a negative window to fit": (fine, (*FIT, "--set", "graph.window=-1"), ("window must be a whole number from 0 on",)),
    "a device that is none": (fine, (*FIT, "--device", "toaster"), ("--device toaster: expected a device of this machine",)),
    "a device without numbers": (fine, (*FIT, "--device", "meta"), ("--device meta: expected a device",)),
    "a device without a module": (fine, (*FIT, "--device", "hpu"), ("--device hpu: expected a device",)),
    "a device that is not here": (fine, (*FIT, "--device", "cuda:99"), ("--device cuda:99: expected a device",)),
    "a run folder in use": (fine, ("fit", "graphs", "--out", "graphs/graphs"), ("graphs/graphs: exists and is not empty",)),
    "a run folder that is a file": (fine, ("fit", "graphs", "--out", MANIFEST), ("expected a folder or nothing, found a file",)),
    "a run folder below a file": (fine, ("fit", "graphs", "--out", f"{MANIFEST}/run"), ("manifest.json",)),
    "a run folder without a name": (lambda w: (w / "empty").mkdir(), ("fit", "graphs", "--out", "empty/.."), ("name",)),
    "a run folder around the graphs": (fine, ("fit", "graphs", "--out", ".", "--force"), ("w: holds", "name another folder")),
    "a run folder that is the graphs": (fine, ("fit", "graphs", "--out", "graphs", "--force"), ("graphs: holds", "name another folder")),
    "a run folder that is no run": (lambda w: (w / "my").mkdir() or (w / "my/thesis").touch(), ("fit", "graphs", "--out", "my", "--force"), ("my: found no metrics.json", "--force replaces only")),
    "graphs around the corpus": (fine, ("build-graphs", "corpus", ".", "--force"), (".: holds the corpus", "name another folder")),
    "graphs that are none": (lambda w: (w / "my").mkdir() or (w / "my/thesis").touch(), ("build-graphs", "corpus", "my", "--force"), ("my: found no manifest.json",)),
    "graphs in use": (fine, ("build-graphs", "corpus", "graphs"), ("--force",)),
    "graphs over a file": (fine, ("build-graphs", "corpus", CORPUS), ("found a file",)),
    "an unknown modality": (fine, (*BUILD, "--modalities", "text,smell"), ("missing: smell",)),
    "a modality twice": (fine, (*BUILD, "--modalities", "text,text"), ("modalities must be different names",)),
    "a modality of that name": (fine, (*BUILD, "--modalities", "utterance"), ("modalities must be",)),
    "a negative window": (fine, (*BUILD, "--window", "-1"), ("'--window'", "(see dglmerc build-graphs --help)")),
    "a window of words": (fine, (*BUILD, "--window", "wide"), ("'--window'", "'wide' is not a valid integer")),
    "another cross": (fine, (*BUILD, "--cross", "all"), ("'--cross'", "'utterance', 'dialogue', 'none'")),
    "no workers": (fine, (*BUILD, "--workers", "0"), ("'--workers'",)),
    "an argument missing": (fine, ("build-graphs", "corpus"), ("Missing argument 'OUT'", "(see dglmerc build-graphs --help)")),
    "an argument too many": (fine, (*FIT, "more"), ("unexpected extra argument (more)",)),
    "an unknown option": (fine, (*FIT, "--epochs", "3"), ("No such option '--epochs'", "(see dglmerc fit --help)")),
    "an unknown option of the group": (fine, ("--fast", "fit"), ("No such option '--fast'", "(see dglmerc --help)")),
    "an unknown command": (fine, ("train",), ("No such command 'train'", "(see dglmerc --help)")),
    "a file to import and nowhere to": (fine, ("import", "iemocap"), ("Missing argument 'OUT'", "(see dglmerc import file --help)")),
    "a negative seed": (fine, (*FIT, "--seed", "-1"), ("'--seed'",)),
    "no threads": (fine, (*FIT, "--threads", "0"), ("'--threads'",)),
}  # fmt: skip


@pytest.mark.parametrize("fault", FAULTS)
def test_a_fault_is_one_line_and_leaves_nothing(mine, monkeypatch, fault):
    monkeypatch.chdir(mine)
    change, command, pieces = FAULTS[fault]
    change(mine)
    before = {p for p in mine.rglob("*") if p.name != "corpus"}
    assert_one_line(run(*command), *pieces)
    assert all(p.exists() for p in before), "something was deleted"
    left = {str(p.relative_to(mine)) for p in mine.rglob("*") if p.name != "corpus"} - {str(p.relative_to(mine)) for p in before}
    assert not left, left


@pytest.mark.parametrize(
    ("where", "command"),
    [
        ("dgl_merc.training.run_folder.write_report", FIT),
        ("dgl_merc.training.run_folder.save", FIT),
        ("dgl_merc.graphs.build._write_manifest", BUILD),
        ("dgl_merc.training.run.Trainer", FIT),
    ],
)
@pytest.mark.parametrize(
    ("error", "code", "said"),
    [
        (OSError(errno.ENOSPC, "No space left on device"), 2, "dglmerc: error: No space left on device\n"),
        (PermissionError(errno.EACCES, "Permission denied", "/x/y"), 2, "dglmerc: error: /x/y: Permission denied\n"),
        (
            KeyboardInterrupt(),
            130,
            "dglmerc: interrupted; nothing was left half-written, and the same command goes on with it (fit, features: with --resume)\n",
        ),
    ],
    ids=["full", "forbidden", "interrupted"],
)
def test_what_the_system_says_is_one_line(mine, monkeypatch, where, command, error, code, said):
    def fail(*_: object, **__: object) -> None:
        raise error

    monkeypatch.chdir(mine)
    monkeypatch.setattr(where, fail)
    result = run(*command, *(SMALL if command is FIT else ()))
    assert (result.exit_code, result.stderr) == (code, said)
    assert not (mine / "run").exists()
    assert not (mine / "out").exists()
    trained = where.startswith("dgl_merc.training.run_folder")
    assert {p.name for p in mine.iterdir() if p.name.startswith(".run")} == ({".run.unfinished"} if trained else set())
    monkeypatch.undo()
    monkeypatch.chdir(mine)
    if trained:
        assert_one_line(run(*command, *SMALL), "is unfinished; pass --resume to go on with it")
        again = run(*command, *SMALL, "--resume")
        assert (again.exit_code, again.stderr) == (0, "")
        assert "epoch " not in again.stdout.partition("Chosen")[0], "it was trained again"
        assert not [p for p in mine.iterdir() if p.name.startswith(".run")]


@pytest.mark.skipif(sys.platform != "linux", reason="RLIMIT_FSIZE")
def test_a_file_that_cannot_be_written_to_its_end_is_one_line(ready, tmp_path):
    """Not simulated: the kernel refuses to let any file grow beyond the limit, as a full disk would."""
    code = "import resource; resource.setrlimit(resource.RLIMIT_FSIZE, (40_000, 40_000)); from dgl_merc.cli.main import main; main(prog_name='dglmerc')"
    arguments = ["fit", str(ready / "graphs"), "--out", str(tmp_path / "run"), *SMALL, "--set", "model.dim=32"]
    done = subprocess.run([sys.executable, "-c", code, *arguments], capture_output=True, text=True, check=False)
    assert done.returncode == 2, done.stderr
    assert [line[:16] for line in done.stderr.splitlines()] == ["dglmerc: error: "], done.stderr
    assert not (tmp_path / "run").exists()
