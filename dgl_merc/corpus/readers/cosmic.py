"""COSMIC's pickles of IEMOCAP, MELD, EmoryNLP and DailyDialog: RoBERTa's features of each utterance, and three splits.

================== ====================================================================================================
cosmic-iemocap     list of 10: speakers, emotion, roberta1 to roberta4, sentences, train, test, dev. ``iemocap_features_roberta.pkl``
cosmic-emorynlp    the same of EmoryNLP, ``emorynlp_features_roberta.pkl``
cosmic-dailydialog the same of DailyDialog, ``dailydialog_features_roberta.pkl``
cosmic-meld        list of 11: with sentiment after emotion, ``meld_features_roberta.pkl``
...-text           the four without roberta1 to roberta4 (list of 6, of MELD 7): ``iemocap.pkl`` and so on; no features, so that some
                   must be given later
comet              list of 9: xIntent, xAttr, xNeed, xWant, xEffect, xReact, oWant, oEffect, oReact. ``iemocap_features_comet.pkl`` and
                   so on: features alone, for ``--features intent=FILE:xIntent`` beside one of the others
================== ====================================================================================================

Each item is a dict: dialogue -> a list with one entry an utterance. roberta1 is RoBERTa-large's last layer at the first token, roberta2 the
one before, each a list of float32 arrays of 1024; text is ``roberta_mean``, the mean of the four. COMET's are 768 wide. The order of the
splits in the file is train, test, dev. Dialogues are called ``Ses01F_impro01`` in IEMOCAP, are whole numbers in MELD, and text in the
other two.

Speakers: 'M' or 'F' in IEMOCAP (here the ten actors, see :mod:`dgl_merc.corpus.readers.iemocap`, whose label maps and quirks these share),
'0' or '1' in DailyDialog, a vector with one 1 in MELD and EmoryNLP: known within a dialogue only. EmoryNLP and DailyDialog have the same
items otherwise, and are told apart by this: a note says so of what is taken for DailyDialog, as COSMIC's own loader of EmoryNLP asks for
'0', too.

Labels. IEMOCAP: 0 happy, 1 sad, 2 neutral, 3 angry, 4 excited, 5 frustrated. MELD: 0 neutral, 1 surprise, 2 fear, 3 sadness, 4 joy,
5 disgust, 6 anger; its sentiment as in :mod:`dgl_merc.corpus.readers.meld_tuples`. EmoryNLP: 0 joyful, 1 mad, 2 peaceful, 3 neutral, 4 sad,
5 powerful, 6 scared. DailyDialog: 0 happiness, 1 neutral, 2 anger, 3 sadness, 4 fear, 5 surprise, 6 disgust; five of six utterances are
neutral there, and its authors score F1 without neutral. EmoryNLP's sentiment in COSMIC is a map of its emotions: ``three`` here.

Quirks. COSMIC's RoBERTa was fine-tuned on the emotions of the training split. MELD's and DailyDialog's text went into RoBERTa without what
is not ASCII, ``sentences`` still has it.

Sources, all of declare-lab/conv-emotion. Items and their order: COSMIC/erc-training/dataloader.py, ``self.speakers, self.labels,
self.roberta1, self.roberta2, self.roberta3, self.roberta4, self.sentences, self.trainIds, self.testIds, self.validIds =
pickle.load(open('iemocap/iemocap_features_roberta.pkl', 'rb'), encoding='latin1')`` (class IEMOCAPRobertaCometDataset; the others likewise,
MELD with ``self.emotion_labels, self.sentiment_labels``), and ``pickle.dump([speakers, labels, roberta1, ...])`` in
COSMIC/feature-extraction/roberta_feature_extract_iemocap.py, whose ``roberta1[item] = [row for row in feat[-1][:, 0, :].detach().numpy()]``
gives the vectors, and whose first line the six items of ``iemocap.pkl``. Label maps: the dataloader's comments (IEMOCAP, EmoryNLP) and
COSMIC/erc-training/train_dailydialog.py, ``# 0 happy, 1 neutral, 2 anger, 3 sad, 4 fear, 5 surprise, 6 disgust``. For MELD the comment is
empty; M3Net (feiyuchen7/M3NET, dataloader.py) joins these features to MMGCN's labels by the same dialogues, whose order is known.
Sentiment of EmoryNLP: class EmoryNLPRobertaCometDataset. Speakers: ``[1,0] if x=='M'``, ``torch.FloatTensor(self.speakers[vid])`` (MELD),
``x=='0'`` (DailyDialog, and EmoryNLP, where a later loader of the same file reads one-hot vectors: ``np.nonzero(self.speakers[vid])[1]``).
COMET: COSMIC/feature-extraction/comet/csk_feature_extract.py, ``extract``; widths: ``D_m = 1024``, ``D_s = 768`` in train_iemocap.py. The
pickles themselves were not to be had here.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import partial

from dgl_merc.corpus.readers.emorynlp import MAPS as EMORYNLP_MAPS
from dgl_merc.corpus.readers.iemocap import IEMOCAP, MAPS, actor, read_iemocap
from dgl_merc.corpus.readers.iemocap import LABELS as IEMOCAP_LABELS
from dgl_merc.corpus.readers.layout import Choices, Content, Layout, Published
from dgl_merc.corpus.readers.meld import EMOTIONS
from dgl_merc.corpus.readers.meld_tuples import MELD, read_meld_tuple
from dgl_merc.corpus.readers.tuples import ROBERTA, Opened, Tuple, fits

__all__ = ["DAILYDIALOG", "EMORYNLP", "LAYOUTS"]

EMORYNLP = ("joyful", "mad", "peaceful", "neutral", "sad", "powerful", "scared")
"""In the order of their indices."""
DAILYDIALOG = ("happiness", "neutral", "anger", "sadness", "fear", "surprise", "disgust")
"""In the order of their indices."""
_ANY = re.compile(r".+")
Read = Callable[[Content, Tuple], Published]


def _read(content: Content, made: Tuple) -> Published:
    return Opened(content, made).published()


def _read_dailydialog(content: Content, made: Tuple) -> Published:
    published = _read(content, made)
    said = "told from EmoryNLP, which has the same items, by speakers '0' and '1' alone; of a file of EmoryNLP's all labels would be wrong"
    return replace(published, notes=(*published.notes, said))


_DATA: dict[str, tuple[Tuple, Read, Mapping[str, Mapping[str, str]]]] = {
    "iemocap": (Tuple("IEMOCAP", (), IEMOCAP_LABELS, "letter", IEMOCAP, {}, actor), read_iemocap, MAPS),
    "meld": (Tuple("MELD", (), EMOTIONS, "one-hot", MELD, {}), read_meld_tuple, {}),
    "emorynlp": (Tuple("EmoryNLP", (), EMORYNLP, "one-hot", _ANY, {}), _read, EMORYNLP_MAPS),
    "dailydialog": (Tuple("DailyDialog", (), DAILYDIALOG, "digit", _ANY, {}), _read_dailydialog, {}),
}


def _layout(name: str, *, text: bool) -> Layout:
    data, read, maps = _DATA[name]
    targets = ("emotion", "sentiment") if name == "meld" else ("emotion",)
    items = ("speakers", *targets, *(() if text else ROBERTA), "sentences", "train", "test", "dev")
    made = replace(data, items=items, modalities={} if text else {"text": "roberta_mean"})

    def read_it(content: Content, _choices: Choices) -> Published:
        return read(content, made)

    what = "without features" if text else "with RoBERTa's features"
    says = f"{data.data} as COSMIC publishes it, {what}: a list of {len(items)}"
    return Layout(f"cosmic-{name}{'-text' if text else ''}", says, "pickle", partial(fits, made=made), read_it, maps)


_COMET = Tuple("COMET", ("xIntent", "xAttr", "xNeed", "xWant", "xEffect", "xReact", "oWant", "oEffect", "oReact"), (), "", _ANY, {})
LAYOUTS = (
    *(_layout(name, text=text) for text in (False, True) for name in _DATA),
    Layout(
        "comet",
        "COMET's commonsense features as COSMIC publishes them, without labels: a list of 9",
        "pickle",
        partial(fits, made=_COMET),
        lambda content, _choices: _read(content, _COMET),
    ),
)
"""See :mod:`dgl_merc.corpus.readers.layout`."""
