"""What a model looked at: its weights, and what its answers become without an edge, an utterance or a modality."""

from dgl_merc.explanations.explainer import Explainer

__all__ = ["Explainer"]
