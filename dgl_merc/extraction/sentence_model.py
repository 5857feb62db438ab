"""Models of sentence-transformers: where they lie, what of them decides the vectors, and how they are loaded.

A model is files of strangers. Nothing of theirs is executed: sentence-transformers (from version 6 on) and transformers refuse a model's
own code while ``trust_remote_code`` is off, and read pickled weights by torch's ``weights_only``.
"""

from __future__ import annotations

import hashlib
import logging
import os
import re
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from dgl_merc.errors import InputError, is_out_of_memory
from dgl_merc.extraction.recipe import Kind, Recipe
from dgl_merc.files import sha256

__all__ = ["deciding_files", "find_model", "first_words", "from_hub", "load", "on_device", "quiet", "refuse_adapter", "weights_of"]

_SUFFIXES = (".safetensors", ".bin", ".json", ".txt", ".model", ".spm", ".vocab", ".tiktoken", ".jinja")
_ELSEWHERE = ("onnx", "openvino", "coreml")
"""Folders with the same model for other engines."""
_ASIDE = ("data_config.json", "training_args.bin", "trainer_state.json")
"""Of how it was trained."""
_PICKLED = "pytorch_model*.bin"
_PROBE = "Oh, really? I did not expect that at all!"


def deciding_files(folder: Path) -> list[Path]:
    """What decides a model's vectors, in the order of names: weights, tokeniser, pooling and settings; no README, no other formats.

    Of a model that is there as safetensors and pickled, the first is loaded, so the second does not count.
    """
    pickled = set(folder.glob(_PICKLED)) if any(folder.glob("*.safetensors")) else set()
    return sorted(
        path
        for path in folder.rglob("*")
        if path.suffix in _SUFFIXES
        and path.name not in _ASIDE
        and path not in pickled
        and not any(part in _ELSEWHERE or part.startswith(".") for part in path.relative_to(folder).parts)
        and path.is_file()
    )


def weights_of(folder: Path) -> str:
    """The SHA-256 over name and SHA-256 of every file of :func:`deciding_files`: alike for a copy, wherever it lies."""
    lines = [f"{sha256(path)}  {path.relative_to(folder).as_posix()}\n" for path in deciding_files(folder)]
    return hashlib.sha256("".join(lines).encode("utf-8", "surrogateescape")).hexdigest()


def find_model(recipe: Recipe) -> tuple[str, str, Path]:
    """Where the model of a recipe is: a folder, or on the hub.

    Returns:
        Its name, its commit or "" of a folder, and its folder.

    Raises:
        InputError: a folder and a revision, or as :func:`from_hub`.
        ImportError: huggingface_hub, which both extras bring, is missing.
    """
    revision = recipe.options.get("revision")
    if not os.path.isdir(recipe.model):  # unlike Path.is_dir, of a name of any length
        return from_hub(recipe.model, str(revision) if revision else None, recipe.kind)
    if revision:
        raise InputError(f"--{recipe.kind} {recipe.model}: revision: expected a model of the hub, found a folder")
    return recipe.model, "", Path(recipe.model)


def from_hub(name: str, revision: str | None, kind: Kind = "text") -> tuple[str, str, Path]:
    """A model of the Hugging Face hub, as its cache holds it, loaded down before if it must be.

    Args:
        name: ``owner/model``, or a model of the owner sentence-transformers, or one of the hub's first days without an owner.
        revision: a commit, a branch or a tag; None: the newest.
        kind: for the message; only of text a name may lack its owner sentence-transformers.

    Returns:
        The whole name, the commit, and the folder.

    Raises:
        InputError: no such name, nothing on the hub, or no network and nothing in the cache.
    """
    from huggingface_hub import snapshot_download

    fault = "no such folder"
    names = [name] if "/" in name or kind != "text" else [f"sentence-transformers/{name}", name]
    for whole in names if re.fullmatch(r"[\w.-]+(/[\w.-]+)?", name) else ():
        wanted: dict[str, Any] = {"revision": revision, "allow_patterns": [f"*{suffix}" for suffix in _SUFFIXES]}
        others = [f"{folder}/*" for folder in _ELSEWHERE] + list(_ASIDE)
        try:
            with quiet():
                folder = Path(snapshot_download(whole, ignore_patterns=[*others, _PICKLED], **wanted))
                if not any(folder.glob("*.safetensors")):
                    folder = Path(snapshot_download(whole, ignore_patterns=others, **wanted))
        except Exception as error:  # of the hub, the network, the disk: none has a class of its own that they share
            fault = first_words(error)
        else:
            return whole, folder.name, folder
    raise InputError(
        f"{kind}: expected a model's folder, or its name on the Hugging Face hub, found {name!r} ({fault}); offline, give a folder"
    )


def load(folder: Path, device: str) -> tuple[Any, int]:
    """A model, in float32.

    It is loaded twice, under two seeds: what its files lack is drawn at random by transformers, with no more than a warning, and then the
    two do not agree on a sentence.

    Returns:
        The ``SentenceTransformer`` on ``device``, and the width of its vectors.

    Raises:
        InputError: sentence-transformers is missing or older than 6, the folder holds no model that it loads, or only a part of one, or the
            device is not there.
    """
    refuse_adapter(folder)
    vectors = []
    for seed in (1, 2):
        model, vector = _loaded(folder, seed)
        vectors.append(vector)
    if not np.isfinite(vectors).all():
        raise InputError(f"{folder}: expected a model, found one whose vectors are not finite; load it down again")
    if np.abs(vectors[0] - vectors[1]).max() > 1e-4 * np.abs(vectors[0]).max():
        raise InputError(f"{folder}: expected the weights of the whole model, found a part of them; load it down again")
    return on_device(model, device), len(vectors[0])


def refuse_adapter(folder: Path) -> None:
    """Of a model's folder; nothing, where it holds a whole model.

    Raises:
        InputError: it holds an adapter, whose model may be anywhere, so that its weights could not be held to.
    """
    if any(path.is_file() for name in ("adapter_config.json", "*/adapter_config.json") for path in folder.glob(name)):
        raise InputError(
            f"{folder}: expected a whole model, found an adapter (adapter_config.json); merge it into its model, and save that"
        )


def on_device(model: Any, device: str) -> Any:
    """A model, moved.

    Raises:
        InputError: torch has no such device.
    """
    try:
        return model.to(device)
    except (RuntimeError, AssertionError) as error:
        if is_out_of_memory(error):
            raise
        raise InputError(f"--device {device}: expected a device that torch has, found {first_words(error)}") from None


def _loaded(folder: Path, seed: int) -> tuple[Any, npt.NDArray[np.float32]]:
    """A model on the CPU, what its files lack drawn under a seed; and its vector of a sentence."""
    try:
        with quiet():
            from sentence_transformers import SentenceTransformer
    except ImportError as error:
        raise InputError(f"text: expected sentence-transformers, found {error}; pip install 'dglmerc[text]'") from None
    if int(version("sentence-transformers").split(".")[0]) < 6:  # earlier ones import what a folder's modules.json names
        raise InputError(f"text: expected sentence-transformers 6 or later, found {version('sentence-transformers')}; upgrade it")
    import torch

    try:
        with quiet(), torch.random.fork_rng([]):
            torch.manual_seed(seed)
            model = SentenceTransformer(str(folder), device="cpu", trust_remote_code=False, local_files_only=True).float()
            return model, np.asarray(model.encode([_PROBE], show_progress_bar=False), dtype=np.float32)[0]
    except Exception as error:  # whatever files of strangers lead to
        if is_out_of_memory(error):
            raise
        found = f"found none ({first_words(error)}); give another folder, or load it down again"
        raise InputError(f"{folder}: expected a model of sentence-transformers without code of its own, {found}") from None


@contextmanager
def quiet() -> Iterator[None]:
    """Without the bars, log lines and warnings of transformers and its like; errors rise as ever."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", Warning)  # tqdm's, of a notebook without widgets
        from transformers.utils import logging as talk

    verbosity, bars = talk.get_verbosity(), talk.is_progress_bar_enabled()
    loggers = {name: logging.getLogger(name) for name in ("sentence_transformers", "huggingface_hub")}
    levels = {name: logger.level for name, logger in loggers.items()}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            talk.set_verbosity(logging.CRITICAL)
            talk.disable_progress_bar()  # type: ignore[no-untyped-call]
            for logger in loggers.values():
                logger.setLevel(logging.CRITICAL)
            yield
        finally:
            for name, logger in loggers.items():
                logger.setLevel(levels[name])
            talk.set_verbosity(verbosity)
            if bars:
                talk.enable_progress_bar()  # type: ignore[no-untyped-call]


def first_words(error: BaseException) -> str:
    """What an error of others says, in short: its first sentence. The next ones may advise to execute a model's code."""
    said = str(error).strip().split("\n")[0].split(". ")[0]
    return f"{said[:200]}{'…' if len(said) > 200 else ''}" or type(error).__name__
