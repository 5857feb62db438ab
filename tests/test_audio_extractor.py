"""Vectors of sound by openSMILE, held to what is known of tones: pitch, level, gain; and sound that has no vector."""

from __future__ import annotations

import hashlib
import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from media_cases import need_media, to_wav, wave, write_wav

from dgl_merc.errors import InputError
from dgl_merc.extraction import Absence, Item, Recipe
from dgl_merc.extraction.audio import LICENCE, AcousticDescriber, parse
from dgl_merc.extraction.extractor import open_extractor, parse_recipe
from dgl_merc.extraction.media import Sound, read_sound

pytestmark = pytest.mark.xdist_group("sound")
RATE = 16_000
WIDTHS = {"egemaps": 88, "gemaps": 62, "compare": 6373, "emobase": 988, "is09": 384, "is10": 1582}
"""As the papers of the sets print them."""


@pytest.fixture(scope="session")
def egemaps() -> AcousticDescriber:
    need_media()
    return AcousticDescriber(parse("egemaps"))


def tone(pitch: float, seconds: float = 1.0, gain: float = 0.3, rate: int = RATE) -> npt.NDArray[np.float32]:
    """A pitch and its overtones, like a voice's that never changes."""
    t = np.arange(round(seconds * rate)) / rate
    return np.asarray(gain / 1.5 * sum(np.sin(2 * np.pi * pitch * k * t) / k for k in range(1, 11)), dtype=np.float32)


def named(extractor: AcousticDescriber, samples: npt.NDArray[np.float32]) -> dict[str, float]:
    """The vector, by openSMILE's names of its numbers."""
    x = extractor.describe(Sound(samples, RATE))
    assert not isinstance(x, Absence)
    return dict(zip(extractor._smile.feature_names, map(float, x), strict=True))


def reason(extractor: AcousticDescriber, samples: npt.NDArray[np.float32]) -> str | None:
    x = extractor.describe(Sound(samples, RATE))
    return x.reason if isinstance(x, Absence) else None


# what is known of tones


@pytest.mark.parametrize("pitch", [100, 200, 400])
def test_the_pitch_of_a_tone(egemaps, pitch):
    """In semitones above 27.5 Hz."""
    found = named(egemaps, tone(pitch))["F0semitoneFrom27.5Hz_sma3nz_amean"]
    assert 27.5 * 2 ** (found / 12) == pytest.approx(pitch, rel=0.01)


def test_level_and_loudness_grow_with_gain(egemaps):
    """A sine of amplitude a has a mean square of a^2 / 2: the level in dB is known."""
    t = np.arange(RATE) / RATE
    heard = [named(egemaps, np.asarray(a * np.sin(2 * np.pi * 200 * t), dtype=np.float32)) for a in (0.05, 0.1, 0.5)]
    levels = [x["equivalentSoundLevel_dBp"] for x in heard]
    np.testing.assert_allclose(levels, [10 * np.log10(a**2 / 2) for a in (0.05, 0.1, 0.5)], atol=0.05)
    loud = [x["loudness_sma3_amean"] for x in heard]
    assert loud[0] < loud[1] < loud[2]


def test_a_peak_at_full_scale_is_no_click(egemaps):
    """1.0 is one step above what 16 bits hold; passed on as it is, openSMILE's Python side would make it -1."""
    clipped = np.clip(tone(200, gain=3.0), -1, 1)
    assert (clipped == 1).sum() > 1000
    below = np.clip(clipped, -1, np.float32(32767 / 32768))
    assert named(egemaps, clipped) == named(egemaps, below)
    assert named(egemaps, np.where(clipped == 1, np.float32(1.3), clipped)) == named(egemaps, below)  # resampling goes beyond
    assert 27.5 * 2 ** (named(egemaps, clipped)["F0semitoneFrom27.5Hz_sma3nz_amean"] / 12) == pytest.approx(200, rel=0.01)
    t = np.arange(RATE) / RATE
    square = np.asarray(np.where(np.sin(2 * np.pi * 200 * t + 0.1) > 0, 1, -1), dtype=np.float32)  # all of it would become -1
    assert named(egemaps, square)["equivalentSoundLevel_dBp"] == pytest.approx(0, abs=0.05)
    assert 27.5 * 2 ** (named(egemaps, square)["F0semitoneFrom27.5Hz_sma3nz_amean"] / 12) == pytest.approx(200, rel=0.01)


def test_an_offset_does_not_move_the_pitch(egemaps):
    found = named(egemaps, tone(200) + np.float32(0.2))["F0semitoneFrom27.5Hz_sma3nz_amean"]
    assert 27.5 * 2 ** (found / 12) == pytest.approx(200, rel=0.01)


# what a vector depends on


def test_the_same_samples_give_the_same_bits(egemaps, tmp_path):
    """Before and after other sounds, in another extractor, in another process, and wherever in a file they stand."""
    voice = np.round(wave(1.0) * 32767).astype(np.float32) / 32768
    first = egemaps.describe(Sound(voice, RATE))
    egemaps.describe(Sound(tone(300), RATE))
    assert (egemaps.describe(Sound(voice, RATE)) == first).all()
    assert (AcousticDescriber(parse("egemaps")).describe(Sound(voice, RATE)) == first).all()
    np.save(tmp_path / "voice.npy", voice, allow_pickle=False)
    code = (
        "import sys, hashlib, numpy as np\n"
        "from dgl_merc.extraction.audio import *\nfrom dgl_merc.extraction.media import Sound\n"
        "x = AcousticDescriber(parse('egemaps')).describe(Sound(np.load(sys.argv[1], allow_pickle=False), 16000))\n"
        "print(hashlib.sha256(x.tobytes()).hexdigest())"
    )
    done = subprocess.run([sys.executable, "-c", code, str(tmp_path / "voice.npy")], capture_output=True, text=True, check=True)
    assert done.stdout.split() == [hashlib.sha256(first.tobytes()).hexdigest()]
    assert done.stderr == ""


def test_a_stretch_of_a_recording(egemaps, tmp_path):
    voice = wave(1.0)
    alone = write_wav(tmp_path / "alone.wav", voice)
    long = write_wav(tmp_path / "long.wav", np.concatenate([tone(400, 0.5), voice, tone(150, 0.25)]))
    items = [Item(0, None, alone), Item(1, None, long, 0.5, 1.5), Item(2, None, long), Item(3, None, None), Item(4, "hi", alone, 0.0, 1.0)]
    cut, stretch, whole, none, again = egemaps.vectors(items)
    assert (stretch == cut).all()
    assert (again == cut).all()
    assert np.abs(whole - cut).max() > 1
    assert none == Absence("no recording")
    assert list(egemaps.vectors([])) == []


def test_a_file_that_is_none_is_an_absence_and_the_next_one_is_read(egemaps, tmp_path):
    (tmp_path / "text.wav").write_text("hello")
    cut = tmp_path / "cut.wav"
    cut.write_bytes(to_wav(wave(1.0))[:30])
    good = write_wav(tmp_path / "good.wav", wave(0.5))
    made = list(
        egemaps.vectors([Item(k, None, path) for k, path in enumerate([tmp_path / "text.wav", cut, tmp_path / "absent.wav", good])])
    )
    assert [isinstance(x, Absence) and bool(x.reason) for x in made] == [True, True, True, False]


def test_samples_are_left_as_they_were(egemaps):
    samples = np.clip(tone(200, gain=3.0), -1, 1)
    before = samples.copy()
    egemaps.describe(Sound(samples, RATE))
    assert (samples == before).all()


def test_sound_that_has_no_vector(egemaps, recwarn):
    assert reason(egemaps, np.zeros(RATE, np.float32)) == "nothing but digital silence"
    assert reason(egemaps, np.full(RATE, 0.25, np.float32)) == "nothing but digital silence"
    assert reason(egemaps, tone(200, 0.055)) == "too short for openSMILE"  # its longest window is 60 ms
    assert reason(egemaps, tone(200, 0.001)) == "too short for openSMILE"
    assert reason(egemaps, tone(200, 0.06)) is None
    assert reason(egemaps, np.linspace(-3e38, 3e38, RATE, dtype=np.float32)) is None  # floats of a stranger, clipped
    assert not recwarn.list
    hush = tone(200, gain=0.0)
    hush[100] = 1 / 32768
    assert reason(egemaps, hush) is None  # as quiet as can be is no silence


def test_numbers_that_are_not_finite(egemaps, monkeypatch):
    found = np.zeros((1, 88, 1), np.float32)
    found[0, 3, 0] = np.inf
    monkeypatch.setattr(egemaps, "_smile", lambda *_: found)
    assert reason(egemaps, tone(200)) == "openSMILE gives numbers that are not finite"
    found[0, 3, 0] = np.nan
    assert reason(egemaps, tone(200)) == "openSMILE gives numbers that are not finite"


# sets and recipes


@pytest.mark.parametrize("name", WIDTHS)
def test_every_set_has_the_width_of_its_paper(name, tmp_path, monkeypatch, capfd):
    need_media()
    monkeypatch.chdir(tmp_path)
    extractor = open_extractor(parse_recipe("audio", name))
    x = extractor.describe(Sound(wave(0.5), RATE))  # type: ignore[attr-defined]
    assert x.shape == (extractor.width,) == (WIDTHS[name],)
    assert x.dtype == np.float32
    assert np.isfinite(x).all()
    assert extractor.notes == []
    assert capfd.readouterr() == ("", "")
    assert not list(tmp_path.iterdir())  # no log


def test_recipes_of_sound():
    recipe = parse("egemaps")
    assert (recipe.kind, recipe.extractor, recipe.model, recipe.options) == ("audio", "opensmile", "eGeMAPSv02", {"rate": 16_000})
    assert parse("eGeMAPSv02") == parse("EGEMAPS") == recipe
    assert parse("compare,rate=44100").options == {"rate": 44_100}
    assert "audEERING" in recipe.licence
    assert "may be used in a product" in recipe.licence
    for text, said in {
        "prosody": "--audio: expected one of egemaps, gemaps, compare, emobase, is09, is10, found 'prosody'",
        "egemaps,rate=100": "--audio egemaps: rate: expected a whole number from 8000 to 96000, found '100'",
        "egemaps,level=lld": "--audio egemaps: expected options among rate, found 'level'",
    }.items():
        with pytest.raises(InputError) as caught:
            parse(text)
        assert str(caught.value) == said


def test_a_recipe_describes_in_the_same_way_again(egemaps, tmp_path):
    again = AcousticDescriber(Recipe.from_json(json.loads(json.dumps(egemaps.recipe.to_json())), "here"))
    assert again.recipe == egemaps.recipe
    assert again.recipe.licence == LICENCE
    assert set(again.recipe.versions) == {"opensmile"}
    assert again.notes == egemaps.notes == []
    older = AcousticDescriber(replace(egemaps.recipe, versions={"opensmile": "2.0.0"}))
    assert len(older.notes) == 1
    assert "made with opensmile 2.0.0, here is" in older.notes[0]
    wrong: list[dict[str, Any]] = [
        {"model": "egemaps"},
        {"options": {}},
        {"options": {"rate": "16000"}},
        {"options": {"rate": 10**9}},
        {"options": {"rate": 16000, "x": 1}},
    ]
    for change in wrong:
        with pytest.raises(InputError, match=r"expected one of .* and a rate, found"):
            AcousticDescriber(replace(egemaps.recipe, **change))


def test_the_rate_is_that_of_the_recipe(egemaps, tmp_path):
    path = write_wav(tmp_path / "a.wav", tone(200, rate=44_100), 44_100)
    fast = AcousticDescriber(parse("egemaps,rate=44100"))
    (high,), (low,) = (tuple(extractor.vectors([Item(0, None, path)])) for extractor in (fast, egemaps))
    assert np.abs(low - high).max() > 0.1
    assert (high == egemaps.describe(read_sound(path, rate=44_100))).all()
    for x in (low, high):
        found = dict(zip(fast._smile.feature_names, x, strict=True))["F0semitoneFrom27.5Hz_sma3nz_amean"]
        assert 27.5 * 2 ** (found / 12) == pytest.approx(200, rel=0.01)


def test_it_is_said_where_a_package_is_missing(monkeypatch):
    for name in ("opensmile", "av"):
        with monkeypatch.context() as patch:
            patch.setitem(sys.modules, name, None)
            with pytest.raises(InputError, match=r"pip install 'dglmerc\[audio\]'"):
                open_extractor(parse("egemaps"))


def test_the_licence_says_what_openSMILE_s_says():
    need_media()
    from importlib.metadata import files

    (path,) = [file for file in files("opensmile") or () if file.name == "LICENSE"]
    words = " ".join(Path(str(path.locate())).read_text(encoding="utf-8").split())
    assert "features extracted with the software) use of the software" in words
    assert "(no matter whether free or paid), is not allowed without an additional commercial license" in words
