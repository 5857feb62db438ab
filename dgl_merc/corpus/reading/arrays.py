"""NumPy files from anywhere, read without pickle; whatever is wrong with one is said in one line."""

from __future__ import annotations

import math
import shutil
import tokenize
import zipfile
import zlib
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from dgl_merc.corpus.foreign.packed import MOST_TIMES, SLACK
from dgl_merc.corpus.reading.on_demand import IN_MEMORY, nameless_file
from dgl_merc.errors import InputError, at

__all__ = ["NPY_FAULTS", "as_features", "load_npy", "load_npz"]

Array = npt.NDArray[Any]

_CHUNK = 1 << 20
NPY_FAULTS = (
    ValueError,
    TypeError,
    OSError,
    EOFError,
    KeyError,
    MemoryError,
    OverflowError,
    RuntimeError,
    zipfile.BadZipFile,
    zlib.error,
    tokenize.TokenError,
)
"""What numpy and zipfile raise on a damaged or foreign file (RuntimeError: encrypted, or of an unknown compression; TokenError: a header
without end)."""


def load_npy(path: Path) -> Array:
    """The array of a ``.npy`` file, memory-mapped.

    Raises:
        InputError: not such a file, damaged, or holding Python objects.
    """
    try:
        with path.open("rb") as file:
            np.lib.format.read_magic(file)
        x: Array = np.load(path, mmap_mode="r", allow_pickle=False)
    except NPY_FAULTS as error:
        raise InputError(f"{at(path)}expected a NumPy .npy array of numbers, found something else ({_first_line(error)})") from None
    return x


def load_npz(path: Path, wanted: Iterable[str], optional: Iterable[str] = ()) -> dict[str, Array]:
    """Arrays of a ``.npz`` archive; a large one is memory-mapped, unpacked into a temporary file where it is compressed.

    Args:
        path: of the archive.
        wanted: names that must be there.
        optional: names that may be.

    Raises:
        InputError: not an archive, damaged, without one of the wanted arrays, or holding Python objects.
    """
    if not zipfile.is_zipfile(path):
        raise InputError(f"{at(path)}expected a NumPy .npz archive, found something else or a truncated one")
    arrays: dict[str, Array] = {}
    name = "the archive"
    try:
        with path.open("rb") as file, np.load(file, allow_pickle=False) as archive:
            there = list(archive.files)
            _check_unpacked(path, archive.zip)
            large = {info.filename for info in archive.zip.infolist() if info.file_size > IN_MEMORY}
            for name in dict.fromkeys([*wanted, *optional]):
                if name in there:
                    arrays[name] = _member(archive, f"{name}.npy") if f"{name}.npy" in large else archive[name]
    except NPY_FAULTS as error:
        raise InputError(f"{at(path)}{name}: expected an array without Python objects, found a fault ({_first_line(error)})") from None
    if missing := [name for name in wanted if name not in arrays]:
        raise InputError(f"{at(path)}expected an array {missing[0]!r}, found the arrays: {', '.join(there) or 'none'}")
    return arrays


def _check_unpacked(path: Path, archive: zipfile.ZipFile) -> None:
    """Hold what an archive says it unpacks to, which zipfile holds it to in turn, to a multiple of its size."""
    unpacked, limit = sum(info.file_size for info in archive.infolist()), max(SLACK, MOST_TIMES * path.stat().st_size)
    if unpacked > limit:
        raise InputError(f"{at(path)}expected at most {limit} bytes in an archive of this size, found {unpacked}; do not trust this file")


def _member(archive: Any, name: str) -> Array:
    """An array of an archive, memory-mapped: the archive itself where it is stored there as it is, else a temporary file.

    Raises:
        ValueError: it holds Python objects, or is longer or shorter than it says.
    """
    info = archive.zip.getinfo(name)
    with archive.zip.open(info) as member:
        version = np.lib.format.read_magic(member)
        header = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}.get(version)
        if header is None:
            raise ValueError(f"an array of the format {version}")
        shape, fortran, kind = header(member)
        begin = member.tell()
        if kind.hasobject:
            raise ValueError("Object arrays cannot be loaded when allow_pickle=False")
        if math.prod(shape) * kind.itemsize != info.file_size - begin:
            raise ValueError(f"{info.file_size - begin} bytes for {kind} {list(shape)}")
        order: Any = "F" if fortran else "C"
        if info.compress_type != zipfile.ZIP_STORED:
            with nameless_file() as file:
                shutil.copyfileobj(member, file, _CHUNK)
                file.flush()
                return np.memmap(file, dtype=kind, mode="r", shape=shape, order=order)
        while member.read(_CHUNK):  # to the end: then its checksum is compared
            pass
    with Path(archive.zip.filename).open("rb") as file:
        file.seek(info.header_offset + 26)
        names = int.from_bytes(file.read(2), "little") + int.from_bytes(file.read(2), "little")
    begin += info.header_offset + 30 + names
    return np.memmap(archive.zip.filename, dtype=kind, mode="r", offset=begin, shape=shape, order=order)


def as_features(x: Array, path: Path, name: str = "") -> Array:
    """[R, W] from [R, W] or [R]: real numbers only.

    Raises:
        InputError: another number of dimensions, no columns, or not real numbers.
    """
    label = f"{name}: " if name else ""
    if x.dtype.kind not in "fiu":
        raise InputError(f"{at(path)}{label}expected real numbers, found dtype {x.dtype}")
    if x.ndim not in (1, 2) or (x.ndim == 2 and x.shape[1] == 0):
        raise InputError(f"{at(path)}{label}expected an array [rows, width] (one vector an utterance), found shape {list(x.shape)}")
    return x[:, None] if x.ndim == 1 else x


def _first_line(error: BaseException) -> str:
    return (str(error) or type(error).__name__).splitlines()[0][:160]
