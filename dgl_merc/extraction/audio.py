"""Audio: functionals of openSMILE's feature sets over an utterance."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from importlib.metadata import version

import numpy as np

from dgl_merc.errors import InputError
from dgl_merc.extraction.items import Absence, Item, Vector
from dgl_merc.extraction.media import MediaError, read_sound
from dgl_merc.extraction.recipe import Recipe

__all__ = ["AcousticDescriber", "parse"]

_SETS = {"egemaps": "eGeMAPSv02", "compare": "ComParE_2016"}


def parse(text: str) -> Recipe:
    """``egemaps`` or ``compare``.

    Raises:
        InputError: another.
    """
    if text not in _SETS:
        raise InputError(f"--audio: expected one of {', '.join(_SETS)}, found {text!r}")
    return Recipe("audio", "opensmile", text)


class AcousticDescriber:
    """One vector a stretch of sound.

    Args:
        recipe: of kind audio.

    Raises:
        InputError: opensmile or PyAV is not installed.
    """

    def __init__(self, recipe: Recipe) -> None:
        try:
            import av  # noqa: F401
            import opensmile
        except ImportError:
            raise InputError("audio: expected opensmile and av, found none; pip install 'dglmerc[audio]'") from None
        self._smile = opensmile.Smile(opensmile.FeatureSet[_SETS[recipe.model]], opensmile.FeatureLevel.Functionals)
        self.recipe = replace(recipe, versions={"opensmile": version("opensmile")})
        self.width = len(self._smile.feature_names)

    def vectors(self, items: Sequence[Item]) -> Iterator[Vector | Absence]:
        """See :class:`~dgl_merc.extraction.extractor.Extractor`."""
        for item in items:
            try:
                if item.media is None:
                    raise MediaError("no recording")
                sound = read_sound(item.media, item.start, item.end)
            except MediaError as error:
                yield Absence(str(error))
                continue
            x = self._smile.process_signal(sound.samples, sound.rate).to_numpy(dtype=np.float32)[0]
            yield x if np.isfinite(x).all() else Absence("too short")
