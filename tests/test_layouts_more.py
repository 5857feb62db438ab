"""EmoryNLP's, MMSA's, MulT's and COGMEN's files: no structure breaks a reader."""

from __future__ import annotations

import contextlib
import random
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from layout_cases_more import (
    as_dicts,
    emorynlp_rows,
    json_value,
    mmsa_value,
    mult_value,
    rng,
    samples_value,
    write_samples,
)

from dgl_merc.corpus.foreign.pickles import Record
from dgl_merc.corpus.readers import published as module
from dgl_merc.corpus.readers.known import known_layouts
from dgl_merc.corpus.readers.layout import Content
from dgl_merc.corpus.readers.published import read_published
from dgl_merc.corpus.reading.content import describe
from dgl_merc.errors import InputError

TINY = dict.fromkeys(("text", "audio", "visual", "sbert"), 2)
VALUES = {
    "mmsa": lambda r: mmsa_value(r, {"text": (3, 2), "audio": (4, 2), "vision": (3, 2)}, unimodal=True),
    "mult": lambda r: mult_value(r, (2, 2, 2)),
    "samples": lambda r: samples_value(r, widths=TINY),
    "dicts": lambda r: as_dicts(samples_value(r, widths=TINY)),
    "multilabel": lambda r: samples_value(r, widths=TINY, mosei="multilabel"),
    "json": lambda r: json_value(emorynlp_rows(r, {(1, 1, 1): 3, (1, 1, 2): 1})),
}
STRANGE = (
    pd.NA,
    pd.Series([1, 2]),
    np.timedelta64(1, "s"),
    np.zeros(1, "i4,f8")[0],
    None,
    "",
    "x",
    b"\xff",
    "\udc80",
    10**5000,
    -1,
    float("nan"),
    True,
    [],
    {},
    (),
    [[]],
    [[[1.0], [2.0, 3.0]]],
    {1: 2},
    1j,
)


def damaged(value: Any, dice: random.Random, depth: int = 0) -> Any:
    """The same, with one place changed."""
    if (depth > 1 and dice.random() < 0.35) or not isinstance(value, dict | list | np.ndarray) or not len(value):
        choices = [*STRANGE, [value], np.array([1.0, np.nan]), np.zeros((2, 0)), np.array(["a"]), np.array([None]), Record("os.system", {})]
        return dice.choice(choices)
    if isinstance(value, np.ndarray):
        changes = [value[:-1], value.astype(str), value.tolist(), value[..., None], value.astype(object), value.reshape(-1)]
        return dice.choice([*changes, np.full_like(value, np.inf)] if value.dtype.kind == "f" else changes)
    key = dice.choice(list(value)) if isinstance(value, dict) else dice.randrange(len(value))
    made = value.copy()
    if dice.random() < 0.15:
        del made[key]
    else:
        made[key] = damaged(value[key], dice, depth + 1)
    return made


def of_class(value: Any) -> Any:
    """Dialogues as instances, as far as they are dicts still."""
    if not isinstance(value, dict):
        return value
    made = {}
    for split, part in value.items():
        whole = isinstance(part, list)
        made[split] = [Record("cogmen.Sample.Sample", one) if isinstance(one, dict) else one for one in part] if whole else part
    return made


@pytest.mark.parametrize("kind", VALUES)
def test_no_structure_breaks_a_reader(kind, monkeypatch, tmp_path):
    whole, path = VALUES[kind](rng()), tmp_path / "a.pkl"
    path.write_bytes(b"")
    ends: Counter[str] = Counter()

    @settings(max_examples=60, deadline=None, derandomize=True)
    @given(st.integers(0, 2**32))
    def read(seed):
        value = damaged(whole, random.Random(seed))
        value = of_class(value) if kind in ("samples", "multilabel") else value
        monkeypatch.setattr(module, "read_content", lambda path, records: Content(path, "json" if kind == "json" else "pickle", value))
        try:
            read_published(path, nan="absent", one_split="train")
        except InputError as error:
            ends["another layout" if "a published layout" in str(error) else "a fault"] += 1
        else:
            ends["read"] += 1

    read()
    assert min(ends["a fault"], ends["read"]) > 0, f"vacuous: {ends}"


def test_a_structure_that_grows_is_said_in_bounded_time():
    bomb: Any = [1.0]
    for _ in range(60):
        bomb = [bomb, bomb, bomb]
    folded: Any = {"a": 1}
    for _ in range(60):
        folded = {10**5000: folded, "b": folded}
    assert len(describe(bomb)) < 200
    assert len(describe(folded)) < 300
    for kind in ("mmsa", "mult", "dicts", "multilabel"):
        for key in {key for part in VALUES[kind](rng()).values() for key in (part if isinstance(part, dict) else part[0])}:
            for strange in (bomb, folded):
                value = VALUES[kind](rng())
                place = value["train"] if isinstance(value["train"], dict) else value["train"][0]
                place[key] = strange
                if kind == "multilabel":
                    value = {split: [Record("cogmen.Sample.Sample", one) for one in part] for split, part in value.items()}
                content = Content(Path("a.pkl"), "pickle", value)
                for layout in known_layouts():
                    if layout.kind == "pickle" and layout.recognise(content):
                        with contextlib.suppress(InputError):  # where nobody looks at the key, it is no fault
                            _ = [load() for load in layout.read(content, module.Choices()).arrays.values()]


def test_samples_of_another_class_are_not_read(tmp_path):
    path = write_samples(tmp_path / "a.pkl", "cogmen", samples_value(rng(), widths=TINY))
    assert read_published(path).source["reader"] == "cogmen-iemocap"
    value = {split: [Record("os.Sample", one) for one in part] for split, part in samples_value(rng(), widths=TINY).items()}
    content = Content(Path("a.pkl"), "pickle", value)
    assert not any(layout.recognise(content) for layout in known_layouts() if layout.kind == "pickle")
