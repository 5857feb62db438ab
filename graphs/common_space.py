"""A common space for modalities, so that an edge between a sentence and a sound can have a weight to look at.

Cosine needs both vectors in one space. Per pair of modalities, on the training utterances that have both: standardise, PCA (at most
64 components), ridge-regularised canonical correlation in closed form, 8 components:

    C_a = X_a' X_a / n + r I,   U S V' = svd(C_a^-1/2 (X_a' X_b / n) C_b^-1/2),   P_a = C_a^-1/2 U,  P_b = C_b^-1/2 V

Canonical variates are multiplied by their training correlation, so that components without a relation count little. Plain CCA
overfits (.68 on MELD's training split was .49 on dev): the correlations on dev are kept beside those on train.

These weights are for looking. Models compute theirs from the hidden state, as the papers do.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from safetensors.numpy import load, save

from dgl_merc.corpus import Corpus, Scaling

__all__ = ["CommonSpace", "canonical_correlation"]

Array = npt.NDArray[Any]
PCA_COMPONENTS = 64
COMPONENTS = 8
RIDGE = 0.1
"""Of the mean variance of the PCA coordinates."""
ENOUGH = 20
"""With fewer training utterances that have both modalities there is no common space."""
MOST = 1 << 15
"""Utterances of a split that are looked at, evenly spread over it: 8 components are settled long before, and memory is bounded."""


def canonical_correlation(a: Array, b: Array, components: int, ridge: float) -> tuple[Array, Array]:
    """Ridge-regularised canonical correlation analysis in closed form.

    Args:
        a: [n, p] centred.
        b: [n, q] centred.
        components: at most min(p, q).
        ridge: added to the covariances' diagonals, relative to their mean.

    Returns:
        Projections [p, k] and [q, k], k = min(components, p, q), by falling correlation.
    """

    def inverse_root(x: Array) -> Array:
        covariance = x.T @ x / len(x)
        values, vectors = np.linalg.eigh(covariance + ridge * np.trace(covariance) / len(covariance) * np.eye(len(covariance)))
        root: Array = (vectors / np.sqrt(np.maximum(values, 1e-12))) @ vectors.T
        return root

    root_a, root_b = inverse_root(a), inverse_root(b)
    u, _, vt = np.linalg.svd(root_a @ (a.T @ b / len(a)) @ root_b, full_matrices=False)
    signs = np.sign(u[np.abs(u).argmax(axis=0), np.arange(u.shape[1])])  # an SVD is unique but for signs: fix them
    return (root_a @ (u * signs))[:, :components], (root_b @ (vt.T * signs))[:, :components]


def _spread(rows: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
    """At most :data:`MOST` of some rows, at even distances."""
    return rows if len(rows) <= MOST else rows[np.arange(MOST) * len(rows) // MOST]


def _correlations(a: Array, b: Array) -> list[float]:
    """Of each pair of columns; 0 for a constant one."""
    a, b = a - a.mean(axis=0), b - b.mean(axis=0)
    norm = np.sqrt((a * a).sum(axis=0) * (b * b).sum(axis=0))
    return [float(v) for v in np.divide((a * b).sum(axis=0), norm, out=np.zeros_like(norm), where=norm > 1e-12)]


@dataclass(frozen=True)
class CommonSpace:
    """Projections of standardised features, one per ordered pair of modalities.

    Attributes:
        projections: ``(m, n)`` -> [width of m, k]: what is applied to m to be compared with n.
        means: modality -> [width] what is subtracted first.
        correlations: ``"m-n"`` -> ``{"train": [k], "dev": [k], "train_utterances": n, "dev_utterances": n}``.
    """

    projections: Mapping[tuple[str, str], Array]
    means: Mapping[str, Array]
    correlations: Mapping[str, dict[str, Any]]

    @classmethod
    def fit(cls, corpus: Corpus, scaling: Scaling, modalities: Sequence[str] | None = None) -> CommonSpace:
        """From the training split; the dev split is only measured. Of either, at most :data:`MOST` utterances, n together.

        Needs at most a few seconds, and some times [n, width] in memory per modality.
        """
        from sklearn.decomposition import PCA  # a second that whoever reads a store does not need

        everyone = np.repeat(corpus.splits, corpus.lengths)
        seen = np.sort(np.concatenate([_spread(np.flatnonzero(everyone == s)) for s in ("train", "dev")]))
        split, presence = everyone[seen], corpus.presence[seen]
        bases, means, coordinates = {}, {}, {}
        for k, m in enumerate(corpus.modalities):
            if modalities is not None and m not in modalities:
                continue
            x = scaling.apply(m, corpus.features[m][corpus.feature_rows[seen[presence[:, k]], k]]).astype(np.float64)
            train = x[(split == "train")[presence[:, k]]]
            if len(train) < ENOUGH:
                continue
            pca = PCA(min(PCA_COMPONENTS, *train.shape), svd_solver="full").fit(train)
            bases[m], means[m] = pca.components_.T, pca.mean_
            coordinates[m] = np.full((len(split), bases[m].shape[1]), np.nan)
            coordinates[m][presence[:, k]] = (x - means[m]) @ bases[m]
        projections, correlations = {}, {}
        for m, n in combinations(bases, 2):
            both = ~(np.isnan(coordinates[m][:, 0]) | np.isnan(coordinates[n][:, 0]))
            rows = {s: both & (split == s) for s in ("train", "dev")}
            if rows["train"].sum() < ENOUGH:
                continue
            a, b = coordinates[m], coordinates[n]
            c, d = (x[rows["train"]] - x[rows["train"]].mean(axis=0) for x in (a, b))  # PCA centred over all that have m, or n
            p, q = canonical_correlation(c, d, COMPONENTS, RIDGE)
            found = {s: _correlations(a[r] @ p, b[r] @ q) if r.sum() > 1 else [] for s, r in rows.items()}
            strength = np.abs(found["train"])
            projections[m, n], projections[n, m] = bases[m] @ (p * strength), bases[n] @ (q * strength)
            correlations[f"{m}-{n}"] = {**found, **{f"{s}_utterances": int(r.sum()) for s, r in rows.items()}}
        return cls(projections, means, correlations)

    def project(self, m: str, n: str, x: Array) -> Array | None:
        """[N, width] standardised features of m, seen in the space it shares with n: [N, k] float32; None where there is none."""
        if (m, n) not in self.projections:
            return None
        projected: Array = ((x - self.means[m]) @ self.projections[m, n]).astype(np.float32)
        return projected

    def save(self, path: Path) -> None:
        """Write projections and means; the correlations stand in the store's manifest."""
        tensors = {f"projection/{m}/{n}": np.ascontiguousarray(p) for (m, n), p in self.projections.items()}
        tensors |= {f"mean/{m}": np.ascontiguousarray(v) for m, v in self.means.items()}
        path.write_bytes(save(tensors))

    @classmethod
    def load(cls, path: Path, modalities: Sequence[str], correlations: Mapping[str, dict[str, Any]]) -> CommonSpace:
        """The inverse of :meth:`save`.

        Args:
            path: of the file.
            modalities: whose projections may be in it.
            correlations: of the manifest.
        """
        tensors = load(path.read_bytes())
        pairs = [(m, n) for m in modalities for n in modalities if f"projection/{m}/{n}" in tensors]
        means = {m: tensors[f"mean/{m}"] for m in modalities if f"mean/{m}" in tensors}
        return cls({(m, n): tensors[f"projection/{m}/{n}"] for m, n in pairs}, means, correlations)
