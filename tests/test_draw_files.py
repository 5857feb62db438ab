"""Weights, learning, labels as pictures; pictures as files; ``dglmerc draw``; and tables that have next to nothing in them."""

from __future__ import annotations

import xml.etree.ElementTree as ET
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from cli_cases import assert_one_line, good, run
from matplotlib.figure import Figure
from test_draw import MODALITIES, by_gid, dialogue, drawn

from dgl_merc.errors import InputError
from dgl_merc.graphs import Store, draw, edge_table, open_store
from dgl_merc.graphs.draw.columns import types_of
from dgl_merc.graphs.palette import ink_on
from dgl_merc.graphs.pictures import _with_plain_ids, as_bytes, short
from dgl_merc.kernels import HashMask

HOSTILE = "\x00\x0b\ud83d$\\frac{</text><script>alert(1)</script>]]>--><!--\n\u202eمرحبا 😀 日本 &amp; \x1b[31m" + "x" * 10_000


def weighted(seed: int = 0) -> tuple[pd.DataFrame, pd.DataFrame]:
    utterances, edges = dialogue(seed=seed)
    return utterances, edges[edges["relation"].isin(["same", "cross"])].reset_index(drop=True)


# ---- weights


def test_histograms_are_shares_of_each_type_and_label():
    utterances, edges = weighted()
    label = utterances["label"]
    equal = draw.equal_labels(edges, utterances)
    for row, found in zip(edges.itertuples(), equal, strict=True):
        known = label[row.src] is not None and label[row.dst] is not None and row.src != row.dst
        assert (found is pd.NA) == (not known)
        assert not known or found == (label[row.src] == label[row.dst])
    assert set(equal) == {True, False, pd.NA}
    edges.loc[0, "weight"] = np.nan
    figure = drawn(draw.weight_histograms(edges.assign(equal=equal), bins=7))
    ends = np.linspace(edges["weight"].min(), edges["weight"].max(), 8)
    types = types_of(edges)
    assert len(figure.axes) == len(types) == 4
    for axes, edge_type in zip(figure.axes, types, strict=True):
        part = edges[(edges[["source", "relation", "target"]] == list(edge_type)).all(axis=1) & edges["weight"].notna()]
        for gid, group in (("equal", equal.eq(True)), ("different", equal.eq(False)), ("unknown", equal.isna())):
            values = part["weight"][group.fillna(False)]
            drawn_steps = by_gid(axes, gid)
            assert len(drawn_steps) == bool(len(values))
            for step in drawn_steps:
                want = [100 * ((values >= a) & ((values < b) | (b == ends[-1]))).mean() for a, b in pairwise(ends)]
                np.testing.assert_allclose(step.get_data().values, want)
    assert "1 without weight" in figure.axes[0].get_title("left")


def test_counts_are_a_histogram_too():
    table = pd.DataFrame({"source": "text", "relation": "same", "target": "text", "low": [0.0, 0.5], "high": [0.5, 1.0], "edges": [1, 3]})
    bars = by_gid(drawn(draw.weight_histograms(table)), "all")[-2:]
    assert [(bar.get_x(), bar.get_width(), bar.get_height()) for bar in bars] == [(0.0, 0.5, 25.0), (0.5, 0.5, 75.0)]
    with pytest.raises(ValueError, match="one split"):
        draw.weight_histograms(pd.concat([table, table]))


def test_raw_against_learned():
    _, edges = weighted()
    learned = edges.sample(frac=1, random_state=0).assign(weight=lambda e: 1 - e["weight"] ** 2)[5:]
    both = draw.paired_weights(edges, learned)
    assert len(both) == len(edges) - 5
    assert (both["learned"] == 1 - both["raw"] ** 2).all()
    figure = drawn(draw.raw_against_learned(both))
    for axes, edge_type in zip(figure.axes, types_of(both), strict=True):
        (dots,) = by_gid(axes, "edges")
        part = both[(both[["source", "relation", "target"]] == list(edge_type)).all(axis=1)]
        np.testing.assert_array_equal(dots.get_xydata(), part[["raw", "learned"]])
        assert axes.get_title("left").endswith(f"{len(part)} edges, rank correlation -1.00")
    assert not by_gid(figure, "diagonal")
    assert len(by_gid(draw.raw_against_learned(both, same_scale=True), "diagonal")) == 4
    (hexagons,) = by_gid(draw.raw_against_learned(pd.concat([both.query("source == target and source == 'text'")] * 200)), "edges")
    assert hexagons.get_array().sum() == 200 * both.eval("source == target and source == 'text'").sum() > 2000
    assert "rank correlation –" in drawn(draw.raw_against_learned(both.assign(learned=1.0))).axes[0].get_title("left")
    with pytest.raises(ValueError, match="3 edges more than once"):
        draw.paired_weights(pd.concat([edges, edges[:3]]), learned)


# ---- labels


def test_transitions_say_what_is_frequent():
    rows = [("same", "joy", "joy", 6, 0.6, 0.4), ("same", "joy", "fear", 4, 0.4, 0.6), ("same", "fear", "joy", 0, float("nan"), 0.4)]
    table = pd.DataFrame(
        [*rows, ("other", "fear", "fear", 5, 1.0, 1.0)], columns=["kind", "from", "to", "count", "probability", "expected"]
    )
    figure = drawn(draw.transitions(table, names=["fear", "joy"]))
    first, second = by_gid(figure, "shares")
    assert np.isnan(first.get_array().filled(np.nan)).tolist() == [[True, True], [False, False]]
    assert first.get_array()[1].tolist() == pytest.approx([40, 60])
    assert second.get_array().filled(-1).tolist() == [[100, -1], [-1, -1]]
    assert [t.get_text() for t in figure.axes[0].texts] == ["60▲\n(6)", "40▼\n(4)", "·"]
    assert [t.get_text() for t in figure.axes[1].texts] == ["100\n(5)"]
    assert "▲" not in "".join(t.get_text() for t in draw.transitions(table.drop(columns="expected")).axes[0].texts)
    with pytest.raises(ValueError, match="one split"):
        draw.transitions(pd.concat([table, table]))


def test_agreement_against_chance():
    table = pd.DataFrame({"source": "text", "relation": "same", "target": "text", "low": [0.0, 0.5, 0.7], "high": [0.4, 0.6, 1.0]})
    table = table.assign(edges=[30, 10, 0], equal=[0.2, 0.6, float("nan")])
    figure = drawn(draw.agreement(table, chance={("text", "same", "text"): 0.25}))
    (dots,) = by_gid(figure, "bins")
    np.testing.assert_allclose(dots.get_offsets(), [[0.2, 20], [0.55, 60]])
    assert dots.get_sizes()[0] > dots.get_sizes()[1]
    levels = {line.get_label(): line.get_ydata()[0] for line in figure.axes[0].lines if not line.get_label().startswith("_")}
    assert levels == {"all edges": pytest.approx(30), "chance": pytest.approx(25)}
    with pytest.raises(ValueError, match="overlap"):
        draw.agreement(pd.concat([table, table]))


# ---- next to nothing


def few(utterances: int, edges: pd.DataFrame) -> pd.DataFrame:
    return edges[(edges["src"] < utterances) & (edges["dst"] < utterances)]


def nearly_nothing() -> dict[str, tuple[pd.DataFrame, pd.DataFrame]]:
    u, e = weighted()
    return {
        "one utterance": (u[:1], few(1, e)),
        "no edges": (u, e[:0]),
        "no weights": (u, e.assign(weight=np.nan)),
        "one weight": (u, e.assign(weight=0.5)),
        "one speaker": (u.assign(speaker="Ana"), e),
        "no labels": (u.assign(label=pd.Series([None] * len(u), dtype=object)), e),
        "no audio at all": (u.assign(has_audio=False), e[(e["source"] == "text") & (e["target"] == "text")]),
        "names that begin with _": (u.assign(speaker="_a", label="_b"), e),
        "other index": (u.set_index(u.index[::-1]), e.set_index(e.index // 2)),
    }


@pytest.mark.parametrize("name", nearly_nothing())
def test_next_to_nothing_can_be_drawn(name):
    utterances, edges = nearly_nothing()[name]
    about: dict[str, Any] = {"modalities": MODALITIES}
    figures = [draw.timeline(utterances, edges, **about), draw.mask(utterances, edges.assign(kept=edges["src"] % 2 == 0), **about)]
    if name in ("one utterance", "no edges", "no weights", "one weight"):
        figures += [
            draw.adjacency(utterances, edges, **about),
            draw.weight_histograms(edges.assign(equal=draw.equal_labels(edges, utterances))),
            draw.raw_against_learned(edges.assign(raw=edges["weight"], learned=edges["weight"])),
        ]
    for figure in figures:
        drawn(figure)
    if name == "names that begin with _":
        assert {" _a", " _b (B)"} <= {text.get_text() for figure in figures for text in figure.legends[0].get_texts()}
    if name == "other index":
        plain = weighted()
        counts = [sum(len(lines.get_segments()) for lines in by_gid(draw.timeline(*pair), "arcs")) for pair in (plain, (utterances, edges))]
        assert counts[0] == counts[1] > 0


def test_tables_that_do_not_fit_are_named():
    utterances, edges = weighted()
    cases = [
        (lambda: draw.timeline(utterances.drop(columns="speaker")), "missing: .'speaker'"),
        (lambda: draw.timeline(utterances, modalities=["smell"]), "missing: .'has_smell'"),
        (lambda: draw.timeline(utterances[:0]), "found 0 of them"),
        (lambda: draw.timeline(utterances[1:]), "must be of one dialogue"),
        (lambda: draw.timeline(utterances[:3], edges), "among 3 utterances, found positions from 0 to 8"),
        (lambda: draw.adjacency(utterances, edges.assign(dialogue=edges.index % 2)), "edges must be of one dialogue, found 2"),
        (lambda: draw.adjacency(utterances, edges.drop(columns="weight")), "missing: .'weight'"),
        (lambda: draw.mask(utterances, edges), "missing: .'kept'"),
        (lambda: draw.transitions(edges), "missing: .'kind'"),
        (lambda: draw.agreement(edges), "missing: .'low'"),
        (lambda: draw.weight_histograms(edges.drop(columns="weight")), "missing: .'weight'"),
    ]
    for call, said in cases:
        with pytest.raises(ValueError, match=said):
            call()
    for figure in (draw.transitions(pd.DataFrame(columns=["kind", "from", "to", "count", "probability"])), draw.agreement(few_bins())):
        assert isinstance(drawn(figure), Figure)


def few_bins() -> pd.DataFrame:
    return pd.DataFrame({"source": ["text"], "relation": "same", "target": "text", "low": 0.0, "high": 1.0, "edges": 0, "equal": np.nan})


# ---- files


def test_the_same_picture_has_the_same_bytes(tmp_path):
    utterances, edges = weighted()
    for kind, begin in (("svg", b"<?xml"), ("png", b"\x89PNG"), ("pdf", b"%PDF")):
        made = [as_bytes(draw.timeline(utterances[:3], few(3, edges), modalities=MODALITIES), kind, dpi=50) for _ in range(2)]
        once = made[0]
        assert made[1] == once
        assert once.startswith(begin)
        assert b"CreationDate" not in once
        assert b"<dc:date>" not in once
    same = [b'<g clip-path="url(#p%s)"/><clipPath id="p%s">' % (a, a) for a in (b"0123456789", b"fedcba9876")]
    assert _with_plain_ids(same[0]) == _with_plain_ids(same[1]) == b'<g clip-path="url(#clip0)"/><clipPath id="clip0">'
    assert _with_plain_ids(same[0] + same[1]).count(b"clip1") == 2
    draw.save(Figure(), tmp_path / "new" / "a.SVG")
    assert [p.name for p in (tmp_path / "new").iterdir()] == ["a.SVG"]
    with pytest.raises(InputError, match=r"a\.jpg: expected a name that ends in"):
        draw.save(Figure(), tmp_path / "a.jpg")


def test_hostile_words_are_words():
    utterances, edges = weighted()
    utterances = utterances.astype({"speaker": object, "text": object, "label": object})
    for column, u in (("speaker", 0), ("text", 1), ("label", 2), ("speaker", 3)):
        utterances.loc[u, column] = HOSTILE
    utterances.loc[4, "speaker"], utterances.loc[5, "text"], utterances.loc[6, "label"] = "$x_{", "$\\bad{ $", "$_$"
    edges = edges.replace({"audio": HOSTILE[3:40]})
    utterances[f"has_{HOSTILE[3:40]}"] = utterances["has_audio"]
    about: dict[str, Any] = {"title": HOSTILE, "weight": HOSTILE}
    modalities = ["text", HOSTILE[3:40]]
    for figure in (
        draw.timeline(utterances, edges, **about, by="type", modalities=modalities),
        draw.adjacency(utterances, edges, **about, modalities=modalities),
        draw.weight_histograms(edges, **about),
    ):
        content = as_bytes(figure, "svg")
        tags = {element.tag.rpartition("}")[2] for element in ET.fromstring(content).iter()}  # it is XML
        assert "script" not in tags
        assert b"<script" not in content
        assert len(content) < 1_000_000
        for text in figure.findobj(lambda a: hasattr(a, "get_parse_math")):
            assert not text.get_parse_math()
    assert as_bytes(draw.timeline(utterances, edges, **about), "pdf").startswith(b"%PDF")
    assert short("a\u2028b\u202ec\x00d e\n\tf" + "g" * 99, 12) == "a bcd e fgg…"


def test_letters_can_be_read_on_every_colour():
    assert ink_on("#F0E442") == ink_on("#D55E00") == "#000000"
    assert ink_on("#0072B2") == ink_on("#1f2937") == "#ffffff"


# ---- the command


def test_the_command_draws_what_the_store_has(store, tmp_path):
    opened = open_store(store)
    name = opened.dialogues["dialogue_id"][2]
    said = good("draw", store, name, "--out", tmp_path / "p", "--format", "png")
    assert said == [str(tmp_path / "p" / f"{picture}.png") for picture in ("timeline", "adjacency", "weights")]
    assert {p.name for p in (tmp_path / "p").iterdir()} == {"timeline.png", "adjacency.png", "weights.png"}
    assert_one_line(run("draw", store, 2, "--out", tmp_path / "p", "--format", "png"), "timeline.png: is there already", "--force")
    for options in (["--strongest", 3, "--times"], ["--threshold", 0.6, "--by", "type"]):
        good("draw", store, 2, "--out", tmp_path / "t.svg", "--edges", "text-same-text", "--width", 5, "--force", *options)
        ET.parse(tmp_path / "t.svg")


def test_the_mask_that_is_drawn_is_the_kernels_mask(store, monkeypatch, tmp_path):
    seen = {}
    monkeypatch.setattr(draw, "mask", lambda utterances, edges, **_: seen.update(edges=edges) or Figure())
    good("draw", store, 3, "--picture", "mask", "--mask-rate", 0.3, "--mask-seed", 5, "--out", tmp_path / "m.svg")
    opened = open_store(store)
    structure = opened.structure(np.array([3]))
    words = HashMask(5, 0.3).words(structure, opened.spec.modalities)
    sizes = np.cumsum([0, *structure.sizes.values()])
    want = []
    for source, relation, target in opened.spec.message_types:
        src, dst = structure.edges((source, relation, target))
        first = [int(sizes[opened.spec.modalities.index(m)]) for m in (source, target)]
        want += HashMask(5, 0.3).kept_pairs(words[src + first[0]], words[dst + first[1]]).tolist()
    assert seen["edges"]["kept"].tolist() == want
    assert 0.5 < np.mean(want) < 0.9
    assert len(edge_table(structure)) > len(want)


def test_bad_input_is_one_line(store, tmp_path, monkeypatch):
    out = ("--out", tmp_path / "a.svg")
    (tmp_path / "file").write_text("x")
    cases = {
        ("nobody", *out): "no dialogue 'nobody'",
        ("99", *out): "numbered 0 to 14, found 99",
        ("9" * 5000, *out): "numbered 0 to 14",
        ("-1", *out): "-1",
        ("0", *out, "--edges", "text-same-audio"): "expected one of text-same-text, ",
        ("0", *out, "--target", "mood"): "--target mood: expected one of emotion",
        ("0", *out, "--picture", "mask", "--picture", "timeline"): "pass one --picture",
        ("0", *out, "--format", "png"): "expected a file that ends in .png",
        ("0", "--out", tmp_path / "file"): "expected a folder, or a name that ends in",
        ("0", "--out", store / "a.svg"): "which holds manifest.json",
        ("0", *out, "--mask-rate", 2): "--mask-rate",
        ("0", *out, "--width", 1): "--width",
        ("0", *out, "--width", "nan"): "'nan' is not a number",
        ("0", *out, "--threshold", "nan"): "'nan' is not a number",
        ("0", *out, "--mask-rate", "nan"): "'nan' is not a number",
    }
    for arguments, said in cases.items():
        assert_one_line(run("draw", store, *arguments), said)
    corpus = open_store(store).corpus
    timeless = replace(corpus, utterances=corpus.utterances.drop(columns="start"))
    monkeypatch.setattr(Store, "corpus", timeless)
    assert_one_line(run("draw", store, "0", *out, "--times"), "--times: expected a start for each utterance")
    assert_one_line(run("draw", tmp_path / "nowhere", "0", *out), "expected a store")
    assert [p.name for p in tmp_path.iterdir()] == ["file"]


def test_a_folder_is_called_as_the_dialogue(store, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    name = open_store(store).dialogues["dialogue_id"][0]
    assert "/" in name
    good("draw", store, name, "--picture", "weights")
    assert [p.relative_to(tmp_path) for p in tmp_path.rglob("*.svg")] == [Path(name.replace("/", "-")) / "weights.svg"]
