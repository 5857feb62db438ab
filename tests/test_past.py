"""What a stream keeps of a dialogue: rows within reach, states, nothing of a pass that was not kept, and no more than it says."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from dgl_merc.graphs import GraphSpec, Past, Structure


def row(*values: float) -> torch.Tensor:
    return torch.tensor(values, dtype=torch.float64)


@settings(max_examples=40, deadline=None)
@given(
    st.lists(st.integers(0, 3), min_size=1, max_size=60),
    st.integers(1, 20),
    st.sampled_from([None, 0, 1, 2, 5, 30]),
)
def test_what_is_recalled_are_the_rows_of_the_positions_in_reach(counts, window, reach):
    past, every = Past(window), []
    for position, count in enumerate(counts):
        new = row(*(100 * position + k for k in range(count)))
        every += [(position, float(x)) for x in new]
        past.begin()
        got = past.recall(reach, new, -new)
        past.keep()
        least = position - (window - 1 if reach is None else reach)
        want = [(p, x) for p, x in every if p >= least]
        assert (got.positions, got.rows[0].tolist()) == ([p for p, _ in want], [x for _, x in want])
        assert torch.equal(got.rows[1], -got.rows[0])
    assert past.position == len(counts)


def test_memory_stops_growing():
    past, rows, size = Past(10), [], []
    for position in range(200):
        past.begin()
        past.recall(None, torch.full((3, 4), float(position)))
        past.recall(2, torch.zeros(1, 4))
        turn = past.turn()
        past.leave(turn, None, [torch.zeros(1, 5)])
        past.leave(turn, position % 3, [torch.zeros(1, 5)])
        past.keep()
        rows.append(past.rows)
        size.append(past.bytes)
    assert past.states == 4
    assert max(size) <= 4 * (4 * 1.5 * (3 * 10 + 3 + 16) + 4 * 5)
    assert max(rows) == max(rows[:40])
    assert max(size) == max(size[:60])
    assert min(rows[40:]) >= 3 * 10 + 2, "vacuous: nothing is kept"


def test_turns_do_not_mix():
    past = Past(9)
    for _ in range(2):
        past.begin()
        first, second = past.recall(None, row(1.0)), past.recall(None, row(2.0), row(3.0))
        past.keep()
    assert [r.tolist() for r in (*first.rows, *second.rows)] == [[1.0, 1.0], [2.0, 2.0], [3.0, 3.0]]


def test_a_pass_that_is_not_kept_leaves_nothing():
    past, other = Past(3), Past(3)
    for position in range(40):
        for p in (past, other):
            if p is past and position % 2:
                p.begin()
                p.recall(1, row(-7.0, -8.0, -9.0))
                p.leave(p.turn(), None, [row(-1.0)])
                p.leave(1, 5, [row(-1.0)])
                assert p.state(1, None) != (row(-1.0),)
            p.begin()
            got = p.recall(1, row(position))
            turn = p.turn()
            assert position == 0 or p.state(turn, None)[0].item() == position - 1
            p.leave(turn, None, [row(position)])
            p.keep()
        assert got.rows[0].tolist() == ([position - 1.0] if position else []) + [position]
        assert (past.rows, past.states, past.position) == (other.rows, other.states, other.position)


def test_states_belong_to_owners_and_can_be_forgotten():
    past = Past(3)
    past.begin()
    turn = past.turn()
    for owner in (None, 0, 1):
        past.leave(turn, owner, [row(9.0 if owner is None else owner)])
    assert past.state(turn, 0) is None, "not before it is kept"
    past.keep()
    past.forget(0)
    assert past.state(turn, 0) is None
    assert past.state(turn, None)[0].item() == 9.0
    assert past.state(turn, 1)[0].item() == 1.0
    assert past.states == 2


def test_what_does_not_fit():
    with pytest.raises(ValueError, match="window must be at least 1, got 0"):
        Past(0)
    causal = GraphSpec(("text",), causal=True)
    for lengths, spec, found in (
        ([2], causal, "2 utterances"),
        ([1, 1], causal, "2 utterances"),
        ([1], GraphSpec(("text",)), "causal=False"),
    ):
        s = Structure.of(lengths, spec)
        with pytest.raises(ValueError, match=f"past is for one utterance and a causal spec, got .*{found}"):
            Structure(s.lengths, s.presence, s.speakers, spec, past=Past(3))
