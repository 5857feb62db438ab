"""All pairs of a dialogue's nodes of one type, and how many hops lead from one's utterance to the other's along the relation edges.

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
from dgl_merc.graphs.edges import expand
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
        node_type: of both ends.
        src: [P] ids within the type.
        dst: [P] the same.
    """

    graph: Structure | Any
    node_type: str
    src: Tensor
    dst: Tensor

    @classmethod
    def of(cls, graph: Structure | Any, node_type: str = UTTERANCE) -> DialoguePairs:
        """Those of :meth:`~dgl_merc.graphs.Structure.pairs`; of a DGL graph all within each of its dialogues."""
        if isinstance(graph, Structure):
            return cls(graph, node_type, *graph.pairs(node_type))
        counts = graph.batch_num_nodes(node_type).long()
        end = torch.repeat_interleave(torch.cumsum(counts, 0), counts)
        return cls(graph, node_type, *expand(end - torch.repeat_interleave(counts, counts), end))

    def hops(self, buckets: int) -> Tensor:
        """[P] int64: how many hops lead from src's utterance to dst's, as :func:`hops` counts.

        Raises:
            ValueError: a DGL graph does not say which utterance a node belongs to.
        """
        if isinstance(self.graph, Structure):
            position = self.graph.position[self.graph.nodes[self.node_type]]
            return hops(self.graph.spec, position[self.src] - position[self.dst], buckets)
        return self._search(buckets).to(self.src.device)

    def _search(self, buckets: int) -> Tensor:
        from scipy.sparse import coo_array
        from scipy.sparse.csgraph import shortest_path

        graph: Any = self.graph
        edges = EdgeList.of(graph, [(UTTERANCE, r, UTTERANCE) for r in RELATIONS], (UTTERANCE,))
        size = int(graph.num_nodes(UTTERANCE))
        ends = edges.src.cpu().numpy(), edges.dst.cpu().numpy()
        matrix = coo_array((np.ones(len(ends[0])), ends), shape=(size, size)).tocsr()
        belongs, found, begin, first = self._utterances(), [], 0, 0
        for length, count in zip(graph.batch_num_nodes(UTTERANCE).tolist(), graph.batch_num_nodes(self.node_type).tolist(), strict=True):
            inside, at = slice(begin, begin + length), belongs[first : first + count] - begin
            paths = shortest_path(matrix[inside, inside], method="D", unweighted=True)[np.ix_(at, at)]  # [src, dst]
            found.append(np.where(np.isinf(paths), buckets, np.minimum(paths, buckets - 1)).T.ravel())
            begin, first = begin + length, first + count
        return torch.from_numpy(np.concatenate([np.zeros(0), *found]).astype(np.int64))

    def _utterances(self) -> np.ndarray[tuple[int], np.dtype[np.int64]]:
        """[N] the utterance of each node of a DGL graph."""
        graph: Any = self.graph
        belongs = np.arange(graph.num_nodes(self.node_type))
        if self.node_type != UTTERANCE:
            edges = EdgeList.of(graph, [(self.node_type, "part_of", UTTERANCE)], (self.node_type,), (UTTERANCE,))
            if not np.array_equal(np.sort(edges.src.cpu().numpy()), belongs):
                raise ValueError(
                    f"distances are between utterances: each of the {len(belongs)} nodes of {self.node_type!r} needs one part_of edge "
                    f"to its own, got {len(edges.src)} edges"
                )
            belongs[edges.src.cpu().numpy()] = edges.dst.cpu().numpy()
        return belongs
