"""Visual: what a person asks for, which faces are found, what their vector is, and what is absent."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from media_cases import need_media, wave, write_video, write_wav
from visual_cases import scene, texture

from dgl_merc.errors import InputError
from dgl_merc.extraction.extractor import open_extractor, parse_recipe
from dgl_merc.extraction.faces import FaceFinder
from dgl_merc.extraction.items import Absence, Item
from dgl_merc.extraction.media import read_frames
from dgl_merc.extraction.recipe import Recipe
from dgl_merc.extraction.visual import FaceDescriber, parse, pool, thinned

ONE = 324
"""Numbers of a picture."""
DEFAULTS = {"faces": True, "per_second": 5, "at_most": 60, "deviation": True}


@pytest.fixture(scope="module")
def hog() -> FaceDescriber:
    need_media()
    return FaceDescriber(parse("hog"))


def vector(extractor: Any, *args: Any) -> Any:
    """Of one item."""
    (made,) = extractor.vectors([Item(0, None, *args)])
    return made


def lossless(path: Path, frames: list[Any], rate: int = 5) -> Path:
    return write_video(path, frames, rate, codec="ffv1")


# What a person asks for


@pytest.mark.parametrize(
    ("text", "extractor", "model", "said"),
    [
        ("hog", "scikit-image", "hog", {}),
        (
            "hog,faces=no,per_second=2,at_most=8,deviation=no",
            "scikit-image",
            "hog",
            {"faces": False, "per_second": 2, "at_most": 8, "deviation": False},
        ),
        ("model:google/vit-base-patch16-224", "transformers", "google/vit-base-patch16-224", {}),
        ("model:a, b/c,revision=v1,faces=no", "transformers", "a, b/c", {"revision": "v1", "faces": False}),
    ],
)
def test_recipe(text: str, extractor: str, model: str, said: dict[str, Any]) -> None:
    recipe = parse_recipe("visual", text)
    assert recipe == Recipe("visual", extractor, model, {**DEFAULTS, **said})
    assert Recipe.from_json(recipe.to_json(), "x") == recipe


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("lbp", "expected hog, or model:"),
        ("google/vit-base-patch16-224", "expected hog, or model:"),
        ("hog,revision=x", "found 'revision'"),
        ("hog,faces=maybe", "faces: expected yes or no, found 'maybe'"),
        ("hog,per_second=0", "per_second: expected a whole number from 1 to 30"),
        ("hog,at_most=301", "at_most: expected a whole number from 1 to 300"),
        ("model:", "found no name"),
        ("model:,faces=no", "found no name"),
    ],
)
def test_recipe_says_what_does_not_fit(text: str, message: str) -> None:
    with pytest.raises(InputError, match="--visual") as error:
        parse(text)
    assert message in str(error.value)


@pytest.mark.parametrize(
    "change",
    [
        {"options": {}},
        {"options": {**DEFAULTS, "faces": 1}},
        {"options": {**DEFAULTS, "per_second": True}},
        {"options": {**DEFAULTS, "at_most": 0}},
        {"options": {**DEFAULTS, "at_most": 301}},  # of a run that would take all memory
        {"options": {**DEFAULTS, "per_second": 31}},
        {"options": {**DEFAULTS, "blur": 1}},
        {"model": "lbp"},
        {"extractor": "opencv"},
    ],
)
def test_recipe_of_a_run_that_no_version_wrote(change: dict[str, Any]) -> None:
    with pytest.raises(InputError, match="use another version of dglmerc"):
        FaceDescriber(replace(parse("hog"), **change))


def test_recipe_is_completed_and_older_versions_are_noted(hog: FaceDescriber) -> None:
    assert set(hog.recipe.versions) == {"scikit-image", "pillow", "av"}
    assert (hog.notes, hog.recipe.weights, hog.width) == ([], "", 2 * ONE)
    again = open_extractor(replace(hog.recipe, versions={**hog.recipe.versions, "pillow": "1.0"}))
    assert again.recipe == hog.recipe
    (said,) = again.notes
    assert "pillow 1.0, here is" in said


@pytest.mark.parametrize(("module", "extra"), [("av", "visual"), ("skimage.feature", "visual")])
def test_missing_package_is_named(module: str, extra: str, monkeypatch: pytest.MonkeyPatch) -> None:
    need_media()
    monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(InputError, match=rf"{module.split('.')[0]}.*pip install 'dglmerc\[{extra}\]'"):
        FaceDescriber(parse("hog"))


# Faces


def place(part: Any, whole: Any) -> tuple[int, int]:
    """Row and column of a part in the picture it was cut from."""
    part = np.asarray(part)
    height, width = part.shape[:2]
    for top in range(whole.shape[0] - height + 1):
        for left in range(whole.shape[1] - width + 1):
            if (whole[top, left] == part[0, 0]).all() and np.array_equal(whole[top : top + height, left : left + width], part):
                return top, left
    raise AssertionError("not a part of the picture")


def cropped(hog: FaceDescriber, pixels: Any) -> Any:
    from PIL import Image

    return hog._finder.crop(Image.fromarray(pixels))


@pytest.mark.parametrize(("left", "top", "edge"), [(-20, 0, 180), (-5, 10, 180), (-60, -8, 260), (-120, -20, 400)])
def test_face_is_found_where_it_is(hog: FaceDescriber, left: int, top: int, edge: int) -> None:
    pixels = scene(left, top, edge)
    part = np.asarray(cropped(hog, pixels))
    side = part.shape[0]
    row, column = place(part, pixels)
    assert part.shape == (side, side, 3)
    assert side == pytest.approx(0.2 * 1.2 * edge, rel=0.15)
    assert (column + side / 2, row + side / 2) == pytest.approx((left + 0.44 * edge, top + 0.23 * edge), abs=0.05 * edge)


def test_largest_of_two_faces_is_taken(hog: FaceDescriber) -> None:
    small, large = scene(-20, 0, 180), scene(-60, 0, 260, width=130)
    for both in (np.hstack([small, large]), np.hstack([large, small])):
        assert cropped(hog, both).width == pytest.approx(0.24 * 260, rel=0.15)


@pytest.mark.parametrize(
    ("finds", "box"),
    [
        ([(40, 50, 20)], (38, 48, 24)),
        ([(0, 140, 20)], (0, 136, 24)),
        ([(100, 0, 20)], (96, 0, 24)),
        ([(5, 20, 110)], (0, 15, 120)),  # no larger than the picture
        ([(70, 50, 20), (40, 90, 20), (40, 50, 20), (0, 0, 10)], (38, 48, 24)),  # of the largest the highest, then the leftmost
    ],
)
def test_square_has_a_margin_around_the_find(finds: list[Any], box: tuple[int, int, int], monkeypatch: pytest.MonkeyPatch) -> None:
    need_media()
    finder = FaceFinder()
    said = [{"r": r, "c": c, "width": width, "height": width} for r, c, width in finds]
    monkeypatch.setattr(finder, "_cascade", SimpleNamespace(detect_multi_scale=lambda *_: said))
    from PIL import Image

    pixels = np.random.default_rng(0).integers(0, 256, (120, 160, 3), dtype=np.uint8)
    top, left, side = box
    np.testing.assert_array_equal(np.asarray(finder.crop(Image.fromarray(pixels))), pixels[top : top + side, left : left + side])


def test_square_at_an_edge_is_moved_into_the_picture(hog: FaceDescriber) -> None:
    pixels = scene(-60, -35, 260)  # brows touch the upper edge
    part = np.asarray(cropped(hog, pixels))
    assert part.shape[0] == part.shape[1] > 40
    assert place(part, pixels)[0] == 0


@pytest.mark.parametrize("size", [(1, 1), (23, 23), (24, 24), (24, 300), (300, 10)])
def test_pictures_too_small_or_narrow_hold_no_face(hog: FaceDescriber, size: tuple[int, int]) -> None:
    assert cropped(hog, np.full((*size, 3), 7, dtype=np.uint8)) is None


def test_faces_are_looked_for_in_pictures_of_bounded_size(hog: FaceDescriber, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    sizes = []
    monkeypatch.setattr(hog._finder, "crop", lambda picture: sizes.append(picture.size))
    file = write_video(tmp_path / "large.mp4", [np.zeros((720, 1280, 3), dtype=np.uint8)], 5)
    assert vector(hog, file) == Absence("no face in its pictures")
    assert sizes == [(640, 360)]


# The vector


def histograms(gray: Any) -> Any:
    """Dalal and Triggs by their text, pixel by pixel: gray [64, 64] in [0, 1] -> [324]."""
    cells = np.zeros((4, 4, 9))
    for r in range(64):
        for c in range(64):
            down = gray[r + 1, c] - gray[r - 1, c] if 0 < r < 63 else 0.0
            right = gray[r, c + 1] - gray[r, c - 1] if 0 < c < 63 else 0.0
            angle = np.degrees(np.arctan2(down, right)) % 180
            cells[r // 16, c // 16, int(angle // 20) % 9] += np.hypot(down, right) / 256
    found = []
    for r in range(3):
        for c in range(3):
            block = cells[r : r + 2, c : c + 2].ravel()
            block = np.minimum(block / np.sqrt((block**2).sum() + 1e-10), 0.2)
            found.append(block / np.sqrt((block**2).sum() + 1e-10))
    return np.concatenate(found)


def test_picture_alone_is_its_histograms(hog: FaceDescriber) -> None:
    from PIL import Image

    pixels = scene()
    small = cropped(hog, pixels).convert("L").resize((64, 64), Image.Resampling.BILINEAR)
    got = hog.describe([pixels])
    want = histograms(np.asarray(small) / 255)
    np.testing.assert_allclose(got[:ONE], want, atol=1e-6)
    assert not got[ONE:].any()  # one picture deviates from nothing
    assert 0.3 < np.linalg.norm(want) / 3 <= 1


def test_vector_is_mean_and_deviation_of_pictures_with_a_face(hog: FaceDescriber) -> None:
    moving = [scene(-20 + 3 * k, k) for k in range(4)]
    alone = np.array([hog.describe([one])[:ONE] for one in moving], dtype=np.float64)
    want = np.concatenate([alone.mean(0), np.sqrt(((alone - alone.mean(0)) ** 2).mean(0))])
    got = hog.describe([moving[0], texture(), *moving[1:], np.zeros_like(moving[0])])
    np.testing.assert_allclose(got, want, atol=1e-6)
    assert got.dtype == np.float32
    assert got[ONE:].max() > 0.01  # the face moved
    np.testing.assert_allclose(pool(alone, deviation=False), got[:ONE], atol=1e-6)


def test_light_does_not_count_and_sides_do(hog: FaceDescriber) -> None:
    # of the whole picture: with other grey levels the cascade's window may be another one
    whole = FaceDescriber(parse("hog,faces=no,deviation=no"))
    bright = scene()
    seen, dark, mirrored = (whole.describe([one]) for one in (bright, (bright * 0.5).astype(np.uint8), bright[:, ::-1]))
    assert np.linalg.norm(dark - seen) < 0.06 * np.linalg.norm(seen)  # greys are whole numbers
    assert np.linalg.norm(mirrored - seen) > 0.5 * np.linalg.norm(seen)
    assert not isinstance(hog.describe([(bright * 0.5).astype(np.uint8)]), Absence)


def test_whole_picture_is_squeezed_where_faces_are_not_asked_for() -> None:
    from PIL import Image

    whole, pixels = FaceDescriber(parse("hog,faces=no,deviation=no")), texture()
    assert whole.width == ONE
    small = Image.fromarray(pixels).convert("L").resize((64, 64), Image.Resampling.BILINEAR)
    np.testing.assert_allclose(whole.describe([pixels]), histograms(np.asarray(small) / 255), atol=1e-6)
    black = np.zeros_like(pixels)
    np.testing.assert_array_equal(whole.describe([pixels, black]), whole.describe([pixels]))
    assert whole.describe([black, black + 9]) == Absence("pictures of one colour")


def test_stretch_of_a_long_recording_is_its_clip(hog: FaceDescriber, tmp_path: Path) -> None:
    seen = [scene(-20 + 4 * k, k) for k in range(4)]
    clip = lossless(tmp_path / "clip.mkv", seen)
    grass = [texture(at=k) for k in range(6)]
    long = lossless(tmp_path / "long.mkv", [*grass, *seen, *grass])
    other = lossless(tmp_path / "other.mkv", [*seen[:1] * 4, grass[0], grass[0], *seen, *seen])
    want = vector(hog, clip)
    for file in (long, other):
        np.testing.assert_array_equal(vector(hog, file, 6 / 5, 10 / 5), want)
    assert vector(hog, long, 0.0, 6 / 5) == Absence("no face in its pictures")
    assert not np.array_equal(vector(hog, other), want)
    both = list(hog.vectors([Item(0, None, clip), Item(1, None, long, 6 / 5, 10 / 5)]))
    np.testing.assert_array_equal(both, [want, want])


def test_same_bits_in_another_process(hog: FaceDescriber, tmp_path: Path) -> None:
    file = lossless(tmp_path / "clip.mkv", [scene(-20 + 4 * k, k) for k in range(2)])
    code = (
        "import sys; from pathlib import Path; from dgl_merc.extraction.items import Item\n"
        "from dgl_merc.extraction.visual import FaceDescriber, parse\n"
        "print(next(FaceDescriber(parse('hog')).vectors([Item(0, None, Path(sys.argv[1]))])).tobytes().hex())"
    )
    found = subprocess.run([sys.executable, "-c", code, str(file)], capture_output=True, text=True, check=True, timeout=120)
    assert found.stdout.strip() == vector(hog, file).tobytes().hex()


# How many pictures


@pytest.mark.parametrize("count", [0, 1, 5, 6, 7, 11, 100, 3001])
@pytest.mark.parametrize("at_most", [1, 2, 5, 60])
def test_thinned_series_is_even_and_bounded(count: int, at_most: int) -> None:
    kept = thinned(range(count), at_most)
    assert len(kept) <= at_most
    assert kept == (list(range(count)) if count <= at_most else list(range(0, count, kept[1] if len(kept) > 1 else count)))
    assert len(kept) > at_most / 2 or count <= at_most or at_most == 1
    assert len({b - a for a, b in pairwise(kept)}) <= 1


def test_options_choose_the_pictures(tmp_path: Path) -> None:
    need_media()
    frames = [texture(at=10 * k) for k in range(8)]
    file = lossless(tmp_path / "clip.mkv", frames, 8)  # a second
    shown = [frame.pixels for frame in read_frames(file, per_second=8)]
    seen = {"per_second=8": range(8), "per_second=2": (0, 4), "per_second=8,at_most=3": (0, 4), "per_second=8,at_most=1": (0,)}
    every = FaceDescriber(parse("hog,faces=no"))
    for said, indices in seen.items():
        got = vector(FaceDescriber(parse(f"hog,faces=no,{said}")), file)
        np.testing.assert_array_equal(got, every.describe([shown[k] for k in indices]))


# What is absent


def test_absences_are_named(hog: FaceDescriber, tmp_path: Path) -> None:
    black = lossless(tmp_path / "black.mkv", [np.zeros((120, 160, 3), dtype=np.uint8)] * 5)
    sound = write_wav(tmp_path / "sound.wav", wave(0.5))
    text = tmp_path / "text.mp4"
    text.write_text("no video at all")
    seen = lossless(tmp_path / "seen.mkv", [scene()] * 2)
    items = [
        Item(0),
        Item(1, None, black),
        Item(2, None, sound),
        Item(3, None, text),
        Item(4, None, tmp_path / "none.mp4"),
        Item(5, None, seen, 9.0, 10.0),
        Item(6, None, seen),
    ]
    *absent, last = hog.vectors(items)
    reasons = [one.reason for one in absent]
    assert reasons[:2] == ["no recording", "no face in its pictures"]
    assert len(set(reasons)) == 6
    assert all(reason and "\n" not in reason and str(tmp_path) not in reason for reason in reasons)
    assert "pictures" in reasons[2]
    assert last.shape == (hog.width,)
