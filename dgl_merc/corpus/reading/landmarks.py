"""Face landmarks without the place and the size of the face in the picture.

    p'_k = (p_k - c) / d        c = (left eye + right eye) / 2,   d = |left eye - right eye|

K landmarks, p_k in R^2 (picture coordinates). What is left is the shape of the face and the tilt of the head. A row with a
NaN (no face found), or whose eyes coincide, comes out as NaN: then ``--nan`` says whether that is an error.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

__all__ = ["EYES", "check_landmarks", "normalise_face"]

EYES = ("eyeLeft", "eyeRight")
"""The landmarks that must be among the names."""

Array = npt.NDArray[Any]


def check_landmarks(shape: tuple[int, ...], names: list[str]) -> None:
    """Whether an array of this shape can be landmarks of these names.

    Raises:
        ValueError: the width is not 2 K, or an eye is missing.
    """
    if missing := [eye for eye in EYES if eye not in names]:
        raise ValueError(f"expected landmarks named {' and '.join(EYES)}, missing: {', '.join(missing)}")
    if len(shape) != 2 or shape[1] != 2 * len(names):
        raise ValueError(f"expected [rows, {2 * len(names)}] for {len(names)} landmarks (x, y), found {list(shape)}")


def normalise_face(landmarks: Array, names: list[str]) -> Array:
    """Centre between the eyes, scale by their distance.

    Args:
        landmarks: [R, 2 K] as x0, y0, x1, y1, ...
        names: [K] of the landmarks; both of :data:`EYES` among them.

    Returns:
        [R, 2 K] float64, the same landmarks, normalised.

    Raises:
        ValueError: as :func:`check_landmarks`.
    """
    check_landmarks(landmarks.shape, names)
    points = landmarks.astype(np.float64).reshape(len(landmarks), len(names), 2)
    left, right = (points[:, names.index(eye)] for eye in EYES)
    distance = np.linalg.norm(left - right, axis=1)
    distance[distance == 0] = np.nan
    normal = (points - ((left + right) / 2)[:, None]) / distance[:, None, None]
    shaped: Array = normal.reshape(landmarks.shape)
    return shaped
