"""Pictures of an explanation."""

from __future__ import annotations

import pandas as pd

from dgl_merc.explanations.explainer import Explainer

__all__ = ["pictures_of"]


def pictures_of(explainer: Explainer, weights: pd.DataFrame, effects: pd.DataFrame, kind: str) -> dict[str, bytes]:
    return {}
