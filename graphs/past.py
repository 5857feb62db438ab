"""What a stream keeps of a dialogue, so that a model can answer its utterances one by one.

In a causal structure nothing that is made of an utterance depends on a later one: keys and values, a layer's rows and the state of a
recurrent network stay what they are when the next utterance comes, and all that it hears is in them. A forward pass is then given the
:class:`~dgl_merc.graphs.Structure` of the newest utterance alone, with the dialogue's past beside it. What is local to an utterance
runs on one row as on many. Whoever looks back asks the past, and the n-th who asks in a pass finds what the n-th of earlier passes left:
so every pass must ask equally often, also of a modality that is absent.

    past = Past(window=128)
    for utterance in dialogue:
        past.begin()
        output = model(replace(structure_of_it, past=past), features_of_it)        # in inference mode, model.eval()
        past.keep()                                                                # without: as if the pass had never been
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from torch import Tensor

__all__ = ["Past", "Recalled"]

_LEAST = 16  # rows that room is made for at first


class Recalled(NamedTuple):
    """Earlier rows, then the new ones.

    Attributes:
        rows: [n, ...] each: valid until the next pass.
        positions: n places in the dialogue.
    """

    rows: list[Tensor]
    positions: list[int]


class Past:
    """The past of one dialogue for one model. No gradient flows through it.

    Args:
        window: N, of utterances, the newest included. What may hear the whole dialogue hears the last N utterances: the same, as long as
            a dialogue is no longer. A narrower reach and the states of recurrent networks are exact for ever.

    Attributes:
        position: of the newest utterance in its dialogue, from 0.

    Raises:
        ValueError: ``window`` is less than 1.

    Example: who hears two positions back, and who hears everything, which with a window of 2 is the newest utterance and one before.

    >>> import torch
    >>> past = Past(window=2)
    >>> for x in (5.0, 6.0, 7.0, 8.0):
    ...     past.begin()
    ...     near, all_ = past.recall(2, torch.tensor([x])), past.recall(None, torch.tensor([x]))
    ...     past.keep()
    >>> near.rows[0].tolist(), near.positions, all_.rows[0].tolist()
    ([6.0, 7.0, 8.0], [1, 2, 3], [7.0, 8.0])
    """

    def __init__(self, window: int) -> None:
        if window < 1:
            raise ValueError(f"window must be at least 1, got {window}")
        self.window, self.position = window, 0
        self._turn = 0
        self._rows: dict[int, _Rows] = {}
        self._states: dict[tuple[int, int | None], tuple[Tensor, ...]] = {}
        self._fresh: dict[tuple[int, int | None], tuple[Tensor, ...]] = {}

    @property
    def rows(self) -> int:
        """How many rows are heard at the next utterance or might be, of all who look back."""
        return sum(len(rows.positions) - rows.first for rows in self._rows.values())

    @property
    def states(self) -> int:
        """How many states of recurrent networks are kept."""
        return len(self._states)

    @property
    def bytes(self) -> int:
        """What they take, with the room that is made for rows."""
        kept = [*(part for rows in self._rows.values() for part in rows.parts), *(x for state in self._states.values() for x in state)]
        return sum(x.numel() * x.element_size() for x in kept)

    def begin(self) -> None:
        """Before a pass. What an earlier one has left without :meth:`keep` is gone."""
        self._turn, self._fresh = 0, {}

    def keep(self) -> None:
        """After a pass: what it has made belongs to the past, and the next utterance may come."""
        for rows in self._rows.values():
            rows.keep(self.position)
        self._states |= self._fresh
        self._fresh = {}
        self.position += 1

    def forget(self, owner: int) -> None:
        """Drop the states that belong to a speaker of this number."""
        self._states = {key: state for key, state in self._states.items() if key[1] != owner}

    def turn(self) -> int:
        """The number of who asks now, from 0 in every pass."""
        self._turn += 1
        return self._turn - 1

    def recall(self, reach: int | None, *new: Tensor) -> Recalled:
        """Leave rows of the newest utterance, and get them behind those that were left at the same turn before.

        Args:
            reach: how many positions before the newest are heard; None: all that the window holds.
            new: [m, ...] each, m rows of the newest utterance; 0 where it has none.
        """
        rows = self._rows.setdefault(self.turn(), _Rows())
        least = self.position - (self.window - 1 if reach is None else reach)
        return rows.recall(least, self.position, new)

    def state(self, turn: int, owner: int | None) -> tuple[Tensor, ...] | None:
        """The state that was left at a turn; None: none was.

        Args:
            turn: of :meth:`turn`.
            owner: whose: the number of a speaker; None: the dialogue's.
        """
        return self._states.get((turn, owner))

    def owners(self, turn: int) -> list[int]:
        """The speakers whose states were left at a turn."""
        return [owner for number, owner in self._states if number == turn and owner is not None]

    def leave(self, turn: int, owner: int | None, state: Sequence[Tensor]) -> None:
        """Leave a state; arguments as for :meth:`state`."""
        self._fresh[turn, owner] = tuple(state)


class _Rows:
    """Rows of one turn, in memory that has room behind them: to add one is to write one.

    ``first`` is the first that is still heard, ``fresh`` how many the last pass has written behind those that are kept.
    """

    def __init__(self) -> None:
        self.parts: list[Tensor] = []
        self.positions: list[int] = []
        self.first = self.fresh = 0

    def recall(self, least: int, position: int, new: Sequence[Tensor]) -> Recalled:
        while self.first < len(self.positions) and self.positions[self.first] < least:
            self.first += 1
        count, end = len(new[0]), len(self.positions)
        if not self.parts or end + count > len(self.parts[0]):
            self._move(new)
            end = len(self.positions)
        for part, x in zip(self.parts, new, strict=True):
            part[end : end + count] = x.detach()
        self.fresh = count
        return Recalled([part[self.first : end + count] for part in self.parts], self.positions[self.first :] + [position] * count)

    def keep(self, position: int) -> None:
        self.positions += [position] * self.fresh

    def _move(self, new: Sequence[Tensor]) -> None:
        """To new memory, with room for half as many again; those that are not heard any more stay behind."""
        old = [part[self.first : len(self.positions)] for part in self.parts]
        del self.positions[: self.first]
        self.first, live = 0, len(self.positions)
        room = max(_LEAST, 3 * (live + len(new[0])) // 2)
        self.parts = [x.new_empty(room, *x.shape[1:]) for x in new]
        for part, x in zip(self.parts, old, strict=False):  # at first there is nothing old
            part[:live] = x
