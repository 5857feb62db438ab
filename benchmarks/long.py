"""One long dialogue: seconds of a forward and backward pass, and what it adds to the memory of a process that holds the inputs.

    python benchmarks/long.py                            # the table
    python benchmarks/long.py masked_gcn 10000           # one line
    python benchmarks/long.py masked_gcn 100000 --window 10 --backend dgl

Three modalities (semantic_attention: one node an utterance), D = 100, two layers, mask rate .7, complete ``same`` edges unless a window is
given, one thread. Memory is the greatest resident size, read by the operating system's count, less that before the pass.
"""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import click
import torch
from torch import Tensor

from dgl_merc.graphs import UTTERANCE, GraphSpec, Structure
from dgl_merc.kernels import ArccosWeight, HashMask, choose_backend, masked_gcn, rgcn, semantic_attention

M3 = ("text", "audio", "visual")
D = 100
LINES = (
    ("masked_gcn", 2500, None, "dense"),
    ("masked_gcn", 5000, None, "dense"),
    ("masked_gcn", 10000, None, "dense"),
    ("masked_gcn", 25000, 10, "dense"),
    ("masked_gcn", 50000, 10, "dense"),
    ("masked_gcn", 100000, 10, "dense"),
    ("masked_gcn", 100000, 10, "dgl"),
    ("rgcn", 50000, 10, "dense"),
    ("rgcn", 100000, 10, "dense"),
    ("semantic_attention", 5000, None, "dense"),
    ("semantic_attention", 10000, None, "dense"),
)


def resident(field: str) -> float:
    """MiB: ``VmRSS`` now, or ``VmHWM``, the greatest since the process began or :func:`forget`."""
    lines = Path("/proc/self/status").read_text(encoding="ascii").splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(field)) / 1024


def forget() -> None:
    """Let ``VmHWM`` begin anew."""
    Path("/proc/self/clear_refs").write_text("5", encoding="ascii")


def leaf(*shape: int, scale: float = 1.0) -> Tensor:
    """A random tensor that wants a gradient."""
    return (torch.randn(*shape) * scale).requires_grad_()


def job(kernel: str, utterances: int, window: int | None, backend: str) -> tuple[Callable[[], Tensor], str]:
    """The call, its inputs made, and who will compute it."""
    if kernel == "masked_gcn":
        s = Structure.of([utterances], GraphSpec(M3, window=window))
        x, w, mask = {m: leaf(utterances, D) for m in M3}, [leaf(D, D, scale=0.1) for _ in range(2)], HashMask(0, 0.7)
        chosen = choose_backend("masked_gcn", s, backend, rate=0.7)  # type: ignore[arg-type]
        return lambda: torch.cat(list(masked_gcn(s, x, w, weight=ArccosWeight(x), mask=mask, backend=chosen).values())), chosen
    s = Structure.of([utterances], GraphSpec(("text",), past=window or utterances, future=window or utterances))
    g = leaf(utterances, D)
    rule = ArccosWeight({UTTERANCE: g})
    chosen = choose_backend(kernel, s, backend)  # type: ignore[arg-type]
    if kernel == "rgcn":
        layers = [(leaf(4, D, 50, scale=0.1), leaf(D, 50, scale=0.1)), (leaf(4, 50, 50, scale=0.1), leaf(50, 50, scale=0.1))]
        return lambda: rgcn(s, g, layers, weight=rule, backend=chosen), chosen
    table, (q, k, v) = leaf(2, 33), (leaf(utterances, 2, 25) for _ in range(3))
    return lambda: semantic_attention(s, q, k, v, scale=10.0, weight=rule, distances=table, backend=chosen), chosen


@click.command()
@click.argument("kernel", required=False, type=click.Choice(["masked_gcn", "rgcn", "semantic_attention"]))
@click.argument("utterances", required=False, type=int)
@click.option("--window", type=int)
@click.option("--backend", default="auto", show_default=True)
def main(kernel: str | None, utterances: int | None, window: int | None, backend: str) -> None:
    """Print a line, or the whole table, each line from a process of its own."""
    if kernel is None or utterances is None:
        print("| kernel | utterances | window | backend | forward s | backward s | added MiB |\n|---|---|---|---|---|---|---|", flush=True)
        for name, size, width, who in LINES:
            more = [] if width is None else ["--window", str(width)]
            subprocess.run([sys.executable, __file__, name, str(size), "--backend", who, *more], check=True)
        return
    torch.set_num_threads(1)
    small, _ = job(kernel, 30, window, backend)
    small().sum().backward()  # what libraries load on their first use does not count
    call, chosen = job(kernel, utterances, window, backend)
    forget()
    before, begin = resident("VmRSS"), time.perf_counter()
    y = call()
    between = time.perf_counter()
    y.square().sum().backward()
    end, peak = time.perf_counter(), resident("VmHWM")
    window_cell = "complete" if window is None else window
    print(
        f"| {kernel} | {utterances} | {window_cell} | {chosen} | {between - begin:.2f} | {end - between:.2f} | {peak - before:.0f} |",
        flush=True,
    )


if __name__ == "__main__":
    main()
