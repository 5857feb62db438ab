"""Losses, each with its equation."""

from dgl_merc.losses.alignment import Alignment, AlignmentOptions
from dgl_merc.losses.classification import class_weights, cross_entropy
from dgl_merc.losses.instance_alignment import HardSame, instance_alignment
from dgl_merc.losses.latent_alignment import latent_alignment
from dgl_merc.losses.prototype_alignment import prototype_alignment, sinkhorn_codes
from dgl_merc.losses.reconstruction import cosine_error
from dgl_merc.losses.regression import absolute_error

__all__ = [
    "Alignment",
    "AlignmentOptions",
    "HardSame",
    "absolute_error",
    "class_weights",
    "cosine_error",
    "cross_entropy",
    "instance_alignment",
    "latent_alignment",
    "prototype_alignment",
    "sinkhorn_codes",
]
