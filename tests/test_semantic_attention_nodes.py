"""semantic_attention on the nodes of a modality, softmax or rectified: against its loop in every form, and the named edge cases."""

from __future__ import annotations

import pytest
import torch
from helpers import BACKENDS, M3, normal, rows_of, structure_for
from hypothesis import given, settings
from hypothesis import strategies as st
from semantic_cases import FORMS, B, H, agree, backend_of
from torch import Tensor

from dgl_merc.graphs import UTTERANCE, GraphSpec, Structure
from dgl_merc.kernels import ArccosWeight, pairs, semantic_attention, semantic_dialogues
from dgl_merc.kernels.dialogue_pairs import DialoguePairs
from dgl_merc.kernels.semantic_blocks import How

pytestmark = pytest.mark.dgl
SPECS = {"complete": GraphSpec(M3, past=1, future=2), "causal": GraphSpec(M3, past=2, future=2, causal=True)}
every_form = pytest.mark.parametrize("form", FORMS)
every_spec = pytest.mark.parametrize("spec", SPECS.values(), ids=SPECS.keys())
every_interaction = pytest.mark.parametrize("interaction", ["softmax", "relu"])


@every_form
@every_spec
@every_interaction
@pytest.mark.parametrize("bias", ["none", "both"])
@pytest.mark.parametrize("node_type", ["text", "visual", UTTERANCE])
def test_agrees_with_the_loop(form, spec, interaction, bias, node_type, monkeypatch):
    agree(structure_for(spec, [1, 5, 2, 8]), backend_of(form, monkeypatch), bias, node_type=node_type, interaction=interaction)


@settings(max_examples=60, deadline=None)
@given(st.data(), st.lists(st.integers(1, 6), min_size=1, max_size=4), st.booleans(), st.sampled_from([0.0, 0.3, 0.8, 1.0]))
def test_any_shape(data, lengths, causal, drop):
    s = structure_for(GraphSpec(M3, past=1, future=1, causal=causal), lengths, drop)
    node_type, bias = data.draw(st.sampled_from(s.spec.node_types)), data.draw(st.sampled_from(["none", "likeness", "both"]))
    count = len(s.pairs(node_type)[0])
    keep = torch.tensor(data.draw(st.lists(st.booleans(), min_size=count, max_size=count)), dtype=torch.bool)
    form, interaction = data.draw(st.sampled_from(FORMS)), data.draw(st.sampled_from(["softmax", "relu"]))
    with pytest.MonkeyPatch.context() as patch:
        backend = backend_of(form, patch)
        some = keep if data.draw(st.booleans()) else None
        agree(s, backend, bias, keep=some, node_type=node_type, interaction=interaction, moves=interaction == "softmax")


@pytest.mark.parametrize("tile", [1, 20, 200])
@every_spec
@every_interaction
@pytest.mark.parametrize("bias", ["none", "both"])
@pytest.mark.parametrize("small", [True, False])
def test_tiles_give_the_same(tile, spec, interaction, bias, small, monkeypatch):
    monkeypatch.setattr(semantic_dialogues, "are_small", lambda *_: small)
    monkeypatch.setattr(pairs, "HELD", 0)
    for module in (pairs, semantic_dialogues):
        monkeypatch.setattr(module, "TILE", tile)
    monkeypatch.setattr(semantic_dialogues, "ROWS", 2)
    s = structure_for(spec, [11, 3, 1], drop=0.2)
    agree(s, backend_of("in place", monkeypatch), bias, node_type="audio", interaction=interaction)


ABSENT = {
    "from a dialogue": [[1, 1, 0]] * 3 + [[1, 1, 1]] * 4,
    "from the first and the last utterance": [[0, 0, 0], *[[1, 1, 1]] * 5, [0, 0, 0]],
    "from all utterances but one": [[0, 0, 0]] * 2 + [[0, 0, 1]] + [[0, 0, 0]] * 4,
    "everywhere": [[1, 1, 0]] * 7,
}


@every_form
@every_interaction
@pytest.mark.parametrize("causal", [False, True])
@pytest.mark.parametrize("presence", ABSENT.values(), ids=ABSENT.keys())
@pytest.mark.parametrize("bias", ["none", "both"])
def test_an_absent_modality(form, interaction, causal, presence, bias, monkeypatch):
    s = Structure.of([3, 4], GraphSpec(M3, past=1, future=1, causal=causal), presence=presence)
    backend, n = backend_of(form, monkeypatch), s.sizes["visual"]
    if n:
        agree(s, backend, bias, node_type="visual", interaction=interaction)
    x = [torch.randn(n, H, 3, requires_grad=True) for _ in range(3)]
    y, p = semantic_attention(s, *x, scale=1.0, node_type="visual", interaction=interaction, backend=backend, return_weights=True)
    assert y.shape == (n, H, 3)
    assert p.shape == (len(s.pairs("visual")[0]), H)
    y.sum().backward()
    assert all(t.grad.shape == t.shape for t in x)


@every_form
@every_interaction
def test_one_utterance_hears_itself(form, interaction, monkeypatch):
    s, v = Structure.of([1], GraphSpec(("text",))), normal(1, H, 3, seed=1).requires_grad_()
    one = torch.ones(1, H, 2, dtype=torch.float64, requires_grad=True)
    y = semantic_attention(s, one, one, v, scale=1.0, node_type="text", interaction=interaction, backend=backend_of(form, monkeypatch))
    torch.testing.assert_close(y, v, rtol=0, atol=1e-15)
    for got, want in zip(torch.autograd.grad(y.sum(), [one, v]), [torch.zeros_like(one), torch.ones_like(v)], strict=True):
        torch.testing.assert_close(got, want, rtol=0, atol=1e-15)


# ---- rectified


@every_form
@pytest.mark.parametrize(
    ("logit", "dtype", "biased"),
    [*((x, t, b) for x in (0.0, -2.0) for t in (torch.float32, torch.float64) for b in (False, True)), (1e-39, torch.float32, False)],
)
def test_a_row_without_a_positive_logit_is_zeros_without_a_gradient(form, dtype, biased, logit, monkeypatch):
    """The second of three: its logits are 0, negative, or of a sum below every normal float32."""
    s = Structure.of([3], GraphSpec(("text",)))
    q = torch.tensor([1.0, logit, 2.0], dtype=dtype).view(3, 1, 1).requires_grad_()
    k, v = (torch.tensor(x, dtype=dtype).view(3, 1, 1).requires_grad_() for x in ([1.0, 0.5, 3.0], [5.0, -7.0, 11.0]))
    table = torch.zeros(1, 3, dtype=dtype, requires_grad=True)
    options = {"scale": 1.0, "node_type": "text", "interaction": "relu", "backend": backend_of(form, monkeypatch)}
    y, p = semantic_attention(s, q, k, v, **options, distances=table if biased else None, return_weights=True)
    assert y[1].item() == 0.0
    assert (p[3:6] == 0).all()
    leaves = [q, k, v, *([table] if biased else [])]
    for gradient in torch.autograd.grad(1e6 * y[1].sum(), leaves, retain_graph=True):
        assert (gradient == 0).all()
    assert all(torch.isfinite(g).all() for g in torch.autograd.grad(y.sum(), leaves))
    torch.testing.assert_close(y[[0, 2], 0, 0], torch.full((2,), (5 - 3.5 + 33) / 4.5, dtype=dtype))


@every_form
@every_spec
@pytest.mark.parametrize("bias", ["none", "both"])
def test_weights_are_returned_and_sum_to_one_or_nothing(form, spec, bias, monkeypatch):
    s = structure_for(spec, [6, 3, 9])
    n, (src, dst) = s.sizes["text"], s.pairs("text")
    q, k, v = (normal(n, H, 3, seed=seed) for seed in range(3))
    q[2] = 0
    how = {"weight": torch.full((len(src),), -0.25, dtype=torch.float64)} if bias == "both" else {}
    options = {"scale": 2.0, "node_type": "text", "interaction": "relu", "backend": backend_of(form, monkeypatch)}
    y, p = semantic_attention(s, q, k, v, **options, **how, return_weights=True)
    sums = torch.zeros(n, H, dtype=torch.float64).index_add(0, dst, p)
    assert (sums[2] == 0).all()
    assert sums.round(decimals=9).unique().tolist() == [0.0, 1.0]
    logits = (q[dst] * k[src]).sum(2) / 2 - (0.25 if bias == "both" else 0.0)
    assert ((p > 0) == (logits > 0)).all()
    want = torch.zeros_like(v).index_add(0, dst, p[:, :, None] * (v[src] - (0.25 if bias == "both" else 0.0)))
    torch.testing.assert_close(y, want, rtol=0, atol=1e-10)


# ---- what dense does in place


def test_in_place_is_for_long_dialogues_without_a_bias():
    s = Structure.of([16, 16], GraphSpec(("text", "audio")), presence=[[1, 0]] + [[1, 1]] * 31)
    anything = {"weight": torch.zeros(1), "distances": torch.zeros(1, 2), "keep": torch.ones(1)}
    for node_type, given_, want in [
        ("text", None, True),
        (UTTERANCE, None, True),
        ("audio", None, False),
        *(("text", g, False) for g in anything),
    ]:
        how = How(node_type, 1.0, "softmax", **{name: x if name == given_ else None for name, x in anything.items()})
        assert semantic_dialogues.in_place(s, how) == want, (node_type, given_)


@every_spec
def test_great_logits_are_as_exact_as_others(spec, monkeypatch):
    backend_of("in place", monkeypatch)
    s, runs = Structure.of([3], GraphSpec(("text",), causal=spec.causal)), []
    for dtype in (torch.float32, torch.float64):  # logits near 10^4, whose spacing is 10^-3
        q = torch.full((3, 1, 1), 64.0, dtype=dtype, requires_grad=True)
        k, v = (torch.tensor(x, dtype=dtype).view(3, 1, 1).requires_grad_() for x in ([128.0, 128.0, 128.0 - 2**-7], [1.0, 2.0, 4.0]))
        y = semantic_attention(s, q, k, v, scale=1.0, backend="dense")
        runs.append([y, *torch.autograd.grad(y.sum(), [q, k, v])])
    for got, want in zip(*runs, strict=True):
        torch.testing.assert_close(got.double(), want, rtol=1e-5, atol=1e-4)
    s, runs = structure_for(spec, [9, 4], drop=0.1), []
    for backend in ("dense", "scatter"):  # of either sign, whole rows of either
        x = [(normal(s.sizes["text"], H, 3, seed=k) * (1000.0 if k == 0 else 1.0)).requires_grad_() for k in range(3)]
        x[0].data[3], x[1].data[:] = -1000.0, x[1].data.abs()
        y = semantic_attention(s, *x, scale=1.0, node_type="text", backend=backend)
        runs.append([y, *torch.autograd.grad(y, x, normal(*y.shape, seed=4))])
    for got, want in zip(*runs, strict=True):
        torch.testing.assert_close(got, want, rtol=1e-10, atol=1e-10)


@every_interaction
@every_spec
def test_a_long_dialogue_does_not_hold_its_pairs(interaction, spec, monkeypatch):
    """Numbers made at a time: a tile, not H L^2; and causal, hardly any that are hidden."""
    made, logits, bmm, s = [], [], torch.bmm, Structure.of([3000], spec)
    q = torch.randn(3000, 1, 2, requires_grad=True)

    def noted(a: Tensor, b: Tensor) -> Tensor:
        made.append(len(a) * a.shape[1] * b.shape[2])
        logits.append(made[-1] if a.shape[2] == 2 else 0)
        return bmm(a, b)

    monkeypatch.setattr(torch, "bmm", noted)
    semantic_attention(s, q, q, q, scale=1.0, node_type="text", interaction=interaction).sum().backward()
    assert 0 < max(made) <= max(semantic_dialogues.TILE, semantic_dialogues.ROWS * 3000)
    assert sum(logits) / (2 * 3000**2) == pytest.approx(0.5 if spec.causal else 1.0, rel=0.05), "once forward, once backward"


@every_form
@every_interaction
def test_the_same_bits_with_two_threads(form, interaction, monkeypatch):
    s = structure_for(SPECS["complete"], [40, 3, 110, 55, 1])
    backend, threads, runs = backend_of(form, monkeypatch), torch.get_num_threads(), []
    try:
        for count in (1, 2, 2):
            torch.set_num_threads(count)
            x = [normal(s.sizes["audio"], 5, 30, seed=k).float().requires_grad_() for k in range(3)]
            y = semantic_attention(s, *x, scale=5.0, node_type="audio", interaction=interaction, backend=backend)
            runs.append([y, *torch.autograd.grad(y, x, torch.linspace(-1, 1, y.numel()).view_as(y))])
    finally:
        torch.set_num_threads(threads)
    for other in runs[1:]:
        for got, want in zip(other, runs[0], strict=True):
            assert torch.equal(got, want)


@pytest.mark.parametrize("form", ["in place", "dense", "scatter"])
@every_interaction
@pytest.mark.parametrize("autocast", [False, True])
def test_bfloat16(form, interaction, autocast, monkeypatch):
    s, backend = structure_for(SPECS["complete"], [40, 3, 20]), backend_of(form, monkeypatch)
    x = [normal(s.sizes["text"], 2, 8, seed=k).abs().bfloat16() for k in range(3)]
    x = [(t.float() if autocast else t).requires_grad_() for t in x]
    options = {"scale": 3.0, "node_type": "text", "interaction": interaction, "backend": backend}
    with torch.autocast("cpu", dtype=torch.bfloat16, enabled=autocast):
        y = semantic_attention(s, *x, **options)
    assert y.dtype == x[2].dtype
    exact = [t.detach().double().requires_grad_() for t in x]
    want = semantic_attention(s, *exact, **options)
    cotangent = normal(*y.shape, seed=9)
    got = [y, *torch.autograd.grad(y, x, cotangent.to(y.dtype))]
    for a, b in zip(got, [want, *torch.autograd.grad(want, exact, cotangent)], strict=True):
        assert (a.double() - b).norm() / b.norm() < (1e-5 if autocast else 0.05), "weights must not be made in bfloat16"


@every_interaction
def test_a_backward_pass_within_autocast_is_in_float32_too(interaction, monkeypatch):
    s, runs = structure_for(SPECS["complete"], [20, 3]), []
    x = [normal(s.sizes["text"], 2, 8, seed=k).abs().float().requires_grad_() for k in range(3)]
    backend = backend_of("in place", monkeypatch)
    for enabled in (False, True):
        with torch.autocast("cpu", dtype=torch.bfloat16, enabled=enabled):
            y = semantic_attention(s, *x, scale=3.0, node_type="text", interaction=interaction, backend=backend)
            runs.append(torch.autograd.grad(y, x, torch.linspace(-1, 1, y.numel()).view_as(y)))
    assert all(torch.equal(a, b) for a, b in zip(*runs, strict=True))


@every_form
@every_interaction
def test_a_structure_seen_in_inference_mode_serves_training(form, interaction, monkeypatch):
    s, backend = structure_for(SPECS["causal"], [9, 1, 14]), backend_of(form, monkeypatch)
    x, options = [normal(s.sizes["text"], H, 3, seed=k) for k in range(3)], {"node_type": "text", "interaction": interaction}
    with torch.inference_mode():
        semantic_attention(s, *(t.clone() for t in x), scale=2.0, backend=backend, **options)
    agree(s, backend, "none", **options)


# ---- properties


@every_form
@every_interaction
def test_a_batch_gives_what_its_dialogues_give_alone(form, interaction, monkeypatch):
    s, backend = structure_for(SPECS["complete"], [4, 9, 1, 6]), backend_of(form, monkeypatch)
    x = [normal(s.sizes["text"], H, 3, seed=k) for k in range(3)]
    options = {"scale": 2.0, "node_type": "text", "interaction": interaction, "backend": backend}
    together = semantic_attention(s, *x, **options)
    for d in range(4):
        rows = rows_of(s, d, "text")
        torch.testing.assert_close(semantic_attention(s.select([d]), *(t[rows] for t in x), **options), together[rows], rtol=0, atol=1e-12)


@every_form
@every_interaction
def test_what_overflows_stays_in_its_dialogue(form, interaction, monkeypatch):
    s = structure_for(SPECS["complete"], [9, 12, 17], drop=0.0)
    x = [normal(38, H, 3, seed=k).float() for k in range(3)]
    x[0][0] = torch.inf
    y = semantic_attention(s, *x, scale=2.0, node_type="text", interaction=interaction, backend=backend_of(form, monkeypatch))
    assert torch.isfinite(y[9:]).all()


@every_form
@every_interaction
def test_causal_hears_nothing_later(form, interaction, monkeypatch):
    s, backend = structure_for(SPECS["causal"], [12], drop=0.2), backend_of(form, monkeypatch)
    n, runs = s.sizes["text"], []
    for later in (0.0, 7.0):
        x = [normal(n, H, 3, seed=k) for k in range(3)]
        runs.append(
            semantic_attention(
                s, *(torch.cat([t[:5], t[5:] + later]) for t in x), scale=2.0, node_type="text", interaction=interaction, backend=backend
            )
        )
    torch.testing.assert_close(runs[1][:5], runs[0][:5], rtol=0, atol=1e-15)
    assert not torch.allclose(runs[1][5:], runs[0][5:])


@every_form
def test_strided_and_empty_features(form, monkeypatch):
    """Queries, keys and values as the parts of one projection."""
    s, backend = structure_for(SPECS["complete"], [5, 8]), backend_of(form, monkeypatch)
    joint = normal(s.sizes["text"], H, 9, seed=1)
    q, k, v = joint.chunk(3, dim=2)
    got = semantic_attention(s, q, k, v, scale=2.0, node_type="text", backend=backend)
    want = semantic_attention(s, *(t.contiguous() for t in (q, k, v)), scale=2.0, node_type="text", backend="scatter")
    torch.testing.assert_close(got, want, rtol=0, atol=1e-12)


@every_form
@every_interaction
def test_gradcheck(form, interaction, monkeypatch):
    s, backend = structure_for(SPECS["causal"], [3, 4]), backend_of(form, monkeypatch)
    for extra in ([], [normal(s.sizes["text"], 3, seed=4), normal(H, B + 1, seed=5)]):
        inputs = [t.requires_grad_() for t in (*(normal(s.sizes["text"], H, 2, seed=k) for k in range(3)), *extra)]

        def f(q, k, v, *bias):
            rule, table = (ArccosWeight({"text": bias[0]}), bias[1]) if bias else (None, None)
            options = {"node_type": "text", "interaction": interaction, "weight": rule, "distances": table, "backend": backend}
            return semantic_attention(s, q, k, v, scale=1.5, **options)

        assert torch.autograd.gradcheck(f, inputs)


# ---- graphs, and what is refused


@pytest.mark.parametrize("backend", ["dgl", "scatter"])
def test_takes_any_heterograph_of_the_schema(backend):
    from dgl_merc._dgl import dgl

    s = structure_for(SPECS["complete"], [3, 1, 5])
    n, table = s.sizes["text"], normal(H, B + 1, seed=6)
    x, rule = [normal(n, H, 3, seed=k) for k in range(3)], ArccosWeight({"text": normal(n, 4, seed=7)})
    for graph in (s.graph(), dgl.batch([s.select([d]).graph(idtype=torch.int32) for d in range(3)])):
        for interaction in ("softmax", "relu"):
            options = {"scale": 2.0, "node_type": "text", "interaction": interaction, "weight": rule, "distances": table}
            got, p = semantic_attention(graph, *x, **options, backend=backend, return_weights=True)
            want, q = semantic_attention(s, *x, **options, return_weights=True)
            torch.testing.assert_close(got, want, rtol=0, atol=1e-12)
            torch.testing.assert_close(p, q, rtol=0, atol=1e-12)


@settings(max_examples=20, deadline=None)
@given(st.lists(st.integers(1, 9), min_size=1, max_size=3), st.integers(0, 3), st.integers(0, 3), st.sampled_from([0.0, 0.5, 1.0]))
def test_distances_in_a_graph_are_those_between_utterances(lengths, past, future, drop):
    s = structure_for(GraphSpec(M3, past=past, future=future), lengths, drop)
    for node_type in s.spec.node_types:
        ours, searched = DialoguePairs.of(s, node_type), DialoguePairs.of(s.graph(), node_type)
        assert (ours.src.tolist(), ours.dst.tolist()) == (searched.src.tolist(), searched.dst.tolist())
        assert ours.hops(B).tolist() == searched.hops(B).tolist()


@pytest.mark.parametrize("ends", [([0], [0]), ([0, 0], [0, 1]), ([0, 1, 1], [0, 1, 0])])
def test_distances_need_to_know_each_node_s_utterance(ends):
    from dgl_merc._dgl import dgl

    graph = dgl.heterograph(
        {("text", "part_of", "utterance"): ends, ("utterance", "inter_past", "utterance"): ([0], [1])},
        num_nodes_dict={"text": 2, "utterance": 2},
    )
    zero, table = torch.zeros(2, 1, 1), torch.zeros(1, 3)
    with pytest.raises(ValueError, match=r"each of the 2 nodes of 'text' needs one part_of edge to its own, got \d edges"):
        semantic_attention(graph, zero, zero, zero, scale=1.0, node_type="text", distances=table, backend="scatter")
    semantic_attention(graph, zero, zero, zero, scale=1.0, node_type="text", backend="scatter")


def test_a_modality_that_nobody_lacks_needs_no_blocks_of_its_own(monkeypatch):
    s, x = structure_for(SPECS["complete"], [5, 3], drop=0.0), torch.zeros(8, 1, 2)
    backend_of("dense", monkeypatch)
    for node_type in s.spec.node_types:
        semantic_attention(s, x, x, x, scale=1.0, node_type=node_type, backend="dense")
    assert [key[0] for key in s._blocks] == [(UTTERANCE,)]


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"node_type": "touch"}, r"node_type must be one of \['text', 'audio', 'utterance'\], got 'touch'"),
        ({"interaction": "gelu"}, "interaction must be one of 'softmax', 'relu', got 'gelu'"),
        ({"scale": 0.0}, "scale must be greater than 0, got 0.0"),
        ({"node_type": "audio"}, r"q must be \[2, H, K\], got \[3, 2, 4\]"),
        ({"weight": ArccosWeight({UTTERANCE: torch.zeros(3, 2)})}, r"weight.x\['text'\] must be \[3, D\], got None"),
        ({"weight": torch.zeros(8)}, r"weight must be \[9\], got \[8\]"),
        ({"keep": torch.zeros(8, dtype=torch.bool)}, r"keep must be \[9\], got \[8\]"),
    ],
)
@pytest.mark.parametrize("backend", BACKENDS)
def test_says_what_does_not_fit(change, said, backend):
    s = Structure.of([3], GraphSpec(("text", "audio")), presence=[[1, 1], [1, 0], [1, 1]])
    arguments = {"scale": 1.0, "node_type": "text", "backend": backend} | change
    with pytest.raises(ValueError, match=said):
        semantic_attention(s, *[torch.zeros(3, 2, 4)] * 3, **arguments)
    if change in ({"node_type": "touch"}, {"interaction": "gelu"}) and backend != "dense":
        with pytest.raises(ValueError, match=said.replace(r"\['text', 'audio', 'utterance'\]", ".*")):
            semantic_attention(s.graph(), *[torch.zeros(3, 2, 4)] * 3, **arguments)
