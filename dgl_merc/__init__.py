"""dglmerc: multimodal emotion recognition in conversation (MERC) as learning on DGL heterographs.

A dialogue goes in, an emotion per utterance comes out, and at every step the graph can be looked at::

    corpus  ->  graphs  ->  kernels  ->  layers  ->  models + heads  ->  training  ->  cli

Each room knows only the rooms to its left. Importing this package imports neither torch nor DGL.
"""

from dgl_merc.version import __version__

__all__ = ["__version__"]
