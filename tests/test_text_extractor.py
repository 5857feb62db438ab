"""Vectors of texts: held to their definition on a tiny model and to MELD's on a real one; and models that are none."""

from __future__ import annotations

import csv
import json
import re
import zipfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from media_cases import minilm, need_media
from sentence_cases import WIDTH, WORDS, copied, edit, no_network, write_tiny

from dgl_merc.errors import InputError
from dgl_merc.extraction import Absence, Item, Recipe
from dgl_merc.extraction.extractor import open_extractor, parse_recipe
from dgl_merc.extraction.recipe import anything, one_of, split_recipe, whole, yes_or_no
from dgl_merc.extraction.sentence_model import weights_of

pytestmark = pytest.mark.xdist_group("sentences")  # sentence-transformers takes seconds to import: one worker does


@pytest.fixture(scope="session")
def real() -> Any:
    """all-MiniLM-L6-v2."""
    return open_extractor(parse_recipe("text", minilm()))


@pytest.fixture(scope="session")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    need_media()
    minilm()
    return write_tiny(tmp_path_factory.mktemp("model") / "tiny, small")


def opened(folder: Path, options: str = "") -> Any:
    return open_extractor(parse_recipe("text", f"{folder}{options}"))


def embed(extractor: Any, *texts: str | None) -> list[Any]:
    return list(extractor.vectors([Item(k, text) for k, text in enumerate(texts)]))


def same(a: Any, b: Any, atol: float = 1e-6) -> bool:
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


# recipes as people write them


def test_a_name_and_options():
    known = {"on": yes_or_no, "n": whole(2, 40), "how": one_of("mean", "max"), "say": anything}
    assert split_recipe("visual", "hog", known) == ("hog", {})
    assert split_recipe("visual", "a,b/c,n=40,on=no", known) == ("a,b/c", {"on": False, "n": 40})
    assert split_recipe("visual", "x,say=one, two: ,how=max", known) == ("x", {"how": "max", "say": "one, two: "})
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


def test_half_precision_is_read_and_computed_in_whole(tiny, tmp_path):
    from safetensors.torch import load_file, save_file

    half = copied(tiny, tmp_path / "half")
    save_file({k: v.bfloat16() for k, v in load_file(half / "model.safetensors").items()}, half / "model.safetensors", {"format": "pt"})
    edit(half / "config.json", dtype="bfloat16")
    extractor = opened(half)
    (alone,) = embed(extractor, "hi")
    assert same(embed(extractor, "oh really " * 10, "hi")[1], alone)
    assert same(alone, embed(opened(tiny), "hi")[0], 0.1)


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


def test_what_decides_the_vectors_is_hashed_and_nothing_else(tiny, tmp_path):
    was = weights_of(tiny)
    assert was == weights_of(copied(tiny, tmp_path / "copy"))
    other = copied(tiny, tmp_path / "other")
    (other / "README.md").write_text("other words")
    for name in ("onnx/model.onnx", "onnx/config.json", ".cache/x.json", "pytorch_model.bin", "training_args.bin", "data_config.json"):
        (other / name).parent.mkdir(exist_ok=True)
        (other / name).write_text("{}")
    assert weights_of(other) == was
    for name in ("model.safetensors", "config.json", "vocab.txt", "1_Pooling/config.json", "sentence_bert_config.json", "modules.json"):
        changed = copied(tiny, tmp_path / name.replace("/", "_"))
        (changed / name).write_bytes((changed / name).read_bytes() + b" ")
        assert weights_of(changed) != was, name
    renamed = copied(tiny, tmp_path / "renamed")
    (renamed / "1_Pooling").rename(renamed / "2_Pooling")
    assert weights_of(renamed) != was


def test_another_model_at_the_same_place(tiny, tmp_path):
    place = copied(tiny, tmp_path / "place")
    recipe = opened(place).recipe
    from safetensors.torch import load_file, save_file

    tensors = load_file(place / "model.safetensors")
    tensors["embeddings.word_embeddings.weight"][7] += 1
    save_file(tensors, place / "model.safetensors", {"format": "pt"})
    with pytest.raises(InputError, match=rf"weights {recipe.weights[:12]}….*found another.*put that model there, or"):
        open_extractor(recipe)
    with pytest.raises(InputError, match="expected options among prompt, max_tokens, revision, found batch"):
        open_extractor(replace(recipe, options={"batch": 3}))


# what is no model


def spoilt(model: Path, how: str) -> str:
    """A model made useless; what is said of it."""
    from safetensors.torch import load_file, save_file

    weights = model / "model.safetensors"
    if how == "empty":
        for path in sorted(model.rglob("*"), reverse=True):
            path.rmdir() if path.is_dir() else path.unlink()
        return "Unrecognized model|config"
    if how == "truncated":
        weights.write_bytes(weights.read_bytes()[:-4000])
        return "found none"
    if how == "no weights":
        weights.unlink()
        return "no file named"
    if how == "part of the weights":
        save_file({k: v for k, v in load_file(weights).items() if "layer.0" not in k}, weights, {"format": "pt"})
        return "found a part of them"
    if how == "other sizes":
        edit(model / "config.json", vocab_size=40)
        return "found none|found a part of them"
    if how == "nan":
        save_file({k: v * np.nan for k, v in load_file(weights).items()}, weights, {"format": "pt"})
        return "not finite"
    if how == "no json":
        (model / "modules.json").write_text("[{")
        return "found none"
    assert how == "adapter"
    (model / "adapter_config.json").write_text("{}")
    return "merge it into its model"


@pytest.mark.parametrize("how", ["empty", "truncated", "no weights", "part of the weights", "other sizes", "nan", "no json", "adapter"])
def test_a_folder_without_a_whole_model(how, tiny, tmp_path):
    model = copied(tiny, tmp_path / "model")
    want = spoilt(model, how)
    assert re.search(want, said := refused(model)), said
    assert str(model) in said


def test_nothing_of_a_model_is_executed(tiny, tmp_path):
    mark = tmp_path / "executed"
    code = f"open({str(mark)!r}, 'w')\nfrom transformers import BertModel as Mine, BertConfig as Config, BertTokenizer as Tokens\n"
    foreign = copied(tiny, tmp_path / "foreign")
    (foreign / "mine.py").write_text(code)
    modules = json.loads((foreign / "modules.json").read_text())
    modules[1]["type"] = "mine.Mine"
    (foreign / "modules.json").write_text(json.dumps(modules))
    assert "'mine.Mine', which is not part of" in refused(foreign)
    mapped = copied(tiny, tmp_path / "mapped")
    (mapped / "mine.py").write_text(code)
    edit(mapped / "config.json", model_type="mine", auto_map={"AutoConfig": "mine.Config", "AutoModel": "mine.Mine"})
    assert "found none" in refused(mapped)
    edit(mapped / "sentence_bert_config.json", **{f"{part}_args": {"trust_remote_code": True} for part in ("model", "config", "tokenizer")})
    assert "contains custom code" in refused(mapped)
    known = copied(tiny, tmp_path / "known")  # a type that transformers knows: its own class is taken, not the folder's
    (known / "mine.py").write_text(code)
    edit(known / "config.json", auto_map={"AutoModel": "mine.Mine"})
    edit(known / "tokenizer_config.json", auto_map={"AutoTokenizer": ["mine.Tokens", None]})
    assert same(embed(opened(known), "hi you")[0], embed(opened(tiny), "hi you")[0])
    pickled = copied(tiny, tmp_path / "pickled")
    (pickled / "model.safetensors").unlink()
    with zipfile.ZipFile(pickled / "pytorch_model.bin", "w") as archive:
        archive.writestr("archive/data.pkl", f"cposix\nsystem\n(S'touch {mark}'\ntR.")
        archive.writestr("archive/version", "3\n")
    assert "Weights only load failed" in refused(pickled)
    assert not mark.exists()


def test_honest_pickled_weights_are_read(tiny, tmp_path):
    import torch
    from safetensors.torch import load_file

    pickled = copied(tiny, tmp_path / "pickled")
    torch.save(load_file(pickled / "model.safetensors"), pickled / "pytorch_model.bin")  # noqa: TID251
    (pickled / "model.safetensors").unlink()
    assert same(embed(opened(pickled), "hi you")[0], embed(opened(tiny), "hi you")[0])


def test_a_bare_transformer_is_said_to_be_one(tiny, tmp_path):
    bare = copied(tiny, tmp_path / "bare")
    (bare / "modules.json").unlink()
    extractor = opened(bare)
    assert len(extractor.notes) == 1
    assert "bare transformer" in extractor.notes[0]
    assert same(embed(extractor, "oh really ?")[0], embed(opened(tiny), "oh really ?")[0])


def test_a_model_without_a_transformer_reads_texts_of_any_length(tiny, tmp_path):
    from safetensors.torch import load_file, save_file

    static, cased = tmp_path / "static", {word: k for k, word in enumerate(WORDS)}
    static.mkdir()
    table = load_file(tiny / "model.safetensors")["embeddings.word_embeddings.weight"]
    save_file({"embedding.weight": table}, static / "model.safetensors")
    (static / "modules.json").write_text(
        json.dumps([{"idx": 0, "name": "0", "path": "", "type": "sentence_transformers.models.StaticEmbedding"}])
    )
    tokens = {"model": {"type": "WordLevel", "vocab": cased, "unk_token": "[UNK]"}, "pre_tokenizer": {"type": "WhitespaceSplit"}}
    (static / "tokenizer.json").write_text(json.dumps({"version": "1.0", "added_tokens": [], **tokens}))
    extractor = opened(static)
    one, many = embed(extractor, "hi you", "hi you " * 5000)
    assert same(one, table[[5, 6]].mean(0).numpy())
    assert same(one, many, 1e-4)
    assert extractor.notes == []
    assert extractor.recipe.options == {"prompt": ""}
    assert "max_tokens: expected none, for this model cuts nothing, found 9" in refused(static, ",max_tokens=9")


def test_options_that_do_not_suit(tiny):
    assert "max_tokens: expected at most the model's 24, found 25" in refused(tiny, ",max_tokens=25")
    assert "found a folder" in refused(tiny, ",revision=main")
    for device in ("cuda:99", "nonsense"):
        with pytest.raises(InputError, match=f"--device {device}: expected a device that torch has"):
            open_extractor(parse_recipe("text", str(tiny)), device)


# the hub


@pytest.fixture
def hub(tiny: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The hub's cache with the tiny model as sentence-transformers/tiny, offline."""
    commit = "0123456789abcdef" * 2 + "01234567"
    place = tmp_path / "hub" / "models--sentence-transformers--tiny"
    (place / "refs").mkdir(parents=True)
    (place / "refs" / "main").write_text(commit)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    (place / "snapshots").mkdir()
    return copied(tiny, place / "snapshots" / commit)


def test_a_model_of_the_hub_keeps_its_commit_and_its_whole_name(hub, tiny):
    named = open_extractor(parse_recipe("text", "tiny"))
    assert named.recipe.model == "sentence-transformers/tiny"
    assert named.recipe.options["revision"] == hub.name
    assert named.recipe.weights == weights_of(tiny)
    again = open_extractor(named.recipe)
    assert again.recipe == named.recipe
    assert same(embed(again, "hi")[0], embed(opened(tiny), "hi")[0])


def test_what_the_hub_does_not_have(hub):
    for name in ("sentence-transformers/other", "nothing", "sentence-transformers/tiny,revision=" + "f" * 40):
        assert "offline, give a folder" in refused(Path(name))
    for name in ("/no/such/folder", "a/b/c", "https:/x", "/" + "x" * 300):
        assert f"found '{name}' (no such folder)" in refused(Path(name))


def test_a_folder_of_something_else_is_not_read_whole(tmp_path, monkeypatch, tiny):
    monkeypatch.setattr("dgl_merc.extraction.text.weights_of", lambda folder: pytest.fail("hashed"))
    (tmp_path / "holiday.txt").write_text("a thousand pictures")
    assert str(tmp_path) in refused(tmp_path)


@pytest.mark.parametrize("offline", [True, False])
def test_a_folder_needs_no_network_and_nothing_is_said_or_written(offline, tiny, capfd, monkeypatch, recwarn):
    files = {path: path.stat().st_mtime_ns for path in tiny.rglob("*")}
    with monkeypatch.context() as patch:
        asked = no_network(patch)
        patch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", offline)
        extractor = opened(tiny)
        embed(extractor, "hi", "oh " * 600, "")
    assert asked == []
    assert capfd.readouterr() == ("", "")
    assert not recwarn.list
    assert files == {path: path.stat().st_mtime_ns for path in tiny.rglob("*")}


def test_without_a_network_a_name_is_a_line_and_not_a_wait(tiny, monkeypatch):
    with monkeypatch.context() as patch:
        asked = no_network(patch)
        patch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", False)
        assert "offline, give a folder" in refused(Path("no-such-owner/no-such-model"))
    assert len(asked) < 10
