"""Pictures and models for the tests of what is seen: the one face that scikit-image carries, and tiny image models of random weights."""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from media_cases import need_media

__all__ = ["PREPARED", "scene", "texture", "write_model"]

Pixels = npt.NDArray[np.uint8]
TINY = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 16, "image_size": 32, "patch_size": 16}
PREPARED = {"do_resize": True, "size": {"height": 32, "width": 32}, "do_normalize": True, "image_mean": [0.5] * 3, "image_std": [0.4] * 3}
SHORT = {**PREPARED, "size": {"shortest_edge": 32}, "crop_size": {"height": 32, "width": 32}}


@cache
def _astronaut(edge: int) -> Any:
    need_media()
    from PIL import Image
    from skimage.data import astronaut

    return Image.fromarray(astronaut()).resize((edge, edge), Image.Resampling.BILINEAR)


def scene(left: int = -20, top: int = 0, edge: int = 180, height: int = 120, width: int = 160) -> Pixels:
    """The astronaut, shrunk to ``edge`` pixels and put there on grey; her face is .2 of the edge wide, its middle .44 right, .23 down."""
    from PIL import Image

    canvas = Image.new("RGB", (width, height), (90, 90, 90))
    canvas.paste(_astronaut(edge), (left, top))
    return np.asarray(canvas)


def texture(height: int = 120, width: int = 160, at: int = 0) -> Pixels:
    """Grass: no face."""
    need_media()
    from skimage.data import grass

    return np.repeat(grass()[at : at + height, :width, None], 3, axis=2)


def write_model(folder: Path, sort: str) -> Path:
    """A model of a sort, of random weights from a seed, with the settings of what prepares pictures for it."""
    need_media()
    import torch
    import transformers as t

    from dgl_merc.extraction.sentence_model import quiet

    words = {**{k: v for k, v in TINY.items() if k not in ("image_size", "patch_size")}, "vocab_size": 50}
    stages = {"hidden_sizes": [8, 8, 8, 8], "depths": [1, 1, 1, 1]}
    made: dict[str, Any] = {
        "vit": lambda: (t.ViTModel(t.ViTConfig(**TINY)), "ViTImageProcessor", PREPARED),
        "classifier": lambda: (t.ViTForImageClassification(t.ViTConfig(**TINY)), "ViTImageProcessor", PREPARED),
        "clip": lambda: (
            t.CLIPModel(t.CLIPConfig(vision_config=TINY, text_config=words, projection_dim=8)),
            "CLIPImageProcessor",
            SHORT,
        ),
        "clip vision": lambda: (t.CLIPVisionModel(t.CLIPVisionConfig(**TINY)), "CLIPImageProcessor", SHORT),
        "siglip": lambda: (t.SiglipModel(t.SiglipConfig(vision_config=TINY, text_config=words)), "SiglipImageProcessor", PREPARED),
        "dinov2": lambda: (t.Dinov2Model(t.Dinov2Config(**TINY)), "BitImageProcessor", SHORT),
        "convnext": lambda: (t.ConvNextModel(t.ConvNextConfig(**stages)), "ConvNextImageProcessor", {**SHORT, "crop_pct": 0.9}),
        "resnet": lambda: (
            t.ResNetForImageClassification(t.ResNetConfig(embedding_size=8, layer_type="basic", **stages)),
            "ConvNextImageProcessor",
            {**SHORT, "crop_pct": 0.9},
        ),
        "no pooling": lambda: (t.ViTMSNModel(t.ViTMSNConfig(**TINY)), "ViTImageProcessor", PREPARED),
        "random": lambda: (
            t.ViTMAEModel(t.ViTMAEConfig(**{**TINY, "patch_size": 8}, initializer_range=0.5)),
            "ViTImageProcessor",
            PREPARED,
        ),
        "words": lambda: (t.BertModel(t.BertConfig(**words)), "ViTImageProcessor", PREPARED),
    }
    with quiet(), torch.random.fork_rng([]):
        torch.manual_seed(0)
        model, prepares, how = made[sort]()
        model.save_pretrained(folder)
    (folder / "preprocessor_config.json").write_text(json.dumps({"image_processor_type": prepares, **how}))
    return folder
