"""attention_filter against its loop, its properties, and its named edge cases."""

from __future__ import annotations

import pytest
import torch
from helpers import BACKENDS, M2, M3, assert_agrees, normal, rows_of, structure_for
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from dgl_merc.graphs import UTTERANCE, GraphSpec, Structure
from dgl_merc.kernels import attention_filter
from dgl_merc.kernels.attention_filter import attention_filter_loop

pytestmark = pytest.mark.dgl
P, T, D, SLOPE = 4, 3, 5, 0.2


def star(s: Structure) -> tuple[list[int], list[int], list[int]]:
    """Leaf, utterance and modality of each edge, from presence alone."""
    src, dst, kind = [], [], []
    for k in range(len(s.spec.modalities)):
        for u in range(s.num_utterances):
            if s.presence[u, k]:
                src, dst, kind = [*src, len(src)], [*dst, u], [*kind, k]
    return src, dst, kind


def inputs_for(s: Structure, output: str) -> list[Tensor]:
    """centre, leaves stacked, relations, W^i, W^j, W^k, vector; centre and leaves of different widths, so that no two can be mixed up."""
    m, nodes = len(s.spec.modalities), sum(s.sizes.values())
    wide = (P + 1, P) if output == "share" else (P, P + 1)
    return [
        normal(s.num_utterances, P + 1, seed=1),
        normal(nodes, P, seed=2),
        normal(m, T, seed=3),
        normal(m, wide[0], D, seed=4) / 2,
        normal(m, wide[1], D, seed=5) / 2,
        normal(m, T, D, seed=6) / 2,
        normal(D, seed=7),
    ]


def agree(s: Structure, backend: str, attention: str, output: str, keep: list[bool] | None = None) -> None:
    src, dst, kind = star(s)
    exists = [True] * len(src) if keep is None else keep
    sizes = list(s.sizes.values())
    by_type = None
    if keep is not None:
        parts = torch.tensor(keep, dtype=torch.bool).split(sizes)
        by_type = {(m, "part_of", UTTERANCE): part for m, part in zip(s.spec.modalities, parts, strict=True)}

    def fast(centre, leaves, relations, w_i, w_j, w_k, vector):
        x = dict(zip(s.spec.modalities, leaves.split(sizes), strict=True))
        y = attention_filter(
            s, centre, x, relations, (w_i, w_j, w_k), attention=attention, vector=vector, output=output, keep=by_type, backend=backend
        )
        return torch.cat([y[m] for m in s.spec.modalities])

    def loop(centre, leaves, relations, w_i, w_j, w_k, vector):
        whole = [torch.cat([w_i[k], w_j[k], w_k[k]]).T for k in range(len(sizes))]
        return attention_filter_loop(
            src, dst, kind, exists, centre, leaves, relations, whole, vector if attention == "scalar" else None, SLOPE, output
        )[0]

    assert_agrees(fast, loop, *inputs_for(s, output), moved=range(6) if any(exists) else ())


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("attention", ["scalar", "channel"])
@pytest.mark.parametrize("output", ["share", "leaf"])
@pytest.mark.parametrize("modalities", [M3, M2, ("text",)], ids=len)
def test_agrees_with_the_loop(backend, attention, output, modalities):
    agree(structure_for(GraphSpec(modalities), [3, 1, 4]), backend, attention, output)


@settings(max_examples=30, deadline=None)
@given(st.data(), st.lists(st.integers(1, 4), min_size=1, max_size=3), st.integers(0, 20))
def test_any_shape(data, lengths, seed):
    s = structure_for(GraphSpec(M3), lengths, drop=0.4, seed=seed)
    count = sum(s.sizes.values())
    keep = data.draw(st.none() | st.lists(st.booleans(), min_size=count, max_size=count))
    if count:
        agree(
            s,
            data.draw(st.sampled_from(BACKENDS)),
            data.draw(st.sampled_from(["scalar", "channel"])),
            data.draw(st.sampled_from(["share", "leaf"])),
            keep,
        )


@pytest.mark.parametrize("backend", BACKENDS)
def test_the_shares_sum_to_what_the_centre_hears(backend):
    s = structure_for(GraphSpec(M3), [3, 4])
    centre, leaves, relations, w_i, w_j, w_k, vector = inputs_for(s, "share")
    src, dst, kind = star(s)
    whole = [torch.cat([w_i[k], w_j[k], w_k[k]]).T for k in range(3)]
    h0 = attention_filter_loop(src, dst, kind, [True] * len(src), centre, leaves, relations, whole, vector, SLOPE, "share")[1]
    x = dict(zip(M3, leaves.split(list(s.sizes.values())), strict=True))
    y = attention_filter(s, centre, x, relations, (w_i, w_j, w_k), vector=vector, backend=backend)
    total = torch.zeros_like(h0)
    for m in M3:
        total = total.index_add(0, s.nodes[m], y[m])
    torch.testing.assert_close(total, h0, rtol=0, atol=1e-10)


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("attention", ["scalar", "channel"])
@pytest.mark.parametrize("output", ["share", "leaf"])
def test_returned_weights_sum_to_one_at_the_receiver(backend, attention, output):
    s = structure_for(GraphSpec(M3), [3, 4])
    centre, leaves, relations, w_i, w_j, w_k, vector = inputs_for(s, output)
    x = dict(zip(M3, leaves.split(list(s.sizes.values())), strict=True))
    y, alpha = attention_filter(
        s, centre, x, relations, (w_i, w_j, w_k), attention=attention, vector=vector, output=output, backend=backend, return_weights=True
    )
    if output == "leaf":
        assert all((a == 1).all() for a in alpha.values())
        return
    total = torch.zeros(7, D if attention == "channel" else 1, dtype=torch.float64)
    for m in M3:
        a = alpha[m, "part_of", UTTERANCE]
        assert a.shape == (len(x[m]), total.shape[1])
        total = total.index_add(0, s.nodes[m], a)
    torch.testing.assert_close(total[s.presence.any(1)], torch.ones_like(total)[s.presence.any(1)], rtol=0, atol=1e-12)
    k, u = 1, s.nodes["audio"]
    c = centre[u] @ w_i[k] + x["audio"] @ w_j[k] + relations[k] @ w_k[k]
    torch.testing.assert_close(y["audio"], alpha["audio", "part_of", UTTERANCE] * c, rtol=0, atol=1e-10)


@pytest.mark.parametrize("backend", BACKENDS)
def test_an_utterance_hears_itself_alone(backend):
    s = structure_for(GraphSpec(M2, causal=True), [4, 3], drop=0.2)
    centre, leaves, relations, *w, vector = inputs_for(s, "share")
    x = dict(zip(M2, leaves.split(list(s.sizes.values())), strict=True))
    y = attention_filter(s, centre, x, relations, tuple(w), vector=vector, backend=backend)
    alone = attention_filter(
        s.select([1]), centre[4:], {m: x[m][rows_of(s, 1, m)] for m in M2}, relations, tuple(w), vector=vector, backend=backend
    )
    changed = attention_filter(
        s,
        torch.cat([centre[:5], centre[5:] + 1]),
        {m: torch.where((s.nodes[m] >= 5)[:, None], -v, v) for m, v in x.items()},
        relations,
        tuple(w),
        vector=vector,
        backend=backend,
    )
    for m in M2:
        torch.testing.assert_close(alone[m], y[m][rows_of(s, 1, m)], rtol=0, atol=1e-12)
        early = s.nodes[m] < 5
        torch.testing.assert_close(changed[m][early], y[m][early], rtol=0, atol=0)
        assert not torch.allclose(changed[m][~early], y[m][~early])


@pytest.mark.parametrize("backend", BACKENDS)
def test_absent_modalities_bare_utterances_and_great_logits(backend):
    s = Structure.of([2, 2], GraphSpec(M2), presence=[[1, 0], [1, 0], [0, 0], [1, 0]])
    x = {"text": (normal(3, P, seed=1) * 1e3).requires_grad_(), "audio": torch.zeros(0, P, dtype=torch.float64)}
    w = (normal(2, P, D, seed=2), normal(2, P, D, seed=3), normal(2, T, D, seed=4))
    y = attention_filter(s, normal(4, P, seed=5), x, normal(2, T, seed=6), w, attention="channel", backend=backend)
    y["text"].sum().backward()
    assert (y["text"].shape, y["audio"].shape) == ((3, D), (0, D))
    assert torch.isfinite(y["text"]).all()
    assert torch.isfinite(x["text"].grad).all()
    torch.testing.assert_close(y["text"][0], normal(4, P, seed=5)[0] @ w[0][0] + x["text"][0] @ w[1][0] + normal(2, T, seed=6)[0] @ w[2][0])


@pytest.mark.parametrize("backend", ["dgl", "scatter"])
@pytest.mark.parametrize("output", ["share", "leaf"])
def test_takes_any_heterograph_with_parallel_edges_and_leaves_of_several_centres(backend, output):
    from dgl_merc._dgl import dgl

    ends = {("text", "part_of", UTTERANCE): ([0, 0, 1, 1], [0, 0, 0, 1]), ("audio", "part_of", UTTERANCE): ([1], [1])}
    graph = dgl.heterograph({t: tuple(map(torch.tensor, e)) for t, e in ends.items()}, num_nodes_dict={"text": 2, "audio": 2, UTTERANCE: 3})
    src, dst, kind = [0, 0, 1, 1, 3], [0, 0, 0, 1, 1], [0, 0, 0, 0, 1]
    wide = (P + 1, P) if output == "share" else (P, P + 1)
    inputs = [
        normal(3, P + 1, seed=1),
        normal(4, P, seed=2),
        normal(2, T, seed=3),
        normal(2, wide[0], D, seed=4),
        normal(2, wide[1], D, seed=5),
    ]
    inputs += [normal(2, T, D, seed=6), normal(D, seed=7)]

    def fast(centre, leaves, relations, w_i, w_j, w_k, vector):
        x = {"text": leaves[:2], "audio": leaves[2:]}
        y = attention_filter(graph, centre, x, relations, (w_i, w_j, w_k), vector=vector, output=output, backend=backend)
        return torch.cat([y["text"], y["audio"]])

    def loop(centre, leaves, relations, w_i, w_j, w_k, vector):
        whole = [torch.cat([w_i[k], w_j[k], w_k[k]]).T for k in range(2)]
        return attention_filter_loop(src, dst, kind, [True] * 5, centre, leaves, relations, whole, vector, SLOPE, output)[0]

    assert_agrees(fast, loop, *inputs, moved=range(6))


@pytest.mark.parametrize("attention", ["scalar", "channel"])
def test_gradcheck(attention):
    s = structure_for(GraphSpec(M2), [2, 2])
    sizes = list(s.sizes.values())
    for backend in BACKENDS:

        def f(centre, leaves, relations, w_i, w_j, w_k, vector, backend=backend):
            x = dict(zip(M2, leaves.split(sizes), strict=True))
            y = attention_filter(s, centre, x, relations, (w_i, w_j, w_k), attention=attention, vector=vector, backend=backend)
            return torch.cat(list(y.values()))

        assert torch.autograd.gradcheck(f, [t.requires_grad_() for t in inputs_for(s, "share")])


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"centre": torch.zeros(2, 4)}, r"centre must be \[3, P\], got \[2, 4\]"),
        ({"x": {"text": torch.zeros(3, 4)}}, r"x must hold the modalities \['text', 'audio'\], got \['text'\]"),
        ({"x": {"text": torch.zeros(3, 4), "audio": torch.zeros(2, 4)}}, r"x\['audio'\] must be \[3, P\], got \[2, 4\]"),
        ({"x": {"text": torch.zeros(3, 4), "audio": torch.zeros(3, 5)}}, "x must have one width"),
        ({"relations": torch.zeros(3, 2)}, r"relations must be \[2, T\], got \[3, 2\]"),
        ({"matrices": (torch.zeros(2, 4, 5), torch.zeros(2, 3, 5), torch.zeros(2, 2, 5))}, r"matrices\[1\] must be \[M=2, 4, D=5\], got \[2, 3, 5\]"),
        ({"vector": torch.zeros(4)}, r"vector must be \[D=5\], got \[4\]"),
        ({"vector": None}, r"vector must be \[D=5\], got None"),
        ({"attention": "soft"}, "attention must be"),
        ({"output": "both"}, "output must be"),
        ({"keep": {("text", "part_of", UTTERANCE): torch.zeros(2, dtype=torch.bool)}}, r"must be \[E=3\], got \[2\]"),
        ({"backend": "cuda"}, "backend must be"),
    ],
)  # fmt: skip
def test_says_what_does_not_fit(change, said):
    s = Structure.of([3], GraphSpec(M2))
    w = (torch.zeros(2, 4, 5), torch.zeros(2, 4, 5), torch.zeros(2, 2, 5))
    arguments = {"centre": torch.zeros(3, 4), "x": {m: torch.zeros(3, 4) for m in M2}, "relations": torch.zeros(2, 2), "matrices": w}
    arguments |= {"vector": torch.zeros(5)} | change
    with pytest.raises(ValueError, match=said):
        attention_filter(s, *(arguments.pop(n) for n in ("centre", "x", "relations", "matrices")), **arguments)
