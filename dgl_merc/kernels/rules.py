"""Weights and masks as rules, so that nothing of the size of a complete edge list need exist.

A kernel asks a rule for the value of one pair of nodes; each backend asks for its own pairs, in its own layout, and gets the same values.

The mask has one definition, a counter hash (all arithmetic modulo 2^32, >> logical):

    mix(h)  = h ^= h >> 16;  h *= 0x7FEB352D;  h ^= h >> 15;  h *= 0x046CA68B;  h ^= h >> 16
    node    = mix(mix(mix(mix(seed) + step) + dialogue) + position M + modality)
    pair    = node_i + node_j;  pair ^= pair >>> 13;  pair *= 0x2C1B3C6D         >>> keeps the sign bit
    kept    = (pair mod 2^31) >= rate 2^31            an edge; a node (eq. 19) likewise, with pair = node ^ 0x5BD1E995

symmetric in i and j, and the same in every backend, batch, tile, rank and thread count. ``dialogue`` is the dialogue's number in its
corpus (``Structure.keys``). A pair's word takes five operations, because it is made for every pair of every step.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

import torch
from torch import Tensor

from dgl_merc.graphs import Structure
from dgl_merc.graphs.similarity import arccos_weights

__all__ = ["ArccosWeight", "HashMask", "SoftmaxWeight"]

_WORD = 0xFFFFFFFF
_Words = TypeVar("_Words", int, Tensor)


@dataclass(frozen=True)
class ArccosWeight:
    """Edge weights by arccos similarity (MGLRA eq. 17, 18): ``1 - arccos(cos(x_i, x_j)) / pi``, times ``scale`` across modalities.

    Attributes:
        x: node type -> [N, D], the features whose similarity weighs (in MGLRA the unmasked X^S; in SGRNet g, of type ``utterance``);
            gradients flow.
        scale: aleph of eq. 18: a number, or a tensor [] with gradient.
        normalise: divide by pi. SGRNet's eq. 22 prints ``1 - arccos(...)``, without: False.
    """

    x: Mapping[str, Tensor]
    scale: float | Tensor = 1.0
    normalise: bool = True

    def of_cosine(self, cosine: Tensor) -> Tensor:
        """[...] cosines to weights, before ``scale``; at least float32."""
        return arccos_weights(cosine, normalise=self.normalise)


@dataclass(frozen=True)
class SoftmaxWeight:
    """Edge weights by attention (DialogueGCN, section 3.2.2): ``exp(q_i . k_j) / sum over j' of exp(q_i . k_j')``.

    j' runs over the neighbours of i, whatever their relation, and over i itself, whose share weighs what i says to itself.

    Attributes:
        q: [U, K] of the utterances that hear; gradients flow.
        k: [U, K] of those that are heard; gradients flow.
    """

    q: Tensor
    k: Tensor

    def promoted(self) -> SoftmaxWeight:
        """In one floating type, float32 at least: exponentials of less are too coarse."""
        dtype = torch.promote_types(torch.promote_types(self.q.dtype, self.k.dtype), torch.float32)
        return SoftmaxWeight(self.q.to(dtype), self.k.to(dtype))


def _mix(h: _Words) -> _Words:
    """One round on [..] int64 values (or an int) below 2^32. Both factors are below 2^31, so a product never leaves int64."""
    h = h ^ (h >> 16)
    h = (h * 0x7FEB352D) & _WORD
    h = h ^ (h >> 15)
    h = (h * 0x046CA68B) & _WORD
    return h ^ (h >> 16)


@dataclass(frozen=True)
class HashMask:
    """A random mask that is a function of its arguments, not of a generator's state.

    Attributes:
        seed: of the run.
        rate: the share that is masked, 0 to 1.
        step: of training; another step, another mask.
    """

    seed: int
    rate: float
    step: int = 0

    def __post_init__(self) -> None:
        if not 0.0 <= self.rate <= 1.0:
            raise ValueError(f"rate must be from 0 to 1, got {self.rate}")

    def node_words(self, dialogue: Tensor, position: Tensor, modality: Tensor, modalities: int) -> Tensor:
        """The word of each node.

        Args:
            dialogue: [...] number of the dialogue in its corpus.
            position: [...] place in the dialogue.
            modality: [...] number of the modality.
            modalities: M.

        Returns:
            [...] int32.
        """
        word = _mix((_mix(self.seed & _WORD) + self.step) & _WORD)
        words = _mix((dialogue + word) & _WORD)
        words = _mix((words + position * modalities + modality) & _WORD)
        return torch.where(words >= 1 << 31, words - (1 << 32), words).to(torch.int32)

    def words(self, graph: Structure | Any, modalities: Sequence[str]) -> Tensor:
        """[N] the words of the nodes of all modalities, stacked: those of the first, then those of the second, ...

        Raises:
            ValueError: a DGL graph whose nodes do not say where they stand.
        """
        if isinstance(graph, Structure):
            where = [(graph.keys[graph.dialogue[u]], graph.position[u]) for u in (graph.nodes[m] for m in modalities)]
        else:
            if not all({"dialogue", "position"} <= set(graph.nodes[m].data) for m in modalities):
                raise ValueError("a HashMask needs node data 'dialogue' and 'position' in the graph; Structure.graph() puts them there")
            where = [(graph.nodes[m].data["dialogue"].long(), graph.nodes[m].data["position"].long()) for m in modalities]
        dialogue, position = (torch.cat(parts) for parts in zip(*where, strict=True))
        modality = torch.cat([torch.full_like(p, k) for k, (_, p) in enumerate(where)])
        return self.node_words(dialogue, position, modality, len(modalities))

    def kept_pairs(self, a: Tensor, b: Tensor) -> Tensor:
        """Whether the edge between nodes with words ``a`` and ``b`` is kept.

        Args:
            a: int32, of any shape that broadcasts with ``b``.
            b: int32.

        Returns:
            bool, of the common shape.
        """
        return self._below(a, b) < 0

    def pair_factors(self, a: Tensor, b: Tensor, dtype: torch.dtype) -> Tensor:
        """The same as 0 and 1 in a floating type: multiplying by bool is several times slower than by these."""
        return (self._below(a, b) >> 31).to(dtype).neg_()

    def _below(self, a: Tensor, b: Tensor) -> Tensor:
        """Negative where an edge is kept: the threshold less the pair's word."""
        h = a + b  # int32 arithmetic wraps: modulo 2^32
        h ^= h >> 13
        h *= 0x2C1B3C6D
        h &= 0x7FFFFFFF
        return h.neg_().add_(self._threshold)

    def kept_nodes(self, words: Tensor) -> Tensor:
        """Whether a node is kept (eq. 19), of the nodes' words: bool, of their shape."""
        twisted = words ^ 0x5BD1E995
        return self.kept_pairs(twisted, torch.zeros_like(twisted))

    @property
    def _threshold(self) -> int:
        return round(self.rate * (1 << 31)) - 1
