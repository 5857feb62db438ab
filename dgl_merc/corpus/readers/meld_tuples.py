"""MELD as the field's pickles have it: all dialogues numbered through, train and dev in one split.

=============== =======================================================================================================
meld-text-audio tuple of 9: ids, speakers, emotion, text, audio, sentences, train, test, sentiment. ``MELD_features_raw.pkl`` of
                DialogueRNN and DialogueGCN (text 600, audio 300 wide)
meld-tuple      tuple of 10: ids, speakers, emotion, text, audio, visual, sentences, train, test, rest. ``MELD_features_raw1.pkl`` of
                MMGCN, MM-DFN and M3Net (600, 300, 342)
meld-roberta    tuple of 13: ids, speakers, emotion, roberta1 to roberta4, audio, visual, sentences, train, test, rest.
                ``meld_multimodal_features.pkl`` of SDT (1024, 300, 342)
meld-roberta-sentiment  tuple of 14: the same with sentiment after emotion: CFN-ESA's and GraphSmile's
=============== =======================================================================================================

Each item is a dict: dialogue (a whole number) -> a list with one entry an utterance. ids: whole numbers; speakers: a vector of 9 with one
1; emotion and sentiment: whole numbers; vectors: an array [n, W] or a list of arrays; sentences: text. train and test are collections of
dialogues.

Emotions: 0 neutral, 1 surprise, 2 fear, 3 sadness, 4 joy, 5 disgust, 6 anger. Sentiments are numbers too, and no published line says
which is which in all of these files; but in MELD joy is always positive, neutral always neutral, and anger, disgust, fear and sadness
always negative (all 13,708 utterances of the official CSVs: ``pandas.crosstab``), so the file itself tells. Where it does not, sentiment
is left out. The last item of 10 and 13, which no loader reads, is sentiment where it has its form and passes this test; otherwise it is
only named.

Splits. The official files number each split from 0: train 0 to 1038 without 60 (1038 dialogues; MELD's README counts 1039), dev 0 to 113,
test 0 to 279. Here they follow each other: 0 to 1038, 1039 to 1152, 1153 to 1432. ``train`` holds the first two (1152 dialogues), and most
code draws its dev from both. Where the numbers are such (train below 1153, test from there), dialogues 1039 to 1152 of ``train`` become
dev, which is MELD's own; otherwise there is no dev and a note says how to make one.

Quirks. Speakers are numbered within each dialogue, so nobody is known across dialogues. An utterance in whose frames no face was found
has a vector of zeros in ``visual`` (an audit counts 3407 of 9989 in train): it is kept, and counted. That audit also found nonzero visual
vectors of dev and test dialogues that equal those of the train dialogue of the same official number: the visual features of these files
tell little. Dialogue 60 is in no file.

Sources. Nine items: declare-lab/conv-emotion, DialogueGCN/dataloader.py, class MELDDataset: ``self.videoIDs, self.videoSpeakers,
self.videoLabelsEmotion, self.videoText, self.videoAudio, self.videoSentence, self.trainVid, self.testVid, self.videoLabelsSentiment =
pickle.load(open(path, 'rb'))`` and the comment below it, ``{'neutral': 0, 'surprise': 1, 'fear': 2, 'sadness': 3, 'joy': 4, 'disgust': 5,
'anger':6}``; DialogueRNN/dataloader.py reads the same file for its sentiment. Ten: hujingwen6666/MMGCN, dataloader.py (``self.testVid, _
=``) and zerohd4869/MM-DFN, code/dataloader.py (``self.testVid,self.aaa =``); ``torch.FloatTensor(self.videoSpeakers[vid])`` in
``__getitem__``, 9 wide and of the current session only: zerohd4869/MM-DFN issue 13; ``n_speakers = 9`` and the widths: MMGCN, train.py.
Thirteen: butterfliesss/SDT, dataloader.py. Fourteen: lijfrank-open/CFN-ESA and lijfrank-open/GraphSmile, dataloader.py, class
MELDDataset_BERT (``self.videoLabels, self.videoSentiments, self.videoText0, ...``); widths: GraphSmile, run.py. Numbers of the splits:
comments in two public loaders of the file (``0-1038:train 1039-1152:valid``; ``val_keys = [x for x in range(1039, 1153)]``) and its
counts of dialogues (1152 and 280), which fit MELD's official files without dialogue 60. The pickles themselves were not to be had here:
the types of entries follow from how the loaders use them.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace
from functools import partial

import pandas as pd

from dgl_merc.corpus.readers.layout import Choices, Content, Layout, Published
from dgl_merc.corpus.readers.meld import EMOTIONS, SENTIMENTS
from dgl_merc.corpus.readers.tuples import ROBERTA, Opened, Tuple, fits
from dgl_merc.corpus.reading.content import describe
from dgl_merc.corpus.targets import Target
from dgl_merc.errors import InputError

__all__ = ["LAYOUTS", "MELD", "read_meld_tuple", "sentiment_order"]

MELD = re.compile(r"\d{1,6}")
"""What a dialogue is called."""
_FIRST_DEV, _FIRST_TEST = 1039, 1153
_NO_DEV = "no dev split: the dialogues are not numbered as MELD's; dglmerc corpus split OUT NEW --dev .1 --test keep makes one of train"
_SURE = {"joy": "positive", "neutral": "neutral", **dict.fromkeys(("anger", "disgust", "fear", "sadness"), "negative")}


def sentiment_order(emotions: Sequence[str], numbers: Sequence[int]) -> dict[int, str] | None:
    """Which sentiment each number is, by the emotions it goes with; None: they do not tell.

    Args:
        emotions: [U] MELD's.
        numbers: [U] the sentiments' numbers.

    >>> sentiment_order(["joy", "neutral", "anger", "surprise"], [1, 0, 2, 1])
    {1: 'positive', 0: 'neutral', 2: 'negative'}
    >>> sentiment_order(["joy", "neutral", "anger", "joy"], [1, 0, 2, 2]) is None
    True
    """
    pairs = dict.fromkeys((number, _SURE[emotion]) for emotion, number in zip(emotions, numbers, strict=True) if emotion in _SURE)
    order = dict(iter(pairs))
    told = len(pairs) == len(order) == len(set(order.values())) == len(SENTIMENTS)
    return order if told and set(numbers) <= set(order) else None


def read_meld_tuple(content: Content, made: Tuple) -> Published:
    """Any of MELD's tuples, with its own dev split and its sentiment where the file tells them."""
    opened = Opened(content, made)
    published = opened.published()
    table, notes = published.table, list(published.notes)
    if "dev" not in made.items:
        table["split"], said = _own_dev(table)
        notes.append(said)
    targets = dict(published.targets)
    for item in [item for item in ("sentiment", "rest") if item in made.items]:
        order = None
        try:
            numbers = opened.numbers(item, len(SENTIMENTS))
            order = sentiment_order(table["emotion"].tolist(), numbers)
        except InputError:
            if item != "rest":
                raise
        if order is not None:
            table["sentiment"] = pd.Series([order[number] for number in numbers], dtype="str")
            targets["sentiment"] = Target("classes", SENTIMENTS)
            said = ", ".join(f"{number} {order[number]}" for number in sorted(order))
            notes.append(f"sentiment: {said}, as the emotions tell")
        elif item == "rest":
            notes.append(f"the last item, {describe(opened.items['rest'], 0)}, is not read, as no published loader reads it")
        else:
            notes.append("sentiment was left out: the emotions it goes with do not tell which number is which")
    return replace(published, table=table, targets=targets, notes=tuple(notes))


def _own_dev(table: pd.DataFrame) -> tuple[pd.Series[str], str]:
    """The split of each utterance, MELD's own where the dialogues are numbered as there, and what to say."""
    number, split = table["dialogue_id"].astype("int64"), table["split"]
    if not ((number < _FIRST_TEST) == (split == "train")).all():
        return split, _NO_DEV
    dev = (split == "train") & (number >= _FIRST_DEV)
    said = f"{table['dialogue_id'][dev].nunique()} dialogues of the file's train, {_FIRST_DEV} to {_FIRST_TEST - 1}, are MELD's dev"
    return split.mask(dev, "dev"), said


def _layout(name: str, says: str, items: str, modalities: dict[str, str]) -> Layout:
    names = items.replace("ROBERTA", " ".join(ROBERTA)).split()
    made = Tuple("MELD", tuple(names), EMOTIONS, "one-hot", MELD, modalities)

    def read(content: Content, _choices: Choices) -> Published:
        return read_meld_tuple(content, made)

    return Layout(name, says, "pickle", partial(fits, made=made), read)


_THREE = {"text": "text", "audio": "audio", "visual": "visual"}
LAYOUTS = (
    _layout(
        "meld-text-audio",
        "MELD as DialogueRNN and DialogueGCN publish it: a tuple of 9",
        "ids speakers emotion text audio sentences train test sentiment",
        {"text": "text", "audio": "audio"},
    ),
    _layout(
        "meld-tuple",
        "MELD as MMGCN, MM-DFN and M3Net publish it: a tuple of 10",
        "ids speakers emotion text audio visual sentences train test rest",
        _THREE,
    ),
    _layout(
        "meld-roberta",
        "MELD as SDT publishes it: a tuple of 13",
        "ids speakers emotion ROBERTA audio visual sentences train test rest",
        {**_THREE, "text": "roberta_mean"},
    ),
    _layout(
        "meld-roberta-sentiment",
        "MELD as CFN-ESA and GraphSmile publish it: a tuple of 14",
        "ids speakers emotion sentiment ROBERTA audio visual sentences train test rest",
        {**_THREE, "text": "roberta_mean"},
    ),
)
"""See :mod:`dgl_merc.corpus.readers.layout`."""
