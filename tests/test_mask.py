"""The mask: symmetric, of its rate, a function of all it names and of nothing else, and the documented hash."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from helpers import M2, word_is_kept, word_of
from torch import Tensor

from dgl_merc.graphs import GraphSpec, Structure
from dgl_merc.kernels import HashMask
from dgl_merc.kernels.edge_list import EdgeList


def test_mask_is_symmetric_has_its_rate_and_depends_on_all_it_names():
    s = Structure.of([60, 50], GraphSpec(M2, cross="dialogue"))
    edges = EdgeList.of(s, s.spec.message_types, s.spec.modalities)
    base = HashMask(1, 0.7)

    def left(mask: HashMask, keys: Tensor | None = None) -> Tensor:
        words = mask.words(replace(s, keys=keys) if keys is not None else s, M2)
        return mask.kept_pairs(words[edges.src], words[edges.dst])

    kept = left(base)
    matrix = torch.zeros(220, 220, dtype=torch.bool)
    matrix[edges.dst, edges.src] = kept
    assert torch.equal(matrix, matrix.T)
    assert abs(kept.double().mean() - 0.3) < 4 * (0.3 * 0.7 / (len(kept) / 2)) ** 0.5
    for other in (left(HashMask(2, 0.7)), left(HashMask(1, 0.7, 1)), left(base, torch.tensor([9, 5]))):
        assert 0.3 < (other != kept).double().mean() < 0.54  # independent masks differ in 2 * .3 * .7 = .42 of the edges
    rows = matrix[:60, :60].double()
    assert abs(torch.corrcoef(rows)[~torch.eye(60, dtype=torch.bool)].mean()) < 0.03, "neighbouring nodes' masks are related"
    factors = base.pair_factors(torch.arange(-50, 50, dtype=torch.int32)[:, None], torch.arange(7, dtype=torch.int32), torch.float64)
    assert torch.equal(
        factors, base.kept_pairs(torch.arange(-50, 50, dtype=torch.int32)[:, None], torch.arange(7, dtype=torch.int32)).double()
    )
    nodes = HashMask(1, 0.7).kept_nodes(
        HashMask(1, 0.7).node_words(*[torch.arange(20000), torch.zeros(20000, dtype=torch.long), torch.zeros(20000, dtype=torch.long)], 3)
    )
    assert abs(nodes.double().mean() - 0.3) < 0.015


@pytest.mark.parametrize("rate", [0.1, 0.3, 0.7, 0.9])
def test_the_mask_of_a_long_dialogue_looks_random(rate):
    """Columns of the mask are as unrelated as chance has it, and as many edges are left at each node."""
    n, columns, zero = 4000, 300, torch.zeros(4000, dtype=torch.int64)
    words = (mask := HashMask(3, rate, 5)).node_words(zero, torch.arange(n), zero, 3)
    kept = mask.pair_factors(words[:, None], words[None, :columns], torch.float64)
    assert abs(kept.mean() - (1 - rate)) < 0.004
    standard = (kept - kept.mean(0)) / kept.std(0)
    related = (standard.T @ standard / n)[~torch.eye(columns, dtype=torch.bool)] * n**0.5
    assert abs(related.std() - 1) < 0.03
    assert related.abs().max() < 8
    assert abs(kept.mean(1).std() / (rate * (1 - rate) / columns) ** 0.5 - 1) < 0.05


def test_the_hash_is_the_documented_one():
    mask = HashMask(2**40 + 5, 0.37, 9)
    for dialogue, position, modality in ((0, 0, 0), (7, 3, 2), (2**31 + 3, 100_000, 1)):
        word = mask.node_words(*(torch.tensor([v]) for v in (dialogue, position, modality)), 3)
        want = word_of((2**40 + 5) % 2**32, 9, dialogue, position * 3 + modality)
        assert int(word) % 2**32 == want
        for other in (1, -5, 2**31 - 1, -(2**31)):
            assert bool(mask.kept_pairs(word, torch.tensor([other], dtype=torch.int32))) == word_is_kept(want + other, 0.37)
