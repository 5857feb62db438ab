"""IEMOCAP and CMU-MOSEI as COGMEN publishes them, lists of samples, and CORECT, JOYFUL and dialogue_gcn alike.

Layout, a pickled dict ``train, dev, test`` -> list of dialogues (Exploration-Lab/COGMEN, preprocess.py, ``data = {"train": train, "dev":
dev, "test": test}``). A dialogue of N utterances is an instance of ``Sample``, read as plain fields and never imported, or a dict:

    Sample (cogmen/Sample.py)      dict (leson502/CORECT_EMNLP2023, preprocess.py)      what
    vid                            vid                                                  str, Ses01F_impro01; of MOSEI diag_0
    speaker                        speakers                                             [N] 'M' or 'F'
    label                          labels                                               [N] int; MOSEI multilabel: [N] of six 0 or 1
    text                                                                                [N] vectors, 100 wide; of MOSEI [N] str
    audio                          audio                                                [N] vectors, 100 wide; of MOSEI 80
    visual                         visual                                               [N] vectors, 512 wide; of MOSEI 35
    sentence                       sentence                                             [N] str
    sbert_sentence_embeddings      text                                                 [N, 768] float32

Widths are train.py's ``dataset_embedding_dims``; any others are read. ``dgcn.Sample`` (mianzhang/dialogue_gcn; forks' preprocess.py call
``dgcn.Sample(vid, video_speakers[vid], ...)``; the class itself was not seen) has no ``sbert_sentence_embeddings``. Modalities taken:
text is SBERT's (the array ``sbert``; where there is none ``text``), audio and visual as they are. Tensors are not read.

**Labels** (cogmen/Coach.py, ``dataset_label_dict``): ``iemocap`` hap, sad, neu, ang, exc, fru; ``iemocap_4`` hap, sad, neu, ang, from
pickles in which the utterances of the two others are not there at all; here they are called happy, sad, ... The file doesn't say which it
is, so one without a label of 4 or 5 is taken for ``iemocap_4``: the four mean the same in both. Maps of the six: ``six``; ``five``
(excited counts as happy); ``four-unmerged`` (excited and frustrated become context, the classes of ``iemocap_4``); ``four`` (excited
counts as happy, frustrated becomes context, as in speech emotion recognition). The pickles come of DialogueRNN's, in which utterances
without a majority label stand among the happy ones.

MOSEI (preprocess.py, ``get_mosei_from_tbje``): labels of at most 1 are ``cmumosei_2``, negative and positive (0 counts as positive); of
up to 6 ``cmumosei_7``, thirds of the score from below -2 to above 2. They are named in this order here; Coach.py lists "Weak Negative"
before "Negative", which is not their order. Multilabel: one target an emotion, ``happiness`` first, no or yes.

**Splits**: dev is the first tenth of the published training dialogues (preprocess.py, ``dev_size``). **Speakers**: 'M' and 'F' are told
apart within a session only, so they become ``Ses01_M``, beside the columns ``session`` and ``scripted``; MOSEI's are all 'M' (``speakers
= ["M" for i in ...]``), so each video counts as one.

``data_iemocap_4_split_N.pkl`` (``get_iemocap_split``) holds windows of one dialogue that overlap, under one name: it is refused.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import numpy as np
import pandas as pd

from dgl_merc.corpus.foreign.pickles import Record
from dgl_merc.corpus.readers.iemocap import IEMOCAP, LABELS, MAPS, actor, only_four, quirk, with_sessions
from dgl_merc.corpus.readers.layout import Choices, Content, Layout, Published, Vectors
from dgl_merc.corpus.reading.content import describe, shown
from dgl_merc.corpus.reading.plain import as_integers, as_list, as_strings, is_number, string
from dgl_merc.corpus.reading.stacked import Held, stack
from dgl_merc.corpus.targets import SPLITS, Target
from dgl_merc.errors import InputError, at

__all__ = ["LAYOUTS"]

FOUR = LABELS[:4]
"""Those of ``iemocap_4``."""
TWO = ("negative", "positive")
"""MOSEI's classes, in the order of their numbers."""
SEVEN = ("strongly negative", "negative", "weakly negative", "neutral", "weakly positive", "positive", "strongly positive")
"""MOSEI's seven, from below -2 to above 2."""
EMOTIONS = ("happiness", "sadness", "anger", "surprise", "disgust", "fear")
"""MOSEI's emotions, in the order of their columns."""

_KEYS = {"speakers": "speaker", "labels": "label", "text": "sbert_sentence_embeddings"}
_NEEDED = ("vid", "speaker", "label", "sentence")
_ARRAYS = {"sbert_sentence_embeddings": "sbert", "text": "text", "audio": "audio", "visual": "visual"}
_CLASSES = tuple(f"{package}.Sample.Sample" for package in ("cogmen", "corect", "joyful", "dgcn"))

Sample = Mapping[str, Any]


def _fields(item: Any) -> Sample | None:
    """A dialogue's fields as COGMEN's ``Sample`` calls them; None: not a dialogue."""
    if isinstance(item, Record):
        fields = item.fields if item.name in _CLASSES else {}
    elif isinstance(item, Mapping):
        fields = (
            {_KEYS.get(key, key): value for key, value in item.items() if isinstance(key, str)}
            if "speakers" in item and "labels" in item
            else {}
        )
    else:
        return None
    return fields if set(_NEEDED) <= set(fields) else None


def _first(content: Content) -> Sample | None:
    """The first dialogue of a file of this kind; None: of another."""
    value = content.value
    if not isinstance(value, Mapping) or set(value) != set(SPLITS) or not all(isinstance(part, list) for part in value.values()):
        return None
    return next((_fields(part[0]) for part in value.values() if part), None)


def _is_iemocap(content: Content, *, four: bool) -> bool:
    first = _first(content)
    if first is None or not (isinstance(first["vid"], str) and IEMOCAP.fullmatch(first["vid"])):
        return False
    return only_four((_fields(item) or {}).get("label") for part in content.value.values() for item in part) == four


def _is_mosei(content: Content) -> bool:
    first = _first(content)
    return first is not None and isinstance(first["vid"], str) and not IEMOCAP.fullmatch(first["vid"])


def _dialogues(content: Content) -> dict[str, tuple[str, Sample]]:
    """Name -> split and fields, held to what every dialogue has."""
    found: dict[str, tuple[str, Sample]] = {}
    for split in SPLITS:
        for number, item in enumerate(content.value[split]):
            where = f"{at(content.path)}{split}: number {number}: "
            fields = _fields(item)
            if fields is None:
                raise InputError(f"{where}expected a dialogue as the first, found {describe(item)}")
            try:
                name = string(fields["vid"])
            except ValueError:
                raise InputError(f"{where}vid: expected a string, found {describe(fields['vid'])}") from None
            if name in found:
                raise InputError(
                    f"{where}expected every dialogue once, found {name!r} in {found[name][0]} already; "
                    "a file made with --split_utterances repeats utterances: import the one made without"
                )
            found[name] = (split, fields)
    return found


def _table(content: Content, dialogues: Mapping[str, tuple[str, Sample]], *, iemocap: bool) -> tuple[pd.DataFrame, list[Any]]:
    """The utterances, and their labels as they stand in the file."""
    columns: dict[str, list[Any]] = {name: [] for name in ("dialogue_id", "speaker", "split", "text")}
    labels: list[Any] = []
    for name, (split, fields) in dialogues.items():
        where = at(content.path, dialogue=name)
        mine = as_list(fields["label"], f"{where}labels: ")
        count = len(mine)
        if not count:
            raise InputError(f"{where}expected utterances, found none")
        speakers = as_strings(fields["speaker"], f"{where}speakers: ")
        texts = as_strings(fields["sentence"], f"{where}sentence: ")
        for what, found in (("speakers", speakers), ("sentences", texts)):
            if len(found) != count:
                raise InputError(f"{where}expected {count} {what}, as many as labels, found {len(found)}")
        if iemocap:
            known = IEMOCAP.fullmatch(name)
            if not known or not set(speakers) <= {"M", "F"}:
                found_instead = shown(name) if not known else f"a speaker {shown(min(set(speakers) - {'M', 'F'}))}"
                raise InputError(f"{where}expected a name as Ses01F_impro01 and speakers M and F, found {found_instead}")
            columns["speaker"] += [actor(name, letter) for letter in speakers]
        else:
            columns["speaker"] += [name] * count
        columns["dialogue_id"] += [name] * count
        columns["split"] += [split] * count
        columns["text"] += texts
        labels += mine
    table = pd.DataFrame(columns)
    return with_sessions(table) if iemocap else table, labels


def _read(content: Content, _choices: Choices, *, classes: tuple[str, ...]) -> Published:
    """``classes``: IEMOCAP's; empty: MOSEI."""
    dialogues = _dialogues(content)
    table, labels = _table(content, dialogues, iemocap=bool(classes))
    speaker = (
        "within a session M and F are two people: Ses01_M" if classes else "the file calls everyone M, so each video counts as one speaker"
    )
    notes = [f"speaker: {speaker}", "dev: the first tenth of the published training dialogues, as the file has it"]
    if classes:
        columns = {"emotion": _classes(labels, classes, content, table)}
        targets = {"emotion": Target("classes", classes)}
        notes.append(quirk(table.assign(**columns)))
        if classes == FOUR:
            notes.append("no utterance is labelled excited or frustrated: such utterances are not in the file, and dialogues have gaps")
    elif isinstance(labels[0], list | tuple | np.ndarray):
        several = np.array([as_integers(label, f"{_at(content, table, row)}labels: ") for row, label in _six(labels, content, table)])
        columns = {name: _classes(list(several[:, k]), ("no", "yes"), content, table) for k, name in enumerate(EMOTIONS)}
        targets = {name: Target("classes", ("no", "yes")) for name in EMOTIONS}
    else:
        names = SEVEN if any(is_number(label) and label > 1 for label in labels) else TWO
        columns, targets = {"sentiment": _classes(labels, names, content, table)}, {"sentiment": Target("classes", names)}
    arrays = {short: partial(_vectors, content, dialogues, name) for name, short in _ARRAYS.items() if _has_vectors(dialogues, name)}
    words = "sbert" if "sbert" in arrays else "text"
    wanted = {"text": words, "audio": "audio", "visual": "visual"}
    modalities = {modality: array for modality, array in wanted.items() if array in arrays}
    made: dict[str, Callable[[], Vectors]] = dict(arrays)
    return Published("IEMOCAP" if classes else "CMU-MOSEI", table.assign(**columns), targets, made, modalities, tuple(notes))


def _six(labels: list[Any], content: Content, table: pd.DataFrame) -> list[tuple[int, Any]]:
    """The labels with their rows, where each is one of six numbers."""
    for row, label in enumerate(labels):
        if not isinstance(label, list | tuple | np.ndarray) or (isinstance(label, np.ndarray) and label.ndim != 1) or len(label) != 6:
            raise InputError(f"{_at(content, table, row)}labels: expected {len(EMOTIONS)} of 0 or 1, found {describe(label)}")
    return list(enumerate(labels))


def _classes(labels: list[Any], names: tuple[str, ...], content: Content, table: pd.DataFrame) -> list[str]:
    """Numbers as names."""
    made = []
    for row, label in enumerate(labels):
        if not (is_number(label) and label in range(len(names))):
            raise InputError(f"{_at(content, table, row)}labels: expected a number from 0 to {len(names) - 1}, found {shown(label)}")
        made.append(names[int(label)])
    return made


def _at(content: Content, table: pd.DataFrame, row: int) -> str:
    name = table["dialogue_id"].iloc[row]
    return at(content.path, dialogue=name, utterance=row - int(np.argmax(table["dialogue_id"].to_numpy(dtype=object) == name)))


def _has_vectors(dialogues: Mapping[str, tuple[str, Sample]], name: str) -> bool:
    """Whether the first dialogue has such a field, of something else than words."""
    value = next(iter(dialogues.values()))[1].get(name)
    return value is not None and not (isinstance(value, list | tuple) and value and isinstance(value[0], str))


def _vectors(content: Content, dialogues: Mapping[str, tuple[str, Sample]], name: str) -> Vectors:
    held = [Held(dialogue, [str(k) for k in range(len(fields["label"]))], fields.get(name)) for dialogue, (_, fields) in dialogues.items()]
    return stack(content.path, _ARRAYS[name], held)


_SAYS = "as COGMEN and those after it publish it (train, dev, test as lists of samples)"
LAYOUTS = (
    Layout(
        "cogmen-iemocap",
        f"IEMOCAP with six emotions {_SAYS}",
        "pickle",
        partial(_is_iemocap, four=False),
        partial(_read, classes=LABELS),
        MAPS,
        _CLASSES,
    ),
    Layout(
        "cogmen-iemocap-4",
        f"IEMOCAP with four emotions {_SAYS}",
        "pickle",
        partial(_is_iemocap, four=True),
        partial(_read, classes=FOUR),
        records=_CLASSES,
    ),
    Layout(
        "cogmen-mosei",
        f"CMU-MOSEI {_SAYS}",
        "pickle",
        _is_mosei,
        partial(_read, classes=()),
        records=_CLASSES,
    ),
)
"""See :mod:`dgl_merc.corpus.readers.layout`."""
