"""Dialogues: the open format, the checks, the readers of public layouts, and the embedded corpus."""

from dgl_merc.corpus.corpus import Corpus, Dialogue, find_dialogue, presence_column
from dgl_merc.corpus.scaling import Scaling, ScalingKind
from dgl_merc.corpus.storage import SCHEMA_VERSION, open_corpus, save_corpus
from dgl_merc.corpus.targets import SPLITS, Modality, Target

__all__ = [
    "SCHEMA_VERSION",
    "SPLITS",
    "Corpus",
    "Dialogue",
    "Modality",
    "Scaling",
    "ScalingKind",
    "Target",
    "find_dialogue",
    "open_corpus",
    "presence_column",
    "save_corpus",
]
