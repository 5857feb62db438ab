"""A tiny model of sentence-transformers with random weights, its folder written by hand; and a guard that knows of every way out."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from dgl_merc.errors import InputError
from dgl_merc.extraction import Item
from dgl_merc.extraction.extractor import open_extractor, parse_recipe

__all__ = ["WIDTH", "WORDS", "copied", "edit", "embed", "no_network", "opened", "refused", "same", "write_tiny"]

SPECIAL = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
WORDS = [*SPECIAL, "hi", "you", "are", "so", "happy", "today", "oh", "really", "?", "no", "!", "query", ":"]
WIDTH = 16


def write_tiny(folder: Path, seed: int = 0) -> Path:
    """One layer, 24 tokens of :data:`WORDS` at most, the mean of the tokens' vectors; 20 KB."""
    import torch
    from safetensors.torch import save_file
    from transformers import BertConfig, BertModel

    torch.manual_seed(seed)
    config = BertConfig(
        vocab_size=len(WORDS),
        hidden_size=WIDTH,
        num_hidden_layers=1,
        num_attention_heads=2,
        intermediate_size=WIDTH,
        max_position_embeddings=32,
        initializer_range=0.5,
    )
    folder.mkdir()
    (folder / "1_Pooling").mkdir()
    save_file(BertModel(config).state_dict(), folder / "model.safetensors", metadata={"format": "pt"})
    (folder / "vocab.txt").write_text("\n".join(WORDS))
    (folder / "README.md").write_text("A model.")
    modules = [
        {"idx": 0, "name": "0", "path": "", "type": "sentence_transformers.models.Transformer"},
        {"idx": 1, "name": "1", "path": "1_Pooling", "type": "sentence_transformers.models.Pooling"},
    ]
    files: dict[str, Any] = {
        "config.json": {**config.to_dict(), "architectures": ["BertModel"]},
        "tokenizer_config.json": {"tokenizer_class": "BertTokenizer", "do_lower_case": True, "model_max_length": 32},
        "modules.json": modules,
        "sentence_bert_config.json": {"max_seq_length": 24, "do_lower_case": False},
        "1_Pooling/config.json": {"word_embedding_dimension": WIDTH, "pooling_mode_mean_tokens": True},
    }
    for name, content in files.items():
        (folder / name).write_text(json.dumps(content))
    return folder


def copied(model: Path, to: Path) -> Path:
    """The same model elsewhere, to be changed."""
    return Path(shutil.copytree(model, to))


def edit(path: Path, **changes: Any) -> None:
    """Other values in a JSON object."""
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))


def no_network(patch: pytest.MonkeyPatch) -> list[Any]:
    """From now on whoever looks for the network is written down, and finds none."""
    asked: list[Any] = []

    def refuse(*args: Any, **_: Any) -> Any:
        asked.append(args[-2:])
        raise OSError("no network")

    patch.setattr("socket.getaddrinfo", refuse)
    patch.setattr("socket.socket.connect", refuse)
    return asked


def opened(folder: Path, options: str = "") -> Any:
    """The extractor of a folder."""
    return open_extractor(parse_recipe("text", f"{folder}{options}"))


def embed(extractor: Any, *texts: str | None) -> list[Any]:
    """A vector, or an absence, a text."""
    return list(extractor.vectors([Item(k, text) for k, text in enumerate(texts)]))


def same(a: Any, b: Any, atol: float = 1e-6) -> bool:
    """Whether two vectors agree."""
    return bool(np.abs(a - b).max() <= atol)


def refused(folder: Path, options: str = "") -> str:
    """What is said of a model that is not loaded: a line."""
    with pytest.raises(InputError) as caught:
        opened(folder, options)
    said = str(caught.value)
    assert "\n" not in said
    assert len(said) < 600
    assert "trust_remote_code" not in said
    assert "weights_only" not in said
    return said
