"""The explorer in a browser: real keys and clicks, no complaint, no request, nothing of a corpus runs, every width."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from browser import CHROMIUM, Page, browser
from conftest import need
from explorer_cases import HOSTILE, built, page_of, run_page, shared_run
from predict_cases import small_corpus

from dgl_merc.corpus import Corpus
from dgl_merc.graphs import Store, edge_table
from dgl_merc.reports.explorer import Explored, Subject, write_explorer
from dgl_merc.training.run_folder import SavedRun

pytestmark = [pytest.mark.browser, pytest.mark.xdist_group("explorer")]
CHOSEN = "#turns [aria-selected=true] .place"
LONG = 300


@pytest.fixture(scope="module")
def page() -> Iterator[Page]:
    need("chromium", CHROMIUM is not None, "no chromium in the path")
    with browser() as tab:
        yield tab


@pytest.fixture(scope="module")
def corpus() -> Corpus:
    return small_corpus()


@pytest.fixture(scope="module")
def run(corpus: Corpus, tmp_path_factory) -> SavedRun:
    return shared_run(corpus, tmp_path_factory)


@pytest.fixture(scope="module")
def run_html(run, corpus, tmp_path_factory) -> Path:
    return run_page(run, corpus, tmp_path_factory.mktemp("page") / "run #1 ü.html")


@pytest.fixture(scope="module")
def small(corpus, tmp_path_factory) -> Store:
    return built(corpus, tmp_path_factory.mktemp("store"))


@pytest.fixture(scope="module")
def store_html(small, tmp_path_factory) -> Path:
    return page_of(small, tmp_path_factory.mktemp("page") / "store.html")


def taken(corpus: Corpus, count: int, **columns: list[str]) -> Corpus:
    """The first utterances of a corpus, said otherwise."""
    ends = corpus.feature_rows[count]
    features = {m: corpus.features[m][: ends[k]] for k, m in enumerate(corpus.modalities)}
    return Corpus.build("taken", corpus.utterances.iloc[:count].assign(**columns), features, dict(corpus.targets))


ARCS = "[...document.querySelectorAll('{}')].flatMap((p) => p.getAttribute('d').match(/M[^M]*/g) || [])"
ABOVE = ".map((arc) => arc.match(/[-0-9.]+/g).map(Number)).filter(([, y, , reach]) => reach < y)"


def clean(page: Page) -> None:
    assert page.complaints == []
    assert page.requests == []


def test_keys_go_through_utterances_and_dialogues(page, run_html, corpus):
    page.open(run_html)
    assert page.text("#name") == "train/0"
    assert page.ask(f"document.querySelector({json.dumps(CHOSEN)})") is None
    page.press("ArrowRight", "ArrowRight", "ArrowRight", "ArrowLeft")
    assert page.text(CHOSEN) == "#1"
    assert page.text("#live").startswith(f"#1, {corpus.utterances['speaker'][1]}: {corpus.utterances['text'][1]}. ")
    page.press("End")
    assert page.text(CHOSEN) == f"#{corpus.lengths[0] - 1}"
    page.press("ArrowRight", "Home", "ArrowLeft")
    assert page.text(CHOSEN) == "#0"
    page.press("]", "PageDown", "[")
    assert page.text("#name") == "train/1"
    page.press("PageUp", "[")
    assert page.text("#name") == "train/0"
    page.press("ArrowRight", "Escape")
    assert page.text("#live") == ""
    page.press("?")
    assert page.ask("document.getElementById('keys').open && document.activeElement.id") == "close"
    page.press("ArrowRight", "Enter")
    assert page.ask("document.getElementById('keys').open") is False
    assert page.text("#live") == ""
    page.press("/", "d", "e", "v")
    assert page.text("#name") == "dev/0"
    assert page.text("#count") == "3 of 15 dialogues"
    clean(page)


def test_lists_are_one_stop_of_the_tab_key_and_arrows_move_in_them(page, run_html):
    page.open(run_html)
    for rows in ("#turns", "#entries"):
        assert page.ask(f"document.querySelectorAll('{rows} [tabindex=\"0\"]').length") == 1
    page.ask("document.querySelector('#entries [tabindex=\"0\"]').focus()")
    page.press("ArrowDown", "ArrowDown")
    assert page.text("#name") == "train/2"
    assert page.ask("document.activeElement.textContent").startswith("train/2")
    page.press("End")
    assert page.text("#name") == "test/3"
    page.ask("document.querySelector('#turns [tabindex=\"0\"]').focus()")
    for key in ("Enter", " "):
        page.press(key)
        assert page.text(CHOSEN) == "#0"
        page.press("Escape")
    page.press("ArrowDown", "ArrowDown", "ArrowUp")
    assert page.ask("document.activeElement.querySelector('.place').textContent") == "#1" == page.text(CHOSEN)
    page.press("Tab")
    assert page.ask("document.activeElement.className") == "neighbour"
    page.press("Enter")  # goes to the neighbour, and stays in the panel
    assert page.text(CHOSEN) != "#1"
    assert page.ask("document.activeElement.id") == "panel"
    clean(page)


def test_the_tab_key_reaches_everything_and_it_is_seen(page, run_html):
    page.open(run_html, "#d=train/0&u=0")
    seen = []
    for _ in range(60):
        page.press("Tab")
        name = page.ask("document.activeElement.id || document.activeElement.className || document.activeElement.tagName")
        outline = page.ask("getComputedStyle(document.activeElement).outlineStyle + getComputedStyle(document.activeElement).outlineWidth")
        assert name == "BODY" or outline == "solid3px", name
        seen.append(name)
        if name in ("BODY", "skip") and len(seen) > 1:
            break
    order = ["skip", "help", "search", "split", "sort", "entry", "after", "kind", "threshold", "strongest", "graph", "turn", "neighbour"]
    assert [name for k, name in enumerate(seen) if k == 0 or seen[k - 1] != name][: len(order)] == [
        name if name != "turn" else seen[seen.index("graph") + 1] for name in order
    ]
    page.ask("document.getElementById('skip').focus()")
    page.press("Enter")
    assert page.ask("document.activeElement.getAttribute('role')") == "option"


def test_everything_has_a_name(page, run_html):
    page.open(run_html, "#d=train/0&u=0")
    nameless = page.ask(
        """[...document.querySelectorAll("button, select, input, [tabindex], [role=listbox], [role=img], nav, section, dialog")]
        .filter((e) => e.id !== "panel")
        .filter((e) => !(e.getAttribute("aria-label") || (e.labels && e.labels.length) || e.textContent.trim()
            || document.getElementById(e.getAttribute("aria-labelledby"))?.textContent)).map((e) => e.outerHTML)"""
    )
    assert nameless == []
    assert page.ask("document.documentElement.lang") == "en"
    assert page.ask("document.querySelectorAll('h1, main, nav').length") == 3
    ids = page.ask("[...document.querySelectorAll('[id]')].map((e) => e.id)")
    assert len(ids) == len(set(ids))


def test_neighbours_and_filters_are_those_of_the_edges(page, store_html, small):
    structure = small.structure(np.array([3]))
    table = edge_table(structure, small.weights(structure), [("audio", "same", "audio")])
    into = table[table["dst"] == 4].sort_values("weight", ascending=False)
    page.open(store_html, "#d=train/3&u=4&e=features/audio/same/audio&k=0")
    listed = "[...document.querySelectorAll('#panel .sides div:nth-child(1) li')].map((e) => [e.querySelector('b').textContent, e.querySelector('.weight').textContent])"
    assert len(page.ask(listed)) == 8
    page.click("#panel .sides .link")
    found = page.ask(listed)
    assert page.text("#panel h4") == f"Hears {len(into)}"
    weights = dict(zip(into["src"], into["weight"], strict=True))
    assert {int(place[1:]) for place, _ in found} == set(into["src"])
    for place, weight in found:
        assert abs(float(weight) - weights[int(place[1:])]) < 0.0051 + 1 / 508
    assert page.text("#drawn") == f"{len(table)} of {len(table)} edges pass the filters."
    # a kind's own range is that of the whole corpus: a half of it is what the page says
    page.ask("document.getElementById('threshold').focus()")
    every = small.weights(small.structure())[("audio", "same", "audio")]
    for share in (0.5, 0.8):
        page.ask(
            f"(() => {{ const e = document.getElementById('threshold'); e.value = {100 * share}; e.dispatchEvent(new Event('input')); }})()"
        )
        least = float(every.min() + share * (every.max() - every.min()))
        assert float(page.text("#from")) == pytest.approx(least, abs=0.005)
        slack = 1 / 250
        low, high = ((table["weight"] > least + slack).sum(), (table["weight"] > least - slack).sum())
        assert low <= int(page.text("#drawn").split()[0]) <= high < len(table)
    page.open(store_html, "#d=train/3&e=features/audio/same/audio&k=2&w=0")
    nodes = structure.num_nodes("audio")
    assert page.text("#drawn").startswith(f"{2 * nodes} of ")


def test_a_graph_by_hand(page, tmp_path):
    """Directions, both ways to pack edges, and weights below 0: whom each of four utterances hears, by strength."""
    table = pd.DataFrame({"speaker": list("ABAC"), "text": list("wxyz"), "label": ["joy", None, "sad", "joy"], "has_text": True})
    dense = [("dense", "text", "same", "text", s, d, (10 * s + d) / 40) for s in range(4) for d in range(4) if s != d]
    sparse = [("sparse", "text", "same", "text", *edge) for edge in ((3, 0, -0.8), (1, 2, 0.4), (0, 2, -0.2))]
    equal = [("equal", *edge[1:-1], 0.25) for edge in dense]
    edges = pd.DataFrame(dense + sparse + equal, columns=["part", "source", "relation", "target", "src", "dst", "weight"])
    subject = Subject("by hand", "store", {}, ("joy", "sad"), ("text",), 1)
    path = tmp_path / "page.html"
    write_explorer(path, subject, [Explored(0, "d", "train", table, edges)])
    listed = "[...document.querySelectorAll('#panel .sides div:nth-child({}) li')].map((e) => ['b', '.weight'].map((part) => e.querySelector(part).textContent))"

    def side(k: int) -> list[tuple[int, float]]:
        return [(int(place[1:]), float(weight)) for place, weight in page.ask(listed.format(k))]

    for kind, u, hears, heard in (
        ("dense", 1, [(3, 31 / 40), (2, 21 / 40), (0, 1 / 40)], [(3, 13 / 40), (2, 12 / 40), (0, 10 / 40)]),
        ("dense", 3, [(2, 23 / 40), (1, 13 / 40), (0, 3 / 40)], [(2, 32 / 40), (1, 31 / 40), (0, 30 / 40)]),
        ("sparse", 0, [(3, -0.8)], [(2, -0.2)]),
        ("sparse", 2, [(1, 0.4), (0, -0.2)], []),
    ):
        page.open(path, f"#d=d&u={u}&e={kind}/text/same/text&k=0")
        for k, expected in ((1, hears), (2, heard)):
            assert [place for place, _ in side(k)] == [place for place, _ in expected]
            assert [weight for _, weight in side(k)] == pytest.approx([weight for _, weight in expected], abs=0.005 + 1.2 / 508)
    every, above = ARCS.format("#graph .arcs path"), ARCS.format("#graph .arcs path") + ABOVE
    assert (page.ask(f"{every}.length"), page.ask(f"{above}.length")) == (3, 2)  # 1 to 2 and 0 to 2 go forward in time, 3 to 0 back
    page.open(path, "#d=d&u=2&e=sparse/text/same/text&k=0&w=0.4")  # of the greatest distance from 0
    assert page.text("#drawn") == "2 of 3 edges pass the filters."
    page.open(path, "#d=d&u=2&e=sparse/text/same/text&k=1")
    assert [place for place, _ in side(1)] == [1]
    page.open(path, "#d=d&u=2&e=equal/text/same/text&k=1")
    assert [place for place, _ in side(1)] == [0, 1, 3]  # none of them is stronger
    clean(page)


def test_arcs_are_the_edges_that_pass(page, store_html, small):
    structure = small.structure(np.array([3]))
    table = edge_table(structure, small.weights(structure), [("text", "same", "text")])
    page.open(store_html, "#d=train/3&u=4&e=features/text/same/text&k=0")
    arcs = f"{ARCS}.length"
    assert page.ask(arcs.format("#graph .arcs path")) == len(table)
    assert page.ask(arcs.format("#graph .arc.in")) == (table["dst"] == 4).sum()
    assert page.ask(arcs.format("#graph .arc.out")) == (table["src"] == 4).sum()
    assert page.ask("document.querySelectorAll('#graph .near').length") == len(
        {*table["src"][table["dst"] == 4], *table["dst"][table["src"] == 4]}
    )
    page.open(store_html, "#d=train/3&e=turns/*")
    assert page.ask("document.getElementById('threshold').disabled && document.getElementById('strongest').disabled")
    pairs = sum(structure.edges(t)[0].numel() for t in small.spec.edge_types if t[1].endswith(("past", "future")))
    assert page.text("#drawn") == f"{pairs} of {pairs} edges pass the filters."
    page.open(store_html, "#d=train/3&e=features/text/cross/audio")  # within an utterance: loops
    assert page.ask(arcs.format("#graph .arcs path")) == structure.edges(("text", "cross", "audio"))[0].numel()
    assert page.ask("[...document.querySelectorAll('#graph .arcs path')].every((p) => !p.getAttribute('d').includes('C'))")
    clean(page)


def test_the_matrix_shows_the_edges(page, store_html, small):
    structure = small.structure(np.array([3]))
    n = int(structure.lengths[0])
    table = edge_table(structure, small.weights(structure), [("visual", "same", "visual")])
    page.open(store_html, "#d=train/3&e=features/visual/same/visual&k=0")
    shown = page.ask(
        f"""(() => {{ const n = {n}, c = document.querySelector('#map canvas'), s = (c.width - 7) / n;
        const image = c.getContext('2d').getImageData(0, 0, c.width, c.height).data, at = (k) => Math.round(7 + (k + .5) * s);
        return Array.from({{ length: n * n }}, (_, k) => {{ const p = 4 * (at(Math.floor(k / n)) * c.width + at(k % n));
            return [...image.slice(p, p + 3)].join(); }}); }})()"""
    )
    there = {(int(d), int(s)) for s, d in table[["src", "dst"]].itertuples(index=False)}
    assert {(k // n, k % n) for k, c in enumerate(shown) if c != "250,250,250"} == there
    strongest = table.loc[table["weight"].idxmax()]
    assert shown[int(strongest["dst"]) * n + int(strongest["src"])] == "8,64,129"
    side = page.ask("document.querySelector('#map canvas').getBoundingClientRect().width - 7")
    page.place("#map canvas")
    box = page.ask("(() => { const b = document.querySelector('#map canvas').getBoundingClientRect(); return [b.left, b.top]; })()")
    at = {"x": box[0] + 7 + (strongest["src"] + 0.5) * side / n, "y": box[1] + 7 + (strongest["dst"] + 0.5) * side / n}
    page.call("Input.dispatchMouseEvent", type="mouseMoved", **at)
    page.frame()
    assert page.text("#cell") == f"#{strongest['dst']} hears #{strongest['src']}: {strongest['weight']:.2f}, visual"
    for kind in ("mousePressed", "mouseReleased"):
        page.call("Input.dispatchMouseEvent", type=kind, button="left", clickCount=1, **at)
    page.frame()
    assert page.text(CHOSEN) == f"#{strongest['dst']}"
    clean(page)


def test_clicks_and_hovering(page, run_html, run):
    page.open(run_html)
    page.click("#after")
    page.click("#turns > :nth-child(3)")
    assert page.text(CHOSEN) == "#2"
    page.move("#turns > :nth-child(1)")
    assert page.text("#panel .place") == "#0"  # under the pointer
    assert page.text(CHOSEN) == "#2"
    page.call("Input.dispatchMouseEvent", type="mouseMoved", x=2, y=2)
    page.frame()
    assert page.text("#panel .place") == "#2"
    page.click("#graph .mark:nth-of-type(5)")
    assert page.text("#name") == "train/1"
    page.ask("document.getElementById('sort').value = 'errors', document.getElementById('sort').dispatchEvent(new Event('change'))")
    table = run.predictions[run.predictions["label"].notna()]
    errors = (table["label"] != table["predicted"]).groupby(table["dialogue_id"]).sum()
    assert errors[page.text("#name")] == errors.max()
    assert f"{errors.max()} wrong" in page.text("#about")
    assert page.ask("document.querySelectorAll('.turn.wrong').length") == errors.max()
    assert page.ask("document.querySelectorAll('.mark.wrong .said').length") == errors.max()
    clean(page)


def test_a_link_leads_back(page, run_html):
    page.open(run_html, "#d=dev/1&u=5&e=graph/audio/same/audio&w=0.3&k=5")
    page.press("ArrowRight", "e", "+")
    address = page.ask("location.hash")
    said = [page.text(s) for s in ("#name", CHOSEN, "#from", "#drawn", "#panel")]
    assert said[:2] == ["dev/1", "#6"]
    page.open(run_html, address)
    assert [page.text(s) for s in ("#name", CHOSEN, "#from", "#drawn", "#panel")] == said
    page.ask("location.hash = '#d=test/0&u=1'")
    page.frame()
    assert (page.text("#name"), page.text(CHOSEN)) == ("test/0", "#1")
    for nonsense in ("#d=nobody&u=-1&e=x&w=9&k=999", "#%%%", "#d=dev/1&u=99999", "#d=dev/1&u=<script>"):
        page.open(run_html, nonsense)
        assert page.ask(f"document.querySelector({json.dumps(CHOSEN)})") is None
        clean(page)


def test_hostile_text_is_text(page, corpus, tmp_path):
    count = int(corpus.lengths[:2].sum())
    text = [HOSTILE[k % len(HOSTILE)] for k in range(count)]
    speaker = [HOSTILE[k % 6] for k in range(count)]
    names = np.repeat([HOSTILE[0], HOSTILE[3]], corpus.lengths[:2]).tolist()
    store = built(taken(corpus, count, text=text, speaker=speaker, dialogue_id=names), tmp_path)
    path = page_of(store, tmp_path / "page.html")
    page.open(path, width=400)
    shown = page.ask("[...document.querySelectorAll('#turns .text')].map((e) => e.textContent)")
    assert shown == text[: corpus.lengths[0]]
    for u in range(len(HOSTILE)):
        page.press("ArrowRight")
        assert page.text(CHOSEN) == f"#{u}"
        assert page.ask("document.documentElement.scrollWidth") <= 400
    page.press("]", "ArrowRight")
    assert page.text("#name") == HOSTILE[3]
    address = page.ask("location.hash")
    page.open(path, address)
    assert page.text("#name") == HOSTILE[3]
    assert page.ask("window.hacked") is None
    assert page.ask("document.querySelectorAll('img, script:not(body > script), main svg svg').length") == 0
    clean(page)


@pytest.mark.parametrize("width", [400, 1280])
@pytest.mark.parametrize("dark", [False, True])
def test_no_width_scrolls_sideways(page, run_html, store_html, width, dark):
    for path in (run_html, store_html):
        page.open(path, "#d=test/0&u=3", width=width, dark=dark)
        assert page.ask("document.documentElement.scrollWidth") <= width
        assert (page.ask("getComputedStyle(document.body).backgroundColor") == "rgb(245, 247, 250)") is not dark
        clean(page)


def test_three_hundred_utterances_cost_little(page, corpus, tmp_path):
    """What is drawn does not grow with the edges: a hundred thousand of them, and a move of the pointer changes some hundred nodes."""
    count = min(LONG, len(corpus.utterances))
    assert count == LONG
    one = taken(corpus, count, dialogue_id=["long"] * count, position=list(range(count)), split=["train"] * count)
    page.open(page_of(built(one, tmp_path), tmp_path / "page.html"), "#d=long&k=0")
    assert int(page.text("#drawn").split()[0]) > 50_000
    assert page.text("#drawn").endswith("the 1500 strongest are drawn.")
    assert page.ask("document.querySelectorAll('*').length") < 14 * LONG
    page.ask(
        "window.changes = 0; new MutationObserver((found) => { for (const m of found) window.changes += 1 + m.addedNodes.length; })"
        ".observe(document.body, { subtree: true, childList: true, attributes: true }); 1"
    )
    page.place("#graph")
    page.ask(
        "(() => { const svg = document.querySelector('#graph .marks'), b = svg.getBoundingClientRect();"
        " for (let k = 0; k < 40; k++) svg.dispatchEvent(new PointerEvent('pointermove', { clientX: b.left + 20 + 24 * k, clientY: b.top + 9 })); })()"
    )
    page.frame()
    assert page.text("#panel .place") == "#39"
    assert 0 < page.ask("window.changes") < 900  # forty moves within one frame: drawn once
    clean(page)
