"""How long a person waits for the explorer: a dialogue of 300 utterances in three modalities, all joined, in a browser without a window.

    python benchmarks/explorer.py [--utterances 300] [--times 60]

Timed in the page, in milliseconds: from an event to the end of the next frame, drawn by software on the CPU (a GPU is faster). ``hover``:
the pointer moves to another utterance; ``threshold``: the slider moves; ``edges``: another kind of edges is chosen; ``open``: the page is
loaded until it is drawn. From 50 ms on a movement is felt to stutter.
"""

from __future__ import annotations

import sys
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from time import perf_counter
from typing import Any

import click
import numpy as np

from dgl_merc.corpus import Corpus, save_corpus
from dgl_merc.corpus.synthetic import synthetic_corpus
from dgl_merc.explanations import explore_store
from dgl_merc.graphs import GraphSpec
from dgl_merc.graphs.build import BuildOptions, build_store
from dgl_merc.reports.explorer import write_explorer

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests"))

HEAD = "| what | shown | times | median | p95 | greatest | above 50 ms |"
_FRAME = """
const timed = async (act) => {
  const begin = performance.now();
  act();
  await new Promise((done) => requestAnimationFrame(() => setTimeout(done, 0)));
  return performance.now() - begin;
};
const svg = document.querySelector('#graph .marks'), box = svg.getBoundingClientRect(), found = [];
"""
_HOVER = """
for (let k = 0; k < TIMES; k++) {
  const where = { clientX: box.left + 20 + (37 * k) % 1100, clientY: box.top + 9 };
  found.push(await timed(() => svg.dispatchEvent(new PointerEvent('pointermove', where))));
}
"""
_THRESHOLD = """
const slider = document.querySelector('#threshold');
for (let k = 0; k < TIMES; k++)
  found.push(await timed(() => { slider.value = 3 * k % 90; slider.dispatchEvent(new Event('input')); }));
"""
_EDGES = """
const kinds = document.querySelector('#kind');
for (let k = 0; k < TIMES / 4; k++)
  found.push(await timed(() => { kinds.value = kinds.options[k % kinds.options.length].value; kinds.dispatchEvent(new Event('change')); }));
"""


def long_page(folder: Path, utterances: int) -> Path:
    """The first utterances of the embedded corpus as one dialogue, as a page."""
    made = synthetic_corpus(0, (utterances // 5, 1, 1), with_ceilings=False)
    table = made.utterances.iloc[:utterances].assign(dialogue_id="long", position=np.arange(utterances), split="train")
    features = {m: x[: made.feature_rows[utterances, k]] for k, (m, x) in enumerate(made.features.items())}
    corpus = save_corpus(Corpus.build("long", table, features, dict(made.targets)), folder / "corpus")
    store = build_store(corpus, folder / "graphs", GraphSpec(tuple(corpus.modalities), cross="dialogue"), BuildOptions(edges=False))
    path = folder / "explorer.html"
    write_explorer(path, *explore_store(store))
    return path


def rows(page: Any, path: Path, times: int) -> list[str]:
    """The table's rows: of the page as it opens (the three strongest edges into each utterance), and of every edge."""

    def timed(what: str, shows: str, script: str) -> str:
        found = sorted(page.ask(f"(async () => {{ {_FRAME} {script.replace('TIMES', str(times))} return found; }})()"))
        return _row(what, shows, found)

    begin = perf_counter()
    page.open(path)
    shown = [f"| open | | 1 | {1000 * (perf_counter() - begin):.0f} | | | |"]
    for strongest in (3, 0):  # 0: all
        page.open(path, f"#d=long&k={strongest}")
        page.place("#graph")
        shows = page.text("#drawn").split(" edges")[0]
        shown += [timed("hover", shows, _HOVER), timed("threshold, an utterance hovered", shows, _THRESHOLD)]
    page.open(path, "#d=long&k=3")
    return [*shown, timed("edges", "each kind in turn", _EDGES)]


def _row(what: str, edges: str, found: list[float]) -> str:
    p95, above = found[int(0.95 * (len(found) - 1))], sum(f > 50 for f in found)
    return f"| {what} | {edges} | {len(found)} | {median(found):.0f} | {p95:.0f} | {found[-1]:.0f} | {above} |"


@click.command()
@click.option("--utterances", type=click.IntRange(5, 1000), default=300)
@click.option("--times", type=click.IntRange(4), default=60)
def main(utterances: int, times: int) -> None:
    """Print the table."""
    from browser import browser

    with TemporaryDirectory() as folder, browser() as page:
        path = long_page(Path(folder), utterances)
        print(f"{utterances} utterances, {path.stat().st_size / 2**20:.1f} MiB\n")
        print(HEAD, "|---" * HEAD[1:].count("|") + "|", *rows(page, path, times), sep="\n")
        assert page.complaints == [], page.complaints


if __name__ == "__main__":
    main()
