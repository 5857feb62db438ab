"""Rows, scaling and tables of a corpus against plain loops, numpy in float64, and hand counts."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dgl_merc.corpus import SPLITS, Corpus, Scaling, Target
from dgl_merc.corpus.summary import label_table, shared_speakers, split_table
from dgl_merc.errors import InputError

LABELS = ("joy", "anger", "fear")
MODALITIES = {"text": 3, "audio": 2, "visual": 1}


@st.composite
def corpora(draw: st.DrawFn) -> Corpus:
    """Dialogues with names and speakers that were chosen to be confused."""
    lengths = draw(st.lists(st.integers(1, 6), min_size=1, max_size=6))
    names = draw(
        st.lists(st.sampled_from(["a", "a\0b", "b", "0", "00", "é", "d" * 9]), min_size=len(lengths), max_size=len(lengths), unique=True)
    )
    total = sum(lengths)
    columns = {
        "dialogue_id": [name for name, n in zip(names, lengths, strict=True) for _ in range(n)],
        "position": [k for n in lengths for k in range(n)],
        "speaker": draw(st.lists(st.sampled_from(["x", "b\0x", "0", "y"]), min_size=total, max_size=total)),
        "split": [draw(st.sampled_from(SPLITS)) for n in lengths for _ in [0]],
        "emotion": draw(st.lists(st.sampled_from([None, *LABELS]), min_size=total, max_size=total)),
    }
    columns["split"] = [s for s, n in zip(columns["split"], lengths, strict=True) for _ in range(n)]
    chosen = draw(st.integers(1, 3))
    features = {}
    for m, width in list(MODALITIES.items())[:chosen]:
        columns[f"has_{m}"] = draw(st.lists(st.booleans(), min_size=total, max_size=total))
        there = np.flatnonzero(columns[f"has_{m}"])
        features[m] = there[:, None] * 10.0 + np.arange(width)  # a vector says whose it is
    return Corpus.build("drawn", pd.DataFrame(columns), features, {"emotion": Target("classes", LABELS)})


@settings(max_examples=60, deadline=None)
@given(corpora())
def test_rows_against_loops(corpus):
    rows = corpus.utterances.to_dict("records")
    dialogues: dict[str, list[int]] = {}
    for u, row in enumerate(rows):
        dialogues.setdefault(row["dialogue_id"], []).append(u)
    assert len(corpus) == len(dialogues)
    assert corpus.dialogue_ids == tuple(dialogues)
    assert corpus.lengths.tolist() == [len(us) for us in dialogues.values()]
    assert corpus.offsets.tolist() == [*(us[0] for us in dialogues.values()), len(rows)]
    assert corpus.splits.tolist() == [rows[us[0]]["split"] for us in dialogues.values()]
    for split in SPLITS:
        assert corpus.in_split(split).tolist() == [d for d, us in enumerate(dialogues.values()) if rows[us[0]]["split"] == split]
    assert corpus.labels("emotion").tolist() == [LABELS.index(r["emotion"]) if isinstance(r["emotion"], str) else -1 for r in rows]

    speakers = []
    for us in dialogues.values():
        met: list[str] = []
        for u in us:
            if rows[u]["speaker"] not in met:
                met.append(rows[u]["speaker"])
            speakers.append(met.index(rows[u]["speaker"]))
    assert corpus.local_speakers.tolist() == speakers

    seen = dict.fromkeys(corpus.modalities, 0)
    for u, row in enumerate(rows):
        for k, m in enumerate(corpus.modalities):
            assert corpus.presence[u, k] == row[f"has_{m}"]
            assert corpus.feature_rows[u, k] == seen[m]
            if row[f"has_{m}"]:
                assert corpus.features[m][seen[m], 0] == u * 10
                seen[m] += 1
    assert corpus.feature_rows[-1].tolist() == list(seen.values())


@settings(max_examples=30, deadline=None)
@given(corpora())
def test_dialogues_hold_their_own_rows(corpus):
    whole = list(corpus)
    assert [d.dialogue_id for d in whole] == list(corpus.dialogue_ids)
    pd.testing.assert_frame_equal(pd.concat([d.utterances for d in whole]), corpus.utterances)
    for d in whole:
        assert set(d.utterances["split"]) == {d.split}
        assert len(d) == len(d.utterances)
        for m, x in d.features.items():
            assert x[:, 0].tolist() == [10.0 * u for u in d.utterances.index[d.utterances[f"has_{m}"]]]
        pd.testing.assert_frame_equal(corpus.dialogue(d.dialogue_id).utterances, d.utterances)


def make(**change: object) -> Corpus:
    columns: dict[str, object] = {
        "dialogue_id": list("aaabbc"),
        "position": [0, 1, 2, 0, 1, 0],
        "speaker": ["ann", "bob", "ann", "bob", "cy", "ann"],
        "split": ["train"] * 3 + ["test"] * 2 + ["train"],
        "emotion": ["joy", None, "anger", "joy", "joy", None],
        "has_audio": [True, False, True, True, True, True],
    }
    t = pd.DataFrame(columns | change)
    x = {"text": np.arange(12.0).reshape(6, 2), "audio": np.arange(float(sum(t["has_audio"])))[:, None]}
    return Corpus.build("hand", t, x, {"emotion": Target("classes", LABELS), "score": Target("range", bounds=(0, 9))}) if "score" in t else (
        Corpus.build("hand", t, x, {"emotion": Target("classes", LABELS)})
    )  # fmt: skip


@pytest.mark.parametrize("number", [-1, 3, "z"])
def test_dialogues_that_are_not_there(number):
    with pytest.raises(InputError, match=r"hand: (no dialogue 'z' among its 3|dialogues are numbered 0 to 2, found)"):
        make().dialogue(number)


# --- scaling


@pytest.fixture
def spread() -> Corpus:
    """600 utterances of three splits, audio absent at some; one column far from zero, one constant, one huge outside of train."""
    n, generator = 600, np.random.default_rng(3)
    t = pd.DataFrame({"dialogue_id": [f"d{k // 10}" for k in range(n)], "position": [k % 10 for k in range(n)], "speaker": "s"})
    t["split"] = [SPLITS[(k // 10) % 3] for k in range(n)]
    t["has_audio"] = generator.random(n) < 0.6
    x = generator.normal(size=(n, 4)) * [1.0, 50.0, 0.01, 0.0] + [0.0, 3.0, 1000.0, 7.0]
    x[(t["split"] != "train").to_numpy(), 1] = 1e6
    audio = generator.normal(size=(int(t["has_audio"].sum()), 2)) + 5
    return Corpus.build("spread", t, {"text": x, "audio": audio}, {})


def test_scaling_against_numpy(spread):
    scaling = Scaling.fit(spread)
    for m, x in spread.features.items():
        train = [k for k, row in enumerate(spread.utterances.loc[spread.utterances[f"has_{m}"], "split"]) if row == "train"]
        rows = x[train].astype(np.float64)
        flat = rows.std(axis=0) < 1e-6
        np.testing.assert_allclose(scaling.mean[m], rows.mean(axis=0), rtol=1e-6)
        np.testing.assert_allclose(scaling.std[m], np.where(flat, 1.0, rows.std(axis=0)), rtol=1e-6)
        scaled = scaling.apply(m, x)
        assert scaled.dtype == np.float32
        np.testing.assert_allclose(scaled[train].mean(axis=0, dtype=np.float64), 0, atol=5e-3)
        np.testing.assert_allclose(scaled[train].std(axis=0, dtype=np.float64), np.where(flat, 0.0, 1.0), atol=5e-3)
        assert np.isfinite(scaled).all()
    assert scaling.apply("text", spread.features["text"])[:, 3].tolist() == [0.0] * 600


def test_scaling_none(spread):
    scaling = Scaling.fit(spread, "none")
    assert dict(scaling.mean) == {}
    np.testing.assert_array_equal(scaling.apply("text", spread.features["text"]), spread.features["text"])


def test_scaling_needs_training_rows():
    with pytest.raises(InputError, match="hand: audio: no training utterance has it"):
        Scaling.fit(make(has_audio=[False, False, False, True, True, False]))
    with pytest.raises(InputError, match="text: no training utterance has it"):
        Scaling.fit(make(split=["dev"] * 6))


def test_scaling_in_pieces():
    n = (1 << 16) + 100
    t = pd.DataFrame({"dialogue_id": "d", "position": range(n), "speaker": "s", "split": "train"})
    x = np.random.default_rng(0).normal(size=(n, 2)).astype(np.float32) + 1e4
    scaling = Scaling.fit(Corpus.build("long", t, {"text": x}, {}))
    np.testing.assert_allclose(scaling.mean["text"], x.mean(axis=0, dtype=np.float64), rtol=1e-7)
    np.testing.assert_allclose(scaling.std["text"], x.std(axis=0, dtype=np.float64), rtol=1e-6)


# --- tables


def test_split_table_by_hand():
    table = split_table(make(score=[1, 2, None, 4, None, None]))
    assert table.index.tolist() == ["train", "test"]
    assert table.columns.tolist() == [
        "dialogues",
        "utterances",
        "speakers",
        "emotion labelled",
        "score labelled",
        "text present",
        "audio present",
    ]
    assert table.loc["train"].tolist() == [2, 4, 2, 2, 2, 4, 3]
    assert table.loc["test"].tolist() == [1, 2, 2, 2, 1, 2, 2]


def test_label_table_by_hand():
    table = label_table(make(), "emotion")
    assert table.columns.tolist() == ["train", "test"]
    assert table.index.tolist() == ["joy", "anger", "fear", "(unlabelled)"]
    assert table.to_numpy().tolist() == [[1, 2], [1, 0], [0, 0], [2, 0]]


def test_shared_speakers_by_hand():
    assert shared_speakers(make()) == 1  # bob
    assert shared_speakers(make(split=["train"] * 6)) == 0
    assert shared_speakers(make(split=["train"] * 3 + ["test"] * 2 + ["dev"])) == 2
