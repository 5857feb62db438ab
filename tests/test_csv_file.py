"""Tables of many columns."""

from __future__ import annotations

from pathlib import Path

import pytest

from dgl_merc.corpus.reading import csv_file
from dgl_merc.errors import InputError


def test_a_wide_table_is_read_many_rows_at_a_time_and_a_wider_one_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(csv_file, "_CELLS", 20)
    path, rows = tmp_path / "x.csv", [",".join(f"{k}{c}" for c in range(10)) for k in range(200)]
    path.write_text("\n".join([",".join(f"c{c}" for c in range(10)), *rows]))
    made = csv_file.read_csv(path)
    assert [",".join(cells) for cells in zip(*made.cells.values(), strict=True)] == rows
    assert made.cells["c0"]._text.num_chunks == 4, "as many pieces as rows would weigh more than the file"
    with pytest.raises(InputError, match=r"line 1: expected a column 'x', found the columns: c0, c1, .*, c9$"):
        made.require({"x": ""})
    path.write_text(",".join(f"c{c}" for c in range(50)) + "\n" + "," * 49)
    with pytest.raises(InputError, match=r"found the columns: c0, .*, c39, and 10 more$"):
        csv_file.read_csv(path).require({"x": ""})
    path.write_text("," * (1 << 16))
    with pytest.raises(InputError, match=r"line 1: expected at most 65536 cells, found 65537; put vectors into a \.npy file"):
        csv_file.read_csv(path)
