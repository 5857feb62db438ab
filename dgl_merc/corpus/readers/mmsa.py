"""CMU-MOSI, CMU-MOSEI and CH-SIMS as MMSA publishes them (thuiar/MMSA), and as MulT did before (yaohungt/Multimodal-Transformer).

Layout, a pickled dict ``train, valid, test`` -> dict (valid becomes dev). The keys of MMSA's ``aligned_50.pkl``, ``unaligned_50.pkl`` and
``unaligned_39.pkl`` are those that thuiar/MMSA, src/MMSA/data_loader.py, ``MMDataset.__init_mosi`` reads and that thuiar/MMSA-FET,
src/MSA_FET/dataset.py, ``run_dataset`` writes (``final_data``):

    id                                      [N] str ``VIDEO$_$CLIP``          cur_id = video_id + '$_$' + clip_id
    raw_text                                [N] str
    text, audio, vision                     [N, T, W] float32 or float64      np.zeros([len(sequences), final_length, feature_dim])
    text_bert                               [N, 3, T] token ids, mask, segments    BertTextEncoder.forward, "3: input_ids, input_mask, ..."
    audio_lengths, vision_lengths           [N] int, of unaligned files       "remove lengths for aligned feature"
    annotations                             [N] Negative, Neutral, Positive   perhaps lacking
    classification_labels                   [N] 0, 1, 2 of the same           annotation_dict of older releases' MDataPreLoader
    regression_labels                       [N] float
    regression_labels_T, _A, _V             [N] float, CH-SIMS's: of one modality each

T and W as published (src/MMSA/config/config_regression.json, ``seq_lens``, ``feature_dims``; text, audio, vision): MOSI 50, 50, 50
aligned or 50, 500, 375 and widths 768, 5, 20; MOSEI the same lengths, 768, 74, 35; CH-SIMS 39, 400, 55 and 768, 33, 709. Any others are
read.

MulT's ``mosei_senti_data.pkl`` and ``mosi_data.pkl`` (src/dataset.py, ``Multimodal_Datasets.__init__``): ``text, audio, vision, labels``
[N, 1, 1] and ``id`` [N, 3], the video, the start and the end in seconds (bytes in MOSI: ``self.meta[index][0].decode('UTF-8')``). Text is
GloVe, 300 wide.

**Dialogues** are videos, utterances their clips in the order of the clip's number (MulT's: of its start). Nobody is named as speaker;
each video counts as one. MOSI and MOSEI keep a video in one split; CH-SIMS spreads the clips of one over several. A dialogue can't be in
two splits here, so the clips of such a video become one dialogue a split, ``train/VIDEO``; the speaker stays the video, and the note
counts them.

**Targets**: ``sentiment``, from -3 to 3 (CH-SIMS, told by its unimodal labels or by ids that begin ``video_``: from -1 to 1), then
``polarity``, the annotations in small letters; of CH-SIMS ``sentiment_text, sentiment_audio, sentiment_vision`` besides. A label that is
NaN is none.

**Sequences are pooled**: arrays ``text_mean, text_max, audio_mean, ...``; the means are taken unless told otherwise. Real frames are

- of text, where there is ``text_bert``: those its mask (channel 1) marks, [CLS] and [SEP] with them. MOSI and MOSEI are padded before BERT,
  so that behind the sentence stand vectors that are not zero;
- of audio and vision with lengths: as many as those say, at the end that is not padded (MMSA-FET: ``padding_location``);
- else: those that are not all zero. Aligned audio is zero at [CLS] and [SEP] (``extract_align``) and vision where no face was found.

A frame with NaN or an infinite number (COVAREP's -inf; the loaders set that to 0) is left out and counted.

Tensors (MMSA-FET's ``return_type='pt'``) are not read. Not checked against the published pickles themselves, which are not public text.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from dgl_merc.corpus.readers.layout import Choices, Content, Layout, Published, Vectors
from dgl_merc.corpus.reading.content import describe, shown
from dgl_merc.corpus.reading.plain import as_integers, as_list, as_numbers, as_strings, is_number, string
from dgl_merc.corpus.reading.pooling import How, length_mask, pool
from dgl_merc.corpus.targets import Target
from dgl_merc.errors import InputError, at

__all__ = ["LAYOUTS"]

ANNOTATIONS = ("negative", "neutral", "positive")
"""The annotations, in the order of their numbers."""
UNIMODAL = {"T": "text", "A": "audio", "V": "vision"}
"""What CH-SIMS's further labels were given for."""

_SPLITS = {"train": "train", "valid": "dev", "test": "test"}
_SEQUENCES = {"text": "text", "audio": "audio", "vision": "visual"}
_HOW: tuple[How, ...] = ("mean", "max")
_NAMES = {(5, 20): "CMU-MOSI", (74, 35): "CMU-MOSEI", (33, 709): "CH-SIMS"}
_CLIP = re.compile(r"(?P<video>.+)(?:\$_\$(?P<clip>[^$]+)|\[(?P<segment>\d+)\])", re.DOTALL)


def _parts(content: Content, label: str) -> dict[str, Mapping[str, Any]] | None:
    """Split of the file -> what it holds; None: not of this kind."""
    value = content.value
    if not isinstance(value, Mapping) or set(value) != set(_SPLITS):
        return None
    wanted = {"id", label}
    if not all(isinstance(part, Mapping) and wanted <= set(part) and set(part) & set(_SEQUENCES) for part in value.values()):
        return None
    return dict(value)


def _is_mmsa(content: Content) -> bool:
    return _parts(content, "regression_labels") is not None


def _is_mult(content: Content) -> bool:
    parts = _parts(content, "labels")
    return parts is not None and not any("regression_labels" in part for part in parts.values())


def _read(content: Content, _choices: Choices, *, label: str) -> Published:
    parts = _parts(content, label)
    if parts is None:
        raise InputError(f"{at(content.path)}expected train, valid and test with id and {label}, found {describe(content.value)}")
    places = {split: f"{at(content.path)}{split}: " for split in parts}
    tables = [_utterances(part, places[split], label).assign(split=_SPLITS[split]) for split, part in parts.items()]
    if not any(len(one) for one in tables):
        raise InputError(f"{at(content.path)}expected at least one utterance, found none")
    table = pd.concat([one for one in tables if len(one)], ignore_index=True)
    _refuse_leaks(content, table)
    sims = any(column in table for column in _unimodal()) or bool(table["video"].str.startswith("video_").all())
    arrays = _arrays(parts, places)
    widths = [arrays[f"{name}_mean"].width if f"{name}_mean" in arrays else 0 for name in ("audio", "vision")]
    low, high = (-1.0, 1.0) if sims else (-3.0, 3.0)
    targets = {
        "sentiment": Target("range", bounds=(low, high)),
        **({"polarity": Target("classes", ANNOTATIONS)} if "polarity" in table else {}),
        **{name: Target("range", bounds=(low, high)) for name in _unimodal() if name in table},
    }
    said = [f"sentiment: from {low:g} to {high:g}, as {'CH-SIMS has' if sims else 'CMU-MOSI and CMU-MOSEI have'} it"]
    table, notes = _dialogues(table)
    modalities = {_SEQUENCES[name]: f"{name}_mean" for name in _SEQUENCES if f"{name}_mean" in arrays}
    return Published(_NAMES.get((widths[0], widths[1]), "MMSA"), table, targets, arrays, modalities, (*said, *notes))


def _unimodal() -> tuple[str, ...]:
    return tuple(f"sentiment_{name}" for name in UNIMODAL.values())


def _utterances(part: Mapping[str, Any], where: str, label: str) -> pd.DataFrame:
    """The utterances of one split, in its order: ``video, utterance_id, order`` and what is said of them."""
    table = pd.DataFrame({"sentiment": as_numbers(part[label], f"{where}{label}: ")})
    count = len(table)

    def fits(name: str, values: Any) -> Any:
        if len(values) != count:
            raise InputError(f"{where}{name}: expected {count}, one for each of {label}, found {len(values)}")
        return values

    ids = fits("id", as_list(part["id"], f"{where}id: "))
    made = [_clip(item, f"{where}id: number {number}: ") for number, item in enumerate(ids)]
    for k, name in enumerate(("video", "utterance_id", "start", "end")):
        if name in ("video", "utterance_id") or any(row[2] is not None for row in made):
            table[name] = [row[k] for row in made]
    if "raw_text" in part:
        table["text"] = fits("raw_text", as_strings(part["raw_text"], f"{where}raw_text: "))
    if (polarity := _polarity(part, where)) is not None:
        table["polarity"] = fits("annotations", polarity)
    for letter, name in UNIMODAL.items():
        if (key := f"{label}_{letter}") in part:
            table[f"sentiment_{name}"] = fits(key, as_numbers(part[key], f"{where}{key}: "))
    return table


def _clip(item: Any, where: str) -> tuple[str, str, float | None, float | None]:
    """Video, clip, start and end of an utterance, from its id."""
    try:
        if isinstance(item, list | tuple | np.ndarray) and len(item) == 3:
            video, start, end = (str(piece) if is_number(piece) else string(piece) for piece in item)
            if abs(float(start)) < 1e9 and abs(float(end)) < 1e9:
                return video, f"{start}-{end}", float(start), float(end)
            found = None
        else:
            found = _CLIP.fullmatch(string(item))
    except ValueError:
        found = None
    if not found:
        raise InputError(f"{where}expected VIDEO$_$CLIP, VIDEO[CLIP] or the three (VIDEO, START, END), found {shown(item)}")
    return found["video"], found["clip"] or found["segment"], None, None


def _polarity(part: Mapping[str, Any], where: str) -> list[str | None] | None:
    """The annotations, or the numbers that stand for them; None: the split has neither."""
    if "annotations" in part:
        made = []
        for number, item in enumerate(as_list(part["annotations"], f"{where}annotations: ")):
            empty = item is None or (isinstance(item, str) and not item) or (isinstance(item, float) and np.isnan(item))
            name = None if empty else item.lower() if isinstance(item, str) else describe(item)
            if name is not None and name not in ANNOTATIONS:
                raise InputError(f"{where}annotations: number {number}: expected {', '.join(ANNOTATIONS)}, found {shown(item)}")
            made.append(name)
        return made
    if "classification_labels" not in part:
        return None
    found = as_numbers(part["classification_labels"], f"{where}classification_labels: ")
    wrong = ~(np.isnan(found) | np.isin(found, (0, 1, 2)))
    if wrong.any():
        number = int(np.argmax(wrong))
        raise InputError(f"{where}classification_labels: number {number}: expected 0, 1 or 2, found {found[number]:g}")
    return [None if np.isnan(number) else ANNOTATIONS[int(number)] for number in found]


def _refuse_leaks(content: Content, table: pd.DataFrame) -> None:
    """A clip stands in the file once."""
    clips = table[["video", "utterance_id"]]
    twice = clips.duplicated().to_numpy()
    if twice.any():
        row = int(np.argmax(twice))
        first = int(np.argmax((clips == clips.iloc[row]).all(axis=1).to_numpy()))
        place = at(content.path, dialogue=table["video"].iloc[row], utterance=table["utterance_id"].iloc[row])
        raise InputError(f"{place}expected every clip once, found it in {table['split'].iloc[first]} and in {table['split'].iloc[row]}")


def _dialogues(table: pd.DataFrame) -> tuple[pd.DataFrame, list[str]]:
    """Videos as dialogues, clips in order, and what there is to say of both."""
    video, split = table["video"], table["split"]
    shared = video.groupby(video).transform("size").ne(video.groupby([video, split]).transform("size"))
    table["dialogue_id"] = video.where(~shared, split + "/" + video)
    table["speaker"] = video
    notes = ["speaker: the file names none, so each video counts as one speaker"]
    if shared.any():
        notes.append(
            f"{video[shared].nunique()} of {video.nunique()} videos have clips in several splits ({int(shared.sum())} utterances): each "
            "split's clips are a dialogue, SPLIT/VIDEO; training has heard these speakers and scenes, so test scores are not of unseen ones"
        )
    if "start" in table and table["start"].notna().all():
        table["order"] = np.round(table["start"].to_numpy(dtype=np.float64) * 1000).astype(np.int64)
    elif table["utterance_id"].map(lambda clip: clip.isascii() and clip.isdigit() and len(clip) <= 18).all():
        table["order"] = table["utterance_id"].astype("int64")
    else:
        notes.append("the clips are not numbered throughout: a dialogue's utterances are in the order of the file")
    if unlabelled := int(table["sentiment"].isna().sum()):
        notes.append(f"sentiment: {unlabelled} utterances have none (NaN), and are context")
    return table.drop(columns="video"), notes


@dataclass(frozen=True)
class _Sequences:
    """The sequences of one name, and what pools them.

    Attributes:
        name: ``text``, ``audio`` or ``vision``.
        how: to pool.
        pieces: of each split that has utterances, [N, T, W].
        masks: of each, which frames are real (None: those that are not all zero), and by what rule, in words.
    """

    name: str
    how: How
    pieces: tuple[npt.NDArray[Any], ...]
    masks: tuple[tuple[npt.NDArray[np.bool_] | None, str], ...]

    @property
    def width(self) -> int:
        return int(self.pieces[0].shape[2])

    def __call__(self) -> Vectors:
        pooled = [pool(piece, mask, self.how) for piece, (mask, _) in zip(self.pieces, self.masks, strict=True)]
        frames, left_out = (np.concatenate([getattr(one, what) for one in pooled]) for what in ("frames", "left_out"))
        rules = ", ".join(dict.fromkeys(rule for _, rule in self.masks))
        notes = [f"{self.name}_{self.how}: the {self.how} of {int(frames.sum())} frames, those {rules}"]
        if left_out.any():
            some, of = int(left_out.sum()), int((left_out > 0).sum())
            notes.append(f"{self.name}_{self.how}: {some} frames of {of} utterances hold NaN or infinite numbers and are left out")
        there = np.flatnonzero(frames)
        return Vectors(np.concatenate([one.vectors for one in pooled])[there], there, "no real frame", tuple(notes))


def _arrays(parts: Mapping[str, Mapping[str, Any]], places: Mapping[str, str]) -> dict[str, _Sequences]:
    """``text_mean`` and its like, checked now and pooled when they are wanted."""
    arrays: dict[str, _Sequences] = {}
    filled = {split: part for split, part in parts.items() if len(part["id"])}
    for name in _SEQUENCES:
        without = [split for split, part in filled.items() if name not in part]
        if len(without) == len(filled):
            continue
        if without:
            raise InputError(f"{places[without[0]]}{name}: expected it in every split, found it in others only")
        pieces = {split: _sequences(part, name, f"{places[split]}{name}: ") for split, part in filled.items()}
        if len({piece.shape[2] for piece in pieces.values()}) > 1:
            found = ", ".join(f"{piece.shape[2]} in {split}" for split, piece in pieces.items())
            raise InputError(f"{next(iter(places.values()))}{name}: expected one width, found {found}")
        masks = tuple(_mask(part, name, pieces[split], places[split]) for split, part in filled.items())
        for how in _HOW:
            arrays[f"{name}_{how}"] = _Sequences(name, how, tuple(pieces.values()), masks)
    return arrays


def _sequences(part: Mapping[str, Any], name: str, where: str) -> npt.NDArray[Any]:
    found, count = part[name], len(part["id"])
    if not (isinstance(found, np.ndarray) and found.dtype.kind in "fiu" and found.ndim == 3 and len(found) == count and found.size):
        raise InputError(f"{where}expected an array [{count}, frames, width] of numbers, found {describe(found)}")
    return found


def _mask(part: Mapping[str, Any], name: str, x: npt.NDArray[Any], where: str) -> tuple[npt.NDArray[np.bool_] | None, str]:
    """Which frames are real, and by what rule, in words."""
    count, frames = x.shape[:2]
    if name == "text" and "text_bert" in part:
        bert = part["text_bert"]
        if not (isinstance(bert, np.ndarray) and bert.dtype.kind in "fiu" and bert.ndim == 3 and bert.shape[:2] == (count, 3)):
            raise InputError(f"{where}text_bert: expected an array [{count}, 3, {frames}] of numbers, found {describe(bert)}")
        if bert.shape[2] == frames:
            return bert[:, 1, :] > 0, "that the mask of text_bert marks"
    key = f"{name}_lengths"
    if key in part:
        lengths = as_integers(part[key], f"{where}{key}: ")
        if len(lengths) != count or (lengths < 0).any():
            raise InputError(
                f"{where}{key}: expected {count} numbers of 0 or more, found {len(lengths)}, the least {lengths.min(initial=0)}"
            )
        mask, front = length_mask(x, np.minimum(lengths, frames))
        return mask, f"that {key} counts{' (padded in front)' if front else ''}"
    return None, "that are not all zero"


LAYOUTS = (
    Layout(
        "mmsa",
        "CMU-MOSI, CMU-MOSEI or CH-SIMS as MMSA publishes them (train, valid, test with regression_labels); sequences are pooled",
        "pickle",
        _is_mmsa,
        partial(_read, label="regression_labels"),
    ),
    Layout(
        "mult",
        "CMU-MOSI or CMU-MOSEI as MulT publishes them (train, valid, test with labels and id); sequences are pooled",
        "pickle",
        _is_mult,
        partial(_read, label="labels"),
    ),
)
"""See :mod:`dgl_merc.corpus.readers.layout`."""
