"""Pickles as data: what Python reads, ours reads too; and whatever else a file may be, it is refused without effect."""

from __future__ import annotations

import bz2
import collections
import gzip
import lzma
import math
import pickle  # noqa: TID251
import pickletools
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hostile_pickles import zipped
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hn
from pickle_cases import assert_same, read, refused, tables
from pickle_instructions import array, call, name, text

from dgl_merc.corpus.foreign import pickle_building, pickle_machine
from dgl_merc.corpus.foreign.pickle_terms import ADMITTED
from dgl_merc.corpus.foreign.pickles import Record, read_pickle
from dgl_merc.errors import InputError

PROTOCOLS = range(pickle.HIGHEST_PROTOCOL + 1)


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One path, written over and over: hypothesis wants no new folder an example."""
    return tmp_path_factory.mktemp("pickles") / "x.pkl"


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


def test_axes_in_another_order(file):
    """Neither C nor Fortran, and in one piece: protocol 5 writes the order of axes."""
    packed = pickle.dumps(np.transpose(np.arange(24.0).reshape(2, 3, 4), (1, 2, 0)), 5)
    assert_same(read(file, packed), pickle.loads(packed))


@pytest.mark.parametrize("order", ["C", "F"])
@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_arrays_of_objects(file, protocol, order):
    x = np.empty((2, 3), dtype=object, order=order)
    x[:] = [[1, "a", None], [np.zeros(2), [3, 4], np.float32(2)]]
    packed = pickle.dumps({"x": x, "empty": x[:, :0]}, protocol)
    assert_same(read(file, packed), pickle.loads(packed))


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_tables(file, protocol):
    packed = pickle.dumps(tables(), protocol)
    assert_same(read(file, packed), pickle.loads(packed))


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_other_containers_become_plain_ones(file, protocol):
    C = collections
    made = [C.OrderedDict(b=1, a=[2]), C.defaultdict(list, a=[1]), C.Counter("aab"), C.deque([1, 2]), C.deque([1, 2, 3], 2), C.deque()]
    want = [{"b": 1, "a": [2]}, {"a": [1]}, {"a": 2, "b": 1}, [1, 2], [2, 3], []]
    assert_same(read(file, pickle.dumps(made, protocol)), want)


def test_a_part_of_arrows_strings(file):
    """An array that begins at its second string, as Arrow writes a slice; by hand, since pandas copies before it pickles."""
    whole = call("pyarrow.lib", "type_for_alias", text("string")) + b"K\x02K\x01K\x01]("  # length 2, one missing, from 1 on
    for buffer in (b"\x03", np.array([0, 1, 3, 6], "<i4").tobytes(), b"abbccc"):
        whole += call("pyarrow.lib", "py_buffer", b"C" + bytes([len(buffer)]) + buffer)
    strings = b"}(" + text("_pa_array") + call("pyarrow.lib", "_restore_array", b"(" + whole + b"e]Nt") + text("_dtype")
    strings = name("pandas.arrays", "ArrowStringArray") + b")\x81" + strings + call("pandas", "StringDtype", text("python")) + b"ub"
    index = call("pandas.core.indexes.base", "_new_Index", name("pandas", "Index"), b"}" + text("data") + strings + b"s")
    assert read(file, index + b".").tolist() == ["bb", pd.NA]


def test_numbers_of_numpy_as_keys(file):
    made = {np.int64(3): 1, np.str_("a"): 2, (np.int64(1), "x"): 3, "set": {np.float64(2), np.int32(7)}}
    assert_same(read(file, pickle.dumps(made)), made)


@pytest.mark.parametrize("pack", [gzip.compress, bz2.compress, lzma.compress, lambda b: zipped({"folder/": b"", "folder/x.pkl": b})])
def test_packed_files(file, pack):
    made = {"x": np.arange(5_000), "s": "text"}
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
