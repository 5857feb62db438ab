"""What the weights between modalities are worth: the correlations of their common space on dialogues it was not made of.

    chance = 1.64 / sqrt(n)      what the correlation of two unrelated variables over n utterances reaches once in twenty times

The projections are chosen on the training split, whose correlations are therefore too high; on dev they are only measured.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pandas as pd

from dgl_merc.graphs.store import Store

__all__ = ["common_space_correlations", "correlations_in_words"]

_COLUMNS = ("pair", "component", "train", "dev", "train_utterances", "dev_utterances", "chance")


def common_space_correlations(store: Store) -> pd.DataFrame:
    """The canonical correlations behind ``cross`` weights.

    Args:
        store: opened.

    Returns:
        A row per pair of modalities and component: ``pair``; ``component``, from 1; ``train, dev``, from -1 to 1, NaN where the split has
        fewer than two utterances with both; ``train_utterances, dev_utterances`` with both; ``chance`` on dev. Empty where there is no
        common space.
    """
    return _table(store.manifest["correlations"])


def _table(correlations: Mapping[str, Mapping[str, Any]]) -> pd.DataFrame:
    rows = []
    for pair, found in correlations.items():
        n = int(found["dev_utterances"])
        for k in range(len(found["train"])):
            train, dev = (float(found[s][k]) if found[s] else float("nan") for s in ("train", "dev"))
            chance = 1.64 / n**0.5 if n else float("nan")
            rows.append((pair, k + 1, train, dev, int(found["train_utterances"]), n, chance))
    return pd.DataFrame(rows, columns=list(_COLUMNS))


def correlations_in_words(correlations: Mapping[str, Mapping[str, Any]]) -> list[str]:
    """A line for each pair of modalities, with a warning where the correlation on dev is near chance.

    Args:
        correlations: of a store's manifest.

    >>> found = {"train": [0.21], "dev": [0.06], "train_utterances": 3149, "dev_utterances": 400}
    >>> print(*correlations_in_words({"text-visual": found}))
    Common space of text-visual: first canonical correlation 0.21 on train, 0.06 on dev: near chance (0.08), its cross weights say little
    """
    table = _table(correlations)
    first = table[table["component"] == 1]
    lines = []
    for pair, *values in zip(*(first[name].tolist() for name in ("pair", "train", "dev", "chance")), strict=True):
        train, dev = ("unknown" if pd.isna(value) else f"{value:.2f}" for value in values[:2])
        doubt = f": near chance ({values[2]:.2f}), its cross weights say little" if values[1] <= values[2] else ""
        lines.append(f"Common space of {pair}: first canonical correlation {train} on train, {dev} on dev{doubt}")
    return lines
