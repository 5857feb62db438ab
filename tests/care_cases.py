"""Corpora for the tests of ``dglmerc corpus``: clean ones of random words, and small drawn ones."""

from __future__ import annotations

import numpy as np
import pandas as pd
from hypothesis import strategies as st

from dgl_merc.corpus import SPLITS, Corpus, Target
from dgl_merc.corpus.checks import check_corpus

LABELS = ("joy", "anger", "fear")
SIZES = (30, 10, 10)
TURNS = 6
_WORDS = np.array(
    [f"{a}{b}" for a in ("ba", "ke", "li", "mo", "su", "to") for b in ("rin", "lat", "vex", "dum", "pol", "gar", "nes", "wik")]
)


def clean_table(sizes: tuple[int, int, int] = SIZES, seed: int = 0) -> pd.DataFrame:
    """Dialogues of six utterances of three words, labels without a pattern, everything present."""
    rng = np.random.default_rng(seed)
    ids = [f"{split}/{k}" for split, n in zip(SPLITS, sizes, strict=True) for k in range(n)]
    total = len(ids) * TURNS
    names = np.repeat(ids, TURNS)
    turns = np.tile(np.arange(TURNS), len(ids))
    return pd.DataFrame(
        {
            "dialogue_id": names,
            "position": turns,
            "speaker": [f"{d}/{'AB'[t % 2]}" for d, t in zip(names, turns, strict=True)],
            "split": np.repeat(SPLITS, np.array(sizes) * TURNS),
            "text": [" ".join(words) for words in rng.choice(_WORDS, (total, 3))],
            "start": 2.0 * turns,
            "end": 2.0 * turns + 1.5,
            "emotion": rng.choice(LABELS, total),
        }
    )


def clean_features(total: int, seed: int = 0) -> dict[str, np.ndarray]:
    rng = np.random.default_rng([seed, 1])
    return {m: rng.standard_normal((total, w)).astype(np.float32) for m, w in (("text", 5), ("audio", 4))}


def clean(
    table: pd.DataFrame | None = None, features: dict[str, np.ndarray] | None = None, targets: dict[str, Target] | None = None
) -> Corpus:
    """A corpus in which nothing is to be found, or what a test has made of its parts."""
    table = clean_table() if table is None else table
    features = clean_features(len(table)) if features is None else features
    kept = {m: x[table[f"has_{m}"].to_numpy(dtype=bool)] if f"has_{m}" in table else x for m, x in features.items()}
    return Corpus.build("clean", table, kept, targets or {"emotion": Target("classes", LABELS)})


@st.composite
def corpora(draw: st.DrawFn, prefix: str = "") -> Corpus:
    """One to six dialogues of one to four utterances; each vector is like no other."""
    lengths = draw(st.lists(st.integers(1, 4), min_size=1, max_size=6))
    total = sum(lengths)
    columns: dict[str, object] = {
        "dialogue_id": [f"{prefix}{k}" for k, n in enumerate(lengths) for _ in range(n)],
        "position": [t for n in lengths for t in range(n)],
        "speaker": draw(st.lists(st.sampled_from(["x", "y", "z"]), min_size=total, max_size=total)),
        "split": [split for n in lengths for split in [draw(st.sampled_from(SPLITS))] * n],
        "text": [f"{prefix} said {u}" for u in range(total)],
        "emotion": draw(st.lists(st.sampled_from([None, *LABELS]), min_size=total, max_size=total)),
    }
    for m in ("text", "audio"):
        columns[f"has_{m}"] = draw(st.lists(st.booleans(), min_size=total, max_size=total))
    features = {m: np.flatnonzero(columns[f"has_{m}"])[:, None] * 10.0 + np.arange(w) + len(prefix) for m, w in (("text", 3), ("audio", 2))}
    return Corpus.build("drawn" + prefix, pd.DataFrame(columns), features, {"emotion": Target("classes", LABELS)})


def assert_whole(corpus: Corpus) -> Corpus:
    """It keeps every rule of the format, features read where they lie."""
    check_corpus(corpus.utterances, dict(corpus.features), corpus.targets, where="made")
    return corpus


def in_rows(corpus: Corpus) -> dict[tuple[str, int], list[object]]:
    """Dialogue and position -> speaker, label and vectors."""
    return {
        (d.dialogue_id, t): [
            row["speaker"],
            None if pd.isna(row["emotion"]) else row["emotion"],
            {m: d.features[m][int(d.utterances[f"has_{m}"][:t].sum())].tolist() for m in d.features if row[f"has_{m}"]},
        ]
        for d in corpus
        for t, row in enumerate(d.utterances.reset_index(drop=True).to_dict("records"))
    }


def fifty() -> Corpus:
    """Fifty dialogues of three sessions; every fifth utterance lacks audio."""
    table = clean_table()
    sessions = [f"Ses{int(name.split('/')[1]) % 3}" for name in table["dialogue_id"]]
    return clean(table.assign(has_audio=np.arange(len(table)) % 5 > 0, session=sessions))
