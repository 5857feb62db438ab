"""Losses, each with its equation."""

from dgl_merc.losses.classification import class_weights, cross_entropy

__all__ = ["class_weights", "cross_entropy"]
