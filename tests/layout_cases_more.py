"""Files of published layouts, made here: MELD's official CSVs, MMSA's and MulT's, COGMEN's, EmoryNLP's.

``CASES``: LAYOUT or LAYOUT:VARIANT -> what writes one into a folder.

Sizes, dtypes, keys and containers are as published (see the readers' docstrings); there are few dialogues. Every number says whose it is.
"""

from __future__ import annotations

import ast
import csv
import json
import sys
import types
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from pickled import pickled

from dgl_merc.corpus import SPLITS, Corpus

__all__ = [
    "CASES",
    "EMOTIONS",
    "HEADER",
    "MOSI",
    "SIMS",
    "as_dicts",
    "emorynlp_rows",
    "json_value",
    "mmsa_value",
    "mult_value",
    "samples_value",
]
__all__ += ["by_id", "rng", "small_meld", "vectors", "write_emorynlp", "write_json", "write_samples", "written"]

Rng = np.random.Generator
EMOTIONS = ("neutral", "joyful", "peaceful", "powerful", "scared", "mad", "sad")
HEADER = ("Utterance", "Speaker", "Emotion", "Scene_ID", "Utterance_ID", "Season", "Episode", "Start_Time", "End_Time")
MELD_HEADER = "Sr No.,Utterance,Speaker,Emotion,Sentiment,Dialogue_ID,Utterance_ID,Season,Episode,StartTime,EndTime"
MELD_LABELS = ("joy", "anger", "neutral", "sadness")
SBERT = "sbert_sentence_embeddings"
SIZES = {"train": (3, 2, 4), "valid": (2,), "test": (1, 3)}
"""Split -> clips of each video."""


def emorynlp_rows(rng: Rng, scenes: Mapping[tuple[int, int, int], int]) -> list[tuple[object, ...]]:
    """Rows of a CSV; (season, episode, scene) -> utterances, whose numbers have gaps."""
    rows = []
    for (season, episode, scene), count in scenes.items():
        numbers = np.sort(rng.choice(np.arange(1, 2 * count + 1), count, replace=False))
        for number in numbers.tolist():
            speaker = ("['Monica Geller']", "['Ross Geller', 'Joey Tribbiani']", '["Ross\' Mom"]')[number % 3]
            start = f"00:{number % 60:02}:04.{number % 1000:03}"
            text = f's{season} e{episode} c{scene} u{number}, he said "so"\nand left'
            rows.append(
                (text, speaker, EMOTIONS[number % 7].capitalize(), scene, number, season, episode, start, f"00:{number % 60:02}:05.5")
            )
    return rows


def write_emorynlp(path: Path, rows: list[tuple[object, ...]], header: tuple[str, ...] = HEADER) -> Path:
    """The CSV."""
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(header)
        writer.writerows(row[: len(header)] for row in rows)
    return path


def emorynlp_folder(folder: Path, rng: Rng) -> Path:
    """All three, an episode each."""
    for episode, split in enumerate(("train", "dev", "test"), start=1):
        write_emorynlp(folder / f"emorynlp_{split}_final.csv", emorynlp_rows(rng, {(1, episode, scene): 3 for scene in (1, 4)}))
    return folder


def json_value(rows: list[tuple[Any, ...]]) -> dict[str, Any]:
    """The same rows, an episode each, as the authors' JSON has them."""
    episodes = []
    for row in rows:
        text, speakers, emotion, scene, number, season, episode = row[:7]
        name = f"s{season:02}_e{episode:02}"
        utterance = {
            "utterance_id": f"{name}_c{scene:02}_u{number:03}",
            "speakers": ast.literal_eval(speakers),
            "transcript": text,
            "tokens": [text.split()],
            "emotion": emotion,
        }
        episodes.append({"episode_id": name, "scenes": [{"scene_id": f"{name}_c{scene:02}", "utterances": [utterance]}]})
    return {"season_id": "s01", "episodes": episodes}


def write_json(path: Path, rows: list[tuple[Any, ...]]) -> Path:
    """The file."""
    path.write_text(json.dumps(json_value(rows)), encoding="utf-8")
    return path


def emorynlp_json_folder(folder: Path, rng: Rng) -> Path:
    """All three, an episode each."""
    for episode, split in enumerate(("trn", "dev", "tst"), start=1):
        write_json(folder / f"emotion-detection-{split}.json", emorynlp_rows(rng, {(1, episode, scene): 3 for scene in (1, 4)}))
    return folder


def small_meld(folder: Path) -> Path:
    """Two dialogues of two utterances in each split; ids start again, with a gap; vectors say where they belong."""
    for number, split in enumerate(SPLITS):
        rows = [MELD_HEADER]
        for k in range(4):
            label = MELD_LABELS[(k + number) % 4]
            rows.append(f'{k + 1},Line {k},Ann{k % 2},{label},positive,{k // 2},{3 * (k % 2)},1,2,"00:00:0{k},500","00:00:0{k},900"')
        (folder / f"{split}_sent_emo.csv").write_text("\n".join(rows) + "\n", encoding="utf-8")
        np.save(folder / f"{split}.npy", np.arange(4, dtype=np.float32)[:, None] + 10 * number)
    return folder


def mmsa_value(rng: Rng, shapes: Mapping[str, tuple[int, int]], *, name: str = "v{}x", unimodal: bool = False) -> dict[str, dict[str, Any]]:
    """What MMSA pickles. ``shapes``: modality -> frames, width; with more frames of audio than of text it is unaligned."""
    unaligned, value, video = shapes["audio"][0] != shapes["text"][0], {}, 0
    for split, videos in SIZES.items():
        ids = []
        for count in videos:
            ids += [f"{name.format(video)}$_${clip}" for clip in range(count)]
            video += 1
        n = len(ids)
        part: dict[str, Any] = {"raw_text": np.array([f"{i} says" for i in ids]), "id": np.array(ids)}
        for modality, (t, w) in shapes.items():
            x = rng.normal(size=(n, t, w)).astype(np.float32 if modality == "text" else np.float64)
            lengths = rng.integers(2, t, size=n)
            if modality != "text":
                x[np.arange(t)[None, :] >= lengths[:, None]] = 0
                if unaligned:
                    part[f"{modality}_lengths"] = lengths.tolist()
            else:
                mask = (np.arange(t)[None, :] < lengths[:, None]).astype(np.int64)
                part["text_bert"] = np.stack([mask * 101, mask, np.zeros_like(mask)], axis=1)
            part[modality] = x
        scores = np.round(rng.uniform(-1 if unimodal else -3, 1 if unimodal else 3, size=n), 1)
        part["regression_labels"] = scores
        part["annotations"] = [("Negative", "Neutral", "Positive")[int(np.sign(s)) + 1] for s in scores]
        part["classification_labels"] = np.sign(scores) + 1.0
        if unimodal:
            part |= {f"regression_labels_{m}": np.round(rng.uniform(-1, 1, size=n), 1) for m in "TAV"}
        value[split] = part
    return value


def mult_value(rng: Rng, widths: tuple[int, int, int], *, as_bytes: bool = False) -> dict[str, dict[str, Any]]:
    """What MulT pickles: frames behind zeros, ids (video, start, end)."""
    value, video = {}, 0
    for split, videos in SIZES.items():
        ids = []
        for count in videos:
            # Clips of a video stand in no order, as they were shuffled.
            ids += [(f"v{video}x", f"{10.5 * clip:.3f}", f"{10.5 * clip + 9:.3f}") for clip in range(count)][::-1]
            video += 1
        x = {m: rng.normal(size=(len(ids), 50, w)).astype(np.float32) for m, w in zip(("text", "audio", "vision"), widths, strict=True)}
        for row, front in enumerate(rng.integers(0, 49, size=len(ids))):
            for sequence in x.values():
                sequence[row, :front] = 0
        named = np.array(ids)
        labels = np.round(rng.uniform(-3, 3, size=(len(ids), 1, 1)), 1).astype(np.float32)
        value[split] = {**x, "labels": labels, "id": np.char.encode(named) if as_bytes else named}
    return value


def write_samples(path: Path, package: str, value: Mapping[str, list[dict[str, Any]]], without: tuple[str, ...] = ()) -> Path:
    """A pickle of instances of ``package.Sample.Sample``, a class that is there while it is written only."""
    module = types.ModuleType(f"{package}.Sample")
    module.Sample = type("Sample", (), {"__module__": module.__name__})  # type: ignore[attr-defined]

    def sample(fields: dict[str, Any]) -> Any:
        made = module.Sample()
        vars(made).update({key: item for key, item in fields.items() if key not in without})
        return made

    sys.modules |= {package: types.ModuleType(package), module.__name__: module}
    try:
        return pickled(path, {split: [sample(one) for one in part] for split, part in value.items()})
    finally:
        del sys.modules[package], sys.modules[module.__name__]


def samples_value(rng: Rng, *, mosei: str = "", widths: Mapping[str, int] | None = None, top: int = 5) -> dict[str, list[dict[str, Any]]]:
    """COGMEN's dialogues as dicts of the fields of ``Sample``; ``mosei``: "" (IEMOCAP), "2", "7" or "multilabel"."""
    wide = {"text": 100, "audio": 80 if mosei else 100, "visual": 35 if mosei else 512, "sbert": 768, **(widths or {})}
    names = {"train": ("Ses01F_impro01", "Ses02M_script01_1"), "dev": ("Ses03F_impro02",), "test": ("Ses05M_impro03", "Ses05F_impro03")}
    value: dict[str, list[dict[str, Any]]] = {}
    diag = 0
    for split, dialogues in names.items():
        value[split] = []
        for name in dialogues:
            n, diag = int(rng.integers(2, 6)), diag + 1
            labels: list[Any] = rng.integers(0, {"2": 2, "7": 7}.get(mosei, top + 1), size=n).tolist()
            labels[0] = {"2": 1, "7": 6}.get(mosei, top)
            if mosei == "multilabel":
                labels = [rng.integers(0, 2, size=6).astype(np.int64) for _ in range(n)]
            sentence = [f"{name} says {u}" for u in range(n)]
            vectors = {m: list(rng.normal(size=(n, wide[m])).astype(np.float32)) for m in ("text", "audio", "visual")}
            value[split].append(
                {
                    "vid": f"diag_{diag}" if mosei else name,
                    "speaker": ["M"] * n if mosei else rng.choice(["M", "F"], size=n).tolist(),
                    "label": labels,
                    **vectors,
                    **({"text": sentence} if mosei else {}),
                    "sentence": sentence,
                    "sbert_sentence_embeddings": rng.normal(size=(n, wide["sbert"])).astype(np.float32),
                }
            )
    return value


def as_dicts(value: Mapping[str, list[dict[str, Any]]]) -> dict[str, list[dict[str, Any]]]:
    """CORECT's: keys in the plural, SBERT under ``text``."""
    return {
        split: [
            {
                "vid": one["vid"],
                "speakers": one["speaker"],
                "labels": one["label"],
                "audio": one["audio"],
                "visual": one["visual"],
                "text": one["sbert_sentence_embeddings"],
                "sentence": one["sentence"],
            }
            for one in part
        ]
        for split, part in value.items()
    }


MOSI = {"text": (50, 768), "audio": (50, 5), "vision": (50, 20)}
MOSEI = {"text": (50, 768), "audio": (500, 74), "vision": (375, 35)}
SIMS = {"text": (39, 768), "audio": (400, 33), "vision": (55, 709)}

CASES: dict[str, Callable[[Path, Rng], Path]] = {
    "meld": lambda folder, rng: small_meld(folder),
    "emorynlp": lambda folder, rng: write_emorynlp(folder / "emorynlp_dev_final.csv", emorynlp_rows(rng, {(1, 15, 6): 4})),
    "emorynlp-folder": emorynlp_folder,
    "emorynlp-json": lambda folder, rng: write_json(folder / "emotion-detection-tst.json", emorynlp_rows(rng, {(1, 15, 6): 4})),
    "emorynlp-json-folder": emorynlp_json_folder,
    "mmsa:mosi": lambda folder, rng: pickled(folder / "aligned_50.pkl", mmsa_value(rng, MOSI)),
    "mmsa:mosei": lambda folder, rng: pickled(folder / "unaligned_50.pkl", mmsa_value(rng, MOSEI)),
    "mmsa:sims": lambda folder, rng: pickled(folder / "unaligned_39.pkl", mmsa_value(rng, SIMS, name="video_{:04}", unimodal=True)),
    "mult:mosei": lambda folder, rng: pickled(folder / "mosei_senti_data.pkl", mult_value(rng, (300, 74, 35))),
    "mult:mosi": lambda folder, rng: pickled(folder / "mosi_data.pkl", mult_value(rng, (300, 5, 20), as_bytes=True)),
    "cogmen-iemocap": lambda folder, rng: write_samples(folder / "data_iemocap.pkl", "cogmen", samples_value(rng)),
    "cogmen-iemocap:corect": lambda folder, rng: pickled(folder / "data_iemocap.pkl", as_dicts(samples_value(rng))),
    "cogmen-iemocap:dgcn": lambda folder, rng: write_samples(folder / "data.pkl", "dgcn", samples_value(rng), without=(SBERT,)),
    "cogmen-iemocap-4": lambda folder, rng: write_samples(folder / "data_iemocap_4.pkl", "joyful", samples_value(rng, top=3)),
    "cogmen-mosei:2": lambda folder, rng: write_samples(folder / "data_mosei.pkl", "cogmen", samples_value(rng, mosei="2")),
    "cogmen-mosei:7": lambda folder, rng: write_samples(folder / "data_mosei.pkl", "cogmen", samples_value(rng, mosei="7")),
    "cogmen-mosei:multilabel": lambda folder, rng: write_samples(
        folder / "data_mosei.pkl", "cogmen", samples_value(rng, mosei="multilabel")
    ),
}


def rng(seed: int = 3) -> np.random.Generator:
    return np.random.default_rng(seed)


def by_id(corpus: Corpus, column: str) -> dict[tuple[str, str], Any]:
    """(dialogue, utterance) -> a cell."""
    table = corpus.utterances
    return {(d, u): v for d, u, v in zip(table["dialogue_id"], table["utterance_id"].astype(str), table[column], strict=True)}


def vectors(corpus: Corpus, modality: str) -> dict[tuple[str, int], np.ndarray]:
    """(dialogue, position) -> its vector."""
    there = corpus.utterances[corpus.utterances[f"has_{modality}"]]
    return dict(zip(zip(there["dialogue_id"], there["position"], strict=True), corpus.features[modality], strict=True))


def written(case: str, folder: Path) -> Path:
    """A file of a case, in a folder of its own."""
    own = folder / case.replace(":", "_")
    own.mkdir(exist_ok=True)
    return CASES[case](own, rng())
