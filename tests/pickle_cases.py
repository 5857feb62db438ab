"""What the tests of pickles share: reading bytes, comparing all the way down, and tables of every kind that is admitted."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from dgl_merc.corpus.foreign.pickles import read_pickle
from dgl_merc.errors import InputError


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


def tables() -> dict[str, Any]:
    """Name -> table, column or index."""
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
