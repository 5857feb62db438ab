"""Who computes a kernel: the rule behind ``backend="auto"``. The choice never changes a number beyond rounding.

0. A structure with a past is none of these: :mod:`dgl_merc.kernels.newest`, in every kernel that looks at other utterances.
1. A DGL graph (its edges may be any): ``dgl`` where the installed DGL computes on its device, else ``scatter``.
2. A structure off the CPU, or a kernel that is not in ``COSTS``: ``dense``.
3. A structure with more than ``LISTED`` edges: ``dense``; the others make the whole list before a mask thins it.
4. Else the least of three estimates in microseconds, made of the lengths, the window and the mask's rate alone:

       dense          call + block B + node N + number Q
       dgl, scatter   call           + node N + edge E

   with N nodes, E edges that the mask is expected to leave, B blocks, and Q numbers in their pairs: for complete dialogues about the
   square of the length per modality, for windowed ones linear in it. The constants are read off ``benchmarks/kernels.py``; what matters
   is where two estimates cross.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import product
from typing import Any, Literal, get_args

import torch
from torch import Tensor

from dgl_merc.graphs import UTTERANCE, GraphSpec, Structure

__all__ = ["Backend", "Chosen", "EdgeBackend", "Kernel", "choose_backend", "describe_choices", "dgl_computes_on", "size_of"]

Kernel = Literal["attention_filter", "cross_modal_attention", "frequency_gcn", "masked_gcn", "rgcn", "semantic_attention"]
"""Every kernel, by name."""
EdgeBackend = Literal["dgl", "scatter"]
"""The backends that go along edges."""
Chosen = Literal["dense", "dgl", "scatter"]
"""Who computes, as it was decided."""
Backend = Literal["auto", "dense", "dgl", "scatter"]
"""Who computes, as it may be asked for."""

LISTED = 1 << 24


@dataclass(frozen=True)
class Cost:
    """Microseconds of a forward and backward pass, D = 100, one core.

    Attributes:
        call: of a call.
        node: of a node.
        each: of a number in a block's pairs, or of an edge that is left.
        block: of a block.
    """

    call: float
    node: float
    each: float
    block: float = 0.0


COSTS: dict[str, dict[Chosen, Cost]] = {
    "masked_gcn": {"dense": Cost(2000, 4.0, 0.05, 1300), "dgl": Cost(4000, 5.0, 0.72), "scatter": Cost(1500, 4.0, 0.85)},
    "rgcn": {"dense": Cost(1500, 5.0, 0.02, 500), "dgl": Cost(2500, 5.0, 0.62), "scatter": Cost(800, 4.8, 0.87)},
}

_DGL_WORKS: dict[str, bool] = {}


def dgl_computes_on(device: torch.device | str) -> bool:
    """Whether the installed DGL can compute on a device: PyPI's builds know the CPU alone. Tried once per kind of device."""
    kind = torch.device(device).type
    if kind not in _DGL_WORKS:
        from dgl_merc._dgl import dgl

        try:
            one = torch.zeros(1, dtype=torch.int64, device=device)
            dgl.ops.copy_u_sum(dgl.graph((one, one), num_nodes=1), torch.ones(1, 1, device=device))
        except Exception:  # DGL's own error type differs between builds
            _DGL_WORKS[kind] = False
        else:
            _DGL_WORKS[kind] = True
    return _DGL_WORKS[kind]


def choose_backend(kernel: Kernel, graph: Structure | Any, backend: Backend = "auto", *, rate: float = 0.0) -> Chosen:
    """The backend that a call will use; the rule is in the module's words.

    Args:
        kernel: which.
        graph: a structure, or a DGL graph.
        backend: ``"auto"``, or the one that is wanted.
        rate: the share of edges that a mask takes away before weights are made (``masked_gcn`` with degrees of what is left).

    Raises:
        ValueError: no such backend, or not for a DGL graph.

    >>> from dgl_merc.graphs import GraphSpec
    >>> choose_backend("masked_gcn", Structure.of([60, 80], GraphSpec(("text", "audio"))))
    'dense'
    >>> choose_backend("masked_gcn", Structure.of([60, 80], GraphSpec(("text", "audio"))), rate=0.99)
    'scatter'
    """
    if backend not in get_args(Backend):
        raise ValueError(f"backend must be one of {', '.join(map(repr, get_args(Backend)))}, got {backend!r}")
    if not isinstance(graph, Structure):
        if backend == "dense":
            raise ValueError("backend 'dense' needs a Structure, got a DGL graph: its edges may be any, so only 'dgl' and 'scatter' serve")
        if backend == "auto":
            return "dgl" if dgl_computes_on(graph.device) else "scatter"
        return backend
    if backend != "auto":
        return backend
    if graph.device.type != "cpu" or kernel not in COSTS:
        return "dense"
    return _cheapest(kernel, graph, rate)


def describe_choices() -> list[tuple[str, str, str]]:
    """What ``auto`` chooses on the CPU for batches like the field's corpora: (kernel, batch, in words). For people."""
    lengths = {"IEMOCAP-like": list(range(12, 108, 3)), "MELD-like": [3, 5, 6, 7, 8, 9, 10, 10, 11, 12, 14, 15, 18, 24] * 2}
    rows = []
    for kernel, batch, window in product(get_args(Kernel), lengths, (None, 10)):
        if window is not None and kernel != "masked_gcn":
            continue
        structure, words, last = Structure.of(lengths[batch], GraphSpec(("text", "audio", "visual"), window=window)), [], ""
        for percent in range(0, 100, 5) if kernel == "masked_gcn" else (0,):
            chosen = choose_backend(kernel, structure, rate=percent / 100)
            if chosen != last:
                words.append(f"{chosen} from mask rate {percent / 100:g}" if last else chosen)
            last = chosen
        rows.append((kernel, batch if window is None else f"{batch}, window {window}", ", ".join(words)))
    return rows


def _cheapest(kernel: Kernel, structure: Structure, rate: float) -> Chosen:
    nodes, edges, numbers, blocks = size_of(kernel, structure)
    if edges > LISTED:
        return "dense"
    estimates: dict[Chosen, float] = {}
    for name, cost in COSTS[kernel].items():
        pairs = cost.block * blocks + cost.each * numbers if name == "dense" else cost.each * (1.0 - rate) * edges
        estimates[name] = cost.call + cost.node * nodes + pairs
    return min(estimates, key=lambda name: estimates[name])


def size_of(kernel: Kernel, structure: Structure) -> tuple[float, float, float, int]:
    """Nodes, edges (expected where modalities are absent), numbers in blocks, and blocks: without making an edge."""
    spec, lengths = structure.spec, structure.lengths
    if kernel == "rgcn":
        nodes, forms = float(structure.num_utterances), 4
        reach: tuple[int | None, int | None] = spec.past, 0 if spec.causal else spec.future
        edges = _pairs(lengths, *reach) - nodes
        blocks = structure.blocks((UTTERANCE,), *reach)
    else:
        modalities = len(spec.modalities)
        reach = spec.reach(spec.message_types[0])
        nodes, joint = float(structure.presence.sum()), spec.cross == "dialogue"
        share = nodes / max(1, structure.presence.numel())  # of the modalities that are there
        pairs, forms = _pairs(lengths, *reach), modalities * (modalities if joint else 1)
        across = (modalities - 1) * {"utterance": structure.num_utterances, "dialogue": pairs, "none": 0.0}[spec.cross]
        edges = modalities * share**2 * (pairs - structure.num_utterances + across)
        blocks = structure.blocks(spec.modalities, *reach)
    return nodes, edges, float(forms * blocks.pairs), len(blocks.shapes)


def _pairs(lengths: Tensor, before: int | None, after: int | None) -> float:
    """How many positions are within reach of each other, each of itself included, over all dialogues."""
    total = lengths.sum()
    for reach in (before, after):
        near = lengths - 1 if reach is None else torch.clamp(lengths - 1, max=reach)
        total = total + (near * lengths - near * (near + 1) // 2).sum()
    return float(total)
