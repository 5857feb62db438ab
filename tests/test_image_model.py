"""Image models of transformers: a picture's vector is what the model's own call gives, and what is no image model is refused in a line."""

from __future__ import annotations

import json
import shutil
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from media_cases import need_media, write_video
from visual_cases import scene, texture, write_model

from dgl_merc.errors import InputError
from dgl_merc.extraction.extractor import open_extractor
from dgl_merc.extraction.image_model import ImageModel
from dgl_merc.extraction.items import Item
from dgl_merc.extraction.sentence_model import weights_of
from dgl_merc.extraction.visual import FaceDescriber, parse

pytestmark = pytest.mark.xdist_group("sentences")  # with them transformers is imported once


@pytest.fixture(scope="module")
def vit(tmp_path_factory: pytest.TempPathFactory) -> Path:
    need_media()
    return write_model(tmp_path_factory.mktemp("models") / "vit", "vit")


@pytest.fixture(scope="module")
def opened(vit: Path) -> ImageModel:
    return ImageModel(parse(f"model:{vit}"))


def seen(count: int = 3) -> list[Any]:
    from PIL import Image

    return [Image.fromarray(texture(40 + k, 50, at=20 * k)) for k in range(count)]


def refused(folder: Path, options: str = "") -> str:
    """What is said of it: a line."""
    with pytest.raises(InputError) as caught:
        ImageModel(parse(f"model:{folder}{options}"))
    said = str(caught.value)
    assert "\n" not in said
    assert len(said) < 700
    assert "trust_remote_code" not in said
    return said


def test_vector_of_a_vit_is_its_pooled_output(vit: Path, opened: ImageModel) -> None:
    import torch
    from PIL import Image
    from transformers import ViTModel

    small = [one.resize((32, 32), Image.Resampling.BILINEAR) for one in seen()]
    x = torch.tensor((np.stack(small).transpose(0, 3, 1, 2) / 255 - 0.5) / 0.4, dtype=torch.float32)
    with torch.inference_mode():
        want = ViTModel.from_pretrained(vit)(pixel_values=x).pooler_output.numpy()
    np.testing.assert_allclose(opened.describe(seen()), want, atol=1e-5)
    assert want.std(axis=0).max() > 1e-3
    assert (opened.width, opened.notes, opened.recipe.weights) == (16, [], weights_of(vit))


@pytest.mark.parametrize(
    ("sort", "width"),
    [
        ("clip", 8),
        ("clip vision", 16),
        ("siglip", 16),
        ("dinov2", 16),
        ("convnext", 8),
        ("resnet", 8),
        ("no pooling", 16),
        ("classifier", 16),
    ],
)
def test_every_sort_has_a_vector(sort: str, width: int, tmp_path: Path) -> None:
    model = ImageModel(parse(f"model:{write_model(tmp_path / 'm', sort)}"))
    x = model.describe(seen())
    assert x.shape == (3, width) == (3, model.width)
    assert np.isfinite(x).all()
    assert np.ptp(x, axis=0).max() > 0  # pictures are told apart
    given = model._processor(images=seen(), return_tensors="pt")
    if sort == "clip":
        want = model._model.get_image_features(**given).pooler_output
    elif sort in ("no pooling", "classifier"):
        want = model._model(**given).last_hidden_state[:, 0]
    else:
        want = (model._model.vision_model if sort == "siglip" else model._model)(**given).pooler_output.flatten(1)
    np.testing.assert_allclose(x, want.detach().numpy(), atol=1e-6)
    assert bool(model.notes) == (sort == "classifier")


def test_vector_does_not_depend_on_neighbours(opened: ImageModel) -> None:
    many = opened.describe(seen(17))
    np.testing.assert_allclose(many, np.concatenate([opened.describe([one]) for one in seen(17)]), atol=1e-6)
    np.testing.assert_array_equal(many, opened.describe(seen(17)))


def test_faces_of_a_recording(vit: Path, tmp_path: Path) -> None:
    file = write_video(tmp_path / "seen.mkv", [texture(), scene(), scene()], 5, codec="ffv1")
    extractor = open_extractor(parse(f"model:{vit}"))
    (x,) = extractor.vectors([Item(0, None, file)])
    assert x.shape == (extractor.width,) == (32,)
    assert np.abs(x[16:]).max() < 1e-6  # the same face twice, and grass does not count
    assert set(extractor.recipe.versions) == {"scikit-image", "pillow", "av", "transformers", "torch"}
    (whole,) = FaceDescriber(parse(f"model:{vit},faces=no,deviation=no")).vectors([Item(0, None, file)])
    assert whole.shape == (16,)
    assert np.abs(whole - x[:16]).max() > 1e-3


def test_model_is_held_to_its_weights(vit: Path, opened: ImageModel, tmp_path: Path) -> None:
    moved = Path(shutil.copytree(vit, tmp_path / "moved"))
    again = ImageModel(replace(opened.recipe, model=str(moved)))
    np.testing.assert_array_equal(again.describe(seen()), opened.describe(seen()))
    settings = moved / "preprocessor_config.json"  # what prepares pictures decides their vectors too
    settings.write_text(settings.read_text().replace("0.4", "0.3"))
    with pytest.raises(InputError, match="expected the model that the run's vectors were made with"):
        ImageModel(replace(opened.recipe, model=str(moved)))


@pytest.mark.parametrize(
    ("sort", "message"),
    [("random", "draws at random"), ("words", "expected a model of pictures")],
)
def test_other_models_are_refused(sort: str, message: str, tmp_path: Path) -> None:
    assert message in refused(write_model(tmp_path / "m", sort))


def test_damaged_folders_are_refused(vit: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from safetensors.torch import load_file, save_file

    def copied(name: str) -> Path:
        return Path(shutil.copytree(vit, tmp_path / name))

    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    assert "found" in refused(tmp_path)  # an empty folder
    assert "on the Hugging Face hub" in refused(tmp_path / "none")
    assert "visual:" in refused(tmp_path / "none")
    assert "revision: expected a model of the hub" in refused(vit, ",revision=x")
    assert "on the Hugging Face hub" in refused(Path("x" * 300))  # longer than a file's name may be

    part = copied("part")
    tensors = load_file(part / "model.safetensors")
    lost = sorted(name for name in tensors if "pooler" not in name)[-1]
    save_file({k: v for k, v in tensors.items() if k != lost}, part / "model.safetensors", metadata={"format": "pt"})
    assert f"found none of {lost}" in refused(part)

    cut = copied("cut")
    (cut / "model.safetensors").write_bytes((vit / "model.safetensors").read_bytes()[:-100])
    assert "found none" in refused(cut)

    vision = copied("torchvision")
    (vision / "preprocessor_config.json").write_text(json.dumps({"image_processor_type": "Sam2ImageProcessor"}))
    assert "needs torchvision" in refused(vision)

    adapter = copied("adapter")
    (adapter / "adapter_config.json").write_text("{}")
    assert "found an adapter" in refused(adapter)


def test_code_of_a_model_is_not_executed(vit: Path, tmp_path: Path) -> None:
    canary = tmp_path / "executed"
    folder = Path(shutil.copytree(vit, tmp_path / "m"))
    (folder / "mine.py").write_text(f"open({str(canary)!r}, 'w').close()\nclass Mine: pass\n")
    for name, key in (("config.json", "AutoModel"), ("config.json", "AutoConfig"), ("preprocessor_config.json", "AutoImageProcessor")):
        settings = json.loads((vit / name).read_text())
        names = {"model_type": "mine"} if name == "config.json" else {"image_processor_type": "Mine"}
        (folder / name).write_text(json.dumps({**settings, **names, "auto_map": {key: "mine.Mine"}}))
        refused(folder)
        shutil.copy(vit / name, folder / name)
    assert not canary.exists()


def test_device_and_packages_that_are_not_there(vit: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(InputError, match="--device"):
        ImageModel(parse(f"model:{vit}"), "nowhere")
    monkeypatch.setattr("transformers.__version__", "4.57.1")
    assert "expected transformers 5 or later, found 4.57.1" in refused(vit)
    monkeypatch.undo()
    monkeypatch.setitem(sys.modules, "transformers", None)
    assert "pip install 'dglmerc[visual]'" in refused(vit)


def test_model_of_the_hub(vit: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = Path(shutil.copytree(vit, tmp_path / "0123abc"))
    asked = []

    def cached(name: str, revision: str | None = None, **_: Any) -> str:
        asked.append((name, revision))
        if name == "none":
            raise OSError("not there")
        return str(folder)

    monkeypatch.setattr("huggingface_hub.snapshot_download", cached)
    model = ImageModel(parse("model:resnet,revision=v1"))
    assert (model.recipe.model, model.recipe.options["revision"], model.recipe.weights) == ("resnet", "0123abc", weights_of(vit))
    ImageModel(model.recipe)
    assert "visual: expected a model's folder, or its name on the Hugging Face hub, found 'none'" in refused(Path("none"))
    assert asked == [("resnet", "v1"), ("resnet", "0123abc"), ("none", None)]


def test_pictures_are_prepared_by_pillow_where_torchvision_is_there_too(vit: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from transformers import AutoImageProcessor

    said: list[Any] = []
    real = AutoImageProcessor.from_pretrained
    monkeypatch.setattr(AutoImageProcessor, "from_pretrained", lambda *args, **how: (said.append(how["backend"]), real(*args, **how))[1])
    ImageModel(parse(f"model:{vit}"))
    assert said == ["pil"]


def test_weights_of_half_precision_are_used_in_float32(vit: Path, opened: ImageModel, tmp_path: Path) -> None:
    from safetensors.torch import load_file, save_file

    halved = Path(shutil.copytree(vit, tmp_path / "m"))
    save_file(
        {k: v.half() for k, v in load_file(vit / "model.safetensors").items()}, halved / "model.safetensors", metadata={"format": "pt"}
    )
    (halved / "config.json").write_text(json.dumps({**json.loads((vit / "config.json").read_text()), "dtype": "float16"}))
    x = ImageModel(parse(f"model:{halved}")).describe(seen())
    np.testing.assert_allclose(x, opened.describe(seen()), atol=1e-3)
    assert (x != x.astype(np.float16)).any()
