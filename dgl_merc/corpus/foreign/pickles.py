"""Pickles, read as data: containers, numbers, strings, NumPy's arrays and pandas' tables, and nothing that would run.

Python's own ``pickle.load`` runs whatever a file names. Here a machine of our own reads the instructions
(:mod:`dgl_merc.corpus.foreign.pickle_machine`), knows a short list of names (:mod:`dgl_merc.corpus.foreign.pickle_terms`), and what the
file calls is made by our own functions from checked parts (:mod:`dgl_merc.corpus.foreign.pickle_building`).
"""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path
from typing import Any

from dgl_merc.corpus.foreign.packed import contents
from dgl_merc.corpus.foreign.pickle_building import build
from dgl_merc.corpus.foreign.pickle_machine import Machine
from dgl_merc.corpus.foreign.pickle_terms import NotDataError, Record, admitted
from dgl_merc.errors import InputError, at

__all__ = ["Record", "read_pickle"]

_FOREIGN = {
    b"\x93NUMPY": "a NumPy .npy file; name it .npy",
    b"\x89HDF\r\n": "an HDF5 file; name it .h5",
    b"MATLAB": "a MATLAB file; name it .mat",
    b"PAR1": "a parquet file; name it .parquet",
}


def read_pickle(path: Path, *, records: Collection[str] = ()) -> Any:
    """The data of a pickle of protocol 0 to 5, plain or in gzip, bzip2, xz or a zip of its own.

    Text of Python 2 that is bytes there is read as latin1, as the field's code does (``encoding="latin1"``). OrderedDict, defaultdict and
    Counter become dict, deque becomes list. Nothing that the file names is imported or called.

    Args:
        path: of the file.
        records: classes as ``"module.Class"``, whose instances become a :class:`Record`: their fields, and nothing of the class.

    Returns:
        dict, list, tuple, set, frozenset, str, bytes, bytearray, int, float, complex, bool, None, NumPy arrays, scalars and dtypes,
        pandas DataFrame, Series, Index and NA, and records. Arrays own their memory, can be written to and are in this machine's byte
        order.

    Raises:
        InputError: no pickle, damaged, more data than a file of its size can hold
            (:mod:`dgl_merc.corpus.foreign.pickle_building` says how much), or anything but data in it; the message has the name of what
            was found.
    """
    table = admitted(records)
    with contents(path) as data:
        for magic, what in _FOREIGN.items():
            if data[: len(magic)] == magic:
                raise InputError(f"{at(path)}expected a pickle, found {what}")
        try:
            machine = Machine(data, table)
            value = machine.run()
            shared, keys = machine.shared, machine.keys
            del machine  # and with it the memo, which would keep every array's bytes
            return build(value, shared=shared, keys=keys, size=len(data))
        except NotDataError as fault:
            raise InputError(f"{at(path)}{fault}") from None
        except MemoryError:
            raise InputError(
                f"{at(path)}expected data that fits into memory, found more; split the file, or use a larger machine"
            ) from None
