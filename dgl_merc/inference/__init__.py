"""Finished runs at work: new conversations in, emotions out; whole files, or utterances as they come."""

from dgl_merc.inference.predictor import Predictor
from dgl_merc.inference.utterance import Utterance

__all__ = ["Predictor", "Utterance"]
