"""Histograms of oriented gradients: which way edges run in each part of a picture, whatever its brightness.

Source: Dalal, Triggs: Histograms of Oriented Gradients for Human Detection, CVPR 2005, by scikit-image: 9 orientations, blocks of 2 x 2
cells, L2-Hys. Here a picture is 64 x 64 and a cell 16 x 16: 3 x 3 blocks x 4 cells x 9 = 324 numbers.

Cells are this large because the window that a cascade finds trembles. When it does by a twentieth in place and size, the vectors of a
face move half as far as those of two people differ (0.50, on the 100 faces of ``skimage.data.lfw_subset``), with cells of 8 x 8 two thirds
as far (0.65).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

__all__ = ["Gradients"]

_EDGE, _CELL, _BLOCK, _ORIENTATIONS = 64, 16, 2, 9


class Gradients:
    """One vector a picture.

    Attributes:
        width: numbers in a vector.
    """

    width = (_EDGE // _CELL - _BLOCK + 1) ** 2 * _BLOCK**2 * _ORIENTATIONS

    def describe(self, pictures: Sequence[Any]) -> npt.NDArray[np.float64]:
        """Pictures (``PIL.Image``; what is not square is squeezed) -> [pictures, width]."""
        from PIL.Image import Resampling
        from skimage.feature import hog

        cells = {"orientations": _ORIENTATIONS, "pixels_per_cell": (_CELL, _CELL), "cells_per_block": (_BLOCK, _BLOCK)}
        small = [picture.convert("L").resize((_EDGE, _EDGE), Resampling.BILINEAR) for picture in pictures]
        return np.stack([hog(np.asarray(one, dtype=np.float64) / 255, block_norm="L2-Hys", **cells) for one in small])
