"""Dialogues' graphs as pictures: functions of tables that return matplotlib figures, and ask for no display.

Colour-blind safe and readable in grey: what a colour says, a letter, a shape or a place says too. Save with :func:`save`.
"""

from dgl_merc.graphs.draw.arcs import arcs_to_draw
from dgl_merc.graphs.draw.distributions import equal_labels, paired_weights, raw_against_learned, weight_histograms
from dgl_merc.graphs.draw.labels import agreement, transitions
from dgl_merc.graphs.draw.matrices import adjacency, adjacency_matrix, mask
from dgl_merc.graphs.draw.timeline import timeline
from dgl_merc.graphs.pictures import save

__all__ = [
    "adjacency",
    "adjacency_matrix",
    "agreement",
    "arcs_to_draw",
    "equal_labels",
    "mask",
    "paired_weights",
    "raw_against_learned",
    "save",
    "timeline",
    "transitions",
    "weight_histograms",
]
