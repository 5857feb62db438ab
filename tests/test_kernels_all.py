"""What holds for every kernel: one set of tests each, precision, determinism, devices, and who computes when nobody is named."""

from __future__ import annotations

import importlib
import inspect
import re
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from helpers import BACKENDS, M2, M3, structure_for
from hypothesis import given, settings
from hypothesis import strategies as st
from kernel_cases import CASES, KERNELS, SPEC
from torch import Tensor

from dgl_merc import kernels
from dgl_merc.graphs import RELATIONS, UTTERANCE, GraphSpec, Structure
from dgl_merc.kernels import backends, choose_backend
from dgl_merc.kernels.backends import COSTS, dgl_computes_on

pytestmark = pytest.mark.dgl
ROOT = Path(__file__).resolve().parents[1]
EDGELESS = {"emotion_dynamics"}
"""Along turns, not edges: there is one form of it, for structures, and test_emotion_dynamics.py holds it to what is held for all here."""
every_kernel = pytest.mark.parametrize("name", CASES)
every_backend = pytest.mark.parametrize("backend", BACKENDS)


def gradients(name: str, s: object, leaves: list[Tensor], backend: str) -> list[Tensor]:
    """The output, then the gradient of every leaf, under a cotangent that depends on nothing."""
    leaves = [t.detach().clone().requires_grad_() for t in leaves]
    y = CASES[name].run(s, leaves, backend)
    cotangent = torch.linspace(-1, 1, y.numel(), dtype=y.dtype, device=y.device).view_as(y)
    return [y.detach(), *torch.autograd.grad(y, leaves, cotangent)]


# ---- completeness


def test_every_kernel_has_its_case_its_loop_its_tests_and_its_benchmark():
    exported = {n for n in kernels.__all__ if inspect.isfunction(getattr(kernels, n)) and n != "choose_backend"}
    assert exported == set(KERNELS) | EDGELESS
    benchmark = (ROOT / "benchmarks" / "kernels.py").read_text(encoding="utf-8")
    for name in exported:
        module = importlib.import_module(f"dgl_merc.kernels.{name}")
        assert inspect.isfunction(getattr(module, f"{name}_loop"))
        assert f"{name}_loop" not in module.__all__
        assert name in EDGELESS or ">>> graph = dgl.heterograph(" in getattr(kernels, name).__doc__
        assert "two utterances" in getattr(kernels, name).__doc__, "each can be used alone: an example by hand"
        tests = (ROOT / "tests" / f"test_{name}.py").read_text(encoding="utf-8")
        for needed in (
            "agrees_with_the_loop",
            "gradcheck",
            "any_shape",
            "says_what_does_not_fit",
            *([] if name in EDGELESS else ["heterograph"]),
        ):
            assert re.search(rf"def test_\w*{needed}", tests), f"{name}: no test named {needed}"
        assert name in EDGELESS or f'"{name}"' in benchmark


@every_kernel
@pytest.mark.parametrize("idtype", [torch.int32, torch.int64])
@pytest.mark.parametrize("backend", ["auto", "dgl", "scatter"])
def test_a_heterograph_or_a_batch_of_them_gives_what_the_structure_gives(name, idtype, backend):
    from dgl_merc._dgl import dgl

    s = structure_for(CASES[name].spec, [5, 1, 7])
    parts = [s.select([d]) for d in range(3)]
    batch = dgl.batch([part.graph(idtype=idtype) for part in parts])
    leaves = CASES[name].leaves(s)
    for graph in (s.graph(idtype=idtype), batch):
        before = {n: set(graph.nodes[n].data) for n in graph.ntypes}
        for got, want in zip(gradients(name, graph, leaves, backend), gradients(name, s, leaves, "dense"), strict=True):
            torch.testing.assert_close(got, want, rtol=0, atol=1e-10)
        assert {n: set(graph.nodes[n].data) for n in graph.ntypes} == before, "the graph passed in was written to"


# ---- precision


@every_backend
@every_kernel
def test_float32_is_near_float64(name, backend):
    s = structure_for(SPEC, [9, 1, 14, 3])
    exact = CASES[name].leaves(s)
    for got, want in zip(gradients(name, s, [t.float() for t in exact], backend), gradients(name, s, exact, backend), strict=True):
        assert got.dtype == torch.float32
        torch.testing.assert_close(got.double(), want, rtol=2e-3, atol=2e-3)


@pytest.mark.parametrize("backend", ["dense", "scatter"])
@every_kernel
def test_bfloat16_in_bfloat16_out(name, backend):
    s = structure_for(SPEC, [9, 1, 14, 3])
    leaves = [t.bfloat16() for t in CASES[name].leaves(s)]
    got, want = gradients(name, s, leaves, backend), gradients(name, s, [t.double() for t in leaves], backend)
    assert all(t.dtype == torch.bfloat16 for t in got)
    assert all(torch.isfinite(t).all() for t in got)
    error = (got[0].double() - want[0]).norm() / want[0].norm()
    assert error < 0.03, "weights and degrees must not be made in bfloat16"


@every_backend
@every_kernel
def test_autocast_leaves_weights_in_float32(name, backend):
    s = structure_for(SPEC, [9, 14])
    leaves = [t.float() for t in CASES[name].leaves(s)]
    leaves = [t.requires_grad_() for t in leaves]
    with torch.autocast("cpu", dtype=torch.bfloat16):
        got = CASES[name].run(s, leaves, backend)
    for gradient in torch.autograd.grad(got.float().sum(), leaves):
        assert torch.isfinite(gradient).all()
    want = CASES[name].run(s, leaves, backend)
    assert (got.float() - want).norm() / want.norm() < 0.02


@every_backend
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_the_slightest_difference_still_weighs_under_autocast(backend, dtype):
    """cos = 1 - 2e-4 is 1.0 in bfloat16, where its weight would be 1 instead of .9936."""
    if backend == "dgl" and dtype == torch.bfloat16:
        dtype = torch.float32
    s = Structure.of([2], GraphSpec(("text",)))
    x = {"text": torch.tensor([[1.0, 0.0], [1.0, 0.02]])}
    with torch.autocast("cpu", dtype=torch.bfloat16):
        _, entries, diagonal = kernels.masked_gcn(
            s, {"text": x["text"].to(dtype)}, [torch.eye(2).to(dtype)], weight=kernels.ArccosWeight(x), backend=backend, return_weights=True
        )
    weight = entries["text", "same", "text"] / diagonal["text"]
    torch.testing.assert_close(weight.float(), torch.full((2,), 1 - torch.atan(torch.tensor(0.02)).item() / torch.pi), rtol=0, atol=1e-4)


# ---- determinism


@every_backend
@every_kernel
def test_the_same_bits_again_and_with_two_threads(name, backend):
    s = structure_for(SPEC, [40, 3, 17, 55, 1])
    leaves, threads, runs = [t.float() for t in CASES[name].leaves(s)], torch.get_num_threads(), []
    try:
        for count in (1, 1, 2, 2):
            torch.set_num_threads(count)
            runs.append(gradients(name, s, leaves, backend))
    finally:
        torch.set_num_threads(threads)
    for other in runs[1:]:
        for got, want in zip(other, runs[0], strict=True):
            assert torch.equal(got, want)


@every_kernel
def test_a_structure_seen_in_inference_mode_serves_training(name):
    s = structure_for(SPEC, [9, 1, 14, 3])
    with torch.inference_mode():
        CASES[name].run(s, CASES[name].leaves(s), "dense")
    gradients(name, s, CASES[name].leaves(s), "dense")


@pytest.mark.parametrize("backend", BACKENDS)
def test_what_overflows_stays_in_its_dialogue(backend, monkeypatch):
    monkeypatch.setattr("dgl_merc.graphs.blocks.PIECE", 2)
    monkeypatch.setattr("dgl_merc.graphs.blocks.PRICE", 0.0)
    s = structure_for(GraphSpec(M3, window=2, past=2, future=2), [9, 12, 17], drop=0.0)
    for name in ("masked_gcn", "rgcn"):
        leaves = CASES[name].leaves(s)
        leaves[0][0] = torch.inf
        y = CASES[name].run(s, leaves, backend).view(-1, 38, CASES[name].run(s, leaves, backend).shape[1])
        assert torch.isfinite(y[:, 9:]).all()


# ---- devices


@pytest.mark.gpu
@every_kernel
@pytest.mark.parametrize("backend", ["dense", "scatter", "auto"])
def test_gpu_gives_what_the_cpu_gives(name, backend):
    if not torch.cuda.is_available():
        pytest.skip("no GPU")
    s = structure_for(SPEC, [9, 1, 14, 3])
    leaves = CASES[name].leaves(s)
    far = gradients(name, s.to("cuda"), [t.cuda() for t in leaves], backend)
    for got, want in zip(far, gradients(name, s, leaves, "dense"), strict=True):
        torch.testing.assert_close(got.cpu(), want, rtol=0, atol=1e-9)


@pytest.mark.parametrize("backend", ["dense", "scatter"])
def test_neither_imports_dgl(backend):
    """On a device where DGL can't compute it is not even asked."""
    code = (
        "import sys, torch; sys.path.insert(0, 'tests')\n"
        "from helpers import structure_for, M3; from kernel_cases import CASES; from dgl_merc.graphs import GraphSpec\n"
        "s = structure_for(GraphSpec(M3), [3, 2])\n"
        f"for case in CASES.values(): case.run(s, case.leaves(s), '{backend}')\n"
        "assert 'dgl' not in sys.modules"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


# ---- who computes


class Elsewhere(Structure):
    """A structure that says it is on a GPU."""

    device = torch.device("cuda")  # type: ignore[assignment]


class Graph:
    """A DGL graph as far as the choice looks at it."""

    def __init__(self, device: str) -> None:
        self.device = torch.device(device)


def test_a_dgl_graph_is_for_dgl_where_dgl_computes_and_for_scatter_elsewhere(monkeypatch):
    monkeypatch.setattr(backends, "_DGL_WORKS", {"cpu": True, "cuda": False, "mps": True})
    for name in KERNELS:
        assert choose_backend(name, Graph("cpu")) == "dgl"
        assert choose_backend(name, Graph("cuda")) == "scatter"
        assert choose_backend(name, Graph("mps")) == "dgl"
        assert choose_backend(name, Graph("cpu"), "scatter") == "scatter"
        with pytest.raises(ValueError, match="needs a Structure"):
            choose_backend(name, Graph("cpu"), "dense")


def test_whether_dgl_computes_is_tried(monkeypatch):
    monkeypatch.setattr(backends, "_DGL_WORKS", {})
    assert dgl_computes_on("cpu")
    assert not dgl_computes_on("meta")
    assert backends._DGL_WORKS == {"cpu": True, "meta": False}


@pytest.mark.parametrize("rate", [0.0, 0.7, 0.99])
def test_a_structure_elsewhere_is_dense(rate):
    s = Structure.of([5, 3], SPEC)
    for name in KERNELS:
        assert choose_backend(name, Elsewhere(s.lengths, s.presence, s.speakers, s.spec), rate=rate) == "dense"


IEMOCAP, MELD = list(range(12, 108, 3)), [3, 5, 6, 7, 8, 9, 10, 10, 11, 12, 14, 15, 18, 24] * 2


@pytest.mark.parametrize(
    ("kernel", "lengths", "spec", "rate", "chosen"),
    [
        ("masked_gcn", IEMOCAP, GraphSpec(M3), 0.0, "dense"),
        ("masked_gcn", IEMOCAP, GraphSpec(M3), 0.7, "dense"),
        ("masked_gcn", IEMOCAP, GraphSpec(M3), 0.99, "scatter"),
        ("masked_gcn", IEMOCAP, GraphSpec(M3, cross="dialogue"), 0.9, "dense"),
        ("masked_gcn", IEMOCAP, GraphSpec(M3, window=10), 0.7, "dense"),
        ("masked_gcn", MELD, GraphSpec(M3), 0.0, "dense"),
        ("masked_gcn", MELD, GraphSpec(M3), 0.9, "scatter"),
        ("masked_gcn", [50000], GraphSpec(M3, window=2), 0.9, "scatter"),
        ("masked_gcn", [10000], GraphSpec(M3), 0.99, "dense"),  # 3 10^8 edges would be listed first
        ("rgcn", IEMOCAP, GraphSpec(M3), 0.0, "dense"),
        ("rgcn", MELD, GraphSpec(M3, past=2, future=2), 0.0, "scatter"),
        ("semantic_attention", MELD, GraphSpec(M3), 0.0, "dense"),
        ("attention_filter", MELD, GraphSpec(M3), 0.0, "dense"),
        ("cross_modal_attention", MELD, GraphSpec(M3), 0.0, "dense"),
    ],
)
def test_the_rule(kernel, lengths, spec, rate, chosen):
    s = Structure.of(lengths, spec)
    assert choose_backend(kernel, s, rate=rate) == chosen
    for named in BACKENDS:
        assert choose_backend(kernel, s, named, rate=rate) == named


@settings(max_examples=50, deadline=None)
@given(
    st.lists(st.integers(1, 9), min_size=1, max_size=5),
    st.sampled_from([None, 0, 1, 3, 20]),
    st.sampled_from(["utterance", "dialogue", "none"]),
    st.booleans(),
    st.integers(0, 4),
)
def test_edges_are_counted_without_being_made(lengths, window, cross, causal, past):
    s = Structure.of(lengths, GraphSpec(M2, window=window, cross=cross, causal=causal, past=past, future=2))
    counted = {}
    for kernel, types in (("masked_gcn", s.spec.message_types), ("rgcn", [(UTTERANCE, r, UTTERANCE) for r in RELATIONS])):
        counted[kernel] = sum(len(s.edges(t)[0]) for t in types)
        assert backends.size_of(kernel, s)[1] == counted[kernel]


def test_what_env_says_is_what_is_chosen():
    rows = {(kernel, batch): words for kernel, batch, words in backends.describe_choices()}
    assert {kernel for kernel, _ in rows} == set(KERNELS)
    first, *changes = rows["masked_gcn", "MELD-like"].split(", ")
    s, now = Structure.of(MELD, GraphSpec(M3)), first
    at = {float(words.rsplit(" ", 1)[1]): words.split(" ")[0] for words in changes}
    assert at, "the rule turns somewhere"
    for percent in range(0, 100, 5):
        now = at.get(percent / 100, now)
        assert choose_backend("masked_gcn", s, rate=percent / 100) == now


def test_the_cheapest_estimate_wins(monkeypatch):
    s = structure_for(SPEC, [9, 4])
    for winner in BACKENDS:
        monkeypatch.setitem(COSTS, "rgcn", {b: backends.Cost(0.0 if b == winner else 1e9, 0, 0) for b in BACKENDS})
        assert choose_backend("rgcn", s) == winner


@every_kernel
def test_auto_is_one_of_them_to_the_last_bit(name):
    s = structure_for(SPEC, [9, 1, 14, 3])
    leaves = CASES[name].leaves(s)
    chosen = choose_backend(CASES[name].kernel or name, s, rate=0.4 if name == "masked_gcn" else 0.0)
    for got, want in zip(gradients(name, s, leaves, "auto"), gradients(name, s, leaves, chosen), strict=True):
        assert torch.equal(got, want)


# ---- long conversations


def long(*arguments: str) -> tuple[str, float]:
    """Backend and MiB of a line of benchmarks/long.py."""
    command = [sys.executable, str(ROOT / "benchmarks" / "long.py"), *arguments]
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=ROOT)
    assert done.returncode == 0, done.stderr
    cells = [c.strip() for c in done.stdout.strip("|\n ").split("|")]
    return cells[3], float(cells[-1])


@pytest.mark.slow
@pytest.mark.parametrize("kernel", ["masked_gcn", "semantic_attention"])
def test_ten_thousand_utterances_complete_add_less_than_a_gibibyte(kernel):
    chosen, added = long(kernel, "10000")
    assert chosen == "dense"
    assert added < 1024


@pytest.mark.slow
@pytest.mark.parametrize("kernel", ["masked_gcn", "rgcn"])
def test_memory_of_windowed_conversations_is_linear(kernel):
    small, great = (long(kernel, n, "--window", "10")[1] for n in ("20000", "60000"))
    assert great / small < 3.6, "three times the utterances"


def test_a_hundred_thousand_utterances_make_a_hundred_times_the_pairs_of_a_thousand():
    pairs = []
    for n in (1_000, 100_000):
        blocks = Structure.of([n], GraphSpec(M3, window=10)).blocks(M3, 10, 10).blocks
        pairs.append(sum(len(b.dialogues) * b.rows * b.columns for b in blocks))
    assert 95 < pairs[1] / pairs[0] <= 100
