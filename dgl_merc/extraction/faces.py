"""Faces in pictures: a cascade of classifiers of local binary patterns, which scikit-image carries with what it has learnt.

Source: Zhang et al.: Face Detection Based on Multi-Block LBP Representation, ICB 2007, in the cascade of Viola, Jones, CVPR 2001; learnt by
OpenCV on frontal faces. Who speaks is not known: of several faces the largest is taken, which in a film is most often who is filmed.

Measured on pictures that scikit-image carries, in 640 x 480. Of 40 versions of ``astronaut`` (a face of 50 to 200 pixels, shifted,
mirrored, ten times darker, of .3 of its contrast, with noise of deviation 40, blurred by 1 to 5 pixels, tilted by 5 to 30 degrees) the
largest find was the face in 38: not blurred by 5 pixels, not tilted by 30 degrees. Of the 100 faces of ``lfw_subset``, enlarged from 25 to
90 pixels, on grass: 91. In 19 pictures without a frontal face: none found, in 133 versions of them (mirrored, turned, shrunk, inverted)
five. Faces in profile are not found. A picture of 640 x 480 takes 75 ms of one core; an utterance of 3 s, at five a second, 1.2 s.

scikit-image's wheels search with one thread. A build with OpenMP gives finds in the order in which its threads make them, and may then
group them in other ways from call to call: set OMP_NUM_THREADS=1 there.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from dgl_merc.errors import InputError

__all__ = ["FaceFinder"]

_SMALLEST = 0.1
"""Of the picture's shorter edge: smaller ones are in the background, and half of what a search costs."""
_WINDOW = 24
"""Pixels: what the cascade has learnt on; nothing smaller is found."""
_SCALE, _STEP, _NEIGHBOURS = 1.1, 1.5, 4
"""Each size of window is so much larger than the last, moves by so many 24ths of itself, and is believed where so many overlap."""
_MARGIN = 0.1
"""Of a face's width, on every side: the cascade's windows end at brows and chin."""


class FaceFinder:
    """Finds the largest face of a picture.

    Raises:
        InputError: scikit-image is not installed.
    """

    def __init__(self) -> None:
        try:
            from skimage.data import lbp_frontal_face_cascade_filename
            from skimage.feature import Cascade
        except ImportError as error:
            raise InputError(f"visual: expected scikit-image, found {error}; pip install 'dglmerc[visual]'") from None
        self._cascade = Cascade(lbp_frontal_face_cascade_filename())  # type: ignore[no-untyped-call]

    def crop(self, picture: Any) -> Any | None:
        """The square around the largest face of a picture; None: there is none.

        The square has a margin and lies within the picture: at an edge it is moved, not filled.

        Args:
            picture: a ``PIL.Image``; of 640 pixels and more it should be shrunk.
        """
        gray = np.asarray(picture.convert("L"), dtype=np.float64) / 255  # the cascade's sums of float32 hold no larger numbers exactly
        smallest = max(_WINDOW, round(_SMALLEST * min(gray.shape)))
        found = self._cascade.detect_multi_scale(gray, _SCALE, _STEP, (smallest, smallest), gray.shape, _NEIGHBOURS)
        if not found:
            return None
        face = max(found, key=lambda one: (one["width"], -one["r"], -one["c"]))
        side = min(round(face["width"] * (1 + 2 * _MARGIN)), *gray.shape)
        top, left = (
            min(max(0, face[corner] + (face["width"] - side) // 2), edge - side) for corner, edge in zip("rc", gray.shape, strict=True)
        )
        return picture.crop((left, top, left + side, top + side))
