"""IEMOCAP as the field's pickles have it: 151 dialogues of two actors, 120 to train (sessions 1 to 4) and 31 to test (session 5).

==============  ========================================================================================================
iemocap         tuple of 9: ids, speakers, emotion, text, audio, visual, sentences, train, test. ``IEMOCAP_features.pkl`` and
                ``IEMOCAP_features_raw.pkl`` of DialogueRNN and DialogueGCN (text 100, audio 100, visual 512 wide: TextCNN,
                openSMILE reduced, 3D-CNN), of MMGCN and MM-DFN (100, 1582, 342: TextCNN, openSMILE IS10, DenseNet)
iemocap-4       the same with labels 0 to 3 only; GraphSmile's (1024, 100, 512)
iemocap-roberta tuple of 12: ids, speakers, emotion, roberta1 to roberta4, audio, visual, sentences, train, test.
                ``iemocap_multimodal_features.pkl`` of SDT, CFN-ESA and GraphSmile (1024, 1582, 342). M3Net makes the same of
                two files, an ``iemocap`` and a ``cosmic-iemocap``
==============  ========================================================================================================

Each item is a dict: dialogue (``Ses01F_impro01``) -> a list with one entry an utterance. ids: text, as ``Ses01F_impro01_F000``; speakers
'M' or 'F'; emotion whole numbers; vectors lists of arrays or one array [n, W]; sentences text (written by Python 2: latin1). train and
test are collections of dialogues. There is no dev split: DialogueRNN draws a tenth of the dialogues of train, MMGCN has none and selects
on test.

Labels: 0 happy, 1 sad, 2 neutral, 3 angry, 4 excited, 5 frustrated. Maps:

    six             as they are (DialogueRNN and all that follow)
    five            excited counts as happy
    four            excited counts as happy, frustrated becomes context: 4 classes of speech emotion recognition (5531 utterances)
    four-unmerged   excited and frustrated become context: COGMEN's and GraphSmile's IEMOCAP-4
    four-all        excited counts as happy, frustrated as sad: CFN-ESA's ``IEMOCAPDatasetMerge4``

Another five, without happy, is ``--classes sad,neutral,angry,excited,frustrated``.

Columns: ``session`` (Ses01 to Ses05) and ``scripted`` (or improvised) come from the dialogue's name. Speakers are the ten actors,
``Ses01_F`` and ``Ses01_M``: the letter in a dialogue's name says which of the two wore the markers, not who speaks.

Quirks. The original release has 7380 utterances with these six labels and these pickles 7433: 53 utterances on whose label its
annotators did not agree (xxx) are in them too, as "happy" (it has 595 of those, the pickles 648). No item says which; nothing is
dropped here. Utterances with another label (fear, surprise, disgust, other) are not in them, so neighbours in a list need not be
neighbours in the conversation.

Sources. Items: declare-lab/conv-emotion, DialogueRNN/dataloader.py and DialogueGCN/dataloader.py, hujingwen6666/MMGCN, dataloader.py, and
zerohd4869/MM-DFN, code/dataloader.py, class IEMOCAPDataset: ``self.videoIDs, self.videoSpeakers, self.videoLabels, self.videoText,
self.videoAudio, self.videoVisual, self.videoSentence, self.trainVid, self.testVid = pickle.load(open(path, 'rb'), encoding='latin1')``;
labels in the comment below it: ``{'hap':0, 'sad':1, 'neu':2, 'ang':3, 'exc':4, 'fru':5}``; speakers in ``__getitem__``: ``[1,0] if x=='M'
else [0,1]``. Twelve items: butterfliesss/SDT, dataloader.py, class IEMOCAPDataset (``self.videoText, self.roberta2, self.roberta3,
self.roberta4``), lijfrank-open/CFN-ESA and lijfrank-open/GraphSmile, dataloader.py. Four labels: GraphSmile, class
IEMOCAPDataset_BERT4 (of 0 to 3, 1 and 3 are negative, 2 is neutral, 0 positive: the order of the six). Widths: MMGCN, train.py
(``feat2dim = {'IS10':1582,'3DCNN':512,'textCNN':100,'bert':768,'denseface':342,...}``), GraphSmile, run.py (``embedding_dims``); those of
DialogueRNN after a comment in a later public loader (``Text: 100, Visual: 512, Audio: 100``). M3Net: feiyuchen7/M3NET, dataloader.py.
Maps: CFN-ESA as named; speech emotion recognition: pytorch/audio pull request 2778. The count: zerohd4869/MM-DFN issue 14
(``1708 + 1849 + 1103 + 1084 + 595 + 1041 = 7380`` against 7433). That the 53 are xxx and happy is what the field says; it was not checked
against the release, nor was any of this against the pickles themselves, which are not to be had here: the types of entries follow from
how the loaders use them.
"""

from __future__ import annotations

import re
from dataclasses import replace
from typing import Any

import numpy as np

from dgl_merc.corpus.readers.layout import Choices, Content, Layout, Published
from dgl_merc.corpus.readers.tuples import ROBERTA, Opened, Tuple, fits
from dgl_merc.corpus.reading.content import is_whole

__all__ = ["IEMOCAP", "LABELS", "LAYOUTS", "MAPS", "actor", "read_iemocap"]

LABELS = ("happy", "sad", "neutral", "angry", "excited", "frustrated")
"""In the order of their indices."""
_SIX = {label: label for label in LABELS}
_FOUR = {label: label for label in LABELS[:4]}
MAPS = {
    "six": _SIX,
    "five": {"happy": "happy", "excited": "happy", **{label: label for label in ("sad", "neutral", "angry", "frustrated")}},
    "four": {**_FOUR, "excited": "happy"},
    "four-unmerged": _FOUR,
    "four-all": {**_FOUR, "excited": "happy", "frustrated": "sad"},
}
"""The field's label maps."""
IEMOCAP = re.compile(r"(?P<session>Ses0[1-5])[FM]_(?P<kind>impro|script)\w{1,16}")
"""What a dialogue is called."""
_NO_DEV = (
    "no dev split, as published: dglmerc corpus split OUT NEW --dev .1 --test keep makes one of train "
    "(or --by session --dev Ses04 --test keep)"
)


def actor(dialogue: str, letter: str) -> str:
    """Who speaks.

    >>> actor("Ses01F_impro01", "M")
    'Ses01_M'
    """
    return f"{dialogue[:5]}_{letter}"


def _items(text: tuple[str, ...], modality: str, labels: tuple[str, ...] = LABELS) -> Tuple:
    items = ("ids", "speakers", "emotion", *text, "audio", "visual", "sentences", "train", "test")
    return Tuple("IEMOCAP", items, labels, "letter", IEMOCAP, {"text": modality, "audio": "audio", "visual": "visual"}, actor)


def read_iemocap(content: Content, made: Tuple) -> Published:
    """Any of IEMOCAP's tuples, with the columns that its dialogues' names say."""
    published = Opened(content, made).published()
    table, names = published.table, published.table["dialogue_id"]
    table["session"] = names.str.slice(0, 5)
    table["scripted"] = names.str.slice(7, 13) == "script"
    notes = published.notes if "dev" in made.items else (*published.notes, _NO_DEV)
    if len(made.labels) == len(LABELS):
        happy = int((table["emotion"] == "happy").sum())
        notes += (
            f"emotion: some of the {happy} happy are said to be utterances without agreement (xxx in the release; 53 in all of IEMOCAP)",
        )
    return replace(published, table=table, notes=notes)


def _only_four(emotions: dict[Any, Any]) -> bool:
    """Whether no label is above 3. Looks at each list once, however often it is named."""
    for entries in {id(entries): entries for entries in emotions.values()}.values():
        if isinstance(entries, np.ndarray) and entries.dtype.kind in "iu":
            if entries.size and entries.max() > 3:
                return False
        elif isinstance(entries, list | tuple) and any(is_whole(label) and label > 3 for label in entries):
            return False
    return True


def _layout(name: str, says: str, made: Tuple, four: bool | None = None) -> Layout:
    def recognise(content: Content) -> bool:
        return fits(content, made) and (four is None or _only_four(content.value[2]) == four)

    def read(content: Content, _choices: Choices) -> Published:
        return read_iemocap(content, made)

    return Layout(name, says, "pickle", recognise, read, {"four": _FOUR} if len(made.labels) == 4 else MAPS)


LAYOUTS = (
    _layout("iemocap", "IEMOCAP as DialogueRNN, DialogueGCN, MMGCN and MM-DFN publish it: a tuple of 9", _items(("text",), "text"), False),
    _layout("iemocap-4", "IEMOCAP with four labels as GraphSmile publishes it: a tuple of 9", _items(("text",), "text", LABELS[:4]), True),
    _layout("iemocap-roberta", "IEMOCAP as SDT, CFN-ESA and GraphSmile publish it: a tuple of 12", _items(ROBERTA, "roberta_mean")),
)
