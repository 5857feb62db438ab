"""What extractors have answered already, by key: in memory, or in two files of a folder that outlive the process.

    <name>.jsonl    a line a batch: {"keys": [...], "absent": {key: reason}, "sha256": ...}
    <name>.f32      the vectors of those keys, one below the other, little-endian float32

A batch's vectors are on the disk before its line is, and the line has the SHA-256 of both: whatever is torn or damaged, and all behind
it, is thrown away when the files are opened again. Nothing is pickled.
"""

from __future__ import annotations

import hashlib
import json
import os
import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import IO, Any

import numpy as np
import numpy.typing as npt

from dgl_merc.corpus.pieces import Pieces, rows_at_once
from dgl_merc.corpus.reading.on_demand import Spool
from dgl_merc.errors import InputError, at
from dgl_merc.extraction.items import Absence, Vector

__all__ = ["Kept"]

_SECONDS = 2.0  # between batches, at least, unless one is large


class Kept:
    """Answers by key. A context: at its end files are closed, and what was not written yet is written.

    Args:
        width: of a vector.
        path: of the files, without their endings; None: memory, or, where that would be too much, a file without a name.

    Attributes:
        taken_over: how many answers stood in the files.
    """

    def __init__(self, width: int, path: Path | None = None) -> None:
        self.width, self.path = width, path
        self._row: dict[bytes, int] = {}
        self._rows = 0  # in the file; a key that was written twice has two
        self._ends = (0, 0)  # of what is whole in the two files
        self._why: dict[bytes, str] = {}
        self._new: list[tuple[str, Vector | Absence]] = []
        self._written = time.monotonic()
        self._spool = None if path else Spool(width)
        self._lines: IO[bytes] | None = None
        self._vectors: IO[bytes] | None = None
        if path:
            self._lines, self._vectors = _opened(path.with_suffix(".jsonl")), _opened(path.with_suffix(".f32"))
            self._read()
        self.taken_over = len(self)

    def __enter__(self) -> Kept:
        return self

    def __exit__(self, *_: object) -> None:
        try:
            self.write()
        finally:
            for file in (self._lines, self._vectors):
                if file:
                    with suppress(OSError):  # of what could not be written, which was said
                        file.close()
            if self._spool:
                self._spool.__exit__()

    def __len__(self) -> int:
        return len(self._row) + len(self._why) + len(self._new)

    def __contains__(self, key: str) -> bool:
        """Whether there is an answer that was written."""
        return bytes.fromhex(key) in self._row or bytes.fromhex(key) in self._why

    def add(self, answers: Sequence[tuple[str, Vector | Absence]]) -> None:
        """Answers that belong together: if the process is killed, all of them are there afterwards, or none."""
        self._new += answers
        if len(self._new) >= rows_at_once(self.width) or time.monotonic() - self._written > _SECONDS:
            self.write()

    def write(self) -> None:
        """What is new goes to the disk, but for absences that pass."""
        if not self._new:
            return
        vectors = [(key, answer) for key, answer in self._new if not isinstance(answer, Absence)]
        absent = {key: answer for key, answer in self._new if isinstance(answer, Absence)}
        x = np.stack([answer for _, answer in vectors]) if vectors else np.zeros((0, self.width), dtype=np.float32)
        if self._spool:
            self._spool.add(x)
        else:
            lasting = {key: answer.reason for key, answer in absent.items() if not answer.passing}
            self._append([key for key, _ in vectors], lasting, np.ascontiguousarray(x, dtype="<f4").tobytes())
        self._know([key for key, _ in vectors], {key: answer.reason for key, answer in absent.items()})
        self._new, self._written = [], time.monotonic()

    def answers(self, keys: Sequence[str | None]) -> tuple[npt.NDArray[Any], list[str | None]]:
        """The vectors of keys, in their order, where there are any; and why there is none, for each key.

        Args:
            keys: [U] all of them answered; None: of something that was not asked for, which has no reason either.
        """
        self.write()
        known = [bytes.fromhex(key) if key is not None else b"" for key in keys]
        rows = np.array([self._row[key] for key in known if key in self._row], dtype=np.int64)
        return Pieces.of((self._all(), rows)), [self._why.get(key) for key in known]

    def _all(self) -> npt.NDArray[np.float32]:
        """[N, width] every vector, in the order they came."""
        if self._spool:
            return self._spool.finish()
        if not self._row or not self.path:
            return np.zeros((0, self.width), dtype=np.float32)
        return np.memmap(self.path.with_suffix(".f32"), dtype="<f4", mode="r", shape=(self._rows, self.width))

    def _know(self, keys: Sequence[str], absent: dict[str, str]) -> None:
        self._row |= {bytes.fromhex(key): self._rows + k for k, key in enumerate(keys)}
        self._rows += len(keys)
        self._why |= {bytes.fromhex(key): why for key, why in absent.items()}

    def _append(self, keys: list[str], absent: dict[str, str], vectors: bytes) -> None:
        """Behind what is whole: whoever was interrupted in here comes again, with the same batch."""
        assert self._lines is not None
        assert self._vectors is not None
        line = json.dumps({"keys": keys, "absent": absent, "sha256": _digest(keys, absent, vectors)}).encode() + b"\n"
        lines_end, vectors_end = self._ends
        try:
            for file, end, content in ((self._vectors, vectors_end, vectors), (self._lines, lines_end, line)):
                file.seek(end)
                file.write(content)
                file.flush()
                os.fsync(file.fileno())
        except OSError as error:
            raise InputError(f"{at(self.path)}can't be written ({error.strerror}); free some room, and go on with --resume") from None
        self._ends = (lines_end + len(line), vectors_end + len(vectors))

    def _read(self) -> None:
        """What the files hold; behind the last batch that is whole, they are cut off."""
        assert self._lines is not None
        assert self._vectors is not None
        for line in self._lines:
            batch = _batch(line)
            if batch is None:
                break
            keys, absent, digest = batch
            vectors = self._vectors.read(4 * self.width * len(keys))
            if _digest(keys, absent, vectors) != digest:
                break
            self._know(keys, absent)
            self._ends = (self._ends[0] + len(line), self._ends[1] + len(vectors))
        for file, end in zip((self._lines, self._vectors), self._ends, strict=True):
            file.truncate(end)


def _opened(path: Path) -> IO[bytes]:
    """A file to read and to append to, there or not."""
    return path.open("r+b" if path.exists() else "w+b")


def _digest(keys: list[str], absent: dict[str, str], vectors: bytes) -> str:
    return hashlib.sha256(json.dumps([keys, absent]).encode() + vectors).hexdigest()


def _batch(line: bytes) -> tuple[list[str], dict[str, str], str] | None:
    """A line's keys, absences and hash; None if it is torn or something else."""
    try:
        found = json.loads(line)
        keys, absent, digest = found["keys"], found["absent"], found["sha256"]
        _ = [bytes.fromhex(key) for key in (*keys, *absent)]
    except (ValueError, KeyError, TypeError, RecursionError):
        return None
    return (keys, absent, digest) if line.endswith(b"\n") else None
