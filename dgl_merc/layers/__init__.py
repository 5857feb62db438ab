"""Modules with parameters around the kernels: they hold, the kernels compute."""

from dgl_merc.layers.context_encoder import ContextEncoder
from dgl_merc.layers.fusion import beside
from dgl_merc.layers.masked_gcn import MaskedGCN, MaskedGCNOptions
from dgl_merc.layers.sequences import Recurrent, Sequences

__all__ = ["ContextEncoder", "MaskedGCN", "MaskedGCNOptions", "Recurrent", "Sequences", "beside"]
