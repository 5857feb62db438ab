"""What the tests of kernels share: random structures and features from a seed, and agreement with a definition."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

import torch
from torch import Tensor

from dgl_merc.graphs import GraphSpec, Past, Structure

M2, M3 = ("text", "audio"), ("text", "audio", "visual")
BACKENDS = ("dense", "dgl", "scatter")
REPRESENTATIVE = ("bilstm", "mglra", "sgrnet", "logistic")
"""The models that tests of what is around a model run with: how it is trained, resumed, scored, and what is written of it. That is the same
code for all of them, so it is enough to have one without a graph, this project's own, and one that is solved. What each model promises
itself (``test_models.py``, ``test_stream_models.py``, its answers, its explanations) is tested with all."""
SMALL_RNN = ("model.global_dim=5", "model.party_dim=4", "model.hidden=5", "model.input_dim=6")
SMALL_SGRNET = ("model.dim=10", "model.width=6", "model.fusion.heads=2", "model.fusion.head_dim=3", "model.alignment.prototypes=9")


def structure_for(spec: GraphSpec, lengths: Sequence[int], drop: float = 0.3, seed: int = 0) -> Structure:
    """Dialogues with random presence and up to three speakers, whose numbers in the corpus are not those in the batch."""
    generator = torch.Generator().manual_seed(seed)
    total = sum(lengths)
    presence = torch.rand(total, len(spec.modalities), generator=generator) >= drop
    speakers = torch.randint(0, 3, (total,), generator=generator)
    made = Structure.of(list(lengths), spec, presence=presence.tolist(), speakers=speakers.tolist())
    return replace(made, keys=torch.arange(len(lengths)) * 7 + 3)


def normal(*shape: int, seed: int) -> Tensor:
    return torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def features_for(s: Structure, width: int, seed: int) -> dict[str, Tensor]:
    return {m: normal(n, width, seed=seed + 100 * k) for k, (m, n) in enumerate(s.sizes.items())}


def assert_agrees(
    fast: Callable[..., Tensor], loop: Callable[..., Tensor], *inputs: Tensor, moved: Sequence[int] = (0,), atol: float = 1e-10
) -> None:
    """The same output and the same gradients of every input, under a random cotangent.

    Args:
        fast: of float64 tensors.
        loop: the definition, of the same.
        inputs: leaves.
        moved: inputs whose gradient must not be zero, or the test would show nothing.
        atol: greatest difference.
    """
    runs = []
    for f in (fast, loop):
        leaves = [t.detach().clone().requires_grad_() for t in inputs]
        out = f(*leaves)
        cotangent = torch.randn(out.shape, generator=torch.Generator().manual_seed(4), dtype=out.dtype)
        if not out.requires_grad:  # a loop that had nothing to go over
            runs.append([out, *map(torch.zeros_like, leaves)])
            continue
        runs.append([out, *torch.autograd.grad(out, leaves, cotangent, materialize_grads=True)])
    for k, (got, want) in enumerate(zip(*runs, strict=True)):
        torch.testing.assert_close(got, want, rtol=0, atol=atol, msg=lambda m, k=k: f"{'output' if k == 0 else f'input {k - 1}'}: {m}")
    for k in moved:
        assert runs[1][1 + k].abs().max() > 1e-4, f"vacuous: the gradient of input {k} is zero"


def rows_of(s: Structure, dialogue: int, node_type: str) -> slice:
    """The nodes of a type that a dialogue has."""
    counts = s.counts[node_type]
    return slice(int(counts[s.offsets[dialogue]]), int(counts[s.offsets[dialogue + 1]]))


def newest(s: Structure, u: int, past: Past) -> Structure:
    """An utterance alone, beside its dialogue's past."""
    one = slice(u, u + 1)
    return Structure(torch.tensor([1]), s.presence[one], s.speakers[one], s.spec, characters=s.characters[one], past=past)


def at_utterance(s: Structure, u: int, x: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Node type -> [N, ...], to the rows that an utterance has."""
    return {n: rows[int(s.counts[n][u]) : int(s.counts[n][u + 1])] for n, rows in x.items()}


def mix(h: int) -> int:
    """One round of the documented hash in plain Python integers."""
    h ^= h >> 16
    h = h * 0x7FEB352D % 2**32
    h ^= h >> 15
    h = h * 0x046CA68B % 2**32
    return h ^ (h >> 16)


def word_of(seed: int, step: int, dialogue: int, place: int) -> int:
    """The word of a node; place = position M + modality."""
    return mix((mix((mix((mix(seed) + step) % 2**32) + dialogue) % 2**32) + place) % 2**32)


def word_is_kept(pair: int, rate: float) -> bool:
    """Of the sum of two nodes' words."""
    pair %= 2**32
    signed = pair - 2**32 if pair >= 2**31 else pair
    pair = (pair ^ (signed >> 13)) % 2**32 * 0x2C1B3C6D
    return pair % 2**31 >= rate * 2**31
