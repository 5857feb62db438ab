"""Labels, split by split, and whether the presence of a modality tells them.

unlabelled-split         a split without one label of a target
unseen-class             a class that dev or test has and train has not
unused-class             a class without one utterance
class-shares             labels of dev or test are distributed otherwise than on train: total variation distance (half the sum of the
                         absolute differences of shares) above 0.1, and further than dialogues dealt out anew bring it (p <= .01, 999 draws)
presence-tells-label     presence and label of the labelled utterances of train (of all, where train has none to compare) go together:
                         p <= .05 by whole dialogues (:mod:`dgl_merc.corpus.association`), after Holm's correction for all modalities and
                         targets of the corpus. A leak where also p <= .01 before it, and the lower end of V~'s interval is at least 0.1
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import numpy.typing as npt

from dgl_merc.corpus.association import Association, association, holm, label_counts, presence_and_label
from dgl_merc.corpus.care.findings import Finding
from dgl_merc.corpus.corpus import Corpus
from dgl_merc.corpus.targets import SPLITS

__all__ = ["check_labels", "check_presence"]

Array = npt.NDArray[Any]
_APART, _DRAWS, _SURE = 0.1, 999, 0.01
_LEAK, _MAYBE = 0.1, 0.05


def check_labels(corpus: Corpus) -> Iterator[Finding]:
    """The rules about splits."""
    split = corpus.utterances["split"].to_numpy(dtype=object)
    names = [s for s in SPLITS if (split == s).any()]
    for target, about in corpus.targets.items():
        labelled = corpus.utterances[target].notna().to_numpy()
        without = [s for s in names if not labelled[split == s].any()]
        if without:
            said = f"{target}: no utterance of {' and '.join(without)} is labelled"
            advice = "nothing can be learnt from or scored on it; split anew (dglmerc corpus split), or find the labels"
            yield Finding("unlabelled-split", "warning", said, len(without), (), advice)
        if not about.classes:
            continue
        labels = corpus.labels(target)
        counts = {s: np.bincount(labels[(split == s) & (labels >= 0)], minlength=len(about.classes)) for s in names}
        yield from _classes(target, about.classes, counts)
        yield from _shares(corpus, target, labels, counts)


def _classes(target: str, classes: tuple[str, ...], counts: dict[str, Array]) -> Iterator[Finding]:
    every = sum(counts.values(), np.zeros(len(classes), dtype=np.int64))
    if unused := [c for c, n in zip(classes, every, strict=True) if not n]:
        said = f"{target}: no utterance is labelled {', '.join(unused)}"
        yield Finding("unused-class", "note", said, len(unused), (), f"a model keeps an output for it; --map {target}:... leaves it out")
    if "train" not in counts or not counts["train"].any():
        return
    for split, n in counts.items():
        new = [(c, int(k)) for c, k, known in zip(classes, n, counts["train"], strict=True) if k and not known]
        if new:
            said = f"{target}: {split} has classes that train has not: {', '.join(f'{c} ({k})' for c, k in new)}"
            yield Finding("unseen-class", "warning", said, len(new), (), "no model can know them: split anew, or map these labels away")


def _shares(corpus: Corpus, target: str, labels: Array, counts: dict[str, Array]) -> Iterator[Finding]:
    """Each other split against train."""
    train = counts.get("train", np.zeros(1))
    classes = len(corpus.targets[target].classes)
    known = labels >= 0
    dialogue = np.repeat(np.arange(len(corpus)), corpus.lengths)
    each = np.bincount(dialogue[known] * classes + labels[known], minlength=len(corpus) * classes).reshape(-1, classes)
    for split in ("dev", "test"):
        if not (split in counts and counts[split].any() and train.any()):
            continue
        distance = _distance(train, counts[split])
        both = each[np.isin(corpus.splits, ["train", split])]
        size = int((corpus.splits == split).sum())
        if distance <= _APART or _chance(both, size, distance) > _SURE:
            continue
        apart = counts[split] / counts[split].sum() - train / train.sum()
        top = int(np.abs(apart).argmax())
        label, here, there = corpus.targets[target].classes[top], counts[split][top] / counts[split].sum(), train[top] / train.sum()
        said = (
            f"{target}: labels of {split} and train are {100 * distance:.1f} % apart, most of all {label}: "
            f"{100 * here:.1f} % of {split}, {100 * there:.1f} % of train"
        )
        advice = "if the splits are not published ones: dglmerc corpus split CORPUS OUT draws alike ones"
        yield Finding("class-shares", "warning", said, int(counts[split].sum()), (), advice)


def _distance(a: Array, b: Array) -> float:
    return float(0.5 * np.abs(a / a.sum() - b / b.sum()).sum())


def _chance(each: Array, size: int, distance: float) -> float:
    """p: how often so many dialogues, drawn anew, are as far apart from the others."""
    rng, total, hits = np.random.default_rng(0), each.sum(axis=0), 0
    for _ in range(_DRAWS):
        drawn = each[rng.permutation(len(each))[:size]].sum(axis=0)
        rest = total - drawn
        hits += bool(drawn.any() and rest.any() and _distance(drawn, rest) >= distance - 1e-12)
    return (1 + hits) / (1 + _DRAWS)


def check_presence(corpus: Corpus) -> Iterator[Finding]:
    """Whether a modality's presence tells a label."""
    split = corpus.utterances["split"].to_numpy(dtype=object)
    dialogue = np.repeat(np.arange(len(corpus)), corpus.lengths)
    asked = []
    for target, about in corpus.targets.items():
        labels = corpus.labels(target) if about.classes else np.zeros(0, dtype=np.int64)
        for k, modality in enumerate(corpus.modalities if about.classes else ()):
            present = corpus.presence[:, k]
            for where, kept in (("train", (labels >= 0) & (split == "train")), ("all splits", labels >= 0)):
                if _comparable(labels[kept], present[kept]):
                    others = _elsewhere(labels, present, split, len(about.classes)) if where == "train" else ""
                    found = presence_and_label(labels[kept], present[kept], dialogue[kept], len(about.classes))
                    counts = label_counts(labels[kept], present[kept], len(about.classes))
                    asked.append((modality, f"{target} on {where}", found, others, dict(zip(about.classes, counts, strict=True))))
                    break
    for adjusted, one in zip(holm([found.p for _, _, found, _, _ in asked]), asked, strict=True):
        yield from _telling(adjusted or 0.0, *one)


def _telling(adjusted: float, modality: str, what: str, found: Association, others: str, counts: dict[str, Array]) -> Iterator[Finding]:
    """A finding, if presence tells the label. counts: label -> [2] absent, present."""
    if adjusted > _MAYBE:
        return
    leak = found.p <= _SURE and found.low >= _LEAK
    absent = {label: n[0] / n.sum() for label, n in counts.items() if n.sum()}
    most, least = max(absent, key=absent.__getitem__), min(absent, key=absent.__getitem__)
    said = (
        f"{modality}: whether an utterance has it tells {what}: Cramér's V {found.v:.2f}, without bias {found.unbiased:.2f} "
        f"(95 % {found.low:.2f} to {found.high:.2f}), p {_p(found.p)}{others}; "
        f"absent in {100 * absent[most]:.1f} % of {most}, {100 * absent[least]:.1f} % of {least}"
    )
    advice = (
        f"leave {modality} out (--drop {modality}), or import with --label-only-where {modality}, "
        "and with --classes where some labels never have it"
    )
    total = int(sum(n.sum() for n in counts.values()))
    yield Finding("presence-tells-label", "leak" if leak else "warning", said, total, (), advice)


def _comparable(labels: Array, present: Array) -> bool:
    return bool(len(labels) and present.any() and not present.all() and (labels != labels[0]).any())


def _elsewhere(labels: Array, present: Array, split: Array, classes: int) -> str:
    """V of the other splits, in words."""
    found = []
    for name in ("dev", "test"):
        kept = (labels >= 0) & (split == name)
        v, _ = association(label_counts(labels[kept], present[kept], classes))
        if not np.isnan(v):
            found.append(f"{name} V {v:.2f}")
    return f" ({', '.join(found)})" if found else ""


def _p(p: float) -> str:
    return f"{p:.3f}".lstrip("0")
