"""Whatever else a pickle may be, it is refused without effect, in bounded memory; and the bounds stand where they are said to."""

from __future__ import annotations

import itertools
import json
import os
import pickle  # noqa: TID251
import pickletools
import random
import subprocess
import sys
from contextlib import suppress
from pathlib import Path
from typing import Any

import hostile_pickles
import numpy as np
import pytest
from hostile_pickles import CASES, written
from hypothesis import given, settings
from hypothesis import strategies as st
from pickle_cases import assert_same, read, refused, tables
from pickle_instructions import call, dtype, name, text

from dgl_merc.corpus.foreign import pickle_building
from dgl_merc.corpus.foreign.pickle_terms import ADMITTED
from dgl_merc.corpus.foreign.pickles import read_pickle
from dgl_merc.errors import InputError


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One path, written over and over: hypothesis wants no new folder an example."""
    return tmp_path_factory.mktemp("pickles") / "x.pkl"


# --- hostile files, read in a process of their own


@pytest.fixture(scope="module")
def outcome(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """What came of each."""
    folder = tmp_path_factory.mktemp("hostile")
    names = {path.stem: case for case, path in written(folder)}
    ran = subprocess.run([sys.executable, hostile_pickles.__file__, str(folder)], capture_output=True, text=True, timeout=400, cwd=folder)
    assert ran.returncode == 0, ran.stderr[-2000:]
    out = json.loads(ran.stdout)
    return {"peak": out["peak"], "control": out["control"], "cases": {names[k]: v for k, v in out["cases"].items()}}


@pytest.mark.xdist_group("hostile")
@pytest.mark.parametrize("case", CASES)
def test_hostile_files_are_refused_without_effect(outcome, case):
    message, events, modules = outcome["cases"][case]
    assert CASES[case][1] in message
    assert ".pkl: expected " in message
    assert len(message) < 600
    assert message.isprintable()
    assert (events, modules) == ([], []), "something was done"


@pytest.mark.xdist_group("hostile")
def test_hostile_files_take_little_memory(outcome):
    assert len(CASES) >= 60
    assert sum(len(data) for data, _ in CASES.values()) < 70 << 20
    assert outcome["peak"] < 250 << 20, outcome["peak"]


@pytest.mark.xdist_group("hostile")
def test_the_watch_sees_what_runs(outcome):
    """Python's own reader, under the same watch, ran a file."""
    assert any(e.startswith("os.system") for e in outcome["control"])


def test_what_is_no_file(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "link").symlink_to("/dev/zero")
    for what, said in (
        ("pipe", "a pipe or device"),
        ("link", "a pipe or device"),
        (".", "a folder"),
        ("absent", "found none"),
        ("a\0b", "found none"),
    ):
        with pytest.raises(InputError, match=said):
            read_pickle(tmp_path / what)


def test_a_file_that_may_not_be_read(file, monkeypatch):
    def denied(*_: Any) -> None:
        raise PermissionError(13, "Permission denied")

    file.write_bytes(b"N.")
    monkeypatch.setattr(Path, "open", denied)
    with pytest.raises(InputError, match=r"expected a file that can be read, found none .*Permission denied"):
        read_pickle(file)


# --- the bounds, from both sides


def test_sharing_within_the_bound_is_read(file):
    zeros, words = np.zeros(1000, np.float32), ["neutral", "joy"]
    made = {k: [zeros, words] for k in range(2000)}
    got = read(file, pickle.dumps(made))
    assert got[0][0] is got[1999][0]
    assert_same(got[7], made[7])


def test_depth_is_counted_exactly(file):
    def deep(levels: int) -> bytes:
        return b"]" * levels + b"a" * (levels - 1) + b"."

    read(file, deep(pickle_building.DEPTH))
    assert "nested at most 100 deep" in refused(file, deep(pickle_building.DEPTH + 1))


def test_keys_alike_within_reason_are_read(file):
    made = {(-1, k): k for k in range(10)} | {(-2, k): k for k in range(10)} | {-1: 0, -2: 1, -1.0 * 2**61: 2}
    assert_same(read(file, pickle.dumps(made)), made)


# --- anything at all


@pytest.fixture(scope="module")
def seeds() -> list[bytes]:
    """Small pickles of everything that is admitted."""
    data = [
        *tables().values(),
        {1: [2.5, ("a", {3})]},
        np.zeros(2, [("a", ">f4"), ("b", "S3", (2,))]),
        np.array([1, "a"], object),
        np.float32(2),
    ]
    return [pickle.dumps(d, protocol) for k, d in enumerate(data) for protocol in {0, 2, 4, 5, k % 6}]


def only_input_errors(file: Path, data: bytes) -> None:
    with suppress(InputError):
        read(file, data)


def test_cut_off_at_every_byte(file):
    whole = pickle.dumps({"x": np.arange(3), "s": ["a", 2.5, None, (1, 2)], "n": np.float32(1)})
    read(file, whole)
    for end in range(len(whole)):
        refused(file, whole[:end])


@settings(max_examples=200, deadline=None)
@given(data=st.binary(max_size=60))
def test_bytes_at_random(file, data):
    only_input_errors(file, data)


def test_changed_bytes(file, seeds):
    chance = random.Random(5)
    for _ in range(1000):
        data = bytearray(chance.choice(seeds))
        for _ in range(chance.randint(1, 4)):
            data[chance.randrange(len(data))] = chance.randrange(256)
        only_input_errors(file, bytes(data))


def test_changed_instructions(file, seeds):
    """Other values and names where a pickle of a table or array has its own: every maker gets every kind of part."""
    chance = random.Random(6)
    programs = []
    for seed in seeds:
        starts = [pos for _, _, pos in pickletools.genops(seed)] + [len(seed)]
        programs.append([seed[a:b] for a, b in itertools.pairwise(starts)])
    values = [
        b"N",
        b"K\x00",
        b"J\xff\xff\xff\xff",
        b"\x88",
        b"]",
        b"}",
        b")",
        b"\x8f",
        b"G\x7f\xf8" + bytes(6),
        b"C\x08abcdefgh",
        text("f8"),
        text("latin1"),
    ]
    values += [name(*where) for where in ADMITTED] + [dtype("f8"), call("builtins", "slice", b"N", b"N", b"N")]
    read_well = 0
    for _ in range(1200):
        program = list(chance.choice(programs))
        for _ in range(chance.randint(1, 2)):
            k = chance.randrange(len(program) - 1)
            program[k] = chance.choice([*values, b"h" + bytes([chance.randrange(40)]), chance.choice(chance.choice(programs)[:-1])])
        try:
            read(file, b"".join(program))
            read_well += 1
        except InputError:
            pass
    assert read_well > 25, "vacuous: nothing got as far as a maker"
