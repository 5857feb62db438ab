"""The README's commands, run as they stand (fits with four steps and two seeds), and its promises about files."""

from __future__ import annotations

import csv
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner
from media_cases import minilm, wave, write_flac, write_sound, write_wav

from dgl_merc.cli.main import main

ROOT = Path(__file__).resolve().parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")
BLOCKS = dict(re.findall(r"<!-- test: (\w+) -->\n```sh\n(.*?)```", README, flags=re.DOTALL))


SMALL = """#!{python}
import dgl_merc.corpus.synthetic as module
module.synthetic_corpus.__defaults__ = (0, (40, 8, 8))  # instead of (600, 100, 300)
from dgl_merc.cli.main import main
main(prog_name="dglmerc")
"""


def run(block: str, folder: Path, meld: Path | None = None, commands: Path | None = None) -> str:
    """Its output. ``commands``: a folder with another dglmerc than the installed one."""
    script = re.sub(r"dglmerc (fit|ablate) (\w+ )?", r"dglmerc \1 \2--jobs 1 --set training.max_steps=4 ", block)
    script = script.replace("--seeds 5", "--seeds 2").replace("--seeds 3", "--seeds 2").replace("--folds 3", "--folds 2")
    script = script.replace("-seed0to4", "-seed0to1").replace("-seed0to2", "-seed0to1")
    script = script.replace("audio=0,.1,.3,.5,.7", "audio=0,.5")
    script = script.replace("training.lr=.001,.003", "training.lr=.001")
    script = re.sub(r"(dglmerc ablate .*?)--seeds 2", r"\1--seeds 1", script)
    if meld is not None:
        script = script.replace("../shared/data/meld", str(meld))
    path = os.pathsep.join([*([str(commands)] if commands else []), str(Path(sys.executable).parent), os.environ["PATH"]])
    done = subprocess.run(
        ["bash", "-euo", "pipefail", "-c", script],
        cwd=folder,
        env={**os.environ, "PATH": path},
        capture_output=True,
        text=True,
        timeout=600,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_every_command_block_is_run():
    assert set(BLOCKS) == {"meld", "meld5", "protocol", "table", "corpus", "predict", "recording", "looking", "sentiment"}
    for block in re.findall(r"```sh\n(.*?)```", README, flags=re.DOTALL):
        assert "dglmerc" not in block or block in BLOCKS.values(), f"a block of commands that no test runs:\n{block}"


@pytest.fixture(scope="module")
def talk(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """A folder in which the commands for one's own conversations were run, and what they said."""
    folder = tmp_path_factory.mktemp("talk")
    return folder, run(BLOCKS["table"], folder)


@pytest.mark.xdist_group("talk")
@pytest.mark.dgl
def test_your_own_conversations(talk):
    folder, out = talk
    assert "Graphs of 3 dialogues in data/talk-graphs" in out
    assert (folder / "data/talk-graphs/manifest.json").is_file()


@pytest.mark.xdist_group("talk")
def test_looking_after_a_corpus(talk):
    folder, _ = talk
    out = run(BLOCKS["corpus"], folder)
    assert "data/talk: intact; 0 leaks, " in out
    assert "- emotion: 1 utterances labelled fear became context (--map)" in out
    assert "Written to data/talk-split" in out
    assert (folder / "data/talk-table/text.npy").is_file()


@pytest.mark.xdist_group("talk")
@pytest.mark.slow
def test_new_conversations_and_looking(talk):
    tmp_path, _ = talk
    out = run(BLOCKS["predict"], tmp_path)
    assert "3 utterances of 1 dialogues answered: answers.csv" in out
    answers = list(csv.DictReader((tmp_path / "answers.csv").read_text().splitlines()))
    assert [row["speaker"] for row in answers] == ["Ana", "Ben", "Ana"]
    streamed = [json.loads(line) for line in out.splitlines() if line.startswith("{")]
    for row, line in zip(answers, streamed, strict=False):  # causal: what comes later changes nothing
        assert {c: float(row[f"p_{c}"]) for c in line["probabilities"]} == pytest.approx(line["probabilities"], abs=1e-6)
    assert len(streamed) == 2
    out = run(BLOCKS["looking"], tmp_path)
    assert "talk: 1 dialogues (train 1), 3 utterances, 3 labelled (emotion)" in out
    made = ("talk-tables/homophily.csv", "d1/timeline.svg", "why/effects.csv", "why/effects.svg", "explorer.html")
    assert [name for name in made if not (tmp_path / "runs" / name).is_file()] == []
    assert "d1, 3 utterances, as runs/talk sees it" in out
    assert "n1, 3 utterances, as runs/talk sees it" in out


NOTED = """#!{python} -S
import json, sys
with open("commands.jsonl", "a") as file:
    print(json.dumps(sys.argv[1:]), file=file)
"""


@pytest.mark.xdist_group("recording")  # with the other tests that load the model of sentences
@pytest.mark.slow
def test_from_a_recording(tmp_path, monkeypatch, unpainted):
    """The commands are written down and then run in this process, one after the other, with a model that is on this machine."""
    model, folder = minilm(), tmp_path / "here"
    (folder / "recordings").mkdir(parents=True)
    write_wav(folder / "recordings/d1.wav", wave(4.2))
    write_sound(folder / "recordings/d2.mp4", wave(2.8, pitch=200))
    write_flac(folder / "recordings/d3.flac", wave(1.2, pitch=150))
    write_wav(folder / "recordings/n1.wav", wave(3.1, pitch=180))
    (tmp_path / "dglmerc").write_text(NOTED.format(python=sys.executable))
    (tmp_path / "dglmerc").chmod(0o755)
    named = "sentence-transformers/all-MiniLM-L6-v2"
    assert named in BLOCKS["recording"]
    run(BLOCKS["recording"].replace(named, model), folder, commands=tmp_path)
    monkeypatch.chdir(folder)
    for line in (folder / "commands.jsonl").read_text().splitlines():
        command = [*json.loads(line), *(["--jobs", "1"] if "--media" in line else [])]
        done = CliRunner().invoke(main, command)
        assert done.exit_code == 0, (command, done.output, done.exception)
    answers = list(csv.DictReader(Path("emotions.csv").read_text().splitlines()))
    assert [(row["speaker"], row["start"], row["end"]) for row in answers] == [("Ana", "0.0", "1.3"), ("Ben", "1.5", "3.0")]
    assert "2 utterances of 1 dialogues answered: emotions.csv" in done.stdout
    assert "audio: 2 utterances are cut by start and end" in done.stderr
    assert "absent" not in done.stderr


@pytest.mark.slow
def test_sentiment(tmp_path):
    out = run(BLOCKS["sentiment"], tmp_path)
    for said in ("negative / positive, zeros left out: ", "negative / non-negative, zeros counted: "):
        assert out.count(said) == 2
    assert out.count("mean absolute error") == 1
    assert {p.name for p in (tmp_path / "runs").iterdir()} == {"bilstm-reviews-graphs-seed0", "reviews-score"}


@pytest.mark.slow
@pytest.mark.data
@pytest.mark.parametrize("name", ["meld", "meld5"])
def test_meld(name, tmp_path, meld_dir):
    out = run(BLOCKS[name], tmp_path, meld_dir)
    expected = {"meld": ["9989", "1109", "2610"], "meld5": ["3452", "428", "924"]}[name]
    assert all(count in out for count in expected)
    runs = sorted(r.name for r in (tmp_path / "runs").iterdir())
    several = ["bilstm-meld-graphs-seed0to1", "compare-bilstm-mglra", "mglra-meld-graphs-seed0to1"]
    assert runs == (several if name == "meld" else ["mglra-meld5-graphs-seed0"])
    reports = {str(p.parent.relative_to(tmp_path / "runs")) for p in (tmp_path / "runs").rglob("report.html")}
    assert reports >= {r for r in runs if not r.startswith("compare")}


@pytest.mark.slow
def test_the_protocol(tmp_path, tmp_path_factory):
    """On an embedded corpus of fewer dialogues: `make demo` takes all of them."""
    commands = tmp_path_factory.mktemp("commands")
    (commands / "dglmerc").write_text(SMALL.format(python=sys.executable))
    (commands / "dglmerc").chmod(0o755)
    out = run(BLOCKS["protocol"], tmp_path, commands=commands)
    assert "Fitting bilstm to synthetic: 56 dialogues, " in out
    assert {p.name for p in (tmp_path / "runs").iterdir()} == {
        "bilstm-embedded-seed0to1",
        "ablate-bilstm-embedded-hidden-lr",
        "compare-model.hidden=50,training.lr=.001-model.hidden=100,training.lr=.001",
        "bilstm-embedded-2folds-seed0",
        "robustness",
        "text",
    }
    assert "- Trained on text alone (text, bilstm, seed 0): weighted F1 " in out
    assert "paired by dialogue" in out
    assert "with modalities taken away" in out


def test_files_the_readme_names_are_there():
    for name in re.findall(r"\]\((?!http)([^)#]+)\)", README):
        assert (ROOT / name).exists(), f"README links to {name}, which is not there"
