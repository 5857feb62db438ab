"""The adjacency of the masked GCN on blocks of pairs: A + I and A[M] + I of MGLRA eq. 17-21, held or made tile by tile."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import reduce
from itertools import combinations
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from dgl_merc.graphs import Block, Blocks, EdgeType, GraphSpec, Structure
from dgl_merc.graphs.similarity import arccos_weights
from dgl_merc.kernels import pairs
from dgl_merc.kernels.edge_list import EdgeList
from dgl_merc.kernels.rules import ArccosWeight, HashMask

__all__ = ["Adjacency", "add_beside", "numbers_per_pair", "pad_given"]


def numbers_per_pair(spec: GraphSpec) -> int:
    """How many numbers a dense adjacency has per pair of utterances."""
    modalities = len(spec.modalities)
    return modalities**2 if spec.cross == "dialogue" else modalities


class Adjacency:
    """A[M] + I and A + I of a block of pieces, [b, M, R, ...] modality nodes.

    ``same`` edges are one matrix per modality, with ``cross="dialogue"`` all edges are one matrix; ``cross="utterance"`` are the M - 1
    diagonals beside those of ``same``: the k-th is what modality m hears of modality m + k (modulo M).
    """

    def __init__(
        self,
        spec: GraphSpec,
        block: Block,
        weight: ArccosWeight | Mapping[EdgeType, Tensor],
        mask: HashMask | Mapping[EdgeType, Tensor] | None,
        gain: float,
        parts: Mapping[str, Any],
        *,
        held: bool,
    ) -> None:
        self.block, self.weight, self.mask, self.gain, self.parts = block, weight, mask, gain, parts
        self.joint = spec.cross == "dialogue" and len(spec.modalities) > 1
        self.reach = spec.reach(spec.message_types[0])
        inputs = [parts[name] for name in ("unit", "words") if name in parts]
        self.rows, self.columns = inputs, [block.spread(part) for part in inputs]
        scale = weight.scale if isinstance(weight, ArccosWeight) else None
        self.shared = [scale] if self.joint and isinstance(scale, Tensor) else []
        self.mirrored = block.halo is None and not spec.causal
        self.tiles = None if held else pairs.tiles_of(block, numbers_per_pair(spec), causal=spec.causal, mirrored=self.mirrored)
        self.cosine = self._cosine(self.rows, self.columns) if held else None
        self.held: dict[bool, Tensor] = {}
        self.beside = self._beside() if spec.cross == "utterance" and len(spec.modalities) > 1 else None

    def heard(self, h: Tensor, *, masked: bool = True) -> Tensor:
        """(A[M] + I) h, or (A + I) h: [b, M, R, D] -> [b, M, R, D]."""
        columns, masked = self.block.spread(h), masked and self.mask is not None
        if self.tiles is None:
            if masked not in self.held:
                self.held[masked] = self._matrix(pairs.whole(self.block), masked, self.cosine, self.rows, self.columns, self.shared)
            y = self._multiply(self.held[masked], columns)
        else:
            make = self._heard_masked if masked else self._heard_full
            y = pairs.by_tiles(make, self.tiles, [*self.rows, h], [*self.columns, columns], self.shared)
        if self.beside is None:
            return y
        weights = self.beside[1] if masked else self.beside[0]
        if h.shape[-1] == 1:  # degrees
            return y + sum(w.unsqueeze(-1) * h.roll(-k, 1) for k, w in enumerate(weights.unbind(0), 1))
        return add_beside(y, h, weights)

    def _heard_masked(self, tile: pairs.Tile, *tensors: Tensor) -> pairs.Made:
        return self._heard(tile, tensors, masked=True)

    def _heard_full(self, tile: pairs.Tile, *tensors: Tensor) -> pairs.Made:
        return self._heard(tile, tensors, masked=False)

    def _heard(self, tile: pairs.Tile, tensors: Sequence[Tensor], *, masked: bool) -> pairs.Made:
        n = len(self.rows)
        (*rows, h_rows), (*columns, h_columns), shared = tensors[: n + 1], tensors[n + 1 : 2 * n + 2], tensors[2 * n + 2 :]
        matrix = self._matrix(tile, masked, self._cosine(rows, columns), rows, columns, shared)
        y = self._multiply(matrix, h_columns)
        if self.mirrored and tile.columns.start > tile.rows.start:
            return y, self._multiply(matrix.transpose(-1, -2), h_rows)
        return y

    def _multiply(self, matrix: Tensor, columns: Tensor) -> Tensor:
        """[b, M, r, c] [b, M, c, D] -> [b, M, r, D]; joint: [b, M r, M c] [b, M, c, D]."""
        with torch.autocast(columns.device.type, enabled=False):
            if not self.joint:
                return matrix.to(columns.dtype) @ columns
            y = matrix.to(columns.dtype) @ columns.flatten(1, 2)
            return y.view(len(y), columns.shape[1], -1, y.shape[-1])

    def _cosine(self, rows: Sequence[Tensor], columns: Sequence[Tensor]) -> Tensor | None:
        """Of all pairs, in float32 at least, also under autocast; None where weights are given."""
        if "unit" not in self.parts:
            return None
        a, b = (rows[0].flatten(1, 2), columns[0].flatten(1, 2)) if self.joint else (rows[0], columns[0])
        return pairs.cosines(a, b)

    def _matrix(
        self,
        tile: pairs.Tile,
        masked: bool,
        cosine: Tensor | None,
        rows: Sequence[Tensor],
        columns: Sequence[Tensor],
        shared: Sequence[Tensor],
    ) -> Tensor:
        """A[M] + I of a tile, or A + I."""
        factor = self._factor(tile, [rows[-1], columns[-1]] if masked and isinstance(self.mask, HashMask) else [], masked)
        if cosine is None:
            matrix = self.parts["weight"].clone() if factor is None else self.parts["weight"] * factor
            self._loops(matrix, tile).fill_(1.0)
            return matrix  # type: ignore[no-any-return]
        assert isinstance(self.weight, ArccosWeight)
        matrix = arccos_weights(cosine, normalise=self.weight.normalise, factor=factor, loops=lambda m: self._loops(m, tile))
        return self._scaled(matrix, *shared) if self.joint else matrix

    @property
    def dtype(self) -> torch.dtype:
        """Of the weights."""
        dtype: torch.dtype = (self.parts["unit"] if "unit" in self.parts else self.parts["weight"]).dtype
        return dtype

    def _factor(self, tile: pairs.Tile, words: Sequence[Tensor], masked: bool) -> Tensor | None:
        """What a tile's weights are multiplied by: 0 where there is no edge or, ``masked``, where it is masked; None: 1."""
        factors: list[Tensor] = []
        if words:
            i, j = (w.flatten(1, 2) if self.joint else w for w in words)
            factors.append(self.mask.pair_factors(i.unsqueeze(-1), j.unsqueeze(-2), self.dtype))  # type: ignore[union-attr]
        elif masked:
            factors.append(self.parts["mask"].to(self.dtype))
        near = pairs.within_reach(self.block, tile, self.reach, self.dtype)
        if near is not None:
            modalities = self.block.slots.shape[1]
            factors.append(near.tile(1, modalities, modalities).squeeze(1) if self.joint else near)
        if "keep" in self.parts:
            factors.append(self.parts["keep"].to(self.dtype))
        if masked and self.gain != 1.0:
            factors[0] *= self.gain
        return reduce(torch.mul, factors) if factors else None

    def _loops(self, matrix: Tensor, tile: pairs.Tile) -> Tensor:
        """The entries of a node with itself, as a view."""
        offset, (rows, columns) = tile.diagonal(self.block), tile.shape
        if self.joint:
            modalities = self.block.slots.shape[1]
            matrix = matrix.view(-1, modalities, rows, modalities, columns).diagonal(0, 1, 3).permute(0, 3, 1, 2)
        return matrix.diagonal(offset, -2, -1) if -rows < offset < columns else matrix[..., :0, 0]

    def _scaled(self, matrix: Tensor, *scale: Tensor) -> Tensor:
        """Aleph across modalities: [b, M r, M c]."""
        aleph = scale[0] if scale else self.weight.scale  # type: ignore[union-attr]
        if isinstance(aleph, float) and aleph == 1.0:
            return matrix
        m = self.block.slots.shape[1]
        same = torch.eye(m, dtype=torch.bool, device=matrix.device)
        factor = torch.where(same, torch.ones((), dtype=matrix.dtype, device=matrix.device), aleph)
        return (matrix.view(len(matrix), m, -1, m, matrix.shape[-1] // m) * factor[:, None, :, None]).view_as(matrix)

    def _beside(self) -> tuple[Tensor, Tensor]:
        """``cross="utterance"``: the weights [M - 1, b, M, R] of m + k at m, of A and of A[M]."""
        shifts, mask = range(1, self.block.slots.shape[1]), self.mask
        if isinstance(self.weight, ArccosWeight):
            unit = self.parts["unit"]
            with torch.autocast(unit.device.type, enabled=False):
                full = self.weight.of_cosine(_Beside.apply(unit)) * self.weight.scale  # type: ignore[no-untyped-call]
        else:
            full = self.parts["weight beside"][1:]
        if "keep beside" in self.parts:
            full = full * self.parts["keep beside"][1:]
        if mask is None:
            return full, full
        if isinstance(mask, HashMask):
            words = self.parts["words"]
            factor = mask.pair_factors(words, torch.stack([words.roll(-k, 1) for k in shifts]), full.dtype)
        else:
            factor = self.parts["mask beside"][1:]
        return full, full * factor * self.gain


def add_beside(y: Tensor, h: Tensor, weights: Tensor) -> Tensor:
    """Add to y [b, M, R, D] what each modality m hears of the modalities m + k of its own utterance, in place.

    Args:
        y: what it is added to.
        h: [b, M, R, D] what is heard.
        weights: [M - 1, b, M, R], of k = 1, 2, ...
    """
    return _AddBeside.apply(y, h, weights.to(h.dtype))  # type: ignore[no-any-return,no-untyped-call]


class _Beside(torch.autograd.Function):
    """[b, M, R, D] -> [M - 1, b, M, R]: the product of m with m + k, each of the M (M - 1) / 2 once."""

    @staticmethod
    def forward(ctx: Any, u: Tensor) -> Tensor:
        ctx.save_for_backward(u)
        out, us = u.new_empty(u.shape[1] - 1, *u.shape[:3]), u.unbind(1)
        dots = _by_pair(out)
        for m, n in combinations(range(len(us)), 2):
            dots[m, n].copy_(torch.linalg.vecdot(us[m], us[n]).unsqueeze(-1))
            dots[n, m].copy_(dots[m, n])
        return out

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *grads: Tensor) -> Any:
        (u,) = ctx.saved_tensors
        total = torch.zeros_like(u)
        us, parts, gs = u.unbind(1), total.unbind(1), _by_pair(grads[0])
        for m, n in combinations(range(len(us)), 2):
            g = gs[m, n] + gs[n, m]
            parts[m].addcmul_(g, us[n])
            parts[n].addcmul_(g, us[m])
        return total


class _AddBeside(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, y: Tensor, h: Tensor, w: Tensor) -> Tensor:
        ctx.save_for_backward(h, w)
        ctx.mark_dirty(y)
        ys, hs = y.unbind(1), h.unbind(1)
        for (m, n), weight in _by_pair(w).items():
            ys[m].addcmul_(weight, hs[n])
        return y

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *grads: Tensor) -> Any:
        h, w = ctx.saved_tensors
        dh, dw = torch.zeros_like(h), torch.empty_like(w)
        gs, hs, dhs, dws = grads[0].unbind(1), h.unbind(1), dh.unbind(1), _by_pair(dw)
        for (m, n), weight in _by_pair(w).items():
            dhs[n].addcmul_(weight, gs[m])
            dws[m, n].copy_(torch.linalg.vecdot(gs[m], hs[n]).unsqueeze(-1))
        return grads[0], dh, dw


def _by_pair(w: Tensor) -> dict[tuple[int, int], Tensor]:
    """[M - 1, b, M, R] to (m, m + k) -> [b, R, 1], as views."""
    modalities = w.shape[2]
    rows = [part.unsqueeze(-1).unbind(1) for part in w.unbind(0)]
    return {(m, (m + k) % modalities): rows[k - 1][m] for k in range(1, modalities) for m in range(modalities)}


def pad_given(structure: Structure, blocks: Blocks, values: Mapping[str, Any]) -> dict[str, list[Any]]:
    """What is given per edge, laid into blocks: name -> per block [b, M, R, C] or joint [b, M R, M C]; "... beside": [M, b, M, R]."""
    given = {name: v for name, v in values.items() if isinstance(v, Mapping)}
    if not given:
        return {}
    spec = structure.spec
    edges = EdgeList.of(structure, spec.message_types, spec.modalities)
    kind = {m: k for k, m in enumerate(spec.modalities)}
    modalities, joint = len(kind), spec.cross == "dialogue" and len(kind) > 1
    beside = edges.number({t: (kind[t[0]] - kind[t[2]]) % modalities for t in edges.types})  # which diagonal
    inside = (beside == 0) if not joint else torch.ones_like(beside, dtype=torch.bool)
    rows, others = inside.nonzero()[:, 0], (~inside).nonzero()[:, 0]
    shapes = [b.slots.shape for b in blocks.blocks]
    result: dict[str, list[Any]] = {}
    for name, edge_values in given.items():
        flat = edges.stack(edge_values, name, fill=None if name == "weight" else True)
        padded = blocks.pad_pairs(flat[rows], edges.src[rows], edges.dst[rows], joint=joint)
        result[name] = [part.flatten(3, 4).flatten(1, 2) for part in padded] if joint else padded
        slots = sum(shape.numel() for shape in shapes)
        index = beside[others] * slots + blocks.place[edges.dst[others]]
        along = torch.zeros(modalities * slots, dtype=flat.dtype, device=flat.device).scatter(0, index, flat[others])
        parts = torch.split(along.view(modalities, slots), [shape.numel() for shape in shapes], dim=1)
        result[f"{name} beside"] = [part.reshape(modalities, *shape) for part, shape in zip(parts, shapes, strict=True)]
    return result
