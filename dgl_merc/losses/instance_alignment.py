"""Instance-level alignment: items of one emotion towards each other, whatever their modality (SGRNet eq. 1-6).

    s_ij = cos(z_i, z_j) / T[m_i, m_j] - X[m_i, m_j],   S_ij = exp(s_ij)
    l_i  = -1 / |P(i)| sum_{j in P(i)} log(S_ij / (S_ij + sum_{n in N(i)} S_in))
    L    = mean of l_i over the items whose P(i) is not empty

N items, an item being one utterance's vector of one modality; D their width; M modalities; T temperatures, X offsets.

Source: eq. 1-3 for s, 4 and 5 for l, which are one equation, S being symmetric, and 6 for the mean; the text around eq. 2 and below 5 for
P(i) and N(i). Our reading:

- The candidates of an item are all other labelled items of the batch, of either modality. The text says "speech-speech pairs, speech-text
  pairs and text-text pairs".
- P(i): the same label and S > 1, so s > 0: that is a cosine above T X, not above X as the text says. The gate carries no gradient.
- N(i): other labels. "... and negative otherwise" would add the items of the same label that fail the gate: ``hard_same``.
- Items without positives are no part of the mean (eq. 6 divides by all).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, Literal

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.nn.functional import logsigmoid

from dgl_merc.graphs.similarity import unit_rows

__all__ = ["HardSame", "instance_alignment"]

HardSame = Literal["ignore", "negative"]
"""What an item of the same label that fails the gate is."""

_ROWS = 128  # of a tile
_PLAIN = 30.0  # |s| up to which exp(s) is computed as it stands, and sums and products of it stay far from the ends of float32
_LEAST = -60.0  # exp of no more counts as 0: numbers near the least that float32 has cost a hundred times as much
_SUMMED = 512  # by one product: of more, MKL gives some to each thread, and their number would show in the last bits
_INF = math.inf


def instance_alignment(
    z: Tensor, labels: Tensor, modality: Tensor, temperature: Tensor, offset: Tensor, *, hard_same: HardSame = "ignore"
) -> Tensor:
    """The mean loss of the items that have a positive.

    The gradient is computed along with the loss, and only where one is asked for: what is kept is [N, D]; while the loss is computed, half
    of [N, N]. It is differentiable once.

    Args:
        z: [N, D]; rows of any length. The cosine with a zero row is 0, and the gradient of that row.
        labels: [N] int64; -1 = unlabelled: left out altogether.
        modality: [N] int64 from 0 to M - 1.
        temperature: [M, M], above 0, symmetric; no gradient.
        offset: [M, M], symmetric; no gradient.
        hard_same: what becomes of items of the same label with S <= 1. ``negative`` is the paper's text; with ``ignore``, which pushes
            no item from its own class, they count nowhere.

    Returns:
        [] in float32 at least; 0, with a gradient of 0, where no item has a positive.

    Raises:
        ValueError: other shapes, types or values, or a ``hard_same`` that does not exist.

    >>> z = torch.tensor([[1.0, 0.0], [1.0, 0.0], [0.0, 1.0]])
    >>> instance_alignment(z, torch.tensor([0, 0, 1]), torch.tensor([0, 1, 1]), torch.ones(2, 2), torch.zeros(2, 2))
    tensor(0.3133)
    """
    _check(z, labels, modality, temperature, offset, hard_same)
    dtype = torch.promote_types(z.dtype, torch.float32)
    items = _Items.of(labels, modality, temperature.detach().to(z.device, dtype), offset.detach().to(z.device, dtype))
    if z.requires_grad and torch.is_grad_enabled():
        return _InstanceAlignment.apply(z, items, hard_same)  # type: ignore[no-any-return,no-untyped-call]
    return _loss(unit_rows(z.detach().index_select(0, items.order)), items, hard_same, gradient=False)[0]


def _check(z: Tensor, labels: Tensor, modality: Tensor, temperature: Tensor, offset: Tensor, hard_same: str) -> None:
    if z.ndim != 2 or labels.shape != z.shape[:1] or modality.shape != z.shape[:1]:
        found = f"{list(z.shape)}, {list(labels.shape)} and {list(modality.shape)}"
        raise ValueError(f"z must be [N, D], labels and modality [N], found {found}")
    if labels.dtype != torch.int64 or modality.dtype != torch.int64:
        raise ValueError(f"labels and modality must be int64, found {labels.dtype} and {modality.dtype}")
    if temperature.ndim != 2 or temperature.shape[0] != temperature.shape[1] or offset.shape != temperature.shape:
        raise ValueError(f"temperature and offset must be [M, M], found {list(temperature.shape)} and {list(offset.shape)}")
    if not (temperature > 0).all() or not torch.equal(temperature, temperature.T) or not torch.equal(offset, offset.T):
        raise ValueError(f"temperature must be above 0, and it and offset symmetric, found {temperature.tolist()} and {offset.tolist()}")
    if len(modality) and not 0 <= int(modality.min()) <= int(modality.max()) < len(temperature):
        raise ValueError(f"modality must be from 0 to {len(temperature) - 1}, found {int(modality.min())} to {int(modality.max())}")
    if hard_same not in ("ignore", "negative"):
        raise ValueError(f"hard_same must be 'ignore' or 'negative', found {hard_same!r}")


@dataclass(frozen=True)
class _Tile:
    """Items of one label and one modality as rows, and as columns themselves and all that come after them."""

    start: int
    stop: int
    end: int  # of the label
    modality: int

    @property
    def rows(self) -> slice:
        return slice(self.start, self.stop)

    @property
    def same(self) -> slice:
        """Columns of the rows' label."""
        return slice(self.start, self.end)


@dataclass(frozen=True)
class _Items:
    """The labelled items by label, then modality: those of a label side by side, those of other labels too.

    Attributes:
        order: [L] the item of each place.
        tiles: every pair of items is in one tile, once.
        scale: [M, L] 1 / temperature, of a row's modality with each item.
        offset: [M, L].
        arithmetic: how S is held.
    """

    order: Tensor
    tiles: Sequence[_Tile]
    scale: Tensor
    offset: Tensor
    arithmetic: type[_Plain] | type[_Logs]

    @classmethod
    def of(cls, labels: Tensor, modality: Tensor, temperature: Tensor, offset: Tensor) -> _Items:
        many = len(temperature)
        known = (labels >= 0).nonzero()[:, 0]
        by_kind, place = torch.sort(labels[known] * many + modality[known], stable=True)
        order = known[place]
        kinds, counts = (t.tolist() for t in torch.unique_consecutive(by_kind, return_counts=True))
        stops = torch.tensor([0, *counts]).cumsum(0).tolist()
        ends = {kind // many: stop for kind, stop in zip(kinds, stops[1:], strict=True)}
        tiles = []
        for kind, (start, stop) in zip(kinds, pairwise(stops), strict=True):
            pieces = -(-(stop - start) // _ROWS)
            cuts = [start + (stop - start) * k // pieces for k in range(pieces + 1)]
            tiles += [_Tile(lo, hi, ends[kind // many], kind % many) for lo, hi in pairwise(cuts)]
        scale = temperature.reciprocal()
        greatest = float((scale + offset.abs()).max()) if many else 0.0
        column = modality[order]
        return cls(order, tiles, scale[:, column], offset[:, column], _Plain if greatest <= _PLAIN else _Logs)


class _InstanceAlignment(torch.autograd.Function):
    """The loss, and its gradient by z at once: the scores of which both are made are not kept, nor made twice."""

    @staticmethod
    def forward(ctx: Any, z: Tensor, items: _Items, hard_same: HardSame) -> Tensor:
        with torch.autocast(z.device.type, enabled=False):
            with torch.enable_grad():
                rows = z.detach().index_select(0, items.order).to(items.scale.dtype).requires_grad_()
                unit = unit_rows(rows)
            value, by_unit = _loss(unit.detach(), items, hard_same, gradient=True)
            (by_rows,) = torch.autograd.grad(unit, rows, by_unit)
        ctx.save_for_backward(torch.zeros_like(z, dtype=value.dtype).index_copy_(0, items.order, by_rows))
        ctx.dtype = z.dtype
        return value

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *grads: Tensor) -> Any:
        (gradient,) = ctx.saved_tensors
        return (gradient * grads[0]).to(ctx.dtype), None, None


@dataclass
class _Scores:
    """What is held of a tile.

    Attributes:
        all: [r, c] every column; in the end the gradient by the scores.
        hits: [r, k] the columns of the rows' label, positives in the arithmetic's form: with ``ignore`` a view of ``all``.
        misses: [r, c'] the columns from ``first`` on, negatives: a view of ``all``.
        first: an item.
    """

    all: Tensor
    hits: Tensor
    misses: Tensor
    first: int


def _loss(unit: Tensor, items: _Items, hard_same: HardSame, *, gradient: bool) -> tuple[Tensor, Tensor]:
    """The loss, and its gradient by the unit rows ([0] where it is not asked for).

    With w_i = 1 / |P(i)| sum of sigmoid(L_i - s_ij), L_i the logsumexp over N(i), the gradient of sum_i l_i by one score is
    -sigmoid(L_i - s_ij) / |P(i)| of a positive and w_i exp(s_in - L_i) of a negative. A score stands for (i, j) and (j, i), so either's
    is added, and each pair need be gone through once: half a product for the scores, and two halves for what multiplies the rows.
    """
    with torch.autocast(unit.device.type, enabled=False):
        how = items.arithmetic
        one = unit.new_ones(len(unit), 1)
        rows = torch.cat([unit, one], 1)
        columns = [torch.cat([unit * a[:, None], -x[:, None]], 1) for a, x in zip(items.scale, items.offset, strict=True)]
        total, positives = unit.new_full((len(unit),), how.nothing), unit.new_zeros(len(unit))
        held = [_score(rows, columns[t.modality], t, how, hard_same, total, positives) for t in items.tiles]

        share = torch.where(positives > 0, positives.reciprocal(), 0.0)
        count = (positives > 0).sum().clamp_min(1)
        losses, pull = unit.new_zeros(len(unit)), unit.new_zeros(len(unit))
        for t, s in zip(items.tiles, held, strict=True):
            loss, a = how.terms(total[t.rows, None], s.hits)
            losses[t.rows] += loss.sum(1)
            pull[t.rows] += a.sum(1)
            loss, b = how.terms(total[t.same], s.hits)
            losses[t.same] += loss.sum(0)
            pull[t.same] += b.sum(0)
            if gradient:
                torch.add(a.mul_(-share[t.rows, None]), b.mul_(share[t.same]), alpha=-1, out=s.hits)
        value = (losses * share).sum() / count
        if not gradient:
            return value, unit.new_zeros(0)

        weight = how.weights(pull * share, total)
        by_unit, by_column = torch.zeros_like(unit), unit.new_zeros(len(columns), *unit.shape)
        for t, s in zip(items.tiles, held, strict=True):
            how.push_(s.misses, weight[t.rows, None], weight[s.first :])
            if hard_same == "negative":
                s.all[:, : t.end - t.start] += s.hits
            for start in range(0, s.all.shape[1], _SUMMED):
                part = slice(start, start + _SUMMED)
                by_unit[t.rows].addmm_(s.all[:, part], columns[t.modality][t.start :][part, :-1])
            by_column[t.modality, t.start :].addmm_(s.all.T, unit[t.rows])
        for scale, by_it in zip(items.scale, by_column, strict=True):
            by_unit.addcmul_(by_it, scale[:, None])
        return value, by_unit.div_(count)


def _score(
    rows: Tensor, columns: Tensor, t: _Tile, how: type[_Plain] | type[_Logs], hard_same: HardSame, total: Tensor, positives: Tensor
) -> _Scores:
    """A tile's positives and negatives; ``total``, the sum of S over N(i), and ``positives``, |P(i)|, are added to, at rows and columns."""
    everything = rows[t.rows] @ columns[t.start :].T
    size = t.stop - t.start
    same = everything[:, : t.end - t.start]
    same[:, :size] += torch.full_like(same[:, :size], -_INF).tril_()  # of two places of a pair, the one after the diagonal
    # Passes that multiply: a mask would be twenty times slower.
    gate = same.relu().sign_()
    positives[t.rows] += gate.sum(1)
    positives[t.same] += gate.sum(0)
    hits = same.clone() if hard_same == "negative" else same
    how.hits_(hits, gate)
    if hard_same == "negative":
        same += gate.neg_().log1p_()  # -inf at the positives
        misses, first = everything, t.start
    else:
        misses, first = everything[:, t.end - t.start :], t.end
    if misses.numel():
        how.misses_(misses)
        how.add_(total[t.rows], misses, 1)
        how.add_(total[first:], misses, 0)
    return _Scores(everything, hits, misses, first)


class _Plain:
    """S itself, where every score is moderate: of a positive 1 / S, and 0 of what is none; of a negative S; of an item their sum."""

    nothing = 0.0

    @staticmethod
    def hits_(s: Tensor, gate: Tensor) -> None:
        s.relu_().neg_().exp_().mul_(gate)

    @staticmethod
    def misses_(s: Tensor) -> None:
        s.exp_()

    @staticmethod
    def add_(total: Tensor, s: Tensor, dim: int) -> None:
        total += s.sum(dim)

    @staticmethod
    def terms(total: Tensor, hits: Tensor) -> tuple[Tensor, Tensor]:
        """log(1 + sum / S), and sum / (S + sum)."""
        ratio = total * hits
        return torch.log1p(ratio), ratio.div_(ratio + 1.0)

    @staticmethod
    def weights(pull: Tensor, total: Tensor) -> Tensor:
        return torch.where(total > 0, pull / total, 0.0)

    @staticmethod
    def push_(misses: Tensor, row: Tensor, column: Tensor) -> None:
        misses.mul_(row + column)


class _Logs:
    """Logarithms, for scores of any size: of a positive -s, and -inf of what is none; of a negative s; of an item their logsumexp."""

    nothing = -_INF

    @staticmethod
    def hits_(s: Tensor, gate: Tensor) -> None:  # noqa: ARG004 (the other arithmetic's)
        torch.threshold_(s, 0.0, _INF).neg_()

    @staticmethod
    def misses_(s: Tensor) -> None:
        pass

    @staticmethod
    def add_(total: Tensor, s: Tensor, dim: int) -> None:
        top = s.amax(dim, keepdim=True).clamp_min_(torch.finfo(s.dtype).min)
        logs = _exp_(s - top).sum(dim, keepdim=True).log_().add_(top)
        total.copy_(torch.logaddexp(total, logs.squeeze(dim)))

    @staticmethod
    def terms(total: Tensor, hits: Tensor) -> tuple[Tensor, Tensor]:
        """log(1 + exp(logsumexp - s)), and the sigmoid within; torch's sigmoid gives other bits with another number of threads."""
        t = torch.threshold(total + hits, _LEAST, -_INF)
        return logsigmoid(-t).neg_(), t.clamp_max_(-_LEAST).neg_().exp_().add_(1.0).reciprocal_()

    @staticmethod
    def weights(pull: Tensor, total: Tensor) -> Tensor:
        return torch.where(pull > 0, pull.log() - total, -_INF)

    @staticmethod
    def push_(misses: Tensor, row: Tensor, column: Tensor) -> None:
        of_column = _exp_(misses + column)
        _exp_(misses.add_(row)).add_(of_column)


def _exp_(x: Tensor) -> Tensor:
    return torch.threshold_(x.clamp_min_(_LEAST).exp_(), math.exp(_LEAST + 1e-3), 0.0)


def instance_alignment_loop(
    z: Tensor, labels: Tensor, modality: Tensor, temperature: Tensor, offset: Tensor, *, hard_same: HardSame = "ignore"
) -> Tensor:
    """The definition, item by item. Slow on purpose; shares no line with the above."""

    def score(i: int, j: int) -> Tensor:
        a, b = int(modality[i]), int(modality[j])
        dot, lengths = z[i] @ z[j], z[i].norm() * z[j].norm()
        return (dot / lengths if lengths > 0 else dot * 0) / temperature[a, b] - offset[a, b]

    known = [i for i in range(len(z)) if labels[i] != -1]
    losses = []
    for i in known:
        scores = {j: score(i, j) for j in known if j != i}
        positive = [j for j in scores if labels[j] == labels[i] and scores[j] > 0]
        negative = [j for j in scores if labels[j] != labels[i] or (hard_same == "negative" and j not in positive)]
        if positive:
            against = sum((scores[n].exp() for n in negative), z.new_zeros(()))
            terms = [-(scores[j].exp() / (scores[j].exp() + against)).log() for j in positive]
            losses.append(sum(terms, z.new_zeros(())) / len(positive))
    return sum(losses, z.new_zeros(())) / max(len(losses), 1)
