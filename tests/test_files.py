"""Folders published whole, locks and what a kill leaves: one process at a time, nothing of a neighbour touched, no litter."""

from __future__ import annotations

import fcntl
import json
import multiprocessing
import os
import time
from pathlib import Path

import pytest

from dgl_merc.errors import InputError, InUseError
from dgl_merc.files import locked, read_json, recover, replaced_folder, resolved, write_json


def fill(folder: Path, text: str = "") -> Path:
    folder.mkdir(parents=True)
    (folder / "f").write_text(text or folder.name)
    return folder


def names(folder: Path) -> list[str]:
    return sorted(p.name for p in folder.iterdir())


def test_a_lock_holds_against_the_same_process_and_is_given_back(tmp_path):
    with locked(tmp_path / "x", "trying"):
        with pytest.raises(InUseError, match="in use by another process"), locked(tmp_path / "x", "trying"):
            pass
        with locked(tmp_path / "y", "trying"):
            pass
    with locked(tmp_path / "x", "trying"):
        pass
    assert names(tmp_path) == []


def test_a_lock_for_which_nothing_was_made_leaves_no_folder(tmp_path):
    with locked(tmp_path / "a" / "b" / "x", "trying"):
        assert (tmp_path / "a" / "b").is_dir()
    assert names(tmp_path) == []
    with locked(tmp_path / "a" / "b" / "x", "trying"):
        fill(tmp_path / "a" / "b" / "x")
    assert (tmp_path / "a" / "b" / "x" / "f").is_file()


def test_a_lock_on_a_file_that_was_taken_away_counts_for_nothing(tmp_path, monkeypatch):
    """Between opening and locking, the holder finishes (its file goes) and a third process comes in with a new file."""
    third: list[object] = []
    flock = fcntl.flock

    def late(file: object, flags: int) -> None:
        if not third:
            path = tmp_path / ".x.lock"
            path.unlink()
            third.append(path.open("a+"))
            flock(third[0], fcntl.LOCK_EX | fcntl.LOCK_NB)  # type: ignore[arg-type]
        flock(file, flags)  # type: ignore[arg-type]

    monkeypatch.setattr(fcntl, "flock", late)
    with pytest.raises(InUseError), locked(tmp_path / "x", "trying"):
        pass
    third[0].close()  # type: ignore[attr-defined]
    with locked(tmp_path / "x", "trying"):
        pass


def hammer(place: Path, end: float) -> None:
    """Enter as often as possible; whoever meets another inside writes it down."""
    inside = place.with_name("inside")
    while time.time() < end:
        try:
            with locked(place, "hammering"):
                try:
                    os.close(os.open(inside, os.O_CREAT | os.O_EXCL))
                except FileExistsError:
                    place.with_name("met").touch()
                place.with_name("count").open("ab").write(b".")
                inside.unlink(missing_ok=True)
        except InUseError:
            pass


@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")
def test_two_processes_are_never_inside_together(tmp_path):
    fork = multiprocessing.get_context("fork")
    crowd = [fork.Process(target=hammer, args=(tmp_path / "x", time.time() + 1.5)) for _ in range(4)]
    for one in crowd:
        one.start()
    for one in crowd:
        one.join()
    assert not (tmp_path / "met").exists()
    assert (tmp_path / "count").stat().st_size > 50, "vacuous: hardly anyone got in"
    assert names(tmp_path) == ["count"], "a lock was left"


def test_what_a_killed_replacement_left_is_put_right(tmp_path):
    fill(tmp_path / ".a.12.old")
    fill(tmp_path / ".a.13.partial")
    recover(tmp_path / "a")
    assert names(tmp_path) == ["a"]
    assert (tmp_path / "a" / "f").read_text() == ".a.12.old"
    fill(tmp_path / ".a.14.old")
    recover(tmp_path / "a")
    assert (tmp_path / "a" / "f").read_text() == ".a.12.old", "the new one stands: the old one goes"
    assert names(tmp_path) == ["a"]
    (tmp_path / "e").mkdir()
    fill(tmp_path / ".e.1.old")
    recover(tmp_path / "e")
    assert (tmp_path / "e" / "f").is_file(), "an empty folder is nothing that could be kept instead"


def test_neighbours_are_left_alone(tmp_path):
    theirs = [".a.2.77.old", ".a.2.77.partial", ".ab.1.old", ".a.x.old", ".a.unfinished", ".a.building-1", "a.1.old"]
    for name in theirs:
        fill(tmp_path / name)
    for place in ("a", "b"):
        recover(tmp_path / place)
    assert names(tmp_path) == sorted(theirs)
    recover(tmp_path / "nowhere" / "a")


def test_a_folder_that_is_made_again(tmp_path):
    for text in ("one", "two"):
        with replaced_folder(tmp_path / "x", "mark") as folder:
            (folder / "mark").write_text(text)
        assert (tmp_path / "x" / "mark").read_text() == text
    with pytest.raises(RuntimeError), replaced_folder(tmp_path / "x", "mark") as folder:
        raise RuntimeError
    assert (tmp_path / "x" / "mark").read_text() == "two"
    fill(tmp_path / "thesis")
    with pytest.raises(InputError, match="expected a new folder or one with mark in it"), replaced_folder(tmp_path / "thesis", "mark"):
        pass
    fill(tmp_path / ".x.99.old")
    with replaced_folder(tmp_path / "x", "mark") as folder:
        (folder / "mark").touch()
    assert names(tmp_path) == ["thesis", "x"]


def test_paths_that_are_none(tmp_path):
    (tmp_path / "loop").symlink_to("loop")
    for path in (Path("/"), tmp_path / "loop" / "x"):
        with pytest.raises(InputError, match=r"expected a (path|folder with a name)"):
            resolved(path)
    (tmp_path / "link").symlink_to("there")
    assert resolved(tmp_path / "link") == tmp_path.resolve() / "there"


def test_json_keeps_names_that_are_no_utf8(tmp_path):
    name = os.fsdecode(b"run\xff")
    write_json(tmp_path / "a.json", {"path": name, "ä": "ö"})
    assert read_json(tmp_path / "a.json") == {"path": name, "ä": "ö"}
    assert json.loads((tmp_path / "a.json").read_bytes())["ä"] == "ö"
