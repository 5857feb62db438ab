"""Files that pretend to be pickles of data: each with what must be said of it. As a program: see :func:`main`."""

from __future__ import annotations

import bz2
import codecs
import gzip
import io
import json
import lzma
import os
import pickle  # noqa: TID251
import resource
import struct
import sys
import zipfile
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from pickle_instructions import array, call, dtype, fields, frame, name, raw, rows, text

MORE_MEMORY = 400 << 20
"""Bytes of address space for everything: twice what may be unpacked from a small file, and the hundred or so that a bomb's own bytes take."""


class _Runs:
    """What it is pickled to runs, if anything ever unpickles it."""

    def __reduce__(self) -> Any:
        return os.system, ("touch canary",)


def laughs(width: int, depth: int) -> bytes:
    """A list that holds ``width`` times a list that holds ``width`` times ..."""
    out = b"]q\x00"
    for k in range(1, depth):
        out += b"0]q" + bytes([k]) + b"(" + (b"h" + bytes([k - 1])) * width + b"e"
    return out + b"."


def zipped(members: dict[str, bytes]) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as archive:
        for member, data in members.items():
            archive.writestr(member, data)
    return out.getvalue()


def alike(count: int) -> bytes:
    """A dict whose keys are tuples of -1 and -2, whose hashes are the same."""
    ints = (b"J\xff\xff\xff\xff", b"J\xfe\xff\xff\xff")
    keys = (b"(" + b"".join(ints[k >> bit & 1] for bit in range(14)) + b"tN" for k in range(count))
    return b"}(" + b"".join(keys) + b"u."


def saved(x: np.ndarray) -> bytes:
    out = io.BytesIO()
    np.save(out, x, allow_pickle=False)
    return out.getvalue()


RUNS = "nothing was run"
ONE = b"(K\x01t"
F8 = dtype("f8")
SHARED = raw(bytes(1 << 20))
HUNGRY = b"\x02\x00\x21\x01\x25\x00\x00\x00"
"""Of an xz block: a dictionary of 1.5 GB."""
OVER = "the same lists or arrays used over and over"


N = b"N"
NESTED = fields(100, F8) + b"q\x00" + b"0" + fields(100, b"h\x00")
CASES: dict[str, tuple[bytes, str]] = {
    # --- calls of anything
    "os.system": (name("os", "system") + b"(" + text("touch canary") + b"tR.", "found os.system"),
    "os.system by pickle": (pickle.dumps(_Runs(), 0), "found posix.system"),
    "posix.system, protocol 4": (pickle.dumps([1, _Runs()], 4), "found posix.system"),
    "eval": (call("builtins", "eval", text("open('canary','w')")) + b".", "found builtins.eval"),
    "exec of Python 2": (call("__builtin__", "exec", text("1")) + b".", "found __builtin__.exec"),
    "compile": (call("builtins", "compile", text("1")) + b".", "found builtins.compile"),
    "import": (call("builtins", "__import__", text("antigravity")) + b".", "found builtins.__import__"),
    "open": (call("builtins", "open", text("canary"), text("w")) + b".", "found builtins.open"),
    "getattr chain": (call("builtins", "getattr", name("builtins", "dict"), text("get")) + b".", "found builtins.getattr"),
    "apply": (call("__builtin__", "apply", N) + b".", "found __builtin__.apply"),
    "map": (call("builtins", "map", name("os", "system"), b"]") + b".", "found builtins.map"),
    "a name and no call": (name("os", "system") + b".", "found os.system"),
    "a name that is popped": (name("os", "system") + b"0N.", "found os.system"),
    "a module that is not loaded": (name("antigravity", "fly") + b".", "found antigravity.fly"),
    "nt.system": (call("nt", "system", text("x")) + b".", "found nt.system"),
    "subprocess": (call("subprocess", "Popen", text("x")) + b".", "found subprocess.Popen"),
    "socket": (call("socket", "socket") + b".", "found socket.socket"),
    "webbrowser": (call("webbrowser", "open", text("x")) + b".", "found webbrowser.open"),
    "runpy": (call("runpy", "run_path", text("x")) + b".", "found runpy.run_path"),
    "types.CodeType": (call("types", "CodeType") + b".", "found types.CodeType"),
    "functools.partial": (call("functools", "partial", name("builtins", "int")) + b".", "found functools.partial"),
    "operator.methodcaller": (call("operator", "methodcaller", text("x")) + b".", "found operator.methodcaller"),
    "pickle.loads": (call("pickle", "loads", b"C\x02N.") + b".", "found pickle.loads"),
    "copyreg.add_extension": (call("copyreg", "add_extension", text("os"), text("system"), b"K\x01") + b".", "found copyreg.add_extension"),
    "numpy.load": (call("numpy", "load", text("x.npy")) + b".", "found numpy.load"),
    "numpy.lib.npyio.load": (call("numpy.lib.npyio", "load", text("x.npy")) + b".", "found numpy.lib.npyio.load"),
    "numpy.f2py": (call("numpy.f2py.crackfortran", "myeval", text("1")) + b".", "found numpy.f2py.crackfortran.myeval"),
    "numpy.testing": (call("numpy.testing._private.utils", "runstring", text("1"), b"}") + b".", "utils.runstring"),
    "numpy.memmap": (call("numpy", "memmap", text("canary")) + b".", "found numpy.memmap"),
    "numpy.frombuffer": (call("numpy", "frombuffer", b"C\x00") + b".", "found numpy.frombuffer"),
    "pandas.eval": (call("pandas", "eval", text("@pd")) + b".", "found pandas.eval"),
    "pandas.read_pickle": (call("pandas", "read_pickle", text("x")) + b".", "found pandas.read_pickle"),
    "pandas.io.common": (call("pandas.io.common", "get_handle", text("x")) + b".", "found pandas.io.common.get_handle"),
    "torch storage": (call("torch._utils", "_rebuild_tensor_v2") + b".", "save its tensors as NumPy arrays"),
    "torch.load": (call("torch", "load", text("x")) + b".", "found torch.load"),
    "dotted name": (b"\x80\x04" + text("builtins") + text("dict.fromkeys") + b"\x93.", "found builtins.dict.fromkeys"),
    "dotted module": (b"\x80\x04" + text("os.path") + text("os.system") + b"\x93.", "found os.path.os.system"),
    "split elsewhere": (b"\x80\x04" + text("numpy") + text("core.multiarray.scalar") + b"\x93.", "found numpy.core.multiarray.scalar: a pickle may"),
    "empty name": (b"\x80\x04" + text("") + text("") + b"\x93.", "found .:"),
    "name that is a number": (b"\x80\x04K\x01K\x02\x93.", "whose name is no text"),
    "name with a terminal's codes": (b"\x80\x04" + text("os\x1b[2J") + text("a\nb") + b"\x93.", r"found os\x1b[2J.a\nb"),
    "name of a megabyte": (b"\x80\x04" + text("o" * (1 << 20)) + text("x") + b"\x93.", "oooo…"),
    # --- the other ways to call
    "INST": (b"(" + text("touch canary") + b"ios\nsystem\n.", "found os.system"),
    "OBJ": (b"(" + name("os", "system") + text("touch canary") + b"o.", "found os.system"),
    "OBJ of text": (b"(" + text("os.system") + b"o.", RUNS),
    "NEWOBJ": (name("subprocess", "Popen") + b"(" + text("x") + b"t\x81.", "found subprocess.Popen"),
    "NEWOBJ_EX": (name("subprocess", "Popen") + b")}\x92.", "found subprocess.Popen"),
    "NEWOBJ_EX with named arguments": (name("numpy", "dtype") + b")}(" + text("copy") + b"\x88u\x92.", "named arguments"),
    "REDUCE of a number": (b"K\x01)R.", "found a call of a int"),
    "REDUCE with a list": (name("builtins", "set") + b"]R.", RUNS),
    "REDUCE of a call": (call("builtins", "set") + b")R.", "found a call of builtins.set"),
    "BUILD on a dict": (b"}}(" + text("__class__") + b"Nub.", "a state set on a dict"),
    "BUILD on a function": (name("builtins", "set") + b"}b.", "a state set on a Global"),
    "BUILD twice": (F8 + b"}b}b.", "a state set on numpy.dtype"),
    "BUILD of a set's attributes": (call("builtins", "set") + b"}(" + text("__reduce__") + b"Nub.", "a set, found one with attributes"),
    "__newobj__ of itself, 100,000 times": (name("copyreg", "__newobj__") + b"q\x00(" + b"h\x00" * 10**5 + b"tR.", "found a call"),
    "_reconstructor of a dict": (call("copy_reg", "_reconstructor", name("builtins", "dict"), name("builtins", "dict"), b"}") + b".", "derived"),
    "a type as data": (b"](" + name("builtins", "int") + name("numpy", "ndarray") + b"e.", "found numpy.ndarray among it"),
    "a type called": (call("builtins", "int", text("1")) + b".", "found a call of builtins.int"),
    "ndarray called": (call("numpy", "ndarray", b"(J\xff\xff\xff\x7ft") + b".", "found a call of numpy.ndarray"),
    "a slice as data": (call("builtins", "slice", N, N, N) + b".", "found a slice of builtins.slice among it"),
    "another encoding": (call("_codecs", "encode", text("x"), text("zlib")) + b".", "found another encoding"),
    "persistent id": (b"Pos.system\n.", "a persistent id"),
    "persistent id from the stack": (b"K\x01Q.", "a persistent id"),
    "EXT1": (b"\x80\x02\x82\x01.", "an extension code"),
    "EXT2": (b"\x80\x02\x83\x01\x00.", "an extension code"),
    "EXT4": (b"\x80\x02\x84\x01\x00\x00\x00.", "an extension code"),
    "a buffer from elsewhere": (b"\x80\x05\x97\x98.", "a buffer outside"),
    # --- sizes that are claimed
    "BINBYTES8 of 10 GB": (b"\x80\x04\x8e" + struct.pack("<Q", 10**10) + b"x.", "10000000000 bytes claimed where 2 are left"),
    "BINUNICODE8 of 10 GB": (b"\x80\x04\x8d" + struct.pack("<Q", 10**10) + b"x.", "10000000000 bytes claimed"),
    "BYTEARRAY8 of 10 GB": (b"\x80\x05\x96" + struct.pack("<Q", 10**10) + b"x.", "10000000000 bytes claimed"),
    "BYTEARRAY8 of all there is": (b"\x80\x05\x96" + b"\xff" * 8 + b"x.", "bytes claimed"),
    "FRAME of 10 GB": (b"\x80\x04\x95" + struct.pack("<Q", 10**10) + b"N.", "10000000000 bytes claimed"),
    "LONG4 of 2 GB": (b"\x8b" + struct.pack("<i", 2**31 - 1) + b"x.", "2147483647 bytes claimed"),
    "LONG4 of less than nothing": (b"\x8b\xff\xff\xff\xffx.", "expected a size, found -1"),
    "BINSTRING of less than nothing": (b"T\xff\xff\xff\xffx.", "expected a size, found -1"),
    "BINBYTES of 4 GB": (b"B\xff\xff\xff\xffx.", "4294967295 bytes claimed"),
    "memo at 2^31": (b"N" + b"".join(b"r" + struct.pack("<I", 2**31 + k) for k in range(1000)) + b"j\x00\x00\x00\x00.", "no sense"),
    "memo of text at 10^2000": (b"Np" + b"9" * 2000 + b"\ng1\n.", "a place in the memo that is none"),
    "memo below 0": (b"Np-1\ng-1\n.", "a place in the memo that is none"),
    "memo of one hash": (b"".join(b"Np%d\n0" % (k * (2**61 - 1)) for k in range(1, 1000)) + b"N.", "a place in the memo that is none"),
    "LONG of 10 million digits": (b"L" + b"9" * 10**7 + b"L\n.", "found one of 10000001 digits"),
    "INT of 10 million digits": (b"I" + b"9" * 10**7 + b"\n.", "found one of 10000000 digits"),
    "FLOAT of 10 million digits": (b"F" + b"9" * 10**7 + b"\n.", "found one of 10000000 digits"),
    "LONG4 of 10 MB": (b"\x8b" + struct.pack("<i", 10**7) + bytes(10**7) + b".", "found one of 10000000 bytes"),
    # --- shared, circular, deep
    "billion laughs": (laughs(100, 30), OVER),
    "laughs in pairs": (laughs(2, 60), OVER),
    "laughs of tuples": (b")q\x00" + b"".join(b"0(" + b"h\x00" * 50 + b"tq\x00" for _ in range(40)) + b".", OVER),
    "laughs by DUP": (b"]" + b"2\x86" * 40 + b".", OVER),
    "one array a thousand times": (array(b"(J\x00\x00\x02\x00t", F8, SHARED) + b"q\x00" + b"](" + b"h\x00" * 1000 + b"e\x86.", OVER),
    "a thousand arrays of the same bytes": (
        F8 + b"q\x01" + SHARED + b"q\x00](" + array(b"(J\x00\x00\x02\x00t", b"h\x01", b"h\x00") * 1000 + b"e\x87.",
        OVER,
    ),
    "a thousand sets of the same list": (b"](" + b"K\x01" * 50_000 + b"eq\x00(" + call("builtins", "set", b"h\x00") * 2000 + b"t\x86.", OVER),
    "list in itself": (b"]q\x00h\x00a.", "contains itself"),
    "dict in itself": (b"}q\x00" + text("a") + b"h\x00s.", "contains itself"),
    "list in its tuple": (b"]q\x00h\x00\x85a.", "contains itself"),
    "array in its list": (b"]q\x00" + array(b"(K\x01t", dtype("O8"), b"h\x00") + b"a.", "contains itself"),
    "state of itself": (F8 + b"q\x00h\x00b.", "contains itself"),
    "100,000 lists": (b"]" * 100_000 + b"a" * 99_999 + b".", "nested at most 100 deep"),
    "100,000 tuples": (b"N" + b"\x85" * 100_000 + b".", "nested at most 100 deep"),
    "100,000 tuples as a key": (b"}N" + b"\x85" * 100_000 + b"Ns.", "expected keys of at most"),
    "100,000 calls": (name("builtins", "set") + b"q\x00" + b"h\x00" * 99_999 + b")R" + b"\x85R" * 99_999 + b".", "nested at most 100"),
    "60 deep, twice": (b"]q\x00" + b"\x85" * 60 + b"q\x01" + b"0h\x01" + b"\x85" * 20 + b"h\x01" + b"\x85" * 60 + b"\x86.", "nested at most 100"),
    "300,000 marks": (b"(" * 300_000, "cut off at byte 300000"),
    "300,000 empty sets": (b"\x80\x04" + b"\x8f\x94" * 300_000, "cut off"),
    # --- keys
    "keys of one hash": (alike(5000), "hashes of their own"),
    "big numbers of one hash": (b"}(" + b"".join(b"\x8a\x09" + (k * (2**61 - 1)).to_bytes(9, "little") + b"N" for k in range(1, 100)) + b"u.", "hashes"),
    "members of one hash": (call("builtins", "frozenset", b"](" + alike(5000)[2:-2].replace(b"tN", b"t") + b"e") + b".", "hashes"),
    "list as a key": (b"}]Ns.", "as key, found a list"),
    "dict in a key": (b"}}\x85Ns.", "as key, found a dict"),
    "array as a key": (b"}" + array(ONE, F8, raw(bytes(8))) + b"Ns.", "as key, found a ndarray"),
    "list as a member": (b"\x8f(]\x90.", "as key, found a list"),
    "key of a megabyte": (b"}" + text("k" * (1 << 20)) + b"Ns.", "at most 4096 characters"),
    "key of a thousand parts": (b"}(" + b"K\x01" * 1000 + b"tNs.", "at most 16 parts"),
    "key without value": (b"(K\x01d.", "a key without its value"),
    "items for a tuple": (b")(K\x01e.", "expected a list to add items to, found tuple"),
    "items for a call": (F8 + b"(K\x01e.", "found numpy.dtype"),
    # --- arrays
    "array without its bytes": (array(b"(J\xff\xff\xff\x7ft", F8, raw(b"")) + b".", "17179869176 bytes of an array"),
    "array without content": (call("numpy.core.multiarray", "_reconstruct", name("numpy", "ndarray"), b"(K\x00t", text("b")) + b".", "version"),
    "bytes left over": (array(ONE, F8, raw(bytes(16))) + b".", "expected 8 bytes of an array [1]"),
    "nothing by 2^62": (array(b"(K\x00\x8a\x08" + (2**62).to_bytes(8, "little") + b"t", F8, raw(b"")) + b".", "of at most"),
    "2^40 items of no bytes": (array(b"(\x8a\x06" + (2**40).to_bytes(6, "little") + b"t", dtype("S0"), raw(b"")) + b".", "of at most"),
    "negative shape": (array(b"(J\xff\xff\xff\xffJ\xff\xff\xff\xfft", F8, raw(bytes(8))) + b".", "the shape of an array"),
    "shape of a float": (array(b"(G\x7f\xf8\x00\x00\x00\x00\x00\x00t", F8, raw(bytes(8))) + b".", "the shape of an array"),
    "shape of 100 axes": (array(b"(" + b"K\x01" * 100 + b"t", F8, raw(bytes(8))) + b".", "the shape of an array"),
    "objects out of bytes": (array(ONE, dtype("O8"), raw(bytes(8))) + b".", "expected a list of 1 objects"),
    "fewer objects than claimed": (array(b"(J\xff\xff\xff\x7ft", dtype("O8"), b"]") + b".", "found 0 of them"),
    "object frombuffer": (call("numpy.core.numeric", "_frombuffer", raw(bytes(8)), dtype("O8"), ONE, text("C")) + b".", "found dtype object"),
    "object scalar": (call("numpy.core.multiarray", "scalar", dtype("O8"), raw(bytes(8))) + b".", "found dtype object"),
    "scalar of a set": (call("numpy.core.multiarray", "scalar", dtype("O8"), name("os", "system")) + b".", "found os.system"),
    "subclass of ndarray": (call("numpy.core.multiarray", "_reconstruct", name("numpy", "matrix"), b"(K\x00t", text("b")) + b".", "found numpy.matrix"),
    "dtype of 10 GB": (dtype("V10000000000") + b".", "expected a dtype of numbers"),
    "dtype of 100 MB": (dtype("V100000000") + b".", "of a possible size"),
    "dtype of NumPy's language": (dtype("i4,(1000,1000)f8") + b".", "expected a dtype of numbers"),
    "dtype of no size": (dtype("f3") + b".", "of a possible size"),
    "dtype that holds objects": (
        dtype("V8", state=b"(K\x03" + text("|") + b"N(" + text("a") + b"t}" + text("a") + b"(" + dtype("O8") + b"K\x00tsK\x08K\x01K\x00tb") + b".",
        "fields of numbers or text",
    ),
    "field beyond the end": (
        dtype("V8", state=b"(K\x03" + text("|") + b"N(" + text("a") + b"t}" + text("a") + b"(" + F8 + b"K\x09tsK\x08K\x01K\x00tb") + b".",
        "within 8 bytes",
    ),
    "field before the start": (
        dtype("V8", state=b"(K\x03" + text("|") + b"N(" + text("a") + b"t}" + text("a") + b"(" + F8 + b"J\xff\xff\xff\xfftsK\x08K\x01K\x00tb") + b".",
        "within 8 bytes",
    ),
    "subarray of more": (
        dtype("V8", state=b"(K\x03" + text("|") + b"(" + F8 + b"(J\xff\xff\xff\x7fttNNK\x08K\x01K\x00tb") + b".",
        "a subarray of 8 bytes",
    ),
    "dates of no unit": (dtype("M8", state=b"(K\x04" + text("<") + b"NNNK\x08K\x08K\x00(N(" + text("parsec") + b"K\x01K\x01K\x01tttb") + b".", "unit of dates"),
    "dates by 2^40": (
        dtype("M8", state=b"(K\x04" + text("<") + b"NNNK\x08K\x08K\x00(N(" + text("s") + b"\x8a\x06\x00\x00\x00\x00\x00\x01K\x01K\x01tttb") + b".",
        "unit of dates",
    ),
    "fields of fields": (NESTED + b".", "at most 1000 fields of a dtype in all"),
    "fields of fields, of a subarray": (
        dtype("V8", state=b"(K\x03" + text("|") + b"(" + fields(600, F8) + b"(K\x01ttNNK\x08K\x01K\x00tb") + b"q\x00" + b"0"
        + fields(2, b"h\x00") + b".",
        "at most 1000 fields of a dtype in all",
    ),
    "a thousand fields, thousands of times": (
        fields(1000, F8) + b"q\x00" + raw(bytes(8)) + b"q\x01](" + call("numpy.core.multiarray", "scalar", b"h\x00", b"h\x01") * 2000 + b"e\x87.",
        OVER,
    ),
    "text beyond Unicode": (array(ONE, dtype("U1"), raw(b"\xff\xff\xff\x7f")) + b".", "characters that are none"),
    # --- tables
    "index of 2^60 rows": (
        call("pandas.core.indexes.base", "_new_Index", name("pandas", "RangeIndex"), b"}(" + text("start") + b"K\x00" + text("stop") + b"\x8a\x08"
             + (2**60).to_bytes(8, "little") + text("step") + b"K\x01u") + b".",
        "of at most",
    ),
    "a million columns of nothing": (frame(10**6, 0, array(b"(J" + struct.pack("<i", 10**6) + b"K\x00t", F8, raw(b""))) + b".", OVER),
    "thousands of tables": (
        rows(0) + b"q\x00" + call("pandas.core.internals.managers", "BlockManager", b")", b"](h\x00h\x00e") + b"q\x01]("
        + (name("pandas", "DataFrame") + b")\x81}" + text("_mgr") + b"h\x01sb") * 20_000 + b"e\x87.",
        OVER,
    ),
    "a column without rows": (frame(1, 1, array(b")", dtype("O8"), b"]" + text("x") + b"a")) + b".", "a column of numbers, text or dates"),
    "manager without blocks": (name("pandas", "DataFrame") + b")\x81}(" + text("_mgr") + b"Nub.", "the columns of a pandas table"),
    "categories": (call("pandas.core.dtypes.dtypes", "CategoricalDtype") + b".", "found pandas.core.dtypes.dtypes.CategoricalDtype"),
    "Arrow's foreign buffer": (call("pyarrow.lib", "foreign_buffer", b"K\x00") + b".", "found pyarrow.lib.foreign_buffer"),
    "Arrow's offsets beyond the end": (
        name("pandas.arrays", "ArrowStringArray") + b")\x81}(" + text("_pa_array")
        + call("pyarrow.lib", "_restore_array", b"(" + call("pyarrow.lib", "type_for_alias", text("string")) + b"K\x01K\x00K\x00](N"
               + call("pyarrow.lib", "py_buffer", raw(struct.pack("<2i", 0, 10**9))) + call("pyarrow.lib", "py_buffer", raw(b"x")) + b"e]Nt")
        + text("_dtype") + call("pandas", "StringDtype", text("python")) + b"ub.",
        "offsets within 1 bytes",
    ),
    # --- no pickles, damaged or packed
    "empty": (b"", "an empty file"),
    "text": (b"Utterance,Speaker\nhello,Joey\n", "found"),
    "a single stop": (b".", "values left over"),
    "no stop": (b"N", "cut off at byte 1"),
    "two pickles": (pickle.dumps(1) + pickle.dumps(2), "more bytes after it"),
    "values left": (b"NN.", "values left over"),
    "mark left": (b"N(.", "values left over"),
    "protocol 6": (b"\x80\x06N.", "found 6"),
    "no instruction": (b"\x80\x02\xfe.", "no instruction"),
    "tuple of nothing": (b"\x86.", "no sense"),
    "string without quotes": (b"Sabc\n.", "without its quotes"),
    "string with an escape that is none": (b"S'\\q'\n.", "an escape that is none"),
    "half a surrogate": (text("\ud800") + b".", "no sense"),
    "half a surrogate, protocol 0": (b"V\\ud800\n.", "no sense"),
    "text that is no UTF-8": (b"X\x01\x00\x00\x00\xff.", "no sense"),
    "npy": (saved(np.zeros(3)), "a NumPy .npy file"),
    "hdf5": (b"\x89HDF\r\n\x1a\n" + bytes(100), "an HDF5 file"),
    "torch": (zipped({"m/data.pkl": b"N.", "m/data/0": b"x", "m/version": b"3"}), "it is a torch file"),
    "zip of nothing": (zipped({}), "found"),
    "gzip bomb": (gzip.compress(bytes(80 << 20)), "at most 200 times"),
    "bzip2 bomb": (bz2.compress(bytes(80 << 20)), "at most 200 times"),
    "xz bomb": (lzma.compress(bytes(80 << 20), preset=0), "at most 200 times"),
    "zip bomb": (zipped({"a": bytes(80 << 20)}), "at most 200 times"),
    "gzip cut off": (gzip.compress(pickle.dumps(list(range(1000))))[:-20], "whole packed file"),
    "xz cut off": (lzma.compress(pickle.dumps(list(range(1000))))[:-20], "whole packed file"),
    "bzip2 cut off": (bz2.compress(pickle.dumps(list(range(1000))))[:-20], "whole packed file"),
    "xz that wants 1.5 GB": (lzma.compress(b"N.")[:12] + HUNGRY + struct.pack("<I", zlib.crc32(HUNGRY)) + bytes(20), "Memory usage limit"),
    "gzip of os.system": (gzip.compress(name("os", "system") + b"."), "found os.system"),
    "gzip in gzip": (gzip.compress(gzip.compress(b"N.")), "no instruction"),
}  # fmt: skip


def written(folder: Path) -> Iterator[tuple[str, Path]]:
    """The cases as files."""
    for k, (case, (data, _)) in enumerate(CASES.items()):
        path = folder / f"{k:03}.pkl"
        path.write_bytes(data)
        yield case, path


QUIET = {"builtins.id", "open", "mmap.__new__", "object.__getattr__", "gc.get_objects", "array.__new__", "sys._getframe"}


def main(folder: Path) -> None:
    """Read every case in ``folder``; print a JSON object: case -> [message, audit events, new modules]; and the peak memory."""
    from dgl_merc.corpus.foreign.pickles import read_pickle
    from dgl_merc.errors import InputError

    paths = sorted(folder.glob("*.pkl"))
    harmless = folder / "harmless"
    for data in (
        pickle.dumps([np.zeros(2), {"a": 1}]),
        gzip.compress(b"N."),
        lzma.compress(b"N."),
        bz2.compress(b"N."),
        zipped({"a": b"N."}),
    ):
        harmless.write_bytes(data)
        read_pickle(harmless)  # what is loaded lazily, is now
    for codec in ("unicode_escape", "raw_unicode_escape", "utf_16_le", "latin-1"):
        codecs.lookup(codec)

    events: list[str] = []
    sys.addaudithook(lambda event, args: events.append(f"{event} {args[:2]!r}"))
    pages = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (pages + MORE_MEMORY, pages + MORE_MEMORY))
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    out: dict[str, Any] = {}
    for path in paths:
        modules = set(sys.modules)
        events.clear()
        try:
            message = f"read as {type(read_pickle(path)).__name__}"
        except InputError as error:
            message = str(error)
        seen = [e for e in events if e.split()[0] not in QUIET or (e.startswith("open ") and str(path) not in e)]
        out[path.stem] = [message, seen, sorted(set(sys.modules) - modules)]
    peak = 1024 * (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)
    assert not Path("canary").exists()
    events.clear()
    pickle.loads(CASES["os.system"][0])  # the watch sees what it is to see
    print(json.dumps({"cases": out, "peak": peak, "control": list(events)}))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
