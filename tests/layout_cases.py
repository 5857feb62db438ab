"""A file of every layout that tuples are published in: the structure of the original, with values that say whose they are.

Vectors are as wide as published where that is cheap. Vector number k of dialogue d begins with d, k and the number of its item, so that a
test can see whose it is.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pickled import pickled

from dgl_merc.corpus import Corpus
from dgl_merc.corpus.readers.layout import Content
from dgl_merc.corpus.readers.published import read_published

__all__ = ["CASES", "content_of", "read_items", "written"]

Rng = np.random.Generator
IEMOCAP = ("Ses01F_impro01", "Ses02M_script01_1", "Ses03F_script02_2", "Ses04M_impro07", "Ses05F_impro03", "Ses05M_script03_1b")
MELD = (0, 59, 61, 1038, 1039, 1152, 1153, 1432)
EMORYNLP = ("s01_e01_c01", "s01_e02_c02", "s02_e01_c01", "s04_e24_c06")
DAILYDIALOG = ("tr_c0", "tr_c1", "va_c0", "te_c0")
ROBERTA = ("roberta1", "roberta2", "roberta3", "roberta4")
SURE = {0: 0, 4: 1, 2: 2, 3: 2, 5: 2, 6: 2}
"""MELD's emotions -> the number of the sentiment they always have, in ``MELD_features_raw.pkl``: neutral, positive, negative."""

ITEMS: Mapping[str, tuple[type, str]] = {
    "iemocap": (tuple, "ids speakers emotion text audio visual sentences train test"),
    "iemocap-4": (tuple, "ids speakers emotion text audio visual sentences train test"),
    "iemocap-roberta": (tuple, "ids speakers emotion roberta1 roberta2 roberta3 roberta4 audio visual sentences train test"),
    "meld-text-audio": (tuple, "ids speakers emotion text audio sentences train test sentiment"),
    "meld-tuple": (tuple, "ids speakers emotion text audio visual sentences train test rest"),
    "meld-roberta": (tuple, "ids speakers emotion roberta1 roberta2 roberta3 roberta4 audio visual sentences train test rest"),
    "meld-roberta-sentiment": (
        tuple,
        "ids speakers emotion sentiment roberta1 roberta2 roberta3 roberta4 audio visual sentences train test rest",
    ),
    "cosmic-iemocap": (list, "speakers emotion roberta1 roberta2 roberta3 roberta4 sentences train test dev"),
    "cosmic-meld": (list, "speakers emotion sentiment roberta1 roberta2 roberta3 roberta4 sentences train test dev"),
    "cosmic-emorynlp": (list, "speakers emotion roberta1 roberta2 roberta3 roberta4 sentences train test dev"),
    "cosmic-dailydialog": (list, "speakers emotion roberta1 roberta2 roberta3 roberta4 sentences train test dev"),
    "cosmic-iemocap-text": (list, "speakers emotion sentences train test dev"),
    "cosmic-meld-text": (list, "speakers emotion sentiment sentences train test dev"),
    "cosmic-emorynlp-text": (list, "speakers emotion sentences train test dev"),
    "cosmic-dailydialog-text": (list, "speakers emotion sentences train test dev"),
    "comet": (list, "xIntent xAttr xNeed xWant xEffect xReact oWant oEffect oReact"),
}
"""Layout -> the container and its items, in order, as the sources in the readers' docstrings load them."""
WIDTHS = {
    "iemocap": {"text": 100, "audio": 1582, "visual": 342},
    "iemocap-4": {"text": 1024, "audio": 100, "visual": 512},
    "iemocap-roberta": {**dict.fromkeys(ROBERTA, 1024), "audio": 1582, "visual": 342},
    "meld-text-audio": {"text": 600, "audio": 300},
    "meld-tuple": {"text": 600, "audio": 300, "visual": 342},
    "comet": dict.fromkeys(["xIntent", "xAttr", "xNeed", "xWant", "xEffect", "xReact", "oWant", "oEffect", "oReact"], 768),
}
"""Layout -> item -> width, as published; other layouts: RoBERTa 1024, MELD's audio 300, visual 342."""


def _dialogues(layout: str) -> tuple[Any, ...]:
    return next(
        names
        for word, names in (("iemocap", IEMOCAP), ("meld", MELD), ("emorynlp", EMORYNLP), ("daily", DAILYDIALOG), ("comet", IEMOCAP))
        if word in layout
    )


def content_of(
    layout: str, rng: Rng | None, dialogues: tuple[Any, ...] | None = None, lengths: tuple[int, ...] | None = None
) -> dict[str, Any]:
    """The items of a file by name. Without random numbers, for large ones, vectors are zeros but for whose they are."""
    names = dialogues or _dialogues(layout)
    counts = lengths or tuple(2 + int(k) for k in (rng or np.random.default_rng(0)).integers(0, 5, len(names)))
    made: dict[str, Any] = {}
    for number, item in enumerate(ITEMS[layout][1].split()):
        if item in ("train", "dev", "test"):
            made[item] = _split(layout, item, names)
        else:
            entries = [_entries(layout, item, number, d, name, n, rng) for d, (name, n) in enumerate(zip(names, counts, strict=True))]
            made[item] = dict(zip(names, entries, strict=True))
    if "sentiment" in made:
        made["sentiment"] = {name: [SURE.get(label, 1 + k % 2) for k, label in enumerate(made["emotion"][name])] for name in names}
    return made


def _entries(layout: str, item: str, number: int, d: int, name: Any, n: int, rng: Rng | None) -> Any:
    """What an item holds for one dialogue, in the types that the originals' loaders ask for."""
    iemocap = "iemocap" in layout
    if item == "ids":
        return [f"{name}_{'FM'[k % 2]}{k:03d}" for k in range(n)] if iemocap else list(range(n))
    if item == "speakers":
        if iemocap:
            return ["FM"[(d + k) % 2] for k in range(n)]
        if "daily" in layout:
            return [str(k % 2) for k in range(n)]
        return [np.eye(9)[(d + k) % 3].astype(int).tolist() for k in range(n)] if d % 2 else np.eye(9)[(d + np.arange(n)) % 3]
    if item == "emotion":
        return [int(label) for label in (d + np.arange(n) * (1 + d)) % _classes(layout)]
    if item == "sentences":
        return [f"dialogue {name}, utterance {k}: caf\u00e9" for k in range(n)]
    if item in ("sentiment", "rest"):
        return [0] * n
    width = WIDTHS.get(layout, {}).get(item) or {"audio": 300, "visual": 342}.get(item, 1024)
    vectors = (rng.normal(size=(n, width)) if rng else np.zeros((n, width))).astype(np.float32)
    vectors[:, 0], vectors[:, 1], vectors[:, 2] = d, np.arange(n), number
    return (
        vectors
        if item == "text" and "meld" in layout
        else [row.tolist() for row in vectors]
        if item == "audio" and d == 1
        else list(vectors)
    )


def _classes(layout: str) -> int:
    return 4 if layout == "iemocap-4" else 6 if "iemocap" in layout else 7


def _split(layout: str, split: str, names: tuple[Any, ...]) -> Any:
    if "iemocap" in layout:
        held = {"test": [n for n in names if n.startswith("Ses05")], "dev": [n for n in names if n.startswith("Ses04")]}
    elif "meld" in layout:
        held = {"test": [n for n in names if n >= 1153], "dev": [n for n in names if 1039 <= n < 1153]}
    else:
        held = {"test": list(names[-1:]), "dev": list(names[-2:-1])}
    if "cosmic" not in layout:
        del held["dev"]
    held["train"] = [name for name in names if not any(name in other for other in held.values())]
    if "emorynlp" in layout:
        return np.array(held[split])
    return set(held[split]) if layout == "iemocap" else held[split]


def written(folder: Path, layout: str, items: Mapping[str, Any]) -> Path:
    """A file of these items."""
    return pickled(folder / "file.pkl", ITEMS[layout][0](items.values()), protocol=2)


def read_items(folder: Path, layout: str, items: Mapping[str, Any]) -> Corpus:
    """The same read without a pickle on the way, which not everything gets through."""
    path = folder / "file.pkl"
    path.touch()
    content = Content(path, "pickle", ITEMS[layout][0](items.values()))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("dgl_merc.corpus.readers.published.read_content", lambda *_, **__: content)
        return read_published(path)


def _case(layout: str) -> Callable[[Path, Rng], Path]:
    def write(folder: Path, rng: Rng) -> Path:
        return pickled(folder / f"{layout}.pkl", ITEMS[layout][0](content_of(layout, rng).values()), protocol=2)

    return write


CASES: dict[str, Callable[[Path, Rng], Path]] = {layout: _case(layout) for layout in ITEMS}
"""Layout -> what writes a file of it into a folder."""
