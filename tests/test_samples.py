"""COGMEN's samples, and those of its followers, arrive whole."""

from __future__ import annotations

import numpy as np
import pytest
from layout_cases_more import (
    as_dicts,
    rng,
    samples_value,
    vectors,
    written,
)
from pickled import pickled

from dgl_merc.corpus.readers.published import read_published
from dgl_merc.errors import InputError

SIX = ("happy", "sad", "neutral", "angry", "excited", "frustrated")


@pytest.mark.parametrize("case", ["cogmen-iemocap", "cogmen-iemocap:corect", "cogmen-iemocap:dgcn", "cogmen-iemocap-4"])
def test_samples_arrive(case, tmp_path):
    value = samples_value(rng(), top=3 if case.endswith("4") else 5)
    corpus = read_published(written(case, tmp_path))
    assert corpus.targets["emotion"].labels == (SIX[:4] if case.endswith("4") else SIX)
    words = "text" if case.endswith("dgcn") else "sbert_sentence_embeddings"
    assert {m: about.width for m, about in corpus.modalities.items()} == {
        "text": 100 if words == "text" else 768,
        "audio": 100,
        "visual": 512,
    }
    found = {m: vectors(corpus, m) for m in corpus.modalities}
    table = corpus.utterances.set_index(["dialogue_id", "position"])
    labels = dict(zip(table.index, corpus.label_names("emotion"), strict=True))
    for split, part in value.items():
        for one in part:
            for u, label in enumerate(one["label"]):
                key = (one["vid"], u)
                row = table.loc[key]
                assert (row["split"], row["text"], row["session"]) == (split, one["sentence"][u], one["vid"][:5])
                assert row["scripted"] == ("script" in one["vid"])
                assert row["speaker"] == f"{one['vid'][:5]}_{one['speaker'][u]}"
                assert labels[key] == SIX[label]
                for modality, name in (("text", words), ("audio", "audio"), ("visual", "visual")):
                    assert (found[modality][key] == one[name][u]).all()
    assert len(table) == sum(len(one["label"]) for part in value.values() for one in part)
    assert any("utterances without agreement" in note for note in corpus.notes)


def test_samples_label_maps(tmp_path):
    four, unmerged, five = (
        read_published(written("cogmen-iemocap", tmp_path), label_map=name) for name in ("four", "four-unmerged", "five")
    )
    assert four.targets["emotion"].labels == unmerged.targets["emotion"].labels == SIX[:4]
    assert five.targets["emotion"].labels == ("happy", "sad", "neutral", "angry", "frustrated")
    six = read_published(written("cogmen-iemocap", tmp_path))
    for label, merged, kept in zip(*(corpus.label_names("emotion") for corpus in (six, four, unmerged)), strict=True):
        assert merged == {"excited": "happy", "frustrated": None}.get(label, label)
        assert kept == {"excited": None, "frustrated": None}.get(label, label)
    assert {"excited", "frustrated"} & set(six.label_names("emotion")), "vacuous"


def test_one_excited_utterance_makes_six(tmp_path):
    for top, layout in ((3, "cogmen-iemocap-4"), (4, "cogmen-iemocap")):
        path = pickled(tmp_path / "a.pkl", as_dicts(samples_value(rng(), top=top, widths=dict.fromkeys(("audio", "visual", "sbert"), 2))))
        assert read_published(path).source["reader"] == layout


@pytest.mark.parametrize("kind", ["2", "7", "multilabel"])
def test_samples_of_mosei(kind, tmp_path):
    corpus = read_published(written(f"cogmen-mosei:{kind}", tmp_path))
    labels = [label for part in samples_value(rng(), mosei=kind).values() for one in part for label in one["label"]]
    if kind == "multilabel":
        assert list(corpus.targets) == ["happiness", "sadness", "anger", "surprise", "disgust", "fear"]
        for k, name in enumerate(corpus.targets):
            assert corpus.label_names(name).tolist() == [("no", "yes")[label[k]] for label in labels]
    else:
        names = ("negative", "positive") if kind == "2" else module_seven()
        assert corpus.targets["sentiment"].labels == names
        assert corpus.label_names("sentiment").tolist() == [names[label] for label in labels]
    assert {m: about.width for m, about in corpus.modalities.items()} == {"text": 768, "audio": 80, "visual": 35}
    assert set(corpus.utterances["speaker"]) == set(corpus.dialogue_ids)


def module_seven() -> tuple[str, ...]:
    sides = ("strongly ", "", "weakly ")
    return (*(f"{side}negative" for side in sides), "neutral", *(f"{side}positive" for side in reversed(sides)))


SAMPLE_FAULTS = {
    "speakers": ("speakers", lambda x: x[:-1], "dialogue Ses01F_impro01: expected {n} speakers, as many as labels, found"),
    "who": ("speakers", lambda x: ["X", *x[1:]], "expected a name as Ses01F_impro01 and speakers M and F, found a speaker 'X'"),
    "sentences": ("sentence", lambda x: [*x, "a"], "expected {n} sentences, as many as labels, found"),
    "label": ("labels", lambda x: [x[0], 9, *x[2:]], "dialogue Ses01F_impro01, utterance 1: labels: expected a number from 0 to 5, found 9"),
    "huge label": ("labels", lambda x: [x[0], 10**400, *x[2:]], "utterance 1: labels: expected a number from 0 to 5, found a whole number of"),
    "no labels": ("labels", lambda x: [], "dialogue Ses01F_impro01: expected utterances, found none"),
    "name": ("vid", lambda x: 5, "train: number 0: vid: expected a string, found int"),
    "again": ("vid", lambda x: "Ses02M_script01_1", "expected every dialogue once, found 'Ses02M_script01_1' in train already; a file made with"),
    "vectors": ("audio", lambda x: x[:-1], "dialogue Ses01F_impro01: audio: expected {n} entries, one an utterance, found"),
    "width": ("audio", lambda x: [x[0][:3], *x[1:]], "dialogue Ses01F_impro01, utterance 1: audio: expected vectors of width 3 as before, found 4"),
    "nested": ("audio", lambda x: [[[1.0]], *x[1:]], "dialogue Ses01F_impro01, utterance 0: audio: expected a vector of real numbers, found a list of 1"),
    "text": ("text", lambda x: x[:, :2], "dialogue Ses02M_script01_1, utterance 0: sbert: expected vectors of width 2 as before, found 4"),
    "nan": ("text", lambda x: x * np.nan, "text: sbert: expected finite numbers, found nan in column 0"),
}  # fmt: skip


@pytest.mark.parametrize(("key", "change", "said"), SAMPLE_FAULTS.values(), ids=SAMPLE_FAULTS)
def test_samples_faults(tmp_path, key, change, said):
    value = as_dicts(samples_value(rng(), widths=dict.fromkeys(("audio", "visual", "sbert"), 4)))
    first, n = value["train"][0], len(value["train"][0]["labels"])
    first[key] = change(first[key])
    with pytest.raises(InputError) as error:
        read_published(pickled(tmp_path / "a.pkl", value), layout=None)
    assert said.format(n=n) in str(error.value) or (key == "vid" and "expected a published layout" in str(error.value))


def test_absent_vectors_of_samples(tmp_path):
    value = as_dicts(samples_value(rng(), widths=dict.fromkeys(("audio", "visual", "sbert"), 4)))
    value["train"][0]["visual"][1] = None
    value["test"][0]["visual"][0] = np.empty(0)
    corpus = read_published(pickled(tmp_path / "a.pkl", value))
    total = len(corpus.utterances)
    assert f"visual: absent in 2 of {total} utterances: None or empty in the file" in corpus.notes
    assert not {("Ses01F_impro01", 1), (value["test"][0]["vid"], 0)} & set(vectors(corpus, "visual"))
    assert (vectors(corpus, "visual")["Ses01F_impro01", 0] == value["train"][0]["visual"][0]).all()
