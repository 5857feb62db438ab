"""Published tuples from strangers: every fault is named with its place, and no content crashes, hangs or fills memory."""

from __future__ import annotations

import contextlib
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from layout_cases import IEMOCAP, ITEMS, content_of, read_items, written

from dgl_merc.corpus.readers.published import read_published
from dgl_merc.corpus.reading.content import describe, shown
from dgl_merc.errors import InputError


def rng() -> np.random.Generator:
    return np.random.default_rng(7)


# --- faults -----------------------------------------------------------------------------------------------------------

A, B = IEMOCAP[0], IEMOCAP[5]


def _put(item: str, value: Any, k: int | None = None, dialogue: Any = A) -> Any:
    """A change of the items: one entry of a dialogue, or all of it."""

    def change(items: dict[str, Any]) -> None:
        if k is None:
            items[item][dialogue] = value
        else:
            items[item][dialogue][k] = value

    return change


def _set(item: str, value: Any) -> Any:
    return lambda items: items.update({item: value})


DEEP: list[Any] = []
for _ in range(2000):
    DEEP = [DEEP]
FAULTS = {
    "label too great": (_put("emotion", 6, 1), f"dialogue {A}, utterance {A}_M001: emotion: expected a whole number from 0 to 5, found 6"),
    "label below": (_put("emotion", -1, 1), f"utterance {A}_M001: emotion: expected a whole number from 0 to 5, found -1"),
    "label as text": (_put("emotion", "1", 1), "emotion: expected a whole number from 0 to 5, found '1'"),
    "label as truth": (_put("emotion", True, 1), "emotion: expected a whole number from 0 to 5, found True"),
    "huge label": (_put("emotion", 10**9999, 1), "emotion: expected a whole number from 0 to 5, found a whole number of 33216 bits"),
    "label array": (_put("emotion", np.array(3.0), None, B), f"{B}: emotion: expected at least one utterance, found an array float64 []"),
    "label as a span of time": (_put("emotion", np.timedelta64(1, "s"), 1), "emotion: expected a whole number from 0 to 5, found timedelta64"),
    "spans of time": (_put("audio", [np.timedelta64(1, "s")] * 1582, 1), "audio: expected a vector of real numbers, found a list of 1582"),
    "id as a span of time": (_put("ids", np.timedelta64(1, "s"), 1), "ids: expected an utterance's name, found timedelta64"),
    "no labels": (_put("emotion", [], None, B), f"dialogue {B}: emotion: expected at least one utterance, found a list of 0"),
    "labels as a dict": (_put("emotion", {0: 1}, None, B), f"dialogue {B}: emotion: expected at least one utterance, found a dict of 1"),
    "fewer speakers": (lambda items: items["speakers"][A].pop(), f"dialogue {A}: speakers: expected 2 entries, one an utterance, found 1"),
    "more vectors": (lambda items: items["text"][A].append(items["text"][A][0]), f"dialogue {A}: text: expected 2 entries, one an utterance, found 3"),
    "fewer sentences": (lambda items: items["sentences"][A].pop(), f"dialogue {A}: sentences: expected 2 entries"),
    "fewer ids": (lambda items: items["ids"][A].pop(), f"dialogue {A}: ids: expected 2 entries"),
    "no vectors": (lambda items: items["visual"].pop(A), f"dialogue {A}: visual: expected a list with one entry an utterance, found none among 5 dialogues"),
    "another width": (_put("audio", np.ones(100), 1), f"utterance {A}_M001: audio: expected vectors of width 1582 as before, found 100"),
    "nested": (_put("audio", [[1.0, 2.0]], 1), "audio: expected a vector of real numbers, found a list of 1"),
    "nested deep": (_put("audio", DEEP, 1), "audio: expected a vector of real numbers, found a list of 1"),
    "words": (_put("audio", ["1.0"] * 1582, 1), "audio: expected a vector of real numbers, found a list of 1582"),
    "huge numbers": (_put("audio", [10**400] * 1582, 1), "audio: expected a vector of real numbers, found a list of 1582"),
    "a number": (_put("audio", 3.5, 1), "audio: expected a vector of real numbers, found 3.5"),
    "complex": (_put("audio", np.ones(1582, complex), 1), "audio: expected a vector of real numbers, found an array complex128 [1582]"),
    "a cube": (_put("audio", np.ones((2, 3, 4))), f"dialogue {A}: audio: expected real numbers [2, width], found an array float64 [2, 3, 4]"),
    "numbers for vectors": (_put("audio", np.ones(3), None, B), f"dialogue {B}: audio: expected real numbers [3, width], found an array float64 [3]"),
    "vectors as text": (_put("audio", "no", None, B), f"dialogue {B}: audio: expected a list with one entry an utterance, found 'no'"),
    "NaN": (_put("text", np.full(100, np.nan), 0), "text: expected finite numbers"),
    "speaker": (_put("speakers", "X", 1), f"utterance {A}_M001: speakers: expected 'M' or 'F', found 'X'"),
    "sentence": (_put("sentences", None, 1), f"utterance {A}_M001: sentences: expected text, found None"),
    "half a character": (_put("sentences", "a\ud800", 1), "sentences: expected text that a file can hold, found half a character"),
    "same id twice": (_put("ids", f"{A}_F000", 1), f"dialogue {A}, utterance {A}_F000: expected every utterance once"),
    "id": (_put("ids", [1], 1), f"dialogue {A}, utterance 1: ids: expected an utterance's name, found a list of 1"),
    "two splits": (_set("test", [A, B]), f"dialogue {A}: expected in one split, found in train and in test"),
    "twice in a split": (_set("test", [B, B]), f"dialogue {B}: expected in one split, found in test and in test"),
    "unknown in a split": (_set("test", ["Ses05F_impro99"]), "dialogue Ses05F_impro99: expected utterances of this dialogue of test, found none"),
    "a list in a split": (_set("test", [[B]]), "test: expected names of dialogues, found a list of 1"),
    "no split": (lambda items: items.update(train=[], test=[]), "expected at least one dialogue in a split, found none"),
    "name": (lambda items: items["emotion"].update({"dialogue 7": [1]}), "emotion: expected names of dialogues as IEMOCAP has them, found 'dialogue 7'"),
    "key": (lambda items: items["emotion"].update({(1, 2): [1]}), "emotion: expected names of dialogues as IEMOCAP has them, found a tuple of 2"),
}  # fmt: skip


@pytest.mark.parametrize("fault", FAULTS)
def test_faults_are_named(fault, tmp_path):
    change, said = FAULTS[fault]
    items = content_of("iemocap", rng(), lengths=(2, 3, 2, 3, 2, 3))
    change(items)
    items["train"] = sorted(items["train"])
    with pytest.raises(InputError) as error:
        read_items(tmp_path, "iemocap", items)
    assert said in str(error.value), error.value
    assert str(error.value).startswith(str(tmp_path / "file.pkl"))
    assert len(str(error.value)) < 400


def test_meld_faults(tmp_path):
    for value in ([0] * 9, [1, 1, *[0] * 7], [0.5] * 2, "M", [[1], [0]], np.eye(9)):
        items = content_of("meld-text-audio", rng())
        items["speakers"][1153] = [*items["speakers"][1153]]
        items["speakers"][1153][1] = value
        with pytest.raises(InputError, match="dialogue 1153, utterance 1: speakers: expected a vector of zeros with one 1, found"):
            read_items(tmp_path, "meld-text-audio", items)
    items = content_of("meld-text-audio", rng())
    items["emotion"]["59"] = items["emotion"][59]
    items["train"] = [*items["train"], "59"]
    with pytest.raises(InputError, match="dialogue 59: "):
        read_items(tmp_path, "meld-text-audio", items)
    items = content_of("cosmic-meld", rng())
    items["roberta3"] = {key: [row[:512] for row in rows] for key, rows in items["roberta3"].items()}
    with pytest.raises(InputError, match="roberta_mean: expected 4 layers of one width, found 1024 in the first and 512 in the 3th"):
        read_items(tmp_path, "cosmic-meld", items)


def test_what_is_said_a_thousand_times_is_refused_before_it_is_made(tmp_path):
    items = content_of("iemocap", rng(), lengths=(2, 3, 2, 3, 2, 3))
    row = np.zeros(2**20, np.float32)
    items["text"] = {name: [row] * len(entries) for name, entries in items["text"].items()}
    assert read_published(written(tmp_path, "iemocap", items)).modalities["text"].width == 2**20, "fifteen times a MiB is no harm"
    many = {f"Ses01F_impro{k}": [0, 5, 4, 5] * 2500 for k in range(1)}
    labels, names = next(iter(many.values())), [f"Ses01F_impro{k}" for k in range(1000)]
    shared = {item: dict.fromkeys(names, labels) for item in ITEMS["iemocap"][1].split()}
    shared.update(speakers=dict.fromkeys(names, ["M"] * 10000), sentences=dict.fromkeys(names, ["x"] * 10000), train=names, test=[])
    shared.update({item: dict.fromkeys(names, [row] * 10000) for item in ("text", "audio", "visual")})
    with pytest.raises(InputError, match="utterances: expected each piece of data about once, found 10000 repeated to 10000000"):
        read_items(tmp_path, "iemocap", shared)
    long = content_of("iemocap", rng(), dialogues=IEMOCAP, lengths=(50,) * 6)
    long["text"] = {name: [row] * 50 for name in IEMOCAP}
    with pytest.raises(
        InputError, match="text: expected each piece of data about once, found 1048576 repeated to 314572800; it would not fit"
    ):
        read_items(tmp_path, "iemocap", long)


def test_describing_hostile_content_ends():
    loop: list[Any] = []
    loop.append(loop)
    wide: Any = "x"
    for _ in range(60):
        wide = [wide] * 12
    nested: Any = {}
    for _ in range(60):
        nested = {1: nested, 2: nested, 3: nested}
    assert describe(loop) == "a list of 1: a list of 1"
    assert describe(wide).startswith("a list of 12: a list of 12")
    assert describe(nested, 1).startswith("a dict of 3 (1: a dict of 3")
    assert describe({10**9999: 1}) == "a dict of 1 (a whole number of 33216 bits: int)"
    assert shown("x" * 10**6) == f"'{'x' * 35}'..."
    assert shown("a\nb\x1b[2J\udc80é") == r"'a\nb\x1b[2J\udc80é'"


# --- fuzz -------------------------------------------------------------------------------------------------------------

JUNK = st.sampled_from(
    [None, 7, -1, 2**70, 10**5000, 1.5, float("nan"), "", "x", "Ses01F_impro01", [], [[]], [None, "a"], {}, {"a": [1]}, (), set(), True, b"x", 1j,
     np.zeros(0), np.zeros((2, 0)), np.ones(3), np.ones((2, 2, 2)), np.array(5), np.array(["a"]), np.array([None, 1], object), DEEP]
)  # fmt: skip
FUZZED = ("iemocap", "meld-roberta-sentiment", "meld-tuple", "cosmic-emorynlp", "cosmic-dailydialog-text")
FUZZ_ITEMS = {
    layout: content_of(layout, rng(), lengths=(2, 3, 2, 3, 2, 3, 2, 3)[: len(content_of(layout, rng())["emotion"])]) for layout in FUZZED
}


def mutated(value: Any, depth: int, data: st.DataObject) -> Any:
    """The same with one place, at some depth, dropped, replaced, nested, cut short or doubled."""
    if depth and isinstance(value, dict | list | tuple) and value:
        keys = list(value) if isinstance(value, dict) else list(range(len(value)))
        key = data.draw(st.sampled_from(keys))
        changed = mutated(value[key], depth - 1, data)
        if isinstance(value, dict):
            return {**value, key: changed}
        return type(value)([*value[:key], changed, *value[key + 1 :]])
    what = data.draw(st.sampled_from(["junk", "junk", "nest", "cut", "double", "key"]))
    if what == "cut" and isinstance(value, list | tuple | np.ndarray | str) and np.ndim(value if isinstance(value, np.ndarray) else [0]):
        return value[: len(value) // 2]
    if what == "double" and isinstance(value, list | tuple):
        return [*value, *value]
    if what == "key" and isinstance(value, dict) and value:
        first = next(iter(value))
        junk = data.draw(st.sampled_from(["x", 5, None, (1,), 2.5, "Ses01F_impro77"]))
        return {junk if key == first else key: item for key, item in value.items()}
    return [value] if what == "nest" else data.draw(JUNK)


@settings(max_examples=200, deadline=None, suppress_health_check=list(HealthCheck), derandomize=True)
@given(data=st.data())
def test_only_input_errors_whatever_is_changed(tmp_path_factory, data):
    layout = data.draw(st.sampled_from(FUZZED))
    items = dict(FUZZ_ITEMS[layout])
    for _ in range(data.draw(st.integers(1, 2))):
        item = data.draw(st.sampled_from(list(items)))
        items[item] = mutated(items[item], data.draw(st.integers(0, 3)), data)
    with contextlib.suppress(InputError):
        corpus = read_items(tmp_path_factory.getbasetemp(), layout, items)
        assert 0 < len(corpus.utterances) < 100
