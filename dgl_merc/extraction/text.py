"""Text: a vector a sentence, by any model that sentence-transformers loads, from a folder or from the Hugging Face hub.

Source: Reimers, Gurevych: Sentence-BERT, EMNLP 2019. Of a folder that holds a bare transformer, sentence-transformers takes the mean of
the last layer's vectors.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from dgl_merc.errors import InputError
from dgl_merc.extraction.items import Absence, Item, Vector
from dgl_merc.extraction.recipe import Option, Reading, Recipe, anything, hold_to_weights, split_recipe, whole, with_versions
from dgl_merc.extraction.sentence_model import find_model, load, quiet, weights_of

__all__ = ["SentenceEmbedder", "has_words", "parse"]

_OPTIONS: dict[str, Reading] = {"prompt": anything, "max_tokens": whole(8, 1_000_000), "revision": anything}
_PACKAGES = ("sentence-transformers", "transformers", "torch")


def parse(text: str) -> Recipe:
    """A model's folder, or its name on the hub, and options.

    - ``prompt``: words before every text, such as E5's "query: "; without it the model's own default prompt, which most have not.
    - ``max_tokens``: longer texts are cut; without it at the model's own limit.
    - ``revision``: a commit, branch or tag on the hub; without it the newest. The recipe keeps the commit.

    Raises:
        InputError: another option.
    """
    name, options = split_recipe("text", text, _OPTIONS)
    return Recipe("text", "sentence-transformers", name, options)


def has_words(text: str | None) -> bool:
    """Whether there is anything to be seen in a text: a letter, a mark, an emoji; not blanks and controls alone."""
    return any(unicodedata.category(c) not in ("Cc", "Cf", "Zs", "Zl", "Zp") for c in text or "")


class SentenceEmbedder:
    """One vector an utterance's text.

    Attributes:
        recipe: with prompt, limit and commit as they are, the versions of packages, and ``weights``: see
            :func:`~dgl_merc.extraction.sentence_model.weights_of`.
        width: numbers in a vector.

    Args:
        recipe: of kind text; one with weights is held to them.
        device: where the model runs.

    Raises:
        InputError: sentence-transformers is not installed, there is no such model, it is not loaded, it has other weights than the recipe
            says, or an option does not suit it.
    """

    def __init__(self, recipe: Recipe, device: str = "cpu") -> None:
        if wrong := set(recipe.options) - set(_OPTIONS):
            raise InputError(f"text: expected options among {', '.join(_OPTIONS)}, found {', '.join(sorted(wrong))}")
        name, commit, folder = _found(recipe)
        self._model, self.width = load(folder, device)
        weights = weights_of(folder)  # after that: what is no model may hold anything, and much of it
        hold_to_weights(recipe, weights)
        self._prompt, self._limit = self._settings(recipe)
        options: dict[str, Option] = {"prompt": self._prompt}
        if self._limit is not None:
            options["max_tokens"] = self._limit
        if commit:
            options["revision"] = commit
        versions, self._said = with_versions(recipe, *_PACKAGES)
        if not (folder / "modules.json").is_file():
            self._said.append(f"text: {name} is a bare transformer: a text's vector is the mean of its tokens' in the last layer")
        self.recipe = replace(recipe, model=name, options=options, versions=versions, weights=weights)
        self._cut = 0

    def _settings(self, recipe: Recipe) -> tuple[str, int | None]:
        """Prompt and greatest number of tokens, of the recipe or of the model; the model is set to the latter."""
        from transformers import PreTrainedTokenizerBase

        model, asked = self._model, recipe.options.get("max_tokens")
        prompt = recipe.options.get("prompt", model.prompts.get(model.default_prompt_name) or "")
        counts = isinstance(getattr(model[0], "tokenizer", None), PreTrainedTokenizerBase)  # static and word embeddings cut nothing
        own = model.max_seq_length if counts and isinstance(model.max_seq_length, int) else None
        if asked is not None and (own is None or type(asked) is not int or asked > own):
            most = f"at most the model's {own}" if own else "none, for this model cuts nothing"
            raise InputError(f"--text {recipe.model}: max_tokens: expected {most}, found {asked}")
        if asked is not None:
            model.max_seq_length = asked
        return str(prompt), own if asked is None else int(asked)

    @property
    def notes(self) -> list[str]:
        """What a person should know, of the model and of the texts so far."""
        texts = "1 text is" if self._cut == 1 else f"{self._cut} texts are"
        cut = [f"text: {texts} longer than the {self._limit} tokens that the model reads, and cut"] if self._cut else []
        return [*self._said, *cut]

    def vectors(self, items: Sequence[Item]) -> Iterator[Vector | Absence]:
        """See :class:`~dgl_merc.extraction.extractor.Extractor`. Texts are sorted by length and read 32 at a time; the same text once."""
        texts = [item.text or "" for item in items]
        distinct = list(dict.fromkeys(filter(has_words, texts)))
        long = self._too_long(distinct)
        self._cut += sum(text in long for text in texts)
        made = self._model.encode(distinct, prompt=self._prompt, batch_size=32, show_progress_bar=False) if distinct else ()
        of = dict(zip(distinct, made, strict=True))
        for text in texts:
            if text not in of:
                yield Absence("no text")
            else:
                x = np.asarray(of[text], dtype=np.float32)
                yield x if np.isfinite(x).all() else Absence("the model gives numbers that are not finite")

    def _too_long(self, texts: Sequence[str]) -> set[str]:
        """Which of the texts the model does not read to their end."""
        if self._limit is None or not texts:
            return set()
        with quiet():
            tokens = self._model.tokenizer([self._prompt + text for text in texts], truncation=False, padding=False)["input_ids"]
        return {text for text, found in zip(texts, tokens, strict=True) if len(found) > self._limit}


def _found(recipe: Recipe) -> tuple[str, str, Path]:
    """:func:`find_model`, with a message where sentence-transformers, which brings what it needs, is missing."""
    try:
        return find_model(recipe)
    except ImportError as error:
        raise InputError(f"text: expected sentence-transformers, found {error}; pip install 'dglmerc[text]'") from None
