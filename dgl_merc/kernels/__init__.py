"""Message passing on typed edges: each kernel with its formula, its backends, and the loop that defines it.

One file a kernel: ``attention_filter``, ``cross_modal_attention`` (with its ``cross_modal_blocks``), ``emotion_dynamics``,
``frequency_gcn``, ``masked_gcn`` (with its ``adjacency`` on blocks), ``rgcn``, ``semantic_attention`` (with its ``dialogue_pairs``,
``semantic_blocks`` and, in place, ``semantic_dialogues``). What they share: ``rules`` (weights, masks),
``backends`` (who computes), ``pairs`` (dense: tiles of blocks of pairs), ``edge_list`` and ``messages`` (along edges, by DGL or by torch),
``newest`` (the newest utterance alone, from the past that a stream keeps).
Gradients are first derivatives only.
"""

from dgl_merc.kernels.attention_filter import attention_filter
from dgl_merc.kernels.backends import choose_backend
from dgl_merc.kernels.cross_modal_attention import cross_modal_attention
from dgl_merc.kernels.emotion_dynamics import emotion_dynamics
from dgl_merc.kernels.frequency_gcn import frequency_gcn
from dgl_merc.kernels.masked_gcn import masked_gcn
from dgl_merc.kernels.rgcn import rgcn
from dgl_merc.kernels.rules import ArccosWeight, HashMask, SoftmaxWeight
from dgl_merc.kernels.semantic_attention import semantic_attention

__all__ = [
    "ArccosWeight",
    "HashMask",
    "SoftmaxWeight",
    "attention_filter",
    "choose_backend",
    "cross_modal_attention",
    "emotion_dynamics",
    "frequency_gcn",
    "masked_gcn",
    "rgcn",
    "semantic_attention",
]
