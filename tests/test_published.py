"""What happens to any published file after its reader: arrays find their utterances, label maps, choices, errors."""

from __future__ import annotations

import gzip
import lzma
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import scipy.io
from cli_cases import assert_one_line, good
from cli_cases import run as dglmerc
from pickled import pickled

from dgl_merc.corpus import Corpus, Target, open_corpus
from dgl_merc.corpus.readers import known
from dgl_merc.corpus.readers import published as module
from dgl_merc.corpus.readers.layout import Choices, Content, Layout, Published, Vectors
from dgl_merc.corpus.readers.published import read_published
from dgl_merc.corpus.readers.table import NO_FEATURES
from dgl_merc.errors import InputError

LABELS = ("hap", "exc", "sad", "xxx")
MAPS = {"all": {label: label for label in LABELS[:3]}, "two": {"exc": "happy", "hap": "happy", "sad": "sad"}}
SPLIT = {"a": "train", "b": "dev", "c": "test"}


def toy(content: Content, choices: Choices) -> Published:
    """Utterances scattered over the file and out of order: b1 a1 c0 a0 b0 a2."""
    names = ["b1", "a1", "c0", "a0", "b0", "a2"]
    table = pd.DataFrame(
        {
            "dialogue_id": [name[0] for name in names],
            "speaker": ["M", "F", "M", "M", "F", "M"],
            "split": [choices.one_split or SPLIT[name[0]] for name in names],
            "utterance_id": [f"u{name}" for name in names],
            "order": [int(name[1]) for name in names],
            "emotion": ["hap", "exc", "sad", "hap", "xxx", None],
            "session": ["Ses1"] * 6,
        }
    )
    row = np.arange(6.0)[:, None]
    arrays: dict[str, Callable[[], Vectors]] = {
        "one": lambda: Vectors(np.hstack([row, row + 0.5])),
        "some": lambda: Vectors(np.array([[30.0], [10.0], [0.0]]), np.array([3, 1, 0]), "no face"),
        "other": lambda: Vectors(np.array([[5.0], [-1.0], [1.0]]), np.array([5, 0, 1]), "no sound"),
        "unused": lambda: pytest.fail("nobody wanted it"),
    }
    assert content.value["toy"] == 1
    return Published("toys", table, {"emotion": Target("classes", LABELS)}, arrays, {"text": "one", "face": "some"}, ("it is a toy",))


def is_toy(content: Content) -> bool:
    return isinstance(content.value, dict) and content.value.get("toy") == 1


@pytest.fixture
def toys(tmp_path, monkeypatch) -> Path:
    layouts = (
        Layout("toy", "toys as a dict", "pickle", is_toy, toy, MAPS),
        Layout("plain-toy", "toys by day", "pickle", lambda c: is_toy(c) and "plain" in c.value, toy),
        Layout("table", "not of pickles", "csv", lambda _: True, toy),
    )
    monkeypatch.setattr(module, "known_layouts", lambda: layouts)
    return pickled(tmp_path / "toys.pkl", {"toy": 1})


def rows_of(corpus: Corpus, modality: str) -> dict[str, list[float]]:
    names = corpus.utterances.loc[corpus.utterances[f"has_{modality}"], "utterance_id"]
    return dict(zip(names, corpus.features[modality].tolist(), strict=True))


def test_every_vector_and_label_arrives(toys):
    corpus = read_published(toys)
    table = corpus.utterances
    assert table["utterance_id"].tolist() == ["ub0", "ub1", "ua0", "ua1", "ua2", "uc0"]
    assert table["speaker"].tolist() == ["F", "M", "M", "F", "M", "M"]
    assert corpus.label_names("emotion").tolist() == [None, "hap", "hap", "exc", None, "sad"]
    assert corpus.splits.tolist() == ["dev", "train", "test"]
    assert rows_of(corpus, "text") == {"ub1": [0, 0.5], "ua1": [1, 1.5], "uc0": [2, 2.5], "ua0": [3, 3.5], "ub0": [4, 4.5], "ua2": [5, 5.5]}
    assert rows_of(corpus, "face") == {"ub1": [0], "ua1": [10], "ua0": [30]}
    assert "order" not in table
    assert table["session"].tolist() == ["Ses1"] * 6
    assert corpus.targets["emotion"].labels == ("hap", "exc", "sad")
    assert corpus.notes == (
        "layout: toy, toys as a dict",
        "it is a toy",
        "emotion: 1 utterances labelled xxx became context (--label-map all)",
        "face: absent in 3 of 6 utterances: no face",
    )
    assert corpus.source["reader"] == "toy"
    assert corpus.modalities["face"].provenance == "toys.pkl: some"


def test_other_arrays_maps_and_classes(toys):
    corpus = read_published(toys, ["face=file:some,other", "more=file:log1p(one)"], label_map="two", label_only_where=["face"])
    assert list(corpus.modalities) == ["text", "face", "more"]
    assert rows_of(corpus, "face") == {"ub1": [0, -1], "ua1": [10, 1]}, "where both are there"
    assert rows_of(corpus, "more")["ua0"] == pytest.approx(np.log1p([3, 3.5]))
    assert corpus.targets["emotion"].labels == ("happy", "sad")
    assert corpus.label_names("emotion").tolist() == [None, "happy", None, "happy", None, None]
    assert "emotion: 2 utterances labelled hap count as happy (--label-map two)" in corpus.notes
    assert "face: absent in 4 of 6 utterances: no face; no sound" in corpus.notes
    chosen = read_published(toys, classes=["sad", "hap"])
    assert chosen.targets["emotion"].labels == ("sad", "hap")
    assert chosen.label_names("emotion").tolist() == [None, "hap", "hap", None, None, "sad"]
    assert read_published(toys, one_split="test").splits.tolist() == ["test"] * 3


FAULTS = {
    "array": ({"features": ["text=file:two"]}, "--features text=file:two: expected arrays of the file, found 'two'; it has one, some, other, unused"),
    "layout": ({"layout": "doll"}, "--layout: expected one of toy, plain-toy, table, found 'doll'"),
    "other layout": ({"layout": "plain-toy"}, "toys.pkl: expected the layout plain-toy, found a dict of 1 ('toy': int)"),
    "map": ({"label_map": "ten"}, "--label-map: expected one that toy has (all, two), found 'ten'"),
    "classes": ({"classes": ["sad", "xxx"]}, "--classes: expected labels among hap, exc, sad, found 'xxx'"),
    "modality": ({"label_only_where": ["noise"]}, "--label-only-where noise: expected a modality among text, face"),
    "not finite": ({"features": ["text=file:log(one)"]}, "toys.pkl: dialogue b, utterance ub1: text: log(one): expected values above 0"),
}  # fmt: skip


@pytest.mark.parametrize(("options", "said"), FAULTS.values(), ids=FAULTS.keys())
def test_faults(toys, options, said):
    with pytest.raises(InputError) as error:
        read_published(toys, **options)
    assert said in str(error.value)


@pytest.mark.parametrize("protocol", range(6))
def test_a_pickle_is_one_by_its_name_or_its_first_bytes(toys, tmp_path, protocol):
    written = pickled(tmp_path / "named.pickle", {"toy": 1}, protocol).read_bytes()
    others = {"packed": gzip.compress(written), "squeezed.dat": lzma.compress(written)} | ({"features": written} if protocol > 1 else {})
    for name, data in others.items():
        (tmp_path / name).write_bytes(data)
    for name in ("named.pickle", *others):
        assert read_published(tmp_path / name).content_sha256 == read_published(toys).content_sha256


def test_what_no_layout_or_several_fit(toys, tmp_path):
    several = pickled(tmp_path / "both.pkl", {"toy": 1, "plain": 2})
    with pytest.raises(InputError, match=r"both.pkl: fits several layouts, toy, plain-toy; name one with --layout"):
        read_published(several)
    assert read_published(several, layout="plain-toy").source["options"]["layout"] == "plain-toy"
    other = pickled(tmp_path / "other.pkl", (["x"], {"id": np.zeros((2, 3))}, 5))
    said = r"expected a published layout \(dglmerc import layouts lists them\), found a tuple of 3: a list of 1, a dict of 1 \('id': an array float64 \[2, 3\]\), int; "
    with pytest.raises(InputError, match=said):
        read_published(other)
    np.save(tmp_path / "x.npy", np.zeros(3))
    (tmp_path / "x.h5").write_bytes(b"\x89HDF\r\n\x1a\n" + bytes(40))
    scipy.io.savemat(tmp_path / "x.mat", {"x": np.zeros(3)})
    for name in ("x.npy", "x.h5", "x.mat"):
        with pytest.raises(InputError, match=rf"{name}: expected utterances, found arrays alone; they go with a table"):
            read_published(tmp_path / name)
    with pytest.raises(InputError, match=r"nothing: expected a file or a folder, found none"):
        read_published(tmp_path / "nothing")


def test_the_command(toys, tmp_path):
    said = "\n".join(good("import", toys, tmp_path / "out", "--features", "face=file:other", "--label-map", "two"))
    assert "layout: toy, toys as a dict" in said
    assert open_corpus(tmp_path / "out", check="full").content_sha256 == read_published(
        toys, ["face=file:other"], label_map="two"
    ).content_sha256  # fmt: skip
    assert_one_line(dglmerc("import", toys, tmp_path / "out"), "out: ")
    assert good("import", toys, tmp_path / "out", "--force")
    assert_one_line(dglmerc("import", toys), "Missing argument 'OUT'")
    assert_one_line(dglmerc("import", tmp_path / "none.pkl", tmp_path / "b"), "none.pkl: expected a file or a folder, found none")
    assert not (tmp_path / "b").exists()


@pytest.mark.parametrize("columns", [80, 120])
def test_the_list(columns, toys, monkeypatch):
    monkeypatch.setattr(known, "known_layouts", module.known_layouts)
    monkeypatch.setenv("COLUMNS", str(columns))
    lines = good("import", "layouts")
    assert lines[-3:] == ["  toy        toys as a dict", "  plain-toy  toys by day", "  table      not of pickles"]
    assert good("import", "layouts", "toy") == [
        "toy: toys as a dict",
        "  all  hap, exc, sad [default]",
        "  two  happy, sad (hap, exc -> happy)",
    ]
    assert good("import", "layouts", "plain-toy")[-1] == "  no label maps  the labels stay as they are"
    assert_one_line(dglmerc("import", "layouts", "doll"), "NAME: expected one of `dglmerc import layouts`, found 'doll'")
    monkeypatch.undo()
    monkeypatch.setenv("COLUMNS", str(columns))
    assert max(map(len, good("import", "layouts"))) <= columns
    said = " ".join(" ".join(good("import", "layouts", "iemocap")).split())
    assert " four happy, sad, neutral, angry (excited -> happy; frustrated -> context) four-unmerged " in said


def test_a_corpus_without_features_waits_for_some(toys, tmp_path, monkeypatch):
    layout = Layout("bare", "no features", "pickle", is_toy, lambda c, k: Published("bare", toy(c, k).table, toy(c, k).targets))
    monkeypatch.setattr(module, "known_layouts", lambda: (layout,))
    good("import", toys, tmp_path / "bare")
    corpus = open_corpus(tmp_path / "bare", check="full")
    assert (len(corpus), dict(corpus.modalities)) == (3, {})
    assert corpus.notes[-1] == NO_FEATURES
    assert_one_line(dglmerc("build-graphs", tmp_path / "bare", tmp_path / "g"), "expected at least one modality, found none")
