"""Pickles as data: what Python reads, ours reads too; and whatever else a file may be, it is refused without effect."""

from __future__ import annotations

import bz2
import collections
import gzip
import itertools
import json
import lzma
import math
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
import pandas as pd
import pytest
from hostile_pickles import CASES, array, call, dtype, name, text, written, zipped
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hn

from dgl_merc.corpus.reading import pickle_building, pickle_machine
from dgl_merc.corpus.reading.pickle_terms import ADMITTED
from dgl_merc.corpus.reading.pickles import Record, read_pickle
from dgl_merc.errors import InputError

PROTOCOLS = range(pickle.HIGHEST_PROTOCOL + 1)


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One path, written over and over: hypothesis wants no new folder an example."""
    return tmp_path_factory.mktemp("pickles") / "x.pkl"


def read(file: Path, data: bytes, **options: Any) -> Any:
    file.write_bytes(data)
    return read_pickle(file, **options)


def refused(file: Path, data: bytes) -> str:
    with pytest.raises(InputError) as caught:
        read(file, data)
    message = str(caught.value)
    assert message.startswith(f"{file}: ")
    assert "\n" not in message
    return message


def assert_same(got: Any, want: Any) -> None:
    """Equal, of the same types, all the way down; NaN is NaN."""
    assert type(got) is type(want), (got, want)
    if isinstance(want, dict):
        assert_same([*got.items()], [*want.items()])
    elif isinstance(want, (list, tuple)):
        assert len(got) == len(want)
        for a, b in zip(got, want, strict=True):
            assert_same(a, b)
    elif isinstance(want, np.ndarray):
        assert (got.dtype, got.shape) == (want.dtype.newbyteorder("="), want.shape)
        assert (got.flags.c_contiguous, got.flags.f_contiguous, got.flags.writeable) == (*_contiguous(want), True)
        assert_same(got.tolist(), want.tolist())
    elif isinstance(want, pd.DataFrame):
        pd.testing.assert_frame_equal(got, want, check_column_type=True)
    elif isinstance(want, pd.Series):
        pd.testing.assert_series_equal(got, want)
    elif isinstance(want, pd.Index):
        pd.testing.assert_index_equal(got, want, exact=True)
    elif isinstance(want, np.generic):
        assert got.dtype == want.dtype.newbyteorder("=")
        assert_same(got.item(), want.item())
    else:
        assert got is want or got == want or (got != got and want != want)


def _contiguous(x: np.ndarray) -> tuple[bool, bool]:
    return x.flags.c_contiguous, x.flags.f_contiguous


# --- agreement with Python

ATOMS = st.one_of(
    st.none(), st.booleans(), st.integers(), st.integers(-(2**1000), 2**1000), st.floats(), st.complex_numbers(), st.text(), st.binary()
)
KEYS = st.one_of(
    st.integers(),
    st.text(),
    st.binary(),
    st.floats(allow_nan=False),
    st.none(),
    st.tuples(st.text(), st.integers()),
    st.frozensets(st.integers(), max_size=9),
)
DATA = st.recursive(
    st.one_of(ATOMS, st.sets(KEYS), st.frozensets(KEYS), st.binary().map(bytearray)),
    lambda inner: st.one_of(st.lists(inner), st.lists(inner).map(tuple), st.dictionaries(KEYS, inner)),
    max_leaves=20,
)
DTYPES = st.one_of(
    hn.scalar_dtypes(), hn.unicode_string_dtypes(), hn.byte_string_dtypes(), hn.structured_dtypes() if hasattr(hn, "structured_dtypes") else hn.array_dtypes()
)  # fmt: skip


@settings(max_examples=120, deadline=None)
@given(data=DATA, protocol=st.sampled_from(PROTOCOLS))
def test_containers_numbers_and_strings(file, data, protocol):
    packed = pickle.dumps(data, protocol)
    assert_same(read(file, packed), pickle.loads(packed))


@settings(max_examples=120, deadline=None)
@given(data=st.data(), protocol=st.sampled_from(PROTOCOLS))
def test_arrays_of_every_type_and_order(file, data, protocol):
    kind = data.draw(DTYPES)
    x = data.draw(hn.arrays(kind, hn.array_shapes(min_dims=0, min_side=0, max_side=4)))
    x = data.draw(st.sampled_from([x, np.asfortranarray(x), x.T, x[..., ::2] if x.ndim else x, np.swapaxes(x, 0, -1) if x.ndim else x]))
    packed = pickle.dumps([x, x, x.dtype, *x.reshape(-1)[:2]], protocol)
    got = read(file, packed)
    assert_same(got, pickle.loads(packed))
    assert got[0] is got[1], "what is shared stays so"


@pytest.mark.parametrize("order", ["C", "F"])
@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_arrays_of_objects(file, protocol, order):
    x = np.empty((2, 3), dtype=object, order=order)
    x[:] = [[1, "a", None], [np.zeros(2), [3, 4], np.float32(2)]]
    packed = pickle.dumps({"x": x, "empty": x[:, :0]}, protocol)
    assert_same(read(file, packed), pickle.loads(packed))


def _tables() -> dict[str, Any]:
    mixed = pd.DataFrame(
        {"a": [1.0, math.nan], "b": [1, 2], "c": np.array([1, 2], np.float32), "s": ["x", None], "t": [True, False], "b2": [3, 4]}
    )
    mixed["o"] = pd.Series([1, "a"], dtype=object)
    mixed["when"] = pd.to_datetime(["2020-01-01", "2021-02-03"])
    return {
        "frame": mixed,
        "frame with an index": mixed.set_index("s"),
        "frame of numbers": pd.DataFrame(np.arange(6.0).reshape(2, 3)),
        "frame without columns": mixed[[]],
        "frame without rows": mixed.iloc[:0],
        "every other row": mixed.iloc[::2],
        "series": pd.Series([1, 2], index=[3, 4], name="n", dtype="int32"),
        "series of strings": mixed["s"],
        "series of dates": mixed["when"],
        "series of objects": mixed["o"],
        "series of times": pd.Series(pd.to_timedelta([1, 2])),
        "strings of pandas": pd.Series(["a", None, "ü"], dtype="string[python]"),
        "strings of Arrow": pd.Series(["a", None, "ü"], dtype="string[pyarrow]"),
        "a part of Arrow's strings": pd.Series(["abc", None, "ü", "", "z"])[1:4],
        "index": pd.Index(["a", "b"], name="names"),
        "index of floats": pd.Index([1.5, 2]),
        "index of dates": pd.DatetimeIndex(["2020-01-01", "2020-01-05"]),
        "range": pd.RangeIndex(3, 20, 4, name=7),
        "missing": pd.NA,
    }


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_tables(file, protocol):
    tables = _tables()
    packed = pickle.dumps(tables, protocol)
    assert_same(read(file, packed), pickle.loads(packed))


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_other_containers_become_plain_ones(file, protocol):
    C = collections
    made = [C.OrderedDict(b=1, a=[2]), C.defaultdict(list, a=[1]), C.Counter("aab"), C.deque([1, 2]), C.deque([1, 2, 3], 2), C.deque()]
    want = [{"b": 1, "a": [2]}, {"a": [1]}, {"a": 2, "b": 1}, [1, 2], [2, 3], []]
    assert_same(read(file, pickle.dumps(made, protocol)), want)


def test_numbers_of_numpy_as_keys(file):
    made = {np.int64(3): 1, np.str_("a"): 2, (np.int64(1), "x"): 3, "set": {np.float64(2), np.int32(7)}}
    assert_same(read(file, pickle.dumps(made)), made)


@pytest.mark.parametrize("pack", [gzip.compress, bz2.compress, lzma.compress, lambda b: zipped({"folder/": b"", "folder/x.pkl": b})])
def test_packed_files(file, pack):
    made = {"x": np.arange(50_000), "s": "text"}
    assert_same(read(file, pack(pickle.dumps(made))), made)


def test_several_streams_in_a_gzip(file):
    packed = pickle.dumps(list(range(1000)))
    assert read(file, gzip.compress(packed[:100]) + gzip.compress(packed[100:])) == list(range(1000))


def test_every_instruction_has_its_way():
    known = {code.encode("latin-1") for code in pickletools.code2op} - {b"."}
    assert set(pickle_machine._OPCODES) == known


def test_every_admitted_name_has_a_maker():
    """Or is one that the machine itself knows, or that only stands in others."""
    inside = {"type", "ndarray", "index_type", "backed_type", "NA", "reconstructor", "newobj", "defaultdict", "deque", "record"}
    assert {g.kind for g in ADMITTED.values()} | inside == set(pickle_building._MAKERS) | inside


# --- Python 2: as its cPickle and pickle write, by hand. A byte string there is latin1 text here.

F8_2 = b"cnumpy\ndtype\nq\x01(U\x02f8K\x00K\x01tRq\x02(K\x03U\x01<NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\x00tb"
X_2 = np.array([0.5, -1e300, math.pi])
PYTHON_2 = {
    "protocol 0": (b"(dp0\nS'Ses01F'\np1\n(lp2\nI1\naL2L\naF0.5\naI01\naNas.", {"Ses01F": [1, 2, 0.5, True, None]}),
    "protocol 0, bytes above 127": (b"S'caf\\xe9\\n\\'\\\\'\np0\n.", "caf\xe9\n'\\"),
    "protocol 0, such bytes unescaped": (b'S"caf\xe9\'s"\n.', "caf\xe9's"),
    "protocol 0, unicode": (b"Vcaf\xe9 \\u20ac \\ud83d\\ude00\\u000a\np0\n.", "café € 😀\n"),
    "protocol 1": (b"}q\x00(U\x04vid1q\x01]q\x02(K\x01M\x00\x01J\xfe\xff\xff\xffeu.", {"vid1": [1, 256, -2]}),
    "protocol 2": (b"\x80\x02(U\x01aT\x02\x00\x00\x00\xe9bX\x03\x00\x00\x00\xe2\x82\xac\x8a\x05\x00\x00\x00\x00\x01\x88tq\x00.", ("a", "\xe9b", "€", 2**32, True)),
    "set": (b"\x80\x02c__builtin__\nset\nq\x00]q\x01(K\x01K\x02e\x85Rq\x02.", {1, 2}),
    "OrderedDict": (b"\x80\x02ccollections\nOrderedDict\nq\x00]q\x01]q\x02(U\x01aK\x01ea\x85Rq\x03.", {"a": 1}),
    "defaultdict": (b"\x80\x02ccollections\ndefaultdict\nq\x00c__builtin__\nlist\nq\x01\x85Rq\x02U\x01a]s.", {"a": []}),
    "array": (
        b"\x80\x02cnumpy.core.multiarray\n_reconstruct\nq\x00cnumpy\nndarray\nq\x05K\x00\x85U\x01b\x87R(K\x01K\x03\x85" + F8_2 + b"\x89U\x18" + X_2.tobytes() + b"tb.",
        X_2,
    ),
    "array, protocol 0": (
        b"cnumpy.core.multiarray\n_reconstruct\np0\n(cnumpy\nndarray\np1\n(I0\ntp2\nS'b'\np3\ntp4\nRp5\n(I1\n(L3L\ntp6\ncnumpy\ndtype\np7\n(S'f8'\np8\nI0\n"
        b"I1\ntp9\nRp10\n(I3\nS'<'\np11\nNNNI-1\nI-1\nI0\ntp12\nbI00\nS'" + repr(X_2.tobytes())[2:-1].encode() + b"'\np13\ntp14\nb.",
        X_2,
    ),
    "scalar": (b"\x80\x02cnumpy.core.multiarray\nscalar\nq\x00" + F8_2 + b"U\x08" + X_2[2:].tobytes() + b"\x86Rq\x03.", np.float64(math.pi)),
    "text array": (
        array(b"(K\x02t", b"cnumpy\ndtype\n(U\x02S3K\x00K\x01tR(K\x03U\x01|NNNK\x03K\x01K\x00tb", b"U\x06ab\x00\xe9\x00\x00") + b".",
        np.array([b"ab", b"\xe9"], "S3"),
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", PYTHON_2)
def test_what_python_2_wrote(file, case):
    data, want = PYTHON_2[case]
    by_python = pickle.loads(data, encoding="latin1")  # the field's own way
    if isinstance(by_python, dict):
        by_python = dict(by_python)
    if "unicode" in case:  # Python 3 leaves the pairs of surrogates that narrow builds of Python 2 wrote
        by_python = by_python.encode("utf-16", "surrogatepass").decode("utf-16")
    assert_same(by_python, want)
    assert_same(read(file, data), want)


# --- records


class Sample:
    def __init__(self) -> None:
        self.vid, self.label, self.text = "Ses01", [0, 3], [np.arange(3.0)]


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_records_are_fields_and_nothing_else(file, protocol):
    whole = f"{Sample.__module__}.Sample"
    packed = pickle.dumps({"train": [Sample(), Sample()]}, protocol)
    assert f"found {whole}: a pickle may run any code" in refused(file, packed)
    (first, second) = read(file, packed, records=[whole])["train"]
    assert type(first) is Record
    assert first is not second
    assert first.name == whole
    assert_same(first.fields, vars(Sample()))


@pytest.mark.parametrize(
    "made",
    [
        b"(iold\nSample\n}(U\x01aK\x01ub.",
        b"(cold\nSample\no}(U\x01aK\x01ub.",
        b"cold\nSample\n)\x81}(U\x01aK\x01ub.",
        b"\x80\x04" + text("old") + text("Sample") + b"\x93)}\x92N}(" + text("a") + b"K\x01u\x86b.",
    ],
    ids=["INST", "OBJ", "NEWOBJ", "NEWOBJ_EX with slots"],
)
def test_records_however_they_are_made(file, made):
    assert read(file, made, records=["old.Sample"]) == Record("old.Sample", {"a": 1})


def test_a_record_is_built_of_fields_only(file):
    file.write_bytes(b"cold\nSample\n(K\x01t\x81.")
    with pytest.raises(InputError, match=r"expected the fields of old\.Sample by name"):
        read_pickle(file, records=["old.Sample"])
    with pytest.raises(ValueError, match=r"expected module\.Class"):
        read_pickle(file, records=["Sample"])


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
        *_tables().values(),
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
