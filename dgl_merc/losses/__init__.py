"""Losses, each with its equation."""

from dgl_merc.losses.classification import cross_entropy

__all__ = ["cross_entropy"]
