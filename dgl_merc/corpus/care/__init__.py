"""Looking after a corpus: what is in it, what spoils an experiment, and corpora made of corpora.

Every function takes corpora and returns a new one, or tables. Vectors stay where they are until the new corpus is saved
(:mod:`dgl_merc.corpus.pieces`). What was done stands in ``source["steps"]``, what it changed in ``notes``.
"""

from dgl_merc.corpus.care.check import check
from dgl_merc.corpus.care.convert import keep_modalities, keep_targets, map_labels, parse_map, zeros_absent
from dgl_merc.corpus.care.export import save_table
from dgl_merc.corpus.care.findings import SEVERITIES, Finding
from dgl_merc.corpus.care.merge import merge, side_by_side
from dgl_merc.corpus.care.select import sample, take_dialogues
from dgl_merc.corpus.care.split import split_by_column, split_by_draw

__all__ = [
    "SEVERITIES",
    "Finding",
    "check",
    "keep_modalities",
    "keep_targets",
    "map_labels",
    "merge",
    "parse_map",
    "sample",
    "save_table",
    "side_by_side",
    "split_by_column",
    "split_by_draw",
    "take_dialogues",
    "zeros_absent",
]
