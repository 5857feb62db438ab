"""Extractors at work: models of text in this process, what decodes recordings in others, which may crash or hang without any harm.

A recording from anywhere is read by libraries in C. A process that dies or takes too long over one costs that utterance its vector, and
nothing else: what it had not answered yet is tried again in a fresh process, the first utterance alone.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from multiprocessing.connection import Connection, Pipe, wait
from typing import Any, Protocol

import numpy as np

from dgl_merc.errors import InputError
from dgl_merc.extraction.extractor import Extractor, open_extractor
from dgl_merc.extraction.items import Absence, Item, Vector
from dgl_merc.extraction.media import LONGEST
from dgl_merc.extraction.recipe import Recipe

__all__ = ["Extractors", "Opened"]

Opener = Callable[[Recipe], Extractor]
Answers = list[tuple[Item, Vector | Absence]]
_PATIENCE, _TIMES, _UNKNOWN = 300.0, 10, 60.0  # seconds; times the length of a stretch; seconds of a file whose length is not known
_TO_START = 300.0  # seconds


class Opened(Protocol):
    """An extractor that was opened, wherever it is."""

    recipe: Recipe
    """Complete."""
    width: int
    """Numbers in a vector."""

    @property
    def notes(self) -> list[str]:
        """What it has to say of itself and of the vectors that it made so far, each sentence once."""

    def answers(self, pieces: Sequence[Sequence[Item]]) -> Iterator[Answers]:
        """The answers of all items, those that come together together; of different pieces in any order."""

    def close(self) -> None:
        """Its processes end."""


class Extractors:
    """Opened extractors, each once, for one or more calls of :func:`~dgl_merc.extraction.extract`.

    A context: at its end all processes are gone.

    Args:
        jobs: processes that look at recordings.
        opener: what opens an extractor; of recordings, in another process, which imports it.
        patience: seconds that one utterance may take, and ten times as long as it lasts beside.
    """

    def __init__(self, jobs: int = 1, opener: Opener = open_extractor, patience: float = _PATIENCE) -> None:
        if jobs < 1:
            raise ValueError(f"jobs must be 1 or more, got {jobs}")
        self.jobs, self._opener, self._patience = jobs, opener, patience
        self._opened: dict[str, Opened] = {}

    def __enter__(self) -> Extractors:
        return self

    def __exit__(self, *_: object) -> None:
        for opened in self._opened.values():
            opened.close()
        self._opened = {}

    def open(self, recipe: Recipe) -> Opened:
        """What makes vectors by a recipe.

        Raises:
            InputError: as of :func:`~dgl_merc.extraction.extractor.open_extractor`.
        """
        key = repr(recipe.to_json())
        if key not in self._opened:
            self._opened[key] = (
                _Here(self._opener(recipe)) if recipe.kind == "text" else _Crew(recipe, self._opener, self.jobs, self._patience)
            )
        return self._opened[key]


class _Here:
    """An extractor in this process."""

    def __init__(self, extractor: Extractor) -> None:
        self._extractor = extractor
        self.recipe, self.width = extractor.recipe, extractor.width

    @property
    def notes(self) -> list[str]:
        return list(self._extractor.notes)

    def answers(self, pieces: Sequence[Sequence[Item]]) -> Iterator[Answers]:
        for piece in pieces:
            made = zip(piece, self._extractor.vectors(piece), strict=True)
            yield [(item, _checked(answer, self.width)) for item, answer in made]

    def close(self) -> None:
        """Nothing is open."""


def _checked(answer: Vector | Absence, width: int) -> Vector | Absence:
    """What a corpus may hold: a vector of the width, of finite numbers."""
    if isinstance(answer, Absence):
        return answer
    x = np.asarray(answer, dtype=np.float32)
    if x.shape != (width,):
        raise ValueError(f"an extractor must give vectors [{width}], got {list(x.shape)}")
    return x if np.isfinite(x).all() else Absence("numbers that are not finite")


@dataclass
class _Worker:
    """A process, and what it has before it."""

    process: subprocess.Popen[bytes]
    line: Connection
    deadline: float
    ready: bool = False
    busy: bool = False
    alone: bool = False
    items: deque[Item] = field(default_factory=deque)
    notes: Sequence[str] = ()


class _Crew:
    """An extractor in each of several processes. The first one opens it at once, the others when there is work for them."""

    def __init__(self, recipe: Recipe, opener: Opener, jobs: int, patience: float) -> None:
        self._asked, self._opener, self._jobs, self._patience = recipe, opener, jobs, patience
        self._workers: list[_Worker] = []
        self._said: dict[str, None] = {}  # by those who are gone
        self.recipe, self.width = recipe, 0
        try:
            self._start()
            while not self._workers[0].ready:
                for worker in self._heard():
                    list(self._listen(worker, deque()))
        except BaseException:
            self.close()
            raise

    def answers(self, pieces: Sequence[Sequence[Item]]) -> Iterator[Answers]:
        waiting = deque((deque(piece), False) for piece in pieces if piece)
        try:
            while waiting or any(worker.busy for worker in self._workers):
                self._hand_out(waiting)
                for worker in self._heard():
                    if worker in self._workers:
                        yield from self._listen(worker, waiting)
        finally:  # cut off in the middle: who is at work would answer later, to somebody else
            for worker in [worker for worker in self._workers if worker.busy]:
                self._end(worker)

    @property
    def notes(self) -> list[str]:
        return list(dict.fromkeys([*self._said, *(note for worker in self._workers for note in worker.notes)]))

    def close(self) -> None:
        for worker in list(self._workers):
            self._end(worker)

    def _hand_out(self, waiting: deque[tuple[deque[Item], bool]]) -> None:
        """Work to those who have none, and further processes while there is work for them."""
        for worker in self._workers:
            if worker.ready and not worker.busy and waiting:
                worker.items, worker.alone = waiting.popleft()
                worker.busy = True
                with suppress(OSError):  # it has just died: that will be heard
                    worker.line.send(list(worker.items))
                self._set_deadline(worker)
        coming = sum(not worker.ready for worker in self._workers)
        while len(self._workers) < self._jobs and coming < len(waiting):
            self._start()
            coming += 1

    def _set_deadline(self, worker: _Worker) -> None:
        item = worker.items[0] if worker.items else None
        known = item is not None and item.start is not None and item.end is not None
        length = min(max(0.0, item.end - item.start), LONGEST) if known else _UNKNOWN  # type: ignore[union-attr, operator]
        worker.deadline = time.monotonic() + self._patience + (_TIMES * length if item else 0)

    def _heard(self) -> list[_Worker]:
        """Who has said something, has ended, or is late; waits until there is one."""
        busy = [worker for worker in self._workers if worker.busy or not worker.ready]
        until = min(worker.deadline for worker in busy)
        said = wait([worker.line for worker in busy], timeout=max(0.0, until - time.monotonic()))
        now = time.monotonic()
        return [worker for worker in busy if worker.line in said or worker.deadline <= now]

    def _listen(self, worker: _Worker, waiting: deque[tuple[deque[Item], bool]]) -> Iterator[Answers]:
        """One message of a worker, or its end."""
        kind: str
        content: Any
        try:
            kind, content = worker.line.recv() if worker.line.poll() else ("late", "")
        except (EOFError, OSError):
            kind, content = "gone", ""
        if kind == "answer" and worker.items:
            yield [(worker.items.popleft(), content)]
            self._set_deadline(worker)
        elif kind == "ready":
            self.recipe, self.width, worker.notes = content
            worker.ready = True
        elif kind == "done":
            worker.notes, worker.busy = content, False
        elif kind == "failed":
            worker.busy = False
            yield from self._lost(worker, f"the extractor failed ({content})", waiting)
        elif not worker.ready:
            self._end(worker)
            raise InputError(content or f"{self._asked.kind}: a process that looks at recordings did not start; try again")
        else:
            self._end(worker)
            late = f"took longer than {self._patience:g} s and {_TIMES} times its length"
            yield from self._lost(worker, late if kind == "late" else "the decoder crashed", waiting)

    def _lost(self, worker: _Worker, why: str, waiting: deque[tuple[deque[Item], bool]]) -> Iterator[Answers]:
        """What a worker leaves unanswered: its first item is tried alone, or, if it was alone, is absent."""
        items, worker.items = worker.items, deque()
        if not items:
            return
        if worker.alone:
            yield [(items[0], Absence(why, passing=True))]
            return
        first = deque([items.popleft()])
        if items:
            waiting.appendleft((items, False))
        waiting.appendleft((first, True))

    def _start(self) -> None:
        """A new process; it never hears of Ctrl-C, which is this one's business.

        multiprocessing's would import the caller's script first, and so do again all that it does, where it lacks ``if __name__ == ...``.
        """
        ours, theirs = Pipe()
        path = [entry for entry in sys.path if isinstance(entry, str)]
        code = f"import sys; sys.path[:] = {path!r}; from {__name__} import _serve; _serve({theirs.fileno()})"
        with _uninterrupted():
            process = subprocess.Popen(  # noqa: S603  (of this package alone)
                [sys.executable, "-c", code],
                stdin=subprocess.PIPE,  # nothing comes there; its end says that this process is gone
                stdout=subprocess.DEVNULL,
                pass_fds=[theirs.fileno()],
                env={**os.environ, "OMP_NUM_THREADS": "1"},  # processes beside each other, and the same bits for any number of them
            )
        theirs.close()
        self._workers.append(_Worker(process, ours, time.monotonic() + _TO_START))
        with suppress(OSError):  # it has just died: that will be heard
            ours.send((self._opener, self._asked))

    def _end(self, worker: _Worker) -> None:
        self._workers.remove(worker)
        self._said |= dict.fromkeys(worker.notes)
        worker.process.kill()
        worker.process.communicate()  # waits, and closes its input
        worker.line.close()


@contextmanager
def _uninterrupted() -> Iterator[None]:
    """What is started in the block has SIGINT blocked, from its first instruction on; here it comes when the block ends."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


# ---- in the other process


def _serve(number: int) -> None:
    """Open an extractor, then answer pieces until nobody is there any more.

    Args:
        number: of the descriptor on which the one who asks is heard.
    """
    threading.Thread(target=_end_with_parent, daemon=True).start()
    line: Connection = Connection(number)
    with suppress(EOFError, BrokenPipeError, ConnectionResetError):  # nobody asks any more
        opener, recipe = line.recv()
        try:
            extractor = opener(recipe)
        except InputError as error:
            line.send(("fault", str(error)))
            return
        line.send(("ready", (extractor.recipe, extractor.width, list(extractor.notes))))
        while True:
            for message in _messages(extractor, line.recv()):
                line.send(message)


def _messages(extractor: Extractor, items: Sequence[Item]) -> Iterator[tuple[str, Any]]:
    """The answer of each item, and an end."""
    try:
        for _, answer in zip(items, extractor.vectors(items), strict=True):
            yield "answer", _checked(answer, extractor.width)
    except Exception as error:  # of anybody's code, on anybody's file: it costs one utterance, not the run
        yield "failed", f"{type(error).__name__}: {error}".splitlines()[0][:200]
    else:
        yield "done", list(extractor.notes)


def _end_with_parent() -> None:
    """Whoever was killed can't end its processes."""
    os.read(0, 1)
    os._exit(1)
