"""A corpus whose features are being made: what is done already stands beside OUT, in ``.OUT.unfinished``, until OUT appears, whole."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from dgl_merc.errors import InputError, at
from dgl_merc.files import check_free, locked, read_json, recover, unfinished, write_json

__all__ = ["about_to_appear", "work_folder"]

_MARK = "features.json"  # tells that the folder is ours to delete, and the hash of the corpus that is about to appear


def about_to_appear(work: Path, content_sha256: str) -> None:
    """Say that all is done, and what ``out`` will be: who is killed before the folder is gone need not do it again."""
    write_json(work / _MARK, {"command": "features", "content_sha256": content_sha256})


@contextmanager
def work_folder(out: Path, *, force: bool = False, resume: bool = False) -> Iterator[Path | None]:
    """A folder for what is done, while the block makes ``out``; nobody else can make it meanwhile.

    It is gone when the block ends without an error, or when nothing was done in it; else it stays for ``resume``. What it holds is found by
    what it depends on, so a text, file or option may have changed since: that is made anew.

    Args:
        out: the corpus; must not exist, be empty, or (with ``force``) be replaced.
        force: replace what is at ``out``; what is unfinished is begun anew, unless ``resume`` says otherwise.
        resume: go on with what is unfinished, if anything is.

    Yields:
        The folder; None: ``out`` is finished, and only the folder was left.

    Raises:
        InputError: ``out`` is not free or in use by another process, or what is unfinished is not asked for.
    """
    with locked(out, "making features"):
        recover(out)
        work = unfinished(out)
        if resume and _is_finished(out, work):
            shutil.rmtree(work)
            yield None
            return
        check_free(out, force=force, replaces="corpus.json")
        _begin(out, work, force=force, resume=resume)
        try:
            yield work
        except BaseException:
            if not any(file.stat().st_size for file in work.glob("*.jsonl")):
                shutil.rmtree(work)
            raise
        shutil.rmtree(work)


def _is_finished(out: Path, work: Path) -> bool:
    """Whether the corpus that was about to appear is there."""
    if not (work / _MARK).is_file() or not (out / "corpus.json").is_file():
        return False
    due = read_json(work / _MARK).get("content_sha256")
    return due is not None and due == read_json(out / "corpus.json").get("content_sha256")


def _begin(out: Path, work: Path, *, force: bool, resume: bool) -> None:
    if work.exists() and any(work.iterdir()):
        if not (work / _MARK).is_file():
            raise InputError(f"{at(work)}expected unfinished features or nothing, found something else; name another folder")
        if not resume and not force and any(file.stat().st_size for file in work.glob("*.jsonl")):
            raise InputError(
                f"{at(out)}features of it (in {work.name}) are unfinished; pass --resume to go on with them, name another folder, "
                "or begin anew with --force"
            )
        if not resume:
            shutil.rmtree(work)
    work.mkdir(parents=True, exist_ok=True)
    write_json(work / _MARK, {"command": "features"})
