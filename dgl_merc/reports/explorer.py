"""The explorer: one page, without server or network, to look at dialogues, their edges and what a run predicted of them.

The page is ``explorer.html`` with ``explorer.css`` and the ``explorer_*.js`` inside; a Content-Security-Policy names the two by their
hashes and forbids everything else. What it shows stands in a block of JSON, in which no character can end the block, and gets into the
document as text only.

Weights and probabilities are rounded to 8 bits. A dialogue's edges of a kind are

    ["matrix", low, high, base64]   bytes [n, n], rows destinations: 0 = no edge, c = low + (c - 1) / 254 (high - low)
    ["list", low, high, base64]     src [E] and dst [E] in two bytes each, low byte first, then c [E]

whichever is shorter; low and high are the dialogue's own least and greatest weight of the kind, so the error is below 1/508 of that range.
An edge without weight has c = 1 and low = high = null.
"""

from __future__ import annotations

import base64
import hashlib
import json
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import pandas as pd
from markupsafe import Markup

from dgl_merc.corpus import presence_column
from dgl_merc.graphs import RELATIONS
from dgl_merc.graphs.palette import ink_on, looks
from dgl_merc.reports.page import render

__all__ = ["MOST_BYTES", "Explored", "Subject", "as_json", "pack_edges", "write_explorer"]

MOST_BYTES = 20 << 20
"""Of dialogues on a page."""

_HERE = Path(__file__).parent
_SCRIPTS = ("data", "graph", "matrix", "panel", "app")
_TURNS = {
    "intra_past": "own turns before",
    "intra_future": "own turns after",
    "inter_past": "others' turns before",
    "inter_future": "others' turns after",
}


class Explored(NamedTuple):
    """A dialogue to show.

    Attributes:
        number: in its corpus.
        name: its ``dialogue_id``.
        split: ``train``, ``dev`` or ``test``.
        utterances: of :func:`~dgl_merc.graphs.utterance_table`; what a run said of them in columns ``said <name>``: ``said predicted``,
            ``said p_<class>``, any other number.
        edges: ``part`` and :data:`~dgl_merc.graphs.tables.EDGE_COLUMNS`; None: it has none.
    """

    number: int
    name: str
    split: str
    utterances: pd.DataFrame
    edges: pd.DataFrame | None


@dataclass(frozen=True)
class Subject:
    """What the page says of the whole.

    Attributes:
        title: of the page.
        kind: ``store`` or ``run``.
        facts: name -> value, a line at the top.
        classes: of the target.
        modalities: whose presence is shown.
        dialogues: how many there are to show.
        notes: what is left out, and why.
    """

    title: str
    kind: str
    facts: Mapping[str, str]
    classes: Sequence[str]
    modalities: Sequence[str]
    dialogues: int
    notes: tuple[str, ...] = ()


@dataclass
class _Kinds:
    """Kinds of edges by first appearance, and the range of each."""

    numbers: dict[tuple[str, str, str, str], int] = field(default_factory=dict)
    ranges: list[tuple[float, float] | None] = field(default_factory=list)

    def number(self, key: tuple[str, str, str, str], weights: npt.NDArray[np.float64]) -> int:
        """The number of a kind, whose range takes in these weights."""
        found = self.numbers.setdefault(key, len(self.numbers))
        if found == len(self.ranges):
            self.ranges.append(None)
        known = weights[np.isfinite(weights)]
        if len(known):
            low, high = self.ranges[found] or (math.inf, -math.inf)
            self.ranges[found] = (min(low, float(known.min())), max(high, float(known.max())))
        return found

    def to_json(self) -> list[dict[str, Any]]:
        """By their numbers."""
        return [
            {"key": "/".join(key), "part": key[0], "relation": key[2], "label": _label(*key[1:]), "range": ends}
            for key, ends in zip(self.numbers, self.ranges, strict=True)
        ]


def _label(source: str, relation: str, target: str) -> str:
    """A kind in words, within its part."""
    if relation in RELATIONS:
        return _TURNS[relation]
    ends = source if source == target else f"{source} → {target}"
    return f"{ends}, {relation}" if relation == "itself" else ends


def write_explorer(path: Path, subject: Subject, dialogues: Iterable[Explored], *, most: int = MOST_BYTES) -> tuple[int, str]:
    """Write the page.

    Args:
        path: of the page.
        subject: what it says of the whole.
        dialogues: those that matter most first; on the page they stand by their numbers.
        most: bytes of dialogues; when the next would be too many, it and those after it are left out, and the page says so. The first is
            always shown.

    Returns:
        How many dialogues are shown, and what is left out in words, or nothing.
    """
    kinds, size, left = _Kinds(), 0, ""
    shown: list[tuple[int, str]] = []
    for one in dialogues:
        text = as_json(_dialogue(one, subject, kinds))
        size += len(text.encode("utf-8", "replace"))
        if shown and size > most:
            last = "the last in the corpus" if subject.kind == "store" else "those with the fewest errors"
            count = subject.dialogues - len(shown)
            left = f"{count} of {subject.dialogues} dialogues are left out, {last}: they do not fit into {most / (1 << 20):.3g} MiB"
            break
        shown.append((one.number, text))
    inside = ",".join(text for _, text in sorted(shown))
    about = as_json(_about(subject, kinds, left))
    parts = ["'use strict';", "(() => {", *((_HERE / f"explorer_{name}.js").read_text(encoding="utf-8") for name in _SCRIPTS), "})();"]
    script, style = "\n".join(parts), (_HERE / "explorer.css").read_text(encoding="utf-8")
    # script and style are the project's own, without anything of a corpus; the JSON is escaped by as_json
    values = {"script": Markup(script), "style": Markup(style), "data": Markup(f'{{"about":{about},"dialogues":[{inside}]}}')}  # noqa: S704
    render("explorer.html", path, title=subject.title, script_hash=_hash(script), style_hash=_hash(style), **values)
    return len(shown), left


def _about(subject: Subject, kinds: _Kinds, left: str) -> dict[str, Any]:
    """What is said of the whole."""
    return {
        "title": subject.title,
        "kind": subject.kind,
        "facts": dict(subject.facts),
        "classes": [
            {"name": name, "colour": look.colour, "ink": ink_on(look.colour), "letters": look.letters}
            for name, look in looks(subject.classes).items()
        ],
        "modalities": list(subject.modalities),
        "kinds": kinds.to_json(),
        "notes": [*subject.notes, *([left] if left else [])],
    }


def as_json(value: Any) -> str:
    r"""JSON that can stand in an HTML document: no character of it begins a tag, a comment or an entity, or ends a line of JavaScript.

    >>> as_json({"text": "</script>"})
    '{"text":"\\u003c/script\\u003e"}'
    """
    text = json.dumps(value, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    for character in "<>&\u2028\u2029\ufeff":
        text = text.replace(character, f"\\u{ord(character):04x}")
    return text


def _hash(text: str) -> str:
    """As a Content-Security-Policy names what stands in the page."""
    return "sha256-" + base64.b64encode(hashlib.sha256(text.encode()).digest()).decode("ascii")


def _dialogue(one: Explored, subject: Subject, kinds: _Kinds) -> dict[str, Any]:
    """A dialogue as the page reads it."""
    table = one.utterances
    number = {name: k for k, name in enumerate(subject.classes)}
    speakers, who = pd.factorize(table["speaker"].astype(str))[::-1]
    found: dict[str, Any] = {
        "id": str(one.name),
        "split": one.split,
        "speakers": [str(s) for s in speakers],
        "speaker": who.tolist(),
        "text": [str(t) for t in table["text"]],
        "label": [number.get(label, -1) for label in table["label"]],
        "has": ["".join("1" if row else "0" for row in table[presence_column(m)]) for m in subject.modalities],
        "edges": _edges(one, kinds),
    }
    said = {str(c).removeprefix("said "): table[c] for c in table if str(c).startswith("said ")}
    if "predicted" in said:
        found["predicted"] = [number.get(name, -1) for name in said.pop("predicted")]
    chances = [said.pop(f"p_{name}", None) for name in subject.classes]
    if chances and all(c is not None for c in chances):
        p = np.stack([np.asarray(c, dtype=np.float64) for c in chances], axis=1)
        found["chances"] = _base64(np.rint(p * 255).clip(0, 255).astype(np.uint8))
    found["more"] = {name: [float(f"{v:.4g}") if np.isfinite(v) else None for v in values.astype(float)] for name, values in said.items()}
    return found


def _edges(one: Explored, kinds: _Kinds) -> dict[int, list[Any]]:
    """Kind -> its packed edges."""
    if one.edges is None:
        return {}
    found = {}
    for (part, source, relation, target), edges in one.edges.groupby(["part", "source", "relation", "target"], sort=False):
        src, dst, weight = (edges[name].to_numpy() for name in ("src", "dst", "weight"))
        number = kinds.number((str(part), str(source), str(relation), str(target)), weight)
        found[number] = pack_edges(len(one.utterances), src, dst, weight)
    return found


def pack_edges(n: int, src: npt.NDArray[np.int64], dst: npt.NDArray[np.int64], weight: npt.NDArray[np.float64]) -> list[Any]:
    """The edges of a kind among ``n`` utterances; see the top of this file.

    Args:
        n: at most 65,535.
        src: [E] positions.
        dst: [E] positions; no pair twice.
        weight: [E], or NaN throughout.

    Raises:
        ValueError: weights that are in part no finite numbers.

    >>> pack_edges(2, np.array([0, 1]), np.array([1, 0]), np.array([0.5, 0.75]))
    ['matrix', 0.5, 0.75, 'AP8BAA==']
    """
    low = high = None
    code = np.ones(len(src), dtype=np.uint8)
    if len(weight) and not np.isnan(weight).all():
        if not np.isfinite(weight).all():
            raise ValueError("weight must be finite, or NaN throughout")
        low, high = float(weight.min()), float(weight.max())
        code = (1 + np.rint((weight - low) / ((high - low) or 1.0) * 254)).astype(np.uint8)
    if n * n <= 5 * len(src):
        dense = np.zeros((n, n), dtype=np.uint8)
        dense[dst, src] = code
        return ["matrix", low, high, _base64(dense)]
    ends = np.concatenate([src, dst]).astype("<u2").tobytes()
    return ["list", low, high, base64.b64encode(ends + code.tobytes()).decode("ascii")]


def _base64(numbers: npt.NDArray[np.uint8]) -> str:
    return base64.b64encode(numbers.tobytes()).decode("ascii")
