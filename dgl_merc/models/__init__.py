"""Models: they only compose layers, and each has its settings in one dataclass. Presets name a model and what it is trained with."""

from __future__ import annotations

from typing import Any

from dgl_merc.models.base import Model, ModelInput, Output
from dgl_merc.models.bilstm import BiLSTM, BiLSTMOptions
from dgl_merc.models.dialoguegcn import DialogueGCN, DialogueGCNOptions
from dgl_merc.models.dialoguernn import DialogueRNN, DialogueRNNOptions
from dgl_merc.models.linear import Logistic, LogisticOptions, Majority, MajorityOptions
from dgl_merc.models.m3net import M3Net, M3NetOptions
from dgl_merc.models.mglra import MGLRA, MGLRAOptions
from dgl_merc.models.mmgcn import MMGCN, MMGCNOptions
from dgl_merc.models.sgrnet import SGRNet, SGRNetOptions
from dgl_merc.models.transformer import Transformer, TransformerOptions

__all__ = ["MODELS", "Model", "ModelInput", "Output", "build_model", "options_of"]

MODELS: dict[str, tuple[type[Model], type[Any]]] = {
    "bilstm": (BiLSTM, BiLSTMOptions),
    "dialoguegcn": (DialogueGCN, DialogueGCNOptions),
    "dialoguernn": (DialogueRNN, DialogueRNNOptions),
    "logistic": (Logistic, LogisticOptions),
    "m3net": (M3Net, M3NetOptions),
    "majority": (Majority, MajorityOptions),
    "mglra": (MGLRA, MGLRAOptions),
    "mmgcn": (MMGCN, MMGCNOptions),
    "sgrnet": (SGRNet, SGRNetOptions),
    "transformer": (Transformer, TransformerOptions),
}
"""Name -> (model, its options)."""


def options_of(name: str) -> type[Any]:
    """The dataclass of a model's settings."""
    return MODELS[name][1]


def build_model(name: str, given: ModelInput, options: Any) -> Model:
    """A model with fresh weights, drawn from torch's generator."""
    make: Any = MODELS[name][0]
    model: Model = make(given, options)
    return model
