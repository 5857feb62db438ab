"""Visual: what is seen in an utterance: the faces of its pictures, each described, and their mean and deviation over time.

Two ways to describe a picture: histograms of gradients (:mod:`~dgl_merc.extraction.gradients`), which need no weights, as the baselines of
EmotiW and AVEC used hand-made descriptors of faces; or any image model of transformers (:mod:`~dgl_merc.extraction.image_model`).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Protocol, TypeVar

import numpy as np
import numpy.typing as npt

from dgl_merc.errors import InputError
from dgl_merc.extraction.extractor import each_recording
from dgl_merc.extraction.faces import FaceFinder
from dgl_merc.extraction.gradients import Gradients
from dgl_merc.extraction.image_model import ImageModel
from dgl_merc.extraction.items import Absence, Item, Vector
from dgl_merc.extraction.media import read_frames
from dgl_merc.extraction.recipe import Option, Reading, Recipe, anything, split_recipe, whole, with_versions, yes_or_no

__all__ = ["LONGEST_EDGE", "FaceDescriber", "parse", "pool", "thinned"]

LONGEST_EDGE = 640
"""Pixels: what larger pictures are shrunk to. In them faces of a tenth of the picture's height are found, and 60 of them take 55 MB."""
_T = TypeVar("_T")
_MODEL = "model:"
_FASTEST, _MOST = 30, 300
_DEFAULTS: dict[str, Option] = {"faces": True, "per_second": 5, "at_most": 60, "deviation": True}
_READ: dict[str, Reading] = {"faces": yes_or_no, "per_second": whole(1, _FASTEST), "at_most": whole(1, _MOST), "deviation": yes_or_no}
_PACKAGES = ("scikit-image", "pillow", "av")


def parse(text: str) -> Recipe:
    """``hog``, or ``model:`` and an image model's folder or its name on the hub; and options.

    - ``faces=yes``: the largest face of each picture, whoever speaks, and only pictures with one; ``no``: the whole picture.
    - ``per_second=5``: pictures a second that are looked at.
    - ``at_most=60``: pictures an utterance: where there are more, every second, fourth, ... of them is looked at.
    - ``deviation=yes``: beside the mean over pictures their standard deviation, which doubles the width; ``no``: the mean alone.
    - ``revision``: of a model, a commit, branch or tag on the hub; without it the newest. The recipe keeps the commit.

    Raises:
        InputError: another way to describe pictures, or another option.
    """
    of_model = text.startswith(_MODEL)
    name, said = split_recipe("visual", text.removeprefix(_MODEL), {**_READ, "revision": anything} if of_model else _READ)
    if not of_model and name != "hog":
        raise InputError(f"--visual: expected hog, or model: and a model's name or folder, found {text!r}")
    return Recipe("visual", "transformers" if of_model else "scikit-image", name, {**_DEFAULTS, **said})


class Describer(Protocol):
    """Makes a vector of a picture."""

    width: int

    def describe(self, pictures: Sequence[Any]) -> npt.NDArray[np.floating[Any]]:
        """Pictures (``PIL.Image``, RGB) -> [pictures, width]."""


class FaceDescriber:
    """One vector a stretch of pictures.

    Attributes:
        recipe: with the versions of packages, and a model's commit and weights.
        width: numbers in a vector: twice a picture's with deviations.
        notes: what a person should know.

    Args:
        recipe: of kind visual; one with weights is held to them.
        device: where a model runs.

    Raises:
        InputError: PyAV or scikit-image is not installed, options don't fit, or of a model what
            :class:`~dgl_merc.extraction.image_model.ImageModel` says.
    """

    def __init__(self, recipe: Recipe, device: str = "cpu") -> None:
        self._options = _checked(recipe)
        try:
            import av  # noqa: F401
        except ImportError as error:
            raise InputError(f"visual: expected av, found {error}; pip install 'dglmerc[visual]'") from None
        self._finder = FaceFinder()
        self._describer: Describer
        if recipe.extractor == "transformers":
            self._describer = model = ImageModel(recipe, device)
            versions, said = with_versions(recipe, *_PACKAGES, "transformers", "torch")
            self.notes = [*said, *model.notes]
            recipe = model.recipe
        else:
            self._describer = Gradients()
            versions, self.notes = with_versions(recipe, *_PACKAGES)
        self.recipe = replace(recipe, versions=versions)
        self.width = self._describer.width * (2 if self._options["deviation"] else 1)

    def vectors(self, items: Sequence[Item]) -> Iterator[Vector | Absence]:
        """See :class:`~dgl_merc.extraction.extractor.Extractor`. Recordings are read item by item."""
        return each_recording(items, self._pictures, self.describe)

    def _pictures(self, file: Path, item: Item) -> list[npt.NDArray[np.uint8]]:
        frames = read_frames(file, item.start, item.end, per_second=self._options["per_second"], longest_edge=LONGEST_EDGE)
        return [frame.pixels for frame in thinned(frames, self._options["at_most"])]

    def describe(self, pictures: Iterable[npt.NDArray[np.uint8]]) -> Vector | Absence:
        """The vector of pictures [height, width, 3], RGB; of the same pictures always the same bits."""
        from PIL import Image

        seen = []
        for pixels in pictures:
            picture = Image.fromarray(pixels)
            part = self._finder.crop(picture) if self._options["faces"] else picture
            if part is not None and np.ptp(pixels, axis=(0, 1)).any():
                seen.append(part)
        if not seen:
            return Absence("no face in its pictures" if self._options["faces"] else "pictures of one colour")
        vector = pool(self._describer.describe(seen), deviation=self._options["deviation"])
        return vector if np.isfinite(vector).all() else Absence("the model gives numbers that are not finite")


def pool(x: npt.NDArray[np.floating[Any]], *, deviation: bool) -> Vector:
    """Mean over pictures, and behind it the population's standard deviation: [pictures, D] -> [D] or [2 D].

    >>> pool(np.array([[1.0, 0.0], [3.0, 0.0]]), deviation=True).tolist()
    [2.0, 0.0, 1.0, 0.0]
    """
    x = x.astype(np.float64)
    parts = [x.mean(axis=0), x.std(axis=0)] if deviation else [x.mean(axis=0)]
    return np.concatenate(parts).astype(np.float32)


def thinned(things: Iterable[_T], at_most: int) -> list[_T]:
    """All, or every second, fourth, eighth, ... of a series of unknown length, so that no more are kept at any time.

    >>> thinned(range(10), 4)
    [0, 4, 8]
    """
    kept: list[_T] = []
    stride = 1
    for k, thing in enumerate(things):
        if k % stride == 0:
            kept.append(thing)
        if len(kept) > at_most:
            kept, stride = kept[::2], 2 * stride
    return kept


def _checked(recipe: Recipe) -> dict[str, Any]:
    """A recipe's options; it may be a run's, and so anyone's."""
    options: dict[str, Any] = {name: value for name, value in recipe.options.items() if name != "revision"}
    fits = set(options) == set(_DEFAULTS) and all(type(options[name]) is type(value) for name, value in _DEFAULTS.items())
    known = recipe.extractor == "transformers" or (recipe.extractor, recipe.model) == ("scikit-image", "hog")
    if not (fits and known and 0 < options["per_second"] <= _FASTEST and 0 < options["at_most"] <= _MOST):
        raise InputError(f"visual: expected hog or a model with {', '.join(_DEFAULTS)}, found {recipe}; use another version of dglmerc")
    return options
