"""Message passing on typed edges: each kernel with its formula, its backends, and the loop that defines it."""

from dgl_merc.kernels.masked_gcn import masked_gcn
from dgl_merc.kernels.rules import ArccosWeight, HashMask

__all__ = ["ArccosWeight", "HashMask", "masked_gcn"]
