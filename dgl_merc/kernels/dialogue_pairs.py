"""All pairs of a dialogue's utterances, and how many hops lead from one to the other along the relation edges.

In a window graph a message goes at most ``past`` positions forward or ``future`` back at a time, so the shortest path is arithmetic
(:func:`hops`). In any other graph it is searched for.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from dgl_merc.graphs import RELATIONS, UTTERANCE, GraphSpec, Structure
from dgl_merc.kernels.edge_list import EdgeList

__all__ = ["DialoguePairs", "hops"]


def hops(spec: GraphSpec, apart: Tensor, buckets: int) -> Tensor:
    """The distance between utterances of a window graph.

    Args:
        spec: who is connected.
        apart: [...] int64, position(src) - position(dst).
        buckets: B; a greater distance counts as B - 1.

    Returns:
        [...] 0 ... B - 1, or B where no path leads.

    >>> hops(GraphSpec(("text",), past=10, future=2), torch.tensor([-11, -1, 0, 1, 3]), 32).tolist()
    [2, 1, 0, 1, 2]
    >>> hops(GraphSpec(("text",), causal=True), torch.tensor([-1, 1]), 32).tolist()
    [1, 32]
    """
    result = torch.zeros_like(apart)
    for step, distance in ((spec.past, -apart), (0 if spec.causal else spec.future, apart)):
        far = torch.full_like(apart, buckets) if step == 0 else ((distance + step - 1) // step).clamp(max=buckets - 1)
        result = torch.where(distance > 0, far, result)
    return result


@dataclass(frozen=True, eq=False)
class DialoguePairs:
    """P pairs, by (dialogue, dst, src).

    Attributes:
        graph: what they are of: a structure or a DGL heterograph.
        src: [P].
        dst: [P].
    """

    graph: Structure | Any
    src: Tensor
    dst: Tensor

    @classmethod
    def of(cls, graph: Structure | Any) -> DialoguePairs:
        """Those of :meth:`~dgl_merc.graphs.Structure.pairs`; of a DGL graph all within each of its dialogues."""
        if isinstance(graph, Structure):
            return cls(graph, *graph.pairs())
        lengths = graph.batch_num_nodes(UTTERANCE).long()
        return cls(graph, *Structure.of(lengths[lengths > 0].tolist(), GraphSpec((_ANY,))).to(graph.device).pairs())

    def hops(self, buckets: int) -> Tensor:
        """[P] int64: how many hops lead from src to dst, as :func:`hops` counts."""
        if isinstance(self.graph, Structure):
            return hops(self.graph.spec, self.graph.position[self.src] - self.graph.position[self.dst], buckets)
        return self._search(buckets).to(self.src.device)

    def _search(self, buckets: int) -> Tensor:
        from scipy.sparse import coo_array
        from scipy.sparse.csgraph import shortest_path

        graph: Any = self.graph
        edges = EdgeList.of(graph, [(UTTERANCE, r, UTTERANCE) for r in RELATIONS], (UTTERANCE,))
        size = int(graph.num_nodes(UTTERANCE))
        ends = edges.src.cpu().numpy(), edges.dst.cpu().numpy()
        matrix = coo_array((np.ones(len(ends[0])), ends), shape=(size, size)).tocsr()
        found, begin = [], 0
        for length in graph.batch_num_nodes(UTTERANCE).tolist():
            inside = slice(begin, begin + length)
            paths = shortest_path(matrix[inside, inside], method="D", unweighted=True)  # [src, dst]
            found.append(np.where(np.isinf(paths), buckets, np.minimum(paths, buckets - 1)).T.ravel())
            begin += length
        return torch.from_numpy(np.concatenate([np.zeros(0), *found]).astype(np.int64))


_ANY = "any"  # a structure must name a modality; pairs of utterances do not depend on it
