"""What a model looked at: its weights, what its answers become without an edge, an utterance or a modality, and a page of all dialogues."""

from dgl_merc.explanations.explainer import Explainer
from dgl_merc.explanations.exploring import explore_run, explore_store

__all__ = ["Explainer", "explore_run", "explore_store"]
