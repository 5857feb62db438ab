"""Files written whole or not at all, hashes, locks, and JSON with errors for people.

The only module that knows how a folder is published.
"""

from __future__ import annotations

import hashlib
import json
import math
import os
import re
import shutil
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from dgl_merc.errors import InputError, InUseError, at

__all__ = [
    "check_file",
    "check_free",
    "check_replaceable",
    "file_record",
    "json_bytes",
    "locked",
    "new_folder",
    "read_json",
    "recover",
    "replaced_folder",
    "resolved",
    "sha256",
    "unfinished",
    "verify_files",
    "write_bytes",
    "write_json",
]

_CHUNK = 1 << 20
_BELONG = ("metrics.json", "corpus.json", "manifest.json", "study.json")
"""What tells a folder that has its own files."""


def sha256(path: Path) -> str:
    """The SHA-256 of a file's bytes, in hexadecimal, read in pieces."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while piece := file.read(_CHUNK):
            digest.update(piece)
    return digest.hexdigest()


def file_record(path: Path) -> dict[str, Any]:
    """What is written down of a file so that it can be recognised: ``{"bytes": size, "sha256": hash}``."""
    return {"bytes": path.stat().st_size, "sha256": sha256(path)}


def verify_files(folder: Path, records: dict[str, dict[str, Any]], *, hashes: bool) -> None:
    """Hold every file of ``folder`` to its record: its size, and with ``hashes`` every byte.

    Raises:
        InputError: a file is missing, truncated or changed; the message names it.
    """
    for name, record in records.items():
        path = folder / name
        if ".." in Path(name).parts or Path(name).is_absolute():
            raise InputError(f"{at(folder)}a record names a file outside the folder: {name!r}; do not use this folder")
        if not path.is_file():
            raise InputError(f"{at(path)}expected a file, found none; make the folder again")
        size = path.stat().st_size
        expected, digest = record["bytes"], record["sha256"]
        if not isinstance(digest, str):
            raise InputError(f"{at(path)}expected its SHA-256 on record, found {digest!r}; make the folder again")
        if size != expected:
            raise InputError(f"{at(path)}expected {expected} bytes, found {size}; make the folder again")
        if hashes and (found := sha256(path)) != digest:
            raise InputError(
                f"{at(path)}expected SHA-256 {digest[:12]}…, found {found[:12]}…: "
                "the file was changed after it was written; make the folder again"
            )


def _plain(value: object) -> object:
    """NaN and infinity have no JSON: they are written as null."""
    if isinstance(value, float) and not math.isfinite(value):
        return None
    if isinstance(value, dict):
        return {str(k): _plain(v) for k, v in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(v) for v in value]
    return value


def json_bytes(value: object) -> bytes:
    """``value`` as JSON in UTF-8, with a line's end; NaN and infinity are null."""
    text = json.dumps(_plain(value), indent=2, ensure_ascii=False, allow_nan=False)
    return f"{text}\n".encode("utf-8", "backslashreplace")  # of a name that is no UTF-8; JSON reads it back


def write_json(path: Path, value: object) -> None:
    """Write ``value`` as JSON, atomically: the file is complete or it is not there."""
    write_bytes(path, json_bytes(value))


def write_bytes(path: Path, content: bytes) -> None:
    """Write a file atomically: whatever happens meanwhile, what stood there stays until the new file is complete and on the disk."""
    partial = path.with_name(f".{path.name}.partial")
    with partial.open("wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    partial.replace(path)


def read_json(path: Path) -> dict[str, Any]:
    """The JSON object in ``path``.

    Raises:
        InputError: no such file, not UTF-8, not JSON, or not an object.
    """
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise InputError(f"{at(path)}expected a file, found none") from None
    except (ValueError, RecursionError) as error:  # no UTF-8, no JSON, or a number of more digits than Python reads
        raise InputError(f"{at(path)}expected JSON, found something else ({error})") from None
    if not isinstance(value, dict):
        raise InputError(f"{at(path)}expected a JSON object, found {type(value).__name__}")
    return value


def check_file(out: Path, inputs: Iterable[Path], *, force: bool = False) -> None:
    """Whether a single file may be written where a person says.

    Args:
        out: need not exist.
        inputs: what is read.
        force: an earlier file may be replaced.

    Raises:
        InputError: something is there that ``force`` does not replace, what is read, or a part of a run, a corpus or a store.
    """
    there = out.exists() or out.is_symlink()
    if there and out.exists() and any(file.exists() and out.samefile(file) for file in inputs):
        raise InputError(f"{at(out)}is what is read; name another file")
    if there and (out.is_symlink() or not out.is_file()):
        raise InputError(f"{at(out)}expected a file or nothing, found something else; name another file")
    parents = resolved(out).parents
    for folder in parents[:2]:
        if found := next((name for name in _BELONG if (folder / name).is_file()), None):
            raise InputError(f"{at(out)}expected a place outside {folder}, which holds {found} and is of one piece; name another file")
    if there and not force:
        raise InputError(f"{at(out)}is there already; name another file, or pass --force to replace it")
    above = next(parent for parent in parents if parent.exists())
    if not above.is_dir() or not os.access(above, os.W_OK):
        raise InputError(f"{at(out)}expected a folder that can be written, found {above}; name another file")


def check_free(out: Path, *, force: bool = False, replaces: str = "") -> None:
    """Whether a folder may be written to ``out``.

    Args:
        out: must not exist, be empty, or (with ``force``) hold what ``replaces`` says.
        force: it may be replaced.
        replaces: a file that every folder of the kind holds: ``force`` deletes nothing else, so a slip of the hand costs no data.

    Raises:
        InputError: it may not; the message says what to do.
    """
    if out.exists() and not out.is_dir():
        raise InputError(f"{at(out)}expected a folder or nothing, found a file; name another place")
    if out.is_dir() and any(out.iterdir()):
        if not force:
            raise InputError(f"{at(out)}exists and is not empty; name another folder or pass --force to replace it")
        if replaces and not (out / replaces).is_file():
            raise InputError(f"{at(out)}found no {replaces} in it; --force replaces only a folder of the same kind: name another folder")


@contextmanager
def new_folder(out: Path, *, force: bool = False, replaces: str = "") -> Iterator[Path]:
    """A folder to fill that appears as ``out`` only when the block ends without an error.

    Args:
        out: must not exist, be empty, or (with ``force``) be replaced.
        force: replace what is there; the old folder stays until the new one is complete.
        replaces: a file that what is replaced must hold; see :func:`check_free`.

    Raises:
        InputError: ``out`` is not free.
    """
    check_free(out, force=force, replaces=replaces)
    out = resolved(out)  # a link keeps pointing at the folder; "." has a name
    out.parent.mkdir(parents=True, exist_ok=True)
    partial = out.with_name(f".{out.name}.{os.getpid()}.partial")
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir()
    try:
        yield partial
        check_free(out, force=force, replaces=replaces)  # meanwhile another process may have written there
        publish(partial, out)
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def resolved(out: Path) -> Path:
    """The absolute path of a folder to write, through links; it need not exist.

    Raises:
        InputError: it has no name of its own, or links go round in a circle.
    """
    try:
        place = out.resolve()
        str(place).encode()
    except UnicodeEncodeError:
        raise InputError(f"{str(out)!a}: expected a path in UTF-8; name another place") from None
    except (RuntimeError, ValueError) as error:
        raise InputError(f"{at(out)}expected a path, found {error}") from None
    if not place.name:
        raise InputError(f"{at(out)}expected a folder with a name; name another place")
    return place


def unfinished(out: Path) -> Path:
    """Where the state of what goes on when it was cut off stands, until its results appear as ``out``."""
    out = out.resolve()
    return out.with_name(f".{out.name}.unfinished")


@contextmanager
def locked(out: Path, what: str) -> Iterator[None]:
    """While the block runs, no other process gets past here with the same ``out``. A process that dies loses its lock.

    Args:
        out: a file or folder that need not exist; the lock is a file beside it.
        what: what is being done, for the message.

    Raises:
        InUseError: another process is at it.
    """
    import fcntl

    out = resolved(out)
    made = [parent for parent in out.parents if not parent.exists()]
    out.parent.mkdir(parents=True, exist_ok=True)
    path = out.with_name(f".{out.name}.lock")
    while True:
        file = path.open("a+", encoding="utf-8")
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            file.seek(0)
            owner = file.read().strip() or "unknown"
            file.close()
            raise InUseError(
                f"{at(out)}in use by another process ({owner}), which is {what}; wait for it, or name another folder"
            ) from None
        try:
            if os.fstat(file.fileno()).st_ino == path.stat().st_ino:
                break
        except FileNotFoundError:
            pass
        file.close()  # whoever held it has just finished and taken the file away: try again with a new one
    try:
        file.truncate(0)
        file.write(f"process {os.getpid()}")
        file.flush()
        yield
    finally:
        path.unlink(missing_ok=True)
        file.close()
        with suppress(OSError):  # nothing came of it: nothing is left, not even the folders that were to hold it
            for parent in made:
                parent.rmdir()


def recover(out: Path) -> None:
    """Clear away what a killed :func:`new_folder` left beside ``out``, and give back what it was about to replace. Hold the lock."""
    out = resolved(out)
    if not out.parent.is_dir():
        return
    for left in sorted(out.parent.iterdir()):
        found = re.fullmatch(rf"\.{re.escape(out.name)}\.\d+\.(old|partial)", left.name)  # not those of a neighbour called out.2
        if found and found[1] == "old" and not (out.is_dir() and any(out.iterdir())):
            if out.is_dir():
                out.rmdir()
            left.rename(out)
        elif found:
            shutil.rmtree(left)


def check_replaceable(out: Path, replaces: str) -> None:
    """Whether :func:`replaced_folder` may take this place.

    Raises:
        InputError: something else is there.
    """
    if out.is_dir() and any(out.iterdir()) and not (out / replaces).is_file():
        raise InputError(f"{at(out)}expected a new folder or one with {replaces} in it, found something else; name another folder")


@contextmanager
def replaced_folder(out: Path, replaces: str) -> Iterator[Path]:
    """A folder to fill that takes the place of an earlier one of its kind: what can be made again at any time.

    Args:
        out: must not exist, be empty, or hold ``replaces``.
        replaces: a file that every folder of the kind holds.

    Raises:
        InputError: something else is at ``out``, or another process is at it.
    """
    with locked(out, "writing it"):
        recover(out)
        check_replaceable(out, replaces)
        with new_folder(out, force=True) as folder:
            yield folder


def publish(partial: Path, out: Path) -> None:
    """Give a finished folder its name; what stood there goes only after the new one is in place."""
    if not out.exists():
        partial.rename(out)
        return
    old = out.with_name(f".{out.name}.{os.getpid()}.old")
    out.rename(old)
    try:
        partial.rename(out)
    except BaseException:
        old.rename(out)
        raise
    shutil.rmtree(old)
