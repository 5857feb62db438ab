"""The engine of features: the same vectors however they are come by, and no harm by files that kill who looks at them."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from extraction_cases import WIDTH, conversations, looked_at, open_planted, open_telling, recipe, record, vector_of

from dgl_merc.corpus import Corpus, open_corpus, save_corpus
from dgl_merc.corpus.pieces import Pieces
from dgl_merc.errors import InputError
from dgl_merc.extraction import Absence, Extractors, Item, Media, extract
from dgl_merc.extraction import kept as kept_module
from dgl_merc.extraction.extract import list_absent, reason_column
from dgl_merc.files import file_record

pytestmark = pytest.mark.xdist_group("features")  # processes are started once


@pytest.fixture(scope="module")
def two() -> Iterator[Extractors]:
    """Two processes, kept from test to test."""
    with Extractors(2, open_planted, patience=1.5) as extractors:
        yield extractors


@pytest.fixture(scope="module")
def one() -> Iterator[Extractors]:
    with Extractors(1, open_planted) as extractors:
        yield extractors


@pytest.fixture
def talk(tmp_path: Path) -> tuple[Corpus, Media]:
    """Two recorded dialogues of five and three utterances, and one of clips."""
    record(tmp_path / "m/d0.wav", 10)
    record(tmp_path / "m/d1.wav", 11)
    for k in range(2):
        record(tmp_path / f"m/d2_{k}.wav", 20 + k)
    return conversations((5, 3, 2)), Media(tmp_path / "m")


def expected(corpus: Corpus, media: Media) -> dict[int, Any]:
    """The definition: each utterance by itself, in this process."""
    made = {}
    for row, line in enumerate(corpus.utterances.itertuples()):
        own = media.folder / f"{line.dialogue_id}_{line.position}.wav"
        place = (own, None, None) if own.exists() else (media.folder / f"{line.dialogue_id}.wav", line.start, line.end)
        made[row] = vector_of(Item(row, None, *place))
    return made


def assert_is(corpus: Corpus, want: dict[int, Any], modality: str = "audio") -> None:
    there = [row for row, answer in want.items() if not isinstance(answer, (Absence, str))]
    assert np.flatnonzero(corpus.utterances[f"has_{modality}"]).tolist() == there
    np.testing.assert_array_equal(np.asarray(corpus.features[modality]), np.stack([want[row] for row in there]))
    said = [answer.reason if isinstance(answer, Absence) else answer if isinstance(answer, str) else None for answer in want.values()]
    assert [None if x != x else x for x in corpus.utterances[reason_column(modality)]] == said


# ---- what is made


def test_every_utterance_has_the_vector_of_its_stretch(talk, one, two):
    corpus, media = talk
    made = [extract(corpus, {"audio": recipe()}, media, extractors=extractors) for extractors in (one, two)]
    assert_is(made[0], expected(corpus, media))
    assert made[0].content_sha256 == made[1].content_sha256
    about = made[0].modalities["audio"]
    assert (about.width, about.provenance, about.recipe["versions"]) == (WIDTH, "planted , planted 1", {"planted": "1"})
    files = ["d0.wav", "d1.wav", "d2_0.wav", "d2_1.wav"]
    assert made[0].source["media"] == {name: file_record(media.folder / name) for name in files}
    assert made[0].source["steps"][-1]["command"] == "features"
    assert made[0].utterances["audio_media"].tolist() == ["d0.wav"] * 5 + ["d1.wav"] * 3 + files[2:]
    assert made[0].notes == (
        "audio: 8 utterances are cut by start and end; files that they are cut out of: 2",
        "audio: 2 utterances are whole files, their times not used in 2 (--cut always uses them)",
        "planted: a note",
    )


def test_two_kinds_at_once_and_one_after_the_other(talk, one, tmp_path):
    corpus, media = talk
    both = extract(corpus, {"text": recipe("text"), "audio": recipe()}, media, extractors=one)
    first = save_corpus(extract(corpus, {"text": recipe("text")}, extractors=one), tmp_path / "first")
    second = extract(first, {"audio": recipe()}, media, extractors=one)
    assert second.content_sha256 == both.content_sha256 == save_corpus(both, tmp_path / "both").content_sha256
    open_corpus(tmp_path / "both", check="full")
    assert second.features["text"] is first.features["text"], "stays where it lies"
    assert list(second.modalities) == ["text", "audio"]
    assert second.targets == corpus.targets
    assert second.path is None
    again = extract(second, {"visual": recipe("audio", extra=1)}, media, extractors=one)
    assert again.source["media"] == second.source["media"]


def test_a_recording_is_read_from_its_beginning_to_its_end_by_one_process(tmp_path, two):
    order = np.random.default_rng(0).permutation(9)
    for name in ("a", "b", "c"):
        record(tmp_path / f"m/{name}.wav", 1)
    log = tmp_path / "log"
    log.mkdir()
    corpus = conversations((9,), media=list("abcabcaac"), start=order, end=order + 1.0)
    corpus.utterances["media"] += ".wav"
    extract(corpus, {"audio": recipe(log=log)}, Media(tmp_path / "m"), extractors=two)
    lines = [[line.split() for line in lines] for lines in looked_at(log)]
    assert sum(map(len, lines)) == 9
    for seen in lines:
        files = [file for file, _ in seen]
        for file in set(files):
            times = [float(start) for name, start in seen if name == file]
            assert times == sorted(times)
            assert files[files.index(file) :][: len(times)] == [file] * len(times)
    assert len({file for seen in lines for file, _ in seen}) == sum(len({file for file, _ in seen}) for seen in lines)


def test_a_stretch_may_be_said_to_last_for_months(tmp_path, one):
    record(tmp_path / "m/d0.wav", 1)
    corpus = conversations((1,), start=0.0, end=1e7)
    made = extract(corpus, {"audio": recipe()}, Media(tmp_path / "m"), extractors=one)
    assert np.asarray(made.features["audio"]).tolist() == [[1.0, 0.0, 1e7, 1.0]]


def test_the_same_stretch_and_the_same_text_are_looked_at_once(tmp_path, one):
    (tmp_path / "log").mkdir()
    record(tmp_path / "m/a.wav", 1)
    shutil.copy(tmp_path / "m/a.wav", tmp_path / "m/b.wav")
    corpus = conversations((4,), media=["a.wav", "b.wav", "a.wav", "a.wav"], text=["oh", "no", "oh", ""], start=0.0, end=1.0)
    made = extract(corpus, {"audio": recipe(log=tmp_path / "log"), "text": recipe("text", tmp_path / "log")}, Media(tmp_path / "m", cut="always"), extractors=one)  # fmt: skip
    assert sorted(line for lines in looked_at(tmp_path / "log") for line in lines) == ["", "a.wav 0.0", "no", "oh"]
    assert np.asarray(made.features["audio"])[:, 0].tolist() == [1, 1, 1, 1]
    assert made.utterances["has_text"].tolist() == [True, True, True, False]


def test_what_can_t_be_looked_at_is_absent_and_counted(tmp_path, one):
    record(tmp_path / "d0.wav", 1, {"0.5": "absent", "1.5": "nan"})
    corpus = conversations((4, 5))
    made = extract(corpus, {"audio": recipe()}, Media(tmp_path), extractors=one)
    want = {row: vector_of(Item(row, None, tmp_path / "d0.wav", row / 2, row / 2 + 0.5)) for row in range(4)}
    assert_is(made, want | {3: "numbers that are not finite"} | dict.fromkeys(range(4, 9), "no recording"))
    assert made.notes[-3:] == (
        "audio: absent from 5 of 9 utterances: no recording (dialogue d1, utterance 0; dialogue d1, utterance 1; dialogue d1, utterance 2; ...)",
        "audio: absent from 1 of 9 utterances: nothing in it (dialogue d0, utterance 1)",
        "audio: absent from 1 of 9 utterances: numbers that are not finite (dialogue d0, utterance 3)",
    )
    assert list(list_absent(made, "audio", most=3)) == [
        "audio: dialogue d0, utterance 1, d0.wav: nothing in it",
        "audio: dialogue d0, utterance 3, d0.wav: numbers that are not finite",
        "audio: dialogue d1, utterance 0: no recording",
        "audio: and 4 more: column no_audio_because of utterances.parquet",
    ]


def test_many_reasons_have_one_note(monkeypatch, tmp_path, one):
    monkeypatch.setattr(import_module("dgl_merc.extraction.extract"), "_REASONS", 1)  # the package has a function of that name
    record(tmp_path / "d0.wav", 1, {"0.5": "absent"})
    made = extract(conversations((3, 2)), {"audio": recipe()}, Media(tmp_path), extractors=one)
    assert made.notes[-1] == "audio: absent from 1 utterances for 1 other reasons: column no_audio_because"


def test_all_may_be_absent(tmp_path, one):
    record(tmp_path / "d0.wav", 1, {"0.0": "absent"})
    made = extract(conversations((1,)), {"audio": recipe()}, Media(tmp_path), extractors=one)
    assert made.features["audio"].shape == (0, WIDTH)
    assert save_corpus(made, tmp_path / "c").modalities["audio"].width == WIDTH


def test_a_file_that_may_not_be_read(tmp_path, one, monkeypatch):
    record(tmp_path / "d0.wav", 1)
    record(tmp_path / "d1.wav", 1)

    def refused(path: Path) -> Any:
        if path.name == "d1.wav":
            raise PermissionError(13, "Permission denied")
        return file_record(path)

    monkeypatch.setattr("dgl_merc.extraction.wanted.file_record", refused)
    made = extract(conversations((1, 1)), {"audio": recipe()}, Media(tmp_path), extractors=one)
    assert made.utterances["no_audio_because"].tolist()[1] == "not readable"
    assert list(made.source["media"]) == ["d0.wav"]


def test_what_stands_in_the_way(talk, one):
    corpus, media = talk
    made = extract(corpus, {"audio": recipe()}, media, extractors=one)
    with pytest.raises(
        InputError, match="talk: expected a corpus without audio, found one with it; `dglmerc corpus convert CORPUS OUT --drop audio`"
    ):
        extract(made, {"audio": recipe()}, media, extractors=one)
    with pytest.raises(InputError, match="talk: expected no column 'audio_media', which features have; rename it"):
        extract(conversations(audio_media="x"), {"audio": recipe()}, media, extractors=one)
    left = replace(made, features={}, modalities={}, utterances=made.utterances.drop(columns="has_audio"))
    assert extract(left, {"audio": recipe()}, media, extractors=one).content_sha256 == made.content_sha256
    with pytest.raises(InputError, match="audio: expected a folder with recordings"):
        extract(corpus, {"audio": recipe()}, extractors=one)
    with pytest.raises(InputError, match=r"^audio: no such set$"):
        extract(corpus, {"audio": recipe(fault=True)}, media, extractors=one)
    with pytest.raises(InputError, match=r"^audio: a process that looks at recordings did not start; try again$"):
        extract(corpus, {"audio": recipe(dies=True)}, media, extractors=one)


# ---- processes that die


def test_who_crashes_hangs_or_fails_costs_one_utterance(tmp_path, two):
    record(tmp_path / "d0.wav", 10, {"0.5": "abort", "1.5": "hang", "2.0": "exit"})
    record(tmp_path / "d1.wav", 11, {"0.0": "raise", "1.0": "abort"})
    record(tmp_path / "d2.wav", 12)
    corpus = conversations((6, 4, 3), end=lambda t: t["start"] + 0.01)
    made = extract(corpus, {"audio": recipe()}, Media(tmp_path), extractors=two)
    crash, late, raised = "the decoder crashed", "took longer than 1.5 s and 10 times its length", "the extractor failed (ValueError: odd)"
    want: dict[int, Any] = {1: crash, 3: late, 4: crash, 6: raised, 8: crash}
    for row, line in enumerate(corpus.utterances.itertuples()):
        if row not in want:
            want[row] = vector_of(Item(row, None, tmp_path / f"{line.dialogue_id}.wav", line.start, line.end))
    assert_is(made, dict(sorted(want.items())))


def test_nobody_is_left_behind(talk):
    corpus, media = talk
    with Extractors(2, open_planted) as extractors:
        extract(corpus, {"audio": recipe()}, media, extractors=extractors)
        workers = [worker.process.pid for opened in extractors._opened.values() for worker in opened._workers]
        assert workers
        assert all(Path(f"/proc/{pid}").exists() for pid in workers)
        os.kill(workers[0], signal.SIGKILL)  # while it has nothing to do: the next call does not mind
        record(media.folder / "d0.wav", 99)
        made = extract(corpus, {"audio": recipe()}, media, extractors=extractors)
        assert_is(made, expected(corpus, media))
    assert not any(Path(f"/proc/{pid}").exists() for pid in workers)


# ---- going on


@contextmanager
def cut_off_after(count: int) -> Iterator[Any]:
    """Progress that is interrupted when so many utterances are done."""

    def show(done: int, _total: int) -> None:
        if done == count:
            raise KeyboardInterrupt

    yield show


@pytest.mark.parametrize("kind", ["text", "audio"])
def test_a_call_that_is_cut_off_goes_on_where_it_was(talk, one, tmp_path, kind, monkeypatch):
    corpus, media = talk
    monkeypatch.setattr("dgl_merc.extraction.wanted._TEXTS", 2)
    log, work = tmp_path / "log", tmp_path / "work"
    for folder in (log, work):
        folder.mkdir()
    recipes = {kind: recipe(kind, log)}
    whole = extract(corpus, recipes, media, extractors=one)
    assert len([line for lines in looked_at(log) for line in lines]) == 10
    said: list[str] = []
    with pytest.raises(KeyboardInterrupt):
        extract(corpus, recipes, media, work=work, extractors=one, progress=lambda *_: cut_off_after(4), say=said.append)
    shutil.rmtree(log)
    log.mkdir()
    made = extract(corpus, recipes, media, work=work, extractors=one, say=said.append)
    assert len([line for lines in looked_at(log) for line in lines]) == 6
    assert made.content_sha256 == whole.content_sha256
    assert (made.source, made.notes) == (whole.source, whole.notes)
    assert said == [f"{kind}: planted: for tests alone", f"{kind}: 4 of 10 were done already", f"{kind}: planted: for tests alone"]
    shutil.rmtree(log)
    log.mkdir()
    said.clear()
    extract(corpus, recipes, media, work=work, extractors=one, say=said.append)
    assert (looked_at(log), said) == ([], [f"{kind}: 10 of 10 were done already"])


def test_what_has_changed_is_made_anew(talk, one, tmp_path):
    corpus, media = talk
    log, work = tmp_path / "log", tmp_path / "work"
    work.mkdir()

    def made_anew(corpus: Corpus, **options: Any) -> list[str]:
        log.mkdir()
        recipes = {"audio": recipe("audio", log, **options), "text": recipe("text", log, **options)}
        made = extract(corpus, recipes, media, work=work, extractors=one)
        assert made.content_sha256 == extract(corpus, recipes, media, extractors=one).content_sha256
        lines = [line for lines in looked_at(log) for line in lines]
        shutil.rmtree(log)
        return sorted(lines)[::2] if lines == 2 * sorted(lines) else sorted(lines)

    everything = len(made_anew(corpus))
    assert everything == 40, "twice: with a folder and without"
    assert len(made_anew(corpus)) == 20, "without"
    table = corpus.utterances
    table.loc[1, "text"] = "other"
    table.loc[2, "end"] = 9.0
    record(media.folder / "d1.wav", 77)
    assert len(made_anew(corpus)) == 20 + 5
    assert len(made_anew(corpus, seed=2)) == 40


def test_crashes_are_tried_again_another_time(tmp_path, one):
    (tmp_path / "work").mkdir()
    record(tmp_path / "d0.wav", 1, {"0.5": "abort", "1.0": "absent"})
    corpus, said = conversations((3,)), list[str]()
    for _ in range(2):
        extract(corpus, {"audio": recipe()}, Media(tmp_path), work=tmp_path / "work", extractors=one, say=said.append)
    assert "audio: 2 of 3 were done already" in said


# ---- what there is no room for


def test_vectors_are_not_held_in_memory(monkeypatch, tmp_path, talk, one):
    monkeypatch.setattr("dgl_merc.corpus.reading.on_demand.IN_MEMORY", 16)
    monkeypatch.setattr(kept_module, "_SECONDS", 0.0)
    corpus, media = talk
    (tmp_path / "work").mkdir()
    for work in (None, tmp_path / "work"):
        made = extract(corpus, {"audio": recipe()}, media, work=work, extractors=one)
        x: Any = made.features["audio"]
        assert isinstance(x, Pieces)
        assert isinstance(x.parts[0][0], np.memmap)
        assert_is(made, expected(corpus, media))


def test_a_full_disk_is_one_line(monkeypatch, tmp_path, talk, one):
    def full(_: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(kept_module.os, "fsync", full)
    corpus, media = talk
    (tmp_path / "work").mkdir()
    with pytest.raises(InputError, match=r"can't be written \(No space left on device\); free some room, and go on with --resume"):
        extract(corpus, {"text": recipe("text")}, media, work=tmp_path / "work", extractors=one)


def test_a_script_that_asks_at_its_top_is_run_once_and_hears_nothing_of_workers(tmp_path):
    """As notebooks and most people's scripts do, without ``if __name__ == "__main__"``."""
    record(tmp_path / "m/d0.wav", 1)
    (tmp_path / "json.py").write_text("raise SystemExit('not for workers')")  # whatever lies where they work
    script = tmp_path / "elsewhere/script.py"
    script.parent.mkdir()
    script.write_text(
        "print('once')\n"
        "from extraction_cases import conversations, open_planted, recipe\n"
        "from pathlib import Path\n"
        "from dgl_merc.extraction import Extractors, Media, extract\n"
        "with Extractors(2, open_planted) as extractors:\n"
        "    made = extract(conversations((2,)), {'audio': recipe()}, Media(Path('m')), extractors=extractors)\n"
        "print(len(made.features['audio']))\n"
    )
    here = {**os.environ, "PYTHONPATH": os.pathsep.join(entry for entry in sys.path if entry)}
    done = subprocess.run([sys.executable, script], cwd=tmp_path, env=here, capture_output=True, text=True, timeout=60, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (0, "once\n2\n", "")


def test_who_looks_at_recordings_has_one_thread(monkeypatch):
    """However many this process has: the bits of a vector may not depend on it."""
    monkeypatch.setenv("OMP_NUM_THREADS", "7")
    with Extractors(1, open_telling) as extractors:
        assert extractors.open(recipe()).notes == ["threads: 1"]
