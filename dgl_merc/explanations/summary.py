"""An explanation for people: what each answer of a dialogue hangs on, in a few columns, and as files."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd

from dgl_merc.errors import InputError, at
from dgl_merc.explanations.explainer import EFFECT_COLUMNS, Explainer
from dgl_merc.files import check_file, check_free, check_replaceable, replaced_folder, write_bytes, write_json

__all__ = [
    "EXPLANATION",
    "LONGEST",
    "at_position",
    "check_explainable",
    "check_place",
    "in_words",
    "overview",
    "strongest_effects",
    "write_explanation",
]

EXPLANATION = "explanation.json"
"""The file that tells the folder of an explanation."""
LONGEST = 1000
"""Utterances of a dialogue that is explained: weights grow with their square, the time that all removals take with their cube."""
_TEXT = 40  # characters
_KINDS = {
    "modality": "modalities",
    "utterance": "utterances (as if never said)",
    "node": "nodes (a modality of an utterance)",
    "edge": "edges",
}


def at_position(explainer: Explainer, position: int) -> int:
    """A position, if the dialogue has it.

    Raises:
        InputError: it has not.
    """
    count = len(explainer.utterances)
    if not 0 <= position < count:
        raise InputError(f"{at(dialogue=explainer.dialogue_id)}expected the position of an utterance, 0 to {count - 1}, found {position}")
    return position


def check_explainable(explainer: Explainer) -> None:
    """Whether a dialogue is short enough for all of it to be taken away bit by bit.

    Raises:
        InputError: it is not.
    """
    count = len(explainer.utterances)
    if count > LONGEST:
        raise InputError(f"{at(dialogue=explainer.dialogue_id)}expected at most {LONGEST} utterances, found {count}; cut it into dialogues")


def check_place(out: Path) -> None:
    """Whether an explanation may be written there, asked before it is made.

    Raises:
        InputError: something else is there, or it is inside of a run, a corpus or a store.
    """
    check_replaceable(out, EXPLANATION)
    check_free(out, force=True)
    check_file(out / EXPLANATION, [], force=True)


def overview(explainer: Explainer, effects: pd.DataFrame) -> pd.DataFrame:
    """The dialogue, a row an utterance: what is answered, and what the answer loses or gains, in percent points (scores: as they are).

    Args:
        explainer: of the dialogue.
        effects: of :meth:`Explainer.effects`, or some of them.

    Returns:
        Cells as they are printed: ``speaker, text, label, predicted, p`` (or ``score``), ``without <modality>`` with what is predicted
        instead where that changes, and ``most by utterance``: the other utterance without which the answer changes most.
    """
    table, scored = explainer.utterances, explainer.data.task.outputs == 1
    answer = table["predicted_score"].map("{:+.2f}".format) if scored else _percent(explainer.answers.max(axis=1))
    shown = pd.DataFrame(
        {
            "speaker": table["speaker"],
            "text": [_short(text) for text in table["text"]],
            "label": ["" if label is None else label for label in table["label"]],
            "predicted": table["predicted"],
            "score" if scored else "p": answer,
        }
    )
    every = effects[effects["removed"] == "modality"]
    for m in every["modality"].unique():
        rows = every[every["modality"] == m].set_index("utterance")
        shown[f"without {m}"] = [_effect(row, scored=scored) for row in rows.reindex(table.index).itertuples()]
    others = effects[effects["removed"] == "utterance"]
    if len(others):
        most = others.loc[others.groupby("utterance")["effect"].apply(lambda e: e.abs().idxmax())].set_index("utterance")
        shown["most by utterance"] = [f"{row.position}: {_effect(row, scored=scored)}" for row in most.reindex(table.index).itertuples()]
    shown.index.name = "utterance"
    return shown


def strongest_effects(explainer: Explainer, effects: pd.DataFrame, count: int = 4) -> pd.DataFrame:
    """What moves answers most, a row a removal and an answer: of each kind of removal some, in falling order; cells as they are printed.

    Args:
        explainer: of the dialogue.
        effects: of :meth:`Explainer.effects`, or some of them.
        count: how many rows of each kind.
    """
    ordered = effects.reindex(effects["effect"].abs().sort_values(ascending=False, kind="stable").index)
    rows = ordered.groupby("removed", sort=False).head(count)
    rows = rows.sort_values("removed", key=lambda kinds: kinds.map(list(_KINDS).index), kind="stable")
    scored = explainer.data.task.outputs == 1
    shown = pd.DataFrame(
        {
            "without": [_removed(row) for row in rows.itertuples()],
            "weight": ["" if pd.isna(w) else f"{w:.3f}" for w in rows["weight"]],
            "at utterance": rows["utterance"].to_numpy(),
            "predicted": rows["predicted"].to_numpy(),
            "effect": [_effect(row, scored=scored) for row in rows.itertuples()],
        },
        index=range(1, len(rows) + 1),
    )
    shown.index.name = "#"
    return shown


def in_words(explainer: Explainer, effects: pd.DataFrame) -> list[str]:
    """What the numbers are, and how many answers would change."""
    changed, answers = effects[effects["predicted"] != effects["then"]], effects["utterance"].nunique()
    if explainer.data.task.outputs == 1:
        notes = ["An effect is what removing something does to the score: of the other sign than the score, the answer leans on it"]
    else:
        what = "probability of what is predicted with everything there, in percent points"
        notes = [f"An effect is what removing something does to the {what}: below 0, the answer leans on it"]
    for removed, rows in effects.groupby("removed", sort=False):
        flips = changed[changed["removed"] == removed]
        notes.append(
            f"{_KINDS[str(removed)]}: {len(rows.drop_duplicates(list(EFFECT_COLUMNS[:9])))} removed, one at a time; with one or more of "
            f"them gone {flips['utterance'].nunique()} of {answers} answers would be another class"
        )
    return notes


def write_explanation(out: Path, explainer: Explainer, weights: pd.DataFrame, effects: pd.DataFrame, pictures: dict[str, bytes]) -> None:
    """A folder of its own: ``explanation.json``, ``utterances.csv``, ``weights.csv``, ``effects.csv`` and pictures.

    Args:
        out: new, empty, or an earlier explanation, which is replaced.
        explainer: of the dialogue.
        weights: of :meth:`Explainer.weights`.
        effects: of :meth:`Explainer.effects`.
        pictures: name of a file -> its bytes.

    Raises:
        InputError: something else is at ``out``.
    """
    about = {
        "run": str(explainer.run.path),
        "corpus": explainer.data.corpus.content_sha256,
        "dialogue": explainer.dialogue_id,
        "modalities": explainer.modalities,
        "parts": list(dict.fromkeys(weights["part"])),
    }
    with replaced_folder(out, EXPLANATION) as folder:
        for name, table in (("utterances", explainer.utterances), ("weights", weights), ("effects", effects)):
            write_bytes(folder / f"{name}.csv", table.to_csv(None, index=False).encode("utf-8", "replace"))
        for name, content in pictures.items():
            write_bytes(folder / name, content)
        write_json(folder / EXPLANATION, about)


def _short(text: str) -> str:
    text = " ".join(text.split())
    return text if len(text) <= _TEXT else f"{text[: _TEXT - 1]}…"


def _percent(values: np.ndarray[tuple[int], np.dtype[np.float32]]) -> list[str]:
    return [f"{100 * v:.1f}" for v in values]


def _effect(row: object, *, scored: bool) -> str:
    effect, predicted, then = (getattr(row, name) for name in ("effect", "predicted", "then"))
    if pd.isna(effect):
        return ""
    size = f"{effect:+.2f}" if scored else f"{100 * effect:+.1f}"
    return size if then == predicted else f"{size} → {then}"


def _removed(row: object) -> str:
    kind, position, modality = (getattr(row, name) for name in ("removed", "position", "modality"))
    if kind == "edge":
        part, source, relation, target, src, dst = (getattr(row, n) for n in ("part", "source", "relation", "target", "src", "dst"))
        return f"{part}: {source} {src} → {target} {dst} ({relation})"
    if kind == "modality":
        return f"{modality}, everywhere"
    return f"{modality} of utterance {position}" if kind == "node" else f"utterance {position}"
