"""Pages for the tests of the explorer, and a reader of what stands in them that shares no line with the writer."""

from __future__ import annotations

import base64
import json
import re
import struct
from pathlib import Path
from typing import Any

import pytest
from predict_cases import fitted

from dgl_merc.corpus import Corpus, save_corpus
from dgl_merc.explanations import explore_run, explore_store
from dgl_merc.graphs import GraphSpec, Store
from dgl_merc.graphs.build import BuildOptions, build_store
from dgl_merc.reports.explorer import write_explorer
from dgl_merc.training.run_folder import SavedRun, open_run

HOSTILE = [
    "</script><script>window.hacked=1</script>",
    "<img src=x onerror='window.hacked=2'>",
    "<!--<script>",
    '"><svg onload=window.hacked=3>',
    "javascript:window.hacked=4",
    "{{7*7}} {% raw %} ${7*7} &lt;b&gt; &#60;",
    "one\u2028two\u2029three\ufeff",
    "a\u202egnp.exe\u202c",
    "\\u003c/script\\u003e \\ \" ' `",
    "lead\x00zero \x1b[31m",
    "many " * 20000,
    "😀 Ünïcödé שלום",
]


_made: dict[str, SavedRun] = {}


def shared_run(corpus: Corpus, factory: pytest.TempPathFactory) -> SavedRun:
    """A run of all parts of a model, made once for all tests of a process."""
    if not _made:
        _made["run"] = open_run(fitted(corpus, factory.mktemp("runs") / "mglra", "mglra", "model.rounds=1"))
    return _made["run"]


def built(corpus: Corpus, folder: Path, **spec: Any) -> Store:
    """A store without graphs."""
    saved = save_corpus(corpus, folder / "corpus")
    return build_store(saved, folder / "graphs", GraphSpec(tuple(corpus.modalities), **spec), BuildOptions(edges=False))


def page_of(store: Store, path: Path, **given: Any) -> Path:
    write_explorer(path, *explore_store(store), **given)
    return path


def run_page(run: SavedRun, corpus: Corpus, path: Path) -> Path:
    write_explorer(path, *explore_run(run, corpus))
    return path


def data_of(path: Path) -> dict[str, Any]:
    """The block of JSON, as a browser finds it: up to the first end tag."""
    found = re.search(r'<script type="application/json" id="data">(.*?)</script', path.read_text(encoding="utf-8"), re.DOTALL)
    assert found
    read: dict[str, Any] = json.loads(found[1])
    return read


def unpacked(packed: list[Any], n: int) -> dict[tuple[int, int], float | None]:
    """(src, dst) -> weight."""
    form, low, high, text = packed
    raw = base64.b64decode(text)
    if form == "matrix":
        assert len(raw) == n * n
        codes = {(k % n, k // n): raw[k] for k in range(n * n) if raw[k]}
    else:
        count = len(raw) // 5
        ends = struct.unpack(f"<{2 * count}H", raw[: 4 * count])
        codes = {(ends[k], ends[count + k]): raw[4 * count + k] for k in range(count)}
        assert len(codes) == count
    return {pair: None if low is None else low + (code - 1) / 254 * (high - low) for pair, code in codes.items()}
