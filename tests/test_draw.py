"""Pictures of dialogues' graphs: what is drawn is what the tables say."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pytest
from matplotlib.collections import LineCollection, PathCollection
from matplotlib.colors import to_hex

from dgl_merc.graphs import GraphSpec, Structure, edge_table
from dgl_merc.graphs.draw import adjacency, adjacency_matrix, arcs_to_draw, mask, timeline
from dgl_merc.graphs.palette import BLUE, NO_LABEL, looks
from dgl_merc.graphs.pictures import styled
from dgl_merc.reports.space import space_figure

NAMES = ["neutral", "joy", "anger", "sadness"]
MODALITIES = ("text", "audio")
COUNT = 9


def dialogue(count: int = COUNT, speakers: int = 3, seed: int = 0) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Utterances, and every edge of complete graphs with random weights; relations have none."""
    rng = np.random.default_rng(seed)
    presence = rng.random((count, 2)) < 0.7
    who = rng.integers(0, speakers, count)
    structure = Structure.of([count], GraphSpec(MODALITIES, cross="dialogue"), presence=presence.tolist(), speakers=who.tolist())
    edges = edge_table(structure)
    weighted = edges["relation"].isin(["same", "cross"])
    edges["weight"] = np.where(weighted, rng.random(len(edges)), np.nan)
    label = rng.choice(np.array([*NAMES, None], dtype=object), count)
    words = ["What did you say?"] * count
    table = {"position": range(count), "speaker": [f"S{k}" for k in who], "text": words, "label": pd.Series(label, dtype=object)}
    return pd.DataFrame({**table, "has_text": presence[:, 0], "has_audio": presence[:, 1]}), edges


def drawn(figure: Any) -> Any:
    """Laid out, so that whatever would fail in a file fails here."""
    styled(figure.draw_without_rendering)()
    return figure


def by_gid(figure: Any, start: str) -> list[Any]:
    return [artist for artist in figure.findobj() if str(artist.get_gid() or "").startswith(start)]


def arcs_of(figure: Any, where: str) -> list[tuple[float, float, str]]:
    """From, to and colour of every arc, left end first."""
    found = []
    for lines in by_gid(figure, f"arcs {where}"):
        assert isinstance(lines, LineCollection)
        for path in lines.get_segments():
            assert path[:, 1].min() == pytest.approx(0, abs=1e-9)
            found.append((round(path[0, 0], 6), round(path[-1, 0], 6), to_hex(lines.get_color()[0])))
    return sorted(found)


# ---- the timeline


@pytest.mark.parametrize("threshold", [0.0, 0.6, 2.0])
def test_arcs_are_the_edges_above_the_threshold(threshold):
    utterances, edges = dialogue()
    figure = timeline(utterances, edges, threshold=threshold)
    want: dict[str, list[Any]] = {"above": [], "below": []}
    for row in edges.itertuples():
        if row.src != row.dst and row.weight >= threshold:
            own = utterances["speaker"][row.src] == utterances["speaker"][row.dst]
            ends = (min(row.src, row.dst), max(row.src, row.dst))
            want["above" if row.src < row.dst else "below"].append((*ends, (BLUE if own else "#E69F00").lower()))
    assert sum(map(len, want.values())) == {0.0: 86, 0.6: 41, 2.0: 0}[threshold]
    assert {where: arcs_of(figure, where) for where in want} == {where: sorted(rows) for where, rows in want.items()}
    assert len(figure.axes) == (3 if threshold < 1 else 1), "no room for arcs that are not there"


def test_the_strongest_are_drawn_last_and_their_lines_are_thicker():
    edges = pd.DataFrame({"source": "text", "relation": "same", "target": "text", "src": [0, 1, 2, 0, 1], "dst": [1, 2, 0, 2, 1]})
    edges["weight"] = [0.1, -0.9, 0.5, 0.4, 7.0]
    assert arcs_to_draw(edges, strongest=3)["weight"].tolist() == [0.4, 0.5, -0.9]
    assert arcs_to_draw(edges, threshold=0.5)["weight"].tolist() == [0.5, -0.9]
    assert arcs_to_draw(edges.assign(weight=[0.1, np.nan, 0.5, np.nan, 7.0]))["weight"].tolist() == [0.1, 0.5]
    assert arcs_to_draw(edges.assign(weight=np.nan), strongest=1)[["src", "dst"]].values.tolist() == [[0, 1]], "the nearest"
    assert not len(arcs_to_draw(edges.assign(weight=np.nan), threshold=0.0))
    utterances, _ = dialogue(3)
    widths = {}
    for lines in by_gid(timeline(utterances, edges, threshold=0.0), "arcs"):
        dashed = lines.get_linestyle()[0][1] is not None
        widths |= {(len(widths), dashed): width for width in lines.get_linewidths()}
    assert [dashed for _, dashed in sorted(widths, key=lambda key: widths[key])] == [False, False, False, True]


def test_parallel_edges_are_apart_and_types_have_colours():
    utterances, edges = dialogue()
    figure = timeline(utterances, edges, threshold=0.0, by="type", modalities=MODALITIES)
    kinds = {lines.get_gid().removeprefix("arcs above "): lines for lines in by_gid(figure, "arcs above")}
    assert list(kinds) == ["within text", "within audio", "text to audio", "audio to text"]
    assert len({to_hex(lines.get_color()[0]) for lines in kinds.values()}) == 4
    tops = {name: {(p[0, 0], p[-1, 0]): p[:, 1].max() for p in lines.get_segments()} for name, lines in kinds.items()}
    shared = set(tops["within text"]) & set(tops["within audio"])
    assert shared
    assert all(tops["within text"][ends] > tops["within audio"][ends] for ends in shared)


def test_marks_have_the_lane_of_their_speaker_and_the_look_of_their_label():
    utterances, edges = dialogue()
    look = {**looks(NAMES), None: NO_LABEL}
    figure = drawn(timeline(utterances, edges, names=NAMES, modalities=MODALITIES))
    lanes = figure.axes[1]
    order = list(dict.fromkeys(utterances["speaker"]))
    assert [t.get_text() for t in lanes.get_yticklabels()] == order
    marks = {}
    for dots in lanes.collections:
        if isinstance(dots, PathCollection):
            for x, y in dots.get_offsets():
                marks[round(x)] = (order[round(y)], to_hex(dots.get_facecolor()[0]))
    assert marks == {row.position: (row.speaker, look[row.label].colour.lower()) for row in utterances.itertuples()}
    letters = [t.get_text() for t in lanes.texts if t.get_text() in {"N", "J", "A", "S", ""}]
    assert letters == [look[label].letters for label in utterances["label"]]


def test_missing_modalities_are_crosses():
    utterances, _ = dialogue()
    figure = timeline(utterances, modalities=MODALITIES)
    for k, modality in enumerate(MODALITIES):
        (crosses,), (bars,) = by_gid(figure, f"lacks {k}"), by_gid(figure, f"has {k}")
        there = utterances[f"has_{modality}"]
        assert crosses.get_offsets()[:, 0].tolist() == utterances["position"][~there].tolist()
        assert [path[0, 0] for path in bars.get_segments()] == utterances["position"][there].tolist()


def test_rings_are_predictions_and_wrong_ones_are_spelt():
    utterances, _ = dialogue()
    utterances["label"] = ["joy", "joy", None] * 3
    utterances["predicted"] = ["joy", "anger", "sadness"] * 3
    figure = drawn(timeline(utterances, names=NAMES))
    for u, name in enumerate(utterances["predicted"]):
        (ring,) = by_gid(figure, f"ring {u}")
        assert to_hex(ring.get_edgecolor()[0]) == looks(NAMES)[name].colour.lower()
        assert ring.get_offsets()[0].tolist()[0] == u
        assert bool(ring.get_linewidths()[0] > 2) == (u % 3 == 1)
    assert [t.get_text() for t in figure.axes[0].texts].count("→A") == 3


def test_seconds_and_many_speakers_and_words_that_have_room():
    utterances, edges = dialogue(60)
    utterances["speaker"] = [f"S{min(k, 30)}" for k in range(60)]
    figure = drawn(timeline(utterances, edges))
    names = [t.get_text() for t in figure.axes[1].get_yticklabels()]
    assert len(names) == 20
    assert names[-1] == "12 others"
    assert "S30" in names, "the most talkative has a lane"
    assert not any("What" in t.get_text() for t in figure.axes[1].texts), "twenty lanes and their words are no page"
    few = utterances[:4].assign(start=[0.0, 3.0, 9.5, 10.0], end=[2.0, 5.0, 10.5, 20.0], speaker=list("aaba"))
    figure = drawn(timeline(few, times=True))
    assert sorted(x for dots in figure.axes[0].collections if isinstance(dots, PathCollection) for x, _ in dots.get_offsets()) == [
        1,
        4,
        10,
        15,
    ]
    assert any("What" in t.get_text() for t in figure.axes[0].texts)
    assert not any("What" in t.get_text() for t in timeline(few.loc[[0] * 90].assign(position=range(90))).axes[0].texts)
    with pytest.raises(ValueError, match="finite"):
        timeline(few.assign(start=np.nan), times=True)


# ---- matrices


def matrix_by_loop(edges: pd.DataFrame, count: int, blocks: list[str], value: str) -> list[list[float]]:
    cells = [[float("nan")] * (count * len(blocks)) for _ in range(count * len(blocks))]
    for row in edges.to_dict("records"):
        if row["source"] in blocks and row["target"] in blocks:
            found = float("inf") if row[value] != row[value] else float(row[value])
            cells[blocks.index(row["target"]) * count + row["dst"]][blocks.index(row["source"]) * count + row["src"]] = found
    return cells


@pytest.mark.parametrize("blocks", [["text", "audio", "utterance"], ["audio"], ["utterance", "text"]])
def test_a_heat_map_is_the_dense_adjacency(blocks):
    utterances, edges = dialogue()
    want = np.array(matrix_by_loop(edges, COUNT, blocks, "weight"))
    np.testing.assert_array_equal(adjacency_matrix(edges, COUNT, blocks), want)
    figure = drawn(adjacency(utterances, edges, blocks=blocks, modalities=MODALITIES, names=NAMES))
    (image,) = by_gid(figure, "weights")
    np.testing.assert_array_equal(image.get_array().filled(np.nan), np.where(np.isinf(want), np.nan, want))
    (plain,) = by_gid(figure, "cells")
    np.testing.assert_array_equal(~plain.get_array().mask, np.isinf(want))
    gone = np.zeros((len(want), len(want)), dtype=int)
    for patch in by_gid(figure, "missing"):
        x, y, w, h = (round(v + 0.5) for v in (patch.get_x(), patch.get_y(), patch.get_width() - 0.5, patch.get_height() - 0.5))
        gone[y : y + h, x : x + w] = 1
    absent = np.concatenate([~utterances[f"has_{b}"] if b != "utterance" else np.zeros(COUNT, bool) for b in blocks])
    np.testing.assert_array_equal(gone == 1, absent[:, None] | absent[None, :])
    assert not (gone.astype(bool) & ~np.isnan(want)).any(), "an edge of a node that is not there"


def test_weight_zero_is_not_no_edge_and_signs_go_both_ways():
    utterances, edges = dialogue()
    edges = edges[edges["relation"] == "same"]
    for ends in ((-1, 2), (-2, 1)):
        (image,) = by_gid(adjacency(utterances, edges.assign(weight=np.linspace(*ends, len(edges)))), "weights")
        assert (image.norm.vmin, image.norm.vmax) == (-2, 2)
    assert to_hex(image.cmap(image.norm(0.0))) != "#ffffff"
    (image,) = by_gid(adjacency(utterances, edges.assign(weight=0.0), limits=(0, 1)), "weights")
    assert to_hex(image.cmap(image.norm(0.0))) not in ("#ffffff", "#000000")
    with pytest.raises(ValueError, match="several edges go from text"):
        adjacency(utterances, pd.concat([edges, edges]))


def test_strips_say_who_speaks_with_which_emotion():
    utterances, edges = dialogue()
    figure = adjacency(utterances, edges[edges["relation"] == "same"], names=NAMES)
    look = {**looks(NAMES), None: NO_LABEL}
    for side, along in (("rows", lambda a: a[:, 0]), ("columns", lambda a: a[0])):
        (strip,) = by_gid(figure, f"emotions of {side}")
        got = [to_hex(rgb) for rgb in along(np.asarray(strip.get_array()))]
        assert got == [look[label].colour.lower() for label in utterances["label"]] * 2
        (strip,) = by_gid(figure, f"speakers of {side}")
        shades = [to_hex(rgb) for rgb in along(np.asarray(strip.get_array()))][:COUNT]
        assert len(set(zip(shades, utterances["speaker"], strict=True))) == len(set(shades)) == utterances["speaker"].nunique()


def test_what_a_mask_leaves():
    utterances, edges = dialogue()
    edges = edges[edges["relation"].isin(["same", "cross"])]
    edges = edges.assign(kept=np.random.default_rng(1).random(len(edges)) < 0.4)
    lonely = int(edges.query("target == 'audio'")["dst"].iloc[0])
    edges.loc[(edges["target"] == "audio") & (edges["dst"] == lonely), "kept"] = False
    figure = drawn(mask(utterances, edges, modalities=MODALITIES, names=NAMES))
    (image,) = by_gid(figure, "kept")
    np.testing.assert_array_equal(image.get_array().filled(np.nan), matrix_by_loop(edges, COUNT, ["text", "audio"], "kept"))
    before, after = np.zeros(2 * COUNT), np.zeros(2 * COUNT)
    for row in edges.itertuples():
        node = MODALITIES.index(row.target) * COUNT + row.dst
        before[node] += 1
        after[node] += row.kept
    for gid, want in (("before", before), ("after", after)):
        assert [bar.get_width() for bar in by_gid(figure, gid)] == want.tolist()
    shares = [bar.get_width() for bar in by_gid(figure, "shares")]
    assert shares == pytest.approx([100 * part["kept"].mean() for _, part in edges.groupby(["source", "relation", "target"], sort=False)])
    said = [t.get_text() for t in figure.findobj(lambda a: hasattr(a, "get_text"))]
    assert f"{edges['kept'].mean():.1%} of {len(edges)} edges kept" in said
    assert f"nothing is left ({((before > 0) & (after == 0)).sum()})" in said


# ---- looks


def test_an_emotion_looks_the_same_in_every_picture():
    meld = looks(["neutral", "surprise", "fear", "sadness", "joy", "disgust", "anger"])
    iemocap = looks(["happy", "sad", "neutral", "angry", "excited", "frustrated"])
    for ours, theirs in (("joy", "happy"), ("sadness", "sad"), ("anger", "angry"), ("neutral", "neutral")):
        assert (meld[ours].colour, meld[ours].marker) == (iemocap[theirs].colour, iemocap[theirs].marker)
    for found in (meld, iemocap, looks(["happy", "joy", "Joy ", "a", "ab", "abc", "#1", "", *map(str, range(60))])):
        assert len({(x.colour, x.marker) for x in found.values()}) == len({x.letters for x in found.values()}) == len(found)
    assert len({x.colour for x in meld.values()}) == len({x.marker for x in meld.values()}) == 7
    assert len(looks([f"c{k}" for k in range(300)])) == 300
    points = pd.DataFrame({"label": ["anger", "joy"], **{c: [0.0, 1.0] for c in ("before_1", "before_2", "after_1", "after_2")}})
    dots = space_figure(points, list(meld)).axes[0].collections
    assert [to_hex(d.get_facecolor()[0]) for d in dots] == [meld["joy"].colour.lower(), meld["anger"].colour.lower()]
