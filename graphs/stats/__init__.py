"""Looking at graphs in numbers: pandas tables of the edges of a store, of what they join, of transitions and of missing modalities."""

from dgl_merc.graphs.stats.dialogue import dialogue_utterances
from dgl_merc.graphs.stats.edges import TOGETHER, agreement_by_weight, edge_statistics, homophily, weight_agreement, weight_histogram
from dgl_merc.graphs.stats.space import common_space_correlations, correlations_in_words
from dgl_merc.graphs.stats.survey import Survey
from dgl_merc.graphs.stats.utterances import (
    KINDS,
    emotion_shifts,
    emotion_transitions,
    missing_by_label,
    missing_modalities,
    presence_patterns,
)

__all__ = [
    "KINDS",
    "TOGETHER",
    "Survey",
    "agreement_by_weight",
    "common_space_correlations",
    "correlations_in_words",
    "dialogue_utterances",
    "edge_statistics",
    "emotion_shifts",
    "emotion_transitions",
    "homophily",
    "missing_by_label",
    "missing_modalities",
    "presence_patterns",
    "weight_agreement",
    "weight_histogram",
]
