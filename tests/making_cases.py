"""Runs whose features of text have a recipe, and what makes such features in tests: a few numbers of the letters, by no model."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from predict_cases import fitted

from dgl_merc.corpus import Corpus, Target
from dgl_merc.extraction import Absence, Item, Recipe

WIDTH = 5
LABELS = ("joy", "fear", "anger")
RECIPE = Recipe(
    "text", "sentence-transformers", "letters", {"revision": "c0ffee"}, {"letters": "1.0"}, "ab" * 32, "Letters may be counted by anyone."
)
"""Of a model of the hub."""
WORDS = ["You came!", "Of course.", "I feared, a bit.", "And now?", "Home.", "Wonderful.", "Why so late?", "Hm."]


class Letters:
    """Stands in for a model of sentences; remembers by which recipe it was opened."""

    opened: ClassVar[list[Recipe]] = []
    width = WIDTH

    def __init__(self, recipe: Recipe, *_: Any) -> None:
        self.opened.append(recipe)
        before = recipe.versions.get("letters", "1.0")
        self.notes = [f"text: letters was {before}, here is 1.0"] if before != "1.0" else []
        self.recipe = replace(recipe, versions={"letters": "1.0"}, weights=RECIPE.weights, licence=RECIPE.licence)

    def vectors(self, items: Sequence[Item]) -> Iterator[Any]:
        for item in items:
            yield vector(item.text) if item.text and item.text.strip() else Absence("no text")


def vector(text: str) -> np.ndarray[Any, np.dtype[np.float32]]:
    """[WIDTH]"""
    return np.bincount(np.frombuffer(text.encode(), dtype=np.uint8) % WIDTH, minlength=WIDTH).astype(np.float32)


def letters_corpus(recipe: Recipe | None = RECIPE, audio: Recipe | None = None) -> Corpus:
    """Seven conversations, every text of which has its vector; audio beside it, imported or said to be made."""
    import pandas as pd

    rows = [
        {"dialogue_id": f"d{d}", "position": k, "speaker": ("Ana", "Ben")[k % 2], "split": split, "text": f"{WORDS[(3 * d + k) % 8]} {d}"}
        | {"start": 2.0 * k, "end": 2.0 * k + 1.5, "emotion": LABELS[(d + k * k) % 3]}
        for d, split in enumerate(["train"] * 4 + ["dev", "test", "test"])
        for k in range(4)
    ]
    table = pd.DataFrame(rows)
    features = {
        "text": np.stack([vector(text) for text in table["text"]]),
        "audio": np.random.default_rng(0).standard_normal((len(table), 3)).astype(np.float32),
    }
    made = Corpus.build("letters", table, features, {"emotion": Target("classes", LABELS)})
    about = {
        m: replace(made.modalities[m], recipe=by.to_json() if by else {}, provenance=str(by or ""))
        for m, by in (("text", recipe), ("audio", audio))
    }
    return replace(made, modalities=about)


def letters_run(folder: Path, recipe: Recipe | None = RECIPE, *words: str, seed: int = 0) -> Path:
    """A run of its text, unless words say otherwise."""
    return fitted(letters_corpus(recipe), folder, "bilstm", "data.modalities=text", *words, seed=seed)
