"""Models of sentences: what of their files counts, folders that hold none, code that is not executed, and the hub's cache."""

from __future__ import annotations

import json
import re
import zipfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from media_cases import minilm
from sentence_cases import WORDS, copied, edit, embed, no_network, opened, refused, same, write_tiny

from dgl_merc.errors import InputError
from dgl_merc.extraction.extractor import open_extractor, parse_recipe
from dgl_merc.extraction.sentence_model import weights_of

pytestmark = pytest.mark.xdist_group("sentences")


@pytest.fixture(scope="session")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    minilm()
    return write_tiny(tmp_path_factory.mktemp("model") / "tiny, small")


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
    assert how in ("adapter", "adapter within")
    place = model if how == "adapter" else model / "0_Transformer"
    place.mkdir(exist_ok=True)
    (place / "adapter_config.json").write_text("{}")
    return "merge it into its model"


@pytest.mark.parametrize(
    "how", ["empty", "truncated", "no weights", "part of the weights", "other sizes", "nan", "no json", "adapter", "adapter within"]
)
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
