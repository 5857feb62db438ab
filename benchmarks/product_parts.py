"""Products of matrices as :mod:`products` lists them, and those of what several models have."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

from torch import Tensor

from dgl_merc.graphs import Structure
from dgl_merc.layers import Sequences

__all__ = ["KINDS", "Kind", "Pass", "Product", "Products", "attention", "emotion_head", "linear", "product", "recurrent"]

Kind = Literal["linear", "recurrent", "attention", "graph", "alignment"]
Pass = Literal["forward", "backward"]
KINDS: tuple[Kind, ...] = ("linear", "recurrent", "attention", "graph", "alignment")
GATES = {"lstm": 4, "gru": 3}


@dataclass(frozen=True)
class Product:
    """``times`` products [batch, m, k] x [batch, k, n].

    Attributes:
        part: the model's module that needs them.
        kind: of the module.
        when: the pass.
        batch: independent matrices.
        m: rows.
        k: what is summed over.
        n: columns.
        times: how often, one after the other.
    """

    part: str
    kind: Kind
    when: Pass
    batch: int
    m: int
    k: int
    n: int
    times: int = 1

    @property
    def operations(self) -> int:
        """Multiplications and additions."""
        return 2 * self.batch * self.m * self.k * self.n * self.times


Products = Iterator[Product]


def product(part: str, kind: Kind, batch: int, m: int, k: int, n: int, *, left: bool = True, right: bool = True) -> Products:
    """Y = A B; then dA = dY B^T where ``left`` needs a gradient, dB = A^T dY where ``right`` does."""
    yield Product(part, kind, "forward", batch, m, k, n)
    if left:
        yield Product(part, kind, "backward", batch, m, n, k)
    if right:
        yield Product(part, kind, "backward", batch, k, m, n)


def linear(part: str, rows: int, width: int, out: int, *, kind: Kind = "linear") -> Products:
    """[rows, width] x [width, out]."""
    return product(part, kind, 1, rows, width, out)


def recurrent(
    part: str, lengths: Tensor, width: int, hidden: int, layers: int, directions: int, *, left: bool = False, cell: str = "lstm"
) -> Products:
    """Per block of b sequences of L rows, layer and direction: X W at once, then h_t U for t = 1 ... L - 1 (h_0 is 0).

    ``left``: whether X needs a gradient.
    """
    gates = GATES[cell] * hidden
    for layer in range(layers):
        inner = hidden * directions if layer else width
        for rows, _ in Sequences(lengths).blocks:
            b, steps = rows.shape
            for _ in range(directions):
                yield from product(part, "recurrent", 1, b * steps, inner, gates, left=left or layer > 0)
                if steps > 1:
                    yield Product(part, "recurrent", "forward", 1, b, hidden, gates, steps - 1)
                    yield Product(part, "recurrent", "backward", 1, b, gates, hidden, steps - 1)  # dh_t
                    yield Product(part, "recurrent", "backward", 1, hidden, b * (steps - 1), gates)  # dU


def emotion_head(structure: Structure, width: int, hidden: int, outputs: int) -> Products:
    """W_l and W_smax."""
    yield from linear("head", structure.num_utterances, width, hidden)
    yield from linear("head", structure.num_utterances, hidden, outputs)


def attention(part: str, batch: int, rows: int, width: int, columns: int) -> Products:
    """Q K^T and A V."""
    yield from product(part, "attention", batch, rows, width, columns)
    yield from product(part, "attention", batch, rows, columns, width)
