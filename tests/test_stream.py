"""Streams: utterances as they come are answered as their run answered whole dialogues, within bounds, and a refused one leaves no trace."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from sentiment_cases import run, scored_corpus

from dgl_merc.corpus import Corpus
from dgl_merc.errors import DivergedError, InputError
from dgl_merc.inference.stream import Stream
from dgl_merc.inference.utterance import Utterance
from dgl_merc.training.run_folder import SavedRun, open_run

pytestmark = pytest.mark.xdist_group("stream")  # its runs are made once

CAUSAL = ("graph.causal=true", "training.max_epochs=1")
RUNS: dict[str, dict[str, Any]] = {
    "mglra": {"preset": "mglra", "words": (*CAUSAL, "model.speakers=corpus", "graph.past=2")},
    "sgrnet": {"preset": "sgrnet", "words": (*CAUSAL, "graph.past=3")},
    "bilstm": {"words": (*CAUSAL, "data.modalities=text,audio")},
    "score": {"words": (*CAUSAL, "data.target=sentiment"), "learn": "score"},
    "sign": {"words": (*CAUSAL, "data.target=sentiment", "data.scaling=none", "data.reduce=20")},
}


@pytest.fixture(scope="module")
def corpus() -> Corpus:
    return scored_corpus((4, 2, 2), emotion=True)


@pytest.fixture(scope="module")
def runs(corpus, tmp_path_factory) -> dict[str, SavedRun]:
    folder = tmp_path_factory.mktemp("runs")
    for name, how in RUNS.items():
        run(corpus, folder / name, **{"learn": "classes", **how})
    return {name: open_run(folder / name) for name in RUNS}


def utterances(corpus: Corpus, modalities: Mapping[str, object]) -> dict[tuple[str, int], Utterance]:
    """By dialogue and position."""
    rows: Iterator[Any] = corpus.utterances[["dialogue_id", "position", "speaker"]].itertuples(index=False)
    found = {}
    for u, (dialogue, position, speaker) in enumerate(rows):
        there = {
            m: np.asarray(corpus.features[m][corpus.feature_rows[u, k]])
            for k, m in enumerate(corpus.modalities)
            if m in modalities and corpus.presence[u, k]
        }
        found[dialogue, position] = Utterance(dialogue, speaker, there, "said")
    return found


def taking_turns(given: Mapping[tuple[str, int], Utterance]) -> list[Utterance]:
    return [given[key] for key in sorted(given, key=lambda key: (key[1] // 3, key[0], key[1]))]


def spoken(run_: SavedRun, corpus: Corpus) -> list[Utterance]:
    return taking_turns(utterances(corpus, run_.data["widths"]))


def talk(length: int, names: str = "ab", dialogue: str = "d", seed: int = 0) -> list[Utterance]:
    """Of text, audio and visual; every fifth has nothing but text."""
    rng, widths = np.random.default_rng(seed), {m: v.width for m, v in scored_corpus((1, 1, 1)).modalities.items()}
    said = []
    for t in range(length):
        x = {m: rng.standard_normal(w).astype(np.float32) for m, w in widths.items()}
        said.append(Utterance(dialogue, names[t % len(names)], {"text": x["text"]} if t % 5 == 1 else x))
    return said


@pytest.mark.parametrize("name", RUNS)
def test_dialogues_by_turns_are_answered_as_the_run_answered_them(corpus, runs, name):
    stream, table = Stream([runs[name]], dialogues=8), runs[name].predictions.set_index(["dialogue_id", "position"])
    answers = [stream.answer(u) for u in spoken(runs[name], corpus)]
    assert len(answers) == len(table) > 60
    assert any(a["dialogue_id"] != b["dialogue_id"] for a, b in zip(answers[1:], answers, strict=False))
    own = [c for c in table.columns if c.startswith(("sigma_", "weight_"))]
    assert bool(own) == (name == "sgrnet")
    for got in answers:
        assert json.loads(json.dumps(got, allow_nan=False)) == got
        want = table.loc[(got["dialogue_id"], got["position"])]
        said = ["predicted_score"] if name == "score" else ["probabilities"]
        assert list(got) == ["dialogue_id", "position", "speaker", "predicted", *said, *own]
        assert (got["speaker"], got["predicted"]) == (want["speaker"], want["predicted"])
        if name == "score":
            assert got["predicted_score"] == pytest.approx(want["predicted_score"], abs=1e-5)
        else:
            assert list(got["probabilities"]) == list(runs[name].names)
            for c, p in got["probabilities"].items():
                assert p == pytest.approx(want[f"p_{c}"], abs=1e-6)
        for column in own:
            assert (got[column] is None) == bool(np.isnan(want[column]))
            assert got[column] is None or got[column] == pytest.approx(want[column], abs=1e-5)
    assert name != "sgrnet" or any(a["sigma_text"] is None for a in answers), "vacuous: nothing is missing"


def test_a_dialogue_does_not_hear_the_others(corpus, runs):
    given = utterances(corpus, runs["mglra"].data["widths"])
    mixed, apart = Stream([runs["mglra"]]), Stream([runs["mglra"]])
    by_turns = {(a["dialogue_id"], a["position"]): a for a in map(mixed.answer, taking_turns(given))}
    assert {key: apart.answer(u) for key, u in given.items()} == by_turns


def test_several_runs_are_averaged(corpus, runs):
    some = [runs[n] for n in ("mglra", "sgrnet", "bilstm")]
    given = spoken(runs["mglra"], corpus)[:40]
    together, alone = Stream(some), [Stream([r]) for r in some]
    for u in given:
        got = together.answer(u)
        fitting = [replace(u, features={m: x for m, x in u.features.items() if m in r.data["widths"]}) for r in some]
        single = [s.answer(f) for s, f in zip(alone, fitting, strict=True)]
        for c, p in got["probabilities"].items():
            assert p == pytest.approx(np.mean([a["probabilities"][c] for a in single]), abs=1e-7)
        assert got["predicted"] == max(got["probabilities"], key=got["probabilities"].__getitem__)
        assert {k: v for k, v in got.items() if k.startswith("sigma")} == {k: v for k, v in single[1].items() if k.startswith("sigma")}


def test_details_of_several_runs_are_averaged_too(corpus, runs, tmp_path):
    shutil.copytree(runs["sgrnet"].path, tmp_path / "copy")
    once, twice = Stream([runs["sgrnet"]]), Stream([runs["sgrnet"], open_run(tmp_path / "copy")])
    for u in spoken(runs["sgrnet"], corpus)[:20]:
        assert twice.answer(u) == once.answer(u)


def test_positions_that_are_given_ascend_and_names_come_back(runs):
    stream, said = Stream([runs["mglra"]]), talk(4)
    assert stream.answer(replace(said[0], position=7, utterance_id="u7"))["utterance_id"] == "u7"
    for position in (7, 3):
        with pytest.raises(InputError, match=rf"utterance 1: position: expected more than 7, that of the one before, found {position}"):
            stream.answer(replace(said[1], position=position))
    assert stream.answer(said[1])["position"] == 1, "what was refused leaves no trace, and a position need not be given"
    assert "utterance_id" not in stream.answer(replace(said[2], position=8))
    assert stream.answer(replace(said[3], dialogue_id="other", position=0))["position"] == 0


@pytest.mark.parametrize("name", ["mglra", "sgrnet", "bilstm"])
def test_what_is_kept_of_a_dialogue_does_not_grow(runs, name):
    window = 8
    stream, sizes = Stream([runs[name]], window=window), []
    for t, u in enumerate(talk(6 * window, "abcdefghijklmnopqrstuvwxyz")):
        u = u if name != "bilstm" else replace(u, features={m: x for m, x in u.features.items() if m != "visual"})
        stream.answer(u)
        kept = stream._heard["d"]
        assert len(kept.speakers) == min(t + 1, window)
        sizes.append((kept.pasts[0].rows, kept.pasts[0].states, kept.pasts[0].bytes))
    late = np.array(sizes)
    assert (late[3 * window :].max(0) <= late[: 3 * window].max(0)).all()
    assert late[-1, 1] <= 2 + window


def test_up_to_the_window_nothing_is_forgotten_and_beyond_it_is(runs):
    said = talk(20, "abc")
    wide, narrow = Stream([runs["mglra"]], window=20), Stream([runs["mglra"]], window=12)
    answers = [(wide.answer(u), narrow.answer(u)) for u in said]
    assert all(a == b for a, b in answers[:12])
    assert all(a != b for a, b in answers[12:])


def test_who_returns_after_the_window_is_new(runs):
    stream = Stream([runs["mglra"]], window=3)
    numbers = []
    for u in talk(8, "abcadcba"):
        stream.answer(u)
        numbers.append(stream._heard["d"].speakers[u.speaker])
    assert numbers == [0, 1, 2, 0, 3, 2, 4, 5], "d drops b, b drops a"


def test_the_dialogue_that_was_silent_for_longest_is_dropped(runs):
    stream = Stream([runs["mglra"]], dialogues=2)
    a, b, c = (talk(3, dialogue=d, seed=k) for k, d in enumerate("abc"))
    first = [stream.answer(u) for u in (a[0], b[0], a[1], c[0])]
    assert [x["position"] for x in first] == [0, 0, 1, 0]
    assert stream.answer(a[2])["position"] == 2, "a was heard after b"
    assert stream.answer(b[0]) == first[1], "b begins anew"
    assert stream.answer(c[0]) == first[3], "and c was dropped for it"


def test_a_dialogue_that_has_ended_begins_anew(runs):
    stream = Stream([runs["sgrnet"]])
    said = talk(4)
    once = [stream.answer(u) for u in said]
    stream.end("d")
    stream.end("never heard")
    assert [stream.answer(u) for u in said] == once


def spoilt(**features: Any) -> Utterance:
    good = talk(1)[0]
    return replace(good, speaker="z", features={**good.features, **features})


@pytest.mark.parametrize(
    ("bad", "expected"),
    [
        (spoilt(smell=np.zeros(3)), "expected features of text, audio, visual, found smell; leave it out"),
        (spoilt(text=np.zeros(3)), r"text: expected \d+ numbers, as in the training of .*, found 3"),
        (spoilt(text=np.zeros((1, 24))), r"text: expected \d+ numbers, .*, found float64 \[1, 24\]"),
        (spoilt(text="hello"), r"text: expected \d+ numbers, .*, found <U5 \[\]"),
        (spoilt(audio=np.full(talk(1)[0].features["audio"].shape, np.nan)), "audio: expected finite numbers"),
        (spoilt(visual=np.full(talk(1)[0].features["visual"].shape, 1e39)), "visual: expected finite numbers"),
        (spoilt(visual=np.full(talk(1)[0].features["visual"].shape, 3e38)), "expected a finite answer, found none"),
    ],
)
def test_what_is_refused_leaves_no_trace(runs, bad, expected):
    stream, other = (Stream([runs["mglra"], runs["sgrnet"]], window=4, dialogues=2) for _ in range(2))
    for d in ("e", "d"):
        for s in (stream, other):
            s.answer(talk(1, dialogue=d)[0])
    for position, u in enumerate(talk(6, "ab"), start=1):
        for dialogue, place in (("d", position), ("e", 1), ("new", 0)):
            with pytest.raises(InputError, match=f"^dialogue {dialogue}, utterance {place}: {expected}") as caught:
                stream.answer(replace(bad, dialogue_id=dialogue))
            assert isinstance(caught.value, DivergedError) == ("answer" in expected)
        assert stream.answer(u) == other.answer(u)
    assert list(stream._heard) == list(other._heard) == ["e", "d"]
    assert [p.states for x in stream._heard.values() for p in x.pasts] == [p.states for x in other._heard.values() for p in x.pasts]


def test_nothing_is_written_to(runs):
    u = talk(1)[0]
    before = {m: x.copy() for m, x in u.features.items()}
    stream = Stream([runs["mglra"]])
    stream.answer(u)
    assert all(np.array_equal(x, before[m]) for m, x in u.features.items())
    for x in u.features.values():
        x.fill(0)
    again = Stream([runs["mglra"]])
    again.answer(replace(u, features=before))
    second = talk(2)[1]
    assert stream.answer(second) == again.answer(second), "what the caller does with its arrays afterwards is no matter"


def test_runs_that_can_not_listen(runs):
    about = runs["bilstm"].data
    offline = replace(runs["bilstm"], data={**about, "spec": {**about["spec"], "causal": False}}, path=Path("offline"))
    with pytest.raises(InputError, match=r"^offline: expected a causal run, .* fit one with --set graph.causal=true"):
        Stream([runs["bilstm"], offline])
    for other in ("score", "mglra"):
        with pytest.raises(InputError, match=f"{other}: expected a run of sentiment .*sign is"):
            Stream([runs["sign"], runs[other]])
    wider = replace(runs["bilstm"], data={**about, "widths": {"text": 7, "audio": 5}}, path=Path("wider"))
    with pytest.raises(InputError, match=r"wider: text: expected vectors of width .*, found 7"):
        Stream([runs["mglra"], wider])
    for some, bounds in (([], {}), ([runs["bilstm"]], {"window": 0}), ([runs["bilstm"]], {"dialogues": 0})):
        with pytest.raises(ValueError, match="expected runs, and window and dialogues of at least 1"):
            Stream(some, **bounds)


def test_every_answer_of_a_long_dialogue_is_a_distribution(runs):
    stream = Stream([runs["sgrnet"]], window=5)
    answers = pd.DataFrame([stream.answer(u)["probabilities"] for u in talk(60, "abcd")])
    np.testing.assert_allclose(answers.sum(axis=1), 1, atol=1e-6)
    assert answers.std().max() > 1e-6, "vacuous: all the same"
