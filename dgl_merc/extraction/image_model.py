"""Any image model that transformers loads, from a folder or from the Hugging Face hub: its pooled output for a picture.

ViT, CLIP, SigLIP, DINOv2, BEiT, Swin, ConvNeXt, ResNet, ... A picture's vector is the first of these that a model has: its features of
pictures in the space that it shares with texts (CLIP, SigLIP); its pooled output; its first token, as Dosovitskiy et al., ICLR 2021, take
it, also of a ViT that was trained to classify, whose files lack the pooling.

A model is files of strangers: of a model's own code nothing is executed (``trust_remote_code`` is off). Pictures are prepared by Pillow,
not by torchvision.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from dgl_merc.errors import InputError, is_out_of_memory
from dgl_merc.extraction.recipe import Recipe, hold_to_weights
from dgl_merc.extraction.sentence_model import find_model, first_words, on_device, quiet, refuse_adapter, weights_of

__all__ = ["ImageModel"]

_BATCH = 16


class ImageModel:
    """One vector a picture.

    Attributes:
        recipe: with commit and weights.
        width: numbers in a vector.
        notes: what a person should know.

    Args:
        recipe: of kind visual; one with weights is held to them.
        device: where the model runs.

    Raises:
        InputError: transformers is not installed or older than 5, there is no such model, it is not loaded or only a part of it is there,
            it needs torchvision or other input than pictures, gives other numbers each time, or has other weights than the recipe says.
    """

    def __init__(self, recipe: Recipe, device: str = "cpu") -> None:
        name, commit, folder = _found(recipe)
        self._processor, model, learnt = _loaded(folder)
        weights = weights_of(folder)
        hold_to_weights(recipe, weights)
        self._model, self._device, self._pools = on_device(model, device), device, learnt
        self.notes = [] if learnt else [f"visual: {name} has learnt no pooling: a picture's vector is that of its first token"]
        self.width = self._probed(folder)
        self.recipe = replace(recipe, model=name, options={**recipe.options, **({"revision": commit} if commit else {})}, weights=weights)

    def describe(self, pictures: Sequence[Any]) -> npt.NDArray[np.float32]:
        """Pictures (``PIL.Image``, RGB) -> [pictures, width]."""
        return np.concatenate([self._batch(pictures[k : k + _BATCH]) for k in range(0, len(pictures), _BATCH)])

    def _batch(self, pictures: Sequence[Any]) -> npt.NDArray[np.float32]:
        """The same of some of them at once."""
        import torch

        given = self._processor(images=list(pictures), return_tensors="pt").to(self._device)
        with torch.inference_mode():
            found = (getattr(self._model, "get_image_features", None) or self._model)(**given)
        pooled = found.get("pooler_output") if self._pools else None
        x = found["last_hidden_state"][:, 0] if pooled is None else pooled
        return np.asarray(x.float().flatten(1).cpu().numpy(), dtype=np.float32)

    def _probed(self, folder: Path) -> int:
        """The width of vectors, from a picture of noise that is looked at twice."""
        import torch
        from PIL import Image

        noise = Image.fromarray(np.random.default_rng(0).integers(0, 256, (96, 96, 3), dtype=np.uint8))
        vectors = []
        for seed in (1, 2):
            try:
                with quiet(), torch.random.fork_rng([]):
                    torch.manual_seed(seed)
                    vectors.append(self.describe([noise])[0])
            except Exception as error:  # whatever a model of another sort leads to
                if is_out_of_memory(error):
                    raise
                raise InputError(f"{folder}: expected a model of pictures, found one that takes none ({first_words(error)})") from None
        if not np.isfinite(vectors).all():
            raise InputError(f"{folder}: expected a model, found one whose vectors are not finite; load it down again")
        if np.abs(vectors[0] - vectors[1]).max() > 1e-5 * np.abs(vectors[0]).max():
            raise InputError(f"{folder}: expected a model that sees the same in the same picture, found one that draws at random")
        return len(vectors[0])


def _found(recipe: Recipe) -> tuple[str, str, Path]:
    """:func:`find_model`, where transformers is there."""
    try:
        import transformers

        if int(transformers.__version__.split(".")[0]) < 5:  # earlier ones prepare pictures in other ways
            raise InputError(f"visual: expected transformers 5 or later, found {transformers.__version__}; upgrade it")
        return find_model(recipe)
    except ImportError as error:
        raise InputError(f"visual: expected transformers, found {error}; pip install 'dglmerc[visual]'") from None


def _loaded(folder: Path) -> tuple[Any, Any, bool]:
    """What prepares pictures, the model in float32 on the CPU, and whether its pooling was learnt."""
    refuse_adapter(folder)
    where = {"local_files_only": True, "trust_remote_code": False}
    try:
        with quiet():
            from transformers import AutoImageProcessor, AutoModel

            processor = AutoImageProcessor.from_pretrained(str(folder), backend="pil", **where)  # type: ignore[no-untyped-call]
            model, told = AutoModel.from_pretrained(str(folder), output_loading_info=True, **where)
    except Exception as error:  # whatever files of strangers lead to
        if is_out_of_memory(error):
            raise
        said = "one that needs torchvision" if "torchvision" in str(error) else f"none ({first_words(error)})"
        raise InputError(
            f"{folder}: expected an image model of transformers without code of its own, found {said}; give another folder, or load it "
            "down again"
        ) from None
    absent = set(told["missing_keys"])
    if rest := sorted(key for key in absent if not key.startswith("pooler.")):
        raise InputError(f"{folder}: expected the weights of the whole model, found none of {rest[0]} and {len(rest) - 1} more")
    return processor, model.float().eval(), not absent
