"""Dialogues as DGL heterographs: who is connected, with which weight, in memory and on disk."""

from dgl_merc.graphs.blocks import Block, Blocks
from dgl_merc.graphs.past import Past
from dgl_merc.graphs.schema import RELATIONS, UTTERANCE, EdgeType, GraphSpec
from dgl_merc.graphs.similarity import arccos_similarity, edge_similarity
from dgl_merc.graphs.store import Store, open_store, structure_of
from dgl_merc.graphs.structure import Structure
from dgl_merc.graphs.tables import EDGE_COLUMNS, edge_table, utterance_table

__all__ = [
    "EDGE_COLUMNS",
    "RELATIONS",
    "UTTERANCE",
    "Block",
    "Blocks",
    "EdgeType",
    "GraphSpec",
    "Past",
    "Store",
    "Structure",
    "arccos_similarity",
    "edge_similarity",
    "edge_table",
    "open_store",
    "structure_of",
    "utterance_table",
]
