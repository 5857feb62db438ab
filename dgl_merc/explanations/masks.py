"""What the mask of training leaves of a dialogue's graph (MGLRA eq. 19, 20).

The mask is drawn in training only, and is a function of seed, step and place: what it leaves in a step is the same in every batch, process
and backend, and can be shown.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import pandas as pd
import torch

from dgl_merc.errors import InputError, at
from dgl_merc.explanations.explainer import Explainer
from dgl_merc.graphs import EdgeType, Structure, edge_table
from dgl_merc.kernels import HashMask
from dgl_merc.kernels.edge_list import split_nodes
from dgl_merc.layers import MaskedGCN

__all__ = ["kept_edges", "masked_edges", "masked_nodes", "masks"]


def masks(explainer: Explainer) -> MaskedGCN | None:
    """The part of a model that masks in training; None: it has none, or a rate of 0."""
    found = next((part for part in explainer.model.modules() if isinstance(part, MaskedGCN)), None)
    return found if found is not None and found.options.rate > 0 else None


def masked_edges(explainer: Explainer, step: int = 0) -> pd.DataFrame:
    """The edges of the graph, with a boolean column ``kept``: whether a message flows along it in a step of training.

    Args:
        explainer: of a dialogue.
        step: of training, from 0.

    Raises:
        InputError: the model masks nothing.
    """
    mask, layer = _mask(explainer, step)
    return kept_edges(explainer.structure, replace(mask, rate=0.0) if layer.options.mask == "nodes" else mask)


def kept_edges(structure: Structure, mask: HashMask, types: Sequence[EdgeType] | None = None) -> pd.DataFrame:
    """The edges among modality nodes, with a boolean column ``kept``: whether a mask leaves them in.

    Args:
        structure: whose keys are the dialogues' numbers in their corpus.
        mask: the rule; at a rate of 0 all are kept.
        types: which of the spec's ``message_types``, in order; default: all.
    """
    words = split_nodes(mask.words(structure, list(structure.sizes)), structure.sizes)
    kept: dict[EdgeType, torch.Tensor] = {}
    for edge_type in structure.spec.message_types if types is None else types:
        src, dst = structure.edges(edge_type)
        kept[edge_type] = mask.kept_pairs(words[edge_type[0]][src], words[edge_type[2]][dst])
    return edge_table(structure, kept, list(kept)).rename(columns={"weight": "kept"}).astype({"kept": bool})


def masked_nodes(explainer: Explainer, step: int = 0) -> pd.DataFrame:
    """The nodes of the graph: ``modality, position, shown``: whether a node has its own features in a step, or the token.

    Args:
        explainer: of a dialogue.
        step: of training, from 0.

    Raises:
        InputError: the model masks nothing.
    """
    mask, layer = _mask(explainer, step)
    structure = explainer.structure
    names = list(structure.sizes)
    shown = mask.kept_nodes(mask.words(structure, names))
    position = torch.cat([structure.position[structure.nodes[m]] for m in names])
    return pd.DataFrame(
        {
            "modality": [m for m in names for _ in range(structure.sizes[m])],
            "position": position.numpy(),
            "shown": True if layer.options.mask == "edges" else shown.numpy(),
        }
    )


def _mask(explainer: Explainer, step: int) -> tuple[HashMask, MaskedGCN]:
    layer = masks(explainer)
    if layer is None:
        raise InputError(
            f"{at(explainer.run.path)}expected a model that masks edges or nodes in training, found {explainer.run.settings.model}"
        )
    return HashMask(layer.seed, layer.options.rate, step), layer
