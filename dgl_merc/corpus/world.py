"""The world of the embedded corpus: how emotions move through a conversation, and how three modalities see them.

    p(e_t = e | o, c) = a 1[e = o] + b C[c, e] + (1 - a - b) p[e]
    x_m = offset_m + scale_m (L_m diag(gain_m) (valence, arousal)_e + noise),  noise ~ N(0, I)

K emotions, W_m features of modality m; o is the speaker's last emotion, c that of the others' last turn, a inertia, b
contagion, p the base distribution. A term whose o or c has not been felt yet is replaced by p.

C is reversible under p (p[c] C[c, e] = p[e] C[e, c]), so p is stationary: whatever the order of speakers, the emotion
of every turn is distributed as p as long as nothing else is known. L_m [W_m, 2] has orthonormal columns: a gain is a
distance in standard deviations of the noise.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt

__all__ = ["WORLD", "View", "World", "generator"]

Array = npt.NDArray[np.float64]

_BALANCING_STEPS = 200


def generator(purpose: str, *key: int) -> np.random.Generator:
    """A stream of random numbers of its own for every purpose and key: what one draws never moves another.

    Raises:
        ValueError: a negative number in the key.
    """
    # The purpose comes first and is hashed: to numpy, keys that differ only by zeros at their end are the same.
    word = int.from_bytes(hashlib.sha256(purpose.encode()).digest()[:8], "little")
    return np.random.Generator(np.random.PCG64(np.random.SeedSequence([word, *key])))


@dataclass(frozen=True)
class View:
    """How one modality sees an emotion.

    Attributes:
        name: of the modality.
        width: features per utterance.
        valence: gain on valence, in standard deviations of the noise.
        arousal: gain on arousal.
        missing: the share of utterances without this modality, independent of everything else.
    """

    name: str
    width: int
    valence: float
    arousal: float
    missing: float


@dataclass(frozen=True)
class World:
    """The parameters of the generative model; two worlds with the same fields are the same world.

    Attributes:
        emotions: [K] names of the classes.
        affect: [K] valence and arousal of each, from -1 to 1.
        base: [K] how often each is felt.
        inertia: weight of the speaker's own last emotion.
        contagion: weight of what the others' last turn suggests.
        kinship: how far contagion spreads between emotions, as a distance in ``affect``.
        views: one per modality, in the order of the corpus.
        three: the share of dialogues with three speakers; the others have two.
        keep: the probability that the speaker of a turn also takes the next one.
        turns: the least and the greatest number of turns; uniform between them.
        unlabelled: the share of utterances that are context only, independent of everything else.
        seed: of the columns' angles, scales and offsets; a draw has a seed of its own.

    Raises:
        ValueError: the fields make no distribution.
    """

    emotions: tuple[str, ...]
    affect: tuple[tuple[float, float], ...]
    base: tuple[float, ...]
    inertia: float
    contagion: float
    kinship: float
    views: tuple[View, ...]
    three: float
    keep: float
    turns: tuple[int, int]
    unlabelled: float
    seed: int

    def __post_init__(self) -> None:
        if not len(self.emotions) == len(self.affect) == len(self.base):
            counts = f"{len(self.emotions)}, {len(self.affect)} and {len(self.base)}"
            raise ValueError(f"emotions, affect and base must all be [K], got {counts}")
        if min(self.base) <= 0 or abs(sum(self.base) - 1) > 1e-9:
            raise ValueError(f"base must be positive and sum to 1, got {self.base}")
        if min(self.inertia, self.contagion) < 0 or self.inertia + self.contagion >= 1:
            raise ValueError(f"inertia and contagion must leave base a share, got {self.inertia}, {self.contagion}")

    @cached_property
    def fingerprint(self) -> str:
        """SHA-256 of all parameters, in hexadecimal."""
        return hashlib.sha256(json.dumps(asdict(self), sort_keys=True).encode()).hexdigest()

    @cached_property
    def suggestion(self) -> Array:
        """C [K, K]: what an emotion heard from another suggests, emotions of near affect above all; rows sum to 1."""
        place, base = np.array(self.affect), np.array(self.base)
        near = np.exp(-((place[:, None] - place[None]) ** 2).sum(axis=-1) / (2 * self.kinship**2))
        weight = np.ones(len(base))
        # To the one joint distribution weight_i near_ij weight_j that has base as both its margins.
        for _ in range(_BALANCING_STEPS):
            weight = np.sqrt(weight * base / (near @ weight))
        joint = weight[:, None] * near * weight
        return np.asarray(joint / joint.sum(axis=1, keepdims=True))

    @cached_property
    def transition(self) -> Array:
        """[K + 1, K + 1, K] probabilities of an emotion, given own and other; index K: there was no such turn."""
        base = np.array(self.base)
        own = np.concatenate([np.eye(len(base)), base[None]])
        other = np.concatenate([self.suggestion, base[None]])
        rest = 1 - self.inertia - self.contagion
        return np.asarray(self.inertia * own[:, None] + self.contagion * other[None] + rest * base)

    @cached_property
    def columns(self) -> dict[str, tuple[Array, Array, Array]]:
        """Modality -> of its features: standardised class means [K, W], scale [W] and offset [W]."""
        valence, arousal = np.array(self.affect).T[:, :, None]
        columns = {}
        for view in self.views:
            rng, width = generator(f"columns of {view.name}", self.seed), view.width
            # Every column looks at (valence, arousal) from its own angle; even angles make L's columns orthonormal.
            angle = np.pi * np.argsort(rng.random(width)) / width
            lift = np.sqrt(2 / width) * np.stack([np.cos(angle), np.sin(angle)])
            means = view.valence * valence * lift[0] + view.arousal * arousal * lift[1]
            columns[view.name] = (means, 10 ** (2 * rng.random(width) - 1), 5 * rng.standard_normal(width))
        return columns

    def log_likelihood(self, view: View, x: npt.NDArray[np.floating]) -> Array:
        """Log p(x | e) of features x [R, W] of one modality, up to a constant a row -> [R, K].

        Raises:
            ValueError: x is not [R, W].
        """
        if x.ndim != 2 or x.shape[1] != view.width:
            raise ValueError(f"x must be [R, W={view.width}], got {list(x.shape)}")
        means, scale, offset = self.columns[view.name]
        z = (x.astype(np.float64) - offset) / scale
        return np.asarray(z @ means.T - (means**2).sum(axis=1) / 2)


WORLD = World(
    emotions=("happy", "sad", "neutral", "angry", "excited", "frustrated"),
    affect=((0.8, 0.1), (-0.7, -0.7), (0.0, -0.3), (-0.8, 0.8), (0.7, 0.9), (-0.5, 0.2)),
    base=(0.14, 0.14, 0.28, 0.13, 0.12, 0.19),
    inertia=0.55,
    contagion=0.35,
    kinship=0.5,
    views=(
        View("text", width=32, valence=2.3, arousal=0.8, missing=0.02),
        View("audio", width=24, valence=0.6, arousal=2.1, missing=0.10),
        View("visual", width=16, valence=1.2, arousal=1.0, missing=0.25),
    ),
    three=0.5,
    keep=0.2,
    turns=(8, 40),
    unlabelled=0.03,
    seed=20,
)
"""The world of every embedded corpus. Frozen, so that figures stay comparable; another world needs another name."""
