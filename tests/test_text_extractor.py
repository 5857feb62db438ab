"""Vectors of texts: held to their definition on a tiny model and to MELD's on a real one; and recipes as people write them."""

from __future__ import annotations

import csv
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from media_cases import minilm
from sentence_cases import WIDTH, WORDS, copied, edit, embed, opened, same, write_tiny

from dgl_merc.errors import InputError
from dgl_merc.extraction import Absence, Recipe
from dgl_merc.extraction.extractor import open_extractor, parse_recipe
from dgl_merc.extraction.recipe import anything, one_of, split_recipe, whole, yes_or_no

pytestmark = pytest.mark.xdist_group("sentences")  # sentence-transformers takes seconds to import: one worker does


@pytest.fixture(scope="session")
def real() -> Any:
    """all-MiniLM-L6-v2."""
    return open_extractor(parse_recipe("text", minilm()))


@pytest.fixture(scope="session")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    minilm()
    return write_tiny(tmp_path_factory.mktemp("model") / "tiny, small")


# recipes as people write them


def test_a_name_and_options():
    known = {"on": yes_or_no, "n": whole(2, 40), "how": one_of("mean", "max"), "say": anything}
    assert split_recipe("visual", "hog", known) == ("hog", {})
    assert split_recipe("visual", "a,b/c,n=40,on=no", known) == ("a,b/c", {"on": False, "n": 40})
    assert split_recipe("visual", "x,say=one, two: ,how=max", known) == ("x", {"how": "max", "say": "one, two: "})
    assert list(split_recipe("visual", "x,say=,how=max,on=yes", known)[1]) == ["on", "how", "say"]  # alike however they are written
    assert split_recipe("visual", "x,say=,on=yes", known) == ("x", {"on": True, "say": ""})
    assert split_recipe("visual", "x,say=a=b", known) == ("x", {"say": "a=b"})


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "--visual '': expected a name, then options, found no name"),
        (",n=3", "--visual ',n=3': expected a name, then options, found no name"),
        ("x,m=3", "--visual x: expected options among on, n, found 'm'"),
        ("x,n=3,n=3", "--visual x: expected n once, found it twice"),
        ("x,n=1", "--visual x: n: expected a whole number from 2 to 40, found '1'"),
        ("x,n=41", "--visual x: n: expected a whole number from 2 to 40, found '41'"),
        ("x,n=3.0", "--visual x: n: expected a whole number from 2 to 40, found '3.0'"),
        ("x,n=²", "--visual x: n: expected a whole number from 2 to 40, found '²'"),
        ("x,on=True", "--visual x: on: expected yes or no, found 'True'"),
    ],
)
def test_what_is_no_recipe(text, said):
    with pytest.raises(InputError) as caught:
        split_recipe("visual", text, {"on": yes_or_no, "n": whole(2, 40)})
    assert str(caught.value) == said


# a real model


@pytest.mark.data
def test_sentences_of_meld(real, meld_dir):
    with (meld_dir / "test_sent_emo.csv").open(encoding="utf-8") as file:
        texts = [row["Utterance"] for row in csv.DictReader(file)][:200]
    want = np.load(meld_dir / "test_sent_emo.minilm.npy")[:200].astype(np.float32)
    got = np.stack(embed(real, *texts))
    assert got.shape == (200, 384) == want.shape
    assert np.abs(got - want).max() < 1e-3  # the file has 16 bits a number
    assert np.abs(got - want[::-1]).max() > 0.1


def test_meaning_is_near_meaning(real):
    assert real.width == 384
    glad, joyful, train = embed(real, "I am so happy today!", "What joy I feel this morning.", "The train leaves at noon.")
    assert glad.dtype == np.float32
    assert np.linalg.norm(glad) == pytest.approx(1, abs=1e-5)
    assert glad @ joyful > glad @ train + 0.2


def test_a_real_vector_does_not_depend_on_its_neighbours(real):
    texts = ["Oh!", "no " * 400, "You did what?", "I am so happy today.", "well, " * 30]
    together = embed(real, *texts)
    for text, beside in zip(texts, together, strict=True):
        assert same(embed(real, text)[0], beside)


# the definition


def by_hand(folder: Path, ids: list[int]) -> Any:
    """The mean of the last layer's vectors, of one sentence, without padding."""
    import torch
    from transformers import BertModel

    model = BertModel.from_pretrained(folder).eval()
    with torch.no_grad():
        return model(torch.tensor([ids])).last_hidden_state[0].double().mean(0).numpy()


def ids(text: str) -> list[int]:
    return [WORDS.index(word) if word in WORDS else 1 for word in f"[CLS] {text} [SEP]".split()]


def test_a_vector_is_the_mean_of_its_tokens(tiny):
    from dgl_merc.extraction.sentence_model import quiet

    texts = ["hi", "oh really ? no !", "you are so happy today", "you zzz"]
    made = embed(opened(tiny), *texts)
    with quiet():
        for text, x in zip(texts, made, strict=True):
            assert x.shape == (WIDTH,)
            np.testing.assert_allclose(x, by_hand(tiny, ids(text)), atol=1e-5)
    assert not same(made[0], made[1], 0.1)


def test_a_vector_does_not_depend_on_its_neighbours_nor_on_their_order(tiny):
    extractor = opened(tiny)
    texts = [" ".join(WORDS[5 + (k * j) % 11] for j in range(1, 2 + k % 17)) for k in range(70)]  # three batches of many lengths
    together = embed(extractor, *texts)
    for k in (0, 1, 16, 33, 69):
        assert same(embed(extractor, texts[k])[0], together[k])
    turned = embed(extractor, *texts[::-1])
    assert all(same(a, b) for a, b in zip(together, turned[::-1], strict=True))
    assert not same(together[3], together[4], 0.01)


def test_what_has_no_words_is_absent(tiny):
    extractor = opened(tiny)
    blank = [None, "", "  \t\n", "\0", "\u200b\u2060", "\u00a0\u3000", "\x1b\x07"]
    said = ["?", "😀", "\0hi", "ﷺ", "e\u0301", "\U000e0041hi"]
    made = embed(extractor, *blank, *said, *blank)
    reasons = [x.reason if isinstance(x, Absence) else None for x in made]
    assert reasons == ["no text"] * len(blank) + [None] * len(said) + ["no text"] * len(blank)
    assert list(extractor.vectors([])) == []
    assert same(embed(extractor, "\0hi")[0], embed(extractor, "hi")[0])


def test_long_texts_are_cut_and_counted(tiny):
    extractor = opened(tiny)
    words = [WORDS[5 + k % 11] for k in range(200_000)]
    assert extractor.notes == []
    exact, over, more = embed(extractor, " ".join(words[:22]), " ".join(words[:23]), " ".join(words))
    assert extractor.notes == ["text: 2 texts are longer than the 24 tokens that the model reads, and cut"]
    assert same(over, exact)
    assert same(more, exact)  # a million characters
    assert not same(embed(extractor, " ".join(words[:21]))[0], exact, 0.01)
    short = opened(tiny, ",max_tokens=8")
    assert short.recipe.options["max_tokens"] == 8
    cut, six = embed(short, " ".join(words[:22]), " ".join(words[:6]))
    assert same(cut, six)
    assert short.notes == ["text: 1 text is longer than the 8 tokens that the model reads, and cut"]
    embed(short, " ".join(words[:22]), "hi", " ".join(words[:7]))
    embed(short, *["oh " * 9] * 3)  # the same text three times
    assert short.notes == ["text: 6 texts are longer than the 8 tokens that the model reads, and cut"]
    asked = opened(tiny, ",prompt=query : ,max_tokens=8")
    embed(asked, " ".join(words[:4]), " ".join(words[:5]))  # and two tokens of the prompt, and two at the ends
    assert asked.notes == ["text: 1 text is longer than the 8 tokens that the model reads, and cut"]


def test_a_prompt_stands_before_every_text(tiny, tmp_path):
    plain = opened(tiny)
    assert plain.recipe.options == {"prompt": "", "max_tokens": 24}
    asked = opened(tiny, ",prompt=query : ")
    want = embed(plain, "query : hi", "query : oh no")
    assert all(same(a, b) for a, b in zip(embed(asked, "hi", "oh no"), want, strict=True))
    assert asked.recipe.options["prompt"] == "query : "
    own = copied(tiny, tmp_path / "own")
    (own / "config_sentence_transformers.json").write_text(json.dumps({"prompts": {"q": "query : "}, "default_prompt_name": "q"}))
    assert opened(own).recipe.options["prompt"] == "query : "
    assert same(embed(opened(own), "hi")[0], want[0])
    assert same(embed(opened(own, ",prompt="), "hi")[0], embed(plain, "hi")[0])


def test_half_precision_is_computed_in_whole(tiny, tmp_path):
    from safetensors.torch import load_file, save_file

    half, rounded = copied(tiny, tmp_path / "half"), copied(tiny, tmp_path / "rounded")
    short = {name: x.bfloat16() for name, x in load_file(tiny / "model.safetensors").items()}
    save_file(short, half / "model.safetensors", {"format": "pt"})
    save_file({name: x.float() for name, x in short.items()}, rounded / "model.safetensors", {"format": "pt"})
    edit(half / "config.json", dtype="bfloat16")
    got, want = embed(opened(half), "hi you"), embed(opened(rounded), "hi you")
    assert same(got[0], want[0])


# what a recipe holds


def test_a_recipe_opens_the_same_model_again(tiny, tmp_path):
    first = opened(tiny, ",prompt=oh ,max_tokens=9")
    again = open_extractor(Recipe.from_json(json.loads(json.dumps(first.recipe.to_json())), "here"))
    assert again.recipe == first.recipe
    assert again.notes == []
    assert set(first.recipe.versions) == {"sentence-transformers", "transformers", "torch"}
    assert (embed(first, "hi you")[0] == embed(again, "hi you")[0]).all()
    older = replace(first.recipe, versions={**first.recipe.versions, "transformers": "4.0"})
    other = open_extractor(older)
    assert len(other.notes) == 1
    assert "made with transformers 4.0, here is" in other.notes[0]
    assert other.recipe.versions == first.recipe.versions
