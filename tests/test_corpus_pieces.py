"""Rows that lie in several places, moments of columns, and what goes together, each against the plain thing."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import dgl_merc.corpus.pieces as module
from dgl_merc.corpus.association import association, label_counts, presence_and_label, unbiased_v
from dgl_merc.corpus.moments import moments
from dgl_merc.corpus.pieces import Pieces, pieces_of, write_npy

X, Y = np.arange(12, dtype=np.float32).reshape(6, 2), 100 + np.arange(6, dtype=np.float32).reshape(3, 2)
PARTS = [(X, np.array([5, 0, 0, 3])), (Y, np.array([], dtype=np.int64)), (Y, np.array([2, 1]))]
WHOLE = np.concatenate([x[rows] for x, rows in PARTS])

KEYS = [
    slice(None),
    slice(1, 5),
    slice(-3, None),
    slice(4, 2),
    slice(None, None, 2),
    slice(None, None, -1),
    0,
    -1,
    [3, 0, -1, 3],
    np.array([], dtype=np.int64),
    np.array([True, False, True, False, False, True]),
    (slice(1, 4), 1),
    (2, 0),
    ([0, 5], slice(1, 2)),
]


@pytest.mark.parametrize("key", KEYS, ids=str)
def test_pieces_take_the_keys_of_an_array(key):
    found = Pieces(PARTS)[key]
    np.testing.assert_array_equal(found, WHOLE[key])
    assert np.shape(found) == np.shape(WHOLE[key])


def test_pieces_are_an_array_when_asked():
    x = Pieces.of(*PARTS)
    assert (x.shape, len(x), x.ndim, x.dtype) == ((6, 2), 6, 2, np.float32)
    np.testing.assert_array_equal(np.asarray(x), WHOLE)
    assert np.asarray(x, dtype=np.float64).dtype == np.float64
    with pytest.raises(ValueError, match="must be copied"):
        np.asarray(x, copy=False)
    with pytest.raises(IndexError, match="from 0 to 5"):
        x[6]
    with pytest.raises(ValueError, match="equally wide, got 2 and 3"):
        Pieces([(X, np.array([0])), (np.zeros((1, 3)), np.array([0]))])


def test_pieces_of_pieces():
    inner = Pieces.of(*PARTS)
    np.testing.assert_array_equal(Pieces([(inner, np.array([4, 1])), (X, np.array([1]))])[:], np.concatenate([WHOLE[[4, 1]], X[[1]]]))


@pytest.mark.parametrize("x", [WHOLE, WHOLE[:0], Pieces.of(*PARTS), WHOLE.astype(np.float64)], ids=["array", "empty", "pieces", "float64"])
def test_written_as_numpy_writes_it(x, tmp_path, monkeypatch):
    monkeypatch.setattr(module, "_NUMBERS", 4)  # two rows at a time
    write_npy(tmp_path / "mine.npy", x)
    np.save(tmp_path / "its.npy", np.asarray(x, dtype=np.float32), allow_pickle=False)
    assert (tmp_path / "mine.npy").read_bytes() == (tmp_path / "its.npy").read_bytes()


def test_a_piece_is_bounded_in_numbers(monkeypatch):
    assert (module.rows_at_once(1), module.rows_at_once(1 << 12), module.rows_at_once(1 << 30)) == (1 << 16, 1 << 10, 1)
    monkeypatch.setattr(module, "_NUMBERS", 4)
    assert [(lo, len(piece)) for lo, piece in pieces_of(np.zeros((5, 2)))] == [(0, 2), (2, 2), (4, 1)]


@settings(max_examples=30, deadline=None)
@given(st.lists(st.booleans(), min_size=1, max_size=12), st.integers(0, 99))
def test_moments_are_numpys(kept, seed):
    x = (np.random.default_rng(seed).standard_normal((len(kept), 3)) * [1, 1e-3, 5] + [0, 1e4, -7]).astype(np.float32)
    whole, module._NUMBERS = module._NUMBERS, 6  # two rows at a time
    try:
        found = moments(x, np.array(kept))
    finally:
        module._NUMBERS = whole
    part = x[np.array(kept)].astype(np.float64)
    assert found.count == len(part)
    if len(part):
        for mine, its in ((found.mean, part.mean(0)), (found.std, part.std(0)), (found.least, part.min(0)), (found.greatest, part.max(0))):
            np.testing.assert_allclose(mine, its, rtol=1e-9, atol=1e-12)
        np.testing.assert_array_equal(found.scale, np.abs(part).max(0))
    else:
        assert not np.stack([found.mean, found.std, found.least, found.greatest]).any()


def test_cramers_v_by_hand():
    counts = np.array([[2, 1], [1, 2], [0, 0]])  # expected 1.5 each: chi^2 = 4 (.5^2) / 1.5 = 2/3
    v, p = association(counts)
    assert v == pytest.approx(np.sqrt(2 / 3 / 6))
    assert p == pytest.approx(0.4142, abs=1e-4)
    # phi^2 = 1/9, less (2 - 1)(2 - 1) / 5: nothing is left
    assert unbiased_v(counts) == 0
    big = np.array([[40, 10], [10, 40]])  # chi^2 / n = .36; - 1/99; K~ - 1 = 1 - 1/99
    assert unbiased_v(big) == pytest.approx(np.sqrt((0.36 - 1 / 99) / (1 - 1 / 99)))
    np.testing.assert_allclose(unbiased_v(np.stack([counts, np.vstack([big, [0, 0]])])), [0, unbiased_v(big)])
    assert np.isnan(association(np.array([[3, 0], [2, 0]]))[0])
    assert unbiased_v(np.array([[3, 0], [2, 0]])) == 0
    assert label_counts(np.array([0, 2, 2]), np.array([True, False, True]), 3).tolist() == [[0, 1], [0, 0], [1, 1]]


def dialogues(seed: int, kind: str) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Sixty dialogues of 1 to 29 utterances, each with a label of its own that most of its utterances have."""
    rng = np.random.default_rng(seed)
    lengths = rng.integers(1, 30, 60)
    dialogue = np.repeat(np.arange(60), lengths)
    total = len(dialogue)
    labels = np.where(rng.random(total) < 0.8, rng.integers(2, size=60)[dialogue], rng.integers(2, size=total))
    share = np.where(labels == 0, 0.9, 0.5) if kind == "told" else rng.choice([0.1, 0.9], 60)[dialogue]
    return labels, rng.random(total) < share, dialogue


def test_presence_that_tells_is_found():
    labels, present, dialogue = dialogues(0, "told")
    found = presence_and_label(labels, present, dialogue, 2)
    assert found.p == 1 / 1000
    assert 0.25 < found.low < found.unbiased < found.high < 0.6
    assert found.v == pytest.approx(association(label_counts(labels, present, 2))[0])
    assert presence_and_label(labels, present, dialogue, 2) == found


def test_what_is_alike_within_dialogues_is_no_finding():
    """A chi-squared test over utterances cries wolf here: both labels and presence run in dialogues."""
    ps, naive = [], []
    for seed in range(80):
        labels, present, dialogue = dialogues(seed, "apart")
        naive.append(association(label_counts(labels, present, 2))[1])
        ps.append(presence_and_label(labels, present, dialogue, 2).p)
    assert np.mean(np.array(naive) < 0.05) > 0.3
    assert np.mean(np.array(ps) < 0.05) <= 0.1  # more than 8 of 80 at a level of 5 %: 1.7 % by chance, and the seeds are fixed
    assert 0.3 < np.median(ps) < 0.7


def test_p_by_hand():
    """Three dialogues of two, each with presence for the one label alone: of eight draws of signs two come as far."""
    labels, present, dialogue = np.array([0, 1] * 3), np.array([False, True] * 3), np.repeat(np.arange(3), 2)
    assert presence_and_label(labels, present, dialogue, 2).p == pytest.approx(0.25, abs=0.05)


def test_nothing_to_compare():
    found = presence_and_label(np.array([0, 1]), np.array([True, True]), np.array([0, 0]), 2)
    assert np.isnan([found.v, found.unbiased, found.low, found.high, found.p]).all()
