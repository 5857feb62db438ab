"""Modules with parameters around the kernels: they hold, the kernels compute."""

from dgl_merc.layers.attention_filter import AttentionFilter, AttentionFilterOptions
from dgl_merc.layers.context_encoder import ContextEncoder, ContextEncoderOptions
from dgl_merc.layers.cross_modal_attention import CrossModalAttention, CrossModalAttentionOptions
from dgl_merc.layers.deep_gcn import DeepGCN, DeepGCNOptions
from dgl_merc.layers.dialogue_attention import DialogueAttention
from dgl_merc.layers.dialogue_graph import DialogueGraph, DialogueGraphOptions
from dgl_merc.layers.distribution_encoder import DistributionEncoder, DistributionEncoderOptions, Gaussian
from dgl_merc.layers.dropout import Dropout
from dgl_merc.layers.frequency_gcn import FrequencyGCN
from dgl_merc.layers.fusion import beside
from dgl_merc.layers.gated_update import GatedUpdate
from dgl_merc.layers.hypergraph import HypergraphConvolutions
from dgl_merc.layers.masked_gcn import Fused, MaskedGCN, MaskedGCNOptions
from dgl_merc.layers.memory import Memory, Recall
from dgl_merc.layers.party_recurrence import PartyRecurrence
from dgl_merc.layers.probe import Probe, Seen
from dgl_merc.layers.semantic_graph import SemanticEncoder, SemanticGraph, SemanticGraphOptions, SyntacticEncoder
from dgl_merc.layers.sequences import Recurrent, Sequences
from dgl_merc.layers.speakers import SpeakerEmbedding, Speakers
from dgl_merc.layers.transformer import TransformerLayer, sinusoidal_positions
from dgl_merc.layers.uncertainty_fusion import UncertaintyFusion, UncertaintyFusionOptions, Unified

__all__ = [
    "AttentionFilter",
    "AttentionFilterOptions",
    "ContextEncoder",
    "ContextEncoderOptions",
    "CrossModalAttention",
    "CrossModalAttentionOptions",
    "DeepGCN",
    "DeepGCNOptions",
    "DialogueAttention",
    "DialogueGraph",
    "DialogueGraphOptions",
    "DistributionEncoder",
    "DistributionEncoderOptions",
    "Dropout",
    "FrequencyGCN",
    "Fused",
    "GatedUpdate",
    "Gaussian",
    "HypergraphConvolutions",
    "MaskedGCN",
    "MaskedGCNOptions",
    "Memory",
    "PartyRecurrence",
    "Probe",
    "Recall",
    "Recurrent",
    "Seen",
    "SemanticEncoder",
    "SemanticGraph",
    "SemanticGraphOptions",
    "Sequences",
    "SpeakerEmbedding",
    "Speakers",
    "SyntacticEncoder",
    "TransformerLayer",
    "UncertaintyFusion",
    "UncertaintyFusionOptions",
    "Unified",
    "beside",
    "sinusoidal_positions",
]
