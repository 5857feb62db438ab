"""``predict --stream``: a line in, a line out, at once; equal to the whole dialogue; one clear line for what is no utterance."""

from __future__ import annotations

import io
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from cli_cases import assert_one_line, run
from click.testing import CliRunner, Result
from predict_cases import fitted, small_corpus, spoken
from test_predict_faults import GOOD, LINES, as_bytes, text

from dgl_merc.cli.main import main
from dgl_merc.corpus import Corpus
from dgl_merc.inference.listening import listen
from dgl_merc.inference.stream import Stream
from dgl_merc.training.evaluate import evaluate_runs
from dgl_merc.training.run_folder import open_run

pytestmark = pytest.mark.xdist_group("listening")  # its runs are made once

CAUSAL = "graph.causal=true"
OF_FILES = {
    "modalities nobody knows",
    "a modality with a capital",
    "no features at all",
    "an unknown label",
    "a number as label",
    "a position twice",
    "positions of some",
}
"""Cases that a stream does not mind, or minds otherwise: it has no whole, and reads neither label nor position."""
NOTHING = {"nothing", "blank lines alone"}


@pytest.fixture(scope="module")
def corpus() -> Corpus:
    return small_corpus()


@pytest.fixture(scope="module")
def runs(corpus: Corpus, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("runs")
    for preset in ("bilstm", "mglra", "sgrnet"):
        fitted(corpus, folder / preset, preset, CAUSAL)
    fitted(corpus, folder / "whole", "bilstm")
    return folder


def stream(*runs: Path, given: bytes, more: tuple[str, ...] = ()) -> Result:
    return CliRunner().invoke(main, ["predict", *map(str, runs), "--stream", *more], input=given)


def said(result: Result) -> list[dict[str, Any]]:
    assert (result.exit_code, result.stderr) == (0, ""), result.output
    return [json.loads(line) for line in result.stdout.splitlines()]


@pytest.mark.parametrize("names", [("mglra",), ("sgrnet",), ("bilstm", "mglra", "sgrnet")], ids="-".join)
def test_equals_the_whole_dialogue(corpus, runs, names):
    _, wanted = evaluate_runs([open_run(runs / name) for name in names], corpus, "test")
    answers = said(stream(*(runs / name for name in names), given=as_bytes(spoken(corpus))))
    assert [(a["dialogue_id"], a["position"], a["speaker"]) for a in answers] == list(
        wanted[["dialogue_id", "position", "speaker"]].itertuples(index=False, name=None)
    )
    found = np.array([list(a["probabilities"].values()) for a in answers])
    np.testing.assert_allclose(found, wanted[[f"p_{c}" for c in answers[0]["probabilities"]]], rtol=0, atol=1e-6)
    assert [a["predicted"] for a in answers] == wanted["predicted"].tolist()
    for detail in (c for c in wanted if c.startswith(("sigma_", "weight_"))):
        np.testing.assert_allclose([np.nan if a[detail] is None else a[detail] for a in answers], wanted[detail], rtol=0, atol=1e-6)


def test_each_is_answered_before_the_next_is_read(corpus, runs):
    lines = as_bytes(spoken(corpus)[:3]).splitlines(keepends=True)

    class Speaking(io.BytesIO):
        asked = 0

        def readline(self, limit: int | None = -1, /) -> bytes:
            self.asked += 1
            return lines[self.asked - 1] if self.asked <= len(lines) else b""

    file = Speaking()
    for k, _ in enumerate(listen(Stream([open_run(runs / "bilstm")]), file)):
        assert file.asked == k + 1


def test_a_pipe(corpus, runs):
    """A process that answers while it is still spoken to."""
    command = [sys.executable, "-m", "dgl_merc.cli", "predict", str(runs / "bilstm"), "--stream"]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, env={**os.environ, "PYTHONUNBUFFERED": ""}) as talk:
        assert talk.stdin
        assert talk.stdout
        for k in range(2):
            talk.stdin.write(as_bytes([GOOD]))
            talk.stdin.flush()
            assert json.loads(talk.stdout.readline())["position"] == k
        talk.stdin.close()
        assert talk.wait(60) == 0


def test_a_dialogue_ends(runs):
    end = {"dialogue_id": "d1", "end": True}
    late = {**GOOD, "end": 12.5}  # a time
    given = [GOOD, late, GOOD, end, GOOD, {**GOOD, "end": True}, GOOD, {**end, "dialogue_id": "never"}]
    answers = said(stream(runs / "mglra", given=as_bytes(given)))
    assert [a["position"] for a in answers] == [0, 1, 2, 0, 1, 0]
    assert answers[0] == answers[3] == answers[5]
    assert answers[1] == answers[4] != answers[0]


def test_the_end_of_a_dialogue_is_no_way_to_say_something(runs):
    """A line that ends a dialogue and has features, too, must be a whole utterance."""
    nobody = {"dialogue_id": "d1", "end": True, "features": {"text": [0.5] * 32}}
    assert_one_line(stream(runs / "bilstm", given=as_bytes([nobody])), "line 1: dialogue d1: speaker: expected a name, found nothing")


def test_answers_are_utf_8_whatever_the_terminal_speaks(runs):
    said = "Zoë 😀"
    done = subprocess.run(
        [sys.executable, "-m", "dgl_merc.cli", "predict", str(runs / "bilstm"), "--stream"],
        input=as_bytes([{**GOOD, "speaker": said}]),
        capture_output=True,
        env={**os.environ, "PYTHONIOENCODING": "latin-1"},
        check=True,
    )
    assert json.loads(done.stdout.decode("utf-8"))["speaker"] == said


def test_bounds(runs):
    other = {**GOOD, "dialogue_id": "d2"}
    answers = said(stream(runs / "bilstm", given=as_bytes([GOOD, other, GOOD]), more=("--dialogues", "1")))
    assert [a["position"] for a in answers] == [0, 0, 0], "the one that was silent for longest begins anew"
    given = as_bytes([text([k / 10] * 32) for k in range(6)])
    wide, narrow = (said(stream(runs / "mglra", given=given, more=("--window", n))) for n in ("9", "2"))
    assert wide[:2] == narrow[:2]
    assert wide[5] != narrow[5]
    assert_one_line(stream(runs / "bilstm", given=b"", more=("--window", "0")), "--window")


@pytest.mark.parametrize("case", sorted(set(LINES) - OF_FILES - NOTHING))
def test_faults(case, runs):
    lines, pieces = LINES[case]
    result = stream(runs / "bilstm", given=as_bytes([{**GOOD, "dialogue_id": "before"}, *lines]))
    moved = [p.replace("line 2", "line 3").replace("line 1", "line 2") for p in pieces]
    assert_one_line(result, "standard input: ", *moved)
    assert json.loads(result.stdout.splitlines()[0])["dialogue_id"] == "before", "what came before is answered"
    assert len(result.stdout.splitlines()) == 1 + lines.index(lines[-1])


def test_what_a_file_minds_and_a_stream_does_not(runs):
    assert stream(runs / "bilstm", given=b"").exit_code == 0
    assert len(said(stream(runs / "bilstm", given=as_bytes([{**GOOD, "emotion": "hapy"}])))) == 1, "no model reads it"
    assert len(said(stream(runs / "bilstm", given=as_bytes([{**GOOD, "features": {}}])))) == 1, "somebody spoke"
    assert_one_line(
        stream(runs / "bilstm", given=as_bytes([{**GOOD, "features": {"vision": [1]}}])), "line 1: dialogue d1", "vision", "leave it out"
    )


def test_runs_and_options(corpus, runs):
    given = as_bytes([GOOD])
    assert_one_line(stream(runs / "whole", given=given), "whole: expected a causal run", "--set graph.causal=true")
    assert_one_line(stream(runs / "mglra", runs / "whole", given=given), "whole: expected a causal run")
    assert_one_line(stream(runs / "nothing", given=given), "nothing: expected the folder of a run")
    for more in (("--out", "x.csv"), ("--format", "csv"), ("--features", "text=x.npy"), ("--nan", "error"), ("--force",)):
        assert_one_line(stream(runs / "mglra", given=given, more=more), f"{more[0]}: expected a file of conversations, not --stream")
    assert_one_line(run("predict", runs / "mglra", "talk.jsonl", "--window", 3), "--window: expected --stream")
