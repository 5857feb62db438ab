"""What ``dglmerc inspect`` prints: the tables of :mod:`dgl_merc.graphs.stats`, shortened for people. Import this inside a command."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import pandas as pd

from dgl_merc.cli.console import print_line, print_notes, print_table
from dgl_merc.corpus import presence_column
from dgl_merc.graphs import stats
from dgl_merc.graphs.schema import RELATIONS
from dgl_merc.graphs.store import Store

__all__ = ["print_survey"]

_NOTHING = "–"
_TEXT = 40  # characters of an utterance


def print_survey(store: Store, survey: stats.Survey, dialogue: int | None, target: str | None) -> None:
    """Everything that is worth a look, and a line where there is nothing to look at.

    Args:
        store: opened.
        survey: of it, or of a part.
        dialogue: the number of the only dialogue, whose utterances are then printed too.
        target: whose labels count; None: the corpus's first.
    """
    print_line(_about(store, survey, target))
    if dialogue is not None:
        _print_dialogue(store, dialogue, target)
    _print_edges(survey)
    if (survey.labels >= 0).any():
        _print_homophily(survey)
        _print_agreement(survey)
        _print_transitions(survey, in_full=dialogue is None)
    else:
        print_line("No utterance is labelled: nothing to say of labels along edges, or of what follows what.\n")
    _print_missing(survey)
    print_notes(stats.correlations_in_words(store.manifest["correlations"]) or _no_space(store))


def _no_space(store: Store) -> list[str]:
    crossing = len(store.spec.message_types) > len(store.spec.modalities)
    return ["No common space could be made of the training split: edges between modalities have no weight"] if crossing else []


def _about(store: Store, survey: stats.Survey, target: str | None) -> str:
    spec, corpus = store.spec, store.corpus
    named = target or next(iter(corpus.targets), None)
    sizes = ", ".join(f"{name} {int((survey.split == s).sum())}" for s, name in enumerate(survey.splits))
    reach = "the whole dialogue" if spec.window is None else f"{spec.window} turns around"
    reach += " as far as it has come" if spec.causal else ""
    cross = {"utterance": "across modalities within an utterance", "dialogue": "across modalities too", "none": "not across modalities"}
    heard = f"{spec.past} turns back" + ("" if spec.causal else f" and {spec.future} ahead")
    said = f"{len(survey.labels)} utterances, {int((survey.labels >= 0).sum())} labelled ({named or 'no target'})"
    across = f", {cross[spec.cross]}" if len(spec.modalities) > 1 else ""
    nodes = f"Modality nodes hear {reach}{across}; utterance nodes {heard}"
    return f"{corpus.name}: {len(survey.lengths)} dialogues ({sizes}), {said}\n{nodes}\n"


def _print_dialogue(store: Store, dialogue: int, target: str | None) -> None:
    found = stats.dialogue_utterances(store, dialogue, target)
    degrees = {}
    for relation in ("same", "cross", *RELATIONS):
        columns = [" ".join(t) for t in store.spec.edge_types if t[1] == relation]
        if columns:
            degrees[relation.replace("intra_", "own ").replace("inter_", "others' ")] = found[columns].sum(axis=1)
    modalities = store.spec.modalities
    there = found[[presence_column(m) for m in modalities]].to_numpy()
    has = ["+".join(m for m, yes in zip(modalities, row, strict=True) if yes) or "none" for row in there]
    text = [t if len(t) <= _TEXT else f"{t[: _TEXT - 1]}…" for t in (" ".join(str(t).split()) for t in found["text"])]
    label = found["label"].fillna(_NOTHING)
    shown = pd.DataFrame({"speaker": found["speaker"], "label": label, "has": has, **degrees, "text": text})
    shown.index = pd.Index(found["position"], name="turn")
    row = store.dialogues.iloc[dialogue]
    print_table(shown, f"Dialogue {row['dialogue_id']} ({row['split']}): modalities, and how many edges come in, by relation")


def _print_edges(survey: stats.Survey) -> None:
    table = stats.edge_statistics(survey)
    if len(survey.modalities) == 1:  # its own nodes are all there are
        table = table[table["relation"] != stats.TOGETHER[1]]
    degree = ("degree", "degree_max", "isolated", "components", "largest")
    formats = {"density": 3, "degree": 2, "isolated": 3, "components": 2, "largest": 2}
    names = {"degree": "in-degree", "degree_max": "greatest", "isolated": "without", "components": "parts", "largest": "largest part"}
    shown = _shown(table, ["split", "dialogues", "sources", "targets", "edges", "density", *degree], formats)
    print_table(shown.rename(columns=names), "Edges (without: targets that hear nobody; parts: connected components of a dialogue)")
    weighted = table[table["weight_mean"].notna()]
    if len(weighted):
        columns = [str(name) for name in table if str(name).startswith("weight_")]
        names = {name: name.removeprefix("weight_") for name in columns}
        print_table(
            _shown(weighted, ["split", "edges", *columns], dict.fromkeys(columns, 3)).rename(columns=names),
            "Weights (arccos similarity of features: 1 = same direction, .5 = orthogonal)",
        )


def _print_homophily(survey: stats.Survey) -> None:
    table = stats.homophily(survey)
    among = table["relation"].isin(RELATIONS)  # whose name says who speaks
    kept = table[(table["edges"] > 0) & ~(among & (table["part"] != "all"))]
    if not len(kept):
        print_line("No edge joins two different labelled utterances.\n")
        return
    values = ["equal", "chance", "ratio", "adjusted", "within", "above_within"]
    shown = _shown(kept, ["split", "part", "edges", *values], {**dict.fromkeys(values, 3), "ratio": 2})
    print_table(
        shown.rename(columns={"above_within": "above"}),
        "How often an edge joins equal labels (chance: by the labels of its ends; within: labels of each dialogue dealt out anew)",
    )


def _print_agreement(survey: stats.Survey) -> None:
    table = stats.weight_agreement(survey)
    kept = table[table["auroc"].notna()]
    if len(kept):
        formats = dict.fromkeys(("mean_equal", "mean_different", "auroc", "auroc_within"), 3)
        columns = ["split", "dialogues", "edges", "mean_equal", "mean_different", "auroc", "95 %", "auroc_within"]
        shown = _shown(kept.assign(**{"95 %": _intervals(kept)}), columns, formats)
        names = {"mean_equal": "weight, equal", "mean_different": "different", "auroc": "AUROC", "auroc_within": "within dialogues"}
        print_table(shown.rename(columns=names), "Do heavier edges join equal labels more often? (AUROC .5: weights say nothing of labels)")


def _intervals(table: pd.DataFrame) -> list[str]:
    ends = zip(table["low"].tolist(), table["high"].tolist(), strict=True)
    return [_NOTHING if pd.isna(low) else f"{low:.3f} to {high:.3f}" for low, high in ends]


def _print_transitions(survey: stats.Survey, *, in_full: bool) -> None:
    shifts = stats.emotion_shifts(survey)
    shown = _rounded(shifts, {"shift": 3, "expected": 3}).rename(columns={"expected": "by chance"})
    print_table(
        shown.set_index("kind"), "Emotion shifts: from a speaker's labelled turn to the next; from a turn to another's right after it"
    )
    table = stats.emotion_transitions(survey)
    split = survey.splits[0]
    for kind in stats.KINDS if in_full else ():
        part = table[(table["kind"] == kind) & (table["split"] == split)]
        if part["count"].sum():
            wide = part.pivot_table(index="from", columns="to", values="probability", sort=False, dropna=False)
            turns = part.groupby("from", sort=False)["count"].sum()
            chance = part.groupby("to", sort=False)["expected"].first().rename("(by chance)")
            shown = _rounded(pd.concat([wide, chance.to_frame().T]).rename_axis("from"), dict.fromkeys(wide.columns, 2))
            # a class may be called as this row or column is
            shown.insert(0, "turns", [str(n) for n in turns] + [str(turns.sum())], allow_duplicates=True)
            print_table(shown, f"What follows, {kind}, {split}")


def _print_missing(survey: stats.Survey) -> None:
    table = stats.missing_modalities(survey)
    if not table["missing"].any():
        print_line(f"Every utterance has {', '.join(survey.modalities)}.\n")
        return
    patterns = stats.presence_patterns(survey)
    print_table(_rounded(patterns, {"share": 3}).set_index("split"), "What utterances have")
    some = table[table["missing"] > 0]
    shown = _rounded(some, {"missing": 3, "run_length": 2, "cramers_v": 3})
    shown["p"] = [_NOTHING if pd.isna(p) else f"{p:.2g}" for p in some["p"]]
    names = {"run_length": "mean run", "run_longest": "longest", "cramers_v": "V with label"}
    print_table(shown.set_index("modality").rename(columns=names), "Missing modalities (V: 0 = absence tells nothing of the label)")
    labels = stats.missing_by_label(survey)
    labels = labels[labels["modality"].isin(some["modality"])]
    wide = labels.assign(label=labels["label"].fillna("(unlabelled)")).pivot_table(
        index=["modality", "split"], columns="label", values="missing", sort=False
    )
    wide.index = pd.Index([" ".join(key) for key in wide.index])
    print_table(_rounded(wide, dict.fromkeys(wide.columns, 3)), "Share missing, by label")


def _shown(table: pd.DataFrame, columns: Sequence[str], digits: Mapping[str, int]) -> pd.DataFrame:
    """Some columns, with the edge type as index, named once."""
    names = [_name(*key) for key in zip(table["source"], table["relation"], table["target"], strict=True)]
    again = pd.Series(names).duplicated()
    shown = _rounded(table[list(columns)], digits)
    shown.index = pd.Index(["" if twice else name for name, twice in zip(names, again, strict=True)], name="edge type")
    return shown


def _name(source: str, relation: str, target: str) -> str:
    if (source, relation, target) == stats.TOGETHER:
        return "all modalities"
    return relation if relation in RELATIONS else f"{source} {relation} {target}"


def _rounded(table: pd.DataFrame, digits: Mapping[str, int]) -> pd.DataFrame:
    """Numbers as they are printed; no minus before a zero."""
    shown = table.astype(object)
    for name, places in digits.items():
        shown[name] = [_NOTHING if pd.isna(v) else f"{round(float(v), places) + 0.0:.{places}f}" for v in table[name]]
    return shown
