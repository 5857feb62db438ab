"""Audio: functionals of openSMILE's feature sets over an utterance: one vector however long it is.

Source: Eyben, Wöllmer, Schuller: openSMILE, ACM Multimedia 2010. The sets, with the widths that their papers give:

    egemaps   eGeMAPSv02     88   Eyben et al., IEEE Transactions on Affective Computing 7(2), 2016
    gemaps    GeMAPSv01b     62   the same
    compare   ComParE_2016 6373   Schuller et al., Interspeech 2016
    emobase   emobase       988   openSMILE's own
    is09      IS09          384   Schuller et al., Interspeech 2009
    is10      IS10         1582   Schuller et al., Interspeech 2010: the width in many papers on IEMOCAP
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Sequence
from dataclasses import replace

import numpy as np

from dgl_merc.errors import InputError
from dgl_merc.extraction.extractor import each_recording
from dgl_merc.extraction.items import Absence, Item, Vector
from dgl_merc.extraction.media import Sound, read_sound
from dgl_merc.extraction.recipe import Recipe, split_recipe, whole, with_versions

__all__ = ["LICENCE", "SETS", "AcousticDescriber", "parse"]

SETS = {
    "egemaps": "eGeMAPSv02",
    "gemaps": "GeMAPSv01b",
    "compare": "ComParE_2016",
    "emobase": "emobase",
    "is09": "IS09",
    "is10": "IS10",
}
"""What a person writes -> what stands in recipes: openSMILE's name of the set, with its version."""
LICENCE = (
    "openSMILE, (c) audEERING GmbH, is free for private use, teaching and research alone: by its licence neither it nor the features and "
    "models made with it may be used in a product, free or paid, without a licence from audEERING"
)
"""What users must know of it."""
RATE = 16_000
"""Samples a second: what ComParE's highest band (8 kHz) needs, and what most speech corpora have."""
_LOUDEST = np.float32(32_767 / 32_768)
_LOWEST, _HIGHEST = 8_000, 96_000


def parse(text: str) -> Recipe:
    """A feature set and the rate that sound is brought to first: ``egemaps``, ``compare,rate=44100``.

    Raises:
        InputError: another set or option.
    """
    name, options = split_recipe("audio", text, {"rate": whole(_LOWEST, _HIGHEST)})
    sets = {known.lower(): full for short, full in SETS.items() for known in (short, full)}
    if name.lower() not in sets:
        raise InputError(f"--audio: expected one of {', '.join(SETS)}, found {name!r}")
    return Recipe("audio", "opensmile", sets[name.lower()], {"rate": RATE, **options}, licence=LICENCE)


class AcousticDescriber:
    """One vector a stretch of sound.

    Attributes:
        recipe: with the version of openSMILE, which decides the vectors together with set and rate.
        width: numbers in a vector.
        notes: what a person should know.

    Args:
        recipe: of kind audio.

    Raises:
        InputError: opensmile or PyAV is not installed, or has no such set.
    """

    def __init__(self, recipe: Recipe) -> None:
        try:
            import av  # noqa: F401
            import opensmile
        except ImportError:
            raise InputError("audio: expected opensmile and av, found none; pip install 'dglmerc[audio]'") from None
        rate = recipe.options.get("rate")
        if recipe.model not in SETS.values() or set(recipe.options) != {"rate"} or type(rate) is not int or not _LOWEST <= rate <= _HIGHEST:
            raise InputError(
                f"audio: expected one of {', '.join(SETS.values())} and a rate, found {recipe}; use another version of dglmerc"
            )
        self._rate = rate
        self._smile = opensmile.Smile(opensmile.FeatureSet[recipe.model], opensmile.FeatureLevel.Functionals, num_workers=1)
        versions, self.notes = with_versions(recipe, "opensmile")
        self.recipe = replace(recipe, versions=versions, licence=LICENCE)
        self.width = len(self._smile.feature_names)

    def vectors(self, items: Sequence[Item]) -> Iterator[Vector | Absence]:
        """See :class:`~dgl_merc.extraction.extractor.Extractor`. Sound is read item by item."""
        return each_recording(items, lambda file, item: read_sound(file, item.start, item.end, rate=self._rate), self.describe)

    def describe(self, sound: Sound) -> Vector | Absence:
        """The functionals of a stretch of sound.

        Of the same samples always the same bits. Sound that never changes is absent: it was never recorded, and openSMILE would give
        every such utterance the same finite numbers.
        """
        if sound.samples.min() == sound.samples.max():  # no difference, which floats of a stranger may overflow
            return Absence("nothing but digital silence")
        # openSMILE works on 16 bits, and its Python side lets 1.0 become -32768: a click at every peak that reaches full scale
        samples = np.clip(sound.samples, -1, _LOUDEST)
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", "Segment too short", UserWarning)  # it fills with NaN
            found = self._smile(samples, sound.rate)
        vector = np.asarray(found, dtype=np.float32).reshape(-1)
        if np.isnan(vector).all():
            return Absence("too short for openSMILE")
        return vector if np.isfinite(vector).all() else Absence("openSMILE gives numbers that are not finite")
